"""Exercise of lesson 09 on conditions: the three kinds of pairs that a sighted D is shown."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Observe,
    Property,
    differs,
    ignores_generator,
)


def matching_pairs(
    x: Tensor, y: Tensor, fake: Tensor, rng: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """What D is shown: images (3B, ...), captions (3B,), targets (3B,) as numbers 1 and 0.

    First x (B, ...) with its captions y (B,): 1. Then x with wrong captions, drawn with rng, each
    of another row and different from the right one: 0. Then fake, made for y, with y: 0. The
    captions are whole numbers, at least two different ones.
    """
    other = (y[:, None] != y).float()  # (B, B)
    wrong = y[torch.multinomial(other, 1, generator=rng)[:, 0]]
    targets = torch.tensor([1.0, 0.0, 0.0]).repeat_interleave(len(y))
    return torch.cat([x, x, fake]), torch.cat([y, wrong, y]), targets


def _texts(draw: Draw, B: int = 8) -> Tensor:
    """Captions of B rows: of four kinds, each at least once, numbered at random."""
    names = torch.randperm(50, generator=draw.generator)[:4]
    kinds = torch.cat([torch.arange(4), torch.randint(4, (B - 4,), generator=draw.generator)])
    return names[kinds[torch.randperm(B, generator=draw.generator)]]


def _images(draw: Draw, B: int = 8) -> tuple[Tensor, Tensor]:
    return draw.normal(B, 1, 2, 2), draw.normal(B, 1, 2, 2)


def _mostly_one(draw: Draw, B: int = 8) -> Tensor:
    """Captions of B rows, all but one of them alike."""
    one, other = torch.randperm(50, generator=draw.generator)[:2]
    return torch.where(torch.arange(B) == draw.integer(0, B - 1), other, one)


def _shown(
    answer: Answer, observe: Observe, draw: Draw, captions: Callable = _texts
) -> tuple[tuple, list]:
    """(x, y, fake) and what the answer made of them: three parts of the right shapes."""
    (x, fake), y = _images(draw), captions(draw)
    parts = observe(answer, x, y, fake, draw.seed()).parts(*PARTS)
    for part, shape, name in zip(parts, ((24, 1, 2, 2), 24, 24), PARTS, strict=True):
        if wrong := differs(part, torch.zeros(shape), name, tolerance=math.inf):
            raise ValueError(wrong)
    return (x, y, fake), [torch.as_tensor(part) for part in parts]


PARTS = ("images", "captions", "targets")


def _in_order(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    (x, _, fake), (images, _, _) = _shown(answer, observe, draw)
    for block, (name, right) in enumerate((("real", x), ("real", x), ("fake", fake))):
        if differs(images[8 * block : 8 * block + 8], right, tolerance=1e-6):
            return f"block {block + 1} of the images (rows {8 * block} to {8 * block + 7}): {name}?"
    return None


def _targets(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    _, (_, _, targets) = _shown(answer, observe, draw)
    means = targets.double().view(3, 8)
    right = torch.tensor([1.0, 0, 0]).double()[:, None].expand(3, 8)
    return differs(means[:, 0], right[:, 0], "target per block") or differs(means, right, "targets")


def _right_captions(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    (_, y, _), (_, captions, _) = _shown(answer, observe, draw)
    blocks = captions.view(3, 8)
    first = differs(blocks[0], y, "captions of the first block")
    return first or differs(blocks[2], y, "captions of the third block")


def _of_the_batch(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for _ in range(4):
        (_, y, _), (_, captions, _) = _shown(answer, observe, draw)
        for caption in captions[8:16].tolist():
            if caption not in y.tolist():
                return f"you: wrong caption {caption:g}, which no row of this batch has"
    return None


def _never_right(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for round in range(8):
        kind = _mostly_one if round == 7 else _texts
        (_, y, _), (_, captions, _) = _shown(answer, observe, draw, kind)
        for row, (right, wrong) in enumerate(zip(y, captions[8:16], strict=True)):
            if right == wrong:
                return f"row {row}: right caption {int(right)}, wrong caption {int(wrong)}"
            if wrong not in y:
                return f"row {row}: wrong caption {int(wrong)}, which no row of this batch has"
    return None


def _random(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    (x, fake), y = _images(draw, 40), _texts(draw, 40)
    return ignores_generator(answer, observe, draw, x, y, fake)


PAIRS = (
    Property(
        "images: real, real, fake",
        "Three blocks of B rows: the real images with their captions, the same images with wrong "
        "ones, then the fakes.",
        _in_order,
    ),
    Property(
        "targets: 1 for the first block only",
        "A fake is 0 whatever its caption. A real image with a wrong caption is a wrong pair: "
        "marked 1, it teaches D that the caption does not matter; D then ignores the text, and so "
        "does G.",
        _targets,
    ),
    Property(
        "the first and the third block have the right captions",
        "Row b of x belongs to y[b], and row b of fake was made for y[b]: if the fakes had other "
        "captions, D could reject them without a look at the image.",
        _right_captions,
    ),
    Property(
        "wrong captions come from the batch",
        "Take the wrong caption from another row: a caption that no real image has would give "
        "itself away. Another row's, not a number made from the right one.",
        _of_the_batch,
    ),
    Property(
        "a wrong caption is never the right one",
        "Check wrong != right, row by row: a shuffle leaves some rows where they are, and another "
        "row may have the same caption, all rows but one may.",
        _never_right,
    ),
    Property(
        "equal seeds give equal pairs, other seeds others",
        "The wrong captions are drawn anew each time, with the generator rng and nothing else: a "
        "fixed partner is soon learned by heart.",
        _random,
    ),
)

EXERCISES = (Exercise("09-e4", "Three kinds of pairs", 15, 2, PAIRS, matching_pairs),)
