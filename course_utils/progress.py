"""What a student has passed: a small file of one JSON line per event, only ever appended to.

A line is written in one go, so a crash can at worst leave a last broken line, which is skipped.
The file is `.course/progress.jsonl` in the project; COURSE_PROGRESS names another one.
"""

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from course_utils.place import ROOT

STATES = ("TODO", "NOT YET", "PASS")


def path() -> Path:
    """Where the progress is kept."""
    named = os.environ.get("COURSE_PROGRESS")
    return Path(named) if named else ROOT / ".course" / "progress.jsonl"


def record(exercise_id: str, state: str) -> None:
    """Append that an exercise is now in this state, unless it already was.

    Raises:
        ValueError: an unknown state.
    """
    if state not in (*STATES, "SOLUTION SHOWN"):
        raise ValueError(f"state {state!r}; legal: {', '.join(STATES)} or SOLUTION SHOWN")
    if state == "SOLUTION SHOWN" or summary().get(exercise_id, "TODO") != state:
        _append({"exercise": exercise_id, "state": state})


def reset(exercise_id: str) -> None:
    """Put one exercise back to TODO."""
    record(exercise_id, "TODO")


def summary() -> dict[str, str]:
    """The latest state of every exercise that was ever checked, by id."""
    events = [event for event in _events() if event["state"] in STATES]
    return {event["exercise"]: event["state"] for event in events}


def shown() -> set[str]:
    """The exercises whose solution was looked at."""
    return {event["exercise"] for event in _events() if event["state"] == "SOLUTION SHOWN"}


def _events() -> list[dict[str, str]]:
    if not path().is_file():
        return []
    lines = path().read_bytes().split(b"\n")
    events = [event for line in lines if (event := _event(line)) is not None]
    return sorted(events, key=lambda event: event["exercise"])


def _event(line: bytes) -> dict[str, str] | None:
    """The event on a line; None for one that a crash cut short, or that is no event at all."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    named = isinstance(event, dict) and all(
        isinstance(event.get(key), str) for key in ("exercise", "state")
    )
    return event if named else None


def _append(event: dict[str, str]) -> None:
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True)
    stamped = {**event, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    whole = not target.is_file() or target.read_bytes()[-1:] in (b"", b"\n")
    line = ("" if whole else "\n") + json.dumps(stamped, ensure_ascii=False) + "\n"
    handle = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
        if stat.S_ISREG(os.fstat(handle).st_mode):  # os.devnull cannot be synced
            os.fsync(handle)
    finally:
        os.close(handle)
