"""Files of weights that are complete or absent.

One safetensors file with a JSON text and a checksum of the numbers, written beside its place and
then moved there, so that a crash never leaves half a file.
"""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from course_utils.place import write_whole


def save_weights(path: str | Path, model: nn.Module, metadata: dict[str, Any]) -> str:
    """Write the model's state and JSON metadata to a safetensors file; the file's sha256.

    The same weights and metadata give the same file, byte for byte.

    Raises:
        ValueError: weights that are not finite; nothing is written.
    """
    if not is_finite(model):
        raise ValueError(f"{path}: the weights are not finite, nothing was written")
    return write_tensors(Path(path), model.state_dict(), metadata)


def load_weights(path: str | Path, model: nn.Module) -> dict[str, Any]:
    """Fill the model from a file of `save_weights`, put it in eval mode; the file's metadata.

    If a MANIFEST.json beside the file, {name: {"sha256": ...}}, names it, the sums must agree.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another sum, a damaged file, or other names or shapes; the model is unchanged.
    """
    path = Path(path)
    remedy = "get the file again (git checkout), or make it anew"
    manifest = path.with_name("MANIFEST.json")
    entry = json.loads(manifest.read_text("utf-8")).get(path.name) if manifest.exists() else None
    if entry is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != entry["sha256"]:
            raise ValueError(f"{path} has sha256 {found}, not {entry['sha256']}; {remedy}")
    tensors, metadata = read_tensors(path, remedy)
    fill(model, tensors, path)
    model.eval()
    return metadata


def publish(
    script: str | Path, model: nn.Module, seed: int, metrics: dict[str, float], **more: object
) -> dict[str, Any]:
    """Store what a script of assets/checkpoints made, beside it, and note it in MANIFEST.json.

    Args:
        script: the script's own path: NAME.py makes NAME.safetensors.
        model: what is stored.
        seed: of the run.
        metrics: what the manifest says of the model.
        more: further entries of the file's metadata.

    Returns: the entry of the manifest, with the file's sha256.
    """
    place = Path(script).with_suffix(".safetensors")
    command = f"python assets/checkpoints/{Path(script).name}"
    entry = {"command": command, "seed": seed, "metrics": metrics}
    entry |= {"sha256": save_weights(place, model, entry | more)}
    manifest = place.with_name("MANIFEST.json")
    entries = json.loads(manifest.read_text("utf-8")) if manifest.exists() else {}
    text = json.dumps({**entries, place.name: entry}, indent=1, sort_keys=True) + "\n"
    write_whole(manifest, text)
    return entry


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> str:
    """Write the tensors to `path`, whole; the file's sha256."""
    tensors = {  # clones, because tied weights share memory, which the format refuses
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    # One key: several would be written in a random order, and the sha256 would change.
    text = json.dumps({"metadata": metadata, "checksum": checksum(tensors)}, sort_keys=True)
    content = to_bytes(tensors, {"course": text})
    write_whole(path, content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path, remedy: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a file of `write_tensors`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is cut, changed or of another kind; the message ends in `remedy`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = json.loads((file.metadata() or {})["course"])
            # Clones, so that the file is free to be replaced on systems that lock mapped files.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        if text["checksum"] != checksum(tensors):
            raise ValueError("its numbers changed since they were written")
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged or of another kind ({error}); {remedy}") from error
    return tensors, text["metadata"]


def fill(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy the tensors into the model's state, in place.

    Raises:
        ValueError: names or shapes differ (the first three are named); the model is unchanged.
    """
    wanted, found = shapes(model), {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = [
        f"{name} {found.get(name, 'absent')} in the file, {wanted.get(name, 'absent')} in the model"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if wrong:
        raise ValueError(f"{path} does not fit, {len(wrong)} differ: {'; '.join(wrong[:3])}")
    model.load_state_dict(tensors)


def checksum(tensors: dict[str, Tensor]) -> str:
    """CRC-32 over names, types, shapes and numbers, as 8 hex digits."""
    crc = 0
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        crc = zlib.crc32(flat.view(torch.uint8).numpy(), crc)
    return f"{crc:08x}"


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in the model's state, by name."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def is_finite(model: nn.Module) -> bool:
    """Whether all parameters are finite; buffers may hold infinities on purpose (masks do)."""
    return all(bool(torch.isfinite(weights).all()) for weights in model.parameters())
