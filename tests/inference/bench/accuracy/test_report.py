from __future__ import annotations

from typing import Any

from alloysort_inference.bench.accuracy.published import PUBLISHED, comparison
from alloysort_inference.bench.accuracy.report import _number, _share


def test_a_figure_stands_above_its_interval() -> None:
    figure: dict[str, float | None] = {"value": 0.93251, "low": 0.9, "high": 0.95}
    assert _number(figure) == "0.933<small>0.900 – 0.950</small>"
    assert _share(figure) == "93.3<small>90.0 – 95.0</small>"


def test_what_is_not_known_is_a_dash() -> None:
    assert _number(None) == _share({"value": None, "low": None, "high": None}) == "–"


def test_the_comparison_says_of_every_figure_what_it_was_measured_on() -> None:
    figure = {"value": 0.9, "low": 0.85, "high": 0.95}
    row = {"macro_f1": figure}
    told: dict[str, Any] = {
        "pieces_are": "simulated",
        "perturbations": {"defocus 2.5 mm": {}},
        "baselines": {
            "ours": {"macro_f1": figure, "bare_metal": None, "perturbations": {"defocus 2.5 mm": row}},
            "kNN": {
                **row,
                "bare_metal": figure,
                "trained_on": 5874,
                "perturbations": {"defocus 2.5 mm": row},
            },
        },
    }
    lines = comparison(told, ("defocus 2.5 mm", "not run")).splitlines()
    assert lines[0].endswith("| simulated pieces | bare metal | defocus 2.5 mm |")
    assert lines[2] == "| ours | its own, elsewhere | 0.900 (0.850-0.950) | - | 0.900 (0.850-0.950) |"
    assert lines[3].startswith("| kNN | 5,874 of the table |")
    assert all("real" in one.measured_on for one in PUBLISHED)
    assert sum(line.count("|") == 6 for line in lines[5:]) == 2 + len(PUBLISHED)
