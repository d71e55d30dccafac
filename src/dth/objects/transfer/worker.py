"""A worker takes messages, transfers objects and parts, and writes outcomes.

The order prevents losses: the worker settles outcomes, then sends retries as messages of their own,
then deletes the original message. All steps before the delete can happen twice without harm.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from dth.core import clock, native
from dth.core.errors import HubError
from dth.core.ports.gauges import Gauge
from dth.core.ports.platform import Platform
from dth.core.ports.queue import BadMessage, Delivery, Outgoing
from dth.objects.store.pace import Lanes
from dth.objects.store.wire import SLOW_ANSWER
from dth.objects.transfer import ownership
from dth.objects.transfer.failures import RELEASE_DELAY
from dth.objects.transfer.handlers import Again, Handlers, LeasedMessage, ListRange
from dth.objects.transfer.messages import (
    Message,
    ObjectsMessage,
    RangeMessage,
    child,
    decode,
    encode,
)
from dth.objects.transfer.relay import ObjectRoute, lanes

# Seconds. Extended while the work continues.
LEASE = 900.0
# Seconds that a receive waits on an empty queue. SQS charges per call.
WAIT = 20.0
# Seconds between lease extensions, and between checks of the pause switch.
HEARTBEAT = 20.0
# Heartbeats: twice the time that one request may be silent.
STILL = int(2 * SLOW_ANSWER / HEARTBEAT)
FLUSH = 0.1  # seconds between commits of outcomes
# Outcomes that trigger a commit without waiting.
FLUSH_COUNT = 400
# A pack received this often is split into single objects, which are then taken one at a time.
SPLIT_AT = 3
SHOWN_WAITS = 3  # keys named in the note of a gauge

log = logging.getLogger(__name__)


class Stalled(Exception):
    """The work made no progress for longer than every timeout: a defect in this program."""


class ObjectWorker:
    """One worker of one task, on one event loop. `list_range` lists what the finder leaves to
    others."""

    def __init__(
        self, name: str, route: ObjectRoute, platform: Platform, list_range: ListRange
    ) -> None:
        self._name = name
        self._route = route
        self._platform = platform
        self._handlers = Handlers(
            name, route, platform, self._pause, list_range, lambda: self._stopping.is_set()
        )
        # The lanes in use. Their number grows with what the stores accept.
        self._open = Lanes(route.width)
        self._todo: asyncio.Queue[tuple[LeasedMessage, Message, int]] = asyncio.Queue()
        self._held: set[LeasedMessage] = set()
        self._done: list[LeasedMessage] = []
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._room = asyncio.Event()
        self._progress = Gauge(name, "worker", clock.now(), started=clock.now())
        self._notes: set[str] = set()
        # The run of the message taken last. Notes go there.
        self._run = 0
        # At the last heartbeat: the messages in progress, and the counters of what had moved.
        self._seen: object = None
        self._still = 0  # heartbeats since that changed
        # Bytes of objects recorded in the ledger, except those transferred in parts.
        self._settled = 0

    def stop(self) -> None:
        """Drain: take no new work, finish the work in progress or give it back, then end."""
        self._stopping.set()
        self._room.set()

    async def run(self) -> None:
        """Work until `stop` is called or the task is paused, then drain. Raises what a lane or
        keeper raised."""
        native.keep_memory(self._route.budget.size)
        carriers = [asyncio.create_task(self._lane()) for _ in range(lanes(self._route.parameters))]
        keepers = [asyncio.create_task(self._commit_loop()), asyncio.create_task(self._heartbeat())]
        tasks = [asyncio.create_task(self._serve()), *keepers, *carriers]
        try:
            finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                # Keepers and lanes end only when they fail.
                task.result()
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

    # ------------------------------------------------------------------------------------ receiving

    async def _receive_loop(self) -> None:
        while not self._stopping.is_set():
            if self._todo.qsize() >= self._open.limit:
                self._room.clear()
                await self._room.wait()
                continue
            # Other workers may have room for messages that would only wait here.
            if self._route.budget.short:
                await asyncio.sleep(0.02)
                continue
            deliveries = await self._one_suspect(await self._receive())
            await asyncio.gather(*map(self._accept, deliveries))
            while any(_suspect(work.delivery) for work in self._held):  # noqa: ASYNC110 - a rare case
                await asyncio.sleep(0.05)

    async def _receive(self) -> list[Delivery]:
        """The messages that the queue has. Returns without waiting for one when the worker is told
        to stop."""
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
        """Take messages whose consumers crashed twice one at a time, and take nothing else until
        that one is done. So the message that causes the crashes is identified, and the others do
        not run out of receives with it."""
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
            # Its consumers crashed twice. The object that caused it must not fail the others.
            singles = [encode(child(message, n, item)) for n, item in enumerate(message.items, 1)]
            await self._platform.queue.send(singles)
            await self._platform.queue.delete([delivery])
            return
        if isinstance(message, RangeMessage) and _suspect(delivery):
            # The finder continues the range: this worker would do nothing else meanwhile.
            await self._platform.queue.delete([delivery])
            return
        items = len(message.items) if isinstance(message, ObjectsMessage) else 1
        work = LeasedMessage(delivery, items)
        if isinstance(message, ObjectsMessage):
            work.settled = await ownership.take(
                self._platform.records, message, self._route.parameters
            )
        self._run = getattr(message, "run", self._run)
        self._held.add(work)
        if not items:
            self._finish_one(work, last=True)
            return
        for index in range(items):
            self._todo.put_nowait((work, message, index))

    # ------------------------------------------------------------------------------------- carrying

    async def _lane(self) -> None:
        if not self._open.enter_at_once():
            await self._open.enter()
        while True:
            work, message, index = await self._todo.get()
            if self._todo.qsize() < self._open.limit:
                self._room.set()
            if work.lost or work.release is not None:
                self._finish_one(work)
                continue
            self._progress.in_flight += 1
            try:
                await self._handlers.carry(work, message, index)
            finally:
                self._progress.in_flight -= 1
            if self._route.width > self._open.limit:
                self._open.resize(self._route.width)
            self._finish_one(work)

    async def _pause(self, reason: str) -> None:
        await self._platform.records.pause(reason)
        self.stop()

    # -------------------------------------------------------------------------------------- keeping

    def _finish_one(self, work: LeasedMessage, *, last: bool = False) -> None:
        work.remaining -= 0 if last else 1
        if work.remaining == 0 or last:
            self._done.append(work)
        if len(self._done) >= 10 or sum(len(done.outcomes) for done in self._done) >= FLUSH_COUNT:
            self._wake.set()

    async def _commit_loop(self) -> None:
        while True:
            # Not `wait_for`: in Python 3.11 it loses a cancellation that arrives when its future is
            # just done. A loop that missed its cancellation would keep `run` from ending.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH):
                    await self._wake.wait()
            self._wake.clear()
            await self._commit()

    async def _commit(self) -> None:
        """Write what has arrived, including the outcomes of packs still in progress, so that after
        a kill only the work in flight is repeated."""
        done, self._done = self._done, []
        await self._write_outcomes()
        kept = [work for work in done if not work.lost]
        if kept:
            await self._send_again([again for work in kept for again in work.again])
            for work in kept:
                for upload in work.finished_uploads:
                    await self._handlers.multipart.finish(upload)
            await self._platform.queue.delete(
                [work.delivery for work in kept if work.release is None]
            )
            for work in kept:
                if work.release is not None:
                    await self._give_back(work)
        self._held.difference_update(done)

    async def _write_outcomes(self) -> None:
        outcomes, copied = [], 0
        for work in self._held:
            if not work.lost:
                outcomes += work.outcomes[work.written :]
                copied += _copied(work)
                work.written = len(work.outcomes)
        if outcomes:
            overtaken = await ownership.settle(self._platform.records, self._route, outcomes)
            await self._platform.queue.send(overtaken)
            self._settled += copied

    async def _give_back(self, work: LeasedMessage) -> None:
        """Release the delivery. If a pack was begun, send the rest of it in messages of its own."""
        queue, delay = self._platform.queue, work.release or 0.0
        if not work.outcomes:
            await queue.release([work.delivery], delay)
            return
        message = decode(work.delivery.id, work.delivery.body)
        assert isinstance(message, ObjectsMessage)
        settled = {outcome.key for outcome in work.outcomes}
        singles = [
            child(message, n, item)
            for n, item in enumerate(message.items, 1)
            if item.key not in settled
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
            for lost in await self._platform.queue.extend(
                [work.delivery for work in held.values()], LEASE
            ):
                held[lost].lost = True
            if await self._platform.records.paused():
                self.stop()

    def _look_for_progress(self) -> None:
        """Do not hold work that makes no progress: end the worker, so that the queue delivers the
        work again.

        Counts heartbeats, not seconds: a process that was suspended for a while has missed
        nothing."""
        route = self._route
        seen = (frozenset(self._held), route.transport.requests, route.transport.bytes_under_way)
        held_back = route.source.held_back or route.dest.held_back
        moves = seen != self._seen or held_back or not self._held
        self._seen = seen
        self._still = 0 if moves else self._still + 1
        if self._still >= STILL:
            held = len(self._held)
            log.error(
                "the work in progress has stalled, and is given up",
                extra={"fields": {"held": held}},
            )
            raise Stalled(
                f"{held} messages in progress, and nothing has moved for {STILL * HEARTBEAT:.0f} s"
            )

    async def _report(self) -> None:
        gauge, route = self._progress, self._route
        gauge.at = clock.now()
        gauge.note = _waits(self._handlers.waiting) or _throttled(route)
        source, dest = route.source.gate, route.dest.gate
        gauge.throttled = source.throttled + dest.throttled
        gauge.errors = source.errors + dest.errors
        gauge.source_latency, gauge.dest_latency = (
            source.take_latency() * 1000,
            dest.take_latency() * 1000,
        )
        transport = route.transport
        gauge.bytes_in, gauge.bytes_out, gauge.requests = (
            transport.bytes_in,
            transport.bytes_out,
            transport.requests,
        )
        gauge.counted = self._settled + route.tally.recorded
        # A relayed byte counts half when it was received, and in full when it was sent.
        gauge.under_way = (transport.bytes_under_way + route.tally.held) // 2 + sum(
            map(_copied, self._held)
        )
        await self._platform.gauges.report(gauge)
        for note in {
            *route.source.capabilities.notes,
            *route.dest.capabilities.notes,
        } - self._notes:
            self._notes.add(note)
            await self._note(note)

    async def _note(self, note: str) -> None:
        """Add a note to the run of the message taken last, or to the newest run."""
        log.info(note)
        records = self._platform.records
        run = self._run or next((run.id for run in await records.list_runs(1)), 0)
        if run:
            await records.add_note(run, note)

    async def _drain(self) -> None:
        """Give back work that was not begun, and wait for the rest."""
        untouched = [self._todo.get_nowait() for _ in range(self._todo.qsize())]
        for work, _, _ in untouched:
            work.release = 0.0
            self._finish_one(work)
        while self._held:  # noqa: ASYNC110 - the commit loop empties it, several times a second
            await asyncio.sleep(0.02)


def _waits(waiting: dict[str, tuple[str, float]]) -> str:
    """What the worker waits for, in one line; "" for nothing. Drops what another worker must have
    taken since."""
    now = time.monotonic()
    for key in [key for key, (_, until) in waiting.items() if until < now]:
        del waiting[key]
    if not waiting:
        return ""
    first = list(waiting.items())[:SHOWN_WAITS]
    named = "; ".join(f"{key!r}: {reason}" for key, (reason, _) in first)
    return f"waiting for {len(waiting)} object{'s' if len(waiting) > 1 else ''}: {named}"


def _throttled(route: ObjectRoute) -> str:
    """The request rates that the stores accept after they refused more; "" if they refused
    nothing."""
    return "; ".join(
        f"the {side} throttles: {client.throttled_to:.0f} requests/s"
        for side, client in (("source", route.source), ("destination", route.dest))
        if client.throttled_to
    )


def _copied(work: LeasedMessage) -> int:
    """Bytes of its objects that are copied but not in the ledger yet. Objects in parts are counted
    part by part."""
    parted = {upload.key for upload in work.finished_uploads}
    return sum(
        outcome.bytes for outcome in work.outcomes[work.written :] if outcome.key not in parted
    )


def _suspect(delivery: Delivery) -> bool:
    return delivery.receives >= SPLIT_AT
