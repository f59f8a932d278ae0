"""Widgets without a browser: controls, redraws, errors that are shown and raised, live curves."""

import ast
import asyncio
import gc
import re
import time
import weakref
from threading import Event, Lock, Thread

import ipywidgets
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from course_utils import widgets
from course_utils.explorer import pictures
from course_utils.plots import base
from course_utils.plots.base import Picture, subplots
from course_utils.widgets import Explorer, choice, live, slider
from tests.notebooks.lessons import LESSONS, code_cells, tags

HIDDEN = ipywidgets.HTML()


class Handle:
    """Stands in for IPython's display handle and keeps what it was given."""

    def __init__(self):
        self.updates = []

    def update(self, data, metadata=None, raw=False):
        self.updates.append(data)


class Page:
    """Stands in for the part in the browser and keeps what it was told."""

    def __init__(self):
        self.told = []

    def send(self, message):
        self.told.append("forget" if "forget" in message else (message["at"], message["alt"]))


def curve(mean: float = 0.5, kind: str = "line") -> Picture:
    figure, ((ax,),) = subplots(width=3, height=2)
    ax.plot([0, mean], [0, 1])
    return Picture(figure, f"a {kind} to {mean:g}")


def breaks(mean: float = 0.5) -> Picture:
    if mean > 1:
        raise RuntimeError("no picture beyond 1")
    return curve(mean)


def explorer(plot=curve, **controls):
    made = Explorer(plot, controls)
    made.handle, made.page = Handle(), Page()
    return made


def test_a_slider_starts_at_the_plots_default_and_redraws():
    made = explorer(mean=slider(0.0, 2.0, 0.1, "mean"))
    assert made.controls["mean"].value == 0.5
    made.controls["mean"].value = 1.5
    assert [data["text/plain"] for data in made.handle.updates] == ["a line to 1.5"]
    assert 'alt="a line to 1.5"' in made.handle.updates[0]["text/html"]


def test_a_given_start_wins_over_the_default():
    assert explorer(mean=slider(0.0, 2.0, 0.1, "mean", start=1.0)).controls["mean"].value == 1.0


def test_a_choice_is_one_of_its_options():
    made = explorer(kind=choice(["line", "bar"], "kind"))
    made.controls["kind"].value = "bar"
    assert made.handle.updates[-1]["text/plain"] == "a bar to 0.5"


def test_pixels_change_with_the_value():
    made = explorer(mean=slider(0.0, 2.0, 0.1, "mean"))
    for value in (0.1, 1.9):
        made.controls["mean"].value = value
    first, second = (data["image/png"] for data in made.handle.updates)
    assert first != second


def test_an_exception_in_a_redraw_is_shown_and_raised():
    made = explorer(breaks, mean=slider(0.0, 2.0, 0.1, "mean"))
    with pytest.raises(RuntimeError, match="beyond 1"):
        made.controls["mean"].value = 1.5
    shown = made.handle.updates[-1]["text/html"]
    assert "no picture beyond 1" in shown and "Traceback" in shown
    made.controls["mean"].value = 0.7
    assert made.handle.updates[-1]["text/plain"] == "a line to 0.7"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Nobody presses keys here; a busy machine takes its time, and still draws ahead."""
    for name, seconds in (("PAUSE", 0.01), ("REST", 0.02), ("QUICK", 60.0)):
        monkeypatch.setattr(pictures, name, seconds)


def moved(made: Explorer, **values) -> None:
    """Move controls inside an event loop, as a kernel does, and wait until nothing is drawn."""

    async def move():
        for name, value in values.items():
            made.controls[name].value = value
        if made.pictures.ahead is not None:
            await made.pictures.ahead

    asyncio.run(move())


class Drawn:
    """A pure plot function that keeps what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, mean: float = 0.5, kind: str = "line") -> Picture:
        self.asked.append((round(mean, 6), kind))
        return curve(mean, kind)


def test_pictures_one_step_beside_are_drawn_while_nothing_moves():
    plot = Drawn()
    made = explorer(plot, mean=slider(0.0, 1.0, 0.1, "mean"), kind=choice(["line", "bar"], "kind"))
    moved(made, mean=0.9)
    expected = [(0.9, "line"), (1.0, "line"), (0.8, "line"), (0.9, "bar")]
    assert plot.asked == expected
    for name, value in (("mean", 1.0), ("mean", 0.9), ("kind", "bar")):
        made.controls[name].value = value
    assert plot.asked == expected, "nothing was left to draw"
    assert [update["text/plain"] for update in made.handle.updates] == [
        "a line to 0.9", "a line to 1", "a line to 0.9", "a bar to 0.9",
    ]  # fmt: skip


def test_options_are_drawn_ahead_from_the_nearest_on():
    plot = Drawn()
    moved(explorer(plot, kind=choice(["line", "bar", "dots", "steps"], "kind")), kind="bar")
    assert [kind for _, kind in plot.asked] == ["bar", "dots", "line", "steps"]
    named = Drawn()
    moved(explorer(named, kind=choice([("a line", "line"), ("bars", "bar")], "kind")), kind="bar")
    assert [kind for _, kind in named.asked] == ["bar", "line"]


def test_a_slider_that_goes_down_is_drawn_ahead_down():
    plot = Drawn()
    moved(explorer(plot, mean=slider(0.0, 1.0, 0.1, "mean")), mean=0.4)
    assert plot.asked == [(0.4, "line"), (0.3, "line"), (0.5, "line")]


def test_the_control_that_moved_is_drawn_ahead_first():
    plot = Drawn()
    made = explorer(plot, mean=slider(0.0, 1.0, 0.1, "mean"), kind=choice(["line", "bar"], "kind"))
    moved(made, kind="bar")
    assert plot.asked == [(0.5, "bar"), (0.5, "line"), (0.6, "bar"), (0.4, "bar")]


def test_a_picture_drawn_ahead_is_the_picture_drawn_there():
    early, alone = (explorer(mean=slider(0.0, 1.0, 0.1, "mean")) for _ in range(2))
    moved(early, mean=0.8)
    moved(early, mean=0.9)
    alone.controls["mean"].value = 0.8  # there is no event loop here: drawn when moved
    alone.controls["mean"].value = 0.9
    assert early.handle.updates[-1] == alone.handle.updates[-1]


@pytest.fixture
def shell(monkeypatch):
    """The IPython of a notebook."""
    made = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
    for module in (pictures, widgets):
        monkeypatch.setattr(module, "the_shell", lambda: made)
    monkeypatch.setattr(widgets, "_shown", {})
    return made


def test_a_cell_that_runs_makes_pictures_anew(shell):
    """It may have trained on what the plot function reads."""
    plot = Drawn()
    made = explorer(plot, mean=slider(0.0, 1.0, 0.1, "mean"))
    moved(made, mean=0.1)
    assert plot.asked == [(0.1, "line"), (0.0, "line"), (0.2, "line")]
    shell.run_cell("pass")
    made.controls["mean"].value = 0.2
    assert plot.asked[3:] == [(0.2, "line")]


def test_the_page_is_told_of_every_picture_and_of_cells_that_run(shell):
    kinds = choice(["line", "bar"], "kind")
    made = explorer(mean=slider(0.0, 1.0, 0.1, "mean"), kind=kinds)
    moved(made, mean=0.1)
    drawn = [([0.1, 0], "a line to 0.1"), ([0.0, 0], "a line to 0"), ([0.2, 0], "a line to 0.2")]
    drawn += [([0.1, 1], "a bar to 0.1")]
    assert made.page.told == drawn, "the places of the controls: a number of a row of buttons"
    made.controls["mean"].value = 0.2
    assert made.page.told == drawn, "it has that one"
    shell.run_cell("pass")
    shell.run_cell("pass")
    assert made.page.told == [*drawn, "forget"], "once: there was nothing to forget any more"


def test_a_cell_that_runs_again_keeps_one_figure_and_its_pictures(shell):
    """As JupyterLab runs it: it tells the cell's id, and the old output is gone."""
    figures, made = weakref.WeakSet(), []

    def plot(mean: float = 0.5) -> Picture:
        picture = curve(mean)
        figures.add(picture.figure)
        return picture

    listening = len(shell.events.callbacks["post_run_cell"])
    for run in range(5):
        shell.get_parent = lambda run=run: {
            "metadata": {"cellId": "a"}, "header": {"msg_id": str(run)}
        }  # fmt: skip
        made += [widgets.explore(plot, mean=slider(0.0, 1.0, 0.1, name)) for name in "xy"]
        for explorer in made[-2:]:
            moved(explorer, mean=0.1)
    gc.collect()
    assert len(figures) == 2 and len(shell.events.callbacks["post_run_cell"]) == listening + 2
    assert [len(explorer.pictures.known) for explorer in made] == [0] * 8 + [3, 3]
    made[0].controls["mean"].value = 0.7
    assert made[0].pictures.known == {}, "it is not heard any more"


def test_a_thread_and_a_cell_never_draw_at_once(monkeypatch):
    """Matplotlib's fonts and formulas are shared."""
    inside, met = Lock(), []

    def draw(figure):
        met.append(not inside.acquire(blocking=False))
        time.sleep(0.01)
        inside.release() if not met[-1] else None
        return b""

    monkeypatch.setattr(base, "redrawn", draw)
    drawings = [Thread(target=base.bundle, args=(curve(), False)) for _ in range(4)]
    for drawing in drawings:
        drawing.start()
    for drawing in drawings:
        drawing.join()
    assert met == [False] * 4


class Held(Drawn):
    """A plot function that draws one picture only when it is let go."""

    def __init__(self, slow: float):
        super().__init__()
        self.slow, self.begun, self.go = slow, Event(), Event()

    def __call__(self, mean: float = 0.5) -> Picture:
        if mean == self.slow:
            self.begun.set()
            self.let_go = self.go.wait(10)
        return super().__call__(mean)


def held_at(plot: Held, then) -> Explorer:
    """Move to 0.1, and do something while the plot function draws the next picture ahead."""
    made = explorer(plot, mean=slider(0.0, 1.0, 0.1, "mean"))

    async def move():
        made.controls["mean"].value = 0.1
        await asyncio.to_thread(plot.begun.wait, 10)
        first = made.pictures.ahead
        then(made)
        plot.go.set()
        await asyncio.wait([first, made.pictures.ahead])

    asyncio.run(move())
    assert plot.let_go, "the event loop waited for the drawing"
    return made


def test_a_key_does_not_wait_for_the_picture_that_is_drawn_ahead():
    plot, shown = Held(slow=0.0), []

    def back(made):
        made.pictures.known[("0.2",)] = ({"text/plain": "known", "image/png": ""}, {})
        made.controls["mean"].value = 0.2
        shown.extend(update["text/plain"] for update in made.handle.updates)

    held_at(plot, back)
    assert shown == ["a line to 0.1", "known"]


def test_a_picture_that_was_being_drawn_when_a_cell_ran_is_not_kept(shell):
    plot = Held(slow=0.0)

    def run_a_cell(made):
        made.pictures.known[("0.2",)] = ({"text/plain": "old"}, {})
        shell.run_cell("pass")
        plot.go.set()
        made.controls["mean"].value = 0.2

    made = held_at(plot, run_a_cell)
    told = [alt for _, alt in made.page.told[made.page.told.index("forget") + 1 :]]
    assert told == ["a line to 0.2", "a line to 0.3", "a line to 0.1"], "nor does the page get it"
    made.controls["mean"].value = 0.0
    assert plot.asked.count((0.0, "line")) == 2, "once before the cell, once after it"
    assert made.handle.updates[1]["text/plain"] == "a line to 0.2", "nor what was known"


def test_the_page_gets_a_picture_that_a_key_came_before(shell):
    """The key ended the wait for it, not the drawing; nobody draws it again."""
    plot = Held(slow=0.0)

    def move_away(made):
        plot.go.set()
        made.controls["mean"].value = 0.5

    made = held_at(plot, move_away)
    told = [alt for _, alt in made.page.told]
    assert (0.0, "line") in plot.asked and "a line to 0" not in told
    made.controls["mean"].value = 0.0
    assert plot.asked.count((0.0, "line")) == 1
    assert made.page.told[-1] == ([0.0], "a line to 0")


def test_nothing_more_is_drawn_ahead_when_a_cell_has_run(shell):
    plot = Held(slow=0.0)
    made = held_at(plot, lambda made: shell.run_cell("pass"))
    assert plot.asked == [(0.1, "line"), (0.0, "line")]
    assert made.page.told == [([0.1], "a line to 0.1"), "forget"], "of one that is old by now"


def test_a_held_key_draws_nothing_ahead(monkeypatch):
    plot = Drawn()
    monkeypatch.setattr(pictures, "PAUSE", 0.6)
    made = explorer(plot, mean=slider(0.0, 1.0, 0.1, "mean"))

    async def hold():
        for value in (0.1, 0.2, 0.3, 0.4):
            made.controls["mean"].value = value
            await asyncio.sleep(0.02)
        await made.pictures.ahead

    asyncio.run(hold())
    assert [mean for mean, _ in plot.asked] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_what_the_next_key_is_less_likely_to_ask_for_is_drawn_later(monkeypatch):
    slept, sleep = [], asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: slept.append(seconds) or sleep(0))
    moved(explorer(Drawn(), mean=slider(0.0, 1.0, 0.1, "mean")), mean=0.1)
    assert slept == [pictures.PAUSE, pictures.REST]


def test_slow_pictures_are_not_drawn_ahead(monkeypatch):
    """A key that asks for another picture would wait for them: one is drawn at a time."""
    plot = Drawn()
    monkeypatch.setattr(pictures, "QUICK", 1e-6)
    moved(explorer(plot, mean=slider(0.0, 1.0, 0.1, "mean")), mean=0.1)
    assert plot.asked == [(0.1, "line")]


def test_an_exception_ahead_is_told_when_the_control_moves_there():
    made = explorer(breaks, mean=slider(0.0, 2.0, 0.1, "mean"))
    moved(made, mean=1.0)
    assert [update["text/plain"] for update in made.handle.updates] == ["a line to 1"]
    with pytest.raises(RuntimeError, match="beyond 1"):
        made.controls["mean"].value = 1.1


def test_only_so_many_pictures_are_kept(monkeypatch):
    monkeypatch.setattr(pictures, "KNOWN", 3)
    made = explorer(mean=slider(0.0, 1.0, 0.1, "mean"))
    for value in (0.31, 0.32, 0.33, 0.34):
        made.controls["mean"].value = value
    assert list(made.pictures.known) == [("0.32",), ("0.33",), ("0.34",)]
    made.controls["mean"].value = 0.31
    assert made.page.told[-1] == ([0.31], "a line to 0.31"), "the page has dropped it, too"


def test_a_control_without_an_argument_is_named():
    with pytest.raises(ValueError, match=r"'maen'.*legal: mean, kind"):
        explorer(maen=slider(0.0, 2.0, 0.1, "mean"))


@pytest.mark.parametrize("bad", [(2.0, 1.0, 0.1), (0.0, 1.0, 0.0), (0.0, 1.0, -0.1)])
def test_an_impossible_slider_is_refused(bad):
    with pytest.raises(ValueError, match="slider 'mean'"):
        slider(*bad, "mean")
    with pytest.raises(ValueError, match="two options"):
        choice(["line"], "kind")


def test_whole_numbers_stay_whole():
    made = slider(1, 9, 1, "K", start=3)
    assert isinstance(made.value, int) and made.description == "K"


def test_live_passes_every_record_on_and_ends_with_all_of_them(monkeypatch):
    handle, pictures = Handle(), []
    monkeypatch.setattr(widgets, "_empty_display", lambda: handle)

    def draw(records):
        pictures.append(len(records))
        return curve(float(len(records)))

    assert list(live(iter(range(5)), draw, seconds=1000.0)) == [0, 1, 2, 3, 4]
    assert pictures == [1, 5] and handle.updates[-1]["text/plain"] == "a line to 5"


def test_live_draws_what_there_is_when_interrupted(monkeypatch):
    handle = Handle()
    monkeypatch.setattr(widgets, "_empty_display", lambda: handle)

    def interrupted():
        yield from range(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(live(interrupted(), lambda records: curve(float(len(records))), seconds=1000.0))
    assert handle.updates[-1]["text/plain"] == "a line to 3"


def labels_of(source: str) -> list[str]:
    """What the controls of a widget cell are called."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [(getattr(call.func, "attr", ""), call.args) for call in calls]
    place = {"slider": 3, "choice": 1}
    return [args[place[name]].value for name, args in named if name in place]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_control_of_a_lesson_is_named_by_a_word(path):
    """A screen reader reads the label alone: z1 or q would say nothing, nor two that are equal."""
    cells = [cell for cell in code_cells(path) if "widget" in tags(cell)]
    assert cells
    for cell in cells:
        labels = labels_of(cell.source)
        assert labels and len(set(labels)) == len(labels), cell.id
        assert all(re.search(r"[^\W\d_]{3}", label) for label in labels), (cell.id, labels)


@pytest.mark.parametrize(
    "made", [slider(0.0, 1.0, 0.1, "share"), slider(1, 9, 1, "share"), choice([1, 2], "share")]
)
def test_a_control_says_its_label_and_redraws_while_it_moves(made):
    assert made.description == made.tooltip == "share"
    assert getattr(made, "continuous_update", True)


def test_the_controls_are_shown_with_their_part_in_the_page(monkeypatch):
    shown = []
    monkeypatch.setattr(widgets, "_empty_display", Handle)
    monkeypatch.setattr(ipywidgets, "VBox", lambda children: shown.append(children) or HIDDEN)
    made = Explorer(curve, {"mean": slider(0.0, 2.0, 0.1, "mean")})
    made.display()
    assert shown == [[made.controls["mean"], made.page]]
    assert made.page.controls == [made.controls["mean"]]
    assert made.page.layout.height == "0", "takes no room above the figure"


def test_a_redraw_keeps_its_figure_and_equals_a_fresh_drawing():
    made = explorer(mean=slider(0.0, 2.0, 0.1, "mean"))
    figures = set()
    for value in (0.1, 1.9, 0.1):
        made.controls["mean"].value = value
        figures.add(id(made.picture().figure))
    assert len(figures) == 1
    first, _, again = (data["image/png"] for data in made.handle.updates)
    made.controls["mean"].value = 1.0
    made.controls["mean"].value = 0.1
    assert made.handle.updates[-1]["image/png"] == again
    assert first != made.handle.updates[1]["image/png"]
