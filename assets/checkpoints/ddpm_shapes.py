"""The DDPM of lesson 13 on 16x16 colour shapes: train it, measure it, note it.

    python assets/checkpoints/ddpm_shapes.py        # about five minutes of one core

Writes ddpm_shapes.safetensors and its entry of MANIFEST.json, both beside this file. Images are
scaled to [-1, 1], the network predicts eps, the weights are a moving average.
"""

import json

import torch
from torch import Tensor, nn

from course_utils.checkpoints import publish
from course_utils.diffusion import NoiseSchedule, simple_loss
from course_utils.shapes import shapes
from course_utils.training import ema, fit
from course_utils.unet import UNet

SEED, STEPS = 0, 3000


def network() -> UNet:
    """The lesson's eps-network, untrained."""
    return UNet((3, 16, 16), multipliers=(1, 2, 2))


def schedule() -> NoiseSchedule:
    """The schedule that it is trained for."""
    return NoiseSchedule.cosine(1000)


def loss_fn(model: nn.Module, x0: Tensor) -> Tensor:
    """Mean squared error of eps per entry, one t from each of B equal parts of 1..T."""
    known, B = schedule(), len(x0)
    t = (((torch.arange(B) + torch.rand(B)) / B * known.T).long() + 1).clamp(max=known.T)
    return simple_loss(model, known, x0, t, torch.randn_like(x0)).mean() / x0[0].numel()


def train(model: nn.Module) -> nn.Module:
    """On 20,000 shapes; the averaged network."""
    images, average = 2 * shapes(20_000, seed=SEED + 1).images - 1, ema(model)
    given = {"steps": STEPS, "batch_size": 32, "lr": 3e-3, "average": average}
    for step in fit(model, loss_fn, images, **given, progress=False):
        if step.number % 250 == 0:
            print(f"step {step.number:5d}  loss {step.loss:.4f}", flush=True)
    return average.module


@torch.no_grad()
def metrics(model: nn.Module, seed: int = 2) -> dict[str, float]:
    """Mean squared error of eps per entry, over all t, on fresh shapes; 1: knowing nothing."""
    x0 = 2 * shapes(1000, seed=seed).images - 1
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        losses = [loss_fn(model, x0[torch.randperm(len(x0))]) for _ in range(4)]
    return {"eps_loss_per_entry": round(float(torch.stack(losses).mean()), 5)}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    model = train(network())
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
