"""`fit` against a loop written by hand, and against all that can stop a run; files of weights."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from course_utils import checkpoints, training
from course_utils.runtime import available_devices
from course_utils.training import batch_indices, ema, fit, learning_rate
from tests.conftest import require

QUICK = {"steps": 20, "batch_size": 8, "warmup": 5, "progress": False}


class Net(nn.Module):
    """A little of all that has state: dropout and loss noise (generator), batch norm (buffers)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def noisy_loss(model: nn.Module, x: Tensor) -> Tensor:
    return ((model(x + 0.1 * torch.randn_like(x)) - x) ** 2).sum(dim=1).mean()


def points(n: int = 43) -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(2))


def holed() -> Tensor:
    x = points()
    x[7, 1], x[9, 0] = math.nan, math.inf
    return x


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    torch.testing.assert_close(left, right, rtol=0, atol=0)


# --- the pure parts ---------------------------------------------------------------------------


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    rates = [learning_rate(number, 39, 2.0, 10) for number in range(1, 40)]
    assert rates[:10] == pytest.approx([0.2 * number for number in range(1, 11)])
    assert rates[24] == pytest.approx(1.0)  # half way from step 10 to step 40
    assert all(a > b > 0 for a, b in itertools.pairwise(rates[9:]))
    assert learning_rate(40, 39, 2.0, 10) == 0.0
    assert learning_rate(1, 3, 2.0, 0) == pytest.approx(2 * math.cos(math.pi / 8) ** 2)
    assert learning_rate(3, 3, 2.0, 3) == 2.0


def test_every_epoch_is_another_permutation_without_its_rest():
    batches = list(itertools.islice(batch_indices(11, 4, seed=5), 6))
    epochs = [torch.cat(batches[start : start + 2]).tolist() for start in (0, 2, 4)]
    for epoch in epochs:
        assert len(set(epoch)) == 8 and set(epoch) <= set(range(11))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    again = list(itertools.islice(batch_indices(11, 4, seed=5), 6))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))
    assert not torch.equal(batches[0], next(batch_indices(11, 4, seed=6)))


def test_the_order_of_the_data_takes_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    next(batch_indices(11, 4, seed=5))
    assert torch.equal(before, torch.get_rng_state())


def test_the_average_follows_its_recurrence_and_copies_buffers():
    model = Net().double()
    average = ema(model, decay=0.6)
    expected = [weight.detach().clone() for weight in model.parameters()]
    run = fit(model, noisy_loss, points().double(), average=average, **QUICK)
    for updates, _ in enumerate(run):
        decay = min(0.6, (1 + updates) / (10 + updates))
        expected = [
            decay * a + (1 - decay) * w.detach()
            for a, w in zip(expected, model.parameters(), strict=True)
        ]
    torch.testing.assert_close([w.detach() for w in average.module.parameters()], expected)
    assert_same(dict(average.module.named_buffers()), dict(model.named_buffers()))
    assert not average.module.training


# --- the loop ---------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [6.0, None])
def test_fit_is_the_loop_that_one_would_write(clip: float | None):
    # In float64: a bias below batch norm has gradient 0, and Adam blows up the rounding of it.
    x, model, twin = points().double(), Net().double(), Net().double()
    torch.manual_seed(3)
    steps = list(fit(model, noisy_loss, x, seed=4, clip=clip, weight_decay=0.1, **QUICK))

    torch.manual_seed(3)
    optimizer = torch.optim.AdamW(twin.parameters(), weight_decay=0.1)
    losses, norms, order = [], [], torch.Generator().manual_seed(4)
    epochs = [torch.randperm(43, generator=order)[:40].reshape(5, 8) for _ in range(4)]
    for number, batch in enumerate(torch.cat(epochs), start=1):
        optimizer.param_groups[0]["lr"] = learning_rate(number, 20, 2e-3, 5)
        loss = noisy_loss(twin, x[batch])
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(nn.utils.clip_grad_norm_(twin.parameters(), clip or math.inf)))
        optimizer.step()
        losses.append(loss.item())
    assert min(norms) < 6.0 < max(norms)  # some gradients are clipped, some are not

    torch.testing.assert_close(state(model), state(twin))
    assert [step.loss for step in steps] == pytest.approx(losses, rel=1e-5)
    assert [step.gradient_norm for step in steps] == pytest.approx(norms, rel=1e-5)
    assert [step.number for step in steps] == list(range(1, 21))


def test_a_linear_model_ends_at_the_least_squares_solution():
    x = points(64).double()
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]).double() + 0.1 * x[:, :1] ** 2
    model = nn.Linear(3, 1).double()
    list(fit(model, _squares, (x, y), steps=800, lr=0.03, warmup=20, progress=False))
    design = torch.cat([x, torch.ones(64, 1)], dim=1)
    exact = torch.linalg.lstsq(design, y).solution.flatten()
    found = torch.cat([model.weight.flatten(), model.bias]).detach()
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-5)


def _squares(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return ((model(x) - y) ** 2).mean()


def test_the_parts_of_the_data_stay_together():
    first = torch.arange(24.0).reshape(12, 2)
    data, met = (first, torch.arange(12)), []

    def loss_fn(model: nn.Module, x: Tensor, label: Tensor) -> Tensor:
        met.append(x[:, 0].long() // 2 - label)
        return model(x).mean()

    list(fit(nn.Linear(2, 1), loss_fn, data, steps=3, batch_size=4, warmup=0, progress=False))
    assert torch.equal(torch.cat(met), torch.zeros(12, dtype=torch.long))


def test_a_body_that_samples_in_eval_mode_does_not_disturb_the_training():
    modes = []

    def loss_fn(model: nn.Module, x: Tensor) -> Tensor:
        modes.append(model.training)
        return noisy_loss(model, x)

    model = Net().eval()
    for _ in fit(model, loss_fn, points(), **QUICK):
        model.eval()
    assert modes == [True] * 20
    assert not model.training


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"steps": 0}, "steps=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 44}, "batch_size 44 > 43"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"lr": math.nan}, "lr=nan"),
        ({"warmup": 21}, "warmup=21; legal: 0 to 20"),
        ({"clip": -1.0}, "clip=-1.0"),
        ({"weight_decay": 1.0}, "weight_decay=1.0"),
        ({"device": "hpu"}, "device hpu; legal: .*cpu"),
        ({"average": ema(nn.Linear(2, 2))}, "average is of another model"),
        ({"data": (points(8), points(9))}, r"\(8, 3\), \(9, 3\)"),
        ({"data": torch.tensor(1.0)}, "same first dimension"),
        ({"data": ()}, "same first dimension"),
        ({"model": nn.Tanh()}, "Tanh has no parameter"),
        ({"model": nn.Linear(3, 3).requires_grad_(False)}, "Linear has no parameter"),
        ({"data": points().double()}, r"data of .*float64, weights of .*float32; .*data.float\(\)"),
        ({"data": (points(), holed())}, "2 examples hold NaN or infinity, example 7 first"),
    ],
)
def test_an_illegal_argument_is_refused_at_the_call(arguments: dict, named: str):
    given = {"model": Net(), "data": points(), **QUICK, **arguments}
    with pytest.raises(ValueError, match=named):
        fit(given.pop("model"), noisy_loss, given.pop("data"), **given)


@pytest.mark.parametrize("data", [points().numpy(), DataLoader(points())])
def test_data_of_another_kind_are_named_with_the_legal_one(data):
    with pytest.raises(ValueError, match=f"data of {type(data).__name__}; legal: .*from_numpy"):
        training._checked(data, 8, Net())  # what `fit` asks; the tests' type checker is stricter


def test_images_of_bytes_are_named_where_the_model_cannot_read_them():
    with pytest.raises(RuntimeError) as raised:
        next(fit(Net(), noisy_loss, torch.ones(9, 3, dtype=torch.uint8), **QUICK))
    assert raised.value.__notes__ == [
        "fit gave loss_fn the batch (8, 3) torch.uint8; the model is torch.float32"
    ]


@pytest.mark.parametrize(("steps", "top"), [(30, 15), (600, 100)])
def test_a_short_run_warms_up_for_half_of_it(steps: int, top: int):
    run = fit(Net(), noisy_loss, points(), steps=steps, batch_size=8, progress=False)
    rates = [step.learning_rate for step in itertools.islice(run, top + 1)]
    assert rates[top - 1] == max(rates) == pytest.approx(2e-3)


def test_an_illegal_decay_is_refused():
    with pytest.raises(ValueError, match=r"decay=1\.0"):
        ema(Net(), decay=1.0)


def test_a_loss_per_example_is_refused():
    with pytest.raises(ValueError, match=r"shape \(8,\).* legal: a scalar"):
        next(fit(Net(), lambda model, x: model(x).sum(dim=1), points(), **QUICK))


# --- the progress bar -------------------------------------------------------------------------


def test_the_bar_shows_label_and_loss_and_can_be_silent(capfd: pytest.CaptureFixture[str]):
    list(fit(Net(), noisy_loss, points(), **QUICK))
    assert capfd.readouterr() == ("", "")
    steps = list(fit(Net(), noisy_loss, points(), **QUICK | {"progress": True, "label": "VAE"}))
    shown = capfd.readouterr().err
    assert "VAE: 100%" in shown and "20/20" in shown and f"loss {steps[-1].loss:.4g}" in shown


# --- interrupted ------------------------------------------------------------------------------


def _interrupt_in_body(monkeypatch: pytest.MonkeyPatch, model: nn.Module, **arguments) -> None:
    for step in fit(model, noisy_loss, points(), **arguments):
        if step.number == 9:
            raise KeyboardInterrupt


def _interrupt_in_loss(monkeypatch: pytest.MonkeyPatch, model: nn.Module, **arguments) -> None:
    calls = itertools.count(1)

    def loss_fn(model: nn.Module, x: Tensor) -> Tensor:
        loss = noisy_loss(model, x)
        if next(calls) == 10:
            raise KeyboardInterrupt
        return loss

    list(fit(model, loss_fn, points(), **arguments))


def _interrupt_in_optimiser(monkeypatch: pytest.MonkeyPatch, model: nn.Module, **arguments) -> None:
    calls, step = itertools.count(1), torch.optim.AdamW.step

    def interrupted(self: torch.optim.AdamW) -> None:
        step(self)
        if next(calls) == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    list(fit(model, noisy_loss, points(), **arguments))


@pytest.mark.parametrize(
    "interrupt", [_interrupt_in_body, _interrupt_in_loss, _interrupt_in_optimiser]
)
def test_an_interrupt_leaves_the_model_usable(interrupt, monkeypatch, capfd):
    model = Net()
    average = ema(model)
    with pytest.raises(KeyboardInterrupt):
        interrupt(monkeypatch, model, **QUICK | {"average": average, "progress": True})
    monkeypatch.undo()
    assert not model.training and all(p.grad is None for p in model.parameters())
    for usable in (model, average.module):
        assert torch.isfinite(usable(points())).all()
    bar = capfd.readouterr().err
    assert "9/20" in bar.splitlines()[-1] and bar.endswith("\n")  # a closed bar ends its line


# --- numbers that are none --------------------------------------------------------------------


BAD = {
    "nan": lambda loss, weights: loss * math.nan,
    "infinite": lambda loss, weights: loss + math.inf,  # with a gradient that is fine
    "slope": lambda loss, weights: loss + (0 * weights).sum().sqrt(),  # a value that is fine
}


def _bad_at(number: int, kind: str) -> Callable[..., Tensor]:
    calls = itertools.count(1)

    def loss_fn(model: nn.Module, x: Tensor) -> Tensor:
        loss = noisy_loss(model, x)
        return BAD[kind](loss, next(model.parameters())) if next(calls) == number else loss

    return loss_fn


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_step_is_not_taken_and_named(kind: str):
    model, kept = Net(), {}
    run = fit(model, _bad_at(11, kind), points(), **QUICK)
    with pytest.raises(FloatingPointError, match=r"^step 11: .*(nan|inf).* was not taken"):
        for _ in run:
            kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert_same(kept, {name: p.detach() for name, p in model.named_parameters()})
    assert not model.training


def test_weights_that_overflowed_in_the_last_step_are_named():
    arguments = {**QUICK, "steps": 1, "warmup": 1, "lr": 1e39}
    with pytest.raises(FloatingPointError, match="step 1 left weights that are not finite"):
        list(fit(nn.Linear(3, 3), noisy_loss, points(), **arguments))


# --- files of weights -------------------------------------------------------------------------


def test_weights_come_back_with_their_metadata(tmp_path: Path):
    path, model = tmp_path / "net.safetensors", Net()
    list(fit(model, noisy_loss, points(), **QUICK))
    digest = checkpoints.save_weights(path, model, {"seed": 0, "command": "make assets"})
    other = Net().train()
    assert checkpoints.load_weights(path, other) == {"seed": 0, "command": "make assets"}
    assert_same(state(other), state(model))
    assert not other.training
    again = checkpoints.save_weights(path, other, {"command": "make assets", "seed": 0})
    assert again == digest  # the same content is the same file


def test_tied_weights_can_be_saved(tmp_path: Path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    checkpoints.save_weights(tmp_path / "tied.safetensors", model, {})
    other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    other[1].weight = other[0].weight
    checkpoints.load_weights(tmp_path / "tied.safetensors", other)
    assert_same(state(other), state(model))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (nn.Linear(3, 4), r"bias \(3,\) in the file, \(4,\) in the model"),
        (nn.Linear(3, 3, bias=False), r"bias \(3,\) in the file, absent in the model"),
        (nn.Bilinear(3, 3, 3), r"weight \(3, 3\) in the file, \(3, 3, 3\) in the model"),
    ],
)
def test_weights_of_another_shape_are_refused_untouched(other: nn.Module, named, tmp_path: Path):
    checkpoints.save_weights(tmp_path / "net.safetensors", nn.Linear(3, 3), {})
    before = state(other)
    with pytest.raises(ValueError, match=named):
        checkpoints.load_weights(tmp_path / "net.safetensors", other)
    assert_same(state(other), before)


def test_a_manifest_beside_the_file_is_obeyed(tmp_path: Path):
    path, model = tmp_path / "net.safetensors", nn.Linear(3, 3)
    digest = checkpoints.save_weights(path, model, {})
    manifest = tmp_path / "MANIFEST.json"
    manifest.write_text(f'{{"net.safetensors": {{"sha256": "{digest}"}}}}')
    checkpoints.load_weights(path, model)
    checkpoints.save_weights(path, nn.Linear(3, 3), {})
    with pytest.raises(ValueError, match=f"has sha256 .*, not {digest}; get the file again"):
        checkpoints.load_weights(path, model)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path):
    model = nn.Linear(3, 3)
    nn.init.constant_(model.bias, math.nan)
    with pytest.raises(ValueError, match="not finite, nothing was written"):
        checkpoints.save_weights(tmp_path / "net.safetensors", model, {})
    assert list(tmp_path.iterdir()) == []


# --- CUDA -------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_on_cuda_it_trains_in_bfloat16():
    require("gpu", "cuda" in available_devices(), "no CUDA device")
    dtypes = set()

    def loss_fn(model: nn.Module, x: Tensor) -> Tensor:
        out = model(x)
        dtypes.add(out.dtype)
        return ((out - x) ** 2).sum(dim=1).mean()

    model = Net()
    average, arguments = ema(model), {**QUICK, "steps": 60, "device": "cuda"}
    steps = list(fit(model, loss_fn, points(), average=average, **arguments))
    assert steps[-1].loss < steps[0].loss
    assert dtypes == {torch.bfloat16}
    for module in (model, average.module):
        assert {p.device.type for p in module.parameters()} == {"cuda"}
        assert {p.dtype for p in module.parameters()} == {torch.float32}
