"""The DCGAN of lesson 09 on close-ups of shapes, for walks and arithmetic: train, measure, note.

    python assets/checkpoints/dcgan_shapes.py      # about four minutes on one idle core

Writes dcgan_shapes.safetensors and its entry of MANIFEST.json, both beside this file.
"""

import json
import math

import torch
from torch import nn

from course_utils import gan
from course_utils.checkpoints import publish
from course_utils.shapes import BIG, CLOSE, close_ups, read_factors
from course_utils.training import ema

SEED, K, B, STEPS = 0, 16, 32, 6000


def network() -> nn.Sequential:
    """The generator (B, 16) -> (B, 3, 16, 16), untrained."""
    return nn.Sequential(
        *(nn.Linear(K, 64 * 16), nn.Unflatten(1, (64, 4, 4))),
        *(nn.BatchNorm2d(64), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1)),
        *(nn.BatchNorm2d(32), nn.ReLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1)),
        *(nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1), nn.Sigmoid()),
    )


def discriminator() -> nn.Sequential:
    """The discriminator (B, 3, 16, 16) -> (B,)."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(64, 1, 4), nn.Flatten(0)),
    )


def train(G: nn.Module) -> nn.Module:
    """Non-saturating game with R1 and R2; the average of G's weights over the steps."""
    x, D, average = close_ups(20_000, seed=SEED + 1).images, discriminator(), ema(G)
    players = [torch.optim.Adam(n.parameters(), lr=2e-3, betas=(0.5, 0.99)) for n in (G, D)]
    for step in range(STEPS):
        for player in players:
            player.param_groups[0]["lr"] = 1e-3 * (1 + math.cos(math.pi * step / STEPS))
        real, z = x[torch.randint(len(x), (1, B))], torch.randn(2, B, K)
        gamma = 0.4 if step % 8 == 0 else 0.0  # 0.05 on average
        gan.gan_step(G, D, *players, real, z, gan.NON_SATURATING, gamma)
        average.update_parameters(G)
        if step % 500 == 499:
            print(step + 1, metrics(average.module.eval()), flush=True)
    return average.module


@torch.no_grad()
def metrics(model: nn.Module, seed: int = 2) -> dict[str, float]:
    """What 16,000 samples show, and 2,000 sums (big red) - (small red) + (small blue).

    `read_drawing`: share of samples within 0.01 of a legal drawing, squared error per channel and
    covered pixel; `read_disc`: share of discs (0.25 in the data). Each sum is of three means of 20
    latents: `read_bigger` is the share larger than the mean of small blues that it began with. (How
    many a caption would call big and blue, 0.4 to 0.6, depends on the draw of the groups.)
    """
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(16_000, K, generator=rng)
    factors, error = read_factors(model.eval()(z))
    size, hue = factors[:, 3], factors[:, 4]
    big, red, blue = size > CLOSE * BIG, hue < 0.05, (hue >= 0.55) & (hue < 0.68)
    groups = [z[rows & (error < 0.005)] for rows in (big & red, ~big & red, ~big & blue)]
    groups = [g if len(g) else z for g in groups]  # an untrained G draws nothing of the kind
    picked = [torch.randint(len(g), (2000, 20), generator=rng) for g in groups]
    a, b, c = (g[rows].mean(dim=1) for g, rows in zip(groups, picked, strict=True))
    (before, _), (after, _) = (read_factors(model(point)) for point in (c, a - b + c))
    shares = {
        "read_drawing": error < 0.01 * math.pi * size**2,
        "read_disc": factors[:, 0] == 0,
        "read_bigger": after[:, 3] > before[:, 3],
    }
    return {name: round(float(share.float().mean()), 5) for name, share in shares.items()}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    model = train(network())
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
