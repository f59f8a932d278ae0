"""Flows: there and back, log-determinants against dense Jacobians, densities with integral 1."""

import math

import pytest
import torch
from torch import nn

from course_utils import flow_matching, flows
from course_utils.networks import MLP

jacobian = torch.autograd.functional.jacobian


def _plane(spline: bool) -> flows.Flow:
    layers = []
    for i in range(3):
        kept, moved = [i % 2], [1 - i % 2]
        if spline:
            layers.append(flows.SplineCoupling(kept, moved, MLP((1, 8, 14)), bins=5, bound=4.0))
        else:
            layers.append(flows.AffineCoupling(kept, moved, MLP((1, 8, 2))))
    return flows.Flow(layers)


def _glow() -> flows.Flow:
    def step(c: int) -> list[nn.Module]:
        coupling = flows.AffineCoupling(range(c // 2), range(c // 2, c), nn.Conv2d(c // 2, c, 1))
        return [flows.ActNorm(c), flows.InvertibleConv(c), coupling]

    inner = flows.Flow([flows.Squeeze(), *step(8)])
    return flows.Flow([flows.Logit(), flows.Squeeze(), *step(4), flows.OnFirstHalf(inner)])


def _wild(flow: flows.Flow, x: torch.Tensor) -> flows.Flow:
    """The flow in float64 with its actnorms set and all weights moved."""
    flow = flow.double()
    with torch.no_grad():
        flow(x)
        for weights in flow.parameters():
            weights += 0.3 * torch.randn_like(weights)
    return flow


CASES = {
    "affine": (lambda: _plane(False), (2,)),
    "spline": (lambda: _plane(True), (2,)),
    "glow": (_glow, (1, 4, 4)),
}
each = pytest.mark.parametrize("case", CASES)


@pytest.fixture
def built(case):
    torch.manual_seed(0)
    make, shape = CASES[case]
    x = torch.rand(6, *shape, dtype=torch.float64)
    return _wild(make(), x), x


@each
def test_a_flow_comes_back(built):
    flow, x = built
    with torch.no_grad():
        z, log_det = flow(x)
        torch.testing.assert_close(flow.inverse(z), x, rtol=0, atol=1e-10)
    assert log_det.shape == (6,) and z.numel() == x.numel()
    assert (z.flatten() - x.flatten()).abs().max() > 0.1, "a map that moves nothing proves nothing"


@each
def test_the_log_determinant_is_that_of_the_dense_jacobian(built):
    flow, x = built
    for one in x[:3]:
        J = jacobian(
            lambda v, shape=one.shape: flow(v.reshape(1, *shape))[0].flatten(), one.flatten()
        )
        torch.testing.assert_close(flow(one[None])[1][0], torch.linalg.slogdet(J)[1])


@pytest.mark.parametrize("spline", [False, True])
def test_a_density_in_the_plane_integrates_to_1(spline):
    torch.manual_seed(1)
    side = torch.linspace(-12, 12, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    flow = _wild(_plane(spline), grid[:4])
    with torch.no_grad():
        p = flow.log_prob(grid).exp().reshape(601, 601)
    assert float(torch.trapezoid(torch.trapezoid(p, side), side)) == pytest.approx(1, abs=2e-3)


def test_samples_have_the_density():
    """Mean log-density of samples against the integral of p log p: the entropy."""
    torch.manual_seed(2)
    side = torch.linspace(-12, 12, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    flow = _wild(_plane(False), grid[:4])
    with torch.no_grad():
        log_p = flow.log_prob(grid)
        draws = flow.log_prob(flow.sample(20_000, (2,), torch.Generator().manual_seed(3)))
    mean = float((log_p.exp() * log_p).sum() * (side[1] - side[0]) ** 2)
    assert abs(float(draws.mean()) - mean) < 4 * float(draws.std()) / math.sqrt(20_000) + 2e-3


def test_a_spline_is_the_identity_outside_its_box_and_at_zero_logits():
    x = torch.linspace(-5, 5, 41, dtype=torch.float64)
    none = torch.zeros(41, 4, dtype=torch.float64)
    y, log_slope = flows.rational_quadratic(x, none, none, none[:, 1:], bound=3.0)
    torch.testing.assert_close(y, x, rtol=0, atol=2e-3)
    wild = torch.randn(41, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, log_slope = flows.rational_quadratic(x, 3 * wild, wild, wild[:, 1:], bound=3.0)
    outside = x.abs() >= 3
    assert torch.equal(y[outside], x[outside]) and not log_slope[outside].any()
    back, minus = flows.rational_quadratic(y, 3 * wild, wild, wild[:, 1:], bound=3.0, inverse=True)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(minus, -log_slope, rtol=0, atol=1e-7)


def test_actnorm_standardises_its_first_batch_only():
    layer = flows.ActNorm(3).double()
    x = 2 + 5 * torch.randn(50, 3, 2, 2, dtype=torch.float64)
    y, _ = layer(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64))
    mean = layer.mean.clone()
    layer(x + 7)
    assert torch.equal(layer.mean, mean)


def test_a_split_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"kept \[0\], moved \[0\]; legal"):
        flows.AffineCoupling([0], [0], MLP((1, 2)))


# --- along an ODE ------------------------------------------------------------------------------


def _cubic(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return -(x**3)  # x_t = x_0 / sqrt(1 + 2 t x_0^2), for each entry


def test_a_path_and_its_log_density_are_those_of_the_solved_equation():
    x0 = torch.tensor([[-1.3, 0.2], [0.9, -0.4]], dtype=torch.float64)
    x1 = x0 / (1 + 2 * x0**2).sqrt()
    torch.testing.assert_close(flow_matching.integrate(_cubic, x0, 100), x1)
    known = (-0.5 * x0**2 - 0.5 * math.log(2 * math.pi) - 1.5 * torch.log(1 - 2 * x1**2)).sum(1)
    torch.testing.assert_close(flow_matching.log_prob(_cubic, x1, 200), known, rtol=0, atol=1e-6)


def test_the_field_of_a_probe_is_unbiased_and_images_work():
    def field(x, t):
        return torch.sin(x) + 0.3 * x.flip(-1) * t.reshape(-1, 1, 1, 1)

    x = torch.randn(2, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    _, exact = flow_matching.divergence(field, x, t)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)
    probed = [
        flow_matching.divergence(field, x, t, v.reshape(1, 1, 2, 2).expand(2, -1, -1, -1))[1]
        for v in signs
    ]
    torch.testing.assert_close(torch.stack(probed).mean(0), exact)
    torch.testing.assert_close(exact, torch.cos(x).flatten(1).sum(1))


def test_the_density_along_an_ode_trains():
    net = nn.Linear(2, 2).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    flow_matching.log_prob(lambda x, t: net(x), x, 3).mean().backward()
    assert all(weights.grad is not None and weights.grad.any() for weights in net.parameters())


def test_flow_matching_regresses_on_the_pair():
    x0, x1 = torch.randn(2, 4, 3, dtype=torch.float64)
    t = torch.rand(4, dtype=torch.float64)
    loss = flow_matching.flow_matching_loss(lambda x, t: x * 0, x0, x1, t)
    torch.testing.assert_close(loss, ((x1 - x0) ** 2).sum(1))
    seen = flow_matching.flow_matching_loss(lambda x, t: (x - x0) / t[:, None], x0, x1, t)
    torch.testing.assert_close(seen, torch.zeros(4, dtype=torch.float64))


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps=0; legal: 1 or more"):
        flow_matching.integrate(_cubic, torch.zeros(1, 1), 0)
