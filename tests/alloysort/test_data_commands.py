from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alloysort.data_commands import app
from alloysort_datasets.errors import AlloysortError, TableError
from alloysort_datasets.table.store import read_pieces

SPECTRUM = "\n".join(f"{200 + index / 2},{index}" for index in range(20))


@pytest.fixture
def scrap(tmp_path: Path, build_picture: Callable[..., bytes]) -> Path:
    root = tmp_path / "scrap" / "6xxx"
    root.mkdir(parents=True)
    (root / "a.csv").write_text(SPECTRUM)
    (root / "a.jpg").write_bytes(build_picture())
    return root.parent


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_import_then_check(scrap: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, _ = run("import", scrap, out)
    assert (code, said) == (0, f"{out}: 1 pieces, 1 with a picture, 1 with spectra of 1 instruments\n")
    assert run("check", out)[:2] == (0, f"{out}: 1 pieces, no faults\n")


def test_faults_are_printed_and_exit_1(scrap: Path, tmp_path: Path) -> None:
    (scrap / "6xxx" / "b.csv").write_text("")
    out = tmp_path / "out"
    code, said, wrong = run("import", scrap, out)
    assert (code, said) == (1, "")
    assert f"{scrap / '6xxx' / 'b.csv'}: is empty\n" in wrong
    code, said, wrong = run("import", scrap, out, "--skip-faulty")
    assert code == 0
    assert "1 faults skipped" in said

    (out / "instruments.parquet").unlink()
    code, said, wrong = run("check", out)
    assert code == 1
    assert "instruments.parquet: unreadable" in said
    assert wrong == f"{out}: 2 faults\n"


def test_errors_bubble(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="is no folder"):
        run("import", tmp_path / "absent", tmp_path / "out")


def test_a_fixed_condition_changes_the_same_pieces(tmp_path: Path) -> None:
    common = ("--pieces", 4, "--seed", 3, "--images", "none", "--workers", 1)
    assert run("simulate", tmp_path / "clean", *common)[0] == 0
    assert (
        run("simulate", tmp_path / "painted", *common, "--set", "paint_um=80", "--set", "miss_rate=0")[0] == 0
    )
    for clean, painted in zip(
        read_pieces(tmp_path / "clean"), read_pieces(tmp_path / "painted"), strict=True
    ):
        assert (clean.alloy, clean.composition, clean.mass_g) == (
            painted.alloy,
            painted.composition,
            painted.mass_g,
        )
        if clean.spectra is not None and painted.spectra is not None:
            assert painted.conditions["paint_um"] == 80
            assert clean.conditions["defocus_mm"] == painted.conditions["defocus_mm"]
            assert (clean.spectra != painted.spectra).any()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("paint_um", "must be NAME=NUMBER"),
        ("paint_um=thick", "must be NAME=NUMBER"),
        ("weather=1", "weather are unknown; known are pulse_energy"),
        ("paint_um=-3", "paint_um -3 is outside 0-500"),
    ],
)
def test_impossible_conditions_are_refused(tmp_path: Path, setting: str, says: str) -> None:
    with pytest.raises(AlloysortError, match=says):
        run("simulate", tmp_path / "out", "--pieces", 4, "--set", setting)
    assert not (tmp_path / "out").exists()
