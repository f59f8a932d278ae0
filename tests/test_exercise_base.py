"""How an exercise is judged: order, points, redraws, TODO, evidence that a reader can use."""

import math

import numpy as np
import pytest
import torch

from course_utils.exercises.base import (
    Draw,
    Exercise,
    Property,
    differs,
    equals,
    far,
    ignores_generator,
    judge,
)
from course_utils.observing import observe


def double(x: torch.Tensor) -> torch.Tensor:
    """Twice x."""
    return 2 * x


def _exercise(*properties):
    return Exercise("05-e9", "Twice", 1, 1, properties, double)


def _needs(fits):
    def test(answer, observe, draw):
        value = observe(answer, draw.normal(3)).value
        return None if fits(value) else f"value {value}"

    return test


COMPARE = "Compare with x + x, entry by entry."
DOUBLES = Property("doubles", COMPARE, equals(double, lambda draw: (draw.normal(3),)))
FINITE = Property("finite", "Whence the NaN?", _needs(lambda v: bool(torch.isfinite(v).all())))


def test_a_point_per_property_and_the_first_failure_is_shown():
    verdict = judge(_exercise(FINITE, DOUBLES), lambda x: 3 * x, observe)
    assert (verdict.status, verdict.points, verdict.possible) == ("NOT YET", 1, 2)
    assert verdict.first_failure.claim == "doubles"
    assert judge(_exercise(FINITE, DOUBLES), double, observe).first_failure is None


def test_todo_is_exactly_the_stubs_exception():
    def raises(error):
        def answer(x):
            raise error

        return judge(_exercise(FINITE, DOUBLES), answer, observe)

    assert raises(NotImplementedError("05-e9")).status == "TODO"
    for error in (NotImplementedError(), NotImplementedError("later"), ValueError("05-e9")):
        verdict = raises(error)
        assert verdict.status == "NOT YET" and verdict.first_failure.error.kind in (
            "NotImplementedError",
            "ValueError",
        )


def test_an_endless_loop_is_waited_for_once():
    calls = []

    def impatient(answer, *inputs):
        calls.append(1)
        return observe(answer, *inputs, seconds=0.1)

    def loops(x):
        while True:
            pass

    verdict = judge(_exercise(FINITE, DOUBLES), loops, impatient)
    assert (verdict.status, len(verdict.outcomes), len(calls)) == ("NOT YET", 1, 1)
    assert "endless loop" in verdict.first_failure.evidence


def _judged_sizes(statistical, fails_at):
    sizes, first_entries = [], []

    def test(answer, observe, draw):
        sizes.append(draw.count(100))
        first_entries.append(float(draw.normal()))
        return "unlucky" if sizes[-1] in fails_at else None

    claimed = Property("random", "Look at the draws, all of them.", test, statistical)
    status = judge(_exercise(claimed), double, observe).status
    return sizes, status, len(set(first_entries))


def test_a_statistical_property_redraws_once_with_ten_times_the_samples():
    assert _judged_sizes(True, fails_at=()) == ([100], "PASS", 1)
    assert _judged_sizes(True, fails_at=(100,)) == ([100, 1000], "PASS", 2)
    assert _judged_sizes(True, fails_at=(100, 1000)) == ([100, 1000], "NOT YET", 2)
    assert _judged_sizes(False, fails_at=(100,)) == ([100], "NOT YET", 1)


def test_the_same_seed_draws_the_same_inputs():
    def drawn(seed):
        kept = []
        judge(
            _exercise(Property("", "", lambda a, o, d: kept.append(d.normal(4)))),
            double,
            observe,
            seed,
        )
        return kept[0]

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    draw = Draw(0)
    assert draw.normal(2, 3).dtype == torch.float64
    assert all(2 <= draw.integer(2, 4) <= 4 for _ in range(50))
    assert {draw.integer(0, 1) for _ in range(50)} == {0, 1}


def test_an_input_changed_in_place_fails_with_a_hint_of_its_own():
    def in_place(x):
        return x.mul_(2)

    shown = judge(_exercise(DOUBLES), in_place, observe).first_failure
    assert "input number 1" in shown.evidence and "Work on a copy" in shown.hint


def test_a_changed_input_does_not_leak_into_the_property():
    kept = []

    def test(answer, observe, draw):
        x = draw.normal(3)
        kept.extend([x, x.clone()])
        observe(answer, x)

    judge(_exercise(Property("", "", test)), lambda x: x.zero_(), observe)
    assert torch.equal(kept[0], kept[1])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "NoneType"),
        ("2", "str"),
        (True, "bool"),
        ([1.0, 2.0], "list"),
        (np.array(["a", "b", "c"]), "cannot read"),
        (torch.ones(3) > 0, "torch.bool"),
        (torch.ones(3) * 1j, "complex64"),
        (torch.ones(2), "shape (2,), asked is (3,)"),
        (torch.ones(3, 1), "shape (3, 1), asked is (3,)"),
        (1.0, "shape (), asked is (3,)"),
    ],
)
def test_a_wrong_form_is_named_and_hinted_at_as_such(value, says):
    shown = judge(_exercise(DOUBLES), lambda x: value, observe).first_failure
    assert says in shown.evidence and "First the form" in shown.hint


def test_wrong_numbers_bring_the_propertys_own_hint():
    for value in (torch.ones(3), torch.tensor([1.0, math.nan, 2.0]), torch.full((3,), math.inf)):
        shown = judge(_exercise(DOUBLES), lambda x, value=value: value, observe).first_failure
        assert shown.hint == DOUBLES.hint
    assert "NaN or infinite" in shown.evidence


def test_a_check_that_cannot_read_an_answer_stops_nothing():
    claimed = Property("sum", "Hint.", lambda a, o, d: o(a, d.normal(3)).value.total)
    shown = judge(_exercise(claimed), double, observe).first_failure
    assert "cannot read what you returned" in shown.evidence


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([1.0, 2.0]).double(),
        np.array([1.0, 2.0]),
        np.array([1, 2]),
        torch.tensor([1.0, 2.0 + 1e-10]).double(),
    ],
)
def test_equal_numbers_of_any_kind_do_not_differ(value):
    assert differs(value, torch.tensor([1.0, 2.0])) is None


def test_numbers_of_python_keep_their_digits():
    assert differs(1 / 3, 1 / 3) is None
    assert differs(1 / 3 + 1e-8, 1 / 3) is not None
    assert differs(1.5, torch.tensor(2.0), "elbo") == "you: elbo = 1.5, right: 2"
    rounded = differs(torch.tensor(1 / 3), 1 / 3)
    assert "equal to 6 digits" in rounded
    assert "dtype=x.dtype" in rounded.hint and "a small number added" in rounded.hint


def test_the_entries_shown_are_among_those_that_differ():
    right = torch.arange(10.0)
    wrong = right.clone()
    wrong[6] = -1
    shown = "you: value = […, 4, 5, -1, 7, …], right: […, 4, 5, 6, 7, …]"
    assert differs(wrong, right) == shown
    assert differs(right[:0], right[:0]) is None
    assert differs(-right, right).startswith("you: value = [-0, -1, -2, -3, …], right: [0,")


def test_tolerance_is_relative_to_the_largest_entry():
    assert differs(torch.tensor([1e6 + 1e-4, 0.0]).double(), torch.tensor([1e6, 0.0])) is None
    assert differs(torch.tensor([1e-6]).double(), torch.tensor([0.0])) is not None


def test_far_means_four_standard_errors():
    assert far(1.39, 1.0, 0.1) is None
    assert far(1.41, 1.0, 0.1, "mean") == "you: mean = 1.41, right: 1: 4.1 standard errors apart"
    assert far(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]), torch.tensor([0.1, 0.3])) is None
    assert "NaN" in far(math.nan, 1.0, 0.1)


def test_a_generator_that_is_ignored_is_seen():
    def judged(answer):
        return ignores_generator(answer, observe, Draw(0), 3)

    assert judged(lambda n, g: torch.randn(n, generator=g)) is None
    assert judged(lambda n, g: (torch.randn(n, generator=g).numpy(), [1])) is None
    assert "give the same result" in judged(lambda n, g: torch.zeros(n))
    assert "different results" in judged(lambda n, g: torch.full((n,), float(np.random.rand())))  # noqa: NPY002


def test_stub_and_solution_come_from_the_reference():
    exercise = _exercise(DOUBLES)
    assert (exercise.name, exercise.points) == ("double", 1)
    assert exercise.solution.endswith("return 2 * x")
    assert exercise.stub.splitlines()[-2:] == [
        '    """Twice x."""',
        '    raise NotImplementedError("05-e9")',
    ]
