"""What the processes of an S3 task do: the roles by name, as `process` runs them."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dth.core.config import secrets_directory
from dth.core.prices import read_prices
from dth.core.secrets import SecretStore
from dth.core.transport import Transport
from dth.objects import processes
from dth.objects.controller import Controller
from dth.objects.parameters import S3Parameters
from dth.objects.store.credentials import FileSecrets, ResolvedCredentials, resolve_credentials
from dth.objects.task import credential_source, opened
from dth.objects.transfer.relay import Route
from dth.platforms.local.foreground import PRICES_FILE
from dth.platforms.local.platform import LocalPlatform, open_platform
from dth.platforms.local.result import write_result

CONTROL_INTERVAL = 10.0  # seconds between the controller's looks


def load(parameters: S3Parameters) -> None:
    """Load what all processes of the task will need, before the nursery forks them: once instead of in each."""
    secrets = FileSecrets(secrets_directory())
    for side in ("source", "destination"):
        if isinstance(resolve_credentials(credential_source(parameters, side), secrets), ResolvedCredentials):
            import botocore.credentials
            import botocore.session  # noqa: F401


async def run(
    kind: str, state: Path, name: str, number: int, values: dict[str, Any], secrets: SecretStore
) -> None:
    """Be one process of the task with these parameters; `number` is the run that a finder lists for."""
    parameters = S3Parameters.model_validate(values)
    if kind == "probe":
        await _probe(name, parameters, state, secrets)
        return
    with open_platform(state, name) as platform:
        async with opened(parameters, secrets, platform.limits) as route:
            if kind == "preflight":
                await _preflight(route, state, secrets)
                return
            await ROLES[kind](name, route, platform, state, number)


async def _find(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    await processes.find(route, platform, state, run)


async def _work(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    await processes.work(name, route, platform)


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


async def _preflight(route: Route, state: Path, secrets: SecretStore) -> None:
    from dth.objects.checks.preflight import preflight

    report = await preflight(route, secrets)
    write_result(state, report.as_dict())


async def _forecast(name: str, route: Route, platform: LocalPlatform, state: Path, run: int) -> None:
    from dth.objects.forecast.forecast import forecast

    prices = read_prices(**json.loads((state / PRICES_FILE).read_text("utf-8")))
    found = await forecast(route, state, prices=prices)
    write_result(state, found.as_dict())


async def _probe(side: str, parameters: S3Parameters, state: Path, secrets: SecretStore) -> None:
    """Try one side alone: of the other nothing needs to be known yet."""
    from dth.objects.checks.probe import probe

    with Transport() as transport:
        found = await probe(parameters, side, transport, secrets)
    write_result(state, found.as_dict())


ROLES: dict[str, Callable[[str, Route, LocalPlatform, Path, int], Awaitable[None]]] = {
    "finder": _find,
    "worker": _work,
    "controller": _control,
    "sweeper": _sweep,
    "aborter": _abort,
    "forecast": _forecast,
}
