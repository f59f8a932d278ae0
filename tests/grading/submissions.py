"""Submissions made to order: a released lesson in which some cells are written by a student."""

import json
from pathlib import Path

from course_utils import exercises
from course_utils.grading import box
from course_utils.grading.base import Row
from course_utils.grading.box import Box, Limits
from course_utils.grading.grade import grade
from course_utils.grading.notebook import read
from course_utils.notebook.file import notebook_path
from tests.conftest import require

SEED = 20
SIGNATURE = {
    "08-e1": "def optimal_discriminator(log_p, log_p_g):",
    "08-e2": "def minimax_value(p, p_g, logit, dx):",
    "08-e3": "def jsd_and_value(p, p_g, dx):",
    "08-e4": "def generator_gradients(logit):",
    "08-e5": "def non_saturating_gradient(theta, s2, x, dx):",
}


def require_sandbox() -> None:
    """Skip, or fail where COURSE_REQUIRE names the sandbox."""
    why = box.available()
    require("sandbox", why is None, why or "")


def released(lesson: str) -> dict:
    """The notebook that students get."""
    return json.loads(notebook_path(lesson).read_text("utf-8"))


def solution(exercise_id: str) -> str:
    """A right answer."""
    return exercises.find(exercise_id).solution


def answered(lesson: str, answers: dict[str, str], others: str = "right") -> dict:
    """A notebook with these answers; all others are right, or stubs ("untouched")."""
    notebook = released(lesson)
    for cell in notebook["cells"]:
        name = cell["id"].removeprefix("answer-")
        if cell["id"] == f"answer-{name}" and cell["cell_type"] == "code":
            right = solution(name) if others == "right" else cell["source"]
            cell["source"] = answers.get(name, right)
    return notebook


def code(source: str, name: str = "") -> dict:
    """A code cell as a student adds it."""
    named = {"id": name} if name else {}
    cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": []}
    return {**named, **cell, "execution_count": None}


def position(notebook: dict, name: str) -> int:
    """Where the cell with this id is."""
    return next(i for i, cell in enumerate(notebook["cells"]) if cell.get("id") == name)


def graded(notebook: dict, folder: Path, limits: Limits | None = None) -> dict[str, Row]:
    """The rows of a submission, by exercise."""
    path = folder / "submission.ipynb"
    path.write_text(json.dumps(notebook), "utf-8")
    rows = grade(read(path), "student", SEED, lambda: Box(limits))
    return {row.exercise: row for row in rows}


def wrong(exercise: str) -> str:
    """An answer of lesson 08 that is a constant."""
    return f"{SIGNATURE[exercise]}\n    return 0.123"


def body(exercise: str, lines: str) -> str:
    """An answer of lesson 08 with these lines in it."""
    return "\n    ".join([SIGNATURE[exercise], *lines.splitlines()])
