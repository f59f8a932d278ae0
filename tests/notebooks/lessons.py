"""The stored notebooks as the tests read them."""

import ast
import json
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if path.name[:2].isdigit()]
_PLAN = json.loads((ROOT / "assets" / "plan.json").read_text(encoding="utf-8"))
PLAN, LINES_OF = _PLAN["lessons"], _PLAN["lines_of"]  # LINES_OF: a claim -> its lines' steps
ASSERTIONS = {"equal", "at_most", "at_least"}
CONTROLS = {"explore", "interact", "interactive", "interactive_output"}


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def calls(source: str) -> list[tuple[str, str | None]]:
    """(name of the function, first argument if it is a literal string) of every call."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else None
            name = node.func.id if isinstance(node.func, ast.Name) else name
            first = node.args[0] if node.args else None
            literal = first.value if isinstance(first, ast.Constant) else None
            found.append((name, literal if isinstance(literal, str) else None))
    return found


def labels(path: Path, functions: set[str]) -> set[str]:
    """The literal labels with which a lesson calls one of these functions."""
    made = [call for cell in code_cells(path) for call in calls(cell.source)]
    return {label for name, label in made if name in functions and label}


def output_text(cell: NotebookNode) -> str:
    """All plain text that a cell printed or returned."""
    parts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
    return "\n".join(parts)
