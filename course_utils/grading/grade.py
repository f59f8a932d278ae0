"""Grade one submission: its code runs in a box, cell by cell; the checks run here.

Each answer is judged where its check stands, on inputs that nobody has seen; where it failed, the
reference takes its place for the cells that follow. A cell or a call that ends the box costs that
exercise: a new box takes over from the last cell that ran well.
"""

import ast
import time
import zlib
from collections.abc import Callable

from course_utils import exercises
from course_utils.exercises.base import Exercise, Verdict, judge
from course_utils.grading.base import Cell, Failure, Row, Work, version
from course_utils.grading.box import Box, BoxFailed
from course_utils.grading.notebook import lessons
from course_utils.observing import Observed, Plain, Raised, Recipe, Seed

PATIENCE = 300.0  # seconds of wall time for one submission
BOXES = 20  # restarts for one submission
ENDED = "ended-the-box"


def grade(work: Work, student: str, seed: int, open_box: Callable[[], Box] = Box) -> list[Row]:
    """A row for each exercise of the lesson.

    Args:
        work: the submission, as `notebook.read` gives it.
        student: for the rows.
        seed: of the run; with student and exercise it fixes the hidden inputs.
        open_box: makes a box.

    Raises:
        NoBox: no box opens, or ours fails in it: nobody's fault but this machine's; try again.
    """
    lesson = lessons()[work.lesson]
    rows: dict[str, Row] = {}
    answered = {cell.exercise for cell in work.cells}
    missing = [exercise for exercise in lesson.exercises if exercise.id not in answered]
    given = [lesson.setup, *lesson.needed, *(exercise.solution for exercise in missing)]
    with _Session(open_box, given) as session:
        waiting: _Answer | None = None
        for cell in [*work.cells, Cell("", closes="")]:
            if waiting and (cell.closes in (waiting.exercise.id, "") or cell.exercise):
                rows[waiting.exercise.id] = _judged(waiting, session, student, seed, work)
                waiting = None
            if cell.source:
                raised = session.run(cell.source)
            if cell.exercise:
                waiting = _Answer(exercises.find(cell.exercise), cell.source, raised)
    for exercise in missing:
        row = Row(student, exercise.id, 0, exercise.points, "MISSING", checks=version(exercise))
        rows[exercise.id] = row
    return [rows[exercise.id] for exercise in lesson.exercises]


class NoBox(RuntimeError):
    """No box opens, or the lesson's own cells fail in it."""


class _Answer:
    """An answer whose cell was run, until its check comes."""

    def __init__(self, exercise: Exercise, source: str, raised: Raised | None) -> None:
        self.exercise, self.source, self.raised = exercise, source, raised


class _Session:
    """A box that is opened again when it ended, with every cell that ran well before."""

    def __init__(self, open_box: Callable[[], Box], first: list[str]) -> None:
        self._open, self._first, self._ran = open_box, first, []
        self._box: Box | None = None
        self._boxes, self._deadline = 0, time.monotonic() + PATIENCE

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def run(self, source: str) -> Raised | None:
        """Run a cell and keep it for the next box, unless it ended this one."""
        try:
            raised = self._ready().run(source)
        except BoxFailed as failed:
            self._drop()
            return Raised("Ended", f"the cell was stopped: {failed}")
        self._ran.append(source)
        return raised

    def call(self, name: str, *inputs: Plain | Seed | Recipe) -> Observed:
        """Observe one call."""
        try:
            return self._ready().call(name, *inputs)
        except BoxFailed as failed:
            self._drop()
            return Observed(error=Raised("TimeLimit", f"the call was stopped: {failed}"))

    def _ready(self) -> Box:
        if self._box is not None and self._box.alive:
            return self._box
        self._drop()
        if self._boxes >= BOXES or time.monotonic() > self._deadline:
            raise BoxFailed("this submission has used up its time")
        self._boxes += 1
        self._box = self._opened()
        for source in self._ran:
            self._box.run(source)
        return self._box

    def _opened(self) -> Box:
        """A new box in which the lesson's own cells ran."""
        try:
            box = self._open()
            raised = [found for source in self._first if (found := box.run(source)) is not None]
        except BoxFailed as failed:
            raise NoBox(str(failed)) from failed
        if raised:
            box.close()
            raise NoBox(f"the lesson's own cell raised {raised[0].kind}: {raised[0].message}")
        return box

    def _drop(self) -> None:
        if self._box is not None:
            self._box.close()
            self._box = None


def _judged(answer: _Answer, session: _Session, student: str, seed: int, work: Work) -> Row:
    exercise = answer.exercise
    ended: list[str] = []

    def observe(name: str, *inputs: Plain | Seed | Recipe) -> Observed:
        seen = session.call(name, *inputs)
        if seen.error is not None and "the call was stopped" in seen.error.message:
            ended.append(ENDED)
        return seen

    if answer.raised is not None and answer.raised.kind == "Ended":
        ended.append(ENDED)
        failure = Failure("the cell of the answer runs", answer.raised.message, "Run it yourself.")
        row = Row(student, exercise.id, 0, exercise.points, "NOT YET", failure=failure)
    else:
        hidden = zlib.crc32(f"{seed} {student} {exercise.id}".encode())
        verdict = judge(exercise, exercise.name, observe, seed=hidden)
        row = _row(student, exercise, verdict, answer.raised)
    if row.status != "PASS":
        session.run(exercise.solution)
    uses = ("uses-package",) if row.points and uses_package(answer.source, work.lesson) else ()
    flags = (*work.flags.get(exercise.id, ()), *uses, *ended[:1])
    return Row(**{**vars(row), "flags": flags, "checks": version(exercise)})


def _row(student: str, exercise: Exercise, verdict: Verdict, raised: Raised | None) -> Row:
    first, failure = verdict.first_failure, None
    if first is not None:
        lines = first.error.lines if first.error else ()
        evidence = first.evidence or ""
        if raised is not None:
            evidence = f"{evidence}; the cell itself raised {raised.kind}: {raised.message}"
        failure = Failure(first.claim, evidence, first.hint, lines)
    return Row(
        student, exercise.id, verdict.points, exercise.points, verdict.status, failure=failure
    )


def uses_package(source: str, lesson: str) -> bool:
    """Whether an answer calls a function of this package: for an instructor to look at."""
    try:
        answer, setup = ast.parse(source), ast.parse(lessons()[lesson].setup)
    except SyntaxError:  # a magic, a shell command
        return False
    names: set[str] = set()
    for node in [*ast.walk(setup), *ast.walk(answer)]:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course_utils"):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            ours = [alias for alias in node.names if alias.name.startswith("course_utils")]
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in ours}
    calls = [node.func for node in ast.walk(answer) if isinstance(node, ast.Call)]
    return any(_root(call) in names for call in calls)


def _root(node: ast.expr) -> str:
    """The first name of a.b.c."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
