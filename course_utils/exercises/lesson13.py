"""Exercises of lesson 13, DDPM: what the network is trained on, and one step back.

Schedules (13-e5, 13-e6) are in lesson13_schedules.py, parts of the network (13-e3, 13-e4) in
lesson13_network.py.
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


def train_pair(x0: Tensor, t: Tensor, eps: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """What the network is given and what it should return: (x_t, eps), both like x0 (B, ...).

    x_t ~ q(x_t|x_0) made from eps ~ N(0, I), where row b is at its own time t[b]. t (B,) whole
    numbers from 0 to T; alpha_bar (T + 1,) with alpha_bar[0] = 1.
    """
    share = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))  # (B, 1, ..., 1)
    return share.sqrt() * x0 + (1 - share).sqrt() * eps, eps


def ancestral_step(
    xt: Tensor, eps: Tensor, t: int, z: Tensor, beta: Tensor, sigma2: Tensor
) -> Tensor:
    """x_{t-1} from x_t by one turn of Algorithm 2; eps is the network's output, z ~ N(0, I).

    The noise added has variance sigma2[t], and none is added in the last turn, t = 1. beta and
    sigma2 are (T + 1,): entry t is time t, and beta[0] = 0. All else is like xt (B, ...).
    """
    alpha = 1 - beta  # (T + 1,)
    alpha_bar = alpha.cumprod(0)
    mean = (xt - beta[t] / (1 - alpha_bar[t]).sqrt() * eps) / alpha[t].sqrt()
    return mean + sigma2[t].sqrt() * z if t > 1 else mean


def _schedule(draw: Draw, T: int = 9) -> Tensor:
    """An alpha_bar, (T + 1,), whose neighbours differ."""
    return torch.cat([torch.ones(1), 1 - draw.uniform(0.1, 0.3, T)]).double().cumprod(0)


def _rows(draw: Draw, *times: int, shape: tuple = (4, 4)) -> tuple:
    """x0, t, eps, alpha_bar: four rows at these times, or at drawn ones, all different."""
    chosen = torch.tensor(times) if times else torch.randperm(9, generator=draw.generator)[:4] + 1
    return draw.normal(*shape), chosen, draw.normal(*shape), _schedule(draw)


def _of_the_pair(which: int, inputs: Callable[[Draw], tuple]) -> Callable:
    """A property's test: x_t (0) or the target (1) is right."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = inputs(draw)
        names, where = ("x_t", "the target"), f"at t = {given[1].tolist()}"
        value = observe(answer, *given).parts(*names)[which]
        return differs(value, train_pair(*given)[which], names[which], where=where)

    return test


def _one_time(draw: Draw) -> tuple:
    return _rows(draw, *[draw.integer(2, 8)] * 4)


PAIR = (
    Property(
        "the target is the noise itself",
        "The network learns to name the noise. The target is eps as it was given: not x_0, not "
        "x_t, nor eps times its weight. It is the second of the pair.",
        _of_the_pair(1, _one_time),
    ),
    Property(
        "at t = 0 x_t is x_0",
        "alpha_bar[0] = 1 stands for clean data, so the t = 0 row must be x_0. Off by one? "
        "The index is t itself, no t - 1. Is it eps? Then the two weights are exchanged. Nothing "
        "is added under a root.",
        _of_the_pair(0, lambda d: _rows(d, 0, 0, 0, 0)),
    ),
    Property(
        "alpha_bar and 1 - alpha_bar share the variance (one t for all rows)",
        "alpha_bar and 1 - alpha_bar are variances, and their sum is 1. What multiplies x_0 and "
        "eps are standard deviations. Is it the given eps, and alpha_bar as it is given?",
        _of_the_pair(0, _one_time),
    ),
    Property(
        "every row is at its own time",
        "Rows must differ in alpha_bar: row b has alpha_bar[t[b]]. Do you read one t for the "
        "whole batch, or do the weights run along the columns?",
        _of_the_pair(0, _rows),
    ),
    Property(
        "is right for images (B, C, H, W) too",
        "Right for rows of numbers: the weights (B,) need a 1 for each axis of x_0 after the "
        "first, however many there are, or they run along pixels.",
        _of_the_pair(0, lambda d: _rows(d, shape=(4, 4, 4, 4))),
    ),
)


def _even(draw: Draw, t: int = 0, eps: float = 0, z: float = 0, shape: tuple = (4, 3)) -> tuple:
    """xt, eps, t, z, beta, sigma2: every step alike; eps and z scaled by the arguments."""
    beta, sigma2 = (draw.uniform(a, b, 1).repeat(7) for a, b in ((0.1, 0.3), (0.4, 0.6)))
    beta[0] = 0
    xt, noise, fresh = draw.normal(*shape), eps * draw.normal(*shape), z * draw.normal(*shape)
    return xt, noise, t or draw.integer(3, 5), fresh, beta, sigma2


def _no_noise_at_the_end(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    xt, eps, t, z, beta, sigma2 = _even(draw, t=1, eps=1, z=1)
    calls = (xt, t, z), (xt, t, -z), (-xt, t, z), (xt, 3, z), (xt, 3, z)
    values = [observe(answer, x, eps, s, n, beta, sigma2).value for x, s, n in calls]
    for value in values:
        if wrong := differs(value, xt, "x_0", tolerance=math.inf):
            return wrong
    first, turned, mirrored, later, again = map(torch.as_tensor, values)
    if differs(turned, first, "x_0"):
        return "at t = 1 two calls that differ only in z give different x_0"
    if differs(mirrored, first, "x_0") is None:
        return "at t = 1 another xt gives the same x_0"
    return "at t = 3 two equal calls give different x_2" if differs(again, later, "x_2") else None


def _step(inputs: Callable[[Draw], tuple]) -> Callable:
    return equals(ancestral_step, inputs, "x_{t-1}")


def chain_variance(step: Callable[..., Tensor], var: float, beta: Tensor, sigma2: Tensor) -> float:
    """Variance of x_0 when `step` runs from N(0, 1) with the exact eps for data N(0, var).

    That eps is proportional to x_t and the step is linear: two probes tell what it does.
    """
    alpha_bar, variance = (1 - beta).cumprod(0), 1.0
    for t in range(len(beta) - 1, 0, -1):
        k = (1 - alpha_bar[t]).sqrt() / (alpha_bar[t] * var + 1 - alpha_bar[t])
        one = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        to_x, to_z = torch.as_tensor(step(one, k * one, t, one.flip(0), beta, sigma2)).flatten()
        variance = float(to_x) ** 2 * variance + float(to_z) ** 2
    return variance


def ten_steps() -> tuple[Tensor, Tensor]:
    """The lesson's beta = linspace(0.05, 0.6, 10), with 0 in front, and sigma2 = beta."""
    beta = torch.linspace(0.05, 0.6, 10, dtype=torch.float64)
    return (torch.cat([torch.zeros(1), beta]).double(),) * 2


def _chain(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    value = chain_variance(lambda *given: observe(answer, *given).value, 0.25, *ten_steps())
    right = chain_variance(ancestral_step, 0.25, *ten_steps())
    return differs(value, right, "variance of x_0", 1e-6, "after ten steps with the exact eps")


STEP = (
    Property(
        "no noise is added at t = 1",
        "The last turn: Algorithm 2 sets z = 0 at t = 1. With noise there, ten exact steps end at "
        "the variance .3063 instead of .2563 (the data have .25). All noise is the z that is "
        "given: draw none yourself.",
        _no_noise_at_the_end,
    ),
    Property(
        "with eps = 0 and z = 0 one step is undone",
        "Only one step is undone: x_t = sqrt(alpha_t) x_{t-1} without noise. alpha_bar_t would "
        "undo all t of them. And undoing makes x longer.",
        _step(_even),
    ),
    Property(
        "the mean is right (z = 0, all beta alike)",
        "A part of eps is taken off before the division by sqrt(alpha_t): beta_t over the root "
        "that weighs eps in x_t. That root has alpha_bar_t, the product alpha_1 ... alpha_t.",
        _step(lambda d: _even(d, eps=1)),
    ),
    Property(
        "the noise has variance sigma2",
        "sigma2 is a variance, z has variance 1: what is z multiplied by? It is added, and sigma2 "
        "counts here, not beta; the mean is already divided.",
        _step(lambda d: _even(d, eps=1, z=1, shape=(2, 1, 3, 2))),
    ),
    Property(
        "ten steps with the exact eps give variance .2563",
        "Right where all beta are alike: entry t of beta and of sigma2 belongs to the step from "
        "x_t to x_{t-1}. beta[0] = 0 is there so that no index is shifted. And only t = 1 is "
        "without noise.",
        _chain,
    ),
)

EXERCISES = (
    Exercise("13-e1", "What the network is shown", 10, 1, PAIR, train_pair),
    Exercise("13-e2", "One step back", 15, 2, STEP, ancestral_step),
)
