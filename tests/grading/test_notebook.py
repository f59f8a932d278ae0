"""A submitted file is understood however it was mangled, or refused with a reason."""

import json
import re
import time
import warnings
from pathlib import Path

import nbformat
import pytest

from course_utils import exercises
from course_utils.grading import notebook as module
from course_utils.grading.base import Cell, Unreadable, Work
from course_utils.grading.notebook import Leads, lessons, read
from tests.grading.submissions import answered, code, position, solution

NAMES = [exercise.id for exercise in exercises.of_lesson("08")]


def understood(notebook: object, folder: Path, name: str = "x.ipynb") -> Work:
    path = folder / name
    path.write_text(json.dumps(notebook), "utf-8")
    return read(path)


def answers(work: Work) -> dict[str, str]:
    """The cells that will be judged, by exercise."""
    return {cell.exercise: cell.source for cell in work.cells if cell.exercise}


def helpers(work: Work) -> list[str]:
    return [cell.source for cell in work.cells if cell.source and not cell.exercise]


def stripped(notebook: dict, ids: bool = True, metadata: bool = True) -> dict:
    """As another tool saves it: format 4.4 knows no ids, some drop metadata."""
    for cell in notebook["cells"]:
        if ids:
            cell.pop("id", None)
        if metadata:
            cell["metadata"] = {}
    return {**notebook, "nbformat_minor": 4}


def in_format_3(notebook: dict) -> dict:
    for cell in stripped(notebook, metadata=False)["cells"]:
        cell["source"] = "".join(cell["source"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nbformat.convert(nbformat.from_dict(notebook), 3)
    return json.loads(nbformat.v3.writes_json(old))  # lines of a cell are a list there


def as_lists(notebook: dict) -> dict:
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).splitlines(keepends=True)
    return notebook


MANGLED = {
    "as it was": lambda notebook: notebook,
    "without ids": lambda notebook: stripped(notebook, metadata=False),
    "without metadata": lambda notebook: stripped(notebook, ids=False),
    "without either": stripped,
    "format 3": in_format_3,
    "sources as lists": as_lists,
    "extra keys": lambda notebook: {**notebook, "x": {"worksheet": []}, "metadata": None},
    "no format": lambda notebook: {"cells": notebook["cells"]},
}


@pytest.mark.parametrize("way", MANGLED)
def test_answers_are_found_in_a_mangled_notebook(way, tmp_path):
    work = understood(MANGLED[way](answered("08", {})), tmp_path)
    assert work.lesson == "08" and not any(work.flags.values())
    assert answers(work) == {name: solution(name) for name in NAMES}
    assert helpers(work) == []


@pytest.mark.parametrize("way", MANGLED)
def test_an_untouched_notebook_is_all_stubs_and_nothing_else_runs(way, tmp_path):
    work = understood(MANGLED[way](answered("08", {}, others="untouched")), tmp_path)
    assert set(answers(work)) == set(NAMES) and helpers(work) == []
    assert all("raise NotImplementedError" in source for source in answers(work).values())


def test_reordered_cells_keep_their_answers(tmp_path):
    notebook = answered("08", {})
    notebook["cells"].reverse()
    assert answers(understood(notebook, tmp_path)) == {name: solution(name) for name in NAMES}


def test_deleted_answers_are_missing_and_deleted_checks_are_not_missed(tmp_path):
    notebook = answered("08", {})
    del notebook["cells"][position(notebook, "answer-08-e2")]
    notebook["cells"] = [c for c in notebook["cells"] if not c["id"].startswith("check-")]
    work = understood(notebook, tmp_path)
    assert set(answers(work)) == set(NAMES) - {"08-e2"}
    assert not [cell for cell in work.cells if cell.closes]


def test_the_first_of_two_answers_counts_and_is_reported(tmp_path):
    notebook = answered("08", {})
    at = position(notebook, "answer-08-e1")
    copy = {**notebook["cells"][at], "source": "def optimal_discriminator(a, b):\n    return 0"}
    for name in ("answer-08-e1", "other"):  # the same id twice, or only the same grade_id
        notebook["cells"][at + 1 : at + 1] = [{**copy, "id": name}]
        work = understood(notebook, tmp_path)
        assert answers(work)["08-e1"] == solution("08-e1")
        assert work.flags == {"08-e1": ("duplicate",)} and helpers(work) == []


def test_a_stub_gives_way_to_an_answer_elsewhere(tmp_path):
    for extra in ({}, {"metadata": {"nbgrader": {"grade_id": "answer-08-e1"}}}):
        notebook = answered("08", {"08-e1": lessons()["08"].sources["answer-08-e1"]})
        notebook["cells"].append({**code(solution("08-e1"), "mine"), **extra})
        assert answers(understood(notebook, tmp_path))["08-e1"] == solution("08-e1")


@pytest.mark.parametrize("first_keeps", [True, False])
def test_both_halves_of_a_split_answer_run(first_keeps, tmp_path):
    notebook = answered("08", {})
    at = position(notebook, "answer-08-e1")
    whole = notebook["cells"][at]
    top, rest = "import numpy as np\nTWO = 2", solution("08-e1")
    halves = [{**whole, "source": top, "id": "a"}, {**whole, "source": rest, "id": "b"}]
    halves[not first_keeps]["id"] = whole["id"]
    notebook["cells"][at : at + 1] = halves
    work = understood(notebook, tmp_path)
    assert answers(work)["08-e1"] == rest and helpers(work) == [top] and work.flags == {}


def test_what_was_added_to_a_cell_of_ours_is_kept_and_only_that(tmp_path):
    notebook = answered("08", {})
    lesson = lessons()["08"]
    plain = next(n for n in lesson.sources if not re.match("answer|check", n) and n != "08-setup")
    added = "import numpy as np\n\ndef mine():\n    return 1\n\nfor _ in range(9):\n    train()"
    for name in (plain, "check-08-e1"):
        cell = notebook["cells"][position(notebook, name)]
        cell["source"] = "".join(cell["source"]) + "\n" + added
    setup = notebook["cells"][position(notebook, lesson.setup_id)]
    setup["source"] = "%matplotlib inline\n" + "".join(setup["source"]) + "\nimport numpy as np"
    kept = helpers(understood(notebook, tmp_path))
    assert kept[0] == setup["source"]
    assert kept[1:] == ["import numpy as np\ndef mine():\n    return 1"] * 2


def test_several_answers_in_one_cell_are_all_found(tmp_path):
    both = solution("08-e1") + "\n\n\n" + solution("08-e2")
    notebook = answered("08", {"08-e1": both})
    del notebook["cells"][position(notebook, "answer-08-e2")]
    for change in (lambda notebook: notebook, stripped):
        work = understood(change(notebook), tmp_path)
        assert answers(work) == {**{n: solution(n) for n in NAMES}, "08-e1": both, "08-e2": ""}
    untouched = answered("08", {}, others="untouched")
    untouched["cells"].insert(0, code(both, "mine"))
    found = [cell.exercise for cell in understood(untouched, tmp_path).cells if cell.exercise]
    assert found[:2] == ["08-e1", "08-e2"] and len(found) == len(NAMES)


DRAFTS = {
    "in a comment": '# raise NotImplementedError("08-e1")\n' + solution("08-e1"),
    "in a text": '"raise NotImplementedError(1)"\nx = """\nraise NotImplementedError("08-e1")"""\n'
    + solution("08-e1"),
    "behind the answer": solution("08-e1") + '\n    raise NotImplementedError("08-e1")',
    "of a helper": "def helper():\n    raise NotImplementedError('08-e1')\n" + solution("08-e1"),
}
STUBS = {
    "as it was": exercises.find("08-e1").stub,
    "with a beginning": exercises.find("08-e1").stub.replace("    raise", "    x = 1\n    raise"),
    "that cannot be read": exercises.find("08-e1").stub.replace("(log_p", "((log_p"),
}


@pytest.mark.parametrize("name", DRAFTS | STUBS)
def test_a_stub_is_what_raises_before_it_returns(name, tmp_path):
    mine, other = (DRAFTS | STUBS)[name], "def optimal_discriminator(a, b):\n    return 0"
    notebook = answered("08", {"08-e1": mine})
    notebook["cells"].append(code(other, "draft"))
    expected = mine if name in DRAFTS else other
    assert answers(understood(notebook, tmp_path))["08-e1"] == expected


def test_an_answer_that_raises_for_cases_of_its_own_is_no_stub(tmp_path):
    mine = solution("08-e1") + "\n    raise NotImplementedError('two dimensions')"
    notebook = answered("08", {"08-e1": mine})
    notebook["cells"].append(code("def optimal_discriminator(a, b):\n    return 0", "draft"))
    assert answers(understood(notebook, tmp_path))["08-e1"] == mine


def test_answers_that_are_no_def_are_found(tmp_path):
    for source in ("optimal_discriminator = lambda a, b: a", "class optimal_discriminator: pass"):
        notebook = answered("08", {"08-e1": source})
        assert answers(understood(notebook, tmp_path))["08-e1"] == source
        work = understood(stripped(notebook), tmp_path)
        assert answers(work)["08-e1"] == source


REFUSED = {
    "empty": b"",
    "no JSON": b"\x89PNG",
    "HTML": b"<html>log in</html>",
    "a list": b"[]",
    "no cells": b'{"nbformat": 4}',
    "cells that are a dict": b'{"cells": {"a": 1}}',
    "cells of text": b'{"cells": ["x"]}',
    "a cell without source": b'{"cells": [{"cell_type": "code"}]}',
    "a source that is a number": b'{"cells": [{"cell_type": "code", "source": 7}]}',
    "worksheets of nothing": b'{"nbformat": 3, "worksheets": [{"cells": [5]}]}',
    "deep": b'{"cells":' + b"[" * 100_000,
    "UTF-16": '{"cells": []}'.encode("utf-16"),
    "no UTF-8": b'{"cells": "\xff\xfe"}',
    "digits without end": b'{"cells": ' + b"9" * 10_000 + b"}",
    "another notebook": json.dumps({"cells": [code("print(1)")]}).encode(),
    "half of one": json.dumps(answered("08", {})).encode()[:5000],
    "much code": json.dumps({"cells": [code("x" * 2**20 + "y")]}).encode(),
    "too many cells": json.dumps({"cells": [code("1")] * 5001}).encode(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_notebook_is_refused_with_a_reason(name, tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_bytes(REFUSED[name])
    with pytest.raises(
        Unreadable, match=r"^(this is no notebook|no cell of it|5001 code cells|1048577 char)"
    ):
        read(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "x.ipynb"
    with path.open("wb") as stream:
        stream.truncate(40 * 2**20)
    monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("it was read"))
    with pytest.raises(Unreadable, match="40 MB; at most 30"):
        read(path)


def test_odd_types_in_a_cell_cost_nothing(tmp_path):
    notebook = answered("08", {})
    odd = [{"metadata": None}, {"metadata": {"nbgrader": 7}}, {"metadata": {"tags": 5}}, {"id": 7}]
    odd += [{"id": ["answer-08-e1"]}, {"metadata": {"nbgrader": {"grade_id": {}}}}]
    notebook["cells"] += [{**code(f"x = {i}"), **more} for i, more in enumerate(odd)]
    notebook["cells"].append(code("y = '\ud800\0'"))
    work = understood(notebook, tmp_path)
    assert answers(work) == {name: solution(name) for name in NAMES}
    assert len(helpers(work)) == len(odd) + 1


def test_thousands_of_cells_are_read_quickly(tmp_path):
    notebook = answered("08", {})
    notebook["cells"] += [code(f"x = {i}\n" * 20) for i in range(4800)]
    begun = time.process_time()
    assert len(helpers(understood(notebook, tmp_path))) == 4800
    assert time.process_time() - begun < 10


NAME = "optimal_discriminator"
ALL = 99_000  # characters of a cell that are looked through
LARGE = {  # cells that took minutes, or would if a step were not linear
    "reads": f"{NAME} = " + ",".join(f"a{i}" for i in range(ALL // 7)),
    "binds": "".join(f"a{i}=" for i in range(ALL // 8)) + "1",
    "both": f"{NAME}=a0;"
    + ",".join(f"a{i}" for i in range(ALL // 15))
    + "="
    + ",".join(f"b{i}" for i in range(ALL // 15)),
    "a chain": f"{NAME}=a0\n" + "\n".join(f"a{i}=a{i + 1}" for i in range(ALL // 15)),
    "attributes": "a" + ".a" * (ALL // 40) + "=1",
    "imports": "import " + ",".join(f"a{i}" for i in range(ALL // 8)),
    "white space": " " * ALL + "x",
    "lines": "\n" * ALL,
    "magics": "%a\n" * (ALL // 3),
    "stub": "def optimal_discriminator(x):\n"
    + "  x\n" * (ALL // 5)
    + '  raise NotImplementedError("08-e1")',
}


@pytest.mark.parametrize("name", LARGE)
def test_the_names_of_a_large_cell_are_read_soon(name, tmp_path):
    """As many of them as a file may hold take ten times as long."""
    notebook = answered("08", {}, others="untouched")
    notebook["cells"].append({**code(LARGE[name]), "id": "answer-08-e1"})
    begun = time.process_time()
    work = understood(notebook, tmp_path)
    leads = Leads(work)
    for cell in work.cells:
        leads.are_idle(cell)
    for exercise in exercises.of_lesson("08"):
        leads.use_package(exercise)
    assert time.process_time() - begun < 4


SETUP_USES = "from course_utils import distributions as d"
CALLS_THE_PACKAGE = {
    "a call": (f"{SETUP_USES}\ndef NAME(x):\n    return d.log_prob(x)",),
    "an import in the body": (
        "def NAME(x):\n    import course_utils.gan as g\n    return g.loss(x)",
    ),
    "the function itself": ("from course_utils.gan import NAME",),
    "by a helper": (f"{SETUP_USES}\nh = d.log_prob", "NAME = lambda x: h(x)"),
    "an import that is tried": (
        "try:\n    from course_utils.gan import f as h\nexcept ImportError:\n    h = abs",
        "def NAME(x):\n    return h(x)",
    ),
    "below a magic": (f"%%time\n{SETUP_USES}\ndef NAME(x):\n    return d.log_prob(x)",),
}
OWN_WORK = {
    "beside it": ("def NAME(x):\n    return x", f"{SETUP_USES}\ndef trial(x):\n    return d.f(x)"),
    "in a type only": (f"{SETUP_USES}\ndef NAME(x: d.Normal) -> d.Normal:\n    return x",),
    "checked": ("def NAME(x):\n    return x\ncheck('08-e1', NAME)",),
    "unreadable": ("def NAME(x:\n" + "(" * 90_000,),
    "deep": ("def NAME(x):\n    return x\ny = " + "-" * 90_000 + "1",),
    "halves of characters": ("def NAME(x):\n    return '\ud800\0'",),
}


@pytest.mark.parametrize("name", CALLS_THE_PACKAGE | OWN_WORK)
def test_an_answer_that_leads_to_the_package_is_marked(name):
    exercise = exercises.find("08-e1")
    sources = (CALLS_THE_PACKAGE | OWN_WORK)[name]
    cells = tuple(Cell(source.replace("NAME", exercise.name)) for source in sources)
    assert Leads(Work("08", cells)).use_package(exercise) is (name in CALLS_THE_PACKAGE)


def test_no_reference_is_marked():
    for lesson in lessons().values():
        for exercise in lesson.exercises:
            work = Work(lesson.number, (Cell(exercise.solution, exercise=exercise.id),))
            assert not Leads(work).use_package(exercise), exercise.id


def test_no_setup_defines_the_name_of_an_answer():
    """Else an answer with a syntax error would be the package's function."""
    for lesson in lessons().values():
        given = "\n".join([lesson.setup, *lesson.needed])
        for exercise in lesson.exercises:
            pattern = rf"^(def {exercise.name}\b|{exercise.name}\s*=|.*import.*\b{exercise.name}\b)"
            assert not re.search(pattern, given, re.MULTILINE), exercise.id


def test_deep_code_in_a_cell_of_ours_is_left_alone():
    lesson = lessons()["08"]
    for nested in (
        "x=" + "~" * 2900 + "1",
        "(" * 99,
        "def f():\n  return " + "1 if 1 else " * 2000,
    ):
        cell = {"id": lesson.setup_id, "source": nested}
        assert module._added(cell, lesson) == ""
