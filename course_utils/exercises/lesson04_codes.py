"""Exercises of lesson 04 on codes: a penalty that keeps them sparse, a probe that reads them."""

import math

import torch
from torch import Tensor

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Form,
    Observe,
    Property,
    differs,
    equals,
)


def sparse_penalty(h: Tensor, W: Tensor, lam: float) -> Tensor:
    """Lam times the sum over units j of |h_j| ||W_j||: one number for each example, (B,).

    h: codes (B, J). W: decoder (D, J), W_j its column j, so that x_hat = h W^T. Scaling a unit,
    h_j / c with c W_j, changes neither x_hat nor the penalty. Differentiable in h and in W.
    """
    return lam * (h.abs() * W.norm(dim=0)).sum(dim=1)


def linear_probe(z: Tensor, y: Tensor, n: int, generator: torch.Generator) -> float:
    """Accuracy, from 0 to 1, of a linear classifier that has seen n labels.

    z: codes (N, D). y: labels (N,), int64 from 0. The generator draws which n rows are fitted; the
    score is the share of right answers on all the other rows.
    """
    order = torch.randperm(len(z), generator=generator)
    fitted, others = order[:n], order[n:]
    target = torch.nn.functional.one_hot(y[fitted], int(y.max()) + 1).to(z.dtype)
    mean, share = z[fitted].mean(dim=0), target.mean(dim=0)
    a = z[fitted] - mean
    ridge = 0.1 * a.square().sum() / a.shape[1] * torch.eye(a.shape[1], dtype=z.dtype)
    W = torch.linalg.solve(a.T @ a + ridge, a.T @ (target - share))
    found = ((z[others] - mean) @ W + share).argmax(dim=1)
    return float((found == y[others]).double().mean())


def _units(draw: Draw) -> tuple[Tensor, Tensor, float]:
    """Codes of both signs, a decoder whose columns differ in length, a weight."""
    h, W = draw.normal(5, 4), draw.normal(3, 4) * torch.tensor([0.2, 1.0, 3.0, 5.0])
    return h, W, float(draw.uniform(0.1, 2.0))


def _of_each_example(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    h, W, lam = _units(draw)
    both = observe(answer, torch.cat([h, draw.normal(2, 4)]), W, lam).value
    if wrong := differs(both, torch.zeros(7), "penalty", tolerance=math.inf):
        return wrong
    if len(torch.as_tensor(both).unique()) == 1:
        return "you: one penalty for seven different codes"
    return differs(torch.as_tensor(both)[:5], observe(answer, h, W, lam).value, "penalty")


def _of_the_codes(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    h, W, lam = _units(draw)
    silent, active = (observe(answer, codes, W, lam).value for codes in (0 * h, h))
    if wrong := differs(silent, torch.zeros(5), "penalty of codes at 0"):
        return wrong
    return None if torch.as_tensor(active).any() else "you: 0 for codes that are not 0"


def _of_the_function(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    h, W, lam = _units(draw)
    c = draw.uniform(0.1, 10.0, 4)
    scaled, before = (observe(answer, *pair, lam).value for pair in ((h / c, W * c), (h, W)))
    if len(torch.as_tensor(before).unique()) == 1:
        return "you: one penalty for five different codes"
    return differs(scaled, torch.as_tensor(before), "scaled penalty")


def _pulls(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    h, W, lam = _units(draw)
    seen = observe(answer, h.requires_grad_(), W.requires_grad_(), lam)
    h, W = h.detach(), W.detach()
    right = (lam * h.sign() * W.norm(dim=0), lam * h.abs().sum(dim=0) * W / W.norm(dim=0))
    for name, got, expected in zip(("h", "W"), seen.grads, right, strict=False):
        if got is None:
            return f"no gradient reaches {name}"
        if wrong := differs(got, expected, f"gradient in {name}"):
            return wrong
    return None


PENALTY = (
    Property(
        "is one number for each example",
        "Each example pays for its own code: sum over its units, and leave the mean over the batch "
        "to the place where the optimiser is. Then lambda does not depend on the batch size.",
        _of_each_example,
    ),
    Property(
        "is zero where all codes are zero",
        "Which tensor should be mostly zero? The codes h; a decoder alone costs nothing.",
        _of_the_codes,
    ),
    Property(
        "depends on what is decoded, not on its scale",
        "Divide the codes of a unit by 10 and multiply its column by 10: the decoded image is the "
        "same, and so must the penalty be. Which length of the decoder does that take?",
        _of_the_function,
    ),
    Property(
        "is lambda times the weighted absolute values",
        "Absolute values, one length for each unit, a sum (not a mean), lambda once, and no small "
        "number added.",
        equals(sparse_penalty, _units, "penalty"),
    ),
    Property(
        "pulls on the codes and on the decoder",
        "Training needs both gradients: lambda ||W_j|| sign(h_j) in h, and one in W, so stay with "
        "torch operations and detach nothing.",
        _pulls,
    ),
)


def _clouds(draw: Draw, n: int, noise: int, apart: float) -> tuple[Tensor, Tensor]:
    """Two classes at 2 and 2 + apart on the first axis, sd 1, and `noise` axes without meaning."""
    y = torch.arange(n) % 2
    z = draw.normal(n, 1 + noise)
    z[:, 0] += 2 + apart * y
    return z, y


def _score(answer: Answer, observe: Observe, draw: Draw, given: tuple, n: int) -> float | Form:
    value = observe(answer, *given, n, draw.seed()).value
    wrong = differs(value, 0.0, "accuracy", tolerance=math.inf)
    return Form(wrong) if wrong else float(torch.as_tensor(value))


def _mean_score(
    answer: Answer, observe: Observe, draw: Draw, given: tuple, n: int, calls: int
) -> float | Form:
    found = []
    for _ in range(calls):
        score = _score(answer, observe, draw, given, n)
        if isinstance(score, Form):
            return score
        found.append(score)
    return sum(found) / calls


def _reads_clouds(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    score = _score(answer, observe, draw, _clouds(draw, 200, 1, 12.0), 40)
    if isinstance(score, Form):
        return score
    if not 0.97 <= score <= 1:
        return f"you: accuracy = {score:.6g} on two clouds far apart, right: 1"
    near = _score(answer, observe, draw, _clouds(draw, 200, 1, 0.5), 40)
    return None if near < 0.9 else f"you: accuracy = {near:.3f} on two clouds that overlap"


def _blind_to_shuffled(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    z, y = draw.normal(400, 40), torch.randint(4, (400,), generator=draw.generator)
    score = _mean_score(answer, observe, draw, (z, y), 100, 4)
    if isinstance(score, Form):
        return score
    if not 0.15 <= score <= 0.34:
        return f"you: accuracy = {score:.3f} on labels that mean nothing, right: about 0.25"
    z[torch.arange(400), y] += 6  # now they mean something
    told = _score(answer, observe, draw, (z, y), 100)
    return None if told > 0.5 else f"you: accuracy = {told:.3f} on labels that the codes tell"


def _scores_all_others(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    z, y = _clouds(draw, 84, 1, 1.0)
    scores = [_score(answer, observe, draw, (z, y), 80) for _ in range(16)]
    for score in scores:
        if isinstance(score, Form):
            return score
        if abs(4 * score - round(4 * score)) > 1e-6:
            return f"you: accuracy = {score:.6g} where 4 rows are left, right: a multiple of 1/4"
    return None if len(set(scores)) > 1 else f"you: accuracy = {score:g} whichever rows are left"


def _learns_from_n(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    given = _clouds(draw, 600, 60, 3.0)
    scores = [_mean_score(answer, observe, draw, given, n, 5) for n in (10, 400)]
    if form := next((score for score in scores if isinstance(score, Form)), None):
        return form
    few, many = scores
    if many - few < 0.05:
        return f"you: accuracy = {few:.3f} with 10 labels, {many:.3f} with 400, right: it rises"
    return None


def _draws_rows(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    given = _clouds(draw, 600, 30, 1.0)
    seeds = [draw.seed() for _ in range(4)]
    first, again = ([observe(answer, *given, 20, s).value for s in seeds] for _ in range(2))
    if first != again:
        return "two calls with equal generators give different results"
    same = "calls with generators of different seeds give the same result"
    return same if len(set(map(float, first))) == 1 else None


PROBE = (
    Property(
        "reads two clouds far apart",
        "Two clouds on the same side of zero are easy for a line that may be shifted: does your "
        "classifier have a bias? And asked is the share of right answers, from 0 to 1, and 1 only "
        "where the clouds do not overlap.",
        _reads_clouds,
    ),
    Property(
        "is at chance on shuffled labels",
        "Labels that mean nothing cannot be predicted: shuffled labels still give a high score if "
        "you score rows whose labels the fit has seen.",
        _blind_to_shuffled,
    ),
    Property(
        "draws its rows with the generator",
        "Draw the rows with torch.randperm(len(z), generator=generator), so that a run can be "
        "repeated and another seed labels other rows.",
        _draws_rows,
    ),
    Property(
        "scores all the other rows",
        "With n of N rows fitted, exactly N - n rows are scored: all that are left, once each.",
        _scores_all_others,
    ),
    Property(
        "learns from n rows",
        "n says how many rows are fitted: with more of them the score must rise.",
        _learns_from_n,
    ),
)

EXERCISES = (
    Exercise("04-e3", "A penalty that cannot be cheated", 10, 2, PENALTY, sparse_penalty),
    Exercise("04-e4", "A probe with few labels", 15, 2, PROBE, linear_probe),
)
