"""What a tester broke: submissions and classes that cost others something cost them no more."""

import io
import json
import math
import subprocess
import time
import zipfile
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from course_utils import exercises
from course_utils.exercises.base import far, judge
from course_utils.grading import archives, box, grade as grade_module, notebook as reader, wire
from course_utils.grading.base import Cell, Row, Unreadable, Work
from course_utils.grading.batch import Plan, grade_class
from course_utils.grading.box import Limits
from course_utils.grading.collect import LOOK, Ignored, collect, latest
from course_utils.grading.notebook import Leads, lessons, read
from course_utils.grading.report import write_all
from course_utils.grading.run import Result
from course_utils.observing import Observed, observe
from tests.grading.submissions import (
    SIGNATURE,
    answered,
    code,
    graded,
    position,
    require_sandbox,
    solution,
)

fcntl, resource = pytest.importorskip("fcntl"), pytest.importorskip("resource")  # of Unix

NO_BREAK = "def show(x):\n    print(f\"{'a\u00a0b'.join(x)}\")"  # ast.unparse cannot write it


def understood(notebook: dict, folder) -> Work:
    path = folder / "x.ipynb"
    path.write_text(json.dumps(notebook), "utf-8")
    return read(path)


def test_a_function_added_to_a_cell_of_ours_is_kept_as_it_was_written(tmp_path):
    notebook = answered("08", {})
    cell = notebook["cells"][position(notebook, "check-08-e1")]
    decorated = "import os; import sys\n@staticmethod\n# why\ndef two():\n    return 2  # two"
    cell["source"] = f"{NO_BREAK}\nx = 1\n{decorated}\n%time\n" + "".join(cell["source"])
    kept = [found for found in understood(notebook, tmp_path).cells if found.closes == "08-e1"]
    expected = decorated.replace("; ", "\n").removesuffix("  # two")
    assert kept == [Cell(f"{NO_BREAK}\n{expected}", closes="08-e1")]


def test_a_mistake_in_reading_costs_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_answers", lambda *_: 1 / 0)
    with pytest.raises(Unreadable, match="ZeroDivisionError"):
        understood(answered("08", {}), tmp_path)


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_shape_of_very_many_sides_is_refused_at_once(kind):
    name = "float64" if kind == "tensor" else "<f8"
    sides = b",".join([b"9"] * 200_000)
    text = b'{"%s":"%s","shape":[%s],"grad":false}' % (kind.encode(), name.encode(), sides)
    begun = time.process_time()
    with pytest.raises(wire.Malformed):
        wire.decode(wire.LENGTH.pack(len(text)) + text)
    assert time.process_time() - begun < 1


def test_many_names_in_one_statement_cost_the_grader_little():
    names = ",".join(chr(0x4E00 + i) for i in range(3000))
    exercise = exercises.find("08-e1")
    helper = Cell(f"{names}=h,{names}\nfrom course_utils.gan import loss as h")
    answer = Cell(f"def {exercise.name}(a, b):\n    return {chr(0x4E05)}", exercise=exercise.id)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert Leads(Work("08", (helper, answer))).use_package(exercise)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10  # kB


def test_a_name_of_any_letters_is_the_name_of_a_file(tmp_path):
    row = Row("x", "08-e1", 5, 5, "PASS")
    given = ("", "x.ipynb", "d", "08", 1, 1.0, (row,), "folder")
    write_all(tmp_path, [Result(name, *given) for name in ("\U0001d49c" * 60, "Jörg", "ann")])
    pages = sorted(path.name for path in (tmp_path / "feedback").iterdir())
    assert len(pages) == 3 and pages[0].startswith("Jörg-08-")


def counted(
    tmp_path, files: dict[str, bytes], roster: str = ""
) -> tuple[list[tuple], list[Ignored]]:
    """(student, number) of each upload that counts, and what was left out."""
    place, keep = tmp_path / "in", tmp_path / "out" / "notebooks"
    keep.mkdir(parents=True)
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    (tmp_path / "roster.csv").write_text(roster)
    uploads, ignored = collect(place, keep, (tmp_path / "roster.csv") if roster else None)
    uploads, older = latest(uploads, lambda _: "08")
    return sorted((upload.student, upload.number) for upload in uploads), ignored + older


def test_a_roster_merges_nobody_by_accident(tmp_path):
    two = {"ann/a.ipynb": b"1", "bob/a.ipynb": b"2"}
    found, _ = counted(tmp_path / "1", two, "file,student\n,Zoe\nann,Ann Lee\n")
    assert found == [("Ann Lee", ""), ("bob", "")]
    for i, wrong in enumerate(("ann", "ann,", "ann,Ann\nann,Bob")):
        with pytest.raises(ValueError, match=r"'ann'.*legal: one each"):
            counted(tmp_path / f"wrong{i}", two, f"file,student\n{wrong}\n")
    found, left = counted(tmp_path / "2", two, "file,student\nann,Ann\nbob,Ann\n")
    assert found == [("Ann", "")] and left[0].reason.startswith(LOOK)
    paths = "file,student\nhw/ann.ipynb,Ann\nhw/bob.ipynb,Bob\n"
    found, left = counted(tmp_path / "3", {"hw/ann.ipynb": b"1", "hw/bob.ipynb": b"2"}, paths)
    assert found == [("Ann", ""), ("Bob", "")] and left == []


IN_MOODLE = [f"c/{who}_assignsubmission_file/a.ipynb" for who in ("Ann_1", "Bo_2")]
APART = {
    "a stray file beside Moodle's": (
        [
            "c/Ann_1_assignsubmission_file/a.ipynb",
            "c/Bo_2_assignsubmission_file/a.ipynb",
            "t.ipynb",
        ],
        [("Ann", "1"), ("Bo", "2"), ("t", "")],
    ),
    "or among them": (
        [
            "c/Ann_1_assignsubmission_file/a.ipynb",
            "c/Bo_2_assignsubmission_file/a.ipynb",
            "c/t.ipynb",
        ],
        [("Ann", "1"), ("Bo", "2"), ("t", "")],
    ),
    "Canvas in a folder": (
        ["c/ann_1_8_08_gan_minimax.ipynb", "c/bo_2_9_08_gan_minimax-3.ipynb"],
        [("ann", "1"), ("bo", "2")],
    ),
    "a zip of Canvas": (
        ["ann_1_815_work/08/x.ipynb", "bo_2_9_x.ipynb"],
        [("ann", "1"), ("bo", "2")],
    ),
    "one name": (
        ["08_gan_minimax.ipynb", "08_gan_minimax (1).ipynb", "08_gan_minimax-2.ipynb"],
        [("08_gan_minimax", ""), ("08_gan_minimax (1)", ""), ("08_gan_minimax-2", "")],
    ),
    "numbers": (
        [
            "student-1.ipynb",
            "student-2.ipynb",
            "08_gan_minimax_pupil-3.ipynb",
            "x_08_gan_minimax-2.ipynb",
        ],
        [("pupil-3", ""), ("student-1", ""), ("student-2", ""), ("x", "")],
    ),
}


@pytest.mark.parametrize("name", APART)
def test_students_are_not_lumped_together(name, tmp_path):
    files, expected = APART[name]
    assert counted(tmp_path, {file: file.encode() for file in files})[0] == sorted(expected)


def test_what_may_be_two_students_is_said_aloud(tmp_path):
    files = ["hw/ann.ipynb", "hw/bob.ipynb", "cem/a.ipynb", "cem/a-2.ipynb"]
    files += ["hw_05_2026_dora.ipynb", "hw_05_2026_eve.ipynb"]
    found, left = counted(tmp_path, {file: file.encode() for file in files})
    assert found == [("cem", ""), ("hw", ""), ("hw", "05")]
    assert [item.reason.startswith(LOOK) for item in left].count(True) == 2
    found, left = counted(tmp_path / "one", {"ann/a/1.ipynb": b"1", "ann/b/1.ipynb": b"2"})
    assert len(found) == 2 and left[0].source == "ann/" and left[0].reason.startswith(LOOK)


def test_only_one_run_at_a_time_writes_to_a_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "journal.jsonl").open("ab") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another run writes to"):
            grade_class(tmp_path / "in", tmp_path / "out", Plan(sandbox=False))
    with pytest.raises(ValueError, match="no notebook in"):
        grade_class(tmp_path / "in", tmp_path / "out", Plan(sandbox=False))


def test_our_setup_runs_again_where_it_stands_below_a_students_cell(tmp_path):
    notebook, lesson = answered("08", {}), lessons()["08"]
    notebook["cells"].insert(0, code("%reset -f"))
    kept = [cell.source for cell in understood(notebook, tmp_path).cells if not cell.exercise]
    assert [source for source in kept if source] == ["%reset -f", lesson.setup, *lesson.needed]


SLOW = {
    "one id": [code("def f():\n    return [" + "1," * 200 + "]", "check-08-e1")] * 1500,
    "large cells": [code("def f():\n    return 1" + "+1" * 900, "check-08-e1")] * 300,
}


@pytest.mark.parametrize("name", SLOW)
def test_changed_cells_of_ours_are_read_soon(name, tmp_path):
    notebook = answered("08", {})
    notebook["cells"] += SLOW[name]
    begun = time.process_time()
    understood(notebook, tmp_path)
    assert time.process_time() - begun < 4  # it took more than 6


def test_an_old_format_is_read_soon(tmp_path):
    (tmp_path / "x.ipynb").write_text('{"worksheets": [], "x": [%s{}]}' % ("{}," * 10**6))
    begun = time.process_time()
    with pytest.raises(Unreadable, match="this is no notebook"):
        read(tmp_path / "x.ipynb")
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "source", ["from course_utils.vae import *", "import_module('course_utils.vae')"]
)
def test_a_star_or_a_name_as_text_is_marked(source):
    exercise = exercises.find("08-e1")
    body = source if source[0] == "i" else "return elbo()"
    answer = f"def {exercise.name}(a, b):\n    {body}"
    top = source if source[0] == "f" else ""
    assert Leads(Work("08", (Cell(top), Cell(answer, exercise="08-e1")))).use_package(exercise)


@pytest.fixture
def sandbox(monkeypatch):
    """Boxes in a hurry: all limits in proportion to those in earnest."""
    require_sandbox()
    monkeypatch.setattr(grade_module, "PATIENCE", 16.0)
    monkeypatch.setattr(grade_module, "AGED", 3.0)


SPIN = "import time\nt = time.process_time()\nwhile time.process_time() - t < {}: pass"
LEFT_OUT = ("answer-08-e1", "answer-08-e2")
PATCHED = """import builtins, json, marshal
HEARD = []
def hears(module, name):
    real = getattr(module, name)
    def told(*given, **more):
        HEARD.append(repr((given, more)))
        return real(*given, **more)
    setattr(module, name, told)
for module, name in ((builtins, "compile"), (json, "loads"), (marshal, "loads")):
    hears(module, name)
"""
FINDS = """
    import re
    line = re.compile(rb"p [*] log_real [+]")
    found = sum(bool(line.search(text.encode())) for text in HEARD)
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for area in maps:
            begin, end = (int(part, 16) for part in area.split()[0].split("-"))
            if area.split()[1].startswith("rw") and end - begin < 2**27:
                try:
                    memory.seek(begin)
                    found += len(line.findall(memory.read(end - begin)))
                except OSError:
                    pass
    raise RuntimeError(f"{len(HEARD) > 0}, canaries: {found}")"""
LEAK = """
    import inspect
    try:
        text = "".join(inspect.getsource(f) for f in (optimal_discriminator, minimax_value))
    except OSError:
        text = 'EVERY LINE'
    raise RuntimeError(text)"""


def test_experiments_and_a_reset_cost_no_answer(tmp_path, sandbox):
    notebook = answered("08", {})
    at = position(notebook, "answer-08-e2")
    notebook["cells"][at:at] = [code(SPIN.format(60))] + [code(SPIN.format(0.3))] * 14
    notebook["cells"].insert(0, code("%reset -f"))
    rows = graded(notebook, tmp_path, Limits(cell=1.2, cpu=6))
    assert {row.status for row in rows.values()} == {"PASS"}, rows


class LateBox:
    """A box that ends at the first call; in the next ones each cell takes three seconds."""

    opened: ClassVar[list] = []

    def __init__(self) -> None:
        self.opened.append(self)
        self.pace, self.busy, self.called, self.alive = 4.0, 4.0, set(), True

    def run(self, *_: object) -> None:
        self.busy += 4 * 3.0 * (len(self.opened) > 1)

    def call(self, *_: object) -> None:
        raise box.BoxFailed("it ended")

    def close(self) -> None:
        self.alive = False


def test_cells_that_are_late_when_repeated_end_with_the_patience(monkeypatch):
    monkeypatch.setattr(grade_module, "PATIENCE", 30.0)
    with grade_module._Session(LateBox) as session:
        for i in range(20):
            session.run(grade_module._Run(f"x = {i}"))
        assert session.call("f").error.message == "the call was stopped: it ended"
        assert "has used up its time" in session.call("f").error.message
    spent = sum(box.busy / box.pace for box in LateBox.opened)
    assert 30 < spent < 30 + 4  # repeating them all takes 60 s


def test_a_page_shows_no_reference(tmp_path, sandbox):
    spies = {"08-e3": SIGNATURE["08-e3"] + FINDS, "08-e5": SIGNATURE["08-e5"] + LEAK}
    notebook = answered("08", spies)
    notebook["cells"].insert(0, code(PATCHED, "spy"))
    notebook["cells"] = [c for c in notebook["cells"] if c["id"] not in LEFT_OUT]
    rows = graded(notebook, tmp_path)
    assert "EVERY LINE" in rows["08-e5"].failure.evidence
    assert rows["08-e3"].failure.evidence == "RuntimeError: True, canaries: 0"
    work = Work("08", (Cell("x = 1"),))
    shown = grade_module._without_references(work, exercises.find("08-e2").solution)
    assert "(not shown)" in shown and exercises.find("08-e2").solution.splitlines()[-1] not in shown


def needs(name: str, other: str) -> str:
    """A right answer that runs where another name stands for something."""
    return solution(name).replace("    return", f"    {other}\n    return")


def test_a_reference_takes_its_place_for_later_exercises_only(tmp_path, sandbox):
    """A deleted or a wrong answer pays for none before it, wherever the student moved that."""
    answers = {name: needs(name, "minimax_value") for name in ("08-e1", "08-e3")}
    answers["08-e5"] = needs("08-e5", "saved(torch.ones(2), 0.1, 1, True)[1][0]")
    answers["08-e6"] = "def bilinear_game(start, eta, n, alternating):\n    return 0.123"
    notebook = answered("08", answers)
    cells = notebook["cells"]
    del cells[position(notebook, "answer-08-e2")]
    moved = cells.pop(position(notebook, "answer-08-e5"))
    cells += [code("saved = bilinear_game"), moved]
    rows = graded(notebook, tmp_path)
    found = {name: row.status for name, row in rows.items()}
    expected = {"08-e1": "NOT YET", "08-e2": "MISSING", "08-e3": "PASS", "08-e4": "PASS"}
    assert found == {**expected, "08-e5": "NOT YET", "08-e6": "NOT YET"}, rows
    assert "minimax_value" in rows["08-e1"].failure.evidence


def without_numbers(value: object) -> object:
    """The same with NaN for each number."""
    if isinstance(value, torch.Tensor):
        return torch.full_like(value, math.nan)
    if isinstance(value, list | tuple):
        return type(value)(map(without_numbers, value))
    return math.nan


@pytest.mark.parametrize("name", ["00-e1", "13-e3"])
def test_no_numbers_earn_no_points(name):
    exercise = exercises.find(name)

    def forged(_: str, *inputs: object) -> Observed:
        seen = observe(exercise.reference, *inputs)
        return replace(seen, value=without_numbers(seen.value))

    assert judge(exercise, "x", forged, seed=5).points == 0


def test_a_random_value_that_is_no_number_is_far():
    assert far(math.nan, math.nan, 1.0) and far(math.inf, 0.0, math.inf)


def test_a_zip_cannot_hide_how_long_its_list_is(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", b"")
    whole = bytearray(stream.getvalue())
    whole[-14:-10] = b"PK\5\6"  # counts of files that look like the mark of the end
    whole[-10:-6] = (550_000).to_bytes(4, "little")
    assert archives._directory_size(io.BytesIO(whole)) == 550_000


def test_a_huge_zip_is_not_opened(tmp_path):
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "ann.zip").open("wb") as stream:
        stream.truncate(archives.NESTED_LIMIT + 1)
    (left,) = archives.files(tmp_path / "in", tmp_path)
    assert left.reason == "120 MB; at most 120 are read"


def test_a_machine_too_busy_to_open_a_box_is_told(monkeypatch):
    require_sandbox()

    def late(command: list, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr(box.subprocess, "run", late)
    assert "did not open within 60 s" in box.available()
