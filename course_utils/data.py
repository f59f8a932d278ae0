"""Data with known laws (float64 points of the plane) and real images (float32, in [0, 1])."""

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from course_utils import archives
from course_utils.distributions import GaussianMixture

# name: (layout of the means, standard deviation of each component)
MIXTURES = {
    "ring8": ("ring", 0.02),
    "grid25": ("grid", 0.05),
    "ring8_wide": ("ring", 0.2),
    "grid25_wide": ("grid", 0.3),
}
DIGIT_LEVELS = 17  # grey values of scikit-learn's digits: 0, 1/16, ..., 1


class Images(NamedTuple):
    """A fixed split: images (N, 1, S, S) float32 in [0, 1], labels (N,) int64."""

    train: Float[Tensor, "N 1 S S"]
    train_labels: Int[Tensor, "N"]
    test: Float[Tensor, "M 1 S S"]
    test_labels: Int[Tensor, "M"]


def mixture(name: str) -> GaussianMixture:
    """p(x) = 1/K sum_k N(x; m_k, sd^2 I) in the plane, float64, everything about it exact.

    ring8: 8 means on the circle of radius 2, sd 0.02; grid25: 25 means on {-4, -2, 0, 2, 4}^2,
    sd 0.05; ring8_wide and grid25_wide: the same means, sd 0.2 and 0.3, so that modes touch.

    Raises:
        ValueError: an unknown name.
    """
    if name not in MIXTURES:
        raise ValueError(f"mixture {name!r}; legal: {', '.join(MIXTURES)}")
    layout, sd = MIXTURES[name]
    if layout == "ring":
        angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
        means = 2 * torch.stack([angle.cos(), angle.sin()], dim=1)  # (8, 2)
    else:
        line = torch.arange(-4, 5, 2, dtype=torch.float64)
        means = torch.cartesian_prod(line, line)  # (25, 2)
    ones = torch.ones(len(means), dtype=torch.float64)
    return GaussianMixture(weights=ones / len(means), means=means, variances=sd**2 * ones)


def moons(n: int, seed: int, sd: float = 0.1) -> Float[Tensor, "n 2"]:
    """Two interleaved half circles: (cos a, sin a) or (1 - cos a, 1/2 - sin a), plus N(0, sd^2 I).

    Args:
        n: how many points.
        seed: of the draw.
        sd: standard deviation of the noise.

    Returns: float64; a fair coin chooses the moon of each point, a ~ U(0, pi).

    Raises:
        ValueError: n < 1 or sd < 0.
    """
    generator = _generator(n, seed)
    if not sd >= 0:
        raise ValueError(f"sd={sd}; legal: 0 or more")
    angle = math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
    outer = torch.stack([angle.cos(), angle.sin()], dim=1)
    inner = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    coin = torch.rand(n, 1, generator=generator, dtype=torch.float64) < 0.5
    noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return torch.where(coin, outer, inner) + sd * noise


def linear_gaussian(
    n: int, W: Float[Tensor, "D K"], b: Float[Tensor, "D"], s2: float, seed: int
) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n K"]]:
    """Joint draws (x, z): z ~ N(0, I), x | z ~ N(W z + b, s2 I), hence x ~ N(b, W W^T + s2 I).

    Args:
        n: how many.
        W: loadings.
        b: mean of x.
        s2: variance of the noise.
        seed: of the draw.

    Raises:
        ValueError: n < 1 or s2 < 0.
    """
    generator = _generator(n, seed)
    if not s2 >= 0:
        raise ValueError(f"s2={s2}; legal: a variance, 0 or more")
    D, K = W.shape
    z = torch.randn(n, K, generator=generator, dtype=W.dtype)  # (n, K)
    eps = torch.randn(n, D, generator=generator, dtype=W.dtype)  # (n, D)
    return z @ W.T + b + math.sqrt(s2) * eps, z


def digits() -> Images:
    """Scikit-learn's handwritten digits, 8x8, 17 grey levels: 1347 to train, 450 to test.

    The split is stratified by class with seed 0. Fresh tensors at each call; only the first one
    in a process loads scikit-learn (seconds).

    Source: Alpaydin & Kaynak 1998, UCI Optical Recognition of Handwritten Digits.
    """
    return Images(*(tensor.clone() for tensor in _digits()))


@functools.cache
def _digits() -> Images:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    train, test, train_labels, test_labels = train_test_split(
        found.images, found.target, test_size=450, random_state=0, stratify=found.target
    )
    pixels = [torch.from_numpy(x).float()[:, None] / (DIGIT_LEVELS - 1) for x in (train, test)]
    labels = [torch.from_numpy(y).long() for y in (train_labels, test_labels)]
    return Images(pixels[0], labels[0], pixels[1], labels[1])


def mnist() -> Images:
    """MNIST, 28x28, 256 grey levels: 60,000 handwritten digits to train, 10,000 to test.

    From the folder COURSE_DATA_DIR (mnist/train-images-idx3-ubyte.gz ...) if that is set, else
    downloaded once (11.6 MB) into the user's cache folder. Every file is checked by its sha256.

    Raises:
        FileNotFoundError: an archive is missing in COURSE_DATA_DIR.
        ValueError: an archive is not the published one: corrupted, truncated or another file.
        ConnectionError: the download failed.

    Source: LeCun, Cortes & Burges 1998, CC BY-SA 3.0.
    """
    return _idx_images("mnist")


def fashion_mnist() -> Images:
    """Fashion-MNIST: 28x28 photographs of 10 kinds of clothes, split and files as in `mnist`.

    30.9 MB to download where COURSE_DATA_DIR is not set.

    Raises:
        FileNotFoundError: an archive is missing in COURSE_DATA_DIR.
        ValueError: an archive is not the published one: corrupted, truncated or another file.
        ConnectionError: the download failed.

    Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747, MIT licence.
    """
    return _idx_images("fashion_mnist")


def _idx_images(name: str) -> Images:
    content = {file: archives.content(name, file) for file in archives.ARCHIVES[name]}

    def pixels(part: str) -> Tensor:
        raw = np.frombuffer(content[f"{part}-images-idx3-ubyte"], np.uint8, offset=16)
        return torch.from_numpy(raw.reshape(-1, 1, 28, 28).astype(np.float32) / 255)

    def labels(part: str) -> Tensor:
        raw = np.frombuffer(content[f"{part}-labels-idx1-ubyte"], np.uint8, offset=8)
        return torch.from_numpy(raw.astype(np.int64))

    return Images(pixels("train"), labels("train"), pixels("t10k"), labels("t10k"))


def _generator(n: int, seed: int) -> torch.Generator:
    if n < 1:
        raise ValueError(f"n={n} points; legal: 1 or more")
    return torch.Generator().manual_seed(seed)
