"""`course doctor` finds planted faults, names the remedy, and stays calm about optional things."""

import os
import shutil
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import course_utils
from course_utils.cli import app
from course_utils.grading.batch import Plan, grade_class
from course_utils.setup import doctor, install


def run() -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    return result.exit_code, result.output


def line(report: str, subject: str) -> str:
    return next(row for row in report.splitlines() if row[7:].startswith(subject))


def tool(folder, name: str, script: str) -> None:
    if os.name != "posix":
        pytest.skip("a script of the Unix shell stands in for a tool")
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_this_environment_is_at_its_pins():
    code, report = run()
    assert code == 0
    for subject in ("python", "packages", "tools", "device", "threads", "memory", "disk"):
        assert line(report, subject).startswith(("OK", "--")), report


def test_a_package_that_differs_from_its_pin(monkeypatch):
    real, old = install.version, {"numpy", "attrs", "ruff"}
    monkeypatch.setattr(install, "version", lambda name: "1.0" if name in old else real(name))
    code, report = run()
    assert code == 1
    packages, tools = line(report, "packages"), line(report, "tools")
    assert packages.startswith("WRONG") and tools.startswith("WRONG")
    assert "attrs is 1.0, pinned" in packages, "jsonschema brings it"
    assert "numpy is 1.0, pinned" in packages and "remedy: make setup" in report
    assert "ruff is 1.0" in tools and "ruff" not in packages
    assert "torch is" not in report, "a local build such as 2.13.0+cpu is at its pin"


def test_a_package_that_is_missing(monkeypatch):
    def found(name: str) -> str:
        if name == "pooch":
            raise doctor.PackageNotFoundError(name)
        return real(name)

    real = doctor.version
    monkeypatch.setattr(doctor, "version", found)
    code, report = run()
    assert code == 1 and "pooch is missing" in line(report, "packages")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("COURSE_DEVICE", "abacus"), ("COURSE_THREADS", "many"), ("COURSE_BUDGET", "huge")],
)
def test_an_illegal_setting(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    code, report = run()
    assert code == 1
    assert f"{variable}='{value}'" in line(report, "device")
    assert "legal:" in report and "remedy: set it to a legal value" in report


def test_a_torch_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "course_utils.runtime", None)
    monkeypatch.delattr(course_utils, "runtime", raising=False)
    code, report = run()
    assert code == 1
    assert "torch cannot be imported" in line(report, "device") and "make setup" in report


def test_a_gpu_that_this_torch_cannot_use(monkeypatch, tmp_path):
    tool(tmp_path, "nvidia-smi", "echo 'Test GPU, 16384 MiB'")
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = doctor._device("cpu", ["cpu"])
    assert finding.state == "--" and "no CUDA" in finding.text
    assert "--force-reinstall torch==" in finding.remedy
    assert doctor._device("cuda", ["cuda", "cpu"]).state == "OK"
    assert "Test GPU" in doctor._memory()[0].text


def test_no_room_on_the_disk(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**28))
    code, report = run()
    assert code == 1 and line(report, "disk").startswith("WRONG")


def test_missing_optional_tools_are_no_fault(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "BROWSER_PLACES", ())
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    code, report = run()
    assert code == 0
    for subject in ("sandbox", "browser", "data"):
        assert line(report, subject).startswith("--"), report
    assert report.count("remedy:") == 4  # there are two data sets
    assert "bwrap and prlimit not found" in line(report, "sandbox")


REFUSES = "echo 'No permissions to create a new namespace' >&2; exit 1"
TOOLS = {
    "none": ({}, "bwrap and prlimit not found"),
    "no prlimit": ({"bwrap": "exit 0"}, "prlimit not found"),
    "refused": ({"bwrap": REFUSES, "prlimit": REFUSES}, "No permissions to create a new namespace"),
    "it works": ({"bwrap": "exit 0", "prlimit": "exit 0"}, ""),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no other sandbox")
@pytest.mark.parametrize("name", TOOLS)
def test_what_is_said_of_the_sandbox_is_what_the_grader_says(name, monkeypatch, tmp_path):
    tools, why = TOOLS[name]
    for called, script in tools.items():
        tool(tmp_path, called, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "in").mkdir()
    [finding] = doctor._sandbox()
    with pytest.raises(ValueError, match=f"{why}: " if why else "no notebook in") as refused:
        grade_class(tmp_path / "in", tmp_path / "out", Plan())
    assert finding.state == ("--" if why else "OK") and why in finding.text
    assert not why or finding.remedy in str(refused.value)


def test_data_that_is_there_in_part(monkeypatch, tmp_path):
    from course_utils.archives import ARCHIVES

    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    for file in ARCHIVES["mnist"]:
        (tmp_path / "mnist" / f"{file}.gz").touch()
    states = {f.text.split()[0].rstrip(":"): f.state for f in doctor._data()}
    assert states == {"mnist": "OK", "fashion_mnist": "--"}
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "1 of 4 archives" in doctor._data()[0].text
