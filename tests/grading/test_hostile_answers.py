"""Answers that pretend: remembered, counted, right but for their form; each gets what it earns."""

import functools
import math
import pickle

import pytest
import torch

from course_utils import exercises
from course_utils.exercises.base import judge
from course_utils.grading import wire
from course_utils.grading.base import Cell, Work
from course_utils.grading.grade import hidden_seed
from course_utils.grading.notebook import lessons
from course_utils.observing import observe
from tests.grading.submissions import SEED, answered, graded, require_sandbox, solution

REMEMBERS = """import pickle
TABLE = pickle.loads(bytes.fromhex("{table}"))
def key(inputs):
    return repr([x.tolist() if torch.is_tensor(x) else x for x in inputs])
def {name}(*inputs):
    found = TABLE.get(key(inputs))
    return 0.123 if found is None else found"""
COUNTS = """import pickle
VALUES = pickle.loads(bytes.fromhex("{values}"))
CALLS = 0
def {name}(*inputs):
    global CALLS
    CALLS += 1
    return VALUES[CALLS - 1] if CALLS <= len(VALUES) else 0.123"""
IN_PLACE = """
_right_ = {name}
def {name}(*inputs):
    found = _right_(*inputs)
    for x in inputs:
        if torch.is_tensor(x):
            x.add_(1)
    return found"""
OTHER_FORM = """
_right_ = {name}
def {name}(*inputs):
    found = _right_(*inputs)
    change = lambda x: {change}
    return tuple(map(change, found)) if isinstance(found, tuple) else change(found)"""


def remembered(exercise_id: str) -> tuple[str, str]:
    """Two answers that know the inputs of the notebook's own check: by value and by order."""
    exercise = exercises.find(exercise_id)
    table, values = {}, []

    def recorded(answer, *inputs):
        seen = observe(answer, *inputs)
        plain = [x.tolist() if torch.is_tensor(x) else x for x in inputs]
        table[repr(plain)] = seen.value
        values.append(seen.value)
        return seen

    scope = {"torch": torch, "Tensor": torch.Tensor, "math": math}
    exec(exercise.solution, scope)
    assert judge(exercise, scope[exercise.name], recorded).status == "PASS"
    by_value = REMEMBERS.format(table=pickle.dumps(table).hex(), name=exercise.name)
    by_order = COUNTS.format(values=pickle.dumps(values).hex(), name=exercise.name)
    for source in (by_value, by_order):  # in the student's own notebook both pass
        exec(source, scope)
        assert judge(exercise, scope[exercise.name], observe).status == "PASS"
    return by_value, by_order


def test_what_is_remembered_of_the_public_check_earns_no_more_than_a_constant(constant, tmp_path):
    by_value = remembered("08-e1")[0], remembered("08-e5")[0]
    by_order = remembered("08-e2")[1], remembered("08-e4")[1]
    names = ("08-e1", "08-e5", "08-e2", "08-e4")
    rows = graded(answered("08", dict(zip(names, by_value + by_order, strict=True))), tmp_path)
    for name in names[:3]:
        assert rows[name].status == "NOT YET" and rows[name].points <= constant[name], rows[name]
    in_range = rows["08-e4"]  # its first properties are ranges: these hold for other inputs, too
    assert in_range.status == "NOT YET" and in_range.points < in_range.max
    assert rows["08-e3"].status == rows["08-e6"].status == "PASS"


def test_the_form_of_an_answer_counts(tmp_path):
    require_sandbox()
    forms = {
        "08-e1": IN_PLACE,
        "08-e2": OTHER_FORM.replace("{change}", "x[None]"),
        "08-e3": OTHER_FORM.replace("{change}", "x.half()"),
        "08-e4": OTHER_FORM.replace("{change}", "x.to(torch.complex64)"),
        "08-e5": OTHER_FORM.replace("{change}", "x > 0"),
        "08-e6": OTHER_FORM.replace("{change}", "x.T"),
    }
    cells = {
        name: solution(name) + form.format(name=exercises.find(name).name)
        for name, form in forms.items()
    }
    rows = graded(answered("08", cells), tmp_path)
    for row in rows.values():
        assert row.status == "NOT YET", row
    assert (
        rows["08-e1"].points == 0 and "changed its input number 1" in rows["08-e1"].failure.evidence
    )
    assert rows["08-e2"].points == rows["08-e4"].points == rows["08-e5"].points == 0
    assert "shape (1,)" in rows["08-e2"].failure.evidence


def test_another_upload_gets_other_inputs():
    """What a feedback page showed of the inputs is worth nothing the next time."""
    exercise = exercises.find("08-e1")
    works = [
        Work("08", (Cell(source, exercise="08-e1"),)) for source in ("x = 1", "x = 2", "x = 1")
    ]
    drawn = [hidden_seed(work, "ann", SEED, exercise) for work in works]
    assert drawn[0] == drawn[2] != drawn[1]
    assert drawn[0] not in (
        hidden_seed(works[0], "bob", SEED, exercise),
        hidden_seed(works[0], "ann", SEED + 1, exercise),
    )
    assert all(0 <= seed < 2**62 for seed in drawn)


ODD = {
    "a column": torch.zeros(20_000, 1),
    "a row": torch.zeros(1, 20_000),
    "nothing": torch.zeros(0),
    "text": "x" * 100_000,
    "deep": functools.reduce(lambda inner, _: [inner], range(200), 1.0),
    "large": 10**4000,
    "ragged": [[1.0], [2.0, 3.0], "x"],
    "a dict": {"x": torch.ones(2)},
    "NaN": torch.full((3,), torch.nan),
}


@pytest.mark.parametrize("name", ODD)
def test_no_value_from_the_box_stops_a_check(name):
    """Of every exercise: whatever comes back is NOT YET, with bounded evidence; nothing raises."""
    for lesson in lessons().values():
        for exercise in lesson.exercises:

            def lies(_, *inputs):
                after = tuple(x if torch.is_tensor(x) else None for x in inputs)
                record = wire.encode(
                    wire.Observed(ODD[name], (None,) * len(inputs), (0,) * len(inputs), after)
                )
                return wire.observed(wire.decode(record[wire.LENGTH.size :]), len(inputs))

            verdict = judge(exercise, exercise.name, lies, seed=1)
            assert verdict.status == "NOT YET", exercise.id
