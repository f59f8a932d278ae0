"""Starting a lesson: one line, seeds that repeat, overrides that are checked."""

import random

import numpy as np
import pytest
import torch

from course_utils import runtime


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("COURSE_DEVICE", "COURSE_BUDGET", "COURSE_THREADS"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_start_prints_one_line_and_says_what_it_chose(capsys, monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    rt = runtime.start(lesson=5, seed=0)
    (printed,) = capsys.readouterr().out.splitlines()
    assert printed.startswith("Lesson 05 · seed 0 · cpu ·") and printed.endswith("budget quick")
    assert (rt.lesson, rt.seed, rt.device.type, rt.budget) == (5, 0, "cpu", "quick")


def test_the_same_seed_repeats_every_generator():
    runtime.start(lesson=5, seed=3)
    first = draw()
    runtime.start(lesson=5, seed=3)
    assert draw() == first
    runtime.start(lesson=5, seed=4)
    assert draw() != first


def test_budget_picks_the_number(monkeypatch):
    assert runtime.start(5, 0).pick(quick=400, full=20_000) == 400
    monkeypatch.setenv("COURSE_BUDGET", "full")
    assert runtime.start(5, 0).pick(quick=400, full=20_000) == 20_000


@pytest.mark.parametrize(
    ("name", "value", "legal"),
    [
        ("COURSE_DEVICE", "tpu", "cpu"),
        ("COURSE_DEVICE", "cpu:one", "cpu"),
        ("COURSE_DEVICE", "cuda:99", "cpu"),
        ("COURSE_BUDGET", "huge", "quick, full"),
        ("COURSE_THREADS", "0", "positive integer"),
        ("COURSE_THREADS", "many", "positive integer"),
    ],
)
def test_an_illegal_override_is_named_with_the_legal_values(monkeypatch, name, value, legal):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name}='{value}'.*{legal}"):
        runtime.start(5, 0)


@pytest.mark.parametrize("name", ["COURSE_DEVICE", "COURSE_BUDGET", "COURSE_THREADS"])
def test_an_empty_setting_is_none(monkeypatch, name):
    before = runtime.start(5, 0)
    monkeypatch.setenv(name, " ")
    assert runtime.start(5, 0) == before


def test_devices_come_in_order_of_preference(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert runtime.available_devices() == ["cuda", "mps", "cpu"]
    assert runtime.choose_device() == torch.device("cuda")
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    assert runtime.choose_device() == torch.device("cpu")


@pytest.mark.gpu
def test_the_accelerator_is_the_first_choice():
    if runtime.available_devices()[0] == "cpu":
        pytest.skip("no accelerator on this machine")
    assert runtime.start(5, 0).device.type != "cpu"
