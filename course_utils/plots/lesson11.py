"""Figures of lesson 11: sure and unsure classifiers, moments, distortions, bias, neighbours."""

from __future__ import annotations

from collections.abc import Sequence

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
    normals,
    show,
    subplots,
)
from course_utils.plots.images import array, rows, sheet, sheets

__all__ = ["rows", "sheets", "show"]


def game_values(lazy: float = 0.5) -> Picture:
    """The value of the GAN game over a generator's dropped share, with its best and a lazy judge.

    Data are two far modes; the generator gives a share s to the first one. A lazy judge moves D*
    only the share `lazy` of the way from 1/2.
    """
    s = np.linspace(0.0, 0.5, 101)
    p, g = 0.5, np.stack([s, 1 - s])
    best = np.stack([p / (p + g[0]), p / (p + g[1])])
    curves = {}
    for name, part in (("best judge", 1.0), (f"judge with {lazy:.0%} of its skill", lazy)):
        D = np.clip(0.5 + part * (best - 0.5), 1e-12, 1 - 1e-12)
        curves[name] = (p * np.log(D) + g * np.log(1 - D)).sum(axis=0)
    fig, ((ax,),) = subplots(width=9, height=3.6)
    for (name, value), colour, style in zip(
        curves.items(), (EXACT, MODEL), ("-", "--"), strict=True
    ):
        ax.plot(s, value, color=colour, ls=style, label=name)
    ax.axhline(-np.log(4), color=GREY, lw=1, ls=":", label="−log 4")
    ax.set(xlabel="share of samples in the first of two modes (½ is right)", ylabel="value V, nats")
    ax.legend(loc="upper right")
    ends = [float(v[0]) for v in curves.values()]
    alt = (
        f"Value over the share of the first mode: at share 0 the best judge gives {ends[0]:.4f}, "
        f"the lazy one {ends[1]:.4f}; both reach minus log 4 at one half."
    )
    return Picture(fig, alt)


def confidence(images: Tensor, p: Tensor, classes: Sequence[str]) -> Picture:
    """Images, and below each a bar for every class: what a classifier says of it."""
    n = len(images)
    fig, axes = subplots(2, n, width=1.9 * n, height=3.6, height_ratios=[1, 1])
    for k in range(n):
        sheet(axes[0][k], images[k : k + 1], columns=1)
        axes[1][k].bar(range(len(classes)), p[k].numpy(), color=MODEL)
        axes[1][k].set(ylim=(0, 1), ylabel="p(y|x)" if k == 0 else "")
        axes[1][k].set_xticks(range(len(classes)), [name[:4] for name in classes], fontsize=9)
    sure = ", ".join(f"{float(row.max()):.2f}" for row in p)
    return Picture(fig, f"{n} images with the class probabilities below; the largest: {sure}.")


def per_class(copies: dict[int, dict[str, float]], kinds: int = 1) -> Picture:
    """Scores of a set with `kinds` different images of each class, against those of fresh data."""
    ticks = sorted(copies)
    names = list(copies[ticks[0]])
    fig, axes = subplots(1, len(names), width=3.6 * len(names), height=3.4)
    for ax, name, colour in zip(axes[0], names, (MODEL, DATA, EXACT), strict=False):
        values = [copies[k][name] for k in ticks]
        ax.plot(ticks, values, "o-", color=colour)
        ax.plot([kinds], [copies[kinds][name]], "s", color=PINK, ms=11)
        ax.set(xlabel="different images a class", xscale="log", title=name, ylim=(0, None))
        ax.set_xticks(ticks, [str(k) for k in ticks])
        ax.minorticks_off()
    said = ", ".join(f"{name} {copies[kinds][name]:.2f}" for name in names)
    return Picture(
        fig, f"Scores over the number of different images a class. With {kinds}: {said}."
    )


def ellipses(shift: float = 1.0, turn: float = 60.0) -> Picture:
    """Two clouds of features with their means and covariance ellipses; the parts of their distance.

    Args:
        shift: of the second mean.
        turn: of its covariance, in degrees.
    """
    angle = np.deg2rad(turn)
    R = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    cov1 = np.diag([2.0, 0.3])
    cov2 = R @ cov1 @ R.T
    root = np.diag(np.sqrt([2.0, 0.3]))
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov2 @ root), 0, None)).sum()
    means, shape = shift**2, 2 * (2.3 - cross)
    fig, ((ax, bars),) = subplots(1, 2, width=11, height=4, width_ratios=[3, 2])
    cloud = normals(240).reshape(120, 2)
    circle = np.linspace(0, 2 * np.pi, 200)
    ring = 2 * np.stack([np.cos(circle), np.sin(circle)])
    for offset, turned, colour, name in ((0.0, np.eye(2), DATA, "real"), (shift, R, MODEL, "fake")):
        points = turned @ root @ cloud.T + np.array([[offset], [0.0]])
        edge = turned @ root @ ring + np.array([[offset], [0.0]])
        ax.plot(*points, ".", color=colour, ms=4)
        ax.plot(*edge, color=colour, label=name)
        ax.plot(offset, 0, "+", color=colour, ms=14, mew=3)
    ax.set(xlabel="feature 1", ylabel="feature 2", xlim=(-4.5, 6.5), ylim=(-4, 4))
    ax.legend(loc="upper left")
    bars.bar(
        ["means", "covariances", "FD"], [means, shape, means + shape], color=(EXACT, PINK, BOUND)
    )
    bars.set(ylabel="squared distance", ylim=(0, 12), title=f"FD = {means + shape:.2f}")
    alt = (
        f"Two clouds with ellipses, the second shifted by {shift:g}, turned by {turn:g} degrees. "
        f"Bars: means {means:.2f}, covariances {shape:.2f}, together {means + shape:.2f}."
    )
    return Picture(fig, alt)


def distortions(
    distances: dict[str, list[float]], examples: dict[str, Tensor], kind: str = "noise",
    strength: int = 2,
) -> Picture:  # fmt: skip
    """Fréchet distance over the strength of each kind of damage; examples of one kind.

    Args:
        distances: kind to distances at strengths 0, 1, 2, ...
        examples: kind to images (strengths, N, 3, S, S).
        kind: shown in colour.
        strength: marked, and shown.
    """
    fig, ((left, right),) = subplots(1, 2, width=12, height=4, width_ratios=[3, 2])
    for name, values in distances.items():
        here = name == kind
        left.plot(
            values,
            "o-",
            color=MODEL if here else GREY,
            lw=2.5 if here else 1,
            alpha=1 if here else 0.6,
        )
        left.annotate(
            name, (len(values) - 1, values[-1]), (5, 0), textcoords="offset points", fontsize=10
        )
    left.plot([strength], [distances[kind][strength]], "s", color=DATA, ms=11)
    most = len(distances[kind]) - 1
    left.set(xlabel="strength of the damage", ylabel="Fréchet distance", xlim=(-0.1, most + 1.2))
    left.set_xticks(range(most + 1))
    sheet(right, examples[kind][strength], columns=4, title=f"{kind}, strength {strength}")
    alt = (
        f"Fréchet distance over strength for {', '.join(distances)}. At strength {strength} "
        f"{kind} has {distances[kind][strength]:.2f}; examples beside it."
    )
    return Picture(fig, alt)


def blind(s: float = 0.2) -> Picture:
    """A mixture of two normals with mean 0 and variance 1 beside N(0, 1): Fréchet distance 0."""
    x = np.linspace(-3.5, 3.5, 1401)
    m = np.sqrt(1 - s**2)
    mix, base = 0.5 * (normal(x, -m, s**2) + normal(x, m, s**2)), normal(x, 0.0, 1.0)
    middle = 0.5 * (mix + base)
    jsd = 0.5 * np.trapezoid(mix * np.log(np.maximum(mix, 1e-300) / middle), x)
    jsd += 0.5 * np.trapezoid(base * np.log(base / middle), x)
    fig, ((ax,),) = subplots(width=9, height=3.4)
    ax.fill_between(x, base, color=DATA, alpha=0.4, label="N(0, 1)")
    ax.plot(x, mix, color=MODEL, label=f"two humps of sd {s:g}, variance 1")
    ax.set(xlabel="feature", ylabel="density", title=f"Fréchet distance 0, JSD {jsd:.3f} nats")
    ax.legend(loc="upper right")
    return Picture(fig, f"Two humps and a bell with equal mean and variance; JSD {jsd:.3f} nats.")


def price_of_n(found: dict[int, list[float]], d: int = 16, n: int = 300) -> Picture:
    """Fréchet distances of two sets from one law, over their size, with the line c / n."""
    ticks = sorted(found)
    constant = 2 * d + d * (d + 1) / 2
    fig, ((ax,),) = subplots(width=9, height=3.8)
    for size in ticks:
        ax.plot([size] * len(found[size]), found[size], "o", color=MODEL, ms=4, alpha=0.6)
    line = np.geomspace(ticks[0], ticks[-1], 50)
    ax.plot(line, constant / line, color=EXACT, label=f"{constant:g} / n")
    ax.axvline(n, color=DATA, lw=1.5)
    mean = float(np.mean(found[n]))
    ax.set(xlabel="n, draws in each set", ylabel="Fréchet distance", xscale="log", yscale="log")
    ax.set_xticks(ticks, [f"{t:,}" for t in ticks])
    ax.minorticks_off()
    ax.set_title(f"one law, {d} features, n = {n:,}: {mean:.3f} on average")
    ax.legend(loc="upper right")
    return Picture(
        fig, f"Distances of equal laws fall like {constant:g}/n; at n = {n}: {mean:.3f}."
    )


def neighbours(named: dict[str, tuple[Tensor, Tensor]]) -> Picture:
    """For each name: images, and under them their nearest training images."""
    fig, axes = subplots(len(named), 1, width=11, height=2.0 * len(named))
    for (ax,), (name, (images, nearest)) in zip(axes, named.items(), strict=True):
        both = np.concatenate([array(images), array(nearest)])
        sheet(ax, both, columns=len(images))
        ax.text(-0.01, 0.5, name, transform=ax.transAxes, ha="right", va="center")
    return Picture(fig, f"Images over their nearest training images: {'; '.join(named)}.")


def study(images: Tensor, real: Sequence[bool], shown: str = "hidden") -> Picture:
    """Numbered images, real and drawn mixed; with "told" the drawn ones are named."""
    count, columns = len(images), 8
    fig, axes = subplots(-(-count // columns), columns, width=11, height=1.6 * (count // columns))
    drawn = [k + 1 for k in range(count) if not real[k]]
    for k, ax in enumerate(axes.flat[:count]):
        sheet(ax, images[k : k + 1], columns=1)
        told = shown != "hidden" and not real[k]
        label = f"{k + 1} drawn" if told else f"{k + 1}"
        ax.set_title(label, fontsize=11, color=MODEL if told else INK, pad=2)
    end = "." if shown == "hidden" else f"; drawn are {', '.join(map(str, drawn))}."
    return Picture(
        fig, f"{count} numbered pieces of clothing, some real, some drawn by a model{end}"
    )
