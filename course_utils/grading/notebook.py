"""Read a submitted notebook: find the answers, keep the helpers, leave out what is ours.

An answer is found by its cell's id, else by nbgrader's `grade_id`, else by a `def` of its name. Of
two candidates the first counts that is no untouched stub, and that is reported. Any other code cell
that is not one of the lesson's runs too, in document order, and of a changed cell of the lesson the
imports and functions that were added: an answer may need them.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from course_utils import exercises
from course_utils.grading.base import Cell, Unreadable, Work
from course_utils.grading.names import PACKAGE, helpers, is_stub, look, reached
from course_utils.notebook.file import OURS
from course_utils.place import ROOT

SIZE_LIMIT = 30 * 2**20  # bytes of a notebook with its pictures
CELL_LIMIT, CODE_LIMIT = 5000, 2**20  # code cells and their characters: a lesson has 40,000
TOP = r"^(?:async[ \t]+)?(?:def|class)[ \t]+NAME\b"
DEFINED = rf"^[ \t]*{TOP[1:]}"
ASSIGNED = r"^NAME[ \t]*(?::[^=\n]*)?=(?!=)(?![ \t]*use\()"
IMPORTED = r"^[ \t]*(?:from|import)\b[^\n]*\bNAME\b"
_editions: list[Path] = []


class Lesson:
    """What the released notebook of a lesson holds: its code cells by id, and its setup."""

    def __init__(self, stem: str, cells: list[dict]) -> None:
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        self.number, self.stem = stem[:2], stem
        self.sources = {cell["id"]: _source(cell).strip() for cell in code}
        tags = {cell["id"]: cell["metadata"].get("tags", []) for cell in code}
        self.setup = next(self.sources[name] for name in tags if "setup" in tags[name])
        self.needed = [self.sources[name] for name in tags if "needed" in tags[name]]
        self.setup_id = next(name for name in tags if "setup" in tags[name])
        self.given = frozenset([self.setup, *self.needed])
        self.texts = frozenset(_source(cell).strip() for cell in code)
        self.exercises = exercises.of_lesson(self.number)


@cache
def lessons() -> dict[str, Lesson]:
    """Every stored lesson that asks something, by number."""
    folder = _editions[-1] if _editions else ROOT / "notebooks"
    stored = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    asked = [path for path in stored if exercises.of_lesson(path.stem[:2])]
    read_in = {path.stem: json.loads(path.read_text("utf-8"))["cells"] for path in asked}
    return {stem[:2]: Lesson(stem, cells) for stem, cells in read_in.items()}


@contextmanager
def edition(folder: Path) -> Iterator[None]:
    """In this block the lessons are those of a folder: a student writes into the stored ones."""
    _editions.append(folder)
    lessons.cache_clear()
    try:
        yield
    finally:
        _editions.pop()
        lessons.cache_clear()


def read(path: Path, name: str = "") -> Work:
    """A submission, understood.

    Args:
        path: the notebook.
        name: how the file was called when it was handed in, if `path` is not called so.

    Raises:
        Unreadable: too large, no notebook, or of no lesson of ours.
    """
    try:
        return _understood(_code_cells(path), name or path.name)
    except Unreadable:
        raise
    except Exception as error:  # a mistake of ours is to cost this one file, never the batch
        told = f"it could not be understood ({type(error).__name__}: {error!s:.200})"
        raise Unreadable(told) from error


def _understood(cells: list[dict], name: str) -> Work:
    lesson = _lesson_of(cells, name)
    found, left_out, flags = _answers(cells, lesson)
    kept, own = [], False
    for index, cell in enumerate(cells):
        match = OURS.fullmatch(cell["id"])
        if index in found:
            first, *others = found[index]
            kept.append(Cell(cell["source"], exercise=first))
            kept += [Cell("", exercise=other) for other in others]  # one cell, several answers
        elif match and match[1] == "check":
            kept.append(Cell(_added(cell, lesson), closes=match[2]))
        elif cell["source"].strip() in lesson.given and own:
            kept.append(Cell(cell["source"]))  # what ran above may have changed its names
        elif cell["id"] == lesson.setup_id and cell["source"].strip() != lesson.setup:
            kept.append(Cell(cell["source"]))  # an import that the student added to the setup
        elif cell["id"] in lesson.sources and not _is_marked(cell, lesson):
            kept.append(Cell(_added(cell, lesson)))
        elif cell["source"].strip() not in lesson.texts and index not in left_out:
            own = True
            kept.append(Cell(cell["source"]))
    whole = [cell for cell in kept if cell.source or cell.closes or cell.exercise]
    return Work(lesson.number, tuple(whole), flags)


def _added(cell: dict, lesson: Lesson) -> str:
    """The imports and functions that a student wrote into a cell of ours; nothing else of it."""
    ours = lesson.sources.get(cell["id"], "")
    if cell["source"].strip() == ours:
        return ""
    before = set(_helpers_of_ours(ours))
    return "\n".join(text for text in helpers(cell["source"]) if text not in before)


_helpers_of_ours = cache(helpers)


def _code_cells(path: Path) -> list[dict]:
    """Code cells as {"id", "grade_id", "source"}, each a string."""
    if (size := path.stat().st_size) > SIZE_LIMIT:
        raise Unreadable(f"the file has {size / 2**20:.0f} MB; at most {SIZE_LIMIT >> 20} are read")
    try:
        notebook = json.loads(path.read_text("utf-8-sig"))
        old = [] if "cells" in notebook else notebook["worksheets"]  # formats 2 and 3
        cells = [cell for sheet in old or [notebook] for cell in sheet["cells"]]
        cells = [cell for cell in cells if cell["cell_type"] == "code"]
        found = [plain_cell(cell) for cell in cells]
    except Exception as error:  # whatever a hostile file makes the readers raise
        raise Unreadable(f"this is no notebook ({type(error).__name__}: {error!s:.200})") from None
    if len(found) > CELL_LIMIT:
        raise Unreadable(f"{len(found)} code cells; at most {CELL_LIMIT} are read")
    if (code := sum(len(cell["source"]) for cell in found)) > CODE_LIMIT:
        raise Unreadable(f"{code} characters of code; at most {CODE_LIMIT} are read")
    return found


def plain_cell(cell: dict) -> dict[str, str]:
    """What tells a cell: {"id", "grade_id", "source"}, each a string."""
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
    source = cell["source"] if "source" in cell else cell["input"]  # of formats 2 and 3
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
    return cell["id"] in lesson.sources or cell["source"].strip() in lesson.texts


def _is_marked(cell: dict, lesson: Lesson) -> bool:
    """Whether an id or grade_id says that an answer stands here."""
    names = {f"answer-{exercise.id}" for exercise in lesson.exercises}
    return cell["grade_id"] in names or cell["id"] in names


def _answers(cells: list[dict], lesson: Lesson) -> tuple[dict[int, list[str]], set[int], dict]:
    """Index -> exercise ids; the indices of second answers (not run); flags by exercise."""
    found, left_out, flags = {}, set(), {}
    for exercise in lesson.exercises:
        answers = candidates(cells, exercise, lesson)
        if answers:
            found.setdefault(answers[0], []).append(exercise.id)
            left_out |= set(answers[1:])
        if len(answers) > 1:
            flags[exercise.id] = ("duplicate",)
    return found, left_out - set(found), flags


def candidates(cells: list[dict], exercise: exercises.Exercise, lesson: Lesson) -> list[int]:
    """Indices of the cells that may be the answer: the first counts, the others are not run.

    Of the cells that carry the answer's id or grade_id those that bind its name: a cell that was
    split carries the mark twice. An untouched stub gives way to any other cell that defines it.
    """
    wanted, name = f"answer-{exercise.id}", re.escape(exercise.name)
    by_id = [i for i, cell in enumerate(cells) if cell["id"] == wanted]
    by_grade = [i for i, cell in enumerate(cells) if cell["grade_id"] == wanted]
    marked = list(dict.fromkeys(by_id + by_grade))
    ours = lesson.texts - {lesson.sources.get(wanted, "")}
    other = [i for i, cell in enumerate(cells) if cell["source"].strip() not in ours]
    free = [i for i in other if not _is_marked(cells[i], lesson)]
    free = [i for i in free if cells[i]["id"] not in lesson.sources]

    def among(indices: list[int], *patterns: str) -> list[int]:
        bound = re.compile("|".join(patterns).replace("NAME", name), re.MULTILINE)
        return [i for i in indices if bound.search(cells[i]["source"])]

    def untouched(index: int) -> bool:
        return is_stub(cells[index]["source"], exercise.name, exercise.id)

    binding = sorted(among(marked, DEFINED, ASSIGNED, IMPORTED), key=untouched)
    if binding and not untouched(binding[0]):
        return binding
    if marked:
        return among(free, TOP) + binding or marked[:1]
    return among(free, TOP) or among(other, TOP) or among(free, ASSIGNED)


class Leads:
    """Where the names of a submission lead; only names are followed.

    Args:
        work: its cells are each looked at once.
    """

    def __init__(self, work: Work) -> None:
        lesson = lessons()[work.lesson]
        self._names = {source: look(source) for source in (cell.source for cell in work.cells)}
        self._all = [look(lesson.setup), *self._names.values()]
        self._needed = reached(self._all, [exercise.name for exercise in lesson.exercises])

    def are_idle(self, cell: Cell) -> bool:
        """Whether no answer leads to this cell."""
        return not cell.exercise and not self._names[cell.source].binds & self._needed

    def use_package(self, exercise: exercises.Exercise) -> bool:
        """Whether an answer leads to a function of our maths: an instructor is to look."""
        return PACKAGE in reached(self._all, (exercise.name, "*"))
