"""The safety net below the worker."""

import contextlib

from dth.core import clock
from dth.core.ports.platform import Platform
from dth.core.ports.queue import BadMessage, Delivery, Outgoing
from dth.core.ports.records import Outcome
from dth.core.ports.status import Status
from dth.images.messages import CopyOrder, decode


async def settle_dead(platform: Platform) -> None:
    """Fail images that crashed their worker too often.

    Images that only waited in a worker during the crashes are sent again.
    """
    await platform.records.reconcile()
    while dead := await platform.queue.receive_dead(100):
        for delivery in dead:
            with contextlib.suppress(BadMessage):
                await _settle(platform, delivery, decode(delivery.body))
        await platform.queue.delete(dead)


async def _settle(platform: Platform, delivery: Delivery, order: CopyOrder) -> None:
    record = (await platform.records.get([order.key])).get(order.key)
    if record is None or record.status is not Status.PENDING or record.run != order.run:
        return
    begun = (await platform.images.latest([order.key])).get(order.key)
    if begun is None or begun.run != order.run or not begun.attempts:
        await platform.queue.send([Outgoing(f"{delivery.id}+", delivery.body)])
        return
    image = order.record(Status.FAILED)
    image.moved, image.attempts, image.reason = 0, delivery.receives, "WorkerCrashed"
    image.detail = f"its worker ended {delivery.receives} times before the image was copied"
    image.ended = clock.now()
    await platform.images.write([image])
    await platform.records.settle(
        [
            Outcome(
                image.key,
                image.run,
                Status.FAILED,
                attempts=image.attempts,
                reason=image.reason,
                detail=image.detail,
            )
        ]
    )
