import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.errors import UsageError
from dth.platforms.local import records as records_module
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.queue import LocalQueue
from dth.platforms.local.records import LocalRecords
from dth.platforms.ports import (
    Counts,
    Cursor,
    Enqueued,
    Outcome,
    Outgoing,
    Page,
    Record,
    RunKind,
    RunState,
    Status,
)

# In byte order; the lone surrogates stand for bytes that are not UTF-8.
ODD_KEYS = [
    "\x00",
    "\x00a",
    "..",
    "//",
    "a\x00b",
    "a/../b",
    "\udc80",
    "\u00e9",
    "\uffff",
    "\U0001f600",
    "\udcff",
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[TaskDatabase]:
    with TaskDatabase.open(tmp_path / "task.db") as opened:
        yield opened


@pytest.fixture
def records(database: TaskDatabase) -> LocalRecords:
    return LocalRecords(database)


def enqueued(*keys: str, size: int = 10, etag: str = "e1") -> list[Enqueued]:
    return [Enqueued(key, size, etag, "m") for key in keys]


def done(key: str, run: int, size: int = 10) -> Outcome:
    return Outcome(key, run, Status.DONE, size, "e1", "d1", "crc64nvme:AAAA")


async def keys(scan: AsyncIterator[Record]) -> list[str]:
    return [record.key async for record in scan]


# ------------------------------------------------------------------------------------------------- runs


async def test_an_unfinished_run_is_resumed_a_finished_one_is_not(records: LocalRecords) -> None:
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


async def test_a_run_that_does_not_exist(records: LocalRecords) -> None:
    with pytest.raises(UsageError):
        await records.get_run(7)


async def test_notes_are_kept_once_and_in_order(records: LocalRecords) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    for note in ("z", "a", "z"):
        await records.add_note(run.id, note)
    assert (await records.get_run(run.id)).notes == ["z", "a"]


async def test_the_first_reason_of_a_pause_stays(records: LocalRecords) -> None:
    assert await records.paused() == ""
    await records.pause("bucket missing")
    await records.pause("credentials expired")
    assert await records.paused() == "bucket missing"
    await records.resume()
    assert await records.paused() == ""
    await records.pause("")
    assert await records.paused() != ""


async def test_prune_forgets_old_ended_runs_but_no_records(records: LocalRecords) -> None:
    events, _ = await records.begin_run(RunKind.EVENTS)
    runs = []
    for n in range(4):
        run, _ = await records.begin_run(RunKind.SYNC)
        await records.commit(run.id, Page(cursors=[Cursor("c", 0, "", "", "")], enqueued=enqueued(f"k{n}")))
        await records.add_note(run.id, "note")
        await records.set_run(run.id, RunState.DONE)
        runs.append(run.id)
    assert await records.prune(2) == 2
    assert [run.id for run in await records.list_runs()] == [runs[3], runs[2], events.id]
    assert await records.cursors(runs[0]) == []
    assert len(await records.cursors(runs[3])) == 1
    assert await keys(records.scan()) == ["k0", "k1", "k2", "k3"]
    assert await records.settle([done("k0", runs[0])]) == 1
    assert await records.prune(0) == 2
    new, _ = await records.begin_run(RunKind.SYNC)
    assert new.id > runs[3]


# ------------------------------------------------------------------------------------------- the finder


async def test_commit_writes_everything_together(records: LocalRecords, database: TaskDatabase) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    cursor = Cursor("c1", 0, "", "m", "b")
    page = Page(
        counts=Counts(listed=3, same=1, dest_listed=5),
        cursors=[cursor],
        enqueued=enqueued("a", "b"),
        messages=[Outgoing("m1", "body")],
        extras=["x"],
        same=[Record("c", Status.DONE, run.id, "e", 7, "d")],
    )
    await records.commit(run.id, page)
    assert (await records.get_run(run.id)).counts == Counts(
        listed=3, same=1, dest_listed=5, enqueued=2, enqueued_bytes=20
    )
    assert await records.cursors(run.id) == [cursor]
    assert await records.extras(run.id, "", 10) == ["x"]
    found = await records.get(["a", "c", "nothing"])
    assert found["a"] == Record("a", Status.PENDING, run.id, "e1", 10, updated=found["a"].updated)
    assert found["c"] == Record("c", Status.DONE, run.id, "e", 7, "d", updated=found["c"].updated)
    assert set(found) == {"a", "c"}
    assert [d.body for d in await LocalQueue(database, "w").receive(10, 60, 0)] == ["body"]


async def test_commit_writes_all_or_nothing(records: LocalRecords) -> None:
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


async def test_what_is_pending_from_an_earlier_run_stays_with_it(records: LocalRecords) -> None:
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
    assert found["b"] == Record("b", Status.PENDING, second.id, "e2", 10, updated=found["b"].updated)
    assert await records.settle([done("a", second.id)]) == 0
    assert await records.settle([done("a", first.id)]) == 1


async def test_a_key_twice_in_one_run_is_enqueued_once(records: LocalRecords) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(run.id, Page(enqueued=enqueued("a", "a")))
    await records.commit(run.id, Page(enqueued=enqueued("a")))
    counts = (await records.get_run(run.id)).counts
    assert (counts.enqueued, counts.pending, counts.enqueued_bytes) == (1, 2, 10)


async def test_remembering_does_not_touch_what_is_on_its_way(records: LocalRecords) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(run.id, Page(enqueued=enqueued("a")))
    await records.commit(run.id, Page(same=[Record("a", Status.DONE, run.id, "e9", 9, "d9")]))
    assert (await records.get(["a"]))["a"].status is Status.PENDING
    assert await records.settle([done("a", run.id)]) == 1


async def test_cursors_are_replaced_and_come_in_order(records: LocalRecords) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    second, first = Cursor("z", 0, "\udcff", "", "\udcff"), Cursor("a", 0, "", "\udcff", "")
    await records.commit(run.id, Page(cursors=[second, Cursor("b", 1, "", "", ""), first]))
    first = Cursor("a", 0, "", "\udcff", "x\x00", finished=True)
    await records.commit(run.id, Page(cursors=[first]))
    assert await records.cursors(run.id) == [first, second, Cursor("b", 1, "", "", "")]


async def test_extras_end_once(records: LocalRecords) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(run.id, Page(counts=Counts(delete_enqueued=4), extras=["d", "a", "c", "\udcff"]))
    assert await records.extras(run.id, "", 2) == ["a", "c"]
    assert await records.extras(run.id, "c", 9) == ["d", "\udcff"]
    await records.settle_extras(run.id, deleted=["a", "\udcff"], kept=["c"], failed=[])
    await records.settle_extras(run.id, deleted=["a"], kept=[], failed=["c", "d"])
    assert await records.extras(run.id, "", 9) == []
    counts = (await records.get_run(run.id)).counts
    assert (counts.deleted, counts.delete_kept, counts.delete_failed) == (2, 1, 1)


# ------------------------------------------------------------------------------------------ the workers


async def test_settle_writes_the_record(records: LocalRecords) -> None:
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
        "bad", Status.FAILED, run.id, "e1", 10, attempts=5, reason="AccessDenied", detail="key 'b\\udcff' é"
    )
    assert found["gone"].status is Status.CANCELLED
    counts = (await records.get_run(run.id)).counts
    assert (counts.done, counts.failed, counts.cancelled, counts.done_bytes) == (1, 1, 1, 10)


async def test_an_outcome_settles_only_what_was_pending_when_it_came(records: LocalRecords) -> None:
    run, _ = await records.begin_run(RunKind.EVENTS)
    await records.commit(run.id, Page(enqueued=enqueued("a", "b")))
    assert await records.settle([done("a", run.id)]) == 1
    await records.commit(run.id, Page(enqueued=enqueued("a")))
    assert await records.settle([done("b", run.id)]) == 1
    assert (await records.get(["a"]))["a"].status is Status.PENDING


async def test_settling_nothing_or_the_unknown_counts_nothing(records: LocalRecords) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    assert await records.settle([]) == 0
    assert await records.settle([done("unknown", run.id), done("unknown", 99)]) == 0
    assert (await records.get_run(run.id)).counts == Counts()


@pytest.mark.parametrize("size", [1, 127, 128, 129, 300])
async def test_batches_of_any_size(records: LocalRecords, size: int) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    names = [f"k{n:04}" for n in range(size)]
    await records.commit(run.id, Page(enqueued=enqueued(*names), extras=names))
    assert set(await records.get(names)) == set(names)
    assert await records.settle([done(name, run.id) for name in reversed(names)]) == size
    assert await records.settle([done(name, run.id) for name in names]) == 0
    counts = (await records.get_run(run.id)).counts
    assert (counts.enqueued, counts.done, counts.done_bytes) == (size, size, size * 10)


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[Outcome]]:
    """At least once, in any order and any batches: outcomes of ten objects of two runs, some of them strangers."""
    every = [(key, run) for key in "abcdefghij" for run in (1, 2)]
    some = draw(st.lists(st.sampled_from(every), max_size=40))
    statuses = st.sampled_from([Status.DONE, Status.FAILED, Status.CANCELLED])
    outcomes = [
        Outcome(key, run, draw(statuses), draw(st.integers(0, 100)))
        for key, run in draw(st.permutations(every + some))
    ]
    cuts = sorted(draw(st.lists(st.integers(0, len(outcomes)), max_size=5)))
    return [outcomes[start:end] for start, end in zip([0, *cuts], [*cuts, len(outcomes)], strict=True)]


@settings(max_examples=40, deadline=None)
@given(batches=deliveries())
def test_each_outcome_counts_once_whatever_is_delivered(batches: list[list[Outcome]]) -> None:
    """Run 1 has a to e, run 2 has f to j: the first outcome of each counts, all others are nothing."""
    expected: dict[int, Counts] = {
        1: Counts(enqueued=5, enqueued_bytes=50),
        2: Counts(enqueued=5, enqueued_bytes=50),
    }
    status: dict[str, Status] = {}
    for outcome in (outcome for batch in batches for outcome in batch):
        if outcome.run == (1 if outcome.key <= "e" else 2) and outcome.key not in status:
            status[outcome.key] = outcome.status
            counts = expected[outcome.run]
            counts.done += outcome.status is Status.DONE
            counts.failed += outcome.status is Status.FAILED
            counts.cancelled += outcome.status is Status.CANCELLED
            counts.done_bytes += outcome.bytes if outcome.status is Status.DONE else 0

    async def settle() -> None:
        first, _ = await records.begin_run(RunKind.SYNC)
        second, _ = await records.begin_run(RunKind.EVENTS)
        await records.commit(first.id, Page(enqueued=enqueued(*"abcde")))
        await records.commit(second.id, Page(enqueued=enqueued(*"fghij")))
        assert sum([await records.settle(batch) for batch in batches]) == 10
        for run in (first.id, second.id):
            counts = (await records.get_run(run)).counts
            assert counts == expected[run]
            assert counts.enqueued == counts.done + counts.failed + counts.cancelled
        assert {record.key: record.status async for record in records.scan()} == status

    with (
        tempfile.TemporaryDirectory() as directory,
        TaskDatabase.open(Path(directory) / "task.db") as database,
    ):
        records = LocalRecords(database)
        asyncio.run(settle())


async def test_events_take_effect_in_order_and_again_when_redelivered(records: LocalRecords) -> None:
    assert await records.apply_event("k", "0200")
    assert not await records.apply_event("k", "0100")
    assert await records.apply_event("k", "0200")
    assert await records.apply_event("k", "0300")
    assert await records.apply_event("other", "0100")
    run, _ = await records.begin_run(RunKind.EVENTS)
    await records.commit(run.id, Page(enqueued=enqueued("k")))
    assert (await records.get(["k"]))["k"].sequencer == "0300"


# ---------------------------------------------------------------------------------------------- reading


async def test_odd_keys_come_back_as_they_are_and_in_byte_order(
    records: LocalRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "SCAN_PAGE", 3)
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(
        run.id, Page(enqueued=enqueued(*reversed(ODD_KEYS)), extras=list(reversed(ODD_KEYS)))
    )
    assert await keys(records.scan()) == ODD_KEYS
    assert await records.extras(run.id, "", 100) == ODD_KEYS
    assert set(await records.get(ODD_KEYS)) == set(ODD_KEYS)
    assert await records.settle([done(key, run.id) for key in ODD_KEYS]) == len(ODD_KEYS)


async def test_scan_filters(records: LocalRecords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "SCAN_PAGE", 2)
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


@pytest.mark.parametrize("prefix", ["\udcff", "a\udcff", "\U0010ffff", "\x7f", "a"])
async def test_scan_with_a_prefix_at_the_end_of_its_range(records: LocalRecords, prefix: str) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    inside = [prefix, prefix + "\x00", prefix + "z", prefix + "\udcff\udcff"]
    outside = ["A", "\x00", "b", "\udcfe"]
    await records.commit(run.id, Page(enqueued=enqueued(*inside, *outside)))
    assert await keys(records.scan(prefix=prefix)) == inside


async def test_failures_are_found_without_reading_all_records(database: TaskDatabase) -> None:
    statement, parameters = records_module._scan_statement(None, Status.FAILED, b"")
    plan = await database.read(
        lambda c: c.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", {**parameters, "after": b""}).all()
    )
    assert any("record_unfinished" in row.detail for row in plan)
    assert not any("ORDER BY" in row.detail for row in plan)
