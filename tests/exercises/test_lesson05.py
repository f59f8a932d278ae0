"""Lesson 05: right answers by other routes pass, every known mistake meets its own hint."""

import ast
import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from course_utils.distributions import LinearGaussian
from course_utils.exercises import find
from course_utils.exercises.lesson05_rules import DISGUISED, INEQUALITIES, RULES
from course_utils.notebook.file import notebook_path
from tests.exercises.harness import accepts, rejects
from tests.notebooks.lessons import read

log_evidence, elbo, gap = (find(id).reference for id in ("05-e1", "05-e2", "05-e4"))
mc_log_likelihood, route = find("05-e3").reference, find("05-e6").reference
importance_weighted_bound = find("05-e5").reference


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


def _like(x, n):
    return torch.eye(n, dtype=x.dtype)


# 05-e1 log_evidence


def evidence_by_torch(x, W, s2):
    cov = W @ W.T + s2 * _like(x, len(W))
    return MultivariateNormal(torch.zeros_like(x[0]), cov).log_prob(x)


def evidence_by_scipy(x, W, s2):
    W = W.numpy()
    cov = W @ W.T + s2 * np.eye(len(W))
    return scipy.stats.multivariate_normal(np.zeros(len(W)), cov).logpdf(x.numpy())


def evidence_by_chain_rule(x, W, s2):
    """Log p(x_1) + log p(x_2 | x_1) + …: the Cholesky factor, a row at a time."""
    factor = torch.linalg.cholesky(W @ W.T + s2 * _like(x, len(W)))
    white = torch.linalg.solve_triangular(factor, x.T, upper=False)
    return (Normal(0.0, 1.0).log_prob(white) - factor.diagonal().log()[:, None]).sum(0)


@pytest.mark.parametrize("right", [evidence_by_torch, evidence_by_scipy, evidence_by_chain_rule])
def test_evidence_by_another_route(right):
    accepts("05-e1", right)


def _s2_is_squared(x, W, s2):
    return log_evidence(x, W, s2**2)


def _density_instead_of_its_log(x, W, s2):
    return log_evidence(x, W, s2).exp()


def _float32_on_the_way(x, W, s2):
    cov = W @ W.T + s2 * torch.eye(len(W))
    return MultivariateNormal(torch.zeros(len(W)), cov).log_prob(x)


def _covariance_of_z(x, W, s2):
    return log_evidence(x, W.T if W.shape[0] == W.shape[1] else W, s2)


def _no_2_pi(x, W, s2):
    return log_evidence(x, W, s2) + 0.5 * x.shape[1] * math.log(2 * math.pi)


def _determinant_forgotten(x, W, s2):
    cov = W @ W.T + s2 * _like(x, len(W))
    squared = (x * torch.linalg.solve(cov, x.T).T).sum(1)
    return -0.5 * (squared + x.shape[1] * math.log(2 * math.pi))


def _determinant_underflows(x, W, s2):
    cov = W @ W.T + s2 * _like(x, len(W))
    squared = (x * torch.linalg.solve(cov, x.T).T).sum(1)
    return -0.5 * (squared + torch.linalg.det(cov).log() + x.shape[1] * math.log(2 * math.pi))


def _constant_per_latent(x, W, s2):
    return log_evidence(x, W, s2) - 0.5 * (W.shape[1] - x.shape[1]) * math.log(2 * math.pi)


def _sum_over_the_batch(x, W, s2):
    return log_evidence(x, W, s2).sum()


def _diagonal_only(x, W, s2):
    return Normal(0.0, ((W**2).sum(1) + s2).sqrt()).log_prob(x).sum(1)


def _jitter(amount):
    def evidence_with_jitter(x, W, s2):
        return log_evidence(x, W, s2 + amount)

    return evidence_with_jitter


def _evidence_in_bits(x, W, s2):
    return log_evidence(x, W, s2) / math.log(2)


def _three_dimensions(x, W, s2):
    return log_evidence(x, W, s2) + (x.shape[1] - 3) / 2 * math.log(2 * math.pi)


@_mistakes(
    (_jitter(1e-3), "nothing added"),
    (_jitter(1e-9), "small number added?"),
    (_jitter(1e-12), "small number added"),
    (_evidence_in_bits, "a natural logarithm"),
    (_three_dimensions, "written into your code"),
    (_s2_is_squared, "W = 0"),
    (_density_instead_of_its_log, "a natural logarithm"),
    (_float32_on_the_way, "dtype=x.dtype"),
    (_no_2_pi, "log(2 pi)"),
    (_determinant_forgotten, "log determinant"),
    (_covariance_of_z, "D x D"),
    (_diagonal_only, "D x D"),
    (_determinant_underflows, "leaves the range"),
    (_constant_per_latent, "K that should be D"),
    (_sum_over_the_batch, "the form"),
)
def test_evidence_mistakes_meet_their_hint(wrong, hint):
    rejects("05-e1", wrong, hint)


# 05-e2 elbo


def elbo_by_gap(x, W, s2, mean, var):
    """Evidence minus KL(q || posterior): another route to the same number."""
    cov = torch.linalg.inv(_like(x, W.shape[1]) + W.T @ W / s2)
    posterior = MultivariateNormal(x @ W @ cov / s2, cov.expand(len(x), *cov.shape))
    q = MultivariateNormal(mean, torch.diag_embed(var))
    return evidence_by_torch(x, W, s2) - kl_divergence(q, posterior)


def elbo_in_numpy(x, W, s2, mean, var):
    x, W, mean, var = (t.numpy() for t in (x, W, mean, var))
    second_moment = mean[:, :, None] * mean[:, None] + np.stack([np.diag(v) for v in var])
    cross = np.einsum("bd,dk,bk->b", x, W, mean)
    error = (x**2).sum(1) - 2 * cross + np.einsum("dk,bkl,dl->b", W, second_moment, W)
    kl = 0.5 * (mean**2 + var - 1 - np.log(var)).sum(1)
    return -0.5 * (error / s2 + len(W) * np.log(2 * np.pi * s2)) - kl


@pytest.mark.parametrize("right", [elbo_by_gap, elbo_in_numpy])
def test_elbo_by_another_route(right):
    accepts("05-e2", right)


def test_the_lessons_own_log_normal_serves_with_a_float_s2():
    """Students reach for `log_normal` of cell 05-1-densities; the stubs give s2 as a float."""
    scope = {"torch": torch, "Tensor": torch.Tensor}
    (cell,) = [cell for cell in read(notebook_path("05")).cells if cell.id == "05-1-densities"]
    exec(cell.source, scope)
    log_normal, zero = scope["log_normal"], scope["zero"]

    def elbo_with_it(x, W, s2, mean, var):
        price = 0.5 * (var @ (W**2).sum(0)) / s2 + _kl(mean, var)
        return log_normal(x, mean @ W.T, s2).sum(1) - price

    def mc_with_it(x, W, s2, k, generator):
        z = torch.randn(k, W.shape[1], generator=generator, dtype=x.dtype)
        return log_normal(x, (z @ W.T)[:, None], s2).sum(2).logsumexp(0) - math.log(k)

    def weights_with_it(x, W, s2, mean, var, K, generator):
        z = mean + var.sqrt() * torch.randn(K, *mean.shape, generator=generator, dtype=x.dtype)
        log_w = log_normal(z, zero, 1.0).sum(2) - log_normal(z, mean, var).sum(2)
        return (log_w + log_normal(x, z @ W.T, s2).sum(2)).logsumexp(0) - math.log(K)

    for exercise, answer in (("2", elbo_with_it), ("3", mc_with_it), ("5", weights_with_it)):
        accepts(f"05-e{exercise}", answer, most=5)


def _kl(mean, var):
    return 0.5 * (mean**2 + var - 1 - var.log()).sum(1)


def _kl_added(x, W, s2, mean, var):
    return elbo(x, W, s2, mean, var) + 2 * _kl(mean, var)


def _trace_forgotten(x, W, s2, mean, var):
    return Normal(mean @ W.T, math.sqrt(s2)).log_prob(x).sum(1) - _kl(mean, var)


def _trace_not_over_s2(x, W, s2, mean, var):
    return _trace_forgotten(x, W, s2, mean, var) - 0.5 * var @ (W**2).sum(0)


def _variance_read_as_sd(x, W, s2, mean, var):
    return elbo(x, W, s2, mean, var**2)


def _noise_variance_read_as_sd(x, W, s2, mean, var):
    return elbo(x, W, s2**2, mean, var)


def _one_number_for_the_batch(x, W, s2, mean, var):
    return elbo(x, W, s2, mean, var).mean()


def _spread_of_the_first_latent_only(x, W, s2, mean, var):
    extra = var[:, :1] @ (W[:, :1] ** 2).sum(0) - var @ (W**2).sum(0)
    return elbo(x, W, s2, mean, var) - 0.5 * extra / s2


def _works_on_its_inputs(x, W, s2, mean, var):
    value = elbo(x, W, s2, mean, var)
    x -= mean @ W.T
    return value


def _other_price(price):
    def elbo_with_it(x, W, s2, mean, var):
        return elbo(x, W, s2, mean, var) + _kl(mean, var) - price(mean, var)

    return elbo_with_it


_price_not_halved = _other_price(lambda mean, var: 2 * _kl(mean, var))
_minus_one_once = _other_price(lambda mean, var: _kl(mean, var) + (mean.shape[1] - 1) / 2)
_price_averaged = _other_price(lambda mean, var: _kl(mean, var) / mean.shape[1])
_log_not_halved = _other_price(lambda mean, var: _kl(mean, var) - 0.5 * var.log().sum(1))
_guarded_log = _other_price(lambda mean, var: _kl(mean, var + 1e-10) - 5e-11 * mean.shape[1])
_clamped_var = _other_price(lambda mean, var: _kl(mean, var.clamp(min=1e-6)))


@_mistakes(
    (_price_not_halved, "halved, and summed"),
    (_minus_one_once, "once per latent"),
    (_price_averaged, "summed over the latents"),
    (_log_not_halved, "each of them halved"),
    (_guarded_log, "small number added to var"),
    (_clamped_var, "a small one clamped"),
    (_kl_added, "is it subtracted"),
    (_variance_read_as_sd, "neither a standard deviation"),
    (_noise_variance_read_as_sd, "Is s2 a variance"),
    (_trace_forgotten, "trace term"),
    (_trace_not_over_s2, "divided by s2?"),
    (_spread_of_the_first_latent_only, "three"),
    (_one_number_for_the_batch, "the form"),
    (_works_on_its_inputs, "Work on a copy"),
)
def test_elbo_mistakes_meet_their_hint(wrong, hint):
    rejects("05-e2", wrong, hint)


# 05-e3 mc_log_likelihood


def _log_lik(x, W, s2, k, generator, z=None):
    z = torch.randn(k, W.shape[1], generator=generator, dtype=x.dtype) if z is None else z
    return Normal((z @ W.T)[:, None], math.sqrt(s2)).log_prob(x).sum(2)  # (k, B)


def mc_with_draws_of_its_own_for_each_row(x, W, s2, k, generator):
    z = torch.randn(len(x), k, W.shape[1], generator=generator, dtype=x.dtype)
    log_lik = Normal(z @ W.T, math.sqrt(s2)).log_prob(x[:, None]).sum(2)
    largest = log_lik.max(1, keepdim=True).values
    return (log_lik - largest).exp().mean(1).log() + largest[:, 0]


def mc_in_numpy(x, W, s2, k, generator):
    z = torch.randn(k, W.shape[1], generator=generator, dtype=x.dtype).numpy()
    error = ((x.numpy() - (z @ W.numpy().T)[:, None]) ** 2).sum(2)
    log_lik = -0.5 * (error / s2 + len(W) * np.log(2 * np.pi * s2))
    return scipy.special.logsumexp(log_lik, axis=0, b=1 / k)


@pytest.mark.parametrize("right", [mc_with_draws_of_its_own_for_each_row, mc_in_numpy])
def test_mc_log_likelihood_by_another_route(right):
    accepts("05-e3", right)


def _mean_of_logs(x, W, s2, k, generator):
    return _log_lik(x, W, s2, k, generator).mean(0)


def _log_sum(x, W, s2, k, generator):
    return _log_lik(x, W, s2, k, generator).logsumexp(0)


def _underflows(x, W, s2, k, generator):
    return _log_lik(x, W, s2, k, generator).exp().mean(0).log()


def _noise_of_its_own(x, W, s2, k, generator):
    return mc_log_likelihood(x, W, s2, k, torch.Generator().manual_seed(1))


def _global_noise(x, W, s2, k, generator):
    z = torch.randn(k, W.shape[1], dtype=x.dtype)
    return _log_lik(x, W, s2, k, generator, z).logsumexp(0) - math.log(k)


def _uniform_draws(x, W, s2, k, generator):
    z = torch.rand(k, W.shape[1], generator=generator, dtype=x.dtype)
    return _log_lik(x, W, s2, k, generator, z).logsumexp(0) - math.log(k)


def _s2_as_sd(x, W, s2, k, generator):
    return mc_log_likelihood(x, W, s2**2, k, generator)


def _one_latent_for_all(x, W, s2, k, generator):
    z = torch.randn(k, 1, generator=generator, dtype=x.dtype).expand(k, W.shape[1])
    return _log_lik(x, W, s2, k, generator, z).logsumexp(0) - math.log(k)


def _pixels_averaged_one_by_one(x, W, s2, k, generator):
    z = torch.randn(k, W.shape[1], generator=generator, dtype=x.dtype)
    log_lik = Normal((z @ W.T)[:, None], math.sqrt(s2)).log_prob(x)  # (k, B, D)
    return (log_lik.logsumexp(0) - math.log(k)).sum(1)


def _k_ignored(x, W, s2, k, generator):
    return mc_log_likelihood(x, W, s2, 500, generator)


def _mean_plus_a_number(x, W, s2, k, generator):
    return (_log_lik(x, W, s2, k, generator).exp().mean(0) + 1e-300).log()


def _worst_tenth_left_out(x, W, s2, k, generator):
    kept = max(1, k * 9 // 10)
    return _log_lik(x, W, s2, k, generator).topk(kept, 0).values.logsumexp(0) - math.log(kept)


@_mistakes(
    (_k_ignored, "k has no effect"),
    (_mean_plus_a_number, "exp(-800)"),
    (_worst_tenth_left_out, "standard normal"),
    (_mean_of_logs, "mean of the logs"),
    (_pixels_averaged_one_by_one, "belong together"),
    (_log_sum, "not of a sum"),
    (_underflows, "exp(-800)"),
    (_noise_of_its_own, "generator"),
    (_global_noise, "generator"),
    (_uniform_draws, "standard normal"),
    (_one_latent_for_all, "standard normal"),
    (_s2_as_sd, "s2 a variance"),
)
def test_mc_log_likelihood_mistakes_meet_their_hint(wrong, hint):
    rejects("05-e3", wrong, hint)


# 05-e4 gap


def gap_by_subtraction(x, W, s2, mean, var):
    return log_evidence(x, W, s2) - elbo(x, W, s2, mean, var)


def gap_by_torch(x, W, s2, mean, var):
    cov = torch.linalg.inv(_like(x, W.shape[1]) + W.T @ W / s2)
    posterior = MultivariateNormal(x @ W @ cov / s2, cov.expand(len(x), *cov.shape))
    return kl_divergence(MultivariateNormal(mean, torch.diag_embed(var)), posterior)


@pytest.mark.parametrize("right", [gap_by_subtraction, gap_by_torch])
def test_gap_by_another_route(right):
    accepts("05-e4", right)


def _reversed(x, W, s2, mean, var):
    cov = torch.linalg.inv(_like(x, W.shape[1]) + W.T @ W / s2)
    posterior = MultivariateNormal(x @ W @ cov / s2, cov.expand(len(x), *cov.shape))
    return kl_divergence(posterior, MultivariateNormal(mean, torch.diag_embed(var)))


def _negative(x, W, s2, mean, var):
    return -gap(x, W, s2, mean, var)


def _no_half(x, W, s2, mean, var):
    return 2 * gap(x, W, s2, mean, var)


def _against_the_prior(x, W, s2, mean, var):
    return _kl(mean, var)


def _correlations_lost(x, W, s2, mean, var):
    cov = torch.linalg.inv(_like(x, W.shape[1]) + W.T @ W / s2)
    marginals = Normal(x @ W @ cov / s2, cov.diagonal().sqrt())
    return kl_divergence(Normal(mean, var.sqrt()), marginals).sum(1)


def _sign_of_the_log_determinant(x, W, s2, mean, var):
    precision = _like(x, W.shape[1]) + W.T @ W / s2
    return gap(x, W, s2, mean, var) + torch.logdet(precision)


def _mean_of_the_posterior_without_s2(x, W, s2, mean, var):
    return gap(x * s2, W, s2, mean, var)


def _gap_minus_one_once(x, W, s2, mean, var):
    return gap(x, W, s2, mean, var) + 0.5 * (W.shape[1] - 1)


def _gap_in_bits(x, W, s2, mean, var):
    return gap(x, W, s2, mean, var) / math.log(2)


def _gap_of_clamped_var(x, W, s2, mean, var):
    return gap(x, W, s2, mean, var.clamp(min=1e-6))


def _gap_without_the_batch(x, W, s2, mean, var):
    return gap(x, W, s2, mean, var).squeeze()


def _no_gap(x, W, s2, mean, var):
    return 0 * gap(x, W, s2, mean, var)


@_mistakes(
    (_gap_minus_one_once, "once per latent"),
    (_gap_in_bits, "in nats"),
    (_gap_of_clamped_var, "a small one clamped"),
    (_gap_without_the_batch, "the form"),
    (_no_gap, "nothing is lost"),
    (_sign_of_the_log_determinant, "log determinants"),
    (_mean_of_the_posterior_without_s2, "posterior's mean"),
    (_reversed, "it is q you sample"),
    (_negative, "never negative"),
    (_no_half, "half the squared shift"),
    (_against_the_prior, "nothing is lost"),
    (_correlations_lost, "correlated"),
)
def test_gap_mistakes_meet_their_hint(wrong, hint):
    rejects("05-e4", wrong, hint)


# 05-e5 importance_weighted_bound


def _log_weights(x, W, s2, mean, var, K, generator, eps=None):
    """(K, B), or (K,) entries that are drawn for every row alike."""
    shape = (K, *mean.shape)
    eps = torch.randn(shape, generator=generator, dtype=x.dtype) if eps is None else eps
    z = mean + var.sqrt() * eps
    log_lik = Normal(z @ W.T, math.sqrt(s2)).log_prob(x).sum(2)
    log_prior, log_q = Normal(0.0, 1.0).log_prob(z), Normal(mean, var.sqrt()).log_prob(z)
    return log_lik + (log_prior - log_q).sum(2)


def bound_with_shared_noise(x, W, s2, mean, var, K, generator):
    eps = torch.randn(K, 1, mean.shape[1], generator=generator, dtype=x.dtype)
    log_w = _log_weights(x, W, s2, mean, var, K, generator, eps)
    return log_w.logsumexp(0) - math.log(K)


def bound_one_weight_at_a_time(x, W, s2, mean, var, K, generator):
    total = torch.full((len(x),), -torch.inf, dtype=x.dtype)
    for _ in range(K):
        total = total.logaddexp(_log_weights(x, W, s2, mean, var, 1, generator)[0])
    return total - math.log(K)


def bound_in_numpy(*given):
    log_w = _log_weights(*given).numpy()
    return scipy.special.logsumexp(log_w, axis=0) - np.log(len(log_w))


@pytest.mark.parametrize("right", [bound_with_shared_noise, bound_in_numpy])
def test_importance_weighted_bound_by_another_route(right):
    accepts("05-e5", right)


def test_importance_weighted_bound_by_a_loop():
    accepts("05-e5", bound_one_weight_at_a_time, most=1)


def _mean_outside_the_log(*given):
    return _log_weights(*given).mean(0)


def _sum_of_weights(*given):
    return _log_weights(*given).logsumexp(0)


def _weights_underflow(*given):
    return _log_weights(*given).exp().mean(0).log()


def _prior_forgotten(x, W, s2, mean, var, K, generator):
    eps = torch.randn((K, *mean.shape), generator=generator, dtype=x.dtype)
    z = mean + var.sqrt() * eps
    log_lik = Normal(z @ W.T, math.sqrt(s2)).log_prob(x).sum(2)
    return (log_lik - Normal(mean, var.sqrt()).log_prob(z).sum(2)).logsumexp(0) - math.log(K)


def _proposal_forgotten(x, W, s2, mean, var, K, generator):
    eps = torch.randn((K, *mean.shape), generator=generator, dtype=x.dtype)
    z = mean + var.sqrt() * eps
    log_lik = Normal(z @ W.T, math.sqrt(s2)).log_prob(x).sum(2)
    return (log_lik + Normal(0.0, 1.0).log_prob(z).sum(2)).logsumexp(0) - math.log(K)


def _variance_scales_the_noise(x, W, s2, mean, var, K, generator):
    return importance_weighted_bound(x, W, s2, mean, var**2, K, generator)


def _one_draw_for_all_weights(x, W, s2, mean, var, K, generator):
    eps = torch.randn(mean.shape, generator=generator, dtype=x.dtype).expand(K, *mean.shape)
    return _log_weights(x, W, s2, mean, var, K, generator, eps).logsumexp(0) - math.log(K)


def _global_noise_in_weights(x, W, s2, mean, var, K, generator):
    eps = torch.randn((K, *mean.shape), dtype=x.dtype)
    return _log_weights(x, W, s2, mean, var, K, generator, eps).logsumexp(0) - math.log(K)


def _first_latent_only_in_q(x, W, s2, mean, var, K, generator):
    eps = torch.randn((K, *mean.shape), generator=generator, dtype=x.dtype)
    z = mean + var.sqrt() * eps
    log_lik = Normal(z @ W.T, math.sqrt(s2)).log_prob(x).sum(2)
    log_ratio = Normal(0.0, 1.0).log_prob(z) - Normal(mean, var.sqrt()).log_prob(z)
    return (log_lik + log_ratio[..., 0]).logsumexp(0) - math.log(K)


def _drawn_from(q):
    def bound_with_these_draws(x, W, s2, mean, var, K, generator):
        eps = torch.randn((K, *mean.shape), generator=generator, dtype=x.dtype)
        eps = (q(eps, mean, var) - mean) / var.sqrt()
        return _log_weights(x, W, s2, mean, var, K, generator, eps).logsumexp(0) - math.log(K)

    return bound_with_these_draws


_var_times_eps = _drawn_from(lambda eps, mean, var: mean + var * eps)
_one_noise_for_all_latents = _drawn_from(lambda eps, mean, var: mean + var.sqrt() * eps[..., :1])
_drawn_around_zero = _drawn_from(lambda eps, mean, var: var.sqrt() * eps)
_drawn_from_the_prior = _drawn_from(lambda eps, mean, var: eps)
_drawn_a_little_wider = _drawn_from(lambda eps, mean, var: mean + (var + 1e-3).sqrt() * eps)


def _always_many_weights(x, W, s2, mean, var, K, generator):
    return importance_weighted_bound(x, W, s2, mean, var, 500, generator)


def _no_draw_at_all(x, W, s2, mean, var, K, generator):
    return elbo(x, W, s2, mean, var)


@_mistakes(
    (_var_times_eps, "are they from q"),
    (_one_noise_for_all_latents, "for each of the latents"),
    (_drawn_around_zero, "are they from q"),
    (_drawn_from_the_prior, "are they from q"),
    (_drawn_a_little_wider, "was a small number added to it"),
    (_always_many_weights, "However small k is"),
    (_no_draw_at_all, "draw from it"),
    (_mean_outside_the_log, "k has no effect: you built"),
    (_one_draw_for_all_weights, "k has no effect: you built"),
    (_sum_of_weights, "not of a sum"),
    (_weights_underflow, "exp(-800)"),
    (_prior_forgotten, "all three densities"),
    (_proposal_forgotten, "all three densities"),
    (_variance_scales_the_noise, "var a variance"),
    (_global_noise_in_weights, "generator"),
    (_first_latent_only_in_q, "sum every log density"),
)
def test_importance_weighted_bound_mistakes_meet_their_hint(wrong, hint):
    rejects("05-e5", wrong, hint)


# 05-e6 route


def route_by_its_table(line):
    return dict(zip("abcdefghijkl", map(route, "abcdefghijkl"), strict=True))[line]


def test_route_by_another_route():
    accepts("05-e6", route_by_its_table, most=2)


def _but(**wrong):
    def route_with_slips(line):
        return wrong.get(line) or route(line)

    route_with_slips.__name__ = "_".join(wrong)
    return route_with_slips


@_mistakes(
    (_but(a="jensen"), "spelled as in the list"),
    (_but(b=7), "spelled as in the list"),
    (_but(c="Jensen"), "= or >="),
    (_but(g="Jensen"), "= or >="),
    (_but(e="definition of KL"), "= or >="),
    (_but(e="Jensen"), "past an average"),
    (_but(a="KL >= 0"), "past an average"),
    (_but(k="definition of E"), "what is random"),
    (_but(c="times one"), "what is random"),
    (_but(b="marginalise"), "in words"),
    (_but(j="definition of E"), "in words"),
)
def test_route_mistakes_meet_their_hint(wrong, hint):
    rejects("05-e6", wrong, hint, most=2)  # nothing is random in it


def test_route_stub_shows_every_line_and_every_rule():
    stub = find("05-e6").stub
    shown = ast.get_docstring(ast.parse(stub).body[0])
    assert all(f"{line}: " in shown for line in "abcdefghijkl")
    assert all(f'"{rule}"' in shown for rule in RULES)
    assert {route(line) for line in INEQUALITIES} == {"Jensen", "KL >= 0"}
    assert not {route(line) for line in DISGUISED} & {"Jensen", "KL >= 0"}


# The references and the package


@pytest.mark.parametrize("K", [1, 2, 4])
def test_references_equal_the_package(K):
    generator = torch.Generator().manual_seed(K)
    x, W, mean, log_var = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((6, 3), (3, K), (6, K), (6, K))
    )
    model = LinearGaussian(W, torch.zeros(3, dtype=torch.float64), s2=0.4)
    given = x, W, 0.4, mean, log_var.exp()
    torch.testing.assert_close(log_evidence(x, W, 0.4), model.log_evidence(x))
    torch.testing.assert_close(elbo(*given), model.elbo(x, mean, log_var))
    torch.testing.assert_close(gap(*given), model.gap(x, mean, log_var))
    seed = torch.Generator().manual_seed(1)
    eps = torch.randn(7, 6, K, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = mean + (0.5 * log_var).exp() * eps
    log_q = Normal(mean, (0.5 * log_var).exp()).log_prob(z).sum(2)
    log_w = torch.stack([model.log_prob_joint(x, z_i) for z_i in z]) - log_q
    expected = log_w.logsumexp(0) - math.log(7)
    torch.testing.assert_close(importance_weighted_bound(*given, 7, seed), expected)


def test_the_lessons_point_has_the_maps_numbers():
    x, W = torch.tensor([[3.0]]).double(), torch.tensor([[2.0]]).double()
    prior = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    posterior = torch.tensor([[24 / 17]]).double(), torch.tensor([[1 / 17]]).double()
    assert round(float(log_evidence(x, W, 0.25)), 6) == -2.701222
    assert round(float(elbo(x, W, 0.25, *posterior)), 6) == -2.701222
    assert round(float(elbo(x, W, 0.25, *prior)), 4) == -26.2258
    assert round(float(gap(x, W, 0.25, *prior)), 4) == 23.5246
