"""What the processes of an S3 task do, on whichever platform."""

import asyncio
import logging
import signal
from dataclasses import asdict
from pathlib import Path

from dth.core.ports.platform import Platform
from dth.core.ports.runs import RunKind
from dth.objects.finder import Finder
from dth.objects.transfer.relay import Route
from dth.objects.transfer.worker import Worker

log = logging.getLogger(__name__)


async def find(route: Route, platform: Platform, workdir: Path, number: int) -> None:
    """Be the finder of a run, and tell what came of it. `workdir`: for what does not fit into memory."""
    begun = await platform.records.get_run(number)
    log.info("run taken up", extra={"fields": {"run": number, "state": begun.state}})
    await Finder(route, platform, workdir).run(begun)
    for each in reversed(await platform.records.list_runs()):
        # A listing that had to begin anew went on as a newer run.
        if each.kind is RunKind.SYNC and each.id >= number:
            counts = {name: count for name, count in asdict(each.counts).items() if count}
            log.info("run listed", extra={"fields": {"run": each.id, "state": each.state, **counts}})
            for note in each.notes:
                log.info(note, extra={"fields": {"run": each.id}})


async def work(name: str, route: Route, platform: Platform) -> None:
    """Be a worker until SIGTERM, or until the task pauses."""
    worker = Worker(name, route, platform)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    if reason := await platform.records.paused():
        log.warning("paused", extra={"fields": {"reason": reason}})
    else:
        log.info("drained")
