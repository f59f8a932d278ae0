"""`course release`: the files that students get, or a course directory for nbgrader.

Students get the stored edition, byte for byte: stubs, no references, nothing hidden. nbgrader wants
the other side: a source with the solutions in it, marked, from which it makes what students get.
"""

from collections.abc import Iterable
from pathlib import Path

import nbformat

from course_utils import exercises
from course_utils.exercises.base import Exercise
from course_utils.notebook.file import OURS, notebook_path
from course_utils.place import write_whole

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
CONFIG_NAME = "nbgrader_config.py"
CONFIG = '''"""nbgrader's settings for this course.

With the course's environment activated, in the folder of this file:

    nbgrader generate_assignment 05_elbo    writes release/05_elbo: what students get
    nbgrader autograde 05_elbo              runs and grades submitted/STUDENT/05_elbo
"""

from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import ClearSolutions

c = get_config()  # noqa: F821 - nbgrader defines it


class OurStub(ClearSolutions):
    """Our stub's last line in the place of a solution: a check says TODO to it."""

    def preprocess_cell(self, cell, resources, cell_index):
        """Clear one cell; other solutions than ours are cleared as nbgrader does it."""
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        usual = self.code_stub
        if name.startswith("answer-"):
            line = f'raise NotImplementedError("{name.removeprefix("answer-")}")'
            self.code_stub = {**usual, "python": line}
        try:
            return super().preprocess_cell(cell, resources, cell_index)
        finally:
            self.code_stub = usual


usual = GenerateAssignment.class_traits()["preprocessors"].default()
c.GenerateAssignment.preprocessors = [OurStub if p is ClearSolutions else p for p in usual]

# A warning on stderr is no error: without this a check cell that warns gets no points.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = "[\\\\s\\\\S]"
c.Execute.timeout = 120  # seconds for a cell; a whole lesson takes less than 60
'''


def release(lessons: Iterable[str], to: Path, nbgrader: bool = False) -> list[Path]:
    """Write the notebooks of these lessons into a folder; returns what was written.

    Args:
        lessons: their numbers: "05".
        to: the folder; it is made where there is none.
        nbgrader: write an nbgrader course directory instead: source/05_elbo/05_elbo.ipynb with the
            solutions between marks, and nbgrader_config.py, kept where there is one.

    Raises:
        ValueError: no such lesson, a stored answer that is not the stub, or a file in the way;
            then nothing was written.
    """
    stored = dict.fromkeys(notebook_path(lesson) for lesson in lessons)
    planned = {}
    for source in stored:
        data = source.read_bytes()
        _refuse_answers(source, data)
        if nbgrader:
            planned[to / "source" / source.stem / source.name] = with_solutions(data)
        else:
            planned[to / source.name] = data
    if nbgrader and not (to / CONFIG_NAME).is_file():
        planned[to / CONFIG_NAME] = CONFIG.encode()
    if in_the_way := [str(place) for target in planned if (place := _in_the_way(target))]:
        raise ValueError(f"in the way, so nothing was written: {', '.join(in_the_way)}")
    return [write_whole(target, data, new=True) for target, data in planned.items()]


def with_solutions(notebook: bytes) -> bytes:
    """A lesson with the reference in every answer cell, its body between nbgrader's marks."""
    lesson = nbformat.reads(notebook.decode(), as_version=4)
    for cell in lesson.cells:
        match = OURS.fullmatch(cell.id)
        if match and match[1] == "answer":
            cell.source = marked(exercises.find(match[2]))
    return f"{nbformat.writes(lesson)}\n".encode()


def marked(exercise: Exercise) -> str:
    """The reference, its body between the marks."""
    head = exercise.stub.splitlines()[:-1]
    body = exercise.solution.splitlines()[len(head) :]
    return "\n".join([*head, f"    {BEGIN}", *body, f"    {END}"])


def _in_the_way(target: Path) -> Path | None:
    """What stands where a file or one of its folders should be."""
    if target.exists() or target.is_symlink():
        return target
    above = [target.parent, *target.parent.parents]
    return next((folder for folder in above if folder.exists() and not folder.is_dir()), None)


def _refuse_answers(source: Path, data: bytes) -> None:
    """An answer in the stored edition was not meant for students."""
    for cell in nbformat.reads(data.decode(), as_version=4).cells:
        match = OURS.fullmatch(cell.id)
        if match and match[1] == "answer" and cell.source != exercises.find(match[2]).stub:
            raise ValueError(
                f"{cell.id} in {source} is not the stub: `make edit LESSON={match[3]}`, then `make "
                f"sync LESSON={match[3]}`, puts the stub there and keeps the rest of the lesson"
            )
