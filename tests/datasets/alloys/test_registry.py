import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.alloys.registry import (
    ALLOY_TABLE,
    LIMIT_COLUMNS,
    PRACTICE_TABLE,
    Alloy,
    JointLimit,
    Limit,
    find_alloy,
    load_alloys,
    read_alloys,
)
from alloysort_datasets.errors import AlloyError
from alloysort_datasets.families import ALUMINIUM

SOURCE = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "alloys" / "alloy_limits.csv"
SOURCE_FAMILIES = {
    "cast3xx": {"cast-AlSiCu", "cast-AlSiMg"},
    "cast4xx": {"cast-AlSi"},
    "cast5xx": {"cast-AlMg"},
    "cast4xxxx": {"cast-AlSiCu", "cast-AlSiMg"},
}
DESIGN_FAMILIES = {
    "cast-AlSiCu": {"319.0", "A380.0", "383.0", "384.0", "B390.0", "ADC12", "EN AC-46000"},
    "cast-AlSiMg": {"356.0", "A356.0", "A357.0", "A360.0", "EN AC-42100", "EN AC-43500"},
    "cast-AlSi": {"A413.0", "443.0"},
    "cast-AlMg": {"514.0"},
}


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def edited(tmp_path, table, row, column, text):
    """A copy of a shipped table with one cell changed."""
    content = rows(table)
    next(line for line in content if line["alloy"] == row)[column] = text
    path = tmp_path / table.name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, content[0])
        writer.writeheader()
        writer.writerows(content)
    return path


@pytest.mark.skipif(not SOURCE.is_file(), reason="shared/data/alloys is not here")
def test_every_cell_agrees_with_the_shared_source():
    shipped = {row["alloy"]: row for row in rows(ALLOY_TABLE)}
    source = rows(SOURCE)
    assert [row["alloy"] for row in source] == list(shipped)
    for row in source:
        ours = shipped[row["alloy"]]
        for column in (*LIMIT_COLUMNS, "Al_min", "basis"):
            assert ours[column] == row[column], (row["alloy"], column)
        assert f"{ours['extra_limits']} {ours['remark']}".strip() == row["note"]
        assert ours["family"] in SOURCE_FAMILIES.get(row["family"], {row["family"]})


@pytest.mark.skipif(not SOURCE.is_file(), reason="shared/data/alloys is not here")
def test_every_cell_of_the_source_is_obeyed():
    """Reads the source by other means than the package does and compares the numbers."""
    for row in rows(SOURCE):
        alloy = find_alloy(row["alloy"])
        for element in LIMIT_COLUMNS:
            text = row[element]
            if "+" in text:
                names, _, maximum = text.partition("<=")
                assert JointLimit(tuple(names.split("+")), 0, float(maximum)) in alloy.joint_limits
                assert element not in alloy.limits
            elif text:
                low, _, high = text.rpartition("-")
                assert alloy.limits[element] == Limit(float(low or 0), float(high))
            else:
                assert element not in alloy.limits
        assert alloy.aluminium_min == (float(row["Al_min"]) if row["Al_min"] else None)


def test_families_are_those_of_the_design():
    by_family = {
        family: {a.designation for a in load_alloys().values() if a.family == family} for family in ALUMINIUM
    }
    assert {family: by_family[family] for family in DESIGN_FAMILIES} == DESIGN_FAMILIES
    for family in ALUMINIUM[:7]:
        assert by_family[family]
        assert all(name[0] == family[0] for name in by_family[family])
    assert len(load_alloys()) == 64


def test_limits_of_notes_are_parsed():
    assert find_alloy("1050").limits["V"] == Limit(0, 0.05)
    assert find_alloy("2219").limits["V"] == Limit(0.05, 0.15)
    assert find_alloy("A357.0").limits["Be"] == Limit(0.04, 0.07)
    assert {name: find_alloy("1350").limits[name] for name in ("Ga", "B")} == {
        "Ga": Limit(0, 0.03),
        "B": Limit(0, 0.05),
    }
    joints = {alloy.designation: alloy.joint_limits for alloy in load_alloys().values() if alloy.joint_limits}
    assert joints == {
        "1100": (JointLimit(("Si", "Fe"), 0, 0.95),),
        "1200": (JointLimit(("Si", "Fe"), 0, 1.0),),
        "1350": (JointLimit(("V", "Ti"), 0, 0.02),),
        "5754": (JointLimit(("Mn", "Cr"), 0.10, 0.6),),
        "6005A": (JointLimit(("Mn", "Cr"), 0.12, 0.50),),
        "7020": (JointLimit(("Zr", "Ti"), 0.08, 0.25),),
    }


def test_prose_stays_as_text():
    assert find_alloy("6082").note == "S9 prints Fe 0.05: typo"
    assert find_alloy("7020").note == "(memory)"
    assert Counter(bool(alloy.note) for alloy in load_alloys().values())[True] == 8


@pytest.mark.parametrize(
    ("row", "column", "text"),
    [
        ("6061", "Si", "0.4 - 0.8"),
        ("6061", "Mg", "about 1"),
        ("6061", "Zr", "<=0.05"),
        ("6061", "Si", "Si+Fe<=0.9"),
        ("6061", "Si", "Mn+Fe<=0.9"),
        ("1100", "Fe", "0.5"),
        ("1050", "Al_min", "99.5 min"),
        ("1050", "Al_min", "120"),
        ("1050", "extra_limits", "V<=0.05 typo"),
        ("1050", "extra_limits", "Si<=0.05"),
        ("1050", "extra_limits", "SiO2<=0.05"),
        ("1050", "remark", "V<=0.05"),
        ("1050", "remark", "V 0.05-0.15 (memory)"),
        ("1050", "remark", "see V<=0.05"),
        ("1050", "family", "cast3xx"),
        ("1050", "family", "copper"),
    ],
)
def test_a_cell_nobody_can_parse_is_named(tmp_path, row, column, text):
    path = edited(tmp_path, ALLOY_TABLE, row, column, text)
    with pytest.raises(AlloyError) as caught:
        read_alloys(path, PRACTICE_TABLE)
    assert all(part in str(caught.value) for part in ("alloys.csv", repr(row)))
    assert "column" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "text"),
    [("prevalence", "often"), ("prevalence", "0"), ("prevalence", "nan"), ("typical", "Si 0.1-0.9"),
     ("typical", "Sr 0.1-0.2"),
     ("typical", "Al 90-99"), ("typical", "Si+Fe<=0.5"), ("typical", "some Si")],
)  # fmt: skip
def test_practice_must_fit_the_limits(tmp_path, column, text):
    path = edited(tmp_path, PRACTICE_TABLE, "6061", column, text)
    with pytest.raises(AlloyError, match=f"alloy_practice.csv row '6061' column '{column}'"):
        read_alloys(ALLOY_TABLE, path)


def test_an_alloy_twice_or_in_one_table_only_is_refused(tmp_path):
    with pytest.raises(AlloyError, match="6060"):
        read_alloys(edited(tmp_path, ALLOY_TABLE, "6061", "alloy", "6060"), PRACTICE_TABLE)
    with pytest.raises(AlloyError, match="same alloys"):
        read_alloys(edited(tmp_path, ALLOY_TABLE, "6061", "alloy", "6099"), PRACTICE_TABLE)


def test_find_alloy_names_close_matches():
    assert find_alloy("6061") is load_alloys()["6061"]
    with pytest.raises(AlloyError, match=r"'A380' is unknown; close to it: A380\.0"):
        find_alloy("A380")
    with pytest.raises(AlloyError, match="known are: 1050"):
        find_alloy("unobtainium")


@given(st.text(max_size=12))
def test_find_alloy_raises_only_its_own_error(name):
    if name not in load_alloys():
        with pytest.raises(AlloyError):
            find_alloy(name)


def test_violations_name_what_is_broken():
    alloy = find_alloy("5754")
    good = {"Al": 96.5, "Mg": 3.0, "Mn": 0.3, "Fe": 0.2}
    assert alloy.contains(good)
    assert alloy.contains({"Mg": 3.0, "Mn": 0.3})
    assert alloy.violations({**good, "Mg": 3.7}) == ("Mg 3.7, allowed 2.6-3.6",)
    assert alloy.violations({**good, "Mn": 0.05}) == ("Mn+Cr 0.05, allowed 0.1-0.6",)
    assert alloy.violations({**good, "Sn": 0.06}) == ("Sn (others, each) 0.06, allowed <=0.05",)
    others = dict.fromkeys(("Sn", "Pb", "Ga", "V"), 0.04)
    assert alloy.violations(good | others) == ("others, total 0.16, allowed <=0.15",)
    assert find_alloy("1070").violations({"Al": 99.6, "Fe": 0.2}) == ("Al 99.6, allowed 99.7-100",)
    assert find_alloy("1070").contains({"Al": 99.7, "Fe": 0.25, "Si": 0.05})


def test_both_ends_of_a_limit_are_allowed():
    assert find_alloy("7020").contains({"Zn": 4.0, "Mg": 1.4, "Mn": 0.05, "Cr": 0.10, "Zr": 0.08, "Ti": 0.17})


@pytest.mark.parametrize("composition", [{"Xx": 1.0}, {"Si": -1.0}, {"Si": float("nan")}, {"Si": 101.0}])
def test_impossible_compositions_are_refused(composition):
    with pytest.raises(AlloyError):
        find_alloy("6061").contains(composition)


def test_an_alloy_of_ones_own():
    alloy = Alloy("house blend", "cast-AlSi", {"Si": Limit(10, 12)}, (JointLimit(("Cr", "V"), 0, 0.1),))
    assert alloy.limit("V") == Limit(0, 0.1)
    assert alloy.is_other("Fe")
    assert not alloy.is_other("V")
    assert alloy.contains({"Si": 11.0, "V": 0.09})
