"""Figures of lesson 09 on walks and arithmetic in latent space, on labels and on captions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREY,
    MODEL,
    ORANGE,
    PINK,
    Picture,
    normal,
    show,
    subplots,
    tiles,
)
from course_utils.plots.images import array, sheet, sheets  # noqa: F401 - the lesson calls sheets

if TYPE_CHECKING:
    pass

__all__ = ["show"]

Images = Callable[[Tensor], Tensor]
WAYS = {"lerp": ORANGE, "slerp": BOUND}


def _chi(r: np.ndarray, K: int) -> np.ndarray:
    """Density of ||z||, z ~ N(0, I_K)."""
    log = (K - 1) * np.log(r) - r**2 / 2 - (K / 2 - 1) * math.log(2) - math.lgamma(K / 2)
    return np.exp(log)


def shells(K: int = 16) -> Picture:
    """Density of ||z|| and of the norm of the midpoint of two draws, for K latents."""
    high = math.sqrt(K) + 4
    r = np.linspace(1e-3, high, 2000)
    drawn, middle = _chi(r, K), math.sqrt(2) * _chi(math.sqrt(2) * r, K)
    overlap = float(np.minimum(drawn, middle).sum() * (r[1] - r[0]))
    fig, ((ax,),) = subplots(width=9, height=3.8)
    ax.fill_between(r, drawn, color=DATA, alpha=0.35, label="draws z")
    ax.fill_between(r, middle, color=ORANGE, alpha=0.35, label="midpoints (z₀ + z₁)/2")
    ax.axvline(math.sqrt(K), color=EXACT, ls="--", lw=1.5, label=f"√K = {math.sqrt(K):.2f}")
    ax.set(xlabel="norm ‖z‖", ylabel="density", xlim=(0, high), ylim=(0, None))
    ax.set_title(f"K = {K}: the two laws overlap by {overlap:.3f}")
    ax.legend(loc="upper right" if K < 60 else "upper left")
    alt = (
        f"Densities of the norm of a draw of {K} latents, around {math.sqrt(K):.2f}, and of the "
        f"midpoint of two draws, around {math.sqrt(K / 2):.2f}; they overlap by {overlap:.3f}."
    )
    return Picture(fig, alt)


def _slerp(z0: Tensor, z1: Tensor, t: Tensor) -> Tensor:
    cosine = (z0 * z1).sum() / (z0.norm() * z1.norm())
    angle = torch.arccos(cosine.clamp(-1, 1))
    return (torch.sin((1 - t) * angle) * z0 + torch.sin(t * angle) * z1) / torch.sin(angle)


def walk(
    G: Images, z0: Tensor, z1: Tensor, way: str = "slerp", t: float = 0.5, scale: float = 1.0
) -> Picture:
    """The images on the way from z0 to z1 (K,), the one at t, and the norm on both ways.

    `scale` multiplies every latent: what lies inside and outside of the shell.
    """
    ts = torch.linspace(0, 1, 9)[:, None]
    paths = {"lerp": lambda s: (1 - s) * z0 + s * z1, "slerp": lambda s: _slerp(z0, z1, s)}
    here = scale * paths[way](torch.tensor([[t]]))
    fig, axes = subplots(2, 2, width=11, height=4.3, width_ratios=[1, 3], height_ratios=[1, 2.2])
    axes[0, 0].set_axis_off()
    sheet(axes[0, 1], G(scale * paths[way](ts)), 9, f"{way}, t from 0 to 1")
    tiles(axes[1, 0], array(G(here)), 1, f"t = {t:.2f}")
    ax, fine = axes[1, 1], torch.linspace(0, 1, 101)[:, None]
    K = len(z0)
    shell = (math.sqrt(max(K - 0.5, 0.1)) - 1.4, math.sqrt(K - 0.5) + 1.4)  # sd of ||z|| is 0.7
    ax.axhspan(*shell, color=GREY, alpha=0.2, label="95 % of all draws")
    norms = {name: scale * path(fine).norm(dim=1) for name, path in paths.items()}
    for name, norm in norms.items():
        ax.plot(fine[:, 0], norm, color=WAYS[name], label=name, ls="-" if name == way else ":")
    ax.plot([t], [float(here.norm())], "o", color=WAYS[way], ms=11)
    highest = max(shell[1], *(float(norm.max()) for norm in norms.values()))
    ax.set(xlabel="t", ylabel="norm ‖z‖", ylim=(0, highest + 2))
    ax.legend(ncols=3, loc="lower center")
    alt = (
        f"Nine images on the {way} from one latent to another, the one at t = {t:.2f} larger, and "
        f"the norm along lerp and slerp; here it is {float(here.norm()):.2f}, sqrt(K) is "
        f"{math.sqrt(K):.2f}."
    )
    return Picture(fig, alt)


def along(
    t: Sequence[float] = (0.0, 0.5, 1.0),
    curves: dict[str, Sequence[float]] | None = None,
    label: str = "share of legal drawings",
) -> Picture:
    """One measured figure along each way; by default the norm over sqrt(K), exact for large K."""
    if curves is None:
        t, label = np.linspace(0, 1, 51), "norm / √K, K large"
        curves = {"lerp": np.sqrt((1 - t) ** 2 + t**2), "slerp": np.ones(51)}
    fig, ((ax,),) = subplots(width=9, height=2.7)
    for name, values in curves.items():
        ax.plot(t, values, "o-", ms=5, color=WAYS.get(name, PINK), label=name)
    ax.set(xlabel="t", ylabel=label, ylim=(0, 1.08))
    ax.legend(loc="lower right")
    middle = len(t) // 2
    values = ", ".join(f"{name} {float(v[middle]):.2f}" for name, v in curves.items())
    return Picture(fig, f"{label} along two ways from t = 0 to 1; in the middle {values}.")


def equation(
    parts: Sequence[Tensor], names: Sequence[str], signs: Sequence[str] = ("−", "+", "=")
) -> Picture:
    """A - b + c = d: four sheets of at most nine images, in a row, with signs between."""
    fig, (axes,) = subplots(1, len(parts), width=11, height=3.6)
    for index, (ax, images, name) in enumerate(zip(axes, parts, names, strict=True)):
        columns = 1 if len(images) == 1 else 3
        sheet(ax, images[:9], columns, name)
        if index < len(signs):
            at = {"transform": ax.transAxes, "ha": "center", "va": "center"}
            ax.text(1.06, 0.5, signs[index], fontsize=26, **at)
    return Picture(fig, "Sheets of images: " + f"; {', '.join(signs)}; ".join(names) + ".")


def _value(p: np.ndarray, p_g: np.ndarray, dx: float) -> np.ndarray:
    """V of the best judge: the integral of p log D + p_g log(1 - D)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = (
            np.nan_to_num(p * np.log(p / (p + p_g))),
            np.nan_to_num(p_g * np.log(p_g / (p + p_g))),
        )
    return sum(terms).sum(axis=-1) * dx


def judges(heed: float = 0.0, gap: float = 8.0, judge: str = "x and y") -> Picture:
    """Two classes and a generator that heeds the label in a share `heed` of its samples.

    With probability `heed` it draws from the class that was asked for, else from either: what the
    judge sees when label 1 was asked for, its verdict, and the value of the best judge.
    """
    x = np.linspace(-12, 12, 2401)
    dx, one, other = x[1] - x[0], normal(x, gap / 2), normal(x, -gap / 2)
    h = np.linspace(0, 1, 41)[:, None]
    sighted = _value(one, (1 + h) / 2 * one + (1 - h) / 2 * other, dx)  # label 0 gives the same
    fake, both = (1 + heed) / 2 * one + (1 - heed) / 2 * other, (one + other) / 2
    at = _value(one, fake, dx) if judge == "x and y" else -math.log(4)
    fig, ((left, middle, right),) = subplots(1, 3, width=12, height=3.3)
    left.plot(x, one, color=DATA, label="data, y = 1")
    left.plot(x, fake, color=MODEL, ls="--", label="fakes for y = 1")
    left.set(xlabel="x", ylabel="density", xlim=(-8, 8), ylim=(0, 0.55), title="Label 1 asked for")
    left.legend(loc="upper left")
    real, made = (one, fake) if judge == "x and y" else (both, both)
    middle.plot(x, real / (real + made), color=EXACT)
    name = "D(x, 1)" if judge == "x and y" else "D(x)"
    middle.set(xlabel="x", ylabel=name, xlim=(-8, 8), ylim=(-0.03, 1.03), title=f"Best {name}")
    right.plot(np.linspace(0, 1, 41), sighted, color=BOUND, label="judge of x and y")
    right.axhline(-math.log(4), color=GREY, ls="--", label="judge of x only")
    right.plot([heed], [at], "o", ms=11, color=EXACT)
    right.set(xlabel="share of fakes that heed y", ylabel="value, nats", ylim=(-1.45, -0.85))
    right.set_title(f"V = {at:.4f}")
    right.legend(loc="upper right")
    alt = (
        f"Two classes {gap:.1f} apart; a generator heeds the label in a share {heed:.2f} of its "
        f"samples. The best judge that sees {judge} reaches {at:.4f} nats; -log 4 = -1.3863."
    )
    return Picture(fig, alt)


def followed(
    shares: dict[str, float] | None = None, guess: dict[str, float] | None = None
) -> Picture:
    """Share of samples that follow each part of a caption, beside the best constant answer."""
    guess = guess or {"size": 0.5, "colour": 0.3125, "shape": 0.25, "all three": 0.039}
    shares = shares or guess
    fig, ((ax,),) = subplots(width=8, height=3.4)
    ax.barh(list(shares), list(shares.values()), color=MODEL, height=0.6)
    for row, (name, value) in enumerate(shares.items()):
        ax.text(value + 0.01, row, f"{value:.2f}", va="center")
        if name in guess:
            ax.plot([guess[name]] * 2, [row - 0.35, row + 0.35], color=EXACT, lw=2.5)
    ax.invert_yaxis()
    ax.set(xlabel="share that follows the caption (line: best constant answer)", xlim=(0, 1.12))
    each = ", ".join(f"{name} {value:.2f}" for name, value in shares.items())
    return Picture(fig, f"Bars of the share of samples that follow the caption: {each}.")


def losses(steps: Sequence | None = None) -> Picture:
    """Losses of D and G over the steps (`GanStep`s); by default both players at their coin."""
    from course_utils.gan import GanStep

    steps = steps or [GanStep(2 * math.log(2), math.log(2), 0.0, 0.0)] * 10
    number = range(1, len(steps) + 1)
    fig, ((ax,),) = subplots(width=9, height=2.4)
    ax.plot(number, [s.discriminator_loss for s in steps], color=BOUND, label="D's loss")
    ax.plot(number, [s.generator_loss for s in steps], color=MODEL, label="G's loss")
    ax.axhline(math.log(4), color=EXACT, ls="--", lw=1.5, label="log 4: D tosses a coin")
    ax.set(xlabel="step", ylabel="loss, nats", ylim=(0, 3), title=f"step {len(steps)}")
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    last = f"D {steps[-1].discriminator_loss:.2f}, G {steps[-1].generator_loss:.2f}"
    return Picture(fig, f"Losses over {len(steps)} steps, at the end {last} nats; log 4 is 1.39.")


def arithmetic(
    G: Images, z: Tensor, captions: Sequence[str], colour: str = "blue", n: int = 20
) -> Picture:
    """(big red) - (small red) + (small `colour`), by means of n latents, and how often it holds."""
    from course_utils.shapes import caption_close_up, read_factors

    names, points = ("big red", "small red", f"small {colour}"), []
    for seed, words in enumerate(names):
        group = z[torch.tensor([said.startswith(words + " ") for said in captions])]
        rng = torch.Generator().manual_seed(seed)
        points.append(group[torch.randint(len(group), (200, n), generator=rng)].mean(dim=1))
    a, b, c = points
    images = G(a - b + c)
    said = caption_close_up(read_factors(images)[0])
    share = sum(words.startswith(f"big {colour} ") for words in said) / len(said)
    parts = [*(G(point[:9]) for point in points), images[:9]]
    return equation(parts, [*names, f"{share:.0%} read “big {colour}”"])


def labelled(images: Tensor | None = None, captions: Sequence[str] | None = None) -> Picture:
    """A sheet whose columns have a caption each; images row by row. By default real close-ups."""
    if images is None or captions is None:
        from course_utils.shapes import close_ups

        images, _, captions = close_ups(8, seed=3)
    columns, rows = len(captions), -(-len(images) // len(captions))
    fig, ((ax,),) = subplots(width=10, height=1.3 + rows * min(10 / columns, 0.55))
    tiles(ax, array(images), columns)
    side = images.shape[-1]
    ax.set_ylim(ax.get_ylim()[0], -2 - (0.75 * side if columns > 5 else 0.3 * side))
    for index, caption in enumerate(captions):
        text = caption.replace(" ", "\n") if columns > 5 else caption
        middle = index * (side + 1) + side / 2 - 0.5
        ax.text(middle, -2, text, ha="center", va="bottom", fontsize=12)
    return Picture(fig, f"{rows} images under each of these captions: {', '.join(captions)}.")


def ask(
    painter: Callable[[Tensor, Tensor], Tensor],
    table: Tensor,
    texts: Sequence[str],
    size: str = "small",
    colour: str = "red",
    shape: str = "disc",
) -> Picture:
    """Sixteen answers to one caption, for the same z each time, and what is read off them."""
    from course_utils.shapes import caption_close_up, read_factors

    text = f"{size} {colour} {shape}"
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(3))
    images = painter(z, table[[texts.index(text)] * 16])
    share = sum(said == text for said in caption_close_up(read_factors(images)[0])) / 16
    fig, ((ax,),) = subplots(width=9, height=3)
    tiles(ax, array(images), 8, f"“{text}”: {share:.0%} read as asked")
    alt = f"Sixteen drawings for the caption {text}; {share:.0%} are read as it says."
    return Picture(fig, alt)
