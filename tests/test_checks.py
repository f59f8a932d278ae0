"""What a student sees: TODO, PASS or what is wrong; under nbgrader a number; progress noted."""

import json
import os

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from course_utils import checks, progress
from course_utils.checks import check, reset, show_solution, use
from course_utils.exercises import find

elbo = find("05-e2").reference


def todo(x, W, s2, mean, var):
    raise NotImplementedError("05-e2")


def kl_added(x, W, s2, mean, var):
    return elbo(x, W, s2, mean, var) + (mean**2 + var - 1 - var.log()).sum(1)


def half_right(x, W, s2, mean, var):
    return elbo(x, W, s2, mean, var) if W.shape[1] < 3 else torch.zeros(len(x))


def breaks(x, W, s2, mean, var):
    squared = x - mean  # (B, D) - (B, K)
    return squared


@pytest.fixture(autouse=True)
def kept_at(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.jsonl"))
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    return tmp_path / "progress.jsonl"


def test_untouched_stub_says_todo(kept_at):
    text = repr(check("05-e2", todo))
    assert text == "05-e2 · TODO · write the body above, run that cell, then this one"
    assert not kept_at.exists()


def test_right_answer_says_pass():
    points = find("05-e2").points
    assert repr(check("05-e2", elbo)) == f"05-e2 · PASS · {points} of {points} points"
    assert progress.summary() == {"05-e2": "PASS"}


def test_a_demonstration_does_not_undo_a_pass():
    check("05-e2", elbo)
    assert "NOT YET" in repr(check("05-e2", kl_added, record=False))
    assert "NOT YET" in repr(check("05-e2", 0.05, record=False))
    assert progress.summary() == {"05-e2": "PASS"}


def test_wrong_answer_shows_claim_numbers_and_hint():
    head, claim, numbers, hint = repr(check("05-e2", kl_added)).splitlines()
    assert head == f"05-e2 · NOT YET · 1 of {find('05-e2').points} points"
    assert claim == "  should hold: a q whose mean is not 0 pays for it, even where W = 0"
    assert "you: value = [" in numbers and "right: [" in numbers
    assert hint.startswith("  hint: The KL is a price")
    assert progress.summary() == {"05-e2": "NOT YET"}


def test_an_exception_shows_the_students_line_and_no_hint():
    text = repr(check("05-e2", breaks))
    assert "RuntimeError: The size of tensor" in text
    assert "in breaks: squared = x - mean" in text
    assert "hint:" not in text and "observing.py" not in text


def test_not_implemented_with_another_text_is_an_error():
    def other(x, W, s2, mean, var):
        raise NotImplementedError("05-e1")

    text = repr(check("05-e2", other))
    assert "NOT YET" in text and "NotImplementedError: 05-e1" in text


def test_a_name_that_is_no_function_is_said_and_stops_nothing(capsys):
    text = repr(check("05-e2", 3.0))
    assert "NOT YET · 0 of" in text and "elbo is a float" in text
    assert use("05-e2", 3.0) is elbo


@pytest.mark.parametrize(
    ("answer", "status"), [(todo, "TODO"), (elbo, "PASS"), (breaks, "NOT YET")]
)
def test_html_is_the_text_with_a_coloured_bar(answer, status):
    shown = check("05-e2", answer)
    html = shown._repr_html_()
    assert status in html and checks.COLOURS[status] in html
    assert html.startswith("<pre") and html.endswith("</pre>")


def test_html_escapes_what_a_student_wrote():
    def sly(x, W, s2, mean, var):
        raise ValueError("<script>alert(1)</script>")

    html = check("05-e2", sly)._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html


@pytest.mark.parametrize(("answer", "share"), [(todo, 0), (half_right, 5 / 6), (elbo, 1)])
def test_under_nbgrader_a_float_of_points_and_no_progress(answer, share, kept_at, monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    points = check("05-e2", answer)
    assert type(points) is float and points == pytest.approx(share * find("05-e2").points)
    assert not kept_at.exists()


def test_use_hands_on_the_students_function_or_the_reference(capsys):
    def mine(x, W, s2, mean, var):
        return elbo(x, W, s2, mean, var)

    assert use("05-e2", mine) is mine
    assert capsys.readouterr().out == "The next cells use your elbo.\n"
    for answer in (todo, kl_added, breaks):
        assert use("05-e2", answer) is elbo
        said = capsys.readouterr().out
        assert said == "The next cells use the reference elbo until yours passes 05-e2.\n"
    assert progress.summary() == {}


def test_use_says_what_it_does_to_an_answer_in_numpy(capsys):
    def mine(p, q, dx):
        p, q = np.asarray(p), np.asarray(q)
        return 0.5 * dx * (rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)).sum()

    handed = use("00-e4", mine)
    first, turned, lent = capsys.readouterr().out.splitlines()
    assert first == "The next cells use your jsd."
    assert "turned into" in turned and "use the reference: yours gives none" in lent
    p, q = torch.tensor([1.0, 3.0], requires_grad=True), torch.tensor([3.0, 1.0])
    handed(p, q=q, dx=1.0).backward()
    torch.testing.assert_close(p.grad, 0.5 * torch.tensor([0.5, 1.5]).log())
    with torch.no_grad():
        torch.testing.assert_close(handed(p, q, 1.0), find("00-e4").reference(p, q, 1.0))


def test_show_solution_prints_the_reference_and_notes_it(capsys):
    check("05-e2", elbo)
    show_solution("05-e2")
    assert capsys.readouterr().out.startswith("def elbo(x: Tensor")
    assert progress.shown() == {"05-e2"} and progress.summary() == {"05-e2": "PASS"}


def test_reset_forgets_one_result_and_prints_the_stub(capsys):
    check("05-e2", elbo)
    check("05-e1", find("05-e1").reference)
    reset("05-e2")
    assert capsys.readouterr().out.rstrip().endswith('raise NotImplementedError("05-e2")')
    assert progress.summary() == {"05-e1": "PASS", "05-e2": "TODO"}


@pytest.mark.parametrize("call", [show_solution, reset, lambda id: use(id, elbo)])
@pytest.mark.parametrize("wrong", ["05-e77", "5-e2", "5.2", "05-E2"])
def test_an_unknown_exercise_is_named_with_the_legal_ones(call, wrong):
    with pytest.raises(ValueError, match=rf"'{wrong}'; legal: 05-e1, 05-e2"):
        call(wrong)


@pytest.mark.parametrize("wrong", ["e2", "*", "", None, elbo])
def test_what_is_no_id_at_all_is_told_how_one_looks(wrong):
    with pytest.raises(ValueError, match="legal: one such as '05-e2'"):
        check(wrong, elbo)


def test_a_progress_file_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path))  # a folder
    text = repr(check("05-e2", elbo))
    assert "PASS" in text and "your progress is not saved" in text
    show_solution("05-e2")
    text = capsys.readouterr().out
    assert "def elbo(" in text and "your progress is not saved" in text


def test_the_notebook_and_the_students_noise_are_independent():
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    check("05-e2", elbo)
    assert torch.equal(torch.rand(2), expected)


def test_every_event_says_when(kept_at):
    check("05-e2", elbo)
    event = json.loads(kept_at.read_text())
    assert event["exercise"] == "05-e2" and event["at"].startswith("20")
    assert os.listdir(kept_at.parent) == [kept_at.name]
