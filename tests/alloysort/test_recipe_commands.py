import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from alloysort.recipe_commands import app
from alloysort_datasets.errors import RecipeError, TableError
from alloysort_datasets.simulate import Simulation, simulate
from alloysort_datasets.table.store import read_instruments, read_pieces, write_pieces
from alloysort_inference.pipeline import open_classifier
from alloysort_inference.policy.recipe import load_recipe, shipped_recipes

WANTED = """
default = "reste"
feed = "zorba"
batch_pieces = 400 # not yet [fitted]

[[outlets]]
name = "léger"
families = [
    "1xxx", "2xxx", "3xxx", "4xxx", "5xxx", "6xxx", "7xxx",
    "cast-AlSiCu", "cast-AlSiMg", "cast-AlSi", "cast-AlMg",
]
purity = 0.75
sure = 0.9
value_per_t = 1900
wrong_costs_per_t = 600

[[outlets]]
name = "reste"
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Pieces that the shipped bundle has not seen, as if from 64 batches."""
    whole, folder = (tmp_path_factory.mktemp("known") / name for name in ("whole", "table"))
    for _ in simulate(whole, Simulation(320, 40_007)):
        pass
    pieces = (replace(piece, batch=f"own-{row % 64}") for row, piece in enumerate(read_pieces(whole)))
    write_pieces(folder, pieces, read_instruments(whole).values())
    return folder


@pytest.fixture
def wanted(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(WANTED, encoding="utf-8")
    return file


def recipe(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_shipped_recipes_are_listed_shown_and_good():
    listed = recipe("list").output
    for name in shipped_recipes():
        assert name in listed
        assert "[[outlets]]" in recipe("show", name).output
    assert recipe("check", *shipped_recipes()).exit_code == 0


def test_every_fault_is_told_on_its_own_line(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(
        WANTED.replace("0.75", "1.2").replace('"7xxx"', '"8xxx"').replace("value_per_t", "valu_per_t")
    )
    done = recipe("check", file, "twitch")
    assert done.exit_code == 1
    assert "twitch: good: twitch (pass), heavies (eject)" in done.output
    lines = [line for line in done.output.splitlines() if line.startswith(str(file))]
    assert len(lines) == 3
    for part in ("purity 1.2", "did you mean value_per_t?", "unknown '8xxx'"):
        assert part in done.output


def test_a_target_without_a_bar_does_not_sort(wanted):
    with pytest.raises(RecipeError, match=r"léger.* its purity is not fitted yet: alloysort recipe fit"):
        open_classifier(None, str(wanted))
    assert recipe("check", wanted).exit_code == 1


def test_a_fitted_recipe_sorts_until_it_is_changed(wanted, table):
    done = recipe("fit", wanted, "--data", table, "--split", "all")
    assert done.exit_code == 0, done.output
    fitted = load_recipe(wanted)
    assert wanted.read_text(encoding="utf-8").startswith(WANTED.rstrip())
    assert 0 < fitted.bars["léger"] <= 1
    assert "320 pieces" in fitted.fitted.data
    open_classifier(None, str(wanted))
    assert recipe("check", wanted).exit_code == 0
    again = recipe("fit", wanted, "--data", table, "--split", "all", "--out", wanted.with_name("again.toml"))
    assert again.exit_code == 0, again.output
    assert wanted.with_name("again.toml").read_text() == wanted.read_text()
    wanted.write_text(wanted.read_text().replace("purity = 0.75", "purity = 0.8"))
    with pytest.raises(RecipeError, match="before it was changed"):
        open_classifier(None, str(wanted))


def test_what_is_out_of_reach_is_refused_with_the_best_there_is(wanted, table):
    before = WANTED.replace("0.75", "0.999")
    wanted.write_text(before)
    done = recipe("fit", wanted, "--data", table, "--split", "all")
    assert isinstance(done.exception, RecipeError)
    assert "purity 0.999 is out of reach" in str(done.exception)
    assert "the best that 90% of them reach is 0." in str(done.exception)
    assert wanted.read_text() == before


def test_a_curve_is_told_drawn_and_written(wanted, table, tmp_path):
    plot, points = tmp_path / "curve.svg", tmp_path / "curve.json"
    done = recipe("curve", wanted, "--data", table, "--split", "all", "--plot", plot, "--json", points)
    assert done.exit_code == 0, done.output
    assert "value per" in done.output
    assert plot.read_text().count("</svg>") == 1
    told = json.loads(points.read_text())["outlets"]["léger"]
    assert [point["bar"] for point in told] == sorted((point["bar"] for point in told), reverse=True)
    assert told[-1]["recovery"] >= told[0]["recovery"]


def test_what_cannot_be_fitted_is_refused(wanted, table):
    assert isinstance(
        recipe("fit", "twitch", "--data", table, "--split", "all", "--out", wanted).exception, RecipeError
    )
    assert (
        "ships with alloysort: give --out"
        in recipe("fit", "twitch", "--data", table, "--split", "all").output
    )
    wrong = recipe("fit", wanted, "--data", table, "--split", "half").exception
    assert isinstance(wrong, TableError)
    wanted.write_text(WANTED.replace('feed = "zorba"', "novelty_limit = 3.0"))
    assert "the bundle's own limits" in str(
        recipe("fit", wanted, "--data", table, "--split", "all").exception
    )
