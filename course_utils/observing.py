"""Call a student's function on fresh inputs and write down, as plain data, what it did.

The notebook calls `observe` here; a grader runs the same module on the far side of a sandbox. A
check sees only the record, never the student's objects, so both come to the same verdict.
"""

import contextlib
import copy
import io
import itertools
import math
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from course_utils.time_limit import TimeLimit, time_limit

SECONDS, PATIENCE = 5.0, 20.0  # of processor time, and in all: a call that takes longer is cut off
OUTPUT_LIMIT = 10_000  # characters of standard output that are kept
LIBRARIES = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
CALLS = itertools.count()
OTHERS = (str(Path(__file__).parent), "<frozen", *LIBRARIES)  # not the student's files
Plain = None | bool | int | float | str | Tensor | np.ndarray | list | tuple | dict


@dataclass(frozen=True)
class Seed:
    """An input that becomes a `torch.Generator` with this seed where the answer runs."""

    value: int


@dataclass(frozen=True)
class Recipe:
    """An input that is built where the answer runs: a Python expression that makes a callable.

    `Recipe("lambda z: z**2")` or `Recipe("nn.Linear(2, 1)", seed=0)`; the expression sees `torch`,
    `nn`, `math` and the list `inputs` of what was built before it: an optimiser needs its network.
    """

    source: str
    seed: int = 0


@dataclass(frozen=True)
class Raised:
    """An exception of the student's code: its type, its message, and their lines on the way."""

    kind: str
    message: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Observed:
    """What one call did: plain data only.

    Attributes:
        value: what was returned; tensors detached, on the CPU.
        grads: per input: the gradient of the returned value's sum for a tensor that requires one,
            the parameters' gradients by name for a module, else None.
        calls: per input: how often a `Recipe` was called (an optimiser: its steps), else 0.
        inputs_after: the inputs as the call left them (a module as its state, by name).
        stdout: what was printed, cut after 10,000 characters.
        error: the exception that ended the call, or None.
    """

    value: Plain = None
    grads: tuple = ()
    calls: tuple[int, ...] = ()
    inputs_after: tuple = ()
    stdout: str = ""
    error: Raised | None = None

    def parts(self, *names: str) -> list:
        """The parts of a pair, or of more: as many as there are names.

        Raises:
            ValueError: something else was returned; the message lists what is asked.
        """
        parts, whole = self.value, isinstance(self.value, Tensor | np.ndarray)
        count = len(parts) if isinstance(parts, list | tuple) or (whole and parts.ndim) else None
        if count != len(names):
            size = f" of shape {tuple(parts.shape)}" if whole else f" of {count}"
            size = "" if count is None and not whole else size
            asked = f"asked are {len(names)}: {', '.join(names)}"
            raise ValueError(f"a {type(parts).__name__}{size}, {asked}")
        return list(parts)


@dataclass
class _Counted:
    function: Callable
    calls: int = 0

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        return self.function(*args, **kwargs)


class _Printed(io.StringIO):
    """Keeps what is printed up to the limit, so that an endless print fills no memory."""

    def write(self, text: str) -> int:
        super().write(text[: max(0, OUTPUT_LIMIT - self.tell())])
        return len(text)


def observe(
    answer: Callable,
    *inputs: Plain | Seed | Recipe,
    seconds: float = SECONDS,
    patience: float = PATIENCE,
) -> Observed:
    """Call `answer` on fresh copies of `inputs` and record what happened.

    A call is cut off that took `seconds` of processor time (a busy machine costs nobody a point),
    or `patience` in all. The student's interrupt (KeyboardInterrupt) is let through, every other
    exception recorded. torch's global random state is afterwards as it was before.
    """
    given, counters = [], {}
    for item in inputs:
        given.append(_fresh(item, counters, given))
    printed, untouched = _Printed(), torch.random.fork_rng(devices=[])
    value, grads, after, error = None, (), (), None
    try:
        with contextlib.redirect_stdout(printed), untouched, time_limit(seconds, patience, _call):
            value, grads = _call(answer, given)
        after = tuple(_after(item) for item in given)
    except KeyboardInterrupt:
        raise
    except TimeLimit as cut:
        why = f"still running after {seconds:g} s: is there an endless loop?"
        error = Raised("TimeLimit", why, _students_lines(cut))
    except BaseException as raised:
        error = Raised(type(raised).__name__, _message(raised), _students_lines(raised))
    calls = tuple(counters[i]() if i in counters else 0 for i in range(len(given)))
    return Observed(value, grads, calls, after, printed.getvalue(), error)


def _call(answer: Callable, given: list) -> tuple[Plain, tuple]:
    torch.default_generator.manual_seed(next(CALLS))  # noise of their own differs by call
    result = answer(*given)
    return plain(result), _gradients(result, given)


def plain(value: object) -> Plain:
    """The value as plain data of exactly these types; tensors lose their graph.

    Raises:
        TypeError: it holds something else than numbers, strings, tensors, arrays, lists, dicts.
    """
    if value is None or value is True or value is False:
        return value
    for kind, exact in ((int, int.__int__), (float, float.__float__), (str, str.__str__)):
        if isinstance(value, kind):
            return exact(value)  # of a subclass, too
    if isinstance(value, Tensor):
        with torch._C.DisableTorchFunctionSubclass():
            return Tensor.detach(value).as_subclass(Tensor).cpu().clone()
    if isinstance(value, np.ndarray | np.generic):
        return _plain_array(np.array(value))
    if isinstance(value, list | tuple):
        return (list if isinstance(value, list) else tuple)(plain(item) for item in value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    raise TypeError(f"returned a {type(value).__name__}; legal: tensors, arrays, numbers, strings")


def _plain_array(array: np.ndarray) -> Plain:
    if array.dtype.kind not in "biufcU":
        raise TypeError(f"returned an array of {array.dtype}; legal: arrays of numbers")
    array = array.astype(np.float64) if array.dtype == np.longdouble else array
    return array if array.ndim else array.item()


def _fresh(item: object, counters: dict[int, Callable[[], int]], before: list) -> object:
    if isinstance(item, Tensor):
        return item.detach().clone().requires_grad_(item.requires_grad)
    if isinstance(item, Seed):
        return torch.Generator().manual_seed(item.value)
    if isinstance(item, Recipe):
        built = _build(item, before)
        counters[len(before)] = _count(built)
        return built
    if isinstance(item, list | tuple):
        return type(item)(_fresh(part, {}, before) for part in item)
    return copy.deepcopy(item)


def _build(recipe: Recipe, before: list) -> object:
    code = compile(recipe.source, __file__, "eval")  # its frames are not the student's
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)
        built = eval(code, {"torch": torch, "nn": nn, "math": math, "inputs": before})
    return built if isinstance(built, nn.Module | Optimizer) else _Counted(built)


def _count(built: nn.Module | Optimizer | _Counted) -> Callable[[], int]:
    if isinstance(built, _Counted):
        return lambda: built.calls
    seen: list[None] = []
    hook = getattr(built, "register_forward_hook", None) or built.register_step_post_hook
    hook(lambda *_: seen.append(None))
    return lambda: len(seen)


def _gradients(result: object, given: list) -> tuple:
    leaves = [item for item in given if isinstance(item, Tensor) and item.requires_grad]
    found: dict[int, Tensor | None] = {}
    if leaves and isinstance(result, Tensor) and result.requires_grad:
        grads = torch.autograd.grad(result.sum(), leaves, retain_graph=True, allow_unused=True)
        found = {id(leaf): grad for leaf, grad in zip(leaves, grads, strict=True)}
    return tuple(
        _parameter_gradients(item) if isinstance(item, nn.Module) else found.get(id(item))
        for item in given
    )


def _parameter_gradients(module: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def _after(item: object) -> Plain:
    item = item.state_dict() if isinstance(item, nn.Module) else item
    return None if isinstance(item, torch.Generator | _Counted | Optimizer) else plain(item)


def _message(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except Exception as worse:
        return f"(its message cannot be shown: {type(worse).__name__})"


def _students_lines(error: BaseException) -> tuple[str, ...]:
    """The last frames outside this package and the libraries: the student's own lines."""
    way = traceback.extract_tb(error.__traceback__)
    own = [step for step in way if not step.filename.startswith(OTHERS)]
    lines = [f"line {step.lineno}, in {step.name}: {step.line or ''}".rstrip(": ") for step in own]
    if isinstance(error, SyntaxError) and error.text:
        lines.append(f"line {error.lineno}: {error.text.strip()}")
    return tuple(lines[-5:])
