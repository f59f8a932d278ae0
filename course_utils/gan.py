"""Generative adversarial networks: the objectives from logits, one training step, reusable parts.

    V(D, G) = E_p(x)[log D(x)] + E_p(z)[log(1 - D(G(z)))],    D = sigmoid(a), a the logit

A discriminator returns logits (B,): a(x) = log p(x) - log p_g(x) where it is optimal, so nothing
here ever takes the log of a probability. Generator and discriminator are any two networks; all
values are per example, in nats. Noise comes in as an argument; only `sample` and
`instance_noise` draw it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from course_utils.tensors import same_shape

Logits = Float[Tensor, "B"]
Network = Callable[..., Tensor]


def discriminator_loss(real_logits: Logits, fake_logits: Logits) -> Logits:
    """`-log D(x) - log(1 - D(G(z)))`: minus one summand of V, cross-entropy of real and fake.

    The optimal discriminator of two laws p and p_g, the one of least loss, is
    `D* = p / (p + p_g) = sigmoid(log p - log p_g)`: its logit is the log ratio of the densities.

    Raises:
        ValueError: logits of two shapes, such as (B,) and (B, 1).

    Source: Goodfellow et al. 2014, arXiv:1406.2661, eq. 1 and algorithm 1.
    """
    same_shape(real_logits=real_logits, fake_logits=fake_logits)
    return F.softplus(-real_logits) + F.softplus(fake_logits)


def saturating_loss(fake_logits: Logits) -> Logits:
    """`log(1 - D(G(z)))`, the generator's part of V; its slope in the logit is -D, 0 far away.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, eq. 1.
    """
    return -F.softplus(fake_logits)


def non_saturating_loss(fake_logits: Logits) -> Logits:
    """`-log D(G(z))`; its slope in the logit is -(1 - D), -1 far away: another gradient field.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 3.
    """
    return F.softplus(-fake_logits)


def relativistic_loss(logits: Logits, other_logits: Logits) -> Logits:
    """`-log sigmoid(a - a')`: the loss of whoever wants a above the a' it is paired with.

    D minimises it with a real a and a fake a', G with the two exchanged: the pairs tell D to rank,
    not to classify; only differences of logits count, their common level is free.

    Raises:
        ValueError: logits of two shapes, such as (B,) and (B, 1).

    Source: Jolicoeur-Martineau 2018, arXiv:1807.00734 (RSGAN).
    """
    same_shape(logits=logits, other_logits=other_logits)
    return F.softplus(other_logits - logits)


class Objective(NamedTuple):
    """The two losses of a game, each (real logits, fake logits) -> (B,)."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


MINIMAX = Objective(discriminator_loss, lambda real, fake: saturating_loss(fake))
NON_SATURATING = Objective(discriminator_loss, lambda real, fake: non_saturating_loss(fake))
RELATIVISTIC = Objective(relativistic_loss, lambda real, fake: relativistic_loss(fake, real))


def gradient_penalty(
    discriminator: Network, x: Float[Tensor, "B *event"], *given: Tensor
) -> Logits:
    """`||grad_x a(x)||^2` per example, differentiable: R1 where x is real, R2 where it is fake.

    Args:
        discriminator: (x, *given) -> logits (B,), each a function of its own example.
        x: where the slope is taken.
        given: what a conditional discriminator sees too, such as labels.

    Source: Mescheder, Geiger & Nowozin 2018, arXiv:1801.04406, eq. 9 and 10, times 2 / gamma.
    """
    x = x.detach().requires_grad_()
    return _squared_slope(discriminator(x, *given), x)


class GanStep(NamedTuple):
    """What one `gan_step` saw: mean losses in nats, mean logits (D's last update, before it)."""

    discriminator_loss: float
    generator_loss: float
    real_logit: float
    fake_logit: float


def gan_step(
    generator: Network,
    discriminator: Network,
    generator_optimiser: Optimizer,
    discriminator_optimiser: Optimizer,
    x: Float[Tensor, "k B *event"],
    z: Float[Tensor, "k_plus_1 B K"],
    objective: Objective = NON_SATURATING,
    gamma: float = 0.0,
) -> GanStep:
    """Algorithm 1: k updates of D, then one of G; each moves only what its own optimiser holds.

    Args:
        generator: z (B, K) -> (B, *event).
        discriminator: (B, *event) -> logits (B,); may add `instance_noise` to what it is given.
        generator_optimiser: of G's parameters alone.
        discriminator_optimiser: of D's parameters alone.
        x: k batches of real data.
        z: k + 1 batches of noise, fresh for each of D's updates and for G's.
        objective: `MINIMAX`, `NON_SATURATING`, `RELATIVISTIC`, or any other pair of losses.
        gamma: weight of R1 and R2: gamma / 2 (E||grad a(x)||^2 + E||grad a(G(z))||^2) for D.

    Raises:
        ValueError: no batch of x, or not one batch of z more than of x.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, algorithm 1; R1 + R2: Huang et al. 2025,
    arXiv:2501.05441 (R3GAN).
    """
    if len(x) < 1 or len(z) != len(x) + 1:
        raise ValueError(f"{len(x)} batches of x, {len(z)} of z; legal: k >= 1 and k + 1")
    for real, noise in zip(x, z, strict=False):  # the last z is G's
        with torch.no_grad():  # D's update ends at the image: G has no part in it
            fake = generator(noise)
        real, fake = real.detach().requires_grad_(gamma > 0), fake.requires_grad_(gamma > 0)
        a_real, a_fake = discriminator(real), discriminator(fake)
        d_loss = loss = objective.discriminator(a_real, a_fake).mean()
        if gamma > 0:
            slopes = _squared_slope(a_real, real) + _squared_slope(a_fake, fake)
            loss = loss + gamma / 2 * slopes.mean()
        _update(discriminator_optimiser, loss)
    g_loss = objective.generator(discriminator(x[-1]), discriminator(generator(z[-1]))).mean()
    _update(generator_optimiser, g_loss)
    return GanStep(*(v.item() for v in (d_loss, g_loss, a_real.mean(), a_fake.mean())))


class SkipGenerator(nn.Module):
    """G(z) = a z + f(z), f = 0 at the start: it begins as N(0, a^2 I), which covers every mode.

    Args:
        f: a network of z (B, D) -> (B, D) whose last layer is linear; that layer is set to 0.
        a: standard deviation of the first samples, about that of the data; it is trained, too.

    Raises:
        ValueError: the last module of f has no weight and bias to set to 0.
    """

    def __init__(self, f: nn.Module, a: float = 1.0) -> None:
        super().__init__()
        last = list(f.modules())[-1]
        if not isinstance(last, nn.Linear) or last.bias is None:
            raise ValueError(f"f ends in {last}; legal: a Linear layer with a bias")
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.f, self.a = f, nn.Parameter(torch.tensor(float(a)))

    def forward(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """`a z + f(z)`."""
        return self.a * z + self.f(z)


def instance_noise(
    x: Float[Tensor, "B *event"], sd: float, generator: Generator | None = None
) -> Float[Tensor, "B *event"]:
    """`x + sd eps, eps ~ N(0, I)`: real and fake, blurred alike, overlap, and D has a slope.

    Source: Sønderby et al. 2017, arXiv:1610.04490; Arjovsky & Bottou 2017,
    arXiv:1701.04862, section 3.
    """
    return x + sd * torch.randn(x.shape, generator=generator).to(x)


@torch.no_grad()
def sample(
    generator: nn.Module, n: int, latent_dim: int, rng: Generator | None = None
) -> Float[Tensor, "n *event"]:
    """`G(z), z ~ N(0, I)`: after training D is dropped. z is drawn on the CPU, in G's dtype.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 3.
    """
    return generator(torch.randn(n, latent_dim, generator=rng).to(next(generator.parameters())))


def _squared_slope(logits: Logits, x: Tensor) -> Logits:
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return slope.flatten(1).square().sum(dim=1)


def _update(optimiser: Optimizer, loss: Tensor) -> None:
    """One step; `inputs` keeps the backward pass out of every other network's gradient."""
    optimiser.zero_grad()
    loss.backward(inputs=[p for group in optimiser.param_groups for p in group["params"]])
    optimiser.step()
