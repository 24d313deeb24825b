from __future__ import annotations

from itertools import count

import pytest

from alloysort_inference.log.keep import Sample
from alloysort_inference.page.seen import Seen
from alloysort_inference.pipeline import Arrival, Upload

_seq = count(1)


@pytest.fixture(scope="session")
def seen(classifier, make_csv):
    """A piece that was decided on, by the wavelengths that shine."""

    def see(*lines_nm, mass_g=10.0, truth=None, by=classifier, **options):
        spectrum = Upload("al.csv", make_csv(*lines_nm, **options))
        (record,) = by.sort([Arrival(spectrum, None)])
        return Seen(next(_seq), record, mass_g, Sample(None, spectrum.decode), truth=truth)

    return see
