"""What a grading run works on and what it finds out: plain records, one row for each exercise."""

import re
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from course_utils import exercises
from course_utils.exercises.base import Exercise

TEXT_LIMIT = 2000  # characters of what a submission says about itself
UNSAFE = re.compile(  # control, direction, zero width, halves; joiners where no script needs them
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]|(?<![^\x00-\x7f])[\u200c\u200d]"
)
STATUSES = ("PASS", "NOT YET", "TODO", "MISSING", "UNREADABLE")


class Unreadable(ValueError):
    """A file that cannot be graded at all; the message says why, for the student to read."""


@dataclass(frozen=True)
class Failure:
    """The first property that did not hold, as the student sees it in the notebook, too."""

    claim: str
    evidence: str
    hint: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """What one student gets for one exercise.

    Attributes:
        status: PASS; NOT YET (some points or none); TODO (the stub); MISSING (no answer found);
            UNREADABLE (the file could not be graded).
        flags: what an instructor may want to look at: "uses-package", "duplicate", "ended-the-box".
        failure: the first property that did not hold, or None.
        checks: version of the checks of this exercise: it changes when they do.
        reason: why the file could not be graded, where it could not.
    """

    student: str
    exercise: str
    points: int
    max: int
    status: str
    flags: tuple[str, ...] = ()
    failure: Failure | None = None
    checks: str = ""
    reason: str = ""

    @classmethod
    def from_dict(cls, found: dict) -> "Row":
        """From JSON."""
        failure = found["failure"] and Failure(
            **{**found["failure"], "lines": tuple(found["failure"]["lines"])}
        )
        return cls(**{**found, "flags": tuple(found["flags"]), "failure": failure})


@dataclass(frozen=True)
class Cell:
    """A code cell of a submission that will be run: an answer to an exercise, or a helper."""

    source: str
    exercise: str | None = None
    closes: str | None = None  # the exercise whose check stands here: its answer is complete now


@dataclass(frozen=True)
class Work:
    """A submitted notebook, understood: what is run, in order, and what was odd about it."""

    lesson: str
    cells: tuple[Cell, ...]
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by exercise id; "" is all


def tidy(text: str) -> str:
    """The text cut; control characters and halves of characters as escapes: safe to write, print.

    Names of files and messages of exceptions come from submissions: they may hold anything.
    """
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text[:TEXT_LIMIT])


def version(exercise: Exercise) -> str:
    """Eight hex digits over the sources that decide: of the modules of its checks and its base."""
    folder = Path(exercises.__file__).parent
    makers = [exercise.reference, *(claimed.test for claimed in exercise.properties)]
    homes = {getattr(maker, "__module__", "") for maker in makers}
    ours = sorted(name for name in homes if name.startswith(f"{exercises.__name__}."))
    names = dict.fromkeys(name.rpartition(".")[2] for name in [*ours, f"{exercises.__name__}.base"])
    sources = [(folder / f"{name}.py").read_bytes() for name in names]
    return sha256(b"\0".join(sources)).hexdigest()[:8]
