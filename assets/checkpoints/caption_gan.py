"""The caption-conditioned GAN of lesson 09 on close-ups of shapes: train it, measure it, note it.

    python assets/checkpoints/caption_gan.py       # about five minutes on one idle core

Writes caption_gan.safetensors and its entry of MANIFEST.json, both beside this file.
"""

import json
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import gan
from course_utils.checkpoints import publish
from course_utils.shapes import COLOURS, SHAPES, caption_close_up, close_ups, read_factors
from course_utils.training import ema

SEED, K, B, STEPS = 0, 8, 32, 4000
WORDS = ("small", "big", *COLOURS, *SHAPES)


def words(captions: list[str]) -> Tensor:
    """A caption as a bag of words, (B, 13): 1 for each word of WORDS that it has."""
    return torch.tensor([[float(w in c.split()) for w in WORDS] for c in captions])


class Generator(nn.Module):
    """(z, words) -> image: the words stand beside the noise."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(K + len(WORDS), 64 * 16), nn.Unflatten(1, (64, 4, 4))),
            *(nn.BatchNorm2d(64), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1)),
            *(nn.BatchNorm2d(32), nn.ReLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1)),
            *(nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1), nn.Sigmoid()),
        )

    def forward(self, z: Tensor, text: Tensor) -> Tensor:
        """(B, K), (B, 13) -> (B, 3, 16, 16)."""
        return self.net(torch.cat([z, text], dim=1))


class Discriminator(nn.Module):
    """(image, words) -> logit: the words join the features at every place of the 4 by 4 map."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(
            *(nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2)),
            *(nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2)),
        )
        self.compare = nn.Sequential(
            *(nn.Conv2d(64 + len(WORDS), 64, 1), nn.LeakyReLU(0.2), nn.Conv2d(64, 1, 4))
        )

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, 3, 16, 16), (B, 13) -> (B,)."""
        text = text[:, :, None, None].expand(-1, -1, 4, 4)
        return self.compare(torch.cat([self.look(x), text], dim=1)).flatten()


def network() -> Generator:
    """The generator, untrained."""
    return Generator()


def train(G: Generator) -> nn.Module:
    """Matching-aware D, as in the lesson; the average of G's weights over the steps."""
    drawn, D, average = close_ups(20_000, seed=SEED + 1), Discriminator(), ema(G)
    x, y = drawn.images, words(drawn.captions)
    players = [torch.optim.Adam(n.parameters(), lr=2e-3, betas=(0.5, 0.99)) for n in (G, D)]
    for step in range(STEPS):
        for player in players:
            player.param_groups[0]["lr"] = 1e-3 * (1 + math.cos(math.pi * step / STEPS))
        i = torch.randint(len(x), (B,))
        real, right = x[i], y[i]
        other = (right[:, None] != right).any(dim=2).float()  # (B, B)
        wrong = right[torch.multinomial(other, 1)[:, 0]]  # of another row, never the right one
        with torch.no_grad():
            fake = G(torch.randn(B, K), right)
        a = D(torch.cat([real, real, fake]), torch.cat([right, wrong, right])).view(3, B)
        loss = (F.softplus(-a[0]) + 0.5 * F.softplus(a[1]) + 0.5 * F.softplus(a[2])).mean()
        if step % 8 == 0:  # 0.02 / 2 E||slope||^2 on average
            loss = loss + 0.08 * gan.gradient_penalty(D, real, right).mean()
        update(players[1], loss)
        fakes = D(G(torch.randn(B, K), right), right)
        update(players[0], gan.non_saturating_loss(fakes).mean())
        average.update_parameters(G)
        if step % 500 == 499:
            print(step + 1, metrics(average.module.eval()), flush=True)
    return average.module


def update(player: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of one player."""
    player.zero_grad()
    loss.backward()
    player.step()


@torch.no_grad()
def metrics(model: nn.Module, seed: int = 2) -> dict[str, float]:
    """Share of 12,000 images whose size, colour, shape, and all three, are those of the caption.

    Attributes are read off the pixels (`read_factors`): no network judges. `read_spread`: the
    standard deviation of what a caption leaves open, over that of the data, mean of x, y, size
    and hue; 0 if z were ignored.
    """
    real = close_ups(12_000, 4, seed + 1000)
    asked, rng = words(real.captions), torch.Generator().manual_seed(seed)
    factors, _ = read_factors(model.eval()(torch.randn(len(asked), K, generator=rng), asked))
    same = words(caption_close_up(factors)) == asked  # (12000, 13)
    parts = {"size": same[:, :2], "colour": same[:, 2:9], "shape": same[:, 9:], "all": same}
    shares = {name: float(part.all(dim=1).float().mean()) for name, part in parts.items()}
    shares["spread"] = float((spread(factors, asked) / spread(real.factors, asked)).mean())
    return {f"read_{name}": round(share, 5) for name, share in shares.items()}


def spread(factors: Tensor, asked: Tensor) -> Tensor:
    """Standard deviation within captions of x, y, size and hue, (4,)."""
    _, group = asked.unique(dim=0, return_inverse=True)
    member = F.one_hot(group).float()  # (N, captions)
    mean = (member.T @ factors) / member.sum(dim=0)[:, None]
    return (factors - mean[group]).square().mean(dim=0).sqrt()[1:]


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    model = train(network())
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
