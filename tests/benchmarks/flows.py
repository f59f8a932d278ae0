"""Flows of lesson 03 beside public ones: equal CPU seconds, one thread, median over seeds.

    python tests/benchmarks/flows.py [TASK ...] [--seeds 3] [--peer-seeds N]

Tasks: digits 20 s, grid25_wide and ring8_wide 15 s, matching (on grid25_wide) 10 s of
`time.process_time`; evaluation does not count. Nothing is downloaded. With --held-out 270 of the
training images are scored instead of the test set: to choose settings by.
"""

import argparse
import math
import os
import runpy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: scikit-learn reads it too

import flows_peers
import torch
import yardstick
from block_flow import LEVELS, PIXELS, SIDE, OnTheCube, block_flow
from budget import BAR_HEAD, Columns, Row, median, split, table, timed, train, train_peer, verdict
from torch import Tensor, nn

from course_utils import data
from course_utils.flow_matching import euler_step, flow_matching_loss, integrate
from course_utils.flows import Flow
from course_utils.metrics import mode_coverage
from course_utils.place import ROOT

BUDGETS = {"digits": 20, "grid25_wide": 15, "ring8_wide": 15, "matching": 10}
PEERS = (flows_peers.RealNvp, flows_peers.NeuralSpline)
POOL, IMAGES, POINTS, DRAWS, FRESH = 200_000, 1000, 2500, 16, 100_000
BLOCKS, GLOW = "block-autoregressive", "lesson 03, Glow"
SPLINES, MATCHING = "lesson 03, splines", "lesson 03"


@cache
def networks(script: str) -> dict[str, Any]:
    """Names of the script that trains a checkpoint of the lesson: the same networks here."""
    return runpy.run_path(str(ROOT / "assets" / "checkpoints" / script))


def glow() -> Flow:
    """The network of the lesson's checkpoint with its actnorms set."""
    model = networks("glow_digits.py")["network"]()
    levels = ((LEVELS - 1) * data.digits().train[:200]).round()
    with torch.no_grad():
        model.log_prob(blurred(levels))
    return model


def splines() -> Flow:
    return networks("flows_plane.py")["splines"]()


def blurred(levels: Tensor) -> Tensor:
    """Levels k as points (k + u) / 17 of the unit cube, u uniform: `log p(k) >= E log density`."""
    return (levels + torch.rand_like(levels)) / LEVELS


def image_loss(model: Flow, levels: Tensor) -> Tensor:
    return -model.log_prob(blurred(levels)).mean() / PIXELS


def point_loss(model: Flow, x: Tensor) -> Tensor:
    return -model.log_prob(x).mean()


def matching_loss(model: nn.Module, x1: Tensor) -> Tensor:
    """Flow matching, one t from each of B equal parts of [0, 1]."""
    t = (torch.arange(len(x1)) + torch.rand(len(x1))) / len(x1)
    return flow_matching_loss(model, torch.randn_like(x1), x1, t).mean()


@torch.no_grad()
def score_images(log_prob: Callable, draw: Callable[[int], Tensor], levels: Tensor) -> Row:
    """Bits/dim, a bound by the mean of 16 draws of the blur, and FD and its companions.

    `log_prob` is the log density of levels + u, u uniform; `draw` gives levels (n, 64).
    """
    torch.manual_seed(0)
    nats = [-log_prob(levels + torch.rand_like(levels)).mean() for _ in range(DRAWS)]
    row = {"bpd": float(torch.stack(nats).mean()) / (PIXELS * math.log(2))}
    images, speed = timed(draw, IMAGES)
    return row | {"sample": speed} | yardstick.evaluate("digits", images / (LEVELS - 1))


def to_levels(x: Tensor) -> Tensor:
    """Points of the box [0, 17]^64 to the levels of the bins that they lie in."""
    return x.flatten(1).floor().clamp(0, LEVELS - 1)


def run_digits(seconds: float, seed: int, with_peers: bool, held_out: bool) -> dict[str, Row]:
    images = data.digits()
    levels = [((LEVELS - 1) * x).round() for x in (images.train, images.test)]
    x, scored = split(levels[0], held_out, levels[1])
    rows = {}
    recipes = {
        BLOCKS: (block_flow, (PIXELS,), {"lr": 2e-3, "weight_decay": 0.05, "clip": 1.0}),
        GLOW: (glow, (1, SIDE, SIDE), {"lr": 3e-3, "clip": 1.0}),
    }
    for name, (make, shape, given) in recipes.items():
        given = {"batch_size": 64, "decay": 0.99} | given
        model, cost = train(make, image_loss, x.view(-1, *shape), seconds, seed, **given)

        def log_prob(v: Tensor, model: Flow = model, shape: Sequence[int] = shape) -> Tensor:
            return model.log_prob(v.view(-1, *shape) / LEVELS) - PIXELS * math.log(LEVELS)

        def draw(n: int, model: Flow = model, shape: Sequence[int] = shape) -> Tensor:
            if isinstance(model, OnTheCube):
                return to_levels(LEVELS * model.draw(n))
            return to_levels(LEVELS * model.sample(n, (4, SIDE // 2, SIDE // 2)))

        rows[name] = cost | score_images(log_prob, draw, scored)
        print(f"  seed {seed}, {name}: {rows[name]}", flush=True)
    return rows | run_peers(rows, seed, with_peers, x.flatten(1), score_images, scored.flatten(1))


class Blurred(nn.Module):
    """A peer that is trained on levels plus uniform numbers, anew in every batch."""

    def __init__(self, peer: Any) -> None:
        super().__init__()
        self.peer, self.name, self.batch_size = peer, peer.name, peer.batch_size
        self.optimiser, self.log_prob = peer.optimiser, peer.log_prob

    def loss(self, x: Tensor) -> Tensor:
        return self.peer.loss(x + torch.rand_like(x))

    def sample(self, n: int) -> Tensor:
        return to_levels(self.peer.sample(n))


def run_peers(
    ours: dict[str, Row], seed: int, run: bool, x: Tensor, score: Callable, scored: Any
) -> dict[str, Row]:
    """The peers with at least the CPU seconds that ours used."""
    rows = {}
    for kind in PEERS if run else ():
        if not getattr(kind, "installed", lambda: True)():
            continue
        torch.manual_seed(seed)
        peer = Blurred(kind(x)) if x.shape[1] == PIXELS else kind(x)
        cost = train_peer(peer, x, max(row["cpu"] for row in ours.values()), seed)
        rows[peer.name] = cost | score(peer.log_prob, peer.sample, scored)
        print(f"  seed {seed}, {peer.name}: {rows[peer.name]}", flush=True)
    return rows


def points(name: str) -> Tensor:
    return data.mixture(name).sample(POOL, torch.Generator().manual_seed(1)).float()


@torch.no_grad()
def score_points(log_prob: Callable, draw: Callable[[int], Tensor], name: str) -> Row:
    """E[log p(x) - log p_model(x)] over 100,000 fresh points, nats, and the modes drawn."""
    mixture = data.mixture(name)
    x = mixture.sample(FRESH, torch.Generator().manual_seed(99))
    exact = mixture.log_prob(x)
    model = torch.cat([log_prob(few).double() for few in x.float().split(10_000)])
    row = {"nll": -float(model.mean()), "entropy": -float(exact.mean())}
    samples, row["sample"] = timed(draw, 4 * POINTS)
    found = mode_coverage(samples[:POINTS].double(), mixture)._asdict()
    return row | found | {"gap": float((exact - model).mean())}


def run_points(name: str, seconds: float, seed: int, with_peers: bool) -> dict[str, Row]:
    x, given = points(name), {"batch_size": 512, "lr": 5e-3, "clip": 5.0, "decay": 0.99}
    model, cost = train(splines, point_loss, x, seconds, seed, **given)
    draw = lambda n: model.sample(n, (2,))  # noqa: E731
    rows = {SPLINES: cost | score_points(model.log_prob, draw, name)}
    print(f"  seed {seed}, {SPLINES}: {rows[SPLINES]}", flush=True)
    return rows | run_peers(rows, seed, with_peers, x, score_points, name)


def exact_velocity(x: Tensor, t: Tensor) -> Tensor:
    """E[x_1 - x_0 | x_t] of the mixture, from its E[x_0 | x_t]; t near 0 is taken as 1e-5."""
    s = t.double().clamp(min=1e-5)[0]
    c = (s**2 + (1 - s) ** 2).sqrt()
    x = x.double()
    return (x - data.mixture("grid25_wide").best_eps(x / c, (s / c) ** 2)) / s


@torch.no_grad()
def run_matching(seconds: float, seed: int) -> dict[str, Row]:
    """Rows of Euler steps; `excess` is E||v - E[x_1 - x_0|x_t]||^2 over 50 times."""
    mixture, x = data.mixture("grid25_wide"), points("grid25_wide")
    given = {"batch_size": 512, "lr": 4e-3, "clip": 5.0, "decay": 0.995}
    with torch.enable_grad():
        make = networks("flows_plane.py")["Waves"]
        model, cost = train(make, matching_loss, x, seconds, seed, **given)
    rng, excess = torch.Generator().manual_seed(7), 0.0
    for i in range(50):
        t = torch.full((4000,), (i + 0.5) / 50)
        x0, x1 = torch.randn(4000, 2, generator=rng), mixture.sample(4000, rng).float()
        xt = (1 - t[:, None]) * x0 + t[:, None] * x1
        excess += float((model(xt, t) - exact_velocity(xt, t)).square().sum(dim=1).mean()) / 50
    rows = {}
    for steps in (1, 4, 10, 30, 100):
        for name, velocity in ((MATCHING, model), ("exact velocity", exact_velocity)):
            z = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(9))
            draw = lambda n, v=velocity, z=z, k=steps: integrate(v, z, k, step=euler_step)  # noqa: E731
            samples, speed = timed(draw, POINTS)
            row = mode_coverage(samples.double(), mixture)._asdict()
            rows[f"{name}, {steps} steps"] = row | ({"sample": speed} if velocity is model else {})
    rows[f"{MATCHING}, 10 steps"] |= cost | {"excess": excess}
    print(f"  seed {seed}: {rows}", flush=True)
    return rows


FIDELITY: Columns = {
    "bits/dim": ("bpd", "{:.3f}"),
    "FD": ("FD", "{:.2f}"),
    "coverage": ("coverage", "{:.2f}"),
    "nn_ratio": ("nn_ratio", "{:.2f}"),
}
MODES: Columns = {
    "modes ≥ 20": ("well_covered", "{:.0f}"),
    "of": ("of", "{:.0f}"),
    "high quality": ("high_quality", "{:.3f}"),
}
DENSITY: Columns = {
    "gap, nats": ("gap", "{:.4f}"),
    "−log p": ("nll", "{:.4f}"),
    "entropy": ("entropy", "{:.4f}"),
}
EXCESS: Columns = {"excess": ("excess", "{:.3f}")}


def report(name: str, runs: list[dict[str, Row]]) -> str:
    """The table of a task, then its bars."""
    ranges = ("bpd", "FD", "gap", "well_covered")
    if name == "digits":
        bars = [("bits/dim, block-autoregressive", BLOCKS, "bpd", 2.06, True)]
        bars += [("bits/dim, a flow in the strict sense", GLOW, "bpd", 2.13, True)]
        columns = FIDELITY
    elif name == "matching":
        ten = f"{MATCHING}, 10 steps"
        bars = [("modes of 25 from 10 Euler steps", ten, "well_covered", 25, False)]
        columns = MODES | EXCESS
    else:
        bars = [("gap to the entropy, nats", SPLINES, "gap", 0.02, True)]
        columns = DENSITY | MODES
    lines = [table(name, columns, runs, ranges), "", BAR_HEAD]
    for label, model, key, bar, below in bars:
        lines.append(verdict(label, median(runs, model, key), bar, below))
    return "\n".join(lines)


def run_seed(name: str, seed: int, with_peers: bool, held_out: bool) -> dict[str, Row]:
    if name == "digits":
        return run_digits(BUDGETS[name], seed, with_peers, held_out)
    if name == "matching":
        return run_matching(BUDGETS[name], seed)
    return run_points(name, BUDGETS[name], seed, with_peers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help=f"of {tuple(BUDGETS)}; all by default")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...; the median is shown")
    parser.add_argument("--peer-seeds", type=int, help="fewer seeds for the peers")
    parser.add_argument("--held-out", action="store_true", help="score held-out training images")
    given = parser.parse_args()
    if unknown := set(given.tasks) - set(BUDGETS):
        parser.error(f"tasks {sorted(unknown)}; legal: {tuple(BUDGETS)}")
    torch.set_num_threads(1)
    peered = given.seeds if given.peer_seeds is None else given.peer_seeds
    for name in given.tasks or BUDGETS:
        runs = [run_seed(name, s, s < peered, given.held_out) for s in range(given.seeds)]
        print(f"\n{report(name, runs)}\n", flush=True)


if __name__ == "__main__":
    main()
