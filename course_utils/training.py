"""Train a model: `fit` yields one small record per step, so that the notebook owns logs and plots.

    for step in fit(model, loss_fn, x_train, steps=600):
        losses.append(step.loss)

`fit` knows `loss_fn(model, *batch)` and nothing else of the model.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from course_utils.checkpoints import is_finite, shapes
from course_utils.runtime import available_devices

RESIDENT_BYTES = 2**30  # data up to this size move to the device once, larger ones batch by batch
WARMUP = 100  # steps, or half of a run that is shorter than two of these
Loss = Callable[..., Tensor]


class Step(NamedTuple):
    """One step; loss in nats and gradient norm (unclipped) are at the weights before the update."""

    number: int  # 1 to steps
    loss: float
    learning_rate: float
    gradient_norm: float


def fit(
    model: nn.Module,
    loss_fn: Loss,
    data: Tensor | tuple[Tensor, ...],
    *,
    steps: int = 600,
    batch_size: int = 64,
    lr: float = 2e-3,
    warmup: int | None = None,
    seed: int = 0,
    clip: float | None = 1.0,
    weight_decay: float = 0.0,
    average: AveragedModel | None = None,
    device: str | torch.device = "cpu",
    label: str = "training",
    progress: bool = True,
) -> Iterator[Step]:
    """Minimise the mean of `loss_fn` by AdamW, warm-up, then a cosine to 0; yield every `Step`.

    `loss_fn(model, *batch)` returns a scalar, the batch's mean in nats (autocast to bfloat16 on
    CUDA). `data`: one tensor, or several with the same first dimension, shuffled in every epoch in
    an order that `seed` decides; nothing else is seeded. `clip`: the largest gradient norm, or
    None. `average`: `ema(model)`, updated after each step; sample from `average.module`.
    The model is moved to `device`, trained in train mode and left in eval mode.

    Raises:
        ValueError: at the call: an illegal argument, or data that are no tensors, not finite or of
            another precision than the model. While training: a loss that is not a scalar.
        FloatingPointError: loss or gradient is not finite; the weights are those before that step.
    """
    warmup = min(WARMUP, steps // 2) if warmup is None else warmup
    _check(steps, batch_size, lr, warmup, clip, weight_decay)
    place, data = torch.device(device), _checked(data, batch_size, model)
    _need(place.type in available_devices(), f"device {place}; legal: {available_devices()}")
    parameters = _moved(model, average, place)
    optimizer = AdamW(parameters, weight_decay=weight_decay, fused=True)
    rates = (learning_rate(number, steps, lr, warmup) for number in range(1, steps + 1))
    plan = zip(rates, _batches(data, batch_size, seed, place), strict=False)
    bar = {"total": steps, "desc": label, "unit": "step", "disable": not progress}
    return _steps(model, loss_fn, plan, optimizer, clip, average, bar)


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


def _steps(
    model: nn.Module,
    loss_fn: Loss,
    plan: Iterator[tuple[float, list[Tensor]]],
    optimizer: Optimizer,
    clip: float | None,
    average: AveragedModel | None,
    bar_options: dict[str, object],
) -> Iterator[Step]:
    """The loop over rates and batches; the weights change only if loss and gradient are finite."""
    from tqdm.auto import tqdm

    bar = tqdm(**bar_options)
    try:
        for number, (rate, batch) in enumerate(plan, start=1):
            if not model.training:  # at the start, and when the loop's body has sampled
                model.train()
            loss, norm = _descent(model, loss_fn, batch, optimizer, clip)
            if not math.isfinite(loss + norm):
                what = f"step {number}: the loss is {loss}, the gradient's norm {norm}"
                raise FloatingPointError(f"{what}; the step was not taken. Try a smaller lr")
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            if average is not None:
                average.update_parameters(model)
            bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            bar.update()
            yield Step(number, loss, rate, norm)
        if not is_finite(model):
            raise FloatingPointError(f"step {number} left weights that are not finite: lr {rate:g}")
    finally:
        bar.close()
        model.zero_grad()
        model.eval()


def _descent(
    model: nn.Module, loss_fn: Loss, batch: list[Tensor], optimizer: Optimizer, clip: float | None
) -> tuple[float, float]:
    """Loss and gradient norm of a batch; leaves the gradient, clipped, in the parameters."""
    cuda = batch[0].device.type == "cuda"
    try:
        with torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext():
            loss = loss_fn(model, *batch)
    except RuntimeError as error:
        given = ", ".join(f"{tuple(part.shape)} {part.dtype}" for part in batch)
        error.add_note(f"fit gave loss_fn the batch {given}; the model is {_precision(model)}")
        raise
    if loss.ndim or not loss.requires_grad:
        found = f"shape {tuple(loss.shape)}, requires_grad={loss.requires_grad}"
        raise ValueError(f"loss_fn gave {found}; legal: a scalar with gradient, the batch's mean")
    optimizer.zero_grad()
    loss.backward()
    gradients = [p.grad for p in optimizer.param_groups[0]["params"] if p.grad is not None]
    norm = get_total_norm(gradients).item()
    if clip is not None and clip < norm < math.inf:
        torch._foreach_mul_(gradients, clip / norm)
    return loss.item(), norm


def _batches(
    data: tuple[Tensor, ...], batch_size: int, seed: int, device: torch.device
) -> Iterator[list[Tensor]]:
    """Batches without end, on the device."""
    if sum(part.nbytes for part in data) <= RESIDENT_BYTES:
        data = tuple(part.to(device) for part in data)
    for index in batch_indices(len(data[0]), batch_size, seed):
        yield [part[index.to(part.device)].to(device) for part in data]


def _moved(
    model: nn.Module, average: AveragedModel | None, device: torch.device
) -> list[nn.Parameter]:
    """What is trained of a model, once it and its average are on the device."""
    if average is not None:
        same = shapes(average.module) == shapes(model)
        _need(same, "average is of another model; legal: ema(model)")
        average.to(device)
    parameters = [p for p in model.to(device).parameters() if p.requires_grad]
    _need(parameters, f"{type(model).__name__} has no parameter to train")
    return parameters


def _check(
    steps: int, batch_size: int, lr: float, warmup: int, clip: float | None, weight_decay: float
) -> None:
    _need(steps >= 1, f"steps={steps}; legal: 1 or more")
    _need(batch_size >= 1, f"batch_size={batch_size}; legal: 1 or more")
    _need(0 < lr < math.inf, f"lr={lr}; legal: a positive number")
    _need(0 <= warmup <= steps, f"warmup={warmup}; legal: 0 to {steps}")
    _need(clip is None or clip > 0, f"clip={clip}; legal: positive, or None")
    _need(0 <= weight_decay < 1, f"weight_decay={weight_decay}; legal: in [0, 1)")


def _checked(data: object, batch_size: int, model: nn.Module) -> tuple[Tensor, ...]:
    """The data as a tuple of tensors that the model can be trained on."""
    data = tuple(data) if isinstance(data, tuple | list) else (data,)
    kinds = [type(part).__name__ for part in data]
    tensors = all(isinstance(part, Tensor) for part in data)
    legal = "tensors, such as torch.from_numpy(x) or dataset.tensors; fit makes the batches"
    _need(tensors, f"data of {', '.join(kinds)}; legal: {legal}")
    same = data and all(part.ndim for part in data) and len({len(part) for part in data}) == 1
    found = [tuple(part.shape) for part in data]
    _need(same, f"data of shapes {found}; legal: tensors with the same first dimension")
    _need(len(data[0]) >= batch_size, f"batch_size {batch_size} > {len(data[0])} examples in data")
    for part in data:
        if part.is_floating_point():
            weights = _precision(model) or part.dtype
            fits, legal = part.dtype == weights, "one dtype for both, such as data.float()"
            _need(fits, f"data of {part.dtype}, weights of {weights}; legal: {legal}")
            bad = ~part.reshape(len(part), -1).isfinite().all(dim=1)
            at = f"example {int(bad.int().argmax())} first"
            _need(not bad.any(), f"{int(bad.sum())} examples hold NaN or infinity, {at}")
    return data


def _precision(model: nn.Module) -> torch.dtype | None:
    """The dtype of the weights."""
    return next((weights.dtype for weights in model.parameters()), None)


def _need(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
