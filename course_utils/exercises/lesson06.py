"""Exercises of lesson 06, the VAE: properties of a right answer, hints, references.

The gradient estimators (06-e3) are in lesson06_gradients.py, the loss (06-e4) in lesson06_loss.py,
latents (06-e5, 06-e6) in lesson06_latents.py.
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
    """KL(N(mean, diag exp(log_var)) || N(0, I)) in nats, one value per row; inputs (B, K).

    Gradients flow to mean and log_var.
    """
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)


def reparameterise(mean: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    """A z ~ N(mean, exp(log_var)) made from eps ~ N(0, I), all (B, K).

    Gradients flow from z to mean and log_var; eps = 1 lands one standard deviation above the mean.
    """
    return mean + (0.5 * log_var).exp() * eps


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
    lowest, highest = map(float, torch.as_tensor(value).aminmax())
    if lowest == highest:
        return f"you: {lowest:.4g} for four different q"
    return None if lowest > 0 else f"you: {lowest:.4g} for a q wider than the prior"


def _lessons_point(draw: Draw) -> tuple[Tensor, Tensor]:
    mean, sd = (torch.tensor([[v]], dtype=torch.float64) for v in (0.5, 0.2))
    return mean, 2 * sd.log()


def _price_has_gradients(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    mean, log_var = _q(draw, K=3)
    seen = observe(answer, mean.requires_grad_(), log_var.requires_grad_())
    right = {"mean": mean.detach(), "log_var": 0.5 * (log_var.detach().exp() - 1)}
    return _wrong_gradient(right, seen.grads)


def _extreme(draw: Draw) -> tuple[Tensor, Tensor]:
    return draw.normal(1, 2), torch.tensor([[-60.0, 12.0]], dtype=torch.float64)


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
        "At mean 0 and variance 1 nothing is paid: which constant is missing, once per latent? And "
        "is a small number added?",
        equals(kl_to_standard_normal, lambda d: _q(d, K=1, mean=0, log_var=0)),
    ),
    Property(
        "with variance 1 it is half the squared mean",
        "Put log_var = 0: only the mean is left. Squared? Halved? In nats?",
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
        "Right for one latent: with several, the prices add up, and the -1 comes once for each. "
        "Sum over which axis?",
        equals(kl_to_standard_normal, lambda d: _q(d, K=3)),
    ),
    Property(
        "very narrow and very wide latents pay in full",
        "log_var is what you are given: is it clamped, or a small number added before a log?",
        equals(kl_to_standard_normal, _extreme),
    ),
    Property(
        "gradients reach mean and log_var",
        "The encoder learns through this price. What takes it off the graph (detach, item, numpy, "
        "no_grad)?",
        _price_has_gradients,
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


def _two_above_the_mean(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    """At mean 0, then elsewhere and with eps = -1."""
    log_var = torch.full((4, 1), math.log(4), dtype=torch.float64)
    for mean, eps in ((0 * log_var, 1.0), (draw.normal(4, 1), -1.0)):
        z = observe(answer, mean, log_var, torch.full_like(mean, eps)).value
        if wrong := differs(z, mean + 2 * eps, "z"):
            return wrong
    return None


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
        "standard deviation is 2, nothing is added to it. Below the mean? Then look at the sign.",
        _two_above_the_mean,
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
    Property(
        "very narrow and very wide latents are what log_var says",
        "log_var is what you are given: is it clamped, or a small number added to the deviation?",
        equals(reparameterise, lambda d: (*_extreme(d), d.normal(1, 2)), "z"),
    ),
)


EXERCISES = (
    Exercise("06-e1", "The price of a code", 10, 1, KL, kl_to_standard_normal),
    Exercise("06-e2", "Noise from outside", 10, 1, REPARAMETERISE, reparameterise),
)
