"""In a real JupyterLab: the widget cells of a lesson run, a slider moves, the pixels change."""

import shutil

import pytest
from playwright.sync_api import Locator, Page, expect

from course_utils.authoring import write
from tests.browser.jupyterlab import IDLE, browser_path, open_and_run, page, server
from tests.conftest import require
from tests.notebooks.lessons import NOTEBOOKS, read, tags

LESSON = next((path for path in NOTEBOOKS if path.name.startswith("05")), None)
pytestmark = pytest.mark.browser


def only_widgets(target) -> int:
    """A copy of the lesson with what its widget cells need: setup, needed and widget cells."""
    notebook = read(LESSON)
    kept = {"setup", "needed", "widget"}
    notebook.cells = [cell for cell in notebook.cells if tags(cell) & kept]
    write(notebook, target)
    return sum("widget" in tags(cell) for cell in notebook.cells)


def settle(opened: Page, picture: Locator) -> bytes:
    """Wait until the kernel is idle and the picture has stopped changing; its pixels."""
    opened.wait_for_function(IDLE, timeout=30_000)
    last = None
    while last != (last := picture.get_attribute("src")):
        opened.wait_for_timeout(250)
    return opened.screenshot(clip=picture.bounding_box(), full_page=True)


def move(opened: Page, slider: Locator, picture: Locator) -> None:
    """Press a key on a slider: its value and the pixels below it change."""
    slider.scroll_into_view_if_needed()
    before, source = settle(opened, picture), picture.get_attribute("src")
    box = slider.locator("xpath=ancestor::*[contains(@class, 'widget-slider')]")
    readout = box.locator(".widget-readout")  # aria-valuenow has one decimal only
    value = readout.inner_text()
    at_end = slider.get_attribute("aria-valuenow") == slider.get_attribute("aria-valuemax")
    slider.focus()
    for _ in range(3):
        slider.press("ArrowLeft" if at_end else "ArrowRight")
    expect(readout).not_to_have_text(value)
    handle = picture.element_handle()
    opened.wait_for_function(
        "([image, old]) => !image.isConnected || image.src !== old",
        arg=[handle, source],
        timeout=15_000,
    )
    assert settle(opened, picture) != before


def test_every_slider_of_a_lesson_redraws_its_figure(tmp_path):
    require("browser", bool(browser_path()), "Chromium is not installed")
    folder, state = tmp_path / "lesson", tmp_path / "state"
    folder.mkdir(), state.mkdir()
    widgets = only_widgets(folder / "widgets.ipynb")
    assert widgets >= 3
    with server(folder, state) as address, page(tmp_path / "profile") as (opened, watch):
        open_and_run(opened, address, "widgets.ipynb")
        assert opened.locator(".jp-OutputArea-output[data-mime-type*=stderr]").count() == 0
        cells = opened.locator(".jp-CodeCell:has(.jupyter-widgets)")
        assert cells.count() == widgets
        for index in range(widgets):
            cell = cells.nth(index)
            picture = cell.locator(".jp-OutputArea-output img").last
            assert picture.get_attribute("alt"), "the figure says what it shows"
            sliders = cell.get_by_role("slider")
            for which in range(sliders.count()):
                move(opened, sliders.nth(which), picture)
            for button in cell.locator(".widget-toggle-button").all():
                button.click()
        opened.wait_for_timeout(500)
        assert (
            opened.locator(".jp-RenderedText[data-mime-type*=stderr], pre[style*=B00020]").count()
            == 0
        )
        assert watch.outside == [], "a request left the machine"
        assert watch.errors == []
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
