"""Newer lessons in a student's folder: filled answers survive, whatever became of their cell."""

import copy
import json
import subprocess

import pytest

from course_utils.classroom import update as module
from course_utils.classroom.merge import merge
from course_utils.classroom.update import update_clone, update_folder
from tests.grading.submissions import answered, code, position, released, solution

NAME = "08_gan_minimax.ipynb"
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


def as_saved_elsewhere(notebook: dict, name: object, metadata: bool) -> dict:
    """As another program saves a notebook: ids gone or new, the cells' metadata gone or not."""
    cells = []
    for number, cell in enumerate(notebook["cells"]):
        saved = {**cell, "metadata": cell["metadata"] if metadata else {}}
        saved.pop("id", None)
        cells.append({**saved, "id": name(number)} if callable(name) else saved)
    return {**notebook, "cells": cells, "nbformat_minor": 5 if callable(name) else name}


@pytest.mark.parametrize("name", [0, 4, "x{}".format], ids=["4.0", "4.4", "new ids"])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("metadata", [True, False])
def test_a_notebook_that_lost_its_ids_is_merged_as_if_it_had_them(name, known, metadata):
    new = released("08")
    new["cells"].insert(3, {**code("new = 1"), "id": "08-new"})
    text = next(c for c in new["cells"] if c["cell_type"] == "markdown")
    del new["cells"][new["cells"].index(text)]
    old = released("08") if known else None
    found = merge(as_saved_elsewhere(mine(), name, metadata), new, old)
    expected = sources(merge(mine(), new, old).notebook)
    if not known:  # nothing tells that this text, which the new edition has no more, was ours
        assert text["id"] not in expected or expected.pop(text["id"])
    got = sources(found.notebook)
    assert got["answer-08-e1"] == MINE and list(got.values()).count("mine = 1") == 1
    assert {n: s for n, s in expected.items() if n != "my-cell"} == {
        n: s for n, s in got.items() if n in new_names(new)
    }
    assert len(got) == len(new["cells"]) + 1 + (not known) and found.left_out == ()


def new_names(notebook: dict) -> set[str]:
    return {cell["id"] for cell in notebook["cells"]}


def test_an_answer_that_stands_in_another_ones_cell_is_not_followed_by_its_stub():
    both = f"{solution('08-e1')}\n\n\n{solution('08-e2')}"
    student = without(answered("08", {"08-e1": both}, others="untouched"), "answer-08-e2")
    for notebook in (student, as_saved_elsewhere(student, 4, metadata=False)):
        found = sources(merge(notebook, released("08"), released("08")).notebook)
        assert found["answer-08-e1"] == both and "answer-08-e2" not in found


def test_an_answer_in_a_cell_of_the_students_own_takes_the_place_of_a_deleted_one():
    student = without(answered("08", {}, others="untouched"), "answer-08-e1")
    student["cells"].append(code(MINE, "x1"))
    found = sources(merge(student, released("08")).notebook)
    assert found["answer-08-e1"] == MINE and "x1" not in found


def test_a_notebook_of_which_most_is_not_ours_is_not_merged():
    student = {"cells": [code(f"x = {number}") for number in range(9)]}
    with pytest.raises(ValueError, match="only 0 of its 9 cells"):
        merge(student, released("08"))
    answers = [cell for cell in mine()["cells"] if cell["id"].startswith("answer-")]
    found = merge({"cells": [*answers, code("mine = 1")]}, released("08"))
    assert {"mine = 1", MINE} <= set(sources(found.notebook).values()), "cut down to the answers"


def test_no_two_cells_get_one_id():
    student = mine()
    student["cells"] += [code(f"x = {n}", name) for n, name in enumerate(["added-1", "", "a b"])]
    student["cells"] += [code("y = 1", "added-0"), code("y = 2", "my-cell")]
    student["cells"] += [code("z = 1", f"added-{len(student['cells']) + 1}"), code("z = 2")]
    found = merge(student, released("08")).notebook
    own = {"x = 0", "x = 1", "x = 2", "y = 1", "y = 2", "z = 1", "z = 2"}
    assert own <= set(sources(found).values())
    assert len(sources(found)) == len(found["cells"])


PICTURE = {"b.png": {"image/png": "aGVsbG8="}}
FOLDED = {"jupyter": {"source_hidden": True}, "slideshow": {"slide_type": "skip"}}


@pytest.mark.parametrize("known", [True, False])
def test_pasted_pictures_and_metadata_of_cells_stay(known):
    student, new = mine(), released("08")
    note = next(cell for cell in student["cells"] if cell["cell_type"] == "markdown")
    note["source"], note["attachments"] = "![b](attachment:b.png)", PICTURE
    own = {"cell_type": "markdown", "source": "![c](attachment:b.png)", "attachments": PICTURE}
    student["cells"].append({**own, "id": "pasted", "metadata": {"tags": ["mine"]}})
    for name in ("08-setup", "answer-08-e1"):
        student["cells"][position(student, name)]["metadata"] |= FOLDED
    new["cells"][position(new, "08-setup")]["source"] = "import math"
    found = merge(student, new, released("08") if known else None)
    cells = {cell["id"]: cell for cell in found.notebook["cells"]}
    assert cells["pasted"]["attachments"] == PICTURE
    assert cells["pasted"]["metadata"] == {"tags": ["mine"]}
    if known:
        assert cells[note["id"]]["attachments"] == PICTURE and found.left_out == ()
    else:
        assert found.left_out == (note["id"], "08-setup"), "which may be old texts of ours"
    for name in ("08-setup", "answer-08-e1"):
        before = new["cells"][position(new, name)]["metadata"]
        assert cells[name]["metadata"] == {**before, **FOLDED}


def test_metadata_that_both_changed_is_named():
    student, new = mine(), released("08")
    for notebook, notes in ((student, "mine"), (new, "ours")):
        notebook["cells"][position(notebook, "08-setup")]["metadata"]["notes"] = notes
    found = merge(student, new, released("08"))
    cells = {cell["id"]: cell for cell in found.notebook["cells"]}
    assert cells["08-setup"]["metadata"]["notes"] == "ours" and found.left_out == ("08-setup",)


def test_a_cell_that_became_text_stays_text():
    student = mine()
    cell = student["cells"][position(student, "08-setup")]
    plain = {"id": "08-setup", "cell_type": "markdown", "source": cell["source"], "metadata": {}}
    student["cells"][position(student, "08-setup")] = plain
    found = merge(student, released("08"), released("08")).notebook
    kept = found["cells"][position(found, "08-setup")]
    assert kept["cell_type"] == "markdown" and "outputs" not in kept


def test_a_note_in_a_stub_stays():
    student = mine()
    stub = student["cells"][position(student, "answer-08-e2")]
    stub["source"] = "".join(stub["source"]).replace("    raise", "    # an idea\n    raise")
    found = sources(merge(student, released("08")).notebook)
    assert "# an idea" in found["answer-08-e2"]


@pytest.fixture
def folders(tmp_path):
    """A folder of new lessons with an edition of lesson 08, and a student's folder with theirs."""
    source, into = tmp_path / "new", tmp_path / "mine"
    source.mkdir()
    into.mkdir()
    publish(source, released("08"))
    publish(into, mine())
    return source, into


def publish(folder, notebook: dict) -> None:
    (folder / NAME).write_text(json.dumps(notebook), "utf-8")


def stored(folder, name: str = "08_gan_minimax.ipynb") -> dict[str, str]:
    return sources(json.loads((folder / name).read_text("utf-8")))


def edition(text: str) -> dict:
    """A new edition: this is the setup."""
    new = released("08")
    new["cells"][position(new, "08-setup")]["source"] = text
    return new


def test_a_folder_of_new_lessons_is_merged_and_the_old_file_kept(folders):
    source, into = folders
    publish(source, edition("import math"))
    (source / "00_toolbox.ipynb").write_text(json.dumps(released("00")), "utf-8")
    student = mine()
    student["cells"][position(student, "08-setup")]["source"] = "import numpy"
    publish(into, student)
    told = update_folder(source, into)
    assert told[0] == "00_toolbox.ipynb: new"
    (kept,) = (into / ".course" / "before-update").iterdir()
    assert "where 08-setup differed" in told[1] and str(kept) in told[1] and "your" not in told[1]
    assert stored(into)["answer-08-e1"] == MINE
    assert json.loads(kept.read_text("utf-8")) == student
    before = (into / NAME).read_bytes()
    assert update_folder(source, into) == ["00_toolbox.ipynb: as it was", f"{NAME}: as it was"]
    assert (into / NAME).read_bytes() == before and len([*kept.parent.iterdir()]) == 1


def test_without_git_the_last_update_tells_the_students_changes_from_ours(folders):
    source, into = folders
    publish(source, edition("import math"))
    update_folder(source, into)
    student = json.loads((into / NAME).read_text("utf-8"))
    student["cells"][position(student, "08-setup")]["source"] = "import math, numpy"
    publish(into, student)
    publish(source, without(edition("import math"), "08-2-see"))
    assert update_folder(source, into) == [f"{NAME}: updated, your answers are in it"]
    assert stored(into)["08-setup"] == "import math, numpy" and "08-2-see" not in stored(into)
    publish(source, edition("import cmath"))
    (told,) = update_folder(source, into)
    assert "your changes to 08-setup are in" in told


def test_a_file_that_is_no_notebook_stays_and_so_does_what_is_written_beside_it(folders):
    source, into = folders
    beside = "08_gan_minimax (new).ipynb"
    (into / NAME).write_text("<<<<<<< a conflict of git", "utf-8")
    (told,) = update_folder(source, into)
    assert "left as it is" in told and told.endswith(f"{beside}: new")
    (into / beside).write_text(json.dumps(mine()), "utf-8")
    publish(source, edition("import math"))
    (told,) = update_folder(source, into)
    assert told.endswith(f"{beside}: updated, your answers are in it")
    assert stored(into, beside)["answer-08-e1"] == MINE
    assert stored(into, beside)["08-setup"] == "import math"
    (into / beside).write_text("", "utf-8")
    (told,) = update_folder(source, into)
    assert told.endswith("08_gan_minimax (new) (new).ipynb: new")
    assert (into / NAME).read_text("utf-8") == "<<<<<<< a conflict of git"
    assert (into / beside).read_text("utf-8") == ""
    with pytest.raises(ValueError, match="no notebook in"):
        update_folder(into.parent, into)


@pytest.mark.parametrize(
    "text",
    ["[]", '{"cells": 5}', '{"cells": ["x"]}', '{"worksheets": []}', '{"cells":' + "[" * 9**5],
)
def test_whatever_is_no_notebook_of_ours_is_left(text, folders):
    source, into = folders
    (into / NAME).write_text(text, "utf-8")
    (told,) = update_folder(source, into)
    assert "left as it is" in told and (into / NAME).read_text("utf-8") == text


def test_what_cannot_be_backed_up_is_not_written(folders):
    source, into = folders
    publish(source, edition("import math"))
    (into / ".course").write_text("a file in the way")
    with pytest.raises(OSError):
        update_folder(source, into)
    assert stored(into) == sources(mine())


def git(folder, *given: str) -> str:
    named = ["-c", "user.name=a", "-c", "user.email=a@example.org", *given]
    ran = subprocess.run(["git", *named], cwd=folder, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """The course's repository with one lesson, and a student's clone of it."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))  # git is told no name
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.useConfigOnly")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    origin, here = tmp_path / "origin", tmp_path / "clone"
    (origin / "notebooks").mkdir(parents=True)
    git(origin, "init", "-q", "-b", "main")
    publish(origin / "notebooks", released("08"))
    (origin / "package.py").write_text("old", "utf-8")
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "first")
    git(tmp_path, "clone", "-q", str(origin), str(here))
    publish(here / "notebooks", mine())
    (here / ".git" / "info" / "exclude").write_text(".course/")
    return origin, here


def next_edition(origin, notebook: dict, package: str = "new") -> None:
    publish(origin / "notebooks", notebook)
    (origin / "package.py").write_text(package, "utf-8")
    git(origin, "commit", "-q", "-a", "-m", "next")


def test_a_clone_gets_the_new_edition_and_keeps_the_answers(clone):
    origin, here = clone
    next_edition(origin, without(edition("import math"), "answer-08-e1"))
    assert update_clone(here) == [f"{NAME}: updated, your answers are in it"]
    merged = stored(here / "notebooks")
    assert merged["answer-08-e1"] == MINE
    assert merged["08-setup"] == "import math"
    assert (here / "package.py").read_text("utf-8") == "new"
    assert update_clone(here) == ["nothing newer: you have the newest edition"]


def test_the_exercises_are_read_before_git_brings_a_newer_package(clone, monkeypatch):
    origin, here = clone
    next_edition(origin, edition("import math"))
    asked, git_said = [], module._git

    def said(root, *given):
        assert given[0] != "merge" or asked == ["08"]
        return git_said(root, *given)

    monkeypatch.setattr(module, "_git", said)
    monkeypatch.setattr(module.exercises, "of_lesson", lambda lesson: asked.append(lesson) or [])
    update_clone(here)


@pytest.mark.parametrize("later", [False, True], ids=["committed", "and went on"])
def test_what_the_student_committed_is_merged_by_cells(later, clone):
    origin, here = clone
    (here / "own.txt").write_text("mine")
    git(here, "add", "own.txt")
    git(here, "commit", "-q", "-a", "-m", "my answers")
    if later:
        student = mine()
        student["cells"].append(code("later = 1", "later"))
        publish(here / "notebooks", student)
        git(here, "add", ".")
    for text in ("import math", "import cmath"):  # a second time, too
        next_edition(origin, edition(text), text)
        assert update_clone(here) == [f"{NAME}: updated, your answers are in it"]
        merged = stored(here / "notebooks")
        assert (merged["answer-08-e1"], merged["08-setup"]) == (MINE, text)
        assert merged.get("later", "later = 1") == "later = 1" and ("later" in merged) is later
        committed = sources(json.loads(git(here, "show", f"HEAD:notebooks/{NAME}")))
        assert committed == {name: s for name, s in merged.items() if name != "later"}
        assert (here / "package.py").read_text() == text and (here / "own.txt").is_file()


def test_a_file_that_both_changed_is_named_with_the_remedy(clone):
    origin, here = clone
    (here / "package.py").write_text("the student's", "utf-8")
    git(here, "commit", "-q", "-a", "-m", "mine")
    head = git(here, "rev-parse", "HEAD")
    next_edition(origin, edition("import math"))
    with pytest.raises(
        ValueError, match=r"both changed package.py.*git checkout \w+ -- package.py"
    ):
        update_clone(here)
    assert git(here, "rev-parse", "HEAD") == head and git(here, "status", "--porcelain") == ""
    assert stored(here / "notebooks") == sources(mine())


def test_an_unfinished_pull_is_named_with_the_remedy_and_the_remedy_helps(clone):
    origin, here = clone
    student = mine()
    student["cells"][position(student, "08-setup")]["source"] = "import torch"
    publish(here / "notebooks", student)
    git(here, "commit", "-q", "-a", "-m", "my answers")
    next_edition(origin, edition("import math"))
    with pytest.raises(subprocess.CalledProcessError):
        git(here, "pull", "-q", "--no-rebase")  # which ends in conflicts
    broken = (here / "notebooks" / NAME).read_bytes()
    with pytest.raises(ValueError, match=r"unfinished.*08_gan_minimax.*git merge --abort"):
        update_clone(here)
    (kept,) = (here / "notebooks" / ".course" / "before-update").iterdir()
    assert (here / "notebooks" / NAME).read_bytes() == broken == kept.read_bytes()
    git(here, "merge", "--abort")
    (told,) = update_clone(here)
    assert "your changes to 08-setup are in" in told
    assert stored(here / "notebooks")["answer-08-e1"] == MINE


def test_a_clone_that_git_will_not_merge_stays_as_it_was(clone):
    origin, here = clone
    (here / "package.py").write_text("the student's", "utf-8")
    next_edition(origin, released("08"))
    with pytest.raises(ValueError, match="git merge"):
        update_clone(here)
    assert json.loads((here / "notebooks" / NAME).read_text("utf-8")) == mine()
    assert (here / "package.py").read_text("utf-8") == "the student's"


@pytest.mark.parametrize("committed", [False, True])
def test_an_update_that_is_cut_off_leaves_the_folder_as_it_was(committed, clone, monkeypatch):
    origin, here = clone
    if committed:
        git(here, "commit", "-q", "-a", "-m", "my answers")
    head, before = git(here, "rev-parse", "HEAD"), (here / "notebooks" / NAME).read_bytes()
    next_edition(origin, edition("import math"))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_update_from_git", stop)
    with pytest.raises(KeyboardInterrupt):
        update_clone(here)
    assert git(here, "rev-parse", "HEAD") == head
    assert (here / "notebooks" / NAME).read_bytes() == before
    assert (here / "package.py").read_text() == "old"


def test_a_lesson_that_the_student_has_or_deleted_before_git_brings_it(clone):
    origin, here = clone
    mine_of_00 = answered("00", {"00-e1": "mine_00 = 1"}, others="untouched")
    (here / "notebooks" / "00_toolbox.ipynb").write_text(json.dumps(mine_of_00), "utf-8")
    git(here, "rm", "-q", "-f", f"notebooks/{NAME}")
    (origin / "notebooks" / "00_toolbox.ipynb").write_text(json.dumps(released("00")), "utf-8")
    git(origin, "add", ".")
    next_edition(origin, edition("import math"))
    update_clone(here)
    assert stored(here / "notebooks", "00_toolbox.ipynb")["answer-00-e1"] == "mine_00 = 1"
    assert stored(here / "notebooks")["08-setup"] == "import math"


def test_a_lesson_whose_deletion_was_committed_comes_back_when_it_changes(clone):
    origin, here = clone
    git(here, "rm", "-q", "-f", f"notebooks/{NAME}")
    git(here, "commit", "-q", "-m", "not needed")
    next_edition(origin, released("08"))
    update_clone(here)
    assert not (here / "notebooks" / NAME).exists()
    next_edition(origin, edition("import math"), "newer")
    update_clone(here)
    assert stored(here / "notebooks")["08-setup"] == "import math"


def test_a_lesson_that_the_new_edition_dropped_stays_where_it_was_answered(clone):
    origin, here = clone
    git(origin, "rm", "-q", f"notebooks/{NAME}")
    git(origin, "commit", "-q", "-m", "dropped")
    assert update_clone(here) == [f"{NAME}: not in the new edition; yours stays"]
    assert stored(here / "notebooks") == sources(mine())


def test_a_folder_without_a_history_of_ours_is_told_the_other_way(clone, tmp_path):
    with pytest.raises(ValueError, match=r"no clone of the course.*course update FOLDER"):
        update_clone(tmp_path)
    origin, _ = clone
    git(tmp_path, "init", "-q", "-b", "main", "own")
    git(tmp_path / "own", "commit", "-q", "--allow-empty", "-m", "an unpacked zip")
    git(tmp_path / "own", "remote", "add", "origin", str(origin))
    with pytest.raises(ValueError, match=r"no commit in common.*course update FOLDER"):
        update_clone(tmp_path / "own")
