"""Exercises of lesson 12 on the bound: the posterior given x_0, and the bound in three parts."""

import math
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
    far,
    ignores_generator,
)


def q_posterior(xt: Tensor, x0: Tensor, t: int, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, of the shape of x0, and variance, one number, of q(x_{t-1}|x_t, x_0), t from 1 to T.

    beta is (T + 1,), index = t, with beta[0] = 0. At t = 1 they are x_0 and 0: x_{t-1} is x_0.
    """
    alpha_bar = (1 - beta).cumprod(0)
    before, now = alpha_bar[t - 1], alpha_bar[t]
    mean = (1 - beta[t]).sqrt() * (1 - before) / (1 - now) * xt
    mean = mean + before.sqrt() * beta[t] / (1 - now) * x0
    return mean, (1 - before) / (1 - now) * beta[t]


def bound_terms(
    x0: Tensor, beta: Tensor, k: Tensor, sigma2: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """L_T, the sum of L_{t-1} over t = 2..T, and L_0 of D18: (n,) each, in nats per example of x0.

    Model: x_T ~ N(0, 1), x_{t-1}|x_t ~ N(k_t x_t, sigma2_t). beta, k and sigma2 are (T + 1,),
    index = t; beta[0] = 0, entry 0 of the others is not used. x0 is (n,). L_T is exact, each KL
    of the sum is exact given x_t, L_0 is -log p(x_0|x_1): every t and example has one draw of
    x_t ~ q(x_t|x_0), its noise from torch.randn(..., generator=generator, dtype=x0.dtype).
    """
    alpha_bar = (1 - beta).cumprod(0)[:, None]  # (T + 1, 1)
    eps = torch.randn(len(beta), len(x0), generator=generator, dtype=x0.dtype)
    xt = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps  # row t is x_t
    L_T = 0.5 * (alpha_bar[-1] * (x0**2 - 1) - (1 - alpha_bar[-1]).log())  # D5 with d = 1
    middle, error = torch.zeros_like(x0), (x0 - k[1] * xt[1]) ** 2
    for t, s2 in enumerate(sigma2[2:], start=2):
        mean, var = q_posterior(xt[t], x0, t, beta)
        middle += 0.5 * ((var + (mean - k[t] * xt[t]) ** 2) / s2 - 1 - (var / s2).log())  # D24
    return L_T, middle, 0.5 * (error / sigma2[1] + (2 * math.pi * sigma2[1]).log())


def _noise(draw: Draw, T: int) -> Tensor:
    beta = draw.uniform(0.2, 0.6, T + 1)
    beta[0] = 0
    return beta


def _posteriors(
    first: int, last: int, xt: float = 1, shape: tuple = (4, 3), noise: float = 1
) -> Callable:
    """Problems of 12-e3 at t = first..last of T = 5; the arguments scale xt and beta."""

    def problems(draw: Draw) -> list[tuple]:
        beta = noise * _noise(draw, 5)
        return [
            (xt * draw.normal(*shape), draw.normal(*shape), t, beta) for t in range(first, last + 1)
        ]

    return problems


def _pair(
    problems: Callable[[Draw], list[tuple]], *parts: int, tolerance: float = 1e-9
) -> Callable:
    """A property's test: these parts of (mean, var) are right."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        for given in problems(draw):
            both = observe(answer, *given).parts("mean", "var")
            for part in parts:
                name, value = ("mean", "var")[part], both[part]
                right = q_posterior(*given)[part]
                if wrong := differs(value, right, name, tolerance, f"at t = {given[2]}"):
                    return wrong
        return None

    return test


def _finite_at_1(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    means = []
    for given in _posteriors(1, 1)(draw) + _posteriors(1, 1)(draw):
        mean, var = observe(answer, *given).parts("mean", "var")
        for name, value, like in (("mean", mean, given[1]), ("var", var, 0.0)):
            if wrong := differs(value, like, name, math.inf, "at t = 1"):
                return wrong
        means.append(torch.as_tensor(mean).double())
    return "the mean is the same for another x0" if torch.equal(*means) else None


POSTERIOR = (
    Property(
        "is finite at t = 1",
        "At t = 1 your code divides by 1 - alpha_bar[0] = 0, or takes the log of the variance 0. "
        "Is the index right (alpha_bar[t] goes with x_t)? If it is: one of the two precisions is "
        "infinite there, so multiply the fractions out on paper.",
        _finite_at_1,
    ),
    Property(
        "t = 1 returns x0 and 0",
        "t = 1 must return x0, 0: x_{t-1} is x0, which is given. Is alpha_bar[0] = 1 in your code, "
        "with no index shifted by one (alpha_bar[-1] is the last), is x0's share added (E03), and "
        "is var not just beta_t, the variance of a step forward?",
        _pair(_posteriors(1, 1), 0, 1),
    ),
    Property(
        "var is exact",
        "Two laws know x_{t-1}, with variances beta_t/alpha_t and 1 - alpha_bar_{t-1}: precisions "
        "add. No root stands in the result (E01 has one of alpha_bar), it is a variance.",
        _pair(_posteriors(2, 5), 1),
    ),
    Property(
        "the mean has the right share of x0",
        "With xt = 0 only the share of x0 is left. q(x_{t-1}|x0) has its mean at a root times x0: "
        "of which alpha_bar? Its weight is its precision times var.",
        _pair(_posteriors(2, 5, xt=0), 0),
    ),
    Property(
        "the mean has the right share of xt",
        "The share of x0 is right, that of xt is not: one step back alone would guess xt over a "
        "root of which alpha? Its weight is its precision, alpha_t/beta_t, times var.",
        _pair(_posteriors(2, 5), 0),
    ),
    Property(
        "is right for steps of a ten-thousandth, and for images",
        "Right for large steps only: DDPM's first beta is 0.0001, and next to it no number added "
        "to a denominator, no clamp is small. x0 may have any shape.",
        _pair(_posteriors(1, 5, shape=(2, 1, 3, 3), noise=3e-4), 0, 1),
    ),
)


TERMS = "L_T", "the sum", "L_0"


def _bound(draw: Draw, T: int, n: int = 4, free: float = 0, wide: bool = False) -> tuple:
    """x0 of either sign, beta, k, sigma2. With free = 0 nothing depends on the noise of any x_t.

    Then k_1 = 0, and k_t is the share of x_t in the posterior's mean; `free` is added to each k.
    """
    beta, one = _noise(draw, T), torch.ones(1, dtype=torch.float64)
    shares = [q_posterior(one, 0 * one, t, beta)[0] for t in range(1, T + 1)]
    sigma2 = draw.uniform(1.2, 2.0, T + 1) if wide else draw.uniform(0.3, 0.8, T + 1)
    return draw.normal(n), beta, free + torch.cat([one, *shares]), sigma2


def _no_middle(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    _, middle, _ = observe(answer, *_bound(draw, T=1), draw.seed()).parts(*TERMS)
    middle = torch.as_tensor(middle)  # an empty sum may well be the number 0
    middle = middle if middle.ndim else middle.expand(4)
    if wrong := differs(middle, torch.zeros(4), "the sum at T = 1"):
        return wrong
    other = observe(answer, *_bound(draw, T=3), draw.seed()).parts(*TERMS)[1]
    return "the sum is 0 at T = 3, too" if differs(other, torch.zeros(4)) is None else None


def _positive(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    _, _, L_0 = observe(answer, *_bound(draw, T=3, wide=True), draw.seed()).parts(*TERMS)
    if wrong := differs(L_0, torch.zeros(4), "L_0", tolerance=math.inf):
        return wrong
    lowest, highest = (float(value) for value in torch.as_tensor(L_0).aminmax())
    if lowest == highest:
        return f"you: L_0 = {lowest:.6g} for every x0"
    return None if lowest > 0 else f"you: L_0 = {lowest:.6g}, right: positive where sigma2_1 > 1"


def _part(part: int, *lengths: int) -> Callable:
    """A property's test: this part is right for chains of these lengths, whatever is drawn."""
    name = TERMS[part]

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        for T in lengths:
            given = _bound(draw, T)
            right = bound_terms(*given, torch.Generator())[part]
            value = observe(answer, *given, draw.seed()).parts(*TERMS)[part]
            if wrong := differs(value, right, name, where=f"at T = {T}"):
                return wrong
        return None

    return test


def _own_draws(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x0, *model = _bound(draw, T=3, free=0.5)
    middle = observe(answer, x0[:1].expand(4).clone(), *model, draw.seed()).parts(*TERMS)[1]
    if wrong := differs(middle, torch.zeros(4), "the sum", tolerance=math.inf):
        return wrong
    alike = len(torch.as_tensor(middle).unique()) < 4
    return f"the sum for examples with equal x0: {middle.tolist()}" if alike else None


def _moments(x0: Tensor, beta: Tensor, k: Tensor, sigma2: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of L_{t-1} over the noise of x_t: of a squared Gaussian."""
    alpha_bar = (1 - beta).cumprod(0)[t]
    share, var = q_posterior(torch.ones_like(x0), 0 * x0, t, beta)
    center = q_posterior(0 * x0, x0, t, beta)[0] + (share - k[t]) * alpha_bar.sqrt() * x0
    spread2 = (share - k[t]) ** 2 * (1 - alpha_bar)
    rest = (2 * math.pi * sigma2[t]).log() if t == 1 else var / sigma2[t] - 1
    rest = rest if t == 1 else rest - (var / sigma2[t]).log()
    mean = 0.5 * ((center**2 + spread2) / sigma2[t] + rest)
    return mean, (spread2 * (center**2 + spread2 / 2)).sqrt() / sigma2[t]


def _means(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    given = _bound(draw, T=3, n=draw.count(2000), free=0.5)
    _, middle, L_0 = observe(answer, *given, draw.seed()).parts(*TERMS)
    for name, value, steps in (("the sum", middle, (2, 3)), ("L_0", L_0, (1,))):
        if wrong := differs(value, given[0], name, tolerance=math.inf):
            return wrong
        means, sds = zip(*(_moments(*given, t) for t in steps), strict=True)
        error = sum(sds).square().sum().sqrt() / len(given[0])  # the steps may share their noise
        exact = sum(means).mean()
        if wrong := far(torch.as_tensor(value).double().mean(), exact, error, f"mean of {name}"):
            return wrong
    return None


BOUND = (
    Property(
        "with T = 1 nothing is left in the middle",
        "t = 1 stands in L_0 and nowhere else; counted in the sum, too, the total is too large by "
        "L_0. (As a KL it is infinite: q(x_0|x_1, x_0) has variance 0.) Where does the sum begin?",
        _no_middle,
    ),
    Property(
        "L_T is KL(q(x_T|x_0) || N(0, 1))",
        "L_T, the first of the three, needs no draw: q(x_T|x_0) is a Gaussian, compared with "
        "N(0, 1). Its mean and variance come from the last alpha_bar (kl_isotropic takes standard "
        "deviations).",
        _part(0, 1, 3),
    ),
    Property(
        "L_0 has the sign of a loss",
        "L_0 is minus a log density, and a density with a variance above 1 is below 1. With the "
        "sign turned, the bound lies above log p.",
        _positive,
    ),
    Property(
        "L_0 is exact (checked with k_1 = 0)",
        "-log N(x_0; k_1 x_1, sigma2_1) with its constant: sigma2 is a variance, and the index is "
        "1, since the step from x_1 is step 1.",
        _part(2, 3),
    ),
    Property(
        "with T = 2 the sum is one KL",
        "One term, t = 2: the KL from q(x_1|x_2, x_0) to N(k_2 x_2, sigma2_2). Is T reached, is q "
        "the first law, is each variance turned into a standard deviation, is each index t?",
        _part(1, 2),
    ),
    Property(
        "the sum has all terms from 2 to T",
        "Right for T = 2 only: T - 1 terms are added, not averaged, each with its own x_t, k_t, "
        "sigma2_t and posterior.",
        _part(1, 3, 5),
    ),
    Property(
        "equal seeds give equal results, other seeds others",
        "x_t is drawn, not its mean, and every random number comes from the generator that you "
        "are given.",
        lambda answer, observe, draw: ignores_generator(
            answer, observe, draw, *_bound(draw, T=3, free=0.5)
        ),
    ),
    Property(
        "each example has its own noise",
        "Examples with equal x0 come out equal: one eps serves them all. How many numbers does "
        "torch.randn make for n examples?",
        _own_draws,
    ),
    Property(
        "x_t comes from q(x_t|x_0)",
        "The parts are right given x_t, so look at x_t: does it come from x_0 in one go, with "
        "alpha_bar of index t, not alpha, and are both factors roots?",
        _means,
        statistical=True,
    ),
)

EXERCISES = (
    Exercise("12-e3", "One step back, x0 given", 20, 2, POSTERIOR, q_posterior),
    Exercise("12-e5", "The bound in three parts", 30, 3, BOUND, bound_terms),
)
