"""What holds for every exercise: its reference passes, its shape is legal."""

import ast
import itertools
import math

import numpy as np
import pytest
import torch

from course_utils.checks import check, use
from course_utils.exercises import of_lesson
from course_utils.exercises.base import judge
from course_utils.observing import observe
from tests.exercises.harness import accepts, detached, in_numpy

LESSONS = [f"{number:02d}" for number in range(19)]
EXERCISES = [exercise for lesson in LESSONS for exercise in of_lesson(lesson)]
every = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)


@every
def test_reference_passes_on_every_seed(exercise):
    accepts(exercise.id, exercise.reference)


@every
def test_reference_is_short_and_typed(exercise):
    function = ast.parse(exercise.solution).body[0]
    docstring = function.body[0]
    code_lines = len(exercise.solution.splitlines()) - (docstring.end_lineno - docstring.lineno + 1)
    assert code_lines <= 12, f"{exercise.id}: {code_lines} lines beside the docstring"
    assert function.returns is not None
    assert all(argument.annotation is not None for argument in function.args.args)


@every
def test_hints_differ_and_keep_the_solution_to_themselves(exercise):
    hints = [claimed.hint for claimed in exercise.properties]
    assert len(set(hints)) == len(hints) and all(len(hint) > 20 for hint in hints)
    assert len(exercise.properties) >= 2
    assert 1 <= exercise.stars <= 3 and exercise.minutes > 0


def test_unknown_exercise_is_named_with_the_legal_ones():
    with pytest.raises(ValueError, match=r"05-e99.*05-e2"):
        check("05-e99", print)


# --- points without mathematics ---------------------------------------------------------------


def _parts(value):
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, tuple | list) else [value]


def _summary(part):
    return part if isinstance(part, str) else round(float(np.asarray(part, float).mean()), 9)


def _returned(exercise, seed):
    """What the reference returns while it is judged: a list per part, a string or a mean a call."""
    found = []

    def noting(answer, *inputs):
        seen = observe(answer, *inputs)
        found.append([_summary(part) for part in _parts(seen.value)])
        return seen

    judge(exercise, exercise.reference, noting, seed)
    return list(zip(*found, strict=True))


def _guesses(exercise):
    """Constants worth a try: for each part 0, 1, its mean; what two seeds give; any of the names.

    What is the same for two seeds belongs to inputs that never change: log 2, or a slope of 3. Of
    two parts every pair is tried; of three the zeros, the ones, the means.
    """
    every = []
    for here, there in zip(*(_returned(exercise, seed) for seed in (0, 1)), strict=True):
        if isinstance(here[0], str):
            every.append(sorted(set(here)))
        else:
            every.append([0.0, 1.0, float(np.mean(here)), *(set(here) & set(there) - {0.0, 1.0})])
    tried = itertools.product(*every) if len(every) < 3 else zip(*every, strict=False)
    return [*tried, (math.nan,) * len(every)]


def _filled(part, guess):
    if isinstance(part, str | int | float):
        return guess
    return torch.full(np.shape(part), guess, dtype=torch.float64)


def _always(exercise, guess):
    """An answer of the reference's shape that is these numbers, or one that does nothing."""

    def answer(*inputs):
        if exercise.reference.__annotations__["return"] is None:  # it would change its inputs
            return None
        value = exercise.reference(*inputs)
        filled = list(map(_filled, _parts(value), guess))
        if isinstance(value, dict):
            return dict(zip(value, filled, strict=True))
        return tuple(filled) if isinstance(value, tuple) else filled[0]

    return answer


@every
def test_a_constant_earns_at_most_15_per_cent(exercise):
    for guess in _guesses(exercise):
        verdict = judge(exercise, _always(exercise, guess), observe, seed=2)
        held = [outcome.claim for outcome in verdict.outcomes if outcome.holds]
        assert verdict.points <= 0.15 * exercise.points, (guess, held)


# --- what `use` hands on ----------------------------------------------------------------------


def _asked(exercise):
    """The inputs of every call that judging makes."""
    found = []
    judge(exercise, exercise.reference, lambda f, *given: found.append(given) or observe(f, *given))
    return found


def _kinds(function, inputs, gradient, dtype):
    """Type, dtype, shape of each part of what a call returns, and the inputs that it is led to."""
    kinds = []

    def call(*given):
        floats = [t for t in given if isinstance(t, torch.Tensor) and t.is_floating_point()]
        for tensor in floats:
            tensor.data = tensor.data.to(dtype or tensor.dtype)
            tensor.requires_grad_(gradient)
        value = function(*given)
        for part in value if isinstance(value, tuple) else [value]:
            kind = [type(value), type(part), getattr(part, "dtype", None)]
            if isinstance(part, torch.Tensor):
                kind.append(part.shape)
                if gradient and part.requires_grad:
                    led = torch.autograd.grad(
                        part.sum(), floats, retain_graph=True, allow_unused=True
                    )
                    kind.append([grad is not None for grad in led])
            kinds.append(kind)

    seen = observe(call, *inputs)
    assert seen.error is None, seen.error
    return kinds


@every
@pytest.mark.parametrize("wrapped", [in_numpy, detached])
def test_use_hands_on_what_later_cells_can_use(exercise, wrapped, capsys):
    handed = use(exercise.id, wrapped(exercise.reference))
    for inputs in _asked(exercise)[::4]:
        for gradient, dtype in ((False, None), (True, torch.float32)):
            found = _kinds(handed, inputs, gradient, dtype)
            assert found == _kinds(exercise.reference, inputs, gradient, dtype)
