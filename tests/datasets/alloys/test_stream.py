from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alloysort_datasets.alloys.contaminants import (
    CONTAMINANT_COLUMNS,
    FOREIGN,
    load_contaminants,
    read_contaminants,
    sample_contaminant,
)
from alloysort_datasets.alloys.registry import load_alloys
from alloysort_datasets.alloys.stream import MIXES, Material, sample_material, to_elements
from alloysort_datasets.errors import AlloyError
from alloysort_datasets.families import ALUMINIUM, ELEMENTS, FAMILIES
from alloysort_datasets.libs.atomic import atomic_data
from alloysort_datasets.piece import Piece

SILENT = {"As", "Br", "Hf", "Nb", "Se"}
CONTAMINANTS = pytest.mark.parametrize(
    "contaminant", load_contaminants().values(), ids=lambda c: c.designation
)


@CONTAMINANTS
def test_every_lot_sums_to_100_inside_its_limits(contaminant):
    rng = np.random.default_rng(0)
    for _ in range(20):
        composition = sample_contaminant(contaminant, rng)
        assert sum(composition.values()) == pytest.approx(100, abs=1e-9)
        assert min(composition.values()) >= 0
        for part, limit in contaminant.limits.items():
            if len(part) <= 2 and contaminant.family != "non-metal" and contaminant.balance in ELEMENTS:
                assert limit.allows(composition[part])


@CONTAMINANTS
def test_what_emits_nothing_is_known(contaminant):
    composition = sample_contaminant(contaminant, np.random.default_rng(0))
    assert set(composition) <= set(atomic_data().elements) | SILENT
    assert sum(composition.get(element, 0.0) for element in SILENT) < 15
    assert contaminant.source


@CONTAMINANTS
def test_every_source_says_whether_a_page_was_read(contaminant):
    assert "(page" in contaminant.source or "(memory)" in contaminant.source


@pytest.mark.parametrize(
    ("kinds", "residuals"),
    [
        ({"steel", "cast iron", "tool steel", "electrical steel", "manganese steel"}, {"Cu"}),
        ({"austenitic", "ferritic", "martensitic"}, {"Mo"}),
        ({"brass"}, {"Pb", "Fe"}),
        ({"die casting"}, {"Fe", "Cu"}),
    ],
)
def test_remelted_metal_carries_what_scrap_brings(kinds, residuals):
    rng = np.random.default_rng(0)
    members = [c for c in load_contaminants().values() if c.kind in kinds]
    silent = {c.designation for c in members if not residuals <= set(sample_contaminant(c, rng))}
    assert len(members) >= 10
    assert not silent


def test_lots_gather_in_the_typical_range_and_seldom_leave_it():
    rng = np.random.default_rng(0)
    stainless = load_contaminants()["304"]
    nickel = np.array([sample_contaminant(stainless, rng)["Ni"] for _ in range(1000)])
    usual = stainless.typical["Ni"]
    inside = (nickel >= usual.minimum) & (nickel <= usual.maximum)
    assert 0.85 < np.mean(inside) < 1
    assert np.std(nickel[inside]) > 0.05


def test_copper_and_brass_part_at_7_percent_zinc():
    rng = np.random.default_rng(0)
    for contaminant in load_contaminants().values():
        if contaminant.family in ("copper", "brass"):
            zinc = [sample_contaminant(contaminant, rng).get("Zn", 0.0) for _ in range(50)]
            assert all((amount > 7) == (contaminant.family == "brass") for amount in zinc)


@pytest.mark.parametrize(
    ("family", "element"),
    [
        ("copper", "Cu"),
        ("brass", "Cu"),
        ("zinc", "Zn"),
        ("magnesium", "Mg"),
        ("stainless", "Fe"),
        ("steel", "Fe"),
    ],
)
def test_families_are_what_they_are_called(family, element):
    rng = np.random.default_rng(0)
    for _ in range(100):
        composition = sample_material(rng, family=family).composition
        assert max(composition, key=composition.__getitem__) == element


def test_stainless_has_chromium_and_aluminium_is_nowhere_the_base():
    rng = np.random.default_rng(0)
    for family in FOREIGN:
        for _ in range(50):
            material = sample_material(rng, family=family)
            assert material.composition.get("Al", 0) < 30
            assert family != "stainless" or material.composition["Cr"] >= 10.5


def test_every_asked_for_material_is_there():
    asked = """C11000 CW024A C19400
        C26000 C36000 CW617N CW602N Zamak_2 Zamak_3 Zamak_5 Zamak_7 ZA-8 AZ91D AM60B
        AM50A AZ31B ZK60A 304 316L 430 409 201 2205 1008 S235JR 1045 4140 SAC305 Sn63Pb37 Ti_Gr2 Ti-6Al-4V
        Ni_200
        Monel_400 Inconel_625 Inconel_718 W-Ni-Fe WC-Co PCB_FR4 PE PP PVC wood granite brick concrete"""
    assert {name.replace("_", " ") for name in asked.split()} <= set(load_contaminants())
    metals = {c.kind for c in load_contaminants().values() if c.family == "other-metal"}
    assert {"lead", "tin", "cobalt", "chromium", "manganese", "vanadium", "molybdenum", "silver"} <= metals
    assert {c.family for c in load_contaminants().values()} == set(FOREIGN)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), family=st.sampled_from(FAMILIES))
def test_any_material_fits_a_piece(seed, family):
    material = sample_material(np.random.default_rng(seed), family=family)
    assert material.family == family
    assert sum(material.composition.values()) == pytest.approx(100, abs=1e-9)
    piece = Piece(
        "p",
        "s",
        "b",
        family=material.family,
        alloy=material.alloy,
        composition=to_elements(material.composition),
    )
    assert tuple(piece.composition) == ELEMENTS


def test_balanced_is_the_default_and_the_seed_decides():
    rng = np.random.default_rng(0)
    counts = Counter(sample_material(rng).family for _ in range(1900))
    assert set(counts) == set(FAMILIES)
    assert max(abs(counts[family] - 100) for family in FAMILIES) < 45
    first, second = (sample_material(np.random.default_rng(5)) for _ in range(2))
    assert (first.alloy, first.composition) == (second.alloy, second.composition)


def test_common_alloys_come_more_often():
    rng = np.random.default_rng(0)
    counts = Counter(sample_material(rng, family="7xxx").alloy for _ in range(300))
    assert counts.most_common(1)[0][0] == "7075"


@pytest.mark.parametrize("name", MIXES)
def test_mixes_name_every_family(name):
    assert set(MIXES[name]) == set(FAMILIES)
    assert min(MIXES[name].values()) > 0
    if name != "balanced":
        assert sum(MIXES[name].values()) == pytest.approx(100)


def test_twitch_keeps_the_limits_of_its_specification():
    twitch = MIXES["twitch"]
    assert twitch["zinc"] <= 1
    assert twitch["magnesium"] <= 1
    assert twitch["non-metal"] <= 2
    assert sum(twitch[family] for family in ALUMINIUM) > 95


def test_a_mix_leaves_out_what_it_does_not_name():
    rng = np.random.default_rng(0)
    drawn = {sample_material(rng, mix={"copper": 1, "zinc": 0, "brass": 3}).family for _ in range(50)}
    assert drawn == {"copper", "brass"}


@pytest.mark.parametrize(
    "mix",
    [{}, {"copper": 0}, {"copper": -1}, {"copper": float("nan")}, {"gold": 1}, {"gold": 0}, {"gold": -1},
     {"copper": float("inf")}, {"copper": 1e308, "zinc": 1e308}],
)  # fmt: skip
def test_impossible_mixes_are_refused(mix):
    with pytest.raises(AlloyError):
        sample_material(np.random.default_rng(0), mix=mix)


def test_named_alloys_and_families_must_agree():
    rng = np.random.default_rng(0)
    assert sample_material(rng, alloy="316L").family == "stainless"
    assert sample_material(rng, family="6xxx", alloy="6061").kind == "wrought"
    assert sample_material(rng, alloy="A380.0").kind == "cast"
    with pytest.raises(AlloyError, match="of family 6xxx, not 5xxx"):
        sample_material(rng, family="5xxx", alloy="6061")
    with pytest.raises(AlloyError, match="close to it: 316L"):
        sample_material(rng, alloy="316")
    with pytest.raises(AlloyError, match="family 'gold' is none of"):
        sample_material(rng, family="gold")
    assert not set(load_alloys()) & set(load_contaminants())


@pytest.mark.parametrize(
    ("family", "composition"),
    [
        ("gold", {"Al": 100.0}),
        ("6xxx", {"Al": 99.0}),
        ("6xxx", {"Al": 101.0, "Si": -1.0}),
        ("6xxx", {"Al": 99.0, "Xx": 1.0}),
        ("6xxx", {"Al": float("nan")}),
        ("6xxx", {}),
    ],
)
def test_material_refuses_nonsense(family, composition):
    with pytest.raises(AlloyError):
        Material(family, None, composition, "wrought")


def test_to_elements_restricts_and_fills():
    assert to_elements({"Al": 99.0, "Na": 0.5, "Cu": 0.5}) == {
        **dict.fromkeys(ELEMENTS, 0.0),
        "Al": 99.0,
        "Cu": 0.5,
    }


GOOD = ["X1", "copper", "copper", "1", "Cu", "Sn 1-2", "", "a page"]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("material", ""),
        ("family", "6xxx"),
        ("family", "gold"),
        ("kind", ""),
        ("source", ""),
        ("prevalence", "-1"),
        ("balance", "Qq"),
        ("balance", "Sn"),
        ("limits", "Sn about 2"),
        ("limits", "Sn+Pb<=3"),
        ("limits", "Sn 1-2 Pb<=98"),
        ("typical", "Sn 1-3"),
    ],
)
def test_a_contaminant_nobody_can_parse_is_named(tmp_path, column, text):
    path = tmp_path / "contaminants.csv"
    row = dict(zip(CONTAMINANT_COLUMNS, GOOD, strict=True))
    path.write_text("\n".join([",".join(row), ",".join(row.values())]), encoding="utf-8")
    assert list(read_contaminants(path)) == ["X1"]
    row[column] = text
    path.write_text("\n".join([",".join(row), ",".join(row.values())]), encoding="utf-8")
    with pytest.raises(AlloyError, match=r"contaminants\.csv"):
        read_contaminants(path)
