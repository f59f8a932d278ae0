"""What a command says decides about no file, and what goes wrong is one line."""

import io
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from course_utils import terminal
from course_utils.cli import app, main


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    return result.exit_code, result.output


@pytest.fixture
def said(monkeypatch):
    """Run the command with streams of this encoding; its exit code and what it printed."""

    def run(encoding: str, *arguments: str) -> tuple[int, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        monkeypatch.setattr(sys, "argv", ["course", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        for stream in streams:
            stream.flush()
        return ended.value.code, b"".join(s.buffer.getvalue() for s in streams).decode(encoding)

    return run


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932"])
def test_a_terminal_that_lacks_a_sign_gets_it_spelled_out(encoding, said, tmp_path):
    to = tmp_path / "Лекции é ·"
    code, text = said(encoding, "release", "08", "--to", str(to))
    (file,) = to.iterdir()
    assert code == 0 and file.name in text and len(text.splitlines()) == 1
    code, text = said(encoding, "release", "08", "--to", str(to))
    assert code == 1 and file.name in text and "in the way" in text
    code, text = said(encoding, "playlist", "PKU")
    assert code == 0 and "Block 1" in text


def test_a_reader_that_went_away_stops_no_work(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        terminal.say("one")
        terminal.say("two")


WRONG = [
    (["grade", "FOLDER", "--out", "OUT", "--roster", "none.csv", "--no-sandbox"], "none.csv"),
    (["grade", "FOLDER", "--out", "FILE/x", "--no-sandbox"], "FILE/x"),
    (["release", "08", "--to", "FILE/x"], "FILE"),
    (["handout", "start_here", "--to", "FILE"], "FILE"),
    (["solve", "99"], "no lesson '99'"),
    (["edit", "99"], "no lesson '99'"),
    (["edit", ""], "no lesson ''"),
    (["sync", ""], "no script ''"),
    (["submit", "08", "--file", "none.ipynb"], "none.ipynb: No such file"),
    (["update", "FOLDER", "--into", "FILE/x"], "FILE/x"),
    (["update", "none"], "no notebook in none"),
]


@pytest.mark.parametrize(("arguments", "told"), WRONG, ids=lambda value: str(value)[:24])
def test_what_goes_wrong_is_one_line(arguments, told, tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    (folder / "05_elbo.ipynb").write_text("{}")
    file.write_text("")
    named = {"FOLDER": str(folder), "FILE": str(file), "OUT": str(tmp_path / "out")}
    for short, long in named.items():
        arguments = [argument.replace(short, long) for argument in arguments]
        told = str(Path(told.replace(short, long))) if short in told else told
    if sys.platform == "win32" and arguments[0] == "grade":
        told = "no grading on Windows"
    code, text = run(*arguments)
    assert code == 1 and told in text and len(text.splitlines()) == 1, text
    assert text.startswith("course: ") and file.read_text() == ""
