"""What an import of the package costs, and the setup cell of a lesson, in CPU seconds.

    python tests/benchmarks/imports.py [--repeats 5] [--lesson 05] [--each]

The smallest of the repeats is shown, for noise only ever adds. The bar of the package counts
what it adds to torch in the same process: two processes may differ by more than that.
"""

import argparse
import ast
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
OVER_TORCH, SETUP_BAR = 0.2, 2.5
# Libraries for figures and sliders: a lesson needs them whatever the package is like.
DRAWING = ("matplotlib.figure", "matplotlib.backends.backend_agg", "IPython.display", "ipywidgets")
LIBRARIES = "matplotlib, IPython, ipywidgets"
PLAIN = "the package without plots and widgets"
PACKAGE, SETUP = "all of the package that lessons import", "setup cell of the lesson"


def code_cells(path: Path) -> Iterator[tuple[list[str], str]]:
    """Tags and source of every code cell."""
    for found in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if found["cell_type"] == "code":
            yield found["metadata"].get("tags", []), "".join(found["source"])


def package_modules() -> list[str]:
    """Every module of the package that a stored lesson imports."""
    found = set()
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for _, source in code_cells(path):
            plain = "\n".join(row for row in source.splitlines() if row[:1] not in ("%", "!"))
            for node in ast.walk(ast.parse(plain)):
                if isinstance(node, ast.ImportFrom) and node.module == "course_utils":
                    found |= {f"course_utils.{alias.name}" for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module == "course_utils.plots":
                    found |= {f"course_utils.plots.{alias.name}" for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    found |= {node.module} & {node.module if "course_utils." in node.module else ""}
    return sorted(found)


def cpu_seconds(source: str) -> tuple[float, float]:
    """CPU time of a fresh Python that imports torch, then runs the source: (all, after torch)."""
    clock = "print(time.process_time(), file=sys.stderr)"
    program = f"import sys, time, torch\n{clock}\n{source}\n{clock}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{source!r} failed: {done.stderr[-500:]}")
    lines = done.stderr.splitlines()
    return float(lines[-1]), float(lines[-1]) - float(lines[0])


def programs(lesson: str, each: bool) -> dict[str, str]:
    """What is measured: a row's label and its source."""
    modules = package_modules()
    found = {LIBRARIES: f"import {', '.join(DRAWING)}"}
    if each:
        found |= {name: f"import {name}" for name in modules}
    plain = [m for m in modules if not m.endswith(".widgets") and ".plots." not in m]
    found[PLAIN] = f"import {', '.join(plain)}"
    found[PACKAGE] = f"import {', '.join(modules)}"
    for path in NOTEBOOKS.glob(f"{lesson}_*.ipynb"):
        found[SETUP] = next(source for tags, source in code_cells(path) if "setup" in tags)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lesson", default="05", help="whose setup cell is run")
    parser.add_argument("--each", action="store_true", help="a row for every module, too")
    given = parser.parse_args()
    sources = programs(given.lesson, given.each)
    least = {row: (math.inf, math.inf) for row in sources}
    for _ in range(given.repeats):  # turn by turn: a busy minute then hits all rows alike
        for row, source in sources.items():
            least[row] = tuple(map(min, least[row], cpu_seconds(source)))
    print(
        "| fresh Python, after `import torch` | CPU s | with torch | bar | |\n|---|---|---|---|---|"
    )
    for row, (total, after) in least.items():
        over = (after, OVER_TORCH)
        bars = {PLAIN: over, PACKAGE: over, SETUP: (total, SETUP_BAR)}
        value, bar = bars.get(row, (0, None))
        end = f"≤ {bar} {'with' if row == SETUP else 'over'} torch" if bar else ""
        met = ("met" if value <= bar else "MISSED") if bar else ""
        print(f"| {row} | {after:.2f} | {total:.2f} | {end} | {met} |")


if __name__ == "__main__":
    main()
