"""From a folder (or zip) of uploads to one notebook for each student and lesson.

Layouts, told by their names and reported with each file:

    folder    ann/05_elbo.ipynb                               the top folder is the student
    Moodle    Ann Lee_123_assignsubmission_file/05_elbo.ipynb  name and number stand before the mark
    Canvas    leeann_LATE_4711_815_05_elbo-2.ipynb            name, late, number, upload, file
    flat      ann_05_elbo.ipynb, 05_elbo_ann.ipynb, ann.ipynb  what is left beside the lesson

A student's upload may itself be a zip: its name counts as that of a folder. Where two uploads are
taken for one student's and may be of two, or the other way round, the report says so.
"""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath

from course_utils.grading.archives import Ignored, files
from course_utils.grading.base import tidy
from course_utils.grading.notebook import lessons
from course_utils.place import write_whole

MOODLE = re.compile(r"(?P<name>.+)_(?P<number>\d+)_assignsubmission_file_?")
CANVAS = re.compile(r"(?P<name>[^_]+?)(?:_LATE)?_(?P<number>\d+)_(?P<upload>\d+)_(?P<file>.+)")
AGAIN = re.compile(r"(?:-| \()(\d+)\)?$")  # 05_elbo-2, 05_elbo (1): another upload of one file
LOOK = "LOOK, is this right? "


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


def collect(
    place: Path, keep: Path, roster: Path | None = None
) -> tuple[list[Upload], list[Ignored]]:
    """Every upload below a folder or in a zip, the students' names as in the roster.

    Args:
        place: a folder of notebooks and zips, or one zip.
        keep: where a copy of each notebook goes, under the hash of its content.
        roster: a CSV with the columns `file` (as found: path, folder, number or name) and
            `student` (the name to report).

    Raises:
        ValueError: there is no such place, the roster has other columns or is ambiguous.
    """
    names = _roster(roster) if roster else {}
    found: list[tuple] = []
    ignored: list[Ignored] = []
    for item in files(place, keep.resolve().parent):
        if isinstance(item, Ignored):
            ignored.append(Ignored(_line(item.source), _line(item.reason)))
        else:
            source, data, time = item
            found.append((_line(source), *_kept(data, keep), time))
    wrapper, told = _wrapper(found)
    return [_upload(*item, names, wrapper) for item in found], ignored + told


def _line(text: str) -> str:
    return tidy(text.replace("\n", " "))


def _wrapper(found: list[tuple]) -> tuple[str, list[Ignored]]:
    """The folder around all students' own, as zips often have one, or ""; what is to be said."""
    parts = [PurePosixPath(item[0]).parts for item in found if "/" in item[0]]
    tops, second = {part[0] for part in parts}, {part[1] for part in parts}
    if len(tops) != 1 or len(second) < 2 or any(map(_of_a_platform, tops)):
        return "", []
    if any(_of_a_platform(name) for name in second):
        return f"{min(tops)}/", []
    if any(len(part) < 3 for part in parts):
        return "", []
    reason = f"{LOOK}taken for a folder around those of {len(second)} students"
    return f"{min(tops)}/", [Ignored(f"{min(tops)}/", reason)]


def _of_a_platform(name: str) -> bool:
    return bool(MOODLE.fullmatch(name) or CANVAS.fullmatch(name))


def latest(uploads: list[Upload], lesson_of: Callable) -> tuple[list[Upload], list[Ignored]]:
    """Of two uploads of one student for one lesson the later one; the others are reported."""
    chosen: dict[tuple, Upload] = {}
    older: list[Ignored] = []
    for upload in sorted(uploads, key=lambda upload: (upload.when, upload.source)):
        key = (upload.student, upload.number, lesson_of(upload) or upload.source)
        if key in chosen:
            reason = f"a later upload counts: {upload.source}"
            doubt = LOOK if _may_differ(chosen[key], upload) else ""
            older.append(Ignored(chosen[key].source, doubt + reason))
        chosen[key] = upload
    return list(chosen.values()), older


def _may_differ(older: Upload, newer: Upload) -> bool:
    """Whether two uploads of one student may be of two: a roster can tell them apart by path."""
    if older.digest == newer.digest or newer.how == "Moodle":
        return False
    if newer.how == "Canvas":
        return older.when == newer.when  # so these are no numbers of uploads
    paths = [PurePosixPath(upload.source) for upload in (older, newer)]
    return len({(*path.parts[:-1][:1], AGAIN.sub("", path.stem)) for path in paths}) > 1


def _kept(data: bytes, keep: Path) -> tuple[Path, str]:
    digest = sha256(data).hexdigest()
    target = keep / f"{digest}.ipynb"
    if not target.is_file():
        write_whole(target, data)
    return target, digest


def _upload(
    source: str, kept: Path, digest: str, time: float, names: dict[str, str], wrapper: str
) -> Upload:
    upload = _told_by_name(source, source.removeprefix(wrapper), (kept, digest), time)
    keys = (source, upload.student, upload.number)
    renamed = next((names[key] for key in keys if key in names), "")
    return replace(upload, student=renamed, how=f"{upload.how}, roster") if renamed else upload


def _told_by_name(source: str, inner: str, kept: tuple[Path, str], time: float) -> Upload:
    path = PurePosixPath(inner)
    stem, deep = path.stem, len(path.parts) > 1
    again = AGAIN.search(stem)
    order = int(again[1]) if again else 0
    whole = MOODLE.fullmatch(path.parts[0])
    if whole and deep:
        return Upload(whole["name"], whole["number"], "Moodle", source, (time, order), *kept)
    if match := CANVAS.fullmatch(path.parts[0] if deep else stem):  # a folder was a zip
        order += int(match["upload"]) * 1000
        return Upload(match["name"], match["number"], "Canvas", source, (0.0, order), *kept)
    if deep:
        return Upload(path.parts[0], "", "folder", source, (time, order), *kept)
    return Upload(_without_lesson(stem), "", "file name", source, (time, order), *kept)


def _without_lesson(stem: str) -> str:
    """Ann of ann_05_elbo, 05_elbo_ann, ann_05_elbo-2 and ann; ann-2 may be somebody else."""
    for name in (lesson.stem for lesson in lessons().values()):
        rest = re.sub(rf"(?i)[-_ ]*{re.escape(name)}(?:-\d+$|[-_ ]*)", " ", stem)
        if rest != stem:
            return re.sub(r" \(\d+\)$", "", rest).strip() or stem
    return stem


def _roster(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or not {"file", "student"} <= set(rows[0]):
        found = ", ".join(rows[0]) if rows else "no row"
        raise ValueError(f"{path} has {found}; legal: a CSV with the columns file, student")
    names: dict[str, str] = {}
    for row in rows:
        file, student = ((row[name] or "").strip() for name in ("file", "student"))
        if file and (not student or names.setdefault(file, student) != student):
            raise ValueError(f"{path} has no or two names for {file!r}; legal: one each")
    return names
