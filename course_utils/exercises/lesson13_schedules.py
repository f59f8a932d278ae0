"""Exercises of lesson 13 on schedules: the cosine schedule, a variance that is learned."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Observe,
    Property,
    differs,
    equals,
)


def cosine_schedule(T: int, s: float) -> tuple[Tensor, Tensor]:
    """The cosine schedule: alpha_bar and beta, both (T + 1,), where entry t is time t.

    alpha_bar_t = f(t)/f(0), f(t) = cos^2((t/T + s)/(1 + s) pi/2). beta_t is what makes alpha_bar
    from step to step, at most 0.999; beta[0] = 0.
    """
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    beta = (1 - f[1:] / f[:-1]).clamp(max=0.999)
    return f / f[0], torch.cat([beta.new_zeros(1), beta])


def learned_log_var(v: Tensor, beta: Tensor, beta_tilde: Tensor) -> Tensor:
    """The log variance v log beta + (1 - v) log beta_tilde, like v (B, ...), v in [0, 1].

    Row b has beta[b] and beta_tilde[b], both (B,). beta_tilde, 0 at t = 1, counts as at least
    1e-20. Gradients flow to v.
    """
    shape = (-1, *[1] * (v.ndim - 1))
    high, low = beta.reshape(shape), beta_tilde.clamp(min=1e-20).reshape(shape)
    return v * high.log() + (1 - v) * low.log()


def _tables(answer: Answer, observe: Observe, draw: Draw) -> tuple:
    """The answer's alpha_bar and beta, and the right ones, for drawn T and s."""
    T, s = draw.integer(20, 60), float(draw.uniform(0.05, 0.2))
    value = observe(answer, T, s).parts("alpha_bar", "beta")
    for name, part in zip(("alpha_bar", "beta"), value, strict=True):
        shape = tuple(torch.as_tensor(part).shape)
        if shape != (T + 1,):
            raise ValueError(f"{name} has shape {shape} at T = {T}, asked is {(T + 1,)}")
    return [torch.as_tensor(part) for part in value], cosine_schedule(T, s)


def _part(which: int, entries: slice) -> Callable:
    """A property's test: these entries of alpha_bar (0) or of beta (1) are right."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        got, right = _tables(answer, observe, draw)
        name = ("alpha_bar", "beta")[which]
        if len(got[which].unique()) == 1:
            return f"{name} = {float(got[which][0]):.6g} at every t"
        name += f"[{entries.start or 0}:{entries.stop or ''}]"
        # float32 loses five digits where alpha_bar is nearly 0
        return differs(got[which][entries], right[which][entries], name, tolerance=1e-4)

    return test


def _ends_at_0(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    (alpha_bar, _), _ = _tables(answer, observe, draw)
    if not alpha_bar.any():
        return "alpha_bar = 0 at every t"
    last = float(alpha_bar[-1])
    return None if abs(last) < 1e-9 else f"you: alpha_bar[T] = {last:.4g}, right: 0"


COSINE = (
    Property(
        "alpha_bar begins at 1",
        "It starts below 1, because s keeps cos^2 away from it: divide by f(0). And alpha_bar "
        "comes first in the pair.",
        _part(0, slice(0, 1)),
    ),
    Property(
        "alpha_bar is f(t)/f(0) at t = 0 ... T",
        "T + 1 values, t/T from 0 to 1. Is the cosine squared? Is s added above and below, before "
        "the factor pi/2?",
        _part(0, slice(None)),
    ),
    Property(
        "beta[0] is 0",
        "No step leads to t = 0, so beta[0] = 0 stands in front: beta[t] belongs to the step from "
        "t - 1 to t.",
        _part(1, slice(0, 1)),
    ),
    Property(
        "beta is 1 minus a ratio of neighbours",
        "Use 1 minus a ratio: alpha_bar is a product, and its factor alpha_t = 1 - beta_t leads "
        "from t - 1 to t. A difference of alpha_bar is too small by the factor alpha_bar_{t-1}.",
        _part(1, slice(1, -1)),
    ),
    Property(
        "beta is at most 0.999",
        "At t = T alpha_bar is 0 and beta 1: a step that forgets all, and cannot be undone. "
        "Clip beta, all of it, at 0.999.",
        _part(1, slice(-1, None)),
    ),
    Property(
        "alpha_bar ends at 0: the cap is beta's alone",
        "At t = T the formula gives 0. The product of the capped 1 - beta is a little more: return "
        "alpha_bar as f gives it, with no clamp, and cap beta only.",
        _ends_at_0,
    ),
)


def _variances(draw: Draw, rows: int = 4) -> tuple[Tensor, Tensor]:
    """Beta and beta_tilde of these rows; the first is repeated if one is asked for."""
    beta = draw.uniform(0.1, 0.5, rows)
    both = beta, beta * draw.uniform(0.1, 0.6, rows)
    return both if rows == 4 else tuple(part.expand(4).clone() for part in both)


def _ends(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for v, name in ((1.0, "log beta"), (0.0, "log beta_tilde")):
        given = torch.full((4, 4), v, dtype=torch.float64), *_variances(draw, rows=1)
        value = observe(answer, *given).value
        where = f"at v = {v:g}: {name}"
        if wrong := differs(value, learned_log_var(*given), "log_var", where=where):
            return wrong
    return None


def _some_at_t_1(draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    v, (beta, beta_tilde) = draw.uniform(0.2, 0.8, 4, 4), _variances(draw)
    v[1], beta_tilde[:2] = 1, 0
    return v, beta, beta_tilde


def _gradient(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    v, (beta, beta_tilde) = draw.uniform(0.2, 0.8, 4, 4), _variances(draw)
    slope = observe(answer, v.requires_grad_(), beta, beta_tilde).grads[0]
    if slope is None:
        return "no gradient reaches v"
    return differs(slope, (beta / beta_tilde).log()[:, None].expand(4, 4), "gradient")


def _log_var(inputs: Callable[[Draw], tuple]) -> Callable:
    return equals(learned_log_var, inputs, "log_var")


LOG_VAR = (
    Property(
        "v = 1 gives log beta, v = 0 gives log beta_tilde",
        "At the ends one of the two logarithms is left. Which one does v weigh? Asked is the "
        "logarithm of a variance: not the variance, not a standard deviation.",
        _ends,
    ),
    Property(
        "v = 1/2 gives the logarithm of the geometric mean",
        "The midpoint must be the geometric mean: interpolate the logarithms, not the variances. "
        "v runs from 0 to 1.",
        _log_var(lambda d: (torch.full((4, 4), 0.5).double(), *_variances(d, rows=1))),
    ),
    Property(
        "every row has its own beta, for images too",
        "Right where all rows have one beta: (B,) needs a 1 for each axis of v after the first, "
        "or the variances run along pixels.",
        lambda answer, observe, draw: (
            _log_var(lambda d: (d.uniform(0, 1, 4, 4), *_variances(d)))(answer, observe, draw)
            or _log_var(lambda d: (d.uniform(0, 1, 4, 4, 4, 4), *_variances(d)))(
                answer, observe, draw
            )
        ),
    ),
    Property(
        "is finite at t = 1, where beta_tilde is 0",
        "log 0 is -inf, and 0 times it NaN: clip beta_tilde at 1e-20 before the logarithm, and "
        "nothing else: a larger bound or sum moves the other rows.",
        _log_var(_some_at_t_1),
    ),
    Property(
        "gradients reach v",
        "v is an output of the network: what takes the result off its graph (detach, item, numpy)?",
        _gradient,
    ),
)

EXERCISES = (
    Exercise("13-e5", "The cosine schedule", 15, 2, COSINE, cosine_schedule),
    Exercise("13-e6", "A variance between two", 10, 2, LOG_VAR, learned_log_var),
)
