"""The kernel's side of presenting: what a page needs to run, and what training left behind.

What a training cell made is kept in build/stage under a key of all that decides it: the cells
behind it, this package, torch, budget and device. A new kernel, or the next class, has it at once.
Each file is sealed with a key of this user's, because a pickle may do anything when it is read.
"""

import ast
import functools
import hashlib
import hmac
import json
import os
import pickle
import random
import secrets
import types
from pathlib import Path

from course_utils.notebook.names import DEFINITIONS, IMPORTS, cells_behind, names_of, parsed
from course_utils.place import ROOT, write_whole

STAGE = ROOT / "build" / "stage"
KEPT = 40  # files; older ones go
SEAL = 32  # bytes at the head of a file
DECIDES = ("COURSE_BUDGET", "COURSE_DEVICE", "COURSE_THREADS", "COURSE_FIGURES", "COURSE_DATA_DIR")
# Code comes back by running its definition; a generator that a loop has used up is of no use.
NO_VALUES = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
NO_VALUES += (types.GeneratorType,)


class _Json(str):
    """A text that shows itself without quotes: what IPython sends back to the browser."""

    __repr__ = str.__str__


def answer(request: str, space: dict) -> _Json:
    """Answer the presenter: JSON of [name of a function below, its arguments] in, JSON out.

    Args:
        request: for instance '["cells_behind", [cells, [3]]]'.
        space: the kernel's namespace.
    """
    name, arguments = json.loads(request)
    if name == "cells_behind":
        return _Json(json.dumps(cells_behind(*arguments)))
    return _Json(json.dumps({"keep": keep, "recall": recall}[name](space, *arguments)))


def keep(space: dict, cells: list[dict], index: int, outputs: list[dict]) -> bool:
    """Keep what the cell `index` bound, read and changed, its outputs, and the random generators.

    What it read is kept, too, because an optimiser and its network must stay together.

    Raises:
        Exception: a value cannot be pickled; nothing is kept.
    """
    found = names_of(parsed(cells[index]["source"]))
    there = sorted(space.keys() & (found.binds.keys() | found.reads))
    values = {name: space[name] for name in there if not isinstance(space[name], NO_VALUES)}
    content = pickle.dumps({"values": values, "random": _random(), "outputs": outputs})
    path = _place(cells, index)
    write_whole(path, _seal(content) + content)
    files = sorted(path.parent.glob("*.pickle"), key=lambda file: file.stat().st_mtime)
    for old in files[:-KEPT]:
        old.unlink(missing_ok=True)
    return True


def recall(space: dict, cells: list[dict], index: int) -> list[dict] | None:
    """Put back what `keep` kept of the same cells; the cell's outputs, None if nothing is kept."""
    path = _place(cells, index)
    stored = path.read_bytes() if path.exists() else b""
    seal, content = stored[:SEAL], stored[SEAL:]
    if not content or not hmac.compare_digest(seal, _seal(content)):
        return None  # nothing there, or not what this user's kernels wrote
    tree = ast.parse(cells[index]["source"])
    tree.body = [node for node in tree.body if isinstance(node, (*IMPORTS, *DEFINITIONS))]
    exec(compile(tree, "<cell>", "exec"), space)
    kept = pickle.loads(content)
    space.update(kept["values"])
    _set_random(kept["random"])
    return kept["outputs"]


def _seal(content: bytes) -> bytes:
    """What only this user can write over some content."""
    path = _key_place()
    if not path.is_file():
        write_whole(path, secrets.token_bytes(SEAL))
    return hmac.digest(path.read_bytes(), content, "sha256")


def _key_place() -> Path:
    """Outside of the course's folder, which may be handed on."""
    import pooch

    return Path(pooch.os_cache("generative-models-line-by-line")) / "stage.key"


def _place(cells: list[dict], index: int) -> Path:
    """The file of all that decides what the cell leaves."""
    sources = [cells[behind]["source"] for behind in cells_behind(cells, [index])]
    settings = [os.environ.get(name) for name in DECIDES]
    decisive = json.dumps([sources, settings, _package()])
    return STAGE / f"{hashlib.sha256(decisive.encode()).hexdigest()[:32]}.pickle"


@functools.cache
def _package() -> str:
    """A digest of this package and torch's version."""
    import torch

    digest = hashlib.sha256(torch.__version__.encode())
    for path in sorted((ROOT / "course_utils").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _random() -> tuple:
    import numpy as np
    import torch

    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def _set_random(states: tuple) -> None:
    import numpy as np
    import torch

    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
