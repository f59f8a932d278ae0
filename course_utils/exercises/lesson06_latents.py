"""Exercises of lesson 06 on latents: the grid of them (06-e5), the active ones (06-e6)."""

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
    equals,
)
from course_utils.observing import Recipe


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


def _quantiles(n: int) -> Tensor:
    return torch.special.ndtri((torch.arange(n).double() + 0.5) / n)


def _levels(answer: Answer, observe: Observe, n: int) -> Tensor:
    """The levels of the first coordinate, sorted; the decoder is the identity.

    Raises:
        Stop: not one latent per image came back.
    """
    value = observe(answer, Recipe("lambda z: z"), n).value
    if not isinstance(value, Tensor) or value.shape != (n * n, 2):
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise Stop(Form(f"decode(z) = z gave {shape}, asked is a tensor ({n * n}, 2)"))
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
    Property(
        "a fine grid reaches as far as its quantiles",
        "At n = 60 the outermost quantiles are 2.4 from 0: are the levels clamped, or n ignored?",
        _decoded("z", 60),
    ),
)


def _moving(draw: Draw, *variances: float, mean: float = 0) -> tuple[Tensor]:
    """Posterior means (50, K) whose columns have these variances over the data."""
    z = draw.normal(50, len(variances))
    z = (z - z.mean(0)) / z.std(0)
    return (mean * torch.arange(1, len(variances) + 1) + torch.tensor(variances).sqrt() * z,)


def _late(draw: Draw) -> tuple[Tensor]:
    """Three latents that rest for the first 200 of 250 rows; only the first two move then."""
    rows = torch.zeros(250, 3, dtype=torch.float64)
    rows[200:, :2] = 1 + draw.normal(50, 2).abs()
    return (rows,)


def _counts(*makes: Callable[[Draw], tuple]) -> Callable:
    """Right on all of these inputs, whose counts differ: no constant is."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        tests = (equals(active_units, make, "active latents") for make in makes)
        return next(filter(None, (one(answer, observe, draw) for one in tests)), None)

    return test


def _together(draw: Draw, K: int) -> tuple[Tensor]:
    return (draw.normal(50, 1).expand(50, K).clone(),)


ACTIVE = (
    Property(
        "latents that move together with the data are all active",
        "Count latents, those that move and not those that rest. The variance of each is taken "
        "over the data, that is over the rows.",
        _counts(lambda d: _together(d, 2), lambda d: _together(d, 5)),
    ),
    Property(
        "a latent that is the same for all data is not active, wherever it stands",
        "A mean of 3 for every x tells nothing about x: measure how it moves, not how large it is.",
        _counts(
            lambda d: _moving(d, 1.0, 0.0, 0.0, mean=3), lambda d: _moving(d, 0.0, 0.0, mean=3)
        ),
    ),
    Property(
        "every row counts",
        "Some latents rest for many rows and move later: is the variance taken over all rows?",
        _counts(_late, lambda d: (_late(d)[0][:, [0, 2]],)),
    ),
    Property(
        "the threshold is for the variance",
        "A standard deviation of 0.05 is a variance of 0.0025, below 0.01; one of 0.2 is 0.04, "
        "above it.",
        _counts(
            lambda d: _moving(d, 0.0025, 0.0025, 0.04), lambda d: _moving(d, 0.0025, 0.04, 0.04)
        ),
    ),
    Property(
        "the threshold is 0.01, with nothing added",
        "A variance of 0.0094 is below 0.01, one of 0.0106 above it: was a small number added?",
        _counts(lambda d: _moving(d, 0.0094, 0.0106), lambda d: _moving(d, 0.0094, 0.0094)),
    ),
    Property(
        "is right for any number of latents",
        "Compare with a count by eye: which latents have a variance above 0.01?",
        _counts(
            *(
                lambda d, times=times: _moving(d, *([0.5, 0.02, 0.002] * times), mean=1)
                for times in (1, 4)
            )
        ),
    ),
)

EXERCISES = (
    Exercise("06-e5", "A map of the latent plane", 10, 2, GRID, decode_grid),
    Exercise("06-e6", "Who is alive?", 5, 1, ACTIVE, active_units),
)
