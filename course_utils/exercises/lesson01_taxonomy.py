"""Exercise 01-e5: twenty systems and the branch of the taxonomy that each stands on."""

from collections.abc import Callable

import torch

from course_utils.exercises.base import Answer, Draw, Exercise, Form, Observe, Property
from course_utils.observing import Plain

Test = Callable[[Answer, Observe, Draw], str | None]
BRANCHES = (
    "explicit, tractable",
    "explicit, variational",
    "explicit, Markov chain",
    "implicit, direct",
    "implicit, Markov chain",
)


def classify_system(name: str) -> str:
    """The branch of the taxonomy that a system stands on; spell it as one of these five.

    "explicit, tractable": its own computation gives log p(x). "explicit, variational": p(x) is an
    integral over latents, of which it gives a bound. "explicit, Markov chain": p(x) up to a
    constant, learned and sampled by a chain. "implicit, direct": one pass draws a sample, and no
    density is given. "implicit, Markov chain": only a chain that ends in samples.

    Names: AR(p), FVBN, NADE, MADE, PixelRNN, PixelCNN, NICE, Glow, FFJORD, Gaussian mixture,
    VAE, hierarchical VAE, VQ-VAE, DDPM, Boltzmann machine, GAN, DCGAN, WGAN, StyleGAN, GSN.
    """
    branches = {
        "explicit, variational": ["VAE", "hierarchical VAE", "VQ-VAE", "DDPM"],
        "explicit, Markov chain": ["Boltzmann machine"],
        "implicit, direct": ["GAN", "DCGAN", "WGAN", "StyleGAN"],
        "implicit, Markov chain": ["GSN"],
    }
    found = [branch for branch, names in branches.items() if name in names]
    return found[0] if found else "explicit, tractable"


def _placed(*names: str) -> Test:
    """Each of these systems is put on its branch; they are asked in an order of their own."""

    def test(answer: Answer, observe: Observe, draw: Draw) -> str | None:
        for at in torch.randperm(len(names), generator=draw.generator).tolist():
            value: Plain = observe(answer, names[at]).value
            if value not in BRANCHES:
                return Form(f"you: {value!r} for {names[at]}, asked is one of {BRANCHES}")
            if value != classify_system(names[at]):
                return f"you: {names[at]} is {value!r}"
        return None

    return test


SYSTEMS = (
    Property(
        "autoregressive models against GANs",
        "Can you evaluate p(x)? Where every factor p(x_i | before) is a network's output, yes. "
        "Where noise passes through a generator, no: you can only draw.",
        _placed("FVBN", "NADE", "MADE", "PixelRNN", "PixelCNN", "GAN", "DCGAN"),
    ),
    Property(
        "flows against VAEs",
        "An invertible map gives p(x) by the change of variables. With a latent z that is summed "
        "out by an integral nobody can do, there is only a bound.",
        _placed("NICE", "Glow", "FFJORD", "VAE", "VQ-VAE"),
    ),
    Property(
        "diffusion against the later GANs",
        "A diffusion model is a hierarchical VAE whose encoder is fixed: training needs a bound. "
        "A larger GAN is still a GAN.",
        _placed("DDPM", "hierarchical VAE", "StyleGAN", "WGAN"),
    ),
    Property(
        "the two that need a Markov chain",
        "Both sample by a chain. One writes p(x) down up to a constant Z; the other has no formula "
        "for p(x), only the steps of the chain.",
        _placed("Boltzmann machine", "GSN"),
    ),
    Property(
        "the oldest ones",
        "A line of numbers with Gaussian noise, and a sum of K Gaussians: is anything left to "
        "bound or to approximate when you evaluate p(x)? Keep a latent with K values apart from "
        "one that needs an integral.",
        _placed("AR(p)", "Gaussian mixture", "VAE", "GAN"),
    ),
)

EXERCISES = (Exercise("01-e5", "Where does it stand?", 10, 1, SYSTEMS, classify_system),)
