from __future__ import annotations

from alloysort_inference.bench.accuracy.report import _number, _share


def test_a_figure_stands_above_its_interval() -> None:
    figure: dict[str, float | None] = {"value": 0.93251, "low": 0.9, "high": 0.95}
    assert _number(figure) == "0.933<small>0.900 – 0.950</small>"
    assert _share(figure) == "93.3<small>90.0 – 95.0</small>"


def test_what_is_not_known_is_a_dash() -> None:
    assert _number(None) == _share({"value": None, "low": None, "high": None}) == "–"
