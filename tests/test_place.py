"""A file is written whole or not at all, and never over one that should stay."""

import os

import pytest

from course_utils import place


def test_the_root_has_the_lessons():
    assert (place.ROOT / "notebooks").is_dir() and (place.ROOT / "pyproject.toml").is_file()


def test_what_was_written_is_read_in_a_folder_that_was_not_there(tmp_path):
    path = tmp_path / "new" / "note.txt"
    assert place.write_whole(path, "β\r\n") == path
    assert path.read_bytes() == "β\r\n".encode()
    place.write_whole(path, b"\x00")
    assert path.read_bytes() == b"\x00" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("broken", ["fsync", "replace", "link"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path, monkeypatch, broken, new
):
    def full(*arguments: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "note.txt"
    if not new:
        path.write_text("old")
    monkeypatch.setattr(os, broken, full)
    if broken == ("replace" if new else "link"):
        return  # not on this way
    with pytest.raises(KeyboardInterrupt):
        place.write_whole(path, "new", new=new)
    assert [file.read_text() for file in tmp_path.iterdir()] == ([] if new else ["old"])


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_never_replaces_one(tmp_path, monkeypatch, links):
    def refuse(*arguments: object) -> None:
        raise PermissionError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "note.txt"
    place.write_whole(path, "first", new=True)
    with pytest.raises(FileExistsError):
        place.write_whole(path, "second", new=True)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["first"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_the_mode_of_a_file_stays_and_a_new_one_follows_the_umask(tmp_path):
    path = tmp_path / "note.txt"
    before = os.umask(0o027)
    try:
        place.write_whole(path, "1")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o664)
    place.write_whole(path, "2")
    assert path.stat().st_mode & 0o777 == 0o664


def test_a_long_name_is_written(tmp_path):
    path = tmp_path / f"{'ü' * 120}.txt"
    assert place.write_whole(path, "1").read_text() == "1"


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    file, link = tmp_path / "elsewhere" / "file.txt", tmp_path / "link.txt"
    place.write_whole(file, "old")
    try:
        link.symlink_to(file)
    except OSError as error:  # Windows asks for a right that not everyone has
        pytest.skip(f"no links here: {error}")
    place.write_whole(link, "new")
    assert link.is_symlink() and file.read_text() == "new"
    with pytest.raises(FileExistsError):
        place.write_whole(link, "newer", new=True)
