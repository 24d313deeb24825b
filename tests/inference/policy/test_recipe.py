from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alloysort_datasets.errors import RecipeError
from alloysort_datasets.families import ALUMINIUM, FAMILIES
from alloysort_inference.policy.recipe import (
    Outlet,
    Recipe,
    load_recipe,
    parse_content,
    parse_recipe,
    shipped_recipes,
)

GOOD = """
default = "rest"
novelty_limit = 3

[[outlets]]
name = "wrought"
families = ["5xxx", "6xxx"]
min_confidence = 0.9

[[outlets]]
name = "rest"
"""


def fault_of(text):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "mine")
    message = str(caught.value)
    assert message.startswith("recipe mine: ")
    assert "\n" not in message
    return message


def test_a_good_recipe():
    recipe = parse_recipe(GOOD, "mine")
    wrought, rest = recipe.outlets
    assert recipe.name == "mine"
    assert recipe.novelty_limit == 3
    assert recipe.default_outlet == rest
    assert recipe.ejects(wrought)
    assert not recipe.ejects(rest)


def test_eject_can_be_turned_round():
    text = GOOD.replace('name = "rest"', 'name = "rest"\neject = true').replace("0.9", "0.9\neject = false")
    recipe = parse_recipe(text, "mine")
    assert [recipe.ejects(outlet) for outlet in recipe.outlets] == [False, True]


@pytest.mark.parametrize("name", ["wrought-cast", "5xxx-6xxx", "twitch", "can-stock", "low-copper-cast"])
def test_shipped_recipes_load_by_name(name):
    recipe = load_recipe(name)
    assert name in shipped_recipes()
    assert recipe.name == name
    assert recipe.description


def test_twitch_ejects_all_that_is_not_surely_aluminium():
    twitch = load_recipe("twitch")
    (passing,) = [outlet for outlet in twitch.outlets if not twitch.ejects(outlet)]
    assert tuple(passing.families) == ALUMINIUM
    assert twitch.ejects(twitch.default_outlet)


def test_a_path_loads(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(GOOD)
    assert load_recipe(path).name == "own"
    assert load_recipe(str(path)).name == "own"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"5xxx"', '"9xxx"', "outlet 'wrought': families: unknown '9xxx'; known are 1xxx, 2xxx"),
        ('"5xxx", "6xxx"', "", "outlet 'wrought': families: names none"),
        ('"5xxx"', '"6xxx"', "family '6xxx' is there 2 times"),
        ("0.9", "1.2", "outlet 'wrought': min_confidence 1.2: .*less than or equal to 1"),
        ("0.9", "0", "min_confidence 0: .*greater than 0"),
        ("0.9", "nan", "min_confidence nan"),
        ("0.9", '"high"', "min_confidence 'high'"),
        ("min_confidence = 0.9", "", "min_confidence: missing"),
        ("min_confidence", "min_confidense", "min_confidense 0.9: Extra"),
        ('default = "rest"', 'default = "bin"', "default 'bin' is none of the outlets wrought, rest"),
        ('default = "rest"', "", "default: Field required"),
        ('name = "rest"', 'name = "wrought"', "outlet 'wrought' is there 2 times"),
        ('name = "rest"', 'name = "rest"\nmin_confidence = 0.5', "of no use without families"),
        (
            'name = "rest"',
            'name = "rest"\nfamilies = ["6xxx"]\nmin_confidence = 0.5',
            "family '6xxx' goes to 2 outlets",
        ),
        ('name = "rest"', 'name = "rest"\neject = "yes"', "outlet 'rest': eject 'yes': .*valid boolean"),
        ("novelty_limit = 3", "novelty_limit = inf", "novelty_limit inf: .*finite"),
        ("novelty_limit", "novelty_limt", "novelty_limt 3: Extra .*; did you mean novelty_limit"),
        ("0.9", "0.9\npurity = 0.97", "min_confidence and purity: purity stands alone"),
        ("min_confidence = 0.9", "purity = 1.1", "outlet 'wrought': purity 1.1: .*less than 1"),
        ("min_confidence = 0.9", "purity = 0.9\nsure = 0.2", "sure 0.2: .*greater than or equal to 0.5"),
        ('name = "rest"', 'name = "rest"\npurity = 0.5', "purity 0.5: of no use without families"),
        ("novelty_limit = 3", 'feed = "zorbo"', "feed 'zorbo': unknown; a mix is one of .*zorba"),
        ("novelty_limit = 3", 'feed = {"9xxx" = 1}', "feed: unknown '9xxx'; known are 1xxx"),
        ("novelty_limit = 3", 'feed = {"6xxx" = 0}', "feed: no family has a share over 0"),
        ("novelty_limit = 3", 'feed = {"6xxx" = -1}', "feed: shares: 6xxx -1: .*greater than or equal to 0"),
        ("novelty_limit = 3", 'doubted = ["foggy"]', "doubted: unknown 'foggy'; known are no_spectrum"),
        ("novelty_limit = 3", "surface_limit = 2", "surface_limit 2: .*less than or equal to 1"),
        (
            "novelty_limit = 3",
            "line = {speed_m_s = 3}",
            "speed_m_s 3: Extra .* did you mean speed_m_per_s",
        ),
        ("novelty_limit = 3", "line = {}", "outlet 'wrought': at_m: missing"),
        ("0.9", "0.9\nat_m = 0.5", "outlet 'wrought': at_m 0.5: without a"),
        (
            "min_confidence = 0.9",
            'melt = "6O63"',
            "melt: alloy '6O63' is unknown; close to it",
        ),
        ("min_confidence = 0.9", "melt = {Xx = [0, 1]}", "melt: unknown 'Xx'; known are Al, Si"),
        ("min_confidence = 0.9", "melt = {Cu = [0.3, 0.1]}", r"Cu \[0.3, 0.1\]: .* they exclude each other"),
        ("min_confidence = 0.9", "melt = {Al = [90, 95], Si = [15, 20]}", "are 105 wt% together, over 100"),
        ("min_confidence = 0.9", "melt = {Cu = [0.3]}", r"melt: limits: Cu \[0.3\]: .*at least 2 items"),
        ("min_confidence = 0.9", "melt = {}", "melt: no limits"),
        ("min_confidence = 0.9", 'melt = "6063"\nbox_kg = -5', "box_kg -5: .*greater than 0"),
        ("min_confidence = 0.9", 'melt = "6063"\npurity = 0.9', "purity and melt: purity stands alone"),
        ('name = "rest"', 'name = "rest"\nmelt = "6063"', "melt '6063': of no use without families"),
        ("novelty_limit = 3", "batch_pieces = 1", "batch_pieces 1: .*greater than or equal to 50"),
        ('[[outlets]]\nname = "rest"', 'outlets = 3\nname = "rest"', "not TOML|outlets"),
        ("default =", "default", "not TOML"),
    ],
)
def test_each_fault_is_named(old, new, message):
    assert old in GOOD
    fault = fault_of(GOOD.replace(old, new))
    assert re.search(message, fault), fault


def test_rows_of_nozzles_are_where_they_can_be():
    text = GOOD.replace("0.9", "0.9\nat_m = 0.6") + "[line]\n"
    assert parse_recipe(text, "mine").outlets[0].at_m == 0.6
    assert "at_m 0.05: too near, a decision within deadline_ms 20" in fault_of(text.replace("0.6", "0.05"))
    other = 'name = "cast"\nfamilies = ["cast-AlSi"]\nmin_confidence = 0.9\nat_m = 0.65\n[[outlets]]\n'
    fault = fault_of(text.replace('name = "rest"', other + 'name = "rest"'))
    assert "outlets 'wrought' and 'cast': at_m 0.6 and 0.65 overlap" in fault
    assert "at_m 0.6: it ejects nothing" in fault_of(text.replace("0.9\n", "0.9\neject = false\n"))


def test_every_fault_is_listed_at_once():
    fault = fault_of(
        GOOD.replace("0.9", "7").replace('"5xxx"', '"9xxx"').replace('default = "rest"', 'default = "bin"')
        + "\n[[outlets]]\nname = 'cast'\nfamilies = ['6xxx']\nmin_confidence = 0.5\ncolour = 'red'\n"
    )
    for part in ("min_confidence 7", "unknown '9xxx'", "default 'bin'", "'6xxx' goes to 2", "colour 'red'"):
        assert part in fault


def test_outlets_of_a_wrong_type_are_named():
    assert "outlets" in fault_of('default = "rest"\noutlets = 3')
    assert "outlets[0]" in fault_of('default = "rest"\noutlets = [3]')


def test_a_recipe_made_in_code_is_held_to_the_same():
    with pytest.raises(ValidationError, match="none of the outlets"):
        Recipe(default="bin", outlets=[Outlet(name="rest")])


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00", None])
def test_what_is_no_recipe_file_is_refused(tmp_path, content):
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"own\.toml|recipe own"):
        load_recipe(path)


def test_an_unknown_name_is_refused_with_those_shipped():
    with pytest.raises(RecipeError, match=r"'wrought' is no file and none of the shipped .*wrought-cast"):
        load_recipe("wrought")


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(RecipeError, match="directory"):
        load_recipe(tmp_path)


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from([*FAMILIES, "rest"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
outlets = st.dictionaries(st.sampled_from(["name", "families", "min_confidence", "eject", "x"]), values)


@given(
    st.dictionaries(st.sampled_from(["default", "novelty_limit", "name"]), values), st.lists(outlets | values)
)
def test_any_content_is_a_recipe_or_a_recipe_error(top, listed):
    try:
        recipe = parse_content({**top, "outlets": listed}, "any")
    except RecipeError:
        return
    assert recipe.default in {outlet.name for outlet in recipe.outlets}


@given(st.text())
def test_any_text_is_a_recipe_or_a_recipe_error(text):
    with pytest.raises(RecipeError):
        parse_recipe(text, "any")
