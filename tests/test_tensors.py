"""Shape helpers, and the run-time checker of shapes that the tests install."""

import pytest
import torch

from course_utils import diffusion, gan, metrics, shapes, vae
from course_utils.diffusion import NoiseSchedule
from course_utils.distributions import kl_to_standard_normal
from course_utils.exercises import find
from course_utils.tensors import right_expand, sum_per_example


def test_sum_per_example_keeps_the_batch():
    values = torch.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(sum_per_example(values), torch.tensor([66.0, 210.0]))
    assert torch.equal(sum_per_example(torch.arange(3.0)), torch.arange(3.0))


def test_right_expand_serves_points_and_images():
    t = torch.arange(4.0)
    assert right_expand(t, torch.zeros(4, 2)).shape == (4, 1)
    assert right_expand(t, torch.zeros(4, 3, 8, 8)).shape == (4, 1, 1, 1)
    with pytest.raises(ValueError, match=r"\(4, 1\) to the rank of \(4,\)"):
        right_expand(t[:, None], t)


def test_a_shape_that_would_broadcast_is_refused():
    with pytest.raises(Exception, match=r"log_var"):
        kl_to_standard_normal(torch.zeros(4, 2), torch.zeros(4, 1))


CHAIN, T = NoiseSchedule.linear(10), torch.full((4,), 3)
FIRST, LAST = torch.zeros(4, 1, 8, 8), torch.zeros(4, 8, 8, 1)  # where the channel stands
PAIR, COLUMN, TWICE = torch.zeros(4), torch.zeros(4, 1), torch.zeros(4, 2, 8, 8)
SWAPPED = {
    "reparameterise": lambda: vae.reparameterise(COLUMN, PAIR, COLUMN),
    "reparameterise, S draws": lambda: vae.reparameterise(COLUMN, COLUMN, torch.zeros(5, 4, 2)),
    "gaussian_log_likelihood": lambda: vae.gaussian_log_likelihood(LAST, FIRST, 1.0),
    "gaussian, no channel": lambda: vae.gaussian_log_likelihood(LAST[..., 0], FIRST, 1.0),
    "levels": lambda: vae.levels_log_likelihood(LAST, FIRST[..., None].expand(4, 1, 8, 8, 2)),
    "discriminator_loss": lambda: gan.discriminator_loss(PAIR, COLUMN),
    "relativistic_loss": lambda: gan.relativistic_loss(COLUMN, PAIR),
    "frechet": lambda: metrics.frechet_from_moments(PAIR, torch.eye(4), COLUMN, torch.eye(4)),
    "q_sample": lambda: diffusion.q_sample(CHAIN, LAST, T, FIRST),
    "q_posterior": lambda: diffusion.q_posterior(CHAIN, LAST, FIRST, T),
    "predict_x0": lambda: diffusion.predict_x0(CHAIN, LAST, T, FIRST),
    "mean_from_eps": lambda: diffusion.mean_from_eps(CHAIN, LAST, T, FIRST),
    "simple_loss": lambda: diffusion.simple_loss(lambda x, t: x, CHAIN, LAST, T, FIRST),
    "bound_term": lambda: diffusion.bound_term(CHAIN, LAST, LAST, T, FIRST, torch.ones(1)),
    "p_sample": lambda: diffusion.p_sample(CHAIN, FIRST, FIRST, T, LAST),
    "06-e4": lambda: find("06-e4").reference(LAST, FIRST, COLUMN, COLUMN, 1.0),
    "12-e4": lambda: find("12-e4").reference(COLUMN, 1.0, torch.zeros(4, 3), 1.0),
}


@pytest.mark.parametrize("call", SWAPPED.values(), ids=SWAPPED)
def test_two_layouts_never_broadcast(as_a_user, call):
    with pytest.raises(ValueError, match=r"\(4,?.*\).*\(4,.*\).*; legal: one shape"):
        call()


def test_other_shapes_than_one_image_each_are_named(as_a_user):
    with pytest.raises(ValueError, match=r"images \(4, 8, 8, 3\); legal: \(N, 3, S, S\)"):
        shapes.read_factors(torch.zeros(4, 8, 8, 3))
    with pytest.raises(ValueError, match=r"gave \(4, 2, 8, 8\) for x \(4, 2, 8, 8\)"):
        diffusion.hybrid_loss(lambda x, t: x, CHAIN, TWICE, T, TWICE)  # no v beside the eps
