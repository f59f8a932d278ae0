"""Exercises of lesson 06, the VAE: properties of a right answer, hints, references.

Those on gradient estimators and on latents (06-e3, 06-e5, 06-e6) are in lesson06_latents.py.
"""

import math

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


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, diag exp(log_var)) || N(0, I)) in nats, one value per row; inputs (B, K)."""
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def reparameterise(mean: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    """A z ~ N(mean, exp(log_var)) made from eps ~ N(0, I), all (B, K).

    Gradients flow from z to mean and log_var; eps = 1 lands one standard deviation above the mean.
    """
    return mean + (0.5 * log_var).exp() * eps


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


# 06-e1


def _narrow_is_dear(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    log_var = torch.tensor([[-2.0], [-6.0], [-12.0]], dtype=torch.float64)
    value = observe(answer, 0 * log_var, log_var).value
    if wrong := differs(value, torch.zeros(3), tolerance=math.inf):
        return wrong
    costs = torch.as_tensor(value).tolist()
    rises = costs[1] - costs[0] > 0.5 and costs[2] - costs[1] > 0.5
    text = ", ".join(f"{cost:.4g}" for cost in costs)
    return None if rises else f"you: {text} at sd = 0.37, 0.05, 0.0025 (mean 0); it must rise"


def _never_negative(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    mean, log_var = draw.normal(4, 1), draw.uniform(0.5, 2, 4, 1)
    value = observe(answer, mean, log_var).value
    if wrong := differs(value, torch.zeros(4), tolerance=math.inf):
        return wrong
    lowest = float(torch.as_tensor(value).min())
    return None if lowest > 0 else f"you: {lowest:.4g} for a q wider than the prior"


def _lessons_point(draw: Draw) -> tuple[Tensor, Tensor]:
    mean, sd = (torch.tensor([[v]], dtype=torch.float64) for v in (0.5, 0.2))
    return mean, 2 * sd.log()


KL = (
    Property(
        "a q that is not the prior has a positive price",
        "A KL is never negative: which of log q and log p is subtracted from which?",
        _never_negative,
    ),
    Property(
        "the narrower q, the higher the price",
        "If sd -> 0 costs nothing, the noise dies and the VAE is an autoencoder. Which term is the "
        "barrier? Squares alone give 0.145 at mean 0.5, sd 0.2; the KL is 1.254438.",
        _narrow_is_dear,
    ),
    Property(
        "is zero where q is the prior",
        "At mean 0 and variance 1 nothing is paid: which constant is missing, once per latent?",
        equals(kl_to_standard_normal, lambda d: _q(d, K=1, mean=0, log_var=0)),
    ),
    Property(
        "with variance 1 it is half the squared mean",
        "Put log_var = 0: only the mean is left. Squared? Halved?",
        equals(kl_to_standard_normal, lambda d: _q(d, K=1, log_var=0)),
    ),
    Property(
        "is 1.254438 at mean 0.5, standard deviation 0.2",
        "log_var is the logarithm of the variance, so exp(log_var) is 0.04 here. 0.5297 means that "
        "0.2 was read as the variance, 13.5156 that KL(prior || q) was taken.",
        equals(kl_to_standard_normal, _lessons_point),
    ),
    Property(
        "adds up over the latents, one value per row",
        "Right for one latent: with several, the prices add up. Sum over which axis?",
        equals(kl_to_standard_normal, lambda d: _q(d, K=3)),
    ),
)

# 06-e2


def _eps_decides(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    (mean, log_var), eps = _q(draw, K=3), draw.normal(4, 3)
    first, again, other = (observe(answer, mean, log_var, e).value for e in (eps, eps, -eps))
    for value in (first, again, other):
        if wrong := differs(value, mean, "z", tolerance=math.inf):
            return wrong
    if differs(again, torch.as_tensor(first), "z"):
        return "the same eps gives another z at the second call"
    return "eps and -eps give the same z" if differs(other, first, "z") is None else None


def _gradient_flows(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    (mean, log_var), eps = _q(draw, K=3), draw.normal(4, 3)
    seen = observe(answer, mean.requires_grad_(), log_var.requires_grad_(), eps)
    sd = (0.5 * log_var.detach()).exp()
    right = {"mean": torch.ones(4, 3), "log_var": 0.5 * sd * eps}
    return _wrong_gradient(right, seen.grads)


REPARAMETERISE = (
    Property(
        "the same eps gives the same z, another eps another",
        "The noise is an argument: use it, and draw none of your own. NaN? log_var may be "
        "negative, it has no square root.",
        _eps_decides,
    ),
    Property(
        "eps = 0 gives the mean",
        "Where is the middle of N(mean, exp(log_var))?",
        equals(reparameterise, lambda d: (*_q(d, K=2), torch.zeros(4, 2).double()), "z"),
    ),
    Property(
        "log_var = log 4 and eps = 1 give 2 above the mean",
        "exp(log_var) is the variance, eps counts standard deviations: at log_var = log 4 the "
        "standard deviation is 2. Below the mean? Then look at the sign.",
        equals(
            reparameterise,
            lambda d: (*(torch.full((4, 1), v).double() for v in (0.0, math.log(4), 1.0)),),
            "z",
        ),
    ),
    Property(
        "gradients reach mean and log_var",
        "z must be computed from mean and log_var by torch operations: what takes it off the "
        "graph (detach, item, numpy, no_grad, a sampler)?",
        _gradient_flows,
    ),
    Property(
        "every latent has its own mean, spread and noise",
        "Right for one latent or equal ones: look at the shapes, all three are (B, K).",
        equals(reparameterise, lambda d: (*_q(d, K=3), d.normal(4, 3)), "z"),
    ),
)


# 06-e4


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
        _batch_twice,
    ),
    Property(
        "with a perfect reconstruction only the KL is left",
        "What is minimised is minus the bound, so the KL is added; it is summed over the latents "
        "before rows are averaged. Its weight is 1: with 2 eta the minimum stays where it is, but "
        "the value is no longer in nats.",
        # at this eta the constant D/2 log(2 pi eta) is 0
        equals(vae_loss, lambda d: _perfect(d, eta=0.5 / math.pi), "loss"),
    ),
    Property(
        "with a perfect reconstruction and q = N(0, I) it is 0",
        "The docstring names a constant that is left out: is it in your loss?",
        equals(vae_loss, lambda d: _perfect(d, eta=0.3, mean=0, log_var=0), "loss"),
    ),
    Property(
        "a wrong pixel costs the same in a large image as in a small one",
        "A mean over the pixels against a sum over the latents is off balance by a factor D.",
        _pixels_count_alike,
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
)

EXERCISES = (
    Exercise("06-e1", "The price of a code", 10, 1, KL, kl_to_standard_normal),
    Exercise("06-e2", "Noise from outside", 10, 1, REPARAMETERISE, reparameterise),
    Exercise("06-e4", "The loss of a VAE", 15, 2, LOSS, vae_loss),
)
