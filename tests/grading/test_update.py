"""Newer lessons in a student's folder: filled answers survive, whatever became of their cell."""

import copy
import json
import subprocess

import pytest

from course_utils.classroom.update import merge, update_clone, update_folder
from tests.grading.submissions import answered, code, position, released

MINE = "def optimal_discriminator(log_p, log_p_g):\n    return 0.5  # mine"


def mine() -> dict:
    """A student's lesson 08: one answer, one cell of their own behind it."""
    notebook = answered("08", {"08-e1": MINE}, others="untouched")
    notebook["cells"].insert(position(notebook, "check-08-e1"), code("mine = 1", "my-cell"))
    return notebook


def sources(notebook: dict) -> dict[str, str]:
    return {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"]}


def without(notebook: dict, name: str) -> dict:
    return {**notebook, "cells": [cell for cell in notebook["cells"] if cell["id"] != name]}


def test_an_unchanged_edition_changes_nothing():
    found = merge(mine(), released("08"), released("08"))
    assert sources(found.notebook) == sources(mine())
    assert found.left_out == ()


def test_a_changed_stub_keeps_the_answer_and_a_stub_takes_the_new_one():
    new = released("08")
    for name in ("answer-08-e1", "answer-08-e2"):
        cell = new["cells"][position(new, name)]
        cell["source"] = "".join(cell["source"]).replace('"""', '"""New: ', 1)
    found = sources(merge(mine(), new, released("08")).notebook)
    assert found["answer-08-e1"] == MINE
    assert '"""New: ' in found["answer-08-e2"]


def test_a_moved_cell_takes_its_answer_along():
    new = released("08")
    cell = new["cells"].pop(position(new, "answer-08-e1"))
    new["cells"].append(cell)
    found = merge(mine(), new, released("08")).notebook
    assert list(sources(found))[-2:] == ["answer-08-e1", "my-cell"]
    assert sources(found)["answer-08-e1"] == MINE


@pytest.mark.parametrize("known", [True, False])
def test_a_removed_exercise_leaves_the_answer_in_its_place(known):
    new = without(without(released("08"), "answer-08-e1"), "check-08-e1")
    found = merge(mine(), new, released("08") if known else None)
    names = list(sources(found.notebook))
    assert sources(found.notebook)["answer-08-e1"] == MINE
    assert names[names.index("answer-08-e1") + 1] == "my-cell"
    assert found.left_out == ()


def test_an_old_cell_that_the_student_never_touched_goes_when_the_edition_drops_it():
    new = without(released("08"), "08-2-see")
    assert "08-2-see" in sources(released("08"))
    assert "08-2-see" not in sources(merge(mine(), new, released("08")).notebook)
    stub = without(released("08"), "answer-08-e2")
    assert "answer-08-e2" not in sources(merge(mine(), stub, released("08")).notebook)


def test_an_edited_cell_of_ours_stays_unless_the_edition_changed_it_too():
    student = mine()
    student["cells"][position(student, "08-setup")]["source"] += ["\nimport numpy as np"]
    found = merge(student, released("08"), released("08"))
    assert "import numpy" in sources(found.notebook)["08-setup"]
    new = released("08")
    new["cells"][position(new, "08-setup")]["source"] = "import math"
    found = merge(student, new, released("08"))
    assert (sources(found.notebook)["08-setup"], found.left_out) == ("import math", ("08-setup",))


def test_cells_without_an_id_and_twice_the_same_id_survive():
    student = mine()
    double = copy.deepcopy(student["cells"][position(student, "answer-08-e1")])
    double["source"] = "second = 2"
    student["cells"] += [double, code("third = 3")]
    found = merge(student, released("08")).notebook
    assert {"second = 2", "third = 3", MINE} <= set(sources(found).values())


def test_a_folder_of_new_lessons_is_merged_and_the_old_file_kept(tmp_path):
    source, into = tmp_path / "new", tmp_path / "mine"
    source.mkdir()
    into.mkdir()
    new = released("08")
    new["cells"][position(new, "08-setup")]["source"] = "import math"
    (source / "08_gan_minimax.ipynb").write_text(json.dumps(new), "utf-8")
    (source / "00_toolbox.ipynb").write_text(json.dumps(released("00")), "utf-8")
    student = mine()
    student["cells"][position(student, "08-setup")]["source"] = "import numpy"
    (into / "08_gan_minimax.ipynb").write_text(json.dumps(student), "utf-8")
    told = update_folder(source, into)
    assert told[0] == "00_toolbox.ipynb: new"
    assert "08-setup" in told[1] and "before-update" in told[1]
    merged = json.loads((into / "08_gan_minimax.ipynb").read_text("utf-8"))
    assert sources(merged)["answer-08-e1"] == MINE
    (kept,) = (into / ".course" / "before-update").iterdir()
    assert json.loads(kept.read_text("utf-8")) == student
    assert update_folder(source, into)[0] == "00_toolbox.ipynb: as it was"


def test_a_file_that_is_no_notebook_stays_and_the_new_one_lies_beside_it(tmp_path):
    source, into = tmp_path / "new", tmp_path / "mine"
    source.mkdir()
    into.mkdir()
    (source / "08_gan_minimax.ipynb").write_text(json.dumps(released("08")), "utf-8")
    (into / "08_gan_minimax.ipynb").write_text("<<<<<<< a conflict of git", "utf-8")
    (told,) = update_folder(source, into)
    assert "left as it is" in told
    assert (into / "08_gan_minimax.ipynb").read_text("utf-8") == "<<<<<<< a conflict of git"
    assert (into / "08_gan_minimax (new).ipynb").is_file()
    with pytest.raises(ValueError, match="no notebook in"):
        update_folder(tmp_path, into)


def git(folder, *given: str) -> None:
    named = ["-c", "user.name=a", "-c", "user.email=a@example.org", *given]
    subprocess.run(["git", *named], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path):
    """The course's repository with one lesson, and a student's clone of it."""
    origin, here = tmp_path / "origin", tmp_path / "clone"
    (origin / "notebooks").mkdir(parents=True)
    git(origin, "init", "-q", "-b", "main")
    (origin / "notebooks" / "08_gan_minimax.ipynb").write_text(json.dumps(released("08")), "utf-8")
    (origin / "package.py").write_text("old", "utf-8")
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "first")
    git(tmp_path, "clone", "-q", str(origin), str(here))
    (here / "notebooks" / "08_gan_minimax.ipynb").write_text(json.dumps(mine()), "utf-8")
    return origin, here


def test_a_clone_gets_the_new_edition_and_keeps_the_answers(clone):
    origin, here = clone
    new = without(released("08"), "answer-08-e1")
    new["cells"][position(new, "08-setup")]["source"] = "import math"
    (origin / "notebooks" / "08_gan_minimax.ipynb").write_text(json.dumps(new), "utf-8")
    (origin / "package.py").write_text("new", "utf-8")
    git(origin, "commit", "-q", "-a", "-m", "second")
    assert update_clone(here) == ["08_gan_minimax.ipynb: updated, your answers are in it"]
    merged = json.loads((here / "notebooks" / "08_gan_minimax.ipynb").read_text("utf-8"))
    assert sources(merged)["answer-08-e1"] == MINE
    assert sources(merged)["08-setup"] == "import math"
    assert (here / "package.py").read_text("utf-8") == "new"


def test_a_clone_that_git_will_not_merge_stays_as_it_was(clone):
    origin, here = clone
    (here / "package.py").write_text("the student's", "utf-8")
    (origin / "package.py").write_text("new", "utf-8")
    git(origin, "commit", "-q", "-a", "-m", "second")
    with pytest.raises(ValueError, match="git merge"):
        update_clone(here)
    assert json.loads((here / "notebooks" / "08_gan_minimax.ipynb").read_text("utf-8")) == mine()
    assert (here / "package.py").read_text("utf-8") == "the student's"
