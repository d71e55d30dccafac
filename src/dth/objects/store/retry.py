"""Immediate retries of one request, with exponential backoff and full jitter.

Source of the algorithm: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. What still
fails afterwards is released to the queue (objects) or fails the run (listings).
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dth.core.errors import Disposition, TransferError

T = TypeVar("T")

# The total number of calls, unless the caller says otherwise.
ATTEMPTS = 5
# The maximum seconds before the first retry.
BASE_DELAY = 0.1
# The longest pause in seconds, unless the store asks for a longer one.
MAX_DELAY = 10.0
# Seconds that one call may spend on retries. Longer waits happen in the queue, where they block
# nothing.
PATIENCE = 60.0


async def retry(call: Callable[[], Awaitable[T]], *, attempts: int = ATTEMPTS) -> T:
    """Call until it succeeds, the error is not temporary, or `attempts` calls were made. Raises the
    last error."""
    began = time.monotonic()
    attempt = 1
    while True:
        try:
            return await call()
        except TransferError as error:
            await pause_after(error, attempt, attempts, began)
        attempt += 1


async def pause_after(error: TransferError, attempt: int, attempts: int, began: float) -> None:
    """Wait before the next try. If there is none, raise the error. `began`: the monotonic time of
    the first try."""
    if error.disposition is not Disposition.RETRY or attempt >= attempts:
        raise error
    pause = backoff(attempt, error.retry_after)
    if time.monotonic() - began + pause > PATIENCE:
        raise error
    await asyncio.sleep(pause)


def backoff(attempt: int, retry_after: float = 0.0) -> float:
    """The seconds to wait before retry number `attempt` (from 1). Never less than the store asked
    for."""
    return max(retry_after, random.uniform(0, min(MAX_DELAY, BASE_DELAY * 2**attempt)))
