"""The watch: figures of sensors and feed in, alarms that say what to do out.

An alarm is raised when its figure has been beyond its limit for HOLD pieces running, and falls when it is
well inside again: it does not flicker. An alarm of the feed keeps still while one of the sensors stands,
which is then the likelier cause.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from math import log
from typing import Final, Literal

from alloysort_inference.health.drift import WINDOW, Drift, Outcome, outcome
from alloysort_inference.health.reference import learned
from alloysort_inference.health.sensors import MEMORY, Reading, Sensors, read
from alloysort_inference.record import Record
from alloysort_models.bundle.grid import Grid
from alloysort_models.bundle.health import Limits, Reference
from alloysort_models.bundle.inputs import Features

Severity = Literal["notice", "warning", "fault"]

LEARN: Final = 500  # pieces, where the bundle holds no reference
LEAST: Final = 50  # pieces watched before anything is said
HOLD: Final = 10  # pieces running beyond a limit
RELEASE: Final = 0.75  # of a limit: below, an alarm falls
FEED_EVERY: Final = 10  # pieces: the feed changes slowly, and its figures cost more


@dataclass(frozen=True)
class Alarm:
    """Something is not what the model was made for.

    Attributes:
        key: stable name.
        severity: "notice": know it; "warning": look at it in this shift; "fault": now.
        text: one sentence with the value, the limit and the number of pieces.
        advice: what to do, one sentence.
        since: when it was raised, UTC.
    """

    key: str
    severity: Severity
    text: str
    advice: str
    since: datetime


@dataclass(frozen=True)
class _Finding:
    """How near a figure is to its limit: 1 is at it."""

    key: str
    severity: Severity
    strain: float
    text: str
    advice: str
    hold: int = HOLD


class Watch:
    """Watches a line; safe to share between threads.

    Attributes:
        grid: the bundle's.
        reference: what is expected; None while it is being learned.
    """

    def __init__(
        self,
        grid: Grid,
        reference: Reference | None = None,
        *,
        limits: Limits | None = None,
        learn: int = LEARN,
        memory: int = MEMORY,
        window: int = WINDOW,
    ) -> None:
        """Begin.

        Args:
            grid: the bundle's.
            reference: out of the bundle's manifest, or kept from before; None: learned from the first
                pieces.
            limits: in place of the reference's own.
            learn: pieces to learn from.
            memory: pieces that a running figure of the sensors remembers.
            window: pieces that the feed is compared by.

        Raises:
            DataError: the reference has other bins than these, or `learn` or `window` is too small.
        """
        self.grid = grid
        self.reference: Reference | None = None
        self._limits, self._learn, self._memory, self._window = limits, learn, memory, window
        self._lock = threading.Lock()
        self._readings: list[Reading] = []
        self._outcomes: list[Outcome] = []
        self._standing: dict[str, Alarm] = {}
        self._running: dict[str, int] = {}
        self._seen = 0
        if reference is not None:
            self._begin(reference if limits is None else reference.model_copy(update={"limits": limits}))

    def _begin(self, reference: Reference) -> None:
        self._sensors, self._drift = Sensors(reference, self._memory), Drift(reference, self._window)
        self.reference = reference

    def see(self, record: Record, features: Features | None) -> None:
        """Take a piece into the figures.

        Args:
            record: what was decided.
            features: as prepared for the engine; None where nothing was: the piece then tells nothing.

        Raises:
            DataError: what was to be learned from is too little.
        """
        if features is None or record.status != "decided":
            return
        reading, said = read(features, record.quality, self.grid), outcome(record)
        with self._lock:
            if self.reference is None:
                self._take_as_well(reading, said)
                return
            self._seen += 1
            self._sensors.see(reading)
            if said is not None:
                self._drift.see(said)
            self._judge(record.time)

    def _take_as_well(self, reading: Reading, said: Outcome | None) -> None:
        self._readings.append(reading)
        if said is not None:
            self._outcomes.append(said)
        if len(self._readings) >= self._learn:
            self._begin(learned(self._readings, self._outcomes, limits=self._limits))
            self._readings, self._outcomes = [], []

    def alarms(self) -> list[Alarm]:
        """What stands now: the gravest first, of these the oldest."""
        order = {"fault": 0, "warning": 1, "notice": 2}
        with self._lock:
            return sorted(self._standing.values(), key=lambda one: (order[one.severity], one.since))

    def figures(self) -> dict[str, float | None]:
        """The running figures by name; None where too little is known to say."""
        with self._lock:
            pieces: dict[str, float | None] = {
                "pieces": float(self._seen),
                "learning": float(self.reference is None),
            }
            if self.reference is None:
                return pieces | {"learned": float(len(self._readings))}
            return pieces | self._sensors.figures() | self._drift.figures()

    def _judge(self, now: datetime) -> None:
        if self._seen < LEAST:
            return
        for finding in _of_sensors(self._sensors, self._seen):
            self._weigh(finding, now)
        if self._seen % FEED_EVERY == 0:
            hurt = any(key not in FEED for key in self._standing)
            for finding in _of_feed(self._drift):
                self._weigh(replace(finding, strain=0.0) if hurt else finding, now)

    def _weigh(self, finding: _Finding, now: datetime) -> None:
        key, standing = finding.key, self._standing.get(finding.key)
        if standing is not None:
            if finding.strain < RELEASE:
                del self._standing[key]
                self._running[key] = 0
            else:
                self._standing[key] = replace(standing, text=finding.text)
            return
        self._running[key] = self._running.get(key, 0) + 1 if finding.strain >= 1 else 0
        if self._running[key] >= finding.hold:
            self._standing[key] = Alarm(key, finding.severity, finding.text, finding.advice, now)


FEED: Final = frozenset({"novelty_rate", "novelty_drift", "confidence_drift", "mix_drift"})


def _of_sensors(sensors: Sensors, seen: int) -> Iterator[_Finding]:
    yield from _of_spectrometer(sensors, seen)
    yield from _of_camera(sensors, seen)
    yield from _of_rates(sensors, seen)


def _of_spectrometer(sensors: Sensors, seen: int) -> Iterator[_Finding]:
    limits, after = sensors.reference.limits, f"after {seen} pieces"
    ratio, shift_nm = sensors.light_ratio, sensors.shift_nm
    if ratio is not None:
        yield _Finding(
            "laser_weak",
            "warning",
            log(ratio) / log(limits.light_ratio),
            f"The light of the spectra is {ratio:.0%} of the expected, least {limits.light_ratio:.0%}, "
            f"{after}.",
            "Measure the pulse energy, and clean the laser window and the fibre's end.",
        )
    if shift_nm is not None:
        yield _Finding(
            "wavelength_shift",
            "fault",
            abs(shift_nm) / limits.shift_nm,
            f"The aluminium lines lie {shift_nm:+.3f} nm from where they lay, most {limits.shift_nm:g} nm, "
            f"{after}.",
            "Calibrate the spectrometer's wavelengths with a lamp, and look at its temperature.",
        )


def _of_camera(sensors: Sensors, seen: int) -> Iterator[_Finding]:
    limits, after = sensors.reference.limits, f"after {seen} pieces"
    luma, focus, colour = sensors.luma_ratio, sensors.focus_ratio, sensors.colour_distance
    if luma is not None:
        dark, bright = 1 - limits.luma_low, limits.luma_high - 1
        yield _Finding(
            "camera_dark",
            "warning",
            (1 - luma) / dark,
            f"Pictures are {luma:.0%} as bright as expected, least {limits.luma_low:.0%}, {after}.",
            "Look at the lamps and the exposure time, and clean the camera's window.",
        )
        yield _Finding(
            "camera_bright",
            "warning",
            (luma - 1) / bright,
            f"Pictures are {luma:.0%} as bright as expected, most {limits.luma_high:.0%}, {after}.",
            "Look at the exposure time, and keep daylight off the belt.",
        )
    if focus is not None:
        yield _Finding(
            "camera_blurred",
            "warning",
            log(focus) / log(limits.focus_ratio),
            f"Pictures have {focus:.0%} of the expected sharpness, least {limits.focus_ratio:.0%}, {after}.",
            "Clean the lens, focus it anew, and look whether the camera shakes.",
        )
    if colour is not None:
        yield _Finding(
            "camera_colour",
            "warning",
            colour / limits.colour,
            f"The mean colour of the pictures is {colour:.1f} from the expected in a* and b*, most "
            f"{limits.colour:g}, {after}.",
            "Set the white balance with a grey card, and look whether a lamp has failed.",
        )
    yield _Finding(
        "camera_frozen",
        "fault",
        sensors.alike / limits.alike,
        f"The last {sensors.alike} pictures are the same to the pixel, most {limits.alike - 1}.",
        "Start the camera anew, and look at its cable.",
        hold=1,
    )


def _of_rates(sensors: Sensors, seen: int) -> Iterator[_Finding]:
    limits, expected = sensors.reference.limits, sensors.reference.rates
    for name, (key, what, advice) in _RATES.items():
        rate, least, spare = sensors.rates[name], expected.get(name, 0.0), getattr(limits, name)
        most = min(least + spare, (1 + least) / 2)  # where much is usual, half of the rest is a limit yet
        yield _Finding(
            key,
            "warning",
            (rate - least) / max(most - least, 1e-6),
            f"{what} of {rate:.0%} of the pieces, most {most:.0%}, after {seen} pieces.",
            advice,
        )


_RATES: Final = {
    "missed_shots": (
        "missed_shots",
        "Shots miss",
        "Look at the trigger's delay, the belt's speed and the height of the laser's focus.",
    ),
    "no_spectrum": (
        "no_spectrum",
        "There is no spectrum",
        "Look whether the laser fires, and at the trigger and the fibre.",
    ),
    "no_picture": (
        "no_picture",
        "There is no picture",
        "Look at the camera's trigger and its cable.",
    ),
    "saturated": (
        "saturated",
        "The detector is full",
        "Lower the spectrometer's exposure or the laser's energy.",
    ),
}


def _of_feed(drift: Drift) -> Iterator[_Finding]:
    limits, source = drift.reference.limits, drift.reference.learned_from
    novelty = drift.novelty()
    if novelty is not None:
        yield _Finding(
            "novelty_rate",
            "warning",
            log(max(novelty.chance, 1e-300)) / log(limits.chance),
            f"{novelty.novel} of the last {novelty.seen} pieces are novel, expected ({source}) are at most "
            f"{novelty.expected:.1%}; by chance {novelty.chance:.1g}, least {limits.chance:g}.",
            "Look at the novel pieces: the feed holds something that the model was not made for.",
            hold=1,
        )
    for name, (key, severity, what, advice) in _DRIFTS.items():
        value = drift.psi(name)
        if value is None:
            continue
        most = drift.psi_limit(name)
        yield _Finding(
            key,
            severity,
            value / most,
            f"{what} of the last {drift.seen} pieces differs from the reference ({source}): "
            f"PSI {value:.2f}, most {most:.2f}.",
            advice,
            hold=1,
        )


_DRIFTS: Final[dict[str, tuple[str, Severity, str, str]]] = {
    "family": (
        "mix_drift",
        "notice",
        "The mix of families",
        "Look whether another batch is fed: if so, nothing needs doing.",
    ),
    "confidence": (
        "confidence_drift",
        "warning",
        "How sure the model is",
        "Take pieces by hand and compare them with a reference analysis before trusting the sort.",
    ),
    "novelty": (
        "novelty_drift",
        "notice",
        "How novel pieces look",
        "Look at the novel pieces, and at the sensors' figures.",
    ),
}
