"""A worker: takes messages, carries objects and parts, writes outcomes.

The order that loses nothing: outcomes are settled, then what must be tried again is sent as messages of its own, then
the message is deleted. Everything before can happen twice without harm.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from dth.core import native
from dth.core.errors import HubError
from dth.core.ports.gauges import Gauge
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Delivery, Outgoing
from dth.objects.store.pace import Lanes
from dth.objects.store.wire import SLOW_ANSWER
from dth.objects.transfer import ownership
from dth.objects.transfer.failures import RELEASE_DELAY
from dth.objects.transfer.handlers import Again, Handlers, Work
from dth.objects.transfer.messages import BadMessage, Message, ObjectsMessage, child, decode, encode
from dth.objects.transfer.relay import Route, lanes

LEASE = 900.0  # seconds; extended while the work goes on
WAIT = 20.0  # seconds for which an empty queue is asked; SQS is paid by the call
HEARTBEAT = 20.0  # seconds between extensions and between looks at the pause switch
STILL = int(2 * SLOW_ANSWER / HEARTBEAT)  # heartbeats: twice the silence that one request may keep
FLUSH = 0.1  # seconds between commits of outcomes
FLUSH_COUNT = 400  # outcomes that are committed at once without waiting
SPLIT_AT = 3  # a pack received this often goes on as single objects, and those one at a time
SHOWN_WAITS = 3  # keys named in the note of a gauge

log = logging.getLogger(__name__)


class Stalled(Exception):
    """A worker's work stood still beyond every time-out: a defect of ours, whichever it is."""


class Worker:
    """One worker of one task, on one event loop."""

    def __init__(self, name: str, route: Route, platform: Platform) -> None:
        self._name = name
        self._route = route
        self._platform = platform
        self._handlers = Handlers(name, route, platform, self._pause)
        self._open = Lanes(route.width)  # those that are in use: more with what the stores take
        self._todo: asyncio.Queue[tuple[Work, Message, int]] = asyncio.Queue()
        self._held: set[Work] = set()
        self._done: list[Work] = []
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._room = asyncio.Event()
        self._progress = Gauge(name, "worker", time.time(), started=time.time())
        self._notes: set[str] = set()
        self._run = 0  # of the message taken last: notes go there
        self._seen: object = None  # at the last heartbeat: what was in hand, and what had moved
        self._still = 0  # heartbeats since that changed
        self._settled = 0  # bytes of objects that are in the ledger, without those in parts

    def stop(self) -> None:
        """Drain: take nothing new, finish what is in hand (or give it back), then end."""
        self._stopping.set()
        self._room.set()

    async def run(self) -> None:
        native.keep_memory(self._route.budget.size)
        carriers = [asyncio.create_task(self._lane()) for _ in range(lanes(self._route.parameters))]
        keepers = [asyncio.create_task(self._commit_loop()), asyncio.create_task(self._heartbeat())]
        tasks = [asyncio.create_task(self._serve()), *keepers, *carriers]
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
            if self._todo.qsize() >= self._open.limit:
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
        """Write what has come: outcomes of packs that are still being worked on, too, so that a kill repeats only what
        was in flight."""
        done, self._done = self._done, []
        await self._write_outcomes()
        kept = [work for work in done if not work.lost]
        if kept:
            await self._send_again([again for work in kept for again in work.again])
            for work in kept:
                for upload in work.finished_uploads:
                    await self._handlers.multipart.finish(upload)
            await self._platform.queue.delete([work.delivery for work in kept if work.release is None])
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
        gauge.note = _waits(self._handlers.waiting) or _throttled(route)
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
        gauge.counted = self._settled + route.tally.recorded
        # Of what passes through here a half has moved when it was received, all of it when it was sent.
        gauge.under_way = (transport.bytes_under_way + route.tally.held) // 2 + sum(map(_copied, self._held))
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


def _waits(waiting: dict[str, tuple[str, float]]) -> str:
    """What is being waited for, in one line; "" for nothing. Forgets what another worker must have taken up since."""
    now = time.monotonic()
    for key in [key for key, (_, until) in waiting.items() if until < now]:
        del waiting[key]
    if not waiting:
        return ""
    first = list(waiting.items())[:SHOWN_WAITS]
    named = "; ".join(f"{key!r}: {reason}" for key, (reason, _) in first)
    return f"waiting for {len(waiting)} object{'s' if len(waiting) > 1 else ''}: {named}"


def _throttled(route: Route) -> str:
    """At which rates the stores take requests, where they have refused more; "" where they have not."""
    return "; ".join(
        f"the {side} throttles: {client.throttled_to:.0f} requests/s"
        for side, client in (("source", route.source), ("destination", route.dest))
        if client.throttled_to
    )


def _copied(work: Work) -> int:
    """Bytes of its objects that are copied, and not in the ledger yet. What went in parts is counted part by part."""
    parted = {upload.key for upload in work.finished_uploads}
    return sum(outcome.bytes for outcome in work.outcomes[work.written :] if outcome.key not in parted)


def _suspect(delivery: Delivery) -> bool:
    return delivery.receives >= SPLIT_AT
