"""Figures of lesson 02, autoregressive models: series, laws of pixels, orders, images written."""

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
import torch
from torch import Tensor

from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREY,
    MODEL,
    PINK,
    Picture,
    normals,
    show,
    subplots,
)
from course_utils.plots.images import sheet, sheets

__all__ = ["sheets", "show"]


def continued(given: Tensor, drawn: Tensor, top: int = 14, truth: Tensor | None = None) -> Picture:
    """Rows of images: what is given (its first `top` rows), continuations, and the true image.

    given (R, H, W) and drawn (R, n, H, W) in [0, 1]; truth (R, H, W) or None.
    """
    hidden = given.clone()
    hidden[:, top:] = 0.35
    rows = [hidden[:, None], drawn] + ([truth[:, None]] if truth is not None else [])
    table = torch.cat(rows, dim=1)
    columns = table.shape[1]
    above = ["given", *[f"{k + 1}" for k in range(drawn.shape[1])]] + ["true"] * (truth is not None)
    fig, ((ax,),) = subplots(width=10, height=1.25 * len(given) + 0.7)
    sheet(ax, table.flatten(0, 1)[:, None], columns, above=above)
    alt = (
        f"{len(given)} images in rows. Left: their first {top} rows of pixels. Then "
        f"{drawn.shape[1]} different continuations that the model wrote"
        + (", and the true image on the right." if truth is not None else ".")
    )
    return Picture(fig, alt)


def written(image: Tensor, laws: Tensor, at: Sequence[int]) -> Picture:
    """An image being written: at each pixel number in `at`, what is there and the next one's law.

    image (H, W) levels; laws (K, H, W) probabilities of the levels.
    """
    K, H, W = laws.shape
    fig, axes = subplots(2, len(at), width=10, height=4.6)
    for (top, bottom), i in zip(axes.T, at, strict=True):
        partly = image.flatten().double() / (K - 1)
        partly[i:] = 0.35
        top.imshow(partly.reshape(H, W), cmap="gray", vmin=0, vmax=1)
        top.plot(i % W, i // W, "s", ms=9, mfc="none", mec=MODEL, mew=2.5)
        top.set_title(f"pixel {i + 1} is next")
        top.set_axis_off()
        law = laws[:, i // W, i % W].numpy()
        bottom.bar(range(K), law, color=MODEL, width=0.9)
        bottom.set(xlabel="its level", ylim=(0, 1), xticks=(0, K - 1))
    axes[1, 0].set_ylabel("probability")
    alt = (
        f"An image at {len(at)} moments while it is written. Above: the pixels so far, the next "
        "one framed. Below: the law of that pixel over its levels, given the pixels so far."
    )
    return Picture(fig, alt)


def _series(phi1: float, phi2: float, n: int = 160) -> np.ndarray:
    x = np.zeros(n + 2)
    for t, eps in enumerate(normals(n), start=2):
        x[t] = np.clip(phi1 * x[t - 1] + phi2 * x[t - 2] + eps, -1e3, 1e3)
    return x[2:]


def ar2(phi1: float = 0.75, phi2: float = -0.5) -> Picture:
    """A path of X_t = phi1 X_{t-1} + phi2 X_{t-2} + eps_t, its inverse roots, its spectrum."""
    x = _series(phi1, phi2)
    inverse = np.roots([1.0, -phi1, -phi2])
    radius = np.abs(inverse).max()
    fig, ((left, middle, right),) = subplots(1, 3, width=11.5, height=3.7, width_ratios=(2, 1, 1.2))
    left.plot(x, color=DATA, lw=1.4)
    left.set(xlabel="time t", ylabel="x", ylim=np.array([-1, 1]) * max(6, min(np.abs(x).max(), 60)))
    left.set_title(f"φ₁ = {phi1:g}, φ₂ = {phi2:g}")
    turn = np.linspace(0, 2 * np.pi, 200)
    middle.plot(np.cos(turn), np.sin(turn), color=GREY, lw=1.2)
    middle.plot(inverse.real, inverse.imag, "o", color=MODEL, ms=10)
    middle.set(xlabel="real part", ylabel="imaginary part", aspect="equal")
    middle.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), title=f"1/roots: radius {radius:.2f}")
    w = np.linspace(0, np.pi, 400)
    f = 1 / (2 * np.pi * np.abs(1 - phi1 * np.exp(-1j * w) - phi2 * np.exp(-2j * w)) ** 2)
    if radius < 1:
        right.plot(w, f, color=EXACT)
        right.set_title(f"peak at ω = {w[f.argmax()]:.2f}")
    else:
        right.text(0.5, 0.5, "not stationary:\nno spectrum", ha="center", transform=right.transAxes)
    right.set(xlabel="ω, radians per step", ylabel="power", xlim=(0, np.pi), ylim=(0, None))
    alt = (
        f"Left: 160 values of an AR(2) with {phi1:g} and {phi2:g}. Middle: the inverses of the "
        f"roots, largest radius {radius:.3f}, beside the unit circle. Right: the spectrum, if any."
    )
    return Picture(fig, alt)


def _four_pixels() -> np.ndarray:
    """p(a, b, c, d): fair a, b; c = a and b, d = a xor b, each flipped with probability 0.05."""
    table = np.zeros((2,) * 4)
    for a, b, c, d in product((0, 1), repeat=4):
        right = (0.95 if c == (a & b) else 0.05) * (0.95 if d == (a ^ b) else 0.05)
        table[a, b, c, d] = 0.25 * right
    return table


def _fitted_kl(order: Sequence[int]) -> float:
    """Smallest KL of a logistic FVBN in this order, by Newton on each conditional."""
    x, p = np.array(list(product((0.0, 1.0), repeat=4))), _four_pixels().ravel()
    total = float((p * np.log(p)).sum())
    for place, i in enumerate(order):
        A = np.column_stack([np.ones(16), x[:, list(order[:place])]])
        b = np.zeros(A.shape[1])
        for _ in range(30):
            s = 1 / (1 + np.exp(-A @ b))
            curve = (A * (p * s * (1 - s))[:, None]).T @ A + 1e-12 * np.eye(len(b))
            b += np.linalg.solve(curve, A.T @ (p * (x[:, i] - s)))
        total += float((p * np.logaddexp(0, (1 - 2 * x[:, i]) * (A @ b))).sum())
    return total


def orders(order: str = "abcd") -> Picture:
    """What a chain of logistic regressions misses of four pixels' law, for all 24 orders."""
    names = ["".join(o) for o in permutations("abcd")]
    misses = np.array([_fitted_kl(["abcd".index(c) for c in name]) for name in names])
    rank = misses.argsort(kind="stable")
    fig, ((ax,),) = subplots(width=10, height=3.9)
    colours = [MODEL if names[k] == order else GREY for k in rank]
    ax.bar(range(24), misses[rank], color=colours)
    ax.set_xticks(range(24), [names[k] for k in rank], rotation=90, fontsize=11)
    now = misses[names.index(order)]
    ax.set(xlabel="order in which the pixels are written", ylabel="KL to the data, nats")
    ax.set_title(f"order {order}: exact chain rule misses 0, logistic regressions {now:.3f}")
    alt = (
        f"Bars: the KL of the best logistic chain for 24 orders of four pixels, from "
        f"{misses.min():.3f} to {misses.max():.3f} nats; order {order} has {now:.3f}."
    )
    return Picture(fig, alt)


def dequantised(u: float = 1.0) -> Picture:
    """A density on [0, 17), its mass in each bin, and the mean of its log over part u of a bin."""
    x = np.linspace(0, 17, 1701)
    density = _mixture(x)
    fine = (np.arange(17)[:, None] + (np.arange(200) + 0.5) / 200).clip(0, 17)
    mass = _mixture(fine).mean(axis=1)
    part = (np.arange(17)[:, None] + u * (np.arange(200) + 0.5) / 200).clip(0, 17)
    gap = np.log(mass) - np.log(_mixture(part)).mean(axis=1)
    fig, ((left, right),) = subplots(1, 2, width=10.5, height=3.6)
    left.bar(np.arange(17) + 0.5, mass, width=0.96, color=DATA, alpha=0.5, label="P(k)")
    left.plot(x, density, color=MODEL, label="density p")
    left.set(xlabel="x = k + u", ylabel="mass, density", xlim=(0, 17))
    left.legend()
    right.bar(range(17), gap, color=[BOUND if g > -1e-9 else PINK for g in gap])
    right.axhline(0, color=GREY, lw=1)
    right.set(xlabel="level k", ylabel="log P(k) − E log p(k + u), nats", ylim=(-0.2, 0.2))
    right.set_title(f"noise u over [0, {u:g})")
    worst = gap.min()
    alt = (
        "Left: a density with two humps and its mass in 17 bins. Right: log mass minus the mean "
        f"log density for noise over [0, {u:g}): the least gap is {worst:.4f} nats."
    )
    return Picture(fig, alt)


def _mixture(x: np.ndarray) -> np.ndarray:
    def normal(mean: float, sd: float) -> np.ndarray:
        return np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))

    return 0.5 * normal(4, 2) + 0.5 * normal(12, 3)


def logistic_bins(mu: float = 0.6, s: float = 0.15) -> Picture:
    """The masses that a logistic law gives 17 levels, with and without the two open ends."""
    h = 1 / 16
    centres = np.linspace(-1, 1, 17)
    upper, lower = (0.5 * (1 + np.tanh((centres + sign * h - mu) / (2 * s))) for sign in (1, -1))
    without = upper - lower
    masses = np.concatenate([[upper[0]], without[1:-1], [1 - lower[-1]]])
    y = np.linspace(-1.6, 1.6, 600)
    t = np.tanh((y - mu) / (2 * s))
    fig, ((ax,),) = subplots(width=9, height=3.8)
    ax.bar(centres, masses, width=2 * h * 0.94, color=MODEL, alpha=0.75, label="open ends: sum 1")
    ax.step(
        np.append(centres - h, centres[-1] + h),
        np.append(without, without[-1]),
        where="post",
        color=EXACT,
        lw=1.6,
        label=f"no open ends: sum {without.sum():.3f}",
    )
    ax.plot(y, 2 * h * (1 - t**2) / (4 * s), color=GREY, lw=1.4, label="density × width of a bin")
    ax.set(xlabel="grey value, levels at 17 points of [−1, 1]", ylabel="probability")
    ax.set(xlim=(-1.6, 1.6), title=f"μ = {mu:g}, s = {s:g}")
    ax.legend(loc="upper left")
    alt = (
        f"Masses of 17 levels under a logistic law at {mu:g} of scale {s:g}. Without open ends "
        f"they sum to {without.sum():.3f}, with them to 1."
    )
    return Picture(fig, alt)


def curve(steps: Sequence = (), floor: float | None = None, name: str = "") -> Picture:
    """The training loss over the steps, nats per pixel as bits/dim, smoothed; `floor` a control."""
    loss = np.array([step.loss for step in steps] or [2.8, 2.0]) / np.log(2)
    smooth = np.array([loss[max(0, k - 20) : k + 1].mean() for k in range(len(loss))])
    fig, ((ax,),) = subplots(width=9, height=3)
    ax.plot(np.arange(1, len(loss) + 1), smooth, color=MODEL, label="mean of 20 batches")
    if floor is not None:
        ax.axhline(floor, color=GREY, ls=":", label=name)
    ax.set(xlabel="step", ylabel="bits/dim", title=f"after {len(loss)} steps: {smooth[-1]:.2f}")
    ax.legend()
    return Picture(fig, f"Training loss in bits per dimension, {smooth[-1]:.2f} at the end.")
