"""The box: a process in bubblewrap that runs a submission's code, seen through two pipes only.

Inside there is no network, no file of the host but Python and this package (read-only, without the
exercises), a small private /tmp, and no way to start a process: the same as root, where a limit on
the number of processes would not hold. Memory, CPU time and the size of files are limited; wall
time is watched from here. What comes out is at most one bounded message for each question.
"""

import contextlib
import marshal
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from course_utils.grading import seccomp, wire
from course_utils.observing import SECONDS, Observed, Plain, Raised, Recipe, Seed
from course_utils.place import ROOT

PACKAGE = ROOT / "course_utils"
CHECKPOINTS = ROOT / "assets" / "checkpoints"
RUNNER = ("-I", "-m", "course_utils.grading.runner")
REMEDY = (
    "install bubblewrap (Debian, Ubuntu: apt install bubblewrap) and prlimit (util-linux); if it "
    "is refused allow user namespaces (docs/engineers.md); on macOS and Windows grade in a Linux "
    "virtual machine; --no-sandbox runs the code unprotected: only for people you trust"
)


START, SLOWEST = 2.0, 12.0  # seconds for a start on a quiet machine; times as slow, at most


class BoxFailed(RuntimeError):
    """The box did not start, died, stayed silent or said what is no message."""


@dataclass(frozen=True)
class Limits:
    """What one box may use.

    Attributes:
        memory: bytes of address space.
        cpu: seconds of processor time in the life of a box.
        file: bytes of one file; `disk`: of all of /tmp.
        start: seconds of wall time until the box answers.
        cell: seconds of wall time for a cell, times `Box.pace`.
        call: seconds of processor time for a call of an answer, cut off inside; a call that waits
            is cut off after twice as long, times `Box.pace`; `grace` more until the box is killed.
    """

    memory: int = 4 * 2**30
    cpu: int = 120
    file: int = 100 * 2**20
    disk: int = 128 * 2**20
    start: float = 60.0
    cell: float = 20.0
    call: float = SECONDS
    grace: float = 3.0


def available() -> str | None:
    """None if a box can be had here, else why not; `REMEDY` is what to do."""
    if not sys.platform.startswith("linux"):
        return f"no sandbox on {sys.platform}"
    missing = [name for name in ("bwrap", "prlimit") if shutil.which(name) is None]
    if missing:
        return f"no sandbox: {' and '.join(missing)} not found"
    if (reason := seccomp.unsupported()) is not None:
        return f"no sandbox: {reason}"
    trial = [*_walls(Limits(), None), sys.executable, "-I", "-c", "pass"]
    try:
        run = subprocess.run(trial, capture_output=True, encoding="utf-8", timeout=60)
    except OSError as error:
        return f"no sandbox: {error}"
    except subprocess.TimeoutExpired:
        return "no sandbox: it did not open within 60 s: is this machine busy?"
    return None if run.returncode == 0 else f"no sandbox: {run.stderr.strip()[-300:]}"


class Box:
    """One running box; a context manager, used from one thread.

    Args:
        limits: what it may use.
        sandbox: False runs the code without walls (limits of time and memory stay).

    Attributes:
        pace: how many times as long as on a quiet machine its start took: limits of wall time are
            that much longer, so that other work on the machine costs no student anything.
        busy: seconds that it was asked something, its start with them.
        called: the names of the functions that were called.

    Raises:
        BoxFailed: it does not start.
    """

    def __init__(self, limits: Limits | None = None, sandbox: bool = True) -> None:
        self.limits = limits or Limits()
        self._home = None if sandbox else tempfile.TemporaryDirectory(prefix="box-")
        home = self._home.name if self._home else "/tmp/home"
        self._filter = seccomp.opened() if sandbox else None
        argv = _walls(self.limits, self._filter) if sandbox else _bounds(self.limits)
        self._process = subprocess.Popen(
            [*argv, sys.executable, *RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # never a file of the host: /proc would lead into it
            cwd="/" if sandbox else home,
            env={} if sandbox else _environment(home),
            pass_fds=() if self._filter is None else (self._filter,),
            start_new_session=True,
        )
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            os.set_blocking(pipe.fileno(), False)
        try:
            self._start()
        except BoxFailed as failed:
            said = (self._process.stderr.read() or b"").decode(errors="replace").strip()[-500:]
            self.close()
            raise BoxFailed(f"the box did not start ({failed}): {said}") from None

    def _start(self) -> None:
        """Wait for its first word; that takes as long as this machine is slow now."""
        begun = time.monotonic()
        self._receive(self.limits.start)
        took = time.monotonic() - begun
        self.pace = min(max(took / START, 1.0), SLOWEST)
        self.busy, self.called = took, set()

    def __enter__(self) -> "Box":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether it can be asked anything more."""
        return self._process.poll() is None

    def run(self, source: str, seconds: float | None = None, hidden: bool = False) -> Raised | None:
        """Run a cell; what it raised. BoxFailed where it ended.

        Of a hidden one only its bytecode enters the box: its text is nowhere in there.
        """
        if hidden:
            compiled = compile(source, "<reference>", "exec", dont_inherit=True, optimize=2)
            source = marshal.dumps(compiled).hex()
        found = self._ask(("run", source, hidden), (seconds or self.limits.cell) * self.pace)
        if not isinstance(found, Raised | None):
            raise self._broken("an answer that is none")
        return found

    def call(self, name: str, *inputs: Plain | Seed | Recipe) -> Observed:
        """Observe one call of the function of this name; BoxFailed where it ended the box."""
        self.called.add(name)
        seconds, patience = self.limits.call, 2 * self.limits.call * self.pace
        question = ("call", name, list(inputs), seconds, patience)
        found = self._ask(question, patience + self.limits.grace * self.pace)
        try:
            return wire.observed(found, len(inputs))
        except wire.Malformed as error:
            raise self._broken(str(error)) from None

    def close(self) -> None:
        """End the box and everything in it."""
        self._kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        if self._home is not None:
            self._home.cleanup()
        if self._filter is not None:
            os.close(self._filter)
            self._filter = None

    def _ask(self, question: tuple, seconds: float) -> object:
        begun = time.monotonic()
        try:
            return self._answer(question, begun + seconds)
        finally:
            self.busy += time.monotonic() - begun

    def _answer(self, question: tuple, deadline: float) -> object:
        left = memoryview(wire.encode(question))
        pipe = self._process.stdin.fileno()
        while left:
            self._wait(deadline, write=pipe)
            try:
                left = left[os.write(pipe, left[:65536]) :]
            except OSError:
                raise self._broken("the process ended") from None
        return self._receive(deadline - time.monotonic())

    def _receive(self, seconds: float) -> object:
        deadline = time.monotonic() + seconds
        (size,) = wire.LENGTH.unpack(self._read(wire.LENGTH.size, deadline))
        if size > wire.MESSAGE_LIMIT:
            raise self._broken(f"a message of {size} bytes")
        try:
            return wire.decode(self._read(size, deadline))
        except wire.Malformed as error:
            raise self._broken(f"a malformed message ({error})") from None

    def _read(self, size: int, deadline: float) -> bytes:
        data, pipe = bytearray(), self._process.stdout.fileno()
        while len(data) < size:
            self._wait(deadline, read=pipe)
            piece = os.read(pipe, min(65536, size - len(data)))
            if not piece:
                raise self._broken("the process ended")
            data += piece
        return bytes(data)

    def _wait(self, deadline: float, read: int | None = None, write: int | None = None) -> None:
        left, poll = deadline - time.monotonic(), select.poll()  # no limit on open files
        for pipe, event in ((read, select.POLLIN), (write, select.POLLOUT)):
            if pipe is not None:
                poll.register(pipe, event)
        if left <= 0 or not poll.poll(1000 * left):
            raise self._broken("no answer in time")

    def _broken(self, why: str) -> BoxFailed:
        """Kill the box: nobody knows what state it is in."""
        self._kill()
        return BoxFailed(why)

    def _kill(self) -> None:
        """End the process and, where no walls hold them, those that it started."""
        if self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)


def _bounds(limits: Limits) -> list[str]:
    """The command in front that sets limits, where there is one."""
    if shutil.which("prlimit") is None:
        return []
    given = {"as": limits.memory, "cpu": limits.cpu, "fsize": limits.file}
    given |= {"core": 0, "nofile": 256, "msgqueue": 0, "memlock": 2**20}
    return [shutil.which("prlimit"), *(f"--{name}={value}" for name, value in given.items())]


def _walls(limits: Limits, seccomp_fd: int | None) -> list[str]:
    """The command in front that builds the box: prlimit, then bubblewrap with all it may see."""
    bwrap = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--clearenv"]
    bwrap += ["--new-session", "--cap-drop", "ALL", "--uid", "1001", "--gid", "1001"]
    bwrap += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            bwrap += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            bwrap += ["--ro-bind", str(path), str(path)]
    # Run as root, the box owns what is root's: /proc/sys/kernel/core_pattern must not be written.
    bwrap += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    bwrap += ["--size", str(2**20), "--tmpfs", "/dev/shm"]
    bwrap += ["--size", str(limits.disk), "--tmpfs", "/tmp", "--dir", "/tmp/home"]
    for place in _readable():
        bwrap += ["--ro-bind", str(place), str(place)]
    hidden = PACKAGE / "exercises"
    bwrap += ["--size", "4096", "--tmpfs", str(hidden), "--remount-ro", str(hidden)]
    bwrap += ["--remount-ro", "/", "--chdir", "/tmp/home"]
    for name, value in _environment().items():
        bwrap += ["--setenv", name, value]
    if seccomp_fd is not None:
        bwrap += ["--seccomp", str(seccomp_fd)]
    return [*_bounds(limits), *bwrap]


def _readable() -> list[Path]:
    """Python, its packages, this package, the weights: what a lesson's code needs."""
    places = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    places = {place for place in places if not place.is_relative_to("/usr")} | {PACKAGE}
    return sorted(places | ({CHECKPOINTS} if CHECKPOINTS.is_dir() else set()))


def _environment(home: str = "/tmp/home") -> dict[str, str]:
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "COURSE_THREADS")
    shared = {
        "HOME": home,
        "IPYTHONDIR": home,
        "TMPDIR": home,
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "COURSE_DEVICE": "cpu",
    }
    shared |= {"COURSE_PROGRESS": os.devnull, "TORCHINDUCTOR_CACHE_DIR": "/tmp/home/inductor"}
    return dict.fromkeys(threads, "1") | shared
