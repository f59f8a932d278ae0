"""Lessons live on a projector of 1280 x 720, by keyboard, offline: two at a time (`tests.prove`).

A lesson is opened and run whole; every step fits; every slider and button redraws its figure. Then
what goes wrong in a class: a reload, a kernel that dies behind a network that took its time.
"""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import prove
from tests.browser.jupyterlab import Watch, browser_path, free_port, page, presenting
from tests.browser.stage import (
    RUN,
    begin_whole,
    controls_on_the_screen,
    kernels,
    move,
    move_one,
    title,
    to_the_last_slider,
    walk,
)
from tests.conftest import require
from tests.notebooks.lessons import LESSONS, read, tags

pytestmark = pytest.mark.browser
FAILED = "[data-mime-type$=error], [data-mime-type$=stderr], pre[style*=B00020]"


@dataclass
class Stage:
    """A lesson on the projector, run to its end; `stored` is its file's content before."""

    path: Path
    stored: bytes
    opened: Page
    watch: Watch
    server: subprocess.Popen


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for all lessons, and the port they are at: JupyterLab stays in its cache."""
    require("browser", bool(browser_path()), "Chromium is not installed")
    with page(tmp_path_factory.mktemp("profile")) as (opened, watch):
        yield opened, watch, free_port()


@pytest.fixture(scope="module", params=prove.LIVE_LESSONS)
def stage(request, browser, tmp_path_factory):
    """These lessons in turn, light and dark by turns."""
    opened, watch, port = browser
    [path] = [path for path in LESSONS if path.name[:2] == request.param]
    colours = ("--light", "--dark")[prove.LIVE_LESSONS.index(request.param) % 2]
    folder = tmp_path_factory.mktemp("s")
    with presenting(folder, request.param, colours, port=port) as (address, server):
        stored = path.read_bytes()
        begin_whole(opened, address)
        yield Stage(path, stored, opened, watch, server)
        opened.goto("about:blank")  # before its server goes
        watch.outside.clear()
        watch.errors.clear()


def test_every_step_fits_and_every_control_redraws_its_figure(stage):
    assert stage.opened.locator(FAILED).all_text_contents() == [], "cells that failed"
    moved = []

    def move_all() -> None:
        for control, picture in controls_on_the_screen(stage.opened):
            move(stage.opened, control, picture)
            moved.append(control)

    walk(stage.opened, stage.path, move_all)
    assert len(moved) >= sum("widget" in tags(cell) for cell in read(stage.path).cells) > 0
    assert stage.opened.locator(FAILED).all_text_contents() == [], "figures that failed"
    assert (stage.watch.outside, stage.watch.errors) == ([], [])
    assert stage.stored == stage.path.read_bytes(), "presenting does not write to the lesson"


def test_a_reload_and_a_dead_kernel_lead_back_to_the_step_on_the_screen(stage):
    opened = stage.opened
    to_the_last_slider(opened)
    move_one(opened)
    where = title(opened)
    opened.reload()
    expect(opened.locator("#cp-title")).to_have_text(where)
    move_one(opened)
    assert stage.watch.errors == [], "no error until the kernel is killed"
    os.kill(kernels(stage.server)[0], signal.SIGKILL)
    opened.locator("#cp-said", has_text="F9").wait_for(timeout=RUN)
    opened.keyboard.press("F9")
    opened.locator("#cp-said", has_text="Back after").wait_for(timeout=RUN)
    assert title(opened) == where
    move_one(opened)
    assert stage.watch.outside == []
