"""The forms scrap comes in, each drawn by chance as a relief seen from above.

Every form is a function of a random generator and the plane's side in pixels. Which family takes which form,
and how often, is stated in `appearance.toml`, not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from alloysort_datasets.imagery.shapes.cast import casting, casting_fragment, die_casting
from alloysort_datasets.imagery.shapes.drawn import cable, extrusion, tube, wire
from alloysort_datasets.imagery.shapes.machined import (
    bolt,
    forging,
    machined_block,
    ring,
    turned_part,
    turnings,
)
from alloysort_datasets.imagery.shapes.nonmetal import brick, circuit_board, lump, plank, rag, shard, tread
from alloysort_datasets.imagery.shapes.relief import Form
from alloysort_datasets.imagery.shapes.rolled import can, crumpled_sheet, foil, plate, radiator, sheet, strip

FORMS: Final[Mapping[str, Form]] = {
    form.__name__: form
    for form in (
        sheet,
        crumpled_sheet,
        plate,
        foil,
        strip,
        can,
        radiator,
        extrusion,
        tube,
        wire,
        cable,
        machined_block,
        forging,
        turned_part,
        bolt,
        ring,
        turnings,
        casting,
        die_casting,
        casting_fragment,
        lump,
        brick,
        shard,
        tread,
        plank,
        rag,
        circuit_board,
    )
}
