"""Plain data crosses the wall whole; whatever else comes through it is Malformed, soon."""

import copy
import json
import math
import random
import time

import numpy as np
import pytest
import torch

from course_utils.grading import wire
from course_utils.grading.wire import Malformed
from course_utils.observing import Observed, Raised, Recipe, Seed

WHOLE = (None, True, 0, -7, 2**60, 1.5, math.inf, "", "é\ud800\0", [], (), {}, [1, (2.0, [None])])
WHOLE += ({"a": [1, {"b": "c"}], "": 0}, Seed(2**31), Recipe("lambda z: z", 3))
WHOLE += (Raised("ValueError", "why", ("line 1",)),)
SHAPES = ((), (0,), (3,), (2, 0, 4), (2, 3))


def crossed(value: object) -> object:
    message = wire.encode(value)
    assert wire.LENGTH.unpack_from(message)[0] == len(message) - wire.LENGTH.size
    return wire.decode(message[wire.LENGTH.size :])


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_plain_data_crosses_whole(value):
    back = crossed(value)
    assert back == value and type(back) is type(value)


def test_nan_crosses():
    assert math.isnan(crossed(math.nan))


@pytest.mark.parametrize("name", wire.DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_tensors_of_every_dtype_and_shape_cross(name, shape):
    tensor = (3 * torch.randn(shape)).to(wire.DTYPES[name])
    differentiable = tensor.dtype.is_floating_point or tensor.dtype.is_complex
    back = crossed(tensor.requires_grad_(differentiable))
    assert back.dtype == tensor.dtype and back.requires_grad == differentiable
    assert back.shape == shape and torch.equal(back.detach(), tensor.detach())


def test_views_of_a_tensor_cross_as_what_they_show():
    z = torch.tensor([[1 + 2j, 3.0], [4j, 5.0]])
    for view in (z.T, z.conj(), z.imag, z.conj().imag, z[:, 1], z[:1].expand(3, 2)):
        assert torch.equal(crossed(view), view)


@pytest.mark.parametrize("dtype", ["f8", ">f4", "i2", "u1", "?", "c16", "U5", ">U3"])
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_cross(dtype, shape):
    array = np.resize(np.array([1, 0, 5]).astype(dtype), shape)
    back = crossed(array)
    assert back.dtype == array.dtype and back.shape == shape and (back == array).all()
    back[...] = 0  # it is nobody else's memory


def test_the_record_of_a_call_crosses():
    seen = Observed(
        torch.ones(2), (None,), (3,), (torch.zeros(1),), "out", Raised("E", "m", ("l",))
    )
    back = wire.observed(crossed(seen), inputs=1)
    assert (back.calls, back.stdout, back.error) == ((3,), "out", seen.error)
    assert torch.equal(back.value, seen.value)
    assert torch.equal(back.inputs_after[0], seen.inputs_after[0])


@pytest.mark.parametrize("value", [object(), {1, 2}, torch.float8_e4m3fn, b"bytes", np.float64])
def test_anything_else_does_not_cross(value):
    with pytest.raises(TypeError, match="cannot cross"):
        wire.encode([value])


def message(packed: object, raw: bytes = b"") -> bytes:
    text = json.dumps(packed).encode()
    return wire.LENGTH.pack(len(text)) + text + raw


def tensor(name: object = "float32", shape: object = (1,), grad: object = False) -> dict:
    return {"tensor": name, "shape": shape, "grad": grad}


HOSTILE = {
    "empty": b"",
    "no JSON": wire.LENGTH.pack(3) + b"abc",
    "longer than it is": wire.LENGTH.pack(2**63) + b"{}",
    "a pickle": wire.LENGTH.pack(20) + b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "deep": wire.LENGTH.pack(200_000) + b"[" * 200_000,
    "deep kinds": wire.LENGTH.pack(45_000) + b'{"list":[' * 5000,
    "a bare list": message([1]),
    "an unknown kind": message({"pickle": "x"}),
    "no kind": message({}),
    "an infinite seed": message({"seed": math.inf}),
    "a seed of text": message({"seed": "x"}),
    "digits without end": wire.LENGTH.pack(100_000) + b"9" * 100_000,
    "integers with gradients": message(tensor("int64", [1], True), b"\0" * 8),
    "more than was sent": message(tensor("float64", [2**20]), b"\0" * 8),
    "a negative side": message(tensor("float64", [-1]), b"\0" * 8),
    "a side of text": message(tensor("float64", ["1"]), b"\0" * 8),
    "a side that nobody unpacks": message(tensor("uint8", [2**18 + 1]), b"\0" * (2**18 + 1)),
    "no shape": message(tensor("float64", None)),
    "too many sides": message(tensor("float64", [1] * 100), b"\0" * 8),
    "an unknown dtype": message(tensor("quint8", [1]), b"\0"),
    "a dtype that is no text": message(tensor(["float64"], [1]), b"\0" * 8),
    "an array of objects": message({"array": "|O8", "shape": [1]}, b"\0" * 8),
    "an array of records": message({"array": [["a", "<f8"]], "shape": [1]}, b"\0" * 8),
    "an array of nothing": message({"array": "<U0", "shape": [9]}),
    "an odd float": message({"array": "<f3", "shape": [1]}, b"\0" * 8),
    "a record cut short": message({"observed": [1, 2]}),
    "a record's error": message({"observed": [None] * 5 + [7]}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_malformed(name):
    begun = time.process_time()
    with pytest.raises(Malformed):
        wire.decode(HOSTILE[name])
    assert time.process_time() - begun < 2


def test_structure_is_bounded_more_tightly_than_arrays():
    with pytest.raises(Malformed, match="structure of"):
        wire.decode(message({"list": [0] * 4_000_000}))
    assert crossed(torch.zeros(2000, 2000)).shape == (2000, 2000)


NO_RECORDS = {
    "no record": 5,
    "entries that are a number": Observed(grads=5, calls=(0,), inputs_after=(None,)),
    "entries that are a dict": Observed(grads={"a": 1}, calls=(0,), inputs_after=(None,)),
    "too few entries": Observed(grads=(), calls=(), inputs_after=()),
    "calls that are truths": Observed(grads=(None,), calls=(True,), inputs_after=(None,)),
    "output that is none": Observed(grads=(None,), calls=(0,), inputs_after=(None,), stdout=7),
    "too much output": Observed(
        grads=(None,), calls=(0,), inputs_after=(None,), stdout="x" * 10_001
    ),
}


@pytest.mark.parametrize("name", NO_RECORDS)
def test_a_record_that_is_none_is_malformed(name):
    with pytest.raises(Malformed):
        wire.observed(NO_RECORDS[name], inputs=1)


def test_an_error_s_texts_are_cut():
    kind, told, lines = "K" * 10**5, "m" * 10**5, ["l" * 10**5] * 50
    seen = crossed(Observed(error=Raised(kind, told, tuple(lines))))
    assert len(seen.error.message) == len(seen.error.lines[0]) == wire.TEXT_LIMIT
    assert len(seen.error.lines) == 5


def mutants(chance: random.Random) -> list[bytes]:
    """Right messages with bytes changed, cut out, put in twice; JSON values exchanged."""
    value = [
        torch.randn(3),
        np.ones((2, 2)),
        {"k": (1, "t")},
        Observed(1.0, (None,), (0,), (None,)),
    ]
    right = wire.encode(value)[wire.LENGTH.size :]
    found = [chance.randbytes(chance.randrange(60)) for _ in range(300)]
    for _ in range(1200):
        data = bytearray(right)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        found.append(bytes(data))
    (size,) = wire.LENGTH.unpack_from(right)
    packed = json.loads(right[wire.LENGTH.size :][:size])
    odd = (None, -1, 2**70, 1e400, "x", [], {}, [[]], {"list": None}, True, {"seed": 1e999})
    for _ in range(1500):
        changed = copy.deepcopy(packed)
        node = changed
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = chance.choice(keys)
            if chance.random() < 0.3 or not isinstance(node[key], dict | list):
                node[key] = chance.choice(odd)
                break
            node = node[key]
        found.append(message(changed, right[wire.LENGTH.size + size :]))
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_of_any_bytes_only_malformed_is_raised(seed):
    begun, refused = time.process_time(), 0
    for data in mutants(random.Random(seed)):
        try:
            wire.observed(wire.decode(data), inputs=1)
        except Malformed:
            refused += 1
    assert refused > 2000
    assert time.process_time() - begun < 20
