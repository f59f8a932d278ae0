"""What `explore` does in the page by itself: known pictures at once, names for screen readers."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator, Page, expect

from course_utils.notebook.file import write
from tests.browser.jupyterlab import browser_path, open_and_run, page, server
from tests.conftest import require

pytestmark = pytest.mark.browser
LESSON = """
import os
from pathlib import Path
from course_utils import widgets
from course_utils.plots.base import Picture, subplots

Path("kernel.pid").write_text(str(os.getpid()))
height = 1

def line(mean: float = 0.5, kind: str = "line") -> Picture:
    figure, ((ax,),) = subplots(width=3, height=2)
    ax.plot([0, mean], [0, height])
    return Picture(figure, f"a {kind} to {mean:g}, {height} high")

made = widgets.explore(
    line, mean=widgets.slider(0.0, 1.0, 0.05, "mean"), kind=widgets.choice(["line", "bar"], "kind")
)
"""
RUN = """async code => {
  const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  await kernel.requestExecute({code}).done;
}"""
# How many pictures the page has been told of. A request with code would make it forget them.
KNOWN = """async () => {
  const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const user_expressions = {x: 'len(made.pictures.told)'};
  const request = {code: '', silent: true, store_history: false, user_expressions};
  const reply = await kernel.requestExecute(request).done;
  return Number(reply.content.user_expressions.x.data['text/plain']);
}"""
# Every description that a frame of the screen has shown since.
WATCH = """() => {
  window.shown = new Set();
  const look = () => {
    shown.add([...document.querySelectorAll('.jp-OutputArea img')].at(-1)?.alt);
    requestAnimationFrame(look);
  };
  look();
}"""
STORED = """() => {
  const {model} = jupyterapp.shell.currentWidget.content.widgets[0].outputArea;
  return 'data:image/png;base64,' + model.get(1).toJSON().data['image/png'];
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab over an empty folder, and a page."""
    require("browser", bool(browser_path()), "Chromium is not installed")
    folder, state = tmp_path_factory.mktemp("lessons"), tmp_path_factory.mktemp("state")
    with server(folder, state) as address, page(state / "profile") as (tab, watch):
        yield folder, address, tab, watch


@pytest.fixture
def opened(lab, request):
    """The lesson, run in a kernel of its own."""
    folder, address, tab, watch = lab
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_code_cell(LESSON)], metadata={"kernelspec": spec})
    path = folder / f"{request.node.name}.ipynb"
    write(notebook, path)
    open_and_run(tab, address, path.name)
    tab.evaluate(WATCH)
    yield tab
    assert (watch.outside, watch.errors) == ([], [])


def says(figure: Locator, alt: str) -> None:
    expect(figure).to_have_attribute("alt", alt)


def wait_until_told(opened: Page, pictures: int) -> None:
    """Those beside the one that is shown are drawn ahead, soon."""
    for _ in range(300):
        if opened.evaluate(KNOWN) >= pictures:
            return
        opened.wait_for_timeout(200)
    raise AssertionError(f"the page never knew {pictures} pictures")


def shown_since(opened: Page) -> list[str]:
    """What the frames have shown since this was asked last."""
    return opened.evaluate("() => { const old = [...shown]; shown.clear(); return old; }")


@contextlib.contextmanager
def kernel_asleep(folder: Path) -> Iterator[None]:
    """Nothing that is shown in here comes from the kernel."""
    kernel = int((folder / "kernel.pid").read_text())
    os.kill(kernel, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(kernel, signal.SIGCONT)


def test_a_known_picture_is_shown_at_once_and_an_old_one_never(opened, lab):
    handle, figure = opened.get_by_role("slider"), opened.locator(".jp-OutputArea img")
    line, bar = (opened.get_by_role("button", name=kind) for kind in ("line", "bar"))
    handle.press("ArrowRight")
    says(figure, "a line to 0.55, 1 high")
    wait_until_told(opened, 4)  # itself, one to each side, the other kind

    with kernel_asleep(lab[0]):
        handle.press("ArrowRight")
        says(figure, "a line to 0.6, 1 high")
        handle.press("ArrowLeft")
        says(figure, "a line to 0.55, 1 high")
        bar.click()
        says(figure, "a bar to 0.55, 1 high")
        line.click()
        handle.press("ArrowLeft")
        says(figure, "a line to 0.5, 1 high")
        shown_since(opened)
    opened.wait_for_timeout(1000)
    assert shown_since(opened) == ["a line to 0.5, 1 high"], "late answers are not shown"
    assert figure.get_attribute("src") == opened.evaluate(STORED), "it is the kernel's picture"

    opened.evaluate(RUN, "height = 2")
    with kernel_asleep(lab[0]):
        shown_since(opened)
        handle.press("ArrowRight")
        opened.wait_for_timeout(500)
        assert shown_since(opened) == ["a line to 0.5, 1 high"], "a cell has run: drawn anew"
    says(figure, "a line to 0.55, 2 high")
    assert figure.get_attribute("src") == opened.evaluate(STORED)


def test_controls_have_names_and_states_and_the_figure_is_read_out(opened):
    assert opened.get_by_role("slider", name="mean", exact=True).count() == 1
    assert opened.get_by_role("textbox", name="mean, as a number").count() == 1
    kinds = opened.get_by_role("group", name="kind")
    expect(kinds.get_by_role("button", pressed=True)).to_have_text("line")
    kinds.get_by_role("button", name="bar").click()
    expect(kinds.get_by_role("button", pressed=True)).to_have_text("bar")
    status = opened.locator(".jp-OutputArea [role=status]")
    expect(status).to_have_text("")
    expect(status).to_have_text("a bar to 0.5, 1 high")
