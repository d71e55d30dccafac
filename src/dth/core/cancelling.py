"""A task that was told to end, ends."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stays_cancelled() -> Iterator[None]:
    """An error in here ends the task if the task was cancelled before.

    What cleans up may fail, and its error takes the place of the cancellation. Whoever catches
    errors to try again would then never end, because nobody cancels a task twice.
    """
    try:
        yield
    except Exception as error:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise asyncio.CancelledError from error
        raise
