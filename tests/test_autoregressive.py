"""Autoregressive models: causal by gradients, laws that sum to one, cached sampling is sampling."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from course_utils import autoregressive as ar
from course_utils.metrics import bits_per_dim


def model(shape=(4, 5), levels=3, logistics=None, dilations=(1, 2), seed=0):
    """A small untrained net in float64, its zero parameters filled."""
    torch.manual_seed(seed)
    net = ar.PixelCNN(shape, levels, 8, 3, 3, dilations, logistics=logistics).double().eval()
    for weights in net.parameters():
        weights.data += 0.3 * torch.randn_like(weights)
    return net


def naive(net, n, rng, temperature=1.0):
    """A full pass for each pixel; the same uniform numbers as `sample`."""
    x = torch.zeros(n, *net.image_shape, dtype=torch.long)
    for row, column in itertools.product(*map(range, net.image_shape)):
        with torch.no_grad():
            law = (net(x)[:, :, row, column] / temperature).softmax(dim=1)
        u = torch.rand(n, 1, generator=rng, dtype=law.dtype)
        x[:, row, column] = (u > law.cumsum(dim=1)[:, :-1]).sum(dim=1)
    return x


@pytest.mark.parametrize(
    ("size", "kind", "rows"),
    [
        (1, "A", [[0]]),
        (1, "B", [[1]]),
        (3, "A", [[1, 1, 1], [1, 0, 0], [0, 0, 0]]),
        (3, "B", [[1, 1, 1], [1, 1, 0], [0, 0, 0]]),
    ],
)
def test_masks_in_raster_order(size, kind, rows):
    assert ar.conv_mask(size, kind).tolist() == rows


@pytest.mark.parametrize(("size", "kind"), [(4, "A"), (0, "B"), (3, "C")])
def test_illegal_masks_are_named(size, kind):
    with pytest.raises(ValueError, match=r"legal"):
        ar.conv_mask(size, kind)


@pytest.mark.parametrize("kind", "AB")
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_masked_convolution_is_the_convolution_with_masked_weights(kind, dilation):
    layer = ar.MaskedConv2d(kind, 2, 3, 5, dilation).double()
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64)
    right = F.conv2d(
        x, layer.weight * layer.mask, layer.bias, padding=layer.padding, dilation=dilation
    )
    torch.testing.assert_close(layer(x), right)
    p = layer.padding[0]
    at = layer.at(F.pad(x, (p, p, p, p)), 3, 2)
    torch.testing.assert_close(at, right[:, :, 3, 2])


@pytest.mark.parametrize("logistics", [None, 2])
def test_no_output_depends_on_its_own_pixel_or_a_later_one(logistics):
    """Gradients in the planes of 0 and 1 that a level enters as."""
    net = model(logistics=logistics)
    planes = torch.rand(1, 3, 4, 5, dtype=torch.float64)
    J = (
        torch.autograd.functional.jacobian(net.planes, planes)
        .abs()
        .sum(dim=(0, 1, 4, 5))
        .view(20, 20)
    )
    assert torch.equal(J.triu(), torch.zeros_like(J))
    assert (J[-1, :-1] > 0).float().mean() > 0.7


@pytest.mark.parametrize("logistics", [None, 2])
def test_all_images_together_have_probability_one(logistics):
    net = model((2, 2), levels=4, logistics=logistics)
    every = torch.tensor(list(itertools.product(range(4), repeat=4))).view(-1, 2, 2)
    with torch.no_grad():
        total = ar.log_prob(net, every).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("logistics", [None, 2])
def test_cached_sampling_is_sampling(logistics, temperature):
    net = model(logistics=logistics)
    seed = torch.Generator().manual_seed
    drawn = ar.sample(net, 50, seed(5), temperature)
    assert torch.equal(drawn, naive(net, 50, seed(5), temperature))
    assert not torch.equal(drawn, ar.sample(net, 50, seed(6), temperature))


def test_samples_follow_the_law():
    net = model((1, 3), levels=2)
    every = torch.tensor(list(itertools.product(range(2), repeat=3)))
    with torch.no_grad():
        law = ar.log_prob(net, every.view(8, 1, 3)).exp()
    drawn = ar.sample(net, 20_000, torch.Generator().manual_seed(0)).view(-1, 3)
    share = torch.bincount(drawn @ torch.tensor([4, 2, 1]), minlength=8) / 20_000
    assert float(((share - law) / (law * (1 - law) / 20_000).sqrt()).abs().max()) < 4


def test_given_pixels_stay_and_the_rest_is_their_continuation():
    net, seed = model(), torch.Generator().manual_seed
    given = torch.randint(3, (7, 4, 5), generator=seed(1))
    drawn = ar.sample(net, 7, seed(2), given=given, first=12)
    assert torch.equal(drawn.flatten(1)[:, :12], given.flatten(1)[:, :12])
    other = given.clone()
    other.view(7, -1)[:, 12:] = 0  # what comes later is not read
    assert torch.equal(drawn, ar.sample(net, 7, seed(2), given=other, first=12))


def test_illegal_sampling_is_named():
    with pytest.raises(ValueError, match=r"temperature=0.*legal"):
        ar.sample(model(), 1, temperature=0)
    with pytest.raises(ValueError, match=r"first=3; legal"):
        ar.sample(model(), 1, first=3)
    with pytest.raises(ValueError, match=r"\(1, 4, 4\); legal"):
        model()(torch.zeros(1, 4, 4, dtype=torch.long))


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 0.02), (0.95, 0.05), (-1.3, 0.3), (0.2, 4.0)])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_discretised_logistic_masses(mean, scale, levels):
    """Against the logistic distribution function in extended form, where it has the digits."""
    x = torch.arange(levels, dtype=torch.float64)
    mean, scale = torch.tensor(mean).double(), torch.tensor(scale).double()
    log_p = ar.discretised_logistic_log_prob(x, mean, scale, levels)
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-12)
    edges = torch.linspace(-1, 1, levels, dtype=torch.float64)[:-1] + 1 / (levels - 1)
    cdf = torch.cat([torch.zeros(1), torch.sigmoid((edges - mean) / scale), torch.ones(1)])
    torch.testing.assert_close(log_p.exp(), cdf.diff(), rtol=0, atol=1e-12)


def test_discretised_logistic_far_from_its_mean_is_finite_with_a_gradient():
    mean = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    value = ar.discretised_logistic_log_prob(torch.tensor(3), mean, torch.tensor(1e-3), 17)
    value.backward()
    assert value.item() == pytest.approx(-(1 - (-0.625 + 0.0625)) / 1e-3, rel=1e-6)
    assert float(mean.grad) == pytest.approx(-1000, rel=1e-6)
    with pytest.raises(ValueError, match="levels=1; legal"):
        ar.discretised_logistic_log_prob(torch.tensor(0), mean, mean, 1)


def test_bits_per_dim_of_a_uniform_law_is_its_entropy():
    nats = -12 * math.log(256) * torch.ones(2, dtype=torch.float64)
    assert bits_per_dim(nats, (3, 2, 2)).tolist() == pytest.approx([8, 8])
    with pytest.raises(ValueError, match=r"\(0, 3\); legal"):
        bits_per_dim(nats, (0, 3))
