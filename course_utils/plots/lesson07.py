"""Figures of lesson 07: cells of a codebook, codes as colours, what damage and w do."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from torch import Tensor

from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREY,
    INK,
    MODEL,
    PINK,
    Picture,
    normal,
    show,
    subplots,
)
from course_utils.plots.images import array, rows, sheet, sheets

__all__ = ["rows", "sheets", "show"]

CODEBOOK = np.array([[1.0, 0.0], [-0.5, 1.0], [-1.0, -1.2], [2.5, 2.0]])
POINTS = np.array([[0.4, 0.3], [-1.0, 0.2], [1.5, 1.4], [-0.2, -0.9], [0.7, 1.0]])
CELLS = (DATA, MODEL, EXACT, PINK)


def cells(length: float = 1.0, rule: str = "nearest") -> Picture:
    """Which code wins where: four codes in the plane, the fourth `length` times as long.

    Args:
        length: factor of the fourth code.
        rule: "nearest" (smallest distance) or "dot product" (largest z^T e).
    """
    codebook = CODEBOOK * np.array([1, 1, 1, length])[:, None]
    axis = np.linspace(-3, 4, 141)
    plane = np.stack(np.meshgrid(axis, axis), axis=-1)  # (141, 141, 2)

    def winner(z: np.ndarray) -> np.ndarray:
        minus = 0.5 * (codebook**2).sum(axis=1) if rule == "nearest" else 0.0
        return (z @ codebook.T - minus).argmax(axis=-1)

    fig, ((ax,),) = subplots(width=7, height=5)
    colours = matplotlib.colors.ListedColormap(CELLS)
    shown = {"cmap": colours, "vmin": -0.5, "vmax": 3.5, "alpha": 0.3, "interpolation": "nearest"}
    ax.imshow(winner(plane), extent=(-3, 4, -3, 4), origin="lower", **shown)
    chosen = winner(POINTS)
    for point, k in zip(POINTS, chosen, strict=True):
        ax.plot(*zip(point, codebook[k], strict=True), color=GREY, lw=1.2)
    ax.plot(*POINTS.T, "o", color=INK, ms=7, label="vectors z")
    for k, (place, colour) in enumerate(zip(codebook, CELLS, strict=True)):
        ax.plot(*place, "s", color=colour, ms=11, mec=INK, label="codes" if k == 0 else None)
        ax.annotate(f"{k}", place, (7, 5), textcoords="offset points")
    ax.set(xlabel="first number", ylabel="second number", xlim=(-3, 4), ylim=(-3, 4))
    ax.set_title(f"rule: {rule}; code 3 is {length:g} times as long")
    ax.legend(loc="lower right")
    each = ", ".join(str(k) for k in chosen)
    return Picture(fig, f"Four codes and the cells they win by {rule}; five vectors go to {each}.")


def _coloured(codes: Tensor, K: int) -> np.ndarray:
    """Codes (N, h, w) as images (N, 3, 4 h, 4 w): a colour for each code."""
    colours = matplotlib.colormaps["viridis"](codes.numpy() / (K - 1))[..., :3]  # (N, h, w, 3)
    return colours.transpose(0, 3, 1, 2).repeat(4, axis=2).repeat(4, axis=3)


def told(images: Tensor, codes: Tensor, decoded: Tensor, K: int = 32) -> Picture:
    """Rows: images, their codes as coloured grids, the images decoded from nothing but these."""
    fig, axes = subplots(3, 1, width=11, height=3.6)
    named = (("images", images), ("codes", _coloured(codes, K)), ("decoded", decoded))
    for (ax,), (name, content) in zip(axes, named, strict=True):
        sheet(ax, content, columns=len(images))
        ax.text(-0.01, 0.5, name, transform=ax.transAxes, ha="right", va="center")
    alt = (
        f"Three rows of {len(images)}: coloured shapes, a grid of 4 by 4 coloured squares for "
        "each, and the shapes decoded from these squares, nearly the same as the first row."
    )
    return Picture(fig, alt)


def runs(records: dict[str, Sequence[tuple[float, float]]], K: int = 32) -> Picture:
    """Squared error and perplexity over steps, one curve for each run of pairs (error, use)."""
    fig, ((left, right),) = subplots(1, 2, width=11, height=3.6)
    said = []
    for (name, pairs), colour, style in zip(
        records.items(), (MODEL, DATA, EXACT), ("-", "--", ":"), strict=False
    ):
        error, use = np.array(pairs).reshape(-1, 2).T
        width = max(1, len(error) // 20)
        smooth = np.convolve(error, np.ones(width) / width, mode="valid")
        left.plot(np.arange(width - 1, len(error)), smooth, color=colour, ls=style, label=name)
        right.plot(use, color=colour, ls=style, label=name)
        said.append(f"{name}: error {smooth[-1]:.2f}, perplexity {use[-1]:.1f}")
    left.set(xlabel="step", ylabel="squared error of an image", ylim=(0, None))
    right.set(xlabel="step", ylabel="codes in use (perplexity)", ylim=(0, K + 1))
    right.axhline(K, color=GREY, lw=1, ls="--")
    left.legend(loc="upper right")
    right.legend(loc="lower right")
    return Picture(fig, "Error and perplexity over the steps of training. " + "; ".join(said) + ".")


def sizes(found: dict[int, tuple[float, float]], images: dict[int, Tensor], K: int = 32) -> Picture:
    """Error and perplexity over the codebook's size, and images decoded with K codes."""
    ticks = sorted(found)
    error, use = np.array([found[k] for k in ticks]).T
    fig, ((left, middle, right),) = subplots(1, 3, width=13, height=3.8, width_ratios=[3, 3, 2])
    left.plot(ticks, error, "o-", color=MODEL)
    middle.plot(ticks, use, "o-", color=EXACT, label="in use")
    middle.plot(ticks, ticks, color=GREY, ls="--", label="all K alike")
    for ax, value in ((left, found[K][0]), (middle, found[K][1])):
        ax.plot([K], [value], "s", color=DATA, ms=11)
        ax.set(xlabel="codes K", xscale="log", ylim=(0, None))
        ax.set_xticks(ticks, [str(k) for k in ticks])
        ax.minorticks_off()
    left.set(ylabel="squared error of an image", title=f"K = {K}: {found[K][0]:.2f}")
    middle.set(ylabel="perplexity", title=f"{found[K][1]:.1f} of {K} in use")
    middle.legend(loc="upper left")
    sheet(right, images[K], columns=3, title="decoded")
    alt = f"With {K} codes the error is {found[K][0]:.2f} and {found[K][1]:.1f} codes are in use."
    return Picture(fig, f"Squared error and perplexity over the number of codes. {alt}")


def lookup(sigma: float = 1.0, prior: float = 0.5) -> Picture:
    """Two codes at 0 and 2 seen through noise: the nearest rule's threshold, and Bayes'.

    Args:
        sigma: standard deviation of the noise.
        prior: probability of the code at 0.
    """
    z = np.linspace(-4, 6, 801)
    joint = [prior * normal(z, 0.0, sigma**2), (1 - prior) * normal(z, 2.0, sigma**2)]
    moved = 1 + sigma**2 / 2 * np.log(prior / (1 - prior))
    wrong = [float(np.trapezoid(np.where(z > at, joint[0], joint[1]), z)) for at in (1.0, moved)]
    fig, ((ax,),) = subplots(width=9, height=3.6)
    for part, colour, place in zip(joint, (DATA, MODEL), (0, 2), strict=True):
        ax.fill_between(z, part, color=colour, alpha=0.35)
        ax.plot(z, part, color=colour, label=f"features of the code at {place}")
    ax.axvline(1.0, color=GREY, ls="--", label=f"nearest: wrong {wrong[0]:.3f}")
    ax.axvline(moved, color=BOUND, label=f"Bayes: wrong {wrong[1]:.3f}")
    ax.set(xlabel="damaged feature", ylabel="joint density", xlim=(-4, 6), ylim=(0, None))
    ax.set_title(f"noise σ = {sigma:g}, p(code at 0) = {prior:g}")
    ax.legend(loc="upper right", fontsize=11)
    alt = (
        f"Two humps at 0 and 2, of width {sigma:g}. The middle between them is wrong "
        f"{wrong[0]:.3f} of the time, the threshold of Bayes {wrong[1]:.3f}."
    )
    return Picture(fig, alt)


def damage(
    scores: dict[float, tuple[float, float]], images: dict[float, dict[str, Tensor]],
    noise: float = 0.25,
) -> Picture:  # fmt: skip
    """Share of right codes over the noise, nearest and predicted; rows of images at one noise."""
    ticks = sorted(scores)
    nearest, former = np.array([scores[s] for s in ticks]).T
    named = images[noise]
    fig, ((left, right),) = subplots(1, 2, width=13, height=4.2, width_ratios=[2, 3])
    left.plot(ticks, nearest, "o--", color=GREY, label="nearest code")
    left.plot(ticks, former, "o-", color=MODEL, label="transformer")
    left.axvline(noise, color=DATA, lw=1)
    left.set(xlabel="noise, standard deviation", ylabel="share of right codes", ylim=(0, 1))
    left.legend(loc="upper right")
    strip = np.concatenate([array(one) for one in named.values()])
    sheet(right, strip, columns=len(next(iter(named.values()))), title=f"noise {noise:g}")
    for row, name in enumerate(named):
        height = 1 - (row + 0.5) / len(named)
        right.text(-0.01, height, name, transform=right.transAxes, ha="right", va="center")
    at = dict(zip(ticks, zip(nearest, former, strict=True), strict=True))[noise]
    alt = (
        f"Share of right codes against noise. At {noise:g}: nearest {at[0]:.2f}, transformer "
        f"{at[1]:.2f}. Beside it rows of images: {', '.join(named)}."
    )
    return Picture(fig, alt)


def fidelity(
    to_truth: dict[float, float], to_input: dict[float, float], images: dict[float, Tensor],
    w: float = 0.0,
) -> Picture:  # fmt: skip
    """Distance to the clean and to the damaged image over w, and repaired images at one w."""
    ticks = sorted(to_truth)
    fig, ((left, middle, right),) = subplots(1, 3, width=13, height=3.8, width_ratios=[3, 3, 2])
    pairs = ((left, to_truth, "to the clean image"), (middle, to_input, "to the damaged image"))
    for (ax, values, title), colour in zip(pairs, (EXACT, MODEL), strict=True):
        ax.plot(ticks, [1000 * values[v] for v in ticks], "o-", color=colour)
        ax.plot([w], [1000 * values[w]], "s", color=DATA, ms=11)
        ax.set(xlabel="w", ylabel="squared error a value, ‰", title=title, ylim=(0, None))
    sheet(right, images[w], columns=3, title=f"w = {w:g}")
    alt = (
        f"Squared distance over w. At w = {w:g} it is {1000 * to_truth[w]:.2f} per mille to the "
        f"clean image and {1000 * to_input[w]:.2f} to the damaged one."
    )
    return Picture(fig, alt)
