"""Tables can be imported and opened; pages show what a student may see, and only as text."""

import csv
import html.parser
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from course_utils import exercises
from course_utils.grading.base import Failure, Row, tidy
from course_utils.grading.collect import Ignored
from course_utils.grading.report import feedback, page_name, summary, write_all
from course_utils.grading.run import Result
from course_utils.grading.tables import Worksheet

EVIL = "<script>alert(1)</script><img src=x onerror='x'>\" & =1+1"
DISGUISED = ("＝1+1", "\u200b=1", "\u202e+1", " =1", "－1", "\u00a0@SUM(A1)")
FORMULAS = (*DISGUISED, "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "a\r=1", "a\n=1", '",=1')


def made(student: str, number: str = "", lesson: str = "08", **of_first: object) -> Result:
    """One failed, the others passed."""
    failure = Failure("stays between 0 and 1", "you: 2, right: 0.5", "think", ("line 1, in f",))
    asked = exercises.of_lesson(lesson)
    first, *others = asked
    rows = [Row(student, e.id, e.points, e.points, "PASS", checks="v1") for e in others]
    given = {"failure": failure, "flags": ("duplicate",), "checks": "v1", **of_first}
    rows = [Row(student, first.id, 1, first.points, "NOT YET", **given), *rows]
    return Result(
        student, number, f"{student}/x.ipynb", student, lesson, 4711, 1.0, tuple(rows), "folder"
    )


def unreadable(student: str) -> Result:
    row = Row(student, "", 0, 0, "UNREADABLE", reason="this is no notebook (=1+1)")
    return Result(student, "", "x.ipynb", "d", "", 4711, 1.0, (row,), "folder")


def table(path: Path) -> list[dict]:
    return list(csv.DictReader(path.open(encoding="utf-8-sig", newline="")))


def test_the_table_of_grades_has_a_row_for_each_exercise(tmp_path):
    write_all(tmp_path, [made("bob"), made("ann", "17"), unreadable("eve")], [Ignored("a", "b")])
    rows = table(tmp_path / "grades.csv")
    assert len(rows) == 13 and [row["student"] for row in rows[:2]] == ["eve", "ann"]
    assert rows[1] == {
        "student": "ann",
        "number": "17",
        "exercise": "08-e1",
        "points": "1",
        "max": str(exercises.find("08-e1").points),
        "status": "NOT YET",
        "flags": "duplicate",
        "checks": "v1",
        "seed": "4711",
        "reason": "",
        "source": "ann/x.ipynb",
    }
    assert rows[0]["status"] == "UNREADABLE" and "no notebook" in rows[0]["reason"]
    found = json.loads((tmp_path / "grades.json").read_text())
    assert found[1]["rows"][0]["failure"]["hint"] == "think"
    files = table(tmp_path / "files.csv")
    assert files[-1] == {
        "file": "a",
        "student": "",
        "told by": "",
        "lesson": "",
        "what became of it": "b",
    }
    assert files[1]["told by"] == "folder"
    assert not list(tmp_path.rglob("*.partial"))


def test_learning_platforms_find_their_columns(tmp_path):
    results = [made("ann", "17"), made("bob", "18"), made("ann", "17", "05")]
    write_all(tmp_path, results)
    possible = {name: sum(e.points for e in exercises.of_lesson(name)) for name in ("05", "08")}
    canvas = table(tmp_path / "canvas.csv")
    assert list(canvas[0])[:4] == ["Student", "ID", "SIS Login ID", "Section"]
    assert canvas[0]["Student"] == "    Points Possible"
    assert canvas[0]["Lesson 05"] == str(possible["05"])
    assert [row["ID"] for row in canvas[1:]] == ["17", "18"]
    first = exercises.find("08-e1").points - 1
    assert canvas[1]["Lesson 08"] == canvas[2]["Lesson 08"] == str(possible["08"] - first)
    assert canvas[2]["Lesson 05"] == ""
    (row,) = table(tmp_path / "moodle-05.csv")
    assert row["Identifier"] == "Participant 17" and row["Maximum Grade"] == str(possible["05"])
    assert len(table(tmp_path / "moodle-08.csv")) == 2


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text, tmp_path):
    ignored = [Ignored(text, text)]
    write_all(tmp_path, [made(text, text, reason=text, flags=(text,)), unreadable(text)], ignored)
    for path in tmp_path.glob("*.csv"):
        for row in csv.reader(io.StringIO(path.read_bytes().decode(), newline="")):
            assert not [cell for cell in row if cell[:1] in "=+-@\t\r" and cell], (path, row)
            assert not set(row) & set(DISGUISED), (path, row)


ENGLISH = (
    '\ufeffIdentifier,"Full name","Email address",Status,Grade,"Maximum Grade",'
    '"Grade can be changed","Last modified (submission)",'
    '"Last modified (grade)","Feedback comments"\n'
    '"Participant 17","Lee, ""Ann""",a@x,"Submitted, marked",GRADE,30.00,Yes,"Monday, 9:00 AM",-,\n'
    '"Participant 170",Bo,b@x,"No submission",12.00,30.00,No,-,-,"<p>good\nwork</p>"\n'
)
GERMAN = (  # without names, as an anonymous assignment has it
    "ID;Status;Bewertung;Bestwertung;Bewertung kann geändert werden;Zuletzt geändert\r\n"
    "Teilnehmer/in17;Abgegeben;GRADE;30,00;Ja;-\r\nTeilnehmer/in170;-;12,00;30,00;Ja;-\r\n"
)
WORKSHEETS = {
    "as Moodle gives it": (ENGLISH, "utf-8"),
    "without a mark of its bytes": (ENGLISH[1:], "utf-8"),
    "another language": (GERMAN, "utf-8"),
    "saved by another tool": (GERMAN, "cp1252"),
    "with tabs": ("\ufeff" + GERMAN.replace(";", "\t"), "utf-16-le"),
    "no new line at the end": (GERMAN[:-2], "utf-8"),
}


@pytest.mark.parametrize("name", WORKSHEETS)
def test_a_worksheet_of_moodle_gets_grades_and_stays_as_it_was(name, tmp_path):
    text, encoding = WORKSHEETS[name]
    path, out = tmp_path / "given.csv", tmp_path / "out"
    out.mkdir()
    path.write_bytes(text.replace("GRADE", "").encode(encoding))
    before = path.read_bytes()
    results = [replace(made(who, n), how="Moodle") for who, n in (("ann", "17"), ("eve", "9"))]
    results += [made("flat"), replace(made("other", "170"), how="Canvas")]
    _, said = write_all(out, results, worksheet=Worksheet(path))
    points = str(sum(row.points for row in results[0].rows))
    assert (out / "moodle-08.csv").read_bytes() == text.replace("GRADE", points).encode(encoding)
    assert path.read_bytes() == before
    rows = [line for line in said if "no row for" in line]
    assert rows == [
        f"moodle-08.csv: no row for {who}" for who in ("eve (9)", "flat (-)", "other (170)")
    ]
    assert len(said) == 3 + (sum(e.points for e in exercises.of_lesson("08")) != 30)


NO_WORKSHEET = {
    "a scale": ENGLISH.replace("30.00", "bad good"),
    "our own without a maximum": "Identifier,Grade\nParticipant 1,3\n",
    "no numbers": ENGLISH.replace("Participant 17", "Participant"),
    "no rows": ENGLISH.partition("\n")[0],
    "nothing": "",
    "two maxima": "Identifier,A,B,C\nParticipant 1,1,2,3\n",
    "an open quotation": 'Identifier,"Grade\n',
}


@pytest.mark.parametrize("name", NO_WORKSHEET)
def test_what_is_no_worksheet_of_moodle_is_refused_by_name(name, tmp_path):
    (tmp_path / "given.csv").write_text(NO_WORKSHEET[name].replace("GRADE", ""), "utf-8")
    with pytest.raises(ValueError, match=r"given\.csv (has the columns|is no CSV)"):
        Worksheet(tmp_path / "given.csv")


def test_a_made_up_worksheet_says_its_limits(tmp_path):
    ann = replace(made("ann", "17"), how="Moodle")
    _, said = write_all(tmp_path, [ann])
    assert len(said) == 1 and "in English" in said[0] and "--moodle-worksheet" in said[0]
    (row,) = table(tmp_path / "moodle-08.csv")
    assert row["Last modified (grade)"] == ""
    assert Worksheet(tmp_path / "moodle-08.csv").maximum == int(row["Maximum Grade"])


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.seen |= {tag, *(name for name, _ in attrs)}


def test_a_page_shows_what_a_student_wrote_as_text():
    failure = Failure(EVIL, EVIL, EVIL, (EVIL,))
    page = feedback(made(EVIL, failure=failure, reason=EVIL))
    tags = Tags()
    tags.feed(page)
    allowed = {"html", "lang", "head", "meta", "charset", "title", "style", "body", "h1", "h2"}
    assert tags.seen <= allowed | {"p", "pre", "strong", "section"}
    assert "you: " not in page and "&lt;script&gt;" in page


def test_a_page_tells_what_failed_and_neither_reference_nor_seed():
    page = feedback(made("ann"))
    for told in ("stays between 0 and 1", "you: 2, right: 0.5", "think", "line 1, in f"):
        assert told in page
    assert (
        "There were several answers; the first that is no stub counted" in page
        and "4711" not in page
    )
    for exercise in exercises.of_lesson("08"):
        body = exercise.solution.splitlines()[-1].strip()
        assert body not in html.unescape(page)
    assert "The file" in feedback(unreadable("eve")) and "no notebook" in feedback(
        unreadable("eve")
    )


def test_pages_of_different_students_never_share_a_name(tmp_path):
    names = ["ann/../../x", "ann-x", "ANN-X", "Ann X", "..", "", "é" * 300, "con", "=1", "a\\b"]
    pages = [page_name(made(name)) for name in names]
    assert len({page.lower() for page in pages}) == len(names)
    assert all(Path(page).name == page and len(page.encode()) < 200 for page in pages)
    write_all(tmp_path, [made(name) for name in names])
    assert len(list((tmp_path / "feedback").iterdir())) == len(names)


def test_the_summary_names_the_most_frequent_mistake():
    told = summary([made("ann"), made("bob"), made("cem", failure=None), unreadable("eve")])
    assert told.startswith("4 submissions; 1 could not be read\n")
    assert "most frequent mistake (2): stays between 0 and 1; hint: think" in told
    assert "   1 points    3 ########################################" in told


def test_texts_of_a_submission_can_be_written_and_printed():
    odd = "a\x1b[31m\0\ud800\udcff\u202eb\n\tc" + "x" * 5000
    assert tidy(odd).startswith("a\\u001b[31m\\u0000\\ud800\\udcff\\u202eb\n\tc")
    assert len(tidy(odd)) < 2100 and tidy(odd).encode()
    unseen = [
        chr(c) for c in (0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2060, 0xFEFF, 0xE0041)
    ]
    for sign in [*unseen, "\u200c", "\u200d"]:
        assert sign not in tidy(f"an{sign}n")
    assert tidy("Jörg 李 ش‌م 👩‍🔬") == "Jörg 李 ش‌م 👩‍🔬"
