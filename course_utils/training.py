"""Train a model: `fit` yields one small record per step, so that the notebook owns logs and plots.

    for step in fit(model, loss_fn, x_train, steps=600, checkpoint="vae.safetensors"):
        losses.append(step.loss)

`fit` knows `loss_fn(model, *batch)` and nothing else of the model. With a `checkpoint`, a run that
was killed and is started again with the same arguments repeats its records and goes on. On the CPU
it ends with the curve and weights of an unbroken run, bit for bit, if all noise comes from torch's
global generator. A checkpoint cannot see into `loss_fn`: delete it when you change the loss.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim.swa_utils import AveragedModel

from course_utils import checkpoints
from course_utils.runtime import available_devices

RESIDENT_BYTES = 2**30  # data up to this size move to the device once, larger ones batch by batch


class Step(NamedTuple):
    """One step; loss in nats and gradient norm (unclipped) are at the weights before the update."""

    number: int  # 1 to steps
    loss: float
    learning_rate: float
    gradient_norm: float
    resumed: bool = False  # read from the checkpoint, not computed now


def fit(
    model: nn.Module,
    loss_fn: Callable[..., Tensor],
    data: Tensor | tuple[Tensor, ...],
    *,
    steps: int = 600,
    batch_size: int = 64,
    lr: float = 2e-3,
    warmup: int = 100,
    seed: int = 0,
    clip: float | None = 1.0,
    weight_decay: float = 0.0,
    average: AveragedModel | None = None,
    checkpoint: str | Path | None = None,
    save_every: int = 200,
    device: str | torch.device = "cpu",
    label: str = "training",
    progress: bool = True,
) -> Iterator[Step]:
    """Minimise the mean of `loss_fn` by AdamW, warm-up, then a cosine to 0; yield every `Step`.

    `loss_fn(model, *batch)` returns a scalar, the batch's mean in nats (autocast to bfloat16 on
    CUDA). `data`: one tensor, or several with the same first dimension, shuffled in every epoch in
    an order that `seed` decides; nothing else is seeded. `clip`: the largest gradient norm, or
    None. `average`: `ema(model)`, updated after each step; sample from `average.module`.
    `checkpoint`: a file, written every `save_every` steps and at the end, after the loop's body.
    The model is moved to `device`, trained in train mode and left in eval mode.

    Raises:
        ValueError: at the call: an illegal argument, a checkpoint that is damaged or of other
            settings. While training: a loss that is not a scalar.
        FloatingPointError: loss or gradient is not finite; the weights are those before that step.
    """
    settings = _Settings(steps, batch_size, lr, warmup, seed, clip, weight_decay)
    data = _checked(data, batch_size)
    _need(save_every >= 1, f"save_every={save_every}; legal: 1 or more")
    place = torch.device(device)
    _need(place.type in available_devices(), f"device {place}; legal: {available_devices()}")
    run = _Run(model, average, settings, place, None if checkpoint is None else Path(checkpoint))
    saved = run.find(data)
    return _steps(run, loss_fn, data, saved, save_every, label, progress)


def learning_rate(number: int, steps: int, lr: float, warmup: int) -> float:
    """The rate of step `number` = 1..steps: linear to lr at `warmup`, then lr (1 + cos(pi u)) / 2.

    u runs from 0 at `warmup` to 1 one step after the last, so that no step is wasted on rate 0.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, without restarts.
    """
    if number <= warmup:
        return lr * number / warmup
    return lr * 0.5 * (1 + math.cos(math.pi * (number - warmup) / (steps + 1 - warmup)))


def ema(model: nn.Module, decay: float = 0.999) -> AveragedModel:
    """w_avg <- d w_avg + (1 - d) w with d = min(decay, (1 + t) / (10 + t)), t the updates so far.

    A copy of the model whose weights are an exponential moving average; give it to `fit` as
    `average`. The growing d forgets the start of a short run. Buffers are copied, not averaged.

    Raises:
        ValueError: decay outside [0, 1).
    """
    _need(0 <= decay < 1, f"decay={decay}; legal: in [0, 1)")
    return _MovingAverage(model, decay).eval()


def batch_indices(n: int, batch_size: int, seed: int) -> Iterator[Int[Tensor, "B"]]:
    """Batches of indices without end; each epoch a new permutation of n, its rest dropped."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(n, generator=generator)[: n - n % batch_size].split(batch_size)


class _MovingAverage(AveragedModel):
    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """One update; a fifth of the time that torch's bookkeeping around the same line takes."""
        t = int(self.n_averaged)
        decay = min(self.decay, (1 + t) / (10 + t))
        mine, its = list(self.module.parameters()), list(model.parameters())
        torch._foreach_lerp_(mine, its, 1 - decay)
        for copied, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            copied.copy_(buffer)
        self.n_averaged += 1


@dataclass(frozen=True)
class _Settings:
    """The numbers that decide a run."""

    steps: int
    batch_size: int
    lr: float
    warmup: int
    seed: int
    clip: float | None
    weight_decay: float

    def __post_init__(self) -> None:
        _need(self.steps >= 1, f"steps={self.steps}; legal: 1 or more")
        _need(self.batch_size >= 1, f"batch_size={self.batch_size}; legal: 1 or more")
        _need(0 < self.lr < math.inf, f"lr={self.lr}; legal: a positive number")
        _need(0 <= self.warmup <= self.steps, f"warmup={self.warmup}; legal: 0 to {self.steps}")
        _need(self.clip is None or self.clip > 0, f"clip={self.clip}; legal: positive, or None")
        _need(0 <= self.weight_decay < 1, f"weight_decay={self.weight_decay}; legal: in [0, 1)")


@dataclass
class _Run:
    """All that a step changes, and so all that a checkpoint holds."""

    model: nn.Module
    average: AveragedModel | None
    settings: _Settings
    device: torch.device
    path: Path | None
    fingerprint: dict[str, Any] = field(default_factory=dict)
    curve: list[tuple[float, float, float]] = field(default_factory=list)
    saved: int = 0  # the step of the last good checkpoint

    def __post_init__(self) -> None:
        if self.average is not None:
            same = checkpoints.shapes(self.average.module) == checkpoints.shapes(self.model)
            _need(same, "average is of another model; legal: ema(model)")
        for module in self.modules().values():
            module.to(self.device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        _need(self.parameters, f"{type(self.model).__name__} has no parameter to train")
        weight_decay = self.settings.weight_decay
        self.optimizer = torch.optim.AdamW(self.parameters, weight_decay=weight_decay, fused=True)

    def modules(self) -> dict[str, nn.Module]:
        """Model and average by the names that they have in a checkpoint."""
        averages = {} if self.average is None else {"average": self.average}
        return {"model": self.model, **averages}

    def find(self, data: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Set the fingerprint; the tensors of the checkpoint, if there is one, of this very run."""
        if self.path is None:
            return {}
        self.fingerprint = asdict(self.settings) | {
            "data": checkpoints.checksum({str(index): part for index, part in enumerate(data)}),
            "model": f"{zlib.crc32(f'{self.model} {checkpoints.shapes(self.model)}'.encode()):08x}",
            "average": getattr(self.average, "decay", self.average is not None),
        }
        return checkpoints.read_tensors_of(self.path, self.fingerprint)

    def save(self) -> None:
        """Write the checkpoint of the present step, unless its weights are not finite."""
        number = len(self.curve)
        for name, module in self.modules().items():
            if not checkpoints.is_finite(module):
                self.stop(f"step {number}: it left weights of the {name} that are not finite")
        if self.path is None:
            return
        tensors = checkpoints.pack(self.modules(), self.optimizer, self.device)
        curve = torch.tensor(self.curve, dtype=torch.float64)  # (steps so far, 3)
        checkpoints.write_tensors(self.path, {**tensors, "curve": curve}, self.fingerprint)
        self.saved = number

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Set everything but the random generators to a checkpoint's state."""
        checkpoints.unpack(tensors, self.modules(), self.optimizer, self.path)
        self.curve = [tuple(row) for row in tensors["curve"].tolist()]
        self.saved = len(self.curve)

    def stop(self, what: str) -> NoReturn:
        """Raise FloatingPointError with what is wrong and the last good checkpoint."""
        last = f"{self.path} at step {self.saved}" if self.saved else "none"
        raise FloatingPointError(f"{what}; last good checkpoint: {last}. Try a smaller lr")


def _steps(
    run: _Run,
    loss_fn: Callable[..., Tensor],
    data: tuple[Tensor, ...],
    saved: dict[str, Tensor],
    save_every: int,
    label: str,
    progress: bool,
) -> Iterator[Step]:
    from tqdm.auto import tqdm

    steps, n = run.settings.steps, len(data[0])
    order = batch_indices(n, run.settings.batch_size, run.settings.seed)
    if sum(part.nbytes for part in data) <= RESIDENT_BYTES:
        data = tuple(part.to(run.device) for part in data)
    bar = tqdm(total=steps, desc=label, unit="step", disable=not progress)
    try:
        if saved:
            run.restore(saved)
            if progress:
                tqdm.write(f"{label}: step 1 to {run.saved} from {run.path}; {checkpoints.ANEW}")
            for number, values in enumerate(run.curve, start=1):
                bar.update()
                yield Step(number, *values, resumed=True)
            checkpoints.unpack_random(saved, run.device)  # last: the loop's body may have drawn
        for number, index in enumerate(islice(order, run.saved, steps), start=run.saved + 1):
            batch = [part[index.to(part.device)].to(run.device) for part in data]
            step = _advance(run, loss_fn, batch, number)
            bar.set_postfix_str(f"loss {step.loss:.4g}", refresh=False)
            bar.update()
            yield step
            if number % save_every == 0 or number == steps:
                run.save()
    finally:
        bar.close()
        run.model.zero_grad()
        run.model.eval()


def _advance(run: _Run, loss_fn: Callable[..., Tensor], batch: list[Tensor], number: int) -> Step:
    """One step of the optimiser; the weights change only if loss and gradient are finite."""
    settings = run.settings
    rate = learning_rate(number, settings.steps, settings.lr, settings.warmup)
    run.optimizer.param_groups[0]["lr"] = rate
    if not run.model.training:  # at the start, and when the loop's body has sampled in eval mode
        run.model.train()
    cuda = run.device.type == "cuda"
    with torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext():
        loss = loss_fn(run.model, *batch)
    if loss.ndim or not loss.requires_grad:
        found = f"shape {tuple(loss.shape)}, requires_grad={loss.requires_grad}"
        raise ValueError(f"loss_fn gave {found}; legal: a scalar with gradient, the batch's mean")
    run.optimizer.zero_grad()
    loss.backward()
    gradients = [p.grad for p in run.parameters if p.grad is not None]
    value, size = loss.item(), get_total_norm(gradients).item()
    if not math.isfinite(value + size):
        run.stop(f"step {number}: the loss is {value}, the gradient's norm {size}")
    if settings.clip is not None and size > settings.clip:
        torch._foreach_mul_(gradients, settings.clip / size)
    run.optimizer.step()
    if run.average is not None:
        run.average.update_parameters(run.model)
    run.curve.append((value, rate, size))
    return Step(number, value, rate, size)


def _checked(data: Tensor | tuple[Tensor, ...], batch_size: int) -> tuple[Tensor, ...]:
    data = (data,) if isinstance(data, Tensor) else data
    same = data and all(part.ndim for part in data) and len({len(part) for part in data}) == 1
    found = [tuple(part.shape) for part in data]
    _need(same, f"data of shapes {found}; legal: tensors with the same first dimension")
    _need(len(data[0]) >= batch_size, f"batch_size {batch_size} > {len(data[0])} examples in data")
    return data


def _need(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
