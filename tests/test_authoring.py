"""Lessons as text: a round trip loses nothing, a broken cell stores nothing, stubs are filled."""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from course_utils import exercises
from course_utils.notebook import authoring, file

SCRIPT = """\
# %% [markdown] cell_id="05-title" tags=["step"]
# # 05 · A title with $x$

# %% cell_id="05-setup" tags=["setup"]
import torch
from torch import Tensor

print(torch.tensor([1, 2]).sum().item())

# %%
3 * 7

# %% cell_id="answer-05-e2" tags=["exercise"]
raise NotImplementedError("05-e2")

# %% cell_id="check-05-e2" tags=["check-answer", "nbval-check-output"]
1 + 1
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project: scripts in edit/, notebooks in notebooks/."""
    for module in (authoring, file):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "edit").mkdir()
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def store(project, text=SCRIPT, run=False):
    script = project / "edit" / "05_small.py"
    script.write_text(text)
    return nbformat.read(authoring.sync(script, run=run), as_version=4)


def test_sync_keeps_ids_and_tags_and_gives_new_cells_an_id(project):
    cells = store(project).cells
    assert [cells[i].id for i in (0, 1, 3, 4)] == [
        "05-title", "05-setup", "answer-05-e2", "check-05-e2"
    ]  # fmt: skip
    assert cells[1].metadata.tags == ["setup"] and "cell_id" not in cells[1].metadata
    assert cells[2].id.startswith("05-") and len(cells[2].id) > 8


def test_edit_and_sync_again_changes_nothing(project):
    first = store(project)
    (project / "edit" / "05_small.py").unlink()
    script = authoring.edit("05")
    second = nbformat.read(authoring.sync(script, run=False), as_version=4)
    for one, two in zip(first.cells, second.cells, strict=True):
        assert (one.id, one.source, one.metadata) == (two.id, two.source, two.metadata)


def test_edit_never_overwrites_a_script(project):
    store(project)
    with pytest.raises(FileExistsError, match="sync it, or delete it"):
        authoring.edit("05")


def test_an_answer_cell_holds_the_stub_and_nbgraders_metadata(project):
    cells = store(project).cells
    exercise = exercises.find("05-e2")
    assert cells[3].source == exercise.stub
    assert cells[3].metadata.nbgrader.solution and not cells[3].metadata.nbgrader.grade
    assert cells[4].metadata.nbgrader.points == exercise.points
    assert cells[4].metadata.nbgrader.locked


def test_sync_runs_the_lesson_and_counts_its_cells(project):
    cells = store(project, run=True).cells
    assert cells[1].outputs[0].text == "3\n"
    assert cells[2].outputs[0].data["text/plain"] == "21"
    counts = [cell.execution_count for cell in cells if cell.cell_type == "code"]
    assert counts == [1, 2, 3, 4] and cells[2].outputs[0].execution_count == 2


def test_a_cell_that_raises_stores_nothing(project):
    before = store(project)
    with pytest.raises(CellExecutionError, match="planted"):
        store(project, SCRIPT.replace("3 * 7", 'raise RuntimeError("planted")'), run=True)
    stored = nbformat.read(project / "notebooks" / "05_small.ipynb", as_version=4)
    assert stored == before and list((project / "notebooks").glob("*.tmp")) == []


def test_two_cells_with_one_id_are_named(project):
    with pytest.raises(ValueError, match="'05-setup'"):
        store(project, SCRIPT.replace("05-title", "05-setup"))


def test_solve_fills_every_stub_and_leaves_the_lesson(project):
    lesson = store(project)
    solved = nbformat.read(authoring.solve("05"), as_version=4)
    assert solved.cells[3].source == exercises.find("05-e2").solution
    assert nbformat.read(project / "notebooks" / "05_small.ipynb", as_version=4) == lesson


def test_an_unknown_lesson_is_named_with_the_legal_ones(project):
    store(project)
    with pytest.raises(ValueError, match=r"'77'.*05_small"):
        file.notebook_path("77")


def test_widget_views_and_progress_bars_are_not_stored():
    view = {"text/plain": "VBox(children=…)", file.VIEW: {"model_id": "1"}}
    note = {"text/plain": "Run this cell", file.VIEW: {"model_id": "2"}}
    cell = nbformat.v4.new_code_cell(
        "x",
        outputs=[
            nbformat.v4.new_output("display_data", data=view),
            nbformat.v4.new_output("display_data", data=note),
            nbformat.v4.new_output("stream", name="stderr", text="\r 10%"),
            nbformat.v4.new_output("stream", name="stdout", text="kept"),
        ],
    )
    kept = file.normalised(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs
    assert [out.get("text") or dict(out.data) for out in kept] == [
        {"text/plain": "Run this cell"},
        "kept",
    ]
