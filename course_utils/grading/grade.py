"""Grade one submission: its code runs in a box, cell by cell; the checks run here.

Each answer is judged where its check stands, on inputs that nobody has seen; where it failed or is
missing, the reference takes its place for the cells that follow, but never for an answer to an
exercise before it. A cell or a call that ends the box costs that
exercise: a new box takes over from the last cell that ran well.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from course_utils import exercises
from course_utils.exercises.base import Exercise, Verdict, judge
from course_utils.grading.base import Cell, Failure, Row, Work, tidy, version
from course_utils.grading.box import Box, BoxFailed
from course_utils.grading.notebook import Leads, Lesson, lessons
from course_utils.observing import Observed, Plain, Raised, Recipe, Seed

# Seconds of a quiet machine: a box says how many times slower this one is (`Box.pace`).
PATIENCE = 300.0  # for one submission
IDLE = 1 / 3  # of PATIENCE, at most, for cells to which no answer leads
BRIEF = 0.5  # for such a cell that runs in the next box, too
OWN = 60.0  # for a cell of the lesson itself
AGED = 10.0  # seconds that an old box was busy: it may have used up its processor time
BOXES = 40  # restarts for one submission
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
    lesson, leads = lessons()[work.lesson], Leads(work)
    rows: dict[str, Row] = {}
    rank = {exercise.id: at for at, exercise in enumerate(lesson.exercises)}
    answered = {cell.exercise for cell in work.cells}
    owed = [exercise for exercise in lesson.exercises if exercise.id not in answered]
    for exercise in owed:
        row = Row(student, exercise.id, 0, exercise.points, "MISSING", checks=version(exercise))
        rows[exercise.id] = row
    with _Session(partial(_opened, open_box, lesson)) as session:
        waiting: _Answer | None = None
        for cell in [*work.cells, Cell("", closes="")]:
            if waiting and (cell.closes in (waiting.exercise.id, "") or cell.exercise):
                row = _judged(waiting, session, student, seed, work, leads)
                rows[row.exercise] = row
                owed += [waiting.exercise] if row.status != "PASS" else []
                session.lend(e for e in owed if rank[e.id] <= rank[row.exercise])
                waiting = None
            if cell.exercise:
                session.lend(e for e in owed if rank[e.id] < rank[cell.exercise])
            raised = None
            if cell.source:
                raised = session.run(_Run(cell.source, idle=leads.are_idle(cell)))
            if cell.exercise:
                ended = bool(cell.source) and session.ended
                waiting = _Answer(exercises.find(cell.exercise), raised, ended)
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


def _opened(open_box: Callable[[], Box], lesson: Lesson) -> Box:
    """A new box in which the lesson's own cells ran."""
    try:
        box = open_box()
        ran = [box.run(source, OWN) for source in (lesson.setup, *lesson.needed)]
    except BoxFailed as failed:
        raise NoBox(str(failed)) from failed
    if raised := [found for found in ran if found is not None]:
        box.close()
        raise NoBox(f"the lesson's own cell raised {raised[0].kind}: {raised[0].message}")
    return box


class _Session:
    """A box that is opened again when it ended, with every cell that ran well before.

    What an answer left behind (a thread, processor time used up) is not to cost the next answer:
    where a box ends or is late that has run another answer before, or much else, a new one tries
    once more. A student's experiments have a share of the time, and are not repeated.
    """

    def __init__(self, open_box: Callable[[], Box]) -> None:
        self._open, self._box, self._boxes = open_box, None, 0
        self._ran: list[_Run] = []
        self._left, self._idle = PATIENCE, IDLE * PATIENCE  # seconds; of them for idle cells
        self.ended = False  # whether the last cell or call ended its box

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def run(self, cell: _Run, again: bool = True) -> Raised | None:
        """Run a cell and keep it for the next box, unless it ended this one."""
        used, self.ended = self._box is not None and bool(self._box.called), False
        if cell.idle and self._idle <= 0:
            return None
        try:
            box = self._ready()
            used, before = used or box.busy > AGED, self._left
            raised = self._asked(cell.idle, box.run, cell.source, None, cell.hidden)
        except BoxFailed as failed:
            self._drop()
            if again and used:
                return self.run(cell, again=False)
            self.ended = True
            return Raised("TimeLimit", f"the cell was stopped: {failed}")
        if not cell.idle or before - self._left < BRIEF:
            self._ran.append(cell)
        return raised

    def lend(self, lent: Iterable[Exercise]) -> None:
        """See to it that of all references just these run here: now, and in the next box.

        One that ran cannot be taken back: without it a new box is needed.
        """
        wanted = [_Run(exercise.solution, hidden=True) for exercise in lent]
        kept = [cell for cell in self._ran if not cell.hidden or cell in wanted]
        if kept != self._ran:
            self._drop()
        self._ran = kept
        for cell in wanted:
            if cell not in kept:
                self._ran.append(cell)
                if self._box is not None and self._box.alive:
                    with suppress(BoxFailed):  # the next one begins with all that ran
                        self._asked(False, self._box.run, cell.source, None, True)

    def call(self, name: str, *inputs: Plain | Seed | Recipe) -> Observed:
        """Observe one call."""
        box = self._box
        used = box is not None and (bool(box.called - {name}) or box.busy > AGED)
        seen = self._called_once(name, inputs)
        if used and seen.error is not None and seen.error.kind == "TimeLimit":
            self._drop()
            seen = self._called_once(name, inputs)
        return seen

    def _called_once(self, name: str, inputs: tuple) -> Observed:
        try:
            seen = self._asked(False, self._ready().call, name, *inputs)
        except BoxFailed as failed:
            self._drop()
            self.ended = True
            return Observed(error=Raised("TimeLimit", f"the call was stopped: {failed}"))
        self.ended = False
        return seen

    def _asked(self, idle: bool, ask: Callable, *question: object) -> object:
        """The open box's answer; the seconds that it takes are counted."""
        box, begun = self._box, self._box.busy
        try:
            return ask(*question)
        finally:
            seconds = (box.busy - begun) / box.pace
            self._left -= seconds
            self._idle -= seconds * idle

    def _ready(self) -> Box:
        while self._box is None or not self._box.alive:
            self._drop()
            if self._boxes >= BOXES or self._left < 0:
                raise BoxFailed("this submission has used up its time")
            self._boxes += 1
            self._box = self._open()
            self._left -= self._box.busy / self._box.pace
            self._replay()
        if self._left < 0:
            raise BoxFailed("this submission has used up its time")
        return self._box

    def _replay(self) -> None:
        """All cells that ran before; one that ends this box although it ran is left out."""
        for index, cell in enumerate(self._ran):
            try:
                if self._left < 0:
                    return
                self._asked(cell.idle, self._box.run, cell.source, None, cell.hidden)
            except BoxFailed:
                del self._ran[index]
                return self._drop()

    def _drop(self) -> None:
        if self._box is not None:
            self._box.close()
            self._box = None


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
