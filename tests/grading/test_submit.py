"""A student's last look: the grader's verdict on their own file, and one file to upload."""

import json
import os
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from course_utils import progress
from course_utils.classroom import submit as module
from course_utils.classroom.submit import OwnBox, submit
from course_utils.cli import app, main
from course_utils.grading import box
from course_utils.grading.base import Failure, Row
from course_utils.grading.box import Box, Limits
from course_utils.grading.collect import collect, latest
from course_utils.grading.grade import NoBox
from course_utils.grading.run import lesson_of
from course_utils.notebook import file
from tests.conftest import require
from tests.grading.submissions import answered, code, position, require_sandbox, solution

STEM = "08_gan_minimax"
NAMES = [f"08-e{number}" for number in range(1, 7)]
FAST = Limits(call=1.5, grace=1.0, cell=3.0)
PASSED = [Row("you", name, 5, 5, "PASS") for name in NAMES]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A student's folder with lesson 08, and a notebook of another lesson that is broken."""
    folder = tmp_path / "course"
    (folder / "notebooks").mkdir(parents=True)
    shutil.copy(file.notebook_path("08"), folder / "notebooks")
    (folder / "notebooks" / "06_variational_autoencoders.ipynb").write_text("<<<<<<< HEAD")
    for place in (file, module):
        monkeypatch.setattr(place, "ROOT", folder)
    return folder


def git(folder: Path, *arguments: str) -> None:
    named = ["-c", "user.name=S", "-c", "user.email=s@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *named, *arguments], cwd=folder, check=True, capture_output=True)


def cloned(project: Path) -> None:
    """Make the student's folder a clone of a course in which it is as it is now."""
    upstream = project.parent / "upstream"
    shutil.copytree(project, upstream)
    git(upstream, "init", "-q", "-b", "main")
    git(upstream, "add", ".")
    git(upstream, "commit", "-q", "-m", "course")
    shutil.rmtree(project)
    git(project.parent, "clone", "-q", str(upstream), project.name)


def work(project: Path, notebook: dict) -> Path:
    path = project / "notebooks" / f"{STEM}.ipynb"
    path.write_text(json.dumps(notebook), "utf-8")
    return path


def with_helpers() -> dict:
    """Answers that need a cell of the student's own, an import in our setup cell, and a stub."""
    notebook = answered(
        "08",
        {
            "08-e1": "def optimal_discriminator(log_p, log_p_g):\n    return s(log_p - log_p_g)",
            "08-e3": f"{solution('08-e3')}\nassert np.pi > 3",
            "08-e4": "def generator_gradients(logit):\n    return torch.sigmoid(logit), 0 * logit",
            "08-e5": "def non_saturating_gradient(:",
        },
    )
    cells = notebook["cells"]
    cells[position(notebook, "08-setup")]["source"] += "\nimport numpy as np"
    for helper in (code("sigmoid = torch.sigmoid", "0b1c2d3e"), code("s = sigmoid")):
        cells.insert(position(notebook, "answer-08-e1"), helper)
    del cells[position(notebook, "answer-08-e6")]
    return notebook


def handed_in(*arguments: object) -> str:
    return "\n".join(submit(*arguments))


def verdicts(text: str) -> list[str]:
    return [line.split(" · ")[1] for line in text.splitlines() if line[:4] == "08-e"]


@pytest.mark.parametrize("clone", [True, False], ids=["clone", "download"])
def test_a_students_own_folder_gets_the_graders_verdicts(clone, project, monkeypatch, tmp_path):
    require_sandbox()
    notebook = with_helpers()
    expected = ["PASS", "PASS", "PASS", "NOT YET", "NOT YET", "MISSING"]
    if clone:
        require("git", bool(shutil.which("git")), "no git here")
        cloned(project)
        ours = notebook["cells"][position(notebook, "08-G1")]
        ours["source"] = "".join(ours["source"]) + "\ndef value(t, dx):\n    return t.sum() * dx\n"
        answer = notebook["cells"][position(notebook, "answer-08-e2")]
        answer["source"] = (
            answer["source"].replace("return (", "return value(").replace(").sum() * dx", ", dx)")
        )  # needs a function that stands in a cell of ours
    path = work(project, notebook)
    if clone:
        git(project, "commit", "-q", "-a", "-m", "my work")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("handing in needs no network")

    monkeypatch.setattr(socket, "socket", refuse)
    before = path.read_bytes()
    text = handed_in("08")
    assert verdicts(text) == expected, text
    assert "  should hold: " in text and "  hint: " in text, "what fails is said"
    assert "the cell itself raised SyntaxError" in text
    assert "no cell answer-08-e6 and no def of bilinear_game" in text
    target = project / "build" / "submit" / f"{STEM}.ipynb"
    assert text.endswith(f"Upload this file: {target}")
    assert target.read_bytes() == path.read_bytes() == before
    assert progress.summary() == {}


OWN = {
    "08-e1": "while True: pass",
    "08-e2": "def minimax_value(p, p_g, logit, dx):\n    import os; os._exit(3)",
    "08-e4": "print('x' * 100_000)\n" + solution("08-e4"),
}


NOISY = {"08-e4": OWN["08-e4"]}


@pytest.mark.parametrize(
    ("open_box", "answers"),
    [(partial(Box, sandbox=False), NOISY), (OwnBox, OWN)],
    ids=["posix", "any"],
)
def test_without_a_sandbox_it_runs_on_the_students_own_machine(
    open_box, answers, project, monkeypatch
):
    monkeypatch.setattr(box, "available", lambda: "no sandbox on plan9")
    monkeypatch.setattr(module, "_opener", lambda why: partial(open_box, FAST))
    path = work(project, answered("08", answers))
    lines = handed_in("08", path, project / "mine.ipynb").splitlines()
    assert lines[1] == "no sandbox on plan9: your code runs without one, it is your own"
    failed = ["NOT YET"] * (len(answers) - 1)
    assert verdicts("\n".join(lines)) == [*failed, *["PASS"] * (6 - len(failed))], lines
    assert not failed or "the cell was stopped: no answer in time" in "".join(lines)
    assert (project / "mine.ipynb").read_bytes() == path.read_bytes()


def test_windows_gets_the_box_that_runs_anywhere(monkeypatch):
    assert module._opener(None) is Box
    assert module._opener("no sandbox") != OwnBox
    monkeypatch.setattr(module.os, "name", "nt")
    assert module._opener("no sandbox") is OwnBox


@pytest.fixture
def all_pass(monkeypatch):
    monkeypatch.setattr(module, "_graded", lambda *_: PASSED)


def test_a_second_file_stands_beside_the_first_and_counts_as_the_later_one(
    project, all_pass, tmp_path
):
    notebook = answered("08", {})
    for text in ("", "# changed"):
        notebook["cells"].append(code(text))
        work(project, notebook)
        handed_in("08")
    (project / "build" / "submit").rename(tmp_path / "ann")
    (tmp_path / "uploads").mkdir()
    (tmp_path / "ann").rename(tmp_path / "uploads" / "ann")
    (tmp_path / "kept").mkdir()
    uploads, ignored = collect(tmp_path / "uploads", tmp_path / "kept")
    assert {upload.student for upload in uploads} == {"ann"} and ignored == []
    assert {lesson_of(upload) for upload in uploads} == {"08"}
    [counts], [older] = latest(uploads, lesson_of)
    assert counts.source == f"ann/{STEM}-2.ipynb" and older.source == f"ann/{STEM}.ipynb"


@pytest.mark.parametrize("name", ["mine.ipynb", "mine.txt"])
def test_a_target_that_is_there_or_no_notebook_is_refused_before_anything_runs(
    name, project, monkeypatch
):
    monkeypatch.delattr(module, "_graded")
    target = project / name
    target.write_text("mine")
    with pytest.raises(ValueError, match=name):
        handed_in("08", None, target)
    assert target.read_text() == "mine" and not (project / "build").exists()


def bare() -> dict:
    """Lesson 08 with the text only."""
    notebook = answered("08", {})
    kept = [cell for cell in notebook["cells"] if "08-e" not in cell["id"]]
    return {**notebook, "cells": kept}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "this is no notebook"),
        ('{"cells": []}', "no cell of it belongs to a lesson"),
        (lambda: answered("06", {}), "it is lesson 06, and asked for was lesson 08"),
        (bare, "no answer to any exercise"),
    ],
)
def test_what_cannot_be_graded_is_refused_with_the_reason(text, reason, project, monkeypatch):
    opened = partial(pytest.fail, "a box was opened")
    monkeypatch.setattr(module, "_opener", lambda why: opened)
    stored = Path(__file__).parents[2] / "notebooks"
    shutil.copy(stored / "06_variational_autoencoders.ipynb", project / "notebooks")
    path = project / "mine.ipynb"
    path.write_text(text if isinstance(text, str) else json.dumps(text()), "utf-8")
    result = CliRunner().invoke(app, ["submit", "8", "--file", str(path)])
    assert result.exit_code == 1 and reason in result.output, result.output
    assert str(path) in result.output and "nothing was written" in result.output
    assert not (project / "build").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["77"], STEM), (["start_here"], "no exercises"), (["8", "--file", "none.ipynb"], "none.ip")],
)
def test_a_wrong_request_is_one_line(arguments, reason, project):
    (project / "notebooks" / "start_here.ipynb").write_text("{}")
    result = CliRunner().invoke(app, ["submit", *arguments])
    assert result.exit_code == 1 and reason in result.output
    assert result.output.count("\n") == 1 and "Traceback" not in result.output


def test_a_machine_that_opens_no_box_is_no_fault_of_the_notebook(project, monkeypatch):
    tries = []

    def fail(*_: object) -> None:
        tries.append(1)
        raise NoBox("the box did not start")

    monkeypatch.setattr(module, "grade", fail)
    with pytest.raises(ValueError, match=r"did not start.*course doctor.*hand in the notebook as"):
        handed_in("08")
    assert len(tries) == module.TRIES and not (project / "build").exists()


def test_a_notebook_elsewhere_gets_its_file_beside_it(project, all_pass, tmp_path):
    (tmp_path / "mine").mkdir()
    own = tmp_path / "mine" / "lesson eight.ipynb"
    own.write_text("{}")
    for name in (STEM, f"{STEM}-2"):
        target = tmp_path / "mine" / "submit" / f"{name}.ipynb"
        assert handed_in("08", own).endswith(f"Upload this file: {target}")
        assert target.read_text() == "{}"


def test_the_command_prints_the_verdicts_and_where_the_file_is(project, all_pass):
    result = CliRunner().invoke(app, ["submit", "8"])
    target = project / "build" / "submit" / f"{STEM}.ipynb"
    assert result.exit_code == 0 and target.is_file()
    assert result.output.endswith(f"30 of 30 points\nUpload this file: {target}\n")
    assert verdicts(result.output) == ["PASS"] * 6


BETA = Row("you", "08-e1", 0, 5, "NOT YET", failure=Failure("holds", "β is not · given", "why β"))


@pytest.mark.parametrize("encoding", ["cp932", "cp1252", "ascii", ""])
def test_what_can_be_printed_does_not_decide_whether_the_file_is_written(
    encoding, project, monkeypatch
):
    monkeypatch.setattr(module, "_graded", lambda *_: [BETA])
    monkeypatch.setattr(sys, "argv", ["course", "submit", "8"])
    reader, writer = os.pipe()
    if not encoding:
        os.close(reader)  # as `| head -1` does
    with os.fdopen(writer, "w", encoding=encoding or "utf-8") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
    assert (project / "build" / "submit" / f"{STEM}.ipynb").is_file()
    if encoding:
        with os.fdopen(reader, encoding=encoding) as told:
            assert "Upload this file" in told.read()
