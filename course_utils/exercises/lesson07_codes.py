"""Exercises of lesson 07 on codes: how many are in use, and features that come back by a weight."""

import torch
from torch import Tensor

from course_utils.exercises.base import Answer, Draw, Exercise, Observe, Property, differs, equals


def perplexity(codes: Tensor, K: int) -> Tensor:
    """exp(H(p)), one number: p is the share of each of the K codes among all entries of `codes`.

    codes: whole numbers from 0 to K - 1, any shape. H is the entropy in nats, with 0 log 0 = 0.
    """
    share = torch.bincount(codes.flatten(), minlength=K).double() / codes.numel()
    return torch.exp(-torch.special.xlogy(share, share).sum())


def cft(features: Tensor, alpha: Tensor, beta: Tensor, w: float) -> Tensor:
    """F + w (alpha F + beta), entry by entry: w = 0 gives the decoder's features F back.

    features, alpha, beta: one shape. Gradients flow to all three.
    """
    return features + w * (alpha * features + beta)


def _codes(draw: Draw, K: int, *shape: int) -> Tensor:
    return (K * draw.uniform(0, 1, *shape) ** 2).long()  # small numbers more often


def _even_use(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for K in (draw.integer(2, 5), draw.integer(6, 9)):
        codes = torch.arange(K).repeat(3)
        if wrong := differs(observe(answer, codes, K).value, K, f"perplexity of {K} codes, evenly"):
            return wrong
    return None


def _few_used(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    K, one = 8, torch.full((6,), draw.integer(0, 7))
    for codes, right in ((one, 1.0), (torch.tensor([0, 7, 7, 0]), 2.0)):
        if wrong := differs(
            observe(answer, codes, K).value, right, f"perplexity of {right:g} of 8"
        ):
            return wrong
    return None


def _of_any_shape(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    once = _codes(draw, 6, 4, 4)
    codes = torch.stack([once, once.T, once.flip(0)])  # each image uses the codes alike
    return differs(observe(answer, codes, 6).value, perplexity(codes, 6), "perplexity")


def _pooled(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for n in (2, 3):
        codes = torch.arange(n)[:, None].expand(n, 4)  # in each row another code
        what = f"perplexity of {n} rows with a code each"
        if wrong := differs(observe(answer, codes, 4).value, n, what):
            return wrong
    return None


PERPLEXITY = (
    Property(
        "is K where all K codes are used alike",
        "The exponential of an entropy in nats: with log2 inside, or 2 to the power outside, the "
        "two do not undo each other. Shares add to 1.",
        _even_use,
    ),
    Property(
        "unused codes add nothing",
        "0 log 0 is 0 here, and floating point gives NaN: `torch.special.xlogy` has the right "
        "limit. (An added small number shows in the ninth digit.)",
        _few_used,
    ),
    Property(
        "is exp of the entropy of the shares",
        "Count each code, divide by the number of entries, take the entropy of these shares.",
        equals(perplexity, lambda d: (_codes(d, 7, 40), 7), "perplexity"),
    ),
    Property(
        "counts all entries, whatever the shape",
        "`torch.bincount` wants one axis: flatten first, and divide by `numel`, not by `len`.",
        _of_any_shape,
    ),
    Property(
        "pools before it takes the entropy",
        "A mean of the perplexities of single images is smaller: two images with one code each, "
        "but different ones, use two codes.",
        _pooled,
    ),
)


def _features(draw: Draw, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(draw.normal(3, *(shape or (2, 3))))


def _at(w: float | None) -> Property:
    def inputs(draw: Draw) -> tuple:
        return *_features(draw), (float(draw.uniform(0.2, 0.8)) if w is None else w)

    return equals(cft, inputs, "features")


def _gradients(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    F, alpha, beta = (part.clone().requires_grad_() for part in _features(draw))
    w = float(draw.uniform(0.2, 0.8))
    seen = observe(answer, F, alpha, beta, w)
    if wrong := differs(seen.value, cft(F, alpha, beta, w).detach(), "features"):
        return wrong
    right = (1 + w * alpha.detach(), w * F.detach(), torch.full_like(beta, w))
    for name, got, expected in zip(("features", "alpha", "beta"), seen.grads, right, strict=False):
        if got is None:
            return f"no gradient reaches {name}"
        if wrong := differs(got, expected.detach(), f"gradient in {name}"):
            return wrong
    return None


CFT = (
    Property(
        "w = 0 gives the features of the codes back",
        "At w = 0 the damaged image must not be heard at all: F itself, not zero.",
        _at(0.0),
    ),
    Property(
        "w = 1 adds the whole modulation to F",
        "A mixture of F and the modulation is right at w = 0 and affine in w, but at w = 1 it has "
        "lost F: the modulation is added.",
        _at(1.0),
    ),
    Property(
        "in between it is affine in w",
        "Half of w is half of the way: w once, in front of both alpha F and beta.",
        _at(None),
    ),
    Property(
        "goes beyond 1 and below 0",
        "w is not clamped: w = 3 overdoes it, w = -1 goes the other way.",
        lambda a, o, d: _at(3.0)(a, o, d) or _at(-1.0)(a, o, d),
    ),
    Property(
        "gradients reach F, alpha and beta",
        "alpha and beta come from networks that are trained through this line: detach nothing.",
        _gradients,
    ),
    Property(
        "works on images of features",
        "Entry by entry, in any shape: nothing is summed, no axis is exchanged.",
        equals(cft, lambda d: (*_features(d, 2, 3, 4, 4), 0.5), "features"),
    ),
)

EXERCISES = (
    Exercise("07-e4", "How many codes are in use", 10, 1, PERPLEXITY, perplexity),
    Exercise("07-e5", "Let the input in again", 10, 1, CFT, cft),
)
