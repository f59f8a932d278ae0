"""Exercises of lesson 11 that count: copies of training images, modes reached, people fooled."""

import math

import torch
from torch import Tensor

from course_utils.exercises.base import Answer, Draw, Exercise, Observe, Property, differs


def count_copies(fake: Tensor, train: Tensor, tol: float) -> Tensor:
    """How many of the images `fake` (N, H, W) copy an image of `train` (M, H, W): one number.

    A copy: after a shift by -1, 0 or 1 rows and columns its Euclidean distance, over all pixels, to
    some training image is at most tol. (Borders are empty; what moves in is 0.)
    """
    best = torch.full((len(fake),), float("inf"), dtype=fake.dtype)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            moved = torch.roll(fake, (dy, dx), dims=(1, 2)).flatten(1)
            difference = moved[:, None] - train.flatten(1)  # (N, M, H W)
            best = torch.minimum(best, difference.norm(dim=2).amin(dim=1))
    return (best <= tol).sum()


def mode_report(x: Tensor, centres: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """How many modes have a sample, and KL(shares found || equal shares) in nats: two numbers.

    x (N, D), centres (K, D). A sample belongs to its nearest centre if it lies within `radius` of
    it, else to none; shares are over the samples that belong to a mode, with 0 log 0 = 0.
    """
    distance, nearest = torch.cdist(x, centres).min(dim=1)
    count = torch.bincount(nearest[distance <= radius], minlength=len(centres)).to(x.dtype)
    share = count / count.sum()
    return (count > 0).sum(), torch.special.xlogy(share, share * len(centres)).sum()


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share, seen `hits` times of n: the pair low, high.

    All p with (hits/n - p)^2 <= z^2 p (1 - p) / n, where z = 1.959964.
    """
    z, share = 1.959964, hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return centre - half, centre + half


def _images(draw: Draw, n: int, size: int = 8) -> Tensor:
    """Images with an empty border."""
    images = torch.zeros(n, size, size, dtype=torch.float64)
    images[:, 2:-2, 2:-2] = draw.uniform(0.3, 1.0, n, size - 4, size - 4)
    return images


def _moved(images: Tensor, dy: int, dx: int) -> Tensor:
    return torch.roll(images, (dy, dx), dims=(1, 2))


def _counts(
    answer: Answer, observe: Observe, fake: Tensor, train: Tensor, tol: float, right: int, what: str
) -> str | None:
    value = observe(answer, fake, train, tol).value
    return differs(value, float(right), f"copies, {what}")


def _plain(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    train, fresh = _images(draw, 7), _images(draw, 5)
    k = draw.integer(1, 4)
    fake = torch.cat([fresh, train[:k] + 1e-4 * draw.normal(k, 8, 8)])
    return _counts(answer, observe, fresh, train, 0.05, 0, "fresh images") or _counts(
        answer, observe, fake, train, 0.05, k, f"{k} planted, 5 fresh"
    )


def _shifted(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    train = _images(draw, 6)
    fake = torch.cat([_moved(train[:2], 0, 1), _moved(train[2:3], -1, 1), _images(draw, 3)])
    return _counts(answer, observe, fake, train, 0.05, 3, "3 of 6 shifted by one pixel")


def _too_far(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    train = _images(draw, 6, 9)
    fake = torch.cat([_moved(train[:2], 2, 0), _moved(train[2:4], 1, 0)])
    return _counts(answer, observe, fake, train, 0.05, 2, "2 shifted by two pixels, 2 by one")


def _tolerance(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    train = _images(draw, 4)
    off = torch.zeros(8, 8, dtype=torch.float64)
    off[2, 2] = off[3, 3] = 0.1  # Euclidean distance 0.1414
    fake = train + off
    return _counts(answer, observe, fake, train, 0.15, 4, "all 0.1414 away, tol .15") or _counts(
        answer, observe, fake, train, 0.13, 0, "all 0.1414 away, tol .13"
    )


def _each_once(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    train = _images(draw, 3)
    fake = torch.cat([train[:1], train[:1], train[:1]])
    return _counts(answer, observe, fake, train[:2], 0.05, 3, "one image three times") or _counts(
        answer, observe, train[2:], torch.cat([train, train]), 0.05, 1, "the training set twice"
    )


def _other_shapes(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    wide = torch.zeros(4, 5, 8, dtype=torch.float64)
    wide[:, 2:3, 2:6] = draw.uniform(0.3, 1, 4, 1, 4)
    fake = torch.cat([_moved(wide[:2], 1, -1), wide[3:] * 0.2])
    return _counts(answer, observe, fake, wide, 0.05, 2, "images 5 by 8")


COPIES = (
    Property(
        "finds planted copies, and none among fresh images",
        "Search the fakes in the *training* set. Searched in themselves, each is its own "
        "neighbour.",
        _plain,
    ),
    Property(
        "a copy shifted by one pixel is a copy",
        "Pixels alone do not see it: try the nine shifts by -1, 0 or 1 rows and columns, and take "
        "the smallest distance.",
        _shifted,
    ),
    Property(
        "one shifted by two pixels is not",
        "Nine shifts, no more: with every shift allowed half of all images find a partner.",
        _too_far,
    ),
    Property(
        "distance is Euclidean, over all pixels",
        "The root of the summed squares: a mean over pixels, or a sum without the root, is on "
        "another scale than tol.",
        _tolerance,
    ),
    Property(
        "counts each fake once",
        "Three fakes of one training image are three; one fake with two partners is one.",
        _each_once,
    ),
    Property(
        "works for other shapes",
        "Images need not be square; rows and columns are the last two axes.",
        _other_shapes,
    ),
)


def _modes(draw: Draw, K: int = 5, D: int = 2) -> Tensor:
    return 10 * torch.arange(K, dtype=torch.float64)[:, None] + draw.uniform(-1, 1, K, D)


def _around(draw: Draw, centres: Tensor, counts: list[int]) -> Tensor:
    which = torch.repeat_interleave(torch.arange(len(centres)), torch.tensor(counts))
    return (centres[which] + 0.1 * draw.normal(len(which), centres.shape[1]))[
        torch.randperm(len(which), generator=draw.generator)
    ]


def _report(
    answer: Answer, observe: Observe, x: Tensor, centres: Tensor, which: tuple = (0, 1)
) -> str | None:
    found = observe(answer, x, centres, 2.0).parts("covered", "kl")
    right = mode_report(x, centres, 2.0)
    for i in which:
        if wrong := differs(found[i], float(right[i]), ("covered modes", "KL")[i]):
            return wrong
    return None


def _covered(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    centres, k = _modes(draw), draw.integer(1, 4)
    some = _around(draw, centres, [6] * k + [0] * (5 - k))
    all_of_them = _around(draw, centres, [6] * 5)
    return _report(answer, observe, some, centres, (0,)) or _report(
        answer, observe, all_of_them, centres, (0,)
    )


def _missing(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    centres = _modes(draw)
    for k in (2, 4):
        if wrong := _report(
            answer, observe, _around(draw, centres, [9] * k + [0] * (5 - k)), centres
        ):
            return wrong
    return None


def _uneven(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    centres = _modes(draw)
    return _report(answer, observe, _around(draw, centres, [20, 1, 3, 7, 2]), centres)


def _strays(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    centres = _modes(draw)
    strays = centres[:2].repeat(7, 1) + 4.0
    return _report(
        answer, observe, torch.cat([_around(draw, centres, [3, 2, 0, 5, 0]), strays]), centres
    )


def _more_dimensions(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    centres = _modes(draw, 8, 3)
    return _report(answer, observe, _around(draw, centres, [1, 0, 4, 2, 0, 0, 5, 3]), centres)


MODES = (
    Property(
        "counts the modes that have a sample",
        "A sample belongs to the *nearest* centre. Count centres with at least one, not samples.",
        _covered,
    ),
    Property(
        "a missing mode costs log(5/2) or log(5/4) here, not infinity",
        "KL(found || equal): the found shares stand in front. Reversed, an empty mode gives "
        "infinity; 0 log 0 is 0, not NaN.",
        _missing,
    ),
    Property(
        "tells uneven shares from even ones",
        "All modes covered is not all: shares are counts over their sum, and the KL is in nats.",
        _uneven,
    ),
    Property(
        "samples near no mode belong to none",
        "A sample further than radius from every centre counts for no mode, and not in the shares "
        "either.",
        _strays,
    ),
    Property(
        "works for other K and D",
        "Eight centres in three dimensions: `minlength` keeps the empty ones in the table.",
        _more_dimensions,
    ),
)


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
    for n, p in ((10, 0.9), (20, 0.95)):
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

EXERCISES = (
    Exercise("11-e4", "Find the copies", 15, 2, COPIES, count_copies),
    Exercise("11-e5", "Modes: covered, and how evenly", 15, 2, MODES, mode_report),
    Exercise("11-e6", "An interval for a user study", 15, 2, WILSON, wilson_interval),
)
