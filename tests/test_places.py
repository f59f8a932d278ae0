"""No tracked file, notebook output or weight file says where on some machine it was made."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePath, PurePosixPath

import pytest

from tests.conftest import require

ROOT = Path(__file__).resolve().parents[1]
# Below these lies what one person or one machine has; below the others, what all systems have.
OWN = ("home", "Users", "root", "opt", "mnt", "media", "srv", "tmp", "private")
TOPS = "|".join(OWN)
ANYONES = re.compile(rf"(?a)(?<![\w.-])(/({TOPS})/[\w.]+|[A-Za-z]:[\\/]+Users[\\/]+\w+)")
UPWARDS = re.compile(r"(?a)(?<![\w./])(?:\.\./)+\w[\w./-]*")
SETTINGS = ("COURSE_DATA_DIR", "PIP_FIND_LINKS")
# What the sandbox calls its own folders, on every machine.
IN_THE_BOX = {"course_utils/grading/box.py", "tests/grading/test_hostile_system.py"}


def own_places(root: PurePath, home: PurePath, environment: dict[str, str]) -> set[str]:
    """What a path of this machine begins with: of the checkout, the home, Python, the settings."""
    kind = type(root)
    named = [kind(environment[name]) for name in SETTINGS if name in environment]
    places = {"/".join(path.parts[-2:]) for path in named if path.is_absolute()}
    for path in (root, home, kind(sys.base_prefix), *named):
        parts = path.parts
        if path.is_absolute() and len(parts) > 2:
            short = len(parts[1]) < 4 or parts[1] in (*OWN, "usr", "var", "etc", "Library")
            places.add(str(kind(*parts[: 3 if short else 2])))
    return places - {str(PurePosixPath("/usr") / name) for name in ("bin", "lib", "local", "share")}


def neighbours(root: Path, tracked: list[str]) -> set[str]:
    """Entries of the folders beside the checkout, as "folder/entry"; none that the project has."""
    own = {part for name in tracked for part in name.split("/")}
    folders = [f for f in root.parent.iterdir() if f.is_dir() and len(f.name) > 3]
    beside = [f for f in folders if f != root and f.name not in own and os.access(f, os.R_OK)]
    entries = (entry for folder in beside for entry in folder.iterdir() if len(entry.stem) > 3)
    return {f"{entry.parent.name}/{entry.stem}" for entry in entries}


def found(name: str, content: bytes, places: set[str]) -> list[str]:
    """What one file says of places: of the given ones, of anyone's, of what lies above the root."""
    text = content.decode("latin-1")  # a weight file has text in it, too
    said = [] if name in IN_THE_BOX else [match[1] for match in ANYONES.finditer(text)]
    for place in (p for p in places if p in text):  # the search proper is slow
        said += re.findall(rf"(?a)(?<![\w./-]){re.escape(place)}(?![\w-])", text)
    for link in UPWARDS.findall(text):
        target = os.path.normpath(os.path.join(os.path.dirname(name), link))
        if target.startswith("..") or not (ROOT / target).exists():
            said.append(link)
    return said


def tracked() -> list[str]:
    git = shutil.which("git")
    require("git", bool(git and (ROOT / ".git").exists()), "this folder is no clone")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file()]


def test_no_tracked_file_says_where_it_was_made():
    names = tracked()
    places = own_places(ROOT, Path.home(), dict(os.environ))
    if os.environ.get("COURSE_REQUIRE"):  # elsewhere anything may lie beside the checkout
        places |= neighbours(ROOT, names)
    said = {name: found(name, (ROOT / name).read_bytes(), places) for name in names}
    assert {name: sorted(set(places)) for name, places in said.items() if places} == {}


def test_the_places_of_a_machine_are_told_from_those_of_all():
    def places(root: str, home: str = "/", **settings: str) -> set[str]:
        python = own_places(PurePosixPath("/"), PurePosixPath("/"), {})
        return own_places(PurePosixPath(root), PurePosixPath(home), settings) - python

    assert places("/lectures/models") == {"/lectures"}
    assert places("/a/models/here") == {"/a/models"}
    for top in ("home", "usr"):
        assert places(f"/{top}/ann/models") == places("/", f"/{top}/ann") == {f"/{top}/ann"}
    data = places(
        "/", COURSE_DATA_DIR="/disk/sets/images", EDITOR="/disk2/vi", PIP_FIND_LINKS="none"
    )
    assert data == {"/disk", "sets/images"}


def test_neighbours_are_folders_beside_the_checkout(tmp_path):
    for name in ("models/docs", "lectures/plan", "docs/here", "lectures/a"):
        (tmp_path / name).mkdir(parents=True)
    assert neighbours(tmp_path / "models", ["docs/page.md"]) == {"lectures/plan"}


@pytest.mark.parametrize("top", OWN)
def test_a_planted_place_is_found(top):
    place = f"/{top}/ann"
    assert found("a.md", f"see {place}/x".encode(), set()) == [place]
    assert found("a.ipynb", f'"File \\"{place}/x.py\\""'.encode(), set()) == [place]
    assert found("a.png", b"\x89\xff" + place.encode() + b"\x00", set()) == [place]
    assert found("a.md", f"https://example.org{place}, net{place}".encode(), set()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cd /lectures/main", ["/lectures"]),
        ("in sets/images", ["sets/images"]),
        ("see {up}lectures/plan.md", ["{up}lectures/plan.md"]),
        ("see {up}nowhere", ["{up}nowhere"]),
        ("see {up}docs/students.md", []),
        ("C:{back}Users{back}ann", ["C:{back}Users{back}ann"]),
        ("the guest/lectures, /lectures-x and https://example.org/lectures", []),
        ("many data sets/images2", []),
    ],
)
def test_other_planted_places_are_found(text, said):
    parts = {"up": "." * 2 + "/", "back": chr(92)}
    places = {"/lectures", "sets/images"}
    assert found("docs/a.md", text.format(**parts).encode(), places) == [
        place.format(**parts) for place in said
    ]
