"""A prepared split: maps on disk, or held by an accelerator; batches of it, shuffled or in order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

_PORTION: Final = 4096  # pieces sent to an accelerator at a time
_RESIDENT: Final = (
    "images",
    "spectra",
    "coverage",
    "present",
    "family",
    "composition",
    "shown",
    "stranger",
    "layer",
)


class Batch(NamedTuple):
    """B pieces: the bundle's four inputs and what is known of them.

    Attributes:
        image: (B, H, H, 3) uint8.
        spectrum: (B, K, C) float32.
        coverage: (B, C) float32.
        present: (B, 2) float32.
        family: (B,) int64, -1 where unknown.
        composition: (B, E) wt%, NaN where unknown.
        shown: (B,) the piece's own share of what the late hits ablated, NaN where unknown.
        stranger: (B,) 1 for matter that no family describes, else 0; NaN where unknown.
        layer: (B,) int64 in LAYERS.
    """

    image: Tensor
    spectrum: Tensor
    coverage: Tensor
    present: Tensor
    family: Tensor
    composition: Tensor
    shown: Tensor
    stranger: Tensor
    layer: Tensor


@dataclass(frozen=True, eq=False)
class Prepared:
    """One split of N pieces, prepared; every array is a memory map.

    Attributes:
        images: (N, H, H, 3) uint8.
        spectra: (N, V, K, C) float16: the views of all shots first, then of random subsets; see `to_half`.
        coverage: (N, C / 8) uint8, a bit a channel.
        present: (N, 2) float32, image there, spectrum there.
        family: (N,) int64, -1 where unknown.
        composition: (N, E) float32 wt%, NaN where unknown.
        batch: (N,) int64, the piece's batch as a number.
        shown: (N, V) float32, the piece's own share of what the late hits ablated, NaN where unknown.
        stranger: (N,) float32, 1 for matter that no family describes, NaN where unknown.
        layer: (N,) int8 in LAYERS.
        line_over_noise: (N,) float32 of the strongest line, 0 without a spectrum.
    """

    images: NDArray[np.uint8]
    spectra: NDArray[np.float16]
    coverage: NDArray[np.uint8]
    present: NDArray[np.float32]
    family: NDArray[np.int64]
    composition: NDArray[np.float32]
    batch: NDArray[np.int64]
    shown: NDArray[np.float32]
    stranger: NDArray[np.float32]
    layer: NDArray[np.int8]
    line_over_noise: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.family)

    @property
    def variants(self) -> int:
        """Spectra kept of each piece."""
        return int(self.spectra.shape[1])

    def take(self, pieces: NDArray[np.int64], variants: NDArray[np.int64]) -> Batch:
        """These pieces with these variants of their spectra, both (B,)."""
        present = self.present[pieces]
        return Batch(
            image=torch.from_numpy(self.images[pieces]),
            spectrum=torch.from_numpy(self.spectra[pieces, variants].astype(np.float32)),
            coverage=torch.from_numpy(
                np.unpackbits(self.coverage[pieces], axis=1).astype(np.float32) * present[:, 1:]
            ),
            present=torch.from_numpy(present),
            family=torch.from_numpy(self.family[pieces]),
            composition=torch.from_numpy(self.composition[pieces]),
            shown=torch.from_numpy(self.shown[pieces, variants]),
            stranger=torch.from_numpy(self.stranger[pieces]),
            layer=torch.from_numpy(self.layer[pieces].astype(np.int64)),
        )

    @classmethod
    def open(cls, folder: Path, mode: Literal["r", "r+"] = "r") -> Prepared:
        """The maps that `prepare` left in a folder."""
        return cls(
            **{field.name: np.load(folder / f"{field.name}.npy", mmap_mode=mode) for field in fields(cls)}
        )


class Resident:
    """A prepared split held by an accelerator: there, reading from disk would take longer than learning.

    Args:
        prepared: the split.
        device: where it goes.
    """

    def __init__(self, prepared: Prepared, device: torch.device) -> None:
        self._count, self.variants = len(prepared), prepared.variants
        self._of = {name: _sent(getattr(prepared, name), device) for name in _RESIDENT}
        self._bits = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
        self._device = device

    @staticmethod
    def fits(prepared: Prepared, device: torch.device) -> bool:
        """Whether the accelerator has room for it, and as much again."""
        if device.type != "cuda":
            return False
        needed: int = 2 * sum(getattr(prepared, name).nbytes for name in _RESIDENT)
        free: int = torch.cuda.mem_get_info(device)[0]
        return needed < free

    def __len__(self) -> int:
        return self._count

    def take(self, pieces: NDArray[np.int64], variants: NDArray[np.int64]) -> Batch:
        """As `Prepared.take`."""
        rows, those = (torch.from_numpy(index).to(self._device) for index in (pieces, variants))
        present = self._of["present"][rows]
        bits = (self._of["coverage"][rows].unsqueeze(2) >> self._bits) & 1
        return Batch(
            image=self._of["images"][rows],
            spectrum=self._of["spectra"][rows, those].to(torch.float32),
            coverage=bits.flatten(1).to(torch.float32) * present[:, 1:],
            present=present,
            family=self._of["family"][rows],
            composition=self._of["composition"][rows],
            shown=self._of["shown"][rows, those],
            stranger=self._of["stranger"][rows],
            layer=self._of["layer"][rows].to(torch.int64),
        )


def _sent(values: NDArray[Any], device: torch.device) -> Tensor:
    """To the device in portions: a map need not fit into memory."""
    sent = torch.empty(values.shape, dtype=getattr(torch, values.dtype.name), device=device)
    for start in range(0, len(values), _PORTION):
        sent[start : start + _PORTION] = torch.from_numpy(np.array(values[start : start + _PORTION])).to(
            device
        )
    return sent


class Batches(Dataset[Batch]):
    """Whole batches of a prepared split; an index is piece x variants + variant."""

    def __init__(self, prepared: Prepared | Resident) -> None:
        self.prepared = prepared

    def __len__(self) -> int:
        return len(self.prepared) * self.prepared.variants

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of these indices, read in one go."""
        pieces, variants = np.divmod(np.asarray(indices, dtype=np.int64), self.prepared.variants)
        return self.prepared.take(pieces, variants)


class Shuffled(Sampler[list[int]]):
    """Each piece once an epoch, with one of its variants; the order hangs on seed and epoch alone.

    Each of `replicas` processes gets its own share of every batch's worth of pieces; the odd rest is dropped.
    """

    def __init__(
        self,
        prepared: Prepared | Resident,
        batch_size: int,
        seed: int,
        rank: int = 0,
        replicas: int = 1,
    ) -> None:
        self.pieces, self.variants = len(prepared), prepared.variants
        self.batch_size = min(batch_size, self.pieces // replicas)
        self.seed, self.rank, self.replicas = seed, rank, replicas
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.pieces // (self.batch_size * self.replicas)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(self.pieces) * self.variants + rng.integers(self.variants, size=self.pieces)
        mine = order[self.rank :: self.replicas]
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield mine[start : start + self.batch_size].tolist()


class InOrder(Sampler[list[int]]):
    """Each piece with all its shots, in the order of the table, shared among the processes."""

    def __init__(
        self, prepared: Prepared | Resident, batch_size: int, rank: int = 0, replicas: int = 1
    ) -> None:
        self.indices = range(0, len(prepared) * prepared.variants, prepared.variants)[rank::replicas]
        self.batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.indices) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield list(self.indices[start : start + self.batch_size])


def loader(prepared: Prepared | Resident, sampler: Sampler[list[int]]) -> DataLoader[Batch]:
    """Batches as the sampler names them, read in this process: on memory maps that is a copy, not work."""
    return DataLoader(Batches(prepared), batch_sampler=sampler, collate_fn=_as_is)


def _as_is(batch: Any) -> Any:
    return batch
