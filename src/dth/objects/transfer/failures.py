"""What to do after a failure, for objects, parts and deletions alike. Attempts are counted only
here."""

import asyncio
import time
from dataclasses import dataclass
from enum import Enum

from dth.core import clock
from dth.core.errors import (
    ConnectionFailed,
    DatabaseAway,
    Disposition,
    EndpointRefused,
    HubError,
    Throttled,
    TransferError,
)
from dth.core.retry_policy import RetryPolicy
from dth.objects.checks.notes import told
from dth.objects.store.client import S3Client
from dth.objects.store.immediate_retry import ATTEMPTS
from dth.objects.transfer.multipart import Busy, UploadLost
from dth.objects.transfer.relay import ObjectRoute

MAX_ATTEMPTS = 5
# Seconds that one object may keep failing while others succeed.
LONGEST_FAILING = 300.0
# Seconds without any answer from an endpoint after which the task pauses.
UNREACHABLE = 60.0
# Seconds until a message is received again that waited for something else than its object.
RELEASE_DELAY = 1.0
# Retries through the queue: 2 s after the first failure, at most 64 s.
LATER = RetryPolicy(first=2.0, last=64.0)
# An endpoint accepts requests if it refuses at most one for every PASSING that it accepts.
PASSING = 10
# Accepted requests needed to conclude that a refusal concerns one object only.
PROBES = 5
# Seconds for which the finding that an endpoint accepts other requests is valid.
PASSING_FOR = 2.0
# Seconds: the longest pause that a store may ask for.
LONGEST_DELAY = 60.0


class Remedy(Enum):
    """What to do about a failure."""

    # Give the work back and wait. No attempt is spent, because the object is not the cause.
    WAIT = "wait"
    # Send it again. One attempt is spent.
    AGAIN = "again"
    # The source object has changed: look at it, then send it again.
    LOOK = "look"
    FAILED = "failed"
    # The source object is gone.
    GONE = "gone"
    # No request can succeed: pause the task.
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next, the attempts spent so far, the seconds to wait first, and the reason of a
    pause."""

    next: Remedy
    attempts: int
    delay: float = 0.0
    reason: str = ""


# When an attempt began: requests accepted and refused at the source, then at the destination.
Before = tuple[int, int, int, int]


class Failures:
    """Decides what to do about failures, from what is known about both endpoints."""

    def __init__(self, route: ObjectRoute) -> None:
        self._route = route
        self._sides = {"source": route.source, "destination": route.dest}
        self._gates = route.source.gate, route.dest.gate
        self._keys = route.keys
        # The key of an object that was copied.
        self._passed = ""
        self._asking = asyncio.Lock()
        # When each side was last found to accept other requests.
        self._passing: dict[str, float] = {}

    def passed(self, key: str) -> None:
        """Remember the key of a copied object, to test later whether an endpoint refuses only other
        objects."""
        self._passed = key

    def before(self) -> Before:
        """The counters of both endpoints at the beginning of an attempt."""
        source, dest = self._gates
        return source.passed, source.throttled, dest.passed, dest.throttled

    async def decide(
        self, error: HubError, attempts: int, before: Before, failing_since: float = 0.0
    ) -> Decision:
        """What to do about an error.

        `attempts`: the attempts spent before this one. `failing_since`: when the first one failed,
        0 if this is the first."""
        # Neither says anything about the object, nor about a store.
        if isinstance(error, Busy | DatabaseAway):
            return Decision(Remedy.WAIT, attempts, delay(attempts))
        if isinstance(error, EndpointRefused) or not isinstance(error, TransferError):
            return Decision(Remedy.PAUSE, attempts, RELEASE_DELAY, told(error, self._route))
        if isinstance(error, ConnectionFailed):
            if silence := self._silent(error):
                reason = f"unreachable for {silence:.0f} s: {told(error, self._route)}"
                return Decision(Remedy.PAUSE, attempts, RELEASE_DELAY, reason)
            return Decision(Remedy.WAIT, attempts, delay(attempts))
        if isinstance(error, Throttled) and not await self._is_alone(error, before):
            pause = max(delay(attempts), min(error.retry_after, LONGEST_DELAY))
            return Decision(Remedy.WAIT, attempts, pause)
        return self._counted(error, attempts + 1, failing_since)

    def _counted(self, error: TransferError, attempts: int, failing_since: float) -> Decision:
        # A copy that is missing at the destination says nothing about the source.
        gone = error.disposition is Disposition.GONE and error.side != "destination"
        if gone and not isinstance(error, UploadLost):
            return Decision(Remedy.GONE, attempts)
        too_long = failing_since and clock.now() - failing_since > LONGEST_FAILING
        if error.disposition is Disposition.REFUSED or attempts >= MAX_ATTEMPTS or too_long:
            return Decision(Remedy.FAILED, attempts)
        if error.disposition is Disposition.CHANGED or isinstance(error, UploadLost):
            return Decision(Remedy.LOOK, attempts)
        pause = max(delay(attempts - 1), min(error.retry_after, LONGEST_DELAY))
        return Decision(Remedy.AGAIN, attempts, pause)

    def _silent(self, error: TransferError) -> float:
        """Seconds without any answer from the endpoint, if more than `UNREACHABLE`; else 0."""
        client = self._sides.get(error.side)
        since = client.gate.silent_since if client else 0.0
        silence = time.monotonic() - since if since else 0.0
        return silence if silence > UNREACHABLE else 0.0

    async def _is_alone(self, error: TransferError, before: Before) -> bool:
        """Whether the endpoint refuses only this request and accepts others."""
        client = self._sides.get(error.side)
        if client is None:
            return False
        passed_before, refused_before = before[:2] if error.side == "source" else before[2:]
        passed = client.gate.passed - passed_before
        refused = client.gate.throttled - refused_before - ATTEMPTS
        if passed >= PROBES and refused * PASSING <= passed:
            return True
        # Few other requests succeeded, or many were refused (possibly a whole prefix): try one that
        # succeeded before.
        return await self._lets_pass(client, error.side)

    async def _lets_pass(self, client: S3Client, side: str) -> bool:
        """Whether the endpoint accepts other requests now, or did a moment ago."""
        async with self._asking:
            if time.monotonic() - self._passing.get(side, -PASSING_FOR) < PASSING_FOR:
                return True
            key = (
                self._passed
                if side == "source" or not self._passed
                else self._keys.to_dest(self._passed)
            )
            if not await client.lets_pass(key):
                return False
            self._passing[side] = time.monotonic()
            return True


def delay(attempts: int) -> float:
    """Seconds to wait before a retry after this many attempts."""
    return LATER.pause(attempts)
