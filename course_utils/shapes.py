"""Drawn colour shapes with known factors: data whose hidden causes we chose, with a caption each.

One image holds one shape on a plain dark background. Five factors say everything about it, in the
columns of `FACTORS`; drawn independently and uniformly on `RANGES`, so a linear read-out, a
traversal or a mutual information has a right answer to be compared with.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

FACTORS = ("shape", "x", "y", "size", "hue")
SHAPES = ("disc", "square", "triangle", "cross")  # the factor `shape` is an index into this
RANGES = {  # lengths in units of the image's side; the hue stops at purple, so it is no circle
    "shape": (0.0, 3.0),  # integers, both ends included
    "x": (0.33, 0.67),  # the centre of mass, from the left ...
    "y": (0.33, 0.67),  # ... and from the top; every legal shape lies inside the image
    "size": (0.12, 0.21),  # the radius of the disc of equal area: each shape covers pi size^2
    "hue": (0.0, 0.8),  # of HSV: 0 red, 1/3 green, 2/3 blue
}
SATURATION, VALUE, BACKGROUND = 0.7, 0.95, 0.12

# Where the words of a caption change; the first and the last word reach beyond RANGES.
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple")
HUE_EDGES = (0.05, 0.12, 0.19, 0.44, 0.55, 0.68)
PLACES = (
    *("at the top left", "at the top", "at the top right"),
    *("at the left", "in the centre", "at the right"),
    *("at the bottom left", "at the bottom", "at the bottom right"),
)
PLACE_EDGES = (0.33 + 0.34 / 3, 0.33 + 0.34 * 2 / 3)  # the thirds of the range of x and of y
CLOSE = 1.4  # a close-up's scale: the largest triangle still lies inside the image
BIG = 0.165  # the middle of the range of size
FAINT = 0.1  # `read_factors` takes less coverage than this for background


class Shapes(NamedTuple):
    """What `shapes` draws: images (N, 3, S, S) in [0, 1], factors (N, 5), N captions."""

    images: Float[Tensor, "N 3 S S"]
    factors: Float[Tensor, "N 5"]
    captions: list[str]


def shapes(n: int, size: int = 16, seed: int = 0) -> Shapes:
    """Draw n shapes, factors independent and uniform on RANGES; the same seed, the same shapes.

    Args:
        n: how many.
        size: the image's side in pixels; the course uses 16 and 32.
        seed: of the factors; they do not depend on `size`.

    Returns: float32 images in [0, 1], float32 factors in the columns of FACTORS, captions such as
        "a small red disc at the top left".

    Raises:
        ValueError: n < 1 or size < 4.
    """
    if n < 1:
        raise ValueError(f"n={n} shapes; legal: 1 or more")
    low, high = torch.tensor([RANGES[name] for name in FACTORS]).T
    high[0] = len(SHAPES)  # rounded down below, so that each shape has the same chance
    uniform = torch.rand(n, len(FACTORS), generator=torch.Generator().manual_seed(seed))
    factors = low + (high - low) * uniform
    factors[:, 0] = factors[:, 0].floor()
    return Shapes(draw_shape(factors, size), factors, caption_shape(factors))


def close_ups(n: int, size: int = 16, seed: int = 0) -> Shapes:
    """`shapes` from nearby: CLOSE times as large, a quarter as far from the middle.

    Returns: as `shapes`, the factors as drawn; the captions are those of `caption_close_up`.
    """
    factors = shapes(n, 4, seed).factors
    factors[:, 1:3] = 0.5 + (factors[:, 1:3] - 0.5) / 4
    factors[:, 3] *= CLOSE
    return Shapes(draw_shape(factors, size), factors, caption_close_up(factors))


def caption_close_up(factors: Float[Tensor, "N 5"]) -> list[str]:
    """Size, colour and shape of each close-up in three words, such as "small red disc".

    Raises:
        ValueError: as in `draw_shape`.
    """
    nearby = factors.clone()
    nearby[:, 3] /= CLOSE
    return [" ".join(caption.split()[1:4]) for caption in caption_shape(nearby)]


def draw_shape(factors: Float[Tensor, "N 5"], size: int = 16) -> Float[Tensor, "N 3 S S"]:
    """Image = coverage * colour(hue) + (1 - coverage) * background, anti-aliased.

    Factors outside RANGES are drawn as they are (a shape may then leave the image), except that
    `shape` must be one of 0 .. 3.

    Args:
        factors: float, columns as in FACTORS.
        size: the image's side in pixels.

    Raises:
        ValueError: an unknown shape, a factor that is not finite, a size of the shape that is not
            positive, or an image with a side below 4.
    """
    _check(factors)
    if size < 4:
        raise ValueError(f"size={size} pixels; legal: 4 or more, the course uses 16 and 32")
    shape, x, y, scale, hue = factors.unbind(dim=1)
    pixel = (torch.arange(size).to(factors) + 0.5) / size  # centres of the pixels
    u = (pixel - x[:, None])[:, None, :].expand(-1, size, -1)  # (N, S, S), to the right
    v = (pixel - y[:, None])[:, :, None].expand(-1, -1, size)  # (N, S, S), down
    coverage = torch.zeros_like(u)
    for index, cover in enumerate((_disc, _square, _triangle, _cross)):
        rows = shape == index
        coverage[rows] = cover(u[rows], v[rows], scale[rows, None, None], 1 / size)
    coverage = coverage[:, None]  # (N, 1, S, S)
    colour = _hsv_to_rgb(hue)[:, :, None, None]  # (N, 3, 1, 1)
    return (coverage * colour + (1 - coverage) * BACKGROUND).float()


def caption_shape(factors: Float[Tensor, "N 5"]) -> list[str]:
    """One caption per row: small or big, the colour, the shape, the place.

    Raises:
        ValueError: as in `draw_shape`.
    """
    _check(factors)
    shape, x, y, scale, hue = factors.cpu().double().T.contiguous()
    place = 3 * _interval(y, PLACE_EDGES) + _interval(x, PLACE_EDGES)
    words = zip(
        _interval(scale, (BIG,)).tolist(),
        _interval(hue, HUE_EDGES).tolist(),
        shape.long().tolist(),
        place.tolist(),
        strict=True,
    )
    return [
        f"a {('small', 'big')[big]} {COLOURS[colour]} {SHAPES[shape]} {PLACES[place]}"
        for big, colour, shape, place in words
    ]


def read_factors(
    images: Float[Tensor, "N 3 S S"],
) -> tuple[Float[Tensor, "N 5"], Float[Tensor, "N"]]:
    """Factors of one shape on the background, by moments; the shape is the best of four drawings.

    Returns: factors in the columns of FACTORS, and the mean squared error per pixel and channel
        of `draw_shape(factors)`: how far the image is from any such drawing (at most 0.0003 for
        a real one at size 16). A hue near 1 is given as negative, so that red stays one interval.

    Raises:
        ValueError: images of another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images {tuple(images.shape)}; legal: (N, 3, S, S)")
    light = (images - BACKGROUND).mean(dim=(2, 3))  # (N, 3): coverage * (colour - background)
    mass = light.amax(dim=1).clamp(min=1e-4) / (VALUE - BACKGROUND)  # the share that is covered
    colour = light / mass[:, None] + BACKGROUND
    cover = ((images.amax(dim=1) - BACKGROUND) / (VALUE - BACKGROUND)).clamp(0, 1)  # (N, S, S)
    cover = torch.where(cover > FAINT, cover, 0.0) + 1e-6
    pixel = (torch.arange(images.shape[-1]).to(images) + 0.5) / images.shape[-1]
    total = cover.sum(dim=(1, 2))
    x, y = ((cover.sum(dim=dim) @ pixel) / total for dim in (1, 2))
    found = torch.stack([0 * x, x, y, (mass / math.pi).sqrt(), _hue(colour)], dim=1)
    kinds = found.repeat(len(SHAPES), 1, 1)  # (4, N, 5)
    kinds[..., 0] = torch.arange(len(SHAPES)).to(images)[:, None]
    drawn = draw_shape(kinds.flatten(0, 1), images.shape[-1]).unflatten(0, kinds.shape[:2])
    error, best = (drawn - images).square().mean(dim=(2, 3, 4)).min(dim=0)
    return kinds[best, torch.arange(len(best))], error


def _interval(values: Tensor, edges: tuple[float, ...]) -> Tensor:
    """Index of the interval that each value falls into; an edge belongs to the upper one."""
    return torch.bucketize(values, torch.tensor(edges, dtype=values.dtype), right=True)


def _check(factors: Tensor) -> None:
    if not torch.isfinite(factors).all():
        raise ValueError("a factor is NaN or infinite")
    strange = ~torch.isin(factors[:, 0], torch.arange(len(SHAPES)).to(factors))
    if strange.any():
        names = ", ".join(f"{i} {name}" for i, name in enumerate(SHAPES))
        raise ValueError(f"shape {factors[strange, 0][0].item():g}; legal: {names}")
    if (factors[:, 3] <= 0).any():
        raise ValueError(f"size {factors[:, 3].min().item():g} of a shape; legal: positive")


# Each shape has its centre of mass at the origin and area pi scale^2. `pixel` is a pixel's width:
# what a straight edge at signed distance d (inside: positive) leaves of a pixel is d / pixel + 1/2,
# exactly so for horizontal and vertical edges.


def _inside(distance: Tensor, pixel: float) -> Tensor:
    return (distance / pixel + 0.5).clamp(0, 1)


def _disc(u: Tensor, v: Tensor, scale: Tensor, pixel: float) -> Tensor:
    return _inside(scale - torch.hypot(u, v), pixel)


def _square(u: Tensor, v: Tensor, scale: Tensor, pixel: float) -> Tensor:
    half = math.sqrt(math.pi) / 2 * scale  # (2 half)^2 = pi scale^2
    return _inside(half - u.abs(), pixel) * _inside(half - v.abs(), pixel)


def _triangle(u: Tensor, v: Tensor, scale: Tensor, pixel: float) -> Tensor:
    inner = math.sqrt(math.pi / math.sqrt(27)) * scale  # 3 sqrt(3) inner^2 = pi scale^2
    sides = math.sqrt(0.75) * u.abs() - 0.5 * v  # towards the nearer slanted edge
    return _inside(inner - v, pixel) * _inside(inner - sides, pixel)


def _cross(u: Tensor, v: Tensor, scale: Tensor, pixel: float) -> Tensor:
    arm = math.sqrt(9 * math.pi / 20) * scale  # 2 (2 arm) (2 arm/3) - (2 arm/3)^2 = pi scale^2
    long_u, long_v = _inside(arm - u.abs(), pixel), _inside(arm - v.abs(), pixel)
    short_u, short_v = _inside(arm / 3 - u.abs(), pixel), _inside(arm / 3 - v.abs(), pixel)
    return long_u * short_v + short_u * long_v - short_u * short_v


def _hsv_to_rgb(hue: Float[Tensor, "N"]) -> Float[Tensor, "N 3"]:
    """Colour of a hue (mod 1) at SATURATION and VALUE; equals colorsys.hsv_to_rgb."""
    sector = torch.tensor([5.0, 3.0, 1.0]).to(hue)
    k = (sector + 6 * hue[:, None]) % 6  # (N, 3)
    return VALUE - VALUE * SATURATION * torch.minimum(k, 4 - k).clamp(0, 1)


def _hue(colour: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
    """Hue in (-0.1, 0.9], of any saturation and value: the inverse of `_hsv_to_rgb`."""
    high, top = colour.max(dim=1)
    spread = (high - colour.amin(dim=1)).clamp(min=1e-6)
    rising = colour.roll(-1, dims=1) - colour.roll(-2, dims=1)  # g - b, b - r, r - g
    rising = rising.gather(1, top[:, None]).squeeze(1)
    hue = ((2 * top + rising / spread) / 6) % 1
    return torch.where(hue > 0.9, hue - 1, hue)
