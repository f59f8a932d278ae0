"""An exercise as one object: what is asked, the properties of a right answer, the reference.

A property never touches the student's objects: it calls `observe(answer, *inputs)` and reads the
`Observed` record, so it gives the same verdict in the notebook and from outside a sandbox.
"""

import ast
import inspect
import math
import textwrap
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from course_utils.observing import Observed, Plain, Raised, Seed

Answer = object  # an opaque handle: a function in the notebook, a name in the grader
Observe = Callable[..., Observed]
Number = Tensor | float


class Draw:
    """The random inputs of one property: seeded, float64; `count` grows when it draws again."""

    def __init__(self, seed: int, scale: int = 1) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.scale = scale

    def normal(self, *shape: int) -> Tensor:
        """Standard normal draws of this shape."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform draws from [low, high) of this shape."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, dtype=torch.double)

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def seed(self) -> Seed:
        """A seed for a generator that the answer receives."""
        return Seed(self.integer(0, 2**31 - 2))

    def count(self, n: int) -> int:
        """A sample size: n at first, ten times as many when a statistical property tries again."""
        return n * self.scale


@dataclass(frozen=True)
class Property:
    """One thing that a right answer does; worth one point.

    Attributes:
        claim: what holds, in a few words ("equals the evidence at the posterior").
        hint: what to look at when it does not; never the solution.
        test: `test(answer, observe, draw)` returns None if it holds, else numbers that show it not.
        statistical: random even for a right answer: drawn again, tenfold, before it fails.
    """

    claim: str
    hint: str
    test: Callable[[Answer, Observe, Draw], str | None]
    statistical: bool = False


class Form(str):
    """Evidence that the form of an answer is wrong; it brings a hint of its own."""

    hint = "First the form: compare type and shape of what you return with the docstring."


class Rounded(Form):
    """Evidence that a value is right but for its precision."""

    hint = "Almost. float32 does this: give torch.eye dtype=x.dtype; or was a small number added?"


class Changed(Form):
    """Evidence that an input was changed in place."""

    hint = "Work on a copy: `x = x - m` makes a new tensor; `x -= m` and `x.sub_(m)` change yours."


@dataclass(frozen=True)
class Exercise:
    """What is asked, with its checks and its reference.

    Attributes:
        id: "05-e2" is exercise 2 of lesson 05.
        title, minutes, stars: a short name, how long it takes, difficulty from 1 to 3.
        properties: in the order in which mistakes should be found; one point each.
        reference: a self-contained function of at most 12 lines with the stub's signature; it may
            use what the lesson's setup cell imports and the answers before it.
    """

    id: str
    title: str
    minutes: int
    stars: int
    properties: tuple[Property, ...]
    reference: Callable

    @property
    def name(self) -> str:
        """The function's name, as the student writes it."""
        return self.reference.__name__

    @property
    def points(self) -> int:
        """One per property."""
        return len(self.properties)

    @property
    def solution(self) -> str:
        """The reference's source."""
        return textwrap.dedent(inspect.getsource(self.reference)).rstrip()

    @property
    def stub(self) -> str:
        """The reference's signature and docstring, ending in NotImplementedError(id)."""
        function = ast.parse(self.solution).body[0]
        assert isinstance(function, ast.FunctionDef) and ast.get_docstring(function), self.id
        head = self.solution.splitlines()[: function.body[0].end_lineno]
        return "\n".join([*head, f'    raise NotImplementedError("{self.id}")'])


@dataclass(frozen=True)
class Outcome:
    """How one property came out; evidence is None if it holds."""

    claim: str
    hint: str
    evidence: str | None
    error: Raised | None = None

    @property
    def holds(self) -> bool:
        """True if the property holds."""
        return self.evidence is None


@dataclass(frozen=True)
class Verdict:
    """The verdict on one answer: TODO, PASS or NOT YET, with an outcome per property."""

    exercise: str
    status: str
    outcomes: tuple[Outcome, ...]
    possible: int

    @property
    def points(self) -> int:
        """Points earned."""
        return sum(outcome.holds for outcome in self.outcomes)

    @property
    def first_failure(self) -> Outcome | None:
        """The outcome to show: the first property that fails."""
        return next((outcome for outcome in self.outcomes if not outcome.holds), None)


class Stop(Exception):
    """Ends a property with this evidence: the call raised, or nothing can be read of its value."""

    def __init__(self, evidence: str, error: Raised | None = None) -> None:
        self.evidence, self.error = evidence, error


def judge(exercise: Exercise, answer: Answer, observe: Observe, seed: int | None = None) -> Verdict:
    """Try every property of an exercise on an answer; one point for each that holds.

    Args:
        exercise: what is asked.
        answer: handed on to `observe`, nothing else is done with it.
        observe: calls the answer on fresh inputs and returns an `Observed`.
        seed: of the random inputs; by default one that belongs to the exercise.
    """
    seed = zlib.crc32(exercise.id.encode()) if seed is None else seed
    outcomes: list[Outcome] = []
    for index, claimed in enumerate(exercise.properties):
        evidence, error = _try(claimed, answer, observe, seed + index)
        if error and error.kind == "NotImplementedError" and error.message == exercise.id:
            return Verdict(exercise.id, "TODO", (), exercise.points)
        hint = evidence.hint if isinstance(evidence, Form) else claimed.hint
        outcomes.append(Outcome(claimed.claim, hint, evidence, error))
        if error and error.kind == "TimeLimit":
            break  # the next ones would wait as long
    passed = len(outcomes) == exercise.points and all(outcome.holds for outcome in outcomes)
    return Verdict(exercise.id, "PASS" if passed else "NOT YET", tuple(outcomes), exercise.points)


def _try(claimed: Property, answer: Answer, observe: Observe, seed: int) -> tuple:
    """Evidence or None, and what was raised or None."""
    careful = partial(_observe_or_stop, observe)
    try:
        evidence = claimed.test(answer, careful, Draw(seed))
        if evidence is not None and claimed.statistical:
            evidence = claimed.test(answer, careful, Draw(seed + 1_000_003, scale=10))
    except Stop as stop:
        return stop.evidence, stop.error
    except Exception as stumbled:  # a right answer never gets here: the tests see to that
        return Form(f"the check cannot read what you returned: {stumbled}"), None
    return evidence, None


def _observe_or_stop(observe: Observe, answer: Answer, *inputs: object) -> Observed:
    seen = observe(answer, *inputs)
    if seen.error is not None:
        raise Stop(f"{seen.error.kind}: {seen.error.message}", seen.error)
    for at, (before, after) in enumerate(zip(inputs, seen.inputs_after, strict=True), 1):
        if isinstance(before, Tensor) and not torch.equal(before.detach(), after):
            raise Stop(Changed(f"your function changed its input number {at}"))
    return seen


def equals(right: Callable, inputs: Callable[[Draw], tuple], name: str = "value") -> Callable:
    """A property's test: the answer equals `right` on `inputs(draw)`, up to rounding."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = inputs(draw)
        return differs(observe(answer, *given).value, right(*given), name)

    return test


def differs(
    value: Plain, expected: Number, name: str = "value", tolerance: float = 1e-9, where: str = ""
) -> str | None:
    """None if `value` equals `expected`, else a line that says how it differs.

    Equal means: a number or tensor of the same shape, floating point, finite, within `tolerance`
    relative to the largest entry (absolutely below 1). NumPy answers are as good as torch ones.
    """
    at = f" {where}" if where else ""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    if form := _wrong_form(value, expected, name):
        return Form(form + at)
    got = _numbers(value).double()
    if not torch.isfinite(got).all():
        return f"{name} has NaN or infinite entries: {_few(got)}{at}"
    largest = max([1.0, *expected.abs().flatten().tolist()])
    apart = torch.cat([(got - expected).abs().flatten(), torch.zeros(1)]) / largest
    distance, first = float(apart.max()), int((apart > tolerance).float().argmax()) // 4 * 4
    shown = f"you: {name} = {_few(got, first)}, right: {_few(expected, first)}{at}"
    if tolerance < distance < 1e-6:
        return Rounded(f"{shown}: equal to 6 digits, asked are 9")
    return shown if distance > tolerance else None


def far(value: Plain, exact: Number, standard_error: Number, name: str = "value") -> str | None:
    """None if every entry of a random `value` is within 4 standard errors of `exact`."""
    if wrong := differs(value, exact, name, tolerance=math.inf):
        return wrong
    z = float(((_numbers(value).double() - exact) / standard_error).abs().max())
    return None if z <= 4 else f"{differs(value, exact, name, 0)}: {z:.1f} standard errors apart"


def ignores_generator(answer: Answer, observe: Observe, draw: Draw, *inputs: object) -> str | None:
    """None if `answer(*inputs, generator)` depends on the generator's seed and on nothing else."""
    seed, other = draw.seed(), draw.seed()
    first, again, second = (observe(answer, *inputs, s).value for s in (seed, seed, other))
    if not _same(first, again):
        return "two calls with equal generators give different results"
    same = "two calls with generators of different seeds give the same result"
    return same if _same(first, second) else None


def _same(a: Plain, b: Plain) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return np.array_equal(np.asarray(a), np.asarray(b))


def _wrong_form(value: Plain, expected: Tensor, name: str) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.ndarray | Tensor):
        return f"{name} is a {type(value).__name__}, asked is a tensor of numbers"
    got = _numbers(value)
    if got.is_complex() or got.dtype == torch.bool:
        return f"{name} has dtype {got.dtype}, asked are real numbers"
    if got.shape != expected.shape:
        return f"{name} has shape {tuple(got.shape)}, asked is {tuple(expected.shape)}"
    return None


def _numbers(value: Plain) -> Tensor:
    """As a tensor; Python's numbers in float64, where torch would round them to float32."""
    return torch.as_tensor(np.float64(value) if isinstance(value, int | float) else value)


def _few(values: Tensor, first: int = 0) -> str:
    """Up to four entries from the first to show, readable."""
    left = values.flatten()[first:].tolist()
    text = ", ".join(f"{entry:.6g}" for entry in left[:4])
    return f"[{'…, ' * (first > 0)}{text}{', …' * (len(left) > 4)}]" if values.ndim else text
