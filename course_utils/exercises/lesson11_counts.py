"""Exercises of lesson 11 that count: copies of training images, and modes that were reached."""

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
    return _counts(answer, observe, fake[:2], train, 0.05, 2, "2 of 2 shifted") or _counts(
        answer, observe, fake, train, 0.05, 3, "3 of 6 shifted by one pixel"
    )


def _too_far(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    train = _images(draw, 6, 9)
    fake = torch.cat([_moved(train[:2], 2, 0), _moved(train[2:4], 1, 0)])
    return _counts(answer, observe, fake[:2], train, 0.05, 0, "2 shifted by two pixels") or _counts(
        answer, observe, fake, train, 0.05, 2, "2 shifted by two pixels, 2 by one"
    )


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
    return _counts(answer, observe, fake[2:], wide, 0.05, 0, "one pale image 5 by 8") or _counts(
        answer, observe, fake, wide, 0.05, 2, "images 5 by 8"
    )


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
    few, more = ([20, 1, 3, 7, 2], [2, 2, 9, 30, 1])
    return _report(answer, observe, _around(draw, centres, few), centres) or _report(
        answer, observe, _around(draw, centres, more), centres
    )


def _strays(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    centres = _modes(draw)
    strays = centres[:2].repeat(7, 1) + 4.0
    for counts in ([3, 2, 0, 5, 0], [1, 0, 0, 0, 4]):
        x = torch.cat([_around(draw, centres, counts), strays])
        if wrong := _report(answer, observe, x, centres):
            return wrong
    return None


def _more_dimensions(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for centres, counts in (
        (_modes(draw, 8, 3), [1, 0, 4, 2, 0, 0, 5, 3]),
        (_modes(draw, 3, 1), [2, 0, 6]),
    ):
        if wrong := _report(answer, observe, _around(draw, centres, counts), centres):
            return wrong
    return None


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
        "Eight centres in space, three on a line: `minlength` keeps the empty ones in the table.",
        _more_dimensions,
    ),
)


EXERCISES = (
    Exercise("11-e4", "Find the copies", 15, 2, COPIES, count_copies),
    Exercise("11-e5", "Modes: covered, and how evenly", 15, 2, MODES, mode_report),
)
