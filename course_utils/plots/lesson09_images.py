"""Figures of lesson 09 that show digits and what normalisation does to a deep network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from course_utils.plots.base import BOUND, MODEL, Picture, show, subplots, tiles

__all__ = ["show"]


def _digits(images: Tensor | None, n: int) -> Tensor:
    """The first n images, of scikit-learn's digits if none are given."""
    if images is None:
        from course_utils.data import digits

        images = digits().train
    return images[:n].detach().cpu().clamp(0, 1)


def shuffled(images: Tensor | None = None, n: int = 12) -> Picture:
    """Digits, and the same digits with one and the same shuffle of their pixels."""
    images = _digits(images, n)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    mixed = images.flatten(1)[:, order].view_as(images)
    fig, axes = subplots(2, 1, width=10, height=2.6)
    tiles(axes[0, 0], images.numpy(), n, "digits, as they are")
    tiles(axes[1, 0], mixed.numpy(), n, "the same digits, pixels shuffled")
    alt = f"Two rows of {n} images: digits of 8 by 8 pixels; below, the same with shuffled pixels."
    return Picture(fig, alt)


def depth(layers: int = 10, units: int = 64, seed: int = 0) -> Picture:
    """Size of the signal after each ReLU layer, weights N(0, 0.02^2), with and without norms."""
    rng = torch.Generator().manual_seed(seed)
    plain = normed = torch.randn(256, units, generator=rng)
    sizes = [[1.0, 1.0]]
    for _ in range(layers):
        weight = 0.02 * torch.randn(units, units, generator=rng)
        plain, h = (plain @ weight).relu(), normed @ weight
        normed = ((h - h.mean(dim=0)) / h.std(dim=0, unbiased=False)).relu()
        sizes.append([float(x.square().mean().sqrt()) for x in (plain, normed)])
    without, with_norm = np.array(sizes).T
    fig, ((ax,),) = subplots(width=9, height=3.6)
    ax.plot(with_norm, "o-", color=BOUND, label="with batch normalisation")
    ax.plot(without, "o-", color=MODEL, label="without")
    ax.set(xlabel="layer", ylabel="root mean square", yscale="log", ylim=(1e-11, 10))
    ax.set(title="size of the signal, all weights from N(0, 0.02²)", xticks=range(layers + 1))
    ax.legend(loc="lower left")
    alt = (
        f"Size of the signal over {layers} layers on a log axis: with batch normalisation it stays "
        f"at {with_norm[-1]:.2f}; without it falls in a straight line to {without[-1]:.0e}."
    )
    return Picture(fig, alt)


def rows(records: Sequence[tuple[int, Tensor]] = ()) -> Picture:
    """The samples of the same noises at several steps, one row for each."""
    records = records or [(step, _digits(None, 8)) for step in (1, 20)]
    fig, axes = subplots(len(records), 1, width=8, height=1.05 * len(records))
    for ax, (step, images) in zip(axes[:, 0], records, strict=True):
        tiles(ax, _digits(images, 8).numpy(), 8)
        ax.text(-2, 4, f"step {step}", ha="right", va="center")
    steps = ", ".join(str(step) for step, _ in records)
    return Picture(fig, f"Rows of eight generated digits, from the same noises, at steps {steps}.")


def copies(fakes: Tensor | None = None, train: Tensor | None = None, n: int = 12) -> Picture:
    """Fakes, and below each the training digit that is nearest in pixels."""
    train = _digits(train, 2000)
    fakes = _digits(train.flip(0) if fakes is None else fakes, n)
    distance, nearest = torch.cdist(fakes.flatten(1), train.flatten(1)).min(dim=1)
    fig, axes = subplots(2, 1, width=10, height=2.6)
    tiles(axes[0, 0], fakes.numpy(), n, "fakes")
    tiles(axes[1, 0], train[nearest].numpy(), n, "the nearest training digit of each")
    alt = (
        f"{n} generated digits, below each the nearest of {len(train)} training digits, on average "
        f"{float(distance.mean()):.2f} away in pixels."
    )
    return Picture(fig, alt)
