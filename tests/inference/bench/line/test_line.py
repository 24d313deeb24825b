import numpy as np
import pytest
from typer.testing import CliRunner

from alloysort.cli import app
from alloysort_datasets.errors import DataError, RecipeError
from alloysort_datasets.families import ALUMINIUM
from alloysort_datasets.simulate import Simulation, simulate
from alloysort_inference.bench.line.feed import Conditions, draw_feed
from alloysort_inference.bench.line.reel import judge_reel
from alloysort_inference.bench.line.run import Question, bench_line, tell
from alloysort_inference.bench.line.twin import run
from alloysort_inference.policy.belt import Line
from alloysort_inference.policy.recipe import load_recipe, parse_recipe
from alloysort_models.bundle.manifest import load_bundle, newest_released

LINE = Line()
CALM = Conditions(overlapping=0, missed=0, misfires=0, valve_jitter_ms=0, slip=0)


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(newest_released())


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reel") / "reel"
    for _ in simulate(folder, Simulation(80, 40_011)):
        pass
    return folder


@pytest.fixture(scope="module")
def reel(table, bundle):
    return judge_reel([table], bundle, None)


def feed_of(reel, pieces=2000, conditions=CALM, seed=0):
    return draw_feed(pieces, reel.seen.mass_g.astype(float), np.ones(len(reel)), LINE, conditions, seed)


def sorted_by(reel, bundle, name="wrought-cast", conditions=CALM, seed=0, line=LINE):
    return run(feed_of(reel, 2000, conditions, seed), reel, bundle, load_recipe(name), line, conditions, seed)


def test_as_many_come_as_were_asked_for_and_no_two_lie_on_one_another(reel):
    feed = feed_of(reel, 20_000)
    assert len(feed) / (feed.front_m[-1] / LINE.speed_m_per_s) == pytest.approx(200, rel=0.03)
    assert (np.diff(feed.front_m) >= 0).all()
    assert (feed.left_mm >= 0).all()
    assert (feed.left_mm + feed.width_mm <= LINE.width_mm + 1e-6).all()
    assert (feed.seen_as == np.arange(len(feed))).all()


def test_heaps_are_seen_as_their_uppermost_piece(reel):
    feed = feed_of(reel, 5000, Conditions(overlapping=0.2))
    under = feed.seen_as != np.arange(len(feed))
    assert under.mean() == pytest.approx(0.2, abs=0.03)
    upper = feed.seen_as[under]
    assert (feed.seen_as[upper] == upper).all()
    assert (feed.front_m[upper] > feed.front_m[under]).all()


@pytest.mark.parametrize("name", ["wrought-cast", "twitch", "5xxx-6xxx"])
def test_mass_is_conserved_whatever_happens(reel, bundle, name):
    rough = Conditions(300, overlapping=0.1, missed=0.1, misfires=0.1, valve_jitter_ms=3, slip=0.02)
    done = sorted_by(reel, bundle, name, rough)
    recipe = load_recipe(name)
    assert ((done.went >= 0) & (done.went < len(recipe.outlets))).all()
    told = tell(done, reel.seen, recipe, LINE, 0)
    assert sum(outlet["pieces"] for outlet in told["outlets"].values()) == told["pieces"] == 2000
    shares = sum(outlet["mass_kg"] for outlet in told["outlets"].values())
    assert shares == pytest.approx(told["mass_kg"], abs=0.01)
    assert sum(outlet["yield"]["value"] for outlet in told["outlets"].values()) == pytest.approx(1, abs=1e-3)


def test_on_a_calm_belt_pieces_go_where_the_policy_says(reel, bundle):
    done = sorted_by(reel, bundle)
    assert (done.went != done.wanted).mean() < 0.01
    assert done.late == 0
    assert done.misfires == 0
    rough = sorted_by(reel, bundle, conditions=Conditions(slip=0.05))
    assert (rough.went != rough.wanted).mean() > 0.1


def test_the_policy_in_the_loop_is_the_service_s(reel, bundle):
    """What the twin decides of a piece is what the classifier decided of it when the reel was judged."""
    done = sorted_by(reel, bundle)
    light = ~done.feed.missed
    assert (done.wanted[light] == reel.seen.outlet[done.feed.piece[light]]).mean() > 0.99


def test_same_seed_same_run_another_seed_another(reel, bundle):
    one, two, three = (sorted_by(reel, bundle, conditions=Conditions(), seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.went, two.went)
    assert not np.array_equal(one.feed.piece, three.feed.piece)


def test_answers_after_the_deadline_are_late_and_go_to_the_default_outlet(reel, bundle):
    done = sorted_by(reel, bundle, line=Line(deadline_ms=1.0))
    assert done.late > 1000
    assert (done.went == 2).mean() > 0.9


def test_what_cannot_run_is_refused(reel, bundle, table):
    with pytest.raises(DataError, match=r"rate_per_s 5000: pieces of \d+ mm leave no room in 16 lanes"):
        feed_of(reel, 200, Conditions(5000.0))
    with pytest.raises(DataError, match=r"missed 2 must lie in 0-1"):
        Conditions(missed=2)
    with pytest.raises(RecipeError, match="feed 'sand': unknown; a mix is one of balanced, zorba"):
        Question(load_recipe("twitch"), (table,), feed="sand")


def test_the_command_tells_draws_and_writes(table, tmp_path, bundle):
    figures, plot = tmp_path / "line.json", tmp_path / "line.svg"
    command = ["bench", "line", "--data", str(table), "--pieces", "1000", "--json", str(figures)]
    done = CliRunner().invoke(app, [*command, "--plot", str(plot)])
    assert done.exit_code == 0, done.output
    for part in ("wrought", "0 lost", "recovery", "simulated"):
        assert part in done.output
    assert plot.read_text().count("</svg>") == 1
    told = bench_line(Question(load_recipe("wrought-cast"), (table,), pieces=1000), bundle)
    assert told["lost"] == 0
    assert f'"mass_kg": {told["mass_kg"]}' in figures.read_text()


def test_boxes_are_filled_on_the_twin(reel, bundle, table):
    """The melt of the policy, fed by what is decided: what truly is in the boxes is told beside."""
    families = ", ".join(f'"{family}"' for family in ALUMINIUM)
    text = f"""
    default = "rest"
    [[outlets]]
    name = "melt"
    families = [{families}]
    min_confidence = 0.5
    melt = {{ Si = [0, 5], Fe = [0, 10] }}
    box_kg = 2
    [[outlets]]
    name = "rest"
    """
    recipe = parse_recipe(text, "melt")
    done = run(feed_of(reel, 2000), reel, bundle, recipe, LINE, CALM, 0)
    boxes = tell(done, reel.seen, recipe, LINE, 0)["outlets"]["melt"]["boxes"]
    assert boxes["full"] >= 3
    assert boxes["full"] - boxes["inside"] <= sum(boxes["broken"].values())
    counted = np.unique(done.box[done.went == 0])
    assert counted.max() >= boxes["full"]


@pytest.mark.slow
def test_in_real_time_a_service_of_its_own_answers(table):
    command = ["bench", "line", "--data", str(table), "--pieces", "200", "--rate", "50", "--live", "2"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "in real time, 2 s: 100 pieces, " in done.output.replace("\n", " ")
    assert "0 lost" in done.output
