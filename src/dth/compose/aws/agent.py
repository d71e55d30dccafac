"""Runs on a machine of an S3 task: `python -m dth.compose.aws.agent worker`, or `finder`.

The agent starts the task's processes (one worker per processor, or one finder) and restarts those
that fail. If the task's parameters change, it restarts the processes with the new ones. Every half
minute it says that the machine works. A machine whose workers have had nothing to do for some time
takes itself out of its group: nobody else knows which machines are idle. When the machine is about
to terminate (also if AWS reclaims a spot machine), the agent drains the processes. Other machines
continue the work that remains.
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
from dth.core.retry_policy import RetryPolicy
from dth.hub.parameters import read_parameters as as_model
from dth.objects import processes
from dth.objects.task import opened
from dth.objects.transfer.relay import ObjectRoute
from dth.platforms.aws.client import Aws
from dth.platforms.aws.confined import confine_by_environment
from dth.platforms.aws.parameters import read_parameters
from dth.platforms.aws.platform import AwsNames, AwsPlatform, open_platform
from dth.platforms.aws.shipper import shipping

# Seconds between checks for the machine's end and for runs to list.
LOOK = 5.0
# Seconds between checks for new parameters and a paused task, and between signs of life.
READ = 30.0
# Seconds without work after which a machine of workers leaves its group.
IDLE = 180.0
# Seconds for processes to end: a spot machine has two minutes.
DRAIN = 100.0
# Consecutive failures after which the finder's run fails, or the task pauses.
FAILURES = 5
# Uptime in seconds after which a failure is not consecutive.
LASTED = 300.0
RESTARTS = RetryPolicy(first=2.0, last=60.0)
PR_SET_PDEATHSIG = 1
COMMAND = (sys.executable, "-m", "dth.compose.aws.agent")  # starts a machine's processes

log = logging.getLogger(__name__)


# -------------------------------------------------------------------------------------- the machine


@dataclass(slots=True)
class Machine:
    """One machine with its processes."""

    kind: str
    instance: str
    names: AwsNames
    platform: AwsPlatform
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    _running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def run(self, metadata: InstanceMetadata) -> None:
        """Keep the processes running until the machine is about to terminate."""
        count = (os.cpu_count() or 1) if self.kind == "worker" else 1
        names = [f"{self.instance}-{number}" for number in range(1, count + 1)]
        keepers = [asyncio.create_task(self._keep(name)) for name in names]
        watchers = [
            asyncio.create_task(self._watch_parameters()),
            asyncio.create_task(self._show_life()),
        ]
        if self.kind == "worker":
            watchers.append(asyncio.create_task(self._watch_work(names)))
        try:
            await self._wait_for_the_end(metadata)
            await self._drain()
        finally:
            for each in (*watchers, *keepers):
                each.cancel()
            await asyncio.gather(*watchers, *keepers, return_exceptions=True)

    async def _wait_for_the_end(self, metadata: InstanceMetadata) -> None:
        while not self.leaving.is_set():
            if reason := await asyncio.to_thread(metadata.leaving):
                log.info("the machine goes", extra={"fields": {"reason": reason}})
                self.leaving.set()
            await self._sleep(LOOK)

    async def _drain(self) -> None:
        """Let all processes end properly; kill those that take too long. Their messages return to
        the queue.
        """
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
        """Restart the processes when the parameters change. They end properly first."""
        known = await self._parameters()
        while True:
            await asyncio.sleep(READ)
            now = await self._parameters()
            if known and now and now != known:
                log.info("the parameters have changed")
                for process in self._running.values():
                    _signal(process, signal.SIGTERM)
            known = now or known

    async def _show_life(self) -> None:
        since = time.time()
        while True:
            # The next sign follows soon.
            with contextlib.suppress(StateError):
                await self.platform.machines.report(self.kind, self.instance, since)
            await asyncio.sleep(READ)

    async def _watch_work(self, names: Sequence[str]) -> None:
        """Leave the group when the workers have had nothing to do for long enough."""
        busy, before = time.monotonic(), 0
        while True:
            await asyncio.sleep(READ)
            try:
                gauges = await self.platform.machines.gauges_of(names)
                depth = await self.platform.queue.depth()
                requests = sum(gauge.requests for gauge in gauges)
                if depth.visible or requests != before or any(gauge.in_flight for gauge in gauges):
                    busy, before = time.monotonic(), requests
                elif time.monotonic() - busy >= IDLE:
                    busy = time.monotonic()
                    if await self.platform.machines.leave(self.instance):
                        log.info("the machine has had nothing to do, and leaves its group")
            except StateError as error:
                busy = time.monotonic()
                log.warning("it is not known whether there is work: %s", error)

    async def _parameters(self) -> object:
        with contextlib.suppress(StateError):
            return await read_parameters(self.platform.dynamo)
        return None

    async def _keep(self, name: str) -> None:
        """Keep one process running."""
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
            await self._sleep(RESTARTS.pause(failures))

    async def _is_paused(self) -> bool:
        with contextlib.suppress(StateError):
            return bool(await self.platform.records.paused())
        return False

    async def _run_process(self, name: str) -> tuple[int, str]:
        """Return the exit code, and the last line on standard error."""
        arguments = (*COMMAND, self.kind, name)
        process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE)
        self._running[name] = process
        words = ""
        try:
            if self.leaving.is_set():  # started too late for the drain
                _signal(process, signal.SIGTERM)
            assert process.stderr
            async for line in process.stderr:
                words = line.decode(errors="backslashreplace").strip() or words
            return await process.wait(), words
        finally:
            del self._running[name]
            if process.returncode is None:  # the machine ends without a drain
                _signal(process, signal.SIGKILL)
                await process.communicate()

    async def _give_up(self, words: str) -> None:
        """Report a process that fails on every attempt: a person must look at it."""
        records = self.platform.records
        with contextlib.suppress(StateError):
            if self.kind == "worker":
                await records.pause(
                    f"a worker keeps failing: {words}; see its log, correct the cause, then resume "
                    "the task"
                )
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
    """Tell the group that the machine may terminate.

    If this call fails, the machine still terminates, only later.
    """
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


# ------------------------------------------------------------------------------------ its processes


async def _be_process(kind: str, name: str) -> None:
    async with _opened(AwsNames.from_environment(), f"{kind}/{name}", name) as platform:
        if kind == "worker":
            async with _route(platform) as route:
                platform.records.expire_after(route.parameters.record_days or 0)
                with tempfile.TemporaryDirectory(prefix="dth-") as workdir:
                    await processes.work(name, route, platform, Path(workdir))
            return
        finding = asyncio.ensure_future(_find(platform))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, finding.cancel)
        # The listed pages are committed, and the logs are sent.
        with contextlib.suppress(asyncio.CancelledError):
            await finding


async def _find(platform: AwsPlatform) -> None:
    """List run after run until SIGTERM. The task's state machine ends the machine if there are no
    runs.
    """
    while True:
        for number in await _listing(platform):
            try:
                async with _route(platform) as route:
                    with tempfile.TemporaryDirectory(prefix="dth-") as workdir:
                        await processes.find(route, platform, Path(workdir), number)
            except StateError:
                # The platform failed: the run resumes later.
                raise
            except HubError as error:
                log.error("the run failed", extra={"fields": {"run": number, "error": str(error)}})
                await platform.records.set_run(number, RunState.FAILED, str(error))
        await asyncio.sleep(LOOK)


async def _listing(platform: AwsPlatform) -> list[int]:
    """Return the runs to list, oldest first."""
    runs = await platform.records.list_runs()
    if await platform.records.paused():
        return []
    return sorted(
        run.id for run in runs if run.kind is RunKind.SYNC and run.state is RunState.LISTING
    )


@asynccontextmanager
async def _route(platform: AwsPlatform) -> AsyncIterator[ObjectRoute]:
    kind, values = await read_parameters(platform.dynamo)
    parameters = as_model(kind, values)
    async with opened(parameters, platform.secrets, platform.limits) as route:
        yield route


@asynccontextmanager
async def _opened(names: AwsNames, stream: str, process: str) -> AsyncIterator[AwsPlatform]:
    """Open the task's ports, and send logs to a log stream meanwhile."""
    aws = Aws(names.region, names.endpoint)
    try:
        with shipping(aws, os.environ["DTH_LOG_GROUP"], stream) as shipper:
            async with open_platform(names, process, shipper) as platform:
                yield platform
    finally:
        aws.close()


def main(arguments: Sequence[str]) -> int:
    """Run as a machine (KIND), or as one of its processes (KIND NAME). Returns the exit code."""
    os.umask(0o077)
    kind, *name = arguments
    try:
        confine_by_environment()
        if name:
            # Without the agent, nothing would restart or drain it.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
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
