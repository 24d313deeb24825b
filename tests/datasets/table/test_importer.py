from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import DataError, TableError
from alloysort_datasets.piece import Piece
from alloysort_datasets.table.check import check_table
from alloysort_datasets.table.importer import Words, import_pieces, read_families
from alloysort_datasets.table.store import read_instruments, read_pieces

SPECTRUM = "\n".join(f"{200 + index / 2},{index % 7},{2 * (index % 7)}" for index in range(20))
VENDORS = Path(__file__).parents[2] / "cases" / "import_vendor_suffixes"
OTHER_AXIS = "\n".join(f"{300 + index}\t{index % 5}" for index in range(30))


@pytest.fixture
def scrap(tmp_path: Path, build_picture: Callable[..., bytes]) -> Path:
    """Two pieces of 6xxx, one with both senses, and one of a folder that is no family."""
    root = tmp_path / "scrap"
    for folder in ("6xxx", "yard"):
        (root / folder).mkdir(parents=True)
    (root / "6xxx" / "a.jpg").write_bytes(build_picture())
    (root / "6xxx" / "a.csv").write_text(SPECTRUM)
    (root / "6xxx" / "b.PNG").write_bytes(build_picture(".png"))
    (root / "yard" / "a.txt").write_text(OTHER_AXIS)
    (root / "notes.md").write_text("not a piece")
    return root


def imported(out: Path) -> dict[str, Piece]:
    return {piece.piece_id: piece for piece in read_pieces(out)}


def test_folders_and_stems(scrap: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    report = import_pieces(scrap, tmp_path / "out", progress=lambda done, total: calls.append((done, total)))
    assert (report.pieces, report.images, report.spectra, report.instruments) == (3, 2, 2, 2)
    assert [Path(left.file).name for left in report.left_out] == ["notes.md"]
    assert "neither photo nor spectrum: no rows of numbers" in report.left_out[0].reason
    assert (tmp_path / "out" / "left-out.txt").read_text() == f"{report.left_out[0]}\n"
    assert (report.faults, report.written) == ((), True)
    assert calls == [(1, 3), (2, 3), (3, 3)]
    pieces = imported(tmp_path / "out")
    assert list(pieces) == ["6xxx/a", "6xxx/b", "yard/a"]
    both = pieces["6xxx/a"]
    assert (both.family, both.batch, both.source, both.split) == ("6xxx", "6xxx/a", "scrap", None)
    assert pieces["yard/a"].batch == "yard"
    assert both.spectra is not None
    np.testing.assert_array_equal(both.spectra[1], 2 * (np.arange(20) % 7))
    assert both.image == (scrap / "6xxx" / "a.jpg").read_bytes()
    assert pieces["yard/a"].family is None
    assert check_table(tmp_path / "out") == []


def test_an_axis_is_an_instrument(scrap: Path, tmp_path: Path) -> None:
    (scrap / "6xxx" / "c.csv").write_text(SPECTRUM)
    import_pieces(scrap, tmp_path / "out")
    pieces, instruments = imported(tmp_path / "out"), read_instruments(tmp_path / "out")
    assert len(instruments) == 2
    assert pieces["6xxx/a"].instrument == pieces["6xxx/c"].instrument != pieces["yard/a"].instrument
    first = instruments[pieces["6xxx/a"].instrument or ""]
    assert first.name.startswith("20ch-200-210nm-")
    assert first.resolution_nm == pytest.approx(2.5 * 0.5)
    assert first.saturation_counts == float("inf")


def test_labels_decide(scrap: Path, tmp_path: Path) -> None:
    (scrap / "labels.csv").write_text(
        "\ufeffFile;Label;Alloy;Block;mass_g;split;si;Mg;remark\n"
        "6xxx/a.csv;5xxx;5083;heap-1;120,5;train;0,4;4,5;shiny\n"
        "\n"
        "a.txt;;;heap-2;;;;;\n",
        encoding="utf-8",
    )
    report = import_pieces(scrap, tmp_path / "out")
    assert (report.pieces, len(report.left_out), report.ignored_columns) == (2, 2, ("remark",))
    pieces = imported(tmp_path / "out")
    piece = pieces["6xxx/a"]
    assert (piece.family, piece.alloy, piece.batch, piece.mass_g) == ("5xxx", "5083", "heap-1", 120.5)
    assert piece.split == "train"
    assert piece.composition == pytest.approx({"Si": 0.4, "Mg": 4.5})
    assert piece.image is not None  # of the same stem
    assert (pieces["yard/a"].family, pieces["yard/a"].batch) == (None, "heap-2")


def test_labels_pair_files_of_different_names(scrap: Path, tmp_path: Path) -> None:
    (scrap / "labels.csv").write_text("piece_id,image,spectrum\none,b.PNG,yard/a.txt\n")
    import_pieces(scrap, tmp_path / "out")
    piece = imported(tmp_path / "out")["one"]
    assert piece.image == (scrap / "6xxx" / "b.PNG").read_bytes()
    assert piece.spectra is not None
    assert piece.spectra.shape == (1, 30)


def test_every_wrong_row_is_named(scrap: Path, tmp_path: Path) -> None:
    (scrap / "labels.csv").write_text(
        "file,family,split,batch,mass_g,Al,Si\n"
        "a.csv,tin,,,,,\n"
        "b.PNG,pewter,val,,-3,100,2\n"
        "absent.jpg,6xxx,,,,,\n"
        "b.PNG,6xxx,train,heap,,x,\n"
        "a.txt,6xxx,test,heap,,,\n"
        "a.txt,6xxx,test,heap,,,\n"
    )
    report = import_pieces(scrap, tmp_path / "out")
    assert not report.written
    assert not (tmp_path / "out").exists()
    assert [(fault.row, fault.key) for fault in report.faults] == [
        (2, "family"),
        (3, "family"),
        (3, "split"),
        (3, "mass_g"),
        (3, "composition"),
        (4, "file"),
        (5, "Al"),
        (5, "piece_id"),
        (6, "split"),
        (7, "piece_id"),
        (7, "split"),
    ]
    assert str(report.faults[0]).startswith(f"{scrap / 'labels.csv'}: row 2: family: 'tin' is none of 1xxx")


def test_every_unreadable_file_is_named(scrap: Path, tmp_path: Path) -> None:
    (scrap / "6xxx" / "a.jpg").write_bytes(b"no picture")
    (scrap / "6xxx" / "a.csv").write_text("no numbers")
    (scrap / "yard" / "c.csv").write_text("")
    report = import_pieces(scrap, tmp_path / "out")
    assert [Path(fault.file).name for fault in report.faults] == ["a.jpg", "a.csv", "c.csv"]
    assert (report.written, report.pieces) == (False, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["scrap"]

    report = import_pieces(scrap, tmp_path / "out", skip_faulty=True)
    assert (report.written, report.pieces, len(report.faults)) == (True, 2, 3)
    assert list(imported(tmp_path / "out")) == ["6xxx/b", "yard/a"]


def test_two_photos_of_one_stem(scrap: Path, tmp_path: Path, build_picture: Callable[..., bytes]) -> None:
    (scrap / "6xxx" / "b.jpg").write_bytes(build_picture())
    report = import_pieces(scrap, tmp_path / "out")
    assert [fault.message for fault in report.faults] == [
        "2 photos share a stem (b.PNG, b.jpg): keep one, or name it in labels.csv"
    ]
    (scrap / "labels.csv").write_text("image\n6xxx/b.jpg\n")
    assert import_pieces(scrap, tmp_path / "out").pieces == 1


def test_the_format_is_known_by_the_bytes(tmp_path: Path) -> None:
    report = import_pieces(VENDORS, tmp_path / "out")
    assert (report.pieces, report.spectra, report.left_out, report.faults) == (4, 4, (), ())
    assert {piece.family for piece in imported(tmp_path / "out").values()} == {"6xxx"}


def test_a_photo_of_a_wrong_suffix_is_a_photo(
    scrap: Path, tmp_path: Path, build_picture: Callable[..., bytes]
) -> None:
    (scrap / "6xxx" / "d.csv").write_bytes(build_picture())
    import_pieces(scrap, tmp_path / "out")
    piece = imported(tmp_path / "out")["6xxx/d"]
    assert piece.image is not None
    assert piece.spectra is None


def test_a_fault_of_a_row_leaves_its_files_named_as_its_own(scrap: Path, tmp_path: Path) -> None:
    (scrap / "labels.csv").write_text("file,split\nb.PNG,sometimes\na.txt,\na.csv,\n")
    report = import_pieces(scrap, tmp_path / "out", skip_faulty=True)
    assert [fault.key for fault in report.faults] == ["split"]
    assert [Path(left.file).name for left in report.left_out] == ["notes.md"]


def test_the_good_file_beside_an_absent_one_is_claimed_by_its_row(scrap: Path, tmp_path: Path) -> None:
    (scrap / "labels.csv").write_text("image,spectrum\nabsent.jpg,a.csv\n,a.txt\nb.PNG,\n")
    report = import_pieces(scrap, tmp_path / "out", skip_faulty=True)
    assert [fault.key for fault in report.faults] == ["image"]
    assert [Path(left.file).name for left in report.left_out] == ["notes.md", "a.jpg"]


def test_what_hides_and_what_maps_is_no_piece(scrap: Path, tmp_path: Path) -> None:
    (scrap / ".git").mkdir()
    (scrap / ".git" / "z.csv").write_text(SPECTRUM)
    (scrap / "map.csv").write_text("yard,steel\n")
    words = Words(read_families(scrap / "map.csv"), files=(scrap / "map.csv",))
    report = import_pieces(scrap, tmp_path / "out", words=words)
    assert (report.pieces, report.faults) == (3, ())
    assert {Path(left.file).name: left.reason for left in report.left_out}["z.csv"] == "is hidden"
    assert imported(tmp_path / "out")["yard/a"].family == "steel"


def test_the_nearest_folder_named_as_a_family_counts(scrap: Path, tmp_path: Path) -> None:
    (scrap / "6xxx" / "object-7").mkdir()
    (scrap / "6xxx" / "object-7" / "view.csv").write_text(SPECTRUM)
    (scrap / "alu cast" / "x").mkdir(parents=True)
    (scrap / "alu cast" / "x" / "view.csv").write_text(SPECTRUM)
    import_pieces(scrap, tmp_path / "out", words=Words({"alu cast": "cast-AlSi"}))
    pieces = imported(tmp_path / "out")
    view = pieces["6xxx/object-7/view"]
    assert (view.family, view.batch) == ("6xxx", "6xxx/object-7")
    assert pieces["alu cast/x/view"].family == "cast-AlSi"


def test_an_alloy_gives_its_family_and_may_not_contradict_one(scrap: Path, tmp_path: Path) -> None:
    words = Words(family_of_alloy={"5083": "5xxx", "2024": "2xxx"}.get)
    (scrap / "labels.csv").write_text("file,alloy,family\na.txt,5083,\nb.PNG,2024,6xxx\na.csv,nobody's,\n")
    report = import_pieces(scrap, tmp_path / "out", skip_faulty=True, words=words)
    assert (report.pieces, report.from_alloy) == (2, 1)
    assert [str(fault.message) for fault in report.faults] == ["'2024' is 2xxx, yet the family is 6xxx"]
    assert imported(tmp_path / "out")["yard/a"].family == "5xxx"
    assert imported(tmp_path / "out")["6xxx/a"].alloy == "nobody's"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alu,aluminium\n", "line 1: 'aluminium' is none of 1xxx"),
        ("alu,1xxx\nalu,2xxx\n", "line 2: 'alu' is 1xxx already"),
        ("alu\n", "line 1: 1 cells, must be a label and its family"),
    ],
)
def test_refuses_maps(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "map.csv").write_text(text)
    with pytest.raises(TableError, match=says):
        read_families(tmp_path / "map.csv")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (b"", r"labels\.csv: line 1: needs a column piece_id"),
        (b"family,alloy\n6xxx,6061\n", "line 1: needs a column piece_id"),
        (b"file,family,label\n", "line 1: two columns mean 'family'"),
        (b"file,family\na.csv,6xxx,7\n", "line 2: 3 cells under 2 titles"),
        (b"file\n\xff\xfe\n", "must be UTF-8"),
    ],
)
def test_refuses_labels(scrap: Path, tmp_path: Path, labels: bytes, says: str) -> None:
    (scrap / "labels.csv").write_bytes(labels)
    with pytest.raises(TableError, match=says):
        import_pieces(scrap, tmp_path / "out")


def test_refuses_folders(scrap: Path, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="is no folder"):
        import_pieces(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(TableError, match="exists already"):
        import_pieces(scrap, scrap)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match="holds no photo"):
        import_pieces(tmp_path / "empty", tmp_path / "out")


def test_real_photos_by_their_labels(shared_data: Path, tmp_path: Path) -> None:
    photos = shared_data / "images" / "ewaste"
    strangers = [row for row in (photos / "labels.csv").read_text().split()[1:] if ",copper," not in row]
    report = import_pieces(photos, tmp_path / "out")
    assert not report.written  # 'aluminium', 'pcb', ... are no families of ours
    labels = Counter(row.split(",")[1] for row in strangers)
    assert [fault.key for fault in report.faults] == ["family"] * len(labels)
    for label, count in labels.items():
        assert any(f"{label!r} (in {count} rows)" in fault.message for fault in report.faults)
    assert sum("1xxx" in fault.message for fault in report.faults) == 1


def test_foreign_labels_are_mapped(shared_data: Path, tmp_path: Path) -> None:
    photos = shared_data / "images" / "ewaste"
    labels = {row.split(",")[1] for row in (photos / "labels.csv").read_text().split()[1:]}
    (tmp_path / "map.csv").write_text(
        "label,family\n" + "".join(f"{label},other-metal\n" for label in labels)
    )
    report = import_pieces(photos, tmp_path / "out", words=Words(read_families(tmp_path / "map.csv")))
    assert (report.written, report.pieces) == (True, 199)


def test_real_spectra(shared_data: Path, tmp_path: Path) -> None:
    report = import_pieces(shared_data / "libs", tmp_path / "out")
    assert (report.pieces, report.spectra, report.faults) == (21, 21, ())
    assert check_table(tmp_path / "out") == []


LABELS = (
    "piece_id,spectrum,family,alloy,mass_g,batch,split,Al,Mg\none,a.csv,6xxx,6061,12.5,b1,train,97.9,1.0\n"
)


@given(st.data())
def test_any_labels_are_read_refused_or_reported(data: st.DataObject) -> None:
    labels = bytearray(LABELS.encode())
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(labels)))
        piece = st.binary(max_size=8) | st.sampled_from(
            [b",", b"\n", b'"', b"nan", b"../a.csv", b"-1", b"\0"]
        )
        labels[start : min(len(labels), start + data.draw(st.integers(0, 12)))] = data.draw(piece)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "scrap"
        root.mkdir()
        (root / "a.csv").write_text(SPECTRUM)
        (root / "labels.csv").write_bytes(bytes(labels))
        try:
            report = import_pieces(root, Path(folder) / "out")
        except DataError:
            return
        assert report.faults or check_table(Path(folder) / "out") == []
