"""A bundle's wavelength axis."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Grid:
    """`channels` bins of constant resolving power from `start_nm` to `stop_nm`, air nm.

    Constant d(lambda)/lambda puts the channels where the lines crowd, in the ultraviolet.

    Raises:
        ValidationError: the range is empty or not positive, or there are not 2 to 65536 channels.
    """

    start_nm: Annotated[float, Field(gt=0)]
    stop_nm: float
    channels: Annotated[int, Field(ge=2, le=65536)]

    @model_validator(mode="after")
    def _ascends(self) -> Grid:
        if not self.start_nm < self.stop_nm:
            raise ValueError(f"start_nm {self.start_nm} must lie below stop_nm {self.stop_nm}")
        return self

    @cached_property
    def edges_nm(self) -> NDArray[np.float64]:
        """(channels + 1,) bin edges."""
        return np.geomspace(self.start_nm, self.stop_nm, self.channels + 1)

    @cached_property
    def wavelength_nm(self) -> NDArray[np.float64]:
        """(channels,) bin centres."""
        edges = self.edges_nm
        return np.sqrt(edges[:-1] * edges[1:])
