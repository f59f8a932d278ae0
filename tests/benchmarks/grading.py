"""Grading: seconds for a submission, what a second worker brings, memory over a class.

    python tests/benchmarks/grading.py [--submissions 100] [--lesson 08] [--workers 1 2]

Honest submissions (solved copies, each with a comment of its own, so that none is taken from the
journal). On an idle machine: the bar is 2 s a submission beyond a box that has imported torch, and
two workers at least 1.7 times as fast as one.
"""

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil

from course_utils.grading.box import Box
from course_utils.grading.collect import collect
from course_utils.grading.run import Journal, grade_all, in_threads
from course_utils.notebook.authoring import solve


def uploads(lesson: str, count: int, folder: Path) -> list:
    """So many different notebooks with right answers."""
    for index in range(count):
        path = solve(lesson, folder / f"student{index:03d}")
        path.write_text(path.read_text("utf-8") + " " * index, "utf-8")
    kept = folder / "kept"
    kept.mkdir()
    return [u for u in collect(folder, kept)[0] if not u.source.startswith("kept")]


def box_seconds(repeats: int = 5) -> float:
    """Median wall time until a box has imported torch and answers."""
    found = []
    for _ in range(repeats):
        begun = time.monotonic()
        with Box():
            found.append(time.monotonic() - begun)
    return statistics.median(found)


def run(found: list, workers: int, folder: Path) -> tuple[float, list[float], list[float]]:
    """Wall seconds for all, seconds for each, and the grader's memory in MB after each."""
    process, each, memory, begun = psutil.Process(), [], [], time.monotonic()
    runner = partial(in_threads, seed=1, workers=workers, sandbox=True)
    for result, _ in grade_all(found, Journal(folder / f"journal{workers}", 1), runner):
        assert all(row.status == "PASS" for row in result.rows), result
        each.append(result.seconds)
        memory.append(process.memory_info().rss / 2**20)
    return time.monotonic() - begun, each, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=100)
    parser.add_argument("--lesson", default="08")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    start = box_seconds()
    print(f"a box that has imported torch: {start:.2f} s (median of 5)\n")
    print("| workers | all, s | median, s | beyond the box, s | memory after 10 … last, MB |")
    print("|---|---|---|---|---|")
    walls = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = uploads(given.lesson, given.submissions, folder)
        for workers in given.workers:
            walls[workers], each, memory = run(found, workers, folder)
            middle = statistics.median(each)
            curve = " ".join(f"{m:.0f}" for m in [*memory[9::30], memory[-1]])
            numbers = f"{walls[workers]:.1f} | {middle:.2f} | {middle - start:.2f}"
            print(f"| {workers} | {numbers} | {curve} |", flush=True)
    if {1, 2} <= set(walls):
        print(f"\ntwo workers are {walls[1] / walls[2]:.2f} times as fast as one (bar: 1.7)")


if __name__ == "__main__":
    main()
