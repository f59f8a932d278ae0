"""Exercises of lesson 11 on scores: the Inception Score, the Fréchet distance and its bias.

Copies and modes (11-e4, 11-e5) are in lesson11_counts.py, the interval of a user study (11-e6) in
lesson11_study.py.
"""

import math

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
    ignores_generator,
)


def inception_score(p: Tensor) -> Tensor:
    """Exp of the mean over images of KL(p(y|x) || p(y)), one number from 1 to C.

    p (N, C): row i is a classifier's p(y|x_i), zeros allowed; p(y) is the mean of the rows.
    """
    marginal = p.mean(dim=0)
    kl = (torch.special.xlogy(p, p) - torch.special.xlogy(p, marginal)).sum(dim=1)
    return kl.mean().exp()


def frechet(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """|m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2), one number; 0 for equal moments.

    Means (D,), covariances (D, D), symmetric; they may be singular.
    """
    values, vectors = torch.linalg.eigh(cov1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T  # root @ root = cov1
    cross = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross


def equal_laws(n: int, d: int, generator: torch.Generator) -> Tensor:
    """The Fréchet distance of two sets of n draws each from one law, N(0, I) in d dimensions.

    Moments are those of the draws (covariances with 1/(n - 1)); one number. The law's own distance
    to itself is 0: whatever comes out is the price of n.
    """
    x, y = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    cov1, cov2 = (torch.atleast_2d(draws.T.cov()) for draws in (x, y))  # cov of one is a number
    return frechet(x.mean(dim=0), cov1, y.mean(dim=0), cov2)


def _rows(draw: Draw, n: int = 30, C: int = 5) -> Tensor:
    return torch.softmax(2 * draw.normal(n, C), dim=1)


def _two_ends(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    C = draw.integer(3, 6)
    same, sure = _rows(draw, 1, C).expand(12, C), torch.eye(C, dtype=torch.float64).repeat(4, 1)
    if wrong := differs(observe(answer, same).value, 1.0, "score of equal rows"):
        return wrong
    return differs(observe(answer, sure).value, float(C), f"score of sure rows, {C} classes")


def _unbalanced(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for counts in ([5, 3, 2], [7, 2, 1]):
        which = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
        p = torch.eye(3, dtype=torch.float64)[which]
        if wrong := differs(observe(answer, p).value, inception_score(p), f"score of {counts}"):
            return wrong
    return None


def _twice(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    p = _rows(draw)
    once, twice = (observe(answer, given).value for given in (p, torch.cat([p, p])))
    return differs(once, inception_score(p), "score") or differs(twice, once, "of all rows twice")


SCORE = (
    Property(
        "is 1 for equal rows and C for sure, balanced ones",
        "p(y) is the mean over *images*, one number for each class; then a KL for each image. With "
        "logs to base 2 under an exp the largest value is not C.",
        _two_ends,
    ),
    Property(
        "is the exponential of the mean KL",
        "Average the KLs first, then take the exponential: not the other way round, and p(y) is an "
        "arithmetic mean of the rows.",
        equals(inception_score, lambda d: (_rows(d),), "score"),
    ),
    Property(
        "sees unbalanced classes",
        "Sure rows with shares .5, .3, .2 must give exp(entropy) = 2.80, not 3: is p(y) taken as "
        "uniform?",
        _unbalanced,
    ),
    Property(
        "does not depend on how many rows there are",
        "The same rows twice: the same score. Is something summed that should be averaged?",
        _twice,
    ),
    Property(
        "is right for two classes and for one image of each",
        "Other shapes: (2, 2) is the smallest table that has a score above 1.",
        equals(inception_score, lambda d: (_rows(d, 2, 2),), "score"),
    ),
    Property(
        "0 log 0 is 0",
        "A sure classifier has exact zeros, and 0 * log 0 is NaN: `torch.special.xlogy` has the "
        "right limit. No small number is needed.",
        equals(
            inception_score,
            lambda d: (torch.cat([torch.eye(4, dtype=torch.float64), _rows(d, 6, 4)]),),
            "score",
        ),
    ),
)


def _covariance(draw: Draw, D: int, rank: int | None = None) -> Tensor:
    A = draw.normal(D, rank or D)
    return A @ A.T + (0 if rank else 0.1) * torch.eye(D, dtype=torch.float64)


def _moments(draw: Draw, D: int = 3, rank: int | None = None) -> tuple:
    return (
        *(draw.normal(D), _covariance(draw, D, rank)),
        *(draw.normal(D), _covariance(draw, D, rank)),
    )


def _one_dimension(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    one = torch.ones(1, 1, dtype=torch.float64)
    for gap in (3.0, float(draw.uniform(1, 2))):
        given = torch.zeros(1).double(), one, gap * one[0], one
        what = f"distance of N(0, 1) and N({gap:.3g}, 1)"
        if wrong := differs(observe(answer, *given).value, gap**2, what):
            return wrong
    return None


def _equal_and_not(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    m1, c1, m2, _ = _moments(draw)
    zero = observe(answer, m1, c1, m1, c1).value
    if wrong := differs(zero, 0.0, "distance of equal moments", tolerance=1e-7):
        return wrong
    shifted = observe(answer, m1, c1, m2, c1).value
    return differs(shifted, (m1 - m2).square().sum(), "equal covariances", tolerance=1e-7)


FRECHET = (
    Property(
        "is a square: 9 for N(0, 1) and N(3, 1)",
        "The distance, as it is quoted, is the *square* of Wasserstein-2: no root "
        "at the end. And the traces cancel where both variances are 1.",
        _one_dimension,
    ),
    Property(
        "is 0 for equal moments, and the shift's square for equal covariances",
        "With C1 = C2 the cross term is tr C1, so the three traces cancel. Is its factor 2?",
        _equal_and_not,
    ),
    Property(
        "takes the root of a matrix",
        "Try correlated features: the root of a matrix is not the root of its entries, and "
        "tr (C1 C2)^(1/2) is not the root of a trace.",
        equals(frechet, _moments, "distance"),
    ),
    Property(
        "does not mind which comes first",
        "Exchange the two laws: C1 C2 is not symmetric, its eigenvalues are those of "
        "C1^(1/2) C2 C1^(1/2), which is.",
        lambda a, o, d: differs(
            o(a, *(given := _moments(d, 4))[2:], *given[:2]).value, frechet(*given), "exchanged"
        ),
    ),
    Property(
        "survives singular covariances",
        "Fewer samples than features: zero eigenvalues come out as -1e-17, and their root is NaN "
        "(or complex). Cut them off at 0.",
        lambda a, o, d: differs(
            o(a, *(given := _moments(d, 5, 2))).value, frechet(*given), "distance", 1e-6
        ),
    ),
    Property(
        "works in one dimension and in many",
        "Covariances are (D, D) tensors, also for D = 1; D = 12 has 144 entries.",
        lambda a, o, d: (
            equals(frechet, lambda d: _moments(d, 1), "distance")(a, o, d)
            or equals(frechet, lambda d: _moments(d, 12), "distance")(a, o, d)
        ),
    ),
)


def _average(answer: Answer, observe: Observe, draw: Draw, n: int, d: int, runs: int) -> tuple:
    values = []
    for _ in range(runs):
        value = observe(answer, n, d, draw.seed()).value
        if wrong := differs(value, 0.0, "distance", math.inf):
            return wrong, 0.0, 0.0
        values.append(float(value))
    values = torch.tensor(values, dtype=torch.float64)
    return None, float(values.mean()), float(values.std()) / runs**0.5


def _near(n: int, d: int, runs: int):
    """A statistical test: the mean over runs is (2 d + d (d + 1) / 2) / n, up to the next order."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        right = (2 * d + d * (d + 1) / 2) / n
        wrong, mean, error = _average(answer, observe, draw, n, d, draw.count(runs))
        if wrong:
            return wrong
        if abs(mean - right) <= 4 * error + 0.03 * right:
            return None
        return f"you: {mean:.4f} +- {error:.4f} on average, right: {right:.4f} at n = {n}, d = {d}"

    return test


def _falls(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    wrong, few, _ = _average(answer, observe, draw, 60, 4, 8)
    wrong_too, many, _ = _average(answer, observe, draw, 6000, 4, 3)
    if wrong or wrong_too:
        return wrong or wrong_too
    if few > 30 * many > 0:
        return None
    return f"you: {few:.4g} at n = 60, {many:.4g} at n = 6,000; it falls like 1/n"


BIAS = (
    Property(
        "falls like 1/n, and is never 0",
        "Two *independent* sets: a set against itself is at distance 0, and a set against the "
        "exact law has half of the price.",
        _falls,
    ),
    Property(
        "has the size that theory says, d = 4",
        "Both moments are noisy, of both sets: 2d/n from the means, and d(d+1)/2n from the "
        "covariances.",
        _near(300, 4, 60),
        statistical=True,
    ),
    Property(
        "has it in 10 dimensions, too",
        "n draws of d numbers: which axis is the mean taken over, and does `cov` want rows or "
        "columns as variables?",
        _near(400, 10, 30),
        statistical=True,
    ),
    Property(
        "the generator decides",
        "Equal seeds must give equal values, other seeds other ones: draw with "
        "generator=generator.",
        lambda a, o, d: ignores_generator(a, o, d, 50, 3),
    ),
    Property(
        "one dimension is a case like others",
        "`cov` of one variable is a number without axes; `view(1, 1)` or `torch.atleast_2d` helps.",
        _near(200, 1, 200),
        statistical=True,
    ),
)

EXERCISES = (
    Exercise("11-e1", "The Inception Score", 15, 1, SCORE, inception_score),
    Exercise("11-e2", "The Fréchet distance", 20, 2, FRECHET, frechet),
    Exercise("11-e3", "What n costs", 10, 1, BIAS, equal_laws),
)
