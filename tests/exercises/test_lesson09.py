"""Lesson 09: right answers by other routes pass, every known mistake meets its own hint."""


import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce, softplus

from course_utils import gan
from course_utils.exercises import find
from tests.exercises.harness import accepts, rejects

gan_step, non_saturating_loss, lerp_slerp, matching_pairs, covered_modes = (
    find(f"09-e{number}").reference for number in range(1, 6)
)
FEW = range(12)  # for 09-e1, which trains networks: 0.1 s a verdict; 50 seeds were tried once


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
    loss = -torch.log(torch.sigmoid(D(fakes[-1]))).mean()
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
    accepts("09-e1", right, seeds=FEW)


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
PLURAL = "LABELS_SWAPPED ASCENDS HALF SUM FAKES_ONLY RELATIVISTIC SATURATING G_SIGN G_SUM G_CUT_OFF"
for _name in PLURAL.split():
    _named(_name.lower(), globals()[_name])


@_mistakes(
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
    rejects("09-e1", wrong, hint, seeds=FEW)
