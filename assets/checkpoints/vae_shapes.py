"""The convolutional VAE of lesson 06 on colour shapes: train it, measure it, note it.

    python assets/checkpoints/vae_shapes.py        # about eight minutes on two cores

Writes vae_shapes.safetensors and its entry of MANIFEST.json, both beside this file.
"""

import json

import torch
from torch import Tensor

from course_utils import networks, vae
from course_utils.checkpoints import publish
from course_utils.shapes import FACTORS, SHAPES, shapes
from course_utils.training import fit

SEED, IMAGE, K = 0, (3, 16, 16), 8
# The decoder's variance falls: what saves most error is told first, in a latent of its own.
STAGES = {1.0: 800, 0.5: 800, 0.25: 800, 0.12: 1200, 0.06: 1200, 0.03: 4000}  # eta: steps


def network() -> vae.VAE:
    """Encoder and decoder of the lesson, untrained; eta is that of the last stage."""
    encoder, decoder = networks.ConvEncoder(IMAGE, 2 * K), networks.ConvDecoder(K, IMAGE)
    return vae.VAE(encoder, decoder, vae.Gaussian(min(STAGES)), latent_dim=K)


def train(model: vae.VAE) -> None:
    """All stages on 20,000 shapes, each with a warm-up and a cosine of its own."""
    images = shapes(20_000, seed=SEED + 1).images

    def loss_fn(model: vae.VAE, x: Tensor) -> Tensor:
        return vae.vae_loss(model, x).mean()

    for stage, (eta, steps) in enumerate(STAGES.items()):
        model.likelihood = vae.Gaussian(eta)
        given = {"steps": steps, "warmup": steps // 8, "lr": 3e-3, "seed": stage}
        for step in fit(model, loss_fn, images, **given, progress=False):
            if step.number % 400 == 0:
                print(f"eta {eta:<5} step {step.number:5d}  loss {step.loss:8.1f}", flush=True)


@torch.no_grad()
def metrics(model: vae.VAE, seed: int = 2) -> dict[str, float]:
    """On 2,000 fresh shapes: -ELBO in nats per image, error per pixel, and read-outs of factors.

    A read-out predicts a factor from the means of q by the five nearest of 4,000 other shapes:
    R^2, and for the shape the share of right answers. 0 (and 0.25) is guessing, 1 is perfect.
    """
    test, other = shapes(2000, seed=seed), shapes(4000, seed=seed + 1000)
    mean, codes = (model.encode(drawn.images)[0] for drawn in (test, other))
    eps = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    error = (vae.reconstruct(model, test.images) - test.images) ** 2
    nearest = torch.cdist(mean, codes).topk(5, largest=False).indices  # (2000, 5)
    found = {
        "minus_elbo": -float(vae.elbo(model, test.images, eps).mean()),
        "squared_error_per_pixel": float(error.mean()),
        "active_units": vae.active_units(mean),
    }
    read = other.factors[nearest]  # (2000, 5, factors)
    votes = torch.nn.functional.one_hot(read[..., 0].long(), len(SHAPES)).sum(dim=1)
    found["read_shape"] = float((votes.argmax(dim=1) == test.factors[:, 0]).float().mean())
    for column, name in list(enumerate(FACTORS))[1:]:
        truth = test.factors[:, column]
        missed = (truth - read[..., column].mean(dim=1)).square().mean()
        found[f"read_{name}"] = 1 - float(missed / truth.var(unbiased=False))
    return {name: round(value, 5) for name, value in found.items()}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(2)
    torch.manual_seed(SEED)
    model = network()
    train(model)
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
