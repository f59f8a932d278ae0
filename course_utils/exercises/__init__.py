"""What each lesson asks: a module per lesson, two where one would be long; found by id."""

import re
from importlib import import_module
from pathlib import Path

from course_utils.exercises.base import Exercise


def of_lesson(lesson: str) -> list[Exercise]:
    """The exercises of a lesson ("05"), in order; empty if it asks none yet."""
    files = sorted(Path(__file__).parent.glob(f"lesson{lesson}*.py"))
    modules = [import_module(f"{__name__}.{file.stem}") for file in files]
    asked = [exercise for module in modules for exercise in module.EXERCISES]
    return sorted(asked, key=lambda exercise: int(exercise.id.rpartition("e")[2]))


def find(exercise_id: str) -> Exercise:
    """The exercise with this id ("05-e2").

    Raises:
        ValueError: there is none; the message lists those of that lesson, of "5-e2" as of "05-e2".
    """
    number = re.match("[0-9]+", str(exercise_id))
    there = of_lesson(number[0].zfill(2)) if number else []
    for exercise in there:
        if exercise.id == exercise_id:
            return exercise
    none = "none in that lesson" if number else "one such as '05-e2', exercise 2 of lesson 05"
    legal = ", ".join(exercise.id for exercise in there) or none
    raise ValueError(f"no exercise {exercise_id!r}; legal: {legal}")
