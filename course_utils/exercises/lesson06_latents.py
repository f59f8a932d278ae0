"""Exercises of lesson 06 on gradient estimators, the latent grid, active latents."""

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


def decode_grid(decode: "Callable[[Tensor], Tensor]", n: int) -> Tensor:
    """The images decode(z) of n x n latents z = (u_i, u_j), in one batch: number n*i + j.

    u_i is the quantile of N(0, 1) at (i + 0.5)/n, for i = 0 ... n - 1, in float32. decode maps
    latents (B, 2) to images (B, ...).
    """
    u = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(n) + 0.5) / n)
    return decode(torch.cartesian_prod(u, u))


def active_units(mean: Tensor) -> int:
    """The number of latents whose posterior mean varies over the data: variance above 0.01.

    mean (B, K): row b is the mean of q(z|x_b).
    """
    return int((mean.var(0) > 0.01).sum())


def _pair(
    answer: Answer, observe: Observe, draw: Draw, f: str, n: int, mean: float, sd: float
) -> tuple[Tensor, Tensor]:
    """The two results as float64 tensors (n,)."""
    value = observe(answer, mean, sd, Recipe(f"lambda z: {f}"), n, draw.seed()).value
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError("asked are two tensors: pathwise, score")
    for name, part in zip(("pathwise", "score"), value, strict=True):
        if wrong := differs(part, torch.zeros(n), name, tolerance=math.inf):
            raise ValueError(wrong)
    return torch.as_tensor(value[0]).double(), torch.as_tensor(value[1]).double()


def _slope(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    pathwise, _ = _pair(answer, observe, draw, "3 * z", 20, float(draw.uniform(-1, 1)), 0.5)
    return differs(pathwise, torch.full((20,), 3.0), "pathwise")


def _score_of_constant(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    n = draw.count(1000)
    _, score = _pair(answer, observe, draw, "0 * z + 5", n, 1.0, 0.5)
    return far(float(score.mean()), 0, 10 / math.sqrt(n), "mean score for f = 5")


def _score_of_identity(sd: float) -> Callable:
    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        n, mean = draw.count(4000), float(draw.uniform(0.2, 0.8))
        _, score = _pair(answer, observe, draw, "z", n, mean, sd)
        error = math.sqrt((mean**2 / sd**2 + 2) / n)  # Var of (mean + sd eps) eps / sd
        return far(float(score.mean()), 1, error, f"mean score for f = z, sd = {sd:g}")

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
        "for f(z) = z the score estimates average to 1, at sd = 0.5",
        "Right at sd = 1 only: which power of sd stands in d log q / d mean?",
        _score_of_identity(0.5),
        statistical=True,
    ),
    Property(
        "for f = z^2 at mean = sd = 1 the draws have variances 4 and 30",
        "Return the n single-draw estimates: no averages, and no draw used twice.",
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
)


def _quantiles(n: int) -> Tensor:
    return torch.special.ndtri((torch.arange(n).double() + 0.5) / n)


def _levels(answer: Answer, observe: Observe, n: int) -> Tensor:
    """The levels of the first coordinate, sorted; the decoder is the identity."""
    value = observe(answer, Recipe("lambda z: z"), n).value
    if not isinstance(value, Tensor) or value.shape != (n * n, 2):
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"decode(z) = z gave {shape}, asked is a tensor ({n * n}, 2)")
    return torch.unique((value[:, 0].double() * 1e4).round() / 1e4)


def _equal_shares(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    levels = _levels(answer, observe, n=8)
    shares = torch.special.ndtr(levels).diff()
    if len(levels) == 8 and shares.max() - shares.min() < 1e-3:
        return None
    text = ", ".join(f"{share:.2g}" for share in shares[:9].tolist())
    text += ", …" if len(shares) > 9 else ""
    return f"share of N(0, 1) between neighbours on the axis: {text or 'one level only'}"


def _levels_exact(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    return differs(_levels(answer, observe, n=8), _quantiles(8), "axis", tolerance=1e-4)


def _decoded(f: str, n: int) -> Callable:
    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        u = _quantiles(n)
        z = torch.stack([u.repeat_interleave(n), u.repeat(n)], 1)
        right = eval(f"lambda z: {f}", {"torch": torch})(z.float())
        value = observe(answer, Recipe(f"lambda z: {f}"), n).value
        return differs(value, right, "images", tolerance=1e-4)

    return test


GRID = (
    Property(
        "neighbours on an axis enclose equal shares of the prior",
        "An even grid in z spends its images on corners that the prior never samples: the axis "
        "must be dense where N(0, 1) is.",
        _equal_shares,
    ),
    Property(
        "the axis holds the quantiles at (i + 0.5)/n",
        "The quantiles at 0 and 1 are infinitely far away: every level stands in the middle of its "
        "share, from 0.5/n to 1 - 0.5/n.",
        _levels_exact,
    ),
    Property(
        "image number n*i + j belongs to (u_i, u_j)",
        "The right images in another order: which coordinate runs faster?",
        _decoded("z", 3),
    ),
    Property(
        "returns what the decoder gives, in float32",
        "Return decode(z) for the whole batch of latents as it comes; reshape nothing.",
        _decoded("(z @ torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]]))[:, None]", 4),
    ),
)


def _moving(draw: Draw, *variances: float, mean: float = 0) -> tuple[Tensor]:
    """Posterior means (50, K) whose columns have these variances over the data."""
    z = draw.normal(50, len(variances))
    z = (z - z.mean(0)) / z.std(0)
    return (mean * torch.arange(1, len(variances) + 1) + torch.tensor(variances).sqrt() * z,)


ACTIVE = (
    Property(
        "two latents that move together with the data are both active",
        "Count latents, those that move and not those that rest. The variance of each is taken "
        "over the data, that is over the rows.",
        equals(active_units, lambda d: (d.normal(50, 1).expand(50, 2).clone(),)),
    ),
    Property(
        "a latent that is the same for all data is not active, wherever it stands",
        "A mean of 3 for every x tells nothing about x: measure how it moves, not how large it is.",
        equals(active_units, lambda d: _moving(d, 1.0, 0.0, 0.0, mean=3)),
    ),
    Property(
        "the threshold is for the variance",
        "A standard deviation of 0.05 is a variance of 0.0025, below 0.01; one of 0.2 is 0.04, "
        "above it.",
        equals(active_units, lambda d: _moving(d, 0.0025, 0.0025, 0.04)),
    ),
    Property(
        "is right for any number of latents",
        "Compare with a count by eye: which latents have a variance above 0.01?",
        equals(active_units, lambda d: _moving(d, *([0.5, 0.02, 0.002] * d.integer(1, 4)), mean=1)),
    ),
)

EXERCISES = (
    Exercise("06-e3", "Two gradients of one average", 20, 3, ESTIMATORS, gradient_estimators),
    Exercise("06-e5", "A map of the latent plane", 10, 2, GRID, decode_grid),
    Exercise("06-e6", "Who is alive?", 5, 1, ACTIVE, active_units),
)
