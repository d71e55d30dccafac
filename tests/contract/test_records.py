"""What holds of all records and ledgers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.digest import Digest
from dth.core.errors import UsageError
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import (
    Enqueued,
    FailureGroup,
    ListingTakenOver,
    Outcome,
    Page,
    Record,
)
from dth.core.ports.runs import Counts, Cursor, RunKind, RunState
from dth.core.ports.status import Status, Verified

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dth.core.ports.platform import Platform
    from dth.core.ports.records import Records
    from tests.contract.platforms import OpenTask

# In byte order; the lone surrogates stand for bytes that are not UTF-8.
ODD_KEYS = [
    "\x00", "\x00a", "..", "//", "a\x00b", "a/../b", "\udc80", "\u00e9", "\uffff", "\U0001f600",
    "\U0010ff00",
    "\U0010ff80\U0010ff00", "\udcff", "\udcff" * 1024,
]  # fmt: skip


@pytest.fixture
def records(platform: Platform) -> Records:
    return platform.records


def enqueued(*keys: str, size: int = 10, etag: str = "e1") -> list[Enqueued]:
    return [Enqueued(key, size, etag, "m") for key in keys]


async def keys_of_page(records: Records, status: Status, **which: Any) -> list[str]:
    found, _ = await records.page(status=status, **which)
    return [record.key for record in found]


def done(key: str, run: int, size: int = 10) -> Outcome:
    return Outcome(key, run, Status.DONE, size, "e1", "d1", "crc64nvme:AAAA")


async def keys(scan: AsyncIterator[Record]) -> list[str]:
    return [record.key async for record in scan]


# --------------------------------------------------------------------------------------------- runs


async def test_an_unfinished_run_is_resumed_a_finished_one_is_not(records: Records) -> None:
    first, resumed = await records.begin_run(RunKind.SYNC)
    assert not resumed
    assert (first.state, first.ended, first.counts) == (RunState.LISTING, 0.0, Counts())
    assert await records.begin_run(RunKind.SYNC) == (first, True)
    other, resumed = await records.begin_run(RunKind.EVENTS)
    assert (other.id != first.id, resumed) == (True, False)

    await records.set_run(first.id, RunState.FAILED, "no \udcff bucket")
    ended = await records.get_run(first.id)
    assert ended.ended > 0
    assert ended.error == "no \\udcff bucket"
    second, resumed = await records.begin_run(RunKind.SYNC)
    assert (second.id > first.id, resumed) == (True, False)
    assert [run.id for run in await records.list_runs()] == [second.id, other.id, first.id]
    assert len(await records.list_runs(limit=1)) == 1


async def test_a_run_may_begin_while_the_last_objects_of_another_are_on_their_way(
    records: Records,
) -> None:
    first, _ = await records.begin_run(RunKind.SYNC)
    await records.set_run(first.id, RunState.TRANSFERRING)
    assert (await records.begin_run(RunKind.SYNC))[0].id == first.id
    second, resumed = await records.begin_run(RunKind.SYNC, beside=True)
    assert (second.id > first.id, resumed) == (True, False)
    await records.set_run(second.id, RunState.DONE)
    assert (await records.begin_run(RunKind.SYNC))[0].id == first.id


async def test_a_run_that_does_not_exist(records: Records) -> None:
    with pytest.raises(UsageError):
        await records.get_run(7)


async def test_notes_are_kept_once_and_in_order(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    for note in ("z", "a", "z"):
        await records.add_note(run.id, note)
    assert (await records.get_run(run.id)).notes == ["z", "a"]


async def test_the_first_reason_of_a_pause_stays(records: Records) -> None:
    assert await records.paused() == ""
    await records.pause("bucket missing")
    await records.pause("credentials expired")
    assert await records.paused() == "bucket missing"
    await records.resume()
    assert await records.paused() == ""
    await records.pause("")
    assert await records.paused() != ""


# --------------------------------------------------------------------------------------- the finder


async def test_commit_writes_everything(platform: Platform) -> None:
    records = platform.records
    run, _ = await records.begin_run(RunKind.SYNC)
    cursor = Cursor("c1", 0, "", "m\udcff", "b")
    page = Page(
        counts=Counts(listed=4, same=1, dest_listed=5),
        cursors=[cursor],
        enqueued=enqueued("a", "b", "bad"),
        messages=[Outgoing("m1", "body")],
        settled=[Outcome("bad", run.id, Status.FAILED, reason="KeyRefused", detail="no")],
        extras=["x"],
        same=[Record("c", Status.DONE, run.id, "e", 7, "d")],
    )
    await records.commit(run.id, page)
    assert (await records.get_run(run.id)).counts == Counts(
        listed=4, same=1, dest_listed=5, enqueued=3, enqueued_bytes=30, failed=1
    )
    assert await records.cursors(run.id) == [cursor]
    assert await records.extras(run.id, "", 10) == ["x"]
    found = await records.get(["a", "c", "bad", "nothing"])
    assert found["a"] == Record("a", Status.PENDING, run.id, "e1", 10, updated=found["a"].updated)
    assert found["c"] == Record("c", Status.DONE, run.id, "e", 7, "d", updated=found["c"].updated)
    assert (found["bad"].status, found["bad"].reason) == (Status.FAILED, "KeyRefused")
    assert set(found) == {"a", "c", "bad"}
    assert [d.body for d in await platform.queue.receive(10, 60, 0)] == ["body"]


async def test_what_was_copied_since_it_was_listed_is_not_copied_again(records: Records) -> None:
    first, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(first.id, Page(enqueued=enqueued("before", "same", "changed", "failed")))
    await records.settle([done("before", first.id)])
    began = (await records.get(["before"]))["before"].updated + 0.001
    await asyncio.sleep(0.01)
    await records.settle([done("same", first.id), done("changed", first.id)])
    await records.settle([Outcome("failed", first.id, Status.FAILED)])
    await records.set_run(first.id, RunState.TRANSFERRING)

    second, _ = await records.begin_run(RunKind.SYNC, beside=True)
    again = [*enqueued("before", "same", "failed", "new"), *enqueued("changed", etag="e2")]
    await records.commit(second.id, Page(Counts(listed=5), enqueued=again, listed_since=began))
    counts = (await records.get_run(second.id)).counts
    assert (counts.enqueued, counts.enqueued_bytes, counts.pending) == (4, 40, 1)
    found = await records.get(["before", "same", "changed", "failed", "new"])
    assert (found.pop("same").status, {record.status for record in found.values()}) == (
        Status.DONE,
        {Status.PENDING},
    )


async def test_commit_writes_all_or_nothing(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    page = Page(
        counts=Counts(listed=1),
        cursors=[Cursor("c", 0, "", "", "a")],
        enqueued=enqueued("a"),
        messages=[Outgoing("m", "good"), Outgoing("n", "bad \udcff")],
    )
    with pytest.raises(UnicodeEncodeError):
        await records.commit(run.id, page)
    assert (await records.get_run(run.id)).counts == Counts()
    assert await records.cursors(run.id) == []
    assert await records.get(["a"]) == {}
    page.messages.pop()
    await records.commit(run.id, page)  # and what was left of the first try is not in the way
    assert (await records.get_run(run.id)).counts == Counts(listed=1, enqueued=1, enqueued_bytes=10)


async def test_what_is_enqueued_once_has_an_outcome_once(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    page = Page(enqueued=[Enqueued(key, 10, "e1", "m", once=True) for key in ("a", "b", "a")])
    await records.commit(run.id, page)
    assert await records.settled(run.id, ["a", "b"]) == set()
    assert await records.settle([done("a", run.id), done("b", run.id)]) == 2
    assert await records.settle([done("a", run.id), done("b", run.id)]) == 0
    assert await records.settled(run.id, ["a", "b", "unknown"]) == {"a", "b"}
    assert (await records.get_run(run.id)).counts == Counts(
        enqueued=2, enqueued_bytes=20, pending=1, done=2, done_bytes=20
    )


async def test_what_is_pending_from_an_earlier_run_stays_with_it(records: Records) -> None:
    first, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(first.id, Page(enqueued=enqueued("a", "b")))
    await records.settle([done("b", first.id)])
    await records.set_run(first.id, RunState.FAILED)
    second, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(second.id, Page(enqueued=enqueued("a", "b", "c", etag="e2")))
    counts = (await records.get_run(second.id)).counts
    assert (counts.enqueued, counts.pending, counts.enqueued_bytes) == (2, 1, 20)
    found = await records.get(["a", "b"])
    assert (found["a"].run, found["a"].etag) == (first.id, "e1")
    assert found["b"] == Record(
        "b", Status.PENDING, second.id, "e2", 10, updated=found["b"].updated
    )
    assert await records.settled(second.id, ["a", "b"]) == {"a"}
    assert await records.settled(first.id, ["a", "b"]) == {"b"}
    assert await records.settle([done("a", second.id)]) == 0
    assert await records.settle([done("a", first.id)]) == 1


async def test_no_message_is_sent_for_what_is_in_flight(platform: Platform) -> None:
    records = platform.records
    first, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(
        first.id, Page(enqueued=enqueued("a", "b", "c"), messages=[Outgoing("m", "first")])
    )
    second, _ = await records.begin_run(RunKind.REDRIVE)
    page = Page(
        enqueued=[
            Enqueued("a", 10, "e1", "only a"),
            Enqueued("b", 10, "e1", "b and d"),
            Enqueued("d", 10, "e1", "b and d"),
        ],
        messages=[
            Outgoing("only a", "no"),
            Outgoing("b and d", "yes"),
            Outgoing("of no object", "this too"),
        ],
    )
    await records.commit(second.id, page)
    again = Page(
        enqueued=[Enqueued("d", 10, "e1", "d again")], messages=[Outgoing("d again", "no")]
    )
    await records.commit(second.id, again)
    taken: set[str] = set()
    while deliveries := await platform.queue.receive(10, 60, 0):
        taken |= {delivery.body for delivery in deliveries}
    assert taken == {"first", "yes", "this too"}
    counts = (await records.get_run(second.id)).counts
    assert (counts.enqueued, counts.pending) == (1, 3)
    assert await records.settled(second.id, ["a", "b", "d"]) == {"a", "b"}


async def test_many_objects_of_which_some_are_in_flight(platform: Platform) -> None:
    """More than fit into one transaction."""
    records = platform.records
    first, _ = await records.begin_run(RunKind.SYNC)
    names = [f"k{n:03}" for n in range(200)]
    await records.commit(first.id, Page(enqueued=enqueued(*names[::2])))
    second, _ = await records.begin_run(RunKind.REDRIVE)
    page = Page(
        enqueued=[Enqueued(name, 10, "e1", f"m {name}") for name in names],
        messages=[Outgoing(f"m {name}", name) for name in names],
    )
    await records.commit(second.id, page)
    taken: set[str] = set()
    while deliveries := await platform.queue.receive(10, 60, 0):
        taken |= {delivery.body for delivery in deliveries}
    assert taken == set(names[1::2])


async def test_a_record_changes_hands_only_when_its_run_waits_no_more(records: Records) -> None:
    first, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(first.id, Page(enqueued=enqueued("a")))
    second, _ = await records.begin_run(RunKind.REDRIVE)
    for _ in range(2):
        await records.commit(second.id, Page(enqueued=enqueued("a")))
        assert await records.settled(first.id, ["a"]) == set()
        assert await records.settle([done("a", second.id)]) == 0
    assert await records.settle([done("a", first.id)]) == 1
    await records.commit(second.id, Page(enqueued=enqueued("a")))
    assert await records.settled(first.id, ["a"]) == {"a"}
    assert (await records.get_run(first.id)).counts.balanced
    assert await records.settle([done("a", first.id)]) == 0
    assert await records.settle([done("a", second.id)]) == 1


async def test_an_outcome_that_an_event_overtook_ends_nothing(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(run.id, Page(enqueued=enqueued("a", "b", "c", "d")))
    await records.apply_event("a", "0100")
    await records.apply_event("c", "0100")
    known = {
        "a": "",  # its transfer began before the event
        "b": "",
        "c": "0100",
        "d": None,
    }
    outcomes = [done(key, run.id) for key in known]
    for outcome in outcomes:
        outcome.sequencer = known[outcome.key]
    assert await records.settle(outcomes) == 3
    found = await records.get(list(known))
    assert {key for key, record in found.items() if record.status is Status.PENDING} == {"a"}
    assert await records.settled(run.id, list(known)) == {"b", "c", "d"}
    counts = (await records.get_run(run.id)).counts
    assert (counts.enqueued, counts.done) == (4, 3)
    outcomes[0].sequencer = "0100"
    assert await records.settle(outcomes) == 1
    assert (await records.get_run(run.id)).counts.balanced


async def test_an_outcome_that_nobody_knows_an_event_of_ends_all(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.EVENTS)
    for sequencer in ("0100", "0200"):
        await records.apply_event("a", sequencer)
        await records.commit(run.id, Page(enqueued=enqueued("a")))
        assert await records.settle([Outcome("a", run.id, Status.FAILED, sequencer="0050")]) == 0
        assert (
            await records.settle([Outcome("a", run.id, Status.FAILED, reason="WorkerCrashed")]) == 1
        )


async def test_a_key_twice_in_one_run_is_enqueued_once(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(run.id, Page(enqueued=enqueued("a", "a")))
    await records.commit(run.id, Page(enqueued=enqueued("a")))
    counts = (await records.get_run(run.id)).counts
    assert (counts.enqueued, counts.pending, counts.enqueued_bytes) == (1, 2, 10)


async def test_what_was_settled_may_be_enqueued_again_in_its_run(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.EVENTS)
    for turn in (1, 2, 3):
        await records.commit(run.id, Page(enqueued=enqueued("a")))
        assert await records.settled(run.id, ["a"]) == set()
        assert await records.settle([done("a", run.id)]) == 1
        assert await records.settled(run.id, ["a"]) == {"a"}
        counts = (await records.get_run(run.id)).counts
        assert (counts.enqueued, counts.done) == (turn, turn)


async def test_remembering_does_not_touch_what_is_on_its_way(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(run.id, Page(enqueued=enqueued("a")))
    await records.commit(run.id, Page(same=[Record("a", Status.DONE, run.id, "e9", 9, "d9")]))
    assert (await records.get(["a"]))["a"].status is Status.PENDING
    assert await records.settle([done("a", run.id)]) == 1


async def test_cursors_are_replaced_and_come_in_order(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    second, first = Cursor("z", 0, "\udcff", "", "\udcff"), Cursor("a", 0, "", "\udcff", "")
    await records.commit(run.id, Page(cursors=[second, Cursor("b", 1, "", "", ""), first]))
    first = Cursor("a", 0, "", "\udcff", "x\x00", finished=True)
    await records.commit(run.id, Page(cursors=[first]))
    assert await records.cursors(run.id) == [first, second, Cursor("b", 1, "", "", "")]


async def test_a_listing_that_was_taken_over_stores_nothing_more(records: Records) -> None:
    if not records.shares_listings:
        pytest.skip("one process lists on this platform")
    run, _ = await records.begin_run(RunKind.SYNC)
    begun = Cursor("s1", 0, "a", "z", "a")
    await records.commit(run.id, Page(cursors=[begun]))

    def page(*cursors: Cursor, before: list[Cursor], key: str) -> Page:
        return Page(
            Counts(listed=1), list(cursors), enqueued(key), [Outgoing("m", "{}")], before=before
        )

    shorter, rest = Cursor("s1", 0, "a", "m", "c"), Cursor("s1.1", 0, "m", "z", "m")
    await records.commit(run.id, page(shorter, rest, before=[begun], key="b"))
    late = [
        page(Cursor("s1", 0, "a", "z", "d"), before=[begun], key="d"),
        page(Cursor("s1", 0, "a", "m", "d"), rest, before=[shorter], key="d"),
        page(Cursor("s2", 0, "", "", ""), before=[begun], key="d"),
    ]
    for each in late:
        with pytest.raises(ListingTakenOver):
            await records.commit(run.id, each)
    assert await records.cursors(run.id) == [shorter, rest]
    counts = (await records.get_run(run.id)).counts
    assert (counts.listed, counts.enqueued) == (1, 1)
    assert await records.get(["d"]) == {}
    await records.set_run(run.id, RunState.FAILED)
    with pytest.raises(ListingTakenOver):
        await records.commit(run.id, page(rest, before=[rest], key="n"))


async def test_of_two_who_continue_a_range_one_stores_its_page(records: Records) -> None:
    if not records.shares_listings:
        pytest.skip("one process lists on this platform")
    run, _ = await records.begin_run(RunKind.SYNC)
    begun = Cursor("s1", 0, "", "", "")
    await records.commit(run.id, Page(cursors=[begun]))
    for _ in range(5):
        pages = [
            Page(
                Counts(listed=1), [replace(begun, position=f"{begun.position}{n}")], before=[begun]
            )
            for n in range(4)
        ]
        ends = await asyncio.gather(
            *(records.commit(run.id, page) for page in pages), return_exceptions=True
        )
        assert [type(end) for end in ends if end] == [ListingTakenOver] * 3
        [begun] = await records.cursors(run.id)
    assert (await records.get_run(run.id)).counts.listed == 5


async def test_extras_end_once(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(
        run.id, Page(counts=Counts(delete_enqueued=4), extras=["d", "a", "c", "\udcff"])
    )
    assert await records.extras(run.id, "", 2) == ["a", "c"]
    assert await records.extras(run.id, "c", 9) == ["d", "\udcff"]
    await records.settle_extras(run.id, deleted=["a", "\udcff"], kept=["c"], failed=[])
    await records.settle_extras(run.id, deleted=["a"], kept=[], failed=["c", "d"])
    assert await records.extras(run.id, "", 9) == []
    counts = (await records.get_run(run.id)).counts
    assert (counts.deleted, counts.delete_kept, counts.delete_failed) == (2, 1, 1)


# -------------------------------------------------------------------------------------- the workers


async def test_settle_writes_the_record(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(run.id, Page(enqueued=enqueued("ok", "bad", "gone")))
    failed = Outcome(
        "bad", run.id, Status.FAILED, attempts=5, reason="AccessDenied", detail="key 'b\udcff' é"
    )
    gone = Outcome("gone", run.id, Status.CANCELLED, reason="NoSuchKey")
    assert await records.settle([done("ok", run.id), failed, gone]) == 3
    found = await records.get(["ok", "bad", "gone"])
    for record in found.values():
        assert record.updated > 0
        record.updated = 0
    assert found["ok"] == Record("ok", Status.DONE, run.id, "e1", 10, "d1", "crc64nvme:AAAA", 1)
    assert found["bad"] == Record(
        "bad",
        Status.FAILED,
        run.id,
        "e1",
        10,
        attempts=5,
        reason="AccessDenied",
        detail="key 'b\\udcff' é",
    )
    assert found["gone"].status is Status.CANCELLED
    counts = (await records.get_run(run.id)).counts
    assert (counts.done, counts.failed, counts.cancelled, counts.done_bytes) == (1, 1, 1, 10)


async def test_an_outcome_settles_only_what_was_pending_when_it_came(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.EVENTS)
    await records.commit(run.id, Page(enqueued=enqueued("a", "b")))
    assert await records.settle([done("a", run.id)]) == 1
    await records.commit(run.id, Page(enqueued=enqueued("a")))
    assert await records.settle([done("b", run.id)]) == 1
    assert (await records.get(["a"]))["a"].status is Status.PENDING


@pytest.mark.parametrize("size", [1, 150])
async def test_batches_of_any_size(records: Records, size: int) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    names = [f"k{n:04}" for n in range(size)]
    assert await records.settle([]) == 0
    await records.commit(run.id, Page(enqueued=enqueued(*names), extras=names))
    assert set(await records.get(names)) == set(names)
    assert await records.settle([done(name, run.id) for name in reversed(names)]) == size
    assert await records.settle([done(name, run.id) for name in names]) == 0
    counts = (await records.get_run(run.id)).counts
    assert (counts.enqueued, counts.done, counts.done_bytes) == (size, size, size * 10)


async def test_what_is_cancelled_balances_every_ledger(records: Records) -> None:
    first, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(
        first.id,
        Page(Counts(delete_enqueued=2), enqueued=enqueued("a", "b", "c"), extras=["x", "y"]),
    )
    await records.settle([done("a", first.id), Outcome("b", first.id, Status.FAILED, reason="no")])
    await records.settle_extras(first.id, ["x"], [], [])
    events, _ = await records.begin_run(RunKind.EVENTS)
    await records.commit(events.id, Page(enqueued=enqueued("d")))
    await records.cancel_pending("stopped")
    await records.cancel_pending("stopped again")
    counts = (await records.get_run(first.id)).counts
    assert (counts.enqueued, counts.done, counts.failed, counts.cancelled) == (3, 1, 1, 1)
    assert (counts.delete_enqueued, counts.deleted, counts.delete_kept) == (2, 1, 1)
    run = await records.get_run(events.id)
    assert (run.state, run.error, run.counts.cancelled) == (RunState.FAILED, "stopped", 1)
    found = await records.get(["a", "c", "d"])
    assert {key: record.status for key, record in found.items()} == {
        "a": Status.DONE,
        "c": Status.CANCELLED,
        "d": Status.CANCELLED,
    }
    assert found["d"].reason == "stopped"
    assert await keys_of_page(records, Status.CANCELLED) == ["c", "d"]
    assert await keys_of_page(records, Status.CANCELLED, after="c") == ["d"]
    assert await keys_of_page(records, Status.PENDING) == []
    assert await records.extras(first.id, "", 9) == []
    assert await records.settled(events.id, ["d"]) == {"d"}
    # Another run takes them up.
    again, resumed = await records.begin_run(RunKind.EVENTS)
    assert (again.id > events.id, resumed) == (True, False)
    await records.commit(again.id, Page(enqueued=enqueued("d")))
    assert (await records.get(["d"]))["d"].status is Status.PENDING
    assert await records.settle([done("d", again.id)]) == 1
    assert (await records.get_run(again.id)).counts == Counts(
        enqueued=1, enqueued_bytes=10, done=1, done_bytes=10
    )


async def test_records_that_wait_are_found(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.EVENTS)
    await records.commit(run.id, Page(enqueued=enqueued("a", "b", "c", "d")))

    async def waiting() -> list[str]:
        return await keys_of_page(records, Status.PENDING, limit=2)

    assert await waiting() == ["a", "b"]
    await records.settle([done("a", run.id), Outcome("c", run.id, Status.FAILED, reason="no")])
    assert await waiting() == ["b", "d"]
    await records.settle([Outcome("b", run.id, Status.CANCELLED, reason="NoSuchKey")])
    assert await waiting() == ["d"]
    again, _ = await records.begin_run(RunKind.REDRIVE)
    await records.commit(again.id, Page(enqueued=enqueued("c")))
    assert await waiting() == ["c", "d"]


async def test_events_take_effect_in_order_and_again_when_redelivered(records: Records) -> None:
    assert await records.apply_event("k", "0200")
    assert not await records.apply_event("k", "0100")
    assert await records.apply_event("k", "0200")
    assert await records.apply_event("k", "0300")
    assert await records.apply_event("other", "0100")
    assert await records.get(["k"]) == {}
    run, _ = await records.begin_run(RunKind.EVENTS)
    await records.commit(run.id, Page(enqueued=enqueued("k")))
    await records.settle([done("k", run.id)])
    assert (await records.get(["k"]))["k"].sequencer == "0300"
    assert await keys(records.scan()) == ["k"]


# ------------------------------------------------------------------------------------------ reading


async def test_odd_keys_come_back_as_they_are_and_in_byte_order(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(
        run.id, Page(enqueued=enqueued(*reversed(ODD_KEYS)), extras=list(reversed(ODD_KEYS)))
    )
    in_order = sorted(ODD_KEYS, key=lambda key: key.encode("utf-8", "surrogateescape"))
    assert await keys(records.scan()) == in_order
    assert set(await records.extras(run.id, "", 100)) == set(ODD_KEYS)
    assert set(await records.get(ODD_KEYS)) == set(ODD_KEYS)
    assert await records.settle([Outcome(key, run.id, Status.FAILED) for key in ODD_KEYS]) == len(
        ODD_KEYS
    )
    assert set(await keys(records.scan(status=Status.FAILED))) == set(ODD_KEYS)
    await records.settle_extras(run.id, ODD_KEYS, [], [])
    assert await records.extras(run.id, "", 100) == []


async def test_scan_filters(records: Records) -> None:
    first, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(first.id, Page(enqueued=enqueued("a/1", "a/2", "a/3", "b/1", "b/2")))
    second, _ = await records.begin_run(RunKind.EVENTS)
    await records.commit(second.id, Page(enqueued=enqueued("a/4", "c")))
    await records.settle([Outcome(key, first.id, Status.FAILED) for key in ("a/1", "a/3", "b/1")])
    assert await keys(records.scan(run=second.id)) == ["a/4", "c"]
    assert await keys(records.scan(status=Status.FAILED)) == ["a/1", "a/3", "b/1"]
    assert await keys(records.scan(prefix="a/")) == ["a/1", "a/2", "a/3", "a/4"]
    assert await keys(records.scan(first.id, Status.FAILED, "a/")) == ["a/1", "a/3"]
    assert await keys(records.scan(prefix="z")) == []


async def test_pages_of_what_failed(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    names = [f"a/{n}" for n in range(7)] + ["b/1", "c"]
    await records.commit(run.id, Page(enqueued=enqueued(*names, "good", "gone")))
    await records.settle(
        [
            done("good", run.id),
            Outcome("gone", run.id, Status.CANCELLED, reason="NoSuchKey"),
            *(
                Outcome(
                    key, run.id, Status.FAILED, reason="odd" if n % 2 else "even", detail=f"why {n}"
                )
                for n, key in enumerate(names)
            ),
        ]
    )

    async def found(**which: object) -> list[str]:
        return await keys_of_page(records, Status.FAILED, **which)

    assert await found() == names
    assert await found(limit=2) == names[:2]
    assert await found(after="a/1", limit=2) == names[2:4]
    assert await found(after="a/12") == names[2:]
    assert await found(prefix="a/", after="a/4") == names[5:7]
    assert await found(prefix="b", after="a/4") == ["b/1"]
    assert await found(prefix="a", after="b/1") == []
    assert await found(reason="odd", limit=2) == ["a/1", "a/3"]
    assert await found(run=run.id + 1) == []
    assert await keys_of_page(records, Status.CANCELLED) == ["gone"]
    assert await records.failure_groups(2) == [
        FailureGroup("even", 5, "why 8", ["a/0", "a/2"]),
        FailureGroup("odd", 4, "why 7", ["a/1", "a/3"]),
    ]
    await records.commit(
        run.id, Page(enqueued=enqueued("a/0"))
    )  # a redrive: it is not a failure any more
    assert await found(limit=1) == ["a/1"]


async def test_pages_of_everything_come_to_an_end(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    names = {f"k{n}" for n in range(25)}
    await records.commit(run.id, Page(enqueued=enqueued(*names)))
    seen: list[str] = []
    after, more = "", True
    while more:
        page, after = await records.page(run=run.id, after=after, limit=4)
        seen += [record.key for record in page]
        more = bool(after)
    assert len(seen) == 25
    assert set(seen) == names


# ---------------------------------------------------------------------------------------- the proof


async def test_who_confirmed_the_copies_is_counted(records: Records) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(
        run.id, Page(enqueued=enqueued(*(each.name for each in Verified), "lacks"))
    )
    outcomes = [done(each.name, run.id) for each in Verified] + [done("lacks", run.id)]
    for outcome, verified in zip(outcomes, Verified, strict=False):
        outcome.verified = verified
    outcomes[-1].reason, outcomes[-1].detail = "TagsNotRead", "no tags"
    assert await records.settle(outcomes) == len(outcomes)
    counts = (await records.get_run(run.id)).counts
    assert counts.by_verification == {"store": 1, "etag": 1, "source": 1, "content": 1, "none": 2}
    assert counts.incomplete == 1
    found = await records.get([each.name for each in Verified])
    assert {key: record.verified.name for key, record in found.items()} == {
        key: key for key in found
    }


async def test_the_digest_of_a_run_is_that_of_its_records(records: Records) -> None:
    first, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(first.id, Page(enqueued=enqueued("a", "b", "c\udcff", "pending")))
    await records.settle([done("a", first.id), done("b", first.id)])
    await records.settle([Outcome("c\udcff", first.id, Status.FAILED, reason="no")])
    second, _ = await records.begin_run(RunKind.REDRIVE)
    await records.commit(second.id, Page(enqueued=enqueued("b", etag="e2")))
    await records.settle([done("b", second.id)])
    for run in (first.id, second.id):
        while not await records.read_digest(run, 1):
            pass
        expected = Digest()
        async for record in records.scan(run=run):
            if record.status is not Status.PENDING:
                expected.add(
                    record.key.encode("utf-8", "surrogateescape"),
                    record.size,
                    record.etag,
                    record.dest_etag,
                    record.proof,
                    record.status.value,
                    record.verified.value,
                    record.attempts,
                )
        assert await records.digest(run) == expected


async def test_reconciling_changes_nothing_where_nobody_died(platform: Platform) -> None:
    records = platform.records
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(
        run.id, Page(enqueued=enqueued("a", "b"), messages=[Outgoing("m", "body")])
    )
    await records.settle([done("a", run.id)])
    before = (await records.get_run(run.id)).counts
    for _ in range(2):
        await records.reconcile()
    assert (await records.get_run(run.id)).counts == before
    assert [each.body for each in await platform.queue.receive(10, 60, 0)] == ["body"]
    assert await records.settle([done("b", run.id)]) == 1


async def test_two_processes_count_into_one_ledger(task: OpenTask) -> None:
    records = task.platform.records
    run, _ = await records.begin_run(RunKind.SYNC)
    names = [f"k{number:02}" for number in range(40)]
    await records.commit(run.id, Page(enqueued=enqueued(*names)))
    async with task.beside("w2") as other:
        both = (records, other.records)
        halves = (names[:25], names[15:])
        counted = await asyncio.gather(
            *(
                each.settle([done(key, run.id) for key in half])
                for each, half in zip(both, halves, strict=True)
            )
        )
        assert sum(counted) == 40
        for each in both:
            counts = (await each.get_run(run.id)).counts
            assert (counts.enqueued, counts.done, counts.balanced) == (40, 40, True)
