"""Which sections of the course follow a lecture deck, and which of them are written."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_utils.place import ROOT


@dataclass(frozen=True)
class Section:
    """A section of the course: its minutes in class, and its notebook where it is written."""

    id: str
    title: str
    minutes: int
    optional: bool
    notebook: Path | None


@functools.cache
def lecture_map() -> dict:
    """The contents of assets/lecture_map.yml."""
    import yaml  # `course --help` does not wait for it

    text = (ROOT / "assets" / "lecture_map.yml").read_text(encoding="utf-8")
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def sections() -> dict[str, Section]:
    """Every section by its number ("05.3")."""
    stored = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    return {
        entry["id"]: Section(
            entry["id"],
            entry["title"],
            entry["minutes"],
            entry.get("optional", False),
            stored.get(lesson["id"]),
        )
        for lesson in lecture_map()["lessons"]
        for entry in lesson["sections"]
    }


def blocks(deck: str) -> list[list[Section]]:
    """The blocks of a deck, each its sections in the deck's order.

    Raises:
        ValueError: no such deck; the message lists those that are there.
    """
    playlists, known = lecture_map()["playlists"], sections()
    if deck not in playlists:
        raise ValueError(f"no deck {deck!r}; legal: {', '.join(playlists)}")
    return [[known[number] for number in block] for block in playlists[deck]["blocks"]]


def playlist(deck: str) -> Iterator[str]:
    """The lines that tell a deck's blocks, their sections and minutes, and what is not written."""
    [title] = [entry["title"] for entry in lecture_map()["decks"] if entry["key"] == deck] or [""]
    for number, block in enumerate(blocks(deck), start=1):
        if number == 1:
            yield f"{deck} · {title}"
        built = [section for section in block if section.notebook]
        ready, all_minutes = (sum(s.minutes for s in some) for some in (built, block))
        yield f"\nBlock {number} · {all_minutes} minutes, {ready} of them ready to present"
        for s in block:
            remarks = [
                *(["optional"] if s.optional else []),
                *([] if s.notebook else ["not built yet"]),
            ]
            told = f"  ({', '.join(remarks)})" if remarks else ""
            yield f"  {s.id}  {s.minutes:>3} min  {s.title}{told}"
    yield f"\nWhat the deck skips: {lecture_map()['playlists'][deck]['bridges'].split(': ', 1)[-1]}"


def route_of_block(deck: str, number: int) -> list[Section]:
    """The sections of a deck's block that are written.

    Raises:
        ValueError: no such deck or block, or nothing of the block is written yet.
    """
    there = blocks(deck)
    if not 1 <= number <= len(there):
        raise ValueError(f"no block {number} in {deck}; legal: 1 to {len(there)}")
    written = [section for section in there[number - 1] if section.notebook]
    if not written:
        raise ValueError(f"no section of {deck} block {number} is built yet")
    return written


def route_of_lesson(lesson: str) -> list[Section]:
    """The sections of one lesson.

    Raises:
        ValueError: no such lesson; the message lists those that are there.
    """
    written = [section for section in sections().values() if section.notebook]
    route = [section for section in written if section.id[:2] == lesson]
    if not route:
        legal = ", ".join(sorted({section.id[:2] for section in written}))
        raise ValueError(f"no lesson {lesson!r}; legal: {legal}")
    return route


def first_of(route: list[Section], start: str) -> Section:
    """The section to open first: the one with the number `start`, else the route's first.

    Raises:
        ValueError: `start` is on no stop of the route.
    """
    by_number = {section.id: section for section in route}
    if start and start not in by_number:
        raise ValueError(f"no section {start!r} here; legal: {', '.join(by_number)}")
    return by_number.get(start, route[0])
