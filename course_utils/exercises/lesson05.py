"""Exercises of lesson 05, the ELBO: properties of a right answer, hints, references."""

import math

import torch
from torch import Tensor

from course_utils.exercises.base import Answer, Draw, Exercise, Observe, Property, differs


def elbo(x: Tensor, W: Tensor, s2: float, mean: Tensor, var: Tensor) -> Tensor:
    """E_q log p(x|z) - KL(q || N(0, I)) in nats, one value per row of x (B, D).

    z ~ N(0, I), x|z ~ N(Wz, s2 I) with W (D, K); q = N(mean, diag(var)), both (B, K).
    """
    squared_error = ((x - mean @ W.T) ** 2).sum(1) + var @ (W**2).sum(0)  # E_q |x - Wz|^2
    reconstruction = -0.5 * (squared_error / s2 + x.shape[1] * math.log(2 * math.pi * s2))
    kl = 0.5 * (mean**2 + var - 1 - var.log()).sum(1)
    return reconstruction - kl


def log_evidence(x: Tensor, W: Tensor, s2: float) -> Tensor:
    """Log N(x; 0, W W^T + s2 I): the exact pPCA density, for the properties below."""
    cov = W @ W.T + s2 * torch.eye(len(W), dtype=torch.float64)
    return torch.distributions.MultivariateNormal(torch.zeros_like(cov[0]), cov).log_prob(x)


def _problem(draw: Draw, K: int) -> tuple[Tensor, Tensor, float, Tensor, Tensor]:
    x, W, s2 = draw.normal(5, 3), draw.normal(3, K), float(draw.uniform(0.2, 2.0))
    return x, W, s2, draw.normal(5, K), draw.uniform(0.2, 2.0, 5, K)


def _prior_kl_is_subtracted(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, W, s2, mean, var = _problem(draw, K=2)
    seen = observe(answer, x, 0 * W, s2, mean, var)
    log_noise = -0.5 * (x**2 / s2 + math.log(2 * math.pi * s2)).sum(1)
    kl = 0.5 * (mean**2 + var - 1 - var.log()).sum(1)
    return differs(seen.value, log_noise - kl, "elbo", where="at W = 0, where z is not used")


def _tight_at_posterior(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, W, s2, _, _ = _problem(draw, K=1)
    precision = 1 + float((W**2).sum()) / s2
    mean, var = x @ W / s2 / precision, torch.full((5, 1), 1 / precision, dtype=torch.float64)
    seen = observe(answer, x, W, s2, mean, var)
    return differs(seen.value, log_evidence(x, W, s2), "elbo", where="with q = p(z|x)")


def _exact(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, W, s2, mean, var = _problem(draw, K=3)
    return differs(observe(answer, x, W, s2, mean, var).value, elbo(x, W, s2, mean, var), "elbo")


EXERCISES = (
    Exercise(
        id="05-e2",
        title="The bound in closed form",
        minutes=15,
        stars=2,
        properties=(
            Property(
                "with W = 0 it is log N(x; 0, s2 I) minus the KL to the prior",
                "The KL is a price: is it subtracted? Added, the bound lies above the evidence.",
                _prior_kl_is_subtracted,
            ),
            Property(
                "equals the evidence when q is the posterior",
                "E_q |x - Wz|^2 is more than |x - W mean|^2: z varies under q. Which trace term "
                "did the mean alone forget?",
                _tight_at_posterior,
            ),
            Property(
                "is exact for any diagonal q, K = 3",
                "Right for one latent, wrong for three: look at the sums over k and at the shapes.",
                _exact,
            ),
        ),
        reference=elbo,
    ),
)
