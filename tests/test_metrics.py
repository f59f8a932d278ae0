"""Metrics against closed forms, scipy, torchmetrics and the yardstick that scores every model."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from course_utils import data, metrics
from course_utils.distributions import GaussianMixture

f64 = torch.float64


def _yardstick():
    path = Path(__file__).parent / "benchmarks" / "yardstick.py"
    spec = importlib.util.spec_from_file_location("yardstick_for_metrics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


yardstick = _yardstick()


def correlated(n: int, size: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Features with a full covariance, other for every seed."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=generator, dtype=f64)
    return torch.randn(n, size, generator=generator, dtype=f64) @ mixing + shift


def test_frechet_of_two_gaussians_on_a_line_is_the_closed_form():
    one, two = torch.tensor([1.0], dtype=f64), torch.tensor([[4.0]], dtype=f64)
    found = metrics.frechet_from_moments(one, two, 3 * one, two / 16)  # sd 2 and 0.5
    assert found == pytest.approx((3 - 1) ** 2 + (2 - 0.5) ** 2, abs=1e-12)


def test_frechet_is_scipys_sqrtm_and_the_yardsticks():
    a, b = correlated(400, 6, 0), correlated(300, 6, 1, shift=0.5)
    ca, cb = np.cov(a.numpy(), rowvar=False), np.cov(b.numpy(), rowvar=False)
    cross = np.trace(scipy.linalg.sqrtm(ca @ cb).real)
    mean = ((a.mean(0) - b.mean(0)) ** 2).sum().item()
    expected = mean + np.trace(ca) + np.trace(cb) - 2 * cross
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(a, b) == pytest.approx(
        yardstick.frechet(a.numpy(), b.numpy()), rel=1e-9
    )


def test_frechet_is_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.fid")
    a, b = correlated(400, 6, 0), correlated(300, 6, 1, shift=0.5)
    theirs = image._compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert metrics.frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-9)


def test_frechet_is_zero_on_itself_symmetric_and_blind_to_rotations():
    a, b = correlated(50, 4, 0), correlated(60, 4, 1)
    turn = torch.linalg.qr(correlated(4, 4, 2)).Q
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(a, b) == pytest.approx(metrics.frechet_distance(b, a))
    turned = metrics.frechet_distance(a @ turn, b @ turn)
    assert turned == pytest.approx(metrics.frechet_distance(a, b))


def test_frechet_bears_fewer_samples_than_dimensions():
    few, other = correlated(5, 20, 0), correlated(6, 20, 1)
    found = metrics.frechet_distance(few, other)
    assert math.isfinite(found) and found > 0
    assert metrics.frechet_distance(few[:, :1], few[:, :1] + 2) == pytest.approx(4)


@pytest.mark.parametrize("k", [1, 5])
def test_precision_and_recall_are_the_yardsticks(k):
    real, fake = correlated(200, 3, 0), correlated(150, 3, 1, shift=0.7)
    found = metrics.precision_recall(real, fake, k)._asdict()
    expected = yardstick.prdc(real.numpy(), fake.numpy(), k)
    assert found == pytest.approx(expected)
    assert all(0 < value < 1 for value in expected.values())  # the example tests something


def test_precision_and_recall_by_hand():
    """Reals at 0, 1, 2, 10 (radii, k = 1: 1, 1, 1, 8), fakes at 0.5, 0.6, 30."""
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    fake = torch.tensor([[0.5], [0.6], [30.0]])
    found = metrics.precision_recall(real, fake, k=1)
    # 0.5 lies in the balls of 0 and 1, 0.6 in these, too; 30 in none. Radii of the fakes: 0.1,
    # 0.1, 29.4: only the outlier's ball holds reals, 1, 2 and 10: recall falls for it, coverage not
    assert found.precision == pytest.approx(2 / 3)
    assert found.density == pytest.approx(4 / 3)
    assert found.recall == pytest.approx(3 / 4)
    assert found.coverage == pytest.approx(2 / 4)


def test_dropped_modes_cost_coverage_and_recall_junk_costs_precision():
    mixture, generator = data.mixture("grid25_wide"), torch.Generator().manual_seed(0)
    real, same = mixture.sample(500, generator), mixture.sample(500, generator)
    good = metrics.precision_recall(real, same)
    half = metrics.precision_recall(real, same[same[:, 0] < 0.0])
    junk = metrics.precision_recall(real, 8 * torch.rand(500, 2, generator=generator) - 4)
    assert min(good.precision, good.recall, good.coverage) > 0.9
    assert half.precision > 0.9 > 0.6 > max(half.recall, half.coverage)
    assert junk.precision < 0.9 < junk.recall


@pytest.mark.parametrize("name", ["ring8", "grid25"])
@pytest.mark.parametrize("spread", [1.0, 2.0, 40.0])
def test_mode_coverage_is_the_yardsticks(name, spread):
    mixture, generator = data.mixture(name), torch.Generator().manual_seed(0)
    x = mixture.sample(2500, generator)
    x = x + (spread - 1) * mixture.variances[0].sqrt() * torch.randn(x.shape, generator=generator)
    x = x[(x[:, 0] < 1.5) | (torch.arange(2500) < 400)]  # some modes are rare
    found, theirs = metrics.mode_coverage(x, mixture), yardstick.Mixture2D(name).modes(x)
    expected = (theirs["modes"], theirs["modes20"], theirs["of"], theirs["hq"], theirs["kl"])
    assert tuple(found) == pytest.approx(expected, abs=1e-6)


def test_the_mixture_itself_covers_its_modes():
    mixture = data.mixture("ring8")
    x = mixture.sample(2500, torch.Generator().manual_seed(0))
    found = metrics.mode_coverage(x, mixture)
    expected = 1 - math.exp(-4.5)  # P(chi^2_2 < 9)
    error = math.sqrt(expected * (1 - expected) / 2500)
    assert (found.modes, found.well_covered, found.of) == (8, 8, 8)
    assert abs(found.high_quality - expected) < 4 * error
    assert 0 <= found.kl < 0.01


def test_junk_covers_no_mode_and_one_mode_is_a_collapse():
    mixture = data.mixture("ring8")
    junk = torch.zeros(2500, 2, dtype=f64)  # the centre: every mode's nearest is 2 away
    found = metrics.mode_coverage(junk, mixture)
    assert found[:4] == (0, 0, 8, 0.0) and math.isnan(found.kl)
    collapsed = metrics.mode_coverage(mixture.means[3].expand(2500, 2), mixture)
    assert collapsed[:4] == (1, 1, 8, 1.0)
    assert collapsed.kl == pytest.approx(math.log(8))


def test_a_mode_is_well_covered_from_twenty_samples_on():
    mixture = data.mixture("ring8")
    x = mixture.means.repeat_interleave(torch.tensor([20, 19, 1, 0, 0, 0, 0, 0]), dim=0)
    assert metrics.mode_coverage(x, mixture)[:2] == (3, 1)


def test_the_kl_is_to_the_mixtures_own_weights():
    weights = torch.tensor([0.75, 0.25], dtype=f64)
    means = torch.tensor([[0.0], [10.0]], dtype=f64)
    mixture = GaussianMixture(weights, means, torch.ones(2, dtype=f64))
    x = torch.tensor([0.0, 0.1, -0.1, 10.0])[:, None]
    assert metrics.mode_coverage(x, mixture).kl == pytest.approx(0, abs=1e-12)
    even = torch.tensor([0.0, 10.0])[:, None]
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert metrics.mode_coverage(even, mixture).kl == pytest.approx(expected)


def test_what_cannot_be_scored_is_refused_by_name():
    x = torch.randn(10, 3)
    with pytest.raises(ValueError, match="N >= 2"):
        metrics.frechet_distance(x, x[:1])
    with pytest.raises(ValueError, match="finite"):
        metrics.precision_recall(x, x / 0)
    with pytest.raises(ValueError, match="k = 10; legal: 1 to 9"):
        metrics.precision_recall(x, x, k=10)
    with pytest.raises(ValueError, match=r"legal: \(N, 2\)"):
        metrics.mode_coverage(x.double(), data.mixture("ring8"))
