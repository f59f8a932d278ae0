"""The VAE that opens lessons 05 and 06: a convolutional one on 28x28 clothes (Fashion-MNIST).

    python assets/checkpoints/vae_fashion.py        # about four minutes of one core

Writes vae_fashion.safetensors and its entry of MANIFEST.json, both beside this file. Images are in
[0, 1]; p(x|z) is Gaussian of variance ETA. 96 test images are stored with the weights, so that the
measurement needs no download.
"""

import json

import torch
from torch import Tensor, nn

from course_utils import networks, vae
from course_utils.checkpoints import publish
from course_utils.data import fashion_mnist
from course_utils.training import fit

SEED, STEPS, K, ETA, SHOWN = 0, 6000, 12, 0.08, 96
IMAGE = (1, 28, 28)


def network() -> vae.VAE:
    """Encoder and decoder, untrained, with room for the test images (96, 1, 28, 28), uint8."""
    encoder = networks.ConvEncoder(IMAGE, 2 * K, width=32)
    decoder = networks.ConvDecoder(K, IMAGE, width=32)
    model = vae.VAE(encoder, decoder, vae.Gaussian(ETA), latent_dim=K)
    model.register_buffer("images", torch.zeros(SHOWN, *IMAGE, dtype=torch.uint8))
    return model


def train(model: vae.VAE) -> None:
    """On the 60,000 training images; minus the ELBO."""
    data = fashion_mnist()
    model.images.copy_((255 * data.test[:SHOWN]).round().to(torch.uint8))

    def loss_fn(model: nn.Module, x: Tensor) -> Tensor:
        return vae.vae_loss(model, x).mean()

    given = {"steps": STEPS, "batch_size": 64, "lr": 2e-3, "seed": SEED}
    for step in fit(model, loss_fn, data.train, **given, progress=False):
        if step.number % 500 == 0:
            print(f"step {step.number:5d}  loss {step.loss:8.1f}", flush=True)


@torch.no_grad()
def metrics(model: vae.VAE, seed: int = 2) -> dict[str, float]:
    """On the stored test images: squared error of an image and KL in nats, sixteen draws each."""
    x, rng = model.images.float() / 255, torch.Generator().manual_seed(seed)
    mean, log_var = model.encode(x)
    draws = [
        (
            model.decode(vae.reparameterise(mean, log_var, torch.randn(mean.shape, generator=rng)))
            - x
        )
        .square()
        .sum()
        / len(x)
        for _ in range(16)
    ]
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum() / len(x)
    found = {"squared_error": torch.stack(draws).mean(), "kl": kl}
    return {name: round(float(value), 3) for name, value in found.items()}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    model = network()
    train(model)
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
