"""Figures of lesson 05, the ELBO."""

import numpy as np

from course_utils.plots.base import BOUND, EXACT, GREY, MODEL, ORANGE, Picture, show, subplots

__all__ = ["show", "three_bars"]

W, S2, X = 2.0, 0.25, 3.0  # the model of the lesson: z ~ N(0, 1), x|z ~ N(Wz, S2)


def _normal(z: np.ndarray, mean: float, var: float) -> np.ndarray:
    return np.exp(-0.5 * (z - mean) ** 2 / var) / np.sqrt(2 * np.pi * var)


def three_bars(mean: float = 0.6, sd: float = 0.6) -> Picture:
    """Prior, posterior and q over z; beside them log p(x) = ELBO + gap as bars."""
    precision = 1 + W**2 / S2
    post_mean, post_var = W * X / S2 / precision, 1 / precision
    log_p = -0.5 * (X**2 / (W**2 + S2) + np.log(2 * np.pi * (W**2 + S2)))
    ratio = sd**2 / post_var
    gap = 0.5 * (ratio - 1 - np.log(ratio) + (mean - post_mean) ** 2 / post_var)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, width_ratios=[3, 2])
    z = np.linspace(-3, 3, 601)
    left.plot(z, _normal(z, 0, 1), color=GREY, ls=":", label="prior p(z)")
    left.plot(z, _normal(z, post_mean, post_var), color=EXACT, label="posterior p(z|x = 3)")
    left.plot(z, _normal(z, mean, sd**2), color=MODEL, ls="--", label="our q(z)")
    left.set(
        xlabel="latent z", ylabel="density", ylim=(0, 2.6), title="q tries to be the posterior"
    )
    left.legend(loc="upper left")
    right.bar([0, 1, 2], [log_p, log_p - gap, gap], color=[EXACT, BOUND, ORANGE])
    right.axhline(log_p, color=EXACT, lw=1)
    right.axhline(0, color=GREY, lw=1)
    right.set_xticks([0, 1, 2], ["log p(x)", "ELBO", "gap"])
    right.set(ylabel="nats", ylim=(-30, 30), title="log p(x) = ELBO + gap")
    for place, value in enumerate([log_p, log_p - gap, gap]):
        inside = np.clip(value, -27, 27)
        right.text(place, inside, f"{value:.2f}", ha="center", va="bottom" if value > 0 else "top")
    alt = (
        f"Left: prior, posterior and q = N({mean:.2f}, {sd:.2f}^2) over z. Right: bars of log p(x) "
        f"= {log_p:.2f}, ELBO = {log_p - gap:.2f} and gap = {gap:.2f} nats."
    )
    return Picture(fig, alt)
