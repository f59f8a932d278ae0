"""Exercises of lesson 13 on the network: the code of a time, and how it steers a layer."""

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
)


def sinusoidal(t: Tensor, dim: int) -> Tensor:
    """A code for every time: t (B,) whole numbers, the code (B, dim), dim even.

    First sin(w_i t), then cos(w_i t), with the frequencies w_i = 10000^(-i/(dim/2)) for
    i = 0 ... dim/2 - 1.
    """
    w = 10000 ** (-torch.arange(dim // 2) / (dim // 2))
    angle = t[:, None] * w  # (B, dim/2)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def adagn(h: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:
    """Adaptive group norm of h (B, C, H, W): normalised, times 1 + scale, plus shift, both (B, C).

    Each example's channels are split into groups of C/groups neighbours; over a group and all
    pixels h gets mean 0 and (biased) variance 1, with 1e-5 added to the variance.
    The norm has no weights of its own. Gradients flow to h, scale and shift.
    """
    normal = torch.group_norm(h, groups)
    return normal * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


# 13-e3: tolerances are for float32, which loses digits in large angles


def _code(answer: Answer, observe: Observe, t: list[int], dim: int) -> Tensor:
    value = observe(answer, torch.tensor(t), dim).value
    if torch.as_tensor(value).shape != (len(t), dim):
        shape = tuple(torch.as_tensor(value).shape)
        raise ValueError(f"the code has shape {shape}, asked is {(len(t), dim)}")
    return torch.as_tensor(value).double()


def _halves(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    dim = 2 * draw.integer(3, 8)
    right = torch.cat([torch.zeros(dim // 2), torch.ones(dim // 2)])
    code = _code(answer, observe, [0, 3], dim)
    return differs(code[0], right, "code of t = 0", tolerance=1e-6)


def _first_wave(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    t = [1, 2, draw.integer(3, 9)]
    code, right = _code(answer, observe, t, 12), torch.tensor(t).double()
    where = f"at t = {t}"
    wrong = differs(code[:, 0], right.sin(), "first column", 1e-4, where)
    return wrong or differs(code[:, 6], right.cos(), "column dim/2", 1e-4, where)


def _columns_differ(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    half = draw.integer(3, 6)
    sines = _code(answer, observe, list(range(1, 300, 7)), 2 * half)[:, :half].T
    for i in range(half):
        for j in range(i):
            if not float((sines[i] - sines[j]).abs().max()) >= 1e-3:  # NaN is not, either
                return f"at dim = {2 * half} columns {j} and {i} are equal"
    return None


def _frequencies(answer: Answer, observe: Observe, half: int) -> Tensor:
    """From the code of t = 1: right for frequencies up to 1."""
    code = _code(answer, observe, [1], 2 * half)[0]
    return torch.atan2(code[:half], code[half:])


def _geometric(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    w = _frequencies(answer, observe, draw.integer(4, 8))
    ratios = w[1:] / w[:-1]
    if ratios.max() - ratios.min() < 1e-3 and ratios.max() < 1:
        return None
    text = ", ".join(f"{float(v):.4g}" for v in w)
    return f"frequencies, read from t = 1: {text}"


def _exact(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    half = draw.integer(3, 8)
    w = _frequencies(answer, observe, half)
    right = 10000.0 ** (-torch.arange(half).double() / half)
    if wrong := differs(w[-1] / right[-1], 1.0, "slowest frequency by the right one", 1e-3):
        return wrong
    t = [draw.integer(0, 999) for _ in range(6)]
    expected = sinusoidal(torch.tensor(t).double(), 2 * half)
    return differs(_code(answer, observe, t, 2 * half), expected, "code", 1e-3, f"at t = {t}")


SINUSOIDAL = (
    Property(
        "the code of t = 0 is dim/2 zeros, then dim/2 ones",
        "At t = 0 every sine is 0 and every cosine 1: all the sines come first, then all the "
        "cosines, not in turn.",
        _halves,
    ),
    Property(
        "the fastest wave turns by one radian a step",
        "At i = 0 the frequency is 1: column 0 is sin(t), column dim/2 is cos(t). Is t scaled, in "
        "turns instead of radians, rounded (float16?), or does i begin at 1?",
        _first_wave,
    ),
    Property(
        "no two columns are copies",
        "Half the columns are constant, or copies of others: i // (dim/2) is 0 for all i, in an "
        "exponent you want /. And each i has a frequency of its own.",
        _columns_differ,
    ),
    Property(
        "each frequency is the one before times a constant",
        "With linear frequencies t and t + k collide, or no wave is slow enough to tell early from "
        "late. Yours must fall by one and the same factor from column to column.",
        _geometric,
    ),
    Property(
        "the frequencies are 10000^(-i/(dim/2))",
        "Evenly spaced, at another rate: the base is 10000, and i is divided by dim/2, one more "
        "than the largest i. The slowest frequency is not 1/10000 itself.",
        _exact,
    ),
)


# 13-e4


def _features(draw: Draw, B: int = 2) -> Tensor:
    """(B, 4, 4, 4), every channel with a mean and a spread of its own."""
    spread = draw.uniform(2, 4, B, 4, 1, 1)
    return spread * draw.normal(B, 4, 4, 4) + 3 * draw.normal(B, 4, 1, 1)


def _still(B: int = 2) -> tuple[Tensor, Tensor]:
    return torch.zeros(B, 4).double(), torch.zeros(B, 4).double()


def _adagn(answer: Answer, observe: Observe, *given: object) -> Tensor:
    value = observe(answer, *given).value
    shape = tuple(given[0].shape)
    if torch.as_tensor(value).shape != shape:
        raise ValueError(f"it has shape {tuple(torch.as_tensor(value).shape)}, asked is {shape}")
    return torch.as_tensor(value)


def _not_silent(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    value = _adagn(answer, observe, _features(draw), *_still(), 2)
    if not value.abs().max() > 0.1:  # NaN is not, either
        return f"at scale = shift = 0 the largest output is {float(value.abs().max()):.4g}"
    alike = len(value.unique()) == 1
    return f"the output is {float(value.max()):.4g} at every pixel" if alike else None


def _neighbours(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    h, other = _features(draw, 3), _features(draw, 3)
    alone = _adagn(answer, observe, h, *_still(3), 2)
    other[0] = h[0]
    value = _adagn(answer, observe, other, *_still(3), 2)
    if torch.equal(value[1], alone[1]):
        return "example 1 comes out as before, and it is another one"
    wrong = differs(value[0], alone[0].double(), "example 0", 1e-6)
    return wrong and f"{wrong.replace('right:', 'before:')}, after its neighbours changed"


def _equals(inputs: Callable[[Draw], tuple]) -> Callable:
    """A property's test; the tolerance lets another small number under the root pass."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = inputs(draw)
        where = f"with {given[3]} groups"
        return differs(_adagn(answer, observe, *given), adagn(*given), "output", 1e-3, where)

    return test


def _even_groups(draw: Draw) -> tuple:
    h = _features(draw)
    h[0], h[1, :2] = float(draw.uniform(1, 2)), -1
    return h, draw.normal(2, 4), draw.normal(2, 4), 2


def _gradients(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """As autograd has them; a row of h sums to a gradient of about 0, so scale is not even."""
    h, scale, shift = 3 * draw.normal(2, 6, 3, 5), draw.normal(2, 6), draw.normal(2, 6)
    given = [part.requires_grad_() for part in (h, scale, shift)]
    right = torch.autograd.grad(adagn(*given, 3).sum(), given)
    slopes = observe(answer, *given, 3).grads[:3]
    for name, slope, expected in zip(("h", "scale", "shift"), slopes, right, strict=True):
        if slope is None:
            return f"no gradient reaches {name}"
        if wrong := differs(slope, expected, f"gradient of {name}", 1e-3):
            return wrong
    return None


ADAGN = (
    Property(
        "at scale = shift = 0 something is left",
        "The network starts with scale = 0: use 1 + scale, or the output is zero at the start, "
        "and with it every gradient behind.",
        _not_silent,
    ),
    Property(
        "an example does not see its neighbours",
        "The result depends on the neighbours in the batch: that is batch norm. Which axes are "
        "averaged over? Not the first.",
        _neighbours,
    ),
    Property(
        "at scale = shift = 0 every group has mean 0 and variance 1",
        "Mean and variance are taken over C/groups channels that stand side by side and over all "
        "pixels: not over one channel, not over all. The variance is the biased one (1/n). Is "
        "what is added to it under the root 1e-5?",
        lambda answer, observe, draw: next(
            filter(None, (_group_norm(answer, observe, draw, groups) for groups in (2, 1, 4))), None
        ),
    ),
    Property(
        "scale and shift act after the norm, per example and channel",
        "Normalise first, then times 1 + scale, then plus shift. Both are (B, C): they belong to "
        "the first two axes of h, the last two need a 1 each.",
        _equals(lambda d: (_features(d, 4), d.normal(4, 4), d.normal(4, 4), 2)),
    ),
    Property(
        "a constant group gives shift, no NaN",
        "Where a group is constant its variance is 0, and 0/0 NaN: what is added to the variance "
        "under the root?",
        _equals(_even_groups),
    ),
    Property(
        "gradients reach h, scale and shift",
        "A layer is trained through: what takes the result, or its mean and variance, off the "
        "graph (detach, item, numpy)?",
        _gradients,
    ),
)


def _group_norm(answer: Answer, observe: Observe, draw: Draw, groups: int) -> str | None:
    return _equals(lambda d: (_features(d), *_still(), groups))(answer, observe, draw)


EXERCISES = (
    Exercise("13-e3", "A code for the time", 15, 2, SINUSOIDAL, sinusoidal),
    Exercise("13-e4", "Steering a layer", 15, 2, ADAGN, adagn),
)
