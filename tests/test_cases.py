"""Small inputs after public reports, each of which was once read wrongly: read rightly, or refused by name.

The spectra are one synthetic piece, 680 channels over 250-419.75 nm, first count 1208.5.
"""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import ImageError, SpectrumError
from alloysort_datasets.readers.picture import decode_image
from alloysort_datasets.readers.spectrum import read_spectrum
from alloysort_inference.doors.rest.answer import make_answer
from alloysort_inference.doors.rest.app import create_app
from alloysort_inference.doors.serve import Server, listen
from alloysort_inference.doors.settings import Settings
from alloysort_inference.pipeline import Upload, open_classifier

CASES = Path(__file__).parent / "cases"


@pytest.mark.parametrize(
    ("file", "shots"),
    [
        ("plain_reference.csv", 3),
        ("one_letter_columns.txt", 1),
        ("counts_and_percent.txt", 1),
        ("shots_median_mean.csv", 3),
        ("camera_one_frame.csv", 1),
        ("jcamp_ordinates_per_line.jdx", 1),
        ("alternating_columns.txt", 2),
        ("header_padded_with_nul.txt", 1),
        ("time_series_rows.txt", 3),
    ],
)
def test_a_spectrum_is_read_rightly(file, shots):
    spectrum = read_spectrum(CASES / file)
    reference = read_spectrum(CASES / "plain_reference.csv")
    np.testing.assert_allclose(spectrum.wavelength_nm, np.linspace(250.0, 419.75, 680))
    np.testing.assert_allclose(spectrum.shots, reference.shots[:shots], atol=0.51)  # some hold whole counts


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("wavenumber_in_header_line.txt", "the axis says '##XUNITS=1/CM', it is in 1/cm: export wavelengths"),
        ("quoted_thousands.csv", "line 2: '1,208.5' has a thousands mark"),
    ],
)
def test_a_spectrum_is_refused_by_name(file, says):
    with pytest.raises(SpectrumError, match=says):
        read_spectrum(CASES / file)


def test_a_cut_jpeg_is_refused_without_a_word_on_stderr(capfd):
    with pytest.raises(ImageError, match="is a damaged JPEG"):
        decode_image((CASES / "jpeg_scan_cut_then_end_marker.jpg").read_bytes())
    assert capfd.readouterr() == ("", "")


def test_the_columns_beside_the_shot_change_no_answer():
    classifier = open_classifier(None, "wrought-cast")
    answers = [
        make_answer(classifier.classify(Upload(name, (CASES / name).read_bytes()), None))
        for name in ("one_letter_columns.txt", "counts_and_percent.txt", "camera_one_frame.csv")
    ]
    for answer in answers:
        assert answer.family == "2xxx"
        assert answer.quality == answers[0].quality
        assert "saturated" not in answer.quality


@pytest.fixture(scope="module")
def ask():
    """Send a whole raw request to a running service; gives status line and body."""
    with listen("127.0.0.1", 0) as listener:
        server = Server(create_app(Settings(threads=1)), None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def send(raw: bytes) -> tuple[int, bytes]:
            with socket.create_connection(listener.getsockname(), timeout=10) as connection:
                connection.sendall(raw)
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            head, _, body = answer.partition(b"\r\n\r\n")
            return int(head.split(maxsplit=2)[1]), body

        while send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[0] != 200:
            pass
        yield send
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("file", "status", "says"),
    [
        ("filename_star_only.http", 200, b'"family"'),
        ("gzip_body.http", 200, b'"family"'),
        ("json_two_channels.http", 422, b"2 channels, a spectrum has 16 or more"),
        ("head_healthz.http", 200, b""),
    ],
)
def test_a_request_is_answered_rightly(ask, file, status, says):
    found, body = ask((CASES / file).read_bytes())
    assert found == status
    assert says in body
    if not says:
        assert body == b""
    elif status != 200:
        assert json.loads(body)["status"] == status


NO_SHOTS = """
StdDev|Std Dev|std|sigma|Error|Uncertainty|RSD %|Variance|Mean|mean intensity|Average|Avg counts|Median
Min|Max|Sum|Dark|dark spectrum|Background|bkg|Baseline|Reference|ref spectrum|Blank|White|Lamp|Continuum
Fit|Residual|Model|Transmission (%)|Transmittance|Absorbance|Reflectance [%]|Irradiance|Normalized
Processed|Smoothed|Ratio|SNR|Noise|Time|Time (s)|Timestamp|Date|Delay [us]|Gate|Exposure (ms)
Integration Time|Frame|ROI|Row|Column|Index|No.|Pixel|px|Flag|Quality|Mask|Valid|Saturated|Weight|Label
Class|ID|Temperature (°C)|Energy (mJ)|Power|Order|Sample ID|Scan number|D|R|P|dark counts|counts (dark)
Intensity error|Spectrum mean|Shot std|Wavenumber|Raman Shift|Frequency (THz)
"""
NONE = NO_SHOTS.strip().replace("\n", "|").split("|")
SHOT_NAMES = """
shot shots spectrum spectra sample samples count counts cts intensity intensities int signal emission scope
raw pulse pulses acquisition acq scan scans measurement measured libs i s y
"""
AXIS = np.round(np.linspace(250, 400, 120), 3)
COUNTS = 100 + 5e4 * np.exp(-0.5 * ((AXIS - 396.15) / 0.4) ** 2) + np.random.default_rng(3).normal(0, 9, 120)


def file_of(titles, columns):
    rows = [",".join(f"{value:.3f}" for value in row) for row in np.column_stack([AXIS, *columns])]
    return "\n".join([",".join(titles), *rows, ""]).encode()


def some_column(seed):
    """A column that looks like a spectrum, so that nothing but its title tells."""
    return np.random.default_rng(seed).uniform(0.2, 0.9) * COUNTS + np.random.default_rng(seed).normal(
        0, 5, 120
    )


@given(
    st.lists(st.sampled_from(NONE), min_size=1, max_size=4, unique=True),
    st.sampled_from(["shot 1", "Intensity", "counts", "Sample [counts]", "Spectrum", "S", "Signal (a.u.)"]),
    st.sampled_from([str.lower, str.upper, str]),
    st.integers(0, 4),
)
def test_no_title_that_is_none_becomes_a_shot(others, shot, case, place):
    titles = [case(title) for title in others]
    columns = [some_column(seed) for seed in range(len(titles))]
    place = min(place, len(titles))
    titles.insert(place, shot)
    columns.insert(place, COUNTS)
    spectrum = read_spectrum(file_of(["wavelength_nm", *titles], columns))
    np.testing.assert_allclose(spectrum.shots, COUNTS[None], rtol=1e-4, atol=1e-3)


@given(st.sampled_from(NONE))
def test_a_file_of_nothing_else_is_refused_with_its_columns(title):
    with pytest.raises(SpectrumError, match=r"no laser shots"):
        read_spectrum(file_of(["wavelength_nm", title], [some_column(1)]))


@given(st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFXYZ _-/"), min_size=2, max_size=14))
def test_an_unknown_title_beside_a_shot_is_never_taken_for_one(title):
    try:
        spectrum = read_spectrum(file_of(["wavelength_nm", "shot 1", title], [COUNTS, some_column(2)]))
    except SpectrumError:
        return
    words = set(title.lower().replace("_", " ").replace("-", " ").replace("/", " ").split())
    assert len(spectrum.shots) == 1 or words & set(SHOT_NAMES.split())


@pytest.mark.parametrize(
    ("axis", "kind"),
    [
        ("Wavenumber", "in 1/cm"),
        ("Raman shift (1/cm)", "in 1/cm"),
        ("Wavenumber [cm-1]", "in 1/cm"),
        ("Energy (keV)", "an energy"),
        ("E [eV]", "an energy"),
        ("Frequency (THz)", "a frequency"),
        ("Pixel", "in pixels"),
        ("Channel", "in channels"),
        ("Time (s)", "a time"),
        ("m/z", "m/z"),
        ("2theta", "an angle"),
    ],
)
@pytest.mark.parametrize("line", ["title", "header"])
def test_an_axis_that_is_no_wavelength_is_refused_by_name(axis, kind, line):
    body = file_of(["wavelength_nm", "shot 1"], [COUNTS]).decode().partition("\n")[2]
    head = f"{axis},shot 1\n" if line == "title" else f"XUNITS={axis}\n"
    with pytest.raises(SpectrumError, match=kind):
        read_spectrum((head + body).encode())


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (np.full(120, 7.0), "column 3 is constant"),
        (np.arange(120.0), "column 3 counts up"),
        ("mean", "column 4 is the mean of the others"),
    ],
)
def test_a_column_without_title_of_an_odd_shape_is_refused_by_number(shape, says):
    second = some_column(5)
    columns = [COUNTS, second, (COUNTS + second) / 2] if isinstance(shape, str) else [COUNTS, shape]
    body = file_of(["x"], columns).partition(b"\n")[2]
    with pytest.raises(SpectrumError, match=says):
        read_spectrum(body)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PK\x03\x04" + b" xl/workbook.xml", "Excel workbook: save the sheet as csv"),
        (b"PK\x03\x04" + b" notes.txt", "zip archive: unpack it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xff\xd8\xff\xe0", "JPEG picture"),
    ],
)
def test_containers_are_named(data, says):
    with pytest.raises(SpectrumError, match=says):
        read_spectrum(data)


JCAMP = "##TITLE= x\n##JCAMP-DX= 5.00\n##XUNITS= NANOMETERS\n##FIRSTX= 300\n##LASTX= 319\n##NPOINTS= 20\n"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("##XYDATA= (X++(Y..Y))\n300@AB0C1D\n", "compressed form"),
        ("##BLOCKS= 2\n##XYDATA= (X++(Y..Y))\n300 1 2\n", "several blocks"),
        ("##NTUPLES= MASS SPECTRUM\n", "NTUPLES"),
        ("##XYDATA= (XY..XY)\n300,1\n301,2\n", "holds 2 points, ##NPOINTS promises 20"),
        ("##XYDATA= (R++(A..A))\n300 1 2\n", "is not read"),
        ("##XYDATA= (X++(Y..Y))\n300 " + "5 " * 10 + "\n312 " + "5 " * 8 + "\n", "should begin at 310"),
    ],
)
def test_jcamp_forms_that_are_not_read_are_named(body, says):
    with pytest.raises(SpectrumError, match=says):
        read_spectrum((JCAMP + body + "##END=\n").encode())


def test_jcamp_pairs_and_signs():
    pairs = "\n".join(f"{300 + i}, {i * i}" for i in range(20))
    read = read_spectrum(f"{JCAMP}##YFACTOR= 2\n##XYPOINTS= (XY..XY)\n{pairs}\n##END=\n".encode())
    np.testing.assert_allclose(read.shots[0], 2.0 * np.arange(20) ** 2)
    signs = "300+1-2+3-4+5-6+7-8+9-10\n310" + "+11-12" * 5
    read = read_spectrum(f"{JCAMP}##XYDATA= (X++(Y..Y))\n{signs}\n##END=\n".encode())
    np.testing.assert_allclose(read.shots[0][:3], [1, -2, 3])
    np.testing.assert_allclose(read.wavelength_nm, np.arange(300.0, 320.0))


@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_decimal_commas_in_quotes(sep):
    rows = [
        f'"{axis:.2f}"{sep}"{count:.1f}"'.replace(".", ",") for axis, count in zip(AXIS, COUNTS, strict=True)
    ]
    spectrum = read_spectrum("\n".join([f"wavelength{sep}shot 1", *rows, ""]).encode())
    np.testing.assert_allclose(spectrum.shots[0], COUNTS, atol=0.06)
