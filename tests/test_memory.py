"""What training left behind comes back as it was, and only if nothing that decides it changed."""

import json
import pickle
import random

import numpy as np
import pytest
import torch

from course_utils.present import memory

SETUP = "import torch\nfrom torch import nn"
MODEL = "net = nn.Linear(1, 1)\nbest = torch.optim.Adam(net.parameters())"
TRAIN = """
def loss_of(x):
    return (net(x) ** 2).mean()

losses = []
run = (loss_of(torch.ones(4, 1)) for _ in range(3))
for loss in run:
    best.zero_grad(); loss.backward(); best.step(); losses.append(loss.item())
drawn = torch.rand(2)
"""
FIGURE = [{"output_type": "stream", "name": "stdout", "text": "a figure"}]


def lesson(*sources: str) -> list[dict]:
    """Cells, of which the third trains."""
    listed = [{"source": source, "tags": []} for source in sources]
    listed[2]["tags"] = ["train"]
    return listed


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "STAGE", tmp_path / "stage")
    monkeypatch.setattr(memory, "_key_place", lambda: tmp_path / "key")
    return tmp_path / "stage"


@pytest.fixture
def trained(place):
    """A lesson whose training was kept, and the namespace in which it ran."""
    cells, space = lesson(SETUP, MODEL, TRAIN), {}
    for cell in cells:
        exec(cell["source"], space)
    assert memory.keep(space, cells, 2, FIGURE)
    return cells, space


def new_kernel(cells: list[dict]) -> dict:
    """A namespace in which the cells before the training have run."""
    space: dict = {}
    for cell in cells[:2]:
        exec(cell["source"], space)
    return space


def test_a_new_kernel_has_what_training_left(trained):
    cells, old = trained
    new = new_kernel(cells)
    assert memory.recall(new, cells, 2) == FIGURE
    assert new["losses"] == old["losses"] and torch.equal(new["drawn"], old["drawn"])
    assert torch.equal(new["net"].weight, old["net"].weight)
    assert new["loss_of"](torch.ones(1, 1)) == old["loss_of"](torch.ones(1, 1))


def test_the_optimiser_goes_on_with_the_network_that_came_back(trained):
    cells, _ = trained
    new = new_kernel(cells)
    memory.recall(new, cells, 2)
    before = new["net"].weight.clone()
    new["loss_of"](torch.ones(1, 1)).backward()
    new["best"].step()
    assert not torch.equal(new["net"].weight, before)


def test_the_random_generators_go_on_where_they_were(place):
    cells, space = lesson(SETUP, MODEL, TRAIN), {}
    for cell in cells:
        exec(cell["source"], space)
    memory.keep(space, cells, 2, [])
    after = torch.rand(3), np.random.random(3), random.random()  # noqa: NPY002
    memory.recall(new_kernel(cells), cells, 2)
    again = torch.rand(3), np.random.random(3), random.random()  # noqa: NPY002
    assert torch.equal(after[0], again[0]) and np.array_equal(after[1], again[1])
    assert after[2] == again[2]


@pytest.mark.parametrize(
    "sources",
    [(SETUP, MODEL, TRAIN.replace("range(3)", "range(4)")), (SETUP, MODEL + "\nx = 1", TRAIN)],
    ids=["the training was edited", "a cell behind it was edited"],
)
def test_nothing_comes_back_of_other_code(trained, sources):
    assert memory.recall({}, lesson(*sources), 2) is None


def test_a_cell_that_training_does_not_read_may_change(trained):
    cells, _ = trained
    more = [*cells, {"source": "print(losses)", "tags": []}]
    assert memory.recall(new_kernel(more), more, 2) == FIGURE


class Trap:
    """A value that does something when its pickle is read."""

    def __reduce__(self):
        return (exec, ("raise AssertionError('read')",))


def test_a_folder_that_was_handed_on_is_not_read(trained, place):
    """Whoever packed it can put a pickle under the right name, but not under this user's seal."""
    cells, _ = trained
    [kept] = place.iterdir()
    whole = kept.read_bytes()
    for planted in (pickle.dumps(Trap()), whole[:32] + pickle.dumps(Trap()), whole[:-1], b""):
        kept.write_bytes(planted)
        assert memory.recall({}, cells, 2) is None
    kept.write_bytes(whole)
    (place.parent / "key").write_bytes(b"of another user")
    assert memory.recall({}, cells, 2) is None


@pytest.mark.parametrize("setting", ["COURSE_BUDGET", "COURSE_DEVICE", "COURSE_FIGURES"])
def test_nothing_comes_back_of_another_setting(trained, setting, monkeypatch):
    monkeypatch.setenv(setting, "another")
    assert memory.recall({}, trained[0], 2) is None


def test_nothing_comes_back_of_another_version_of_the_course(trained, monkeypatch):
    monkeypatch.setattr(memory, "_package", lambda: "another")
    assert memory.recall({}, trained[0], 2) is None


def test_what_cannot_be_kept_is_said_and_leaves_no_file(place):
    cells = lesson(SETUP, MODEL, "listener = lambda: 1\nheld = [listener]")
    space = new_kernel(cells)
    exec(cells[2]["source"], space)
    with pytest.raises(Exception, match="lambda"):
        memory.keep(space, cells, 2, [])
    assert not place.exists()


def test_old_files_go(place, monkeypatch):
    monkeypatch.setattr(memory, "KEPT", 2)
    for number in range(4):
        cells = lesson(SETUP, MODEL, f"number = {number}")
        memory.keep({"number": number}, cells, 2, [])
    assert len(list(place.iterdir())) == 2
    assert memory.recall(new_kernel(cells), cells, 2) == []


def test_an_answer_is_json_as_the_kernel_shows_it(trained):
    cells, space = trained
    asked = json.dumps(["cells_behind", [cells, [2]]])
    assert json.loads(repr(memory.answer(asked, space))) == [0, 1, 2]
    asked = json.dumps(["recall", [cells, 2]])
    assert json.loads(repr(memory.answer(asked, new_kernel(cells)))) == FIGURE
