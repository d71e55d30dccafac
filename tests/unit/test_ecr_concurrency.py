"""Many small requests, a few at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from dth.images.concurrency import AT_ONCE, gather, led

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator


async def test_results_come_in_order_and_few_are_at_once() -> None:
    busy, most = 0, 0

    async def work(number: int) -> int:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.001 * (number % 3))
        busy -= 1
        return number

    assert await gather((work(number) for number in range(30)), at_once=4) == list(range(30))
    assert most == 4
    assert await gather([]) == []


async def test_work_is_made_when_its_turn_comes() -> None:
    """A hostile registry names a million repositories."""
    made, ended = 0, 0

    async def work() -> None:
        nonlocal ended
        await asyncio.sleep(0)
        ended += 1

    def many() -> Iterator[Coroutine[Any, Any, None]]:
        nonlocal made
        for _ in range(1000):
            made += 1
            assert made - ended <= AT_ONCE
            yield work()

    assert await led(many()) == [None] * 1000
    made, ended = 0, 0
    assert await gather(many()) == [None] * 1000


@pytest.mark.filterwarnings("error")
async def test_the_first_failure_ends_the_rest() -> None:
    ended, begun = [], []

    async def work(number: int) -> None:
        begun.append(number)
        try:
            if number == 1:
                raise ValueError("no")
            await asyncio.sleep(10)
        finally:
            ended.append(number)

    with pytest.raises(ValueError, match="no"):
        await gather((work(number) for number in range(10)), at_once=3)
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 10


@pytest.mark.filterwarnings("error")
async def test_the_first_goes_alone() -> None:
    begun = []

    async def work(number: int, *, fails: bool = False) -> int:
        begun.append(number)
        await asyncio.sleep(0)
        if fails:
            raise ValueError
        assert begun[0] == 0
        return number

    assert await led(work(number) for number in range(5)) == list(range(5))
    assert await led([]) == []
    begun.clear()
    with pytest.raises(ValueError):  # noqa: PT011 - it is our own
        await led(work(number, fails=True) for number in range(5))
    assert begun == [0]
