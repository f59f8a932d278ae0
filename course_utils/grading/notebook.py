"""Read a submitted notebook: find the answers, keep the helpers, leave out what is ours.

An answer is found by its cell's id, else by nbgrader's `grade_id`, else by a `def` of its name. Of
two candidates the first counts, and that is reported. Any other code cell that is not one of the
lesson's runs too, in document order: an answer may need it.
"""

import json
import re
import warnings
from functools import cache
from pathlib import Path

import nbformat

from course_utils import exercises
from course_utils.grading.base import Cell, Unreadable, Work
from course_utils.runtime import project_root

SIZE_LIMIT = 30 * 2**20  # bytes of a notebook with its pictures
CELL_LIMIT = 5000
OURS = re.compile(r"(answer|check)-(\d\d-e\d+)")


class Lesson:
    """What the released notebook of a lesson holds: its code cells by id, and its setup.

    Raises:
        ValueError: no such lesson.
    """

    def __init__(self, path: Path) -> None:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        self.number, self.stem = path.stem[:2], path.stem
        self.sources = {cell["id"]: _source(cell).strip() for cell in code}
        tags = {cell["id"]: cell["metadata"].get("tags", []) for cell in code}
        self.setup = next(self.sources[name] for name in tags if "setup" in tags[name])
        self.needed = [self.sources[name] for name in tags if "needed" in tags[name]]
        self.setup_id = next(name for name in tags if "setup" in tags[name])
        self.exercises = exercises.of_lesson(self.number)


@cache
def lessons() -> dict[str, Lesson]:
    """Every stored lesson that asks something, by number."""
    stored = sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    asked = [path for path in stored if exercises.of_lesson(path.stem[:2])]
    return {path.stem[:2]: Lesson(path) for path in asked}


def read(path: Path, name: str = "") -> Work:
    """A submission, understood.

    Args:
        path: the notebook.
        name: how the file was called when it was handed in, if `path` is not called so.

    Raises:
        Unreadable: too large, no notebook, or of no lesson of ours.
    """
    cells = _code_cells(path)
    lesson = _lesson_of(cells, name or path.name)
    found, flags = _answers(cells, lesson)
    kept = []
    for index, cell in enumerate(cells):
        name = cell["id"]
        if index in found:
            kept.append(Cell(cell["source"], exercise=found[index]))
        elif (match := OURS.fullmatch(name)) and match[1] == "check":
            kept.append(Cell("", closes=match[2]))
        elif name == lesson.setup_id and cell["source"].strip() != lesson.setup:
            kept.append(Cell(cell["source"]))  # an import that the student added to the setup
        elif not _is_ours(cell, lesson) and index not in _copies(cells, lesson):
            kept.append(Cell(cell["source"]))
    return Work(lesson.number, tuple(kept), flags)


def _code_cells(path: Path) -> list[dict]:
    """Code cells as {"id", "grade_id", "source"}, each a string."""
    if (size := path.stat().st_size) > SIZE_LIMIT:
        raise Unreadable(f"the file has {size / 2**20:.0f} MB; at most {SIZE_LIMIT >> 20} are read")
    try:
        notebook = json.loads(path.read_text("utf-8-sig"))
        if isinstance(notebook, dict) and "worksheets" in notebook:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                notebook = nbformat.convert(nbformat.from_dict(notebook), 4)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        found = [_plain_cell(cell) for cell in cells]
    except Exception as error:  # whatever a hostile file makes the readers raise
        raise Unreadable(f"this is no notebook ({type(error).__name__}: {error!s:.200})") from None
    if len(found) > CELL_LIMIT:
        raise Unreadable(f"{len(found)} code cells; at most {CELL_LIMIT} are read")
    return found


def _plain_cell(cell: dict) -> dict[str, str]:
    metadata = cell.get("metadata", {})
    nbgrader = metadata.get("nbgrader", {}) if isinstance(metadata, dict) else {}
    grade_id = nbgrader.get("grade_id", "") if isinstance(nbgrader, dict) else ""
    name = cell.get("id", "")
    return {
        "id": name if isinstance(name, str) else "",
        "grade_id": grade_id if isinstance(grade_id, str) else "",
        "source": _source(cell),
    }


def _source(cell: dict) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(map(str, source))


def _lesson_of(cells: list[dict], file_name: str) -> Lesson:
    """The lesson that shares most cells with this notebook, else the one that its name begins."""

    def shared(lesson: Lesson) -> int:
        return sum(_is_ours(cell, lesson) or _named(cell, lesson) for cell in cells)

    best = max(lessons().values(), key=shared)
    if shared(best):
        return best
    for lesson in lessons().values():
        if lesson.stem in file_name:
            return lesson
    legal = ", ".join(lessons())
    raise Unreadable(f"no cell of it belongs to a lesson with exercises; legal: {legal}")


def _named(cell: dict, lesson: Lesson) -> bool:
    match = OURS.fullmatch(cell["grade_id"])
    return match is not None and match[2].startswith(lesson.number)


def _is_ours(cell: dict, lesson: Lesson) -> bool:
    """By id; a notebook that lost its ids, by source."""
    return cell["id"] in lesson.sources or cell["source"].strip() in lesson.sources.values()


def _candidates(cells: list[dict], exercise: exercises.Exercise, lesson: Lesson) -> list[int]:
    """Indices of the cells that may be the answer, best first."""
    wanted, defined = f"answer-{exercise.id}", rf"^(?:async\s+)?def\s+{exercise.name}\b"
    by_id = [i for i, cell in enumerate(cells) if cell["id"] == wanted]
    by_grade = [i for i, cell in enumerate(cells) if cell["grade_id"] == wanted]
    others = [i for i, cell in enumerate(cells) if cell["id"] not in lesson.sources]
    by_def = [i for i in others if re.search(defined, cells[i]["source"], re.MULTILINE)]
    by_def = [i for i in by_def if not cells[i]["grade_id"]]
    return list(dict.fromkeys(by_id + by_grade)) or by_def


def _answers(cells: list[dict], lesson: Lesson) -> tuple[dict[int, str], dict[str, tuple]]:
    """Index -> exercise id, and flags by exercise id."""
    found, flags = {}, {}
    for exercise in lesson.exercises:
        candidates = [i for i in _candidates(cells, exercise, lesson) if i not in found]
        if candidates:
            found[candidates[0]] = exercise.id
        if len(candidates) > 1:
            flags[exercise.id] = ("duplicate",)
    return found, flags


def _copies(cells: list[dict], lesson: Lesson) -> set[int]:
    """Cells that carry an answer's id or grade_id a second time: they are not run."""
    names = {f"answer-{exercise.id}" for exercise in lesson.exercises}
    return {i for i, cell in enumerate(cells) if cell["grade_id"] in names or cell["id"] in names}
