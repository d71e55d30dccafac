"""Learns from a store's refusals how many requests per second it accepts.

Several processes of one machine, of one task or of many, may use the same store. If each of them
found a rate alone, all together would send a multiple of it. So they share what they learn in a
small file that all of them map into memory. It is a token bucket. Its rate is determined as
follows:

- Until the store refuses something, there is no rate. A request then costs only a look at the
  memory.
- Once the store has refused several requests within a second, the rate is the number that succeeded
  in the second before. One key that is always refused is not enough. Then the search begins: the
  rate doubles every `STEP` until the next refusals show that it is too high, goes back by one and a
  half of these steps, and grows again by smaller steps, until the steps are small.
- From then on, requests are counted in rounds. If more than `NOISE` of the requests in a round were
  refused, the rate falls by the share that was refused. After a round without any refusal, it grows
  by `CREEP`, and twice as fast after each further `QUIET` of them. So if the store accepts more
  than before, that is used soon.

Refusals of requests that were granted before the rate was lowered say nothing about the present
rate. If a lower rate does not lower the share of refusals several times in a row, the rate is not
their cause. Then there is no rate for a while.

Limiting a rate instead of the number in flight is the idea of the adaptive retry mode of the AWS
SDKs.
"""

import contextlib
import fcntl
import hashlib
import math
import mmap
import os
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from dth.core.config import state_directory
from dth.core.ports.limits import Lease

# Seconds per step of the search, and the factor of the rate per step at first and at last.
STEP, RAISE, LAST_RAISE = 0.15, 2.0, 1.05
# A round lasts this many seconds, or until this many requests.
ROUND, ROUND_REQUESTS = 1.0, 50
# The share of refusals up to which the rate is not lowered.
NOISE = 0.01
# The share of refusals that ends a round at once.
STORM = 0.3
# The number of refusals that count as evidence.
SEVERAL = 3
CREEP, QUIET, LARGEST_CREEP = 0.01, 4, 0.25
# The lowest rate to begin with and the lowest rate at all, in requests per second.
FIRST, LEAST = 100.0, 0.5
# The number of requests needed to determine a share.
SAMPLE = 10
# After this many lower rates without effect there is no rate, for this many seconds.
IN_VAIN, UNLIMITED = 2, 60.0
# Above this number of requests per second there is no rate any more.
NO_RATE = 50_000.0
# Seconds without a request after which what was learned is forgotten.
FORGOTTEN = 30.0
# Seconds of the rate that may be sent at once.
BURST = 0.1
# Seconds to wait while another process holds the file.
BUSY = 0.001

# The index of each number in the file.
RATE, TOKENS, FILLED, USED, CHANGED, LOWERED, ONSET = range(7)
SENT, TAKEN, REFUSED, QUIET_ROUNDS, RAISED_BY, SHARE, VAIN, UNTIL = range(7, 15)
SIZE = 15 * 8


class StoreRate:
    """The rate that one store accepts, as one process sees it.

    `file`: the file that the processes share, created when there is something to share. None:
    nothing is shared.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._path = file
        self._is_shared = False
        self._at = memoryview(bytearray(SIZE)).cast("d")
        # What was refused in the last second, and when.
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._marked, self._passed, self._passed_before = time.monotonic(), 0, 0
        # Requests that succeeded, not yet recorded for the other processes.
        self._unwritten = 0
        self._map(create=False)

    @property
    def rate(self) -> float:
        """Requests per second; 0 if no limit is known."""
        return self._at[RATE]

    async def lease(self, name: str, wanted: float) -> Lease:
        """Take up to `wanted` requests from the bucket."""
        with self._locked() as locked:
            return self._lease(wanted, time.monotonic()) if locked else Lease(0.0, BUSY, self.rate)

    def passed(self, now: float) -> None:
        """The store accepted a request, at this monotonic time."""
        self._passed += 1
        self._unwritten += 1
        if now - self._marked >= 1.0:
            self._passed_before, self._passed, self._marked = self._passed, 0, now
            self._map(create=False)

    def refused(self, what: str, sent: float) -> None:
        """The store refused a request, sent at this monotonic time, because there were too many.
        `what`: the key, or something else that distinguishes the request from others."""
        now = time.monotonic()
        self._refused[what] = now
        self._refused.move_to_end(what)
        while now - next(iter(self._refused.values())) > 1.0:
            self._refused.popitem(last=False)
        if not self.rate and len(self._refused) < SEVERAL:
            return
        self._map(create=True)
        with self._locked() as locked:
            if locked:
                self._learn(sent, now)

    # ------------------------------------------------------------------------------------- learning

    def _lease(self, wanted: float, now: float) -> Lease:
        at = self._at
        # A time in the future is from before the machine was restarted.
        if not at[RATE] or not 0 <= now - at[USED] < FORGOTTEN:
            at[RATE] = 0.0
            return Lease(wanted, 0.0, 0.0)
        at[TAKEN] += self._unwritten
        self._unwritten = 0
        self._end_round(now)
        rate = at[RATE]
        if not rate:
            return Lease(wanted, 0.0, 0.0)
        most = max(1.0, rate * BURST)
        tokens = min(most, at[TOKENS] + max(0.0, now - at[FILLED]) * rate)
        granted = max(0.0, min(wanted, tokens))
        at[TOKENS], at[FILLED], at[USED] = tokens - granted, max(now, at[FILLED]), now
        at[SENT] += granted
        # A caller that returns when the bucket is half full loses nothing by being a little late.
        return Lease(granted, min(wanted - granted, most / 2) / rate, rate)

    def _learn(self, sent: float, now: float) -> None:
        at = self._at
        if not at[RATE]:
            if not now < at[UNTIL] < now + UNLIMITED:
                self._change(max(FIRST, self._passed, self._passed_before), now)
                at[RAISED_BY], at[USED], at[SHARE], at[VAIN] = RAISE, now, 0.0, 0.0
            return
        if sent < at[LOWERED] + BURST:
            # The request may have been granted before the change.
            return
        if not at[REFUSED]:
            # Requests that succeeded before the first refusal say nothing about how many succeed
            # now.
            at[ONSET], at[TAKEN], self._unwritten = now, 0.0, 0
        at[REFUSED] += 1
        if at[REFUSED] < SEVERAL:
            return
        if at[RAISED_BY]:
            self._change(max(LEAST, at[RATE] / at[RAISED_BY] ** 1.5), now)
            at[RAISED_BY] = math.sqrt(at[RAISED_BY])
            if at[RAISED_BY] < LAST_RAISE:
                at[RAISED_BY] = 0.0
            return
        answered = at[REFUSED] + at[TAKEN] + self._unwritten
        if answered >= SAMPLE and now - at[ONSET] >= BURST and at[REFUSED] >= STORM * answered:
            self._lower(at[REFUSED] / answered, now)

    def _end_round(self, now: float) -> None:
        """Adjust the rate to the requests since the last change, if they are enough."""
        at = self._at
        passed, rate = now - at[CHANGED], at[RATE]
        if at[RAISED_BY]:
            if passed >= max(STEP, SEVERAL / rate):
                self._raise(at[RAISED_BY], passed, now)
            return
        if passed < max(ROUND, ROUND_REQUESTS / rate):
            return
        if at[REFUSED] > NOISE * at[SENT]:
            self._lower(at[REFUSED] / max(at[REFUSED], at[SENT]), now)
        elif at[REFUSED]:
            at[QUIET_ROUNDS] = at[SHARE] = at[VAIN] = 0.0
            self._begin_round(now)
        else:
            self._raise(
                1 + min(LARGEST_CREEP, CREEP * 2 ** (at[QUIET_ROUNDS] // QUIET)), passed, now
            )
            at[QUIET_ROUNDS] += 1

    def _raise(self, by: float, passed: float, now: float) -> None:
        """Raise the rate. If fewer requests were sent than it allows, it is not the limit and
        stays."""
        at = self._at
        if at[SENT] >= 0.8 * at[RATE] * passed:
            at[RATE] *= by
            if at[RATE] > NO_RATE:
                at[RATE] = 0.0
        at[SHARE] = at[VAIN] = 0.0
        self._begin_round(now)

    def _lower(self, share: float, now: float) -> None:
        """Lower the rate after this share of requests was refused."""
        at = self._at
        # A share close to zero is too small for a comparison.
        vain = share > STORM / 3 and share > at[SHARE] / 2 > 0
        at[VAIN] = at[VAIN] + 1 if vain else 0.0
        at[SHARE] = share
        if at[VAIN] >= IN_VAIN:
            at[RATE], at[UNTIL] = 0.0, now + UNLIMITED
            return
        self._change(max(LEAST, at[RATE] * (1 - share) * (1 - NOISE)), now)

    def _change(self, rate: float, now: float) -> None:
        at = self._at
        at[RATE], at[TOKENS], at[FILLED], at[LOWERED], at[QUIET_ROUNDS] = rate, 0.0, now, now, 0.0
        self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        at = self._at
        at[CHANGED], at[SENT], at[TAKEN], at[REFUSED] = now, 0.0, 0.0, 0.0

    # ------------------------------------------------------------------------------------- the file

    def _map(self, *, create: bool) -> None:
        """Share what is known from now on, if there is something to share."""
        if self._path is None or self._is_shared or not (create or self._path.exists()):
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.ftruncate(file, SIZE)
                self._at = memoryview(mmap.mmap(file, SIZE)).cast("d")
            finally:
                os.close(file)
        except OSError:
            # The file cannot be shared. This process learns alone.
            self._path = None
            return
        self._is_shared = True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Yields whether this process holds the file. It does not wait, because another owner may
        be suspended."""
        if not self._path:
            yield True
            return
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            # The file was removed. This process learns alone from now on.
            self._path = None
            yield True
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
        finally:
            # This unlocks the file.
            os.close(file)


def store_rates(store: str) -> tuple[StoreRate, StoreRate]:
    """The rates of a store for reading and for writing. All processes of this user share them."""
    name = hashlib.sha256(store.encode()).hexdigest()[:32]
    directory = state_directory() / ".rates"
    return StoreRate(directory / f"{name}-reads"), StoreRate(directory / f"{name}-writes")
