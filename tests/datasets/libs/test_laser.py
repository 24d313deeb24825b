from dataclasses import replace

import numpy as np
import pytest

from alloysort_datasets.libs import laser
from alloysort_datasets.libs.atomic import atomic_data
from alloysort_datasets.libs.conditions import RANGES, draw_conditions
from alloysort_datasets.libs.laser import fire, reference_exposure
from alloysort_datasets.libs.plasma import pressure, radiance
from alloysort_datasets.libs.spectrometer import build_spectrometer
from alloysort_datasets.piece import Instrument

SHEET = {"Al": 97.0, "Mg": 1.0, "Si": 1.0, "Fe": 0.5, "Cu": 0.5}
CLEAN = {
    **{name: 0.0 for name in RANGES if name.endswith("_um") and name != "depth_um"},
    **dict.fromkeys(("defocus_mm", "miss_rate", "graze_rate", "neighbour_share", "late_share"), 0.0),
    "plasma_temperature_k": 10500.0,
    "electron_density_cm3": 1e17,
}
AXIS = np.linspace(220, 480, 1300)
UNIT = (
    replace(  # a detector without a ceiling, dark level or much noise of its own: these tests are of the shot
        build_spectrometer("test", AXIS, np.full(1300, 0.3), np.random.default_rng(0)),
        instrument=Instrument("test", AXIS, 0.3, 1e9),
        dark_counts=np.zeros(1300, np.float32),
        read_noise_counts=1.0,
        counts_per_electron=1.0,
    )
)
EXPOSURE = 1e-3 * reference_exposure(UNIT, np.random.default_rng(1))


def shoot(composition=SHEET, shots=3, seed=0, neighbour=None, **conditions):
    rng = np.random.default_rng(seed)
    drawn = draw_conditions(composition, rng, {**CLEAN, **conditions})
    return fire(composition, UNIT, drawn, shots, EXPOSURE, rng, neighbour)


def light(shots):
    return shots.counts.sum(axis=1)


def rsd(shots):
    return light(shots).std(ddof=1) / light(shots).mean()


def line(shots, air_nm, half_nm=0.4):
    """(shots,) a line's light over its surroundings."""
    near = abs(AXIS - air_nm) < half_nm
    edge = (abs(AXIS - air_nm) > half_nm) & (abs(AXIS - air_nm) < 2 * half_nm)
    return (shots.counts[:, near] - np.median(shots.counts[:, edge], axis=1, keepdims=True)).sum(axis=1)


def test_the_same_stream_gives_the_same_shots():
    np.testing.assert_array_equal(shoot(seed=7).counts, shoot(seed=7).counts)


def test_more_magnesium_gives_more_magnesium_light():
    ratios = []
    for magnesium in (0.1, 1.0):
        found = shoot({"Al": 100 - magnesium, "Mg": magnesium}, 20)
        ratios.append(np.median(line(found, 285.213) / line(found, 266.04)))
    assert ratios[1] > 1.5 * ratios[0]


def test_clean_targets_vary_from_shot_to_shot_as_real_ones_do(shared_data):
    real = []
    for path in sorted((shared_data / "libs" / "oreas").glob("*.txt")):
        totals = np.loadtxt(path, delimiter=",")[:, 1:].sum(axis=0)
        real.append(totals.std(ddof=1) / totals.mean())
    assert 0.08 < np.median(real) < 0.20
    spread = [rsd(shoot(shots=200, seed=seed)) for seed in range(6)]
    assert min(real) - 0.01 < min(spread) < max(spread) < max(real) + 0.01


@pytest.mark.parametrize("light_rsd", [0.085, 0.175])  # the ends of what is drawn
@pytest.mark.parametrize("energy_rsd", [0.005, 0.05])
def test_a_clean_sheet_varies_by_8_to_20_percent_under_any_laser(light_rsd, energy_rsd):
    assert 0.08 < rsd(shoot(shots=200, seed=2, light_rsd=light_rsd, energy_rsd=energy_rsd)) < 0.20


def like(shots, reference):
    """(shots,) correlation with another piece's mean spectrum; roots, so that no one line decides."""
    mean = np.sqrt(reference.counts.mean(axis=0).clip(0))
    return np.array([np.corrcoef(np.sqrt(counts.clip(0)), mean)[0, 1] for counts in shots.counts])


@pytest.fixture
def plasmas(monkeypatch):
    """The (core, shell) that shots make, in order."""
    made = []

    def watch(fractions, core, shell, grid, outer):
        made.append((core, shell))
        return radiance(fractions, core, shell, grid, outer)

    monkeypatch.setattr(laser, "radiance", watch)
    return made


@pytest.fixture
def mattered(monkeypatch):
    """The plumes that shots make, element to number fraction, in order."""
    made = []

    def watch(fractions, core, shell, grid, outer):
        made.append(dict(zip(atomic_data().elements, fractions.tolist(), strict=True)))
        return radiance(fractions, core, shell, grid, outer)

    monkeypatch.setattr(laser, "radiance", watch)
    return made


def test_a_stronger_pulse_is_hotter_denser_longer_and_brighter(plasmas):
    weak, strong = shoot(shots=1, pulse_energy=0.6), shoot(shots=1, pulse_energy=1.5)
    assert light(strong) > 1.3 * light(weak)
    for below, above in zip(*plasmas, strict=True):
        assert above.temperature_k > 1.05 * below.temperature_k
        assert above.electron_density_cm3 > 1.2 * below.electron_density_cm3
        assert above.length_cm > 1.2 * below.length_cm


def test_defocus_lowers_light_temperature_and_density(plasmas):
    totals = [light(shoot(shots=1, defocus_mm=mm, rayleigh_mm=2.0))[0] for mm in (2.5, 1, 0)]
    assert totals == sorted(totals)
    cores = [core for core, _ in plasmas]
    assert cores == sorted(cores, key=lambda core: core.temperature_k)
    assert cores == sorted(cores, key=lambda core: core.electron_density_cm3)


def test_energy_moves_temperature_and_density_together(plasmas):
    shoot(shots=40, energy_rsd=0.1)
    temperature, density = np.array(
        [(core.temperature_k, core.electron_density_cm3) for core, _ in plasmas]
    ).T
    assert np.corrcoef(np.log(temperature), np.log(density))[0, 1] > 0.99
    assert 0.005 < temperature.std() / temperature.mean() < 0.03


def test_paint_hides_the_metal_until_shots_have_cleared_it():
    bare = shoot(shots=14)
    painted = shoot(shots=14, paint_um=60.0, paint_white=1.0, depth_um=3.0)
    assert like(painted, bare)[0] < 0.4 < 0.65 < like(painted, bare)[-1]


def test_zinc_on_steel_fades_from_shot_to_shot():
    steel = {"Fe": 99.0, "Mn": 0.8, "C": 0.2}
    galvanised = shoot(steel, 16, zinc_um=10.0, depth_um=3.0)
    zinc, iron = like(galvanised, shoot({"Zn": 100})), like(galvanised, shoot(steel))
    assert zinc[0] > iron[0]
    assert iron[-1] > zinc[-1]
    assert iron[-1] > 0.95


def test_missed_and_grazing_shots_are_told_and_are_dim():
    hit, missed, grazed = shoot(shots=8), shoot(shots=8, miss_rate=1.0), shoot(shots=8, graze_rate=1.0)
    assert (hit.conditions["missed_shots"], hit.conditions["grazed_shots"]) == (0, 0)
    assert (missed.conditions["missed_shots"], grazed.conditions["grazed_shots"]) == (8, 8)
    assert light(missed).mean() < 0.3 * light(hit).mean()
    assert light(grazed).mean() < 0.9 * light(hit).mean()
    assert like(missed, hit).max() < 0.5 < like(grazed, hit).min()


def test_an_edge_couples_less(plasmas):
    shoot(shots=4), shoot(shots=4, graze_rate=1.0)
    for (full, _), (grazed, _) in zip(plasmas[:4], plasmas[4:], strict=True):
        assert grazed.temperature_k < full.temperature_k
        assert grazed.electron_density_cm3 < full.electron_density_cm3


def test_a_missed_shot_clears_no_paint(mattered):
    for miss_rate in (0.0, 0.5):
        shoot(shots=20, paint_um=60.0, depth_um=3.0, miss_rate=miss_rate, air_share=0.0)
    metal, later = np.array([plume["Al"] for plume in mattered]).reshape(2, 20)
    belt = np.array([plume["Cl"] > 0 for plume in mattered[20:]])
    assert 4 < belt.sum() < 16
    assert (later[belt] == 0).all()
    hits = np.flatnonzero(~belt)
    np.testing.assert_allclose(later[hits], metal[: len(hits)], atol=0.06)
    assert metal[hits[-1]] - later[hits[-1]] > 0.12


def test_far_out_of_focus_there_is_more_air_than_metal(mattered):
    for defocus_mm in (0.0, 1.0, 9.0):
        shoot(
            shots=1, defocus_mm=defocus_mm, rayleigh_mm=2.0, air_share=0.2, pulse_energy=1.0, energy_rsd=0.0
        )
    sharp, blurred, lost = (plume["Al"] for plume in mattered)
    assert blurred == pytest.approx(sharp, rel=0.1)
    assert lost < 0.2 * sharp


def test_the_last_spot_may_lie_on_the_next_piece():
    copper = {"Cu": 100.0}
    found = like(shoot(shots=3, neighbour=copper, neighbour_share=0.5), shoot(copper))
    assert found[2] > found[:2].max() + 0.2


def test_volatile_elements_go_ahead():
    bronze = {"Cu": 99.0, "Zn": 1.0}
    ratios = [
        line(found, 334.50).mean() / line(found, 296.12).mean()
        for found in (shoot(bronze, 8, volatile=volatile) for volatile in (0.0, 0.3))
    ]
    assert ratios[1] > 1.2 * ratios[0]


def test_what_was_met_is_told():
    found = shoot(oil_um=3.0)
    drawn = draw_conditions(SHEET, np.random.default_rng(0), {**CLEAN, "oil_um": 3.0})
    told = dict(found.conditions)
    for name in ("missed_shots", "grazed_shots", *(f"metal_share_{shot}" for shot in (1, 2, 3))):
        told.pop(name)
    assert told == replace(drawn, oil_um=3.0).as_mapping()


def test_the_shell_stands_in_balance_of_pressure_with_the_core(plasmas):
    for seed in range(30):
        ratio = draw_conditions(SHEET, np.random.default_rng(seed), {}).shell_pressure_ratio
        plasmas.clear()
        shoot(
            shots=1,
            seed=seed,
            shell_pressure_ratio=ratio,
            **dict.fromkeys(("shell_air_share", "air_share", "volatile"), 0.0),
        )
        ((core, shell),) = plasmas
        plume = atomic_data().fractions(SHEET)
        assert pressure(plume, shell) / pressure(plume, core) == pytest.approx(ratio, rel=0.1)


def test_a_gate_that_sees_the_later_stage_too_sees_a_colder_thinner_plasma(plasmas):
    shoot(shots=1, late_share=0.5, cooling=0.8, thinning=0.3)
    (early, _), (late, _) = plasmas
    assert late.temperature_k == pytest.approx(0.8 * early.temperature_k)
    assert late.electron_density_cm3 == pytest.approx(0.3 * early.electron_density_cm3)


def test_every_shot_tells_how_much_of_its_plume_is_the_pieces_own():
    bare = shoot(shots=3)
    assert [bare.conditions[f"metal_share_{shot}"] for shot in (1, 2, 3)] == [1.0, 1.0, 1.0]
    painted = shoot(shots=14, paint_um=60.0, depth_um=3.0)
    shares = [painted.conditions[f"metal_share_{shot}"] for shot in range(1, 15)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] > 0.1
    assert shoot(shots=1, miss_rate=1.0).conditions["metal_share_1"] == 0
    mixed = shoot(shots=2, neighbour={"Cu": 100.0}, neighbour_share=0.5)
    assert (mixed.conditions["metal_share_1"], mixed.conditions["metal_share_2"]) == (1.0, 0.5)
