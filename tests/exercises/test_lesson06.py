"""Lesson 06: right answers by other routes pass, every known mistake meets its own hint."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import Normal, kl_divergence

from course_utils import distributions, vae
from course_utils.exercises import find
from course_utils.tensors import sum_per_example
from tests.exercises.harness import accepts, rejects

kl_to_standard_normal, reparameterise = find("06-e1").reference, find("06-e2").reference
gradient_estimators, vae_loss = find("06-e3").reference, find("06-e4").reference
decode_grid, active_units = find("06-e5").reference, find("06-e6").reference


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[wrong.__name__ for wrong, _ in pairs]
    )


# 06-e1 kl_to_standard_normal


def kl_by_torch(mean, log_var):
    q = Normal(mean, (0.5 * log_var).exp())
    return kl_divergence(q, Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(1)


def kl_latent_by_latent(mean, log_var):
    columns = zip(mean.T, log_var.T, strict=True)
    return sum((m.square() + torch.expm1(v) - v) / 2 for m, v in columns)


@pytest.mark.parametrize("right", [kl_by_torch, kl_latent_by_latent])
def test_kl_by_another_route(right):
    accepts("06-e1", right)


def _squares_only(mean, log_var):
    return 0.5 * (mean**2 + log_var.exp()).sum(1)


def _negative_kl(mean, log_var):
    return -kl_to_standard_normal(mean, log_var)


def _barrier_has_the_wrong_sign(mean, log_var):
    return 0.5 * (mean**2 + log_var.exp() - 1 + log_var).sum(1)


def _minus_one_forgotten(mean, log_var):
    return kl_to_standard_normal(mean, log_var) + 0.5 * mean.shape[1]


def _mean_not_squared(mean, log_var):
    return kl_to_standard_normal(mean, log_var) + 0.5 * (mean.abs() - mean**2).sum(1)


def _log_var_is_log_sd(mean, log_var):
    return kl_to_standard_normal(mean, 2 * log_var)


def _sd_for_variance(mean, log_var):
    return 0.5 * (mean**2 + (0.5 * log_var).exp() - 1 - 0.5 * log_var).sum(1)


def _mean_over_latents(mean, log_var):
    return kl_to_standard_normal(mean, log_var) / mean.shape[1]


def _kl_summed_over_the_batch(mean, log_var):
    return kl_to_standard_normal(mean, log_var).sum()


def _per_latent(mean, log_var):
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var)


def _reverse_kl(mean, log_var):
    return 0.5 * ((mean**2 + 1) * (-log_var).exp() - 1 + log_var).sum(1)


def _kl_in_numpy(mean, log_var):
    mean, log_var = mean.detach().numpy(), log_var.detach().numpy()
    return 0.5 * np.einsum("bk->b", mean**2 + np.expm1(log_var) - log_var)


def _log_var_detached(mean, log_var):
    return kl_to_standard_normal(mean, log_var.detach())


def _kl_minus_one_once(mean, log_var):
    return kl_to_standard_normal(mean, log_var) + 0.5 * (mean.shape[1] - 1)


def _log_of_exp(mean, log_var):
    return 0.5 * (mean**2 + log_var.exp() - 1 - (log_var.exp() + 1e-12).log()).sum(1)


def _log_var_clamped(mean, log_var):
    return kl_to_standard_normal(mean, log_var.clamp(-30, 20))


def _kl_in_bits(mean, log_var):
    return kl_to_standard_normal(mean, log_var) / math.log(2)


@_mistakes(
    (_kl_in_numpy, "off the graph"),
    (_log_var_detached, "off the graph"),
    (_kl_minus_one_once, "once for each"),
    (_log_of_exp, "small number added before a log"),
    (_log_var_clamped, "is it clamped"),
    (_kl_in_bits, "In nats?"),
    (_squares_only, "barrier"),
    (_negative_kl, "never negative"),
    (_reverse_kl, "13.5156"),
    (_barrier_has_the_wrong_sign, "barrier"),
    (_minus_one_forgotten, "nothing is paid"),
    (_mean_not_squared, "only the mean is left"),
    (_log_var_is_log_sd, "0.5297"),
    (_sd_for_variance, "0.5297"),
    (_mean_over_latents, "the prices add up"),
    (_kl_summed_over_the_batch, "the form"),
    (_per_latent, "the form"),
)
def test_kl_mistakes_meet_their_hint(wrong, hint):
    rejects("06-e1", wrong, hint)


def test_kl_hint_quotes_true_numbers():
    mean, sd = torch.tensor([[0.5]]).double(), torch.tensor([[0.2]]).double()
    assert round(float(kl_to_standard_normal(mean, 2 * sd.log())), 6) == 1.254438
    assert round(float(kl_to_standard_normal(mean, sd.log())), 4) == 0.5297
    assert round(float(_squares_only(mean, 2 * sd.log())), 3) == 0.145
    assert round(float(_reverse_kl(mean, 2 * sd.log())), 4) == 13.5156


# 06-e2 reparameterise


def z_by_torch(mean, log_var, eps):
    return torch.addcmul(mean, torch.sqrt(torch.exp(log_var)), eps)


def z_entry_by_entry(mean, log_var, eps):
    entries = zip(mean.flatten(), log_var.flatten(), eps.flatten(), strict=True)
    return torch.stack([m + torch.exp(v / 2) * e for m, v, e in entries]).view_as(mean)


@pytest.mark.parametrize("right", [z_by_torch, z_entry_by_entry])
def test_reparameterise_by_another_route(right):
    accepts("06-e2", right)


def _variance_as_sd(mean, log_var, eps):
    return mean + log_var.exp() * eps


def _log_var_as_sd(mean, log_var, eps):
    return mean + log_var * eps


def _own_noise(mean, log_var, eps):
    return mean + (0.5 * log_var).exp() * torch.randn_like(eps)


def _no_noise(mean, log_var, eps):
    return mean + 0 * eps


def _sampled(mean, log_var, eps):
    return Normal(mean, (0.5 * log_var).exp()).sample() + 0 * eps


def _mean_forgotten(mean, log_var, eps):
    return (0.5 * log_var).exp() * eps


def _sd_detached(mean, log_var, eps):
    return mean + (0.5 * log_var).exp().detach() * eps


def _z_in_numpy(mean, log_var, eps):
    mean, log_var, eps = (t.detach().numpy() for t in (mean, log_var, eps))
    return mean + np.exp(0.5 * log_var) * eps


def _one_noise_for_all_latents(mean, log_var, eps):
    return mean + (0.5 * log_var).exp() * eps[:, :1]


def _overwrites_eps(mean, log_var, eps):
    return eps.mul_((0.5 * log_var).exp()).add_(mean)


def _root_of_log_var(mean, log_var, eps):
    return mean + log_var.sqrt() * eps


def _minus_eps(mean, log_var, eps):
    return reparameterise(mean, log_var, -eps)


def _z_of_clamped_log_var(mean, log_var, eps):
    return reparameterise(mean, log_var.clamp(-30, 10), eps)


def _deviation_plus_a_number(mean, log_var, eps):
    return mean + ((0.5 * log_var).exp() + 1e-3) * eps


@_mistakes(
    (_z_of_clamped_log_var, "is it clamped"),
    (_deviation_plus_a_number, "nothing is added to it"),
    (_root_of_log_var, "no square root"),
    (_minus_eps, "look at the sign"),
    (_variance_as_sd, "the standard deviation is 2"),
    (_log_var_as_sd, "the standard deviation is 2"),
    (_own_noise, "draw none of your own"),
    (_sampled, "draw none of your own"),
    (_no_noise, "draw none of your own"),
    (_mean_forgotten, "Where is the middle"),
    (_sd_detached, "off the graph"),
    (_z_in_numpy, "off the graph"),
    (_overwrites_eps, "Work on a copy"),
)
def test_reparameterise_mistakes_meet_their_hint(wrong, hint):
    rejects("06-e2", wrong, hint)


def test_noise_shared_by_the_latents_is_rejected():
    rejects("06-e2", _one_noise_for_all_latents, "off the graph")  # its gradient shows it first


# 06-e3 gradient_estimators


def estimators_with_other_draws(mean, sd, f, n, generator):
    """Separate draws for the two, and the derivative taken with respect to the mean itself."""
    eps = torch.randn(2, n, generator=generator, dtype=torch.float64)
    moved = torch.full((n,), mean, dtype=torch.float64, requires_grad=True)
    (pathwise,) = torch.autograd.grad(f(moved + sd * eps[0]).sum(), moved)
    z = mean + sd * eps[1]
    where = torch.full((n,), mean, dtype=torch.float64, requires_grad=True)
    (of_log_q,) = torch.autograd.grad(Normal(where, sd).log_prob(z).sum(), where)
    return pathwise, f(z) * of_log_q


def estimators_by_hand(mean, sd, f, n, generator):
    """A list of NumPy arrays, from one backward pass."""
    eps = torch.randn(n, generator=generator, dtype=torch.float64)
    z = (mean + sd * eps).requires_grad_()
    value = f(z)
    value.backward(torch.ones_like(value))
    return [z.grad.numpy(), value.detach().numpy() * eps.numpy() / sd]


@pytest.mark.parametrize("right", [estimators_with_other_draws, estimators_by_hand])
def test_gradient_estimators_by_another_route(right):
    accepts("06-e3", right)


def _drawn(mean, sd, n, generator):
    return mean + sd * torch.randn(n, generator=generator, dtype=torch.float64)


def _score_term_missing(mean, sd, f, n, generator):
    copy = torch.Generator().manual_seed(generator.initial_seed())
    pathwise, _ = gradient_estimators(mean, sd, f, n, generator)
    return pathwise, f(_drawn(mean, sd, n, copy))


def _score_in_sd(mean, sd, f, n, generator):
    copy = torch.Generator().manual_seed(generator.initial_seed())
    pathwise, _ = gradient_estimators(mean, sd, f, n, generator)
    z = _drawn(mean, sd, n, copy)
    return pathwise, f(z) * ((z - mean) ** 2 / sd**3 - 1 / sd)


def _score_negative(mean, sd, f, n, generator):
    pathwise, score = gradient_estimators(mean, sd, f, n, generator)
    return pathwise, -score


def _score_over_sd_once(mean, sd, f, n, generator):
    pathwise, score = gradient_estimators(mean, sd, f, n, generator)
    return pathwise, score * sd


def _pathwise_in_sd(mean, sd, f, n, generator):
    copy = torch.Generator().manual_seed(generator.initial_seed())
    pathwise, score = gradient_estimators(mean, sd, f, n, generator)
    return pathwise * (_drawn(mean, sd, n, copy) - mean) / sd, score


def _derivative_of_z_squared(mean, sd, f, n, generator):
    _, score = gradient_estimators(mean, sd, f, n, generator)
    return 2 * _drawn(mean, sd, n, generator), score


def _averaged(mean, sd, f, n, generator):
    return tuple(part.mean() for part in gradient_estimators(mean, sd, f, n, generator))


def _averages_repeated(mean, sd, f, n, generator):
    parts = gradient_estimators(mean, sd, f, n, generator)
    return tuple(part.mean().expand(n) for part in parts)


def _estimators_draw_their_own(mean, sd, f, n, generator):
    return gradient_estimators(mean, sd, f, n, torch.Generator().manual_seed(3))


def _sd_is_a_variance(mean, sd, f, n, generator):
    return gradient_estimators(mean, math.sqrt(sd), f, n, generator)


def _swapped(mean, sd, f, n, generator):
    return gradient_estimators(mean, sd, f, n, generator)[::-1]


def _by_differences(h):
    def estimators_by_differences(mean, sd, f, n, generator):
        z = _drawn(mean, sd, n, generator)
        return (f(z + h) - f(z - h)) / (2 * h), f(z) * (z - mean) / sd**2

    return estimators_by_differences


def _variance_plus_a_number(mean, sd, f, n, generator):
    pathwise, score = gradient_estimators(mean, sd, f, n, generator)
    return pathwise, score * sd**2 / (sd**2 + 1e-8)


def _one_of_two(*given):
    return gradient_estimators(*given)[0]


def _none_for_the_other(*given):
    return gradient_estimators(*given)[0], None


def _always_500_draws(mean, sd, f, n, generator):
    return gradient_estimators(mean, sd, f, 500, generator)


@_mistakes(
    (_by_differences(1e-5), "difference quotient"),
    (_by_differences(0.1), "difference quotient"),
    (_variance_plus_a_number, "Nothing is added"),
    (_one_of_two, "the form"),
    (_none_for_the_other, "the form"),
    (_always_500_draws, "the form"),
    (_sd_is_a_variance, "take no root of it"),
    (_swapped, "the order is swapped"),
    (_score_term_missing, "score term is missing"),
    (_score_in_sd, "in the mean, not in the standard deviation"),
    (_score_negative, "in the mean, not in the standard deviation"),
    (_score_over_sd_once, "which power of sd"),
    (_pathwise_in_sd, "another question"),
    (_derivative_of_z_squared, "another question"),
    (_averaged, "the form"),
    (_averages_repeated, "no averages"),
    (_estimators_draw_their_own, "generator"),
)
def test_gradient_estimator_mistakes_meet_their_hint(wrong, hint):
    rejects("06-e3", wrong, hint)


# 06-e4 vae_loss


def loss_by_torch(x, x_hat, mean, log_var, eta):
    log_lik = sum_per_example(Normal(x_hat, math.sqrt(eta)).log_prob(x))
    constant = 0.5 * x[0].numel() * math.log(2 * math.pi * eta)
    return (kl_by_torch(mean, log_var) - log_lik - constant).mean()


def loss_as_two_sums(x, x_hat, mean, log_var, eta):
    squared = torch.nn.functional.mse_loss(x_hat, x, reduction="sum") / (2 * eta)
    return (squared + kl_to_standard_normal(mean, log_var).sum()) / len(x)


@pytest.mark.parametrize("right", [loss_by_torch, loss_as_two_sums])
def test_vae_loss_by_another_route(right):
    accepts("06-e4", right)


def _error(x, x_hat):
    return ((x - x_hat) ** 2).flatten(1).sum(1)


def _mean_over_pixels(x, x_hat, mean, log_var, eta):
    error = ((x - x_hat) ** 2).flatten(1).mean(1) / (2 * eta)
    return (error + kl_to_standard_normal(mean, log_var)).mean()


def _mean_over_everything(x, x_hat, mean, log_var, eta):
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).mean()
    return ((x - x_hat) ** 2).mean() / (2 * eta) + kl


def _eta_ignored(x, x_hat, mean, log_var, eta):
    return vae_loss(x, x_hat, mean, log_var, 0.5)


def _eta_is_sd(x, x_hat, mean, log_var, eta):
    return vae_loss(x, x_hat, mean, log_var, eta**2)


def _eta_without_its_two(x, x_hat, mean, log_var, eta):
    return vae_loss(x, x_hat, mean, log_var, 0.5 * eta)


def _elbo_instead(x, x_hat, mean, log_var, eta):
    return -vae_loss(x, x_hat, mean, log_var, eta)


def _kl_subtracted(x, x_hat, mean, log_var, eta):
    return (_error(x, x_hat) / (2 * eta) - kl_to_standard_normal(mean, log_var)).mean()


def _with_the_constant(x, x_hat, mean, log_var, eta):
    constant = 0.5 * x[0].numel() * math.log(2 * math.pi * eta)
    return vae_loss(x, x_hat, mean, log_var, eta) + constant


def _sum_over_rows(x, x_hat, mean, log_var, eta):
    return len(x) * vae_loss(x, x_hat, mean, log_var, eta)


def _one_loss_per_row(x, x_hat, mean, log_var, eta):
    return _error(x, x_hat) / (2 * eta) + kl_to_standard_normal(mean, log_var)


def _a_float(x, x_hat, mean, log_var, eta):
    return vae_loss(x, x_hat, mean, log_var, eta).item()


def _reconstruction_detached(x, x_hat, mean, log_var, eta):
    return vae_loss(x, x_hat.detach(), mean, log_var, eta)


def _times_two_eta(x, x_hat, mean, log_var, eta):
    return 2 * eta * vae_loss(x, x_hat, mean, log_var, eta)


def _with_price(price):
    def loss_with_it(x, x_hat, mean, log_var, eta):
        return (_error(x, x_hat) / (2 * eta) + price(mean, log_var)).mean()

    return loss_with_it


_loss_clamps = _with_price(lambda mean, lv: kl_to_standard_normal(mean, lv.clamp(-10, 10)))
_loss_without_half = _with_price(lambda mean, lv: 2 * kl_to_standard_normal(mean, lv))
_loss_minus_one_once = _with_price(_kl_minus_one_once)
_price_without_gradient = _with_price(lambda mean, lv: kl_to_standard_normal(mean, lv).detach())


@_mistakes(
    (_loss_clamps, "is it clamped"),
    (_loss_without_half, "Its weight is 1"),
    (_loss_minus_one_once, "the -1 once for each"),
    (_price_without_gradient, "off the graph"),
    (_times_two_eta, "no longer in nats"),
    (_mean_over_pixels, "by a factor D"),
    (_mean_over_everything, "summed over the latents"),
    (_eta_ignored, "eta = 1/2 only"),
    (_eta_is_sd, "not to be squared"),
    (_eta_without_its_two, "the 2 belongs to it"),
    (_elbo_instead, "the KL is added"),
    (_kl_subtracted, "the KL is added"),
    (_with_the_constant, "a constant that is left out"),
    (_sum_over_rows, "an average over the rows"),
    (_one_loss_per_row, "the form"),
    (_a_float, "off the graph"),
    (_reconstruction_detached, "off the graph"),
)
def test_vae_loss_mistakes_meet_their_hint(wrong, hint):
    rejects("06-e4", wrong, hint)


# 06-e5 decode_grid


def grid_by_scipy(decode, n):
    u = torch.tensor(scipy.stats.norm.ppf((np.arange(n) + 0.5) / n), dtype=torch.float32)
    return decode(torch.stack(torch.meshgrid(u, u, indexing="ij"), -1).reshape(-1, 2))


def grid_image_by_image(decode, n):
    u = [math.sqrt(2) * torch.erfinv(torch.tensor((2 * i + 1) / n - 1)) for i in range(n)]
    return torch.cat([decode(torch.stack([a, b])[None]) for a in u for b in u])


@pytest.mark.parametrize("right", [grid_by_scipy, grid_image_by_image])
def test_decode_grid_by_another_route(right):
    accepts("06-e5", right)


def _icdf(share):
    return Normal(0.0, 1.0).icdf(share)


def _even_grid(decode, n):
    u = torch.linspace(-3, 3, n)
    return decode(torch.cartesian_prod(u, u))


def _random_latents(decode, n):
    return decode(torch.randn(n * n, 2))


def _ends_at_infinity(decode, n):
    u = _icdf(torch.linspace(0, 1, n))
    return decode(torch.cartesian_prod(u, u))


def _ends_cut_off(decode, n):
    u = _icdf(torch.linspace(0.05, 0.95, n))
    return decode(torch.cartesian_prod(u, u))


def _starts_at_one(decode, n):
    u = _icdf((torch.arange(n) + 1) / (n + 1))
    return decode(torch.cartesian_prod(u, u))


def _transposed(decode, n):
    u = _icdf((torch.arange(n) + 0.5) / n)
    return decode(torch.cartesian_prod(u, u).flip(1))


def _from_the_top(decode, n):
    u = _icdf((torch.arange(n) + 0.5) / n).flip(0)
    return decode(torch.cartesian_prod(u, u))


def _reshaped(decode, n):
    images = decode_grid(decode, n)
    return images.view(n, n, *images.shape[1:])


def _diagonal(decode, n):
    u = _icdf((torch.arange(n) + 0.5) / n)
    return decode(torch.stack([u, u], 1))


def _levels_clamped(decode, n):
    u = _icdf((torch.arange(n) + 0.5) / n).clamp(-2, 2)
    return decode(torch.cartesian_prod(u, u))


def _a_list_of_images(decode, n):
    return list(decode_grid(decode, n))


def _always_eight(decode, n):
    return decode_grid(decode, 8)


@_mistakes(
    (_levels_clamped, "are the levels clamped"),
    (_a_list_of_images, "the form"),
    (_always_eight, "the form"),
    (_even_grid, "never samples"),
    (_random_latents, "never samples"),
    (_ends_at_infinity, "infinitely far"),
    (_ends_cut_off, "infinitely far"),
    (_starts_at_one, "infinitely far"),
    (_transposed, "runs faster"),
    (_from_the_top, "runs faster"),
    (_reshaped, "the form"),
    (_diagonal, "the form"),
)
def test_decode_grid_mistakes_meet_their_hint(wrong, hint):
    rejects("06-e5", wrong, hint)


# 06-e6 active_units


def active_in_numpy(mean):
    return int(np.count_nonzero(mean.numpy().var(axis=0, ddof=1) > 0.01))


def active_by_hand(mean):
    centred = mean - mean.mean(0)
    return ((centred**2).mean(0) > 0.01).sum()


@pytest.mark.parametrize("right", [active_in_numpy, active_by_hand])
def test_active_units_by_another_route(right):
    accepts("06-e6", right)


def _sd_above_the_threshold(mean):
    return int((mean.std(0) > 0.01).sum())


def _not_centred(mean):
    return int(((mean**2).mean(0) > 0.01).sum())


def _over_the_latents(mean):
    return int((mean.var(1) > 0.01).sum())


def _the_mask(mean):
    return mean.var(0) > 0.01


def _the_fraction(mean):
    return float((mean.var(0) > 0.01).double().mean())


def _all_alive(mean):
    return mean.shape[1]


def _collapsed_ones(mean):
    return int((mean.var(0) <= 0.01).sum())


def _threshold_a_tenth(mean):
    return int((mean.var(0) > 0.1).sum())


def _of_ten_rows(mean):
    return active_units(mean[:10])


def _of_a_batch(mean):
    return active_units(mean[:128])


def _variance_with_a_number_added(mean):
    return int((mean.var(0) + 1e-3 > 0.01).sum())


@_mistakes(
    (_of_ten_rows, "over all rows"),
    (_of_a_batch, "over all rows"),
    (_variance_with_a_number_added, "was a small number added"),
    (_sd_above_the_threshold, "a variance of 0.0025"),
    (_threshold_a_tenth, "a variance of 0.0025"),
    (_not_centred, "how it moves"),
    (_all_alive, "how it moves"),
    (_over_the_latents, "taken over the data"),
    (_the_fraction, "taken over the data"),
    (_collapsed_ones, "not those that rest"),
    (_the_mask, "the form"),
)
def test_active_units_mistakes_meet_their_hint(wrong, hint):
    rejects("06-e6", wrong, hint)


# The references and the package


def test_references_equal_the_package():
    generator = torch.Generator().manual_seed(0)
    mean, log_var, eps = torch.randn(3, 8, 4, generator=generator, dtype=torch.float64)
    x, x_hat = torch.rand(2, 8, 1, 3, 5, generator=generator, dtype=torch.float64)
    expected_kl = distributions.kl_to_standard_normal(mean, log_var)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_var), expected_kl)
    expected_z = vae.reparameterise(mean, log_var, eps)
    torch.testing.assert_close(reparameterise(mean, log_var, eps), expected_z)
    assert active_units(0.1 * mean) == vae.active_units(0.1 * mean)
    for eta in (0.1, 0.5):
        constant = 0.5 * 15 * math.log(2 * math.pi * eta)
        bound = vae.gaussian_log_likelihood(x, x_hat, eta) - expected_kl
        loss = vae_loss(x, x_hat, mean, log_var, eta)
        torch.testing.assert_close(loss, -bound.mean() - constant)
