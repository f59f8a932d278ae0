"""Every step, claim, slip, exercise and demo that the plan gives a lesson is in its notebook."""

import pytest

from tests.notebooks.lessons import (
    ASSERTIONS,
    CONTROLS,
    LESSONS,
    LINES_OF,
    PLAN,
    code_cells,
    labels,
    output_text,
    tags,
)

each = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def unproved(plan: dict, asserted: set[str]) -> set[str]:
    """Steps and claims of a lesson without a line; a claim counts where all its lines do."""
    carried = {claim for claim, lines in LINES_OF.items() if asserted.issuperset(lines)}
    return set(plan["steps"] + plan["also"] + plan["claims"]) - asserted - carried


@each
def test_every_step_and_slip_is_executed(path):
    plan = PLAN[path.name[:2]]
    assert unproved(plan, labels(path, ASSERTIONS)) == set()
    assert set(plan["slips"]) - labels(path, {"rejects"}) == set()


def test_a_claim_counts_where_all_its_lines_are_asserted():
    """Lesson 14: K19 is S8 and S9; a step is never carried by others."""
    plan, all_lines = PLAN["14"], set(PLAN["14"]["steps"])
    assert unproved(plan, all_lines) == set()
    assert unproved(plan, all_lines - {"S9"}) == {"S9", "K19"}


def test_the_lines_of_a_claim_are_steps_of_a_lesson_that_makes_it():
    """Of a claim: at home in its lesson. Of an older step: in a lesson that does not repeat it."""
    for label, lines in LINES_OF.items():
        (home,) = {n for n, plan in PLAN.items() if set(lines) & set(plan["steps"])}
        assert lines and set(lines) <= set(PLAN[home]["steps"]), label
        if label.startswith("K"):
            assert label in PLAN[home]["claims"], label


@each
def test_every_line_left_its_row_in_the_stored_output(path):
    plan = PLAN[path.name[:2]]
    for cell in code_cells(path):
        printed = output_text(cell)
        for label in plan["steps"] + plan["also"] + plan["claims"]:
            if any(f'line.{name}("{label}"' in cell.source for name in ASSERTIONS):
                assert f"{label} " in printed and "holds" in printed, (cell.id, label)
                assert "nbval-check-output" in tags(cell), f"{cell.id} is not compared"


@each
def test_steps_have_one_home(path):
    """A step that belongs to another lesson appears here only where the plan repeats it."""
    lesson = path.name[:2]
    at_home = {step: number for number, plan in PLAN.items() for step in plan["steps"]}
    also = set(PLAN[lesson]["also"])
    strays = {s for s in labels(path, ASSERTIONS) if at_home.get(s, lesson) != lesson} - also
    assert strays == set()


@each
def test_exercises_and_demos_are_all_there(path):
    lesson, plan = path.name[:2], PLAN[path.name[:2]]
    wanted = {f"{lesson}-e{number}" for number in range(1, plan["exercises"] + 1)}
    assert labels(path, {"check"}) >= wanted
    demos = [cell for cell in code_cells(path) if any(f".{c}(" in cell.source for c in CONTROLS)]
    assert len(demos) >= plan["demos"]


@each
def test_every_section_has_its_heading(path):
    from tests.notebooks.lessons import read

    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    lacking = [
        number for number in PLAN[path.name[:2]]["sections"] if f"\n## {number} " not in text
    ]
    first = [number for number in lacking if not text.startswith(f"## {number} ")]
    assert first == []


def test_the_reader_of_calls_sees_what_is_missing():
    from tests.notebooks.lessons import calls

    source = 'line.equal("A8", left, right, "KL")\nline.rejects("E08", a, b, "x")\nf(label)'
    assert calls(source) == [("equal", "A8"), ("rejects", "E08"), ("f", None)]
