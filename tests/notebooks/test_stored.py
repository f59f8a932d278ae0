"""One kernel proves a lesson, with the network cut off.

Its stored cells run and every check says what is stored; then the references pass, every control is
moved, and answers in NumPy stop no cell (afterwards.py). A copy in which the exercises are solved
would prove nothing more: no cell reads an answer but through `use` (test_names.py), which hands on
the reference already.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course_utils.notebook.file import write
from tests.conftest import require
from tests.notebooks.afterwards import closing
from tests.notebooks.lessons import LESSONS, NOTEBOOKS, ROOT, read

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts="]
NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120"]
OFFLINE = ["bwrap", "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"]


def offline() -> list[str]:
    works = shutil.which("bwrap") and subprocess.run([*OFFLINE, "true"]).returncode == 0
    require("sandbox", bool(works), "bubblewrap cuts the network off; it is missing or refused")
    return OFFLINE


def test_the_network_is_really_cut_off():
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=2)"
    cut = subprocess.run([*offline(), sys.executable, "-c", probe], capture_output=True, text=True)
    assert "unreachable" in cut.stderr


def nbval(notebook: NotebookNode, folder: Path) -> subprocess.CompletedProcess:
    """Run every cell, and compare the output of the cells tagged nbval-check-output."""
    copy = folder / "lesson.ipynb"
    write(notebook, copy)
    return subprocess.run(
        [*offline(), *PYTEST, *NBVAL, str(copy)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_lesson_runs_as_stored_then_its_references_pass_and_its_controls_move(
    path, tmp_path
):
    notebook = read(path)
    if path in LESSONS:
        notebook.cells += closing(path.name[:2], notebook.cells)
    run = nbval(notebook, tmp_path)
    assert run.returncode == 0, run.stdout[-6000:]


PLANTED = """
from course_utils import widgets
from course_utils.plots.base import Picture, subplots

def line(mean: float = 0.5) -> Picture:
    if mean == 1.0:
        raise ValueError("beyond what it can draw")
    figure, ((ax,),) = subplots(width=3, height=2)
    ax.plot([0, mean], [0, 1])
    return Picture(figure, f"a line to {mean:g}")

widgets.explore(line, mean=widgets.slider(0.0, 1.0, 0.5, "mean"))
"""


def test_an_output_that_changed_and_a_control_that_raises_are_found(tmp_path):
    changed = new_code_cell("print(2)", metadata={"tags": ["nbval-check-output"]})
    changed.outputs, changed.execution_count = [new_output("stream", text="1\n")], 1
    cells = [changed, new_code_cell(PLANTED)]
    run = nbval(new_notebook(cells=cells + closing("18", cells)), tmp_path)  # without exercises
    assert "2 failed, 3 passed" in run.stdout, run.stdout[-6000:]
    assert "assert reference_output == test_output failed" in run.stdout
    assert "beyond what it can draw" in run.stdout
