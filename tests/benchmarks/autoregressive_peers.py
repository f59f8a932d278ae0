"""A public autoregressive model with its published settings, written in our own words."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS, PIXELS = 17, 64


class IntroDgm(nn.Module):
    """jmtomczak/intro_dgm, arms/arm_example.ipynb: causal 1-D convolutions over the raster order.

    Kernels of 7, four layers of 256 channels, LeakyReLU, a softmax over 17 levels, inputs 0..16,
    Adamax 1e-3, batches of 64; drawing runs the whole network once for every pixel.
    """

    name, batch_size = "intro_dgm autoregressive", 64

    def __init__(self, hidden: int = 256, kernel: int = 7) -> None:
        super().__init__()
        self.kernel = kernel
        widths = (1, hidden, hidden, hidden, LEVELS)
        self.layers = nn.ModuleList(nn.Conv1d(i, o, kernel) for i, o in pairwise(widths))

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adamax(self.parameters(), lr=1e-3)

    def _laws(self, x: Tensor) -> Tensor:
        """Probabilities (B, 64, 17) from levels (B, 64); the first layer does not see its pixel."""
        h = F.pad(x.float().unsqueeze(1), (1, 0))[:, :, :-1]
        for i, layer in enumerate(self.layers):
            h = layer(F.pad(F.leaky_relu(h) if i else h, (self.kernel - 1, 0)))
        return h.softmax(dim=1).transpose(1, 2)

    def log_prob(self, x: Tensor) -> Tensor:
        laws = self._laws(x).clamp(1e-5, 1 - 1e-5)  # as published: sums to 1 within 1e-4
        return laws.gather(2, x.unsqueeze(2)).log().sum(dim=(1, 2))

    def loss(self, x: Tensor) -> Tensor:
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        x = torch.zeros(n, PIXELS, dtype=torch.long)
        for i in range(PIXELS):
            x[:, i] = self._laws(x)[:, i].multinomial(1)[:, 0]
        return x
