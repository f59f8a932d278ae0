"""Shapes: what the factors say is what the pixels show."""

import colorsys
import math

import pytest
import torch
from matplotlib.path import Path as Polygon

from course_utils import shapes as module
from course_utils.shapes import (
    CLOSE,
    FACTORS,
    RANGES,
    SHAPES,
    caption_close_up,
    caption_shape,
    close_ups,
    draw_shape,
    read_factors,
    shapes,
)


def factors_like(**fixed: float) -> torch.Tensor:
    middle = {"shape": 0.0, "x": 0.5, "y": 0.5, "size": 0.16, "hue": 0.3}
    return torch.tensor([[{**middle, **fixed}[name] for name in FACTORS]], dtype=torch.float64)


def read_back(images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Centre of mass, size and hue from pixels alone; the background is grey, so it has no hue."""
    light = images.double() - module.BACKGROUND
    coverage = light.amax(dim=1) / (module.VALUE - module.BACKGROUND)  # (N, S, S)
    side = images.shape[-1]
    pixel = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    mass = coverage.sum(dim=(1, 2))
    hues = [colorsys.rgb_to_hsv(*rgb)[0] for rgb in light.mean(dim=(2, 3)).tolist()]
    return {
        "x": (coverage.sum(dim=1) * pixel).sum(dim=1) / mass,
        "y": (coverage.sum(dim=2) * pixel).sum(dim=1) / mass,
        "size": (mass / side**2 / math.pi).sqrt(),
        "hue": torch.tensor(hues, dtype=torch.float64),
    }


# Largest errors: of the centre in pixels, of the size relative to itself.
@pytest.mark.parametrize(("side", "centre", "scale"), [(16, 0.14, 0.025), (32, 0.07, 0.0075)])
def test_factors_can_be_read_back_from_the_pixels(side, centre, scale):
    images, factors, _ = shapes(2000, size=side, seed=1)
    seen, column = read_back(images), dict(zip(FACTORS, factors.double().T, strict=True))
    assert (seen["x"] - column["x"]).abs().max() * side < centre
    assert (seen["y"] - column["y"]).abs().max() * side < centre
    assert (seen["size"] / column["size"] - 1).abs().max() < scale
    assert (seen["hue"] - column["hue"]).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["square", "cross"])
def test_area_of_axis_parallel_shapes_is_exactly_pi_size_squared(kind):
    _, factors, _ = shapes(500, seed=2)
    factors[:, 0] = SHAPES.index(kind)
    seen = read_back(draw_shape(factors))["size"]
    torch.testing.assert_close(seen, factors[:, 3].double(), rtol=1e-5, atol=0)


def polygon(kind: str, size: float) -> list[tuple[float, float]]:
    """Corners around the centre, y down, of the shape with area pi size^2."""
    if kind == "disc":
        corners = [(math.cos(a / 50 * math.pi), math.sin(a / 50 * math.pi)) for a in range(100)]
    elif kind == "square":
        corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    elif kind == "triangle":
        corners = [(0, -1), (math.sqrt(0.75), 0.5), (-math.sqrt(0.75), 0.5)]  # the tip is up
    else:
        corners = [(-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1)]
        corners += [(1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1)]
    pairs = zip(corners, corners[1:] + corners[:1], strict=True)
    area = abs(sum(a * d - b * c for (a, b), (c, d) in pairs)) / 2
    scale = size * math.sqrt(math.pi / area)
    return [(scale * a, scale * b) for a, b in corners]


# Axis-parallel edges are exact (up to the 32 x 32 grid), the sharp corners of the triangle are not.
@pytest.mark.parametrize(
    ("kind", "worst"), [("disc", 0.06), ("square", 0.03), ("triangle", 0.25), ("cross", 0.03)]
)
@pytest.mark.parametrize("size", RANGES["size"])
def test_coverage_is_the_polygons_share_of_each_pixel(kind, worst, size):
    x, y, side, fine = 0.41, 0.57, 16, 32
    image = draw_shape(factors_like(shape=SHAPES.index(kind), x=x, y=y, size=size), side)[0]
    coverage = (image.amax(dim=0) - module.BACKGROUND) / (module.VALUE - module.BACKGROUND)
    points = (torch.arange(side * fine, dtype=torch.float64) + 0.5) / (side * fine)
    grid = torch.cartesian_prod(points - y, points - x).flip(1)  # rows go down
    inside = torch.from_numpy(Polygon(polygon(kind, size)).contains_points(grid.numpy()))
    share = inside.float().view(side, fine, side, fine).mean(dim=(1, 3))
    assert (coverage - share).abs().max() < worst
    assert (coverage - share).abs().mean() < 0.005


def test_same_seed_same_shapes_at_every_resolution():
    first, again, large = shapes(50, seed=3), shapes(50, seed=3), shapes(50, size=32, seed=3)
    torch.testing.assert_close(first.images, again.images, rtol=0, atol=0)
    assert first.captions == again.captions == large.captions
    torch.testing.assert_close(first.factors, large.factors, rtol=0, atol=0)
    torch.testing.assert_close(draw_shape(first.factors), first.images, rtol=0, atol=0)
    assert not torch.equal(first.factors, shapes(50, seed=4).factors)
    assert first.images.dtype == torch.float32 and first.images.shape == (50, 3, 16, 16)
    assert large.images.shape == (50, 3, 32, 32)
    assert 0 <= first.images.min() and first.images.max() <= 1


def test_factors_are_uniform_on_their_ranges_and_independent():
    n = 20_000
    factors = shapes(n, size=4, seed=5).factors.double()
    unit = factors.clone()
    for column, name in enumerate(FACTORS):
        low, high = RANGES[name]
        assert low <= factors[:, column].min() and factors[:, column].max() <= high
        unit[:, column] = (factors[:, column] - low) / (high - low)
    counts = torch.bincount(factors[:, 0].long(), minlength=4)
    assert ((counts / n - 1 / 4).abs() < 4 * math.sqrt(3 / 16 / n)).all()
    ordered = unit[:, 1:].sort(dim=0).values
    gap = (ordered - torch.linspace(0, 1, n, dtype=torch.float64)[:, None]).abs().max()
    assert gap < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov at 0.001
    off_diagonal = torch.corrcoef(unit.T) - torch.eye(5, dtype=torch.float64)
    assert off_diagonal.abs().max() < 4 / math.sqrt(n)


def test_captions_say_what_is_drawn():
    say = [
        (factors_like(x=0.35, y=0.35, size=0.13, hue=0.01), "a small red disc at the top left"),
        (factors_like(shape=1, size=0.2, hue=0.6), "a big blue square in the centre"),
        (factors_like(shape=2, y=0.65, size=0.2), "a big green triangle at the bottom"),
        (factors_like(shape=3, x=0.65, hue=0.15), "a small yellow cross at the right"),
        (factors_like(x=0.65, y=0.65, hue=0.8), "a small purple disc at the bottom right"),
        (factors_like(hue=0.08, y=0.34), "a small orange disc at the top"),
        (factors_like(hue=0.5, x=0.34), "a small cyan disc at the left"),
    ]
    rows = torch.cat([row for row, _ in say])
    assert caption_shape(rows) == [caption for _, caption in say]
    assert caption_shape(rows.float()) == [caption for _, caption in say]


def test_hues_are_those_of_colorsys():
    hues = torch.linspace(0, 1, 37, dtype=torch.float64)
    rows = factors_like().repeat(37, 1)
    rows[:, 4] = hues
    pixels = draw_shape(rows)[:, :, 8, 8].double()
    exact = [colorsys.hsv_to_rgb(hue, module.SATURATION, module.VALUE) for hue in hues.tolist()]
    torch.testing.assert_close(pixels, torch.tensor(exact, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": 4.0}, "shape 4; legal: 0 disc, 1 square, 2 triangle, 3 cross"),
        ({"shape": 0.5}, "shape 0.5"),
        ({"size": 0.0}, "size 0 of a shape; legal: positive"),
        ({"hue": math.nan}, "NaN"),
    ],
)
def test_impossible_factors_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        draw_shape(factors_like(**wrong))
    with pytest.raises(ValueError, match=message):
        caption_shape(factors_like(**wrong))


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="n=0 shapes"):
        shapes(0)
    with pytest.raises(ValueError, match="size=3 pixels"):
        shapes(5, size=3)


@pytest.mark.parametrize("draw", [shapes, close_ups])
def test_read_factors_measures_what_was_drawn(draw):
    images, factors, _ = draw(2000, seed=4)
    found, error = read_factors(images)
    assert (found[:, 0] == factors[:, 0]).all() and error.max() < 5e-4
    assert (
        (found - factors)[:, 1:].abs().amax(dim=0) < torch.tensor([0.01, 0.02, 0.006, 1e-5])
    ).all()


def test_read_factors_keeps_red_in_one_piece_and_sees_what_is_no_drawing():
    reds = torch.cat([factors_like(hue=hue) for hue in (-0.02, 0.0, 0.02)]).float()
    found, error = read_factors(draw_shape(reds))
    assert (found[:, 4] - reds[:, 4]).abs().max() < 1e-5
    two = draw_shape(torch.cat([factors_like(x=0.3), factors_like(x=0.7)]).float()).mean(dim=0)
    _, blend = read_factors(two[None])
    assert blend.item() > 10 * error.max()


def test_close_ups_are_larger_inside_the_image_and_said_in_three_words():
    near, far = close_ups(500, seed=6), shapes(500, seed=6)
    assert torch.equal(near.factors[:, 3], far.factors[:, 3] * CLOSE)
    assert near.captions == [" ".join(caption.split()[1:4]) for caption in far.captions]
    assert caption_close_up(near.factors) == near.captions
    lit = near.images - module.BACKGROUND
    frame = torch.cat([lit[..., [0, -1]].flatten(1), lit[:, :, [0, -1]].flatten(1)], dim=1)
    assert (frame.sum(dim=1) < 0.02 * lit.flatten(1).sum(dim=1)).all()
