"""Lesson 12 beside the bound: right answers by other routes pass, every mistake meets its hint."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from course_utils.exercises import find
from tests.exercises.harness import accepts, rejects

hvae_terms, q_sample, loss_weight = (find(f"12-e{n}").reference for n in (1, 2, 6))
CHAIN = {"a": 0.8, "s1": 0.6, "b": 1.1, "s0": 0.5, "c": 0.7, "t1": 0.4, "d": 0.6, "t2": 0.7}


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


# 12-e1 hvae_terms


def terms_by_matrices(x, p):
    """q as a joint Gaussian of (z1, z2), conditioned; tensors come back."""
    p = {name: torch.tensor(value, dtype=torch.float64) for name, value in p.items()}
    v1 = p["t1"] ** 2
    cov = torch.stack([v1, p["d"] * v1, p["d"] * v1, p["d"] ** 2 * v1 + p["t2"] ** 2]).view(2, 2)
    m1 = p["c"] * x
    gain = cov[0, 1] / cov[1, 1]
    inner_sd = (cov[0, 0] - gain * cov[1, 0]).sqrt()
    z2 = Normal(p["d"] * m1, cov[1, 1].sqrt())
    # E of a quadratic in z2 by three Gauss-Hermite nodes
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(3))
    at = z2.mean + z2.stddev * nodes
    inner = kl_divergence(
        Normal(m1 + gain * (at - z2.mean), inner_sd), Normal(p["a"] * at, p["s1"])
    )
    z1 = m1 + p["t1"] * nodes
    log_lik = Normal(p["b"] * z1, p["s0"]).log_prob(torch.tensor(x, dtype=torch.float64))
    weights = weights / weights.sum()
    return {
        "kl_inner": weights @ inner,
        "reconstruction": weights @ log_lik,
        "kl_top": kl_divergence(z2, Normal(torch.zeros(()).double(), 1.0)),
    }


def terms_from_the_elbo(x, p):
    """kl_inner from H3: what the chain rule of KL leaves when kl_top is taken away."""
    terms = dict(hvae_terms(x, p))
    m1, v1 = p["c"] * x, p["t1"] ** 2
    m2, v2 = p["d"] * m1, p["d"] ** 2 * v1 + p["t2"] ** 2
    # -H(q(z1, z2|x)) - E log p(z1|z2) - E log p(z2)
    entropies = -math.log(2 * math.pi * math.e) - math.log(p["t1"] * p["t2"])
    far = (m1 - p["a"] * m2) ** 2 + v1 + p["a"] ** 2 * v2 - 2 * p["a"] * p["d"] * v1
    cross = 0.5 * (far / p["s1"] ** 2 + math.log(2 * math.pi * p["s1"] ** 2))
    prior = 0.5 * (m2**2 + v2 + math.log(2 * math.pi))
    terms["kl_inner"] = entropies + cross + prior - terms["kl_top"]
    return terms


@pytest.mark.parametrize("right", [terms_by_matrices, terms_from_the_elbo])
def test_hvae_terms_by_another_route(right):
    accepts("12-e1", right)


def _changed(change):
    """The reference's terms, with `change(x, p, terms)` put over them."""

    def answer(x, p):
        terms = hvae_terms(x, p)
        return terms | change(x, p, terms)

    answer.__name__ = change.__name__
    return answer


def _kl(m1, v1, m2, v2):
    return 0.5 * ((v1 + (m1 - m2) ** 2) / v2 - 1 - math.log(v1 / v2))


@_changed
def _s0_as_a_variance(x, p, terms):
    return {"reconstruction": hvae_terms(x, p | {"s0": math.sqrt(p["s0"])})["reconstruction"]}


@_changed
def _no_constant(x, p, terms):
    return {"reconstruction": terms["reconstruction"] + 0.5 * math.log(2 * math.pi)}


@_changed
def _minus_log_likelihood(x, p, terms):
    return {"reconstruction": -terms["reconstruction"]}


@_changed
def _at_the_mean_of_z1(x, p, terms):
    trace = p["b"] ** 2 * p["t1"] ** 2 / p["s0"] ** 2
    return {"reconstruction": terms["reconstruction"] + 0.5 * trace}


@_changed
def _b_not_squared(x, p, terms):
    trace = (p["b"] ** 2 - p["b"]) * p["t1"] ** 2 / p["s0"] ** 2
    return {"reconstruction": terms["reconstruction"] + 0.5 * trace}


@_changed
def _t1_as_a_variance(x, p, terms):
    return hvae_terms(x, p | {"t1": math.sqrt(p["t1"])})


@_changed
def _t2_as_a_variance(x, p, terms):
    return hvae_terms(x, p | {"t2": math.sqrt(p["t2"])})


@_changed
def _the_forward_top(x, p, terms):
    """H3's term, E_q(z1|x) KL(q(z2|z1) || p(z2))."""
    return {"kl_top": _kl(p["d"] * p["c"] * x, p["t2"] ** 2, 0, 1) + (p["d"] * p["t1"]) ** 2 / 2}


@_changed
def _top_at_the_mean_of_z1(x, p, terms):
    return {"kl_top": _kl(p["d"] * p["c"] * x, p["t2"] ** 2, 0, 1)}


@_changed
def _deviations_add(x, p, terms):
    return {"kl_top": _kl(p["d"] * p["c"] * x, (p["d"] * p["t1"] + p["t2"]) ** 2, 0, 1)}


@_changed
def _mean_of_one_layer(x, p, terms):
    return {"kl_top": _kl(p["d"] * x, (p["d"] * p["t1"]) ** 2 + p["t2"] ** 2, 0, 1)}


@_changed
def _top_reversed(x, p, terms):
    return {"kl_top": _kl(0, 1, p["d"] * p["c"] * x, (p["d"] * p["t1"]) ** 2 + p["t2"] ** 2)}


@_changed
def _top_negative(x, p, terms):
    return {"kl_top": -terms["kl_top"]}


def _with_the_models_posterior(x, p):
    """The slide's KL(q(z1|x) || p(z1|x))."""
    prior = (p["a"]) ** 2 + p["s1"] ** 2
    var = 1 / (1 / prior + p["b"] ** 2 / p["s0"] ** 2)
    return _kl(p["c"] * x, p["t1"] ** 2, var * p["b"] * x / p["s0"] ** 2, var)


@_changed
def _slide(x, p, terms):
    return {"kl_inner": _with_the_models_posterior(x, p)}


@_changed
def _s1_as_a_variance(x, p, terms):
    return {"kl_inner": hvae_terms(x, p | {"s1": math.sqrt(p["s1"])})["kl_inner"]}


@_changed
def _inner_reversed(x, p, terms):
    return {"kl_inner": _kl(0, p["s1"] ** 2, p["c"] * x, p["t1"] ** 2)}


@_changed
def _inner_negative(x, p, terms):
    return {"kl_inner": -terms["kl_inner"]}


@_changed
def _z2_as_independent(x, p, terms):
    m1, m2 = p["c"] * x, p["d"] * p["c"] * x
    v2 = (p["d"] * p["t1"]) ** 2 + p["t2"] ** 2
    apart = p["a"] ** 2 * v2 / p["s1"] ** 2
    return {"kl_inner": _kl(m1, p["t1"] ** 2, p["a"] * m2, p["s1"] ** 2) + apart / 2}


@_changed
def _at_the_mean_of_z2(x, p, terms):
    m1, m2 = p["c"] * x, p["d"] * p["c"] * x
    var = p["t1"] ** 2 * p["t2"] ** 2 / ((p["d"] * p["t1"]) ** 2 + p["t2"] ** 2)
    return {"kl_inner": _kl(m1, var, p["a"] * m2, p["s1"] ** 2)}


@_changed
def _average_over_the_prior(x, p, terms):
    """z2 ~ N(0, 1) in place of q(z2|x)."""
    v2 = (p["d"] * p["t1"]) ** 2 + p["t2"] ** 2
    gain, var = p["d"] * p["t1"] ** 2 / v2, (p["t1"] * p["t2"]) ** 2 / v2
    shift = p["c"] * x * (1 - gain * p["d"])
    return {"kl_inner": _kl(shift, var, 0, p["s1"] ** 2) + (gain - p["a"]) ** 2 / p["s1"] ** 2 / 2}


def _the_elbo_alone(x, p):
    terms = hvae_terms(x, p)
    return terms["reconstruction"] - terms["kl_top"] - terms["kl_inner"]


def _other_names(x, p):
    return dict(zip(("rec", "top", "inner"), hvae_terms(x, p).values(), strict=True))


def _by_sampling(x, p):
    z1 = p["c"] * x + p["t1"] * torch.randn(10_000).double()
    log_lik = Normal(p["b"] * z1, p["s0"]).log_prob(torch.tensor(x, dtype=torch.float64))
    return hvae_terms(x, p) | {"reconstruction": log_lik.mean()}


def _single_precision(x, p):
    names = ("reconstruction", "kl_top", "kl_inner")
    return {name: torch.tensor(hvae_terms(x, p)[name]) for name in names}


def _in_bits(x, p):
    return {name: value / math.log(2) for name, value in hvae_terms(x, p).items()}


def _never_far_from_the_prior(x, p):
    return hvae_terms(x, p) | {"kl_top": 0.0}


def _never_far_inside(x, p):
    return hvae_terms(x, p) | {"kl_inner": 0.0}


def _as_a_tuple(x, p):
    return tuple(hvae_terms(x, p).values())


@_mistakes(
    (_in_bits, "in nats"),
    (_never_far_from_the_prior, "marginal q(z2|x), not"),
    (_never_far_inside, "climbs above the evidence"),
    (_as_a_tuple, "the form"),
    (_s0_as_a_variance, "With t1 near 0"),
    (_no_constant, "With t1 near 0"),
    (_minus_log_likelihood, "With t1 near 0"),
    (_at_the_mean_of_z1, "z1 varies under q"),
    (_b_not_squared, "z1 varies under q"),
    (_t1_as_a_variance, "z1 varies under q"),
    (_by_sampling, "z1 varies under q"),
    (_the_forward_top, "marginal q(z2|x), not"),
    (_top_at_the_mean_of_z1, "marginal q(z2|x), not"),
    (_deviations_add, "marginal q(z2|x), not"),
    (_t2_as_a_variance, "marginal q(z2|x), not"),
    (_mean_of_one_layer, "two layers above x"),
    (_top_reversed, "two layers above x"),
    (_top_negative, "two layers above x"),
    (_slide, "climbs above the evidence"),
    (_s1_as_a_variance, "climbs above the evidence"),
    (_inner_reversed, "climbs above the evidence"),
    (_inner_negative, "climbs above the evidence"),
    (_z2_as_independent, "so it tells about z1"),
    (_at_the_mean_of_z2, "Both means depend on z2"),
    (_average_over_the_prior, "Both means depend on z2"),
    (_the_elbo_alone, "the form"),
    (_other_names, "the form"),
    (_single_precision, "float32 does this"),
)
def test_hvae_terms_mistakes_meet_their_hint(wrong, hint):
    rejects("12-e1", wrong, hint)


def _bound(terms):
    return terms["reconstruction"] - terms["kl_top"] - terms["kl_inner"]


def test_the_two_layers_have_the_maps_numbers():
    p = CHAIN
    marginal = p["b"] ** 2 * (p["a"] ** 2 + p["s1"] ** 2) + p["s0"] ** 2
    evidence = float(Normal(0.0, math.sqrt(marginal)).log_prob(torch.tensor(1.5)))
    assert round(evidence, 5) == -1.87870
    assert round(_bound(hvae_terms(1.5, p)), 5) == -1.99513
    top = {"kl_top": _the_forward_top(1.5, p)["kl_top"]}
    assert round(_bound(_slide(1.5, p) | top), 5) == -1.19984
    assert round(_bound(_z2_as_independent(1.5, p) | top), 5) == -2.20846


# 12-e2 q_sample


def x_t_by_expanding(x0, alpha_bar, eps):
    alpha_bar = alpha_bar[(...,) + (None,) * (x0.ndim - 1)].expand_as(x0)
    return torch.sqrt(alpha_bar) * x0 + torch.sqrt(1 - alpha_bar) * eps


def x_t_by_moving_the_batch_last(x0, alpha_bar, eps):
    x, noise = x0.movedim(0, -1), eps.movedim(0, -1)
    return (alpha_bar**0.5 * x + (1 - alpha_bar) ** 0.5 * noise).movedim(-1, 0)


def x_t_one_by_one_in_numpy(x0, alpha_bar, eps):
    rows = zip(x0.numpy(), alpha_bar.numpy(), eps.numpy(), strict=True)
    return np.stack([np.sqrt(a) * x + np.sqrt(1 - a) * e for x, a, e in rows])


@pytest.mark.parametrize(
    "right", [x_t_by_expanding, x_t_by_moving_the_batch_last, x_t_one_by_one_in_numpy]
)
def test_q_sample_by_another_route(right):
    accepts("12-e2", right)


def _expanded(formula):
    """An answer for any rank whose formula is `formula(x0, alpha_bar, eps)`."""

    def answer(x0, alpha_bar, eps):
        return formula(x0, alpha_bar.reshape(-1, *[1] * (x0.ndim - 1)), eps)

    answer.__name__ = formula.__name__
    return answer


@_expanded
def _roots_swapped(x0, a, eps):
    return (1 - a).sqrt() * x0 + a.sqrt() * eps


@_expanded
def _variance_squared(x0, a, eps):
    return a.sqrt() * x0 + (1 - a) * eps


@_expanded
def _root_inside(x0, a, eps):
    return a.sqrt() * x0 + (1 - a.sqrt()) * eps


@_expanded
def _noise_of_its_own(x0, a, eps):
    return a.sqrt() * x0 + (1 - a).sqrt() * torch.randn_like(x0)


@_expanded
def _noise_subtracted(x0, a, eps):
    return a.sqrt() * x0 - (1 - a).sqrt() * eps


@_expanded
def _signal_without_a_root(x0, a, eps):
    return a * x0 + (1 - a).sqrt() * eps


@_expanded
def _signal_kept_whole(x0, a, eps):
    return x0 + (1 - a).sqrt() * eps


def _along_the_last_dimension(x0, alpha_bar, eps):
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * eps


def _for_vectors_only(x0, alpha_bar, eps):
    return _along_the_last_dimension(x0, alpha_bar[:, None], eps)


def _for_images_only(x0, alpha_bar, eps):
    return _along_the_last_dimension(x0, alpha_bar[:, None, None, None], eps)


def _first_alpha_bar_for_all(x0, alpha_bar, eps):
    return _along_the_last_dimension(x0, alpha_bar[0], eps)


def _x0_in_place(x0, alpha_bar, eps):
    x0 *= alpha_bar.reshape(-1, *[1] * (x0.ndim - 1)).sqrt()
    return x0 + (1 - alpha_bar).reshape(-1, *[1] * (x0.ndim - 1)).sqrt() * eps


def _noise_too(x0, alpha_bar, eps):
    return q_sample(x0, alpha_bar, eps), eps


def _in_single_precision(x0, alpha_bar, eps):
    return q_sample(x0.float(), alpha_bar.float(), eps.float())


@_expanded
def _number_under_the_root(x0, a, eps):
    return a.sqrt() * x0 + (1 - a + 1e-8).sqrt() * eps


@_expanded
def _clamped_alpha_bar(x0, a, eps):
    a = a.clamp(1e-3, 1 - 1e-3)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps


@_mistakes(
    (_number_under_the_root, "was a number added under one"),
    (_clamped_alpha_bar, "was a number added under one"),
    (_roots_swapped, "must come back"),
    (_signal_kept_whole, "The noise is right"),
    (_variance_squared, "Is the eps that is given"),
    (_root_inside, "Is the eps that is given"),
    (_noise_of_its_own, "Is the eps that is given"),
    (_noise_subtracted, "added, not subtracted"),
    (_signal_without_a_root, "The noise is right"),
    (_along_the_last_dimension, "lines up with the last dimension"),
    (_for_vectors_only, "lines up with the last dimension"),
    (_for_images_only, "lines up with the last dimension"),
    (_first_alpha_bar_for_all, "lines up with the last dimension"),
    (_x0_in_place, "Work on a copy"),
    (_noise_too, "the form"),
    (_in_single_precision, "float32 does this"),
)
def test_q_sample_mistakes_meet_their_hint(wrong, hint):
    rejects("12-e2", wrong, hint)


# 12-e6 loss_weight


def weight_step_by_step(beta, sigma2):
    weights, alpha_bar = [], 1.0
    for b, s2 in zip(beta[1:].tolist(), sigma2[1:].tolist(), strict=True):
        alpha_bar *= 1 - b
        factor = b / math.sqrt((1 - b) * (1 - alpha_bar))  # of eps in mu
        weights.append(factor**2 / (2 * s2))
    return np.array(weights)


def weight_by_signal_to_noise(beta, sigma2):
    """D30 in eps, for sigma2 = beta_tilde, rescaled to the variance that is given."""
    alpha_bar = torch.cumprod(1 - beta, 0)
    before, now = alpha_bar[:-1], alpha_bar[1:]
    # (SNR_{t-1} / SNR_t - 1) / 2 times beta_tilde / sigma2; the infinite SNR_0 is multiplied out
    ratio = before / now * (1 - now) - (1 - before)
    return ratio / 2 * beta[1:] / (1 - now) / sigma2[1:]


@pytest.mark.parametrize("right", [weight_step_by_step, weight_by_signal_to_noise])
def test_loss_weight_by_another_route(right):
    accepts("12-e6", right)


def _weights(formula):
    """An answer whose formula is `formula(beta, sigma2, alpha, alpha_bar)`, entries 1 to T."""

    def answer(beta, sigma2):
        alpha_bar = (1 - beta).cumprod(0)
        return formula(beta[1:], sigma2[1:], 1 - beta[1:], alpha_bar[1:])

    answer.__name__ = formula.__name__
    return answer


@_weights
def _alpha_missing(beta, sigma2, alpha, alpha_bar):
    return beta**2 / (2 * sigma2 * (1 - alpha_bar))


@_weights
def _alpha_bar_for_alpha(beta, sigma2, alpha, alpha_bar):
    return beta**2 / (2 * sigma2 * alpha_bar * (1 - alpha_bar))


@_weights
def _root_of_alpha(beta, sigma2, alpha, alpha_bar):
    return beta**2 / (2 * sigma2 * alpha.sqrt() * (1 - alpha_bar))


@_weights
def _sigma_for_sigma2(beta, sigma2, alpha, alpha_bar):
    return beta**2 / (2 * sigma2.sqrt() * alpha * (1 - alpha_bar))


@_weights
def _sigma2_squared(beta, sigma2, alpha, alpha_bar):
    return beta**2 / (2 * sigma2**2 * alpha * (1 - alpha_bar))


@_weights
def _sigma_forgotten(beta, sigma2, alpha, alpha_bar):
    return beta / (2 * alpha * (1 - alpha_bar))


@_weights
def _half_missing(beta, sigma2, alpha, alpha_bar):
    return beta**2 / (sigma2 * alpha * (1 - alpha_bar))


@_weights
def _beta_not_squared(beta, sigma2, alpha, alpha_bar):
    return beta / (2 * sigma2 * alpha * (1 - alpha_bar))


@_weights
def _root_not_squared(beta, sigma2, alpha, alpha_bar):
    return beta**2 / (2 * sigma2 * alpha * (1 - alpha_bar).sqrt())


@_weights
def _one_step_for_all(beta, sigma2, alpha, alpha_bar):
    return beta**2 / (2 * sigma2 * alpha * beta)


@_weights
def _summed(beta, sigma2, alpha, alpha_bar):
    return _alpha_missing(torch.cat([0 * beta[:1], beta]), torch.cat([0 * beta[:1], sigma2])).sum()


def _index_shifted(beta, sigma2):
    alpha_bar = (1 - beta).cumprod(0)[:-1]
    beta, sigma2 = beta[1:], sigma2[1:]
    return beta**2 / (2 * sigma2 * (1 - beta) * (1 - alpha_bar))


def _next_alpha_bar(beta, sigma2):
    alpha_bar = (1 - beta).cumprod(0)[1:].roll(-1)
    beta, sigma2 = beta[1:], sigma2[1:]
    return beta**2 / (2 * sigma2 * (1 - beta) * (1 - alpha_bar))


def _the_last_left_out(beta, sigma2):
    alpha_bar = (1 - beta).cumprod(0)
    return (beta**2 / (2 * sigma2 * (1 - beta) * (1 - alpha_bar)))[:-1]


def _with_entry_0(beta, sigma2):
    alpha_bar = (1 - beta).cumprod(0)
    return beta**2 / (2 * sigma2 * (1 - beta) * (1 - alpha_bar))


def _weight_in_single_precision(beta, sigma2):
    return loss_weight(beta.float(), sigma2.float())


def _entry_0_as_0(beta, sigma2):
    return torch.cat([torch.zeros(1).double(), loss_weight(beta, sigma2)])[:-1]


@_weights
def _number_in_the_denominator(beta, sigma2, alpha, alpha_bar):
    return beta**2 / (2 * sigma2 * alpha * (1 - alpha_bar + 1e-4))


@_weights
def _tiny_number_in_the_denominator(beta, sigma2, alpha, alpha_bar):
    return beta**2 / (2 * sigma2 * alpha * (1 - alpha_bar + 1e-8))


@_weights
def _no_weight(beta, sigma2, alpha, alpha_bar):
    return 0 * beta


@_mistakes(
    (_entry_0_as_0, "which entries are asked?"),
    (_number_in_the_denominator, "nothing added to a denominator"),
    (_tiny_number_in_the_denominator, "was a small number added?"),
    (_no_weight, "Those depend on beta"),
    (_index_shifted, "0/0 is NaN"),
    (_the_last_left_out, "0/0 is NaN"),
    (_with_entry_0, "the form"),
    (_summed, "the form"),
    (_sigma_for_sigma2, "the units: beta^2/beta"),
    (_sigma2_squared, "the units: beta^2/beta"),
    (_sigma_forgotten, "the units: beta^2/beta"),
    (_half_missing, "was all of the factor squared"),
    (_beta_not_squared, "was all of the factor squared"),
    (_root_not_squared, "was all of the factor squared"),
    (_one_step_for_all, "was all of the factor squared"),
    (_next_alpha_bar, "was all of the factor squared"),
    (_alpha_missing, "Right for small beta only"),
    (_alpha_bar_for_alpha, "Right for small beta only"),
    (_root_of_alpha, "Right for small beta only"),
    (_weight_in_single_precision, "float32 does this"),
)
def test_loss_weight_mistakes_meet_their_hint(wrong, hint):
    rejects("12-e6", wrong, hint)


def test_the_weights_have_the_maps_numbers():
    beta = torch.cat([torch.zeros(1), torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)])
    weight = loss_weight(beta.double(), beta.double())
    assert [round(float(weight[t - 1]), 4) for t in (1, 10, 1000)] == [0.5001, 0.0737, 0.0102]
    assert float(weight[0] / weight[-1]) == pytest.approx(49, abs=0.05)


def test_the_weight_is_that_of_the_kl():
    """D29: KL differs between two eps_theta by lambda_t times the difference of squared errors."""
    beta = torch.tensor([0, 0.2, 0.4, 0.6], dtype=torch.float64)
    alpha_bar = (1 - beta).cumprod(0)
    sigma2, eps, t = beta, torch.tensor(0.7).double(), 3
    said = torch.tensor([0.1, -1.2]).double()  # by two networks
    mean = (1 - beta[t]) ** -0.5 * (0.3 - beta[t] / (1 - alpha_bar[t]).sqrt() * said)
    right = (1 - beta[t]) ** -0.5 * (0.3 - beta[t] / (1 - alpha_bar[t]).sqrt() * eps)
    kl = (right - mean) ** 2 / (2 * sigma2[t])
    weight = loss_weight(beta, sigma2)[t - 1]
    torch.testing.assert_close(kl, weight * (eps - said) ** 2, rtol=1e-12, atol=0)
