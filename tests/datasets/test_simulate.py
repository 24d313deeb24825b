import json
import os

import numpy as np
import pytest

from alloysort_datasets import simulate as module
from alloysort_datasets.errors import TableError
from alloysort_datasets.simulate import SIMULATION_FILE, Simulation, simulate, simulate_batch
from alloysort_datasets.table.check import check_table
from alloysort_datasets.table.store import read_instruments, read_pieces, simulator_of, table_sha256


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(module, "BATCH_PIECES", 4)
    monkeypatch.setattr(module, "SHARD_BATCHES", 2)


def test_a_table_is_complete_and_without_fault(tmp_path):
    done = list(simulate(tmp_path / "t", Simulation(11, seed=3, shots=2)))
    pieces = list(read_pieces(tmp_path / "t"))
    assert done == [0, 8, 11]
    assert check_table(tmp_path / "t") == []
    assert [piece.piece_id for piece in pieces] == [f"sim-3-{n:07d}" for n in range(11)]
    assert {piece.instrument for piece in pieces} - {None} <= set(read_instruments(tmp_path / "t"))
    assert all("simulation" in piece.source for piece in pieces)


def test_the_same_seed_gives_the_same_table_and_another_seed_another(tmp_path):
    hashes = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        list(simulate(tmp_path / name, Simulation(6, seed=seed, shots=1)))
        hashes.append(table_sha256(tmp_path / name))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_killed_run_goes_on_and_ends_alike(tmp_path):
    simulation = Simulation(20, seed=5, images="none", shots=1)
    list(simulate(tmp_path / "whole", simulation))
    halted = simulate(tmp_path / "halted", simulation)
    next(halted), next(halted)
    halted.close()
    assert next(simulate(tmp_path / "halted", simulation)) == 8
    list(simulate(tmp_path / "halted", simulation))
    assert table_sha256(tmp_path / "halted") == table_sha256(tmp_path / "whole")


def test_a_batch_stands_on_one_side_of_the_split(tmp_path):
    list(simulate(tmp_path / "t", Simulation(80, seed=1, images="none", shots=1)))
    sides = {}
    for piece in read_pieces(tmp_path / "t"):
        sides.setdefault(piece.batch, set()).add(piece.split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert {next(iter(splits)) for splits in sides.values()} == {"train", "calibration", "test"}


def test_one_unit_sees_a_plants_whole_table(tmp_path):
    list(simulate(tmp_path / "own", Simulation(12, seed=1, images="none", shots=1, units=1)))
    (instrument,) = read_instruments(tmp_path / "own").values()
    assert {piece.instrument for piece in read_pieces(tmp_path / "own")} - {None} == {instrument.name}
    assert check_table(tmp_path / "own") == []


def test_a_folder_of_another_simulation_is_refused(tmp_path):
    list(simulate(tmp_path / "t", Simulation(2, seed=1, images="none", shots=1)))
    with pytest.raises(TableError, match="another simulation"):
        next(simulate(tmp_path / "t", Simulation(2, seed=2, images="none", shots=1)))
    assert json.loads((tmp_path / "t" / SIMULATION_FILE).read_text())["seed"] == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(TableError, match="other files"):
        next(simulate(tmp_path / "mine", Simulation(2)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"pieces": 0},
        {"shots": 0},
        {"strangers": 1.5},
        {"seed": -1},
        {"images": "oil"},
        {"preset": "x"},
        {"mix": "x"},
        {"conditions": {"rust_um": 1.0}},
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(TableError, match=next(iter(wrong))):
        Simulation(**{"pieces": 1} | wrong)


def test_pieces_have_true_labels():
    for piece in simulate_batch(Simulation(4, seed=9, images="none", shots=1), 0):
        assert piece.family is not None
        assert sum(piece.composition.values()) <= 100.001
        assert piece.mass_g > 0
        if piece.spectra is not None:
            assert np.isfinite(piece.spectra).all()


def test_an_impossible_condition_is_refused_with_its_range():
    with pytest.raises(TableError, match="paint_um 900 is outside 0-500"):
        Simulation(1, conditions={"paint_um": 900.0})


def test_a_fixed_condition_is_kept_and_leaves_all_else_of_the_pieces(tmp_path):
    plain = Simulation(8, seed=4, images="none", shots=2)
    fixed = Simulation(8, seed=4, images="none", shots=2, conditions={"defocus_mm": 3.0})
    list(simulate(tmp_path / "fixed", fixed))
    assert json.loads((tmp_path / "fixed" / SIMULATION_FILE).read_text())["conditions"] == {"defocus_mm": 3.0}
    with pytest.raises(TableError, match="another simulation"):
        next(simulate(tmp_path / "fixed", plain))
    pairs = [pair for batch in range(2) for pair in _twins(plain, fixed, batch)]
    assert len(pairs) == 8
    for one, other in pairs:
        assert (one.piece_id, one.alloy, one.composition) == (other.piece_id, other.alloy, other.composition)
        assert (one.mass_g, one.instrument) == (other.mass_g, other.instrument)
        if one.conditions:
            assert _drawn(other) == {**_drawn(one), "defocus_mm": 3.0}


def _drawn(piece):
    """What was drawn: how deep the shots went follows from it."""
    return {name: value for name, value in piece.conditions.items() if "metal_share" not in name}


def _twins(plain, fixed, batch):
    return zip(simulate_batch(plain, batch), simulate_batch(fixed, batch), strict=True)


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_workers_do_not_change_the_table(tmp_path, monkeypatch):
    monkeypatch.undo()
    simulation = Simulation(module.BATCH_PIECES * module.SHARD_BATCHES + 3, seed=2, images="none", shots=1)
    list(simulate(tmp_path / "one", simulation, workers=1))
    list(simulate(tmp_path / "two", simulation, workers=2))
    assert table_sha256(tmp_path / "one") == table_sha256(tmp_path / "two")


def test_instrument_exposure_and_pieces_are_independent():
    simulation = Simulation(4, seed=3)
    draws = [
        module._stream(simulation, *key).random()
        for key in ((0, 0), (0, 1), (0, 2), (0,), (1,), (0, 2, 0), (0, 2, 0, 0), (0, 2, 0, 1), (0, 2, 1, 0))
    ]
    assert len(set(draws)) == len(draws)
    # Presets and random units are exposed alike: the draw that picks a unit does not set its exposure
    picked, exposed = np.array(
        [
            [module._stream(simulation, batch, use).random() for use in (module._UNIT, module._EXPOSURE)]
            for batch in range(2000)
        ]
    ).T
    assert abs(np.corrcoef(picked, exposed)[0, 1]) < 0.07


def test_strangers_are_told_and_those_of_the_test_split_hold_elements_of_their_own():
    simulation = Simulation(80, seed=3, images="none", shots=1, strangers=1.0)
    splits = set()
    for batch in range(20):
        for piece in simulate_batch(simulation, batch):
            assert piece.conditions["stranger"] == 1
            assert piece.family in ("other-metal", "non-metal")
            splits.add(piece.split)
    assert splits == {"train", "calibration", "test"}
    plain = Simulation(8, seed=3, images="none", shots=1)
    assert all("stranger" not in piece.conditions for piece in simulate_batch(plain, 0))


def test_a_simulated_table_names_its_simulators_version(tmp_path):
    list(simulate(tmp_path / "t", Simulation(2, seed=1, images="none", shots=1)))
    assert simulator_of(tmp_path / "t") == module.SIMULATOR_VERSION
