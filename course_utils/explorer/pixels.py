"""The PNG of a figure that is drawn again and again, under a slider, as fast as can be.

Figures are drawn one at a time: Matplotlib's fonts and formulas are shared, and a thread may draw
a slider's next picture while a cell draws its own.
"""

from __future__ import annotations

import struct
import zlib
from threading import RLock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

DRAWING = RLock()
LEGENDS = 16  # kept for each figure
# Of a handle in a legend: whatever of these it has decides how it looks.
LOOKS = ("color", "facecolor", "edgecolor", "linestyle", "linewidth", "marker", "markersize")
LOOKS += ("markerfacecolor", "markeredgecolor", "alpha", "hatch", "sizes")
# Of a figure, kept on itself, because they hold its axes: how it looks, pixels, axes that moved.
FRAMES = "_course_frames"
_legends: WeakKeyDictionary = WeakKeyDictionary()  # figure: {look: (rows, columns, pixels)}


def drawn(figure: Figure) -> np.ndarray:
    """The pixels (h, w, 4) of a figure, laid out and drawn once; `savefig` would do both twice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def redrawn(figure: Figure) -> bytes:
    """The PNG of a figure; a reused one is drawn once, over the frames of its last drawing.

    Four fifths of a drawing are ticks, their labels and the names of axes. They are kept as pixels;
    those of an axis that moves are drawn from then on. Half of the rest are legends: one that looks
    as before is laid over the figure as it was drawn before.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.layout_engine import PlaceHolderLayoutEngine
    from matplotlib.legend import Legend

    if not isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine):
        return _png(drawn(figure))
    canvas = figure.canvas
    canvas = canvas if isinstance(canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    shown = {part: look for ax in figure.axes for part, look in _frame(ax).items()}
    before, pixels, restless = getattr(figure, FRAMES, ({}, None, frozenset()))
    changed = {part for part in shown if shown[part] != before.get(part)} - restless
    if changed or pixels is None:
        restless |= changed if before else frozenset()
        moving = _moving(figure, restless)
        pixels = _pixels_without(canvas, moving)
    else:
        moving = _moving(figure, restless)
    setattr(figure, FRAMES, (shown, pixels, restless))
    canvas.restore_region(pixels)
    for artist in moving:
        if isinstance(artist, Legend):
            _draw_legend(artist, canvas)
        else:
            artist.draw(canvas.get_renderer())
    return _png(np.asarray(canvas.buffer_rgba()))


def _moving(figure: Figure, restless: frozenset) -> list[Artist]:
    """What is drawn anew, in order: all but backgrounds, and ticks that stay as they are."""
    found = []
    for ax in sorted(figure.axes, key=lambda ax: ax.zorder):
        kept = {ax.patch, *({ax.xaxis, ax.yaxis} - restless)}
        kept |= set() if ax.axison else {ax.xaxis, ax.yaxis, *ax.spines.values()}
        found += sorted(
            (a for a in ax.get_children() if a not in kept), key=lambda artist: artist.zorder
        )
    own = [artist for artist in figure.get_children() if artist not in {figure.patch, *figure.axes}]
    return [a for a in [*found, *sorted(own, key=lambda a: a.zorder)] if a.get_visible()]


def _frame(ax: Axes) -> dict:
    """What decides how the background of these axes and the ticks of each axis look."""
    ax.apply_aspect()
    box = ax.bbox.bounds, ax.axison, ax.get_facecolor()
    return {ax: box, ax.xaxis: _ticks(ax.xaxis), ax.yaxis: _ticks(ax.yaxis)}


def _ticks(axis: Axis) -> tuple:
    limits, places = tuple(axis.get_view_interval()), axis.get_majorticklocs()
    texts = axis.get_major_formatter().format_ticks(places)
    looks = [axis.get_visible(), axis.get_scale(), axis.get_label_text(), axis.get_tick_params()]
    return limits, tuple(places), tuple(texts), repr(looks)


def _pixels_without(canvas: FigureCanvasAgg, hidden: list[Artist]) -> object:
    """The figure of a canvas, drawn without some of its artists."""
    for artist in hidden:
        artist.set_animated(True)
    try:
        canvas.draw()
    finally:
        for artist in hidden:
            artist.set_animated(False)
    return canvas.copy_from_bbox(canvas.figure.bbox)


def _draw_legend(legend: Legend, canvas: FigureCanvasAgg) -> None:
    """Draw a legend; its pixels are kept and laid over the figure while its look stays."""
    known, look = _legends.setdefault(canvas.figure, {}), _look(legend)
    if look is None:
        return legend.draw(canvas.get_renderer())
    if look not in known:
        known[look] = _layer(legend, canvas)
        for old in list(known)[:-LEGENDS]:
            del known[old]
    rows, columns, layer = known[look]
    below = np.asarray(canvas.buffer_rgba())[rows, columns, :3]
    alpha = layer[..., 3:].astype(np.uint16)
    below[:] = (below * (255 - alpha) + layer[..., :3] * alpha + 127) // 255


def _look(legend: Legend) -> str | None:
    """What decides how a legend looks; None if its place depends on the curves ("best")."""
    if legend._loc == 0:
        return None
    texts = [(t.get_text(), t.get_color(), t.get_fontsize()) for t in legend.get_texts()]
    handles = [
        [str(getattr(handle, f"get_{name}")()) for name in LOOKS if hasattr(handle, f"get_{name}")]
        for handle in legend.legend_handles
    ]
    place = legend._loc, legend.get_bbox_to_anchor().bounds, legend._ncols, legend.get_frame_on()
    return repr([texts, legend.get_title().get_text(), handles, place])


def _layer(legend: Legend, canvas: FigureCanvasAgg) -> tuple[slice, slice, np.ndarray]:
    """A legend drawn on nothing: the rows and columns that it takes, and its pixels (h, w, 4)."""
    from matplotlib.backends.backend_agg import RendererAgg

    width, height = canvas.get_width_height()
    renderer = RendererAgg(width, height, canvas.figure.dpi)
    legend.draw(renderer)
    pixels = np.asarray(renderer.buffer_rgba())
    drawn = np.argwhere(pixels[..., 3])
    (top, left), (bottom, right) = drawn.min(axis=0), drawn.max(axis=0) + 1
    rows, columns = slice(top, bottom), slice(left, right)
    return rows, columns, pixels[rows, columns].copy()


def _png(pixels: np.ndarray) -> bytes:
    """Pixels (h, w, 4) as a PNG without alpha; twice as fast as with a filter for each row."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels[..., :3].reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
