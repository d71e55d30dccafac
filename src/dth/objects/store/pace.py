"""Speed: concurrency that adapts to each endpoint, caps shared by all processes, and one budget of
memory.

`Gate` is AIMD (additive increase, multiplicative decrease; Chiu and Jain, 1989) over requests in
flight. The rate of a cap may change while bodies are in transfer.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from dth.core.errors import StateError
from dth.core.ports.limits import Lease, Limits
from dth.core.transport import Valve

# Seconds of a cap that are leased at once. Bursts are not longer.
CAP_SLICE = 0.1
# Seconds between checks of the current rates.
LOOK = 2.0


class Lanes:
    """Admits up to `limit` at once, first come, first served. The limit may change while they are
    inside."""

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit
        self.in_flight = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if not self.enter_at_once():
            await self.enter()

    def enter_at_once(self) -> bool:
        """Enter if this needs no waiting. Separate from `enter`, because frequent callers save a
        coroutine."""
        if self.in_flight < self.limit and not self._queue:
            self.in_flight += 1
            return True
        return False

    async def enter(self) -> None:
        """Wait for a place and enter."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                # Admitted at the same moment: pass the place on.
                self.leave()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    def resize(self, limit: float) -> None:
        """Change the limit, and admit those who may enter now."""
        self.limit = limit
        self._admit()

    def leave(self) -> None:
        """Give the place back."""
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
    """The first one to enter goes alone, to learn what the others will meet. When it returns
    without an error, all that wait continue together. After an error, the next one goes alone.

    `__aenter__` returns whether the one that enters is alone. A lock is not enough: it wakes those
    that wait one by one, so they would continue one by one from then on, and each answer would wake
    the process separately.
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
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.returned:
            self.returned = kind is None
            self._is_out = False
            self._back.set()


class Gate(Lanes):
    """Admits requests to one endpoint.

    The limit falls by a third when the store throttles (once per `HOLD`), if the rate that it
    accepts is not known (`rate`). After `REST` seconds it grows again, by one per full round of
    successes. Until the store throttles for the first time, it grows by one per success: slow
    start, as in TCP (RFC 5681, section 3.1).

    Above a quarter of the maximum, it grows only by answers that were not much slower than the
    fastest of their kind. Slower answers waited in a queue, at the store or here, and more requests
    would only make that queue longer (the idea of TCP Vegas; Brakmo and Peterson, 1995). A store
    that is far away still gets all requests, because all its answers are equally late.
    """

    MINIMUM = 1
    # Seconds between two decreases. A burst of refusals counts once.
    HOLD = 0.25
    # Seconds after a decrease without an increase. Rounds are short with a near store: if the limit
    # grew in each of them, it would be above the store's rate again at once, and most requests
    # would be refused.
    REST = 1.0
    # An answer that takes up to this multiple of the fastest one did not wait in a queue.
    IN_LINE = 3

    def __init__(self, maximum: int = 256, start: int = 16) -> None:
        super().__init__(float(min(start, maximum)))
        self.maximum = maximum
        # Up to this limit, any success makes it grow.
        self._free = maximum / 4
        # In seconds, by kind of request.
        self._quickest: dict[str, float] = {}
        self.throttled = 0
        # Requests that failed. A missing object does not count.
        self.errors = 0
        # Requests that succeeded since the beginning.
        self.passed = 0
        # Monotonic time since which there was no answer at all; 0 while the endpoint answers.
        self.silent_since = 0.0
        self._answers = 0
        self._seconds = 0.0  # total time of these answers
        self._decreased = -self.REST

    def succeeded(self, seconds: float = 0.0, kind: str = "") -> None:
        """A request succeeded `seconds` after it was sent. It is compared with others of its
        `kind`."""
        self._answers += 1
        self._seconds += seconds
        self.passed += 1
        self.silent_since = 0.0
        quickest = self._quickest.get(kind, math.inf)
        if seconds < quickest:
            self._quickest[kind] = quickest = seconds
        if self.limit < self.maximum and (
            self.limit < self._free or seconds <= quickest * self.IN_LINE
        ):
            self._grow()

    def _grow(self) -> None:
        if not self.throttled:
            self.limit = min(self.maximum, self.limit + 1)
        elif time.monotonic() - self._decreased >= self.REST:
            self.limit = min(self.maximum, self.limit + 1 / self.limit)

    def answered(self) -> None:
        """The endpoint answered, with success or an error."""
        self.silent_since = 0.0

    def silent(self) -> None:
        """A request got no answer."""
        self.silent_since = self.silent_since or time.monotonic()

    def slow_down(self, *, paced: bool = False) -> None:
        """The store refused a request because there are too many. `paced`: a new request rate
        applies, so the number in flight need not fall."""
        self.throttled += 1
        now = time.monotonic()
        if not paced and now - self._decreased >= self.HOLD:
            self._decreased = now
            lowest = min(self.MINIMUM, self.maximum)
            self.limit = max(lowest, min(self.limit, self.in_flight + 1) * 0.7)

    def take_latency(self) -> float:
        """The mean seconds from request to end of answer since the last call; 0 without answers."""
        latency = self._seconds / self._answers if self._answers else 0.0
        self._answers, self._seconds = 0, 0.0
        return latency


class Lessor(Protocol):
    """Grants shares of a rate: the limits of a platform, or what was learned about a store."""

    async def lease(self, name: str, wanted: float) -> Lease:
        """Take a share of a cap that all processes have together. `wanted`: bytes or requests.
        Raises StateError if the cap cannot be read."""
        ...


class OwnLimits:
    """`ports.Limits` of a process that shares its rates with no other."""

    FULL = 0.25  # seconds of a rate that a bucket holds

    def __init__(self, rates: Mapping[str, float]) -> None:
        self._rates = dict(rates)
        # By name: the units that were left, and when.
        self._left: dict[str, tuple[float, float]] = {}

    async def set_rates(self, rates: Mapping[str, float]) -> None:
        self._rates |= rates

    async def rates(self) -> dict[str, float]:
        return dict(self._rates)

    async def lease(self, name: str, wanted: float) -> Lease:
        rate = self._rates.get(name, 0.0)
        if not rate:
            return Lease(wanted, 0.0, 0.0)
        now, whole = time.monotonic(), rate * self.FULL
        left, since = self._left.get(name, (whole, now))
        units = min(whole, left + (now - since) * rate)
        granted = min(wanted, units)
        self._left[name] = units - granted, now
        return Lease(granted, min(wanted - granted, whole) / rate, rate)


class Cap:
    """A rate in units per second that several processes share. Shares are taken in short slices
    from the lessor. A slice is what the callers here need together and not more, so nothing expires
    that another process could use. While the limits are not reachable, this process keeps its last
    share.

    The rate may change at any time (`adopt`), also for bodies in transfer. 0 means no limit."""

    # Bytes that a connection may receive before they are granted.
    BUFFER = 128 * 1024
    LARGE = 64  # the most large bodies at once
    # Bytes of a body that need not be paced once it is in transfer.
    SMALL = 256 * 1024

    def __init__(self, limits: Lessor, name: str, rate: float = 0.0) -> None:
        self.name = name
        self.rate = 0.0
        self.slice = math.inf
        self.buffer = 0
        self.large = Lanes()
        self.waiting = 0  # callers in `take`
        self._limits = limits
        self.bodies: set[Body] = set()  # large bodies in transfer
        self._wanted = 0.0  # by all callers in `take`
        self._held = 0.0  # granted, for those who wait
        # Monotonic time when the held units expire, if nobody took them.
        self._lapses = 0.0
        self._share = math.inf
        self._counted = 0.0  # granted since `_since`
        self._since = time.monotonic()
        self._lock = asyncio.Lock()
        self.adopt(rate)
        # Monotonic time when `buffer` changed.
        self.resized = 0.0

    def adopt(self, rate: float) -> None:
        """Use this rate from now on, also for bodies in transfer."""
        if rate == self.rate:
            return
        self.rate = rate
        self.slice = self._share = rate * CAP_SLICE if rate else math.inf
        # A server sends until the local buffers are full, whatever was granted. All buffers
        # together hold one slice.
        at_once = int(self.slice / self.BUFFER) if rate else self.LARGE + 1
        buffer = min(self.BUFFER, max(16 * 1024, int(self.slice))) if at_once <= self.LARGE else 0
        if buffer != self.buffer:
            self.buffer, self.resized = buffer, time.monotonic()
        self.large.resize(min(max(1, at_once), self.LARGE) if rate else math.inf)
        for body in self.bodies:
            body.adopt()

    async def take(self, amount: float) -> float:
        """Return when `amount` units may be used. First come, first served within the process. If
        the rate falls so far in the meantime that the amount is more than a slice, return how many
        were granted until then."""
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
                    self._held, wait = await self._lease(
                        max(missing, min(self._wanted, self.slice))
                    )
                    self._lapses = time.monotonic() + CAP_SLICE
                    if self._held < missing:
                        await asyncio.sleep(min(wait, CAP_SLICE))
                self._held -= missing
            return amount
        finally:
            self._wanted -= amount
            self.waiting -= 1

    def paced(self, size: float, *, received: bool) -> "Body":
        """A context manager for a request with a body of `size` bytes: enter it (`async with`)
        before sending."""
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
    """The units that a cap grants one large body, slice by slice. When a body is received, the
    store has sent as much as the connection's buffers hold before it is read. That much is taken
    first and granted last."""

    def __init__(self, cap: Cap, size: float, *, received: bool) -> None:
        self._cap = cap
        self._size = size
        self._last = min(cap.buffer, cap.slice) if received else 0.0
        self._ahead = self._last

    async def next(self) -> float:
        """Take a slice, and return what may pass now. Without a limit, everything may pass."""
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
        """Grant the valve more each time it is dry. Runs until its task is cancelled."""
        while True:
            await valve.dry.wait()
            valve.dry.clear()
            valve.grant(await self.next())


class Body:
    """One body in transfer. Entering waits until its request may be sent: for a small body until
    all of it is granted. For a large body it returns the valve that lets its bytes pass as they are
    granted. Without a limit, the valve is open, and nothing feeds it until there is a limit."""

    def __init__(self, cap: Cap, size: float, *, received: bool) -> None:
        self._cap = cap
        self._size = size
        self._received = received
        self._rate = 0.0  # the rate its valve is set for
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
        """Apply a new rate. What was granted at a higher rate is void."""
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
    """Check repeatedly which rates apply, for processes that take nothing at the moment or have no
    limit. Runs until its task is cancelled."""
    while True:
        await asyncio.sleep(LOOK)
        with contextlib.suppress(OSError, StateError):
            rates = await limits.rates()
            for cap in caps:
                cap.adopt(rates.get(cap.name, 0.0))


class Budget:
    """The bytes of bodies that may be in memory at once. First come, first served, so that large
    bodies are not starved. A body larger than the whole budget goes alone.

    It starts at `NEAR` and grows by one body at a time while bodies wait for memory and the process
    waits for the stores. When the process is busy, more bodies would only lie in memory and fall
    out of the CPU's caches before their turn comes: each then costs up to twice as much.
    """

    NEAR = 32 * 1024 * 1024
    # There is always room for this number of bodies, whatever their size: one is received while
    # another is sent.
    BODIES = 4
    # Seconds between two looks, and the share of them from which the thread counts as busy: it ran,
    # or it waited for a core.
    LOOK = 0.05
    BUSY = 0.5

    def __init__(self, size: int, run_time: Callable[[], float] | None = None) -> None:
        self.size = size
        self.used = 0
        self._run_time = run_time or run_time_wanted
        self._open = min(size, self.NEAR)
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._look: asyncio.TimerHandle | None = None

    @property
    def short(self) -> bool:
        """Whether a caller is waiting for memory."""
        return bool(self._queue)

    async def acquire(self, amount: int) -> None:
        """Wait for `amount` bytes, or for the whole budget if that is less. Give them back with
        `release`."""
        amount = min(amount, self.size)
        self._open = max(self._open, min(self.size, self.BODIES * amount))
        if not self._queue and self.used + amount <= self._open:
            self.used += amount
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._queue.append((amount, future))
        self._look_later(loop)
        try:
            await future
        except asyncio.CancelledError:
            admitted = future.done() and not future.cancelled()
            # Even if nothing was admitted, the next callers may fit now.
            self.release(amount if admitted else 0)
            raise

    def release(self, amount: int) -> None:
        """Give `amount` bytes back."""
        self.used -= min(amount, self.size)
        self._admit()

    def _admit(self) -> None:
        while self._queue:
            wanted, future = self._queue[0]
            if future.done():
                self._queue.popleft()
            elif self.used + wanted <= self._open:
                self._queue.popleft()
                self.used += wanted
                future.set_result(None)
            else:
                return

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._look is None and self._open < self.size:
            self._look = loop.call_later(
                self.LOOK, self._widen, loop, loop.time(), self._run_time()
            )

    def _widen(self, loop: asyncio.AbstractEventLoop, since: float, before: float) -> None:
        """Let the next body in beside the others, unless the process was busy."""
        self._look = None
        if not self._queue:
            return
        if self._run_time() - before < self.BUSY * (loop.time() - since):
            self._open = min(self.size, self._open + self._queue[0][0])
            self._admit()
        if self._queue:
            self._look_later(loop)


def run_time_wanted() -> float:
    """Seconds that this thread has run or has waited for a core; 0 where the system does not
    say."""
    try:
        ran, waited, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return (int(ran) + int(waited)) / 1e9
