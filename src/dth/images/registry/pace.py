"""How fast a registry is asked: one pace per registry, shared by all requests of a process.

After a registry refuses requests (429, 503), the pace is slower, and no requests are sent for the
time it states, or else for a pause that doubles. While it answers, the pace increases a little
every second. Copies by skopeo make too many requests to count here, but they start at this pace and
wait with the others.

If processes share a board, a refusal that one process receives applies to all, and the processes
take turns.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from dth.core.errors import Throttled
from dth.core.plugin import Board
from dth.core.retry_policy import RetryPolicy
from dth.core.transport import Transport
from dth.images.registry.registries import known_registry

# Concurrent requests; those sent before a refusal still arrive.
AT_ONCE = 16
# Seconds that a request waits for its registry, unless the process sets more.
PATIENCE = 60.0
# A run's patience: Docker Hub counts in windows of 6 h.
LONG_PATIENCE = 7 * 3600.0
# Seconds to wait out a 503 that comes without a time.
OUTAGE = 600.0
# After refusals without a time.
PAUSES = RetryPolicy(first=1.0, last=900.0, jitter=(1.0, 1.25))
# Seconds in which successful answers are counted.
WINDOW = 5.0
SLOWER = 0.7  # factor for the rate that succeeded
# Requests per second, added per second; each refusal halves it.
FASTER, LEAST_FASTER = 2.0, 0.005
# Seconds without a refusal in which the increase doubles.
FASTER_AGAIN = 30.0
# Requests per second: the least, the rate if nothing succeeded, and the rate above which there is
# no limit.
SLOWEST, GUESS, FREE = (
    0.1,
    1.0,
    100.0,
)
NOTED = 10.0  # shortest pause, in seconds, to report

log = logging.getLogger(__name__)


class Pace:
    """The pace of one registry.

    `rate`: requests per second at the start; `most`: the documented limit. 0: unknown.
    """

    def __init__(
        self,
        host: str,
        rate: float = 0.0,
        most: float = 0.0,
        *,
        tell: Callable[[str], Awaitable[None]] | None = None,
        board: Board | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.host = host
        self.rate = rate  # requests per second; 0: no limit
        self.passes = 0  # answers so far that were not refusals
        self.allows = ""  # the limit, as the registry states it
        self._most = most
        self._board = board
        self._tell = tell
        self._clock = clock
        self._sleep = sleep
        self._until = 0.0  # no requests before this time
        self._last = 0.0  # time of the last request
        self._slowed = 0.0
        self._raised = clock()
        self._faster = FASTER
        # Consecutive pauses for refusals without a time.
        self._pauses = 0
        self._passed: deque[float] = deque(maxlen=1000)  # times
        self._noted = 0.0
        self.places = asyncio.Semaphore(AT_ONCE)  # of requests in progress
        self._door = asyncio.Lock()  # waiting requests go one by one

    @property
    def waits(self) -> float:
        """The seconds during which no request is sent."""
        self._hear()
        return max(0.0, self._until - self._clock())

    async def enter(self, patience: float = PATIENCE) -> float:
        """Wait for a turn, and return its time, for `refused`.

        Raises Throttled if the wait would exceed `patience`, in seconds.
        """
        async with self._door:
            begun = self._clock()
            while (seconds := self._seconds()) > 0:
                if self._clock() - begun + seconds > patience:
                    raise self._impatient(seconds)
                await self.note()
                await self._sleep(seconds)
            self._last = self._clock()
            return self._last

    def passed(self) -> None:
        """Record that the registry has answered."""
        now = self._clock()
        self.passes += 1
        self._pauses = 0
        self._passed.append(now)
        if self.rate:
            seconds = min(now - self._raised, 2.0)
            self.rate += self._faster * seconds
            self._faster = min(FASTER, self._faster * (1 + seconds / FASTER_AGAIN))
            if self._most:
                self.rate = min(self.rate, self._most)
            elif self.rate > FREE:
                self.rate = 0.0
        self._raised = now

    def refused(self, entered: float, retry_after: float = 0.0) -> None:
        """Record that the registry refused a request that entered then.

        `retry_after` is the wait it asked for, 0 if it gave none.
        """
        now = self._clock()
        self._until = max(self._until, now + retry_after)
        if entered >= self._slowed:
            # Else it is one of several requests that were in progress during the last slowdown.
            self._slow_down(now, pauses=not retry_after)
        if self._board:
            self._board.hold(self.host, self._until, self.rate)

    def _slow_down(self, now: float, *, pauses: bool) -> None:
        self._slowed = self._raised = now
        rate = sum(at >= now - WINDOW for at in self._passed) / WINDOW * SLOWER or GUESS
        self.rate = max(SLOWEST, min(rate, self.rate * SLOWER) if self.rate else rate)
        self._faster = max(LEAST_FASTER, self._faster / 2)
        if pauses:
            pause = PAUSES.pause(self._pauses + 1)
            self._until = max(self._until, now + pause)
            self._pauses = min(self._pauses + 1, 16)

    @contextlib.asynccontextmanager
    async def turn(self, patience: float = PATIENCE) -> AsyncIterator[None]:
        """Take one turn for work with many requests, such as a copy by skopeo."""
        entered = await self.enter(patience)
        try:
            yield
        except Throttled as error:
            if error.host in ("", self.host):
                self.refused(entered, error.retry_after)
            raise
        self.passed()

    def _seconds(self) -> float:
        """Return the seconds until the next turn; if there are none, take the turn."""
        self._hear()
        now = self._clock()
        spacing = 1 / self.rate if self.rate else 0.0
        seconds = max(self._until, self._last + spacing if spacing else 0.0) - now
        if seconds <= 0 and spacing and self._board:
            return self._board.claim(self.host, now, spacing)
        return seconds

    def _hear(self) -> None:
        """Apply what other processes heard from the registry."""
        if not self._board:
            return
        until, rate = self._board.held(self.host)
        if until > self._until:
            self._until = until
            self._slowed = self._raised = self._clock()
            self.rate = min(self.rate, rate) if self.rate else rate

    def _impatient(self, seconds: float) -> Throttled:
        return Throttled(
            f"{self.host} takes no requests for another {seconds:.0f} s",
            code="TOOMANYREQUESTS",
            status=429,
            retry_after=seconds,
            host=self.host,
        )

    async def note(self) -> None:
        """Report each long pause once, with its end."""
        if self.waits < NOTED or self._until <= self._noted:
            return
        self._noted = self._until
        at = datetime.fromtimestamp(time.time() + self.waits, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        allowed = f" ({self.allows})" if self.allows else ""
        note = f"{self.host} asked us to wait{allowed}: it is asked again at {at}"
        log.warning(note, extra={"fields": {"seconds": round(self.waits)}})
        if self._tell:
            await self._tell(note)


class Paces:
    """The paces of all registries of a process.

    `patience`: how long a request waits, in seconds; `tell` receives reports of long pauses;
    `board` is shared with other processes. Set all three before the first request.
    """

    def __init__(self) -> None:
        self.patience = PATIENCE
        self.board: Board | None = None
        self.tell: Callable[[str], Awaitable[None]] | None = None
        self._by_host: dict[str, Pace] = {}

    def of(self, host: str) -> Pace:
        """Return the pace of a registry, the same for all callers."""
        if host not in self._by_host:
            known = known_registry(host)
            self._by_host[host] = Pace(
                host, known.rate, known.most, tell=self._told, board=self.board
            )
        return self._by_host[host]

    async def _told(self, note: str) -> None:
        if self.tell:
            await self.tell(note)


_PACES: WeakKeyDictionary[Transport, Paces] = WeakKeyDictionary()


def paces_of(transport: Transport) -> Paces:
    """Return the paces for everything on this transport. Each process has one transport."""
    return _PACES.setdefault(transport, Paces())
