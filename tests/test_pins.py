"""What is imported is declared; what is declared, and all that it needs, has one version."""

import ast
import functools
import re
import sys
import tomllib
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from course_utils.setup import install
from tests.notebooks.lessons import NOTEBOOKS, code_cells

ROOT = Path(__file__).resolve().parents[1]
TABLE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = TABLE["project"]
EXTRAS = [pin for pins in PROJECT["optional-dependencies"].values() for pin in pins]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
LINES = [Requirement(line) for line in CONSTRAINTS if not line.startswith("#")]
SYSTEMS = {"linux": ("Linux", "posix"), "darwin": ("Darwin", "posix"), "win32": ("Windows", "nt")}
UNIMPORTED = {"ipykernel", "jsonschema"}  # the lessons' kernel; held back for the sake of others


distributions = functools.cache(packages_distributions)  # a second to find out


def plain(name: str) -> str:
    """The name of a distribution as constraints.txt has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(*sources: str) -> set[str]:
    """The names, as a pin has them, of the packages that sources import, anywhere in them."""
    known = {**distributions(), "course_utils": [], "tests": []}
    found = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [str(node.module)]
        for name in {module.partition(".")[0] for module in modules}:
            if name not in sys.stdlib_module_names:
                found |= {plain(package) for package in known.get(name, [f"{name}?"])}
    return found


def texts(*folders: str) -> list[str]:
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return [path.read_text(encoding="utf-8") for path in paths if "benchmarks" not in path.parts]


def cells() -> list[str]:
    """The code of the lessons."""
    return [cell.source for path in NOTEBOOKS for cell in code_cells(path)]


def names(pins: list[str]) -> set[str]:
    return {pin.partition("==")[0] for pin in pins}


def needs(package: Distribution, extras: set[str]) -> list[Requirement]:
    """What an installed package asks for, here and with these extras."""
    asked = [Requirement(text) for text in package.requires or []]
    cases = [{"extra": extra} for extra in extras | {""}]
    return [a for a in asked if not a.marker or any(map(a.marker.evaluate, cases))]


def test_what_is_imported_is_declared_and_the_reverse():
    used = imported(*texts("course_utils", "assets"), *cells())
    declared = names(PROJECT["dependencies"])
    assert used - declared == {"distributed", "jupytext"}, "of an extra, imported in a function"
    assert declared - used == UNIMPORTED


def test_what_the_tests_import_is_declared():
    assert imported(*texts("tests")) - names(PROJECT["dependencies"] + EXTRAS) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n    from PIL.Image import open", {"pillow"}),
        ("import os, sklearn.datasets", {"scikit-learn"}),
        ("import nobody.knows", {"nobody?"}),
        ("from . import vae\nfrom course_utils import gan", set()),
    ],
)
def test_a_planted_import_is_found(source, found):
    assert imported(source) == found


def test_every_pin_is_exact_and_stands_in_the_constraints():
    pins = [*PROJECT["dependencies"], *EXTRAS, *TABLE["build-system"]["requires"]]
    assert [pin for pin in pins if "==" not in pin] == []
    assert set(pins) - set(CONSTRAINTS) == set(), "renew with: make constraints"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("platform", SYSTEMS)
def test_each_system_has_one_version_of_each_package(platform, python):
    system, os_name = SYSTEMS[platform]
    place = {"sys_platform": platform, "platform_system": system, "os_name": os_name}
    place |= {"python_version": python, "python_full_version": f"{python}.9"}
    there = [line.name for line in LINES if not line.marker or line.marker.evaluate(place)]
    assert len(there) == len(set(there)) > 150


def test_the_constraints_name_versions_and_no_place():
    assert [line for line in LINES if line.url or str(line.specifier)[:2] != "=="] == []
    assert [line for line in CONSTRAINTS if line.startswith("-") or "://" in line] == []


def test_what_is_installed_here_is_what_the_constraints_say():
    allowed = {a.name: a.specifier for a in LINES if not a.marker or a.marker.evaluate()}
    found = {}
    waiting = [Requirement(pin) for pin in PROJECT["dependencies"] + EXTRAS]
    while waiting:
        asked = waiting.pop()
        package = distribution(asked.name)
        name = plain(package.name)
        if name not in found:
            found[name] = package.version
            waiting += needs(package, asked.extras)
    wrong = {n: v for n, v in found.items() if n not in allowed or v not in allowed[n]}
    assert wrong == {} and len(found) > 150


def test_conda_and_binder_get_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    [pip] = [entry["pip"] for entry in environment if isinstance(entry, dict)]
    options, pins = [x for x in pip if x.startswith("-")], {x for x in pip if not x.startswith("-")}
    assert pins - set(PROJECT["dependencies"]) == set(), "only in environment.yml"
    assert set(PROJECT["dependencies"]) - pins == set(), "only in pyproject.toml"
    index = f"--extra-index-url {install.CPU_INDEX}"
    assert options == [index, "--constraint constraints.txt", "-e ."]
    assert "python=3.11" in environment and "pip" in environment
