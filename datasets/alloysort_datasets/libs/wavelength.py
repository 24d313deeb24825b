"""Vacuum and air wavelengths, converted in this one place."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Wavelength = TypeVar("Wavelength", float, NDArray[np.float64])


def refractive_index(vac_nm: Wavelength) -> Wavelength:
    """Of standard dry air at 15 C and 101,325 Pa, 450 ppm CO2, at a vacuum wavelength.

    Ciddor, Appl. Opt. 35, 1566 (1996), equation 1 for standard air; good to 1e-8 from 230 to 1690 nm.
    """
    sigma2 = (1e3 / vac_nm) ** 2  # per square micrometre
    return 1 + 1e-8 * (5792105 / (238.0185 - sigma2) + 167917 / (57.362 - sigma2))


def air_nm(vac_nm: Wavelength) -> Wavelength:
    """The air wavelength of a vacuum wavelength."""
    return vac_nm / refractive_index(vac_nm)


def vacuum_nm(air_nm: Wavelength) -> Wavelength:
    """The vacuum wavelength of an air wavelength, to better than 1e-9 nm."""
    vac_nm = air_nm * refractive_index(air_nm)
    return air_nm * refractive_index(vac_nm)
