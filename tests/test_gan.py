"""GAN objectives against quadrature, closed forms and autograd; a step against its definition."""

import copy
import math

import pytest
import torch
from torch import nn

from course_utils import data, gan
from course_utils.distributions import normal_log_prob
from course_utils.metrics import mode_coverage
from course_utils.networks import MLP

f64 = torch.float64
LOGITS = torch.linspace(-6, 6, 25, dtype=f64)


class Critic(nn.Module):
    """Logits (B,) of points (B, D)."""

    def __init__(self, size: int = 2, width: int = 16) -> None:
        super().__init__()
        self.net = MLP((size, width, width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).squeeze(1)


def game(lr: float = 1e-3) -> tuple:
    """G, D and an optimiser for each."""
    torch.manual_seed(0)
    G, D = gan.SkipGenerator(MLP((2, 16, 2))), Critic()
    return G, D, torch.optim.Adam(G.parameters(), lr=lr), torch.optim.Adam(D.parameters(), lr=lr)


def batches(k: int = 1, n: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(k, n, 2, generator=generator) + 2
    return x, torch.randn(k + 1, n, 2, generator=generator)


def weights(net: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def moved(net: nn.Module, before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(weights(net), before, strict=True))


def on_a_line() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """A grid, the densities of N(0, 1) and N(1.5, 0.49) on it, and its spacing."""
    x = torch.linspace(-12, 14, 40_001, dtype=f64)
    zero = torch.zeros_like(x)
    p = normal_log_prob(x, zero, zero).exp()
    p_g = normal_log_prob(x, zero + 1.5, zero + math.log(0.49)).exp()
    return x, p, p_g, float(x[1] - x[0])


def test_discriminator_loss_is_minus_the_logs_of_probabilities():
    D, other = LOGITS.sigmoid(), LOGITS.flip(0).sigmoid()
    expected = -D.log() - (1 - other).log()
    torch.testing.assert_close(gan.discriminator_loss(LOGITS, LOGITS.flip(0)), expected)


def test_value_of_the_game_at_its_best_response_is_two_jsd_minus_log_4():
    _, p, p_g, dx = on_a_line()
    a = p.log() - p_g.log()  # the optimal logit

    def value(a):
        zero = torch.zeros_like(a)
        real = gan.discriminator_loss(a, zero) - math.log(2)
        fake = gan.discriminator_loss(zero, a) - math.log(2)
        return -float((p * real + p_g * fake).sum() * dx)

    m = (p + p_g) / 2
    jsd = float((torch.xlogy(p, p / m) + torch.xlogy(p_g, p_g / m)).sum() * dx) / 2
    assert value(a) == pytest.approx(2 * jsd - math.log(4), abs=1e-8)
    assert value(a) == pytest.approx(-0.810757, abs=1e-6)
    assert max(value(a + 0.5), value(a - 0.5), value(0.9 * a)) < value(a) - 1e-4


def test_generator_losses_are_logs_of_one_probability():
    D = LOGITS.sigmoid()
    torch.testing.assert_close(gan.saturating_loss(LOGITS), (1 - D).log())
    torch.testing.assert_close(gan.non_saturating_loss(LOGITS), -D.log())


def test_slopes_in_the_logit_saturate_or_not():
    a = torch.tensor([math.log(0.001 / 0.999)], dtype=f64, requires_grad=True)  # D = 0.001
    for loss, slope in ((gan.saturating_loss, -0.001), (gan.non_saturating_loss, -0.999)):
        (found,) = torch.autograd.grad(loss(a).sum(), a)
        assert found.item() == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_a_certain_discriminator_gives_finite_losses_and_slopes(dtype):
    a = torch.tensor([-1e4, -100.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
    for loss in (
        gan.saturating_loss(a),
        gan.non_saturating_loss(a),
        gan.discriminator_loss(a, -a),
        gan.relativistic_loss(a, -a),
    ):
        (slope,) = torch.autograd.grad(loss.sum(), a)
        assert loss.isfinite().all() and slope.isfinite().all()
    assert gan.non_saturating_loss(a)[1].item() == pytest.approx(100)


def test_relativistic_pairs_compare_and_are_blind_to_the_level_of_d():
    real, fake = LOGITS, LOGITS.flip(0)
    torch.testing.assert_close(gan.relativistic_loss(real, fake), -(real - fake).sigmoid().log())
    torch.testing.assert_close(
        gan.relativistic_loss(real + 3, fake + 3), gan.relativistic_loss(real, fake)
    )
    equal = gan.relativistic_loss(real, real)
    torch.testing.assert_close(equal, torch.full_like(equal, math.log(2)))


def test_objectives_pull_d_and_g_apart():
    """D's loss falls in the real logit and rises in the fake one; G's falls in the fake one."""
    for objective in (gan.MINIMAX, gan.NON_SATURATING, gan.RELATIVISTIC):
        real, fake = (LOGITS.clone().requires_grad_() for _ in range(2))
        slopes = torch.autograd.grad(objective.discriminator(real, fake).sum(), (real, fake))
        assert (slopes[0] < 0).all() and (slopes[1] > 0).all()
        (slope,) = torch.autograd.grad(objective.generator(real, fake).sum(), fake)
        assert (slope < 0).all()
        assert objective.generator(real, fake).shape == LOGITS.shape
    at = (LOGITS, LOGITS.flip(0))
    sign = gan.RELATIVISTIC.generator(*at) - gan.RELATIVISTIC.discriminator(*reversed(at))
    assert sign.abs().max() == 0


def test_gradient_penalty_of_a_quadratic_logit_is_its_squared_slope():
    x = torch.randn(7, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=f64)
    scale = torch.tensor(0.7, dtype=f64, requires_grad=True)
    found = gan.gradient_penalty(lambda x: scale * x.square().flatten(1).sum(dim=1), x)
    expected = (2 * scale * x).square().flatten(1).sum(dim=1)
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found.sum(), scale)  # D learns from it
    torch.testing.assert_close(slope, (8 * scale * x.square()).sum())
    assert not x.requires_grad


def test_gradient_penalty_sees_what_a_conditional_discriminator_is_given():
    x, label = torch.randn(5, 3, dtype=f64), torch.arange(5)
    found = gan.gradient_penalty(lambda x, y: x.sum(dim=1) * y, x, label)
    torch.testing.assert_close(found, 3 * label.double() ** 2)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_discriminators_update_leaves_the_generators_gradient_alone(gamma):
    G, D, opt_g, opt_d = game()
    (x, z), seen = batches(), {}
    for p in G.parameters():
        p.grad = torch.full_like(p, 7.0)
    step = opt_d.step

    def watch(*args):
        seen["grads"] = [p.grad.clone() for p in G.parameters()]
        seen["weights"] = weights(G)
        return step(*args)

    opt_d.step, before = watch, weights(G)
    gan.gan_step(G, D, opt_g, opt_d, x, z, gamma=gamma)
    assert all((grad == 7).all() for grad in seen["grads"])
    assert all(torch.equal(a, b) for a, b in zip(seen["weights"], before, strict=True))


@pytest.mark.parametrize("objective", [gan.MINIMAX, gan.NON_SATURATING, gan.RELATIVISTIC])
def test_each_update_moves_its_own_network_only(objective):
    G, D, opt_g, opt_d = game()
    (x, z), log = batches(k=3), []
    for name, optimiser in (("D", opt_d), ("G", opt_g)):

        def watch(closure=None, name=name, step=optimiser.step):
            before = weights(G), weights(D)
            step()
            log.append((name, moved(G, before[0]), moved(D, before[1])))

        optimiser.step = watch
    gan.gan_step(G, D, opt_g, opt_d, x, z, objective)
    assert log == [("D", False, True)] * 3 + [("G", True, False)]


def test_generators_update_leaves_the_discriminators_gradient_alone():
    G, D, opt_g, opt_d = game()
    seen, step = [], opt_d.step
    opt_d.step = lambda: (seen.extend(p.grad.clone() for p in D.parameters()), step())
    gan.gan_step(G, D, opt_g, opt_d, *batches(), gan.NON_SATURATING)
    assert all(torch.equal(p.grad, grad) for p, grad in zip(D.parameters(), seen, strict=True))


def test_the_step_is_the_gradient_of_the_stated_losses():
    G, D, *_ = game()
    (x, z), gamma = batches(), 0.5
    G2, D2 = copy.deepcopy(G), copy.deepcopy(D)
    sgd = [torch.optim.SGD(net.parameters(), lr=0.1) for net in (G, D)]
    record = gan.gan_step(G, D, *sgd, x, z, gan.RELATIVISTIC, gamma)
    fake = G2(z[0]).detach()
    loss = gan.relativistic_loss(D2(x[0]), D2(fake)).mean()
    assert record.discriminator_loss == pytest.approx(loss.item())
    assert record.real_logit == pytest.approx(D2(x[0]).mean().item())
    assert record.fake_logit == pytest.approx(D2(fake).mean().item())
    r1, r2 = gan.gradient_penalty(D2, x[0]).mean(), gan.gradient_penalty(D2, fake).mean()
    by_hand(D2, loss + gamma / 2 * (r1 + r2))
    loss = gan.relativistic_loss(D2(G2(z[1])), D2(x[0])).mean()
    assert record.generator_loss == pytest.approx(loss.item())
    by_hand(G2, loss)
    for ours, expected in ((G, G2), (D, D2)):
        for a, b in zip(ours.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def by_hand(net: nn.Module, loss: torch.Tensor, lr: float = 0.1) -> None:
    slopes = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    with torch.no_grad():
        for p, slope in zip(net.parameters(), slopes, strict=True):
            p -= lr * slope if slope is not None else 0


def test_batches_that_do_not_fit_are_refused():
    G, D, opt_g, opt_d = game()
    x, z = batches(k=2)
    with pytest.raises(ValueError, match="2 batches of x, 2 of z"):
        gan.gan_step(G, D, opt_g, opt_d, x, z[:2])
    with pytest.raises(ValueError, match="k >= 1"):
        gan.gan_step(G, D, opt_g, opt_d, x[:0], z[:1])


def test_a_skip_generator_starts_as_scaled_noise_and_can_leave_it():
    z = torch.randn(9, 2)
    G = gan.SkipGenerator(MLP((2, 16, 2)), a=3.0)
    torch.testing.assert_close(G(z), 3 * z)
    (G(z) - 1).square().sum().backward()
    assert all(p.grad is not None for p in G.parameters()) and G.f[-1].weight.grad.norm() > 0
    with pytest.raises(ValueError, match="legal: a Linear layer"):
        gan.SkipGenerator(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))


def test_instance_noise_adds_its_variance_and_is_repeatable():
    x = torch.full((20_000, 2), 5.0)
    found = gan.instance_noise(x, 0.5, torch.Generator().manual_seed(0))
    assert torch.equal(found, gan.instance_noise(x, 0.5, torch.Generator().manual_seed(0)))
    noise, n = (found - x).flatten(), x.numel()
    assert abs(noise.mean()) < 4 * 0.5 / math.sqrt(n)
    assert abs(noise.var() - 0.25) < 4 * 0.25 * math.sqrt(2 / n)
    assert torch.equal(gan.instance_noise(x, 0.0), x)


def test_sample_is_repeatable_and_keeps_no_graph():
    G = gan.SkipGenerator(MLP((2, 16, 2)), a=2.0).double()
    x = gan.sample(G, 5, 2, torch.Generator().manual_seed(3))
    z = torch.randn(5, 2, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(x, 2 * z.double())
    assert not x.requires_grad


def test_a_small_gan_finds_the_modes_of_a_wide_ring():
    torch.manual_seed(0)
    mixture = data.mixture("ring8_wide")
    G, D = gan.SkipGenerator(MLP((2, 32, 32, 2)), a=1.4), Critic(width=32)
    opt = [torch.optim.Adam(net.parameters(), lr=3e-3, betas=(0.0, 0.99)) for net in (G, D)]
    start = mode_coverage(gan.sample(G, 2500, 2), mixture)
    for _ in range(400):
        x = mixture.sample(128).float()[None]
        gan.gan_step(G, D, *opt, x, torch.randn(2, 128, 2), gan.RELATIVISTIC, gamma=0.05)
    end = mode_coverage(gan.sample(G, 2500, 2), mixture)
    assert end.well_covered == 8 and end.high_quality > start.high_quality + 0.2, (start, end)
