"""A laser-induced plasma in local thermodynamic equilibrium, and the light that leaves it.

Saha balance over ions I to III with lowered ionisation energies, charge neutrality, partition functions
summed over levels, Voigt lines (Doppler, Stark), free-free and free-bound continuum, and radiative transfer
through a hot core and the cooler shell in front of it, so that strong lines saturate and resonance lines
reverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alloysort_datasets.errors import DataError
from alloysort_datasets.libs.atomic import BOLTZMANN_EV_K, HC_EV_NM, AtomicData, atomic_data
from alloysort_datasets.libs.profiles import ONE, RAMP, add_voigts, assemble, empty_levels, exp_minus, kernel

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
NODE: Final = 256  # grid points between two evaluations of what varies slowly
FAINT: Final = 5e-3  # of the light around it: fainter lines and wings are left out
SHARPEST: Final = 1.5  # grid points, the narrowest Gaussian the grid carries
LOG_WIDEST: Final = np.float32(12)
WIDEST: Final = np.float32(np.exp(12))  # grid points, more than any line's width
BESIDE: Final = 2000  # grid points, 4 %: lines that far outside the grid reach into it with their wings
HYDROGEN_POWER: Final = 0.68  # of the electron density; 0.67965 and 0.68116 for H alpha and H beta
REFERENCE_CM3: Final = 1e17
_FEWEST, _MOST, _HALVINGS = 1e13, 1e19, 12  # electrons per cm3, to 0.3 %
BLUR: Final = 8.0  # grid points, less than any spectrometer's resolution: what a faint line is spread over


@dataclass(frozen=True)
class Zone:
    """A uniform part of the plasma along the line of sight; `continuum` multiplies its continuum.

    Raises:
        DataError: a value is outside 1,000-60,000 K, 1e13-1e20 per cm3, or the length is negative.
    """

    temperature_k: float
    electron_density_cm3: float
    length_cm: float
    continuum: float = 1.0

    def __post_init__(self) -> None:
        if not 1e3 <= self.temperature_k <= 6e4:
            raise DataError(f"temperature_k {self.temperature_k} is outside 1,000-60,000")
        if not 1e13 <= self.electron_density_cm3 <= 1e20:
            raise DataError(f"electron_density_cm3 {self.electron_density_cm3:g} is outside 1e13-1e20")
        if not 0 <= self.length_cm < 100:
            raise DataError(f"length_cm {self.length_cm} is outside 0-100")


@lru_cache(maxsize=16)  # of 0.7 MB
def emission_grid_nm(start_nm: float = 185.0, stop_nm: float = 1000.0) -> Floats:
    """(points,) vacuum wavelengths, a constant relative step apart, a whole number of nodes long."""
    nodes = int(np.ceil(np.log(stop_nm / start_nm) / STEP / NODE))
    return np.asarray(start_nm * np.exp(STEP * np.arange(nodes * NODE + 1)))


def radiance(
    fractions: Floats,
    core: Zone,
    shell: Zone,
    grid_vac_nm: Floats | None = None,
    shell_fractions: Floats | None = None,
) -> Light:
    """Spectral radiance of the core seen through the shell.

    Args:
        fractions: (elements,) number fractions in the order of `atomic_data().elements`, summing to 1.
        core, shell: a shell of length 0 leaves a one-zone plasma.
        grid_vac_nm: (points,) from `emission_grid_nm`; the default is all of it.
        shell_fractions: (elements,) where the shell is of other matter than the core.

    Returns:
        (points,) float32, W m-2 sr-1 nm-1.
    """
    grid = emission_grid_nm() if grid_vac_nm is None else grid_vac_nm
    nodes = _nodes(grid)
    source = _planck(nodes, core.temperature_k)
    densities, columns = _columns(fractions, core)
    continuum = _continuum_depth(densities, core, nodes, source)
    light: Light = _emit(_depth(columns, core, grid, continuum, FAINT * continuum), source.astype(np.float32))
    if shell.length_cm > 0:
        behind = -np.expm1(-continuum) * source
        source = _planck(nodes, shell.temperature_k)
        densities, columns = _columns(fractions if shell_fractions is None else shell_fractions, shell)
        continuum = _continuum_depth(densities, shell, nodes, source)
        # a line of depth t changes the light by t (source - light), which counts relative to the light
        floor = FAINT * behind / np.maximum(behind, source)
        _cover(light, _depth(columns, shell, grid, continuum, floor), source.astype(np.float32))
    return light


def optical_depth(fractions: Floats, zone: Zone, grid_vac_nm: Floats) -> Light:
    """(points,) float32 optical depth of a zone, lines and continuum."""
    densities, columns = _columns(fractions, zone)
    nodes = _nodes(grid_vac_nm)
    continuum = _continuum_depth(densities, zone, nodes, _planck(nodes, zone.temperature_k))
    return _depth(columns, zone, grid_vac_nm, continuum, FAINT * continuum)


def _columns(fractions: Floats, zone: Zone) -> tuple[Floats, Floats]:
    """Densities per cm3, and density x length / partition function per cm2, each (species,)."""
    densities, partition = populations(fractions, zone, atomic_data())
    return densities, densities / partition * zone.length_cm


def _depth(columns: Floats, zone: Zone, grid_vac_nm: Floats, continuum: Floats, floor: Floats) -> Light:
    """(points,) optical depth; `continuum` and `floor` are at the nodes."""
    depth: Light = _between_nodes(continuum.astype(np.float32))
    levels = empty_levels(len(depth))
    _add_lines(
        *levels,
        np.maximum(floor, 1e-9).astype(np.float32),
        np.log(grid_vac_nm[0]) / STEP,
        columns,
        zone.temperature_k,
        zone.electron_density_cm3,
        ionisation_lowering_ev(zone.temperature_k, zone.electron_density_cm3),
        *_line_table(),
    )
    assemble(*levels, depth)
    return depth


class _LineTable(NamedTuple):
    """What `_add_lines` reads, in units of grid points; (species,) or (lines,)."""

    doppler: Floats  # full width over the square root of the temperature
    strongest: Floats
    limit_ev: Floats
    stage: NDArray[np.int8]
    hydrogen: NDArray[np.bool_]
    start: NDArray[np.int32]
    position: Floats  # log wavelength
    whole: NDArray[np.int32]  # the same, rounded down
    strength: Light  # area of a column of one per cm2 in the lower level's state, without stimulated emission
    lower_ev: Light
    upper_ev: Light
    photon_ev: Light
    width: Light  # (3, lines) log of the full Stark width at 1e17 per cm3, in powers of log10 temperature
    shift: Light  # (3, lines) over the width, likewise


@cache
def _line_table() -> _LineTable:
    data = atomic_data()
    nm = data.line_vac_nm
    strength = LINE_OPACITY * nm**3 * data.line_ga / STEP
    log_width = data.line_stark[:, :3] * np.log(10)
    log_width[:, 0] += np.log(0.1 / (nm * STEP))
    hydrogen = np.repeat(data.species_hydrogen, np.diff(data.line_start))
    log_width[hydrogen] = 0.0
    log_width[hydrogen, 0] = np.log([_hydrogen_width_nm(x) for x in nm[hydrogen]] / (nm[hydrogen] * STEP))
    bounds = list(zip(data.line_start[:-1], data.line_start[1:], strict=True))
    return _LineTable(
        doppler=DOPPLER / np.sqrt(data.mass_u[data.species_element]) / STEP,
        strongest=np.array([strength[a:b].max(initial=0.0) for a, b in bounds]),
        limit_ev=data.ionisation_ev,
        stage=data.species_stage,
        hydrogen=data.species_hydrogen,
        start=data.line_start,
        position=np.log(nm) / STEP,
        whole=(np.log(nm) / STEP).astype(np.int32),
        strength=strength.astype(np.float32),
        lower_ev=data.line_lower_ev.astype(np.float32),
        upper_ev=(data.line_lower_ev + HC_EV_NM / nm).astype(np.float32),
        photon_ev=(HC_EV_NM / nm).astype(np.float32),
        width=np.ascontiguousarray(log_width.T, dtype=np.float32),
        shift=np.ascontiguousarray(data.line_stark[:, 3:].T, dtype=np.float32),
    )


def populations(fractions: Floats, zone: Zone, data: AtomicData) -> tuple[Floats, Floats]:
    """Densities per cm3 and partition functions, each (species,), at Saha balance and neutrality.

    Partition functions are summed over the levels below the lowered ionisation energy; those of elements that
    are not there are 1.
    """
    lowering = ionisation_lowering_ev(zone.temperature_k, zone.electron_density_cm3)
    partition = _partition(
        zone.temperature_k,
        lowering,
        fractions[data.species_element] > 0,
        data.ionisation_ev,
        data.species_stage,
        data.level_start,
        data.level_g,
        data.level_ev,
    )
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


def pressure(fractions: Floats, zone: Zone) -> float:
    """Particles per cm3, electrons too, times kelvin."""
    densities, _ = populations(fractions, zone, atomic_data())
    return float((densities.sum() + zone.electron_density_cm3) * zone.temperature_k)


def density_at(fractions: Floats, temperature_k: float, wanted: float) -> float:
    """Electrons per cm3 of matter of this temperature under a pressure, see `pressure`.

    Halves the interval of its logarithm, for pressure grows with the electrons' density. The partition
    functions are those of `REFERENCE_CM3`: they hardly change with it.
    """
    data = atomic_data()
    _, partition = populations(fractions, Zone(temperature_k, REFERENCE_CM3, 0.0), data)
    low, high = np.log(_FEWEST), np.log(_MOST)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        electrons = float(np.exp(middle))
        lowering = ionisation_lowering_ev(temperature_k, electrons)
        particles = _saha(
            fractions, temperature_k, electrons, lowering, partition, data.ionisation_ev, data.first_species
        )
        if (particles.sum() + electrons) * temperature_k < wanted:
            low = middle
        else:
            high = middle
    return float(np.exp(0.5 * (low + high)))


def ionisation_lowering_ev(temperature_k: float, electron_density_cm3: float) -> float:
    """Of a neutral, by Debye shielding: e^2 / (4 pi eps0 lambda_D); of charge z it is z + 1 times that.

    Griem, Principles of Plasma Spectroscopy (1997), section 5.4.
    """
    debye_cm = 6.901 * np.sqrt(temperature_k / electron_density_cm3)
    return float(1.43996e-7 / debye_cm)


@kernel
def _partition(temperature_k, lowering_ev, wanted, ionisation_ev, stage, start, g, level_ev):  # type: ignore[no-untyped-def]
    beta = np.float32(1 / (BOLTZMANN_EV_K * temperature_k))
    sums = np.ones(len(stage))
    for s in range(len(stage)):
        if wanted[s]:
            limit = ionisation_ev[s] - stage[s] * lowering_ev
            bound = start[s] + np.searchsorted(level_ev[start[s] : start[s + 1]], limit)
            own_g, own_ev = g[start[s] + 1 : bound], level_ev[start[s] + 1 : bound]
            terms = np.empty(len(own_g), np.float32)
            for i in range(len(terms)):
                terms[i] = own_g[i] * exp_minus(own_ev[i] * beta)
            total = np.float32(0)
            for term in terms:
                total += term
            sums[s] = g[start[s]] + total
    return sums


@kernel
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


@kernel
def _planck(vac_nm, temperature_k):  # type: ignore[no-untyped-def]
    """W m-2 sr-1 nm-1."""
    source = np.empty(len(vac_nm))
    for n in range(len(vac_nm)):
        quantum = HC_EV_NM / (vac_nm[n] * BOLTZMANN_EV_K * temperature_k)
        source[n] = PLANCK / (vac_nm[n] ** 5 * np.expm1(quantum))
    return source


def _continuum_depth(densities: Floats, zone: Zone, nodes_vac_nm: Floats, planck: Floats) -> Floats:
    """(nodes,) free-free and free-bound optical depth: the emission coefficient over Planck's function."""
    charge2 = float(((atomic_data().species_stage - 1.0) ** 2 * densities).sum()) * 1e6
    electrons = zone.electron_density_cm3 * 1e6
    per_m2 = (
        zone.continuum * CONTINUUM * electrons * charge2 / np.sqrt(zone.temperature_k) * zone.length_cm * 1e-2
    )
    depth: Floats = _continuum(nodes_vac_nm, zone.temperature_k, per_m2, planck)
    return depth


@kernel
def _continuum(vac_nm, temperature_k, per_m2, planck):  # type: ignore[no-untyped-def]
    depth = np.empty(len(vac_nm))
    for n in range(len(vac_nm)):
        stimulated = np.exp(-HC_EV_NM / (vac_nm[n] * BOLTZMANN_EV_K * temperature_k))
        gaunt = FREE_BOUND_BIBERMAN * (1 - stimulated) + FREE_FREE_GAUNT * stimulated
        per_nm = per_m2 / (vac_nm[n] * 1e-9) ** 2 * gaunt * 1e-9  # W m-2 sr-1 nm-1
        depth[n] = per_nm / planck[n]
    return depth


@kernel
def _between_nodes(nodes):  # type: ignore[no-untyped-def]
    """Values between nodes, linearly."""
    out = np.empty((len(nodes) - 1) * NODE + 1, dtype=np.float32)
    for n in range(len(nodes) - 1):
        slope = (nodes[n + 1] - nodes[n]) * np.float32(1 / NODE)
        for k in range(NODE):
            out[n * NODE + k] = nodes[n] + slope * RAMP[k]
    out[-1] = nodes[-1]
    return out


@kernel
def _add_lines(  # type: ignore[no-untyped-def]
    fine, middle, far, floor_nodes, first, columns, temperature_k, electrons, lowering_ev,
    doppler, strongest, limit_ev, stage, hydrogen, start,
    position, whole, strength, lower_ev, upper_ev, photon_ev, width, shift,
):  # fmt: skip
    """Add the lines' optical depth, species by species, of those that show."""
    beta = np.float32(1 / (BOLTZMANN_EV_K * temperature_k))
    log_t = np.float32(np.log10(temperature_k))
    points = (len(floor_nodes) - 1) * NODE
    last_node, first_whole = len(floor_nodes) - 1, int(first)
    faintest = floor_nodes.min()
    for s in range(len(start) - 1):
        if columns[s] * strongest[s] < faintest * BLUR:
            continue
        lo = start[s] + np.searchsorted(position[start[s] : start[s + 1]], first - BESIDE)
        hi = start[s] + np.searchsorted(position[start[s] : start[s + 1]], first + points + BESIDE)
        column = np.float32(columns[s])
        limit = np.float32(limit_ev[s] - stage[s] * lowering_ev)
        areas = np.empty(hi - lo, np.float32)
        for i in range(len(areas)):
            boltzmann = exp_minus(lower_ev[lo + i] * beta)
            areas[i] = strength[lo + i] * column * boltzmann * (ONE - exp_minus(photon_ev[lo + i] * beta))
        at = np.empty(len(areas), np.int32)
        kept = 0
        for i in range(len(areas)):
            node = min(max((whole[lo + i] - first_whole) // NODE, 0), last_node)
            at[kept] = i
            kept += (areas[i] > floor_nodes[node] * np.float32(BLUR)) & (upper_ev[lo + i] < limit)
        scale = electrons * 1e-17
        if hydrogen[s]:
            scale = scale**HYDROGEN_POWER
        log_scale = np.float32(np.log(scale))
        area, floor = np.empty(kept, np.float32), np.empty(kept, np.float32)
        lorentz, moved, centre = np.empty(kept, np.float32), np.empty(kept, np.float32), np.empty(kept)
        for i in range(kept):
            n = lo + at[i]
            area[i] = areas[at[i]]
            floor[i] = floor_nodes[min(max((whole[n] - first_whole) // NODE, 0), last_node)]
            lorentz[i] = width[0, n] + log_t * (width[1, n] + log_t * width[2, n])
            moved[i] = shift[0, n] + log_t * (shift[1, n] + log_t * shift[2, n])
            centre[i] = position[n] - first
        for i in range(kept):
            lorentz[i] = WIDEST * exp_minus(LOG_WIDEST - log_scale - lorentz[i])
            centre[i] += lorentz[i] * moved[i]
        gauss = np.float32(max(doppler[s] * np.sqrt(temperature_k), SHARPEST))
        add_voigts(fine, middle, far, area, gauss, lorentz, centre, floor)


def _hydrogen_width_nm(vac_nm: float) -> float:
    """Full width at half area at 1e17 per cm3: linear Stark, H alpha and (wider) the rest as H beta.

    Gigosos, Gonzalez, Cardenoso, Spectrochim. Acta B 58, 1489 (2003), equations 3 and 5.
    """
    return 0.549 if vac_nm > 600 else 4.800


@kernel
def _emit(depth, source_nodes):  # type: ignore[no-untyped-def]
    light = np.zeros(len(depth), dtype=np.float32)
    _cover(light, depth, source_nodes)
    return light


@kernel
def _cover(light, depth, source_nodes):  # type: ignore[no-untyped-def]
    """See `light` through a layer of its own optical depth and source, in place."""
    source = _between_nodes(source_nodes)
    for j in range(len(depth)):
        t = depth[j]
        through = exp_minus(t)
        thin = t * (ONE - t * (np.float32(0.5) - t * (np.float32(1 / 6) - t * np.float32(1 / 24))))
        light[j] = light[j] * through + source[j] * (thin if t < np.float32(0.1) else ONE - through)
