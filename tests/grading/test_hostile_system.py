"""Submissions that reach for the machine: none makes a process, fills it, reads or writes of it.

Every attack counts what it achieved on canaries of this test and says so in an error; a row shows
that text, so a hole is a red test. What is tried is bounded: 20 processes, 5 GB, 400 MB of files.
"""

import os
import socket
from pathlib import Path

import pytest

from course_utils.grading.box import Limits
from tests.grading.submissions import answered, body, graded, require_sandbox, solution

FAST = Limits(call=3.0, grace=2.0, cell=6.0)
PROCESSES = {
    "fork": """import os
made = 0
for _ in range(20):
    try:
        child = os.fork()
    except OSError:
        continue
    if child == 0:
        import time
        time.sleep(60)
        os._exit(0)
    made += 1
raise RuntimeError(f"canaries: {made}")""",
    "spawn": """import multiprocessing, os, pty, subprocess
made = 0
ways = [lambda: subprocess.Popen(["/usr/bin/sleep", "60"]), lambda: os.system("sleep 60 &"),
        lambda: os.posix_spawn("/usr/bin/sleep", ["sleep", "60"], {}), lambda: pty.fork(),
        lambda: multiprocessing.get_context("spawn").Process(target=print).start(),
        lambda: multiprocessing.get_context("fork").Process(target=print).start()]
for way in ways:
    try:
        made += way() in (None, 0) or way is not ways[1]
    except OSError:
        pass
raise RuntimeError(f"canaries: {made}")""",
    "system calls": """import ctypes
call = ctypes.CDLL(None, use_errno=True).syscall
made = 0
for number in (56, 57, 58, 435, 272, 308):
    for flags in (17, 0x10000000 | 17, 0x7E020000):
        found = call(number, flags, 0, 0, 0, 0)
        if found == 0 and number in (56, 57, 58):
            ctypes.CDLL(None)._exit(0)
        made += found >= 0
raise RuntimeError(f"canaries: {made}")""",
    "memory": """import mmap
try:
    mmap.mmap(-1, 5 * 2**30)
except OSError:
    raise RuntimeError("canaries: 0")
raise RuntimeError("canaries: 1")""",
    "hidden memory": """import ctypes, os
made, libc = 0, ctypes.CDLL(None, use_errno=True)
for _ in range(20):
    try:
        os.memfd_create("x")
        made += 1
    except OSError:
        pass
made += (libc.shmget(0, 2**30, 0o1600) >= 0) + (libc.msgget(0, 0o1600) >= 0)
raise RuntimeError(f"canaries: {made}")""",
}
FILES = {
    "full /tmp": """import os
made = 0
for i in range(20):
    try:
        with open(f"/tmp/{i}", "wb") as f:
            f.write(b"x" * 20_000_000)
        made += 1
    except OSError:
        pass
raise RuntimeError(f"canaries: {max(0, made - 6)}")""",
    "big file and /dev/shm": """made = 0
for path, size in (("/tmp/big", 110_000_000), ("/dev/shm/x", 2_000_000)):
    try:
        with open(path, "wb") as f:
            f.write(b"x" * size)
        made += 1
    except OSError:
        pass
raise RuntimeError(f"canaries: {made}")""",
    "writing": """import os, sys, course_utils, torch
made, places = 0, ["/", "/usr", "/dev", "/etc", "/proc", CANARIES, os.path.expanduser("~root")]
places += [os.path.dirname(m.__file__) for m in (course_utils, torch)] + [sys.prefix, "/var/tmp"]
for place in places:
    try:
        with open(os.path.join(place, "canary"), "w") as f:
            made += 1
    except OSError:
        pass
outside = ["/dev/kmsg", "/dev/mem", "/proc/sysrq-trigger", "/proc/1/mem"]
for folder, _, names in os.walk("/proc/sys/kernel"):
    outside += [os.path.join(folder, name) for name in names]
for name in outside:
    try:
        os.close(os.open(name, os.O_WRONLY))
        made += 1
    except OSError:
        pass
open("/tmp/mine", "w").close()  # run as root, the box owns /dev/null: a mode must not change
os.chmod("/tmp/mine", 0o777)
made += os.stat("/tmp/mine").st_mode & 0o777 == 0o777
raise RuntimeError(f"canaries: {made}")""",
    "through /proc": """import os, stat
made = 0
for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            name = f"/proc/{pid}/fd/{fd}"  # an open file that has no name in here is the host's
            made += stat.S_ISREG(os.stat(name).st_mode) and not os.path.exists(os.readlink(name))
        except OSError:
            pass
    made += os.path.exists(f"/proc/{pid}/root{CANARIES}")
    made += b"canary" in open(f"/proc/{pid}/environ", "rb").read()
    made += b"pytest" in open(f"/proc/{pid}/cmdline", "rb").read()
raise RuntimeError(f"canaries: {made}")""",
    "network": """import socket
made = 0
for family, address in ((socket.AF_INET, ("127.0.0.1", PORT)), (socket.AF_INET, ("10.0.0.1", 53)),
                        (socket.AF_UNIX, CANARIES + "/socket"), (socket.AF_UNIX, "\\0PORT")):
    try:
        with socket.socket(family) as s:
            s.settimeout(0.3)
            s.connect(address)
        made += 1
    except OSError:
        pass
raise RuntimeError(f"canaries: {made}")""",
}
NEXT = ("08-e2", "08-e4", "08-e6")
READING = {
    "other students": """import os
made = sum(os.path.exists(CANARIES + name) for name in ("", "/other.ipynb", "/out/notebooks"))
for folder, _, names in os.walk("/tmp"):
    mine = "site-packages" in folder  # a clone below /tmp has its packages there
    made += not mine and any("ipynb" in name for name in names)
raise RuntimeError(f"canaries: {made}")""",
    "references": """import importlib, os, course_utils
made, root = 0, os.path.dirname(course_utils.__file__)
made += len(os.listdir(root + "/exercises")) + len(os.listdir(root + "/exercises/"))
for name in ("exercises.lesson08", "exercises.base", "checks"):
    try:
        found = importlib.import_module("course_utils." + name)
        made += hasattr(getattr(found, "EXERCISES", None), "__len__") or bool(found.__file__)
    except (ImportError, AttributeError):
        pass
for folder, _, names in os.walk(root):
    for name in names:
        made += b"optimal_discriminator" in open(os.path.join(folder, name), "rb").read()
raise RuntimeError(f"canaries: {made}")""",
    "the project": """import os, course_utils
root = os.path.dirname(os.path.dirname(course_utils.__file__))
made = sum(os.path.exists(os.path.join(root, name))
           for name in (".git", "notebooks", "tests", "build", "README.md", "docs"))
raise RuntimeError(f"canaries: {made}")""",
    "the environment": """import ctypes, os
made = sum("canary" in text for pair in os.environ.items() for text in pair)
raise RuntimeError(f"canaries: {made}")""",
    "the memory of others": """import os
made = 0
for name in ("/proc/kcore", "/proc/kallsyms", "/dev/mem", "/proc/1/stack"):
    try:
        made += bool(open(name, "rb").read(64).strip(b"0123456789abcdef \\n") and "k" not in name)
    except OSError:
        pass
made += sum(int(pid) > 2 for pid in os.listdir("/proc") if pid.isdigit())
raise RuntimeError(f"canaries: {made}")""",
}


@pytest.fixture(autouse=True)
def sandbox():
    require_sandbox()


@pytest.fixture
def canaries(tmp_path, monkeypatch):
    """Files, sockets and a variable that no submission can reach; what connected is counted."""
    (tmp_path / "other.ipynb").write_text("another student's work")
    (tmp_path / "out" / "notebooks").mkdir(parents=True)
    monkeypatch.setenv("GRADER_TOKEN", "canary")
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "socket"))
        for server in (tcp, unix):
            server.listen()
        port = tcp.getsockname()[1]
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind(f"\0{port}")
            abstract.listen()
            yield {"CANARIES": repr(str(tmp_path)), "PORT": str(port)}


@pytest.mark.parametrize(
    "attacks", [PROCESSES, FILES, READING], ids=["processes", "files", "reads"]
)
def test_the_machine_is_out_of_reach(attacks, tmp_path, canaries):
    cells = {}
    for number, lines in enumerate(attacks.values(), 1):
        for mark, value in canaries.items():
            lines = lines.replace(mark, value)
        cells[f"08-e{number}"] = body(f"08-e{number}", lines)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    rows = graded(answered("08", cells), tmp_path, FAST)
    for name, attack in zip(cells, attacks, strict=True):
        row = rows[name]
        assert (row.status, row.points) == ("NOT YET", 0), (attack, row)
        assert row.failure.evidence == "RuntimeError: canaries: 0", (attack, row)
    assert rows["08-e6"].status == "PASS"
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        [*before, "submission.ipynb"]
    )


LEFT_BEHIND = """import ctypes, os, sys, threading, time
def wait():
    while True:
        time.sleep(0.001)
        for frame in sys._current_frames().values():
            while frame is not None and frame.f_code.co_name != "NAME":
                frame = frame.f_back
            if frame is not None:
                ACT
threading.Thread(target=wait, daemon=True).start()
return 0.123"""


def left_behind(name: str, act: str) -> str:
    """A wrong answer whose thread waits for a function of this name to run."""
    return LEFT_BEHIND.replace("NAME", name).replace("ACT", act)


def test_what_an_answer_leaves_behind_costs_the_next_one_nothing(tmp_path):
    slow = "\n    import time\n    time.sleep(0.05)\n    return "  # so that the thread sees it
    leaves = {
        "08-e1": left_behind("minimax_value", "os._exit(0)"),  # ends the box in the next call
        "08-e3": left_behind("generator_gradients", "ctypes.PyDLL(None).sleep(30)"),  # or is late
        "08-e5": left_behind("mark", "os._exit(0)"),  # or ends it in the next cell
    }
    cells = {name: body(name, text) for name, text in leaves.items()}
    cells |= {name: slow.join(solution(name).rsplit("\n    return ", 1)) for name in NEXT}
    cells["08-e6"] += "\n\nimport time\ndef mark():\n    time.sleep(0.2)\nmark()"
    rows = graded(answered("08", cells), tmp_path, FAST)
    for name, row in rows.items():
        assert row.status == ("NOT YET" if name in leaves else "PASS"), row


def test_threads_start_in_the_box_and_nothing_lives_on(tmp_path):
    """The grader's own children are the only processes of a box: all are gone with it."""
    lines = """import threading
ran = []
threads = [threading.Thread(target=ran.append, args=(i,)) for i in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
raise RuntimeError(f"threads: {len(ran)}")"""
    rows = graded(answered("08", {"08-e1": body("08-e1", lines)}), tmp_path)
    assert rows["08-e1"].failure.evidence == "RuntimeError: threads: 8"
    ours = [path for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == os.getpid()]
    boxes = [path for path in ours if b"grading.runner" in (path.parent / "cmdline").read_bytes()]
    assert boxes == []


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended meanwhile
        return 0
