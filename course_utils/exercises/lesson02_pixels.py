"""Exercises of lesson 02 on images: is a network causal, bits per dimension, pixel by pixel."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Form,
    Observe,
    Property,
    differs,
    equals,
)
from course_utils.observing import Recipe


def is_causal(net: nn.Module, shape: tuple[int, int]) -> bool:
    """Whether no output of net at pixel i depends on a pixel j >= i, in raster order.

    net maps float32 images (1, 1, H, W) of this shape (H, W) to outputs (1, K, H, W) and can be
    differentiated; the answer is found from its gradients, at an image of your choice.
    """
    n = shape[0] * shape[1]
    x = torch.rand(1, 1, *shape)
    J = torch.autograd.functional.jacobian(net, x)  # (1, K, H, W, 1, 1, H, W)
    paths = J.abs().sum(dim=(0, 1, 4, 5)).reshape(n, n)  # output pixel, input pixel
    return not bool(paths.triu().any())


def bits_per_dim(nll: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Bits per dimension of each image, from nll = -log p(x) in nats (B,); shape is (C, H, W)."""
    return nll / (math.prod(shape) * math.log(2))


def sample_image(net: nn.Module, shape: tuple[int, int], rng: torch.Generator) -> Tensor:
    """One image of levels, (1, 1, H, W) float32, drawn pixel by pixel in raster order.

    net maps levels (1, 1, H, W) to logits (1, K, H, W): those at a pixel give the law of its level
    0, ..., K-1, from the pixels before it. One pass of net for each pixel; rng draws.
    """
    x = torch.zeros(1, 1, *shape)
    for row in range(shape[0]):
        for column in range(shape[1]):
            law = net(x)[0, :, row, column].softmax(dim=0)
            x[0, 0, row, column] = torch.multinomial(law, 1, generator=rng).item()
    return x


# 02-e3: networks on the far side

MASKED = (
    "(lambda k, m: (k.weight.data.normal_(), k.weight.data.mul_(m), k)[2])"
    "(nn.Conv2d({}, {}, 3, padding=1), torch.tensor({}))"
)
A = [[1.0, 1, 1], [1, 0, 0], [0, 0, 0]]
B = [[1.0, 1, 1], [1, 1, 0], [0, 0, 0]]


def _net(first: list, outputs: int = 2) -> str:
    layers = MASKED.format(1, 3, first), MASKED.format(3, outputs, B)
    return f"nn.Sequential({layers[0]}, nn.Tanh(), {layers[1]})"


CLEAN = _net(A)
SELF = _net(B)
# Causal but for one pair: output pixel `at` also reads input pixel `of`.
LEAK = (
    "(lambda net, e: lambda x: net(x) + {gain} * torch.zeros(1, 2, {h}, {w})"
    ".index_put((torch.zeros(2, dtype=torch.long), torch.tensor([0, 1]), "
    "torch.tensor([{row}] * 2), torch.tensor([{column}] * 2)), "
    "torch.stack([{leak}, -{leak}])))({net}, 0)"
)


def _leaking(h: int, w: int, at: int, leak: str, gain: float = 1.0) -> str:
    row, column = divmod(at, w)
    return LEAK.format(net=CLEAN, h=h, w=w, row=row, column=column, leak=leak, gain=gain)


def _says(nets: Callable[[Draw], list[tuple]], right: bool) -> Callable:
    """A property's test: the verdict on these (recipe, shape, what it is)."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        for source, shape, what in nets(draw):
            value = observe(answer, Recipe(source, draw.integer(0, 9999)), shape).value
            if not isinstance(value, bool):
                return Form(f"the answer is a {type(value).__name__}, asked is True or False")
            if value != right:
                return f"you: {value}, right: {right}, for {what}"
        return None

    return test


def _one_pair(draw: Draw) -> list[tuple]:
    h, w = 3, 3
    found = []
    for at in (draw.integer(1, 6), 8):
        later = draw.integer(at, 8)
        leak = f"x[0, 0, {later // w}, {later % w}]"
        found.append((_leaking(h, w, at, leak), (h, w), f"a net whose pixel {at} reads {later}"))
    return found


def _cancelling(draw: Draw) -> list[tuple]:
    leak = "(x[0, 0, 2, 1] - x[0, 0, 2, 2])"
    return [(_leaking(3, 3, 4, leak), (3, 3), "a net that reads a difference of later pixels")]


CAUSAL = (
    Property(
        "passes clean networks",
        "This net is causal. Output i may depend on every j < i: which triangle of the table "
        "(output pixel, input pixel) must vanish? Count the pixels in raster order.",
        _says(lambda d: [(CLEAN, (2, 3), "a clean net"), (CLEAN, (4, 2), "a clean net")], True),
    ),
    Property(
        "flags a pixel that sees itself",
        "With a mask B in its first layer each pixel sees itself: j = i is forbidden, too.",
        _says(lambda d: [(SELF, (2, 3), "a net with mask B in the first layer")], False),
    ),
    Property(
        "flags a leak at a single pixel, wherever it is",
        "One pair of pixels leaks. Scan every output, up to the last one, and each of its K "
        "channels by itself: in a sum over channels two gradients can cancel.",
        _says(_one_pair, False),
    ),
    Property(
        "flags a leak that a common change of the later pixels does not show",
        "This net reads a difference of later pixels: add the same to all of them and nothing "
        "changes. Use gradients, one for each pair, as a change can cancel.",
        _says(_cancelling, False),
    ),
    Property(
        "flags a faint leak",
        "A leak of 1e-6 is a leak: a masked weight is exactly 0, so compare with 0, not with a "
        "tolerance.",
        _says(
            lambda d: [(_leaking(3, 3, 4, "x[0, 0, 2, 2]", 1e-6), (3, 3), "a leak of 1e-6")], False
        ),
    ),
)

# 02-e4


def _nats(shape: tuple[int, int, int], bits: float = 1.0) -> Callable[[Draw], tuple]:
    return lambda draw: (bits * math.prod(shape) * math.log(2) * draw.uniform(0.9, 1.1, 3), shape)


def _differentiable(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    grad = observe(answer, draw.normal(4).requires_grad_(), (2, 3, 1)).grads[0]
    if grad is None:
        return "no gradient reaches nll"
    return differs(grad, (1 / (6 * math.log(2))) * torch.ones(4).double(), "gradient")


def _whole_bits(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    bits = torch.full((2,), float(draw.uniform(2, 9)), dtype=torch.double)
    return differs(observe(answer, 8 * math.log(2) * bits, (1, 2, 4)).value, bits, "bits/dim")


BITS = (
    Property(
        "8 pixels of 8 b log 2 nats cost b bits each",
        "Uniform bits must cost exactly 1: 1 nat is 1/log 2 bits, shared by the dimensions.",
        _whole_bits,
    ),
    Property(
        "counts every sub-pixel",
        "Dimensions are numbers, not pixels: an RGB image has 3 for each pixel.",
        equals(bits_per_dim, _nats((3, 4, 5), 5.0), "bits/dim"),
    ),
    Property(
        "keeps one value per image",
        "One value for each image, of the sign it has: no mean over the batch, no absolute value. "
        "A density can have negative bits.",
        equals(bits_per_dim, lambda d: (d.normal(6) * 9, (1, 3, 3)), "bits/dim"),
    ),
    Property(
        "is a loss: its gradient reaches the nats",
        "Stay in torch, without .item() or numpy, so that a network can be trained with it.",
        _differentiable,
    ),
)

# 02-e5

COUNTING = (  # the level is one more than that of the pixel before, mod 5
    "lambda x: 200.0 * nn.functional.one_hot(((torch.cat([torch.full((1, 1, 1), {}), "
    "x.flatten(2)[..., :-1]], 2).view_as(x) + 1) % 5).long()[:, 0], 5).movedim(-1, 1).float()"
)
COIN = "lambda x: torch.stack([torch.zeros_like(x), torch.full_like(x, {})], 1)[:, :, 0]"
COPY = (  # a coin, then a copy of the pixel to the left with probability 0.9
    "lambda x: torch.stack([torch.zeros_like(x), 2.1972245773 * (2 * nn.functional.pad(x, "
    "(1, 0))[..., :-1] - 1)], 1)[:, :, 0]"
)


def _rule(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    start = draw.integer(0, 4)
    for h, w in ((2, 3), (4, 2)):
        value = observe(answer, Recipe(COUNTING.format(float(start))), (h, w), draw.seed()).value
        right = (torch.arange(h * w).reshape(1, 1, h, w) + start + 1) % 5
        where = f"from a net that counts up from pixel to pixel, {h} by {w}"
        if wrong := differs(value, right, "image", where=where):
            return wrong
    return None


def _passes(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for h, w in ((8, 8), (2, 3)):
        seen = observe(answer, Recipe(COUNTING.format(0.0)), (h, w), draw.seed())
        if seen.calls[0] != h * w:
            return f"you: {seen.calls[0]} passes, right: {h * w} for {h} by {w} pixels"
        if wrong := differs(seen.value, torch.zeros(1, 1, h, w), "image", math.inf):
            return wrong
        if h * w > 8 and len(torch.as_tensor(seen.value).unique()) == 1:
            return "all 64 pixels have one level, though the net calls several as likely"
    return None


def _depends_on_rng(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    seeds = draw.seed(), draw.seed()
    first, again, other = (
        observe(answer, Recipe(COIN.format(0.0)), (4, 8), seed).value
        for seed in (seeds[0], seeds[0], seeds[1])
    )
    if wrong := differs(again, torch.as_tensor(first), "a second image of the same seed"):
        return wrong
    same = torch.equal(torch.as_tensor(first), torch.as_tensor(other))
    return "two seeds gave one image" if same else None


def _law(recipe: str, statistic: Callable, exact: float, what: str) -> Callable:
    """A property's test: the mean of a statistic over images of 1 x 8 is as it should be."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        n, found = draw.count(80), []
        for _ in range(n):
            value = observe(answer, Recipe(recipe), (1, 8), draw.seed()).value
            if wrong := differs(value, torch.zeros(1, 1, 1, 8), "image", math.inf):
                return wrong
            found += statistic(torch.as_tensor(value).flatten())
        if len(set(map(float, found))) == 1:
            return f"you: {float(found[0]):g} in every image {what}"
        mean = sum(found) / len(found)
        error = math.sqrt(exact * (1 - exact) / len(found))
        if abs(mean - exact) <= 4 * error:
            return None
        return f"you: {mean:.3f}, right: {exact:.3f} +- {error:.3f} {what}"

    return test


SAMPLING = (
    Property(
        "each pixel follows the law that the pixels before it give",
        "Pixel 2 must see the sampled pixel 1: ask the net again after each pixel that you write, "
        "row by row, from left to right. (All pixels from one pass are no sample of the model.)",
        _rule,
    ),
    Property(
        "one pass of the net for each pixel",
        "Count: 64 passes for 8 by 8. The net gives the law of one pixel at a time that is of use.",
        _passes,
    ),
    Property(
        "the generator decides: two seeds, two images",
        "Two seeds must give two images, one seed always the same. An argmax takes the likeliest "
        "level, every time; a draw without generator=rng is never the same.",
        _depends_on_rng,
    ),
    Property(
        "draws level 1 as often as the law says",
        "softmax over the K channels gives the law; draw from it, with replacement or by "
        "comparing one uniform number with its running sum. Logits are no probabilities.",
        _law(COIN.format(1.2), lambda x: x.tolist(), 1 / (1 + math.exp(-1.2)), "ones per pixel"),
        statistical=True,
    ),
    Property(
        "neighbours agree as often as the law says",
        "The law of a pixel is at *its* place in the net's output, and depends on what was drawn "
        "before.",
        _law(COPY, lambda x: (x[1:] == x[:-1]).float().tolist(), 0.9, "equal neighbours"),
        statistical=True,
    ),
)

EXERCISES = (
    Exercise("02-e3", "Is it causal?", 15, 3, CAUSAL, is_causal),
    Exercise("02-e4", "Bits per dimension", 10, 1, BITS, bits_per_dim),
    Exercise("02-e5", "Write an image", 15, 2, SAMPLING, sample_image),
)
