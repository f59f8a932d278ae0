"""Playlists, minutes and routes; what a page needs after the kernel was lost; map and lessons."""

import json
import os
import re

import pytest
from typer.testing import CliRunner

from course_utils.cli import app
from course_utils.notebook.names import cells_behind
from course_utils.present import decks, lab
from tests.notebooks.lessons import LESSONS, LINES_OF, PLAN, read, tags

DECKS = ("PKU", "BU", "E1", "E2", "FUD")
MAP = decks.lecture_map()
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return result.exit_code, result.output


@pytest.mark.parametrize("deck", DECKS)
def test_a_playlist_lists_every_section_in_the_decks_order(deck):
    code, text = run("playlist", deck)
    assert code == 0
    listed = re.findall(r"^  (\d\d\.\d+) +(\d+) min", text, re.MULTILINE)
    wanted = [number for block in MAP["playlists"][deck]["blocks"] for number in block]
    assert [number for number, _ in listed] == wanted
    assert all(1 <= int(minutes) <= 30 for _, minutes in listed)
    built = {path.name[:2] for path in LESSONS}
    for line in text.splitlines():
        if re.match(r"  \d\d\.\d", line):
            assert ("not built yet" in line) == (line.strip()[:2] not in built), line


def test_the_minutes_of_a_block_are_the_sum_of_its_sections():
    _, text = run("playlist", "PKU")
    block = text.split("Block 4 · ")[1].split("\n\n")[0]
    assert int(block.split()[0]) == sum(map(int, re.findall(r" (\d+) min ", block)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("playlist", "MIT"), "legal: PKU, BU, E1, E2, FUD"),
        (("present", "77"), "legal: 00, 01"),
        (("present", "05", "--section", "06.1"), "legal: 05.1, 05.2"),
        (("present", "--playlist", "PKU", "--block", "99"), "legal: 1 to 8"),
        (("present", "--playlist", "PKU", "--block", "8"), "no section of PKU block 8 is built"),
        (("present",), "name a lesson"),
        (("present", "05", "--playlist", "PKU"), "name a lesson"),
    ],
)
def test_what_cannot_be_presented_is_said(arguments, said):
    code, text = run(*arguments)
    assert code == 1 and said in text and "Traceback" not in text


def test_a_route_is_the_blocks_written_sections_across_lessons():
    route = decks.route_of_block("PKU", 4)
    assert [section.id for section in route][:3] == ["08.1", "08.5", "08.4"]
    assert all(section.notebook.is_file() for section in route)
    assert decks.first_of(route, "08.4").id == "08.4"
    assert decks.first_of(route, "").id == "08.1"


def test_nothing_of_the_users_own_jupyter_is_written(tmp_path, monkeypatch):
    for name in ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, "/the/users/own")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", "/the/users/own")
    monkeypatch.setenv("COURSE_FIGURES", "light")
    route = decks.route_of_lesson("05")
    told = lab.plan(route, "05.3", whole=True, stored=False)
    lab.prepare(tmp_path, told, dark=True)
    for name in ("JUPYTERLAB_SETTINGS_DIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR"):
        assert os.environ[name].startswith(str(tmp_path))
    page = json.loads((tmp_path / "labconfig" / "page_config.json").read_text())
    plan = json.loads(page["coursePresent"])
    assert [stop["id"] for stop in plan["route"]] == PLAN["05"]["sections"]
    assert plan["route"][0]["notebook"] == "notebooks/05_elbo.ipynb"
    theme = tmp_path / "settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
    assert json.loads(theme.read_text()) == {"theme": "JupyterLab Dark"}
    assert os.environ["COURSE_FIGURES"] == "dark"


# --- cells, map and playlists -----------------------------------------------------------------


def test_map_plan_and_playlists_name_the_same_sections():
    in_map = {lesson["id"]: [s["id"] for s in lesson["sections"]] for lesson in MAP["lessons"]}
    assert in_map == {number: plan["sections"] for number, plan in PLAN.items()}
    known = {number for numbers in in_map.values() for number in numbers}
    for deck, playlist in MAP["playlists"].items():
        listed = [number for block in playlist["blocks"] for number in block]
        assert set(listed) <= known and len(listed) == len(set(listed)), deck
    for section in decks.sections().values():
        assert section.minutes >= 5


def test_the_map_says_in_which_section_every_step_of_the_plan_stands():
    """And no other: an older step without a home of its own (D33) is carried by a newer one."""
    homes = {step["id"]: step["lesson_sections"] for step in MAP["derivation_steps"]}
    claims = {claim["id"] for claim in MAP["claims"]}
    for number, plan in PLAN.items():
        for step in plan["steps"]:
            assert any(home[:2] == number for home in homes[step]), step
        assert claims.issuperset(plan["claims"])
    in_plan = {step for plan in PLAN.values() for step in plan["steps"]}
    assert homes.keys() == in_plan | (LINES_OF.keys() - claims)


def lectures(path) -> dict[str, list[str]]:
    """Deck -> the headings that a lesson's first cell names of it."""
    line = re.search(r"^\*\*Lectures:\*\*(.*)$", read(path).cells[0].source, re.MULTILINE)
    named, decks = {}, []
    for token in re.findall(rf"\b({'|'.join(DECKS)})\b|\*([^*]+)\*", line[1]):
        deck, heading = token
        if deck:
            decks = [deck] if heading_seen(named, decks) else [*decks, deck]
            named.setdefault(deck, [])
        for one in decks if heading else ():
            named[one].append(heading)
    return named


def heading_seen(named: dict[str, list[str]], decks: list[str]) -> bool:
    """Whether a heading was named since the present group of decks ("E1, E2 *DCGAN*") began."""
    return any(named[deck] for deck in decks)


def decks_of(lessons: set[str]) -> set[str]:
    """The decks that have a topic in the sections of some lessons."""
    return {
        deck["key"]
        for deck in MAP["decks"]
        for topic in deck["topics"]
        if any(number[:2] in lessons for number in topic["lesson_sections"])
    }


@each_lesson
def test_the_first_cell_names_decks_that_the_map_gives_the_lesson(path):
    """By its sections, or by the steps of other lessons that it repeats on purpose."""
    lesson = path.name[:2]
    homes = {
        number[:2]
        for step in MAP["derivation_steps"]
        for number in step["lesson_sections"]
        if step["id"] in PLAN[lesson]["also"]
    }
    named = lectures(path)
    assert named and set(named) <= decks_of({lesson, *homes})


@each_lesson
def test_the_first_cell_names_every_deck_whose_playlist_walks_the_lesson(path):
    walked = {
        deck
        for deck, playlist in MAP["playlists"].items()
        if any(number[:2] == path.name[:2] for block in playlist["blocks"] for number in block)
    }
    assert walked <= set(lectures(path))


@each_lesson
def test_the_headings_of_the_first_cell_are_headings_of_the_deck(path):
    def plain(text: str) -> str:
        return text.casefold().replace("→", "->").replace("–", "-")

    headings = {
        deck["key"]: plain(" | ".join(topic["heading"] for topic in deck["topics"]))
        for deck in MAP["decks"]
    }
    strays = {
        (path.name[:2], deck, heading)
        for deck, named in lectures(path).items()
        for heading in named
        if plain(heading) not in headings[deck]
    }
    assert strays == set()


# --- a lecturer's own deck ----------------------------------------------------------------------

OWN = """lessons:
- id: '05'
  sections:
  - {id: '05.1', title: One, minutes: 10}
  - {id: '05.2', title: Two, minutes: 5}
playlists:
  MINE:
    blocks:
    - ['05.1', '05.2']
    - ['05.2']
"""


@pytest.fixture
def own_map(tmp_path, monkeypatch):
    """Writes a map of one's own in the place of ours."""
    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(decks, "ROOT", tmp_path)
    monkeypatch.setattr(decks, "lecture_map", decks.lecture_map.__wrapped__)
    return lambda text: (tmp_path / decks.MAP).write_bytes(text.encode("latin-1"))


def test_a_deck_of_blocks_alone_is_whole(own_map):
    own_map(OWN)
    assert [line.strip() for line in decks.playlist("MINE")] == [
        "MINE",
        "Block 1 · 15 minutes, 0 of them ready to present",
        "05.1   10 min  One  (not built yet)",
        "05.2    5 min  Two  (not built yet)",
        "Block 2 · 5 minutes, 0 of them ready to present",
        "05.2    5 min  Two  (not built yet)",
    ]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (
            "'05.2']\n    -",
            "'05.9']\n    -",
            "MINE, block 1: no section '05.9'; legal: 05.1, 05.2$",
        ),
        (
            "- ['05.2']",
            "- ['12.1']",
            "block 2: no section '12.1'; legal: .*lessons 05, such as '05",
        ),
        ("- ['05.2']", "- 05.2", "deck MINE, block 2: 5.2 is a number; .* in quotes, '05.1'"),
        ("- ['05.2']", "-", "deck MINE, block 2: no section None; legal: "),
        ("minutes: 5", "minutes: five", "section 05.2: minutes 'five'; legal: a whole number"),
        (", minutes: 5", "", "section 05.2: minutes None; legal"),
        ("title: Two, ", "", "section 05.2 has no `title:`"),
        ("    - ['05.2']", "\t- ['05.2']", "lecture_map.yml, line 10: .*; YAML indents by spaces"),
        ("Two", "Zw\u00f6lf", "lecture_map.yml: .*utf-8"),
        ("    blocks:\n", "    block:\n", "deck MINE: it has no list `blocks:`"),
        ("blocks:\n    - ['05.1', '05.2']\n    - ['05.2']", "", "deck MINE: it has no list"),
        ("playlists", "playlist", "lecture_map.yml has no `playlists:`"),
        ("MINE", "2027", "no deck 'MINE'; legal: 2027"),
    ],
)
def test_a_deck_that_is_written_wrongly_is_one_line(own_map, before, after, says):
    assert before in OWN
    own_map(OWN.replace(before, after, 1))
    with pytest.raises(ValueError, match=says) as raised:
        list(decks.playlist("MINE"))
    assert "\n" not in str(raised.value)


# --- notes for the lecturer ---------------------------------------------------------------------


@each_lesson
def test_every_section_and_every_widget_has_a_note_for_the_lecturer(path):
    """On the page's text, which stands above the widget; F8 shows it, nothing else does."""
    cells = read(path).cells
    texts = [i for i, cell in enumerate(cells) if cell.cell_type == "markdown"]
    above = [max(t for t in texts if t < i) for i, c in enumerate(cells) if "widget" in tags(c)]
    sections = [i for i in texts if re.match(r"## \d\d\.\d", cells[i].source)]
    assert sections and above
    for index in (*sections, *above):
        words = cells[index].metadata.get("notes", "").split()
        assert 5 <= len(words) <= 80, cells[index].id


# --- what a page needs --------------------------------------------------------------------------


def code(*sources: str, **tagged: str) -> list[dict]:
    """Code cells with these sources; `c2="train"` tags the third."""
    return [{"source": s, "tags": [tagged.get(f"c{i}", "")]} for i, s in enumerate(sources)]


@pytest.mark.parametrize(
    ("cells", "wanted", "behind"),
    [
        (code("a = 1", "b = 2", "c = a"), [2], [0, 2]),
        (code("a = 1", "a = 2", "c = a"), [2], [1, 2]),
        (code("a = 1", "a = a + 1", "c = a"), [2], [0, 1, 2]),
        (code("def f():\n    return k", "k = 3", "u = 1", "f()"), [3], [0, 1, 3]),
        (code("def f():\n    x = 1", "x = 5", "y = x"), [2], [1, 2]),
        (code("net = make()", "net.load(1)", "other.load(2)", "net(3)"), [3], [0, 1, 3]),
        (code("d = {}", "d['a'] = 1", "e = d"), [2], [0, 1, 2]),
        (code("import math as m", "x = 1", "m.pi"), [2], [0, 2]),
        (code("n = 1", "for s in fit(n): pass", "n", c1="train"), [2], [0, 1, 2]),
        (code("seed()", "b = 1", "b", c0="setup"), [2], [0, 1, 2]),
        (code("%magic", "a = 1", "a"), [2], [1, 2]),
        (code("t = 1", "for t in range(2): print(t)", "t"), [2], [0, 1, 2]),
        (code("t = 1", "for t in range(2): print(t)\nb = 1", "b"), [2], [1, 2]),
        (code("t = 1", "if b: t = 2\nc = t", "c"), [2], [0, 1, 2]),
        (code("t = 1", "t = 2\nc = t", "c"), [2], [1, 2]),
        (code("t = 1", "t += 1", "t"), [2], [0, 1, 2]),
        (code("with f() as t: pass", "t = [t for t in s]", "t"), [2], [1, 2]),
        (code("def f(): return 1", "for s in fit(len(f)): pass", "f()", c1="train"), [2], [0, 2]),
    ],
)
def test_the_cells_behind_a_page(cells, wanted, behind):
    assert cells_behind(cells, wanted) == behind


def test_a_page_of_lesson_05_needs_few_cells_and_runs_with_them(monkeypatch):
    (lesson,) = [path for path in LESSONS if path.name.startswith("05_")]
    cells = [cell for cell in read(lesson).cells if cell.cell_type == "code"]
    monkeypatch.chdir(lesson.parent)
    listed = [{"source": cell.source, "tags": sorted(tags(cell))} for cell in cells]
    page = next(i for i, cell in enumerate(cells) if cell.id == "05-A10")
    behind = cells_behind(listed, [page])
    assert behind[-1] == page and len(behind) < page / 2, [cells[i].id for i in behind]
    space: dict = {}
    for index in behind:
        exec(cells[index].source, space)
    assert "bound" in space
