"""Exercises of lesson 05, the ELBO: properties of a right answer, hints, references.

Those that draw samples (05-e3, 05-e5) are in lesson05_sampling.py.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.exercises.base import (
    Answer,
    Draw,
    Exercise,
    Observe,
    Property,
    differs,
    equals,
)


def log_evidence(x: Tensor, W: Tensor, s2: float) -> Tensor:
    """Log N(x; 0, W W^T + s2 I) in nats, one value per row of x (B, D).

    It is the exact log p(x) of the model z ~ N(0, I), x|z ~ N(Wz, s2 I) with W (D, K).
    """
    cov = W @ W.T + s2 * torch.eye(len(W), dtype=W.dtype)  # (D, D)
    squared_distance = (x * torch.linalg.solve(cov, x.T).T).sum(1)  # x^T cov^-1 x, (B,)
    log_det = torch.linalg.slogdet(cov).logabsdet
    return -0.5 * (squared_distance + log_det + x.shape[1] * math.log(2 * math.pi))


def elbo(x: Tensor, W: Tensor, s2: float, mean: Tensor, var: Tensor) -> Tensor:
    """E_q log p(x|z) - KL(q || N(0, I)) in nats, one value per row of x (B, D).

    z ~ N(0, I), x|z ~ N(Wz, s2 I) with W (D, K); q = N(mean, diag(var)), both (B, K).
    """
    squared_error = ((x - mean @ W.T) ** 2).sum(1) + var @ (W**2).sum(0)  # E_q |x - Wz|^2
    reconstruction = -0.5 * (squared_error / s2 + x.shape[1] * math.log(2 * math.pi * s2))
    kl = 0.5 * (mean**2 + var - 1 - var.log()).sum(1)
    return reconstruction - kl


def gap(x: Tensor, W: Tensor, s2: float, mean: Tensor, var: Tensor) -> Tensor:
    """KL(q || p(z|x)) in nats, one value per row of x (B, D): what the bound loses.

    z ~ N(0, I), x|z ~ N(Wz, s2 I) with W (D, K); q = N(mean, diag(var)), both (B, K).
    """
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / s2  # of p(z|x), (K, K)
    shift = mean - torch.linalg.solve(precision, W.T @ x.T / s2).T  # (B, K)
    trace = var @ precision.diagonal()  # (B,)
    log_dets = torch.linalg.slogdet(precision).logabsdet + var.log().sum(1)
    return 0.5 * (trace - W.shape[1] + ((shift @ precision) * shift).sum(1) - log_dets)


def route(letter: str) -> str:
    """The rule that makes a line true. Notation: w = p(z) p(x|z) / q(z|x) at a draw z ~ q(z|x).

    Lines, in no order:
      a: log E_q[w] >= E_q[log w]                   b: p(x) = p(z) p(x|z) / p(z|x)
      c: log p(x) = E_q[log p(x)]                   d: E_q[log q(z|x)/p(z|x)] = KL(q || p(z|x))
      e: E_q[log w] + KL(q || p(z|x)) >= E_q[log w] f: p(x) = ∫ p(z) p(x|z) dz
      g: log E_q[w] = E_q[log w], if q = p(z|x)     h: ∫ q(z|x) w dz = E_q[w]
      i: E_q[log w] = E_q[log p(x|z)] - E_q[log q(z|x)/p(z)]
      j: ∫ p(z) p(x|z) dz = ∫ q(z|x) p(z) p(x|z)/q(z|x) dz
      k: E_q[(w_1 + ... + w_n)/n] = p(x), where E_q[w_i] = p(x)
      l: E_q[log((w_1 + ... + w_n)/n)] <= log p(x)
    Rules: "Bayes", "definition of E", "definition of KL", "E of a constant", "Jensen", "KL >= 0",
      "linearity", "marginalise", "times one". A rule may serve twice.
    """
    rules = {"a": "Jensen", "b": "Bayes", "c": "E of a constant", "d": "definition of KL"}
    rules |= {"e": "KL >= 0", "f": "marginalise", "g": "E of a constant", "h": "definition of E"}
    rules |= {"i": "linearity", "j": "times one", "k": "linearity", "l": "Jensen"}
    return rules[letter]


def _problem(draw: Draw, K: int, W: float = 1, mean: float = 1, spread: float = 1) -> tuple:
    """x, W, s2, mean, var: B = 5, D = 3; 0 for W, mean, spread: W = 0, mean = 0, var = 1."""
    s2 = float(draw.uniform(0.3, 2.0))
    var = (spread * draw.uniform(-1.5, 0.7, 5, K)).exp()
    return draw.normal(5, 3), W * draw.normal(3, K), s2, mean * draw.normal(5, K), var


def _near_posterior(draw: Draw, shift: float = 0, widen: float = 1) -> tuple:
    """A problem with one latent and q = p(z|x), but for the shift and the wider variance."""
    x, W, s2, _, _ = _problem(draw, K=1)
    var = 1 / (1 + (W**2).sum() / s2)
    return x, W, s2, x @ W / s2 * var + shift, widen * var.expand(5, 1)


def _falls_with_noise_variance(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    x, W, s2, _, _ = _problem(draw, K=3, W=0)
    value = observe(answer, torch.cat([x, 0 * x]), W, s2).value
    if wrong := differs(value, torch.zeros(10), tolerance=math.inf):
        return wrong
    fall = torch.as_tensor(value)[5:] - torch.as_tensor(value)[:5]
    return differs(fall, (x**2).sum(1) / (2 * s2), "log p(0) - log p(x)")


def _evidence(x: Tensor, W: Tensor, s2: float, *_: object) -> Tensor:
    return log_evidence(x, W, s2)


EVIDENCE = (
    Property(
        "with W = 0 it falls with |x|^2 as noise of variance s2 does",
        "Set W = 0: the variance must be s2, neither its square nor its root; |x|^2 is halved; and "
        "the value is in nats: a logarithm, not the density.",
        _falls_with_noise_variance,
    ),
    Property(
        "with W = 0 and x = 0 it is the logarithm of the normalising constant",
        "Each of the D dimensions brings its log(2 pi) and its share of the log determinant.",
        equals(log_evidence, lambda d: (0 * d.normal(5, 3), *_problem(d, K=3, W=0)[1:3])),
    ),
    Property(
        "the covariance is that of x, not of z (checked with D = K)",
        "W^T W compares latents and has shape K x K; which product has shape D x D?",
        equals(log_evidence, lambda d: _problem(d, K=3)[:3]),
    ),
    Property(
        "is exact for one latent",
        "Right for D = K only: look for a K that should be D, the number of columns of x.",
        equals(log_evidence, lambda d: _problem(d, K=1)[:3]),
    ),
    Property(
        "is exact for more latents than dimensions",
        "W W^T + s2 I has full rank for any number of latents: what else was inverted?",
        equals(log_evidence, lambda d: _problem(d, K=5)[:3]),
    ),
    Property(
        "is finite and right in 200 dimensions",
        "The determinant of 200 dimensions is a product that leaves the range of floats: take the "
        "logarithm before its factors meet.",
        equals(log_evidence, lambda d: (d.normal(5, 200), 0.1 * d.normal(200, 2), 0.01)),
    ),
)

BOUND = (
    Property(
        "with W = 0 and q = N(0, I) it is log N(x; 0, s2 I)",
        "Here the KL is zero and z plays no part, only the noise is left. Is s2 a variance in your "
        "code, and does the normalising constant come once per dimension?",
        equals(elbo, lambda d: _problem(d, K=2, W=0, mean=0, spread=0)),
    ),
    Property(
        "a q whose mean is not 0 pays for it, even where W = 0",
        "The KL is a price: is it subtracted? Added, the bound lies above the evidence.",
        equals(elbo, lambda d: _problem(d, K=2, W=0, spread=0)),
    ),
    Property(
        "the price of a variance other than 1 is right",
        "var is a variance, neither a standard deviation nor a logarithm. Which terms of the KL "
        "contain it?",
        equals(elbo, lambda d: _problem(d, K=2, W=0, mean=0)),
    ),
    Property(
        "equals the evidence when q is the posterior",
        "E_q |x - Wz|^2 is more than |x - W mean|^2: z varies under q. Which trace term did the "
        "mean alone forget, and is it divided by s2?",
        equals(_evidence, _near_posterior),
    ),
    Property(
        "is exact for any diagonal q, K = 3",
        "Right for one latent, wrong for three: look at the sums over k and at the shapes.",
        equals(elbo, lambda d: _problem(d, K=3)),
    ),
)

GAP = (
    Property(
        "is zero when q is the posterior",
        "At q = p(z|x) nothing is lost. Off by the same number in every row? Look at the log "
        "determinants. By another in each? At the posterior's mean: its precision is the prior's "
        "plus what the data add; divide by s2 in the right places.",
        equals(gap, _near_posterior),
    ),
    Property(
        "grows with the square of a shift of the mean",
        "Same variance, shifted mean: half the squared shift, in units of the posterior's "
        "variance. And a KL is never negative.",
        equals(gap, lambda d: _near_posterior(d, shift=0.7)),
    ),
    Property(
        "is KL(q || p(z|x)), not KL(p(z|x) || q)",
        "Same mean, wider variance: the two directions differ. Average over q: it is q you sample.",
        equals(gap, lambda d: _near_posterior(d, widen=3)),
    ),
    Property(
        "is exact for correlated latents, K = 3",
        "With several latents the posterior is correlated though q is not: the diagonal of an "
        "inverse is not the inverse of the diagonal.",
        equals(gap, lambda d: _problem(d, K=3)),
    ),
)


INEQUALITIES, DISGUISED = "ael", "cgk"  # = or >=, and equalities that look like Jensen's
RULES = (
    *("Bayes", "definition of E", "definition of KL", "E of a constant", "Jensen", "KL >= 0"),
    *("linearity", "marginalise", "times one"),
)


def _rules(answer: Answer, observe: Observe, lines: str) -> dict[str, object]:
    return {line: observe(answer, line).value for line in lines}


def _names_a_rule(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for line, rule in _rules(answer, observe, "abcdefghijkl").items():
        if rule not in RULES:
            return f"line {line}: {rule!r} is not the name of a rule in the list"
    return None


def _relation_fits(answer: Answer, observe: Observe, draw: Draw) -> str | None:
    for line, rule in _rules(answer, observe, "abcdefghijkl").items():
        if (rule in ("Jensen", "KL >= 0")) != (line in INEQUALITIES):
            sign = "an inequality" if line in INEQUALITIES else "an equality"
            return f"line {line} is {sign}, {rule!r} is a rule for the other kind"
    return None


def _right(lines: str) -> Callable:
    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        said = _rules(answer, observe, lines)
        wrong = [line for line, rule in said.items() if rule != route(line)]
        return f"line {wrong[0]}: {said[wrong[0]]!r} is not what makes it true" if wrong else None

    return test


ROUTE = (
    Property(
        "every line gets the name of a rule in the list",
        "Return one of the nine names, spelled as in the list, for each of the lines a to l.",
        _names_a_rule,
    ),
    Property(
        "equalities get rules for equalities, inequalities get rules for inequalities",
        "Read the sign first: is it = or >= ? Two of the nine rules give an inequality.",
        _relation_fits,
    ),
    Property(
        "the three inequalities have their rule",
        "One rule moves a logarithm past an average; the other drops a term that cannot be "
        "negative. Which of them happens here?",
        _right(INEQUALITIES),
    ),
    Property(
        "equalities that look like Jensen's have their rule",
        "Before you average, ask what is random: does the thing inside depend on z at all? And is "
        "there a logarithm to move past?",
        _right(DISGUISED),
    ),
    Property(
        "the other equalities have their rule",
        "Say in words what changed from left to right: a factor, a name, a sum, or an integral?",
        _right("bdfhij"),
    ),
)

EXERCISES = (
    Exercise("05-e1", "The exact evidence", 10, 1, EVIDENCE, log_evidence),
    Exercise("05-e2", "The bound in closed form", 15, 2, BOUND, elbo),
    Exercise("05-e4", "What the bound loses", 15, 2, GAP, gap),
    Exercise("05-e6", "Name the rule", 10, 1, ROUTE, route),
)
