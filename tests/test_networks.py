"""Networks: shapes, gradients to every parameter, one seed one network, errors that help."""

import math

import pytest
import torch
from torch import nn

from course_utils.networks import MLP, ConvDecoder, ConvEncoder, time_embedding

SHAPES = [(1, 8, 8), (3, 16, 16), (3, 32, 32), (1, 28, 28), (1, 64, 64), (2, 12, 20)]
MAKERS = {
    "mlp": (lambda: MLP((5, 16, 16, 3)), (4, 5), (4, 3)),
    "mlp of one layer": (lambda: MLP((5, 3)), (4, 5), (4, 3)),
    "mlp on two batch dimensions": (lambda: MLP((5, 8, 3), nn.Tanh), (2, 4, 5), (2, 4, 3)),
    **{f"encoder {s}": (lambda s=s: ConvEncoder(s, 6, 8), (2, *s), (2, 6)) for s in SHAPES},
    **{f"decoder {s}": (lambda s=s: ConvDecoder(3, s, 8), (2, 3), (2, *s)) for s in SHAPES},
    "decoder of levels": (lambda: ConvDecoder(3, (3, 8, 8), 8, 17), (2, 3), (2, 3, 8, 8, 17)),
    "decoder of one number": (lambda: ConvDecoder(3, (3, 8, 8), 8, 1), (2, 3), (2, 3, 8, 8, 1)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_shapes_and_gradients(name):
    make, given, expected = MAKERS[name]
    torch.manual_seed(0)
    net = make()
    out = net(torch.randn(given))
    assert out.shape == expected
    (out * torch.randn(expected)).sum().backward()
    for label, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, label


@pytest.mark.parametrize("name", MAKERS)
def test_one_seed_one_network(name):
    make, given, _ = MAKERS[name]
    x, outs = torch.randn(given), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(make()(x))
    assert torch.equal(outs[0], outs[1])
    assert not torch.allclose(outs[0], outs[2])


@pytest.mark.parametrize(
    ("sides", "left"),
    [((8, 8), 4 * 4), ((32, 32), 4 * 4), ((28, 28), 7 * 7), ((12, 20), 6 * 10), ((36, 36), 9 * 9)],
)
def test_sides_are_halved_while_even_and_8_or_more(sides, left):
    assert ConvEncoder((1, *sides), 2, width=3).net[-1].in_features == 3 * left
    assert ConvDecoder(2, (1, *sides), width=3).net[0].out_features == 3 * left


def test_mlp_is_its_formula():
    net = MLP((3, 7, 4, 2), nn.Tanh).double()
    x = torch.randn(6, 3, dtype=torch.float64)
    (A1, b1), (A2, b2), (A3, b3) = ((m.weight, m.bias) for m in net if isinstance(m, nn.Linear))
    by_hand = torch.tanh(torch.tanh(x @ A1.T + b1) @ A2.T + b2) @ A3.T + b3
    torch.testing.assert_close(net(x), by_hand)
    assert len(net) == 5  # no activation after the last layer


def test_examples_do_not_see_each_other():
    x, z = torch.randn(5, 1, 8, 8), torch.randn(5, 3)
    for net, batch in ((ConvEncoder((1, 8, 8), 4), x), (ConvDecoder(3, (1, 8, 8)), z)):
        alone = torch.cat([net(row[None]) for row in batch])
        torch.testing.assert_close(net(batch), alone, rtol=1e-4, atol=1e-5)


def test_levels_of_a_pixel_are_its_own_numbers():
    """The channel c and level l of a pixel come from output channel c * L + l of the last layer."""
    decoder, z = ConvDecoder(3, (2, 8, 8), 8, per_pixel=5), torch.randn(1, 3)
    before = decoder(z)
    with torch.no_grad():
        decoder.net[-1].bias[1 * 5 + 3] += 1
    changed = (decoder(z) - before).abs() > 0.5
    assert changed[0, 1, :, :, 3].all() and changed.sum() == 64


def test_every_pixel_reaches_the_code_and_is_reached_by_it():
    for shape in [(1, 8, 8), (1, 28, 28), (3, 32, 32)]:
        x = torch.randn(1, *shape, requires_grad=True)
        ConvEncoder(shape, 4)(x).sum().backward()
        assert (x.grad.abs() > 0).float().mean() > 0.99
        decoder = ConvDecoder(4, shape)
        moved = decoder(torch.zeros(1, 4)) - decoder(torch.ones(1, 4))
        assert (moved.abs() > 0).float().mean() > 0.99


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: MLP((3,)), r"sizes \(3,\); legal: two or more"),
        (lambda: MLP((3, 0, 2)), r"sizes \(3, 0, 2\)"),
        (lambda: ConvEncoder((1, 9, 9), 4), r"image_shape \(1, 9, 9\); legal: .*multiples of 4"),
        (lambda: ConvEncoder((1, 4, 4), 4), "at least 8"),
        (lambda: ConvEncoder((8, 8), 4), r"image_shape \(8, 8\)"),
        (lambda: ConvEncoder((1, 8, 8), 0), "out = 0"),
        (lambda: ConvEncoder((1, 8, 8), 4, width=0), "width = 0"),
        (lambda: ConvDecoder(0, (1, 8, 8)), "latent = 0"),
        (lambda: ConvDecoder(2, (0, 8, 8)), r"image_shape \(0, 8, 8\)"),
        (lambda: ConvDecoder(2, (1, 8, 8), per_pixel=0), "per_pixel = 0"),
        (lambda: MLP((3, 2))(torch.zeros(4, 5)), r"MLP \(3, 2\) got \(4, 5\); legal: \(..., 3\)"),
        (
            lambda: ConvEncoder((1, 8, 8), 4)(torch.zeros(2, 1, 16, 16)),
            r"got \(2, 1, 16, 16\); legal: \(B, 1, 8, 8\)",
        ),
        (lambda: ConvEncoder((1, 8, 8), 4)(torch.zeros(1, 8, 8)), r"got \(1, 8, 8\)"),
        (lambda: ConvDecoder(3, (1, 8, 8))(torch.zeros(2, 4)), r"got \(2, 4\); legal: \(B, 3\)"),
    ],
)
def test_errors_name_what_was_given_and_what_is_legal(as_a_user, build, says):
    with pytest.raises(ValueError, match=says):
        build()


def test_time_embedding_is_its_formula():
    code = time_embedding(torch.tensor([0, 1, 7]), 6, max_period=1000.0)
    for row, t in zip(code, (0, 1, 7), strict=True):
        rates = [1, 1 / 10, 1 / 100]
        expected = [math.sin(t * w) for w in rates] + [math.cos(t * w) for w in rates]
        torch.testing.assert_close(row, torch.tensor(expected))


def test_time_embedding_is_another_librarys():
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.arange(1, 1001, 37)
    theirs = get_timestep_embedding(t, 32, downscale_freq_shift=0)
    torch.testing.assert_close(time_embedding(t, 32), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("dim", "period", "says"), [(5, 1e4, "dim = 5.*even"), (4, 1.0, "max_period = 1.0")]
)
def test_an_illegal_embedding_is_named(dim, period, says):
    with pytest.raises(ValueError, match=says):
        time_embedding(torch.ones(2), dim, period)
