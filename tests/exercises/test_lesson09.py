"""Lesson 09: right answers by other routes pass, every known mistake meets its own hint."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce, logsigmoid, softplus

from course_utils import gan
from course_utils.exercises import find
from tests.exercises.harness import accepts, rejects

gan_step, non_saturating_loss, lerp_slerp, matching_pairs, covered_modes = (
    find(f"09-e{number}").reference for number in range(1, 6)
)
FEW = 8  # for 09-e1, which trains networks: 0.1 s a verdict; 50 seeds were tried once


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


# 09-e1 gan_step


def step_with_labels_and_no_grad(G, D, opt_G, opt_D, x, z):
    """As many tutorials have it: cross-entropy with targets, two backward passes."""
    for i in range(x.shape[0]):
        D.zero_grad()
        with torch.no_grad():
            fake = G(z[i])
        real_logit, fake_logit = D(x[i]), D(fake)
        bce(real_logit, torch.ones_like(real_logit)).backward()
        bce(fake_logit, torch.zeros_like(fake_logit)).backward()
        opt_D.step()
    G.zero_grad()
    logit = D(G(z[x.shape[0]]))
    bce(logit, torch.ones_like(logit)).backward()
    opt_G.step()


def step_with_one_batch_of_both(G, D, opt_G, opt_D, x, z):
    fakes = [G(noise) for noise in z]  # G stands still while D learns
    target = torch.cat([torch.ones(x.shape[1]), torch.zeros(x.shape[1])])
    for real, fake in zip(x, fakes, strict=False):
        opt_G.zero_grad()
        opt_D.zero_grad()
        loss = 2 * bce(D(torch.cat([real, fake.detach()])), target)
        loss.backward()
        opt_D.step()
    loss = -logsigmoid(D(fakes[-1])).mean()
    loss.backward()
    opt_G.step()
    return loss.item()


def step_by_frozen_parameters(G, D, opt_G, opt_D, x, z):
    G.requires_grad_(False)
    for real, noise in zip(x, z[:-1], strict=True):
        loss = (softplus(-D(real)) + softplus(D(G(noise)))).mean()
        grads = torch.autograd.grad(loss, list(D.parameters()))
        for parameter, grad in zip(D.parameters(), grads, strict=True):
            parameter.grad = grad
        opt_D.step()
    G.requires_grad_(True)
    D.requires_grad_(False)
    opt_G.zero_grad(set_to_none=False)
    softplus(-D(G(z[-1]))).mean().backward()
    opt_G.step()
    D.requires_grad_(True)
    return G(z[-1])


@pytest.mark.parametrize(
    "right",
    [
        gan.gan_step,
        step_with_labels_and_no_grad,
        step_with_one_batch_of_both,
        step_by_frozen_parameters,
    ],
)
def test_gan_step_by_another_route(right):
    accepts("09-e1", right, most=FEW)


def _d_loss(D, real, fake):
    return (softplus(-D(real)) + softplus(D(fake))).mean()


def _g_loss(D, fake):
    return softplus(-D(fake)).mean()


def _rounds(d_loss=_d_loss, g_loss=_g_loss, cut=torch.detach, image=lambda fake: fake):
    """A gan_step with other losses, fakes cut off otherwise."""

    def gan_step(G, D, opt_G, opt_D, x, z):
        for real, noise in zip(x, z, strict=False):
            opt_D.zero_grad()
            d_loss(D, real, cut(G(noise))).backward()
            opt_D.step()
        opt_G.zero_grad()
        g_loss(D, image(G(z[-1]))).backward()
        opt_G.step()

    return gan_step


def _named(name, answer):
    answer.__name__ = name
    return answer


def _fakes_not_detached(G, D, opt_G, opt_D, x, z):
    _rounds(cut=lambda fake: fake)(G, D, opt_G, opt_D, x, z)


def _not_detached_and_never_emptied(G, D, opt_G, opt_D, x, z):
    for real, noise in zip(x, z, strict=False):
        opt_D.zero_grad()
        _d_loss(D, real, G(noise)).backward()
        opt_D.step()
    _g_loss(D, G(z[-1])).backward()
    opt_G.step()


def _one_z_for_all_steps(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x, z[-1:].expand(len(z), -1, -1))


def _z_of_the_first_step_only(G, D, opt_G, opt_D, x, z):
    z = torch.cat([z[:1].expand(len(x), -1, -1), z[-1:]])
    gan_step(G, D, opt_G, opt_D, x, z)


def _z_of_g_from_ds_last_step(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x, torch.cat([z[:-1], z[-2:-1]]))


def _first_z_is_gs(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x, z.roll(-1, 0))


def _noise_of_its_own(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x, torch.randn_like(z))


def _one_x_for_all_steps(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x[:1].expand(len(x), -1, -1), z)


def _one_step_of_d(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x[:1], z[:2])


def _all_batches_in_one_step(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x.flatten(0, 1)[None], z[:-1].flatten(0, 1)[None])


def _g_at_each_step(G, D, opt_G, opt_D, x, z):
    for real, noise in zip(x, z, strict=False):
        gan_step(G, D, opt_G, opt_D, real[None], torch.stack([noise, z[-1]]))


def _d_steps_for_g_too(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x, z)
    opt_D.step()


def _never_steps(G, D, opt_G, opt_D, x, z):
    for real, noise in zip(x, z, strict=False):
        opt_D.zero_grad()
        _d_loss(D, real, G(noise).detach()).backward()
    opt_G.zero_grad()
    _g_loss(D, G(z[-1])).backward()


def _emptied_before_the_step(G, D, opt_G, opt_D, x, z):
    for real, noise in zip(x, z, strict=False):
        _d_loss(D, real, G(noise).detach()).backward()
        opt_D.zero_grad()
        opt_D.step()
    _g_loss(D, G(z[-1])).backward()
    opt_G.step()


def _nothing_emptied(G, D, opt_G, opt_D, x, z):
    for real, noise in zip(x, z, strict=False):
        _d_loss(D, real, G(noise).detach()).backward()
        opt_D.step()
    _g_loss(D, G(z[-1])).backward()
    opt_G.step()


def _only_g_not_emptied(G, D, opt_G, opt_D, x, z):
    for real, noise in zip(x, z, strict=False):
        opt_D.zero_grad()
        _d_loss(D, real, G(noise).detach()).backward()
        opt_D.step()
    _g_loss(D, G(z[-1])).backward()
    opt_G.step()


def _d_emptied_once(G, D, opt_G, opt_D, x, z):
    opt_D.zero_grad()
    opt_G.zero_grad()
    _nothing_emptied(G, D, opt_G, opt_D, x, z)


def _g_before_d(G, D, opt_G, opt_D, x, z):
    opt_G.zero_grad()
    _g_loss(D, G(z[-1])).backward()
    old = [p.grad for p in G.parameters()]
    opt_G.zero_grad()
    for real, noise in zip(x, z, strict=False):
        opt_D.zero_grad()
        _d_loss(D, real, G(noise).detach()).backward()
        opt_D.step()
    for parameter, grad in zip(G.parameters(), old, strict=True):
        parameter.grad = grad
    opt_G.step()


def _optimisers_exchanged(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_D, opt_G, x, z)


def _d_left_without_gradients(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x, z)
    D.requires_grad_(False)


def _g_left_without_gradients(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x, z)
    G.requires_grad_(False)


def _left_in_eval_mode(G, D, opt_G, opt_D, x, z):
    gan_step(G, D, opt_G, opt_D, x, z)
    G.eval()


LABELS_SWAPPED = _rounds(lambda D, real, fake: (softplus(D(real)) + softplus(-D(fake))).mean())
ASCENDS = _rounds(lambda D, real, fake: -_d_loss(D, real, fake))
HALF = _rounds(lambda D, real, fake: _d_loss(D, real, fake) / 2)
SUM = _rounds(lambda D, real, fake: (softplus(-D(real)) + softplus(D(fake))).sum())
FAKES_ONLY = _rounds(lambda D, real, fake: softplus(D(fake)).mean())
RELATIVISTIC = _rounds(lambda D, real, fake: softplus(D(fake) - D(real)).mean())
SATURATING = _rounds(g_loss=lambda D, fake: -softplus(D(fake)).mean())
G_SIGN = _rounds(g_loss=lambda D, fake: softplus(D(fake)).mean())
G_SUM = _rounds(g_loss=lambda D, fake: softplus(-D(fake)).sum())
G_CUT_OFF = _rounds(image=torch.detach)
G_BY_PROBABILITY = _rounds(g_loss=lambda D, fake: -torch.log(torch.sigmoid(D(fake))).mean())
D_BY_PROBABILITY = _rounds(
    lambda D, real, fake: (
        -torch.log(torch.sigmoid(D(real))) - torch.log(1 - torch.sigmoid(D(fake)))
    ).mean()
)
PLURAL = "LABELS_SWAPPED ASCENDS HALF SUM FAKES_ONLY RELATIVISTIC SATURATING G_SIGN G_SUM G_CUT_OFF"
for _name in (*PLURAL.split(), "G_BY_PROBABILITY", "D_BY_PROBABILITY"):
    _named(_name.lower(), globals()[_name])


@_mistakes(
    (_d_left_without_gradients, "thousands of such steps"),
    (_g_left_without_gradients, "thousands of such steps"),
    (_left_in_eval_mode, "thousands of such steps"),
    (_one_step_of_d, "Count the optimisers' steps"),
    (_all_batches_in_one_step, "Count the optimisers' steps"),
    (_g_at_each_step, "Count the optimisers' steps"),
    (_d_steps_for_g_too, "Count the optimisers' steps"),
    (_never_steps, "Count the optimisers' steps"),
    (_optimisers_exchanged, "Count the optimisers' steps"),
    (_fakes_not_detached, "G's gradient is not zero after D's step"),
    (_not_detached_and_never_emptied, "G's gradient is not zero after D's step"),
    (LABELS_SWAPPED, "D's loss: softplus(-a)"),
    (ASCENDS, "D's loss: softplus(-a)"),
    (HALF, "D's loss: softplus(-a)"),
    (SUM, "D's loss: softplus(-a)"),
    (FAKES_ONLY, "D's loss: softplus(-a)"),
    (RELATIVISTIC, "D's loss: softplus(-a)"),
    (SATURATING, "D's logits on them must rise"),
    (G_SIGN, "D's logits on them must rise"),
    (G_SUM, "D's logits on them must rise"),
    (G_CUT_OFF, "its image was cut off"),
    (G_BY_PROBABILITY, "its log -inf. Write both losses"),
    (D_BY_PROBABILITY, "its log -inf. Write both losses"),
    (_g_before_d, "after D's last step"),
    (_emptied_before_the_step, "just after zero_grad()"),
    (_nothing_emptied, "adds to the gradients"),
    (_only_g_not_emptied, "adds to the gradients"),
    (_d_emptied_once, "adds to the gradients"),
    (_one_z_for_all_steps, "Draw fresh noise"),
    (_z_of_the_first_step_only, "Draw fresh noise"),
    (_z_of_g_from_ds_last_step, "G reads the last z"),
    (_first_z_is_gs, "G reads the last z"),
    (_one_x_for_all_steps, "update i reads x[i]"),
)
def test_gan_step_mistakes_meet_their_hint(wrong, hint):
    rejects("09-e1", wrong, hint, most=FEW)


# 09-e2 non_saturating_loss


def loss_by_logsigmoid(fake_logit):
    return -logsigmoid(fake_logit)


def loss_by_logaddexp(fake_logit):
    return torch.logaddexp(torch.zeros_like(fake_logit), -fake_logit)


def loss_by_cross_entropy(fake_logit):
    return bce(fake_logit, torch.ones_like(fake_logit), reduction="none")


def loss_without_overflow(fake_logit):
    return torch.relu(-fake_logit) + torch.log1p(torch.exp(-fake_logit.abs()))


@pytest.mark.parametrize(
    "right",
    [
        gan.non_saturating_loss,
        loss_by_logsigmoid,
        loss_by_logaddexp,
        loss_by_cross_entropy,
        loss_without_overflow,
    ],
)
def test_non_saturating_loss_by_another_route(right):
    accepts("09-e2", right)


def _sign_of_the_logit(fake_logit):
    return softplus(fake_logit)


def _log_d_itself(fake_logit):
    return logsigmoid(fake_logit)


def _saturating_loss(fake_logit):
    return logsigmoid(-fake_logit)


def _log_of_sigmoid(fake_logit):
    return -torch.log(torch.sigmoid(fake_logit))


def _small_number_in_the_log(fake_logit):
    return -torch.log(torch.sigmoid(fake_logit) + 1e-12)


def _clamped(fake_logit):
    return -torch.log(torch.sigmoid(fake_logit).clamp(min=1e-30))


def _exp_of_the_logit(fake_logit):
    return torch.log(1 + torch.exp(-fake_logit))


def _bits(fake_logit):
    return softplus(-fake_logit) / math.log(2)


def _half_the_loss(fake_logit):
    return softplus(-fake_logit) / 2


def _minus_the_logit(fake_logit):
    return -fake_logit


def _hinge(fake_logit):
    return torch.relu(1 - fake_logit)


def _squares(fake_logit):
    return (torch.sigmoid(fake_logit) - 1) ** 2


def _mean_loss(fake_logit):
    return softplus(-fake_logit).mean()


def _off_the_graph(fake_logit):
    return softplus(-fake_logit.detach())


def _in_numpy(fake_logit):
    return np.logaddexp(0, -fake_logit.detach().numpy())


def _nan_slope(fake_logit):
    small = torch.log(1 + torch.exp(-fake_logit))
    return torch.where(fake_logit > -30, small, -fake_logit)


def _number_added_to_d(fake_logit):
    return -torch.log(torch.sigmoid(fake_logit) + 1e-2)


def _less_added_to_d(fake_logit):
    return -torch.log(torch.sigmoid(fake_logit) + 1e-4)


def _tiny_number_added_to_d(fake_logit):
    return -torch.log(torch.sigmoid(fake_logit) + 1e-8)


def _divided_by_the_batch(fake_logit):
    return softplus(-fake_logit) / len(fake_logit)


@_mistakes(
    (_number_added_to_d, "no number added to D"),
    (_less_added_to_d, "no small number added inside the log"),
    (_tiny_number_added_to_d, "was a small number added?"),
    (_divided_by_the_batch, "no mean taken"),
    (_sign_of_the_logit, "must fall as a rises"),
    (_log_d_itself, "must fall as a rises"),
    (_saturating_loss, "the saturating loss"),
    (_squares, "flat, as log(1 - D) is"),
    (_bits, "in nats"),
    (_half_the_loss, "Asked is -log D, whose"),
    (_minus_the_logit, "in nats"),
    (_hinge, "in nats"),
    (_log_of_sigmoid, "its log -inf"),
    (_small_number_in_the_log, "with a small number added"),
    (_clamped, "with a small number added"),
    (_exp_of_the_logit, "its log -inf"),
    (_mean_loss, "the form"),
    (_off_the_graph, "takes it off the graph"),
    (_in_numpy, "takes it off the graph"),
    (_nan_slope, "NaN or 0?"),
)
def test_non_saturating_loss_mistakes_meet_their_hint(wrong, hint):
    rejects("09-e2", wrong, hint)


# 09-e3 lerp_slerp


def way_by_a_frame(z0, z1, t):
    """Turn z0 in the plane of both, the norm changing evenly: the same for ends of one norm."""
    n0, n1 = z0.norm(dim=1, keepdim=True), z1.norm(dim=1, keepdim=True)
    u, v = z0 / n0, z1 / n1
    side = v - (u * v).sum(1, keepdim=True) * u
    w = torch.atan2(side.norm(dim=1, keepdim=True), (u * v).sum(1, keepdim=True))
    side = torch.nan_to_num(side / side.norm(dim=1, keepdim=True))
    arc = ((1 - t) * n0 + t * n1) * ((t * w).cos() * u + (t * w).sin() * side)
    return torch.lerp(z0, z1, t), arc


def way_row_by_row(z0, z1, t):
    rows = []
    for a, b in zip(z0, z1, strict=True):
        c = torch.dot(a, b) / a.norm() / b.norm()
        line = a + t * (b - a)
        if c > 0.9995:
            rows.append(line)
            continue
        w = torch.acos(c)
        rows.append((torch.sin((1 - t) * w) * a + torch.sin(t * w) * b) / torch.sin(w))
    return (1 - t) * z0 + t * z1, torch.stack(rows)


def way_in_numpy(z0, z1, t):
    z0, z1 = z0.numpy(), z1.numpy()
    cosine = (z0 * z1).sum(1) / np.linalg.norm(z0, axis=1) / np.linalg.norm(z1, axis=1)
    w = np.maximum(np.arccos(np.minimum(cosine, 1)), 1e-6)[:, None]
    arc = (np.sin((1 - t) * w) * z0 + np.sin(t * w) * z1) / np.sin(w)
    return [(1 - t) * z0 + t * z1, arc]


def way_with_a_clamp(z0, z1, t):
    """No case for parallel rows: an angle that is never quite 0, as many have it."""
    w = _cosine(z0, z1).clamp(-1 + 1e-7, 1 - 1e-7).arccos()
    return torch.lerp(z0, z1, t), _arc(z0, z1, t, w + 1e-9)


@pytest.mark.parametrize("right", [way_by_a_frame, way_row_by_row, way_in_numpy, way_with_a_clamp])
def test_lerp_slerp_by_another_route(right):
    accepts("09-e3", right)


def _arc(z0, z1, t, w):
    return (((1 - t) * w).sin() * z0 + (t * w).sin() * z1) / w.sin()


def _cosine(z0, z1):
    return torch.nn.functional.cosine_similarity(z0, z1)[:, None]


def _lerp_as_slerp(z0, z1, t):
    line = lerp_slerp(z0, z1, t)[0]
    return line, line


def _back_to_the_sphere(z0, z1, t):
    line = lerp_slerp(z0, z1, t)[0]
    return line, line / line.norm(dim=1, keepdim=True) * z0.norm(dim=1, keepdim=True)


def _ends_swapped(z0, z1, t):
    return lerp_slerp(z1, z0, t)


def _arc_runs_backwards(z0, z1, t):
    return lerp_slerp(z0, z1, t)[0], lerp_slerp(z0, z1, 1 - t)[1]


def _ways_exchanged(z0, z1, t):
    return lerp_slerp(z0, z1, t)[::-1]


def _dot_for_cosine(z0, z1, t):
    w = (z0 * z1).sum(1, keepdim=True).clamp(-1 + 1e-6, 1 - 1e-6).arccos()
    return lerp_slerp(z0, z1, t)[0], _arc(z0, z1, t, w)


def _dot_without_clamp(z0, z1, t):
    w = (z0 * z1).sum(1, keepdim=True).arccos()
    return lerp_slerp(z0, z1, t)[0], _arc(z0, z1, t, w)


def _one_angle_for_the_batch(z0, z1, t):
    w = ((z0 * z1).sum() / z0.norm() / z1.norm()).arccos()
    return lerp_slerp(z0, z1, t)[0], _arc(z0, z1, t, w)


def _first_rows_angle(z0, z1, t):
    w = _cosine(z0, z1)[0].clamp(-1, 1).arccos()
    return lerp_slerp(z0, z1, t)[0], _arc(z0, z1, t, w)


def _no_care_for_parallels(z0, z1, t):
    return lerp_slerp(z0, z1, t)[0], _arc(z0, z1, t, _cosine(z0, z1).arccos())


def _all_rows_take_the_line(z0, z1, t):
    line, arc = lerp_slerp(z0, z1, t)
    return line, line if (_cosine(z0, z1) > 0.9999).any() else arc


def _parallel_rows_take_z0(z0, z1, t):
    line, arc = lerp_slerp(z0, z1, t)
    return line, torch.where(_cosine(z0, z1) > 0.9999, z0, arc)


def _cosine_for_sine(z0, z1, t):
    w = _cosine(z0, z1).clamp(-1, 1).arccos()
    return lerp_slerp(z0, z1, t)[0], ((1 - t) * w).cos() * z0 + (t * w).cos() * z1


def _sine_of_w_forgotten(z0, z1, t):
    w = _cosine(z0, z1).clamp(-1, 1).arccos()
    return lerp_slerp(z0, z1, t)[0], _arc(z0, z1, t, w) * w.sin()


def _square_roots(z0, z1, t):
    return lerp_slerp(z0, z1, t)[0], math.sqrt(1 - t) * z0 + math.sqrt(t) * z1


def _one_way_only(z0, z1, t):
    return lerp_slerp(z0, z1, t)[1]


@_mistakes(
    (_ends_swapped, "does the weight t belong to"),
    (_arc_runs_backwards, "does the weight t belong to"),
    (_cosine_for_sine, "does the weight t belong to"),
    (_sine_of_w_forgotten, "does the weight t belong to"),
    (_ways_exchanged, "It comes first"),
    (_lerp_as_slerp, "the norm .71"),
    (_back_to_the_sphere, "hurries in the middle"),
    (_square_roots, "at t the angle from z0"),
    (_dot_for_cosine, "times both norms"),
    (_dot_without_clamp, "times both norms"),
    (_one_angle_for_the_batch, "sum over which axis?"),
    (_first_rows_angle, "sum over which axis?"),
    (_no_care_for_parallels, "0/0"),
    (_all_rows_take_the_line, "the others not"),
    (_parallel_rows_take_z0, "need the line"),
    (_one_way_only, "the form"),
)
def test_lerp_slerp_mistakes_meet_their_hint(wrong, hint):
    rejects("09-e3", wrong, hint)


def test_the_straight_lines_middle_has_the_maps_norm():
    line, arc = lerp_slerp(*torch.eye(2).double()[:, None], 0.5)
    assert (round(float(line.norm()), 2), round(float(arc.norm()), 12)) == (0.71, 1)


# 09-e4 matching_pairs


def _three(x, y, fake, wrong):
    target = torch.cat([torch.ones_like(y), torch.zeros_like(y), torch.zeros_like(y)])
    return torch.cat([x, x, fake]), torch.cat([y, wrong, y]), target


def pairs_one_by_one(x, y, fake, rng):
    wrong = y.clone()
    for row in range(len(y)):
        while wrong[row] == y[row]:
            wrong[row] = y[torch.randint(len(y), (), generator=rng)]
    return [*_three(x, y, fake, wrong)]


def pairs_shuffled_until_none_is_right(x, y, fake, rng):
    wrong = y[torch.randperm(len(y), generator=rng)]
    while (clash := wrong == y).any():
        fresh = y[torch.randint(len(y), y.shape, generator=rng)]
        wrong = torch.where(clash, fresh, wrong)
    return _three(x, y, fake, wrong)


def pairs_from_the_captions_present(x, y, fake, rng):
    kinds, at = y.unique(return_inverse=True)
    step = torch.randint(1, len(kinds), y.shape, generator=rng)
    return _three(x, y, fake, kinds[(at + step) % len(kinds)])


@pytest.mark.parametrize(
    "right",
    [pairs_one_by_one, pairs_shuffled_until_none_is_right, pairs_from_the_captions_present],
)
def test_matching_pairs_by_another_route(right):
    accepts("09-e4", right)


def _wrong(x, y, fake, rng):
    return matching_pairs(x, y, fake, rng)[1][len(y) : 2 * len(y)]


def _plain_shuffle(x, y, fake, rng):
    return _three(x, y, fake, y[torch.randperm(len(y), generator=rng)])


def _next_row(x, y, fake, rng):
    return _three(x, y, fake, y.roll(1))


def _another_row_by_index(x, y, fake, rng):
    step = torch.randint(1, len(y), y.shape, generator=rng)
    return _three(x, y, fake, y[(torch.arange(len(y)) + step) % len(y)])


def _any_number(x, y, fake, rng):
    return _three(x, y, fake, (y + torch.randint(1, 50, y.shape, generator=rng)) % 50)


def _next_number(x, y, fake, rng):
    return _three(x, y, fake, y + 1)


def _wrong_pairs_marked_real(x, y, fake, rng):
    images, captions, target = matching_pairs(x, y, fake, rng)
    return images, captions, torch.cat([target[: len(y)], target[: len(y)], target[-len(y) :]])


def _fakes_marked_real(x, y, fake, rng):
    images, captions, target = matching_pairs(x, y, fake, rng)
    return images, captions, target.roll(-len(y))


def _targets_reversed(x, y, fake, rng):
    images, captions, target = matching_pairs(x, y, fake, rng)
    return images, captions, 1 - target


def _targets_interleaved(x, y, fake, rng):
    images, captions, _ = matching_pairs(x, y, fake, rng)
    return images, captions, torch.tensor([1.0, 0, 0]).repeat(len(y))


def _fakes_with_wrong_captions(x, y, fake, rng):
    wrong = _wrong(x, y, fake, rng)
    images, _, target = matching_pairs(x, y, fake, rng)
    return images, torch.cat([y, wrong, wrong]), target


def _fakes_in_the_middle(x, y, fake, rng):
    _, captions, target = matching_pairs(x, y, fake, rng)
    return torch.cat([x, fake, x]), captions, target


def _fakes_with_wrong_pairs(x, y, fake, rng):
    _, captions, target = matching_pairs(x, y, fake, rng)
    return torch.cat([x, fake, fake]), captions, target


def _same_partner_each_time(x, y, fake, rng):
    return matching_pairs(x, y, fake, torch.Generator().manual_seed(0))


def _first_other_caption(x, y, fake, rng):
    return _three(x, y, fake, y[(y[:, None] != y).int().argmax(1)])


def _global_noise(x, y, fake, rng):
    return matching_pairs(x, y, fake, torch.default_generator)


def _two_blocks(x, y, fake, rng):
    return torch.cat([x, fake]), torch.cat([y, y]), torch.cat([torch.ones(8), torch.zeros(8)])


def _hopes_for_a_derangement(x, y, fake, rng):
    for _ in range(100):
        wrong = y[torch.randperm(len(y), generator=rng)]
        if (wrong != y).all():
            break
    return _three(x, y, fake, wrong)


def _no_caption(x, y, fake, rng):
    return _three(x, y, fake, 0 * y)


def _images_alone(x, y, fake, rng):
    return torch.cat([x, x, fake])


@_mistakes(
    (_hopes_for_a_derangement, "all rows but one may"),
    (_no_caption, "give itself away"),
    (_images_alone, "the form"),
    (_fakes_in_the_middle, "Three blocks of B rows"),
    (_fakes_with_wrong_pairs, "Three blocks of B rows"),
    (_wrong_pairs_marked_real, "D then ignores the text"),
    (_fakes_marked_real, "D then ignores the text"),
    (_targets_reversed, "D then ignores the text"),
    (_targets_interleaved, "D then ignores the text"),
    (_fakes_with_wrong_captions, "row b of fake was made for y[b]"),
    (_any_number, "give itself away"),
    (_next_number, "give itself away"),
    (_plain_shuffle, "Check wrong != right"),
    (_next_row, "Check wrong != right"),
    (_another_row_by_index, "Check wrong != right"),
    (_same_partner_each_time, "soon learned by heart"),
    (_first_other_caption, "soon learned by heart"),
    (_global_noise, "with the generator rng"),
    (_two_blocks, "the form"),
)
def test_matching_pairs_mistakes_meet_their_hint(wrong, hint):
    rejects("09-e4", wrong, hint)


# 09-e5 covered_modes


def modes_in_a_loop(x, centers, tol):
    return sum(any((sample - c).norm() <= tol for sample in x) for c in centers)


def modes_in_numpy(x, centers, tol):
    apart = np.linalg.norm(centers.numpy()[:, None] - x.numpy()[None], axis=2)
    return (apart.min(1) < tol).sum()


def modes_by_squares(x, centers, tol):
    apart = ((centers[:, None] - x) ** 2).sum(2)
    return (apart < tol**2).any(1).sum()


@pytest.mark.parametrize("right", [modes_in_a_loop, modes_in_numpy, modes_by_squares])
def test_covered_modes_by_another_route(right):
    accepts("09-e5", right)


def test_no_samples_cover_nothing():
    assert covered_modes(torch.zeros(0, 2), torch.zeros(8, 2), 0.3) == 0


def _nearest_centre(x, centers, tol):
    return len(torch.cdist(x, centers).argmin(1).unique())


def _samples_near(x, centers, tol):
    return int((torch.cdist(x, centers).min(1).values <= tol).sum())


def _centres_missed(x, centers, tol):
    return len(centers) - covered_modes(x, centers, tol)


def _squared_distance(x, centers, tol):
    return int((torch.cdist(centers, x) ** 2 <= tol).any(1).sum())


def _largest_coordinate(x, centers, tol):
    return int((torch.cdist(centers, x, p=math.inf) <= tol).any(1).sum())


def _summed_coordinates(x, centers, tol):
    return int((torch.cdist(centers, x, p=1) <= tol).any(1).sum())


def _nearest_and_near(x, centers, tol):
    apart, nearest = torch.cdist(x, centers).min(1)
    return len(nearest[apart <= tol].unique())


def _all_samples_near(x, centers, tol):
    return int((torch.cdist(centers, x) <= tol).all(1).sum())


def _mean_of_the_nearest(x, centers, tol):
    nearest = torch.cdist(x, centers).argmin(1)
    means = [x[nearest == m].mean(0) for m in range(len(centers)) if (nearest == m).any()]
    kept = [m for m in range(len(centers)) if (nearest == m).any()]
    return sum(bool((c - centers[m]).norm() <= tol) for c, m in zip(means, kept, strict=True))


def _twenty_samples(x, centers, tol):
    return int(((torch.cdist(centers, x) <= tol).sum(1) >= 20).sum())


def _which_modes(x, centers, tol):
    return (torch.cdist(centers, x) <= tol).any(1)


def _two_coordinates(x, centers, tol):
    return covered_modes(x[:, :2], centers[:, :2], tol)


def _written_for_three_coordinates(x, centers, tol):
    return covered_modes(x[:, :3], centers[:, :3], tol)


def _none_is_covered(x, centers, tol):
    return 0


def _one_is_covered(x, centers, tol):
    return 1


@_mistakes(
    (_none_is_covered, "nearest is not near"),
    (_one_is_covered, "nearest is not near"),
    (_two_coordinates, "Right in the plane only"),
    (_written_for_three_coordinates, "Right in the plane only"),
    (_nearest_centre, "nearest is not near"),
    (_centres_missed, "nearest is not near"),
    (_samples_near, "Count centres, not samples"),
    (_all_samples_near, "a single sample within tol"),
    (_mean_of_the_nearest, "a single sample within tol"),
    (_twenty_samples, "a single sample within tol"),
    (_squared_distance, "not its square"),
    (_largest_coordinate, "not its largest"),
    (_summed_coordinates, "its summed coordinates"),
    (_nearest_and_near, "may be within tol of another"),
    (_which_modes, "the form"),
)
def test_covered_modes_mistakes_meet_their_hint(wrong, hint):
    rejects("09-e5", wrong, hint)
