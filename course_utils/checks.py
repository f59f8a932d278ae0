"""Checks in the notebook: `check`, `use`, `show_solution`, `reset`.

`check("05-e2", elbo)` as the last line of a cell shows TODO, PASS, or the first property that
fails with its hint and the numbers that show it; it never stops "Run all".
"""

import html
import os
from collections.abc import Callable

from course_utils import exercises, progress
from course_utils.exercises.base import Exercise, Outcome, Verdict, judge
from course_utils.observing import observe

COLOURS = {"TODO": "#7A7A7A", "PASS": "#00785A", "NOT YET": "#C14F00"}


class Shown:
    """A verdict as the notebook shows it: plain text, and the same with a coloured bar."""

    def __init__(self, verdict: Verdict, note: str = "") -> None:
        self.verdict, self.note = verdict, note

    def __repr__(self) -> str:
        return _text(self.verdict) + self.note

    def _repr_html_(self) -> str:
        colour, text = COLOURS[self.verdict.status], html.escape(repr(self))
        return (
            f'<pre style="border-left: 6px solid {colour}; padding: 0.4em 0.8em; '
            f'white-space: pre-wrap">{text}</pre>'
        )


def check(exercise_id: str, answer: Callable, *, record: bool = True) -> Shown | float:
    """Judge an answer and note the result in the progress file.

    Args:
        exercise_id: such as "05-e2".
        answer: the student's function.
        record: False leaves the progress as it is: for a demonstration with somebody else's answer.

    Returns: the verdict to display; under nbgrader (NBGRADER_EXECUTION is set) the points as a
    float, because nbgrader gives full marks to a cell that only prints.

    Raises:
        ValueError: no such exercise.
    """
    exercise = exercises.find(exercise_id)
    verdict = _judge(exercise, answer)
    if os.environ.get("NBGRADER_EXECUTION"):
        return float(verdict.points)
    try:
        if record:
            progress.record(exercise_id, verdict.status)
    except OSError as full:  # a disk that cannot be written stops no lesson
        return Shown(verdict, f"\n  (your progress is not saved: {full})")
    return Shown(verdict)


def use(exercise_id: str, answer: Callable) -> Callable:
    """The student's function if it passes, else the reference; says which one later cells get."""
    exercise = exercises.find(exercise_id)
    passes = _judge(exercise, answer).status == "PASS"
    whose = "your" if passes else "the reference"
    until = "" if passes else f" until yours passes {exercise_id}"
    print(f"The next cells use {whose} {exercise.name}{until}.")
    return answer if passes else exercise.reference


def show_solution(exercise_id: str) -> None:
    """Print the reference and note that it was shown; points are not touched."""
    exercise = exercises.find(exercise_id)
    progress.record(exercise_id, "SOLUTION SHOWN")
    print(exercise.solution)


def reset(exercise_id: str) -> None:
    """Start one exercise again: forget its result and print its stub, to paste where you want.

    The cell with your answer is not touched.
    """
    exercise = exercises.find(exercise_id)
    progress.reset(exercise_id)
    print(exercise.stub)


def _judge(exercise: Exercise, answer: Callable) -> Verdict:
    if callable(answer):
        return judge(exercise, answer, observe)
    claim, kind = f"{exercise.name} is a function", type(answer).__name__
    hint = "Does a later cell use its name for something else? Run the answer's cell again."
    outcome = Outcome(claim, hint, f"{exercise.name} is a {kind}")
    return Verdict(exercise.id, "NOT YET", (outcome,), exercise.points)


def _text(verdict: Verdict) -> str:
    head = f"{verdict.exercise} · {verdict.status}"
    if verdict.status == "TODO":
        return f"{head} · write the body above, run that cell, then this one"
    points = f"{head} · {verdict.points} of {verdict.possible} points"
    failure = verdict.first_failure
    return points if failure is None else "\n".join([points, *_explain(failure)])


def _explain(failure: Outcome) -> list[str]:
    lines = [f"  should hold: {failure.claim}", f"  {failure.evidence}"]
    if failure.error is not None:
        return lines + [f"    {line}" for line in failure.error.lines]
    return [*lines, f"  hint: {failure.hint}"]
