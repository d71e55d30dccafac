"""Processes that take from one bucket at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from dth.platforms.aws.platform import open_platform

if TYPE_CHECKING:
    from dth.platforms.aws.platform import AwsNames


async def test_together_they_stay_within_the_rate(names: AwsNames) -> None:
    async with contextlib.AsyncExitStack() as stack:
        all_limits = [
            (await stack.enter_async_context(open_platform(names, f"w{n}"))).limits
            for n in range(4)
        ]
        await all_limits[0].set_rates({"bytes": 200})
        begun = time.time()
        taken = [0.0] * 4

        async def take(number: int) -> None:
            while time.time() - begun < 2:
                lease = await all_limits[number].lease("bytes", 30)
                taken[number] += lease.granted
                await asyncio.sleep(max(0.01, lease.wait))

        await asyncio.gather(*map(take, range(4)))
        seconds = time.time() - begun
    assert sum(taken) <= (seconds + 0.25) * 200 + 1
    assert sum(taken) >= 200
    assert min(taken) > 0
