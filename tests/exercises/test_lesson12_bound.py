"""Lesson 12's bound: right answers by other routes pass, every known mistake meets its own hint."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from course_utils.distributions import gaussian_condition, gaussian_kl
from course_utils.exercises import find
from tests.exercises.harness import accepts, rejects

q_posterior, kl_isotropic, bound_terms = (find(f"12-e{n}").reference for n in (3, 4, 5))


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


# 12-e3 q_posterior


def posterior_by_precisions(xt, x0, t, beta):
    if t == 1:
        return x0, 0
    alpha, alpha_bar = 1 - beta, torch.cumprod(1 - beta, 0)
    forward, prior = alpha[t] / beta[t], 1 / (1 - alpha_bar[t - 1])
    var = 1 / (forward + prior)
    mean = var * (forward * xt / alpha[t].sqrt() + prior * alpha_bar[t - 1].sqrt() * x0)
    return mean, var


def posterior_by_conditioning(xt, x0, t, beta):
    """Entry by entry: the joint law of (x_{t-1}, x_t) given x0, x_t seen."""
    alpha_bar = (1 - beta).cumprod(0)
    before, root = 1 - alpha_bar[t - 1] + 1e-30, (1 - beta[t]).sqrt()
    cov = torch.stack([before, root * before, root * before, 1 - alpha_bar[t]]).view(2, 2)
    means = []
    for seen, start in zip(xt.flatten(), x0.flatten(), strict=True):
        loc = torch.stack([alpha_bar[t - 1].sqrt() * start, alpha_bar[t].sqrt() * start])
        mean, var = gaussian_condition(loc, cov, [1], seen[None])
        means.append(mean[0])
    return torch.stack(means).view(xt.shape), var[0, 0]


def posterior_through_the_noise(xt, x0, t, beta):
    """D27, in numpy, with indices from 0 inside."""
    beta, xt, x0 = beta.numpy()[1:], xt.numpy(), x0.numpy()
    alpha_bar, t = np.cumprod(1 - beta), t - 1
    eps = (xt - np.sqrt(alpha_bar[t]) * x0) / np.sqrt(1 - alpha_bar[t])
    mean = (xt - beta[t] / np.sqrt(1 - alpha_bar[t]) * eps) / np.sqrt(1 - beta[t])
    before = alpha_bar[t - 1] if t else 1.0
    return mean, beta[t] * (1 - before) / (1 - alpha_bar[t])


@pytest.mark.parametrize(
    ("right", "seeds"),
    [
        (posterior_by_precisions, 50),
        (posterior_by_conditioning, 10),  # slow
        (posterior_through_the_noise, 50),
    ],
)
def test_q_posterior_by_another_route(right, seeds):
    accepts("12-e3", right, seeds)


def _posterior(formula):
    """An answer whose formula is `formula(b, a, before, now)`: shares of xt and x0, variance."""

    def answer(xt, x0, t, beta):
        alpha_bar = (1 - beta).cumprod(0)
        shares = formula(beta[t], 1 - beta[t], alpha_bar[t - 1], alpha_bar[t])
        return shares[0] * xt + shares[1] * x0, shares[2]

    answer.__name__ = formula.__name__
    return answer


def _right(b, a, before, now):
    of_xt, of_x0 = a.sqrt() * (1 - before) / (1 - now), before.sqrt() * b / (1 - now)
    return of_xt, of_x0, b * (1 - before) / (1 - now)


@_posterior
def _root_in_the_variance(b, a, before, now):
    return *_right(b, a, before, now)[:2], b * (1 - before.sqrt()) / (1 - now)


@_posterior
def _standard_deviation(b, a, before, now):
    of_xt, of_x0, var = _right(b, a, before, now)
    return of_xt, of_x0, var.sqrt()


@_posterior
def _logarithm(b, a, before, now):
    of_xt, of_x0, var = _right(b, a, before, now)
    return of_xt, of_x0, var.log()


@_posterior
def _variance_is_beta(b, a, before, now):
    return *_right(b, a, before, now)[:2], b


@_posterior
def _variance_without_beta(b, a, before, now):
    return *_right(b, a, before, now)[:2], (1 - before) / (1 - now)


@_posterior
def _variances_add(b, a, before, now):
    return *_right(b, a, before, now)[:2], b / a * (1 - before)


@_posterior
def _precisions_divide_by_zero(b, a, before, now):
    var = 1 / (a / b + 1 / (1 - before))
    return var * a.sqrt() / b, var * before.sqrt() / (1 - before), var


@_posterior
def _subtracted(b, a, before, now):
    of_xt, of_x0, var = _right(b, a, before, now)
    return of_xt, -of_x0, var


@_posterior
def _roles_swapped(b, a, before, now):
    of_xt, of_x0, var = _right(b, a, before, now)
    return of_x0, of_xt, var


@_posterior
def _no_root_on_x0(b, a, before, now):
    of_xt, _, var = _right(b, a, before, now)
    return of_xt, before * b / (1 - now), var


@_posterior
def _alpha_bar_of_now_on_x0(b, a, before, now):
    of_xt, _, var = _right(b, a, before, now)
    return of_xt, now.sqrt() * b / (1 - now), var


@_posterior
def _x0_without_a_factor(b, a, before, now):
    of_xt, _, var = _right(b, a, before, now)
    return of_xt, b / (1 - now), var


@_posterior
def _no_root_on_xt(b, a, before, now):
    _, of_x0, var = _right(b, a, before, now)
    return a * (1 - before) / (1 - now), of_x0, var


@_posterior
def _alpha_bar_on_xt(b, a, before, now):
    _, of_x0, var = _right(b, a, before, now)
    return now.sqrt() * (1 - before) / (1 - now), of_x0, var


def _indices_lowered(xt, x0, t, beta):
    """beta as if it began at t = 1."""
    alpha_bar = (1 - beta[1:]).cumprod(0)
    now, before = alpha_bar[t - 1], alpha_bar[t - 2]
    of_xt, of_x0, var = _right(beta[t], 1 - beta[t], before, now)
    return of_xt * xt + of_x0 * x0, var


def _alpha_bar_lowered(xt, x0, t, beta):
    alpha_bar = (1 - beta).cumprod(0)
    of_xt, of_x0, var = _right(beta[t], 1 - beta[t], alpha_bar[t - 2], alpha_bar[t - 1])
    return of_xt * xt + of_x0 * x0, var


def _alpha_bar_raised(xt, x0, t, beta):
    alpha_bar = torch.cat([(1 - beta).cumprod(0), torch.zeros(1).double()])
    of_xt, of_x0, var = _right(beta[t], 1 - beta[t], alpha_bar[t], alpha_bar[t + 1])
    return of_xt * xt + of_x0 * x0, var


def _beta_for_alpha(xt, x0, t, beta):
    return q_posterior(xt, x0, t, torch.cat([beta[:1], 1 - beta[1:]]))


def _mean_alone(xt, x0, t, beta):
    return q_posterior(xt, x0, t, beta)[0]


def _a_variance_per_entry(xt, x0, t, beta):
    mean, var = q_posterior(xt, x0, t, beta)
    return mean, var.expand(xt.shape)


def _posterior_in_single_precision(xt, x0, t, beta):
    return q_posterior(xt.float(), x0.float(), t, beta.float())


def _beta_in_place(xt, x0, t, beta):
    beta.neg_().add_(1)
    alpha_bar = beta.cumprod(0)
    of_xt, of_x0, var = _right(1 - beta[t], beta[t], alpha_bar[t - 1], alpha_bar[t])
    return of_xt * xt + of_x0 * x0, var


@_posterior
def _clamped_denominator(b, a, before, now):
    below = (1 - now).clamp(min=1e-3)
    return a.sqrt() * (1 - before) / below, before.sqrt() * b / below, b * (1 - before) / below


@_posterior
def _number_in_the_denominator(b, a, before, now):
    below = 1 - now + 1e-9
    return a.sqrt() * (1 - before) / below, before.sqrt() * b / below, b * (1 - before) / below


def _for_rows_of_numbers(xt, x0, t, beta):
    mean, var = q_posterior(xt, x0, t, beta)
    return mean.flatten(1), var


def _three_halves(xt, x0, t, beta):
    return 1.5 + 0 * xt, 1.5


@_mistakes(
    (_clamped_denominator, "DDPM's first beta is 0.0001"),
    (_number_in_the_denominator, "was a small number added?"),
    (_for_rows_of_numbers, "the form"),
    (_three_halves, "one of the two precisions is infinite"),
    (_alpha_bar_lowered, "Is the index right (alpha_bar[t] goes"),
    (_precisions_divide_by_zero, "one of the two precisions is infinite"),
    (_indices_lowered, "t = 1 must return x0, 0"),
    (_alpha_bar_raised, "t = 1 must return x0, 0"),
    (_roles_swapped, "t = 1 must return x0, 0"),
    (_variance_is_beta, "not just beta_t"),
    (_root_in_the_variance, "(E01 has one of alpha_bar)"),
    (_standard_deviation, "(E01 has one of alpha_bar)"),
    (_variance_without_beta, "(E01 has one of alpha_bar)"),
    (_variances_add, "(E01 has one of alpha_bar)"),
    (_beta_for_alpha, "(E01 has one of alpha_bar)"),
    (_no_root_on_x0, "With xt = 0 only the share of x0"),
    (_x0_without_a_factor, "With xt = 0 only the share of x0"),
    (_alpha_bar_of_now_on_x0, "t = 1 must return x0, 0"),
    (_no_root_on_xt, "that of xt is not"),
    (_alpha_bar_on_xt, "that of xt is not"),
    (_subtracted, "is x0's share added (E03)"),
    (_mean_alone, "the form"),
    (_a_variance_per_entry, "the form"),
    (_posterior_in_single_precision, "float32 does this"),
    (_beta_in_place, "Work on a copy"),
    (_logarithm, "the log of the variance 0"),
)
def test_q_posterior_mistakes_meet_their_hint(wrong, hint):
    rejects("12-e3", wrong, hint)


def test_the_posterior_has_the_maps_numbers():
    beta = torch.tensor([0, 0.1, 0.4], dtype=torch.float64)
    x0, x2 = torch.tensor([1.3], dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64)
    mean, var = q_posterior(x2, x0, 2, beta)
    assert (round(float(mean), 6), round(float(var), 6)) == (1.005068, 0.086957)
    assert round(float(_root_in_the_variance(x2, x0, 2, beta)[1]), 6) == 0.044623
    # quadrature: q(x_1|x_0) q(x_2|x_1) over x_1
    x1 = torch.linspace(-4, 5, 9001, dtype=torch.float64)
    weight = Normal(0.9**0.5 * x0, 0.1**0.5).log_prob(x1).exp()
    weight = weight * Normal(0.6**0.5 * x1, 0.4**0.5).log_prob(x2).exp()
    center = (weight @ x1) / weight.sum()
    spread = (weight @ (x1 - center) ** 2) / weight.sum()
    assert float(center) == pytest.approx(float(mean), abs=1e-9)
    assert float(spread) == pytest.approx(float(var), abs=1e-9)


# 12-e4 kl_isotropic


def kl_by_torch(mean1, sd1, mean2, sd2):
    return kl_divergence(Normal(mean1, sd1), Normal(mean2, sd2)).sum(1)


def kl_by_matrices(mean1, sd1, mean2, sd2):
    eye = torch.eye(mean1.shape[1]).double().expand(len(mean1), -1, -1)
    return gaussian_kl(mean1, sd1**2 * eye, mean2, sd2**2 * eye)


def kl_in_numpy(mean1, sd1, mean2, sd2):
    ratio = sd1**2 / sd2**2
    kl = 0.5 * (ratio - 1 - np.log(ratio) + ((mean1 - mean2).numpy() / sd2) ** 2)
    return np.sum(kl, axis=-1)


@pytest.mark.parametrize(
    ("right", "seeds"), [(kl_by_torch, 50), (kl_by_matrices, 10), (kl_in_numpy, 50)]
)
def test_kl_isotropic_by_another_route(right, seeds):
    accepts("12-e4", right, seeds)


def _squared(mean1, mean2):
    return ((mean1 - mean2) ** 2).sum(1)


def _log_without_d(mean1, sd1, mean2, sd2):
    d = mean1.shape[1]
    rest = (d * sd1**2 + _squared(mean1, mean2)) / (2 * sd2**2) - d / 2
    return math.log(sd2 / sd1) + rest


def _half_without_d(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, sd1, mean2, sd2) + (mean1.shape[1] - 1) / 2


def _trace_without_d(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, sd1, mean2, sd2) - (mean1.shape[1] - 1) * sd1**2 / (2 * sd2**2)


def _no_half(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, sd1, mean2, sd2) + mean1.shape[1] / 2


def _distance_not_halved(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, sd1, mean2, sd2) + _squared(mean1, mean2) / (2 * sd2**2)


def _distance_not_squared(mean1, sd1, mean2, sd2):
    norm = (mean1 - mean2).norm(dim=1)
    return kl_isotropic(mean1, sd1, mean2, sd2) + (norm - norm**2) / (2 * sd2**2)


def _kl_negative(mean1, sd1, mean2, sd2):
    return -kl_isotropic(mean1, sd1, mean2, sd2)


def _sds_taken_for_variances(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, math.sqrt(sd1), mean2, math.sqrt(sd2))


def _divided_by_the_sd(mean1, sd1, mean2, sd2):
    d = mean1.shape[1]
    return d * math.log(sd2 / sd1) - d / 2 + (d * sd1**2 + _squared(mean1, mean2)) / (2 * sd2)


def _reversed(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean2, sd2, mean1, sd1)


def _log_upside_down(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, sd1, mean2, sd2) - 2 * mean1.shape[1] * math.log(sd2 / sd1)


def _log_of_variances(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, sd1, mean2, sd2) + mean1.shape[1] * math.log(sd2 / sd1)


def _over_the_wrong_variance(mean1, sd1, mean2, sd2):
    change = 1 / (2 * sd1**2) - 1 / (2 * sd2**2)
    return kl_isotropic(mean1, sd1, mean2, sd2) + change * _squared(mean1, mean2)


def _mean_over_dimensions(mean1, sd1, mean2, sd2):
    d = mean1.shape[1]
    distance = (1 / d - 1) * _squared(mean1, mean2) / (2 * sd2**2)
    return kl_isotropic(mean1, sd1, mean2, sd2) + distance


def _all_per_dimension(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, sd1, mean2, sd2) / mean1.shape[1]


def _one_number(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, sd1, mean2, sd2).sum()


def _kl_in_single_precision(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1.float(), sd1, mean2.float(), sd2)


def _mean_in_place(mean1, sd1, mean2, sd2):
    mean1 -= mean2
    return kl_isotropic(mean1, sd1, 0 * mean2, sd2)


def _clamped_sds(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, max(sd1, 1e-4), mean2, max(sd2, 1e-4))


def _number_added_to_the_sds(mean1, sd1, mean2, sd2):
    return kl_isotropic(mean1, sd1 + 1e-8, mean2, sd2 + 1e-8)


def _log_to_base_2(mean1, sd1, mean2, sd2):
    change = mean1.shape[1] * (math.log2(sd2 / sd1) - math.log(sd2 / sd1))
    return kl_isotropic(mean1, sd1, mean2, sd2) + change


@_mistakes(
    (_clamped_sds, "Right for wide laws only"),
    (_number_added_to_the_sds, "was a small number added?"),
    (_log_to_base_2, "the natural one"),
    (_distance_not_halved, "Put both sds to 1"),
    (_distance_not_squared, "Put both sds to 1"),
    (_no_half, "Put both sds to 1"),
    (_kl_negative, "Put both sds to 1"),
    (_sds_taken_for_variances, "s = 1 hides it, try s = 2"),
    (_divided_by_the_sd, "s = 1 hides it, try s = 2"),
    (_reversed, "the average is over the first law"),
    (_log_upside_down, "the average is over the first law"),
    (_log_of_variances, "the average is over the first law"),
    (_log_without_d, "-0.232 where 1.519 is right"),
    (_half_without_d, "-0.232 where 1.519 is right"),
    (_trace_without_d, "-0.232 where 1.519 is right"),
    (_all_per_dimension, "-0.232 where 1.519 is right"),
    (_over_the_wrong_variance, "the distance is not"),
    (_mean_over_dimensions, "the distance is not"),
    (_one_number, "the form"),
    (_kl_in_single_precision, "float32 does this"),
    (_mean_in_place, "Work on a copy"),
)
def test_kl_isotropic_mistakes_meet_their_hint(wrong, hint):
    rejects("12-e4", wrong, hint)


def test_the_kl_has_the_maps_numbers():
    mean1 = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64)
    laws = mean1, 0.5, 0 * mean1, 1.2
    assert round(float(kl_isotropic(*laws)), 6) == 1.518767
    assert round(float(_log_without_d(*laws)), 6) == -0.232170


# 12-e5 bound_terms


def bound_along_a_path(x0, beta, k, sigma2, generator):
    """x_1, x_2, … of one path for each example; the KLs by kl_isotropic; an empty sum is 0."""
    x, columns = x0, x0[:, None]
    alpha_bar, middle, L_0 = 1.0, 0, None
    for t in range(1, len(beta)):
        eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
        x = (1 - beta[t]).sqrt() * x + beta[t].sqrt() * eps
        alpha_bar = alpha_bar * (1 - beta[t])
        if t == 1:
            L_0 = -Normal(k[1] * x, sigma2[1].sqrt()).log_prob(x0)
            continue
        mean, var = q_posterior(x, x0, t, beta)
        said = (k[t] * x)[:, None]
        middle = middle + kl_isotropic(mean[:, None], float(var) ** 0.5, said, sigma2[t] ** 0.5)
    sd = math.sqrt(1 - alpha_bar)
    return kl_isotropic(alpha_bar.sqrt() * columns, sd, 0 * columns, 1.0), middle, L_0


def bound_with_noise_shared_by_the_steps(x0, beta, k, sigma2, generator):
    """All steps at once; one eps for each example."""
    eps = torch.randn(len(x0), generator=generator, dtype=x0.dtype)
    alpha_bar = (1 - beta).cumprod(0)[1:, None]
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    b, reverse = beta[1:, None], sigma2[1:, None]
    xt = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps
    mean = (xt - b / (1 - alpha_bar).sqrt() * eps) / (1 - b).sqrt()
    ratio = b * (1 - before) / (1 - alpha_bar) / reverse
    squared = (mean - k[1:, None] * xt) ** 2 / reverse
    middle = 0.5 * (squared + ratio - 1 - ratio.log())[1:].sum(0)
    L_0 = 0.5 * (squared[0] + reverse[0].log() + math.log(2 * math.pi))
    last = alpha_bar[-1]
    return [0.5 * (last * x0**2 - last - torch.log1p(-last)), middle, L_0]


def bound_in_numpy(x0, beta, k, sigma2, generator):
    eps = torch.randn(len(x0), len(beta), generator=generator, dtype=x0.dtype).numpy()
    x0, k, sigma2 = x0.numpy()[:, None], k.numpy(), sigma2.numpy()
    alpha_bar = np.cumprod(1 - beta.numpy())
    xt = np.sqrt(alpha_bar) * x0 + np.sqrt(1 - alpha_bar) * eps  # (n, T + 1)
    middle = np.zeros(len(x0))
    for t in range(2, len(beta)):
        mean, var = q_posterior(torch.from_numpy(xt[:, t]), torch.from_numpy(x0[:, 0]), t, beta)
        ratio = float(var) / sigma2[t]
        squared = (mean.numpy() - k[t] * xt[:, t]) ** 2 / sigma2[t]
        middle += 0.5 * (squared + ratio - 1 - np.log(ratio))
    error = (x0[:, 0] - k[1] * xt[:, 1]) ** 2
    L_0 = 0.5 * (error / sigma2[1] + np.log(2 * np.pi * sigma2[1]))
    L_T = 0.5 * (alpha_bar[-1] * (x0[:, 0] ** 2 - 1) - np.log(1 - alpha_bar[-1]))
    return L_T, middle, L_0


@pytest.mark.parametrize(
    "right", [bound_along_a_path, bound_with_noise_shared_by_the_steps, bound_in_numpy]
)
def test_bound_terms_by_another_route(right):
    accepts("12-e5", right)


def _draws(x0, alpha_bar, generator):
    eps = torch.randn(len(alpha_bar), len(x0), generator=generator, dtype=x0.dtype)
    return alpha_bar.sqrt()[:, None] * x0 + (1 - alpha_bar).sqrt()[:, None] * eps


def _kl(mean1, var1, mean2, var2):
    return 0.5 * ((var1 + (mean1 - mean2) ** 2) / var2 - 1 - (var1 / var2).log())


def _terms(kl=None, xt=_draws, steps=lambda T: range(2, T + 1), collect=sum, posterior=q_posterior):
    """The reference in pieces that a mistake may replace."""

    def answer(x0, beta, k, sigma2, generator):
        alpha_bar = (1 - beta).cumprod(0)
        x = xt(x0, alpha_bar, generator)
        terms = [torch.zeros_like(x0)]
        for t in steps(len(beta) - 1):
            mean, var = posterior(x[t], x0, t, beta)
            terms.append((kl or _kl)(mean, var, k[t] * x[t], sigma2[t]))
        L_T = 0.5 * (alpha_bar[-1] * (x0**2 - 1) - (1 - alpha_bar[-1]).log())
        L_0 = -Normal(k[1] * x[1], sigma2[1].sqrt()).log_prob(x0)
        return L_T, collect(terms), L_0

    return answer


def _named(name, answer):
    answer.__name__ = name
    return answer


_t1_as_a_kl_too = _named("_t1_as_a_kl_too", _terms(steps=lambda T: range(1, T + 1)))
_last_step_left_out = _named("_last_step_left_out", _terms(steps=lambda T: range(2, T)))
_only_the_last_step = _named("_only_the_last_step", _terms(steps=lambda T: range(max(2, T), T + 1)))
_averaged = _named("_averaged", _terms(collect=lambda terms: sum(terms) / max(1, len(terms) - 1)))
_kl_reversed = _named("_kl_reversed", _terms(lambda m1, v1, m2, v2: _kl(m2, v2, m1, v1)))
_sigma2_as_an_sd = _named("_sigma2_as_an_sd", _terms(lambda m1, v1, m2, v2: _kl(m1, v1, m2, v2**2)))
_kl_of_sds = _named("_kl_of_sds", _terms(lambda m1, v1, m2, v2: _kl(m1, v1**2, m2, v2)))
_no_spread = _named("_no_spread", _terms(lambda m1, v1, m2, v2: (m1 - m2) ** 2 / (2 * v2)))
_kl_sign = _named("_kl_sign", _terms(lambda m1, v1, m2, v2: -_kl(m1, v1, m2, v2)))
_slides_posterior = _named("_slides_posterior", _terms(posterior=_root_in_the_variance))
_means_for_draws = _named(
    "_means_for_draws", _terms(xt=lambda x0, a, generator: a.sqrt()[:, None] * x0)
)
_noise_not_from_the_generator = _named(
    "_noise_not_from_the_generator", _terms(xt=lambda x0, a, generator: _draws(x0, a, None))
)
_one_eps_for_all_examples = _named(
    "_one_eps_for_all_examples",
    _terms(
        xt=lambda x0, a, generator: (
            _draws(torch.zeros(1).double(), a, generator) + a.sqrt()[:, None] * x0
        )
    ),
)
_noise_without_a_root = _named(
    "_noise_without_a_root",
    _terms(
        xt=lambda x0, a, generator: (
            a.sqrt()[:, None] * x0 + (1 - a).sqrt()[:, None] * _draws(0 * x0, a, generator)
        )
    ),
)
_signal_without_a_root = _named(
    "_signal_without_a_root",
    _terms(xt=lambda x0, a, generator: _draws(0 * x0, a, generator) + a[:, None] * x0),
)
_one_step_for_many = _named(
    "_one_step_for_many",
    _terms(xt=lambda x0, a, generator: _draws(x0, torch.cat([a[:1], a[1:] / a[:-1]]), generator)),
)
_draws_shifted = _named(
    "_draws_shifted",
    _terms(xt=lambda x0, a, generator: _draws(x0, torch.cat([a[:1], a[:-1]]), generator)),
)


def _replaced(part):
    """The reference with one of its three parts replaced by `part(x0, beta, k, sigma2, terms)`."""

    def answer(x0, beta, k, sigma2, generator):
        terms = list(bound_terms(x0, beta, k, sigma2, generator))
        at, value = part(x0, beta, k, sigma2, terms)
        terms[at] = value
        return tuple(terms)

    answer.__name__ = part.__name__
    return answer


@_replaced
def _t1_counted_twice(x0, beta, k, sigma2, terms):
    return 1, terms[1] + terms[2]


@_replaced
def _L_0_sign(x0, beta, k, sigma2, terms):
    return 2, -terms[2]


@_replaced
def _L_0_no_constant(x0, beta, k, sigma2, terms):
    return 2, terms[2] - 0.5 * math.log(2 * math.pi)


@_replaced
def _L_0_sigma2_as_an_sd(x0, beta, k, sigma2, terms):
    error = 2 * terms[2] * sigma2[1] - sigma2[1] * (2 * math.pi * sigma2[1]).log()
    return 2, 0.5 * (error / sigma2[1] ** 2 + (2 * math.pi * sigma2[1] ** 2).log())


@_replaced
def _L_0_of_another_step(x0, beta, k, sigma2, terms):
    error = 2 * terms[2] * sigma2[1] - sigma2[1] * (2 * math.pi * sigma2[1]).log()
    return 2, 0.5 * (error / sigma2[0] + (2 * math.pi * sigma2[0]).log())


@_replaced
def _L_0_squared_error(x0, beta, k, sigma2, terms):
    error = 2 * terms[2] * sigma2[1] - sigma2[1] * (2 * math.pi * sigma2[1]).log()
    return 2, error


@_replaced
def _L_T_of_the_last_step(x0, beta, k, sigma2, terms):
    return 0, 0.5 * ((1 - beta[-1]) * (x0**2 - 1) - beta[-1].log())


@_replaced
def _L_T_reversed(x0, beta, k, sigma2, terms):
    last, one = (1 - beta).prod(), torch.ones(()).double()
    return 0, _kl(0 * x0, one, last.sqrt() * x0, 1 - last)


@_replaced
def _L_T_without_its_variance(x0, beta, k, sigma2, terms):
    return 0, 0.5 * (1 - beta).prod() * x0**2


@_replaced
def _L_T_variance_as_sd(x0, beta, k, sigma2, terms):
    last, one = (1 - beta).prod(), torch.ones(()).double()
    return 0, _kl(last.sqrt() * x0, (1 - last) ** 2, 0 * x0, one)


def _k_shifted(x0, beta, k, sigma2, generator):
    shifted = torch.cat([k[:2], k[1:-1]])
    return bound_terms(x0, beta, shifted, sigma2, generator)


def _sigma2_shifted(x0, beta, k, sigma2, generator):
    shifted = torch.cat([sigma2[:2], sigma2[1:-1]])
    return bound_terms(x0, beta, k, shifted, generator)


def _means_over_the_batch(x0, beta, k, sigma2, generator):
    return tuple(term.mean() for term in bound_terms(x0, beta, k, sigma2, generator))


def _the_total(x0, beta, k, sigma2, generator):
    return sum(bound_terms(x0, beta, k, sigma2, generator))


def _parts_in_another_order(x0, beta, k, sigma2, generator):
    return bound_terms(x0, beta, k, sigma2, generator)[::-1]


def _bound_in_single_precision(x0, beta, k, sigma2, generator):
    return bound_terms(x0.float(), beta.float(), k.float(), sigma2.float(), generator)


def _sigma2_in_place(x0, beta, k, sigma2, generator):
    sigma = sigma2.sqrt_()
    return bound_terms(x0, beta, k, sigma**2, generator)


@_replaced
def _number_in_the_log(x0, beta, k, sigma2, terms):
    return 0, terms[0] + 0.5 * torch.log1p(1e-7 / (1 - (1 - beta).prod()))


@_replaced
def _empty_sum(x0, beta, k, sigma2, terms):
    return 1, torch.zeros_like(x0)


@_replaced
def _one_number_for_L_0(x0, beta, k, sigma2, terms):
    return 2, terms[2].mean().expand(len(x0))


def _two_of_three(x0, beta, k, sigma2, generator):
    return bound_terms(x0, beta, k, sigma2, generator)[:2]


@_mistakes(
    (_number_in_the_log, "was a small number added?"),
    (_empty_sum, "Where does the sum begin?"),
    (_one_number_for_L_0, "the bound lies above log p"),
    (_two_of_three, "the form"),
    (_t1_counted_twice, "too large by L_0"),
    (_t1_as_a_kl_too, "too large by L_0"),
    (_parts_in_another_order, "the first of the three"),
    (_L_T_of_the_last_step, "q(x_T|x_0) is a Gaussian"),
    (_L_T_reversed, "q(x_T|x_0) is a Gaussian"),
    (_L_T_without_its_variance, "q(x_T|x_0) is a Gaussian"),
    (_L_T_variance_as_sd, "q(x_T|x_0) is a Gaussian"),
    (_L_0_sign, "the bound lies above log p"),
    (_L_0_no_constant, "with its constant"),
    (_L_0_sigma2_as_an_sd, "with its constant"),
    (_L_0_of_another_step, "with its constant"),
    (_L_0_squared_error, "with its constant"),
    (_last_step_left_out, "One term, t = 2"),
    (_kl_reversed, "One term, t = 2"),
    (_sigma2_as_an_sd, "One term, t = 2"),
    (_kl_of_sds, "One term, t = 2"),
    (_no_spread, "One term, t = 2"),
    (_kl_sign, "One term, t = 2"),
    (_slides_posterior, "One term, t = 2"),
    (_k_shifted, "One term, t = 2"),
    (_sigma2_shifted, "One term, t = 2"),
    (_only_the_last_step, "T - 1 terms are added"),
    (_averaged, "T - 1 terms are added"),
    (_means_for_draws, "every random number comes from the generator"),
    (_noise_not_from_the_generator, "every random number comes from the generator"),
    (_one_eps_for_all_examples, "one eps serves them all"),
    (_noise_without_a_root, "so look at x_t"),
    (_signal_without_a_root, "so look at x_t"),
    (_one_step_for_many, "so look at x_t"),
    (_draws_shifted, "so look at x_t"),
    (_the_total, "the form"),
    (_means_over_the_batch, "the form"),
    (_bound_in_single_precision, "float32 does this"),
    (_sigma2_in_place, "Work on a copy"),
)
def test_bound_terms_mistakes_meet_their_hint(wrong, hint):
    rejects("12-e5", wrong, hint, most=25)  # each seed makes some thirty calls


def _lessons_chain():
    beta, k, sigma2 = [0, 0.2, 0.4, 0.6], [0, 0.8, 0.7, 0.5], [1, 0.25, 0.3, 0.5]
    return (torch.tensor(values, dtype=torch.float64) for values in (beta, k, sigma2))


def _total(answer, x0):
    beta, k, sigma2 = _lessons_chain()
    terms = answer(x0, beta, k, sigma2, torch.Generator().manual_seed(1))
    total = -sum(terms)
    return float(total.mean()), float(total.std()) / len(x0) ** 0.5


def test_the_bound_has_the_maps_numbers():
    """Data of variance .49: E log p = -1.085828, the bound -1.118373, with E01 -1.4222."""
    x0 = 0.7 * torch.randn(100_000, generator=torch.Generator().manual_seed(0)).double()
    mean, error = _total(bound_terms, x0)
    assert abs(mean - -1.118373) < 4 * error and error < 0.003
    slide, _ = _total(_slides_posterior, x0)
    assert abs(slide - -1.4222) < 4 * error + 1e-4
    _, k, sigma2 = _lessons_chain()
    var = torch.ones(()).double()
    for t in (3, 2, 1):
        var = k[t] ** 2 * var + sigma2[t]
    evidence = -0.5 * (0.49 / var + (2 * math.pi * var).log())
    assert round(float(evidence), 6) == -1.085828
