"""Figures of lesson 00, the toolbox: error bars, Gaussians, divergences, descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREY,
    MODEL,
    PAPER,
    PINK,
    SKY,
    Picture,
    normal,
    normals,
    show,
    subplots,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "add_and_multiply",
    "conditional",
    "descent",
    "divergences",
    "error_bars",
    "jensen",
    "running_means",
    "show",
    "two_formulas",
]


def two_formulas(d: int = 3, sd2: float = 1.2) -> Picture:
    """Two versions of KL(N(0, s1^2 I) || N(0, s2^2 I)) against s1: one of them falls below 0."""
    sd1 = np.linspace(0.25, 2.6, 300)
    rest = -d / 2 + d * sd1**2 / (2 * sd2**2)
    with_d, without = d * np.log(sd2 / sd1) + rest, np.log(sd2 / sd1) + rest
    fig, ((ax,),) = subplots(width=8, height=3.2)
    ax.axhspan(-1.5, 0, color=GREY, alpha=0.15, lw=0)
    ax.text(2.58, -1.4, "impossible: never below zero", ha="right", va="bottom", color=GREY)
    ax.plot(sd1, with_d, color=EXACT, label="formula 1")
    ax.plot(sd1, without, color=MODEL, ls="--", label="formula 2")
    ax.set(xlabel="standard deviation $\\sigma_1$ of the first law", ylabel="value (nats)")
    ax.set(ylim=(-1.5, 4), title=f"Two versions of one formula, d = {d}, $\\sigma_2$ = {sd2}")
    ax.legend(loc="upper center")
    alt = (
        f"Two curves over sigma1 in d = {d}. Formula 1 touches 0 at sigma1 = {sd2} and is positive "
        f"elsewhere; formula 2 falls to {without.min():.2f} nats, below zero, where none can be."
    )
    return Picture(fig, alt)


def running_means(runs: int = 12, n: int = 10_000) -> Picture:
    """Running means of x^2, x ~ N(0, 1), of several seeds inside 1 +- 2 sqrt(2 / n)."""
    draws = np.random.default_rng(0).normal(size=(runs, n)) ** 2
    count = np.arange(1, n + 1)
    means = draws.cumsum(axis=1) / count
    shown = np.unique(np.geomspace(5, n, 200).astype(int)) - 1
    fig, ((ax,),) = subplots(width=8, height=4)
    half = 2 * np.sqrt(2 / count[shown])
    ax.fill_between(count[shown], 1 - half, 1 + half, color=SKY, alpha=0.3, lw=0)
    ax.plot(count[shown], means[:, shown].T, color=DATA, lw=1, alpha=0.7)
    ax.axhline(1, color=EXACT)
    ax.text(n, 1.06, "exact", ha="right", color=EXACT)
    ax.text(8, 2.2, "about 95 of 100 lie in here", color=DATA)
    ax.set(xscale="log", xlabel="number of draws n", ylabel="mean of x² so far", ylim=(0, 2.5))
    ax.set(title=f"{runs} people estimate the same number")
    last = means[:, -1]
    alt = (
        f"{runs} running means of squared normal draws against n on a log axis: scattered between "
        f"about 0.3 and 2 at n = 10, between {last.min():.2f} and {last.max():.2f} at n = {n}, "
        "inside a band that narrows as one over the root of n around the exact value 1."
    )
    return Picture(fig, alt)


def error_bars(n: int = 160, repeats: int = 40) -> Picture:
    """Repeated estimates of E[x^2] = 1 from n draws with 2 standard errors; their width over n."""
    drawn = normals(max(repeats * n, 409_600))[: repeats * n]
    values = drawn.reshape(repeats, n) ** 2
    mean, error = values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(n)
    hit = np.abs(mean - 1) < 2 * error
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, width_ratios=[3, 2])
    for chosen, colour in ((hit, DATA), (~hit, MODEL)):
        where = np.flatnonzero(chosen)
        left.errorbar(where, mean[chosen], 2 * error[chosen], fmt="o", ms=4, lw=1.5, color=colour)
    left.axhline(1, color=EXACT)
    left.set(xlabel="repetition", ylabel="estimate ± 2 SE", ylim=(0, 2.6))
    left.set(title=f"n = {n}: {hit.sum()} of {repeats} reach the truth")
    sizes = np.array([10, 40, 160, 640, 2560, 10240])
    right.loglog(sizes, np.sqrt(2 / sizes), color=GREY, label="$\\sqrt{2/n}$")
    right.plot(n, error.mean(), "o", ms=10, color=DATA, label="mean SE on the left")
    right.set(xlabel="number of draws n", ylabel="standard error", ylim=(0.008, 0.8))
    right.set(title="four times n, half the width")
    right.legend(loc="lower left")
    alt = (
        f"Left: {repeats} estimates of 1 from n = {n} draws each with bars of 2 standard errors; "
        f"{hit.sum()} bars reach the truth. Right: the standard error against n on log axes, a "
        f"line of slope -1/2; at this n it is {np.sqrt(2 / n):.3f}."
    )
    return Picture(fig, alt)


def add_and_multiply(var1: float = 0.4, var2: float = 0.1) -> Picture:
    """Adding two Gaussian numbers (variances add) beside multiplying two densities (precisions)."""
    x = np.linspace(-2.5, 3.5, 601)
    total, joint = var1 + var2, 1 / (1 / var1 + 1 / var2)
    middle = joint * (0 / var1 + 1 / var2)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, sharey=True)
    panels = (left, 1, total, "the sum a + b"), (right, middle, joint, "the product, normalised")
    for ax, mean, var, label in panels:
        ax.plot(x, normal(x, 0, var1), color=DATA, ls=":", label=f"a: variance {var1:.2f}")
        ax.plot(x, normal(x, 1, var2), color=MODEL, ls="--", label=f"b: variance {var2:.2f}")
        ax.plot(x, normal(x, mean, var), color=EXACT, label=f"{label}: {var:.2f}")
        ax.set(xlabel="value", ylim=(0, 2.2))
        ax.legend(loc="upper left", fontsize=12)
    left.set(ylabel="density", title="add two numbers: wider")
    right.set(title="multiply two densities: narrower")
    alt = (
        f"Two Gaussian densities of variance {var1:.2f} and {var2:.2f}. Left: the sum of two such "
        f"numbers has variance {total:.2f}, wider than both. Right: the normalised product of the "
        f"two densities has variance {joint:.2f}, narrower than both."
    )
    return Picture(fig, alt)


def conditional(rho: float = 0.8, value: float = 1.5) -> Picture:
    """A 2-D Gaussian of correlation rho, cut at x2 = value; x1 before and after the cut."""
    mean, var = rho * value, 1 - rho**2
    fig, ((left, right),) = subplots(1, 2, width=10, height=3.7)
    angle = np.linspace(0, 2 * np.pi, 200)
    root = np.linalg.cholesky([[1, rho], [rho, 1]])
    for radius in (1, 2):
        first, second = radius * root @ np.stack([np.cos(angle), np.sin(angle)])
        left.plot(first, second, color=DATA, lw=2.2 / radius)
    left.axhline(value, color=MODEL, ls="--")
    half = 2 * np.sqrt(var)
    left.plot([mean - half, mean + half], [value, value], color=MODEL, lw=6, alpha=0.5)
    left.plot(mean, value, "o", ms=9, color=MODEL)
    left.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    left.set(title=f"observe $x_2$ = {value:.2f}")
    x = np.linspace(-3, 3, 601)
    right.plot(x, normal(x, 0, 1), color=DATA, label="$x_1$ before")
    right.plot(x, normal(x, mean, var), color=MODEL, ls="--", label="$x_1$ after")
    right.set(xlabel="$x_1$", ylabel="density", ylim=(0, 1.5))
    right.set(title=f"mean {mean:.2f}, variance {var:.2f}")
    right.legend(loc="upper left")
    alt = (
        f"Left: ellipses of a Gaussian, correlation {rho:.3g}, cut by the line x2 = {value:.2f}. "
        f"Right: x1 before, N(0, 1), and after the cut, mean {mean:.2f} and variance {var:.2f}."
    )
    return Picture(fig, alt)


def divergences(mean: float = 1.5, sd: float = 0.7) -> Picture:
    """P = N(0, 1) and q = N(mean, sd^2); both KLs and the JSD as bars."""
    x = np.linspace(-12, 12, 4801)
    p, q = normal(x, 0, 1), normal(x, mean, sd**2)
    dx, middle = x[1] - x[0], (p + q) / 2
    kl = 0.5 * (1 / sd**2 - 1 + mean**2 / sd**2 + np.log(sd**2))
    back = 0.5 * (sd**2 - 1 + mean**2 - np.log(sd**2))
    tiny = 1e-300
    half = [(law * np.log((law + tiny) / (middle + tiny))).sum() * dx / 2 for law in (p, q)]
    jsd = sum(half)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, width_ratios=[3, 2])
    left.plot(x, p, color=DATA, label="p = N(0, 1)")
    left.plot(x, q, color=MODEL, ls="--", label=f"q = N({mean:.2f}, {sd:.2f}²)")
    left.plot(x, middle, color=GREY, ls=":", label="middle m")
    left.set(xlabel="x", ylabel="density", xlim=(-4, 6), ylim=(0, 1.35), title="two laws")
    left.legend(loc="upper left", frameon=True, framealpha=1, edgecolor="none")
    values = [kl, back, jsd]
    right.bar([0, 1, 2], values, color=[DATA, MODEL, PINK])
    right.plot([1.55, 2.45], [np.log(2)] * 2, color=EXACT, lw=1.5)
    right.text(2.5, np.log(2), "log 2", va="center")
    for place, value in enumerate(values):
        above = value if place < 2 or value < 0.35 else np.log(2)
        if above > 3.6:
            _broken(right, place)
        at, colour = (2.9, PAPER) if above > 3.6 else (above + 0.05, EXACT)
        right.text(place, at, f"{value:.2f}", ha="center", color=colour)
    right.set_xticks([0, 1, 2], ["KL(p‖q)", "KL(q‖p)", "JSD"])
    right.set(ylabel="nats", ylim=(0, 4), xlim=(-0.6, 3.1), title="three ways to differ")
    beyond = " A bar with a zigzag goes on beyond the axis." if max(values) > 3.6 else ""
    alt = (
        f"Left: densities of p = N(0, 1), q = N({mean:.2f}, {sd:.2f}^2) and their average. Right: "
        f"bars of KL(p||q) = {kl:.2f}, KL(q||p) = {back:.2f} and JSD = {jsd:.2f} nats, the last "
        f"under its ceiling log 2.{beyond}"
    )
    return Picture(fig, alt)


def _broken(ax: Axes, place: float) -> None:
    """A zigzag of the ground's colour across a bar: it goes on far beyond the axis."""
    x = np.linspace(place - 0.42, place + 0.42, 9)
    for height in (3.35, 3.5):
        ax.plot(x, height + 0.06 * (-1) ** np.arange(9), color=PAPER, lw=2.5)


def jensen(spread: float = 0.9) -> Picture:
    """E f(x) against f(E x) for x = 1 -+ spread with probability 1/2: f = log, f = exp."""
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    low, high = 1 - spread, 1 + spread
    gaps = []
    for ax, f, name, span in ((left, np.log, "log", 0.06), (right, np.exp, "exp", 0)):
        x, average = np.linspace(span, 2, 300), (f(low) + f(high)) / 2
        ax.plot(x, f(x), color=EXACT)
        ax.plot([low, high], [f(low), f(high)], "o--", color=DATA, lw=1.5)
        ax.plot([1, 1], [average, f(1)], color=MODEL, lw=4)
        ax.plot(1, average, "s", ms=9, color=BOUND, label=f"E[{name} x] = {average:.2f}")
        ax.plot(1, f(1), "o", ms=9, color=MODEL, label=f"{name}(E[x]) = {f(1):.2f}")
        ax.legend(loc="lower right" if name == "log" else "upper left")
        ax.set(xlabel="x")
        gaps.append(f(1) - average)
    left.set(ylabel="f(x)", ylim=(-3, 1), title="concave: the chord lies below")
    right.set(ylim=(0, 8), title="convex: the chord lies above")
    alt = (
        f"Curves of log and exp, a chord between 1 - {spread:.2f} and 1 + {spread:.2f}. At the "
        f"middle the chord of log lies {gaps[0]:.2f} below the curve, that of exp {-gaps[1]:.2f} "
        "above it."
    )
    return Picture(fig, alt)


def _descend(step: float, steps: int) -> np.ndarray:
    """Gradient descent on KL(N(m, s^2) || N(0, 1)) from m = 1.5, s = 0.4: (steps + 1, 2)."""
    point = np.array([1.5, 0.4])
    path = [point]
    for _ in range(steps):
        point = point - step * np.array([point[0], point[1] - 1 / point[1]])
        path.append(point)
    return np.array(path)


def descent(paths: dict[str, np.ndarray] | None = None) -> Picture:
    """Contours of KL(N(m, s^2) || N(0, 1)) over (m, s) with the paths of optimisers."""
    paths = {"gradient descent": _descend(0.1, 40)} if paths is None else paths
    m, s = np.meshgrid(np.linspace(-0.6, 1.8, 200), np.linspace(0.2, 1.8, 200))
    kl = 0.5 * (m**2 + s**2 - 1 - 2 * np.log(s))
    fig, ((ax,),) = subplots(width=8, height=4.4)
    ax.contour(m, s, kl, levels=[0.02, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0], colors=GREY, linewidths=1)
    for (name, path), colour in zip(paths.items(), (DATA, MODEL, PINK), strict=False):
        ax.plot(*np.asarray(path).T, "o-", ms=4, lw=1.5, color=colour, label=name)
    ax.plot(0, 1, "*", ms=18, color=EXACT)
    clear = {"color": PAPER, "pad": 1}
    ax.text(0.05, 0.92, "N(0, 1)", va="top", bbox=clear)
    ax.set(xlabel="mean $m$", ylabel="standard deviation $s$", xlim=(-0.6, 1.8))
    ax.set(title="KL from N(m, s²) to N(0, 1): contours and descent")
    _legend_beside(ax)
    ends = ", ".join(
        f"{name} to ({path[-1][0]:.2f}, {path[-1][1]:.2f})" for name, path in paths.items()
    )
    alt = f"Contours of the KL over mean and standard deviation, smallest at (0, 1). Paths: {ends}."
    return Picture(fig, alt)


def _legend_beside(ax: Axes) -> None:
    ax.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")
