"""The worker: takes the images of the queue, copies several at once, and writes what became of each.

An image whose layers another one brings waits for that one; so every message that waits is held, and only those that
could begin are counted against what may be held. The order that loses nothing is as everywhere: the image's record, the
outcome, then the message. Everything before can happen twice without harm.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from dth.core.errors import Disposition, HubError, SourceGone, Throttled, TransferError
from dth.core.ports.gauges import Gauge
from dth.core.ports.images import ImageRecord
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Delivery
from dth.core.ports.records import Outcome
from dth.core.ports.status import Status
from dth.images.copier import Copied, Copier
from dth.images.messages import BadMessage, Order, decode
from dth.images.registry.client import RefusedAlone
from dth.images.registry.pace import paces_of
from dth.images.skopeo.said import CORRUPTED, UNKNOWN, same_words
from dth.images.task import Front, Route
from dth.images.trouble import Judge

LEASE = 300.0  # seconds; extended while the work goes on
BATCH = 100  # messages that are received at once
HEARTBEAT = 20.0  # seconds between extensions and between looks at the pause switch
WAIT = 1.0  # seconds for which an empty queue is asked
LOOK = 2.0  # seconds between looks at what another process has in hand
PAUSES = (5.0, 30.0, 120.0)  # seconds before an image is tried again; the last one stays
# Seconds of being asked to wait after which an image has failed; Docker Hub's window is 6 h.
PATIENCE = 7 * 3600.0
LEAST_WAIT = 1.0  # seconds that one refusal counts against it
MOST_HELD = 200  # messages in hand while a registry lets us wait

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Held:
    """A message in hand."""

    delivery: Delivery
    order: Order
    waits: bool = True  # for another image
    lost: bool = False
    moved: int = 0  # bytes that were read for it, in all tries
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Worker:
    """The worker of one task, on one event loop."""

    def __init__(self, name: str, route: Route, platform: Platform) -> None:
        self._route = route
        self._platform = platform
        self._copier = Copier(route)
        self._judge = Judge()
        self._slots = asyncio.Semaphore(route.parameters.max_concurrency)
        self._held: dict[str, Held] = {}  # by key
        self._fresh: list[Delivery] = []  # received, and not looked at yet
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._reading: dict[str, int] = {}  # bytes read for the images in hand
        self._read = 0  # for those before
        self._failure: BaseException | None = None
        self._gauge = Gauge(name, "worker", time.time(), started=time.time())

    def stop(self) -> None:
        """End what is being copied, and give everything back."""
        self._stopping.set()

    @property
    def busy(self) -> bool:
        """Whether there is an image in hand."""
        return bool(self._held or self._fresh)

    async def run(self) -> None:
        paces_of(self._route.origin.transport).tell = self._tell
        loops = [
            asyncio.create_task(each) for each in (self._receive(), self._heartbeat(), self._stopping.wait())
        ]
        try:
            finished, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                task.result()
            if self._failure:
                raise self._failure
        finally:
            tasks = [*loops, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(HubError):
                held = [each.delivery for each in self._held.values() if not each.lost]
                await self._platform.queue.release([*held, *self._fresh])
                await self._report()

    # ------------------------------------------------------------------------------------------ receiving

    async def _receive(self) -> None:
        while True:
            if self._has_enough():
                await asyncio.sleep(0.05)
                continue
            self._fresh = await self._platform.queue.receive(BATCH, LEASE, WAIT)
            await self._accept()

    def _has_enough(self) -> bool:
        """Whether to leave the rest in the queue: there it costs nothing, and others may take it."""
        fronts = (*self._route.origin.fronts, self._route.dest)
        if len(self._held) >= MOST_HELD and any(front.registry.pace.waits for front in fronts):
            return True
        begun = sum(not held.waits for held in self._held.values())
        return begun >= 2 * self._route.parameters.max_concurrency

    async def _accept(self) -> None:
        """Take up what has been received. What is not for us is given back or dropped last, when all the rest is held:
        we may be stopped at any moment."""
        orders: list[tuple[Delivery, Order]] = []
        drop: list[Delivery] = []
        for delivery in self._fresh:
            try:
                orders.append((delivery, decode(delivery.body)))
            except BadMessage as error:
                log.warning("message dropped", extra={"fields": {"reason": str(error)}})
                drop.append(delivery)
        records = await self._platform.records.get([order.key for _, order in orders])
        later: list[Delivery] = []
        for delivery, order in orders:
            record = records.get(order.key)
            if record is None or record.status is not Status.PENDING or record.run != order.run:
                drop.append(delivery)
            elif order.key in self._held:  # its lease was lost, and its first try has not noticed yet
                later.append(delivery)
            else:
                self._hold(Held(delivery, order))
        self._fresh = [*drop, *later]
        await self._platform.queue.delete(drop)
        await self._platform.queue.release(later, LOOK)
        self._fresh = []

    def _hold(self, held: Held) -> None:
        self._held[held.order.key] = held
        task = asyncio.create_task(self._carry(held))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._failure = error
            self._stopping.set()

    # ------------------------------------------------------------------------------------------- carrying

    async def _carry(self, held: Held) -> None:
        order = held.order
        for key in order.after:
            await self._end_of(key, order.run)
        image = await self._copy(held)
        image.key = order.key  # under which it is waited for, whatever is there by now
        if not held.lost:
            await self._settle(held, image)
        del self._held[order.key]
        held.ended.set()

    async def _end_of(self, key: str, run: int) -> None:
        """Wait until an image of this run is no longer under way, here or elsewhere. (Images of one run never wait for
        each other; those of two might.)"""
        while True:
            held = self._held.get(key)
            if held and held.order.run == run:
                await held.ended.wait()
                return
            record = (await self._platform.records.get([key])).get(key)
            if record is None or record.status is not Status.PENDING or record.run != run:
                return
            await asyncio.sleep(LOOK)

    async def _settle(self, held: Held, image: ImageRecord) -> None:
        await self._platform.images.write([image])
        await self._platform.records.settle(
            [
                Outcome(
                    image.key,
                    image.run,
                    image.status,
                    image.moved if image.status is Status.DONE else 0,
                    image.source_digest,
                    image.dest_digest,
                    attempts=image.attempts,
                    reason=image.reason,
                    detail=image.detail,
                )
            ]
        )
        await self._platform.queue.delete([held.delivery])

    async def _copy(self, held: Held) -> ImageRecord:
        """Try until it is copied, refused, or tried often enough; and how it went."""
        order, begun = held.order, time.time()
        attempts, asked_to_wait, said = 0, 0.0, ""
        while True:
            try:
                async with self._place(held):
                    # Written first: by it one that crashes its worker is told from those that are merely held.
                    await self._platform.images.write([order.record(attempts=attempts + 1)])
                    copied = await self._try(held, order)
                return self._copied(held, copied, attempts + 1, begun)
            except TransferError as error:
                if isinstance(error, Throttled) and not isinstance(error, RefusedAlone):
                    asked_to_wait += await self._hold_back(order, error)
                    if asked_to_wait > PATIENCE:
                        return self._failed(order, error, attempts + 1, begun)
                    continue
                attempts += 1
                if isinstance(error, SourceGone) and order.digest:
                    order = _anew(
                        order
                    )  # the tag may be another image by now, or the image be there after all
                    continue
                futile = error.code in (UNKNOWN, CORRUPTED) and same_words(error.said, said)
                if (
                    error.disposition is not Disposition.RETRY
                    or futile
                    or attempts > self._route.parameters.retries
                ):
                    await self._see_whether_all(order, error)
                    return self._failed(order, error, attempts, begun)
                said = error.said
                pause = PAUSES[min(attempts, len(PAUSES)) - 1]
                _log("image failed, and is tried again", order, error, attempts=attempts, pause=pause)
                held.waits = True
                await asyncio.sleep(pause)

    async def _see_whether_all(self, order: Order, error: TransferError) -> None:
        """Pause the task, and never return, if nothing can pass any more: one refused sign-in is enough."""
        front = self._front(order, error.host)
        if whole := await self._judge.whole(front.registry, error):
            _log("paused, because nothing can pass", order, whole)
            await self._platform.records.pause(str(whole))
            self.stop()
            await asyncio.Event().wait()  # what is in hand is given back

    def _front(self, order: Order, host: str) -> Front:
        """The registry that an error is of."""
        dest = self._route.dest
        return dest if host == dest.registry.host else self._route.origin.at(host or order.source.registry)

    async def _try(self, held: Held, order: Order) -> Copied:
        self._gauge.in_flight += 1
        try:
            return await self._copier.copy(order, lambda read: self._reading.__setitem__(order.key, read))
        finally:
            self._gauge.in_flight -= 1
            read = self._reading.pop(order.key, 0)
            self._read += read
            held.moved += read

    def _copied(self, held: Held, copied: Copied, attempts: int, begun: float) -> ImageRecord:
        order = copied.order
        image = order.record(Status.DONE)
        image.dest_digest, image.attempts = copied.dest_digest, attempts
        image.moved = held.moved
        image.size = image.size or image.moved
        image.ended = time.time()
        image.seconds = round(image.ended - begun, 3)
        fields = {
            "image": order.key,
            "digest": image.dest_digest,
            "bytes": image.moved,
            "seconds": image.seconds,
        }
        log.info("image is there already" if copied.there else "image copied", extra={"fields": fields})
        return image

    def _failed(self, order: Order, error: TransferError, attempts: int, begun: float) -> ImageRecord:
        gone = error.disposition is Disposition.GONE
        image = order.record(Status.CANCELLED if gone else Status.FAILED)
        image.moved, image.attempts = 0, attempts
        image.reason, image.detail = error.code or type(error).__name__, str(error)
        image.ended = time.time()
        image.seconds = round(image.ended - begun, 3)
        _log(f"image {image.status.lower()}", order, error, attempts=attempts)
        return image

    # ------------------------------------------------------------------------------------------ throttling

    @contextlib.asynccontextmanager
    async def _place(self, held: Held) -> AsyncIterator[None]:
        """One of the places for images that are copied, as soon as both registries let us."""
        while True:
            held.waits = True
            while (seconds := self._wait_of(held.order)) > 0:  # noqa: ASYNC110 - it may be put off
                await asyncio.sleep(seconds)
            held.waits = False
            async with self._slots:
                if self._wait_of(held.order) <= 0:  # it may have been asked of us while we waited
                    yield
                    return

    def _wait_of(self, order: Order) -> float:
        """Seconds for which nothing is to be asked of its registries."""
        fronts = self._route.origin.at(order.source.registry), self._route.dest
        return max(front.registry.pace.waits for front in fronts)

    async def _hold_back(self, order: Order, error: Throttled) -> float:
        """A registry asked us to wait, for longer than one request does. Nothing is copied from or to it meanwhile.
        Returns the seconds."""
        pace = self._front(order, error.host).registry.pace
        self._gauge.throttled += 1
        _log("waiting, as the registry asked", order, error, seconds=round(pace.waits))
        await pace.note()
        return max(pace.waits, LEAST_WAIT)

    async def _tell(self, note: str) -> None:
        """Let every run know of it that has images in hand."""
        for run in sorted({held.order.run for held in self._held.values()}):
            await self._platform.records.add_note(run, note)

    # --------------------------------------------------------------------------------------------- keeping

    async def _heartbeat(self) -> None:
        extended = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            await self._report()
            if time.monotonic() - extended < HEARTBEAT:
                continue
            extended = time.monotonic()
            by_id = {held.delivery.id: held for held in self._held.values()}
            for lost in await self._platform.queue.extend([held.delivery for held in by_id.values()], LEASE):
                by_id[lost].lost = True
            if await self._platform.records.paused():
                self.stop()

    async def _report(self) -> None:
        gauge = self._gauge
        gauge.at = time.time()
        gauge.bytes_in = gauge.bytes_out = self._read + sum(self._reading.values())
        gauge.requests = self._route.requests
        gauge.counted, gauge.under_way = self._read, sum(self._reading.values())
        await self._platform.gauges.report(gauge)


def _anew(order: Order) -> Order:
    """The same image, whatever it is by now."""
    return Order(order.run, order.source, order.dest, about=order.about, platforms=order.platforms)


def _log(what: str, order: Order, error: TransferError, **more: float) -> None:
    fields = {"image": order.key, "reason": error.code or type(error).__name__, "detail": str(error), **more}
    log.warning(what, extra={"fields": fields})
