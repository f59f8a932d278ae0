"""The conditional GANs of lesson 09 on digits, D blind or sighted: train, measure, note.

    python assets/checkpoints/cgan_digits.py       # about two minutes on one core

Writes cgan_digits.safetensors and its entry of MANIFEST.json, both beside this file.
"""

import json
import math

import torch
from torch import Tensor, nn

from course_utils import gan
from course_utils.checkpoints import publish
from course_utils.data import digits
from course_utils.networks import MLP
from course_utils.training import ema

SEED, K, STEPS = 0, 16, 4000
EYE = torch.eye(10)  # a row is the one-hot code of a label


def leaky() -> nn.Module:
    """The activation of both players."""
    return nn.LeakyReLU(0.2)


def network() -> nn.ModuleDict:
    """The two generators (B, K + 10) -> (B, 64), untrained."""

    def one() -> nn.Module:
        return nn.Sequential(MLP((K + 10, 128, 128, 64), leaky), nn.Sigmoid())

    return nn.ModuleDict({"blind": one(), "sighted": one()})


def train(net: nn.Module, sighted: bool) -> nn.Module:
    """A GAN on pairs (x, y) whose generator hands y through; the average of its weights."""
    x, y = digits().train.flatten(1), EYE[digits().train_labels]
    judge, sd = MLP((64 + 10 * sighted, 128, 128, 1), leaky), 0.3

    def G(zy: Tensor) -> Tensor:
        return torch.cat([net(zy), zy[:, K:]], dim=1)

    def D(xy: Tensor) -> Tensor:
        image = gan.instance_noise(xy[:, :64], sd)
        return judge(torch.cat([image, xy[:, 64:]], dim=1) if sighted else image).squeeze(1)

    average = ema(net)
    players = [torch.optim.Adam(n.parameters(), lr=2e-3, betas=(0.5, 0.99)) for n in (net, judge)]
    for step in range(STEPS):
        sd = 0.3 * (0.05 / 0.3) ** min(1.0, step / (0.7 * STEPS))
        for player in players:
            player.param_groups[0]["lr"] = 1e-3 * (1 + math.cos(math.pi * step / STEPS))
        i = torch.randint(len(x), (64,))
        real, z = torch.cat([x[i], y[i]], dim=1), torch.randn(2, 64, K)
        zy = torch.cat([z, y[i].expand(2, -1, -1)], dim=2)
        gamma = 1.2 if step % 4 == 0 else 0.0  # 0.3 on average
        gan.gan_step(G, D, *players, real[None], zy, gan.NON_SATURATING, gamma)
        average.update_parameters(net)
    return average.module


@torch.no_grad()
def metrics(model: nn.ModuleDict, seed: int = 2) -> dict[str, float]:
    """Share of 8,000 images whose nearest real training image has the label that was asked for."""
    x, labels = digits().train.flatten(1), digits().train_labels
    y = torch.arange(10).repeat(800)
    rng = torch.Generator().manual_seed(seed)
    zy = torch.cat([torch.randn(len(y), K, generator=rng), EYE[y]], dim=1)
    read = {name: labels[torch.cdist(G(zy), x).argmin(dim=1)] for name, G in model.items()}
    right = {name: float((found == y).float().mean()) for name, found in read.items()}
    return {f"read_label_{name}": round(share, 5) for name, share in right.items()}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    model = network()
    model = nn.ModuleDict({name: train(net, name == "sighted") for name, net in model.items()})
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
