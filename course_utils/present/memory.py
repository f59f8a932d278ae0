"""The kernel's side of presenting: what a page needs to run, and what training left behind.

What a training cell made is kept in build/stage under a key of all that decides it: the cells
behind it, this package, torch, budget and device. A new kernel, or the next class, has it at once.
Each file is sealed with a key of this user's, because a pickle may do anything when it is read.
"""

import ast
import builtins
import functools
import hashlib
import hmac
import json
import os
import pickle
import random
import secrets
import symtable
import types
from dataclasses import dataclass
from pathlib import Path

from course_utils.place import ROOT, write_whole

STAGE = ROOT / "build" / "stage"
KEPT = 40  # files; older ones go
SEAL = 32  # bytes at the head of a file
DECIDES = ("COURSE_BUDGET", "COURSE_DEVICE", "COURSE_THREADS", "COURSE_FIGURES", "COURSE_DATA_DIR")
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)
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
    found = names_of(cells[index]["source"])
    values = {name: space[name] for name in sorted(found.bound | found.read) if name in space}
    values = {name: value for name, value in values.items() if not isinstance(value, NO_VALUES)}
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
    written = (ast.Import, ast.ImportFrom, *DEFINITIONS)
    tree.body = [node for node in tree.body if isinstance(node, written)]
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


def cells_behind(cells: list[dict], wanted: list[int]) -> list[int]:
    """The cells without which `wanted` cannot run, themselves included, in order.

    A backward slice: a cell belongs to it if it binds or changes a name that a later cell of it
    reads. With it a new kernel is back at a page without running the whole lesson.

    Args:
        cells: code cells, each {"source": ..., "tags": [...]}.
        wanted: indices into `cells`.
    """
    names = [names_of(cell["source"]) for cell in cells]
    fixed = set(dir(builtins)).union(*(found.imported | found.defined for found in names))
    late, before = set(), None
    while late != before:  # what the functions of chosen cells read when they are called
        chosen, before = _slice(cells, names, wanted, late, fixed), set(late)
        late = late.union(*(names[index].free for index in chosen))
    return sorted(chosen)


def _slice(
    cells: list[dict], names: list["Names"], wanted: list[int], late: set[str], fixed: set[str]
) -> set[int]:
    """One pass from the last cell to the first; `late` is needed from the end on.

    Training changes what it reads, but nothing `fixed`: no module, function, class or built-in.
    """
    chosen, needs = set(), set()
    for index in reversed(range(max(wanted) + 1)):
        found, tags = names[index], cells[index]["tags"]
        needs |= late if index in wanted else set()
        changed = (found.read if "train" in tags else found.changed) - fixed
        if index in wanted or "setup" in tags or needs & (found.bound | changed):
            chosen.add(index)
            needs = (needs - found.certain) | found.needed
    return chosen


@dataclass(frozen=True)
class Names:
    """Names of a cell.

    It binds them, binds them whatever happens (not in a loop), imports them, defines them as
    functions or classes, reads them, needs them from before, reads them in functions, changes them.
    """

    bound: frozenset[str] = frozenset()
    certain: frozenset[str] = frozenset()
    imported: frozenset[str] = frozenset()
    defined: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    free: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()


def names_of(source: str) -> Names:
    """What a cell's source says of names; nothing if it does not parse."""
    try:
        tree, table = ast.parse(source), symtable.symtable(source, "cell", "exec")
    except SyntaxError:  # a magic, or half typed
        return Names()
    symbols = table.get_symbols()
    imported = frozenset(s.get_name() for s in symbols if s.is_imported())
    bound = frozenset(s.get_name() for s in symbols if s.is_assigned()) | imported
    free = frozenset(_free_names(table))
    read = frozenset(s.get_name() for s in symbols if s.is_referenced()) | free
    defined = frozenset(node.name for node in tree.body if isinstance(node, DEFINITIONS))
    certain = set(imported)
    needed = read & (_needed(tree.body, certain) | (free - bound))
    alone = [node.value for node in tree.body if isinstance(node, ast.Expr)]
    calls = [value.func for value in alone if isinstance(value, ast.Call)]
    stores = [n for n in ast.walk(tree) if isinstance(getattr(n, "ctx", None), ast.Store)]
    changed = {_root(node) for node in (*calls, *stores) if not isinstance(node, ast.Name)}
    changed = frozenset(changed - {""})
    return Names(bound, bound & certain, imported, defined, read, needed, free, changed)


def _needed(statements: list[ast.stmt], bound: set[str]) -> set[str]:
    """The names that statements read before they have certainly bound them; `bound` grows."""
    needed = set()
    for node in statements:
        if isinstance(node, ast.For):
            within = bound | _ids(node.target, ast.Store)
            needed |= _ids(node.iter, ast.Load) - bound
            needed |= _needed([*node.body, *node.orelse], within)  # may not run: nothing is bound
        elif isinstance(node, ast.With):
            needed |= set().union(*(_ids(item, ast.Load) for item in node.items)) - bound
            bound |= set().union(*(_ids(item, ast.Store) for item in node.items))
            needed |= _needed(node.body, bound)
        else:
            again = _ids(node.target, ast.Store) if isinstance(node, ast.AugAssign) else set()
            needed |= (_ids(node, ast.Load) | again) - bound
            if isinstance(node, ast.Assign | ast.AnnAssign):
                bound |= _ids(node, ast.Store)
            elif isinstance(node, DEFINITIONS):
                bound.add(node.name)
    return needed


def _ids(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    """The names that stand in `tree` to be read (Load) or bound (Store)."""
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {node.id for node in found if isinstance(node.ctx, context)}


def _free_names(table: symtable.SymbolTable) -> set[str]:
    """The module's names that functions inside `table` read."""
    found = set()
    for child in table.get_children():
        found |= {s.get_name() for s in child.get_symbols() if s.is_global()} | _free_names(child)
    return found


def _root(node: ast.expr) -> str:
    """The name `a` of `a.b[c].d`, or ""."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
