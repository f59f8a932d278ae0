"""What an import of the package costs, and the setup cell of a lesson, in CPU seconds.

    python tests/benchmarks/imports.py [--repeats 5] [--lesson 05] [--each]

Each line is a fresh Python; the smallest of the repeats is shown, for noise only ever adds.
"""

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
OVER_TORCH, SETUP_BAR = 0.2, 2.5
# Libraries for figures and sliders: a lesson needs them whatever the package is like.
DRAWING = ("matplotlib.figure", "matplotlib.backends.backend_agg", "IPython.display", "ipywidgets")
TORCH, LIBRARIES = "torch alone", "torch, matplotlib, IPython, ipywidgets"
PACKAGE, SETUP = "torch, all of the package that lessons import", "setup cell of the lesson"


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


def cpu_seconds(source: str) -> float:
    """CPU time of a fresh Python that runs the source, its own start included."""
    program = f"{source}\nimport sys, time\nprint(time.process_time(), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{source!r} failed: {done.stderr[-500:]}")
    return float(done.stderr.split()[-1])


def programs(lesson: str, each: bool) -> dict[str, str]:
    """What is measured: a row's label and its source."""
    modules = package_modules()
    found = {TORCH: "import torch", LIBRARIES: f"import torch, {', '.join(DRAWING)}"}
    if each:
        found |= {f"torch + {name}": f"import torch, {name}" for name in modules}
    found[PACKAGE] = f"import torch, {', '.join(modules)}"
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
    runs = [
        {row: cpu_seconds(source) for row, source in sources.items()} for _ in range(given.repeats)
    ]
    least = {row: min(run[row] for run in runs) for row in sources}
    bars = {PACKAGE: least[TORCH] + OVER_TORCH, SETUP: SETUP_BAR}
    print("| fresh Python | CPU s | over torch | bar, CPU s | |\n|---|---|---|---|---|")
    for row, seconds in least.items():
        bar = bars.get(row)
        end = f"≤ {bar:.2f} | {'met' if seconds <= bar else 'MISSED'}" if bar else "|"
        print(f"| {row} | {seconds:.2f} | {seconds - least[TORCH]:+.2f} | {end} |")


if __name__ == "__main__":
    main()
