"""The records and run ledgers of one task in DynamoDB: implements `ports.Records` from these parts.

| what | where |
|---|---|
| runs, notes, cursors, the pause | `runs` |
| pages of the finder | `outbox` |
| outcomes of the workers, and their counting | `ledger` |
| reading records, events, deletes of mirror mode | here |

Most objects have no record before their outcome, so an object that is only enqueued is not found
here. A record is PENDING if the object was tried before (a redrive), or may be enqueued again in
its run (an event, an image).
"""

import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TypeVar

from dth.core.digest import LENGTH, Digest
from dth.core.ports.records import FailureGroup, Outcome, Page, Record
from dth.core.ports.runs import KEPT_RUNS, Cursor, Run, RunKind, RunState
from dth.core.ports.status import Status, Verified
from dth.platforms.aws.client import unbroken
from dth.platforms.aws.dynamo import Dynamo, TransactItem
from dth.platforms.aws.items import Item, key_extra, key_of, key_text, line
from dth.platforms.aws.ledger import RUNS_LOOKED_AT, Ledger
from dth.platforms.aws.outbox import Outbox
from dth.platforms.aws.queue import AwsQueue
from dth.platforms.aws.runs import Floor, Runs, count_head, head_key
from dth.platforms.aws.tables import ATTENTION

T = TypeVar("T")

SETTLE_AT_ONCE = 80  # keys per transaction
INDEXED = (Status.FAILED, Status.CANCELLED, Status.PENDING)
SPOOL_PIECE = 1000
# Reads for one page, of 1 MB each: a function that answers the API has half a minute.
PAGES_READ = 80
# What is kept of a digest besides its total.
DIGESTED = ("done", "failed", "cancelled", "confirmed")
DIGEST_KEPT = 86_400  # seconds
FRESH = 60.0  # seconds


class AwsRecords:
    """`ports.Records` over DynamoDB. `writer` names this process; no other live process has this
    name."""

    overlapping = False
    # The page of a finder takes several transactions, and only the last one writes its cursors.
    shares_listings = False

    def __init__(self, dynamo: Dynamo, queue: AwsQueue, writer: str) -> None:
        self._dynamo = dynamo
        self._runs = Runs(dynamo)
        self._ledger = Ledger(dynamo, self._runs, writer)
        self._outbox = Outbox(dynamo, self._runs, self._ledger, queue)

    def expire_after(self, days: int) -> None:
        """Let DynamoDB delete records of objects copied from now on, that many days (at least 30,
        because messages may be as old) after no run needs them any more. 0: none."""
        self._ledger.expire_after(days)

    # ----------------------------------------------------------------------------------------- runs

    async def begin_run(self, kind: RunKind, *, beside: bool = False) -> tuple[Run, bool]:
        run, resumed = await self._runs.begin(kind, beside)
        if not resumed and run.id > KEPT_RUNS:
            await self._prune(run.id - KEPT_RUNS)
        return run, resumed

    async def _prune(self, number: int) -> None:
        """Delete the ledgers, notes and cursors of a run that has ended. The records stay."""
        run = await self._runs.find(number)
        if run is None or run.is_open:
            return
        partitions = [head_key(number)["pk"], f"cursors#{number:010d}", f"extra#{number:010d}"]
        for partition in partitions:
            found = self._dynamo.query("state", "#pk = :pk", {"pk": partition})
            keys = [{"pk": item["pk"], "sk": item["sk"]} async for item in found]
            await self._dynamo.write_many("state", deletes=keys)

    async def get_run(self, run: int) -> Run:
        return await self._runs.get(run)

    async def list_runs(self, limit: int = 20) -> list[Run]:
        return await self._runs.newest(limit)

    async def set_run(self, run: int, state: RunState, error: str = "") -> None:
        await self._runs.set(run, state, error)

    async def add_note(self, run: int, note: str) -> None:
        await self._runs.note(run, note)

    async def pause(self, reason: str) -> None:
        await self._runs.pause(reason)

    async def resume(self) -> None:
        await self._runs.resume()

    async def paused(self) -> str:
        return await self._runs.paused()

    # ----------------------------------------------------------------------------------- the finder

    async def cursors(self, run: int) -> list[Cursor]:
        # The caller continues where the previous caller stopped.
        await self._outbox.flush(run)
        return await self._runs.cursors(run)

    async def commit(self, run: int, page: Page) -> None:
        await self._outbox.commit(run, page)

    async def extras(self, run: int, after: str, limit: int) -> list[str]:
        condition, values = "#pk = :pk", {"pk": f"extra#{run:010d}"}
        if after:
            condition, values = (
                f"{condition} AND #sk > :after",
                {**values, "after": key_text(after)},
            )
        found = self._dynamo.query("state", condition, values, limit=limit)
        return [key_of(item, "sk") for item in await _first(found, limit)]

    async def settle_extras(
        self, run: int, deleted: Sequence[str], kept: Sequence[str], failed: Sequence[str]
    ) -> None:
        ends = [(key, "deleted") for key in deleted]
        ends += [(key, "delete_kept") for key in kept] + [(key, "delete_failed") for key in failed]
        first = list(dict(reversed(ends)).items())
        for start in range(0, len(first), SETTLE_AT_ONCE):
            await unbroken(self._settle_extras(run, first[start : start + SETTLE_AT_ONCE]))

    async def _settle_extras(self, run: int, ends: list[tuple[str, str]]) -> None:
        """Settle in one transaction. Deletes that were settled before are left out."""
        while ends:
            actions = [
                TransactItem(
                    "state",
                    {"pk": f"extra#{run:010d}", "sk": key_text(key)},
                    delete=True,
                    condition="attribute_exists(#pk)",
                )
                for key, _ in ends
            ]
            counts: dict[str, int] = {}
            for _, end in ends:
                counts[end] = counts.get(end, 0) + 1
            codes = await self._dynamo.transact([*actions, count_head(run, counts)])
            if not codes or codes[-1] != "None":  # done, or there is no such run
                return
            ends = [end for end, code in zip(ends, codes[:-1], strict=True) if code == "None"]

    # ---------------------------------------------------------------------------------- the workers

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        return await self._ledger.settle(outcomes)

    async def settled(self, run: int, keys: Sequence[str]) -> set[str]:
        return await self._ledger.settled(run, keys)

    async def reconcile(self) -> None:
        await self._ledger.reconcile()
        await self._outbox.flush()

    async def cancel_pending(self, reason: str) -> None:
        runs = await self._runs.cancel(reason)
        for run in runs:
            extras = self._dynamo.query("state", "#pk = :pk", {"pk": f"extra#{run:010d}"})
            await self._dynamo.write_many(
                "state", deletes=[{"pk": item["pk"], "sk": item["sk"]} async for item in extras]
            )
        await self._outbox.flush()

    async def apply_event(self, key: str, sequencer: str) -> bool:
        written = await self._dynamo.update(
            "objects",
            {"ObjectKey": key_text(key)},
            "SET #Sequencer = :new"
            + (", #Key = :key" if key_extra(key) else "")
            # The outcome of its transfer sets it again.
            + " REMOVE #Expires",
            "attribute_not_exists(#Sequencer) OR #Sequencer <= :new",
            {"new": sequencer, "key": key_extra(key).get("Key", b"")},
        )
        return written.ok

    # -------------------------------------------------------------------------------------- reading

    async def get(self, keys: Sequence[str]) -> dict[str, Record]:
        floor = await self._runs.floor()
        wanted = [{"ObjectKey": text} for text in {key_text(key) for key in keys}]
        found = [
            _record(item, floor)
            for item in await self._dynamo.get_many("objects", wanted)
            if "Status" in item
        ]
        return {record.key: record for record in found}

    async def scan(
        self, run: int | None = None, status: Status | None = None, prefix: str = ""
    ) -> AsyncIterator[Record]:
        """Records that are not DONE come from the index; for others the whole table is read, and
        sorted on disk."""
        found = self._find(run, status, prefix)
        if status in INDEXED:
            async for record in found:
                yield record
            return
        with tempfile.TemporaryDirectory(prefix="dth-records-") as folder:
            spool = await asyncio.to_thread(_Spool, Path(folder) / "records.db")
            try:
                while piece := await _first(found, SPOOL_PIECE):
                    await asyncio.to_thread(spool.add, piece)
                for record in spool.sorted():
                    yield record
            finally:
                spool.close()

    async def digest(self, run: int) -> Digest:
        """The digest that `read_digest` has read, while no run has changed a record since.
        Otherwise this call reads all records, if it has the time: if not, the digest is not
        complete."""
        item = await self._dynamo.get("state", _digest_key(run))
        if item and await self._is_current(item):
            return _digest(item)
        digest = Digest()
        digest.complete = not await self._add_records(run, digest, "", 0)
        return digest

    async def read_digest(self, run: int, limit: int) -> bool:
        """What was read is kept for a day, so that another call continues there."""
        item = await self._dynamo.get("state", _digest_key(run))
        if item and "after" not in item:
            if await self._is_current(item):
                return True
            item = {}
        digest = _digest(item)
        after = await self._add_records(run, digest, item.get("after", ""), limit)
        now = time.time()
        await self._dynamo.put(
            "state",
            {
                **_digest_key(run),
                "total": digest.total.to_bytes(LENGTH, "big"),
                **{name: getattr(digest, name) for name in DIGESTED},
                "after": after,
                "at": now,
                "mark": await self._mark(),
                "expires": int(now) + DIGEST_KEPT,
            },
        )
        return not after

    async def _add_records(self, run: int, digest: Digest, after: str, limit: int) -> str:
        """Add the records of the run whose stored keys come after `after`, at most `limit` of them
        (0: any number) and those of a bounded part of the table. Returns where to continue; "" at
        the end."""
        floor = await self._runs.floor()
        added = 0
        async for item in self._dynamo.scan(
            "objects",
            "attribute_exists(#Status) AND #Run = :run",
            {"run": run},
            {"ObjectKey": after} if after else None,
            PAGES_READ,
        ):
            place = str(item["ObjectKey"])
            if "Status" not in item:
                return place
            record = _record(item, floor)
            if record.status is not Status.PENDING:
                digest.add(
                    record.key.encode("utf-8", "surrogateescape"),
                    record.size,
                    record.etag,
                    record.dest_etag,
                    record.proof,
                    record.status.value,
                    record.verified.value,
                    record.attempts,
                )
                added += 1
            if added == limit != 0:
                return place
        return ""

    async def _is_current(self, item: Item) -> bool:
        """Whether a digest is of the records as they are, or were a moment ago, for whoever has
        just had it read."""
        if "after" in item:
            return False
        fresh: bool = time.time() - item["at"] < FRESH
        return fresh or item["mark"] == await self._mark()

    async def _mark(self) -> str:
        """It changes whenever the newest runs change a record."""
        runs = await self._runs.newest(RUNS_LOOKED_AT)
        changes = [
            run.counts.pending + run.counts.same + run.counts.enqueued
            + run.counts.done + run.counts.failed + run.counts.cancelled
            for run in runs
        ]  # fmt: skip
        return f"{max((run.id for run in runs), default=0)}/{sum(changes)}"

    async def page(
        self,
        *,
        run: int | None = None,
        status: Status | None = None,
        prefix: str = "",
        reason: str = "",
        after: str = "",
        limit: int = 100,
    ) -> tuple[list[Record], str]:
        floor = await self._runs.floor()
        found: list[Record] = []
        async for item in self._items(run, status, prefix, reason, after, PAGES_READ):
            if "Status" not in item:
                return found, await self._whole_key(item)
            if record := _wanted(item, floor, status, reason):
                found.append(record)
                if len(found) == limit:
                    return found, record.key
        return found, ""

    async def _whole_key(self, item: Item) -> str:
        """The key of an item of which only its place is known. The text of a long key is a
        hash."""
        key = {"ObjectKey": item["ObjectKey"]}
        return key_of(await self._dynamo.get("objects", key) or key)

    async def failure_groups(self, examples: int = 3) -> list[FailureGroup]:
        groups: dict[str, FailureGroup] = {}
        floor, more = await self._runs.floor(), False
        async for item in self._items(None, Status.FAILED, "", most=PAGES_READ):
            if "Status" not in item:
                more = True
                break
            record = _record(item, floor)
            group = groups.setdefault(record.reason, FailureGroup(record.reason, 0, "", []))
            group.count += 1
            group.detail = max(group.detail, record.detail)
            if len(group.keys) < examples:
                group.keys.append(record.key)
        for group in groups.values():
            group.more = more
        return sorted(groups.values(), key=lambda group: (-group.count, group.reason))[:100]

    async def _find(
        self, run: int | None, status: Status | None, prefix: str
    ) -> AsyncIterator[Record]:
        """All records: in key order if the index is used, otherwise in the order of the table."""
        floor = await self._runs.floor()
        async for item in self._items(run, status, prefix):
            if record := _wanted(item, floor, status):
                yield record

    async def _items(
        self,
        run: int | None,
        status: Status | None,
        prefix: str,
        reason: str = "",
        after: str = "",
        most: int = 0,
    ) -> AsyncIterator[Item]:
        """The items of records above `after`, and some more that are not `_wanted`. `most`: as in
        `Dynamo.scan`."""
        reason = line(reason)
        filters = ["attribute_exists(#Status)"]
        values: Item = {}
        # Of what was cancelled as a whole, no record says why.
        stored = reason if status in (Status.FAILED, Status.DONE) else ""
        for name, wanted in (("Run", run), ("Reason", stored or None)):
            if wanted is not None:
                filters.append(f"#{name} = :{name}")
                values[name] = wanted
        if status in INDEXED:
            # What was cancelled as a whole is stored as PENDING.
            kept = [status, Status.PENDING] if status is Status.CANCELLED else [status]
            found = [
                self._attention(
                    each, key_text(prefix), " AND ".join(filters), values, key_text(after), most
                )
                for each in kept
            ]
            items = _in_order(found)
        else:
            if status is not None:
                filters.append("#Status = :Status")
                values["Status"] = status.value
            if prefix:
                filters.append("begins_with(#ObjectKey, :prefix)")
                values["prefix"] = key_text(prefix)
            start = {"ObjectKey": key_text(after)} if after else None
            items = self._dynamo.scan("objects", " AND ".join(filters), values, start, most)
        async for item in items:
            yield item

    async def _attention(
        self, status: Status, prefix: str, filter: str, values: Item, after: str, most: int
    ) -> AsyncIterator[Item]:
        condition = "#Attention = :status"
        values = {**values, "status": status, "prefix": prefix, "after": after}
        if after and after >= prefix:
            condition += " AND #ObjectKey > :after"
        elif prefix:
            condition += " AND begins_with(#ObjectKey, :prefix)"
        found = self._dynamo.query(
            "objects", condition, values, index=ATTENTION.name, filter=filter, most=most
        )
        async for item in found:
            if not item["ObjectKey"].startswith(prefix):
                return  # they come in order: there are no more
            yield item


class _Spool:
    """Sorts records by key, in a file."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(
            "CREATE TABLE record (key BLOB PRIMARY KEY, record TEXT) WITHOUT ROWID"
        )

    def add(self, records: Sequence[Record]) -> None:
        rows = [(r.key.encode("utf-8", "surrogateescape"), json.dumps(astuple(r))) for r in records]
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR REPLACE INTO record VALUES (?, ?)", rows)
        self._database.execute("COMMIT")

    def sorted(self) -> Iterator[Record]:
        for (text,) in self._database.execute("SELECT record FROM record ORDER BY key"):
            key, status, *rest = json.loads(text)
            record = Record(key, Status(status), *rest)
            record.verified = Verified(record.verified)
            yield record

    def close(self) -> None:
        self._database.close()


def _wanted(item: Item, floor: Floor, status: Status | None, reason: str = "") -> Record | None:
    """The record, if it has this status and reason: those that were cancelled as a whole are stored
    as PENDING, and without a reason."""
    record = _record(item, floor)
    is_wanted = status in (None, record.status) and line(reason) in ("", record.reason)
    return record if is_wanted else None


def _digest_key(run: int) -> Item:
    return {"pk": f"digest#{run:010d}", "sk": "digest"}


def _digest(item: Item) -> Digest:
    counts = [item.get(name, 0) for name in DIGESTED]
    return Digest(int.from_bytes(item.get("total", b""), "big"), *counts)


async def _in_order(sources: Sequence[AsyncIterator[Item]]) -> AsyncIterator[Item]:
    """The items of all sources, each in key order, in key order."""
    heads = [(await anext(source, None), source) for source in sources]
    while waiting := [(item, source) for item, source in heads if item is not None]:
        first, source = min(waiting, key=lambda head: head[0]["ObjectKey"])
        yield first
        heads = [(await anext(of, None) if of is source else item, of) for item, of in waiting]


async def _first(found: AsyncIterator[T], limit: int) -> list[T]:
    """The next `limit` items of an iterator."""
    taken: list[T] = []
    while len(taken) < limit:
        try:
            taken.append(await anext(found))
        except StopAsyncIteration:
            break
    return taken


def _record(item: Item, floor: Floor) -> Record:
    record = Record(
        key_of(item),
        Status(item["Status"]),
        item["Run"],
        item.get("ETag", ""),
        item.get("Size", 0),
        item.get("DestETag", ""),
        item.get("Proof", ""),
        item.get("Attempts", 0),
        item.get("Reason", ""),
        item.get("Detail", ""),
        item.get("Updated", 0.0),
        item.get("Sequencer", ""),
        Verified(item.get("Verified", "")),
    )
    if record.status is Status.PENDING and record.run <= floor.run:
        record.status, record.reason = Status.CANCELLED, floor.reason
    return record
