"""Bring a newer edition of the lessons into a student's folder, and lose nothing of theirs.

Notebooks are merged cell by cell (`merge`), all else by git. No file of the student's is written
before a copy of it lies in `.course/before-update/`; the copy is named where the merge left
something out. Beside them `.course/edition/` keeps what a file was last brought up to: without git
it is what tells the student's changes from ours.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from course_utils import exercises
from course_utils.classroom.merge import merge
from course_utils.place import write_whole

BACKUPS, EDITION = Path(".course", "before-update"), Path(".course", "edition")
NO_MERGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def update_folder(source: Path, into: Path) -> list[str]:
    """Merge every notebook of a folder of newer lessons into the student's; says what was done.

    Raises:
        ValueError: no notebook in the source.
    """
    newer = sorted(source.glob("*.ipynb"))
    if not newer:
        raise ValueError(f"no notebook in {source}; legal: a folder of released lessons")
    return [_update(into / path.name, path.read_bytes()) for path in newer]


def update_clone(root: Path, remote: str = "origin", branch: str = "main") -> list[str]:
    """Fetch the newest edition into a clone and merge the notebooks that the student changed.

    What the student committed is merged with it, by a commit of its own.

    Raises:
        ValueError: this is no clone, a merge is unfinished, or git says no: no network, no such
            branch, another file that both sides changed. The folder is then as it was before.
    """
    if not (root / ".git").exists():
        raise ValueError(
            f"{root} is no clone of the course, so nothing can be fetched: unpack the newer "
            "lessons somewhere, then course update FOLDER"
        )
    _refuse_unfinished(root)
    _git(root, "fetch", "-q", remote, branch)
    new, head = (_git(root, "rev-parse", name).strip() for name in ("FETCH_HEAD", "HEAD"))
    base = _merge_base(root, head, new)
    if base == new:
        return ["nothing newer: you have the newest edition"]
    mine = _changed(root, base, new)
    for name, data in mine.items():
        _backup(root / name, data)
        exercises.of_lesson(Path(name).name[:2])  # imported before git brings a newer package
    try:
        _set_aside(root, mine)
        if base == head:
            _git(root, "merge", "-q", "--ff-only", new)
        else:
            _join(root, base, head, new)
        told = []
        for name, data in mine.items():
            write_whole(root / name, data)
            told.append(_update_from_git(root, name, base, new))
    except BaseException:
        _put_back(root, head, mine)
        raise
    return told or ["no notebook of yours was changed: everything is as in the new edition"]


def _update(target: Path, new: bytes, old: bytes | None = None) -> str:
    """Bring one file up to a new edition, after a copy of it; says what was done.

    A file that cannot be merged stays; the new edition goes beside it, where the next one is then
    merged into that.
    """
    record = target.parent / EDITION / target.name
    if not target.exists():
        write_whole(target, new)
        write_whole(record, new)
        return f"{target.name}: new"
    data = target.read_bytes()
    if old is None and record.is_file():
        old = record.read_bytes()
    try:
        merged, left_out = _merged(data, new, old)
    except NO_MERGE as error:
        beside = _update(target.with_name(f"{target.stem} (new).ipynb"), new)
        return f"{target.name}: left as it is ({error}); the new edition beside it: {beside}"
    kept = None if merged == data else _backup(target, data)
    if kept:
        write_whole(target, merged)
    write_whole(record, new)
    if kept is None:
        return f"{target.name}: as it was"
    if not left_out:
        return f"{target.name}: updated, your answers are in it"
    names = ", ".join(left_out[:5]) + (" ..." if len(left_out) > 5 else "")
    if old:
        return f"{target.name}: updated; your changes to {names} are in {kept} only"
    return f"{target.name}: updated; where {names} differed, the former text is in {kept} only"


def _merged(data: bytes, new: bytes, old: bytes | None) -> tuple[bytes, tuple[str, ...]]:
    """The merged file, the same bytes where nothing changes; and what was left out."""
    theirs = json.loads(data)
    found = merge(theirs, json.loads(new), json.loads(old) if old else None)
    if found.notebook == theirs:
        return data, found.left_out
    text = json.dumps(found.notebook, indent=1, ensure_ascii=False, sort_keys=True)
    return f"{text}\n".encode(), found.left_out


def _update_from_git(root: Path, name: str, base: str, new: str) -> str:
    released = _show(root, new, name)
    if released is None:
        return f"{Path(name).name}: not in the new edition; yours stays"
    return _update(root / name, released, _show(root, base, name))


def _changed(root: Path, base: str, new: str) -> dict[str, bytes]:
    """The notebooks of ours in which the student wrote, with what is in them."""
    ours = {*_names(root, "ls-tree", "-r", new), *_names(root, "ls-tree", "-r", base)}
    changed = {*_names(root, "diff", base)} | (ours - {*_names(root, "ls-files")})
    there = [name for name in sorted(ours & changed) if (root / name).is_file()]
    return {name: (root / name).read_bytes() for name in there if _is_lesson(name)}


def _set_aside(root: Path, names: Iterable[str]) -> None:
    """The notebooks as in the student's last commit, so that git can put others in their place."""
    tracked = {*_names(root, "ls-tree", "-r", "HEAD")}
    deleted = {*_names(root, "diff", "--diff-filter=D", "HEAD")}
    if back := sorted((set(names) | deleted) & tracked):
        _git(root, "checkout", "-q", "HEAD", "--", *back)
    for name in set(names) - tracked:
        _git(root, "rm", "-q", "-f", "--cached", "--ignore-unmatch", "--", name)
        (root / name).unlink(missing_ok=True)


def _join(root: Path, base: str, head: str, new: str) -> None:
    """Merge the new edition with the student's commits; notebooks by cells."""
    who = _who(root)
    failed = _told(_ran(root, "merge", "-q", "--no-ff", "--no-commit", new, **who))
    try:
        unmerged = [*_names(root, "diff", "--diff-filter=U", where="")]
        other = [name for name in unmerged if not _is_lesson(name)]
        if other:
            raise ValueError(
                f"you and the new edition both changed {', '.join(other)}, and lines of both "
                f"clash: `git checkout {new[:12]} -- {' '.join(other)}` takes the new ones; "
                "commit that, then course update again"
            )
        if failed and not unmerged:
            raise ValueError(failed)
        for name in filter(_is_lesson, {*_names(root, "diff", base, head), *unmerged}):
            theirs, released = _show(root, head, name), _show(root, new, name)
            if theirs and released:
                theirs = _merged_or_theirs(theirs, released, _show(root, base, name))
            if theirs or name in unmerged:
                write_whole(root / name, theirs or released)
                _git(root, "add", "--", name)
        told = "A newer edition of the lessons"
        _git(root, "commit", "-q", "--no-verify", "--no-gpg-sign", "-m", told, **who)
    except BaseException:
        if _is_merging(root):
            _git(root, "merge", "--abort")
        raise


def _who(root: Path) -> dict[str, str]:
    """Who made the student's last commit makes this one, also where git is told no name."""
    name, email = _git(root, "log", "-1", "--format=%an%n%ae", "HEAD").splitlines()
    roles, parts = ("AUTHOR", "COMMITTER"), {"NAME": name, "EMAIL": email}
    return {f"GIT_{role}_{part}": parts[part] for role in roles for part in parts}


def _merged_or_theirs(theirs: bytes, new: bytes, old: bytes | None) -> bytes:
    try:
        return _merged(theirs, new, old)[0]
    except NO_MERGE:
        return theirs


def _put_back(root: Path, head: str, mine: dict[str, bytes]) -> None:
    """The folder as it was before."""
    try:
        if _git(root, "rev-parse", "HEAD").strip() != head:
            _set_aside(root, mine)
            _git(root, "reset", "-q", "--keep", head)
    finally:
        for name, data in mine.items():
            write_whole(root / name, data)


def _refuse_unfinished(root: Path) -> None:
    """A merge that git has not finished is the student's to end; their files are kept before."""
    names = [*_names(root, "diff", "--diff-filter=U", where="")]
    merging = _is_merging(root)
    if not names and not merging:
        return
    for name in names:
        if _is_lesson(name) and (root / name).is_file():
            _backup(root / name, (root / name).read_bytes())
    remedy = "`git merge --abort`" if merging else "`git status` says how to end it; do that"
    raise ValueError(
        f"a merge that git began is unfinished ({', '.join(names) or 'not committed'}): {remedy}, "
        "then course update again, which merges notebooks cell by cell"
    )


def _is_merging(root: Path) -> bool:
    return _ran(root, "rev-parse", "-q", "--verify", "MERGE_HEAD").returncode == 0


def _merge_base(root: Path, head: str, new: str) -> str:
    ran = _ran(root, "merge-base", head, new)
    if ran.returncode:
        raise ValueError(
            "this folder and the course's repository have no commit in common: unpack the newer "
            "lessons somewhere, then course update FOLDER"
        )
    return ran.stdout.decode().strip()


def _backup(target: Path, data: bytes) -> Path:
    """Where a copy of this content of a file lies; one is made where there is none."""
    folder, digest = target.parent / BACKUPS, sha256(data).hexdigest()[:12]
    for kept in folder.glob(f"*-{digest}.ipynb"):
        if kept.read_bytes() == data:
            return kept
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    return write_whole(folder / f"{target.stem}-{stamp}-{digest}.ipynb", data, new=True)


def _is_lesson(name: str) -> bool:
    return name.startswith("notebooks/") and name.endswith(".ipynb")


def _names(root: Path, *given: str, where: str = "notebooks") -> list[str]:
    """The paths that git lists."""
    only = [] if given[0] == "ls-files" else ["--name-only"]
    return [
        name for name in _git(root, *given, *only, "-z", "--", where or ".").split("\0") if name
    ]


def _show(root: Path, commit: str, name: str) -> bytes | None:
    ran = _ran(root, "show", f"{commit}:{name}")
    return None if ran.returncode else ran.stdout


def _git(root: Path, *given: str, **environment: str) -> str:
    ran = _ran(root, *given, **environment)
    if told := _told(ran):
        raise ValueError(told)
    return ran.stdout.decode("utf-8", "surrogateescape")


def _told(ran: subprocess.CompletedProcess[bytes]) -> str:
    """What git said where it refused, else nothing."""
    text = " ".join((ran.stderr.strip() or ran.stdout.strip()).decode("utf-8", "replace").split())
    return f"git {ran.args[1]}: {text[-300:]}" if ran.returncode else ""


def _ran(root: Path, *given: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    if shutil.which("git") is None:
        raise ValueError("git is not installed: unpack the new edition, then course update FOLDER")
    env = {**os.environ, **environment}
    return subprocess.run(["git", *given], cwd=root, capture_output=True, check=False, env=env)
