"""Uploads find their students in every layout; hostile archives cost their sender only."""

import io
import json
import os
import stat
import struct
import unicodedata
import warnings
import zipfile
from pathlib import Path

import pytest

from course_utils.grading import archives as module, collect as collect_module
from course_utils.grading.collect import LOOK, Ignored, Upload, collect, latest

NOTEBOOK = b'{"cells": []}'
STEM = "08_gan_minimax"


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")  # the same name twice
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6)), data, method)
    return stream.getvalue()


def collected(place: Path, roster: Path | None = None) -> tuple[dict[str, Upload], list[Ignored]]:
    """Uploads by source, and what was left out."""
    keep = place.parent / "out" / "notebooks"
    keep.mkdir(parents=True, exist_ok=True)
    uploads, ignored = collect(place, keep, roster)
    assert all(upload.path.read_bytes() for upload in uploads)
    return {upload.source: upload for upload in uploads}, ignored


def planted(folder: Path, files: dict[str, bytes]) -> Path:
    place = folder / "in"
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


LAYOUTS = {
    f"ann/{STEM}.ipynb": ("ann", "", "folder"),
    f"Jörg de la Peña/week 3/{STEM}.ipynb": ("Jörg de la Peña", "", "folder"),
    f"Ann Lee_123_assignsubmission_file/{STEM}.ipynb": ("Ann Lee", "123", "Moodle"),
    f"Ann Lee_124_assignsubmission_file_/{STEM}.ipynb": ("Ann Lee", "124", "Moodle"),
    f"leeann_4711_815_{STEM}.ipynb": ("leeann", "4711", "Canvas"),
    f"leebob_LATE_4712_816_{STEM}-2.ipynb": ("leebob", "4712", "Canvas"),
    f"Bo Li_125_assignsubmission_file_{STEM}.ipynb": ("Bo Li", "125", "Moodle"),
    f"lee_ann_4713_817_{STEM}.ipynb": ("lee_ann", "4713", "Canvas"),
    f"Week 8_gil_attempt_2026-01-31-09-05-00_{STEM}.ipynb": ("gil", "", "Blackboard"),
    f"bob_{STEM}.ipynb": ("bob", "", "file name"),
    f"{STEM}_cem.ipynb": ("cem", "", "file name"),
    f"{STEM} - dora.ipynb": ("dora", "", "file name"),
    f"=eve_{STEM} (1).ipynb": ("=eve", "", "file name"),
    "fay.ipynb": ("fay", "", "file name"),
    f"{STEM}.ipynb": (STEM, "", "file name"),
}
ZIPS = {f"zed/{STEM}.ipynb": ("zed", "", "folder")}


@pytest.mark.parametrize("way", ["folder", "zip", "zips in a zip"])
def test_every_layout_tells_the_student(way, tmp_path):
    files = {name: name.encode() for name in LAYOUTS}
    inner = zipped({f"{STEM}.ipynb": NOTEBOOK})
    if way == "folder":
        place = planted(tmp_path, {**files, "zed.zip": inner})
    else:
        place = tmp_path / "export.zip"
        more = {"zed.zip": inner} if way == "zips in a zip" else {}
        place.write_bytes(zipped({**files, **more}))
    found, ignored = collected(place)
    expected = {**LAYOUTS, **(ZIPS if way != "zip" else {})}
    assert {s: (u.student, u.number, u.how) for s, u in found.items()} == expected
    assert ignored == []


def test_a_folder_around_all_students_is_not_a_student(tmp_path):
    names = [f"export/{who}/{STEM}.ipynb" for who in ("ann", "bob")]
    found, _ = collected(planted(tmp_path, dict.fromkeys(names, NOTEBOOK)))
    assert sorted(upload.student for upload in found.values()) == ["ann", "bob"]


OTHERS = {  # what a student may call a file; the platform's own mark stands before it
    "Ann Lee_1_assignsubmission_file_Bo_2_assignsubmission_file_x": ("Ann Lee", "1"),
    "Ann Lee_1_assignsubmission_file_bo_2_8_x": ("Ann Lee", "1"),
    "ann_1_7_bo_2_8_x": ("ann", "1"),
    "ann_1_7_Bo_2_assignsubmission_file_x": ("ann", "1"),
    "ann_1_7_x_bo_attempt_2026-01-31-09-05-00_x": ("ann", "1"),
    "Week_ann_attempt_2026-01-31-09-05-00_x_bo_attempt_2026-02-01-09-05-00_x": ("ann", ""),
}


@pytest.mark.parametrize("suffix", [".ipynb", "/x.ipynb"], ids=["file", "zip"])
def test_nobody_hands_in_for_another_by_the_name_of_a_file(suffix, tmp_path):
    found, _ = collected(planted(tmp_path, {f"{name}{suffix}": NOTEBOOK for name in OTHERS}))
    told = {source: (upload.student, upload.number) for source, upload in found.items()}
    assert told == {f"{name}{suffix}": who for name, who in OTHERS.items()}


def looked_at(found: dict[str, Upload], ignored: list[Ignored]) -> list[str]:
    """What of it an instructor is asked to look at."""
    ignored = ignored + latest(list(found.values()), lambda _: "08")[1]
    return [item.source for item in ignored if item.reason.startswith(LOOK)]


def test_one_student_in_two_forms_of_accents_is_one(tmp_path):
    forms = [unicodedata.normalize(form, "Jörg") for form in ("NFC", "NFD")]
    files = [f"{name}/{i}.ipynb" for i, name in enumerate(forms)]
    found, _ = collected(planted(tmp_path, {name: name.encode() for name in files}))
    assert {upload.student for upload in found.values()} == {forms[0]}
    (tmp_path / "roster.csv").write_text(f"file,student\n{forms[1]},J. Lee\n", "utf-8")
    found, _ = collected(tmp_path / "in", tmp_path / "roster.csv")
    assert {upload.student for upload in found.values()} == {"J. Lee"}


DOUBTS = {
    "a mark that is left over": (["x_assignsubmission_y.ipynb", "bo_attempt_2.ipynb"], 2),
    "a number at the end": (["bo_4711_12.ipynb"], 1),
    "two files of one name": (["quiz_1_2_ann.ipynb", "quiz_1_3_bob.ipynb"], 1),
    "two assignments": (
        [f"{w}_lee_attempt_2026-01-31-09-05-00_x.ipynb" for w in ("1_a", "1_b")],
        1,
    ),
    "nothing": ([f"ann_1_{i}_x-{i}.ipynb" for i in (2, 3)], 0),
    "an attempt": ([f"1_lee_attempt_2026-01-3{i}-09-05-00_{i}.ipynb" for i in (0, 1)], 0),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_what_may_be_two_students_or_one_is_said(name, tmp_path):
    files, count = DOUBTS[name]
    found, ignored = collected(planted(tmp_path, {file: file.encode() for file in files}))
    assert len(looked_at(found, ignored)) == count


ODD_NAMES = {
    "a dot before": {f"./{STEM}_ann.ipynb": NOTEBOOK},
    "a dot in a zip": {"hw.zip": zipped({f"./{STEM}_ann.ipynb": NOTEBOOK})},
    "a zip of dots": {"..zip": zipped({f"{STEM}.ipynb": NOTEBOOK})},
    "and of more": {"...zip": zipped({f"{STEM}.ipynb": NOTEBOOK})},
    "double slashes": {"hw.zip": zipped({f"a//{STEM}.ipynb": NOTEBOOK})},
}


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("whole", [True, False])
def test_an_odd_name_is_one_upload_and_stops_nobody(name, whole, tmp_path):
    files = {**ODD_NAMES[name], "bob.zip": zipped({f"{STEM}.ipynb": NOTEBOOK})}
    place = planted(tmp_path, files)
    if whole:
        place = tmp_path / "export.zip"
        place.write_bytes(zipped(files))
    found, ignored = collected(place)
    assert len(found) == 2 and ignored == []
    assert not {upload.student for upload in found.values()} & {"", ".", "..", "/"}


def test_a_mistake_in_reading_a_name_costs_one_file(tmp_path, monkeypatch):
    real = collect_module._marked

    def fails(name: str) -> object:
        return real(name) if name != "ann" else 1 / 0

    monkeypatch.setattr(collect_module, "_marked", fails)
    found, ignored = collected(planted(tmp_path, {"ann.ipynb": b"1", "bob.ipynb": b"2"}))
    assert list(found) == ["bob.ipynb"] and looked_at({}, ignored) == ["ann.ipynb"]


def test_a_roster_names_students(tmp_path):
    place = planted(tmp_path, {"x17/a.ipynb": b"1", "Bo_9_assignsubmission_file/a.ipynb": b"2"})
    roster = tmp_path / "roster.csv"
    roster.write_text("\ufefffile,student\nx17,Ann Lee\n9,Bo Ek\nnobody,N\n", "utf-8")
    found, ignored = collected(place, roster)
    assert [item.source for item in ignored] == ["nobody"]  # it matches no file
    told = [(upload.student, upload.how) for upload in found.values()]
    assert sorted(told) == [("Ann Lee", "folder, roster"), ("Bo Ek", "Moodle, roster")]
    for text, encoding in (
        ("file;student\nx17;Jörg\n", "utf-16"),
        ("file\tstudent\nx17\tJörg", "utf8"),
    ):
        roster.write_text(text, encoding)
        assert "Jörg" in {upload.student for upload in collected(place, roster)[0].values()}
    roster.write_text("file,student\nx17,Jörg\n", "cp1252")
    with pytest.raises(ValueError, match=r"roster\.csv is not UTF-8; legal: .*CSV UTF-8"):
        collected(place, roster)
    with pytest.raises(ValueError, match=r"none\.csv cannot be read: No such file"):
        collected(place, tmp_path / "none.csv")
    roster.write_text("name,mail\na,b\n")
    with pytest.raises(ValueError, match="has name, mail; legal: a CSV with the columns file, stu"):
        collected(place, roster)


def test_of_two_uploads_the_later_counts_and_the_other_is_reported(tmp_path):
    place = planted(tmp_path, {f"ann/{STEM}.ipynb": b"old", f"ann/{STEM}-2.ipynb": b"new"})
    for name, time in ((f"{STEM}.ipynb", 1000), (f"{STEM}-2.ipynb", 2000)):
        os.utime(place / "ann" / name, (time, time))
    found, _ = collected(place)
    chosen, older = latest(list(found.values()), lambda _: "08")
    assert [upload.source for upload in chosen] == [f"ann/{STEM}-2.ipynb"]
    assert older == [
        Ignored(f"ann/{STEM}.ipynb", f"a later upload counts: ann/{STEM}-2.ipynb"),
    ]
    assert len(latest(list(found.values()), lambda _: "")[0]) == 2  # unreadable: both are told


def test_the_later_of_canvas_uploads_has_the_greater_number(tmp_path):
    names = [f"ann_1_{upload}_{STEM}.ipynb" for upload in (900, 1100)]
    found, _ = collected(planted(tmp_path, dict.fromkeys(names, NOTEBOOK)))
    assert latest(list(found.values()), lambda _: "08")[0][0].source == names[1]


def test_reports_inside_the_folder_of_submissions_are_no_submissions(tmp_path):
    place = planted(tmp_path, {"ann/a.ipynb": NOTEBOOK})
    keep = place / "graded" / "notebooks"
    keep.mkdir(parents=True)
    for _ in range(2):
        uploads, _ = collect(place, keep)
        assert [upload.student for upload in uploads] == ["ann"]


def with_date(month: int) -> bytes:
    data = bytearray(zipped({f"{STEM}.ipynb": NOTEBOOK}))
    for mark, at in ((b"PK\3\4", 12), (b"PK\1\2", 14)):
        struct.pack_into("<H", data, data.find(mark) + at, (46 << 9) | (month << 5) | 1)
    return bytes(data)


def spoilt() -> bytes:
    data = bytearray(zipped({"a.ipynb": NOTEBOOK * 50, f"{STEM}.ipynb": NOTEBOOK}))
    at = data.find(b"a.ipynb") + 7
    data[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def encrypted() -> bytes:
    data = bytearray(zipped({f"{STEM}.ipynb": NOTEBOOK}))
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.find(mark) + at] |= 1
    return bytes(data)


def linked() -> bytes:
    stream, info = io.BytesIO(), zipfile.ZipInfo("a.ipynb")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return stream.getvalue()


BIG = b"0" * (31 * 2**20)
REFUSED = {  # what a student's own zip may hold, and why nothing of it counts
    "dots": (lambda: zipped({f"../../{STEM}.ipynb": NOTEBOOK}), "leaves its folder"),
    "absolute": (lambda: zipped({f"/etc/{STEM}.ipynb": NOTEBOOK}), "leaves its folder"),
    "drive": (lambda: zipped({f"C:\\{STEM}.ipynb": NOTEBOOK}), "leaves its folder"),
    "dots of Windows": (lambda: zipped({f"..\\{STEM}.ipynb": NOTEBOOK}), "leaves its folder"),
    "link": (linked, "a link"),
    "encrypted": (encrypted, "encrypted"),
    "bomb": (lambda: zipped({f"{STEM}.ipynb": BIG}), "too large once unpacked"),
    "bomb of bzip2": (lambda: zipped({"a.ipynb": BIG}, zipfile.ZIP_BZIP2), "not bounded"),
    "bomb of lzma": (lambda: zipped({"a.ipynb": BIG}, zipfile.ZIP_LZMA), "not bounded"),
    "bombs": (lambda: zipped({f"{i}.ipynb": BIG for i in range(6)}), "a zip that is too large"),
    "many files": (lambda: zipped({f"{i}": b"" for i in range(201)}), "a zip of 201 files"),
    "very many files": (lambda: zipped({f"{i}": b"" for i in range(5000)}), "a list of files"),
    "nested": (lambda: zipped({"b.zip": zipped({"a.ipynb": NOTEBOOK})}), "neither .ipynb nor"),
    "no zip": (lambda: b"PK\3\4 but no more", "cannot be read"),
    "empty": (lambda: b"", "cannot be read"),
    "other files": (lambda: zipped({"virus.exe": b"MZ"}), "neither .ipynb nor"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_zip_is_reported_and_costs_nobody_else(name, tmp_path):
    make, reason = REFUSED[name]
    evil = make()
    place = planted(tmp_path, {"ann.zip": evil, "bob.zip": zipped({f"{STEM}.ipynb": NOTEBOOK})})
    whole = tmp_path / "export.zip"
    whole.write_bytes(zipped({path.name: path.read_bytes() for path in place.iterdir()}))
    for given in (place, whole):
        found, ignored = collected(given)
        assert [upload.student for upload in found.values()] == ["bob"]
        assert any(reason in item.reason for item in ignored), ignored
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out", "export.zip"}


def test_honest_but_odd_zips_are_read(tmp_path):
    odd = {
        "month-zero.zip": with_date(0),
        "windows.zip": zipped({f"week 3\\{STEM}.ipynb": NOTEBOOK}),
        "spoilt-beside.zip": spoilt(),
        "mac.zip": zipped({f"__MACOSX/._{STEM}.ipynb": b"x", f"{STEM}.ipynb": NOTEBOOK}),
        "stored.zip": zipped({f"{STEM}.ipynb": NOTEBOOK}, zipfile.ZIP_STORED),
    }
    found, ignored = collected(planted(tmp_path, odd))
    assert {upload.student for upload in found.values()} == {name[:-4] for name in odd}
    assert [item.source for item in ignored] == ["spoilt-beside/a.ipynb"]


def test_a_spoilt_member_of_an_export_costs_only_itself(tmp_path):
    place = tmp_path / "export.zip"
    place.write_bytes(spoilt())
    found, ignored = collected(place)
    assert list(found) == [f"{STEM}.ipynb"] and [item.source for item in ignored] == ["a.ipynb"]


def test_links_and_what_cannot_be_read_are_reported(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(b"secret")
    place = planted(tmp_path, {"ann/a.ipynb": NOTEBOOK, "huge/a.ipynb": b""})
    os.truncate(place / "huge" / "a.ipynb", 40 * 2**20)
    (place / "bob").mkdir()
    (place / "bob" / "a.ipynb").symlink_to(secret)
    (place / "cem").symlink_to(tmp_path)
    os.mkfifo(place / "dora.ipynb")
    found, ignored = collected(place)
    assert list(found) == ["ann/a.ipynb"]
    told = {item.source: item.reason for item in ignored}
    assert told.pop("huge/a.ipynb") == "40 MB; at most 30 are read"
    assert set(told) == {"bob/a.ipynb", "cem", "dora.ipynb"}


def test_names_that_are_no_text_stay_different_and_can_be_written(tmp_path):
    place = os.fsencode(tmp_path / "in")
    for name in (b"M\xfcller", b"M\xf6ller", b"a\x1b[31m\nb"):
        os.makedirs(os.path.join(place, name))
        Path(os.fsdecode(os.path.join(place, name)), "a.ipynb").write_bytes(NOTEBOOK)
    found, _ = collected(tmp_path / "in")
    students = {upload.student for upload in found.values()}
    assert students == {r"M\udcfcller", r"M\udcf6ller", r"a\u001b[31m b"}
    json.dumps([*found], ensure_ascii=False).encode()


def test_a_place_that_is_none_is_refused(tmp_path):
    for place in (tmp_path / "nowhere", tmp_path / "x.ipynb"):
        with pytest.raises(ValueError, match="is no folder and no zip of submissions"):
            collect(place, tmp_path)
        (tmp_path / "x.ipynb").write_bytes(NOTEBOOK)


def test_the_limit_of_a_zip_holds_over_all_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "NESTED_LIMIT", 1200)
    place = planted(tmp_path, {"ann.zip": zipped({f"{i}.ipynb": NOTEBOOK * 100 for i in range(5)})})
    found, ignored = collected(place)
    assert (len(found), len(ignored)) == (1, 4)
