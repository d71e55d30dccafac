"""Pages in transit: what a finder commits in one step, across a queue and tables that share no
transactions.

The first transaction writes the page (its content was compressed and stored just before) together
with the counts. From then on the page is safe, and any process can repeat the remaining steps: send
the messages, then delete the page. Sending the messages first would lose nothing either, but would
count wrongly: if a finder died and started again, the objects that workers had copied by then would
count as the same, not as enqueued.

Most objects get no record here (`Enqueued.once`). The others become PENDING in the transactions
that count them. If a page has more of them than fit into one transaction, it stores its progress
(`step`), and which objects were already in progress (`pending`): no message is sent for those.

    {"pk": "outbox", "sk": "0000000007#k3y", "run": 7, "step": 1, "pieces": 1,
     "pending": {3, 5}, "at": ...}
    {"pk": "page#0000000007#k3y", "sk": "0000", "page": ..., "expires": ...}
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

from dth.core.errors import StateError
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Enqueued, Outcome, Page, Record, wanted
from dth.core.ports.runs import Cursor
from dth.core.ports.status import Status, Verified
from dth.platforms.aws.client import unbroken
from dth.platforms.aws.dynamo import Dynamo, TransactItem, each_of
from dth.platforms.aws.items import Item, key_extra, key_text, pack, unpack
from dth.platforms.aws.ledger import Ledger
from dth.platforms.aws.queue import AwsQueue, check
from dth.platforms.aws.runs import Runs, count_head, write_cursor

# Attributes to read of the records of enqueued objects.
SEEN = ["ObjectKey", "Status", "Run", "ETag", "Size", "Updated"]
# Records and cursors per transaction, which may have 100 parts.
STEP = 80
# Bytes of a page stored inline. Writing in a transaction costs twice as much.
INLINE = 1500
PIECE = 300_000  # bytes of a page in one item
# Seconds after which a page may be abandoned by the process that committed it.
LEFT_AFTER = 60.0
TRIES = 20
# Seconds after which the pieces of a page that was never begun expire.
EXPIRES = 30 * 86_400


@dataclass(slots=True)
class _StoredPage:
    """A page as stored: what is left to do once it is counted."""

    run: int
    counts: dict[str, int]
    cursors: list[Cursor]
    tracked: list[Enqueued]
    messages: list[Outgoing]
    settled: list[Outcome]
    same: list[Record]
    listed_since: float

    @property
    def steps(self) -> list[list[Enqueued | Cursor]]:
        every: list[Enqueued | Cursor] = [*self.tracked, *self.cursors]
        return [every[first : first + STEP] for first in range(0, len(every), STEP)] or [[]]

    def packed(self) -> bytes:
        # Cursors are in the first transaction unless there are too many.
        lists = (self.cursors, self.tracked, self.messages, self.settled, self.same)
        plain = ([astuple(each) for each in some] for some in lists)
        return pack([self.run, self.counts, *plain, self.listed_since])

    @staticmethod
    def unpacked(data: bytes) -> "_StoredPage":
        # A page written by an older version has no time at its end.
        run, counts, cursors, tracked, messages, settled, same, *since = unpack(data)
        return _StoredPage(
            run,
            counts,
            [Cursor(*each) for each in cursors],
            [Enqueued(*each) for each in tracked],
            [Outgoing(*each) for each in messages],
            [_typed(Outcome(*each)) for each in settled],
            [_typed(Record(*each)) for each in same],
            since[0] if since else 0.0,
        )


class Outbox:
    """Commits the pages of a finder."""

    def __init__(self, dynamo: Dynamo, runs: Runs, ledger: Ledger, queue: AwsQueue) -> None:
        self._dynamo = dynamo
        self._runs = runs
        self._ledger = ledger
        self._queue = queue

    async def commit(self, run: int, page: Page) -> None:
        """Commit a page. Once it is stored, any process can finish it."""
        await unbroken(self._commit(run, page))

    async def flush(self, run: int | None = None) -> None:
        """Finish abandoned pages: those of a run, or all that are old enough to be abandoned."""
        values: dict[str, Any] = {"pk": "outbox"}
        condition = "#pk = :pk"
        if run is not None:
            condition += " AND begins_with(#sk, :run)"
            values["run"] = f"{run:010d}#"
        floor = (await self._runs.floor(now=True)).run
        async for item in self._dynamo.query("state", condition, values):
            if item["run"] <= floor:
                await self._forget(item["sk"], item["pieces"])
            elif run is not None or time.time() - item["at"] > LEFT_AFTER:
                await unbroken(self._resume(item))

    # -------------------------------------------------------------------------------------- details

    async def _commit(self, run: int, page: Page) -> None:
        log = _log_of(run, page)
        check(page.messages)
        await self._dynamo.write_many(
            "state", [_extra(run, key) for key in dict.fromkeys(page.extras)]
        )
        left = page.messages or page.settled or page.same or len(log.steps) > 1
        if not left:
            await self._step(log, 0, None)
            return
        data = log.packed()
        name = f"{run:010d}#{secrets.token_urlsafe(9)}"
        item: Item = {
            "pk": "outbox",
            "sk": name,
            "run": run,
            "at": time.time(),
            "step": 1,
            "pieces": 0,
        }
        if len(data) <= INLINE:
            item["page"] = data
        else:
            pieces = [data[first : first + PIECE] for first in range(0, len(data), PIECE)]
            item["pieces"] = len(pieces)
            await each_of(lambda each: self._put_piece(name, *each), list(enumerate(pieces)))
        begin = TransactItem("state", item=item, condition="attribute_not_exists(#pk)")
        item["pending"] = await self._step(log, 0, begin)
        await self._go_on(log, item)

    async def _put_piece(self, name: str, number: int, piece: bytes) -> None:
        item = {**_piece_key(name, number), "page": piece, "expires": int(time.time()) + EXPIRES}
        await self._dynamo.put("state", item)

    async def _resume(self, item: Item) -> None:
        keys = [_piece_key(item["sk"], number) for number in range(item["pieces"])]
        pieces = await each_of(lambda key: self._dynamo.get("state", key), keys)
        if not all(pieces):
            return  # somebody else has just finished it
        data = b"".join(each["page"] for each in pieces) if pieces else item["page"]
        await self._go_on(_StoredPage.unpacked(data), item)

    async def _go_on(self, log: _StoredPage, item: Item) -> None:
        """The steps that follow once the page is counted as far as `item` says."""
        key = {"pk": "outbox", "sk": item["sk"]}
        while item["step"] < len(log.steps):
            forward = TransactItem(
                "state",
                key,
                update="SET #step = :next",
                condition="#step = :step",
                values={"step": item["step"], "next": item["step"] + 1},
            )
            noted = await self._step(log, item["step"], forward)
            if noted is not None:
                item = {
                    **item,
                    "step": item["step"] + 1,
                    "pending": item.get("pending", set()) | noted,
                }
                continue
            item = await self._dynamo.get("state", key)  # somebody else works on it, too
            if not item:
                return
        if log.settled:
            await self._ledger.settle(log.settled)
        await each_of(self._remember, log.same)
        pending = {log.tracked[number].key for number in item.get("pending", ())}
        await self._queue.send(wanted(log.messages, log.tracked, pending))
        await self._forget(item["sk"], item["pieces"])

    async def _forget(self, name: str, pieces: int) -> None:
        await self._dynamo.delete("state", {"pk": "outbox", "sk": name})
        for number in range(pieces):
            await self._dynamo.delete("state", _piece_key(name, number))

    async def _step(
        self, log: _StoredPage, step: int, forward: TransactItem | None
    ) -> set[int] | None:
        """One transaction, in which `forward` advances the page. Returns which objects are pending,
        by their numbers in the page. None if the page is no longer at this step."""
        steps = log.steps
        tracked = [each for each in steps[step] if isinstance(each, Enqueued)]
        cursors = [write_cursor(log.run, each) for each in steps[step] if isinstance(each, Cursor)]
        for _ in range(TRIES):
            marks, counts, pending = await self._marks(log, tracked)
            if step == len(steps) - 1:
                counts = {
                    name: counts.get(name, 0) + log.counts.get(name, 0)
                    for name in {*counts, *log.counts}
                }
            numbers = {step * STEP + number for number in pending}
            more = [_noting(forward, numbers)] if forward else []
            actions = [*more, count_head(log.run, counts), *cursors, *marks]
            failed = await self._dynamo.transact(actions)
            if not failed:
                return numbers
            if failed[: len(more)] != ["None"] * len(more):
                return None
            if failed[len(more)] != "None":
                raise StateError(f"there is no run {log.run} in the tables")
        raise StateError(f"records of run {log.run} change faster than they can be enqueued")

    async def _marks(
        self, log: _StoredPage, tracked: Sequence[Enqueued]
    ) -> tuple[list[TransactItem], dict[str, int], list[int]]:
        """Returns the actions that make these records PENDING in this run, what they count, and
        which records are PENDING already. A record that is PENDING in another run stays there: its
        mark says that this run writes no outcome for it."""
        run = log.run
        floor = (await self._runs.floor()).run
        mark, pending = f"r{run}", Status.PENDING.value
        wanted = [{"ObjectKey": key_text(each.key)} for each in tracked]
        found = await self._dynamo.get_many("objects", wanted, [*SEEN, mark])
        known = {item["ObjectKey"]: item for item in found}
        actions = []
        counts = {"enqueued": 0, "enqueued_bytes": 0, "pending": 0}
        already = []
        for number, each in enumerate(tracked):
            key = {"ObjectKey": key_text(each.key)}
            item = known.get(key["ObjectKey"], {})
            if log.listed_since and _was_copied(item, each, log.listed_since):
                counts["pending"] += 1
                already.append(number)
                continue
            values: Item = {"run": run, "pending": pending, "floor": floor}
            if item.get("Status") == pending and item["Run"] > floor:
                counts["pending"] += 1
                already.append(number)
                if item["Run"] != run:
                    values |= {"other": item["Run"], "theirs": str(item["Run"])}
                    condition = "#Status = :pending AND #Run = :other"
                    actions.append(
                        TransactItem(
                            "objects", key, None, f"SET #{mark} = :theirs", False, condition, values
                        )
                    )
                continue
            condition = (
                "(attribute_not_exists(#Status) OR #Status <> :pending OR #Run <= :floor) AND "
            )
            if mark in item:
                await self._ledger.settle_mine(run, item[mark])
                condition += f"#{mark} = :mark"
                values["mark"] = item[mark]
            else:
                condition += f"attribute_not_exists(#{mark})"
            update = (
                "SET #Status = :pending, #Attention = :pending, #Run = :run, #Size = :size, "
                "#Updated = :now"
            )
            values |= {"size": each.size, "now": time.time()}
            for name, value in {"ETag": each.etag, **key_extra(each.key)}.items():
                if value:
                    update += f", #{name} = :v{name}"
                    values[f"v{name}"] = value
            gone = "#DestETag, #Proof, #Verified, #Attempts, #Reason, #Detail, #Expires"
            update += f" REMOVE {gone if each.etag else f'{gone}, #ETag'}"
            actions.append(TransactItem("objects", key, None, update, False, condition, values))
            counts["enqueued"] += 1
            counts["enqueued_bytes"] += each.size
        return actions, counts, already

    async def _remember(self, record: Record) -> None:
        """Write a record of an unchanged object, except over a PENDING one: its transfer will write
        a newer record."""
        values = {
            "Status": record.status.value,
            "Run": record.run,
            "ETag": record.etag,
            "Size": record.size,
            "DestETag": record.dest_etag,
            "Proof": record.proof,
            "Verified": record.verified.value,
            "Updated": record.updated or time.time(),
            **key_extra(record.key),
        }
        written = {name: value for name, value in values.items() if value != ""}
        gone = [
            *(name for name in values if name not in written),
            "Attempts",
            "Reason",
            "Detail",
            "Attention",
            # Its ETags differ, or nobody would have asked for a proof: comparisons need it.
            "Expires",
        ]
        update = "SET " + ", ".join(f"#{name} = :{name}" for name in written)
        update += " REMOVE " + ", ".join(f"#{name}" for name in gone)
        await self._dynamo.update(
            "objects",
            {"ObjectKey": key_text(record.key)},
            update,
            "attribute_not_exists(#Status) OR #Status <> :pending OR #Run <= :floor",
            {**written, "pending": Status.PENDING.value, "floor": (await self._runs.floor()).run},
        )


def _log_of(run: int, page: Page) -> _StoredPage:
    """Of an object that occurs twice, one counts as enqueued and the other as pending already."""
    first = {each.key: each for each in reversed(page.enqueued)}
    once = [each for each in first.values() if each.once]
    counts = asdict(page.counts)
    counts["enqueued"] += len(once)
    counts["enqueued_bytes"] += sum(each.size for each in once)
    counts["pending"] += len(page.enqueued) - len(first)
    return _StoredPage(
        run,
        {name: count for name, count in counts.items() if count},
        page.cursors,
        sorted((each for each in first.values() if not each.once), key=lambda each: each.key),
        page.messages,
        page.settled,
        page.same,
        page.listed_since,
    )


def _was_copied(item: Item, each: Enqueued, since: float) -> bool:
    """Whether the record says that the object was copied as listed, after its listing began."""
    same = (item.get("Status"), item.get("ETag"), item.get("Size")) == (
        Status.DONE.value,
        each.etag,
        each.size,
    )
    return same and since <= item.get("Updated", 0.0) <= time.time()


def _noting(forward: TransactItem, pending: set[int]) -> TransactItem:
    """The same action, which also stores which objects of the page are pending."""
    if not pending:
        return forward
    if forward.item is not None:
        return replace(forward, item={**forward.item, "pending": pending})
    update = f"{forward.update} ADD #pending :pending"
    return replace(forward, update=update, values={**forward.values, "pending": pending})


def _typed(each: Any) -> Any:
    """Restore the enums of an outcome or record that were read back as text."""
    each.status, each.verified = Status(each.status), Verified(each.verified)
    return each


def _extra(run: int, key: str) -> Item:
    return {"pk": f"extra#{run:010d}", "sk": key_text(key), **key_extra(key)}


def _piece_key(name: str, number: int) -> Item:
    return {"pk": f"page#{name}", "sk": f"{number:04d}"}
