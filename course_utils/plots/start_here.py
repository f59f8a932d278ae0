"""The figure of the start page: which lesson builds on which."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from course_utils.plots.base import DATA, GREY, INK, PAPER, Picture, show, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["dependency_map", "show"]

# lesson: (column, row, short title); rows count upwards
PLACES = {
    "00": (0, 2, "Toolbox"),
    "01": (1, 4, "Generative\nmodels"),
    "02": (1, 3, "Auto-\nregressive"),
    "03": (1, 2, "Flows"),
    "04": (1, 1, "Auto-\nencoders"),
    "05": (2, 1, "The ELBO"),
    "06": (3, 2, "The VAE"),
    "07": (4, 2, "VQ-VAE"),
    "08": (1, 0, "The GAN\nminimax"),
    "09": (2, 0, "Training\nGANs"),
    "10": (3, 0, "GAN zoo"),
    "11": (3.5, 3.6, "Evaluation"),
    "12": (3, 1, "HVAE to\nDDPM"),
    "13": (4, 1, "DDPM"),
    "14": (5, 2, "Scores,\nsamplers"),
    "15": (5, 1, "Guidance"),
    "16": (6, 1, "Latent\ndiffusion"),
    "17": (7, 1, "Beyond\nimages"),
    "18": (7, 3.6, "Which one\nwhen"),
}
ARROWS = (
    "00 01, 00 02, 00 03, 00 04, 04 05, 05 06, 06 07, 00 08, 08 09, 09 10, "
    "05 12, 12 13, 13 14, 13 15, 15 16, 16 17"
)
BUILT = ("00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "11", "12", "13")
WIDTH, HEIGHT = 0.72, 0.7  # of a box, in units of the grid


def dependency_map(built: Collection[str] = BUILT) -> Picture:
    """The 19 lessons as boxes, those that are `built` filled; arrows: the main lines."""
    from matplotlib.patches import FancyBboxPatch

    fig, ((ax,),) = subplots(width=11, height=5.6)
    for pair in ARROWS.split(", "):
        _arrow(ax, *pair.split())
    for lesson, (column, row, title) in PLACES.items():
        here = lesson in built
        low = column - WIDTH / 2, row - HEIGHT / 2
        face, edge = (DATA, DATA) if here else (PAPER, GREY)
        style = "round,pad=0,rounding_size=0.08"
        box = FancyBboxPatch(low, WIDTH, HEIGHT, boxstyle=style, fc=face, ec=edge, lw=1.6)
        ax.add_patch(box)
        colour = "white" if here else INK
        ax.text(column, row + 0.2, lesson, ha="center", va="center", color=colour, weight="bold")
        ax.text(column, row - 0.1, title, ha="center", va="center", color=colour, fontsize=11)
    for column, note in ((3.5, "any time after 02"), (7, "the last one")):
        ax.text(column, 3.1, note, ha="center", va="top", color=GREY)
    ax.set(xlim=(-0.5, 7.5), ylim=(-0.45, 4.45))
    ax.set_axis_off()
    arrows = ARROWS.replace(" ", " to ").replace(", to ", ", ")
    alt = (
        f"Map of the 19 lessons. Arrows: {arrows}. Lesson 11 can be read any time after 02, lesson "
        f"18 is the last. Filled boxes, ready now: {', '.join(sorted(built))}."
    )
    return Picture(fig, alt)


def _arrow(ax: Axes, tail: str, head: str) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    (x0, y0, _), (x1, y1, _) = PLACES[tail], PLACES[head]
    start, end = (x0 + WIDTH / 2, y0), (x1 - WIDTH / 2, y1)
    middle = (start[0] + end[0]) / 2
    curve = Path([start, (middle, y0), (middle, y1), end], [Path.MOVETO, *3 * [Path.CURVE4]])
    look = {"arrowstyle": "-|>", "color": GREY, "lw": 1.6, "mutation_scale": 14}
    ax.add_patch(FancyArrowPatch(path=curve, **look))
