"""How often something is tried again, and how long the pauses are: the one policy behind all
retries.

Each caller has a `RetryPolicy` of its own numbers, and decides which errors it tries again after.
The pace of a store and that of a registry are something else: they slow down all requests to an
endpoint, also those that did not fail (`objects/store/pace.py`, `images/registry/pace.py`).
"""

import asyncio
import math
import random
from dataclasses import dataclass
from typing import Self

# Full jitter: pauses are spread from zero on, so that those who failed together do not come back
# together. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
FULL_JITTER = (0.0, 1.0)
# With this many failures every pause is the longest; larger powers would overflow.
MOST_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Pauses in seconds: `first` after the first failure, then `factor` times the one before, up to
    `last`. Each is multiplied with a random number between the two of `jitter`. `attempts`: calls
    in total. `patience`: the seconds that all calls and pauses may take; longer waits are for
    others to do."""

    first: float
    last: float
    factor: float = 2.0
    jitter: tuple[float, float] = (1.0, 1.0)
    attempts: float = math.inf
    patience: float = math.inf

    def pause(self, failures: int, asked: float = 0.0) -> float:
        """The seconds to wait after this many failures (from 1 on). Never less than the server
        `asked` for."""
        growth = self.factor ** min(failures - 1, MOST_DOUBLINGS)
        return max(asked, min(self.last, self.first * growth) * random.uniform(*self.jitter))

    def next_pause(
        self, failures: int, spent: float, asked: float = 0.0, attempts: float = 0
    ) -> float | None:
        """The seconds to wait before the next call; None if there is none, because there were
        enough calls or the pause would exceed the patience. `spent`: seconds since the first call.
        `attempts`: calls in total, if not those of the policy."""
        if failures >= (attempts or self.attempts):
            return None
        pause = self.pause(failures, asked)
        return pause if spent + pause <= self.patience else None

    def tries(self) -> "Tries":
        """For `async for`: the numbers of the calls, with the pauses between them. The loop ends
        after `attempts`."""
        return Tries(self)


class Tries:
    """See `RetryPolicy.tries`. It is not a generator, because the event loop has to close one that
    a loop leaves."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._begun = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        if self._begun >= self._policy.attempts:
            raise StopAsyncIteration
        if self._begun:
            await asyncio.sleep(self._policy.pause(self._begun))
        self._begun += 1
        return self._begun
