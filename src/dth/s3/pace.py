"""How fast: concurrency that adapts to each endpoint, caps that hold over all processes, one budget of memory.

`Gate` is AIMD (additive increase, multiplicative decrease; Chiu and Jain, 1989) over requests in flight.
"""

import asyncio
import time
from collections import deque
from types import TracebackType

from dth.platforms.ports import Limits

CAP_SLICE = 0.1  # seconds of a cap that are leased at once: bursts stay within it


class Gate:
    """Admits requests to one endpoint. The number in flight halves when the store throttles (once per `HOLD`) and grows
    by one for each full round of successes."""

    MINIMUM = 4
    HOLD = 0.25  # seconds between two decreases: one storm counts once

    def __init__(self, maximum: int = 256, start: int = 64) -> None:
        self.maximum = maximum
        self.limit = float(min(start, maximum))
        self.in_flight = 0
        self.throttled = 0
        self._decreased = -self.HOLD
        self._queue: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self.in_flight < self.limit and not self._queue:
            self.in_flight += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._leave()  # admitted in the same moment: pass it on
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def succeeded(self) -> None:
        if self.limit < self.maximum:
            self.limit = min(self.maximum, self.limit + 1 / self.limit)

    def slow_down(self) -> None:
        self.throttled += 1
        now = time.monotonic()
        if now - self._decreased >= self.HOLD:
            self._decreased = now
            self.limit = max(self.MINIMUM, min(self.limit, self.in_flight + 1) * 0.7)

    def _leave(self) -> None:
        self.in_flight -= 1
        while self._queue and self.in_flight < self.limit:
            future = self._queue.popleft()
            if not future.done():
                self.in_flight += 1
                future.set_result(None)


class Cap:
    """A rate in units a second that all processes of a task share, taken in short slices from the platform's limits.
    While those cannot be reached the last granted share is kept."""

    def __init__(self, limits: Limits, name: str, rate: float) -> None:
        self._limits = limits
        self._name = name
        self._rate = rate
        self._share = rate * CAP_SLICE
        self._lock = asyncio.Lock()

    @property
    def rate(self) -> float:
        return self._rate

    async def take(self, amount: float) -> None:
        """Return when `amount` units may be used. First come, first served within the process."""
        async with self._lock:
            while amount > 0:
                try:
                    granted, wait = await self._limits.lease(self._name, amount, self._rate)
                except OSError:
                    granted, wait = min(self._share, amount), CAP_SLICE
                amount -= granted
                if amount > 0:
                    await asyncio.sleep(wait)


class Budget:
    """Bytes of bodies that may be in memory at once. First come, first served, so that a large one is not starved;
    one larger than the whole budget goes alone."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, amount: int) -> None:
        amount = min(amount, self.size)
        if not self._queue and self.used + amount <= self.size:
            self.used += amount
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((amount, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release(amount)
            raise

    def release(self, amount: int) -> None:
        self.used -= min(amount, self.size)
        while self._queue:
            wanted, future = self._queue[0]
            if future.done():
                self._queue.popleft()
            elif self.used + wanted <= self.size:
                self._queue.popleft()
                self.used += wanted
                future.set_result(None)
            else:
                return
