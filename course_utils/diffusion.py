"""Denoising diffusion (DDPM): kernels, losses and Algorithm 2, for any shape of x.

Tables are a `NoiseSchedule`'s, entry t is time t = 1..T, and alpha_bar[0] = 1; what a kernel
returns has the dtype and device of its x. Kernels draw no noise, `trajectory` does. What stands for
one x each, x0, xt, eps or z, has one shape: anything else is a `ValueError`.
A network is called as `model(x, t)`, t (B,) int64; it returns eps, or eps and v along dimension 1.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from course_utils.distributions import normal_log_prob
from course_utils.schedules import NoiseSchedule, Table, Time, at_time
from course_utils.tensors import right_expand, same_shape, sum_per_example

Batch, PerExample = Float[Tensor, "B *event"], Float[Tensor, "B"]
Model = Callable[[Tensor, Tensor], Tensor]


def q_sample(schedule: NoiseSchedule, x0: Batch, t: Time, eps: Batch) -> Batch:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps ~ q(x_t | x_0) for eps ~ N(0, I).

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 4.
    """
    same_shape(x0=x0, eps=eps)
    signal = at_time(schedule.alpha_bar.sqrt(), t, x0, first=0)
    noise = at_time((1 - schedule.alpha_bar).sqrt(), t, x0, first=0)
    return signal * x0 + noise * eps


def q_posterior(schedule: NoiseSchedule, x0: Batch, xt: Batch, t: Time) -> tuple[Batch, Tensor]:
    """Mean (B, ...) and variance (B or 1, 1, ...) of q(x_{t-1} | x_t, x_0); x_0 and 0 at t = 1.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7.
    """
    same_shape(x0=x0, xt=xt)
    alpha, alpha_bar = schedule.alpha, schedule.alpha_bar
    before = alpha_bar.roll(1)  # alpha_bar_{t-1}; entry 0 is not used
    to_xt = alpha.sqrt() * (1 - before) / (1 - alpha_bar)
    to_x0 = before.sqrt() * schedule.beta / (1 - alpha_bar)
    mean = at_time(to_xt, t, xt) * xt + at_time(to_x0, t, xt) * x0
    return mean, at_time(schedule.beta_tilde, t, xt)


def predict_x0(schedule: NoiseSchedule, xt: Batch, t: Time, eps: Batch) -> Batch:
    """x_0 = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t): `q_sample` solved for x_0.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 15.
    """
    same_shape(xt=xt, eps=eps)
    noise = at_time((1 - schedule.alpha_bar).sqrt(), t, xt, first=0)
    return (xt - noise * eps) / at_time(schedule.alpha_bar.sqrt(), t, xt, first=0)


def mean_from_eps(schedule: NoiseSchedule, xt: Batch, t: Time, eps: Batch) -> Batch:
    """Mu = (x_t - beta_t / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_t).

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 11.
    """
    same_shape(xt=xt, eps=eps)
    share = at_time(schedule.beta / (1 - schedule.alpha_bar).sqrt(), t, xt)
    return (xt - share * eps) / at_time(schedule.alpha.sqrt(), t, xt)


def loss_weight(schedule: NoiseSchedule, sigma2: Table) -> Table:
    """lambda_t = beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha_bar_t)), the weight of L_{t-1}.

    Returns: (T + 1,), 0 at t = 0 (no term of the bound), infinite where sigma_t^2 = 0.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 12.
    """
    weight = schedule.beta**2 / (2 * sigma2 * schedule.alpha * (1 - schedule.alpha_bar))
    return torch.cat([weight.new_zeros(1), weight[1:]])


def simple_loss(
    model: Model, schedule: NoiseSchedule, x0: Batch, t: Int[Tensor, "B"], eps: Batch
) -> PerExample:
    """||eps - eps_model(x_t, t)||^2, x_t = q_sample(x_0, t, eps): the sum over all entries.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 14; algorithm 1 with t ~ U{1..T}, eps ~ N(0, I).
    """
    predicted = model(q_sample(schedule, x0, t, eps), _given(schedule, t))
    if predicted.shape != x0.shape:
        raise ValueError(f"the network gave {tuple(predicted.shape)} for x {tuple(x0.shape)}")
    return sum_per_example((eps - predicted).square())


def learned_log_var(schedule: NoiseSchedule, v: Batch, t: Time) -> Batch:
    """Learned variance: log sigma^2 = v log beta_t + (1 - v) log beta_tilde_t, v in [0, 1].

    At t = 1, where beta_tilde_1 = 0, beta_tilde_2 takes its place (beta_1 if T = 1).

    Source: Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 15.
    """
    low = schedule.beta_tilde.clone()
    low[1] = low[2] if schedule.T > 1 else schedule.beta[1]
    return v * at_time(schedule.beta.log(), t, v) + (1 - v) * at_time(low.log(), t, v)


def p_moments(
    schedule: NoiseSchedule,
    output: Float[Tensor, "B *any"],
    xt: Batch,
    t: Time,
    sigma2: Table | None = None,
    clip: float | None = None,
) -> tuple[Batch, Tensor]:
    """Mean (B, ...) and variance of p(x_{t-1} | x_t) = N(mu, sigma_t^2 I) from a network's output.

    Args:
        schedule: of the chain.
        output: eps, shaped like x_t; or eps and v, twice as long along dimension 1, v = -1 giving
            beta_tilde_t and v = 1 giving beta_t.
        xt: the state.
        t: its time.
        sigma2: (T + 1,), such as `schedule.beta_tilde`; if None v decides, beta if there is none.
        clip: x_0 as predicted is kept in [-clip, clip], the range of the data.

    Raises:
        ValueError: an output of another shape.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 11; Nichol & Dhariwal 2021, arXiv:2102.09672.
    """
    twice = output.ndim > 1 and output.shape[1] == 2 * xt.shape[1]
    eps, v = output.chunk(2, dim=1) if twice else (output, None)
    if eps.shape != xt.shape:
        raise ValueError(f"the network gave {tuple(output.shape)} for x {tuple(xt.shape)}")
    if clip is None:
        mean = mean_from_eps(schedule, xt, t, eps)
    else:
        x0 = predict_x0(schedule, xt, t, eps).clamp(-clip, clip)
        mean, _ = q_posterior(schedule, x0, xt, t)
    if v is not None and sigma2 is None:
        return mean, learned_log_var(schedule, (v + 1) / 2, t).exp()
    return mean, at_time(schedule.beta if sigma2 is None else sigma2, t, xt)


def bound_term(
    schedule: NoiseSchedule, x0: Batch, xt: Batch, t: Int[Tensor, "B"], mean: Batch, var: Tensor
) -> PerExample:
    """KL(q(x_{t-1} | x_t, x_0) || N(mean, var)) for t >= 2; -log N(x_0; mean, var) at t = 1.

    Returns: nats per example, L_{t-1} or L_0. Added over t = 1..T, with L_T, it bounds -log p(x_0).

    Raises:
        ValueError: two shapes of x; or (on the CPU) a variance of 0, as beta_tilde has at t = 1:
            L_0 is then no density.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 5. Deviation: a density at t = 1, no bins.
    """
    same_shape(x0=x0, xt=xt, mean=mean)
    if var.device.type == "cpu" and not (var > 0).all():
        least, legal = float(var.min()), "positive; sigma2 = beta_tilde is 0 at t = 1"
        raise ValueError(f"a variance of {least:g}; legal: {legal}")
    var = var.expand_as(mean)
    target, tilde = q_posterior(schedule, x0, xt, t)
    last = right_expand(t, like=x0) == 1
    ratio = torch.where(last, torch.ones_like(var), tilde / var)
    kl = 0.5 * ((target - mean) ** 2 / var + ratio - 1 - ratio.log())
    return sum_per_example(torch.where(last, -normal_log_prob(x0, mean, var.log()), kl))


def hybrid_loss(
    model: Model,
    schedule: NoiseSchedule,
    x0: Batch,
    t: Int[Tensor, "B"],
    eps: Batch,
    weight: float = 0.001,
) -> PerExample:
    """L_simple + weight T L_{t-1} for a network that returns eps and v; L_{t-1} moves only v.

    Raises:
        ValueError: an output that is not twice as long as x along dimension 1.

    Source: Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 16, weight 0.001.
    """
    xt = q_sample(schedule, x0, t, eps)
    output = model(xt, _given(schedule, t))
    if output.shape != torch.Size([len(x0), 2 * x0.shape[1], *x0.shape[2:]]):
        raise ValueError(f"the network gave {tuple(output.shape)} for x {tuple(x0.shape)}")
    predicted, v = output.chunk(2, dim=1)
    frozen = torch.cat([predicted.detach(), v], dim=1)
    term = bound_term(schedule, x0, xt, t, *p_moments(schedule, frozen, xt, t))
    return sum_per_example((eps - predicted).square()) + weight * schedule.T * term


def p_sample(
    schedule: NoiseSchedule,
    output: Float[Tensor, "B *any"],
    xt: Batch,
    t: Time,
    z: Batch,
    sigma2: Table | None = None,
    clip: float | None = None,
) -> Batch:
    """x_{t-1} = mu + sigma_t z, z ~ N(0, I); at t = 1 x_0 = mu, whatever z is. See `p_moments`.

    Source: Ho et al. 2020, arXiv:2006.11239, algorithm 2, lines 3 and 4.
    """
    same_shape(xt=xt, z=z)
    mean, var = p_moments(schedule, output, xt, t, sigma2, clip)
    return mean + at_time(torch.arange(schedule.T + 1) > 1, t, xt) * var.sqrt() * z


class State(NamedTuple):
    """A state x_t of Algorithm 2."""

    t: int
    x: Tensor


def trajectory(
    model: Model,
    schedule: NoiseSchedule,
    shape: Sequence[int],
    *,
    sigma2: Table | None = None,
    clip: float | None = None,
    rng: Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Iterator[State]:
    """Algorithm 2 in view: yields (T, x_T), (T - 1, x_{T-1}), ..., (0, x_0); noise from the CPU.

    Args: as in `p_moments`; shape (B, ...) of x. With a strided schedule t counts its own steps.

    Source: Ho et al. 2020, arXiv:2006.11239, algorithm 2.
    """
    x = torch.randn(*shape, generator=rng, dtype=dtype).to(device)
    yield State(schedule.T, x)
    for t in range(schedule.T, 0, -1):
        z = torch.randn(*shape, generator=rng, dtype=dtype).to(device)
        times = torch.full((len(x),), int(schedule.time[t]), device=x.device)
        with torch.no_grad():
            x = p_sample(schedule, model(x, times), x, t, z, sigma2, clip)
        yield State(t - 1, x)


def sample(
    model: Model, schedule: NoiseSchedule, shape: Sequence[int], **options: object
) -> Tensor:
    """x_0, the last state of `trajectory`, with the same options; put the model in eval mode first.

    Source: Ho et al. 2020, arXiv:2006.11239, algorithm 2.
    """
    *_, last = trajectory(model, schedule, shape, **options)
    return last.x


def _given(schedule: NoiseSchedule, t: Tensor) -> Tensor:
    """The times that the network is told."""
    return schedule.time.to(t.device)[t]
