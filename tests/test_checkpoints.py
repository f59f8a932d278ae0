"""Stored weights: named with their sum, as good as recorded, refused when a byte is changed."""

import hashlib
import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch

from course_utils.checkpoints import load_weights, publish
from tests import prove

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "checkpoints"
MANIFEST = json.loads((FOLDER / "MANIFEST.json").read_text("utf-8"))
each = pytest.mark.parametrize("name", sorted(MANIFEST))


def script(name: str) -> dict:
    """What the file's training script defines; nothing is trained."""
    return runpy.run_path(FOLDER.parents[1] / MANIFEST[name]["command"].split()[1])


def off(found: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """Metrics that differ from the record: by 3 % of it, or by 0.02 where it is a share."""
    limits = {k: 0.02 if k.startswith("read_") else 0.03 * abs(v) for k, v in recorded.items()}
    return [k for k in recorded if not abs(found[k] - recorded[k]) <= limits[k]]


def test_every_file_is_named_with_its_sum():
    stored = {path.name for path in FOLDER.glob("*.safetensors")}
    assert stored == set(MANIFEST)
    for name, entry in MANIFEST.items():
        content = (FOLDER / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], name
        assert len(content) <= 5_000_000, f"{name}: {len(content)} bytes"
        assert set(entry) == {"command", "seed", "metrics", "sha256"}


def test_a_script_stores_its_model_and_leaves_the_other_entries(tmp_path):
    torch.manual_seed(0)
    first, second = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    entry = publish(tmp_path / "one.py", first, 3, {"loss": 0.5}, labels=["a"])
    publish(tmp_path / "two.py", second, 4, {"loss": 0.25})
    manifest = json.loads((tmp_path / "MANIFEST.json").read_text("utf-8"))
    assert manifest["one.safetensors"] == entry
    assert (entry["seed"], entry["command"]) == (3, "python assets/checkpoints/one.py")
    assert set(manifest) == {"one.safetensors", "two.safetensors"}
    assert load_weights(tmp_path / "one.safetensors", second)["labels"] == ["a"]
    assert torch.equal(first.weight, second.weight)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}


@each
def test_the_weights_are_as_good_as_recorded_on_fresh_data(name):
    made = script(name)
    model = made["network"]()
    if prove.IN_FULL:
        assert off(made["metrics"](model), MANIFEST[name]["metrics"]), "untrained, and as good?"
    recorded = load_weights(FOLDER / name, model)["metrics"]
    assert recorded == MANIFEST[name]["metrics"]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for seed in [{"seed": 77}, {}] if prove.IN_FULL else [{"seed": 77}]:
        found = made["metrics"](model, **seed)
        assert off(found, recorded) == [], found


@each
def test_a_flipped_bit_is_refused(name, tmp_path):
    for file in (name, "MANIFEST.json"):
        shutil.copy(FOLDER / file, tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[-1000] ^= 1
    (tmp_path / name).write_bytes(content)
    model = script(name)["network"]()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match="has sha256"):
        load_weights(tmp_path / name, model)
    (tmp_path / "MANIFEST.json").unlink()  # the file's own sum is enough
    with pytest.raises(ValueError, match="its numbers changed"):
        load_weights(tmp_path / name, model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
