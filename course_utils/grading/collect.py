"""From a folder (or zip) of uploads to one notebook for each student and lesson.

Layouts, told by their names and reported with each file:

    folder    ann/05_elbo.ipynb                               the top folder is the student
    Moodle    Ann Lee_123_assignsubmission_file/05_elbo.ipynb  name and number stand before the mark
    Canvas    leeann_LATE_4711_815_05_elbo-2.ipynb            name, late, number, upload, file
    flat      ann_05_elbo.ipynb, 05_elbo_ann.ipynb, ann.ipynb  what is left beside the lesson

A student's upload may itself be a zip. Nothing is unpacked to a path that an archive names, links
are not followed, and what is unpacked is bounded.
"""

import contextlib
import csv
import io
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath

from course_utils.grading.base import tidy
from course_utils.grading.notebook import SIZE_LIMIT, lessons

FILES_LIMIT, ARCHIVE_LIMIT = 20_000, 8 * 2**30  # files and bytes of all uploads together
NESTED_LIMIT, NESTED_FILES = 4 * SIZE_LIMIT, 200  # bytes and files of one student's own zip
MOODLE = re.compile(r"(?P<name>.+)_(?P<number>\d+)_assignsubmission_file_?")
CANVAS = re.compile(r"(?P<name>[^_]+?)(?:_LATE)?_(?P<number>\d+)_(?P<upload>\d+)_(?P<file>.+)")
AGAIN = re.compile(r"(?:-| \()(\d+)\)?$")  # 05_elbo-2, 05_elbo (1): another upload of one file
SKIPPED = ("__MACOSX", ".ipynb_checkpoints")


@dataclass(frozen=True)
class Upload:
    """One notebook as it came in.

    Attributes:
        student: who it belongs to, and `how` that was told.
        number: the student's number in the learning platform, or "".
        source: where it lay, for the report.
        when: order of two uploads of one student: time of the file, then its number of upload.
        path: where a copy of it is kept, `digest`: SHA-256 of its bytes.
    """

    student: str
    number: str
    how: str
    source: str
    when: tuple[float, int]
    path: Path
    digest: str


@dataclass(frozen=True)
class Ignored:
    """A file that is not graded, and why."""

    source: str
    reason: str


def collect(
    place: Path, keep: Path, roster: Path | None = None
) -> tuple[list[Upload], list[Ignored]]:
    """Every upload below a folder or in a zip, the students' names as in the roster.

    Args:
        place: a folder of notebooks and zips, or one zip.
        keep: where a copy of each notebook goes, under the hash of its content.
        roster: a CSV with the columns `file` (a name as found: folder, number or name) and
            `student` (the name to report).

    Raises:
        ValueError: there is no such place, or the roster has other columns.
    """
    names = _roster(roster) if roster else {}
    found: list[tuple] = []
    ignored: list[Ignored] = []
    for item in _files(place, keep.resolve().parent):
        if isinstance(item, Ignored):
            ignored.append(Ignored(_line(item.source), _line(item.reason)))
        else:
            source, data, time = item
            found.append((_line(source), *_kept(data, keep), time))
    return [_upload(*item, names, _wrapper(found)) for item in found], ignored


def _line(text: str) -> str:
    return tidy(text.replace("\n", " "))


def _wrapper(found: list[tuple]) -> str:
    """The folder around all students' folders, as zips often have one, or "" if there is none."""
    parts = [PurePosixPath(item[0]).parts for item in found]
    tops, second = {part[0] for part in parts}, {part[1] for part in parts if len(part) > 1}
    deep = all(len(part) > 2 for part in parts) and len(second) > 1
    return f"{min(tops)}/" if deep and len(tops) == 1 else ""


def latest(uploads: list[Upload], lesson_of: Callable) -> tuple[list[Upload], list[Ignored]]:
    """Of two uploads of one student for one lesson the later one; the others are reported."""
    chosen: dict[tuple, Upload] = {}
    older: list[Ignored] = []
    for upload in sorted(uploads, key=lambda upload: (upload.when, upload.source)):
        key = (upload.student, upload.number, lesson_of(upload) or upload.source)
        if key in chosen:
            older.append(Ignored(chosen[key].source, f"a later upload counts: {upload.source}"))
        chosen[key] = upload
    return list(chosen.values()), older


def _kept(data: bytes, keep: Path) -> tuple[Path, str]:
    digest = sha256(data).hexdigest()
    target = keep / f"{digest}.ipynb"
    if not target.is_file():
        partial = target.with_suffix(".partial")
        partial.write_bytes(data)
        os.replace(partial, target)
    return target, digest


def _upload(
    source: str, kept: Path, digest: str, time: float, names: dict[str, str], wrapper: str
) -> Upload:
    upload = _told_by_name(source, source.removeprefix(wrapper), (kept, digest), time)
    renamed = names.get(upload.student) or names.get(upload.number)
    return replace(upload, student=renamed, how=f"{upload.how}, roster") if renamed else upload


def _told_by_name(source: str, inner: str, kept: tuple[Path, str], time: float) -> Upload:
    path = PurePosixPath(inner)
    stem = path.stem
    again = AGAIN.search(stem)
    order = int(again[1]) if again else 0
    plain = stem[: again.start()] if again else stem
    whole = MOODLE.fullmatch(path.parts[0])
    if whole and len(path.parts) > 1:
        return Upload(whole["name"], whole["number"], "Moodle", source, (time, order), *kept)
    if len(path.parts) > 1:
        return Upload(path.parts[0], "", "folder", source, (time, order), *kept)
    if match := CANVAS.fullmatch(stem):
        order += int(match["upload"]) * 1000
        return Upload(match["name"], match["number"], "Canvas", source, (0.0, order), *kept)
    return Upload(_without_lesson(plain), "", "file name", source, (time, order), *kept)


def _without_lesson(stem: str) -> str:
    """Ann of ann_05_elbo, 05_elbo_ann and ann."""
    for name in _stems():
        rest = re.sub(rf"(?i)[-_ ]*{re.escape(name)}[-_ ]*", " ", stem).strip()
        if rest != stem:
            return rest or stem
    return stem


def _stems() -> list[str]:
    return [lesson.stem for lesson in lessons().values()]


def _files(place: Path, out: Path) -> Iterator[tuple[str, bytes, float] | Ignored]:
    """(path below the place, bytes, time) of each notebook, zips opened; or what is left out."""
    if place.is_file() and zipfile.is_zipfile(place):
        yield from _members(place, "", top=True)
        return
    if not place.is_dir():
        raise ValueError(f"{place} is no folder and no zip of submissions")
    for folder, folders, files in os.walk(place, followlinks=False):
        kept = [name for name in folders if name not in SKIPPED]
        folders[:] = sorted(name for name in kept if Path(folder, name).resolve() != out)
        for name in sorted(files):
            path = Path(folder, name)
            yield from _file(path, path.relative_to(place).as_posix())
        for name in folders:
            if Path(folder, name).is_symlink():
                yield Ignored(Path(folder, name).relative_to(place).as_posix(), "a link")


def _file(path: Path, source: str) -> Iterator[tuple[str, bytes, float] | Ignored]:
    try:
        yield from _opened(path, source)
    except OSError as error:
        yield Ignored(source, f"cannot be read ({error.strerror})")


def _opened(path: Path, source: str) -> Iterator[tuple[str, bytes, float] | Ignored]:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        yield Ignored(source, "a link or no plain file")
    elif path.suffix.lower() == ".ipynb" and status.st_size > SIZE_LIMIT:
        yield Ignored(source, f"{status.st_size >> 20} MB; at most {SIZE_LIMIT >> 20} are read")
    elif path.suffix.lower() == ".ipynb":
        yield source, path.read_bytes(), status.st_mtime
    elif path.suffix.lower() == ".zip":
        yield from _members(path, str(PurePosixPath(source).with_suffix("")))
    else:
        yield Ignored(source, "neither .ipynb nor .zip")


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
            source = f"{below}/{name}" if below else name
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
        yield from _members(io.BytesIO(data), str(PurePosixPath(source).with_suffix("")))
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
    at = tail.rfind(b"PK\5\6")
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


def _roster(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"file", "student"} <= set(rows[0]):
        found = ", ".join(rows[0]) if rows else "no row"
        raise ValueError(f"{path} has {found}; legal: a CSV with the columns file, student")
    return {row["file"].strip(): row["student"].strip() for row in rows}
