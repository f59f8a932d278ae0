"""Exercise 06-e3, two gradient estimators: properties of a right answer, hints, reference."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Form,
    Observe,
    Property,
    Stop,
    differs,
    far,
    ignores_generator,
)
from course_utils.observing import Recipe


def gradient_estimators(
    mean: float, sd: float, f: "Callable[[Tensor], Tensor]", n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Two estimates of d/dmean E f(z), z ~ N(mean, sd^2), from each of n draws: pathwise, score.

    Returns both as (n,), not averaged. Noise: torch.randn(n, generator=generator,
    dtype=torch.float64). f works on a whole tensor, entry by entry; its derivative at every z is
    torch.autograd.grad(f(z).sum(), z)[0], where z is a tensor that requires a gradient.
    """
    eps = torch.randn(n, generator=generator, dtype=torch.float64)
    z = (mean + sd * eps).requires_grad_()
    value = f(z)
    pathwise = torch.autograd.grad(value.sum(), z)[0]  # f'(z) dz/dmean, and dz/dmean = 1
    score = value.detach() * (z.detach() - mean) / sd**2  # f(z) d/dmean log q(z)
    return pathwise, score


class Repeated(Form):
    """Evidence that one number stands for every draw."""

    hint = "Return the n single-draw estimates: no averages, and no draw used twice."


def _pair(
    answer: Answer, observe: Observe, draw: Draw, f: str, n: int, mean: float, sd: float
) -> tuple[Tensor, Tensor]:
    """The two results as float64 tensors (n,).

    Raises:
        Stop: they are not two tensors (n,) of finite numbers.
    """
    value = observe(answer, mean, sd, Recipe(f"lambda z: {f}"), n, draw.seed()).value
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise Stop(Form(f"you returned a {type(value).__name__}, asked are two: (pathwise, score)"))
    for name, part in zip(("pathwise", "score"), value, strict=True):
        if wrong := differs(part, torch.zeros(n), name, tolerance=math.inf):
            raise Stop(wrong)
    return torch.as_tensor(value[0]).double(), torch.as_tensor(value[1]).double()


def _off(score: Tensor, exact: float, error: float, name: str) -> str | None:
    """None if the estimates average to `exact` and are not all the same."""
    if wrong := far(float(score.mean()), exact, error, f"mean score for {name}"):
        return wrong
    return Repeated(f"{name}: one score for all draws") if score.min() == score.max() else None


def _slope(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    pathwise, _ = _pair(answer, observe, draw, "3 * z", 20, float(draw.uniform(-1, 1)), 0.5)
    return differs(pathwise, torch.full((20,), 3.0), "pathwise")


def _kink(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """A difference quotient of 1e9 + |z| rounds, or has its steps across the kink."""
    pathwise, _ = _pair(answer, observe, draw, "1e9 + z.abs()", 200, 0.0, 1.0)
    return differs(pathwise.abs(), torch.ones(200), "|pathwise| for f = 10^9 + |z|")


def _score_of_constant(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    n = draw.count(1000)
    _, score = _pair(answer, observe, draw, "0 * z + 5", n, 1.0, 0.5)
    return _off(score, 0, 10 / math.sqrt(n), "f = 5")


def _score_of_identity(*sds: float) -> Callable:
    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        n = draw.count(4000)
        for sd in sds:
            mean = sd * float(draw.uniform(0.2, 0.8))
            _, score = _pair(answer, observe, draw, "z", n, mean, sd)
            error = math.sqrt((mean**2 / sd**2 + 2) / n)  # Var of (mean + sd eps) eps / sd
            if wrong := _off(score, 1, error, f"f = z, sd = {sd:g}"):
                return wrong
        return None

    return test


def _one_number_per_draw(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    pair = _pair(answer, observe, draw, "z**2", draw.count(5000), 1.0, 1.0)
    for name, values, variance in zip(("pathwise", "score"), pair, (4, 30), strict=True):
        if not variance / 2.5 < float(values.var()) < variance * 2.5:
            return f"you: variance of {name} = {float(values.var()):.3g}, right: about {variance}"
    return None


def _both_tend_to_the_gradient(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    n, mean, sd = draw.count(2000), float(draw.uniform(-0.5, 0.5)), float(draw.uniform(1.8, 2.2))
    pathwise, score = _pair(answer, observe, draw, "torch.sin(z)", n, mean, sd)
    exact = math.cos(mean) * math.exp(-(sd**2) / 2)
    wrong = far(float(pathwise.mean()), exact, 1 / math.sqrt(n), "mean pathwise for f = sin")
    return wrong or far(float(score.mean()), exact, 1 / sd / math.sqrt(n), "mean score for f = sin")


def _draws_follow_the_generator(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    return ignores_generator(answer, observe, draw, 1.0, 1.0, Recipe("lambda z: z**2"), 20)


ESTIMATORS = (
    Property(
        "for f(z) = 3z every pathwise draw is 3",
        "Pathwise: move mean and watch f(mean + sd eps) with eps held fixed. Its slope in mean is "
        "that of f itself, whatever f you are given; the slope in sd is another question. Is your "
        "second result 3 everywhere? Then the order is swapped: pathwise first.",
        _slope,
    ),
    Property(
        "for a constant f the score estimates average to 0",
        "The score term is missing: your estimator returns E f. What multiplies f(z) after the "
        "derivative has gone to log q?",
        _score_of_constant,
        statistical=True,
    ),
    Property(
        "for f(z) = z the score estimates average to 1, at sd = 1",
        "Differentiate log q(z) in the mean, not in the standard deviation; mind the sign.",
        _score_of_identity(1.0),
        statistical=True,
    ),
    Property(
        "for f(z) = z the score estimates average to 1, at any sd",
        "Right at sd = 1 only: which power of sd stands in d log q / d mean? Nothing is added to "
        "it.",
        _score_of_identity(0.5, 1e-4),
        statistical=True,
    ),
    Property(
        "for f = z^2 at mean = sd = 1 the draws have variances 4 and 30",
        Repeated.hint,
        _one_number_per_draw,
        statistical=True,
    ),
    Property(
        "equal seeds give equal results, other seeds others",
        "Every random number comes from the generator you are given; make none of your own.",
        _draws_follow_the_generator,
    ),
    Property(
        "both average to the gradient for f = sin",
        "f is an argument, and z = mean + sd eps: sd is a standard deviation, take no root of it "
        "and no square. For f = z^2 nobody notices; f = z^3 has the gradient 3 (mean^2 + sd^2).",
        _both_tend_to_the_gradient,
        statistical=True,
    ),
    Property(
        "the pathwise estimates are exact derivatives",
        "A difference quotient is rounded and crosses kinks: let autograd differentiate f.",
        _kink,
    ),
)

EXERCISES = (
    Exercise("06-e3", "Two gradients of one average", 20, 3, ESTIMATORS, gradient_estimators),
)
