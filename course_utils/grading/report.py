"""What a run leaves behind: tables to import, a page for each student, a summary of the class.

Everything is written whole or not at all. A page shows what failed, the inputs that show it and the
hint that the notebook would have given; it never shows a reference.
"""

import hashlib
import html
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from course_utils import exercises
from course_utils.grading import tables
from course_utils.grading.base import Row
from course_utils.grading.collect import Ignored
from course_utils.grading.run import Result
from course_utils.place import write_whole

COLUMNS = ("student", "number", "exercise", "points", "max", "status", "flags", "checks", "seed")
COLUMNS += ("reason", "source")
BOM = "\ufeff"  # tells Excel that it is UTF-8
COLOURS = {"PASS": "#00785A", "NOT YET": "#A84000"}
STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:52em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc}
section{border-left:6px solid #6b6b6b;padding:.1em 1em;margin:1.5em 0}
pre{background:#f4f4f4;padding:.6em;white-space:pre-wrap;overflow-wrap:anywhere}"""


def write_all(
    out: Path,
    results: list[Result],
    ignored: Iterable[Ignored] = (),
    worksheet: tables.Worksheet | None = None,
) -> tuple[Path, list[str]]:
    """Write every table and page below `out`.

    grades.csv, grades.json, canvas.csv, moodle-05.csv (one for each lesson: the worksheet filled
    in, where there is one), files.csv, summary.txt and feedback/*.html.

    Returns: the table of grades, and what is to be said about the tables for Moodle.
    """
    results = sorted(results, key=lambda result: (result.lesson, result.student, result.number))
    grades, said = tables.written(COLUMNS, _grades(results)), []
    write_whole(out / "grades.csv", f"{BOM}{grades}")
    write_whole(out / "grades.json", _json(results))
    write_whole(out / "canvas.csv", _canvas(results))
    write_whole(out / "files.csv", f"{BOM}{_files(results, ignored)}")
    write_whole(out / "summary.txt", summary(results))
    for lesson in sorted({result.lesson for result in results if result.lesson}):
        found = [result for result in results if result.lesson == lesson]
        table, told = _moodle(found) if worksheet is None else _filled(found, worksheet)
        write_whole(out / f"moodle-{lesson}.csv", table)
        said += [f"moodle-{lesson}.csv: {line}" for line in told]
    (out / "feedback").mkdir(exist_ok=True)
    for result in results:
        write_whole(out / "feedback" / page_name(result), feedback(result))
    return out / "grades.csv", said


def feedback(result: Result) -> str:
    """The page of one student for one lesson, as HTML that needs nothing else."""
    title = f"Lesson {result.lesson} · {result.student}" if result.lesson else result.student
    total = sum(row.points for row in result.rows), sum(row.max for row in result.rows)
    parts = [f"<h1>{_h(title)}</h1>", f"<p><strong>{total[0]} of {total[1]} points</strong></p>"]
    parts += [_section(row) for row in result.rows]
    parts.append(
        f"<p>File {_h(result.source)}. The same check runs in your notebook, on other inputs.</p>"
    )
    head = f'<meta charset="utf-8"><title>{_h(title)}</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def summary(results: list[Result]) -> str:
    """The class in text: a histogram of points for each exercise and its most frequent mistake."""
    rows = [row for result in results for row in result.rows]
    by_exercise: dict[str, list[Row]] = {}
    for row in rows:
        by_exercise.setdefault(row.exercise, []).append(row)
    unreadable = len(by_exercise.pop("", []))
    lines = [f"{len(results)} submissions; {unreadable} could not be read"]
    for name, found in sorted(by_exercise.items()):
        lines += ["", f"{name}  {exercises.find(name).title}", *_histogram(found)]
        mistakes = Counter(row.failure.claim for row in found if row.failure)
        hints = {row.failure.claim: row.failure.hint for row in found if row.failure}
        for claim, count in mistakes.most_common(1):
            lines.append(f"  most frequent mistake ({count}): {claim}; hint: {hints[claim]}")
    return "\n".join(lines) + "\n"


def page_name(result: Result) -> str:
    """A file name that is safe anywhere and different for different students."""
    readable = re.sub(r"[^\w-]+", "-", result.student).encode()[:100].decode(errors="ignore")
    mark = hashlib.sha256("\0".join((*result.key, result.digest)).encode()).hexdigest()[:8]
    return f"{readable.strip('-') or 'student'}-{result.lesson or 'unreadable'}-{mark}.html"


def _section(row: Row) -> str:
    colour = COLOURS.get(row.status, "#6b6b6b")
    name = f"{row.exercise} · {exercises.find(row.exercise).title}" if row.exercise else "The file"
    text = [f"<h2>{_h(name)}</h2>", f"<p>{_h(row.status)}: {row.points} of {row.max} points</p>"]
    if row.reason:
        text.append(f"<p>{_h(row.reason)}</p>")
    if row.failure:
        shown = "\n".join([row.failure.evidence, *(f"  {line}" for line in row.failure.lines)])
        text += [f"<p>Should hold: {_h(row.failure.claim)}</p>", f"<pre>{_h(shown)}</pre>"]
        text.append(f"<p>Hint: {_h(row.failure.hint)}</p>")
    if "duplicate" in row.flags:
        text.append("<p>There were several answers; the first that is no stub counted.</p>")
    return f'<section style="border-color:{colour}">\n' + "\n".join(text) + "\n</section>"


def _histogram(rows: list[Row]) -> list[str]:
    counts = Counter(row.points for row in rows)
    return [
        f"  {points:>2} points {counts[points]:>4} {'#' * round(40 * counts[points] / len(rows))}"
        for points in range(max(row.max for row in rows) + 1)
    ]


def _grades(results: list[Result]) -> Iterable[tuple]:
    for result in results:
        for row in result.rows:
            flags = " ".join(row.flags)
            found = (row.points, row.max, row.status, flags, row.checks, result.seed, row.reason)
            yield (row.student, result.number, row.exercise, *found, result.source)


def _totals(results: list[Result]) -> dict[tuple[str, str], dict[str, tuple[int, int]]]:
    """(student, number) -> lesson -> (points, of)."""
    found: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    for result in results:
        points = sum(row.points for row in result.rows), sum(row.max for row in result.rows)
        found.setdefault((result.student, result.number), {})[result.lesson] = points
    return found


def _possible(lesson: str) -> int:
    return sum(exercise.points for exercise in exercises.of_lesson(lesson))


def _canvas(results: list[Result]) -> str:
    """Canvas's gradebook import: one column a lesson, a row of points possible."""
    lessons = sorted({result.lesson for result in results if result.lesson})
    columns = ("Student", "ID", "SIS Login ID", "Section", *(f"Lesson {name}" for name in lessons))
    rows = [("    Points Possible", "", "", "", *map(_possible, lessons))]
    for (student, number), marks in _totals(results).items():
        rows.append((student, number, "", "", *(marks.get(name, ("",))[0] for name in lessons)))
    return tables.written(columns, rows)


def _moodle(results: list[Result]) -> tuple[str, list[str]]:
    """As Moodle's offline grading worksheet of one lesson, and what it cannot do."""
    columns = ("Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)")
    rows = []
    for result in results:
        identifier = f"Participant {result.number}" if result.number else ""
        rows.append((identifier, result.student, _points(result), _possible(result.lesson), ""))
    limit = "for a site in English, and Moodle takes no grade that it has already; give your own"
    told = [f"{limit} worksheet (--moodle-worksheet)"] if any(map(_of_moodle, results)) else []
    return tables.written((*columns, "Feedback comments"), rows), told


def _filled(results: list[Result], worksheet: tables.Worksheet) -> tuple[bytes, list[str]]:
    """An instructor's worksheet with the points of one lesson, and who or what does not fit."""
    known = [result for result in results if _of_moodle(result)]  # others' numbers are no such
    table, left = worksheet.filled({result.number: _points(result) for result in known})
    lost = [result for result in results if result not in known or result.number in left]
    told = [f"no row for {result.student} ({result.number or '-'})" for result in lost]
    if worksheet.maximum != (most := _possible(results[0].lesson)):
        told.append(f"its maximum is {worksheet.maximum:g}, the points are of {most}: not scaled")
    return table, told


def _of_moodle(result: Result) -> bool:
    return result.how.startswith("Moodle")


def _points(result: Result) -> int:
    return sum(row.points for row in result.rows)


def _files(results: list[Result], ignored: Iterable[Ignored]) -> str:
    """Which file counted for whom, and which did not and why."""
    rows = [
        (result.source, result.student, result.how, result.lesson, "read") for result in results
    ]
    rows += [(item.source, "", "", "", item.reason) for item in ignored]
    return tables.written(("file", "student", "told by", "lesson", "what became of it"), rows)


def _json(results: list[Result]) -> str:
    return json.dumps([json.loads(result.line()) for result in results], indent=1) + "\n"


def _h(text: str) -> str:
    return html.escape(text, quote=True)
