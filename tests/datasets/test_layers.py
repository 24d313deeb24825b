from itertools import pairwise

import numpy as np
import pytest

from alloysort_datasets.atomic import atomic_data
from alloysort_datasets.conditions import RANGES, draw_conditions
from alloysort_datasets.layers import LAYERS, METAL_MOL_CM3, Coat

BARE = {name: 0.0 for name in RANGES if name.endswith("_um") and name != "depth_um"}


def coat(**layers):
    return Coat(draw_conditions({"Al": 100}, np.random.default_rng(0), {**BARE, **layers}))


def metal_share(layers, shots, depth_um=3.0):
    return [layers.shares(shot * depth_um, (shot + 1) * depth_um)[-1] for shot in range(shots)]


def test_a_bare_metal_is_all_metal():
    metal = atomic_data().fractions({"Al": 100})
    assert coat().bare
    np.testing.assert_array_equal(coat().mix(metal, 0, 3), metal)


def test_a_thick_paint_hides_the_metal_and_shots_clear_it():
    shares = metal_share(coat(paint_um=60), 40)
    assert shares[0] == 0
    assert shares[-1] > 0.9
    assert (np.diff(shares) >= 0).all()


def test_a_thicker_layer_shows_the_metal_later():
    first = [np.argmax(np.array(metal_share(coat(paint_um=um), 60)) > 0.2) for um in (5, 20, 60, 120)]
    assert first == sorted(set(first))


def test_layers_come_from_the_outside_in():
    shares = coat(oil_um=20, paint_um=40, paint_white=1.0, zinc_um=200)
    names = [*LAYERS, "metal"]
    most = [names[int(np.argmax(shares.shares(d, d + 0.5)))] for d in (0, 3, 60, 2000)]
    assert most == ["oil", "white paint", "zinc", "metal"]


@pytest.mark.parametrize("depth_um", [0.5, 3.0, 50.0])
def test_all_shots_together_bring_up_all_of_the_crater(depth_um):
    """Atoms of the layer in the crater, of which shares were taken shot by shot."""
    layers = coat(zinc_um=2.6)
    steps = np.linspace(0, depth_um, 30)
    total = np.zeros(len(LAYERS) + 1)
    for low, high in pairwise(steps):
        total += layers.shares(low, high) * _atoms(layers, low, high)
    np.testing.assert_allclose(total / total.sum(), layers.shares(0, depth_um), atol=1e-9)


def _atoms(layers, low, high):
    """Atoms that a step brings up, from the share of a layer whose volume is known."""
    ease, thick = LAYERS["zinc"].ease, 2.6 / LAYERS["zinc"].ease
    data = atomic_data()
    density = (
        LAYERS["zinc"].density_g_cm3 / (data.fractions(dict(LAYERS["zinc"].wt_pct)) @ data.mass_u) * ease
    )

    def above(y):
        return y / 2 - max(y - thick, 0) ** 2 / (2 * y) if y else 0.0

    layer = above(high) - above(low)
    metal = (high - low) / 2 - layer
    return layer * density + metal * METAL_MOL_CM3
