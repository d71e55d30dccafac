"""Many small requests, a few at once."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

AT_ONCE = 16


async def gather(work: Iterable[Coroutine[Any, Any, T]], at_once: int = AT_ONCE) -> list[T]:
    """Return the results in the order of the work. The first failure cancels the rest and is
    raised.

    Takes from `work` only what starts: a registry may have a million repositories.
    """
    waiting = enumerate(work)
    results: dict[int, T] = {}

    async def one_after_another() -> None:
        for number, coroutine in waiting:
            results[number] = await coroutine

    tasks = [asyncio.ensure_future(one_after_another()) for _ in range(at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, coroutine in waiting:
            coroutine.close()  # those that have not started
    return [results[number] for number in range(len(results))]


async def led(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """As `gather`, but the first goes alone: wrong credentials are then refused once, not 16
    times."""
    waiting = iter(work)
    try:
        for first in waiting:
            return [await first, *await gather(waiting)]
        return []
    finally:
        for coroutine in waiting:
            coroutine.close()  # those that have not started
