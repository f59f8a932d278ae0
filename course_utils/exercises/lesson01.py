"""Exercises of lesson 01 on a joint law: its conditionals, its holes, and how log p ranks.

The EM step (01-e2) is in lesson01_mixtures.py, the branches (01-e5) in lesson01_taxonomy.py.
"""

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
    differs,
)

Test = Callable[[Answer, Observe, Draw], str | None]


def joint_to_conditionals(counts: Tensor) -> dict[str, Tensor]:
    """The conditionals of a table of counts (Y, X), whose rows are y and whose columns are x.

    Returns a dict: "y_given_x" (Y, X), of which every column sums to 1; "x_given_y" (Y, X), of
    which every row sums to 1; and the marginal "y" (Y,). No row or column is empty.
    """
    joint = counts / counts.sum()
    p_x, p_y = joint.sum(0), joint.sum(1)
    return {"y_given_x": joint / p_x, "x_given_y": joint / p_y[:, None], "y": p_y}


def inpaint(joint: Tensor, observed: list) -> Tensor:
    """p(holes | what is seen), the joint law of all missing variables, in their order.

    joint is a table with one dimension per variable; observed has one entry per variable: its
    value, or None where it is missing. What is seen has positive probability.
    """
    index = tuple(slice(None) if value is None else value for value in observed)
    return joint[index] / joint[index].sum()


def anomaly_auc(logp_in: Tensor, logp_out: Tensor) -> float:
    """P(log p of an ordinary example > log p of an anomaly) + P(they are equal) / 2.

    Over all pairs of one entry of logp_in (N,) and one of logp_out (M,); -inf may occur in both.
    """
    ours, theirs = logp_in[:, None], logp_out
    return ((ours > theirs).double() + 0.5 * (ours == theirs).double()).mean().item()


# --- 01-e1 -------------------------------------------------------------------------------------


def _table(draw: Draw, total: float = 1.0) -> Tensor:
    """Three rows, four columns, no two sums alike; all entries together give `total`."""
    weights = draw.uniform(1, 9, 3, 4) * draw.uniform(0.5, 2, 3, 1)
    return total * weights / weights.sum()


def _part(key: str, make: Callable[[Draw], Tensor], tolerance: float = 1e-6) -> Test:
    """The entry `key` of the answer's dict is right; a number added shows in the last property."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = make(draw)
        value = observe(answer, given).value
        if not isinstance(value, dict) or key not in value:
            there = sorted(value) if isinstance(value, dict) else f"a {type(value).__name__}"
            return Form(f'you returned {there}, asked is a dict with "{key}"')
        return differs(value[key], joint_to_conditionals(given)[key], key, tolerance)

    return test


def _with_rare(shape: str) -> Callable[[Draw], Tensor]:
    """A table of which one row ("row") or one column has a millionth of its weight."""
    rare = [1.0, 1e-6, 1.0] if shape == "row" else [1.0, 1.0, 1e-6, 1.0]
    factor = torch.tensor(rare, dtype=torch.float64)
    return lambda draw: _table(draw) * (factor[:, None] if shape == "row" else factor)


def _rare(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    by_row, by_column = _with_rare("row"), _with_rare("column")
    return _part("x_given_y", by_row, 1e-9)(answer, observe, draw) or _part(
        "y_given_x", by_column, 1e-9
    )(answer, observe, draw)


CONDITIONALS = (
    Property(
        "p(y|x) is right: every column sums to 1",
        "What is given? In p(y|x) a column x is given: divide each column by its own sum.",
        _part("y_given_x", _table),
    ),
    Property(
        "p(x|y) is right: every row sums to 1",
        "In p(x|y) the row y is given. Does a sum of shape (Y,) divide rows, or columns? Keep its "
        "dimension: `[:, None]`.",
        _part("x_given_y", _table),
    ),
    Property(
        "p(y) is the sum over x",
        "A marginal sums over what is not asked: p(y) is the sum over all x, one number per row.",
        _part("y", _table),
    ),
    Property(
        "counts are as good as probabilities",
        "The table may hold counts: 60 things, not 1. Divide by the total before you read p(y).",
        _part("y", lambda draw: _table(draw, total=60.0)),
    ),
    Property(
        "rare things keep their conditionals",
        "A row or a column of a millionth has conditionals as any other: was a small number added?",
        _rare,
    ),
)


# --- 01-e3 -------------------------------------------------------------------------------------


def _agreeing(draw: Draw) -> Tensor:
    """p(x1, x2, x3), binary: x1 and x2 agree mostly, x3 is independent of both."""
    agree = float(draw.uniform(0.35, 0.45))
    pair = torch.tensor([[agree, 0.5 - agree], [0.5 - agree, agree]], dtype=torch.float64)
    return pair[:, :, None] * torch.tensor([0.7, 0.3], dtype=torch.float64)


def _any(draw: Draw, *shape: int) -> Tensor:
    weights = draw.uniform(0.1, 1, *shape) ** 2
    return weights / weights.sum()


def _filled(make: Callable[[Draw], tuple], tolerance: float = 1e-6) -> Test:
    """The answer's table is right at (joint, observed)."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        joint, observed = make(draw)
        value, right = observe(answer, joint, observed).value, inpaint(joint, observed)
        where = f"for {joint.ndim} variables, seen {observed}"
        return differs(value, right, "p(holes | seen)", tolerance, where)

    return test


def _together(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """Up to a factor, which the next property asks for."""
    joint, observed = _agreeing(draw), [None, None, draw.integer(0, 1)]
    value, right = observe(answer, joint, observed).value, inpaint(joint, observed)
    if wrong := differs(value, right, "p", tolerance=torch.inf):
        return wrong
    got = torch.as_tensor(value).double()
    if differs(got / got.sum(), right, "p", 1e-6):
        return differs(value, right, "p(x1, x2 | x3)") or "p(x1, x2 | x3) is not finite"
    return None


def _several(draw: Draw) -> tuple[Tensor, list]:
    return _any(draw, 2, 3, 4, 2), [None, draw.integer(1, 2), None, draw.integer(0, 1)]


def _rarely_seen(draw: Draw) -> tuple[Tensor, list]:
    rare = torch.tensor([1.0, 1e-9], dtype=torch.float64)
    return _any(draw, 3, 3, 2) * rare, [None, None, 1]


INPAINT = (
    Property(
        "fills two pixels together",
        "Both pixels are missing at once: look up the table of the pair. A product of p(x1|x2) and "
        "p(x2|x1), or of the two marginals, is not its law.",
        _together,
    ),
    Property(
        "is a law: its entries sum to 1",
        "Divide by p(seen), which is the sum of what you selected: then the table sums to 1.",
        _filled(lambda draw: (_any(draw, 3, 4), [draw.integer(0, 2), None])),
    ),
    Property(
        "uses everything that is seen",
        "What is seen selects a slab of the table, one index for each value. Do not sum over it.",
        _filled(_several),
    ),
    Property(
        "one hole, at any place",
        "The missing variable may be the first, the last, or in the middle; 0 is a value, too.",
        _filled(lambda draw: (_any(draw, 3, 2, 4), [0, None, 3])),
    ),
    Property(
        "nothing is seen: the table itself",
        "With no variable seen all of them are holes: the answer is the joint law.",
        _filled(lambda draw: (_any(draw, 2, 3, 2), [None, None, None])),
    ),
    Property(
        "what is seen may be rare",
        "Divide by p(seen) however small it is, without adding anything to it.",
        _filled(_rarely_seen, tolerance=1e-9),
    ),
)


# --- 01-e4 -------------------------------------------------------------------------------------


def _auc(make: Callable[[Draw], tuple[Tensor, Tensor]]) -> Test:
    """The answer is right on a pair of lists, whose AUC is not one that a constant may be."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        for _ in range(50):
            ours, theirs = make(draw)
            right = anomaly_auc(ours, theirs)
            if min(right, 1 - right, abs(right - 0.5)) > 0.01:
                break
        return differs(observe(answer, ours, theirs).value, right, "AUC")

    return test


def _perfect(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """A perfect detector, and the same turned round."""
    high, low = draw.normal(7) + 9, draw.normal(5) - 9
    right_way, turned = (observe(answer, *pair).value for pair in ((high, low), (low, high)))
    return differs(right_way, 1.0, "AUC") or differs(turned, 0.0, "AUC, turned round")


def _on_a_grid(draw: Draw, n: int, m: int) -> tuple[Tensor, Tensor]:
    """Values 0, 1, 2, so that many are equal, and at least one pair is."""
    ours, theirs = (draw.uniform(0, 3, size).floor() for size in (n, m))
    return torch.cat([ours, torch.ones(1)]), torch.cat([theirs, torch.ones(1)])


def _with_infinities(draw: Draw) -> tuple[Tensor, Tensor]:
    never = torch.full((2,), -torch.inf, dtype=torch.float64)
    return torch.cat([draw.normal(4), never]), torch.cat([draw.normal(3) - 0.5, never])


AUC = (
    Property(
        "low likelihood is the anomaly",
        "Below 1/2 for a perfect detector? Low likelihood is the anomaly: count the pairs in which "
        "the ordinary example has the higher log p. All pairs give 1, none gives 0.",
        _perfect,
    ),
    Property(
        "every pair counts, whatever the two sizes",
        "N ordinary examples and M anomalies make N times M pairs; divide by their number.",
        _auc(lambda draw: (draw.normal(9) + 0.7, draw.normal(4))),
    ),
    Property(
        "a tie counts one half",
        "Equal log p: the detector has to toss a coin. What is a fair coin worth?",
        _auc(lambda draw: _on_a_grid(draw, 8, 5)),
    ),
    Property(
        "only the order counts",
        "log p of an image may be -3000: its exponential is 0 in floating point. Compare the "
        "logarithms themselves.",
        _auc(lambda draw: tuple(10 * part - 3000 for part in (draw.normal(6) + 1, draw.normal(5)))),
    ),
    Property(
        "minus infinity is a log p as any other",
        "A table of counts gives log 0 = -inf to both sides at times. -inf minus -inf is NaN: "
        "compare, do not subtract.",
        _auc(_with_infinities),
    ),
)


EXERCISES = (
    Exercise("01-e1", "One table, three answers", 10, 1, CONDITIONALS, joint_to_conditionals),
    Exercise("01-e3", "Fill the holes together", 10, 2, INPAINT, inpaint),
    Exercise("01-e4", "How well does it rank?", 10, 1, AUC, anomaly_auc),
)
