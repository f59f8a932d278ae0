"""Exercise 11-e6, the interval of a user study: properties of a right answer, hints, reference."""

import math

from course_utils.exercises.base import Answer, Draw, Exercise, Observe, Property, differs


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share, seen `hits` times of n: the pair low, high.

    All p with (hits/n - p)^2 <= z^2 p (1 - p) / n, where z = 1.959964.
    """
    z, share = 1.959964, hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return centre - half, centre + half


def _interval(*cases: tuple[int, int]):
    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        for hits, n in cases or ((draw.integer(1, 19), 20), (draw.integer(1, 99), 100)):
            low, high = observe(answer, hits, n).parts("low", "high")
            for name, value, right in zip(
                ("low", "high"), (low, high), wilson_interval(hits, n), strict=True
            ):
                if wrong := differs(value, right, f"{name}, {hits} of {n}", tolerance=1e-6):
                    return wrong
        return None

    return test


def _inside(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for hits, n in ((0, 8), (8, 8), (9, 10)):
        low, high = (float(v) for v in observe(answer, hits, n).parts("low", "high"))
        if not -1e-9 <= low < high <= 1 + 1e-9:
            return f"you: [{low:.4f}, {high:.4f}] for {hits} of {n}"
        if high - low > 0.6 or not low - 1e-9 <= hits / n <= high + 1e-9:
            return f"you: [{low:.4f}, {high:.4f}] for {hits} of {n}: does it hold {hits}/{n}?"
    return None


def _covers(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for n, p in ((10, 0.9), (10, 0.1)):
        covered = 0.0
        for hits in range(n + 1):
            low, high = (float(v) for v in observe(answer, hits, n).parts("low", "high"))
            if low <= p <= high and high - low < 0.7:
                covered += math.comb(n, hits) * p**hits * (1 - p) ** (n - hits)
        if covered < 0.92:
            return f"you: it holds p = {p} in {covered:.3f} of all studies with n = {n}"
    return None


WILSON = (
    Property(
        "stays in [0, 1] and holds the share that was seen",
        "hits/n +- 1.96 standard errors leaves [0, 1] at 9 of 10, and has no length at 0 of 8. The "
        "variance belongs to p, not to hits/n: solve the quadratic.",
        _inside,
    ),
    Property(
        "holds the truth as often as it says",
        "At p = .9 and n = 10 the usual interval holds p in 65 % of all studies. Put p, not "
        "hits/n, under the root.",
        _covers,
    ),
    Property(
        "7 of 10, and 50 of 100, to six digits",
        "Centre (share + z^2/2n) / (1 + z^2/n); and z = 1.959964 for 95 %, two-sided.",
        _interval((7, 10), (50, 100)),
    ),
    Property(
        "no hit at all, and nothing but hits",
        "At 0 of n the lower end is 0 exactly, the upper z^2 / (n + z^2).",
        _interval((0, 10), (12, 12), (0, 1)),
    ),
    Property(
        "holds for any hits of n",
        "One formula for all: the half width is z / (1 + z^2/n) times the root of share (1 - "
        "share)/n + z^2/4n^2.",
        _interval(),
    ),
)

EXERCISES = (Exercise("11-e6", "An interval for a user study", 15, 2, WILSON, wilson_interval),)
