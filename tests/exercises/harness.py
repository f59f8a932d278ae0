"""How the tests of the exercises speak: `accepts` a right answer, `rejects` a wrong one."""

from collections.abc import Callable
from dataclasses import replace

from course_utils.exercises import find
from course_utils.exercises.base import judge
from course_utils.observing import observe
from tests import prove


def accepts(exercise_id: str, answer: Callable, most: int = prove.MANY) -> None:
    """The answer passes every property on the seeds of this run (`most`: fewer for a slow one)."""
    exercise = find(exercise_id)
    for seed in prove.seeds(exercise_id)[:most]:
        verdict = judge(exercise, answer, observe, seed)
        assert verdict.status == "PASS", (seed, verdict.first_failure)


def rejects(exercise_id: str, answer: Callable, hint: str, most: int = prove.MANY) -> None:
    """The answer fails on these seeds, and the hint shown first is the one on its mistake."""
    exercise = find(exercise_id)
    at = [i for i, claimed in enumerate(exercise.properties, 1) if hint in claimed.hint]
    assert len(at) < 2, f"{hint!r} is in the hints of properties {at}: say more of it"
    needed = replace(exercise, properties=exercise.properties[: at[0] if at else None])
    for seed in prove.seeds(exercise_id)[:most]:
        verdict = judge(needed, answer, observe, seed)
        assert verdict.status == "NOT YET", (seed, f"a wrong answer has status {verdict.status}")
        shown = verdict.first_failure
        assert hint in shown.hint, f"seed {seed}: {shown.hint!r} is shown, not the one on {hint!r}"
