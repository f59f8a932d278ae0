"""Exercise of lesson 03 on continuous flows: Hutchinson's estimate of a trace."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Observe,
    Property,
    differs,
    ignores_generator,
)
from course_utils.observing import Recipe


def hutchinson_trace(f: Callable, x: Tensor, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Estimate of tr df/dx at x (D,) from n random probes of the generator, and its standard error.

    f maps (D,) to (D,). No Jacobian is formed: a probe costs one vector-Jacobian product. Both
    results are numbers (shape ()).
    """
    traces = []
    for _ in range(n):
        v = torch.randint(0, 2, x.shape, generator=generator).to(x) * 2 - 1
        _, pulled = torch.autograd.functional.vjp(f, x, v)
        traces.append(pulled @ v)
    values = torch.stack(traces)
    return values.mean(), values.std() / n**0.5


FIELD = "lambda x: torch.tensor({}, dtype=x.dtype) @ x + torch.sin({} * x)"


def _case(draw: Draw, D: int = 3) -> tuple[Recipe, Tensor, Tensor]:
    """A field with its point and its Jacobian there."""
    A, x, c = draw.normal(D, D), draw.normal(D), 1.5
    J = A + torch.diag(c * torch.cos(c * x))
    return Recipe(FIELD.format(A.tolist(), c)), x, J


def _spread(J: Tensor) -> tuple[float, float]:
    """Variance of one probe: signs, the least, and normals."""
    S = (J + J.T) / 2
    whole, diagonal = float((S**2).sum()), float((S.diagonal() ** 2).sum())
    return 2 * (whole - diagonal), 2 * whole


def _pair(value: object) -> str | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return f"you returned a {type(value).__name__}, asked is a pair (estimate, standard error)"
    return differs(value[0], 0.0, "estimate", math.inf) or differs(
        value[1], 0.0, "standard error", math.inf
    )


def _near(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for D in (3, 6):
        f, x, J = _case(draw, D)
        n = draw.count(150)
        value = observe(answer, f, x, n, draw.seed()).value
        if wrong := _pair(value):
            return wrong
        error, apart = math.sqrt(_spread(J)[1] / n), abs(float(value[0]) - float(J.trace()))
        if apart > 4 * error:
            return f"you: {float(value[0]):.4f}, exact trace {float(J.trace()):.4f}, D = {D}"
    return None


def _honest(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    f, x, J = _case(draw, 5)
    n = draw.count(200)
    value = observe(answer, f, x, n, draw.seed()).value
    if wrong := _pair(value):
        return wrong
    low, high = (math.sqrt(spread / n) for spread in _spread(J))
    found = float(value[1])
    if 0.7 * low < found < 1.4 * high:
        return None
    return f"you: {found:.4g} for n = {n}; with signs it is {low:.4g}, with normals {high:.4g}"


def _one_pass(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    f, x, _ = _case(draw, 40)
    seen = observe(answer, f, x, 20, draw.seed())
    if not 0 < seen.calls[0] <= 20:
        return f"f was called {seen.calls[0]} times for n = 20 probes"
    other = observe(answer, f, x, 20, draw.seed()).value
    if wrong := _pair(seen.value) or _pair(other):
        return wrong
    return "other probes, and the same estimate" if seen.value[0] == other[0] else None


def _uses_generator(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    f, x, _ = _case(draw, 6)  # signs in few dimensions often agree
    return ignores_generator(answer, observe, draw, f, x, 20)


def _quadratic(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """A rotation has trace 0, and every probe says so; a shift of the estimate shows."""
    a = draw.uniform(1, 2)
    J = [[0.0, float(a)], [-float(a), 0.0]]
    f = Recipe(f"lambda x: torch.tensor({J}, dtype=x.dtype) @ x")
    seen = observe(answer, f, draw.normal(2), 12, draw.seed())
    if wrong := _pair(seen.value) or differs(seen.value[0], 0.0, "estimate of a rotation's trace"):
        return wrong
    if not seen.calls[0]:
        return "f was never called"
    f, x, _ = _case(draw, 5)
    return None if float(observe(answer, f, x, 12, draw.seed()).value[0]) else "you: always 0"


def _new_probes(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    f, x, J = _case(draw, 5)
    first, second = (observe(answer, f, x, 20, draw.seed()).value for _ in range(2))
    if wrong := _pair(first) or _pair(second):
        return wrong
    if float(first[1]) < 1e-3 * math.sqrt(_spread(J)[0] / 20):
        return f"your standard error is {float(first[1]):.3g}: all probes gave one value"
    same = abs(float(first[0]) - float(second[0])) < 1e-9
    return "two estimates of 20 probes are equal" if same else None


TRACE = (
    Property(
        "every probe meets itself: a rotation has trace 0",
        "v J v with the same v on both sides is 0 for a rotation, whatever v is. Two different "
        "probes, or a small number added, show here: v must meet v.",
        _quadratic,
    ),
    Property(
        "each probe is a new one",
        "One probe reused n times has no spread, nor one number used for all coordinates: draw "
        "every entry of every probe anew.",
        _new_probes,
    ),
    Property(
        "is near the exact trace",
        "The mean of v J v is tr J only if E v v^T = I: entries of variance 1, drawn separately "
        "for each coordinate. Uniform numbers on [-1, 1] have variance 1/3. The mean, not the sum.",
        _near,
        statistical=True,
    ),
    Property(
        "the standard error is honest",
        "It is the standard deviation of the n values, divided by the root of n: not "
        "the variance, not divided by n.",
        _honest,
        statistical=True,
    ),
    Property(
        "asks f once per probe",
        "One vector-Jacobian product per probe: no Jacobian, no finite differences entry by entry.",
        _one_pass,
    ),
    Property(
        "draws from the generator",
        "Give generator=generator to the function that draws: equal seeds must give equal "
        "estimates, others other ones.",
        _uses_generator,
    ),
)

EXERCISES = (Exercise("03-e4", "A trace from random probes", 15, 2, TRACE, hutchinson_trace),)
