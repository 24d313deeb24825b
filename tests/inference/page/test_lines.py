from __future__ import annotations

import numpy as np
import pytest

from alloysort_inference.page.lines import ELEMENTS, label, strong_lines

NM = np.linspace(200.0, 900.0, 14_000)


def spectrum(*lines):
    rng = np.random.default_rng(0)
    return (
        100 + rng.normal(0, 3, NM.size) + sum(h * np.exp(-0.5 * ((NM - nm) / 0.06) ** 2) for nm, h in lines)
    )


@pytest.mark.parametrize(
    ("element", "nm"),  # persistent lines of the NIST handbook, air nm
    [
        ("Al", 396.152),
        ("Mg", 279.553),
        ("Mg", 285.213),
        ("Cu", 324.754),
        ("Si", 288.158),
        ("Ca", 393.366),
        ("Na", 588.995),
    ],
)
def test_the_persistent_lines_are_known(element, nm):
    lines = strong_lines()
    own = lines.element == ELEMENTS.index(element)
    best = lines.nm[own][np.argsort(-lines.strength[own])[:6]]
    assert abs(best - nm).min() < 0.02


def test_peaks_get_the_element_that_the_piece_is_said_to_hold():
    counts = spectrum((396.152, 9000), (394.401, 5000), (309.271, 6000), (324.754, 800))
    told = label(NM, counts, {"Al": 95.0, "Cu": 3.0})
    assert {(one["element"], round(one["line_nm"], 1)) for one in told} >= {
        ("Al", 396.2),
        ("Al", 394.4),
        ("Cu", 324.8),
    }
    assert {one["element"] for one in told} == {"Al", "Cu"}
    assert [one["counts"] for one in told] == sorted((one["counts"] for one in told), reverse=True)


def test_noise_and_peaks_of_nobody_get_no_name():
    assert label(NM, spectrum()) == []
    assert label(NM, spectrum((700.123, 9000)), {"Al": 99.0}) == []
