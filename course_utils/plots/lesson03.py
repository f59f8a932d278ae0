"""Figures of lesson 03, normalizing flows: warped lines and grids, couplings, paths of an ODE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn

from course_utils import flow_matching
from course_utils.plots.base import (
    BLUE,
    DATA,
    EXACT,
    GREY,
    INK,
    MODEL,
    ORANGE,
    PAPER,
    Picture,
    normal,
    normals,
    show,
    subplots,
)
from course_utils.plots.images import sheet, sheets

__all__ = ["show"]

DECILES = np.array([NormalDist().inv_cdf(k / 10) for k in range(1, 10)])
MOONS = (-1.7, 2.7, -1.3, 1.8)  # left, right, bottom, top


def film(states: Tensor, shown: Sequence[int] = (0, 8, 13, 17, 20)) -> Picture:
    """Images on their way from noise: states (T + 1, N, 1, H, W) in [-1, 1]; and a sheet."""
    steps, side = len(states) - 1, states.shape[-1]
    fig, ((left, right),) = subplots(1, 2, width=11, height=2.9, width_ratios=(5, 10))
    rows = states[list(shown), :3].transpose(0, 1).reshape(-1, 1, side, side)
    above = ["t = 0", *(f"{k / steps:.2g}" for k in shown[1:])]
    sheet(left, (rows + 1) / 2, len(shown), "from noise to clothes", above)
    sheet(right, (states[-1, 3:33] + 1) / 2, 10, "30 more, at t = 1")
    return Picture(
        fig,
        f"Left: three rows, each from pure noise at t = 0 to a recognisable piece of clothing at "
        f"t = 1, in {steps} steps. Right: 30 generated clothes: shirts, trousers, shoes, bags.",
    )


def diagram() -> Picture:
    """The parts of a flow: data, layers, noise; log-determinants one way, inverses the other."""
    fig, ((ax,),) = subplots(width=10.5, height=3.6)
    ax.set(xlim=(0, 10.5), ylim=(0, 3.6))
    ax.set_axis_off()
    boxes = {"data x": DATA, "layer 1": GREY, "layer 2": GREY, "…": GREY, "noise z": MODEL}
    centres = np.linspace(0.9, 9.6, len(boxes))
    for x, (name, colour) in zip(centres, boxes.items(), strict=True):
        box = {"boxstyle": "round,pad=0.5", "facecolor": PAPER, "edgecolor": colour, "lw": 2.5}
        ax.text(x, 1.8, name, ha="center", va="center", fontsize=14, bbox=box)
    arrow = {"arrowstyle": "-|>", "lw": 2.2, "shrinkA": 0, "shrinkB": 0}
    for a, b in pairwise(centres):
        near, far = a + 0.72, b - 0.72
        ax.annotate("", (far, 2.0), (near, 2.0), arrowprops={**arrow, "color": BLUE})
        ax.annotate("", (near, 1.6), (far, 1.6), arrowprops={**arrow, "color": ORANGE})
    for x in centres[1:-1]:
        ax.text(x, 2.45, "+ log|det J|", ha="center", fontsize=12, color=BLUE)
        ax.text(x, 1.0, "inverse", ha="center", fontsize=12, color=ORANGE)
    ax.text(5.25, 3.15, "score:  log p(x) = log N(z; 0, I) + sum of log|det J|, and its gradient",
            ha="center", fontsize=13, color=BLUE)  # fmt: skip
    ax.text(5.25, 0.4, "sample:  draw z, run the layers backwards; nothing else is random",
            ha="center", fontsize=13, color=ORANGE)  # fmt: skip
    return Picture(
        fig,
        "A chain of boxes: data x, layers, noise z. Arrows to the right score: each layer adds its "
        "log-determinant. Arrows to the left sample: the inverses; only z is random.",
    )


def strips(bend: float = 0.5) -> Picture:
    """f(x) = x + bend x^3 with ten strips of equal probability, and both densities."""
    x = np.linspace(-3, 3, 1201)
    z = x + bend * x**3
    cuts = np.interp(DECILES, z, x)
    fig, ((left, right),) = subplots(1, 2, width=10.5, height=4)
    edges_x, edges_z = np.r_[-3, cuts, 3], np.r_[-3, DECILES, 3]
    for k in range(0, 10, 2):
        left.axvspan(edges_x[k], edges_x[k + 1], color=BLUE, alpha=0.18, lw=0)
        left.axhspan(edges_z[k], edges_z[k + 1], color=ORANGE, alpha=0.18, lw=0)
        right.axvspan(edges_x[k], edges_x[k + 1], color=BLUE, alpha=0.18, lw=0)
    left.plot(x, z, color=INK)
    left.set(xlim=(-3, 3), ylim=(-3, 3), xlabel="data x", ylabel="noise z = f(x)")
    left.set_title(f"f(x) = x + {bend:g} x³; a tenth per strip")
    right.plot(x, normal(x), color=ORANGE, ls="--", label="p_Z, the noise")
    right.plot(x, normal(z) * (1 + 3 * bend * x**2), color=BLUE, label="p_X, the data")
    right.set(xlim=(-3, 3), ylim=(0, 0.72), xlabel="x, or z", ylabel="density")
    right.legend(loc="upper right")
    alt = (
        f"Left: the curve z = x + {bend:g} x cubed; horizontal strips of a tenth of the noise meet "
        f"vertical strips of x, the outer ones end at {cuts[-1]:.2f}. Right: both densities; they "
        "agree at 0."
    )
    return Picture(fig, alt)


def warped_grid(f: Callable[[Tensor], Tensor], reach: float = 2.0) -> Picture:
    """A square grid in the plane and its image under f, one cell filled."""
    fig, axes = subplots(1, 2, width=10, height=4.3)
    lines, fine = np.linspace(-reach, reach, 11), np.linspace(-reach, reach, 121)
    cell = np.array([[0.4, -0.8], [0.8, -0.8], [0.8, -0.4], [0.4, -0.4], [0.4, -0.8]])
    edge = np.concatenate([np.linspace(a, b, 20) for a, b in pairwise(cell)])
    maps = {"x": lambda p: p, "z = f(x)": lambda p: f(torch.from_numpy(p)).numpy()}
    for ax, (name, to) in zip(axes[0], maps.items(), strict=True):
        for c in lines:
            for points in (np.c_[fine, 0 * fine + c], np.c_[0 * fine + c, fine]):
                ax.plot(*to(points).T, color=GREY, lw=1)
        ax.fill(*to(edge).T, color=BLUE if name == "x" else ORANGE, alpha=0.8)
        symbol = name[0]
        ax.set(xlabel=f"{symbol}₁", ylabel=f"{symbol}₂", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
        ax.set_title(name)
        ax.set_aspect("equal")
    alt = (
        "Left: a square grid with one filled cell. Right: the grid bent by f; the cell is nearly a"
    )
    return Picture(fig, alt + " parallelogram of another area.")


def jacobians(D: int = 8) -> Picture:
    """Which entries of a D x D Jacobian are not zero: a general network, and a coupling layer."""
    fig, (axes,) = subplots(1, 2, width=8.5, height=3.9)
    half, coupling = D // 2, np.zeros((D, D))
    coupling[:half, :half] = np.eye(half)
    coupling[half:, :half], coupling[half:, half:] = 2, 3 * np.eye(half)
    named = {"a general network": np.full((D, D), 2.0), "a coupling layer": coupling}
    colours = {1: GREY, 2: BLUE, 3: ORANGE}
    for ax, (title, kinds) in zip(axes, named.items(), strict=True):
        for (row, column), kind in np.ndenumerate(kinds):
            if kind:
                ax.plot(column, row, "s", ms=17, color=colours[int(kind)])
        ax.set(xlim=(-0.6, D - 0.4), ylim=(D - 0.4, -0.6), xlabel="input", ylabel="output")
        ax.set(title=title, xticks=range(0, D, 2), yticks=range(0, D, 2))
        ax.set_aspect("equal")
    alt = "Left: all entries of a Jacobian filled. Right: of a coupling: ones on the upper half of"
    return Picture(fig, f"{alt} the diagonal, a full lower left block, scales on the lower half.")


def losses(
    steps: Sequence, floor: float | None = None, name: str = "loss, nats per point"
) -> Picture:
    """The loss over training steps and, if known, the value that it cannot fall below."""
    fig, ((ax,),) = subplots(width=9, height=3.2)
    values = np.array([step.loss for step in steps])
    ax.plot(np.arange(1, len(values) + 1), values, color=MODEL, lw=1.4, label="loss of the batch")
    if floor is not None:
        ax.axhline(floor, color=EXACT, lw=1.5, ls="--", label="entropy of the data")
    top, low = np.quantile(values, 0.99), values.min()
    low = low if floor is None else min(low, floor)
    top = max(top, low + 1e-3)
    ax.set(xlabel="training step", ylim=(low - 0.06 * (top - low), top))
    ax.set_title(name, loc="left")  # beside the axis it would not fit wider numbers
    ax.legend(loc="upper right")
    ends = f"from {values[:5].mean():.3g} to {values[-20:].mean():.3g}"
    under = "" if floor is None else f"; the dashed line at {floor:.4g} is the data's entropy"
    return Picture(fig, f"The loss over {len(values)} training steps, {ends}{under}.")


@lru_cache(maxsize=16)
def _warped(flow: nn.Module, reach: float) -> tuple:
    """Grid lines of noise in data space (22, 201, 2), and the density on a lattice."""
    like = next(flow.parameters())
    fine, box = torch.linspace(-3, 3, 201), MOONS if reach == 0 else (-reach, reach) * 2
    lines = [torch.stack([fine, c + 0 * fine], 1) for c in torch.linspace(-2.5, 2.5, 11)]
    lines = torch.stack([*lines, *(points.flip(1) for points in lines)])
    x, y = np.linspace(*box[:2], 160), np.linspace(*box[2:], 160)
    lattice = torch.from_numpy(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    with torch.no_grad():
        back = flow.inverse(lines.reshape(-1, 2).to(like)).reshape(lines.shape).cpu().numpy()
        density = flow.log_prob(lattice.to(like)).exp().reshape(160, 160).cpu().numpy()
    return back, density, box


def warp(flow: nn.Module, title: str, reach: float = 0.0) -> Picture:
    """A grid of noise where the flow's inverse puts it, and the flow's density."""
    lines, density, box = _warped(flow, reach)
    fig, ((left, right),) = subplots(1, 2, width=11, height=4.3)
    for k, line in enumerate(lines):
        left.plot(*line.T, color=BLUE if k < 11 else ORANGE, lw=0.9)
    left.set(xlim=box[:2], ylim=box[2:], xlabel="x₁", ylabel="x₂")
    left.set_title(f"{title}: a grid of noise")
    top = np.quantile(density, 0.995)
    right.imshow(density, extent=box, origin="lower", vmax=top, aspect="auto")
    right.set(xlabel="x₁", ylabel="x₂", title="density of x (brighter: higher)")
    cell = (box[1] - box[0]) * (box[3] - box[2]) / density.size
    alt = (
        f"{title}. Left: a square grid of noise, bent into data space; right: the density, which "
        f"has {density.sum() * cell:.3f} of its mass in the picture."
    )
    return Picture(fig, alt)


def digits(named: dict[str, Tensor]) -> Picture:
    """Sheets of 24 digits side by side."""
    return sheets({name: images.clamp(0, 1) for name, images in named.items()}, 6, 10.5, 2.9)


def carried(velocity: nn.Module, times: int = 5) -> Picture:
    """1,500 points of noise on their way along a velocity, at equally spaced times."""
    like = next(velocity.parameters())
    points = torch.from_numpy(normals(3000).reshape(-1, 2).copy()).to(like)
    with torch.no_grad():
        states = list(flow_matching.trajectory(velocity, points, 4 * (times - 1)))[::4]
    fig, (axes,) = subplots(1, times, width=11.5, height=2.7, sharex=True, sharey=True)
    for k, (ax, state) in enumerate(zip(axes, states, strict=True)):
        ax.scatter(*state.cpu().numpy().T, s=2, color=MODEL, rasterized=True)
        ax.set(title=f"t = {k / (times - 1):g}", xlabel="x₁", xlim=(-3, 3.2), ylim=(-3, 3))
    axes[0].set_ylabel("x₂")
    return Picture(fig, "Five clouds: round noise at t = 0 is pulled into two moons at t = 1.")
