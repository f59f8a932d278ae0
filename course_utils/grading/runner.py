"""Runs inside the box, with the student's code beside it: so nothing that it says is believed.

    python -I -m course_utils.grading.runner

Messages of `wire` come in at standard input and go out at standard output: ("run", source) runs a
cell, ("call", name, inputs) observes one call of a function that stands there now. What a lesson's
setup cell imports for the eye (plots, widgets) is replaced by modules that do nothing, and so are
commands, %matplotlib and matplotlib.pyplot: a helper that also draws keeps helping. `torch.compile`
hands on what it is given: a compiler would be another process.
"""

import contextlib
import importlib.abc
import importlib.machinery
import marshal
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import BinaryIO

import numpy as np
import torch
from IPython.core.interactiveshell import InteractiveShell

from course_utils.grading import wire
from course_utils.observing import Observed, Raised, observe

ABSENT = tuple(f"course_utils.{name}" for name in ("plots", "widgets", "checks", "exercises"))
ABSENT += ("course_utils.progress", "matplotlib.pyplot", "ipywidgets")


class _Drawing:
    """Whatever is asked of a figure, an axis or a slider: it takes anything and does nothing."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_: object, **__: object) -> object:
        return self

    def __enter__(self) -> object:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator:
        return iter((self,))  # line, = plt.plot(...)

    def __getitem__(self, _: object) -> object:
        return self

    def __setitem__(self, *_: object) -> None:
        pass


class _Nothing(ModuleType):
    """A module whose every function takes anything; `use` returns its answer."""

    __path__ = ()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return SPECIAL.get(name, DRAWING)


def _subplots(nrows: int = 1, ncols: int = 1, *_: object, **__: object) -> tuple:
    """A figure, and one axis or an array of them, so that they can be unpacked."""
    axes = np.full((nrows, ncols), None, dtype=object)
    for place in np.ndindex(axes.shape):
        axes[place] = DRAWING
    return DRAWING, (axes.squeeze() if axes.size > 1 else DRAWING)


def _uncompiled(function: object = None, **_: object) -> object:
    return function if function is not None else lambda other: other


def _second(_: object, answer: object) -> object:
    return answer


RUN_CELL = InteractiveShell.run_cell  # as it is now: a cell may put another in its place
DRAWING = _Drawing()
SPECIAL = {"use": _second, "subplots": _subplots, "hist": lambda *_, **__: (DRAWING,) * 3}


class _Shell(InteractiveShell):
    """A shell in which !commands, %matplotlib and %gui do nothing: what stands below them runs."""

    def system(self, cmd: str) -> None:
        """Of !command: there are no processes here."""

    def getoutput(self, *_: object, **__: object) -> list:
        """Of x = !command: nothing was printed."""
        return []

    def enable_matplotlib(self, gui: str | None = None) -> tuple[str, str]:
        """Of %matplotlib: nothing is drawn here."""
        return gui or "inline", "inline"

    def enable_gui(self, gui: str | None = None) -> None:
        """Of %gui: there is no screen."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        absent = any(name == module or name.startswith(f"{module}.") for module in ABSENT)
        return importlib.machinery.ModuleSpec(name, self) if absent else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Nothing(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def main() -> None:
    """Answer messages until the wall closes the pipe."""
    torch.set_num_threads(1)
    torch.compile = _uncompiled
    sys.meta_path.insert(0, _Finder())
    incoming, outgoing = _pipes()
    shell = _Shell.instance()
    _send(outgoing, "ready")
    while head := incoming.read(wire.LENGTH.size):
        order = wire.decode(incoming.read(*wire.LENGTH.unpack(head)))
        _send(outgoing, _run(shell, *order[1:]) if order[0] == "run" else _call(shell, *order[1:]))


def _run(shell: InteractiveShell, source: str, hidden: bool = False) -> Raised | None:
    """Run a cell; what it raised, if it did. Its time is limited from outside.

    A hidden one comes as bytecode: whatever was patched in here, its text cannot be shown.
    """
    try:
        if hidden:
            exec(marshal.loads(bytes.fromhex(source)), shell.user_ns)
            return None
        with open(os.devnull, "w", encoding="utf-8", errors="replace") as null:
            with contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
                result = RUN_CELL(shell, source, store_history=False)
        error = result.error_before_exec or result.error_in_exec
    except BaseException as raised:  # of a display hook, of a signal: it is the student's
        return Raised(type(raised).__name__, _text(raised))
    return None if error is None else Raised(type(error).__name__, _text(error))


def _call(
    shell: InteractiveShell, name: str, inputs: list, seconds: float, patience: float
) -> Observed:
    answer = shell.user_ns.get(name)
    if not callable(answer):
        kind = "nothing" if answer is None else f"a {type(answer).__name__}"
        return Observed(error=Raised("NameError", f"{name} is {kind} here, not a function"))
    seen = observe(answer, *inputs, seconds=seconds, patience=patience)
    if seen.error is None:
        return seen
    return replace(seen, error=wire.raised(seen.error.kind, seen.error.message, seen.error.lines))


def _send(outgoing: BinaryIO, value: object) -> None:
    outgoing.write(wire.encode(value))
    outgoing.flush()


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Input and output for messages; what the student's code reads and prints is neither."""
    pipes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    return pipes


def _text(error: BaseException) -> str:
    try:
        return str.__str__(str(error))[: wire.TEXT_LIMIT]
    except Exception as worse:
        return f"(its message cannot be shown: {type(worse).__name__})"


if __name__ == "__main__":
    main()
