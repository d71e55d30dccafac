"""How many requests a second a store takes, learned from its refusals.

Several processes of one machine, of one task or of many, may use the same store. Each by itself would find a rate, and
all together they would send a multiple of it. So what is learned lies in a small file that all of them map into memory.
It is a token bucket whose rate is found as follows:

- Until the store refuses something there is no rate, and a look at the memory is all that a request costs.
- Once it has refused several requests within a second, the rate is what passed in the second before. One key that is
  always refused is not enough. Then comes the search: the rate doubles every `STEP` until the next refusals show that
  it is too high, goes back by one and a half of these steps, and grows again by smaller ones, until they are small.
- From then on requests are counted in rounds. A round in which more than `NOISE` of them were refused lowers the rate
  by the share that was refused. After a round without any refusal it grows by `CREEP`, and twice as fast after each
  further `QUIET` of them, so that a store that takes more by now is used soon.

Refusals of what was granted before the rate was lowered say nothing of the present rate. Where a lower rate does not
lower the share of refusals, several times in a row, the rate is not their cause: then there is none for a while.

The idea of a rate rather than a number in flight is that of the adaptive retry mode of the AWS SDKs.
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

# Seconds of the search's steps, by how much each of them raises the rate at first, and at last.
STEP, RAISE, LAST_RAISE = 0.15, 2.0, 1.05
# A round lasts so many seconds, or until so many requests.
ROUND, ROUND_REQUESTS = 1.0, 50
# The share of refusals that lowers nothing.
NOISE = 0.01
# The share of refusals that ends a round at once.
STORM = 0.3
# Refusals from which something follows.
SEVERAL = 3
CREEP, QUIET, LARGEST_CREEP = 0.01, 4, 0.25
# Requests a second, the least to begin with and the least of all.
FIRST, LEAST = 100.0, 0.5
# Requests from which a share can be told.
SAMPLE = 10
# Lower rates that changed nothing, after which there is none, and for how many seconds.
IN_VAIN, UNLIMITED = 2, 60.0
# Above so many requests a second there is no rate any more.
NO_RATE = 50_000.0
# Seconds without a request after which what was learned is forgotten.
FORGOTTEN = 30.0
# Seconds of the rate that may be sent at once.
BURST = 0.1
# Seconds to wait where another process looks at the file in this moment.
BUSY = 0.001

# Where each number stands in the file.
RATE, TOKENS, FILLED, USED, CHANGED, LOWERED, ONSET = range(7)
SENT, TAKEN, REFUSED, QUIET_ROUNDS, RAISED_BY, SHARE, VAIN, UNTIL = range(7, 15)
SIZE = 15 * 8


class StoreRate:
    """The rate that one store takes, as one process sees it.

    `file`: what the processes share, made when there is something to share; None: nothing is shared.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._path = file
        self._is_shared = False
        self._at = memoryview(bytearray(SIZE)).cast("d")
        # What was refused in the last second, and when.
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._marked, self._passed, self._passed_before = time.monotonic(), 0, 0
        # What passed and is not written down yet for the others.
        self._unwritten = 0
        self._map(create=False)

    @property
    def rate(self) -> float:
        """Requests a second; 0: no limit is known."""
        return self._at[RATE]

    async def lease(self, name: str, wanted: float) -> Lease:
        """Take up to `wanted` requests."""
        with self._locked() as locked:
            return self._lease(wanted, time.monotonic()) if locked else Lease(0.0, BUSY, self.rate)

    def passed(self, now: float) -> None:
        """The store took a request, at this monotonic time."""
        self._passed += 1
        self._unwritten += 1
        if now - self._marked >= 1.0:
            self._passed_before, self._passed, self._marked = self._passed, 0, now
            self._map(create=False)

    def refused(self, what: str, sent: float) -> None:
        """The store refused a request that was sent at this monotonic time, because there were too many. `what`: its
        key, or what else tells it from others."""
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

    # ------------------------------------------------------------------------------------------- learning

    def _lease(self, wanted: float, now: float) -> Lease:
        at = self._at
        # A time to come is one from before the machine was started again.
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
        # Whoever comes when the bucket is half full loses nothing by coming a little late.
        return Lease(granted, min(wanted - granted, most / 2) / rate, rate)

    def _learn(self, sent: float, now: float) -> None:
        at = self._at
        if not at[RATE]:
            if not now < at[UNTIL] < now + UNLIMITED:
                self._change(max(FIRST, self._passed, self._passed_before), now)
                at[RAISED_BY], at[USED], at[SHARE], at[VAIN] = RAISE, now, 0.0, 0.0
            return
        if sent < at[LOWERED] + BURST:
            # It may have been granted before.
            return
        if not at[REFUSED]:
            # What passed before it says nothing of how many pass now.
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
        """What follows from the requests since the last change, if they are enough."""
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
            self._raise(1 + min(LARGEST_CREEP, CREEP * 2 ** (at[QUIET_ROUNDS] // QUIET)), passed, now)
            at[QUIET_ROUNDS] += 1

    def _raise(self, by: float, passed: float, now: float) -> None:
        """Where less was sent than the rate allows, it is no limit."""
        at = self._at
        if at[SENT] >= 0.8 * at[RATE] * passed:
            at[RATE] *= by
            if at[RATE] > NO_RATE:
                at[RATE] = 0.0
        at[SHARE] = at[VAIN] = 0.0
        self._begin_round(now)

    def _lower(self, share: float, now: float) -> None:
        """This share of requests was refused."""
        at = self._at
        # A share of nearly nothing is not to be compared with.
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

    # -------------------------------------------------------------------------------------------- the file

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
            # It cannot be shared, and is learned here alone.
            self._path = None
            return
        self._is_shared = True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Says whether no other process has the file. Nobody waits for it: its owner may have been stopped."""
        if not self._path:
            yield True
            return
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            # Somebody has removed it: it is learned here alone from now on.
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
            # That unlocks it.
            os.close(file)


def store_rates(store: str) -> tuple[StoreRate, StoreRate]:
    """The rates of a store for reading and for writing, which all processes of this user share."""
    name = hashlib.sha256(store.encode()).hexdigest()[:32]
    directory = state_directory() / ".rates"
    return StoreRate(directory / f"{name}-reads"), StoreRate(directory / f"{name}-writes")
