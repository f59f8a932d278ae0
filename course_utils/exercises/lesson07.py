"""Exercises of lesson 07 on the codebook: the lookup, its gradient, the two losses beside it.

The use of codes (07-e4) and the transformation of features (07-e5) are in lesson07_codes.py.
"""

import math

import torch
from torch import Tensor

from course_utils.exercises.base import Answer, Draw, Exercise, Form, Observe, Property, differs


def quantise(z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The pair z_q (..., D), codes (...): for each vector of z (..., D) the nearest code.

    codebook: (K, D), one code in each row; codes are whole numbers from 0 to K - 1, int64, and
    z_q holds the rows that they name. Distance: Euclidean.
    """
    distance = (z.unsqueeze(-2) - codebook).square().sum(dim=-1)  # (..., K)
    codes = distance.argmin(dim=-1)
    return codebook[codes], codes


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """The value of z_q, with the gradient of z: what arrives at the result goes on to z, unchanged.

    z and z_q have one shape. No gradient reaches z_q: the codebook has a loss of its own.
    """
    return z + (z_q - z).detach()


def vq_losses(z: Tensor, z_q: Tensor, beta: float) -> Tensor:
    """||sg[z] - z_q||^2 + beta ||z - sg[z_q]||^2, one number for each example: (B,).

    z: the encoder's vectors, z_q: their codes, both (B, ...); squares are summed over all of an
    example. sg is the stop-gradient: the first term moves only z_q, the second only z.
    """
    codebook = (z.detach() - z_q).square().flatten(1).sum(dim=1)
    commitment = (z - z_q.detach()).square().flatten(1).sum(dim=1)
    return codebook + beta * commitment


def _pair(answer: Answer, observe: Observe, z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    z_q, codes = observe(answer, z, codebook).parts("z_q", "codes")
    return torch.as_tensor(z_q), torch.as_tensor(codes)


def _looks_up(z: Tensor, codebook: Tensor, answer: Answer, observe: Observe) -> str | None:
    z_q, codes = _pair(answer, observe, z, codebook)
    right_q, right = quantise(z, codebook)
    if wrong := differs(z_q, torch.zeros_like(right_q), "z_q", tolerance=math.inf):
        return wrong
    return differs(codes, right.double(), "codes")


def _nearest(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    return _looks_up(draw.normal(60, 3), draw.normal(5, 3), answer, observe)


def _long_code(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    codebook = draw.normal(6, 3)
    codebook[draw.integer(0, 5)] *= 20  # far away: nearest to hardly anything
    return _looks_up(draw.normal(60, 3), codebook, answer, observe)


def _named_rows(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    z, codebook = draw.normal(9, 4), draw.normal(7, 4)
    z_q, codes = _pair(answer, observe, z, codebook)
    if codes.dtype.is_floating_point:
        return Form(f"codes have dtype {codes.dtype}, asked is torch.int64: they are row numbers")
    if wrong := differs(codes, torch.zeros(9), "codes", tolerance=math.inf):
        return wrong
    if not 0 <= int(codes.min()) <= int(codes.max()) < 7:
        return f"codes from {int(codes.min())} to {int(codes.max())}, legal are 0 to 6"
    return differs(z_q, codebook[codes], "z_q")


def _grids(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    z, codebook = draw.normal(2, 3, 3, 4), draw.normal(5, 4)
    return _looks_up(z, codebook, answer, observe)


def _codebook_bigger(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    if wrong := _looks_up(draw.normal(3, 2), draw.normal(40, 2), answer, observe):
        return wrong
    return _looks_up(draw.normal(1, 2), draw.normal(1, 2), answer, observe)


def _far_from_zero(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    centre = 1000 * draw.normal(3)
    return _looks_up(centre + draw.normal(12, 3), centre + draw.normal(5, 3), answer, observe)


QUANTISE = (
    Property(
        "finds the nearest code",
        "Compare the mean error of your codes with that of any other choice: the smallest distance "
        "is asked, and the error must fall when codes are added.",
        _nearest,
    ),
    Property(
        "a second codebook gets codes of its own",
        "Call it twice with different codebooks: does it remember the first one?",
        lambda a, o, d: _nearest(a, o, d) or _nearest(a, o, d),
    ),
    Property(
        "prefers no code for its length",
        "Make one code 20 times as long: with a plain dot product it wins (or loses) everything. "
        "Expand ||z - e||^2: which term of it did you leave out?",
        _long_code,
    ),
    Property(
        "z_q holds the rows that the codes name",
        "Index the codebook with your codes. Rows of the codebook, not of z.",
        _named_rows,
    ),
    Property(
        "works on a grid of vectors",
        "Only the last axis is a vector; all axes before it are places, each with a code.",
        _grids,
    ),
    Property(
        "serves many codes, and a single one",
        "40 codes of 2 numbers, then one code for one vector: does an axis get squeezed, or the "
        "wrong one searched?",
        _codebook_bigger,
    ),
    Property(
        "does not mind where the vectors lie",
        "Shift vectors and codes by the same amount: all distances stay, so must the codes. "
        "Is anything scaled to unit length?",
        _far_from_zero,
    ),
)


def _passed_on(
    answer: Answer, observe: Observe, z: Tensor, z_q: Tensor, right: str | None = None
) -> str | None:
    """The value is z_q; with `right`, the gradients are 1 in z and none in z_q."""
    seen = observe(answer, z.requires_grad_(), z_q.requires_grad_())
    if wrong := differs(seen.value, z_q.detach(), "value"):
        return wrong
    in_z, in_q = seen.grads
    if right == "z":
        if in_z is None:
            return "no gradient reaches z: the encoder would not learn"
        return differs(in_z, torch.ones_like(z), "gradient in z")
    if right == "z_q" and in_q is not None and in_q.any():
        return f"a gradient reaches z_q: {in_q.flatten()[0]:.3g}"
    return None


STRAIGHT = (
    Property(
        "has the value of z_q",
        "The decoder must see the code itself, to the last digit: not z, and nothing in between.",
        lambda a, o, d: _passed_on(a, o, d.normal(4, 3), d.normal(4, 3)),
    ),
    Property(
        "hands the gradient on to z",
        "A lookup has no gradient, and `detach` alone takes it away, too. Which expression has the "
        "value of z_q, but depends on z with slope 1?",
        lambda a, o, d: _passed_on(a, o, d.normal(4, 3), d.normal(4, 3), "z"),
    ),
    Property(
        "keeps the gradient from z_q",
        "Here the codebook would get the decoder's gradient as well. What has to stand inside "
        "`detach`: only z, or the whole difference?",
        lambda a, o, d: _passed_on(a, o, d.normal(4, 3), d.normal(4, 3), "z_q"),
    ),
    Property(
        "does so for vectors far from their code",
        "The gradient does not depend on how far z and z_q are apart: nothing is scaled.",
        lambda a, o, d: _passed_on(a, o, 100 * d.normal(5, 2), d.normal(5, 2), "z"),
    ),
    Property(
        "does so in every shape",
        "Images of vectors (B, D, H, W), and a single number: nothing is averaged or flattened.",
        lambda a, o, d: (
            _passed_on(a, o, d.normal(2, 3, 2, 2), d.normal(2, 3, 2, 2), "z")
            or _passed_on(a, o, d.normal(), d.normal(), "z")
        ),
    ),
)


def _terms(
    answer: Answer, observe: Observe, draw: Draw, shape: tuple = (4, 3), beta: float = 0.25
) -> tuple:
    z, z_q = draw.normal(*shape).requires_grad_(), draw.normal(*shape).requires_grad_()
    seen = observe(answer, z, z_q, beta)
    apart = (z - z_q).detach()
    error = apart.square().flatten(1).sum(dim=1)
    return seen, apart, differs(seen.value, (1 + beta) * error, "loss")


def _one_for_each(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    z, z_q = draw.normal(5, 3), draw.normal(5, 3)
    value = observe(answer, z, z_q, 0.25).value
    if wrong := differs(value, torch.zeros(5), "loss", tolerance=math.inf):
        return wrong
    half = observe(answer, z[:2], z_q[:2], 0.25).value
    if len(torch.as_tensor(value).unique()) == 1:
        return f"you: {float(value[0]):g} for each of five different examples"
    return differs(half, torch.as_tensor(value)[:2], "loss of the first two examples")


def _both_terms(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    return _terms(answer, observe, draw, beta=float(draw.uniform(0.1, 2.0)))[2]


def _moves(answer: Answer, observe: Observe, draw: Draw, which: int) -> str | None:
    beta = float(draw.uniform(0.1, 0.7))
    seen, apart, wrong = _terms(answer, observe, draw, beta=beta)
    if wrong:
        return wrong
    name, right = (("z", 2 * beta * apart), ("z_q", -2 * apart))[which]
    if seen.grads[which] is None:
        return f"no gradient reaches {name}"
    return differs(seen.grads[which], right, f"gradient in {name}")


def _other_shapes(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    return (
        _terms(answer, observe, draw, shape=(2, 3, 4, 4))[2]
        or _terms(answer, observe, draw, shape=(1, 1), beta=0.0)[2]
    )


LOSSES = (
    Property(
        "is one number for each example",
        "Each example pays for its own vectors: sum over all that belongs to it, and leave the "
        "mean over the batch to the place where the optimiser is.",
        _one_for_each,
    ),
    Property(
        "both terms have the value of the squared distance, the second beta times",
        "Two terms of the same value, a sum of squares each; beta stands in front of the second "
        "only.",
        _both_terms,
    ),
    Property(
        "the first term moves the codes",
        "The gradient in z_q must be 2 (z_q - z). If it is beta times that, the stop-gradients are "
        "exchanged; if there is none, the codebook does not move.",
        lambda a, o, d: _moves(a, o, d, 1),
    ),
    Property(
        "the second term moves the encoder, beta times as hard",
        "The gradient in z must be 2 beta (z - z_q). Without stop-gradients the encoder is pulled "
        "by both terms.",
        lambda a, o, d: _moves(a, o, d, 0),
    ),
    Property(
        "is right for grids of vectors, and at beta = 0",
        "An example (D, H, W) has H W vectors: sum over all of its axes. And beta may be 0.",
        _other_shapes,
    ),
)

EXERCISES = (
    Exercise("07-e1", "The nearest code", 15, 1, QUANTISE, quantise),
    Exercise("07-e2", "Straight through", 10, 2, STRAIGHT, straight_through),
    Exercise("07-e3", "Who follows whom", 15, 2, LOSSES, vq_losses),
)
