"""The worker: takes images from the queue, copies several at once, and writes the result of each.

An image waits for another image that transfers layers it needs. The worker therefore holds every
waiting message, and counts only images that can start against its limit. The write order is the
same as everywhere: the image's record, the outcome, then the message. This order loses nothing;
every earlier step can happen twice without harm.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from dth.core import clock
from dth.core.errors import Disposition, HubError, SourceGone, Throttled, TransferError
from dth.core.ports.gauges import Gauge
from dth.core.ports.images import ImageRecord
from dth.core.ports.platform import Platform
from dth.core.ports.queue import BadMessage, Delivery
from dth.core.ports.records import Outcome
from dth.core.ports.status import Status
from dth.core.retry_policy import RetryPolicy
from dth.images.copier import CopiedImage, Copier
from dth.images.messages import CopyOrder, decode
from dth.images.registry.client import RefusedAlone
from dth.images.registry.pace import paces_of
from dth.images.skopeo.error_texts import CORRUPTED, UNKNOWN, same_words
from dth.images.task import Front, ImageRoute
from dth.images.trouble import Judge, in_words, told

LEASE = 300.0  # seconds; extended during the work
BATCH = 100  # messages per receive
# Seconds between lease extensions and between checks of the pause switch.
HEARTBEAT = 20.0
WAIT = 1.0  # seconds to poll an empty queue
# Seconds between checks of an image that another process has in progress.
LOOK = 2.0
# Retries of an image: after 5 s, 30 s, and 120 s from then on.
AGAIN = RetryPolicy(first=5.0, last=120.0, factor=6.0)
# Seconds of throttling after which an image fails; Docker Hub's window is 6 h.
PATIENCE = 7 * 3600.0
# Least seconds of throttling that one refusal counts for.
LEAST_WAIT = 1.0
# Most messages in progress while a registry throttles.
MOST_HELD = 200

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Held:
    """A message in progress."""

    delivery: Delivery
    order: CopyOrder
    waits: bool  # for another image, or a registry
    lost: bool = False
    moved: int = 0  # bytes read for it, in all attempts
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ImageWorker:
    """The worker of one task, on one event loop."""

    def __init__(self, name: str, route: ImageRoute, platform: Platform) -> None:
        self._route = route
        self._platform = platform
        self._copier = Copier(route)
        self._judge = Judge()
        self._slots = asyncio.Semaphore(route.parameters.max_concurrency)
        self._held: dict[str, Held] = {}  # by key
        self._fresh: list[Delivery] = []  # received, not processed yet
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._reading: dict[str, int] = {}  # bytes read of images in progress
        self._read = 0  # bytes read of finished images
        self._failure: BaseException | None = None
        self._gauge = Gauge(name, "worker", clock.now(), started=clock.now())

    def stop(self) -> None:
        """Stop the copies in progress, and return their messages to the queue."""
        self._stopping.set()

    @property
    def busy(self) -> bool:
        """Whether an image is in progress."""
        return bool(self._held or self._fresh)

    async def run(self) -> None:
        """Work until stopped. Raises the first unexpected error of a copy."""
        paces_of(self._route.origin.transport).tell = self._tell
        loops = [
            asyncio.create_task(each)
            for each in (self._receive(), self._heartbeat(), self._stopping.wait())
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

    # ------------------------------------------------------------------------------------ receiving

    async def _receive(self) -> None:
        while True:
            if not (room := self._room()):
                await asyncio.sleep(0.05)
                continue
            self._fresh = await self._platform.queue.receive(room, LEASE, WAIT)
            await self._accept()

    def _room(self) -> int:
        """How many more messages to take. The rest costs nothing in the queue, and other workers
        may take it.
        """
        fronts = (*self._route.origin.fronts, self._route.dest)
        if len(self._held) >= MOST_HELD and any(front.registry.pace.waits for front in fronts):
            return 0
        begun = sum(not held.waits for held in self._held.values())
        return max(0, min(BATCH, 2 * self._route.parameters.max_concurrency - begun))

    async def _accept(self) -> None:
        """Start work on the messages received.

        The worker may stop at any moment, so it first holds its own messages and only then drops or
        releases the others.
        """
        orders: list[tuple[Delivery, CopyOrder]] = []
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
            elif order.key in self._held:
                # Its lease was lost, and the first attempt has not noticed yet.
                later.append(delivery)
            else:
                self._hold(Held(delivery, order, waits=bool(order.after)))
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

    # ------------------------------------------------------------------------------------- carrying

    async def _carry(self, held: Held) -> None:
        order = held.order
        for key in order.after:
            await self._end_of(key, order.run)
        image = await self._copy(held)
        # Other images wait for this key, whatever the source's tag is now.
        image.key = order.key
        if not held.lost:
            await self._settle(held, image)
        del self._held[order.key]
        held.ended.set()

    async def _end_of(self, key: str, run: int) -> None:
        """Wait until an image of this run is no longer in progress, here or in another process.

        (Images of one run never wait for each other in a cycle; images of two runs might.)
        """
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
        """Try until the image is copied, refused, or out of attempts. Return the result."""
        order, begun = held.order, clock.now()
        attempts, asked_to_wait, said = 0, 0.0, ""
        while True:
            try:
                async with self._place(held):
                    # Written first, to tell an image that crashes its worker from images that are
                    # merely held.
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
                    # The tag may be another image by now, or the image may exist after all.
                    order = _anew(order)
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
                pause = AGAIN.pause(attempts)
                _log(
                    "image failed, and is tried again", order, error, attempts=attempts, pause=pause
                )
                held.waits = True
                await asyncio.sleep(pause)

    async def _see_whether_all(self, order: CopyOrder, error: TransferError) -> None:
        """Pause the task, and never return, if no image can succeed any more.

        One refused sign-in is enough.
        """
        front = self._front(order, error.host)
        if whole := await self._judge.whole(front.registry, error):
            _log("paused, because nothing can pass", order, whole)
            await self._platform.records.pause(told(whole, self._route))
            self.stop()
            await asyncio.Event().wait()  # messages in progress are released

    def _front(self, order: CopyOrder, host: str) -> Front:
        """Return the registry that returned an error."""
        dest = self._route.dest
        return (
            dest
            if host == dest.registry.host
            else self._route.origin.at(host or order.source.registry)
        )

    async def _try(self, held: Held, order: CopyOrder) -> CopiedImage:
        self._gauge.in_flight += 1
        try:
            return await self._copier.copy(
                order, lambda read: self._reading.__setitem__(order.key, read)
            )
        finally:
            self._gauge.in_flight -= 1
            read = self._reading.pop(order.key, 0)
            self._read += read
            held.moved += read

    def _copied(self, held: Held, copied: CopiedImage, attempts: int, begun: float) -> ImageRecord:
        order = copied.order
        image = order.record(Status.DONE)
        image.dest_digest, image.attempts = copied.dest_digest, attempts
        image.moved = held.moved
        image.size = image.size or image.moved
        image.ended = clock.now()
        image.seconds = round(image.ended - begun, 3)
        fields = {
            "image": order.key,
            "digest": image.dest_digest,
            "bytes": image.moved,
            "seconds": image.seconds,
        }
        log.info(
            "image is there already" if copied.there else "image copied", extra={"fields": fields}
        )
        return image

    def _failed(
        self, order: CopyOrder, error: TransferError, attempts: int, begun: float
    ) -> ImageRecord:
        gone = error.disposition is Disposition.GONE
        image = order.record(Status.CANCELLED if gone else Status.FAILED)
        image.moved, image.attempts = 0, attempts
        image.reason, image.detail = error.code or type(error).__name__, in_words(error)
        image.ended = clock.now()
        image.seconds = round(image.ended - begun, 3)
        _log(f"image {image.status.lower()}", order, error, attempts=attempts)
        return image

    # ----------------------------------------------------------------------------------- throttling

    @contextlib.asynccontextmanager
    async def _place(self, held: Held) -> AsyncIterator[None]:
        """Take one of the places for copies in progress, once both registries allow requests."""
        while True:
            held.waits = True
            while (seconds := self._wait_of(held.order)) > 0:  # noqa: ASYNC110 - it may be put off
                await asyncio.sleep(seconds)
            held.waits = False
            async with self._slots:
                if self._wait_of(held.order) <= 0:  # A registry may have throttled meanwhile.
                    yield
                    return

    def _wait_of(self, order: CopyOrder) -> float:
        """Return the seconds for which its registries must not be asked."""
        fronts = self._route.origin.at(order.source.registry), self._route.dest
        return max(front.registry.pace.waits for front in fronts)

    async def _hold_back(self, order: CopyOrder, error: Throttled) -> float:
        """Handle a registry that throttles for longer than one request waits.

        Nothing is copied from or to it meanwhile. Returns the seconds.
        """
        pace = self._front(order, error.host).registry.pace
        self._gauge.throttled += 1
        _log("waiting, as the registry asked", order, error, seconds=round(pace.waits))
        await pace.note()
        return max(pace.waits, LEAST_WAIT)

    async def _tell(self, note: str) -> None:
        """Add a note to every run that has images in progress."""
        for run in sorted({held.order.run for held in self._held.values()}):
            await self._platform.records.add_note(run, note)

    # -------------------------------------------------------------------------------------- keeping

    async def _heartbeat(self) -> None:
        extended = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            await self._report()
            if time.monotonic() - extended < HEARTBEAT:
                continue
            extended = time.monotonic()
            by_id = {held.delivery.id: held for held in self._held.values()}
            for lost in await self._platform.queue.extend(
                [held.delivery for held in by_id.values()], LEASE
            ):
                by_id[lost].lost = True
            if await self._platform.records.paused():
                self.stop()

    async def _report(self) -> None:
        gauge = self._gauge
        gauge.at = clock.now()
        gauge.bytes_in = gauge.bytes_out = self._read + sum(self._reading.values())
        gauge.requests = self._route.requests
        gauge.counted, gauge.under_way = self._read, sum(self._reading.values())
        await self._platform.gauges.report(gauge)


def _anew(order: CopyOrder) -> CopyOrder:
    """Return an order for the same reference, without its planned digest."""
    return CopyOrder(
        order.run, order.source, order.dest, about=order.about, platforms=order.platforms
    )


def _log(what: str, order: CopyOrder, error: TransferError, **more: float) -> None:
    fields = {
        "image": order.key,
        "reason": error.code or type(error).__name__,
        "detail": str(error),
        **more,
    }
    log.warning(what, extra={"fields": fields})
