"""What the benchmarks of lessons 02 and 03 share: training for so many CPU seconds, and tables."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.training import batch_indices, ema, fit

PROBE, HELD_OUT = 40, 270
BAR_HEAD = "| figure | ours | bar | |\n|---|---|---|---|"
Row = dict[str, float]


def split(x: Tensor, held_out: bool, test: Tensor) -> tuple[Tensor, Tensor]:
    """What is trained on and what is scored: all of x and the test set, or x without 270 and these.

    The 270 are what settings were chosen by: the test set was not looked at for that.
    """
    if not held_out:
        return x, test
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    return x[order[HELD_OUT:]], x[order[:HELD_OUT]]


def train(
    make: Callable[[], nn.Module],
    loss: Callable,
    x: Tensor,
    seconds: float,
    seed: int,
    decay: float,
    **given: Any,
) -> tuple[nn.Module, Row]:
    """The averaged weights after as many steps of `fit` as the budget pays for.

    The probe that counts the steps is charged, too. `given` is what `fit` is given beside them.
    """

    def run(steps: int) -> tuple[nn.Module, Iterator]:
        torch.manual_seed(seed)
        model = make()
        average = ema(model, decay)
        options = given | {"steps": steps, "seed": seed, "average": average, "progress": False}
        return average.module, fit(model, loss, x, **options)

    probe = run(10_000)[1]
    next(probe)  # imports and torch's own warm-up, which the peers find done
    start = time.process_time()
    for _ in range(PROBE):
        next(probe)
    each = (time.process_time() - start) / PROBE
    model, steps = run(max(1, int(seconds / each) - PROBE))
    begun = time.process_time()
    count = sum(1 for _ in steps)
    now = time.process_time()
    return model, {
        "cpu": now - start,
        "steps": count,
        "train": count * given["batch_size"] / (now - begun),
    }


def train_peer(peer: Any, x: Tensor, seconds: float, seed: int) -> Row:
    """Its own optimiser and batch size, no schedule, until the seconds are spent."""
    optimiser, count, start = peer.optimiser(), 0, time.process_time()
    peer.train()
    for index in batch_indices(len(x), peer.batch_size, seed):
        optimiser.zero_grad()
        peer.loss(x[index]).backward()
        optimiser.step()
        count += 1
        if (spent := time.process_time() - start) >= seconds:
            break
    peer.eval()
    return {"cpu": spent, "steps": count, "train": count * peer.batch_size / spent}


def timed(draw: Callable[[int], Tensor], n: int) -> tuple[Tensor, float]:
    """N samples, and how many were drawn in a CPU second."""
    torch.manual_seed(0)
    begun = time.process_time()
    samples = draw(n)
    return samples, n / (time.process_time() - begun)


Columns = dict[str, tuple[str, str]]  # heading: (key, format)
COST: Columns = {
    "CPU s": ("cpu", "{:.0f}"),
    "steps": ("steps", "{:,.0f}"),
    "train x/s": ("train", "{:,.0f}"),
    "sample x/s": ("sample", "{:,.0f}"),
}


def table(name: str, columns: Columns, runs: list[dict[str, Row]], ranges: Sequence[str]) -> str:
    """Markdown: medians over the seeds that ran a model, with the range of the keys in `ranges`."""
    columns = columns | COST
    lines = [f"| {name} | seeds | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for model in {label: None for run in runs for label in run}:
        found = [run[model] for run in runs if model in run]
        cells = [cell([r[k] for r in found if k in r], f, k in ranges) for k, f in columns.values()]
        lines.append(f"| {model} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(values: list[float], form: str, spread: bool) -> str:
    if not values:
        return "–"
    text = form.format(statistics.median(values))
    if spread and len(values) > 1:
        text += f" ({form.format(min(values))}–{form.format(max(values))})"
    return text


def verdict(label: str, value: float, bar: float, below: bool = True) -> str:
    """One line of a table: figure, ours, the bar, met or missed."""
    met = value <= bar if below else value >= bar
    sign = "≤" if below else "≥"
    return f"| {label} | {value:,.4g} | {sign} {bar:,} | {'met' if met else 'MISSED'} |"


def median(runs: list[dict[str, Row]], model: str, key: str) -> float:
    return statistics.median(run[model][key] for run in runs)
