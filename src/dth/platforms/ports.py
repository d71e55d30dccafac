"""What a plugin needs of a platform: the queue, the records, the shared limits.

Two implementations stand behind each `Protocol`: SQL on one machine (`platforms.local`) and the managed services of
AWS (SQS, DynamoDB). The suites in `tests/contract` hold both to what is said here: `test_queue` for `Queue`, and so on;
a new platform has to pass them. Contracts are written so that both fit: delivery is at least once, every write is
idempotent, and nothing here needs a transaction across two ports. A method that takes a sequence does it in as few
calls as the platform allows and either does all of it or raises.

Keys are `str` holding the store's UTF-8 bytes decoded with `surrogateescape`; code point order is byte order.
Times are seconds since the epoch (`float`).
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from dth.platforms.digest import Digest

# --------------------------------------------------------------------------------------------------- queue


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent. `id` is deterministic: sending the same id twice is one message (or a harmless copy)."""

    id: str
    body: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message received under a lease. `receives` counts this one; `receipt` proves the lease."""

    id: str
    body: str
    receives: int
    receipt: str


@dataclass(frozen=True, slots=True)
class Depth:
    visible: int
    in_flight: int
    delayed: int


class Queue(Protocol):
    """At-least-once queue. A message received more often than `max_receives` goes to the dead messages instead."""

    async def send(self, messages: Sequence[Outgoing], delay: float = 0.0) -> None:
        """Enqueue all of them, each visible after `delay` seconds. Returns only when all are safe."""
        ...

    async def receive(self, limit: int, lease: float, wait: float) -> list[Delivery]:
        """Up to `limit` visible messages, each ours for `lease` seconds; waits up to `wait` seconds for the first."""
        ...

    async def extend(self, deliveries: Sequence[Delivery], lease: float) -> set[str]:
        """Hold them `lease` seconds from now. Returns the ids whose lease was lost: drop that work."""
        ...

    async def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give them back, visible after `delay` seconds; this receive is not counted (drain, throttling, pause)."""
        ...

    async def delete(self, deliveries: Sequence[Delivery]) -> None:
        """Done with these. A lost lease is no error."""
        ...

    async def depth(self) -> Depth: ...

    async def purge(self) -> None:
        """Forget every message."""
        ...

    async def receive_dead(self, limit: int) -> list[Delivery]:
        """Messages that were received too often (their consumers crashed). They stay until deleted with `delete`."""
        ...


# ------------------------------------------------------------------------------------------------- records


class Status(StrEnum):
    """The lasting status of one object or image."""

    PENDING = "PENDING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Verified(StrEnum):
    """Who confirmed that a copy is right. Only what somebody other than this program stated counts."""

    NOT = ""  # nobody
    STORE = "store"  # the destination answered the checksum of what was sent
    ETAG = "etag"  # the destination's MD5 ETag is the MD5 of the source's bytes
    SOURCE = "source"  # a checksum that the source states agrees with the bytes that were sent
    CONTENT = "content"  # the copy was read back and compared


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


class RunKind(StrEnum):
    SYNC = "sync"
    REDRIVE = "redrive"
    EVENTS = "events"


class RunState(StrEnum):
    LISTING = "LISTING"  # the finder is at work
    TRANSFERRING = "TRANSFERRING"  # everything is enqueued; workers settle the rest
    DELETING = "DELETING"  # mirror mode: extra destination objects are being deleted
    DONE = "DONE"
    FAILED = "FAILED"  # the run itself failed (a listing, the endpoint); `error` says why


@dataclass(slots=True)
class Counts:
    """The ledger of a run: listed = filtered + same + archived + pending + enqueued, and at its end
    enqueued = done + failed + cancelled. Of the `same`, `unproven` were taken by time because their ETags could not
    be compared. Of the `done`, each `verified_...` counts those that were confirmed in this way, the rest were not
    verified; `incomplete` lack something that could not be copied. Deletes keep a ledger of their own:
    delete_enqueued = deleted + delete_kept + delete_failed."""

    listed: int = 0
    filtered: int = 0
    same: int = 0
    archived: int = 0
    pending: int = 0
    enqueued: int = 0
    unproven: int = 0
    enqueued_bytes: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    done_bytes: int = 0
    dest_listed: int = 0  # destination objects seen in scope: the base of the delete guard
    extra: int = 0  # destination objects without a source
    restores: int = 0  # restore requests accepted
    delete_enqueued: int = 0
    deleted: int = 0
    delete_kept: int = 0
    delete_failed: int = 0
    verified_store: int = 0
    verified_etag: int = 0
    verified_source: int = 0
    verified_content: int = 0
    incomplete: int = 0

    @property
    def unverified(self) -> int:
        """Objects that were copied, but that nobody confirmed."""
        confirmed = self.verified_store + self.verified_etag + self.verified_source + self.verified_content
        return self.done - confirmed

    @property
    def by_verification(self) -> dict[str, int]:
        """How many of the `done` were confirmed in which way, by the words of `Verified`; "none": by nobody."""
        return {
            Verified.STORE.value: self.verified_store,
            Verified.ETAG.value: self.verified_etag,
            Verified.SOURCE.value: self.verified_source,
            Verified.CONTENT.value: self.verified_content,
            "none": self.unverified,
        }

    @property
    def balanced(self) -> bool:
        """Whether all that was enqueued has come to its end."""
        return (
            self.enqueued == self.done + self.failed + self.cancelled
            and self.delete_enqueued == self.deleted + self.delete_kept + self.delete_failed
        )


@dataclass(slots=True)
class Run:
    id: int
    kind: RunKind
    state: RunState
    started: float
    ended: float = 0.0
    error: str = ""
    notes: list[str] = field(default_factory=list)  # what the run found out and did, for the user
    counts: Counts = field(default_factory=Counts)

    @property
    def is_open(self) -> bool:
        """Whether something of it is, or may be, under way."""
        return not self.counts.balanced or self.state not in (RunState.DONE, RunState.FAILED)

    @property
    def is_settled(self) -> bool:
        """Whether it listed everything and all of that has come to its end: it can be closed."""
        return self.counts.balanced and self.state in (RunState.TRANSFERRING, RunState.DELETING)


@dataclass(slots=True)
class Cursor:
    """How far one key range of a run's listing got. The range is (after, upto] (`upto` "" = no end); everything up to
    and including `position` has been committed. `scope` numbers the prefix (or manifest part) it belongs to."""

    id: str
    scope: int
    after: str
    upto: str
    position: str
    finished: bool = False


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


# -------------------------------------------------------------------------------------------------- images


@dataclass(slots=True)
class ImageRecord:
    """What one run did with one image. `key` is that of its `Record`: what it is called at the destination, without the
    registry. `moved` are the bytes that had to cross, of the `size` of its layers; the rest was there already."""

    key: str
    run: int
    source: str  # reference
    status: Status
    source_digest: str = ""
    dest_digest: str = ""
    size: int = 0
    moved: int = 0  # planned, while it is PENDING
    seconds: float = 0.0
    attempts: int = 0
    reason: str = ""
    detail: str = ""
    platforms: str = ""  # those it was narrowed to, with commas between; "" = all
    about: str = ""  # digest of the image with which it goes along
    ended: float = 0.0


class Images(Protocol):
    """The history of a task's images: one record an image and run, for those that a run had to do something with."""

    async def write(self, images: Sequence[ImageRecord]) -> None:
        """Insert, or replace what is written of the same image and run; but nothing that has ended becomes PENDING."""
        ...

    async def cancel_pending(self, reason: str) -> None:
        """Nothing is in flight any more: what is PENDING becomes CANCELLED."""
        ...

    async def copied(self) -> dict[str, ImageRecord]:
        """By key, the newest record of each image that was copied."""
        ...

    async def latest(self, keys: Sequence[str]) -> dict[str, ImageRecord]:
        """By key, the newest record of each of these."""
        ...

    async def history(self, key: str, limit: int = 100) -> list[ImageRecord]:
        """Of one image, newest first."""
        ...

    async def page(
        self,
        run: int | None = None,
        *,
        status: Status | None = None,
        prefix: str = "",
        reason: str = "",
        after: str = "",
        limit: int = 100,
    ) -> list[ImageRecord]:
        """Up to `limit` records above the key `after`, in key order: of a run, or else the newest of each image."""
        ...


# ------------------------------------------------------------------------------------------- giant uploads


class UploadState(StrEnum):
    INTENT = "INTENT"  # written before CreateMultipartUpload
    UPLOADING = "UPLOADING"
    COMPLETING = "COMPLETING"  # one owner, by a lease that expires
    DONE = "DONE"
    ABORTED = "ABORTED"


@dataclass(slots=True)
class Upload:
    """One giant object on its way. `begun` is when the intent was written; only uploads of the exact key begun after it
    and unknown here may be reaped."""

    key: str
    run: int
    etag: str
    size: int
    part_size: int
    state: UploadState = UploadState.INTENT
    upload_id: str = ""
    begun: float = 0.0
    owner: str = ""
    lease_until: float = 0.0
    attempts: int = 1
    parts: int = 0
    parts_done: int = 0
    modified: float = 0.0  # of the last part done
    sequencer: str | None = None  # of the last event known when it was begun, for its outcome
    source_part: int = 0  # bytes of the source's parts, whose MD5s are to be computed; 0: none are

    @property
    def done_bytes(self) -> int:
        """Bytes of the parts that are done."""
        return min(self.size, self.parts_done * self.part_size)


@dataclass(slots=True)
class Part:
    number: int  # from 1
    etag: str = ""  # "" until done
    checksum: str = ""  # `algorithm:base64` of what was sent; "" where the store takes none
    attempts: int = 0
    verified: Verified = Verified.NOT
    digests: str = ""  # MD5s of the source's parts in it, in hexadecimal, one after the other


class Uploads(Protocol):
    """The records of giant uploads and their parts; at most one live upload a key. It belongs to its run."""

    async def intend(self, upload: Upload) -> bool:
        """Write the intent if the key has no live upload (INTENT, UPLOADING or COMPLETING). False: somebody else is at
        it, do nothing."""
        ...

    async def start(
        self, key: str, upload_id: str, parts: Sequence[Part], messages: Sequence[Outgoing]
    ) -> bool:
        """INTENT -> UPLOADING with its parts and their messages (safe together). False when the intent is gone:
        abort the upload just created."""
        ...

    async def get(self, key: str) -> Upload | None: ...

    async def parts(self, key: str) -> list[Part]: ...

    async def part_done(self, key: str, upload_id: str, part: Part) -> Upload | None:
        """Write the part once (counted in parts_done once). None when that upload is not UPLOADING any more."""
        ...

    async def claim(self, key: str, upload_id: str, owner: str, lease: float) -> bool:
        """UPLOADING (or COMPLETING with an expired lease) -> COMPLETING for `owner`. True for exactly one owner."""
        ...

    async def unclaim(self, key: str, upload_id: str, owner: str) -> None:
        """COMPLETING by `owner` -> UPLOADING, when completing failed for a passing reason."""
        ...

    async def end(self, key: str, upload_id: str, state: UploadState) -> bool:
        """-> DONE or ABORTED. True for the one call that did it. Its parts are forgotten."""
        ...

    async def live(self) -> list[Upload]:
        """All uploads that are INTENT, UPLOADING or COMPLETING."""
        ...

    async def resend(self, key: str, messages: Sequence[Outgoing]) -> None:
        """Send part messages again, those whose id is not in the queue now."""
        ...


# -------------------------------------------------------------------------------------------------- limits


@dataclass(frozen=True, slots=True)
class Lease:
    """What was granted, in units; the seconds until more may be had; and the rate that holds now, 0 for no limit."""

    granted: float
    wait: float
    rate: float


class Limits(Protocol):
    """Rates shared by all processes of a task. They may change at any time, while the processes use them."""

    async def set_rates(self, rates: Mapping[str, float]) -> None:
        """Units a second, by the name of the bucket; 0: no limit. Buckets that are not named stay as they are."""
        ...

    async def rates(self) -> dict[str, float]:
        """All rates that were set, by the name of the bucket."""
        ...

    async def lease(self, name: str, wanted: float) -> Lease:
        """Take up to `wanted` units from the bucket `name`, which fills at its rate and holds a fraction of a second's
        worth, so that any ten seconds stay close to the rate. Without a rate everything is granted."""
        ...


@dataclass(slots=True)
class Gauge:
    """What one process reports of itself, replaced at each report. Byte and request counters only grow. `started` tells
    one life of a name from the next; the latencies are the mean milliseconds of the requests that were answered since
    the report before, 0 where there were none. `note` says what it waits for, "" if for nothing."""

    process: str
    kind: str  # "finder" or "worker"
    at: float
    bytes_in: int = 0
    bytes_out: int = 0
    requests: int = 0
    throttled: int = 0
    in_flight: int = 0
    note: str = ""
    started: float = 0.0
    errors: int = 0  # requests that failed, other than for what is merely not there
    source_latency: float = 0.0
    dest_latency: float = 0.0
    counted: int = 0  # bytes that it has written into ledgers as done, or as done parts of uploads
    under_way: int = 0  # bytes of what it has in hand that have moved, and are not counted yet


class Gauges(Protocol):
    async def report(self, gauge: Gauge) -> None:
        """Replace what this process reported before. Others may see it some seconds later. The note becomes one line of
        text."""
        ...

    async def all(self) -> list[Gauge]:
        """What each process reported last, by its name. Who has said nothing for a day is left out."""
        ...


@dataclass(frozen=True, slots=True)
class Platform:
    """All ports of one task, as a process of it gets them."""

    queue: Queue
    records: Records
    images: Images
    uploads: Uploads
    limits: Limits
    gauges: Gauges
