"""Records that expire: only those that nothing needs any more, and a run says until when they are
all there.
"""

from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dth.compose.aws import agent
from dth.core.errors import Conflict, UsageError
from dth.core.ports.records import Enqueued, Outcome, Page, Record
from dth.core.ports.runs import Counts, Cursor, RunKind, RunState
from dth.core.ports.status import Status
from dth.hub import certificate
from dth.objects.compare.merge import Evidence, Policy, Verdict, decide, decide_with_evidence
from dth.objects.listing.pages import ListedObject
from dth.platforms.aws.parameters import write_parameters
from dth.platforms.aws.platform import open_platform

if TYPE_CHECKING:
    from dth.platforms.aws.platform import AwsNames, AwsPlatform

DAY = 86_400
MD5, OTHER = "9e107d9d372bb6826bd81d3542a419d6", "e4d909c290d0fb1ca068ffaddf22cbd0"


def copied(run: int, key: str = "k", **more: Any) -> Outcome:
    return replace(Outcome(key, run, Status.DONE, 10, MD5, MD5), **more)


async def begin(platform: AwsPlatform, *keys: str, once: bool = True) -> int:
    """A run that enqueues these objects."""
    for run in await platform.records.list_runs():
        await platform.records.set_run(run.id, RunState.DONE)
    run, _ = await platform.records.begin_run(RunKind.SYNC)
    enqueued = [Enqueued(key, 10, MD5, "", once) for key in keys]
    await platform.records.commit(run.id, Page(Counts(listed=len(keys)), enqueued=enqueued))
    return run.id


async def expires(platform: AwsPlatform, key: str = "k") -> float:
    """When the record may be deleted; 0: never."""
    item = await platform.dynamo.get("objects", {"ObjectKey": key})
    assert item
    return float(item.get("Expires", 0))


@pytest.mark.parametrize("inserts", [True, False])
async def test_the_record_of_a_copy_expires_when_nothing_needs_it(
    aws: AwsPlatform, inserts: bool
) -> None:
    aws.records.expire_after(30)
    run = await begin(aws, "k", once=inserts)
    before = int(time.time())
    assert await aws.records.settle([copied(run)]) == 1
    assert before + 30 * DAY <= await expires(aws) <= time.time() + 30 * DAY


async def test_records_stay_unless_somebody_wants_them_gone(aws: AwsPlatform) -> None:
    run = await begin(aws, "k")
    await aws.records.settle([copied(run)])
    assert await expires(aws) == 0
    assert (await aws.records.get_run(run)).kept_until == 0


@pytest.mark.parametrize(
    "needed",
    [
        {"status": Status.FAILED, "reason": "AccessDenied"},
        {"status": Status.CANCELLED},
        {"reason": "tags"},
        {"dest_etag": OTHER},
        {"etag": f"{MD5}-2", "dest_etag": f"{MD5}-2"},
        {"etag": "", "dest_etag": ""},
    ],
    ids=["failed", "cancelled", "incomplete", "etags differ", "in parts", "no etag"],
)
async def test_a_record_that_is_needed_never_expires(
    aws: AwsPlatform, needed: dict[str, Any]
) -> None:
    """Failures are retried and incomplete copies listed; comparisons need the record of an object
    whose ETags differ, and giant uploads that of theirs."""
    aws.records.expire_after(30)
    first = await begin(aws, "k")
    await aws.records.settle([copied(first)])
    assert await expires(aws)
    again = await begin(aws, "k")
    await aws.records.settle([copied(again, **needed), copied(again, "new", **needed)])
    assert [await expires(aws), await expires(aws, "new")] == [0, 0]


async def test_what_an_unfinished_run_waits_for_never_expires(aws: AwsPlatform) -> None:
    aws.records.expire_after(30)
    await aws.records.settle([copied(await begin(aws, "k"))])
    run = await begin(aws, "k", once=False)
    assert await expires(aws) == 0
    assert (await aws.records.get(["k"]))["k"].status is Status.PENDING
    await aws.records.settle([copied(run)])
    assert await expires(aws)


async def test_the_order_of_events_is_never_forgotten_before_its_transfer_ends(
    aws: AwsPlatform,
) -> None:
    aws.records.expire_after(30)
    await aws.records.settle([copied(await begin(aws, "k"))])
    assert await aws.records.apply_event("k", "0002")
    assert await expires(aws) == 0


async def test_what_a_comparison_proved_is_remembered(aws: AwsPlatform) -> None:
    aws.records.expire_after(30)
    await aws.records.settle([copied(await begin(aws, "k"))])
    run, _ = await aws.records.begin_run(RunKind.EVENTS)
    same = Record("k", Status.DONE, run.id, MD5, 10, OTHER)
    await aws.records.commit(run.id, Page(Counts(listed=1, same=1), same=[same]))
    assert await expires(aws) == 0


@pytest.mark.parametrize("policy", [Policy.ETAG, Policy.CHECKSUM])
@pytest.mark.parametrize("source_etag", [MD5, OTHER, f"{OTHER}-2"])
def test_a_comparison_does_without_an_expired_record(policy: Policy, source_etag: str) -> None:
    """The source is as it was copied, or was written again since."""
    modified = "2026-01-01T00:00:00" if source_etag == MD5 else "2026-03-01T00:00:00"
    source = ListedObject("k", 10, source_etag, modified)
    dest = ListedObject("k", 10, MD5, "2026-02-01T00:00:00")
    record = Record("k", Status.DONE, 1, MD5, 10, MD5)

    def verdict(known: Record | None) -> Verdict:
        found = decide(policy, source, dest)
        if found is Verdict.DOUBT:
            found = decide_with_evidence(policy, source, dest, known, Evidence(), Evidence())
        return found

    assert verdict(None).transfers == verdict(record).transfers == (source_etag != MD5)


async def test_a_run_says_until_when_all_its_records_are_there(
    aws: AwsPlatform, names: AwsNames
) -> None:
    """The first of them counts, whoever wrote it and with whatever number of days."""
    run = await begin(aws, "a", "b", "c")
    aws.records.expire_after(90)
    before = int(time.time())
    await aws.records.settle([copied(run, "a")])
    until = (await aws.records.get_run(run)).kept_until
    assert before + 90 * DAY <= until <= time.time() + 90 * DAY
    async with open_platform(names, "w2", io.StringIO()) as other:
        other.records.expire_after(60)
        await other.records.settle([copied(run, "b")])
    assert (await aws.records.get_run(run)).kept_until == pytest.approx(until - 30 * DAY, abs=60)
    aws.records.expire_after(30)
    await aws.records.settle([copied(run, "c")])
    first = (await aws.records.get_run(run)).kept_until
    assert first == pytest.approx(until - 60 * DAY, abs=60)
    assert first <= await expires(aws, "c")


async def test_a_run_whose_records_are_deleted_gets_no_certificate(aws: AwsPlatform) -> None:
    run = await begin(aws, "k")
    aws.records.expire_after(30)
    await aws.records.settle([copied(run)])
    await aws.records.set_run(run, RunState.DONE)
    found = await aws.records.get_run(run)
    certificate.check(found)
    found.kept_until -= 30 * DAY
    with pytest.raises(Conflict, match=r"first records of run 1 expired at 20.*\(recordDays\)"):
        certificate.check(found)


async def test_old_runs_that_have_ended_are_forgotten_but_not_their_records(
    aws: AwsPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.platforms.aws.records.KEPT_RUNS", 2)
    events, _ = await aws.records.begin_run(RunKind.EVENTS)
    runs = []
    for key in ("a", "b", "c", "d"):
        run, _ = await aws.records.begin_run(RunKind.SYNC)
        page = Page(
            Counts(listed=1), [Cursor("c", 0, "", "", "")], [Enqueued(key, 10, MD5, "", True)]
        )
        await aws.records.commit(run.id, page)
        await aws.records.add_note(run.id, "note")
        await aws.records.settle([copied(run.id, key)])
        await aws.records.set_run(run.id, RunState.DONE)
        runs.append(run.id)
    waits, _ = await aws.records.begin_run(RunKind.SYNC)
    assert [run.id for run in await aws.records.list_runs()] == [waits.id, runs[3], events.id]
    assert await aws.records.cursors(runs[0]) == []
    assert len(await aws.records.cursors(runs[3])) == 1
    with pytest.raises(UsageError, match="There is no run 2"):
        await aws.records.get_run(runs[0])
    assert [record.key async for record in aws.records.scan()] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("given", "days"), [({"recordDays": "45"}, 45), ({}, 0)])
async def test_workers_take_the_number_of_days_from_the_task(
    aws: AwsPlatform, names: AwsNames, monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str], days: int,
) -> None:  # fmt: skip
    places = {
        "srcType": "Amazon_S3", "srcBucket": "from", "srcRegion": "us-east-1",
        "destBucket": "to", "destRegion": "us-east-1",
    }  # fmt: skip
    await write_parameters(aws.dynamo, "S3EC2", {**places, **given})
    run = await begin(aws, "k")

    async def work(name: str, route: object, platform: AwsPlatform, workdir: object) -> None:
        await platform.records.settle([copied(run)])

    monkeypatch.setattr(agent.processes, "work", work)
    monkeypatch.setenv("DTH_LOG_GROUP", "none")
    monkeypatch.setattr(agent.AwsNames, "from_environment", lambda: names)
    await agent._be_process("worker", "w3")
    assert round(max(await expires(aws) - time.time(), 0) / DAY) == days
