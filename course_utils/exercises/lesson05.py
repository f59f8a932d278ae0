"""Exercises of lesson 05, the ELBO: properties of a right answer, hints, references.

Those that draw samples (05-e3, 05-e5) are in lesson05_sampling.py, 05-e6 in lesson05_rules.py.
"""

import math

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


def log_evidence(x: Tensor, W: Tensor, s2: float) -> Tensor:
    """Log N(x; 0, W W^T + s2 I) in nats, one value per row of x (B, D).

    It is the exact log p(x) of the model z ~ N(0, I), x|z ~ N(Wz, s2 I) with W (D, K).
    """
    cov = W @ W.T + s2 * torch.eye(len(W), dtype=W.dtype)  # (D, D)
    squared_distance = (x * torch.linalg.solve(cov, x.T).T).sum(1)  # x^T cov^-1 x, (B,)
    log_det = torch.linalg.slogdet(cov).logabsdet
    return -0.5 * (squared_distance + log_det + x.shape[1] * math.log(2 * math.pi))


def elbo(x: Tensor, W: Tensor, s2: float, mean: Tensor, var: Tensor) -> Tensor:
    """E_q log p(x|z) - KL(q || N(0, I)) in nats, one value per row of x (B, D).

    z ~ N(0, I), x|z ~ N(Wz, s2 I) with W (D, K); q = N(mean, diag(var)), both (B, K).
    """
    squared_error = ((x - mean @ W.T) ** 2).sum(1) + var @ (W**2).sum(0)  # E_q |x - Wz|^2
    reconstruction = -0.5 * (squared_error / s2 + x.shape[1] * math.log(2 * math.pi * s2))
    kl = 0.5 * (mean**2 + var - 1 - var.log()).sum(1)
    return reconstruction - kl


def gap(x: Tensor, W: Tensor, s2: float, mean: Tensor, var: Tensor) -> Tensor:
    """KL(q || p(z|x)) in nats, one value per row of x (B, D): what the bound loses.

    z ~ N(0, I), x|z ~ N(Wz, s2 I) with W (D, K); q = N(mean, diag(var)), both (B, K).
    """
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / s2  # of p(z|x), (K, K)
    shift = mean - torch.linalg.solve(precision, W.T @ x.T / s2).T  # (B, K)
    trace = var @ precision.diagonal()  # (B,)
    log_dets = torch.linalg.slogdet(precision).logabsdet + var.log().sum(1)
    return 0.5 * (trace - W.shape[1] + ((shift @ precision) * shift).sum(1) - log_dets)


def _problem(
    draw: Draw, K: int, W: float = 1, mean: float = 1, spread: float = 1, B: int = 5, D: int = 3
) -> tuple:
    """x, W, s2, mean, var; with 0 for W, mean, spread they are W = 0, mean = 0, var = 1."""
    s2 = float(draw.uniform(0.3, 2.0))
    var = (spread * draw.uniform(-1.5, 0.7, B, K)).exp()
    return draw.normal(B, D), W * draw.normal(D, K), s2, mean * draw.normal(B, K), var


def _narrow(draw: Draw) -> tuple:
    """A q of which one latent is certain: its variance is 1e-12."""
    x, W, s2, mean, var = _problem(draw, K=2)
    return x, W, s2, mean, var * torch.tensor([1.0, 1e-12], dtype=torch.float64)


def _near_posterior(draw: Draw, shift: float = 0, widen: float = 1) -> tuple:
    """A problem with one latent and q = p(z|x), but for the shift and the wider variance."""
    x, W, s2, _, _ = _problem(draw, K=1)
    var = 1 / (1 + (W**2).sum() / s2)
    return x, W, s2, x @ W / s2 * var + shift, widen * var.expand(5, 1)


def _falls_with_noise_variance(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, W, s2, _, _ = _problem(draw, K=3, W=0)
    value = observe(answer, torch.cat([x, 0 * x]), W, s2).value
    if wrong := differs(value, torch.zeros(10), tolerance=math.inf):
        return wrong
    fall = torch.as_tensor(value)[5:] - torch.as_tensor(value)[:5]
    return differs(fall, (x**2).sum(1) / (2 * s2), "log p(0) - log p(x)")


def _evidence(x: Tensor, W: Tensor, s2: float, *_: object) -> Tensor:
    return log_evidence(x, W, s2)


EVIDENCE = (
    Property(
        "with W = 0 it falls with |x|^2 as noise of variance s2 does",
        "Set W = 0: the variance must be s2, neither its square nor its root, and nothing added; "
        "|x|^2 is halved; and the value is in nats: a natural logarithm, not the density.",
        _falls_with_noise_variance,
    ),
    Property(
        "with W = 0 and x = 0 it is the logarithm of the normalising constant",
        "Each of the D dimensions brings its log(2 pi) and its share of the log determinant.",
        equals(log_evidence, lambda d: (0 * d.normal(5, 3), *_problem(d, K=3, W=0)[1:3])),
    ),
    Property(
        "the covariance is that of x, not of z (checked with D = K)",
        "W^T W compares latents and has shape K x K; which product has shape D x D?",
        equals(log_evidence, lambda d: _problem(d, K=3)[:3]),
    ),
    Property(
        "is exact for one latent",
        "Right for D = K only: look for a K that should be D, the number of columns of x.",
        equals(log_evidence, lambda d: _problem(d, K=1)[:3]),
    ),
    Property(
        "is exact for more latents than dimensions",
        "W W^T + s2 I has full rank for any number of latents: what else was inverted? And is a "
        "number of dimensions or rows written into your code?",
        equals(log_evidence, lambda d: _problem(d, K=5, B=2, D=4)[:3]),
    ),
    Property(
        "is finite and right in 200 dimensions",
        "The determinant of 200 dimensions is a product that leaves the range of floats: take the "
        "logarithm before its factors meet.",
        equals(log_evidence, lambda d: (d.normal(5, 200), 0.1 * d.normal(200, 2), 0.01)),
    ),
    Property(
        "is right in small units",
        "Every variance may be tiny: was a small number added to the diagonal, or a small one "
        "clamped?",
        equals(log_evidence, lambda d: (1e-4 * d.normal(2, 3), 1e-4 * d.normal(3, 2), 1e-8)),
    ),
)

BOUND = (
    Property(
        "with W = 0 and q = N(0, I) it is log N(x; 0, s2 I)",
        "Here the KL is zero and z plays no part, only the noise is left. Is s2 a variance in your "
        "code? Does the normalising constant come once per dimension, the -1 of the KL once per "
        "latent, and nothing added?",
        equals(elbo, lambda d: _problem(d, K=2, W=0, mean=0, spread=0)),
    ),
    Property(
        "a q whose mean is not 0 pays for it, even where W = 0",
        "The KL is a price: is it subtracted (added, the bound lies above the evidence), halved, "
        "and summed over the latents?",
        equals(elbo, lambda d: _problem(d, K=2, W=0, spread=0)),
    ),
    Property(
        "the price of a variance other than 1 is right",
        "var is a variance, neither a standard deviation nor a logarithm. Which terms of the KL "
        "contain it, and is each of them halved, its logarithm natural?",
        equals(elbo, lambda d: _problem(d, K=2, W=0, mean=0)),
    ),
    Property(
        "equals the evidence when q is the posterior",
        "E_q |x - Wz|^2 is more than |x - W mean|^2: z varies under q. Which trace term did the "
        "mean alone forget, and is it divided by s2?",
        equals(_evidence, _near_posterior),
    ),
    Property(
        "is exact for any diagonal q, K = 3",
        "Right for one latent, wrong for three: look at the sums over k and at the shapes.",
        equals(elbo, lambda d: _problem(d, K=3)),
    ),
    Property(
        "a nearly certain latent costs half of -log var",
        "log var as it is: was a small number added to var, or a small one clamped?",
        equals(elbo, _narrow),
    ),
)


def _zero_at_the_posterior_only(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    value = observe(answer, *_near_posterior(draw)).value
    if wrong := differs(value, torch.zeros(5)):
        return wrong
    other = observe(answer, *_near_posterior(draw, shift=2)).value
    return None if differs(other, torch.zeros(5), tolerance=1e-3) else "always 0, for any q"


GAP = (
    Property(
        "is zero when q is the posterior, and only then",
        "At q = p(z|x) nothing is lost. Off by the same number in every row? Look at the log "
        "determinants (nothing is added to var). By another in each? At the posterior's mean: its "
        "precision is the prior's plus what the data add; divide by s2 in the right places.",
        _zero_at_the_posterior_only,
    ),
    Property(
        "grows with the square of a shift of the mean",
        "Same variance, shifted mean: half the squared shift, in units of the posterior's "
        "variance, in nats. And a KL is never negative.",
        equals(gap, lambda d: _near_posterior(d, shift=0.7)),
    ),
    Property(
        "is KL(q || p(z|x)), not KL(p(z|x) || q)",
        "Same mean, wider variance: the two directions differ. Average over q: it is q you sample.",
        equals(gap, lambda d: _near_posterior(d, widen=float(d.uniform(2, 4)))),
    ),
    Property(
        "is exact for correlated latents, K = 3",
        "With several latents the posterior is correlated though q is not: the diagonal of an "
        "inverse is not the inverse of the diagonal. And the -1 comes once per latent.",
        equals(gap, lambda d: _problem(d, K=3)),
    ),
    Property(
        "is exact for a nearly certain latent",
        "log var as it is: was a small number added to var, or a small one clamped?",
        equals(gap, _narrow),
    ),
    Property(
        "is exact for more latents than dimensions, and for one example",
        "I + W^T W / s2 has full rank for any number of latents: what else was inverted? And is a "
        "number of rows written into your code?",
        equals(gap, lambda d: _problem(d, K=4, B=1, D=2)),
    ),
)

EXERCISES = (
    Exercise("05-e1", "The exact evidence", 10, 1, EVIDENCE, log_evidence),
    Exercise("05-e2", "The bound in closed form", 15, 2, BOUND, elbo),
    Exercise("05-e4", "What the bound loses", 15, 2, GAP, gap),
)
