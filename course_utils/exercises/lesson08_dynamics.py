"""Exercises of lesson 08 on the generator's steps: frozen D*, the bilinear game."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.base import Answer, Draw, Exercise, Observe, Property, differs


def non_saturating_gradient(theta: float, s2: float, x: Tensor, dx: float) -> Tensor:
    """d/dtheta of E_{p_g}[-log D*(x)] with D* held fixed at the given theta; one number.

    p = N(0, 1), p_g = N(theta, s2), and D* is the best discriminator between the two. The
    expectation is a sum over the grid x, whose spacing is dx.
    """
    shift = torch.tensor(theta, dtype=x.dtype, requires_grad=True)
    p = torch.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    p_g = torch.exp(-0.5 * (x - shift) ** 2 / s2) / math.sqrt(2 * math.pi * s2)
    D = (p / (p + p_g)).detach()
    loss = (p_g * -D.log()).sum() * dx
    return torch.autograd.grad(loss, shift)[0]


def bilinear_game(start: Tensor, eta: float, n: int, alternating: bool) -> Tensor:
    """All points (x, y) of n steps of size eta in the game min_x max_y xy: (n + 1, 2).

    The first row is start (2,). In each step x descends and y ascends: both from the old point, or
    (alternating) x first, then y from the point with the new x.
    """
    points = [start]
    for _ in range(n):
        x, y = points[-1]
        new_x = x - eta * y
        points.append(torch.stack([new_x, y + eta * (new_x if alternating else x)]))
    return torch.stack(points)


def _spread(draw: Draw) -> float:
    """A variance away from 1 and from its square."""
    return float(draw.uniform(0.4, 0.7) if draw.integer(0, 1) else draw.uniform(1.5, 2.0))


def _problem(draw: Draw, theta: float = 0, s2: float = 1, points: int = 1201) -> tuple:
    """Theta, s2, x, dx; theta is drawn if 0."""
    x = torch.linspace(-12, 14, points, dtype=torch.float64)
    theta = theta or float(draw.uniform(0.8, 2.0))
    return theta, s2, x, 26 / (points - 1)


def _points_to_the_data(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    distance = float(draw.uniform(0.8, 2.0))
    for theta in (distance, -distance):
        value = observe(answer, *_problem(draw, theta)).value
        if wrong := differs(value, 0.0, "gradient", tolerance=math.inf):
            return wrong
        if float(value) * theta <= 0:
            return f"you: {float(value):.6g} at theta = {theta:.3g}, right: the sign of theta"
    return None


def _same_on_a_finer_grid(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    theta = float(draw.uniform(0.8, 2.0))
    coarse, fine = (observe(answer, *_problem(draw, theta, points=n)).value for n in (1201, 2401))
    if differs(observe(answer, *_problem(draw, theta + 1)).value, coarse, "gradient") is None:
        return f"gradient = {float(coarse):.6g} for another theta, too"
    wrong = differs(fine, float(coarse), "gradient", 1e-6, "on a grid twice as fine")
    return wrong and wrong.replace("right:", "before:")


def _gradient(inputs: Callable[[Draw], tuple], tolerance: float = 1e-6) -> Callable:
    """A property's test; the tolerance lets finite differences pass."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = inputs(draw)
        where = f"at theta = {given[0]:.3g}, s2 = {given[1]:.3g}"
        right = non_saturating_gradient(*given)
        return differs(observe(answer, *given).value, right, "gradient", tolerance, where)

    return test


NON_SATURATING = (
    Property(
        "descending it moves p_g towards the data",
        "A step against your gradient moves p_g away from the data. Is it -log D that you average, "
        "and is D high where real data are?",
        _points_to_the_data,
    ),
    Property(
        "depends on the densities, not on the grid",
        "An expectation is a sum of values times dx: refine the grid without it, and the gradient "
        "doubles. It depends on theta.",
        _same_on_a_finer_grid,
    ),
    Property(
        "is as strong as theta far from the data",
        "It vanishes, or grows too fast, far from the data. A vanishing one is that of the "
        "saturating game (2 JSD): which loss has log D? And the average is over p_g; a clamp, or a "
        "number added in the log, flattens it there.",
        _gradient(lambda d: _problem(d, float(d.uniform(5.5, 6.5))), tolerance=0.01),
    ),
    Property(
        "D* is frozen (checked with s2 = 1)",
        "Freeze D* before differentiating: the generator's step sees a fixed D, only the density "
        "p_g that is averaged over moves. What cuts a tensor off from its graph?",
        _gradient(_problem),
    ),
    Property(
        "is right for other variances of p_g",
        "Right for s2 = 1 only: s2 is a variance, and belongs also to the normalising constant "
        "of p_g, in D* as in the average.",
        _gradient(lambda d: _problem(d, s2=_spread(d))),
    ),
)


def _starts(draw: Draw) -> tuple[Tensor, float]:
    """A start (x, y) off the axes and a step size."""
    start = draw.uniform(0.5, 2.0, 2) * (2 * draw.integer(0, 1) - 1)
    return start, float(draw.uniform(0.1, 0.8))


def _begins_at_start(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for n, alternating in ((3, True), (4, False), (5, True), (0, False)):
        start, eta = _starts(draw)
        points = observe(answer, start, eta, n, alternating).value
        if wrong := differs(points, torch.zeros(n + 1, 2), "points", tolerance=math.inf):
            return wrong
        if wrong := differs(torch.as_tensor(points)[0], start, "the first row"):
            return wrong
    return None


def _signs(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """From (x, 0) the new y, from (0, y) the new x: the same in both modes."""
    (start, eta), origin = _starts(draw), torch.zeros(2, 2)
    for alternating in (False, True):
        for own, other, sign in ((1, 0, 1), (0, 1, -1)):
            begin = torch.zeros(2, dtype=torch.float64)
            begin[other] = start[other]
            points = observe(answer, begin, eta, 1, alternating).value
            if wrong := differs(points, origin, "points", tolerance=math.inf):
                return wrong
            right = sign * eta * begin[other]
            name = f"the new {'xy'[own]} after a step from the {'xy'[other]}-axis"
            if wrong := differs(torch.as_tensor(points)[1, own], right, name):
                return wrong
    return None


def _radius_grows(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    start, eta = _starts(draw)
    points = observe(answer, start, eta, 20, False).value
    if wrong := differs(points, torch.zeros(21, 2), "points", tolerance=math.inf):
        return wrong
    right = start.norm() * (1 + eta**2) ** (0.5 * torch.arange(21, dtype=torch.float64))
    return differs(torch.as_tensor(points).norm(dim=1), right, "radius")


def _stays_on_its_ellipse(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    start, eta = _starts(draw)
    points = observe(answer, start, eta, 100, True).value
    if wrong := differs(points, torch.zeros(101, 2), "points", tolerance=math.inf):
        return wrong
    x, y = torch.as_tensor(points).T
    if float(x[0]) == float(x[1]):
        return "no step moves x"
    level = x**2 + y**2 - eta * x * y
    return differs(level, level[0].expand(101), "x^2 + y^2 - eta x y")


BILINEAR = (
    Property(
        "n steps give n + 1 points, the start first",
        "Keep every point, the start first, each one a tensor of its own and of start's dtype: "
        "float32 has only seven digits, and a list of one changing tensor holds its last value.",
        _begins_at_start,
    ),
    Property(
        "x descends and y ascends",
        "The slope of xy is y in x and x in y. One step moves both players by eta times their own "
        "slope: x goes down (min), y goes up (max).",
        _signs,
    ),
    Property(
        "simultaneous steps spiral outwards, by sqrt(1 + eta^2) each",
        "With alternating=False both players look at the old point: does y use the new x? Here it "
        "must not.",
        _radius_grows,
    ),
    Property(
        "alternating steps stay on an ellipse",
        "With alternating=True x moves first, then y: does y use the new x? Here it must.",
        _stays_on_its_ellipse,
    ),
)

EXERCISES = (
    Exercise(
        "08-e5",
        "What the non-saturating loss follows",
        20,
        3,
        NON_SATURATING,
        non_saturating_gradient,
    ),
    Exercise("08-e6", "Spiral or orbit", 15, 2, BILINEAR, bilinear_game),
)
