"""Lesson 08: right answers by other routes pass, every known mistake meets its own hint."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch.nn.functional import logsigmoid, softplus

from course_utils.exercises import find
from tests.exercises.harness import accepts, rejects

(
    optimal_discriminator,
    minimax_value,
    jsd_and_value,
    generator_gradients,
    non_saturating_gradient,
    bilinear_game,
) = (find(f"08-e{number}").reference for number in range(1, 7))


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


# 08-e1 optimal_discriminator


def best_d_by_one_exponential(log_p, log_p_g):
    return 1 / (1 + (log_p_g - log_p).exp())


def best_d_by_softmax(log_p, log_p_g):
    return torch.stack([log_p, log_p_g]).softmax(0)[0]


def best_d_in_numpy(log_p, log_p_g):
    return np.exp(log_p.numpy() - np.logaddexp(log_p.numpy(), log_p_g.numpy()))


@pytest.mark.parametrize("right", [best_d_by_one_exponential, best_d_by_softmax, best_d_in_numpy])
def test_optimal_discriminator_by_another_route(right):
    accepts("08-e1", right)


def test_optimal_discriminator_wins_a_grid_search():
    log_p, log_p_g = torch.randn(2, 20, generator=torch.Generator().manual_seed(0)).double()
    D = torch.linspace(0, 1, 10_001).double()[1:-1, None]  # (9999, 1)
    best = D[(log_p.exp() * D.log() + log_p_g.exp() * (1 - D).log()).argmax(0), 0]
    torch.testing.assert_close(optimal_discriminator(log_p, log_p_g), best, atol=1e-4, rtol=0)


def _ratio(log_p, log_p_g):
    return (log_p - log_p_g).exp()


def _logit(log_p, log_p_g):
    return log_p - log_p_g


def _over_the_mixture(log_p, log_p_g):
    return 2 * torch.sigmoid(log_p - log_p_g)


def _logarithms_as_densities(log_p, log_p_g):
    return log_p / (log_p + log_p_g)


def _generator_on_top(log_p, log_p_g):
    return torch.sigmoid(log_p_g - log_p)


def _hard_decision(log_p, log_p_g):
    return torch.where(log_p > log_p_g, 1 - 1e-6, 1e-6)


def _real_counts_twice(log_p, log_p_g):
    return torch.sigmoid(log_p - log_p_g + math.log(2))


def _squares(log_p, log_p_g):
    return torch.sigmoid(2 * (log_p - log_p_g))


def _densities_underflow(log_p, log_p_g):
    return log_p.exp() / (log_p.exp() + log_p_g.exp())


def _exp_over_one_plus_exp(log_p, log_p_g):
    odds = (log_p - log_p_g).exp()
    return odds / (1 + odds)


def _clamped_probability(log_p, log_p_g):
    return torch.sigmoid(log_p - log_p_g).clamp(1e-4, 1 - 1e-4)


def _number_added_to_the_odds(log_p, log_p_g):
    return 1 / (1 + (log_p_g - log_p).exp() + 1e-8)


def _in_a_loop_over_rows(log_p, log_p_g):
    pairs = zip(log_p, log_p_g, strict=True)
    return torch.stack([torch.sigmoid(a - b) for a, b in pairs]).flatten()


def _one_half(log_p, log_p_g):
    return torch.full_like(log_p, 0.5)


@_mistakes(
    (_one_half, "both of which count"),
    (_exp_over_one_plus_exp, "inf/inf NaN"),
    (_clamped_probability, "no clamp"),
    (_number_added_to_the_odds, "was a small number added?"),
    (_in_a_loop_over_rows, "the form"),
    (_ratio, "must stay in (0, 1)"),
    (_logit, "must stay in (0, 1)"),
    (_over_the_mixture, "must stay in (0, 1)"),
    (_logarithms_as_densities, "must stay in (0, 1)"),
    (_generator_on_top, "Where only real data live, D should be 1"),
    (_hard_decision, "in doubt"),
    (_real_counts_twice, "in doubt"),
    (_squares, "derivative"),
    (_densities_underflow, "0/0 is NaN"),
)
def test_optimal_discriminator_mistakes_meet_their_hint(wrong, hint):
    rejects("08-e1", wrong, hint)


# 08-e2 minimax_value


def value_by_softplus_and_trapezoids(p, p_g, logit, dx):
    return torch.trapezoid(-p * softplus(-logit) - p_g * softplus(logit), dx=dx)


def value_in_numpy(p, p_g, logit, dx):
    p, p_g, logit = p.numpy(), p_g.numpy(), logit.numpy()
    return -dx * (p @ np.logaddexp(0, -logit) + p_g @ np.logaddexp(0, logit))


@pytest.mark.parametrize("right", [value_by_softplus_and_trapezoids, value_in_numpy])
def test_minimax_value_by_another_route(right):
    accepts("08-e2", right)


def _value(p, p_g, D, dx):
    return (p * D.log() + p_g * (1 - D).log()).sum() * dx


def _logit_as_probability(p, p_g, logit, dx):
    return _value(p, p_g, logit, dx)


def _fakes_rewarded_for_d(p, p_g, logit, dx):
    return ((p + p_g) * logsigmoid(logit)).sum() * dx


def _fakes_subtracted(p, p_g, logit, dx):
    return (p * logsigmoid(logit) - p_g * logsigmoid(-logit)).sum() * dx


def _no_dx(p, p_g, logit, dx):
    return minimax_value(p, p_g, logit, 1.0)


def _mean_over_the_grid(p, p_g, logit, dx):
    return minimax_value(p, p_g, logit, 1 / len(p))


def _laws_swapped(p, p_g, logit, dx):
    return minimax_value(p_g, p, logit, dx)


def _loss_instead_of_value(p, p_g, logit, dx):
    return -minimax_value(p, p_g, logit, dx)


def _saturates(p, p_g, logit, dx):
    return _value(p, p_g, torch.sigmoid(logit), dx)


def _a_value_per_point(p, p_g, logit, dx):
    return (p * logsigmoid(logit) + p_g * logsigmoid(-logit)) * dx


def _value_in_bits(p, p_g, logit, dx):
    return minimax_value(p, p_g, logit, dx) / math.log(2)


def _number_in_the_logs(p, p_g, logit, dx):
    D = torch.sigmoid(logit)
    return (p * (D + 1e-4).log() + p_g * (1 - D + 1e-4).log()).sum() * dx


def _tiny_number_in_the_logs(p, p_g, logit, dx):
    D = torch.sigmoid(logit)
    return (p * (D + 1e-12).log() + p_g * (1 - D + 1e-12).log()).sum() * dx


@_mistakes(
    (_value_in_bits, "In nats"),
    (_number_in_the_logs, "with nothing added inside."),
    (_tiny_number_in_the_logs, "function for the logarithm of a sigmoid"),
    (_logit_as_probability, "logarithm of a negative number"),
    (_no_dx, "refine the grid"),
    (_mean_over_the_grid, "refine the grid"),
    (_laws_swapped, "which density weighs which"),
    (_loss_instead_of_value, "which density weighs which"),
    (_fakes_rewarded_for_d, "The fake part rewards 1 - D"),
    (_fakes_subtracted, "The fake part rewards 1 - D"),
    (_saturates, "-inf"),
    (_a_value_per_point, "the form"),
)
def test_minimax_value_mistakes_meet_their_hint(wrong, hint):
    rejects("08-e2", wrong, hint)


# 08-e3 jsd_and_value


def pair_through_the_game(p, p_g, dx):
    """The value of the game at the best logit, and the JSD from it: the identity read backwards."""
    logit = (p + 1e-300).log() - (p_g + 1e-300).log()
    value = minimax_value(p, p_g, logit, dx)
    return (value + math.log(4)) / 2, value


def pair_by_entropies(p, p_g, dx):
    """H(m) - (H(p) + H(p_g)) / 2."""
    jsd = dx * (torch.special.entr((p + p_g) / 2) - torch.special.entr(p) / 2)
    jsd = (jsd - dx * torch.special.entr(p_g) / 2).sum()
    return jsd, 2 * jsd - 2 * math.log(2)


def pair_by_scipy(p, p_g, dx):
    jsd = float(jensenshannon(p.numpy(), p_g.numpy())) ** 2
    return [jsd, 2 * jsd - math.log(4)]


def pair_with_a_small_number_in_the_logs(p, p_g, dx):
    def kl(q):
        return (q * ((q + 1e-8) / ((p + p_g) / 2 + 1e-8)).log()).sum() * dx

    return _value_of((kl(p) + kl(p_g)) / 2)


@pytest.mark.parametrize(
    "right",
    [
        pair_through_the_game,
        pair_by_entropies,
        pair_by_scipy,
        pair_with_a_small_number_in_the_logs,
    ],
)
def test_jsd_and_value_by_another_route(right):
    accepts("08-e3", right)


def _value_of(jsd):
    return jsd, 2 * jsd - math.log(4)


def _kl(p, q, dx):
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum() * dx


def _sum_called_jsd(p, p_g, dx):
    return _value_of(2 * jsd_and_value(p, p_g, dx)[0])


def _sum_in_the_value(p, p_g, dx):
    jsd, _ = jsd_and_value(p, p_g, dx)
    return jsd, 4 * jsd - math.log(4)


def _j_once(p, p_g, dx):
    jsd, _ = jsd_and_value(p, p_g, dx)
    return jsd, jsd - math.log(4)


def _only_log_2(p, p_g, dx):
    jsd, _ = jsd_and_value(p, p_g, dx)
    return jsd, 2 * jsd - math.log(2)


def _sign_of_the_value(p, p_g, dx):
    jsd, _ = jsd_and_value(p, p_g, dx)
    return jsd, math.log(4) - 2 * jsd


def _m_is_the_sum(p, p_g, dx):
    return _value_of((_kl(p, p + p_g, dx) + _kl(p_g, p + p_g, dx)) / 2)


def _one_direction(p, p_g, dx):
    return _value_of(_kl(p, (p + p_g) / 2, dx))


def _zero_times_log_zero(p, p_g, dx):
    m = (p + p_g) / 2
    return _value_of((p * (p / m).log() + p_g * (p_g / m).log()).sum() * dx / 2)


def _symmetric_kl(p, p_g, dx):
    return _value_of((_kl(p, p_g, dx) + _kl(p_g, p, dx)) / 2)


def _jsd_without_dx(p, p_g, dx):
    return jsd_and_value(p, p_g, 1.0)


def _jsd_as_a_mean(p, p_g, dx):
    return jsd_and_value(p, p_g, 1 / len(p))


def _pair_exchanged(p, p_g, dx):
    return jsd_and_value(p, p_g, dx)[::-1]


def _value_alone(p, p_g, dx):
    return jsd_and_value(p, p_g, dx)[1]


def _jsd_in_bits(p, p_g, dx):
    return _value_of(jsd_and_value(p, p_g, dx)[0] / math.log(2))


def _root_of_the_jsd(p, p_g, dx):
    return _value_of(jsd_and_value(p, p_g, dx)[0].clamp(min=0).sqrt())


def _nothing_is_apart(p, p_g, dx):
    return 0.0, 0.0


@_mistakes(
    (_jsd_in_bits, "bits make it 1"),
    (_root_of_the_jsd, "JSD never exceeds"),
    (_nothing_is_apart, "needs its dx"),
    (_jsd_without_dx, "needs its dx"),
    (_jsd_as_a_mean, "needs its dx"),
    (_m_is_the_sum, "your m integrate to 1"),
    (_pair_exchanged, "first of the pair"),
    (_zero_times_log_zero, "0 times -inf"),
    (_symmetric_kl, "compared with m"),
    (_sum_called_jsd, "that sum is already 2 JSD (E07)"),
    (_one_direction, "both densities count alike"),
    (_only_log_2, "the best D is 1/2"),
    (_sign_of_the_value, "the best D is 1/2"),
    (_j_once, "Disjoint laws must give 0"),
    (_sum_in_the_value, "Disjoint laws must give 0"),
    (_value_alone, "the form"),
)
def test_jsd_and_value_mistakes_meet_their_hint(wrong, hint):
    rejects("08-e3", wrong, hint)


# 08-e4 generator_gradients


def gradients_by_autograd(logit):
    a = logit.clone().requires_grad_()
    losses = logsigmoid(-a).sum(), -logsigmoid(a).sum()
    return tuple(torch.autograd.grad(loss, a)[0] for loss in losses)


def gradients_from_d(logit):
    D = 1 / (1 + (-logit).exp())
    return torch.stack([-D, D - 1])


@pytest.mark.parametrize("right", [gradients_by_autograd, gradients_from_d])
def test_generator_gradients_by_another_route(right):
    accepts("08-e4", right)


def _derivative_in_d(logit):
    D = torch.sigmoid(logit)
    return -1 / (1 - D), -1 / D


def _ascends(logit):
    return torch.sigmoid(logit), torch.sigmoid(-logit)


def _log_d_without_its_minus(logit):
    return -torch.sigmoid(logit), torch.sigmoid(-logit)


def _the_losses(logit):
    return logsigmoid(-logit), -logsigmoid(logit)


def _slopes_exchanged(logit):
    return generator_gradients(logit)[::-1]


def _one_slope_for_both(logit):
    return -torch.sigmoid(logit), -torch.sigmoid(logit)


def _half_the_chain(logit):
    D = torch.sigmoid(logit)
    return -D * (1 - D), -(1 - D)


def _exp_overflows(logit):
    D = logit.exp() / (1 + logit.exp())
    return -D, D - 1


def _autograd_of_log_sigmoid(logit):
    a = logit.clone().requires_grad_()
    D = torch.sigmoid(a)
    losses = (1 - D).log().sum(), -D.log().sum()
    return tuple(torch.autograd.grad(loss, a, retain_graph=True)[0] for loss in losses)


def _mean_over_the_batch(logit):
    return tuple(slope.mean() for slope in generator_gradients(logit))


def _saturating_alone(logit):
    return -torch.sigmoid(logit)


def _slopes_of_the_mean(logit):
    return tuple(slope / logit.numel() for slope in generator_gradients(logit))


def _number_added_in_the_log(logit):
    D = torch.sigmoid(logit)
    return -D * (1 - D) / (1 - D + 1e-3), -D * (1 - D) / (D + 1e-3)


def _slopes_at_even_odds(logit):
    return torch.full_like(logit, -0.5), torch.full_like(logit, -0.5)


@_mistakes(
    (_slopes_of_the_mean, "the gradient of a mean"),
    (_number_added_in_the_log, "a number added in the log"),
    (_slopes_at_even_odds, "The generator descends"),
    (_ascends, "The generator descends"),
    (_log_d_without_its_minus, "The generator descends"),
    (_the_losses, "The generator descends"),
    (_derivative_in_d, "chain through the sigmoid"),
    (_slopes_exchanged, "the saturating one"),
    (_one_slope_for_both, "the saturating one"),
    (_half_the_chain, "one factor cancels"),
    (_exp_overflows, "exp(1000) is inf"),
    (_autograd_of_log_sigmoid, "exp(1000) is inf"),
    (_mean_over_the_batch, "the form"),
    (_saturating_alone, "the form"),
)
def test_generator_gradients_mistakes_meet_their_hint(wrong, hint):
    rejects("08-e4", wrong, hint)


# 08-e5 non_saturating_gradient


def _log_ratio(theta, s2, x):
    """Logit of D*: log p - log p_g."""
    return 0.5 * ((x - theta) ** 2 / s2 + math.log(s2) - x**2)


def _p_g(theta, s2, x):
    return torch.exp(-0.5 * (x - theta) ** 2 / s2) / math.sqrt(2 * math.pi * s2)


def gradient_by_the_score(theta, s2, x, dx):
    """E[-log D* times d/dtheta log p_g], as REINFORCE has it."""
    cost = softplus(-_log_ratio(theta, s2, x))
    return (_p_g(theta, s2, x) * cost * (x - theta) / s2).sum() * dx


def gradient_by_moving_points(theta, s2, x, dx):
    """E[d/dx of -log D*]: the grid's points are samples that move with theta."""
    slope = (x - theta) / s2 - x
    return (_p_g(theta, s2, x) * -torch.sigmoid(-_log_ratio(theta, s2, x)) * slope).sum() * dx


def gradient_by_finite_differences(theta, s2, x, dx):
    cost = softplus(-_log_ratio(theta, s2, x)).numpy()
    up, down = ((_p_g(theta + h, s2, x).numpy() @ cost) * dx for h in (1e-4, -1e-4))
    return (up - down) / 2e-4


@pytest.mark.parametrize(
    "right", [gradient_by_the_score, gradient_by_moving_points, gradient_by_finite_differences]
)
def test_non_saturating_gradient_by_another_route(right):
    accepts("08-e5", right)


def _autograd(theta, s2, x, dx, loss):
    """Gradient of the sum of loss(p_g, logit) dx."""
    shift = torch.tensor(theta, dtype=x.dtype, requires_grad=True)
    value = loss(_p_g(shift, s2, x), _log_ratio(shift, s2, x)).sum() * dx
    return torch.autograd.grad(value, shift)[0]


def _saturating(theta, s2, x, dx):
    return _autograd(theta, s2, x, dx, lambda p_g, logit: p_g * logsigmoid(-logit.detach()))


def _gradient_of_2_jsd(theta, s2, x, dx):
    shift = torch.tensor(theta, dtype=x.dtype, requires_grad=True)
    jsd, _ = jsd_and_value(_p_g(torch.zeros(()).double(), 1.0, x), _p_g(shift, s2, x), dx)
    return torch.autograd.grad(2 * jsd, shift)[0]


def _d_optimised_inside(theta, s2, x, dx):
    return _autograd(theta, s2, x, dx, lambda p_g, logit: -p_g * logsigmoid(logit))


def _log_d_descends(theta, s2, x, dx):
    return -non_saturating_gradient(theta, s2, x, dx)


def _d_of_the_fakes(theta, s2, x, dx):
    return _autograd(theta, s2, x, dx, lambda p_g, logit: -p_g * logsigmoid(-logit.detach()))


def _gradient_without_dx(theta, s2, x, dx):
    return non_saturating_gradient(theta, s2, x, 1.0)


def _s2_as_sd(theta, s2, x, dx):
    return non_saturating_gradient(theta, s2**2, x, dx)


def _s2_not_in_the_constant(theta, s2, x, dx):
    logit = _log_ratio(theta, s2, x) - 0.5 * math.log(s2)
    return (_p_g(theta, s2, x) * softplus(-logit) * (x - theta) / s2).sum() * dx


def _a_slope_per_point(theta, s2, x, dx):
    return _p_g(theta, s2, x) * softplus(-_log_ratio(theta, s2, x)) * (x - theta) / s2 * dx


def _log_d_plus(small):
    def answer(theta, s2, x, dx):
        D = torch.sigmoid(_log_ratio(theta, s2, x))
        return (_p_g(theta, s2, x) * -(D + small).log() * (x - theta) / s2).sum() * dx

    answer.__name__ = f"_log_d_plus_{small:g}"
    return answer


@_mistakes(
    (_log_d_plus(1e-6), "a number added in the log"),
    (_log_d_plus(1e-12), "a number added in the log"),
    (_log_d_descends, "away from the data"),
    (_d_of_the_fakes, "away from the data"),
    (_gradient_without_dx, "refine the grid"),
    (_saturating, "which loss has log D?"),
    (_gradient_of_2_jsd, "which loss has log D?"),
    (_d_optimised_inside, "Freeze D* before differentiating"),
    (_s2_as_sd, "s2 is a variance"),
    (_s2_not_in_the_constant, "normalising constant"),
    (_a_slope_per_point, "the form"),
)
def test_non_saturating_gradient_mistakes_meet_their_hint(wrong, hint):
    rejects("08-e5", wrong, hint)


# 08-e6 bilinear_game


def game_by_matrices(start, eta, n, alternating):
    x_first = torch.tensor([[1.0, -eta], [0.0, 1.0]], dtype=start.dtype)
    y_then = torch.tensor([[1.0, 0.0], [eta, 1.0]], dtype=start.dtype)
    both = torch.tensor([[1.0, -eta], [eta, 1.0]], dtype=start.dtype)
    step = y_then @ x_first if alternating else both
    return torch.stack([torch.linalg.matrix_power(step, k) @ start for k in range(n + 1)])


def game_in_place(start, eta, n, alternating):
    points = np.empty((n + 1, 2))
    points[0] = x, y = start.tolist()
    for row in points[1:]:
        old = x
        x -= eta * y
        y += eta * (x if alternating else old)
        row[:] = x, y
    return points


@pytest.mark.parametrize("right", [game_by_matrices, game_in_place])
def test_bilinear_game_by_another_route(right):
    accepts("08-e6", right)


def _play(step):
    """A game whose steps are `step(x, y, eta, alternating)`, a new (x, y)."""

    def game(start, eta, n, alternating):
        points = [start]
        for _ in range(n):
            points.append(torch.stack(step(*points[-1], eta, alternating)))
        return torch.stack(points)

    game.__name__ = step.__name__
    return game


@_play
def _always_simultaneous(x, y, eta, alternating):
    return x - eta * y, y + eta * x


@_play
def _always_alternating(x, y, eta, alternating):
    x = x - eta * y
    return x, y + eta * x


@_play
def _y_first(x, y, eta, alternating):
    new_y = y + eta * x
    return x - eta * (new_y if alternating else y), new_y


@_play
def _both_descend(x, y, eta, alternating):
    return x - eta * y, y - eta * (x - eta * y if alternating else x)


@_play
def _roles_exchanged(x, y, eta, alternating):
    return x + eta * y, y - eta * (x + eta * y if alternating else x)


@_play
def _own_coordinate(x, y, eta, alternating):
    return x - eta * x, y + eta * y


@_play
def _one_player_a_step(x, y, eta, alternating):
    return (x - eta * y, y) if alternating else (x - eta * y, y + eta * x)


def _modes_swapped(start, eta, n, alternating):
    return bilinear_game(start, eta, n, not alternating)


def _start_left_out(start, eta, n, alternating):
    return bilinear_game(start, eta, n, alternating)[1:]


def _begins_after_a_step(start, eta, n, alternating):
    return bilinear_game(start, eta, n + 1, alternating)[1:]


def _the_same_tensor_again(start, eta, n, alternating):
    point = start.clone()
    points = [point]
    for _ in range(n):
        x = point[0].clone()
        point[0] -= eta * point[1]
        point[1] += eta * (point[0] if alternating else x)
        points.append(point)
    return torch.stack(points)


def _never_moves(start, eta, n, alternating):
    return start.expand(n + 1, 2)


@_mistakes(
    (_never_moves, "x goes down (min)"),
    (_start_left_out, "the form"),
    (_begins_after_a_step, "Keep every point"),
    (_the_same_tensor_again, "Keep every point"),
    (_both_descend, "x goes down (min)"),
    (_roles_exchanged, "x goes down (min)"),
    (_own_coordinate, "x goes down (min)"),
    (_one_player_a_step, "moves both players"),
    (_modes_swapped, "does y use the new x? Here it must not"),
    (_always_alternating, "does y use the new x? Here it must not"),
    (_always_simultaneous, "does y use the new x? Here it must."),
    (_y_first, "x moves first"),
)
def test_bilinear_game_mistakes_meet_their_hint(wrong, hint):
    rejects("08-e6", wrong, hint)


# The map's numbers


def test_the_lessons_laws_have_the_maps_numbers():
    x, dx = torch.linspace(-12, 14, 2601, dtype=torch.float64), 0.01
    p, p_g = _p_g(0, 1, x), _p_g(1.5, 0.49, x)
    logit = _log_ratio(1.5, 0.49, x)
    values = [float(minimax_value(p, p_g, logit + a, dx)) for a in (-0.5, 0, 0.5)]
    assert [round(value, 4) for value in values] == [-0.8424, -0.8108, -0.8442]
    jsd, value = map(float, jsd_and_value(p, p_g, dx))
    assert (round(jsd, 6), round(value, 6)) == (0.287769, -0.810757)
    assert value == pytest.approx(values[1], abs=1e-12)
    assert round(float(optimal_discriminator(p[1200].log(), p_g[1200].log())), 4) == 0.8743
    assert round(float(non_saturating_gradient(1.5, 0.49, x, dx)), 6) == 0.975630
    assert round(float(_saturating(1.5, 0.49, x, dx)), 6) == 0.524370
    assert round(float(_gradient_of_2_jsd(1.5, 0.49, x, dx)), 6) == 0.524370


def test_the_slopes_have_the_maps_numbers():
    saturating, other = generator_gradients(torch.tensor([0.001]).double().logit())
    assert (round(float(saturating), 3), round(float(other), 3)) == (-0.001, -0.999)


def test_the_bilinear_game_has_the_maps_numbers():
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    spiral, orbit = (bilinear_game(start, 0.1, 1000, mode).norm(dim=1) for mode in (False, True))
    assert round(float(spiral[-1]), 2) == 144.77
    assert round(float(orbit.max()), 3) == 1.026
    ratio = math.sqrt(1.05 / 0.95)  # the longest axis of the ellipse by the shortest
    assert round(ratio, 4) == 1.0513
    angles = torch.linspace(0, math.pi, 181, dtype=torch.float64)
    starts = torch.stack([angles.cos(), angles.sin()], 1)
    worst = max(float(bilinear_game(s, 0.1, 200, True).norm(dim=1).max()) for s in starts)
    assert 1.05 < worst <= ratio
    assert float(bilinear_game(start, 2.1, 100, True).norm(dim=1)[-1]) > 1e3
