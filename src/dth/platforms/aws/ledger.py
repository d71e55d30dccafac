"""The outcomes of objects, each counted once without a transaction per object.

A process that writes a batch of outcomes first announces it in its ledger (one item per run and
process): the name of the batch, and what it is about to write, which is an item of its own if it is
large. It then writes each record with the name of the batch in `r<run>`: new records many at once,
others with one conditional update, unless another batch has stored its name there. A last update
adds up what was written and clears the announcement. A large announcement is not in the ledger,
because that is written twice, and in the partition of the run, which all processes share.

A process that finds an abandoned announcement reads the records and counts those that carry the
name of the batch; `counted` says which ones were counted. So any process can count a batch at any
time, even while its writer is alive and continues: the first process that sees a record counts it.

    {"pk": "run#0000000007", "sk": "ledger#worker-1", "done": 12, ...,
     "batch": "7/worker-1/s3cr", "counted": "0", "at": ...}
    {"pk": "intent#7/worker-1/s3cr", "sk": "intent", "intent": ..., "expires": ...}

With `expire_after`, DynamoDB deletes records that no run needs any more, some time after `Expires`.
From the first of these moments on, a run has no certificate: its ledgers name them (`until<days>`).

A record belongs to the run that wrote it last. While it is PENDING, that is the run that must end
it; the outcomes of other runs are counted, but do not change the record.
"""

import asyncio
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from dth.core.ports.records import Outcome
from dth.core.ports.status import Status
from dth.platforms.aws.client import unbroken
from dth.platforms.aws.dynamo import Dynamo, each_of
from dth.platforms.aws.items import Item, key_extra, key_text, line, pack, unpack
from dth.platforms.aws.runs import UNTIL, Runs, head_key

BATCH_OUTCOMES = 1000
# Bytes of keys before compression: an item holds 400 KB.
BATCH_BYTES = 250_000
# Runs whose mark a record keeps: for that many transfers of it, a message may arrive late.
KEPT_MARKS = 16
# Seconds after which a batch may be abandoned by its writer.
LEFT_AFTER = 60.0
# Seconds after which nobody writes to a batch any more.
FORGET_AFTER = 3600.0
# Bytes of an announcement that is written in the ledger itself: it is one write unit still.
SMALL = 600
# Seconds after which what was announced is deleted, long after anybody counts it.
KEPT_INTENTS = 7 * 86_400
# Batches that do without inserts after one in which most records existed.
NO_INSERTS = 20
DAY = 86_400
RUNS_LOOKED_AT = 20  # the newest ones
COUNTERS = {Status.DONE: "done", Status.FAILED: "failed", Status.CANCELLED: "cancelled"}
ATTENTION = (Status.FAILED, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """The announcement of one outcome."""

    key: str
    status: Status
    bytes: int
    verified: str = ""
    incomplete: bool = False


class Ledger:
    """`writer` names this process; no other live process has this name."""

    def __init__(self, dynamo: Dynamo, runs: Runs, writer: str) -> None:
        self._dynamo = dynamo
        self._runs = runs
        self._writer = writer
        self._lock = asyncio.Lock()  # one batch at a time
        # How long records are kept that no run needs any more. 0: as long as the task.
        self._days = 0
        self._no_inserts = 0  # for this many more batches

    def expire_after(self, days: int) -> None:
        """See `AwsRecords.expire_after`."""
        self._days = days

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Write the outcomes, and count those that were not written before. Returns how many were
        counted."""
        # Of two outcomes for one object, the first.
        first = {(each.key, each.run): each for each in reversed(outcomes)}
        batches = list(_batches(first.values()))
        return await unbroken(self._settle(batches)) if batches else 0

    async def settle_mine(self, run: int, batch: str) -> None:
        """Count what is left of this batch, before its marks are overwritten."""
        if "/" not in batch:
            # The mark names the other run that has the object.
            return
        item = await self._dynamo.get(
            "state", _ledger_key(run, batch.split("/", 1)[1].rpartition("/")[0])
        )
        if item.get("batch") == batch:
            await self._look(run, item)

    async def reconcile(self) -> None:
        """Count what dead writers have written but not counted."""
        now = time.time()
        for run in await self._runs.numbers(RUNS_LOOKED_AT):
            for item in await self._runs.ledgers(run):
                begun, looked = item.get("at", now), item.get("looked", 0.0)
                if "batch" in item and now - begun > LEFT_AFTER and looked - begun < FORGET_AFTER:
                    await self._look(run, item)

    async def settled(self, run: int, keys: Sequence[str]) -> set[str]:
        """Those of the keys whose outcome in this run is written, or is not wanted any more."""
        if run <= (await self._runs.floor(now=True)).run:
            return set(keys)
        by_text = {key_text(key): key for key in keys}
        wanted = [{"ObjectKey": text} for text in by_text]
        mark = f"r{run}"
        found = await self._dynamo.get_many("objects", wanted, ["ObjectKey", "Status", "Run", mark])
        return {
            by_text[item["ObjectKey"]] for item in found if mark in item and not _is_due(item, run)
        }

    # ------------------------------------------------------------------------------------ one batch

    async def _settle(self, batches: list[list[Outcome]]) -> int:
        async with self._lock:
            return sum([await self._batch(outcomes[0].run, outcomes) for outcomes in batches])

    async def _batch(self, run: int, outcomes: list[Outcome]) -> int:
        entries = [_entry(each) for each in outcomes]
        batch = f"{run}/{self._writer}/{secrets.token_urlsafe(6)}"
        await self._announce(run, batch, entries)
        floor = (await self._runs.floor()).run
        inserted = await self._insert(outcomes, batch)
        others = [each for each, done in zip(outcomes, inserted, strict=True) if not done]
        rest = iter(await each_of(lambda outcome: self._write(outcome, batch, floor), others))
        written = [done or next(rest) for done in inserted]
        await self._count(run, self._writer, batch, entries, _mask(written), last=True)
        return sum(written)

    async def _announce(self, run: int, batch: str, entries: list[LedgerEntry]) -> None:
        now = time.time()
        intent = pack([list(astuple(each)) for each in entries])
        values = {"batch": batch, "none": "0", "now": now, "intent": intent}
        update = "SET #batch = :batch, #counted = :none, #at = :now"
        if self._days:
            until = f"{UNTIL}{self._days}"
            update += f", #{until} = if_not_exists(#{until}, :until)"
            values["until"] = int(now) + self._days * DAY
        if len(intent) <= SMALL:
            update += ", #intent = :intent REMOVE #looked"
        else:
            kept = {"intent": intent, "expires": int(now) + KEPT_INTENTS}
            await self._dynamo.put("state", {**_intent_key(batch), **kept})
            update += " REMOVE #looked, #intent"
        while True:
            put = await self._dynamo.update(
                "state",
                _ledger_key(run, self._writer),
                update,
                "attribute_not_exists(#batch) OR #batch = :batch",
                values,
            )
            if put.ok:
                return
            await self._look(run, put.old, last=True)  # left by an earlier life of this process

    async def _insert(self, outcomes: list[Outcome], batch: str) -> list[bool]:
        """Write the outcomes of objects without a record, many at once: nothing can be in their
        way. False for those that `_write` must look at."""
        if self._no_inserts:
            self._no_inserts -= 1
            return [False] * len(outcomes)
        inserted = await self._dynamo.insert_many(
            "objects",
            [
                {
                    "ObjectKey": key_text(each.key),
                    **{name: value for name, value in self._values(each).items() if value != ""},
                    f"r{each.run}": batch,
                }
                for each in outcomes
            ],
        )
        if 2 * sum(inserted) < len(outcomes):
            self._no_inserts = NO_INSERTS
        return inserted

    async def _write(self, outcome: Outcome, batch: str, floor: int) -> bool:
        """Write one outcome, unless this run has written one before. The condition makes sure that
        it is counted once."""
        mark = f"r{outcome.run}"
        key = {"ObjectKey": key_text(outcome.key)}
        update, values = _record(self._values(outcome), mark)
        values |= {
            "run": outcome.run,
            "batch": batch,
            "pending": Status.PENDING.value,
            "floor": floor,
        }
        values["known"] = outcome.sequencer
        condition = (
            f"(#Run = :run AND #Status = :pending{_not_overtaken(outcome)}) OR "
            f"(attribute_not_exists(#{mark}) AND (attribute_not_exists(#Run) OR (#Run <= :run "
            "AND (#Status <> :pending OR #Run <= :floor))))"
        )
        front = await self._dynamo.update("objects", key, update, condition, values)
        if front.ok:
            await self._forget_marks(key, front.old, outcome.run)
            return True
        if mark in front.old:
            return bool(front.old[mark] == batch)  # our own; its answer was lost
        if _is_due(front.old, outcome.run):
            # An event overtook it: the object is transferred again.
            return False
        # A later run has written the record or waits for it: this outcome is only counted.
        late = await self._dynamo.update(
            "objects",
            key,
            f"SET #{mark} = :batch",
            f"attribute_not_exists(#{mark})",
            {"batch": batch},
        )
        return late.ok or bool(late.old.get(mark) == batch)

    def _values(self, outcome: Outcome) -> Item:
        """What a record says after this outcome; "" for nothing."""
        now = time.time()
        written: Item = {
            "Status": outcome.status.value,
            "Run": outcome.run,
            "Attempts": outcome.attempts,
            "Updated": now,
            "DestETag": outcome.dest_etag,
            "Proof": outcome.proof,
            "Verified": outcome.verified.value,
            "Reason": line(outcome.reason),
            "Detail": line(outcome.detail),
            "Attention": outcome.status.value if outcome.status in ATTENTION else "",
            "Expires": "",
        }
        # A failure may not know the ETag; the record then keeps its own.
        if outcome.etag:
            written["ETag"] = outcome.etag
        if outcome.status is Status.DONE:
            written["Size"] = outcome.bytes
        if self._days and _is_needless(outcome):
            written["Expires"] = int(now) + self._days * DAY
        return written | key_extra(outcome.key)

    async def _forget_marks(self, key: Item, item: Item, run: int) -> None:
        """A record keeps only the marks of the last runs that wrote it."""
        marks = sorted((int(name[1:]) for name in item if is_mark(name)), reverse=True)
        old = [number for number in marks[KEPT_MARKS:] if number != run]
        if old:
            removed = ", ".join(f"#r{number}" for number in old)
            await self._dynamo.update("objects", key, f"REMOVE {removed}")

    async def _count(
        self,
        run: int,
        writer: str,
        batch: str,
        entries: list[LedgerEntry],
        written: int,
        *,
        last: bool,
        known: int = 0,
    ) -> None:
        """Add what was written but not counted. `written` and `known` are bit sets, one bit per
        entry; `last` clears the announcement."""
        while True:
            added = _tally(entries, written & ~known)
            update = "REMOVE #batch, #intent, #counted, #at, #looked"
            if not last:
                update = "SET #counted = :counted, #looked = :now"
            if added:
                update += " ADD " + ", ".join(f"#{name} :{name}" for name in added)
            values = {
                "batch": batch,
                "known": f"{known:x}",
                "counted": f"{written | known:x}",
                "now": time.time(),
            }
            counted = await self._dynamo.update(
                "state",
                _ledger_key(run, writer),
                update,
                "#batch = :batch AND #counted = :known",
                {**values, **added},
            )
            if counted.ok or counted.old.get("batch") != batch:
                return
            # Somebody else counted some of them in the meantime.
            known = int(counted.old["counted"], 16)

    async def _look(self, run: int, item: Item, *, last: bool = False) -> None:
        """Count the outcomes of an announced batch that are found written."""
        announced = await self._announced(item)
        entries = [LedgerEntry(key, Status(status), *rest) for key, status, *rest in announced]
        batch, mark, known = item["batch"], f"r{run}", int(item["counted"], 16)
        missing = [
            {"ObjectKey": key_text(e.key)} for n, e in enumerate(entries) if not known >> n & 1
        ]
        found = await self._dynamo.get_many("objects", missing, ["ObjectKey", mark])
        ours = {each["ObjectKey"] for each in found if each.get(mark) == batch}
        written = _mask([key_text(each.key) in ours for each in entries])
        writer = item["sk"].removeprefix("ledger#")
        await self._count(run, writer, batch, entries, written, last=last, known=known)

    async def _announced(self, item: Item) -> list[Any]:
        found = (
            item
            if "intent" in item
            else await self._dynamo.get("state", _intent_key(item["batch"]))
        )
        return unpack(found["intent"]) if found else []


def is_mark(name: str) -> bool:
    """Whether an attribute of a record is a run's mark."""
    return name[0] == "r" and name[1:].isdecimal()


def _is_due(item: Item, run: int) -> bool:
    return item.get("Status") == Status.PENDING and item.get("Run") == run


def _entry(outcome: Outcome) -> LedgerEntry:
    lacks = outcome.status is Status.DONE and bool(outcome.reason)
    return LedgerEntry(outcome.key, outcome.status, outcome.bytes, outcome.verified.value, lacks)


def _not_overtaken(outcome: Outcome) -> str:
    """The condition that no later event took effect since the transfer began."""
    if outcome.sequencer is None:
        return ""
    return (
        " AND #Sequencer = :known" if outcome.sequencer else " AND attribute_not_exists(#Sequencer)"
    )


def _ledger_key(run: int, writer: str) -> Item:
    return {"pk": head_key(run)["pk"], "sk": f"ledger#{writer}"}


def _intent_key(batch: str) -> Item:
    return {"pk": f"intent#{batch}", "sk": "intent"}


def _is_needless(outcome: Outcome) -> bool:
    """Whether no run needs the record any more when late messages are gone. A comparison needs one
    only where both sides show different ETags, and a giant upload that nobody has ended yet needs
    the one of its object, whose ETag is of parts."""
    return (
        outcome.status is Status.DONE
        and not outcome.reason
        and outcome.etag == outcome.dest_etag != ""
        and "-" not in outcome.etag
    )


def _record(written: Item, mark: str) -> tuple[str, Item]:
    """The update of a record, and the values that it needs in addition to those of the
    condition."""
    sets = [f"#{name} = :w{name}" for name, value in written.items() if value != ""]
    removes = [f"#{name}" for name, value in written.items() if value == ""]
    update = f"SET {', '.join([*sets, f'#{mark} = :batch'])}"
    if removes:
        update += f" REMOVE {', '.join(removes)}"
    return update, {f"w{name}": value for name, value in written.items() if value != ""}


def _batches(outcomes: Iterable[Outcome]) -> Iterable[list[Outcome]]:
    """Batches with outcomes of one run each, small enough to be announced."""
    by_run: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        by_run.setdefault(outcome.run, []).append(outcome)
    for of_run in by_run.values():
        held: list[Outcome] = []
        size = 0
        for outcome in of_run:
            length = 6 * len(outcome.key) + 32
            if held and (len(held) == BATCH_OUTCOMES or size + length > BATCH_BYTES):
                yield held
                held, size = [], 0
            held.append(outcome)
            size += length
        yield held


def _tally(entries: Sequence[LedgerEntry], which: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    for number, entry in enumerate(entries):
        if which >> number & 1:
            counter = COUNTERS[entry.status]
            counts[counter] = counts.get(counter, 0) + 1
            if entry.status is Status.DONE:
                more = {"done_bytes": entry.bytes, "incomplete": int(entry.incomplete)}
                if entry.verified:
                    more[f"verified_{entry.verified}"] = 1
                for name, number_more in more.items():
                    if number_more:
                        counts[name] = counts.get(name, 0) + number_more
    return counts


def _mask(bits: Iterable[bool]) -> int:
    return sum(1 << number for number, bit in enumerate(bits) if bit)
