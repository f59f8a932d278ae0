"""Figures of lesson 05, the ELBO."""

import numpy as np

from course_utils.plots.base import (
    BLUE,
    BOUND,
    DATA,
    EXACT,
    GREEN,
    GREY,
    MODEL,
    ORANGE,
    PINK,
    Picture,
    show,
    subplots,
)

__all__ = ["cause_and_cloud", "monte_carlo", "show", "three_bars"]

W, S2, X = 2.0, 0.25, 3.0  # the model of the lesson: z ~ N(0, 1), x|z ~ N(Wz, S2)
LOG_P = -0.5 * (X**2 / (W**2 + S2) + np.log(2 * np.pi * (W**2 + S2)))
POST_MEAN, POST_VAR = W * X / (W**2 + S2), S2 / (W**2 + S2)


def _normal(z: np.ndarray, mean: float, var: float) -> np.ndarray:
    return np.exp(-0.5 * (z - mean) ** 2 / var) / np.sqrt(2 * np.pi * var)


def cause_and_cloud(w1: float = 2.2, w2: float = 1.4) -> Picture:
    """Two pixels given three values of the cause, and with the cause free."""
    rng = np.random.default_rng(0)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4.4, sharex=True, sharey=True)
    for z, colour in ((-1.5, BLUE), (0.0, GREEN), (1.5, PINK)):
        cloud = np.outer([w1, w2], [z] * 150) + 0.5 * rng.standard_normal((2, 150))
        left.scatter(*cloud, s=12, color=colour, alpha=0.7, label=f"z = {z:g}")
    free = np.outer([w1, w2], rng.standard_normal(600)) + 0.5 * rng.standard_normal((2, 600))
    right.scatter(*free, s=12, color=DATA, alpha=0.6)
    left.set(title="cause held still: round clouds", ylabel="pixel x2", xlabel="pixel x1")
    right.set(title="cause free: the pixels depend", xlabel="pixel x1", xlim=(-8, 8), ylim=(-6, 6))
    left.legend(loc="upper left", markerscale=2)
    alt = (
        "Left: three round clouds of two pixels, one per value -1.5, 0, 1.5 of the cause. Right: "
        f"the cause is free and the cloud is long and tilted, covariance {w1 * w2:.2f}."
    )
    return Picture(fig, alt)


def monte_carlo(k: int = 10) -> Picture:
    """Histograms of p_hat over p(x) and of log p_hat, 2,000 repetitions of k prior draws."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2000, k))
    exponent = -0.5 * (X - W * z) ** 2 / S2
    top = exponent.max(axis=1, keepdims=True)
    log_mean = top[:, 0] + np.log(np.exp(exponent - top).mean(axis=1))
    log_hat = log_mean - 0.5 * np.log(2 * np.pi * S2)
    ratio = np.exp(log_hat - LOG_P)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    left.hist(np.clip(ratio, 0, 4), bins=np.linspace(0, 4, 41), color=MODEL, alpha=0.6)
    left.axvline(1, color=EXACT, label="truth")
    left.axvline(ratio.mean(), color=MODEL, ls="--", label=f"mean {ratio.mean():.2f}")
    left.set(title=f"average of k = {k}", xlabel="estimate / p(x)", ylabel="repetitions of 2,000")
    right.hist(np.clip(log_hat, -12, 0), bins=np.linspace(-12, 0, 49), color=MODEL, alpha=0.6)
    right.axvline(LOG_P, color=EXACT, label=f"truth {LOG_P:.2f}")
    mean = log_hat.mean()
    label = f"mean {mean:.2f}" + (" (off the axis)" if mean < -12 else "")
    right.axvline(max(mean, -12), color=MODEL, ls="--", label=label)
    right.set(title="its logarithm", xlabel="log of the estimate, nats (all below -12 at -12)")
    left.legend(loc="upper right")
    right.legend(loc="upper left")
    alt = (
        f"Left: histogram of 2,000 estimates of p(x) from k = {k} draws, mean {ratio.mean():.2f} of "
        f"the truth. Right: their logarithms, mean {mean:.2f}, truth {LOG_P:.2f} nats."
    )
    return Picture(fig, alt)


def three_bars(mean: float = 0.6, sd: float = 0.6) -> Picture:
    """Prior, posterior and q over z; beside them log p(x) = ELBO + gap as bars."""
    ratio = sd**2 / POST_VAR
    gap = 0.5 * (ratio - 1 - np.log(ratio) + (mean - POST_MEAN) ** 2 / POST_VAR)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, width_ratios=[3, 2])
    z = np.linspace(-3, 3, 601)
    left.plot(z, _normal(z, 0, 1), color=GREY, ls=":", label="prior p(z)")
    left.plot(z, _normal(z, POST_MEAN, POST_VAR), color=EXACT, label="posterior p(z|x = 3)")
    left.plot(z, _normal(z, mean, sd**2), color=MODEL, ls="--", label="our q(z)")
    left.set(
        xlabel="latent z", ylabel="density", ylim=(0, 2.6), title="q tries to be the posterior"
    )
    left.legend(loc="upper left")
    right.bar([0, 1, 2], [LOG_P, LOG_P - gap, gap], color=[EXACT, BOUND, ORANGE])
    right.axhline(LOG_P, color=EXACT, lw=1)
    right.axhline(0, color=GREY, lw=1)
    right.set_xticks([0, 1, 2], ["log p(x)", "ELBO", "gap"])
    right.set(ylabel="nats", ylim=(-30, 30), title="log p(x) = ELBO + gap")
    for place, value in enumerate([LOG_P, LOG_P - gap, gap]):
        inside = np.clip(value, -27, 27)
        right.text(place, inside, f"{value:.2f}", ha="center", va="bottom" if value > 0 else "top")
    alt = (
        f"Left: prior, posterior and q = N({mean:.2f}, {sd:.2f}^2) over z. Right: bars of log p(x) "
        f"= {LOG_P:.2f}, ELBO = {LOG_P - gap:.2f} and gap = {gap:.2f} nats."
    )
    return Picture(fig, alt)
