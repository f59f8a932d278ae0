"""Figures of lesson 08, the GAN minimax: the generator's gradients and the players' dynamics."""

import numpy as np

from course_utils.plots.base import BOUND, DATA, EXACT, GREY, MODEL, PINK, Picture, show, subplots

__all__ = ["show"]

SATURATING, OTHER = PINK, BOUND  # log(1 - D), and -log D
MODES = {"simultaneous": MODEL, "alternating": BOUND}


def losses() -> Picture:
    """The two losses a generator may descend, over D(G(z))."""
    d = np.linspace(0.002, 0.998, 500)
    fig, ((ax,),) = subplots(width=9, height=3.3)
    ax.axvspan(0, 0.1, color=GREY, alpha=0.15)
    ax.plot(d, np.log(1 - d), color=SATURATING, label="log(1 - D), as in the game")
    ax.plot(d, -np.log(d), color=OTHER, label="-log D, as in practice")
    ax.text(0.11, -3.4, "shaded: young fakes,\nD is sure of them", fontsize=12)
    ax.set(xlabel="D(G(z)), what D says about a fake", ylabel="loss, nats", xlim=(0, 1))
    ax.set(ylim=(-4, 5), title="both fall; where learning starts, one much more slowly")
    ax.legend(loc="upper right")
    alt = (
        "Two falling curves over D(G(z)) from 0 to 1: log(1 - D) is flat near 0 and plunges near "
        "1; -log D is steep near 0 and flat near 1. The region near 0 is shaded."
    )
    return Picture(fig, alt)


def gradients(level: float = -3.0) -> Picture:
    """Size of both gradients in D's logit over D, on log axes; `level` is log10 of D."""
    d = np.logspace(-5, np.log10(0.9999), 400)
    now = 10.0 ** min(level, -0.0001)
    fig, ((ax,),) = subplots(width=9, height=4.2)
    ax.plot(d, d, color=SATURATING, label=f"log(1 - D): {now:.2g}")
    ax.plot(d, 1 - d, color=OTHER, label=f"-log D: {1 - now:.3g}")
    ax.plot([now] * 2, [now, 1 - now], "o", color=EXACT, ms=10)
    ax.set(xscale="log", yscale="log", xlabel="D(G(z))", ylabel="|slope in the logit|")
    ax.set(xlim=(1e-5, 1.2), ylim=(1e-5, 4), title=f"D = {now:.4g}")
    ax.legend(loc="center left", title="size of the gradient")
    alt = (
        f"Gradient size in D's logit on log axes: at D = {now:.2g} it is {now:.2g} for log(1 - D) "
        f"and {1 - now:.3g} for -log D; the two cross at D = 1/2."
    )
    return Picture(fig, alt)


def _directions(theta: np.ndarray, sd: float) -> tuple[np.ndarray, np.ndarray]:
    """Gradients in the shift theta of both losses with D* frozen, p_g = N(theta, sd^2)."""
    z = np.linspace(-8, 8, 801)
    weight = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    x = theta[:, None] + sd * z
    logit = -0.5 * x**2 + 0.5 * z**2 + np.log(sd)
    slope = -x + z / sd  # of the frozen logit, at the sample
    share = np.exp(-np.logaddexp(0, -logit))
    saturating = np.trapezoid(weight * -share * slope, z, axis=1)
    return saturating, np.trapezoid(weight * -(1 - share) * slope, z, axis=1)


def directions(theta: float = 1.5, sd: float = 0.7) -> Picture:
    """The push of both losses on the generator's shift theta, D* frozen."""
    here = np.linspace(-6, 6, 241)
    curves, now = _directions(here, sd), _directions(np.array([theta]), sd)
    fig, ((ax,),) = subplots(width=9, height=3.7)
    styles = ((SATURATING, "log(1 - D*)"), (OTHER, "-log D*"))
    for curve, value, (colour, name) in zip(curves, now, styles, strict=True):
        ax.plot(here, curve, color=colour, label=f"{name}: {value[0]:.3f}")
        ax.plot(theta, value[0], "o", color=colour, ms=10)
    ax.axhline(0, color=GREY, lw=1)
    ax.set(xlabel="shift theta of p_g (goal: 0)", ylabel="gradient in theta", ylim=(-8, 8))
    ax.set_title(f"p_g = N({theta:g}, {sd:g}²), D* frozen")
    ax.legend(loc="upper left")
    alt = (
        f"Gradient in the shift over theta from -6 to 6, sd {sd:g}: at theta = {theta:g} it is "
        f"{now[0][0]:.3f} for log(1 - D*) and {now[1][0]:.3f} for -log D*; the first dies far out."
    )
    return Picture(fig, alt)


def field() -> Picture:
    """Where both players of V(x, y) = x y want to go, from every point of the plane."""
    grid = np.linspace(-1.8, 1.8, 13)
    x, y = np.meshgrid(grid, grid)
    fig, ((ax,),) = subplots(width=6, height=4.2)
    ax.quiver(x, y, -y, x, color=GREY, angles="xy", width=0.005)
    ax.plot(0, 0, "*", color=DATA, ms=18)
    ax.plot(1, 0, "o", color=MODEL, ms=10)
    ax.set(xlabel="x, goes down in V = x y", ylabel="y, goes up", aspect="equal")
    ax.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), title="who gets to the star?")
    alt = (
        "Arrows of the game x y: they run in circles around the equilibrium (0, 0), a star; "
        "none points at it. A dot marks the start (1, 0)."
    )
    return Picture(fig, alt)


def _walk(eta: float, steps: int, mode: str) -> np.ndarray:
    path = np.empty((steps + 1, 2))
    path[0] = x, y = 1.0, 0.0
    for step in range(1, steps + 1):
        new = x - eta * y
        y = y + eta * (new if mode == "alternating" else x)
        x = new
        path[step] = x, y
    return path


def spiral(eta: float = 0.1, mode: str = "simultaneous", steps: int = 150) -> Picture:
    """Gradient steps of size eta on V = x y from (1, 0), and their distance from (0, 0)."""
    return players({mode: _walk(eta, steps, mode)}, f"step size {eta:g}")


def players(paths: dict | None = None, title: str = "step size 0.1") -> Picture:
    """Paths (n + 1, 2) of both players, by mode, and their radius over the steps."""
    paths = paths or {mode: _walk(0.1, 150, mode) for mode in MODES}
    fig, ((left, right),) = subplots(1, 2, width=10, height=4.1)
    for mode, path in paths.items():
        path = np.asarray(path, dtype=float)
        gone = np.flatnonzero(np.abs(path).max(axis=1) > 6)  # the axes end at 4
        near = path[: gone[0] + 1] if len(gone) else path
        thread = float(mode == "simultaneous")  # large alternating steps would be all chords
        left.plot(*near.T, ".-", color=MODES[mode], lw=thread, ms=4, label=mode)
        radius = np.hypot(*path.T)
        right.plot(np.clip(radius, 0, 1e6), color=MODES[mode], label=f"{mode}: {radius[-1]:.3g}")
    left.plot(0, 0, "*", color=DATA, ms=16)
    left.set(xlabel="x", ylabel="y", xlim=(-4, 4), ylim=(-4, 4), aspect="equal", title=title)
    right.set(xlabel="step", ylabel="radius", yscale="log", ylim=(0.3, 1e4))
    right.set_title("distance from the equilibrium")
    right.legend(loc="upper right", title="radius at the end")
    ends = "; ".join(
        f"{mode} steps end at radius {np.hypot(*np.asarray(path, dtype=float)[-1]):.3g}"
        for mode, path in paths.items()
    )
    return Picture(fig, f"Paths of two players around (0, 0), {title}, and their radius: {ends}.")
