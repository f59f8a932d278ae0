"""Exercises of lesson 00 on divergences (00-e3, 00-e4): properties, hints, references."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Normal

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Form,
    Observe,
    Property,
    Stop,
    differs,
    equals,
)

EYE = torch.eye(3, dtype=torch.float64)
EDGE = torch.zeros(1, dtype=torch.float64)


def gaussian_kl(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """KL(N(mean1, cov1) || N(mean2, cov2)) in nats, one number; means (D,), covariances (D, D)."""
    shift = mean2 - mean1  # (D,)
    trace = torch.linalg.solve(cov2, cov1).trace()
    distance = shift @ torch.linalg.solve(cov2, shift)
    log_ratio = torch.logdet(cov2) - torch.logdet(cov1)
    return 0.5 * (trace - len(mean1) + distance + log_ratio)


def jsd(p: Tensor, q: Tensor, dx: float) -> Tensor:
    """Jensen-Shannon divergence in nats, one number, of two densities on a grid of spacing dx.

    JSD = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2; p and q (N,) may be zero.
    """
    m = (p + q) / 2
    kl_p = (torch.xlogy(p, p) - torch.xlogy(p, m)).sum() * dx  # xlogy(0, 0) = 0
    kl_q = (torch.xlogy(q, q) - torch.xlogy(q, m)).sum() * dx
    return (kl_p + kl_q) / 2


def _law(draw: Draw, D: int) -> tuple[Tensor, Tensor]:
    root = draw.normal(D, D)
    return draw.normal(D), root @ root.T + torch.eye(D, dtype=torch.float64)


def _shifted(draw: Draw) -> tuple:
    mean, cov = _law(draw, 2)
    return mean, cov, mean + draw.uniform(0.5, 1.5, 2), cov


def _spreads(draw: Draw, d: int) -> tuple:
    mean, eye = draw.normal(d), EYE[:d, :d]
    return mean, draw.uniform(0.1, 0.5) * eye, mean, draw.uniform(1.5, 3.0) * eye


def _shift_and_spreads(draw: Draw) -> tuple:
    mean1, cov1, mean2, cov2 = _spreads(draw, 1)
    return mean1, cov1, mean2 + draw.uniform(0.5, 1.5, 1), cov2


def _table(draw: Draw, *shape: int) -> Tensor:
    weights = draw.uniform(0.2, 1.0, *shape)
    return weights / weights.sum()


def _apart(draw: Draw, size: int) -> tuple:
    """Two tables of `size` positive entries, three places apart; they share places if size > 3.

    Both are 0 at both ends, so that the sum and the trapezoid rule are the same integral.
    """
    gap = torch.zeros(3, dtype=torch.float64)
    p = torch.cat([EDGE, _table(draw, size), gap, EDGE])
    q = torch.cat([EDGE, gap, _table(draw, size), EDGE])
    return p, q, 1.0


def _densities(draw: Draw, unit: float = 1) -> tuple:
    x = torch.linspace(-15, 15, 1201, dtype=torch.float64)
    p, q = (Normal(draw.normal(1), draw.uniform(0.5, 1.5, 1)).log_prob(x).exp() for _ in range(2))
    return p / unit, q / unit, unit * float(x[1] - x[0])


def _integral(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    narrow = equals(jsd, _densities, "JSD")(answer, observe, draw)
    return narrow or equals(jsd, lambda d: _densities(d, 1000), "JSD")(answer, observe, draw)


def _number(observe: Observe, answer: Answer, given: tuple, name: str) -> float:
    """What the answer returns, as a number; it may be infinite or NaN.

    Raises:
        Stop: it is no number.
    """
    value = observe(answer, *given).value
    wrong = differs(value, 0.0, name, tolerance=torch.inf)
    if isinstance(wrong, Form):
        raise Stop(wrong)
    return float(value)


def _only_to_itself(name: str, itself: Callable, other: Callable) -> Callable:
    """0 for two equal laws; and not 0 for two others, as a number that is always 0 would be."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        value = _number(observe, answer, itself(draw), name)
        if wrong := differs(value, 0.0, name):
            return wrong
        apart = _number(observe, answer, other(draw), name)
        return None if abs(apart) > 1e-6 else f"{name} is 0 for two laws that differ, too"

    return test


def _finite(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    one, two = (_number(observe, answer, _apart(draw, 5), "JSD") for _ in range(2))
    if math.isfinite(one) and one != two:  # a constant is finite, too
        return None
    return f"you: JSD = {one} and {two} for two pairs of laws that are 0 in places"


def _many_dimensions(draw: Draw) -> tuple:
    """Two laws in 60 dimensions, in units of a thousandth: no determinant fits into a float."""
    unit, root = 1e-3, torch.eye(60, dtype=torch.float64) + 0.02 * draw.normal(60, 60)
    cov1, cov2 = (unit**2 * root @ draw.uniform(0.5, 2, 60).diag() @ root.T for _ in range(2))
    return unit * draw.normal(60), cov1, unit * draw.normal(60), cov2


def _disjoint(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    apart = equals(jsd, lambda draw: _apart(draw, 3), "JSD")(answer, observe, draw)
    p = _table(draw, 4)
    return apart or differs(observe(answer, p, p, 1.0).value, 0.0, "JSD")


KL = (
    Property(
        "zero from a law to itself, and to no other",
        "From a law to itself the trace gives d: what takes it away?",
        _only_to_itself("KL", lambda draw: 2 * _law(draw, 2), _shifted),
    ),
    Property(
        "with equal covariances only the shift counts",
        "Equal covariances, shifted means: in which units is the shift measured, and where "
        "is the 1/2? In nats, and with nothing added to a covariance.",
        equals(gaussian_kl, _shifted, "KL"),
    ),
    Property(
        "right for two spreads in d = 1",
        "Which law do you average over? The first. And which sign has the log ratio? Its logarithm "
        "is natural, and halved.",
        equals(gaussian_kl, lambda draw: _spreads(draw, 1), "KL"),
    ),
    Property(
        "right for a shift and two spreads in d = 1",
        "Right for a shift alone and for spreads alone: whose covariance is the unit of the shift? "
        "The second law's, which judges the draws of the first.",
        equals(gaussian_kl, _shift_and_spreads, "KL"),
    ),
    Property(
        "three independent coordinates cost three times as much",
        "Check the σ-only case in d = 3: it should be 3 times the d = 1 value. Which of your "
        "terms does not grow with d?",
        equals(gaussian_kl, lambda draw: _spreads(draw, 3), "KL"),
    ),
    Property(
        "right for any covariances in d = 10",
        "Right without correlations, wrong with them: trace, distance and determinant are "
        "those of whole matrices.",
        equals(gaussian_kl, lambda draw: _law(draw, 10) + _law(draw, 10), "KL"),
    ),
    Property(
        "finite and right in 60 dimensions, in small units",
        "A determinant of 60 dimensions leaves the range of floats: take the logarithm before its "
        "factors meet. And small variances are no zeros: nothing is added, nothing clamped.",
        equals(gaussian_kl, _many_dimensions, "KL"),
    ),
)

JSD = (
    Property(
        "zero for equal laws, and for no others",
        "For p = q the middle must be p itself: is your m an average?",
        _only_to_itself(
            "JSD",
            lambda draw: (*2 * (_table(draw, 6),), 1.0),
            lambda draw: (_table(draw, 6), _table(draw, 6), 1.0),
        ),
    ),
    Property(
        "finite where p or q is zero",
        "0 · log 0 counts as 0 (its limit), and m is positive wherever p or q is: which of "
        "your logarithms sees a zero?",
        _finite,
    ),
    Property(
        "log 2 for disjoint laws, 0 for equal ones",
        "Disjoint laws must give log 2 = 0.693 nats. If you got 2 log 2, a 1/2 is missing; "
        "1 means base 2; 0.833 a square root; 0 that these places were left out; less than 0 "
        "that a ratio is upside down; a little off, that a small number was added.",
        _disjoint,
    ),
    Property(
        "symmetric: both laws count alike",
        "Swap p and q: nothing may change. Does each have its own KL to the middle?",
        equals(jsd, lambda draw: _apart(draw, 5), "JSD"),
    ),
    Property(
        "an integral: dx counts",
        "Right for a table (dx = 1), wrong for densities: where is dx in your integral?",
        _integral,
    ),
)

EXERCISES = (
    Exercise("00-e3", "KL between two Gaussians", 20, 2, KL, gaussian_kl),
    Exercise("00-e4", "The Jensen-Shannon divergence", 15, 2, JSD, jsd),
)
