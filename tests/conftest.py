"""What every test run sets first, and how a test asks for what not every machine has."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from jaxtyping import config, install_import_hook

_state = tempfile.mkdtemp(prefix="course-tests-")
atexit.register(shutil.rmtree, _state, ignore_errors=True)
# Before torch is imported, and in os.environ, so that kernels and other children have it too.
os.environ["COURSE_PROGRESS"] = os.path.join(_state, "progress.jsonl")  # never the reader's own
os.environ["COURSE_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("COURSE_BUDGET", None)
# A script that starts the tests in the background leaves Ctrl-C ignored; a notebook never does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Only modules that name shapes are checked for them: the hook makes every call of a module slower.
_root = Path(__file__).parent.parent
_modules = [path.relative_to(_root) for path in (_root / "course_utils").rglob("*.py")]
_shaped = [path for path in _modules if "jaxtyping" in (_root / path).read_text("utf-8")]
install_import_hook([".".join(p.with_suffix("").parts) for p in _shaped], "tests.typecheck.shapes")


def pytest_report_header() -> str:
    """What this run proves anew."""
    try:
        from tests import prove  # here, so that the environment is set before
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    return prove.told()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes a minute or more begins first, so that two workers end together."""
    long = ("test_stored.py", "test_presenter.py", "test_layout.py", "test_plots.py")
    items.sort(key=lambda item: long.index(item.path.name) if item.path.name in long else len(long))


@pytest.fixture
def as_a_user():
    """Without the run-time annotations of the test run: our own errors must do the work."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def require(name: str, available: bool, reason: str) -> None:
    """Skip a test that needs `name` where it is missing; fail if COURSE_REQUIRE names it."""
    if available:
        return
    wanted = os.environ.get("COURSE_REQUIRE", "").replace(",", " ").split()
    if name in wanted:
        pytest.fail(f"COURSE_REQUIRE names {name}, which is missing: {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}")
