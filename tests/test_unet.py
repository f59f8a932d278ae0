"""The U-Net: shapes, zero at the start, time matters, images apart, time features that tell t."""

import math

import pytest
import torch
from torch import nn

from course_utils.networks import time_embedding
from course_utils.unet import (
    DenseBlock,
    FourierFeatures,
    ResidualBlock,
    SelfAttention,
    UNet,
)

SMALL = {"width": 8}
MODELS = {
    "8": ((1, 8, 8), SMALL),
    "16, colour": ((3, 16, 16), SMALL),
    "28": ((1, 28, 28), SMALL | {"multipliers": (1, 2, 2)}),
    "28 in patches": ((1, 28, 28), SMALL | {"patch": 2}),
    "32": ((3, 32, 32), SMALL | {"multipliers": (1, 1, 2), "blocks": 2}),
    "not square": ((2, 12, 8), SMALL),
    "one scale": ((1, 7, 7), SMALL | {"multipliers": (1,)}),
    "addition": ((1, 8, 8), SMALL | {"adaptive": False}),
    "no attention": ((1, 8, 8), SMALL | {"attention": False}),
    "no dense block": ((1, 8, 8), SMALL | {"dense": 0}),
    "neither": ((1, 8, 8), SMALL | {"attention": False, "dense": 0}),
    "learned variance": ((3, 8, 8), SMALL | {"learned_variance": True}),
    "learned variance in patches": ((3, 8, 8), SMALL | {"learned_variance": True, "patch": 2}),
    "fourier": ((1, 8, 8), SMALL | {"time_features": FourierFeatures(16, 1000)}),
}
each = pytest.mark.parametrize("name", MODELS)


def woken(name: str, seed: int = 0) -> UNet:
    """The model with every parameter moved off its start, as after training."""
    shape, given = MODELS[name]
    torch.manual_seed(seed)
    model = UNet(shape, **given)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def batch(name: str, n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, *MODELS[name][0], generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([1, 250, 500, 1000])[:n]


@each
def test_an_untrained_network_returns_zero_in_the_right_shape(name):
    (C, *sides), given = MODELS[name]
    out = UNet((C, *sides), **given)(*batch(name))
    count = 2 if given.get("learned_variance") else 1
    assert out.shape == (4, count * C, *sides)
    assert torch.equal(out, torch.zeros_like(out))


@each
def test_every_parameter_learns(name):
    model, (x, t) = woken(name), batch(name)
    out = model(x, t)
    (out * torch.randn(out.shape)).sum().backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, label


@each
def test_all_layers_wake_within_four_steps_from_zero(name):
    """Three zeros stand in a row (last layer, block, time); one step wakes one of them."""
    torch.manual_seed(0)
    shape, given = MODELS[name]
    model, (x, t) = UNet(shape, **given), batch(name)
    before = [p.clone() for p in model.parameters()]
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(4):
        out = model(x, t)
        optimiser.zero_grad()
        (out - torch.randn(out.shape)).square().mean().backward()
        optimiser.step()
    for (label, now), then in zip(model.named_parameters(), before, strict=True):
        assert (now - then).abs().max() > 0, label


@each
def test_images_of_a_batch_do_not_see_each_other(name):
    model, (x, t) = woken(name), batch(name)
    out = model(x, t)
    alone = torch.cat([model(x[i : i + 1], t[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(out, alone, rtol=1e-3, atol=1e-4)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(model(x[order], t[order]), out[order], rtol=1e-3, atol=1e-4)


@each
def test_the_time_matters_and_only_its_own(name):
    model, (x, t) = woken(name), batch(name)
    other = t.clone()
    other[1] += 100
    moved = (model(x, other) - model(x, t)).flatten(1).abs().amax(dim=1)
    scale = model(x, t).abs().mean()
    assert moved[1] > 0.01 * scale
    assert moved[[0, 2, 3]].max() < 1e-4 * scale


@each
def test_every_output_sees_every_pixel(name):
    model, (x, t) = woken(name), batch(name, 1)
    x.requires_grad_()
    model(x, t)[0, 0, 0, 0].backward()
    seen = (x.grad[0].abs() > 0).float().mean()
    assert seen > 0.99 or (name == "neither" and seen > 0.5)


def test_integer_and_float_times_agree():
    model, (x, t) = woken("8"), batch("8")
    torch.testing.assert_close(model(x, t), model(x, t.float()))


def test_one_seed_one_network():
    x, t = batch("8")
    assert torch.equal(woken("8")(x, t), woken("8")(x, t))
    assert not torch.allclose(woken("8")(x, t), woken("8", seed=1)(x, t))


@pytest.mark.parametrize("dim", [8, 32])
def test_every_time_has_a_code_of_its_own(dim):
    t = torch.arange(1, 1001)
    torch.manual_seed(0)
    for code in (time_embedding(t, dim), FourierFeatures(dim, 1000)(t)):
        assert code.shape == (1000, dim) and code.abs().max() <= 1 + 1e-6
        distance = torch.cdist(code.double(), code.double()).fill_diagonal_(math.inf)
        assert distance.min() > 1e-3
        torch.testing.assert_close(
            code.square().sum(dim=1), torch.full((1000,), dim / 2), rtol=1e-4, atol=1e-4
        )


def test_fourier_features_stay_as_drawn():
    features = FourierFeatures(8, 100, sd=2.0)
    assert list(features.parameters()) == [] and "frequencies" in features.state_dict()
    angle = 2 * math.pi * features.frequencies * 0.25
    found = features(torch.tensor([25]))[0]
    torch.testing.assert_close(found, torch.cat([angle.sin(), angle.cos()]))
    torch.manual_seed(0)
    assert FourierFeatures(20_000, 100, sd=2.0).frequencies.std() == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("adaptive", [True, False])
def test_an_untrained_block_is_its_skip(adaptive):
    h, e = torch.randn(2, 8, 4, 4), torch.randn(2, 5)
    assert torch.equal(ResidualBlock(8, 8, 5, adaptive)(h, e), h)
    wider = ResidualBlock(8, 16, 5, adaptive)
    assert torch.equal(wider(h, e), wider.skip(h))


def test_adaptive_norm_scales_and_shifts_where_addition_only_shifts():
    """With scale -1 the time switches a channel's normalised features off; addition cannot."""
    torch.manual_seed(0)
    h, other, e = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4), torch.ones(1, 1)
    for adaptive, same in ((True, True), (False, False)):
        block = ResidualBlock(8, 8, 1, adaptive)
        nn.init.normal_(block.conv2.weight)
        with torch.no_grad():
            block.time.weight[:8], block.time.bias[:8] = -1.0, 0.0
        added, added_other = block(h, e) - h, block(other, e) - other
        assert torch.allclose(added, added_other, atol=1e-5) is same


def test_attention_has_no_sense_of_place():
    """Pixels permuted in, pixels permuted out: softmax over a set."""
    torch.manual_seed(0)
    attention, h = SelfAttention(8, heads=2), torch.randn(3, 8, 4, 4)
    assert torch.equal(attention(h), h)
    nn.init.normal_(attention.out.weight)
    order = torch.randperm(16)
    shuffled = h.flatten(2)[:, :, order].view_as(h)
    expected = attention(h).flatten(2)[:, :, order].view_as(h)
    torch.testing.assert_close(attention(shuffled), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(attention(h), h)


def test_attention_is_its_formula():
    torch.manual_seed(0)
    attention, h = SelfAttention(6, heads=2).double(), torch.randn(1, 6, 2, 2).double()
    nn.init.normal_(attention.out.weight)
    with torch.no_grad():
        q, k, v = attention.qkv(attention.norm(h))[0].flatten(1).T.split(6, dim=1)  # (4, 6) each
        heads = []
        for d in (slice(0, 3), slice(3, 6)):
            weights = torch.softmax(q[:, d] @ k[:, d].T / math.sqrt(3), dim=1)
            heads.append(weights @ v[:, d])
        mixed = torch.cat(heads, dim=1).T.view(1, 6, 2, 2)
        torch.testing.assert_close(attention(h), h + attention.out(mixed))


def test_a_dense_block_knows_the_place_where_attention_does_not():
    torch.manual_seed(0)
    dense, h = DenseBlock((8, 4, 4), 16), torch.randn(3, 8, 4, 4)
    assert torch.equal(dense(h), h)
    nn.init.normal_(dense.outer.weight)
    flipped = dense(h.flip(-1)).flip(-1)
    assert not torch.allclose(flipped, dense(h))
    torch.testing.assert_close(dense(h)[1:2], dense(h[1:2]), rtol=1e-4, atol=1e-5)


def test_the_first_channels_are_those_without_a_learned_variance():
    """eps first, v after: with patches too, each output pixel comes from its own place."""
    for patch in (1, 2):
        model = UNet((3, 8, 8), 8, patch=patch, learned_variance=True)
        squares = 3 * patch**2
        with torch.no_grad():
            model.last[2].bias[:squares] = 1.0
        out = model(torch.randn(2, 3, 8, 8), torch.tensor([1, 2]))
        assert torch.equal(out[:, :3], torch.ones(2, 3, 8, 8))
        assert torch.equal(out[:, 3:], torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: UNet((1, 9, 9)), r"image_shape \(1, 9, 9\); legal: .*multiples of 2"),
        (lambda: UNet((1, 10, 10), patch=2), "multiples of 4"),
        (lambda: UNet((8, 8)), r"image_shape \(8, 8\)"),
        (lambda: UNet((0, 8, 8)), r"image_shape \(0, 8, 8\)"),
        (lambda: UNet((1, 8, 8), width=0), "width = 0; legal: a positive integer"),
        (lambda: UNet((1, 8, 8), width=9), r"18 channels, 4 heads; legal: a multiple of heads"),
        (lambda: UNet((1, 8, 8), multipliers=()), "scales = 0"),
        (lambda: UNet((1, 8, 8), multipliers=(1, 0)), "multiplier = 0"),
        (lambda: UNet((1, 8, 8), blocks=0), "blocks = 0"),
        (lambda: UNet((1, 8, 8), patch=0), "patch = 0"),
        (lambda: UNet((1, 8, 8), dense=-1), "hidden = -1; legal: a positive integer"),
        (lambda: SelfAttention(6, heads=4), "6 channels, 4 heads"),
        (lambda: FourierFeatures(3, 100), "dim = 3"),
        (lambda: FourierFeatures(4, 0), "T = 0"),
        (lambda: FourierFeatures(4, 10, sd=0.0), "sd = 0.0"),
        (
            lambda: UNet((1, 8, 8), 8)(torch.zeros(2, 1, 16, 16), torch.ones(2)),
            r"got \(2, 1, 16, 16\); legal: \(B, 1, 8, 8\)",
        ),
        (
            lambda: UNet((1, 8, 8), 8)(torch.zeros(2, 1, 8, 8), torch.ones(3)),
            r"\(3,\) times for 2 images",
        ),
    ],
)
def test_errors_name_what_was_given_and_what_is_legal(as_a_user, build, says):
    with pytest.raises(ValueError, match=says):
        build()


@pytest.mark.gpu
def test_a_few_steps_in_bfloat16_on_cuda():
    """The same call as on the CPU: `fit` casts to bfloat16 by itself, weights stay float32."""
    from course_utils import diffusion
    from course_utils.training import ema, fit

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.manual_seed(0)
    schedule = diffusion.NoiseSchedule.cosine(100)
    images = torch.rand(256, 1, 1, 1).expand(-1, 1, 8, 8) * 2 - 1  # flat, each of one grey
    model, dtypes = UNet((1, 8, 8)), []
    average = ema(model)

    def loss_fn(model: nn.Module, x0: torch.Tensor) -> torch.Tensor:
        t = torch.randint(1, schedule.T + 1, (len(x0),), device=x0.device)
        loss = diffusion.simple_loss(model, schedule, x0, t, torch.randn_like(x0))
        dtypes.append(model.first(x0).dtype)
        return loss.mean()

    run = fit(model, loss_fn, images, steps=150, average=average, device="cuda", progress=False)
    curve = [step.loss for step in run]
    assert set(dtypes) == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert curve[0] == pytest.approx(64, rel=0.1)  # E||eps||^2 of 64 pixels, output zero
    assert sum(curve[-20:]) / 20 < 0.5 * curve[0]
    rng = torch.Generator().manual_seed(0)  # noise comes from the CPU
    x = diffusion.sample(
        average.module, schedule, (64, 1, 8, 8), clip=1.0, rng=rng, device=torch.device("cuda")
    )
    assert x.isfinite().all() and x.flatten(1).std(dim=1).mean() < 0.3  # nearly flat again
