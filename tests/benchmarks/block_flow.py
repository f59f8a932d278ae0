"""A block-autoregressive flow of digits: the best likelihood here of all that is written as a flow.

Pixels come in five groups from coarse to fine. Each passes the distribution function of its level
given the coarser groups, so the likelihood is that of a softmax over levels, and the blur inside a
level costs nothing. A flow in the strict sense moves all pixels by smooth maps; this one does not.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from course_utils.flows import Flow

LEVELS, SIDE, PIXELS = 17, 8, 64


class LinearCdf(nn.Module):
    """Pixels of one group, each through its own piecewise-linear distribution function of 17 bins.

    What the masses of the bins are, a perceptron says that sees the levels of coarser groups. It is
    kept here: the package has couplings of smooth maps, on two parts.
    """

    LEAST = 1e-4  # mass of a bin: below it float32 does not find the way back

    def __init__(self, seen: Tensor, moved: Tensor, width: int, dropout: float) -> None:
        super().__init__()
        self.seen, self.moved, self.net = seen, moved, None
        self.own = nn.Parameter(torch.zeros(len(moved), LEVELS))
        if len(seen):
            hidden = [2 * len(seen), width, width]
            layers = [
                layer
                for i, o in pairwise(hidden)
                for layer in (nn.Linear(i, o), nn.SiLU(), nn.Dropout(dropout))
            ]
            self.net = nn.Sequential(*layers, nn.Linear(width, LEVELS * len(moved)))
            nn.init.zeros_(self.net[-1].weight)
            nn.init.zeros_(self.net[-1].bias)

    def _masses(self, x: Tensor) -> Tensor:
        """Of the 17 bins of each moved pixel, (B, moved, 17), from the levels of the seen ones."""
        logits = self.own.expand(len(x), -1, -1)
        if self.net is not None:
            k = (x[:, self.seen] * LEVELS).floor().clamp(0, LEVELS - 1)
            given = torch.cat([k / (LEVELS - 1), (k > 0).to(x)], dim=1)
            logits = logits + self.net(given).view(len(x), -1, LEVELS)
        return self.LEAST + (1 - LEVELS * self.LEAST) * logits.softmax(dim=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Y in [0, 1] and the sum of log slopes."""
        mass, v = self._masses(x), LEVELS * x[:, self.moved]
        k = v.floor().clamp(0, LEVELS - 1).long().unsqueeze(2)
        here = mass.gather(2, k)[..., 0]
        y = mass.cumsum(dim=2).gather(2, k)[..., 0] - here * (1 - (v - k[..., 0]))
        return x.index_copy(1, self.moved, y), (LEVELS * here).log().sum(dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """The bin whose share of the mass holds y, and how far into it."""
        mass, u = self._masses(y), y[:, self.moved].unsqueeze(2)
        top = mass.cumsum(dim=2)
        k = (u > top[..., :-1]).sum(dim=2, keepdim=True)
        here = mass.gather(2, k)
        into = ((u - top.gather(2, k)) / here + 1).clamp(0, 1 - 1e-4)
        return y.index_copy(1, self.moved, ((k + into) / LEVELS)[..., 0])


class OnTheCube(Flow):
    """A flow of [0, 1]^64 whose base is uniform."""

    def log_prob(self, x: Tensor) -> Tensor:
        return self(x)[1]

    @torch.no_grad()
    def draw(self, n: int) -> Tensor:
        return self.inverse(torch.rand(n, PIXELS))


def coarse_to_fine() -> list[Tensor]:
    """Pixels in five groups: 4 and 4 of a checkerboard 2 wide, 8, then 16 and 32 of finer ones."""
    r, c = (i.flatten() for i in torch.meshgrid(*2 * (torch.arange(SIDE),), indexing="ij"))
    odd, first, third = (r % 2 == 1) & (c % 2 == 1), (r % 4 == 1), (c % 4 == 1)
    masks = [odd & first & third, odd & ~first & ~third, odd & (first != third)]
    masks += [(r % 2 == 0) & (c % 2 == 0), (r + c) % 2 == 1]
    return [mask.nonzero()[:, 0] for mask in masks]


def block_flow(width: int = 160, dropout: float = 0.35) -> OnTheCube:
    """The finest group first, so that every network sees pixels as they are."""
    groups, none = coarse_to_fine(), torch.tensor([], dtype=torch.long)
    layers = [
        LinearCdf(torch.cat([none, *groups[:i]]), group, width, dropout)
        for i, group in enumerate(groups)
    ]
    return OnTheCube(layers[::-1])
