"""Lesson 00: right answers by other routes pass, every known mistake meets its own hint."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical, MultivariateNormal, kl_divergence

from course_utils import distributions
from course_utils.exercises import find
from course_utils.exercises.base import judge
from course_utils.exercises.lesson00 import gaussian_condition, mc_mean
from course_utils.exercises.lesson00_divergences import gaussian_kl, jsd
from course_utils.observing import observe
from tests import prove
from tests.exercises.harness import accepts, rejects


def mc_mean_in_a_loop(f, sampler, n, generator):
    """One pass that keeps only two sums; plain floats come out."""
    values = f(sampler(n, generator)).tolist()
    mean = math.fsum(values) / n
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / n / n)


def mc_mean_in_calls_of(size):
    """The sampler called again and again with the same generator, `size` draws a time."""

    def mc_mean(f, sampler, n, generator):
        sizes = [min(size, n - done) for done in range(0, n, size)]
        values = torch.cat([f(sampler(m, generator)) for m in sizes])
        return values.mean(), values.std() / math.sqrt(n)

    return mc_mean


def mc_mean_of_two_samples(f, sampler, n, generator):
    """One sample for the mean, another one for its error bar."""
    mean = f(sampler(n, generator)).mean()
    return mean, f(sampler(n, generator)).std(correction=0) / math.sqrt(n)


def condition_by_precision(mean, cov, index, value):
    seen = torch.zeros(len(mean), dtype=torch.bool)
    seen[index] = True
    precision = torch.linalg.inv(cov)
    surprise = (value - mean[index])[torch.argsort(torch.tensor(index))]
    new = torch.linalg.inv(precision[~seen][:, ~seen])
    return mean[~seen] - new @ precision[~seen][:, seen] @ surprise, new


def kl_by_library(mean1, cov1, mean2, cov2):
    one, two = MultivariateNormal(mean1, cov1), MultivariateNormal(mean2, cov2)
    return kl_divergence(one, two)


def jsd_by_library(p, q, dx):
    """As tables: the cells' probabilities are density times width."""
    m = (p + q) / 2
    one, two, middle = (Categorical(probs=(law * dx).clamp(min=1e-300)) for law in (p, q, m))
    return (kl_divergence(one, middle) + kl_divergence(two, middle)) / 2


def jsd_by_trapezoids(p, q, dx):
    """With the rule of the lesson's integrals; 0 log 0 put right by nan_to_num."""
    m = (p + q) / 2
    sides = [torch.nan_to_num(law * torch.log(law / m)) for law in (p, q)]
    return sum(torch.trapezoid(side, dx=dx) for side in sides) / 2


def jsd_with_a_guard(p, q, dx):
    m = (p + q) / 2
    tiny = 1e-14
    sides = [law * torch.log((law + tiny) / (m + tiny)) for law in (p, q)]
    return sum(side.sum() * dx for side in sides) / 2


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        ("00-e1", mc_mean_in_a_loop),
        ("00-e1", mc_mean_in_calls_of(2000)),
        ("00-e1", mc_mean_of_two_samples),
        ("00-e2", condition_by_precision),
        ("00-e2", distributions.gaussian_condition),
        ("00-e3", kl_by_library),
        ("00-e3", distributions.gaussian_kl),
        ("00-e4", jsd_by_library),
        ("00-e4", jsd_by_trapezoids),
        ("00-e4", jsd_with_a_guard),
    ],
)
def test_other_right_routes_are_accepted(exercise, answer):
    accepts(exercise, answer)


def test_a_sampler_called_once_per_draw_is_accepted():
    exercise = find("00-e1")
    but_the_last = replace(exercise, properties=exercise.properties[:-1])  # that one is slow here
    for seed in prove.seeds("00-e1"):
        assert judge(but_the_last, mc_mean_in_calls_of(1), observe, seed).status == "PASS", seed


def test_references_equal_the_package():
    generator = torch.Generator().manual_seed(0)
    for d in (2, 3, 7):
        roots = torch.randn(2, d, d, generator=generator, dtype=torch.float64)
        cov1, cov2 = roots @ roots.mT + torch.eye(d, dtype=torch.float64)
        mean1, mean2 = torch.randn(2, d, generator=generator, dtype=torch.float64)
        kl = distributions.gaussian_kl(mean1, cov1, mean2, cov2)
        torch.testing.assert_close(gaussian_kl(mean1, cov1, mean2, cov2), kl)
        ours = gaussian_condition(mean1, cov1, [d - 1], mean2[:1])
        theirs = distributions.gaussian_condition(mean1, cov1, [d - 1], mean2[:1])
        torch.testing.assert_close(ours, theirs)


def _f_of_the_mean(f, sampler, n, generator):
    draws = sampler(n, generator)
    return f(draws.mean()), f(draws).std() / math.sqrt(n)


def _sum_instead_of_mean(f, sampler, n, generator):
    values = f(sampler(n, generator))
    return values.sum(), values.std() / math.sqrt(n)


def _one_number(f, sampler, n, generator):
    return f(sampler(n, generator)).mean()


def _sd_instead_of_se(f, sampler, n, generator):
    values = f(sampler(n, generator))
    return values.mean(), values.std()


def _over_n(f, sampler, n, generator):
    values = f(sampler(n, generator))
    return values.mean(), values.std() / n


def _four_of_them(f, sampler, n, generator):
    values = f(sampler(n, generator))
    return values.mean(), 4 * values.std() / math.sqrt(n)


def _variance_of_the_mean(f, sampler, n, generator):
    values = f(sampler(n, generator))
    return values.mean(), values.var() / n


def _spread_of_the_draws(f, sampler, n, generator):
    draws = sampler(n, generator)
    return f(draws).mean(), draws.std() / math.sqrt(n)


def _variance_over_root_n(f, sampler, n, generator):
    values = f(sampler(n, generator))
    return values.mean(), values.var() / math.sqrt(n)


def _own_chance(f, sampler, n, generator):
    values = f(sampler(n, None))
    return values.mean(), values.std() / math.sqrt(n)


def _seeded_inside(f, sampler, n, generator):
    return mc_mean(f, sampler, n, generator.manual_seed(0))


def _a_new_generator(f, sampler, n, generator):
    return mc_mean(f, sampler, n, torch.Generator())


def _without_outliers(f, sampler, n, generator):
    values = f(sampler(n, generator))
    kept = values[values < values.mean() + 4 * values.std()]
    return kept.mean(), kept.std() / math.sqrt(n)


def _clipped(f, sampler, n, generator):
    values = f(sampler(n, generator)).clamp(max=9)
    return values.mean(), values.std() / math.sqrt(n)


def _always_a_thousand(f, sampler, n, generator):
    values = f(sampler(1000, generator))
    return values.mean(), values.std() / math.sqrt(1000)


def _over_entries(f, sampler, n, generator):
    draws = sampler(n, generator)
    return f(draws).mean(), f(draws).std() / math.sqrt(draws.numel())


def _error_with_a_number_added(f, sampler, n, generator):
    mean, error = mc_mean(f, sampler, n, generator)
    return mean, error + 1e-8


def _nothing(f, sampler, n, generator):
    return None, None


def _stacked(f, sampler, n, generator):
    return torch.stack(mc_mean(f, sampler, n, generator))


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (_f_of_the_mean, "f of the mean"),
        (_sum_instead_of_mean, "f of the mean"),
        (_one_number, "compare type and shape"),
        (_sd_instead_of_se, "the spread of one draw: divide by √n"),
        (_over_n, "you divided by n, or it is a variance"),
        (_variance_of_the_mean, "you divided by n, or it is a variance"),
        (_four_of_them, "not 2 or 4"),
        (_spread_of_the_draws, "of the draws x"),
        (_variance_over_root_n, "of the draws x"),
        (_own_chance, "generator that you were given"),
        (_seeded_inside, "All replicates equal"),
        (_a_new_generator, "All replicates equal"),
        (_without_outliers, "Every draw counts"),
        (_clipped, "Every draw counts"),
        (_always_a_thousand, "mean of n draws"),
        (_over_entries, "however many entries"),
        (_error_with_a_number_added, "Nothing is added"),
        (_nothing, "compare type and shape"),
        (_stacked, "compare type and shape"),
    ],
)
def test_mc_mean_mistakes_meet_their_hint(wrong, hint):
    rejects("00-e1", wrong, hint)


def _the_observed_part(mean, cov, index, value):
    rest = [i for i in range(len(mean)) if i not in index]
    return gaussian_condition(mean, cov, rest, mean[rest])


def _prior_covariance(mean, cov, index, value):
    rest = [i for i in range(len(mean)) if i not in index]
    return gaussian_condition(mean, cov, index, value)[0], cov[rest][:, rest]


def _covariance_grows(mean, cov, index, value):
    new_mean, new_cov = gaussian_condition(mean, cov, index, value)
    rest = [i for i in range(len(mean)) if i not in index]
    return new_mean, 2 * cov[rest][:, rest] - new_cov


def _variance_multiplied(mean, cov, index, value):
    """Times the variance of what was observed, instead of over it."""
    rest = [i for i in range(len(mean)) if i not in index]
    gain = cov[rest][:, index] @ cov[index][:, index]
    return mean[rest] + gain @ (value - mean[index]), cov[rest][:, rest] - gain @ cov[index][
        :, rest
    ]


def _value_instead_of_surprise(mean, cov, index, value):
    return gaussian_condition(mean, cov, index, value + mean[index])


def _gain_without_variance(mean, cov, index, value):
    rest = [i for i in range(len(mean)) if i not in index]
    moved = mean[rest] + cov[rest][:, index] @ (value - mean[index])
    return moved, gaussian_condition(mean, cov, index, value)[1]


def _prior_mean(mean, cov, index, value):
    rest = [i for i in range(len(mean)) if i not in index]
    return mean[rest], gaussian_condition(mean, cov, index, value)[1]


def _diagonal_of_the_block(mean, cov, index, value):
    rest = [i for i in range(len(mean)) if i not in index]
    gain = cov[rest][:, index] / cov.diagonal()[index]
    return mean[rest] + gain @ (value - mean[index]), cov[rest][:, rest] - gain @ cov[index][
        :, rest
    ]


def _sorted_index(mean, cov, index, value):
    return gaussian_condition(mean, cov, sorted(index), value)


def _jitter(amount, everywhere):
    def condition_with_jitter(mean, cov, index, value):
        added = torch.zeros(len(mean), dtype=cov.dtype)
        added[slice(None) if everywhere else index] = amount
        return gaussian_condition(mean, cov + added.diag(), index, value)

    return condition_with_jitter


def _inverse_with_a_cut(mean, cov, index, value):
    rest = [i for i in range(len(mean)) if i not in index]
    gain = cov[rest][:, index] @ torch.linalg.pinv(cov[index][:, index], atol=1e-8)
    return mean[rest] + gain @ (value - mean[index]), cov[rest][:, rest] - gain @ cov[index][
        :, rest
    ]


def _standard_deviations(mean, cov, index, value):
    new_mean, new_cov = gaussian_condition(mean, cov, index, value)
    return new_mean, new_cov.abs().sqrt()


def _mean_alone(mean, cov, index, value):
    return gaussian_condition(mean, cov, index, value)[0]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (_the_observed_part, "Which entries are asked for"),
        (_prior_covariance, "Observing must shrink C"),
        (_covariance_grows, "Observing must shrink C"),
        (_variance_multiplied, "Is its variance in the denominator"),
        (_value_instead_of_surprise, "Only the surprise"),
        (_gain_without_variance, "Only the surprise"),
        (_prior_mean, "Only the surprise"),
        (_diagonal_of_the_block, "inverse of their whole block"),
        (_sorted_index, "order of index"),
        (_jitter(1e-3, everywhere=True), "nothing added."),
        (_jitter(1e-3, everywhere=False), "with nothing added?"),
        (_jitter(1e-6, everywhere=True), "a small number added?"),
        (_jitter(1e-12, everywhere=False), "added to the diagonal"),
        (_inverse_with_a_cut, "singular value cut off"),
        (_standard_deviations, "no root"),
        (_mean_alone, "compare type and shape"),
    ],
)
def test_gaussian_condition_mistakes_meet_their_hint(wrong, hint):
    rejects("00-e2", wrong, hint)


def _d_forgotten(mean1, cov1, mean2, cov2):
    return gaussian_kl(mean1, cov1, mean2, cov2) + len(mean1) / 2


def _shift_without_metric(mean1, cov1, mean2, cov2):
    shift = mean2 - mean1
    right = gaussian_kl(mean1, cov1, mean2, cov2)
    return right + 0.5 * (shift @ shift - shift @ torch.linalg.solve(cov2, shift))


def _half_forgotten(mean1, cov1, mean2, cov2):
    return 2 * gaussian_kl(mean1, cov1, mean2, cov2)


def _covariances_squared(mean1, cov1, mean2, cov2):
    return gaussian_kl(mean1, cov1 @ cov1, mean2, cov2 @ cov2)


def _swapped(mean1, cov1, mean2, cov2):
    return gaussian_kl(mean2, cov2, mean1, cov1)


def _shift_in_units_of_the_first(mean1, cov1, mean2, cov2):
    shift = mean2 - mean1
    wrong = shift @ torch.linalg.solve(cov1, shift) - shift @ torch.linalg.solve(cov2, shift)
    return gaussian_kl(mean1, cov1, mean2, cov2) + 0.5 * wrong


def _log_upside_down(mean1, cov1, mean2, cov2):
    return gaussian_kl(mean1, cov1, mean2, cov2) + torch.logdet(cov1) - torch.logdet(cov2)


def _log_without_d(mean1, cov1, mean2, cov2):
    """As on a slide: log σ2/σ1 once, whatever d."""
    log_ratio = torch.logdet(cov2) - torch.logdet(cov1)
    return gaussian_kl(mean1, cov1, mean2, cov2) - 0.5 * (1 - 1 / len(mean1)) * log_ratio


def _diagonals_only(mean1, cov1, mean2, cov2):
    shift = torch.linalg.solve(cov2, mean2 - mean1)
    var1, var2 = cov1.diagonal(), cov2.diagonal()
    distance = (mean2 - mean1) @ shift
    return 0.5 * ((var1 / var2 - 1 + (var2 / var1).log()).sum() + distance)


def _covariances_with(amount):
    def kl_with_jitter(mean1, cov1, mean2, cov2):
        added = amount * torch.eye(len(mean1), dtype=cov1.dtype)
        return gaussian_kl(mean1, cov1 + added, mean2, cov2 + added)

    return kl_with_jitter


def _logs_of_determinants(mean1, cov1, mean2, cov2):
    right = gaussian_kl(mean1, cov1, mean2, cov2)
    log_ratio = torch.logdet(cov2) - torch.logdet(cov1)
    return right + 0.5 * ((cov2.det() / cov1.det()).log() - log_ratio)


def _bits(mean1, cov1, mean2, cov2):
    return gaussian_kl(mean1, cov1, mean2, cov2) / math.log(2)


def _ratio_in_bits(mean1, cov1, mean2, cov2):
    log_ratio = torch.logdet(cov2) - torch.logdet(cov1)
    right = gaussian_kl(mean1, cov1, mean2, cov2)
    return right + 0.5 * (1 / math.log(2) - 1) * log_ratio


def _ratio_not_halved(mean1, cov1, mean2, cov2):
    log_ratio = torch.logdet(cov2) - torch.logdet(cov1)
    return gaussian_kl(mean1, cov1, mean2, cov2) + 0.5 * log_ratio


def _d_once(mean1, cov1, mean2, cov2):
    return gaussian_kl(mean1, cov1, mean2, cov2) + 0.5 * (len(mean1) - 1)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (_d_once, "what takes it away"),
        (_bits, "In nats"),
        (_ratio_in_bits, "is natural"),
        (_ratio_not_halved, "and halved"),
        (_covariances_with(1e-3), "nothing added to a covariance"),
        (_covariances_with(1e-7), "a small number added?"),
        (_logs_of_determinants, "leaves the range of floats"),
        (_d_forgotten, "what takes it away"),
        (_shift_without_metric, "where is the 1/2"),
        (_half_forgotten, "where is the 1/2"),
        (_covariances_squared, "where is the 1/2"),
        (_swapped, "Which law do you average over"),
        (_log_upside_down, "which sign has the log ratio"),
        (_shift_in_units_of_the_first, "The second law's"),
        (_log_without_d, "3 times the d = 1 value"),
        (_diagonals_only, "whole matrices"),
    ],
)
def test_gaussian_kl_mistakes_meet_their_hint(wrong, hint):
    rejects("00-e3", wrong, hint)


def _kl(p, m, dx):
    return (torch.xlogy(p, p) - torch.xlogy(p, m)).sum() * dx


def _middle_is_a_sum(p, q, dx):
    return 0.5 * (_kl(p, p + q, dx) + _kl(q, p + q, dx))


def _zero_times_log_zero(p, q, dx):
    m = (p + q) / 2
    return 0.5 * ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) * dx


def _mean_of_both_kls(p, q, dx):
    return 0.5 * (_kl(p, q, dx) + _kl(q, p, dx))


def _no_half(p, q, dx):
    return 2 * jsd(p, q, dx)


def _base_two(p, q, dx):
    return jsd(p, q, dx) / math.log(2)


def _its_square_root(p, q, dx):
    return jsd(p, q, dx).clamp(min=0).sqrt()


def _only_where_both_are(p, q, dx):
    both = (p > 0) & (q > 0)
    return jsd(p[both], q[both], dx)


def _one_sided(p, q, dx):
    return _kl(p, (p + q) / 2, dx)


def _no_dx(p, q, dx):
    return jsd(p, q, 1.0)


def _dx_twice(p, q, dx):
    return jsd(p, q, dx) * dx


def _guarded(amount):
    def jsd_with_a_guard(p, q, dx):
        m = (p + q) / 2
        sides = [law * torch.log((law + amount) / (m + amount)) for law in (p, q)]
        return sum(side.sum() * dx for side in sides) / 2

    return jsd_with_a_guard


def _clamped(p, q, dx):
    return jsd(p.clamp(min=1e-8), q.clamp(min=1e-8), dx)


def _upside_down(p, q, dx):
    return -jsd(p, q, dx)


def _mean_for_the_sum(p, q, dx):
    return jsd(p, q, dx) / len(p)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (_guarded(1e-3), "small number was added"),
        (_guarded(1e-8), "a small number added?"),
        (_guarded(1e-10), "a small number added?"),
        (_clamped, "a small number added?"),
        (_upside_down, "upside down"),
        (_mean_for_the_sum, "2 log 2"),
        (_middle_is_a_sum, "is your m an average"),
        (_zero_times_log_zero, "0 · log 0"),
        (_mean_of_both_kls, "0 · log 0"),
        (_no_half, "2 log 2"),
        (_base_two, "base 2"),
        (_its_square_root, "square root"),
        (_only_where_both_are, "left out"),
        (_one_sided, "Swap p and q"),
        (_no_dx, "where is dx"),
        (_dx_twice, "where is dx"),
    ],
)
def test_jsd_mistakes_meet_their_hint(wrong, hint):
    rejects("00-e4", wrong, hint)
