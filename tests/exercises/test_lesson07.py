"""Lesson 07: right answers by other routes pass, every known mistake meets its own hint."""

import numpy as np
import pytest
import torch

from course_utils import vq
from course_utils.exercises import find
from tests.exercises.harness import accepts, rejects

quantise, straight_through, vq_losses, perplexity, cft = (
    find(f"07-e{number}").reference for number in range(1, 6)
)


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


def test_references_are_the_packages_functions():
    rng = torch.Generator().manual_seed(0)
    z, e = torch.randn(2, 4, 4, 3, generator=rng), torch.randn(7, 3, generator=rng)
    z_q, codes = quantise(z, e)
    assert torch.equal(codes, vq.nearest_code(z, e)) and torch.equal(z_q, e[codes])
    torch.testing.assert_close(straight_through(z, z_q), vq.straight_through(z, z_q))
    assert perplexity(codes, 7) == vq.perplexity(codes, 7)
    seen = vq.Pass(z, z_q, codes, z)
    torch.testing.assert_close(vq_losses(z, z_q, 0.25), 5 * vq.vq_loss(seen, z, 0.25))


# 07-e1 quantise


def quantise_by_scores(z, codebook):
    codes = (z @ codebook.T - codebook.square().sum(dim=1) / 2).argmax(dim=-1)
    return codebook[codes], codes


def quantise_by_cdist(z, codebook):
    codes = torch.cdist(z.reshape(-1, z.shape[-1]), codebook).argmin(dim=1).view(z.shape[:-1])
    return codebook[codes], codes


def quantise_in_numpy(z, codebook):
    z, codebook = z.numpy(), codebook.numpy()
    codes = ((z[..., None, :] - codebook) ** 2).sum(-1).argmin(-1)
    return codebook[codes], codes


@pytest.mark.parametrize("right", [quantise_by_scores, quantise_by_cdist, quantise_in_numpy])
def test_quantise_by_another_route(right):
    accepts("07-e1", right)


def _picked(z, codebook, codes):
    return codebook[codes], codes


def _furthest(z, codebook):
    return _picked(z, codebook, (z.unsqueeze(-2) - codebook).square().sum(-1).argmax(-1))


def _dot_product(z, codebook):
    return _picked(z, codebook, (z @ codebook.T).argmax(-1))


def _cosine(z, codebook):
    units = codebook / codebook.norm(dim=1, keepdim=True)
    return _picked(z, codebook, (z @ units.T).argmax(-1))


def _whole_square(z, codebook):
    return _picked(z, codebook, (z @ codebook.T - codebook.square().sum(1)).argmax(-1))


def _one_hot_rows(z, codebook):
    z_q, codes = quantise(z, codebook)
    return z_q, torch.nn.functional.one_hot(codes, len(codebook))


def _codes_as_floats(z, codebook):
    z_q, codes = quantise(z, codebook)
    return z_q, codes.double()


def _rows_of_z(z, codebook):
    _, codes = quantise(z, codebook)
    return z[codes.clamp(max=len(z) - 1)], codes


def _counted_from_one(z, codebook):
    z_q, codes = quantise(z, codebook)
    return z_q, codes + 1


def _flattened(z, codebook):
    return quantise(z.reshape(-1, z.shape[-1]), codebook)


def _squeezed(z, codebook):
    z_q, codes = quantise(z, codebook)
    return z_q, codes.squeeze()


def _nearest_z_for_each_code(z, codebook):
    codes = torch.cdist(codebook, z.reshape(-1, z.shape[-1])).argmin(dim=1)
    return z.reshape(-1, z.shape[-1])[codes], codes


def _exchanged(z, codebook):
    return quantise(z, codebook)[::-1]


_SEEN = {}


def _remembers_the_first(z, codebook):
    return quantise(z, _SEEN.setdefault(codebook.shape, codebook.clone()))


def _halfway(z, codebook):
    z_q, codes = quantise(z, codebook)
    return (z + z_q) / 2, codes


@_mistakes(
    (_furthest, "the smallest distance"),
    (_cosine, "the smallest distance"),
    (_dot_product, "the smallest distance"),
    (_whole_square, "the smallest distance"),
    (_counted_from_one, "the smallest distance"),
    (_one_hot_rows, "the form"),
    (_codes_as_floats, "the form"),
    (_exchanged, "the form"),
    (_nearest_z_for_each_code, "the form"),
    (_flattened, "the form"),
    (_rows_of_z, "Index the codebook"),
    (_halfway, "Index the codebook"),
    (_squeezed, "the form"),
)
def test_quantise_mistakes_meet_their_hint(wrong, hint):
    rejects("07-e1", wrong, hint)


def test_quantise_that_remembers_a_codebook_is_found():
    _SEEN.clear()
    rejects("07-e1", _remembers_the_first, "Call it twice", most=1)


# 07-e2 straight_through


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, z_q):
        return z_q.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def straight_by_an_own_function(z, z_q):
    return _Through.apply(z, z_q)


def straight_the_other_way_round(z, z_q):
    return z_q.detach() - z.detach() + z


@pytest.mark.parametrize("right", [straight_by_an_own_function, straight_the_other_way_round])
def test_straight_through_by_another_route(right):
    accepts("07-e2", right)


def _cut(z, z_q):
    return z_q.detach()


def _the_codes(z, z_q):
    return z_q


def _the_vectors(z, z_q):
    return z


def _half(z, z_q):
    return (z + z_q) / 2


def _both_gradients(z, z_q):
    return z + z_q - z.detach()


def _all_cut(z, z_q):
    return z.detach() + (z_q - z).detach()


def _cancels(z, z_q):
    return z_q.detach() + z - z


def _twice(z, z_q):
    return 2 * z + (z_q - 2 * z).detach()


def _nearly(z, z_q):
    return z + 0.999 * (z_q - z).detach()


def _scaled_by_the_distance(z, z_q):
    scale = 1 / (1 + (z - z_q).detach().norm())
    return scale * z + (z_q - scale * z).detach()


def _soft_when_far(z, z_q):
    near = ((z - z_q).abs() < 50).detach()
    return torch.where(near, straight_through(z, z_q), z_q.detach())


def _rows_only(z, z_q):
    return straight_through(z, z_q).flatten(1) if z.ndim > 2 else straight_through(z, z_q)


def _averaged(z, z_q):
    return straight_through(z, z_q).mean()


@_mistakes(
    (_the_vectors, "The decoder must see the code itself"),
    (_half, "The decoder must see the code itself"),
    (_nearly, "The decoder must see the code itself"),
    (_cut, "A lookup has no gradient"),
    (_the_codes, "A lookup has no gradient"),
    (_all_cut, "A lookup has no gradient"),
    (_cancels, "A lookup has no gradient"),
    (_twice, "A lookup has no gradient"),
    (_scaled_by_the_distance, "A lookup has no gradient"),
    (_both_gradients, "the codebook would get"),
    (_soft_when_far, "does not depend on how far"),
    (_rows_only, "the form"),
    (_averaged, "the form"),
)
def test_straight_through_mistakes_meet_their_hint(wrong, hint):
    rejects("07-e2", wrong, hint)


# 07-e3 vq_losses


def losses_by_the_chain_of_signs(z, z_q, beta):
    error = ((z.detach() - z_q) ** 2 + beta * (z - z_q.detach()) ** 2).reshape(len(z), -1)
    return error.sum(dim=1)


def losses_by_one_difference(z, z_q, beta):
    def length(a, b):
        return torch.einsum("bi,bi->b", (a - b).flatten(1), (a - b).flatten(1))

    return length(z.detach(), z_q) + beta * length(z, z_q.detach())


@pytest.mark.parametrize("right", [losses_by_the_chain_of_signs, losses_by_one_difference])
def test_vq_losses_by_another_route(right):
    accepts("07-e3", right)


def _no_stop(z, z_q, beta):
    return (1 + beta) * (z - z_q).square().flatten(1).sum(1)


def _exchanged_stops(z, z_q, beta):
    a, b = (z - z_q.detach()).square(), (z.detach() - z_q).square()
    return (a + beta * b).flatten(1).sum(1)


def _beta_on_both(z, z_q, beta):
    return beta * vq_losses(z, z_q, 1.0)


def _beta_nowhere(z, z_q, beta):
    return vq_losses(z, z_q, 1.0)


def _beta_on_the_first(z, z_q, beta):
    a, b = (z.detach() - z_q).square(), (z - z_q.detach()).square()
    return (beta * a + b).flatten(1).sum(1)


def _mean_over_the_batch(z, z_q, beta):
    return vq_losses(z, z_q, beta).mean()


def _mean_over_entries(z, z_q, beta):
    return vq_losses(z, z_q, beta) / z[0].numel()


def _only_commitment(z, z_q, beta):
    return beta * (z - z_q.detach()).square().flatten(1).sum(1)


def _lengths(z, z_q, beta):
    return vq_losses(z, z_q, beta).sqrt()


def _last_axis_only(z, z_q, beta):
    return ((z.detach() - z_q).square() + beta * (z - z_q.detach()).square()).sum(-1)


def _all_detached(z, z_q, beta):
    return vq_losses(z, z_q, beta).detach()


def _codes_cut(z, z_q, beta):
    return vq_losses(z, z_q.detach(), beta)


def _beta_never_zero(z, z_q, beta):
    return vq_losses(z, z_q, beta or 0.25)


@_mistakes(
    (_mean_over_the_batch, "the form"),
    (_only_commitment, "Two terms of the same value"),
    (_beta_on_both, "Two terms of the same value"),
    (_beta_nowhere, "Two terms of the same value"),
    (_mean_over_entries, "Two terms of the same value"),
    (_lengths, "Two terms of the same value"),
    (_exchanged_stops, "the codebook does not move"),
    (_beta_on_the_first, "the codebook does not move"),
    (_no_stop, "the codebook does not move"),
    (_all_detached, "the codebook does not move"),
    (_codes_cut, "the codebook does not move"),
    (_last_axis_only, "the form"),
    (_beta_never_zero, "beta may be 0"),
)
def test_vq_losses_mistakes_meet_their_hint(wrong, hint):
    rejects("07-e3", wrong, hint)


# 07-e4 perplexity


def perplexity_in_bits_all_the_way(codes, K):
    share = torch.bincount(codes.flatten(), minlength=K) / codes.numel()
    share = share[share > 0].double()
    share = share / share.sum()
    return 2 ** -(share * share.log2()).sum()


def perplexity_in_numpy(codes, K):
    _, count = np.unique(codes.numpy(), return_counts=True)
    share = count / count.sum()
    return float(np.prod(share**-share))


@pytest.mark.parametrize("right", [perplexity_in_numpy])
def test_perplexity_by_another_route(right):
    accepts("07-e4", right)


def _shares(codes, K):
    return torch.bincount(codes.flatten(), minlength=K).double() / codes.numel()


def _entropy(share):
    return -torch.special.xlogy(share, share).sum()


def _nan_of_unused(codes, K):
    share = _shares(codes, K)
    return torch.exp(-(share * share.log()).sum())


def _small_number(codes, K):
    share = _shares(codes, K)
    return torch.exp(-(share * (share + 1e-8).log()).sum())


def _two_to_the_nats(codes, K):
    return 2 ** _entropy(_shares(codes, K))


def _e_to_the_bits(codes, K):
    return torch.exp(_entropy(_shares(codes, K)) / np.log(2))


def _the_entropy(codes, K):
    return _entropy(_shares(codes, K))


def _counts_used(codes, K):
    return torch.tensor(float(len(codes.unique())))


def _all_of_them(codes, K):
    return torch.tensor(float(K))


def _without_shares(codes, K):
    count = torch.bincount(codes.flatten(), minlength=K).double()
    return torch.exp(_entropy(count / K))


def _by_the_length(codes, K):
    share = torch.bincount(codes.flatten(), minlength=K).double() / len(codes)
    return torch.exp(_entropy(share))


def _rows_first(codes, K):
    rows = codes if codes.ndim > 1 else codes[None]
    return torch.stack([torch.exp(_entropy(_shares(row, K))) for row in rows]).mean()


def _inverse_simpson(codes, K):
    return 1 / _shares(codes, K).square().sum()


def _share_of_K(codes, K):
    return torch.exp(_entropy(_shares(codes, K))) / K


@_mistakes(
    (_two_to_the_nats, "do not undo each other"),
    (_e_to_the_bits, "do not undo each other"),
    (_the_entropy, "do not undo each other"),
    (_without_shares, "do not undo each other"),
    (_share_of_K, "do not undo each other"),
    (_nan_of_unused, "0 log 0 is 0"),
    (_all_of_them, "0 log 0 is 0"),
    (_small_number, "float32"),
    (_counts_used, "Count each code"),
    (_inverse_simpson, "Count each code"),
    (_by_the_length, "wants one axis"),
    (_rows_first, "A mean of the perplexities"),
)
def test_perplexity_mistakes_meet_their_hint(wrong, hint):
    rejects("07-e4", wrong, hint)


# 07-e5 cft


def cft_factored(features, alpha, beta, w):
    return (1 + w * alpha) * features + w * beta


def cft_by_interpolation(features, alpha, beta, w):
    return torch.lerp(features, features + alpha * features + beta, w)


@pytest.mark.parametrize("right", [cft_factored, cft_by_interpolation])
def test_cft_by_another_route(right):
    accepts("07-e5", right)


def _w_before_all(features, alpha, beta, w):
    return w * (features + alpha * features + beta)


def _mixture(features, alpha, beta, w):
    return (1 - w) * features + w * (alpha * features + beta)


def _w_on_alpha_only(features, alpha, beta, w):
    return features + w * alpha * features + beta


def _w_on_beta_only(features, alpha, beta, w):
    return features + alpha * features + w * beta


def _w_squared(features, alpha, beta, w):
    return features + w * abs(w) * (alpha * features + beta)


def _the_other_end(features, alpha, beta, w):
    return cft(features, alpha, beta, 1 - w)


def _clamped(features, alpha, beta, w):
    return cft(features, alpha, beta, min(max(w, 0.0), 1.0))


def _alpha_and_beta_exchanged(features, alpha, beta, w):
    return features + w * (beta * features + alpha)


def _cut_off(features, alpha, beta, w):
    return cft(features, alpha.detach(), beta.detach(), w)


def _matrix_product(features, alpha, beta, w):
    return features + w * (alpha @ features.mT @ features + beta)


def _added_to_the_input(features, alpha, beta, w):
    features += w * (alpha * features + beta)
    return features


def _beta_alone(features, alpha, beta, w):
    return features + w * (alpha + beta)


@_mistakes(
    (_w_before_all, "F itself, not zero"),
    (_w_on_alpha_only, "F itself, not zero"),
    (_w_on_beta_only, "F itself, not zero"),
    (_the_other_end, "F itself, not zero"),
    (_mixture, "the modulation is added"),
    (_alpha_and_beta_exchanged, "the modulation is added"),
    (_matrix_product, "the modulation is added"),
    (_beta_alone, "the modulation is added"),
    (_w_squared, "Half of w is half of the way"),
    (_clamped, "w is not clamped"),
    (_cut_off, "detach nothing"),
    (_added_to_the_input, "Work on a copy"),
)
def test_cft_mistakes_meet_their_hint(wrong, hint):
    rejects("07-e5", wrong, hint)
