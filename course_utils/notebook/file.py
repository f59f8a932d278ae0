"""A notebook as a file: found, run, brought into the form that is stored, written whole."""

import os
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_utils.place import ROOT, write_whole

OURS = re.compile(r"(answer|check)-((\d\d)-e\d+)")  # ids of cells that belong to an exercise
VIEW = "application/vnd.jupyter.widget-view+json"


def notebook_path(lesson: str) -> Path:
    """The stored notebook of "05", or of "start_here".

    Raises:
        ValueError: no such lesson; the message lists those that are there.
    """
    folder = ROOT / "notebooks"
    stored = sorted(folder.glob("*.ipynb"))
    number = lesson.zfill(2) if lesson.isdecimal() else lesson
    found = [path for path in stored if number in (path.stem, path.stem[:2])]
    if len(found) != 1:
        legal = ", ".join(path.stem for path in stored)
        raise ValueError(f"no lesson {lesson!r}; legal: the first two digits of one of {legal}")
    return found[0]


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
    write_whole(target, f"{nbformat.writes(notebook)}\n")


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
