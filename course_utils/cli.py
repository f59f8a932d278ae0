"""The command line: `course lab | present | playlist | solve | submit | release | grade | ...`."""

import errno
import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from course_utils.place import ROOT
from course_utils.terminal import OneLine, fail, say, spell_out

START = "notebooks/start_here.ipynb"
NEXT_PORTS = 50
# JupyterLab is not to ask at its first start whether you want its news.
PAGE_CONFIG = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}


app = typer.Typer(
    cls=OneLine,
    help="Generative Models, Line by Line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a mistake in what was asked is one line on stderr and exit code 1."""
    spell_out()
    app(prog_name="course")


@app.command()
def lab(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The first port to try.")] = 8888,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open a browser, where there is one.")] = True,
) -> None:
    """Open the course in JupyterLab and print its address."""
    if not (ROOT / START).is_file():
        fail(f"{ROOT / START} is missing: is this checkout complete?")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "labconfig" / "page_config.json"
        config.parent.mkdir()
        config.write_text(json.dumps(PAGE_CONFIG), encoding="utf-8")
        _keep_preferences()
        os.environ["JUPYTER_CONFIG_DIR"] = folder  # a server configured elsewhere is another server
        _serve(host, port, f"/lab/tree/{START}", browser)


@app.command()
def present(
    lesson: Annotated[str, typer.Argument(help="Its number: 05; none with --playlist.")] = "",
    section: Annotated[str, typer.Option(help="Begin there: 05.3.")] = "",
    playlist: Annotated[str, typer.Option(help="A deck: PKU, BU, E1, E2, FUD.")] = "",
    block: Annotated[int, typer.Option(min=1, help="Which block of the deck.")] = 1,
    light: Annotated[bool, typer.Option("--light/--dark", help="The colours.")] = True,
    stored: Annotated[bool, typer.Option("--stored", help="Run nothing until F9.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The first port to try.")] = 8888,
    browser: Annotated[bool, typer.Option(help="Open a browser, where there is one.")] = True,
) -> None:
    """Teach from a lesson, or from a deck's block: one step on the screen, live."""
    from course_utils.present import decks, lab

    if bool(lesson) == bool(playlist):
        fail("name a lesson (course present 05) or a deck (course present --playlist PKU)")
    if playlist:
        route = decks.route_of_block(playlist, block)
    else:
        route = decks.route_of_lesson(lesson.zfill(2))
    first = decks.first_of(route, section)
    with tempfile.TemporaryDirectory() as folder:
        told = lab.plan(route, section, bool(lesson), stored)
        options = lab.prepare(Path(folder), told, not light)
        address = f"/doc/tree/{first.notebook.relative_to(ROOT).as_posix()}"
        say("PageDown, PageUp, Shift; F6 side paths, F7 exercises, F8 notes, F9 kernel, F10 code")
        _serve("127.0.0.1", port, address, browser, options)


@app.command()
def playlist(deck: Annotated[str, typer.Argument(help="PKU, BU, E1, E2 or FUD.")]) -> None:
    """List a deck's blocks: their sections, the minutes, what is not built yet."""
    from course_utils.present import decks

    say("\n".join(decks.playlist(deck)))


@app.command()
def progress(
    reset: Annotated[str, typer.Option(help="Put one exercise (05-e2) back to TODO.")] = "",
) -> None:
    """Show which exercises you have passed."""
    from course_utils import exercises, progress as store

    if reset:
        store.reset(exercises.find(reset).id)
    states, shown = store.summary(), store.shown()
    for lesson in range(19):
        for exercise in exercises.of_lesson(f"{lesson:02d}"):
            state = states.get(exercise.id, "TODO")
            seen = "  (solution shown)" if exercise.id in shown else ""
            say(f"{exercise.id:<7} {state:<8} {exercise.name}{seen}")


@app.command()
def solve(lesson: Annotated[str, typer.Argument(help="Its number: 05.")]) -> None:
    """Write a copy of a lesson with every exercise solved, and print where it is."""
    from course_utils.notebook.authoring import solve as write

    say(write(lesson))


@app.command()
def grade(
    submissions: Annotated[Path, typer.Argument(help="A folder of notebooks and zips, or a zip.")],
    out: Annotated[Path, typer.Option(help="Where grades and feedback go.")],
    workers: Annotated[int, typer.Option(min=1, help="Submissions at a time.")] = 2,
    scheduler: Annotated[str, typer.Option(help="Address of a dask scheduler.")] = "",
    seed: Annotated[int | None, typer.Option(help="Of the hidden inputs; drawn if none.")] = None,
    roster: Annotated[Path | None, typer.Option(help="CSV with the columns file, student.")] = None,
    moodle_worksheet: Annotated[Path | None, typer.Option(help="One to fill in.")] = None,
    no_sandbox: Annotated[bool, typer.Option("--no-sandbox", help="Trust the code.")] = False,
) -> None:
    """Grade submissions, each in a sandbox of its own; run again, it goes on where it stopped."""
    from course_utils.grading.batch import Plan, grade_class

    plan = Plan(workers, scheduler, seed, roster, moodle_worksheet, not no_sandbox)
    say(grade_class(submissions, out, plan))


@app.command()
def release(
    lessons: Annotated[list[str], typer.Argument(help="Their numbers: 05 06.")],
    to: Annotated[Path, typer.Option(help="The folder; no file in it is overwritten.")],
    nbgrader: Annotated[
        bool, typer.Option("--nbgrader", help="A course directory for nbgrader, with solutions.")
    ] = False,
) -> None:
    """Write the notebooks that students get, and print their paths."""
    from course_utils.classroom.release import release as write

    for path in write([lesson.zfill(2) for lesson in lessons], to, nbgrader):
        say(path)


@app.command()
def handout(
    lessons: Annotated[list[str], typer.Argument(help="Their numbers: 05 06.")],
    to: Annotated[Path, typer.Option(help="The folder.")] = ROOT / "build" / "handout",
    core: Annotated[bool, typer.Option("--core", help="Without the side paths.")] = False,
) -> None:
    """Write a lesson as one page to read or to print, and print its path."""
    from course_utils.notebook.handout import write

    for path in write([lesson.zfill(2) for lesson in lessons], to, core):
        say(path)


@app.command()
def update(
    source: Annotated[
        Path | None, typer.Argument(help="A folder of newer lessons; none: git's origin.")
    ] = None,
    into: Annotated[Path, typer.Option(help="Your lessons.")] = ROOT / "notebooks",
) -> None:
    """Bring newer lessons into your folder; your answers and your own cells stay."""
    from course_utils.classroom.update import update_clone, update_folder

    for said in update_folder(source, into) if source else update_clone(ROOT):
        say(said)


@app.command()
def submit(
    lesson: Annotated[str, typer.Argument(help="Its number: 05.")],
    file: Annotated[Path | None, typer.Option(help="Your notebook, if it is elsewhere.")] = None,
    to: Annotated[Path | None, typer.Option(help="The new file; none is overwritten.")] = None,
) -> None:
    """Check your answers as the grader will, then write the file to upload."""
    from course_utils.classroom.submit import submit as handing_in

    for said in handing_in(lesson.zfill(2), file, to):
        say(said)


@app.command(hidden=True)
def edit(lesson: Annotated[str, typer.Argument(help="Its number: 05.")]) -> None:
    """Write a lesson as a script in edit/, and print its path: `make edit LESSON=05`."""
    from course_utils.notebook.authoring import edit as write

    say(write(lesson))


@app.command(hidden=True)
def sync(lesson: Annotated[str, typer.Argument(help="Its number: 05.")]) -> None:
    """Bring a script in edit/ back, run and store the lesson: `make sync LESSON=05`."""
    from course_utils.notebook.authoring import script_of, sync as bring_back

    say(bring_back(script_of(lesson)))


@app.command()
def doctor() -> None:
    """Look at Python, packages, device, sandbox, browser and data; say what is wrong."""
    from course_utils.setup.doctor import examine, report

    findings = examine()
    say(report(findings))
    sys.exit(any(finding.state == "WRONG" for finding in findings))


def _serve(host: str, port: int, page: str, browser: bool, more: Sequence[str] = ()) -> None:
    """Run JupyterLab until it is stopped; print the address of `page` first."""
    free = _free_port(host, port)
    token = os.environ.setdefault("JUPYTER_TOKEN", secrets.token_hex(24))
    if free != port:
        say(f"Port {port} is taken, so this is port {free}.")
    say(f"JupyterLab is at {_address(host, free, token, page)}")
    say("Ctrl-C twice stops it.")
    from jupyterlab.labapp import LabApp  # takes seconds

    options = _lab_options(host, free, token, page, browser and _has_screen())
    LabApp.launch_instance(argv=[*options, *more])


def _keep_preferences() -> None:
    """JupyterLab's settings and layout stay where the user has them; the server's do not count."""
    from jupyter_core.paths import jupyter_config_dir

    lab = Path(jupyter_config_dir()) / "lab"
    os.environ.setdefault("JUPYTERLAB_SETTINGS_DIR", str(lab / "user-settings"))
    os.environ.setdefault("JUPYTERLAB_WORKSPACES_DIR", str(lab / "workspaces"))


def _free_port(host: str, first: int) -> int:
    """The first port from `first` on that nobody listens at."""
    last = min(first + NEXT_PORTS, 65535)
    for port in range(first, last + 1):
        if _can_listen(host, port):
            return port
    fail(f"no port from {first} to {last} can be listened at; name another: make lab PORT=...")


def _can_listen(host: str, port: int) -> bool:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        fail(f"host {host!r} is not known ({error.strerror}); legal: 127.0.0.1, 0.0.0.0 (all), ...")
    with socket.socket(family) as trial:
        if os.name == "posix":  # so that a server stopped a moment ago does not count
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                fail(f"host {host!r} is not this machine; legal: 127.0.0.1, 0.0.0.0 (all), ...")
            return False
    return True


def _address(host: str, port: int, token: str, page: str) -> str:
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
    return f"http://{name}:{port}{page}" + (f"?token={token}" if token else "")


def _lab_options(host: str, port: int, token: str, page: str, browser: bool) -> list[str]:
    options = [
        f"--ServerApp.root_dir={ROOT}",
        f"--ServerApp.ip={host}",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.open_browser={browser}",
        # Against a configuration of the whole machine: the address is the one that is printed.
        "--ServerApp.base_url=/",
        *(f"--ServerApp.{name}=" for name in ("certfile", "keyfile", "client_ca", "sock")),
        f"--IdentityProvider.token={token}",
        f"--LabApp.default_url={page}",
        "--LabApp.news_url=None",  # no request leaves the machine
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--log-level=WARN",
    ]
    root_user = hasattr(os, "geteuid") and os.geteuid() == 0  # usual in a container
    return [*options, "--allow-root"] if root_user else options


def _has_screen() -> bool:
    """Without one, `webbrowser` may start a text browser in the terminal."""
    elsewhere = not sys.platform.startswith("linux")
    return elsewhere or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME")))
