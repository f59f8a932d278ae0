"""A real JupyterLab and a real Chromium: start both, open a notebook, run it, watch the network."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page, Route, expect, sync_playwright

from course_utils.place import ROOT
from course_utils.setup.doctor import find_browser as browser_path

expect.set_options(timeout=60_000)  # a busy machine is slow; what comes earlier is not waited for

TOKEN = "only-for-this-test"
BROWSER_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SERVER_FLAGS = [
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    f"--IdentityProvider.token={TOKEN}",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
]
COURSE = """
import pathlib, sys
from course_utils import place
place.ROOT = pathlib.Path(sys.argv.pop(1))
from course_utils.cli import main
main()
"""
IDLE = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


@contextlib.contextmanager
def server(folder: Path, state: Path) -> Iterator[str]:
    """JupyterLab over `folder`, all its settings below `state`; yields its address."""
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    places = {f"JUPYTER_{name}": str(state / name.lower()) for name in names}
    places["JUPYTERLAB_SETTINGS_DIR"] = str(state / "settings")
    places["JUPYTERLAB_WORKSPACES_DIR"] = str(state / "workspaces")
    places["IPYTHONDIR"] = str(state / "ipython")
    _write_setting(state / "settings", "apputils-extension/notification", {"fetchNews": "false"})
    _write_setting(state / "settings", "notebook-extension/tracker", {"windowingMode": "none"})
    port = free_port()
    command = [sys.executable, "-m", "jupyterlab", *SERVER_FLAGS, f"--ServerApp.port={port}"]
    log = (state / "server.log").open("w")
    process = subprocess.Popen(
        [*command, f"--ServerApp.root_dir={folder}"],
        env={**os.environ, **places},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)
        log.close()


@contextlib.contextmanager
def presenting(
    state: Path, *arguments: str, port: int = 0, root: Path = ROOT
) -> Iterator[tuple[str, subprocess.Popen]]:
    """`course present ...` as a lecturer starts it; yields the address it prints and the server.

    What it prepares lies in a folder of `state`; `root` is where the course lies.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "HOME": str(state), "TMPDIR": str(state)}
    for name in ("DATA_DIR", "RUNTIME_DIR"):
        environment[f"JUPYTER_{name}"] = str(state / name.lower())
    environment["JUPYTER_TOKEN"] = TOKEN
    command = [sys.executable, "-c", COURSE, str(root), "present", *arguments, "--no-browser"]
    command += ["--port", str(port or free_port())]
    with (state / "server.log").open("w") as log:
        pipes = {"stdout": subprocess.PIPE, "stderr": log, "text": True}
        process = subprocess.Popen(command, env=environment, **pipes)
        try:
            lines = iter(process.stdout.readline, "")
            address = next((one.split()[-1] for one in lines if "JupyterLab is at" in one), "")
            assert address, (state / "server.log").read_text()
            _wait_for(address, process)
            yield address, process
        finally:
            process.terminate()
            process.wait(timeout=60)


@dataclass
class Watch:
    """What went wrong on a page: requests off the machine, console errors, page errors."""

    inside: tuple[str, ...] = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        def route(request: Route) -> None:
            url = request.request.url
            if url.startswith(self.inside):
                request.continue_()
            else:
                self.outside.append(url)
                request.abort()

        page.route("**/*", route)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)


@contextlib.contextmanager
def page(profile: Path) -> Iterator[tuple[Page, Watch]]:
    """A page of a real browser with a new profile, and the watch on it."""
    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            profile,
            executable_path=browser_path(),
            args=BROWSER_FLAGS,
            headless=True,
            viewport={"width": 1280, "height": 900},
        )
        opened, watch = context.pages[0], Watch()
        watch.attach(opened)
        try:
            yield opened, watch
        finally:
            context.close()


def open_and_run(opened: Page, address: str, notebook: str, timeout: float = 180.0) -> None:
    """Open a notebook in its own tab, wait for its kernel, run all cells to the end."""
    opened.goto(f"{address}/doc/tree/{notebook}?token={TOKEN}&reset")
    opened.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
    opened.wait_for_function(IDLE, timeout=60_000)
    opened.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    opened.wait_for_function(
        """() => [...jupyterapp.shell.currentWidget.content.widgets]
            .filter(cell => cell.model.type === 'code')
            .every(cell => cell.model.executionCount !== null)""",
        timeout=timeout * 1000,
    )
    opened.wait_for_function(IDLE, timeout=60_000)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _write_setting(folder: Path, name: str, values: dict) -> None:
    target = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(values))


def _wait_for(url: str, process: subprocess.Popen, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server stopped"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.2)
    raise TimeoutError(f"no answer from the server in {seconds} s")
