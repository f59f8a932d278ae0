"""A lecturer at a projector of 1280 x 720: every lesson step by step, by keyboard, offline.

Every lesson is opened and run whole; every step fits; every slider and button redraws its figure.
Then what goes wrong in a class: a reload, a kernel that dies behind a network that took its time.
"""

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.jupyterlab import Watch, browser_path, free_port, page, presenting
from tests.conftest import require
from tests.notebooks.lessons import LESSONS, read, tags

pytestmark = pytest.mark.browser
CONTROLS = (".widget-slider", ".widget-toggle-buttons")  # in this order: a choice may still one
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
    below: Math.max(0, Math.round(cells.at(-1).getBoundingClientRect().bottom
      - outer.getBoundingClientRect().bottom - 24)),
    sideways: outer.scrollWidth - outer.clientWidth,
    wide: wide.map(node => node.outerHTML.slice(0, 200)),
    tall: tall.length,
    plumbing: cells.filter(cell => /plot\\.show|widgets\\.explore/.test(
      cell.querySelector('.cm-content')?.offsetHeight ? cell.innerText : '')).length,
    furniture: ['.jp-NotebookPanel-toolbar', '#jp-top-panel', '.jp-SideBar', '.jp-InputPrompt',
      '#jp-main-statusbar'].filter(name => document.querySelector(name)?.offsetHeight),
  };
}"""
FAILED = "[data-mime-type$=error], [data-mime-type$=stderr], pre[style*=B00020]"


@dataclass
class Stage:
    """A lesson on the projector, run to its end; `stored` is its file's content before."""

    path: Path
    stored: bytes
    opened: Page
    watch: Watch
    server: subprocess.Popen


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for all lessons, and the port they are at: JupyterLab stays in its cache."""
    require("browser", bool(browser_path()), "Chromium is not installed")
    with page(tmp_path_factory.mktemp("profile")) as (opened, watch):
        yield opened, watch, free_port()


@pytest.fixture(scope="module", params=[path.name[:2] for path in LESSONS])
def stage(request, browser, tmp_path_factory):
    """Every lesson in turn, light and dark by turns."""
    opened, watch, port = browser
    [path] = [path for path in LESSONS if path.name[:2] == request.param]
    colours, folder = ("--light", "--dark")[LESSONS.index(path) % 2], tmp_path_factory.mktemp("s")
    with presenting(folder, request.param, colours, port=port) as (address, server):
        stored = path.read_bytes()
        begin(opened, address)
        opened.locator("#cp-said", has_text="Running").wait_for(timeout=120_000)
        quiet(opened, 300)  # the whole lesson has run
        yield Stage(path, stored, opened, watch, server)
        opened.goto("about:blank")  # before its server goes
        watch.outside.clear()
        watch.errors.clear()


def title(opened: Page) -> str:
    return opened.locator("#cp-title").inner_text()


def step(opened: Page, key: str = "PageDown") -> dict:
    """Press a key until the bar has followed (a long step scrolls first); what is on the screen."""
    before = title(opened)
    while title(opened) == before:
        opened.keyboard.press(key)
        opened.wait_for_timeout(60)
    return opened.evaluate(STATE)


def begin(opened: Page, address: str) -> None:
    opened.set_viewport_size({"width": 1280, "height": 720})
    opened.goto(address)
    expect(opened.locator("#cp-time")).to_have_text(re.compile(r" of \d+ min"), timeout=120_000)


def quiet(opened: Page, seconds: float) -> None:
    """Wait until nothing is running any more."""
    expect(opened.locator("#cp-said")).to_have_text("", timeout=seconds * 1000)


def press_until(opened: Page, key: str, said: str) -> None:
    for _ in range(100):
        opened.keyboard.press(key)
        opened.wait_for_timeout(60)
        if said in opened.locator("#cp-said").inner_text():
            return
    raise AssertionError(f"{key} never led to {said!r}")


def pages(opened: Page):
    """From the first step to the last, by keyboard: what is on the screen at each."""
    press_until(opened, "Shift+PageUp", "first step")
    yield opened.evaluate(STATE)
    while not opened.locator("#cp-said", has_text="last step").count():
        before = title(opened)
        opened.keyboard.press("PageDown")
        opened.wait_for_timeout(60)
        if title(opened) != before:
            yield opened.evaluate(STATE)


def controls_on_the_screen(opened: Page) -> list[tuple[Locator, Locator]]:
    """The sliders, then the rows of buttons, each with the picture that it redraws."""
    cells = opened.locator(".jp-CodeCell:not(.cp-off):has(.jupyter-widgets)").all()
    return [
        (control, cell.locator(".jp-OutputArea-output img").last)
        for cell in cells
        for kind in CONTROLS
        for control in cell.locator(kind).all()
    ]


def move(opened: Page, control: Locator, picture: Locator) -> None:
    """Move a slider to its other end, or press another button: the picture below it changes."""
    before = picture.get_attribute("src", timeout=30_000)
    assert picture.get_attribute("alt"), "the figure says what it shows"
    slider = control.get_by_role("slider")
    named = slider if slider.count() else control
    expect(named).to_have_attribute("aria-label", re.compile(r"\w"))  # for screen readers
    if slider.count():
        at_end = slider.get_attribute("aria-valuenow") == slider.get_attribute("aria-valuemax")
        readout = control.locator(".widget-readout")
        value = readout.inner_text()
        slider.press("Home" if at_end else "End")
        expect(readout).not_to_have_text(value)
    else:
        control.locator("button:not(.mod-active)").first.click()
    expect(picture).not_to_have_attribute("src", before, timeout=15_000)
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def below_comes_up(opened: Page) -> bool:
    """The next press shows what a step longer than the screen has below, and stays on the step."""
    before, top = title(opened), opened.evaluate(STATE)["below"]
    opened.keyboard.press("PageDown")
    opened.wait_for_timeout(60)
    return title(opened) == before and opened.evaluate(STATE)["below"] < top


def head(source: str) -> str:
    """A cell's heading as it is read on the screen, up to its first formula."""
    return source.split("\n")[0].strip("#* ").split("$")[0].replace("*", "").strip()


def test_every_step_of_every_lesson_fits_and_every_control_redraws_its_figure(stage):
    assert stage.opened.locator(FAILED).all_text_contents() == [], "cells that failed"
    cells, seen, steps, moved = read(stage.path).cells, 0, 0, 0
    heads = tuple(head(cell.source) for cell in cells if "step" in tags(cell))
    for state in pages(stage.opened):
        problems = {key: state[key] for key in ("wide", "furniture") if state[key]}
        assert not problems and state["sideways"] <= 0, (state["text"], problems)
        assert state["scrolled"] == state["tall"] == state["plumbing"] == 0, state["text"]
        on_this = sum(text.startswith(heads) for text in state["text"])
        assert on_this <= 1, state["text"]
        seen, steps = seen + state["count"], steps + on_this
        for control, picture in controls_on_the_screen(stage.opened):
            move(stage.opened, control, picture)
            moved += 1
        assert not state["below"] or below_comes_up(stage.opened), state["text"]
    assert seen == len(cells), "every cell is on one page"
    assert steps == len(heads)
    assert moved >= sum("widget" in tags(cell) for cell in cells) > 0
    assert stage.opened.locator(FAILED).all_text_contents() == [], "figures that failed"
    assert (stage.watch.outside, stage.watch.errors) == ([], [])
    assert stage.stored == stage.path.read_bytes(), "presenting does not write to the lesson"


def to_the_last_slider(opened: Page) -> None:
    """Back from the last step to a page with a slider."""
    press_until(opened, "Shift+PageDown", "last step")
    while not controls_on_the_screen(opened):
        step(opened, "PageUp")


def move_one(opened: Page) -> None:
    """Move the first control of the page, once it is there."""
    cell = opened.locator(".jp-CodeCell:not(.cp-off)")
    expect(cell.locator(", ".join(CONTROLS)).first).to_be_visible(timeout=30_000)
    move(opened, *controls_on_the_screen(opened)[0])


@pytest.mark.parametrize("stage", ["09"], indirect=True)
def test_a_reload_and_a_dead_kernel_lead_back_to_the_step_on_the_screen(stage):
    """The slider lies behind networks that take half a minute to train."""
    opened = stage.opened
    to_the_last_slider(opened)
    move_one(opened)
    where = title(opened)
    opened.reload()
    expect(opened.locator("#cp-title")).to_have_text(where, timeout=60_000)
    move_one(opened)
    assert stage.watch.errors == [], "no error until the kernel is killed"
    os.kill(kernels(stage.server)[0], signal.SIGKILL)
    opened.locator("#cp-said", has_text="F9").wait_for(timeout=20_000)
    began = time.monotonic()
    opened.keyboard.press("F9")
    opened.locator("#cp-said", has_text="Back after").wait_for(timeout=60_000)
    print(f"back after {time.monotonic() - began:.1f} s")
    assert title(opened) == where
    move_one(opened)
    assert stage.watch.outside == []


@pytest.mark.parametrize("stage", ["09"], indirect=True)
def test_notes_are_in_a_window_of_their_own(stage):
    opened = stage.opened
    press_until(opened, "Shift+PageUp", "first step")
    told = read(stage.path).cells[0].metadata["notes"]
    with opened.expect_popup() as popup:
        opened.keyboard.press("F8")
    expect(popup.value.locator("body")).to_contain_text(told)
    expect(popup.value.locator("body")).to_contain_text("Next: ")
    assert told[:40] not in opened.locator("body").inner_text()
    popup.value.close()


@pytest.mark.parametrize("stage", ["09"], indirect=True)
def test_exercises_are_left_out_with_a_key(stage):
    """The last one stands between steps that are kept; the choice outlives a reload."""
    opened = stage.opened
    press_until(opened, "Shift+PageDown", "last step")
    after = exercise = opened.evaluate(STATE)["text"]
    while not exercise[0].startswith("Exercise "):
        after, exercise = exercise, step(opened, "PageUp")["text"]
    before = step(opened, "PageUp")["text"]
    opened.keyboard.press("F7")
    opened.reload()
    quiet(opened, 60)
    assert step(opened)["text"] == after
    assert step(opened, "PageUp")["text"] == before
    opened.keyboard.press("F7")
    assert step(opened)["text"] == exercise


@pytest.mark.parametrize("stage", ["09"], indirect=True)
def test_a_key_for_a_cell_reaches_the_one_on_the_screen(stage):
    opened = stage.opened
    press_until(opened, "Shift+PageUp", "first step")
    shown = opened.locator(".jp-CodeCell:not(.cp-off)")
    for _ in range(2):  # from the first page with code, and from a later one
        step(opened)
        while not shown.count():
            step(opened)
        where, prompt = title(opened), shown.first.locator(".jp-InputPrompt")
        before = prompt.text_content()
        opened.keyboard.press("Control+Enter")
        expect(prompt).not_to_have_text(before, timeout=30_000)
        expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=60_000)
        assert title(opened) == where
        assert opened.locator(".jp-CodeCell.jp-mod-active:not(.cp-off)").count() == 1


def kernels(server: subprocess.Popen) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [row.split(None, 2) for row in listed.splitlines()]
    ours = [row for row in rows if row[1] == str(server.pid) and "ipykernel_launcher" in row[2]]
    return [int(row[0]) for row in ours]
