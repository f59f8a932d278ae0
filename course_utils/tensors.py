"""Shape helpers that let one formula serve 2-D points, images and sequences alike."""

import torch
from jaxtyping import Float
from torch import Tensor


def sum_per_example(values: Float[Tensor, "B *event"]) -> Float[Tensor, "B"]:
    """Add all entries of each example: (B, ...) -> (B,), so a log density keeps its unit, nats.

    Raises:
        ValueError: the tensor has no batch dimension.
    """
    if values.ndim == 0:
        raise ValueError("sum_per_example needs a batch dimension, got a scalar; legal: (B, ...)")
    return values.flatten(start_dim=1).sum(dim=1) if values.ndim > 1 else values


def same_shape(**given: Tensor) -> None:
    """Nothing, if all have one shape: a difference of two layouts broadcasts without a word.

    Raises:
        ValueError: two shapes; all are named.
    """
    shapes = {name: tuple(values.shape) for name, values in given.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{found}; legal: one shape")


def right_expand(values: Tensor, like: Tensor) -> Tensor:
    """Append singleton dimensions: (B,) becomes (B, 1, ..., 1) with the rank of `like`.

    Raises:
        ValueError: `values` has a higher rank than `like`.
    """
    missing = like.ndim - values.ndim
    if missing < 0:
        shapes = f"{tuple(values.shape)} to the rank of {tuple(like.shape)}"
        raise ValueError(f"right_expand cannot lower a rank: {shapes}")
    return torch.reshape(values, (*values.shape, *([1] * missing)))
