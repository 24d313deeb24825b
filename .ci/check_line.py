"""With only what a line needs: the installed wheel classifies and serves, and torch is not there."""

import importlib.util
import json
import subprocess
import sys
import time
import urllib.request

import numpy as np

from alloysort import Spectrum, open_classifier

READY_S = 60
AXIS_NM = np.linspace(200.0, 900.0, 2048)
ALUMINIUM_NM = (256.80, 257.51, 265.25, 266.04, 308.22, 309.27, 394.40, 396.15)


def lines_of_aluminium() -> np.ndarray:
    """One shot, (1, channels) counts: Al I lines on a floor."""
    counts = np.full(AXIS_NM.shape, 100.0)
    for line_nm in ALUMINIUM_NM:
        counts += 2e4 * np.exp(-0.5 * ((AXIS_NM - line_nm) / 0.3) ** 2)
    return counts[None].astype(np.float32)


def wait_until_ready(url: str) -> None:
    """Raises the last refusal if the service is not ready in time."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def classify_at(url: str, shot: np.ndarray) -> dict[str, object]:
    """The running service's answer."""
    body = json.dumps({"wavelength_nm": AXIS_NM.tolist(), "counts": shot.tolist()}).encode()
    request = urllib.request.Request(f"{url}/v1/classify", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def main() -> None:
    if importlib.util.find_spec("torch") is not None:
        sys.exit("torch is installed: this is no line's environment")
    shot = lines_of_aluminium()
    record = open_classifier(None, "wrought-cast").classify(Spectrum(AXIS_NM, shot), None)
    if "torch" in sys.modules:
        sys.exit("classifying imported torch")
    command = [sys.executable, "-m", "alloysort", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            url = next(word for line in server.stdout for word in line.split() if word.startswith("http://"))
            wait_until_ready(url)
            served = classify_at(url, shot)
        finally:
            server.terminate()
    if served["family"] != record.decision.family:
        sys.exit(f"the service says {served['family']}, the library {record.decision.family}")
    print(f"without torch: classified and served, {record.decision.family}")


if __name__ == "__main__":
    main()
