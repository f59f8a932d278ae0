"""Autoregressive models of images: one pixel after the other, each given all pixels before it.

    log p(x) = sum_i log p(x_i | x_1, ..., x_{i-1}),    i in raster order: row by row, left to right

An image is a grid of levels 0, ..., K-1 (grey values, or the codes of a codebook). A model maps
levels (B, H, W) to log probabilities (B, K, H, W): at pixel i the law of x_i, a function of the
pixels before i only. So one pass scores all pixels; drawing needs them one after the other.
Values are per image, in nats.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from course_utils.tensors import sum_per_example

Levels = Int[Tensor, "B H W"]


def conv_mask(size: int, kind: str) -> Float[Tensor, "size size"]:
    """1 where a kernel may look, else 0: the rows above, and to the left in its own row.

    Args:
        size: of the square kernel, odd.
        kind: "A" hides the centre as well (the first layer), "B" shows it (all later layers).

    Raises:
        ValueError: an even size, another kind.

    Source: van den Oord et al. 2016, arXiv:1601.06759, section 3.4.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"kernel size {size}; legal: odd, 1 or more")
    if kind not in ("A", "B"):
        raise ValueError(f"mask {kind!r}; legal: 'A', 'B'")
    mask = torch.zeros(size, size)
    mask.view(-1)[: size * size // 2 + (kind == "B")] = 1  # raster order, up to the centre
    return mask


class MaskedConv2d(nn.Conv2d):
    """A convolution (B, C, H, W) -> (B, D, H, W) that sees no later pixel; of its own only kind B.

    Args:
        kind: "A" or "B", as in `conv_mask`.
        channels: C.
        features: D.
        size: of the kernel, odd.
        dilation: distance of the pixels that the kernel reads.

    Source: van den Oord et al. 2016, arXiv:1601.06759, section 3.4.
    """

    def __init__(
        self, kind: str, channels: int, features: int, size: int = 3, dilation: int = 1
    ) -> None:
        mask = conv_mask(size, kind)
        padding = size // 2 * dilation
        super().__init__(channels, features, size, padding=padding, dilation=dilation)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """All pixels at once."""
        p = self.padding[0]
        return F.conv2d(F.pad(x, (p, p, p, 0)), self._seen(), self.bias, dilation=self.dilation)

    def at(self, padded: Float[Tensor, "B C Hp Wp"], row: int, column: int) -> Float[Tensor, "B D"]:
        """One pixel; `padded` is the input with `padding` zeros on each side."""
        p, d = self.padding[0], self.dilation[0]
        window = padded[:, :, row : row + p + 1 : d, column : column + 2 * p + 1 : d]
        return F.linear(window.flatten(1), self._seen().flatten(1), self.bias)

    def _seen(self) -> Tensor:
        """The masked weight, without the rows below the centre."""
        return (self.weight * self.mask)[:, :, : self.kernel_size[0] // 2 + 1]


class _Block(nn.Module):
    """h + mix(look(h)): a short-cut around a masked 3x3 convolution on half of the channels."""

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.look = MaskedConv2d("B", channels, channels // 2, dilation=dilation)
        self.mix = nn.Conv2d(channels // 2, channels, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.mix(self.drop(F.silu(self.look(F.silu(h)))))


class PixelCNN(nn.Module):
    """log p(x_i | x_<i) for all pixels: a masked convolution A, `blocks` residual B, a head.

    Args:
        image_shape: (H, W); the net knows each pixel's place, so it serves this size only.
        levels: K, of a pixel.
        channels: width of the hidden layers, even.
        blocks: residual layers of masked 3x3 convolutions.
        size: of the first kernel, odd.
        dilations: of the blocks' kernels, again from the first one when they end: how far a
            pixel looks.
        dropout: in the blocks, while training.
        logistics: None for a free law over the K levels, or the number of discretised logistics
            that are mixed (`discretised_logistic_log_prob`): neighbouring levels share strength.

    Source: van den Oord et al. 2016, arXiv:1601.06759, section 3.4; Salimans et al. 2017,
    arXiv:1701.05517, section 2.1. Deviation: a term for each place, no gates, no dots of RGB.
    """

    def __init__(
        self,
        image_shape: tuple[int, int],
        levels: int,
        channels: int = 32,
        blocks: int = 4,
        size: int = 5,
        dilations: Sequence[int] = (1,),
        dropout: float = 0.0,
        logistics: int | None = None,
    ) -> None:
        super().__init__()
        self.image_shape, self.levels, self.logistics = tuple(image_shape), levels, logistics
        outputs = levels if logistics is None else 3 * logistics
        self.first = MaskedConv2d("A", levels, channels, size)
        self.place = nn.Parameter(0.1 * torch.randn(channels, *image_shape))
        repeated = (dilations[k % len(dilations)] for k in range(blocks))
        self.blocks = nn.ModuleList(_Block(channels, d, dropout) for d in repeated)
        self.head = nn.Conv2d(channels, outputs, 1)
        self.head_place = nn.Parameter(torch.zeros(outputs, *image_shape))

    def forward(self, x: Levels) -> Float[Tensor, "B K H W"]:
        """Log probabilities of all levels at all pixels; at pixel i from the pixels before i."""
        return self.planes(self._one_hot(x))

    def planes(self, planes: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        """The same of levels as K planes of 0 and 1: these have gradients, to prove causality."""
        h = self.first(planes) + self.place
        for block in self.blocks:
            h = block(h)
        return self._law(self.head(F.silu(h)) + self.head_place)

    def _one_hot(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(f"levels {tuple(x.shape)}; legal: (B, {self.image_shape})")
        return F.one_hot(x, self.levels).movedim(-1, 1).to(self.place)

    def _law(self, outputs: Float[Tensor, "B P *pixels"]) -> Float[Tensor, "B K *pixels"]:
        if self.logistics is None:
            return outputs.log_softmax(dim=1)
        weight, mean, log_scale = outputs.chunk(3, dim=1)  # (B, M, *pixels) each
        x = torch.arange(self.levels, device=outputs.device).view(-1, 1, *[1] * (outputs.ndim - 2))
        parts = discretised_logistic_log_prob(
            x, mean.unsqueeze(1), log_scale.clamp(min=-7).exp().unsqueeze(1), self.levels
        )  # (B, K, M, *pixels)
        return (parts + weight.log_softmax(dim=1).unsqueeze(1)).logsumexp(dim=2)

    def _caches(self, n: int) -> list[Tensor]:
        """Empty padded inputs of every masked convolution, for n images."""
        height, width = self.image_shape
        layers = [self.first, *(block.look for block in self.blocks)]
        sides = [(layer.in_channels, layer.padding[0]) for layer in layers]
        return [self.place.new_zeros(n, c, height + 2 * p, width + 2 * p) for c, p in sides]

    def _step(self, caches: list[Tensor], row: int, column: int) -> Float[Tensor, "n K"]:
        """The law of one pixel from what the layers computed at the pixels before; kept there."""
        h = self.first.at(caches[0], row, column) + self.place[:, row, column]
        for block, cache in zip(self.blocks, caches[1:], strict=True):
            pad = block.look.padding[0]
            cache[:, :, row + pad, column + pad] = F.silu(h)
            seen = F.silu(block.look.at(cache, row, column))
            h = h + F.linear(block.drop(seen), block.mix.weight.flatten(1), block.mix.bias)
        outputs = F.linear(F.silu(h), self.head.weight.flatten(1), self.head.bias)
        return self._law(outputs + self.head_place[:, row, column])


def discretised_logistic_log_prob(x: Tensor, mean: Tensor, scale: Tensor, levels: int) -> Tensor:
    """`log P(k) = log[sigmoid((c + h - mean)/s) - sigmoid((c - h - mean)/s)]`, in nats.

    Level k lies at `c = 2k/(K-1) - 1`, its bin is `c +- h` with `h = 1/(K-1)`; the first and the
    last bin reach to -inf and +inf, so the K masses sum to 1. Computed without a difference of
    sigmoids: finite wherever its terms are, and with a gradient.

    Args:
        x: levels k = 0, ..., K-1; broadcasts with the others.
        mean: of the logistic law, in units where the levels span [-1, 1].
        scale: s > 0, in the same units.
        levels: K, at least 2.

    Raises:
        ValueError: fewer than two levels.

    Source: Salimans et al. 2017, arXiv:1701.05517, eq. 2.
    """
    if levels < 2:
        raise ValueError(f"levels={levels}; legal: 2 or more")
    half = 1 / (levels - 1)
    centre = 2 * half * x.to(mean) - 1
    below = F.logsigmoid((centre + half - mean) / scale)  # log P(not above the bin)
    above = F.logsigmoid(-(centre - half - mean) / scale)  # log P(not below it)
    inside = below + above + torch.log(-torch.expm1(-2 * half / scale))
    return torch.where(x == 0, below, torch.where(x == levels - 1, above, inside))


def log_prob(model: nn.Module, x: Levels) -> Float[Tensor, "B"]:
    """`log p(x) = sum_i log p(x_i | x_<i)`: one pass of the model, exact.

    Returns: nats per image.
    Source: van den Oord et al. 2016, arXiv:1601.06759, eq. 1.
    """
    law = model(x)  # (B, K, H, W)
    return sum_per_example(law.gather(1, x.unsqueeze(1)))


@torch.no_grad()
def sample(
    model: PixelCNN,
    n: int,
    rng: Generator | None = None,
    temperature: float = 1.0,
    given: Int[Tensor, "H W"] | Levels | None = None,
    first: int = 0,
) -> Int[Tensor, "n H W"]:
    """Draw images pixel by pixel, each from the model's law given those before: exact samples.

    What the layers computed at earlier pixels is kept, so that a pixel costs a share 1/(H W) of a
    pass; the law of each pixel is that of a full pass. Drawn on the model's device from uniform
    numbers of the CPU.

    Args:
        model: in eval mode.
        n: how many images.
        rng: of the draws.
        temperature: laws are p^(1/temperature), renormalised: below 1 safer than the model.
        given: the pixels before `first` in raster order are copied from here.
        first: number of the first pixel that is drawn.

    Raises:
        ValueError: a temperature that is not positive, or `first` without `given`.

    Source: van den Oord et al. 2016, arXiv:1601.06759, section 3; kept layers: Ramachandran et al.
    2017, arXiv:1704.06001.
    """
    if not temperature > 0 or (first > 0 and given is None):
        raise ValueError(f"temperature={temperature}, first={first}; legal: > 0, and 0 or `given`")
    (height, width), place = model.image_shape, model.place
    x = torch.zeros(n, height, width, dtype=torch.long, device=place.device)
    if given is not None:
        x[:] = given.to(x)
    caches, pad = model._caches(n), model.first.padding[0]
    for i in range(height * width):
        row, column = divmod(i, width)
        law = model._step(caches, row, column)  # (n, K)
        if i >= first:
            cdf = (law / temperature).softmax(dim=1).cumsum(dim=1)
            u = torch.rand(n, 1, generator=rng, dtype=cdf.dtype).to(cdf)
            x[:, row, column] = (u > cdf[:, :-1]).sum(dim=1)  # inverse of the distribution
        caches[0][torch.arange(n), x[:, row, column], row + pad, column + pad] = 1
    return x
