"""Exercises of lesson 00, the toolbox: properties of a right answer, hints, references.

The divergences (00-e3, 00-e4) are in lesson00_divergences.py.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Form,
    Observe,
    Property,
    Stop,
    differs,
)
from course_utils.observing import Plain, Recipe, Seed

Test = Callable[[Answer, Observe, Draw], str | None]
SQUARE, MORE = Recipe("lambda x: x**2"), Recipe("lambda x: x**2 + 1")
TINY, FOURTH = Recipe("lambda x: x**2 / 1e6"), Recipe("lambda x: (x**2) ** 2")
PRODUCT = Recipe("lambda x: x[:, 0] * x[:, 1]")
EVEN = Recipe(  # the next n of evenly spread points from -1 to 2: one call or many, all is the same
    "(lambda used: lambda n, generator: 3 * torch.frac((used.add_(n) - n + torch.arange(n)) "
    "* 0.6180339887498949) - 1)(torch.ones(1, dtype=torch.float64))"
)
IN_PAIRS = Recipe(  # the same points, each with 1 minus it: draws that are vectors
    "(lambda even: lambda n, generator: torch.stack([p := even(n, generator), 1 - p], 1))"
    f"({EVEN.source})"
)
NORMAL = Recipe("lambda n, generator: torch.randn(n, generator=generator, dtype=torch.float64)")


def mc_mean(
    f: "Callable[[Tensor], Tensor]",
    sampler: "Callable[[int, torch.Generator], Tensor]",
    n: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Estimate E[f(x)] from n draws of sampler(n, generator): (mean, standard error of it).

    sampler returns n draws, in a tensor (n, ...); f returns one number for each, in (n,).
    """
    values = f(sampler(n, generator))  # (n,)
    return values.mean(), values.std() / math.sqrt(n)


def gaussian_condition(
    mean: Tensor, cov: Tensor, index: list[int], value: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the other entries of x ~ N(mean, cov), given x[index] = value.

    mean (D,), cov (D, D), value (len(index),); the other entries keep their order.
    """
    rest = [i for i in range(len(mean)) if i not in index]
    across = cov[rest][:, index]  # (R, O)
    gain = torch.linalg.solve(cov[index][:, index], across.T).T  # (R, O)
    return mean[rest] + gain @ (value - mean[index]), cov[rest][:, rest] - gain @ across.T


def _pair(value: Plain, first: str, second: str) -> list | tuple:
    """The value, which must be two things.

    Raises:
        Stop: it is not.
    """
    if isinstance(value, tuple | list) and len(value) == 2:
        return value
    asked = f"asked are two: ({first}, {second})"
    raise Stop(Form(f"you returned a {type(value).__name__}, {asked}"))


def _mc(
    observe: Observe, answer: Answer, n: int, sampler: Recipe, seed: Seed, f: Recipe = SQUARE
) -> tuple[float, float]:
    """The answer's mean and standard error.

    Raises:
        Stop: they are not two finite numbers.
    """
    value = _pair(observe(answer, f, sampler, n, seed).value, "mean", "standard error")
    for part, name in zip(value, ("mean", "standard error"), strict=True):
        if wrong := differs(part, 0.0, name, tolerance=math.inf):
            raise Stop(wrong)
    return float(value[0]), float(value[1])


def _even(n: int) -> Tensor:
    """The first n points that EVEN returns."""
    return 3 * torch.frac(torch.arange(1, n + 1, dtype=torch.float64) * 0.6180339887498949) - 1


def _mean_of_f(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    n = draw.integer(100, 200)
    mean, _ = _mc(observe, answer, n, EVEN, draw.seed())
    where = f"for f = x², {n} points from -1 to 2"
    return differs(mean, (_even(n) ** 2).mean(), "mean", where=where)


def _root_n(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    n, seed = draw.integer(100, 200), draw.seed()
    few, many = (_mc(observe, answer, size, EVEN, seed)[1] for size in (n, 4 * n))
    if many > 0 and abs(few / many - 2) < 0.2:
        return None
    return f"your width is {few:.4g} at n = {n} and {many:.4g} at n = {4 * n}, asked is half"


def _wrong_size(error: float, values: Tensor) -> str | None:
    exact = float(values.std()) / math.sqrt(len(values))
    near = abs(error - exact) < 0.05 * exact  # dividing by n or n - 1, and drawing twice, are right
    return None if near else f"you: standard error = {error:.6g}, right: {exact:.6g}"


def _size_of_error(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    n, seed = draw.integer(100, 200), draw.seed()
    plain, tiny = (_mc(observe, answer, n, EVEN, seed, f)[1] for f in (SQUARE, TINY))
    values = _even(n) ** 2
    return _wrong_size(plain, values) or _wrong_size(tiny, values / 1e6)


def _vectors(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    n = draw.integer(100, 200)
    mean, error = _mc(observe, answer, n, IN_PAIRS, draw.seed(), PRODUCT)
    values = _even(n) * (1 - _even(n))
    wrong = differs(mean, values.mean(), "mean", where=f"for f = x1 x2, {n} draws (x1, x2)")
    return wrong or _wrong_size(error, values)


def _same_seed(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    seed = draw.seed()
    one, two, more = (_mc(observe, answer, 50, NORMAL, seed, f)[0] for f in (SQUARE, SQUARE, MORE))
    if one == two and more > one + 0.5:
        return None
    return f"equal generators gave {one:.6g} and {two:.6g} for x², {more:.6g} for x² + 1"


def _other_seeds(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    means = {_mc(observe, answer, 50, NORMAL, draw.seed())[0] for _ in range(20)}
    return None if len(means) == 20 else f"20 generators gave only {len(means)} different means"


def _covers(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    n = draw.count(5_000)
    for f, power, truth, variance in 10 * ((SQUARE, 2, 1, 2), (FOURTH, 4, 3, 96)):
        mean, error = _mc(observe, answer, n, NORMAL, draw.seed(), f)
        if abs(mean - truth) > 4 * error or error > 2 * math.sqrt(variance / n):
            return f"you: {mean:.5g} ± {error:.2g} for E[x^{power}] = {truth}, x ~ N(0, 1), n = {n}"
    return None


def _law(draw: Draw, D: int) -> tuple[Tensor, Tensor]:
    root = draw.normal(D, D)
    return draw.normal(D), root @ root.T + torch.eye(D, dtype=torch.float64)


def _conditioned(make: Callable[[Draw], tuple], part: int | None = None) -> Test:
    """The answer at the problem that `make` draws, against the precision form of the conditional.

    part 0 looks at the mean only, part 1 at the covariance only.
    """

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        mean, cov, index, value = make(draw)
        got = _pair(observe(answer, mean, cov, index, value).value, "mean", "covariance")
        rest = [i for i in range(len(mean)) if i not in index]
        precision = torch.linalg.inv(cov)
        C = torch.linalg.inv(precision[rest][:, rest])
        right = mean[rest] - C @ precision[rest][:, index] @ (value - mean[index]), C
        problem, names = None, ("mean", "covariance")
        for place in (0, 1) if part is None else (part,):
            problem = problem or differs(got[place], right[place], names[place])
        return problem

    return test


def _unrelated(draw: Draw) -> tuple:
    mean, cov = _law(draw, 4)
    cov[2:, :2] = cov[:2, 2:] = 0
    return mean, cov, [2, 3], draw.normal(2)


def _two(draw: Draw) -> tuple:
    mean, cov = draw.normal(2) + 1, draw.uniform(1.5, 3.0, 2).diag()
    cov[0, 1] = cov[1, 0] = draw.uniform(0.5, 1.2)
    return mean, cov, [1], draw.normal(1) - 4


def _in_small_units(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """In units of a millionth: the mean is as much smaller, the covariance by the square of it."""
    unit, (mean, cov), index, value = 1e-6, _law(draw, 4), [0, 2], draw.normal(2)
    seen = observe(answer, unit * mean, unit**2 * cov, index, unit * value).value
    got = _pair(seen, "mean", "covariance")
    for part, scale, right, name in zip(
        got,
        (unit, unit**2),
        gaussian_condition(mean, cov, index, value),
        ("mean in millionths", "covariance in squared millionths"),
        strict=True,
    ):
        wrong = differs(part, right, name, tolerance=math.inf)
        if wrong := wrong or differs(torch.as_tensor(part).double() / scale, right, name, 1e-6):
            return wrong
    return None


MEAN = (
    Property(
        "the mean is that of f(x) over all n draws",
        "The mean of f is not f of the mean: which one comes first, f or the mean? And is it the "
        "mean of n draws, not a sum?",
        _mean_of_f,
    ),
    Property(
        "four times the draws, half the standard error",
        "Does yours stay as it is? Then it is the spread of one draw: divide by √n. Does it fall "
        "to a quarter? Then you divided by n, or it is a variance.",
        _root_n,
    ),
    Property(
        "the standard error is sd(f(x)) / √n",
        "It falls as it should, but its size is off. One standard error is asked, not 2 or 4; and "
        "of which numbers is it the standard deviation, of the draws x or of the values f(x)? "
        "Nothing is added to it: f may be small.",
        _size_of_error,
    ),
    Property(
        "a draw may be a vector",
        "n draws (n, 2) have n values of f: divide by √n, however many entries a draw has.",
        _vectors,
    ),
    Property(
        "equal generators give equal estimates",
        "All chance must come from the generator that you were given: pass it on.",
        _same_seed,
    ),
    Property(
        "20 generators give 20 estimates",
        "All replicates equal: is a generator made or seeded inside your function?",
        _other_seeds,
    ),
    Property(
        "the truth lies within 4 standard errors, 20 times out of 20",
        "Every draw counts: an estimate that leaves out extreme draws, or moves them, is biased.",
        _covers,
        statistical=True,
    ),
)
CONDITION = (
    Property(
        "an unrelated observation changes nothing",
        "Which entries are asked for? Those that were not observed, in their order, here with the "
        "mean and the covariance that they had: no root, nothing added.",
        _conditioned(_unrelated),
    ),
    Property(
        "a related observation shrinks the covariance",
        "Observing must shrink C, and by the right amount: the wider the observed entry scatters "
        "by itself, the less it tells. Is its variance in the denominator, with nothing added?",
        _conditioned(_two, part=1),
    ),
    Property(
        "the mean moves with the surprise",
        "Only the surprise moves the mean: compare the value with what was expected, and "
        "measure it against the variance of what was observed.",
        _conditioned(_two, part=0),
    ),
    Property(
        "three related observations share their news",
        "Right for one observation, wrong for three: correlated observations need the "
        "inverse of their whole block.",
        _conditioned(lambda draw: (*_law(draw, 5), [0, 1, 3], draw.normal(3))),
    ),
    Property(
        "value[k] belongs to index[k], in any order",
        "The order of index matters: value[k] belongs to entry index[k], sorted or not.",
        _conditioned(lambda draw: (*_law(draw, 4), [3, 1], draw.normal(2))),
    ),
    Property(
        "the unit of length plays no part",
        "Measured in millionths every variance is tiny: was a small number added to the diagonal, "
        "or a small singular value cut off?",
        _in_small_units,
    ),
)

EXERCISES = (
    Exercise("00-e1", "A mean and its error bar", 15, 1, MEAN, mc_mean),
    Exercise("00-e2", "Condition a Gaussian", 20, 2, CONDITION, gaussian_condition),
)
