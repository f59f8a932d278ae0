"""Figures of lesson 09, training GANs: mixtures, mode coverage, runs that fail and are repaired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_utils.data import mixture
from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREY,
    MODEL,
    PAPER,
    PINK,
    Picture,
    show,
    subplots,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["show"]

LOSSES, KS, RATES = ("saturating", "non-saturating", "relativistic"), (1, 2, 5), (3e-4, 1e-3, 4e-3)
TITLES = {"hit": "modes hit, of 8", "even": "effective number of modes"}


class Reading(NamedTuple):
    """What 500 samples of a generator on the ring say at one step."""

    step: int
    points: Tensor  # (500, 2)
    hit: int  # modes with a sample within 0.3
    even: float  # exp of the entropy of the modes' shares
    near: float  # share of the samples that lie within 0.3 of a mode
    d_loss: float = float("nan")  # nats
    g_loss: float = float("nan")
    spread: float = float("nan")  # mean distance between two samples, over that of the data
    gap: float = float("nan")  # mean logit of real minus fake


def _points(ax: Axes, points: Tensor, means: Tensor, reach: float, title: str = "") -> None:
    """Samples over the means of the modes."""
    ax.plot(*means.T, "o", ms=38 / reach, mfc="none", mec=DATA, mew=1.2)
    ax.plot(*np.asarray(points).T, ".", ms=4, color=MODEL, alpha=0.6)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
    ax.set(xlabel="x₁", ylabel="x₂")


def mixtures(fakes: Tensor | None = None) -> Picture:
    """Samples of both mixtures, and what a generator starts with on the ring."""
    fakes = 0.1 * torch.ones(500, 2) if fakes is None else fakes
    fig, (axes,) = subplots(1, 3, width=11, height=4)
    rng = torch.Generator().manual_seed(0)
    for ax, name in zip(axes, ("ring8", "grid25"), strict=False):
        law = mixture(name)
        ax.plot(*law.sample(1000, rng).T.numpy(), ".", ms=4, color=DATA)
        sd, reach = float(law.variances[0].sqrt()), 1.2 * float(law.means.abs().max())
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        ax.set(xlabel="x₁", ylabel="x₂", title=f"{name}: sd {sd:.2f} each")
    _points(axes[2], fakes, mixture("ring8").means, 2.4, "G before training")
    alt = (
        "Left: eight tiny dots of data on a circle of radius 2. Middle: 25 tiny dots on a square "
        "grid. Right: the samples of an untrained generator, one small blot in the middle of the "
        "ring, far from each of the eight modes."
    )
    return Picture(fig, alt)


def _demo() -> list[Reading]:
    """A made-up run, for the defaults: a cloud that contracts to half of the modes."""
    law, rng = mixture("ring8"), torch.Generator().manual_seed(0)
    cloud = law.sample(500, rng)
    found = []
    for step, kept in zip(range(100, 900, 100), (8, 8, 8, 7, 6, 5, 4, 4), strict=True):
        angle = torch.atan2(*cloud.T) + torch.pi
        points = cloud[angle < kept * torch.pi / 4]
        found.append(Reading(step, points, kept, kept - 0.5, 0.8, 1.39, 0.69, kept / 8, 0.1))
    return found


def ring_run(readings: Sequence[Reading] = (), before: Sequence[Reading] = ()) -> Picture:
    """Samples at the last reading, and modes hit, effective modes and precision over the steps.

    Thin, the effective modes and the precision of another run, `before`.
    """
    readings = readings or _demo()
    last, step = readings[-1], [r.step for r in readings]
    fig, (axes,) = subplots(1, 3, width=11, height=3.5)
    _points(axes[0], last.points, mixture("ring8").means, 2.8, f"step {last.step}")
    axes[1].plot(step, [r.hit for r in readings], color=BOUND, label=f"hit: {last.hit}")
    axes[1].plot(step, [r.even for r in readings], color=MODEL, label=f"effective: {last.even:.1f}")
    axes[1].axhline(8, color=EXACT, lw=1, ls="--")
    if before:
        old = [r.step for r in before]
        axes[1].plot(old, [r.even for r in before], color=GREY, lw=1.2, label="effective, before")
        axes[2].plot(old, [r.near for r in before], color=GREY, lw=1.2)
    axes[1].set(xlabel="step of G", ylabel="number of modes", ylim=(0, 8.6), title="how many")
    axes[1].legend(loc="lower right")
    axes[2].plot(step, [r.near for r in readings], color=PINK)
    axes[2].set(xlabel="step of G", ylabel="share of samples", ylim=(0, 1.02))
    axes[2].set_title("within 0.3 of a mode")
    axes[2].margins(x=0.1)
    best = max(r.even for r in readings)
    alt = (
        f"Samples on the ring at step {last.step}; beside them, over the steps, the modes hit "
        f"(now {last.hit} of 8), their effective number (at most {best:.1f}, now {last.even:.1f}) "
        f"and the share of samples near a mode (now {last.near:.2f})."
    )
    return Picture(fig, alt)


def _table(runs: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """The stored table, or one of zeros for the defaults."""
    if runs is not None:
        return runs
    steps = torch.arange(500, 12_001, 500).float()
    rows = torch.stack([steps, steps / 1e3, steps / 1e3, steps / 2e4], dim=1)
    ring = mixture("ring8").means.float()
    return {
        "sweep_readings": torch.zeros(3, 3, 3, 3, 10, 5),
        "sweep_points": ring.expand(3, 3, 3, 8, 2),
        "repairs_readings": torch.ones(10, 3, 5),
        "repairs_points": ring.expand(10, 8, 2),
        "ring8_coverage": rows,
        "grid25_coverage": rows,
        "grid25_points": mixture("grid25").means.float().expand(3, 25, 2),
    }


def long_runs(runs: dict[str, Tensor] | None = None) -> Picture:
    """The grid early and late, and modes well covered and precision of both long runs."""
    runs = _table(runs)
    fig, (axes,) = subplots(1, 4, width=12, height=3.5)
    means, sheets, steps = mixture("grid25").means, runs["grid25_points"], runs["grid25_coverage"]
    for ax, sheet, row in zip(axes, (0, 2), (0, -1), strict=False):
        _points(ax, sheets[sheet], means, 5)
        ax.set_title(f"grid25, step {int(steps[row, 0])}\n1,000 of 2,500 samples", fontsize=12)
    said = []
    for name, colour, of in (("ring8", BOUND, 8), ("grid25", MODEL, 25)):
        step, modes, well, quality = runs[f"{name}_coverage"].T.numpy()
        axes[2].plot(step / 1000, well / of, color=colour, label=f"{name}: {well[-1]:.0f} of {of}")
        axes[3].plot(step / 1000, quality, color=colour, label=f"{name}: {quality[-1]:.2f}")
        said.append(
            f"{name}: {modes[-1]:.0f} of {of} modes hit, {well[-1]:.0f} well covered, "
            f"{quality[-1]:.2f} of the samples within 3 sd"
        )
    axes[2].set(xlabel="thousand steps", ylabel="share of modes", title="well covered")
    axes[3].set(xlabel="thousand steps", ylabel="share of samples", title="within 3 sd")
    for ax in axes[2:]:
        ax.set_ylim(0, 1.02)
        ax.legend(loc="lower right", fontsize=11)
    return Picture(fig, f"Two long runs. At the end, {'; '.join(said)}.")


def short_run(
    runs: dict[str, Tensor] | None = None,
    loss: str = "non-saturating",
    k: int = 1,
    rate: float = 1e-3,
) -> Picture:
    """One cell of the sweep: samples, effective modes of three seeds, the gap of the logits."""
    runs = _table(runs)
    at = LOSSES.index(loss), KS.index(k), [f"{r:g}" for r in RATES].index(f"{rate:g}")
    found = runs["sweep_readings"][at].numpy()  # (seeds, readings, 5)
    updates = np.linspace(300, 3000, found.shape[1])
    fig, (axes,) = subplots(1, 3, width=11, height=3.2)
    _points(axes[0], runs["sweep_points"][at], mixture("ring8").means, 2.8, "samples, first seed")
    for row in found:
        axes[1].plot(updates, row[:, 1], color=MODEL, alpha=0.8)
        axes[2].plot(updates, row[:, 4], color=PINK, alpha=0.8)
    axes[1].axhline(8, color=EXACT, lw=1, ls="--")
    axes[1].set(xlabel="updates, D and G together", ylabel="number of modes", ylim=(0, 8.6))
    middle = np.median(found[:, -1], axis=0)
    axes[1].set_title(f"effective, middle seed: {middle[1]:.1f}")
    axes[2].set(xlabel="updates, D and G together", ylabel="logit")
    axes[2].set_yscale("symlog", linthresh=1)  # straight up to 1, logarithmic above
    axes[2].set(ylim=(-1, 999), yticks=[-1, 0, 1, 10, 100], yticklabels=[-1, 0, 1, 10, 100])
    axes[2].set_title(f"real − fake: {middle[4]:.1f}")
    fig.suptitle(f"{loss}, k = {k}, rate {rate:g}; {middle[2]:.0%} of the samples near a mode")
    alt = (
        f"A short run on the ring with the {loss} loss, k = {k}, rate {rate:g}; medians of three "
        f"seeds at the end: {middle[0]:.0f} modes hit, {middle[1]:.1f} effective, "
        f"{middle[2]:.2f} of the samples near a mode, logits {middle[4]:.1f} apart."
    )
    return Picture(fig, alt)


def snapshots(readings: Sequence[Reading] = (), count: int = 6) -> Picture:
    """Samples at equally distant readings, as slides show them; those far out on the border."""
    readings = readings or _demo()
    kept = [readings[round(i)] for i in np.linspace(0, len(readings) - 1, count)]
    fig, (axes,) = subplots(1, count, width=12, height=2.6)
    for ax, r in zip(axes, kept, strict=True):
        _points(ax, r.points.clamp(-4, 4), mixture("ring8").means, 4.2, f"step {r.step}")
        ax.set(xlabel="x₁", ylabel="x₂" if r is kept[0] else "", xticks=[], yticks=[])
    hits = ", ".join(f"{r.hit} at step {r.step}" for r in kept)
    return Picture(fig, f"Six pictures of the samples over training; modes hit of 8: {hits}.")


def dashboard(
    readings: Sequence[Reading] = (), healthy: Sequence[Reading] = (), title: str = "this run"
) -> Picture:
    """Samples now; both losses with log 4 and log 2; spread beside that of a healthy run."""
    readings = readings or _demo()
    last, step = readings[-1], [r.step for r in readings]
    fig, (axes,) = subplots(1, 3, width=11.5, height=3.8)
    _points(axes[0], last.points, mixture("ring8").means, 3.2, f"{title}, step {last.step}")
    axes[1].plot(step, [r.d_loss for r in readings], color=BOUND, label="D")
    axes[1].plot(step, [r.g_loss for r in readings], color=PINK, label="G")
    for value, name in ((np.log(4), "log 4"), (np.log(2), "log 2")):
        axes[1].axhline(value, color=EXACT, lw=1, ls="--")
        axes[1].text(step[-1], value + 0.07, name, ha="right", fontsize=11)
    seen = np.array([[r.d_loss, r.g_loss] for r in readings])
    low, top = min(-0.1, float(np.nanmin(seen))), max(2.2, float(np.nanmax(seen)))
    axes[1].set(xlabel="step of G", ylabel="loss, nats", ylim=(1.1 * low, 1.1 * top))
    axes[1].margins(x=0)
    axes[1].set_title("what the losses say")
    axes[1].legend(loc="upper left", ncols=2)
    if healthy:
        by = [r.step for r in healthy], [r.spread for r in healthy]
        axes[2].plot(*by, color=GREY, label="a healthy run")
    axes[2].plot(step, [r.spread for r in readings], color=MODEL, label=title)
    axes[2].axhline(0.5, color=EXACT, lw=1, ls="--")
    axes[2].set(xlabel="step of G", ylim=(0, 1.8), yticks=[0, 0.5, 1, 1.5])
    axes[2].set(title="spread of a batch")
    axes[2].set_ylabel("share of the data's", labelpad=2)
    axes[2].legend(loc="upper right", fontsize=11)
    alt = (
        f"{title} at step {last.step}: {last.hit} of 8 modes hit; losses {last.d_loss:.2f} (D) and "
        f"{last.g_loss:.2f} (G) nats; the spread of a batch is {last.spread:.2f} of the data's."
    )
    return Picture(fig, alt)


def repairs(runs: dict[str, Tensor] | None = None, names: Sequence[str] = ()) -> Picture:
    """Effective modes and precision after the broken game and after each repair, three seeds.

    A seed that has less than two effective modes gets a hollow dot in both panels.
    """
    found = _table(runs)["repairs_readings"].numpy()  # (repairs, seeds, 5)
    names = list(names) or [f"repair {i}" for i in range(len(found))]
    fig, ((left, right),) = subplots(1, 2, width=11, height=4.8, width_ratios=[3, 2], sharey=True)
    rows, lost = np.arange(len(found)), found[..., 1] < 2
    for ax, column, colour in ((left, 1, MODEL), (right, 2, PINK)):
        values = found[..., column]
        ax.barh(rows, np.median(values, axis=1), color=colour, alpha=0.5)
        for value, row, hollow in zip(values.T, [rows] * 3, lost.T, strict=True):
            ax.plot(value[~hollow], row[~hollow], "o", ms=5, color=colour)
            ax.plot(value[hollow], row[hollow], "o", ms=5, mfc=PAPER, mec=colour)
        for row, value in enumerate(np.median(values, axis=1)):
            where = {"va": "center", "transform": ax.get_yaxis_transform(), "fontsize": 11}
            ax.text(1.02, row, f"{value:.{column}f}", **where)
    left.axvline(8, color=EXACT, lw=1, ls="--")
    left.set_yticks(rows, names, fontsize=11)
    left.invert_yaxis()
    left.set(xlabel="effective number of modes (right: median)", xlim=(-0.15, 8.3))
    right.set(xlabel="share within 0.3 of a mode", xlim=(-0.02, 1.04))
    middle = np.median(found[..., 1], axis=1)
    each = "; ".join(f"{name}: {value:.1f}" for name, value in zip(names, middle, strict=True))
    return Picture(fig, f"Bars with three seeds each, effective modes at the end: {each}.")
