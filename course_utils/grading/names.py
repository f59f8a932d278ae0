"""Which names a cell binds and reads, and to which others these lead: by reading only.

A cell is parsed once, and every name of it is looked at once: the time is linear in its length.
Strangers wrote it: it is never compiled, as `notebook/names.py` does with the cells of a lesson.
"""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass

CODE_LIMIT = 100_000  # characters of a cell that are looked through
MAGIC = re.compile(r"^[ \t]*[%!].*$", re.MULTILINE)
PACKAGE = "course_utils"
NO_MATHS = {"checks", "derivation", "runtime", "widgets", "plots", "progress", "observing"}


def parsed(source: str) -> list[ast.stmt]:
    """The statements of a cell, magics and commands left out; none where it cannot be read."""
    try:
        return ast.parse(_seen(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def helpers(source: str) -> list[str]:
    """The imports, functions and classes of a cell, as they were written."""
    kinds = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef
    found = [node for node in parsed(source) if isinstance(node, kinds)]
    lines = _seen(source).encode().splitlines() if found else []
    return [_text(node, lines) for node in found]


def is_stub(source: str, name: str, mark: str) -> bool:
    """Whether a function of this name raises NotImplementedError(mark) before it returns.

    Of a cell that cannot be parsed: whether a line of it does so.
    """
    body = parsed(source)
    if not body:
        line = rf"^[ \t]*raise[ \t]+NotImplementedError\(['\"]{re.escape(mark)}['\"]\)"
        return re.search(line, source, re.MULTILINE) is not None
    functions = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    for node in functions[-1].body if functions else ():
        match node:
            case ast.Return():
                return False
            case ast.Raise(ast.Call(ast.Name("NotImplementedError"), [ast.Constant(value)])):
                return value == mark
    return False


def _seen(source: str) -> str:
    """What is looked through of a cell; lines keep their numbers."""
    return MAGIC.sub("", source[:CODE_LIMIT])


def _text(node: ast.stmt, lines: list[bytes]) -> str:
    """A statement as it was written: `ast.unparse` cannot write all that can be parsed."""
    first = min(above.lineno for above in (*getattr(node, "decorator_list", ()), node))
    *body, last = lines[first - 1 : node.end_lineno]
    whole = b"\n".join([*body, last[: node.end_col_offset]])
    return whole[node.col_offset :].decode()


@dataclass(frozen=True)
class Names:
    """The names of one cell.

    Attributes:
        binds: what it binds anywhere in it, or of whose value it sets a part.
        leads: for each of its statements the names that this binds and those that it reads, as
            (bound, read) pairs; PACKAGE among the read ones stands for our maths.
    """

    binds: frozenset[str]
    leads: tuple[tuple[frozenset[str], frozenset[str]], ...]


def look(source: str) -> Names:
    """The names of a cell; none where it cannot be read."""
    statements = parsed(source)
    nodes = [node for statement in statements for node in ast.walk(statement)]
    stored = {_base(node) for node in nodes if isinstance(getattr(node, "ctx", None), ast.Store)}
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    stored |= {node.name for node in nodes if isinstance(node, kinds)}
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    stored |= {name for node in imports for name, _ in _imported(node)}
    leads = [pair for statement in statements for pair in _leads(statement)]
    return Names(frozenset(stored), tuple(leads))


def reached(cells: Iterable[Names], names: Iterable[str]) -> set[str]:
    """All names to which these lead over what the cells bind, with these; PACKAGE: our maths."""
    leads: dict[str, list[tuple]] = {}
    for bound, read in (pair for cell in cells for pair in cell.leads):
        for name in bound:
            leads.setdefault(name, []).append(read)
    seen, followed = set(names), set()
    todo = list(seen)
    while todo:
        for read in leads.pop(todo.pop(), ()):
            if id(read) not in followed:  # one set for all the names that a statement binds
                followed.add(id(read))
                new = read - seen
                seen |= new
                todo += new
    return seen


def _base(node: ast.expr) -> str:
    """The a of a, a.b and a[0]."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return getattr(node, "id", "")


def _leads(statement: ast.stmt) -> list[tuple[frozenset[str], frozenset[str]]]:
    """(names that a statement binds, names that it reads); of an import one pair for each name."""
    nodes = list(ast.walk(statement))
    notes = [getattr(node, part, None) for node in nodes for part in ("annotation", "returns")]
    hidden = {id(inner) for note in notes if note is not None for inner in ast.walk(note)}
    names = [node for node in nodes if isinstance(node, ast.Name) and id(node) not in hidden]
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    found = [pair for node in imports for pair in _imported(node)]
    if statement in imports:
        return [(frozenset([name]), read) for name, read in found]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    named = any(isinstance(text, str) and text.startswith(f"{PACKAGE}.") for text in texts)
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    read |= {PACKAGE} if named or any(maths for _, maths in found) else set()
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    bound |= {name for name, _ in found}
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        bound = {statement.name}
    return [(frozenset(bound), frozenset(read))]


def _imported(node: ast.Import | ast.ImportFrom) -> list[tuple[str, frozenset[str]]]:
    """The names that an import binds; those of the package's maths lead to PACKAGE."""
    above = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    found = []
    for alias in node.names:
        parts = f"{above}{alias.name}".split(".")
        maths = parts[0] == PACKAGE and not set(parts) & NO_MATHS
        name = alias.asname or alias.name.split(".")[0]
        found.append((name, frozenset([PACKAGE] if maths else ())))
    return found
