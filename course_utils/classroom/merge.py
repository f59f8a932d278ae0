"""A newer edition of a lesson and a student's notebook made into one; their work always survives.

Git merges lines, a notebook is made of cells: so notebooks are merged cell by cell. A cell is told
as the grader tells it: by its id, else by nbgrader's `grade_id`, by the name that an answer
defines, by a text that is still ours. The new edition gives the order; a filled answer and every
cell that the student added stay, also where the new edition changed, moved or removed what stood
around them.
"""

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from course_utils.grading.notebook import Lesson, candidates, plain_cell
from course_utils.notebook.file import OURS as EXERCISE

LEGAL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
GIVEN = {"tags", "nbgrader"}  # metadata that an edition changes and hardly any student
MISSING = object()


@dataclass(frozen=True)
class Merge:
    """A merged notebook, and the cells (by id) of which something is in the student's file only."""

    notebook: dict
    left_out: tuple[str, ...]


def merge(theirs: dict, new: dict, old: dict | None = None) -> Merge:
    """The new edition with the student's answers and cells in it.

    Args:
        theirs: the student's notebook.
        new: the new edition.
        old: the edition that the student began with, if it is known: it tells a cell that the
            student edited from one that merely is old.

    Raises:
        ValueError: `theirs` is no notebook of format 4, or most of it is no part of this lesson.
    """
    cells = _cells(theirs)
    released, before = _by_id(_cells(new)), _by_id(_cells(old) if old else [])
    names, answered = _names(cells, released, before)
    known = sum(name in released or name in before for name in names)
    if 2 * known < min(len(cells), len(released)):
        raise ValueError(f"only {known} of its {len(cells)} cells are known from this lesson")
    own = {name: {**cell, "id": name} for name, cell in zip(names, cells, strict=True)}
    chosen = {
        name: _choice(cell, own.get(name), before.get(name))
        for name, cell in released.items()
        if name in own or name not in answered
    }
    merged = _with_own(list(chosen.values()), own, released, before)
    kept = {_content(cell) for cell in merged}
    ours = {_content(cell) for cell in [*released.values(), *before.values()]}
    missing = [
        name
        for name, cell in own.items()
        if _content(cell) not in kept | ours
        or (name in chosen and _overruled(chosen[name], cell, before.get(name)))
    ]
    metadata = _metadata(new, theirs, old)
    return Merge({**new, "cells": merged, "metadata": metadata}, tuple(missing))


def _names(
    cells: list[dict], released: Mapping[str, dict], before: Mapping[str, dict]
) -> tuple[list[str], set[str]]:
    """The id of each cell; and the answers that stand in a cell with another one's id."""
    plain = [plain_cell(cell) for cell in cells]
    code = [
        one if cell["cell_type"] == "code" else {**one, "source": ""}
        for one, cell in zip(plain, cells, strict=True)
    ]
    found: dict[int, str] = {}
    taken: set[str] = set()

    def take(index: int, name: str) -> None:
        if index not in found and name not in taken and (name in released or name in before):
            found[index] = name
            taken.add(name)

    for index, one in enumerate(plain):
        take(index, one["id"])
    ours = [*before.values(), *released.values()]
    asked = next((match[3] for name in released if (match := EXERCISE.fullmatch(name))), None)
    lesson = Lesson(asked, ours) if asked else None
    first = {e.id: candidates(code, e, lesson)[:1] for e in lesson.exercises} if lesson else {}
    for exercise, indices in first.items():
        for index in indices:
            take(index, f"answer-{exercise}")
    for index, one in enumerate(plain):
        take(index, one["grade_id"])
    texts = {(cell["cell_type"], _text(cell)): cell["id"] for cell in ours}
    for index, cell in enumerate(cells):
        take(index, texts.get((cell["cell_type"], _text(cell)), ""))
    answered = {f"answer-{name}" for name, at in first.items() if at and at[0] in found} - taken
    return _filled_up(found, plain, taken | set(released) | set(before)), answered


def _filled_up(found: Mapping[int, str], plain: list[dict], taken: set[str]) -> list[str]:
    """The ids found, and for each cell that is none of ours its own, or a new one."""
    names, number = [], 0
    for index, one in enumerate(plain):
        name = found.get(index, one["id"])
        while index not in found and (name in taken or not LEGAL_ID.fullmatch(name)):
            name, number = f"added-{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _choice(new: dict, own: dict | None, old: dict | None) -> dict:
    """One cell of the new edition: what the student wrote where nobody else did."""
    if own is None:
        return new
    metadata = _metadata(new, own, old)
    answer = _is_answer(new["id"]) and _is_filled(own)
    edited = old is not None and _content(old) == _content(new) != _content(own)
    if not answer and not edited:
        return {**new, "metadata": metadata}
    under = new if new["cell_type"] == own["cell_type"] else {}
    return {**under, **own, "metadata": metadata}


def _with_own(
    merged: list[dict], own: Mapping[str, dict], released: Iterable, before: Mapping[str, dict]
) -> list[dict]:
    """With the student's own cells, each behind the one that it stood behind."""
    previous = None
    for name, cell in own.items():
        if name not in released and not _is_own(cell, before.get(name)):
            continue
        if name not in released:
            places = [i for i, other in enumerate(merged) if other["id"] == previous]
            merged.insert(places[0] + 1 if places else 0, cell)
        previous = name
    return merged


def _metadata(new: dict, own: dict, old: dict | None) -> dict:
    """The new edition's metadata with the keys that only the student set or changed."""
    given, theirs, base = ({} if part is None else _noted(part) for part in (new, own, old))
    if old is None:
        base = {key: theirs[key] for key in given if key in theirs}
    changed = {
        key: value
        for key, value in theirs.items()
        if base.get(key, MISSING) != value and base.get(key, MISSING) == given.get(key, MISSING)
    }
    return {**given, **changed}


def _overruled(chosen: dict, own: dict, old: dict | None) -> bool:
    """Whether the student and the new edition both changed the same metadata of a cell."""
    kept, before = _noted(chosen), _noted(old) if old else {}
    own_keys = {key: value for key, value in _noted(own).items() if old or key not in GIVEN}
    return any(kept.get(key) != value != before.get(key) for key, value in own_keys.items())


def _noted(part: dict) -> dict:
    metadata = part.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _is_own(cell: dict, old: dict | None) -> bool:
    """Whether a cell that the new edition does not have is the student's work."""
    return _is_filled(cell) and (old is None or _content(old) != _content(cell))


def _is_filled(cell: dict) -> bool:
    """Whether an answer cell holds more than a stub: a docstring and NotImplementedError(id)."""
    text = _text(cell)
    if cell.get("cell_type") != "code" or not _is_answer(cell["id"]):
        return True
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    if any(line.lstrip().startswith("#") for line in text.splitlines()):
        return True  # a stub has no comment: it is a note of the student
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        return bool(body)
    written = [node for node in body[0].body if not _is_text(node)]
    return len(written) != 1 or not isinstance(written[0], ast.Raise)


def _is_answer(name: str) -> bool:
    match = EXERCISE.fullmatch(name)
    return match is not None and match[1] == "answer"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _cells(notebook: dict) -> list[dict]:
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it is no notebook of format 4")
    for cell in cells:
        kinds = isinstance(cell, dict) and isinstance(cell.get("cell_type"), str)
        if not kinds or not isinstance(cell.get("source"), str | list):
            raise ValueError("it has a cell without a kind or a source")
    return cells


def _by_id(cells: list[dict]) -> dict[str, dict]:
    """The cells of an edition of ours."""
    return {cell["id"]: cell for cell in cells}


def _content(cell: dict) -> str:
    """What a reader would miss: kind, text and pasted pictures."""
    parts = [cell["cell_type"], _text(cell), cell.get("attachments") or {}]
    return json.dumps(parts, sort_keys=True)


def _text(cell: dict) -> str:
    source = cell["source"]
    joined = source if isinstance(source, str) else "".join(map(str, source))
    return joined.replace("\r\n", "\n").strip()
