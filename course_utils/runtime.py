"""Start a lesson: seeds, device, threads, budget. The only file that asks about CUDA or MPS."""

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch

from course_utils.place import ROOT

BUDGETS = ("quick", "full")
T = TypeVar("T")


@dataclass(frozen=True)
class Runtime:
    """What a lesson was started with; `device` is for training, checks run on the CPU."""

    lesson: int
    seed: int
    device: torch.device
    threads: int
    budget: Literal["quick", "full"]

    def pick(self, quick: T, full: T) -> T:
        """The value for this budget: `rt.pick(quick=400, full=20_000)` training steps, say."""
        return full if self.budget == "full" else quick


def start(lesson: int, seed: int) -> Runtime:
    """Seed Python, NumPy and torch, choose device, threads and budget, and print them in one line.

    The environment can override: COURSE_DEVICE (cpu, cuda, cuda:1, mps), COURSE_BUDGET (quick,
    full), COURSE_THREADS (a positive integer; default 1: networks as small as ours gain nothing
    from a second thread and lose much of it on a busy machine, and some sums depend on the number).

    Raises:
        ValueError: one of these has an illegal value, or the device is not there.
    """
    device, threads, budget = choose_device(), _threads(), _budget()
    seed_all(seed)
    torch.set_num_threads(threads)
    plural = "s" if threads > 1 else ""
    print(
        f"Lesson {lesson:02d} · seed {seed} · {device} · {threads} thread{plural} · budget {budget}"
    )
    return Runtime(lesson, seed, device, threads, budget)


def seed_all(seed: int) -> None:
    """Seed every global random generator: Python's, NumPy's legacy one, torch's on all devices."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - other people's code may still use it
    torch.manual_seed(seed)


def available_devices() -> list[str]:
    """The devices of this machine in order of preference: CUDA, then MPS, then the CPU."""
    cuda = ["cuda"] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def choose_device() -> torch.device:
    """The first of CUDA, MPS and CPU that is there, unless COURSE_DEVICE names one.

    Raises:
        ValueError: COURSE_DEVICE names a device that does not exist here.
    """
    there = available_devices()
    wanted = os.environ.get("COURSE_DEVICE", "").strip() or there[0]
    kind, _, index = wanted.partition(":")
    last = torch.cuda.device_count() - 1 if kind == "cuda" else 0
    if kind not in there or (index and not (index.isdigit() and int(index) <= last)):
        raise ValueError(f"COURSE_DEVICE={wanted!r} is not on this machine; legal: {there}")
    return torch.device(wanted)


def project_root() -> Path:
    """The folder with `notebooks/` and `assets/`: the checkout this package was installed from."""
    return ROOT


def _threads() -> int:
    text = os.environ.get("COURSE_THREADS", "").strip() or "1"
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"COURSE_THREADS={text!r}; legal: a positive integer")
    return min(int(text), os.cpu_count() or 1)


def _budget() -> Literal["quick", "full"]:
    text = os.environ.get("COURSE_BUDGET", "").strip() or "quick"
    if text not in BUDGETS:
        raise ValueError(f"COURSE_BUDGET={text!r}; legal: {', '.join(BUDGETS)}")
    return text  # type: ignore[return-value]
