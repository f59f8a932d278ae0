"""Lessons as text: `edit` writes a percent script, `sync` brings it back and runs it, `solve`.

A script is `edit/05_elbo.py` (git-ignored, jupytext's percent format). A cell's stable id stands in
its header as `cell_id`; a cell without one gets one at its first sync. Of a cell `answer-05-e2`
only the header counts: its source is the exercise's stub.
"""

import sys
from hashlib import sha1
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_utils import exercises
from course_utils.exercises.base import Exercise
from course_utils.notebook.file import OURS, execute, normalised, notebook_path, write
from course_utils.place import ROOT

SCRIPT_METADATA = "cell_id,tags,notes,-all"


def edit(lesson: str) -> Path:
    """Write the percent script of a stored lesson, cell ids in the headers; returns its path.

    Raises:
        FileExistsError: a script is there already: sync it, or delete it.
    """
    import jupytext

    source = notebook_path(lesson)
    script = _script(source)
    if script.exists():
        raise FileExistsError(f"{script} is there already: sync it, or delete it to start again")
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        cell.metadata["cell_id"] = cell.id
    script.parent.mkdir(exist_ok=True)
    notebook.metadata["jupytext"] = {"cell_metadata_filter": SCRIPT_METADATA}
    jupytext.write(notebook, script, fmt="py:percent")
    return script


def sync(script: Path, run: bool = True) -> Path:
    """Make the notebook of a percent script, run it and store it; returns the notebook's path.

    Nothing is written if a cell raises.
    """
    import jupytext

    notebook = jupytext.read(script, fmt="py:percent")
    lesson, seen = script.stem[:2], set()
    for index, cell in enumerate(notebook.cells):
        cell["id"] = cell.metadata.pop("cell_id", None) or _new_id(lesson, cell.source, index, seen)
        if cell["id"] in seen:
            raise ValueError(f"two cells have the id {cell['id']!r} in {script}")
        seen.add(cell["id"])
        _complete(cell)
    notebook.metadata = NotebookNode(
        kernelspec={
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        language_info={"name": "python"},
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    target = ROOT / "notebooks" / f"{script.stem}.ipynb"
    if run:
        execute(notebook, target.parent)
    write(normalised(notebook), target)
    return target


def solve(lesson: str, folder: Path | None = None) -> Path:
    """Write a copy of a lesson with every stub replaced by its reference; returns its path."""
    source = notebook_path(lesson)
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        match = OURS.fullmatch(cell.id)
        if match and match[1] == "answer":
            cell.source = exercises.find(match[2]).solution
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    target = (folder or ROOT / "build" / "solved") / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    write(notebook, target)
    return target


def _script(notebook: Path) -> Path:
    return ROOT / "edit" / f"{notebook.stem}.py"


def _new_id(lesson: str, source: str, index: int, taken: set[str]) -> str:
    digest = sha1(source.encode()).hexdigest()[:8]
    fresh = f"{lesson}-{digest}"
    return fresh if fresh not in taken else f"{fresh}-{index}"


def _complete(cell: NotebookNode) -> None:
    """The stub of an answer cell, and nbgrader's metadata of answer and check cells."""
    match = OURS.fullmatch(cell.id)
    if not match:
        return
    exercise = exercises.find(match[2])
    if match[1] == "answer":
        cell.source = exercise.stub
    cell.metadata["nbgrader"] = _nbgrader(cell.id, match[1] == "answer", exercise)


def _nbgrader(grade_id: str, answer: bool, exercise: Exercise) -> dict:
    shared = {"grade_id": grade_id, "schema_version": 3, "task": False}
    if answer:
        return {**shared, "grade": False, "solution": True, "locked": False}
    return {**shared, "grade": True, "solution": False, "locked": True, "points": exercise.points}


if __name__ == "__main__":  # make edit LESSON=05 · make sync LESSON=05
    command, name = sys.argv[1:3]
    if command == "edit":
        print(edit(name))
    else:
        scripts = sorted((ROOT / "edit").glob(f"{name}*.py"))
        for path in scripts or [ROOT / "edit" / f"{name}.py"]:
            print(sync(path))
