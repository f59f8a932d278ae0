"""Figures of lesson 13 on laws that are known exactly: noising, limits, chains, schedules."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from course_utils import diffusion
from course_utils.diffusion import NoiseSchedule
from course_utils.distributions import GaussianMixture
from course_utils.plots.base import (
    BLUE,
    DATA,
    EXACT,
    MODEL,
    ORANGE,
    Picture,
    show,
    subplots,
)

__all__ = ["show"]

T_TOY = 100
VARIANCES = ("β", "β̃", "σ*")


def _grid() -> GaussianMixture:
    """grid25_wide, scaled to unit variance."""
    from course_utils.data import mixture

    law = mixture("grid25_wide")
    scale = law.cov[0, 0].sqrt()
    return GaussianMixture(law.weights, law.means / scale, law.variances / scale**2)


def _two_modes() -> GaussianMixture:
    """0.4 N(-1.2, .07) + 0.6 N(0.8, .02): on a line, mean 0, variance 1."""
    weights, means, variances = (
        torch.tensor(values, dtype=torch.float64)
        for values in ([0.4, 0.6], [[-1.2], [0.8]], [0.07, 0.02])
    )
    return GaussianMixture(weights, means, variances)


def _toy(kind: str = "linear", T: int = T_TOY) -> NoiseSchedule:
    """A schedule whose beta grows as T shrinks, at most 0.999; alpha_bar_T is below 1e-4."""
    if kind == "cosine":
        return NoiseSchedule.cosine(T)
    end = min(0.999, 20 / T)
    return NoiseSchedule(torch.linspace(end / 200, end, T).double())


def _draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _square(ax, limit: float = 3.2) -> None:
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="x₁", ylabel="x₂")
    ax.set_aspect("equal")


def noising(times: tuple[int, ...] = (0, 4, 12, 100), n: int = 1500) -> Picture:
    """Draws of x_t from the scaled grid of 25 Gaussians, one panel for each time."""
    law, schedule = _grid(), _toy()
    x0 = law.sample(n, torch.Generator().manual_seed(0))
    fig, (axes,) = subplots(1, len(times), width=11.5, height=3.5)
    for ax, t in zip(axes, times, strict=True):
        xt = diffusion.q_sample(schedule, x0, t, _draws(n, 2, seed=1))
        ax.plot(*xt.T.numpy(), ".", ms=2, color=DATA, alpha=0.6)
        ax.set_title(f"t = {t}")
        _square(ax)
    return Picture(
        fig,
        f"Scatter plots of {n} points at t = {', '.join(map(str, times))}: a sharp grid of 25 "
        f"clusters at t = 0 blurs and becomes one round cloud, N(0, I), at t = {times[-1]}.",
    )


def limit_by_time(loss: Tensor, floor: Tensor) -> Picture:
    """Loss of a network and the least possible loss, and their difference, for t = 1..T."""
    t = np.arange(1, len(floor) + 1)
    loss, floor = loss.detach().cpu().numpy(), floor.detach().cpu().numpy()
    fig, ((left, right),) = subplots(1, 2, width=11, height=3.9)
    left.plot(t, floor, color=EXACT, label="the least possible")
    left.plot(t, loss, "--", color=MODEL, label="the network")
    left.set(xlabel="time t, steps", ylabel="E‖ε − ε(xₜ, t)‖²", title="The loss at each time")
    left.legend(loc="upper right")
    right.semilogy(t, loss - floor, color=MODEL)
    right.set(xlabel="time t, steps", ylabel="E‖ε* − ε(xₜ, t)‖²", title="The distance to the limit")
    share = 100 * (loss - floor).mean() / floor.mean()
    return Picture(
        fig,
        f"Left: least possible loss over t, from {floor[0]:.2f} at t = 1 to {floor[-1]:.4f} at "
        f"t = {len(t)}, and the network's just above it. Right: the distance, on a log axis; on "
        f"average {share:.1f} % of the least loss.",
    )


def training(steps: list, floor: float) -> Picture:
    """Running mean of the loss over steps, beside the least loss that any network can reach."""
    loss = np.array([s.loss for s in steps])
    width = max(1, min(100, len(loss) // 4))
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    fig, ((ax,),) = subplots(width=9, height=3.1)
    ax.plot(np.arange(width, len(loss) + 1), smooth, color=MODEL, label=f"mean of {width} steps")
    ax.axhline(floor, color=EXACT, ls="--", label=f"the least possible, {floor:.4f}")
    ax.set(xlabel="step", ylabel="L_simple, per example", ylim=(0.9 * floor, 1.6 * floor))
    ax.legend(loc="upper right")
    ax.set_title(f"step {steps[-1].number}: {smooth[-1]:.4f}")
    return Picture(fig, f"Loss over {len(loss)} steps, at {smooth[-1]:.4f}, floor {floor:.4f}.")


@cache
def _default_states() -> list[diffusion.State]:
    law, schedule = _grid(), _toy()

    def best(x: Tensor, t: Tensor) -> Tensor:
        return law.best_eps(x, schedule.alpha_bar[t[0]])

    rng = torch.Generator().manual_seed(0)
    return list(diffusion.trajectory(best, schedule, (800, 2), rng=rng, dtype=torch.float64))


def stopped(states: list[diffusion.State] | None = None, t: int = 50) -> Picture:
    """Algorithm 2 stopped at t, beside draws of the exact q(x_t)."""
    states = _default_states() if states is None else states
    law, schedule = _grid(), _toy()
    found = {state.t: state.x for state in states}[t]
    exact = law.diffused(schedule.alpha_bar[t]).sample(len(found), torch.Generator().manual_seed(2))
    fig, ((left, right),) = subplots(1, 2, width=9.5, height=4.4)
    left.plot(*found.double().T.numpy(), ".", ms=3, color=MODEL)
    left.set_title(f"Algorithm 2, stopped at t = {t}")
    right.plot(*exact.T.numpy(), ".", ms=3, color=DATA)
    right.set_title(f"the forward process: q(xₜ), t = {t}")
    _square(left)
    _square(right)
    return Picture(
        fig,
        f"Two clouds of {len(found)} points at t = {t}, from the sampler and from the forward "
        f"process; standard deviations {found.std():.2f} and {exact.std():.2f}.",
    )


def chain_variance(schedule: NoiseSchedule, sigma2: Tensor, v: float, last: bool = False) -> float:
    """Variance of x_0 that the chain with the exact eps gives for data N(0, v)."""
    found, a = 1.0, schedule.alpha_bar
    for t in range(schedule.T, 0, -1):
        slope = (1 - schedule.beta[t] / (a[t] * v + 1 - a[t])) / schedule.alpha[t].sqrt()
        noise = float(sigma2[t]) if t > 1 or last else 0.0
        found = float(slope**2 * found + noise)
    return found


def floor_by_time(law: GaussianMixture, schedule: NoiseSchedule) -> Tensor:
    """E||eps - E[eps|x_t]||^2 at t = 1..T for a law on the line, by quadrature."""
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    dx = float(x[1] - x[0])
    least = []
    for a in schedule.alpha_bar[1:]:
        p = law.diffused(a).log_prob(x).exp()
        least.append(1 - (p * law.best_eps(x, a)[:, 0] ** 2).sum() * dx)
    return torch.stack(least)


def _sigma2(law: GaussianMixture, schedule: NoiseSchedule, kind: str) -> Tensor:
    if kind == "β":
        return schedule.beta
    if kind == "β̃":
        return schedule.beta_tilde
    share = schedule.beta**2 / (schedule.alpha * (1 - schedule.alpha_bar))
    return schedule.beta_tilde + share * torch.cat([torch.zeros(1), floor_by_time(law, schedule)])


@cache
def _chain(T: int, kind: str, variance: str, n: int = 20_000) -> tuple[Tensor, Tensor]:
    law, schedule = _two_modes(), _toy(kind, T)

    def best(x: Tensor, t: Tensor) -> Tensor:
        return law.best_eps(x, schedule.alpha_bar[t[0]])

    sigma2, rng = _sigma2(law, schedule, variance), torch.Generator().manual_seed(0)
    options = {"sigma2": sigma2, "rng": rng, "dtype": torch.float64}
    return diffusion.sample(best, schedule, (n, 1), **options)[:, 0], sigma2[1].sqrt()


def chain(
    T: int = 10, schedule: str = "linear", variance: str = "β", last: str = "skipped"
) -> Picture:
    """Samples of Algorithm 2 with the exact eps, the noise at t = 1 skipped or added; the data."""
    law, (x0, sd) = _two_modes(), _chain(T, schedule, variance)
    x0 = x0 if last == "skipped" else x0 + sd * _draws(len(x0), seed=1)
    edges = torch.linspace(-2.4, 1.8, 85, dtype=torch.float64)
    share = torch.histogram(x0, edges)[0] / len(x0)
    middle, width = (edges[1:] + edges[:-1]) / 2, float(edges[1] - edges[0])
    density = law.log_prob(middle[:, None]).exp()
    distance = 0.5 * float((share - density * width).abs().sum() + (1 - share.sum()))
    fig, ((ax,),) = subplots(width=9, height=3.1)
    filled = {"fill": True, "color": MODEL, "alpha": 0.55, "label": "samples"}
    ax.stairs((share / width).numpy(), edges.numpy(), **filled)
    ax.plot(middle.numpy(), density.numpy(), color=EXACT, label="data")
    ax.set(xlabel="x₀", ylabel="density", ylim=(0, 2.9), xlim=(-2.4, 1.8))
    ax.legend(loc="upper left", reverse=True)
    squared = variance if variance != "σ*" else "σ*²"
    wrong = f"wrong mass {100 * distance:.0f} %"
    ax.set_title(f"T = {T}, {schedule}, σ² = {squared}, last noise {last}: {wrong}")
    return Picture(
        fig,
        f"Histogram of samples with the exact eps, T = {T}, {schedule} schedule, variance "
        f"{variance}, last noise {last}, over the two-mode density of the data; "
        f"{100 * distance:.0f} % of the mass is in the wrong place.",
    )


def discretisation(counts: tuple[int, ...] = (5, 10, 20, 50, 100, 200), v: float = 0.25) -> Picture:
    """Variance of the samples over the number of steps, exact eps, data N(0, v)."""
    fig, ((ax,),) = subplots(width=9, height=3.6)
    found: dict[str, list[float]] = {"β": [], "β̃": []}
    for T in counts:
        schedule = _toy(T=T)
        found["β"].append(chain_variance(schedule, schedule.beta, v))
        found["β̃"].append(chain_variance(schedule, schedule.beta_tilde, v))
    for (name, values), colour in zip(found.items(), (ORANGE, BLUE), strict=True):
        ax.semilogx(counts, values, "o-", color=colour, label=f"σ² = {name}")
    ax.axhline(v, color=EXACT, ls="--", label="the data")
    ax.set(xlabel="steps T", ylabel="variance of x₀", ylim=(0, None))
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
    ax.legend(loc="lower right")
    return Picture(
        fig,
        f"Variance of x_0 over T = {counts[0]} to {counts[-1]} steps: with beta "
        f"{found['β'][0]:.3f} to {found['β'][-1]:.3f}, with beta tilde {found['β̃'][0]:.3f} to "
        f"{found['β̃'][-1]:.3f}; the data have {v}.",
    )


@cache
def _blind_samples(told: bool, n: int = 400) -> Tensor:
    """Algorithm 2 with the best eps(x, t), or the best eps(x): E[eps | x] over all t as well."""
    law, schedule = _grid(), _toy()
    a = schedule.alpha_bar[1:, None, None, None].float()  # (T, 1, 1, 1)
    means = a.sqrt() * law.means[:, 0].unique().float()  # the grid is a product of two lines of 5
    variance = a * law.variances[0].float() + 1 - a

    def blind(x: Tensor, t: Tensor) -> Tensor:
        away = x[..., None] - means  # (T, B, 2, 5)
        log_joint = -0.5 * (away**2 / variance + variance.log())
        log_p = log_joint.logsumexp(dim=3, keepdim=True)
        each = ((log_joint - log_p).exp() * away / variance).sum(dim=3)
        guess = log_p.sum(dim=(2, 3)).softmax(dim=0)  # p(t | x), (T, B)
        return (guess[:, :, None] * (1 - a[..., 0]).sqrt() * each).sum(dim=0)

    def best(x: Tensor, t: Tensor) -> Tensor:
        return law.best_eps(x.double(), schedule.alpha_bar[t[0]]).float()

    rng = torch.Generator().manual_seed(0)
    return diffusion.sample(best if told else blind, schedule, (n, 2), rng=rng).double()


def _near_a_mean(x: Tensor) -> float:
    """Share of points (N, 2), in per cent, within two standard deviations of one of 25 means."""
    distance = (x[:, None] - _grid().means).norm(dim=2).min(dim=1).values
    return 100 * float((distance < 2 * _grid().variances[0].sqrt()).double().mean())


def time_blind(told: str = "yes") -> Picture:
    """Samples with the best network that knows t, or with the best one that does not."""
    both = {answer: _blind_samples(answer == "yes") for answer in ("yes", "no")}
    found = both[told]  # the other is there before the switch is thrown
    share, data = _near_a_mean(found), 100 * (1 - np.exp(-2))
    noise = _near_a_mean(_draws(20_000, 2))
    fig, ((ax,),) = subplots(width=6.6, height=4.3)
    ax.plot(*found.T.numpy(), ".", ms=4, color=MODEL)
    _square(ax, 2.4)
    yardsticks = f"(data {data:.0f} %, N(0, I) {noise:.0f} %)"
    ax.set_title(f"told the time: {told}; within 2 sd of a mean: {share:.0f} %\n{yardsticks}")
    return Picture(
        fig,
        f"Samples of Algorithm 2; the best network is told the time: {told}. {share:.0f} % lie "
        f"within two standard deviations of one of 25 means {yardsticks}; their standard deviation "
        f"is {found.std():.2f}.",
    )
