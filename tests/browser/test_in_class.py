"""What a lecturer does in class beside stepping, on a small made-up lesson.

Notes, pages that are left out, a cell run by key, a kernel that dies behind training.
"""

import os
import re
import signal

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import expect

from course_utils.notebook.file import write
from tests.browser.jupyterlab import browser_path, page, presenting
from tests.browser.stage import (
    RUN,
    STATE,
    begin_whole,
    change_plan,
    controls_on_the_screen,
    kernels,
    move_one,
    press_until,
    quiet,
    step,
    title,
    to_the_last_slider,
)
from tests.conftest import require

pytestmark = pytest.mark.browser
MAP = """
lessons:
- id: "05"
  sections:
  - {id: "05.1", title: First, minutes: 5}
  - {id: "05.2", title: Second, minutes: 5}
playlists:
  PKU: {blocks: [["05.1", "05.2"]]}
"""
SETUP = """
import time
from pathlib import Path
from course_utils import widgets
from course_utils.plots.base import Picture, subplots
"""
TRAIN = """
Path(NAME).write_text(Path(NAME).read_text() + "trained ")
time.sleep(1.5)  # what takes longer than a second is kept
height = 2.0
"""
SLIDER = """
def line(mean: float = 0.5) -> Picture:
    figure, ((ax,),) = subplots(width=3, height=2)
    ax.plot([0, mean], [0, height])
    return Picture(figure, f"a line to {mean:g}")

widgets.explore(line, mean=widgets.slider(0.0, 1.0, 0.5, "mean"))
"""


def lesson(trained):
    """Its cells: after the side path comes code without a heading, after the exercise a section."""

    def tagged(*tags, **more):
        return {"metadata": {"tags": list(tags), **more}}

    return [
        new_markdown_cell("# 05 · Made up", **tagged(notes="SAID FIRST")),
        new_code_cell(SETUP, **tagged("setup")),
        new_markdown_cell("## 05.1 First"),
        new_code_cell("a = 1\na"),
        new_markdown_cell("### Deeper: aside", **tagged("deeper")),
        new_code_cell("aside = a + 1", **tagged("deeper")),
        new_code_cell("a + 2"),
        new_markdown_cell("### Exercise 05-e1", **tagged("exercise")),
        new_code_cell("def answer():\n    pass"),
        new_markdown_cell("## 05.2 Second"),
        new_code_cell(TRAIN.replace("NAME", repr(str(trained))), **tagged("train")),
        new_markdown_cell("Move *mean*."),
        new_code_cell(SLIDER, **tagged("widget")),
        new_markdown_cell("## The end"),
    ]


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """The page, the server, its folder, and the file where training is noted."""
    require("browser", bool(browser_path()), "Chromium is not installed")
    root, state = tmp_path_factory.mktemp("course"), tmp_path_factory.mktemp("state")
    for folder in ("assets", "notebooks"):
        (root / folder).mkdir()
    (root / "assets" / "lecture_map.yml").write_text(MAP)
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (root / "trained").write_text("")
    notebook = new_notebook(cells=lesson(root / "trained"), metadata={"kernelspec": spec})
    write(notebook, root / "notebooks" / "05_made_up.ipynb")
    with (
        presenting(state, "05", root=root) as (address, server),
        page(state / "profile") as (opened, watch),
    ):
        begin_whole(opened, address)
        yield opened, server, state, root / "trained"
        assert watch.outside == []


@pytest.fixture
def opened(stage):
    """The page, at the first step."""
    press_until(stage[0], "Shift+PageUp", "first step")
    return stage[0]


def text(opened) -> str:
    """The first line of the text on the screen; "" where there is only code."""
    return opened.evaluate(STATE)["text"][0].split("\n")[0]


def walked(opened) -> list[str]:
    """The first lines from here to the last step."""
    found = [text(opened)]
    while not opened.locator("#cp-said", has_text="last step").count():
        before = title(opened)
        opened.keyboard.press("PageDown")
        if title(opened) != before:
            found.append(text(opened))
    return found


def reload(opened) -> None:
    opened.reload()
    expect(opened.locator("#cp-time")).to_have_text(re.compile(r" of \d+ min"), timeout=RUN)
    quiet(opened)


ASIDE, EXERCISE = "Deeper: aside", "Exercise 05-e1"
ALL = ["05 · Made up", "05.1 First", ASIDE, "", EXERCISE, "05.2 Second", "Move mean.", "The end"]


def test_side_paths_and_exercises_are_left_out_with_a_key(opened):
    """What stands between them is kept; the choice outlives a reload."""
    assert walked(opened) == ALL
    for keys, left_out in ((("F6",), {ASIDE}), (("F7",), {ASIDE, EXERCISE}), (("F6",), {EXERCISE})):
        for key in keys:
            opened.keyboard.press(key)
        press_until(opened, "Shift+PageUp", "first step")
        reload(opened)
        assert walked(opened) == [one for one in ALL if one not in left_out]
    opened.keyboard.press("F7")
    press_until(opened, "Shift+PageUp", "first step")
    assert walked(opened) == ALL


def test_notes_are_in_a_window_of_their_own(opened):
    with opened.expect_popup() as popup:
        opened.keyboard.press("F8")
    expect(popup.value.locator("body")).to_contain_text("SAID FIRST")
    expect(popup.value.locator("body")).to_contain_text("Next: 05.1 First")
    assert "SAID FIRST" not in opened.locator("body").inner_text()
    popup.value.close()


def test_a_key_for_a_cell_reaches_the_one_on_the_screen(opened):
    shown = opened.locator(".jp-CodeCell:not(.cp-off)")
    for steps in (0, 3):  # the first page with code, and a later one
        for _ in range(steps):
            step(opened)
        where, prompt = title(opened), shown.first.locator(".jp-InputPrompt")
        before = prompt.text_content()
        opened.keyboard.press("Control+Enter")
        expect(prompt).not_to_have_text(before)
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"))
        assert title(opened) == where
        assert opened.locator(".jp-CodeCell.jp-mod-active:not(.cp-off)").count() == 1


def test_what_training_left_is_there_again_when_the_kernel_has_died(stage, opened):
    _, server, _, trained = stage
    to_the_last_slider(opened)
    move_one(opened)
    where = title(opened)
    os.kill(kernels(server)[0], signal.SIGKILL)
    opened.locator("#cp-said", has_text="F9").wait_for(timeout=RUN)
    opened.keyboard.press("F9")
    opened.locator("#cp-said", has_text="Back after").wait_for(timeout=RUN)
    assert title(opened) == where
    move_one(opened)
    assert trained.read_text() == "trained ", "trained once"


def test_a_stored_lesson_runs_nothing_until_f9(stage, opened):
    change_plan(stage[2], stored=True, launch="another")
    reload(opened)
    press_until(opened, "Shift+PageDown", "last step")
    assert step(opened, "PageUp")["text"][0] == "Move mean."
    assert controls_on_the_screen(opened) == []
    opened.keyboard.press("F9")
    opened.locator("#cp-said", has_text="Back after").wait_for(timeout=RUN)
    move_one(opened)
