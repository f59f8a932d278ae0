"""JupyterLab set up to step through sections of the course.

`presenter.js` beside this file does the stepping. It is a JupyterLab extension as a browser runs
it, with no build step; `prepare` lays it out, with settings, in a folder of this one server.
"""

import json
import os
import secrets
import shutil
from pathlib import Path

from course_utils.place import ROOT
from course_utils.present.decks import Section

NAME = "course-presenter"
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page
    "docmanager-extension/plugin": {"autosave": False},  # presenting leaves the file alone
    "apputils-extension/notification": {"fetchNews": "false", "doNotDisturbMode": True},
}
# The first asks about news; the second would ask at every reload whether to leave the page.
DISABLED = (
    "@jupyterlab/apputils-extension:announcements",
    "@jupyterlab/application-extension:dirty",
)


def plan(route: list[Section], start: str, whole: bool, stored: bool) -> str:
    """What presenter.js is told in the page's configuration.

    Args:
        route: the sections to walk.
        start: the section to open first; "" is the first page.
        whole: also the pages that belong to no section: a lesson's head and its end.
        stored: show the stored outputs and run nothing, until F9.
    """
    stops = [{**vars(s), "notebook": s.notebook.relative_to(ROOT).as_posix()} for s in route]
    told = {"launch": secrets.token_hex(8), "route": stops, "start": start, "whole": whole}
    return json.dumps({**told, "stored": stored})


def prepare(folder: Path, told: str, dark: bool) -> list[str]:
    """Write extension and settings into `folder`, set the environment; returns server options.

    Args:
        folder: an empty folder that lives as long as the server.
        told: the plan.
        dark: the dark theme.
    """
    theme = {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"}
    for name, values in {**SETTINGS, "apputils-extension/themes": theme}.items():
        setting = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        _write(setting, json.dumps(values))
    page = {"coursePresent": told, "disabledExtensions": dict.fromkeys(DISABLED, True)}
    _write(folder / "labconfig" / "page_config.json", json.dumps(page))
    extension = folder / "labextensions" / NAME
    build = {"load": "static/presenter.js", "extension": "./extension"}
    about = {"name": NAME, "version": "1.0.0", "jupyterlab": {"extension": True, "_build": build}}
    _write(extension / "package.json", json.dumps(about))
    (extension / "static").mkdir()
    shutil.copy(Path(__file__).with_name("presenter.js"), extension / "static" / "presenter.js")
    places = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    places |= {"IPYTHONDIR": "ipython", "JUPYTER_CONFIG_DIR": "."}
    os.environ.update({name: str(folder / place) for name, place in places.items()})
    os.environ["COURSE_FIGURES"] = "dark" if dark else "light"
    return [
        f"--LabApp.extra_labextensions_path={folder / 'labextensions'}",
        "--KernelManager.shutdown_wait_time=1",  # a kernel in an endless loop goes at once
    ]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
