from __future__ import annotations

from pathlib import Path

import pytest

from alloysort_datasets.errors import TrainingError
from alloysort_training.config import Config, load_config

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"


def test_every_shipped_config_loads() -> None:
    found = {path.stem: load_config(path) for path in CONFIGS.glob("*.toml")}
    assert found["default"] == Config()
    assert found["tiny"].fit.epochs < Config().fit.epochs


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("epochs = 3", r"epochs: no such key; there is fit\.epochs"),
        ("[fit]\nepoch = 3", r"fit\.epoch: no such key; close to it is epochs"),
        ("[fit]\ncolour = 3", r"fit\.colour: no such key; there is augmentation\.colour"),
        ("[fit]\nxyz = 3", r"fit\.xyz: no such key; known are epochs, batch_size"),
        (
            "seeds = 1\n[fit]\nepoch = 3\nbatch_size = 1",
            r"fit\.batch_size: .*\(is 1\); fit\.epoch: .*close to it is epochs; seeds: .*close to it is seed",
        ),
        ("[fit]\nepochs = 0", r"fit\.epochs: .*greater than or equal to 1 \(is 0\)"),
        ("[fit]\nepochs = 'many'", r"fit\.epochs: .*valid integer.*\(is 'many'\)"),
        ("[fit]\nprecision = 'half'", r"fit\.precision: .*32-true.*\(is 'half'\)"),
        ("[grid]\nstart_nm = 1.0\nstop_nm = 2.0", r"grid\.channels: Field required"),
        ("[grid]\nstart_nm = 1.0\nstop_nm = 2.0\nchannels = 100", r"grid\.channels 100 must divide by 32"),
        (
            "[grid]\nstart_nm = 3.0\nstop_nm = 2.0\nchannels = 64",
            r"grid: .*start_nm 3\.0 must lie below stop_nm 2\.0",
        ),
        ("[network]\nimage_size = 50", r"network\.image_size: .*multiple of 16 \(is 50\)"),
        ("[augmentation]\ncrop = 1.5", r"augmentation\.crop: .*less than or equal to 1 \(is 1\.5\)"),
        ("seed = ", "not TOML"),
    ],
)
def test_a_wrong_config_is_refused_by_key(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=complaint) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="No such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00\x81")
    with pytest.raises(TrainingError, match="not TOML"):
        load_config(tmp_path / "binary.toml")
