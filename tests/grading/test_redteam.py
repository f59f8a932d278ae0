"""What a tester broke: submissions and classes that cost others something cost them no more."""

import json
import resource
import time

import pytest

from course_utils import exercises
from course_utils.grading import notebook as reader, wire
from course_utils.grading.base import Cell, Unreadable, Work
from course_utils.grading.notebook import read, uses_package
from tests.grading.submissions import answered, position

NO_BREAK = "def show(x):\n    print(f\"{'a\u00a0b'.join(x)}\")"  # ast.unparse cannot write it


def understood(notebook: dict, folder) -> Work:
    path = folder / "x.ipynb"
    path.write_text(json.dumps(notebook), "utf-8")
    return read(path)


def test_a_function_added_to_a_cell_of_ours_is_kept_as_it_was_written(tmp_path):
    notebook = answered("08", {})
    cell = notebook["cells"][position(notebook, "check-08-e1")]
    decorated = "import os; import sys\n@staticmethod\n# why\ndef two():\n    return 2  # two"
    cell["source"] = f"{NO_BREAK}\nx = 1\n{decorated}\n%time\n" + "".join(cell["source"])
    kept = [found for found in understood(notebook, tmp_path).cells if found.closes == "08-e1"]
    expected = decorated.replace("; ", "\n").removesuffix("  # two")
    assert kept == [Cell(f"{NO_BREAK}\n{expected}", closes="08-e1")]


def test_a_mistake_in_reading_costs_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_answers", lambda *_: 1 / 0)
    with pytest.raises(Unreadable, match="ZeroDivisionError"):
        understood(answered("08", {}), tmp_path)


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_shape_of_very_many_sides_is_refused_at_once(kind):
    name = "float64" if kind == "tensor" else "<f8"
    sides = b",".join([b"9"] * 200_000)
    text = b'{"%s":"%s","shape":[%s],"grad":false}' % (kind.encode(), name.encode(), sides)
    begun = time.process_time()
    with pytest.raises(wire.Malformed):
        wire.decode(wire.LENGTH.pack(len(text)) + text)
    assert time.process_time() - begun < 1


def test_many_names_in_one_statement_cost_the_grader_little():
    names = ",".join(chr(0x4E00 + i) for i in range(3000))
    exercise = exercises.find("08-e1")
    helper = Cell(f"{names}=h,{names}\nfrom course_utils.gan import loss as h")
    answer = Cell(f"def {exercise.name}(a, b):\n    return {chr(0x4E05)}", exercise=exercise.id)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert uses_package(Work("08", (helper, answer)), exercise)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 2**10  # kB
