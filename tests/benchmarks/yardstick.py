"""The yardstick: one fixed way to score generated images and 2-D samples, so that figures compare.

digits: scikit-learn's load_digits, 8x8, 17 levels, stratified split 1347 train / 450 test (seed 0).
fashion_mnist, mnist: IDX files of COURSE_DATA_DIR, 28x28, 256 levels.
Features: the 64-d penultimate layer of a small CNN trained once on the real training set with fixed
seeds (cached in YARDSTICK_CACHE, default ~/.cache/yardstick; digits takes about 10 CPU s,
fashion_mnist about 95). FD = Fréchet distance of features divided by the rms training standard
deviation, against the whole real test set, samples rounded to native levels. It depends on the
number of samples: compare only at equal N and print `floor(name, n)` beside it.

    python yardstick.py digits samples.npy     # samples: N x 1 x 8 x 8 (or N x 8 x 8) in [0, 1]
"""

import gzip
import math
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

CACHE = Path(os.environ.get("YARDSTICK_CACHE", Path.home() / ".cache" / "yardstick"))
LEVELS = {"digits": 17, "mnist": 256, "fashion_mnist": 256}
SIDE = {"digits": 8, "mnist": 28, "fashion_mnist": 28}


def real(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Train images, train labels, test images, test labels; images N x 1 x S x S in [0, 1]."""
    if name == "digits":
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        data = load_digits()
        xtr, xte, ytr, yte = train_test_split(
            data.images, data.target, test_size=450, random_state=0, stratify=data.target
        )
    else:
        folder = Path(os.environ["COURSE_DATA_DIR"]) / name

        def idx(stem: str, header: int) -> np.ndarray:
            return np.frombuffer(gzip.open(folder / f"{stem}.gz").read(), np.uint8, offset=header)

        xtr, xte = (
            idx(f"{part}-images-idx3-ubyte", 16).reshape(-1, 28, 28) for part in ("train", "t10k")
        )
        ytr, yte = (idx(f"{part}-labels-idx1-ubyte", 8) for part in ("train", "t10k"))

    def image(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(x, np.float32) / (LEVELS[name] - 1)).unsqueeze(1)

    def label(y: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(y, np.int64))

    return image(xtr), label(ytr), image(xte), label(yte)


class FeatureNet(nn.Module):
    def __init__(self, side: int):
        super().__init__()
        conv = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.ReLU())  # noqa: E731
        if side == 8:
            self.body = nn.Sequential(
                conv(1, 32),
                conv(32, 64),
                nn.MaxPool2d(2),
                conv(64, 64),
                nn.Flatten(),
                nn.Linear(64 * 16, 64),
            )
        else:
            self.body = nn.Sequential(
                conv(1, 32),
                nn.MaxPool2d(2),
                conv(32, 64),
                nn.MaxPool2d(2),
                conv(64, 64),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(64 * 9, 64),
            )
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def feature_net(name: str) -> FeatureNet:
    path = CACHE / f"{name}.pt"
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        net = FeatureNet(SIDE[name])
        if path.exists():
            net.load_state_dict(torch.load(path, weights_only=True))
            return net.eval()
        x, y, xte, yte = real(name)
        generator = torch.Generator().manual_seed(0)
        epochs, batch = (60, 64) if name == "digits" else (3, 128)
        steps = len(x) // batch
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, epochs * steps)
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=generator)[: steps * batch].view(
                steps, batch
            ):
                xb = x[rows] + 0.05 * torch.randn_like(x[rows]) * (name == "digits")
                loss = F.cross_entropy(net(xb), y[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        net.eval()
        with torch.no_grad():
            accuracy = (
                (torch.cat([net(b) for b in xte.split(1000)]).argmax(1) == yte).float().mean()
            )
        print(f"yardstick: feature net for {name}, test accuracy {accuracy:.4f}", file=sys.stderr)
    CACHE.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path)
    return net


@torch.no_grad()
def features(net: FeatureNet, x: torch.Tensor) -> np.ndarray:
    return torch.cat([net.body(b) for b in x.split(1000)]).double().numpy()


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    w, v = np.linalg.eigh(ca)
    root = (v * np.sqrt(np.clip(w, 0, None))) @ v.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cb @ root), 0, None)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * cross)


def prdc(true: np.ndarray, fake: np.ndarray, k: int = 5) -> dict[str, float]:
    """Precision, recall, density, coverage (Naeem et al. 2020)."""
    dist = lambda p, q: torch.cdist(torch.from_numpy(p), torch.from_numpy(q)).numpy()  # noqa: E731
    rr, ff, rf = dist(true, true), dist(fake, fake), dist(true, fake)
    rk, fk = np.sort(rr, 1)[:, k], np.sort(ff, 1)[:, k]
    return dict(
        precision=float((rf < rk[:, None]).any(0).mean()),
        recall=float((rf < fk[None]).any(1).mean()),
        density=float((rf < rk[:, None]).sum(0).mean() / k),
        coverage=float((rf.min(1) < rk).mean()),
    )


_context: dict[str, tuple] = {}


def _ctx(name: str) -> tuple:
    if name not in _context:
        xtr, _, xte, _ = real(name)
        net = feature_net(name)
        ftr, fte = features(net, xtr), features(net, xte)
        scale = float(np.sqrt(ftr.var(0).mean()))
        _context[name] = xtr, xte, net, ftr / scale, fte / scale, scale
    return _context[name]


def evaluate(name: str, samples: torch.Tensor) -> dict[str, float]:
    """FD, precision/recall/density/coverage, and nn_ratio.

    nn_ratio 1: as far from the training set as unseen real data; 0: copies.
    """
    xtr, xte, net, _, fte, scale = _ctx(name)
    x = samples.float().reshape(-1, 1, SIDE[name], SIDE[name]).clamp(0, 1)
    x = (x * (LEVELS[name] - 1)).round() / (LEVELS[name] - 1)
    f = features(net, x) / scale
    n = min(1000, len(f), len(fte))

    def nearest(q: torch.Tensor) -> torch.Tensor:
        return torch.cdist(q[:500].flatten(1), xtr[:20000].flatten(1)).min(1).values.median()

    return dict(
        N=len(f),
        FD=frechet(f, fte),
        **prdc(fte[:n], f[:n]),
        nn_ratio=float(nearest(x) / nearest(xte)),
    )


def floor(name: str, n: int, repeats: int = 5) -> float:
    """FD of n real training images: what a perfect generator would get."""
    _, _, _, ftr, fte, _ = _ctx(name)
    rng = np.random.default_rng(0)
    return float(
        np.median(
            [
                frechet(ftr[rng.choice(len(ftr), min(n, len(ftr)), replace=False)], fte)
                for _ in range(repeats)
            ]
        )
    )


class Mixture2D:
    """Equal-weight isotropic mixtures with exact density, denoiser and limits.

    Kinds: ring8, grid25 (narrow), ring8w, grid25w (wide).
    """

    def __init__(self, kind: str):
        angle, line = torch.arange(8) * math.pi / 4, torch.arange(-4.0, 5.0, 2.0)
        ring = torch.stack([2 * angle.cos(), 2 * angle.sin()], 1)
        self.mean = (ring if kind.startswith("ring") else torch.cartesian_prod(line, line)).double()
        self.sd = dict(ring8=0.02, grid25=0.05, ring8w=0.2, grid25w=0.3)[kind]

    def sample(self, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        k = torch.randint(len(self.mean), (n,), generator=generator)
        return (
            self.mean[k] + self.sd * torch.randn(n, 2, generator=generator, dtype=torch.float64)
        ).float()

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        v = self.sd**2
        return (
            torch.logsumexp(-(torch.cdist(x.double(), self.mean) ** 2) / (2 * v), 1)
            - math.log(len(self.mean))
            - math.log(2 * math.pi * v)
        )

    def entropy(self, n: int = 400_000) -> float:
        return float(-self.log_prob(self.sample(n, torch.Generator().manual_seed(1))).mean())

    def best_eps(self, xt: torch.Tensor, alpha_bar: float) -> torch.Tensor:
        """E[eps | x_t] for x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps."""
        a, s = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        v = (a * self.sd) ** 2 + s**2
        d = xt.double().unsqueeze(1) - a * self.mean
        w = torch.softmax(-(d**2).sum(-1) / (2 * v), 1)
        return (w.unsqueeze(-1) * d).sum(1) * s / v

    def bayes_eps_loss(self, alpha_bars, n: int = 20_000) -> float:
        """Smallest possible mean of ||eps - eps_theta||^2 / 2 over the given alpha_bar values."""
        generator = torch.Generator().manual_seed(2)
        total = 0.0
        for ab in alpha_bars:
            x0 = self.sample(n, generator).double()
            eps = torch.randn(n, 2, generator=generator, dtype=torch.float64)
            xt = math.sqrt(ab) * x0 + math.sqrt(1 - ab) * eps
            total += float(((self.best_eps(xt, float(ab)) - eps) ** 2).mean())
        return total / len(alpha_bars)

    def modes(self, x: torch.Tensor) -> dict[str, float]:
        """Modes found; high quality (hq) is within 3 sd of the nearest mode.

        A mode counts at >= 1 (modes) or >= 20 (modes20) such samples of 2,500.
        """
        d, k = torch.cdist(x.double(), self.mean).min(1)
        good = d < 3 * self.sd
        count = torch.bincount(k[good], minlength=len(self.mean))
        p = count / max(1, int(count.sum()))
        kl = float((p[p > 0] * (p[p > 0] * len(self.mean)).log()).sum())
        return dict(
            modes=int((count > 0).sum()),
            modes20=int((count >= 20).sum()),
            of=len(self.mean),
            hq=float(good.float().mean()),
            kl=kl,
        )


if __name__ == "__main__":
    name, path = sys.argv[1:3]
    x = torch.from_numpy(np.load(path))
    print(
        {k: round(v, 4) for k, v in evaluate(name, x).items()},
        "floor",
        round(floor(name, len(x)), 4),
    )
