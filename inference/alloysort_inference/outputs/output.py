"""What every output has in common: a thread and a loop of its own, so that no decision waits for it."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from alloysort_datasets.errors import AlloysortError
from alloysort_inference.outputs.counts import Counts
from alloysort_inference.record import Record

MOST_WAITING: Final = 4096  # records: at 300 pieces a second, a loop that stands still for 13 s
COUNT_EVERY_S: Final = 0.02
FIRST_RETRY_S: Final = 0.2
LAST_RETRY_S: Final = 5.0
CLOSE_S: Final = 2.0  # that an output may take to say goodbye
_log = logging.getLogger("alloysort")


class Controls(Protocol):
    """What an output may ask of the service, and the one thing it may change."""

    def recipes(self) -> Sequence[str]:
        """The names that `choose_recipe` takes."""
        ...

    def recipe(self) -> str:
        """The name of the one in use."""
        ...

    def choose_recipe(self, name: str) -> None:
        """Sort by another recipe; may take seconds.

        Raises:
            AlloysortError: it cannot be used; nothing has changed.
        """
        ...

    def state(self) -> str:
        """Initialized, Ready, SingleExecution, ContinuousExecution or Halted."""
        ...

    def simulated(self) -> bool:
        """Whether the pieces are made up."""
        ...


class OutputFaultError(AlloysortError):
    """The other side does not take what an output tells it."""


class Output(ABC):
    """One counterpart and the way to it. `tell` and `close` may be called from any thread.

    Args:
        name: of it, in the log and in its state.
        outlets: of the recipe in use.

    Attributes:
        fault: why it is not connected just now; None while it is.
        dropped: what was to go out and did not, as it came too fast or too late.
        counts: of what it was told, whether connected or not.
    """

    def __init__(self, name: str, outlets: Iterable[str] = ()) -> None:
        self.name = name
        self.fault: str | None = "not connected yet"
        self.dropped = 0
        self.counts = Counts(outlets)
        self._told: deque[tuple[Record, float]] = deque(maxlen=MOST_WAITING)
        self._complained = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._started, self._closing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def begin(self) -> None:
        """Start; returns before it is connected."""
        self._thread.start()
        self._started.wait()

    def tell(self, record: Record, mass_g: float) -> None:
        """A piece was decided on; returns at once. When too many wait, the oldest is dropped."""
        if len(self._told) == MOST_WAITING:
            self.dropped += 1
        self._told.append((record, mass_g))

    def close(self) -> None:
        """Tell what waits, where that is possible at once, and end."""
        if self._closing or self._thread.ident is None:
            return
        self._closing = True
        self._call(self._stop.set)
        self._thread.join()

    @abstractmethod
    async def _serve(self) -> None:
        """Connect, call `_connected`, and tell until `_stop` is set; an error is a lost connection."""

    def _connected(self) -> None:
        if self._complained:
            _log.warning("output %s: connected again", self.name)
        self.fault, self._complained = None, False

    def _disconnected(self, fault: str) -> None:
        if not self._complained:
            _log.error("output %s: %s; decisions go on, it is tried again", self.name, fault)
        self.fault, self._complained = fault, True

    def _tick(self) -> None:
        """What is to be done now and then, connected or not."""
        while self._told:
            self.counts.note(*self._told.popleft())

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        if seconds > 0:
            await asyncio.wait({self._stopping}, timeout=seconds)
        else:
            await asyncio.sleep(0)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have the loop call it, from any thread; nothing happens once the loop has ended."""
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.create_task(self._until_stopped())
        tasks = [asyncio.create_task(self._keep_counting()), asyncio.create_task(self._keep_serving())]
        self._started.set()
        await self._stopping
        await asyncio.wait(tasks[1:], timeout=CLOSE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_stopped(self) -> None:
        await self._stop.wait()

    async def _keep_counting(self) -> None:
        while True:
            self._tick()
            await asyncio.sleep(COUNT_EVERY_S)

    async def _keep_serving(self) -> None:
        wait_s = FIRST_RETRY_S
        while not self._stop.is_set():
            try:
                await self._serve()
                continue
            except (OSError, AlloysortError) as error:
                fault = str(error) or type(error).__name__
            except Exception as error:  # noqa: BLE001 (whatever it is, the next try may do)
                fault = f"{type(error).__name__}: {error}"
            if self.fault is None:
                wait_s = FIRST_RETRY_S
            self._disconnected(fault)
            await self._pause(wait_s)
            wait_s = min(2 * wait_s, LAST_RETRY_S)
