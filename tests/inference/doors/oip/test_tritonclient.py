"""The client that others use, as it is: `pip install tritonclient[http]`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from alloysort_inference.doors.settings import Settings

triton = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not there")
PAGE = Path(__file__).resolve().parents[4] / "docs" / "oip.md"


def tensor(name, values, datatype, binary=True):
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


@pytest.fixture(scope="module")
def client(running, bundle):
    with running(Settings(bundle=bundle.path, threads=1)) as plain:
        yield triton.InferenceServerClient(f"{plain.base_url.host}:{plain.base_url.port}")


def test_what_it_asks_first(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("nope")
    assert client.get_model_metadata("tiny")["versions"] == ["1"]
    assert client.get_model_repository_index()[0]["state"] == "READY"
    assert client.get_inference_statistics("tiny")["model_stats"][0]["name"] == "tiny"


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_batch(client, make_shots, binary, packing):
    axis = make_shots()[0]
    shots = np.stack([make_shots(nm)[1] for nm in (395.0, 327.0)])
    inputs = [
        tensor("wavelength_nm", axis, "FP64", binary),
        tensor("counts", shots, "FP32", binary),
        tensor("piece_id", np.array(["a", "b"], object), "BYTES", binary),
    ]
    names = ("family", "probabilities", "eject", "piece_id")
    for outputs in (None, [triton.InferRequestedOutput(name, binary_data=binary) for name in names]):
        said = client.infer(
            "tiny",
            inputs,
            outputs=outputs,
            request_id="r",
            request_compression_algorithm=packing,
            response_compression_algorithm=packing,
        )
        as_text = [one if isinstance(one, str) else one.decode() for one in said.as_numpy("family")]
        assert as_text == ["6xxx", "copper"]
        assert said.as_numpy("probabilities").shape == (2, 19)
        assert said.as_numpy("eject").dtype == bool
        assert said.get_response()["id"] == "r"


def test_an_error_reaches_it_in_words(client):
    with pytest.raises(triton.InferenceServerException, match="model 'nope' is not known"):
        client.infer("nope", [tensor("counts", np.ones((1, 32), np.float32), "FP32")])


def test_the_example_of_the_page_runs(running, bundle, capsys):
    (example,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    with running(Settings(bundle=bundle.path, threads=1)) as plain:
        exec(example.replace("127.0.0.1:8000", f"{plain.base_url.host}:{plain.base_url.port}"), {})
    said = capsys.readouterr().out
    assert "piece_id [b'p-1' b'p-2']" in said
    assert "status [b'decided' b'decided']" in said
