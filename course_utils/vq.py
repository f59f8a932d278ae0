"""Vector quantisation: an image is told in a few codes out of K, each code a vector of a codebook.

    k = argmin_k ||z - e_k||^2,    z_q = e_k,    x_hat = f(z_q),    z = g(x)

The encoder g gives a small grid of vectors z (B, D, H, W); each is replaced by the nearest of the K
rows of the codebook e (K, D). What is stored are the codes, whole numbers (B, H, W) in 0 .. K-1:
log2 K bits each under a uniform prior. Errors are per image, summed over its numbers.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from course_utils.tensors import same_shape, sum_per_example

Codes = Int[Tensor, "B H W"]


def nearest_code(z: Float[Tensor, "*N D"], codebook: Float[Tensor, "K _"]) -> Int[Tensor, "*N"]:
    """`argmin_k ||z - e_k||^2 = argmax_k (z^T e_k - ||e_k||^2 / 2)`, of vectors in z's last axis.

    Raises:
        ValueError: vectors of z and of the codebook have different lengths.

    Source: van den Oord et al. 2017, arXiv:1711.00937, eq. 1.
    """
    if z.shape[-1:] != codebook.shape[1:]:
        found, legal = tuple(z.shape), codebook.shape[1]
        raise ValueError(f"z {found}, codebook {tuple(codebook.shape)}; legal: z (..., {legal})")
    return (z @ codebook.T - codebook.square().sum(dim=1) / 2).argmax(dim=-1)


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """`z + sg[z_q - z]`: the value of z_q; its gradient goes to z as if nothing had happened.

    Biased: the true gradient of a quantised value is 0 almost everywhere.

    Raises:
        ValueError: different shapes.

    Source: Bengio et al. 2013, arXiv:1308.3432, section 4; van den Oord et al. 2017, section 3.2.
    """
    same_shape(z=z, z_q=z_q)
    return z + (z_q - z).detach()


def perplexity(codes: Int[Tensor, "*N"], K: int) -> Float[Tensor, ""]:
    """`exp(H(p))` of the use p of K codes, pooled over all entries: from 1 (one code) to K.

    Raises:
        ValueError: no codes, or one outside 0 .. K-1.

    Source: the codebook measure of van den Oord et al. 2017; H is the entropy in nats.
    """
    if codes.numel() == 0 or codes.min() < 0 or codes.max() >= K:
        raise ValueError(f"codes {tuple(codes.shape)} of K={K}; legal: at least one, in 0 .. K-1")
    use = torch.bincount(codes.flatten(), minlength=K).double() / codes.numel()
    return torch.exp(-torch.special.xlogy(use, use).sum())


class Codebook(nn.Module):
    """K vectors that follow the encoder's vectors by moving averages, without a gradient.

    For code k, with n_k vectors of a batch nearest to it and their sum s_k:
    `N_k <- decay N_k + (1 - decay) n_k,  m_k <- decay m_k + (1 - decay) s_k,  e_k = m_k / N_k`.
    At decay 0 this is a step of k-means. Codes that win nothing stay where they are (dead).

    Args:
        K: how many codes.
        D: numbers in a vector.
        decay: of the averages, in [0, 1).

    Raises:
        ValueError: an illegal argument.

    Source: van den Oord et al. 2017, arXiv:1711.00937, appendix A.1. Deviation: codes that are
    hardly used can be put back among the data (`restart`), as in Dhariwal et al. 2020,
    arXiv:2005.00341, section 3.1.
    """

    def __init__(self, K: int, D: int, decay: float = 0.97) -> None:
        super().__init__()
        if min(K, D) < 1 or not 0 <= decay < 1:
            raise ValueError(f"K={K}, D={D}, decay={decay}; legal: 1 or more, decay in [0, 1)")
        self.decay = decay
        self.register_buffer("e", torch.randn(K, D))
        self.register_buffer("count", torch.ones(K))
        self.register_buffer("total", self.e.clone())

    def codes(self, z: Float[Tensor, "B D H W"]) -> Codes:
        """The nearest code at every place."""
        return nearest_code(z.movedim(1, -1), self.e)

    def vectors(self, codes: Codes) -> Float[Tensor, "B D H W"]:
        """The codebook's vector at every place."""
        return self.e[codes].movedim(-1, 1)

    @torch.no_grad()
    def follow(self, z: Float[Tensor, "B D H W"], codes: Codes) -> None:
        """One step of the moving averages towards this batch."""
        flat, chosen, gain = z.movedim(1, -1).flatten(0, 2), codes.flatten(), 1 - self.decay
        used = torch.bincount(chosen, minlength=len(self.e)).to(z)
        self.count.mul_(self.decay).add_(used, alpha=gain)
        self.total.mul_(self.decay).index_add_(0, chosen, flat, alpha=gain)
        # A code that wins nothing keeps its place: count and total shrink alike.
        self.e.copy_(self.total / self.count.clamp(min=1e-20)[:, None])

    @torch.no_grad()
    def restart(
        self, z: Float[Tensor, "B D H W"], below: float = 0.3, rng: Generator | None = None
    ) -> int:
        """Codes with a count below `below` are put on vectors of this batch; how many they were."""
        dead = self.count < below
        flat = z.movedim(1, -1).flatten(0, 2)
        drawn = flat[torch.randint(len(flat), (len(self.e),), generator=rng).to(z.device)]
        self.total[dead], self.count[dead], self.e[dead] = drawn[dead], 1.0, drawn[dead]
        return int(dead.sum())


class Pass(NamedTuple):
    """One pass: encoder's vectors z, codebook's z_q (B, D, H, W), codes (B, H, W), x_hat."""

    z: Tensor
    z_q: Tensor
    codes: Tensor
    x_hat: Tensor


class VQVAE(nn.Module):
    """An autoencoder whose code is a grid of whole numbers.

    Args:
        encoder: images (B, C, H, W) to vectors (B, D, h, w).
        decoder: the way back.
        codebook: of vectors with D numbers.

    Source: van den Oord et al. 2017, arXiv:1711.00937.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, codebook: Codebook) -> None:
        super().__init__()
        self.encoder, self.decoder, self.codebook = encoder, decoder, codebook

    def forward(self, x: Float[Tensor, "B *image"]) -> Pass:
        """Encode, quantise, decode; the gradient of x_hat passes the codebook straight through."""
        z = self.encoder(x)
        codes = self.codebook.codes(z)
        z_q = self.codebook.vectors(codes)
        return Pass(z, z_q, codes, self.decoder(straight_through(z, z_q)))

    def encode(self, x: Float[Tensor, "B *image"]) -> Codes:
        """The codes of images."""
        return self.codebook.codes(self.encoder(x))

    def decode(self, codes: Codes) -> Float[Tensor, "B *image"]:
        """Images from codes."""
        return self.decoder(self.codebook.vectors(codes))


def vq_loss(seen: Pass, x: Float[Tensor, "B *image"], beta: float = 0.25) -> Float[Tensor, "B"]:
    """`||x - x_hat||^2 + beta ||z - sg[z_q]||^2`: error and commitment of each image.

    The codebook has no term: it follows by `Codebook.follow`. The squared error is -log p(x|z_q) of
    a Gaussian with variance 1/2, up to a constant.

    Raises:
        ValueError: x and x_hat have different shapes.

    Source: van den Oord et al. 2017, arXiv:1711.00937, eq. 3 and appendix A.1.
    """
    same_shape(x=x, x_hat=seen.x_hat)
    error = sum_per_example((x - seen.x_hat).square())
    return error + beta * sum_per_example((seen.z - seen.z_q.detach()).square())


def uniform_bits(codes: Codes, K: int) -> float:
    """`h w log2 K`: bits for the codes of one image when all K are equally likely everywhere.

    Source: van den Oord et al. 2017, arXiv:1711.00937, section 3.1.
    """
    return codes[0].numel() * math.log2(K)
