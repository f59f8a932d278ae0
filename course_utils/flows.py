"""Normalizing flows: couplings, splines, the layers of Glow.

A layer maps from data towards noise: `y, log_det = layer(x)`, log_det (B,) = log|det dy/dx| in
nats; `layer.inverse(y)` is x. Dimension 1 of x is split: vectors (B, D) and images (B, C, H, W)
take the same couplings. Flows without layers, along an ODE: flow_matching.py.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from course_utils.distributions import normal_log_prob
from course_utils.tensors import sum_per_example

Batch, PerExample = Float[Tensor, "B *event"], Float[Tensor, "B"]
Mapped = tuple[Tensor, Tensor]  # y like x, and log|det dy/dx| (B,)
LEAST = 1e-3  # share of the box of a spline's smallest bin, and its smallest slope


class Flow(nn.Module):
    """x -> z through layers; log p(x) = log N(f(x); 0, I) + sum of the layers' log-determinants.

    Source: Papamakarios et al. 2021, arXiv:1912.02762, eq. 9.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Batch) -> Mapped:
        """Z and log|det dz/dx|: data to noise."""
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Batch) -> Float[Tensor, "B *data"]:
        """X: noise to data, the layers backwards."""
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        return z

    def log_prob(self, x: Batch) -> PerExample:
        """Log p(x) in nats per example, exact."""
        z, log_det = self(x)
        zero = torch.zeros_like(z)
        return sum_per_example(normal_log_prob(z, zero, zero)) + log_det

    @torch.no_grad()
    def sample(
        self, n: int, shape: Sequence[int], generator: Generator | None = None, sd: float = 1.0
    ) -> Float[Tensor, "n *event"]:
        """f^-1(z), z ~ N(0, sd^2 I) of this shape (that of z); sd below 1 narrows the draws."""
        like = next(self.parameters())
        return self.inverse(sd * torch.randn(n, *shape, generator=generator).to(like))


class _Coupling(nn.Module):
    """What stays (`kept`) decides, through `net`, how the rest (`moved`) is mapped."""

    def __init__(self, kept: Sequence[int], moved: Sequence[int], net: nn.Module) -> None:
        super().__init__()
        if sorted([*kept, *moved]) != list(range(len(kept) + len(moved))) or not (kept and moved):
            legal = "each index of dimension 1 in one of the two, neither empty"
            raise ValueError(f"kept {list(kept)}, moved {list(moved)}; legal: {legal}")
        self.net = net
        self.register_buffer("kept", torch.tensor(kept), persistent=False)
        self.register_buffer("moved", torch.tensor(moved), persistent=False)


class AffineCoupling(_Coupling):
    """y_a = x_a, y_b = x_b exp(s(x_a)) + t(x_a); log|det dy/dx| = sum of s.

    `net` maps x_a to (s, t) side by side in dimension 1, twice as many as moved; s is limited to
    (-limit, limit) by limit * tanh(s / limit).

    Source: Dinh et al. 2017, arXiv:1605.08803, eq. 4 to 8.
    """

    def __init__(
        self, kept: Sequence[int], moved: Sequence[int], net: nn.Module, limit: float = 2.0
    ) -> None:
        super().__init__(kept, moved, net)
        self.limit = limit

    def _scale_and_shift(self, x: Batch) -> tuple[Tensor, Tensor]:
        s, t = self.net(x[:, self.kept]).chunk(2, dim=1)
        return self.limit * torch.tanh(s / self.limit), t

    def forward(self, x: Batch) -> Mapped:
        """Y and the sum of s."""
        s, t = self._scale_and_shift(x)
        y = x.index_copy(1, self.moved, x[:, self.moved] * s.exp() + t)
        return y, sum_per_example(s)

    def inverse(self, y: Batch) -> Batch:
        """x_b = (y_b - t(y_a)) exp(-s(y_a))."""
        s, t = self._scale_and_shift(y)
        return y.index_copy(1, self.moved, (y[:, self.moved] - t) * (-s).exp())


class SplineCoupling(_Coupling):
    """As `AffineCoupling`, but each moved number passes a monotone spline on [-bound, bound].

    `net` maps x_a (B, |a|) to (B, |b| (3 bins - 1)): widths, heights and inner slopes, as logits.

    Source: Durkan et al. 2019, arXiv:1906.04032, section 3.
    """

    def __init__(
        self,
        kept: Sequence[int],
        moved: Sequence[int],
        net: nn.Module,
        bins: int = 8,
        bound: float = 6.0,
    ) -> None:
        super().__init__(kept, moved, net)
        self.bins, self.bound = bins, bound

    def _map(self, x: Tensor, inverse: bool) -> Mapped:
        given = self.net(x[:, self.kept]).unflatten(1, (len(self.moved), 3 * self.bins - 1))
        knots = given.split([self.bins, self.bins, self.bins - 1], dim=-1)
        y, log_slope = rational_quadratic(x[:, self.moved], *knots, self.bound, inverse)
        return x.index_copy(1, self.moved, y), log_slope.sum(dim=1)

    def forward(self, x: Float[Tensor, "B D"]) -> Mapped:
        """Y and the sum of the log-slopes."""
        return self._map(x, inverse=False)

    def inverse(self, y: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The root of a quadratic in each bin."""
        return self._map(y, inverse=True)[0]


def rational_quadratic(
    x: Float[Tensor, "*n"],
    widths: Float[Tensor, "*n K"],
    heights: Float[Tensor, "*n K"],
    slopes: Float[Tensor, "*n K-1"],
    bound: float,
    inverse: bool = False,
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """A monotone rational-quadratic spline with K bins on [-bound, bound], the identity outside.

    Widths and heights are softmax logits, inner slopes softplus logits (0 gives slope 1).

    Returns: y and log dy/dx; with `inverse` the x of y = `x`, and log dx/dy.

    Source: Durkan et al. 2019, arXiv:1906.04032, eq. 4 to 8.
    """
    X, Y = (_knots(logits, bound) for logits in (widths, heights))
    d = F.pad(LEAST + F.softplus(slopes + math.log(math.e - 1)), (1, 1), value=1.0)
    inside = x.abs() < bound
    v = torch.where(inside, x, 0.0)
    knots = (Y if inverse else X).detach().contiguous()
    k = torch.searchsorted(knots, v.detach()[..., None], right=True) - 1
    k = k.clamp(0, widths.shape[-1] - 1)
    x0, y0, d0 = (t.gather(-1, k)[..., 0] for t in (X, Y, d))
    x1, y1, d1 = (t.gather(-1, k + 1)[..., 0] for t in (X, Y, d))
    w, h = x1 - x0, y1 - y0
    s = h / w
    bend = d0 + d1 - 2 * s
    if inverse:
        a, b, c = h * (s - d0) + (v - y0) * bend, h * d0 - (v - y0) * bend, -s * (v - y0)
        xi = 2 * c / (-b - (b**2 - 4 * a * c).clamp(min=0).sqrt())
    else:
        xi = (v - x0) / w
    below = s + bend * xi * (1 - xi)
    y = x0 + xi * w if inverse else y0 + h * (s * xi**2 + d0 * xi * (1 - xi)) / below
    rising = d1 * xi**2 + 2 * s * xi * (1 - xi) + d0 * (1 - xi) ** 2
    log_slope = 2 * s.log() + rising.log() - 2 * below.log()
    log_slope = torch.where(inside, -log_slope if inverse else log_slope, 0.0)
    return torch.where(inside, y, x), log_slope


def _knots(logits: Tensor, bound: float) -> Tensor:
    """K + 1 knots from -bound to bound, no bin narrower than LEAST of the box."""
    K = logits.shape[-1]
    bins = LEAST + (1 - LEAST * K) * logits.softmax(dim=-1)
    return 2 * bound * F.pad(bins.cumsum(dim=-1), (1, 0)) - bound


class ActNorm(nn.Module):
    """y = (x - m) / sd per channel, first set by the first batch: log|det| = -h w sum log sd.

    Source: Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_sd = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Mapped:
        """Y and -h w sum log sd."""
        if not self.started:
            with torch.no_grad():
                self.mean.copy_(x.mean(dim=(0, 2, 3))[:, None, None])
                self.log_sd.copy_(x.std(dim=(0, 2, 3)).clamp(min=0.05).log()[:, None, None])
                self.started.fill_(True)
        y = (x - self.mean) * (-self.log_sd).exp()
        return y, -(x[0, 0].numel() * self.log_sd.sum()).expand(len(x))

    def inverse(self, y: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Back to m + sd y."""
        return self.mean + self.log_sd.exp() * y


class InvertibleConv(nn.Module):
    """y = W x at each pixel, W = P L (U + diag(sign exp(log_s))); log|det| = h w sum log_s.

    Source: Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        P, L, U = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.register_buffer("P", P)
        self.register_buffer("sign", U.diagonal().sign())
        self.L, self.U = nn.Parameter(L), nn.Parameter(U)
        self.log_s = nn.Parameter(U.diagonal().abs().log())

    def weight(self) -> Float[Tensor, "C C"]:
        """W."""
        L = self.L.tril(-1) + torch.eye(len(self.L)).to(self.L)
        return self.P @ L @ (self.U.triu(1) + torch.diag(self.sign * self.log_s.exp()))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Mapped:
        """Y and h w sum log_s."""
        y = F.conv2d(x, self.weight()[:, :, None, None])
        return y, (x[0, 0].numel() * self.log_s.sum()).expand(len(x))

    def inverse(self, y: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """W^-1 at each pixel."""
        return F.conv2d(y, torch.linalg.inv(self.weight())[:, :, None, None])


class Squeeze(nn.Module):
    """2x2 pixels become four channels; |det| = 1.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6.
    """

    def forward(self, x: Float[Tensor, "B C H W"]) -> Mapped:
        """(B, 4C, H/2, W/2) and 0."""
        return F.pixel_unshuffle(x, 2), x.new_zeros(len(x))

    def inverse(self, y: Float[Tensor, "B C H W"]) -> Float[Tensor, "B c h w"]:
        """Channels back to pixels."""
        return F.pixel_shuffle(y, 2)


class Logit(nn.Module):
    """y = logit(a + (1 - 2a) x) takes [0, 1] to the line; a keeps the ends finite.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 4.1.
    """

    def __init__(self, a: float = 0.02) -> None:
        super().__init__()
        self.a = a

    def forward(self, x: Batch) -> Mapped:
        """Y and the sum of log(1 - 2a) - log p - log(1 - p), p = a + (1 - 2a) x."""
        p = self.a + (1 - 2 * self.a) * x
        return p.logit(), sum_per_example(math.log(1 - 2 * self.a) - p.log() - (1 - p).log())

    def inverse(self, y: Batch) -> Batch:
        """(sigmoid(y) - a) / (1 - 2a)."""
        return (y.sigmoid() - self.a) / (1 - 2 * self.a)


class OnFirstHalf(nn.Module):
    """Only the first half of the channels goes on through `flow`: the multi-scale architecture.

    `flow` begins with a `Squeeze`; its z is brought back to the shape that went in.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Float[Tensor, "B C H W"]) -> Mapped:
        """Y and the log-determinant of `flow`."""
        z, log_det = self.flow(x.chunk(2, dim=1)[0])
        return torch.cat([F.pixel_shuffle(z, 2), x.chunk(2, dim=1)[1]], dim=1), log_det

    def inverse(self, y: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The first half back through `flow`."""
        on, out = y.chunk(2, dim=1)
        return torch.cat([self.flow.inverse(F.pixel_unshuffle(on, 2)), out], dim=1)
