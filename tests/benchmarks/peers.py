"""Public models that the benchmarks compare with: published settings, written in our own words.

A peer has `batch_size`, `optimiser()`, `loss(x)`, `sample(n)` and, where it is a likelihood of the
17 grey levels, `elbo(x)`. Images are (B, 64) in k/16. What a published script spends on its data
loader and on logging is not counted against it here.
"""

import math

import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS, PIXELS = 17, 64


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)), (B,)."""
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(dim=1)


class IntroDgm(nn.Module):
    """jmtomczak/intro_dgm, vaes/vae_example.ipynb: a softmax over 17 levels for each pixel.

    16 latents, 256 hidden units twice, LeakyReLU, Adamax 1e-3, batches of 64, inputs 0..16, both
    terms of the bound from one sample; an image is a draw from the softmaxes.
    """

    name, batch_size = "intro_dgm VAE", 64

    def __init__(self, latent: int = 16, hidden: int = 256) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = self._net(PIXELS, hidden, 2 * latent)
        self.decoder = self._net(latent, hidden, PIXELS * LEVELS)

    @staticmethod
    def _net(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
        first = [nn.Linear(inputs, hidden), nn.LeakyReLU()]
        second = [nn.Linear(hidden, hidden), nn.LeakyReLU()]
        return nn.Sequential(*first, *second, nn.Linear(hidden, outputs))

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adamax(self.parameters(), lr=1e-3)

    def _log_probs(self, z: Tensor) -> Tensor:
        p = self.decoder(z).view(-1, PIXELS, LEVELS).softmax(dim=2)
        return p.clamp(1e-5, 1 - 1e-5).log()  # as published: below 1 when summed, by 1e-4 at most

    def _reconstruction(self, x: Tensor, z: Tensor) -> Tensor:
        one_hot = F.one_hot((x * (LEVELS - 1)).round().long(), LEVELS)
        return (one_hot * self._log_probs(z)).sum(dim=(1, 2))

    def loss(self, x: Tensor) -> Tensor:
        mean, log_var = self.encoder(x * (LEVELS - 1)).chunk(2, dim=1)
        eps = torch.randn_like(mean)
        z = mean + (0.5 * log_var).exp() * eps
        log_prior = -0.5 * (math.log(2 * math.pi) + z**2).sum(dim=1)
        log_q = -0.5 * (math.log(2 * math.pi) + log_var + eps**2).sum(dim=1)
        return -(self._reconstruction(x, z) + log_prior - log_q).mean()

    def elbo(self, x: Tensor) -> Tensor:
        mean, log_var = self.encoder(x * (LEVELS - 1)).chunk(2, dim=1)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        return self._reconstruction(x, z) - gaussian_kl(mean, log_var)

    def sample(self, n: int) -> Tensor:
        p = self._log_probs(torch.randn(n, self.latent)).exp()
        return p.flatten(0, 1).multinomial(1).view(n, PIXELS) / (LEVELS - 1)


class Examples(nn.Module):
    """pytorch/examples, vae/main.py, with 64 inputs: Bernoulli cross-entropy on grey values.

    400 hidden units, 20 latents, ReLU, Adam 1e-3, batches of 128; an image is the decoder's mean.
    Its loss is not a likelihood of grey levels, so it has no row for nats.
    """

    name, batch_size = "pytorch/examples VAE", 128

    def __init__(self, latent: int = 20, hidden: int = 400) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(
            nn.Linear(PIXELS, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, PIXELS), nn.Sigmoid()
        )

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)

    def loss(self, x: Tensor) -> Tensor:
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        cross_entropy = F.binary_cross_entropy(self.decoder(z), x, reduction="sum")
        return cross_entropy + gaussian_kl(mean, log_var).sum()

    def sample(self, n: int) -> Tensor:
        return self.decoder(torch.randn(n, self.latent))


class PcaMixture:
    """The baseline anyone can have: scikit-learn's PCA, then a mixture of full Gaussians."""

    name = "PCA + Gaussian mixture"

    def __init__(self, seed: int, components: int = 20, variance: float = 0.95) -> None:
        self.pca = PCA(n_components=variance, random_state=seed)
        self.mixture = GaussianMixture(components, reg_covar=1e-3, random_state=seed)

    def fit(self, x: Tensor) -> "PcaMixture":
        self.mixture.fit(self.pca.fit_transform(x.double().numpy()))
        return self

    def sample(self, n: int) -> Tensor:
        codes = self.mixture.sample(n)[0]
        return torch.from_numpy(self.pca.inverse_transform(codes)).float().clamp(0, 1)
