"""Lesson 11: right answers by other routes pass, every known mistake meets its own hint."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import binomtest

from course_utils import metrics
from course_utils.exercises import find
from tests.exercises.harness import accepts, rejects

inception_score, frechet, equal_laws, count_copies, mode_report, wilson_interval = (
    find(f"11-e{number}").reference for number in range(1, 7)
)


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


# 11-e1 inception_score


def score_by_entropies(p):
    def entropy(q):
        return -torch.special.xlogy(q, q).sum(-1)

    return (entropy(p.mean(0)) - entropy(p).mean()).exp()


def score_in_numpy(p):
    p = p.numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / p.mean(0)), 0.0)
    return np.exp(terms.sum(1).mean())


@pytest.mark.parametrize("right", [score_by_entropies, score_in_numpy])
def test_inception_score_by_another_route(right):
    accepts("11-e1", right)


def _kl(p, marginal):
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, marginal)).sum(1)


def _marginal_over_classes(p):
    return _kl(p, p.mean(1, keepdim=True)).mean().exp()


def _two_under_nats(p):
    return 2 ** _kl(p, p.mean(0)).mean()


def _exp_of_bits(p):
    return (_kl(p, p.mean(0)).mean() / math.log(2)).exp()


def _mean_of_exponentials(p):
    return _kl(p, p.mean(0)).exp().mean()


def _uniform_marginal(p):
    return _kl(p, torch.full_like(p, 1 / p.shape[1])).mean().exp()


def _geometric_marginal(p):
    return _kl(p, (p + 1e-300).log().mean(0).exp()).mean().exp()


def _summed(p):
    return _kl(p, p.mean(0)).sum().exp()


def _no_exponential(p):
    return _kl(p, p.mean(0)).mean()


def _small_number(p):
    return (p * ((p + 1e-6) / (p.mean(0) + 1e-6)).log()).sum(1).mean().exp()


def _nan_at_zero(p):
    return (p * (p / p.mean(0)).log()).sum(1).mean().exp()


def _hard_labels(p):
    hard = torch.nn.functional.one_hot(p.argmax(1), p.shape[1]).to(p.dtype)
    return _kl(hard, hard.mean(0)).mean().exp()


@_mistakes(
    (_marginal_over_classes, "one number for each class"),
    (_two_under_nats, "one number for each class"),
    (_exp_of_bits, "one number for each class"),
    (_summed, "one number for each class"),
    (_no_exponential, "one number for each class"),
    (_nan_at_zero, "one number for each class"),
    (_small_number, "one number for each class"),
    (_mean_of_exponentials, "Average the KLs first"),
    (_uniform_marginal, "one number for each class"),
    (_geometric_marginal, "one number for each class"),
    (_hard_labels, "Average the KLs first"),
)
def test_inception_score_mistakes_meet_their_hint(wrong, hint):
    rejects("11-e1", wrong, hint)


# 11-e2 frechet


def frechet_by_sqrtm(mean1, cov1, mean2, cov2):
    root = np.real(sqrtm((cov1 @ cov2).numpy() + 0j))
    traces = cov1.trace() + cov2.trace() - 2 * float(np.trace(root))
    return (mean1 - mean2).square().sum() + traces


def frechet_by_singular_values(mean1, cov1, mean2, cov2):
    roots = []
    for cov in (cov1, cov2):
        values, vectors = torch.linalg.eigh(cov)
        roots.append((vectors * values.clamp(min=0).sqrt()) @ vectors.T)
    cross = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross


def test_frechet_by_another_route():
    accepts("11-e2", frechet_by_singular_values)


def test_frechet_is_the_packages_and_scipys():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 40, 4, generator=rng, dtype=torch.float64)
    given = x.mean(0), x.T.cov(), 2 * y.mean(0) + 1, 3 * y.T.cov()
    value = float(frechet(*given))
    assert value == pytest.approx(float(frechet_by_sqrtm(*given)), rel=1e-9)
    assert value == pytest.approx(metrics.frechet_from_moments(*given), rel=1e-12)


def _root_at_the_end(*given):
    return frechet(*given).sqrt()


def _elementwise(mean1, cov1, mean2, cov2):
    cross = (cov1 @ cov2).abs().sqrt().trace()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross


def _root_of_the_trace(mean1, cov1, mean2, cov2):
    cross = (cov1 @ cov2).trace().sqrt()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross


def _of_the_deviations(mean1, cov1, mean2, cov2):
    cross = (cov1.diagonal() * cov2.diagonal()).sqrt().sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross


def _roots_apart(mean1, cov1, mean2, cov2):
    def root(cov):
        values, vectors = torch.linalg.eigh(cov)
        return (vectors * values.clamp(min=0).sqrt()) @ vectors.T

    return (mean1 - mean2).square().sum() + (root(cov1) - root(cov2)).square().sum()


def _cross_once(mean1, cov1, mean2, cov2):
    gap = (mean1 - mean2).square().sum()
    return gap + (frechet(mean1, cov1, mean2, cov2) - gap + cov1.trace() + cov2.trace()) / 2


def _means_only(mean1, cov1, mean2, cov2):
    return (mean1 - mean2).square().sum()


def _not_squared(mean1, cov1, mean2, cov2):
    gap = (mean1 - mean2).square().sum()
    return frechet(mean1, cov1, mean2, cov2) - gap + gap.sqrt()


def _symmetric_part(mean1, cov1, mean2, cov2):
    product = cov1 @ cov2
    values = torch.linalg.eigvalsh((product + product.T) / 2)
    traces = cov1.trace() + cov2.trace() - 2 * values.clamp(min=0).sqrt().sum()
    return (mean1 - mean2).square().sum() + traces


def _nan_when_singular(mean1, cov1, mean2, cov2):
    values, vectors = torch.linalg.eigh(cov1)
    root = (vectors * values.sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov2 @ root).sqrt().sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross


def _cholesky(mean1, cov1, mean2, cov2):
    L = torch.linalg.cholesky(cov1)
    cross = torch.linalg.eigvalsh(L.T @ cov2 @ L).sqrt().sum()
    return (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross


def _jitter(mean1, cov1, mean2, cov2):
    eye = 1e-3 * torch.eye(len(mean1), dtype=mean1.dtype)
    return frechet(mean1, cov1 + eye, mean2, cov2 + eye)


@_mistakes(
    (_root_at_the_end, "no root at the end"),
    (_not_squared, "no root at the end"),
    (_cross_once, "no root at the end"),
    (_elementwise, "Is its factor 2"),
    (_root_of_the_trace, "Is its factor 2"),
    (_means_only, "not the root of its entries"),
    (_of_the_deviations, "not the root of its entries"),
    (_roots_apart, "not the root of its entries"),
    (_symmetric_part, "not the root of its entries"),
    (_jitter, "not the root of its entries"),
    (_nan_when_singular, "Cut them off at 0"),
    (_cholesky, "Cut them off at 0"),
)
def test_frechet_mistakes_meet_their_hint(wrong, hint):
    rejects("11-e2", wrong, hint)


# 11-e3 equal_laws


def equal_laws_by_the_package(n, d, generator):
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return metrics.frechet_distance(x, y)


def test_equal_laws_by_another_route():
    accepts("11-e3", equal_laws_by_the_package, most=8)


def _distance(x, y):
    return frechet(x.mean(0), torch.atleast_2d(x.T.cov()), y.mean(0), torch.atleast_2d(y.T.cov()))


def _one_set_twice(n, d, generator):
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return _distance(x, x)


def _exactly_zero(n, d, generator):
    return torch.tensor(0.0)


def _against_the_law(n, d, generator):
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    eye = torch.eye(d, dtype=torch.float64)
    return frechet(x.mean(0), torch.atleast_2d(x.T.cov()), torch.zeros(d).double(), eye)


def _means_alone(n, d, generator):
    x, y = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    return (x.mean(0) - y.mean(0)).square().sum()


def _halves_of_n(n, d, generator):
    x, y = torch.randn(n, d, generator=generator, dtype=torch.float64).chunk(2)
    return _distance(x, y)


def _root(n, d, generator):
    return equal_laws(n, d, generator).sqrt()


def _own_noise(n, d, generator):
    return equal_laws(n, d, torch.Generator().manual_seed(7))


def _global_noise(n, d, generator):
    x, y = torch.randn(2, n, d, dtype=torch.float64)
    return _distance(x, y)


def _uniform_draws(n, d, generator):
    x, y = torch.rand(2, n, d, generator=generator, dtype=torch.float64)
    return _distance(x, y)


def _one_seed_for_both(n, d, generator):
    seed = int(torch.randint(1 << 30, (), generator=generator))
    x, y = (
        torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for _ in range(2)
    )
    return _distance(x, y)


@_mistakes(
    (_one_set_twice, "Two *independent* sets"),
    (_exactly_zero, "Two *independent* sets"),
    (_one_seed_for_both, "Two *independent* sets"),
    (_root, "Two *independent* sets"),
    (_against_the_law, "Both moments are noisy"),
    (_means_alone, "Both moments are noisy"),
    (_halves_of_n, "Both moments are noisy"),
    (_uniform_draws, "Both moments are noisy"),
    (_global_noise, "other seeds other ones"),
)
def test_equal_laws_mistakes_meet_their_hint(wrong, hint):
    rejects("11-e3", wrong, hint, most=8)


# 11-e4 count_copies


def copies_by_cdist(fake, train, tol):
    close = torch.zeros(len(fake), dtype=torch.bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            moved = torch.roll(train, (dy, dx), dims=(1, 2)).flatten(1)
            distance = (fake.flatten(1)[:, None] - moved).square().sum(-1).sqrt()
            close |= (distance <= tol).any(1)
    return close.sum()


def copies_in_numpy(fake, train, tol):
    fake, train = fake.numpy(), train.numpy()
    padded = np.pad(fake, ((0, 0), (1, 1), (1, 1)))
    height, width = fake.shape[1:]
    windows = [padded[:, a : a + height, b : b + width] for a in range(3) for b in range(3)]
    away = [np.sqrt(((w[:, None] - train) ** 2).sum((2, 3))).min(1) for w in windows]
    return int((np.min(away, axis=0) <= tol).sum())


@pytest.mark.parametrize("right", [copies_by_cdist, copies_in_numpy])
def test_count_copies_by_another_route(right):
    accepts("11-e4", right)


def _distances(fake, train):
    return (fake.flatten(1)[:, None] - train.flatten(1)).norm(dim=2)


def _unshifted(fake, train, tol):
    return (_distances(fake, train).amin(1) <= tol).sum()


def _in_itself(fake, train, tol):
    return count_copies(fake, fake, tol)


def _all_fakes(fake, train, tol):
    return len(fake)


def _train_images_found(fake, train, tol):
    return count_copies(train, fake, tol)


def _pairs(fake, train, tol):
    return (_distances(fake, train) <= tol).sum()


def _any_shift(fake, train, tol):
    best = torch.full((len(fake),), math.inf, dtype=fake.dtype)
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            moved = torch.roll(fake, (dy, dx), dims=(1, 2))
            best = torch.minimum(best, _distances(moved, train).amin(1))
    return (best <= tol).sum()


def _mean_over_pixels(fake, train, tol):
    return count_copies(fake, train, tol * fake[0].numel() ** 0.5)


def _no_root(fake, train, tol):
    return count_copies(fake, train, tol**0.5)


def _rows_only(fake, train, tol):
    moved = [torch.roll(fake, dy, dims=1) for dy in (-1, 0, 1)]
    best = torch.stack([_distances(m, train).amin(1) for m in moved]).amin(0)
    return (best <= tol).sum()


def _sum_of_differences(fake, train, tol):
    best = torch.full((len(fake),), math.inf, dtype=fake.dtype)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            moved = torch.roll(fake, (dy, dx), dims=(1, 2)).flatten(1)
            best = torch.minimum(best, (moved[:, None] - train.flatten(1)).abs().sum(2).amin(1))
    return (best <= tol).sum()


def _wrong_axes(fake, train, tol):
    best = torch.full((len(fake),), math.inf, dtype=fake.dtype)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            moved = torch.roll(fake, (dy, dx), dims=(0, 1))
            best = torch.minimum(best, _distances(moved, train).amin(1))
    return (best <= tol).sum()


def _as_shares(fake, train, tol):
    return count_copies(fake, train, tol) / len(fake)


@_mistakes(
    (_in_itself, "its own neighbour"),
    (_all_fakes, "its own neighbour"),
    (_as_shares, "its own neighbour"),
    (_unshifted, "try the nine shifts"),
    (_rows_only, "try the nine shifts"),
    (_wrong_axes, "its own neighbour"),
    (_pairs, "try the nine shifts"),
    (_any_shift, "Nine shifts, no more"),
    (_mean_over_pixels, "The root of the summed squares"),
    (_sum_of_differences, "The root of the summed squares"),
    (_train_images_found, "Three fakes of one training image"),
)
def test_count_copies_mistakes_meet_their_hint(wrong, hint):
    rejects("11-e4", wrong, hint)


# 11-e5 mode_report


def modes_in_numpy(x, centres, radius):
    away = np.sqrt(((x.numpy()[:, None] - centres.numpy()) ** 2).sum(-1))
    nearest = away.argmin(1)[away.min(1) <= radius]
    count = np.array([(nearest == k).sum() for k in range(len(centres))], dtype=float)
    share = count[count > 0] / count.sum()
    return int((count > 0).sum()), float((share * np.log(share * len(centres))).sum())


def test_mode_report_by_another_route():
    accepts("11-e5", modes_in_numpy)


def _shares_of(x, centres, radius):
    away, nearest = torch.cdist(x, centres).min(1)
    count = torch.bincount(nearest[away <= radius], minlength=len(centres)).double()
    return count, count / count.sum()


def _reversed_kl(x, centres, radius):
    count, share = _shares_of(x, centres, radius)
    return int((count > 0).sum()), -(share * len(centres)).log().mean()


def _nan_kl(x, centres, radius):
    count, share = _shares_of(x, centres, radius)
    return int((count > 0).sum()), (share * (share * len(centres)).log()).sum()


def _added_number(x, centres, radius):
    count, share = _shares_of(x, centres, radius)
    share = (share + 1e-3) / (share + 1e-3).sum()
    return int((count > 0).sum()), (share * (share * len(centres)).log()).sum()


def _samples_counted(x, centres, radius):
    count, _ = _shares_of(x, centres, radius)
    return int(count.sum()), mode_report(x, centres, radius)[1]


def _missing_counted(x, centres, radius):
    count, _ = _shares_of(x, centres, radius)
    return int((count == 0).sum()), mode_report(x, centres, radius)[1]


def _in_bits(x, centres, radius):
    covered, kl = mode_report(x, centres, radius)
    return covered, kl / math.log(2)


def _every_sample(x, centres, radius):
    return mode_report(x, centres, math.inf)


def _over_all_samples(x, centres, radius):
    count, _ = _shares_of(x, centres, radius)
    share = count / len(x)
    return int((count > 0).sum()), torch.special.xlogy(share, share * len(centres)).sum()


def _found_modes_only(x, centres, radius):
    _, share = _shares_of(x, centres, radius)
    found = share[share > 0]
    return len(found), torch.special.xlogy(found, found * len(found)).sum()


def _entropy(x, centres, radius):
    count, share = _shares_of(x, centres, radius)
    return int((count > 0).sum()), -torch.special.xlogy(share, share).sum()


def _first_two_coordinates(x, centres, radius):
    return mode_report(x[:, :2], centres[:, :2] * 1.0, radius)


def _at_least_two(x, centres, radius):
    count, _ = _shares_of(x, centres, radius)
    return int((count > 1).sum()), mode_report(x, centres, radius)[1]


@_mistakes(
    (_samples_counted, "Count centres with at least one"),
    (_missing_counted, "Count centres with at least one"),
    (_reversed_kl, "Reversed, an empty mode"),
    (_nan_kl, "Reversed, an empty mode"),
    (_added_number, "Reversed, an empty mode"),
    (_in_bits, "Reversed, an empty mode"),
    (_found_modes_only, "Reversed, an empty mode"),
    (_entropy, "Reversed, an empty mode"),
    (_at_least_two, "All modes covered is not all"),
    (_every_sample, "counts for no mode"),
    (_over_all_samples, "counts for no mode"),
)
def test_mode_report_mistakes_meet_their_hint(wrong, hint):
    rejects("11-e5", wrong, hint)


# 11-e6 wilson_interval


def wilson_by_scipy(hits, n):
    found = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return found.low, found.high


def wilson_by_the_roots(hits, n):
    z, share = 1.959964, hits / n
    a, b, c = 1 + z**2 / n, -(2 * share + z**2 / n), share**2
    turn = math.sqrt(max(b * b - 4 * a * c, 0))
    return (-b - turn) / (2 * a), (-b + turn) / (2 * a)


@pytest.mark.parametrize("right", [wilson_by_scipy, wilson_by_the_roots])
def test_wilson_by_another_route(right):
    accepts("11-e6", right)


def _wald(hits, n, z=1.959964):
    share = hits / n
    half = z * (share * (1 - share) / n) ** 0.5
    return share - half, share + half


def _wald_cut(hits, n):
    low, high = _wald(hits, n)
    return max(low, 0.0), min(high, 1.0)


def _one_sided(hits, n):
    return wilson_with(hits, n, 1.644854)


def _z_of_two(hits, n):
    return wilson_with(hits, n, 2.0)


def wilson_with(hits, n, z):
    share = hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return centre - half, centre + half


def _no_shrinking(hits, n):
    low, high = wilson_interval(hits, n)
    half = (high - low) / 2
    return hits / n - half, hits / n + half


def _exact_binomial(hits, n):
    found = binomtest(hits, n).proportion_ci(0.95, method="exact")
    return found.low, found.high


def _around_one_half(hits, n):
    low, high = wilson_interval(n / 2, n)
    return low, high


def _in_per_cent(hits, n):
    low, high = wilson_interval(hits, n)
    return 100 * low, 100 * high


def _exchanged(hits, n):
    low, high = wilson_interval(hits, n)
    return high, low


def _only_the_centre(hits, n):
    low, high = wilson_interval(hits, n)
    return (low + high) / 2, (low + high) / 2


def _agresti(hits, n):
    z = 1.959964
    return _wald(hits + z**2 / 2, n + z**2)


@_mistakes(
    (_wald, "leaves [0, 1] at 9 of 10"),
    (_wald_cut, "leaves [0, 1] at 9 of 10"),
    (_no_shrinking, "leaves [0, 1] at 9 of 10"),
    (_around_one_half, "leaves [0, 1] at 9 of 10"),
    (_in_per_cent, "leaves [0, 1] at 9 of 10"),
    (_exchanged, "leaves [0, 1] at 9 of 10"),
    (_only_the_centre, "leaves [0, 1] at 9 of 10"),
    (_agresti, "leaves [0, 1] at 9 of 10"),
    (_z_of_two, "z = 1.959964 for 95 %"),
    (_exact_binomial, "z = 1.959964 for 95 %"),
)
def test_wilson_mistakes_meet_their_hint(wrong, hint):
    rejects("11-e6", wrong, hint)
