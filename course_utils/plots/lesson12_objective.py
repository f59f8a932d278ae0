"""Figures of lesson 12 on the objective: the posterior, the cost of a step, targets, weights."""

import numpy as np
import torch

from course_utils import diffusion
from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREY,
    MODEL,
    PINK,
    YELLOW,
    Picture,
    normal,
    show,
    subplots,
    tiles,
)

__all__ = ["show"]

TEN_STEPS = diffusion.NoiseSchedule.linear(10, 0.05, 0.6)


def _posterior(
    schedule: diffusion.NoiseSchedule, xt: np.ndarray, x0: np.ndarray, t: int
) -> tuple[np.ndarray, float]:
    """Mean and variance of q(x_{t-1} | x_t, x_0)."""
    x0, xt = torch.from_numpy(x0), torch.from_numpy(xt)
    mean, var = diffusion.q_posterior(schedule, x0, xt, t)
    return mean.numpy(), var.item()


def between(x0: float = 1.3, x2: float = -0.4, curve: tuple[float, float] | None = None) -> Picture:
    """Two-step walks from x0; those that end near x2; where they were in between.

    `curve` is the mean and the variance of a Gaussian to draw over the histogram.
    """
    rng = np.random.default_rng(12)
    noise = rng.standard_normal((2, 60_000))
    x1 = np.sqrt(0.9) * x0 + np.sqrt(0.1) * noise[0]
    end = np.sqrt(0.6) * x1 + np.sqrt(0.4) * noise[1]
    kept = np.flatnonzero(np.abs(end - x2) < 0.05)
    fig, ((left, right),) = subplots(1, 2, width=10, height=3.7)
    paths = np.stack([np.full_like(x1, x0), x1, end])
    left.plot([0, 1, 2], paths[:, :200], color=GREY, lw=0.7, alpha=0.5)
    left.plot([0, 1, 2], paths[:, kept[:40]], color=PINK, lw=1.2, alpha=0.8)
    left.plot(0, x0, "o", color=DATA, ms=10, clip_on=False)
    left.plot(2, x2, "o", color=EXACT, ms=10, clip_on=False)
    left.set(xticks=[0, 1, 2], xlabel="step t", ylabel="x", title="some walks end near the dot")
    bins = np.linspace(-0.4, 2.6, 61)
    right.hist(x1, bins, density=True, color=GREY, alpha=0.5, label="all walks")
    right.hist(x1[kept], bins[::2], density=True, color=PINK, alpha=0.7, label="walks kept")
    shown = ""
    if curve is not None:
        x, (mean, var) = np.linspace(-0.4, 2.6, 400), curve
        right.plot(x, normal(x, mean, var), color=EXACT, lw=3, label="your posterior")
        shown = f" A Gaussian of mean {mean:.3f} and variance {var:.4f} is drawn over them."
    right.set(xlabel="x after one step", ylabel="density", title="where were they at t = 1?")
    right.set(ylim=(0, 2.2))
    right.legend(loc="upper right", fontsize=12)
    alt = (
        f"Left: walks of two steps from x = {x0:g}; those that end near {x2:g} are marked. Right: "
        f"histograms of x at t = 1; all walks centre at {x1.mean():.2f} with variance "
        f"{x1.var():.3f}, the kept ones at {x1[kept].mean():.2f} with variance "
        f"{x1[kept].var():.3f}.{shown}"
    )
    return Picture(fig, alt)


def posterior(xt: float = -0.4, x0: float = 1.3, t: int = 6) -> Picture:
    """Both factors of q(x_{t-1} | x_t, x_0) and their product, ten steps of beta .05 to .6."""
    beta, before = TEN_STEPS.beta[t].item(), TEN_STEPS.alpha_bar[t - 1].item()
    (mean,), var = _posterior(TEN_STEPS, np.array([float(xt)]), np.array([float(x0)]), t)
    centre = np.sqrt(before) * x0
    x = np.linspace(-6, 6, 1201)
    fig, ((ax,),) = subplots(width=9, height=4.2)
    forward, spread = xt / np.sqrt(1 - beta), beta / (1 - beta)
    ax.plot(x, normal(x, forward, spread), color=PINK, label="from $x_t$, one step back")
    if t > 1:
        ax.plot(x, normal(x, centre, 1 - before), color=DATA, label="from $x_0$, t - 1 steps on")
        ax.plot(x, normal(x, mean, var), color=EXACT, lw=3, label="posterior, their product")
        ax.set_ylim(0, 1.25 * max(normal(np.zeros(1), 0, var)[0], 0.8))
    else:
        ax.plot([x0, x0], [0, 1.9], color=EXACT, lw=3, label="posterior: the point $x_0$")
        ax.set_ylim(0, 2.3)
    ax.plot(x0, 0, "o", color=DATA, ms=11, clip_on=False, zorder=5)
    ax.plot(xt, 0, "s", color=PINK, ms=11, clip_on=False, zorder=5)
    ax.set(xlim=(-6, 6), xlabel="$x_{t-1}$", ylabel="density")
    ax.set_title(f"t = {t}: mean {mean:.3f}, sd {np.sqrt(var):.3f}")
    ax.legend(loc="upper center", ncols=3, fontsize=12, columnspacing=1.2)
    alt = (
        f"Step t = {t} of ten, x_t = {xt:g} (square), x_0 = {x0:g} (dot). One bell says where x_t "
        f"came from, at {forward:.3f} with sd {np.sqrt(spread):.3f}; another where x_0 got "
        f"to, at {centre:.3f} with sd {np.sqrt(1 - before):.3f}; the posterior has mean "
        f"{mean:.3f} and sd {np.sqrt(var):.3f}."
    )
    return Picture(fig, alt)


def step_cost(shift: float = 0.8, ratio: float = 2.0) -> Picture:
    """KL of a posterior N(0, 1) to a step N(shift, ratio), and its two parts over the shift."""
    x, shifts = np.linspace(-5, 5, 500), np.linspace(-3, 3, 301)
    width = 0.5 * (1 / ratio - 1 + np.log(ratio))
    total = width + shifts**2 / (2 * ratio)
    now = shift**2 / (2 * ratio)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4.2)
    left.plot(x, normal(x, 0, 1), color=EXACT, label="posterior")
    left.plot(x, normal(x, shift, ratio), color=MODEL, ls="--", label="model's step")
    left.set(xlabel="$x_{t-1}$, in sd of the posterior", ylabel="density", ylim=(0, 0.55))
    left.set_title(f"off by {shift:g} sd, variance × {ratio:g}")
    left.legend(loc="upper left", fontsize=12)
    right.fill_between(shifts, 0, width, color=GREY, alpha=0.5, label="wrong width")
    right.fill_between(shifts, width, total, color=BOUND, alpha=0.5, label="wrong mean")
    right.plot(shifts, total, color=EXACT, label="KL")
    right.plot(shift, width + now, "o", color=MODEL, ms=11)
    right.set(xlabel="mean off by, in sd", ylabel="KL, nats", ylim=(0, 2.8))
    right.set_title(f"KL = {width:.3f} + {now:.3f} nats")
    right.legend(loc="upper center", fontsize=12)
    alt = (
        f"Left: a posterior bell and the model's step, off by {shift:g} sd and with {ratio:g} times"
        f" the variance. Right: their KL over the shift is a parabola on top of a constant: "
        f"{width:.3f} nats for the width, {now:.3f} for the mean."
    )
    return Picture(fig, alt)


def targets(t: int = 4) -> Picture:
    """Posterior means over x_t for two clusters of data, their local mean, the best line."""
    rng = np.random.default_rng(4)
    alpha_bar = TEN_STEPS.alpha_bar.numpy()
    x0 = rng.choice([-1.0, 1.0], 20_000) + 0.2 * rng.standard_normal(20_000)
    xt = np.sqrt(alpha_bar[t]) * x0 + np.sqrt(1 - alpha_bar[t]) * rng.standard_normal(20_000)
    mean, _ = _posterior(TEN_STEPS, xt, x0, t)
    edges = np.linspace(-2.4, 2.4, 25)
    index = np.digitize(xt, edges)
    middle = [xt[index == i].mean() for i in range(1, len(edges))]
    local = [mean[index == i].mean() for i in range(1, len(edges))]
    slope, offset = np.polyfit(xt, mean, 1)
    residual = np.interp(xt, middle, local) - mean
    fig, ((ax,),) = subplots(width=9, height=4.4)
    ax.plot(xt[:3000], mean[:3000], ".", color=GREY, ms=3, alpha=0.6, label="targets")
    ax.plot(edges, slope * edges + offset, color=PINK, ls="--", label="best straight line")
    ax.plot(middle, local, "o-", color=EXACT, ms=6, label="mean of the targets at $x_t$")
    ax.set(xlabel="$x_t$, what the network sees", xlim=(-2.5, 2.5), ylim=(-2.2, 2.2))
    ax.set_ylabel("posterior mean of $x_{t-1}$")
    ax.set_title(f"t = {t}: one $x_t$, many targets")
    ax.legend(loc="upper left", fontsize=12, markerscale=1.5)
    line = np.mean((mean - slope * xt - offset) ** 2)
    alt = (
        f"Posterior means over x_t at t = {t}, data in two clusters at -1 and 1: two slanted bands,"
        f" one per cluster. Their local mean runs along an S between the bands and leaves a mean "
        f"squared distance of {np.mean(residual**2):.3f}; the best straight line leaves {line:.3f}."
    )
    return Picture(fig, alt)


def three_targets(times: tuple[int, ...] = (50, 300, 800), index: int = 3) -> Picture:
    """A digit at three noise levels (T = 1000, linear), and the three things one could predict."""
    from course_utils.data import digits

    x0 = 2 * np.asarray(digits().train[index, 0], dtype=float) - 1
    eps = np.random.default_rng(1).standard_normal((8, 8))
    schedule = diffusion.NoiseSchedule.linear(1000)
    alpha_bar = schedule.alpha_bar.numpy()
    fig, axes = subplots(len(times), 4, width=7, height=4.3)
    for row, t in zip(axes, times, strict=True):
        xt = np.sqrt(alpha_bar[t]) * x0 + np.sqrt(1 - alpha_bar[t]) * eps
        mean, _ = _posterior(schedule, xt, x0, t)
        for ax, image in zip(row, (xt, x0, mean, eps), strict=True):
            tiles(ax, np.clip((image[None, None] + 2.5) / 5, 0, 1), 1)
        row[0].text(-0.1, 0.5, f"t = {t}", transform=row[0].transAxes, va="center", ha="right")
    names = ("seen: $x_t$", "data $x_0$", "mean of $x_{t-1}$", "noise ε")
    for ax, name in zip(axes[0], names, strict=True):
        ax.set_title(name)
    alt = (
        f"One handwritten digit at t = {', '.join(map(str, times))} of 1000: beside the noisy x_t, "
        "the clean digit, the posterior mean of x_{t-1}, which looks like x_t, and the noise. "
        "At the last t the noisy picture looks like the noise."
    )
    return Picture(fig, alt)


def weights(
    schedule: str = "linear", variance: str = "beta", T: int = 1000, given: object = None
) -> Picture:
    """The weight lambda_t of the bound beside 1, and how the cost spreads over the chain.

    The cost is weight times squared error of the best multiple of x_t, for data N(0, 0.25).
    `given` replaces the curve by weights for t = 1..T that were computed elsewhere.
    """
    tables = getattr(diffusion.NoiseSchedule, schedule)(T)
    first = 1 if variance == "beta" else 2  # beta_tilde_1 = 0 has no finite weight
    t = np.arange(first, T + 1)
    lam = diffusion.loss_weight(tables, getattr(tables, variance)).numpy()[first:]
    lam = lam if given is None else np.asarray(given, dtype=float)
    tenth = np.minimum((t - 1) * 10 // T, 9)
    left_over = tables.alpha_bar.numpy()[first:]
    error = 0.25 * left_over / (0.25 * left_over + 1 - left_over)
    share, simple = (
        np.array([cost[tenth == i].sum() for i in range(10)]) / cost.sum()
        for cost in (lam * error, error)
    )
    fig, ((left, right),) = subplots(1, 2, width=10, height=3.9)
    left.axhline(1, color=MODEL, ls="--", label="1, in $L_{simple}$")
    left.plot(t, lam, color=BOUND, label="$λ_t$, in the bound")
    left.set(yscale="log", xscale="log", xlabel="step t", ylabel="weight", ylim=(1e-3, 1e3))
    left.set_xlim(0.8, 1.25 * T)  # the same for every choice, so that a curve is seen to move
    left.set_title(f"t = {first}: {lam[0]:.3g}, t = {T}: {lam[-1]:.3g}")
    left.legend(loc="upper left", fontsize=12)
    at = np.arange(1, 11)
    right.bar(at - 0.2, share, 0.4, color=BOUND, label="$λ_t$ × squared error")
    right.bar(at + 0.2, simple, 0.4, color=MODEL, label="1 × squared error")
    right.set(xlabel="tenth of the chain (1: least noise)", ylabel="share of the whole cost")
    right.set(xticks=at, ylim=(0, 1))
    right.set_title(f"first tenth: {share[0]:.0%} or {simple[0]:.0%}")
    right.legend(loc="upper right", fontsize=12)
    alt = (
        f"Weights of a {schedule} schedule, T = {T}, reverse variance {variance}: lambda is "
        f"{lam[0]:.3g} at t = {first}, {lam.min():.3g} at its least and {lam[-1]:.3g} at t = {T}; "
        f"weighted so, the first tenth of the steps has {share[0]:.0%} of the cost, with weights 1 "
        f"{simple[0]:.0%}."
    )
    return Picture(fig, alt)


def one_slope(beta: tuple[float, ...] = (0.2, 0.4, 0.6), variance: float = 0.25) -> Picture:
    """Excess loss of eps = k x_t over k: for each t, and for one k shared by all t."""
    b = np.array(beta)
    alpha_bar = np.cumprod(1 - b)
    cross, power = np.sqrt(1 - alpha_bar), alpha_bar * variance + 1 - alpha_bar
    lam = b / (2 * (1 - b) * (1 - alpha_bar))  # sigma_t^2 = beta_t
    k = np.linspace(1.0, 1.18, 400)
    excess = power[:, None] * (k - (cross / power)[:, None]) ** 2
    fig, ((ax,),) = subplots(width=9, height=4.2)
    for t, (curve, colour) in enumerate(zip(excess, (YELLOW, PINK, DATA), strict=True), start=1):
        best = cross[t - 1] / power[t - 1]
        ax.plot(k, 1e3 * curve, color=colour, lw=1.5, label=f"t = {t} alone: {best:.4f}")
    found = {}
    for name, colour, w in (("weights 1", MODEL, np.ones(3)), ("weights λ", BOUND, lam)):
        found[name] = (w @ cross) / (w @ power)
        mean = 1e3 * (w @ excess) / w.sum()
        ax.plot(k, mean, color=colour, lw=3, label=f"shared, {name}: {found[name]:.4f}")
        ax.plot(found[name], mean.min(), "o", color=colour, ms=10)
    ax.set(xlabel="slope k", ylabel="loss above the best, × 1000", ylim=(0, 8), xlim=(1, 1.18))
    ax.set_title("free at each t, or one slope for all")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=12, title="best slope")
    alt = (
        "Excess squared error of k x_t over the slope k: three parabolas with minima at "
        f"{', '.join(f'{v:.4f}' for v in cross / power)}; averaged with weights 1 the minimum is "
        f"at {found['weights 1']:.4f}, with the bound's weights at {found['weights λ']:.4f}."
    )
    return Picture(fig, alt)
