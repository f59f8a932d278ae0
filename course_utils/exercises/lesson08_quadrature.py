"""Exercises of lesson 08 with integrals: the value of the game, and the JSD that it equals."""

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
from course_utils.observing import Observed


def minimax_value(p: Tensor, p_g: Tensor, logit: Tensor, dx: float) -> Tensor:
    """V(D, G) = sum of [p log D + p_g log(1 - D)] dx in nats, with D = sigmoid(logit); one number.

    p, p_g and logit are values at the points of a grid with spacing dx. Finite for any finite
    logits.
    """
    log_real = torch.nn.functional.logsigmoid(logit)  # log D
    log_fake = torch.nn.functional.logsigmoid(-logit)  # log(1 - D)
    return (p * log_real + p_g * log_fake).sum() * dx


def jsd_and_value(p: Tensor, p_g: Tensor, dx: float) -> tuple[Tensor, Tensor]:
    """The pair JSD(p, p_g) and C(G) = max_D V(D, G), which follows from it; both in nats.

    JSD is the mean of KL(p || m) and KL(p_g || m), where m = (p + p_g) / 2. The densities p and
    p_g are given at the points of a grid with spacing dx, where they may be 0.
    """
    m = (p + p_g) / 2
    real = torch.xlogy(p, p) - torch.xlogy(p, m)  # p log(p/m), and 0 where p = 0
    fake = torch.xlogy(p_g, p_g) - torch.xlogy(p_g, m)
    jsd = (real + fake).sum() * dx / 2
    return jsd, 2 * jsd - math.log(4)


def _grid(wide: bool = False) -> tuple[Tensor, float]:
    """Points from -12 to 12, or farther out and twice as fine; and their spacing."""
    far, points = (18, 3001) if wide else (12, 1001)
    return torch.linspace(-far, far, points, dtype=torch.float64), 2 * far / (points - 1)


def _normal(x: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    return torch.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))


def _two_grids(draw: Draw) -> list[tuple]:
    """The same p, p_g, logit on two grids, with dx: integrals agree to rounding."""
    mean, sd = draw.uniform(0.5, 1.5, 2) * torch.tensor([-1, 1]), draw.uniform(0.6, 0.8, 2)
    offset, games = draw.normal(), []
    for x, dx in (_grid(), _grid(wide=True)):
        p, p_g = _normal(x, mean[0], 1.5 * sd[0]), _normal(x, mean[1], sd[1])
        games.append((p, p_g, 3 * torch.tanh(offset - x), dx))
    return games


def _game(draw: Draw, real: float = 1, fake: float = 1, logit: float = 1) -> tuple:
    """p, p_g, logit, dx; the arguments scale the first three."""
    p, p_g, a, dx = _two_grids(draw)[0]
    return real * p, fake * p_g, logit * a, dx


def _scales(
    answer: Answer, observe: Observe, draw: Draw, fine: int, tolerance: float
) -> str | None:
    """V is a number, and a drawn factor times it for that factor times both densities."""
    games, factor = _two_grids(draw), float(draw.uniform(2, 3))
    p, p_g, logit, dx = games[fine]
    value = observe(answer, *games[0]).value
    if wrong := differs(value, 0.0, "V", tolerance=math.inf):
        return wrong
    more = observe(answer, factor * p, factor * p_g, logit, dx).value
    where = f"for {factor:.4g} times both densities" + ", on a finer and wider grid" * fine
    apart = differs(more, factor * float(value), "V", tolerance, where)
    shown = apart and str(apart).replace("right:", f"{factor:.4g} times yours before:")
    return shown if apart or float(value) else "V is 0"


def _takes_logits(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    return _scales(answer, observe, draw, 0, 1e-6)


def _v_on_both_grids(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    return _scales(answer, observe, draw, 1, 1e-5)


def _jsd_on_both_grids(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    games = *_two_grids(draw), _game(draw)
    coarse, fine, other = (_jsd(observe(answer, *game[:2], game[3])) for game in games)
    if wrong := differs(coarse, 0.0, "JSD", tolerance=math.inf):
        return wrong
    if float(coarse) == float(other):
        return f"JSD = {float(coarse):.6g} for other densities, too"
    if differs(fine, float(coarse), "JSD", tolerance=1e-5):
        there = "on a grid that is wider and twice as fine"
        return f"JSD = {float(coarse):.6g}, but {float(fine):.6g} {there}"
    return None


VALUE = (
    Property(
        "is a number for logits of either sign",
        "A logit is any real number, and the logarithm of a negative number is NaN: D is the "
        "sigmoid of the logit. Then sum over the grid; V is linear in both densities.",
        _takes_logits,
    ),
    Property(
        "depends on the densities, not on the grid",
        "An integral is a sum of values times dx: refine the grid without dx, and the number "
        "doubles. A mean knows nothing of the grid's width.",
        _v_on_both_grids,
    ),
    Property(
        "the real part is E_p log D (checked with p_g = 0)",
        "With p_g = 0 only p log D is left: which density weighs which logarithm, and with which "
        "sign? In nats: the natural logarithm, with nothing added inside.",
        equals(minimax_value, lambda d: _game(d, fake=0), "V"),
    ),
    Property(
        "the fake part is E_pg log(1 - D) (checked with p = 0)",
        "The fake part rewards 1 - D: a good D is low where fakes are. It is added, and D "
        "maximises the sum. Nothing is added inside the log.",
        equals(minimax_value, lambda d: _game(d, real=0), "V"),
    ),
    Property(
        "is finite and right for logits of a thousand",
        "sigmoid(-1000) is 0 in floating point, and so is 1 - sigmoid(40): their log is -inf. Is "
        "there a function for the logarithm of a sigmoid? And what is 1 - sigmoid(a) a sigmoid of?",
        equals(minimax_value, lambda d: _game(d, logit=400), "V"),
    ),
)


PAIR = "JSD", "C(G)"


def _equal_laws(draw: Draw) -> tuple:
    p, _, _, dx = _game(draw)
    return p, p, dx


def _overlapping(draw: Draw) -> tuple:
    p, p_g, _, dx = _game(draw)
    return p, p_g, dx


def _disjoint(draw: Draw) -> tuple:
    """Two uniform bumps apart from each other: Gaussian ones would overlap."""
    x, dx = _grid()
    left, right = float(draw.uniform(-8, -4)), float(draw.uniform(1, 6))
    bumps = [((x > at) & (x < at + 3)).double() for at in (left, right)]
    return *(bump / (bump.sum() * dx) for bump in bumps), dx


def _part(index: int, inputs: Callable[[Draw], tuple], tolerance: float = 1e-5) -> Callable:
    """A property's test: this part is right; the tolerance lets log(p + 1e-8) pass."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = inputs(draw)
        value = observe(answer, *given).parts(*PAIR)[index]
        return differs(value, jsd_and_value(*given)[index], PAIR[index], tolerance)

    return test


def _jsd(seen: Observed) -> object:
    return seen.parts(*PAIR)[0]


def _apart(first: Callable[[Draw], tuple], tolerance: float = 1e-5) -> Callable:
    """A property's test: the JSD is right for these two laws, and another for overlapping ones."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = first(draw)
        jsd, other = (_jsd(observe(answer, *laws)) for laws in (given, _overlapping(draw)))
        if wrong := differs(jsd, jsd_and_value(*given)[0], "JSD", tolerance):
            return wrong
        same = differs(other, float(jsd), "JSD") is None
        return f"JSD = {float(jsd):.6g} for laws that overlap, too" if same else None

    return test


JENSEN_SHANNON = (
    Property(
        "the JSD depends on the densities, not on the grid",
        "A KL is an integral: the sum over the grid needs its dx; a mean over the grid knows "
        "nothing of the width.",
        _jsd_on_both_grids,
    ),
    Property(
        "the JSD of a law and itself is 0",
        "p = p_g are at distance 0, and only they: does your m integrate to 1, as p and p_g do? "
        "(JSD is the first of the pair.)",
        _apart(_equal_laws),
    ),
    Property(
        "the JSD is finite where a density is 0",
        "Where p = 0 its term p log(p/m) counts as 0, but floating point says 0 times -inf, or "
        "0/0: NaN. Each density is compared with m, by a difference of logarithms, not a ratio.",
        _apart(_disjoint, tolerance=math.inf),
    ),
    Property(
        "the JSD of disjoint laws is log 2",
        "JSD never exceeds log 2. KL(p || m) + KL(p_g || m) does: that sum is already 2 JSD (E07). "
        "In nats: bits make it 1.",
        _apart(_disjoint),
    ),
    Property(
        "the JSD is right where the laws overlap",
        "Right for equal and for disjoint laws only: both densities count alike, each weighs its "
        "own logarithm, and the logarithm is of the ratio to m.",
        _part(0, _overlapping),
    ),
    Property(
        "equal laws have the value -log 4",
        "With p_g = p the best D is 1/2 everywhere: what is log D + log(1 - D)?",
        _part(1, _equal_laws),
    ),
    Property(
        "disjoint laws have the value 0",
        "Disjoint laws must give 0: there D* is never wrong, log 1 = 0. How many times must "
        "JSD = log 2 enter to lift -log 4 to 0?",
        _part(1, _disjoint),
    ),
)

EXERCISES = (
    Exercise("08-e2", "The value of the game", 15, 2, VALUE, minimax_value),
    Exercise("08-e3", "The value is a divergence", 15, 2, JENSEN_SHANNON, jsd_and_value),
)
