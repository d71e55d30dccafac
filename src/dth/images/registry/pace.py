"""How fast a registry is asked: one pace for each registry, shared by all requests of a process.

A registry that refuses requests (429, 503) is asked more slowly from then on, and not at all for as long as it says, or
for a pause that doubles. While it answers, it is asked a little faster every second. Copies by skopeo are too many
requests to be counted here, but they begin at this pace and wait with the others.

Where processes have a board in common, what one of them is told holds for all, and they take turns.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from dth.core.errors import Throttled
from dth.core.plugin import Board
from dth.core.transport import Transport
from dth.images.registry.registries import known_registry

AT_ONCE = 16  # requests; those that were sent before a refusal still come
PATIENCE = 60.0  # seconds for which a request waits for its registry, unless a process has more
LONG_PATIENCE = 7 * 3600.0  # what a run has: Docker Hub counts in windows of 6 h
OUTAGE = 600.0  # seconds for which 503 is waited out where it comes without a time
FIRST_PAUSE, LAST_PAUSE = 1.0, 900.0  # seconds; doubled from refusal to refusal
WINDOW = 5.0  # seconds over which the answers are counted that passed
SLOWER = 0.7  # of the rate that passed
FASTER, LEAST_FASTER = 2.0, 0.05  # requests a second more, each second; halved from refusal to refusal
FASTER_AGAIN = 30.0  # seconds without a refusal in which that grows back by as much as it is
SLOWEST, GUESS, FREE = (
    0.1,
    1.0,
    100.0,
)  # requests a second: at least, where nothing passed, and without any limit
NOTED = 10.0  # seconds of a pause that is told to the user

log = logging.getLogger(__name__)


class Pace:
    """That of one registry. `rate`: requests a second to begin with; `most`: those that it documents. 0: not known."""

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
        self.rate = rate  # requests a second; 0: as they come
        self.passes = 0  # answers so far that were no refusal
        self.allows = ""  # what the registry says that it allows
        self._most = most
        self._board = board
        self._tell = tell
        self._clock = clock
        self._sleep = sleep
        self._until = 0.0  # nobody asks before
        self._last = 0.0  # when somebody asked
        self._slowed = 0.0
        self._raised = clock()
        self._faster = FASTER
        self._pauses = 0  # without a time and in a row
        self._passed: deque[float] = deque(maxlen=1000)  # when
        self._noted = 0.0
        self.places = asyncio.Semaphore(AT_ONCE)  # of requests under way
        self._door = asyncio.Lock()  # those who wait go one after the other

    @property
    def waits(self) -> float:
        """Seconds for which nobody asks."""
        self._hear()
        return max(0.0, self._until - self._clock())

    async def enter(self, patience: float = PATIENCE) -> float:
        """Wait for one's turn, and return when that was, for `refused`. Raises Throttled where it would take longer
        than `patience`, which is in seconds."""
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
        """The registry has answered."""
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
        """The registry has refused what entered then, and asked to wait so long, or without saying how long."""
        now = self._clock()
        self._until = max(self._until, now + retry_after)
        if entered >= self._slowed:  # or else one of several that were under way when we slowed down
            self._slow_down(now, pauses=not retry_after)
        if self._board:
            self._board.hold(self.host, self._until, self.rate)

    def _slow_down(self, now: float, *, pauses: bool) -> None:
        self._slowed = self._raised = now
        rate = sum(at >= now - WINDOW for at in self._passed) / WINDOW * SLOWER or GUESS
        self.rate = max(SLOWEST, min(rate, self.rate * SLOWER) if self.rate else rate)
        self._faster = max(LEAST_FASTER, self._faster / 2)
        if pauses:
            pause = min(LAST_PAUSE, FIRST_PAUSE * 2**self._pauses) * random.uniform(1, 1.25)
            self._until = max(self._until, now + pause)
            self._pauses = min(self._pauses + 1, 16)

    @contextlib.asynccontextmanager
    async def turn(self, patience: float = PATIENCE) -> AsyncIterator[None]:
        """One turn, for work of many requests such as a copy by skopeo."""
        entered = await self.enter(patience)
        try:
            yield
        except Throttled as error:
            if error.host in ("", self.host):
                self.refused(entered, error.retry_after)
            raise
        self.passed()

    def _seconds(self) -> float:
        """Those until it is our turn; it is taken where there are none."""
        self._hear()
        now = self._clock()
        spacing = 1 / self.rate if self.rate else 0.0
        seconds = max(self._until, self._last + spacing if spacing else 0.0) - now
        if seconds <= 0 and spacing and self._board:
            return self._board.claim(self.host, now, spacing)
        return seconds

    def _hear(self) -> None:
        """What other processes were told."""
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
        """Say once of each long pause until when it lasts."""
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
    """Those of all registries of a process. `patience`: for how long a request waits, in seconds; `tell` hears of long
    pauses; `board` is what other processes have in common with this one. All three are set before the first request."""

    def __init__(self) -> None:
        self.patience = PATIENCE
        self.board: Board | None = None
        self.tell: Callable[[str], Awaitable[None]] | None = None
        self._by_host: dict[str, Pace] = {}

    def of(self, host: str) -> Pace:
        if host not in self._by_host:
            known = known_registry(host)
            self._by_host[host] = Pace(host, known.rate, known.most, tell=self._told, board=self.board)
        return self._by_host[host]

    async def _told(self, note: str) -> None:
        if self.tell:
            await self.tell(note)


_PACES: WeakKeyDictionary[Transport, Paces] = WeakKeyDictionary()


def paces_of(transport: Transport) -> Paces:
    """The paces of all that goes over this transport, which is one for each process."""
    return _PACES.setdefault(transport, Paces())
