"""The stored edition runs top to bottom with the network cut off, and every check says the same."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import require
from tests.notebooks.lessons import NOTEBOOKS, ROOT

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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebook_runs_and_its_checks_agree(path):
    """nbval runs every cell and compares the output of the cells tagged nbval-check-output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*offline(), *PYTEST, *NBVAL, str(path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-6000:]
