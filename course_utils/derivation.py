"""One line of a derivation, executed: run both sides, compare, print one stable row, or raise.

In a lesson: `from course_utils import derivation as line`, then one of

    line.equal("A8", left, right, "definition of KL")
    line.at_most("A10", elbo, log_evidence, "KL >= 0")
    line.rejects("E08", left, wrong, "says unbiased", relation="equal")

A side is a float64 number or tensor on the CPU, exact up to rounding, or an `Estimate` of random
draws. Exact sides must agree to 1e-8 of the larger one (and 1e-12 absolutely), estimates within
4 standard errors. A row never shows a random or trained value, so stored outputs stay comparable.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

RELATIVE, ABSOLUTE, STANDARD_ERRORS = 1e-8, 1e-12, 4.0
REJECTED_BEYOND = 10.0  # a wrong side must miss by this many tolerances
SIGNS = {"equal": "=", "at_most": "<=", "at_least": ">="}
LABEL = re.compile(r"[A-Z]\d{1,2}|\d{2}\.\d{1,2}")  # a step, claim or slip; or a section

Relation = Literal["equal", "at_most", "at_least"]
Allowed = tuple[Tensor, str]  # a tolerance, absolute, and how it reads in a row


class DerivationError(AssertionError):
    """A line of a derivation that does not hold, with both values and the distance."""


@dataclass(frozen=True)
class Estimate:
    """A Monte Carlo mean with its standard error; both float64, of one shape."""

    mean: Tensor
    standard_error: Tensor

    def __init__(self, mean: Tensor | float, standard_error: Tensor | float) -> None:
        mean, error = _exact(mean, "mean"), _exact(standard_error, "standard_error")
        if mean.shape != error.shape:
            raise ValueError(f"mean {tuple(mean.shape)} but standard_error {tuple(error.shape)}")
        if (error <= 0).any():
            raise ValueError(
                "a random estimate has a positive standard error, got "
                f"{float(error.min())}: were all draws equal? Then compare sample by sample"
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "standard_error", error)

    @classmethod
    def of(cls, draws: Tensor) -> "Estimate":
        """Mean of independent draws (N, ...) over the first dimension; SE = sd / sqrt(N)."""
        draws = _exact(draws, "draws")
        if draws.ndim == 0 or len(draws) < 2:
            raise ValueError(f"an estimate needs 2 draws or more, got shape {tuple(draws.shape)}")
        return cls(draws.mean(dim=0), draws.std(dim=0) / math.sqrt(len(draws)))


Side = Tensor | float | Estimate


def equal(
    label: str,
    left: Side,
    right: Side,
    rule: str,
    *,
    tolerance: float | None = None,
    because: str | None = None,
) -> None:
    """Assert left = right, entry by entry, and print the row of this line.

    Args:
        label: id of the step (A8), or the section (00.2) for a line outside the three derivations.
        left: float64 number or tensor on the CPU, or an Estimate.
        right: the same; shapes must agree.
        rule: what makes the line true, in a few words.
        tolerance: absolute; replaces the default and is printed with its reason.
        because: the reason, required with `tolerance`.

    Raises:
        DerivationError: the line does not hold.
        ValueError: NaN or infinity, unequal shapes, not float64, not on the CPU, nothing there.
    """
    _assert("equal", label, left, right, rule, _stated(tolerance, because))


def at_most(
    label: str,
    left: Side,
    right: Side,
    rule: str,
    *,
    tolerance: float | None = None,
    because: str | None = None,
) -> None:
    """Assert left <= right + tolerance, entry by entry; arguments and errors as in `equal`."""
    _assert("at_most", label, left, right, rule, _stated(tolerance, because))


def at_least(
    label: str,
    left: Side,
    right: Side,
    rule: str,
    *,
    tolerance: float | None = None,
    because: str | None = None,
) -> None:
    """Assert left >= right - tolerance, entry by entry; arguments and errors as in `equal`."""
    _assert("at_least", label, left, right, rule, _stated(tolerance, because))


def rejects(
    label: str,
    left: Side,
    wrong: Side,
    says: str,
    *,
    relation: Relation = "equal",
    tolerance: float | None = None,
    because: str | None = None,
) -> None:
    """Assert that `left relation wrong` fails by at least 10 tolerances: the slip is caught.

    The row says by how much: with exact sides the power of ten below the distance (10^6 tolerances
    of 1e-8 are 1 per cent of the larger side). With an Estimate the distance is random too, so its
    row says the 10 tolerances that are asked of every slip: no row differs between machines.

    Args:
        label: id of the slip (E08), or of the step whose wrong version is planted.
        left: the true side.
        wrong: the side as the slip has it.
        says: the slip in a few words.
        relation: the relation that the slip claims: equal, at_most or at_least.
        tolerance: absolute, as in `equal`.
        because: the reason, required with `tolerance`.

    Raises:
        DerivationError: the wrong side is not told apart.
        ValueError: as in `equal`, or an unknown relation.
    """
    if relation not in SIGNS:
        raise ValueError(f"relation {relation!r}; legal: {', '.join(SIGNS)}")
    seen = _compare(relation, label, left, wrong, _stated(tolerance, because))
    if seen.distance < REJECTED_BEYOND:
        raise DerivationError(
            f"{label}: the wrong version is not told apart ({says})\n{seen.report(relation)}\n"
            f"  needed: {REJECTED_BEYOND:g} tolerances"
        )
    sign = "" if relation == "equal" else f"{SIGNS[relation]} "
    shown = f" is not {sign}".join(text for text in (_shown(left), _shown(wrong)) if text)
    shown = f" · {shown}" if shown else ""
    print(f"{label:<4} REJECTED · {says}{shown} · misses by at least {seen.magnitude} tolerances")


@dataclass(frozen=True)
class _Comparison:
    left: Tensor
    right: Tensor
    tolerance: Tensor
    distance: float  # the worst entry's violation, in tolerances
    worst: int  # its flat index
    unit: str  # how the tolerance reads in a row
    random: bool  # a side is an Estimate

    @property
    def magnitude(self) -> str:
        """The distance rounded down to a power of ten; the least that is asked, if it is random."""
        if self.random:
            return f"{REJECTED_BEYOND:g}"
        # 0 against 1 are 10^8 tolerances: rounding must not make them 10^7 on another machine.
        return f"10^{math.floor(math.log10(self.distance) + 1e-6)}"

    def report(self, relation: Relation) -> str:
        """Both values where they differ most, and the distance in tolerances."""
        at = f" at entry {self.worst} of {self.left.numel()}" if self.left.numel() > 1 else ""
        left, right, tolerance = (
            side.expand(self.left.shape).flatten()[self.worst].item()
            for side in (self.left, self.right, self.tolerance)
        )
        return (
            f"  asked: left {SIGNS[relation]} right{at}\n  left      {left:.12g}\n"
            f"  right     {right:.12g}\n  left - right = {left - right:.6g}, "
            f"a violation of {self.distance:.3g} tolerances of {tolerance:.3g} ({self.unit})"
        )


def _assert(
    relation: Relation,
    label: str,
    left: Side,
    right: Side,
    rule: str,
    stated: Allowed | None,
) -> None:
    seen = _compare(relation, label, left, right, stated)
    if seen.distance > 1:
        raise DerivationError(f"{label} does not hold ({rule})\n{seen.report(relation)}")
    # The right side is usually the closed form; of an inequality both exact sides are shown.
    if relation == "equal":
        shown = _shown(right) or _shown(left)
    else:
        shown = f" {SIGNS[relation]} ".join(text for text in (_shown(left), _shown(right)) if text)
    shown = f" · {shown}" if shown else ""
    print(f"{label:<4} holds · {rule}{shown} · {seen.unit}")


def _compare(
    relation: Relation, label: str, left: Side, right: Side, stated: Allowed | None
) -> _Comparison:
    if not LABEL.fullmatch(label):
        raise ValueError(f"label {label!r}; legal: a step such as A8, a slip E08, a section 00.2")
    (lv, le), (rv, re_) = _split(left, "left"), _split(right, "right")
    if lv.shape != rv.shape:
        raise ValueError(f"{label}: left has shape {tuple(lv.shape)}, right {tuple(rv.shape)}")
    if lv.numel() == 0:
        raise ValueError(f"{label}: nothing to compare, both sides are empty")
    error = torch.hypot(le, re_)
    allowed, unit = stated or _default(lv, rv, error)
    excess = {"equal": (lv - rv).abs(), "at_most": lv - rv, "at_least": rv - lv}[relation]
    ratio = (excess / allowed).flatten()
    worst = int(ratio.argmax())
    random = bool((error > 0).any())
    return _Comparison(lv, rv, allowed, float(ratio[worst]), worst, unit, random)


def _stated(tolerance: float | None, because: str | None) -> Allowed | None:
    """The tolerance that a line states, with its reason; None where it states none."""
    if (tolerance is None) != (because is None):
        raise ValueError("tolerance=… and because=… go together: say why the default is not right")
    if tolerance is None:
        return None
    if not (isinstance(tolerance, float) and 0 < tolerance < math.inf):
        raise ValueError(f"tolerance {tolerance!r}; legal: a positive, finite float")
    return _exact(tolerance, "tolerance"), f"tolerance {tolerance:g}, because {because}"


def _default(left: Tensor, right: Tensor, error: Tensor) -> Allowed:
    """What rounding, or 4 standard errors, may make of two equal sides."""
    if (error > 0).any():
        return STANDARD_ERRORS * error, f"within {STANDARD_ERRORS:g} standard errors"
    size = torch.maximum(left.abs(), right.abs())
    return (RELATIVE * size).clamp(min=ABSOLUTE), f"to {RELATIVE:g}"


def _split(side: Side, name: str) -> tuple[Tensor, Tensor]:
    """A side as (value, standard error); an exact side has standard error 0."""
    if isinstance(side, Estimate):
        return side.mean, side.standard_error
    value = _exact(side, name)
    return value, torch.zeros_like(value)


def _exact(value: Tensor | float, name: str) -> Tensor:
    if isinstance(value, bool) or not isinstance(value, Tensor | int | float | np.ndarray):
        kind = type(value).__name__
        raise ValueError(f"{name} is a {kind}; legal: a float64 number or tensor, or an Estimate")
    if isinstance(value, int):
        value = float(value)
    # A NumPy scalar must not lose its precision on the way: float32 has to be seen as float32.
    array = isinstance(value, np.ndarray | np.generic)
    tensor = torch.as_tensor(value if array or isinstance(value, Tensor) else np.float64(value))
    if tensor.dtype != torch.float64 or tensor.device.type != "cpu":
        raise ValueError(f"{name} is {tensor.dtype} on {tensor.device}; legal: float64 on the CPU")
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name} has NaN or infinite entries: {tensor.flatten()[:6].tolist()}")
    return tensor.detach()


def _shown(side: Side) -> str:
    """An exact side to 6 digits (its range, if it has many entries); nothing for an estimate."""
    if isinstance(side, Estimate):
        return ""
    value = _exact(side, "side").flatten()
    value = torch.where(value.abs() < 1e-9, 0.0, value)  # rounding noise differs between machines
    if len(value) == 1:
        return f"{value.item():.6g}"
    low, high = f"{value.min().item():.6g}", f"{value.max().item():.6g}"
    return f"{len(value)} times {low}" if low == high else f"{len(value)} values in [{low}, {high}]"
