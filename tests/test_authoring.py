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


def again(project, old, new, run=False):
    """Change the script that is there, and bring it back."""
    script = project / "edit" / "05_small.py"
    text = script.read_text()
    assert old in text
    script.write_text(text.replace(old, new))
    return nbformat.read(authoring.sync(script, run=run), as_version=4)


def in_jupyterlab(project, **changes):
    """Change keys of the cell 05-title in the stored notebook."""
    path = project / "notebooks" / "05_small.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].update(changes)
    nbformat.write(notebook, path)
    return notebook


def test_edit_and_sync_again_changes_nothing(project):
    first = store(project)
    script = project / "edit" / "05_small.py"
    written = script.read_text()
    assert authoring.edit("5") == script and script.read_text() == written
    second = nbformat.read(authoring.sync(script, run=False), as_version=4)
    for one, two in zip(first.cells, second.cells, strict=True):
        assert (one.id, one.source, one.metadata) == (two.id, two.source, two.metadata)
    script.unlink()
    assert authoring.edit("05").read_text() == written


def test_a_cell_that_was_new_keeps_the_id_of_its_first_sync(project):
    first = store(project).cells[2]
    second = again(project, "3 * 7", "3 * 8").cells[2]
    assert (first.id, second.source) == (second.id, "3 * 8")


def test_edit_takes_what_was_changed_in_the_notebook_and_never_drops_changes_of_a_script(project):
    store(project)
    in_jupyterlab(project, source="# 05 · Changed")
    assert "# 05 · Changed" in authoring.edit("05").read_text()
    script = project / "edit" / "05_small.py"
    script.write_text(script.read_text() + "\n# %%\nmine = 1\n")
    with pytest.raises(ValueError, match=r"changes that are not in the notebook: make sync LESSON"):
        authoring.edit("05")
    assert "mine = 1" in script.read_text()
    assert authoring.sync(script, run=False) and authoring.edit("05") == script


@pytest.mark.parametrize("when", ["before", "during the run"])
def test_sync_never_overwrites_what_was_changed_in_the_notebook(when, project, monkeypatch):
    store(project)

    def change(*_):
        in_jupyterlab(project, source="# 05 · Changed")

    if when == "before":
        change()
    monkeypatch.setattr(authoring, "execute", change)
    with pytest.raises(ValueError, match=r"05_small.ipynb was changed.*make edit LESSON=05_small"):
        again(project, "3 * 7", "3 * 8", run=True)
    stored = nbformat.read(project / "notebooks" / "05_small.ipynb", as_version=4)
    assert stored.cells[0].source == "# 05 · Changed"
    assert "3 * 8" in (project / "edit" / "05_small.py").read_text()


def test_a_notebook_that_was_only_run_is_no_changed_one(project):
    store(project)
    in_jupyterlab(project, metadata={"tags": ["step"], "execution": {"iopub": "12:00"}})
    assert again(project, "3 * 7", "3 * 8").cells[2].source == "3 * 8"


def test_what_is_written_during_a_sync_waits_for_the_next(project, monkeypatch):
    store(project)
    script = project / "edit" / "05_small.py"

    def go_on_writing(*_):
        script.write_text(script.read_text().replace("3 * 8", "3 * 9"))

    monkeypatch.setattr(authoring, "execute", go_on_writing)
    assert again(project, "3 * 7", "3 * 8", run=True).cells[2].source == "3 * 8"
    assert "3 * 9" in script.read_text()
    with pytest.raises(ValueError, match="changes that are not in the notebook"):
        authoring.edit("05")
    assert nbformat.read(authoring.sync(script, run=False), 4).cells[2].source == "3 * 9"


def test_pasted_pictures_and_metadata_that_the_script_does_not_show_stay(project):
    store(project)
    picture, folded = {"b c.png": {"image/png": "aGVsbG8="}}, {"slide_type": "skip"}
    metadata = {"tags": ["old"], "notes": "n", "slideshow": folded}
    text = "![b](attachment:b%20c.png)"
    in_jupyterlab(project, source=text, attachments=picture, metadata=metadata)
    authoring.edit("05")
    again(project, '"old"', '"new"')
    cell = again(project, "[b]", "[B]").cells[0]
    assert cell.attachments == picture and cell.source == "![B](attachment:b%20c.png)"
    assert cell.metadata == {"tags": ["new"], "notes": "n", "slideshow": folded}
    with pytest.raises(ValueError, match=r"the cell 05-\w+ shows a pasted picture, b%20c.png"):
        again(project, ' cell_id="05-title"', "")


@pytest.mark.parametrize("lesson", ["", "0", "99", "*", "05_"])
def test_without_a_script_of_this_lesson_those_that_are_there_are_named(lesson, project):
    with pytest.raises(ValueError, match="none yet: make edit LESSON=05"):
        authoring.script_of("05")
    script = project / "edit" / "05_small.py"
    script.write_text(SCRIPT)
    (project / "edit" / "10_small.py").write_text(SCRIPT)
    assert authoring.script_of("5") == authoring.script_of("05_small") == script
    with pytest.raises(ValueError, match="legal: 05_small, 10_small"):
        authoring.script_of(lesson)


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
        again(project, "3 * 7", 'raise RuntimeError("planted")', run=True)
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


def test_a_solved_copy_that_somebody_changed_stays(project):
    store(project)
    first = authoring.solve("05")
    assert authoring.solve("05") == first and first.name == "05_small.ipynb"
    first.write_text(first.read_text() + "\n")
    second = authoring.solve("05")
    assert second.name == "05_small-2.ipynb" and first.read_text().endswith("\n\n")
    assert authoring.solve("05") == second


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
