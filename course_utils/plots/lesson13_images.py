"""Figures of lesson 13 that show images: the U-Net and its pieces, schedules on digits, sampling.

Images are (N, C, H, W) in [-1, 1], as the diffusion sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from course_utils import diffusion, unet
from course_utils.diffusion import NoiseSchedule
from course_utils.plots.base import (
    BLUE,
    EXACT,
    GREEN,
    GREY,
    INK,
    MODEL,
    ORANGE,
    PAPER,
    Picture,
    show,
    subplots,
)
from course_utils.plots.images import sheet, sheets as unit_sheets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["show"]

Model = Callable[[Tensor, Tensor], Tensor]


def _digits(n: int) -> Tensor:
    from course_utils.data import digits

    return 2 * digits().test[:n] - 1


def _sheet(
    ax: Axes, images: Tensor, columns: int, title: str = "", above: Sequence[str] = ()
) -> None:
    sheet(ax, (images + 1) / 2, columns, title, above)  # images in [-1, 1]


def _eps(shape: Sequence[int], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sheets(
    named: dict[str, Tensor] | None = None,
    columns: int = 8,
    width: float = 10.0,
    height: float = 3.4,
) -> Picture:
    """Sheets of images in [-1, 1] side by side, each under its name; by default real digits."""
    named = {"digits, scaled to [-1, 1]": _digits(32)} if named is None else named
    scaled = {name: (images + 1) / 2 for name, images in named.items()}
    return unit_sheets(scaled, columns, width, height)


def noised_digits(times: Sequence[int] = (0, 50, 150, 300, 500, 700, 850, 1000)) -> Picture:
    """The same digits with the same noise at several t of 1000, for two schedules."""
    x0 = _digits(2)
    fig, axes = subplots(2, 1, width=10.5, height=4.1)
    named = {"linear": NoiseSchedule.linear(1000), "cosine": NoiseSchedule.cosine(1000)}
    for ax, (name, schedule) in zip(axes[:, 0], named.items(), strict=True):
        rows = [
            diffusion.q_sample(schedule, x0[k : k + 1], t, _eps((1, 1, 8, 8), k))
            for k in range(2)
            for t in times
        ]
        above = [f"t = {times[0]}", *map(str, times[1:])]
        _sheet(ax, torch.cat(rows), len(times), f"{name}, T = 1000", above)
    return Picture(
        fig,
        f"Two digits with growing noise at t = {', '.join(map(str, times))}. Under the linear "
        f"schedule nothing can be seen from t = 500 on, under the cosine one until about 700.",
    )


def schedules(T: int = 1000) -> Picture:
    """The share of signal alpha_bar and the log SNR over t, linear and cosine."""
    scale = 1000 / T
    named = {
        "linear": (NoiseSchedule.linear(T, 1e-4 * scale, min(0.999, 0.02 * scale)), BLUE),
        "cosine": (NoiseSchedule.cosine(T), ORANGE),
    }
    fig, ((left, right),) = subplots(1, 2, width=11, height=3.9)
    for name, (schedule, colour) in named.items():
        t = np.arange(T + 1)
        left.plot(t, schedule.alpha_bar.numpy(), color=colour, label=name)
        right.plot(t[1:], schedule.snr[1:].log().numpy(), color=colour, label=name)
    left.set(xlabel="time t, steps", ylabel="ᾱₜ, share of the variance", title="What is left of x₀")
    right.set(xlabel="time t, steps", ylabel="log SNR, nats", title="Signal to noise")
    right.axhline(0, color=GREY, lw=1)
    left.legend(loc="upper right")
    half = {name: int((s.alpha_bar > 0.5).sum()) for name, (s, _) in named.items()}
    return Picture(
        fig,
        f"Left: alpha bar over t = 0 to {T}, falling from 1 to 0; it passes one half at "
        f"t = {half['linear']} (linear) and t = {half['cosine']} (cosine). Right: log SNR.",
    )


def variances(
    schedule: NoiseSchedule, star: Tensor, learned: Tensor | None = None, first: int = 2
) -> Picture:
    """Candidates for sigma_t^2 over t, as shares of beta_t, from t = `first` on."""
    t, at = np.arange(first, schedule.T + 1), slice(first, None)
    fig, ((ax,),) = subplots(width=9, height=4)
    ax.axhline(1, color=ORANGE, label="β")
    ax.plot(t, (schedule.beta_tilde / schedule.beta)[at].numpy(), color=BLUE, label="β̃")
    ax.plot(t, (star / schedule.beta)[at].numpy(), color=EXACT, label="the best, σ*²")
    if learned is not None:
        ax.plot(t, (learned / schedule.beta)[at].numpy(), "o", color=GREEN, ms=6, label="learned")
    ax.set(xlabel="time t, steps", ylabel="variance / βₜ", ylim=(0, 1.08))
    ax.set_xticks(t[:: max(1, len(t) // 10)])
    ax.legend(loc="lower right")
    share = (star / schedule.beta)[at]
    return Picture(
        fig,
        f"Reverse variances as shares of beta for t = {first} to {schedule.T}: beta tilde lowest, "
        f"the best in between, from {share[0]:.2f} to {share[-1]:.2f}"
        + ("." if learned is None else "; dots of the learned one follow the best."),
    )


def unet_map(side: int = 16) -> Picture:
    """The U-Net as boxes: sides halve on the way down, skips cross to the way up."""
    fig, ((ax,),) = subplots(width=10.5, height=3.9)
    sides = (side, side // 2, side // 4)
    for level, size in enumerate(sides):
        y, half = -level, 0.75 - 0.12 * level
        for x, way in ((level * 1.1, "down"), (7.6 - level * 1.1, "up")):
            colour = BLUE if way == "down" else ORANGE
            box = {"boxstyle": "round,pad=0.35", "fc": PAPER, "ec": colour, "lw": 2}
            ax.text(x, y, f"block\n{size}×{size}", ha="center", va="center", bbox=box, fontsize=12)
        arrow = {"arrowstyle": "->", "color": GREY, "lw": 1.8}
        start, end = level * 1.1 + half, 7.6 - level * 1.1 - half
        if level < 2:
            ax.annotate("", (end, y), (start, y), arrowprops={**arrow, "ls": "--"})
            ax.text(3.8, y + 0.08, "skip: fine detail", ha="center", color=GREY, fontsize=12)
            down, up = (level * 1.1 + 0.25, y - 0.32), (7.6 - level * 1.1 - 0.85, y - 0.68)
            ax.annotate("", (down[0] + 0.6, down[1] - 0.36), down, arrowprops=arrow)
            ax.annotate("", (up[0] + 0.6, up[1] + 0.36), up, arrowprops=arrow)
    box = {"boxstyle": "round,pad=0.4", "fc": PAPER, "ec": GREEN, "lw": 2}
    ax.text(
        3.8, -2, "attention, dense\nall pixels", ha="center", va="center", bbox=box, fontsize=12
    )
    ax.annotate("", (2.95, -2), (2.67, -2), arrowprops=arrow)
    ax.annotate("", (4.93, -2), (4.65, -2), arrowprops=arrow)
    around = {**arrow, "ls": "--", "connectionstyle": "arc3,rad=-0.25"}  # a skip at this scale, too
    ax.annotate("", (5.2, -1.68), (2.4, -1.68), arrowprops=around)
    note = "t → waves → perceptron → e, given to every block"
    ax.text(3.8, -2.75, note, ha="center", color=INK, fontsize=13)
    ax.text(-0.95, 0, "xₜ →", ha="center", va="center", fontsize=14)
    ax.text(8.5, 0, "→ ε", ha="center", va="center", fontsize=14)
    ax.set(xlim=(-1.3, 8.9), ylim=(-3, 0.55))
    ax.set_axis_off()
    return Picture(
        fig,
        f"A U of boxes: blocks at {sides[0]}, {sides[1]} and {sides[2]} pixels a side going down "
        f"on the left, attention and a dense layer at the bottom, blocks going up on the right; "
        f"dashed arrows carry fine detail across at every scale; the code of the time enters "
        f"every block.",
    )


def codes(dim: int = 32, T: int = 100) -> Picture:
    """Sinusoidal and random Fourier codes of t, and how alike the codes of two times are."""
    t = torch.arange(T + 1)
    fourier = unet.FourierFeatures(dim, T, rng=torch.Generator().manual_seed(3))(t)
    named = {"sinusoidal": unet.time_embedding(t, dim), "random Fourier": fourier}
    fig, (axes,) = subplots(1, 3, width=11.5, height=3.5)
    middle = T // 2
    for ax, (name, code) in zip(axes, named.items(), strict=False):
        ax.imshow(code.T.numpy(), aspect="auto", cmap="RdBu", vmin=-1, vmax=1)
        ax.set(xlabel="time t, steps", ylabel="feature", title=name)
    for (name, code), colour in zip(named.items(), (BLUE, ORANGE), strict=True):
        axes[2].plot(t.numpy(), (code @ code[middle] / (dim / 2)).numpy(), color=colour, label=name)
    axes[2].set(xlabel="time t, steps", ylabel="cosine of the angle", ylim=(-0.7, 1.45))
    axes[2].set_title(f"likeness to t = {middle}")
    axes[2].legend(loc="upper right", fontsize=11)
    return Picture(
        fig,
        f"Two heat maps of {dim} features over t = 0 to {T}, waves of many lengths, and a curve of "
        f"how alike each code is to that of t = {middle}: 1 there, lower away from it.",
    )


def _reach(net: Callable[[Tensor], Tensor], size: int = 16) -> Tensor:
    """How the output at the centre depends on each input pixel: |gradient|, (size, size)."""
    x = _eps((1, 1, size, size)).requires_grad_()
    (slope,) = torch.autograd.grad(net(x)[0, 0, size // 2, size // 2], x)
    return slope[0, 0].abs()


@cache
def _reaches() -> dict[str, Tensor]:
    with torch.device("meta"):  # takes nothing from torch's global generator
        layers = [nn.Conv2d(1 if k == 0 else 8, 8 if k < 3 else 1, 3, padding=1) for k in range(4)]
        nets = nn.Sequential(*layers), unet.UNet((1, 16, 16), width=16, multipliers=(1, 2, 2))
    for net in nets:
        rng = torch.Generator().manual_seed(0)
        for parameter in net.to_empty(device="cpu").parameters():
            nn.init.normal_(parameter, std=0.1, generator=rng)
    stack, whole = nets
    named = {"4 convolutions, 3×3": _reach(stack)}
    named["U-Net, 3 scales, attention"] = _reach(lambda x: whole(x, torch.tensor([3])))
    return named


def reach() -> Picture:
    """Which input pixels one output pixel depends on: four convolutions against a U-Net."""
    fig, (axes,) = subplots(1, 2, width=9, height=4.2)
    seen = {}
    for ax, (name, slope) in zip(axes, _reaches().items(), strict=True):
        seen[name] = int((slope > 0).sum())
        ax.imshow(
            (slope / slope.max()).clamp(min=1e-7).log10().numpy(), vmin=-7, vmax=0, cmap="magma"
        )
        ax.set_title(f"{name}: {seen[name]} of 256")
        ax.set_axis_off()
    each = "; ".join(f"{name}: {count} of 256 pixels" for name, count in seen.items())
    return Picture(fig, f"Maps of the input pixels that the centre output depends on. {each}.")


def curve(steps: Sequence, draw: Callable[[], Tensor] | None = None, zero: float = 64.0) -> Picture:
    """Loss over steps on the left; on the right what the network draws by now."""
    loss = np.array([s.loss for s in steps])
    width = max(1, min(40, len(loss) // 4))
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    fig, ((left, right),) = subplots(1, 2, width=11, height=3.5, width_ratios=[3, 2])
    left.plot(np.arange(width, len(loss) + 1), smooth, color=MODEL)
    left.axhline(zero, color=GREY, ls="--", label='answering "0"')
    left.set(xlabel="step", ylabel="L_simple, per image", ylim=(0, 1.15 * zero))
    left.set_title(f"step {len(loss)}: {smooth[-1]:.1f}")
    left.legend(loc="center right")
    if draw is None:
        right.set_axis_off()
    else:
        _sheet(right, draw(), 6, f"samples after step {len(loss)}")
    return Picture(fig, f"Loss over {len(loss)} steps, now {smooth[-1]:.1f}; samples beside it.")


def film(
    states: Sequence[diffusion.State], guesses: Sequence[Tensor], t: int = 0, columns: int = 8
) -> Picture:
    """The sampler stopped at t: the noisy state, and the image it expects at the end."""
    at = [state.t for state in states].index(t)
    fig, ((left, right),) = subplots(1, 2, width=11, height=4.2)
    _sheet(left, states[at].x, columns, f"state, {t} steps to go")
    _sheet(right, guesses[at], columns, "the x₀ that it expects now")
    return Picture(
        fig, f"{len(guesses[at])} samples with {t} steps to go, and the images expected at the end."
    )


def strip(states: Sequence[diffusion.State], guesses: Sequence[Tensor], count: int = 9) -> Picture:
    """A film strip: one sample from noise to image, states above, expected images below."""
    picked = np.linspace(0, len(states) - 1, count).round().astype(int)
    go = [f"{states[k].t} to go" for k in picked]
    fig, axes = subplots(2, 1, width=10.5, height=3.3)
    _sheet(axes[0, 0], torch.stack([states[k].x[0] for k in picked]), count, "the state xₜ", go)
    _sheet(axes[1, 0], torch.stack([guesses[k][0] for k in picked]), count, "the expected x₀")
    return Picture(fig, f"Film strip of one sample, {', '.join(go)}: noise becomes an image.")


def frozen(model: Model, schedule: NoiseSchedule, x0: Tensor, t: int = 300) -> Picture:
    """Real images noised to time t, and the network's E[x_0 | x_t] in one step."""
    xt = diffusion.q_sample(schedule, x0, t, _eps(x0.shape, 5))
    with torch.no_grad():
        output = model(xt, torch.full((len(x0),), t))
    guess = diffusion.predict_x0(schedule, xt, t, output[:, : x0.shape[1]]).clamp(-1, 1)
    fig, (axes,) = subplots(1, 3, width=11.5, height=4.2)
    for ax, images, name in zip(
        axes, (x0, xt, guess), ("real", f"noised to t = {t}", "denoised in one step"), strict=True
    ):
        _sheet(ax, images, 4, name)
    error = float((guess - x0).square().flatten(1).sum(dim=1).mean())
    return Picture(
        fig, f"{len(x0)} digits, the same at t = {t}, and denoised; squared error {error:.1f}."
    )
