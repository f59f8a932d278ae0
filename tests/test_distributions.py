"""Distributions against closed forms, quadrature, autograd, torch and scikit-learn."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from jaxtyping import TypeCheckError
from scipy.integrate import quad
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from course_utils.distributions import (
    GaussianMixture,
    LinearGaussian,
    gaussian_condition,
    gaussian_kl,
    gaussian_log_prob,
    kl_to_standard_normal,
    normal_log_prob,
)
from tests.benchmarks.yardstick import Mixture2D

F64 = torch.float64
SEED = 0


def exact(left, right, relative=1e-10):
    torch.testing.assert_close(left, right, rtol=relative, atol=1e-12)


def row(*numbers):
    return torch.tensor([numbers], dtype=F64)


def vector(*numbers):
    return torch.tensor(numbers, dtype=F64)


def within_4_se(draws, expected):
    """Mean of independent draws (N, ...) against the exact value, entry by entry."""
    se = draws.std(dim=0) / math.sqrt(len(draws))
    assert (se > 0).all()
    z = (draws.mean(dim=0) - expected) / se
    assert z.abs().max() < 4, z


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=SEED):
    return torch.randn(*shape, generator=generator(seed), dtype=F64)


def covariance(D, seed, *batch):
    root = normal(*batch, D, D, seed=seed)
    return root @ root.mT + 0.3 * torch.eye(D, dtype=F64)


def mixture():
    """Three components, unequal in weight and width, in the plane."""
    means = torch.tensor([[0.0, 0.0], [1.5, -0.5], [-1.0, 2.0]], dtype=F64)
    return GaussianMixture(vector(0.2, 0.5, 0.3), means, vector(0.3, 0.1, 0.6))


def model(D=4, K=2, s2=0.3):
    return LinearGaussian(normal(D, K, seed=5), normal(D, seed=6), s2)


LESSON = LinearGaussian(torch.tensor([[2.0]], dtype=F64), torch.zeros(1, dtype=F64), 0.25)


# --- Gaussians


def test_the_test_run_checks_shapes():
    """A (4, 2) against a (4, 1) would broadcast, silently."""
    with pytest.raises(TypeCheckError, match="log_var"):
        normal_log_prob(normal(4, 2), normal(4, 2), normal(4, 1))


def test_normal_log_prob_is_torchs_and_keeps_shape_and_dtype():
    x, mean, log_var = normal(2, 3, 4), normal(2, 3, 4, seed=1), normal(2, 3, 4, seed=2)
    exact(normal_log_prob(x, mean, log_var), Normal(mean, log_var.exp().sqrt()).log_prob(x))
    short = normal_log_prob(x.float(), mean.float(), log_var.float())
    assert short.dtype == torch.float32 and short.shape == x.shape


def test_normal_density_integrates_to_one():
    def density(x):
        return float(normal_log_prob(vector(x), vector(0.7), vector(math.log(0.2))).exp())

    assert quad(density, -6, 8, epsabs=1e-13, points=[0.7])[0] == pytest.approx(1, rel=1e-10)


def test_kl_to_standard_normal_has_the_value_of_the_integral():
    mean, var = 0.5, 0.2**2

    def integrand(z):
        log_q = float(normal_log_prob(vector(z), vector(mean), vector(math.log(var))))
        log_p = float(normal_log_prob(vector(z), vector(0.0), vector(0.0)))
        return math.exp(log_q) * (log_q - log_p)

    integral = quad(integrand, -2, 3, epsabs=1e-13, points=[mean])[0]
    kl = kl_to_standard_normal(row(mean), row(math.log(var)))
    exact(kl, vector(integral), relative=1e-9)
    assert f"{kl.item():.6f}" == "1.254438"


def test_kl_to_standard_normal_is_torchs_per_example():
    mean, log_var = normal(5, 3), normal(5, 3, seed=1)
    q = Independent(Normal(mean, (log_var / 2).exp()), 1)
    p = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    exact(kl_to_standard_normal(mean, log_var), kl_divergence(q, p))


def test_kl_to_standard_normal_is_least_at_the_prior_and_never_negative():
    mean, log_var = (torch.zeros(1, 3, dtype=F64, requires_grad=True) for _ in range(2))
    kl = kl_to_standard_normal(mean, log_var).sum()
    kl.backward()
    assert kl.item() == 0 and not mean.grad.any() and not log_var.grad.any()
    near = torch.linspace(-0.01, 0.01, 20_001).unsqueeze(1)  # float32, where 1 + a rounds
    assert (kl_to_standard_normal(torch.zeros_like(near), near) >= 0).all()


def test_gaussian_kl_between_isotropic_gaussians_counts_every_dimension():
    """The lectures' example in d = 3; with the logarithm counted once it would be -0.232170."""
    eye = torch.eye(3, dtype=F64)
    kl = gaussian_kl(vector(0.3, -0.2, 0.5), 0.25 * eye, vector(0, 0, 0), 1.44 * eye)
    assert f"{kl.item():.6f}" == "1.518767"
    by_hand = 3 * math.log(1.2 / 0.5) - 1.5 + (3 * 0.25 + 0.38) / (2 * 1.44)
    assert kl.item() == pytest.approx(by_hand, rel=1e-12)
    assert kl.item() - 2 * math.log(1.2 / 0.5) == pytest.approx(-0.232170, abs=1e-6)


@pytest.mark.parametrize("D", [1, 2, 5])
def test_gaussian_kl_is_torchs_also_batched(D):
    m1, m2, S1, S2 = normal(6, D), normal(6, D, seed=1), covariance(D, 2, 6), covariance(D, 3, 6)
    expected = kl_divergence(MultivariateNormal(m1, S1), MultivariateNormal(m2, S2))
    exact(gaussian_kl(m1, S1, m2, S2), expected)
    exact(gaussian_kl(m1[0], S1[0], m2[0], S2[0]), expected[0])
    assert (gaussian_kl(m1, S1, m1, S1).abs() < 1e-12).all()


def test_gaussian_kl_is_the_mean_log_ratio_over_the_first_law():
    m1, m2, S1, S2 = normal(3), normal(3, seed=1), covariance(3, 2), covariance(3, 3)
    x = m1 + normal(100_000, 3, seed=4) @ torch.linalg.cholesky(S1).T
    ratio = gaussian_log_prob(x, m1, S1) - gaussian_log_prob(x, m2, S2)
    within_4_se(ratio, gaussian_kl(m1, S1, m2, S2))
    with pytest.raises(AssertionError):
        within_4_se(ratio, gaussian_kl(m2, S2, m1, S1))


def test_gaussian_kl_does_not_change_under_an_invertible_map():
    m1, m2, S1, S2, A = (
        normal(3),
        normal(3, seed=1),
        covariance(3, 2),
        covariance(3, 3),
        normal(3, 3),
    )
    mapped = gaussian_kl(A @ m1, A @ S1 @ A.T, A @ m2, A @ S2 @ A.T)
    exact(mapped, gaussian_kl(m1, S1, m2, S2), relative=1e-8)


def test_gaussian_kl_agrees_with_the_one_to_the_prior():
    mean, log_var = normal(4, 3), normal(4, 3, seed=1)
    zero, eye = torch.zeros_like(mean), torch.eye(3, dtype=F64).expand(4, 3, 3)
    full = gaussian_kl(mean, log_var.exp().diag_embed(), zero, eye)
    exact(kl_to_standard_normal(mean, log_var), full)


@pytest.mark.parametrize("D", [1, 4])
def test_gaussian_log_prob_is_torchs(D):
    x, mean, cov = normal(7, D), normal(D, seed=1), covariance(D, 2)
    exact(gaussian_log_prob(x, mean, cov), MultivariateNormal(mean, cov).log_prob(x))


def test_gaussian_log_prob_has_a_gradient_to_its_parameters():
    mean, root = normal(3).requires_grad_(), normal(3, 3, seed=1).requires_grad_()
    x, eye = normal(5, 3, seed=2), torch.eye(3, dtype=F64)
    assert torch.autograd.gradcheck(
        lambda m, r: gaussian_log_prob(x, m, r @ r.T + eye), (mean, root)
    )


@pytest.mark.parametrize("index", [[1, 3], [3, 1], [0], [4, 0, 2, 1], []])
def test_gaussian_condition_divides_the_joint_density_by_the_marginal(index):
    mean, cov, x = normal(5), covariance(5, 1), normal(1, 5, seed=2)
    rest = [i for i in range(5) if i not in index]
    conditional_mean, conditional_cov = gaussian_condition(mean, cov, index, x[0, index])
    left = gaussian_log_prob(x[:, rest], conditional_mean, conditional_cov)
    right = gaussian_log_prob(x, mean, cov)
    if index:
        right = right - gaussian_log_prob(x[:, index], mean[index], cov[index][:, index])
    exact(left, right, relative=1e-9)


def test_gaussian_condition_on_a_pair_is_the_textbooks():
    rho, x = 0.8, 1.5
    cov = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=F64)
    mean, var = gaussian_condition(vector(0, 0), cov, [1], vector(x))
    exact(mean, vector(rho * x))
    exact(var, vector(1 - rho**2).reshape(1, 1))


def test_gaussian_condition_one_after_the_other_is_both_at_once():
    mean, cov = normal(4), covariance(4, 1)
    first = gaussian_condition(mean, cov, [2], vector(0.3))
    then = gaussian_condition(*first, [0], vector(-1.0))  # what was 0 is still 0
    both = gaussian_condition(mean, cov, [2, 0], vector(0.3, -1.0))
    exact(then[0], both[0])
    exact(then[1], both[1])


EYE, BAD = torch.eye(2, dtype=F64), torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=F64)
LOPSIDED = torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=F64)
ZERO = torch.zeros(2, dtype=F64)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: gaussian_kl(ZERO, BAD, ZERO, EYE), "cov1 is not symmetric positive definite"),
        (lambda: gaussian_kl(ZERO, EYE, ZERO, BAD), "cov2 is not symmetric positive definite"),
        (lambda: gaussian_kl(ZERO, LOPSIDED, ZERO, EYE), r"cov1 .*\[\[1.0, 0.5\]"),
        (lambda: gaussian_kl(ZERO, EYE * math.nan, ZERO, EYE), "cov1"),
        (lambda: gaussian_kl(ZERO, EYE, ZERO, EYE * math.inf), "cov2"),
        (lambda: gaussian_kl(ZERO, EYE, ZERO[:1], EYE), r"mean1 \(2,\).*mean2 \(1,\)"),
        (lambda: gaussian_kl(ZERO, EYE[:1], ZERO, EYE), r"cov1 \(1, 2\).*legal: .*\(..., D, D\)"),
        (lambda: gaussian_kl(ZERO, torch.ones(2, dtype=F64), ZERO, EYE), r"cov1 \(2,\)"),
        (lambda: gaussian_log_prob(ZERO, ZERO, EYE), r"x \(2,\).*legal: x \(B, D\)"),
        (lambda: gaussian_log_prob(row(1.0), ZERO, EYE), r"x \(1, 1\)"),
        (lambda: gaussian_condition(ZERO, BAD, [0], ZERO[:1]), "cov is not symmetric"),
        (lambda: gaussian_condition(ZERO, EYE, [2], ZERO[:1]), r"index \[2\]; legal: .*0..1"),
        (lambda: gaussian_condition(ZERO, EYE, [-1], ZERO[:1]), r"index \[-1\]"),
        (lambda: gaussian_condition(ZERO, EYE, [0, 0], ZERO), r"index \[0, 0\]"),
        (lambda: gaussian_condition(ZERO, EYE, [0, 1], ZERO), "not all"),
        (lambda: gaussian_condition(ZERO, EYE, [0], ZERO), r"value \(2,\).*legal: value \(1,\)"),
        (lambda: normal_log_prob(ZERO, ZERO[:1], ZERO), r"x \(2,\).*mean \(1,\)"),
        (lambda: kl_to_standard_normal(ZERO, ZERO), r"\(B, K\)"),
        (lambda: kl_to_standard_normal(EYE, EYE[:1]), r"log_var \(1, 2\)"),
        (lambda: kl_to_standard_normal(EYE.long(), EYE), "torch.int64.*floating point"),
    ],
)
def test_gaussians_say_what_is_wrong(as_a_user, call, says):
    with pytest.raises(ValueError, match=says):
        call()


# --- mixtures


def test_mixture_log_prob_is_torchs():
    p, x = mixture(), 2 * normal(50, 2)
    components = Independent(Normal(p.means, p.variances[:, None].sqrt().expand(3, 2)), 1)
    exact(p.log_prob(x), MixtureSameFamily(Categorical(p.weights), components).log_prob(x))


def test_mixture_density_integrates_to_one():
    line = torch.linspace(-8, 8, 401, dtype=F64)  # trapezoids are exact here up to rounding
    mass = mixture().log_prob(torch.cartesian_prod(line, line)).exp().sum() * 0.04**2
    assert mass.item() == pytest.approx(1, rel=1e-10)


def test_mixture_score_is_the_gradient_of_log_prob():
    p, x = mixture(), (2 * normal(50, 2)).requires_grad_()
    (gradient,) = torch.autograd.grad(p.log_prob(x).sum(), x)
    exact(p.score(x), gradient)
    sparse = GaussianMixture(vector(1, 0, 0), p.means, p.variances)  # an empty component
    exact(sparse.score(x), (p.means[0] - x) / 0.3)


def test_mixture_is_finite_far_from_every_component():
    p, far = mixture(), row(1e4, -1e4)
    assert p.log_prob(far).isfinite() and p.responsibilities(far).sum() == 1
    exact(p.score(far), (p.means[2] - far) / 0.6)  # the widest component is left


def test_mixture_responsibilities_are_bayes_rule():
    p, x = mixture(), 2 * normal(50, 2)
    r = p.responsibilities(x)
    exact(r.sum(dim=1), torch.ones(50, dtype=F64))
    for k in range(3):
        eye = p.variances[k] * torch.eye(2, dtype=F64)
        log_joint = p.weights[k].log() + gaussian_log_prob(x, p.means[k], eye)
        exact(r[:, k], (log_joint - p.log_prob(x)).exp())


def test_mixture_moments_and_weights_are_those_of_its_samples():
    p = mixture()
    x = p.sample(200_000, generator())
    within_4_se(x, p.mean)
    centred = x - p.mean
    within_4_se(centred[:, :, None] * centred[:, None, :], p.cov)
    within_4_se(p.responsibilities(x), p.weights)  # E[p(k | x)] = weights_k
    exact(p.sample(10, generator()), p.sample(10, generator()))


@pytest.mark.parametrize("kind", ["ring8", "grid25", "ring8w", "grid25w"])
def test_mixture_is_the_yardsticks(kind):
    theirs = Mixture2D(kind)
    weights = torch.full((len(theirs.mean),), 1 / len(theirs.mean), dtype=F64)
    ours = GaussianMixture(weights, theirs.mean, torch.full_like(weights, theirs.sd**2))
    x = torch.cat([theirs.sample(500, generator()).double(), normal(500, 2)])
    exact(ours.log_prob(x), theirs.log_prob(x), relative=1e-8)  # theirs loses digits in cdist
    for alpha_bar in (0.0, 0.001, 0.5, 0.9, 0.9999, 1.0):
        exact(ours.best_eps(x, alpha_bar), theirs.best_eps(x, alpha_bar), relative=1e-8)
    exact(ours.log_prob(x.float()), theirs.log_prob(x.float()), relative=1e-8)  # mixed precision
    error = ours.log_prob(ours.sample(20_000, generator())) + theirs.entropy(100_000)
    assert abs(error.mean()) < 4 * error.std() * math.sqrt(1 / 20_000 + 1 / 100_000)


def test_diffused_is_the_law_of_the_noisy_point():
    """Density of x_t in one dimension: the integral of q(x_0) N(x_t; sqrt(a) x_0, 1 - a)."""
    p = GaussianMixture(vector(0.3, 0.7), vector(-1, 2).reshape(2, 1), vector(0.05, 0.4))
    a, xt = 0.6, 0.8

    def joint(x0):
        log_q = float(p.log_prob(row(x0)))
        kernel = normal_log_prob(vector(xt), vector(math.sqrt(a) * x0), vector(math.log(1 - a)))
        return math.exp(log_q + float(kernel))

    def weighted(x0):
        return joint(x0) * (xt - math.sqrt(a) * x0) / math.sqrt(1 - a)

    density, _ = quad(joint, -8, 9, epsabs=1e-13, points=[-1, 0, 1, 2], limit=200)
    eps, _ = quad(weighted, -8, 9, epsabs=1e-13, points=[-1, 0, 1, 2], limit=200)
    exact(p.diffused(a).log_prob(row(xt)).exp(), vector(density), relative=1e-9)
    exact(p.best_eps(row(xt), a), row(eps / density), relative=1e-9)


def test_diffused_at_both_ends():
    p, x = mixture(), normal(20, 2)
    exact(p.diffused(1.0).log_prob(x), p.log_prob(x))
    exact(p.diffused(0.0).log_prob(x), Normal(0, 1).log_prob(x).sum(dim=1))
    exact(p.best_eps(x, 0.0), x)  # at alpha_bar = 0 the point is the noise
    assert not p.best_eps(x, 1.0).any()
    exact(p.best_eps(x, torch.tensor(0.5)), p.best_eps(x, 0.5))


def test_no_denoiser_is_better_than_best_eps():
    p, a = mixture(), 0.7
    x0, eps = p.sample(100_000, generator()), normal(100_000, 2, seed=1)
    xt = math.sqrt(a) * x0 + math.sqrt(1 - a) * eps
    residual = eps - p.best_eps(xt, a)
    features = torch.cat([torch.ones(len(xt), 1, dtype=F64), xt, xt**2, xt.sin()], dim=1)
    within_4_se(residual[:, :, None] * features[:, None, :], 0.0)  # orthogonal to f(x_t)


def test_mixture_keeps_float32():
    p = mixture()
    short = GaussianMixture(p.weights.float(), p.means.float(), p.variances.float())
    x = short.sample(5, generator())
    for value in (x, short.log_prob(x), short.score(x), short.best_eps(x, 0.5), short.cov):
        assert value.dtype == torch.float32
    uniform = GaussianMixture(torch.full((25,), 1 / 25), torch.zeros(25, 2), torch.ones(25))
    assert uniform.mean.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights": vector(0.5, 0.4)}, "sum 0.9.*legal: >= 0, sum 1"),
        ({"weights": vector(1.5, -0.5)}, "legal: >= 0"),
        ({"weights": vector(math.nan, 1)}, "nan"),
        ({"weights": vector(1.0)}, r"weights \(1,\)"),
        ({"weights": vector(1, 0).float()}, "torch.float32.*of one dtype"),
        ({"variances": vector(1, 0)}, r"variances \[1.0, 0.0\]; legal: positive"),
        ({"variances": vector(1, math.nan)}, "variances"),
        ({"variances": vector(1, math.inf)}, "variances"),
        ({"variances": vector(1, 1, 1)}, r"variances \(3,\)"),
        ({"means": vector(0, 0)}, r"means \(2,\).*legal: .*means \(K, D\)"),
        ({"means": torch.zeros(3, 2, dtype=F64)}, r"means \(3, 2\)"),
    ],
)
def test_mixture_says_what_is_wrong(as_a_user, change, says):
    legal = {"weights": vector(0.5, 0.5), "means": EYE, "variances": vector(1, 1)}
    with pytest.raises(ValueError, match=says):
        GaussianMixture(**{**legal, **change})


def test_mixture_methods_say_what_is_wrong(as_a_user):
    p = mixture()
    for x in (normal(2), normal(5, 3), normal(5, 1)):
        with pytest.raises(ValueError, match=r"legal: x \(B, D\)"):
            p.log_prob(x)
    for alpha_bar in (-0.1, 1.1, math.nan):
        for call in (p.diffused, lambda a: p.best_eps(normal(5, 2), a)):
            with pytest.raises(ValueError, match=r"alpha_bar = .*; legal: 0 to 1"):
                call(alpha_bar)
    with pytest.raises(FrozenInstanceError):
        p.weights = vector(1, 0, 0)


# --- the linear-Gaussian latent model


def test_lesson_model_has_the_lectures_numbers():
    x = row(3.0)
    mean, cov = LESSON.posterior(x)
    assert f"{LESSON.log_evidence(x).item():.6f}" == "-2.701222"
    assert f"{mean.item():.4f} {cov.item():.4f}" == "1.4118 0.0588"
    exact(LESSON.elbo(x, mean, cov.log()), LESSON.log_evidence(x))
    assert f"{LESSON.elbo(x, row(0.0), row(0.0)).item():.4f}" == "-26.2258"  # q = prior


def test_evidence_is_the_integral_over_one_latent():
    p, x = model(D=3, K=1), normal(1, 3)
    at, _ = p.posterior(x)
    value, _ = quad(
        lambda z: float(p.log_prob_joint(x, row(z)).exp()), -9, 9, points=[at.item()], epsabs=1e-16
    )
    exact(p.log_evidence(x), vector(math.log(value)), relative=1e-9)


def test_evidence_is_the_integral_over_two_latents():
    p, x = model(D=4, K=2), normal(1, 4)
    line = torch.linspace(-9, 9, 601, dtype=F64)  # trapezoids, steps well below a posterior sd
    z = torch.cartesian_prod(line, line)
    log_sum = p.log_prob_joint(x.expand(len(z), 4), z).logsumexp(dim=0, keepdim=True)
    exact(p.log_evidence(x), log_sum + 2 * math.log(0.03), relative=1e-9)


def test_bayes_rule_holds_at_every_latent():
    p, x = model(), normal(1, 4)
    z = 3 * normal(200, 2, seed=1)
    mean, cov = p.posterior(x)
    log_posterior = gaussian_log_prob(z, mean[0], cov)
    ratio = p.log_prob_joint(x.expand(200, 4), z) - log_posterior
    exact(ratio, p.log_evidence(x).expand(200))


def test_likelihood_and_joint_are_products_of_torchs_normals():
    p, x, z = model(), normal(5, 4), normal(5, 2, seed=1)
    noise = Normal(z @ p.W.T + p.b, math.sqrt(p.s2))
    exact(p.log_likelihood_given(x, z), noise.log_prob(x).sum(dim=1))
    exact(p.log_prob_joint(x, z), (noise.log_prob(x).sum(1) + Normal(0, 1).log_prob(z).sum(1)))
    exact(p.log_evidence(x), MultivariateNormal(p.b, p.cov).log_prob(x))


@pytest.mark.parametrize(("D", "K"), [(1, 1), (4, 2), (3, 3), (2, 5)])
def test_evidence_is_elbo_plus_gap(D, K):
    p, x = model(D, K), normal(20, D)
    mean, log_var = normal(20, K, seed=1), normal(20, K, seed=2)
    gap = p.gap(x, mean, log_var)
    exact(p.elbo(x, mean, log_var) + gap, p.log_evidence(x))
    assert (gap > 0).all()


def test_gap_closes_only_at_the_posterior():
    W = torch.linalg.qr(normal(4, 2))[0] * vector(2.0, 0.5)  # orthogonal columns: diagonal M
    p, x = LinearGaussian(W, normal(4, seed=1), 0.3), normal(6, 4, seed=2)
    mean, cov = p.posterior(x)
    log_var = cov.diagonal().log().expand(6, 2)
    assert (p.gap(x, mean, log_var).abs() < 1e-12).all()
    exact(p.elbo(x, mean, log_var), p.log_evidence(x))
    assert (p.gap(x, mean, log_var + 0.01) > 1e-5).all()


def test_elbo_is_the_mean_of_its_integrand():
    p, x = model(), normal(1, 4)
    mean, log_var = row(0.4, -0.3), row(-1.0, 0.5)
    z = mean + (log_var / 2).exp() * normal(200_000, 2, seed=3)
    log_q = normal_log_prob(z, mean.expand_as(z), log_var.expand_as(z)).sum(dim=1)
    integrand = p.log_prob_joint(x.expand(len(z), 4), z) - log_q
    within_4_se(integrand, p.elbo(x, mean, log_var))
    with pytest.raises(AssertionError):  # the expectation at the mean of q alone
        at_mean = p.log_likelihood_given(x, mean) - kl_to_standard_normal(mean, log_var)
        within_4_se(integrand, at_mean)


def test_samples_have_the_models_moments():
    p = model()
    x, z = p.sample(200_000, generator())
    joint, mean = torch.cat([x, z], dim=1), torch.cat([p.b, torch.zeros(2, dtype=F64)])
    top, bottom = torch.cat([p.cov, p.W], dim=1), torch.cat([p.W.T, torch.eye(2).double()], dim=1)
    centred = joint - mean
    within_4_se(joint, mean)
    within_4_se(centred[:, :, None] * centred[:, None, :], torch.cat([top, bottom]))
    short = LinearGaussian(p.W.float(), p.b.float(), p.s2)
    assert all(value.dtype == torch.float32 for value in short.sample(3, generator()))
    assert short.log_evidence(short.sample(3)[0]).dtype == torch.float32


def test_rotating_the_latents_changes_nothing_that_is_seen():
    p, x = model(), normal(20, 4)
    rotation, _ = torch.linalg.qr(normal(2, 2, seed=3))
    exact(LinearGaussian(p.W @ rotation, p.b, p.s2).log_evidence(x), p.log_evidence(x))


# --- maximum likelihood


def correlated(n=60, D=5):
    return normal(n, D) @ normal(D, D, seed=1) + normal(D, seed=2)


@pytest.mark.parametrize("K", [1, 2, 4])
def test_maximum_likelihood_is_scikit_learns_up_to_its_unbiased_covariance(K):
    """PCA.score uses the covariance with 1/(n - 1): all of W W^T + s2 I is n/(n - 1) times ours."""
    from sklearn.decomposition import PCA

    x = correlated()
    n, ours, theirs = len(x), LinearGaussian.maximum_likelihood(x, K), PCA(K).fit(x.numpy())
    factor = n / (n - 1)
    exact(factor * ours.cov, torch.from_numpy(theirs.get_covariance()))
    scaled = LinearGaussian(math.sqrt(factor) * ours.W, ours.b, factor * ours.s2)
    exact(scaled.log_evidence(x), torch.from_numpy(theirs.score_samples(x.numpy())))
    assert ours.log_evidence(x).mean() > theirs.score(x.numpy())


@pytest.mark.parametrize("K", [1, 3])
def test_maximum_likelihood_has_the_closed_value_and_a_flat_top(K):
    x = correlated()
    n, D = x.shape
    fit = LinearGaussian.maximum_likelihood(x, K)
    values = torch.linalg.eigvalsh((x - x.mean(0)).T @ (x - x.mean(0)) / n).flip(0)
    log_det = values[:K].log().sum() + (D - K) * values[K:].mean().log()
    best = fit.log_evidence(x).mean()
    exact(best, -0.5 * (D * math.log(2 * math.pi) + log_det + D))
    W, b = fit.W.clone().requires_grad_(), fit.b.clone().requires_grad_()
    log_s2 = torch.tensor(math.log(fit.s2), dtype=F64, requires_grad=True)
    cov = W @ W.T + log_s2.exp() * torch.eye(D, dtype=F64)
    for gradient in torch.autograd.grad(gaussian_log_prob(x, b, cov).mean(), (W, b, log_s2)):
        assert gradient.abs().max() < 1e-10
    for seed in range(20):
        other = LinearGaussian(fit.W + 0.05 * normal(D, K, seed=seed), fit.b, fit.s2)
        assert other.log_evidence(x).mean() < best


def test_maximum_likelihood_recovers_the_model_that_drew_the_data():
    p = model()
    fit = LinearGaussian.maximum_likelihood(p.sample(200_000, generator())[0], 2)
    torch.testing.assert_close(fit.cov, p.cov, rtol=0.03, atol=0.03)
    assert fit.W.norm(dim=0)[0] > fit.W.norm(dim=0)[1]  # the largest first


def test_maximum_likelihood_of_digits_with_constant_pixels():
    from sklearn.datasets import load_digits

    x = torch.from_numpy(load_digits().data) / 16
    fit = LinearGaussian.maximum_likelihood(x, 10)
    assert fit.log_evidence(x).isfinite().all() and fit.W.shape == (64, 10)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: LinearGaussian(normal(3), normal(3), 1.0), r"W \(3,\).*legal: W \(D, K\)"),
        (lambda: LinearGaussian(normal(3, 2), normal(2), 1.0), r"b \(2,\)"),
        (lambda: LinearGaussian(normal(3, 2), normal(3).float(), 1.0), "of one dtype"),
        (lambda: LinearGaussian(normal(3, 2), normal(3), 0.0), "s2 = 0.0; legal: a positive"),
        (lambda: LinearGaussian(normal(3, 2), normal(3), math.nan), "s2 = nan"),
        (lambda: model().log_evidence(normal(4)), r"x \(4,\)"),
        (lambda: model().log_evidence(normal(5, 1)), r"x \(5, 1\)"),
        (lambda: model().posterior(normal(5, 1)), r"x \(5, 1\)"),
        (lambda: model().log_prob_joint(normal(1, 4), normal(5, 2)), r"z \(5, 2\)"),
        (lambda: model().elbo(normal(5, 4), normal(5, 1), normal(5, 1)), r"\(5, 1\)"),
        (lambda: model().elbo(normal(5, 4), normal(5, 2), normal(1, 2)), r"log_var \(1, 2\)"),
        (lambda: model().gap(normal(5, 4), normal(1, 2), normal(1, 2)), r"\(1, 2\)"),
        (lambda: model().gap(normal(5, 4), normal(5, 2), normal(1, 2)), r"log_var \(1, 2\)"),
        (lambda: LinearGaussian.maximum_likelihood(normal(9, 3), 3), "K = 3 .*; legal: 1 to 2"),
        (lambda: LinearGaussian.maximum_likelihood(normal(9, 3), 0), "K = 0"),
        (lambda: LinearGaussian.maximum_likelihood(normal(3, 5), 2), "no variance outside 2"),
    ],
)
def test_linear_gaussian_says_what_is_wrong(as_a_user, call, says):
    with pytest.raises(ValueError, match=says):
        call()
