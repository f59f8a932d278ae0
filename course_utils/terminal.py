"""What a command says and how it fails: one line on stderr; printing decides about no file."""

import io
import os
import sys
from typing import NoReturn

import typer
from typer.core import TyperGroup


class OneLine(TyperGroup):
    """A mistake in what was asked, or a disk that says no, is one line on stderr, exit code 1."""

    def invoke(self, context: typer.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(context)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            fail(f"{place}{error.strerror or error}")
        except ValueError as error:
            fail(str(error))


def spell_out() -> None:
    r"""From now on a sign that the terminal cannot show is printed as \u03b2, and is no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: object) -> None:
    """Print; a reader that went away, or a full disk behind the stream, stops no work."""
    try:
        print(line, flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # for what is still to be said, and the last flush


def fail(message: str) -> NoReturn:
    """End with this line on stderr and exit code 1."""
    print(f"course: {message}", file=sys.stderr)
    sys.exit(1)
