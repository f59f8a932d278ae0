"""The stored edition: outputs present and sound, tags and ids right, figures with alt text."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell
from PIL import Image

from course_utils import exercises
from course_utils.notebook.file import OURS, VIEW
from tests.notebooks.lessons import LESSONS, NOTEBOOKS, code_cells, read, tags

RELEASED = Path(__file__).with_name("released_ids.json")
TAGS = {
    "setup", "figure", "step", "check", "nbval-check-output", "nbval-ignore-output", "widget",
    "train", "exercise", "check-answer", "needed", "deeper",
}  # fmt: skip
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def pictures(cell):
    return [out for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]


@each
def test_stored_outputs_are_there_and_without_errors(path):
    for cell in code_cells(path):
        kinds = [output.output_type for output in cell.outputs]
        assert "error" not in kinds, cell.id
        assert not any(out.get("name") == "stderr" for out in cell.outputs), cell.id
        if tags(cell) & {"figure", "widget", "check", "check-answer"}:
            assert kinds, f"{cell.id} is stored without its output"


@each
def test_a_cell_that_draws_is_folded_at_the_projector(path):
    drawing = [c for c in code_cells(path) if re.search(r"plot\.show|widgets\.explore", c.source)]
    assert [cell.id for cell in drawing if not tags(cell) & {"figure", "widget"}] == []


@each
def test_nothing_of_one_run_is_stored(path):
    notebook = read(path)
    assert "widgets" not in notebook.metadata and "kernelspec" in notebook.metadata
    for count, cell in enumerate(code_cells(path), start=1):
        assert cell.execution_count == count and "execution" not in cell.metadata, cell.id
        assert not any(VIEW in out.get("data", {}) for out in cell.outputs), cell.id


@each
def test_every_figure_has_alt_text_and_is_not_blank(path):
    for cell in code_cells(path):
        for output in pictures(cell):
            png = base64.b64decode(output.data["image/png"])
            few = Image.open(io.BytesIO(png)).convert("RGB").getcolors(maxcolors=5)
            assert few is None, f"{cell.id}: blank figure, {few}"
            assert len(png) <= 60_000, f"{cell.id}: a figure of {len(png)} bytes"
            alt = output.data["text/html"].partition('alt="')[2].partition('"')[0]
            assert len(alt) > 30, f"{cell.id}: alt text {alt!r}"


@each
def test_figure_and_widget_cells_show_a_figure(path):
    for cell in code_cells(path):
        if tags(cell) & {"figure", "widget"}:
            assert pictures(cell), f"{cell.id} shows no figure"


@each
def test_cells_are_small_and_no_plumbing_is_in_view(path):
    assert path.stat().st_size <= 3_000_000
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= 30, cell.id
        assert "matplotlib" not in cell.source and "plt." not in cell.source, cell.id


@each_lesson
def test_the_setup_cell_imports_and_starts(path):
    (setup,) = [cell for cell in code_cells(path) if "setup" in tags(cell)]
    lines = setup.source.splitlines()
    assert len(lines) <= 10
    assert lines[-1] == f"rt = runtime.start(lesson={int(path.name[:2])}, seed=0)"
    assert all(line.startswith(("import ", "from ")) for line in lines[:-1] if line)


@each
def test_ids_are_unique_and_tags_are_known(path):
    cells = read(path).cells
    assert len({cell.id for cell in cells}) == len(cells)
    for cell in cells:
        assert tags(cell) <= TAGS, (cell.id, tags(cell) - TAGS)


@each
def test_released_ids_are_kept_or_withdrawn_for_ever(path):
    released = json.loads(RELEASED.read_text())[path.stem]
    stored = {cell.id for cell in read(path).cells}
    withdrawn = set(released["withdrawn"])
    kept = {cell_id for cell_id in withdrawn if cell_id.startswith(("answer-", "check-"))}
    assert kept == set(), "a student's work is found by these ids"
    assert stored & withdrawn == set(), "a withdrawn id is never given to another cell"
    assert set(released["stored"]) <= stored, "cut on purpose? python -m tests.notebooks.release"


@each_lesson
def test_compared_cells_are_the_checks(path):
    for cell in code_cells(path):
        if tags(cell) & {"check", "check-answer"}:
            assert "nbval-check-output" in tags(cell), cell.id
        if tags(cell) & {"widget", "train"}:
            assert "nbval-ignore-output" in tags(cell), cell.id


@each_lesson
def test_code_follows_a_sentence(path):
    previous = None
    for cell in read(path).cells:
        alone = cell.cell_type == "code" and not cell.id.startswith(("check-", "use-"))
        if alone:
            assert previous is not None and previous.cell_type == "markdown", cell.id
        previous = cell


@each_lesson
def test_a_step_has_one_displayed_equation(path):
    for cell in read(path).cells:
        if "step" in tags(cell):
            assert cell.source.count("$$") == 2, f"{cell.id}: one displayed line per step"


def without_heading(cells) -> list[str]:
    """The first cells of side paths (runs of cells tagged `deeper`) whose heading is none."""
    found, before = [], set()
    for cell in cells:
        begins = "deeper" in tags(cell) - before
        head = re.match(r"#{3,} Deeper: \S", cell.source) and cell.cell_type == "markdown"
        before = tags(cell)
        if begins and not head:
            found.append(cell.id)
    return found


@each_lesson
def test_the_heading_of_a_side_path_says_so(path):
    assert without_heading(read(path).cells) == []


def test_a_side_path_without_its_heading_is_found():
    aside = {"metadata": {"tags": ["deeper"]}}
    core, code = new_markdown_cell("text"), new_code_cell("x = 1", **aside)
    head = new_markdown_cell("### Deeper: a second proof", **aside)
    bare = new_markdown_cell("### A second proof", **aside)
    assert without_heading([core, head, code, core, bare, code, core, code]) == [bare.id, code.id]


@each_lesson
def test_sections_stay_short(path):
    section, count = "", 0
    for cell in read(path).cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            section, count = cell.source.splitlines()[0], 0
        count += 1
        assert count <= 30, f"{section}: more than 30 cells"


@each_lesson
def test_answer_and_check_cells_match_the_exercises(path):
    there = {}
    for cell in read(path).cells:
        match = OURS.fullmatch(cell.id)
        if match:
            there.setdefault(match[2], {})[match[1]] = cell
    asked = exercises.of_lesson(path.name[:2])
    assert sorted(there) == sorted(exercise.id for exercise in asked)
    for exercise in asked:
        answer, check = there[exercise.id]["answer"], there[exercise.id]["check"]
        assert answer.source == exercise.stub, f"{exercise.id}: the stub is not the exercise's"
        assert check.source.splitlines()[-1] == f'check("{exercise.id}", {exercise.name})'
        assert check.metadata.nbgrader.points == exercise.points
        assert f"{exercise.id} · TODO" in check.outputs[0].data["text/plain"]
        stars = "★" * exercise.stars
        text = "\n".join(cell.source for cell in read(path).cells)
        assert f"Exercise {exercise.id} · " in text and f"{stars} · {exercise.minutes} min" in text
