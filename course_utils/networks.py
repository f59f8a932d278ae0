"""Small networks: a perceptron, convolutions for images of 8 to 64 pixels a side, a code of time.

No probability in here: what the outputs mean is said where a network is used. Weights come from
torch's global generator: after `runtime.start` or `torch.manual_seed` they are the same each time.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

ImageShape = tuple[int, int, int]  # (C, H, W)


class MLP(nn.Sequential):
    """x -> A_L a(... a(A_2 a(A_1 x + b_1) + b_2) ...) + b_L, on the last dimension of x.

    Args:
        sizes: numbers of features, the input's first: (64, 256, 20) has one hidden layer of 256.
        activation: makes a, once for every layer but the last.

    Raises:
        ValueError: fewer than two sizes, or one below 1; later, an input with another last size.
    """

    def __init__(self, sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.SiLU) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes {tuple(sizes)}; legal: two or more positive integers")
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), activation()]
        super().__init__(*layers[:-1])
        self.sizes = tuple(sizes)

    def forward(self, x: Tensor) -> Tensor:
        """(..., sizes[0]) -> (..., sizes[-1])."""
        if x.shape[-1:] != self.sizes[:1]:
            found, legal = tuple(x.shape), f"(..., {self.sizes[0]})"
            raise ValueError(f"MLP {self.sizes} got {found}; legal: {legal}")
        return super().forward(x)


class ConvEncoder(nn.Module):
    """(B, C, H, W) -> (B, out): convolutions halve the sides, mostly to 4 to 7; then a linear map.

    Args:
        image_shape: (C, H, W); both sides multiples of 4, at least 8 (8, 16, 28, 32, ...).
        out: how many numbers for each image, such as 2K for the q(z|x) of K latents.
        width: channels at every scale.

    Raises:
        ValueError: an illegal argument; later, images of another shape.
    """

    def __init__(self, image_shape: ImageShape, out: int, width: int = 32) -> None:
        super().__init__()
        halvings, height, small_width = _scales(image_shape, out=out, width=width)
        layers: list[nn.Module] = [nn.Conv2d(image_shape[0], width, 3, padding=1), nn.SiLU()]
        for _ in range(halvings):
            layers += [nn.Conv2d(width, width, 4, stride=2, padding=1), nn.SiLU()]
        features = width * height * small_width
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, out))
        self.image_shape = tuple(image_shape)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out"]:
        """`out` numbers for each image."""
        if x.shape[1:] != self.image_shape:
            legal = ", ".join(map(str, self.image_shape))
            raise ValueError(f"ConvEncoder got {tuple(x.shape)}; legal: (B, {legal})")
        return self.net(x)


class ConvDecoder(nn.Module):
    """(B, latent) -> (B, C, H, W): the way of `ConvEncoder` back, up to H and W.

    Args:
        latent: K, numbers that an image is made of.
        image_shape: (C, H, W) as in `ConvEncoder`.
        width: channels at every scale.
        per_pixel: if given, that many numbers for each pixel and channel, such as the logits of
            its levels, as a last dimension: (B, C, H, W, per_pixel).

    Raises:
        ValueError: an illegal argument; later, latents of another size.
    """

    def __init__(
        self, latent: int, image_shape: ImageShape, width: int = 32, per_pixel: int | None = None
    ) -> None:
        super().__init__()
        count = 1 if per_pixel is None else per_pixel
        sizes = {"latent": latent, "width": width, "per_pixel": count}
        doublings, height, small_width = _scales(image_shape, **sizes)
        small = (width, height, small_width)
        layers: list[nn.Module] = [nn.Linear(latent, math.prod(small)), nn.Unflatten(1, small)]
        for _ in range(doublings):
            layers += [nn.SiLU(), nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)]
        last = nn.Conv2d(width, count * image_shape[0], 3, padding=1)
        self.net = nn.Sequential(*layers, nn.SiLU(), last)
        self.latent, self.image_shape, self.per_pixel = latent, tuple(image_shape), per_pixel

    def forward(self, z: Float[Tensor, "B K"]) -> Float[Tensor, "B C H W *per_pixel"]:
        """An image, or `per_pixel` numbers for each of its entries."""
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"ConvDecoder got {tuple(z.shape)}; legal: (B, {self.latent})")
        image = self.net(z)
        if self.per_pixel is None:
            return image
        return image.unflatten(1, (self.image_shape[0], self.per_pixel)).movedim(2, -1)


def time_embedding(
    t: Shaped[Tensor, "B"], dim: int, max_period: float = 10_000.0
) -> Float[Tensor, "B dim"]:
    """Sinusoidal embedding of a time or a position: sines, then cosines, of d frequencies.

    (sin t w_0, ..., sin t w_{d-1}, cos t w_0, ..., cos t w_{d-1}), w_i = max_period^{-i/d}:
    with d = dim / 2 frequencies from one radian a step down to 1 / max_period: the fast ones tell
    neighbours apart, the slow ones tell early from late.

    Args:
        t: steps, integer or float.
        dim: how many numbers for each t.
        max_period: the slowest wave repeats after about 2 pi max_period steps.

    Raises:
        ValueError: dim is odd or below 2, max_period is 1 or less.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5; for diffusion: Ho et al. 2020,
        arXiv:2006.11239, appendix B.
    """
    if dim < 2 or dim % 2 or max_period <= 1:
        legal = "an even dim of 2 or more, max_period above 1"
        raise ValueError(f"dim = {dim}, max_period = {max_period}; legal: {legal}")
    powers = torch.arange(dim // 2, device=t.device, dtype=torch.float32) / (dim // 2)
    angles = t.float()[:, None] * max_period**-powers  # (B, dim / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _scales(image_shape: ImageShape, **sizes: int) -> tuple[int, int, int]:
    """How often both sides can be halved while they are even and 8 or more, and what is left."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} = {value}; legal: a positive integer")
    if len(image_shape) != 3 or image_shape[0] < 1 or any(s < 8 or s % 4 for s in image_shape[1:]):
        legal = "(C, H, W), C >= 1, sides multiples of 4, at least 8"
        raise ValueError(f"image_shape {tuple(image_shape)}; legal: {legal}")
    _, height, width = image_shape
    halvings = 0
    while height % 2 == width % 2 == 0 and min(height, width) >= 8:
        height, width, halvings = height // 2, width // 2, halvings + 1
    return halvings, height, width
