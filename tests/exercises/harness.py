"""How the tests of the exercises speak: `accepts` a right answer, `rejects` a wrong one."""

from collections.abc import Callable

from course_utils.exercises import find
from course_utils.exercises.base import judge
from course_utils.observing import observe

SEEDS = range(50)


def accepts(exercise_id: str, answer: Callable) -> None:
    """The answer passes every property on 50 seeds."""
    exercise = find(exercise_id)
    for seed in SEEDS:
        verdict = judge(exercise, answer, observe, seed)
        assert verdict.status == "PASS", (seed, verdict.first_failure)


def rejects(exercise_id: str, answer: Callable, hint: str) -> None:
    """The answer fails on 50 seeds, and the hint shown first is the one that names its mistake."""
    exercise = find(exercise_id)
    for seed in SEEDS:
        verdict = judge(exercise, answer, observe, seed)
        assert verdict.status == "NOT YET", (seed, f"a wrong answer has status {verdict.status}")
        shown = verdict.first_failure
        assert hint in shown.hint, f"seed {seed}: {shown.hint!r} is shown, not the one on {hint!r}"
