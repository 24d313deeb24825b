from __future__ import annotations

import torch

from alloysort_datasets.families import ELEMENTS
from alloysort_models.network.sorter import Outputs, composition_target
from alloysort_training.losses import composition_loss, family_loss, share_loss

SHAPE = (2, len(ELEMENTS))
HEAD = (2, len(ELEMENTS) + 1)


def make_outputs(mean: torch.Tensor, log_sigma: torch.Tensor) -> Outputs:
    return Outputs(torch.zeros(2, 19), mean, log_sigma, torch.zeros(2), torch.zeros(2), torch.zeros(2, 4))


def test_unknown_families_do_not_count() -> None:
    logits = torch.randn(3, 19, generator=torch.Generator().manual_seed(0))
    some = family_loss(logits, torch.tensor([4, -1, 7]), 0.02)
    torch.testing.assert_close(some, family_loss(logits[[0, 2]], torch.tensor([4, 7]), 0.02))
    assert family_loss(logits, torch.tensor([-1, -1, -1]), 0.02) == 0


def test_unknown_compositions_neither_count_nor_spoil_the_gradient() -> None:
    mean = torch.zeros(HEAD, requires_grad=True)
    truth = torch.full(SHAPE, torch.nan)
    assert composition_loss(make_outputs(mean, torch.zeros(HEAD)), truth) == 0
    truth[0, 1] = 1.0
    composition_loss(make_outputs(mean, torch.zeros(HEAD)), truth).backward()
    assert mean.grad is not None
    assert mean.grad.nonzero().tolist() == [[0, 1]]


def test_the_best_sigma_is_the_error() -> None:
    truth = torch.full(SHAPE, 3.0)
    off = composition_target(truth) + torch.tensor([[0.5], [-0.5]])
    log_sigma = torch.full(HEAD, 0.5).log().requires_grad_()
    composition_loss(make_outputs(off, log_sigma), truth).backward()
    assert log_sigma.grad is not None
    torch.testing.assert_close(log_sigma.grad, torch.zeros(HEAD), atol=1e-5, rtol=0.0)


def test_what_is_left_of_100_counts_only_where_all_else_is_known() -> None:
    truth = torch.full(SHAPE, 3.0)
    truth[1, 2] = torch.nan
    mean = torch.zeros(HEAD, requires_grad=True)
    composition_loss(make_outputs(mean, torch.zeros(HEAD)), truth).backward()
    assert mean.grad is not None
    assert mean.grad[0, -1] != 0
    assert mean.grad[1, -1] == 0


def test_unknown_shares_do_not_count() -> None:
    logits = torch.tensor([0.3, -2.0, 1.0], requires_grad=True)
    some = share_loss(logits, torch.tensor([0.7, torch.nan, 0.0]))
    torch.testing.assert_close(some, share_loss(logits[[0, 2]], torch.tensor([0.7, 0.0])))
    some.backward()
    assert logits.grad is not None
    assert logits.grad[1] == 0
    assert torch.isfinite(logits.grad).all()
    assert share_loss(logits, torch.full((3,), torch.nan)) == 0
