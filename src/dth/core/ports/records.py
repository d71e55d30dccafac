"""What is known of each object: its record, and how outcomes are written."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dth.core.digest import Digest
from dth.core.ports.queue import Outgoing
from dth.core.ports.runs import Counts, Cursor, Run, RunKind, RunState
from dth.core.ports.status import Status, Verified


@dataclass(slots=True)
class Record:
    """What is known of one object. `etag` and `size` are the source's when it was last enqueued;
    `dest_etag` is what the destination answered; `proof` is `algorithm:base64` of the bytes sent, and `verified`
    says who confirmed them. A reason on a DONE record says what the copy lacks (tags that could not be read)."""

    key: str
    status: Status
    run: int
    etag: str = ""
    size: int = 0
    dest_etag: str = ""
    proof: str = ""
    attempts: int = 0
    reason: str = ""  # error class or code: groups failures
    detail: str = ""  # the one-line message
    updated: float = 0.0
    sequencer: str = ""  # of the last event applied, padded
    verified: Verified = Verified.NOT


@dataclass(slots=True)
class Outcome:
    """The end of one object's transfer in one run. Counted once, however often it is written. A reason on a DONE
    outcome says what the copy lacks. `sequencer` is the last event that was known when the transfer began: it ends
    nothing if a later one came since. None: whatever came."""

    key: str
    run: int
    status: Status  # DONE, FAILED or CANCELLED
    bytes: int = 0
    etag: str = ""  # the source ETag that was copied
    dest_etag: str = ""
    proof: str = ""
    attempts: int = 1
    reason: str = ""
    detail: str = ""
    verified: Verified = Verified.NOT
    sequencer: str | None = None


@dataclass(slots=True)
class FailureGroup:
    """Failed objects with one reason."""

    reason: str
    count: int
    detail: str  # of one of them
    keys: list[str]  # a few of them


@dataclass(slots=True)
class Enqueued:
    """One object the finder enqueues, with the message that carries it. `once`: its run enqueues it nowhere else, and
    nobody asks for its record before it has an outcome: a platform need not write one until then."""

    key: str
    size: int
    etag: str
    message: str  # id of the message
    once: bool = False


@dataclass(slots=True)
class Page:
    """What the finder commits in one step: cursors, counts, records and messages, all or nothing.

    `listed_since`: when the listings behind it began; 0 if there are none. An object that was copied after that, as it
    is listed, counts as pending: the listing of the destination may be older than its copy.
    """

    counts: Counts = field(default_factory=Counts)  # increments
    cursors: list[Cursor] = field(default_factory=list)  # inserted or replaced, by id
    enqueued: list[Enqueued] = field(default_factory=list)
    messages: list[Outgoing] = field(default_factory=list)
    settled: list[Outcome] = field(default_factory=list)  # of objects in `enqueued` that end at once
    extras: list[str] = field(default_factory=list)  # destination keys without a source (mirror mode)
    same: list[Record] = field(default_factory=list)  # proven same by a HEAD: remembered, status DONE
    listed_since: float = 0.0


def wanted(
    messages: Sequence[Outgoing], enqueued: Sequence[Enqueued], pending: Collection[str]
) -> list[Outgoing]:
    """The messages to be sent when these keys turn out to be pending: not those that carry nothing else."""
    if not pending:
        return list(messages)
    carried = {each.message for each in enqueued}
    needed = {each.message for each in enqueued if each.key not in pending}
    return [message for message in messages if message.id in needed or message.id not in carried]


class Records(Protocol):
    """The records and run ledgers of one task.

    An object in flight has one owner: the run in which its record is PENDING. No other run sends a message for it, and
    a message of another run copies nothing. `overlapping` says whether that holds for what is enqueued `once`, too: if
    not, a listing begins when the runs before it have settled everything."""

    overlapping: bool

    async def begin_run(self, kind: RunKind, *, beside: bool = False) -> tuple[Run, bool]:
        """The unfinished run of this kind (True: resumed), or else a new one (False). With `beside`, one that has
        listed everything counts as finished: the new one begins while its last objects are on their way."""
        ...

    async def get_run(self, run: int) -> Run: ...

    async def list_runs(self, limit: int = 20) -> list[Run]:
        """Newest first."""
        ...

    async def set_run(self, run: int, state: RunState, error: str = "") -> None:
        """Move the run on. DONE and FAILED set `ended`."""
        ...

    async def add_note(self, run: int, note: str) -> None:
        """Add a line to the run's notes once; the same line again is nothing."""
        ...

    async def pause(self, reason: str) -> None:
        """Pause the task: no process takes new work until `resume`. The first reason stays."""
        ...

    async def resume(self) -> None: ...

    async def paused(self) -> str:
        """Why the task is paused; "" while it is not."""
        ...

    async def cursors(self, run: int) -> list[Cursor]: ...

    async def commit(self, run: int, page: Page) -> None:
        """The outbox: page and messages are safe together, or nothing is. Counts every item of `page.enqueued` itself
        (`page.counts` leaves `enqueued`, `enqueued_bytes` and `pending` at 0): as `pending` where the record is PENDING
        already (it stays with its run), else as `enqueued`, the record becoming PENDING in this run. A message all of
        whose objects are `pending` is not sent.
        Where a platform writes no record of what is enqueued `once`, it counts as `enqueued` and as nothing else."""
        ...

    async def extras(self, run: int, after: str, limit: int) -> list[str]:
        """Destination keys without a source that are not settled yet, in order, above `after`."""
        ...

    async def settle_extras(
        self, run: int, deleted: Sequence[str], kept: Sequence[str], failed: Sequence[str]
    ) -> None:
        """Write the end of each, once, with the run's delete counters."""
        ...

    async def get(self, keys: Sequence[str]) -> dict[str, Record]: ...

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Write each outcome that its run waits for (its record is PENDING in that run, or has not been written since
        it was enqueued there), with the run's counters. Returns how many counted. Where an event later than the
        outcome's `sequencer` took effect nothing is written: the run still waits, and the object must be transferred
        again."""
        ...

    async def settled(self, run: int, keys: Sequence[str]) -> set[str]:
        """Of these, those of which this run waits for no outcome any more: their messages are no longer wanted. What
        nothing is known of is not among them."""
        ...

    async def reconcile(self) -> None:
        """Finish what processes that died had begun to write here. Harmless at any time; the controller does it."""
        ...

    async def digest(self, run: int) -> Digest:
        """What a certificate says of the records that are the run's."""
        ...

    async def read_digest(self, run: int, limit: int) -> bool:
        """Add up to `limit` records to the digest of a run that began before digests were kept. True: it is complete.
        Others may write records meanwhile."""
        ...

    async def cancel_pending(self, reason: str) -> None:
        """Nothing is in flight any more: what is PENDING becomes CANCELLED, what was to be deleted is kept, and
        unfinished runs end as FAILED, so that every ledger balances."""
        ...

    def scan(
        self, run: int | None = None, status: Status | None = None, prefix: str = ""
    ) -> AsyncIterator[Record]:
        """Records in key order, read in pages. It may read every record there is."""
        ...

    async def page(
        self,
        *,
        run: int | None = None,
        status: Status | None = None,
        prefix: str = "",
        reason: str = "",
        after: str = "",
        limit: int = 100,
    ) -> list[Record]:
        """Up to `limit` records that come after the key `after`: in key order, except that a platform may have an
        order of its own for what is neither FAILED nor CANCELLED."""
        ...

    async def failure_groups(self, examples: int = 3) -> list[FailureGroup]:
        """The failed records by reason, the most frequent first."""
        ...

    async def apply_event(self, key: str, sequencer: str) -> bool:
        """Remember that the event with this (padded) sequencer takes effect on `key`. False when a later one already
        did: drop the event. The same event again is True: it may not have come to its end the first time."""
        ...
