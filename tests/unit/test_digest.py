"""Digests of runs: what is kept with a run is what reading all of its records would give, whatever
happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dth.core.digest import Digest
from dth.core.ports.records import Enqueued, Outcome, Page, Record
from dth.core.ports.runs import RunKind, RunState
from dth.core.ports.status import Status, Verified
from dth.platforms.local import migrations
from dth.platforms.local.encoding import to_blob
from dth.platforms.local.platform import LocalPlatform, open_platform

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = [f"k{number}\udcff" for number in range(12)]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    with open_platform(tmp_path, "test") as opened:
        yield opened


async def read(platform: LocalPlatform, run: int) -> Digest:
    """From all records."""
    digest = Digest()
    async for r in platform.records.scan(run=run):
        if r.status is not Status.PENDING:
            digest.add(
                to_blob(r.key),
                r.size,
                r.etag,
                r.dest_etag,
                r.proof,
                r.status.value,
                r.verified.value,
                r.attempts,
            )
    return digest


async def forget_digests(platform: LocalPlatform) -> None:
    """As if all runs had begun before there were digests."""
    await platform.database.execute("DELETE FROM digest")


async def something(platform: LocalPlatform, chance: random.Random) -> None:
    """What finders, workers, events and users do to records, in any order."""
    records = platform.records
    keys = chance.sample(KEYS, chance.randint(1, len(KEYS)))
    runs = [run.id for run in await records.list_runs()]
    run = chance.choice(runs)
    match chance.randrange(6):
        case 0:
            await records.set_run(runs[0], RunState.DONE)
            await records.begin_run(chance.choice(list(RunKind)))
        case 1 | 2:
            enqueued = [
                Enqueued(key, chance.randrange(9), f"e{chance.randrange(3)}", "m") for key in keys
            ]
            await records.commit(run, Page(enqueued=enqueued))
        case 3:
            await records.settle(
                [
                    Outcome(
                        key,
                        chance.choice(runs),
                        chance.choice([Status.DONE, Status.FAILED, Status.CANCELLED]),
                        5,
                        chance.choice(["", "e9"]),
                        proof="p",
                        verified=chance.choice(list(Verified)),
                    )
                    for key in keys
                ]
            )
        case 4:
            same = [Record(key, Status.DONE, run, "e", 7, "d") for key in keys]
            await records.commit(run, Page(same=[*same, same[0]]))
        case 5:
            await records.cancel_pending("stopped")


@pytest.mark.parametrize("seed", range(25))
def test_it_is_that_of_all_records_of_the_run(seed: int) -> None:
    async def live() -> None:
        chance = random.Random(seed)
        with tempfile.TemporaryDirectory() as name, open_platform(Path(name), "test") as platform:
            await platform.records.begin_run(RunKind.SYNC)
            for _ in range(30):
                await something(platform, chance)
                for run in await platform.records.list_runs():
                    assert await platform.records.digest(run.id) == await read(platform, run.id)

    asyncio.run(live())


@pytest.mark.parametrize("seed", range(25))
def test_that_of_an_older_run_is_read_while_others_write(seed: int) -> None:
    """By pages, from where it was, whoever reads on."""

    async def live() -> None:
        chance = random.Random(seed)
        with tempfile.TemporaryDirectory() as name, open_platform(Path(name), "test") as platform:
            records = platform.records
            await records.begin_run(RunKind.SYNC)
            for _ in range(12):
                await something(platform, chance)
            await forget_digests(platform)
            old = [run.id for run in await records.list_runs()]
            assert not (await records.digest(old[0])).complete
            for run in old:
                while not await records.read_digest(run, 2):
                    await something(platform, chance)
            for run in old:
                assert await records.digest(run) == await read(platform, run)

    asyncio.run(live())


async def test_a_run_that_is_forgotten_has_none(platform: LocalPlatform) -> None:
    records = platform.records
    first, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(first.id, Page(enqueued=[Enqueued("k", 1, "e", "m")]))
    await records.settle([Outcome("k", first.id, Status.DONE)])
    await records.set_run(first.id, RunState.DONE)
    second, _ = await records.begin_run(RunKind.SYNC)
    await records.set_run(second.id, RunState.DONE)
    await platform.prune(1)
    third, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(third.id, Page(enqueued=[Enqueued("k", 2, "f", "m")]))
    await records.settle([Outcome("k", third.id, Status.DONE)])
    assert await records.digest(third.id) == await read(platform, third.id)
    assert not (await records.digest(first.id)).complete


async def test_an_older_task_learns_to_certify(tmp_path: Path) -> None:
    with open_platform(tmp_path, "test") as platform:
        run, _ = await platform.records.begin_run(RunKind.SYNC)
        await platform.records.commit(
            run.id, Page(enqueued=[Enqueued(key, 1, "e", "m") for key in KEYS])
        )
        await platform.records.settle([Outcome(key, run.id, Status.FAILED) for key in KEYS])
    with contextlib.closing(sqlite3.connect(tmp_path / "task.db")) as old, old:
        old.execute("DROP TABLE digest")
        for index in ("record_run", "record_run_unfinished", "record_pending", "record_reason"):
            old.execute(f"DROP INDEX {index}")
        old.execute(f"PRAGMA user_version = {len(migrations.STEPS)}")
    with open_platform(tmp_path, "test") as platform:
        assert not (await platform.records.digest(run.id)).complete
        failed, _ = await platform.records.page(run=run.id, status=Status.FAILED)
        assert [r.key for r in failed] == sorted(KEYS)
        while not await platform.records.read_digest(run.id, 5):
            pass
        assert await platform.records.digest(run.id) == await read(platform, run.id)
        assert (await platform.records.digest(run.id)).failed == len(KEYS)
