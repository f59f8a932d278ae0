"""Laws whose densities are exact: Gaussians, their KLs, mixtures, the linear-Gaussian latent model.

Batch first, one value per example, in nats. Results have the dtype of what is given: float64 in,
float64 out. The second slot of N is a variance (or a covariance matrix).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

LOG_2PI = math.log(2 * math.pi)
Shaped, PerExample = Float[Tensor, "*shape"], Float[Tensor, "B"]
Data, Latents = Float[Tensor, "B D"], Float[Tensor, "B K"]
Vector, Matrix = Float[Tensor, "D"], Float[Tensor, "D D"]
Vectors, Matrices = Float[Tensor, "*batch D"], Float[Tensor, "*batch D D"]


def normal_log_prob(x: Shaped, mean: Shaped, log_var: Shaped) -> Shaped:
    """Log N(x; mean, exp(log_var)) = -((x - mean)^2 / var + log var + log 2 pi) / 2, by entry.

    Raises:
        ValueError: unequal shapes (expand them first: a silent broadcast hides mistakes).
    """
    _demand(x.shape == mean.shape == log_var.shape, "one shape", x=x, mean=mean, log_var=log_var)
    return -0.5 * ((x - mean) ** 2 * (-log_var).exp() + log_var + LOG_2PI)


def kl_to_standard_normal(mean: Latents, log_var: Latents) -> PerExample:
    """KL(N(mean, diag exp(log_var)) || N(0, I)) = sum_k (mean^2 + var - 1 - log var) / 2.

    Source: Kingma & Welling 2014, arXiv:1312.6114, appendix B.
    """
    _demand(mean.ndim == 2 and mean.shape == log_var.shape, "(B, K)", mean=mean, log_var=log_var)
    # expm1(a) = exp(a) - 1 without the rounding that makes a small KL negative
    return 0.5 * (mean**2 + log_var.expm1() - log_var).sum(dim=1)


def gaussian_kl(
    mean1: Vectors, cov1: Matrices, mean2: Vectors, cov2: Matrices
) -> Float[Tensor, "*batch"]:
    """KL(N1 || N2) = (tr cov2^-1 cov1 - D + d^T cov2^-1 d + log |cov2| / |cov1|) / 2, d = m2 - m1.

    Full covariances; all four may have the same leading dimensions, or none.

    Raises:
        ValueError: shapes do not fit together, or a covariance is not symmetric positive definite.

    Source: Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, eq. A.23.
    """
    _demand(mean1.shape == mean2.shape, "one shape for both", mean1=mean1, mean2=mean2)
    factor1, factor2 = _cholesky(cov1, mean1, "cov1"), _cholesky(cov2, mean2, "cov2")
    shift = _solve(factor2, (mean2 - mean1)[..., None]).square().sum(dim=(-2, -1))  # d^T cov2^-1 d
    trace = _solve(factor2, factor1).square().sum(dim=(-2, -1))  # tr cov2^-1 cov1
    return 0.5 * (trace - mean1.shape[-1] + shift + _log_det(factor2) - _log_det(factor1))


def gaussian_log_prob(x: Data, mean: Vector, cov: Matrix) -> PerExample:
    """Log N(x; mean, cov) = -((x - mean)^T cov^-1 (x - mean) + log |cov| + D log 2 pi) / 2.

    Raises:
        ValueError: shapes do not fit together, or cov is not symmetric positive definite.
    """
    factor = _cholesky(cov, mean, "cov")
    _demand(x.shape[1:] == mean.shape, "x (B, D), mean (D,)", x=x, mean=mean)
    squared = _solve(factor, (x - mean).T).square().sum(dim=0)  # (B,)
    return -0.5 * (squared + _log_det(factor) + len(mean) * LOG_2PI)


def gaussian_condition(
    mean: Vector, cov: Matrix, index: Sequence[int], value: Float[Tensor, "M"]
) -> tuple[Float[Tensor, "R"], Float[Tensor, "R R"]]:
    """Mean m_a + S_ab S_bb^-1 (value - m_b) and covariance S_aa - S_ab S_bb^-1 S_ba of x_a | x_b.

    Given: the joint law, b = `index` and what x_b was. Returns: the law of the others, in order.

    Raises:
        ValueError: index out of range, repeated or of all coordinates, not one value for each, or
            cov not symmetric positive definite.

    Source: Bishop 2006, Pattern Recognition and Machine Learning, eq. 2.81 and 2.82.
    """
    _cholesky(cov, mean, "cov")
    seen = [int(i) for i in index]
    rest = [i for i in range(len(mean)) if i not in seen]
    if not rest or len(rest) + len(seen) != len(mean):
        raise ValueError(f"index {seen}; legal: some, not all, of 0..{len(mean) - 1}, each once")
    _demand(value.shape == (len(seen),), f"value ({len(seen)},), as index", value=value)
    cross = cov[rest][:, seen]  # S_ab (R, M)
    gain = torch.linalg.solve(cov[seen][:, seen], cross.T).T  # S_ab S_bb^-1 (R, M)
    conditional = cov[rest][:, rest] - gain @ cross.T
    return mean[rest] + gain @ (value - mean[seen]), 0.5 * (conditional + conditional.T)


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """p(x) = sum_k weights_k N(x; means_k, variances_k I): K isotropic components in D dimensions.

    Raises:
        ValueError: shapes or dtypes do not fit, weights are not probabilities, variances <= 0.
    """

    weights: Float[Tensor, "K"]
    means: Float[Tensor, "K D"]
    variances: Float[Tensor, "K"]

    def __post_init__(self) -> None:
        w, m, v = self.weights, self.means, self.variances
        fits = m.ndim == 2 and w.shape == v.shape == m.shape[:1] and w.dtype == m.dtype == v.dtype
        legal = "weights (K,), means (K, D), variances (K,), of one dtype"
        _demand(fits, legal, weights=w, means=m, variances=v)
        slack = max(1e-9, 100 * torch.finfo(w.dtype).eps)
        if not (abs(float(w.sum()) - 1) <= slack and (w >= 0).all()):
            raise ValueError(f"weights {w.tolist()}, sum {w.sum():.12g}; legal: >= 0, sum 1")
        if not ((v > 0) & v.isfinite()).all():
            raise ValueError(f"variances {v.tolist()}; legal: positive and finite")

    @property
    def mean(self) -> Vector:
        """E[x] = sum_k weights_k means_k."""
        return self.weights @ self.means

    @property
    def cov(self) -> Matrix:
        """Cov[x] = sum_k weights_k (variances_k I + (means_k - mean)(means_k - mean)^T)."""
        centred = self.means - self.mean  # (K, D)
        within = (self.weights @ self.variances) * torch.eye(centred.shape[1]).to(centred)
        return within + centred.T @ (self.weights[:, None] * centred)

    def log_prob(self, x: Data) -> PerExample:
        """Log p(x) = log sum_k weights_k N(x; means_k, variances_k I)."""
        return self._log_joint(x).logsumexp(dim=1)

    def responsibilities(self, x: Data) -> Float[Tensor, "B K"]:
        """p(k | x) = weights_k N(x; means_k, variances_k I) / p(x); every row sums to 1."""
        return self._log_joint(x).softmax(dim=1)

    def score(self, x: Data) -> Data:
        """Grad_x log p(x) = sum_k p(k | x) (means_k - x) / variances_k."""
        pull = self.responsibilities(x) / self.variances  # (B, K)
        return (pull[:, :, None] * (self.means - x[:, None])).sum(dim=1)

    def sample(self, n: int, generator: Generator | None = None) -> Float[Tensor, "n D"]:
        """N draws, k ~ weights and then x ~ N(means_k, variances_k I); noise from the CPU."""
        k = torch.multinomial(self.weights.cpu(), n, replacement=True, generator=generator)
        eps = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        k, eps = k.to(self.means.device), eps.to(self.means.device)
        return self.means[k] + self.variances[k, None].sqrt() * eps

    def diffused(self, alpha_bar: float | Float[Tensor, ""]) -> "GaussianMixture":
        """Law of x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps, x_0 from here, eps ~ N(0, I).

        Raises:
            ValueError: alpha_bar outside [0, 1].

        Source: Ho et al. 2020, arXiv:2006.11239, eq. 4, averaged over x_0.
        """
        alpha_bar = float(alpha_bar)
        if not 0 <= alpha_bar <= 1:
            raise ValueError(f"alpha_bar = {alpha_bar}; legal: 0 to 1")
        variances = alpha_bar * self.variances + (1 - alpha_bar)
        return GaussianMixture(self.weights, math.sqrt(alpha_bar) * self.means, variances)

    def best_eps(self, xt: Data, alpha_bar: float | Float[Tensor, ""]) -> Data:
        """E[eps | x_t] = -sqrt(1 - alpha_bar) grad log q(x_t), the denoiser of least squared loss.

        Source: Efron 2011, J. Am. Stat. Assoc. 106 (Tweedie's formula).
        """
        return self.diffused(alpha_bar).score(xt) * -math.sqrt(1 - float(alpha_bar))

    def _log_joint(self, x: Tensor) -> Tensor:
        """Log weights_k + log N(x; means_k, variances_k I), (B, K)."""
        _demand(x.shape[1:] == self.means.shape[1:], "x (B, D)", x=x, means=self.means)
        squared = (x[:, None] - self.means).square().sum(dim=2)  # (B, K)
        log_norm = 0.5 * self.means.shape[1] * (LOG_2PI + self.variances.log())  # (K,)
        return self.weights.log() - 0.5 * squared / self.variances - log_norm


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """Probabilistic PCA: z ~ N(0, I_K), x | z ~ N(W z + b, s2 I_D), so all of it has a closed form.

    Raises:
        ValueError: W is not (D, K), b is not (D,), two dtypes, or s2 is not a positive number.

    Source: Tipping & Bishop 1999, J. R. Stat. Soc. B 61, 611-622; Bishop 2006, eq. 12.31 to 12.46.
    """

    W: Float[Tensor, "D K"]
    b: Float[Tensor, "D"]
    s2: float

    def __post_init__(self) -> None:
        W, b = self.W, self.b
        fits = W.ndim == 2 and b.shape == W.shape[:1] and b.dtype == W.dtype
        _demand(fits, "W (D, K), b (D,), of one dtype", W=W, b=b)
        if not 0 < self.s2 < math.inf:
            raise ValueError(f"s2 = {self.s2}; legal: a positive variance")

    @classmethod
    def maximum_likelihood(cls, x: Float[Tensor, "N D"], K: int) -> "LinearGaussian":
        """W = U_K (L_K - s2 I)^1/2, b = mean of x, s2 = mean of the D - K smallest eigenvalues.

        L, U: eigenvalues and vectors of the 1/N covariance, largest first; no rotation of latents.

        Raises:
            ValueError: K outside 1..D-1, or data without variance outside K dimensions.

        Source: Bishop 2006, eq. 12.45 and 12.46.
        """
        n, dim = x.shape
        if not 1 <= K < dim:
            raise ValueError(f"K = {K} latents for {dim} dimensions; legal: 1 to {dim - 1}")
        b = x.mean(dim=0)
        values, vectors = torch.linalg.eigh((x - b).T @ (x - b) / n)  # the smallest first
        s2 = float(values[: dim - K].mean())
        if not s2 > torch.finfo(x.dtype).eps * float(values[-1]):
            raise ValueError(f"{n} points with no variance outside {K} dimensions: s2 = {s2:.3g}")
        top = (values[dim - K :] - s2).clamp(min=0).sqrt()  # (K,)
        return cls((vectors[:, dim - K :] * top).flip(1), b, s2)

    @property
    def cov(self) -> Matrix:
        """Cov[x] = W W^T + s2 I."""
        return self.W @ self.W.T + self.s2 * torch.eye(len(self.W)).to(self.W)

    def log_likelihood_given(self, x: Data, z: Latents) -> PerExample:
        """Log p(x | z) = -||x - W z - b||^2 / (2 s2) - D/2 log(2 pi s2)."""
        fits = x.shape[1:] == self.b.shape and z.shape == (len(x), self.W.shape[1])
        _demand(fits, "x (B, D), z (B, K), W (D, K)", x=x, z=z, W=self.W)
        squared = ((x - z @ self.W.T - self.b) ** 2).sum(dim=1)  # (B,)
        return -squared / (2 * self.s2) - len(self.b) / 2 * math.log(2 * math.pi * self.s2)

    def log_prob_joint(self, x: Data, z: Latents) -> PerExample:
        """Log p(x, z) = log p(x | z) + log N(z; 0, I)."""
        log_prior = normal_log_prob(z, torch.zeros_like(z), torch.zeros_like(z)).sum(dim=1)
        return self.log_likelihood_given(x, z) + log_prior

    def log_evidence(self, x: Data) -> PerExample:
        """Log p(x) = log N(x; b, W W^T + s2 I)."""
        return gaussian_log_prob(x, self.b, self.cov)

    def posterior(self, x: Data) -> tuple[Latents, Float[Tensor, "K K"]]:
        """p(z | x) = N(M^-1 W^T (x - b), s2 M^-1), M = W^T W + s2 I; one covariance for all x."""
        _demand(x.shape[1:] == self.b.shape, "x (B, D), b (D,)", x=x, b=self.b)
        M = self.W.T @ self.W + self.s2 * torch.eye(self.W.shape[1]).to(self.W)  # (K, K)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(M))
        return (x - self.b) @ self.W @ inverse, self.s2 * inverse

    def elbo(self, x: Data, mean: Latents, log_var: Latents) -> PerExample:
        """E_q[log p(x | z)] - KL(q || N(0, I)), exact, for q = N(mean, diag exp(log_var)).

        E_q[log p(x | z)] = log p(x | mean) - tr(W^T W diag exp(log_var)) / (2 s2).
        """
        kl = kl_to_standard_normal(mean, log_var)
        at_mean = self.log_likelihood_given(x, mean)
        trace = log_var.exp() @ (self.W**2).sum(dim=0)  # (B,)
        return at_mean - trace / (2 * self.s2) - kl

    def gap(self, x: Data, mean: Latents, log_var: Latents) -> PerExample:
        """KL(q || p(z | x)) = log p(x) - ELBO, for q = N(mean, diag exp(log_var))."""
        _demand(mean.shape == log_var.shape, "one shape", mean=mean, log_var=log_var)
        posterior_mean, posterior_cov = self.posterior(x)
        q_cov = log_var.exp().diag_embed()  # (B, K, K)
        return gaussian_kl(mean, q_cov, posterior_mean, posterior_cov.expand_as(q_cov))

    def sample(self, n: int, generator: Generator | None = None) -> tuple[Data, Latents]:
        """N draws of (x, z), z ~ N(0, I) and then x ~ N(W z + b, s2 I); noise from the CPU."""
        noise = torch.randn(n, sum(self.W.shape), generator=generator, dtype=self.W.dtype)
        eps, z = noise.to(self.W).split(self.W.shape, dim=1)  # (n, D), (n, K)
        return z @ self.W.T + self.b + math.sqrt(self.s2) * eps, z


def _cholesky(cov: Tensor, mean: Tensor, name: str) -> Tensor:
    """L with L L^T = cov; a ValueError unless cov is symmetric positive definite and fits mean."""
    square = mean.ndim > 0 and cov.shape == (*mean.shape, mean.shape[-1])
    _demand(square, f"{name} (..., D, D), its mean (..., D)", **{name: cov, "mean": mean})
    slack = math.sqrt(torch.finfo(cov.dtype).eps) * cov.abs().max()  # rounding, not a slip
    factor, failed = torch.linalg.cholesky_ex(cov)
    if not ((cov - cov.mT).abs() <= slack).all() or failed.any() or not factor.isfinite().all():
        raise ValueError(f"{name} is not symmetric positive definite: {cov.tolist()!s:.200}")
    return factor


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, right, upper=False)


def _log_det(factor: Tensor) -> Tensor:
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)


def _demand(fits: bool, legal: str, **given: Tensor) -> None:
    """ValueError with shapes and dtypes unless `fits` and all are floating point."""
    if not (fits and all(value.is_floating_point() for value in given.values())):
        found = (f"{name} {tuple(value.shape)} {value.dtype}" for name, value in given.items())
        raise ValueError(f"{', '.join(found)}; legal: {legal}, floating point")
