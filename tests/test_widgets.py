"""Widgets without a browser: controls, redraws, errors that are shown and raised, live curves."""

import pytest

from course_utils import widgets
from course_utils.plots.base import Picture, subplots
from course_utils.widgets import Explorer, choice, live, slider


class Handle:
    """Stands in for IPython's display handle and keeps what it was given."""

    def __init__(self):
        self.updates = []

    def update(self, data, metadata=None, raw=False):
        self.updates.append(data)


def curve(mean: float = 0.5, kind: str = "line") -> Picture:
    figure, ((ax,),) = subplots(width=3, height=2)
    ax.plot([0, mean], [0, 1])
    return Picture(figure, f"a {kind} to {mean:g}")


def explorer(plot=curve, **controls):
    made = Explorer(plot, controls)
    made.handle = Handle()
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
    def breaks(mean: float = 0.5) -> Picture:
        if mean > 1:
            raise RuntimeError("no picture beyond 1")
        return curve(mean)

    made = explorer(breaks, mean=slider(0.0, 2.0, 0.1, "mean"))
    with pytest.raises(RuntimeError, match="beyond 1"):
        made.controls["mean"].value = 1.5
    shown = made.handle.updates[-1]["text/html"]
    assert "no picture beyond 1" in shown and "Traceback" in shown
    made.controls["mean"].value = 0.7
    assert made.handle.updates[-1]["text/plain"] == "a line to 0.7"


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
