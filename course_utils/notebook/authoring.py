"""Lessons as text: `edit` writes a percent script, `sync` brings it back and runs it, `solve`.

A script is `edit/05_elbo.py` (git-ignored, jupytext's percent format). A cell's stable id stands in
its header as `cell_id`; a cell without one gets one at its first sync. Of a cell `answer-05-e2`
only the header counts: its source is the exercise's stub. What a script does not show (pasted
pictures, the metadata of other tools) is taken over by the cell's id. The head of a script notes
from which state of the notebook it was written, and its own: so neither is overwritten by the other
where somebody changed it meanwhile.
"""

import json
import re
from hashlib import sha1, sha256
from pathlib import Path
from urllib.parse import unquote

import nbformat
from nbformat import NotebookNode

from course_utils import exercises
from course_utils.exercises.base import Exercise
from course_utils.notebook.file import OURS, execute, normalised, notebook_path, write
from course_utils.place import ROOT, numbered, write_whole

SCRIPT_METADATA = "cell_id,tags,notes,-all"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
PASTED = re.compile(r"""attachment:([^\s)"'>]+)""")


def edit(lesson: str) -> Path:
    """Write the percent script of a stored lesson, cell ids in the headers; returns its path.

    Raises:
        ValueError: no such lesson, or a script with changes that were not synced.
    """
    source = notebook_path(lesson)
    script = ROOT / "edit" / f"{source.stem}.py"
    if script.exists() and _is_changed(script.read_text("utf-8")):
        raise ValueError(
            f"{script} has changes that are not in the notebook: make sync LESSON={source.stem} "
            "brings them in; or move it away"
        )
    return write_whole(script, _script(nbformat.read(source, as_version=4)))


def script_of(lesson: str) -> Path:
    """The script of lesson "05", or of "start_here", in edit/.

    Raises:
        ValueError: there is none; the message lists those that are there.
    """
    number = lesson.zfill(2) if lesson.isdecimal() else lesson
    there = sorted((ROOT / "edit").glob("*.py"))
    found = [path for path in there if number in (path.stem, path.stem[:2])]
    if len(found) != 1:
        legal = ", ".join(path.stem for path in there) or "none yet: make edit LESSON=05 writes one"
        raise ValueError(f"no script {lesson!r} in {ROOT / 'edit'}; legal: {legal}")
    return found[0]


def sync(script: Path, run: bool = True) -> Path:
    """Make the notebook of a percent script, run it and store it; returns the notebook's path.

    The script is then written anew, as `edit` would: new cells have their ids in it.

    Raises:
        ValueError: the notebook was changed since the script was written from it, two cells have
            one id, or a pasted picture is missing.
        nbclient.exceptions.CellExecutionError: a cell raised. In both cases nothing is written.
    """
    import jupytext

    text, target = script.read_text("utf-8"), ROOT / "notebooks" / f"{script.stem}.ipynb"
    notebook = jupytext.reads(text, fmt="py:percent")
    noted = notebook.metadata.get("course", {}).get("notebook")
    stored = _stored(target, noted, script)
    _complete(notebook, stored, script)
    if run:
        execute(notebook, target.parent)
    _stored(target, noted, script)  # a run takes its time
    write(normalised(notebook), target)
    fresh, now = _script(notebook), script.read_text("utf-8")
    if now != text:  # somebody went on writing: that stays, and is for the next sync
        fresh = now.replace(f"notebook: {noted}", f"notebook: {_state(notebook)}", 1)
    write_whole(script, fresh)
    return target


def solve(lesson: str, folder: Path | None = None) -> Path:
    """Write a copy of a lesson with every stub replaced by its reference; returns its path.

    A copy that somebody changed or ran stays: the new one is then 05_elbo-2.ipynb.
    """
    source = notebook_path(lesson)
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        match = OURS.fullmatch(cell.id)
        if match and match[1] == "answer":
            cell.source = exercises.find(match[2]).solution
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    solved = f"{nbformat.writes(notebook)}\n".encode()
    places = numbered((folder or ROOT / "build" / "solved") / source.name)
    target = next(p for p in places if not p.exists() or p.read_bytes() == solved)
    return target if target.exists() else write_whole(target, solved, new=True)


def _script(notebook: NotebookNode) -> str:
    """The text of a stored notebook; its head notes the state of both."""
    import jupytext

    copied = nbformat.from_dict(notebook)
    for cell in copied.cells:
        cell.metadata["cell_id"] = cell.id
    filters = {"cell_metadata_filter": SCRIPT_METADATA, "notebook_metadata_filter": "course"}
    copied.metadata["jupytext"] = filters
    copied.metadata["course"] = {"notebook": _state(notebook), "script": ""}
    body = _body(jupytext.writes(copied, fmt="py:percent"))
    copied.metadata["course"]["script"] = _digest(body)
    return jupytext.writes(copied, fmt="py:percent")


def _is_changed(script: str) -> bool:
    """Whether a script is not as it was written."""
    import jupytext

    noted = jupytext.reads(script, fmt="py:percent").metadata.get("course", {})
    return noted.get("script") != _digest(_body(script))


def _body(script: str) -> str:
    return script.partition("\n# ---\n")[2]


def _digest(text: str) -> str:
    return "x" + sha256(text.encode()).hexdigest()[:12]  # in YAML, digits alone are a number


def _state(notebook: NotebookNode) -> str:
    """What a sync would overwrite: all of the cells but outputs, counts and times of a run."""
    cells = [{**cell, "outputs": [], "execution_count": 0} for cell in notebook.cells]
    for cell in cells:
        cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k != "execution"}
    return _digest(json.dumps(cells, sort_keys=True))


def _stored(target: Path, noted: str | None, script: Path) -> NotebookNode:
    """The stored notebook from which the script was written; an empty one for a new lesson."""
    if not target.exists():
        return nbformat.v4.new_notebook()
    stored = nbformat.read(target, as_version=4)
    if _state(stored) != noted:
        raise ValueError(
            f"{target} was changed after {script} was written from it: move the script away, make "
            f"edit LESSON={target.stem}, and bring your lines into the new one"
        )
    return stored


def _complete(notebook: NotebookNode, stored: NotebookNode, script: Path) -> None:
    """Give cells their ids, and all that the script does not show."""
    before = {cell.id: cell for cell in stored.cells}
    lesson, seen = script.stem[:2], set()
    for index, cell in enumerate(notebook.cells):
        cell["id"] = cell.metadata.pop("cell_id", None) or _new_id(lesson, cell.source, index, seen)
        if cell["id"] in seen:
            raise ValueError(f"two cells have the id {cell['id']!r} in {script}")
        seen.add(cell["id"])
        _carry_over(cell, before.get(cell["id"], {}))
        _answer(cell)
    known = {name: value for name, value in stored.metadata.items() if name != "jupytext"}
    kernel = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    notebook.metadata = NotebookNode({**known, **kernel})
    notebook.nbformat, notebook.nbformat_minor = 4, 5


def _carry_over(cell: NotebookNode, before: dict) -> None:
    """Pasted pictures and the metadata of other tools, from the stored cell of the same id."""
    shown = ("tags", "notes", "lines_to_")
    hidden = {k: v for k, v in before.get("metadata", {}).items() if not k.startswith(shown)}
    cell.metadata = NotebookNode({**hidden, **cell.metadata})
    if cell.cell_type == "code":
        return
    if pictures := before.get("attachments"):
        cell["attachments"] = pictures
    for name in PASTED.findall(cell.source):
        if not {name, unquote(name)} & set(pictures or ()):
            raise ValueError(
                f"the cell {cell.id} shows a pasted picture, {name}, that no stored cell of this "
                "id has: keep the cell_id of the cell that it was pasted into"
            )


def _new_id(lesson: str, source: str, index: int, taken: set[str]) -> str:
    digest = sha1(source.encode()).hexdigest()[:8]
    fresh = f"{lesson}-{digest}"
    return fresh if fresh not in taken else f"{fresh}-{index}"


def _answer(cell: NotebookNode) -> None:
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
