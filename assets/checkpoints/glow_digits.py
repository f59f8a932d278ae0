"""The toy Glow of lesson 03 on 8x8 digits: train it, measure it, note it.

    python assets/checkpoints/glow_digits.py        # about three minutes of one core

Writes glow_digits.safetensors and its entry of MANIFEST.json, both beside this file. Images are
(k + u) / 17 with levels k = 0..16 and u uniform; the weights are a moving average.
"""

import json
import math

import torch
from torch import Tensor, nn

from course_utils.checkpoints import publish
from course_utils.data import digits
from course_utils.flows import (
    ActNorm,
    AffineCoupling,
    Flow,
    InvertibleConv,
    Logit,
    OnFirstHalf,
    Squeeze,
)
from course_utils.training import ema, fit

SEED, STEPS, WIDTH = 0, 2000, 64


def step(channels: int) -> list[nn.Module]:
    """One step of Glow: actnorm, a 1x1 convolution, an affine coupling."""
    half = channels // 2
    net = nn.Sequential(
        *(nn.Conv2d(half, WIDTH, 3, padding=1), nn.SiLU()),
        *(nn.Conv2d(WIDTH, WIDTH, 1), nn.SiLU(), nn.Dropout(0.1)),
        nn.Conv2d(WIDTH, channels, 3, padding=1),
    )
    nn.init.zeros_(net[-1].weight)
    nn.init.zeros_(net[-1].bias)
    coupling = AffineCoupling(range(half), range(half, channels), net, limit=1.0)
    return [ActNorm(channels), InvertibleConv(channels), coupling]


def network() -> Flow:
    """1x8x8 to 4x4x4, five steps; half of it leaves, the other goes on as 8x2x2, five steps."""
    prior = nn.Conv2d(2, 4, 3, padding=1)
    nn.init.zeros_(prior.weight)
    nn.init.zeros_(prior.bias)
    inner = Flow([Squeeze(), *(layer for _ in range(5) for layer in step(8))])
    leave = [AffineCoupling(range(2), range(2, 4), prior), OnFirstHalf(inner)]
    return Flow([Logit(), Squeeze(), *(layer for _ in range(5) for layer in step(4)), *leave])


def loss_fn(model: Flow, levels: Tensor) -> Tensor:
    """Minus the mean log-density of dequantised digits, in bits per dimension."""
    nats = -model.log_prob((levels + torch.rand_like(levels)) / 17).mean()
    return nats / (64 * math.log(2)) + math.log2(17)


def train(model: Flow) -> nn.Module:
    """On the 1,347 training digits; the averaged network."""
    levels = (16 * digits().train).round()
    with torch.no_grad():
        loss_fn(model, levels[:200])  # sets the actnorms
    average = ema(model)
    given = {"steps": STEPS, "batch_size": 64, "lr": 3e-3, "clip": 1.0, "average": average}
    for done in fit(model, loss_fn, levels, **given, progress=False):
        if done.number % 250 == 0:
            print(f"step {done.number:5d}  loss {done.loss:.4f}", flush=True)
    return average.module


@torch.no_grad()
def metrics(model: Flow, seed: int = 2) -> dict[str, float]:
    """Bits per dimension of the training and test digits."""
    data = digits()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = {
            name: loss_fn(model, (16 * x).round())
            for name, x in (("train", data.train), ("test", data.test))
        }
    return {f"bits_per_dim_{name}": round(float(value), 4) for name, value in found.items()}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    model = train(network())
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
