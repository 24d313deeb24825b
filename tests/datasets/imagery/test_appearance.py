from __future__ import annotations

import numpy as np
import pytest

from alloysort_datasets.errors import TableError
from alloysort_datasets.families import ALUMINIUM, CAST_ALUMINIUM, FAMILIES
from alloysort_datasets.imagery.appearance import appearance, draw, parse_appearance
from alloysort_datasets.imagery.shapes.forms import FORMS
from alloysort_datasets.imagery.surfaces import FINISHES

TABLE = appearance()
LOOKS = {**TABLE.families, **TABLE.kinds}


@pytest.mark.parametrize("name", LOOKS)
def test_weights_sum_to_one_and_name_what_can_be_drawn(name: str) -> None:
    look = LOOKS[name]
    for chances in (look.forms, look.finishes, look.kinds):
        assert not chances or sum(chance.weight for chance in chances) == pytest.approx(1)
        assert all(chance.reason for chance in chances)
        assert len({chance.name for chance in chances}) == len(chances)
    assert {chance.name for chance in look.forms} <= set(FORMS)
    assert {chance.name for chance in look.finishes} <= set(FINISHES)


def test_alloys_name_forms_that_can_be_drawn() -> None:
    for narrowed in TABLE.alloys.values():
        assert {chance.name for chance in narrowed.forms} <= set(FORMS)


def test_every_form_and_finish_is_used() -> None:
    assert {chance.name for look in LOOKS.values() for chance in look.forms} == set(FORMS)
    assert {chance.name for look in LOOKS.values() for chance in look.finishes} == set(FINISHES)


def test_no_family_of_metal_has_one_shape_and_all_aluminium_is_the_same_metal() -> None:
    for family in FAMILIES[:-2]:
        assert len(TABLE.families[family].forms) >= 4
        assert max(chance.weight for chance in TABLE.families[family].forms) <= 0.6
    assert {TABLE.families[family].metal for family in ALUMINIUM} == {"aluminium"}


def test_cast_families_share_one_set_of_forms() -> None:
    assert len({frozenset(c.name for c in TABLE.families[family].forms) for family in CAST_ALUMINIUM}) == 1


def test_only_steel_rusts() -> None:
    rusty = {name for name, look in LOOKS.items() if "rusty" in {chance.name for chance in look.finishes}}
    assert rusty == {"steel"}


def test_draws_follow_the_weights() -> None:
    rng = np.random.default_rng(0)
    forms = TABLE.families["6xxx"].forms
    share = np.mean([draw(forms, rng) == "extrusion" for _ in range(4000)])
    assert share == pytest.approx(forms[0].weight, abs=0.03)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("not toml", "appearance.toml: "),
        ("[metals]", "families: Field required"),
        (
            '[metals]\n[families]\n[alloys]\n[kinds.x]\nforms=[{name="lump",weight=0.5,reason="r"}]',
            "kinds.x: .*weights of forms sum to 0.5000",
        ),
        ("[metals]\n[families]\n[alloys]\n[kinds]", "families must be those of alloysort"),
        (
            '[metals]\n[families]\n[kinds]\n[alloys.6063]\nforms=[{name="lump",weight=0.5,reason="r"}]',
            "alloys.6063: .*sum to 0.5",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_the_place(text: str, complaint: str) -> None:
    with pytest.raises(TableError, match=complaint):
        parse_appearance(text)
