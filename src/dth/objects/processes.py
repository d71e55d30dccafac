"""What the processes of a task for objects do, on any platform."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dth.core.errors import EndpointRefused, HubError, StateError, TransferError, UsageError
from dth.core.plugin import SIDES, Process
from dth.core.ports.platform import Platform
from dth.core.ports.runs import RunKind, RunState
from dth.core.secrets import SecretStore
from dth.core.transport import Transport
from dth.objects.checks.notes import told_of
from dth.objects.controller import Controller
from dth.objects.finder import ObjectFinder
from dth.objects.parameters import S3Parameters
from dth.objects.store.credentials import ResolvedCredentials, resolve_credentials
from dth.objects.task import bucket_of, credential_source, endpoint_of, open_route, opened
from dth.objects.transfer.relay import ObjectRoute
from dth.objects.transfer.worker import ObjectWorker

CONTROL_INTERVAL = 10.0  # seconds between the controller's checks

log = logging.getLogger(__name__)


def load(parameters: S3Parameters, secrets: SecretStore) -> None:
    """Load what all processes of the task need before any is forked, so it is loaded once and not
    in each."""
    for side in SIDES:
        if isinstance(
            resolve_credentials(credential_source(parameters, side), secrets), ResolvedCredentials
        ):
            import botocore.credentials
            import botocore.session  # noqa: F401


async def run(process: Process) -> dict[str, Any] | None:
    """Run one process of a task. Returns the result of a job."""
    if process.kind in JOBS:
        return await JOBS[process.kind](process)
    async with process.open_platform() as platform, _route(process, platform) as route:
        match process.kind:
            case "finder":
                await find(route, platform, process.folder, process.run)
            case "worker":
                await work(process.name, route, platform, process.folder)
            case "controller":
                await _control(Controller(route, platform, process.name))
            case "sweeper":
                # When everything is settled, remaining uploads belong to objects that failed or
                # were taken over.
                await Controller(route, platform, process.name).check()
            case "aborter":
                await Controller(route, platform, process.name).abort_all()
    return None


@contextlib.asynccontextmanager
async def _route(process: Process, platform: Platform) -> AsyncIterator[ObjectRoute]:
    """Both sides of the task. What is in the way of them would be in the way of the same process
    again: it ends the run, or pauses the task."""
    async with contextlib.AsyncExitStack() as stack:
        opening = opened(process.parameters, process.secrets, platform.limits)
        try:
            route = await stack.enter_async_context(opening)
        except StateError:
            raise
        except HubError as error:
            why, records = _told(error, process.parameters), platform.records
            if process.kind == "finder":
                await records.set_run(process.run, RunState.FAILED, why)
            elif isinstance(error, UsageError | EndpointRefused):
                await records.pause(why)
            raise
        yield route


def _told(error: HubError, parameters: S3Parameters) -> str:
    side = error.side if isinstance(error, TransferError) else ""
    if not side:
        return str(error)
    return told_of(error, endpoint_of(parameters, side), bucket_of(parameters, side))


async def find(route: ObjectRoute, platform: Platform, workdir: Path, number: int) -> None:
    """Run the finder for a run, and log the result. `workdir`: for data that does not fit into
    memory."""
    begun = await platform.records.get_run(number)
    log.info("run taken up", extra={"fields": {"run": number, "state": begun.state}})
    await ObjectFinder(route, platform, workdir).run(begun)
    for each in reversed(await platform.records.list_runs()):
        # A listing that had to start over continued as a newer run.
        if each.kind is RunKind.SYNC and each.id >= number:
            counts = {name: count for name, count in asdict(each.counts).items() if count}
            log.info(
                "run listed", extra={"fields": {"run": each.id, "state": each.state, **counts}}
            )
            for note in each.notes:
                log.info(note, extra={"fields": {"run": each.id}})


async def work(name: str, route: ObjectRoute, platform: Platform, workdir: Path) -> None:
    """Run a worker until SIGTERM, or until the task pauses. `workdir`: as for `find`."""
    worker = ObjectWorker(name, route, platform, ObjectFinder(route, platform, workdir).help)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    if reason := await platform.records.paused():
        log.warning("paused", extra={"fields": {"reason": reason}})
    else:
        log.info("drained")


async def _control(controller: Controller) -> None:
    """Run the controller's checks until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    while not stopped.is_set():
        await controller.check()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONTROL_INTERVAL):
                await stopped.wait()


# The modules of jobs are imported only when one runs, so that commands start fast.


async def _preflight(process: Process) -> dict[str, Any]:
    from dth.objects.checks.preflight import preflight

    with Transport() as transport:
        route = await open_route(process.parameters, transport, process.secrets)
        return (await preflight(route, process.secrets)).as_dict()


async def _forecast(process: Process) -> dict[str, Any]:
    from dth.objects.forecast.forecast import forecast

    with Transport() as transport:
        route = await open_route(process.parameters, transport, process.secrets)
        return (await forecast(route, process.folder, prices=process.prices())).as_dict()


async def _probe(process: Process) -> dict[str, Any]:
    """Test one side alone. The other side need not be configured yet."""
    from dth.objects.checks.probe import probe

    with Transport() as transport:
        return (await probe(process.parameters, process.name, transport, process.secrets)).as_dict()


async def _look(process: Process) -> dict[str, Any]:
    from dth.objects.browse import look

    return await look(process)


async def _compare(process: Process) -> dict[str, Any]:
    from dth.objects.compare.job import compare

    return await compare(process)


JOBS: dict[str, Callable[[Process], Awaitable[dict[str, Any]]]] = {
    "preflight": _preflight,
    "forecast": _forecast,
    "probe": _probe,
    "compare": _compare,
    **dict.fromkeys(("buckets", "browse", "object", "createBucket"), _look),
}
