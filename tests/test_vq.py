"""Vector quantisation: the lookup, the gradient that jumps over it, a codebook that follows."""

import math

import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn

from course_utils import vq


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_code_is_the_nearest():
    z, e = draws(5, 6, 3), draws(7, 3, seed=1)
    assert torch.equal(vq.nearest_code(z, e), torch.cdist(z.view(-1, 3), e).argmin(1).view(5, 6))
    e[2] *= 30  # a long code is far away, a dot product would choose it
    assert torch.equal(vq.nearest_code(z, e), torch.cdist(z.view(-1, 3), e).argmin(1).view(5, 6))


def test_straight_through_has_the_code_s_value_and_the_vector_s_gradient():
    z, z_q = draws(4, 3).requires_grad_(), draws(4, 3, seed=1).requires_grad_()
    out = vq.straight_through(z, z_q)
    torch.testing.assert_close(out, z_q)
    out.pow(2).sum().backward()
    torch.testing.assert_close(z.grad, 2 * z_q.detach())
    assert z_q.grad is None


def test_perplexity_counts_codes_in_use():
    assert vq.perplexity(torch.arange(8).view(2, 4), 8) == pytest.approx(8)
    assert vq.perplexity(torch.full((3, 4), 5), 8) == pytest.approx(1)
    assert vq.perplexity(torch.tensor([0, 0, 0, 0, 1, 1, 2, 3]), 9) == pytest.approx(2**1.75)


def test_without_a_memory_the_codebook_does_k_means():
    z = draws(1, 2, 30, 10)
    book = vq.Codebook(4, 2, decay=0.0)
    book.e.copy_(draws(4, 2, seed=1))
    flat = z.movedim(1, -1).reshape(-1, 2)
    theirs = KMeans(4, init=book.e.numpy(), n_init=1, max_iter=300, tol=0).fit(flat.numpy())
    for _ in range(300):
        book.follow(z, book.codes(z))
    torch.testing.assert_close(book.e, torch.tensor(theirs.cluster_centers_))


def test_a_code_that_wins_nothing_stays_and_is_restarted_among_the_data():
    book = vq.Codebook(3, 2, decay=0.9)
    book.e.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [90.0, 90.0]]))
    book.total.copy_(book.e)
    z = draws(4, 2, 5, 5)
    for _ in range(40):
        book.follow(z, book.codes(z))
    torch.testing.assert_close(book.e[2], torch.tensor([90.0, 90.0]))
    assert book.restart(z, below=0.3) == 1
    assert (z.movedim(1, -1).reshape(-1, 2) == book.e[2]).all(dim=1).any()
    assert book.restart(z, below=0.3) == 0


def small():
    return vq.VQVAE(nn.Conv2d(1, 2, 2, 2), nn.ConvTranspose2d(2, 1, 2, 2), vq.Codebook(5, 2))


def test_the_model_decodes_its_codes_to_what_a_pass_shows():
    model, x = small(), draws(3, 1, 4, 4)
    seen = model(x)
    assert torch.equal(seen.codes, model.encode(x)) and seen.codes.shape == (3, 2, 2)
    torch.testing.assert_close(model.decode(seen.codes), seen.x_hat)
    torch.testing.assert_close(seen.z_q, model.codebook.e[seen.codes].movedim(-1, 1))


def test_the_loss_is_error_and_commitment_and_trains_the_encoder():
    model, x = small(), draws(3, 1, 4, 4)
    seen = model(x)
    found = vq.vq_loss(seen, x, beta=0.5)
    error, away = x - seen.x_hat, seen.z - seen.z_q
    by_hand = error.pow(2).flatten(1).sum(1) + 0.5 * away.pow(2).flatten(1).sum(1)
    torch.testing.assert_close(found, by_hand)
    (error.pow(2).sum()).backward(retain_graph=True)
    assert model.encoder.weight.grad.norm() > 0  # the error alone reaches it
    with pytest.raises(ValueError, match=r"x \(3, 4, 4\)"):
        vq.vq_loss(seen, x[:, 0])


def test_bits_under_the_uniform_prior():
    assert vq.uniform_bits(torch.zeros(2, 4, 4, dtype=torch.long), 32) == pytest.approx(80)
    assert vq.uniform_bits(torch.zeros(2, 3, 1, dtype=torch.long), 5) == 3 * math.log2(5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: vq.nearest_code(draws(2, 3), draws(4, 2)), r"legal: z \(\.\.\., 2\)"),
        (lambda: vq.straight_through(draws(2, 3), draws(2, 1)), "legal: one shape"),
        (lambda: vq.perplexity(torch.tensor([0, 8]), 8), r"0 \.\. K-1"),
        (lambda: vq.perplexity(torch.tensor([], dtype=torch.long), 8), "at least one"),
        (lambda: vq.Codebook(0, 2), "1 or more"),
        (lambda: vq.Codebook(4, 2, decay=1.0), r"decay in \[0, 1\)"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
