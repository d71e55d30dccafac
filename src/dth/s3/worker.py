"""A worker: takes messages, carries objects and parts, writes outcomes.

The order that loses nothing: outcomes are settled, then what must be tried again is sent as messages of its own, then
the message is deleted. Everything before can happen twice without harm.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dth.errors import (
    ConnectionFailed,
    Disposition,
    EndpointRefused,
    HubError,
    SourceGone,
    Throttled,
    TransferError,
)
from dth.platforms.ports import Delivery, Gauge, Outcome, Outgoing, Platform, Status, Upload, UploadState
from dth.s3 import events, ownership
from dth.s3.client import SLOW_ANSWER
from dth.s3.messages import (
    BadMessage,
    DeleteMessage,
    EventMessage,
    Item,
    Message,
    ObjectsMessage,
    PartMessage,
    child,
    decode,
    encode,
    part_message,
)
from dth.s3.multipart import Busy, Multipart, UploadLost
from dth.s3.parameters import DeleteMode
from dth.s3.relay import COPY_LIMIT, Copied, Route, copy_in_store, relay_whole
from dth.s3.retry import retry

MAX_ATTEMPTS = 5
LEASE = 900.0  # seconds; extended while the work goes on
WAIT = 20.0  # seconds for which an empty queue is asked; SQS is paid by the call
HEARTBEAT = 20.0  # seconds between extensions and between looks at the pause switch
STILL = int(2 * SLOW_ANSWER / HEARTBEAT)  # heartbeats: twice the silence that one request may keep
FLUSH = 0.1  # seconds between commits of outcomes
FLUSH_COUNT = 400  # outcomes that are committed at once without waiting
SPLIT_AT = 3  # a pack received this often goes on as single objects, and those one at a time
UNREACHABLE = 60.0  # seconds without any answer from an endpoint that pause the task
RELEASE_DELAY = 1.0  # seconds before work that was throttled is taken up again; doubled with each attempt

log = logging.getLogger(__name__)


class Stalled(Exception):
    """A worker's work stood still beyond every time-out: a defect of ours, whichever it is."""


@dataclass(slots=True)
class Again:
    """An object or part that must be tried again: its message, and after how long."""

    message: Outgoing
    delay: float


@dataclass(slots=True, eq=False)
class Work:
    """One delivery in hand."""

    delivery: Delivery
    remaining: int
    outcomes: list[Outcome] = field(default_factory=list)
    again: list[Again] = field(default_factory=list)
    finished_uploads: list[Upload] = field(default_factory=list)
    release: float | None = None  # give the delivery back after so many seconds instead
    lost: bool = False
    settled: frozenset[str] = frozenset()  # keys of which the run waits for nothing any more


class Worker:
    """One worker of one task, on one event loop."""

    def __init__(self, name: str, route: Route, platform: Platform) -> None:
        self._name = name
        self._route = route
        self._platform = platform
        self._multipart = Multipart(route, platform.uploads, name)
        self._lanes = 32 * route.parameters.worker_number
        self._todo: asyncio.Queue[tuple[Work, Message, int]] = asyncio.Queue()
        self._held: set[Work] = set()
        self._done: list[Work] = []
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._room = asyncio.Event()
        self._failing_since = 0.0
        self._progress = Gauge(name, "worker", time.time(), started=time.time())
        self._notes: set[str] = set()
        self._run = 0  # of the message taken last: notes go there
        self._seen: object = None  # at the last heartbeat: what was in hand, and what had moved
        self._still = 0  # heartbeats since that changed

    def stop(self) -> None:
        """Drain: take nothing new, finish what is in hand (or give it back), then end."""
        self._stopping.set()
        self._room.set()

    async def run(self) -> None:
        lanes = [asyncio.create_task(self._lane()) for _ in range(self._lanes)]
        keepers = [asyncio.create_task(self._commit_loop()), asyncio.create_task(self._heartbeat())]
        tasks = [asyncio.create_task(self._serve()), *keepers, *lanes]
        try:
            finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                task.result()  # a keeper or lane ends only by failing
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(HubError):
                await self._commit()
                await self._report()

    async def _serve(self) -> None:
        await self._receive_loop()
        await self._drain()

    # ------------------------------------------------------------------------------------------ receiving

    async def _receive_loop(self) -> None:
        while not self._stopping.is_set():
            if self._todo.qsize() >= self._lanes:
                self._room.clear()
                await self._room.wait()
                continue
            if self._route.budget.short:  # others may have room for what would only wait here
                await asyncio.sleep(0.02)
                continue
            deliveries = await self._one_suspect(await self._receive())
            await asyncio.gather(*map(self._accept, deliveries))
            while any(_suspect(work.delivery) for work in self._held):  # noqa: ASYNC110 - a rare case
                await asyncio.sleep(0.05)

    async def _receive(self) -> list[Delivery]:
        """What the queue has; nothing once the worker is told to stop, which does not wait for a message."""
        receiving = asyncio.ensure_future(self._platform.queue.receive(10, LEASE, WAIT))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({receiving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else []
        finally:
            stopping.cancel()
            receiving.cancel()  # gives back what it has just taken
            await asyncio.gather(receiving, return_exceptions=True)

    async def _one_suspect(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Of messages whose consumers crashed twice take one at a time, and nothing after it until it is done: which
        of them did it comes out, and the others are not counted out with it."""
        waiting = [delivery for delivery in deliveries if _suspect(delivery)][1:]
        await self._platform.queue.release(waiting, RELEASE_DELAY)
        return [delivery for delivery in deliveries if delivery not in waiting]

    async def _accept(self, delivery: Delivery) -> None:
        try:
            message = decode(delivery.id, delivery.body)
        except BadMessage as error:
            await self._note(str(error))
            await self._platform.queue.delete([delivery])
            return
        if isinstance(message, ObjectsMessage) and len(message.items) > 1 and _suspect(delivery):
            # Its consumers crashed twice: whichever object did it must not take the others along.
            singles = [encode(child(message, n, item)) for n, item in enumerate(message.items, 1)]
            await self._platform.queue.send(singles)
            await self._platform.queue.delete([delivery])
            return
        items = len(message.items) if isinstance(message, ObjectsMessage) else 1
        work = Work(delivery, items)
        if isinstance(message, ObjectsMessage):
            work.settled = await ownership.take(self._platform.records, message, self._route.parameters)
        self._run = getattr(message, "run", self._run)
        self._held.add(work)
        if not items:
            self._finish_one(work, last=True)
            return
        for index in range(items):
            self._todo.put_nowait((work, message, index))

    # ------------------------------------------------------------------------------------------- carrying

    async def _lane(self) -> None:
        while True:
            work, message, index = await self._todo.get()
            if self._todo.qsize() < self._lanes:
                self._room.set()
            if work.lost or work.release is not None:
                self._finish_one(work)
                continue
            self._progress.in_flight += 1
            try:
                await self._carry(work, message, index)
            finally:
                self._progress.in_flight -= 1
            self._finish_one(work)

    async def _carry(self, work: Work, message: Message, index: int) -> None:
        match message:
            case ObjectsMessage():
                await self._object(work, message, index)
            case PartMessage():
                await self._part(work, message)
            case DeleteMessage():
                await self._deletes(work, message)
            case EventMessage():
                await self._event(work, message)

    async def _object(self, work: Work, message: ObjectsMessage, index: int) -> None:
        item = message.items[index]
        retry_id = f"{message.id}.{index + 1}"
        if item.key in work.settled:
            return
        try:
            if item.size < 0 or not item.etag:
                item = await self._look(item)
            copied = await self._transfer(work, message.run, item)
            if copied:
                self._succeeded()
                work.outcomes.append(_done(item.key, message.run, copied, item.attempts + 1, item.sequencer))
        except (TransferError, Busy) as error:
            if _costless(error) and len(message.items) == 1 and not await self._endpoint_trouble(work, error):
                work.release = _delay(item.attempts)
            elif work.release is None:
                await self._failed(work, message.run, item, error, retry_id)

    async def _transfer(self, work: Work, run: int, item: Item) -> Copied | None:
        """Copy one object; None when its parts go on as messages of their own."""
        route = self._route
        if route.server_side and item.size <= COPY_LIMIT:
            copied = await copy_in_store(route, item)
            if copied:
                return copied
        if item.size <= route.parameters.multipart_threshold:
            return await relay_whole(route, item)
        if item.size >= route.parameters.giant_object_threshold:
            await self._multipart.begin(run, item, spread=True)
            return None
        upload, copied = await self._multipart.transfer(run, item)
        work.finished_uploads.append(upload)
        return copied

    async def _look(self, item: Item) -> Item:
        """The object as it is now."""
        answer = await self._route.source.head(item.key)
        return replace(
            item,
            size=int(answer.headers.get("content-length", "0")),
            etag=answer.headers.get("etag", "").strip('"'),
        )

    async def _part(self, work: Work, message: PartMessage) -> None:
        uploads = self._platform.uploads
        upload = await uploads.get(message.key)
        if (
            upload is None
            or upload.upload_id != message.upload_id
            or upload.state is not UploadState.UPLOADING
        ):
            # Its upload was thrown away, or is being completed. Who threw it away may have died before it said what
            # follows.
            if work.delivery.receives > 1 and upload and upload.upload_id == message.upload_id:
                work.again += [
                    Again(each, 0.0)
                    for each in await ownership.left_behind(self._platform.records, upload, message)
                ]
            return
        try:
            part = await self._multipart.copy_part(upload, message.number)
            self._succeeded()
            after = await uploads.part_done(message.key, message.upload_id, part)
            if after and after.parts_done == after.parts:
                copied = await self._multipart.complete(after)
                if copied:
                    work.outcomes.append(
                        _done(message.key, after.run, copied, after.attempts, after.sequencer)
                    )
                    work.finished_uploads.append(after)
        except (TransferError, Busy) as error:
            await self._part_failed(work, message, upload, error)

    async def _part_failed(self, work: Work, message: PartMessage, upload: Upload, error: HubError) -> None:
        if await self._endpoint_trouble(work, error):
            return
        if _costless(error):
            work.release = _delay(message.attempts)
            return
        attempts = message.attempts + 1
        passing = getattr(error, "disposition", None) is Disposition.RETRY
        if passing and attempts < MAX_ATTEMPTS and not isinstance(error, UploadLost):
            again = part_message(
                message.run,
                message.key,
                message.upload_id,
                message.etag,
                message.size,
                message.part_size,
                message.number,
                attempts,
            )
            work.again.append(Again(encode(again), _delay(attempts)))
            _log_failure("part failed, and is tried again", message.key, error, attempts, part=message.number)
            return
        final = attempts >= MAX_ATTEMPTS
        spent = (attempts if final else upload.attempts) - 1
        item = Item(upload.key, upload.size, upload.etag, spent, upload.sequencer)
        if isinstance(error, UploadLost) or await self._abort(upload):
            await self._failed(work, message.run, item, error, f"{message.id}.o", final=final)

    async def _abort(self, upload: Upload) -> bool:
        """Throw an upload away with all its parts; False where another part came first and decides what follows."""
        try:
            return await self._multipart.abort(upload)
        except TransferError:
            return True  # it is tried again when the object is, or by the controller

    async def _deletes(self, work: Work, message: DeleteMessage) -> None:
        """Each key is looked up at the source once more; only what is surely gone there is deleted."""
        deleted: list[str] = []
        kept: list[str] = []
        failed: list[str] = []
        for key in message.keys:
            try:
                (deleted if await self._delete_extra(key) else kept).append(key)
            except TransferError as error:
                if not await self._endpoint_trouble(work, error):
                    if not _costless(error):
                        failed.append(key)
                        continue
                    work.release = _delay(0)
                break
        await self._platform.records.settle_extras(message.run, deleted, kept, failed)

    async def _delete_extra(self, key: str) -> bool:
        """Whether a destination key was deleted: not if its source is there again, nor if mirroring was given up."""
        route = self._route
        if route.parameters.delete_mode is not DeleteMode.MIRROR:
            return False
        try:
            await retry(lambda: route.source.head(route.keys.to_source(key)))
            return False
        except SourceGone:
            await retry(lambda: route.dest.delete(key))
            return True

    async def _event(self, work: Work, message: EventMessage) -> None:
        try:
            await events.apply(self._route, self._platform, message)
        except TransferError as error:
            if not await self._endpoint_trouble(work, error):
                work.release = _delay(work.delivery.receives)

    # ------------------------------------------------------------------------------------------- failures

    async def _failed(
        self, work: Work, run: int, item: Item, error: HubError, retry_id: str, *, final: bool = False
    ) -> None:
        """Decide what follows from a failure: again, cancelled, or a dead letter."""
        if await self._endpoint_trouble(work, error):
            return
        disposition = getattr(error, "disposition", Disposition.RETRY)
        attempts = item.attempts + (0 if _costless(error) else 1)
        status = Status.CANCELLED if disposition is Disposition.GONE else Status.FAILED
        # An upload is lost, too, where another part saw the change first and threw it away.
        changed = disposition is Disposition.CHANGED or isinstance(error, UploadLost)
        if changed and attempts < MAX_ATTEMPTS:
            try:
                item = await self._look(item)
            except SourceGone as gone:
                error, status, final = gone, Status.CANCELLED, True
            except TransferError:
                pass  # tried again with what was known; it will be looked at again
        retried = disposition in (Disposition.RETRY, Disposition.CHANGED)
        if retried and attempts < MAX_ATTEMPTS and not final:
            message = ObjectsMessage(retry_id, run, [Item(item.key, item.size, item.etag, attempts)])
            delay = 0.0 if disposition is Disposition.CHANGED else _delay(attempts)
            work.again.append(Again(encode(message), delay))
            _log_failure("object failed, and is tried again", item.key, error, attempts)
            return
        _log_failure(f"object {status.lower()}", item.key, error, attempts)
        try:
            if status is Status.CANCELLED and events.was_deleted(item.sequencer):
                await events.follow_deletion(self._route, item.key)
        except TransferError:
            work.again.append(Again(encode(ObjectsMessage(retry_id, run, [item])), _delay(attempts)))
            return
        try:
            await self._multipart.abort_key(item.key, run)
        except TransferError as problem:
            await self._platform.records.add_note(run, f"an upload of key {item.key!r} is left: {problem}")
        work.outcomes.append(
            Outcome(
                key=item.key,
                run=run,
                status=status,
                etag=item.etag,
                attempts=max(1, attempts),
                reason=getattr(error, "code", "") or type(error).__name__,
                detail=str(error),
                sequencer=item.sequencer,
            )
        )

    async def _endpoint_trouble(self, work: Work, error: HubError) -> bool:
        """Trouble that no object is to blame for: give the work back and, where it will not pass, pause the task."""
        if isinstance(error, EndpointRefused) or not isinstance(error, TransferError):
            if isinstance(error, Busy):
                return False
            await self._pause(str(error))
            work.release = RELEASE_DELAY
            return True
        if isinstance(error, ConnectionFailed):
            now = time.monotonic()
            self._failing_since = self._failing_since or now
            if now - self._failing_since > UNREACHABLE:
                await self._pause(f"unreachable for {UNREACHABLE:.0f} s: {error}")
                work.release = RELEASE_DELAY
                return True
        return False

    def _succeeded(self) -> None:
        self._failing_since = 0.0

    async def _pause(self, reason: str) -> None:
        await self._platform.records.pause(reason)
        self.stop()

    # -------------------------------------------------------------------------------------------- keeping

    def _finish_one(self, work: Work, *, last: bool = False) -> None:
        work.remaining -= 0 if last else 1
        if work.remaining == 0 or last:
            self._done.append(work)
        if len(self._done) >= 10 or sum(len(done.outcomes) for done in self._done) >= FLUSH_COUNT:
            self._wake.set()

    async def _commit_loop(self) -> None:
        while True:
            # Not `wait_for`: that of Python 3.11 loses a cancellation that comes in the moment its future is done, and
            # a loop that was cancelled in vain keeps `run` from ending.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH):
                    await self._wake.wait()
            self._wake.clear()
            await self._commit()

    async def _commit(self) -> None:
        done, self._done = self._done, []
        kept = [work for work in done if not work.lost]
        if kept:
            outcomes = [outcome for work in kept for outcome in work.outcomes]
            overtaken = await ownership.settle(self._platform.records, self._route, outcomes)
            await self._platform.queue.send(overtaken)
            await self._send_again([again for work in kept for again in work.again])
            for work in kept:
                for upload in work.finished_uploads:
                    await self._multipart.finish(upload)
            await self._platform.queue.delete([work.delivery for work in kept if work.release is None])
            for work in kept:
                if work.release is not None:
                    await self._give_back(work)
        self._held.difference_update(done)

    async def _give_back(self, work: Work) -> None:
        """Release the delivery. Of a pack that was begun, what is left goes on in messages of its own."""
        queue, delay = self._platform.queue, work.release or 0.0
        if not work.outcomes:
            await queue.release([work.delivery], delay)
            return
        message = decode(work.delivery.id, work.delivery.body)
        assert isinstance(message, ObjectsMessage)
        settled = {outcome.key for outcome in work.outcomes}
        singles = [
            child(message, n, item) for n, item in enumerate(message.items, 1) if item.key not in settled
        ]
        sent = {again.message.id for again in work.again}
        await queue.send([encode(single) for single in singles if single.id not in sent], delay)
        await queue.delete([work.delivery])

    async def _send_again(self, again: Sequence[Again]) -> None:
        by_delay: dict[float, list[Outgoing]] = {}
        for each in again:
            by_delay.setdefault(each.delay, []).append(each.message)
        for delay, messages in by_delay.items():
            await self._platform.queue.send(messages, delay)

    async def _heartbeat(self) -> None:
        extended = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            await self._report()
            if time.monotonic() - extended < HEARTBEAT:
                continue
            extended = time.monotonic()
            self._look_for_progress()
            held = {work.delivery.id: work for work in self._held}
            for lost in await self._platform.queue.extend([work.delivery for work in held.values()], LEASE):
                held[lost].lost = True
            if await self._platform.records.paused():
                self.stop()

    def _look_for_progress(self) -> None:
        """Work that stands still is not held for ever: the worker ends, and the queue hands it out again.

        Heartbeats are counted, not seconds: a process that was stopped for a while has missed nothing."""
        route = self._route
        seen = (frozenset(self._held), route.transport.requests, route.transport.bytes_under_way)
        held_back = route.source.held_back or route.dest.held_back
        moves = seen != self._seen or held_back or not self._held
        self._seen = seen
        self._still = 0 if moves else self._still + 1
        if self._still >= STILL:
            held = len(self._held)
            log.error("the work in hand stands still, and is given up", extra={"fields": {"held": held}})
            raise Stalled(f"{held} messages in hand, and nothing has moved for {STILL * HEARTBEAT:.0f} s")

    async def _report(self) -> None:
        gauge, route = self._progress, self._route
        gauge.at = time.time()
        source, dest = route.source.gate, route.dest.gate
        gauge.throttled = source.throttled + dest.throttled
        gauge.errors = source.errors + dest.errors
        gauge.source_latency, gauge.dest_latency = source.take_latency() * 1000, dest.take_latency() * 1000
        transport = route.transport
        gauge.bytes_in, gauge.bytes_out, gauge.requests = (
            transport.bytes_in,
            transport.bytes_out,
            transport.requests,
        )
        await self._platform.gauges.report(gauge)
        for note in {*route.source.capabilities.notes, *route.dest.capabilities.notes} - self._notes:
            self._notes.add(note)
            await self._note(note)

    async def _note(self, note: str) -> None:
        """Leave a note with the run of the message taken last, or else the newest."""
        log.info(note)
        records = self._platform.records
        run = self._run or next((run.id for run in await records.list_runs(1)), 0)
        if run:
            await records.add_note(run, note)

    async def _drain(self) -> None:
        """Give back what was not begun, wait for what was."""
        untouched = [self._todo.get_nowait() for _ in range(self._todo.qsize())]
        for work, _, _ in untouched:
            work.release = 0.0
            self._finish_one(work)
        while self._held:  # noqa: ASYNC110 - the commit loop empties it, several times a second
            await asyncio.sleep(0.02)


def _log_failure(what: str, key: str, error: HubError, attempts: int, **more: int) -> None:
    reason = getattr(error, "code", "") or type(error).__name__
    fields = {"key": key, **more, "reason": reason, "detail": str(error), "attempts": attempts}
    log.warning(what, extra={"fields": fields})


def _done(key: str, run: int, copied: Copied, attempts: int, sequencer: str | None) -> Outcome:
    return Outcome(
        key=key,
        run=run,
        status=Status.DONE,
        bytes=copied.size,
        etag=copied.etag,
        dest_etag=copied.dest_etag,
        proof=copied.proof,
        attempts=attempts,
        sequencer=sequencer,
    )


def _suspect(delivery: Delivery) -> bool:
    return delivery.receives >= SPLIT_AT


def _costless(error: HubError) -> bool:
    """Whether a failure is nobody's attempt: the store asked to wait, did not answer, or another worker is at it."""
    return isinstance(error, Throttled | ConnectionFailed | Busy)


def _delay(attempts: int) -> float:
    return float(RELEASE_DELAY * 2 ** min(attempts, 6))
