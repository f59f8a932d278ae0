"""The systems of lesson 07 on colour shapes: a VQ-VAE, a prior over its codes, a mini-CodeFormer.

    python assets/checkpoints/vq_shapes.py        # about five minutes of one core

Writes vq_shapes.safetensors and its entry of MANIFEST.json, both beside this file. The four parts
are trained one after the other, each on what the one before it left: autoencoder and codebook; an
autoregressive prior over the 4x4 codes; a transformer that reads the codes off damaged images; the
controllable feature transformation (CFT) that lets features of the damaged image in again. Beside
them what codebooks of 2 to 64 codes reach, with nine decoded images each.
"""

import json
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import autoregressive, vq
from course_utils.checkpoints import publish
from course_utils.shapes import read_factors, shapes
from course_utils.training import ema, fit

SEED, K, D, BETA = 0, 32, 8, 0.25
SIZES = (2, 4, 8, 16, 32, 64)  # of the codebooks that the lesson compares
STEPS = {"sizes": 1500, "vq": 4000, "prior": 8000, "former": 4000, "cft": 2000}


class Residual(nn.Module):
    """h + convolutions of h, (B, C, H, W)."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.SiLU(), nn.Conv2d(C, C, 3, padding=1), nn.SiLU(), nn.Conv2d(C, C, 1)
        )

    def forward(self, h: Tensor) -> Tensor:
        """The same shape."""
        return h + self.net(h)


def encoder(out: int, C: int = 48) -> nn.Sequential:
    """Images (B, 3, 16, 16) to (B, out, 4, 4)."""
    return nn.Sequential(
        nn.PixelUnshuffle(2),  # (B, 12, 8, 8)
        nn.Conv2d(12, C, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(C, C, 4, stride=2, padding=1),
        Residual(C),
        nn.Conv2d(C, out, 1),
    )


def decoder(D: int, C: int = 48) -> nn.Sequential:
    """The way back; its first two layers are the features that CFT changes."""
    return nn.Sequential(
        nn.Conv2d(D, C, 3, padding=1),
        Residual(C),
        nn.SiLU(),
        nn.ConvTranspose2d(C, C, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(C, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )


class Former(nn.Module):
    """log p(code | damaged image) at all 16 places, (B, 16, K): a transformer over the places."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.look = encoder(width)
        self.place = nn.Parameter(0.02 * torch.randn(16, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.mix = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, K)

    def forward(self, y: Tensor) -> Tensor:
        """Log probabilities."""
        tokens = self.look(y).flatten(2).mT + self.place  # (B, 16, width)
        return self.head(self.mix(tokens)).log_softmax(dim=-1)


class Transformation(nn.Module):
    """F -> alpha, beta from decoder features F and features of the damaged image; 0 at first."""

    def __init__(self, C: int = 48) -> None:
        super().__init__()
        self.look = encoder(C)
        self.net = nn.Sequential(
            nn.Conv2d(2 * C, 64, 3, padding=1), nn.SiLU(), nn.Conv2d(64, 2 * C, 3, padding=1)
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, features: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """The pair alpha, beta, each (B, C, 4, 4)."""
        return self.net(torch.cat([features, self.look(y)], dim=1)).chunk(2, dim=1)


def network() -> nn.ModuleDict:
    """All parts, untrained."""
    model = vq.VQVAE(encoder(D), decoder(D), vq.Codebook(K, D))
    prior = autoregressive.PixelCNN((4, 4), K, channels=64, blocks=3, size=7, dropout=0.1)
    parts = {"vq": model, "prior": prior, "former": Former(), "cft": Transformation()}
    whole = nn.ModuleDict(parts)
    whole.register_buffer("sizes", torch.zeros(len(SIZES), 9, 3, 16, 16, dtype=torch.uint8))
    return whole


def damage(x: Tensor, noise: float | Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Half the resolution, then noise of this standard deviation."""
    small = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
    return small + noise * torch.randn(x.shape, generator=rng)


def repaired(parts: nn.ModuleDict, y: Tensor, w: float) -> Tensor:
    """Predicted codes, decoded with F + w (alpha F + beta) after the decoder's first two layers."""
    codes = parts["former"](y).argmax(dim=-1).view(-1, 4, 4)
    decode = parts["vq"].decoder
    features = decode[:2](parts["vq"].codebook.vectors(codes))
    alpha, beta = parts["cft"](features, y)
    return decode[2:](features + w * (alpha * features + beta))


def _run(model: nn.Module, loss_fn, data: Tensor, steps: int, name: str, **more) -> None:
    for step in fit(model, loss_fn, data, steps=steps, progress=False, **more):
        if step.number % 500 == 0:
            print(f"{name} step {step.number:5d}  loss {step.loss:.4f}", flush=True)


def vq_loss(steps: int):
    """The loss of a VQ-VAE whose codebook follows, with restarts in the first half of the steps."""
    seen = [0]

    def loss(model: vq.VQVAE, x: Tensor) -> Tensor:
        run = model(x)
        model.codebook.follow(run.z, run.codes)
        if seen[0] % 20 == 0 and seen[0] < steps // 2:
            model.codebook.restart(run.z, below=0.3 if seen[0] else math.inf)
        seen[0] += 1
        return vq.vq_loss(run, x, BETA).mean()

    return loss


def compare_sizes(parts: nn.ModuleDict) -> dict[str, list[float]]:
    """By codes K: squared error of an image and perplexity on 1,000 fresh shapes; nine decoded."""
    images, test = shapes(20_000, seed=SEED + 1).images, shapes(1000, seed=2).images
    found = {}
    for row, size in enumerate(SIZES):
        model, steps = vq.VQVAE(encoder(D), decoder(D), vq.Codebook(size, D)), STEPS["sizes"]
        _run(model, vq_loss(steps), images, steps, f"K={size}", batch_size=32, lr=3e-3)
        with torch.no_grad():
            codes = model.encode(test)
            decoded = model.decode(codes)
        error = (decoded - test).square().flatten(1).sum(dim=1).mean()
        found[str(size)] = [round(float(error), 3), round(float(vq.perplexity(codes, size)), 2)]
        parts.sizes[row] = (255 * decoded[:9].clamp(0, 1)).round().to(torch.uint8)
    return found


def train(parts: nn.ModuleDict) -> None:
    """The four parts in turn, on 20,000 shapes."""
    images = shapes(20_000, seed=SEED + 1).images
    _run(parts["vq"], vq_loss(STEPS["vq"]), images, STEPS["vq"], "vq", batch_size=32, lr=3e-3)
    with torch.no_grad():
        codes = torch.cat([parts["vq"].encode(x) for x in images.split(1000)])  # (N, 4, 4)

    def prior_loss(model: nn.Module, rows: Tensor) -> Tensor:
        return -autoregressive.log_prob(model, codes[rows]).mean()

    rows, given = torch.arange(len(images)), {"batch_size": 64, "weight_decay": 0.02}
    average = ema(parts["prior"], 0.99)
    _run(
        parts["prior"], prior_loss, rows, STEPS["prior"], "prior", lr=3e-3, average=average, **given
    )
    parts["prior"].load_state_dict(average.module.state_dict())

    def former_loss(model: nn.Module, x: Tensor, rows: Tensor) -> Tensor:
        y = damage(x, 0.1 + 0.3 * torch.rand(len(x), 1, 1, 1))
        return F.nll_loss(model(y).flatten(0, 1), codes[rows].flatten())

    data = (images, rows)
    _run(parts["former"], former_loss, data, STEPS["former"], "former", batch_size=32, lr=2e-3)

    def cft_loss(model: nn.Module, x: Tensor) -> Tensor:
        y = damage(x, 0.1 + 0.3 * torch.rand(len(x), 1, 1, 1))
        return (repaired(parts, y, 1.0) - x).square().flatten(1).sum(dim=1).mean()

    for name in ("vq", "former"):
        parts[name].requires_grad_(False)
    _run(parts["cft"], cft_loss, images, STEPS["cft"], "cft", batch_size=32, lr=2e-3)


def share_of_drawings(images: Tensor) -> float:
    """Share within 0.01 of a legal drawing: squared error per channel and covered pixel."""
    factors, error = read_factors(images)
    return float((error < 0.01 * math.pi * factors[:, 3] ** 2).float().mean())


@torch.no_grad()
def metrics(parts: nn.ModuleDict, seed: int = 2) -> dict[str, float]:
    """On 4,000 fresh shapes: errors per value, bits, use of codes, and what damage does."""
    parts.eval()
    x, rng = shapes(4000, seed=seed).images, torch.Generator().manual_seed(seed)
    codes = parts["vq"].encode(x)
    found = {
        "error": float((parts["vq"].decode(codes) - x).square().mean()),
        "perplexity": float(vq.perplexity(codes, K)),
        "prior_bits": -float(autoregressive.log_prob(parts["prior"], codes).mean()) / math.log(2),
    }
    y = damage(x, 0.25, rng)
    found["read_nearest"] = float((parts["vq"].encode(y) == codes).float().mean())
    guess = parts["former"](y).argmax(dim=-1).view(-1, 4, 4)
    found["read_former"] = float((guess == codes).float().mean())
    for w in (0.0, 1.0):
        found[f"error_w{w:g}"] = float((repaired(parts, y, w) - x).square().mean())
    drawn = autoregressive.sample(parts["prior"], 4000, rng)
    columns = codes.flatten(1)  # (N, 16)
    alone = torch.stack([c[torch.randint(len(c), (4000,), generator=rng)] for c in columns.T], 1)
    for name, sampled in (("codes", codes), ("prior", drawn), ("alone", alone.view(-1, 4, 4))):
        found[f"read_{name}"] = share_of_drawings(parts["vq"].decode(sampled))
    return {name: round(value, 5) for name, value in found.items()}


def main() -> None:
    """Train, measure, store; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    parts = network()
    found = compare_sizes(parts)
    torch.manual_seed(SEED)
    train(parts)
    print(json.dumps(publish(__file__, parts, SEED, metrics(parts), sizes=found), indent=1))


if __name__ == "__main__":
    main()
