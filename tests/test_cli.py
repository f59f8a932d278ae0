"""The command line as a reader meets it."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from course_utils import progress
from course_utils.cli import _free_port, app

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return result.exit_code, result.output


@pytest.fixture
def own_progress(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.jsonl"))


def test_help_does_not_wait_for_torch():
    heavy = "{'torch', 'jupyterlab', 'matplotlib', 'nbformat'} & set(sys.modules)"
    code = f"import sys, course_utils.cli; print({heavy} or 'none')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.strip() == "none", ran.stderr
    code, text = run("--help")
    assert code == 0
    assert all(name in text for name in ("lab", "progress", "solve", "submit", "release", "doctor"))


def test_progress_shows_every_exercise_and_resets_one(own_progress):
    progress.record("05-e2", "PASS")
    code, text = run("progress")
    assert code == 0 and re.search(r"05-e2 +PASS", text)
    code, text = run("progress", "--reset", "05-e2")
    assert code == 0 and re.search(r"05-e2 +TODO", text)


def test_progress_of_an_unknown_exercise_names_the_legal_ones(own_progress):
    code, text = run("progress", "--reset", "05-e99")
    assert code == 1 and "05-e99" in text and "05-e2" in text
    assert progress.summary() == {}


def test_solve_prints_where_the_solved_copy_is():
    code, text = run("solve", "5")
    assert code == 0
    solved = Path(text.strip())
    assert solved.name.startswith("05_elbo") and solved.is_file()
    assert "NotImplementedError" not in "".join(
        "".join(cell["source"])
        for cell in json.loads(solved.read_text("utf-8"))["cells"]
        if cell["id"].startswith("answer-")
    )


@pytest.mark.parametrize("wrong", ["77", "elbo", "*"])
def test_solve_of_an_unknown_lesson_names_the_legal_ones(wrong):
    code, text = run("solve", wrong)
    assert code == 1 and "05_elbo" in text and "Traceback" not in text


def test_a_taken_port_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port < _free_port("127.0.0.1", port) <= port + 50


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine(host, capsys):
    with pytest.raises(SystemExit):
        _free_port(host, 8888)
    message = capsys.readouterr().err
    assert host in message and "127.0.0.1" in message


ANOTHER_SERVER = {
    "ServerApp": {"base_url": "/me/", "certfile": "/none.pem", "sock": "/none", "token": "theirs"},
    "IdentityProvider": {"token": "theirs"},
}


def test_lab_serves_the_start_page_at_the_address_it_prints(tmp_path):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "HOME": str(tmp_path)}
    environment.pop("JUPYTER_TOKEN", None)
    for name in ("CONFIG_DIR", "CONFIG_PATH", "DATA_DIR", "RUNTIME_DIR"):
        environment[f"JUPYTER_{name}"] = str(tmp_path / name)
    for name in ("CONFIG_DIR", "CONFIG_PATH"):  # the user's own, and the machine's
        (tmp_path / name).mkdir()
        (tmp_path / name / "jupyter_server_config.json").write_text(json.dumps(ANOTHER_SERVER))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "course_utils", "lab", "--no-browser", "--port", str(port)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
        try:
            first, second = server.stdout.readline(), server.stdout.readline()
            assert f"Port {port} is taken" in first
            address = second.split()[-1]
            assert f":{port}/" not in address and "notebooks/start_here.ipynb?token=" in address
            page = _fetch(address, server)
        finally:
            server.terminate()
            server.wait(timeout=20)
    assert "JupyterLab" in page
    settings = json.dumps(str(tmp_path / "CONFIG_DIR" / "lab" / "user-settings"))
    assert settings in page, "the user's, as before"
    assert "apputils-extension:announcements" in page, "it is disabled: no question about news"


def _fetch(address: str, server: subprocess.Popen, seconds: float = 60.0) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, server.stdout.read()
        try:
            with urllib.request.urlopen(address, timeout=5) as reply:
                return reply.read().decode()
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.2)  # it is still starting
    raise TimeoutError(f"no answer at {address} in {seconds} s")
