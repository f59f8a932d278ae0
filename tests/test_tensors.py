"""Shape helpers, and the run-time checker of shapes that the tests install."""

import pytest
import torch

from course_utils.distributions import kl_to_standard_normal
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
