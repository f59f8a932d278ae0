"""What holds for every exercise: its reference passes, its shape is legal."""

import ast

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
