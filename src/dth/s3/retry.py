"""Trying again now: the short retries of one request, with exponential backoff and full jitter.

Source of the algorithm: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. What still fails afterwards is
released to the queue (objects) or fails the run (listings).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dth.errors import Disposition, TransferError

T = TypeVar("T")

BASE_DELAY = 0.1  # seconds before the first retry, at most
MAX_DELAY = 10.0  # seconds, the longest pause


async def retry(call: Callable[[], Awaitable[T]], *, attempts: int = 5) -> T:
    """Call until it succeeds, an error that is not passing, or `attempts` calls; raises the last error."""
    for attempt in range(1, attempts + 1):
        try:
            return await call()
        except TransferError as error:
            if error.disposition is not Disposition.RETRY or attempt == attempts:
                raise
            await asyncio.sleep(backoff(attempt, error.retry_after))
    raise AssertionError("unreachable: attempts is at least 1")


def backoff(attempt: int, retry_after: float = 0.0) -> float:
    """Seconds to wait before retry number `attempt` (from 1); never less than the store asked for, up to a minute."""
    return max(min(retry_after, 60.0), random.uniform(0, min(MAX_DELAY, BASE_DELAY * 2**attempt)))
