"""Lesson 02: right answers by other routes pass, every known mistake meets its own hint."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course_utils import autoregressive
from course_utils.exercises import find
from tests.exercises.harness import accepts, rejects

fit_ar, conv_mask, is_causal, bits_per_dim, sample_image, disc_logistic_logp = (
    find(f"02-e{number}").reference for number in range(1, 7)
)


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[wrong.__name__ for wrong, _ in pairs]
    )


def zero(*arguments):
    return 0.0


# 02-e1 fit_ar


def fit_by_normal_equations(x, p):
    A = torch.stack([torch.ones(len(x) - p).double(), *(x[p - k : -k] for k in range(1, p + 1))])
    theta = torch.linalg.solve(A @ A.T, A @ x[p:])
    return theta[0], theta[1:], ((x[p:] - theta @ A) ** 2).mean()


def fit_in_numpy(x, p):
    x = x.numpy()
    rows = np.lib.stride_tricks.sliding_window_view(x, p + 1)[:, ::-1]
    A = np.hstack([np.ones((len(rows), 1)), rows[:, 1:]])
    theta, *_ = np.linalg.lstsq(A, rows[:, 0], rcond=None)
    return theta[0], theta[1:], np.mean((rows[:, 0] - A @ theta) ** 2)


@pytest.mark.parametrize("right", [fit_by_normal_equations, fit_in_numpy])
def test_fit_ar_by_another_route(right):
    accepts("02-e1", right)


def _off_by_one_lag(x, p):
    lags = [x[p - k + 1 : len(x) - k + 1] for k in range(1, p + 1)]
    A = torch.stack([torch.ones_like(x[p:]), *lags], dim=1)
    theta = torch.linalg.lstsq(A, x[p:, None]).solution[:, 0]
    return theta[0], theta[1:], (x[p:] - A @ theta).square().mean()


def _phi_turned_round(x, p):
    c, phi, s2 = fit_ar(x, p)
    return c, phi.flip(0), s2


def _no_intercept(x, p):
    A = torch.stack([x[p - k : len(x) - k] for k in range(1, p + 1)], dim=1)
    phi = torch.linalg.lstsq(A, x[p:, None]).solution[:, 0]
    return torch.zeros(()).double(), phi, (x[p:] - A @ phi).square().mean()


def _c_is_the_mean(x, p):
    _, phi, s2 = fit_ar(x, p)
    return x.mean(), phi, s2


def _standard_deviation(x, p):
    c, phi, s2 = fit_ar(x, p)
    return c, phi, s2.sqrt()


def _sum_of_squares(x, p):
    c, phi, s2 = fit_ar(x, p)
    return c, phi, s2 * (len(x) - p)


def _unbiased(x, p):
    c, phi, s2 = fit_ar(x, p)
    return c, phi, s2 * (len(x) - p) / (len(x) - 2 * p - 1)


def _always_two_lags(x, p):
    return fit_ar(x, 2)


def _a_little_more(x, p):
    c, phi, s2 = fit_ar(x, p)
    return c, phi, s2 + 1e-3


@_mistakes(
    (_off_by_one_lag, "Is one of them shifted by one"),
    (_phi_turned_round, "Is one of them shifted by one"),
    (_no_intercept, "Is one of them shifted by one"),
    (_c_is_the_mean, "On a mean-shifted series"),
    (_standard_deviation, "s2 is a variance"),
    (_sum_of_squares, "s2 is a variance"),
    (_unbiased, "s2 is a variance"),
    (_a_little_more, "s2 is a variance"),
    (_always_two_lags, "p is an argument"),
)
def test_fit_ar_mistakes_meet_their_hint(wrong, hint):
    rejects("02-e1", wrong, hint)


# 02-e2 conv_mask


def mask_by_counting(k, kind):
    place = torch.arange(k * k).reshape(k, k)
    return (place < k * k // 2 + (kind == "B")).double()


def mask_in_numpy(k, kind):
    rows, columns = np.indices((k, k)) - k // 2
    return ((rows < 0) | ((rows == 0) & (columns < (kind == "B")))).astype(float)


@pytest.mark.parametrize("right", [mask_by_counting, mask_in_numpy, autoregressive.conv_mask])
def test_conv_mask_by_another_route(right):
    accepts("02-e2", right)


def _kinds_swapped(k, kind):
    return conv_mask(k, "B" if kind == "A" else "A")


def _always_b(k, kind):
    return conv_mask(k, "B")


def _always_a(k, kind):
    return conv_mask(k, "A")


def _whole_row(k, kind):
    mask = conv_mask(k, kind)
    mask[k // 2, k // 2 + 1 :] = 1
    return mask


def _lower_triangle(k, kind):
    return torch.tril(torch.ones(k, k), -1 if kind == "A" else 0)


def _transposed(k, kind):
    return conv_mask(k, kind).T


def _only_above(k, kind):
    mask = torch.zeros(k, k)
    mask[: k // 2] = 1
    mask[k // 2, k // 2] = float(kind == "B")
    return mask


def _upper_left_corner(k, kind):
    mask = conv_mask(k, kind)
    mask[: k // 2, k // 2 + 1 :] = 0
    return mask


def _three_by_three(k, kind):
    mask, at = torch.zeros(k, k), k // 2
    mask[at - 1 : at + 2, at - 1 : at + 2] = conv_mask(3, kind)
    return mask if k > 1 else conv_mask(1, kind)


def _up_to_five(k, kind):
    return conv_mask(min(k, 5), kind)


@_mistakes(
    (_kinds_swapped, "the pixel sees itself"),
    (_always_b, "the pixel sees itself"),
    (_always_a, "Kind B is for later layers"),
    (_whole_row, "Raster order"),
    (_lower_triangle, "Raster order"),
    (_transposed, "Raster order"),
    (_only_above, "Before the centre come all rows"),
    (_upper_left_corner, "Before the centre come all rows"),
    (_three_by_three, "Before the centre come all rows"),
    (_up_to_five, "the form"),
    (zero, "the form"),
)
def test_conv_mask_mistakes_meet_their_hint(wrong, hint):
    rejects("02-e2", wrong, hint)


# 02-e3 is_causal


def causal_by_one_backward_pass_per_output(net, shape):
    x = torch.randn(1, 1, *shape, requires_grad=True)
    out = net(x)
    for k in range(out.shape[1]):
        for i in range(shape[0] * shape[1]):
            (grad,) = torch.autograd.grad(out[0, k].flatten()[i], x, retain_graph=True)
            if grad.flatten()[i:].any():
                return False
    return True


def test_is_causal_by_another_route():
    accepts("02-e3", causal_by_one_backward_pass_per_output)


def _table(net, shape):
    n = shape[0] * shape[1]
    J = torch.autograd.functional.jacobian(net, torch.rand(1, 1, *shape))
    return J.sum((0, 4, 5)).reshape(-1, n, n)  # channel, output pixel, input pixel


def _wrong_triangle(net, shape):
    return not bool(_table(net, shape).abs().sum(0).tril().any())


def _the_pixel_itself_is_allowed(net, shape):
    return not bool(_table(net, shape).abs().sum(0).triu(1).any())


def _first_pixel_only(net, shape):
    return not bool(_table(net, shape).abs().sum(0)[0].any())


def _sum_over_channels(net, shape):
    return not bool(_table(net, shape).sum(0).triu().any())


def _first_channel_only(net, shape):
    J = torch.autograd.functional.jacobian(lambda x: net(x)[:, :1], torch.rand(1, 1, *shape))
    rows = J.sum((0, 1, 4, 5)).reshape(-1, shape[0] * shape[1])
    return not bool(rows[:-1].triu().any())


def _a_common_change(net, shape):
    x, n = torch.rand(1, 1, *shape), shape[0] * shape[1]
    for i in range(n):
        changed = x.clone()
        changed.view(-1)[i:] += 0.5
        if not torch.allclose(net(x).flatten(2)[..., i], net(changed).flatten(2)[..., i]):
            return False
    return True


def _tolerant(net, shape):
    return not bool((_table(net, shape).abs().sum(0).triu() > 1e-3).any())


def _always(net, shape):
    return True


def _never(net, shape):
    return False


def _a_number(net, shape):
    return float(is_causal(net, shape))


@_mistakes(
    (_wrong_triangle, "which triangle"),
    (_never, "which triangle"),
    (_the_pixel_itself_is_allowed, "each pixel sees itself"),
    (_always, "each pixel sees itself"),
    (_first_pixel_only, "Scan every output"),
    (_sum_over_channels, "Scan every output"),
    (_first_channel_only, "Scan every output"),
    (_tolerant, "compare with 0"),
    (_a_number, "the form"),
)
def test_is_causal_mistakes_meet_their_hint(wrong, hint):
    rejects("02-e3", wrong, hint)


def test_a_common_change_of_later_pixels_hides_a_difference():
    rejects("02-e3", _a_common_change, "a change can cancel")


# 02-e4 bits_per_dim


def bits_by_log2_of_e(nll, shape):
    return nll * math.log2(math.e) / (shape[0] * shape[1] * shape[2])


def test_bits_per_dim_by_another_route():
    accepts("02-e4", bits_by_log2_of_e)


def _nats(nll, shape):
    return nll / math.prod(shape)


def _times_log_two(nll, shape):
    return nll * math.log(2) / math.prod(shape)


def _bits_per_image(nll, shape):
    return nll / math.log(2)


def _pixels(nll, shape):
    return nll / (shape[1] * shape[2] * math.log(2))


def _mean(nll, shape):
    return bits_per_dim(nll, shape).mean()


def _mean_everywhere(nll, shape):
    return bits_per_dim(nll, shape).mean().expand(len(nll))


def _positive(nll, shape):
    return bits_per_dim(nll, shape).abs()


def _no_gradient(nll, shape):
    return bits_per_dim(nll.detach(), shape)


def _minus(nll, shape):
    return -bits_per_dim(nll, shape)


def _a_little_too_much(nll, shape):
    return bits_per_dim(nll, shape) + 1e-4


@_mistakes(
    (_nats, "Uniform bits must cost exactly 1"),
    (_times_log_two, "Uniform bits must cost exactly 1"),
    (_bits_per_image, "Uniform bits must cost exactly 1"),
    (_minus, "Uniform bits must cost exactly 1"),
    (_a_little_too_much, "Uniform bits must cost exactly 1"),
    (_pixels, "Dimensions are numbers"),
    (_mean, "the form"),
    (_mean_everywhere, "Dimensions are numbers"),
    (_positive, "One value for each image"),
    (_no_gradient, "Stay in torch"),
    (zero, "the form"),
)
def test_bits_per_dim_mistakes_meet_their_hint(wrong, hint):
    rejects("02-e4", wrong, hint)


# 02-e5 sample_image


def image_by_uniform_numbers(net, shape, rng):
    x = torch.zeros(1, 1, *shape)
    for i in range(shape[0] * shape[1]):
        law = net(x).flatten(2)[0, :, i].softmax(0)
        u = torch.rand((), generator=rng)
        x.view(-1)[i] = float((law.cumsum(0) < u).sum().clamp(max=len(law) - 1))
    return x


def image_by_the_gumbel_trick(net, shape, rng):
    x = torch.zeros(1, 1, *shape)
    for i in range(shape[0] * shape[1]):
        logits = net(x).flatten(2)[0, :, i]
        gumbel = -(-torch.rand(logits.shape, generator=rng).log()).log()
        x.view(-1)[i] = float((logits + gumbel).argmax())
    return x


@pytest.mark.parametrize("right", [image_by_uniform_numbers, image_by_the_gumbel_trick])
def test_sample_image_by_another_route(right):
    accepts("02-e5", right)


def _loop(name, draw, order=lambda h, w: range(h * w)):
    def answer(net, shape, rng):
        x = torch.zeros(1, 1, *shape)
        for i in order(*shape):
            x.view(-1)[i] = float(draw(net(x).flatten(2)[0, :, i], rng))
        return x

    answer.__name__ = name
    return answer


def _draw(law, rng):
    return torch.multinomial(law, 1, generator=rng)


def _one_pass(net, shape, rng):
    law = net(torch.zeros(1, 1, *shape))[0].flatten(1).softmax(0).T
    return _draw(law, rng).reshape(1, 1, *shape).float()


def _a_pass_more(net, shape, rng):
    net(torch.zeros(1, 1, *shape))
    return sample_image(net, shape, rng)


def _a_row_at_a_time(net, shape, rng):
    x = torch.zeros(1, 1, *shape)
    for row in range(shape[0]):
        law = net(x)[0, :, row].softmax(0).T
        x[0, 0, row] = _draw(law, rng)[:, 0].float()
    return x


_no_generator = _loop("no_generator", lambda logits, rng: torch.multinomial(logits.softmax(0), 1))
_squares = _loop("squares", lambda logits, rng: _draw(logits.softmax(0) ** 2, rng))
_argmax = _loop("argmax", lambda logits, rng: logits.argmax())
_columns_first = _loop(
    "columns_first",
    lambda logits, rng: _draw(logits.softmax(0), rng),
    lambda h, w: [r * w + c for c in range(w) for r in range(h)],
)
_backwards = _loop(
    "backwards",
    lambda logits, rng: _draw(logits.softmax(0), rng),
    lambda h, w: range(h * w - 1, -1, -1),
)
_sigmoids = _loop("sigmoids", lambda logits, rng: _draw(logits.clamp(-30, 30).sigmoid(), rng))
_flat = _loop("flat", lambda logits, rng: _draw((logits / 2).softmax(0), rng))
_fixed_seed = _loop(
    "fixed_seed", lambda logits, rng: _draw(logits.softmax(0), torch.Generator().manual_seed(3))
)


def _blind_to_the_draws(net, shape, rng):
    """The law of each pixel where the pixels before it took their likeliest levels."""
    if shape != (1, 8):
        return sample_image(net, shape, rng)
    best, x = _argmax(net, shape, rng), torch.zeros(1, 1, *shape)
    law = net(best)[0].flatten(1).softmax(0).T
    x.view(-1)[:] = _draw(law, rng)[:, 0].float()
    return x


@_mistakes(
    (_one_pass, "Pixel 2 must see"),
    (_a_row_at_a_time, "Pixel 2 must see"),
    (_columns_first, "Pixel 2 must see"),
    (_backwards, "Pixel 2 must see"),
    (_sigmoids, "Pixel 2 must see"),
    (_a_pass_more, "Count: 64 passes"),
    (_argmax, "Two seeds must give two images"),
    (_no_generator, "Two seeds must give two images"),
    (_fixed_seed, "Two seeds must give two images"),
    (_flat, "softmax over the K channels"),
    (_squares, "softmax over the K channels"),
    (_blind_to_the_draws, "The law of a pixel is at"),
    (zero, "the form"),
)
def test_sample_image_mistakes_meet_their_hint(wrong, hint):
    rejects("02-e5", wrong, hint, most=4)


# 02-e6 disc_logistic_logp


def logistic_by_package(x, mu, s, levels):
    return autoregressive.discretised_logistic_log_prob(x, mu, s, levels)


def logistic_by_softplus(x, mu, s, levels):
    h = 1 / (levels - 1)
    c = 2 * h * x - 1
    u, low = (c + h - mu) / s, (c - h - mu) / s
    inside = -F.softplus(-u) - F.softplus(low) + torch.log1p(-torch.exp(low - u))
    ends = torch.where(x < 0.5, -F.softplus(-u), -F.softplus(low))
    return torch.where((x < 0.5) | (x > levels - 1.5), ends, inside)


@pytest.mark.parametrize("right", [logistic_by_package, logistic_by_softplus])
def test_disc_logistic_by_another_route(right):
    accepts("02-e6", right)


def _cdfs(x, mu, s, levels, edges=True):
    h = 1 / (levels - 1)
    c = 2 * h * x - 1
    u, low = torch.sigmoid((c + h - mu) / s), torch.sigmoid((c - h - mu) / s)
    if edges:
        u, low = torch.where(x == levels - 1, 1.0, u), torch.where(x == 0, 0.0, low)
    return u - low


def _no_edges(x, mu, s, levels):
    return _cdfs(x, mu, s, levels, edges=False).log()


def _plain_difference(x, mu, s, levels):
    return _cdfs(x, mu, s, levels).log()


def _clamped(x, mu, s, levels):
    return _cdfs(x, mu, s, levels).clamp(min=1e-12).log()


def _density(x, mu, s, levels):
    c = (2 * x / (levels - 1) - 1 - mu) / s
    return F.logsigmoid(c) + F.logsigmoid(-c) - s.log()


def _mass_not_its_log(x, mu, s, levels):
    return _cdfs(x, mu, s, levels)


def _bins_twice_as_wide(x, mu, s, levels):
    return disc_logistic_logp(x, mu, s, levels) + math.log(2)


def _half_bins(x, mu, s, levels):
    return _cdfs(x, mu, 2 * s, levels).log()


def _seventeen(x, mu, s, levels):
    return disc_logistic_logp(x, mu, s, 17)


def _no_gradient_here(x, mu, s, levels):
    return disc_logistic_logp(x, mu.detach(), s, levels)


def _lower_edge_only(x, mu, s, levels):
    right, no = disc_logistic_logp(x, mu, s, levels), _no_edges(x, mu, s, levels)
    return torch.where(x == levels - 1, no, right)


@_mistakes(
    (_density, "A density is no mass"),
    (_mass_not_its_log, "A density is no mass"),
    (_bins_twice_as_wide, "A density is no mass"),
    (_half_bins, "A density is no mass"),
    (_no_edges, "It belongs to the first and the last bin"),
    (_lower_edge_only, "It belongs to the first and the last bin"),
    (_seventeen, "levels is an argument"),
    (_plain_difference, "log 0 is -inf"),
    (_clamped, "log 0 is -inf"),
    (_no_gradient_here, "A network learns mu"),
    (zero, "the form"),
)
def test_disc_logistic_mistakes_meet_their_hint(wrong, hint):
    rejects("02-e6", wrong, hint)
