"""In a real JupyterLab: the widget cells of every lesson run, a control moves, the figure changes.

Widgets over a network that the lesson trains are left out: training them again takes minutes.
"""

import pytest
from playwright.sync_api import Locator, Page, expect

from course_utils.authoring import write
from course_utils.stage import cells_behind
from tests.browser.jupyterlab import IDLE, browser_path, open_and_run, page, server
from tests.conftest import require
from tests.notebooks.lessons import LESSONS, read, tags

pytestmark = pytest.mark.browser
CONTROLS = (".widget-slider", ".widget-toggle-buttons")  # in this order: a choice may still one


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """One JupyterLab and one browser for all lessons; the folder that it serves."""
    require("browser", bool(browser_path()), "Chromium is not installed")
    folder, state = tmp_path_factory.mktemp("lessons"), tmp_path_factory.mktemp("state")
    with server(folder, state) as address, page(state / "profile") as (opened, watch):
        yield folder, address, opened, watch


def only_widgets(path, target) -> int:
    """A copy of a lesson with its widget cells and the cells behind them; how many widgets."""
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    listed = [{"source": cell.source, "tags": sorted(tags(cell))} for cell in code]
    behind = {i: cells_behind(listed, [i]) for i, cell in enumerate(code) if "widget" in tags(cell)}
    quick = [i for i in behind if not any("train" in tags(code[j]) for j in behind[i])]
    notebook.cells = [code[index] for index in sorted({j for i in quick for j in behind[i]})]
    write(notebook, target)
    return len(quick)


def move(opened: Page, control: Locator, picture: Locator) -> None:
    """Move a slider to its other end, or press another button: the picture below it changes."""
    opened.wait_for_function(IDLE, timeout=30_000)
    before = picture.get_attribute("src")
    slider = control.get_by_role("slider")
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


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_control_of_a_lesson_redraws_its_figure(path, lab):
    folder, address, opened, watch = lab
    widgets = only_widgets(path, folder / path.name)
    assert widgets >= 2
    open_and_run(opened, address, path.name)
    cells = opened.locator(".jp-CodeCell:has(.jupyter-widgets)")
    expect(cells).to_have_count(widgets)
    for cell in cells.all():
        picture = cell.locator(".jp-OutputArea-output img").last
        assert picture.get_attribute("alt"), "the figure says what it shows"
        for kind in CONTROLS:
            for control in cell.locator(kind).all():
                move(opened, control, picture)
    assert opened.locator("[data-mime-type*=stderr], pre[style*=B00020]").count() == 0
    assert (watch.outside, watch.errors) == ([], [])
    opened.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")
