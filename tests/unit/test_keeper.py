"""The keeper's databases: one of them that is busy holds up no other, and reading makes none."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from dth.core.errors import BeingSetUp, HubError, StateError
from dth.platforms.local import databases
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.job_process import JobProcess
from dth.platforms.local.jobs import LocalJobs
from dth.platforms.local.keeper import Bounds, Keeper
from dth.platforms.local.platform import open_platform

if TYPE_CHECKING:
    from dth.platforms.local.platform import LocalPlatform


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path, cast("Any", None), Bounds())


async def test_reading_a_task_without_a_database_makes_none(keeper: Keeper, tmp_path: Path) -> None:
    with pytest.raises(BeingSetUp):
        async with keeper.open("a"):
            pass
    assert list(tmp_path.iterdir()) == []
    assert keeper.databases._open == {}


async def test_a_database_that_is_busy_holds_up_no_other(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, free = threading.Event(), threading.Event()

    def opening(state: Path, owner: str) -> LocalPlatform:
        if state.name == "a":
            busy.set()
            free.wait(10)
        return open_platform(state, owner)

    monkeypatch.setattr(databases, "open_platform", opening)

    async def use(id: str) -> None:
        async with keeper.databases.shared(id) as platform:
            await platform.queue.depth()

    waiting = asyncio.create_task(use("a"))
    await asyncio.to_thread(busy.wait, 10)
    async with asyncio.timeout(5):
        await use("b")
    assert not waiting.done()
    free.set()
    await waiting
    assert keeper.databases._open == {}


async def test_who_comes_while_it_closes_has_it_open(keeper: Keeper) -> None:
    async def use(_: int) -> None:
        async with keeper.databases.shared("a") as platform:
            await platform.queue.depth()

    for _ in range(20):
        await asyncio.gather(*(use(number) for number in range(5)))
    assert keeper.databases._open == {}


async def test_what_cannot_be_removed_is_told(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()

    def refused(_: Path) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "a" / "task.db"))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refused)
        with pytest.raises(HubError, match=r"task\.db cannot be removed: Permission denied"):
            await keeper.discard("a")
    await keeper.discard("a")
    await keeper.discard("a")
    assert not (tmp_path / "a").exists()


async def test_a_job_that_ends_by_a_defect_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubDatabase.open(tmp_path / "hub.db") as database:
        jobs = LocalJobs(database, tmp_path / "jobs", cast("Any", None))

        async def broken(*_: object) -> dict[str, Any]:
            raise RuntimeError("a defect")

        monkeypatch.setattr(JobProcess, "result", broken)
        started = await jobs.start("preflight", {})
        await asyncio.gather(*jobs._running)
        job = await jobs.get(started.id)
    assert (job.state, job.error) == ("FAILED", "internal error: RuntimeError; see the hub's log")


async def test_requests_have_few_databases_open_at_once(keeper: Keeper, tmp_path: Path) -> None:
    """Each takes five descriptors and a thread, from its opening to its end."""
    keeper._requests = asyncio.Semaphore(3)
    full = asyncio.Event()
    held: set[int] = set()
    peak = 0

    async def use(number: int) -> None:
        nonlocal peak
        async with keeper.open(f"{number}"):
            held.add(number)
            peak = max(peak, len(held))
            if peak == 3:
                full.set()
            await full.wait()
            held.remove(number)

    for number in range(9):
        (tmp_path / f"{number}").mkdir()
    async with asyncio.timeout(60):
        await asyncio.gather(*(use(number) for number in range(9)))
    assert peak == 3
    assert keeper.databases._open == {}


async def test_too_many_open_files_are_named_as_such(
    keeper: Keeper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The limit is about numbers: those below the first free one are taken, whatever is open above
    # it.
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(StateError, match="too many open files"):
            async with keeper.open("a"):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "too many open files" in caplog.text
