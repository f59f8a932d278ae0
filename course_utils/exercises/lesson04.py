"""Exercises of lesson 04, autoencoders: properties of a right answer, hints, references.

The penalty on codes (04-e3) and the probe (04-e4) are in lesson04_codes.py.
"""

import torch
from torch import Tensor

from course_utils.exercises.base import Answer, Draw, Exercise, Observe, Property, differs, equals


def pca_autoencoder(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The pair mean (D,), W (D, k) of the best linear autoencoder for the rows of x (N, D).

    It encodes z = (x - mean) W and decodes z W^T + mean. The columns of W are orthonormal, and no
    other k columns lose less squared error on x. Here k is at most N and at most D.
    """
    mean = x.mean(dim=0)
    directions = torch.linalg.svd(x - mean, full_matrices=False).Vh  # (min(N, D), D)
    return mean, directions[:k].T


def gaussian_denoiser(x_noisy: Tensor, mean: float, s2: float, sigma2: float) -> Tensor:
    """E[x | x_noisy], entry by entry, for x ~ N(mean, s2) and x_noisy = x + noise ~ N(x, sigma2).

    s2 and sigma2 are variances, at least one of them positive. The result has x_noisy's shape.
    """
    return mean + s2 / (s2 + sigma2) * (x_noisy - mean)


def _stretched(draw: Draw, n: int = 40, offset: float = 0.0) -> tuple[Tensor, int]:
    """Rows of 4 to 7 numbers whose columns differ in size, then turned, and k from 1 to 3."""
    size = draw.integer(4, 7)
    turn = torch.linalg.qr(draw.normal(size, size)).Q
    x = draw.normal(n, size) * torch.arange(size, 0, -1) @ turn
    return x - x.mean(dim=0) + offset, draw.integer(1, 3)


def _decoded(pair: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    mean, W = (torch.as_tensor(part) for part in pair)
    return (x - mean) @ W @ W.T + mean


def _orthonormal(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, k = _stretched(draw)
    mean, W = observe(answer, x, k).value
    if wrong := differs(mean, x.mean(dim=0), "mean", tolerance=float("inf")):
        return wrong
    if wrong := differs(W, torch.zeros(x.shape[1], k), "W", tolerance=float("inf")):
        return wrong
    W = torch.as_tensor(W)
    return differs(W.T @ W, torch.eye(k), "W^T W")


def _loses_least(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, k = _stretched(draw)
    lost = [
        (x - _decoded(pair, x)).square().sum(dim=1).mean()
        for pair in (observe(answer, x, k).value, pca_autoencoder(x, k))
    ]
    return differs(*lost, "loss on centred data")


def _moves_with_the_data(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, k = _stretched(draw, offset=10.0)
    lost = [
        (x - _decoded(pair, x)).square().sum(dim=1).mean()
        for pair in (observe(answer, x, k).value, pca_autoencoder(x, k))
    ]
    return differs(*lost, "loss on the data plus 10")


def _new_rows(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, k = _stretched(draw, offset=2.0)
    new = draw.normal(3, x.shape[1])
    right = _decoded(pca_autoencoder(x, k), new)
    return differs(_decoded(observe(answer, x, k).value, new), right, "new rows, decoded")


def _few_rows(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x = draw.normal(5, 12) * torch.arange(12, 0, -1)
    right = _decoded(pca_autoencoder(x, 2), x)
    return differs(_decoded(observe(answer, x, 2).value, x), right, "5 rows of 12, decoded")


PCA = (
    Property(
        "has k orthonormal columns",
        "Decode a code and encode the result: (z W^T) W must give z back, so W^T W = I. Is each "
        "column of length 1, and are they at right angles?",
        _orthonormal,
    ),
    Property(
        "loses as little as any linear autoencoder",
        "Your W throws away too much of centred data. Which directions have the largest variance? "
        "(eigh sorts its values upwards, svd downwards.)",
        _loses_least,
    ),
    Property(
        "does not mind where the data are",
        "Add 10 to all data: your error jumps. A direction spent on the mean is a direction lost.",
        _moves_with_the_data,
    ),
    Property(
        "encodes rows that it has not seen",
        "It is right on the rows that you were given, not on new ones: mean and W describe the "
        "data, they must not depend on which row is encoded.",
        _new_rows,
    ),
    Property(
        "works with fewer rows than columns",
        "Five rows of twelve numbers have a covariance that cannot be inverted: nothing has to be.",
        _few_rows,
    ),
)


def _denoises(*fixed: float, shape: tuple[int, ...] = (6,)) -> Property:
    """A test at fixed (s2, sigma2), or at random ones; the mean is always drawn."""

    def inputs(draw: Draw) -> tuple:
        mean, *variances = float(3 * draw.normal()), *draw.uniform(0.2, 3.0, 2).tolist()
        return draw.uniform(-3, 3, *shape), mean, *(fixed or variances)

    return equals(gaussian_denoiser, inputs, "E[x | x_noisy]")


DENOISER = (
    Property(
        "returns the input where there is no noise",
        "With sigma2 = 0 nothing was added: what you were given is the answer.",
        _denoises(0.8, 0.0),
    ),
    Property(
        "returns the mean where noise is endless",
        "With sigma2 = 1e30 the input says nothing, and the best guess is what you knew before: "
        "the data's mean. (The identity loses sigma2; at s2 = 1, sigma2 = .25 that is .25 where "
        ".20 can be reached.)",
        _denoises(1.0, 1e30),
    ),
    Property(
        "lies halfway where both variances are equal",
        "Check s2 = sigma2 = .25: the factor is one half. Did a standard deviation get in?",
        _denoises(0.25, 0.25),
    ),
    Property(
        "is the posterior mean",
        "Multiply the two Gaussians in x and complete the square: the weights are 1/s2 for the "
        "mean and 1/sigma2 for the input.",
        _denoises(),
    ),
    Property(
        "treats each entry by itself",
        "Each entry of x_noisy is a problem of its own, whatever the shape; nothing is averaged.",
        _denoises(shape=(3, 2)),
    ),
)

EXERCISES = (
    Exercise("04-e1", "PCA as an autoencoder", 15, 2, PCA, pca_autoencoder),
    Exercise("04-e2", "The best denoiser of a Gaussian", 10, 1, DENOISER, gaussian_denoiser),
)
