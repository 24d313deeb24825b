from __future__ import annotations

import pytest
import torch

from alloysort_models.bundle.inputs import VIEWS
from alloysort_models.network.sorter import Sorter
from alloysort_models.network.unfold import folded_weights, unfold

CHANNELS, SIZE, WIDTH = 256, 32, 0.25
Pieces = tuple[torch.Tensor, ...]


def make_pieces(seed: int, count: int = 64) -> Pieces:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (count, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    spectrum = torch.rand(count, VIEWS, CHANNELS, generator=generator) * 1000.0
    return image, spectrum, torch.ones(count, CHANNELS), torch.ones(count, 2)


@pytest.fixture
def trained() -> Sorter:
    """A network whose norms have seen something, and are not as they were drawn."""
    torch.manual_seed(3)
    sorter = Sorter(CHANNELS, SIZE, WIDTH)
    for module in sorter.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1.0, 0.3)
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
    sorter.train()
    for seed in range(20):
        sorter(*make_pieces(seed))
    return sorter.eval()


def test_unfolded_it_answers_as_it_did(trained: Sorter) -> None:
    again = Sorter(CHANNELS, SIZE, WIDTH)
    unfold(again, folded_weights(trained), [make_pieces(50), make_pieces(51)])
    unsettled = Sorter(CHANNELS, SIZE, WIDTH)
    unfold(unsettled, folded_weights(trained), [])
    pieces = make_pieces(99)
    torch.testing.assert_close(unsettled.eval()(*pieces), trained.eval()(*pieces), rtol=1e-3, atol=1e-3)
    for one, other in zip(trained.eval()(*pieces), again.eval()(*pieces), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_training_goes_on_from_there_and_not_from_somewhere_else(trained: Sorter) -> None:
    """In training a norm goes by its batch: only where it was set by such pieces do the answers stay."""
    again, careless = Sorter(CHANNELS, SIZE, WIDTH), Sorter(CHANNELS, SIZE, WIDTH)
    unfold(again, folded_weights(trained), [make_pieces(seed) for seed in range(50, 58)])
    unfold(careless, folded_weights(trained), [tuple(0 * tensor for tensor in make_pieces(0))])
    pieces = make_pieces(99, 512)
    wanted = trained.eval()(*pieces).logits
    near = (again.train()(*pieces).logits - wanted).abs().mean()
    far = (careless.train()(*pieces).logits - wanted).abs().mean()
    assert near < 0.2 * far


def test_weights_of_another_size_are_named(trained: Sorter) -> None:
    with pytest.raises(ValueError, match=r"position.0.weight is \(64, 128\), not \(64, 256\)"):
        unfold(Sorter(512, SIZE, WIDTH), folded_weights(trained), [])
    with pytest.raises(ValueError, match="no weight"):
        unfold(Sorter(CHANNELS, SIZE, WIDTH), {}, [])
