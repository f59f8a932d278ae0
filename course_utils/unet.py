"""A small U-Net that knows the time, for the denoisers of diffusion models on images.

    x, t -> time features -> e                                          (the same e in every block)
    x -> conv -> [block, half the sides] ... block, attention, block ... [twice the sides, block]
      -> norm -> conv -> as many numbers as x has, each from a window that covers the whole image

Every block on the way up also sees what the block of the same scale saw on the way down. What the
output means (noise, velocity, the clean image) is said where the network is used. Whatever is added
to a skip starts at zero, and so does the last layer: an untrained network returns 0.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from course_utils.networks import ImageShape, time_embedding


class Sinusoidal(nn.Module):
    """t -> `time_embedding(t, dim)` as a module, the default of `UNet`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: Shaped[Tensor, "B"]) -> Float[Tensor, "B dim"]:
        """(B,) -> (B, dim)."""
        return time_embedding(t, self.dim)


class FourierFeatures(nn.Module):
    """t -> (sin 2 pi w_i t / T, cos 2 pi w_i t / T) with random w_i ~ N(0, sd^2) that stay fixed.

    Args:
        dim: how many numbers for each t, even.
        T: the last step; t / T is in [0, 1].
        sd: standard deviation of the frequencies, in waves over the whole range of t.
        rng: of the frequencies; torch's global generator by default.

    Raises:
        ValueError: an odd dim, or one, a T or an sd that is not positive.

    Source: Tancik et al. 2020, arXiv:2006.10739, section 6.1; of the time: Song et al. 2021,
        arXiv:2011.13456.
    """

    def __init__(
        self, dim: int, T: int, sd: float = 4.0, rng: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if dim < 2 or dim % 2 or T < 1 or sd <= 0:
            legal = "an even dim of 2 or more, T >= 1, sd > 0"
            raise ValueError(f"dim = {dim}, T = {T}, sd = {sd}; legal: {legal}")
        self.dim, self.T = dim, T
        self.register_buffer("frequencies", sd * torch.randn(dim // 2, generator=rng))

    def forward(self, t: Shaped[Tensor, "B"]) -> Float[Tensor, "B dim"]:
        """(B,) -> (B, dim)."""
        angles = 2 * math.pi * (t.float() / self.T)[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(nn.Module):
    """h -> skip(h) + conv(silu(norm(conv(silu(norm(h))) with the time e))), sides unchanged.

    The time enters before the second convolution: as scale and shift of the normalised features
    (adaptive group norm, both 0 at the start), or added before the norm.

    Args:
        before: channels of h.
        after: channels of the result; the skip is a 1x1 convolution where the two differ.
        time: numbers in e.
        adaptive: adaptive group norm (True) or addition (False).

    Source: Ho et al. 2020, arXiv:2006.11239, appendix B; adaptive: Dhariwal & Nichol 2021,
        arXiv:2105.05233, section 3.1.
    """

    def __init__(self, before: int, after: int, time: int, adaptive: bool = True) -> None:
        super().__init__()
        self.adaptive = adaptive
        self.norm1, self.norm2 = _norm(before), _norm(after)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = _zero(nn.Conv2d(after, after, 3, padding=1))
        self.time = nn.Linear(time, 2 * after if adaptive else after)
        if adaptive:
            _zero(self.time)
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(
        self, h: Float[Tensor, "B before H W"], e: Float[Tensor, "B time"]
    ) -> Float[Tensor, "B after H W"]:
        """Features h and the time's code e."""
        u = self.conv1(F.silu(self.norm1(h)))
        code = self.time(e)[:, :, None, None]  # (B, after or 2 after, 1, 1)
        if self.adaptive:
            scale, shift = code.chunk(2, dim=1)
            u = self.norm2(u) * (1 + scale) + shift
        else:
            u = self.norm2(u + code)
        return self.skip(h) + self.conv2(F.silu(u))


class SelfAttention(nn.Module):
    """h -> h + W_o softmax(q^T k / sqrt(d)) v: each pixel asks all pixels of its own image.

    Args:
        channels: of h, a multiple of `heads`.
        heads: parallel attentions, each on d = channels / heads numbers.

    Raises:
        ValueError: channels is not a multiple of heads.

    Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 1; in a U-Net: Ho et al. 2020,
        arXiv:2006.11239, appendix B.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"{channels} channels, {heads} heads; legal: a multiple of heads")
        self.heads = heads
        self.norm = _norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, h: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The same shape."""
        qkv = self.qkv(self.norm(h)).flatten(2)  # (B, 3C, HW)
        q, k, v = qkv.unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, HW, C / heads)
        return h + self.out(mixed.transpose(-1, -2).reshape(h.shape))


class DenseBlock(nn.Module):
    """h -> h + W_2 silu(W_1 norm(h)), all features of an image at once: it knows every place.

    What attention cannot tell apart, equal features at different places, has weights of its own
    here. That pays where images are small and centred, as digits are, and their sides fixed.

    Args:
        shape: (C, H, W) of h.
        hidden: rows of W_1.

    Raises:
        ValueError: hidden is below 1.
    """

    def __init__(self, shape: ImageShape, hidden: int) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden = {hidden}; legal: a positive integer")
        size = math.prod(shape)
        self.norm = nn.LayerNorm(size)
        self.inner, self.outer = nn.Linear(size, hidden), _zero(nn.Linear(hidden, size))

    def forward(self, h: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Features of the same shape."""
        return h + self.outer(F.silu(self.inner(self.norm(h.flatten(1))))).view(h.shape)


class UNet(nn.Module):
    """(B, C, H, W), (B,) -> (B, C, H, W), or (B, 2C, H, W) with a learned variance; 0 at the start.

    The default size is the best that was found for a minute of one CPU on 8x8 digits.

    Args:
        image_shape: (C, H, W), both sides multiples of patch * 2^(scales - 1).
        width: channels at the largest scale.
        multipliers: of the width, one for each scale; sides halve from one scale to the next.
        blocks: residual blocks at each scale, on the way down and again on the way up.
        adaptive: the time enters by adaptive group norm (True) or by addition (False).
        attention: self-attention at the smallest scale.
        dense: hidden units of a `DenseBlock` after it, 0 for none.
        patch: 2 first turns 2x2 pixels into channels, which makes a step about four times faster.
        learned_variance: C more channels, such as the v of Improved DDPM, after the first C.
        time_features: a module t -> (B, d) with its d as `dim`; `Sinusoidal` by default.

    Raises:
        ValueError: an illegal argument; later, images of another shape.

    Source: Ho et al. 2020, arXiv:2006.11239, appendix B; v: Nichol & Dhariwal 2021,
        arXiv:2102.09672, eq. 15.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        width: int = 16,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        *,
        adaptive: bool = True,
        attention: bool = True,
        dense: int = 128,
        patch: int = 1,
        learned_variance: bool = False,
        time_features: nn.Module | None = None,
    ) -> None:
        super().__init__()
        _check(image_shape, multipliers, patch, width=width, blocks=blocks)
        self.image_shape, self.patch = tuple(image_shape), patch
        self.features = Sinusoidal(2 * width) if time_features is None else time_features
        e = 4 * width
        self.embed = nn.Sequential(nn.Linear(self.features.dim, e), nn.SiLU(), nn.Linear(e, e))
        sizes, squares = [width * m for m in multipliers], patch**2 * image_shape[0]

        def level(before: int, size: int, skip: int) -> nn.ModuleList:
            given = [before + skip] + [size + skip] * (blocks - 1)
            return nn.ModuleList(ResidualBlock(c, size, e, adaptive) for c in given)

        self.first = nn.Conv2d(squares, sizes[0], 3, padding=1)
        befores = (sizes[0], *sizes[:-1])
        self.down = nn.ModuleList(level(b, s, 0) for b, s in zip(befores, sizes, strict=True))
        factor, now = patch * 2 ** (len(sizes) - 1), sizes[-1]
        smallest = (now, image_shape[1] // factor, image_shape[2] // factor)
        parts = [SelfAttention(now)] if attention else []
        self.middle = nn.Sequential(*parts, *([DenseBlock(smallest, dense)] if dense else []))
        befores = (*sizes[1:], sizes[-1])
        up = [level(b, s, s) for b, s in zip(befores, sizes, strict=True)]
        self.up = nn.ModuleList(reversed(up))
        count = 2 if learned_variance else 1
        last = _zero(nn.Conv2d(sizes[0], count * squares, 3, padding=1))
        self.last = nn.Sequential(_norm(sizes[0]), nn.SiLU(), last)

    def forward(
        self, x: Float[Tensor, "B C H W"], t: Shaped[Tensor, "B"]
    ) -> Float[Tensor, "B out H W"]:
        """One output for each entry of x (two with a learned variance), at the time t."""
        if x.shape[1:] != self.image_shape:
            legal = ", ".join(map(str, self.image_shape))
            raise ValueError(f"UNet got {tuple(x.shape)}; legal: (B, {legal})")
        if t.shape != x.shape[:1]:
            raise ValueError(f"{tuple(t.shape)} times for {len(x)} images; legal: (B,)")
        e = F.silu(self.embed(self.features(t)))
        h, kept = self.first(F.pixel_unshuffle(x, self.patch)), []
        for number, scale in enumerate(self.down):
            h = h if number == 0 else F.avg_pool2d(h, 2)
            for block in scale:
                kept.append(h := block(h, e))
        h = self.middle(h)
        for number, scale in enumerate(self.up):
            h = h if number == 0 else F.interpolate(h, scale_factor=2, mode="nearest")
            for block in scale:
                h = block(torch.cat([h, kept.pop()], dim=1), e)
        return F.pixel_shuffle(self.last(h), self.patch)


def _norm(channels: int) -> nn.GroupNorm:
    """Mean 0 and variance 1 in each group of channels of each image, never over the batch."""
    return nn.GroupNorm(math.gcd(channels, 8), channels)


def _zero(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _check(image_shape: ImageShape, multipliers: Sequence[int], patch: int, **more: int) -> None:
    sizes = {"patch": patch, "scales": len(multipliers), **more}
    for name, value in (*sizes.items(), *(("multiplier", m) for m in multipliers)):
        if value < 1:
            raise ValueError(f"{name} = {value}; legal: a positive integer")
    factor = patch * 2 ** (len(multipliers) - 1)
    wrong = any(side < 1 or side % factor for side in image_shape[1:])
    if len(image_shape) != 3 or image_shape[0] < 1 or wrong:
        legal = f"(C, H, W), C >= 1, sides that are multiples of {factor}"
        raise ValueError(f"image_shape {tuple(image_shape)}; legal: {legal}")
