"""Runs in the container of an ECR task: `python -m dth.compose.aws.copy_images`.

Copies images from the task's queue until it is empty. The records contain the results; unfinished
images return to the queue.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
import uuid

from dth.compose.aws import CONTAINERS
from dth.core.errors import HubError
from dth.core.transport import Transport
from dth.hub.parameters import read_parameters as as_model
from dth.images.parameters import EcrParameters
from dth.images.task import open_route
from dth.images.worker import ImageWorker
from dth.platforms.aws.client import Aws
from dth.platforms.aws.confined import confine_by_environment
from dth.platforms.aws.parameters import read_parameters
from dth.platforms.aws.platform import AwsNames, AwsPlatform, open_platform
from dth.platforms.aws.shipper import shipping

IDLE = 20.0  # seconds without an image before it ends
LOOK = 1.0  # seconds between idle checks

log = logging.getLogger(__name__)


async def copy_images() -> None:
    """Copy images until the queue is empty, or SIGTERM. Raises HubError if nothing can be copied at
    all.
    """
    names = AwsNames.from_environment()
    name = f"copier-{uuid.uuid4().hex[:12]}"
    aws = Aws(names.region, names.endpoint)
    try:
        with shipping(aws, os.environ["DTH_LOG_GROUP"], f"copier/{name}") as shipper:
            async with open_platform(names, name, shipper) as platform:
                try:
                    await _work(name, platform)
                except HubError as error:
                    log.error("nothing can be copied: %s", error)
                    raise
    finally:
        aws.close()


async def _work(name: str, platform: AwsPlatform) -> None:
    kind, values = await read_parameters(platform.dynamo)
    parameters: EcrParameters = as_model(kind, values)
    # The task's concurrency is for all containers together.
    share = -(-parameters.max_concurrency // CONTAINERS)
    parameters = parameters.model_copy(update={"max_concurrency": share})
    with Transport() as transport:
        worker = ImageWorker(
            name, await open_route(parameters, transport, platform.secrets), platform
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        ender = asyncio.create_task(_end_when_idle(worker))
        log.info("copying", extra={"fields": {"at_once": share}})
        try:
            await worker.run()
        finally:
            ender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ender
        log.info("no image is left")


async def _end_when_idle(worker: ImageWorker) -> None:
    since = time.monotonic()
    while time.monotonic() - since < IDLE:
        await asyncio.sleep(LOOK)
        if worker.busy:
            since = time.monotonic()
    worker.stop()


def main() -> int:
    """Run the container. Returns the exit code."""
    try:
        confine_by_environment()
        asyncio.run(copy_images())
    except HubError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
