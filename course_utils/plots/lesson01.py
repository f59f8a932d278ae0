"""Figures of lesson 01 up to the taxonomy: tables, densities, samplers, the map of the course."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREY,
    INK,
    INK_TO_PAPER,
    MODEL,
    PAPER,
    PINK,
    SKY,
    YELLOW,
    Picture,
    normal,
    show,
    subplots,
)
from course_utils.plots.images import sheets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["sheets", "show"]

SHAPES, COLOURS = ("circle", "square", "triangle"), ("red", "green", "blue", "grey")
COUNTS = ((12, 6, 2, 4), (3, 9, 6, 2), (1, 1, 10, 4))
PAINT, MARKS = {"red": MODEL, "green": BOUND, "blue": DATA, "grey": GREY}, ("o", "s", "^")
X = np.linspace(-8, 8, 1601)
# branch: (row from the top, colour, lines of systems); * = implied by the figure, not named in it
TREE = (
    ("explicit,\ntractable", DATA, (
        "mixtures, AR(p) · 01, 02",
        "FVBN, NADE*, MADE*, PixelRNN, PixelCNN (gated, ++, multi-scale) · 02",
        "flows: NICE/RealNVP*, Glow, FFJORD · 03",
        "code and text completion, large language models · 01, 17",
    )),
    ("explicit,\nvariational", SKY, (
        "VAE, hierarchical VAE, VQ-VAE (+ PixelCNN prior), CodeFormer · 05, 06, 07",
        "diffusion: DPM, DDPM, Improved DDPM, Analytic-DPM, VDM · 12, 13, 14",
        "latent diffusion, Stable Diffusion, ControlNet, video, 3-D, music · 15, 16, 17",
    )),
    ("explicit,\nMarkov chain", YELLOW, ("Boltzmann machine* · 01",)),
    ("implicit,\nMarkov chain", PINK, ("GSN* · 01",)),
    ("implicit,\ndirect", MODEL, (
        "GAN, DCGAN, conditional GAN, Reed's text to image · 08, 09",
        "LSGAN, WGAN, WGAN-GP, BEGAN, Progressive, BigGAN, StyleGAN 1 to 3 · 10",
        "CycleGAN, pix2pix · 10",
    )),
)  # fmt: skip


def joint_table() -> Picture:
    """Sixty things by shape and colour, each drawn once, and the count of each cell."""
    fig, ((ax,),) = subplots(width=9, height=4.2)
    for row, counts in enumerate(COUNTS):
        for column, count in enumerate(counts):
            k = np.arange(count)
            x, y = column + 0.13 * (k % 6) - 0.38, -row + 0.2 - 0.22 * (k // 6)
            colour = PAINT[COLOURS[column]]
            ax.plot(x, y, MARKS[row], color=colour, ms=11)
            ax.text(column + 0.44, -row - 0.32, str(count), ha="right", fontsize=12)
    for edge in np.arange(-0.5, 4):
        ax.plot([edge, edge], [0.5, -2.5], color=GREY, lw=0.8)
    for edge in np.arange(0.5, -3, -1):
        ax.plot([-0.5, 3.5], [edge, edge], color=GREY, lw=0.8)
    ax.set(xticks=range(4), xticklabels=COLOURS, yticks=(0, -1, -2), yticklabels=SHAPES)
    ax.set(xlim=(-0.5, 3.5), ylim=(-2.5, 0.5), xlabel="colour x", ylabel="shape y")
    ax.set_title("60 things: how many of each kind")
    ax.tick_params(length=0)
    rows = "; ".join(f"{s}: {', '.join(map(str, c))}" for s, c in zip(SHAPES, COUNTS, strict=True))
    return Picture(fig, f"A table of 60 things, colours {', '.join(COLOURS)} across. {rows}.")


def one_boundary() -> Picture:
    """Two joint laws of a point and its class: different p(x), one and the same p(y | x)."""
    means, precision = np.array([[-1.0, 0.0], [1.0, 0.5]]), np.linalg.inv([[1, 0.4], [0.4, 0.8]])
    side = np.linspace(-3.5, 3.5, 141)
    grid = np.stack(np.meshgrid(side, side), -1)  # (141, 141, 2)
    apart = grid[None] - means[:, None, None]
    density = np.exp(-0.5 * np.einsum("kabi,ij,kabj->kab", apart, precision, apart))
    joint = density * np.array([0.7, 0.3])[:, None, None]
    fig, (axes,) = subplots(1, 2, width=10, height=4.4, sharex=True, sharey=True)
    thinned = joint * np.exp(-(grid[..., 0] ** 2))
    names = ("one world", "another: thinned out by exp(-$x_1^2$)")
    for ax, law, name in zip(axes, (joint, thinned), names, strict=True):
        for part, colour in zip(law, (DATA, MODEL), strict=True):
            ax.contour(
                side, side, part, levels=law.max() * np.array([0.1, 0.3, 0.6]), colors=colour
            )
        share = law[1] / law.sum(0)
        ax.contour(side, side, share, levels=[0.5], colors=[EXACT], linestyles="--")
        ax.set(xlabel="$x_1$", title=name)
    axes[0].set_ylabel("$x_2$")
    axes[0].plot([], [], color=DATA, label="class 0")
    axes[0].plot([], [], color=MODEL, label="class 1")
    axes[0].plot([], [], color=EXACT, ls="--", label="p(y = 1 | x) = ½")
    axes[0].legend(loc="upper left", fontsize=11)
    alt = (
        "Two joint laws of a point and one of two classes, as level lines. The clouds differ, the "
        "dashed line where both classes are equally probable is the same straight line."
    )
    return Picture(fig, alt)


def _two_bumps(x: np.ndarray) -> np.ndarray:
    return 0.4 * normal(x, -2, 0.25) + 0.6 * normal(x, 1, 1)


def density_estimates() -> Picture:
    """A density from 60 points of the line, and one from 300 points of the moons."""
    from course_utils.data import moons

    rng = np.random.default_rng(3)
    low = rng.random(60) < 0.4
    points = np.where(low, -2 + 0.5 * rng.standard_normal(60), 1 + rng.standard_normal(60))
    fig, ((left, right),) = subplots(1, 2, width=11, height=4)
    left.fill_between(X, _two_bumps(X), color=DATA, alpha=0.3, label="the law p")
    left.plot(points, np.full(60, -0.012), "|", color=DATA, ms=9, label="60 draws")
    left.plot(X, normal(X[:, None], points, 0.4**2).mean(1), color=MODEL, label="kernels, h = 0.4")
    mean, var = points.mean(), points.var()
    left.plot(X, normal(X, mean, var), color=BOUND, ls="--", label="one Gaussian")
    left.set(xlabel="x", ylabel="density", xlim=(-5, 5), ylim=(-0.03, 0.45), title="on a line")
    left.legend(loc="upper right", fontsize=11)
    cloud = moons(300, seed=0).numpy()
    a, b = np.linspace(-1.7, 2.7, 111), np.linspace(-1.2, 1.7, 91)
    across, up = normal(a[:, None], cloud[:, 0], 0.02), normal(b[:, None], cloud[:, 1], 0.02)
    density = up @ across.T / 300
    drawn = right.contourf(a, b, density, levels=12, cmap="Oranges")
    right.plot(*cloud.T, ".", color=DATA, ms=4)
    right.set(xlabel="$x_1$", ylabel="$x_2$", title="in the plane: kernels, h = 0.14")
    fig.colorbar(drawn, ax=right, label="density")
    alt = (
        "Left: a law with two bumps, 60 draws, a kernel estimate that follows both bumps and one "
        "Gaussian that covers them. Right: 300 points of two moons and a kernel estimate."
    )
    return Picture(fig, alt)


def two_orders() -> Picture:
    """The Gaussian nearest to two far modes, by KL(p || q) and by KL(q || p)."""
    p = 0.4 * normal(X, -3, 0.25) + 0.6 * normal(X, 3, 1)
    fig, ((ax,),) = subplots(width=9, height=3.8)
    ax.fill_between(X, p, color=DATA, alpha=0.35, label="p, two modes")
    forward, reverse = normal(X, 0.6, 9.34), normal(X, 2.999506, 1.002025)
    ax.plot(X, forward, color=MODEL, label="smallest KL(p || q): maximum likelihood")
    ax.plot(X, reverse, color=BOUND, ls="--", label="smallest KL(q || p)")
    ax.set(xlabel="x", ylabel="density", ylim=(0, 0.52), title="one Gaussian for two modes")
    ax.legend(loc="upper left", fontsize=11)
    alt = (
        "Two modes at -3 and 3. Maximum likelihood gives a wide Gaussian with mean 0.6 that covers "
        "both; the other order of the KL a narrow one on the mode at 3."
    )
    return Picture(fig, alt)


def bandwidths() -> Picture:
    """Mean log-likelihood of a kernel estimate on its own 40 points and on 1,000 others, over h."""
    rng = np.random.default_rng(0)
    points = np.where(rng.random(1040) < 0.4, -2, 1) + rng.standard_normal(1040) * 0.7
    ours, others = points[:40], points[40:]
    widths = np.geomspace(0.01, 3, 40)
    squared = [(x[:, None] - ours) ** 2 for x in (ours, others)]
    curves = [
        [
            np.log(np.exp(-0.5 * s / h**2).mean(1) / (h * np.sqrt(2 * np.pi)) + 1e-300).mean()
            for h in widths
        ]
        for s in squared
    ]
    best = widths[int(np.argmax(curves[1]))]
    fig, ((ax,),) = subplots(width=9, height=3.8)
    ax.semilogx(widths, curves[0], color=MODEL, label="on the 40 points of the estimate")
    ax.semilogx(widths, curves[1], color=DATA, label="on 1,000 other points")
    ax.axvline(best, color=GREY, lw=1.5, ls=":")
    ax.text(1.06 * best, 1.2, f"best for other points: {best:.2f}", fontsize=11)
    ax.set(xlabel="width h of a kernel, in units of x", ylabel="mean log density, nats")
    ax.set(ylim=(-7, 2), title="a smaller width always fits its own points better")
    ax.legend(loc="lower right")
    alt = (
        "Over the width h: the log-likelihood of the estimate's own points grows without end as h "
        f"falls; that of other points is best near h = {best:.2f} and falls steeply on the left."
    )
    return Picture(fig, alt)


def implicit() -> Picture:
    """Noise, the sampler G(z) = z², and the law of what comes out, with both preimages of 1."""
    z = np.random.default_rng(1).standard_normal(4000)
    x = np.linspace(0.02, 6, 400)
    fig, ((left, right),) = subplots(1, 2, width=10, height=3.7)
    line = np.linspace(-2.6, 2.6, 201)
    left.plot(line, line**2, color=EXACT, label="G(z) = z²")
    left.plot([-1, -1, 1, 1], [0, 1, 1, 0], color=MODEL, ls="--")
    left.plot([-1, 1], [0, 0], "o", color=MODEL, ms=9, label="both give x = 1")
    left.plot(z[:150], np.zeros(150), "|", color=GREY, ms=9, label="noise z")
    left.set(xlabel="noise z", ylabel="sample x", title="the sampler", ylim=(-0.3, 6.5))
    left.legend(loc="upper center", fontsize=11)
    right.hist(
        z**2, bins=60, range=(0, 6), density=True, color=MODEL, alpha=0.5, label="4,000 samples"
    )
    right.plot(x, 2 * normal(np.sqrt(x)) / (2 * np.sqrt(x)), color=EXACT, label="both preimages")
    right.plot(x, normal(np.sqrt(x)) / (2 * np.sqrt(x)), color=GREY, ls="--", label="one preimage")
    right.set(xlabel="sample x", ylabel="density", ylim=(0, 1.6), title="the law of its samples")
    right.legend(loc="upper right", fontsize=11)
    alt = (
        "Left: the parabola G(z) = z²; z = -1 and z = 1 both give x = 1. Right: a histogram "
        "of samples, which the density with both preimages follows; with one it is half as high."
    )
    return Picture(fig, alt)


def taxonomy() -> Picture:
    """The tree of generative models, with the systems of the lectures and their lessons."""
    fig, ((ax,),) = subplots(width=11.5, height=6)
    y, middles = 0.0, []
    for name, colour, systems in TREE:
        tall = max(len(systems), 2)
        middles.append(y - tall / 2 + 0.5)
        _box(ax, 2.15, middles[-1], 1.45, 1.5, name, colour)
        for k, system in enumerate(systems):
            at = middles[-1] + (len(systems) - 1) / 2 - k
            ax.text(3.05, at, system, va="center", fontsize=11.5)
        y -= tall + 0.55
    roots = (("explicit:\na formula\nfor p(x)", middles[:3]), ("implicit:\na sampler", middles[3:]))
    for text, below in roots:
        at = sum(below) / len(below)
        _box(ax, 0.45, at, 1.2, 2.2, text, None)
        for middle in below:
            ax.plot([1.05, 1.42], [at, middle], color=GREY, lw=1.5, zorder=0)
    ax.set(xlim=(-0.3, 9.9), ylim=(y + 0.6, 0.9))
    ax.set_axis_off()
    ax.set_title("who writes p(x) down? · number: lesson · *: implied by the figure", fontsize=13)
    alt = "A tree. " + " ".join(
        f"{name.replace(chr(10), ' ')}: {'; '.join(systems)}." for name, _, systems in TREE
    )
    return Picture(fig, alt)


def _box(
    ax: Axes, x: float, y: float, width: float, height: float, text: str, colour: str | None
) -> None:
    from matplotlib.patches import FancyBboxPatch

    low = x - width / 2, y - height / 2
    style = "round,pad=0,rounding_size=0.12"
    ax.add_patch(
        FancyBboxPatch(low, width, height, boxstyle=style, fc=PAPER, ec=colour or INK, lw=2)
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=12)


@cache
def _pair_of_pixels() -> np.ndarray:
    """(1347, 8, 8): which pixels of the digits are lit (grey level above a half)."""
    from course_utils.data import digits

    return (digits().train[:, 0] > 0.5).numpy()


def two_pixels(row: int = 2, column: int = 2, other_row: int = 3, other_column: int = 2) -> Picture:
    """The joint law of two pixels of the digits, counted, beside what each pixel alone gives."""
    lit = _pair_of_pixels()
    first, second = lit[:, row, column], lit[:, other_row, other_column]
    joint = np.array(
        [[(~first & ~second), (~first & second)], [(first & ~second), (first & second)]]
    )
    joint = joint.mean(-1)  # (2, 2)
    alone = np.outer(joint.sum(1), joint.sum(0))
    fig, (axes,) = subplots(1, 3, width=11, height=3.9)
    axes[0].imshow(lit.mean(0), cmap="gray", vmin=0, vmax=1)
    axes[0].plot(column, row, "o", color=MODEL, ms=15, mfc="none", mew=3, label="first")
    axes[0].plot(other_column, other_row, "s", color=SKY, ms=15, mfc="none", mew=3, label="second")
    axes[0].set(xticks=(), yticks=(), title="share of lit pixels")
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
    kinds = zip(axes[1:], (joint, alone), ("filled together", "each by itself"), strict=True)
    for ax, table, title in kinds:
        ax.imshow(
            table, cmap=INK_TO_PAPER + "_r" if INK_TO_PAPER == "Greys" else "Greys", vmin=0, vmax=1
        )
        for (a, b), value in np.ndenumerate(table):
            light = value > 0.5
            ax.text(b, a, f"{value:.2f}", ha="center", va="center", color=PAPER if light else INK)
        ax.set(
            xticks=(0, 1), yticks=(0, 1), xlabel="second pixel", ylabel="first pixel", title=title
        )
        ax.set(xticklabels=("dark", "lit"), yticklabels=("dark", "lit"))
    alt = (
        f"Two pixels of 1,347 digits, ({row}, {column}) and ({other_row}, {other_column}). Both: "
        f"{joint[1, 1]:.2f} when counted together, {alone[1, 1]:.2f} from each by itself."
    )
    return Picture(fig, alt)
