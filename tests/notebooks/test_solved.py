"""The solved copy of every lesson: each stub replaced by its reference, every verdict a PASS.

Cells that no answer leads to run with the stored edition, in test_stored.py, and not again here.
"""

import pytest
from nbformat import NotebookNode

from course_utils import exercises
from course_utils.checks import check
from course_utils.notebook import authoring, file
from course_utils.present.memory import cells_behind, names_of
from tests.notebooks.lessons import LESSONS, code_cells, output_text, read, tags

each = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def only_what_answers_reach(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Answers, their checks, the cells that read what these lead to, and the cells behind them."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    found = [names_of(cell.source) for cell in code]
    modules = set().union(*(names.imported for names in found))
    reached, wanted = set(), []
    for index, (cell, names) in enumerate(zip(code, found, strict=True)):
        if file.OURS.fullmatch(cell.id) or names.read & reached:
            wanted.append(index)
            reached |= (names.bound | names.changed) - modules
    listed = [{"source": cell.source, "tags": sorted(tags(cell))} for cell in code]
    return [code[index] for index in cells_behind(listed, wanted)]


@each
def test_solved_copy_passes_everywhere(path, tmp_path):
    solved = read(authoring.solve(path.name[:2], tmp_path))
    solved.cells = only_what_answers_reach(solved.cells)
    assert len(solved.cells) > len(code_cells(path)) / 3
    file.execute(solved, path.parent)
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
        match = file.OURS.fullmatch(cell.id)
        if match and match[1] == "answer":
            exercise = exercises.find(match[2])
            exec(exercise.solution, names)
            assert check(exercise.id, names[exercise.name]).verdict.status == "PASS", exercise.id
        elif tags(cell) & {"setup", "needed"}:
            exec(cell.source, names)
