"""Exercises of lesson 08, the GAN minimax: properties of a right answer, hints, references.

The integrals (08-e2, 08-e3) are in lesson08_quadrature.py, the steps of the players (08-e5, 08-e6)
in lesson08_dynamics.py.
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


def optimal_discriminator(log_p: Tensor, log_p_g: Tensor) -> Tensor:
    """The D in (0, 1) that maximises p log D + p_g log(1 - D), entry by entry.

    Given are the logarithms of the densities p and p_g, as tensors of one shape: the answer is
    right also where both densities are too small for a float.
    """
    return torch.sigmoid(log_p - log_p_g)


def generator_gradients(logit: Tensor) -> tuple[Tensor, Tensor]:
    """The pair d/da log(1 - D) and d/da (-log D), where D = sigmoid(a) and a is the logit.

    They are the slopes of the saturating and of the non-saturating loss in the discriminator's
    output, entry by entry. Finite for any finite logit.
    """
    return -torch.sigmoid(logit), -torch.sigmoid(-logit)


def _log_densities(draw: Draw, apart: float = 0) -> tuple[Tensor, Tensor]:
    """Six values of each, on either side of 0, and the same with p and p_g exchanged."""
    log_p, gap = draw.normal(3), draw.uniform(0.3, 2.0, 3) + apart
    return torch.cat([log_p, log_p - gap]), torch.cat([log_p - gap, log_p])


def _stays_a_probability(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    apart = []
    for given in [_log_densities(draw) for _ in range(4)]:
        value = observe(answer, *given).value
        if wrong := differs(value, torch.zeros(6), "D", tolerance=math.inf):
            return wrong
        D = torch.as_tensor(value)
        if not ((D > 0) & (D < 1)).all():
            outside = D[(D <= 0) | (D >= 1)][0].item()
            return f"you: D = {outside:.6g}, right: a number between 0 and 1"
        apart.append(D[:3] - D[3:])
    one_way = torch.cat(apart).sign().unique().tolist() in ([-1.0], [1.0])
    return None if one_way else f"D = {D.tolist()}: p > p_g in the first three, p < p_g in the rest"


def _only_in_doubt(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    equal, (log_p, log_p_g) = draw.normal(6), _log_densities(draw)
    value = observe(answer, equal, equal).value
    if wrong := differs(value, torch.full((6,), 0.5), "D"):
        return wrong
    same = differs(observe(answer, log_p, log_p_g).value, torch.full((6,), 0.5), "D") is None
    return "D is 1/2 where the densities are not equal, too" if same else None


def _far_apart(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """One density is up to e^20 times the other: how small is D? Then up to e^1000 times."""
    log_p, gap = draw.normal(6), draw.uniform(14, 20, 6)
    D = observe(answer, log_p, log_p + gap).value
    if wrong := differs(D, torch.sigmoid(-gap), "D", tolerance=1e-6):
        return wrong
    log_D = torch.as_tensor(D).double().log()
    if wrong := differs(log_D, -gap - torch.exp(-gap), "log D", 1e-6, "where p << p_g"):
        return wrong
    given = log_p, log_p + 50 * gap * torch.tensor([1, -1, 1, -1, 1, -1])
    return differs(observe(answer, *given).value, optimal_discriminator(*given), "D")


DISCRIMINATOR = (
    Property(
        "stays between 0 and 1",
        "A probability must stay in (0, 1): the ratio p/p_g does not, its logarithm (the logit) "
        "does not. And you are given logarithms of densities, both of which count.",
        _stays_a_probability,
    ),
    Property(
        "is near 1 where only real data live",
        "Where only real data live, D should be 1; where only fakes live, 0.",
        lambda answer, observe, draw: differs(
            observe(answer, *_log_densities(draw, apart=9)).value,
            torch.tensor([1.0, 1, 1, 0, 0, 0]),
            "D",
            tolerance=1e-3,
        ),
    ),
    Property(
        "is 1/2 where the densities are equal",
        "Equal densities leave D in doubt, however large they are, and only they: what is it then?",
        _only_in_doubt,
    ),
    Property(
        "maximises p log D + p_g log(1 - D)",
        "Fix one x and write a for p, b for p_g: where is the derivative a/D - b/(1 - D) zero?",
        equals(optimal_discriminator, lambda d: [g.view(2, 3) for g in _log_densities(d)], "D"),
    ),
    Property(
        "is finite and right where both densities underflow",
        "exp(-1000) is 0 in floating point, and 0/0 is NaN: divide by p on paper first. Which "
        "difference of logarithms is left?",
        equals(optimal_discriminator, lambda d: tuple(g - 1000 for g in _log_densities(d)), "D"),
    ),
    Property(
        "is right where one density is e^20 or e^1000 times the other",
        "D may come as near to 0 or 1 as the ratio tells, with no clamp and nothing added. And "
        "exp(1000) is inf, inf/inf NaN: is there a function of the difference that stays finite?",
        _far_apart,
    ),
)


PLAYERS = "saturating", "non-saturating"


def _slopes(tolerance: float, logits: Callable[[Draw], Tensor], *bounds: float) -> Callable:
    """A property's test: both slopes are right up to the tolerance and within the bounds."""
    low, high = bounds or (-math.inf, math.inf)

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        logit = logits(draw)
        slopes = observe(answer, logit).parts(*PLAYERS)
        for name, slope, right in zip(PLAYERS, slopes, generator_gradients(logit), strict=True):
            if wrong := differs(slope, right, name, tolerance):
                return wrong
            for entry in torch.as_tensor(slope).flatten().tolist():
                if not low <= entry <= high:
                    return f"you: {name} = {entry:.6g}, right: from {low:g} to {high:g}"
            if tolerance > 1e-9 and len(torch.as_tensor(slope).unique()) == 1:
                return f"you: {name} = {entry:.6g} whatever the logit"
        return None

    return test


def _confident(draw: Draw) -> Tensor:
    return draw.uniform(5, 9, 6) * torch.tensor([1, -1, 1, -1, 1, -1])


GRADIENTS = (
    Property(
        "both slopes are negative",
        "The generator descends: both losses fall when D is more easily fooled, as a rises. Which "
        "sign has a derivative then? (Asked are derivatives in a, not the losses.)",
        _slopes(math.inf, lambda d: d.uniform(-4, 4, 6), -math.inf, 0),
    ),
    Property(
        "no slope is steeper than 1",
        "1/D and 1/(1 - D) are derivatives in D. Asked is the derivative in the logit a: chain "
        "through the sigmoid, D' = D (1 - D).",
        _slopes(math.inf, _confident, -1, 0),
    ),
    Property(
        "at D near 0.001 only the non-saturating loss has a slope",
        "Early on, D sees through every fake. There log(1 - D) is flat and -log D is steep: the "
        "first of the pair is the saturating one. Both too flat? Each entry has a slope of its "
        "own: the gradient of a mean is N times too small; a number added in the log, too.",
        _slopes(0.1, lambda d: d.uniform(-9, -6, 6)),
    ),
    Property(
        "both slopes are exact",
        "Write D = sigmoid(a), whose derivative is D (1 - D): one factor cancels, the other stays. "
        "Which is it in each slope?",
        _slopes(1e-9, lambda d: d.uniform(-4, 4, 2, 3)),
    ),
    Property(
        "both slopes are finite at logits of a thousand",
        "exp(1000) is inf and log(sigmoid(-1000)) is -inf in floating point, and a slope made of "
        "them NaN. Simplify on paper first, or start from a function that stays finite.",
        _slopes(1e-9, lambda d: 150 * _confident(d)),
    ),
)

EXERCISES = (
    Exercise("08-e1", "The best discriminator", 10, 1, DISCRIMINATOR, optimal_discriminator),
    Exercise("08-e4", "Two slopes for the generator", 10, 1, GRADIENTS, generator_gradients),
)
