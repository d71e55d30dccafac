"""The jobs of a hub on one machine: how many run at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from dth.core.errors import Conflict
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.jobs import AT_ONCE, LocalJobs

if TYPE_CHECKING:
    from pathlib import Path

    from dth.platforms.local.fork_server import ForkServer


async def test_jobs_that_start_at_the_same_moment_are_bounded_too(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def work() -> dict[str, Any]:
        await go.wait()
        return {}

    with HubDatabase.open(tmp_path / "hub.db") as database:
        jobs = LocalJobs(database, tmp_path / "jobs", cast("ForkServer", None))
        begun = (jobs.certify("task", 1, work) for _ in range(AT_ONCE + 3))
        found = await asyncio.gather(*begun, return_exceptions=True)
        assert sum(isinstance(each, Conflict) for each in found) == 3
        go.set()
        await jobs.close()
