"""Call a student's function on fresh inputs and write down, as plain data, what it did.

The notebook calls `observe` here; a grader runs the same module on the far side of a sandbox. A
check sees only the record, never the student's objects, so both come to the same verdict.
"""

import contextlib
import copy
import io
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

SECONDS = 5.0  # a call that takes longer is cut off
OUTPUT_LIMIT = 10_000  # characters of standard output that are kept
Plain = None | bool | int | float | str | Tensor | np.ndarray | list | tuple | dict


@dataclass(frozen=True)
class Seed:
    """An input that becomes a `torch.Generator` with this seed where the answer runs."""

    value: int


@dataclass(frozen=True)
class Recipe:
    """An input that is built where the answer runs: a Python expression that makes a callable.

    `Recipe("lambda z: z**2")` or `Recipe("nn.Linear(2, 1)", seed=0)`; the expression sees `torch`,
    `nn` and `math`. How often it is called is counted.
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
        calls: per input: how often a `Recipe` was called, else 0.
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


class TimeLimit(BaseException):
    """Raised inside a call that ran too long; not an Exception, so that a loop rarely eats it."""


@dataclass
class _Counted:
    """A callable that counts its calls; a module keeps its parameters reachable."""

    function: Callable
    calls: int = field(default=0)

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        return self.function(*args, **kwargs)


def observe(answer: Callable, *inputs: Plain | Seed | Recipe, seconds: float = SECONDS) -> Observed:
    """Call `answer` on fresh copies of `inputs` and record what happened.

    A call is cut off after `seconds`. The student's interrupt (KeyboardInterrupt) is let through;
    every other exception is recorded.
    """
    counters: dict[int, Callable[[], int]] = {}
    given = [_fresh(item, counters, index) for index, item in enumerate(inputs)]
    printed = io.StringIO()
    value, grads, error = None, (), None
    try:
        with contextlib.redirect_stdout(printed), time_limit(seconds):
            result = answer(*given)
            grads = _gradients(result, given)
            value = plain(result)
    except KeyboardInterrupt:
        raise
    except TimeLimit:
        error = Raised("TimeLimit", f"still running after {seconds:g} s: is there an endless loop?")
    except (Exception, SystemExit) as raised:
        error = Raised(type(raised).__name__, str(raised), _students_lines(raised))
    calls = tuple(counters[i]() if i in counters else 0 for i in range(len(given)))
    after = tuple(_after(item) for item in given)
    return Observed(value, grads, calls, after, printed.getvalue()[:OUTPUT_LIMIT], error)


def plain(value: object) -> Plain:
    """The value as plain data; tensors lose their graph and any subclass.

    Raises:
        TypeError: it holds something else than numbers, strings, tensors, arrays, lists, tuples
            and dicts of these.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return value.detach().as_subclass(Tensor).cpu().clone()
    if isinstance(value, np.ndarray):
        return np.array(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        items = [plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    kind = type(value).__name__
    raise TypeError(f"returned a {kind}; legal: tensors, arrays, numbers, strings, lists of these")


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeLimit` in this block after `seconds`, again and again until it is left.

    With a timer signal where there is one (Linux, macOS, main thread), else by an interrupt of the
    main thread. One long call into a library is cut when it returns.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main:
        yield  # signals reach only the main thread: notebook cells run there
    elif hasattr(signal, "setitimer"):
        yield from _limit_by_alarm(seconds)
    else:
        yield from _limit_by_interrupt(seconds)


def _limit_by_alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise TimeLimit

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _limit_by_interrupt(seconds: float) -> Iterator[None]:
    import _thread

    timer = threading.Timer(seconds, _thread.interrupt_main)
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if timer.is_alive():  # the student pressed stop before the time was up
            raise
        raise TimeLimit from None
    finally:
        timer.cancel()


def _fresh(item: object, counters: dict[int, Callable[[], int]], index: int) -> object:
    if isinstance(item, Tensor):
        return item.detach().clone().requires_grad_(item.requires_grad)
    if isinstance(item, Seed):
        return torch.Generator().manual_seed(item.value)
    if isinstance(item, Recipe):
        built = _build(item)
        counters[index] = _count(built) if isinstance(built, nn.Module) else lambda: built.calls
        return built
    if isinstance(item, list | tuple):
        return type(item)(_fresh(part, {}, index) for part in item)
    return copy.deepcopy(item)


def _build(recipe: Recipe) -> object:
    import math

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        built = eval(recipe.source, {"torch": torch, "nn": nn, "math": math})
    return built if isinstance(built, nn.Module) else _Counted(built)


def _count(module: nn.Module) -> Callable[[], int]:
    seen = [0]

    def add(*_: object) -> None:
        seen[0] += 1

    module.register_forward_hook(add)
    return lambda: seen[0]


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
    named = module.named_parameters()
    return {name: p.grad.detach().clone() for name, p in named if p.grad is not None}


def _after(item: object) -> Plain:
    if isinstance(item, nn.Module):
        return {name: value.detach().clone() for name, value in item.state_dict().items()}
    return None if isinstance(item, torch.Generator | _Counted) else plain(item)


def _students_lines(error: BaseException) -> tuple[str, ...]:
    """The frames outside this package and the libraries: the student's own lines."""
    package = str(Path(__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if package not in f.filename and "site-packages" not in f.filename]
    lines = [f"line {f.lineno}, in {f.name}: {f.line or ''}".rstrip(": ") for f in own]
    if isinstance(error, SyntaxError) and error.text:
        lines.append(f"line {error.lineno}: {error.text.strip()}")
    return tuple(lines[-5:])
