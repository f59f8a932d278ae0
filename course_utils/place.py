"""Where the course lies, and how a file is written: whole, or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # the folder with notebooks/ and assets/


def write_whole(path: Path, content: str | bytes, new: bool = False) -> Path:
    """Write a file in one step: a reader, or a crash, meets the old file or the new one.

    Args:
        path: the file; its folder is made where there is none.
        content: bytes, or text, which is written as UTF-8 with its line ends as they are.
        new: whether the file must not be there yet.

    Returns: `path`.

    Raises:
        FileExistsError: `new`, and a file is there, whoever made it.
        OSError: the file cannot be written; nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path if new else Path(os.path.realpath(path))  # a link stays: it leads to the file
    beside = target.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.partial")
    try:
        with open(beside, "xb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        if new:
            _put(beside, target)
        else:
            if target.is_file():
                shutil.copymode(target, beside)
            os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    return path


def numbered(path: Path) -> Iterator[Path]:
    """05.ipynb, 05-2.ipynb, 05-3.ipynb, ...: where a file goes that is to replace none."""
    yield path
    yield from (path.with_stem(f"{path.stem}-{number}") for number in count(2))


def _put(beside: Path, path: Path) -> None:
    """Give a file a name that none has: `os.replace` would overwrite one."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with open(path, "xb") as stream:
            stream.write(beside.read_bytes())
