"""Runs and their ledgers."""

from dataclasses import dataclass, field
from enum import StrEnum

from dth.core.ports.status import Verified

# The newest runs, which stay; older ones that have ended are pruned.
KEPT_RUNS = 100


class RunKind(StrEnum):
    """What started a run: a sync, sending failed objects again, events of the source, or objects
    that somebody chose from a comparison."""

    SYNC = "sync"
    REDRIVE = "redrive"
    EVENTS = "events"
    CHOSEN = "chosen"


class RunState(StrEnum):
    """How far a run is."""

    # The finder is listing.
    LISTING = "LISTING"
    # Everything is enqueued. Workers settle the rest.
    TRANSFERRING = "TRANSFERRING"
    # Mirror mode: the hub deletes extra destination objects.
    DELETING = "DELETING"
    DONE = "DONE"
    # The run itself failed (a listing or the endpoint). `error` says why.
    FAILED = "FAILED"


@dataclass(slots=True)
class Counts:
    """The ledger of a run: listed = filtered + same + archived + pending + enqueued. When the run
    ends, enqueued = done + failed + cancelled.

    Of the `same`, `unproven` were accepted by time because their ETags could not be compared. Of
    the `done`, each `verified_...` counts the objects confirmed in this way; the rest were not
    verified. `incomplete` objects lack something that could not be copied. Deletes have their own
    ledger: delete_enqueued = deleted + delete_kept + delete_failed.
    """

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
    # Destination objects seen in scope: the base of the delete guard.
    dest_listed: int = 0
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
        """Copied objects that nobody confirmed."""
        confirmed = (
            self.verified_store + self.verified_etag + self.verified_source + self.verified_content
        )
        return self.done - confirmed

    @property
    def by_verification(self) -> dict[str, int]:
        """How many of the `done` were confirmed, by the values of `Verified`; "none" for those
        nobody confirmed."""
        return {
            Verified.STORE.value: self.verified_store,
            Verified.ETAG.value: self.verified_etag,
            Verified.SOURCE.value: self.verified_source,
            Verified.CONTENT.value: self.verified_content,
            "none": self.unverified,
        }

    @property
    def balanced(self) -> bool:
        """Whether everything that was enqueued has ended."""
        return (
            self.enqueued == self.done + self.failed + self.cancelled
            and self.delete_enqueued == self.deleted + self.delete_kept + self.delete_failed
        )


@dataclass(slots=True)
class Run:
    """One pass of a task, with its ledger."""

    id: int
    kind: RunKind
    state: RunState
    started: float
    ended: float = 0.0
    error: str = ""
    # What the run detected and did, for the user.
    notes: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    # When the first of its records may be deleted; 0: they stay as long as the task.
    kept_until: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether some of its work is, or may be, in progress."""
        return not self.counts.balanced or self.state not in (RunState.DONE, RunState.FAILED)

    @property
    def is_settled(self) -> bool:
        """Whether it listed everything and all of it has ended, so the run can be closed."""
        return self.counts.balanced and self.state in (RunState.TRANSFERRING, RunState.DELETING)


@dataclass(slots=True)
class Cursor:
    """How far the listing of one key range of a run got.

    The range is (after, upto]; `upto` "" means no end. Everything up to and including `position`
    has been committed. `scope` is the number of the prefix (or manifest part) that the range
    belongs to.
    """

    id: str
    scope: int
    after: str
    upto: str
    position: str
    finished: bool = False
