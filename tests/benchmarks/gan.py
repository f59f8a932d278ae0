"""GANs of lesson 09 beside public ones: equal CPU seconds, one thread, median over seeds.

    python tests/benchmarks/gan.py [ring8 grid25 digits] [--seconds 15 60] [--seeds 3]

The script's own clock is `time.process_time`; evaluation does not count. Nothing is downloaded.
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: scikit-learn reads it too

import gan_peers
import torch
import yardstick
from torch import Tensor, nn

from course_utils import data, gan
from course_utils.metrics import mode_coverage
from course_utils.networks import MLP
from course_utils.training import ema

TASKS, PEERS = ("ring8", "grid25", "digits"), (gan_peers.IntroDgm, gan_peers.WassersteinGp)
POINTS, IMAGES, POOL = 2500, 1000, 200_000
Row = dict[str, float]


class Recipe(NamedTuple):
    """What lesson 09 trains by; the instance noise is annealed from `noise[0]` to `noise[1]`."""

    latent: int
    width: int
    batch: int
    rate: float
    gamma: float
    noise: tuple[float, float]
    settled: float  # share of the budget after which the noise stays
    lazy: int = 8  # R1 and R2 in every so many steps only, so many times as strong
    beta1: float = 0.5


MIXTURE = Recipe(*(2, 64, 256, 4e-3), gamma=0.1, noise=(0.3, 0.02), settled=0.5, lazy=16, beta1=0.0)
DIGITS = Recipe(
    latent=16, width=128, batch=64, rate=2e-3, gamma=0.3, noise=(0.3, 0.05), settled=0.7, lazy=4
)


def leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


class Discriminator(nn.Module):
    """Logits (B,) of points or images, by a perceptron."""

    def __init__(self, size: int, recipe: Recipe) -> None:
        super().__init__()
        self.net = MLP((size, *3 * (recipe.width,), 1), leaky)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


def networks(x: Tensor, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """G and D: x = a z + f(z) in the plane, a plain perceptron for images."""
    size, hidden = x[0].numel(), 3 * (recipe.width,)
    G = MLP((recipe.latent, *hidden, size), leaky)
    if size == recipe.latent:
        G = gan.SkipGenerator(G, a=float(x.std()))
    else:
        G = nn.Sequential(G, nn.Sigmoid())
    return G, Discriminator(size, recipe)


def train_ours(x: Tensor, recipe: Recipe, seconds: float, seed: int) -> tuple[Callable, Row]:
    """Relativistic game, R1 + R2, annealed instance noise, cosine rate, for so many CPU seconds.

    Noise and rate follow the share of the budget that is spent: a slower machine gets fewer steps.
    """
    torch.manual_seed(seed)
    G, D = networks(x, recipe)
    average = ema(G)
    settings = {"lr": recipe.rate, "betas": (recipe.beta1, 0.99), "fused": True}
    optimisers = [torch.optim.Adam(net.parameters(), **settings) for net in (G, D)]
    first, last = recipe.noise
    count, spent, begun = 0, 0.0, time.process_time()
    while spent < seconds:
        u = spent / seconds
        sd = first * (last / first) ** min(1.0, u / recipe.settled)
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = recipe.rate * 0.5 * (1 + math.cos(math.pi * u))
        gamma = recipe.gamma * recipe.lazy if count % recipe.lazy == 0 else 0.0
        real = x[torch.randint(len(x), (recipe.batch,))].unsqueeze(0)
        z = torch.randn(2, recipe.batch, recipe.latent)
        blurred = lambda x, sd=sd: D(gan.instance_noise(x, sd))  # noqa: E731
        gan.gan_step(G, blurred, *optimisers, real, z, gan.RELATIVISTIC, gamma)
        average.update_parameters(G)
        count, spent = count + 1, time.process_time() - begun
    cost = {"cpu": spent, "train": count * recipe.batch / spent}
    return lambda n: gan.sample(average.module, n, recipe.latent), cost


def train_peer(peer: gan_peers.Peer, x: Tensor, seconds: list[float], score: Callable) -> list[Row]:
    """One run without a schedule, as published, scored whenever one of the budgets is spent."""
    rows, count, paused, begun = [], 0, 0.0, time.process_time()
    for budget in sorted(seconds):
        while (spent := time.process_time() - begun - paused) < budget:
            peer.step(x[torch.randint(len(x), (peer.batch_size,))])
            count += 1
        rows.append({"cpu": spent, "train": count * peer.batch_size / spent} | score(peer.sample))
        paused = time.process_time() - begun - spent
    return rows


def task_of(name: str) -> tuple[Tensor, Recipe, Callable[[Callable], Row]]:
    """Training data (N, D), our recipe, and what scores a sampler."""
    if name == "digits":

        def images(draw: Callable) -> Row:
            return yardstick.evaluate("digits", draw(IMAGES))

        return data.digits().train.flatten(1), DIGITS, images
    mixture = data.mixture(name)

    def points(draw: Callable) -> Row:
        return mode_coverage(draw(POINTS).double(), mixture)._asdict()

    return mixture.sample(POOL, torch.Generator().manual_seed(1)).float(), MIXTURE, points


def run_seed(name: str, seconds: list[float], seed: int, with_peers: bool) -> dict[str, Row]:
    """All rows of one task and seed: (model, budget) -> figures."""
    x, recipe, score = task_of(name)
    rows = {}
    for budget in sorted(seconds):
        draw, cost = train_ours(x, recipe, budget, seed)
        rows[f"lesson 09, {budget:g} s"] = cost | score(draw)
    for kind in PEERS if with_peers else ():
        torch.manual_seed(seed)
        peer = kind(x.shape[1], float(x.min()), float(x.max()))
        for budget, row in zip(sorted(seconds), train_peer(peer, x, seconds, score), strict=True):
            rows[f"{peer.name}, {budget:g} s"] = row
    return rows


MODES = {  # heading: (key, format)
    "modes ≥ 1": ("modes", "{:.0f}"),
    "modes ≥ 20": ("well_covered", "{:.0f}"),
    "of": ("of", "{:.0f}"),
    "high quality": ("high_quality", "{:.3f}"),
    "KL, nats": ("kl", "{:.3f}"),
}
FIDELITY = {
    "FD": ("FD", "{:.2f}"),
    "precision": ("precision", "{:.2f}"),
    "recall": ("recall", "{:.2f}"),
    "coverage": ("coverage", "{:.2f}"),
    "nn_ratio": ("nn_ratio", "{:.2f}"),
}
COST = {"CPU s": ("cpu", "{:.0f}"), "train x/s": ("train", "{:,.0f}")}


def table(name: str, runs: list[dict[str, Row]]) -> str:
    """Markdown: medians over the seeds that ran a model, with the range of the main figures."""
    columns = (FIDELITY if name == "digits" else MODES) | COST
    lines = [f"| {name} | seeds | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for model in runs[0]:
        found = [run[model] for run in runs if model in run]
        cells = []
        for key, form in columns.values():
            values = [row[key] for row in found]
            text = form.format(statistics.median(values))
            if len(values) > 1 and key in ("FD", "coverage", "high_quality", "well_covered"):
                text += f" ({form.format(min(values))}–{form.format(max(values))})"
            cells.append(text)
        lines.append(f"| {model} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(name: str, runs: list[dict[str, Row]], budget: float) -> str:
    """The medians at the largest budget against the bar."""

    def median(key: str) -> float:
        return statistics.median(run[f"lesson 09, {budget:g} s"][key] for run in runs)

    if name == "digits":
        met = median("FD") <= 2.8 and median("coverage") >= 0.6
        return f"{name}, {budget:g} s: FD ≤ 2.8 and coverage ≥ 0.6: {'met' if met else 'MISSED'}"
    met = median("well_covered") == median("of") and median("high_quality") >= 0.85
    legal = "every mode with ≥ 20 samples and high quality ≥ 0.85"
    return f"{name}, {budget:g} s: {legal}: {'met' if met else 'MISSED'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help=f"of {TASKS}; all by default")
    parser.add_argument("--seconds", type=float, nargs="+", default=[15, 60], help="CPU seconds")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...; the median is shown")
    parser.add_argument("--peer-seeds", type=int, help="fewer seeds for the peers")
    given = parser.parse_args()
    if unknown := set(given.tasks) - set(TASKS):
        parser.error(f"tasks {sorted(unknown)}; legal: {TASKS}")
    torch.set_num_threads(1)
    for name in given.tasks or TASKS:
        peers = given.seeds if given.peer_seeds is None else given.peer_seeds
        runs = [run_seed(name, given.seconds, s, s < peers) for s in range(given.seeds)]
        print(f"{table(name, runs)}\n\n{verdict(name, runs, max(given.seconds))}\n", flush=True)


if __name__ == "__main__":
    main()
