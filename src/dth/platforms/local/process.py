"""The processes of a task on one machine, as the nursery forks them.

This is where the S3 plugin meets the local adapters. A process drains on SIGTERM, and says on standard error, in one
line, why it failed.
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from dth.config import secrets_directory
from dth.errors import HubError
from dth.platforms.local.foreground import TASK_FILE
from dth.platforms.local.platform import LocalPlatform, open_platform
from dth.s3.controller import Controller
from dth.s3.credentials import FileSecrets, ResolvedCredentials, resolve_credentials
from dth.s3.finder import Finder
from dth.s3.parameters import MIB, S3Parameters
from dth.s3.relay import Route
from dth.s3.task import credential_source, open_route
from dth.s3.transport import Transport
from dth.s3.worker import Worker

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
CONTROL_INTERVAL = 10.0  # seconds between the controller's looks


def load(parameters: S3Parameters) -> None:
    """Load what all processes of the task will need, before the nursery forks them: once instead of in each."""
    secrets = FileSecrets(secrets_directory())
    for side in ("source", "dest"):
        if isinstance(resolve_credentials(credential_source(parameters, side), secrets), ResolvedCredentials):
            import botocore.credentials
            import botocore.session  # noqa: F401


def run(arguments: Sequence[str]) -> int:
    """Be one process of a task: KIND STATE_DIR NAME [RUN]. Returns the exit code."""
    kind, state, name, *rest = arguments
    # Nearly everything dies young and without cycles: looking for cycles less often saves a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    _keep_memory()
    try:
        uvloop.run(_run(kind, Path(state), name, int(rest[0]) if rest else 0))
    except HubError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception:  # noqa: BLE001 - a defect of ours: the log keeps where
        traceback.print_exc()
        return 70
    return 0


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


async def _run(kind: str, state: Path, name: str, run: int) -> None:
    parameters = S3Parameters.model_validate(json.loads((state / TASK_FILE).read_text("utf-8")))
    with open_platform(state, name) as platform:
        transport = Transport()
        try:
            route = await open_route(parameters, transport, FileSecrets(secrets_directory()), platform.limits)
            await ROLES[kind](name, route, platform, state, run)
        finally:
            transport.close()


async def _find(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    await Finder(route, platform, state).run(await platform.records.get_run(run))


async def _work(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    worker = Worker(name, route, platform)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


async def _control(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    """Look after giant uploads until SIGTERM."""
    controller = Controller(route, platform, name)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    while not stopped.is_set():
        await controller.check()
        try:
            await asyncio.wait_for(stopped.wait(), CONTROL_INTERVAL)
        except TimeoutError:
            continue


async def _sweep(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    """Look once, when all is settled: what is left belongs to objects that failed or were taken over."""
    await Controller(route, platform, name).check()


ROLES: dict[str, Callable[[str, Route, LocalPlatform, Path, int], Awaitable[None]]] = {
    "finder": _find,
    "worker": _work,
    "controller": _control,
    "sweeper": _sweep,
}
