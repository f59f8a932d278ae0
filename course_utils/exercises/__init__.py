"""What each lesson asks: one module per lesson, found by the exercise's id."""

from importlib import import_module
from importlib.util import find_spec

from course_utils.exercises.base import Exercise


def of_lesson(lesson: str) -> list[Exercise]:
    """The exercises of a lesson ("05"), in order; empty if it asks none yet."""
    name = f"course_utils.exercises.lesson{lesson}"
    return list(import_module(name).EXERCISES) if find_spec(name) else []


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
