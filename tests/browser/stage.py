"""A lesson on the projector, as a test sees it: what is on the screen, and how one gets about."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from course_utils.place import write_whole
from tests.notebooks.lessons import read, tags

RUN = 300_000  # milliseconds: a lesson runs, on a machine that is busy
CONTROLS = (".widget-slider", ".widget-toggle-buttons")  # in this order: a choice may still one
# What is on the screen: the cells in view, how far it is scrolled, and what sticks out of it.
STATE = """async () => {
  const rough = () => [...document.querySelectorAll('.jp-MarkdownCell')].some(cell => {
    if (!cell.offsetHeight) return false;
    const text = cell.querySelector('.jp-RenderedMarkdown')?.cloneNode(true);
    text?.querySelectorAll('code, mjx-container').forEach(one => one.remove());
    return !text?.childElementCount || text.textContent.includes('$');
  });
  for (let frame = 0; frame < 3 || (rough() && frame < 600); frame++)
    await new Promise(requestAnimationFrame); // the text is drawn, then its equations
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


def title(opened: Page) -> str:
    return opened.locator("#cp-title").inner_text()


def step(opened: Page, key: str = "PageDown") -> dict:
    """Press a key until the bar has followed (a long step scrolls first); what is on the screen."""
    before = title(opened)
    while title(opened) == before:
        opened.keyboard.press(key)
    return opened.evaluate(STATE)


def begin(opened: Page, address: str) -> None:
    """Open the stage; the first page is shown."""
    opened.set_viewport_size({"width": 1280, "height": 720})
    opened.goto(address, timeout=RUN)
    expect(opened.locator("#cp-time")).to_have_text(re.compile(r" of \d+ min"), timeout=RUN)


def begin_whole(opened: Page, address: str) -> None:
    """Open the stage; the whole lesson has run."""
    begin(opened, address)
    opened.locator("#cp-said", has_text="Running").wait_for(timeout=RUN)
    quiet(opened)


def quiet(opened: Page) -> None:
    """Wait until nothing is running any more."""
    expect(opened.locator("#cp-said")).to_have_text("", timeout=RUN)


def change_plan(state: Path, **changes: object) -> None:
    """Let the server that `presenting(state, ...)` started present by another plan from now on."""
    [place] = state.glob("*/labconfig/page_config.json")
    config = json.loads(place.read_text(encoding="utf-8"))
    config["coursePresent"] = json.dumps(json.loads(config["coursePresent"]) | changes)
    write_whole(place, json.dumps(config))


def press_until(opened: Page, key: str, said: str) -> None:
    for _ in range(100):
        opened.keyboard.press(key)
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
    before = picture.get_attribute("src")
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
    expect(picture).not_to_have_attribute("src", before)
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


def below_comes_up(opened: Page) -> bool:
    """The next press shows what a step longer than the screen has below, and stays on the step."""
    before, top = title(opened), opened.evaluate(STATE)["below"]
    opened.keyboard.press("PageDown")
    return title(opened) == before and opened.evaluate(STATE)["below"] < top


def head(source: str) -> str:
    """A cell's heading as it is read on the screen, up to its first formula."""
    return source.split("\n")[0].strip("#* ").split("$")[0].replace("*", "").strip()


def walk(opened: Page, path: Path, at_each: Callable[[], None] = lambda: None) -> None:
    """From a lesson's first step to its last: every one fits, and every cell is on one of them."""
    cells, seen, steps = read(path).cells, 0, 0
    heads = tuple(head(cell.source) for cell in cells if "step" in tags(cell))
    for state in pages(opened):
        problems = {key: state[key] for key in ("wide", "furniture") if state[key]}
        assert not problems and state["sideways"] <= 0, (state["text"], problems)
        assert state["scrolled"] == state["tall"] == state["plumbing"] == 0, state["text"]
        on_this = sum(text.startswith(heads) for text in state["text"])
        assert on_this <= 1, state["text"]
        seen, steps = seen + state["count"], steps + on_this
        at_each()
        assert not state["below"] or below_comes_up(opened), state["text"]
    assert seen == len(cells), "every cell is on one page"
    assert steps == len(heads)


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


def kernels(server: subprocess.Popen) -> list[int]:
    """The process ids of the kernels that a server has started."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    rows = [row.split(None, 2) for row in listed.splitlines()]
    ours = [row for row in rows if row[1] == str(server.pid) and "ipykernel_launcher" in row[2]]
    return [int(row[0]) for row in ours]
