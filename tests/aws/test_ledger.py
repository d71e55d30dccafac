"""Batches of outcomes: what counts them, whoever comes first."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Enqueued, Outcome, Page, Record
from dth.core.ports.runs import Counts, Cursor, RunKind, RunState
from dth.core.ports.status import Status
from dth.platforms.aws.client import Refused
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.items import pack
from dth.platforms.aws.ledger import KEPT_MARKS, is_mark
from dth.platforms.aws.platform import open_platform
from dth.platforms.aws.tables import TABLES
from tests.aws.cloud import Calls

if TYPE_CHECKING:
    from dth.platforms.aws.platform import AwsNames, AwsPlatform
    from tests.servers.ministack import MiniStack


async def enqueue_again(platform: AwsPlatform, keys: list[str]) -> int:
    """The objects have changed, and a second run copies them."""
    for run in await platform.records.list_runs():
        await platform.records.set_run(run.id, RunState.DONE)
    return await enqueue(platform, *keys)


def done(key: str, run: int) -> Outcome:
    return Outcome(key, run, Status.DONE, 10, "e", "d")


async def enqueue(platform: AwsPlatform, *keys: str, once: bool = True) -> int:
    run, _ = await platform.records.begin_run(RunKind.SYNC)
    await platform.records.commit(
        run.id,
        Page(Counts(listed=len(keys)), enqueued=[Enqueued(key, 10, "e", "", once) for key in keys]),
    )
    return run.id


def denied(operation: str, arguments: dict[str, Any]) -> Refused | None:
    """The role has no right to insert in batches."""
    is_batch = operation == "batch_execute_statement"
    return Refused("denied", "AccessDeniedException", {}) if is_batch else None


@pytest.mark.parametrize("nth", [1, 2, 5, 6])
@pytest.mark.parametrize("in_batches", [True, False])
async def test_a_batch_may_be_counted_while_its_writer_goes_on(
    aws: AwsPlatform,
    names: AwsNames,
    calls: Calls,
    in_batches: bool,
    nth: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The writer stands still before its nth record (the 6th: before its count), and somebody
    counts what is there."""
    monkeypatch.setattr("dth.platforms.aws.ledger.LEFT_AFTER", -1.0)
    monkeypatch.setattr("dth.platforms.aws.dynamo.AT_ONCE", 1)
    monkeypatch.setattr("dth.platforms.aws.dynamo.INSERT_AT_ONCE", 1)
    writes = {"update_item", "batch_execute_statement"} if in_batches else {"update_item"}
    if not in_batches:
        calls.on(denied)
    keys = [f"k{n}" for n in range(5)]
    run = await enqueue(aws, *keys)
    reached, go_on = threading.Event(), threading.Event()
    updates = 0

    def stand_still(operation: str, arguments: dict[str, Any]) -> None:
        nonlocal updates
        if operation in writes:
            updates += 1
            if updates == 1 + nth:  # the first announces
                reached.set()
                go_on.wait(20)

    calls.on(stand_still)
    async with open_platform(names, "other", io.StringIO()) as other:
        writing = asyncio.create_task(aws.records.settle([done(key, run) for key in keys]))
        await asyncio.to_thread(reached.wait, 20)
        for _ in range(2):
            await other.records.reconcile()
            assert (await other.records.get_run(run)).counts.done == nth - 1
        go_on.set()
        assert await writing == 5
        await other.records.reconcile()
        counts = (await other.records.get_run(run)).counts
    assert (counts.done, counts.done_bytes) == (5, 50)


async def test_an_answer_that_is_lost_counts_once(
    aws: AwsPlatform, calls: Calls, names: AwsNames
) -> None:
    """botocore sends a request again whose answer did not come: then the condition fails on our own
    write."""
    run = await enqueue(aws, "k")

    def again(operation: str, arguments: dict[str, Any]) -> None:
        if operation == "update_item":
            with contextlib.suppress(ClientError):
                aws.aws.client("dynamodb").update_item(**arguments)

    calls.on(again)
    assert await aws.records.settle([done("k", run)]) == 1
    assert await aws.records.settle([done("k", run)]) == 0
    assert (await aws.records.get_run(run)).counts.done == 1


async def test_an_insert_whose_answer_is_lost_counts_once(
    aws: AwsPlatform, calls: Calls, names: AwsNames
) -> None:
    """Then the record is there, and it is our own."""
    keys = [f"k{n}" for n in range(60)]
    run = await enqueue(aws, *keys)

    def again(operation: str, arguments: dict[str, Any]) -> None:
        if operation == "batch_execute_statement":
            aws.aws.client("dynamodb").batch_execute_statement(**arguments)

    calls.on(again)
    assert await aws.records.settle([done(key, run) for key in keys]) == 60
    assert await aws.records.settle([done(key, run) for key in keys]) == 0
    assert (await aws.records.get_run(run)).counts.done == 60


async def test_statements_that_are_throttled_are_sent_again(aws: AwsPlatform, calls: Calls) -> None:
    run = await enqueue(aws, *(f"k{n}" for n in range(30)))
    throttled = {"Error": {"Code": "ProvisionedThroughputExceeded", "Message": "slower"}}

    def throttle(operation: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        sent = arguments.get("Statements", [])
        if len(sent) < 5:
            return None
        passed = aws.aws.client("dynamodb").batch_execute_statement(Statements=sent[::2])
        rest = iter(passed["Responses"])
        return {"Responses": [throttled if n % 2 else next(rest) for n in range(len(sent))]}

    calls.on(throttle)
    assert await aws.records.settle([done(f"k{n}", run) for n in range(30)]) == 30
    assert (await aws.records.get_run(run)).counts.done == 30
    assert calls.calls["dynamodb:update_item"] == 2  # the ledger's own


async def test_new_records_are_inserted_many_at_once(aws: AwsPlatform, calls: Calls) -> None:
    keys = [f"k{n}" for n in range(100)]
    run = await enqueue(aws, *keys)
    before = calls.calls["dynamodb"]
    assert await aws.records.settle([done(key, run) for key in keys]) == 100
    assert calls.calls["dynamodb:batch_execute_statement"] == 4
    assert calls.calls["dynamodb"] - before <= 8
    assert calls.written[aws.dynamo._tables["objects"]] == 100

    # In the next run they exist: it is not tried again and again.
    later = await enqueue_again(aws, keys)
    for first in range(0, 100, 20):
        some = keys[first : first + 20]
        assert await aws.records.settle([done(key, later) for key in some]) == 20
    assert calls.calls["dynamodb:batch_execute_statement"] == 5
    assert (await aws.records.get_run(later)).counts.done == 100


async def test_the_partition_of_a_run_has_only_small_items(
    aws: AwsPlatform, names: AwsNames
) -> None:
    keys = [f"{random.randbytes(60).hex()}/{n}" for n in range(300)]
    run = await enqueue(aws, *keys)
    await aws.records.settle([done(key, run) for key in keys])
    sizes = {"run": 0, "intent": 0}
    async for item in aws.dynamo.scan("state"):
        kind = item["pk"].partition("#")[0]
        if kind in sizes:
            sizes[kind] = max(sizes[kind], len(repr(item)))
        if kind == "intent":
            assert item["expires"] > time.time() + 86_400
    assert sizes["run"] < 1000 < sizes["intent"]


async def test_what_an_earlier_version_announced_is_counted(
    aws: AwsPlatform, names: AwsNames
) -> None:
    """It had all of it in the ledger."""
    run = await enqueue(aws, "a", "b")
    batch = f"{run}/old/xyz"
    await aws.dynamo.put(
        "objects", {"ObjectKey": "a", "Status": "DONE", "Run": run, f"r{run}": batch}
    )
    entries = [[key, "DONE", 10, "", False] for key in ("a", "b")]
    ledger = {"batch": batch, "intent": pack(entries), "counted": "0", "at": time.time() - 90}
    await aws.dynamo.put("state", {"pk": f"run#{run:010d}", "sk": "ledger#old", **ledger})
    await aws.records.reconcile()
    assert (await aws.records.get_run(run)).counts.done == 1


async def test_two_workers_with_one_message_count_it_once(
    aws: AwsPlatform, names: AwsNames
) -> None:
    keys = [f"k{n}" for n in range(30)]
    run = await enqueue(aws, *keys)
    async with open_platform(names, "w2", io.StringIO()) as other:
        counted = await asyncio.gather(
            *(each.records.settle([done(key, run) for key in keys]) for each in (aws, other))
        )
    assert sum(counted) == 30
    assert (await aws.records.get_run(run)).counts.done == 30


async def test_an_outcome_of_an_earlier_run_counts_and_leaves_the_record_alone(
    aws: AwsPlatform,
) -> None:
    first = await enqueue(aws, "k")
    await aws.records.set_run(first, (await aws.records.get_run(first)).state.TRANSFERRING)
    second, _ = await aws.records.begin_run(RunKind.SYNC, beside=True)
    await aws.records.commit(second.id, Page(enqueued=[Enqueued("k", 10, "e2", "", once=True)]))
    assert await aws.records.settle([Outcome("k", second.id, Status.DONE, 20, "e2", "d2")]) == 1
    assert await aws.records.settle([Outcome("k", first, Status.FAILED, reason="late")]) == 1
    assert await aws.records.settle([Outcome("k", first, Status.FAILED, reason="late")]) == 0
    record = (await aws.records.get(["k"]))["k"]
    assert (record.status, record.run, record.etag) == (Status.DONE, second.id, "e2")
    assert (await aws.records.get_run(first)).counts.failed == 1
    assert await aws.records.settled(first, ["k"]) == {"k"}


async def test_a_record_remembers_the_last_runs_alone(aws: AwsPlatform, names: AwsNames) -> None:
    dynamo = Dynamo(aws.aws, {table: getattr(names, table) for table in TABLES})
    for _ in range(KEPT_MARKS + 5):
        run = await enqueue(aws, "k")
        assert await aws.records.settle([done("k", run)]) == 1
        await aws.records.set_run(run, (await aws.records.get_run(run)).state.DONE)
    item = await dynamo.get("objects", {"ObjectKey": "k"})
    marks = sorted(int(name[1:]) for name in item if is_mark(name))
    assert marks == list(range(run - KEPT_MARKS, run + 1))[-len(marks) :]
    assert len(marks) <= KEPT_MARKS + 1


async def test_many_long_keys_fit_into_items(aws: AwsPlatform, calls: Calls) -> None:
    """Keys of 1,024 bytes that do not compress well, in one page and in one batch."""
    dice = random.Random(1)
    keys = [
        f"{n:04}" + "".join(chr(dice.randrange(0x4E00, 0x9FFF)) for _ in range(340))
        for n in range(150)
    ]
    run, _ = await aws.records.begin_run(RunKind.SYNC)
    sizes: list[int] = []

    def measure(operation: str, arguments: dict[str, Any]) -> None:
        values = {**arguments.get("Item", {}), **arguments.get("ExpressionAttributeValues", {})}
        for each in arguments.get("TransactItems", []):
            values |= each.get("Put", {}).get("Item", {})
        sizes.append(sum(len(v["B"]) for v in values.values() if "B" in v))

    calls.on(measure)
    page = Page(
        enqueued=[Enqueued(key, 10, "e", "") for key in keys],
        same=[Record("s", Status.DONE, run.id)],
    )
    page.messages = [Outgoing(f"m{n}", "".join(keys[n::5])) for n in range(5)]
    await aws.records.commit(run.id, page)
    assert await aws.records.settle([done(key, run.id) for key in keys]) == 150
    assert 80_000 < max(sizes) < 350_000
    counts = (await aws.records.get_run(run.id)).counts
    assert (counts.enqueued, counts.done) == (150, 150)
    assert (await aws.queue.depth()).visible == 5


async def test_a_page_of_many_steps_is_finished_by_another(
    aws: AwsPlatform, names: AwsNames, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.platforms.aws.outbox.LEFT_AFTER", -1.0)
    keys = [f"k{n:03}" for n in range(200)]
    run, _ = await aws.records.begin_run(RunKind.REDRIVE)
    transactions = 0

    def fail(operation: str, arguments: dict[str, Any]) -> Refused | None:
        nonlocal transactions
        transactions += operation == "transact_write_items"
        return Refused("no", "InternalServerError", {}) if transactions >= 3 else None

    calls.on(fail)
    page = Page(
        Counts(listed=200),
        [Cursor("c", 0, "", "", "k")],
        [Enqueued(key, 10, "e", "") for key in keys],
    )
    page.messages, page.settled = (
        [Outgoing("m", "b")],
        [Outcome("k000", run.id, Status.FAILED, reason="no")],
    )
    with pytest.raises(Refused):
        await aws.records.commit(run.id, page)
    async with open_platform(names, "other", io.StringIO()) as other:
        assert (await other.queue.depth()).visible == 0
        await other.records.reconcile()
        counts = (await other.records.get_run(run.id)).counts
        assert counts == Counts(listed=200, enqueued=200, enqueued_bytes=2000, failed=1)
        assert [cursor.position for cursor in await other.records.cursors(run.id)] == ["k"]
        assert (await other.queue.depth()).visible == 1
        await other.records.reconcile()
        assert (await other.queue.depth()).visible == 1


async def test_what_was_cancelled_is_not_sent_any_more(
    aws: AwsPlatform, names: AwsNames, calls: Calls
) -> None:
    run, _ = await aws.records.begin_run(RunKind.SYNC)
    broken = True
    calls.on(
        lambda operation, _: (
            Refused("no", "x", {}) if broken and operation == "send_message_batch" else None
        )
    )
    page = Page(
        Counts(listed=1),
        enqueued=[Enqueued("k", 10, "e", "", once=True)],
        messages=[Outgoing("m", "b")],
    )
    with pytest.raises(Refused):
        await aws.records.commit(run.id, page)
    broken = False
    await aws.records.cancel_pending("stopped")
    assert (await aws.queue.depth()).visible == 0
    assert (await aws.records.get_run(run.id)).counts == Counts(
        listed=1, enqueued=1, enqueued_bytes=10, cancelled=1
    )
    # A worker that has not heard of it yet ends what it had in hand.
    await aws.records.settle([done("k", run.id)])
    counts = (await aws.records.get_run(run.id)).counts
    assert (counts.done, counts.cancelled) == (1, 0)


async def test_nothing_is_written_of_most_objects_before_their_outcome(
    aws: AwsPlatform, names: AwsNames, calls: Calls, cloud: MiniStack
) -> None:
    run = await enqueue(aws, *(f"k{n}" for n in range(300)))
    assert calls.written[names.objects] == 0
    assert await aws.records.settle([done(f"k{n}", run) for n in range(300)]) == 300
    assert calls.written[names.objects] == 300
    assert calls.written[names.state] < 20


async def settle_and_die(names: AwsNames, outcomes: list[Outcome]) -> None:
    """w1 writes the records, and dies before it counts them."""
    async with open_platform(names, "w1", io.StringIO()) as dying:
        calls = Calls()
        updates = 0

        def die(operation: str, arguments: dict[str, Any]) -> Refused | None:
            nonlocal updates
            updates += operation == "update_item" and arguments["TableName"] == names.state
            # The first of the ledger announces, and the second counts.
            return Refused("dead", "x", {}) if updates > 1 else None

        calls.on(die)
        calls.watch(dying.aws)
        with pytest.raises(Refused, match="dead"):
            await dying.records.settle(outcomes)


async def test_the_next_life_of_a_writer_counts_what_it_left(names: AwsNames) -> None:
    async with open_platform(names, "hub", io.StringIO()) as hub:
        run = await enqueue(hub, *(f"k{n}" for n in range(6)))
        await settle_and_die(names, [done(f"k{n}", run) for n in range(4)])
        assert (await hub.records.get_run(run)).counts.done == 0
        async with open_platform(names, "w1", io.StringIO()) as again:
            assert await again.records.settle([done(f"k{n}", run) for n in range(2, 6)]) == 2
        assert (await hub.records.get_run(run)).counts.done == 6


async def test_what_was_left_uncounted_is_counted_before_it_is_enqueued_again(
    names: AwsNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.platforms.aws.ledger.LEFT_AFTER", -1.0)
    async with open_platform(names, "w2", io.StringIO()) as other:
        run = await enqueue(other, "k", "l", once=False)
        await settle_and_die(names, [done("k", run), done("l", run)])
        again = Page(Counts(listed=1), enqueued=[Enqueued("k", 10, "e", "")])
        await other.records.commit(run, again)
        assert await other.records.settle([done("k", run)]) == 1
        for _ in range(2):
            await other.records.reconcile()
            counts = (await other.records.get_run(run)).counts
            assert (counts.enqueued, counts.done, counts.done_bytes) == (3, 3, 30)


async def test_a_page_that_two_go_on_with_is_counted_once(
    aws: AwsPlatform, names: AwsNames, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.platforms.aws.outbox.LEFT_AFTER", -1.0)
    monkeypatch.setattr("dth.platforms.aws.outbox.STEP", 2)
    run, _ = await aws.records.begin_run(RunKind.REDRIVE)
    reached, go_on = threading.Event(), threading.Event()
    transactions = 0

    def stand_still(operation: str, arguments: dict[str, Any]) -> None:
        nonlocal transactions
        transactions += operation == "transact_write_items"
        if transactions == 3 and not reached.is_set():
            reached.set()
            go_on.wait(20)

    calls.on(stand_still)
    page = Page(
        Counts(listed=9),
        [Cursor("c", 0, "", "", "k")],
        [Enqueued(f"k{n}", 10, "e", "") for n in range(9)],
    )
    page.messages = [Outgoing("m", "b")]
    committing = asyncio.create_task(aws.records.commit(run.id, page))
    await asyncio.to_thread(reached.wait, 20)
    async with open_platform(names, "other", io.StringIO()) as other:
        await other.records.reconcile()
    go_on.set()
    await committing
    counts = (await aws.records.get_run(run.id)).counts
    assert counts == Counts(listed=9, enqueued=9, enqueued_bytes=90)
    assert [cursor.position for cursor in await aws.records.cursors(run.id)] == ["k"]


async def keys_of_page(aws: AwsPlatform, **which: Any) -> tuple[list[str], str]:
    found, after = await aws.records.page(**which)
    return [record.key for record in found], after


async def test_what_waits_is_found_without_reading_the_table(
    aws: AwsPlatform, calls: Calls
) -> None:
    """A look each minute asks for it, and the table may hold a billion objects."""
    run = await enqueue(aws, "a", "b", once=False)
    await aws.records.settle([done("a", run)])
    assert await keys_of_page(aws, status=Status.PENDING) == (["b"], "")
    await aws.records.cancel_pending("stopped")
    assert await keys_of_page(aws, status=Status.CANCELLED) == (["b"], "")
    assert calls.calls["dynamodb:scan"] == 0


async def test_more_failures_than_can_be_counted_are_said_to_be_more(
    aws: AwsPlatform, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.platforms.aws.records.PAGES_READ", 3)
    run = await enqueue(aws, *(f"k{n}" for n in range(9)))
    await aws.records.settle(
        [Outcome(f"k{n}", run, Status.FAILED, reason="odd" if n % 2 else "even") for n in range(9)]
    )
    assert [(g.reason, g.count, g.more) for g in await aws.records.failure_groups()] == [
        ("even", 5, False),
        ("odd", 4, False),
    ]

    def small(operation: str, arguments: dict[str, Any]) -> None:
        if operation == "query":
            arguments["Limit"] = 1

    calls.on(small)
    calls.calls.clear()
    assert [(g.reason, g.count, g.more) for g in await aws.records.failure_groups()] == [
        ("even", 2, True),
        ("odd", 1, True),
    ]
    assert calls.calls["dynamodb:query"] <= 3


# A key that is stored as its hash.
LONG = "k\udcff" * 700


@pytest.mark.parametrize("which", [{"prefix": "k"}, {"reason": "odd", "status": Status.FAILED}])
async def test_a_page_of_which_little_is_found_ends_early(
    aws: AwsPlatform, calls: Calls, which: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks waits for half a minute at most, and the next page goes on."""
    monkeypatch.setattr("dth.platforms.aws.records.PAGES_READ", 2)
    keys = [f"other{n}" for n in range(18)] + [LONG, "k1"]
    run = await enqueue(aws, *keys)
    outcomes = [Outcome(key, run, Status.FAILED, reason="even") for key in keys]
    outcomes[-1].reason = "odd"
    await aws.records.settle(outcomes)

    def small(operation: str, arguments: dict[str, Any]) -> None:
        if operation in ("query", "scan"):
            arguments["Limit"] = 1

    calls.on(small)
    seen: list[str] = []
    after, answers = "", 0
    while after or not answers:
        before = calls.calls["dynamodb:query"] + calls.calls["dynamodb:scan"]
        found, after = await keys_of_page(aws, **which, after=after)
        assert calls.calls["dynamodb:query"] + calls.calls["dynamodb:scan"] <= before + 2
        seen += found
        answers += 1
    assert seen == ["k1"]
    assert answers >= 10
