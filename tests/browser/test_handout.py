"""The page to hand out, in a real browser, from a file: complete, drawn, readable, accessible.

axe-core checks WCAG 2.2 AA and its best practices, contrast included; no rule is off. What a page
has thousands of is thinned out before it looks, so that eight lessons cost seconds, not minutes:
twenty equations stay with their MathML, without their glyphs (SVG hidden from readers, in the
colour of the text), and of the spans of coloured code one of each kind, which decides its colour.
The text of scripts goes as well: axe copies the source of what it looks at, again and again.
"""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from course_utils.notebook import handout
from tests.browser.jupyterlab import browser_path, page as a_page
from tests.conftest import require
from tests.notebooks.lessons import NOTEBOOKS, read

pytestmark = pytest.mark.browser
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
THINNER = """() => {
    document.querySelectorAll("mjx-container > svg").forEach(drawn => drawn.replaceChildren());
    [...document.querySelectorAll("mjx-container")].slice(20).forEach(one => one.replaceWith("x"));
    document.querySelectorAll("script").forEach(script => script.remove());
    const kinds = new Set();
    for (const span of document.querySelectorAll(".highlight span")) {
        if (kinds.has(span.className)) span.replaceWith(...span.childNodes);
        else kinds.add(span.className);
    }
    document.body.normalize();
}"""
DRAWN = """() => MathJax.startup.promise.then(() => ({
    equations: [...MathJax.startup.document.math]
        .filter(one => !one.typesetRoot.closest("nav")).map(one => one.math),
    wrong: [...document.querySelectorAll("mjx-merror, svg [data-mjx-error]")].map(e => e.outerHTML),
    pictures: document.images.length,
    blank: [...document.images].filter(one => !(one.naturalWidth && one.alt.trim())).length,
}))"""
NARROW = range(320, 500, 20)  # telephones; where a line ends differs with the width and the fonts
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"
OUT_OF_REACH = """() => [...document.querySelectorAll("main *")].filter(box => {
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
    return scrolls && box.scrollWidth > box.clientWidth && box.tabIndex !== 0;
}).length"""


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    """The folder of all pages, and one browser that may fetch from it and from nowhere else."""
    require("browser", bool(browser_path()), "Chromium is not installed")
    folder, profile = tmp_path_factory.mktemp("pages"), tmp_path_factory.mktemp("profile")
    handout.write([path.stem for path in NOTEBOOKS], folder)
    with a_page(profile) as (opened, watch):
        watch.inside = (folder.as_uri(), "data:")
        yield folder, opened, watch


def open_page(opened: Page, path: Path) -> dict:
    """Open a page at 1280 pixels; what MathJax drew, and the pictures."""
    opened.set_viewport_size({"width": 1280, "height": 900})
    opened.goto(path.as_uri())
    return opened.evaluate(DRAWN)


def violations(opened: Page) -> dict[str, list[str]]:
    """The rules that a page breaks, and where; leaves the page thinner."""
    opened.evaluate(THINNER)
    options = {"resultTypes": ["violations"], "runOnly": STANDARDS}
    found = Axe().run(opened, options=options).response["violations"]
    return {rule["id"]: [node["html"][:200] for node in rule["nodes"]] for rule in found}


def equations(path: Path) -> list[str]:
    """The TeX of a lesson's text in its order, without spaces."""
    text = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)
    found = re.finditer(r"\$\$(.+?)\$\$|(?<!\\)\$(.+?)(?<!\\)\$", text, re.DOTALL)
    return [re.sub(r"\s", "", match[1] or match[2]) for match in found]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_is_complete_drawn_and_accessible(path, handed_out):
    folder, opened, watch = handed_out
    drawn = open_page(opened, folder / f"{path.stem}.html")
    assert [re.sub(r"\s", "", tex) for tex in drawn["equations"]] == equations(path)
    assert drawn["equations"] and drawn["wrong"] == []
    assert drawn["pictures"] > 0 and drawn["blank"] == 0
    assert opened.evaluate(OVERFLOW) <= 0
    for width in NARROW:
        opened.set_viewport_size({"width": width, "height": 800})
        expect(opened.locator("nav")).to_have_css("position", "static")
        opened.evaluate("fit()")  # as the browser does after the resize, soon
        assert opened.evaluate(OVERFLOW) <= 0, width
        assert opened.evaluate(OUT_OF_REACH) == 0, width
    assert violations(opened) == {}
    assert (watch.outside, watch.errors) == ([], [])


def test_a_wide_dark_page_is_accessible_too_and_a_printed_one_unfolds(handed_out):
    folder, opened, watch = handed_out
    opened.emulate_media(color_scheme="dark")
    try:
        open_page(opened, folder / "00_toolbox.html")
        expect(opened.locator("body")).not_to_have_css("background-color", "rgb(255, 255, 255)")
        assert opened.locator("details[open]").count() == 0
        opened.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert opened.locator("details:not([open])").count() == 0
        opened.emulate_media(media="print")
        expect(opened.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
        expect(opened.locator("nav")).to_have_css("position", "static")
        opened.emulate_media(media="screen")
        opened.evaluate("dispatchEvent(new Event('afterprint'))")
        assert opened.locator("details[open]").count() == 0
        assert violations(opened) == {}
        assert (watch.outside, watch.errors) == ([], [])
    finally:
        opened.emulate_media(color_scheme="light", media="screen")


PLANTED = {
    "image-alt": ('<main id="lesson">', '<main id="lesson"><img src="data:,">'),
    "color-contrast": ("--soft: #565656", "--soft: #999"),
    "heading-order": ("<h2", "<h4>Jump</h4><h2"),
    "html-has-lang": ('<html lang="en">', "<html>"),
    "link-name": ("<nav", '<a href="#lesson"></a><nav'),
}


def test_planted_barriers_are_found(handed_out):
    folder, opened, watch = handed_out
    text = (folder / "start_here.html").read_text(encoding="utf-8")
    for old, new in PLANTED.values():
        assert old in text
        text = text.replace(old, new, 1)
    broken = folder / "broken.html"
    broken.write_text(text, encoding="utf-8")
    assert open_page(opened, broken)["blank"] == 1
    assert set(PLANTED) <= set(violations(opened))
    watch.errors.clear()


def test_planted_mistakes_in_equations_and_requests_are_found(handed_out):
    folder, opened, watch = handed_out
    text = (folder / "start_here.html").read_text(encoding="utf-8")
    broken = folder / "broken.html"
    wrong = "<p class=md>$\\frac{1}$ and $\\nosuch{1}$</p></main>"
    broken.write_text(text.replace("</main>", wrong), encoding="utf-8")
    assert len(open_page(opened, broken)["wrong"]) == 2
    remote = '</main><script src="https://example.org/x.js"></script>'
    broken.write_text(text.replace("</main>", remote), encoding="utf-8")
    open_page(opened, broken)
    assert any("example.org" in error for error in watch.errors), "the page itself forbids it"
    watch.errors.clear()
    unlocked = re.sub(r"<meta http-equiv.*?>", "", text).replace("</main>", remote)
    broken.write_text(unlocked, encoding="utf-8")
    open_page(opened, broken)
    assert watch.outside == ["https://example.org/x.js"]
    watch.outside.clear()
    watch.errors.clear()
