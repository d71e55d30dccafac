"""What follows from a failure, for objects, parts and deletions alike: the one place that counts attempts."""

import asyncio
import time
from dataclasses import dataclass
from enum import Enum

from dth.core.errors import ConnectionFailed, Disposition, EndpointRefused, HubError, Throttled, TransferError
from dth.objects.store.client import S3Client
from dth.objects.store.retry import ATTEMPTS
from dth.objects.transfer.multipart import Busy, UploadLost
from dth.objects.transfer.relay import Route

MAX_ATTEMPTS = 5
# Seconds that one object may go on failing while others pass.
LONGEST_FAILING = 300.0
# Seconds without any answer from an endpoint that pause the task.
UNREACHABLE = 60.0
# Seconds before the first further attempt; doubled with each one.
RELEASE_DELAY = 1.0
# An endpoint lets requests pass that refuses not more than one in so many of them.
PASSING = 10
# Requests that must pass before it counts as the trouble of one object that others are refused.
PROBES = 5
# Seconds for which it tells that an endpoint let others pass.
PASSING_FOR = 2.0
# Seconds, the longest pause that is left to the store.
LONGEST_DELAY = 60.0


class Next(Enum):
    """What is done about it."""

    # Give it back and wait: nobody is to blame, and no attempt is spent.
    WAIT = "wait"
    # Send it again, one attempt spent.
    AGAIN = "again"
    # The source has another object now: look at it, then send it again.
    LOOK = "look"
    FAILED = "failed"
    # The source object is gone.
    GONE = "gone"
    # Nothing can pass: pause the task.
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Decision:
    next: Next
    attempts: int
    delay: float = 0.0
    reason: str = ""


# How many requests had passed and had been refused at the source, and at the destination, when an attempt began.
Before = tuple[int, int, int, int]


class Failures:
    """Decides with what is known of both endpoints."""

    def __init__(self, route: Route) -> None:
        self._sides = {"source": route.source, "destination": route.dest}
        self._gates = route.source.gate, route.dest.gate
        self._keys = route.keys
        # Of an object that was copied.
        self._passed = ""
        self._asking = asyncio.Lock()
        # When each side was found to let others pass.
        self._passing: dict[str, float] = {}

    def passed(self, key: str) -> None:
        """An object was copied: its key tells whether an endpoint refuses others alone."""
        self._passed = key

    def before(self) -> Before:
        """Take down how both endpoints do, at the beginning of an attempt."""
        source, dest = self._gates
        return source.passed, source.throttled, dest.passed, dest.throttled

    async def decide(
        self, error: HubError, attempts: int, before: Before, failing_since: float = 0.0
    ) -> Decision:
        """`attempts`: those spent before this one; `failing_since`: when the first failed, 0 if this is the first."""
        if isinstance(error, Busy):
            return Decision(Next.WAIT, attempts, delay(attempts))
        if isinstance(error, EndpointRefused) or not isinstance(error, TransferError):
            return Decision(Next.PAUSE, attempts, RELEASE_DELAY, _sided(error))
        if isinstance(error, ConnectionFailed):
            if silence := self._silent(error):
                reason = f"unreachable for {silence:.0f} s: {_sided(error)}"
                return Decision(Next.PAUSE, attempts, RELEASE_DELAY, reason)
            return Decision(Next.WAIT, attempts, delay(attempts))
        if isinstance(error, Throttled) and not await self._is_alone(error, before):
            pause = max(delay(attempts), min(error.retry_after, LONGEST_DELAY))
            return Decision(Next.WAIT, attempts, pause)
        return self._counted(error, attempts + 1, failing_since)

    def _counted(self, error: TransferError, attempts: int, failing_since: float) -> Decision:
        # A copy that is gone from the destination says nothing of the source.
        gone = error.disposition is Disposition.GONE and error.side != "destination"
        if gone and not isinstance(error, UploadLost):
            return Decision(Next.GONE, attempts)
        too_long = failing_since and time.time() - failing_since > LONGEST_FAILING
        if error.disposition is Disposition.REFUSED or attempts >= MAX_ATTEMPTS or too_long:
            return Decision(Next.FAILED, attempts)
        if error.disposition is Disposition.CHANGED or isinstance(error, UploadLost):
            return Decision(Next.LOOK, attempts)
        pause = max(delay(attempts - 1), min(error.retry_after, LONGEST_DELAY))
        return Decision(Next.AGAIN, attempts, pause)

    def _silent(self, error: TransferError) -> float:
        """Seconds for which the endpoint has not answered at all, if they are too many."""
        client = self._sides.get(error.side)
        since = client.gate.silent_since if client else 0.0
        silence = time.monotonic() - since if since else 0.0
        return silence if silence > UNREACHABLE else 0.0

    async def _is_alone(self, error: TransferError, before: Before) -> bool:
        """Whether the endpoint refuses this one request while it lets others pass."""
        client = self._sides.get(error.side)
        if client is None:
            return False
        passed_before, refused_before = before[:2] if error.side == "source" else before[2:]
        passed = client.gate.passed - passed_before
        refused = client.gate.throttled - refused_before - ATTEMPTS
        if passed >= PROBES and refused * PASSING <= passed:
            return True
        # Little else passed meanwhile, or much was refused, as a whole prefix may be: ask for what has passed before.
        return await self._lets_pass(client, error.side)

    async def _lets_pass(self, client: S3Client, side: str) -> bool:
        """Whether the endpoint lets others pass now, or did a moment ago."""
        async with self._asking:
            if time.monotonic() - self._passing.get(side, -PASSING_FOR) < PASSING_FOR:
                return True
            key = self._passed if side == "source" or not self._passed else self._keys.to_dest(self._passed)
            if not await client.lets_pass(key):
                return False
            self._passing[side] = time.monotonic()
            return True


def delay(attempts: int) -> float:
    """Seconds to wait before work is taken up again after so many attempts."""
    return float(RELEASE_DELAY * 2 ** min(attempts, 6))


def _sided(error: HubError) -> str:
    side = getattr(error, "side", "")
    return f"{side}: {error}" if side else str(error)
