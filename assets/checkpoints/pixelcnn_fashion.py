"""The PixelCNN of lesson 02 on Fashion-MNIST in 16 grey levels, 28x28: train, measure, note.

    python assets/checkpoints/pixelcnn_fashion.py      # about four minutes on one idle core

Writes pixelcnn_fashion.safetensors and its entry of MANIFEST.json, both beside this file. With the
weights go eight test images of Fashion-MNIST (MIT licence), whose rest the lesson continues.
"""

import json
import math

import torch
from torch import nn

from course_utils import autoregressive
from course_utils.checkpoints import publish
from course_utils.data import fashion_mnist
from course_utils.training import ema, fit

SEED, LEVELS, STEPS, B = 0, 16, 1200, 16
EXAMPLES = (0, 1, 2, 5, 6, 12, 19, 23)  # rows of the test set


def network() -> nn.Module:
    """The model, untrained, with room for the examples (8, 28, 28), uint8."""
    model = autoregressive.PixelCNN((28, 28), LEVELS, channels=64, blocks=7, size=7)
    model.register_buffer("examples", torch.zeros(8, 28, 28, dtype=torch.uint8))
    return model


def levels(images: torch.Tensor) -> torch.Tensor:
    """Pixels in [0, 1], of 256 grey values, to 16 levels, (N, 28, 28)."""
    return (images[:, 0] * 255).round().long() // 16


def loss(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Nats per pixel, mean of the batch."""
    return -autoregressive.log_prob(model, x).mean() / x[0].numel()


@torch.no_grad()
def metrics(model: nn.Module, seed: int = 0) -> dict[str, float]:
    """Bits per dimension of the examples that the model brings; nothing is drawn."""
    nats = loss(model.eval(), model.examples.long())
    return {"bits_per_dim_of_examples": round(float(nats) / math.log(2), 4)}


@torch.no_grad()
def test_bits(model: nn.Module, test: torch.Tensor) -> float:
    """Bits per dimension of 1,000 test images."""
    nats = torch.stack([loss(model.eval(), batch) for batch in test[:1000].split(50)]).mean()
    return float(nats) / math.log(2)


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    images, model = fashion_mnist(), network()
    train, test = levels(images.train), levels(images.test)
    model.examples.copy_(test[list(EXAMPLES)])
    average = ema(model, 0.99)
    run = fit(
        model,
        loss,
        train,
        steps=STEPS,
        batch_size=B,
        lr=3e-3,
        seed=SEED,
        average=average,
        progress=False,
    )
    for step in run:
        if step.number % 100 == 0:
            print(f"{step.number}: {step.loss / math.log(2):.3f} bits/dim", flush=True)
    model = average.module
    print(f"1,000 test images: {test_bits(model, test):.3f} bits/dim")
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
