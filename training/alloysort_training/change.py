"""What adapting a bundle to an instrument came to, and the card that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from alloysort_datasets.libs.instrument import Instrument
from alloysort_models.bundle.manifest import Adapted


class Doubt(NamedTuple):
    """A reference piece whose label is not believed by a network that had not seen it."""

    piece_id: str
    label: str
    named: str


@dataclass(frozen=True)
class Change:
    """What adapting comes to, on reference pieces that were left out.

    Attributes:
        pieces: there are.
        before, after: share named rightly.
        gain: rise of the mean logarithm of the label's probability, a label in two taken for anybody's.
        sure: share of draws of pieces with a gain.
        novel_before, novel_after: share called novel.
        doubts: labels to look at.
        instrument: what its spectra tell of it; None where they tell nothing.
    """

    pieces: int
    before: dict[str, float | None]
    after: dict[str, float | None]
    gain: dict[str, float | None]
    sure: float
    novel_before: float
    novel_after: float
    doubts: tuple[Doubt, ...]
    instrument: Instrument | None

    def figures(self) -> dict[str, Any]:
        """As a manifest tells them."""
        return {**asdict(self), "doubts": [doubt._asdict() for doubt in self.doubts]}

    def lines(self) -> list[str]:
        """In words, a line each."""
        rightly = f"{_shown(self.before)} before, {_shown(self.after)} after"
        said = [
            f"of {self.pieces} reference pieces, left out in turn: named rightly {rightly}",
            f"called novel {self.novel_before:.1%} before, {self.novel_after:.1%} after",
            f"mean ln probability of the label {_shown(self.gain)} higher, in {self.sure:.0%} of draws",
        ]
        if self.instrument is None:
            said.append("of the instrument: nothing; no piece of known composition has such a plasma's lines")
        else:
            said += _instrument_lines(self.instrument)
        said += [
            f"look at piece {doubt.piece_id}: labelled {doubt.label}, seen as {doubt.named}"
            for doubt in self.doubts
        ]
        return said


def _instrument_lines(instrument: Instrument) -> list[str]:
    of = f"{instrument.spectra} pieces of known composition"
    lines = [f"its wavelengths, by the lines of {of} (resolution {instrument.resolution_nm:.2f} nm):"]
    for one in instrument.detectors:
        response = ", ".join(f"{part.middle_nm:.0f} nm {part.response:.2g}" for part in one.stretches)
        lines.append(
            f"  {one.low_nm:.0f}-{one.high_nm:.0f} nm: reads {one.error_low_nm:+.2f} nm at its lower end, "
            f"{one.error_high_nm:+.2f} nm at its upper (spread {one.spread_nm:.2f}); response {response}"
        )
    return lines


def adapted_card(
    before: str, name: str, adapted: Adapted, change: Change, families: Mapping[str, int]
) -> str:
    """MODEL_CARD.md of an adapted bundle: what was done, then the card of the bundle it was adapted from."""
    pieces = ", ".join(f"{count} {name}" for name, count in families.items())
    before = "\n".join(f"#{line}" if line.startswith("#") else line for line in before.splitlines())
    lines = "\n".join(f"- {line.strip()}" for line in change.lines())
    return f"""# {name}

{adapted.bundle}, adapted by `alloysort adapt` to the instrument {adapted.instrument!r} with {adapted.pieces}
reference pieces: {pieces}. What they say nothing of stays as it was, and so do the convolutions, the
picture's branch and the bars. Pieces: SHA-256 `{adapted.data_sha256}`; {adapted.bundle}: SHA-256 of its
bundle.json `{adapted.bundle_sha256}`.

{lines}

So few pieces check that it got no worse. How good it is on scrap, `alloysort bench accuracy` says on pieces
of the same instrument that were not among them. All below is of {adapted.bundle}, before it was adapted.

{before}
"""


def _shown(figure: Mapping[str, float | None]) -> str:
    if figure["value"] is None:
        return "unknown"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
