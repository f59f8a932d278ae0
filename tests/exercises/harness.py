"""How the tests of the exercises speak: `accepts` a right answer, `rejects` a wrong one.

`in_numpy` and `detached` write a reference as students do who pass and give no gradient.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

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


def _tree(f: Callable, value: object) -> object:
    """The value with f done to every tensor in it."""
    if isinstance(value, torch.Tensor):
        return f(value)
    if isinstance(value, list | tuple):
        return type(value)(_tree(f, part) for part in value)
    return {k: _tree(f, v) for k, v in value.items()} if isinstance(value, dict) else value


def in_numpy(reference: Callable) -> Callable:
    """The reference as somebody writes it in NumPy: it cannot read a tensor with a gradient."""

    def answer(*inputs: object) -> object:
        _tree(np.asarray, inputs)
        return _tree(lambda tensor: tensor.detach().numpy()[()], reference(*inputs))

    return answer


def detached(reference: Callable) -> Callable:
    """The reference as somebody writes it who leaves the graph."""
    return lambda *inputs: _tree(torch.detach, reference(*inputs))
