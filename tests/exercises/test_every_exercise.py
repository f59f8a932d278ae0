"""What holds for every exercise: its reference passes, its stub is a TODO, its shape is legal."""

import ast
import math

import pytest
import torch

from course_utils.checks import check
from course_utils.exercises import find, of_lesson
from course_utils.exercises.base import judge
from course_utils.observing import observe
from tests.exercises.harness import accepts

LESSONS = [f"{number:02d}" for number in range(19)]
EXERCISES = [exercise for lesson in LESSONS for exercise in of_lesson(lesson)]
SETUP = {  # what a lesson's setup cell imports beside math, torch and Tensor
    "09": {"Generator": torch.Generator, "nn": torch.nn, "Optimizer": torch.optim.Optimizer},
}
every = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)


@every
def test_reference_passes_on_fifty_seeds(exercise):
    accepts(exercise.id, exercise.reference)


def _in_the_lesson(exercise, source):
    """The function that `source` defines where only the setup and earlier answers are known."""
    names = {"math": math, "torch": torch, "Tensor": torch.Tensor, **SETUP.get(exercise.id[:2], {})}
    for earlier in of_lesson(exercise.id[:2]):
        if earlier.id == exercise.id:
            break
        names[earlier.name] = earlier.reference
    exec(source, names)
    return names[exercise.name]


@every
def test_untouched_stub_is_a_todo(exercise):
    verdict = judge(exercise, _in_the_lesson(exercise, exercise.stub), observe)
    assert (verdict.status, verdict.points) == ("TODO", 0)


@every
def test_solution_needs_nothing_but_the_setup_and_earlier_answers(exercise):
    accepts(exercise.id, _in_the_lesson(exercise, exercise.solution), seeds=range(2))


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


@every
def test_ids_are_of_the_lesson_and_found(exercise):
    assert find(exercise.id) is exercise


def test_unknown_exercise_is_named_with_the_legal_ones():
    with pytest.raises(ValueError, match=r"05-e99.*05-e2"):
        check("05-e99", print)
