"""What the processes of a task that says lines do."""

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from typing import Any

from dth.core.checks import Check, CheckState, report
from dth.core.plugin import Process
from dth.core.ports.gauges import Gauge
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Delivery
from dth.core.ports.records import Outcome
from dth.core.ports.runs import RunState
from dth.core.ports.status import Status
from dth_echo.plugin import EchoParameters, page_of

log = logging.getLogger(__name__)

REFUSED = "whisper"  # no voice says this


async def run(process: Process) -> dict[str, Any] | None:
    match process.kind:
        case "preflight":
            return report([Check("source", "lines", CheckState.OK, "there is something to say")])
        case "forecast":
            return {"lines": len(process.parameters.lines)}
        case "probe":
            return {"state": "OK", "found": f"{process.name} is there", "todo": ""}
    async with process.open_platform() as platform:
        if process.kind == "finder":
            await find(platform, process.run, process.parameters)
        elif process.kind == "worker":
            await _work(platform, process)
    return None


async def find(platform: Platform, run: int, parameters: EchoParameters) -> None:
    await platform.records.commit(run, page_of(run, parameters.lines))
    await platform.records.set_run(run, RunState.TRANSFERRING)


async def _work(platform: Platform, process: Process) -> None:
    """Until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    gauge = Gauge(process.name, "worker", time.time(), started=time.time())
    while not stopped.is_set():
        taken = await platform.queue.receive(10, 30.0, 0.2)
        gauge.bytes_out += await say(platform, process.parameters.voice, taken)
        gauge.at = time.time()
        await platform.gauges.report(gauge)


async def say(platform: Platform, voice: str, taken: Sequence[Delivery]) -> int:
    """Say the lines of these messages, and settle them. Returns how many bytes were said."""
    outcomes = []
    for delivery in taken:
        run, line = delivery.body.split(" ", 1)
        log.info("%s says %s", voice, line)
        if line == REFUSED:
            refused = Outcome(
                line, int(run), Status.FAILED, reason="TooQuiet", detail="nobody hears it"
            )
            outcomes.append(refused)
        else:
            outcomes.append(Outcome(line, int(run), Status.DONE, len(line)))
    if outcomes:
        await platform.records.settle(outcomes)
    await platform.queue.delete(taken)
    return sum(each.bytes for each in outcomes)
