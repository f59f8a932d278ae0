"""Install the exact pins of pyproject.toml and this package into the environment that runs this.

`make setup` calls it with the Python of `.venv`; it needs nothing but the standard library. What
the pins need in turn gets the versions of constraints.txt, on every system. On Linux without an
NVIDIA GPU it prefers PyTorch's CPU build, which is gigabytes smaller.

    .venv/bin/python -I course_utils/setup/install.py [EXTRA ...]
"""

import os
import shutil
import ssl
import subprocess
import sys
import sysconfig
import threading
import tomllib
import urllib.error
import urllib.request
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # nothing of the package can be imported yet
CONSTRAINTS = ROOT / "constraints.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CPU_SIZE, CUDA_SIZE = "about 200 MB to download", "several GB to download"
OTHERS_SIZE = "about 150 MB to download"


def main(extras: list[str]) -> None:
    """Repair what an interrupted run left, choose the build of torch, install what is missing."""
    for stream in (sys.stdout, sys.stderr):  # a path that the terminal cannot show is no error
        stream.reconfigure(errors="backslashreplace")
    optional = project()["optional-dependencies"]
    wanted = project()["dependencies"] + [pin for extra in extras for pin in optional[extra]]
    repaired = remove_half_installed()
    others = differing()  # what an earlier set of pins left
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    if not (repaired or others) and all(map(installed, wanted)):
        if not package_is_here():  # the folder was moved; torch brought setuptools, so no network
            offline = ("--quiet", "--no-deps", "--no-build-isolation")
            pip("install", *offline, "--editable", target)
        return
    print(f"Installing the course into {sys.prefix}: about 2 GB on disk with PyTorch's CPU build.")
    torch = next(pin for pin in wanted if pin.startswith("torch=="))
    if not installed(torch):
        requirement, options, words = choose_torch(torch)
        print(f"PyTorch: {words}.", flush=True)
        pip("install", "--constraint", str(CONSTRAINTS), requirement, *options)
    print(f"Then JupyterLab, SciPy and the other packages: {OTHERS_SIZE}.", flush=True)
    pip("install", "--constraint", str(CONSTRAINTS), "--editable", target, *others)


def choose_torch(pin: str) -> tuple[str, list[str], str]:
    """The requirement for pip, its options, and what this means in words."""
    if not sys.platform.startswith("linux"):
        return pin, [], f"the build for this system, {CPU_SIZE}"
    if gpus():
        return pin, [], f"there is an NVIDIA GPU here, so the CUDA build, {CUDA_SIZE}"
    options = ["--extra-index-url", CPU_INDEX] if answers(CPU_INDEX) else []
    if found(f"{pin}+cpu", options):
        return f"{pin}+cpu", options, f"no NVIDIA GPU here, so the CPU build, {CPU_SIZE}"
    why = "offers none for this Python" if options else "does not answer"
    words = (
        f"no NVIDIA GPU here, but {CPU_INDEX} {why}, so what pip finds elsewhere; "
        f"from PyPI that is the CUDA build, {CUDA_SIZE}; Ctrl-C stops it"
    )
    return pin, [], words


def project() -> dict:
    """The table [project] of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def gpus() -> list[str]:
    """Name and memory of every NVIDIA GPU that the driver lists."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, encoding="utf-8", timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.strip().splitlines() if listed.returncode == 0 else []


def answers(url: str, seconds: float = 4.0) -> bool:
    """Whether a web address answers in time, through a proxy if the environment names one.

    The name look-up has no time limit of its own, hence the thread.
    """
    replies: list[int] = []

    def ask() -> None:
        try:
            authority = os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE")
            trusted = ssl.create_default_context(cafile=authority)
            with urllib.request.urlopen(f"{url}/", timeout=seconds, context=trusted) as reply:
                replies.append(reply.status)
        except (urllib.error.URLError, OSError, ValueError):
            return  # no reply, which is the answer

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(replies)


def found(requirement: str, options: list[str]) -> bool:
    """Whether pip, as it is configured here, can get a requirement; installs nothing."""
    trial = ["install", "--dry-run", "--no-deps", "--retries", "1", "--timeout", "15"]
    command = [sys.executable, "-m", "pip", *trial, *options, requirement]
    return subprocess.run(command, capture_output=True).returncode == 0


def installed(pin: str) -> bool:
    """Whether this pin ("torch==2.13.0") is there, as whichever build (2.13.0+cpu)."""
    name, _, wanted = pin.partition("==")
    try:
        return version(name).partition("+")[0] == wanted
    except PackageNotFoundError:
        return False


def constraints() -> dict[str, set[str]]:
    """The versions that constraints.txt allows of each package: several where systems differ."""
    allowed: dict[str, set[str]] = {}
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        pin = line.partition("#")[0].partition(";")[0].strip()
        if pin:
            name, _, wanted = pin.partition("==")
            allowed.setdefault(name, set()).add(wanted)
    return allowed


def differing() -> dict[str, str]:
    """What is installed in another version than constraints.txt allows: {name: both versions}."""
    wrong = {}
    for name, allowed in constraints().items():
        try:
            found = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue  # nothing that was asked for needs it on this system
        if found not in allowed:
            wrong[name] = f"{name} is {found}, pinned {' or '.join(sorted(allowed))}"
    return wrong


def package_is_here() -> bool:
    """Whether `import course_utils` finds this folder: the checkout may have been moved."""
    spec = find_spec("course_utils")  # run with -I, so this folder is not on the path by itself
    return spec is not None and Path(str(spec.origin)).parent == ROOT / "course_utils"


def remove_half_installed() -> bool:
    """Forget packages whose installation was interrupted, so that pip installs them again.

    INSTALLER is what pip writes after all files and commands of a package.
    """
    if sys.prefix == sys.base_prefix:
        return False  # not a virtual environment, so not ours to repair
    records = Path(sysconfig.get_path("purelib")).glob("*.dist-info")
    broken = [record for record in records if not (record / "INSTALLER").is_file()]
    for record in broken:
        print(f"{record.name} is only half installed, so it is installed again.")
        shutil.rmtree(record)
    return bool(broken)


def pip(*arguments: str) -> None:
    """Run pip; where it fails, its own words stand above and this ends with its exit code."""
    done = subprocess.run([sys.executable, "-m", "pip", *arguments])
    if done.returncode:
        sys.exit(f"pip could not finish ({done.returncode}); run the same command again to go on")


if __name__ == "__main__":
    main(sys.argv[1:])
