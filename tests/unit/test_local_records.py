import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.core.ports.records import Enqueued, Outcome, Page, Record
from dth.core.ports.runs import Counts, Cursor, RunKind, RunState
from dth.core.ports.status import Status
from dth.platforms.local import records as records_module
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.records import LocalRecords

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


# --------------------------------------------------------------------------------------------- runs


async def test_prune_forgets_old_ended_runs_but_no_records(records: LocalRecords) -> None:
    events, _ = await records.begin_run(RunKind.EVENTS)
    runs = []
    for n in range(4):
        run, _ = await records.begin_run(RunKind.SYNC)
        await records.commit(
            run.id, Page(cursors=[Cursor("c", 0, "", "", "")], enqueued=enqueued(f"k{n}"))
        )
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


# --------------------------------------------------------------------------------------- the finder


# -------------------------------------------------------------------------------------- the workers


async def test_settling_the_unknown_counts_nothing(records: LocalRecords) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
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
    """At least once, in any order and any batches: outcomes of ten objects of two runs, some of
    them strangers."""
    every = [(key, run) for key in "abcdefghij" for run in (1, 2)]
    some = draw(st.lists(st.sampled_from(every), max_size=40))
    statuses = st.sampled_from([Status.DONE, Status.FAILED, Status.CANCELLED])
    outcomes = [
        Outcome(key, run, draw(statuses), draw(st.integers(0, 100)))
        for key, run in draw(st.permutations(every + some))
    ]
    cuts = sorted(draw(st.lists(st.integers(0, len(outcomes)), max_size=5)))
    return [
        outcomes[start:end] for start, end in zip([0, *cuts], [*cuts, len(outcomes)], strict=True)
    ]


@settings(max_examples=40, deadline=None)
@given(batches=deliveries())
def test_each_outcome_counts_once_whatever_is_delivered(batches: list[list[Outcome]]) -> None:
    """Run 1 has a to e, run 2 has f to j: the first outcome of each counts, all others are
    nothing."""
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


# ------------------------------------------------------------------------------------------ reading


async def test_a_scan_in_pages_has_odd_keys_in_byte_order(
    records: LocalRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "SCAN_PAGE", 3)
    run, _ = await records.begin_run(RunKind.SYNC)
    await records.commit(run.id, Page(enqueued=enqueued(*reversed(ODD_KEYS))))
    assert await keys(records.scan()) == ODD_KEYS


async def test_a_scan_in_pages_filters(
    records: LocalRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
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
async def test_scan_with_a_prefix_at_the_end_of_its_range(
    records: LocalRecords, prefix: str
) -> None:
    run, _ = await records.begin_run(RunKind.SYNC)
    inside = [prefix, prefix + "\x00", prefix + "z", prefix + "\udcff\udcff"]
    outside = ["A", "\x00", "b", "\udcfe"]
    await records.commit(run.id, Page(enqueued=enqueued(*inside, *outside)))
    assert await keys(records.scan(prefix=prefix)) == inside


def details(connection: Connection, statement: str, values: Any) -> list[str]:
    """How SQLite finds what is asked for, step by step."""
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


async def test_failures_are_found_without_reading_all_records(database: TaskDatabase) -> None:
    statement, parameters = records_module._scan_statement(None, Status.FAILED, b"")
    plan = await database.read(details, statement, {**parameters, "after": b""})
    assert any("record_unfinished" in step for step in plan)
    assert not any("ORDER BY" in step for step in plan)


FILTERS = [
    {"run": run, "status": status, "prefix": prefix, "reason": reason}
    for run in (None, 7)
    for status in (None, *Status)
    for prefix in (b"", b"m/")
    for reason in ("", "AccessDenied")
]


@pytest.mark.parametrize("which", FILTERS)
async def test_every_page_is_found_by_an_index(
    database: TaskDatabase, which: dict[str, Any]
) -> None:
    statement, parameters = records_module._scan_statement(**which)
    plan = await database.read(details, statement, {**parameters, "after": b"a"})
    first = plan[0]
    assert first.startswith("SEARCH record"), plan
    assert "key>" in first, plan
    assert ("key<" in first) == bool(which["prefix"]), plan
    assert not any("ORDER BY" in step for step in plan), plan
    unfinished = which["status"] in (Status.FAILED, Status.CANCELLED)
    narrowed = {
        "run=?": which["run"] is not None
        and (unfinished or not (which["reason"] or which["status"] is Status.PENDING)),
        "status=?": unfinished and (which["run"] is not None or not which["reason"]),
        "reason=?": bool(which["reason"]) and not (unfinished and which["run"] is not None),
        "record_pending": which["status"] is Status.PENDING and not which["reason"],
    }
    assert {name for name, expected in narrowed.items() if expected} == {
        name for name in narrowed if name in first
    }, plan


@pytest.mark.parametrize("which", FILTERS)
async def test_every_page_has_what_was_asked_for(
    records: LocalRecords, which: dict[str, Any]
) -> None:
    """The same whether SQL or Python looks."""
    for number in range(7):
        run, _ = await records.begin_run(RunKind.SYNC)
        names = [
            f"{folder}{run.id}-{n}" for folder in ("a/", "m/", "m", "m/x", "z") for n in range(4)
        ]
        await records.commit(run.id, Page(enqueued=enqueued(*names)))
        await records.settle(
            [
                Outcome(key, run.id, status, reason=reason)
                for key in names
                for status, reason in [
                    [
                        (Status.DONE, ""),
                        (Status.FAILED, "AccessDenied"),
                        (Status.CANCELLED, "AccessDenied"),
                        (Status.PENDING, ""),
                    ][int(key[-1])]
                ]
                if status is not Status.PENDING
            ]
        )
        if number < 6:
            await records.set_run(run.id, RunState.DONE)
    prefix = which["prefix"].decode()
    expected = [
        record.key
        async for record in records.scan()
        if (which["run"] in (None, record.run))
        and which["status"] in (None, record.status)
        and record.key.startswith(prefix)
        and which["reason"] in ("", record.reason)
    ]
    found: list[str] = []
    after, more = "", True
    while more:
        page, after = await records.page(**{**which, "prefix": prefix}, after=after, limit=3)
        found += [record.key for record in page]
        more = bool(after)
    assert found == expected
    assert expected or which["status"] in (Status.DONE, Status.PENDING)


async def test_what_is_settled_finds_its_records_by_their_keys(database: TaskDatabase) -> None:
    for statement in (
        records_module.FIND_AWAITED,
        records_module.SETTLE,
        records_module.COUNT_OUTCOMES,
        records_module.FIND_TAKEN_OVER,
    ):
        plan = await database.write(details, statement, (0.0,) * statement.count("?"))
        assert [step for step in plan if "record" in step and "outcome" not in step], plan
        assert all(
            "key=?" in step for step in plan if step.startswith(("SEARCH record", "SCAN record"))
        ), plan
