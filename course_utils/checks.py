"""Checks in the notebook: `check`, `use`, `show_solution`, `reset`.

`check("05-e2", elbo)` as the last line of a cell shows TODO, PASS, or the first property that
fails with its hint and the numbers that show it; it never stops "Run all".
"""

import functools
import html
import operator
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from course_utils import exercises, progress
from course_utils.exercises.base import Exercise, Observe, Outcome, Verdict, judge
from course_utils.observing import Observed, observe

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
    told = _noted(exercise.id, verdict.status) if record else ""
    return Shown(verdict, f"\n  {told}" if told else "")


def use(exercise_id: str, answer: Callable) -> Callable:
    """The student's function if it passes, else the reference; says which one later cells get.

    A check takes NumPy's numbers for torch's, later cells may not: what the answer returns becomes
    what the reference would return, tensors of the inputs' dtype among others. A call that needs a
    gradient, where the answer gives none, goes to the reference.
    """
    exercise, asked = exercises.find(exercise_id), []

    def noting(answer: Callable, *inputs: object) -> Observed:
        asked.append(inputs)
        return observe(answer, *inputs)

    if _judge(exercise, answer, noting).status != "PASS":
        print(f"The next cells use the reference {exercise.name} until yours passes {exercise_id}.")
        return exercise.reference
    handed, notes = _handed_on(exercise, answer, asked)
    print("\n  ".join([f"The next cells use your {exercise.name}.", *notes]))
    return handed


def show_solution(exercise_id: str) -> None:
    """Print the reference and note that it was shown; points are not touched."""
    exercise = exercises.find(exercise_id)
    told = _noted(exercise.id, "SOLUTION SHOWN")
    print(exercise.solution, *([told] if told else []), sep="\n")


def reset(exercise_id: str) -> None:
    """Start one exercise again: forget its result and print its stub, to paste where you want.

    The cell with your answer is not touched.
    """
    exercise = exercises.find(exercise_id)
    told = _noted(exercise.id, "TODO")
    print(exercise.stub, *([told] if told else []), sep="\n")


def _noted(exercise_id: str, state: str) -> str:
    """Note it in the progress file; a disk that cannot be written stops no lesson, it is told."""
    try:
        progress.record(exercise_id, state)
    except OSError as full:
        return f"(your progress is not saved: {full})"
    return ""


def _judge(exercise: Exercise, answer: Callable, observe: Observe = observe) -> Verdict:
    if callable(answer):
        return judge(exercise, answer, observe)
    claim, kind = f"{exercise.name} is a function", type(answer).__name__
    hint = "Does a later cell use its name for something else? Run the answer's cell again."
    outcome = Outcome(claim, hint, f"{exercise.name} is a {kind}")
    return Verdict(exercise.id, "NOT YET", (outcome,), exercise.points)


def _handed_on(
    exercise: Exercise, answer: Callable, asked: list[tuple]
) -> tuple[Callable, list[str]]:
    """An answer that passed, such that later cells can live with it, and what was done to it."""
    fits, cuts, reads = True, False, True  # reads: it takes tensors that require a gradient
    for inputs in asked:
        model, given = _called(exercise.reference, inputs)
        value, taken = _called(answer, inputs)
        fits = fits and bool(taken) and _like(value, model, _kind(given), _kind(given)) is value
        result = _called(answer, inputs, gradient=True)
        reads = reads and bool(result[1])
        wanted = _reached(*_called(exercise.reference, inputs, gradient=True))
        cuts = cuts or not wanted <= _reached(*result)
    if fits and reads and not cuts:
        return answer, []

    @functools.wraps(answer)
    def handed(*inputs: object, **named: object) -> object:
        every = (*inputs, *named.values())
        if cuts and torch.is_grad_enabled() and any(map(_has_gradient, every)):
            return exercise.reference(*inputs, **named)
        if cuts or not reads:
            inputs, named = map(_bare, inputs), {name: _bare(item) for name, item in named.items()}
        return _like(answer(*inputs, **named), model, _kind(given), _kind(every))

    turned = ["What it returns is turned into what the reference would return, tensors for one."]
    lent = ["Where they need a gradient, they use the reference: yours gives none."]
    return handed, turned * (not fits) + lent * cuts


def _called(answer: Callable, inputs: tuple, gradient: bool = False) -> tuple[object, tuple]:
    """What the answer returns on fresh inputs, and these; None and () if it raises."""
    kept: list[tuple[object, tuple]] = [(None, ())]

    def call(*given: object) -> None:
        for item in given:
            if isinstance(item, Tensor) and item.is_floating_point():
                item.requires_grad_(gradient)
        kept.append((answer(*given), given))

    observe(call, *inputs)
    return kept[-1]


def _reached(value: object, given: tuple) -> set[tuple[int, int]]:
    """(part, input): a gradient of that part of what was returned reaches that input."""
    leaves = {at: t for at, t in enumerate(given) if isinstance(t, Tensor) and t.requires_grad}
    found = set()
    for number, part in enumerate(value if isinstance(value, tuple | list) else [value]):
        if leaves and isinstance(part, Tensor) and part.requires_grad:
            several = {"retain_graph": True, "allow_unused": True}
            grads = torch.autograd.grad(part.sum(), list(leaves.values()), **several)
            found |= {(number, at) for at, g in zip(leaves, grads, strict=True) if g is not None}
    return found


def _has_gradient(item: object) -> bool:
    if isinstance(item, nn.Module):
        return any(weights.requires_grad for weights in item.parameters())
    return isinstance(item, Tensor) and item.requires_grad


def _bare(item: object) -> object:
    """A tensor as NumPy can read it, anything else as it is."""
    return item.detach().cpu() if isinstance(item, Tensor) else item


class _Kind(NamedTuple):
    """Of a call's tensors: their floating point dtype (None: there is none) and their device."""

    dtype: torch.dtype | None
    device: torch.device


def _kind(given: tuple) -> _Kind:
    tensors = [item for item in given if isinstance(item, Tensor)]
    dtypes = [t.dtype for t in tensors if t.is_floating_point()]
    dtype = functools.reduce(torch.promote_types, dtypes) if dtypes else None
    return _Kind(dtype, tensors[0].device if tensors else torch.device("cpu"))


def _like(value: object, model: object, before: _Kind, now: _Kind) -> object:
    """The value in the types of `model`, of a reference; itself where it has them.

    A tensor that had the dtype of the inputs then (`before`) has that of the inputs `now`.
    """
    if isinstance(model, Tensor):
        dtype = now.dtype if now.dtype is not None and model.dtype == before.dtype else model.dtype
        value = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
        return value.to(now.device, dtype)
    if isinstance(model, tuple | list):
        parts = [_like(v, m, before, now) for v, m in zip(value, model, strict=True)]
        same = type(value) is type(model) and all(map(operator.is_, parts, value))
        return value if same else type(model)(parts)
    if isinstance(model, dict):
        parts = {name: _like(value[name], part, before, now) for name, part in model.items()}
        return value if all(parts[name] is value[name] for name in model) else parts
    return value if model is None or isinstance(value, type(model)) else type(model)(value)


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
