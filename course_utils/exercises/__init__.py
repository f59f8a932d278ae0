"""What each lesson asks: a module per lesson, two where one would be long; found by id."""

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
        ValueError: there is none; the message lists those of that lesson.
    """
    there = of_lesson(exercise_id[:2])
    for exercise in there:
        if exercise.id == exercise_id:
            return exercise
    legal = ", ".join(exercise.id for exercise in there) or "none in that lesson"
    raise ValueError(f"no exercise {exercise_id!r}; legal: {legal}")
