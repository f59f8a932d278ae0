"""Exercises of lesson 12, towards the DDPM objective: two latent layers, the forward kernel.

The posterior and the bound (12-e3, 12-e5) are in lesson12_bound.py, the Gaussian KL and the weights
of the loss (12-e4, 12-e6) in lesson12_loss.py.
"""

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
    equals,
)


def hvae_terms(x: float, p: dict[str, float]) -> dict[str, float]:
    """The terms "reconstruction", "kl_top", "kl_inner" of H6 in closed form, in nats.

    Model: z2 ~ N(0, 1), z1|z2 ~ N(a z2, s1^2), x|z1 ~ N(b z1, s0^2).
    Encoder q: z1|x ~ N(c x, t1^2), z2|z1 ~ N(d z1, t2^2). The dict p holds a, s1, b, s0, c, t1,
    d, t2: every s and t is a standard deviation.

    reconstruction = E_q log p(x|z1), kl_top = KL(q(z2|x) || p(z2)) and
    kl_inner = E_q(z2|x) KL(q(z1|z2, x) || p(z1|z2)).
    """
    a, s1, b, s0, c, t1, d, t2 = (p[name] for name in "a s1 b s0 c t1 d t2".split())
    m1, m2 = c * x, d * c * x  # means of q(z1|x) and of q(z2|x)
    v1, v2 = t1**2, d**2 * t1**2 + t2**2  # their variances
    error = (x - b * m1) ** 2 + b**2 * v1  # E (x - b z1)^2
    reconstruction = -0.5 * (error / s0**2 + math.log(2 * math.pi * s0**2))
    kl_top = 0.5 * (m2**2 + v2 - 1 - math.log(v2))
    gain, var = d * v1 / v2, v1 * t2**2 / v2  # q(z1|z2, x) = N(m1 + gain (z2 - m2), var)
    apart = (m1 - a * m2) ** 2 + (gain - a) ** 2 * v2  # E of the squared distance of the means
    kl_inner = 0.5 * ((var + apart) / s1**2 - 1 - math.log(var / s1**2))
    return {"reconstruction": reconstruction, "kl_top": kl_top, "kl_inner": kl_inner}


def q_sample(x0: Tensor, alpha_bar: Tensor, eps: Tensor) -> Tensor:
    """x_t ~ q(x_t|x_0) = N(sqrt(alpha_bar) x_0, (1 - alpha_bar) I), made from the noise eps.

    x0 and eps (B, ...) have one shape, of any rank: vectors, images. alpha_bar (B,), in [0, 1],
    has one value per example.
    """
    alpha_bar = alpha_bar.reshape(-1, *[1] * (x0.ndim - 1))  # (B, 1, ..., 1)
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


def _chain(draw: Draw, **fixed: float) -> tuple[float, dict[str, float]]:
    """An x and parameters, none of them 0 or 1 but where `fixed` says so."""
    p = {name: float(draw.uniform(0.5, 1.3)) for name in "abcd"}
    p |= {name: float(draw.uniform(0.4, 0.8)) for name in ("s1", "s0", "t1", "t2")}
    return fixed.pop("x", float(draw.uniform(0.8, 2.0))), p | fixed


def _standard_top(draw: Draw) -> tuple[float, dict[str, float]]:
    """A chain whose q(z2|x) is N(0, 1), in two parts."""
    x, p = _chain(draw, x=0.0, t1=0.8)
    p["d"] = float(draw.uniform(0.5, 0.9))
    return x, p | {"t2": math.sqrt(1 - (p["d"] * p["t1"]) ** 2)}


def _standard_inside(draw: Draw) -> tuple[float, dict[str, float]]:
    """A chain whose q(z1|z2, x) is p(z1|z2)."""
    x, p = _chain(draw, x=0.0)
    v2 = (p["d"] * p["t1"]) ** 2 + p["t2"] ** 2
    return x, p | {"a": p["d"] * p["t1"] ** 2 / v2, "s1": p["t1"] * p["t2"] / math.sqrt(v2)}


def _term(name: str, inputs: Callable[[Draw], tuple]) -> Callable:
    """A property's test: this term is right; where it is 0, it is not so everywhere."""

    def term(answer: Answer, observe: Observe, *given: object) -> object:
        value = observe(answer, *given).value
        if not isinstance(value, dict) or name not in value:
            there = sorted(value) if isinstance(value, dict) else f"a {type(value).__name__}"
            raise ValueError(f'{there}, asked is a dict with "{name}"')
        return value[name]

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = inputs(draw)
        value, right = term(answer, observe, *given), hvae_terms(*given)[name]
        if (wrong := differs(value, right, name)) or abs(right) > 1e-12:
            return wrong
        other = term(answer, observe, *_chain(draw))
        return f"{name} is 0 in other chains, too" if differs(other, 0.0) is None else None

    return test


HIERARCHY = (
    Property(
        "the reconstruction is log N(x; b c x, s0^2) where q(z1|x) is narrow",
        "With t1 near 0, z1 is c x, and log p(x|z1) is a log density of x, in nats: is s0 a "
        "standard deviation in your code, and is the normalising constant there? (On a grid so "
        "narrow a q falls between the points.)",
        _term("reconstruction", lambda d: _chain(d, t1=1e-12)),
    ),
    Property(
        "the reconstruction is an average over z1",
        "E_q (x - b z1)^2 is more than (x - b c x)^2: z1 varies under q, with standard deviation "
        "t1. How much does b times z1 vary?",
        _term("reconstruction", _chain),
    ),
    Property(
        "kl_top is zero where q(z2|x) is N(0, 1)",
        "kl_top is about the marginal q(z2|x), not about q(z2|z1): z1 is integrated out, so z2 "
        "varies for two reasons. Do two variances add in your code?",
        _term("kl_top", _standard_top),
    ),
    Property(
        "kl_top is exact",
        "Has it the sign of a KL, never below 0? The variance of q(z2|x) is right then: what is "
        "its mean, two layers above x? And which terms has KL(N(m, v) || N(0, 1))?",
        _term("kl_top", _chain),
    ),
    Property(
        "kl_inner is KL(q(z1|x) || p(z1)) where z2 plays no part (a = d = 0)",
        "With a = d = 0 z2 tells nothing: N(c x, t1^2) is compared with N(0, s1^2), q first, with "
        "the sign of a KL. The second law knows no x: with p(z1|x), the slide's (E04), the bound "
        "climbs above the evidence.",
        _term("kl_inner", lambda d: _chain(d, a=0.0, d=0.0)),
    ),
    Property(
        "kl_inner is zero where q(z1|z2, x) is p(z1|z2)",
        "Under q, z2 was made from z1, so it tells about z1: the first law is q(z1|z2, x), by "
        "Bayes from q(z1|x) and q(z2|z1). It is narrower than q(z1|x), and its mean moves with z2.",
        _term("kl_inner", _standard_inside),
    ),
    Property(
        "kl_inner is an average over z2",
        "Both means depend on z2, one with slope a, the other with that of Bayes. The average of "
        "their squared distance over q(z2|x) is more than its value at the mean of z2.",
        _term("kl_inner", _chain),
    ),
)


def _one_image(draw: Draw, alpha_bar: float | None = None, x0: float = 1, eps: float = 1) -> tuple:
    """A batch of one: no wrong shape of alpha_bar shows. The arguments scale x0 and eps."""
    given = draw.uniform(0.2, 0.7, 1) if alpha_bar is None else torch.tensor([alpha_bar]).double()
    return x0 * draw.normal(1, 2, 3, 3), given, eps * draw.normal(1, 2, 3, 3)


def _any_rank(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """Sizes are equal, so that a broadcast along the wrong dimension raises nothing."""
    for rank in (1, 2, 3, 4):
        shape = [4] * rank
        given = draw.normal(*shape), draw.uniform(0.1, 0.9, 4), draw.normal(*shape)
        value = observe(answer, *given).value
        if wrong := differs(value, q_sample(*given), "x_t", where=f"at shape {tuple(shape)}"):
            return str(wrong)  # a wrong shape has this property's hint, not that of the form
    return None


KERNEL = (
    Property(
        "alpha_bar = 1 returns x0",
        "alpha_bar = 1 is t = 0: nothing is lost yet, so x0 must come back, to the last digit. "
        "Are the two roots swapped, or was a number added under one of them?",
        equals(q_sample, lambda d: _one_image(d, alpha_bar=1.0), "x_t"),
    ),
    Property(
        "with x0 = 0 it is noise of variance 1 - alpha_bar",
        "Is the eps that is given added, not subtracted? Is its factor the standard deviation? "
        "1 - alpha_bar is a variance: with it as the factor the variance comes out squared.",
        equals(q_sample, lambda d: _one_image(d, x0=0), "x_t"),
    ),
    Property(
        "with eps = 0 it is x0, scaled down",
        "The noise is right, the signal is not: the squares of the two factors add up to 1, so "
        "that data of variance 1 keep it.",
        equals(q_sample, lambda d: _one_image(d, eps=0), "x_t"),
    ),
    Property(
        "each example has its own alpha_bar, at any rank",
        "alpha_bar (B,) lines up with the last dimension of x0 unless you give it one dimension "
        "of size 1 for each that x0 has beside B: how many are they for (B, D), for (B, C, H, W)?",
        _any_rank,
    ),
)


EXERCISES = (
    Exercise("12-e1", "Two latent layers", 30, 3, HIERARCHY, hvae_terms),
    Exercise("12-e2", "Any step in one go", 10, 1, KERNEL, q_sample),
)
