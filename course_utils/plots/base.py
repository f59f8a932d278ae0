"""The style of every figure, and `show`: one PNG with alt text that any reader can display.

A plot function builds its axes with `subplots`, draws, and returns `Picture(figure, alt)`.
Colours are Okabe and Ito's, told apart by colour-blind readers; type is large enough for a
projector; every axis names its quantity and unit. Matplotlib is imported with the first figure.
With COURSE_FIGURES=dark in the environment the ground is dark, for a dark stage; blue is lighter.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from course_utils.explorer.pixels import DRAWING, drawn, redrawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _is_dark(asked: str) -> bool:
    """Whether the environment asks for figures on a dark ground."""
    if asked not in ("light", "dark"):
        raise ValueError(f"COURSE_FIGURES={asked!r}; legal: light, dark")
    return asked == "dark"


DARK = _is_dark(os.environ.get("COURSE_FIGURES", "").strip() or "light")
PAPER, INK, GREY = ("#111111", "#F2F2F2", "#A0A0A0") if DARK else ("#FFFFFF", "#000000", "#7A7A7A")
INK_TO_PAPER = "Greys" if DARK else "Greys_r"  # a colour map
BLUE, SKY = ("#2F96DB", "#A5DCFB") if DARK else ("#0072B2", "#56B4E9")
ORANGE, GREEN, PINK, YELLOW = "#D55E00", "#009E73", "#CC79A7", "#E69F00"
DATA, MODEL, EXACT, BOUND = BLUE, ORANGE, INK, GREEN  # one meaning per colour, in all lessons
STYLE = {
    "figure.dpi": 100,
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), PAPER),
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    "figure.constrained_layout.use": True,
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
}
PALETTE_COLOURS = 128
_figures: ContextVar[dict | None] = ContextVar("figures", default=None)


@dataclass(frozen=True)
class Picture:
    """A figure and the sentence that says what it shows, for readers who cannot see it."""

    figure: Figure
    alt: str

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise ValueError("a picture needs an alt text that says what it shows, got ''")


def subplots(
    rows: int = 1, columns: int = 1, *, width: float = 8.0, height: float = 4.0, **options: object
) -> tuple[Figure, np.ndarray]:
    """A figure of width x height inches with an array (rows, columns) of empty axes.

    Options go to `Figure.subplots`. Inside `reused_figures` the same request gets the same figure
    back, cleared and with its layout kept: a third of a redraw is spent on finding the layout.
    """
    figures, key = _figures.get(), (rows, columns, width, height, repr(options))
    if figures is not None and key in figures:
        figure, axes = figures[key]
        _clear(figure, axes)
        figure.set_layout_engine("none")  # keeps the positions of the first drawing
        return figure, axes
    figure = _new_figure()(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    if figures is not None:
        figures[key] = figure, axes
    return figure, axes


@contextlib.contextmanager
def reused_figures(figures: dict) -> Iterator[None]:
    """Let `subplots` keep its figures in `figures` between calls of a plot function."""
    token = _figures.set(figures)
    try:
        yield
    finally:
        _figures.reset(token)


def show(picture: Picture, handle: object = None, palette: bool = True) -> None:
    """Display a picture as PNG and HTML with alt text, or update a display `handle` with it."""
    from IPython.display import display

    data, metadata = bundle(picture, palette)
    if handle is None:
        display(data, metadata=metadata, raw=True)
    else:
        handle.update(data, metadata=metadata, raw=True)


def bundle(picture: Picture, palette: bool = True) -> tuple[dict[str, str], dict]:
    """The picture as MIME data and metadata.

    The HTML image is the only form whose alt text reaches JupyterLab, nbconvert and myst-nb alike.
    With `palette` the PNG has 128 colours, a third of the size: for what is stored.
    """
    with DRAWING:
        png = _palette(drawn(picture.figure)) if palette else redrawn(picture.figure)
    encoded = base64.b64encode(png).decode()
    alt = html.escape(picture.alt, quote=True)
    image = f'<img alt="{alt}" src="data:image/png;base64,{encoded}">'
    data = {"text/plain": picture.alt, "image/png": encoded, "text/html": image}
    return data, {"image/png": {"alt": picture.alt}}


@cache
def normals(n: int) -> np.ndarray:
    """The first n standard normal numbers of seed 0, drawn once: what a slider needs at each move.

    The numbers of a smaller n are the first of these.
    """
    drawn = np.random.default_rng(0).standard_normal(n)
    drawn.flags.writeable = False
    return drawn


def normal(
    x: np.ndarray, mean: float | np.ndarray = 0.0, var: float | np.ndarray = 1.0
) -> np.ndarray:
    """The density N(x; mean, var)."""
    return np.exp(-0.5 * (x - mean) ** 2 / var) / np.sqrt(2 * np.pi * var)


def tiles(ax: Axes, images: np.ndarray, columns: int, title: str = "") -> None:
    """Draw images (N, C, H, W) in [0, 1] as one sheet with `columns` per row, without axes."""
    images = np.asarray(images, dtype=float)
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    gap = 0.35 if DARK else 1.0  # black would make one image of two digits
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), gap)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + 1), (index % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    grey = channels == 1
    ax.imshow(sheet[..., 0] if grey else sheet, cmap="gray" if grey else None, vmin=0, vmax=1)
    ax.set_title(title)
    ax.set_axis_off()


@cache
def _new_figure() -> type[Figure]:
    """Matplotlib's Figure, once the course's style is set."""
    import matplotlib
    from matplotlib.figure import Figure

    cycle = matplotlib.cycler(color=[BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, INK])
    matplotlib.rcParams.update({**STYLE, "axes.prop_cycle": cycle})
    return Figure


def _clear(figure: Figure, axes: np.ndarray) -> None:
    """Empty a figure for the plot function that filled it before, which sets its axes again.

    `Axes.clear` would make all ticks and spines anew, which takes as long as many a plot.
    """
    kept = set(axes.flat)
    for extra in [ax for ax in figure.axes if ax not in kept]:  # colour bars, twins
        extra.remove()
    figure.suptitle("") if figure._suptitle else None
    figure.legends.clear()
    for ax in axes.flat:
        for artist in [*ax.lines, *ax.patches, *ax.collections, *ax.images, *ax.texts, *ax.artists]:
            artist.remove()
        ax.containers.clear()  # of bars; a legend would list them again
        ax.legend_ = None
        ax.set_title("")
        ax.set_prop_cycle(None)
        ax.relim()
        ax.autoscale()


def _palette(pixels: np.ndarray) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels).convert("RGB")
    image = image.quantize(PALETTE_COLOURS, dither=Image.Dither.NONE)
    out = io.BytesIO()
    image.save(out, format="png", optimize=True)
    return out.getvalue()
