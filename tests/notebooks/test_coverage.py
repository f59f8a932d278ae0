"""Every step, claim, slip, exercise and demo that the plan gives a lesson is in its notebook."""

import pytest

from tests.notebooks.lessons import (
    ASSERTIONS,
    CONTROLS,
    LESSONS,
    PLAN,
    code_cells,
    labels,
    output_text,
    tags,
)

each = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def missing(path) -> dict[str, set[str]]:
    plan = PLAN[path.name[:2]]
    wanted = set(plan["steps"] + plan["also"] + plan["claims"])
    return {
        "asserted": wanted - labels(path, ASSERTIONS),
        "rejected": set(plan["slips"]) - labels(path, {"rejects"}),
    }


@each
def test_every_step_and_slip_is_executed(path):
    assert missing(path) == {"asserted": set(), "rejected": set()}


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
