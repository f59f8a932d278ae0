"""The start page says what is true of the lessons: titles, links, map, and how a verdict reads."""

import re

from course_utils.checks import Shown
from course_utils.exercises import find
from course_utils.exercises.base import judge
from course_utils.observing import observe
from course_utils.plots.start_here import PLACES, dependency_map
from tests.notebooks.lessons import LESSONS, PLAN, ROOT, code_cells, output_text, read

PAGE = read(ROOT / "notebooks" / "start_here.ipynb")
TEXT = "\n".join(cell.source for cell in PAGE.cells if cell.cell_type == "markdown")


def test_every_lesson_is_listed_with_its_title():
    for number, plan in PLAN.items():
        assert f"{number} · {plan['title']}" in TEXT, number
    assert sorted(PLACES) == sorted(PLAN)


def test_lessons_that_are_there_are_linked_and_the_others_are_coming():
    there = {path.name for path in LESSONS}
    assert set(re.findall(r"\]\((\d\d_\w+\.ipynb)\)", TEXT)) == there
    coming = set(re.findall(r"^\| (\d\d) · .* \*\(coming\)\*", TEXT, re.MULTILINE))
    assert coming == set(PLAN) - {name[:2] for name in there}
    assert (
        set(re.findall(r"\d\d", dependency_map().alt.split("ready now")[1])) == set(PLAN) - coming
    )


def test_the_verdicts_on_the_page_are_those_of_the_check():
    (cell,) = [c for path in LESSONS for c in code_cells(path) if c.id == "00-1-first-try"]
    exercise = find("00-e1")
    passed = repr(Shown(judge(exercise, exercise.reference, observe)))
    for verdict in (output_text(cell), passed, "00-e1 · TODO · write the body above"):
        assert verdict in TEXT
