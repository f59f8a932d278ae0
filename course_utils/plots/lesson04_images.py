"""Figures of lesson 04 that show images: repaired, from few numbers, drawn from codes, sparse."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from course_utils.plots.base import (
    DATA,
    EXACT,
    GREY,
    MODEL,
    Picture,
    show,
    subplots,
)
from course_utils.plots.images import CLASSES, rows, sheet, sheets

__all__ = ["rows", "sheets", "show"]


def curve(losses: Sequence[float], floor: float | None = None, name: str = "") -> Picture:
    """Squared error over steps, each step pale and a running mean strong; a floor, if given."""
    loss = np.array(losses)
    width = max(1, len(loss) // 20)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    fig, ((ax,),) = subplots(width=9, height=2.8)
    ax.plot(np.arange(len(loss)), loss, color=MODEL, alpha=0.3, lw=1)
    ax.plot(np.arange(width - 1, len(loss)), smooth, color=MODEL)
    if floor is not None:
        ax.axhline(floor, color=EXACT, lw=1.5, ls="--", label=name)
        ax.legend(loc="upper right")
    top = max(float(np.quantile(loss, 0.9)), 1.3 * (floor or 0.0))
    ax.set(xlabel="step", ylabel="squared error", ylim=(0, 1.15 * top))
    ax.set_title(f"step {len(loss)}: {smooth[-1]:.2f}")
    alt = f"Training curve over {len(loss)} steps, falling to {smooth[-1]:.2f}."
    return Picture(fig, alt + (f" Dashed: {name}, {floor:.2f}." if floor is not None else ""))


def few_numbers(
    images: Tensor, linear: dict[int, Tensor], deep: dict[int, Tensor], errors: dict, size: int = 2
) -> Picture:
    """Digits, the same from `size` numbers by PCA and by an autoencoder; errors over all sizes.

    Args:
        images: (N, 1, 8, 8).
        linear: size to reconstructions by PCA.
        deep: size to reconstructions by the autoencoder.
        errors: {"PCA": {size: error}, "autoencoder": {size: error}}, on the test set.
        size: numbers in a code, a key of all.
    """
    at = min(linear, key=lambda known: abs(known - size))
    fig, ((left, right),) = subplots(1, 2, width=11, height=3.6, width_ratios=[3, 2])
    n = len(images)
    stack = torch.cat([images, linear[at], deep[at]])
    sheet(left, stack, columns=n, title=f"digits; from {at} by PCA; from {at} by the network")
    for (name, values), colour, mark in zip(errors.items(), (EXACT, MODEL), "so", strict=True):
        right.plot(list(values), list(values.values()), mark, ls="-", color=colour, label=name)
    right.axvline(at, color=GREY, lw=1)
    right.set(xlabel="numbers in the code", ylabel="squared error", xscale="log", ylim=(0, None))
    right.set_xticks(list(linear), [str(known) for known in linear])
    right.minorticks_off()
    right.legend(loc="upper right")
    lost = ", ".join(f"{name} {values[at]:.2f}" for name, values in errors.items())
    right.set_title(lost, fontsize=12)
    return Picture(fig, f"Test digits and the same from {at} numbers. Squared error: {lost}.")


def code_map(codes: Tensor, labels: Tensor, decode: Callable[[Tensor], Tensor]) -> Picture:
    """Where real digits lie in a plane of codes, and what the decoder makes of a grid of it.

    Each axis shows ranks, so that the codes fill it evenly: 50 % is the median code.
    """
    ranks = codes.argsort(dim=0).argsort(dim=0) / (len(codes) - 1) * 100
    points, kinds = ranks.numpy(), labels.numpy()
    fig, ((left, right),) = subplots(1, 2, width=11, height=5.2)
    for digit in range(10):
        here = points[kinds == digit][:50]
        left.plot(*here.T, marker=f"${digit}$", ms=8, mew=0, ls="", color=CLASSES[digit])
    left.set(xlabel="rank of z₁, %", ylabel="rank of z₂, %", xlim=(-2, 102), ylim=(-2, 102))
    left.set_title("test digits, each at its code")
    z1, z2 = torch.quantile(codes, torch.linspace(0.03, 0.97, 11), dim=0).T
    grid = torch.cartesian_prod(z2.flip(0), z1).flip(1)
    with torch.no_grad():
        sheet(right, decode(grid), columns=11, title="the plane, decoded")
    alt = (
        "Left: test digits 0 to 9 at their two numbers, mostly in groups. Right: the same plane as "
        "the decoder draws it on a grid of 11 by 11 points; between the groups one digit melts "
        "into another."
    )
    return Picture(fig, alt)


def sparse(found: dict[float, dict], lam: float = 0.2) -> Picture:
    """How often each unit is used at a penalty lambda, and a digit as a sum of few units.

    Args:
        found: lambda to {"share": (J,) use of each unit, "error": squared error, "active": units
            in use for a mean image, "image", "back": (1, 8, 8), "atoms": (6, 1, 8, 8), "h": (6,)}.
        lam: a key of `found`.
    """
    one = found[lam]
    fig, ((left, right),) = subplots(1, 2, width=11.5, height=2.9, width_ratios=[1, 2.8])
    share = np.sort(np.asarray(one["share"]))[::-1]
    left.bar(np.arange(len(share)), share, color=DATA, width=1.0)
    left.set(xlabel="units, the busiest first", ylabel="share of images", ylim=(0, 1))
    left.set_title(f"{one['active']:.0f} of {len(share)} at once")
    strong = one["atoms"] / one["atoms"].abs().amax(dim=(1, 2, 3), keepdim=True)
    tiles = torch.cat([one["image"][None], one["back"][None], 0.5 + 0.5 * strong])
    above = ["digit", "back", *(f"{value:.2f}" for value in one["h"])]
    sheet(right, tiles, columns=len(tiles), above=above)
    right.set_title(f"λ = {lam:g}: error {one['error']:.2f}; the six strongest units", pad=30)
    alt = (
        f"At lambda {lam:g} a mean image uses {one['active']:.0f} of {len(share)} units, squared "
        f"error {one['error']:.2f}. Left: the share of images that use each unit. Right: a digit, "
        "its reconstruction, and the six units that it uses most."
    )
    return Picture(fig, alt)
