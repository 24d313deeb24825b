from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC

import cv2
import numpy as np
import pytest

from alloysort_datasets.errors import DataError
from alloysort_datasets.spectrum import Spectrum
from alloysort_inference.health.drift import outcome
from alloysort_inference.health.reference import learned
from alloysort_inference.health.sensors import read
from alloysort_inference.health.watch import Watch
from alloysort_models.bundle.health import Limits, Reference

SEEDS = range(12)
PIECES = 800  # watched in a stream of pieces that are well


def shots(change):
    return lambda it: Spectrum(it.wavelength_nm, change(it.shots), it.saturation_counts)


def half_missed(counts):
    struck = counts.copy()
    struck[::2] = 0
    return struck


def pink(rgb):
    return np.clip(rgb * np.array([1.15, 0.7, 1.0]), 0, 255).astype(np.uint8)


CHANGES = {
    "laser_weak": {"light": shots(lambda counts: counts * np.float32(0.4))},
    "wavelength_shift": {
        "light": lambda it: Spectrum(it.wavelength_nm + 0.15, it.shots, it.saturation_counts)
    },
    "missed_shots": {"light": shots(half_missed)},
    "no_spectrum": {"light": lambda it: None},
    "saturated": {"light": lambda it: replace(it, saturation_counts=float(np.median(it.shots.max(axis=1))))},
    "camera_dark": {"look": lambda rgb: (rgb * 0.4).astype(np.uint8)},
    "camera_bright": {"look": lambda rgb: np.clip(rgb * 2.0, 0, 255).astype(np.uint8)},
    "camera_blurred": {"look": lambda rgb: cv2.GaussianBlur(rgb, (0, 0), 3)},
    "camera_colour": {"look": pink},
    "no_picture": {"look": lambda rgb: None},
}


@pytest.fixture(scope="module")
def reference(plant, well, draw):
    taken = list(draw(well, 500, 1000))
    readings = [read(features, record.quality, plant.grid) for record, features in taken]
    return learned(readings, [said for record, _ in taken if (said := outcome(record))])


def keys(watch):
    return {alarm.key for alarm in watch.alarms()}


def watched(watch, stream):
    """All alarms that stood at any piece of a stream."""
    stood = set()
    for record, features in stream:
        watch.see(record, features)
        stood |= keys(watch)
    return stood


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_said_of_pieces_that_are_well(plant, well, draw, seed):
    """12 streams of 800 drawn from the same pieces, learned from the same: no alarm in any."""
    watch = Watch(plant.grid, learn=500)
    assert watched(watch, draw(well, 500 + PIECES, seed)) == set()
    assert watch.figures()["pieces"] == PIECES


@pytest.mark.parametrize("key", CHANGES)
def test_a_sensor_that_fails_raises_its_alarm_and_no_other(plant, well, draw, reference, key):
    watch = Watch(plant.grid, reference)
    assert watched(watch, draw(well, 200, 1)) == set()
    changed = plant.take(**CHANGES[key])
    assert watched(watch, draw(changed, 500, 2)) == {key}
    (alarm,) = watch.alarms()
    assert alarm.since.tzinfo is UTC
    assert alarm.text.endswith(".")
    assert alarm.advice.endswith(".")


@pytest.mark.parametrize("key", CHANGES)
def test_the_alarm_falls_when_the_sensor_is_well_again(plant, well, draw, reference, key):
    watch = Watch(plant.grid, reference)
    watched(watch, draw(plant.take(**CHANGES[key]), 500, 3))
    assert key in keys(watch)
    watched(watch, draw(well, 1500, 4))
    assert keys(watch) == set()


def test_a_frozen_camera_is_told_soon_and_spoils_no_other_figure(plant, well, draw, reference):
    watch = Watch(plant.grid, reference)
    watched(watch, draw(well, 100, 5))
    (stuck,) = [features.image for _, features in well if features.present[0]][:1]
    frozen = [(record, replace(features, image=stuck)) for record, features in well if features.present[0]]
    assert watched(watch, draw(frozen, 8, 6)) == {"camera_frozen"}
    assert watched(watch, draw(frozen, 300, 7)) == {"camera_frozen"}
    assert "same to the pixel" in watch.alarms()[0].text
    watched(watch, draw(well, 3, 8))
    assert keys(watch) == set()


def test_a_feed_of_strangers_is_told_as_novel(plant, well, draw, reference):
    watch = Watch(plant.grid, reference)
    strange = [(replace(record, decision=replace(record.decision, novel=True)), f) for record, f in well]
    watched(watch, draw(well, 300, 9))
    assert "novelty_rate" in watched(watch, draw(strange, 100, 10))
    (alarm,) = [alarm for alarm in watch.alarms() if alarm.key == "novelty_rate"]
    assert "since the run began" in alarm.text


def test_another_mix_is_a_notice(plant, well, draw, reference):
    watch = Watch(plant.grid, reference)
    one = [(record, f) for record, f in well if record.decision.family in ("6xxx", "5xxx", "3xxx", "1xxx")]
    watched(watch, draw(one, 600, 11))
    assert {alarm.severity for alarm in watch.alarms() if alarm.key == "mix_drift"} == {"notice"}


def test_an_unsure_model_is_told(plant, well, draw, reference):
    watch = Watch(plant.grid, reference)
    flat = np.full(19, 1 / 19, np.float32)
    unsure = [
        (replace(record, assessment=replace(record.assessment, probabilities=flat)), f) for record, f in well
    ]
    watched(watch, draw(unsure, 400, 12))
    assert "confidence_drift" in keys(watch)


def test_an_alarm_does_not_flicker_at_its_limit(plant, well, draw, reference):
    changed = plant.take(light=shots(lambda counts: counts * np.float32(0.6)))
    watch, changes, before = Watch(plant.grid, reference), 0, False
    for record, features in draw(changed, 2000, 13):
        watch.see(record, features)
        now = "laser_weak" in keys(watch)
        changes, before = changes + (now != before), now
    assert changes <= 3


def test_nothing_is_said_before_enough_is_seen(plant, draw, reference):
    dark = plant.take(**CHANGES["camera_dark"])
    watch = Watch(plant.grid, reference, memory=5)
    assert watched(watch, draw(dark, 49, 14)) == set()


def test_a_watch_learns_first_and_says_that_it_does(plant, well, draw):
    watch = Watch(plant.grid, learn=100)
    watched(watch, draw(well, 60, 15))
    assert watch.reference is None
    assert watch.figures() == {"pieces": 0.0, "learning": 1.0, "learned": 60.0}
    watched(watch, draw(well, 60, 16))
    assert watch.reference.pieces == 100
    assert watch.figures()["learning"] == 0.0


def test_limits_of_the_plant_count(plant, well, draw, reference):
    strict = Watch(plant.grid, reference, limits=Limits(colour=0.01))
    assert "camera_colour" in watched(strict, draw(well, 200, 17))


def test_a_piece_without_features_tells_nothing(plant, well, reference):
    watch = Watch(plant.grid, reference)
    watch.see(well[0][0], None)
    watch.see(replace(well[0][0], status="late", assessment=None), well[0][1])
    assert watch.figures()["pieces"] == 0


def test_a_reference_survives_json(reference):
    assert Reference.model_validate_json(reference.model_dump_json()) == reference


def test_too_few_pieces_to_learn_from_are_refused(plant):
    with pytest.raises(DataError, match="100 or more"):
        learned([], [])


def test_a_piece_costs_little(plant, well, draw, reference):
    watch, took = Watch(plant.grid, reference), []
    for record, features in draw(well, 600, 18):
        started = time.perf_counter()
        watch.see(record, features)
        took.append(time.perf_counter() - started)
    assert np.median(took) < 3e-3  # 0.3 ms is meant; ten times that is a fault and not a busy machine
