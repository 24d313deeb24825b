"""A laser-induced plasma in local thermodynamic equilibrium, and the light that leaves it.

Saha balance over ions I to III with lowered ionisation energies, charge neutrality, partition functions
summed over levels, Voigt lines (Doppler, Stark), free-free and free-bound continuum, and radiative transfer
through a hot core and the cooler shell in front of it, so that strong lines saturate and resonance lines
reverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from alloysort_datasets.atomic import BOLTZMANN_EV_K, HC_EV_NM, AtomicData, atomic_data
from alloysort_datasets.errors import DataError

Floats = NDArray[np.float64]
Light = NDArray[np.float32]

# CODATA 2018; lengths in cm, wavelengths in nm
ELECTRON_THERMAL: Final = 2.4146830e15  # (2 pi m_e k / h^2)^1.5, per cm3 K^1.5
LINE_OPACITY: Final = 1.3272094e-33  # tau nm = this * lambda_nm^4 * gA * n_lower/g_lower(cm-3) * cm
DOPPLER: Final = 7.16247e-7  # FWHM / wavelength = this * sqrt(temperature_k / mass_u)
PLANCK: Final = 1.1910430e20  # 2hc^2: W m-2 sr-1 nm-1 with wavelength in nm
CONTINUUM: Final = 1.6321e-43  # W m4 K0.5 sr-1, D'Ammando et al., Spectrochim. Acta B 65, 603 (2010)
FREE_FREE_GAUNT: Final = 1.2  # mean over the visible, same source
FREE_BOUND_BIBERMAN: Final = 1.0  # of metals between 0.5 and 1.5, taken as constant

STEP: Final = 2e-5  # of the emission grid, relative: 0.008 nm at 400 nm
NODE: Final = 64  # grid points between two evaluations of what varies slowly
FAINT: Final = 3e-3  # of the continuum's optical depth: fainter lines and wings are left out
RAMP: Final = np.arange(8192, dtype=np.float32)  # a counter that compiles to vector code
WING: Final = 16  # grid points between two evaluations of a line's far wing
NEAR: Final = 6 * WING  # grid points from a line's centre to its far wing


@dataclass(frozen=True)
class Zone:
    """A uniform part of the plasma along the line of sight.

    Raises:
        DataError: a value is outside 1,000-60,000 K, 1e13-1e20 per cm3, or the length is negative.
    """

    temperature_k: float
    electron_density_cm3: float
    length_cm: float

    def __post_init__(self) -> None:
        if not 1e3 <= self.temperature_k <= 6e4:
            raise DataError(f"temperature_k {self.temperature_k} is outside 1,000-60,000")
        if not 1e13 <= self.electron_density_cm3 <= 1e20:
            raise DataError(f"electron_density_cm3 {self.electron_density_cm3:g} is outside 1e13-1e20")
        if not 0 <= self.length_cm < 100:
            raise DataError(f"length_cm {self.length_cm} is outside 0-100")


@cache
def emission_grid_nm(start_nm: float = 185.0, stop_nm: float = 1000.0) -> Floats:
    """(points,) vacuum wavelengths, a constant relative step apart, a whole number of nodes long."""
    nodes = int(np.ceil(np.log(stop_nm / start_nm) / STEP / NODE))
    return np.asarray(start_nm * np.exp(STEP * np.arange(nodes * NODE + 1)))


def radiance(fractions: Floats, core: Zone, shell: Zone, grid_vac_nm: Floats | None = None) -> Light:
    """Spectral radiance of the core seen through the shell.

    Args:
        fractions: (elements,) number fractions in the order of `atomic_data().elements`, summing to 1.
        core, shell: a shell of length 0 leaves a one-zone plasma.
        grid_vac_nm: (points,) from `emission_grid_nm`; the default is all of it.

    Returns:
        (points,) float32, W m-2 sr-1 nm-1.
    """
    grid = emission_grid_nm() if grid_vac_nm is None else grid_vac_nm
    light: Light = _emit(optical_depth(fractions, core, grid), _planck_nodes(grid, core))
    if shell.length_cm > 0:
        _cover(light, optical_depth(fractions, shell, grid), _planck_nodes(grid, shell))
    return light


def optical_depth(fractions: Floats, zone: Zone, grid_vac_nm: Floats) -> Light:
    """(points,) float32 optical depth of a zone, lines and continuum."""
    data = atomic_data()
    densities, partition = populations(fractions, zone, data)
    depth = _continuum_depth(densities, zone, grid_vac_nm, data)
    _add_lines(
        depth,
        grid_vac_nm[0],
        densities / partition * zone.length_cm,
        zone.temperature_k,
        zone.electron_density_cm3,
        data.mass_u[data.species_element],
        data.line_start,
        data.line_vac_nm,
        data.line_ga,
        data.line_lower_ev,
        data.line_stark,
        data.species_hydrogen,
    )
    return depth


def populations(fractions: Floats, zone: Zone, data: AtomicData) -> tuple[Floats, Floats]:
    """Densities per cm3 and partition functions, each (species,), at Saha balance and neutrality."""
    lowering = ionisation_lowering_ev(zone.temperature_k, zone.electron_density_cm3)
    partition = partition_functions(zone.temperature_k, lowering, data)
    densities = _saha(
        fractions,
        zone.temperature_k,
        zone.electron_density_cm3,
        lowering,
        partition,
        data.ionisation_ev,
        data.first_species,
    )
    return densities, partition


def partition_functions(temperature_k: float, lowering_ev: float, data: AtomicData) -> Floats:
    """(species,) sums over the levels that lie below the lowered ionisation energy."""
    sums: Floats = _partition(
        temperature_k,
        lowering_ev,
        data.ionisation_ev,
        data.species_stage,
        data.level_start,
        data.level_g,
        data.level_ev,
    )
    return sums


def ionisation_lowering_ev(temperature_k: float, electron_density_cm3: float) -> float:
    """Of a neutral, by Debye shielding: e^2 / (4 pi eps0 lambda_D); of charge z it is z + 1 times that.

    Griem, Principles of Plasma Spectroscopy (1997), section 5.4.
    """
    debye_cm = 6.901 * np.sqrt(temperature_k / electron_density_cm3)
    return float(1.43996e-7 / debye_cm)


@njit(cache=True, nogil=True, error_model="numpy")
def _partition(temperature_k, lowering_ev, ionisation_ev, stage, start, g, level_ev):  # type: ignore[no-untyped-def]
    beta = 1 / (BOLTZMANN_EV_K * temperature_k)
    sums = np.empty(len(stage))
    for s in range(len(stage)):
        limit = ionisation_ev[s] - stage[s] * lowering_ev
        sums[s] = g[start[s]]
        for i in range(start[s] + 1, start[s + 1]):
            if level_ev[i] >= limit or level_ev[i] * beta > 30.0:
                break
            sums[s] += g[i] * np.exp(-level_ev[i] * beta)
    return sums


@njit(cache=True, nogil=True, error_model="numpy")
def _saha(fractions, temperature_k, electrons, lowering_ev, partition, ionisation_ev, first):  # type: ignore[no-untyped-def]
    beta = 1 / (BOLTZMANN_EV_K * temperature_k)
    free = 2 * ELECTRON_THERMAL * temperature_k**1.5 / electrons
    share = np.zeros(len(partition))
    charge = 0.0
    for e in range(len(fractions)):
        if fractions[e] <= 0:
            continue
        relative, total = 1.0, 1.0
        share[first[e]] = 1.0
        for s in range(first[e] + 1, first[e + 1]):
            z = s - first[e]
            chi = ionisation_ev[s - 1] - z * lowering_ev
            relative *= free * partition[s] / partition[s - 1] * np.exp(-chi * beta)
            share[s] = relative
            total += relative
        for s in range(first[e], first[e + 1]):
            share[s] *= fractions[e] / total
            charge += (s - first[e]) * share[s]
    return share * (electrons / max(charge, 1e-12))


def _nodes(grid_vac_nm: Floats) -> Floats:
    return grid_vac_nm[::NODE]


def _planck_nodes(grid_vac_nm: Floats, zone: Zone) -> Light:
    return _planck(_nodes(grid_vac_nm), zone.temperature_k).astype(np.float32)


def _planck(vac_nm: Floats, temperature_k: float) -> Floats:
    """W m-2 sr-1 nm-1."""
    quantum = HC_EV_NM / (vac_nm * BOLTZMANN_EV_K * temperature_k)
    return np.asarray(PLANCK * vac_nm**-5.0 / np.expm1(quantum))


def _continuum_depth(densities: Floats, zone: Zone, grid_vac_nm: Floats, data: AtomicData) -> Light:
    """(points,) free-free and free-bound optical depth: the emission coefficient over Planck's function."""
    vac_m = _nodes(grid_vac_nm) * 1e-9
    charge2 = float(((data.species_stage - 1.0) ** 2 * densities).sum()) * 1e6
    electrons = zone.electron_density_cm3 * 1e6
    stimulated = np.exp(-HC_EV_NM * 1e-9 / (vac_m * BOLTZMANN_EV_K * zone.temperature_k))
    gaunt = FREE_BOUND_BIBERMAN * (1 - stimulated) + FREE_FREE_GAUNT * stimulated
    per_m = CONTINUUM / vac_m**2 * electrons * charge2 / np.sqrt(zone.temperature_k) * gaunt  # W m-3 sr-1 m-1
    depth = per_m * 1e-9 * zone.length_cm * 1e-2 / _planck(_nodes(grid_vac_nm), zone.temperature_k)
    spread: Light = _spread(depth.astype(np.float32))
    return spread


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _spread(nodes):  # type: ignore[no-untyped-def]
    """Values between nodes, linearly."""
    out = np.empty((len(nodes) - 1) * NODE + 1, dtype=np.float32)
    for n in range(len(nodes) - 1):
        slope = (nodes[n + 1] - nodes[n]) * np.float32(1 / NODE)
        for k in range(NODE):
            out[n * NODE + k] = nodes[n] + slope * RAMP[k]
    out[-1] = nodes[-1]
    return out


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _add_lines(  # type: ignore[no-untyped-def]
    depth, first_nm, columns, temperature_k, electrons, mass_u, start, vac_nm, ga, lower_ev, stark, hydrogen
):
    """Add every line's optical depth; `columns` is density x length / partition function, per cm2."""
    far = np.zeros((len(depth) - 1) // WING + 1, dtype=np.float32)
    beta = 1 / (BOLTZMANN_EV_K * temperature_k)
    log_t = np.log10(temperature_k)
    size = len(depth)
    for s in range(len(start) - 1):
        if columns[s] <= 0:
            continue
        doppler = DOPPLER * np.sqrt(temperature_k / mass_u[s])
        for i in range(start[s], start[s + 1]):
            nm = vac_nm[i]
            at = int(np.log(nm / first_nm) / STEP + 0.5)
            if at < 0 or at >= size:
                continue
            photon = 1 - np.exp(-HC_EV_NM / nm * beta)
            area = LINE_OPACITY * nm**4 * ga[i] * columns[s] * np.exp(-lower_ev[i] * beta) * photon  # nm
            step = nm * STEP
            gauss = max(doppler * nm, 1.5 * step)
            floor = depth[at] * FAINT + 1e-9
            if area < floor * gauss:
                continue
            shift = 0.0
            if hydrogen[s]:
                lorentz = _hydrogen_width(nm, electrons)
            else:
                lorentz = (
                    10 ** (stark[i, 0] + log_t * (stark[i, 1] + log_t * stark[i, 2])) * electrons * 1e-18
                )
                shift = lorentz * (stark[i, 3] + log_t * (stark[i, 4] + log_t * stark[i, 5]))
            if nm + shift > 0:
                _add_voigt(
                    depth, far, area, gauss, lorentz, np.log((nm + shift) / first_nm) / STEP, step, floor
                )
    for n in range(len(far) - 1):
        slope = (far[n + 1] - far[n]) * np.float32(1 / WING)
        part = depth[n * WING : (n + 1) * WING]
        for k in range(WING):
            part[k] += far[n] + slope * RAMP[k]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _hydrogen_width(nm, electrons):  # type: ignore[no-untyped-def]
    """Full width at half area, nm: linear Stark, H alpha and (wider) the rest as H beta.

    Gigosos, Gonzalez, Cardenoso, Spectrochim. Acta B 58, 1489 (2003), equations 3 and 5.
    """
    if nm > 600:
        return 0.549 * (electrons * 1e-17) ** 0.67965
    return 4.800 * (electrons * 1e-17) ** 0.68116


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _add_voigt(depth, far, area, gauss, lorentz, centre, step, floor):  # type: ignore[no-untyped-def]
    """Add a pseudo-Voigt profile of unit area times `area`; widths in nm, `centre` in grid points.

    Thompson, Cox, Hastings, J. Appl. Cryst. 20, 79 (1987): within 1 % of the Voigt profile's peak.
    """
    g, w = gauss, lorentz
    full = (
        g**5 + 2.69269 * g**4 * w + 2.42843 * g**3 * w**2 + 4.47163 * g**2 * w**3 + 0.07842 * g * w**4 + w**5
    ) ** 0.2
    ratio = w / full
    eta = ratio * (1.36603 - ratio * (0.47719 - ratio * 0.11116))
    size = len(depth)

    peak = np.float32(eta * area * 2 / (np.pi * full))
    inverse = np.float32(4 * step * step / (full * full))
    reach = (
        np.sqrt(max(eta * area * full / (2 * np.pi * floor), 0.0)) / step
    )  # where the Lorentz wing meets the floor
    if reach <= NEAR:
        lo = max(0, int(centre - reach))
        hi = max(lo, min(size, int(centre + reach) + 1))
        start = np.float32(lo - centre)
        core = depth[lo:hi]
        for k in range(len(core)):
            x = start + RAMP[k]
            core[k] += peak / (np.float32(1) + x * x * inverse)
    else:
        _add_wide(depth, far, peak, inverse, centre, reach)

    # (1 - y/64)^64 for exp(-y): 0.8 % of the peak off at most, and unlike exp it compiles to vector code
    peak = np.float32((1 - eta) * area * 0.9449 / full)
    reach = 1.6 * full / step  # exp(-4 ln2 1.6^2) = 8e-4
    lo = max(0, int(centre - reach))
    hi = max(lo, min(size, int(centre + reach) + 1, int(centre - reach) + len(RAMP)))
    inverse = np.float32(4 * np.log(2) / 64 * step * step / (full * full))
    start = np.float32(lo - centre)
    core = depth[lo:hi]
    for k in range(len(core)):
        x = start + RAMP[k]
        power = np.float32(1) - x * x * inverse
        power *= power
        power *= power
        power *= power
        power *= power
        power *= power
        core[k] += peak * power * power


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _add_wide(depth, far, peak, inverse, centre, reach):  # type: ignore[no-untyped-def]
    """Add a Lorentz profile: to `far` at its nodes, and to `depth` what lies between them near the centre."""
    one, fraction = np.float32(1), np.float32(1 / WING)
    lo, hi = max(0, int((centre - reach) / WING)), min(len(far) - 1, int((centre + reach) / WING) + 1)
    start = np.float32(lo * WING - centre)
    nodes = far[lo : hi + 1]
    step = np.float32(WING)
    for n in range(len(nodes)):
        x = start + step * RAMP[n]
        nodes[n] += peak / (one + x * x * inverse)
    lo, hi = max(0, int((centre - NEAR) / WING)), min(len(far) - 1, int((centre + NEAR) / WING) + 1)
    for n in range(lo, hi):
        start = np.float32(n * WING - centre)
        end = start + np.float32(WING)
        left, right = peak / (one + start * start * inverse), peak / (one + end * end * inverse)
        slope = (right - left) * fraction
        core = depth[n * WING : (n + 1) * WING]
        for k in range(WING):
            x = start + RAMP[k]
            between = left + slope * RAMP[k]
            core[k] += peak / (one + x * x * inverse) - between


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _emit(depth, source_nodes):  # type: ignore[no-untyped-def]
    source = _spread(source_nodes)
    light = np.empty(len(depth), dtype=np.float32)
    for j in range(len(depth)):
        t = depth[j]
        thin = t * (np.float32(1) - np.float32(0.5) * t)
        light[j] = source[j] * (thin if t < np.float32(1e-3) else np.float32(1) - np.exp(-t))
    return light


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _cover(light, depth, source_nodes):  # type: ignore[no-untyped-def]
    """See `light` through a layer of its own optical depth and source, in place."""
    source = _spread(source_nodes)
    for j in range(len(depth)):
        t = depth[j]
        through = np.exp(-t)
        thin = t * (np.float32(1) - np.float32(0.5) * t)
        light[j] = light[j] * through + source[j] * (
            thin if t < np.float32(1e-3) else np.float32(1) - through
        )
