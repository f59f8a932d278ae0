"""The DDPM that opens lessons 12 and 13: 28x28 clothes (Fashion-MNIST).

    python assets/checkpoints/ddpm_fashion.py        # about twenty minutes of one core

Writes ddpm_fashion.safetensors and its entry of MANIFEST.json, both beside this file. Images are
scaled to [-1, 1], the network predicts eps, t is drawn from equal parts of 1..T, the weights are a
moving average. 96 test images are stored with them, so that the measurement needs no download.
"""

import json

import torch
from torch import Tensor, nn

from course_utils.checkpoints import publish
from course_utils.data import fashion_mnist
from course_utils.diffusion import NoiseSchedule, simple_loss
from course_utils.training import ema, fit
from course_utils.unet import UNet

SEED, STEPS, BATCH, SHOWN = 0, 14_000, 32, 96


def network() -> UNet:
    """eps(x_t, t) for images (B, 1, 28, 28): the U-Net of lesson 13 on 14x14x4, untrained."""
    model = UNet((1, 28, 28), width=32, patch=2, dense=0)
    model.register_buffer("images", torch.zeros(SHOWN, 1, 28, 28, dtype=torch.uint8))
    return model


def schedule() -> NoiseSchedule:
    """The schedule that it is trained for."""
    return NoiseSchedule.cosine(1000)


def loss_fn(model: nn.Module, x0: Tensor) -> Tensor:
    """Mean squared error of eps per entry, one t from each of B equal parts of 1..T."""
    known, B = schedule(), len(x0)
    t = (((torch.arange(B) + torch.rand(B)) / B * known.T).long() + 1).clamp(max=known.T)
    return simple_loss(model, known, x0, t, torch.randn_like(x0)).mean() / x0[0].numel()


def train(model: nn.Module) -> nn.Module:
    """On the 60,000 training images; the averaged network."""
    data = fashion_mnist()
    model.images.copy_((255 * data.test[:SHOWN]).round().to(torch.uint8))
    images, average = 2 * data.train - 1, ema(model)
    given = {"steps": STEPS, "batch_size": BATCH, "lr": 2e-3, "average": average}
    for step in fit(model, loss_fn, images, **given, progress=False):
        if step.number % 500 == 0:
            print(f"step {step.number:5d}  loss {step.loss:.4f}", flush=True)
    return average.module


@torch.no_grad()
def metrics(model: nn.Module, seed: int = 2) -> dict[str, float]:
    """Mean squared error of eps per entry on the stored test images, over all t; 1: none known."""
    x0 = 2 * model.images.float() / 255 - 1
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        losses = [loss_fn(model, x0[torch.randperm(len(x0))]) for _ in range(24)]
    return {"eps_loss_per_entry": round(float(torch.stack(losses).mean()), 5)}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    model = train(network())
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
