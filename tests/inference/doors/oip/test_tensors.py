"""The protocol's bytes, pinned: what clients send today must be understood tomorrow."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alloysort_datasets.errors import DataError
from alloysort_inference.doors.oip.outputs import wanted_outputs
from alloysort_inference.doors.oip.pieces import INPUTS, read_pieces
from alloysort_inference.doors.oip.tensors import (
    DTYPES,
    Tensor,
    TensorError,
    Wanted,
    decode_request,
    encode_answer,
)

HEAD = (
    b'{"id":"7","parameters":{"batch":"tue"},"inputs":['
    b'{"name":"counts","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},'
    b'{"name":"axis","shape":[1],"datatype":"INT64","data":[3]},'
    b'{"name":"image","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}}],'
    b'"outputs":[{"name":"family"},{"name":"eject","parameters":{"binary_data":true}}]}'
)
BEHIND = b"\x00\x00\x80\x3f\x00\x00\x20\xc0" + b"\x03\x00\x00\x00\xff\xd8\xff" + b"\x00\x00\x00\x00"


def head_of(*inputs, **more):
    return json.dumps({"inputs": list(inputs), **more}).encode()


def tensor(**changes):
    return {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]} | changes


def fault_of(body, head_length=None):
    with pytest.raises(TensorError) as caught:
        decode_request(body, head_length)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_json_and_bytes_in_one_request():
    told = decode_request(HEAD + BEHIND, str(len(HEAD)))
    assert (told.number, told.parameters, told.binary) == ("7", {"batch": "tue"}, False)
    assert told.outputs == (Wanted("family", False), Wanted("eject", True))
    assert told.inputs["counts"].values.tolist() == [[1.0, -2.5]]
    assert told.inputs["axis"].values.tolist() == [3]
    assert told.inputs["image"].values.tolist() == [b"\xff\xd8\xff", b""]
    assert [one.binary for one in told.inputs.values()] == [True, False, True]


def test_binary_data_output_is_for_the_outputs_that_do_not_say_otherwise():
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    told = decode_request(head_of(tensor(), outputs=outputs, parameters={"binary_data_output": True}), None)
    assert told.outputs == (Wanted("a", True), Wanted("b", False))
    assert (told.binary, told.parameters) == (True, {})
    assert decode_request(head_of(tensor()), None).outputs is None


@pytest.mark.parametrize(
    ("datatype", "data", "content"),
    [
        ("BOOL", [True, False], b"\x01\x00"),
        ("UINT8", [1, 255], b"\x01\xff"),
        ("UINT16", [1, 65535], b"\x01\x00\xff\xff"),
        ("INT32", [-1, 2], b"\xff\xff\xff\xff\x02\x00\x00\x00"),
        ("INT64", [-1, 2], b"\xff" * 8 + b"\x02" + b"\x00" * 7),
        ("FP16", [1.0, -2.0], b"\x00\x3c\x00\xc0"),
        ("FP64", [1.0, -2.5], b"\x00" * 6 + b"\xf0\x3f" + b"\x00" * 6 + b"\x04\xc0"),
        ("BYTES", ["Cu\0", "é"], b"\x03\x00\x00\x00Cu\0\x02\x00\x00\x00\xc3\xa9"),
    ],
)
def test_every_datatype_means_the_same_in_json_and_bytes(datatype, data, content):
    as_json = decode_request(head_of(tensor(datatype=datatype, data=data)), None).inputs["x"].values
    told = tensor(datatype=datatype, parameters={"binary_data_size": len(content)})
    del told["data"]
    head = head_of(told)
    as_bytes = decode_request(head + content, str(len(head))).inputs["x"].values
    assert as_json.dtype == as_bytes.dtype
    assert as_json.tolist() == as_bytes.tolist()
    body, head_size = encode_answer({}, [(Tensor("x", datatype, as_json), True)])
    assert body[head_size:] == content
    body, head_size = encode_answer({}, [(Tensor("x", datatype, as_json), False)])
    assert head_size is None
    assert json.loads(body)["outputs"][0]["data"] == data


def test_data_may_be_nested():
    told = decode_request(head_of(tensor(shape=[2, 2], data=[[1, 2], [3, 4]])), None)
    assert told.inputs["x"].values.tolist() == [[1, 2], [3, 4]]


def test_an_answer_in_bytes():
    outputs = [
        (Tensor("novelty", "FP32", np.array([1.5, np.nan], np.float32)), True),
        (Tensor("family", "BYTES", np.array([b"6xxx", b""], object)), True),
        (Tensor("eject", "BOOL", np.array([True, False])), False),
    ]
    body, head_size = encode_answer({"model_name": "m", "id": "7"}, outputs)
    assert body[:head_size] == (
        b'{"model_name":"m","id":"7","outputs":['
        b'{"name":"novelty","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}},'
        b'{"name":"family","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":12}},'
        b'{"name":"eject","datatype":"BOOL","shape":[2],"data":[true,false]}]}'
    )
    assert body[head_size:] == b"\x00\x00\xc0\x3f\x00\x00\xc0\x7f" + b"\x04\x00\x00\x006xxx\x00\x00\x00\x00"


def test_what_is_not_there_is_minus_one_in_json_which_has_no_nan():
    body, _ = encode_answer({}, [(Tensor("novelty", "FP32", np.array([0.5, np.nan], np.float32)), False)])
    assert body == b'{"outputs":[{"name":"novelty","datatype":"FP32","shape":[2],"data":[0.5,-1.0]}]}'


def test_a_number_that_is_none_is_read_so_that_its_piece_can_be_refused():
    told = decode_request(head_of(tensor(data=[1.0, float("nan")])), None)
    assert np.isnan(told.inputs["x"].values[1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datatype": "BF16"}, "input 'x': datatype 'BF16' is not known, there are BOOL, UINT8"),
        ({"shape": [3]}, "input 'x': shape [3] has 3 elements, there are 2"),
        ({"shape": [0]}, "inputs.0.shape.0: Input should be greater than or equal to 1"),
        ({"shape": "2"}, "inputs.0.shape: Input should be a valid array"),
        ({"data": [1, "2"]}, "input 'x': data must all be numbers"),
        ({"data": [1, None]}, "input 'x': data must all be numbers"),
        ({"data": [1, True]}, "input 'x': data must all be numbers"),
        ({"data": [1, 10**400]}, "which is not within FP32"),
        ({"shape": [1] * 70, "data": [1]}, "inputs.0.shape: List should have at most 8 items"),
        ({"data": [[1, 2], 3]}, "input 'x': the rows of data are of unequal length"),
        ({"data": [[1], [2, 3]]}, "input 'x': the rows of data are of unequal length"),
        ({"datatype": "BYTES"}, "input 'x': data must all be strings"),
        ({"datatype": "INT64", "data": [1.5, 2]}, "input 'x': data must all be whole numbers"),
        ({"datatype": "BOOL"}, "input 'x': data must all be true or false"),
        ({"datatype": "UINT8", "data": [1, 256]}, "data run from 1 to 256, which is not within UINT8"),
        ({"dtype": "FP32"}, "key 'inputs.0.dtype' is not known"),
        ({"data": None}, "input 'x' must have data or binary_data_size, one of them"),
        ({"parameters": {"binary_data_size": 8}}, "must have data or binary_data_size, one of them"),
        ({"data": None, "parameters": {"binary_data_size": -8}}, "binary_data_size -8 must be a number of"),
        (
            {"parameters": {"shared_memory_region": "r"}},
            "input 'x': parameter 'shared_memory_region' is not known, there is binary_data_size",
        ),
    ],
)
def test_a_tensor_that_is_wrong_is_named(changes, words):
    assert words in fault_of(head_of(tensor(**changes)))


def test_a_request_that_is_wrong_is_named():
    assert fault_of(b"{}") == "inputs: Field required"
    assert "Inference-Header-Content-Length must say how long it is" in fault_of(HEAD + BEHIND)
    assert "input 'x' is there twice" in fault_of(head_of(tensor(), tensor()))
    said = fault_of(head_of(tensor(), parameters={"binary_data_output": 1}))
    assert said == "parameter binary_data_output 1 must be true or false"
    outputs = [{"name": "a", "parameters": {"classification": 3}}]
    said = fault_of(head_of(tensor(), outputs=outputs))
    assert said == "output 'a': parameter 'classification' is not known, there is binary_data"


@pytest.mark.parametrize("length", ["-1", "1e3", "", "²", "99999"])
def test_a_length_of_the_json_that_is_none(length):
    assert f"{length!r} must be the bytes of the JSON" in fault_of(HEAD + BEHIND, length)


def test_lengths_that_disagree():
    said = fault_of(HEAD + BEHIND[:-1], str(len(HEAD)))
    assert said.startswith("18 bytes follow the JSON (Inference-Header-Content-Length: ")
    assert said.endswith("the inputs' binary_data_size make 19: they must agree")
    told = tensor(parameters={"binary_data_size": 4})
    del told["data"]
    head = head_of(told)
    said = fault_of(head + b"1234", str(len(head)))
    assert said == "input 'x': shape [2] of FP32 has 8 bytes, binary_data_size is 4"


@pytest.mark.parametrize("content", [b"\x05\x00\x00\x00abc", b"\x01\x00", b"\x01\x00\x00\x00a\x00"])
def test_bytes_that_are_cut_off(content):
    told = tensor(datatype="BYTES", parameters={"binary_data_size": len(content)})
    del told["data"]
    head = head_of(told)
    assert "of BYTES is cut off" in fault_of(head + content, str(len(head)))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=8)
parameters = st.dictionaries(
    st.sampled_from(["deadline_ms", "timeout", "batch", "binary_data_output"]), scalars, max_size=2
)
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from([known.name for known in INPUTS]),
        "shape": st.lists(st.integers(-1, 4), max_size=5),
        "datatype": st.sampled_from(list(DTYPES)),
    },
    optional={
        "data": st.lists(st.integers(-1, 300)) | anything,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(0, 40) | scalars}),
    },
)


def understand(body, head_length):
    """What a client sends is understood, or refused on purpose."""
    with suppress(DataError):
        told = decode_request(body, head_length)
        read_pieces(told, {}, 0.0)
        wanted_outputs(told)


@given(st.lists(tensors, max_size=3), parameters, st.binary(max_size=80))
def test_any_request(inputs, parameters, behind):
    head = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    understand(head + behind, str(len(head)))
    understand(head, None)


@given(st.binary(max_size=60), st.integers(0, len(HEAD + BEHIND)), st.integers(0, 900))
def test_any_bytes(some, at, head_size):
    whole = HEAD + BEHIND
    understand(whole[:at] + some + whole[at + len(some) :], str(head_size))
