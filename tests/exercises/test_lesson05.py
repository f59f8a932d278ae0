"""Lesson 05: right answers by other routes pass, every known mistake meets its own hint."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from course_utils.exercises.lesson05 import elbo
from tests.exercises.harness import accepts, rejects


def elbo_by_gap(x, W, s2, mean, var):
    """Evidence minus KL(q || posterior): another route to the same number."""
    eye = torch.eye(W.shape[1], dtype=x.dtype)
    precision = eye + W.T @ W / s2
    cov = torch.linalg.inv(precision)
    evidence = MultivariateNormal(
        torch.zeros_like(x[0]), W @ W.T + s2 * torch.eye(len(W), dtype=x.dtype)
    ).log_prob(x)
    posterior = MultivariateNormal(x @ W @ cov / s2, cov.expand(len(x), *cov.shape))
    q = MultivariateNormal(mean, torch.diag_embed(var))
    return evidence - torch.distributions.kl_divergence(q, posterior)


def test_elbo_by_another_route():
    accepts("05-e2", elbo_by_gap)


def _kl(mean, var):
    return 0.5 * (mean**2 + var - 1 - var.log()).sum(1)


def _kl_added(x, W, s2, mean, var):
    return elbo(x, W, s2, mean, var) + 2 * _kl(mean, var)


def _trace_forgotten(x, W, s2, mean, var):
    return Normal(mean @ W.T, math.sqrt(s2)).log_prob(x).sum(1) - _kl(mean, var)


def _variance_read_as_sd(x, W, s2, mean, var):
    return elbo(x, W, s2, mean, var**2)


def _one_number_for_the_batch(x, W, s2, mean, var):
    return elbo(x, W, s2, mean, var).mean()


def _spread_of_the_first_latent_only(x, W, s2, mean, var):
    extra = var[:, :1] @ (W[:, :1] ** 2).sum(0) - var @ (W**2).sum(0)
    return elbo(x, W, s2, mean, var) - 0.5 * extra / s2


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (_kl_added, "is it subtracted"),
        (_variance_read_as_sd, "is it subtracted"),
        (_one_number_for_the_batch, "is it subtracted"),
        (_trace_forgotten, "trace term"),
        (_spread_of_the_first_latent_only, "three"),
    ],
)
def test_elbo_mistakes_meet_their_hint(wrong, hint):
    rejects("05-e2", wrong, hint)
