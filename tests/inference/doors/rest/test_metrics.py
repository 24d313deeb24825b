"""`/metrics` in Prometheus' own words, and what it counts."""

from __future__ import annotations

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from alloysort_inference.doors.settings import Settings

AXIS_NM = np.linspace(200.0, 900.0, 1024)


def piece(nm: float, **more: object) -> dict[str, object]:
    counts = 100.0 + 20_000.0 * np.exp(-0.5 * ((AXIS_NM - nm) / 2.0) ** 2)
    counts += np.random.default_rng(0).normal(0.0, 2.0, counts.size)
    return {"wavelength_nm": AXIS_NM.tolist(), "counts": counts.tolist(), **more}


def test_what_passes_is_counted(bundle, running, tmp_path):
    with running(Settings(bundle=bundle.path, log=str(tmp_path / "log"))) as client:
        for sent in (piece(395.0), piece(327.0), piece(720.0), piece(395.0, deadline_ms=0.001)):
            assert client.post("/v1/classify", json=sent).status_code == 200
        assert client.post("/v1/classify", json={"image_base64": "aGVsbG8="}).status_code == 422
        response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert told["alloysort_pieces_total", "decided"] == 3
    assert told["alloysort_pieces_total", "late"] == 1
    assert told["alloysort_pieces_total", "refused"] == 1
    assert told["alloysort_novel_total",] == 1
    assert told["alloysort_quality_total", "no_image"] == 3
    assert sum(value for key, value in told.items() if key[0] == "alloysort_outlet_total") == 5
    assert told["alloysort_latency_seconds_count", "infer"] == 3
    assert told["alloysort_latency_seconds_count", "total"] == 5
    assert told["alloysort_queue_pieces",] == told["alloysort_log_failing",] == 0
    assert any(key[0] == "alloysort_info" and "tiny" in key for key in told)
