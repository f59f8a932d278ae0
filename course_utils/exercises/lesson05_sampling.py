"""Exercises of lesson 05 that draw samples: Monte Carlo evidence, importance-weighted bound."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.distributions import LinearGaussian
from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Number,
    Observe,
    Property,
    Stop,
    differs,
    equals,
    far,
    ignores_generator,
)

# orthogonal columns: the posterior's latents are independent, like those of q
TWO_CAUSES = torch.tensor([[1.0, 1.0], [0.5, -2.0], [0.0, 1.0]], dtype=torch.float64)


def mc_log_likelihood(
    x: Tensor, W: Tensor, s2: float, k: int, generator: torch.Generator
) -> Tensor:
    """Log of the mean of p(x|z_i) over k draws z_i ~ N(0, I), one value per row of x (B, D).

    x|z ~ N(Wz, s2 I) with W (D, K). All noise comes from torch.randn(..., generator=generator,
    dtype=x.dtype); the rows may share their draws.
    """
    z = torch.randn(k, W.shape[1], generator=generator, dtype=x.dtype)  # (k, K)
    squared_error = ((x - (z @ W.T)[:, None]) ** 2).sum(2)  # (k, B)
    log_lik = -0.5 * (squared_error / s2 + x.shape[1] * math.log(2 * math.pi * s2))
    return log_lik.logsumexp(0) - math.log(k)


def importance_weighted_bound(
    x: Tensor, W: Tensor, s2: float, mean: Tensor, var: Tensor, k: int, generator: torch.Generator
) -> Tensor:
    """Log of the mean of k weights p(x|z_i) p(z_i) / q(z_i|x), one value per row of x (B, D).

    z_i ~ q = N(mean, diag(var)), both (B, K); p(z) = N(0, I), x|z ~ N(Wz, s2 I) with W (D, K).
    All noise comes from torch.randn(..., generator=generator, dtype=x.dtype).
    """
    eps = torch.randn(k, *mean.shape, generator=generator, dtype=x.dtype)  # (k, B, K)
    z = mean + var.sqrt() * eps
    log_lik = -0.5 * ((x - z @ W.T) ** 2 / s2 + math.log(2 * math.pi * s2)).sum(2)  # (k, B)
    log_prior_over_q = 0.5 * (eps**2 + var.log() - z**2).sum(2)  # the 2 pi cancel
    return (log_lik + log_prior_over_q).logsumexp(0) - math.log(k)


def _evidence(x: Tensor, W: Tensor, s2: float, *_: object) -> Tensor:
    """Exact log p(x), (B,): both estimates tend to it, some inputs make them equal to it."""
    return LinearGaussian(W, torch.zeros_like(W[:, 0]), s2).log_evidence(x)


def _problem(draw: Draw, K: int, W: float = 1, x: float = 1) -> tuple[Tensor, Tensor, float]:
    """X (5, 3), W (3, K), s2; the arguments scale x and W."""
    return x * draw.normal(5, 3), W * draw.normal(3, K), float(draw.uniform(0.5, 2.0))


def _prior(K: int, rows: int = 5) -> tuple[Tensor, Tensor]:
    return torch.zeros(rows, K).double(), torch.ones(rows, K).double()


def _posterior(x: Tensor, W: Tensor, s2: float) -> tuple[Tensor, Tensor]:
    """Mean and variances of p(z|x), (B, K) each: exact for K = 1, without correlations for more."""
    mean, cov = LinearGaussian(W, torch.zeros_like(W[:, 0]), s2).posterior(x)
    return mean, cov.diagonal().expand_as(mean)


def _follows_generator(inputs: Callable[[Draw], tuple]) -> Callable:
    return lambda answer, observe, draw: ignores_generator(answer, observe, draw, *inputs(draw))


FAR = torch.tensor([[3.0], [0.0]]).double(), torch.tensor([[2.0]]).double(), 0.25  # x, W, s2


def _of_far_points(answer: Answer, observe: Observe, draw: Draw, q: tuple, k: int) -> Tensor:
    """Estimates (12, 2) at x = 3, of evidence -2.70 and ELBO -26.2, and at x = 0: there -1.64.

    Raises:
        Stop: one has the wrong shape, or is not finite.
    """
    found = []
    for seed in [draw.seed() for _ in range(12)]:
        value = observe(answer, *FAR, *q, k, seed).value
        if wrong := differs(value, torch.zeros(2), tolerance=math.inf):
            raise Stop(wrong)
        found.append(torch.as_tensor(value).double())
    return torch.stack(found)


def _far_above_the_elbo(*q: Tensor) -> Callable:
    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        values = _of_far_points(answer, observe, draw, q, k=200)
        if (lowest := values[:, 0].min().item()) < -14:
            return f"you: {lowest:.4g}, right is near -2.7 (w = 2, s2 = 0.25, x = 3)"
        fall = (values[:, 1] - values[:, 0]).mean().item()
        right = "right is 1.06"  # 0 is that of a constant
        return f"you: log p(0) - log p(3) = {fall:.3g}, {right}" if fall < 0.3 else None

    return test


def _k_counts(*q: Tensor) -> Callable:
    """A single draw is far below the evidence at times; the log of a mean of many never is."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        lowest = _of_far_points(answer, observe, draw, q, k=1)[:, 0].min().item()
        return None if lowest < -10 else f"you: {lowest:.4g} at least, twelve times with k = 1"

    return test


def _two_equal_pixels(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """N(x; Wz, s2)^2 = N(x; Wz, s2 / 2) / sqrt(4 pi s2), whatever z: no statistics needed."""
    (x, W, s2), k, seed = _problem(draw, K=2), 20, draw.seed()
    x, W = x[:, :1], W[:1]
    one = observe(answer, x, W, s2 / 2, k, seed).value
    if wrong := differs(one, torch.zeros(5), tolerance=math.inf):
        return wrong
    right = torch.as_tensor(one).double() - 0.5 * math.log(4 * math.pi * s2)
    both = observe(answer, x.expand(5, 2), W.expand(2, 2), s2, k, seed).value
    return differs(both, right)


def _averages_to_the_evidence(
    answer: Answer, observe: Observe, draw: Draw, given: tuple, k: int, second_moment: Number
) -> str | None:
    """None if exp(estimate) / p(x) is 1 on average over four calls; second_moment: a weight's."""
    log_p, total = _evidence(*given), torch.zeros(5, dtype=torch.float64)
    for seed in [draw.seed() for _ in range(4)]:
        value = observe(answer, *given, k, seed).value
        if wrong := differs(value, log_p, tolerance=math.inf):
            return wrong
        total += (torch.as_tensor(value).double() - log_p).exp() / 4
    error = ((torch.as_tensor(second_moment) - 1) / (4 * k)).sqrt()
    return far(total, torch.ones(5), error, "mean of exp(yours) / p(x)")


def _log_mean_tends_to_evidence(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """E p(x|z)^2 = (4 pi s2)^(-D/2) N(x; 0, W W^T + s2/2 I) gives the standard error."""
    (x, _, s2), W = _problem(draw, K=2), TWO_CAUSES
    log_second_moment = _evidence(x, W, s2 / 2) - 1.5 * math.log(4 * math.pi * s2)
    second_moment = (log_second_moment - 2 * _evidence(x, W, s2)).exp()
    given = x, W, s2
    return _averages_to_the_evidence(answer, observe, draw, given, draw.count(1000), second_moment)


def _bound_tends_to_evidence(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """With c times the posterior's variance a weight is p(x) sqrt(c) exp(-(1 - 1/c) u^2 / 2).

    That is per latent; u is the distance from the posterior's mean in its standard deviations, the
    factor's second moment c / sqrt(2c - 1). Draws narrower, wider, elsewhere or shared show.
    """
    (x, _, s2), W = _problem(draw, K=2, x=3), TWO_CAUSES
    mean, var = _posterior(x, W, s2)
    c = torch.tensor([1.2, 2, 4, 8, 16], dtype=torch.float64)
    given = x, W, s2, mean, c[:, None] * var
    moment = c**2 / (2 * c - 1)
    return _averages_to_the_evidence(answer, observe, draw, given, draw.count(500), moment)


def _nearly_certain(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """With var = 1e-20 a weight is p(x, z = mean) / q(z|x), and log q(z|x) known up to eps^2/2."""
    (x, W, s2), mean, var = _problem(draw, K=1), draw.normal(5, 1), 1e-20
    value = observe(answer, x, W, s2, mean, var + 0 * mean, 1, draw.seed()).value
    if wrong := differs(value, torch.zeros(5), tolerance=math.inf):
        return wrong
    at_mean = -0.5 * ((x - mean @ W.T) ** 2 / s2 + math.log(2 * math.pi * s2)).sum(1)
    rest = torch.as_tensor(value).double() - at_mean + 0.5 * (mean[:, 0] ** 2 - math.log(var))
    near = -0.1 < rest.min() and rest.max() < 15
    return None if near else f"with var = 1e-20, eps^2 / 2 is {rest.max():.4g}, right is 0 to 15"


MONTE_CARLO = (
    Property(
        "one draw with W = 0 gives log N(x; 0, s2 I)",
        "With W = 0 every z gives the same likelihood. Is s2 a variance in your code, and does the "
        "normalising constant come once per dimension?",
        equals(_evidence, lambda d: (*_problem(d, K=2, W=0), 1, d.seed())),
    ),
    Property(
        "fifty equal likelihoods have the mean of one",
        "It is the log of a mean, not of a sum: what must leave the log of the sum?",
        equals(_evidence, lambda d: (*_problem(d, K=2, W=0), 50, d.seed())),
    ),
    Property(
        "stays finite where the likelihood underflows",
        "exp(-800) is 0 in floating point, and log 0 is -inf: can the largest log likelihood leave "
        "the mean before exp is taken?",
        equals(_evidence, lambda d: (*_problem(d, K=2, W=0, x=1000), 50, d.seed())),
    ),
    Property(
        "equal seeds give equal results, other seeds others",
        "Every random number comes from the generator you are given: draw from it, and make none "
        "of your own.",
        _follows_generator(lambda d: (*_problem(d, K=2), 20)),
    ),
    Property(
        "is the log of the mean, not the mean of the logs",
        "The mean of the logs is the ELBO with q = prior, -26.2 here and not -2.7: which comes "
        "first, the mean or the log? And every draw counts.",
        _far_above_the_elbo(),
    ),
    Property(
        "with k = 1 it is the likelihood at one draw",
        "k has no effect: one draw is far from the evidence at times, here below -10 instead of "
        "-2.7. How many draws do you take?",
        _k_counts(),
    ),
    Property(
        "two equal pixels count as one pixel of half the noise variance",
        "The pixels of one draw belong together: sum their log densities over the D dimensions "
        "before the draws are averaged, not after.",
        _two_equal_pixels,
    ),
    Property(
        "is near the evidence for many draws",
        "Are the draws standard normal, with one number for each of the K latents?",
        _log_mean_tends_to_evidence,
        statistical=True,
    ),
)


def _at_posterior(draw: Draw, k: int, W: Tensor | None = None) -> tuple:
    x, one_cause, s2 = _problem(draw, K=1)
    W = one_cause if W is None else W
    return x, W, s2, *_posterior(x, W, s2), k, draw.seed()


IMPORTANCE = (
    Property(
        "with q = p(z|x) a single weight is the evidence",
        "At the posterior p(x|z) p(z) / q(z|x) is p(x), whatever z is drawn. Are all three "
        "densities there, is z drawn from q, and is var a variance throughout?",
        equals(_evidence, lambda d: _at_posterior(d, k=1)),
    ),
    Property(
        "fifty equal weights have the mean of one",
        "It is the log of a mean, not of a sum: what must leave the log of the sum?",
        equals(_evidence, lambda d: _at_posterior(d, k=50)),
    ),
    Property(
        "stays finite where the weights underflow",
        "exp(-800) is 0 in floating point, and log 0 is -inf: can the largest log weight leave the "
        "mean before exp is taken?",
        equals(_evidence, lambda d: (*_problem(d, 2, W=0, x=1000), *_prior(2), 50, d.seed())),
    ),
    Property(
        "equal seeds give equal results, other seeds others",
        "Every random number comes from the generator you are given: draw from it, and make none "
        "of your own.",
        _follows_generator(lambda d: (*_problem(d, K=2), *_prior(2), 20)),
    ),
    Property(
        "more weights lift the bound",
        "k has no effect: you built the ELBO. Which comes first, the mean over weights or the log? "
        "And each weight needs a draw of its own.",
        _far_above_the_elbo(*_prior(1, rows=2)),
    ),
    Property(
        "with k = 1 it is the log of one weight",
        "However small k is, you take many draws: one weight is far from the evidence at times, "
        "here below -10 instead of -2.7.",
        _k_counts(*_prior(1, rows=2)),
    ),
    Property(
        "two latents: a single weight is the evidence, too",
        "Right for one latent, wrong for two: sum every log density over the latents, and over the "
        "dimensions of x, before weights are averaged.",
        equals(_evidence, lambda d: _at_posterior(d, k=1, W=TWO_CAUSES)),
    ),
    Property(
        "the weights average to the evidence for any q wider than the posterior",
        "The weights are right, so look at the draws: are they from q (eps counts standard "
        "deviations), with a number of their own for each of the latents?",
        _bound_tends_to_evidence,
        statistical=True,
    ),
    Property(
        "is right for a nearly certain q",
        "var as it is: was a small number added to it, or a small one clamped?",
        _nearly_certain,
    ),
)

EXERCISES = (
    Exercise("05-e3", "The log of an average", 15, 2, MONTE_CARLO, mc_log_likelihood),
    Exercise(
        "05-e5", "More weights, a tighter bound", 20, 3, IMPORTANCE, importance_weighted_bound
    ),
)
