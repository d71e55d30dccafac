"""Immediate retries of one request. What still fails afterwards is released to the queue (objects)
or fails the run (listings)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dth.core.errors import Disposition, TransferError
from dth.core.retry_policy import FULL_JITTER, RetryPolicy

T = TypeVar("T")

# The total number of calls, unless the caller says otherwise.
ATTEMPTS = 5
# Longer waits happen in the queue, where they block nothing.
POLICY = RetryPolicy(first=0.2, last=10.0, jitter=FULL_JITTER, attempts=ATTEMPTS, patience=60.0)


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
    spent = time.monotonic() - began
    pause = POLICY.next_pause(attempt, spent, error.retry_after, attempts)
    if error.disposition is not Disposition.RETRY or pause is None:
        raise error
    await asyncio.sleep(pause)
