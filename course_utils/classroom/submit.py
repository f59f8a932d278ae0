"""`course submit`: the grader's own verdict before handing in, then one file to upload.

The file is the notebook, byte for byte: `course grade` reads it in every layout. A student works in
the stored edition itself, so the lesson as it was handed out is taken from git, where there is git;
else a cell's id tells ours from theirs.
"""

import io
import json
import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from course_utils import exercises
from course_utils.grading import box
from course_utils.grading.base import Row, Unreadable
from course_utils.grading.box import Box, BoxFailed, Limits
from course_utils.grading.grade import NoBox, grade
from course_utils.grading.notebook import edition, read
from course_utils.notebook.file import notebook_path
from course_utils.place import ROOT, numbered, write_whole

TRIES = 2  # on a machine that is busy
FLAGS = {
    "duplicate": "there are several answers; the first counts",
    "uses-package": "it calls the course's own function: your instructor may ask for yours",
}


class OwnBox(Box):
    """A box without walls on any system, for one's own code: a thread reads what it says.

    Raises:
        BoxFailed: it does not start.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._home = tempfile.TemporaryDirectory(prefix="box-", ignore_cleanup_errors=True)
        homes = dict.fromkeys(("HOME", "IPYTHONDIR", "TMPDIR", "TEMP"), self._home.name)
        ours = {"COURSE_PROGRESS": os.devnull, "COURSE_DEVICE": "cpu", "COURSE_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, *box.RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._home.name,
            env={**os.environ, **homes, **ours},
            bufsize=0,
        )
        self._coming: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._kept = bytearray()
        threading.Thread(target=self._pump, daemon=True).start()
        try:
            self._start()
        except BoxFailed as failed:
            self.close()
            raise BoxFailed(f"no process for your code ({failed})") from None

    def close(self) -> None:
        """End the process."""
        self._kill()
        self._process.wait()
        self._process.stdin.close()
        self._home.cleanup()

    def _pump(self) -> None:
        while piece := self._process.stdout.read(65536):
            self._coming.put(piece)
        self._coming.put(b"")
        self._process.stdout.close()

    def _wait(self, deadline: float, read: int | None = None, write: int | None = None) -> None:
        """Writing waits by itself: the process reads whenever it is asked nothing."""

    def _read(self, size: int, deadline: float) -> bytes:
        while len(self._kept) < size:
            try:
                piece = self._coming.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise self._broken("no answer in time") from None
            if not piece:
                raise self._broken("the process ended")
            self._kept += piece
        data = bytes(self._kept[:size])
        del self._kept[:size]
        return data

    def _kill(self) -> None:
        if self.alive:
            self._process.kill()


def submit(lesson: str, file: Path | None = None, to: Path | None = None) -> Iterator[str]:
    """Grade a notebook as `course grade` will, then write the file to upload; yields what to say.

    Args:
        lesson: its number, "05".
        file: the notebook; by default the lesson in this project.
        to: the new file; by default 05_elbo.ipynb (-2, -3, ... where that is there) in build/submit
            of the project, or in the folder submit beside a `file` that was named.

    Raises:
        ValueError: no such lesson, a target that is there, or a notebook that cannot be graded.
        OSError: the notebook cannot be read, or the target cannot be written.
    """
    stored = notebook_path(lesson)
    if not exercises.of_lesson(lesson):
        raise ValueError(f"{stored.stem} has no exercises: there is nothing to hand in")
    own = file.parent if file else ROOT / "build"
    later = numbered(own / "submit" / stored.name)  # by the number `course grade` tells the later
    free = next(path for path in later if not (path.exists() or path.is_symlink()))
    source, target = file or stored, to or free
    _refuse(target)
    data, saved = source.read_bytes(), datetime.fromtimestamp(source.stat().st_mtime)
    yield f"{source}, saved {saved:%Y-%m-%d %H:%M}: checking it on inputs that are new each time"
    why = box.available()
    if why is not None:
        yield f"{why}: your code runs without one, it is your own"
    try:
        rows = _graded(lesson, data, source.name, _opener(why))
    except Unreadable as error:
        raise ValueError(f"{source} cannot be graded: {error}; nothing was written") from None
    for row in rows:
        yield from _told(row)
    yield f"{sum(row.points for row in rows)} of {sum(row.max for row in rows)} points"
    yield f"Upload this file: {write_whole(target, data, new=True)}"


def _refuse(target: Path) -> None:
    if target.suffix.lower() != ".ipynb":
        raise ValueError(f"{target} is no name for a notebook; legal: one that ends in .ipynb")
    if target.exists() or target.is_symlink():
        raise ValueError(f"{target} is there already; it was not touched: name another file")


def _opener(why: str | None) -> Callable[[], Box]:
    if why is None:
        return Box
    return partial(Box, sandbox=False) if os.name == "posix" else OwnBox


def _graded(lesson: str, data: bytes, name: str, open_box: Callable[[], Box]) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, edition(_handed_out(Path(folder) / "lessons")):
        path = Path(folder) / "submission.ipynb"
        path.write_bytes(data)
        work = read(path, name)
        if work.lesson != lesson:
            raise Unreadable(f"it is lesson {work.lesson}, and asked for was lesson {lesson}")
        if not any(cell.exercise for cell in work.cells):
            raise Unreadable("it has no answer to any exercise: neither our cell nor a function")
        for left in reversed(range(TRIES)):
            try:
                return grade(work, "you", secrets.randbits(32), open_box)
            except NoBox as error:
                if not left:
                    raise Unreadable(
                        f"{error}. If that is not your doing, `course doctor` says what is wrong "
                        "here, and you can hand in the notebook as it is"
                    ) from None
    raise AssertionError("unreachable")


def _handed_out(folder: Path) -> Path:
    """The lessons as they were handed out, in a new folder: our cells only, told by their ids."""
    folder.mkdir()
    for name, text in {**_from_here(), **_from_git()}.items():
        try:
            cells = json.loads(text)["cells"]
            ours = re.compile(rf"(?:(?:answer|check)-)?{name[:2]}-.+")
            kept = [cell for cell in cells if ours.fullmatch(cell.get("id", ""))]
            if not any("setup" in cell["metadata"].get("tags", []) for cell in kept):
                continue
        except (ValueError, KeyError, TypeError):
            continue  # a notebook of another lesson that the student's tools broke
        (folder / name).write_text(json.dumps({"cells": kept}), "utf-8")
    return folder


def _from_git() -> dict[str, bytes]:
    """The notebooks in the newest commit that is not the student's; empty without git."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return {}
    base = _git("merge-base", "HEAD", "@{upstream}").decode().strip() or "HEAD"
    archive = _git("archive", base, "notebooks")
    if not archive:
        return {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        files = [member for member in opened if re.search(r"/\d\d_\w+\.ipynb$", member.name)]
        return {Path(m.name).name: opened.extractfile(m).read() for m in files}


def _git(*arguments: str) -> bytes:
    ran = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    return ran.stdout if ran.returncode == 0 else b""


def _from_here() -> dict[str, bytes]:
    stored = (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")
    return {path.name: path.read_bytes() for path in stored}


def _told(row: Row) -> Iterator[str]:
    """A row as the check in the notebook says it."""
    exercise = exercises.find(row.exercise)
    yield f"{row.exercise} · {row.status} · {row.points} of {row.max} points · {exercise.title}"
    if row.status == "MISSING":
        yield f"  no cell answer-{row.exercise} and no def of {exercise.name}: was it deleted?"
    if row.failure:
        yield f"  should hold: {row.failure.claim}"
        yield f"  {row.failure.evidence}"
        shown = [f"    {line}" for line in row.failure.lines]
        yield from shown or [f"  hint: {row.failure.hint}"]
    yield from (f"  {FLAGS[flag]}" for flag in row.flags if flag in FLAGS)
