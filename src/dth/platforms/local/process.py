"""The processes of a task on one machine, as the nursery forks them.

This is where the S3 plugin meets the local adapters. A process drains on SIGTERM, and says on standard error, in one
line, why it failed.
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import uvloop

from dth.config import secrets_directory
from dth.errors import HubError
from dth.platforms.local.foreground import TASK_FILE
from dth.platforms.local.journal import BEGINNING, Journal, logging_to
from dth.platforms.local.platform import LocalPlatform, open_platform
from dth.platforms.ports import RunKind
from dth.s3.controller import Controller
from dth.s3.credentials import FileSecrets, ResolvedCredentials, SecretStore, resolve_credentials
from dth.s3.finder import Finder
from dth.s3.parameters import MIB, S3Parameters
from dth.s3.relay import Route
from dth.s3.task import credential_source, open_route
from dth.s3.transport import Transport
from dth.s3.worker import Worker

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
RESULT_FILE = "result.json"  # of a preflight, forecast or probe
CONTROL_INTERVAL = 10.0  # seconds between the controller's looks

log = logging.getLogger(__name__)


def load(parameters: S3Parameters) -> None:
    """Load what all processes of the task will need, before the nursery forks them: once instead of in each."""
    secrets = FileSecrets(secrets_directory())
    for side in ("source", "dest"):
        if isinstance(resolve_credentials(credential_source(parameters, side), secrets), ResolvedCredentials):
            import botocore.credentials
            import botocore.session  # noqa: F401


def run(arguments: Sequence[str], secrets: SecretStore | None = None) -> int:
    """Be one process of a task: KIND STATE_DIR NAME [RUN]. Returns the exit code. `secrets`: where named secrets are;
    files in the user's configuration by default."""
    kind, state, name, *rest = arguments
    # Nearly everything dies young and without cycles: looking for cycles less often saves a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    _keep_memory()
    journal = Journal(Path(state) / "logs" / f"{name}.log")
    journal.info(BEGINNING, role=kind, pid=os.getpid())
    code = 0
    try:
        store = secrets or FileSecrets(secrets_directory())
        with logging_to(journal):
            uvloop.run(_run(kind, Path(state), name, int(rest[0]) if rest else 0, store))
    except HubError as error:
        print(error, file=sys.stderr)
        code = 1
    except Exception:  # noqa: BLE001 - a defect of ours: the log keeps where
        traceback.print_exc()
        code = 70
    journal.info("ended", code=code)
    return code


def _keep_memory() -> None:
    """Bodies come and go all the time: giving their memory back to the system between two of them costs more, in
    fresh pages that are cleared first, than all the rest of the bookkeeping. See mallopt(3); glibc only."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for setting, value in (
            (M_MMAP_THRESHOLD, 32 * MIB),
            (M_TRIM_THRESHOLD, 256 * MIB),
            (M_TOP_PAD, 16 * MIB),
        ):
            libc.mallopt(setting, value)


async def _run(kind: str, state: Path, name: str, run: int, secrets: SecretStore) -> None:
    parameters = S3Parameters.model_validate(json.loads((state / TASK_FILE).read_text("utf-8")))
    if kind == "probe":
        await _probe(name, parameters, state, secrets)
        return
    with open_platform(state, name) as platform:
        transport = Transport()
        try:
            route = await open_route(parameters, transport, secrets, platform.limits)
            await ROLES[kind](name, route, platform, state, run)
        finally:
            transport.close()


async def _find(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    begun = await platform.records.get_run(run)
    log.info("run taken up", extra={"fields": {"run": run, "state": begun.state}})
    await Finder(route, platform, state).run(begun)
    for each in reversed(await platform.records.list_runs()):
        if (
            each.kind is RunKind.SYNC and each.id >= run
        ):  # a listing that had to begin anew went on as a newer run
            counts = {name: count for name, count in asdict(each.counts).items() if count}
            log.info("run listed", extra={"fields": {"run": each.id, "state": each.state, **counts}})
            for note in each.notes:
                log.info(note, extra={"fields": {"run": each.id}})


async def _work(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    worker = Worker(name, route, platform)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    if reason := await platform.records.paused():
        log.warning("paused", extra={"fields": {"reason": reason}})
    else:
        log.info("drained")


async def _control(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    """Look after giant uploads until SIGTERM."""
    controller = Controller(route, platform, name)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    while not stopped.is_set():
        await controller.check()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONTROL_INTERVAL):
                await stopped.wait()


async def _sweep(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    """Look once, when all is settled: what is left belongs to objects that failed or were taken over."""
    await Controller(route, platform, name).check()


async def _abort(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    """The task stops: throw away every upload that it began."""
    await Controller(route, platform, name).abort_all()


async def _preflight(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    from dth.s3.preflight import preflight

    report = await preflight(route)
    (state / RESULT_FILE).write_text(json.dumps(report.as_dict()), "utf-8")


async def _forecast(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    from dth.s3.forecast import forecast

    found = await forecast(route, state)
    (state / RESULT_FILE).write_text(json.dumps(found.as_dict()), "utf-8")


async def _probe(side: str, parameters: S3Parameters, state: Path, secrets: SecretStore) -> None:
    """Try one side alone: of the other nothing needs to be known yet."""
    from dth.s3.probe import probe

    transport = Transport()
    try:
        found = await probe(parameters, side, transport, secrets)
    finally:
        transport.close()
    (state / RESULT_FILE).write_text(json.dumps(found.as_dict()), "utf-8")


ROLES: dict[str, Callable[[str, Route, LocalPlatform, Path, int], Awaitable[None]]] = {
    "finder": _find,
    "worker": _work,
    "controller": _control,
    "sweeper": _sweep,
    "aborter": _abort,
    "preflight": _preflight,
    "forecast": _forecast,
}
