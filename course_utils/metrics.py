"""How far samples are from data: Fréchet distance, precision and recall, modes, bits per dimension.

    FD = ||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))

Features are any vectors (N, D): pixels, points, a classifier's penultimate layer. Every value here
depends on the number of samples: compare at equal N, beside that of real data against real data.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from course_utils.distributions import GaussianMixture
from course_utils.tensors import same_shape

Features = Float[Tensor, "N D"]


def bits_per_dim(log_prob: Float[Tensor, "B"], event_shape: tuple[int, ...]) -> Float[Tensor, "B"]:
    """`-log p(x) / (D log 2)`, D the entries of an event: what a perfect code spends for each.

    Args:
        log_prob: in nats, per example; of masses, or of densities of data with unit bins.
        event_shape: such as (C, H, W); sub-pixels count.

    Raises:
        ValueError: an event without entries.

    Source: Theis et al. 2016, arXiv:1511.01844, section 3.1.
    """
    dimensions = math.prod(event_shape)
    if dimensions < 1:
        raise ValueError(f"event shape {tuple(event_shape)}; legal: one entry or more")
    return -log_prob / (dimensions * math.log(2))


def frechet_distance(features1: Float[Tensor, "N D"], features2: Float[Tensor, "M D"]) -> float:
    """Squared 2-Wasserstein distance of the Gaussians with the features' means and covariances.

    Returns: in squared units of the features; biased upwards by about 1 / N.

    Raises:
        ValueError: fewer than two samples, not vectors of one size, or not finite.

    Source: Heusel et al. 2017, arXiv:1706.08500, eq. 6; Dowson & Landau 1982.
    """
    _demand_features(features1, features2, least=2)
    moments = [(f.double().mean(dim=0), f.double().T.cov()) for f in (features1, features2)]
    (mean1, cov1), (mean2, cov2) = moments
    size = features1.shape[1]
    return frechet_from_moments(mean1, cov1.view(size, size), mean2, cov2.view(size, size))


def frechet_from_moments(
    mean1: Float[Tensor, "D"],
    cov1: Float[Tensor, "D D"],
    mean2: Float[Tensor, "D"],
    cov2: Float[Tensor, "D D"],
) -> float:
    """`||m1 - m2||^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)`, singular covariances allowed.

    C1 C2 has the eigenvalues of the symmetric R C2 R with R R = C1: no square root of a matrix that
    is not symmetric, no imaginary part to drop.

    Raises:
        ValueError: means or covariances of two sizes.

    Source: Dowson & Landau 1982, J. Multivariate Analysis 12.
    """
    same_shape(mean1=mean1, mean2=mean2)
    same_shape(cov1=cov1, cov2=cov2)
    values, vectors = torch.linalg.eigh(cov1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T  # (D, D), symmetric
    cross = torch.linalg.eigvalsh(root @ cov2 @ root).clamp(min=0).sqrt().sum()
    distance = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross
    return float(distance.clamp(min=0))


class PrecisionRecall(NamedTuple):
    """Fidelity (precision, density) and diversity (recall, coverage), from 0 up to about 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(
    real: Float[Tensor, "N D"], fake: Float[Tensor, "M D"], k: int = 5
) -> PrecisionRecall:
    """Shares of samples inside balls around the other set, as wide as the k-th neighbour is far.

    precision: fakes in some real ball; recall: reals in some fake ball; density: real balls around
    a fake, over k; coverage: real balls with a fake in them (recall counts outliers' balls, too).

    Raises:
        ValueError: features as in `frechet_distance`; k not in 1 .. min(N, M) - 1.

    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2; density and coverage: Naeem et
    al. 2020, arXiv:2002.09797, section 3.
    """
    _demand_features(real, fake, least=2)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f"k = {k}; legal: 1 to {min(len(real), len(fake)) - 1}")
    real, fake = real.double(), fake.double()
    real_radius, fake_radius = _radius(real, k), _radius(fake, k)  # (N,), (M,)
    distance = torch.cdist(real, fake)  # (N, M)
    in_real = distance < real_radius[:, None]
    in_fake = distance < fake_radius
    return PrecisionRecall(
        precision=float(in_real.any(dim=0).double().mean()),
        recall=float(in_fake.any(dim=1).double().mean()),
        density=float(in_real.sum(dim=0).double().mean() / k),
        coverage=float(in_real.any(dim=1).double().mean()),
    )


class ModeCoverage(NamedTuple):
    """What of a mixture a set of samples reached."""

    modes: int  # with at least 1 sample within 3 sd
    well_covered: int  # with at least 20
    of: int  # how many there are
    high_quality: float  # share of samples within 3 sd of a mode; 0.989 for the 2-D mixture itself
    kl: float  # KL(found shares of the modes || their weights), nats; NaN if nothing is near a mode


def mode_coverage(samples: Float[Tensor, "N D"], mixture: GaussianMixture) -> ModeCoverage:
    """Which modes the samples hit, and how evenly; a sample counts within 3 sd of the nearest mean.

    The customary 2,500 samples give 20 a meaning: a fifth of a fair share on a grid of 25.

    Raises:
        ValueError: no samples, or of another dimension than the mixture.

    Source: Srivastava et al. 2017 (VEEGAN), arXiv:1705.07761; Lin et al. 2018 (PacGAN),
    arXiv:1712.04086.
    """
    means, size = mixture.means.double(), mixture.means.shape[1]
    if samples.ndim != 2 or len(samples) < 1 or samples.shape[1] != size:
        raise ValueError(f"samples {tuple(samples.shape)}; legal: (N, {size}), N >= 1")
    distance, nearest = torch.cdist(samples.to(means), means).min(dim=1)  # (N,), (N,)
    good = distance < 3 * mixture.variances.double().sqrt()[nearest]
    count = nearest[good].bincount(minlength=len(means))  # (K,)
    share = count / count.sum()
    return ModeCoverage(
        modes=int((count > 0).sum()),
        well_covered=int((count >= 20).sum()),
        of=len(means),
        high_quality=float(good.double().mean()),
        kl=float(torch.xlogy(share, share / mixture.weights.to(share)).sum()),
    )


def _radius(points: Features, k: int) -> Float[Tensor, "N"]:
    """Distance to the k-th nearest other point; the point itself is the 0-th."""
    return torch.cdist(points, points).kthvalue(k + 1, dim=1).values


def _demand_features(*features: Tensor, least: int) -> None:
    for f in features:
        if f.ndim != 2 or len(f) < least or f.shape[1:] != features[0].shape[1:]:
            shapes = [tuple(f.shape) for f in features]
            raise ValueError(f"features {shapes}; legal: (N, D), one D, N >= {least}")
        if not f.isfinite().all():
            raise ValueError("features hold NaN or infinity; legal: finite values")
