"""Which cells of a lesson bind a name and which read it: what going back to a cell can break.

Read from the compiled cells, so that a name inside a function or a comprehension is not the
notebook's. What is changed in place (a list, a generator, a network's weights) is not seen.
"""

import ast
import dis
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

from tests.notebooks.lessons import CONTROLS, calls

COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}


class Names(NamedTuple):
    """What one cell, or one statement, does with the names of the notebook.

    Attributes:
        reads: wanted from another cell, because this one reads it before it binds it.
        binds: name -> the statement that binds it first, as text.
        live: read by a demo's functions at every move of a slider, so the last binding counts.
        inside: name bound here -> what calling it reads.
    """

    reads: set[str]
    binds: dict[str, str]
    live: set[str]
    inside: dict[str, set[str]]


def conflicts(cells: list[tuple[str, str]]) -> dict[str, dict[str, list[str]]]:
    """Name -> its "binds" and "reads" cells, where a cell reads a name that several cells bind.

    Run out of order (a student goes back to section 1 after "Run all"), such a cell reads what the
    wrong cell left. Not meant: `f = use("05-e2", f)`, which hands on the same function, and the
    same import twice.

    Args:
        cells: id and source of every code cell of a lesson, in any order.
    """
    parts = {cell_id: names_of(source) for cell_id, source in cells}
    inside: dict[str, set[str]] = {}
    binders: dict[str, dict[str, str]] = {}
    for cell_id, part in parts.items():
        for name, text in part.binds.items():
            binders.setdefault(name, {})[cell_id] = text
        for name, wanted in part.inside.items():
            inside[name] = inside.get(name, set()) | wanted
    found: dict[str, dict[str, list[str]]] = {}
    for cell_id, part in parts.items():
        for name in sorted(_with_calls(part.reads | part.live, inside)):
            cells_of_name = binders.get(name, {})
            if len(cells_of_name) > 1 and not _one_import(cells_of_name):
                entry = found.setdefault(name, {"binds": list(cells_of_name), "reads": []})
                entry["reads"].append(cell_id)
    return found


def names_of(source: str) -> Names:
    """The names of one cell, its statements read in their order."""
    reads, binds, called, inside = set(), {}, set(), {}
    for statement in ast.parse(source).body:
        if _hands_on(statement):
            continue
        now, bound, at_call = _statement(statement)
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
            now |= at_call - bound  # the key of a sort runs at once
        reads |= _with_calls(now, inside) - set(binds)
        called |= at_call
        for name in bound:
            binds.setdefault(name, ast.unparse(statement))
            inside[name] = inside.get(name, set()) | at_call
    demo = any(name in CONTROLS for name, _ in calls(source))
    return Names(reads | called - set(binds), binds, called if demo else set(), inside)


def _statement(statement: ast.stmt) -> tuple[set[str], set[str], set[str]]:
    """(read where it stands, bound, read when a function of it is called)."""
    code = compile(ast.Module([statement], []), "<cell>", "exec")
    reads, binds = set(), set()
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_NAME" and step.argval not in binds:
            reads.add(step.argval)
        elif step.opname in {"STORE_NAME", "STORE_GLOBAL", "DELETE_NAME"}:
            binds.add(step.argval)
    now, later = set(), set()
    for inner, called_later in _inner(code):
        (later if called_later else now).update(_globals(inner))
    return reads | now - binds, binds, later


def _inner(code: CodeType, later: bool = False) -> Iterator[tuple[CodeType, bool]]:
    """Every function in it; True: it runs when it is called, not where it stands."""
    for const in code.co_consts:
        if isinstance(const, CodeType):
            at_call = later or const.co_name not in COMPREHENSIONS
            yield const, at_call
            yield from _inner(const, at_call)


def _globals(code: CodeType) -> set[str]:
    steps = list(dis.get_instructions(code))
    own = {step.argval for step in steps if step.opname == "STORE_NAME"}  # of a class body
    read = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
    return {step.argval for step in steps if step.opname in read} - own


def _with_calls(wanted: set[str], inside: dict[str, set[str]]) -> set[str]:
    """The names, and those that the functions among them read when they are called."""
    reached, fresh = set(), set(wanted)
    while fresh:
        reached |= fresh
        fresh = set().union(*(inside.get(name, set()) for name in fresh)) - reached
    return reached


def _hands_on(statement: ast.stmt) -> bool:
    """`f = use("05-e2", f)`: the student's function, or the reference."""
    match statement:
        case ast.Assign(
            targets=[ast.Name(id=bound)],
            value=ast.Call(func=ast.Name(id="use"), args=[_, ast.Name(id=handed)]),
        ):
            return bound == handed
    return False


def _one_import(binders: dict[str, str]) -> bool:
    texts = set(binders.values())
    return len(texts) == 1 and texts.pop().startswith(("import ", "from "))
