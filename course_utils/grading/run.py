"""Grade a whole class: workers, a journal that survives being killed, one result for each upload.

The journal has one line for each graded upload, written whole and at once. A second run over the
same folder grades only what is new: other bytes, or an exercise whose checks were changed; then
only that exercise's row changes, and the change is listed.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from course_utils import exercises
from course_utils.grading.base import Row, Unreadable, tidy, version
from course_utils.grading.box import Box
from course_utils.grading.collect import Upload
from course_utils.grading.grade import NoBox, grade
from course_utils.grading.notebook import read

TRIES = 3  # for a machine that does not open a box


class Unfinished(ValueError):
    """Uploads that could not be graded, by no fault of theirs: no box opened, or a mistake here."""


@dataclass(frozen=True)
class Result:
    """One upload, graded: whose it is and how that was told, the run's seed, its rows."""

    student: str
    number: str
    source: str
    digest: str
    lesson: str
    seed: int
    seconds: float
    rows: tuple[Row, ...]
    how: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Whose work it is, and for which lesson."""
        return self.student, self.number, self.lesson

    def line(self) -> str:
        """As one line of the journal."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    @classmethod
    def from_line(cls, line: bytes | str) -> "Result":
        """From a line of the journal."""
        found = json.loads(line)
        return cls(**{**found, "rows": tuple(Row.from_dict(row) for row in found["rows"])})

    def is_current(self) -> bool:
        """Whether the checks that gave these rows are those of today."""
        if not self.lesson:
            return False  # reading it again costs little, and the reader may have been mended
        asked = {ex.id: version(ex) for ex in exercises.of_lesson(self.lesson)}
        return {row.exercise: row.checks for row in self.rows} == asked


class Journal:
    """The results so far, in a file that is only ever appended to; one run at a time writes it.

    Args:
        path: the file; it need not be there.
        seed: of the hidden inputs; None takes the earlier run's, or draws one.

    Raises:
        ValueError: another seed was used here before: rows of two seeds do not mix.
    """

    def __init__(self, path: Path, seed: int | None = None) -> None:
        self._path, self.results = path, {}
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        if len(whole) < len(lines):  # a run that was killed left half a line
            os.truncate(path, sum(map(len, whole)))
        for result in map(Result.from_line, whole):
            self.results[result.digest, result.student, result.number] = result
        before = {result.seed for result in self.results.values()}
        if seed is not None and before - {seed}:
            raise ValueError(f"graded here with seed {min(before - {seed})}; asked for {seed}")
        self.seed = seed if seed is not None else next(iter(before), secrets.randbits(48))

    def find(self, upload: Upload) -> Result | None:
        """What an upload with these bytes got before."""
        return self.results.get((upload.digest, upload.student, upload.number))

    def add(self, result: Result) -> None:
        """Write a result to the disk, then count it."""
        with self._path.open("ab") as stream:
            stream.write(result.line().encode())
            stream.flush()
            os.fsync(stream.fileno())
        self.results[result.digest, result.student, result.number] = result


def grade_upload(upload: Upload, seed: int, sandbox: bool = True) -> Result:
    """Grade one upload; a bad one is a row that says so, never an exception.

    Raises:
        NoBox: this machine opened no box, three times.
    """
    begun, lesson = time.monotonic(), ""
    try:
        work = read(upload.path, upload.source)
        lesson = work.lesson
        rows = _patiently(lambda: grade(work, upload.student, seed, lambda: Box(sandbox=sandbox)))
    except Unreadable as error:
        rows = [Row(upload.student, "", 0, 0, "UNREADABLE", reason=tidy(str(error)))]
    seconds = round(time.monotonic() - begun, 2)
    fields = (upload.student, upload.number, upload.source, upload.digest, lesson, seed, seconds)
    return Result(*fields, tuple(rows), upload.how)


def lesson_of(upload: Upload) -> str:
    """The lesson of an upload, or "" where it cannot be read."""
    try:
        return read(upload.path, upload.source).lesson
    except Unreadable:
        return ""


def grade_all(
    uploads: Iterable[Upload], journal: Journal, run: Callable[[list[Upload]], Iterator[Result]]
) -> Iterator[tuple[Result, list[str]]]:
    """Every upload's result as it comes, and what changed against an earlier run.

    Args:
        uploads: one for each student and lesson.
        journal: results so far; a result that still holds is taken from it.
        run: grades uploads, in any order: `in_threads` or `on_cluster`, their other arguments set.
    """
    todo: dict[tuple, Upload] = {}
    for upload in uploads:
        before = journal.find(upload)
        if before is not None and before.is_current():
            yield before, []
        else:
            todo[upload.digest, upload.student, upload.number] = upload
    for result in run(list(todo.values())):
        before = journal.find(todo[result.digest, result.student, result.number])
        merged, changes = _merged(before, result)
        if before is None or before.rows != merged.rows:
            journal.add(merged)
        yield merged, changes


def in_threads(uploads: list[Upload], seed: int, workers: int, sandbox: bool) -> Iterator[Result]:
    """Grade on this machine: each upload runs in a process of its own, so threads are enough.

    Raises:
        Unfinished: some uploads could not be graded; after all others were.
    """
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(grade_upload, upload, seed, sandbox): upload for upload in uploads}
        try:
            yield from _finished(as_completed(futures), futures)
        finally:
            pool.shutdown(cancel_futures=True)


def _finished(coming: Iterable, futures: dict) -> Iterator[Result]:
    """The results as they come; what stopped one upload is told when all others are done."""
    failed: list[tuple[Upload, BaseException]] = []
    for future in coming:
        if (error := future.exception()) is None:
            yield future.result()
        else:
            failed.append((futures[future], error))
    if failed:
        told = "; ".join(f"{upload.source}: {error!r}" for upload, error in failed[:5])
        raise Unfinished(
            f"{len(failed)} uploads were not graded, run it again: {told}"
        ) from failed[0][1]


def on_cluster(uploads: list[Upload], seed: int, address: str, sandbox: bool) -> Iterator[Result]:
    """Grade on a dask cluster that sees the same files; a lost worker's uploads run again.

    Raises:
        ValueError: no scheduler answers at the address.
    """
    import distributed  # dask's; the extra [cluster]

    try:
        client = distributed.Client(address, timeout=10)
    except OSError as error:
        raise ValueError(f"no scheduler answers at {address!r}: {error}") from None
    with client:
        given = {"seed": seed, "sandbox": sandbox, "pure": False, "retries": 2}
        futures = dict(zip(client.map(grade_upload, uploads, **given), uploads, strict=True))
        yield from _finished(distributed.as_completed(futures), futures)


def _patiently(work: Callable[[], list[Row]]) -> list[Row]:
    for _ in range(TRIES - 1):
        try:
            return work()
        except NoBox:
            time.sleep(1.0)
    return work()


def _merged(before: Result | None, now: Result) -> tuple[Result, list[str]]:
    """Rows whose checks are the same stay as they were; the others are new, and listed."""
    if before is None:
        return now, []
    old = {row.exercise: row for row in before.rows}
    rows, changes = [], []
    for row in now.rows:
        was = old.get(row.exercise)
        if was is not None and was.checks == row.checks:
            row = was
        elif was is None or (was.points, was.status) != (row.points, row.status):
            told = f"{was.points} ({was.status})" if was else "nothing"
            changes.append(
                f"{row.student} {row.exercise}: {told} -> {row.points} ({row.status}), "
                f"checks {was.checks if was else '-'} -> {row.checks}"
            )
        rows.append(row)
    return replace(now, rows=tuple(rows)), changes
