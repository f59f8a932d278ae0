"""`course grade --scheduler`: a real scheduler, two workers; one is killed and nothing is lost."""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from course_utils.grading.collect import collect
from course_utils.grading.run import Journal, grade_all, on_cluster
from course_utils.notebook.authoring import solve
from tests.grading.submissions import require_sandbox

pytest.importorskip("distributed")
STUDENTS = ("ann", "bob", "cat", "dan")


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler, and its two workers."""
    require_sandbox()
    place, running = tmp_path / "scheduler.json", []
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0"]
    dask += ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(place)]
    running.append(subprocess.Popen(dask, stderr=subprocess.DEVNULL))
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--no-dashboard"]
    worker += ["--nthreads", "1", "--scheduler-file", str(place), "--local-directory"]
    for name in ("one", "two"):
        folder = str(tmp_path / name)
        running.append(subprocess.Popen([*worker, folder], stderr=subprocess.DEVNULL))
    deadline = time.monotonic() + 60
    while not place.is_file():
        assert time.monotonic() < deadline, "the scheduler did not start"
        time.sleep(0.1)
    from distributed import Client

    with Client(scheduler_file=str(place)) as client:
        client.wait_for_workers(2, timeout=60)
        yield client.scheduler.address, running[1:]
    for process in running:
        process.kill()
        process.wait()


def test_a_worker_killed_in_mid_run_loses_nothing(cluster, tmp_path):
    address, workers = cluster
    kept = tmp_path / "kept"
    kept.mkdir()
    for student in STUDENTS:
        solve("08", tmp_path / "uploads" / student)
        note = tmp_path / "uploads" / student / "08_gan_minimax.ipynb"
        note.write_text(note.read_text("utf-8") + " " * len(student), "utf-8")
    uploads, ignored = collect(tmp_path / "uploads", kept)
    assert (len(uploads), ignored) == (4, [])
    runner = partial(on_cluster, seed=1, address=address, sandbox=True)
    found = {}
    for result, changes in grade_all(uploads, Journal(tmp_path / "journal.jsonl", 1), runner):
        if not found:
            workers[0].kill()  # while the other three are on their way
        found[result.student] = result
        assert changes == []
    assert sorted(found) == sorted(STUDENTS)
    assert {row.status for result in found.values() for row in result.rows} == {"PASS"}
    assert len(Path(tmp_path / "journal.jsonl").read_text("utf-8").splitlines()) == 4


def test_an_address_where_nobody_answers_is_named():
    with pytest.raises(ValueError, match=r"no scheduler answers at 'tcp://127.0.0.1:9'"):
        list(on_cluster([], 0, "tcp://127.0.0.1:9", True))
