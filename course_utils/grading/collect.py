"""From a folder (or zip) of uploads to one notebook for each student and lesson.

Layouts, told by their names and reported with each file:

    folder      ann/05_elbo.ipynb                               the top folder is the student
    Moodle      Ann Lee_123_assignsubmission_file/05_elbo.ipynb  name, number; folders or flat
    Canvas      leeann_LATE_4711_815_05_elbo-2.ipynb            name, late, number, upload, file
    Blackboard  Week 5_ann_attempt_2026-01-31-09-05-00_x.ipynb  assignment, name, time, file
    flat        ann_05_elbo.ipynb, 05_elbo_ann.ipynb, ann.ipynb  what is left beside the lesson

A student's upload may itself be a zip: its name counts as that of a folder. A student chooses what
stands behind a platform's mark, so the first mark counts. Where two uploads are taken for one
student's and may be of two, or the other way round, the report says so.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath

from course_utils.grading.archives import Ignored, files
from course_utils.grading.base import tidy
from course_utils.grading.notebook import lessons
from course_utils.grading.tables import rows
from course_utils.place import write_whole

MARKS = {  # as short as can be, from the left: what follows a mark is the student's
    "Moodle": r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_file(?:_.*)?",
    "Canvas": r"(?P<name>.+?)(?:_LATE)?_(?P<number>\d+)_(?P<upload>\d+)_(?!assignsub)(?P<kind>.+)",
    "Blackboard": r"(?P<kind>.+?)_(?P<name>[^_]+)_attempt_(?P<upload>\d{4}(?:-\d\d){5})(?:_.*)?",
}
MARKED = re.compile(r"assignsubmission|_attempt(_|$)|_\d+_\d+(_|$)")  # by a platform, it seems
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
        kind: on a platform that says so, the file's own name or the assignment's.
    """

    student: str
    number: str
    how: str
    source: str
    when: tuple[float, int]
    path: Path
    digest: str
    kind: str = ""


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
    wrapper, told = _wrapper([PurePosixPath(item[0]).parts for item in found])
    uploads, used = [], set()
    for item in found:
        try:
            upload = _upload(*item, wrapper)
        except Exception as error:  # a mistake of ours is to cost this one file, never the batch
            ignored.append(Ignored(item[0], f"{LOOK}its name is not understood: {error!r:.200}"))
            continue
        keys = [key for key in (upload.source, upload.student, upload.number) if key in names]
        used |= set(keys)
        if keys:
            upload = replace(upload, student=names[keys[0]], how=f"{upload.how}, roster")
        elif upload.how not in MARKS and MARKED.search(upload.student):
            told.append(Ignored(upload.source, f"{LOOK}taken for that of {upload.student!r}"))
        uploads.append(upload)
    unused = [Ignored(name, "in the roster, but nothing is called so") for name in names]
    return uploads, ignored + told + [row for row in unused if row.source not in used]


def _line(text: str) -> str:
    """In one form of its accents, which macOS and others write differently."""
    return tidy(unicodedata.normalize("NFC", text.replace("\n", " ")))


def _wrapper(paths: list[tuple[str, ...]]) -> tuple[str, list[Ignored]]:
    """The folder around all students' own, as zips often have one, or ""; what is to be said."""
    deep = [parts for parts in paths if len(parts) > 1]
    tops, second = {parts[0] for parts in deep}, {parts[1] for parts in deep}
    if len(tops) != 1 or len(second) < 2 or any(map(_marked, tops)):
        return "", []
    if any(map(_marked, second)):
        return f"{min(tops)}/", []
    if any(len(parts) < 3 for parts in deep):
        return "", []
    reason = f"{LOOK}taken for a folder around those of {len(second)} students"
    return f"{min(tops)}/", [Ignored(f"{min(tops)}/", reason)]


def _marked(text: str) -> tuple[str, dict[str, str]] | None:
    """The platform whose mark stands first in a name, and what the name says."""
    found = [(how, re.fullmatch(pattern, text)) for how, pattern in MARKS.items()]
    found = [(how, match) for how, match in found if match]
    how, first = min(found, key=lambda pair: pair[1].end("name"), default=("", None))
    return (how, first.groupdict()) if first else None


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
    platform = newer.how.removesuffix(", roster")
    if older.digest == newer.digest or platform == "Moodle":
        return False
    if platform in MARKS:  # no numbers of uploads, or another file or assignment?
        kinds = {AGAIN.sub("", upload.kind) for upload in (older, newer)}
        return older.when == newer.when or len(kinds) > 1
    paths = [PurePosixPath(upload.source) for upload in (older, newer)]
    return len({(*path.parts[:-1][:1], AGAIN.sub("", path.stem)) for path in paths}) > 1


def _kept(data: bytes, keep: Path) -> tuple[Path, str]:
    digest = sha256(data).hexdigest()
    target = keep / f"{digest}.ipynb"
    if not target.is_file():
        write_whole(target, data)
    return target, digest


def _upload(source: str, kept: Path, digest: str, time: float, wrapper: str) -> Upload:
    path = PurePosixPath(source.removeprefix(wrapper))
    deep = len(path.parts) > 1
    again = AGAIN.search(path.stem)
    order, name = int(again[1]) if again else 0, path.parts[0] if deep else path.stem
    if (marked := _marked(name)) is None:
        student, how = (name, "folder") if deep else (_without_lesson(name), "file name")
        return Upload(student, "", how, source, (time, order), kept, digest)
    how, told = marked
    if upload := told.get("upload", "").replace("-", ""):
        time, order = 0.0, int(upload) * 1000 + order
    when, number = (time, order), told.get("number", "")
    return Upload(told["name"], number, how, source, when, kept, digest, told.get("kind", ""))


def _without_lesson(stem: str) -> str:
    """Ann of ann_05_elbo, 05_elbo_ann, ann_05_elbo-2 and ann; ann-2 may be somebody else."""
    for name in (lesson.stem for lesson in lessons().values()):
        rest = re.sub(rf"(?i)[-_ ]*{re.escape(name)}(?:-\d+$|[-_ ]*)", " ", stem)
        if rest != stem:
            return re.sub(r" \(\d+\)$", "", rest).strip() or stem
    return stem


def _roster(path: Path) -> dict[str, str]:
    found = rows(path)
    if not found or not {"file", "student"} <= set(found[0]):
        columns = ", ".join(found[0]) if found else "no row"
        raise ValueError(f"{path} has {columns}; legal: a CSV with the columns file, student")
    names: dict[str, str] = {}
    for row in found:
        file, student = row["file"].strip(), row["student"].strip()
        if file and (not student or names.setdefault(file, student) != student):
            raise ValueError(f"{path} has no or two names for {file!r}; legal: one each")
    return names
