"""What a worker does with each kind of message: objects, parts, deletions, events.

A handler does the work and records the result in its `LeasedMessage`: outcomes, messages to send
again, or that the delivery is to be given back. `failures` decides for all handlers what a failure
means.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from dth.core import clock
from dth.core.errors import HubError, SourceGone, TransferError
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Delivery, Outgoing
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import Counts, RunKind
from dth.core.ports.status import Status
from dth.core.ports.uploads import GiantUpload, UploadState
from dth.objects.parameters import DeleteMode
from dth.objects.store.etags import bare_etag
from dth.objects.transfer import events, ownership
from dth.objects.transfer.failures import MAX_ATTEMPTS, Decision, Failures, Remedy, delay
from dth.objects.transfer.messages import (
    DeleteMessage,
    EventDeleteMessage,
    EventMessage,
    Message,
    ObjectItem,
    ObjectsMessage,
    PartMessage,
    RangeMessage,
    encode,
    part_message,
)
from dth.objects.transfer.multipart import Multipart, UploadLost
from dth.objects.transfer.relay import (
    COPY_LIMIT,
    CopiedObject,
    ObjectRoute,
    copy_in_store,
    relay_whole,
)

log = logging.getLogger(__name__)

# Lists a range of a run, by its id, until it is done or the function returns True.
ListRange: TypeAlias = Callable[[int, str, Callable[[], bool]], Awaitable[None]]

# Seconds that an object may still be shown as waiting after its retry is due.
WAITS_FOR = 30.0


@dataclass(slots=True)
class Again:
    """An object or part to try again: its message, and the delay in seconds."""

    message: Outgoing
    delay: float


@dataclass(slots=True, eq=False)
class LeasedMessage:
    """One delivery in progress."""

    delivery: Delivery
    remaining: int
    outcomes: list[Outcome] = field(default_factory=list)
    # How many of the outcomes are written already.
    written: int = 0
    again: list[Again] = field(default_factory=list)
    finished_uploads: list[GiantUpload] = field(default_factory=list)
    # If set, give the delivery back after this many seconds.
    release: float | None = None
    lost: bool = False
    # Keys for which the run waits for no outcome any more.
    settled: frozenset[str] = frozenset()


class Handlers:
    """The handlers of one worker. `pause` is called with the reason when no request can succeed any
    more.

    `waiting` says, by key, what the worker waits for and until when the entry is valid (monotonic),
    for the display.
    """

    def __init__(
        self,
        name: str,
        route: ObjectRoute,
        platform: Platform,
        pause: Callable[[str], Awaitable[None]],
        list_range: ListRange,
        stopping: Callable[[], bool],
    ) -> None:
        self.multipart = Multipart(route, platform.uploads, name)
        self.waiting: dict[str, tuple[str, float]] = {}
        self._route = route
        self._platform = platform
        self._pause = pause
        self._list_range = list_range
        self._stopping = stopping
        self._failures = Failures(route)
        # Reasons of failed deletions that were already noted.
        self._undeleted: set[str] = set()

    def carry(self, work: LeasedMessage, message: Message, index: int) -> Awaitable[None]:
        """Do the work of one message, or of one object in it."""
        match message:
            case ObjectsMessage():
                return self._object(work, message, index)
            case PartMessage():
                return self._part(work, message)
            case DeleteMessage():
                return self._deletes(work, message)
            case EventMessage():
                return self._event(work, message)
            case EventDeleteMessage():
                return self._event_delete(work, message)
            case RangeMessage():
                return self._range(work, message)

    # -------------------------------------------------------------------------------------- listing

    async def _range(self, work: LeasedMessage, message: RangeMessage) -> None:
        """List a part of what the finder lists. If that fails, the finder continues it, and meets
        the error itself."""
        try:
            await self._list_range(
                message.run, message.range, lambda: work.lost or self._stopping()
            )
        except HubError as error:
            log.info("a range is left to the finder", extra={"fields": {"error": str(error)}})
            return
        if self._stopping():
            # Where it is done already, the next worker finds nothing to do.
            work.release = 0.0

    # -------------------------------------------------------------------------------------- objects

    async def _object(self, work: LeasedMessage, message: ObjectsMessage, index: int) -> None:
        item = message.items[index]
        if item.key in work.settled:
            return
        before = self._failures.before()
        try:
            if item.size < 0 or not item.etag:
                item = await self._look(item)
            copied = await self._transfer(work, message.run, item)
        except HubError as error:
            decision = await self._failures.decide(error, item.attempts, before, item.failing_since)
            self._wait(item.key, error, decision)
            if decision.next is Remedy.WAIT and len(message.items) == 1:
                work.release = decision.delay
                return
            retry_id = f"{message.id}.{index + 1}"
            await self._object_failed(work, message.run, item, error, decision, retry_id)
            return
        self.waiting.pop(item.key, None)
        if copied:
            self._failures.passed(item.key)
            work.outcomes.append(
                done(item.key, message.run, copied, item.attempts + 1, item.sequencer)
            )

    async def _transfer(
        self, work: LeasedMessage, run: int, item: ObjectItem
    ) -> CopiedObject | None:
        """Copy one object. Returns None if its parts continue as messages of their own."""
        route = self._route
        if route.server_side and item.size <= COPY_LIMIT:
            copied = await copy_in_store(route, item)
            if copied:
                return copied
        if item.size <= route.parameters.multipart_threshold:
            return await relay_whole(route, item)
        if item.size >= route.parameters.giant_object_threshold:
            await self.multipart.begin(run, item, spread=True)
            return None
        upload, copied = await self.multipart.transfer(run, item)
        work.finished_uploads.append(upload)
        return copied

    async def _look(self, item: ObjectItem) -> ObjectItem:
        """The current size and ETag of the object. Raises TransferError for an answer without an
        ETag, which does not come from a store and would be mistaken for a new object."""
        source = self._route.source
        headers = (await source.head(item.key)).headers
        etag = bare_etag(headers.get("etag", ""))
        if not etag:
            raise source.bad_answer("HEAD", item.key, "no ETag")
        return replace(item, size=int(headers["content-length"]), etag=etag)

    async def _object_failed(
        self,
        work: LeasedMessage,
        run: int,
        item: ObjectItem,
        error: HubError,
        decision: Decision,
        retry_id: str,
    ) -> None:
        """Carry out the decision about a failed object: try it again, or settle it."""
        if decision.next is Remedy.PAUSE:
            await self._stop(work, decision)
            return
        if decision.next is Remedy.LOOK:
            try:
                item = await self._look(item)
            except SourceGone as gone:
                error, decision = gone, Decision(Remedy.GONE, decision.attempts)
            except TransferError:
                # The retry uses the known state, and looks at the object again.
                pass
        if decision.next in (Remedy.WAIT, Remedy.AGAIN, Remedy.LOOK):
            since = item.failing_since or clock.now()
            again = replace(item, attempts=decision.attempts, failing_since=since)
            message = encode(ObjectsMessage(retry_id, run, [again]))
            work.again.append(Again(message, decision.delay))
            log_failure("object failed, and is tried again", item.key, error, decision.attempts)
            return
        if decision.next is Remedy.GONE and await self._is_listed(item.key):
            error = TransferError(
                f"key {item.key!r} is listed at the source, but cannot be read: {error}",
                code="Unreadable",
            )
            decision = Decision(Remedy.FAILED, decision.attempts)
        status = Status.CANCELLED if decision.next is Remedy.GONE else Status.FAILED
        log_failure(f"object {status.lower()}", item.key, error, decision.attempts)
        self.waiting.pop(item.key, None)
        try:
            if status is Status.CANCELLED and events.was_deleted(item.sequencer):
                await events.follow_deletion(self._route, item.key)
        except TransferError:
            message = encode(ObjectsMessage(retry_id, run, [item]))
            work.again.append(Again(message, delay(decision.attempts)))
            return
        try:
            await self.multipart.abort_key(item.key, run)
        except TransferError as problem:
            await self._platform.records.add_note(
                run, f"an upload of key {item.key!r} is left: {problem}"
            )
        work.outcomes.append(_failed(item, run, status, error, decision.attempts))

    async def _is_listed(self, key: str) -> bool:
        """Whether an object that answers 404 is listed anyway. Then it is not gone but
        unreadable."""
        try:
            return await self._route.source.is_listed(key)
        except TransferError:
            return False

    # ---------------------------------------------------------------------------------------- parts

    async def _part(self, work: LeasedMessage, message: PartMessage) -> None:
        uploads = self._platform.uploads
        upload = await uploads.get(message.key)
        if (
            upload is None
            or upload.upload_id != message.upload_id
            or upload.state is not UploadState.UPLOADING
        ):
            # The upload was discarded or is being completed. The process that discarded it may have
            # died before it sent what comes next.
            if work.delivery.receives > 1 and upload and upload.upload_id == message.upload_id:
                left = await ownership.left_behind(self._platform.records, upload, message)
                work.again += [Again(each, 0.0) for each in left]
            return
        before = self._failures.before()
        try:
            part = await self.multipart.copy_part(upload, message.number)
            after = await self.multipart.record(upload, part)
            if after and after.parts_done == after.parts:
                copied = await self.multipart.complete(after)
                if copied:
                    work.outcomes.append(
                        done(message.key, after.run, copied, after.attempts, after.sequencer)
                    )
                    work.finished_uploads.append(after)
        except HubError as error:
            decision = await self._failures.decide(
                error, message.attempts, before, message.failing_since
            )
            self._wait(message.key, error, decision)
            await self._part_failed(work, message, upload, error, decision)
            return
        self.waiting.pop(message.key, None)

    async def _part_failed(
        self,
        work: LeasedMessage,
        message: PartMessage,
        upload: GiantUpload,
        error: HubError,
        decision: Decision,
    ) -> None:
        if decision.next is Remedy.PAUSE:
            await self._stop(work, decision)
            return
        if decision.next is Remedy.WAIT:
            work.release = decision.delay
            return
        if decision.next is Remedy.AGAIN and not isinstance(error, UploadLost):
            again = part_message(
                message.run,
                message.key,
                message.upload_id,
                message.etag,
                message.size,
                message.part_size,
                message.number,
                decision.attempts,
                message.failing_since or clock.now(),
            )
            work.again.append(Again(encode(again), decision.delay))
            log_failure(
                "part failed, and is tried again",
                message.key,
                error,
                decision.attempts,
                part=message.number,
            )
            return
        if not isinstance(error, UploadLost) and not await self._abort(upload):
            # Another part came first and decides what happens next.
            return
        item = ObjectItem(
            upload.key, upload.size, upload.etag, upload.attempts - 1, sequencer=upload.sequencer
        )
        if isinstance(error, UploadLost) or decision.next is Remedy.LOOK:
            # The object starts over, and this used one of its own attempts.
            attempts = upload.attempts
            decision = Decision(Remedy.LOOK if attempts < MAX_ATTEMPTS else Remedy.FAILED, attempts)
        await self._object_failed(work, message.run, item, error, decision, f"{message.id}.o")

    async def _abort(self, upload: GiantUpload) -> bool:
        """Discard an upload with all its parts. Returns False if another part came first and
        decides what happens next."""
        try:
            return await self.multipart.abort(upload)
        except TransferError:
            # It is aborted again with the next try of the object, or by the controller.
            return True

    # ------------------------------------------------------------------------------------ deletions

    async def _deletes(self, work: LeasedMessage, message: DeleteMessage) -> None:
        """Mirror mode: look up each key at the source once more, and delete only keys that are
        certainly gone there."""
        deleted: list[str] = []
        kept: list[str] = []
        failed: list[str] = []
        for key in message.keys:
            before = self._failures.before()
            try:
                (deleted if await self._delete_extra(key) else kept).append(key)
            except HubError as error:
                decision = await self._failures.decide(error, MAX_ATTEMPTS - 1, before)
                if decision.next is Remedy.PAUSE:
                    await self._stop(work, decision)
                    break
                if decision.next is Remedy.WAIT:
                    work.release = decision.delay
                    break
                failed.append(key)
                await self._note_undeleted(message.run, key, error)
        await self._platform.records.settle_extras(message.run, deleted, kept, failed)

    async def _delete_extra(self, key: str) -> bool:
        """Delete a destination key. Returns False without deleting if its source exists again, or
        mirroring is off."""
        route = self._route
        if route.parameters.delete_mode is not DeleteMode.MIRROR:
            return False
        try:
            await route.source.head(route.keys.to_source(key))
        except SourceGone:
            await route.dest.delete(key)
            return True
        return False

    async def _note_undeleted(self, run: int, key: str, error: HubError) -> None:
        """Note why a deletion failed, once per reason."""
        reason = getattr(error, "code", "") or type(error).__name__
        log_failure("deletion failed", key, error, 1)
        first = reason not in self._undeleted
        self._undeleted.add(reason)
        if first:
            await self._platform.records.add_note(run, f"could not be deleted: {key!r}: {error}")

    # --------------------------------------------------------------------------------------- events

    async def _event(self, work: LeasedMessage, message: EventMessage) -> None:
        """Creations become messages of the run of events. Deletions become messages of their
        own."""
        for again in await events.apply(self._route, self._platform, message):
            work.again.append(Again(encode(again), 0.0))

    async def _event_delete(self, work: LeasedMessage, message: EventDeleteMessage) -> None:
        before = self._failures.before()
        try:
            await events.apply_deletion(self._route, self._platform, message.key)
        except HubError as error:
            decision = await self._failures.decide(
                error, message.attempts, before, message.failing_since
            )
            self._wait(message.key, error, decision)
            if decision.next is Remedy.PAUSE:
                await self._stop(work, decision)
            elif decision.next is Remedy.WAIT:
                work.release = decision.delay
            elif decision.next in (Remedy.AGAIN, Remedy.LOOK):
                since = message.failing_since or clock.now()
                again = EventDeleteMessage(f"{message.id}.1", message.key, decision.attempts, since)
                work.again.append(Again(encode(again), decision.delay))
            else:
                await self._settle_undeleted(message, error, decision)
            return
        self.waiting.pop(message.key, None)

    async def _settle_undeleted(
        self, message: EventDeleteMessage, error: HubError, decision: Decision
    ) -> None:
        """Record a deletion that was permanently refused as a failure of the run of events."""
        records = self._platform.records
        log_failure("deletion failed", message.key, error, decision.attempts)
        self.waiting.pop(message.key, None)
        run, _ = await records.begin_run(RunKind.EVENTS)
        item = ObjectItem(message.key, 0, "")
        outcome = _failed(item, run.id, Status.FAILED, error, decision.attempts)
        outcome.detail = f"a deletion was refused: {outcome.detail}"
        enqueued = Enqueued(message.key, 0, "", message.id)
        await records.commit(run.id, Page(Counts(listed=1), enqueued=[enqueued], settled=[outcome]))

    # -------------------------------------------------------------------------------------- details

    async def _stop(self, work: LeasedMessage, decision: Decision) -> None:
        """When no request can succeed: give the work back, and pause the task."""
        work.release = decision.delay
        await self._pause(decision.reason)

    def _wait(self, key: str, error: HubError, decision: Decision) -> None:
        if decision.next in (Remedy.WAIT, Remedy.AGAIN):
            side = f"the {getattr(error, 'side', '') or 'store'}"
            reason = getattr(error, "code", "") or type(error).__name__
            self.waiting[key] = (
                f"{reason} from {side}",
                time.monotonic() + decision.delay + WAITS_FOR,
            )


def log_failure(what: str, key: str, error: HubError, attempts: int, **more: int) -> None:
    """Log a warning with the error and its reason. `more` adds fields."""
    reason = getattr(error, "code", "") or type(error).__name__
    fields = {"key": key, **more, "reason": reason, "detail": str(error), "attempts": attempts}
    log.warning(what, extra={"fields": fields})


def done(key: str, run: int, copied: CopiedObject, attempts: int, sequencer: str | None) -> Outcome:
    """The outcome of a copied object."""
    return Outcome(
        key=key,
        run=run,
        status=Status.DONE,
        bytes=copied.size,
        etag=copied.etag,
        dest_etag=copied.dest_etag,
        proof=copied.proof,
        attempts=attempts,
        reason=copied.reason,
        detail=copied.detail,
        verified=copied.verified,
        sequencer=sequencer,
    )


def _failed(item: ObjectItem, run: int, status: Status, error: HubError, attempts: int) -> Outcome:
    return Outcome(
        key=item.key,
        run=run,
        status=status,
        etag=item.etag,
        attempts=max(1, attempts),
        reason=getattr(error, "code", "") or type(error).__name__,
        detail=str(error),
        sequencer=item.sequencer,
    )
