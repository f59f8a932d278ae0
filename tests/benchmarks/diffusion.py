"""The DDPM of lesson 13 beside public ones: equal CPU seconds, one thread, median over seeds.

    python tests/benchmarks/diffusion.py [TASK ...] [--seeds 3] [--peer-seeds 1]

Tasks: grid25_wide 15 s, digits 20 and 60 s, fashion_mnist 60 s of `time.process_time`; evaluation
does not count. fashion_mnist needs its files (COURSE_DATA_DIR); the rest needs no network.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: scikit-learn reads it too

import diffusion_peers as peers
import torch
import yardstick
from torch import Tensor, nn

from course_utils import data
from course_utils.diffusion import NoiseSchedule, sample, simple_loss
from course_utils.networks import MLP
from course_utils.training import ema, fit
from course_utils.unet import FourierFeatures, UNet

BUDGETS = {"grid25_wide": (15,), "digits": (20, 60), "fashion_mnist": (60,)}
PEERS = (peers.Diffusers, peers.DenoisingDiffusion)
POOL, PROBE, SAMPLER_STEPS, TIMED = 200_000, 40, 50, 100
IMAGES = {"digits": 1000, "fashion_mnist": 500}
PEER_IMAGES = {"digits": 300, "fashion_mnist": 120}  # what they need minutes for
Row = dict[str, float]


class Recipe(NamedTuple):
    """What ours trains by; `network` is what `UNet` is given beside the image's shape."""

    network: dict[str, Any]
    schedule: NoiseSchedule
    batch: int
    rate: float


COSINE = NoiseSchedule.cosine(1000)
RECIPES = {
    "digits": Recipe({}, COSINE, batch=64, rate=4e-3),
    "fashion_mnist": Recipe({"patch": 2}, COSINE, batch=32, rate=3e-3),
    "grid25_wide": Recipe({}, NoiseSchedule.linear(1000), batch=256, rate=4e-3),
}


class PointNet(nn.Module):
    """eps of points by a perceptron on x, on waves along each axis, and on random waves of t."""

    def __init__(self, T: int, width: int = 96, rates: tuple = (0.5, 1, 2, 3, 4, 6)) -> None:
        super().__init__()
        self.time = FourierFeatures(32, T, sd=2.0)
        self.register_buffer("rates", torch.tensor(rates))
        self.net = MLP((2 + 4 * len(rates) + 32, width, width, width, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angles = (x[:, :, None] * self.rates).flatten(1)  # (B, 2 rates)
        return self.net(torch.cat([x, angles.sin(), angles.cos(), self.time(t)], dim=1))


class BesideGaussian(nn.Module):
    """eps(x, t) = eps of the Gaussian with the data's mean and covariance + UNet(x, t).

    The first term is exact and costs two products with the eigenvectors; the network, which also
    sees the x_0 that it implies, has to learn only what is not Gaussian.
    """

    def __init__(self, x: Tensor, recipe: "Recipe") -> None:
        super().__init__()
        flat, (C, H, W) = x[:20_000].flatten(1).double(), x.shape[1:]
        variances, axes = torch.linalg.eigh(torch.cov(flat.T))
        tables = {"mean": flat.mean(dim=0), "variances": variances.clamp(min=1e-6), "axes": axes}
        bar = recipe.schedule.alpha_bar
        tables |= {"signal": bar.sqrt().clamp(min=1e-3), "noise": (1 - bar).sqrt()}
        for name, table in tables.items():
            self.register_buffer(name, table.float().contiguous())
        self.net = UNet((2 * C, H, W), **recipe.network)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        a, s = self.signal[t, None], self.noise[t, None]  # (B, 1)
        along = (x.flatten(1) - a * self.mean) @ self.axes
        eps = (along * s / (a**2 * self.variances + s**2)) @ self.axes.T  # (B, H W)
        x0 = ((x.flatten(1) - s * eps) / a).clamp(-1.5, 1.5)
        given = torch.cat([x, x0.view(x.shape)], dim=1)
        return eps.view(x.shape) + self.net(given, t)[:, : x.shape[1]]


def network(name: str, x: Tensor) -> nn.Module:
    if name == "grid25_wide":
        return PointNet(RECIPES[name].schedule.T)
    if name == "fashion_mnist":
        return BesideGaussian(x, RECIPES[name])
    return UNet(tuple(x.shape[1:]), **RECIPES[name].network)


def train_ours(name: str, x: Tensor, seconds: float, seed: int) -> tuple[nn.Module, Row]:
    """As many steps of `fit` as the budget pays for; the probe that counts them is charged too."""
    recipe = RECIPES[name]
    schedule, B = recipe.schedule, recipe.batch

    def loss(model: nn.Module, x0: Tensor) -> Tensor:
        """Mean squared error of eps, one t from each of B equal parts of 1..T."""
        t = ((torch.arange(B) + torch.rand(B)) / B * schedule.T).long().clamp(max=schedule.T - 1)
        eps = torch.randn_like(x0)
        return simple_loss(model, schedule, x0, t + 1, eps).mean() / x0[0].numel()

    def run(steps: int) -> tuple[nn.Module, Any]:
        torch.manual_seed(seed)
        model = network(name, x)
        average = ema(model)
        given = {"batch_size": B, "lr": recipe.rate, "seed": seed, "average": average}
        given |= {"steps": steps, "warmup": min(100, steps)}
        return average.module, fit(model, loss, x, **given, progress=False)

    probe = run(10_000)[1]
    next(probe)  # imports and torch's own warm-up, which the peers find done
    start = time.process_time()
    for _ in range(PROBE):
        next(probe)
    each = (time.process_time() - start) / PROBE
    model, steps = run(max(1, round(seconds / each) - PROBE))
    begun = time.process_time()
    count = sum(1 for _ in steps)
    now = time.process_time()
    return model, {"cpu": now - start, "train": count * B / (now - begun)}


def score_images(name: str, draw: Callable[[int], Tensor], n: int, speed: bool = True) -> Row:
    """FD and its companions of n images, and the images per second of one batch."""
    torch.manual_seed(0)
    begun = time.process_time()
    images = torch.cat([draw(min(TIMED, n - i)) for i in range(0, n, TIMED)])
    spent = time.process_time() - begun
    row = yardstick.evaluate(name, images)
    return row | ({"sample": n / spent} if speed else {})


@torch.no_grad()
def score_points(model: Callable, schedule: NoiseSchedule, n: int = 20_000) -> Row:
    """The loss above the Bayes loss, E||eps_model - E[eps|x_t]||^2 over 50 times, and its share."""
    mixture, rng = data.mixture("grid25_wide"), torch.Generator().manual_seed(7)
    above = bayes = 0.0
    for t in range(schedule.T // 50, schedule.T + 1, schedule.T // 50):
        bar = schedule.alpha_bar[t]
        x0 = mixture.sample(n, rng).double()
        eps = torch.randn(n, 2, generator=rng, dtype=torch.float64)
        xt = bar.sqrt() * x0 + (1 - bar).sqrt() * eps
        best = mixture.best_eps(xt, bar)
        found = model(xt.float(), torch.full((n,), t)).double()
        above += float((found - best).square().mean()) / 50
        bayes += float((best - eps).square().mean()) / 50
    return {"loss": bayes + above, "bayes": bayes, "gap": 100 * above / bayes}


def train_peer(peer: Any, x: Tensor, seconds: list[float], score: Callable) -> list[Row]:
    """One run without a schedule, as published, scored whenever one of the budgets is spent."""
    rows, count, paused, begun = [], 0, 0.0, time.process_time()
    for budget in seconds:
        while (spent := time.process_time() - begun - paused) < budget:
            peer.step(x[torch.randint(len(x), (peer.batch_size,))])
            count += 1
        rows.append({"cpu": spent, "train": count * peer.batch_size / spent} | score(peer))
        paused = time.process_time() - begun - spent
    return rows


def training_data(name: str) -> Tensor:
    """Points, or images in [0, 1]."""
    if name == "grid25_wide":
        return data.mixture(name).sample(POOL, torch.Generator().manual_seed(1)).float()
    return (data.digits() if name == "digits" else data.fashion_mnist()).train


def run_ours(name: str, x: Tensor, seed: int) -> dict[str, Row]:
    rows, schedule = {}, RECIPES[name].schedule
    for seconds in BUDGETS[name]:
        label = f"lesson 13, {seconds} s"
        if name == "grid25_wide":
            model, cost = train_ours(name, x, seconds, seed)
            rows[label] = cost | score_points(model, schedule)
            continue
        model, cost = train_ours(name, 2 * x - 1, seconds, seed)

        def draw(n: int, model: nn.Module = model) -> Tensor:
            few = schedule.strided(SAMPLER_STEPS)
            given = {"sigma2": few.beta_tilde, "clip": 1.0}
            return (sample(model, few, (n, *x.shape[1:]), **given) + 1) / 2

        rows[label] = cost | score_images(name, draw, IMAGES[name])
        if PEER_IMAGES[name] < IMAGES[name]:
            few = f"· the same on {PEER_IMAGES[name]} images, {seconds} s"
            rows[few] = score_images(name, draw, PEER_IMAGES[name], speed=False)
    return rows


def run_peers(name: str, x: Tensor, ours: dict[str, Row], seed: int) -> dict[str, Row]:
    """The peers with at least the CPU seconds that ours used."""
    seconds = [row["cpu"] for row in ours.values() if "cpu" in row]
    torch.manual_seed(seed)
    if name == "grid25_wide":
        schedule = RECIPES[name].schedule
        bar = schedule.alpha_bar.float()
        peer = peers.TinyDiffusion(bar.sqrt(), (1 - bar).sqrt())
        made = [(peer, lambda peer: score_points(peer, schedule))]
    else:
        made = [
            (kind(tuple(x.shape[1:])), lambda p: score_images(name, p.sample, PEER_IMAGES[name]))
            for kind in PEERS
            if kind.installed()
        ]
    rows = {}
    for peer, score in made:
        found = train_peer(peer, x, seconds, score)
        for budget, row in zip(BUDGETS[name], found, strict=True):
            rows[f"{peer.name}, {budget} s"] = row
            print(f"  {peer.name}, {budget} s: {row}", flush=True)
    return rows


POINTS = {  # heading: (key, format)
    "ε-loss": ("loss", "{:.4f}"),
    "Bayes": ("bayes", "{:.4f}"),
    "gap, %": ("gap", "{:.2f}"),
}
FIDELITY = {
    "N": ("N", "{:.0f}"),
    "FD": ("FD", "{:.2f}"),
    "coverage": ("coverage", "{:.2f}"),
    "nn_ratio": ("nn_ratio", "{:.2f}"),
    "sample img/s": ("sample", "{:,.1f}"),
}
COST = {"train x/s": ("train", "{:,.0f}"), "CPU s": ("cpu", "{:.0f}")}


def cell(values: list[float], key: str, form: str) -> str:
    if not values:
        return "–"
    text = form.format(statistics.median(values))
    if len(values) > 1 and key in ("FD", "gap"):
        text += f" ({form.format(min(values))}–{form.format(max(values))})"
    return text


def table(name: str, runs: list[dict[str, Row]]) -> str:
    """Markdown: medians over the seeds that ran a model, with the range of the main figures."""
    columns = (POINTS if name == "grid25_wide" else FIDELITY) | COST
    lines = [f"| {name} | seeds | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for model in {label: None for run in runs for label in run}:
        found = [run[model] for run in runs if model in run]
        cells = [cell([r[key] for r in found if key in r], key, f) for key, f in columns.values()]
        lines.append(f"| {model} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help=f"of {tuple(BUDGETS)}; all by default")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...; the median is shown")
    parser.add_argument("--peer-seeds", type=int, help="fewer seeds for the peers")
    given = parser.parse_args()
    if unknown := set(given.tasks) - set(BUDGETS):
        parser.error(f"tasks {sorted(unknown)}; legal: {tuple(BUDGETS)}")
    torch.set_num_threads(1)
    for name in given.tasks or BUDGETS:
        if name == "fashion_mnist" and "COURSE_DATA_DIR" not in os.environ:
            print(f"{name} is left out: COURSE_DATA_DIR does not say where its files are\n")
            continue
        x, runs = training_data(name), []
        for seed in range(given.seeds):
            runs.append(run_ours(name, x, seed))
            print(f"  seed {seed}: {runs[-1]}", flush=True)
        for seed in range(given.seeds if given.peer_seeds is None else given.peer_seeds):
            runs[seed] |= run_peers(name, x, runs[seed], seed)
        print(f"\n{table(name, runs)}\n", flush=True)


if __name__ == "__main__":
    main()
