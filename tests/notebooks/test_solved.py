"""The solved copy of every lesson: each stub replaced by its reference, every verdict a PASS."""

import pytest

from course_utils import authoring, exercises
from course_utils.checks import check
from tests.notebooks.lessons import LESSONS, code_cells, output_text, read, tags

each = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


@each
def test_solved_copy_passes_everywhere(path, tmp_path):
    solved = read(authoring.solve(path.name[:2], tmp_path))
    authoring.execute(solved, path.parent)
    verdicts = {
        cell.id: output_text(cell)
        for cell in solved.cells
        if cell.cell_type == "code" and "check-answer" in tags(cell)
    }
    assert verdicts and all("· PASS ·" in text for text in verdicts.values()), verdicts


@each
def test_answers_rely_only_on_setup_and_needed_cells(path):
    """What a grader runs: setup, needed cells and answers, in order; nothing else."""
    names: dict = {"__name__": "__main__"}
    for cell in code_cells(path):
        match = authoring.ANSWER.fullmatch(cell.id)
        if match and match[1] == "answer":
            exercise = exercises.find(match[2])
            exec(exercise.solution, names)
            assert check(exercise.id, names[exercise.name]).verdict.status == "PASS", exercise.id
        elif tags(cell) & {"setup", "needed"}:
            exec(cell.source, names)
