"""The VAE against closed forms: the linear model's evidence, torch.distributions, counts."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from course_utils import data, vae
from course_utils.distributions import LinearGaussian, kl_to_standard_normal
from course_utils.networks import MLP, ConvDecoder, ConvEncoder
from course_utils.training import fit

D, K = 5, 2
f64 = torch.float64


def linear_pair(noise: float = 0.3) -> tuple[LinearGaussian, vae.VAE]:
    """A linear model whose posterior is diagonal, and the VAE whose q is that posterior."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(D, K, generator=generator, dtype=f64)).Q
    W = axes * torch.tensor([1.5, 0.7], dtype=f64)
    model = LinearGaussian(W, torch.randn(D, generator=generator, dtype=f64), noise)
    gain = torch.linalg.inv(
        W.T @ W + noise * torch.eye(K, dtype=f64)
    )  # posterior: cov = noise gain
    encoder, decoder = nn.Linear(D, 2 * K), nn.Linear(K, D)
    both = vae.VAE(encoder, decoder, vae.Gaussian(noise), latent_dim=K).double()
    with torch.no_grad():
        decoder.weight.copy_(W)
        decoder.bias.copy_(model.b)
        encoder.weight.copy_(torch.cat([gain @ W.T, torch.zeros(K, D, dtype=f64)]))
        log_var = (noise * gain.diagonal()).log()
        encoder.bias.copy_(torch.cat([-gain @ W.T @ model.b, log_var]))
    return model, both


def widen(model: vae.VAE, by: float = 1.0) -> vae.VAE:
    """Make q too wide: log_var + by."""
    with torch.no_grad():
        model.encoder.bias[K:] += by
    return model


def gauss_hermite(nodes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes (nodes^K, K) and weights of E f(eps), eps ~ N(0, I_K)."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    points = torch.tensor(list(itertools.product(x, repeat=K)), dtype=f64)
    weights = torch.tensor([math.prod(p) for p in itertools.product(w, repeat=K)], dtype=f64)
    return points, weights / weights.sum()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, D, generator=torch.Generator().manual_seed(1), dtype=f64)


def expected_elbo(model: vae.VAE, x: torch.Tensor) -> torch.Tensor:
    points, weights = gauss_hermite(4)  # exact: the reconstruction is quadratic in eps
    values = torch.stack([vae.elbo(model, x, eps.expand(len(x), K)) for eps in points])
    return (weights[:, None] * values).sum(dim=0).detach()


def test_elbo_with_the_exact_posterior_is_the_evidence(x):
    exact, model = linear_pair()
    torch.testing.assert_close(expected_elbo(model, x), exact.log_evidence(x))


def test_elbo_misses_the_evidence_by_the_kl_to_the_posterior(x):
    exact, model = linear_pair()
    gap = exact.log_evidence(x) - expected_elbo(widen(model, by=1.0), x)
    kl = 0.5 * K * (math.e - 1 - 1)  # KL of N(m, e v) from N(m, v), K times
    torch.testing.assert_close(gap, torch.full_like(gap, kl))


def test_one_elbo_is_its_two_terms_and_minus_the_loss(x):
    model = widen(linear_pair()[1])
    eps = torch.randn(4, K, generator=torch.Generator().manual_seed(7)).double()
    reconstruction, kl = vae.terms(model, x, eps)
    torch.testing.assert_close(vae.elbo(model, x, eps), reconstruction - kl)
    torch.testing.assert_close(kl, kl_to_standard_normal(*model.encode(x)))
    for beta in (1.0, 4.0):
        loss = vae.vae_loss(model, x, beta, torch.Generator().manual_seed(7))
        torch.testing.assert_close(loss, -reconstruction + beta * kl)
        assert loss.shape == (4,)


def test_importance_weights_under_the_exact_posterior_are_all_the_evidence(x):
    exact, model = linear_pair()
    for samples in (1, 7):
        eps = torch.randn(samples, 4, K, dtype=f64)
        bound = vae.importance_weighted_bound(model, x, eps).detach()
        torch.testing.assert_close(bound, exact.log_evidence(x))


def test_importance_weighted_bound_rises_from_the_elbo_to_the_evidence(x):
    exact, model = linear_pair()
    widen(model)
    generator, rounds = torch.Generator().manual_seed(3), 4000
    many = x[:1].expand(rounds, D)
    means, errors = [], []
    for samples in (1, 5, 50):
        eps = torch.randn(samples, rounds, K, generator=generator, dtype=f64)
        draws = vae.importance_weighted_bound(model, many, eps).detach()
        means.append(draws.mean())
        errors.append(draws.std() / math.sqrt(rounds))
    assert abs(means[0] - expected_elbo(model, x)[0]) < 4 * errors[0]
    assert means[0] < means[1] - 4 * errors[0] < means[2]
    assert abs(means[2] - exact.log_evidence(x)[0]) < 0.03


def test_reparameterised_noise_has_the_mean_the_sd_and_the_gradients():
    mean, log_var = torch.tensor([[1.0, -2.0]]), torch.tensor([[math.log(4.0), 0.0]])
    mean.requires_grad_()
    log_var.requires_grad_()
    eps = torch.tensor([[1.0, -1.0]])
    z = vae.reparameterise(mean, log_var, eps)
    torch.testing.assert_close(z, torch.tensor([[3.0, -3.0]]))  # log_var = log 4 is sd 2
    z.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones(1, 2))
    torch.testing.assert_close(log_var.grad, torch.tensor([[1.0, -0.5]]))  # sd eps / 2


@pytest.mark.parametrize("event", [(D,), (1, 4, 4), (3, 2, 4, 2)])
def test_gaussian_likelihood_is_torchs(event):
    x, mean = torch.randn(2, 6, *event, dtype=f64)
    torchs = torch.distributions.Normal(mean, math.sqrt(0.07)).log_prob(x).flatten(1).sum(dim=1)
    torch.testing.assert_close(vae.gaussian_log_likelihood(x, mean, 0.07), torchs)
    torch.testing.assert_close(vae.Gaussian(0.07).log_prob(x, mean), torchs)


@pytest.mark.parametrize("event", [(D,), (1, 4, 4)])
@pytest.mark.parametrize("levels", [2, 12, 17, 256])
def test_levels_likelihood_is_torchs(event, levels):
    level = torch.randint(levels, (6, *event))
    logits = torch.randn(6, *event, levels, dtype=f64)
    torchs = torch.distributions.Categorical(logits=logits).log_prob(level).flatten(1).sum(dim=1)
    x = level.double() / (levels - 1)
    torch.testing.assert_close(vae.levels_log_likelihood(x, logits), torchs)
    as_stored = (level.float() / (levels - 1)).double()  # images are float32
    torch.testing.assert_close(vae.levels_log_likelihood(as_stored, logits), torchs)


@pytest.mark.parametrize("value", [0.03, -1 / 16, 17 / 16, math.nan])
def test_grey_values_between_the_levels_are_no_data_of_theirs(value):
    x = torch.tensor([[0.0, value, 1.0]])
    with pytest.raises(ValueError, match="k/16"):
        vae.levels_log_likelihood(x, torch.zeros(1, 3, 17))


@pytest.mark.parametrize("eta", [0.0, -1.0, math.nan])
def test_a_variance_is_positive(eta):
    with pytest.raises(ValueError, match="positive variance"):
        vae.gaussian_log_likelihood(torch.zeros(1, 2), torch.zeros(1, 2), eta)
    with pytest.raises(ValueError, match="positive variance"):
        vae.Gaussian(eta)


def test_level_logits_are_quadratic_in_the_level_pixel_by_pixel():
    head = vae.LevelLogits((2, 3, 2), levels=5).double()
    head.b.data.normal_()
    given = torch.randn(4, 2 * 12, dtype=f64)
    logits = head(given)
    assert logits.shape == (4, 2, 3, 2, 5)
    for pixel, (i, j, k) in enumerate(itertools.product(range(2), range(3), range(2))):
        a, c = given[:, 2 * pixel, None], given[:, 2 * pixel + 1, None]
        u = torch.linspace(-1, 1, 5, dtype=f64)
        torch.testing.assert_close(logits[:, i, j, k], head.b[i, j, k] + a * u + c * u**2)


def test_level_logits_can_be_a_gaussian_of_any_mean_and_variance():
    mean, variance = 0.25, 0.1
    head = vae.LevelLogits((1, 1, 1)).double()
    p = head(torch.tensor([[mean / variance, -0.5 / variance]], dtype=f64)).softmax(dim=-1)
    u = torch.linspace(-1, 1, 17, dtype=f64)
    density = (-((u - mean) ** 2) / (2 * variance)).exp()
    torch.testing.assert_close(p.flatten(), density / density.sum())


def test_levels_are_drawn_as_often_as_they_are_probable():
    likelihood, n = vae.Levels(), 20_000
    p = torch.tensor([[0.5, 0.0, 0.2, 0.3], [0.0, 0.1, 0.9, 0.0]], dtype=f64)  # 2 pixels, 4 levels
    logits = p.log().expand(n, 2, 4)
    drawn = likelihood.sample(logits, torch.Generator().manual_seed(0))
    assert drawn.shape == (n, 2) and drawn.dtype == f64
    for pixel in range(2):
        share = ((drawn[:, pixel] * 3).round() == torch.arange(4)[:, None]).double().mean(dim=1)
        error = (p[pixel] * (1 - p[pixel]) / n).sqrt()
        assert ((share - p[pixel]).abs() <= 4 * error).all()
    torch.testing.assert_close(likelihood.mean(logits)[0], p @ torch.arange(4.0, dtype=f64) / 3)


def test_gaussian_draws_have_variance_eta():
    mean, n = torch.tensor([[1.0, -3.0]]), 40_000
    drawn = vae.Gaussian(0.25).sample(mean.expand(n, 2), torch.Generator().manual_seed(0))
    assert ((drawn.mean(dim=0) - mean).abs() < 4 * math.sqrt(0.25 / n)).all()
    assert ((drawn.var(dim=0) - 0.25).abs() < 4 * 0.25 * math.sqrt(2 / n)).all()


def conv_vae() -> vae.VAE:
    shape = (1, 8, 8)
    encoder, decoder = ConvEncoder(shape, 2 * K, 8), ConvDecoder(K, shape, 8, per_pixel=17)
    return vae.VAE(encoder, decoder, vae.Levels(), latent_dim=K)


def test_samples_come_from_prior_and_decoder_alone():
    exact, model = linear_pair()
    del model.encoder
    n = 40_000
    mean_only = vae.sample(model, n, torch.Generator().manual_seed(0))
    noisy = vae.sample(model, n, torch.Generator().manual_seed(0), pixel_noise=True)
    for drawn, cov in (
        (mean_only, exact.W @ exact.W.T),
        (noisy, exact.W @ exact.W.T + exact.s2 * torch.eye(D, dtype=f64)),
    ):
        spread = cov.diagonal()
        error = ((cov**2 + spread[:, None] * spread) / n).sqrt()  # of a sample covariance
        assert ((torch.cov(drawn.T) - cov).abs() < 4 * error).all()
        assert ((drawn.mean(dim=0) - exact.b).abs() < 4 * (spread / n).sqrt()).all()


def test_images_in_images_out_and_a_seed_repeats_them():
    model = conv_vae().eval()
    pair = [vae.sample(model, 3, torch.Generator().manual_seed(5), True) for _ in range(2)]
    assert torch.equal(*pair) and pair[0].shape == (3, 1, 8, 8)
    assert torch.equal(pair[0] * 16, (pair[0] * 16).round())
    assert not pair[0].requires_grad
    images = torch.randint(17, (6, 1, 8, 8)) / 16
    rebuilt = vae.reconstruct(model, images)
    assert rebuilt.shape == images.shape and torch.equal(rebuilt, vae.reconstruct(model, images))
    torch.testing.assert_close(rebuilt[2:4], vae.reconstruct(model, images[2:4]))
    model.likelihood.log_prob(images, model.decode(model.encode(images)[0])).sum().backward()
    assert all(p.grad is not None for p in model.decoder.parameters())


def test_reconstruction_of_the_linear_model_is_its_projection(x):
    exact, model = linear_pair()
    gain = torch.linalg.inv(exact.W.T @ exact.W + exact.s2 * torch.eye(K, dtype=f64))
    projected = exact.b + (x - exact.b) @ exact.W @ gain @ exact.W.T
    torch.testing.assert_close(vae.reconstruct(model, x), projected)


def test_a_latent_is_active_if_its_mean_moves_with_the_data():
    data_points = torch.linspace(-1, 1, 101)[:, None]
    means = torch.cat([data_points, 0.05 * data_points, 3 + 0 * data_points], dim=1)
    assert vae.active_units(means) == 1
    assert vae.active_units(0.5 * means[:, [0, 0]]) == 2
    assert vae.active_units(means, threshold=1e-4) == 2
    with pytest.raises(ValueError, match="means of 1 points; legal: 2 or more"):
        vae.active_units(means[:1])


def test_training_beats_independent_pixels_on_unseen_digits():
    digits = data.digits()
    counts = torch.stack([((digits.train * 16).round() == k).sum(dim=0) for k in range(17)], dim=-1)
    independent = ((counts + 0.1) / (counts + 0.1).sum(dim=-1, keepdim=True)).log()
    baseline = vae.levels_log_likelihood(digits.test, independent.expand(450, 1, 8, 8, 17)).mean()

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), MLP((64, 64, 16)))
    decoder = nn.Sequential(MLP((8, 64, 128)), vae.LevelLogits((1, 8, 8)))
    model = vae.VAE(encoder, decoder, vae.Levels(), latent_dim=8)
    loss = lambda model, x: vae.vae_loss(model, x).mean()  # noqa: E731
    for _ in fit(model, loss, digits.train, steps=400, batch_size=128, lr=1e-2, progress=False):
        pass
    bound = vae.elbo(model, digits.test, torch.randn(450, 8)).mean()
    assert bound > baseline + 10
