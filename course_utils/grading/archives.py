"""The files in a folder or zip of uploads, zips in it opened: bounded, and never written to a path.

Nothing is unpacked to a path that an archive names, and links are not followed.
"""

import contextlib
import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from course_utils.grading.notebook import SIZE_LIMIT

FILES_LIMIT, ARCHIVE_LIMIT = 20_000, 8 * 2**30  # files and bytes of all uploads together
NESTED_LIMIT, NESTED_FILES = 4 * SIZE_LIMIT, 200  # bytes and files of one student's own zip
SKIPPED = ("__MACOSX", ".ipynb_checkpoints")


@dataclass(frozen=True)
class Ignored:
    """A file that is not graded, and why."""

    source: str
    reason: str


def files(place: Path, out: Path) -> Iterator[tuple[str, bytes, float] | Ignored]:
    """(path below the place, bytes, time) of each notebook, zips opened; or what is left out.

    Raises:
        ValueError: the place is no folder and no zip.
    """
    if place.is_file() and zipfile.is_zipfile(place):
        yield from _members(place, "", top=True)
        return
    if not place.is_dir():
        raise ValueError(f"{place} is no folder and no zip of submissions")
    closed: list[OSError] = []
    for folder, folders, files in os.walk(place, onerror=closed.append, followlinks=False):
        kept = [name for name in folders if name not in SKIPPED]
        folders[:] = sorted(name for name in kept if Path(folder, name).resolve() != out)
        for name in sorted(files):
            path = Path(folder, name)
            yield from _file(path, path.relative_to(place).as_posix())
        for name in folders:
            if Path(folder, name).is_symlink():
                yield Ignored(Path(folder, name).relative_to(place).as_posix(), "a link")
    for error in closed:
        yield Ignored(str(error.filename), f"a folder that cannot be read ({error.strerror})")


def _file(path: Path, source: str) -> Iterator[tuple[str, bytes, float] | Ignored]:
    try:
        yield from _opened(path, source)
    except OSError as error:
        yield Ignored(source, f"cannot be read ({error.strerror})")


def _opened(path: Path, source: str) -> Iterator[tuple[str, bytes, float] | Ignored]:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        yield Ignored(source, "a link or no plain file")
    elif status.st_size > (limit := _limits().get(path.suffix.lower(), status.st_size)):
        yield Ignored(source, f"{status.st_size >> 20} MB; at most {limit >> 20} are read")
    elif path.suffix.lower() == ".ipynb":
        yield source, path.read_bytes(), status.st_mtime
    elif path.suffix.lower() == ".zip":
        yield from _members(path, _as_folder(source))
    else:
        yield Ignored(source, "neither .ipynb nor .zip")


def _as_folder(source: str) -> str:
    """The path of a zip as that of a folder; "...zip" stays, since ".." is the name of none."""
    path = PurePosixPath(source)
    stem = path.name[:-4]
    return str(path.parent / (stem if stem.strip(". ") else path.name))


def _limits() -> dict[str, int]:
    return {".ipynb": SIZE_LIMIT, ".zip": NESTED_LIMIT}


def _members(
    archive: Path | io.BytesIO, below: str, top: bool = False
) -> Iterator[tuple[str, bytes, float] | Ignored]:
    """The notebooks in a zip; a zip in a zip only in the outermost one."""
    budget, files = (ARCHIVE_LIMIT, FILES_LIMIT) if top else (NESTED_LIMIT, NESTED_FILES)
    try:
        if not top and (size := _directory_size(archive)) > 1000 * files:
            raise ValueError(f"a list of files of {size} bytes")
        opened = zipfile.ZipFile(archive)
    except Exception as error:  # whatever a hostile zip makes zipfile raise
        yield Ignored(below or str(archive), f"a zip that cannot be read ({error!s:.200})")
        return
    with opened:
        if len(opened.infolist()) > files:
            yield Ignored(below or str(archive), f"a zip of {len(opened.infolist())} files")
            return
        for info in opened.infolist():
            name = info.filename.replace("\\", "/")  # of Windows
            source = str(PurePosixPath(f"{below}/{name}" if below else name))  # "./x" is x
            reason = _refused(name, info)
            if reason != "a folder":
                data, reason = (b"", reason) if reason else _bounded(opened, info, budget)
                budget -= len(data)
                yield from _member(source, data, reason, info, top)


def _member(
    source: str, data: bytes, reason: str, info: zipfile.ZipInfo, top: bool
) -> Iterator[tuple[str, bytes, float] | Ignored]:
    if reason:
        yield Ignored(source, reason)
    elif source.lower().endswith(".ipynb"):
        yield source, data, _time(info)
    elif top and source.lower().endswith(".zip"):
        yield from _members(io.BytesIO(data), _as_folder(source))
    else:
        yield Ignored(source, "neither .ipynb nor .zip")


def _time(info: zipfile.ZipInfo) -> float:
    try:
        return datetime(*info.date_time).timestamp()
    except (ValueError, OverflowError):  # some tools write month 0
        return 0.0


def _directory_size(archive: Path | io.BytesIO) -> int:
    """Bytes of a zip's list of files as its end says: zipfile reads all of it into memory."""
    opened = archive.open("rb") if isinstance(archive, Path) else contextlib.nullcontext(archive)
    with opened as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, end - 65_557))
        tail = stream.read()
    plain = tail[-22:-18] == b"PK\5\6" and tail[-2:] == b"\0\0"  # else there is a comment
    at = len(tail) - 22 if plain else tail.rfind(b"PK\5\6")
    return int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0


def _refused(name: str, info: zipfile.ZipInfo) -> str:
    """Why a member of a zip is not read, or ""."""
    path = PurePosixPath(name)
    if name.endswith("/") or any(part in SKIPPED for part in path.parts):
        return "a folder"
    if not path.parts or path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:/", name):
        return "a path that leaves its folder"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "packed by a method that is not bounded; legal: deflate"
    return "encrypted" if info.flag_bits & 1 else ""


def _bounded(opened: zipfile.ZipFile, info: zipfile.ZipInfo, budget: int) -> tuple[bytes, str]:
    """The member's bytes and "", or what was unpacked and why it does not count: a zip can lie."""
    if budget <= 0:
        return b"", "a zip that is too large once unpacked"
    try:
        with opened.open(info) as stream:
            data = stream.read(SIZE_LIMIT + 1)
    except Exception as error:  # of this member; the others may be whole
        return b"", f"cannot be unpacked ({type(error).__name__}: {error!s:.200})"
    return data, "too large once unpacked" if len(data) > SIZE_LIMIT else ""
