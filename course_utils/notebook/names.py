"""What the cells of a lesson do with each other's names: compiled, and never run.

Compiled, so that a name inside a function or a comprehension is not the notebook's. What is changed
in place (a list, a generator, a network's weights) is guessed only: see `Names.changes`.
`grading/names.py` reads what strangers wrote, and compiles nothing.
"""

import ast
import builtins
import copy
import dis
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType

COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
STORES = {"STORE_NAME", "STORE_GLOBAL", "DELETE_NAME"}


@dataclass
class Names:
    """The names of one cell.

    Attributes:
        binds: name -> the statement that binds it first.
        certain: bound whatever happens: a loop may not run.
        wants: read, by what it calls or defines as well, before anything of the cell binds them.
        needs: the same, before they are certain.
        reads: read anywhere in it, in functions as well.
        called: read by functions of it, when they are called.
        inside: name bound here -> what calling it reads.
        changes: whose value it may change: a part is set, or a method is called for its effect.
        fixed: modules, functions and classes that it binds.
    """

    binds: dict[str, ast.stmt] = field(default_factory=dict)
    certain: set[str] = field(default_factory=set)
    wants: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    inside: dict[str, set[str]] = field(default_factory=dict)
    changes: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)


def names_of(tree: ast.Module) -> Names:
    """The names of a cell, its statements read in their order."""
    found = Names()
    _read(tree.body, found, found.certain)
    later = found.called - found.binds.keys()
    found.wants |= later
    found.needs |= later
    alone = [node.value for node in tree.body if isinstance(node, ast.Expr)]
    calls = [value.func for value in alone if isinstance(value, ast.Call)]
    stores = [n for n in ast.walk(tree) if isinstance(getattr(n, "ctx", None), ast.Store)]
    parts = [node for node in (*calls, *stores) if not isinstance(node, ast.Name)]
    found.changes = {_root(node) for node in parts} - {""}
    return found


def parsed(source: str) -> ast.Module:
    """A cell as a tree; an empty one where it does not parse: a magic, or half typed."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


def cells_behind(cells: list[dict], wanted: list[int]) -> list[int]:
    """The cells without which `wanted` cannot run, themselves included, in order.

    A backward slice: a cell belongs to it if it binds or changes a name that a later cell of it
    reads. With it a new kernel is back at a page without running the whole lesson.

    Args:
        cells: code cells, each {"source": ..., "tags": [...]}.
        wanted: indices into `cells`.
    """
    names = [names_of(parsed(cell["source"])) for cell in cells]
    fixed = set(dir(builtins)).union(*(found.fixed for found in names))
    late, before = set(), None
    while late != before:  # what the functions of chosen cells read when they are called
        chosen, before = _slice(cells, names, wanted, late, fixed), set(late)
        late = late.union(*(names[index].called for index in chosen))
    return sorted(chosen)


def with_calls(wanted: set[str], inside: dict[str, set[str]]) -> set[str]:
    """The names, and those that the functions among them read when they are called."""
    reached, fresh = set(), set(wanted)
    while fresh:
        reached |= fresh
        fresh = set().union(*(inside.get(name, set()) for name in fresh)) - reached
    return reached


def _slice(
    cells: list[dict], names: list[Names], wanted: list[int], late: set[str], fixed: set[str]
) -> set[int]:
    """One pass from the last cell to the first; `late` is needed from the end on.

    Training changes what it reads, but nothing `fixed`: no module, function, class or built-in.
    """
    chosen, needs = set(), set()
    for index in reversed(range(max(wanted) + 1)):
        found, tags = names[index], cells[index]["tags"]
        needs |= late if index in wanted else set()
        changed = (found.reads if "train" in tags else found.changes) - fixed
        if index in wanted or "setup" in tags or needs & (found.binds.keys() | changed):
            chosen.add(index)
            needs = (needs - found.certain) | found.needs
    return chosen


def _read(statements: list[ast.stmt], found: Names, certain: set[str]) -> None:
    """Add what statements do to `found`; `certain` grows by what they bind whatever happens."""
    for node in statements:
        blocks = [name for name in BLOCKS if getattr(node, name, None)]
        if isinstance(node, DEFINITIONS) or not blocks:
            certain |= _look(node, node, found, certain)
        elif isinstance(node, ast.With):
            certain |= _look(_header(node), node, found, certain)
            _read(node.body, found, certain)
        else:  # may run once, often, or not at all
            within = certain | _look(_header(node), node, found, certain)
            for name in blocks:
                for block in _statements(getattr(node, name)):
                    _read(block, found, set(within))


def _statements(block: list[ast.AST] | None) -> Iterator[list[ast.stmt]]:
    """The lists of statements of a block: itself, or of each handler or case."""
    if block and isinstance(block[0], ast.stmt):
        yield block
    else:
        yield from (part.body for part in block or ())


def _header(node: ast.stmt) -> ast.stmt:
    """A statement with blocks, and `pass` in each of them."""
    header = copy.deepcopy(node)
    for name in BLOCKS:
        for block in _statements(getattr(header, name, None)):
            block[:] = [ast.copy_location(ast.Pass(), node)]
    return header


def _look(node: ast.stmt, whole: ast.stmt, found: Names, certain: set[str]) -> set[str]:
    """Add what one statement does; returns what it binds. `whole` is it with its blocks."""
    first, reads, called, binds = _compiled(node)
    if not isinstance(node, DEFINITIONS):
        first |= called - binds  # the key of a sort runs at once
    first = with_calls(first, found.inside)
    found.wants |= first - found.binds.keys()
    found.needs |= first - certain
    found.reads |= reads | called
    found.called |= called
    for name in binds:
        found.binds.setdefault(name, whole)
        found.inside[name] = found.inside.get(name, set()) | called
    if isinstance(node, (*DEFINITIONS, *IMPORTS)):
        found.fixed |= binds
    return binds


def _compiled(node: ast.stmt) -> tuple[set[str], set[str], set[str], set[str]]:
    """What a statement reads before it binds it, reads, reads when it is called, and binds."""
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return set(), set(), set(), set()
    loop = ast.While(ast.Constant(True), [node], [])  # in which `break` may stand
    tree = ast.fix_missing_locations(ast.Module([ast.copy_location(loop, node)], []))
    code = compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    first, reads, binds = set(), set(), set()
    for step in dis.get_instructions(code):
        if step.opname in LOADS:
            reads.add(step.argval)
            first |= {step.argval} - binds
        elif step.opname in STORES:
            binds.add(step.argval)
    now, called = set(), set()
    for inner, later in _inner(code):
        (called if later else now).update(_globals(inner))
    return first | now - binds, reads | now, called, binds


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
    return {step.argval for step in steps if step.opname in LOADS} - own


def _root(node: ast.expr) -> str:
    """The name `a` of `a.b[c].d`, or ""."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
