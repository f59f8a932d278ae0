"""The doors of the course: make, conda and Binder, and what the README says of them."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

from course_utils.setup import install
from tests.conftest import require

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

FAKE_PYTHON = """#!/bin/sh
# Stands in for another Python: answers what the Makefile asks, notes every call.
echo "$@" >> "{root}/log"
case "$*" in
  *course_utils.__file__*) echo "{root}/course_utils/__init__.py" ;;
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *install.py*) test ! -e "{root}/no-network" ;;
  "-c "*) exec "{real}" -c "import sys; sys.version_info = {version}; exec(sys.argv[1])" "$2" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A folder with the Makefile, and a PATH folder with no Python in it."""
    unix = os.name == "posix" and shutil.which("make") is not None
    require("make", unix, "the Makefile is for Unix")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in ("mkdir", "cp", "touch"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def python(checkout: Path, name: str, version: str) -> None:
    numbers = tuple(map(int, version.split(".")))
    path = checkout / "bin" / name
    path.write_text(FAKE_PYTHON.format(version=numbers, real=sys.executable, root=checkout))
    path.chmod(0o755)


def make(checkout: Path, *targets: str) -> tuple[int, str]:
    environment = {"PATH": str(checkout / "bin"), "HOME": str(checkout)}
    ran = subprocess.run(
        [shutil.which("make"), "-C", str(checkout), *targets],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.returncode, ran.stdout + ran.stderr


def installs(checkout: Path) -> int:
    return (checkout / "log").read_text().count("course_utils/setup/install.py")


@pytest.mark.parametrize("target", ["setup", "lab", "test"])
def test_only_an_old_python_is_named_and_refused(checkout, target):
    python(checkout, "python3", "3.9.2")
    code, text = make(checkout, target)
    assert code != 0 and not (checkout / ".venv").exists()
    assert "needs Python 3.11 or newer; found: python3 (3.9.2)." in text


def test_no_python_at_all_is_said(checkout):
    code, text = make(checkout, "setup")
    assert code != 0 and "found: no Python at all" in text


def test_the_first_python_that_runs_and_is_new_enough_is_taken(checkout):
    python(checkout, "python3", "3.10.13")
    broken = checkout / "bin" / "python3.13"
    broken.write_text("#!/bin/sh\necho 'python3.13: command not found' >&2\nexit 127\n")
    broken.chmod(0o755)
    python(checkout, "python3.12", "3.12.1")
    code, text = make(checkout, "setup")
    assert code == 0, text
    assert "Making .venv with python3.12 (3.12.1)" in text


def test_a_python_can_be_named(checkout):
    python(checkout, "python3", "3.11.7")
    python(checkout, "snake", "3.12.1")
    assert "Making .venv with snake (3.12.1)" in make(checkout, "setup", "PYTHON=snake")[1]


@pytest.mark.parametrize("pins", ["pyproject.toml", "constraints.txt"])
def test_a_second_setup_does_nothing_and_new_pins_are_noticed(checkout, pins):
    python(checkout, "python3", "3.11.7")
    assert make(checkout, "setup")[0] == 0 and installs(checkout) == 1
    assert make(checkout, "setup")[0] == 0 and installs(checkout) == 1
    later = time.time() + 5
    os.utime(checkout / pins, (later, later))
    assert make(checkout, "setup")[0] == 0 and installs(checkout) == 2


def test_an_interrupted_setup_is_taken_up_again(checkout):
    python(checkout, "python3", "3.11.7")
    (checkout / "no-network").touch()
    assert make(checkout, "setup")[0] != 0
    (checkout / "no-network").unlink()
    assert make(checkout, "setup")[0] == 0 and installs(checkout) == 2


def test_a_venv_whose_python_went_away_or_whose_folder_moved_is_repaired(checkout):
    python(checkout, "python3", "3.11.7")
    assert make(checkout, "setup")[0] == 0
    (checkout / ".venv" / "bin" / "python").unlink()
    code, text = make(checkout, "setup")
    assert code == 0 and "Making .venv" in text and installs(checkout) == 2
    moved = checkout / ".venv" / "bin" / "python"
    moved.write_text(moved.read_text().replace("/course_utils/__init__", "/elsewhere/__init__"))
    assert make(checkout, "setup")[0] == 0 and installs(checkout) == 3


PIN = "torch==2.13.0"


@pytest.mark.parametrize(
    ("platform", "gpu", "answers", "found", "requirement", "words"),
    [
        ("darwin", False, True, True, PIN, "this system"),
        ("linux", True, True, True, PIN, "CUDA build, several GB"),
        ("linux", False, True, True, f"{PIN}+cpu", "CPU build, about 200 MB"),
        ("linux", False, False, True, f"{PIN}+cpu", "CPU build, about 200 MB"),
        ("linux", False, False, False, PIN, "does not answer"),
        ("linux", False, True, False, PIN, "offers none"),
    ],
)
def test_the_build_of_torch(monkeypatch, platform, gpu, answers, found, requirement, words):
    monkeypatch.setattr(install.sys, "platform", platform)
    monkeypatch.setattr(install, "gpus", lambda: ["Test GPU, 16384 MiB"] if gpu else [])
    monkeypatch.setattr(install, "answers", lambda url: answers)
    monkeypatch.setattr(install, "found", lambda requirement, options: found)
    chosen, options, said = install.choose_torch(PIN)
    assert chosen == requirement and words in said
    asked = answers and chosen.endswith("+cpu")
    assert options == (["--extra-index-url", install.CPU_INDEX] if asked else [])
    if platform == "linux" and not chosen.endswith("+cpu"):
        assert "several GB" in said


def test_an_index_that_is_silent_costs_the_time_limit_only(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        assert not install.answers(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.5)
        assert time.monotonic() - start < 30  # by itself it waits for ever
    assert not install.answers("http://no-such-host.invalid")
    monkeypatch.setattr(install.urllib.request, "urlopen", lambda *a, **k: time.sleep(60))
    start = time.monotonic()  # as a name look-up that hangs
    assert not install.answers("http://127.0.0.1", seconds=0.2)
    assert time.monotonic() - start < 30


@pytest.mark.skipif(os.name != "posix", reason="a script of the Unix shell stands in for a tool")
def test_a_gpu_counts_only_if_the_driver_lists_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    tool.chmod(0o755)
    assert install.gpus() == []
    tool.write_text("#!/bin/sh\necho 'Test GPU, 16384 MiB'\n")
    assert install.gpus() == ["Test GPU, 16384 MiB"]


def test_a_package_cut_short_is_installed_again(monkeypatch, tmp_path):
    whole, cut = tmp_path / "whole-1.0.dist-info", tmp_path / "cut-1.0.dist-info"
    whole.mkdir(), cut.mkdir()
    (whole / "INSTALLER").write_text("pip\n")
    (cut / "METADATA").write_text("Name: cut\n")
    monkeypatch.setattr(install.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(install.sys, "prefix", "/somewhere/.venv")
    assert install.remove_half_installed()
    assert whole.exists() and not cut.exists()
    assert not install.remove_half_installed()


def test_what_is_complete_is_not_installed_again(monkeypatch):
    calls = []
    monkeypatch.setattr(install, "pip", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(install, "remove_half_installed", lambda: False)
    install.main(["test", "dev"])
    assert calls == []
    monkeypatch.setattr(install, "package_is_here", lambda: False)
    install.main(["test", "dev"])
    assert [(call[0], call[-1]) for call in calls] == [("install", f"{ROOT}[test,dev]")]
    assert "--no-deps" in calls[0], "nothing is asked of a network"


def test_what_a_pin_needs_is_brought_to_its_version(monkeypatch):
    real, calls = install.version, []
    monkeypatch.setattr(install, "pip", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(install, "remove_half_installed", lambda: False)
    monkeypatch.setattr(install, "version", lambda name: "1.0" if name == "attrs" else real(name))
    install.main([])
    constraint = ("--constraint", str(ROOT / "constraints.txt"))
    assert calls == [("install", *constraint, "--editable", str(ROOT), "attrs")]


def test_the_workflow_runs_what_is_there_at_versions_that_are_named_and_only_reads():
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    jobs = (workflow := yaml.safe_load(text))["jobs"]
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in jobs.values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", name) for name in used)
    run = " ".join(step["run"] for step in steps if "run" in step).replace("\\", "/")
    files = re.findall(r"(?<![\w./])(?:\.ci/\w+|(?:course_utils|notebooks|tests)/[\w./]+)", run)
    assert len(files) > 2 and all((ROOT / name).exists() for name in files)


def test_the_readme_leads_with_the_two_commands_and_its_links_hold():
    text = (ROOT / "README.md").read_text()
    assert text.index("make lab") < text.index("make test") < 1500
    for page in ("docs/students.md", "docs/instructors.md", "docs/engineers.md"):
        assert page in text and (ROOT / page).is_file()


def test_the_lines_that_the_readme_quotes_stand_in_a_lesson():
    quoted = [row for row in (ROOT / "README.md").read_text().splitlines() if row[:5] == "line."]
    cells = (ROOT / "notebooks" / "05_elbo.ipynb").read_text(encoding="utf-8")
    assert len(quoted) >= 2
    assert [row for row in quoted if json.dumps(row)[1:-1] not in cells] == []


def test_the_readmes_figure_is_the_one_that_the_lesson_stores():
    cells = json.loads((ROOT / "notebooks" / "05_elbo.ipynb").read_text(encoding="utf-8"))["cells"]
    [outputs] = [cell["outputs"] for cell in cells if cell["id"] == "05-3-bars"]
    stored = base64.b64decode("".join(outputs[0]["data"]["image/png"]))
    assert (ROOT / "assets" / "figures" / "elbo.png").read_bytes() == stored
