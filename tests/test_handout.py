"""The page to hand out: complete in itself, readable without eyes, and nobody's file is lost."""

import base64
import html
import os
import re
import tomllib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)
from typer.testing import CliRunner

from course_utils.cli import app
from course_utils.notebook import handout
from course_utils.widgets import NOTE
from tests.notebooks.lessons import NOTEBOOKS, ROOT

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VIEW = {"version_major": 2, "version_minor": 0, "model_id": "1"}
RESOURCES = {"src", "srcset", "href", "poster", "data", "action"}


class Elements(HTMLParser):
    """Tag and attributes of every element of a page, and the text of its style sheets."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found, self.styles, self.inside = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "style":
            self.styles += data

    def of(self, *tags: str) -> list[dict]:
        return [attributes for tag, attributes in self.found if tag in tags]

    def fetched(self) -> list[str]:
        """What a browser would fetch from somewhere else; a link in the text is not fetched."""
        named = [
            value
            for tag, attributes in self.found
            for name, value in attributes.items()
            if name in RESOURCES and tag != "a"
        ]
        named += re.findall(r"url\(\s*['\"]?([^)'\"]+)|@import", self.styles)
        return [value for value in named if not value.startswith("data:")]


def made(*cells, name: str = "05_elbo") -> str:
    """The page of a notebook with these cells."""
    return handout.page(new_notebook(cells=list(cells)), Path("notebooks", f"{name}.ipynb"), set())


def shown(page: str) -> str:
    return page.partition("<main")[2]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["handout", *arguments], catch_exceptions=False)
    return result.exit_code, result.output


def picture(alt: str) -> nbformat.NotebookNode:
    data = {"image/png": PIXEL, "text/plain": alt, "text/html": f'<img src="x" alt="{alt}">'}
    return new_output("display_data", data=data, metadata={"image/png": {"alt": alt}})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_lesson_is_one_file_with_every_picture_in_words(path):
    notebook = nbformat.read(path, 4)
    page = handout.page(notebook, path, set())
    elements = Elements(page)
    assert elements.fetched() == []
    pictures = [
        output.metadata["image/png"]["alt"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert pictures and [image["alt"] for image in elements.of("img")] == pictures
    names = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(names) == len(set(names))
    inside = [a["href"][1:] for a in elements.of("a") if a["href"].startswith("#")]
    assert len(inside) > 5 and set(inside) <= set(names)
    headings = [int(tag[1]) for tag, _ in elements.found if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(headings))
    assert NOTE not in shown(page) and "widget-view" not in page
    assert elements.of("html") == [{"lang": "en"}] and "<title>" in page
    notes, text = [cell.metadata.get("notes") for cell in notebook.cells], html.unescape(page)
    assert [note for note in notes if note and note[:30] in text] == []


def test_side_paths_can_be_left_out():
    aside = {"tags": ["deeper"]}
    cells = [
        new_markdown_cell("## 05.1 The bound\n\nCORE ONE"),
        new_markdown_cell("### Deeper: another proof\n\nASIDE", metadata=aside),
        new_code_cell("aside()", metadata=aside, outputs=[picture("a picture of the aside")]),
        new_markdown_cell("CORE TWO"),
    ]
    notebook, source = new_notebook(cells=cells), Path("notebooks", "05_elbo.ipynb")
    whole, core = (shown_and_listed(notebook, source, core) for core in (False, True))
    found = ["CORE ONE", "CORE TWO", "ASIDE", "another proof", "aside</span>", "of the aside"]
    assert [text in whole for text in found] == [True] * 6
    assert [text in core for text in found] == [True, True] + [False] * 4


def shown_and_listed(notebook, source, core) -> str:
    return handout.page(notebook, source, set(), core).partition("<nav")[2]


def test_what_a_browser_would_fetch_is_found():
    planted = (
        '<script src="https://a.org/x.js"></script><link href="b.css"><img src="c.png">'
        "<style>body { background: url('//d.org/e.png') }</style><a href='https://f.org'>f</a>"
    )
    assert Elements(planted).fetched() == ["https://a.org/x.js", "b.css", "c.png", "//d.org/e.png"]


def test_notes_warnings_progress_bars_and_widgets_stay_out():
    widget = {"text/plain": NOTE, "application/vnd.jupyter.widget-view+json": VIEW}
    bar = {"text/plain": "HBox(children=(", "application/vnd.jupyter.widget-view+json": VIEW}
    code = new_code_cell(
        "fit()",
        metadata={"notes": "SECRET in code"},
        outputs=[
            new_output("display_data", data=widget),
            new_output("display_data", data=bar),
            picture('a "bell" < 3'),
            new_output("stream", name="stderr", text="SECRET warning"),
            new_output("stream", name="stdout", text="A8 \x1b[31mholds\x1b[0m & <b>\n"),
            new_output("error", ename="ValueError", evalue="no", traceback=["SECRET"]),
        ],
    )
    page = made(new_markdown_cell("# T", metadata={"notes": "SECRET in text"}), code)
    assert "SECRET" not in page
    lesson = shown(page)
    assert "HBox" not in lesson and NOTE not in lesson and handout.STILL in lesson
    assert Elements(lesson).of("img")[0]["alt"] == 'a "bell" < 3'
    assert "A8 holds &amp; &lt;b&gt;</pre>" in lesson and "ValueError: no</pre>" in lesson


def test_the_code_of_a_figure_is_folded_and_other_code_is_not():
    tags = [["widget", "nbval-ignore-output"], ["figure"], ["check"], []]
    cells = [
        new_code_cell(f"draw({number})", metadata={"tags": t}) for number, t in enumerate(tags)
    ]
    parts = re.split(r"(<details.*?</details>)", shown(made(*cells)), flags=re.DOTALL)
    numbers = [re.findall(r">(\d)<", part) for part in parts]
    assert numbers == [[], ["0"], [], ["1"], ["2", "3"]]
    assert [part.startswith("<details") for part in parts] == [False, True] * 2 + [False]


def test_equations_tables_and_folded_hints_come_through():
    text = (
        "$a_1<b_2$ and $c_1*d*e\\|f$, `$x$`\n\n$$\\begin{aligned}a&=b\\\\\n&<c\\end{aligned}$$\n\n"
        "| | `q` |\n|---|---|\n| $x$ | 1 |\n\n<details><summary>Hint 1</summary>\n\n*Mind* it.\n"
        "</details>\n\nafter"
    )
    page = shown(made(new_markdown_cell(text)))
    assert r'tex">$a_1&lt;b_2$</span> and' in page, "as it was typed"
    assert r'tex">$c_1*d*e\|f$,</span> <code>$x$</code>' in page, "its comma stays with it"
    assert "$$\\begin{aligned}a&amp;=b\\\\\n&amp;&lt;c\\end{aligned}$$" in page
    assert '<div class="scroll"><table>' in page and "<th></th>" not in page
    assert page.index("<details>") < page.index("<em>Mind</em>") < page.index("</details>")
    assert page.index("</details>") < page.index("after")


def test_the_contents_lead_to_the_headings_also_to_two_of_one_name():
    page = made(new_markdown_cell("# The *T*\n## Rule $z$\n### Step\n### Step\n## Rule $z$"))
    assert "<h1>The <em>T</em></h1>" in page and "<title>The T · " in page
    links = [a["href"] for a in Elements(page).of("a")]
    assert links == ["#lesson", "#rule-z", "#step", "#step--2", "#rule-z--2"]
    assert all(f'id="{link[1:]}"' in page for link in links)


SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize("kind", ["image/svg+xml", "image/jpeg", "image/png", "image/webp"])
def test_pictures_of_every_kind_are_in_the_page(kind):
    data = {kind: SVG if "svg" in kind else PIXEL[:9] + "\n" + PIXEL[9:], "text/plain": "<Figure>"}
    output = new_output("display_data", data=data, metadata={kind: {"alt": "a bell"}})
    page = made(new_code_cell("x", outputs=[output]))
    [image] = Elements(shown(page)).of("img")
    given = image["src"].removeprefix(f"data:{kind};base64,")
    assert image["alt"] == "a bell" and given == (
        base64.b64encode(SVG.encode()).decode() if "svg" in kind else PIXEL
    )
    assert "Figure" not in shown(page) and "alert(1)" not in page
    output.metadata = {}
    with pytest.raises(ValueError, match="cell mine has no alt text"):
        made(new_code_cell("x", id="mine", outputs=[output]))


def displayed(**data: str) -> nbformat.NotebookNode:
    kinds = {f"text/{kind}" if "_" not in kind else kind.replace("_", "/"): text
             for kind, text in data.items()}  # fmt: skip
    return new_code_cell("x", id="mine", outputs=[new_output("display_data", data=kinds)])


def test_equations_and_tables_that_a_cell_shows_are_in_the_page():
    table = "<table><tr><td>1</td></tr></table>"
    page = shown(made(displayed(latex="$a<b$", plain="a<b")))
    page += shown(made(displayed(html=table, plain="<T at>")))
    assert "<p>$a&lt;b$</p>" in page and table in page and "T at" not in page
    page = shown(made(displayed(html=table, plain="  1")))
    assert ">  1</pre>" in page and "<table>" not in page, "text that says it is enough"


FOREIGN = {
    '<img src="https://a.org/b.png" alt="b">': "src='https://a.org/b.png'",
    "<script>alert(1)</script>": "<script>",
    '<b onclick="x()">b</b>': "onclick",
    '<iframe src="x.html"></iframe>': "<iframe>",
    '<svg><image href="b.png"/></svg>': "href='b.png'",
    "<style>b {background: url(b.png)}</style>": "a style",
    '<b style="background: url(//a.org/b)">b</b>': "a style",
    f'<img src="data:image/png;base64,{PIXEL}">': "a picture without alt",
    '<a href="JavaScript:x()">b</a>': "href",
    '<img src=b.png alt="b">': "src='b.png'",
}


@pytest.mark.parametrize("html", FOREIGN)
def test_what_would_be_fetched_or_run_is_refused_with_the_cell(html):
    for cell in (new_markdown_cell(f"# T\n\ntext {html}", id="mine"), displayed(html=html)):
        with pytest.raises(ValueError, match=f"cell mine has .*{re.escape(FOREIGN[html])}"):
            made(cell)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("![b](https://a.org/b.png)", "src='https"),
        ("![b](none.png)", "src='none.png'"),
        (f"![](data:image/png;base64,{PIXEL})", "without alt text"),
        ("![b](attachment:none.png)", "not there"),
    ],
)
def test_a_picture_in_the_text_that_the_page_would_lack_is_refused(text, reason):
    with pytest.raises(ValueError, match=f"cell mine has .*{reason}"):
        made(new_markdown_cell(text, id="mine"))


def test_what_no_page_can_hold_is_refused_with_the_cell():
    with pytest.raises(ValueError, match="cell mine shows video/mp4"):
        made(displayed(video_mp4="AAAA", plain="<Video>"))
    assert "&lt;Line2D&gt;</pre>" in made(displayed(plain="<Line2D>"))


def test_pictures_beside_the_notebook_and_pasted_ones_are_in_the_page(tmp_path):
    (tmp_path / "b.png").write_bytes(base64.b64decode(PIXEL))
    text = """![b](b.png) ![c](attachment:c.png) <img alt="d" src="b.png">\n\n<p><img src='b.png'
    alt="e"></p>"""
    cell = new_markdown_cell(text, attachments={"c.png": {"image/png": PIXEL}})
    page = handout.page(new_notebook(cells=[cell]), tmp_path / "05_elbo.ipynb", set())
    images = Elements(shown(page)).of("img")
    assert [image["alt"] for image in images] == ["b", "c", "d", "e"]
    assert {image["src"] for image in images} == {f"data:image/png;base64,{PIXEL}"}


def test_a_picture_without_words_is_refused(monkeypatch, tmp_path):
    cell = new_code_cell("plt.show()", id="mine", outputs=[picture(" ")])
    with pytest.raises(ValueError, match="cell mine has no alt text"):
        made(cell)
    mine = tmp_path / "05_elbo.ipynb"
    nbformat.write(new_notebook(cells=[cell]), mine)
    monkeypatch.setattr(handout, "notebook_path", lambda lesson: mine)
    code, text = run("05", "--to", str(tmp_path / "out"))
    assert code == 1 and "mine" in text and not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", ["77", "elbo", "*"])
def test_an_unknown_lesson_names_the_legal_ones_and_writes_nothing(wrong, tmp_path):
    code, text = run("05", wrong, "--to", str(tmp_path / "out"))
    assert code == 1 and "05_elbo" in text and "Traceback" not in text
    assert not (tmp_path / "out").exists()


def test_a_page_is_replaced_and_any_other_file_is_not(tmp_path, monkeypatch):
    code, text = run("start_here", "--to", str(tmp_path))
    page = tmp_path / "start_here.html"
    assert code == 0 and text.strip() == str(page) and [*tmp_path.iterdir()] == [page]
    first = page.read_text(encoding="utf-8")
    assert "00_toolbox.html" not in first, "no link to a page that is not there"
    code, _ = run("start_here", "00", "--to", str(tmp_path))
    assert code == 0 and 'href="00_toolbox.html"' in page.read_text(encoding="utf-8")
    assert "05_elbo.html" not in page.read_text(encoding="utf-8")

    def full(*paths):
        raise OSError(28, "No space left on device")

    whole = page.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        code, text = run("start_here", "--to", str(tmp_path))
    assert code == 1 and "No space left" in text and page.read_bytes() == whole
    assert {path.name for path in tmp_path.iterdir()} == {"start_here.html", "00_toolbox.html"}
    page.write_text("my own page")
    code, text = run("start_here", "--to", str(tmp_path))
    assert code == 1 and "is no handout" in text and page.read_text() == "my own page"


def test_without_mathjax_one_line_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(handout, "MATHJAX", ("no-such-package", "tex-svg-full.js"))
    code, text = run("05", "--to", str(tmp_path / "out"))
    assert code == 1 and "make handout" in text and len(text.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_extra_and_the_template_are_in_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [pin] = project["project"]["optional-dependencies"]["handout"]
    assert pin.partition("==")[0] == handout.MATHJAX[0]
    assert pin in project["project"]["optional-dependencies"]["test"]
    template = handout.TEMPLATE.relative_to(ROOT / "course_utils").as_posix()
    assert template in project["tool"]["setuptools"]["package-data"]["course_utils"]
