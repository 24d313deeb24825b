"""Real photos of scrap through the command line and, with a real spectrum, through the running service."""

import json
import subprocess
import sys
import threading
import time

import httpx
import pytest

from alloysort_datasets.families import FAMILIES

READY_S = 60


@pytest.fixture(scope="module")
def service():
    """The shipped bundle behind a real server on a free port."""
    command = [sys.executable, "-m", "alloysort", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    url = next(word for line in server.stdout for word in line.split() if word.startswith("http://"))
    threading.Thread(target=server.stdout.read, daemon=True).start()
    deadline = time.monotonic() + READY_S
    while httpx.get(f"{url}/readyz").status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    yield url
    server.terminate()
    assert server.wait(20) == 0
    server.stdout.close()


def photos_of(shared_data):
    return sorted((shared_data / "images" / "ewaste" / "images").glob("*.jpg"))


def test_a_photo_goes_through_the_command_line(shared_data):
    photo = photos_of(shared_data)[0]
    command = [sys.executable, "-m", "alloysort", "classify", "--image", str(photo), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["family"] in FAMILIES
    assert "no_spectrum" in answer["quality"]


def test_every_photo_goes_through_the_service_with_a_real_spectrum(shared_data, service):
    spectrum = (shared_data / "libs" / "aalto_elements" / "Cu_spectrum.csv").read_bytes()
    photos = photos_of(shared_data)
    assert len(photos) > 100
    for photo in photos[::8]:
        files = {"image": (photo.name, photo.read_bytes()), "spectrum": ("Cu.csv", spectrum)}
        response = httpx.post(f"{service}/v1/classify", files=files)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert not answer["accepted_as_aluminium"]
