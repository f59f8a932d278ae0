"""Cells of a lesson that bind a name which another one reads: what going back can break."""

import ast

from course_utils.notebook.names import Names, names_of, parsed, with_calls
from tests.notebooks.lessons import CONTROLS, calls


def conflicts(cells: list[tuple[str, str]]) -> dict[str, dict[str, list[str]]]:
    """Name -> its "binds" and "reads" cells, where a cell reads a name that several cells bind.

    Run out of order (a student goes back to section 1 after "Run all"), such a cell reads what the
    wrong cell left. Not meant: `f = use("05-e2", f)`, which hands on the same function, and the
    same import twice.

    Args:
        cells: id and source of every code cell of a lesson, in any order.
    """
    parts = {cell_id: names_but_use(source) for cell_id, source in cells}
    inside: dict[str, set[str]] = {}
    binders: dict[str, dict[str, str]] = {}
    for cell_id, part in parts.items():
        for name, statement in part.binds.items():
            binders.setdefault(name, {})[cell_id] = ast.unparse(statement)
        for name, wanted in part.inside.items():
            inside[name] = inside.get(name, set()) | wanted
    found: dict[str, dict[str, list[str]]] = {}
    for cell_id, source in cells:
        part = parts[cell_id]
        for name in sorted(with_calls(part.wants | live(source, part), inside)):
            cells_of_name = binders.get(name, {})
            if len(cells_of_name) > 1 and not _one_import(cells_of_name):
                entry = found.setdefault(name, {"binds": list(cells_of_name), "reads": []})
                entry["reads"].append(cell_id)
    return found


def names_but_use(source: str) -> Names:
    """The names of a cell, but for statements that hand an answer on."""
    tree = parsed(source)
    tree.body = [node for node in tree.body if not _hands_on(node)]
    return names_of(tree)


def live(source: str, part: Names) -> set[str]:
    """What a demo's functions read at every move of a slider: there the last binding counts."""
    demo = any(name in CONTROLS for name, _ in calls(source))
    return part.called if demo else set()


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
