"""The service over TLS, and closed to other machines where nobody could say who asks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

from alloysort_datasets.errors import AlloysortError, DataError
from alloysort_inference.doors.serve import listen, require_guarded, serve
from alloysort_inference.doors.settings import Settings, read_settings
from alloysort_inference.doors.stream.client import Line
from alloysort_inference.doors.tls import open_tls
from alloysort_inference.doors.tokens import make_token


def test_both_doors_are_encrypted_and_say_so(bundle, certificate, trusting):
    command = [sys.executable, "-m", "alloysort", "serve", "--bundle", str(bundle.path), "--port", "0"]
    files = ["--tls-certificate", str(certificate[0]), "--tls-key", str(certificate[1])]
    environment = os.environ | {"COLUMNS": "200"}
    with subprocess.Popen(
        command + files, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        first, address = process.stdout.readline(), process.stdout.readline().strip()
        assert address.startswith("https://127.0.0.1:")
        with httpx.Client(base_url=address, verify=trusting) as client:
            while client.get("/readyz").status_code != 200:
                pass
            assert client.get("/v1/model").json()["name"] == "tiny"
        with Line(first.rsplit(" ", 1)[1].strip(), ssl=trusting) as line:
            assert line.greeting["outlets"]
        assert "lines on wss://127.0.0.1:" in first
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=15)
    assert (process.returncode, complaints) == (0, "")


def test_a_certificate_and_its_key_are_set_together():
    for there, lacking in (("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")):
        with pytest.raises(
            DataError, match=f"^settings: {there} is set and {lacking} is not: TLS takes both$"
        ):
            read_settings({}, **{there: "x.pem"})


def test_what_is_no_certificate_or_key_is_refused_in_words(certificate, tmp_path):
    chain, key = certificate
    locked = tmp_path / "locked.pem"
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    form, lock = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(loaded.private_bytes(serialization.Encoding.PEM, form, lock))
    for wrong_chain, wrong_key, complaint in (
        (chain, chain, "belong together"),
        (key, key, "belong together"),
        (chain, tmp_path / "nowhere.pem", "tls_key .*nowhere.pem: no such file"),
        (chain, locked, "without a password"),
    ):
        with pytest.raises(DataError, match=complaint):
            open_tls(Settings(tls_certificate=wrong_chain, tls_key=wrong_key))
    assert open_tls(Settings()) is None


def test_other_machines_are_let_in_with_tokens_only(bundle, tmp_path):
    settings = Settings(bundle=bundle.path, host="0.0.0.0", port=0)
    with pytest.raises(AlloysortError, match=r"host 0\.0\.0\.0 can be reached .* --tokens PATH"):
        serve(settings, print)
    path = tmp_path / "tokens.toml"
    make_token(path, "belt", "operate")
    with listen("127.0.0.1", 0) as listener:
        require_guarded(settings, listener)
        require_guarded(settings.model_copy(update={"tokens": path}), listener)


def test_tokens_that_cannot_be_read_keep_the_service_from_starting(bundle, tmp_path):
    with pytest.raises(AlloysortError, match=r"tokens .*nowhere\.toml: No such file"):
        serve(Settings(bundle=bundle.path, port=0, tokens=tmp_path / "nowhere.toml"), print)
