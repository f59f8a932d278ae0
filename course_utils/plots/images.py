"""Figures that several lessons share: sheets of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from course_utils.plots.base import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    SKY,
    YELLOW,
    Picture,
    subplots,
    tiles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PURPLE, BROWN = ("#C08BE0", "#C99A5B") if DARK else ("#7B3294", "#8C510A")
CLASSES = (INK, BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, GREY, PURPLE, BROWN)  # of ten classes


def array(images: Tensor | np.ndarray) -> np.ndarray:
    """Images as float64 in [0, 1], whatever lies outside cut off."""
    return np.clip(torch.as_tensor(images).detach().cpu().double().numpy(), 0, 1)


def sheet(
    ax: Axes, images: Tensor | np.ndarray, columns: int, title: str = "", above: Sequence[str] = ()
) -> None:
    """`tiles` of images in [0, 1], with a margin at both sides, so that two sheets stay apart.

    Args:
        ax: where.
        images: (N, C, S, S) or (N, S, S).
        columns: how many side by side.
        title: of the sheet.
        above: a label for each column.
    """
    tiles(ax, array(images), columns, title)
    low, high = ax.get_xlim()
    margin = 0.03 * (high - low)
    ax.set_xlim(low - margin, high + margin)
    ax.set_title(title, pad=26 if above else None)
    side = images.shape[-1]
    for k, label in enumerate(above):
        ax.text(k * (side + 1) + (side - 1) / 2, -0.8, label, ha="center", va="bottom", fontsize=12)


def sheets(
    named: dict[str, Tensor] | None = None,
    columns: int = 8,
    width: float = 10.0,
    height: float = 4.0,
) -> Picture:
    """Sheets of images in [0, 1] side by side, each under its name; by default real digits."""
    if named is None:
        from course_utils.data import digits  # a slow import

        named = {"real digits, 8 by 8 pixels": digits().train[:24]}
    fig, (axes,) = subplots(1, len(named), width=width, height=height)
    for ax, (name, images) in zip(axes, named.items(), strict=True):
        sheet(ax, images, columns, name)
    each = "; ".join(f"{len(images)} images, {name}" for name, images in named.items())
    return Picture(fig, f"Sheets of images: {each}.")


def rows(named: dict[str, Tensor], width: float = 10.0, high: float = 1.0) -> Picture:
    """Rows of images in [0, 1], each behind its name: what stands in a column belongs together."""
    fig, axes = subplots(len(named), 1, width=width, height=high * len(named))
    for (ax,), (name, images) in zip(axes, named.items(), strict=True):
        sheet(ax, images, columns=len(images))
        ax.text(-0.01, 0.5, name, transform=ax.transAxes, ha="right", va="center")
    each = "; ".join(named)
    count = len(next(iter(named.values())))
    return Picture(fig, f"Rows of {count} images, from top to bottom: {each}.")
