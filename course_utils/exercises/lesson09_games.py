"""Exercises of lesson 09 on the game itself: one round of Algorithm 1, the loss of G."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Observe,
    Property,
    differs,
    equals,
)
from course_utils.observing import Observed, Recipe, observe as observe_here


def gan_step(
    G: nn.Module, D: nn.Module, opt_G: Optimizer, opt_D: Optimizer, x: Tensor, z: Tensor
) -> None:
    """Update D k times, then G once, in place; real x (k, B, 2), noise z (k + 1, B, K).

    Update i of D minimises mean [softplus(-D(x[i])) + softplus(D(G(z[i])))] and leaves the
    gradients of G alone; then G minimises mean softplus(-D(G(z[k]))). D returns logits (B,).
    """
    softplus = nn.functional.softplus
    for real, noise in zip(x, z, strict=False):
        loss = softplus(-D(real)) + softplus(D(G(noise).detach()))
        opt_D.zero_grad()
        loss.mean().backward()
        opt_D.step()
    opt_G.zero_grad()
    softplus(-D(G(z[-1]))).mean().backward()
    opt_G.step()


def non_saturating_loss(fake_logit: Tensor) -> Tensor:
    """-log D in nats, D = sigmoid(fake_logit): one value per example; (B,) to (B,).

    Finite, with a gradient, for any finite logit.
    """
    return nn.functional.softplus(-fake_logit)


# 09-e1: inputs 0 to 3 are G, D and their optimisers

NETWORK = "nn.Sequential(nn.Linear({}, 8), nn.Tanh(), nn.Linear(8, {}){})"
WATCH = (  # a buffer of G counts the steps of D at which G has a gradient
    "(opt := torch.optim.SGD(inputs[1].parameters(), lr={}), opt.register_step_pre_hook("
    "lambda *_: [inputs[0].seen.add_(float(any(p.grad is not None and bool(p.grad.any()) "
    "for p in inputs[0].parameters())))] and None))[0]"
)
TOLERANCE = 2e-5  # the networks are float32; a step is some 0.1 long
SURE = "net[2].bias.data.fill_(-200)"  # logits near -200: D takes all it sees for fakes
KEEP = (  # with a network's state goes 1 if it can go on learning as it did, else 0
    "net._register_state_dict_hook(lambda net, state, *_: state.update(ready=torch.tensor("
    "net.training and all(p.requires_grad for p in net.parameters()))) or state)"
)
OLD = "[setattr(p, 'grad', 3 * torch.ones_like(p)) for p in net.parameters()]"  # of a step before


def _game(draw: Draw, d_rate: float = 0.5, old: bool = False, sure: bool = False) -> tuple:
    seed, left = draw.integer(0, 10_000), OLD if old else "0"
    judge = SURE if sure else left
    count = "net.register_buffer('seen', torch.zeros(()))"
    G = f"(net := {NETWORK.format(3, 2, '')}, {count}, {KEEP}, {left})"
    D = f"(net := {NETWORK.format(2, 1, ', nn.Flatten(0)')}, {KEEP}, {judge})"
    return (
        Recipe(f"{G}[0]", seed),
        Recipe(f"{D}[0]", seed + 1),
        Recipe("torch.optim.SGD(inputs[0].parameters(), lr=0.5)"),
        Recipe(WATCH.format(d_rate)),
    )


def _batches(draw: Draw, k: int, one_x: bool = False, one_z: bool = False) -> tuple:
    """Float32, as networks have it; k equal batches of x, or of z, where asked."""
    x = (2 + draw.normal(1 if one_x else k, 6, 2)).float()
    z = draw.normal(1 if one_z else k + 1, 6, 3).float()
    return x.expand(k, 6, 2).clone(), z.expand(k + 1, 6, 3).clone()


def _parameters(seen: Observed, player: int) -> Tensor:
    """All numbers of G (0) or D (1) after the call, in a row."""
    state = seen.inputs_after[player]
    parts = [value.flatten() for name, value in state.items() if name not in ("seen", "ready")]
    return torch.cat([torch.as_tensor(part) for part in parts])


def _moves(inputs: Callable[[Draw], tuple], players: str, where: str = "") -> Callable:
    """A property's test: these players move as the reference moves them."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        given = inputs(draw)
        seen, right = observe(answer, *given), observe_here(gan_step, *given)
        for player, name in enumerate("GD"):
            if name in players and (wrong := _apart(seen, right, player, given)):
                return f"{name} {wrong} {where}".rstrip()
        return None

    return test


def _apart(seen: Observed, right: Observed, player: int, given: tuple) -> str | None:
    """None if the player ends where it should, up to float32's rounding, else how it moved."""
    ends = _parameters(seen, player), _parameters(right, player)
    if float((ends[0] - ends[1]).abs().max()) < TOLERANCE:
        return None
    start = _parameters(observe_here(lambda *_: None, *given), player)
    moved, expected = (end - start for end in ends)
    if not moved.any():
        return "does not move"
    length, ratio = float(expected.norm()), float(moved @ expected / (expected @ expected))
    if float((moved - ratio * expected).norm()) < 1e-3 * float(moved.norm()):
        return f"moves {ratio:.4g} times as far as it should"
    return f"moves in another direction (cosine {ratio * length / float(moved.norm()):.3f})"


def _steps(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for k in (1, 3):
        given = *_game(draw), *_batches(draw, k)
        seen, start = observe(answer, *given), observe_here(lambda *_: None, *given)
        _, _, of_G, of_D = seen.calls[:4]
        if (of_D, of_G) != (k, 1):
            return f"you: opt_D.step() {of_D} times, opt_G.step() {of_G} times, right: {k} and 1"
        if torch.equal(_parameters(seen, 1), _parameters(start, 1)):
            return "opt_D.step() was called, and D is where it was"
    return None


def _g_is_left_alone(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    after = observe(answer, *_game(draw), *_batches(draw, k=3)).inputs_after[0]
    seen = int(after["seen"])
    return f"at {seen} of D's 3 steps G had a gradient" if seen else None


def _ready_for_the_next(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    seen = observe(answer, *_game(draw), *_batches(draw, k=2))
    if not any(seen.calls[2:4]):
        return "no optimiser stepped"
    for player, name in enumerate("GD"):
        if not seen.inputs_after[player]["ready"]:
            return f"after the call {name} cannot learn: requires_grad is off, or it is in eval()"
    return None


STEP = (
    Property(
        "D steps k times, G once",
        "Count the optimisers' steps: opt_D.step() once for each of the k = len(x) batches, then "
        "opt_G.step() once. A loss alone moves nothing, nor does a step just after zero_grad(); "
        "opt_D must not step for G's loss.",
        _steps,
    ),
    Property(
        "D's updates leave the gradients of G alone",
        "G's gradient is not zero after D's step: to D a fake is an image like any other. What "
        "cuts it off from the network that made it? (Or did G move first? Its turn is the last.)",
        _g_is_left_alone,
    ),
    Property(
        "one update moves D down its own loss (k = 1)",
        "D's loss: softplus(-a) where the image is real, softplus(a) where it is fake, both "
        "averaged over the batch and added. No half, no other sign, no sum over the batch. The "
        "fakes are made from z, not from other noise.",
        _moves(lambda d: (*_game(d), *_batches(d, 1, one_z=True)), "D"),
    ),
    Property(
        "G moves down its own loss (D held still, k = 1)",
        "G's loss is the non-saturating one on fakes, averaged: D's logits on them must rise. It "
        "is not log(1 - D), not minus D's loss. G does not move? Then its image was cut off.",
        _moves(lambda d: (*_game(d, d_rate=0), *_batches(d, 1, one_z=True)), "G"),
    ),
    Property(
        "both losses hold at logits of hundreds",
        "sigmoid(-200) is 0 in float32, and its log -inf. Write both losses from the logit, "
        "without the probability: softplus.",
        _moves(lambda d: (*_game(d, d_rate=0, sure=True), *_batches(d, 1, one_z=True)), "DG"),
    ),
    Property(
        "G moves last, against the D that has just learned",
        "Right where D stands still: G's loss must be computed after D's last step, by the new D.",
        _moves(lambda d: (*_game(d, d_rate=2), *_batches(d, 1, one_z=True)), "G"),
    ),
    Property(
        "gradients of an earlier update do not count",
        "backward() adds to the gradients that it finds. What empties them before each update, "
        "of D and of G?",
        _moves(lambda d: (*_game(d, old=True), *_batches(d, 3, one_x=True, one_z=True)), "DG"),
    ),
    Property(
        "each update has a batch of data and of noise of its own",
        "Right where all batches are alike: update i reads x[i] and z[i], G reads the last z. One "
        "z for all of them? Draw fresh noise: D must not learn one batch of fakes by heart.",
        lambda answer, observe, draw: (
            _moves(
                lambda d: (*_game(d), *_batches(d, 3, one_x=True)),
                "DG",
                "where the batches of z differ",
            )(answer, observe, draw)
            or _moves(
                lambda d: (*_game(d), *_batches(d, 3, one_z=True)),
                "DG",
                "where the batches of x differ",
            )(answer, observe, draw)
        ),
    ),
    Property(
        "leaves G and D ready for the next call",
        "A GAN takes thousands of such steps: a parameter whose requires_grad you switch off must "
        "be switched on again before you return, and train() undoes eval().",
        _ready_for_the_next,
    ),
)

# 09-e2


def _falls(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    logit = draw.uniform(-4, 4, 6).sort().values
    value = observe(answer, logit).value
    if wrong := differs(value, torch.zeros(6), "loss", tolerance=math.inf):
        return wrong
    never_rises = (torch.as_tensor(value).diff() <= 0).all()
    low, high = (float(torch.as_tensor(value)[i]) for i in (0, -1))
    shown = f"you: {low:.4g} at a = {logit[0]:.3g}, {high:.4g} at a = {logit[-1]:.3g}"
    return None if never_rises and high < low else shown


def _steep_where_d_sees_through(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    logit = draw.uniform(-9, -7, 1) + torch.tensor([0.0, 1.0])
    value = observe(answer, logit).value
    if wrong := differs(value, torch.zeros(2), "loss", tolerance=math.inf):
        return wrong
    fall = float(torch.as_tensor(value).double().diff())
    return (
        None
        if fall < -0.5
        else f"from a = {logit[0]:.3g} to {logit[1]:.3g} it falls by {-fall:.4g}"
    )


def _has_a_slope(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    logit = torch.cat([draw.uniform(-4, 4, 4), torch.tensor([-1000.0, 1000.0])])
    (slope,) = observe(answer, logit.requires_grad_()).grads
    if slope is None:
        return "no gradient reaches the logit"
    return differs(slope, -torch.sigmoid(-logit.detach()), "gradient")


LOSS = (
    Property(
        "falls as the logit rises",
        "G minimises it and wants D fooled: the loss must fall as a rises. Look at the sign of a.",
        _falls,
    ),
    Property(
        "is steep where D sees through the fake",
        "At a = -8 this is flat, as log(1 - D) is: the saturating loss. Asked is -log D, whose "
        "slope there is near -1, also with no number added to D, and no mean taken.",
        _steep_where_d_sees_through,
    ),
    Property(
        "is -log sigmoid(a)",
        "Write D = sigmoid(a) into -log D: in nats, log 2 at a = 0, and never below 0. One value "
        "per example: no mean, no half, no small number added inside the log.",
        equals(non_saturating_loss, lambda d: (d.uniform(-4, 4, 6),), "loss"),
    ),
    Property(
        "is finite and right at a = -100 and beyond",
        "sigmoid(-1000) is 0 in floating point and its log -inf; with a small number added the "
        "loss stops rising. Write it without the probability: which function is log(1 + exp(.))?",
        lambda answer, observe, draw: (
            equals(non_saturating_loss, lambda d: (-100 * d.uniform(1, 9, 4),), "loss")(
                answer, observe, draw
            )
            or differs(
                observe(answer, torch.tensor([-110.0])).value,
                torch.tensor([110.0]),
                "loss of a float32 logit",
                tolerance=1e-5,
            )
        ),
    ),
    Property(
        "G gets its gradient, at any logit",
        "The loss is for backward(): build it from torch operations on fake_logit. No gradient? "
        "Something takes it off the graph (detach, item, numpy). NaN or 0? exp(1000) is inf.",
        _has_a_slope,
    ),
)

EXERCISES = (
    Exercise("09-e1", "One round of the game", 20, 3, STEP, gan_step),
    Exercise("09-e2", "The loss that does not saturate", 5, 1, LOSS, non_saturating_loss),
)
