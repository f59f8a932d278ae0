"""What the cells of a lesson do with each other's names.

A student may go back to any cell after "Run all": no later cell has taken its names. No cell reads
an answer but through `use`: so the stored run, where `use` hands on the references, is the run of a
lesson with every exercise solved.
"""

import pytest

from course_utils import exercises
from course_utils.notebook.file import OURS
from tests.notebooks.lessons import LESSONS, NOTEBOOKS, code_cells, tags
from tests.notebooks.names import conflicts, live, names_but_use

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def solved_cells(path) -> list[tuple[str, str]]:
    """Id and source of every code cell, answers in the place of stubs."""
    cells = []
    for cell in code_cells(path):
        match = OURS.fullmatch(cell.id)
        answer = match and match[1] == "answer"
        cells.append((cell.id, exercises.find(match[2]).solution if answer else cell.source))
    return cells


def past_use(cells: list[tuple[str, str]], names: set[str]) -> dict[str, set[str]]:
    """Id of a cell -> the answers' names that it reads and that no `use` before it has handed on.

    Answers and their checks may read them. A function counts where it is written.
    """
    handed: set[str] = set()
    found = {}
    for cell_id, source in cells:
        handed |= {name for name in names if f'\n{name} = use("' in f"\n{source}"}
        part = names_but_use(source)
        read = part.wants.union(live(source, part), *part.inside.values()) & names - handed
        if read and not OURS.fullmatch(cell_id):
            found[cell_id] = read
    return found


def from_deeper(cells: list[tuple[str, str]], deeper: set[str]) -> dict[str, set[str]]:
    """Id of a core cell -> the names that it reads and that only cells in `deeper` bind."""
    parts = {cell_id: names_but_use(source) for cell_id, source in cells}
    core = set().union(*(part.binds for cell_id, part in parts.items() if cell_id not in deeper))
    aside = set().union(*(parts[cell_id].binds for cell_id in deeper)) - core
    read = {cell_id: part.reads & aside for cell_id, part in parts.items() if cell_id not in deeper}
    return {cell_id: names for cell_id, names in read.items() if names}


def numbered(*sources: str) -> list[tuple[str, str]]:
    return [(f"cell {number}", source) for number, source in enumerate(sources, start=1)]


@each
def test_a_name_that_cells_share_is_bound_by_one_of_them(path):
    assert conflicts(solved_cells(path)) == {}


@each_lesson
def test_no_cell_reads_an_answer_but_through_use(path):
    names = {exercise.name for exercise in exercises.of_lesson(path.name[:2])}
    assert names and past_use(solved_cells(path), names) == {}


@each_lesson
def test_no_core_cell_reads_a_name_of_a_side_path(path):
    """A lesson makes sense without the cells tagged `deeper`."""
    deeper = {cell.id for cell in code_cells(path) if "deeper" in tags(cell)}
    assert from_deeper(solved_cells(path), deeper) == {}


@each_lesson
def test_a_cell_at_the_end_that_takes_a_shared_name_is_found(path):
    cells = solved_cells(path)
    setup, _ = cells[0]
    found = conflicts([*cells, ("planted", "line = 'a line of text'")])
    assert found["line"]["binds"] == [setup, "planted"] and len(found["line"]["reads"]) > 5


PLANTED = {
    "a later cell rebinds it": ["x = 2.0", "print(x)", "x = [1, 2]"],
    "an earlier cell of its own binds it too": ["x = 3\nprint(x)", "x = 2.0", "print(x)"],
    "a loop takes it": ["x = 2.0", "print(x)", "for x in (1, 2):\n    print(x)"],
    "unpacking takes it": ["x = 2.0", "print(x)", "(y, (x, *z)) = 1, (2, 3)"],
    "with takes it": ["x = 2.0", "print(x)", "with open('f') as x:\n    pass"],
    "a walrus takes it": ["x = 2.0", "print(x)", "print((x := 3))"],
    "a function takes it": ["x = 2.0", "print(x)", "def x():\n    pass"],
    "an import takes it": ["x = 2.0", "print(x)", "import numpy as x"],
    "a cell deletes it": ["x = 2.0", "print(x)", "del x"],
    "a cell counts it up": ["x = 2.0", "x = x + 1"],
    "a cell counts it up in short": ["x = 2.0", "x += 1"],
    "read inside a comprehension": ["x = 2.0", "print([x * i for i in (1, 2)])", "x = 3"],
    "read by a function": ["x = 2.0", "def f(a):\n    return x * a", "x = 3"],
    "a function that another cell calls reads it": [
        "x = 2.0\ndef f(a):\n    return x * a",
        "def g(a):\n    return f(a)",
        "print(g(1))",
        "x = 3",
    ],
    "a lambda that another cell calls reads it": ["x = 2\nf = lambda a: x * a", "f(1)", "x = 3"],
    "the demo reads it at each move": ["x = 2.0\nwidgets.explore(lambda a: x * a)", "x = 3"],
    "a function of the cell reads it before the cell binds it": [
        "x = 2.0",
        "def f(a):\n    return x * a\n\n\nf(1)\nx = 3",
    ],
    "a key reads it before the cell binds it": ["x = 2", "sorted([1], key=lambda a: x)\nx = 3"],
    "not the function that was handed on": ["x = 2", "x = use('05-e1', y)", "print(x)"],
}
SOUND = {
    "each cell binds its own": ["x = 2.0\nprint(x)", "x = [1, 2]\nprint(x)"],
    "each loop binds its own": ["for x in (1, 2):\n    print(x)"] * 2,
    "a list that was made with it": ["x = 2\ny = [x * i for i in (1, 2)]", "print(y)", "x = 3"],
    "one binds, all read": ["x = 2.0", "print(x)", "y = x"],
    "a comprehension's own": ["x = 2.0", "print(x)", "print([x for x in (1, 2)])"],
    "a function's own": ["x = 2.0", "print(x)", "def f(x):\n    y = x\n    return y", "f(1)"],
    "a keyword": ["x = 2.0", "print(x)", "print(dict(x=3))"],
    "an attribute": ["x = 2.0", "print(x)", "a = dict()\na.x = 3"],
    "a function at work in its own cell": [
        "x = 2\ndef f(a):\n    return x * a\nf(1)",
        "x = 3\nprint(x)",
    ],
    "a function that the cell calls after it has bound the name": [
        "x = 2\nprint(x)",
        "def f(a):\n    return x * a\n\n\nx = 3\nf(1)",
    ],
    "the answer handed on": [
        "def f(a):\n    return a",
        "check('05-e1', f)",
        "f = use('05-e1', f)",
        "f(1)",
    ],
    "the same import": ["from math import pi", "from math import pi\nprint(pi)", "print(pi)"],
}


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["x = 1", "y = 2", "y + x"], {"cell 3": {"y"}}),
        (["x = 1", "def y():\n    return 2", "[y() for _ in 'ab']"], {"cell 3": {"y"}}),
        (["x = 1", "import numpy as y", "def f():\n    return y.pi"], {"cell 3": {"y"}}),
        (["explore(lambda a: a * y)", "y = 2"], {"cell 1": {"y"}}),
        (["x = 1", "y = x\ny + x", "x + 1"], {}),
        (["import numpy as y", "import numpy as y", "y.pi"], {}),
        (["x = 1", "y = 2", "y = 3\ny"], {}),
    ],
)
def test_a_core_cell_that_reads_a_name_of_a_side_path_is_found(cells, found):
    assert from_deeper(numbered(*cells), {"cell 2"}) == found


USE = 'f = use("05-e1", f)'


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["def f(a):\n    return a", "f(1)"], {"cell 2"}),
        (["def f(a):\n    return a", "def g(a):\n    return f(a)", USE, "g(1)"], {"cell 2"}),
        (["def f(a):\n    return a", "[f(i) for i in (1, 2)]", USE], {"cell 2"}),
        (["def f(a):\n    return a", "h = use('05-e1', f)", "h(1)"], {"cell 2"}),
        (["def f(a):\n    return a", "explore(lambda a: f(a))", USE], {"cell 2"}),
        (["def f(a):\n    return a", USE, "f(1)", "x.f = dict(f=1)"], set()),
        (["def f(a):\n    return a", f"y = 1\n{USE}\nf(1)"], set()),
        (["def f(a):\n    return a", "f = 1\nf + 1", USE], set()),
    ],
)
def test_a_cell_that_reads_an_answer_before_use_is_found(cells, found):
    assert set(past_use(numbered(*cells), {"f"})) == found


@pytest.mark.parametrize("why", PLANTED)
def test_planted_lessons_are_rejected(why):
    found = conflicts(numbered(*PLANTED[why]))
    assert set(found) == {"x"} and found["x"]["reads"]


@pytest.mark.parametrize("why", SOUND)
def test_sound_lessons_are_accepted(why):
    assert conflicts(numbered(*SOUND[why])) == {}


def test_the_finding_names_the_cells():
    found = conflicts(numbered(*PLANTED["a function that another cell calls reads it"]))
    assert found == {"x": {"binds": ["cell 1", "cell 4"], "reads": ["cell 2", "cell 3"]}}
