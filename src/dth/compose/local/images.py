"""What the processes of an ECR task do: the roles by name, as `process` runs them."""

import asyncio
import contextlib
import logging
import signal
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from dth.compose.local import process
from dth.core.errors import HubError
from dth.core.ports.runs import RunState
from dth.core.secrets import SecretStore
from dth.core.transport import Transport
from dth.images.controller import settle_dead
from dth.images.finder import Finder
from dth.images.parameters import EcrParameters
from dth.images.preflight import preflight
from dth.images.preview import preview
from dth.images.probe import probe
from dth.images.registry.pace import LONG_PATIENCE, paces_of
from dth.images.task import open_route
from dth.images.worker import Worker
from dth.platforms.local.platform import LocalPlatform, open_platform
from dth.platforms.local.result import write_result

CONTROL_INTERVAL = 10.0  # seconds between the controller's looks
LOOK = 0.1  # seconds between looks whether there is something to copy

log = logging.getLogger(__name__)


async def run(
    kind: str, state: Path, name: str, number: int, values: dict[str, Any], secrets: SecretStore
) -> None:
    """Be one process of the task with these parameters; `number` is the run that a finder plans for."""
    parameters = EcrParameters.model_validate(values)
    with Transport() as transport:
        paces_of(transport).board = process.BOARD
        match kind:
            case "preflight":
                write_result(state, (await preflight(parameters, transport, secrets)).as_dict())
            case "probe":
                write_result(state, (await probe(parameters, name, transport, secrets)).as_dict())
            case "forecast":
                write_result(state, await preview(parameters, transport, secrets))
            case "controller":
                with open_platform(state, name) as platform:
                    await _control(platform)
            case "finder":
                with open_platform(state, name) as platform:
                    await _find(parameters, transport, secrets, platform, number)
            case "worker":
                with open_platform(state, name) as platform:
                    await _work(name, parameters, transport, secrets, platform)


async def _find(
    parameters: EcrParameters,
    transport: Transport,
    secrets: SecretStore,
    platform: LocalPlatform,
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
        await platform.records.set_run(number, RunState.FAILED, str(error))
        raise
    await Finder(route, platform).run(begun)
    planned = await platform.records.get_run(number)
    counts = {name: count for name, count in asdict(planned.counts).items() if count}
    log.info("run planned", extra={"fields": {"run": number, "requests": route.requests, **counts}})
    for note in planned.notes:
        log.info(note, extra={"fields": {"run": number}})


async def _work(
    name: str, parameters: EcrParameters, transport: Transport, secrets: SecretStore, platform: LocalPlatform
) -> None:
    """Nobody is asked for anything, not even for a token, before there is something to copy."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    while not stopping.is_set() and not (await platform.queue.depth()).visible:  # noqa: ASYNC110 - a queue to look at
        await asyncio.sleep(LOOK)
    if stopping.is_set():
        return
    worker = Worker(name, await open_route(parameters, transport, secrets), platform)
    loop.add_signal_handler(signal.SIGTERM, worker.stop)
    if not stopping.is_set():
        await worker.run()
    log.info("stopped")


async def _control(platform: LocalPlatform) -> None:
    """Settle what crashed its worker, until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    while not stopped.is_set():
        await settle_dead(platform)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONTROL_INTERVAL):
                await stopped.wait()
