"""The record of each object, and how outcomes are written."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dth.core.digest import Digest
from dth.core.errors import HubError
from dth.core.ports.queue import Outgoing
from dth.core.ports.runs import Counts, Cursor, Run, RunKind, RunState
from dth.core.ports.status import Status, Verified


@dataclass(slots=True)
class Record:
    """What the hub knows about one object.

    `etag` and `size` are the source's when the object was last enqueued. `dest_etag` is what the
    destination answered. `proof` is `algorithm:base64` of the bytes sent, and `verified` says who
    confirmed them. On a DONE record, `reason` says what the copy lacks, for example tags that could
    not be read.
    """

    key: str
    status: Status
    run: int
    etag: str = ""
    size: int = 0
    dest_etag: str = ""
    proof: str = ""
    attempts: int = 0
    reason: str = ""  # error class or code; groups failures
    detail: str = ""  # the one-line message
    updated: float = 0.0
    sequencer: str = ""  # of the last event applied, padded
    verified: Verified = Verified.NOT


@dataclass(slots=True)
class Outcome:
    """The end of one object's transfer in one run. It counts once, however often it is written.

    On a DONE outcome, `reason` says what the copy lacks. `sequencer` is the last event known when
    the transfer began: if a later event has come since, the outcome ends nothing. None: the outcome
    counts whatever events came.
    """

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
    """Failed objects that have the same reason."""

    reason: str
    count: int
    detail: str  # of one of these objects
    keys: list[str]  # a few examples
    more: bool = False  # there may be more than were counted


@dataclass(slots=True)
class Enqueued:
    """One object that the finder enqueues, with the message that carries it.

    `once`: the run enqueues the object only here, and nobody reads its record before it has an
    outcome. So a platform need not write a record until then.
    """

    key: str
    size: int
    etag: str
    message: str  # id of the message
    once: bool = False


@dataclass(slots=True)
class Page:
    """What the finder commits in one step: cursors, counts, records and messages, all or nothing.

    `listed_since`: when the listings that this page is based on began; 0 without listings. An
    object that was copied after that time, in the listed state, counts as pending: the
    destination's listing may be older than the copy.
    """

    counts: Counts = field(default_factory=Counts)  # increments
    # Inserted or replaced, by id.
    cursors: list[Cursor] = field(default_factory=list)
    enqueued: list[Enqueued] = field(default_factory=list)
    messages: list[Outgoing] = field(default_factory=list)
    # Outcomes of objects in `enqueued` that end at once.
    settled: list[Outcome] = field(default_factory=list)
    # Destination keys without a source (mirror mode).
    extras: list[str] = field(default_factory=list)
    # Objects that a HEAD proved the same. They are remembered with status DONE.
    same: list[Record] = field(default_factory=list)
    listed_since: float = 0.0
    # Where several processes list: the cursors that this page replaces, as they were last
    # committed. None: this process lists alone.
    before: list[Cursor] | None = None


class ListingTakenOver(HubError):
    """Another process has continued this part of a listing, or the run lists no more."""


def check_before(run: RunState | None, page: Page, found: Sequence[Cursor]) -> None:
    """Raise ListingTakenOver unless the run still lists and the cursors that the page replaces are
    as the page expects. `found`: those of its cursors that are stored."""
    assert page.before is not None
    expected, stored = ({each.id: each for each in cursors} for cursors in (page.before, found))
    if run is not RunState.LISTING or expected != stored:
        raise ListingTakenOver("another process has continued this part of the listing")


def wanted(
    messages: Sequence[Outgoing], enqueued: Sequence[Enqueued], pending: Collection[str]
) -> list[Outgoing]:
    """The messages to send when `pending` are the keys already pending: not those that carry only
    such keys."""
    if not pending:
        return list(messages)
    carried = {each.message for each in enqueued}
    needed = {each.message for each in enqueued if each.key not in pending}
    return [message for message in messages if message.id in needed or message.id not in carried]


async def pages(
    records: "Records", *, status: Status, prefix: str = "", reason: str = "", limit: int
) -> AsyncIterator[list[Record]]:
    """All pages of records, none of them empty."""
    after, more = "", True
    while more:
        found, after = await records.page(
            status=status, prefix=prefix, reason=reason, after=after, limit=limit
        )
        if found:
            yield found
        more = bool(after)


class Records(Protocol):
    """The records and run ledgers of one task.

    An object in flight has one owner: the run in which its record is PENDING. No other run sends a
    message for it, and messages of other runs do not copy it. `overlapping` says whether this also
    holds for objects enqueued `once`. If not, a listing begins only when the runs before it have
    settled everything.

    `shares_listings`: `commit` heeds `Page.before`, so that several processes can list for one run.
    """

    overlapping: bool
    shares_listings: bool

    async def begin_run(self, kind: RunKind, *, beside: bool = False) -> tuple[Run, bool]:
        """The unfinished run of this kind (True: resumed), or a new run (False). With `beside`, a
        run that has listed everything counts as finished: the new run begins while the last objects
        of the old one are in flight."""
        ...

    async def get_run(self, run: int) -> Run:
        """The run with this id. Raises UsageError if there is none."""
        ...

    async def list_runs(self, limit: int = 20) -> list[Run]:
        """Runs, newest first."""
        ...

    async def set_run(self, run: int, state: RunState, error: str = "") -> None:
        """Set the state of the run. DONE and FAILED set `ended`."""
        ...

    async def add_note(self, run: int, note: str) -> None:
        """Add a line to the run's notes. Adding the same line again does nothing."""
        ...

    async def pause(self, reason: str) -> None:
        """Pause the task: no process takes new work until `resume`. The first reason is kept."""
        ...

    async def resume(self) -> None:
        """End the pause: processes take new work again."""
        ...

    async def paused(self) -> str:
        """Why the task is paused; "" if it is not."""
        ...

    async def cursors(self, run: int) -> list[Cursor]:
        """The committed cursors of the run, from which a finder resumes."""
        ...

    async def commit(self, run: int, page: Page) -> None:
        """The outbox: stores the page and its messages together, or nothing.

        Counts every item of `page.enqueued` itself; `page.counts` leaves `enqueued`,
        `enqueued_bytes` and `pending` at
        0. If the record is PENDING already, the item counts as `pending` and stays with its run.
           Otherwise it counts as
        `enqueued`, and the record becomes PENDING in this run. A message whose objects are all
        `pending` is not sent. If a platform writes no record for items enqueued `once`, they count
        only as `enqueued`. Raises ListingTakenOver if the stored cursors are not `page.before`.
        """
        ...

    async def extras(self, run: int, after: str, limit: int) -> list[str]:
        """Destination keys above `after` without a source, not settled yet, in key order."""
        ...

    async def settle_extras(
        self, run: int, deleted: Sequence[str], kept: Sequence[str], failed: Sequence[str]
    ) -> None:
        """Record the end of each key once, and update the run's delete counters."""
        ...

    async def get(self, keys: Sequence[str]) -> dict[str, Record]:
        """The records of these keys. Keys without a record are not included."""
        ...

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Write each outcome that its run waits for, and update the run's counters. Returns how
        many counted.

        A run waits for an object if its record is PENDING in that run, or has not been written
        since it was enqueued there. If an event later than the outcome's `sequencer` took effect,
        nothing is written: the run still waits, and the object must be transferred again.
        """
        ...

    async def settled(self, run: int, keys: Sequence[str]) -> set[str]:
        """Those of the keys for which this run waits for no outcome any more: their messages are
        not needed. Keys without a record are not included."""
        ...

    async def reconcile(self) -> None:
        """Finish writes that dead processes left incomplete. Harmless at any time; the controller
        calls it."""
        ...

    async def digest(self, run: int) -> Digest:
        """What a certificate says about the records that belong to the run."""
        ...

    async def read_digest(self, run: int, limit: int) -> bool:
        """Add up to `limit` records to the digest of a run, where the platform does not keep it, or
        did not when the run began. Returns True when the digest is complete. Others may write
        records in the meantime."""
        ...

    async def cancel_pending(self, reason: str) -> None:
        """When nothing is in flight any more: PENDING records become CANCELLED, objects still to be
        deleted are kept, and unfinished runs become FAILED. So every ledger balances."""
        ...

    def scan(
        self, run: int | None = None, status: Status | None = None, prefix: str = ""
    ) -> AsyncIterator[Record]:
        """Records in key order, read in pages. May read every record of the task."""
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
    ) -> tuple[list[Record], str]:
        """Up to `limit` records after the key `after`, in key order, and the key after which the
        next page begins; "" at the end. For DONE records, and for all together, a platform may use
        an order of its own. A platform that finds little may end a page early, even an empty one:
        somebody waits."""
        ...

    async def failure_groups(self, examples: int = 3) -> list[FailureGroup]:
        """The failed records grouped by reason, the most frequent first. A platform that cannot
        read all of them while somebody waits counts a part, and says so (`more`)."""
        ...

    async def apply_event(self, key: str, sequencer: str) -> bool:
        """Remember that the event with this (padded) sequencer takes effect on `key`. Returns False
        if a later event already did: drop this one. Returns True for the same event again: the
        first attempt may not have finished."""
        ...
