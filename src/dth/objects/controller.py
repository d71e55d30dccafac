"""The controller: the safety net for the workers. On one machine it checks every ten seconds while
there is something for it to do, on AWS once a minute.

It completes giant uploads whose last worker died, discards uploads that nobody will finish, sends
lost parts again, settles messages that crashed their consumers too often, and sends again objects
that a run waits for although neither a message nor an upload is left for them.
"""

import contextlib
import logging
from collections.abc import Sequence

from dth.core import clock
from dth.core.errors import HubError, TransferError
from dth.core.ports.platform import Platform
from dth.core.ports.queue import BadMessage
from dth.core.ports.records import Outcome
from dth.core.ports.status import Status
from dth.core.ports.uploads import GiantUpload, UploadState
from dth.objects.transfer import ownership
from dth.objects.transfer.failures import MAX_ATTEMPTS, Before, Failures, Remedy
from dth.objects.transfer.handlers import done
from dth.objects.transfer.messages import (
    DeleteMessage,
    ObjectItem,
    ObjectsMessage,
    PartMessage,
    decode,
    encode,
    message_id,
)
from dth.objects.transfer.multipart import Busy, Multipart, UploadLost
from dth.objects.transfer.relay import ObjectRoute

# Seconds after which an intent without an upload is given up.
INTENT_LIMIT = 3600.0
# Seconds without a finished part after which a quiet upload is checked.
STALE = 60.0
# Seconds left to the worker of the last part.
GRACE = 5.0
# Objects sent again per check.
MENDED = 1000
# The key of the queue itself in `quiet`.
QUEUE = "queue"

log = logging.getLogger(__name__)


class Controller:
    """One task's controller. Two at once do no harm, because completing has one owner.

    `quiet`: uploads without progress, with the number of parts that were done when the queue was
    last seen empty, or with the time since which completing them fails; and for the queue itself
    the number of objects settled then. A caller that creates a controller for each check passes on
    what the previous one left there."""

    def __init__(
        self, route: ObjectRoute, platform: Platform, name: str, quiet: dict[str, int] | None = None
    ) -> None:
        self._platform = platform
        self._route = route
        self._multipart = Multipart(route, platform.uploads, name)
        self._failures = Failures(route)
        self.quiet: dict[str, int] = {} if quiet is None else quiet

    async def check(self) -> None:
        """Check everything once. Temporary errors are left for the next check."""
        await self._platform.records.reconcile()
        await self._settle_dead()
        depth = await self._platform.queue.depth()
        idle = depth.visible + depth.in_flight + depth.delayed == 0
        live = await self._platform.uploads.live()
        for upload in live:
            before = self._failures.before()
            try:
                await self._look_at(upload, idle)
            except UploadLost as error:
                await self._begin_anew(upload, error)
            except (TransferError, Busy) as error:
                if not await self._goes_on(upload, error, before):
                    return
        await self._mend(idle, live)

    async def _goes_on(self, upload: GiantUpload, error: HubError, before: Before) -> bool:
        """Leave a failed upload for the next check, or give it up: what fails for too long while
        other requests pass never ends otherwise. False if the task pauses."""
        since = self.quiet.setdefault(upload.upload_id, int(clock.now()))
        # Each check is the first attempt: only the time bounds how often an upload is tried.
        decision = await self._failures.decide(error, 0, before, since)
        if decision.next is Remedy.PAUSE:
            await self._platform.records.pause(decision.reason)
        elif decision.next not in (Remedy.WAIT, Remedy.AGAIN):
            await self._give_up(upload, error)
        return decision.next is not Remedy.PAUSE

    async def abort_all(self) -> None:
        """Discard every upload that the task began, because the task stops."""
        for upload in await self._platform.uploads.live():
            await self._multipart.abort(upload)

    async def _look_at(self, upload: GiantUpload, idle: bool) -> None:
        if await self._platform.records.settled(upload.run, [upload.key]):
            if upload.state is not UploadState.COMPLETING or upload.lease_until < clock.now():
                # Its object was settled without it.
                await self._multipart.abort(upload)
        elif upload.state is UploadState.INTENT:
            if (
                idle
                and clock.now() - upload.begun > INTENT_LIMIT
                and await self._multipart.abort(upload)
            ):
                await self._begin_anew(upload, HubError("its upload was never begun"))
        elif upload.parts_done == upload.parts:
            if clock.now() - upload.modified < GRACE:
                return
            copied = await self._multipart.complete(upload)
            if copied:
                outcome = done(upload.key, upload.run, copied, upload.attempts, upload.sequencer)
                overtaken = await ownership.settle(self._platform.records, self._route, [outcome])
                await self._platform.queue.send(overtaken)
                await self._multipart.finish(upload)
        elif idle and clock.now() - max(upload.modified, upload.begun) > STALE:
            # It was the same at the previous check.
            if self.quiet.get(upload.upload_id) == upload.parts_done:
                await self._multipart.resend_missing(upload)
            self.quiet[upload.upload_id] = upload.parts_done

    async def _mend(self, idle: bool, live: Sequence[GiantUpload]) -> None:
        """Send PENDING objects that have neither a message nor an upload again, if two checks found
        the queue empty and nothing moved between them."""
        records = self._platform.records
        waiting = (
            [run.counts for run in await records.list_runs() if not run.counts.balanced]
            if idle
            else []
        )
        if not waiting:
            self.quiet.pop(QUEUE, None)
            return
        settled = sum(counts.done + counts.failed + counts.cancelled for counts in waiting)
        before, self.quiet[QUEUE] = self.quiet.get(QUEUE), settled
        if before != settled:
            return
        under_way = {(upload.key, upload.run) for upload in live}
        pending, _ = await records.page(status=Status.PENDING, limit=MENDED)
        lost = [
            record
            for record in pending
            if clock.now() - record.updated > STALE and (record.key, record.run) not in under_way
        ]
        await self._platform.queue.send(
            [ownership.again(record.run, record.key) for record in lost]
        )
        for record in lost:
            fields = {"key": record.key, "run": record.run}
            log.warning(
                "object was waited for in vain, and is sent again", extra={"fields": fields}
            )

    async def _begin_anew(self, upload: GiantUpload, error: HubError) -> None:
        """Send an object whose upload is gone again, up to the usual number of attempts."""
        if upload.attempts >= MAX_ATTEMPTS:
            await self._settle_failed(upload.run, upload.key, upload.attempts, error)
            return
        item = ObjectItem(upload.key, upload.size, upload.etag, upload.attempts)
        message = ObjectsMessage(
            f"{message_id(upload.run, item)}.a{upload.attempts}", upload.run, [item]
        )
        await self._platform.queue.send([encode(message)])

    async def _give_up(self, upload: GiantUpload, error: HubError) -> None:
        await self._throw_away(upload.key, upload.run)
        await self._settle_failed(upload.run, upload.key, upload.attempts, error)

    async def _throw_away(self, key: str, run: int) -> None:
        """Discard an upload. If that fails, it stays live and is checked again."""
        with contextlib.suppress(TransferError):
            await self._multipart.abort_key(key, run)

    async def _settle_dead(self) -> None:
        queue, records = self._platform.queue, self._platform.records
        while dead := await queue.receive_dead(100):
            for delivery in dead:
                error = HubError(
                    f"the message was received {delivery.receives} times and crashed its "
                    "worker each time"
                )
                try:
                    message = decode(delivery.id, delivery.body)
                except BadMessage as bad:
                    message, error = None, bad
                match message:
                    case ObjectsMessage():
                        for item in message.items:
                            await self._throw_away(item.key, message.run)
                            await self._settle_failed(
                                message.run, item.key, delivery.receives, error
                            )
                    case PartMessage() if not await self._is_whole(message):
                        await self._throw_away(message.key, message.run)
                        await self._settle_failed(
                            message.run, message.key, delivery.receives, error
                        )
                    case DeleteMessage():
                        await records.settle_extras(message.run, [], [], message.keys)
            await queue.delete(dead)

    async def _is_whole(self, message: PartMessage) -> bool:
        """Whether the message's upload has all its parts. Then its workers died while completing
        it, and the controller completes it."""
        upload = await self._platform.uploads.get(message.key)
        return (
            upload is not None
            and upload.upload_id == message.upload_id
            and upload.parts_done == upload.parts
        )

    async def _settle_failed(self, run: int, key: str, attempts: int, error: HubError) -> None:
        reason = getattr(error, "code", "") or "WorkerCrashed"
        outcome = Outcome(
            key, run, Status.FAILED, attempts=attempts, reason=reason, detail=str(error)
        )
        await self._platform.records.settle([outcome])
