"""Figures of lesson 12 on the chain: two latents, the forward process, its reverse, the bound."""

from functools import cache

import numpy as np

from course_utils.plots.base import (
    BOUND,
    DATA,
    EXACT,
    GREY,
    MODEL,
    PINK,
    Picture,
    normal,
    show,
    subplots,
    tiles,
)

__all__ = ["show"]

CHAIN = {"a": 0.8, "s1": 0.6, "b": 1.1, "s0": 0.5, "c": 0.7, "t1": 0.4, "d": 0.6, "t2": 0.7}
WEIGHTS, MEANS, VAR = np.array([1 / 3, 2 / 3]), np.array([-1.3, 0.65]), 0.155  # mean 0, variance 1
DATA_VAR = 0.49  # of the Gaussian data of 12.4


def _marginal(x: np.ndarray, alpha_bar: float) -> np.ndarray:
    """q(x_t) of the lesson's mixture where alpha_bar of its variance is left."""
    var = alpha_bar * VAR + 1 - alpha_bar
    return normal(np.asarray(x)[..., None], np.sqrt(alpha_bar) * MEANS, var) @ WEIGHTS


def _data(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(MEANS, n, p=WEIGHTS) + np.sqrt(VAR) * rng.standard_normal(n)


def two_steps(x: float = 1.5) -> Picture:
    """Paths z2 -> z1 -> x of the model, and paths x -> z1 -> z2 of the inference model."""
    a, s1, b, s0, c, t1, d, t2 = CHAIN.values()
    eps = np.random.default_rng(0).standard_normal((3, 60))
    z1 = a * eps[0] + s1 * eps[1]
    model = np.stack([eps[0], z1, b * z1 + s0 * eps[2]])
    q1 = c * x + t1 * eps[1]
    inference = np.stack([d * q1 + t2 * eps[2], q1, np.full(60, x)])
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, sharey=True)
    left.plot(model, color=MODEL, lw=1, alpha=0.5)
    right.plot(inference, color=BOUND, lw=1, alpha=0.5)
    right.plot(2, x, "o", color=DATA, ms=10)
    right.annotate(f"x = {x:g}", (2, x), (1.7, x + 1.0), color=DATA)
    left.set(title="model: from left to right", ylabel="value", ylim=(-4.2, 4.2))
    right.set(title="inference: from right to left")
    for ax in (left, right):
        ax.set(xlabel="variable", xlim=(-0.1, 2.15))
        ax.set_xticks([0, 1, 2], ["z2", "z1", "x"])
    alt = (
        "Left: 60 paths of the model from z2, spread like N(0, 1), over z1 to x. Right: 60 paths "
        f"of the inference model from x = {x:g} back to z1 near {c * x:.2f} and z2 near "
        f"{d * c * x:.2f}."
    )
    return Picture(fig, alt)


def regroupings(values: dict[str, float] | None = None) -> Picture:
    """The evidence as a line and each regrouping of the bound as a bar, in nats."""
    values = values or {"evidence": -1.87870, "bound": -1.99513, "slide": -1.19984}
    evidence, *_ = values.values()
    names = list(values)[1:]
    fig, ((ax,),) = subplots(width=9, height=3.2)
    for row, name in enumerate(names):
        over = values[name] > evidence
        ax.barh(row, values[name] + 2.6, left=-2.6, color=PINK if over else BOUND, height=0.6)
        ax.text(
            values[name] - 0.02, row, f"{values[name]:.5f}", va="center", ha="right", color="white"
        )
    ax.axvline(evidence, color=EXACT)
    ax.text(evidence + 0.01, -0.75, f"evidence {evidence:.5f}", color=EXACT)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="nats", xlim=(-2.6, -0.8), ylim=(len(names) - 0.4, -1.1))
    ends = ", ".join(f"{name} {values[name]:.5f}" for name in names)
    alt = f"Bars of the regroupings against a line at the evidence, {evidence:.5f}: {ends} nats."
    return Picture(fig, alt)


def forward_paths(T: int = 40, last: float = 0.25) -> Picture:
    """Sixteen paths from data to noise, with the densities at both ends."""
    beta, rng = np.linspace(1e-3, last, T), np.random.default_rng(5)
    paths = [_data(16, rng)]
    for b in beta:
        paths.append(np.sqrt(1 - b) * paths[-1] + np.sqrt(b) * rng.standard_normal(16))
    x, left = np.linspace(-3.5, 3.5, 281), np.prod(1 - beta)
    fig, ((start, ax, end),) = subplots(
        1, 3, width=10, height=3.6, sharey=True, width_ratios=[1, 3.5, 1]
    )
    ax.plot(np.stack(paths), color=GREY, lw=0.8)
    start.fill_betweenx(x, _marginal(x, 1.0), color=DATA, alpha=0.6)
    end.fill_betweenx(x, _marginal(x, left), color=DATA, alpha=0.6)
    end.plot(normal(x, 0, 1), x, color=EXACT, ls="--")
    start.set(title="data q(x0)", xlabel="density", ylabel="x", ylim=(-3.5, 3.5))
    ax.set(title="each step: shrink a little, add a little noise", xlabel="step t", xlim=(0, T))
    end.set(title="q(xT)", xlabel="density")
    alt = (
        f"Sixteen paths over {T} steps: they start in two heaps at -1.3 and 0.65 and mix. At the "
        f"end {left:.3f} of the data's variance is left; the density nearly is the dashed N(0, 1)."
    )
    return Picture(fig, alt)


def noised(images: np.ndarray | None = None, titles: tuple[str, ...] = ("drawn ring",)) -> Picture:
    """Rows of images (levels, n, H, W) in [-1, 1]: one panel of n images for each noise level."""
    if images is None:
        y, x = np.mgrid[-1:1:8j, -1:1:8j]
        images = np.where(abs(np.hypot(x, y) - 0.7) < 0.25, 1.0, -1.0)[None, None]
    fig, axes = subplots(1, len(images), width=12, height=2.4)
    for ax, level, title in zip(axes.flat, images, titles, strict=True):
        tiles(ax, np.clip((level[:, None] + 1) / 2, 0, 1), 2, title)
    alt = f"The same {len(images[0])} images at each noise level, from clean to noise: " + (
        ", ".join(titles)
    )
    return Picture(fig, alt)


def _alpha_bars(kind: str, T: int, last: float) -> np.ndarray:
    """alpha_bar_0 = 1, ..., alpha_bar_T of a linear schedule up to `last`, or of the cosine one."""
    if kind == "cosine":  # Nichol & Dhariwal 2021, eq. 17, beta clipped at 0.999
        f = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
        beta = np.minimum(1 - f[1:] / f[:-1], 0.999)
    else:
        beta = np.linspace(1e-4, last, T)
    return np.concatenate([[1.0], np.cumprod(1 - beta)])


def schedule(kind: str = "linear", T: int = 1000, last: float = 0.02) -> Picture:
    """What is left of the data at each t, the signal-to-noise ratio, and q(x_T) beside N(0, 1)."""
    bars = _alpha_bars(kind, T, last)
    x = np.linspace(-8, 8, 3201)
    end, goal = _marginal(x, bars[-1]), normal(x, 0, 1)
    kl = (end * np.log(end / goal)).sum() * (x[1] - x[0])
    apart = f"{kl:.1e}" if kl > 1e-12 else "< 1e-12"  # the sum is no more exact than that
    at_one = -0.5 * np.log1p(-bars[-1])  # KL(q(x_T | x_0) || N(0, 1)) where x_0^2 = 1
    fig, ((left, middle, right),) = subplots(1, 3, width=12, height=3.6)
    left.plot(np.arange(T + 1), bars, color=DATA)
    left.set(xlabel="step t", ylabel="alpha_bar, variance left", ylim=(0, 1.02))
    left.set_title(f"{kind}, alpha_bar at T: {bars[-1]:.2g}")
    middle.plot(np.arange(1, T + 1), np.log10(bars[1:] / (1 - bars[1:])), color=DATA)
    middle.axhline(0, color=GREY, lw=1)
    below = np.flatnonzero(bars < 0.5)  # SNR < 1
    crossed = f"below 1 from t = {below[0]}" if len(below) else "above 1 to the end"
    middle.set(xlabel="step t", ylabel="log10 of the SNR", ylim=(-9, 5), title=f"SNR {crossed}")
    right.plot(x, end, color=DATA, label="q(xT)")
    right.plot(x, goal, color=EXACT, ls="--", label="N(0, 1)")
    right.plot([], [], " ", label=f"KL {apart} nats\ngiven x0 = 1:\n{at_one:.1e} nats")
    right.set(xlabel="x", ylabel="density", xlim=(-3.5, 6.5), ylim=(0, 0.85), title="the end")
    right.legend(loc="upper right", fontsize=11, handlelength=1.2)
    alt = (
        f"A {kind} schedule of {T} steps: alpha_bar falls from 1 to {bars[-1]:.2g}, the SNR is "
        f"{crossed}. At the end the KL of the marginal to N(0, 1) is {apart} nats, given x0 = 1 "
        f"it is {at_one:.1e}."
    )
    return Picture(fig, alt)


def marginals(levels: tuple[float, ...] = (1.0, 0.9, 0.6, 0.2, 0.01)) -> Picture:
    """The density q(x_t) of the mixture at several alpha_bar, N(0, 1) dashed."""
    fig, axes = subplots(1, len(levels), width=12, height=3.2, sharey=True)
    x = np.linspace(-3.5, 3.5, 281)
    for ax, level in zip(axes.flat, levels, strict=True):
        ax.fill_between(x, _marginal(x, level), color=DATA, alpha=0.6)
        ax.plot(x, normal(x, 0, 1), color=EXACT, ls="--", lw=1.2)
        ax.set(xlabel="x", title=f"alpha_bar = {level:g}", ylim=(0, 0.75))
    axes[0, 0].set_ylabel("density q(xt)")
    alt = (
        "Densities of x_t: two heaps at alpha_bar = 1 that approach each other, merge, and are "
        f"hardly told from the dashed N(0, 1) at alpha_bar = {levels[-1]:g}."
    )
    return Picture(fig, alt)


def _reverse_mixture(beta: float, xt: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights, means (..., 2) and variance of q(x_{t-1} | x_t), x_{t-1} from the mixture."""
    alpha = 1 - beta
    weight = WEIGHTS * normal(xt[..., None], np.sqrt(alpha) * MEANS, alpha * VAR + beta)
    var = 1 / (1 / VAR + alpha / beta)
    means = var * (MEANS / VAR + np.sqrt(alpha) * xt[..., None] / beta)
    return weight / weight.sum(-1, keepdims=True), means, var


def _kl_to_gaussian(beta: float, xt: np.ndarray) -> np.ndarray:
    """KL(q(x_{t-1} | x_t) || Gaussian of the same mean and variance) at each x_t, by a sum."""
    u = np.linspace(-12, 12, 1201)
    weight, means, var = _reverse_mixture(beta, xt)
    mean = (weight * means).sum(-1)
    sd = np.sqrt((weight * (means - mean[:, None]) ** 2).sum(-1) + var)
    y = mean[:, None] + sd[:, None] * u
    p = (weight[:, None] * normal(y[..., None], means[:, None], var)).sum(-1) + 1e-300
    return (p * np.log(p * sd[:, None] / normal(u, 0, 1))).sum(-1) * (u[1] - u[0]) * sd


@cache
def _reverse_kl(beta: float) -> float:
    """The mean of that KL over x_t."""
    xt = np.linspace(-6, 6, 121)
    kl = _kl_to_gaussian(beta, xt)
    return float((_marginal(xt, 1 - beta) * kl).sum() * (xt[1] - xt[0]))


BETAS = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97])


def reverse(beta: float = 0.5, xt: float = -0.2) -> Picture:
    """The true reverse density at one x_t beside the Gaussian of its mean and variance."""
    weight, means, var = _reverse_mixture(beta, np.array(xt))
    mean = float(weight @ means)
    spread = float(weight @ (means - mean) ** 2 + var)
    y, now = np.linspace(-3, 3, 1201), _reverse_kl(beta)
    here = max(float(_kl_to_gaussian(beta, np.array([xt]))[0]), 0)
    fig, ((left, right),) = subplots(1, 2, width=11, height=3.7)
    left.plot(y, normal(y[:, None], means, var) @ weight, color=EXACT, label="true reverse")
    left.plot(y, normal(y, mean, spread), color=MODEL, ls="--", label="its Gaussian")
    left.plot(xt, 0, "^", color=DATA, ms=12, clip_on=False, label=f"xt = {xt:g}")
    left.set(xlabel="x one step earlier", ylabel="density", xlim=(-3, 3))
    left.set_title(f"beta = {beta:g}: KL {here:.2g} nats")
    left.set_ylim(0, 1.25 * left.dataLim.ymax)  # room for the legend above any peak
    left.locator_params(axis="y", nbins=5, steps=[1, 2, 5, 10])  # no 0.25: the margin is fixed
    left.legend(loc="upper center", ncol=3, fontsize=10, columnspacing=1, handlelength=1.5)
    right.plot(BETAS, [_reverse_kl(b) for b in BETAS], "o-", color=GREY, ms=5)
    right.plot(beta, now, "o", color=MODEL, ms=12)
    right.set(xscale="log", yscale="log", xlabel="beta", ylabel="KL to its Gaussian, nats")
    right.set(title=f"mean over xt: {now:.2g} nats", ylim=(1e-6, 1), xlim=(0.004, 1.1))
    alt = (
        f"Left: the law of the earlier x given xt = {xt:g} at beta = {beta:g}, and the Gaussian "
        f"with its mean and variance: KL {here:.2g} nats. Right: the KL averaged over xt, as beta "
        f"varies; here {now:.2g}."
    )
    return Picture(fig, alt)


def two_fans(k: tuple[float, ...] = (0.8, 0.7, 0.5)) -> Picture:
    """Paths of q from data to noise, and paths of p_theta from noise to data, T = 3."""
    rng, beta, sigma2 = np.random.default_rng(1), (0.2, 0.4, 0.6), (0.25, 0.3, 0.5)
    forward = [np.sqrt(DATA_VAR) * rng.standard_normal(30)]
    for b in beta:
        forward.append(np.sqrt(1 - b) * forward[-1] + np.sqrt(b) * rng.standard_normal(30))
    back = [rng.standard_normal(30)]
    for step, var in zip(k[::-1], sigma2[::-1], strict=True):
        back.append(step * back[-1] + np.sqrt(var) * rng.standard_normal(30))
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, sharey=True)
    left.plot(np.stack(forward), color=DATA, lw=0.8)
    right.plot(np.stack(back[::-1]), color=MODEL, lw=0.8)
    left.set(title="q: data first, then noise", ylabel="x", ylim=(-3.5, 3.5))
    right.set(title="p: noise first, then data")
    for ax in (left, right):
        ax.set_xlabel("step t")
        ax.set_xticks(range(4))
    alt = (
        "Thirty paths over t = 0, 1, 2, 3 of the forward process (left) and of the model (right): "
        "similar fans, but the model's end at t = 0 is wider than the data."
    )
    return Picture(fig, alt)


def terms(T: int = 10, last: float = 0.5, error: float = 0.0) -> Picture:
    """Each term of L for Gaussian data, exact reverse variances and a mean that is off by error."""
    beta = np.linspace(0.01, last, T) if T > 1 else np.array([last])
    bars = np.concatenate([[1.0], np.cumprod(1 - beta)])
    var = bars * DATA_VAR + 1 - bars  # of x_t
    v = var[:-1] * beta / var[1:]  # of x_{t-1} given x_t
    posterior = (1 - bars[1:-1]) / (1 - bars[2:]) * beta[1:]  # given x_0, too; t = 2..T
    wrong = error**2 / (2 * v)
    first = 0.5 * np.log(2 * np.pi * np.e * v[0]) + wrong[0]
    middle = 0.5 * np.log(v[1:] / posterior) + wrong[1:]
    prior = 0.5 * (bars[-1] * (DATA_VAR - 1) - np.log1p(-bars[-1]))
    values = np.concatenate([[first], middle, [prior]])
    fig, ((ax,),) = subplots(width=10, height=4)
    colours = [MODEL] + [DATA] * (T - 1) + [GREY]
    ax.bar(np.arange(T + 1), np.clip(values, -1.5, 3), color=colours)
    ax.axhline(0, color=EXACT, lw=0.8)
    ticks = range(0, T + 1, max(1, T // 10))
    names = {0: "L0", T: "LT"}
    ax.set_xticks(ticks, [names.get(i, f"L{i}") for i in ticks])
    ax.set(xlabel="term", ylabel="nats (cut at 3)", ylim=(-1.5, 3.05))
    ax.set_title(f"sum L = {values.sum():.3f} nats; entropy of the data = 1.062")
    alt = (
        f"Bars of the {T + 1} terms of L: L0 {first:.2f}, the middle ones sum to "
        f"{middle.sum():.2f}, LT {prior:.4f}; in all {values.sum():.3f} nats."
    )
    return Picture(fig, alt)
