"""Exercises of lesson 09, training GANs: a way between latents, and modes that are covered.

The game itself (09-e1, 09-e2) is in lesson09_games.py, the pairs of a conditional D (09-e4) in
lesson09_pairs.py.
"""

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


def lerp_slerp(z0: Tensor, z1: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """Two ways from z0 (t = 0) to z1 (t = 1), row by row: straight line and arc, all (B, K).

    The arc turns at a constant rate, by the share t of the angle between the two rows; where these
    have one norm, it keeps that norm. Where they are parallel, it is the straight line.
    """
    line = (1 - t) * z0 + t * z1
    cosine = (z0 * z1).sum(1, keepdim=True) / (z0.norm(dim=1) * z1.norm(dim=1))[:, None]
    w = cosine.clamp(-1, 1).arccos()  # (B, 1)
    arc = (((1 - t) * w).sin() * z0 + (t * w).sin() * z1) / w.sin()
    return line, torch.where(w.sin() > 1e-7, arc, line)


def covered_modes(x: Tensor, centers: Tensor, tol: float) -> int:
    """How many of the centers (M, D) have a sample of x (N, D) within the distance tol."""
    return int((torch.cdist(centers, x) <= tol).any(1).sum())


# 09-e3


def _ends_of(draw: Draw, B: int = 1, norm: float = 1, angle: float = 0) -> tuple[Tensor, Tensor]:
    """Two rows of one norm, B times, at an angle drawn for each row where none is given."""
    a, b = draw.normal(B, 6), draw.normal(B, 6)
    a = a / a.norm(dim=1, keepdim=True)
    b = b - (a * b).sum(1, keepdim=True) * a
    b = b / b.norm(dim=1, keepdim=True)
    w = torch.full((B, 1), angle).double() if angle else draw.uniform(1, 2.4, B, 1)
    return norm * a, norm * (w.cos() * a + w.sin() * b)


def _pair(answer: Answer, observe: Observe, z0: Tensor, z1: Tensor, t: float) -> list[Tensor]:
    """The two results, both like z0."""
    parts = observe(answer, z0, z1, t).parts("line", "arc")
    for name, part in zip(("line", "arc"), parts, strict=True):
        shape = tuple(torch.as_tensor(part).shape)
        if shape != z0.shape:
            raise ValueError(f"{name} has shape {shape}, asked is {tuple(z0.shape)}")
    return [torch.as_tensor(part) for part in parts]


def _ends(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    z0, z1 = _ends_of(draw)
    for t, right in ((0.0, z0), (1.0, z1)):
        for name, part in zip(("line", "arc"), _pair(answer, observe, z0, z1, t), strict=True):
            if wrong := differs(part, right, name, 1e-6, f"at t = {t:g}"):
                return wrong
    return None


def _way(which: int, inputs: Callable[[Draw], tuple]) -> Callable:
    """A property's test: the line (0) or the arc (1) is right; 1e-6 allows clamps and the like."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        z0, z1, t = inputs(draw)
        part = _pair(answer, observe, z0, z1, t)[which]
        name = ("line", "arc")[which]
        return differs(part, lerp_slerp(z0, z1, t)[which], name, 1e-6, f"at t = {t:.3g}")

    return test


def _keeps_the_norm(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    arc = _pair(answer, observe, *_ends_of(draw, angle=math.pi / 2), 0.5)[1]
    return differs(arc.norm(dim=1), torch.ones(1), "norm halfway", 1e-6, "for ends of norm 1")


def _share(draw: Draw) -> float:
    return float(draw.uniform(0.15, 0.35)) + 0.5 * draw.integer(0, 1)


LERP = (
    Property(
        "both begin at z0 and end at z1",
        "t = 0 must give z0 and t = 1 must give z1: which of them does the weight t belong to?",
        _ends,
    ),
    Property(
        "the first of the pair is the straight line",
        "The straight line weighs z0 with 1 - t and z1 with t, whatever the angle. It comes first.",
        _way(0, lambda d: (*_ends_of(d), _share(d))),
    ),
    Property(
        "halfway between ends of norm 1 the arc has norm 1",
        "The straight line cuts the corner: between orthogonal ends its middle has the norm .71, "
        "where G has seen no z, and samples drift to the mean image. The arc stays outside.",
        _keeps_the_norm,
    ),
    Property(
        "the arc turns at a constant rate",
        "Right halfway, or none the less on the sphere: at t the angle from z0 must be t times the "
        "whole. A straight line scaled back to the sphere hurries in the middle.",
        _way(1, lambda d: (*_ends_of(d), _share(d))),
    ),
    Property(
        "the angle is one between directions",
        "Right for ends of norm 1 only: arccos wants the cosine, and z0 . z1 is that times both "
        "norms.",
        _way(1, lambda d: (*_ends_of(d, norm=float(d.uniform(2, 3))), _share(d))),
    ),
    Property(
        "every row has an angle of its own",
        "Right for a single row: sum over which axis? The batch is no long vector.",
        _way(1, lambda d: (*_ends_of(d, B=4, norm=2), _share(d))),
    ),
    Property(
        "parallel rows take the straight line",
        "Where z0 and z1 are parallel the angle is 0, and so is its sine: 0/0. Or rounding makes "
        "the cosine a little more than 1, and arccos NaN. Those rows need the line, the others "
        "not.",
        lambda answer, observe, draw: _way(1, _some_parallel)(answer, observe, draw),
    ),
)


def _some_parallel(draw: Draw) -> tuple[Tensor, Tensor, float]:
    z0, z1 = _ends_of(draw, B=8, norm=2)
    return z0, torch.cat([z0[:3], 2.5 * z0[3:6], z1[6:]]), _share(draw)


# 09-e5


def _ring(draw: Draw, M: int = 8, radius: float = 2) -> Tensor:
    angle = 2 * math.pi * torch.arange(M).double() / M + float(draw.uniform(0, 1))
    return radius * torch.stack([angle.cos(), angle.sin()], 1)


def _near(draw: Draw, centers: Tensor, n: int, tol: float = 0.3) -> Tensor:
    """Samples, n for each centre, all within 0.6 tol."""
    step = draw.normal(n, *centers.shape)
    step = step / step.norm(dim=2, keepdim=True) * draw.uniform(0, 0.6, *step.shape[:2], 1) * tol
    return (centers + step).flatten(0, 1)


def _junk(draw: Draw, n: int = 40) -> Tensor:
    """Samples between 1.2 and 1.6 away from all centres of the ring."""
    angle, radius = draw.uniform(0, 7, n), draw.uniform(0.4, 0.8, n)
    return (radius * torch.stack([angle.cos(), angle.sin()])).T


def _crowd(draw: Draw) -> tuple:
    centers = _ring(draw)
    return _near(draw, centers[draw.integer(0, 7), None], 30), centers, 0.3


# Of two sizes, so that no number is right for both:


def _one_each(draw: Draw, n: int) -> tuple:
    """One sample for each of n centres, none for the others."""
    centers = _ring(draw)
    return torch.cat([_near(draw, centers[:n], 1), _junk(draw)]), centers, 0.3


def _off(draw: Draw, n: int, tol: float) -> tuple:
    """Samples 0.8 or 0.85 tol away from n + 2 centres, 1.13 tol from four others."""
    centers = 4 * tol * torch.arange(n + 6).double()[:, None] * torch.ones(1, 2)
    inside = tol * torch.tensor([[0.8, 0.0]] * 2 + [[0.6, 0.6]] * n)
    outside = 0.8 * tol * (2 * (draw.uniform(0, 1, 4, 2) > 0.5).double() - 1)
    return centers + torch.cat([inside, outside]), centers, tol


def _shared(draw: Draw, n: int) -> tuple:
    """Pairs of centres 0.3 apart, a sample between them; some more centres that have none."""
    pairs = 3 * torch.arange(n).double()[:, None] * torch.ones(1, 3)
    apart = torch.tensor([0.3, 0.0, 0.0])
    return pairs + 0.4 * apart, torch.cat([pairs, pairs + apart, -pairs[1:] - 5]), 0.25


def _all_coordinates(draw: Draw, n: int) -> tuple:
    """Six centres of five coordinates, each with a sample near it but for n of them."""
    centers = 3 * draw.uniform(0.5, 1.5, 6, 5)
    x, away = centers + 0.05, torch.zeros(6, 5).double()
    for row in range(n):
        away[row, draw.integer(3, 4)] = 0.8
    return x + away, centers, 0.3


def _and(*tests: Callable) -> Callable:
    """A property's test: all of these hold."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        return next(filter(None, (one(answer, observe, draw) for one in tests)), None)

    return test


def _counts(make: Callable, *sizes: float) -> Callable:
    return equals(covered_modes, lambda draw: make(draw, *sizes), "modes")


def _some_within_reach(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    value = observe(answer, _junk(draw), _ring(draw), 4.0).value
    return None if float(value) > 0 else "0 modes within tol = 4, too"


def _reached_by_nothing(draw: Draw) -> tuple:
    x, centers, _ = _crowd(draw)
    return x, centers, 1e-9


MODES = (
    Property(
        "junk far from all centres covers nothing",
        "To every sample some centre is the nearest, so noise covers all 8 modes: nearest is not "
        "near. Where does tol enter?",
        _and(
            equals(covered_modes, lambda d: (_junk(d), _ring(d), 0.3), "modes"), _some_within_reach
        ),
    ),
    Property(
        "a crowd at one centre covers one mode",
        "Count centres, not samples: thirty samples at one centre cover one mode.",
        _and(
            _counts(_crowd),
            _counts(_reached_by_nothing),
        ),
    ),
    Property(
        "one sample is enough, whatever the others do",
        "A centre is covered by a single sample within tol: junk elsewhere takes nothing away. "
        "Does one of them do, or do you ask for all, for many, for their mean?",
        _and(*(_counts(_one_each, n) for n in (5, 7))),
    ),
    Property(
        "the distance is Euclidean",
        "Compare with tol the length of the difference: not its square, not its largest or its "
        "summed coordinates. And does tol come from the argument?",
        _and(
            _counts(_off, 3, 0.3),
            _counts(_off, 4, 3.0),
        ),
    ),
    Property(
        "one sample may cover two centres",
        "Ask every centre whether it has a sample within tol, in any dimension: a sample that has "
        "been counted for its nearest centre may be within tol of another.",
        _and(*(_counts(_shared, n) for n in (2, 3, 5))),
    ),
    Property(
        "all coordinates count",
        "Right in the plane only: centres and samples may have more coordinates than two, and a "
        "sample that is off in any of them is off.",
        _and(*(_counts(_all_coordinates, n) for n in (2, 4))),
    ),
)

EXERCISES = (
    Exercise("09-e3", "The line and the arc", 15, 2, LERP, lerp_slerp),
    Exercise("09-e5", "Modes that are covered", 10, 1, MODES, covered_modes),
)
