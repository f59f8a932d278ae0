"""Grade one submission: its code runs in a box, cell by cell; the checks run here.

Each answer is judged where its check stands, on inputs that nobody has seen; where it failed, the
reference takes its place for the cells that follow. A cell or a call that ends the box costs that
exercise: a new box takes over from the last cell that ran well.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from course_utils import exercises
from course_utils.exercises.base import Exercise, Verdict, judge
from course_utils.grading.base import Cell, Failure, Row, Work, tidy, version
from course_utils.grading.box import Box, BoxFailed
from course_utils.grading.notebook import Leads, lessons
from course_utils.observing import Observed, Plain, Raised, Recipe, Seed

PATIENCE = 300.0  # seconds of wall time for one submission
IDLE = 1 / 3  # of PATIENCE, at most, for cells to which no answer leads
BRIEF, AGED = 0.5, 10.0  # seconds of such a cell that runs in the next box, too; of an old box
BOXES = 40  # restarts for one submission
OWN = 60.0  # seconds for a cell of the lesson itself, on a busy machine
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
    given = [_Run(source) for source in (lesson.setup, *lesson.needed)]
    given += [_Run(exercise.solution, hidden=True) for exercise in missing]
    leads = Leads(work)
    with _Session(open_box, given) as session:
        waiting: _Answer | None = None
        for cell in [*work.cells, Cell("", closes="")]:
            if waiting and (cell.closes in (waiting.exercise.id, "") or cell.exercise):
                rows[waiting.exercise.id] = _judged(waiting, session, student, seed, work, leads)
                waiting = None
            raised = None
            if cell.source:
                raised = session.run(_Run(cell.source, idle=leads.are_idle(cell)))
            if cell.exercise:
                ended = bool(cell.source) and session.ended
                waiting = _Answer(exercises.find(cell.exercise), raised, ended)
    for exercise in missing:
        row = Row(student, exercise.id, 0, exercise.points, "MISSING", checks=version(exercise))
        rows[exercise.id] = row
    return [rows[exercise.id] for exercise in lesson.exercises]


class NoBox(RuntimeError):
    """No box opens, or the lesson's own cells fail in it."""


class _Answer:
    """An answer whose cell was run, until its check comes."""

    def __init__(self, exercise: Exercise, raised: Raised | None, ended: bool) -> None:
        self.exercise, self.raised, self.ended = exercise, raised, ended


@dataclass(frozen=True)
class _Run:
    """A cell to run: ours whose text is not to be seen, or one to which no answer leads."""

    source: str
    hidden: bool = False
    idle: bool = False


class _Session:
    """A box that is opened again when it ended, with every cell that ran well before.

    What an answer left behind (a thread, processor time used up) is not to cost the next answer:
    where a box ends or is late that has run another answer before, or much else, a new one tries
    once more. A student's experiments have a share of the time, and are not repeated.
    """

    def __init__(self, open_box: Callable[[], Box], first: list[_Run]) -> None:
        self._open, self._first, self._ran = open_box, first, []
        self._idle, self._spent = IDLE * PATIENCE, 0.0  # seconds left for these; used in this box
        self._box: Box | None = None
        self._called: set[str] = set()  # functions that were called in this box
        self._boxes, self._deadline = 0, time.monotonic() + PATIENCE
        self.ended = False  # whether the last cell or call ended its box

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def run(self, cell: _Run, again: bool = True) -> Raised | None:
        """Run a cell and keep it for the next box, unless it ended this one."""
        used, self.ended = bool(self._called), False
        if cell.idle and self._idle <= 0:
            return None
        try:
            box = self._ready()
            used = used or self._spent > AGED
            raised, seconds = self._timed(box, cell)
        except BoxFailed as failed:
            self._drop()
            if again and used:
                return self.run(cell, again=False)
            self.ended = True
            return Raised("TimeLimit", f"the cell was stopped: {failed}")
        if not cell.idle or seconds < BRIEF:
            self._ran.append(cell)
        return raised

    def _timed(self, box: Box, cell: _Run) -> tuple[Raised | None, float]:
        """What a cell raised, and the seconds that it took."""
        begun = time.monotonic()
        try:
            return box.run(cell.source, hidden=cell.hidden), time.monotonic() - begun
        finally:
            self._spent += time.monotonic() - begun
            self._idle -= (time.monotonic() - begun) * cell.idle

    def give(self, source: str) -> None:
        """Run a reference, in the box that is open or in the next one."""
        self._ran.append(_Run(source, hidden=True))
        if self._box is not None and self._box.alive:
            try:
                self._box.run(source, hidden=True)
            except BoxFailed:
                self._drop()  # the next one begins with all that ran

    def call(self, name: str, *inputs: Plain | Seed | Recipe) -> Observed:
        """Observe one call."""
        used = bool(self._called - {name}) or self._spent > AGED
        seen = self._called_once(name, inputs)
        if used and seen.error is not None and seen.error.kind == "TimeLimit":
            self._drop()
            seen = self._called_once(name, inputs)
        return seen

    def _called_once(self, name: str, inputs: tuple) -> Observed:
        try:
            box = self._ready()
            self._called.add(name)
            seen, self.ended = box.call(name, *inputs), False
        except BoxFailed as failed:
            self._drop()
            self.ended = True
            return Observed(error=Raised("TimeLimit", f"the call was stopped: {failed}"))
        return seen

    def _ready(self) -> Box:
        while True:
            if time.monotonic() > self._deadline:
                self._drop()
                raise BoxFailed("this submission has used up its time")
            if self._box is not None and self._box.alive:
                return self._box
            self._drop()
            if self._boxes >= BOXES:
                raise BoxFailed("this submission has used up its boxes")
            self._boxes += 1
            self._box = self._opened()
            self._replay()

    def _replay(self) -> None:
        """All cells that ran before; one that ends this box although it ran is left out."""
        for index, cell in enumerate(self._ran):
            try:
                if time.monotonic() > self._deadline:
                    return self._drop()
                self._timed(self._box, cell)
            except BoxFailed:
                del self._ran[index]
                return self._drop()

    def _opened(self) -> Box:
        """A new box in which the lesson's own cells ran."""
        try:
            box = self._open()
            ran = [box.run(cell.source, OWN, cell.hidden) for cell in self._first]
        except BoxFailed as failed:
            raise NoBox(str(failed)) from failed
        if raised := [found for found in ran if found is not None]:
            box.close()
            raise NoBox(f"the lesson's own cell raised {raised[0].kind}: {raised[0].message}")
        return box

    def _drop(self) -> None:
        if self._box is not None:
            self._box.close()
            self._box = None
        self._called, self._spent = set(), 0.0


def _judged(
    answer: _Answer, session: _Session, student: str, seed: int, work: Work, leads: Leads
) -> Row:
    exercise, ended = answer.exercise, answer.ended

    def observe(name: str, *inputs: Plain | Seed | Recipe) -> Observed:
        nonlocal ended
        seen = session.call(name, *inputs)
        ended = ended or session.ended
        return seen

    if ended:
        told = tidy(answer.raised.message)
        failure = Failure("the cell of the answer runs", told, "Restart the kernel and run it.")
        row = Row(student, exercise.id, 0, exercise.points, "NOT YET", failure=failure)
    else:
        drawn = hidden_seed(work, student, seed, exercise)
        verdict = judge(exercise, exercise.name, observe, seed=drawn)
        row = _row(student, exercise, verdict, answer.raised, partial(_without_references, work))
    if row.status != "PASS":
        session.give(exercise.solution)
    uses = ("uses-package",) if row.points and leads.use_package(exercise) else ()
    flags = (*work.flags.get(exercise.id, ()), *uses, *((ENDED,) if ended else ()))
    return Row(**{**vars(row), "flags": flags, "checks": version(exercise)})


def hidden_seed(work: Work, student: str, seed: int, exercise: Exercise) -> int:
    """Seed of one answer's inputs; what a page showed of them is of no use in another upload."""
    code = [cell.source.encode(errors="surrogatepass") for cell in work.cells]
    told = f"{seed}\0{student}\0{exercise.id}".encode(errors="surrogatepass")
    return int.from_bytes(sha256(b"\0".join([told, *code])).digest()[:7])


def _without_references(work: Work, text: str) -> str:
    """What a box said, the lines left out that only a reference of this lesson has."""
    own = "\n".join(cell.source for cell in work.cells)
    solutions = (exercise.solution for exercise in lessons()[work.lesson].exercises)
    for line in {line.strip() for solution in solutions for line in solution.splitlines()}:
        if len(line) >= 12 and line not in own:
            text = text.replace(line, "(not shown)")
    return tidy(text)


def _row(
    student: str,
    exercise: Exercise,
    verdict: Verdict,
    raised: Raised | None,
    shown: Callable[[str], str],
) -> Row:
    first, failure = verdict.first_failure, None
    if first is not None:
        lines = first.error.lines if first.error else ()
        evidence = first.evidence or ""
        if raised is not None:
            evidence = f"{evidence}; the cell itself raised {raised.kind}: {raised.message}"
        told = tuple(map(shown, lines[:5]))
        failure = Failure(tidy(first.claim), shown(evidence), tidy(first.hint), told)
    return Row(
        student, exercise.id, verdict.points, exercise.points, verdict.status, failure=failure
    )
