"""Runs and their ledgers."""

from dataclasses import dataclass, field
from enum import StrEnum

from dth.core.ports.status import Verified


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
