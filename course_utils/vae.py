"""The variational autoencoder: encoder, reparameterised latent, decoder, and the bound they train.

    elbo(x) = E_q(z|x)[log p(x|z)] - KL(q(z|x) || N(0, I)) <= log p(x)

Encoder and decoder are any two networks. Noise `eps` comes in as an argument; only `vae_loss` and
`sample` draw it. All values are per example, in nats.
"""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from course_utils.distributions import kl_to_standard_normal, normal_log_prob
from course_utils.tensors import same_shape, sum_per_example


class VAE(nn.Module):
    """q(z|x) = N(mean(x), diag exp(log_var(x))), p(z) = N(0, I), p(x|z) = likelihood(decoder(z)).

    Args:
        encoder: x (B, *event) -> (B, 2K), the means and then the log variances of K latents.
        decoder: z (B, K) -> the parameters that `likelihood` reads.
        likelihood: `Gaussian` or `Levels` below, or any module with their three methods.
        latent_dim: K.

    Source: Kingma & Welling 2014, arXiv:1312.6114.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, likelihood: nn.Module, latent_dim: int
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.latent_dim = latent_dim

    def encode(
        self, x: Float[Tensor, "B *event"]
    ) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"]]:
        """Mean and log variance of q(z|x)."""
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        return mean, log_var

    def decode(self, z: Float[Tensor, "B K"]) -> Tensor:
        """Parameters of p(x|z): the mean image of a Gaussian, the logits of levels."""
        return self.decoder(z)


def reparameterise(
    mean: Float[Tensor, "*batch K"], log_var: Float[Tensor, "*batch K"], eps: Tensor
) -> Tensor:
    """`z = mean + exp(log_var / 2) * eps`: a sample of N(mean, exp(log_var)) if eps ~ N(0, I).

    Args:
        mean: of q(z|x).
        log_var: of q(z|x).
        eps: shaped like these, or S times, as a first dimension.

    Raises:
        ValueError: other shapes.

    Source: Kingma & Welling 2014, arXiv:1312.6114, section 2.4.
    """
    draws = eps[0] if eps.ndim > mean.ndim and len(eps) else eps
    same_shape(mean=mean, log_var=log_var, eps=draws)
    return mean + (0.5 * log_var).exp() * eps


def terms(
    model: VAE, x: Float[Tensor, "B *event"], eps: Float[Tensor, "B K"]
) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"]]:
    """The two terms of the bound: log p(x|z) at one z ~ q(z|x), and KL(q(z|x) || N(0, I)).

    Returns: nats per example; a one-sample estimate of the reconstruction, the exact KL.
    Source: Kingma & Welling 2014, arXiv:1312.6114, eq. 10.
    """
    mean, log_var = model.encode(x)  # (B, K), (B, K)
    z = reparameterise(mean, log_var, eps)  # (B, K)
    reconstruction = model.likelihood.log_prob(x, model.decode(z))  # (B,)
    return reconstruction, kl_to_standard_normal(mean, log_var)


def elbo(model: VAE, x: Float[Tensor, "B *event"], eps: Float[Tensor, "B K"]) -> Float[Tensor, "B"]:
    """ELBO(x) = E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)) <= log p(x).

    Returns: nats per example; unbiased one-sample estimate of the bound.
    Source: Kingma & Welling 2014, arXiv:1312.6114, eq. 10.
    """
    reconstruction, kl = terms(model, x, eps)
    return reconstruction - kl


def vae_loss(
    model: VAE,
    x: Float[Tensor, "B *event"],
    beta: float = 1.0,
    generator: Generator | None = None,
) -> Float[Tensor, "B"]:
    """-log p(x|z) + beta KL(q(z|x) || p(z)); with beta = 1 it is minus the ELBO.

    Returns: nats per example, at one fresh z ~ q(z|x).
    Source: Kingma & Welling 2014, arXiv:1312.6114; beta: Higgins et al. 2017 (beta-VAE), eq. 4.
    """
    eps = _normal(len(x), model, generator)
    reconstruction, kl = terms(model, x, eps)
    return -reconstruction + beta * kl


def importance_weighted_bound(
    model: VAE, x: Float[Tensor, "B *event"], eps: Float[Tensor, "S B K"]
) -> Float[Tensor, "B"]:
    """IWAE: `log (1/S) sum_s p(x|z_s) p(z_s) / q(z_s|x), z_s ~ q(z|x)`, from elbo to log p(x).

    The importance-weighted bound, with S = k of the paper's L_k.

    Returns: nats per example; S = 1 is the ELBO with its KL estimated, S -> infinity is log p(x).
    Source: Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, eq. 8.
    """
    mean, log_var = model.encode(x)  # (B, K), (B, K)
    z = reparameterise(mean, log_var, eps)  # (S, B, K)
    log_lik = torch.stack([model.likelihood.log_prob(x, model.decode(z_s)) for z_s in z])  # (S, B)
    log_prior = normal_log_prob(z, torch.zeros_like(z), torch.zeros_like(z)).sum(dim=-1)  # (S, B)
    log_q = normal_log_prob(z, mean.expand_as(z), log_var.expand_as(z)).sum(dim=-1)  # (S, B)
    log_weight = log_lik + log_prior - log_q  # (S, B)
    return log_weight.logsumexp(dim=0) - math.log(len(eps))


@torch.no_grad()
def sample(
    model: VAE, n: int, generator: Generator | None = None, pixel_noise: bool = False
) -> Tensor:
    """Samples of the model: z ~ N(0, I), then E[x|z], or with `pixel_noise` a draw x ~ p(x|z).

    The draw is what the model has learned; its mean, smoother, is what is usually shown.

    Source: Kingma & Welling 2014, arXiv:1312.6114, section 2.1.
    """
    z = _normal(n, model, generator)
    parameters = model.decode(z)
    if pixel_noise:
        return model.likelihood.sample(parameters, generator)
    return model.likelihood.mean(parameters)


@torch.no_grad()
def reconstruct(model: VAE, x: Float[Tensor, "B *event"]) -> Float[Tensor, "B *event"]:
    """E[x|z] at z = E_q[z|x], the posterior's mean.

    Source: Kingma & Welling 2014, arXiv:1312.6114, appendix C, without the noise of z.
    """
    return model.likelihood.mean(model.decode(model.encode(x)[0]))


def active_units(mean: Float[Tensor, "N K"], threshold: float = 0.01) -> int:
    """Number of latents k with Var_x(E_q[z_k|x]) > threshold; the others have collapsed.

    Args:
        mean: posterior means of N data points.
        threshold: the source's 0.01.

    Raises:
        ValueError: fewer than two points, which have no variance.

    Source: Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, section 5.
    """
    if len(mean) < 2:
        raise ValueError(f"means of {len(mean)} points; legal: 2 or more")
    return int((mean.var(dim=0) > threshold).sum())


def gaussian_log_likelihood(
    x: Float[Tensor, "B *event"], mean: Float[Tensor, "B *event"], eta: float
) -> Float[Tensor, "B"]:
    """`log N(x; mean, eta I) = -||x - mean||^2 / (2 eta) - (D/2) log(2 pi eta)`, in nats.

    Raises:
        ValueError: eta is not a positive variance, or two shapes: images in another layout.

    Source: Kingma & Welling 2014, arXiv:1312.6114, appendix C.2 with one variance eta.
    """
    _positive(eta)
    same_shape(x=x, mean=mean)
    dim = x[0].numel()
    squared_error = sum_per_example((x - mean) ** 2)  # (B,)
    return -squared_error / (2 * eta) - dim / 2 * math.log(2 * math.pi * eta)


def levels_log_likelihood(
    x: Float[Tensor, "B *event"], logits: Float[Tensor, "B *event L"]
) -> Float[Tensor, "B"]:
    """sum_d log softmax(logits_d)[level of x_d], in nats: a true likelihood of L grey levels.

    Raises:
        ValueError: x is not on the levels 0, 1/(L-1), …, 1, or logits are not shaped as x and L.

    Source: van den Oord et al. 2016, arXiv:1601.06759, section 2.3.
    """
    same_shape(x=x, logits_of_a_level=logits[..., 0])
    levels = logits.shape[-1]
    level = (x * (levels - 1)).round()
    error = (x * (levels - 1) - level).abs().max()
    if not (error < 1e-3 and level.min() >= 0 and level.max() < levels):  # catches NaN, too
        raise ValueError(f"x is not on levels k/{levels - 1} in [0, 1]: {x.flatten()[:6].tolist()}")
    nats = F.cross_entropy(logits.flatten(0, -2), level.long().flatten(), reduction="none")
    return -sum_per_example(nats.view_as(x))


class Gaussian(nn.Module):
    """x | z ~ N(decoder(z), eta I): the decoder gives the mean; eta, one variance, is chosen."""

    def __init__(self, eta: float) -> None:
        super().__init__()
        _positive(eta)
        self.eta = eta

    def log_prob(self, x: Tensor, mean: Tensor) -> Tensor:
        """`gaussian_log_likelihood` at eta, (B,)."""
        return gaussian_log_likelihood(x, mean, self.eta)

    def mean(self, mean: Tensor) -> Tensor:
        """E[x|z], what the decoder gives."""
        return mean

    def sample(self, mean: Tensor, generator: Generator | None = None) -> Tensor:
        """One draw of N(mean, eta I)."""
        eps = torch.randn(mean.shape, generator=generator).to(mean)
        return mean + math.sqrt(self.eta) * eps


class Levels(nn.Module):
    """Each pixel one of L grey levels k/(L-1), with probabilities softmax(decoder(z)), L last."""

    def log_prob(self, x: Tensor, logits: Tensor) -> Tensor:
        """`levels_log_likelihood`, (B,)."""
        return levels_log_likelihood(x, logits)

    def mean(self, logits: Tensor) -> Tensor:
        """E[x|z] = sum_k k/(L-1) softmax(logits)[k]."""
        values = torch.linspace(0, 1, logits.shape[-1], dtype=logits.dtype, device=logits.device)
        return logits.softmax(dim=-1) @ values

    def sample(self, logits: Tensor, generator: Generator | None = None) -> Tensor:
        """One draw of every pixel's level."""
        cdf = logits.softmax(dim=-1).cumsum(dim=-1)  # (B, ..., L)
        u = torch.rand(cdf.shape[:-1], generator=generator).to(cdf)
        level = (u.unsqueeze(-1) > cdf[..., :-1]).sum(dim=-1)  # inverse of the distribution
        return level.to(cdf) / (logits.shape[-1] - 1)


class LevelLogits(nn.Module):
    """logits_k = b_k + a u_k + c u_k^2, u_k from -1 to 1: a decoder's last layer, for `Levels`.

    Every pixel gets two numbers a, c from the layer before. As log N(x; m, v) is quadratic in x,
    so is this in the level, read at L points, times a histogram exp(b) of the pixel that all images
    share. L free logits per pixel instead learn a thousand images by heart.

    Args:
        image_shape: (C, H, W).
        levels: L.
    """

    def __init__(self, image_shape: tuple[int, int, int], levels: int = 17) -> None:
        super().__init__()
        u = torch.linspace(-1, 1, levels)
        self.register_buffer("powers", torch.stack([u, u**2]))  # (2, L)
        self.b = nn.Parameter(torch.zeros(*image_shape, levels))

    def forward(self, a_c: Float[Tensor, "B twice_chw"]) -> Float[Tensor, "B C H W L"]:
        """(B, 2CHW), a and c of a pixel side by side, to its L logits."""
        a_c = a_c.view(-1, *self.b.shape[:-1], 2)  # (B, C, H, W, 2)
        return self.b + a_c @ self.powers


def _normal(n: int, model: VAE, generator: Generator | None) -> Float[Tensor, "n K"]:
    """Noise drawn on the CPU, so that a seed means the same everywhere, in the model's dtype."""
    eps = torch.randn(n, model.latent_dim, generator=generator)
    return eps.to(next(model.parameters()))


def _positive(eta: float) -> None:
    if not eta > 0:
        raise ValueError(f"eta = {eta}; legal: a positive variance")
