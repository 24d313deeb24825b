"""The one rule of the splits: which pieces must not stand together, or apart.

- A batch is the pair (source, batch): two sources may both have a "batch-1".
- A batch stands on one side. A piece without a split is on no side, and clashes with none.
- A piece stands once, whatever number of tables there are.
"""

from __future__ import annotations

from typing import Final


class Sides:
    """Is fed pieces, and says of each what clashes with those before it.

    Grows with piece ids and batches, not with what they hold.
    """

    def __init__(self) -> None:
        self._pieces: Final[dict[str, tuple[str, str | None]]] = {}
        self._batches: Final[dict[tuple[str, str], str]] = {}

    def add(
        self, piece_id: str | None, source: str | None, batch: str | None, split: str | None, where: str
    ) -> list[tuple[str, str]]:
        """Take a piece in.

        Args:
            piece_id, source, batch, split: the piece's; what is None is not judged.
            where: where the piece stands, as a user knows it.

        Returns:
            the key at fault and what is wrong with it, once for each clash.
        """
        clashes = []
        if piece_id:
            if piece_id in self._pieces:
                first, side = self._pieces[piece_id]
                apart = "" if side == split else f", on the splits {side} and {split}"
                clashes.append(
                    ("piece_id", f"a second piece {piece_id!r}{apart}: the first stands in {first}")
                )
            else:
                self._pieces[piece_id] = (where, split)
        if source and batch and split:
            side = self._batches.setdefault((source, batch), split)
            if side != split:
                both = f"is on the splits {side} and {split}: keep a batch on one side"
                clashes.append(("split", f"batch {batch!r} of source {source!r} {both}"))
        return clashes
