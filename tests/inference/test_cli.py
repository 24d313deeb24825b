from __future__ import annotations

import json
import subprocess
import sys

import pytest

from alloysort import cli
from alloysort_datasets.families import FAMILIES


@pytest.fixture
def alloysort(monkeypatch, capsys):
    """Runs the command in this process; returns exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["alloysort", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def files(tmp_path, make_csv, make_picture):
    (tmp_path / "al.csv").write_bytes(make_csv(395.0))
    (tmp_path / "cu.png").write_bytes(make_picture((200, 90, 60)))
    return tmp_path


def refused(result, *parts):
    code, said, complaint = result
    assert code == 1
    assert said == ""
    assert complaint.startswith("alloysort: error: ")
    assert complaint.count("\n") == 1
    for part in parts:
        assert part in complaint


def test_json(alloysort, bundle, files):
    code, said, _ = alloysort("classify", "--bundle", bundle.path, "--spectrum", files / "al.csv", "--json")
    answer = json.loads(said)
    assert code == 0
    assert (answer["family"], answer["outlet"], answer["eject"]) == ("6xxx", "wrought", True)
    assert tuple(answer["probabilities"]) == FAMILIES


def test_a_table_for_people(alloysort, bundle, files):
    code, said, _ = alloysort("classify", "--bundle", bundle.path, "--image", files / "cu.png")
    assert code == 0
    for part in ("copper", "rest", "no_spectrum", "wt%"):
        assert part in said


def test_both_sensors_and_another_recipe(alloysort, bundle, files):
    code, said, _ = alloysort(
        "classify", "--bundle", bundle.path, "--recipe", "twitch", "--json",
        "--spectrum", files / "al.csv", "--image", files / "cu.png",
    )  # fmt: skip
    assert code == 0
    assert json.loads(said)["outlet"] in ("twitch", "heavies")


@pytest.mark.parametrize("fault", ["empty", "truncated", "binary", "single column", "nan", "out of range"])
def test_bad_spectra(alloysort, bundle, bad_spectra, tmp_path, fault):
    path = tmp_path / "bad.csv"
    path.write_bytes(bad_spectra[fault])
    refused(alloysort("classify", "--bundle", bundle.path, "--spectrum", path, "--json"))


@pytest.mark.parametrize("fault", ["empty", "no image", "one pixel", "50 megapixels", "truncated"])
def test_bad_pictures(alloysort, bundle, bad_pictures, tmp_path, fault):
    path = tmp_path / "bad.png"
    path.write_bytes(bad_pictures[fault])
    refused(alloysort("classify", "--bundle", bundle.path, "--image", path, "--json"), "bad.png")


def test_missing_files(alloysort, bundle, tmp_path):
    for option in ("--spectrum", "--image"):
        refused(alloysort("classify", "--bundle", bundle.path, option, tmp_path / "none"), "No such file")


def test_a_bundle_with_a_wrong_hash(alloysort, altered_bundle, files):
    refused(alloysort("classify", "--bundle", altered_bundle, "--spectrum", files / "al.csv"), "SHA-256")
    refused(alloysort("serve", "--bundle", altered_bundle, "--port", "0"), "SHA-256")


def test_a_recipe_with_an_unknown_family(alloysort, bundle, files):
    path = files / "own.toml"
    path.write_text('default="a"\n[[outlets]]\nname="a"\nfamilies=["9xxx"]\nmin_confidence=0.5\n')
    command = ("--bundle", bundle.path, "--recipe", path)
    refused(
        alloysort("classify", *command, "--spectrum", files / "al.csv"), "unknown '9xxx'", "known are 1xxx"
    )
    refused(alloysort("serve", *command, "--port", "0"), "unknown '9xxx'")


def test_wrong_settings_are_one_line(alloysort, monkeypatch):
    monkeypatch.setenv("ALLOYSORT_PORT", "http")
    refused(alloysort("serve"), "port 'http'")


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify",),
        ("classify", "--colour"),
        ("nothing",),
        ("train",),
        ("export",),
        ("serve", "--port", "http"),
    ],
)
def test_wrong_usage_is_2(alloysort, arguments):
    code, said, complaint = alloysort(*arguments)
    assert (code, said) == (2, "")
    assert complaint
    assert "Traceback" not in complaint


def test_version(alloysort):
    code, said, _ = alloysort("--version")
    assert code == 0
    assert said.startswith("alloysort 0.")


@pytest.mark.parametrize(
    "command", [["train", "c.toml", "--data", "d", "--out", "r"], ["export", "r", "--out", "b"]]
)
def test_without_torch_training_says_what_to_install(command):
    code = (
        "import sys;"
        "sys.modules.update(dict.fromkeys(['torch', 'lightning', 'onnx']));"
        f"sys.argv = {['alloysort', *command]}; from alloysort.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    refused((done.returncode, done.stdout, done.stderr), "pip install 'alloysort[training]'")


def test_the_front_door_itself_imports_nothing_heavy():
    code = (
        "import sys;"
        "from alloysort import cli;"
        "heavy = {'torch', 'onnxruntime', 'fastapi', 'numba', 'pyarrow', 'uvicorn', 'cv2', 'pydantic'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_runs_like_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "alloysort", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("classify", "serve", "train", "export", "data"):
        assert command in done.stdout
