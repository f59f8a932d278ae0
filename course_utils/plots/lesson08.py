"""Figures of lesson 08, the GAN minimax: the two densities, the discriminator, the divergences."""

from functools import cache
from statistics import NormalDist

import numpy as np

from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREY,
    INK_TO_PAPER,
    MODEL,
    PINK,
    Picture,
    show,
    subplots,
)

__all__ = ["show"]

LOG_4 = np.log(4.0)
X = np.linspace(-12, 14, 2601)  # the line on which the divergences are integrated
QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 400) for i in range(400)])
VIEW = (-4.0, 5.0)  # the part of it that figures show


def _log_normal(x: np.ndarray, mean: float, sd: float) -> np.ndarray:
    return -0.5 * ((x - mean) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))


def _log_sigmoid(a: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -a)


def _value(a: np.ndarray, mean: float = 1.5, sd: float = 0.7) -> float:
    """The value of the game for p = N(0, 1), p_g = N(mean, sd^2) and a discriminator's logit a."""
    p, pg = np.exp(_log_normal(X, 0, 1)), np.exp(_log_normal(X, mean, sd))
    return float(np.trapezoid(p * _log_sigmoid(a) + pg * _log_sigmoid(-a), X))


def _jsd(mean: float, sd: float) -> float:
    """JSD of N(0, 1) and N(mean, sd^2) in nats, from the value at the best discriminator."""
    return (_value(_log_normal(X, 0, 1) - _log_normal(X, mean, sd), mean, sd) + LOG_4) / 2


def _w1(mean: float, sd: float) -> float:
    """W1 of N(0, 1) and N(mean, sd^2): the mean distance of equal quantiles."""
    return float(np.abs(mean + sd * QUANTILES - QUANTILES).mean())


@cache
def _along(sd: float) -> np.ndarray:
    """(3, 33): means of p_g from -4 to 4, and there W1 and JSD; a slider of the mean keeps it."""
    means = np.linspace(-4, 4, 33)
    return np.array([means, [_w1(m, sd) for m in means], [_jsd(m, sd) for m in means]])


def pushed_noise(shift: float = 1.5, scale: float = 0.7) -> Picture:
    """Noise z, the same draws pushed through G(z) = shift + scale z, and the data."""
    rng = np.random.default_rng(0)
    z, data = rng.standard_normal((2, 1000))
    bins = np.linspace(*VIEW, 46)
    fig, ((left, right),) = subplots(1, 2, width=10, height=3.6, sharex=True, sharey=True)
    left.hist(z, bins=bins, color=GREY, alpha=0.6)
    left.set(title="noise z, from N(0, 1)", xlabel="z", ylabel="draws of 1,000", xlim=VIEW)
    right.hist(data, bins=bins, color=DATA, alpha=0.5, label="real x")
    right.hist(shift + scale * z, bins=bins, color=MODEL, alpha=0.5, label="fake G(z)")
    right.set(title=f"G(z) = {shift:g} + {scale:g} z, and the data", xlabel="x")
    right.legend(loc="upper left")
    alt = (
        f"Left: histogram of 1,000 draws of noise around 0. Right: the same draws pushed through "
        f"G(z) = {shift:g} + {scale:g} z, narrower and around {shift:g}, and 1,000 real samples."
    )
    return Picture(fig, alt)


def heaps(width: float = 0.5) -> Picture:
    """Real and fake samples stacked in bins, and the share of real ones in each bin."""
    rng = np.random.default_rng(1)
    bins = np.arange(VIEW[0], VIEW[1] + width, width)
    real = np.histogram(rng.standard_normal(2000), bins)[0]
    fake = np.histogram(1.5 + 0.7 * rng.standard_normal(2000), bins)[0]
    centre, some = bins[:-1] + width / 2, real + fake > 0
    fig, ((left, right),) = subplots(1, 2, width=10, height=3.4, sharex=True)
    left.bar(centre, real, width=0.9 * width, color=DATA, alpha=0.7, label="real")
    left.bar(centre, fake, width=0.9 * width, bottom=real, color=MODEL, alpha=0.7, label="fake")
    left.set(title="4,000 samples in bins", xlabel="x", ylabel="samples", xlim=VIEW)
    left.legend(loc="upper left")
    share = real[some] / (real + fake)[some]
    right.plot(centre[some], share, "o", color=EXACT, ms=8)
    right.axhline(0.5, color=GREY, lw=1)
    right.set(title="share of real ones in the bin", xlabel="x", ylabel="share", ylim=(-0.05, 1.05))
    alt = (
        "Left: 2,000 real samples around 0 and 2,000 fake ones around 1.5, stacked in bins. Right: "
        f"the share of real ones falls from {share[0]:.2f} on the left to {share.min():.2f}."
    )
    return Picture(fig, alt)


def wrong_discriminator(shift: float = 0.5, slope: float = 1.0) -> Picture:
    """A discriminator with logit slope * logit D* + shift beside the best one, and its value."""
    best = _log_normal(X, 0, 1) - _log_normal(X, 1.5, 0.7)
    shifts = np.linspace(-2, 2, 41)
    values = [_value(slope * best + s) for s in shifts]
    now, top = _value(slope * best + shift), _value(best)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    left.plot(X, 1 / (1 + np.exp(-best)), color=EXACT, label="D*")
    left.plot(X, np.exp(_log_sigmoid(slope * best + shift)), color=BOUND, ls="--", label="our D")
    left.set(xlabel="x", ylabel="D(x)", xlim=VIEW, ylim=(-0.03, 1.03), title="two discriminators")
    left.legend(loc="lower left")
    right.plot(shifts, values, color=BOUND, label=f"our D, slope {slope:g}")
    right.axhline(top, color=EXACT, lw=1, label=f"D*: {top:.4f}")
    right.plot(shift, now, "o", color=BOUND, ms=10)
    right.set(xlabel="shift of the logit", ylabel="V, nats", ylim=(-2.6, -0.6))
    right.set_title(f"value of our D: {now:.4f}")
    right.legend(loc="lower center")
    alt = (
        f"Left: the best discriminator and one whose logit is {slope:g} times as steep and shifted "
        f"by {shift:g}. Right: its value, {now:.4f} nats, against the best, {top:.4f}."
    )
    return Picture(fig, alt)


def recovered(coefficients: tuple = (1.939239, -3.061224, 0.520408)) -> Picture:
    """The logit c0 + c1 x + c2 x^2 that a logistic regression found, and the exact log ratio."""
    fig, ((ax,),) = subplots(width=9, height=4)
    exact = _log_normal(X, 0, 1) - _log_normal(X, 1.5, 0.7)
    c0, c1, c2 = (float(c) for c in coefficients)
    ax.plot(X, exact, color=EXACT, label="log p(x) - log p_g(x)")
    ax.plot(X, c0 + c1 * X + c2 * X**2, color=BOUND, ls="--", label="logit of the classifier")
    ax.axhline(0, color=GREY, lw=1)
    ax.set(xlabel="x", ylabel="logit, nats", xlim=VIEW, ylim=(-4, 14))
    ax.set_title("a classifier that has seen samples only")
    ax.legend(loc="upper right")
    return Picture(fig, "The fitted logit of a classifier lies on the exact log density ratio.")


def drag(mean: float = 1.5, sd: float = 0.7) -> Picture:
    """p, p_g and D* on the left; C, JSD and W1 over the mean of p_g on the right."""
    fig, ((left, right),) = subplots(1, 2, width=11, height=3.7)
    a = _log_normal(X, 0, 1) - _log_normal(X, mean, sd)
    left.fill_between(X, np.exp(_log_normal(X, 0, 1)), color=DATA, alpha=0.55, label="p")
    left.fill_between(X, np.exp(_log_normal(X, mean, sd)), color=MODEL, alpha=0.55, label="p_g")
    left.plot(X, np.exp(_log_sigmoid(a)), color=EXACT, label="D*")
    left.set(xlabel="x", ylabel="density, and D*(x)", xlim=(-5, 7), ylim=(0, 1.25))
    left.set_title(f"p_g = N({mean:g}, {sd:g}²)")
    left.legend(loc="upper center", ncols=3)
    w1, jsd, (means, distances, divergences) = _w1(mean, sd), _jsd(mean, sd), _along(sd)
    right.plot(means, distances, color=PINK, label=f"W1 = {w1:.3f}")
    right.plot(means, divergences, color=MODEL, label=f"JSD = {jsd:.4f}")
    right.plot(means, 2 * divergences - LOG_4, color=EXACT, label=f"value = {2 * jsd - LOG_4:.4f}")
    right.plot([mean] * 3, [w1, jsd, 2 * jsd - LOG_4], "o", color=EXACT, ms=8)
    for level in (-LOG_4, 0.0, np.log(2)):
        right.axhline(level, color=GREY, lw=0.8, ls=":")
    right.set(xlabel="mean of p_g", ylabel="nats (W1: units of x)", ylim=(-1.6, 5.6))
    right.set_title(f"sd of p_g: {sd:g}")
    right.legend(loc="upper center")
    alt = (
        f"Left: p = N(0, 1), p_g = N({mean:g}, {sd:g}^2) and the best discriminator. Right, over "
        f"the mean of p_g: W1 = {w1:.3f}, JSD = {jsd:.4f}, value of the game "
        f"{2 * jsd - LOG_4:.4f}, which lies between -1.386 and 0."
    )
    return Picture(fig, alt)


def landscape(paths: dict | None = None) -> Picture:
    """The value C over mean and sd of p_g as level lines, and walks (mean, sd) by their names."""
    means, sds = np.linspace(-1, 2.5, 57), np.linspace(0.4, 2, 41)
    levels = np.array([[2 * _jsd(m, s) - LOG_4 for m in means] for s in sds])
    fig, ((ax,),) = subplots(width=9, height=4.4)
    drawn = ax.contour(means, sds, levels, levels=np.arange(-1.375, 0, 0.075), cmap=INK_TO_PAPER)
    ax.clabel(drawn, drawn.levels[::3], fmt="%.2f", fontsize=11, colors=EXACT)
    for (name, walk), colour in zip((paths or {}).items(), (MODEL, BOUND), strict=False):
        ax.plot(*np.array(walk, dtype=float).T, ".-", color=colour, ms=8, lw=1.5, label=name)
    ax.plot(0, 1, "*", color=DATA, ms=18, label="p_g = p")
    ax.set(xlabel="mean of p_g", ylabel="sd of p_g", title="C, nats: the generator's landscape")
    ax.legend(loc="upper right", frameon=True, framealpha=1)
    alt = "Level lines of C over mean and sd of p_g, lowest at (0, 1)."
    for name, walk in (paths or {}).items():
        (m0, s0), (m1, s1) = walk[0], walk[-1]
        alt += f" {name}: a walk from ({m0:.2f}, {s0:.2f}) to ({m1:.2f}, {s1:.2f})."
    return Picture(fig, alt)


def bumps(theta: float = 0.5, width: float = 0.2) -> Picture:
    """Two uniform bumps theta apart, and JSD and W1 over theta."""
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    for at, colour, name in ((0.0, DATA, "p"), (theta, MODEL, "p_g")):
        left.bar(at, 1 / width, width=width, color=colour, alpha=0.6, label=name)
    left.set(xlabel="x", ylabel="density", xlim=(-1.4, 1.4), ylim=(0, 1.5 / width))
    left.set_title(f"bumps {abs(theta):g} apart")
    left.legend(loc="upper left")
    distance = np.linspace(-1.2, 1.2, 481)
    jsd, now = np.minimum(np.abs(distance) / width, 1) * np.log(2), min(abs(theta) / width, 1)
    right.plot(distance, jsd, color=MODEL, label="JSD, nats")
    right.plot(distance, np.abs(distance), color=PINK, label="W1, units of x")
    right.plot([theta] * 2, [now * np.log(2), abs(theta)], "o", color=EXACT, ms=9)
    right.set(xlabel="theta", ylabel="divergence", ylim=(0, 1.3), title="flat, and not flat")
    right.legend(loc="upper center")
    alt = (
        f"Left: two uniform bumps of width {width:g}, {abs(theta):g} apart. Right: over theta the "
        f"JSD is flat at 0.693 once the bumps part, W1 keeps growing as |theta|."
    )
    return Picture(fig, alt)
