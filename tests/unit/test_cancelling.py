"""Work that is tried again after every error still ends when it is told to, even if its clean-up
fails at that moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from dth.compose.local.server import _for_ever
from dth.core.cancelling import stays_cancelled
from dth.core.errors import StateError
from dth.platforms.local.keeper import Bounds, Keeper

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path


async def cleans_up_badly() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        raise StateError("another command has taken over")


class Runner:
    """What the keeper asks of a runner."""

    id = "a"
    run = staticmethod(cleans_up_badly)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def ends(work: Coroutine[Any, Any, None]) -> None:
    working = asyncio.create_task(work)
    await asyncio.sleep(0.01)
    working.cancel()
    _, still = await asyncio.wait([working], timeout=5)
    working.cancel()
    assert not still
    assert working.cancelled()


async def test_a_runner_of_a_task_ends(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, cast("Any", None), Bounds())
    keeper.ports = cast("Any", None)
    await ends(keeper._watched(cast("Any", Runner())))


async def test_background_work_of_a_hub_ends() -> None:
    await ends(_for_ever("a test", cleans_up_badly))


async def test_an_error_without_a_cancellation_stays_what_it_is() -> None:
    with pytest.raises(StateError), stays_cancelled():
        raise StateError("defect")


async def test_a_time_limit_is_still_noticed_as_one() -> None:
    async def limited() -> None:
        async with asyncio.timeout(0.01):
            with stays_cancelled():
                await cleans_up_badly()

    with pytest.raises(TimeoutError):
        await limited()
    # It is over: what comes later is an error again.
    with pytest.raises(StateError), stays_cancelled():
        raise StateError("defect")
