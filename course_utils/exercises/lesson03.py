"""Exercises of lesson 03 on layers: a flow's log-density, a coupling, Glow's 1x1 convolution."""

from collections.abc import Callable

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
)
from course_utils.observing import Recipe, observe as observe_here


def flow_log_prob(x: Tensor, first: Callable, second: Callable, base: Callable) -> Tensor:
    """Log p(x) in nats per example, x (B, D) to (B,); the flow takes x by first, then second, to z.

    first and second map (B, D) to the pair (output (B, D), log|det| of their Jacobian (B,)); base
    maps z (B, D) to log p_Z(z) (B,).
    """
    middle, log_det_first = first(x)
    z, log_det_second = second(middle)
    return base(z) + log_det_first + log_det_second


def affine_coupling(
    x: Tensor, mask: Tensor, s: Callable, t: Callable, inverse: bool
) -> tuple[Tensor, Tensor]:
    """The coupling of x (B, D), or its inverse, and the log|det| (B,) of that map, in nats.

    mask (D,) is 1.0 where x stays, 0.0 where it becomes x exp(s) + t. s and t map (B, D) to (B, D);
    give them x with 0 in the place of what moves, and use their entries where x moves.
    """
    kept, moves = x * mask, 1 - mask
    scale, shift = s(kept) * moves, t(kept) * moves
    if inverse:
        return kept + moves * (x - shift) * (-scale).exp(), -scale.sum(dim=1)
    return kept + moves * (x * scale.exp() + shift), scale.sum(dim=1)


def conv1x1_log_det(W: Tensor, height: int, width: int) -> Tensor:
    """The log|det J| in nats, one number: J belongs to the map that multiplies each pixel by W.

    W (C, C) is invertible and acts on the C channels of each pixel of a C x height x width image.
    """
    return height * width * torch.linalg.slogdet(W)[1]


# 03-e1

NORMAL = Recipe("lambda z: (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum(1)")
LAPLACE = Recipe("lambda z: -z.abs().sum(1) - z.shape[1] * math.log(2)")
STAY = Recipe("lambda x: (x, torch.zeros(len(x)).to(x))")
CUBE = Recipe("lambda x: (x + 0.3 * x**3, torch.log(1 + 0.9 * x**2).sum(1))")
SINH = Recipe("lambda x: (torch.asinh(3 * x), (3 / (1 + 9 * x**2).sqrt()).log().sum(1))")


def _scale(a: float) -> Recipe:
    return Recipe(f"lambda x: ({a} * x, (0 * x + math.log({a})).sum(1))")


def _flow_is(
    first: Recipe, second: Recipe, base: Recipe = NORMAL, shape: tuple = (5, 2)
) -> Callable:
    """A property's test: the log-density of this flow is right at random points."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = draw.normal(*shape), first, second, base
        right = observe_here(flow_log_prob, *given).value
        return differs(observe(answer, *given).value, right, "log p")

    return test


def _integrates(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    grid = torch.linspace(-9, 9, 6001, dtype=torch.float64)[:, None]
    value = observe(answer, grid, (SINH, CUBE)[draw.integer(0, 1)], STAY, NORMAL).value
    if wrong := differs(value, torch.zeros(len(grid)), "log p", tolerance=float("inf")):
        return wrong
    mass = float(torch.trapezoid(torch.as_tensor(value).double().exp(), grid[:, 0]))
    return None if abs(mass - 1) < 0.02 else f"the density integrates to {mass:.4f}"


def _far_out(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    given = 60 + draw.uniform(0, 9, 3, 4), _scale(2.0), STAY, NORMAL
    right = observe_here(flow_log_prob, *given).value
    return differs(observe(answer, *given).value, right, "log p")


def _has_gradient(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    given = draw.normal(4, 3).requires_grad_(), CUBE, _scale(2.0), NORMAL
    right = observe_here(flow_log_prob, *given).grads[0]
    slope = observe(answer, *given).grads[0]
    return "no gradient reaches x" if slope is None else differs(slope, right, "gradient")


LOG_PROB = (
    Property(
        "is the base at z where no layer stretches",
        "Both layers leave x as it is here, so log p(x) = base(z), one value per example. Which "
        "point does the base see: the data x, or what the last layer returns?",
        lambda answer, observe, draw: (
            _flow_is(STAY, STAY)(answer, observe, draw)
            or _flow_is(STAY, STAY, LAPLACE)(answer, observe, draw)
        ),
    ),
    Property(
        "integrates to 1",
        "The density does not integrate to 1. Does f stretch or squeeze at x? Where it stretches "
        "data apart, the density of the data is higher than that of z: look at the log-dets, and "
        "at their sign.",
        _integrates,
    ),
    Property(
        "scaling 3 numbers by 2 changes the density by 2 to the power 3",
        "log|det| is already summed over the dimensions of each example: add it as it is. No mean, "
        "no division by D, no second sum.",
        _flow_is(_scale(2.0), STAY, shape=(4, 3)),
    ),
    Property(
        "each layer sees the output of the one before",
        "Both layers count, and the second one's log-det must be taken where it works: at "
        "first(x), not at x. The order matters: first, then second.",
        lambda answer, observe, draw: (
            _flow_is(CUBE, SINH)(answer, observe, draw)
            or _flow_is(SINH, CUBE, LAPLACE)(answer, observe, draw)
        ),
    ),
    Property(
        "stays finite far out",
        "The density underflows to 0 there, its logarithm does not: stay with logs, do not take "
        "exp and then log, add no small number.",
        _far_out,
    ),
    Property(
        "carries a gradient",
        "A flow is trained through this number: build it from torch operations (no detach, item "
        "or numpy).",
        _has_gradient,
    ),
)

# 03-e2

S = Recipe("lambda x: torch.tanh(x.roll(1, 1) - 0.5 * x.roll(2, 1))")
T = Recipe("lambda x: torch.sin(2 * x.roll(1, 1) + x.roll(2, 1)) - 0.4")
ZERO = Recipe("lambda x: 0 * x")


def _coupling_is(part: int, inverse: bool, s: Recipe = S, t: Recipe = T, D: int = 4) -> Callable:
    """A property's test: the map (part 0) or its log-det (part 1) is right."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        mask = torch.tensor([1.0, 0.0] * D, dtype=torch.float64)[:D]
        mask = 1 - mask if draw.integer(0, 1) else mask
        given = draw.normal(12, D), mask, s, t, inverse
        value = observe(answer, *given).value
        if not isinstance(value, list | tuple) or len(value) != 2:
            return f"you returned a {type(value).__name__}, asked is a pair (y, log-det)"
        right = observe_here(affine_coupling, *given).value[part]
        return differs(value[part], right, ("what is mapped", "log-det")[part])

    return test


COUPLING = (
    Property(
        "leaves what the mask keeps, and shifts the rest (s = 0)",
        "With s = 0 the map is x + t where the mask is 0 and x where it is 1. s and t may see the "
        "kept entries only: give them x * mask.",
        lambda answer, observe, draw: (
            _coupling_is(0, False, s=ZERO)(answer, observe, draw)
            or _coupling_is(0, False, s=ZERO, D=5)(answer, observe, draw)
        ),
    ),
    Property(
        "scales by exp(s)",
        "The moved entries are x exp(s) + t: s is a logarithm, so that the factor is positive.",
        _coupling_is(0, False),
    ),
    Property(
        "a shift has no volume",
        "With s = 0 the log-det is 0, whatever t is: one value per example.",
        lambda answer, observe, draw: (
            _coupling_is(1, False, s=ZERO)(answer, observe, draw)
            or _coupling_is(0, False, s=ZERO)(answer, observe, draw)
        ),
    ),
    Property(
        "the log-det is the sum of s over what moves",
        "Sum s over the moved entries of each example: not the mean, not over the kept entries, "
        "and s itself, since it already is the logarithm of the factor.",
        lambda answer, observe, draw: (
            _coupling_is(1, False)(answer, observe, draw)
            or _coupling_is(1, False, D=5)(answer, observe, draw)
        ),
    ),
    Property(
        "the inverse takes y back to x",
        "Undo t first, then divide by exp(s). s and t are computed from the kept entries again: "
        "those of y are those of x.",
        lambda answer, observe, draw: (
            _coupling_is(0, True, s=ZERO)(answer, observe, draw)
            or _coupling_is(0, True)(answer, observe, draw)
            or _coupling_is(0, True, D=5)(answer, observe, draw)
        ),
    ),
    Property(
        "the inverse has minus that log-det",
        "The way back squeezes where the way there stretched: what is the sign of its log-det?",
        _coupling_is(1, True),
    ),
)

# 03-e3


def _matrix(draw: Draw, C: int) -> Tensor:
    return draw.normal(C, C) + 2 * torch.eye(C, dtype=torch.float64)


def _reflected(draw: Draw) -> tuple:
    W = _matrix(draw, 3)
    W[0] *= -torch.linalg.slogdet(W)[0]  # det < 0
    return W, 2, 2


def _conv_gradient(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    W = _matrix(draw, 3).requires_grad_()
    slope = observe(answer, W, 2, 3).grads[0]
    right = 6 * torch.linalg.inv(W.detach()).T
    return "no gradient reaches W" if slope is None else differs(slope, right, "gradient", 1e-7)


CONV = (
    Property(
        "is log|det W| for one pixel",
        "On an image of one pixel the map is W itself, and log|det| its logarithm in nats. (Not "
        "det, not the trace, not the product of the diagonal: W need not be triangular.)",
        equals(conv1x1_log_det, lambda d: ((W := _matrix(d, 3)) * W.det().sign(), 1, 1), "log-det"),
    ),
    Property(
        "counts every pixel",
        "How many pixels does W act on? Each brings its own log|det W|; the Jacobian is "
        "block-diagonal.",
        lambda answer, observe, draw: (
            equals(conv1x1_log_det, lambda d: ((W := _matrix(d, 3)) * W.det().sign(), 2, 2))(
                answer, observe, draw
            )
            or equals(conv1x1_log_det, lambda d: ((W := _matrix(d, 3)) * W.det().sign(), 3, 5))(
                answer, observe, draw
            )
        ),
    ),
    Property(
        "a reflection has a volume, too",
        "det W is negative here, and the log of a negative number is NaN: a volume is |det|.",
        equals(conv1x1_log_det, _reflected, "log-det"),
    ),
    Property(
        "is right where det W leaves the range of floats",
        "With 200 channels det W is 0 or infinite in floating point although its logarithm is "
        "moderate. Which function of torch.linalg gives the logarithm without forming det? Add no "
        "small number.",
        lambda answer, observe, draw: (
            equals(conv1x1_log_det, lambda d: (0.01 * _matrix(d, 200), 2, 2), "log-det")(
                answer, observe, draw
            )
            or equals(conv1x1_log_det, lambda d: (100 * _matrix(d, 200), 2, 2), "log-det")(
                answer, observe, draw
            )
        ),
    ),
    Property(
        "carries a gradient to W",
        "W is trained through this number: build it from torch operations (no item, no numpy).",
        _conv_gradient,
    ),
)

EXERCISES = (
    Exercise("03-e1", "The log-density of a flow", 10, 1, LOG_PROB, flow_log_prob),
    Exercise("03-e2", "A coupling, there and back", 20, 2, COUPLING, affine_coupling),
    Exercise("03-e3", "The volume of a 1×1 convolution", 10, 2, CONV, conv1x1_log_det),
)
