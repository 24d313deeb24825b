"""Line profiles added up on a wavelength grid, a thousand lines in tens of microseconds.

A Voigt profile is sharp at its centre and smooth in its wings, so each is laid on three grids of 1, 4 and 16
points' spacing: the finest carries what the next cannot follow. Inside its reach R a coarser grid carries
a + b x^2, which meets the profile's value and slope at R, and the finer grid the rest. `assemble` adds the
three. Everything is in units of grid points; loops are written to compile to vector code.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Light = NDArray[np.float32]

SPACING: Final = 4  # from one grid to the next
BLOCK: Final = 16  # points worked on at once
MIDDLE_REACH: Final = 24  # in points of any grid: from a line's centre to where the next grid takes over
SHORT_REACH: Final = np.float32(BLOCK // 2)  # of faint or narrow lines
FINE_RIM, MIDDLE_RIM = np.float32(MIDDLE_REACH), np.float32(MIDDLE_REACH * SPACING)  # the same in fine points
WIDE: Final = np.float32(40)  # a Lorentz width in points that the next grid follows within 1 %
WIDE_MIDDLE: Final = np.float32(40 * SPACING)
FURTHER: Final = np.float32(
    3
)  # wings go on the coarsest grid: hundreds of faint ones add up, and cost little there
PAD: Final = 64  # points on either side of the grid, so that no window needs clipping
MIDDLE_PAD: Final = PAD // SPACING + MIDDLE_REACH
RAMP: Final = np.arange(16384, dtype=np.float32)  # a counter that compiles to vector code
ONE: Final = np.float32(1)

# No reordering of sums, no rough reciprocals: results must not depend on how a process was compiled
kernel = njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "ninf", "nsz"})


def empty_levels(points: int) -> tuple[Light, Light, Light]:
    """Zeros on the three grids for `points` points; (points - 1) must be a multiple of 16."""
    padded = points - 1 + 2 * PAD
    return (
        np.zeros(padded + 1, dtype=np.float32),
        np.zeros(padded // SPACING + 1 + 2 * MIDDLE_REACH, dtype=np.float32),
        np.zeros(padded // SPACING**2 + 1 + BLOCK, dtype=np.float32),
    )


@kernel
def exp_minus(y):  # type: ignore[no-untyped-def]
    """exp(-y) of a float32 in 0 to 64 within 4e-4 of it: (exp(-y/128))^128 compiles to vector code."""
    z = min(y, np.float32(64)) * np.float32(1 / 128)
    tail = np.float32(1 / 24) - z * (np.float32(1 / 120) - z * np.float32(1 / 720))
    power = ONE - z * (ONE - z * (np.float32(0.5) - z * (np.float32(1 / 6) - z * tail)))
    for _ in range(7):
        power *= power
    return power


@kernel
def add_voigts(fine, middle, far, area, gauss, lorentz, centre, floor):  # type: ignore[no-untyped-def]
    """Add pseudo-Voigt profiles; parts below `floor` may be left out.

    Width: Olivero, Longbothum, J. Quant. Spectrosc. Radiat. Transf. 17, 233 (1977); mixing: Thompson, Cox,
    Hastings, J. Appl. Cryst. 20, 79 (1987): within 1 % of the Voigt profile's peak.

    Args:
        fine, middle, far: from `empty_levels`.
        area, lorentz, centre, floor: (lines,) float32, centre float64.
        gauss: full width, of all of them.
    """
    lines = len(area)
    full, sharp = np.empty(lines, np.float32), np.empty(lines, np.float32)
    peak, reach = np.empty(lines, np.float32), np.empty(lines, np.float32)
    for i in range(lines):
        w = lorentz[i]
        f = np.float32(0.5346) * w + np.sqrt(np.float32(0.2166) * w * w + gauss * gauss)
        ratio = w / f
        eta = ratio * (np.float32(1.36603) - ratio * (np.float32(0.47719) - ratio * np.float32(0.11116)))
        eta = ONE if eta > np.float32(0.98) else eta
        full[i] = f
        sharp[i] = (ONE - eta) * area[i] * np.float32(0.9394373) / f
        peak[i] = eta * area[i] * np.float32(2 / np.pi) / f
        reach[i] = np.float32(0.5) * f * np.sqrt(peak[i] / floor[i])  # where the wing meets the floor
    # lists without branches first: a branch that nobody can predict costs as much as a window
    todo = np.empty((5, lines), np.int32)
    gausses, shorts, longs, middles, fars = 0, 0, 0, 0, 0
    for i in range(lines):
        sharpened, on_fine, on_middle = sharp[i] > 0, full[i] < WIDE, full[i] < WIDE_MIDDLE
        todo[0, gausses] = todo[1, shorts] = todo[2, longs] = todo[3, middles] = todo[4, fars] = i
        gausses += sharpened
        shorts += on_fine & (reach[i] <= SHORT_REACH)
        longs += on_fine & (reach[i] > SHORT_REACH)
        middles += on_middle & ((reach[i] > FINE_RIM) | (not on_fine))
        fars += (reach[i] > MIDDLE_RIM) | (not on_middle)
    for i in todo[0, :gausses]:
        _add_gauss(fine, sharp[i], full[i], centre[i])
    zero = np.float32(0)
    for i in todo[1, :shorts]:
        _add_window(fine, PAD, 1, peak[i], full[i], centre[i], ONE, zero, reach[i])
    for i in todo[2, :longs]:
        _add_window(fine, PAD, 3, peak[i], full[i], centre[i], ONE, zero, reach[i])
    step = np.float32(SPACING)
    for i in todo[3, :middles]:
        inner = FINE_RIM if full[i] < WIDE else zero
        _add_window(middle, MIDDLE_PAD, 3, peak[i], full[i], centre[i], step, inner, reach[i])
    for i in todo[4, :fars]:
        inner = MIDDLE_RIM if full[i] < WIDE_MIDDLE else zero
        _add_wing(far, PAD // SPACING**2, peak[i], full[i], centre[i], step * step, inner, FURTHER * reach[i])


@kernel
def _add_gauss(fine, peak, full, centre):  # type: ignore[no-untyped-def]
    """Cut off where it has fallen to 8e-4; (1 - y/64)^64 for exp(-y) is 0.8 % of the peak off at most."""
    blocks = 1 if 1.6 * full < SHORT_REACH - 1 else 3
    lo = int(centre) - blocks * (BLOCK // 2) + 1 + PAD
    if lo < 0 or lo + blocks * BLOCK > len(fine):
        return
    start = np.float32(lo - PAD - centre)
    inverse = np.float32(4 * np.log(2) / 64 / (full * full))
    height = np.float32(peak)
    for b in range(blocks):
        window = fine[lo + b * BLOCK : lo + (b + 1) * BLOCK]
        for k in range(BLOCK):
            x = start + RAMP[k]
            power = max(ONE - x * x * inverse, np.float32(0.5))  # 0.5^64 is as good as 0, and no denormal
            power *= power
            power *= power
            power *= power
            power *= power
            power *= power
            power *= power
            window[k] += height * power
        start += np.float32(BLOCK)


@kernel
def _add_window(line, pad, blocks, peak, full, centre, step, inner, reach):  # type: ignore[no-untyped-def]
    """Add a Lorentz profile, flattened inside `inner`; where it reaches beyond the window, less the
    flattening that the next grid carries."""
    c = np.float32(4) / (full * full)
    at = centre / step + pad
    outer = step * np.float32(MIDDLE_REACH)
    a_out, b_out = _flattening(peak, c, outer)
    if reach <= outer:
        a_out, b_out = np.float32(0), np.float32(0)
    a_in, b_in = _flattening(peak, c, inner)
    lo = int(at) - blocks * (BLOCK // 2) + 1
    if lo < 0 or lo + blocks * BLOCK > len(line):
        return
    start = np.float32(lo - at) * step
    for b in range(blocks):
        window = line[lo + b * BLOCK : lo + (b + 1) * BLOCK]
        for k in range(BLOCK):
            x = start + step * RAMP[k]
            x2 = x * x
            value = peak / (ONE + c * x2)
            value = a_in + b_in * x2 if x2 < inner * inner else value
            window[k] += value - (a_out + b_out * x2)
        start += step * np.float32(BLOCK)


@kernel
def _add_wing(line, pad, peak, full, centre, step, inner, reach):  # type: ignore[no-untyped-def]
    """Add a Lorentz profile as far as it reaches, flattened inside `inner`."""
    c = np.float32(4) / (full * full)
    at = centre / step + pad
    half = int(max(reach, full) / step) // (BLOCK // 2) * (BLOCK // 2) + BLOCK // 2
    lo = max(0, int(at) - half + 1)
    blocks = min((int(at) + half - lo) // BLOCK + 1, (len(line) - lo) // BLOCK)
    a_in, b_in = _flattening(peak, c, inner)
    start = np.float32(lo - at) * step
    for b in range(blocks):
        window = line[lo + b * BLOCK : lo + (b + 1) * BLOCK]
        for k in range(BLOCK):
            x = start + step * RAMP[k]
            x2 = x * x
            value = peak / (ONE + c * x2)
            window[k] += a_in + b_in * x2 if x2 < inner * inner else value
        start += step * np.float32(BLOCK)


@kernel
def _flattening(peak, c, rim):  # type: ignore[no-untyped-def]
    """a, b of the a + b x^2 that meets peak / (1 + c x^2) in value and slope at x = rim."""
    flat = ONE / (ONE + c * rim * rim)
    b = -peak * c * flat * flat
    return peak * flat - b * rim * rim, b


@kernel
def assemble(fine, middle, far, depth):  # type: ignore[no-untyped-def]
    """Add the three grids to (points,) `depth`; between their points the coarse ones run linearly."""
    for n in range(len(far) - 1 - BLOCK):
        slope = (far[n + 1] - far[n]) * np.float32(1 / SPACING)
        part = middle[MIDDLE_REACH + n * SPACING : MIDDLE_REACH + (n + 1) * SPACING]
        for k in range(SPACING):
            part[k] += far[n] + slope * RAMP[k]
    count = (len(depth) - 1) // SPACING
    coarse, own = middle[MIDDLE_PAD : MIDDLE_PAD + count + 1], fine[PAD : PAD + len(depth)]
    for n in range(count):
        here = coarse[n]
        slope = (coarse[n + 1] - here) * np.float32(1 / SPACING)
        depth[4 * n] += own[4 * n] + here
        depth[4 * n + 1] += own[4 * n + 1] + here + slope
        depth[4 * n + 2] += own[4 * n + 2] + here + slope * np.float32(2)
        depth[4 * n + 3] += own[4 * n + 3] + here + slope * np.float32(3)
    depth[-1] += own[len(depth) - 1] + coarse[count]
