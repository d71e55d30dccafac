"""What the processes of a task for images do, on every platform."""

import asyncio
import contextlib
import logging
import signal
from dataclasses import asdict
from functools import partial
from typing import Any

from dth.core.errors import HubError, with_side
from dth.core.plugin import Process
from dth.core.ports.platform import Platform
from dth.core.ports.runs import RunState
from dth.core.secrets import SecretStore
from dth.core.transport import Transport
from dth.images.controller import settle_dead
from dth.images.finder import ImageFinder
from dth.images.parameters import EcrParameters
from dth.images.preflight import preflight
from dth.images.preview import preview
from dth.images.probe import probe
from dth.images.registry.pace import LONG_PATIENCE, paces_of
from dth.images.task import open_route
from dth.images.worker import ImageWorker

CONTROL_INTERVAL = 10.0  # seconds between the controller's checks
# Seconds between checks for images to copy.
LOOK = 0.1

log = logging.getLogger(__name__)


async def run(process: Process) -> dict[str, Any] | None:
    """Run one process of a task. Returns the result of a job."""
    parameters: EcrParameters = process.parameters
    secrets = process.secrets
    with Transport() as transport:
        paces_of(transport).board = process.board
        match process.kind:
            case "preflight":
                return (await preflight(parameters, transport, secrets)).as_dict()
            case "probe":
                return (await probe(parameters, process.name, transport, secrets)).as_dict()
            case "forecast":
                return await preview(parameters, transport, secrets)
        async with process.open_platform() as platform:
            match process.kind:
                case "controller":
                    await _control(platform)
                case "finder":
                    await _find(parameters, transport, secrets, platform, process.run)
                case "worker":
                    await _work(process.name, parameters, transport, secrets, platform)
    return None


async def _find(
    parameters: EcrParameters,
    transport: Transport,
    secrets: SecretStore,
    platform: Platform,
    number: int,
) -> None:
    begun = await platform.records.get_run(number)
    log.info("run taken up", extra={"fields": {"run": number, "state": begun.state}})
    paces = paces_of(transport)
    paces.patience = LONG_PATIENCE
    paces.tell = partial(platform.records.add_note, number)
    try:
        route = await open_route(parameters, transport, secrets)
    except HubError as error:
        await platform.records.set_run(number, RunState.FAILED, with_side(error))
        raise
    await ImageFinder(route, platform).run(begun)
    planned = await platform.records.get_run(number)
    counts = {name: count for name, count in asdict(planned.counts).items() if count}
    log.info("run planned", extra={"fields": {"run": number, "requests": route.requests, **counts}})
    for note in planned.notes:
        log.info(note, extra={"fields": {"run": number}})


async def _work(
    name: str,
    parameters: EcrParameters,
    transport: Transport,
    secrets: SecretStore,
    platform: Platform,
) -> None:
    """Copy images. Sends no request, not even for a token, before there is something to copy."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    while not stopping.is_set() and not (await platform.queue.depth()).visible:  # noqa: ASYNC110 - a queue to look at
        await asyncio.sleep(LOOK)
    if stopping.is_set():
        return
    worker = ImageWorker(name, await open_route(parameters, transport, secrets), platform)
    loop.add_signal_handler(signal.SIGTERM, worker.stop)
    if not stopping.is_set():
        await worker.run()
    log.info("stopped")


async def _control(platform: Platform) -> None:
    """Settle images that crashed their worker, until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    while not stopped.is_set():
        await settle_dead(platform)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONTROL_INTERVAL):
                await stopped.wait()
