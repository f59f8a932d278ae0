"""Runs of lesson 09 on two mixtures: a sweep over k, loss and rate; one repair at a time; two long.

    python assets/checkpoints/gan_mixtures.py      # about fifteen minutes on one core

Writes gan_mixtures.safetensors, a table of readings and samples, and its entry of MANIFEST.json.
"""

import itertools
import json
import math
import statistics
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_utils import gan
from course_utils.checkpoints import publish
from course_utils.data import mixture
from course_utils.metrics import mode_coverage
from course_utils.networks import MLP
from course_utils.training import ema

SEEDS = (0, 1, 2)
SHOWN, POINTS, TOLERANCE = 300, 2500, 0.3  # stored samples, samples that count, and how near
LOSSES = {
    "saturating": gan.MINIMAX,
    "non-saturating": gan.NON_SATURATING,
    "relativistic": gan.RELATIVISTIC,
}
KS, RATES, UPDATES, READINGS = (1, 2, 5), (3e-4, 1e-3, 4e-3), 3000, 10


class Recipe(NamedTuple):
    """How a game is played; `rates` are G's and D's."""

    steps: int
    rates: tuple[float, float] = (1e-3, 1e-3)
    objective: gan.Objective = gan.NON_SATURATING
    k: int = 1
    batch: int = 128
    gamma: float = 0.0  # R1 and R2, in every 16th step 16 times as strong
    skip: bool = False
    noise: float = 0.0  # instance noise, annealed to 0.02 over the first half
    average: bool = False  # read the average of G's weights
    cosine: bool = False  # the rates fall to 0 along a cosine
    momentum: float = 0.5  # the first of Adam's two betas


BROKEN = Recipe(1500, rates=(4e-3, 2e-4))  # D is twenty times too slow
EQUAL = BROKEN._replace(rates=(4e-3, 4e-3))
LISTED = EQUAL._replace(gamma=0.1, noise=0.3, average=True, skip=True)  # the remedies by name
REPAIRED = LISTED._replace(  # and four finer points
    objective=gan.RELATIVISTIC, batch=256, cosine=True, momentum=0.0
)
REPAIRS = {
    "broken: D 20 times slower": BROKEN,
    "only D as fast as G": EQUAL,
    "only five steps of D for one of G": BROKEN._replace(k=5),
    "only R1 and R2": BROKEN._replace(gamma=0.1),
    "only instance noise": BROKEN._replace(noise=0.3),
    "only an average of G": BROKEN._replace(average=True),
    "only a skip a z in G": BROKEN._replace(skip=True),
    "R1, R2, noise, average, skip": LISTED._replace(rates=BROKEN.rates),
    "the same, and D as fast as G": LISTED,
    "the long runs' recipe": REPAIRED,
}


class Discriminator(nn.Module):
    """Logits (B,) of points (B, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MLP((2, 64, 64, 64, 1), lambda: nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> Tensor:
        """One logit for each point."""
        return self.net(x).squeeze(1)


def play(name: str, recipe: Recipe, seed: int) -> Iterator[tuple[int, nn.Module, gan.GanStep]]:
    """The game, step by step: (number, the generator to sample from, what the step saw)."""
    torch.manual_seed(seed)
    x = mixture(name).sample(100_000, torch.Generator().manual_seed(1)).float()
    G, D = MLP((2, 64, 64, 64, 2), lambda: nn.LeakyReLU(0.2)), Discriminator()
    if recipe.skip:
        G = gan.SkipGenerator(G, a=float(x.std()))
    average = ema(G)
    optimisers = [
        torch.optim.Adam(net.parameters(), lr=lr, betas=(recipe.momentum, 0.99), fused=True)
        for net, lr in zip((G, D), recipe.rates, strict=True)
    ]
    for step in range(1, recipe.steps + 1):
        u = (step - 1) / recipe.steps
        sd = recipe.noise * (0.02 / 0.3) ** min(1.0, 2 * u)
        if recipe.cosine:
            for optimiser, lr in zip(optimisers, recipe.rates, strict=True):
                optimiser.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * u))
        seen = (lambda x, sd=sd: D(gan.instance_noise(x, sd))) if sd else D
        real = x[torch.randint(len(x), (recipe.k, recipe.batch))]
        z = torch.randn(recipe.k + 1, recipe.batch, 2)
        gamma = 16 * recipe.gamma if step % 16 == 1 else 0.0
        found = gan.gan_step(G, seen, *optimisers, real, z, recipe.objective, gamma)
        average.update_parameters(G)
        yield step, average.module if recipe.average else G, found


def reading(points: Tensor, name: str, found: gan.GanStep) -> list[float]:
    """Modes hit, even modes (exp of the shares' entropy), share near a mode, spread, logit gap."""
    means = mixture(name).means
    distance, nearest = torch.cdist(points.double(), means).min(dim=1)
    share = nearest[distance < TOLERANCE].bincount(minlength=len(means)).double()
    hit, near = float((share > 0).sum()), float((distance < TOLERANCE).double().mean())
    share = share / share.sum().clamp(min=1)
    even = float((-torch.xlogy(share, share).sum()).exp()) if hit else 0.0
    spread = float(torch.pdist(points[:500]).mean())
    return [hit, even, near, spread, found.real_logit - found.fake_logit]


def curve(name: str, recipe: Recipe, seed: int, readings: int) -> tuple[Tensor, Tensor]:
    """Readings (readings, 5) at equal distances, and the samples (SHOWN, 2) of the last."""
    rows, draw = [], torch.Generator().manual_seed(seed)
    for step, G, found in play(name, recipe, seed):
        if step * readings // recipe.steps > (step - 1) * readings // recipe.steps:
            points = gan.sample(G, POINTS, 2, draw)
            rows.append(reading(points, name, found))
    return torch.tensor(rows), points[:SHOWN]


def sweep() -> dict[str, Tensor]:
    """Every loss, k, rate and seed at the same number of updates of D and G together."""
    runs = [
        [
            curve("ring8", Recipe(UPDATES // (k + 1), (lr, lr), LOSSES[loss], k), seed, READINGS)
            for seed in SEEDS
        ]
        for loss, k, lr in itertools.product(LOSSES, KS, RATES)
    ]
    shape = (len(LOSSES), len(KS), len(RATES))
    readings = torch.stack([torch.stack([r for r, _ in seeds]) for seeds in runs])
    points = torch.stack([seeds[0][1] for seeds in runs])
    return {
        "sweep_readings": readings.unflatten(0, shape),  # (3, 3, 3, seeds, READINGS, 5)
        "sweep_points": points.unflatten(0, shape),  # (3, 3, 3, SHOWN, 2)
    }


def repairs() -> dict[str, Tensor]:
    """The last reading of the broken game and of each repair, (repairs, seeds, 5); samples."""
    runs = [[curve("ring8", recipe, s, 1) for s in SEEDS] for recipe in REPAIRS.values()]
    return {
        "repairs_readings": torch.stack([torch.cat([r for r, _ in seeds]) for seeds in runs]),
        "repairs_points": torch.stack([seeds[0][1] for seeds in runs]),
    }


def long(name: str, steps: int = 12_000, readings: int = 24) -> dict[str, Tensor]:
    """The repaired recipe for longer: step, modes, well covered, high quality; some samples."""
    rows, sheets, draw = [], [], torch.Generator().manual_seed(0)
    for step, G, _ in play(name, REPAIRED._replace(steps=steps), 0):
        if step % (steps // readings) == 0:
            points = gan.sample(G, POINTS, 2, draw)
            found = mode_coverage(points.double(), mixture(name))
            rows.append([step, found.modes, found.well_covered, found.high_quality])
            sheets.append(points[:1000])
    kept = [0, readings // 4 - 1, readings - 1]
    return {f"{name}_coverage": torch.tensor(rows), f"{name}_points": torch.stack(sheets)[kept]}


def network() -> nn.ParameterDict:
    """The empty table: what is stored are numbers by name, no weights."""
    settings, kept = (len(LOSSES), len(KS), len(RATES)), len(REPAIRS)
    shapes = {
        "sweep_readings": (*settings, len(SEEDS), READINGS, 5),
        "sweep_points": (*settings, SHOWN, 2),
        "repairs_readings": (kept, len(SEEDS), 5),
        "repairs_points": (kept, SHOWN, 2),
        **{f"{name}_coverage": (24, 4) for name in ("ring8", "grid25")},
        **{f"{name}_points": (3, 1000, 2) for name in ("ring8", "grid25")},
    }
    return nn.ParameterDict(
        {name: nn.Parameter(torch.zeros(shape), False) for name, shape in shapes.items()}
    )


def metrics(table: nn.ParameterDict, seed: int = 0) -> dict[str, float]:
    """What the manifest says of the table; nothing in it is drawn anew, whatever the seed."""
    last = table["repairs_readings"][..., 1]  # even modes, (repairs, seeds)
    found = {
        f"even modes, {name}": statistics.median(row.tolist())
        for name, row in zip(REPAIRS, last, strict=True)
    }
    for name in ("ring8", "grid25"):
        _, modes, well, quality = table[f"{name}_coverage"][-1].tolist()
        found |= {f"{name}, modes": modes, f"{name}, well covered": well}
        found[f"{name}, high quality"] = quality
    return {key: round(value, 4) for key, value in found.items()}


def main() -> None:
    """Play all games, store the table; the file and its entry appear when all is done."""
    torch.set_num_threads(1)
    table = network()
    for name, tensor in (repairs() | long("ring8") | long("grid25") | sweep()).items():
        with torch.no_grad():
            table[name].copy_(tensor)
    labels = {"losses": list(LOSSES), "ks": KS, "rates": RATES, "repairs": list(REPAIRS)}
    print(json.dumps(publish(__file__, table, 0, metrics(table), **labels), indent=1))


if __name__ == "__main__":
    main()
