"""Tokens: a file of hashes, read whole or refused with all that is wrong in it."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from alloysort.cli import app
from alloysort_inference.doors.tokens import ROLES, Token, Tokens, TokensError, make_token, may, read_tokens


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def test_a_made_token_is_found_by_its_hash_alone(tmp_path):
    path = tmp_path / "tokens.toml"
    made = {role: make_token(path, f"the {role}", role) for role in ROLES}
    tokens = read_tokens(path)
    for role, token in made.items():
        assert tokens.find(token) == Token(f"the {role}", role, hashed(token))
        assert len(token) >= 43
        assert token not in path.read_text(encoding="utf-8")
    assert tokens.find("another") is None
    assert Tokens().find("") is None


@pytest.mark.skipif(os.name != "posix", reason="files have no such modes here")
def test_only_its_owner_can_read_a_new_file_and_another_mode_is_told(tmp_path, caplog):
    path = tmp_path / "tokens.toml"
    make_token(path, "belt", "operate")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read_tokens(path)
    assert not caplog.records
    path.chmod(0o644)
    read_tokens(path)
    assert "everybody on this machine can read it" in caplog.text


def test_a_name_is_there_once(tmp_path):
    path = tmp_path / "tokens.toml"
    make_token(path, "belt", "operate")
    before = path.read_bytes()
    with pytest.raises(TokensError, match="name 'belt' is there already"):
        make_token(path, "belt", "read")
    assert path.read_bytes() == before


def test_what_others_wrote_into_the_file_stays(tmp_path):
    path = tmp_path / "tokens.toml"
    path.write_text("# of plant 3", encoding="utf-8")
    make_token(path, "belt", "operate")
    assert path.read_text(encoding="utf-8").startswith("# of plant 3\n\n[[token]]\n")
    assert [one.name for one in read_tokens(path).known] == ["belt"]


def test_every_fault_is_told_at_once_and_no_secret(tmp_path):
    path = tmp_path / "tokens.toml"
    row = '[[token]]\nname = "{}"\nrole = "{}"\nsha256 = "{}"\n'
    path.write_text(
        "colour = 1\n"
        + row.format("a", "boss", "0" * 64)
        + row.format("b\\n", "read", "my-secret")
        + row.format("a", "read", "0" * 64)
        + "valid = true\n",
        encoding="utf-8",
    )
    with pytest.raises(TokensError) as refused:
        read_tokens(path)
    said = str(refused.value)
    for part in (
        "key 'colour' is not known",
        "token 1: role 'boss' must be one of read, operate, engineer",
        "token 2: name 'b\\n' must be",
        "token 2: sha256 must be the 64 lower-case hex digits",
        "token 3: key 'valid' is not known",
        "name 'a' is there 2 times",
    ):
        assert part in said
    assert "my-secret" not in said


@pytest.mark.parametrize("text", ["token = 1", "token = [1]", "[[token", "[token]"])
def test_what_is_no_file_of_tokens_is_refused(tmp_path, text):
    path = tmp_path / "tokens.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TokensError, match=r"tokens\.toml: "):
        read_tokens(path)
    with pytest.raises(TokensError, match="No such file"):
        read_tokens(tmp_path / "nowhere.toml")


@given(st.text(), st.text())
def test_a_token_is_found_if_and_only_if_it_is_the_one(known, asked):
    tokens = Tokens((Token("one", "read", hashed(known)),))
    assert (tokens.find(asked) is not None) == (known == asked)


def test_each_role_may_what_those_before_it_may():
    assert [[may(role, needed) for needed in ROLES] for role in (None, *ROLES)] == [
        [False, False, False],
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_the_command_prints_the_token_once(tmp_path):
    path = tmp_path / "tokens.toml"
    done = CliRunner().invoke(app, ["token", "belt", "--role", "operate", "--file", str(path)])
    assert done.exit_code == 0, done.output
    found = read_tokens(path).find(done.output.strip())
    assert (found.name, found.role) == ("belt", "operate")
    assert CliRunner().invoke(app, ["token", "x", "--role", "boss", "--file", str(path)]).exit_code == 2
