"""What a run proves anew: all is proved in turn, what changed at once, what is named always."""

import pytest

from tests import prove

LESSONS = ["00", "05", "06", "08", "09"]


def test_every_lesson_is_live_within_a_round_of_weeks():
    weeks = [prove.by_turns(LESSONS, set(), week) for week in range(100, 103)]
    assert weeks == [["00", "05"], ["06", "08"], ["00", "09"]]
    assert all(prove.by_turns(prove.NUMBERS, set(), week) for week in range(7))


def test_lessons_that_changed_are_live_first():
    assert prove.by_turns(LESSONS, {"09"}, 100) == ["00", "09"]
    assert prove.by_turns(LESSONS, {"08", "09"}, 100) == ["08", "09"]
    assert len(prove.by_turns(LESSONS, {"00", "05", "08"}, 101)) == 2
    assert prove.by_turns(["05"], set(), 3) == ["05"] and prove.by_turns([], set(), 3) == []


def test_files_name_the_lessons_that_they_belong_to():
    files = [
        "course_utils/exercises/lesson06_latents.py",
        "tests/exercises/test_lesson12_bound.py",
        "course_utils/exercises/base.py",
        "notebooks/09_training_gans.ipynb",
        "course_utils/plots/lesson13_images.py",
        "docs/lesson08.py",
    ]
    assert prove.numbers(files, prove.OF_EXERCISES) == {"06", "12"}
    assert prove.numbers(files, prove.OF_A_LESSON) == {"09", "13"}


def test_what_is_asked_for_by_name():
    assert prove.asked("", LESSONS) == []
    assert prove.asked("all", LESSONS) == LESSONS
    assert prove.asked("05,09", LESSONS) == prove.asked("05 09", LESSONS) == ["05", "09"]
    with pytest.raises(ValueError, match="PROVE='everything'; legal: all, or some of 00, 05"):
        prove.asked("everything", LESSONS)
