"""How fast: concurrency that adapts to each endpoint, caps that hold over all processes, one budget of memory.

`Gate` is AIMD (additive increase, multiplicative decrease; Chiu and Jain, 1989) over requests in flight. The rate of a
cap may change while bodies are under way.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from dth.core.errors import StateError
from dth.core.ports.limits import Lease, Limits
from dth.core.transport import Valve

CAP_SLICE = 0.1  # seconds of a cap that are leased at once: bursts stay within it
LOOK = 2.0  # seconds between looks at the rates that hold


class Lanes:
    """Admits so many at once, first come, first served. The number may change while they are inside."""

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit
        self.in_flight = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if not self.enter_at_once():
            await self.enter()

    def enter_at_once(self) -> bool:
        """Enter if nobody has to wait. It stands alone for those who come often: it needs no coroutine."""
        if self.in_flight < self.limit and not self._queue:
            self.in_flight += 1
            return True
        return False

    async def enter(self) -> None:
        """Wait for a place."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.leave()  # admitted in the same moment: pass it on
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def resize(self, limit: float) -> None:
        self.limit = limit
        self._admit()

    def leave(self) -> None:
        self.in_flight -= 1
        if self._queue:
            self._admit()

    def _admit(self) -> None:
        while self._queue and self.in_flight < self.limit:
            future = self._queue.popleft()
            if not future.done():
                self.in_flight += 1
                future.set_result(None)


class Scout:
    """The first one to enter goes alone, to show what the others will meet. Once it has come back without an error, all
    who waited go on together; after an error the next one goes alone.

    `__aenter__` says whether the one that enters is alone. A lock would do, but wakes those who wait one by one: they
    would go on one by one for good, and each answer would wake the process for itself.
    """

    def __init__(self, *, returned: bool = False) -> None:
        self.returned = returned
        self._is_out = False
        self._back = asyncio.Event()

    async def __aenter__(self) -> bool:
        while self._is_out:
            await self._back.wait()
        if self.returned:
            return False
        self._is_out = True
        self._back.clear()
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.returned:
            self.returned = kind is None
            self._is_out = False
            self._back.set()


class Gate(Lanes):
    """Admits requests to one endpoint.

    The number in flight falls by a third when the store throttles (once per `HOLD`) and the rate that it takes is not
    known (`rate`). `REST` seconds later it grows again, by one for each full round of successes. Until the store
    throttles for the first time, it grows by one for each success: slow start, as in TCP (RFC 5681, section 3.1).

    Beyond a quarter of the maximum, it grows only by answers that were not much slower than the quickest of their kind:
    others waited in a line, at the store or here, and more requests would only make that line longer (the idea of TCP
    Vegas; Brakmo and Peterson, 1995). A store that is far away gets them all, as its answers are all equally late.
    """

    MINIMUM = 1
    # Seconds between two decreases: one storm counts once.
    HOLD = 0.25
    # Seconds after a decrease without an increase. Rounds are short on a near store: what grows with each of them is
    # above the store's rate again at once, and most requests are refused.
    REST = 1.0
    # Times the quickest answer, that one may take which did not wait in a line.
    IN_LINE = 3

    def __init__(self, maximum: int = 256, start: int = 16) -> None:
        super().__init__(float(min(start, maximum)))
        self.maximum = maximum
        self._free = maximum / 4  # up to which it grows by any success
        self._quickest: dict[str, float] = {}  # seconds, by kind of request
        self.throttled = 0
        self.errors = 0  # requests that failed, other than for what is merely not there
        # Requests that were answered well, of all there were.
        self.passed = 0
        # Monotonic time since which nothing was answered at all; 0 while the endpoint answers.
        self.silent_since = 0.0
        self._answers = 0
        self._seconds = 0.0  # that they took
        self._decreased = -self.REST

    def succeeded(self, seconds: float = 0.0, kind: str = "") -> None:
        """A request was answered well, `seconds` after it was sent. Compared are those of one kind."""
        self._answers += 1
        self._seconds += seconds
        self.passed += 1
        self.silent_since = 0.0
        quickest = self._quickest.get(kind, math.inf)
        if seconds < quickest:
            self._quickest[kind] = quickest = seconds
        if self.limit < self.maximum and (self.limit < self._free or seconds <= quickest * self.IN_LINE):
            self._grow()

    def _grow(self) -> None:
        if not self.throttled:
            self.limit = min(self.maximum, self.limit + 1)
        elif time.monotonic() - self._decreased >= self.REST:
            self.limit = min(self.maximum, self.limit + 1 / self.limit)

    def answered(self) -> None:
        """The endpoint has answered, whatever it said."""
        self.silent_since = 0.0

    def silent(self) -> None:
        """A request found nobody who answers."""
        self.silent_since = self.silent_since or time.monotonic()

    def slow_down(self, *, paced: bool = False) -> None:
        """A request was refused because there are too many. `paced`: they are sent at another rate now, so as many as
        before may be in flight."""
        self.throttled += 1
        now = time.monotonic()
        if not paced and now - self._decreased >= self.HOLD:
            self._decreased = now
            lowest = min(self.MINIMUM, self.maximum)
            self.limit = max(lowest, min(self.limit, self.in_flight + 1) * 0.7)

    def take_latency(self) -> float:
        """Mean seconds from a request to the end of its answer since the last call; 0 without any."""
        latency = self._seconds / self._answers if self._answers else 0.0
        self._answers, self._seconds = 0, 0.0
        return latency


class Lessor(Protocol):
    """Who grants shares of a rate: the limits of a platform, or what was learned of a store."""

    async def lease(self, name: str, wanted: float) -> Lease: ...


class Cap:
    """A rate in units a second that several processes share, taken in short slices from who grants them:
    what those who wait here need together, and no more, so that nothing lapses that another process could use. While
    the limits cannot be reached, the last share of this process is kept.

    The rate may change at any time (`adopt`), for the bodies under way as well. At 0 there is no limit."""

    BUFFER = 128 * 1024  # bytes that a connection may receive before they are asked for
    LARGE = 64  # large bodies at once, at most
    SMALL = 256 * 1024  # bytes of a body that need not be stopped once it is under way

    def __init__(self, limits: Lessor, name: str, rate: float = 0.0) -> None:
        self.name = name
        self.rate = 0.0
        self.slice = math.inf
        self.buffer = 0
        self.large = Lanes()
        self.waiting = 0  # those who are in `take`
        self._limits = limits
        self.bodies: set[Body] = set()  # large ones that are under way
        self._wanted = 0.0  # by all who are in `take`
        self._held = 0.0  # granted, for those who wait
        self._lapses = 0.0  # monotonic time at which that is lost, if they went away
        self._share = math.inf
        self._counted = 0.0  # granted since...
        self._since = time.monotonic()
        self._lock = asyncio.Lock()
        self.adopt(rate)
        self.resized = 0.0  # monotonic time at which `buffer` changed

    def adopt(self, rate: float) -> None:
        """From now on this rate holds."""
        if rate == self.rate:
            return
        self.rate = rate
        self.slice = self._share = rate * CAP_SLICE if rate else math.inf
        # A server sends until our buffers are full, whatever was granted: all of them together hold a slice.
        at_once = int(self.slice / self.BUFFER) if rate else self.LARGE + 1
        buffer = min(self.BUFFER, max(16 * 1024, int(self.slice))) if at_once <= self.LARGE else 0
        if buffer != self.buffer:
            self.buffer, self.resized = buffer, time.monotonic()
        self.large.resize(min(max(1, at_once), self.LARGE) if rate else math.inf)
        for body in self.bodies:
            body.adopt()

    async def take(self, amount: float) -> float:
        """Return when `amount` units may be used. First come, first served within the process. Where the rate falls
        meanwhile, so that the amount is more than a slice of it, return how many were granted until then."""
        if not self.rate:
            return amount
        before, missing = self.rate, amount
        self._wanted += amount
        self.waiting += 1
        try:
            async with self._lock:
                if time.monotonic() >= self._lapses:
                    self._held = 0.0
                while self._held < missing:
                    missing, self._held = missing - self._held, 0.0
                    if 0 < self.rate < before and amount > max(self.slice, 1.0):
                        return amount - missing
                    self._held, wait = await self._lease(max(missing, min(self._wanted, self.slice)))
                    self._lapses = time.monotonic() + CAP_SLICE
                    if self._held < missing:
                        await asyncio.sleep(min(wait, CAP_SLICE))
                self._held -= missing
            return amount
        finally:
            self._wanted -= amount
            self.waiting -= 1

    def paced(self, size: float, *, received: bool) -> "Body":
        """To be entered (`async with`) round a request with a body of `size` bytes."""
        return Body(self, size, received=received)

    async def _lease(self, wanted: float) -> tuple[float, float]:
        try:
            lease = await self._limits.lease(self.name, wanted)
        except (OSError, StateError):
            return min(self._share, wanted), CAP_SLICE
        self.adopt(lease.rate)
        self._counted += lease.granted
        passed = time.monotonic() - self._since
        if passed >= 1.0 and self.rate:
            self._share = min(self.slice, max(self._counted / passed, self.rate / 100) * CAP_SLICE)
            self._counted, self._since = 0.0, time.monotonic()
        return lease.granted, lease.wait


class Supply:
    """What a cap grants one large body, slice after slice. Of a body that is received, as much as the connection's
    buffers hold has been sent before it is read: so much is taken first and granted last."""

    def __init__(self, cap: Cap, size: float, *, received: bool) -> None:
        self._cap = cap
        self._size = size
        self._last = min(cap.buffer, cap.slice) if received else 0.0
        self._ahead = self._last

    async def next(self) -> float:
        """Take a slice, and return what may pass now; all that is to come while there is no limit."""
        if not self._cap.rate:
            return math.inf
        if self._size < 1 and self._last:
            granted, self._last = self._last, 0.0
            return granted
        amount = min(self._cap.slice, self._size) if self._size >= 1 else self._cap.slice
        taken = await self._cap.take(amount)
        self._size -= taken
        granted = max(0.0, taken - self._ahead)
        self._ahead -= taken - granted
        return granted

    async def feed(self, valve: Valve) -> None:
        """Grant the valve more each time it is dry. Ends with its task."""
        while True:
            await valve.dry.wait()
            valve.dry.clear()
            valve.grant(await self.next())


class Body:
    """One body under way. Entered when its request may be sent: a small one once all of it is granted, a large one with
    the valve that lets its bytes pass as they are granted. Without a limit the valve stands open, and nobody feeds it
    until one comes."""

    def __init__(self, cap: Cap, size: float, *, received: bool) -> None:
        self._cap = cap
        self._size = size
        self._received = received
        self._rate = 0.0  # by which its valve goes
        self._valve: Valve | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._in_lane = False

    async def __aenter__(self) -> Valve | None:
        cap = self._cap
        if cap.rate:
            if self._size <= cap.slice and await cap.take(self._size) >= self._size:
                return None
            await cap.large.__aenter__()
            self._in_lane = True
        valve = self._valve = Valve()
        cap.bodies.add(self)
        self._rate = cap.rate
        if not self._rate:
            valve.left = math.inf
            return valve
        try:
            supply = Supply(cap, self._size, received=self._received)
            valve.grant(await supply.next())
            if valve.left != math.inf:
                self._feed(supply)
        except BaseException:
            self._end()
            raise
        return valve

    async def __aexit__(self, *_: object) -> None:
        self._end()

    def adopt(self) -> None:
        """Another rate holds: what was granted at a higher one is void."""
        assert self._valve
        before, self._rate = self._rate, self._cap.rate
        if not before or 0 < self._rate < before:
            self._valve.shut(self._cap.buffer)
            if self._feeder is None and not before:
                self._feed(Supply(self._cap, self._size, received=False))
        else:
            self._valve.widen(self._cap.buffer)

    def _feed(self, supply: Supply) -> None:
        assert self._valve
        self._feeder = asyncio.create_task(supply.feed(self._valve))

    def _end(self) -> None:
        if self._feeder:
            self._feeder.cancel()
        if self._valve:
            self._cap.bodies.discard(self)
            self._valve.close()
        if self._in_lane:
            self._cap.large.leave()


async def follow(limits: Limits, caps: Sequence[Cap]) -> None:
    """Look which rates hold, again and again, for processes that take nothing at the moment or have no limit. Ends
    with its task."""
    while True:
        await asyncio.sleep(LOOK)
        with contextlib.suppress(OSError, StateError):
            rates = await limits.rates()
            for cap in caps:
                cap.adopt(rates.get(cap.name, 0.0))


class Budget:
    """Bytes of bodies that may be in memory at once. First come, first served, so that a large one is not starved;
    one larger than the whole budget goes alone."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def short(self) -> bool:
        """Whether somebody is waiting for memory."""
        return bool(self._queue)

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
            admitted = future.done() and not future.cancelled()
            self.release(amount if admitted else 0)  # or else those behind may go now
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
