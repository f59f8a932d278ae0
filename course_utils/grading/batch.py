"""`course grade`: from a folder of uploads to grades and feedback, by what the others provide."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from course_utils.grading import box, collect, report, run, tables


@dataclass(frozen=True)
class Plan:
    """How to grade.

    Attributes:
        workers: submissions at a time on this machine.
        scheduler: address of a dask scheduler, or "" for this machine.
        seed: of the hidden inputs; None draws one, or takes the one of an earlier run.
        roster: a CSV that maps files to students, or None.
        worksheet: Moodle's offline grading worksheet, to be filled in, or None.
        sandbox: False runs the code unprotected.
    """

    workers: int = 2
    scheduler: str = ""
    seed: int | None = None
    roster: Path | None = None
    worksheet: Path | None = None
    sandbox: bool = True


def grade_class(submissions: Path, out: Path, plan: Plan) -> str:
    """Grade everything below `submissions` and write all reports to `out`; returns what to print.

    Raises:
        ValueError: no submissions, no sandbox, no scheduler, a roster or worksheet that cannot be
            read, another seed was used in `out`, or some uploads were not graded (the reports hold
            the others).
        OSError: `out` cannot be written.
    """
    worksheet = tables.Worksheet(plan.worksheet) if plan.worksheet else None
    if plan.sandbox and (why := box.available()) is not None:
        raise ValueError(f"{why}: {box.REMEDY}")
    if sys.platform == "win32":
        raise ValueError(
            "no grading on Windows, --no-sandbox or not: grade in WSL, on Linux or macOS"
        )
    if out.resolve() == submissions.resolve():
        raise ValueError(f"--out {out} is the folder of the submissions; legal: any other one")
    (out / "notebooks").mkdir(parents=True, exist_ok=True)
    with _alone(out):
        return _graded(submissions, out, plan, worksheet)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """In this block no other run writes to the journal; a killed run leaves it free."""
    import fcntl  # not on Windows, where `grade_class` refuses

    with (out / "journal.jsonl").open("ab") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another run writes to {out}; legal: wait, or another --out"
            ) from None
        yield


def _graded(submissions: Path, out: Path, plan: Plan, worksheet: tables.Worksheet | None) -> str:
    kept = out / "notebooks"
    uploads, ignored = collect.collect(submissions, kept, plan.roster)
    uploads, older = collect.latest(uploads, run.lesson_of)
    if not uploads:
        raise ValueError(f"no notebook in {submissions}; {len(ignored)} files were left out")
    journal = run.Journal(out / "journal.jsonl", plan.seed)
    given = {"seed": journal.seed, "sandbox": plan.sandbox}
    runner = partial(run.in_threads, workers=plan.workers, **given)
    if plan.scheduler:
        runner = partial(run.on_cluster, address=plan.scheduler, **given)
    results, changes, unfinished = [], [], None
    coming = run.grade_all(uploads, journal, runner)
    try:
        for result, changed in tqdm(coming, total=len(uploads), unit="submission"):
            results.append(result)
            changes += changed
    except run.Unfinished as error:
        unfinished = error
    grades, said = report.write_all(out, results, ignored + older, worksheet)
    if unfinished is not None:
        raise unfinished
    return "\n".join([*_told(results, ignored + older, journal.seed), *changes, *said, str(grades)])


def _told(results: list[run.Result], ignored: list[collect.Ignored], seed: int) -> list[str]:
    counts = Counter(row.status for result in results for row in result.rows)
    verdicts = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    lines = [f"{len(results)} submissions: {verdicts}; hidden inputs by seed {seed}"]
    first = sorted(ignored, key=lambda item: not item.reason.startswith(collect.LOOK))
    return lines + [f"left out: {item.source}: {item.reason}" for item in first[:20]]
