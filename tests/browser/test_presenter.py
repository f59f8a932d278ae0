"""A lecturer at a projector of 1280 x 720: steps by keyboard, a slider, a reload, a dead kernel."""

import os
import re
import signal
import subprocess

import pytest
from playwright.sync_api import Page, expect

from tests.browser.jupyterlab import browser_path, page, presenting
from tests.conftest import require
from tests.notebooks.lessons import ROOT, read

pytestmark = pytest.mark.browser
LESSON = ROOT / "notebooks" / "05_elbo.ipynb"
# What is on the screen: the cells in view, how far it is scrolled, and what sticks out of it.
STATE = """() => {
  const cells = [...document.querySelectorAll('.jp-Notebook .jp-Cell')].filter(c => c.offsetHeight);
  const outer = cells[0].closest('.jp-WindowedPanel-outer') ?? cells[0].closest('.jp-Notebook');
  const edge = outer.getBoundingClientRect().left + outer.clientWidth + 1;
  const wide = cells.flatMap(cell => [...cell.querySelectorAll(
      'img, mjx-container, pre, table, p, li, .cm-line, .jupyter-widgets')])
    .filter(node => node.offsetHeight && node.getBoundingClientRect().right > edge);
  const tall = [...outer.querySelectorAll('img')].filter(i => i.offsetHeight > innerHeight - 34);
  return {
    text: cells.map(cell => cell.querySelector('.jp-RenderedMarkdown')?.innerText ?? ''),
    count: cells.length,
    scrolled: outer.scrollTop,
    sideways: outer.scrollWidth - outer.clientWidth,
    wide: wide.map(node => node.outerHTML.slice(0, 200)),
    tall: tall.length,
    plumbing: cells.filter(cell => /plot\\.show|widgets\\.explore/.test(
      cell.querySelector('.cm-content')?.offsetHeight ? cell.innerText : '')).length,
    furniture: ['.jp-NotebookPanel-toolbar', '#jp-top-panel', '.jp-SideBar', '.jp-InputPrompt',
      '#jp-main-statusbar'].filter(name => document.querySelector(name)?.offsetHeight),
  };
}"""


def title(opened: Page) -> str:
    return opened.locator("#cp-title").inner_text()


def step(opened: Page, key: str = "PageDown") -> dict:
    """Press a key; wait until the bar has followed; what is on the screen."""
    before = title(opened)
    opened.keyboard.press(key)
    expect(opened.locator("#cp-title")).not_to_have_text(before)
    opened.wait_for_timeout(60)
    return opened.evaluate(STATE)


def begin(opened: Page, address: str) -> None:
    opened.set_viewport_size({"width": 1280, "height": 720})
    opened.goto(address)
    expect(opened.locator("#cp-time")).to_have_text(re.compile(r" of \d+ min"), timeout=60_000)


def quiet(opened: Page, seconds: float) -> None:
    """Wait until nothing is running any more."""
    expect(opened.locator("#cp-said")).to_have_text("", timeout=seconds * 1000)


def kernels(server: subprocess.Popen) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [row.split(None, 2) for row in listed.splitlines()]
    ours = [row for row in rows if row[1] == str(server.pid) and "ipykernel_launcher" in row[2]]
    return [int(row[0]) for row in ours]


def to_the_slider(opened: Page) -> None:
    slider = opened.locator(".jp-Cell:not(.cp-off) .jupyter-widgets [role=slider]")
    while not slider.count():
        assert "05.3" in title(opened)
        step(opened)


def move_the_slider(opened: Page, seconds: float = 15.0) -> None:
    """The figure below the slider is drawn anew when the slider is moved by a key."""
    cell = opened.locator(".jp-Cell:not(.cp-off):has(.jupyter-widgets)").last
    picture = cell.locator("img").last
    expect(picture).to_be_visible(timeout=seconds * 1000)
    before = picture.get_attribute("src")
    cell.get_by_role("slider").first.press("ArrowRight")
    expect(picture).not_to_have_attribute("src", before, timeout=seconds * 1000)


def test_a_lesson_is_taught_from_its_own_file(tmp_path):
    require("browser", bool(browser_path()), "Chromium is not installed")
    stored = LESSON.read_bytes()
    with (
        presenting(tmp_path, "05", "--section", "05.3", "--dark") as (address, server),
        page(tmp_path / "profile") as (opened, watch),
    ):
        begin(opened, address)
        assert title(opened).startswith("05.3")
        opened.locator("#cp-said", has_text="Running").wait_for(timeout=60_000)
        quiet(opened, 180)  # the whole lesson has run
        every_step_fits(opened)
        press_until(opened, "Shift+PageUp", "first step")
        for _ in range(2):
            step(opened, "Shift+PageDown")
        to_the_slider(opened)
        move_the_slider(opened)
        notes_are_in_a_window_of_their_own(opened)
        where = title(opened)
        opened.reload()
        expect(opened.locator("#cp-title")).to_have_text(where, timeout=60_000)
        move_the_slider(opened, 30)
        assert watch.errors == [], "no error until the kernel is killed"
        os.kill(kernels(server)[0], signal.SIGKILL)
        opened.locator("#cp-said", has_text="F9").wait_for(timeout=20_000)
        opened.keyboard.press("F9")
        opened.locator("#cp-said", has_text="Back after").wait_for(timeout=60_000)
        assert title(opened) == where
        move_the_slider(opened)
        assert watch.outside == [], "a request left the machine"
    assert stored == LESSON.read_bytes(), "presenting does not write to the lesson"


def every_step_fits(opened: Page) -> None:
    """From the first step to the last: every cell on exactly one step, nothing sticks out."""
    press_until(opened, "Shift+PageUp", "first step")
    shown, seen = [opened.evaluate(STATE)], 0
    while not opened.locator("#cp-said", has_text="last step").count():
        before = title(opened)
        opened.keyboard.press("PageDown")
        opened.wait_for_timeout(60)
        if title(opened) != before:
            shown.append(opened.evaluate(STATE))
    for state in shown:
        problems = {key: state[key] for key in ("wide", "furniture") if state[key]}
        assert not problems and state["sideways"] <= 0, (state["text"], problems)
        assert state["scrolled"] == state["tall"] == state["plumbing"] == 0, state["text"]
        seen += state["count"]
    cells = read(LESSON).cells
    assert seen == len(cells), "every cell once"
    steps = [text for state in shown for text in state["text"] if text.startswith("Step ")]
    assert len(steps) == sum("step" in cell.metadata.get("tags", []) for cell in cells)
    assert max(sum(text.startswith("Step ") for text in state["text"]) for state in shown) == 1


def press_until(opened: Page, key: str, said: str) -> None:
    for _ in range(100):
        opened.keyboard.press(key)
        opened.wait_for_timeout(60)
        if said in opened.locator("#cp-said").inner_text():
            return
    raise AssertionError(f"{key} never led to {said!r}")


def notes_are_in_a_window_of_their_own(opened: Page) -> None:
    with opened.expect_popup() as popup:
        opened.keyboard.press("F8")
    expect(popup.value.locator("body")).to_contain_text("No notes for this step.")
    expect(popup.value.locator("body")).to_contain_text("Next: ")
    assert "No notes" not in opened.locator("body").inner_text()
    popup.value.close()


def test_a_block_of_a_deck_is_walked_across_lessons(tmp_path):
    require("browser", bool(browser_path()), "Chromium is not installed")
    block = ("--playlist", "PKU", "--block", "3", "--section", "05.7")
    with (
        presenting(tmp_path, *block) as (address, _),
        page(tmp_path / "profile") as (opened, watch),
    ):
        begin(opened, address)
        assert "05.7" in title(opened)
        opened.locator("#cp-said", has_text="Running").wait_for(timeout=90_000)  # both are open
        opened.keyboard.press("Shift+PageDown")
        expect(opened.locator("#cp-title")).to_contain_text("06.1")
        heading = opened.locator(".jp-Cell:visible h2").first
        expect(heading).to_contain_text("06.1")
        opened.keyboard.press("PageUp")
        expect(opened.locator("#cp-title")).to_contain_text("05.7")
        expect(heading).not_to_be_visible()
        assert watch.outside == []
