"""What `course doctor` looks at: one line per finding, and the remedy where something is missing.

OK is fine, -- is missing but optional, WRONG keeps the course from running as it should.
"""

import contextlib
import io
import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from course_utils.place import ROOT
from course_utils.setup.install import differing, gpus, project

INSTALL = "make setup (Windows: .venv\\Scripts\\python -I course_utils\\setup\\install.py)"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSERS += ("microsoft-edge", "msedge")
BROWSER_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the report; `remedy` says what to do where the state is not OK."""

    subject: str
    state: Literal["OK", "--", "WRONG"]
    text: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at everything, in the order of the report."""
    looks = (_python, _packages, _extras, _start, _memory, _sandbox, _browser, _data, _disk)
    return [finding for look in looks for finding in look()]


def report(findings: list[Finding]) -> str:
    """One line per finding, its remedy below."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<6} {finding.subject:<9} {finding.text}")
        if finding.remedy:
            lines.append(f"{'':<16} remedy: {finding.remedy}")
    return "\n".join(lines)


def find_browser() -> str | None:
    """The path of a browser of the Chromium family, or None."""
    on_path = (shutil.which(name) for name in BROWSERS)
    return next(filter(None, on_path), None) or next(filter(os.path.exists, BROWSER_PLACES), None)


def _python() -> list[Finding]:
    found, oldest = sys.version_info[:2], project()["requires-python"].removeprefix(">=")
    text = f"{sys.version.split()[0]} at {sys.executable}"
    if found >= tuple(map(int, oldest.split("."))):
        return [Finding("python", "OK", text)]
    return [Finding("python", "WRONG", f"{text}; needed: {oldest}", f"install Python {oldest}")]


def _missing(pins: list[str]) -> list[str]:
    """The names of the pins "name==version" of which nothing is installed."""
    missing = []
    for name in (pin.partition("==")[0] for pin in pins):
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    return missing


def _tools() -> list[str]:
    """The pins that only tests and authors need."""
    extras = project()["optional-dependencies"]
    return extras["test"] + extras["dev"]


def _packages() -> list[Finding]:
    pins = project()["dependencies"]
    tools = {pin.partition("==")[0] for pin in _tools()}
    wrong = [f"{name} is missing" for name in _missing(pins)]
    wrong += [both for name, both in differing().items() if name not in tools]
    if wrong:
        return [Finding("packages", "WRONG", "; ".join(wrong), INSTALL)]
    return [Finding("packages", "OK", f"all {len(pins)} and what they need are at their pins")]


def _extras() -> list[Finding]:
    pins = _tools()
    missing, others = _missing(pins), differing()
    if missing:
        text = f"{len(missing)} of {len(pins)} are missing, needed by make test"
        return [Finding("tools", "--", text, "make test installs them")]
    wrong = [others[name] for name in (pin.partition("==")[0] for pin in pins) if name in others]
    if wrong:
        return [Finding("tools", "WRONG", "; ".join(wrong), "make test installs the pins")]
    return [Finding("tools", "OK", f"all {len(pins)} for tests and authors are at their pins")]


def _start() -> list[Finding]:
    """Start a lesson as a notebook does: this reads COURSE_DEVICE, _THREADS and _BUDGET."""
    try:
        from course_utils import runtime

        with contextlib.redirect_stdout(io.StringIO()):
            lesson = runtime.start(lesson=0, seed=0)
    except (ImportError, OSError) as error:
        return [Finding("device", "WRONG", f"torch cannot be imported: {error}", INSTALL)]
    except ValueError as error:
        return [Finding("device", "WRONG", str(error), "set it to a legal value, or unset it")]
    threads = f"{lesson.threads} of {os.cpu_count()}; COURSE_THREADS changes it"
    return [
        _device(str(lesson.device), runtime.available_devices()),
        Finding("threads", "OK", threads),
        Finding("budget", "OK", f"{lesson.budget}; COURSE_BUDGET=full trains for longer"),
    ]


def _device(chosen: str, available: list[str]) -> Finding:
    if gpus() and "cuda" not in available:
        text = f"{chosen}; there is an NVIDIA GPU, but this torch ({version('torch')}) has no CUDA"
        torch = next(pin for pin in project()["dependencies"] if pin.startswith("torch=="))
        remedy = f"{sys.executable} -m pip install --force-reinstall {torch} (several GB)"
        return Finding("device", "--", text, remedy)
    return Finding("device", "OK", f"{chosen}, of {', '.join(available)}")


def _memory() -> list[Finding]:
    found = gpus()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found = [f"{size / GIB:.0f} GiB", *found]
    return [Finding("memory", "OK", "; ".join(found) or "unknown on this system")]


def _sandbox() -> list[Finding]:
    """What `course grade` says: it knows what its box needs."""
    try:
        from course_utils.grading import box
    except (ImportError, OSError) as error:
        return [Finding("sandbox", "--", f"not looked at, torch is missing: {error}", INSTALL)]
    if (why := box.available()) is None:
        return [Finding("sandbox", "OK", "bubblewrap works: course grade can be used")]
    return [Finding("sandbox", "--", f"{why}; course grade refuses", box.REMEDY)]


def _browser() -> list[Finding]:
    path = find_browser()
    if path:
        return [Finding("browser", "OK", path)]
    text = "no Chromium, Chrome or Edge, which the browser tests drive"
    return [Finding("browser", "--", text, "apt-get install chromium, or install Chrome")]


def _data() -> list[Finding]:
    """Whether the archives lie there; their sums are checked when they are loaded."""
    try:
        import pooch

        from course_utils.archives import ARCHIVES
    except (ImportError, OSError) as error:
        return [Finding("data", "WRONG", f"course_utils.data cannot be imported: {error}", INSTALL)]
    named = os.environ.get("COURSE_DATA_DIR", "").strip()
    folder = Path(named or pooch.os_cache("generative-models-line-by-line")).expanduser()
    findings = []
    for name, files in ARCHIVES.items():
        missing = [file for file in files if not (folder / name / f"{file}.gz").is_file()]
        if not missing:
            findings.append(Finding("data", "OK", f"{name} is in {folder}"))
            continue
        text = f"{name}: {len(missing)} of {len(files)} archives are not in {folder}"
        remedy = "put them there, or unset COURSE_DATA_DIR to have them downloaded"
        first_use = "nothing: they are downloaded when a lesson first asks for them"
        findings.append(Finding("data", "--", text, remedy if named else first_use))
    return findings


def _disk() -> list[Finding]:
    free = shutil.disk_usage(ROOT).free / GIB
    if free >= 0.5:
        return [Finding("disk", "OK", f"{free:.0f} GiB free")]
    return [Finding("disk", "WRONG", f"{free:.1f} GiB free", "make room for 0.5 GiB or more")]
