"""The digest of a run whose table is too large for one call."""

from __future__ import annotations

import asyncio
import contextlib
import io
from dataclasses import fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dth.compose.aws.functions import hub
from dth.core.digest import Digest
from dth.core.errors import Conflict
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import Counts, RunKind, RunState
from dth.core.ports.status import Status
from dth.hub import certificate
from dth.hub.model import ScheduleType, Task
from dth.platforms.aws import records as module
from dth.platforms.aws.hub.engine import AwsEngine
from dth.platforms.aws.hub.settings import HubSettings
from dth.platforms.aws.platform import open_platform
from tests.aws.cloud import Calls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dth.platforms.aws.platform import AwsNames, AwsPlatform

KEYS = [f"k{n:02d}" for n in range(20)]


@pytest.fixture(autouse=True)
def small_reads(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read has two items, and a call three reads."""
    monkeypatch.setattr(module, "PAGES_READ", 3)

    def limit(operation: str, arguments: dict[str, Any]) -> None:
        if operation == "scan":
            arguments["Limit"] = 2

    calls.on(limit)


async def copy(platform: AwsPlatform, *keys: str, etag: str = "e") -> int:
    """A run that copies these objects, and ends."""
    run, _ = await platform.records.begin_run(RunKind.SYNC)
    enqueued = [Enqueued(key, 10, etag, "", True) for key in keys]
    await platform.records.commit(run.id, Page(Counts(listed=len(keys)), enqueued=enqueued))
    await platform.records.settle(
        [Outcome(key, run.id, Status.DONE, 10, etag, "d") for key in keys]
    )
    await platform.records.set_run(run.id, RunState.DONE)
    return run.id


async def of_all(platform: AwsPlatform, run: int) -> Digest:
    digest = Digest()
    async for r in platform.records.scan(run=run):
        digest.add(
            r.key.encode(), r.size, r.etag, r.dest_etag, r.proof, r.status.value,
            r.verified.value, r.attempts,
        )  # fmt: skip
    return digest


async def test_a_table_that_one_call_cannot_read_is_refused_in_one_line(aws: AwsPlatform) -> None:
    run = await copy(aws, *KEYS)
    digest = await aws.records.digest(run)
    assert not digest.complete
    task = Task("t", "S3EC2", ScheduleType.ONE_TIME, {})
    with pytest.raises(Conflict, match=r"run 1 have not all been read yet.* dth task certificate"):
        certificate.issue(task, await aws.records.get_run(run), digest, certificate.new_key())


@pytest.mark.parametrize("limit", [1, 4, 1000])
async def test_what_was_read_in_pieces_is_the_digest(
    aws: AwsPlatform, names: AwsNames, calls: Calls, limit: int
) -> None:
    """Each piece by another process, as if the ones before had been stopped."""
    run = await copy(aws, *KEYS)
    read, done = 0, False
    while not done:
        async with open_platform(names, "another", io.StringIO()) as other:
            calls.watch(other.aws)
            done = await other.records.read_digest(run, limit)
            read += 1
    assert read >= min(20 // limit, 20 // 6)
    calls.calls.clear()
    assert await aws.records.digest(run) == await of_all(aws, run)
    assert (await aws.records.digest(run)).count == len(KEYS)
    calls.calls.clear()
    assert await aws.records.read_digest(run, limit)
    await aws.records.digest(run)
    assert calls.calls["dynamodb:scan"] == 0


async def test_a_digest_is_read_again_after_other_runs(
    aws: AwsPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await copy(aws, *KEYS)
    while not await aws.records.read_digest(first, 1000):
        pass
    assert (await aws.records.digest(first)).count == 20
    await copy(aws, *KEYS[:5], etag="e2")
    # Who has just had it read, gets it.
    assert (await aws.records.digest(first)).count == 20
    monkeypatch.setattr(module, "FRESH", 0.0)
    assert not (await aws.records.digest(first)).complete
    while not await aws.records.read_digest(first, 1000):
        pass
    digest = await aws.records.digest(first)
    assert digest == await of_all(aws, first)
    assert digest.count == 15


async def test_the_hub_reads_all_pieces_before_it_signs(
    aws: AwsPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def opened(self: AwsEngine, id: str) -> AsyncIterator[AwsPlatform]:
        yield aws

    monkeypatch.setattr(AwsEngine, "open", opened)
    run = await copy(aws, *KEYS)
    settings = HubSettings(**{each.name: each.name for each in fields(HubSettings)})
    await AwsEngine(aws.aws, aws.dynamo, settings).read_digest("t", run)
    assert (await aws.records.digest(run)).count == len(KEYS)


async def test_a_certificate_that_takes_too_long_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "LONGEST", 0.0)
    told = []

    class Jobs:
        async def end(self, id: str, result: dict[str, Any] | None, error: str) -> None:
            told.append((id, result, error))

    async def work() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    await hub._end(SimpleNamespace(jobs=Jobs()), "j", work(), hub.GOES_ON)  # type: ignore[arg-type]
    [(job, result, error)] = told
    assert (job, result) == ("j", None)
    assert error.endswith(
        "minutes; what was read is kept for a day, and the next certificate resumes there"
    )


async def test_a_small_table_needs_no_reading_in_advance(aws: AwsPlatform) -> None:
    run = await copy(aws, *KEYS[:5])
    digest = await aws.records.digest(run)
    assert digest == await of_all(aws, run)
    assert digest.complete
