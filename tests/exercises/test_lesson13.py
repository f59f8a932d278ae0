"""Lesson 13: right answers by other routes pass, every known mistake meets its own hint."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from course_utils import diffusion
from course_utils.diffusion import NoiseSchedule
from course_utils.exercises import find, lesson13
from course_utils.networks import time_embedding
from tests.exercises.harness import accepts, rejects

train_pair, ancestral_step, sinusoidal, adagn, cosine_schedule, learned_log_var = (
    find(f"13-e{number}").reference for number in range(1, 7)
)


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


def _column(values, like):
    return values.view(-1, *[1] * (like.ndim - 1))


# 13-e1 train_pair


def pair_by_the_package(x0, t, eps, alpha_bar):
    schedule = NoiseSchedule(1 - alpha_bar[1:] / alpha_bar[:-1])
    return diffusion.q_sample(schedule, x0, t, eps), eps


def pair_row_by_row(x0, t, eps, alpha_bar):
    rows = [
        math.sqrt(alpha_bar[s]) * x + math.sqrt(1 - alpha_bar[s]) * e
        for x, s, e in zip(x0, t, eps, strict=True)
    ]
    return [torch.stack(rows), eps]


def pair_by_einsum(x0, t, eps, alpha_bar):
    a = alpha_bar.gather(0, t)
    signal = torch.einsum("b,b...->b...", a.sqrt(), x0)
    return signal + torch.einsum("b,b...->b...", (1 - a).sqrt(), eps), eps.clone()


def pair_by_steps(x0, t, eps, alpha_bar):
    """alpha_bar again from its own steps: the kernel's weights with rounding of their own."""
    alpha = torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    a = _column(alpha.cumprod(0)[t], x0)
    return torch.sqrt(a) * x0 + torch.sqrt(1 - a) * eps, eps


@pytest.mark.parametrize(
    "right", [pair_by_the_package, pair_row_by_row, pair_by_einsum, pair_by_steps]
)
def test_train_pair_by_another_route(right):
    accepts("13-e1", right)


def _x0_as_target(x0, t, eps, alpha_bar):
    return train_pair(x0, t, eps, alpha_bar)[0], x0


def _pair_exchanged(x0, t, eps, alpha_bar):
    return train_pair(x0, t, eps, alpha_bar)[::-1]


def _weighted_noise_as_target(x0, t, eps, alpha_bar):
    xt = train_pair(x0, t, eps, alpha_bar)[0]
    return xt, (1 - _column(alpha_bar[t], x0)).sqrt() * eps


def _noise_of_its_own(x0, t, eps, alpha_bar):
    return train_pair(x0, t, torch.randn_like(eps), alpha_bar)[0], eps


def _index_from_one(x0, t, eps, alpha_bar):
    return train_pair(x0, t - 1, eps, alpha_bar)


def _one_too_far(x0, t, eps, alpha_bar):
    return train_pair(x0, (t + 1).clamp(max=len(alpha_bar) - 1), eps, alpha_bar)


def _weights_exchanged(x0, t, eps, alpha_bar):
    return train_pair(eps, t, x0, alpha_bar)[0], eps


def _no_root_of_the_noise(x0, t, eps, alpha_bar):
    a = _column(alpha_bar[t], x0)
    return a.sqrt() * x0 + (1 - a) * eps, eps


def _no_roots(x0, t, eps, alpha_bar):
    a = _column(alpha_bar[t], x0)
    return a * x0 + (1 - a) * eps, eps


def _one_minus_the_root(x0, t, eps, alpha_bar):
    a = _column(alpha_bar[t], x0).sqrt()
    return a * x0 + (1 - a) * eps, eps


def _one_t_for_the_batch(x0, t, eps, alpha_bar):
    return train_pair(x0, t[:1].expand(len(t)), eps, alpha_bar)


def _weights_along_the_columns(x0, t, eps, alpha_bar):
    a = alpha_bar[t]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps, eps


def _rows_of_numbers_only(x0, t, eps, alpha_bar):
    a = alpha_bar[t][:, None]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps, eps


def _xt_alone(x0, t, eps, alpha_bar):
    return train_pair(x0, t, eps, alpha_bar)[0]


def _number_under_a_root(x0, t, eps, alpha_bar):
    a = _column(alpha_bar[t], x0)
    return a.sqrt() * x0 + (1 - a + 1e-8).sqrt() * eps, eps


def _clamped_alpha_bar(x0, t, eps, alpha_bar):
    return train_pair(x0, t, eps, alpha_bar.clamp(max=1 - 1e-4))


def _images_only(x0, t, eps, alpha_bar):
    a = alpha_bar[t][:, None, None, None]
    return a.sqrt() * x0 + (1 - a).sqrt() * eps, eps


@_mistakes(
    (_number_under_a_root, "is added under a root"),
    (_clamped_alpha_bar, "is added under a root"),
    (_images_only, "the form"),
    (_x0_as_target, "learns to name the noise"),
    (_pair_exchanged, "learns to name the noise"),
    (_weighted_noise_as_target, "eps times its weight"),
    (_index_from_one, "no t - 1"),
    (_one_too_far, "The index is t itself"),
    (_weights_exchanged, "two weights are exchanged"),
    (_no_root_of_the_noise, "standard deviations"),
    (_no_roots, "standard deviations"),
    (_one_minus_the_root, "standard deviations"),
    (_noise_of_its_own, "standard deviations"),
    (_one_t_for_the_batch, "Rows must differ in alpha_bar"),
    (_weights_along_the_columns, "run along the columns"),
    (_rows_of_numbers_only, "run along pixels"),
    (_xt_alone, "the form"),
)
def test_train_pair_mistakes_meet_their_hint(wrong, hint):
    rejects("13-e1", wrong, hint)


# 13-e2 ancestral_step


def step_by_the_package(xt, eps, t, z, beta, sigma2):
    return diffusion.p_sample(NoiseSchedule(beta[1:]), eps, xt, t, z, sigma2)


def step_by_x0(xt, eps, t, z, beta, sigma2):
    """The posterior's mean at the x_0 that eps stands for."""
    bar = [math.prod((1 - beta[1 : s + 1]).tolist()) for s in (t - 1, t)]
    x0 = (xt - math.sqrt(1 - bar[1]) * eps) / math.sqrt(bar[1])
    to_xt = (1 - beta[t]).sqrt() * (1 - bar[0]) / (1 - bar[1])
    mean = to_xt * xt + math.sqrt(bar[0]) * beta[t] / (1 - bar[1]) * x0
    return mean + (t > 1) * torch.sqrt(sigma2[t]) * z


def step_in_numpy(xt, eps, t, z, beta, sigma2):
    xt, eps, z, beta = xt.numpy(), eps.numpy(), z.numpy(), beta.numpy()
    kept = np.sqrt(1 - np.cumprod(1 - beta)[t])
    sd = 0.0 if t == 1 else float(sigma2[t]) ** 0.5
    return (1 - beta[t]) ** -0.5 * (xt - beta[t] / kept * eps) + sd * z


@pytest.mark.parametrize("right", [step_by_the_package, step_by_x0, step_in_numpy])
def test_ancestral_step_by_another_route(right):
    accepts("13-e2", right)


def _mean(xt, eps, t, beta):
    return ancestral_step(xt, eps, t, 0 * xt, beta, beta)


def _noise_at_the_end(xt, eps, t, z, beta, sigma2):
    return _mean(xt, eps, t, beta) + sigma2[t].sqrt() * z


def _no_noise_from_t_0_only(xt, eps, t, z, beta, sigma2):
    return _mean(xt, eps, t, beta) + sigma2[t].sqrt() * (z if t > 0 else 0)


def _all_steps_undone(xt, eps, t, z, beta, sigma2):
    alpha = 1 - beta
    right = ancestral_step(xt, eps, t, z, beta, sigma2)
    mean = _mean(xt, eps, t, beta)
    return right - mean + mean * (alpha[t] / alpha.cumprod(0)[t]).sqrt()


def _step_done_again(xt, eps, t, z, beta, sigma2):
    right = ancestral_step(xt, eps, t, z, beta, sigma2)
    mean = _mean(xt, eps, t, beta)
    return right - mean + mean * (1 - beta[t])


def _alpha_without_root(xt, eps, t, z, beta, sigma2):
    right = ancestral_step(xt, eps, t, z, beta, sigma2)
    mean = _mean(xt, eps, t, beta)
    return right - mean + mean / (1 - beta[t]).sqrt()


def _with_share(xt, eps, t, z, beta, sigma2, share):
    mean = (xt - share * eps) / (1 - beta[t]).sqrt()
    return mean + (t > 1) * sigma2[t].sqrt() * z


def _root_of_one_minus_alpha(xt, eps, t, z, beta, sigma2):
    return _with_share(xt, eps, t, z, beta, sigma2, beta[t].sqrt())


def _all_of_the_noise(xt, eps, t, z, beta, sigma2):
    left = (1 - (1 - beta).cumprod(0)[t]).sqrt()
    return _with_share(xt, eps, t, z, beta, sigma2, left)


def _no_root_below_beta(xt, eps, t, z, beta, sigma2):
    return _with_share(xt, eps, t, z, beta, sigma2, beta[t] / (1 - (1 - beta).cumprod(0)[t]))


def _noise_is_added_back(xt, eps, t, z, beta, sigma2):
    return ancestral_step(xt, -eps, t, z, beta, sigma2)


def _bar_of_the_step_before(xt, eps, t, z, beta, sigma2):
    share = beta[t] / (1 - (1 - beta).cumprod(0)[t - 1] + 1e-12).sqrt()
    return _with_share(xt, eps, t, z, beta, sigma2, share)


def _eps_outside_the_bracket(xt, eps, t, z, beta, sigma2):
    share = beta[t] / (1 - (1 - beta).cumprod(0)[t]).sqrt()
    return xt / (1 - beta[t]).sqrt() - share * eps + (t > 1) * sigma2[t].sqrt() * z


def _variance_as_sd(xt, eps, t, z, beta, sigma2):
    return _mean(xt, eps, t, beta) + (t > 1) * sigma2[t] * z


def _beta_for_sigma2(xt, eps, t, z, beta, sigma2):
    return ancestral_step(xt, eps, t, z, beta, beta)


def _noise_taken_off(xt, eps, t, z, beta, sigma2):
    return ancestral_step(xt, eps, t, -z, beta, sigma2)


def _silent_at_two_too(xt, eps, t, z, beta, sigma2):
    return _mean(xt, eps, t, beta) + (t > 2) * sigma2[t].sqrt() * z


def _never_any_noise(xt, eps, t, z, beta, sigma2):
    return _mean(xt, eps, t, beta)


def _noise_divided_too(xt, eps, t, z, beta, sigma2):
    return _mean(xt, eps, t, beta) + (t > 1) * sigma2[t].sqrt() * z / (1 - beta[t]).sqrt()


def _beta_one_step_off(xt, eps, t, z, beta, sigma2):
    alpha_bar = (1 - beta).cumprod(0)
    s = max(t - 1, 1)
    mean = (xt - beta[s] / (1 - alpha_bar[t]).sqrt() * eps) / (1 - beta[s]).sqrt()
    return mean + (t > 1) * sigma2[t].sqrt() * z


def _sigma2_one_step_off(xt, eps, t, z, beta, sigma2):
    return _mean(xt, eps, t, beta) + (t > 1) * sigma2[max(t - 1, 1)].sqrt() * z


def _noise_of_its_own_too(xt, eps, t, z, beta, sigma2):
    return ancestral_step(xt, eps, t, torch.randn_like(z), beta, sigma2)


def _tiny_number_under_the_root(xt, eps, t, z, beta, sigma2):
    share = beta[t] / (1 - (1 - beta).cumprod(0)[t] + 1e-8).sqrt()
    return _with_share(xt, eps, t, z, beta, sigma2, share)


def _stops_at_0(xt, eps, t, z, beta, sigma2):
    return torch.zeros_like(xt)


@_mistakes(
    (_noise_of_its_own_too, "draw none yourself"),
    (_tiny_number_under_the_root, "was a small number added?"),
    (_stops_at_0, "draw none yourself"),
    (_noise_at_the_end, ".3063 instead of .2563"),
    (_no_noise_from_t_0_only, "Algorithm 2 sets z = 0"),
    (_all_steps_undone, "Only one step is undone"),
    (_step_done_again, "undoing makes x longer"),
    (_alpha_without_root, "Only one step is undone"),
    (_root_of_one_minus_alpha, "A part of eps is taken off"),
    (_all_of_the_noise, "A part of eps is taken off"),
    (_no_root_below_beta, "A part of eps is taken off"),
    (_noise_is_added_back, "A part of eps is taken off"),
    (_bar_of_the_step_before, "the product alpha_1"),
    (_eps_outside_the_bracket, "before the division by sqrt(alpha_t)"),
    (_variance_as_sd, "sigma2 is a variance"),
    (_beta_for_sigma2, "not beta"),
    (_never_any_noise, "sigma2 is a variance"),
    (_noise_taken_off, "It is added"),
    (_silent_at_two_too, "only t = 1 is"),
    (_noise_divided_too, "the mean is already divided"),
    (_beta_one_step_off, "no index is shifted"),
    (_sigma2_one_step_off, "no index is shifted"),
)
def test_ancestral_step_mistakes_meet_their_hint(wrong, hint):
    rejects("13-e2", wrong, hint)


def test_the_exact_chain_has_the_maps_variances():
    """D34, and section 2.8: .2563 with the rule, .3063 without, .1420 for sigma2 = beta_tilde."""
    beta, sigma2 = lesson13.ten_steps()
    for step, right in ((ancestral_step, 0.2563), (_noise_at_the_end, 0.3063)):
        assert round(lesson13.chain_variance(step, 0.25, beta, sigma2), 4) == right
    tilde = NoiseSchedule(beta[1:]).beta_tilde
    for step in (ancestral_step, _noise_at_the_end):
        assert round(lesson13.chain_variance(step, 0.25, beta, tilde), 4) == 0.1420


def test_the_exact_chains_variance_by_simulation():
    rng, (beta, sigma2) = torch.Generator().manual_seed(0), lesson13.ten_steps()
    alpha_bar, n = (1 - beta).cumprod(0), 200_000
    x = torch.randn(n, generator=rng, dtype=torch.float64)
    for t in range(10, 0, -1):
        eps = (1 - alpha_bar[t]).sqrt() / (0.25 * alpha_bar[t] + 1 - alpha_bar[t]) * x
        z = torch.randn(n, generator=rng, dtype=torch.float64)
        x = ancestral_step(x, eps, t, z, beta, sigma2)
    right = lesson13.chain_variance(ancestral_step, 0.25, beta, sigma2)
    assert abs(float(x.var()) - right) < 4 * right * math.sqrt(2 / n)


# 13-e3 sinusoidal


def code_by_exponentials(t, dim):
    half = dim // 2
    w = torch.exp(-math.log(10000) * torch.arange(0, half, dtype=torch.float32) / half)
    angle = t.float()[:, None] * w[None]
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)


def code_by_complex_numbers(t, dim):
    w = torch.logspace(0, -4, dim // 2 + 1, dtype=torch.float64)[:-1]
    turn = torch.polar(torch.ones(1).double(), t[:, None].double() * w)
    return torch.cat([turn.imag, turn.real], 1)


def code_in_numpy(t, dim):
    w = 10000 ** (-2 * np.arange(dim // 2) / dim)
    angle = np.outer(t.numpy(), w)
    return np.hstack([np.sin(angle), np.cos(angle)])


@pytest.mark.parametrize(
    "right", [time_embedding, code_by_exponentials, code_by_complex_numbers, code_in_numpy]
)
def test_sinusoidal_by_another_route(right):
    accepts("13-e3", right)


def test_a_thousand_times_have_a_thousand_codes():
    codes = sinusoidal(torch.arange(1000), 16).double()
    assert codes.abs().max() <= 1
    assert torch.pdist(codes).min() > 0.1


def _waves(t, w):
    angle = t[:, None] * w
    return torch.cat([angle.sin(), angle.cos()], 1)


def _cosines_first(t, dim):
    return sinusoidal(t, dim).roll(dim // 2, 1)


def _in_turn(t, dim):
    return sinusoidal(t, dim).view(len(t), 2, dim // 2).transpose(1, 2).flatten(1)


def _sines_only(t, dim):
    return (t[:, None] * 10000 ** (-torch.arange(dim) / dim)).sin()


def _t_between_0_and_1(t, dim):
    return _waves(t / 1000, 10000 ** (-torch.arange(dim // 2) / (dim // 2)))


def _in_turns(t, dim):
    return _waves(2 * math.pi * t, 10000 ** (-torch.arange(dim // 2) / (dim // 2)))


def _from_one(t, dim):
    return _waves(t, 10000 ** (-torch.arange(1, dim // 2 + 1) / (dim // 2)))


def _powers_grow(t, dim):
    return _waves(t, 10000 ** (torch.arange(dim // 2).flip(0) / (dim // 2)) / 100)


def _integer_division(t, dim):
    return _waves(t, 10000.0 ** (-(torch.arange(dim // 2) // (dim // 2))))


def _minus_binds_first(t, dim):
    return _waves(t, 10000.0 ** (-torch.arange(dim // 2) // (dim // 2)))


def _pairs_of_columns(t, dim):
    return _waves(t, 10000.0 ** (-(torch.arange(dim // 2) // 2) * 2 / (dim // 2)))


def _linear_frequencies(t, dim):
    return _waves(t, 1 - torch.arange(dim // 2) / (dim // 2))


def _whole_frequencies(t, dim):
    return _waves(t, torch.arange(1, dim // 2 + 1))


def _harmonics(t, dim):
    return _waves(t, 1 / torch.arange(1, dim // 2 + 1))


def _slowest_is_1_by_10000(t, dim):
    return _waves(t, torch.logspace(0, -4, dim // 2))


def _divided_by_dim(t, dim):
    return _waves(t, 10000 ** (-torch.arange(dim // 2) / dim))


def _base_1000(t, dim):
    return _waves(t, 1000 ** (-torch.arange(dim // 2) / (dim // 2)))


def _base_e(t, dim):
    return _waves(t, torch.exp(-torch.arange(dim // 2) / (dim // 2)))


def _half_a_code(t, dim):
    return (t[:, None] * 10000 ** (-torch.arange(dim // 2) / (dim // 2))).sin()


@_mistakes(
    (_cosines_first, "all the sines come first"),
    (_in_turn, "not in turn"),
    (_sines_only, "all the sines come first"),
    (_t_between_0_and_1, "Is t scaled"),
    (_in_turns, "turns instead of radians"),
    (_from_one, "does i begin at 1?"),
    (_powers_grow, "column 0 is sin(t)"),
    (_integer_division, "you want /"),
    (_minus_binds_first, "you want /"),
    (_pairs_of_columns, "a frequency of its own"),
    (_linear_frequencies, "t and t + k collide"),
    (_whole_frequencies, "t and t + k collide"),
    (_harmonics, "one and the same factor"),
    (_slowest_is_1_by_10000, "not 1/10000 itself"),
    (_divided_by_dim, "divided by dim/2"),
    (_base_1000, "the base is 10000"),
    (_base_e, "the base is 10000"),
    (_half_a_code, "the form"),
)
def test_sinusoidal_mistakes_meet_their_hint(wrong, hint):
    rejects("13-e3", wrong, hint)


# 13-e4 adagn


def _grouped(h, groups):
    return h.reshape(len(h), groups, -1)


def _normalised(h, groups, eps=1e-5, **how):
    g = _grouped(h, groups)
    g = (g - g.mean(2, keepdim=True)) / (g.var(2, keepdim=True, correction=0, **how) + eps).sqrt()
    return g.view_as(h)


def adagn_by_hand(h, scale, shift, groups):
    scale, shift = scale[..., None, None], shift[..., None, None]
    return _normalised(h, groups, eps=1e-6) * (1 + scale) + shift


def adagn_by_the_layer(h, scale, shift, groups):
    layer = nn.GroupNorm(groups, h.shape[1], affine=False)
    n = layer(h)
    return torch.einsum("bchw,bc->bchw", n, 1 + scale) + shift.view(*shift.shape, 1, 1)


def adagn_one_by_one(h, scale, shift, groups):
    norm, each = nn.functional.group_norm, range(len(h))
    rows = [norm(h[b : b + 1], groups, weight=1 + scale[b], bias=shift[b]) for b in each]
    return torch.cat(rows)


def adagn_in_float32(h, scale, shift, groups):
    return adagn(h.float(), scale.float(), shift.float(), groups)


@pytest.mark.parametrize(
    "right", [adagn_by_hand, adagn_by_the_layer, adagn_one_by_one, adagn_in_float32]
)
def test_adagn_by_another_route(right):
    accepts("13-e4", right)


def _steered(normal, scale, shift):
    return normal * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


def _scale_without_one(h, scale, shift, groups):
    return _steered(_normalised(h, groups), scale - 1, shift)


def _batch_norm(h, scale, shift, groups):
    return _steered(nn.functional.batch_norm(h, None, None, training=True), scale, shift)


def _groups_over_the_batch(h, scale, shift, groups):
    g = h.reshape(len(h), groups, -1)
    spread = g.var((0, 2), keepdim=True, correction=0) + 1e-5
    return _steered(((g - g.mean((0, 2), keepdim=True)) / spread.sqrt()).view_as(h), scale, shift)


def _instance_norm(h, scale, shift, groups):
    return adagn(h, scale, shift, h.shape[1])


def _layer_norm(h, scale, shift, groups):
    return adagn(h, scale, shift, 1)


def _not_normalised(h, scale, shift, groups):
    return _steered(h, scale, shift)


def _groups_in_turn(h, scale, shift, groups):
    order = torch.arange(h.shape[1]).view(-1, groups).T.flatten()
    return _steered(_normalised(h[:, order], groups)[:, order.argsort()], scale, shift)


def _unbiased(h, scale, shift, groups):
    g = _grouped(h, groups)
    g = (g - g.mean(2, keepdim=True)) / (g.var(2, keepdim=True) + 1e-5).sqrt()
    return _steered(g.view_as(h), scale, shift)


def _pixels_apart(h, scale, shift, groups):
    g = h.view(len(h), groups, -1, *h.shape[2:])
    n = (g - g.mean(2, keepdim=True)) / (g.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
    return _steered(n.view_as(h), scale, shift)


def _divided_by_the_variance(h, scale, shift, groups):
    g = _grouped(h, groups)
    g = (g - g.mean(2, keepdim=True)) / (g.var(2, keepdim=True, correction=0) + 1e-5)
    return _steered(g.view_as(h), scale, shift)


def _steered_before_the_norm(h, scale, shift, groups):
    return _normalised(_steered(h, scale, shift), groups)


def _shift_scaled_too(h, scale, shift, groups):
    wide = (slice(None), slice(None), None, None)
    return (_normalised(h, groups) + shift[wide]) * (1 + scale[wide])


def _scale_and_shift_exchanged(h, scale, shift, groups):
    return adagn(h, shift, scale, groups)


def _along_the_pixels(h, scale, shift, groups):
    return (
        _normalised(h, groups) * (1 + scale) + shift if len(h) == 4 else h * 0 + _still(h, groups)
    )


def _still(h, groups):
    return _normalised(h, groups)


def _first_examples_code(h, scale, shift, groups):
    return _steered(_normalised(h, groups), scale[:1], shift[:1])


def _shift_left_out(h, scale, shift, groups):
    return _steered(_normalised(h, groups), scale, 0 * shift)


def _nothing_under_the_root(h, scale, shift, groups):
    return _steered(_normalised(h, groups, eps=0), scale, shift)


def _much_under_the_root(h, scale, shift, groups):
    return _steered(_normalised(h, groups, eps=0.1), scale, shift)


def _one_code_per_example(h, scale, shift, groups):
    return adagn(h, scale, shift, groups).mean((2, 3))


def _adagn_in_numpy(h, scale, shift, groups):
    return adagn(h.detach(), scale.detach(), shift.detach(), groups).numpy()


def _statistics_cut_off(h, scale, shift, groups):
    g = _grouped(h, groups)
    mean, var = g.mean(2, keepdim=True).detach(), g.var(2, keepdim=True, correction=0).detach()
    return _steered(((g - mean) / (var + 1e-5).sqrt()).view_as(h), scale, shift)


def _scale_cut_off(h, scale, shift, groups):
    return adagn(h, scale.detach(), shift, groups)


def _ones(h, scale, shift, groups):
    return torch.ones_like(h)


@_mistakes(
    (_adagn_in_numpy, "A layer is trained through"),
    (_statistics_cut_off, "A layer is trained through"),
    (_scale_cut_off, "A layer is trained through"),
    (_ones, "use 1 + scale"),
    (_scale_without_one, "use 1 + scale"),
    (_batch_norm, "that is batch norm"),
    (_groups_over_the_batch, "that is batch norm"),
    (_instance_norm, "not over one channel"),
    (_layer_norm, "not over all"),
    (_not_normalised, "Mean and variance are taken over"),
    (_groups_in_turn, "stand side by side"),
    (_unbiased, "the biased one"),
    (_pixels_apart, "over all pixels"),
    (_divided_by_the_variance, "Mean and variance are taken over"),
    (_steered_before_the_norm, "Normalise first"),
    (_shift_scaled_too, "then plus shift"),
    (_scale_and_shift_exchanged, "Normalise first"),
    (_along_the_pixels, "the last two need a 1 each"),
    (_first_examples_code, "they belong to the first two axes"),
    (_shift_left_out, "then plus shift"),
    (_nothing_under_the_root, "0/0 NaN"),
    (_much_under_the_root, "under the root 1e-5"),
    (_one_code_per_example, "the form"),
)
def test_adagn_mistakes_meet_their_hint(wrong, hint):
    rejects("13-e4", wrong, hint)


# 13-e5 cosine_schedule


def cosine_by_a_loop(T, s):
    def f(t):
        return math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2

    beta = [0.0] + [min(1 - f(t) / f(t - 1), 0.999) for t in range(1, T + 1)]
    return torch.tensor([f(t) / f(0) for t in range(T + 1)]), torch.tensor(beta)


def cosine_in_numpy(T, s):
    angle = (np.linspace(0, 1, T + 1) + s) / (1 + s) * np.pi / 2
    alpha_bar = np.cos(angle) ** 2 / np.cos(angle[0]) ** 2
    before = np.r_[1, alpha_bar[:-1]]
    return [alpha_bar, np.minimum(1 - alpha_bar / before, 0.999)]


def cosine_in_float32(T, s):
    u = torch.arange(T + 1) / T
    f = torch.cos((u + s) / (1 + s) * math.pi / 2).square()
    alpha_bar = f / f[0]
    beta = torch.zeros(T + 1)
    beta[1:] = torch.clip(1 - alpha_bar[1:] / alpha_bar[:-1], 0, 0.999)
    return alpha_bar, beta


@pytest.mark.parametrize("right", [cosine_by_a_loop, cosine_in_numpy, cosine_in_float32])
def test_cosine_schedule_by_another_route(right):
    accepts("13-e5", right)


def test_cosine_schedule_equals_the_packages():
    alpha_bar, beta = cosine_schedule(1000, 0.008)
    package = NoiseSchedule.cosine(1000)
    torch.testing.assert_close(beta, package.beta, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(alpha_bar[:-1], package.alpha_bar[:-1], rtol=1e-10, atol=1e-12)


def _with_beta(alpha_bar, beta):
    return alpha_bar, torch.cat([beta.new_zeros(1), beta])


def _not_divided_by_f0(T, s):
    f = torch.cos((torch.arange(T + 1) / T + s) / (1 + s) * math.pi / 2) ** 2
    return f, cosine_schedule(T, s)[1]


def _beta_first(T, s):
    return cosine_schedule(T, s)[::-1]


def _cosine_not_squared(T, s):
    alpha_bar = cosine_schedule(T, s)[0].sqrt()
    return _with_beta(alpha_bar, (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999))


def _no_s(T, s):
    return cosine_schedule(T, 0.0)


def _s_above_only(T, s):
    f = torch.cos((torch.arange(T + 1) / T + s) * math.pi / 2) ** 2
    return f / f[0], cosine_schedule(T, s)[1]


def _all_of_pi(T, s):
    f = torch.cos((torch.arange(T + 1) / T + s) / (1 + s) * math.pi) ** 2
    return f / f[0], cosine_schedule(T, s)[1]


def _differences(T, s):
    alpha_bar, _ = cosine_schedule(T, s)
    return _with_beta(alpha_bar, alpha_bar[:-1] - alpha_bar[1:])


def _alpha_for_beta(T, s):
    alpha_bar, beta = cosine_schedule(T, s)
    return alpha_bar, torch.cat([beta[:1], 1 - beta[1:]])


def _one_minus_alpha_bar(T, s):
    alpha_bar, _ = cosine_schedule(T, s)
    return alpha_bar, (1 - alpha_bar).clamp(max=0.999)


def _shifted(T, s):
    alpha_bar, beta = cosine_schedule(T, s)
    return alpha_bar, torch.cat([beta[1:], beta[-1:]])


def _ratio_upside_down(T, s):
    alpha_bar, _ = cosine_schedule(T, s)
    return _with_beta(alpha_bar, (1 - alpha_bar[:-1] / alpha_bar[1:]).clamp(max=0.999))


def _not_clipped(T, s):
    alpha_bar, _ = cosine_schedule(T, s)
    return _with_beta(alpha_bar, 1 - alpha_bar[1:] / alpha_bar[:-1])


def _clipped_at_99_percent(T, s):
    alpha_bar, beta = cosine_schedule(T, s)
    return alpha_bar, beta.clamp(max=0.99)


def _no_beta_0(T, s):
    alpha_bar, beta = cosine_schedule(T, s)
    return alpha_bar, beta[1:]


def _alpha_bar_of_the_capped_beta(T, s):
    schedule = NoiseSchedule.cosine(T, s)
    return schedule.alpha_bar, schedule.beta


def _clamped_above_0(T, s):
    alpha_bar, beta = cosine_schedule(T, s)
    return alpha_bar.clamp(min=1e-6), beta


def _always_clean(T, s):
    return torch.ones(T + 1), torch.zeros(T + 1)


@_mistakes(
    (_alpha_bar_of_the_capped_beta, "a little more"),
    (_clamped_above_0, "with no clamp"),
    (_always_clean, "It starts below 1"),
    (_not_divided_by_f0, "It starts below 1"),
    (_beta_first, "comes first in the pair"),
    (_cosine_not_squared, "Is the cosine squared?"),
    (_no_s, "Is s added above and below"),
    (_s_above_only, "Is s added above and below"),
    (_all_of_pi, "the factor pi/2"),
    (_shifted, "No step leads to t = 0"),
    (_differences, "Use 1 minus a ratio"),
    (_alpha_for_beta, "Use 1 minus a ratio"),
    (_one_minus_alpha_bar, "Use 1 minus a ratio"),
    (_ratio_upside_down, "Use 1 minus a ratio"),
    (_not_clipped, "at 0.999"),
    (_clipped_at_99_percent, "at 0.999"),
    (_no_beta_0, "the form"),
)
def test_cosine_schedule_mistakes_meet_their_hint(wrong, hint):
    rejects("13-e5", wrong, hint)


# 13-e6 learned_log_var


def log_var_by_lerp(v, beta, beta_tilde):
    low = torch.where(beta_tilde < 1e-20, 1e-20, beta_tilde)
    return torch.lerp(_column(low.log(), v), _column(beta.log(), v), v)


def log_var_row_by_row(v, beta, beta_tilde):
    rows = zip(v, beta.tolist(), beta_tilde.tolist(), strict=True)
    return torch.stack(
        [math.log(max(c, 1e-20)) + r * (math.log(b) - math.log(max(c, 1e-20))) for r, b, c in rows]
    )


def log_var_of_the_geometric_mean(v, beta, beta_tilde):
    high, low = _column(beta, v), _column(beta_tilde + 1e-20, v)
    return torch.log(high**v * low ** (1 - v))


@pytest.mark.parametrize(
    "right", [log_var_by_lerp, log_var_row_by_row, log_var_of_the_geometric_mean]
)
def test_learned_log_var_by_another_route(right):
    accepts("13-e6", right)


def test_learned_log_var_equals_the_packages_from_t_2():
    """At t = 1 the package takes beta_tilde_2, which a single row does not know."""
    schedule, t = NoiseSchedule.cosine(50), torch.tensor([2, 7, 30, 50])
    v = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    right = diffusion.learned_log_var(schedule, v, t)
    torch.testing.assert_close(learned_log_var(v, schedule.beta[t], schedule.beta_tilde[t]), right)


def _ends_exchanged(v, beta, beta_tilde):
    return learned_log_var(1 - v, beta, beta_tilde)


def _variance(v, beta, beta_tilde):
    return learned_log_var(v, beta, beta_tilde).exp()


def _log_sd(v, beta, beta_tilde):
    return learned_log_var(v, beta, beta_tilde) / 2


def _linear_in_the_variance(v, beta, beta_tilde):
    return torch.log(v * _column(beta, v) + (1 - v) * _column(beta_tilde, v))


def _linear_in_the_sd(v, beta, beta_tilde):
    sd = v * _column(beta, v).sqrt() + (1 - v) * _column(beta_tilde, v).sqrt()
    return 2 * sd.log()


def _v_from_minus_1_to_1(v, beta, beta_tilde):
    return learned_log_var((v + 1) / 2, beta, beta_tilde)


def _squared_v(v, beta, beta_tilde):
    return learned_log_var(v**2, beta, beta_tilde)


def _first_rows_beta(v, beta, beta_tilde):
    return learned_log_var(v, beta[:1], beta_tilde[:1])


def _along_the_columns(v, beta, beta_tilde):
    return v * beta.log() + (1 - v) * beta_tilde.clamp(min=1e-20).log()


def _two_axes_only(v, beta, beta_tilde):
    return v * beta.log()[:, None] + (1 - v) * beta_tilde.clamp(min=1e-20).log()[:, None]


def _log_of_zero(v, beta, beta_tilde):
    return v * _column(beta, v).log() + (1 - v) * _column(beta_tilde, v).log()


def _clipped_at_a_millionth(v, beta, beta_tilde):
    return learned_log_var(v, beta, beta_tilde.clamp(min=1e-6))


def _beta_where_it_is_zero(v, beta, beta_tilde):
    return learned_log_var(v, beta, torch.where(beta_tilde > 0, beta_tilde, beta))


def _cut_off(v, beta, beta_tilde):
    return learned_log_var(v.detach(), beta, beta_tilde)


def _mean_of_the_pixels(v, beta, beta_tilde):
    return learned_log_var(v, beta, beta_tilde).flatten(1).mean(1)


def _log_var_in_numpy(v, beta, beta_tilde):
    return learned_log_var(v.detach(), beta, beta_tilde).numpy()


def _number_added_to_both(v, beta, beta_tilde):
    return learned_log_var(v, beta + 1e-8, beta_tilde + 1e-8)


@_mistakes(
    (_log_var_in_numpy, "takes the result off its graph"),
    (_number_added_to_both, "was a small number added?"),
    (_ends_exchanged, "Which one does v weigh?"),
    (_variance, "Asked is the logarithm of a variance"),
    (_log_sd, "not a standard deviation"),
    (_v_from_minus_1_to_1, "Which one does v weigh?"),
    (_linear_in_the_variance, "must be the geometric mean"),
    (_linear_in_the_sd, "must be the geometric mean"),
    (_squared_v, "must be the geometric mean"),
    (_first_rows_beta, "Right where all rows have one beta"),
    (_along_the_columns, "Right where all rows have one beta"),
    (_two_axes_only, "run along pixels"),
    (_log_of_zero, "log 0 is -inf"),
    (_clipped_at_a_millionth, "at 1e-20"),
    (_beta_where_it_is_zero, "at 1e-20"),
    (_cut_off, "takes the result off its graph"),
    (_mean_of_the_pixels, "the form"),
)
def test_learned_log_var_mistakes_meet_their_hint(wrong, hint):
    rejects("13-e6", wrong, hint)
