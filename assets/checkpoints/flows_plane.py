"""The flows of lesson 03 in the plane: couplings and FFJORD on moons, two flows on 25 modes.

    python assets/checkpoints/flows_plane.py        # about four minutes of one core

Writes flows_plane.safetensors and its entry of MANIFEST.json, both beside this file.
"""

import json
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils.checkpoints import publish
from course_utils.data import mixture, moons
from course_utils.flow_matching import flow_matching_loss, log_prob
from course_utils.flows import AffineCoupling, Flow, SplineCoupling
from course_utils.networks import MLP
from course_utils.training import ema, fit

SEED, COUNTS, BINS = 0, (1, 2, 4, 8), 24


def couplings(n: int, swap: bool = True) -> Flow:
    """RealNVP in the plane: n affine couplings whose halves take turns, or not."""
    sides = [i % 2 * swap for i in range(n)]
    return Flow([AffineCoupling([i], [1 - i], MLP((1, 64, 64, 2))) for i in sides])


def splines() -> Flow:
    """Four spline couplings of 24 bins."""
    nets = [MLP((1, 64, 64, 3 * BINS - 1)) for _ in range(4)]
    return Flow([SplineCoupling([i % 2], [1 - i % 2], net, BINS) for i, net in enumerate(nets)])


class Smooth(nn.Module):
    """FFJORD's velocity: a small network of (x, t) with tanh, whose derivative is smooth."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MLP((3, 64, 64, 2), nn.Tanh)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt (B, 2)."""
        return self.net(torch.cat([x, t[:, None]], dim=1))


class Waves(nn.Module):
    """A velocity that sees x and t also as waves: 25 modes need sharp borders."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MLP((23, 128, 128, 128, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt (B, 2)."""
        u = (x[:, :, None] * torch.arange(1, 5) * math.pi / 4).flatten(1)  # (B, 8)
        t = t[:, None]
        w = torch.cat([math.pi * t, 2 * math.pi * t, u], dim=1)  # (B, 10)
        return self.net(torch.cat([x / 3, t, w.sin(), w.cos()], dim=1))


def network() -> nn.ModuleDict:
    """All of them, untrained, by name."""
    nets = {f"moons{n}": couplings(n) for n in COUNTS} | {"stuck": couplings(8, swap=False)}
    return nn.ModuleDict({**nets, "splines": splines(), "matching": Waves(), "ffjord": Smooth()})


def likelihood(model: Flow, x: Tensor) -> Tensor:
    """Minus the mean log-density, nats."""
    return -model.log_prob(x).mean()


def ode_likelihood(model: nn.Module, x: Tensor) -> Tensor:
    """The same along an ODE of 6 steps, with one probe of signs per example."""
    return -log_prob(model, x, 6, torch.randint(0, 2, x.shape) * 2.0 - 1).mean()


def matching(model: nn.Module, x1: Tensor) -> Tensor:
    """Flow matching."""
    return flow_matching_loss(model, torch.randn_like(x1), x1, torch.rand(len(x1))).mean()


def trained(model: nn.Module, loss: Callable, data: Tensor, **given: object) -> nn.Module:
    """The averaged network after a run."""
    average = ema(model, 0.995)
    for step in fit(model, loss, data, average=average, progress=False, **given):
        if step.number % 250 == 0:
            print(f"{given['label']} step {step.number:5d}  loss {step.loss:.4f}", flush=True)
    return average.module


def train() -> nn.ModuleDict:
    """One is made and trained after the other; the averaged networks."""
    two = moons(100_000, seed=1).float()
    many = mixture("grid25_wide").sample(200_000, torch.Generator().manual_seed(1)).float()
    nets, fast = nn.ModuleDict(), {"steps": 1500, "batch_size": 256, "lr": 3e-3}
    for n in COUNTS:
        nets[f"moons{n}"] = trained(couplings(n), likelihood, two, label=f"{n} couplings", **fast)
    nets["stuck"] = trained(couplings(8, False), likelihood, two, label="no swap", **fast)
    slow = {"steps": 1500, "batch_size": 512, "lr": 5e-3, "clip": 5.0}
    nets["splines"] = trained(splines(), likelihood, many, label="splines", **slow)
    wide = {**slow, "steps": 3000, "lr": 4e-3}
    nets["matching"] = trained(Waves(), matching, many, label="matching", **wide)
    ode = {"steps": 1200, "batch_size": 256, "lr": 5e-3, "clip": 5.0}
    nets["ffjord"] = trained(Smooth(), ode_likelihood, two, label="FFJORD", **ode)
    return nets


@torch.no_grad()
def metrics(nets: nn.ModuleDict, seed: int = 2) -> dict[str, float]:
    """Minus mean log-densities on 10,000 fresh points, nats; flow matching by its own ODE."""
    two = moons(10_000, seed=seed).float()
    many = mixture("grid25_wide").sample(10_000, torch.Generator().manual_seed(seed)).float()
    found = {f"{n} couplings": likelihood(nets[f"moons{n}"], two) for n in COUNTS}
    found |= {"8 couplings, no swap": likelihood(nets["stuck"], two)}
    found |= {"FFJORD": -log_prob(nets["ffjord"], two, 20).mean()}
    found |= {"25 modes, splines": likelihood(nets["splines"], many)}
    found |= {"25 modes, flow matching": -log_prob(nets["matching"], many, 20).mean()}
    found |= {"25 modes, entropy": -mixture("grid25_wide").log_prob(many.double()).mean()}
    return {name: round(float(value), 4) for name, value in found.items()}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    nets = train()
    print(json.dumps(publish(__file__, nets, SEED, metrics(nets)), indent=1))


if __name__ == "__main__":
    main()
