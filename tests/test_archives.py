"""MNIST and Fashion-MNIST: small planted archives, a folder or a server on this machine."""

import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from course_utils import archives, data


class Planted:
    """Four small archives under the sums of mnist, and what they hold."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = np.random.default_rng(0)
        self.pixels = {part: rng.integers(0, 256, (5, 28, 28), np.uint8) for part in PARTS}
        self.labels = {part: rng.integers(0, 10, 5).astype(np.uint8) for part in PARTS}
        self.content: dict[str, bytes] = {}
        for part in PARTS:
            self.content[f"{part}-images-idx3-ubyte"] = bytes(16) + self.pixels[part].tobytes()
            self.content[f"{part}-labels-idx1-ubyte"] = bytes(8) + self.labels[part].tobytes()
        self.packed = {f: gzip.compress(raw, mtime=0) for f, raw in self.content.items()}
        self.sums = {f: (sha(self.packed[f]), sha(self.content[f])) for f in self.content}
        monkeypatch.setitem(archives.ARCHIVES, "mnist", self.sums)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for file, packed in self.packed.items():
            (folder / f"{file}.gz").write_bytes(packed)

    def assert_read(self, images: data.Images) -> None:
        for part, x, y in zip(PARTS, images[::2], images[1::2], strict=True):
            assert np.array_equal((x[:, 0] * 255).round().numpy(), self.pixels[part])
            assert y.tolist() == self.labels[part].tolist()


PARTS = ("train", "t10k")
FILE = "t10k-labels-idx1-ubyte"  # the last of the four


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def planted(monkeypatch):
    return Planted(monkeypatch)


@pytest.fixture
def folder(planted, monkeypatch, tmp_path) -> Path:
    """COURSE_DATA_DIR/mnist with the planted archives."""
    planted.write(tmp_path / "mnist")
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    return tmp_path / "mnist"


@pytest.fixture
def cache(planted, monkeypatch, tmp_path) -> Path:
    """An empty cache folder, no COURSE_DATA_DIR."""
    monkeypatch.delenv("COURSE_DATA_DIR", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / project)
    return tmp_path / "generative-models-line-by-line" / "mnist"


@pytest.fixture
def serve(planted, monkeypatch):
    """serve(answer, ...) starts one mirror per answer; returns the list of what was asked for."""
    servers, asked = [], []

    def start(*answers: str) -> list[str]:
        urls = []
        for answer in answers:
            handler = type("Handler", (Mirror,), {"a": answer, "p": planted, "asked": asked})
            servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=servers[-1].serve_forever, args=[0.02], daemon=True).start()
            urls.append(f"http://127.0.0.1:{servers[-1].server_port}/")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setitem(archives.MIRRORS, "mnist", tuple(urls))
        return asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class Mirror(BaseHTTPRequestHandler):
    """Answers right, or cuts the connection, or sends another file, or nothing."""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        packed = self.p.packed[self.path.strip("/").removesuffix(".gz")]
        if self.a == "missing":
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        sent = {"right": packed, "cut": packed[: len(packed) // 2], "wrong": packed[::-1]}
        self.wfile.write(sent[self.a])
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


def test_archives_of_a_folder_are_read(planted, folder):
    planted.assert_read(data.mnist())


def test_an_archive_compressed_again_is_accepted(planted, folder):
    again = gzip.compress(planted.content[FILE], compresslevel=1, mtime=1)
    assert again != planted.packed[FILE]
    (folder / f"{FILE}.gz").write_bytes(again)
    planted.assert_read(data.mnist())


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: good[:-9],  # truncated
        lambda good: good[:20] + bytes([good[20] ^ 1]) + good[21:],  # one bit
        lambda good: gzip.compress(gzip.decompress(good)[:-1] + b"\x0b"),  # sound, another content
        lambda good: b"<html>not found</html>",
        lambda good: b"",
    ],
    ids=["truncated", "one bit", "other content", "a web page", "empty"],
)
def test_a_damaged_archive_is_named_with_both_sums_and_the_remedy(planted, folder, damage):
    path = folder / f"{FILE}.gz"
    bad = damage(planted.packed[FILE])
    path.write_bytes(bad)
    with pytest.raises(ValueError) as caught:
        data.mnist()
    for said in (str(path), planted.sums[FILE][0], sha(bad), "unset COURSE_DATA_DIR"):
        assert said in str(caught.value)
    assert path.read_bytes() == bad  # the user's file is left alone


def test_a_missing_archive_is_named_and_not_downloaded(folder, serve):
    asked = serve("right")
    (folder / f"{FILE}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"{FILE}.gz is missing .*unset COURSE_DATA_DIR"):
        data.mnist()
    assert asked == []


def test_a_download_is_kept_and_not_repeated(planted, cache, serve):
    asked = serve("right")
    planted.assert_read(data.mnist())
    assert len(asked) == 4
    planted.assert_read(data.mnist())
    assert len(asked) == 4
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"{f}.gz" for f in planted.sums)


@pytest.mark.parametrize("first", ["missing", "cut", "wrong"])
def test_the_second_mirror_stands_in_for_the_first(planted, cache, serve, first):
    serve(first, "right")
    planted.assert_read(data.mnist())


def test_an_archive_damaged_in_the_cache_is_downloaded_again(planted, cache, serve):
    asked = serve("right")
    planted.write(cache)
    (cache / f"{FILE}.gz").write_bytes(planted.packed[FILE][:-9])
    planted.assert_read(data.mnist())
    assert asked == [f"/{FILE}.gz"]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (("cut", "cut"), ConnectionError),
        (("missing", "cut"), ConnectionError),
        (("wrong", "wrong"), ValueError),
        (("cut", "wrong"), ValueError),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(planted, cache, serve, answers, kind):
    serve(*answers)
    with pytest.raises(kind) as caught:
        data.mnist()
    first = "train-images-idx3-ubyte"
    said = [str(cache / f"{first}.gz"), planted.sums[first][0], "set COURSE_DATA_DIR"]
    said += [f"{mirror}{first}.gz" for mirror in archives.MIRRORS["mnist"]]
    said += [sha(planted.packed[first][::-1])] if kind is ValueError else []
    assert [words for words in said if words not in str(caught.value)] == []
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_without_a_network_the_error_names_the_remedy(planted, cache, serve, monkeypatch):
    serve()
    monkeypatch.setitem(archives.MIRRORS, "mnist", ("http://127.0.0.1:9/",))  # nobody listens
    with pytest.raises(ConnectionError, match="put them into a folder mnist/"):
        data.mnist()
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_an_interrupted_download_leaves_nothing(planted, cache, serve, monkeypatch):
    serve("right")

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pooch.core.hash_matches", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.mnist()
    assert [path for path in cache.rglob("*") if path.is_file()] == []
