"""Bring a newer edition of the lessons into a student's folder; their work always survives.

Git merges lines, a notebook is made of cells: so notebooks are merged by cell id. The new edition
gives the order; a filled answer and every cell that the student added stay, also where the new
edition changed, moved or removed their surroundings. Before anything is written the student's file
is copied to `.course/before-update/`, and the copy is named where the merge left something out.
"""

import ast
import json
import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from course_utils.notebook.file import OURS
from course_utils.place import write_whole


@dataclass(frozen=True)
class Merge:
    """A merged notebook, and which of the student's cells are not in it (by id)."""

    notebook: dict
    left_out: tuple[str, ...]


def merge(theirs: dict, new: dict, old: dict | None = None) -> Merge:
    """The new edition with the student's answers and cells in it.

    Args:
        theirs: the student's notebook.
        new: the new edition.
        old: the edition that the student began with, if it is known: it tells a cell that the
            student edited from one that merely is old.
    """
    own, before = _by_id(theirs), _by_id(old or {"cells": []})
    released = _by_id(new)
    merged = [_choice(cell, own.get(name), before.get(name)) for name, cell in released.items()]
    previous = None
    for name, cell in own.items():
        if name not in released and _is_own(cell, before.get(name)):
            places = [i for i, other in enumerate(merged) if other["id"] == previous]
            merged.insert(places[0] + 1 if places else 0, cell)
        elif name not in released:
            continue
        previous = name
    kept = {_text(cell) for cell in merged}
    ours = {_text(cell) for cell in [*released.values(), *before.values()]}
    missing = [name for name, cell in own.items() if _text(cell) not in kept | ours]
    return Merge({**new, "cells": merged}, tuple(missing))


def update_folder(source: Path, into: Path) -> list[str]:
    """Merge every notebook of a folder of newer lessons into the student's; says what was done.

    Raises:
        ValueError: no notebook in the source, or one that cannot be read.
    """
    newer = sorted(source.glob("*.ipynb"))
    if not newer:
        raise ValueError(f"no notebook in {source}; legal: a folder of released lessons")
    return [_update(into / path.name, path.read_text("utf-8"), None) for path in newer]


def update_clone(root: Path, remote: str = "origin", branch: str = "main") -> list[str]:
    """Fetch the newest edition into a clone and merge the notebooks that the student changed.

    Raises:
        ValueError: git says no: no network, no such branch, commits of the student's own. The
            folder is then as it was before.
    """
    _git(root, "fetch", remote, branch)
    changed = _git(root, "diff", "--name-only", "-z", "--diff-filter=M", "HEAD", "--", "notebooks")
    names = [name for name in changed.split("\0") if name.endswith(".ipynb")]
    mine = {name: (root / name).read_text("utf-8") for name in names}
    told = []
    for name, text in mine.items():
        _backup(root / name, text)
        write_whole(root / name, _git(root, "show", f"HEAD:{name}"))
    try:
        base = _git(root, "rev-parse", "HEAD").strip()
        _git(root, "merge", "--ff-only", "FETCH_HEAD")
        for name, text in mine.items():
            new = (root / name).read_text("utf-8") if (root / name).is_file() else text
            told.append(_merged_file(root / name, text, new, _git(root, "show", f"{base}:{name}")))
    except ValueError:
        for name, text in mine.items():
            write_whole(root / name, text)
        raise
    return told or ["no notebook of yours was changed: everything is as in the new edition"]


def _update(target: Path, new: str, old: str | None) -> str:
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, new)
        return f"{target.name}: new"
    text = target.read_text("utf-8")
    if text == new:
        return f"{target.name}: as it was"
    _backup(target, text)
    return _merged_file(target, text, new, old)


def _merged_file(target: Path, text: str, new: str, old: str | None) -> str:
    """Write the merge; a student's file that is no notebook stays, the new one beside it."""
    try:
        theirs = json.loads(text)
        found = merge(theirs, json.loads(new), json.loads(old) if old else None)
    except (ValueError, KeyError, TypeError) as error:
        beside = target.with_name(f"{target.stem} (new).ipynb")
        write_whole(target, text)
        write_whole(beside, new)
        return f"{target.name}: left as it is ({error}); the new edition is {beside.name}"
    write_whole(target, json.dumps(found.notebook, indent=1, ensure_ascii=False) + "\n")
    if not found.left_out:
        return f"{target.name}: updated, your answers are in it"
    names = ", ".join(found.left_out[:5])
    return f"{target.name}: updated; your changes to {names} are in {_backups(target)} only"


def _by_id(notebook: dict) -> dict[str, dict]:
    """Cells by id; one without an id, or with one that came before, gets a name of its own."""
    found: dict[str, dict] = {}
    for index, cell in enumerate(notebook["cells"]):
        name = cell.get("id")
        if not isinstance(name, str) or name in found:
            name = f"added-{index}"
        found[name] = {**cell, "id": name}
    return found


def _choice(new: dict, own: dict | None, old: dict | None) -> dict:
    """One cell of the new edition: the student's source where they wrote and nobody else did."""
    if own is None:
        return new
    answer = _is_answer(new) and _is_filled(own)
    edited = old is not None and _text(old) == _text(new) != _text(own)
    if not answer and not edited:
        return new
    return {
        **new,
        **{key: own[key] for key in ("source", "outputs", "execution_count") if key in own},
    }


def _is_own(cell: dict, old: dict | None) -> bool:
    """Whether a cell that the new edition does not have is the student's work."""
    return _is_filled(cell) and (old is None or _text(old) != _text(cell))


def _is_answer(cell: dict) -> bool:
    found = OURS.fullmatch(cell["id"])
    return found is not None and found[1] == "answer"


def _is_filled(cell: dict) -> bool:
    """Whether an answer cell holds more than a stub: a docstring and NotImplementedError(id)."""
    if cell.get("cell_type") != "code" or not _is_answer(cell):
        return True
    try:
        body = ast.parse(_text(cell)).body
    except SyntaxError:
        return True
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        return bool(body)
    written = [node for node in body[0].body if not _is_text(node)]
    return len(written) != 1 or not isinstance(written[0], ast.Raise)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _text(cell: dict) -> str:
    source = cell["source"]
    return (source if isinstance(source, str) else "".join(source)).strip()


def _backups(target: Path) -> Path:
    return target.parent / ".course" / "before-update"


def _backup(target: Path, text: str) -> None:
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S-%f")
    folder = _backups(target)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{target.stem}-{stamp}.ipynb", text)


def _git(root: Path, *given: str) -> str:
    if shutil.which("git") is None:
        raise ValueError("git is not installed: unpack the new edition, then course update FOLDER")
    run = subprocess.run(["git", *given], cwd=root, capture_output=True, text=True, check=False)
    if run.returncode:
        raise ValueError(f"git {given[0]}: {run.stderr.strip()[-300:]}")
    return run.stdout
