"""A line of a derivation: what passes, what fails, what is refused, and what a row may show."""

import math

import numpy as np
import pytest
import torch

from course_utils import derivation as line
from course_utils.derivation import DerivationError, Estimate

f64 = torch.float64


def draws(n=400, mean=1.0, seed=0):
    return mean + torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=f64)


def test_equal_sides_print_one_stable_row(capsys):
    line.equal("A8", 0.1 + 0.2, 0.3, "definition of KL")
    assert capsys.readouterr().out == "A8   holds · definition of KL · 0.3 · to 1e-08\n"


@pytest.mark.parametrize("factor", [1 + 3e-8, 1 - 3e-8, -1, 2])
def test_a_relative_difference_beyond_the_tolerance_fails(factor):
    with pytest.raises(DerivationError, match=r"A8 does not hold \(KL\)"):
        line.equal("A8", 1e6, 1e6 * factor, "KL")
    line.equal("A8", 1e6, 1e6 * (1 + 3e-9), "KL")


def test_the_error_names_both_values_the_entry_and_the_distance():
    left = torch.tensor([1.0, 2.0, 3.0], dtype=f64)
    with pytest.raises(DerivationError) as caught:
        line.equal("A3", left, torch.tensor([1.0, 2.5, 3.0], dtype=f64), "Bayes")
    text = str(caught.value)
    assert "entry 1 of 3" in text and "left      2" in text and "right     2.5" in text
    assert "tolerances" in text


def test_near_zero_the_absolute_tolerance_counts():
    line.equal("A9", 1e-13, 0.0, "equality")
    with pytest.raises(DerivationError):
        line.equal("A9", 1e-11, 0.0, "equality")


def test_rounding_noise_is_shown_as_zero(capsys):
    line.equal("A9", 3e-17, -4e-17, "equality")
    assert "· 0 ·" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("left", "right", "holds"), [(1.0, 2.0, True), (2.0, 2.0, True), (2.1, 2.0, False)]
)
def test_inequalities(left, right, holds):
    for relation, sides in ((line.at_most, (left, right)), (line.at_least, (right, left))):
        if holds:
            relation("A10", *sides, "KL >= 0")
        else:
            with pytest.raises(DerivationError):
                relation("A10", *sides, "KL >= 0")


def test_an_inequality_must_hold_for_every_entry():
    left = torch.tensor([0.0, 0.0, 1.0], dtype=f64)
    with pytest.raises(DerivationError, match="entry 2"):
        line.at_most("A10", left, torch.zeros(3, dtype=f64), "KL >= 0")


def test_an_estimate_is_allowed_four_standard_errors(capsys):
    estimate = Estimate.of(draws())
    error = float(estimate.standard_error)
    line.equal("B2", estimate, float(estimate.mean) + 3.9 * error, "importance sampling")
    with pytest.raises(DerivationError):
        line.equal("B2", estimate, float(estimate.mean) + 4.1 * error, "importance sampling")


def test_two_estimates_add_their_errors():
    line.equal("V3", Estimate(0.0, 3.0), Estimate(19.9, 4.0), "4 x hypot(3, 4) = 20")
    with pytest.raises(DerivationError):
        line.equal("V3", Estimate(0.0, 3.0), Estimate(20.1, 4.0), "beyond")


def test_a_row_never_shows_a_random_value(capsys):
    estimate = Estimate.of(draws())
    line.equal("B2", estimate, 1.0, "importance sampling")
    line.equal("V3", estimate, Estimate.of(draws(seed=1)), "same law")
    line.rejects("B2", estimate, 5.0, "off by four")
    text = capsys.readouterr().out
    assert f"{float(estimate.mean):.3g}" not in text
    assert text.splitlines()[1] == "V3   holds · same law · within 4 standard errors"


def test_estimate_of_draws_has_the_textbook_error():
    values = draws(100)
    estimate = Estimate.of(values)
    assert float(estimate.mean) == pytest.approx(float(values.mean()), rel=1e-15)
    assert float(estimate.standard_error) == pytest.approx(np.std(values.numpy(), ddof=1) / 10)


def test_four_standard_errors_hold_for_right_code_and_miss_for_wrong_code():
    """Over 300 seeds a right estimate is hardly ever refused, one off by 10 SE always."""
    refused = 0
    for seed in range(300):
        estimate = Estimate.of(draws(seed=seed))
        try:
            line.equal("B2", estimate, 1.0, "mean")
        except DerivationError:
            refused += 1
        with pytest.raises(DerivationError):
            line.equal("B2", estimate, 1.5, "mean, off by 10 SE")
    assert refused <= 1


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (math.nan, "NaN"),
        (math.inf, "infinite"),
        (torch.ones(3), "float32"),
        (np.float32(1.0), "float32"),
        (torch.ones(3, dtype=torch.int64), "int64"),
        (True, "bool"),
        ("1.0", "str"),
        (None, "NoneType"),
        (torch.zeros(0, dtype=f64), "empty"),
    ],
)
def test_what_is_no_exact_side_is_refused(bad, named):
    for relation in (line.equal, line.at_most, line.at_least, line.rejects):
        with pytest.raises(ValueError, match=named):
            relation("A8", bad, bad, "KL")


def test_shapes_never_broadcast():
    with pytest.raises(ValueError, match=r"\(4,\).*\(4, 1\)"):
        line.equal("A8", torch.ones(4, dtype=f64), torch.ones(4, 1, dtype=f64), "KL")


def test_an_estimate_without_spread_is_refused():
    with pytest.raises(ValueError, match="standard error"):
        Estimate(1.0, 0.0)
    with pytest.raises(ValueError, match="all draws equal"):
        Estimate.of(torch.ones(10, dtype=f64))
    with pytest.raises(ValueError, match="2 draws"):
        Estimate.of(torch.ones(1, dtype=f64))
    with pytest.raises(ValueError, match="standard_error"):
        Estimate(torch.zeros(3, dtype=f64), torch.ones(2, dtype=f64))


def test_another_tolerance_needs_and_prints_a_reason(capsys):
    line.equal("A1", 1.0, 1.001, "quadrature", tolerance=0.01, because="a coarse grid")
    assert "tolerance 0.01, because a coarse grid" in capsys.readouterr().out
    for alone in ({"tolerance": 0.01}, {"because": "a coarse grid"}):
        with pytest.raises(ValueError, match="go together"):
            line.equal("A1", 1.0, 1.001, "quadrature", **alone)
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="tolerance"):
            line.equal("A1", 1.0, 1.0, "quadrature", tolerance=bad, because="none")


def test_rejects_needs_ten_tolerances():
    right = Estimate(0.0, 1.0)
    line.rejects("E08", right, 40.1, "says unbiased")
    with pytest.raises(DerivationError, match="not told apart"):
        line.rejects("E08", right, 39.9, "says unbiased")


@pytest.mark.parametrize(
    ("left", "wrong", "said"),
    [
        (1.0, 1.02, "10^6"),  # 2 per cent of 1e-8
        (0.0, 1.0, "10^8"),
        (1e-12, 1.0, "10^8"),  # the same after rounding
        (1.0, 1.0 + 1.1e-7, "10^1"),
    ],
)
def test_the_row_of_a_wrong_side_says_how_far_it_is(capsys, left, wrong, said):
    line.rejects("E08", left, wrong, "a slip")
    assert capsys.readouterr().out.endswith(f" · misses by at least {said} tolerances\n")


def test_a_stated_tolerance_is_the_unit_of_the_distance(capsys):
    line.rejects("E08", 1.0, 4.0, "three off", tolerance=0.01, because="a coarse grid")
    assert capsys.readouterr().out.endswith("misses by at least 10^2 tolerances\n")


def test_a_random_distance_does_not_enter_the_row(capsys):
    for wrong in (5.0, 500.0):  # 20 and 2,500 tolerances
        line.rejects("B2", Estimate(0.0, 0.05), wrong, "off")
        assert capsys.readouterr().out.endswith("misses by at least 10 tolerances\n")


def test_rejects_an_inequality_only_on_the_wrong_side():
    line.rejects("E04", 3.0, 2.0, "above the evidence", relation="at_most")
    with pytest.raises(DerivationError):
        line.rejects("E04", 1.0, 2.0, "below: nothing wrong", relation="at_most")
    with pytest.raises(ValueError, match="legal: equal, at_most, at_least"):
        line.rejects("E04", 1.0, 2.0, "?", relation="same")


@pytest.mark.parametrize("label", ["", "a8", "A8b", "step A8", "0.1", "A123"])
def test_a_label_is_a_step_a_slip_or_a_section(label):
    with pytest.raises(ValueError, match="legal"):
        line.equal(label, 1.0, 1.0, "rule")


def test_a_side_may_carry_a_graph():
    leaf = torch.ones(2, dtype=f64, requires_grad=True)
    line.equal("V3", leaf * 2, torch.full((2,), 2.0, dtype=f64), "autograd")
