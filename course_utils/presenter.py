"""A lesson in class: the sections that follow a deck, and JupyterLab set up to step through them.

`presenter.js` beside this file does the stepping. It is a JupyterLab extension as a browser runs
it, with no build step; `prepare` lays it out, with settings, in a folder of this one server.
"""

import functools
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # runtime.project_root() would wait for torch
NAME = "course-presenter"
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page
    "docmanager-extension/plugin": {"autosave": False},  # presenting leaves the file alone
    "apputils-extension/notification": {"fetchNews": "false", "doNotDisturbMode": True},
}
# The first asks about news; the second would ask at every reload whether to leave the page.
DISABLED = (
    "@jupyterlab/apputils-extension:announcements",
    "@jupyterlab/application-extension:dirty",
)


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


def prepare(folder: Path, route: list[Section], start: str, whole: bool, dark: bool) -> list[str]:
    """Write extension and settings into `folder`, set the environment; returns server options.

    Args:
        folder: an empty folder that lives as long as the server.
        route: the sections to walk.
        start: the section to open first; "" is the first page.
        whole: also the pages that belong to no section: a lesson's head and its end.
        dark: the dark theme.
    """
    theme = {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"}
    for name, values in {**SETTINGS, "apputils-extension/themes": theme}.items():
        setting = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        _write(setting, json.dumps(values))
    stops = [{**vars(s), "notebook": s.notebook.relative_to(ROOT).as_posix()} for s in route]
    plan = {"launch": secrets.token_hex(8), "route": stops, "start": start, "whole": whole}
    page = {"coursePresent": json.dumps(plan), "disabledExtensions": dict.fromkeys(DISABLED, True)}
    _write(folder / "labconfig" / "page_config.json", json.dumps(page))
    extension = folder / "labextensions" / NAME
    build = {"load": "static/presenter.js", "extension": "./extension"}
    about = {"name": NAME, "version": "1.0.0", "jupyterlab": {"extension": True, "_build": build}}
    _write(extension / "package.json", json.dumps(about))
    (extension / "static").mkdir()
    shutil.copy(Path(__file__).with_suffix(".js"), extension / "static" / "presenter.js")
    places = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    places |= {"IPYTHONDIR": "ipython", "JUPYTER_CONFIG_DIR": "."}
    os.environ.update({name: str(folder / place) for name, place in places.items()})
    os.environ["COURSE_FIGURES"] = "dark" if dark else "light"
    return [
        f"--LabApp.extra_labextensions_path={folder / 'labextensions'}",
        "--KernelManager.shutdown_wait_time=1",  # a kernel in an endless loop goes at once
    ]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
