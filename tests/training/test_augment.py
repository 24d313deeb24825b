from __future__ import annotations

import torch

from alloysort_training.augment import augment, cut_range, shift, turn
from alloysort_training.config import Augmentation
from alloysort_training.prepared import Batch

NONE = Augmentation(
    crop=0,
    gap=0,
    shift_channels=0,
    gain=0,
    noise=0,
    colour=0,
    brightness=0,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_batch(pieces: int = 400, channels: int = 128) -> Batch:
    generator = seeded(9)
    return Batch(
        image=torch.randint(256, (pieces, 8, 8, 3), generator=generator).to(torch.uint8),
        spectrum=100.0 * torch.rand(pieces, 2, channels, generator=generator),
        coverage=torch.ones(pieces, channels),
        present=torch.ones(pieces, 2),
        family=torch.arange(pieces) % 19,
        composition=torch.full((pieces, 13), float("nan")),
        shown=torch.ones(pieces),
        stranger=torch.zeros(pieces),
        layer=torch.zeros(pieces, dtype=torch.int64),
    )


def test_the_same_seed_gives_the_same_batch() -> None:
    first, second, other = (augment(make_batch(), Augmentation(), seeded(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first[:4], second[:4], strict=True))
    assert not torch.equal(first.spectrum, other.spectrum)


def test_with_everything_off_only_the_orientation_changes() -> None:
    batch = make_batch()
    same = augment(batch, NONE, seeded())
    torch.testing.assert_close(same.spectrum, batch.spectrum)
    assert torch.equal(same.coverage, batch.coverage)
    assert torch.equal(same.present, batch.present)
    assert torch.equal(same.image.sum(dim=(1, 2, 3)), batch.image.to(torch.float32).sum(dim=(1, 2, 3)))


def test_cutting_only_takes_away_and_leaves_enough() -> None:
    coverage = torch.ones(500, 256)
    coverage[:, :100] = 0.0
    cut = cut_range(coverage, Augmentation(crop=1.0, gap=1.0), seeded())
    assert ((cut == 0) | (coverage == 1)).all()
    assert (cut.sum(dim=1) >= 0.25 * coverage.sum(dim=1)).all()
    assert (cut.sum(dim=1) < coverage.sum(dim=1)).float().mean() > 0.8


def test_what_is_not_covered_is_zero() -> None:
    found = augment(make_batch(), Augmentation(), seeded())
    assert not (found.spectrum * (1 - found.coverage).unsqueeze(1)).any()


def test_a_shift_moves_a_line_by_at_most_what_is_told() -> None:
    spectrum = torch.zeros(300, 2, 64)
    spectrum[:, :, 32] = 1.0
    both = shift(spectrum, 2.0, seeded())
    torch.testing.assert_close(both[:, 0], both[:, 1])
    moved = both[:, 0]
    centre = (moved * torch.arange(64)).sum(dim=1) / moved.sum(dim=1)
    assert (centre - 32).abs().max() <= 2.0 + 1e-4
    assert centre.std() > 0.8
    torch.testing.assert_close(moved.sum(dim=1), torch.ones(300))


def test_pictures_are_turned_all_eight_ways() -> None:
    picture = torch.arange(16).reshape(4, 4, 1).expand(4, 4, 3).to(torch.uint8)
    turned = turn(picture.expand(200, 4, 4, 3), seeded())
    assert len({tuple(p.flatten().tolist()) for p in turned}) == 8
    assert (turned.sort(dim=1).values.sum(dim=(1, 2, 3)) == picture.sum()).all()
