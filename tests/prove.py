"""What a run of the tests proves anew, where proving all of it would take too long.

`make test` takes eight seeds an exercise and presents two lessons live. Fifty seeds are for the
lessons whose exercises or tests of these have changed; live are the lessons that have changed, then
the others by turns, two a week. Stored weights are judged in full where they have changed.
`make test PROVE=all` takes fifty, all and in full; `PROVE=05,09` proves two lessons so.
"""

import datetime
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable

from tests.notebooks.lessons import LESSONS, ROOT

FEW, MANY = 8, 50
LIVE = 2
NUMBERS = [path.name[:2] for path in LESSONS]
OF_EXERCISES = re.compile(r"(?:course_utils|tests)/exercises/(?:test_)?lesson(\d\d)\w*\.py")
OF_A_LESSON = re.compile(r"notebooks/(\d\d)_\w+\.ipynb|course_utils/plots/lesson(\d\d)\w*\.py")


def asked(text: str, lessons: list[str] = NUMBERS) -> list[str]:
    """The lessons that PROVE names; all for "all".

    Raises:
        ValueError: it names something else.
    """
    named = text.replace(",", " ").split()
    wanted = lessons if named == ["all"] else named
    if not set(wanted) <= set(lessons):
        raise ValueError(f"PROVE={text!r}; legal: all, or some of {', '.join(lessons)}")
    return list(wanted)


@functools.cache
def changed() -> frozenset[str]:
    """The files that differ from main's, committed or not; on main, from those of the last commit.

    Empty where this folder is no clone, or one without history.
    """
    git = shutil.which("git")
    if not (git and (ROOT / ".git").exists()):
        return frozenset()

    def lines(*arguments: str) -> list[str]:
        done = subprocess.run([git, *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.splitlines() if done.returncode == 0 else []

    head = lines("rev-parse", "HEAD")
    base = lines("merge-base", "HEAD", "origin/main") or lines("merge-base", "HEAD", "main")
    since = ["HEAD~"] if base == head else base
    differ = lines("diff", "--name-only", *since) if since else []
    return frozenset(differ + lines("ls-files", "--others", "--exclude-standard"))


def numbers(files: Iterable[str], pattern: re.Pattern) -> set[str]:
    """The lessons that files belong to, by a pattern with the lesson's number in its groups."""
    found = map(pattern.fullmatch, files)
    return {next(filter(None, match.groups())) for match in found if match}


def by_turns(lessons: list[str], first: set[str], week: int, count: int = LIVE) -> list[str]:
    """`count` of the lessons: those in `first`, then the others, from another one each week."""
    start = week * count % max(len(lessons), 1)
    turn = lessons[start:] + lessons[:start]
    return sorted(sorted(turn, key=lambda lesson: lesson not in first)[:count])


NAMED = asked(os.environ.get("PROVE", ""))
WEEK = datetime.date.today().toordinal() // 7  # the same from a Sunday to the Saturday after it
IN_FULL = NAMED == NUMBERS or any(file.startswith("assets/checkpoints/") for file in changed())
FIFTY = sorted({*NAMED, *numbers(changed(), OF_EXERCISES)})
LIVE_LESSONS = NAMED or by_turns(NUMBERS, numbers(changed(), OF_A_LESSON), WEEK)


def seeds(exercise_id: str) -> range:
    """The seeds with which the answers to an exercise ("05-e2") are judged."""
    return range(MANY if exercise_id[:2] in FIFTY else FEW)


def told() -> str:
    """One line on what this run proves anew."""
    if NAMED == NUMBERS:
        return f"proves everything: {MANY} seeds an answer, every lesson live in the browser"
    fifty = f" ({MANY} for lessons {', '.join(FIFTY)})" if FIFTY else ""
    live = ", ".join(LIVE_LESSONS)
    return f"proves with {FEW} seeds an answer{fifty}, lessons {live} live; PROVE=all: everything"
