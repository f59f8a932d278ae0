"""The autoencoder of lesson 04 on Fashion-MNIST with 16 numbers a code: train, measure, note.

    python assets/checkpoints/fashion_codes.py        # about five minutes on one core

Encoder, decoder, a mixture of Gaussians fitted to the codes of the training images, and 96 test
images, so that the measurement needs no download. Writes fashion_codes.safetensors and its entry of
MANIFEST.json, both beside this file.
"""

import json

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from course_utils import networks
from course_utils.checkpoints import publish
from course_utils.data import fashion_mnist
from course_utils.training import ema, fit

SEED, STEPS, IMAGE, K, PARTS, SHOWN = 0, 2000, (1, 28, 28), 16, 20, 96


def network() -> nn.ModuleDict:
    """Encoder and decoder of the lesson, untrained, and room for the mixture of the codes."""
    encoder, decoder = networks.ConvEncoder(IMAGE, K), networks.ConvDecoder(K, IMAGE)
    model = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
    sizes = {"shares": (PARTS,), "means": (PARTS, K), "factors": (PARTS, K, K)}
    for name, size in sizes.items():
        model.register_buffer(name, torch.zeros(size))
    model.register_buffer("images", torch.zeros(SHOWN, *IMAGE, dtype=torch.uint8))
    return model


def code_loss(model: nn.ModuleDict, x: Tensor) -> Tensor:
    """||f(g(x)) - x||^2, summed over pixels, mean over the batch."""
    return (model.decoder(model.encoder(x)) - x).square().flatten(1).sum(dim=1).mean()


def fill_mixture(model: nn.ModuleDict, codes: Tensor) -> None:
    """The mixture that fits the codes, by EM with full covariances; factors F F^T = covariance."""
    found = GaussianMixture(PARTS, reg_covar=1e-4, random_state=SEED).fit(codes.double().numpy())
    model.shares.copy_(torch.from_numpy(found.weights_))
    model.means.copy_(torch.from_numpy(found.means_))
    model.factors.copy_(torch.linalg.cholesky(torch.from_numpy(found.covariances_)))


@torch.no_grad()
def drawn(model: nn.ModuleDict, n: int, seed: int) -> Tensor:
    """Images (n, 1, 28, 28) of codes drawn from the mixture."""
    rng = torch.Generator().manual_seed(seed)
    part = torch.multinomial(model.shares + 1e-9, n, replacement=True, generator=rng)
    eps = torch.randn(n, K, generator=rng)
    codes = model.means[part] + torch.einsum("nij,nj->ni", model.factors[part], eps)
    return model.decoder(codes)


@torch.no_grad()
def metrics(model: nn.ModuleDict, seed: int = 2) -> dict[str, float]:
    """On the stored test images: squared error of the code, and to the nearest of 2,000 draws."""
    test = model.images / 255
    samples = torch.cat([drawn(model, 500, 4 * seed + part) for part in range(4)])
    apart = torch.cdist(test.flatten(1), samples.flatten(1)).amin(dim=1).square().mean()
    found = {"squared_error": code_loss(model, test), "squared_error_nearest_draw": apart}
    return {name: round(float(value), 5) for name, value in found.items()}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    data, model = fashion_mnist(), network()
    average = ema(model)
    given = {"steps": STEPS, "batch_size": 64, "lr": 3e-3, "seed": SEED, "average": average}
    for step in fit(model, code_loss, data.train, **given, progress=False):
        if step.number % 250 == 0:
            print(f"step {step.number:5d}  loss {step.loss:6.2f}", flush=True)
    model = average.module.eval()
    with torch.no_grad():
        fill_mixture(model, torch.cat([model.encoder(x) for x in data.train[:20_000].split(1000)]))
    model.images.copy_((255 * data.test[:SHOWN]).round())
    print(json.dumps(publish(__file__, model, SEED, metrics(model)), indent=1))


if __name__ == "__main__":
    main()
