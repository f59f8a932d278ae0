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
    for given in [_log_densities(draw) for _ in range(4)]:
        value = observe(answer, *given).value
        if wrong := differs(value, torch.zeros(6), "D", tolerance=math.inf):
            return wrong
        D = torch.as_tensor(value)
        if not ((D > 0) & (D < 1)).all():
            outside = D[(D <= 0) | (D >= 1)][0].item()
            return f"you: D = {outside:.6g}, right: a number between 0 and 1"
    return None


DISCRIMINATOR = (
    Property(
        "stays between 0 and 1",
        "A probability must stay in (0, 1): the ratio p/p_g does not, its logarithm (the logit) "
        "does not. And you are given logarithms of densities, not densities.",
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
        "Equal densities leave D in doubt, however large they are: what is it then?",
        equals(optimal_discriminator, lambda d: (given := d.normal(6), given), "D"),
    ),
    Property(
        "maximises p log D + p_g log(1 - D)",
        "Fix one x and write a for p, b for p_g: where is the derivative a/D - b/(1 - D) zero?",
        equals(optimal_discriminator, _log_densities, "D"),
    ),
    Property(
        "is finite and right where both densities underflow",
        "exp(-1000) is 0 in floating point, and 0/0 is NaN: divide by p on paper first. Which "
        "difference of logarithms is left?",
        equals(optimal_discriminator, lambda d: tuple(g - 1000 for g in _log_densities(d)), "D"),
    ),
)


def _slopes(tolerance: float, logits: Callable[[Draw], Tensor], *bounds: float) -> Callable:
    """A property's test: both slopes are right up to the tolerance and within the bounds."""
    low, high = bounds or (-math.inf, math.inf)

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        logit = logits(draw)
        saturating, other = observe(answer, logit).value
        both = zip(("saturating", "non-saturating"), (saturating, other), strict=True)
        for (name, slope), right in zip(both, generator_gradients(logit), strict=True):
            if wrong := differs(slope, right, name, tolerance):
                return wrong
            for entry in torch.as_tensor(slope).tolist():
                if not low <= entry <= high:
                    return f"you: {name} = {entry:.6g}, right: from {low:g} to {high:g}"
        return None

    return test


def _confident(draw: Draw) -> Tensor:
    return draw.uniform(5, 9, 6) * torch.tensor([1, -1, 1, -1, 1, -1])


GRADIENTS = (
    Property(
        "both slopes are negative",
        "The generator descends: both losses fall when D is more easily fooled, as a rises. Which "
        "sign has a derivative then? (Asked are derivatives, not the losses.)",
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
        "first of the pair is the saturating one.",
        _slopes(0.1, lambda d: d.uniform(-9, -6, 6)),
    ),
    Property(
        "both slopes are exact",
        "Write D = sigmoid(a), whose derivative is D (1 - D): one factor cancels, the other stays. "
        "Which is it in each slope?",
        _slopes(1e-9, lambda d: d.uniform(-4, 4, 6)),
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
