"""Exercises of lesson 12 on the loss: the KL of two isotropic Gaussians, the loss's weights."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Observe,
    Property,
    differs,
    equals,
)


def kl_isotropic(mean1: Tensor, sd1: float, mean2: Tensor, sd2: float) -> Tensor:
    """KL(N(mean1, sd1^2 I) || N(mean2, sd2^2 I)) in nats, one value per row of the means (B, d).

    sd1 and sd2 are standard deviations: Python numbers, the same for all rows and dimensions.
    """
    if mean1.shape != mean2.shape:
        raise ValueError(f"means {tuple(mean1.shape)}, {tuple(mean2.shape)}; legal: one shape")
    d = mean1.shape[1]
    squared_distance = ((mean1 - mean2) ** 2).sum(1)
    return d * (math.log(sd2 / sd1) - 0.5) + (d * sd1**2 + squared_distance) / (2 * sd2**2)


def loss_weight(beta: Tensor, sigma2: Tensor) -> Tensor:
    """The weight lambda_t in L_{t-1} = E[lambda_t |eps - eps_theta|^2] + c_t, for t = 1..T: (T,).

    beta and sigma2 are (T + 1,), index = t, with beta[0] = 0: the noise of step t, and the
    variance sigma_t^2 > 0 of the reverse step p(x_{t-1}|x_t). Entry 0 is no step.
    """
    alpha_bar = (1 - beta).cumprod(0)
    return (beta**2 / (2 * sigma2 * (1 - beta) * (1 - alpha_bar)))[1:]


def _laws(draw: Draw, d: int, apart: float = 1, sd: float = 0, spread: float = 1) -> tuple:
    """Two laws; sd 0: drawn away from 1; sd2 is spread times sd1; `apart` scales m1 - m2."""
    mean2 = draw.normal(4, d)
    sd = sd or float(draw.uniform(1.6, 2.4) if draw.integer(0, 1) else draw.uniform(0.4, 0.6))
    return mean2 + apart * draw.normal(4, d), sd, mean2, spread * sd


def _unequal(draw: Draw) -> float:
    """A ratio of standard deviations away from 1."""
    return float(draw.uniform(2.0, 3.0) if draw.integer(0, 1) else draw.uniform(0.3, 0.5))


def _in_every_dimension(apart: float) -> Callable:
    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        for d in range(1, 11):
            given = _laws(draw, d, apart, spread=_unequal(draw))
            right = kl_isotropic(*given)
            if wrong := differs(observe(answer, *given).value, right, "KL", where=f"in d = {d}"):
                return wrong
        return None

    return test


def _narrow(draw: Draw) -> tuple:
    sd1, sd2 = draw.uniform(1e-6, 3e-6, 2).tolist()
    mean2 = draw.normal(4, 3)
    return mean2 + sd2 * draw.uniform(0.5, 1.5, 4, 3), sd1, mean2, sd2


ISOTROPIC = (
    Property(
        "with sd1 = sd2 = 1 it is half the squared distance (checked with d = 1)",
        "Put both sds to 1: log 1 = 0, and with equal means the rest must cancel, too. What is "
        "left of the distance, squared and halved?",
        equals(kl_isotropic, lambda d: _laws(d, 1, sd=1.0), "KL"),
    ),
    Property(
        "distances are measured in standard deviations (d = 1, sd1 = sd2)",
        "sd1 and sd2 are standard deviations, not variances: s = 1 hides it, try s = 2. Twice the "
        "sds and twice the distance must leave the KL as it is.",
        equals(kl_isotropic, lambda d: _laws(d, 1), "KL"),
    ),
    Property(
        "a spread other than the second law's has its price (d = 1, equal means)",
        "Equal means, unequal sds: the average is over the first law. Is the second sd in the "
        "numerator of the log (the natural one), which variance is divided by which, and is d the "
        "number of columns (here 1)?",
        equals(kl_isotropic, lambda d: _laws(d, 1, apart=0, spread=_unequal(d)), "KL"),
    ),
    Property(
        "each dimension pays the price of the spread",
        "Right in d = 1 only. The log without d is negative in d = 3, -0.232 where 1.519 is right "
        "(E02), and no KL is: all that has no mean in it comes once per dimension.",
        _in_every_dimension(apart=0),
    ),
    Property(
        "is exact in every dimension",
        "The spreads are right, the distance is not: sum its squares over the d dimensions, and "
        "divide by the variance of the law whose mean is missed.",
        _in_every_dimension(apart=1),
    ),
    Property(
        "is exact for laws a millionth wide",
        "Right for wide laws only: no number is added to an sd, none is clamped. Near the end of "
        "sampling the laws are narrow.",
        equals(kl_isotropic, _narrow, "KL"),
    ),
)


def _steps(draw: Draw, low: float, high: float, T: int = 6) -> tuple[Tensor, Tensor]:
    """T steps of beta in [low, high), sigma2 of that size; entry 0 is 0."""
    beta = draw.uniform(low, high, T + 1)
    beta[0] = 0
    return beta, beta * draw.uniform(0.5, 1.5, T + 1)


def _finite_at_every_step(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    values = []
    for given in (_steps(draw, 0.1, 0.6), _steps(draw, 0.1, 0.6)):
        values.append(observe(answer, *given).value)
        if wrong := differs(values[-1], torch.zeros(6), "lambda", tolerance=math.inf):
            return wrong
        if differs(torch.as_tensor(values[-1])[1:], loss_weight(*given)[:-1]) is None:
            return "you: the weights of t = 0 to T - 1, asked are those of t = 1 to T"
    same = differs(*values) is None
    return f"lambda = {torch.as_tensor(values[0]).tolist()} for another beta, too" if same else None


def _halves(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    beta, sigma2 = _steps(draw, 0.1, 0.6)
    first = observe(answer, beta, sigma2).value
    if wrong := differs(first, torch.zeros(6), "lambda", tolerance=math.inf):
        return wrong
    half = torch.as_tensor(first).double() / 2
    if not half.any():
        return "lambda = 0 at every step"
    return differs(observe(answer, beta, 2 * sigma2).value, half, "lambda at twice sigma2")


def _right_up_to_alpha(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    given = _steps(draw, 2e-4, 1e-3)
    value, right = observe(answer, *given).value, loss_weight(*given)
    if wrong := differs(value, right, "lambda", tolerance=math.inf):
        return wrong
    shown = differs(value, right, "lambda", 0.0, "for small beta")
    return shown if differs(torch.as_tensor(value) / right, torch.ones(6), "", 0.01) else None


WEIGHT = (
    Property(
        "is finite for each of the T steps",
        "1 - alpha_bar[0] = 0: entry 0 is no step, and 0/0 is NaN. Which index has the alpha_bar "
        "that x_t was made with, and which entries are asked? Those depend on beta.",
        _finite_at_every_step,
    ),
    Property(
        "twice the variance halves the weight",
        "sigma2 is already a variance, so look at the units: beta^2/beta. With a standard "
        "deviation in its place, or its square, twice sigma2 does not halve the weight.",
        _halves,
    ),
    Property(
        "is right for small beta, where alpha_t is near 1",
        "In mu the noise eps has a factor, beta_t over a root. Its square, times the 1/(2 sigma2) "
        "of the KL, is the weight: was all of the factor squared, is the 1/2 there, has each step "
        "its own alpha_bar, and is nothing added to a denominator?",
        _right_up_to_alpha,
    ),
    Property(
        "is right for large beta",
        "Right for small beta only, where alpha_t and alpha_bar_t are both near 1: compare with "
        "D30. Which factor stands in front of the bracket in mu, and what does the square make "
        "of it?",
        equals(loss_weight, lambda d: _steps(d, 0.2, 0.6, T=11), "lambda"),
    ),
)

EXERCISES = (
    Exercise("12-e4", "Two round Gaussians", 15, 1, ISOTROPIC, kl_isotropic),
    Exercise("12-e6", "What the loss weighs", 15, 2, WEIGHT, loss_weight),
)
