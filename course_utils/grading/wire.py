"""Plain data as bytes, both ways through the wall of the box; nothing is ever unpickled.

A message is a length (8 bytes), then JSON of half that structure and the raw bytes of its arrays:

    length of the JSON (8 bytes) | JSON | bytes of array 0 | bytes of array 1 | ...

What comes out of the box is hostile until `decode` has rebuilt it: only the kinds below, bounded.
"""

import json
import math
import re
import struct

import numpy as np
import torch
from torch import Tensor

from course_utils.observing import OUTPUT_LIMIT, Observed, Raised, Recipe, Seed

LENGTH = struct.Struct("<Q")
MESSAGE_LIMIT = 64 * 2**20  # bytes
JSON_LIMIT = 8 * 2**20  # bytes of its structure, which takes up to twenty times as much memory
SIDE_LIMIT = 2**18  # entries along one side: a check that unpacks makes a tensor of each
TEXT_LIMIT = 2000  # characters of an error's message or line
DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float64, torch.float32, torch.float16)}
DTYPES |= {str(d).removeprefix("torch."): d for d in (torch.bfloat16, torch.bool, torch.uint8)}
DTYPES |= {f"int{bits}": getattr(torch, f"int{bits}") for bits in (8, 16, 32, 64)}
DTYPES |= {f"complex{bits}": getattr(torch, f"complex{bits}") for bits in (64, 128)}
NUMPY = re.compile(r"[<>|=][biufcU]\d{1,3}")


class Malformed(ValueError):
    """Bytes that are no message of ours."""


def encode(value: object) -> bytes:
    """Plain data, `Seed`, `Recipe`, `Raised` or `Observed` as one message, its length first.

    Raises:
        TypeError: it holds anything else, or a tensor of a dtype that has no place here.
    """
    buffers: list[bytes] = []
    text = json.dumps(_pack(value, buffers)).encode()
    body = b"".join([LENGTH.pack(len(text)), text, *buffers])
    return LENGTH.pack(len(body)) + body


def decode(body: bytes) -> object:
    """What `encode` was given, from the bytes after the length.

    Raises:
        Malformed: the bytes are no such message.
    """
    try:
        (size,) = LENGTH.unpack_from(body)
        if size > JSON_LIMIT:
            raise Malformed(f"a structure of {size} bytes; at most {JSON_LIMIT}")
        packed = json.loads(body[LENGTH.size : LENGTH.size + size])
        return _unpack(packed, memoryview(body)[LENGTH.size + size :], _offsets())
    except Malformed:
        raise
    except Exception as error:  # whatever hostile bytes make json, numpy and torch raise
        raise Malformed(f"{type(error).__name__}: {error!s:.200}") from None


def observed(value: object, inputs: int) -> Observed:
    """A message as the record of one call with so many inputs.

    Raises:
        Malformed: it is no such record.
    """
    if not isinstance(value, Observed) or not isinstance(value.stdout, str):
        raise Malformed("not the record of a call")
    if len(value.stdout) > OUTPUT_LIMIT:
        raise Malformed("more output than is kept")
    if not all(isinstance(part, tuple) for part in (value.grads, value.calls, value.inputs_after)):
        raise Malformed("not one entry for each input")
    error = value.error
    whole = (len(value.grads), len(value.calls), len(value.inputs_after)) == (inputs,) * 3
    if error is None and not whole:
        raise Malformed("not one entry for each input")
    if not all(type(calls) is int for calls in value.calls):
        raise Malformed("calls are no counts")
    return value


def raised(kind: object, message: object, lines: object = ()) -> Raised:
    """An error with texts of bounded length."""
    cut = [str(text)[:TEXT_LIMIT] for text in (kind, message, *list(lines)[:5])]
    return Raised(cut[0], cut[1], tuple(cut[2:]))


def _pack(value: object, buffers: list[bytes]) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return _pack_tensor(value, buffers)
    if isinstance(value, np.ndarray):
        buffers.append(np.ascontiguousarray(value).tobytes())
        return {"array": value.dtype.str, "shape": value.shape}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_pack(item, buffers) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[key, _pack(item, buffers)] for key, item in value.items()]}
    return _pack_record(value, buffers)


def _pack_record(value: object, buffers: list[bytes]) -> dict:
    if isinstance(value, Seed):
        return {"seed": value.value}
    if isinstance(value, Recipe):
        return {"recipe": [value.source, value.seed]}
    if isinstance(value, Raised):
        return {"raised": [value.kind, value.message, list(value.lines)]}
    if isinstance(value, Observed):
        return {"observed": [_pack(getattr(value, name), buffers) for name in _FIELDS]}
    raise TypeError(f"a {type(value).__name__} cannot cross; legal: plain data, Seed, Recipe")


_FIELDS = ("value", "grads", "calls", "inputs_after", "stdout", "error")


def _pack_tensor(value: Tensor, buffers: list[bytes]) -> dict:
    name = str(value.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise TypeError(f"a tensor of {name} cannot cross; legal: {', '.join(DTYPES)}")
    flat = value.detach().cpu().contiguous().reshape(-1)
    buffers.append(flat.resolve_conj().resolve_neg().view(torch.uint8).numpy().tobytes())
    return {"tensor": name, "shape": list(value.shape), "grad": value.requires_grad}


def _offsets() -> dict[str, int]:
    return {"at": 0}


def _unpack(packed: object, rest: memoryview, at: dict[str, int]) -> object:
    if packed is None or isinstance(packed, bool | int | float | str):
        return packed
    if not isinstance(packed, dict) or not packed:
        raise Malformed(f"a {type(packed).__name__} stands alone")
    kind = next(iter(packed))
    given = packed[kind]
    if kind == "tensor":
        return _unpack_tensor(packed, rest, at)
    if kind == "array":
        return _unpack_array(packed, rest, at)
    if kind in ("list", "tuple"):
        return (list if kind == "list" else tuple)(_unpack(item, rest, at) for item in given)
    if kind == "dict":
        return {str(key): _unpack(item, rest, at) for key, item in given}
    return _unpack_record(kind, given, rest, at)


def _unpack_record(kind: str, given: list, rest: memoryview, at: dict[str, int]) -> object:
    if kind == "seed":
        return Seed(int(given))
    if kind == "recipe":
        return Recipe(str(given[0]), int(given[1]))
    if kind == "raised":
        return raised(*given)
    if kind == "observed":
        fields = {n: _unpack(item, rest, at) for n, item in zip(_FIELDS, given, strict=True)}
        if not isinstance(fields["error"], Raised | None):
            raise Malformed("error is none")
        return Observed(**fields)
    raise Malformed(f"kind {kind[:20]!r}")


def _unpack_tensor(packed: dict, rest: memoryview, at: dict[str, int]) -> Tensor:
    dtype = DTYPES[packed["tensor"]]
    raw = _take(packed["shape"], dtype.itemsize, rest, at)
    flat = torch.frombuffer(bytearray(raw), dtype=torch.uint8) if len(raw) else torch.empty(0)
    flat = flat.view(dtype) if len(raw) else torch.empty(0, dtype=dtype)
    return flat.reshape(packed["shape"]).requires_grad_(bool(packed["grad"]))


def _unpack_array(packed: dict, rest: memoryview, at: dict[str, int]) -> np.ndarray:
    if not NUMPY.fullmatch(packed["array"]):
        raise Malformed("dtype of an array")
    dtype = np.dtype(packed["array"])
    raw = _take(packed["shape"], dtype.itemsize, rest, at)
    return np.frombuffer(bytes(raw), dtype=dtype).reshape(packed["shape"]).copy()


def _take(shape: list, itemsize: int, rest: memoryview, at: dict[str, int]) -> memoryview:
    """The next array's bytes: a shape can claim no more than the message holds."""
    sane = len(shape) <= 16  # before their product is taken, which is slow for very many
    if not sane or not all(type(side) is int and 0 <= side <= SIDE_LIMIT for side in shape):
        raise Malformed("shape of an array")
    size, start = math.prod(shape) * itemsize, at["at"]
    if start + size > len(rest):
        raise Malformed("an array is longer than its message")
    at["at"] = start + size
    return rest[start : start + size]
