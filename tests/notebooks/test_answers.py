"""What a grader runs of a lesson is enough for every answer."""

import pytest

from course_utils import exercises
from course_utils.checks import check
from course_utils.notebook import file
from tests.notebooks.lessons import LESSONS, code_cells, tags


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_answers_rely_only_on_setup_and_needed_cells(path):
    """What a grader runs: setup, needed cells and answers, in order; nothing else."""
    names: dict = {"__name__": "__main__"}
    for cell in code_cells(path):
        match = file.OURS.fullmatch(cell.id)
        if match and match[1] == "answer":
            exercise = exercises.find(match[2])
            exec(exercise.solution, names)
            assert check(exercise.id, names[exercise.name]).verdict.status == "PASS", exercise.id
        elif tags(cell) & {"setup", "needed"}:
            exec(cell.source, names)
