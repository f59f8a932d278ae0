"""`explore`: a pure plot function becomes sliders above a figure that redraws at once.

`live` draws a figure again and again while a model trains. Both leave a plain picture in the
stored notebook.
"""

from __future__ import annotations

import functools
import html
import inspect
import math
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.explorer.pictures import Mime, Pictures, the_shell
from course_utils.plots.base import Picture, bundle, reused_figures, show

if TYPE_CHECKING:  # slow imports, made where they are used
    import ipywidgets

LABEL = {"description_width": "16em"}
WIDE = {"width": "56em", "max_width": "100%"}  # a track that a step of the slider can be seen on
NOTE = "Run this cell to move the sliders."
_shown: dict[str, tuple[str, list[Explorer]]] = {}  # by cell: the run that made them, and they


def slider(
    low: float, high: float, step: float, label: str, start: float | None = None
) -> ipywidgets.Widget:
    """A labelled slider from `low` to `high`; whole numbers if all three are.

    It starts at the plot function's default unless `start` is given.

    Raises:
        ValueError: an empty range, a step that is not positive, a start outside the range.
    """
    import ipywidgets

    if not (low < high and step > 0 and (start is None or low <= start <= high)):
        raise ValueError(f"slider {label!r}: low {low}, high {high}, step {step}, start {start}")
    whole = all(isinstance(number, int) for number in (low, high, step))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    made = kind(
        value=low if start is None else start,
        min=low,
        max=high,
        step=step,
        description=label,
        tooltip=label,
        style=LABEL,
        layout=WIDE,
        **({} if whole else {"readout_format": ".3g"}),
    )
    made.starts_at_default = start is None
    return made


def choice(options: list, label: str) -> ipywidgets.Widget:
    """A labelled row of buttons, one per option; starts at the plot function's default.

    Raises:
        ValueError: fewer than two options.
    """
    import ipywidgets

    if len(options) < 2:
        raise ValueError(f"choice {label!r} needs two options or more, got {options}")
    row = {"display": "flex"}  # the label beside its buttons, as a slider has it
    width = 3 + 0.6 * max(len(str(option)) for option in options)  # of a button: all in one row
    style = {**LABEL, "button_width": f"{width:.2g}em"}
    made = ipywidgets.ToggleButtons(options=options, description=label, style=style, layout=row)
    made.tooltip = label
    made.starts_at_default = True
    return made


def explore(plot: Callable[..., Picture], **controls: ipywidgets.Widget) -> Explorer:
    """Show `controls` above the picture that `plot` makes of their values; redraw on each move.

    Args:
        plot: a pure function of keyword arguments that returns a `Picture`. Pictures are kept: one
            of random numbers must seed its own generator. A cell that runs makes them anew.
        controls: a `slider` or `choice` per argument that the reader may move.

    Raises:
        ValueError: a control that `plot` has no argument for.
    """
    explorer = Explorer(plot, controls)
    _close_earlier(explorer)
    explorer.display()
    return explorer


def _close_earlier(explorer: Explorer) -> None:
    """Close what an earlier run of this cell has shown: its output is gone, its figure stays."""
    parent = getattr(the_shell(), "get_parent", dict)()
    cell = parent.get("metadata", {}).get("cellId")  # JupyterLab and VS Code tell it
    if cell is None:
        return
    run = parent["header"]["msg_id"]
    before, explorers = _shown.get(cell, (run, []))
    if before != run:
        for earlier in explorers:
            earlier.close()
        explorers = []
    _shown[cell] = run, [*explorers, explorer]


class Explorer:
    """The controls and the figure of one `explore` call.

    The plot function is pure, so that its pictures can be kept, and those that the next key may ask
    for be drawn while nobody moves a control.
    """

    def __init__(self, plot: Callable[..., Picture], controls: dict[str, Any]) -> None:
        self.plot, self.controls = plot, controls
        self.figures: dict = {}
        self.handle: Any = None
        self.page: Any = None
        self.box: Any = None
        self.pictures = Pictures(self._drawn, self._tell_page)
        arguments = inspect.signature(plot).parameters
        for name, control in controls.items():
            if name not in arguments:
                raise ValueError(f"no argument {name!r} in the plot; legal: {', '.join(arguments)}")
            if getattr(control, "starts_at_default", False):
                control.value = arguments[name].default
            control.observe(self.redraw, names="value")

    def picture(self) -> Picture:
        """The picture at the present values."""
        return self._picture(self._values())

    def display(self) -> None:
        """Show the controls, and the first picture below them."""
        import ipywidgets
        from IPython.display import display

        controls = list(self.controls.values())
        self.page = _page_part()(controls=controls, layout={"height": "0", "margin": "0"})
        self.box = ipywidgets.VBox([*controls, self.page])
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        data = {"text/plain": NOTE, "application/vnd.jupyter.widget-view+json": view}
        display(data, raw=True)
        self.handle = _empty_display()
        self.redraw()

    def redraw(self, change: Any = None) -> None:
        """Draw again; an exception is shown where the figure was, and raised."""
        try:
            data, metadata = bundle(self.picture()) if change is None else self._moved(change)
        except Exception:
            self._show_error(traceback.format_exc())
            raise
        if self.handle is not None:
            self.handle.update(data, metadata=metadata, raw=True)

    def close(self) -> None:
        """Let go of figure and pictures, here and in the page; the controls stay, unheard."""
        for control in self.controls.values():
            control.unobserve(self.redraw, names="value")
        self.pictures.close()
        self.figures.clear()
        for part in (self.box, self.page):
            if part is not None:
                part.close()
        self.box = self.page = self.handle = None

    def _values(self) -> dict:
        return {name: control.value for name, control in self.controls.items()}

    def _picture(self, values: dict) -> Picture:
        with reused_figures(self.figures):
            return self.plot(**values)

    def _drawn(self, values: dict) -> Mime:
        return bundle(self._picture(values), palette=False)

    def _moved(self, change: Any) -> Mime:
        """The picture where the controls stand now; those of the next key follow."""
        values = self._values()
        return self.pictures.at(values, list(self._beside(values, change)))

    def _beside(self, values: dict, change: Any) -> Iterator[dict]:
        """The values that the next key may lead to, in the direction of the last one first."""
        controls = sorted(self.controls.items(), key=lambda item: item[1] is not change.owner)
        for name, control in controls:
            for value in _next_to(control, change.old if control is change.owner else values[name]):
                yield {**values, name: value}

    def _tell_page(self, values: dict | None, picture: Mime | None) -> None:
        """Let the page show this picture by itself when the controls move there; None: forget."""
        if self.page is None:
            return
        if values is None:
            self.page.send({"forget": True})
            return
        places = [_place(control, values[name]) for name, control in self.controls.items()]
        data, _ = picture
        self.page.send({"at": places, "alt": data["text/plain"], "png": data["image/png"]})

    def _ipython_display_(self) -> None:
        """Nothing: `explore` has displayed it already."""

    def _show_error(self, text: str) -> None:
        if self.handle is not None:
            markup = f'<pre style="color: #B00020">{html.escape(text)}</pre>'
            self.handle.update({"text/plain": text, "text/html": markup}, raw=True)


@functools.cache
def _page_part() -> type:
    """The widget of no height that runs explorer.js beside the controls."""
    import anywidget
    import ipywidgets
    import traitlets

    class PagePart(anywidget.AnyWidget):
        _esm = Path(__file__).parent / "explorer" / "explorer.js"
        controls = traitlets.List().tag(sync=True, **ipywidgets.widget_serialization)

    return PagePart


def live(steps: Iterator, draw: Callable[[list], Picture], seconds: float = 1.0) -> Iterator:
    """Pass on the records of `steps`; redraw `draw(records so far)` at most every `seconds`.

        for step in live(fit(...), curve): pass

    The last picture, of all records, is what the stored notebook shows.
    """
    handle, figures, seen, drawn = None, {}, [], -math.inf
    try:
        for step in steps:
            seen.append(step)
            yield step
            if time.monotonic() - drawn >= seconds:
                handle, drawn = _draw(draw, seen, handle, figures), time.monotonic()
    finally:
        if seen:
            _draw(draw, seen, handle, figures, palette=True)


def _draw(
    draw: Callable[[list], Picture], seen: list, handle: Any, figures: dict, palette: bool = False
) -> Any:
    handle = handle or _empty_display()
    with reused_figures(figures):
        show(draw(seen), handle, palette=palette)
    return handle


def _next_to(control: Any, before: Any) -> list:
    """The values one step off a slider's, or all of a row of buttons: the likeliest first."""
    if hasattr(control, "options"):
        values, old = _options(control), _place(control, before)
        places = range(len(values))
        near = sorted(places, key=lambda place: (abs(place - control.index), -abs(place - old)))
        return [values[place] for place in near]
    values = [round(control.value + step, 9) for step in (control.step, -control.step)]
    values.sort(key=lambda value: -abs(value - before))
    return [value for value in values if control.min <= value <= control.max]


def _options(control: Any) -> list:
    """What a row of buttons can stand at."""
    return [one[1] if isinstance(one, tuple) else one for one in control.options]


def _place(control: Any, value: Any) -> Any:
    """What the page knows a value by: its number in a row of buttons, else the value itself."""
    return _options(control).index(value) if hasattr(control, "options") else value


def _empty_display() -> Any:
    """The handle of a new, empty output of this cell."""
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)
