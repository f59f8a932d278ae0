"""Autoregressive models of lesson 02 beside a public one, on digits: equal CPU seconds, one thread.

    python tests/benchmarks/autoregressive.py [--seconds 60] [--seeds 3] [--peer-seeds N]

Budgets are of `time.process_time`; evaluation does not count. Nothing is downloaded. With
--held-out 270 of the training images are scored instead of the test set: to choose settings by.
"""

import argparse
import math
import os
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: scikit-learn reads it too

import autoregressive_peers as peers
import torch
import yardstick
from budget import BAR_HEAD, Columns, Row, median, split, table, timed, train, train_peer, verdict
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import autoregressive, data

LEVELS, SIDE, SAMPLES, PEER_SAMPLES = 17, 8, 1000, 200
OURS, WINDOW = "lesson 02, PixelCNN", "a window of the past"


class Window(nn.Module):
    """log p(x_i | what lies within `reach` rows above i and `reach` columns beside it, before i).

    One masked kernel, its place, then residual layers of 1x1; of a level k it sees k/16 and k > 0.
    It is kept here: the package's PixelCNN sees levels as one of 17, and learns digits by heart.
    """

    def __init__(self, reach: int, width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.reach, self.rows, self.columns = reach, reach + 1, 2 * reach + 1
        before = torch.arange(self.rows * self.columns) < reach * self.columns + reach
        self.register_buffer("before", before.nonzero()[:, 0], persistent=False)
        self.look = nn.Linear(2 * len(self.before), width)
        self.place = nn.Parameter(0.1 * torch.randn(SIDE * SIDE, width))
        self.blocks = nn.ModuleList(self._block(width, dropout) for _ in range(blocks))
        self.drop, self.norm = nn.Dropout(dropout), nn.LayerNorm(width)
        self.head = nn.Linear(width, LEVELS)
        self.head_place = nn.Parameter(torch.zeros(SIDE * SIDE, LEVELS))
        for layer in (self.head, *(block[-1] for block in self.blocks)):
            nn.init.zeros_(layer.weight)

    @staticmethod
    def _block(width: int, dropout: float) -> nn.Sequential:
        first = [nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout)]
        return nn.Sequential(*first, nn.Linear(width, width))

    def _law(self, seen: Tensor, place: Tensor, head_place: Tensor) -> Tensor:
        h = self.drop(F.silu(self.look(seen) + place))
        for block in self.blocks:
            h = h + block(h)
        return (self.head(self.norm(h)) + head_place).log_softmax(dim=-1)

    def _padded(self, x: Tensor) -> Tensor:
        channels = torch.stack([x.to(self.place) / (LEVELS - 1), (x > 0).to(self.place)], dim=1)
        return F.pad(channels, (self.reach, self.reach, self.reach, 0))  # (B, 2, 8 + R, 8 + 2R)

    def forward(self, x: Tensor) -> Tensor:
        """Log probabilities (B, 17, 8, 8) of levels (B, 8, 8)."""
        taps = F.unfold(self._padded(x), (self.rows, self.columns))
        taps = taps.view(len(x), 2, -1, SIDE * SIDE)[:, :, self.before]  # (B, 2, taps, 64)
        law = self._law(taps.permute(0, 3, 1, 2).flatten(2), self.place, self.head_place)
        return law.transpose(1, 2).reshape(len(x), LEVELS, SIDE, SIDE)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """Levels (n, 8, 8), pixel by pixel; a pixel costs its own window only."""
        x = torch.zeros(n, SIDE, SIDE, dtype=torch.long)
        padded = self._padded(x)
        for i in range(SIDE * SIDE):
            row, column = divmod(i, SIDE)
            window = padded[:, :, row : row + self.rows, column : column + self.columns]
            seen = window.flatten(2)[:, :, self.before].flatten(1)
            law = self._law(seen, self.place[i], self.head_place[i])
            k = law.exp().multinomial(1)[:, 0]
            x[:, row, column] = k
            padded[:, 0, row + self.reach, column + self.reach] = k / (LEVELS - 1)
            padded[:, 1, row + self.reach, column + self.reach] = (k > 0).to(padded)
        return x


def pixel_cnn() -> nn.Module:
    return autoregressive.PixelCNN((SIDE, SIDE), LEVELS, channels=64, blocks=2, dropout=0.2)


def window() -> nn.Module:
    return Window(reach=4, width=128, blocks=2, dropout=0.2)


def loss(model: nn.Module, x: Tensor) -> Tensor:
    """Nats per pixel."""
    return -autoregressive.log_prob(model, x).mean() / SIDE**2


RECIPES = {  # model, what `fit` is given, and how images are drawn
    WINDOW: (window, {"batch_size": 64, "lr": 2e-3, "weight_decay": 0.05}, Window.sample),
    OURS: (
        pixel_cnn,
        {"batch_size": 32, "lr": 3e-3, "weight_decay": 0.05},
        autoregressive.sample,
    ),
}


@torch.no_grad()
def score(log_prob: Callable, draw: Callable[[int], Tensor], x: Tensor, n: int) -> Row:
    """Exact bits/dim of x, and FD and its companions of n drawn images, with their speed."""
    nats = -float(torch.cat([log_prob(few) for few in x.split(150)]).mean())
    images, speed = timed(draw, n)
    row = {"nats": nats, "bpd": nats / (SIDE**2 * math.log(2)), "sample": speed}
    return row | yardstick.evaluate("digits", images / (LEVELS - 1))


def digits(held_out: bool) -> tuple[Tensor, Tensor]:
    """Levels (N, 8, 8) to train on and to score."""
    images = data.digits()
    levels = [((LEVELS - 1) * x).round().long()[:, 0] for x in (images.train, images.test)]
    return split(levels[0], held_out, levels[1])


def run_ours(name: str, x: Tensor, scored: Tensor, seconds: float, seed: int) -> dict[str, Row]:
    make, given, draw = RECIPES[name]
    model, cost = train(make, loss, x, seconds, seed, decay=0.998, **given)
    log_prob = partial(autoregressive.log_prob, model)
    row = cost | score(log_prob, partial(draw, model), scored, SAMPLES)
    print(f"  seed {seed}, {name}: {row}", flush=True)
    return {name: row}


def run_peer(x: Tensor, scored: Tensor, seconds: float, seed: int) -> dict[str, Row]:
    torch.manual_seed(seed)
    peer = peers.IntroDgm()
    cost = train_peer(peer, x.flatten(1), seconds, seed)
    log_prob = lambda x: peer.log_prob(x.flatten(1))  # noqa: E731
    row = cost | score(log_prob, peer.sample, scored, PEER_SAMPLES)
    print(f"  seed {seed}, {peer.name}: {row}", flush=True)
    return {peer.name: row}


COLUMNS: Columns = {
    "bits/dim": ("bpd", "{:.3f}"),
    "nats": ("nats", "{:.2f}"),
    "N": ("N", "{:.0f}"),
    "FD": ("FD", "{:.2f}"),
    "coverage": ("coverage", "{:.2f}"),
    "nn_ratio": ("nn_ratio", "{:.2f}"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="CPU seconds of training")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...; the median is shown")
    parser.add_argument("--peer-seeds", type=int, help="fewer seeds for what stands beside ours")
    parser.add_argument("--held-out", action="store_true", help="score held-out training images")
    given = parser.parse_args()
    torch.set_num_threads(1)
    x, scored = digits(given.held_out)
    runs = [run_ours(WINDOW, x, scored, given.seconds, seed) for seed in range(given.seeds)]
    for seed in range(given.seeds if given.peer_seeds is None else given.peer_seeds):
        spent = max(given.seconds, runs[seed][WINDOW]["cpu"])  # as many seconds as ours used
        runs[seed] |= run_peer(x, scored, spent, seed)
        runs[seed] |= run_ours(OURS, x, scored, given.seconds, seed)
    print(f"\n{table('digits', COLUMNS, runs, ('bpd', 'FD'))}\n")
    print(BAR_HEAD)
    print(verdict("bits/dim", median(runs, WINDOW, "bpd"), 1.85))
    print(verdict("images/s drawn", median(runs, WINDOW, "sample"), 1000, below=False))


if __name__ == "__main__":
    main()
