import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.alloys.formulas import mass_fractions
from alloysort_datasets.alloys.limits import JointLimit, Limit, parse_limit, parse_limits
from alloysort_datasets.alloys.rows import parse_positive, read_rows
from alloysort_datasets.errors import AlloyError


@pytest.mark.parametrize(
    ("text", "limit"), [("0.25", Limit(0, 0.25)), ("11.0-13.5", Limit(11, 13.5)), ("5", Limit(0, 5))]
)
def test_parse_limit(text, limit):
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    "text", ["", "a", "0.5-", "-1", "0,25", "1-2-3", "<=3", "0.8-0.4", "101", "1e3", "nan"]
)
def test_parse_limit_refuses(text):
    with pytest.raises(AlloyError):
        parse_limit(text)


def test_parse_limits_reads_every_form():
    single, joint = parse_limits("Ga<=0.03 V 0.05-0.15 SiO2 70-74 V+Ti<=0.02 Mn+Cr 0.10-0.6")
    assert single == {"Ga": Limit(0, 0.03), "V": Limit(0.05, 0.15), "SiO2": Limit(70, 74)}
    assert joint == (JointLimit(("V", "Ti"), 0, 0.02), JointLimit(("Mn", "Cr"), 0.1, 0.6))
    assert parse_limits("") == ({}, ())


@pytest.mark.parametrize(
    "text",
    [
        "Ga<=",
        "Xx<=1",
        "Ga<=0.03,V<=1",
        "Ga <=1",
        "Ga<=1 Ga<=2",
        "V+V<=1",
        "V+<=1",
        "V+SiO2<=1",
        "V 2-1",
        " V<=1",
    ],
)
def test_parse_limits_refuses(text):
    with pytest.raises(AlloyError):
        parse_limits(text)


@given(st.text(max_size=30) | st.text("SiFeV+<=0123.- ", max_size=30))
def test_parsers_raise_only_their_own_error(text):
    for parse in (parse_limit, parse_limits, parse_positive, mass_fractions):
        with suppress(AlloyError):
            parse(text)


@given(low=st.floats(0, 100), high=st.floats(0, 100))
def test_printed_limits_are_read_back(low, high):
    low, high = sorted((round(low, 4), round(high, 4)))
    assert parse_limits(f"V {low:.4f}-{high:.4f}")[0] == {"V": Limit(low, high)}


@pytest.mark.parametrize("bounds", [(-1, 2), (3, 2), (0, 101), (math.nan, 1), (0, math.nan)])
def test_limit_must_make_sense(bounds):
    with pytest.raises(AlloyError):
        Limit(*bounds)


def test_mass_fractions():
    assert mass_fractions("Nb") == {"Nb": 1.0}
    silica = mass_fractions("SiO2")
    assert silica["Si"] == pytest.approx(0.4674, abs=1e-4)
    assert sum(mass_fractions("Mg3Si4O12H2").values()) == pytest.approx(1)


@pytest.mark.parametrize("formula", ["", "si", "SiO2)", "Al2(SO4)3", "XxO", "NbO", "Si0"])
def test_mass_fractions_refuses(formula):
    with pytest.raises(AlloyError):
        mass_fractions(formula)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header"),
        (b"a,c\n1,2\n", "header"),
        (b"a,b\n", "no row"),
        (b"a,b\n1,2\n1,2,3\n", "line 3"),
        (b"a,b\n\xff,2\n", "CSV"),
        (b'a,b\n"1,2\n', "CSV"),
    ],
)
def test_read_rows_refuses(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(AlloyError, match=message) as caught:
        read_rows(path, ("a", "b"))
    assert "table.csv" in str(caught.value)


def test_read_rows_names_a_missing_file(tmp_path):
    with pytest.raises(AlloyError, match=r"absent\.csv"):
        read_rows(tmp_path / "absent.csv", ("a",))
