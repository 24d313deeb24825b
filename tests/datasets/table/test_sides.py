from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.piece import SPLITS
from alloysort_datasets.table.sides import Sides

few = st.sampled_from(["a", "b", "c"])


def test_the_first_of_two_is_named() -> None:
    sides = Sides()
    assert sides.add("p", "s", "b", "train", where="row 1") == []
    assert sides.add("p", "t", "b", "train", where="row 2") == [
        ("piece_id", "a second piece 'p': the first stands in row 1")
    ]


@given(st.lists(st.tuples(few, few, st.none() | st.sampled_from(SPLITS))))
def test_a_batch_clashes_if_and_only_if_it_is_on_two_sides(
    rows: list[tuple[str, str, str | None]],
) -> None:
    sides = Sides()
    clashes = [key for n, row in enumerate(rows) for key, _ in sides.add(f"{n}", *row, where="here")]
    of_batch: dict[tuple[str, str], set[str]] = {}
    for source, batch, split in rows:
        if split is not None:
            of_batch.setdefault((source, batch), set()).add(split)
    assert bool(clashes) == any(len(found) > 1 for found in of_batch.values())
