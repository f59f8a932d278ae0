"""Continuous flows: solvers, the density along an ODE, and flow matching, which trains without one.

Noise stands at t = 0, data at t = 1. A velocity is called as `velocity(x, t)`, x (B, ...), t (B,),
and returns dx/dt in the shape of x.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from course_utils.distributions import normal_log_prob
from course_utils.tensors import right_expand, same_shape, sum_per_example

Batch, PerExample = Float[Tensor, "B *event"], Float[Tensor, "B"]
Velocity = Callable[[Tensor, Tensor], Tensor]
Stepper = Callable[[Velocity, Tensor, Tensor, float], Tensor]


def euler_step(velocity: Velocity, x: Batch, t: PerExample, h: float) -> Batch:
    """One step x + h v(x, t): the error of a whole path halves with h.

    Source: Chen et al. 2018, arXiv:1806.07366, section 1 (a residual layer is such a step).
    """
    return x + h * velocity(x, t)


def rk4_step(velocity: Velocity, x: Batch, t: PerExample, h: float) -> Batch:
    """A step of the classical Runge-Kutta method: four velocities, error of a path of order h^4.

    Source: Hairer, Norsett & Wanner 1993, Solving Ordinary Differential Equations I, table 1.2.
    """
    k1 = velocity(x, t)
    k2 = velocity(x + h / 2 * k1, t + h / 2)
    k3 = velocity(x + h / 2 * k2, t + h / 2)
    k4 = velocity(x + h * k3, t + h)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def trajectory(
    velocity: Velocity,
    x: Batch,
    steps: int,
    *,
    start: float = 0.0,
    end: float = 1.0,
    step: Stepper = rk4_step,
) -> Iterator[Batch]:
    """X at the steps + 1 equal times from `start` to `end` of dx/dt = v(x, t), the given x first.

    Raises:
        ValueError: steps < 1.

    Source: Chen et al. 2018, arXiv:1806.07366, eq. 2.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}; legal: 1 or more")
    h = (end - start) / steps
    yield x
    for i in range(steps):
        x = step(velocity, x, x.new_full((len(x),), start + i * h), h)
        yield x


def integrate(velocity: Velocity, x: Batch, steps: int, **options: object) -> Batch:
    """The last x of `trajectory`.

    Source: Chen et al. 2018, arXiv:1806.07366, eq. 3.
    """
    *_, last = trajectory(velocity, x, steps, **options)
    return last


def divergence(
    velocity: Velocity, x: Batch, t: PerExample, probe: Batch | None = None
) -> tuple[Batch, PerExample]:
    """v(x, t) and tr dv/dx per example; with a probe e (E e e^T = I) e^T (dv/dx) e: unbiased.

    The exact trace costs a backward pass for every entry of an example, the probe's one in all.

    Source: Grathwohl et al. 2019, arXiv:1810.01367, eq. 4 and 7 (Hutchinson 1990).
    """
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        v = velocity(x, t)
        if probe is not None:
            (pulled,) = torch.autograd.grad(v, x, probe, create_graph=graph)
            trace = sum_per_example(pulled * probe)
        else:
            flat, trace = v.flatten(1), 0.0
            for i in range(flat.shape[1]):
                keep = graph or i + 1 < flat.shape[1]
                (row,) = torch.autograd.grad(
                    flat[:, i].sum(), x, create_graph=graph, retain_graph=keep
                )
                trace = trace + row.flatten(1)[:, i]
    return (v, trace) if graph else (v.detach(), trace.detach())


def log_prob(
    velocity: Velocity,
    x: Batch,
    steps: int,
    probe: Batch | None = None,
    step: Stepper = rk4_step,
) -> PerExample:
    """Log p_1(x) = log N(x_0; 0, I) - integral of tr dv/dx from 0 to 1, nats; x_0 found backwards.

    With a probe, one per example for the whole path, the integral is unbiased.

    Source: Grathwohl et al. 2019, arXiv:1810.01367, eq. 3 and 8.
    """
    shape, D = x.shape, x[0].numel()

    def both(state: Tensor, t: Tensor) -> Tensor:
        v, trace = divergence(velocity, state[:, :D].reshape(shape), t, probe)
        return torch.cat([v.flatten(1), trace[:, None]], dim=1)

    state = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], dim=1)  # (B, D + 1)
    state = integrate(both, state, steps, start=1.0, end=0.0, step=step)
    x0, zero = state[:, :D], torch.zeros_like(state[:, :D])
    return sum_per_example(normal_log_prob(x0, zero, zero)) + state[:, D]


def flow_matching_loss(velocity: Velocity, x0: Batch, x1: Batch, t: PerExample) -> PerExample:
    """||v(x_t, t) - (x_1 - x_0)||^2 per example, x_t = (1 - t) x_0 + t x_1; x_0 noise, x_1 data.

    Source: Lipman et al. 2023, arXiv:2210.02747, eq. 23 with sigma_min = 0.
    """
    same_shape(x0=x0, x1=x1)
    s = right_expand(t, like=x1)
    return sum_per_example((velocity((1 - s) * x0 + s * x1, t) - (x1 - x0)) ** 2)
