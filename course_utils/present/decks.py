"""Which sections of the course follow a lecture deck, and which of them are written."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course_utils.place import ROOT

MAP = "assets/lecture_map.yml"


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
    """The contents of assets/lecture_map.yml.

    Raises:
        ValueError: it is no YAML, no UTF-8, or lacks its lessons or playlists; with the line.
    """
    import yaml  # `course --help` does not wait for it

    try:
        text = (ROOT / MAP).read_text(encoding="utf-8")
        found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", error)
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{MAP}{line}: {problem}; YAML indents by spaces, not tabs") from error
    for part in ("lessons", "playlists"):
        _need(isinstance(found, dict) and found.get(part), f"{MAP} has no `{part}:`")
    return found


def sections() -> dict[str, Section]:
    """Every section by its number ("05.3").

    Raises:
        ValueError: a section without title, or without whole minutes; it is named.
    """
    stored = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    found = {}
    for lesson in lecture_map()["lessons"]:
        for entry in lesson["sections"]:
            title, minutes = entry.get("title"), entry.get("minutes")
            place = f"{MAP}, section {entry['id']}"
            _need(title, f"{place} has no `title:`")
            whole = type(minutes) is int and minutes > 0
            _need(whole, f"{place}: minutes {minutes!r}; legal: a whole number")
            optional, notebook = entry.get("optional", False), stored.get(lesson["id"])
            found[entry["id"]] = Section(entry["id"], title, minutes, optional, notebook)
    return found


def blocks(deck: str) -> list[list[Section]]:
    """The blocks of a deck, each its sections in the deck's order.

    Raises:
        ValueError: no such deck (the message lists those that are there), or one that is written
            wrongly: the deck, the block and what is legal there are named.
    """
    known, found = sections(), _written(deck).get("blocks")
    _need(found and isinstance(found, list), f"{MAP}, deck {deck}: it has no list `blocks:`")
    return [
        [_section(number, known, f"{MAP}, deck {deck}, block {place}") for number in _list(block)]
        for place, block in enumerate(found, start=1)
    ]


def _list(block: object) -> list:
    """A block's numbers; of a block that is one number, this one."""
    return block if isinstance(block, list) else [block]


def _section(number: object, known: dict[str, Section], place: str) -> Section:
    """The section of a number as it stands in a block."""
    if isinstance(number, int | float):
        raise ValueError(f"{place}: {number} is a number; write the section in quotes, '05.1'")
    of_lesson = [one for one in known if one[:2] == str(number)[:2]]
    lessons = sorted({one[:2] for one in known})
    legal = ", ".join(of_lesson) or f"sections of the lessons {', '.join(lessons)}, such as '05.1'"
    _need(
        isinstance(number, str) and number in known,
        f"{place}: no section {number!r}; legal: {legal}",
    )
    return known[number]


def _written(deck: str) -> dict:
    """What the map has under a deck's name."""
    playlists = {str(name): entry for name, entry in lecture_map()["playlists"].items()}
    _need(deck in playlists, f"no deck {deck!r}; legal: {', '.join(playlists)}")
    entry = playlists[deck]
    _need(isinstance(entry, dict), f"{MAP}, deck {deck}: it has no list `blocks:`")
    return entry


def _need(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def playlist(deck: str) -> Iterator[str]:
    """The lines that tell a deck's blocks, their sections and minutes, and what is not written."""
    titles = [entry["title"] for entry in lecture_map().get("decks", []) if entry["key"] == deck]
    for number, block in enumerate(blocks(deck), start=1):
        if number == 1:
            yield " · ".join([deck, *titles])
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
    if bridges := _written(deck).get("bridges"):
        yield f"\nWhat the deck skips: {str(bridges).split(': ', 1)[-1]}"


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
