"""Figures of lesson 01 on mixtures: the model, fits in the plane, completions, anomalies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREEN,
    GREY,
    INK,
    MODEL,
    ORANGE,
    PINK,
    SKY,
    YELLOW,
    Picture,
    subplots,
)
from course_utils.plots.images import sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLUSTERS = (DATA, ORANGE, GREEN, PINK, YELLOW, SKY, INK, GREY)
SIZES = (1, 2, 5, 10, 20, 40)  # numbers of components that the slider offers


def generator(weights: Tensor, means: Tensor, draws: Tensor) -> Picture:
    """How a mixture makes an image: a component by its weight, then a draw around its mean.

    Args:
        weights: (K,), the largest first.
        means: (K, S * S), in this order.
        draws: (M, S * S) from the first component.
    """
    side = round(means.shape[1] ** 0.5)
    fig, (axes,) = subplots(
        1, 3, width=11, height=3.7, gridspec_kw={"width_ratios": (1.1, 1.3, 1.3)}
    )
    axes[0].bar(range(len(weights)), 100 * weights, color=[MODEL] + [GREY] * (len(weights) - 1))
    axes[0].set(xlabel="component k", ylabel="probability, %", xticks=(0, len(weights) - 1))
    axes[0].set_title("1. draw a component")
    sheet(axes[1], means.reshape(-1, 1, side, side), 5, "2. look up its mean image")
    box = [(-0.9, -0.9), (side, -0.9), (side, side), (-0.9, side), (-0.9, -0.9)]
    axes[1].plot(*zip(*box, strict=True), color=MODEL, lw=3, clip_on=False)
    sheet(axes[2], draws.reshape(-1, 1, side, side), 4, "3. draw around it: covariance")
    alt = (
        f"Three steps. Bars: the probabilities of {len(weights)} components. A sheet of their mean "
        f"images, blurred digits, the first marked. {len(draws)} draws around the first mean."
    )
    return Picture(fig, alt)


def rows(named: dict[str, Tensor], title: str = "") -> Picture:
    """Images (N, S, S) in rows, each with its name on the left; NaN (a hole) is drawn grey."""
    n, side, _ = next(iter(named.values())).shape
    fig, ((ax,),) = subplots(width=min(9.5, 0.85 * n + 1.8), height=0.85 * len(named) + 0.4)
    images = torch.cat(list(named.values()))[:, None]
    sheet(ax, torch.where(images.isnan(), torch.tensor(0.5).to(images), images), n, title)
    for k, name in enumerate(named):
        at = k * (side + 1) + side / 2 - 0.5
        ax.text(-0.7 - 0.08 * side, at, name, ha="right", va="center", fontsize=12)
    return Picture(fig, f"Sheet of images, {n} in a row; rows: {', '.join(named)}. {title}")


def film(strip: Tensor, names: Sequence[str], every: int = 1) -> Picture:
    """Rows of images (R, T, S, S): the same chain after 0, `every`, 2 * `every` … steps."""
    rows, frames, side, _ = strip.shape
    fig, ((ax,),) = subplots(width=11, height=0.85 * rows + 0.9)
    labels = [str(every * k) for k in range(frames)]
    sheet(ax, strip.reshape(rows * frames, 1, side, side), frames, "", above=labels)
    for k, name in enumerate(names):
        ax.text(-1.2, k * (side + 1) + side / 2 - 0.5, name, ha="right", va="center", fontsize=12)
    ax.set_title("steps of the chain", pad=26)
    return Picture(fig, f"{rows} chains of images, {frames} frames each, {every} steps apart.")


def _ellipse(ax: Axes, mean: np.ndarray, cov: np.ndarray, colour: str) -> None:
    """The points one and two standard deviations from the mean."""
    values, vectors = np.linalg.eigh(cov)
    angle = np.linspace(0, 2 * np.pi, 61)
    ring = vectors @ (np.sqrt(values)[:, None] * np.array([np.cos(angle), np.sin(angle)]))
    for size in (1, 2):
        ax.plot(*(mean[:, None] + size * ring), color=colour, lw=1.8 if size == 1 else 1)


def _mixture(
    ax: Axes, points: np.ndarray, weights: np.ndarray, means: np.ndarray, covs: np.ndarray
) -> None:
    """Points in the colour of their likeliest component, with its ellipses."""
    apart = points[:, None] - means
    squared = np.einsum("nki,kij,nkj->nk", apart, np.linalg.inv(covs), apart)
    k = (np.log(weights) - 0.5 * squared - 0.5 * np.linalg.slogdet(covs)[1]).argmax(1)
    for j, (mean, cov) in enumerate(zip(means, covs, strict=True)):
        colour = CLUSTERS[j % len(CLUSTERS)]
        ax.plot(*points[k == j].T, ".", color=colour, ms=4, alpha=0.5)
        _ellipse(ax, mean, cov, colour)


def fits(points: Tensor | None = None, mixtures: dict | None = None) -> Picture:
    """Points of the plane and several mixtures (weights, means, covs) side by side, by name."""
    if points is None or mixtures is None:
        points = torch.as_tensor(_plane()[0])
        mixtures = {"5 components": _em(5)[0]}
    cloud = np.asarray(points)
    fig, (axes,) = subplots(
        1, len(mixtures), width=3.7 * len(mixtures), height=3.6, sharex=True, sharey=True
    )
    for ax, (name, mixture) in zip(axes, mixtures.items(), strict=True):
        _mixture(ax, cloud, *(np.asarray(part) for part in mixture))
        ax.set(xlabel="$x_1$", title=name)
    axes[0].set_ylabel("$x_2$")
    alt = f"{len(cloud)} points, coloured by component, with its ellipses: {', '.join(mixtures)}."
    return Picture(fig, alt)


@cache
def _plane() -> tuple[np.ndarray, np.ndarray]:
    """The digits' first two principal components, to train (1347, 2) and to test (450, 2)."""
    from course_utils.data import digits

    train, test = (part.flatten(1).double().numpy() for part in (digits().train, digits().test))
    mean = train.mean(0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:2].T
    return (train - mean) @ axes, (test - mean) @ axes


@cache
def _em(K: int) -> tuple[tuple, float, float]:
    """K Gaussians fitted to `_plane`, and their mean log-likelihoods, train and test."""
    from sklearn.mixture import GaussianMixture

    train, test = _plane()
    made = GaussianMixture(K, reg_covar=1e-4, tol=1e-4, max_iter=200, random_state=0).fit(train)
    return (made.weights_, made.means_, made.covariances_), made.score(train), made.score(test)


def components(K: int = 5) -> Picture:
    """A mixture of K Gaussians on the digits' plane; log-likelihoods over K, seen and unseen."""
    train, _ = _plane()
    fig, ((left, right),) = subplots(1, 2, width=11, height=4.3)
    mixture, seen, unseen = _em(K)
    _mixture(left, train, *mixture)
    left.set(
        xlabel="first principal component", ylabel="second principal component", title=f"K = {K}"
    )
    curves = np.array([_em(size)[1:] for size in SIZES])
    places = range(len(SIZES))
    right.plot(places, curves[:, 0], "o-", color=MODEL, label="1,347 digits of the fit")
    right.plot(places, curves[:, 1], "o-", color=DATA, label="450 others")
    at = SIZES.index(K)
    right.plot([at, at], [seen, unseen], "o", color=EXACT, ms=11)
    right.set(xlabel="components K", ylabel="mean log density, nats", xticks=places)
    right.set(xticklabels=SIZES, title=f"seen {seen:.3f}, unseen {unseen:.3f}")
    right.legend(loc="lower right")
    alt = (
        f"Left: digits in the plane of two principal components and {K} Gaussians. Right: mean log "
        f"density over K, {seen:.3f} nats on the digits of the fit, {unseen:.3f} on others."
    )
    return Picture(fig, alt)


def climb(
    traces: dict[str, Sequence[float]] | None = None, title: str = "EM climbs", first: int = 0
) -> Picture:
    """Mean log-likelihood over the sweeps of EM from the `first` one, one curve per name."""
    traces = traces or {"a run": [-2.0, -1.6, -1.5, -1.48, -1.475]}
    fig, ((ax,),) = subplots(width=9, height=3.6)
    for (name, trace), colour in zip(traces.items(), (MODEL, DATA, BOUND, PINK), strict=False):
        ax.plot(range(first, first + len(trace)), trace, ".-", color=colour, label=name)
    ax.set(xlabel="sweeps of EM", ylabel="mean log-likelihood, nats", title=title)
    ax.legend(loc="best")
    ends = ", ".join(f"{name} from {t[0]:.3f} to {t[-1]:.3f}" for name, t in traces.items())
    return Picture(fig, f"Mean log-likelihood over sweeps: {ends}.")


def anomalies(
    threshold: float = 20.0, ours: Tensor | None = None, theirs: Tensor | None = None
) -> Picture:
    """Histograms of log p of ordinary digits and of strangers; what a threshold finds and costs."""
    if ours is None or theirs is None:
        rng = np.random.default_rng(0)
        ours, theirs = 55 + 15 * rng.standard_normal(400), -10 + 25 * rng.standard_normal(80)
    ours, theirs = (np.asarray(part, dtype=float) for part in (ours, theirs))
    low, high = min(theirs.min(), ours.min()), max(ours.max(), theirs.max())
    bins = np.linspace(max(low, -150), high, 50)
    fig, ((left, right),) = subplots(1, 2, width=11, height=4)
    left.hist(ours, bins=bins, density=True, color=DATA, alpha=0.6, label="ordinary")
    left.hist(theirs, bins=bins, density=True, color=MODEL, alpha=0.6, label="stranger")
    left.axvline(threshold, color=EXACT, lw=1.5)
    left.set(
        xlabel="log p(x), nats", ylabel="share per nat", title="everything on the left is flagged"
    )
    left.legend(loc="upper left")
    order = np.sort(np.concatenate([ours, theirs]))
    alarms, found = ([(part < t).mean() for t in order] for part in (ours, theirs))
    alarm, hit = (ours < threshold).mean(), (theirs < threshold).mean()
    right.plot(alarms, found, color=BOUND, label="ROC: all thresholds")
    right.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="a coin")
    right.plot(alarm, hit, "o", color=EXACT, ms=10)
    right.set(xlabel="ordinary digits flagged", ylabel="strangers flagged")
    right.set_title(f"{hit:.0%} found, {alarm:.0%} false alarms")
    right.legend(loc="lower right")
    alt = (
        f"Left: log p of ordinary digits and of strangers. Right: the curve of all thresholds; at "
        f"{threshold:g} nats {hit:.0%} of the strangers and {alarm:.0%} of the others are flagged."
    )
    return Picture(fig, alt)


def labels_needed(numbers: Sequence[int], curves: dict[str, Sequence[float]]) -> Picture:
    """Accuracy on unseen digits over the number of labels, one curve per name."""
    fig, ((ax,),) = subplots(width=9, height=3.7)
    for (name, curve), colour in zip(curves.items(), (MODEL, DATA, BOUND), strict=False):
        ax.semilogx(numbers, [100 * share for share in curve], "o-", color=colour, label=name)
    ax.set(xlabel="digits with a label", ylabel="right, % of 450", xticks=numbers)
    ax.set_xticklabels([f"{n:,}" for n in numbers])
    ax.minorticks_off()
    ax.set_title("a fit without labels, then a few labels")
    ax.legend(loc="lower right")
    parts = (f"{name}: {', '.join(f'{v:.0%}' for v in c)}" for name, c in curves.items())
    return Picture(fig, f"Accuracy for {', '.join(map(str, numbers))} labels. {'. '.join(parts)}.")


def context(seen: Sequence[float], unseen: Sequence[float]) -> Picture:
    """Bits per character over the length of the context, on the counted text and on another."""
    fig, ((ax,),) = subplots(width=9, height=3.6)
    ax.plot(range(len(seen)), seen, "o-", color=MODEL, label="the code that was counted")
    ax.plot(range(len(unseen)), unseen, "o-", color=DATA, label="code from another module")
    ax.axhline(np.log2(128), color=GREY, ls=":", lw=1.2, label="128 characters, equally probable")
    ax.set(xlabel="characters of context", ylabel="bits per character", ylim=(0, 10.4))
    ax.set_title("more context: better on its own text, then worse on other text")
    ax.legend(loc="upper right", fontsize=11)
    best = int(np.argmin(unseen))
    alt = (
        f"Bits per character over the context: on the counted code they fall from {seen[0]:.1f} to "
        f"{seen[-1]:.1f}, on other code they are lowest at {best} characters, {unseen[best]:.1f}."
    )
    return Picture(fig, alt)
