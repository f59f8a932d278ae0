"""What is handed out: the stored edition, no reference in it; nbgrader releases and grades it."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.preprocessors import ClearSolutions
from typer.testing import CliRunner

from course_utils import exercises
from course_utils.classroom import release as module
from course_utils.classroom.release import CONFIG_NAME, marked, release
from course_utils.cli import app
from course_utils.exercises.base import judge
from course_utils.grading.notebook import lessons
from course_utils.notebook.file import notebook_path
from course_utils.observing import observe
from tests.grading.submissions import answered, position, solution

PACKAGE = Path(module.__file__).parents[1]
EXERCISES = [exercise for number in lessons() for exercise in exercises.of_lesson(number)]
SMALL = "00_toolbox"
ZERO = "def gaussian_kl(mean1, cov1, mean2, cov2):\n    return torch.zeros(())"
TELLING = 20  # characters of a line of a reference, spaces not counted: a shorter one tells nothing


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def strings(value: object) -> list[str]:
    """Every text in a notebook: sources, outputs, metadata; not the pictures."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        whole = all(isinstance(item, str) for item in value)
        return ["".join(value)] if whole else [s for item in value for s in strings(item)]
    if isinstance(value, dict):
        return [s for key, v in value.items() if not key.startswith("image/") for s in strings(v)]
    return []


def squeezed(text: str) -> str:
    """Without comments and spaces, so that layout hides nothing."""
    return re.sub(r"\s+", "", re.sub(r"#[^\n]*", "", text))


SHOWN = "\0".join(
    squeezed(path.read_text("utf-8"))
    for path in PACKAGE.rglob("*.py")
    if "exercises" not in path.parts
)


def leaks(path: Path) -> list[str]:
    """Lines of references in a file that the package does not show outside of its exercises."""
    text = "\0".join(map(squeezed, strings(json.loads(path.read_text("utf-8")))))
    found = []
    for exercise in EXERCISES:
        body = exercise.solution.splitlines()[len(exercise.stub.splitlines()) - 1 :]
        lines = {squeezed(line).removeprefix("return") for line in body}
        telling = [line for line in lines if len(line) >= TELLING and line not in SHOWN]
        found += [f"{exercise.id}: {line}" for line in telling if line in text]
    return found


def test_students_get_the_stored_edition_byte_for_byte(tmp_path):
    written = release(lessons(), tmp_path / "new" / "folder")
    assert [path.name for path in written] == [
        f"{lesson.stem}.ipynb" for lesson in lessons().values()
    ]
    for path in written:
        assert path.read_bytes() == notebook_path(path.stem).read_bytes()
    assert files(tmp_path / "new" / "folder") == {path.name for path in written}


def test_no_reference_is_in_a_released_file(tmp_path):
    for path in release(lessons(), tmp_path):
        assert leaks(path) == [], path.name


@pytest.mark.parametrize("where", ["source", "output", "metadata", "markdown"])
def test_a_planted_reference_is_found(where, tmp_path):
    [path] = release(["08"], tmp_path)
    notebook = json.loads(path.read_text("utf-8"))
    line = "return  -torch.sigmoid(logit),-torch.sigmoid( -logit)  # the slopes"
    code = notebook["cells"][position(notebook, "check-08-e4")]
    if where == "source":
        code["source"] = ["x = 1\n", f"    {line}\n"]
    elif where == "output":
        code["outputs"][0]["data"]["text/plain"] = [line]
    elif where == "metadata":
        code["metadata"]["solution"] = line
    else:
        notebook["cells"][0]["source"] = [f"`{line}`"]
    path.write_text(json.dumps(notebook), "utf-8")
    assert [leak[:5] for leak in leaks(path)] == ["08-e4"]


@pytest.mark.parametrize("obstacle", ["file", "dangling link", "folder"])
def test_what_is_in_the_way_is_named_and_kept_and_nothing_is_written(obstacle, tmp_path):
    there = tmp_path / f"{SMALL}.ipynb"
    if obstacle == "file":
        there.write_text("mine")
    elif obstacle == "folder":
        there.mkdir()
    else:
        there.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=rf"nothing was written: .*{SMALL}\.ipynb"):
        release(["08", "00"], tmp_path)
    assert os.listdir(tmp_path) == [there.name]
    assert obstacle != "file" or there.read_text() == "mine"


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "source").write_text("mine")
    with pytest.raises(
        ValueError, match=rf"nothing was written: {re.escape(str(tmp_path))}/source$"
    ):
        release(["00"], tmp_path, nbgrader=True)
    assert files(tmp_path) == {"source"}


def test_an_answer_in_the_stored_edition_is_not_handed_out(tmp_path, monkeypatch):
    notebook = answered("08", {"08-e3": solution("08-e3")}, others="untouched")
    stored = tmp_path / "08_gan_minimax.ipynb"
    stored.write_text(json.dumps(notebook), "utf-8")
    monkeypatch.setattr(module, "notebook_path", lambda lesson: stored)
    for nbgrader in (False, True):
        with pytest.raises(ValueError, match=r"answer-08-e3 in .*08_gan_minimax.ipynb is not"):
            release(["08"], tmp_path / "out", nbgrader)
    assert not (tmp_path / "out").exists()


def test_the_command_names_what_it_wrote_and_what_is_wrong(tmp_path):
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["release", *arguments, "--to", str(tmp_path)])
        return result.exit_code, result.output

    code, text = run("77")
    assert code == 1 and SMALL in text
    first, second = (tmp_path / f"{name}.ipynb" for name in (SMALL, "08_gan_minimax"))
    assert run("0", "08", "00") == (0, f"{first}\n{second}\n")
    code, text = run("08")
    assert code == 1 and str(second) in text and str(first) not in text


def test_a_course_directory_takes_another_lesson_and_keeps_its_settings(tmp_path):
    release(["00"], tmp_path, nbgrader=True)
    assert files(tmp_path) == {CONFIG_NAME, f"source/{SMALL}/{SMALL}.ipynb"}
    (tmp_path / CONFIG_NAME).write_text("# mine")
    [written] = release(["08"], tmp_path, nbgrader=True)
    assert written == tmp_path / "source" / "08_gan_minimax" / "08_gan_minimax.ipynb"
    assert (tmp_path / CONFIG_NAME).read_text() == "# mine"
    cells = nbformat.read(written, as_version=4).cells
    stored = nbformat.read(notebook_path("08"), as_version=4).cells
    for one, other in zip(cells, stored, strict=True):
        assert (one.id, one.metadata) == (other.id, other.metadata)
        assert one.source == other.source or one.id.startswith("answer-")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_the_marks_stand_around_the_body_only(exercise):
    """nbgrader's own code for the region leaves our stub; the marked source is the reference."""
    source = marked(exercise)
    assert ast.dump(ast.parse(source)) == ast.dump(ast.parse(exercise.solution))
    cell = nbformat.v4.new_code_cell(source, metadata={"nbgrader": {"solution": True}})
    cell.metadata.nbgrader.update(schema_version=3, grade=False, locked=False, task=False)
    clear = ClearSolutions(code_stub={"python": exercise.stub.splitlines()[-1].strip()})
    cleared, _ = clear.preprocess_cell(cell, {"language": "python"}, 0)
    assert cleared.source == exercise.stub


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_the_usual_stub_of_nbgrader_gets_no_points_either(exercise):
    """Hosts that read the marks and not our settings (CoCalc, Vocareum) release this one."""

    def stub(*_: object) -> None:
        raise NotImplementedError()

    assert judge(exercise, stub, observe).points == 0


def nbgrader(folder: Path, *arguments: str) -> str:
    """Run the real command line, as a shell with the environment activated does."""
    tools = Path(sys.executable).parent
    own = {name: str(folder / ".jupyter") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    ran = subprocess.run(
        [tools / "nbgrader", *arguments],
        cwd=folder,
        env={**os.environ, **own, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stderr


def hand_in(folder: Path, student: str, notebook: dict) -> None:
    place = folder / "submitted" / student / SMALL / f"{SMALL}.ipynb"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(notebook), "utf-8")


def only_what_counts(notebook: dict) -> dict:
    """As a student who deleted all but setup, needed cells, answers and checks: quick to run."""
    kept = {"setup", "needed", "exercise", "check-answer"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    tagged = [cell for cell in code if kept & set(cell["metadata"].get("tags", []))]
    return {**notebook, "cells": tagged}


def graded_by_nbgrader(folder: Path) -> dict[str, dict[str, float]]:
    """Points by student and check cell, as the gradebook has them."""
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        found = {}
        for submission in book.assignment_submissions(SMALL):
            grades = submission.notebooks[0].grades
            assert not any(grade.needs_manual_grade for grade in grades)
            found[submission.student.id] = {grade.name: grade.auto_score for grade in grades}
        return found


def warning(dx: str) -> str:
    """An answer to 00-e4 that writes on stderr, which nbgrader by itself takes for an error."""
    body = f"import warnings; warnings.warn('odd'); return right(p, q, {dx})"
    return f"{solution('00-e4')}\n\nright = jsd\ndef jsd(p, q, dx): {body}"


def test_nbgrader_releases_our_stubs_and_grades_them(tmp_path):
    release(["00"], tmp_path, nbgrader=True)
    nbgrader(tmp_path, "generate_assignment", SMALL)
    path = tmp_path / "release" / SMALL / f"{SMALL}.ipynb"
    handed_out, stored = (nbformat.read(p, as_version=4) for p in (path, notebook_path("00")))
    ours = [(cell.id, cell.source) for cell in stored.cells]
    assert [(cell.id, cell.source) for cell in handed_out.cells] == ours
    assert leaks(path) == []

    points = {exercise.id: exercise.points for exercise in exercises.of_lesson("00")}
    right = answered("00", {"00-e4": warning("dx")})
    some = {"00-e1": solution("00-e1"), "00-e3": ZERO, "00-e4": warning("1.0")}
    half = answered("00", some, others="untouched")
    hand_in(tmp_path, "untouched", only_what_counts(json.loads(path.read_text("utf-8"))))
    hand_in(tmp_path, "half", only_what_counts(half))
    hand_in(tmp_path, "right", right)
    nbgrader(tmp_path, "autograde", SMALL)
    scores = graded_by_nbgrader(tmp_path)
    assert scores["right"] == {f"check-{name}": count for name, count in points.items()}
    assert set(scores["untouched"].values()) == {0.0}
    all_of_one, all_but_dx = points["00-e1"], points["00-e4"] - 1
    earned = dict(zip(points, (all_of_one, 0, 0, all_but_dx), strict=True))
    assert scores["half"] == {f"check-{name}": count for name, count in earned.items()}
