"""Figures of lesson 02 on masks: what a pixel sees, and when each pixel can be computed."""

import numpy as np

from course_utils.plots.base import GREY, MODEL, PINK, Picture, show, subplots

__all__ = ["show"]


def _paths(first: str = "A", size: int = 3, depth: int = 5, side: int = 17) -> np.ndarray:
    """(side, side): numbers of paths from each input pixel to the output in the middle.

    Layers of masked kernels of ones: mask `first`, then `depth - 1` times mask B.
    """
    field = np.zeros((side, side))
    field[side // 2, side // 2] = 1
    half = size // 2
    for layer in range(depth):  # from the output back to the input
        kind = first if layer == depth - 1 else "B"
        spread = np.zeros_like(field)
        for row in range(-half, 1):
            for column in range(-half, half + 1):
                if row == 0 and column >= (kind == "B"):
                    continue
                spread += _moved(field, row, column)
        field = spread
    return field


def _moved(field: np.ndarray, row: int, column: int) -> np.ndarray:
    """The field moved, without coming in again on the other side."""
    moved = np.roll(field, (row, column), axis=(0, 1))
    if row < 0:
        moved[row:] = 0
    if column:
        moved[:, slice(None, column) if column > 0 else slice(column, None)] = 0
    return moved


def _draw(ax, seen: np.ndarray, past: np.ndarray, middle: tuple[int, int], title: str) -> None:
    """Blue what is seen, pink what is past and not seen, grey the rest."""
    colours = np.full((*seen.shape, 3), 0.87)
    colours[past] = [0.8, 0.47, 0.65]
    colours[seen] = [0.0, 0.45, 0.70]
    ax.imshow(colours)
    ax.set_xticks(np.arange(-0.5, seen.shape[1]), labels=[], minor=False)
    ax.set_yticks(np.arange(-0.5, seen.shape[0]), labels=[], minor=False)
    ax.grid(color="white", lw=0.8)
    ax.tick_params(length=0)
    ax.plot(*middle[::-1], "*", color=MODEL, ms=15)
    ax.set_title(title)
    ax.set_xlabel("column")
    ax.set_ylabel("row")


def field(first: str = "A", size: int = 3, depth: int = 5) -> Picture:
    """What the pixel in the middle sees through `depth` masked layers, and what it misses."""
    side = 2 * depth * (size // 2) + 1
    seen, middle = _paths(first, size, depth, side) > 0, side // 2
    past = (np.arange(side * side) < side * side // 2).reshape(side, side)
    fig, ((ax,),) = subplots(width=6.5, height=4.6)
    itself = seen[middle, middle]
    count, of = int((seen & past).sum()), int(past.sum())
    sees = ", AND ITSELF" if itself else ""
    _draw(ax, seen, past, (middle, middle), f"sees {count} of {of} past pixels{sees}")
    alt = (
        f"A grid of {side} by {side} pixels, a star in the middle. Through {depth} layers of "
        f"kernels of side {size}, the first of kind {first}, it sees {count} of {of} earlier "
        "pixels (blue); the others (pink) are blind, in a wedge at the upper right."
    )
    return Picture(fig, alt)


def schedules(side: int = 8) -> Picture:
    """The step in which each pixel's state can be computed: raster RNN, rows, diagonals, CNN."""
    rows, columns = np.indices((side, side))
    tables = {
        "RNN, raster": rows * side + columns,
        "Row LSTM": rows,
        "Diagonal LSTM": rows + columns,
        "masked conv.": 0 * rows,
    }
    fig, (axes,) = subplots(1, 4, width=11, height=3.2)
    for ax, (name, table) in zip(axes, tables.items(), strict=True):
        ax.imshow(table / max(1, table.max()), cmap="viridis", vmin=0, vmax=1)
        steps = int(table.max()) + 1
        ax.set_title(f"{name}\n{steps} step{'s' if steps > 1 else ''}")
        ax.set_axis_off()
    counts = ", ".join(f"{name} {int(t.max()) + 1}" for name, t in tables.items())
    return Picture(fig, f"{side} by {side} pixels, coloured by step while training: {counts}.")


def raster(side: int = 6, at: int = 20) -> Picture:
    """Pixels in raster order: those before pixel `at` are given, the others are to come."""
    fig, ((ax,),) = subplots(width=6, height=3.8)
    numbers = np.arange(side * side).reshape(side, side)
    ax.imshow(np.where(numbers < at, 0.55, 0.95), cmap="gray", vmin=0, vmax=1)
    for (row, column), number in np.ndenumerate(numbers):
        ax.text(column, row, number + 1, ha="center", va="center", color="black", fontsize=11)
    ax.plot(at % side, at // side, "s", ms=27, mfc="none", mec=PINK, mew=3)
    ax.set_title(f"pixel {at + 1} given pixels 1 to {at}", color=GREY)
    ax.set_axis_off()
    return Picture(fig, f"A grid numbered row by row; pixels 1 to {at} are dark, the past.")
