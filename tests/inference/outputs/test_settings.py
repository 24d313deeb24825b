"""The settings of the outputs are read, or refused with every fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from alloysort_datasets.errors import DataError
from alloysort_inference.outputs.settings import OutputSettings, read_outputs


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "outputs.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "outputs.md").read_text(encoding="utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    settings = read_outputs(write(tmp_path, example))
    assert settings.modbus is not None
    assert settings.modbus.coils == {"wrought": 0, "cast": 1}
    assert settings.sparkplug is not None
    assert settings.sparkplug.password_file == tmp_path / "mqtt.secret"
    assert settings.opcua is not None
    assert settings.dry is not None


def test_what_is_not_named_is_absent(tmp_path: Path) -> None:
    assert read_outputs(write(tmp_path, "")) == OutputSettings()


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    text = """
    [modbus]
    host = "plc"
    port = 99999
    coils = {wrought = 1, cast = 1}
    hartbeat_ms = 100
    [sparkplug]
    host = "broker"
    group = "a/b"
    node = "line"
    user = "someone"
    [opcua]
    endpoint = "http://here"
    user = "someone"
    [kafka]
    """
    with pytest.raises(DataError) as refused:
        read_outputs(write(tmp_path, text))
    for told in (
        "modbus.port 99999: Input should be less than or equal to 65535",
        "modbus.coils: coil 1 is named twice",
        "modbus.heartbeat_register: Field required",
        "modbus.hartbeat_ms 100: Extra inputs are not permitted; did you mean heartbeat_ms?",
        "sparkplug.group 'a/b': String should match",
        "opcua.endpoint 'http://here': String should match",
        "kafka: Extra inputs are not permitted; known are modbus, sparkplug, opcua, dry",
    ):
        assert told in str(refused.value)


def test_a_user_without_a_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="opcua: user and password_file go together"):
        read_outputs(write(tmp_path, '[opcua]\nuser = "someone"\n'))


def test_a_password_in_clear_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"opcua\.password: .*did you mean password_file") as refused:
        read_outputs(write(tmp_path, '[opcua]\nuser = "someone"\npassword = "hush"\n'))
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"\xff\xfe", "not a text file in UTF-8"),
        ("[modbus", "not TOML"),
        ("modbus = 3", "modbus 3: Input should"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str | bytes, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        read_outputs(write(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"outputs .*none\.toml: No such file"):
        read_outputs(tmp_path / "none.toml")
