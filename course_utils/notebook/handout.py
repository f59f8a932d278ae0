"""A stored lesson as one HTML page, to read or to print: no network, no kernel, no other file.

nbconvert reads the Markdown and colours the code; `handout.html` beside this file is the page.
MathJax, which draws the equations, comes from a package (pyproject's extra `handout`) and is
written into the page. Cell metadata, and so a speaker's notes, never is.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_utils.notebook.file import normalised, notebook_path
from course_utils.place import write_whole
from course_utils.widgets import NOTE

TEMPLATE = Path(__file__).with_name("handout.html")
MARK = "course handout"  # by which a page is known as ours, to be replaced
MATHJAX = ("sphinx-mathjax-offline", "tex-svg-full.js")
REMEDY = "make handout installs it, and so does pip install -e '.[handout]'"
PICTURES = ("image/png", "image/jpeg", "image/svg+xml", "image/gif", "image/webp")
REPR = re.compile(r"(<.*>)?", re.DOTALL)  # no text of its own: <IPython.core.display.HTML object>
SOURCE = re.compile(r"""(<img\b[^>]*?\bsrc\s*=\s*["'])([^"']*)(["'])""", re.IGNORECASE)
RUNS = {"script", "iframe", "object", "embed", "link", "base", "form", "frame", "meta"}
FETCHED = {"src", "srcset", "href", "xlink:href", "poster", "data", "action", "formaction"}
FETCHES = re.compile(r"""url\(\s*["']?(?!data:|#)|@import""", re.IGNORECASE)
STILL = "A still picture: the sliders and choices are in the notebook."


def write(lessons: list[str], folder: Path, core: bool = False) -> list[Path]:
    """Write a page for each lesson ("05", "start_here") into `folder`; returns their paths.

    A page that an earlier call wrote is replaced, in one step. With `core` the side paths, which
    are the cells tagged `deeper`, are left out.

    Raises:
        ValueError: no such lesson, a picture without alt text, something that would be fetched or
            run, no MathJax, or a file in the way that is no handout. Nothing is written then.
    """
    sources = [notebook_path(lesson) for lesson in lessons]
    targets = [folder / f"{source.stem}.html" for source in sources]
    for target in targets:
        if target.exists() and f'content="{MARK}"' not in target.read_text("utf-8", "replace"):
            raise ValueError(f"{target} is there already and is no handout: move it, or use --to")
    beside = {target.name for target in targets} | {path.name for path in folder.glob("*.html")}
    pages = [page(nbformat.read(source, 4), source, beside, core) for source in sources]
    folder.mkdir(parents=True, exist_ok=True)
    for target, text in zip(targets, pages, strict=True):
        write_whole(target, text)
    return targets


def page(notebook: NotebookNode, source: Path, beside: set[str], core: bool = False) -> str:
    """The HTML page of a notebook read from `source`; `beside` names the pages it may link to.

    With `core`, without the cells tagged `deeper`.
    """
    from jinja2 import Template
    from nbconvert.filters import Highlight2HTML
    from pygments.formatters import HtmlFormatter

    mathjax, headings, cells, coloured = _mathjax(), [], [], Highlight2HTML()
    for cell in normalised(notebook).cells:
        tags = set(cell.metadata.get("tags", []))
        if core and "deeper" in tags:
            continue
        if cell.cell_type == "markdown":
            cells.append({"text": _markdown(cell, source, beside, headings)})
        elif cell.cell_type == "code":
            drawing = not {"figure", "widget"}.isdisjoint(tags)
            shown = {"code": coloured(cell.source), "outputs": list(_outputs(cell))}
            cells.append(shown | {"drawing": drawing})
    title = next((text for level, _, text in headings if level == 1), source.stem)
    contents: list[tuple[str, str, list]] = []
    for level, name, text in headings:
        if level == 2:
            contents.append((name, text, []))
        elif level == 3 and contents:
            contents[-1][2].append((name, text))
    light, dark = (
        "\n".join(HtmlFormatter(style=style).get_token_style_defs(".highlight"))
        for style in ("default", "github-dark")
    )
    return Template(TEMPLATE.read_text(encoding="utf-8"), autoescape=True).render(
        mark=MARK, title=title, source=source.name, contents=contents, cells=cells,
        light=light, dark=dark, mathjax=mathjax,
    )  # fmt: skip


def _markdown(cell: NotebookNode, source: Path, beside: set[str], headings: list) -> str:
    """A cell as HTML that needs nothing else; adds (level, id, HTML) of its headings."""
    from nbconvert.filters.markdown_mistune import InvalidNotebook

    try:
        html = _rendered(cell, source, beside, headings)
    except InvalidNotebook as error:
        raise ValueError(f"cell {cell.id} has a picture that is not there: {error}") from error
    _refuse(html, cell)
    return html


def _rendered(cell: NotebookNode, source: Path, beside: set[str], headings: list) -> str:
    """A cell as HTML, with its pictures. The first heading of level 1 is left out."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def heading(self, text: str, level: int, **attrs: object) -> str:
            name = re.sub(r"[^a-z0-9]+", "-", re.sub("<.*?>", "", text).lower()).strip("-")
            taken = sum(re.sub(r"--\d+$", "", other) == name for _, other, _ in headings)
            headings.append((level, f"{name}--{taken + 1}" if taken else name, text))
            first = level == 1 and sum(level == 1 for level, *_ in headings) == 1
            return "" if first else f'<h{level} id="{headings[-1][1]}">{text}</h{level}>\n'

        def table(self, text: str) -> str:
            text = re.sub(r"<th([^>]*)></th>", r"<td\1></td>", text)
            return f'<div class="scroll"><table>\n{text}</table></div>\n'

        def link(self, text: str, url: str, title: str | None = None) -> str:
            there = re.fullmatch(r"([^/:]+)\.ipynb(#.*)?", url)
            if there is None:
                return super().link(text, url, title)
            name = f"{there[1]}.html"
            return super().link(text, name, title) if name in beside else text

        def inline_math(self, body: str) -> str:
            return f'<span class="tex">{super().inline_math(body)}</span>'

        def inline_html(self, html: str) -> str:  # the parent's closes an open <details>
            return SOURCE.sub(lambda found: found[1] + self.embedded(found[2]) + found[3], html)

        block_html = inline_html

        def embedded(self, src: str) -> str:
            return self._embed_image_or_attachment(src)

    attachments = cell.get("attachments", {})
    folder = str(source.parent)
    renderer = Renderer(escape=False, embed_images=True, path=folder, attachments=attachments)
    html = MarkdownWithMath(renderer=renderer).render(cell.source)
    # A browser would begin a line with the comma after an equation.
    return re.sub(r'(<span class="tex">[^<]*)</span>([,.;:!?)]+)', r"\1\2</span>", html)


def _outputs(cell: NotebookNode) -> Iterator[tuple[str, str, str]]:
    """(kind, content, alt text) of what a cell shows; the richest kind that a page can hold.

    Raises:
        ValueError: a page can hold none of it: it would be fetched, or it would run.
    """
    from nbconvert.filters import strip_ansi

    for output in cell.outputs:
        data, plain = output.get("data", {}), _text(output)
        picture = next((kind for kind in PICTURES if kind in data), None)
        if picture:
            yield "picture", _data_url(picture, data[picture]), _alt(output, picture, cell)
        elif plain == NOTE:
            yield "still", STILL, ""
        elif "text/latex" in data:
            yield "equation", data["text/latex"], ""
        elif set(data) - {"text/plain"} and REPR.fullmatch(plain):
            yield "html", _html(data, cell), ""
        elif plain:
            yield "text", strip_ansi(plain.rstrip("\n")), ""


def _alt(output: NotebookNode, picture: str, cell: NotebookNode) -> str:
    alt = output.metadata.get(picture, {}).get("alt", "")
    if not alt.strip():
        raise ValueError(
            f"a picture of cell {cell.id} has no alt text: show it by `plot.show`, give its "
            f'metadata {{"{picture}": {{"alt": "..."}}}}, or clear the output'
        )
    return alt


def _html(data: dict, cell: NotebookNode) -> str:
    """What an output that has no text of its own shows."""
    if "text/html" not in data:
        others = ", ".join(sorted(set(data) - {"text/plain"}))
        raise ValueError(
            f"cell {cell.id} shows {others}, which a page cannot hold: show a picture or text "
            "instead, or clear the output"
        )
    _refuse(data["text/html"], cell)
    return data["text/html"]


def _data_url(kind: str, content: str) -> str:
    """A picture as an address; in an <img> no script of an SVG runs and nothing is fetched."""
    if kind == "image/svg+xml":
        content = b64encode(content.encode()).decode()
    return f"data:{kind};base64,{''.join(content.split())}"


def _refuse(html: str, cell: NotebookNode) -> None:
    """Raise if HTML would fetch or run something, or holds a picture without words."""
    found = Foreign()
    found.feed(html)
    found.close()
    if found.what:
        raise ValueError(
            f"cell {cell.id} has {found.what[0]}: a page to hand out is one file, read without "
            "network; put a picture beside the notebook, with words: ![what it shows](file.png)"
        )


class Foreign(HTMLParser):
    """What in a piece of HTML would be fetched or run, and pictures without alt text."""

    def __init__(self) -> None:
        super().__init__()
        self.what: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        given = {name: (value or "").strip() for name, value in attrs}
        link = tag == "a" and "script:" not in given.get("href", "").lower()
        if tag in RUNS:
            self.what.append(f"a <{tag}>")
        for name, value in given.items():
            own = link or value.startswith(("data:", "#"))
            if name.startswith("on"):
                self.what.append(f"{name}={value[:40]!r}, which runs code")
            elif name in FETCHED and not own:
                self.what.append(f"{name}={value[:60]!r}, which is no part of the page")
            elif name == "style" and FETCHES.search(value):
                self.what.append("a style that fetches a file")
        if tag == "img" and not given.get("alt"):
            self.what.append("a picture without alt text")

    def handle_data(self, data: str) -> None:
        """Look at the text of a style sheet."""
        if self.cdata_elem == "style" and FETCHES.search(data):
            self.what.append("a style that fetches a file")


def _text(output: NotebookNode) -> str:
    """What an output says; nothing of stderr, where warnings and progress bars go."""
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    return output.data.get("text/plain", "")


def _mathjax() -> str:
    """MathJax's source, fit to stand in a page.

    Raises:
        ValueError: it is not installed; the message names the remedy.
    """
    package, name = MATHJAX
    try:
        [found] = [path for path in files(package) or () if path.name == name]
        return found.read_text(encoding="utf-8").replace("</script", r"<\/script")
    except (PackageNotFoundError, ValueError, FileNotFoundError) as error:
        raise ValueError(f"{package} is missing, which draws the equations: {REMEDY}") from error
