"""Many small requests, a few at once."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

AT_ONCE = 16


async def gather(work: Iterable[Coroutine[Any, Any, T]], at_once: int = AT_ONCE) -> list[T]:
    """Return the results in the order of the work. The first failure cancels the rest and is
    raised.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(coroutine: Coroutine[Any, Any, T]) -> T:
        async with gate:
            return await coroutine

    coroutines = list(work)
    tasks = [asyncio.ensure_future(one(coroutine)) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for coroutine in coroutines:
            coroutine.close()  # those that have not started


async def led(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """As `gather`, but the first goes alone: wrong credentials are then refused once, not 16 times."""
    coroutines = list(work)
    try:
        first = [await each for each in coroutines[:1]]
        return [*first, *await gather(coroutines[1:])]
    finally:
        for coroutine in coroutines:
            coroutine.close()  # those that have not started
