"""Exercise 01-e2: one step of expectation-maximisation for a mixture of Gaussians."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.base import Answer, Draw, Exercise, Form, Observe, Property, differs

Test = Callable[[Answer, Observe, Draw], str | None]
Mixture = tuple[Tensor, Tensor, Tensor]
PARTS = ("weights", "means", "covs")


def gmm_em_step(
    x: Tensor, weights: Tensor, means: Tensor, covs: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One EM step of a Gaussian mixture on x (N, D): the new (weights, means, covs).

    weights (K,), means (K, D), covs (K, D, D). The E step uses what is given; in the M step the
    new covariances are taken around the new means.
    """
    laws = torch.distributions.MultivariateNormal(means, covs)
    gamma = (weights.log() + laws.log_prob(x[:, None])).softmax(1)  # (N, K)
    size = gamma.sum(0)  # (K,)
    new_means = gamma.T @ x / size[:, None]
    apart = x - new_means[:, None]  # (K, N, D)
    new_covs = (gamma.T[:, :, None] * apart).mT @ apart / size[:, None, None]
    return size / len(x), new_means, new_covs


def log_likelihood(x: Tensor, weights: Tensor, means: Tensor, covs: Tensor) -> Tensor:
    """Mean over the points of log sum_k weights_k N(x; means_k, covs_k)."""
    laws = torch.distributions.MultivariateNormal(means, covs)
    return (weights.log() + laws.log_prob(x[:, None])).logsumexp(1).mean()


def _problem(draw: Draw, n: int = 30, K: int = 3, D: int = 2) -> tuple:
    """Points of K clouds, and a mixture that is not at rest, with correlated coordinates."""
    centres = 1.5 * draw.normal(K, D)
    x = torch.cat([centres + draw.normal(K, D) for _ in range(n // K)])
    weights = draw.uniform(0.2, 2, K)
    roots = 0.5 * draw.normal(K, D, D)
    covs = roots @ roots.mT + 0.7 * torch.eye(D, dtype=torch.float64)
    return x, weights / weights.sum(), centres + draw.normal(K, D), covs


def _three(value: object) -> str | None:
    if isinstance(value, tuple | list) and len(value) == 3:
        return None
    return Form(f"you returned a {type(value).__name__}, asked are three: (weights, means, covs)")


def _steps(part: int, make: Callable[[Draw], tuple] = _problem) -> Test:
    """One part of the new mixture is right on the problem that `make` draws."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = make(draw)
        value, right = observe(answer, *given).value, gmm_em_step(*given)
        where = f"for {len(given[0])} points in {given[0].shape[1]} dimensions, K = {len(given[1])}"
        return _three(value) or differs(value[part], right[part], PARTS[part], where=where)

    return test


def _far(draw: Draw) -> tuple:
    """Points 60 standard deviations from all means, which are on a line: shares stay moderate."""
    x, weights, means, _ = _problem(draw)
    up = torch.tensor([0.0, 1.0], dtype=torch.float64)
    covs = torch.eye(2, dtype=torch.float64).repeat(3, 1, 1)
    return x + 60 * up, weights, means * (1 - up), covs


def _other_sizes(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    many = _steps(2, lambda draw: _problem(draw, D=5, K=2))
    line = _steps(1, lambda draw: _problem(draw, n=40, D=1, K=4))
    return many(answer, observe, draw) or line(answer, observe, draw)


def _valid(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    given = _problem(draw)
    value = observe(answer, *given).value
    if wrong := _three(value):
        return wrong
    for name, got, right in zip(PARTS, value, gmm_em_step(*given), strict=True):
        if wrong := differs(got, right, name, tolerance=torch.inf):
            return wrong
    covs = torch.as_tensor(value[2])
    total = differs(torch.as_tensor(value[0]).sum(), 1.0, "the weights' sum")
    return total or differs(covs, covs.mT, "covs against their transposes")


def _climbs(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, *mixture = _problem(draw, n=60)
    for sweep in range(1, 5):
        value = observe(answer, x, *mixture).value
        if wrong := _three(value):
            return wrong
        right = gmm_em_step(x, *mixture)
        for name, got, wanted in zip(PARTS, value, right, strict=True):
            if wrong := differs(got, wanted, name, 1e-6, f"after sweep {sweep}"):
                before, best = (float(log_likelihood(x, *m)) for m in (mixture, right))
                return (
                    f"{wrong}; log-likelihood {before:.4f} before, {best:.4f} after a right sweep"
                )
        mixture = list(right)
    return None


EM = (
    Property(
        "weights that sum to 1, symmetric covariances, right shapes",
        "The new weights are the shares N_k / N of the points: do the responsibilities of each "
        "point sum to 1? Covariances are symmetric.",
        _valid,
    ),
    Property(
        "the responsibilities are fractions",
        "Responsibilities are fractions, by Bayes: weight times density, over the sum. A point is "
        "not given to one component, and the weights count.",
        _steps(0),
    ),
    Property(
        "the means are weighted means",
        "N_k, not N, divides the weighted sum of the points: m_k is a mean with weights gamma.",
        _steps(1),
    ),
    Property(
        "the covariances are around the new means, correlations and all",
        "Order: first the new means, then the covariances around them; all D x D entries, no "
        "n - 1, and nothing added.",
        _steps(2),
    ),
    Property(
        "the same in five dimensions, and on a line",
        "Other shapes: is a 2 or a 3 written into your code?",
        _other_sizes,
    ),
    Property(
        "far from all means nothing underflows",
        "exp(-1000) is 0 in floating point, and 0/0 is NaN: keep log weight + log density, and "
        "let softmax make fractions of them.",
        _steps(1, _far),
    ),
    Property(
        "the likelihood never falls, sweep after sweep",
        "EM climbs at every sweep. Does the E step use the mixture that is given, all of it?",
        _climbs,
    ),
)

EXERCISES = (Exercise("01-e2", "One step of EM", 20, 2, EM, gmm_em_step),)
