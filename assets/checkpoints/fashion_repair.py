"""The network of lesson 04 that repairs noisy and half-hidden Fashion-MNIST: train, measure, note.

    python assets/checkpoints/fashion_repair.py        # about five minutes on one core

The file also holds 96 test images, so that lesson and measurement need no download. Writes
fashion_repair.safetensors and its entry of MANIFEST.json, both beside this file.
"""

import json

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from course_utils.checkpoints import publish
from course_utils.data import fashion_mnist
from course_utils.training import ema, fit

SEED, STEPS, SHOWN, SD, GREY = 0, 2000, 96, 0.5, 0.5
ALL, FIRST, LAST = slice(None), slice(0, 14), slice(14, 28)
HALVES = ((ALL, LAST), (ALL, FIRST), (LAST, ALL), (FIRST, ALL))  # rows and columns that are hidden


class Repair(nn.Module):
    """A damaged image in, an image out: three scales; the way up sees the way down."""

    def __init__(self, C: int = 16) -> None:
        super().__init__()
        self.in28, self.down14 = nn.Conv2d(1, C, 3, 1, 1), nn.Conv2d(C, 2 * C, 4, 2, 1)
        self.down7 = nn.Conv2d(2 * C, 4 * C, 4, 2, 1)
        self.at7 = nn.ModuleList(nn.Conv2d(4 * C, 4 * C, 3, 1, 1) for _ in range(3))
        self.up14 = nn.ConvTranspose2d(4 * C, 2 * C, 4, 2, 1)
        self.up28 = nn.ConvTranspose2d(4 * C, C, 4, 2, 1)
        self.out = nn.Conv2d(2 * C, 1, 3, 1, 1)
        self.register_buffer("images", torch.zeros(SHOWN, 1, 28, 28, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) to (B, 1, 28, 28)."""
        h28 = silu(self.in28(x))
        h14 = silu(self.down14(h28))
        h = silu(self.down7(h14))
        for conv in self.at7:
            h = h + silu(conv(h))
        h = torch.cat([silu(self.up14(h)), h14], dim=1)
        return self.out(torch.cat([silu(self.up28(h)), h28], dim=1))


def damaged(x: Tensor) -> Tensor:
    """Half of the images with noise of standard deviation SD, of the others one half is grey."""
    noisy, hidden = x.tensor_split(2)
    hidden = hidden.clone()
    for part, (rows, columns) in zip(hidden.chunk(4), HALVES, strict=True):
        part[..., rows, columns] = GREY
    return torch.cat([noisy + SD * torch.randn_like(noisy), hidden])


def repair_loss(model: nn.Module, x: Tensor) -> Tensor:
    """||r(x~) - x||^2, summed over pixels, mean over the batch."""
    return (model(damaged(x)) - x).square().flatten(1).sum(dim=1).mean()


def network() -> Repair:
    """The network, untrained, with room for the images."""
    return Repair()


@torch.no_grad()
def metrics(model: Repair, seed: int = 2) -> dict[str, float]:
    """Squared errors per image on the stored test images, damaged and then repaired."""
    torch.manual_seed(seed)
    test, found = model.images / 255, {}
    seen = damaged(test)
    for name, image in (("damaged", seen), ("repaired", model(seen))):
        error = (image - test).square().flatten(1).sum(dim=1)
        for kind, part in zip(("noise", "hidden"), error.tensor_split(2), strict=True):
            found[f"squared_error_{kind}_{name}"] = round(float(part.mean()), 5)
    return found


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    data, model = fashion_mnist(), network()
    average = ema(model)
    given = {"steps": STEPS, "batch_size": 64, "lr": 3e-3, "seed": SEED, "average": average}
    for step in fit(model, repair_loss, data.train, **given, progress=False):
        if step.number % 250 == 0:
            print(f"step {step.number:5d}  loss {step.loss:6.2f}", flush=True)
    model = average.module.eval()
    model.images.copy_((255 * data.test[:SHOWN]).round())
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
