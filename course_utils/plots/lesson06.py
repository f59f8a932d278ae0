"""Figures of lesson 06, the VAE, that need no trained model: prices, gradients, posteriors."""

import math

import numpy as np
import torch

from course_utils.plots.base import (
    BLUE,
    BOUND,
    DATA,
    EXACT,
    GREY,
    INK,
    MODEL,
    ORANGE,
    PINK,
    SKY,
    YELLOW,
    Picture,
    normal,
    normals,
    show,
    subplots,
    tiles,
)

__all__ = ["show"]

LOG_2PI = math.log(2 * math.pi)


def _digit(index: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """One training digit (8, 8) and the average of its class."""
    from course_utils.data import digits

    found = digits()
    same = found.train_labels == found.train_labels[index]
    return found.train[index, 0].numpy(), found.train[same].mean(dim=0)[0].numpy()


def clouds(sd: float = 0.2, spread: float = 1.0) -> Picture:
    """Four images as clouds on the latent line; beside them what the clouds cost and tell."""
    z = np.linspace(-5, 5, 2001)
    means = spread * np.array([-1.5, -0.5, 0.5, 1.5])
    each = normal(z[:, None], means, sd**2)  # (Z, 4)
    together = each.mean(axis=1)
    kl = float(np.mean(0.5 * (means**2 + sd**2 - 1 - math.log(sd**2))))
    log_ratio = np.log(each + 1e-300) - np.log(together + 1e-300)[:, None]
    told = float(np.trapezoid((each * log_ratio).mean(axis=1), z))
    fig, ((left, right),) = subplots(1, 2, width=10, height=3.8, width_ratios=[3, 2])
    left.plot(z, normal(z, 0, 1), color=GREY, ls=":", label="prior")
    for column, colour in enumerate((BLUE, SKY, YELLOW, PINK)):
        left.fill_between(z, each[:, column] / 4, color=colour, alpha=0.5)
    left.plot(z, together, color=MODEL, label="all four together")
    top = max(0.55, 1.35 * together.max())
    left.set(xlabel="latent z", ylabel="density", ylim=(0, top), title="Four images, four clouds")
    left.legend(loc="upper left")
    right.bar([0, 1], [kl, told], color=[BOUND, DATA])
    right.axhline(math.log(4), color=EXACT, lw=1.2, ls="--")
    right.text(1.47, math.log(4) + 0.06, "at most log 4", ha="right", va="bottom")
    right.set_xticks([0, 1], ["price: KL\nto the prior", "told: which\nimage it is"])
    right.set(ylabel="nats per image", ylim=(0, max(3.0, 1.15 * kl)), title="What the cloud costs")
    for place, value in enumerate((kl, told)):
        high = value > 0.4  # inside the bar, so that nothing meets the line of log 4
        at, colour = (value - 0.06, "white") if high else (value + 0.05, INK)
        right.text(place, at, f"{value:.2f}", ha="center", va="top" if high else "bottom", c=colour)
    alt = (
        f"Left: four Gaussian clouds of sd {sd:.2f} with means spread by {spread:.2f} on the "
        f"latent line, and the prior. Right: bars, mean KL to the prior {kl:.2f} nats, information "
        f"about which image it was {told:.2f} of at most {math.log(4):.2f} nats."
    )
    return Picture(fig, alt)


def price(mean: float = 0.5) -> Picture:
    """KL(N(mean, sd^2) || N(0, 1)) as a function of sd, with and without its logarithm."""
    sd = np.linspace(0.02, 2, 500)
    squares = 0.5 * (mean**2 + sd**2)
    kl = squares - 0.5 - np.log(sd)
    fig, ((ax,),) = subplots(width=8, height=4)
    ax.plot(sd, kl, color=EXACT, label="½(μ² + σ² − 1 − log σ²): the KL")
    ax.plot(sd, squares, color=ORANGE, ls="--", label="½(μ² + σ²): squares only")
    ax.plot([1], [0.5 * mean**2], "o", color=EXACT, ms=10)
    ax.plot([0.02], [0.5 * (mean**2 + 0.02**2)], "o", color=ORANGE, ms=10, clip_on=False)
    ax.set(xlabel="standard deviation σ of q(z|x)", ylabel="nats", xlim=(0, 2), ylim=(0, 4))
    ax.set_title(f"Where does each price send σ?  (μ = {mean:.2g})")
    ax.legend(loc="upper right")
    alt = (
        f"Two prices over the standard deviation at mean {mean:.2f}: the KL has its minimum "
        f"{0.5 * mean**2:.3f} at sd 1 and a wall at sd 0; the squares alone fall all the way to 0."
    )
    return Picture(fig, alt)


def same_noise(mean: float = 1.0, sd: float = 0.6) -> Picture:
    """Eleven noises eps and where z = mean + sd eps takes them."""
    eps = np.linspace(-2, 2, 11)
    z, line = mean + sd * eps, np.linspace(-4, 4, 801)
    fig, ((ax,),) = subplots(width=8, height=3.5)
    ax.fill_between(line, 1 + 0.9 * normal(line, 0, 1), 1, color=GREY, alpha=0.35)
    ax.fill_between(line, -0.45 * normal(line, mean, sd**2), 0, color=MODEL, alpha=0.35)
    for start, end in zip(eps, z, strict=True):
        ax.plot([start, end], [1, 0], color=BLUE, lw=1.2)
    ax.plot(eps, np.ones(11), "o", color=EXACT, ms=7)
    ax.plot(z, np.zeros(11), "o", color=MODEL, ms=7)
    ax.set_yticks([0, 1], ["z = μ + σ ε", "ε"])
    ax.set(xlabel="value", xlim=(-4, 4), ylim=(-0.45, 1.5))
    ax.set_title(f"Same noise, moved and stretched: μ = {mean:.2f}, σ = {sd:.2f}")
    alt = (
        f"Eleven dots eps between -2 and 2 on an upper line, joined by segments to z = mean + sd "
        f"eps on a lower line, between {z.min():.2f} and {z.max():.2f}; the densities behind them."
    )
    return Picture(fig, alt)


def gradient_draws(
    pathwise: np.ndarray | None = None, score: np.ndarray | None = None, K: int = 1
) -> Picture:
    """Draws of both estimators of d/dmu_1 E|z|^2 = 2, z ~ N(1, I_K), and their sd over K."""
    if pathwise is None or score is None:
        z = 1 + normals(4000 * max(K, 64))[: 4000 * K].reshape(4000, K)
        pathwise, score = 2 * z[:, 0], (z**2).sum(axis=1) * (z[:, 0] - 1)
    pathwise, score = np.asarray(pathwise), np.asarray(score)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, width_ratios=[3, 2])
    bins = np.linspace(-20, 40, 61)
    for draws, colour, name in ((score, ORANGE, "score"), (pathwise, BLUE, "pathwise")):
        shown = np.clip(draws, -20, 40)
        filled = {"histtype": "stepfilled", "color": colour, "alpha": 0.6}
        left.hist(shown, bins, density=True, label=name, **filled)
    left.axvline(2, color=EXACT, lw=1.5, label="exact: 2")
    left.set(xlabel="one estimate of the gradient (ends collect the rest)", ylabel="density")
    left.set(title=f"One draw each, K = {K}", ylim=(0, 0.5))
    left.legend()
    dims = np.arange(1, 65)
    right.plot(dims, np.sqrt(_score_variance(dims)), color=ORANGE, label="score")
    right.plot(dims, np.full(64, 2.0), color=BLUE, label="pathwise")
    right.plot([K, K], [math.sqrt(_score_variance(K)), 2.0], "o", color=EXACT, ms=8)
    right.set(xlabel="latents K", ylabel="standard deviation", yscale="log")
    right.set_title("Noise of one draw, exact")
    right.legend(loc="upper left")
    alt = (
        f"Left: histograms of {len(pathwise)} pathwise and score estimates, both around 2, the "
        f"score's far wider. Right: exact standard deviation over K; at K = {K} pathwise 2.0, "
        f"score {math.sqrt(_score_variance(K)):.1f}."
    )
    return Picture(fig, alt)


def _score_variance(K: int | np.ndarray) -> float | np.ndarray:
    """Var[|z|^2 (z_1 - 1)] for z ~ N(1, I_K)."""
    return 4 * (K - 1) ** 2 + 22 * (K - 1) + 30


def price_of_error(eta: float = 0.05) -> Picture:
    """A digit, a guess, and -log N(digit; guess, eta I) as a function of eta."""
    x, guess = _digit()
    error, dim = float(((x - guess) ** 2).sum()), x.size
    best = error / dim
    etas = np.geomspace(0.005, 2, 300)

    def nats(e: float | np.ndarray) -> float | np.ndarray:
        return error / (2 * e) + dim / 2 * (LOG_2PI + np.log(e))

    fig, ((left, right),) = subplots(1, 2, width=10, height=4, width_ratios=[2, 3])
    tiles(left, np.stack([x, guess])[:, None], 2, f"image and guess\nsquared error {error:.2f}")
    right.plot(etas, error / (2 * etas), color=ORANGE, ls="--", label="‖x − f‖² / 2η")
    right.plot(etas, dim / 2 * (LOG_2PI + np.log(etas)), color=GREY, ls=":", label="d/2 log 2πη")
    right.plot(etas, nats(etas), color=EXACT, label="their sum: −log N(x; f, ηI)")
    right.plot([eta], [nats(eta)], "o", color=EXACT, ms=10)
    right.axvline(best, color=BOUND, lw=1.2)
    right.text(best * 1.08, -78, "error per pixel", color=BOUND)
    right.set(xlabel="decoder variance η", ylabel="nats", xscale="log", ylim=(-95, 220))
    right.set_title(f"What this error costs: {nats(eta):.1f} nats at η = {eta:.3g}")
    right.legend(loc="upper right")
    alt = (
        f"Left: a digit and the mean of its class, squared error {error:.2f}. Right: the price in "
        f"nats over eta; lowest, {nats(best):.1f}, at the error per pixel {best:.3f}; at eta = "
        f"{eta:.3g} it is {nats(eta):.1f}."
    )
    return Picture(fig, alt)


def balance(eta: float = 0.1) -> Picture:
    """What three losses learn in the linear model with data variance 2: w^2 over eta."""
    etas = np.linspace(0.01, 1.9, 200)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, width_ratios=[3, 2])
    left.plot(etas, 2 - etas, color=EXACT, label="error + 2η KL: the bound at η")
    left.plot(etas, np.full(200, 1.5), color=ORANGE, ls="--", label="error + KL, whatever η")
    left.plot([eta], [2 - eta], "o", color=EXACT, ms=9)
    left.plot([eta], [1.5], "o", color=ORANGE, ms=9)
    left.set(xlabel="decoder variance η", ylabel="learned w²", ylim=(0, 2.2))
    left.set_title("What is learned (data variance 2)")
    left.legend(loc="lower left")
    names, heights = ["data", "bound at η", "error + KL"], [2.0, 2.0, 1.5 + eta]
    right.bar(range(3), heights, color=[DATA, EXACT, ORANGE])
    right.set_xticks(range(3), names)
    right.set(ylabel="variance of x: w² + η", ylim=(0, 3.6), title="What is then sampled")
    for place, value in enumerate(heights):
        right.text(place, value + 0.04, f"{value:.2f}", ha="center")
    alt = (
        f"Left: learned w^2 is 2 - eta with the bound's own weight, always 1.5 with plain error + "
        f"KL. Right: variance of samples at eta = {eta:.2f}: data 2, bound 2, plain loss "
        f"{1.5 + eta:.2f}."
    )
    return Picture(fig, alt)


def two_modes(c: float = 0.0) -> Picture:
    """Two images behind one z, a guess between them, and the guess's squared loss."""
    from course_utils.shapes import draw_shape

    row = [[0, x, 0.5, 0.16, 0.6] for x in (0.34, 0.66)]
    a, b = draw_shape(torch.tensor(row), 16).numpy()
    guess = 0.5 * (1 - c) * a + 0.5 * (1 + c) * b
    loss = 0.5 * (((a - guess) ** 2).sum() + ((b - guess) ** 2).sum())
    grid = np.linspace(-1.4, 1.4, 200)
    unit = 0.25 * ((a - b) ** 2).sum()
    fig, ((left, right),) = subplots(1, 2, width=10, height=3.8, width_ratios=[3, 2])
    tiles(left, np.clip(np.stack([a, b, guess]), 0, 1), 3, "x if heads · x if tails · the guess")
    right.plot(grid, unit * (1 + grid**2), color=EXACT)
    right.plot([c], [loss], "o", color=MODEL, ms=10)
    right.axvline(-1, color=DATA, ls=":")
    right.axvline(1, color=DATA, ls=":")
    right.set(xlabel="guess c  (−1 and 1 are the real images)", ylabel="mean squared error")
    right.set(title=f"Loss of the guess: {loss:.1f}", ylim=(0, 3.2 * unit))
    alt = (
        f"Left: a disc at the left, a disc at the right, and a guess with weight c = {c:.2f}. "
        f"Right: the mean squared error over c, lowest at c = 0, the blurred average of both; at "
        f"this c it is {loss:.1f}, at a sharp image {2 * unit:.1f}."
    )
    return Picture(fig, alt)
