"""Lesson 04: right answers by other routes pass, every known mistake meets its own hint."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from course_utils.exercises import find
from tests.exercises.harness import accepts, rejects

pca_autoencoder, gaussian_denoiser, sparse_penalty, linear_probe = (
    find(f"04-e{number}").reference for number in range(1, 5)
)


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


# 04-e1 pca_autoencoder


def pca_by_eigenvectors(x, k):
    mean = x.mean(dim=0)
    return mean, torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors[:, -k:]


def pca_with_turned_axes(x, k):
    mean, W = pca_autoencoder(x, k)
    turn = torch.linalg.qr(torch.sin(torch.arange(k * k, dtype=x.dtype) + 1).view(k, k)).Q
    return mean, W @ turn


def pca_by_scikit_learn(x, k):
    found = PCA(k).fit(x.numpy())
    return found.mean_, found.components_.T


@pytest.mark.parametrize("right", [pca_by_eigenvectors, pca_with_turned_axes, pca_by_scikit_learn])
def test_pca_autoencoder_by_another_route(right):
    accepts("04-e1", right)


def test_pca_autoencoder_loses_the_discarded_eigenvalues():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).double() + 3
    mean, W = pca_autoencoder(x, 2)
    lost = (x - mean - (x - mean) @ W @ W.T).square().sum(dim=1).mean()
    values = torch.linalg.eigvalsh((x - x.mean(0)).T @ (x - x.mean(0)) / 50)
    torch.testing.assert_close(lost, values[:4].sum())


def _not_centred(x, k):
    return torch.zeros_like(x[0]), torch.linalg.svd(x, full_matrices=False).Vh[:k].T


def _directions_not_centred(x, k):
    return x.mean(dim=0), torch.linalg.svd(x, full_matrices=False).Vh[:k].T


def _smallest_directions(x, k):
    mean = x.mean(dim=0)
    return mean, torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors[:, :k]


def _scaled_by_singular_values(x, k):
    mean = x.mean(dim=0)
    found = torch.linalg.svd(x - mean, full_matrices=False)
    return mean, (found.S[:k, None] * found.Vh[:k]).T


def _whitened(x, k):
    mean, W = pca_autoencoder(x, k)
    return mean, W / ((x - mean) @ W).std(dim=0)


def _left_vectors(x, k):
    mean = x.mean(dim=0)
    return mean, torch.linalg.svd(x - mean, full_matrices=False).U[:, :k]


def _columns_of_vh(x, k):
    mean = x.mean(dim=0)
    return mean, torch.linalg.svd(x - mean, full_matrices=True).Vh[:, :k]


def _rows_of_directions(x, k):
    mean, W = pca_autoencoder(x, k)
    return mean, W.T


def _of_correlations(x, k):
    mean, sd = x.mean(dim=0), x.std(dim=0)
    return mean, torch.linalg.svd((x - mean) / sd, full_matrices=False).Vh[:k].T


def _loudest_coordinates(x, k):
    return x.mean(dim=0), torch.eye(x.shape[1], dtype=x.dtype)[:, x.var(dim=0).topk(k).indices]


def _mean_of_each_row(x, k):
    return x.mean(dim=1), pca_autoencoder(x, k)[1]


def _in_place(x, k):
    mean = x.mean(dim=0)
    x -= mean
    return mean, torch.linalg.svd(x, full_matrices=False).Vh[:k].T


def _through_an_inverse(x, k):
    mean = x.mean(dim=0)
    precision = torch.linalg.inv((x - mean).T @ (x - mean))
    return mean, torch.linalg.eigh(precision).eigenvectors[:, :k]


@_mistakes(
    (_not_centred, "your error jumps"),
    (_directions_not_centred, "your error jumps"),
    (_smallest_directions, "Which directions have the largest variance"),
    (_columns_of_vh, "Which directions have the largest variance"),
    (_of_correlations, "Which directions have the largest variance"),
    (_loudest_coordinates, "Which directions have the largest variance"),
    (_scaled_by_singular_values, "W^T W = I"),
    (_whitened, "W^T W = I"),
    (_left_vectors, "the form"),
    (_rows_of_directions, "the form"),
    (_mean_of_each_row, "the form"),
    (_in_place, "Work on a copy"),
    (_through_an_inverse, "cannot be inverted"),
)
def test_pca_autoencoder_mistakes_meet_their_hint(wrong, hint):
    rejects("04-e1", wrong, hint)


# 04-e2 gaussian_denoiser


def denoiser_by_precisions(x_noisy, mean, s2, sigma2):
    if s2 == 0 or sigma2 == 0:
        return x_noisy if sigma2 == 0 else 0 * x_noisy + mean
    return (mean / s2 + x_noisy / sigma2) / (1 / s2 + 1 / sigma2)


def denoiser_by_tweedie(x_noisy, mean, s2, sigma2):
    return x_noisy + sigma2 * -(x_noisy - mean) / (s2 + sigma2)


def denoiser_in_numpy(x_noisy, mean, s2, sigma2):
    return np.average(
        np.stack([np.full(x_noisy.shape, mean), x_noisy.numpy()]), 0, weights=[sigma2, s2]
    )


@pytest.mark.parametrize("right", [denoiser_by_precisions, denoiser_by_tweedie, denoiser_in_numpy])
def test_gaussian_denoiser_by_another_route(right):
    accepts("04-e2", right)


def _identity(x_noisy, mean, s2, sigma2):
    return x_noisy


def _towards_zero(x_noisy, mean, s2, sigma2):
    return s2 / (s2 + sigma2) * x_noisy


def _sigma_for_its_square(x_noisy, mean, s2, sigma2):
    return mean + s2 / (s2 + sigma2**0.5) * (x_noisy - mean)


def _weights_by_deviations(x_noisy, mean, s2, sigma2):
    s, sigma = s2**0.5, sigma2**0.5
    return mean + s / (s + sigma) * (x_noisy - mean)


def _weights_exchanged(x_noisy, mean, s2, sigma2):
    return mean + sigma2 / (s2 + sigma2) * (x_noisy - mean)


def _the_mean(x_noisy, mean, s2, sigma2):
    return 0 * x_noisy + mean


def _the_noise(x_noisy, mean, s2, sigma2):
    return x_noisy - gaussian_denoiser(x_noisy, mean, s2, sigma2)


def _the_variance(x_noisy, mean, s2, sigma2):
    return 0 * x_noisy + s2 * sigma2 / (s2 + sigma2)


def _squared_variances(x_noisy, mean, s2, sigma2):
    return mean + s2**2 / (s2**2 + sigma2**2) * (x_noisy - mean)


def _small_number_below(x_noisy, mean, s2, sigma2):
    return mean + s2 / (s2 + sigma2 + 1e-3) * (x_noisy - mean)


def _batch_for_prior(x_noisy, mean, s2, sigma2):
    centre = x_noisy.mean()
    return centre + s2 / (s2 + sigma2) * (x_noisy - centre)


def _one_number_for_all(x_noisy, mean, s2, sigma2):
    return gaussian_denoiser(x_noisy, mean, s2, sigma2).mean()


@_mistakes(
    (_weights_exchanged, "With sigma2 = 0"),
    (_the_mean, "With sigma2 = 0"),
    (_the_noise, "With sigma2 = 0"),
    (_the_variance, "With sigma2 = 0"),
    (_small_number_below, "With sigma2 = 0"),
    (_identity, "the best guess is what you knew before"),
    (_towards_zero, "the best guess is what you knew before"),
    (_batch_for_prior, "the best guess is what you knew before"),
    (_sigma_for_its_square, "the factor is one half"),
    (_weights_by_deviations, "complete the square"),
    (_squared_variances, "complete the square"),
    (_one_number_for_all, "the form"),
)
def test_gaussian_denoiser_mistakes_meet_their_hint(wrong, hint):
    rejects("04-e2", wrong, hint)


# 04-e3 sparse_penalty


def penalty_by_unit_columns(h, W, lam):
    length = W.square().sum(dim=0).sqrt()
    return lam * torch.linalg.vector_norm(h * length, ord=1, dim=1)


def penalty_by_a_product(h, W, lam):
    return h.abs() @ (lam * torch.linalg.norm(W, dim=0))


@pytest.mark.parametrize("right", [penalty_by_unit_columns, penalty_by_a_product])
def test_sparse_penalty_by_another_route(right):
    accepts("04-e3", right)


def _on_the_weights(h, W, lam):
    return lam * W.abs().sum() + 0 * h.sum(dim=1)


def _mean_over_the_batch(h, W, lam):
    return sparse_penalty(h, W, lam).mean()


def _divided_by_the_batch(h, W, lam):
    return sparse_penalty(h, W, lam) / len(h)


def _mean_over_units(h, W, lam):
    return lam * (h.abs() * W.norm(dim=0)).mean(dim=1)


def _columns_forgotten(h, W, lam):
    return lam * h.abs().sum(dim=1)


def _one_length_for_all(h, W, lam):
    return lam * h.abs().sum(dim=1) * W.norm()


def _squared_lengths(h, W, lam):
    return lam * (h.abs() * W.square().sum(dim=0)).sum(dim=1)


def _divided_by_lengths(h, W, lam):
    return lam * (h.abs() / W.norm(dim=0)).sum(dim=1)


def _squares_of_codes(h, W, lam):
    return lam * (h * W.norm(dim=0)).square().sum(dim=1)


def _signed(h, W, lam):
    return lam * (h * W.norm(dim=0)).sum(dim=1)


def _rectified(h, W, lam):
    return lam * (h.relu() * W.norm(dim=0)).sum(dim=1)


def _half(h, W, lam):
    return sparse_penalty(h, W, lam) / 2


def _smoothed(h, W, lam):
    return lam * (h.square() + 1e-8).sqrt() @ W.norm(dim=0)


def _decoder_detached(h, W, lam):
    return sparse_penalty(h, W.detach(), lam)


def _no_gradient(h, W, lam):
    return sparse_penalty(h.detach(), W.detach(), lam)


@_mistakes(
    (_mean_over_the_batch, "the form"),
    (_divided_by_the_batch, "Each example pays"),
    (_on_the_weights, "Each example pays for its own code"),
    (_smoothed, "Which tensor should be mostly zero"),
    (_columns_forgotten, "multiply its column by 10"),
    (_one_length_for_all, "multiply its column by 10"),
    (_squared_lengths, "multiply its column by 10"),
    (_divided_by_lengths, "multiply its column by 10"),
    (_mean_over_units, "a sum (not a mean)"),
    (_squares_of_codes, "a sum (not a mean)"),
    (_signed, "a sum (not a mean)"),
    (_rectified, "a sum (not a mean)"),
    (_half, "a sum (not a mean)"),
    (_decoder_detached, "Training needs both gradients"),
    (_no_gradient, "Training needs both gradients"),
)
def test_sparse_penalty_mistakes_meet_their_hint(wrong, hint):
    rejects("04-e3", wrong, hint)


# 04-e4 linear_probe


def _split(z, n, generator):
    order = torch.randperm(len(z), generator=generator)
    return order[:n], order[n:]


def probe_by_logistic_regression(z, y, n, generator):
    fitted, others = _split(z, n, generator)
    found = LogisticRegression(max_iter=2000).fit(z[fitted], y[fitted])
    return float(found.score(z[others], y[others]))


def _centroids(z, y, fitted, others):
    means = [z[fitted][y[fitted] == c].mean(dim=0) for c in y[fitted].unique()]
    near = torch.cdist(z[others], torch.stack(means)).argmin(dim=1)
    return (y[fitted].unique()[near] == y[others]).double().mean()


def probe_by_nearest_mean(z, y, n, generator):
    return _centroids(z, y, *_split(z, n, generator))


@pytest.mark.parametrize("right", [probe_by_logistic_regression, probe_by_nearest_mean])
def test_linear_probe_by_another_route(right):
    accepts("04-e4", right, most=10)


def _scores_what_it_fitted(z, y, n, generator):
    fitted, _ = _split(z, n, generator)
    return float(
        LogisticRegression(max_iter=500).fit(z[fitted], y[fitted]).score(*_at(z, y, fitted))
    )


def _at(z, y, rows):
    return z[rows].numpy(), y[rows].numpy()


def _scores_everything(z, y, n, generator):
    fitted, _ = _split(z, n, generator)
    rows = torch.arange(len(z))
    return float(
        LogisticRegression(C=100, max_iter=2000).fit(*_at(z, y, fitted)).score(*_at(z, y, rows))
    )


def _fits_everything(z, y, n, generator):
    _, others = _split(z, n, generator)
    rows = torch.arange(len(z))
    return float(
        LogisticRegression(C=100, max_iter=2000).fit(*_at(z, y, rows)).score(*_at(z, y, others))
    )


def _fits_half(z, y, n, generator):
    return linear_probe(z, y, len(z) // 2, generator)


def _fits_the_others(z, y, n, generator):
    return linear_probe(z, y, len(z) - n, generator)


def _first_rows(z, y, n, generator):
    rows = torch.arange(len(z))
    return _centroids(z, y, rows[:n], rows[n:])


def _own_randomness(z, y, n, generator):
    return linear_probe(z, y, n, torch.Generator().manual_seed(torch.seed() % 2**31))


def _no_bias(z, y, n, generator):
    fitted, others = _split(z, n, generator)
    target = torch.nn.functional.one_hot(y[fitted], int(y.max()) + 1).to(z.dtype)
    W = torch.linalg.lstsq(z[fitted], target).solution
    return ((z[others] @ W).argmax(dim=1) == y[others]).double().mean()


def _errors(z, y, n, generator):
    return 1 - linear_probe(z, y, n, generator)


def _per_cent(z, y, n, generator):
    return 100 * linear_probe(z, y, n, generator)


def _right_ones(z, y, n, generator):
    fitted, others = _split(z, n, generator)
    return _centroids(z, y, fitted, others) * len(others)


def _one_row_short(z, y, n, generator):
    fitted, others = _split(z, n, generator)
    return _centroids(z, y, fitted, others[:-1])


def _verdict_for_each(z, y, n, generator):
    return torch.ones(len(z) - n)


def _always_right(z, y, n, generator):
    return 1.0


@_mistakes(
    (_no_bias, "does your classifier have a bias"),
    (_errors, "does your classifier have a bias"),
    (_per_cent, "does your classifier have a bias"),
    (_right_ones, "does your classifier have a bias"),
    (_scores_what_it_fitted, "shuffled labels still give"),
    (_scores_everything, "shuffled labels still give"),
    (_fits_everything, "shuffled labels still give"),
    (_always_right, "the clouds do not overlap"),
    (_one_row_short, "exactly N - n rows"),
    (_fits_half, "exactly N - n rows"),
    (_fits_the_others, "exactly N - n rows"),
    (_first_rows, "torch.randperm"),
    (_own_randomness, "torch.randperm"),
    (_verdict_for_each, "the form"),
)
def test_linear_probe_mistakes_meet_their_hint(wrong, hint):
    rejects("04-e4", wrong, hint, most=10)


def test_a_constant_earns_next_to_nothing():
    from course_utils.exercises.base import judge
    from course_utils.observing import observe

    possible = earned = 0
    for number in range(1, 5):
        exercise = find(f"04-e{number}")
        best = [
            judge(exercise, lambda *_, c=constant: c, observe, 1).points
            for constant in (0.0, 1.0, 0.25, torch.zeros(5), torch.zeros(6), (0.0, 0.0))
        ]
        possible, earned = possible + exercise.points, earned + max(best)
    assert earned <= 0.1 * possible, (earned, possible)
