"""Who is compared: what it is started with, which environment it lives in, and what it is sent."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from client import Door, Http, Post, http_door, stream_door

from alloysort_inference.bench.speed import Load
from alloysort_inference.doors.stream.wire import Axis, Counts, PieceMessage, encode_axis, encode_piece

PEERS: Final = Path(__file__).parent / "peers"
KIND: Final = "application/vnd.alloysort.piece"
BOUNDARY: Final = "piece-boundary"


@dataclass(frozen=True)
class Contestant:
    """A server with a way in.

    Attributes:
        name: in the table.
        environment: folder of `.envs`, and of the file of its packages.
        package: whose version is told.
        command: what its Python is called with, by port.
        door: how pieces are sent.
    """

    name: str
    environment: str
    package: str
    command: Callable[[int], list[str]]
    door: Door


def message(load: Load, axis: int = 1) -> bytes:
    """The piece as docs/stream.md has it."""
    counts = Counts(Axis(axis, load.wavelength_nm), load.shots)
    return encode_piece(PieceMessage(1, counts, load.jpeg))


def multipart(load: Load) -> bytes:
    """The piece as two files: a JPEG, and wavelengths and shots as `numpy.savez` writes them."""
    arrays = io.BytesIO()
    np.savez(arrays, wavelength_nm=load.wavelength_nm, shots=load.shots)
    files = {"image": ("image.jpg", load.jpeg), "spectrum": ("spectrum.npz", arrays.getvalue())}
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, (file, content) in files.items()
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def raw_door(path: str, kind: str = "application/octet-stream") -> Door:
    """The piece message as the body."""

    async def make(_: Http, load: Load) -> Post:
        return Post(path, kind, message(load))

    return http_door(make)


def multipart_door(path: str) -> Door:
    """Two files in a form."""

    async def make(_: Http, load: Load) -> Post:
        return Post(path, f"multipart/form-data; boundary={BOUNDARY}", multipart(load))

    return http_door(make)


async def _alloysort(http: Http, load: Load) -> Post:
    axis = Post("/v1/axes", "application/vnd.alloysort.axis", encode_axis(Axis(0, load.wavelength_nm)))
    number = json.loads((await http.ask(axis.encode())).body)["axis"]
    return replace(Post("/v1/classify", KIND, b""), body=message(load, number))


async def _triton(_: Http, load: Load) -> Post:
    """With the protocol's extension for binary tensors, which spares base64."""
    piece = message(load)
    size = {"binary_data_size": len(piece)}
    told = {
        "inputs": [{"name": "message", "shape": [1, len(piece)], "datatype": "UINT8", "parameters": size}],
        "outputs": [{"name": "answer", "parameters": {"binary_data": True}}],
    }
    head = json.dumps(told).encode()
    headers = f"Inference-Header-Content-Length: {len(head)}\r\n"
    return Post("/v2/models/sorter/infer", "application/octet-stream", head + piece, headers)


async def _mlserver(_: Http, load: Load) -> Post:
    data = [base64.b64encode(message(load)).decode()]
    tensor = {"name": "message", "shape": [1, 1], "datatype": "BYTES", "data": data}
    body = json.dumps({"inputs": [tensor | {"parameters": {"content_type": "base64"}}]}).encode()
    return Post("/v2/models/sorter/infer", "application/json", body)


def _serve(port: int) -> list[str]:
    return ["-m", "alloysort", "serve", "--port", str(port)]


def _script(name: str) -> Callable[[int], list[str]]:
    return lambda port: [str(PEERS / f"{name}.py"), "--port", str(port)]


def _bentoml(port: int) -> list[str]:
    where = ["--working-dir", str(PEERS), "--host", "127.0.0.1", "--port", str(port)]
    return ["-m", "bentoml", "serve", "bentoml_peer:Sorter", *where]


CONTESTANTS: Final = (
    Contestant("alloysort-stream", "line", "alloysort", _serve, stream_door),
    Contestant("alloysort-rest", "line", "alloysort", _serve, http_door(_alloysort)),
    Contestant("alloysort-multipart", "line", "alloysort", _serve, multipart_door("/v1/classify")),
    Contestant(
        "fastapi-multipart", "line", "fastapi", _script("fastapi_multipart"), multipart_door("/classify")
    ),
    Contestant("fastapi-raw", "line", "fastapi", _script("fastapi_raw"), raw_door("/classify")),
    Contestant("mosec", "mosec", "mosec", _script("mosec_peer"), raw_door("/inference")),
    Contestant("litserve", "litserve", "litserve", _script("litserve_peer"), raw_door("/predict")),
    Contestant("triton", "triton", "nvidia-pytriton", _script("triton_peer"), http_door(_triton)),
    Contestant("bentoml", "bentoml", "bentoml", _bentoml, raw_door("/raw/classify")),
    Contestant("mlserver", "mlserver", "mlserver", _script("mlserver_peer"), http_door(_mlserver)),
    Contestant("ray", "ray", "ray", _script("ray_peer"), raw_door("/classify")),
)
