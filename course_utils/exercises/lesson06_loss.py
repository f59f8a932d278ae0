"""Exercise 06-e4, the loss of a VAE: properties of a right answer, hints, reference."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Observe,
    Property,
    differs,
    equals,
)


def vae_loss(x: Tensor, x_hat: Tensor, mean: Tensor, log_var: Tensor, eta: float) -> Tensor:
    """Minus the ELBO in nats, averaged over the batch, without the constant D/2 log(2 pi eta).

    x|z ~ N(x_hat, eta I), x and x_hat (B, ...) with D pixels each; q(z|x) = N(mean,
    diag exp(log_var)), both (B, K). One number, from which the gradient flows.
    """
    if x.shape != x_hat.shape:  # two layouts would broadcast without a word
        raise ValueError(f"x {tuple(x.shape)}, x_hat {tuple(x_hat.shape)}; legal: one shape")
    squared_error = ((x - x_hat) ** 2).flatten(1).sum(1)  # (B,)
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)
    return (squared_error / (2 * eta) + kl).mean()


def _q(draw: Draw, K: int, mean: float = 1, log_var: float = 1) -> tuple[Tensor, Tensor]:
    """Mean and log variance, (4, K) each; the arguments scale them."""
    return mean * draw.normal(4, K), log_var * draw.uniform(-2, 1, 4, K)


def _wrong_gradient(right: dict[str, Tensor], grads: tuple) -> str | None:
    for (name, expected), got in zip(right.items(), grads, strict=False):
        if got is None:
            return f"no gradient reaches {name}"
        if wrong := differs(got, expected, f"gradient with respect to {name}"):
            return wrong
    return None


def _extreme(draw: Draw) -> tuple[Tensor, Tensor]:
    return draw.normal(1, 2), torch.tensor([[-60.0, 12.0]], dtype=torch.float64)


def _unless_constant(test: Callable) -> Callable:
    """The test, for a loss that tells one reconstruction from another."""

    def both(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        (x, *images), q = draw.normal(3, 4, 6), _q(draw, K=3)
        one, two = (observe(answer, x, image, *q, 0.3).value for image in images)
        for loss in (one, two):
            if wrong := differs(loss, 0.0, "loss", tolerance=math.inf):
                return wrong
        if float(one) == float(two):
            return "the loss is the same for two different x_hat"
        return test(answer, observe, draw)

    return both


def _batch_twice(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, x_hat, (mean, log_var) = draw.normal(4, 6), draw.normal(4, 6), _q(draw, K=3)
    once = x, x_hat, mean, log_var
    value = observe(answer, *once, 0.3).value
    twice = observe(answer, *(torch.cat([t, t]) for t in once), 0.3).value
    wrong = differs(value, 0.0, tolerance=math.inf)
    return wrong or differs(twice, value, "loss of the batch given twice")


def _pixels_count_alike(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, x_hat, (mean, log_var) = draw.normal(4, 2), draw.normal(4, 2), _q(draw, 3, 0, 0)
    more = torch.zeros(4, 6, dtype=torch.float64)
    value = observe(answer, x, x_hat, mean, log_var, 0.5).value
    padded = torch.cat([x, more], 1), torch.cat([x_hat, more], 1)
    loss = observe(answer, *padded, mean, log_var, 0.5).value
    wrong = differs(value, 0.0, tolerance=math.inf)
    return wrong or differs(loss, value, "loss with six more pixels, all of them right,")


def _perfect(draw: Draw, eta: float, **scale: float) -> tuple:
    x = draw.normal(4, 6)
    return x, x, *_q(draw, 3, **scale), eta


def _gradient_in_x_hat(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, x_hat, (mean, log_var) = draw.normal(4, 1, 2, 3), draw.normal(4, 1, 2, 3), _q(draw, K=3)
    given = x, x_hat.requires_grad_(), mean.requires_grad_(), log_var.requires_grad_(), 0.3
    seen = observe(answer, *given)
    right = vae_loss(*given)
    expected = torch.autograd.grad(right, given[1:4])
    wrong = differs(seen.value, right.item(), "loss")
    named = dict(zip(("x_hat", "mean", "log_var"), expected, strict=True))
    return wrong or _wrong_gradient(named, seen.grads[1:])


LOSS = (
    Property(
        "a batch given twice has the loss of one",
        "The loss is an average over the rows of the batch, in both of its terms.",
        _unless_constant(_batch_twice),
    ),
    Property(
        "with a perfect reconstruction only the KL is left",
        "What is minimised is minus the bound, so the KL is added; it is summed over the latents "
        "(the -1 once for each) before rows are averaged. Its weight is 1: with 2 eta the minimum "
        "stays where it is, but the value is no longer in nats.",
        # at this eta the constant D/2 log(2 pi eta) is 0
        equals(vae_loss, lambda d: _perfect(d, eta=0.5 / math.pi), "loss"),
    ),
    Property(
        "with a perfect reconstruction and q = N(0, I) it is 0",
        "The docstring names a constant that is left out: is it in your loss?",
        _unless_constant(
            equals(vae_loss, lambda d: _perfect(d, eta=0.3, mean=0, log_var=0), "loss")
        ),
    ),
    Property(
        "a wrong pixel costs the same in a large image as in a small one",
        "A mean over the pixels against a sum over the latents is off balance by a factor D.",
        _unless_constant(_pixels_count_alike),
    ),
    Property(
        "the squared error weighs more where eta is small",
        "Squared error plus KL is the bound for eta = 1/2 only. In log N(x; x_hat, eta I) the "
        "error is divided by 2 eta: the 2 belongs to it, and eta is a variance already, not to be "
        "squared.",
        equals(vae_loss, lambda d: (d.normal(4, 6), d.normal(4, 6), *_q(d, 3, 0, 0), 0.1), "loss"),
    ),
    Property(
        "is right for images (B, C, H, W), and gradients reach every input",
        "Which axes of an image are summed? And what takes the loss off the graph (detach, item, "
        "float, no_grad)?",
        _gradient_in_x_hat,
    ),
    Property(
        "very narrow and very wide latents pay in full",
        "log_var is what you are given: is it clamped, or a small number added before a log?",
        equals(vae_loss, lambda d: (d.normal(1, 2), d.normal(1, 2), *_extreme(d), 0.3), "loss"),
    ),
)

EXERCISES = (Exercise("06-e4", "The loss of a VAE", 15, 2, LOSS, vae_loss),)
