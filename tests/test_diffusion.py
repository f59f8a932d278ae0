"""Diffusion: closed forms, mixtures whose best denoiser is exact, and diffusers' schedulers."""

import math

import pytest
import torch
from torch import nn

from course_utils import diffusion
from course_utils.data import mixture
from course_utils.diffusion import NoiseSchedule
from course_utils.distributions import GaussianMixture, gaussian_kl, gaussian_log_prob
from course_utils.runtime import available_devices
from course_utils.schedules import at_time
from tests.conftest import require

f64 = torch.float64
STEEP = NoiseSchedule(torch.linspace(0.05, 0.6, 10, dtype=f64))
LINEAR = NoiseSchedule.linear(1000)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=f64)


def oracle(law: GaussianMixture, schedule: NoiseSchedule):
    """The best eps at a time shared by the batch; the times are those of `schedule`."""
    return lambda x, t: law.best_eps(x, schedule.alpha_bar[t[0]])


class Recorder:
    """A network that returns what it was told to, and remembers the times it was given."""

    def __init__(self, output=None):
        self.output, self.times = output, []

    def __call__(self, x, t):
        self.times.append(t.clone())
        return torch.zeros_like(x) if self.output is None else self.output


# ---- schedules


def test_the_tables_start_at_clean_data_and_end_in_noise():
    assert LINEAR.T == 1000 and len(LINEAR.alpha_bar) == 1001
    assert LINEAR.alpha_bar[0] == 1 and LINEAR.beta[0] == 0
    assert LINEAR.beta[1] == 1e-4 and LINEAR.beta[1000] == 0.02
    assert LINEAR.alpha_bar[1000].item() == pytest.approx(4.036e-5, rel=1e-3)  # the paper's setting
    assert LINEAR.beta_tilde[1] == 0 and (LINEAR.beta_tilde[1:] < LINEAR.beta[1:]).all()
    assert LINEAR.snr[0] == math.inf and (LINEAR.snr.diff()[1:] < 0).all()
    assert all(table.dtype == f64 for table in (LINEAR.beta, LINEAR.alpha, LINEAR.alpha_bar))


def test_the_cosine_schedule_has_the_papers_alpha_bar_until_it_is_clipped():
    schedule, s = NoiseSchedule.cosine(50), 0.008
    f = [math.cos((t / 50 + s) / (1 + s) * math.pi / 2) ** 2 for t in range(51)]
    torch.testing.assert_close(
        schedule.alpha_bar[:50], torch.tensor([v / f[0] for v in f[:50]], dtype=f64)
    )
    assert schedule.beta[50] == 0.999 and schedule.alpha_bar[50] > 0


@pytest.mark.parametrize("beta", [[], [0.1, 0.0], [0.1, 1.0], [-0.1], [math.nan]])
def test_an_illegal_beta_is_named(beta):
    with pytest.raises(ValueError, match="between 0 and 1"):
        NoiseSchedule(torch.tensor(beta))


@pytest.mark.parametrize(
    ("beta", "t"), [([1e-17, 0.1], 1), ([0.1, 1e-17], 2), ([0.999] * 200, 109)]
)
def test_a_beta_that_float64_cannot_tell_is_named(beta, t):
    with pytest.raises(ValueError, match=f"alpha_bar stays .* at t = {t}; legal: .* falls"):
        NoiseSchedule(beta)


def test_a_variance_of_zero_has_no_bound():
    x, t = torch.zeros(2, 3, dtype=f64), torch.tensor([2, 1])
    moments = diffusion.p_moments(STEEP, x, x, t, sigma2=STEEP.beta_tilde)
    with pytest.raises(ValueError, match=r"a variance of 0; legal: positive; .* 0 at t = 1"):
        diffusion.bound_term(STEEP, x, x, t, *moments)


@pytest.mark.parametrize("time", [[3], [0, 1], [2, 2], [-1, 4], [0.5, 2.0]])
def test_illegal_times_are_named(time, as_a_user):
    with pytest.raises(ValueError, match="2 increasing, positive"):
        NoiseSchedule([0.1, 0.2], torch.tensor(time))


def test_a_strided_schedule_has_the_same_marginals_and_tells_the_original_time():
    few = LINEAR.strided(7)
    assert few.T == 7 and few.time[0] == 0 and few.time[-1] == 1000
    torch.testing.assert_close(few.alpha_bar, LINEAR.alpha_bar[few.time])
    again = few.strided([2, 7])
    assert again.time.tolist() == [0, int(few.time[2]), 1000]
    torch.testing.assert_close(again.alpha_bar, LINEAR.alpha_bar[again.time])
    torch.testing.assert_close(LINEAR.strided(1000).beta, LINEAR.beta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [0, 11, [], [0, 3], [3, 3], [4, 2], [11]])
def test_illegal_strides_are_refused(steps):
    with pytest.raises(ValueError, match="legal"):
        STEEP.strided(steps)


# ---- kernels


def test_the_kernel_is_the_chain_of_its_steps():
    x, x0 = torch.full((200_000, 1), 1.5, dtype=f64), 1.5
    for t in range(1, 6):
        x = STEEP.alpha[t].sqrt() * x + STEEP.beta[t].sqrt() * draws(*x.shape, seed=t)
    mean, var = STEEP.alpha_bar[5].sqrt() * x0, 1 - STEEP.alpha_bar[5]
    assert abs(x.mean() - mean) < 4 * (var / len(x)).sqrt()
    assert abs(x.var() - var) < 4 * var * math.sqrt(2 / len(x))
    eps = draws(200_000, 1, seed=9)
    xt = diffusion.q_sample(STEEP, torch.full_like(x, x0), 5, eps)
    torch.testing.assert_close(xt, mean + var.sqrt() * eps)


def test_each_example_has_its_own_time_in_any_rank():
    t = torch.tensor([0, 1, 10])
    for event in ((), (2,), (3, 4, 4)):
        x0, eps = draws(3, *event), draws(3, *event, seed=1)
        xt = diffusion.q_sample(STEEP, x0, t, eps)
        for k in range(3):
            one = diffusion.q_sample(STEEP, x0[k : k + 1], int(t[k]), eps[k : k + 1])
            assert torch.equal(xt[k : k + 1], one)
        assert torch.equal(xt[0], x0[0])


def test_the_posterior_is_bayes_rule():
    """Conditioning the joint Gaussian of (x_{t-1}, x_t) given x_0."""
    x0, xt, t = 1.3, -0.4, 4
    alpha, alpha_bar, before = STEEP.alpha[t], STEEP.alpha_bar[t], STEEP.alpha_bar[t - 1]
    gain = alpha.sqrt() * (1 - before) / (1 - alpha_bar)
    mean = before.sqrt() * x0 + gain * (xt - alpha_bar.sqrt() * x0)
    var = (1 - before) - gain * alpha.sqrt() * (1 - before)
    found = diffusion.q_posterior(STEEP, torch.tensor([x0]).to(f64), torch.tensor([xt]).to(f64), t)
    torch.testing.assert_close(found, (mean[None], var[None]))


def test_the_slides_example_of_the_posterior():
    schedule = NoiseSchedule([0.1, 0.4])
    x0, x2 = torch.tensor([1.3], dtype=f64), torch.tensor([-0.4], dtype=f64)
    mean, var = diffusion.q_posterior(schedule, x0, x2, 2)
    assert mean.item() == pytest.approx(1.005068, abs=1e-6)
    assert var.item() == pytest.approx(0.086957, abs=1e-6)


def test_the_posterior_at_the_first_step_is_x0_itself():
    x0, x1 = draws(4, 2), draws(4, 2, seed=1)
    mean, var = diffusion.q_posterior(LINEAR, x0, x1, 1)
    torch.testing.assert_close(mean, x0, rtol=1e-9, atol=1e-10)
    assert (var == 0).all()


def test_x0_and_the_mean_follow_from_eps():
    x0, eps, t = draws(50, 2), draws(50, 2, seed=1), torch.arange(1, 51) * 20
    xt = diffusion.q_sample(LINEAR, x0, t, eps)
    torch.testing.assert_close(diffusion.predict_x0(LINEAR, xt, t, eps), x0)
    mean, _ = diffusion.q_posterior(LINEAR, x0, xt, t)
    torch.testing.assert_close(diffusion.mean_from_eps(LINEAR, xt, t, eps), mean)


def test_results_keep_the_dtype_of_x():
    x = draws(5, 2).float()
    t = torch.arange(1, 6)
    assert diffusion.q_sample(STEEP, x, t, x).dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in diffusion.q_posterior(STEEP, x, x, t))
    fine = diffusion.q_sample(LINEAR, x.double(), t, x.double())
    torch.testing.assert_close(diffusion.q_sample(LINEAR, x, t, x).double(), fine)


@pytest.mark.parametrize("t", [-1, 11, torch.tensor([-1, 3]), torch.tensor([3, 11])])
def test_a_time_that_is_not_there_is_named(t):
    with pytest.raises(ValueError, match="legal: 0 to 10"):
        diffusion.q_sample(STEEP, draws(2, 2), t, draws(2, 2))


def test_no_step_starts_at_time_zero():
    with pytest.raises(ValueError, match="legal: 1 to 10"):
        diffusion.q_posterior(STEEP, draws(2, 2), draws(2, 2), 0)


# ---- losses


def test_the_weight_of_a_term_is_that_of_its_kl():
    weight = diffusion.loss_weight(LINEAR, LINEAR.beta)
    assert weight[0] == 0 and (weight[1] / weight[1000]).item() == pytest.approx(49.0, abs=0.1)
    t, x0, eps, wrong = 300, draws(1, 2), draws(1, 2, seed=1), draws(1, 2, seed=2)
    xt = diffusion.q_sample(LINEAR, x0, t, eps)
    target, tilde = diffusion.q_posterior(LINEAR, x0, xt, t)
    mean = diffusion.mean_from_eps(LINEAR, xt, t, wrong)
    eye = torch.eye(2, dtype=f64)
    kl = gaussian_kl(target[0], tilde[0, 0] * eye, mean[0], LINEAR.beta[t] * eye)
    none = gaussian_kl(target[0], tilde[0, 0] * eye, target[0], LINEAR.beta[t] * eye)
    torch.testing.assert_close(kl - none, weight[t] * (eps - wrong).square().sum())


def test_a_term_of_the_bound_is_a_kl_or_at_the_end_a_log_density():
    x0, eps, t = draws(2, 3), draws(2, 3, seed=1), torch.tensor([1, 4])
    xt = diffusion.q_sample(STEEP, x0, t, eps)
    mean, var = draws(2, 3, seed=2), draws(2, 3, seed=3).exp()
    found = diffusion.bound_term(STEEP, x0, xt, t, mean, var)
    target, tilde = diffusion.q_posterior(STEEP, x0, xt, t)
    kl = gaussian_kl(target[1], tilde[1] * torch.eye(3).to(f64), mean[1], var[1].diag())
    density = gaussian_log_prob(x0[:1], mean[0], var[0].diag())
    torch.testing.assert_close(found, torch.stack([-density[0], kl]))


def test_the_bound_exceeds_the_negative_log_likelihood_of_a_model_with_a_closed_form():
    """Data N(0, .49), reverse means k_t x_t: the marginal of the chain is known."""
    schedule, ks, sigma2 = NoiseSchedule([0.2, 0.4, 0.6]), (0.8, 0.7, 0.5), (0.25, 0.3, 0.5)
    x0, bound = 0.7 * draws(200_000, 1), 0.0
    for t in (1, 2, 3):
        xt = diffusion.q_sample(schedule, x0, t, draws(200_000, 1, seed=t))
        times, var = torch.full((200_000,), t), torch.full_like(xt, sigma2[t - 1])
        bound = bound + diffusion.bound_term(schedule, x0, xt, times, ks[t - 1] * xt, var)
    a = schedule.alpha_bar[3]
    bound = bound + 0.5 * (a * x0[:, 0] ** 2 - a - (1 - a).log())
    spread = bound.std() / math.sqrt(len(bound))
    assert abs(bound.mean() - 1.118373) < 4 * spread + 1e-6  # lesson 12 has it in closed form
    assert bound.mean() > 1.085828


def test_the_simple_loss_of_the_best_network_is_the_floor():
    """E||eps - E[eps | x_t]||^2 = D - E||E[eps | x_t]||^2, and every other network loses."""
    law, n = mixture("ring8_wide"), 50_000
    x0 = law.sample(n, torch.Generator().manual_seed(0))
    eps, t = draws(n, 2, seed=1), torch.full((n,), 4)
    best = diffusion.simple_loss(oracle(law, STEEP), STEEP, x0, t, eps)
    xt = diffusion.q_sample(STEEP, x0, t, eps)
    floor = 2 - law.best_eps(xt, STEEP.alpha_bar[4]).square().sum(dim=1)
    error = (best - floor).std() / math.sqrt(n)
    assert best.shape == (n,) and abs((best - floor).mean()) < 4 * error
    worse = diffusion.simple_loss(lambda x, t: 0.9 * oracle(law, STEEP)(x, t), STEEP, x0, t, eps)
    assert (worse - best).mean() > 4 * (worse - best).std() / math.sqrt(n)


def test_losses_tell_the_network_its_time_and_refuse_another_shape():
    few, x0 = LINEAR.strided(4), draws(3, 2)
    network = Recorder()
    loss = diffusion.simple_loss(network, few, x0, torch.tensor([1, 2, 4]), x0)
    assert network.times[0].tolist() == [250, 500, 1000]
    torch.testing.assert_close(loss, x0.square().sum(dim=1))
    with pytest.raises(ValueError, match=r"\(3, 4\) for x \(3, 2\)"):
        diffusion.simple_loss(Recorder(draws(3, 4)), few, x0, torch.tensor([1, 2, 4]), x0)


def test_the_learned_variance_lies_between_the_two_choices_in_the_log():
    t = torch.tensor([1, 2, 10])
    ends = [diffusion.learned_log_var(STEEP, torch.full((3, 2), v, dtype=f64), t) for v in (0, 1)]
    torch.testing.assert_close(ends[1][:, 0], STEEP.beta[t].log())
    torch.testing.assert_close(ends[0][1:, 0], STEEP.beta_tilde[t[1:]].log())
    assert ends[0].isfinite().all()
    middle = diffusion.learned_log_var(STEEP, torch.full((3, 2), 0.5, dtype=f64), t)
    torch.testing.assert_close(middle, (ends[0] + ends[1]) / 2)
    assert diffusion.learned_log_var(NoiseSchedule([0.3]), torch.zeros(1, 1), 1).isfinite().all()


def test_the_hybrid_loss_adds_the_bound_and_lets_it_move_only_v():
    x0, noise, t = draws(4, 2), draws(4, 2, seed=1), torch.tensor([1, 3, 7, 10])
    eps_part = draws(4, 2, seed=2).requires_grad_()
    v_part = (0.1 * draws(4, 2, seed=3)).requires_grad_()

    def network(x, t):
        return torch.cat([eps_part, v_part], dim=1)

    plain = (noise - eps_part).square().sum(dim=1)
    loss = diffusion.hybrid_loss(network, STEEP, x0, t, noise, weight=0.5)
    xt = diffusion.q_sample(STEEP, x0, t, noise)
    log_var = diffusion.learned_log_var(STEEP, (v_part + 1) / 2, t)
    mean = diffusion.mean_from_eps(STEEP, xt, t, eps_part)
    term = diffusion.bound_term(STEEP, x0, xt, t, mean, log_var.exp())
    torch.testing.assert_close(loss, plain + 0.5 * 10 * term)
    to_eps, to_v = torch.autograd.grad(loss.sum(), (eps_part, v_part))
    torch.testing.assert_close(to_eps, torch.autograd.grad(plain.sum(), eps_part)[0])
    assert (to_v != 0).all()


# ---- Algorithm 2


def linear_eps(schedule: NoiseSchedule, variance: float):
    """E[eps | x_t] for N(0, variance): sqrt(1 - a) x_t / (a variance + 1 - a), a = alpha_bar."""
    a = schedule.alpha_bar
    slope = (1 - a).sqrt() / (a * variance + 1 - a)
    return lambda x, t: slope[t][:, None] * x


@pytest.mark.parametrize(
    ("sigma2", "expected"), [(STEEP.beta, 0.2563), (STEEP.beta_tilde, 0.1420), (None, 0.2563)]
)
def test_the_chain_with_the_exact_eps_has_the_variance_that_the_recursion_gives(sigma2, expected):
    """Data variance .25, ten steps: no noise at the last (with it .3063 for sigma^2 = beta)."""
    x = diffusion.sample(
        linear_eps(STEEP, 0.25),
        STEEP,
        (200_000, 1),
        sigma2=sigma2,
        rng=torch.Generator().manual_seed(0),
        dtype=f64,
    )
    found, table, a = 1.0, STEEP.beta if sigma2 is None else sigma2, STEEP.alpha_bar
    for t in range(10, 0, -1):
        k = (1 - STEEP.beta[t] / (a[t] * 0.25 + 1 - a[t])) / STEEP.alpha[t].sqrt()
        found = float(k**2 * found + (table[t] if t > 1 else 0))
    assert found == pytest.approx(expected, abs=5e-5)
    assert abs(x.var().item() - found) < 4 * found * math.sqrt(2 / len(x))


def test_the_last_step_is_the_mean_whatever_the_noise():
    x1, eps, z = draws(5, 2), draws(5, 2, seed=1), draws(5, 2, seed=2)
    found = diffusion.p_sample(STEEP, eps, x1, 1, z)
    assert torch.equal(found, diffusion.mean_from_eps(STEEP, x1, 1, eps))
    x0 = diffusion.predict_x0(STEEP, x1, 1, eps)
    torch.testing.assert_close(found, x0)  # the mean at t = 1 is the predicted x_0
    earlier = diffusion.p_sample(STEEP, eps, x1, 2, z)
    step = diffusion.mean_from_eps(STEEP, x1, 2, eps) + STEEP.beta[2].sqrt() * z
    torch.testing.assert_close(earlier, step)


def test_clipping_keeps_the_predicted_image_in_range():
    xt, eps = 3 * draws(50, 2), draws(50, 2, seed=1)
    x0 = diffusion.predict_x0(STEEP, xt, 5, eps)
    assert x0.abs().max() > 1
    mean, var = diffusion.p_moments(STEEP, eps, xt, 5, clip=1.0)
    torch.testing.assert_close(mean, diffusion.q_posterior(STEEP, x0.clamp(-1, 1), xt, 5)[0])
    wide, _ = diffusion.p_moments(STEEP, eps, xt, 5, clip=100.0)
    torch.testing.assert_close(wide, diffusion.mean_from_eps(STEEP, xt, 5, eps))
    assert var.flatten()[0] == STEEP.beta[5]


def test_a_network_with_v_decides_its_variance_unless_one_is_given():
    xt, eps = draws(4, 2), draws(4, 2, seed=1)
    for v, table in ((-1.0, STEEP.beta_tilde), (1.0, STEEP.beta)):
        output = torch.cat([eps, torch.full_like(eps, v)], dim=1)
        _, var = diffusion.p_moments(STEEP, output, xt, 6)
        torch.testing.assert_close(var, table[6].expand(4, 2))
        _, var = diffusion.p_moments(STEEP, output, xt, 6, STEEP.beta_tilde)
        assert var.flatten()[0] == STEEP.beta_tilde[6]
    with pytest.raises(ValueError, match=r"\(4, 3\) for x \(4, 2\)"):
        diffusion.p_moments(STEEP, draws(4, 3), xt, 6)


def test_many_steps_with_the_best_eps_sample_the_mixture():
    law = GaussianMixture(
        torch.tensor([0.3, 0.7], dtype=f64),
        torch.tensor([[-1.5], [1.0]], dtype=f64),
        torch.tensor([0.04, 0.09], dtype=f64),
    )
    schedule, rng = NoiseSchedule.linear(250, 4e-4, 0.08), torch.Generator().manual_seed(0)
    x = diffusion.sample(oracle(law, schedule), schedule, (4000, 1), rng=rng, dtype=f64)
    assert abs((x < -0.25).double().mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 4000) + 0.005
    exact = -law.log_prob(law.sample(4000, torch.Generator().manual_seed(1)))
    found = -law.log_prob(x)
    spread = math.hypot(float(found.std()), float(exact.std())) / math.sqrt(4000)
    assert abs(found.mean() - exact.mean()) < 4 * spread + 0.01


def test_fewer_steps_tell_the_network_the_original_times():
    network = Recorder()
    few = LINEAR.strided([100, 600, 1000])
    states = list(diffusion.trajectory(network, few, (2, 3, 4, 4)))
    assert [state.t for state in states] == [3, 2, 1, 0]
    assert [times.tolist() for times in network.times] == [[1000] * 2, [600] * 2, [100] * 2]
    assert all(state.x.shape == (2, 3, 4, 4) for state in states)


def test_the_same_seed_gives_the_same_samples_and_no_graph():
    network = nn.Linear(2, 2)
    one, two = (
        diffusion.sample(
            lambda x, t: network(x), STEEP, (3, 2), rng=torch.Generator().manual_seed(5)
        )
        for _ in range(2)
    )
    assert torch.equal(one, two) and not one.requires_grad


@pytest.mark.gpu
def test_on_an_accelerator_it_computes_what_it_computes_on_the_cpu():
    there = available_devices()[0]
    require("gpu", there != "cpu", "no accelerator")
    x, output, z, t = draws(4, 2).float(), draws(4, 4).float(), draws(4, 2).float(), 7
    times = torch.tensor([1, 2, 7, 10])
    step = diffusion.p_sample(STEEP, output.to(there), x.to(there), t, z.to(there))
    torch.testing.assert_close(step.cpu(), diffusion.p_sample(STEEP, output, x, t, z))
    xt = diffusion.q_sample(STEEP, x.to(there), times.to(there), z.to(there))
    torch.testing.assert_close(xt.cpu(), diffusion.q_sample(STEEP, x, times, z))
    arguments = {"shape": (3, 2), "rng": torch.Generator().manual_seed(0), "device": there}
    assert diffusion.sample(Recorder(), STEEP, **arguments).device.type == there


# ---- another library


def peer(schedule: NoiseSchedule, variance_type: str, clip: bool = False):
    """diffusers' DDPMScheduler with the same betas; its timestep is t - 1."""
    schedulers = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")
    return schedulers.DDPMScheduler(
        num_train_timesteps=schedule.T,
        trained_betas=schedule.beta[1:].tolist(),
        variance_type=variance_type,
        clip_sample=clip,
    )


def test_the_schedules_are_those_of_diffusers():
    schedulers = pytest.importorskip("diffusers.schedulers.scheduling_ddpm")
    for ours, name in (
        (LINEAR, "linear"),
        (NoiseSchedule.cosine(1000), "squaredcos_cap_v2"),
    ):
        theirs = schedulers.DDPMScheduler(beta_schedule=name).betas.double()
        torch.testing.assert_close(ours.beta[1:], theirs, rtol=1e-4, atol=1e-7)


def test_noising_is_that_of_diffusers():
    x0, eps, t = (
        draws(3, 1, 4, 4).float(),
        draws(3, 1, 4, 4, seed=1).float(),
        torch.tensor([1, 4, 10]),
    )
    theirs = peer(STEEP, "fixed_large").add_noise(x0, eps, t - 1)
    torch.testing.assert_close(diffusion.q_sample(STEEP, x0, t, eps), theirs)


@pytest.mark.parametrize("steps", [10, 4])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small", "learned_range"])
def test_a_step_of_the_sampler_is_that_of_diffusers(variance, clip, steps):
    """Every step of a whole and of a strided schedule, with the noise that they draw.

    Theirs asks whether the timestep is 0, so a strided last step gets noise too: not compared.
    """
    theirs = peer(STEEP, variance, clip)
    few = STEEP.strided(steps)
    theirs.set_timesteps(timesteps=(few.time[1:].flip(0) - 1).tolist())
    learned = variance == "learned_range"
    sigma2 = {"fixed_large": few.beta, "fixed_small": few.beta_tilde}.get(variance)
    last = 1 if variance != "fixed_small" and steps < STEEP.T else 0
    for t in range(steps, last, -1):
        xt, output = draws(2, 1, 4, 4, seed=t), draws(2, 2 if learned else 1, 4, 4, seed=20 + t)
        z = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(t), dtype=f64)
        mine = diffusion.p_sample(few, output, xt, t, z, sigma2, 1.0 if clip else None)
        rng = torch.Generator().manual_seed(t)
        step = theirs.step(output, int(few.time[t]) - 1, xt, generator=rng).prev_sample
        torch.testing.assert_close(mine, step, rtol=1e-5, atol=1e-5)


def test_whole_numbers_are_refused_as_their_coefficients_would_be_0():
    with pytest.raises(ValueError, match="legal: floating point"):
        at_time(NoiseSchedule.linear(10).alpha_bar, 5, torch.ones(2, 3, dtype=torch.long))
