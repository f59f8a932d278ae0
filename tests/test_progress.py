"""The progress file survives crashes and is written nowhere but where it should be."""

import json
import os
import subprocess
import sys

import pytest

from course_utils import progress
from course_utils.place import ROOT


@pytest.fixture(autouse=True)
def kept_at(tmp_path, monkeypatch):
    file = tmp_path / "deep" / "progress.jsonl"
    monkeypatch.setenv("COURSE_PROGRESS", str(file))
    return file


def test_the_latest_state_counts():
    for state in ("NOT YET", "PASS", "NOT YET"):
        progress.record("05-e2", state)
    progress.record("05-e1", "PASS")
    assert progress.summary() == {"05-e1": "PASS", "05-e2": "NOT YET"}


def test_only_changes_are_written(kept_at):
    progress.record("05-e2", "TODO")
    assert not kept_at.exists()
    for _ in range(3):
        progress.record("05-e2", "PASS")
    assert len(kept_at.read_text().splitlines()) == 1


def test_reset_touches_one_exercise():
    progress.record("05-e1", "PASS")
    progress.record("05-e2", "PASS")
    progress.reset("05-e2")
    assert progress.summary() == {"05-e1": "PASS", "05-e2": "TODO"}


def test_a_shown_solution_is_noted_and_changes_no_state():
    progress.record("05-e2", "PASS")
    progress.record("05-e2", "SOLUTION SHOWN")
    assert progress.summary() == {"05-e2": "PASS"} and progress.shown() == {"05-e2"}


def test_an_unknown_state_is_named_with_the_legal_ones():
    with pytest.raises(ValueError, match=r"'DONE'.*PASS"):
        progress.record("05-e2", "DONE")


def test_a_cut_last_line_costs_only_itself(kept_at):
    progress.record("05-e1", "PASS")
    progress.record("05-e2", "PASS")
    kept_at.write_bytes(kept_at.read_bytes()[:-20])  # the crash
    assert progress.summary() == {"05-e1": "PASS"}
    progress.record("05-e3", "PASS")
    assert progress.summary() == {"05-e1": "PASS", "05-e3": "PASS"}


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe\x00\x80",
        b"\n\n\r\n",
        b"null\n3\n[]\n{}\n",
        b'{"exercise": 1, "state": "PASS"}\n{"exercise": ["05-e1"], "state": "PASS"}\n',
        b'{"exercise": "05-e1", "state": {}}\n',
        b"[" * 100_000,
        "\u2028".encode(),
    ],
)
def test_garbage_is_skipped_before_and_after(kept_at, garbage):
    kept_at.parent.mkdir()
    kept_at.write_bytes(garbage)
    progress.record("05-e2", "PASS")
    with kept_at.open("ab") as file:
        file.write(garbage)
    progress.record("05-e3", "NOT YET")
    assert progress.summary() == {"05-e2": "PASS", "05-e3": "NOT YET"}


WRITER = """
import sys
from course_utils import progress
for n in range(100):
    progress._append({"exercise": f"{sys.argv[1]}-e{n}", "state": "PASS"})
"""


def test_two_processes_may_write_at_once(kept_at):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, lesson]) for lesson in ("05", "06")]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(progress.summary()) == 200
    lines = [line for line in kept_at.read_text().splitlines() if line]
    assert len([json.loads(line) for line in lines]) == 200


def test_the_file_is_in_the_project_unless_the_environment_names_another(monkeypatch):
    monkeypatch.delenv("COURSE_PROGRESS")
    assert progress.path() == ROOT / ".course" / "progress.jsonl"


def test_an_authors_run_writes_into_nothing(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", os.devnull)
    progress.record("05-e2", "PASS")
    assert progress.summary() == {}
