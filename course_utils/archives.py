"""The published archives of MNIST and Fashion-MNIST: found, downloaded, checked by their sums."""

import gzip
import hashlib
import os
import zlib
from pathlib import Path

# name: where the published archives are, tried in this order
MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion_mnist": (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
}
# name: {file: (sha256 of the published archive, sha256 of what is in it)}
ARCHIVES = {
    "mnist": {
        "train-images-idx3-ubyte": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        "train-labels-idx1-ubyte": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        "t10k-images-idx3-ubyte": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        "t10k-labels-idx1-ubyte": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        "train-labels-idx1-ubyte": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        "t10k-images-idx3-ubyte": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        "t10k-labels-idx1-ubyte": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    },
}


def content(name: str, file: str) -> bytes:
    """The decompressed, verified bytes of one archive, from COURSE_DATA_DIR, cache or network."""
    folder = os.environ.get("COURSE_DATA_DIR", "").strip()
    if not folder:
        return _cached(name, file)
    path = Path(folder).expanduser() / name / f"{file}.gz"
    remedy = "put the published archive there, or unset COURSE_DATA_DIR to have it downloaded"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing (COURSE_DATA_DIR={folder}); {remedy}")
    packed = path.read_bytes()
    content = _unpacked(packed, ARCHIVES[name][file])
    if content is None:
        raise ValueError(
            f"{path} is corrupted, truncated or another file ({len(packed)} bytes)\n"
            f"  expected sha256 {ARCHIVES[name][file][0]}\n"
            f"  found    sha256 {hashlib.sha256(packed).hexdigest()}\n  remedy: {remedy}"
        )
    return content


def _unpacked(packed: bytes, sums: tuple[str, str]) -> bytes | None:
    """What is in the archive, or None if that is not the published content."""
    try:
        content = gzip.decompress(packed)  # its sum also holds if someone compressed it again
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return None
    return content if hashlib.sha256(content).hexdigest() == sums[1] else None


def _cached(name: str, file: str) -> bytes:
    """One archive of the user's cache: pooch fetches it, whole, where it is missing or damaged."""
    import pooch
    from requests import RequestException

    path = Path(pooch.os_cache("generative-models-line-by-line")) / name / f"{file}.gz"
    expected = ARCHIVES[name][file][0]
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=15)
    failures: dict[str, Exception] = {}
    for url in (f"{mirror}{file}.gz" for mirror in MIRRORS[name]):
        try:
            pooch.retrieve(url, f"sha256:{expected}", path.name, path.parent, downloader=downloader)
        except (RequestException, ValueError) as error:
            failures[url] = error
        else:
            return gzip.decompress(path.read_bytes())
    wrong = [e for e in failures.values() if not isinstance(e, RequestException)]
    tried = "\n".join(f"  {url}: {error}" for url, error in failures.items())
    raise (ValueError if wrong else ConnectionError)(
        f"{path} could not be downloaded\n  expected sha256 {expected}\n{tried}\n"
        f"  remedy: try again with a network, or get the four archives elsewhere, put them into "
        f"a folder {name}/ and set COURSE_DATA_DIR to the folder above it"
    ) from (wrong or list(failures.values()))[-1]
