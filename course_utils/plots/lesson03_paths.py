"""Figures of lesson 03 on solvers and flow matching: errors, pairs and paths, numbers of steps."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from course_utils import data, flow_matching
from course_utils.metrics import mode_coverage
from course_utils.plots.base import (
    BLUE,
    DATA,
    GREY,
    MODEL,
    ORANGE,
    Picture,
    normals,
    show,
    subplots,
)
from course_utils.plots.images import sheet

__all__ = ["show"]

STEPPERS = {"Euler": flow_matching.euler_step, "RK4": flow_matching.rk4_step}
CALLS = {"Euler": 1, "RK4": 4}  # of the network in one step
TRIED = (1, 2, 4, 8, 16, 24)


@lru_cache(maxsize=128)
def _error(velocity: nn.Module, steps: int, method: str) -> float:
    """Mean error of log p at 60 points of the moons, nats, against 40 steps of Runge-Kutta."""
    points = data.moons(60, seed=3).to(next(velocity.parameters()))
    with torch.no_grad():
        found, right = (
            flow_matching.log_prob(velocity, points, n, step=STEPPERS[m])
            for n, m in ((steps, method), (40, "RK4"))
        )
    return float((found - right).abs().mean())


def solved(velocity: nn.Module, steps: int = 4, method: str = "Euler") -> Picture:
    """Samples of a continuous flow with few solver steps; the log-density's error over the cost."""
    like = next(velocity.parameters())
    noise = torch.from_numpy(normals(1600).reshape(-1, 2).copy()).to(like)
    with torch.no_grad():
        x = flow_matching.integrate(velocity, noise, steps, step=STEPPERS[method])
    fig, ((left, right),) = subplots(1, 2, width=11, height=4)
    left.scatter(*x.numpy().T, s=4, color=MODEL)
    left.set(xlim=(-3, 3.5), ylim=(-2.5, 3), xlabel="x₁", ylabel="x₂")
    left.set_title(f"samples, {steps} step{'s' * (steps > 1)} of {method}")
    for name, colour in (("Euler", BLUE), ("RK4", ORANGE)):
        errors = [_error(velocity, n, name) for n in TRIED]
        right.plot([CALLS[name] * n for n in TRIED], errors, "o-", color=colour, ms=4, label=name)
    now = _error(velocity, steps, method)
    right.plot(CALLS[method] * steps, now, "o", color=GREY, ms=13, alpha=0.7)
    right.set(xscale="log", yscale="log", xlabel="calls of the network", ylim=(1e-6, 30))
    right.set(ylabel="error of log p(x), nats", title=f"error now: {now:.2g} nats")
    right.legend(loc="lower left")
    alt = (
        f"Left: samples after {steps} steps of {method}. Right: the error of the log-density "
        f"against calls of the network for Euler and Runge-Kutta; now {now:.2g} nats."
    )
    return Picture(fig, alt)


def _velocity(x: np.ndarray, t: float) -> np.ndarray:
    """E[x_1 - x_0 | x_t = x] for x_1 ~ .3 N(-1.5, .09) + .7 N(1, .25), x_0 ~ N(0, 1)."""
    w, m, v = np.array([0.3, 0.7]), np.array([-1.5, 1.0]), np.array([0.09, 0.25])
    var = (1 - t) ** 2 + t**2 * v
    off = x[:, None] - t * m
    log_w = np.log(w) - 0.5 * (off**2 / var + np.log(var))
    belongs = np.exp(log_w - log_w.max(1, keepdims=True))
    belongs /= belongs.sum(1, keepdims=True)
    return (belongs * (m + (t * v - (1 - t)) / var * off)).sum(1)


@cache
def _pairs(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise (n,), random partners among the data, and the flow's paths from it (101, n)."""
    rng = np.random.default_rng(3)
    x0, left = np.sort(rng.standard_normal(n)), rng.random(n) < 0.3
    x1 = np.where(left, -1.5, 1.0) + np.where(left, 0.3, 0.5) * rng.standard_normal(n)
    path = [x0]
    for t in np.arange(100) / 100:
        half = path[-1] + 0.005 * _velocity(path[-1], t)
        path.append(path[-1] + 0.01 * _velocity(half, t + 0.005))
    return x0, x1, np.array(path)


def pairs_and_paths() -> Picture:
    """Random pairs joined by straight lines, and the paths of the flow with the same densities."""
    x0, x1, path = _pairs(40)
    fig, ((left, right),) = subplots(1, 2, width=10.5, height=4, sharey=True)
    time = np.linspace(0, 1, 101)
    for k in range(len(x0)):
        colour = BLUE if x1[k] < -0.4 else ORANGE
        left.plot([0, 1], [x0[k], x1[k]], color=colour, lw=1, alpha=0.8)
        right.plot(time, path[:, k], color=BLUE if path[-1, k] < -0.4 else ORANGE, lw=1, alpha=0.8)
    left.set(xlabel="time t", ylabel="x", title="40 pairs of noise and data: lines cross")
    right.set(xlabel="time t", title="the flow: mean velocity at each point")
    return Picture(
        fig,
        "Left: 40 straight lines from noise at t = 0 to random data at t = 1 cross each other. "
        "Right: the flow's curved paths never cross and split into the same two groups.",
    )


@lru_cache(maxsize=40)
def _after(velocity: nn.Module, steps: int) -> np.ndarray:
    noise = torch.from_numpy(normals(5000).reshape(-1, 2).copy()).to(next(velocity.parameters()))
    with torch.no_grad():
        step = flow_matching.euler_step
        return flow_matching.integrate(velocity, noise, steps, step=step).cpu().numpy()


def stepped(velocity: nn.Module, steps: int = 10) -> Picture:
    """2,500 samples on the grid of 25 modes after a number of Euler steps, beside real points."""
    x, mixture = _after(velocity, steps), data.mixture("grid25_wide")
    real = mixture.sample(2500, torch.Generator().manual_seed(7)).numpy()
    found = mode_coverage(torch.from_numpy(x), mixture)
    fig, (axes,) = subplots(1, 2, width=10, height=4.4, sharex=True, sharey=True)
    plural = "s" * (steps > 1)
    titles = {f"{steps} Euler step{plural}": (x, MODEL), "data": (real, DATA)}
    for ax, (title, (points, colour)) in zip(axes, titles.items(), strict=True):
        ax.scatter(*points.T, s=3, color=colour)
        ax.set(xlim=(-6, 6), ylim=(-6, 6), xlabel="x₁", title=title)
    axes[0].set_ylabel("x₂")
    alt = (
        f"Left: 2,500 samples after {steps} Euler step{plural}, {found.well_covered} of 25 modes "
        f"with at least 20 samples. Right: as many points of the data, a grid of 25 blobs."
    )
    return Picture(fig, alt)


def few_steps(rows: dict[int, Tensor], real: Tensor) -> Picture:
    """A row of images (N, 1, S, S) in [-1, 1] per number of steps, from one noise; real ones."""
    named = {f"{steps} Euler step{'s' * (steps > 1)}": images for steps, images in rows.items()}
    named |= {"real images": real}
    fig, axes = subplots(len(named), 1, width=9, height=1.15 * len(named) + 0.4)
    for ax, (name, images) in zip(axes[:, 0], named.items(), strict=True):
        sheet(ax, (images + 1) / 2, len(images), name)
    return Picture(
        fig,
        f"Rows of clothes from the same noise after {', '.join(map(str, rows))} Euler steps, the "
        "first row a grey blur, the last with details; below them real images.",
    )
