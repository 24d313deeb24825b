from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import SpectrumError
from alloysort_datasets.readers.spectrum import read_spectrum
from alloysort_datasets.spectrum import Spectrum

AXIS = np.round(np.linspace(200.25, 399.75, 40), 3)
SHOTS = np.round(np.random.default_rng(1).uniform(-3, 65_000, (3, 40)), 2)


def table(sep: str = ",", decimal: str = ".", header: str = "", end: str = "\n", shots: int = 3) -> str:
    rows = [
        sep.join(f"{value:.3f}".replace(".", decimal) for value in (wavelength, *counts))
        for wavelength, counts in zip(AXIS, SHOTS[:shots].T, strict=True)
    ]
    return header + end.join(rows) + end


def rows_layout(first: str = "Wavelength (nm),", labels: tuple[str, ...] = ("s1,", "s2,", "s3,")) -> str:
    lines = [first + ",".join(map(str, AXIS))]
    lines += [label + ",".join(map(str, counts)) for label, counts in zip(labels, SHOTS, strict=True)]
    return "\n".join(lines)


def expect(spectrum: Spectrum, shots: int = 3) -> None:
    assert spectrum.wavelength_nm.dtype == np.float64
    assert spectrum.shots.dtype == np.float32
    np.testing.assert_allclose(spectrum.wavelength_nm, AXIS, rtol=1e-9)
    np.testing.assert_allclose(spectrum.shots, SHOTS[:shots], rtol=1e-6)


OCEAN = """Data from shot_0001.txt Node

Date: Mon Mar 01 10:11:12 CET 2021
Integration Time (sec): 1,000000E-3
Number of Pixels in Spectrum: 40
>>>>>Begin Spectral Data<<<<<
"""
AVANTES = """Laser 1064 nm;
Integration time [ms]: 1,05
Averaging Nr. [scans]: 1
Wave   ;Sample   ;Dark     ;Reference
[nm]   ;[counts] ;[counts] ;[counts]

"""


@pytest.mark.parametrize("sep", [",", ";", "\t", " ", "   ", ", ", " ; "])
@pytest.mark.parametrize("header", ["", "wavelength_nm,a,b,c\n", "# taken 2024-05-01\n% 3 shots\n// x\n\n"])
def test_separators_and_headers(sep: str, header: str) -> None:
    expect(read_spectrum(table(sep, header=header).encode()))


@pytest.mark.parametrize("sep", [";", "\t", " "])
def test_decimal_commas(sep: str) -> None:
    expect(read_spectrum(table(sep, decimal=",").encode()))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_encodings_and_line_ends(encoding: str, end: str) -> None:
    expect(read_spectrum(table(header=f"# Prüfstück{end}", end=end).encode(encoding)))


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_counts_the_shot_columns(shots: int) -> None:
    expect(read_spectrum(table(shots=shots).encode()), shots)


def test_ocean_optics_block() -> None:
    expect(read_spectrum((OCEAN + table("\t") + ">>>>>End Spectral Data<<<<<\n").encode()))


def test_avantes_header_leaves_dark_and_reference_out() -> None:
    expect(read_spectrum((AVANTES + table(";", decimal=",")).encode()), 1)


def test_andor_footer() -> None:
    footer = "\nDate and Time:\tMon Mar 01 2021\nExposure Time (secs):\t0.03\n"
    expect(read_spectrum((table("\t") + footer).encode()))


def test_comments_between_rows() -> None:
    rows = table().split("\n")
    expect(read_spectrum("\n".join([*rows[:9], '" half', "# way", "", *rows[9:]]).encode()))


def test_quoted_cells_and_trailing_separators() -> None:
    quoted = table().replace(",", '","').replace("\n", '",\n"').rstrip('"')
    expect(read_spectrum(f'"{quoted}'.encode()))


def test_descending() -> None:
    expect(read_spectrum("\n".join(reversed(table().split("\n"))).encode()))


def test_pixel_column_before_the_wavelengths() -> None:
    rows = table().split("\n")[:-1]
    numbered = "\n".join(f"{index},{row}" for index, row in enumerate(rows))
    expect(read_spectrum(f",wavelength,s1,s2,s3\n{numbered}".encode()))
    expect(read_spectrum(f"pixel,wavelength,s1,s2,s3\n{numbered}".encode()))


def test_wavelength_column_need_not_be_first() -> None:
    rows = [",".join(map(str, (*counts, nm))) for nm, counts in zip(AXIS, SHOTS.T, strict=True)]
    expect(read_spectrum("\n".join(["a,b,c,lambda [nm]", *rows]).encode()))


@pytest.mark.parametrize(
    ("first", "labels"),
    [
        ("Wavelength (nm),", ("501b_6,", "45e_7,", "933_5,")),
        (",", ("0,", "1,", "2,")),
        ("", ("", "", "")),
        ("# nm\n", ("", "", "")),
    ],
)
def test_a_row_per_shot(first: str, labels: tuple[str, ...]) -> None:
    expect(read_spectrum(rows_layout(first, labels).encode()))


@pytest.mark.parametrize(
    ("header", "factor"),
    [
        ("Wavelength (Å),a,b,c\n", 10),
        ("wavelength_angstrom,a,b,c\n", 10),
        ("Lambda [A],a,b,c\n", 10),
        ("XUNITS= ANGSTROM\n", 10),
        ("", 10),
        ("Wavelength [nm],a,b,c\n", 1),
        ("Wavelength (µm),a,b,c\n", 1e-3),
    ],
)
def test_units(header: str, factor: float) -> None:
    rows = [",".join(map(str, (nm * factor, *counts))) for nm, counts in zip(AXIS, SHOTS.T, strict=True)]
    expect(read_spectrum((header + "\n".join(rows)).encode()))


def test_the_wavelength_of_the_laser_is_no_unit() -> None:
    rows = [",".join(map(str, (nm * 10, *counts))) for nm, counts in zip(AXIS, SHOTS.T, strict=True)]
    expect(read_spectrum("\n".join(["Laser wavelength: 1064 nm", *rows]).encode()))


def test_equal_wavelengths_are_merged_by_mean() -> None:
    rows = table().split("\n")
    twin = f"{AXIS[9]:.3f}," + ",".join(str(count + 2) for count in SHOTS[:, 9])
    spectrum = read_spectrum("\n".join([*rows[:10], twin, *rows[10:]]).encode())
    np.testing.assert_allclose(spectrum.wavelength_nm, AXIS)
    np.testing.assert_allclose(spectrum.shots[:, 9], SHOTS[:, 9] + 1, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_numpy_files(suffix: str) -> None:
    file = io.BytesIO()
    if suffix == ".npz":
        np.savez_compressed(file, wavelength_nm=AXIS, shots=SHOTS.astype(np.float32))
    else:
        np.save(file, np.column_stack([AXIS, SHOTS.T]))
    expect(read_spectrum(file.getvalue()))


LONG = "\n".join(f"{200 + index / 2:.2f},{9000 + index}.125" for index in range(200))
ROWS = table().split("\n")[:-1]


def changed(row: int, text: str) -> str:
    return "\n".join([*ROWS[:row], text, *ROWS[row + 1 :]])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        (" \n\t\n", "is empty"),
        ("no numbers here\nat all\n", "no rows of numbers"),
        ("\x00\x01\x02\x03 binary \x07" * 9, "is binary"),
        ("\n".join(row.split(",")[1] for row in ROWS), "single column"),
        (table()[:-11], "line 40: 3 cells where the other rows have 4"),
        (LONG[:-2], "line 200: the last number has fewer decimals than those above, and no line end"),
        (LONG[:-5], "line 200: the last number has fewer decimals"),
        (OCEAN + "\n".join(ROWS[:30]) + "\n", "the numbers end after 30 rows, the header promises 40"),
        ("\n".join(ROWS[:-1]) + "\n399", "line 40: 1 cell where"),
        ("\n".join(ROWS[:-1]) + "\n399.75,1,2,", "line 40: 3 cells where"),
        (changed(0, "200.25,12"), "line 1: 2 cells where"),
        (changed(0, "200.25,x,1,2"), "line 1: 'x' is not a number"),
        (changed(6, "231,1,,2"), "line 7: '' is not a number"),
        (changed(6, "231,1,1_0,2"), "line 7: '1_0' is not a number"),
        (changed(6, "oops"), "line 7: text between the rows"),
        (changed(6, "230.9,nan,inf,2"), "line 7: the first of 2 NaN or infinite values"),
        (changed(6, "nan,1,2,3"), "line 7: the first of 1 NaN"),
        (changed(6, "230.9,1e300,1,2"), "no detector"),
        (changed(6, "500,1,2,3"), "line 8: wavelength 236.058 nm after 500 nm: they must ascend or descend"),
        (changed(39, "99999,1,2,3"), "line 40: wavelength 99999 nm lies outside 100-12000 nm"),
        ("\n".join(ROWS[:15]), "15 channels, a spectrum has 16 or more"),
        (rows_layout().split("\n")[0], "wavelengths without counts"),
        ("\n".join(f"{1000 + 10 * i} {i}" for i in range(99)), "could be nm or Å"),
        ("\n".join(f"{i} {i}" for i in range(50)), "outside 100-12000 nm"),
        ("\n".join(f"{200 + i // 10},{i}" for i in range(300)), "only 30 of 300 wavelengths differ"),
        (table(";", decimal=",") + "401.5;1;2;3\n", "both '.' and ','"),
        ("Raman shift (cm-1),a,b,c\n" + table(), "in 1/cm: export it as wavelength in nm"),
        ("vacuum wavelength (nm),a,b,c\n" + table(), "in air"),
        ("wavelength,a,wavelength,b\n" + table(), "2 wavelength columns"),
        ("wavelength,dark,ref,sigma\n" + table(), "without counts"),
    ],
)
def test_refuses(content: str, says: str) -> None:
    with pytest.raises(SpectrumError) as caught:
        read_spectrum(content.encode(), "shot.csv")
    message = str(caught.value)
    assert message.startswith("shot.csv: ")
    assert says in message
    assert "\n" not in message


def test_whole_numbers_without_a_last_line_end_are_not_cut() -> None:
    rows = "\n".join(f"{200 + index},{1198 - index}" for index in range(200))
    assert read_spectrum(rows.encode()).shots[0, -1] == 999


def test_refuses_what_is_no_readable_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.csv", Path("a\0b")):
        with pytest.raises(SpectrumError, match="shot"):
            read_spectrum(path, "shot")


def test_refuses_large_files(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(SpectrumError, match=r"large\.csv: 64 MB, at most 64 MB"):
        read_spectrum(path)


def test_an_array_may_not_claim_more_than_it_holds() -> None:
    file = io.BytesIO()
    np.save(file, np.column_stack([AXIS, SHOTS.T]))
    greedy = file.getvalue().replace(b"(40, 4), }       ", b"(4000000000, 4), }")
    with pytest.raises(SpectrumError, match="cut short"):
        read_spectrum(greedy)


@given(st.data())
def test_plain_tables_are_read_alike_by_the_fast_way_and_the_other(data: st.DataObject) -> None:
    numbers = st.floats(-1e6, 1e6).map(lambda value: f"{value:.{data.draw(st.integers(0, 4))}f}")
    sep, shots = data.draw(st.sampled_from([",", ";", "\t"])), data.draw(st.integers(1, 3))
    header = data.draw(st.sampled_from(["", "# x\n", "Unit: nm\n\n"])) + sep.join(
        ["wavelength_nm", *(f"shot {shot}" for shot in range(shots))]
    )
    rows = [sep.join([f"{300 + row}", *(data.draw(numbers) for _ in range(shots))]) for row in range(20)]
    broken = data.draw(st.sampled_from([None, None, "", "x", "1e999", "1,5", "1" + sep + "2"]))
    if broken is not None:
        rows[data.draw(st.integers(1, 19))] = f"310{sep}{broken}"
    text = "\n".join([header, *rows, ""])
    said = [outcome(text), outcome(text + "# a remark keeps this from being plain\n")]
    assert said[0] == said[1]


def outcome(text: str) -> object:
    try:
        spectrum = read_spectrum(text.encode(), "x")
    except SpectrumError as error:
        return str(error).replace(": is the file cut short?", "")
    return spectrum.wavelength_nm.tolist(), spectrum.shots.tolist()


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    read_or_refuse(data)


@given(st.text(st.sampled_from('0123456789.,;:-+eEnaif \t\n\r"#%_Åλ>'), max_size=600))
def test_any_numeric_text(text: str) -> None:
    read_or_refuse(text.encode())


def arrays(name: str) -> bytes:
    file = io.BytesIO()
    if name == "npz":
        np.savez(file, wavelength_nm=AXIS, shots=SHOTS)
    else:
        np.save(file, np.column_stack([AXIS, SHOTS.T]))
    return file.getvalue()


VALID = [
    table().encode(),
    table("\t", decimal=",", header="wavelength\ta\tb\tc\n").encode("utf-16"),
    (OCEAN + table(" ")).encode(),
    rows_layout().encode(),
    arrays("npz"),
    arrays("npy"),
]


@given(st.data())
def test_mutated_files(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = min(len(content), start + data.draw(st.integers(0, 40)))
        content[start:stop] = data.draw(
            st.binary(max_size=12) | st.sampled_from([b",", b"\n", b"nan", b"9" * 9])
        )
    read_or_refuse(bytes(content))


def read_or_refuse(data: bytes) -> None:
    try:
        spectrum = read_spectrum(data)
    except SpectrumError:
        return
    assert spectrum.shots.shape[1] == spectrum.wavelength_nm.size >= 16
    assert (np.diff(spectrum.wavelength_nm) > 0).all()
    assert np.isfinite(spectrum.shots).all()


def test_reads_every_real_file(shared_data: Path) -> None:
    metals = sorted((shared_data / "libs" / "aalto_elements").glob("*.csv"))
    assert len(metals) == 13
    for path in metals:
        spectrum = read_spectrum(path)
        assert spectrum.shots.shape == (1, 8188)
        assert 195 < spectrum.wavelength_nm[0] < spectrum.wavelength_nm[-1] < 983
    for path in (shared_data / "libs" / "oreas").glob("*.txt"):
        assert read_spectrum(path).shots.shape == (10, 8011)
    assert read_spectrum(shared_data / "libs" / "oreas" / "OREAS_source_h.csv").shots.shape == (7, 8011)
