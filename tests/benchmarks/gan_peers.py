"""Public GANs that `gan.py` compares with: published settings, written in our own words.

A peer has `batch_size`, `step(x)`, one update of all it trains, and `sample(n)`. Both work in
[-1, 1] with a tanh at the end; `low` and `high` map the data there and the samples back.
"""

import itertools

import torch
from torch import Tensor, nn


class Peer:
    """The scaling to [-1, 1] and back, and noise for the generator."""

    latent: int
    generator: nn.Module

    def __init__(self, low: float, high: float) -> None:
        self.centre, self.half = (low + high) / 2, (high - low) / 2

    def scaled(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.half

    def noise(self, n: int) -> Tensor:
        return torch.randn(n, self.latent)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        self.generator.eval()
        x = self.generator(self.noise(n)) * self.half + self.centre
        self.generator.train()
        return x


class IntroDgm(Peer):
    """jmtomczak/intro_dgm, gans/gans_example.ipynb: the saturating game of two small perceptrons.

    16 latents, one hidden layer of 128 ReLU each, probabilities clamped to 1e-5, Adam 3e-4, batches
    of 64, noise of 0.03 on the data.
    """

    name, batch_size, latent = "intro_dgm GAN", 64, 16

    def __init__(self, size: int, low: float, high: float, hidden: int = 128) -> None:
        super().__init__(low, high)
        first = [nn.Linear(self.latent, hidden), nn.ReLU()]
        self.generator = nn.Sequential(*first, nn.Linear(hidden, size), nn.Tanh())
        first = [nn.Linear(size, hidden), nn.ReLU()]
        self.discriminator = nn.Sequential(*first, nn.Linear(hidden, 1), nn.Sigmoid())
        nets = (self.generator, self.discriminator)
        self.optimisers = [torch.optim.Adam(net.parameters(), lr=3e-4) for net in nets]

    def _probability(self, x: Tensor) -> Tensor:
        return self.discriminator(x).clamp(1e-5, 1 - 1e-5)

    def step(self, x: Tensor) -> None:
        x = self.scaled(x)
        x = x + 0.03 * torch.randn_like(x)
        for_g, for_d = self.optimisers
        fake = self.generator(self.noise(len(x))).detach()
        loss = -(self._probability(x).log() + (1 - self._probability(fake)).log()).mean()
        for_d.zero_grad()
        loss.backward()
        for_d.step()
        loss = (1 - self._probability(self.generator(self.noise(len(x))))).log().mean()
        for_g.zero_grad()
        loss.backward()
        for_g.step()


class WassersteinGp(Peer):
    """eriklindernoren/PyTorch-GAN, wgan_gp.py: a critic with a gradient penalty, 5 updates to one.

    100 latents; 128-256-512-1024 with batch norm against 512-256, LeakyReLU 0.2; penalty 10
    towards slope 1 as in the paper, Adam 2e-4 (0.5, 0.999), batches of 64.
    """

    name, batch_size, latent, critics = "PyTorch-GAN WGAN-GP", 64, 100, 5

    def __init__(self, size: int, low: float, high: float) -> None:
        super().__init__(low, high)
        layers = [nn.Linear(self.latent, 128), nn.LeakyReLU(0.2)]
        for before, after in itertools.pairwise((128, 256, 512, 1024)):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU(0.2)]
        self.generator = nn.Sequential(*layers, nn.Linear(1024, size), nn.Tanh())
        layers = [nn.Linear(size, 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2)]
        self.critic = nn.Sequential(*layers, nn.Linear(256, 1))
        nets = (self.generator, self.critic)
        self.optimisers = [
            torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in nets
        ]
        self.count = 0

    def _penalty(self, x: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(x), 1)
        between = (share * x + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        return 10 * (slope.norm(dim=1) - 1).square().mean()

    def step(self, x: Tensor) -> None:
        x = self.scaled(x)
        for_g, for_d = self.optimisers
        fake = self.generator(self.noise(len(x))).detach()
        loss = self.critic(fake).mean() - self.critic(x).mean() + self._penalty(x, fake)
        for_d.zero_grad()
        loss.backward()
        for_d.step()
        self.count += 1
        if self.count % self.critics == 0:
            loss = -self.critic(self.generator(self.noise(len(x)))).mean()
            for_g.zero_grad()
            loss.backward()
            for_g.step()
