"""Lesson 03: right answers by other routes pass, every known mistake meets its own hint."""

import math

import numpy as np
import pytest
import torch

from course_utils import flow_matching, flows
from course_utils.exercises import find
from course_utils.exercises.base import judge
from course_utils.observing import observe
from tests.exercises.harness import accepts, rejects

flow_log_prob, affine_coupling, conv1x1_log_det, hutchinson_trace = (
    find(f"03-e{number}").reference for number in range(1, 5)
)
FEW = 8  # for 03-e4, a tenth of a second a verdict


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


# 03-e1 flow_log_prob


def in_a_loop(x, first, second, base):
    total = torch.zeros(len(x), dtype=x.dtype)
    for layer in (first, second):
        x, log_det = layer(x)
        total += log_det
    return total + base(x)


def by_the_package(x, first, second, base):
    class Layer(torch.nn.Module):
        def __init__(self, f):
            super().__init__()
            self.f = f

        def forward(self, x):
            return self.f(x)

    z, log_det = flows.Flow([Layer(first), Layer(second)])(x)
    return log_det + base(z)


@pytest.mark.parametrize("right", [in_a_loop, by_the_package])
def test_flow_log_prob_by_another_route(right):
    accepts("03-e1", right)


def _parts(x, first, second):
    y, a = first(x)
    z, b = second(y)
    return y, z, a, b


def _minus_log_det(x, first, second, base):
    _, z, a, b = _parts(x, first, second)
    return base(z) - a - b


def _no_log_det(x, first, second, base):
    return base(_parts(x, first, second)[1])


def _base_at_x(x, first, second, base):
    _, _, a, b = _parts(x, first, second)
    return base(x) + a + b


def _both_at_x(x, first, second, base):
    _, z, a, _ = _parts(x, first, second)
    return base(z) + a + second(x)[1]


def _second_layer_forgotten(x, first, second, base):
    y, a = first(x)
    return base(y) + a


def _other_order(x, first, second, base):
    return flow_log_prob(x, second, first, base)


def _log_det_per_dimension(x, first, second, base):
    _, z, a, b = _parts(x, first, second)
    return base(z) + (a + b) / x.shape[1]


def _batch_mean(x, first, second, base):
    return flow_log_prob(x, first, second, base).mean()


def _log_of_exp(x, first, second, base):
    _, z, a, b = _parts(x, first, second)
    return (base(z).exp() * (a + b).exp() + 1e-300).log()


def _normal_in_place_of_the_base(x, first, second, base):
    _, z, a, b = _parts(x, first, second)
    return (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum(1) + a + b


def _no_gradient(x, first, second, base):
    return flow_log_prob(x, first, second, base).detach()


@_mistakes(
    (_minus_log_det, "at their sign"),
    (_no_log_det, "stretch or squeeze"),
    (_base_at_x, "stretch or squeeze"),
    (_both_at_x, "taken where"),
    (_other_order, "taken where"),
    (_second_layer_forgotten, "taken where"),
    (_log_det_per_dimension, "No mean"),
    (_batch_mean, "the form"),
    (_log_of_exp, "underflows"),
    (_normal_in_place_of_the_base, "Which point does the base see"),
    (_no_gradient, "trained through this number"),
)
def test_wrong_flow_log_prob_meets_its_hint(wrong, hint):
    rejects("03-e1", wrong, hint if hint != "the form" else "compare type and shape")


# 03-e2 affine_coupling


def by_columns(x, mask, s, t, inverse):
    moves = [k for k in range(x.shape[1]) if mask[k] == 0]
    kept = x.clone()
    kept[:, moves] = 0
    scale, shift, y = s(kept)[:, moves], t(kept)[:, moves], x.clone()
    if inverse:
        y[:, moves] = (x[:, moves] - shift) / scale.exp()
        return y, -scale.sum(1)
    y[:, moves] = scale.exp() * x[:, moves] + shift
    return y, scale.sum(1)


def with_where(x, mask, s, t, inverse):
    stays = mask.bool()
    kept = torch.where(stays, x, 0.0)
    scale, shift = (torch.where(stays, 0.0, part(kept)) for part in (s, t))
    y = (x - shift) * torch.exp(-scale) if inverse else x * torch.exp(scale) + shift
    return [y, (-scale if inverse else scale).sum(-1)]


@pytest.mark.parametrize("right", [by_columns, with_where])
def test_affine_coupling_by_another_route(right):
    accepts("03-e2", right)


def _coupling(see="kept", factor=torch.exp, det=lambda s, t: s.sum(1), back=None, sign=-1):
    """An affine_coupling with one part changed."""

    def answer(x, mask, s, t, inverse):
        given = {"kept": x * mask, "all": x, "moved": x * (1 - mask)}[see]
        scale, shift = s(given) * (1 - mask), t(given) * (1 - mask)
        if inverse:
            y = (back or (lambda x, s, t: (x - t) * torch.exp(-s)))(x, scale, shift)
            return x * mask + (1 - mask) * y, sign * det(scale, shift)
        return x * mask + (1 - mask) * (x * factor(scale) + shift), det(scale, shift)

    return answer


def _mask_the_wrong_way(x, mask, s, t, inverse):
    return affine_coupling(x, 1 - mask, s, t, inverse)


def _only_the_map(x, mask, s, t, inverse):
    return affine_coupling(x, mask, s, t, inverse)[0]


def _kept_entries_shifted(x, mask, s, t, inverse):
    return x * s(x * mask).exp() + t(x * mask), s(x * mask).sum(1)


def _log_det_with_kept_entries(x, mask, s, t, inverse):
    y, log_det = affine_coupling(x, mask, s, t, inverse)
    sign = -1 if inverse else 1
    return y, log_det + sign * (s(x * mask) * mask).sum(1)


def _inverse_ignored(x, mask, s, t, inverse):
    return affine_coupling(x, mask, s, t, False)


@_mistakes(
    (_mask_the_wrong_way, "kept entries only"),
    (_only_the_map, "kept entries only"),
    (_kept_entries_shifted, "kept entries only"),
    (_coupling(see="all"), "kept entries only"),
    (_coupling(see="moved"), "kept entries only"),
    (_coupling(factor=lambda s: 1 + s), "s is a logarithm"),
    (_coupling(factor=lambda s: torch.exp(s) + 1e-3), "kept entries only"),
    (_coupling(det=lambda s, t: (s + t).sum(1)), "With s = 0 the log-det is 0"),
    (_coupling(det=lambda s, t: s.mean(1)), "not the mean"),
    (_coupling(det=lambda s, t: s.exp().log().sum(1).abs()), "not the mean"),
    (_coupling(det=lambda s, t: s.sum()), "compare type and shape"),
    (_log_det_with_kept_entries, "not the mean"),
    (_coupling(back=lambda x, s, t: x * torch.exp(-s) - t), "Undo t first"),
    (_coupling(back=lambda x, s, t: (x - t) * torch.exp(s)), "Undo t first"),
    (_coupling(back=lambda x, s, t: (x - t) / (torch.exp(s) + 1e-8)), "float32 does this"),
    (_inverse_ignored, "Undo t first"),
    (_coupling(sign=1), "squeezes where the way there"),
)
def test_wrong_affine_coupling_meets_its_hint(wrong, hint):
    rejects("03-e2", wrong, hint)


# 03-e3 conv1x1_log_det


def by_lu(W, height, width):
    return height * width * torch.linalg.lu(W)[2].diagonal().abs().log().sum()


def by_singular_values(W, height, width):
    return torch.linalg.svdvals(W).log().sum() * width * height


@pytest.mark.parametrize("right", [by_lu, by_singular_values])
def test_conv1x1_log_det_by_another_route(right):
    accepts("03-e3", right, most=FEW)


def _slogdet(W):
    return torch.linalg.slogdet(W)[1]


@_mistakes(
    (lambda W, h, w: _slogdet(W), "How many pixels"),
    (lambda W, h, w: h * _slogdet(W), "How many pixels"),
    (lambda W, h, w: (h + w) * _slogdet(W) / 2, "How many pixels"),
    (lambda W, h, w: h * w * len(W) * _slogdet(W), "need not be triangular"),
    (lambda W, h, w: h * w * W.det(), "need not be triangular"),
    (lambda W, h, w: h * w * W.trace().abs().log(), "need not be triangular"),
    (lambda W, h, w: h * w * W.diagonal().abs().log().sum(), "need not be triangular"),
    (lambda W, h, w: -h * w * _slogdet(W), "need not be triangular"),
    (lambda W, h, w: h * w * _slogdet(W) / math.log(2), "need not be triangular"),
    (lambda W, h, w: h * w * W.det().log(), "a volume is"),
    (lambda W, h, w: h * w * W.det().abs().log(), "leaves the range"),
    (lambda W, h, w: h * w * (W.det().abs() + 1e-300).log(), "leaves the range"),
    (lambda W, h, w: h * w * np.linalg.slogdet(W.detach().numpy())[1], "carries"),
)
def test_wrong_conv1x1_log_det_meets_its_hint(wrong, hint):
    hints = {"leaves the range": "Which function of torch.linalg", "carries": "W is trained"}
    rejects("03-e3", wrong, hints.get(hint, hint), most=FEW)


# 03-e4 hutchinson_trace


def _probing(draw, meet=None, after=lambda values, n: (values.mean(), values.std() / n**0.5)):
    """A hutchinson_trace with other probes, or another way to sum them up."""

    def answer(f, x, n, generator):
        values = []
        for _ in range(n):
            v = draw(x, generator)
            _, pulled = torch.autograd.functional.vjp(f, x, v)
            values.append(pulled @ (v if meet is None else meet(x, generator)))
        return after(torch.stack(values), n)

    return answer


def _normals(x, generator):
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


def _signs(x, generator):
    return _normals(x, generator).sign()


def _uniform(x, generator):
    return 2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1


def _one_number(x, generator):
    return _normals(x[:1], generator).sign().expand(len(x)).clone()


def by_forward_products(f, x, n, generator):
    v = _signs(x.expand(n, -1), generator)
    values = torch.stack([probe @ torch.func.jvp(f, (x,), (probe,))[1] for probe in v])
    return values.mean(), values.std(correction=0) / n**0.5


@pytest.mark.parametrize("right", [_probing(_normals), _probing(_signs), by_forward_products])
def test_hutchinson_trace_by_another_route(right):
    accepts("03-e4", right, most=FEW)


def _same_probe(f, x, n, generator):
    v = _signs(x, generator)
    values = torch.stack([torch.autograd.functional.vjp(f, x, v)[1] @ v for _ in range(n)])
    return values.mean(), values.std() / n**0.5


def _exact(f, x, n, generator):
    J = torch.autograd.functional.jacobian(f, x)
    return J.trace(), (2 * (J**2).sum() / n).sqrt()


def _estimate_only(f, x, n, generator):
    return hutchinson_trace(f, x, n, generator)[0]


def _differences(f, x, n, generator):
    for _ in range(n):
        f(x)
    return hutchinson_trace(f, x, n, generator)


@_mistakes(
    (_probing(_signs, meet=_signs), "v must meet v"),
    (_probing(_normals, meet=_normals), "v must meet v"),
    (_probing(_signs, after=lambda v, n: (v.mean() + 1e-3, v.std() / n**0.5)), "v must meet v"),
    (_probing(_uniform), "have variance 1/3"),
    (_probing(_one_number), "every probe anew"),
    (_probing(_signs, after=lambda v, n: (v.sum(), v.std() / n**0.5)), "have variance 1/3"),
    (_same_probe, "every probe anew"),
    (_probing(_signs, after=lambda v, n: (v.mean(), v.std())), "divided by the root of n"),
    (_probing(_signs, after=lambda v, n: (v.mean(), v.var() / n)), "divided by the root of n"),
    (_probing(_signs, after=lambda v, n: (v.mean(), v.std() / n)), "divided by the root of n"),
    (_probing(lambda x, g: torch.randn(x.shape).to(x).sign()), "Give generator"),
    (_differences, "no finite differences"),
    (_exact, "every probe anew"),
    (_estimate_only, "v must meet v"),
)
def test_wrong_hutchinson_trace_meets_its_hint(wrong, hint):
    rejects("03-e4", wrong, hint, most=FEW)


def test_the_package_has_the_same_trace_per_probe():
    """`divergence` with a probe is one value of the exercise's mean."""
    x = torch.randn(1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = torch.tensor([[1.0, -1.0, 1.0]], dtype=torch.float64)
    _, found = flow_matching.divergence(lambda x, t: x**3 + x.roll(1, 1), x, torch.zeros(1), v)
    J = torch.autograd.functional.jacobian(lambda x: x**3 + x.roll(1, 0), x[0])
    torch.testing.assert_close(found[0], v[0] @ J @ v[0])


@pytest.mark.parametrize("number", range(1, 5))
def test_a_constant_earns_little(number):
    exercise = find(f"03-e{number}")
    shapes = {1: torch.zeros(5), 2: (torch.zeros(12, 4), torch.zeros(12)), 3: 0.0, 4: (0.0, 1.0)}
    verdict = judge(exercise, lambda *_: shapes[number], observe)
    assert verdict.points <= 0.15 * exercise.points, verdict
