"""The DCGAN that opens lessons 08 and 09: 28x28 clothes (Fashion-MNIST), the plain game.

    python assets/checkpoints/dcgan_fashion.py        # about ten minutes of one core

Writes dcgan_fashion.safetensors and its entry of MANIFEST.json, both beside this file. By the rules
of Radford et al. 2016: strided convolutions, batch normalisation, ReLU in G, leaky ReLU in D, Tanh,
Adam at 2e-4 with beta1 = 0.5; non-saturating loss. Stored is a moving average of G; images are in
[-1, 1]. 96 test images are stored with the weights, so that the measurement needs no download.
"""

import json

import torch
from torch import Tensor, nn

from course_utils import gan
from course_utils.checkpoints import publish
from course_utils.data import fashion_mnist
from course_utils.training import ema

SEED, STEPS, B, Z, SHOWN = 0, 6000, 64, 64, 96


def network(C: int = 32) -> nn.Sequential:
    """G: z (B, 64) -> images (B, 1, 28, 28) in [-1, 1]; with room for the test images, uint8."""
    G = nn.Sequential(
        nn.Unflatten(1, (Z, 1, 1)),
        nn.ConvTranspose2d(Z, 4 * C, 7, bias=False),  # 7x7
        nn.BatchNorm2d(4 * C),
        nn.ReLU(),
        nn.ConvTranspose2d(4 * C, C, 4, stride=2, padding=1, bias=False),  # 14x14
        nn.BatchNorm2d(C),
        nn.ReLU(),
        nn.ConvTranspose2d(C, 1, 4, stride=2, padding=1),  # 28x28
        nn.Tanh(),
    )
    G.register_buffer("images", torch.zeros(SHOWN, 1, 28, 28, dtype=torch.uint8))
    return G


def discriminator(C: int = 32) -> nn.Sequential:
    """D: images to logits (B,)."""
    return nn.Sequential(
        nn.Conv2d(1, C, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(C, 2 * C, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * C),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * C, 1, 7),
        nn.Flatten(0),
    )


def train(G: nn.Module) -> nn.Module:
    """Both players at one rate, one step each; the average of G over the steps."""
    data = fashion_mnist()
    G.images.copy_((255 * data.test[:SHOWN]).round().to(torch.uint8))
    x, D, average = 2 * data.train - 1, discriminator(), ema(G, 0.998)
    for module in (*G.modules(), *D.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
    players = [torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in (G, D)]
    for step in range(STEPS):
        real = x[torch.randint(len(x), (1, B))]
        seen = gan.gan_step(G, D, *players, real, torch.randn(2, B, Z), gan.NON_SATURATING)
        average.update_parameters(G)
        if step % 500 == 499:
            print(step + 1, [round(float(value), 3) for value in seen], flush=True)
    return average.module


def _sharp(images: Tensor) -> Tensor:
    """Mean square of the difference of neighbouring pixels."""
    right = (images[..., 1:] - images[..., :-1]).square().mean()
    return right + (images[..., 1:, :] - images[..., :-1, :]).square().mean()


@torch.no_grad()
def metrics(G: nn.Module, seed: int = 2) -> dict[str, float]:
    """8,000 samples beside the stored test images: ratio of their sharpness, and of their spread.

    `sharpness`: mean squared difference of neighbouring pixels, samples over images. `spread`: the
    variance of a pixel over the images, the same ratio. 1 is right.
    """
    z = torch.randn(8000, Z, generator=torch.Generator().manual_seed(seed))
    fake = torch.cat([G.eval()(part) for part in z.split(500)])
    real = 2 * G.images.float() / 255 - 1
    found = {
        "sharpness": _sharp(fake) / _sharp(real),
        "spread": fake.var(dim=0).mean() / real.var(dim=0).mean(),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    model = train(network())
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
