"""The noise schedule of a diffusion: what every step adds, and what is left of the signal.

Time runs t = 1..T as in the papers, and entry t of every table is time t: `alpha_bar[0] = 1` stands
for clean data, so `alpha_bar[t - 1]` needs no special case. Tables are float64 on the CPU.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from course_utils.tensors import right_expand

Table = Float[Tensor, "T1"]  # T1 = T + 1
Time = Int[Tensor, "B"] | int


class NoiseSchedule:
    """Tables over t = 0..T of q(x_t | x_{t-1}) = N(sqrt(alpha_t) x_{t-1}, beta_t I).

    `beta` (beta[0] = 0), `alpha = 1 - beta`, `alpha_bar` = alpha_1 ... alpha_t (alpha_bar[0] = 1),
    `beta_tilde`, the variance of q(x_{t-1} | x_t, x_0) (0 at t = 0 and 1), and `time`, the integer
    that the network is given at each t: t itself, or the original time in a strided schedule.

    Args:
        beta: of t = 1..T, each in (0, 1).
        time: of t = 1..T, if not t itself: positive, increasing.

    Raises:
        ValueError: beta outside (0, 1), or too near one of the two for float64 to tell alpha_bar_t
            from alpha_bar_{t-1}; or not one increasing, positive time for each beta.

    Source: Ho et al. 2020, arXiv:2006.11239, eq. 2, 4 and 7.
    """

    def __init__(
        self, beta: Float[Tensor, "T"] | Sequence[float], time: Int[Tensor, "T"] | None = None
    ) -> None:
        given = torch.as_tensor(beta, dtype=torch.float64, device="cpu").detach()
        if given.ndim != 1 or not len(given) or not ((given > 0) & (given < 1)).all():
            raise ValueError(f"beta {given.tolist()!s:.80}; legal: (T,), each between 0 and 1")
        zero = torch.zeros(1, dtype=torch.int64)
        time = torch.arange(1, len(given) + 1) if time is None else torch.as_tensor(time).cpu()
        time = torch.cat([zero, time])
        whole = not time.is_floating_point()
        if not whole or len(time) != len(given) + 1 or not (time.diff() > 0).all():
            legal = f"{len(given)} increasing, positive integers"
            raise ValueError(f"time {time[1:].tolist()!s:.80}; legal: {legal}")
        self.time = time
        beta = torch.cat([zero.double(), given])
        alpha_bar = (1 - beta).cumprod(0)
        if not (alpha_bar.diff() < 0).all():
            t = 1 + int((alpha_bar.diff() == 0).int().argmax())
            legal = "an alpha_bar that falls at every step"
            raise ValueError(f"alpha_bar stays {alpha_bar[t]:g} at t = {t}; legal: {legal}")
        self.beta, self.alpha, self.alpha_bar = beta, 1 - beta, alpha_bar
        before, now = alpha_bar[:-1], alpha_bar[1:]
        tilde = (1 - before) / (1 - now) * given  # (T,), 0 at t = 1
        self.beta_tilde = torch.cat([zero.double(), tilde])

    @classmethod
    def linear(cls, T: int, first: float = 1e-4, last: float = 0.02) -> "NoiseSchedule":
        """beta_t from `first` at t = 1 to `last` at t = T, in equal steps.

        Source: Ho et al. 2020, arXiv:2006.11239, section 4 (T = 1000).
        """
        return cls(torch.linspace(first, last, _positive(T), dtype=torch.float64))

    @classmethod
    def cosine(cls, T: int, s: float = 0.008, most: float = 0.999) -> "NoiseSchedule":
        """alpha_bar_t = f(t) / f(0), f(t) = cos^2((t/T + s) / (1 + s) pi/2), beta_t <= `most`.

        Source: Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17.
        """
        u = torch.arange(_positive(T) + 1, dtype=torch.float64) / T
        f = ((u + s) / (1 + s) * math.pi / 2).cos().square()
        return cls((1 - f[1:] / f[:-1]).clamp(max=most))

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.beta) - 1

    @property
    def snr(self) -> Table:
        """Signal-to-noise ratio alpha_bar / (1 - alpha_bar), infinite at t = 0."""
        return self.alpha_bar / (1 - self.alpha_bar)

    def strided(self, steps: int | Sequence[int]) -> "NoiseSchedule":
        """The schedule of some of the times: beta_s = 1 - alpha_bar_{t_s} / alpha_bar_{t_{s-1}}.

        Args:
            steps: how many, evenly spaced, the last at T; or the times themselves, increasing.

        Raises:
            ValueError: times outside 1..T, not increasing, or more than T steps.

        Source: Nichol & Dhariwal 2021, arXiv:2102.09672, section 4, eq. 19.
        """
        if isinstance(steps, int):
            steps = torch.linspace(0, self.T, _positive(steps) + 1, dtype=torch.float64)[1:].round()
        chosen = torch.as_tensor(steps).long()
        inside = len(chosen) and 1 <= int(chosen.min()) and int(chosen.max()) <= self.T
        if not inside or (chosen.diff() < 1).any():
            legal = f"up to {self.T} increasing times of 1..{self.T}"
            raise ValueError(f"times {chosen.tolist()!s:.80}; legal: {legal}")
        kept = self.alpha_bar[torch.cat([chosen.new_zeros(1), chosen])]
        return NoiseSchedule(1 - kept[1:] / kept[:-1], self.time[chosen])


def at_time(table: Tensor, t: Time, x: Tensor, first: int = 1) -> Tensor:
    """table[t], (B, 1, ..., 1) or for one t (1, 1, ..., 1), in the dtype and on the device of x.

    Raises:
        ValueError: t outside first..T (on the CPU; an accelerator would have to wait for it), or x
            of whole numbers, in whose dtype every coefficient would be 0.
    """
    if not x.is_floating_point():
        raise ValueError(f"x of {x.dtype}; legal: floating point, such as x.float()")
    if isinstance(t, int):
        t = torch.tensor([t])
    if t.device.type == "cpu" and len(t) and not first <= int(t.min()) <= int(t.max()) < len(table):
        found = f"from {int(t.min())} to {int(t.max())}"
        raise ValueError(f"t {found}; legal: {first} to {len(table) - 1}")
    return right_expand(table.to(x.dtype).to(t.device)[t].to(x.device), like=x)


def _positive(steps: int) -> int:
    if steps < 1:
        raise ValueError(f"{steps} steps; legal: 1 or more")
    return steps
