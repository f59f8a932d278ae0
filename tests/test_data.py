"""Data: laws that are exact, images that are the published ones, and no silent substitute."""

import gzip
import hashlib
import math
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from course_utils import data
from tests.benchmarks import yardstick

NAMES = {"ring8": "ring8", "grid25": "grid25", "ring8_wide": "ring8w", "grid25_wide": "grid25w"}


# --- points of the plane


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_mixture_has_the_yardsticks_density(name, kind):
    ours, theirs = data.mixture(name), yardstick.Mixture2D(kind)
    x = theirs.sample(400, torch.Generator().manual_seed(0)).double()
    assert ours.log_prob(x).dtype == torch.float64
    # The yardstick rounds the angles of its ring to float32: 1e-7 of means 0.02 wide.
    allowed = 1e-4 if kind.startswith("ring") else 1e-9
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=0, atol=allowed)


@pytest.mark.parametrize(("name", "kind"), NAMES.items())
def test_mixture_draws_from_the_yardsticks_law(name, kind):
    n, theirs = 20_000, yardstick.Mixture2D(kind)
    one = data.mixture(name).sample(n, torch.Generator().manual_seed(1)).double()
    two = theirs.sample(n, torch.Generator().manual_seed(2)).double()

    def statistics(x: torch.Tensor) -> torch.Tensor:
        mode = torch.cdist(x, theirs.mean).argmin(dim=1)
        share = torch.nn.functional.one_hot(mode, len(theirs.mean)).double()
        moments = torch.stack([x[:, 0], x[:, 1], x[:, 0] * x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2], 1)
        return torch.cat([moments, theirs.log_prob(x)[:, None], share], dim=1)

    a, b = statistics(one), statistics(two)
    error = ((a.var(dim=0) + b.var(dim=0)) / n).sqrt()
    assert ((a.mean(dim=0) - b.mean(dim=0)).abs() < 4 * error).all()


def test_unknown_mixture_is_refused():
    with pytest.raises(ValueError, match="mixture 'ring9'; legal: ring8, grid25, ring8_wide"):
        data.mixture("ring9")


def test_moons_without_noise_lie_on_two_half_circles():
    x, y = data.moons(1000, seed=0, sd=0.0).T
    outer = (torch.hypot(x, y) - 1).abs() + (-y).clamp(min=0)
    inner = (torch.hypot(x - 1, y - 0.5) - 1).abs() + (y - 0.5).clamp(min=0)
    assert torch.minimum(outer, inner).max() < 1e-12
    share = (outer < inner).double().mean()
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(1000)


def test_moments_of_the_moons():
    n, sd = 50_000, 0.3
    x, y = data.moons(n, seed=1, sd=sd).T
    # Of the two moons: E x = 0, 1; E x^2 = 1/2, 3/2; E y = 2/pi, 1/2 - 2/pi
    # and E y^2 = 1/2, 1/4 - 2/pi + 1/2; E xy = 0, 1/2 - 2/pi.
    exact = [0.5, 1 + sd**2, 0.25, 0.625 - 1 / math.pi + sd**2, 0.25 - 1 / math.pi]
    for draws, mean in zip((x, x**2, y, y**2, x * y), exact, strict=True):
        assert abs(draws.mean() - mean) < 4 * draws.std() / math.sqrt(n)


def test_linear_gaussian_has_the_stated_joint_law():
    n, s2 = 50_000, 0.3
    W = torch.tensor([[1.0, -0.5], [0.3, 2.0], [0.0, 0.7]], dtype=torch.float64)
    b = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    x, z = data.linear_gaussian(n, W, b, s2, seed=0)
    joint = torch.cat([x - b, z], dim=1)  # (n, 5)
    exact = torch.eye(5, dtype=torch.float64)
    exact[:3, :3] = W @ W.T + s2 * torch.eye(3, dtype=torch.float64)
    exact[:3, 3:] = W
    exact[3:, :3] = W.T
    products = joint[:, :, None] * joint[:, None, :]  # (n, 5, 5)
    assert ((products.mean(0) - exact).abs() < 4 * products.std(0) / math.sqrt(n)).all()
    assert (joint.mean(0).abs() < 4 * joint.std(0) / math.sqrt(n)).all()


@pytest.mark.parametrize("seed", [0, 7])
def test_draws_depend_on_the_seed_and_not_on_the_global_generator(seed):
    W, b = torch.ones(2, 1), torch.zeros(2)
    torch.manual_seed(seed)
    state = torch.get_rng_state()
    moons, linear = data.moons(10, seed=seed), data.linear_gaussian(10, W, b, 1.0, seed=seed)
    torch.testing.assert_close(data.moons(10, seed=seed), moons, rtol=0, atol=0)
    torch.testing.assert_close(data.linear_gaussian(10, W, b, 1.0, seed=seed), linear)
    assert not torch.equal(data.moons(10, seed=seed + 1), moons)
    assert torch.equal(torch.get_rng_state(), state)
    assert moons.dtype == torch.float64 and linear[0].dtype == torch.float32  # as W


def test_impossible_draws_are_refused():
    W, b = torch.ones(2, 1), torch.zeros(2)
    with pytest.raises(ValueError, match="n=0 points"):
        data.moons(0, seed=0)
    with pytest.raises(ValueError, match=r"sd=-0\.1; legal: 0 or more"):
        data.moons(5, seed=0, sd=-0.1)
    with pytest.raises(ValueError, match=r"s2=-1\.0; legal: a variance"):
        data.linear_gaussian(5, W, b, -1.0, seed=0)


# --- digits


def same_images(ours: data.Images, name: str) -> None:
    for mine, theirs in zip(ours, yardstick.real(name), strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_digits_are_the_yardsticks_split():
    digits = data.digits()
    same_images(digits, "digits")
    assert digits.train.shape == (1347, 1, 8, 8) and digits.test.shape == (450, 1, 8, 8)
    levels = torch.cat([digits.train, digits.test]).unique() * (data.DIGIT_LEVELS - 1)
    assert levels.tolist() == list(range(17))


def test_digits_spoilt_by_a_reader_come_back_intact():
    data.digits().train.zero_()
    same_images(data.digits(), "digits")


def test_importing_the_module_imports_no_slow_library():
    slow = "{'sklearn', 'pooch', 'requests', 'matplotlib'}"
    code = f"import sys, course_utils.data, course_utils.shapes; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- MNIST and Fashion-MNIST: the real files, where they are


@pytest.mark.skipif(not os.environ.get("COURSE_DATA_DIR"), reason="COURSE_DATA_DIR is not set")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_published_archives_are_read_as_the_yardstick_reads_them(name):
    images = getattr(data, name)()
    same_images(images, name)
    assert images.train.shape == (60_000, 1, 28, 28) and images.test.shape == (10_000, 1, 28, 28)
    assert images.train.min() == 0 and images.train.max() == 1
    assert images.test_labels.bincount().numel() == 10


# --- MNIST and Fashion-MNIST: small planted archives, a folder or a server on this machine


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
        monkeypatch.setitem(data.ARCHIVES, "mnist", self.sums)

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
        monkeypatch.setitem(data.MIRRORS, "mnist", tuple(urls))
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
    said += [f"{mirror}{first}.gz" for mirror in data.MIRRORS["mnist"]]
    said += [sha(planted.packed[first][::-1])] if kind is ValueError else []
    assert [words for words in said if words not in str(caught.value)] == []
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_without_a_network_the_error_names_the_remedy(planted, cache, serve, monkeypatch):
    serve()
    monkeypatch.setitem(data.MIRRORS, "mnist", ("http://127.0.0.1:9/",))  # nobody listens
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
