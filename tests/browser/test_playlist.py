"""A block of a lecture deck is walked across lessons, in the deck's order."""

import pytest
from playwright.sync_api import expect

from tests.browser.jupyterlab import browser_path, page, presenting
from tests.browser.stage import begin, quiet, title
from tests.conftest import require

pytestmark = pytest.mark.browser


def test_a_block_of_a_deck_is_walked_across_lessons(tmp_path):
    require("browser", bool(browser_path()), "Chromium is not installed")
    block = ("--playlist", "PKU", "--block", "3", "--section", "05.7", "--stored")
    with (
        presenting(tmp_path, *block) as (address, _),
        page(tmp_path / "profile") as (opened, watch),
    ):
        begin(opened, address)
        assert "05.7" in title(opened)
        quiet(opened)  # both lessons are open
        opened.keyboard.press("Shift+PageDown")
        expect(opened.locator("#cp-title")).to_contain_text("06.1")
        heading = opened.locator(".jp-Cell:visible h2").first
        expect(heading).to_contain_text("06.1")
        opened.keyboard.press("PageUp")
        expect(opened.locator("#cp-title")).to_contain_text("05.7")
        expect(heading).not_to_be_visible()
        assert watch.outside == []
