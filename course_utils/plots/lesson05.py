"""Figures of lesson 05, the ELBO."""

from statistics import NormalDist

import numpy as np

from course_utils.plots import base
from course_utils.plots.base import BOUND, DATA, EXACT, GREY, MODEL, PINK, Picture, show, subplots

__all__ = ["show"]

W, S2, X = 2.0, 0.25, 3.0  # the model of the lesson: z ~ N(0, 1), x|z ~ N(Wz, S2)
LOG_P = -0.5 * (X**2 / (W**2 + S2) + np.log(2 * np.pi * (W**2 + S2)))
POST_MEAN, POST_VAR = W * X / (W**2 + S2), S2 / (W**2 + S2)

_quantile = NormalDist().inv_cdf
CLUSTERS = np.array(  # 200 numbers: quantiles of N(-1.5, 0.6^2) and of N(1, 0.9^2)
    [-1.5 + 0.6 * _quantile((i + 0.5) / 140) for i in range(140)]
    + [1.0 + 0.9 * _quantile((i + 0.5) / 60) for i in range(60)]
)
# Invented: how often 0, 1, ..., 5 heads come up in 1,000 tosses of five coins that stick together.
COIN_COUNTS = np.array([60.0, 110.0, 190.0, 240.0, 230.0, 170.0])


def cause_and_cloud(w1: float = 2.2, w2: float = 1.4) -> Picture:
    """Two pixels given three values of the cause, and with the cause free."""
    rng = np.random.default_rng(0)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4.4, sharex=True, sharey=True)
    for z, colour in ((-1.5, DATA), (0.0, BOUND), (1.5, PINK)):
        cloud = np.outer([w1, w2], [z] * 150) + 0.5 * rng.standard_normal((2, 150))
        left.scatter(*cloud, s=12, color=colour, alpha=0.7, label=f"z = {z:g}")
    free = np.outer([w1, w2], rng.standard_normal(600)) + 0.5 * rng.standard_normal((2, 600))
    right.scatter(*free, s=12, color=DATA, alpha=0.6)
    left.set(title="cause held still: round clouds", ylabel="pixel x2", xlabel="pixel x1")
    right.set(title="cause free: the pixels depend", xlabel="pixel x1", xlim=(-8, 8), ylim=(-6, 6))
    left.legend(loc="upper left", markerscale=2)
    alt = (
        "Left: three round clouds of two pixels, one per value -1.5, 0, 1.5 of the cause. Right: "
        f"the cause is free and the cloud is long and tilted, covariance {w1 * w2:.2f}."
    )
    return Picture(fig, alt)


def monte_carlo(k: int = 10) -> Picture:
    """Histograms of p_hat over p(x) and of log p_hat, 2,000 repetitions of k prior draws."""
    z = base.normals(2000 * max(k, 400))[: 2000 * k].reshape(2000, k)
    exponent = -0.5 * (X - W * z) ** 2 / S2
    top = exponent.max(axis=1, keepdims=True)
    log_mean = top[:, 0] + np.log(np.exp(exponent - top).mean(axis=1))
    log_hat = log_mean - 0.5 * np.log(2 * np.pi * S2)
    ratio = np.exp(log_hat - LOG_P)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    filled = {"color": MODEL, "alpha": 0.6, "histtype": "stepfilled"}
    left.hist(np.clip(ratio, 0, 4), bins=np.linspace(0, 4, 41), **filled)
    left.axvline(1, color=EXACT, label="truth")
    left.axvline(ratio.mean(), color=MODEL, ls="--", label=f"mean {ratio.mean():.2f}")
    left.set(title=f"average of k = {k}", ylabel="repetitions of 2,000")
    left.set_xlabel("estimate / p(x) (all above 4 at 4)")
    right.hist(np.clip(log_hat, -12, 0), bins=np.linspace(-12, 0, 49), **filled)
    right.axvline(LOG_P, color=EXACT, label=f"truth {LOG_P:.2f}")
    mean = log_hat.mean()
    label = f"mean {mean:.2f}" + (" (off the axis)" if mean < -12 else "")
    right.axvline(max(mean, -12), color=MODEL, ls="--", label=label)
    right.set(title="its logarithm", xlabel="log of the estimate, nats (all below -12 at -12)")
    left.legend(loc="upper right")
    right.legend(loc="upper left")
    alt = (
        f"Left: histogram of 2,000 estimates of p(x) from k = {k} draws, mean {ratio.mean():.2f} "
        f"of the truth. Right: their logarithms, mean {mean:.2f}, truth {LOG_P:.2f} nats."
    )
    return Picture(fig, alt)


def three_bars(mean: float = 0.6, sd: float = 0.6) -> Picture:
    """Prior, posterior and q over z; beside them log p(x) = ELBO + gap as bars."""
    ratio = sd**2 / POST_VAR
    gap = 0.5 * (ratio - 1 - np.log(ratio) + (mean - POST_MEAN) ** 2 / POST_VAR)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4, width_ratios=[3, 2])
    z = np.linspace(-3, 3, 601)
    left.plot(z, base.normal(z, 0, 1), color=GREY, ls=":", label="prior p(z)")
    left.plot(z, base.normal(z, POST_MEAN, POST_VAR), color=EXACT, label="posterior p(z|x = 3)")
    left.plot(z, base.normal(z, mean, sd**2), color=MODEL, ls="--", label="our q(z)")
    left.set(xlabel="latent z", ylabel="density", ylim=(0, 2.6))
    left.set_title("q tries to be the posterior")
    left.legend(loc="upper left")
    right.bar([0, 1, 2], [LOG_P, LOG_P - gap, gap], color=[EXACT, BOUND, MODEL])
    right.axhline(LOG_P, color=EXACT, lw=1)
    right.axhline(0, color=GREY, lw=1)
    right.set_xticks([0, 1, 2], ["log p(x)", "ELBO", "gap"])
    right.set(ylabel="nats", ylim=(-30, 30), title="log p(x) = ELBO + gap")
    for place, value in enumerate([LOG_P, LOG_P - gap, gap]):
        if abs(value) > 26:  # the bar leaves the axis: say so upon it
            sign, text = np.sign(value), f"{value:.2f}\ncut"
            right.text(
                place, sign * 20, text, ha="center", va="center", color=base.PAPER, weight="bold"
            )
            right.plot(place, sign * 27, "^" if sign > 0 else "v", color=base.PAPER, ms=9)
            continue
        place_at = (place, value + (0.7 if value > 0 else -1.2))
        right.text(*place_at, f"{value:.2f}", ha="center", va="bottom" if value > 0 else "top")
    alt = (
        f"Left: prior, posterior and q = N({mean:.2f}, {sd:.2f}^2) over z. Right: bars of log p(x) "
        f"= {LOG_P:.2f}, ELBO = {LOG_P - gap:.2f} and gap = {gap:.2f} nats."
    )
    return Picture(fig, alt)


def log_weights(mean: float = 0.6, sd: float = 0.6) -> Picture:
    """Log w(z) = log p(z) p(x|z) / q(z) over z, thick where q has 95 % of its mass."""
    fig, ((ax,),) = subplots(width=9, height=3.6)
    z = np.linspace(-1.5, 3.5, 501)
    log_w = (
        np.log(base.normal(z, 0, 1)) - 0.5 * (X - W * z) ** 2 / S2 - 0.5 * np.log(2 * np.pi * S2)
    )
    log_w += 0.5 * (z - mean) ** 2 / sd**2 + 0.5 * np.log(2 * np.pi * sd**2)
    ratio = sd**2 / POST_VAR
    elbo = LOG_P - 0.5 * (ratio - 1 - np.log(ratio) + (mean - POST_MEAN) ** 2 / POST_VAR)
    here = np.abs(z - mean) < 1.96 * sd
    ax.plot(z, log_w, color=GREY, lw=1)
    ax.plot(z[here], log_w[here], color=MODEL, lw=5, label="log w(z), 95 % of q")
    ax.axhline(LOG_P, color=EXACT, label=f"log of the mean weight = log p(x) = {LOG_P:.2f}")
    shown = max(elbo, -29.0)
    ax.axhline(shown, color=BOUND, ls="--", label=f"mean of log w = ELBO = {elbo:.2f}")
    ax.set(xlabel="latent z", ylabel="log weight, nats", ylim=(-30, 16), xlim=(-1.5, 3.5))
    ax.set_title("weights that differ cost something")
    ax.legend(loc="upper left")
    alt = (
        f"Log weight over z for q = N({mean:.2f}, {sd:.2f}^2); log p(x) = {LOG_P:.2f} as a solid "
        f"line, the mean log weight, {elbo:.2f} nats, as a dashed line below it."
    )
    return Picture(fig, alt)


def em_sweeps(sweeps: int = 3) -> Picture:
    """The mixture after some sweeps of EM, and bound and evidence as they climb."""
    x, (weight, mean, var) = CLUSTERS, np.array([[0.5, 0.5], [-0.5, 0.5], [1.0, 1.0]])
    evidence, bound = [], []
    for sweep in range(sweeps + 1):
        joint = weight * base.normal(x[:, None], mean, var)  # (N, 2)
        if sweep:  # the bound with the q of before, the theta of now
            bound.append((r * (np.log(joint) - np.log(r))).sum(axis=1).mean())
        evidence.append(np.log(joint.sum(axis=1)).mean())
        r = joint / joint.sum(axis=1, keepdims=True)
        if sweep < sweeps:
            weight, total = r.mean(axis=0), r.sum(axis=0)
            mean = (r * x[:, None]).sum(axis=0) / total
            var = (r * (x[:, None] - mean) ** 2).sum(axis=0) / total
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    z = np.linspace(-4, 4, 401)
    shares, edges = np.histogram(x, bins=32, range=(-4, 4), density=True)
    left.stairs(shares, edges, fill=True, color=DATA, alpha=0.4, label="data")
    for k in range(2):
        left.plot(z, weight[k] * base.normal(z, mean[k], var[k]), color=MODEL, ls="--", lw=1.5)
    left.plot(
        z, (weight * base.normal(z[:, None], mean, var)).sum(axis=1), color=MODEL, label="model"
    )
    left.set(xlabel="x", ylabel="density", ylim=(0, 0.55), title=f"after {sweeps} sweeps")
    left.legend(loc="upper right")
    right.plot(evidence, "o", color=EXACT, ms=9, label="E step: bound = log-likelihood")
    after = np.arange(1, sweeps + 1)
    right.plot(after, bound, "^", color=BOUND, ms=9, label="M step: bound lifted")
    right.set(xlabel="sweep", ylabel="nats per point", ylim=(-2, -1.5), title="coordinate ascent")
    right.set_xticks(range(0, sweeps + 1, 1 + sweeps // 10))
    right.legend(loc="lower right")
    alt = (
        f"Left: histogram of 200 numbers in two clusters and the mixture after {sweeps} sweeps of "
        f"EM. Right: the log-likelihood climbs from {evidence[0]:.3f} to {evidence[-1]:.3f}."
    )
    return Picture(fig, alt)


def bound_against_k(ks: list[int], curves: dict[str, list[float]]) -> Picture:
    """What the importance-weighted bound lacks, over the number of weights, a curve per q."""
    fig, ((ax,),) = subplots(width=9, height=4)
    for (name, values), colour in zip(curves.items(), (GREY, MODEL, BOUND), strict=True):
        ax.plot(ks, values, "o-", color=colour, label=name)
    ax.set(xscale="log", yscale="log", xlabel="number of weights k")
    ax.set_ylabel("log p(x) - bound, nats")
    ax.set_xticks(ks, [str(k) for k in ks])
    ax.minorticks_off()
    ax.set_title("all reach the evidence, the better q far earlier")
    ax.legend(loc="upper right")
    ends = "; ".join(f"{name}: {v[0]:.2f} to {v[-1]:.4f}" for name, v in curves.items())
    return Picture(fig, f"log p(x) minus the bound falls as the weights grow in number. {ends}.")


def coin_fit(theta: float = 0.5) -> Picture:
    """Data and binomial model as bars; KL and minus the mean log-likelihood over theta."""
    data, heads = COIN_COUNTS / COIN_COUNTS.sum(), np.arange(6)
    choose = np.array([1, 5, 10, 10, 5, 1])

    def divergence(t: np.ndarray) -> np.ndarray:
        model = choose * t[..., None] ** heads * (1 - t[..., None]) ** (5 - heads)
        return (data * np.log(data / model)).sum(axis=-1)

    entropy = -(data * np.log(data)).sum()
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    model = choose * theta**heads * (1 - theta) ** (5 - heads)
    left.bar(heads - 0.2, data, width=0.4, color=DATA, label="data")
    left.bar(heads + 0.2, model, width=0.4, color=MODEL, label="model")
    left.set(xlabel="heads of five", ylabel="share", ylim=(0, 0.6), title=f"theta = {theta:.2f}")
    left.legend(loc="upper left")
    t, now = np.linspace(0.2, 0.9, 141), float(divergence(np.array(theta)))
    right.plot(t, divergence(t) + entropy, color=DATA, label="minus mean log-likelihood")
    right.plot(t, divergence(t), color=MODEL, label="KL(data || model)")
    right.plot([theta] * 2, [now, now + entropy], "o", color=EXACT, ms=9)
    right.set(xlabel="theta", ylabel="nats", ylim=(0, 4), title="one curve, shifted by H(data)")
    right.set_xlim(0.2, 0.9)
    right.legend(loc="upper center")
    alt = (
        f"Left: shares of 0 to 5 heads in the data and in a binomial model, theta = {theta:.2f}. "
        f"Right: the KL, here {now:.3f} nats, and {entropy:.3f} above it minus the log-likelihood."
    )
    return Picture(fig, alt)


def shortest_curve(steps: int = 0) -> Picture:
    """A wild curve from A to B after some gradient steps on its length."""
    x = np.linspace(0, 1, 41)
    y = x + 0.4 * np.sin(3 * np.pi * x) + 0.08 * np.sin(17 * np.pi * x)
    lengths = []
    for _ in range(steps + 1):
        lengths.append(np.hypot(np.diff(x), np.diff(y)).sum())
        slope = np.diff(y) / np.hypot(np.diff(x), np.diff(y))
        y[1:-1] += 0.012 * np.diff(slope) * (len(lengths) <= steps)
    fig, ((left, right),) = subplots(1, 2, width=10, height=4)
    left.plot(x, x, color=EXACT, lw=1, label="straight line")
    left.plot(x, y, ".-", color=MODEL, label="our curve")
    left.plot([0, 1], [0, 1], "o", color=EXACT, ms=10)
    left.set(xlabel="x", ylabel="y", ylim=(-0.4, 1.4), title=f"after {steps} gradient steps")
    left.legend(loc="upper left")
    right.plot(lengths, color=MODEL)
    right.plot(steps, lengths[-1], "o", color=MODEL, ms=9)
    right.axhline(np.sqrt(2), color=EXACT, lw=1)
    right.set(xlabel="gradient step", ylabel="length", ylim=(1.2, 3.8), xlim=(-20, 2020))
    right.set_title(f"length {lengths[-1]:.4f}, shortest 1.4142")
    alt = (
        f"Left: a curve from (0, 0) to (1, 1) after {steps} gradient steps on its length, and the "
        f"straight line. Right: its length, now {lengths[-1]:.4f}; the shortest is 1.4142."
    )
    return Picture(fig, alt)


def free_form(places: np.ndarray, density: np.ndarray) -> Picture:
    """The heights of a free q on its grid of z, and the posterior."""
    fig, ((ax,),) = subplots(width=9, height=4)
    z = np.linspace(-1, 3, 401)
    ax.plot(z, base.normal(z, 0, 1), color=GREY, ls=":", label="start: the prior")
    ax.plot(z, base.normal(z, POST_MEAN, POST_VAR), color=EXACT, label="posterior")
    ax.plot(places, density, "o", color=MODEL, ms=6, label="57 free heights")
    ax.set(xlabel="latent z", ylabel="density", title="a function, varied until the bound is best")
    ax.legend(loc="upper left")
    return Picture(fig, "57 free heights of q over z lie on the bell of the posterior at 1.41.")


def mismatch(var: float = 0.9) -> Picture:
    """Log-likelihood and best bound over the weight w, with the variance of q frozen."""
    w = np.linspace(0, 2.5, 501)
    total = w**2 + 1
    log_lik = -0.5 * np.log(2 * np.pi * total) - 1 / total  # data of variance 2
    bound = log_lik - 0.5 * (var * total - 1 - np.log(var * total))
    best = np.sqrt(max(np.sqrt(2 / var) - 1, 0))
    fig, ((ax,),) = subplots(width=9, height=4.2)
    ax.fill_between(w, bound, log_lik, color=GREY, alpha=0.2, label="gap")
    ax.plot(w, log_lik, color=EXACT, label="log-likelihood, best at w = 1")
    ax.plot(w, bound, color=BOUND, label=f"bound, best at w = {best:.2f}")
    for place, curve, colour in ((1.0, log_lik, EXACT), (best, bound, BOUND)):
        foot = [np.interp(place, w, curve), -3]
        ax.plot([place] * 2, foot, "o:", color=colour, ms=10, lw=1, markevery=2)
    ax.set(xlabel="decoder weight w", ylabel="nats per point", ylim=(-3, -1.3), xlim=(0, 2.5))
    ax.set_title(f"variance of q frozen at {var:.2f}")
    ax.legend(loc="upper right")
    alt = (
        f"Log-likelihood over w with its peak at 1, and below it the bound with the variance of q "
        f"frozen at {var:.2f}, whose peak is at w = {best:.2f}."
    )
    return Picture(fig, alt)


def mean_field(angle: float = 30.0) -> Picture:
    """A tilted posterior of two latents and the best diagonal q, as 2-sd ellipses."""
    t, turn = np.radians(angle), np.linspace(0, 2 * np.pi, 200)
    columns = np.array([[1.5, 0.8 * np.cos(t)], [0.0, 0.8 * np.sin(t)]])
    precision = np.eye(2) + columns.T @ columns / S2
    diagonal = np.diag(precision)
    lost = 0.5 * (np.log(diagonal).sum() - np.linalg.slogdet(precision)[1])
    circle = 2 * np.stack([np.cos(turn), np.sin(turn)])
    posterior = np.linalg.cholesky(np.linalg.inv(precision)) @ circle
    fig, ((ax,),) = subplots(width=7, height=4.4)
    ax.plot(*posterior, color=EXACT, label="posterior")
    ax.plot(*(circle / np.sqrt(diagonal)[:, None]), color=MODEL, ls="--", label="best diagonal q")
    ax.set(xlabel="z1 - its mean", ylabel="z2 - its mean", xlim=(-2.5, 2.5), ylim=(-1.9, 1.9))
    ax.set_aspect("equal")
    ax.set_title(f"columns of W at {angle:g} degrees: gap {lost:.2f} nats")
    ax.legend(loc="upper right")
    alt = (
        f"Two-standard-deviation ellipses at {angle:g} degrees between the columns of W: a tilted "
        f"posterior and a smaller, upright q with the same centre; the gap is {lost:.2f} nats."
    )
    return Picture(fig, alt)
