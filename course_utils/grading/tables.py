"""Tables as CSV: those that an instructor gives are read as they are, ours open everywhere."""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

BOMS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
QUOTED = r'"(?:[^"]|"")*"'
NUMBER = re.compile(r"\d+(?:[.,]\d+)?")  # 100.00, in some languages 100,00


def written(columns: Iterable[str], rows: Iterable[tuple]) -> str:
    """A table; a text that a spreadsheet would run as a formula gets an apostrophe before it."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_harmless(cell) for cell in row])
    return stream.getvalue()


def _harmless(cell: object) -> object:
    if not isinstance(cell, str) or not cell:
        return cell
    text = cell.replace("\r", " ")  # a new line for some, which csv does not quote
    unseen = next((c for c in text if unicodedata.category(c) not in ("Cf", "Zs")), "")
    first = unicodedata.normalize("NFKC", unseen)  # a full-width sign counts as the sign
    return f"'{text}" if cell[0] in "\t\r" or first[:1] in tuple("=+-@") else text


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table that an instructor gives, by the names of its columns.

    Raises:
        ValueError: the file cannot be read, or is neither UTF-8 nor UTF-16.
    """
    text, encoding = _decoded(path)
    if encoding == "latin-1":
        raise ValueError(f"{path} is not UTF-8; legal: in Excel, save it as CSV UTF-8")
    text = unicodedata.normalize("NFC", text.removeprefix("\ufeff"))
    found = csv.DictReader(io.StringIO(text, newline=""), delimiter=_separator(text))
    return [{key: value or "" for key, value in row.items() if key} for row in found]


def _decoded(path: Path) -> tuple[str, str]:
    """A file's text with its byte order mark, and an encoding that gives the same bytes again."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    for encoding in (BOMS.get(data[:2], "utf-8"), "latin-1"):
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    raise AssertionError("unreachable")


def _separator(text: str) -> str:
    head = re.sub(QUOTED, "", text.partition("\n")[0])
    return max(",;\t", key=head.count)


class Worksheet:
    """Moodle's offline grading worksheet of one assignment, as an instructor downloaded it.

    The site's language names the columns, so they are told by what they hold: the first one ends
    in a participant's number, and the grades stand before the maximum, which is the same in every
    row. Moodle compares the other columns with its own, so nothing but a grade is changed.

    Raises:
        ValueError: the file cannot be read, or its columns cannot be told.
    """

    def __init__(self, path: Path) -> None:
        text, self._encoding = _decoded(path)
        self._head = "\ufeff" * text.startswith("\ufeff")
        separator = _separator(text)
        cut = re.escape(separator)
        field = re.compile(rf'({QUOTED}|[^"{cut}\r\n][^{cut}\r\n]*|)({cut}|\r\n|\r|\n|\Z)')
        self._rows, at = [[]], len(self._head)
        while at < len(text):
            if (found := field.match(text, at)) is None:
                raise ValueError(f"{path} is no CSV at {text[at : at + 20]!r}")
            self._rows[-1].append(found.groups())
            at = found.end()
            if found[2] not in separator:
                self._rows.append([])
        self._grade, self.maximum = self._told(path)

    def _told(self, path: Path) -> tuple[int, float]:
        """The column of grades, and the maximum."""
        table = [[_value(cell) for cell in row] for row in self._rows if len(row) > 1]
        header, *students = table or [["(nothing)"]]
        columns = list(zip(*students, strict=False))
        numbered = bool(columns) and all(re.search(r"\d$", cell) for cell in columns[0])
        found = []
        for at, (grades, highest) in enumerate(pairwise(columns)):
            graded = all(not cell or NUMBER.fullmatch(cell) for cell in grades)
            if graded and len(set(highest)) == 1 and NUMBER.fullmatch(highest[0]):
                found.append((at, float(highest[0].replace(",", "."))))
        if not numbered or len(found) != 1:
            raise ValueError(
                f"{path} has the columns {', '.join(header)}: which are the participants' numbers "
                "and the grades? legal: Moodle's offline grading worksheet, with points as grades"
            )
        return found[0]

    def filled(self, points: dict[str, int]) -> tuple[bytes, set[str]]:
        """The file with these points by participants' numbers, and the numbers that it lacks."""
        text, left = [self._head], set(points)
        for row in self._rows:
            number = re.search(r"\d+$", _value(row[0])) if len(row) > 1 else None
            new = points.get(number[0]) if number and row is not self._rows[0] else None
            left -= {number[0]} if new is not None else set()
            for at, (cell, end) in enumerate(row):
                text.append((cell if new is None or at != self._grade else str(new)) + end)
        return "".join(text).encode(self._encoding), left


def _value(cell: tuple[str, str]) -> str:
    return cell[0][1:-1].replace('""', '"') if cell[0][:1] == '"' else cell[0]
