"""The whole measurement on the tiny bundle: that it runs and says what DESIGN says, not how fast."""

from __future__ import annotations

from alloysort_inference.bench import speed
from alloysort_inference.bench.speed import Load, Plan, bench_speed
from alloysort_models.bundle.manifest import Bundle


def test_it_measures_every_door_and_the_limit(bundle: Bundle, monkeypatch) -> None:
    monkeypatch.setattr(speed, "RATES", (50,))
    said: list[str] = []
    told = bench_speed(bundle.path, Plan(rounds=1, seconds=0.1, open_seconds=0.4), said.append)
    for name in ("raw_onnxruntime", "prepared", "engine", "rest", "oip", "stream"):
        assert told[name]["pieces_per_s"] > 0
    assert told["engine"]["ratio_to_engine"] == 1.0
    assert {loop["door"] for loop in told["open_loop"]} == {"rest", "oip", "stream"}
    for loop in told["open_loop"]:
        assert (loop["pieces"], loop["lost"]) == (20, 0)
        assert loop["p50_ms"] <= loop["p99_ms"] <= loop["p999_ms"] <= loop["max_ms"]
    assert told["ready_s"] > 0
    assert told["rss_mb"] > 10
    assert said


def test_the_load_is_a_piece_that_the_front_end_takes_as_good(engine) -> None:
    from alloysort_datasets.readers.picture import decode_picture
    from alloysort_datasets.spectrum import Spectrum
    from alloysort_inference.frontend.prepare import prepare

    load = Load.make()
    spectrum = Spectrum(load.wavelength_nm, load.shots)
    assert prepare(engine.bundle.grid, 96, spectrum, decode_picture(load.jpeg)).quality == ()
