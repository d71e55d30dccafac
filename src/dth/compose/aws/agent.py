"""What runs on a machine of an S3 task: `python -m dth.compose.aws.agent worker`, or `finder`.

It starts the task's processes (a worker for each processor, or one finder), starts again what dies, lets them read the
task's parameters anew when those change, and drains them when the machine is about to go: when its group shrinks, or a
spot machine is wanted back. Whatever ends here, other machines go on with what was left.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from dth.compose.aws.metadata import InstanceMetadata
from dth.core.errors import HubError, StateError
from dth.core.memory import keep_memory
from dth.core.ports.runs import RunKind, RunState
from dth.hub.parameters import read_parameters as as_model
from dth.objects import processes
from dth.objects.task import opened
from dth.objects.transfer.relay import Route
from dth.platforms.aws.client import Aws
from dth.platforms.aws.confined import confine_by_environment
from dth.platforms.aws.parameters import read_parameters
from dth.platforms.aws.platform import AwsNames, AwsPlatform, open_platform
from dth.platforms.aws.shipper import shipping

LOOK = 5.0  # seconds between looks whether the machine is about to go, and for runs to list
READ = 30.0  # seconds between looks whether the parameters have changed, or the task is paused
DRAIN = 100.0  # seconds that processes may take to end: a spot machine has two minutes
FAILURES = 5  # in a row, after which the finder's run fails, or the task pauses
LASTED = 300.0  # seconds after which a process that ends has not failed in a row
LONGEST_PAUSE = 60.0  # seconds before a process that failed is started again
PR_SET_PDEATHSIG = 1
COMMAND = (sys.executable, "-m", "dth.compose.aws.agent")  # that a machine's processes are started with

log = logging.getLogger(__name__)


# ---------------------------------------------------------------------------------------------- the machine


@dataclass(slots=True)
class Machine:
    """One machine, with the processes on it."""

    kind: str
    instance: str
    names: AwsNames
    platform: AwsPlatform
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    _running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def run(self, metadata: InstanceMetadata) -> None:
        """Keep the processes until the machine is to go."""
        count = (os.cpu_count() or 1) if self.kind == "worker" else 1
        names = [f"{self.instance}-{number}" for number in range(1, count + 1)]
        keepers = [asyncio.create_task(self._keep(name)) for name in names]
        watcher = asyncio.create_task(self._watch_parameters())
        try:
            await self._wait_for_the_end(metadata)
            await self._drain()
        finally:
            for each in (watcher, *keepers):
                each.cancel()
            await asyncio.gather(watcher, *keepers, return_exceptions=True)

    async def _wait_for_the_end(self, metadata: InstanceMetadata) -> None:
        while not self.leaving.is_set():
            if reason := await asyncio.to_thread(metadata.leaving):
                log.info("the machine goes", extra={"fields": {"reason": reason}})
                self.leaving.set()
            await self._sleep(LOOK)

    async def _drain(self) -> None:
        """Let everything end in order; what takes too long is killed, and its messages come back."""
        running = list(self._running.values())
        for process in running:
            _signal(process, signal.SIGTERM)
        if running:
            _, late = await asyncio.wait(
                [asyncio.create_task(each.wait()) for each in running], timeout=DRAIN
            )
            for process in running if late else ():
                _signal(process, signal.SIGKILL)

    async def _watch_parameters(self) -> None:
        """Who works with old parameters ends in order, and begins again with the new ones."""
        known = await self._parameters()
        while True:
            await asyncio.sleep(READ)
            now = await self._parameters()
            if known and now and now != known:
                log.info("the parameters have changed")
                for process in self._running.values():
                    _signal(process, signal.SIGTERM)
            known = now or known

    async def _parameters(self) -> object:
        with contextlib.suppress(StateError):
            return await read_parameters(self.platform.dynamo)
        return None

    async def _keep(self, name: str) -> None:
        """Keep one process going."""
        failures = 0
        while not self.leaving.is_set():
            if await self._is_paused():
                await self._sleep(READ)
                continue
            begun = time.monotonic()
            code, words = await self._run_process(name)
            if code in (0, -signal.SIGTERM):
                failures = 0
                await self._sleep(1.0)
                continue
            failures = failures + 1 if time.monotonic() - begun < LASTED else 1
            log.error("%s ended", name, extra={"fields": {"code": code, "said": words}})
            if failures >= FAILURES:
                await self._give_up(words or f"it ended with code {code}")
            await self._sleep(min(LONGEST_PAUSE, 2.0**failures))

    async def _is_paused(self) -> bool:
        with contextlib.suppress(StateError):
            return bool(await self.platform.records.paused())
        return False

    async def _run_process(self, name: str) -> tuple[int, str]:
        """Its exit code, and the last line that it left on standard error."""
        arguments = (*COMMAND, self.kind, name)
        process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE)
        self._running[name] = process
        words = ""
        try:
            if self.leaving.is_set():  # it came too late to be drained with the others
                _signal(process, signal.SIGTERM)
            assert process.stderr
            async for line in process.stderr:
                words = line.decode(errors="backslashreplace").strip() or words
            return await process.wait(), words
        finally:
            del self._running[name]

    async def _give_up(self, words: str) -> None:
        """It fails whenever it is tried: a person has to look at it."""
        records = self.platform.records
        with contextlib.suppress(StateError):
            if self.kind == "worker":
                await records.pause(f"a worker keeps failing: {words}")
                return
            for run in await _listing(self.platform):
                await records.set_run(run, RunState.FAILED, f"the finder keeps failing: {words}")

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.leaving.wait()


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


async def _be_machine(kind: str) -> None:
    metadata = InstanceMetadata()
    names = AwsNames.from_environment()
    instance = await asyncio.to_thread(lambda: metadata.instance)
    async with _opened(names, f"machine/{instance}", instance) as platform:
        machine = Machine(kind, instance, names, platform)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, machine.leaving.set)
        log.info("machine up", extra={"fields": {"kind": kind, "processors": os.cpu_count()}})
        await machine.run(metadata)
        await _let_go(platform.aws, instance)
        log.info("machine down")


async def _let_go(aws: Aws, instance: str) -> None:
    """Tell the group that the machine may go. It goes all the same, only later, where that does not arrive."""
    hook, group = os.environ.get("DTH_LIFECYCLE_HOOK", ""), os.environ.get("DTH_GROUP", "")
    if hook and group:
        with contextlib.suppress(StateError):
            await aws.call(
                "autoscaling",
                "complete_lifecycle_action",
                LifecycleHookName=hook,
                AutoScalingGroupName=group,
                InstanceId=instance,
                LifecycleActionResult="CONTINUE",
            )


# -------------------------------------------------------------------------------------------- its processes


async def _be_process(kind: str, name: str) -> None:
    async with _opened(AwsNames.from_environment(), f"{kind}/{name}", name) as platform:
        if kind == "worker":
            async with _route(platform) as route:
                await processes.work(name, route, platform)
            return
        finding = asyncio.ensure_future(_find(platform))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, finding.cancel)
        with contextlib.suppress(
            asyncio.CancelledError
        ):  # what was listed is committed, and what was said is sent
            await finding


async def _find(platform: AwsPlatform) -> None:
    """List for one run after another, until SIGTERM: the task's state machine ends the machine when there is none."""
    while True:
        for number in await _listing(platform):
            try:
                async with _route(platform) as route:
                    with tempfile.TemporaryDirectory(prefix="dth-") as workdir:
                        await processes.find(route, platform, Path(workdir), number)
            except StateError:
                raise  # the platform's trouble: the run goes on later
            except HubError as error:
                log.error("the run failed", extra={"fields": {"run": number, "error": str(error)}})
                await platform.records.set_run(number, RunState.FAILED, str(error))
        await asyncio.sleep(LOOK)


async def _listing(platform: AwsPlatform) -> list[int]:
    """The runs that are to be listed, the oldest first."""
    runs = await platform.records.list_runs()
    if await platform.records.paused():
        return []
    return sorted(run.id for run in runs if run.kind is RunKind.SYNC and run.state is RunState.LISTING)


@asynccontextmanager
async def _route(platform: AwsPlatform) -> AsyncIterator[Route]:
    kind, values = await read_parameters(platform.dynamo)
    parameters = as_model(kind, values)
    async with opened(parameters, platform.secrets, platform.limits) as route:
        yield route


@asynccontextmanager
async def _opened(names: AwsNames, stream: str, process: str) -> AsyncIterator[AwsPlatform]:
    """The task's ports, with what is logged meanwhile going to a log stream."""
    aws = Aws(names.region, names.endpoint)
    try:
        with shipping(aws, os.environ["DTH_LOG_GROUP"], stream) as shipper:
            async with open_platform(names, process, shipper) as platform:
                yield platform
    finally:
        aws.close()


def main(arguments: Sequence[str]) -> int:
    """Be a machine (KIND), or one process of it (KIND NAME). Returns the exit code."""
    os.umask(0o077)
    kind, *name = arguments
    try:
        confine_by_environment()
        if name:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody would restart it, or drain it
            keep_memory()
            uvloop.run(_be_process(kind, name[0]))
        else:
            asyncio.run(_be_machine(kind))
    except HubError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
