"""Which names the cells of a submission bind, and to which others these lead: by reading only."""

import ast
import re
from collections.abc import Iterable

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


def _seen(source: str) -> str:
    """What is looked through of a cell; lines keep their numbers."""
    return MAGIC.sub("", source[:CODE_LIMIT])


def _text(node: ast.stmt, lines: list[bytes]) -> str:
    """A statement as it was written: `ast.unparse` cannot write all that can be parsed."""
    first = min(above.lineno for above in (*getattr(node, "decorator_list", ()), node))
    *body, last = lines[first - 1 : node.end_lineno]
    whole = b"\n".join([*body, last[: node.end_col_offset]])
    return whole[node.col_offset :].decode()


def reached(sources: Iterable[str], names: Iterable[str]) -> set[str]:
    """All names to which these lead over what the cells bind, with these; PACKAGE: our maths."""
    leads: dict[str, list[set[str]]] = {}  # one set for all the names that a statement binds
    for source in sources:
        for statement in parsed(source):
            for name, found in _bound(statement):
                leads.setdefault(name, []).append(found)
    todo, seen, followed = list(names), set(names), set()
    while todo:
        new = [found for found in leads.pop(todo.pop(), ()) if id(found) not in followed]
        followed |= set(map(id, new))
        todo += set().union(*new) - seen
        seen |= set(todo)
    return seen


def binds(source: str) -> set[str]:
    """The names that a cell binds, or of whose value it sets a part."""
    nodes = [node for statement in parsed(source) for node in ast.walk(statement)]
    stored = {_base(node) for node in nodes if isinstance(getattr(node, "ctx", None), ast.Store)}
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    stored |= {node.name for node in nodes if isinstance(node, kinds)}
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return stored | {name for node in imports for name, _ in _imported(node)}


def _base(node: ast.expr) -> str:
    """The a of a, a.b and a[0]."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return getattr(node, "id", "")


def _bound(statement: ast.stmt) -> list[tuple[str, set[str]]]:
    """The names that a statement binds, each with the names that it reads."""
    nodes = list(ast.walk(statement))
    notes = [getattr(node, part, None) for node in nodes for part in ("annotation", "returns")]
    hidden = {id(inner) for note in notes if note is not None for inner in ast.walk(note)}
    names = [node for node in nodes if isinstance(node, ast.Name) and id(node) not in hidden]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    found = [pair for node in imports for pair in _imported(node)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    named = any(isinstance(text, str) and text.startswith(f"{PACKAGE}.") for text in texts)
    read |= {PACKAGE for _, what in found if what} | ({PACKAGE} if named else set())
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [(statement.name, read)]
    return found if statement in imports else [(name, read) for name in bound]


def _imported(node: ast.Import | ast.ImportFrom) -> list[tuple[str, set[str]]]:
    """The names that an import binds; of the package's maths lead to PACKAGE."""
    above = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    found = []
    for alias in node.names:
        parts = f"{above}{alias.name}".split(".")
        maths = parts[0] == PACKAGE and not set(parts) & NO_MATHS
        found.append((alias.asname or alias.name.split(".")[0], {PACKAGE} if maths else set()))
    return found
