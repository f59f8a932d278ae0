"""Exercises of lesson 02 on series, masks and masses: fit_ar, conv_mask, the discretised logistic.

Causality, bits and sampling (02-e3 to 02-e5) are in lesson02_pixels.py.
"""

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


def fit_ar(x: Tensor, p: int) -> tuple[Tensor, Tensor, Tensor]:
    """Least squares of x_t on 1, x_{t-1}, ..., x_{t-p}, for t = p, ..., n-1; x is (n,).

    Returns c and s2 (one number each) and phi (p,), phi[0] for the lag 1, in the order c, phi, s2.
    s2 is the mean of the squared residuals: with c and phi it maximises the likelihood given the
    first p values.
    """
    lags = [x[p - k : len(x) - k] for k in range(1, p + 1)]
    A = torch.stack([torch.ones_like(x[p:]), *lags], dim=1)  # (n - p, 1 + p)
    solution = torch.linalg.lstsq(A, x[p:, None]).solution[:, 0]
    s2 = (x[p:] - A @ solution).square().mean()
    return solution[0], solution[1:], s2


def conv_mask(k: int, kind: str) -> Tensor:
    """The mask (k, k) of a square kernel, k odd, for images in raster order: 1 may look, 0 not.

    kind "A" shows pixels that come before the centre, kind "B" these and the centre itself.
    """
    mask = torch.zeros(k, k)
    mask[: k // 2] = 1
    mask[k // 2, : k // 2] = 1
    if kind == "B":
        mask[k // 2, k // 2] = 1
    return mask


def disc_logistic_logp(x: Tensor, mu: Tensor, s: Tensor, levels: int) -> Tensor:
    """Log P(x) in nats, entry by entry, of levels x in 0, ..., levels-1 (whole numbers as floats).

    Level k is the point c = 2k/(levels-1) - 1 of [-1, 1]; P(k) is the mass that a logistic law of
    mean mu and scale s has in the bin from c - h to c + h, where h = 1/(levels-1). The first bin
    begins at minus infinity, the last one ends at infinity. Finite for any finite mu and s > 0.
    """
    h = 1 / (levels - 1)
    c = 2 * h * x - 1
    below = torch.nn.functional.logsigmoid((c + h - mu) / s)
    above = torch.nn.functional.logsigmoid(-(c - h - mu) / s)
    inside = below + above + torch.log(-torch.expm1(-2 * h / s))
    return torch.where(x == 0, below, torch.where(x == levels - 1, above, inside))


# 02-e1


def _series(draw: Draw, n: int = 300, level: float = 0.0, p: int = 2) -> Tensor:
    """A stationary series around `level`, its noise as drawn."""
    phi = torch.tensor([0.75, -0.5, 0.2, -0.1])[:p].double()
    values = [level + value for value in draw.normal(p).tolist()]
    for eps in draw.normal(n - p).tolist():
        past = torch.tensor(values[-p:][::-1]).double() - level
        values.append(level + float(phi @ past) + eps)
    return torch.tensor(values, dtype=torch.float64)


PARTS = ("c", "phi", "s2")


def _parts(which: tuple[int, ...], x: Tensor, p: int, answer: Answer, observe: Observe):
    seen, right = observe(answer, x, p).value, fit_ar(x, p)
    if not isinstance(seen, tuple | list) or len(seen) != 3:
        return f"you return {type(seen).__name__}, asked are three things: c, phi, s2"
    for at in which:
        where = f"for {len(x)} values, p = {p}"
        if wrong := differs(seen[at], right[at], PARTS[at], 1e-7, where):
            return wrong
    return None


def _fits(which: tuple[int, ...], level: float = 0.0, p: int = 2, n: int = 300):
    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        shift = level and float(draw.uniform(level, level + 2))
        return _parts(which, _series(draw, n, shift, p), p, answer, observe)

    return test


def _recovers(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """A recursion without noise is fitted without residual."""
    c, first, second = float(draw.uniform(0.5, 1.5)), *draw.normal(2).tolist()
    values = [first, second]
    for _ in range(10):
        values.append(c + 0.75 * values[-1] - 0.5 * values[-2])
    seen = observe(answer, torch.tensor(values).double(), 2).value
    if not isinstance(seen, tuple | list) or len(seen) != 3:
        return f"you return {type(seen).__name__}, asked are three things: c, phi, s2"
    return differs(seen[1], torch.tensor([0.75, -0.5]), "phi", 1e-6, "of a series without noise")


FIT = (
    Property(
        "finds phi of a series without noise, the lag 1 first",
        "Write two rows of the regression by hand: the value x_t stands beside x_{t-1} and "
        "x_{t-2}, in this order. Is one of them shifted by one, or phi turned round?",
        _recovers,
    ),
    Property(
        "finds c and phi of a series far from 0",
        "On a mean-shifted series the constant c is needed: a column of ones. And c is not the "
        "mean of the series: the mean is c / (1 - sum of phi).",
        _fits((0, 1), level=3.0),
    ),
    Property(
        "finds phi exactly, not only for long series",
        "Only rows that have all p values before them take part, t = p, ..., n-1: zeros in place "
        "of missing values, or sample autocovariances, give nearly the same phi, not the same.",
        _fits((1,), n=25),
    ),
    Property(
        "s2 is the mean squared residual",
        "s2 is a variance: the mean, over the n - p rows, of the squared difference between x_t "
        "and its prediction. No root, no sum, no n - p - 1.",
        _fits((2,), level=1.0, n=30),
    ),
    Property(
        "serves other orders",
        "p is an argument: for p = 1 and p = 4, too, there are p columns of lags.",
        lambda answer, observe, draw: (
            _fits((0, 1, 2), p=1, n=40)(answer, observe, draw)
            or _fits((0, 1, 2), p=4, n=60)(answer, observe, draw)
        ),
    ),
)

# 02-e2


def _mask(what, kinds: str, sizes: tuple[int, ...]):
    """A property's test: `what(mask)` is that of the reference."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        for k in sizes:
            for kind in kinds:
                value, right = observe(answer, k, kind).value, conv_mask(k, kind)
                where = f'of the mask of kind "{kind}", k = {k}'
                if wrong := differs(value, right, "mask", float("inf"), where):
                    return wrong
                mask = torch.as_tensor(value).double()
                if k > 1 and len(mask.unique()) == 1:
                    return f"your mask is {float(mask[0, 0]):g} everywhere {where}"
                name, part = what(mask, k)
                if wrong := differs(part, what(right.double(), k)[1], name, where=where):
                    return wrong
        return None

    return test


def _later(mask: Tensor, k: int) -> tuple[str, Tensor]:
    return "the entries after the centre", mask.flatten()[k * k // 2 + 1 :]


def _earlier(mask: Tensor, k: int) -> tuple[str, Tensor]:
    return "the entries before the centre", mask.flatten()[: k * k // 2]


def _centre(mask: Tensor, k: int) -> tuple[str, Tensor]:
    return "the centre", mask[k // 2, k // 2]


MASK = (
    Property(
        "hides what comes later",
        "Raster order: after the centre come the rest of its row, to the right, and all rows "
        "below. There the mask is 0.",
        _mask(_later, "AB", (3, 5)),
    ),
    Property(
        "A hides the centre",
        "With kind A the pixel sees itself: the likelihood is cheating, bits/dim go to 0. The "
        "first layer must not show the centre.",
        _mask(_centre, "A", (3, 5)),
    ),
    Property(
        "B shows the centre",
        "Kind B is for later layers: there the centre holds what was computed from earlier pixels "
        "only, and may be seen.",
        _mask(_centre, "B", (3, 5)),
    ),
    Property(
        "shows all that comes before",
        "Before the centre come all rows above, over their whole width, and the left part of its "
        "own row. All of them are 1.",
        _mask(_earlier, "AB", (3, 5)),
    ),
    Property(
        "serves every odd size",
        "k is an argument: a 7x7 kernel has three rows above the centre, a 1x1 kernel has none.",
        _mask(lambda mask, k: ("mask", mask), "AB", (7, 1, 9)),
    ),
)

# 02-e6


def _levels(draw: Draw, K: int, at: int | None = None) -> tuple:
    x = torch.arange(K, dtype=torch.float64) if at is None else torch.full((5,), float(at)).double()
    return x, draw.uniform(-0.5, 0.5, len(x)), draw.uniform(0.2, 0.5, len(x)), K


def _sums_to_one(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for mean, low, high in ((0.95, 0.04, 0.06), (-1.3, 0.2, 0.4), (0.0, 0.3, 0.5)):
        mu, s = torch.tensor(mean).double(), draw.uniform(low, high)
        x = torch.arange(17, dtype=torch.float64)
        value = observe(answer, x, mu, s, 17).value
        if wrong := differs(value, torch.zeros(17), "log P", float("inf")):
            return wrong
        total = torch.as_tensor(value).double().exp().sum()
        where = f"over 17 levels, mu = {mean}, s = {float(s):.3f}"
        if wrong := differs(total, 1.0, "sum of P", 1e-8, where):
            return wrong
    return None


def _inside(K: int):
    def inputs(draw: Draw) -> tuple:
        x, mu, s, _ = _levels(draw, K)
        return x[1:-1], mu[1:-1], s[1:-1], K

    return inputs


def _far(draw: Draw) -> tuple:
    x = torch.tensor([3.0, 8.0, 12.0, 0.0, 16.0]).double()
    mu = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0]).double()
    return x, mu + draw.uniform(-0.1, 0.1, 5), draw.uniform(0.001, 0.002, 5), 17


def _gradient(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, mu, s, K = _levels(draw, 9)
    asked, wanted = mu.clone().requires_grad_(), mu.clone().requires_grad_()
    grad = observe(answer, x, asked, s, K).grads[1]
    if grad is None:
        return "no gradient reaches mu"
    (right,) = torch.autograd.grad(disc_logistic_logp(x, wanted, s, K).sum(), wanted)
    return differs(grad, right, "d/dmu of the sum", 1e-6)


LOGISTIC = (
    Property(
        "a bin inside has the mass between its two edges",
        "The mass of a bin is a difference of the distribution function sigmoid((y - mu)/s) at its "
        "two edges, c + h and c - h, and asked is its logarithm. A density is no mass.",
        equals(disc_logistic_logp, _inside(17), "log P"),
    ),
    Property(
        "the masses sum to 1, also for a mean near the edge",
        "What of the mass beyond -1 and 1? It belongs to the first and the last bin. At mu near 0 "
        "with a small s you would not notice that it is lost.",
        _sums_to_one,
    ),
    Property(
        "serves another number of levels",
        "levels is an argument: the width of a bin and the place of the last level follow from it.",
        equals(disc_logistic_logp, lambda d: _levels(d, 256), "log P"),
    ),
    Property(
        "two levels have no bin inside",
        "With two levels the first bin is the left half of the line, the last the right half.",
        equals(disc_logistic_logp, lambda d: _levels(d, 2), "log P"),
    ),
    Property(
        "is finite and right far from the mean",
        "Both sigmoids round to 0 or to 1 there, and log 0 is -inf. sigmoid(u) - sigmoid(l) = "
        "sigmoid(u) sigmoid(-l) (1 - e^(l-u)): take the logarithm of each factor, with logsigmoid.",
        equals(disc_logistic_logp, _far, "log P"),
    ),
    Property(
        "has the gradient in mu that training needs",
        "A network learns mu through this number: stay in torch, without .detach() or numpy.",
        _gradient,
    ),
)

EXERCISES = (
    Exercise("02-e1", "Fit an AR(p)", 15, 2, FIT, fit_ar),
    Exercise("02-e2", "The mask of a kernel", 10, 1, MASK, conv_mask),
    Exercise("02-e6", "The discretised logistic", 20, 3, LOGISTIC, disc_logistic_logp),
)
