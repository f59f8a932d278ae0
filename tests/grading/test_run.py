"""A run that is killed loses nothing and repeats nothing; a mended check changes its row only."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from course_utils import exercises
from course_utils.cli import app
from course_utils.grading import box, run
from course_utils.grading.base import Failure, Row
from course_utils.grading.batch import Plan, grade_class
from course_utils.grading.box import Box
from course_utils.grading.collect import Upload
from course_utils.grading.grade import NoBox, grade
from course_utils.grading.notebook import read
from course_utils.grading.run import Journal, Result, Unfinished, grade_all, in_threads
from tests.grading.submissions import answered, released, require_sandbox, solution, wrong

ASKED = {exercise.id: exercise for exercise in exercises.of_lesson("08")}


def upload(student: str, digest: str = "d", folder: Path = Path()) -> Upload:
    return Upload(student, "7", "folder", f"{student}/x.ipynb", (0.0, 0), folder / "x", digest)


def result(given: Upload, points: int = 1, checks: str = "now", lesson: str = "08") -> Result:
    rows = [Row(given.student, name, points, 5, "NOT YET", checks=checks) for name in ASKED]
    rows = rows if lesson else [Row(given.student, "", 0, 0, "UNREADABLE", reason="why")]
    found = (given.student, given.number, given.source, given.digest, lesson, 3, 0.5)
    return Result(*found, tuple(rows), given.how)


@pytest.fixture
def current(monkeypatch):
    """The versions of the checks, to be changed by a test."""
    versions = dict.fromkeys(ASKED, "now")
    monkeypatch.setattr(run, "version", lambda exercise: versions[exercise.id])
    return versions


def graded_by(results: dict[str, Result], asked: list[str]) -> callable:
    """A runner that gives these results by student and notes who was asked for."""

    def runner(uploads):
        asked.extend(given.student for given in uploads)
        return (results[given.student] for given in uploads)

    return runner


def test_a_second_run_grades_only_what_is_new(tmp_path, current):
    ann, bob = upload("ann"), upload("bob", "e")
    results, asked = {"ann": result(ann), "bob": result(bob)}, []
    path = tmp_path / "journal.jsonl"
    assert list(grade_all([ann], Journal(path, 3), graded_by(results, asked)))
    before = path.read_bytes()
    found = list(grade_all([ann, bob], Journal(path), graded_by(results, asked)))
    assert asked == ["ann", "bob"]
    assert [(kept.student, changes) for kept, changes in found] == [("ann", []), ("bob", [])]
    assert path.read_bytes().startswith(before) and len(path.read_bytes().splitlines()) == 2
    again = upload("ann", "other bytes")  # handed in again
    results["ann"] = result(again, 2)
    assert [
        kept.rows[0].points
        for kept, _ in grade_all([again], Journal(path), graded_by(results, asked))
    ] == [2]


def test_a_mended_check_changes_its_row_only_and_is_listed(tmp_path, current):
    ann, asked = upload("ann"), []
    journal = Journal(tmp_path / "journal.jsonl", 3)
    list(grade_all([ann], journal, graded_by({"ann": result(ann, 1)}, asked)))
    current["08-e2"] = "mended"
    rows = [replace(row, points=4, status="PASS") for row in result(ann).rows]
    rows = [replace(row, checks=current[row.exercise]) for row in rows]
    new = replace(result(ann), rows=tuple(rows))
    ((kept, changes),) = grade_all([ann], journal, graded_by({"ann": new}, asked))
    points = {row.exercise: row.points for row in kept.rows}
    assert points == {name: 4 if name == "08-e2" else 1 for name in ASKED}
    assert changes == ["ann 08-e2: 1 (NOT YET) -> 4 (PASS), checks now -> mended"]
    journal = Journal(tmp_path / "journal.jsonl")
    ((_, changes),) = grade_all([ann], journal, graded_by({}, asked))
    assert changes == [] and asked == ["ann", "ann"]


def test_a_file_that_could_not_be_read_is_read_again_and_written_once(tmp_path, current):
    ann, asked = upload("ann"), []
    path = tmp_path / "journal.jsonl"
    for found in (result(ann, lesson=""), result(ann, lesson=""), result(ann)):
        runner = graded_by({"ann": found}, asked)
        ((kept, _),) = grade_all([ann], Journal(path, 3), runner)
        assert kept.rows == found.rows
    assert asked == ["ann"] * 3 and len(path.read_text().splitlines()) == 2


def test_half_a_line_at_the_end_is_dropped(tmp_path):
    path = tmp_path / "journal.jsonl"
    whole, half = result(upload("ann")).line(), result(upload("bob")).line()[:-20]
    for text in (whole + half, whole + half + "é", whole + "\0"):
        path.write_text(text)
        journal = Journal(path)
        assert [found.student for found in journal.results.values()] == ["ann"]
        journal.add(result(upload("cem")))
        assert [json.loads(line)["student"] for line in path.open()] == ["ann", "cem"]
    with pytest.raises(ValueError, match="graded here with seed 3; asked for 4"):
        Journal(path, 4)


def test_a_result_is_the_same_after_the_journal(tmp_path):
    failure = Failure("claim", "evidence é\u2028\n", "hint", ("line 1",))
    row = Row("ann", "08-e1", 1, 5, "NOT YET", ("duplicate",), failure, "v", "")
    found = replace(result(upload("ann")), rows=(row,))
    assert Result.from_line(found.line().encode()) == found


def test_one_upload_that_cannot_be_graded_stops_no_other(monkeypatch, tmp_path):
    def grade_upload(given, *_):
        if given.student == "bob":
            raise NoBox("the machine is full")
        return result(given)

    monkeypatch.setattr(run, "grade_upload", grade_upload)
    coming = in_threads([upload(name) for name in ("ann", "bob", "cem")], 3, 1, True)
    found = []
    with pytest.raises(Unfinished, match=r"1 uploads .* run it again: bob/x\.ipynb"):
        found.extend(iter(lambda: next(coming), None))
    assert sorted(one.student for one in found) == ["ann", "cem"]


def test_an_odd_future_is_told_at_the_end():
    broken, fine = Future(), Future()
    broken.set_exception(ZeroDivisionError("here"))
    fine.set_result("row")
    futures = {broken: upload("bob"), fine: upload("ann")}
    with pytest.raises(Unfinished, match="ZeroDivisionError"):
        for one in run._finished([broken, fine], futures):
            assert one == "row"


def submissions(folder: Path, notebooks: dict[str, dict]) -> Path:
    for student, notebook in notebooks.items():
        path = folder / "in" / student / "x.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook), "utf-8")
    return folder / "in"


def children(parent: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.add(int(stat.parent.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def until(holds: callable, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    require_sandbox()
    names = ("ann", "bob", "=dora")
    notebooks = {name: {**released("00"), "who": name} for name in names}
    place, out = submissions(tmp_path, {**notebooks, "eve": {"cells": []}}), tmp_path / "out"
    command = [sys.executable, "-m", "course_utils", "grade", str(place), "--out", str(out)]
    command += ["--workers", "1"]
    journal = out / "journal.jsonl"
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: journal.is_file() and journal.read_bytes().count(b"\n") >= 1)
    until(lambda: children(killed.pid))
    boxes = children(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in boxes))
    before = journal.read_bytes()
    assert before.count(b"\n") < 4 and not (out / "grades.csv").exists()
    with journal.open("ab") as stream:
        stream.write(b'{"student": "half')
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 submissions: 12 TODO, 1 UNREADABLE" in done.stdout
    assert journal.read_bytes().startswith(before)
    lines = [json.loads(line) for line in journal.open()]
    assert sorted(line["student"] for line in lines) == sorted([*names, "eve"])
    assert len({line["seed"] for line in lines}) == 1
    rows = list(csv.DictReader((out / "grades.csv").open(encoding="utf-8-sig")))
    assert {row["student"] for row in rows} == {"ann", "bob", "eve", "'=dora"}


def test_a_grade_is_reproduced_exactly_by_its_seed(tmp_path):
    require_sandbox()
    notebook = answered(
        "08",
        {"08-e1": solution("08-e1").replace("log_p - log_p_g", "log_p + log_p_g")},
        others="untouched",
    )
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(notebook))
    first, again, other = (grade(read(path), "ann", seed) for seed in (1, 1, 2))
    assert first == again
    assert first[0].failure.evidence != other[0].failure.evidence


def asked(*arguments: object) -> str:
    """The one line with which the command refuses."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 1 and result.output.count("\n") == 1, result.output
    return result.output


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--out", "/proc/o", "/proc/o"),
        ("--roster", "none.csv", "none.csv cannot be read: No such file or directory"),
        ("--moodle-worksheet", "none.csv", "none.csv cannot be read: No such file or directory"),
        ("--moodle-worksheet", "roster.csv", "roster.csv has the columns file, student: which are"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(option, value, told, tmp_path, monkeypatch):
    place = submissions(tmp_path, {"ann": released("00")})
    (tmp_path / "roster.csv").write_text("file,student\nx,y\n")
    monkeypatch.chdir(tmp_path)
    given = [option, value] if option == "--out" else ["--out", "out", option, value]
    assert told in asked("grade", place, "--no-sandbox", *given)


def test_without_a_sandbox_it_refuses_with_the_remedy(tmp_path, monkeypatch):
    place = submissions(tmp_path, {"ann": released("00")})
    monkeypatch.setattr(box.shutil, "which", lambda name: None)
    told = asked("grade", place, "--out", tmp_path / "out")
    assert "bwrap and prlimit not found" in told and "apt install bubblewrap" in told
    assert "--no-sandbox" in told
    monkeypatch.setattr(box.sys, "platform", "darwin")
    with pytest.raises(ValueError, match=r"no sandbox on darwin: .*Linux virtual machine"):
        grade_class(place, tmp_path / "out", Plan())
    monkeypatch.setattr(box.sys, "platform", "win32")
    with pytest.raises(ValueError, match="no grading on Windows, --no-sandbox or not"):
        grade_class(place, tmp_path / "out", Plan(sandbox=False))
    assert not (tmp_path / "out").exists()


def test_trusted_work_is_graded_without_a_sandbox(tmp_path, monkeypatch):
    monkeypatch.setattr(box, "available", lambda: "no sandbox here")
    answers = {"08-e1": solution("08-e1"), "08-e2": wrong("08-e2")}
    place = submissions(tmp_path, {"ann": answered("08", answers, others="untouched")})
    told = grade_class(place, tmp_path / "out", Plan(workers=1, seed=5, sandbox=False))
    assert "1 submissions: 4 TODO, 1 PASS, 1 NOT YET; hidden inputs by seed 5" in told
    assert not list(Path.cwd().glob("box-*")) and (tmp_path / "out" / "moodle-08.csv").is_file()


def test_the_folder_of_submissions_is_no_place_for_grades(tmp_path):
    require_sandbox()
    place = submissions(tmp_path, {"ann": released("00")})
    with pytest.raises(ValueError, match="is the folder of the submissions; legal: any other"):
        grade_class(place, place, Plan())


def test_a_box_that_does_not_open_is_nobody_s_fault(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(released("00")))

    def none() -> Box:
        raise box.BoxFailed("no room")

    with pytest.raises(NoBox, match="no room"):
        grade(read(path), "ann", 1, none)


def test_no_box_is_left_by_this_module():
    assert not [pid for pid in children(os.getpid()) if _is_box(pid)]


def _is_box(pid: int) -> bool:
    return b"grading.runner" in Path(f"/proc/{pid}/cmdline").read_bytes()
