from itertools import pairwise

import numpy as np
import pytest

from alloysort_datasets.libs.atomic import atomic_data
from alloysort_datasets.libs.conditions import RANGES, draw_conditions
from alloysort_datasets.libs.layers import LAYERS, METAL_MOL_CM3, STACK, Coat

BARE = {name: 0.0 for name in RANGES if name.endswith("_um") and name != "depth_um"}


def coat(**layers):
    conditions = draw_conditions({"Al": 100}, np.random.default_rng(0), {**BARE, **layers})
    return Coat(conditions, atomic_data().fractions({"Al": 100}))


def shares(layers, from_um, to_um):
    return layers.shares(np.atleast_1d(from_um).astype(float), np.atleast_1d(to_um).astype(float))


def metal_share(layers, shots, depth_um=3.0):
    return shares(layers, depth_um * np.arange(shots), depth_um * np.arange(1, shots + 1))[:, -1]


def elements(layers, from_um, to_um):
    """Element to number fraction, over a metal that is not there."""
    data = atomic_data()
    nothing = np.zeros((1, len(data.elements)))
    found = layers.mix(nothing, np.array([from_um]), np.array([to_um]))[0]
    return dict(zip(data.elements, found, strict=True))


def test_a_bare_metal_is_all_metal():
    metal = atomic_data().fractions({"Al": 100})
    assert coat().bare
    np.testing.assert_array_equal(coat().mix(metal[None], np.zeros(1), np.ones(1)), metal[None])


def test_a_thick_paint_hides_the_metal_and_shots_clear_it():
    metal = metal_share(coat(paint_um=60), 40)
    assert metal[0] == 0
    assert metal[-1] > 0.9
    assert (np.diff(metal) >= 0).all()


def test_a_thicker_layer_shows_the_metal_later():
    first = [np.argmax(np.array(metal_share(coat(paint_um=um), 60)) > 0.2) for um in (5, 20, 60, 120)]
    assert first == sorted(set(first))


def test_layers_come_from_the_outside_in():
    layers = coat(oil_um=20, paint_um=40, zinc_um=200)
    names = [*STACK, "metal"]
    most = [names[int(np.argmax(shares(layers, d, d + 0.5)))] for d in (0, 3, 60, 2000)]
    assert most == ["oil", "paint", "zinc", "metal"]


def test_a_paint_is_one_mixture_of_its_pigments_all_the_way_down():
    white, dark, grey = (coat(paint_um=100, paint_white=share) for share in (1.0, 0.0, 0.3))
    assert elements(white, 0, 1)["Ti"] > 0.01
    assert elements(dark, 0, 1)["Ti"] == 0
    assert elements(white, 0, 1)["C"] < elements(grey, 0, 1)["C"] < elements(dark, 0, 1)["C"]
    assert elements(grey, 0, 1) == pytest.approx(elements(grey, 4, 5))
    assert sum(elements(grey, 0, 1).values()) == pytest.approx(1)


def test_shots_are_alike_whether_asked_for_one_by_one_or_together():
    layers, bottoms = coat(oil_um=2, paint_um=30, oxide_um=0.1), np.linspace(0, 20, 9)
    together = shares(layers, bottoms[:-1], bottoms[1:])
    one_by_one = [shares(layers, low, high)[0] for low, high in pairwise(bottoms)]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12)
    np.testing.assert_allclose(together.sum(axis=1), 1)


@pytest.mark.parametrize("depth_um", [0.5, 3.0, 50.0])
def test_all_shots_together_bring_up_all_of_the_crater(depth_um):
    """Atoms of the layer in the crater, of which shares were taken shot by shot."""
    layers = coat(zinc_um=2.6)
    steps = np.linspace(0, depth_um, 30)
    total = np.zeros(len(STACK) + 1)
    for low, high in pairwise(steps):
        total += shares(layers, low, high)[0] * _atoms(low, high)
    np.testing.assert_allclose(total / total.sum(), shares(layers, 0, depth_um)[0], atol=1e-9)


def _atoms(low, high):
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


def test_an_anodic_film_holds_the_elements_of_its_alloy():
    conditions = draw_conditions({"Al": 100}, np.random.default_rng(0), {**BARE, "anodising_um": 20.0})
    names = list(atomic_data().elements)
    metal = atomic_data().fractions({"Al": 95, "Si": 2, "Cu": 2, "Mn": 1})
    found = Coat(conditions, metal).mix(np.zeros((1, len(names))), np.zeros(1), np.ones(1))[0]
    share = dict(zip(names, found / found[names.index("Al")], strict=True))
    alloy = dict(zip(names, metal / metal[names.index("Al")], strict=True))
    assert share["Si"] == pytest.approx(0.9 * alloy["Si"])
    assert 0 < share["Cu"] < 0.5 * alloy["Cu"]
    assert share["O"] > 1
    assert found.sum() == pytest.approx(1)
