"""The flow of lesson 03 on Fashion-MNIST: a velocity trained by flow matching on 28x28 clothes.

    python assets/checkpoints/flow_fashion.py        # about six minutes of one core

Writes flow_fashion.safetensors and its entry of MANIFEST.json, both beside this file. Images are
scaled to [-1, 1]; the weights are a moving average. 96 test images are stored with them, so that
the measurement needs no download.
"""

import json

import torch
from torch import Tensor, nn

from course_utils.checkpoints import publish
from course_utils.data import fashion_mnist
from course_utils.flow_matching import flow_matching_loss
from course_utils.training import ema, fit
from course_utils.unet import UNet

SEED, STEPS, BATCH, SHOWN = 0, 3500, 32, 96


class Clothes(nn.Module):
    """v(x, t) for images (B, 1, 28, 28) and t in [0, 1]: the U-Net of lesson 13, on 14x14x4."""

    def __init__(self) -> None:
        super().__init__()
        self.net = UNet((1, 28, 28), width=32, patch=2, dense=0)
        self.register_buffer("images", torch.zeros(SHOWN, 1, 28, 28, dtype=torch.uint8))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt in the shape of x."""
        return self.net(x, 1000 * t)


def network() -> Clothes:
    """The velocity, untrained."""
    return Clothes()


def loss_fn(model: nn.Module, x1: Tensor) -> Tensor:
    """Flow-matching loss per pixel, one t from each of B equal parts of [0, 1]."""
    t = (torch.arange(len(x1)) + torch.rand(len(x1))) / len(x1)
    return flow_matching_loss(model, torch.randn_like(x1), x1, t).mean() / x1[0].numel()


def train(model: nn.Module) -> nn.Module:
    """On the 60,000 training images; the averaged network, with test images beside it."""
    data = fashion_mnist()
    model.images.copy_((255 * data.test[:SHOWN]).round().to(torch.uint8))
    images, average = 2 * data.train - 1, ema(model)
    given = {"steps": STEPS, "batch_size": BATCH, "lr": 2e-3, "average": average}
    for step in fit(model, loss_fn, images, **given, progress=False):
        if step.number % 250 == 0:
            print(f"step {step.number:5d}  loss {step.loss:.4f}", flush=True)
    return average.module


@torch.no_grad()
def metrics(model: nn.Module, seed: int = 2) -> dict[str, float]:
    """The loss per pixel on the stored test images, 16 times with new noise and times."""
    x1 = 2 * model.images.float() / 255 - 1
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        losses = [loss_fn(model, x1[torch.randperm(len(x1))]) for _ in range(16)]
    return {"loss_per_pixel": round(float(torch.stack(losses).mean()), 5)}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    model = train(network())
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
