"""Figures: every plot function draws something, says what it shows, and fits a screen."""

import base64
import importlib
import inspect
import io
import itertools
import os
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from course_utils import plots
from course_utils.explorer.pixels import drawn
from course_utils.plots import base
from course_utils.plots.base import Picture, bundle, reused_figures, subplots, tiles


def functions():
    """Public plot functions that can be called at their defaults."""
    for module in pkgutil.iter_modules(plots.__path__):
        if module.name == "base":
            continue
        loaded = importlib.import_module(f"{plots.__name__}.{module.name}")
        for name, function in inspect.getmembers(loaded, inspect.isfunction):
            ours = function.__module__ == loaded.__name__ and not name.startswith("_")
            parameters = inspect.signature(function).parameters.values()
            if ours and all(p.default is not p.empty for p in parameters):
                yield pytest.param(function, id=f"{module.name}.{name}")


def moved(function) -> list[dict]:
    """Arguments to try: the numbers beside their defaults, all, then one by one, then none."""
    default = {p.name: p.default for p in inspect.signature(function).parameters.values()}
    step = {int: lambda value: value + 1, float: lambda value: 0.9 * value}
    beside = {name: step[type(v)](v) for name, v in default.items() if type(v) in step}
    return [beside, *({name: value} for name, value in beside.items()), {}] if beside else []


def pixels(picture: Picture, palette: bool = True) -> np.ndarray:
    png = base64.b64decode(bundle(picture, palette)[0]["image/png"])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("function", list(functions()))
def test_a_plot_function_is_pure_draws_labels_and_describes(function):
    """Drawn again, and moved in a figure that is used again, it looks as when it is drawn alone."""
    picture = function()
    filled = [ax for ax in picture.figure.axes if ax.has_data() or ax.texts or ax.patches]
    assert filled, "no axes with artists"
    for ax in filled:
        if ax.axison and not ax.images and not hasattr(ax, "_colorbar"):
            assert ax.get_xlabel() or ax.get_xticklabels(), f"an axis without a name: {ax}"
    assert len(picture.alt) > 30
    shown = pixels(picture, palette=False)
    assert Image.fromarray(shown).getcolors(maxcolors=5) is None, "blank"
    assert shown.shape[1] <= 1200, "wider than a projector in presentation size"

    figures: dict = {}
    with reused_figures(figures):
        assert np.array_equal(pixels(function(), palette=False), shown), "not a pure function"
        for values in moved(function):
            pixels(function(), palette=False)
            try:
                picture = function(**values)
            except ValueError:  # beyond what the function can draw
                continue
            quick = pixels(picture, palette=False)
            break
        else:
            return  # not under a slider
    # But for the layout, which is kept: what stays from a drawing is right for the next.
    fresh = laid_out_as(picture.figure, function(**values))
    apart = np.abs(quick.astype(int) - whole(fresh)).max()
    assert apart <= 2, values  # of 255: a kept legend's edges are rounded twice


DRAW_ONE_OF_EACH_MODULE = """
from tests.test_plots import functions, pixels
modules = {}
for each in functions():
    modules.setdefault(each.id.split(".")[0], each)
for each in modules.values():
    picture = each.values[0]()
    grey = pixels(picture, palette=False).mean(axis=2)
    images = any(ax.images for ax in picture.figure.axes)
    print(each.id, grey[2, 2], 0 if images else (grey > 200).mean())
"""


def test_figures_for_a_dark_stage_stand_on_a_dark_ground():
    command = [sys.executable, "-c", DRAW_ONE_OF_EACH_MODULE]
    dark = {**os.environ, "COURSE_FIGURES": "dark"}
    done = subprocess.run(command, env=dark, capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) >= 12
    for name, corner, white in rows:
        assert float(corner) < 30 and float(white) < 0.1, name


def test_another_ground_is_refused():
    with pytest.raises(ValueError, match="COURSE_FIGURES='blue'; legal: light, dark"):
        base._is_dark("blue")


def line_to(height: float) -> Picture:
    figure, ((ax,),) = subplots(width=3, height=2)
    ax.plot([0, 1], [0, height])
    ax.set(xlabel="x", ylim=(0, 5))
    return Picture(figure, f"a line to {height}")


def test_a_reused_figure_looks_as_a_fresh_one():
    figures: dict = {}
    with reused_figures(figures):
        line_to(1.0)
        first = line_to(4.0)
        pixels(first)
        again = line_to(2.0)
    assert again.figure is first.figure and len(figures) == 1
    assert line_to(2.0).figure is not first.figure
    assert again.figure.axes[0].lines[0].get_ydata()[1] == 2.0


def laid_out_as(model, picture: Picture) -> Picture:
    for ax, same in zip(picture.figure.axes, model.axes, strict=True):
        ax.set_position(same.get_position(original=True))
    return picture


def whole(picture: Picture) -> np.ndarray:
    """The pixels as matplotlib itself draws the figure, all of it, with its axes where they are."""
    picture.figure.set_layout_engine("none")
    return drawn(picture.figure)[..., :3].copy()


def test_a_figure_is_drawn_as_matplotlib_saves_it():
    """Laid out once, not twice, and the same to the pixel."""
    one, other = plots.lesson05.three_bars(), plots.lesson05.three_bars()
    saved = io.BytesIO()
    other.figure.savefig(saved, format="png")
    expected = np.asarray(Image.open(saved).convert("RGB"))
    assert np.array_equal(drawn(one.figure)[..., :3], expected)


def test_a_quick_redraw_follows_limits_labels_and_ticks():
    figures: dict = {}
    for top, name, ticks in [(1, "x", [0, 1]), (2, "x", [0, 1]), (2, "y", [0, 1]), (2, "y", [1])]:
        with reused_figures(figures):
            figure, ((ax,),) = subplots(width=3, height=2)
            ax.plot([0, 1], [0, 1])
            ax.set(ylim=(0, top), xlabel=name, xticks=ticks, title=f"to {top}")
        picture = Picture(figure, "a line")
        assert np.array_equal(pixels(picture, palette=False), whole(picture))


def test_a_picture_needs_an_alt_text():
    with pytest.raises(ValueError, match="alt text"):
        Picture(subplots()[0], "  ")


def test_the_alt_text_is_escaped_in_the_markup():
    picture = Picture(line_to(1.0).figure, 'p(z|x) < "q"')
    assert 'alt="p(z|x) &lt; &quot;q&quot;"' in bundle(picture)[0]["text/html"]


def test_tiles_shows_every_image_once():
    _, ((ax,),) = subplots()
    images = np.stack([np.full((1, 4, 4), k / 10) for k in range(6)])
    tiles(ax, images, columns=4)
    sheet = ax.images[0].get_array()
    assert sheet.shape == (9, 19)
    assert all(np.isclose(sheet, k / 10).sum() >= 16 for k in range(6))


def test_colours_keep_apart_for_colour_blind_readers():
    """Luminance alone tells data, model, exact and bound apart (a grey projector)."""

    def luminance(colour: str) -> float:
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2

    values = sorted(luminance(c) for c in (base.EXACT, base.DATA, base.MODEL, base.BOUND))
    assert min(b - a for a, b in itertools.pairwise(values)) > 0.02
