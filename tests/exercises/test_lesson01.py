"""Lesson 01: right answers by other routes pass, every known mistake meets its own hint."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, rankdata
from sklearn.mixture import GaussianMixture

from course_utils.exercises import find
from course_utils.exercises.base import judge
from course_utils.exercises.lesson01_taxonomy import BRANCHES
from course_utils.observing import observe
from tests.exercises.harness import accepts, rejects

joint_to_conditionals, gmm_em_step, inpaint, anomaly_auc, classify_system = (
    find(f"01-e{number}").reference for number in range(1, 6)
)


def _mistakes(*pairs):
    return pytest.mark.parametrize(
        ("wrong", "hint"), pairs, ids=[getattr(wrong, "__name__", "") for wrong, _ in pairs]
    )


# 01-e1 joint_to_conditionals


def conditionals_in_numpy(counts):
    table = counts.numpy()
    return {
        "y": table.sum(1) / table.sum(),
        "x_given_y": table / table.sum(1, keepdims=True),
        "y_given_x": table / table.sum(0, keepdims=True),
    }


def conditionals_by_loops(counts):
    Y, X = counts.shape
    columns = [counts[:, x] / counts[:, x].sum() for x in range(X)]
    rows = [counts[y] / counts[y].sum() for y in range(Y)]
    y = torch.stack([row.sum() for row in counts]) / counts.sum()
    return {"y_given_x": torch.stack(columns, 1), "x_given_y": torch.stack(rows), "y": y}


@pytest.mark.parametrize("right", [conditionals_in_numpy, conditionals_by_loops])
def test_conditionals_by_another_route(right):
    accepts("01-e1", right)


def _conditionals(counts, **changed):
    return {**joint_to_conditionals(counts), **changed}


def _swapped(counts):
    found = joint_to_conditionals(counts)
    return {**found, "y_given_x": found["x_given_y"], "x_given_y": found["y_given_x"]}


def _the_joint_itself(counts):
    return _conditionals(counts, y_given_x=counts / counts.sum())


def _columns_even(counts):
    return _conditionals(counts, y_given_x=torch.full_like(counts, 1 / len(counts)))


def _softmax_of_counts(counts):
    return _conditionals(counts, y_given_x=counts.softmax(0))


def _rows_not_divided(counts):
    return _conditionals(counts, x_given_y=counts / counts.sum())


def _rows_by_the_wrong_sum(counts):
    return _conditionals(counts, x_given_y=counts / counts.sum(0))


def _marginal_of_x_means(counts):
    return _conditionals(counts, y=(counts / counts.sum()).mean(1))


def _marginal_of_conditionals(counts):
    return _conditionals(counts, y=(counts / counts.sum(0)).mean(1))


def _counts_not_divided(counts):
    return _conditionals(counts, y=counts.sum(1))


def _small_number_added(counts):
    return _conditionals(counts, x_given_y=counts / (counts.sum(1, keepdim=True) + 1e-8))


def _a_tuple(counts):
    return tuple(joint_to_conditionals(counts).values())


@_mistakes(
    (_swapped, "a column x is given"),
    (_the_joint_itself, "a column x is given"),
    (_columns_even, "a column x is given"),
    (_softmax_of_counts, "a column x is given"),
    (_rows_not_divided, "the row y is given"),
    (_rows_by_the_wrong_sum, "the row y is given"),
    (_marginal_of_x_means, "one number per row"),
    (_marginal_of_conditionals, "one number per row"),
    (_counts_not_divided, "The table may hold counts"),
    (_small_number_added, "a millionth"),
    (_a_tuple, "First the form"),
)
def test_conditionals_mistakes_meet_their_hint(wrong, hint):
    rejects("01-e1", wrong, hint)


# 01-e2 gmm_em_step


def em_in_numpy(x, weights, means, covs):
    X, K = x.numpy(), len(weights)
    laws = [multivariate_normal(means[k].numpy(), covs[k].numpy()) for k in range(K)]
    log = np.stack([law.logpdf(X).reshape(-1) for law in laws], 1) + np.log(weights.numpy())
    gamma = np.exp(log - np.logaddexp.reduce(log, axis=1, keepdims=True))
    new_means = np.stack([np.average(X, axis=0, weights=g) for g in gamma.T])
    new_covs = [np.cov(X.T, aweights=g, ddof=0).reshape(covs[0].shape) for g in gamma.T]
    return gamma.mean(0), new_means, np.stack(new_covs)


def em_by_a_loop(x, weights, means, covs):
    log = torch.stack(
        [
            w.log() + torch.distributions.MultivariateNormal(m, C).log_prob(x)
            for w, m, C in zip(weights, means, covs, strict=True)
        ],
        1,
    )
    gamma = (log - log.logsumexp(1, keepdim=True)).exp()
    new = []
    for g in gamma.T:
        m = g @ x / g.sum()
        new.append((g.mean(), m, ((x - m).T * g) @ (x - m) / g.sum()))
    return tuple(torch.stack(part) for part in zip(*new, strict=True))


def em_with_second_moments(x, weights, means, covs):
    """E[x x^T] - m m^T, of points moved to the origin first: rounding stays small."""
    _, m, _ = gmm_em_step(x, weights, means, covs)
    laws = torch.distributions.MultivariateNormal(means, covs)
    gamma = (weights.log() + laws.log_prob(x[:, None])).softmax(1)
    y = x - x.mean(0)
    second = torch.einsum("nk,ni,nj->kij", gamma, y, y) / gamma.sum(0)[:, None, None]
    y_mean = m - x.mean(0)
    return gamma.mean(0), m, second - y_mean[:, :, None] * y_mean[:, None]


@pytest.mark.parametrize("right", [em_in_numpy, em_by_a_loop, em_with_second_moments])
def test_em_by_another_route(right):
    accepts("01-e2", right)


def test_em_is_a_sweep_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    weights, means = torch.tensor([0.3, 0.7], dtype=torch.float64), x[:2]
    covs = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    theirs = GaussianMixture(
        2, weights_init=weights, means_init=means, precisions_init=covs, max_iter=1, reg_covar=0
    )
    with pytest.warns(match="did not converge"):
        theirs.fit(x.numpy())
    ours = gmm_em_step(x, weights, means, covs)
    for mine, their in zip(
        ours, (theirs.weights_, theirs.means_, theirs.covariances_), strict=True
    ):
        np.testing.assert_allclose(mine, their, rtol=1e-9)


def _step(x, weights, means, covs, gamma=None, around=None):
    """An EM step with other responsibilities, or with covariances around other means."""
    if gamma is None:
        laws = torch.distributions.MultivariateNormal(means, covs)
        gamma = (weights.log() + laws.log_prob(x[:, None])).softmax(1)
    size = gamma.sum(0)
    new_means = gamma.T @ x / size[:, None]
    apart = x - (new_means if around is None else around)[:, None]
    return size / len(x), new_means, (gamma.T[..., None] * apart).mT @ apart / size[:, None, None]


def _log_joint(x, weights, means, covs):
    laws = torch.distributions.MultivariateNormal(means, covs)
    return weights.log() + laws.log_prob(x[:, None])


def _hard(x, *mixture):
    log = _log_joint(x, *mixture)
    one_hot = torch.nn.functional.one_hot(log.argmax(1), log.shape[1]).double()
    return _step(x, *mixture, gamma=0.99 * one_hot + 0.01 / log.shape[1])  # so that none is empty


def _no_weights(x, weights, means, covs):
    even = torch.ones_like(weights)
    gamma = _log_joint(x, even, means, covs).softmax(1)
    return _step(x, weights, means, covs, gamma=gamma)


def _over_points(x, *mixture):
    return _step(x, *mixture, gamma=_log_joint(x, *mixture).softmax(0))


def _around_old_means(x, weights, means, covs):
    return _step(x, weights, means, covs, around=means)


def _diagonal(x, *mixture):
    w, m, C = gmm_em_step(x, *mixture)
    return w, m, C.diagonal(dim1=1, dim2=2).diag_embed()


def _unbiased(x, *mixture):
    w, m, C = gmm_em_step(x, *mixture)
    size = (w * len(x))[:, None, None]
    return w, m, C * size / (size - 1)


def _means_over_all(x, *mixture):
    w, m, C = gmm_em_step(x, *mixture)
    return w, m * w[:, None], C


def _old_weights(x, weights, means, covs):
    return weights, *gmm_em_step(x, weights, means, covs)[1:]


def _ridge_added(x, *mixture):
    w, m, C = gmm_em_step(x, *mixture)
    return w, m, C + 1e-4 * torch.eye(x.shape[1], dtype=x.dtype)


def _written_for_the_plane(x, *mixture):
    w, m, C = gmm_em_step(x, *mixture)
    keep = torch.zeros_like(C)
    keep[:, :2, :2] = C[:, :2, :2]
    return w, m, keep


def _probabilities(x, *mixture):
    joint = _log_joint(x, *mixture).exp()
    return _step(x, *mixture, gamma=joint / joint.sum(1, keepdim=True))


def _sizes_for_weights(x, *mixture):
    w, m, C = gmm_em_step(x, *mixture)
    return w * len(x), m, C


def _nothing_moves(x, *mixture):
    return mixture


def _two_of_three(x, *mixture):
    return gmm_em_step(x, *mixture)[:2]


@_mistakes(
    (_hard, "Responsibilities are fractions"),
    (_no_weights, "Responsibilities are fractions"),
    (_over_points, "the shares N_k / N"),
    (_old_weights, "Responsibilities are fractions"),
    (_nothing_moves, "Responsibilities are fractions"),
    (_sizes_for_weights, "the shares N_k / N"),
    (_means_over_all, "N_k, not N"),
    (_around_old_means, "Order: first the new means"),
    (_diagonal, "Order: first the new means"),
    (_unbiased, "Order: first the new means"),
    (_ridge_added, "Order: first the new means"),
    (_written_for_the_plane, "Other shapes"),
    (_probabilities, "exp(-1000)"),
    (_two_of_three, "First the form"),
)
def test_em_mistakes_meet_their_hint(wrong, hint):
    rejects("01-e2", wrong, hint)


# 01-e3 inpaint


def inpaint_in_numpy(joint, observed):
    table = joint.numpy()
    for axis, value in reversed(list(enumerate(observed))):
        if value is not None:
            table = np.take(table, value, axis=axis)
    return table / table.sum()


def inpaint_by_masks(joint, observed):
    for axis, value in enumerate(observed):
        if value is not None:
            keep = torch.zeros(joint.shape[axis], dtype=joint.dtype)
            keep[value] = 1
            joint = joint * keep.reshape([-1 if a == axis else 1 for a in range(joint.ndim)])
    seen = [axis for axis, value in enumerate(observed) if value is not None]
    slab = joint.sum(seen) if seen else joint
    return slab / slab.sum()


@pytest.mark.parametrize("right", [inpaint_in_numpy, inpaint_by_masks])
def test_inpaint_by_another_route(right):
    accepts("01-e3", right)


def _holes(observed):
    return [axis for axis, value in enumerate(observed) if value is None]


def _slab(joint, observed):
    return joint[tuple(slice(None) if value is None else value for value in observed)]


def _product(laws):
    found = torch.ones((), dtype=torch.float64)
    for law in laws:
        found = found[..., None] * law
    return found


def _single_conditionals(joint, observed):
    p = inpaint(joint, observed)
    if p.ndim != 2:
        return p
    return (p / p.sum(0)) * (p / p.sum(1, keepdim=True))


def _marginals(joint, observed):
    p = inpaint(joint, observed)
    others = [[a for a in range(p.ndim) if a != axis] for axis in range(p.ndim)]
    return _product([p.sum(rest) if rest else p for rest in others])


def _not_divided(joint, observed):
    return _slab(joint, observed).clone()


def _sums_over_the_seen(joint, observed):
    seen = [axis for axis, value in enumerate(observed) if value is not None]
    return joint.sum(seen) if seen else joint


def _most_probable(joint, observed):
    p = inpaint(joint, observed)
    return (p == p.max()).double() / (p == p.max()).sum()


def _keeps_the_seen(joint, observed):
    index = tuple(slice(None) if v is None else slice(v, v + 1) for v in observed)
    return joint[index] / joint[index].sum()


def _other_order(joint, observed):
    p = inpaint(joint, observed)
    return p.permute(*reversed(range(p.ndim)))


def _reads_the_first_value_only(joint, observed):
    first = next((axis for axis, value in enumerate(observed) if value is not None), None)
    rest = [axis for axis, value in enumerate(observed) if value is not None and axis != first]
    if first is None:
        return joint
    p = joint.select(first, observed[first])
    rest = [axis - (axis > first) for axis in rest]
    p = p.sum(rest) if rest else p
    return p / p.sum()


def _flat(joint, observed):
    return torch.full_like(inpaint(joint, observed), 1 / inpaint(joint, observed).numel())


def _zero_is_a_hole(joint, observed):
    index = tuple(slice(0, 1) if value == 0 else value for value in observed)
    index = tuple(slice(None) if value is None else value for value in index)
    return joint[index] / joint[index].sum()


def _something_seen_is_taken_for_granted(joint, observed):
    if not any(value is not None for value in observed):
        return torch.ones((), dtype=joint.dtype)
    return inpaint(joint, observed)


def _number_added(joint, observed):
    slab = _slab(joint, observed)
    return slab / (slab.sum() + 1e-12)


@_mistakes(
    (_single_conditionals, "Both pixels are missing at once"),
    (_marginals, "Both pixels are missing at once"),
    (_most_probable, "Both pixels are missing at once"),
    (_flat, "Both pixels are missing at once"),
    (_not_divided, "Divide by p(seen), which is the sum"),
    (_sums_over_the_seen, "which is the sum"),
    (_keeps_the_seen, "First the form"),
    (_other_order, "First the form"),
    (_zero_is_a_hole, "First the form"),
    (_reads_the_first_value_only, "selects a slab"),
    (_something_seen_is_taken_for_granted, "First the form"),
    (_number_added, "without adding anything"),
)
def test_inpaint_mistakes_meet_their_hint(wrong, hint):
    rejects("01-e3", wrong, hint)


# 01-e4 anomaly_auc


def auc_by_ranks(logp_in, logp_out):
    ranks = rankdata(np.concatenate([logp_in.numpy(), logp_out.numpy()]))
    n, m = len(logp_in), len(logp_out)
    return (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)


def auc_by_a_loop(logp_in, logp_out):
    won = [(a > b) + 0.5 * (a == b) for a in logp_in.tolist() for b in logp_out.tolist()]
    return sum(won) / len(won)


@pytest.mark.parametrize("right", [auc_by_ranks, auc_by_a_loop])
def test_auc_by_another_route(right):
    accepts("01-e4", right)


def _pairs(a, b):
    return a[:, None], b


def _sign(logp_in, logp_out):
    return 1 - anomaly_auc(logp_in, logp_out)


def _gini(logp_in, logp_out):
    return 2 * anomaly_auc(logp_in, logp_out) - 1


def _mean_difference(logp_in, logp_out):
    return (logp_in.mean() - logp_out.mean()).item()


def _side_by_side(logp_in, logp_out):
    n = min(len(logp_in), len(logp_out))
    return (logp_in[:n] > logp_out[:n]).double().mean().item()


def _against_the_mean(logp_in, logp_out):
    return (logp_in > logp_out.mean()).double().mean().item()


def _ties_lose(logp_in, logp_out):
    a, b = _pairs(logp_in, logp_out)
    return (a > b).double().mean().item()


def _ties_win(logp_in, logp_out):
    a, b = _pairs(logp_in, logp_out)
    return (a >= b).double().mean().item()


def _smooth(logp_in, logp_out):
    a, b = _pairs(logp_in, logp_out)
    return torch.sigmoid(50 * (a - b)).mean().item()


def _of_probabilities(logp_in, logp_out):
    return anomaly_auc(logp_in.exp(), logp_out.exp())


def _by_differences(logp_in, logp_out):
    a, b = _pairs(logp_in, logp_out)
    return ((a - b > 0).double() + 0.5 * (a - b == 0).double()).mean().item()


def _ties_by_closeness(logp_in, logp_out):
    a, b = _pairs(logp_in, logp_out)
    return ((a > b + 1e-9).double() + 0.5 * ((a - b).abs() <= 1e-9).double()).mean().item()


def _per_cent(logp_in, logp_out):
    return 100 * anomaly_auc(logp_in, logp_out)


@_mistakes(
    (_sign, "Low likelihood is the anomaly"),
    (_mean_difference, "Low likelihood is the anomaly"),
    (_per_cent, "Low likelihood is the anomaly"),
    (_gini, "Low likelihood is the anomaly"),
    (_ties_lose, "toss a coin"),
    (_ties_win, "toss a coin"),
    (_of_probabilities, "Compare the logarithms"),
    (_by_differences, "-inf minus -inf"),
    (_ties_by_closeness, "-inf minus -inf"),
)
def test_auc_mistakes_meet_their_hint(wrong, hint):
    rejects("01-e4", wrong, hint)


@pytest.mark.parametrize("wrong", [_side_by_side, _against_the_mean, _smooth])
def test_auc_of_fewer_pairs_is_refused(wrong):
    for seed in range(50):
        assert judge(find("01-e4"), wrong, observe, seed).status == "NOT YET"


# 01-e5 classify_system


def branch_by_questions(name):
    if name in {"GAN", "DCGAN", "WGAN", "StyleGAN"}:
        return "implicit, direct"
    if name in {"GSN", "Boltzmann machine"}:
        return ("explicit" if name[0] == "B" else "implicit") + ", Markov chain"
    latent = "VAE" in name or name == "DDPM"
    return "explicit, variational" if latent else "explicit, tractable"


def test_systems_by_another_route():
    accepts("01-e5", branch_by_questions)


def _unless(**other):
    names = {key.replace("_", " "): branch for key, branch in other.items()}
    return lambda name: names.get(name, classify_system(name))


gan_is_explicit = _unless(GAN="explicit, tractable", DCGAN="explicit, tractable")
pixels_are_variational = _unless(PixelCNN="explicit, variational")
autoregression_is_a_chain = _unless(FVBN="explicit, Markov chain", NADE="explicit, Markov chain")
flows_are_samplers = _unless(Glow="implicit, direct", NICE="implicit, direct")
vae_is_exact = _unless(VAE="explicit, tractable")
codes_are_exact = _unless(**{"VQ-VAE": "explicit, tractable"})
diffusion_is_a_chain = _unless(DDPM="implicit, Markov chain")
styles_are_latents = _unless(StyleGAN="explicit, variational")
boltzmann_is_exact = _unless(Boltzmann_machine="explicit, tractable")
gsn_has_a_density = _unless(GSN="explicit, Markov chain")
mixtures_are_bounded = _unless(Gaussian_mixture="explicit, variational")
own_words = _unless(GAN="implicit")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (gan_is_explicit, "Can you evaluate p(x)?"),
        (pixels_are_variational, "Can you evaluate p(x)?"),
        (autoregression_is_a_chain, "Can you evaluate p(x)?"),
        (flows_are_samplers, "change of variables"),
        (vae_is_exact, "change of variables"),
        (codes_are_exact, "change of variables"),
        (diffusion_is_a_chain, "whose encoder is fixed"),
        (styles_are_latents, "whose encoder is fixed"),
        (boltzmann_is_exact, "up to a constant Z"),
        (gsn_has_a_density, "up to a constant Z"),
        (mixtures_are_bounded, "a latent with K values"),
        (own_words, "First the form"),
    ],
)
def test_system_mistakes_meet_their_hint(wrong, hint):
    rejects("01-e5", wrong, hint)


# inputs stay as they are


def _divides_the_table_in_place(counts):
    counts /= counts.sum()
    return joint_to_conditionals(counts)


def _fills_in_place(joint, observed):
    slab = _slab(joint, observed)
    slab /= slab.sum()
    return slab


def _shifts_the_points(x, *mixture):
    x -= x.mean(0)
    return gmm_em_step(x, *mixture)


def _clamps_in_place(logp_in, logp_out):
    return anomaly_auc(logp_in.clamp_(min=-1e3), logp_out.clamp_(min=-1e3))


def test_an_input_changed_in_place_is_named():
    rejects("01-e1", _divides_the_table_in_place, "Work on a copy", most=3)
    rejects("01-e2", _shifts_the_points, "Work on a copy", most=3)
    rejects("01-e3", _fills_in_place, "Work on a copy", most=3)
    rejects("01-e4", _clamps_in_place, "Work on a copy", most=3)


# points without mathematics


CONSTANTS = {
    "01-e1": [
        lambda counts: {
            "y_given_x": torch.full((3, 4), 1 / 3),
            "x_given_y": torch.full((3, 4), 1 / 4),
            "y": torch.full((3,), 1 / 3),
        }
    ],
    "01-e2": [lambda x, w, m, C: (w, m, C), lambda x, w, m, C: (w * 0 + 1 / len(w), 0 * m, C)],
    "01-e3": [_flat, lambda joint, observed: 0.5],
    "01-e4": [lambda a, b, value=value: value for value in (0.0, 0.5, 1.0)],
    "01-e5": [lambda name, branch=branch: branch for branch in BRANCHES],
}


@pytest.mark.parametrize("exercise_id", CONSTANTS)
def test_a_constant_earns_hardly_a_point(exercise_id):
    exercise = find(exercise_id)
    for constant in CONSTANTS[exercise_id]:
        earned = [judge(exercise, constant, observe, seed).points for seed in range(5)]
        assert max(earned) <= 0.15 * exercise.points, earned
