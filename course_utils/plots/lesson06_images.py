"""Figures of lesson 06 that show images, trained models, latents and richer posteriors."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

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
    tiles,
)
from course_utils.vae import VAE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["show"]

CLASSES = ("#000000", BLUE, ORANGE, GREEN, PINK, "#E69F00", "#56B4E9", GREY, "#7B3294", "#8C510A")
Decode = Callable[[Tensor], Tensor]


def _array(images: Tensor | np.ndarray) -> np.ndarray:
    return np.clip(torch.as_tensor(images).detach().cpu().double().numpy(), 0, 1)


def _sheet(ax: Axes, images: Tensor, columns: int, title: str) -> None:
    """`tiles` with a white margin at both sides, so that two sheets stay apart."""
    tiles(ax, _array(images), columns, title)
    low, high = ax.get_xlim()
    margin = 0.03 * (high - low)
    ax.set_xlim(low - margin, high + margin)


def sheets(
    named: dict[str, Tensor] | None = None,
    columns: int = 8,
    width: float = 10.0,
    height: float = 4.0,
) -> Picture:
    """Sheets of images side by side, each under its name; by default real digits."""
    if named is None:
        from course_utils.data import digits

        named = {"real digits, 8 by 8 pixels": digits().train[:24]}
    fig, (axes,) = subplots(1, len(named), width=width, height=height)
    for ax, (name, images) in zip(axes, named.items(), strict=True):
        _sheet(ax, images, columns, name)
    each = "; ".join(f"{len(images)} images, {name}" for name, images in named.items())
    return Picture(fig, f"Sheets of images: {each}.")


def curve(
    steps: Sequence, name: str = "loss, nats per image", best: float | None = None
) -> Picture:
    """Loss over steps, each step pale and a running mean strong."""
    number, loss = [s.number for s in steps], np.array([s.loss for s in steps])
    width = max(1, len(loss) // 20)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    fig, ((ax,),) = subplots(width=9, height=3.4)
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
    image = _array(decode(torch.tensor([[z1, z2]], dtype=torch.float32)))
    fig, ((left, right),) = subplots(1, 2, width=10, height=5, width_ratios=[3, 2])
    for digit in range(10):
        at = codes[labels == digit][:60]
        for row in at:
            left.text(
                *row, str(digit), color=CLASSES[digit], fontsize=11, ha="center", clip_on=True
            )
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
    _sheet(axes[0], both, 6, "image | reconstruction")
    _sheet(axes[1], found["samples"], 6, f"samples, η = {eta:g}")
    axes[2].bar(range(1, len(kl) + 1), np.sort(kl)[::-1], color=BOUND)
    axes[2].set(xlabel="latent, largest first", ylabel="KL, nats per image", ylim=(0, 5))
    axes[2].set_title(f"KL {kl.sum():.1f} nats, {int(found['active'])} active")
    alt = (
        f"Decoder variance {eta:g}: test digits beside their reconstructions, samples, and bars of "
        f"the KL per latent, {kl.sum():.1f} nats, {int(found['active'])} of {len(kl)} active."
    )
    return Picture(fig, alt)


def meter(mean: Tensor, log_var: Tensor, factors: Tensor, names: Sequence[str]) -> Picture:
    """KL per latent, and how far each latent goes with each known factor."""
    mean, log_var = mean.detach().cpu().double(), log_var.detach().cpu().double()
    kl = (0.5 * (mean**2 + log_var.expm1() - log_var)).mean(dim=0).numpy()
    K = mean.shape[1]
    table = torch.cat([mean, factors.double()], dim=1).T
    strength = torch.corrcoef(table)[:K, K:].abs().numpy()  # (K, factors)
    strength[(mean.var(dim=0) <= 0.01).numpy()] = np.nan  # collapsed: a correlation has no scale
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, width_ratios=[1, 1])
    left.bar(range(1, K + 1), kl, color=BOUND)
    left.axhline(0, color=GREY, lw=1)
    left.set(xlabel="latent k", ylabel="KL, nats per image", title="Collapse meter")
    left.set_xticks(range(1, K + 1))
    right.imshow(strength.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(strength.T):
        colour, text = "white" if value > 0.6 else "black", f"{value:.2f}"
        text = "–" if np.isnan(value) else text
        right.text(column, row, text, ha="center", va="center", color=colour)
    right.set_xticks(range(K), range(1, K + 1))
    right.set_yticks(range(len(names)), names)
    right.set(xlabel="latent k", title="|correlation| with the known factors")
    alt = (
        f"Left: KL per latent in nats: {', '.join(f'{v:.2f}' for v in kl)}. Right: a table of "
        f"absolute correlations of the active latents with {', '.join(names)}; largest per factor "
        f"{', '.join(f'{v:.2f}' for v in np.nan_to_num(strength).max(axis=0))}."
    )
    return Picture(fig, alt)


def pull(model: VAE, latent: int = 1, value: float = 1.0) -> Picture:
    """One latent pulled from -2.5 to 2.5, the others at 0: the image, and its factors."""
    K = model.latent_dim
    values = torch.linspace(-2.5, 2.5, 11)
    z = torch.zeros(12, K)
    z[:11, latent - 1], z[11, latent - 1] = values, value
    images = _array(model.decode(z))
    read = np.array([_read(image) for image in images])  # (12, 4)
    fig, ((left, right),) = subplots(1, 2, width=11, height=4.2, width_ratios=[3, 4])
    tiles(left, images[11:], 1, f"z{latent} = {value:.1f}, the others 0")
    for column, (name, colour) in enumerate(
        zip(("x", "y", "size", "hue"), (BLUE, ORANGE, GREEN, PINK), strict=True)
    ):
        right.plot(values, read[:11, column], color=colour, label=name)
        right.plot([value], read[11:, column], "o", color=colour, ms=8)
    right.set(xlabel=f"latent {latent}", ylabel="factor read off the image", ylim=(0, 1))
    right.set_title("What does this latent change?")
    right.legend(ncols=4, loc="upper center")
    moved = read[:11].max(axis=0) - read[:11].min(axis=0)
    alt = (
        f"Left: the decoded disc at latent {latent} = {value:.1f}. Right: x, y, size and hue read "
        f"off the decoded image over that latent; they move by "
        f"{', '.join(f'{v:.2f}' for v in moved)}."
    )
    return Picture(fig, alt)


def _read(image: np.ndarray) -> tuple[float, float, float, float]:
    """x, y, size and hue of the disc in an image (3, S, S), by moments."""
    from course_utils.shapes import BACKGROUND, VALUE

    cover = np.clip((image.max(axis=0) - BACKGROUND) / (VALUE - BACKGROUND), 0, 1)
    cover = np.where(cover > 0.15, cover, 0) + 1e-9
    side = (np.arange(image.shape[1]) + 0.5) / image.shape[1]
    mass = cover.sum()
    colour = (image * cover).sum(axis=(1, 2)) / mass
    x, y = (cover.sum(axis=0) @ side) / mass, (cover.sum(axis=1) @ side) / mass
    size = np.sqrt(mass / image[0].size / np.pi)
    return float(x), float(y), float(size), colorsys.rgb_to_hsv(*np.clip(colour, 0, 1))[0]


def rotated(angle: float = 30.0) -> Picture:
    """One pPCA model with its latent axes turned by `angle` degrees: the density of x stays."""
    W = np.array([[1.6, 0.0], [0.9, 0.5]])
    a = np.deg2rad(angle)
    turned = W @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    cov = turned @ turned.T + 0.1 * np.eye(2)
    side = np.linspace(-5, 5, 121)
    x = np.stack(np.meshgrid(side, side), axis=-1)
    squared = np.einsum("ijk,kl,ijl->ij", x, np.linalg.inv(cov), x)
    precision = turned.T @ turned / 0.1 + np.eye(2)
    post = np.linalg.inv(precision)
    gap = 0.5 * float(np.log(precision[0, 0] * precision[1, 1] * np.linalg.det(post)))
    fig, ((left, right),) = subplots(1, 2, width=10, height=4.2)
    left.contour(side, side, np.exp(-0.5 * squared), levels=5, colors=DATA, linewidths=1.5)
    for column, colour in ((0, ORANGE), (1, GREEN)):
        left.plot([0, 2 * turned[0, column]], [0, 2 * turned[1, column]], color=colour, lw=4)
    left.set(xlabel="x₁", ylabel="x₂", title="p(x) and what z₁, z₂ do")
    circle = np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 100)), np.sin(t)])
    ellipse = np.linalg.cholesky(post) @ circle
    diagonal = circle / np.sqrt(np.diag(precision))[:, None]
    right.plot(*ellipse, color=EXACT, label="posterior")
    right.plot(*diagonal, color=MODEL, ls="--", label="best diagonal q")
    right.set(xlabel="z₁", ylabel="z₂", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
    right.set_title(f"gap of the bound: {gap:.2f} nats")
    right.legend(loc="upper left")
    alt = (
        f"Left: contours of p(x), the same at every angle, and the two columns of W turned by "
        f"{angle:.0f} degrees. Right: the posterior's ellipse over z and the best diagonal q; the "
        f"gap of the bound is {gap:.2f} nats."
    )
    return Picture(fig, alt)


def weighted(K: int = 1, q: str = "wide") -> Picture:
    """A posterior with two modes, one Gaussian q, and what K importance samples make of it."""
    mean, sd = {"wide": (0.0, 1.3), "one mode": (1.35, 0.22)}[q]
    grid = np.linspace(-3, 3, 601)
    joint = _joint(grid)
    log_p = float(np.log(np.trapezoid(np.exp(joint), grid)))
    rng = np.random.default_rng(0)
    z = mean + sd * rng.standard_normal((1000, 300))  # 1,000 sets of up to 300 draws
    log_w = _joint(z) + 0.5 * ((z - mean) / sd) ** 2 + np.log(sd * np.sqrt(2 * np.pi))
    total = np.logaddexp.accumulate(log_w, axis=1)
    bounds = (total - np.log(np.arange(1, 301))).mean(axis=0)
    pick = (log_w[:, :K] + rng.gumbel(size=(1000, K))).argmax(axis=1)
    chosen = z[np.arange(1000), pick]
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    left.hist(chosen, np.linspace(-3, 3, 61), density=True, color=BOUND, alpha=0.5)
    left.plot(grid, np.exp(joint - log_p), color=EXACT, label="posterior p(z|x)")
    density = np.exp(-0.5 * ((grid - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
    left.plot(grid, density, color=MODEL, ls="--", label="q(z|x)")
    left.set(xlabel="z", ylabel="density", ylim=(0, 2.4), title=f"Best of {K} by weight (green)")
    left.legend(loc="upper left")
    right.plot(np.arange(1, 301), bounds, color=BOUND, label="K-sample bound")
    right.axhline(log_p, color=EXACT, ls="--", label="log p(x)")
    right.plot([K], [bounds[K - 1]], "o", color=BOUND, ms=10)
    right.set(
        xlabel="importance samples K", ylabel="nats", xscale="log", ylim=(log_p - 10, log_p + 1)
    )
    right.set_title(f"bound {bounds[K - 1]:.2f}, log p(x) {log_p:.2f}")
    right.legend(loc="lower right")
    alt = (
        f"Left: a posterior with two modes, the q called {q}, and a histogram of draws chosen by "
        f"weight among K = {K}. Right: the K-sample bound over K, here {bounds[K - 1]:.2f} nats, "
        f"below log p(x) = {log_p:.2f}."
    )
    return Picture(fig, alt)


def _joint(z: np.ndarray) -> np.ndarray:
    """Log p(x = 2, z) of z ~ N(0, 1), x|z ~ N(z^2, 0.25)."""
    return -0.5 * (z**2 + (2 - z**2) ** 2 / 0.25 + np.log(2 * np.pi) + np.log(2 * np.pi * 0.25))
