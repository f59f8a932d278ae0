"""Lessons as text: `edit` writes a percent script, `sync` brings it back and runs it, `solve`.

A script is `edit/05_elbo.py` (git-ignored, jupytext's percent format). A cell's stable id stands in
its header as `cell_id`; a cell without one gets one at its first sync. Of a cell `answer-05-e2`
only the header counts: its source is the exercise's stub.
"""

import os
import re
import sys
import tempfile
from hashlib import sha1
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_utils import exercises
from course_utils.exercises.base import Exercise
from course_utils.runtime import project_root

ANSWER = re.compile(r"(answer|check)-((\d\d)-e\d+)")
SCRIPT_METADATA = "cell_id,tags,notes,-all"
VIEW = "application/vnd.jupyter.widget-view+json"


def notebook_path(lesson: str) -> Path:
    """The stored notebook of "05", or of "start_here".

    Raises:
        ValueError: no such lesson; the message lists those that are there.
    """
    folder = project_root() / "notebooks"
    stored = sorted(folder.glob("*.ipynb"))
    found = [path for path in stored if lesson in (path.stem, path.stem[:2])]
    if len(found) != 1:
        legal = ", ".join(path.stem for path in stored)
        raise ValueError(f"no lesson {lesson!r}; legal: the first two digits of one of {legal}")
    return found[0]


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
    target = project_root() / "notebooks" / f"{script.stem}.ipynb"
    if run:
        execute(notebook, target.parent)
    write(normalised(notebook), target)
    return target


def solve(lesson: str, folder: Path | None = None) -> Path:
    """Write a copy of a lesson with every stub replaced by its reference; returns its path."""
    source = notebook_path(lesson)
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        match = ANSWER.fullmatch(cell.id)
        if match and match[1] == "answer":
            cell.source = exercises.find(match[2]).solution
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    target = (folder or project_root() / "build" / "solved") / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    write(notebook, target)
    return target


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run every cell in place, in `folder`.

    Raises:
        nbclient.exceptions.CellExecutionError: the first cell that raises.
    """
    from nbclient import NotebookClient

    os.environ["COURSE_PROGRESS"] = os.devnull  # an author's run is no student's progress
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        coalesce_streams=True,
    ).execute()


def normalised(notebook: NotebookNode) -> NotebookNode:
    """Without what changes from run to run: times, widget views, progress bars; counted anew.

    The counts stay because nbval takes a cell without one as never run.
    """
    notebook.metadata.pop("widgets", None)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        cell.metadata.pop("execution", None)
        cell.execution_count = count
        cell.outputs = [kept for out in cell.outputs if (kept := _output(out, count)) is not None]
    return notebook


def write(notebook: NotebookNode, target: Path) -> None:
    """Store a notebook in one step: a reader sees the old file or the new one."""
    nbformat.validate(notebook)
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        nbformat.write(notebook, stream)
    os.chmod(temporary, 0o644)
    os.replace(temporary, target)


def _output(output: NotebookNode, count: int) -> NotebookNode | None:
    if output.output_type == "stream" and output.name == "stderr":
        return None if "\r" in output.text else output  # a progress bar in text
    if "execution_count" in output:
        output.execution_count = count
    data = output.get("data", {})
    if data.pop(VIEW, None) is not None:
        text = data.get("text/plain", "")
        if text.startswith(("HBox", "VBox", "Output", "FloatProgress")) or "%|" in text:
            return None  # the last is tqdm's bar
    return None if data == {"text/plain": ""} else output


def _script(notebook: Path) -> Path:
    return project_root() / "edit" / f"{notebook.stem}.py"


def _new_id(lesson: str, source: str, index: int, taken: set[str]) -> str:
    digest = sha1(source.encode()).hexdigest()[:8]
    fresh = f"{lesson}-{digest}"
    return fresh if fresh not in taken else f"{fresh}-{index}"


def _complete(cell: NotebookNode) -> None:
    """The stub of an answer cell, and nbgrader's metadata of answer and check cells."""
    match = ANSWER.fullmatch(cell.id)
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
        scripts = sorted((project_root() / "edit").glob(f"{name}*.py"))
        for path in scripts or [project_root() / "edit" / f"{name}.py"]:
            print(sync(path))
