"""Figures of lesson 04, autoencoders: a line through a cloud, bits, the best denoiser, codes."""

from __future__ import annotations

from functools import cache

import numpy as np

from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREY,
    MODEL,
    PINK,
    Picture,
    normal,
    normals,
    show,
    subplots,
)

__all__ = ["show"]

WEIGHTS, MEANS, VARIANCES = np.array([[0.3, 0.7], [-1.5, 1.0], [0.09, 0.25]])
X = np.linspace(-4, 4, 801)


def line_through_a_cloud(angle: float = 75.0) -> Picture:
    """A cloud, a line through its mean at an angle, and the squared error over all angles."""
    turn = np.deg2rad(30.0)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = normals(160).reshape(80, 2) * [2.0, 0.6] @ axes
    points = points - points.mean(axis=0)

    def error(degrees: float) -> float:
        along = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
        return float(((points - np.outer(points @ along, along)) ** 2).sum(axis=1).mean())

    direction = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    foot = np.outer(points @ direction, direction)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    for a, b in zip(points, foot, strict=True):
        left.plot([a[0], b[0]], [a[1], b[1]], color=GREY, lw=0.8)
    left.plot(*points.T, "o", color=DATA, ms=4, label="x")
    left.plot(*foot.T, "o", color=MODEL, ms=3, label="x from one number")
    left.set(xlabel="x₁", ylabel="x₂", xlim=(-5, 5), ylim=(-4, 4))
    left.set_title(f"a line at {angle:g} degrees")
    left.legend(loc="upper left")
    degrees = np.arange(0, 181, 3)
    right.plot(degrees, [error(d) for d in degrees], color=EXACT)
    right.plot([angle], [error(angle)], "o", color=MODEL, ms=10)
    right.set(xlabel="angle of the line, degrees", ylabel="squared error", ylim=(0, None))
    right.set_title(f"mean squared error {error(angle):.2f}")
    alt = (
        f"Left: a long cloud and a line at {angle:g} degrees with the foot of every point on it. "
        f"Right: the squared error over all angles, smallest at about 30; here {error(angle):.2f}."
    )
    return Picture(fig, alt)


def curve_in_a_plane() -> Picture:
    """Points (t, t^2): what one number keeps through a straight line and through a curve."""
    t = np.linspace(-1, 1, 41)
    fig, ((left, right),) = subplots(1, 2, width=9, height=3.2, sharey=True)
    pairs = ((left, np.full_like(t, 1 / 3), "PCA: a line"), (right, t**2, "decoder t → (t, t²)"))
    for ax, height, title in pairs:
        ax.plot(t, t**2, "o", color=DATA, ms=6, label="x = (t, t²)")
        ax.plot(t, height, color=MODEL, label="from one number")
        for a, b in zip(t, height, strict=True):
            ax.plot([a, a], [a**2, b], color=GREY, lw=0.8)
        ax.set(xlabel="x₁", ylabel="x₂", title=title, ylim=(-0.1, 1.35))
        ax.legend(loc="upper center", ncols=2)
    alt = (
        "Points on a parabola. Left: their projections on a level line, with the missed distances. "
        "Right: a decoder that bends goes through every point."
    )
    return Picture(fig, alt)


def bits(rate: float = 2.0) -> Picture:
    """The smallest squared error at R bits for N(0, 1), two quantisers, and a common mistake."""
    rates = np.linspace(0, 4, 81)
    fig, ((ax,),) = subplots(width=9, height=3.6)
    ax.plot(rates, 2.0 ** (-2 * rates), color=BOUND, label="Shannon's bound, 2^(-2R)")
    ax.plot(rates, 2.0**-rates, color=GREY, ls="--", label="half of it a bit (wrong)")
    known = [1.0, 1 - 2 / np.pi, 0.117482, 0.034548]
    ax.plot(range(4), known, "o", color=EXACT, ms=9, label="best code of 1, 2, 4, 8 values")
    ax.plot([rate], [2.0 ** (-2 * rate)], "s", color=BOUND, ms=9)
    ax.set(xlabel="R, bits for one number", ylabel="squared error", yscale="log", ylim=(3e-3, 1.4))
    ax.set_title("N(0, 1) told in R bits")
    ax.legend(loc="lower left")
    alt = (
        f"Squared error over bits on a log scale: Shannon's bound falls to "
        f"{2.0 ** (-2 * rate):.3g} at the marked rate; the best codes of 1, 2, 4 and 8 values lie "
        "a little above it, the line that halves with each bit far above."
    )
    return Picture(fig, alt)


def _responsibilities(x: np.ndarray, sigma: float) -> np.ndarray:
    joint = WEIGHTS * normal(x[:, None], MEANS, VARIANCES + sigma**2)
    return joint / joint.sum(axis=1, keepdims=True)


def _posterior_mean(x: np.ndarray, sigma: float) -> np.ndarray:
    shrunk = MEANS + VARIANCES / (VARIANCES + sigma**2) * (x[:, None] - MEANS)
    return (_responsibilities(x, sigma) * shrunk).sum(axis=1)


@cache
def _losses(sigma: float) -> tuple[float, float, float]:
    """Squared errors of the identity, of the best line and of the posterior mean."""
    x = np.linspace(-12, 12, 4801)
    density = (WEIGHTS * normal(x[:, None], MEANS, VARIANCES + sigma**2)).sum(axis=1)
    mean = WEIGHTS @ MEANS
    second = WEIGHTS @ (VARIANCES + MEANS**2)
    variance = second - mean**2
    best = second - np.trapezoid(density * _posterior_mean(x, sigma) ** 2, x)
    return sigma**2, variance * sigma**2 / (variance + sigma**2), float(best)


def denoiser(sigma: float = 0.6) -> Picture:
    """Clean and noisy density; the best denoiser, the best line and the identity; their losses."""
    mean = WEIGHTS @ MEANS
    variance = WEIGHTS @ (VARIANCES + MEANS**2) - mean**2
    clean = (WEIGHTS * normal(X[:, None], MEANS, VARIANCES)).sum(axis=1)
    noisy = (WEIGHTS * normal(X[:, None], MEANS, VARIANCES + sigma**2)).sum(axis=1)
    identity, line, best = _losses(sigma)
    fig, ((left, right),) = subplots(1, 2, width=11, height=4)
    left.fill_between(X, clean, color=DATA, alpha=0.45, label="clean x")
    left.plot(X, noisy, color=MODEL, label="noisy x̃")
    for row, start in enumerate(np.arange(-3.5, 3.6, 0.5)):
        level = 0.02 + 0.045 * (row % 4)
        end = float(_posterior_mean(np.array([start]), sigma)[0])
        arrow = {"arrowstyle": "->", "color": EXACT, "lw": 1.4}
        left.annotate("", (end, level), (start, level), arrowprops=arrow)
    left.set(xlabel="x or x̃", ylabel="density", ylim=(0, 0.85), xlim=(-4, 4))
    left.set_title("arrows: from x̃ to E[x | x̃]")
    left.legend(loc="upper left")
    right.plot(X, X, color=GREY, lw=1.2, label=f"identity: loss {identity:.3f}")
    straight = mean + variance / (variance + sigma**2) * (X - mean)
    right.plot(X, straight, color=PINK, ls="--", label=f"best line: {line:.3f}")
    right.plot(X, _posterior_mean(X, sigma), color=EXACT, label=f"E[x | x̃]: {best:.3f}")
    right.set(xlabel="x̃, noisy", ylabel="what is returned", xlim=(-4, 4), ylim=(-4, 4))
    right.set_title(f"noise of standard deviation σ = {sigma:g}")
    right.legend(loc="upper left")
    alt = (
        f"Left: a density with two humps, its noisy version at sigma {sigma:g}, and arrows from "
        f"noisy points to the posterior mean. Right: the posterior mean bends, loss {best:.3f}, "
        f"below the best line, {line:.3f}, and the identity, {identity:.3f}."
    )
    return Picture(fig, alt)


def clumps(sd: float = 0.5) -> Picture:
    """Codes in two clumps at -3 and 3, the normal with their two moments, and N(0, 1)."""
    z = np.linspace(-9, 9, 901)
    law = 0.5 * (normal(z, -3.0, sd**2) + normal(z, 3.0, sd**2))
    fig, ((ax,),) = subplots(width=9, height=3.4)
    ax.fill_between(z, law, color=DATA, alpha=0.45, label="the codes of the data")
    ax.plot(z, normal(z, 0.0, 9 + sd**2), color=MODEL, label="normal with their two moments")
    ax.plot(z, normal(z, 0.0, 1.0), color=GREY, ls="--", label="N(0, 1)")
    ax.set(xlabel="code z", ylabel="density", ylim=(0, 0.62), xlim=(-9, 9))
    ax.legend(loc="upper right")
    ax.set_title("three laws from which one could draw a code")
    alt = (
        f"Codes in two clumps at -3 and 3 of standard deviation {sd:g}; a wide normal with "
        "the same mean and variance, also over the gap between them; N(0, 1), in the gap."
    )
    return Picture(fig, alt)


def probe(scores: dict[str, dict[int, float]], labels: int = 5) -> Picture:
    """Accuracy over labels a class, one curve for each kind of code; the values at `labels`."""
    fig, ((left, right),) = subplots(1, 2, width=11, height=4, width_ratios=[3, 2])
    colours = (EXACT, DATA, MODEL, BOUND, PINK)
    styles = ("-", "--", "-.", ":", "-")
    names = list(scores)
    for name, colour, style in zip(names, colours, styles, strict=False):
        counts, values = zip(*sorted(scores[name].items()), strict=True)
        left.plot(counts, values, "o", color=colour, ls=style, label=name)
    left.axvline(labels, color=GREY, lw=1)
    ticks = sorted(scores[names[0]])
    left.set(xlabel="labels for each class", ylabel="accuracy on the rest", ylim=(0, 1))
    left.set_xscale("log")
    left.set_xticks(ticks, [str(n) for n in ticks])
    left.minorticks_off()
    left.legend(loc="lower right", fontsize=11)
    near = min(ticks, key=lambda n: abs(n - labels))
    values = [scores[name][near] for name in names]
    right.barh(range(len(names)), values, color=colours[: len(names)])
    for at, value in enumerate(values):
        right.text(value + 0.01, at, f"{value:.2f}", va="center")
    right.set_yticks(range(len(names)), names, fontsize=11)
    right.invert_yaxis()
    right.set(xlabel=f"accuracy with {near} labels a class", xlim=(0, 1.1))
    each = ", ".join(f"{name} {value:.2f}" for name, value in zip(names, values, strict=True))
    return Picture(fig, f"Accuracy of a linear probe over labels a class. With {near}: {each}.")
