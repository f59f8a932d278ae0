"""Figures of lesson 06 that show images, trained models, latents and richer posteriors."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from course_utils.plots.base import (
    BLUE,
    BOUND,
    DARK,
    EXACT,
    GREEN,
    GREY,
    MODEL,
    ORANGE,
    PINK,
    Picture,
    show,
    subplots,
    tiles,
)
from course_utils.plots.images import (  # noqa: F401 - the lesson calls sheets
    CLASSES,
    array,
    sheet,
    sheets,
)
from course_utils.vae import VAE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["show"]

Decode = Callable[[Tensor], Tensor]


def curve(
    steps: Sequence, name: str = "loss, nats per image", best: float | None = None
) -> Picture:
    """Loss over steps, each step pale and a running mean strong."""
    number, loss = [s.number for s in steps], np.array([s.loss for s in steps])
    width = max(1, len(loss) // 20)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    fig, ((ax,),) = subplots(width=9, height=3)
    ax.plot(number, loss, color=MODEL, alpha=0.3, lw=1)
    ax.plot(number[width - 1 :], smooth, color=MODEL)
    if best is not None:
        ax.axhline(best, color=EXACT, lw=1.5, ls="--", label="exact optimum")
        ax.legend(loc="upper right")
    low, high = min(smooth.min(), best if best is not None else np.inf), np.quantile(loss, 0.98)
    ax.set(xlabel="step", ylabel=name, ylim=(low - 0.1 * (high - low) - 1, high + 1))
    ax.set_title(f"step {number[-1]}: {smooth[-1]:.2f}")
    return Picture(fig, f"Training curve over {len(loss)} steps, falling to {smooth[-1]:.2f}.")


def plane(
    decode: Decode, codes: Tensor, labels: Tensor, z1: float = 0.0, z2: float = 0.0
) -> Picture:
    """Where the encoder puts real digits in the plane, and what the decoder makes of one point."""
    codes, labels = codes.detach().cpu().numpy(), labels.cpu().numpy()
    image = array(decode(torch.tensor([[z1, z2]], dtype=torch.float32)))
    fig, ((left, right),) = subplots(1, 2, width=10, height=5, width_ratios=[3, 2])
    for digit in range(10):
        at = codes[labels == digit][:60]
        left.plot(*at.T, marker=f"${digit}$", ms=8, mew=0, ls="", color=CLASSES[digit])
    left.plot([z1], [z2], "o", ms=18, mfc="none", mec=MODEL, mew=3)
    left.set(xlabel="z₁", ylabel="z₂", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
    left.set_title("Encoder: means of q(z|x) of real digits")
    tiles(right, image, 1, f"Decoder at ({z1:.1f}, {z2:.1f})")
    alt = (
        f"Left: the latent plane with digits 0 to 9 at their encoded means, in groups, and a ring "
        f"at ({z1:.1f}, {z2:.1f}). Right: the image that the decoder makes of that point."
    )
    return Picture(fig, alt)


def sweep(results: dict[float, dict[str, Tensor]], index: int = 1) -> Picture:
    """For one of several decoder variances: reconstructions, samples, and the KL of each latent."""
    eta = list(results)[index]
    found = results[eta]
    kl = found["kl"].detach().cpu().numpy()
    fig, (axes,) = subplots(1, 3, width=12, height=4.4, width_ratios=[1, 1, 1])
    both = torch.stack([found["x"], found["x_hat"]], dim=1).flatten(0, 1)
    sheet(axes[0], both, 6, f"image | rebuilt: error {found['error']:.2f}")
    sheet(axes[1], found["samples"], 6, f"samples: to digits {found['away']:.2f}")
    axes[2].bar(range(1, len(kl) + 1), np.sort(kl)[::-1], color=BOUND)
    axes[2].set(xlabel="latent, largest first", ylabel="KL, nats per image", ylim=(0, 5))
    axes[2].set_title(f"η = {eta:g}: KL {kl.sum():.1f}, {int(found['active'])} active")
    alt = (
        f"Decoder variance {eta:g}: test digits beside their reconstructions, error "
        f"{found['error']:.2f}; samples, {found['away']:.2f} from digits; and bars of the KL per "
        f"latent, {kl.sum():.1f} nats, {int(found['active'])} of {len(kl)} active."
    )
    return Picture(fig, alt)


def meter(
    mean: Tensor, log_var: Tensor, factors: Tensor, names: Sequence[str], kinds: Sequence[str]
) -> Picture:
    """KL per latent, the share of its variance that each factor explains, two latents together."""
    mean, log_var = mean.detach().cpu().double(), log_var.detach().cpu().double()
    kl = (0.5 * (mean**2 + log_var.expm1() - log_var)).mean(dim=0).numpy()
    K = mean.shape[1]
    share = np.stack([_explained(mean, factor) for factor in factors.double().T])  # (factors, K)
    share[:, (mean.var(dim=0) <= 0.01).numpy()] = np.nan  # collapsed: a share of nothing
    fig, ((left, right, both),) = subplots(1, 3, width=12, height=4, width_ratios=[4, 7, 5])
    left.bar(range(1, K + 1), kl, color=BOUND)
    left.axhline(0, color=GREY, lw=1)
    left.set(xlabel="latent k", ylabel="KL, nats per image", title="Collapse meter")
    left.set_xticks(range(1, K + 1))
    right.imshow(share, cmap="Blues_r" if DARK else "Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(share):
        colour, text = "black" if (value > 0.6) == DARK else "white", f"{value:.2f}"
        text = "–" if np.isnan(value) else text
        right.text(column, row, text, ha="center", va="center", color=colour)
    right.set_xticks(range(K), range(1, K + 1))
    right.set_yticks(range(len(names)), names)
    right.set(xlabel="latent k", title="Share that each factor explains")
    away = _pair(both, mean, factors, kinds)
    alt = (
        f"Left: KL per latent in nats: {', '.join(f'{v:.2f}' for v in kl)}. Middle: a table of the "
        f"share of each active latent's variance that {', '.join(names)} explain; largest per "
        f"factor {', '.join(f'{v:.2f}' for v in np.nan_to_num(share).max(axis=1))}. Right: {away}."
    )
    return Picture(fig, alt)


def _explained(mean: Tensor, factor: Tensor, bins: int = 10) -> np.ndarray:
    """Var(E[z_k | factor]) / Var(z_k), (K,), with the factor cut into bins of equal size."""
    factor = factor.contiguous()
    values = factor.unique()
    if len(values) > bins:
        values = factor.quantile(torch.linspace(0, 1, bins + 1, dtype=factor.dtype))[1:]
    groups = torch.bucketize(factor, values[:-1])
    at = torch.nn.functional.one_hot(groups).to(mean)  # (N, bins)
    centre = (at.T @ mean) / at.sum(dim=0)[:, None]  # (bins, K)
    spread = (at.mean(dim=0)[:, None] * (centre - mean.mean(dim=0)) ** 2).sum(dim=0)
    return (spread / mean.var(dim=0, unbiased=False)).numpy()


def _pair(ax: Axes, mean: Tensor, factors: Tensor, kinds: Sequence[str]) -> str:
    """The two active latents that no factor explains alone, coloured by the first factor, kind."""
    share = np.max([_explained(mean, factor) for factor in factors.double().T], axis=0)
    share[(mean.var(dim=0) <= 0.1).numpy()] = np.inf
    first, second = sorted(np.argsort(share)[:2])
    for kind, (name, colour) in enumerate(zip(kinds, (BLUE, ORANGE, GREEN, PINK), strict=True)):
        at = (factors[:, 0] == kind).numpy()
        ax.plot(mean[at, first], mean[at, second], "o", ms=4, alpha=0.8, color=colour, label=name)
    ax.set(xlabel=f"mean of latent {first + 1}", ylabel=f"mean of latent {second + 1}")
    ax.set_aspect("equal")
    ax.set_title("Two latents together")
    ax.set_ylim(top=1.6 * ax.get_ylim()[1])
    ax.legend(loc="upper center", ncols=2, markerscale=2, columnspacing=1, handletextpad=0)
    radius = mean[:, [first, second]].norm(dim=1)
    away = ", ".join(f"{n} {radius[factors[:, 0] == k].mean():.2f}" for k, n in enumerate(kinds))
    return f"means of latents {first + 1} and {second + 1}; mean distance from 0: {away}"


def pull(model: VAE, start: Tensor, latent: int = 1, value: float = 1.0) -> Picture:
    """One latent of an image's code `start` (K,) pulled, the others kept: images and factors."""
    values = torch.linspace(-2.5, 2.5, 11)
    z = start.repeat(12, 1)
    z[:11, latent - 1], z[11, latent - 1] = values, value
    images = array(model.decode(z))
    read = np.array([_read(image) for image in images])  # (12, 4)
    fig, axes = subplots(2, 2, width=11, height=4, width_ratios=[3, 8], height_ratios=[1, 3])
    tiles(axes[1, 0], images[11:], 1, f"z{latent} = {value:.1f}")
    tiles(axes[0, 1], images[:11], 11, f"latent {latent} from −2.5 to 2.5, the others kept")
    axes[0, 0].set_axis_off()
    right = axes[1, 1]
    for column, (name, colour) in enumerate(
        zip(("x", "y", "size", "hue"), (BLUE, ORANGE, GREEN, PINK), strict=True)
    ):
        right.plot(values, read[:11, column], color=colour, label=name)
        right.plot([value], read[11:, column], "o", color=colour, ms=8)
    right.set(xlabel=f"latent {latent}", ylabel="read off the image", ylim=(-0.08, 1.2))
    right.set_yticks([0, 0.5, 1])
    right.legend(ncols=4, loc="upper center")
    moved = read[:11].max(axis=0) - read[:11].min(axis=0)
    alt = (
        f"Top: the decoded shape while latent {latent} goes from -2.5 to 2.5. Left: at "
        f"{value:.1f}. Below: x, y, size and hue read off these images; they move by "
        f"{', '.join(f'{v:.2f}' for v in moved)}."
    )
    return Picture(fig, alt)


def _read(image: np.ndarray) -> tuple[float, float, float, float]:
    """x, y, size and hue of the shape in an image (3, S, S), by moments."""
    from course_utils.shapes import BACKGROUND, VALUE

    cover = np.clip((image.max(axis=0) - BACKGROUND) / (VALUE - BACKGROUND), 0, 1)
    cover = np.where(cover > 0.15, cover, 0) + 1e-9
    side = (np.arange(image.shape[1]) + 0.5) / image.shape[1]
    mass = cover.sum()
    colour = (image * cover).sum(axis=(1, 2)) / mass
    x, y = (cover.sum(axis=0) @ side) / mass, (cover.sum(axis=1) @ side) / mass
    size = np.sqrt(mass / image[0].size / np.pi)
    hue = colorsys.rgb_to_hsv(*np.clip(colour, 0, 1))[0]
    return float(x), float(y), float(size), hue - (hue > 0.93)  # red stays at 0, purple is 0.8


MIXTURES = {  # what the lesson finds for these q: means, common sd
    "wide": ((0.0,), 1.3),
    "one mode": ((1.33,), 0.188),
    "mixture": ((-1.33, 1.33), 0.188),
}


def weighted(S: int = 1, q: str = "wide") -> Picture:
    """A posterior with two modes, a q, and what S importance samples make of it."""
    grid = np.linspace(-8, 8, 4001)
    joint, log_q = _joint(grid), _log_q(grid, q)
    log_p = float(np.log(np.trapezoid(np.exp(joint), grid)))
    z, log_w, bounds, noise = _sets_of_draws(q)
    exact = np.trapezoid(np.exp(log_q) * (joint - log_q), grid)  # S = 1 without sampling
    bounds = np.array([exact, *bounds[1:]])
    pick = (log_w[:, :S] + noise[: 1000 * S].reshape(1000, S)).argmax(axis=1)
    chosen = z[np.arange(1000), pick]
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    filled = {"histtype": "stepfilled", "color": BOUND, "alpha": 0.5}
    left.hist(chosen, np.linspace(-3, 3, 61), density=True, **filled)
    left.plot(grid, np.exp(joint - log_p), color=EXACT, label="posterior p(z|x)")
    left.plot(grid, np.exp(log_q), color=MODEL, ls="--", label="q(z|x)")
    left.set(xlabel="z", ylabel="density", xlim=(-3.2, 3.2), ylim=(0, 2.8))
    left.set_title(f"filled: one of {S}, drawn by weight")
    left.legend(loc="upper left")
    right.plot(np.arange(1, 301), bounds, color=BOUND, label="S-sample bound")
    right.axhline(log_p, color=EXACT, ls="--", label="log p(x)")
    right.plot([S], [bounds[S - 1]], "o", color=BOUND, ms=10)
    right.set(xlabel="importance samples S", ylabel="nats", xscale="log")
    right.set(
        ylim=(log_p - 10, log_p + 1), title=f"bound {bounds[S - 1]:.2f}, log p(x) {log_p:.2f}"
    )
    right.legend(loc="lower right")
    alt = (
        f"Left: a posterior with two modes, the q called {q}, and a histogram of draws chosen by "
        f"weight among S = {S}. Right: the S-sample bound over S, here {bounds[S - 1]:.2f} nats, "
        f"below log p(x) = {log_p:.2f}."
    )
    return Picture(fig, alt)


@cache
def _sets_of_draws(q: str) -> tuple[np.ndarray, ...]:
    """1,000 sets of 300 draws, their log weights, the bound over S; noise to choose by weight."""
    rng, (means, sd) = np.random.default_rng(0), MIXTURES[q]
    z = rng.choice(means, (1000, 300)) + sd * rng.standard_normal((1000, 300))
    log_w = _joint(z) - _log_q(z, q)
    total = np.logaddexp.accumulate(log_w, axis=1)
    return z, log_w, (total - np.log(np.arange(1, 301))).mean(axis=0), rng.gumbel(size=300_000)


def _log_q(z: np.ndarray, q: str) -> np.ndarray:
    """Log density of the Gaussian, or of the equal mixture, called q."""
    means, sd = MIXTURES[q]
    each = [-0.5 * ((z - m) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi)) for m in means]
    return np.logaddexp.reduce(each) - np.log(len(means))


def _joint(z: np.ndarray) -> np.ndarray:
    """Log p(x = 2, z) of z ~ N(0, 1), x|z ~ N(z^2, 0.25)."""
    return -0.5 * (z**2 + (2 - z**2) ** 2 / 0.25 + np.log(2 * np.pi) + np.log(2 * np.pi * 0.25))
