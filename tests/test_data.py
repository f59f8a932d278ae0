"""Data: laws that are exact, images that are the published ones, and no silent substitute."""

import math
import os
import subprocess
import sys

import pytest
import torch

from course_utils import data
from tests.benchmarks import yardstick

NAMES = {"ring8": "ring8", "grid25": "grid25", "ring8_wide": "ring8w", "grid25_wide": "grid25w"}


# --- points of the plane


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_mixture_has_the_yardsticks_density(name, kind):
    ours, theirs = data.mixture(name), yardstick.Mixture2D(kind)
    x = theirs.sample(400, torch.Generator().manual_seed(0)).double()
    assert ours.log_prob(x).dtype == torch.float64
    # The yardstick rounds the angles of its ring to float32: 1e-7 of means 0.02 wide.
    allowed = 1e-4 if kind.startswith("ring") else 1e-9
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=0, atol=allowed)


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_mixture_draws_from_the_yardsticks_law(name, kind):
    n, theirs = 20_000, yardstick.Mixture2D(kind)
    one = data.mixture(name).sample(n, torch.Generator().manual_seed(1)).double()
    two = theirs.sample(n, torch.Generator().manual_seed(2)).double()

    def statistics(x: torch.Tensor) -> torch.Tensor:
        mode = torch.cdist(x, theirs.mean).argmin(dim=1)
        share = torch.nn.functional.one_hot(mode, len(theirs.mean)).double()
        moments = torch.stack([x[:, 0], x[:, 1], x[:, 0] * x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2], 1)
        return torch.cat([moments, theirs.log_prob(x)[:, None], share], dim=1)

    a, b = statistics(one), statistics(two)
    error = ((a.var(dim=0) + b.var(dim=0)) / n).sqrt()
    assert ((a.mean(dim=0) - b.mean(dim=0)).abs() < 4 * error).all()


def test_unknown_mixture_is_refused():
    with pytest.raises(ValueError, match="mixture 'ring9'; legal: ring8, grid25, ring8_wide"):
        data.mixture("ring9")


def test_moons_without_noise_lie_on_two_half_circles():
    x, y = data.moons(1000, seed=0, sd=0.0).T
    outer = (torch.hypot(x, y) - 1).abs() + (-y).clamp(min=0)
    inner = (torch.hypot(x - 1, y - 0.5) - 1).abs() + (y - 0.5).clamp(min=0)
    assert torch.minimum(outer, inner).max() < 1e-12
    share = (outer < inner).double().mean()
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(1000)


def test_moments_of_the_moons():
    n, sd = 50_000, 0.3
    x, y = data.moons(n, seed=1, sd=sd).T
    # Of the two moons: E x = 0, 1; E x^2 = 1/2, 3/2; E y = 2/pi, 1/2 - 2/pi
    # and E y^2 = 1/2, 1/4 - 2/pi + 1/2; E xy = 0, 1/2 - 2/pi.
    exact = [0.5, 1 + sd**2, 0.25, 0.625 - 1 / math.pi + sd**2, 0.25 - 1 / math.pi]
    for draws, mean in zip((x, x**2, y, y**2, x * y), exact, strict=True):
        assert abs(draws.mean() - mean) < 4 * draws.std() / math.sqrt(n)


def test_linear_gaussian_has_the_stated_joint_law():
    n, s2 = 50_000, 0.3
    W = torch.tensor([[1.0, -0.5], [0.3, 2.0], [0.0, 0.7]], dtype=torch.float64)
    b = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    x, z = data.linear_gaussian(n, W, b, s2, seed=0)
    joint = torch.cat([x - b, z], dim=1)  # (n, 5)
    exact = torch.eye(5, dtype=torch.float64)
    exact[:3, :3] = W @ W.T + s2 * torch.eye(3, dtype=torch.float64)
    exact[:3, 3:] = W
    exact[3:, :3] = W.T
    products = joint[:, :, None] * joint[:, None, :]  # (n, 5, 5)
    assert ((products.mean(0) - exact).abs() < 4 * products.std(0) / math.sqrt(n)).all()
    assert (joint.mean(0).abs() < 4 * joint.std(0) / math.sqrt(n)).all()


@pytest.mark.parametrize("seed", [0, 7])
def test_draws_depend_on_the_seed_and_not_on_the_global_generator(seed):
    W, b = torch.ones(2, 1), torch.zeros(2)
    torch.manual_seed(seed)
    state = torch.get_rng_state()
    moons, linear = data.moons(10, seed=seed), data.linear_gaussian(10, W, b, 1.0, seed=seed)
    torch.testing.assert_close(data.moons(10, seed=seed), moons, rtol=0, atol=0)
    torch.testing.assert_close(data.linear_gaussian(10, W, b, 1.0, seed=seed), linear)
    assert not torch.equal(data.moons(10, seed=seed + 1), moons)
    assert torch.equal(torch.get_rng_state(), state)
    assert moons.dtype == torch.float64 and linear[0].dtype == torch.float32  # as W


def test_impossible_draws_are_refused():
    W, b = torch.ones(2, 1), torch.zeros(2)
    with pytest.raises(ValueError, match="n=0 points"):
        data.moons(0, seed=0)
    with pytest.raises(ValueError, match=r"sd=-0\.1; legal: 0 or more"):
        data.moons(5, seed=0, sd=-0.1)
    with pytest.raises(ValueError, match=r"s2=-1\.0; legal: a variance"):
        data.linear_gaussian(5, W, b, -1.0, seed=0)


# --- digits


def same_images(ours: data.Images, name: str) -> None:
    for mine, theirs in zip(ours, yardstick.real(name), strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_digits_are_the_yardsticks_split():
    digits = data.digits()
    same_images(digits, "digits")
    assert digits.train.shape == (1347, 1, 8, 8) and digits.test.shape == (450, 1, 8, 8)
    levels = torch.cat([digits.train, digits.test]).unique() * (data.DIGIT_LEVELS - 1)
    assert levels.tolist() == list(range(17))


def test_digits_spoilt_by_a_reader_come_back_intact():
    data.digits().train.zero_()
    same_images(data.digits(), "digits")


def test_importing_the_module_imports_no_slow_library():
    slow = "{'sklearn', 'pooch', 'requests', 'matplotlib'}"
    code = f"import sys, course_utils.data, course_utils.shapes; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- MNIST and Fashion-MNIST: the real files, where they are


@pytest.mark.skipif(not os.environ.get("COURSE_DATA_DIR"), reason="COURSE_DATA_DIR is not set")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_published_archives_are_read_as_the_yardstick_reads_them(name):
    images = getattr(data, name)()
    same_images(images, name)
    assert images.train.shape == (60_000, 1, 28, 28) and images.test.shape == (10_000, 1, 28, 28)
    assert images.train.min() == 0 and images.train.max() == 1
    assert images.test_labels.bincount().numel() == 10
