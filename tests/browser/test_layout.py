"""Every lesson laid out on a projector of 1280 x 720, as it is stored: nothing is run.

One server and one browser for all; what only a live lesson shows (sliders) is in test_presenter.py.
"""

import json
import re

import pytest

from course_utils.present import decks, lab
from tests.browser.jupyterlab import browser_path, page, presenting
from tests.browser.stage import STATE, begin, change_plan, quiet, walk
from tests.conftest import require
from tests.notebooks.lessons import LESSONS

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory):
    """What opens a lesson on the stage, and the page."""
    require("browser", bool(browser_path()), "Chromium is not installed")
    state = tmp_path_factory.mktemp("state")
    with (
        presenting(state, LESSONS[0].name[:2], "--stored") as (address, _),
        page(state / "profile") as (opened, watch),
    ):

        def lay_out(path):
            route = decks.route_of_lesson(path.name[:2])
            change_plan(state, **json.loads(lab.plan(route, "", whole=True, stored=True)))
            begin(opened, re.sub(r"[^/]+\.ipynb", path.name, address))
            quiet(opened)
            return watch

        yield lay_out, opened


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_step_of_a_stored_lesson_fits(path, laid_out):
    lay_out, opened = laid_out
    watch = lay_out(path)
    walk(opened, path)
    assert (watch.outside, watch.errors) == ([], [])


def test_what_sticks_out_is_found(laid_out):
    lay_out, opened = laid_out
    if not opened.locator("#cp-bar").count():
        lay_out(LESSONS[0])
    assert opened.evaluate(STATE)["wide"] == []
    paragraph = opened.locator(".jp-Cell:not(.cp-off) p").first
    paragraph.evaluate("one => one.style.cssText = 'width: 1300px; max-width: none'")
    assert len(opened.evaluate(STATE)["wide"]) > 0
