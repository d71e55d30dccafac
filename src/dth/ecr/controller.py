"""The safety net below the worker."""

from dth.ecr.messages import BadMessage, decode
from dth.platforms.ports import Outcome, Platform, Status


async def settle_dead(platform: Platform) -> None:
    """Images that crashed their worker too often have failed."""
    while dead := await platform.queue.receive_dead(100):
        for delivery in dead:
            try:
                order = decode(delivery.body)
            except BadMessage:
                continue
            image = order.record(Status.FAILED)
            image.moved, image.attempts, image.reason = 0, delivery.receives, "WorkerCrashed"
            image.detail = f"its worker ended {delivery.receives} times before the image was copied"
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
        await platform.queue.delete(dead)
