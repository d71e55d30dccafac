"""The functions of an S3 task.

Once a minute, `tick` brings the task to its desired state, whatever happened before. It begins and
closes runs, checks giant uploads, starts and ends the finder's machine, adds workers by the
backlog, replaces machines that do not come up, and keeps workers from a paused task. It also
compares again what was lost with the queue. Most looks at a task that rests end after a few reads.
`start` begins a run on schedule. `resource` does what CloudFormation cannot.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from dth.compose.aws.functions.custom import answer
from dth.compose.aws.functions.report import report
from dth.core.errors import HubError, StateError
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run, RunKind, RunState
from dth.hub.parameters import read_parameters as as_model
from dth.hub.scaling import Steps
from dth.objects.controller import Controller
from dth.objects.finder import held_up
from dth.objects.parameters import EventMode, S3Parameters
from dth.objects.plugin import PLUGIN
from dth.objects.task import opened, shared_rates
from dth.platforms.aws import rest
from dth.platforms.aws.client import Aws
from dth.platforms.aws.confined import confine_by_environment
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.machines import MOST_FAILURES, MachineFailures, MachineGroup
from dth.platforms.aws.parameters import read_parameters, write_parameters
from dth.platforms.aws.platform import AwsNames, AwsPlatform, open_platform
from dth.platforms.aws.warmth import units_for, warm

# Looks at an empty queue after which the remaining work of a run is lost.
LOST_AFTER = 5
# Looks with fewer machines than wanted after which their group is asked why.
SHORT_AFTER = 5
MEMORY_KEY = {"pk": "task", "sk": "tick"}  # what one look passes to the next
LOST = "its messages are gone: the queue was purged, or kept them for as long as it keeps any"

AFTER_MACHINES = "see the logs of the machines, correct the cause, then resume the task"

log = logging.getLogger(__name__)
logging.getLogger("dth").setLevel(logging.INFO)


def tick(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Look at the task. Returns its state."""
    return asyncio.run(_tick(context.aws_request_id))


def start(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Begin a run.

    {"resume": true} resumes a paused task; only a person sends it, never the schedule.
    """
    return asyncio.run(_start(bool(event.get("resume")), context.aws_request_id))


def resource(event: dict[str, Any], context: Any) -> None:
    """A custom resource.

    Deleting it never fails: what cannot be undone is reported, and the stack is deleted.
    """
    answer(event, context, lambda: asyncio.run(_resource(event, context.aws_request_id)))


async def _start(resume: bool, request: str) -> dict[str, Any]:
    async with _opened(request) as platform:
        if resume:
            await platform.records.resume()
        run, resumed = await platform.records.begin_run(RunKind.SYNC, beside=True)
        log.info(
            "run %s", "resumed: it is being listed" if resumed else "begun", extra={"run": run.id}
        )
    return await _tick(request)


async def _tick(request: str) -> dict[str, Any]:
    async with _opened(request) as platform:
        return await look_at(platform, AwsNames.from_environment(), request)


async def look_at(platform: AwsPlatform, names: AwsNames, request: str) -> dict[str, Any]:
    """Look at the task, in full unless it rests. Returns its state."""
    memory = await _Memory.read(platform.dynamo)
    mark = await rest.mark_of(platform.dynamo)
    queues = (names.queue_url, names.dead_letter_url, os.environ["DTH_MISSED_STARTS_URL"])
    rests = memory.mark == mark and rest.is_recent(memory.at)
    if rests and await rest.are_empty(platform.aws, queues):
        return memory.told
    parameters = await _parameters(platform)
    return await Control(platform, names, parameters, request, memory).look(mark)


@dataclass(slots=True)
class Control:
    """One look at one task."""

    platform: AwsPlatform
    names: AwsNames
    parameters: S3Parameters
    name: str
    memory: "_Memory"

    async def look(self, mark: str) -> dict[str, Any]:
        """Bring the task to its desired state. Returns its current state, for readers of the
        answer. `mark`: of the task before this look (`rest.mark_of`).
        """
        records, memory, machines = self.platform.records, self.memory, self.platform.machines
        finders = await machines.group(os.environ["DTH_FINDER_GROUP"])
        workers = await machines.group(os.environ["DTH_WORKER_GROUP"])
        if not await records.list_runs(1):
            await records.begin_run(RunKind.SYNC)
        dead = await self._depth_of(self.names.dead_letter_url)
        failed = await self._replace_failed({"finder": finders, "worker": workers})
        paused = await records.paused()
        if paused:
            await records.reconcile()
        else:
            await self._check(memory)
            paused = await records.paused()
        depth = await self.platform.queue.depth()
        runs = await records.list_runs()
        for run in runs:
            if run.is_settled:
                await records.set_run(run.id, RunState.DONE)
                log.info("run over", extra={"run": run.id})
        listing = any(
            run.kind is RunKind.SYNC
            and run.state is RunState.LISTING
            and not self._held_up(run, runs)
            for run in runs
        )
        if not paused and not listing and await self._is_lost(runs, depth, memory):
            await records.cancel_pending(LOST)
            await records.begin_run(RunKind.SYNC)
            listing = True
            log.warning("what was in progress is lost, and compared again", extra={"why": LOST})
        await self._set_finder(finders, listing and not paused)
        await self._set_workers(workers, bool(paused), depth, runs)
        await self._warm_table(runs)
        settled = memory.count(runs)
        missed = await self._depth_of(os.environ["DTH_MISSED_STARTS_URL"])
        newest = (await records.list_runs(1))[0]
        memory.told = {
            "paused": paused,
            "waiting": depth.visible + depth.delayed,
            "inFlight": depth.in_flight,
            "run": {
                "id": newest.id,
                "state": newest.state,
                "error": newest.error,
                **asdict(newest.counts),
            },
        }
        waits = depth == Depth(0, 0, 0) and not (dead or missed or failed or paused or listing)
        done = all(run.counts.balanced and not run.is_open for run in runs)
        idle = workers.desired <= self.parameters.min_capacity and not finders.desired
        rests = waits and done and idle and not await self.platform.uploads.live()
        memory.mark, memory.at = (mark, time.time()) if rests else ("", 0.0)
        # Otherwise another look ran meanwhile and counts it.
        if await memory.write(self.platform.dynamo):
            report(
                measure(
                    settled,
                    depth,
                    dead=dead,
                    missed=missed,
                    machines=len(failed),
                    paused=bool(paused),
                )
            )
        return memory.told

    def _held_up(self, run: Run, runs: list[Run]) -> bool:
        """Whether the finder would only wait. It has no machine then."""
        return self.parameters.src_event is EventMode.NO and held_up(run, runs)

    async def _check(self, memory: "_Memory") -> None:
        """Check giant uploads and dead letters. A store that cannot be opened fails the runs, not
        this look.
        """
        try:
            platform = self.platform
            async with opened(self.parameters, platform.secrets, platform.limits) as route:
                await Controller(route, self.platform, self.name, memory.quiet).check()
        except StateError:
            raise
        except HubError as error:
            log.warning("the stores cannot be opened: %s", error)

    async def _is_lost(self, runs: list[Run], depth: Depth, memory: "_Memory") -> bool:
        """Whether runs wait for results that can no longer arrive.

        The queue was empty at several looks, no upload is in progress, and nothing moved meanwhile.
        """
        waiting = [run for run in runs if not run.counts.balanced]
        idle = depth.visible + depth.in_flight + depth.delayed == 0
        if not waiting or not idle or await self.platform.uploads.live():
            memory.idle, memory.settled = 0, -1
            return False
        settled = sum(_settled(run) for run in waiting)
        memory.idle = memory.idle + 1 if settled == memory.settled else 1
        memory.settled = settled
        if memory.idle < LOST_AFTER:
            return False
        memory.idle = 0
        return True

    async def _depth_of(self, url: str) -> int:
        """Return the number of messages in a queue of letters that were given up."""
        answer = await self.platform.aws.call(
            "sqs",
            "get_queue_attributes",
            QueueUrl=url,
            AttributeNames=["ApproximateNumberOfMessages"],
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    # ------------------------------------------------------------------------------------- machines

    async def _replace_failed(self, groups: dict[str, MachineGroup]) -> list[str]:
        """Replace machines that do not come up. After several in a row a person must look: without
        a finder the runs fail, and without workers the task pauses. Returns why they failed.
        """
        records, failures = self.platform.records, self.memory.failures
        failed = await self.platform.machines.find_failed(groups, failures)
        for why in failed:
            log.error("a machine failed", extra={"why": why})
        for kind, count in list(failures.in_a_row.items()):
            if count < MOST_FAILURES or not failed:
                continue
            del failures.in_a_row[kind]
            reason = f"{count} machines in a row failed: {failed[-1]}"
            if kind == "worker":
                await records.pause(f"{reason}; {AFTER_MACHINES}")
                continue
            for run in await records.list_runs():
                if run.kind is RunKind.SYNC and run.state is RunState.LISTING:
                    await records.set_run(run.id, RunState.FAILED, reason)
        return failed

    async def _set_finder(self, group: MachineGroup, wanted: bool) -> None:
        if group.desired != int(wanted):
            await self._resize(group, DesiredCapacity=int(wanted))

    async def _set_workers(
        self, group: MachineGroup, paused: bool, depth: Depth, runs: list[Run]
    ) -> None:
        """Set the size of the worker group: none for a paused task, otherwise more by the backlog.

        It is never set to fewer: only a machine itself knows that it has nothing to do, and leaves.
        """
        least, memory = self.parameters.min_capacity, self.memory
        if paused:
            if group.desired or group.least:
                await self._resize(group, MinSize=0, DesiredCapacity=0)
            return
        wanted = max(group.desired, least)
        if depth.visible + depth.in_flight:
            open_runs = [run.counts for run in runs if not run.counts.balanced]
            waiting = sum(max(0, each.enqueued_bytes - each.done_bytes) for each in open_runs)
            steps = Steps(time.time, memory.stepped)
            by_backlog = steps.wanted(
                PLUGIN.capacity(self.parameters), depth, group.desired, waiting
            )
            wanted, memory.stepped = max(wanted, by_backlog), steps.stepped
        else:
            memory.stepped = None
        wanted = min(wanted, group.most)
        if (group.least, group.desired) != (least, wanted):
            await self._resize(group, MinSize=least, DesiredCapacity=wanted)
        await self._say_what_is_short(group, runs)

    async def _warm_table(self, runs: list[Run]) -> None:
        """Have the records' table take as many writes as the runs in progress need."""
        enqueued = sum(run.counts.enqueued for run in runs if not run.counts.balanced)
        units = units_for(enqueued, self.parameters.max_capacity)
        if units > self.memory.warmed:
            self.memory.warmed = units
            await warm(self.platform.aws, self.names.objects, units)

    async def _say_what_is_short(self, group: MachineGroup, runs: list[Run]) -> None:
        """Note in the runs why the group does not get the machines that it wants, such as a quota
        of the account."""
        memory = self.memory
        memory.short = memory.short + 1 if len(group.instances) < group.desired else 0
        if memory.short != SHORT_AFTER:
            return
        if why := await self.platform.machines.why_short(group):
            log.warning("machines are refused", extra={"why": why})
            for run in runs:
                if not run.counts.balanced:
                    await self.platform.records.add_note(run.id, f"machines are refused: {why}")

    async def _resize(self, group: MachineGroup, **sizes: int) -> None:
        await self.platform.machines.resize(group, **sizes)
        log.info("machines", extra={"group": group.name, **sizes})


@dataclass(slots=True)
class Settled:
    """What was settled between two looks."""

    done: int = 0
    failed: int = 0
    bytes: int = 0
    failed_runs: int = 0


def measure(
    settled: Settled, depth: Depth, *, dead: int, missed: int, machines: int, paused: bool
) -> dict[str, float]:
    """Return the metrics of one look.

    `dead`: messages that crashed their workers; `missed`: starts that the schedule could not make;
    `machines`: those that failed.
    """
    return {
        "ObjectsTransferred": settled.done,
        "ObjectsFailed": settled.failed,
        "RunsFailed": settled.failed_runs,
        "BytesTransferred": settled.bytes,
        "MessagesWaiting": depth.visible + depth.delayed,
        "MessagesInFlight": depth.in_flight,
        "DeadLetters": dead,
        "MissedStarts": missed,
        "MachinesFailed": machines,
        "Paused": int(paused),
        "Failures": settled.failed + settled.failed_runs + dead + missed + machines + int(paused),
    }


@dataclass(slots=True)
class _Memory:
    """What one look passes to the next."""

    quiet: dict[str, int] = field(default_factory=dict)  # the controller's
    # By run: done, failed, bytes, and whether the run itself failed.
    counts: dict[str, list[int]] = field(default_factory=dict)
    # Looks with an empty queue and no progress.
    idle: int = 0
    settled: int = -1
    version: int = 0
    failures: MachineFailures = field(default_factory=MachineFailures)  # of machines
    # When workers were last added.
    stepped: float | None = None
    # Looks at which the workers' group had fewer machines than it wants.
    short: int = 0
    # The most write units per second that were asked for.
    warmed: int = 0
    # If the task rested: its mark then, and when that was.
    mark: str = ""
    at: float = 0.0
    # What the last look returned.
    told: dict[str, Any] = field(default_factory=dict)

    @classmethod
    async def read(cls, dynamo: Dynamo) -> "_Memory":
        item = await dynamo.get("state", MEMORY_KEY)
        if not item:
            return cls()
        more = json.loads(item.get("more", "{}"))
        failures = MachineFailures(**more.pop("failures", {}))
        return cls(**json.loads(item["json"]), version=item["version"], failures=failures, **more)

    async def write(self, dynamo: Dynamo) -> bool:
        """Save the memory. False if another look has written since this one was read.

        `more` is what earlier versions do not know: an upgrade may be taken back.
        """
        every = asdict(self)
        known = {name: every[name] for name in ("quiet", "counts", "idle", "settled")}
        more = {name: each for name, each in every.items() if name not in {*known, "version"}}
        return await dynamo.put(
            "state",
            {
                **MEMORY_KEY,
                "json": json.dumps(known),
                "more": json.dumps(more),
                "version": self.version + 1,
            },
            "#version = :version" if self.version else "attribute_not_exists(#pk)",
            {"version": self.version},
        )

    def count(self, runs: list[Run]) -> Settled:
        """Return what the runs have settled since the last look."""
        before, self.counts = self.counts, {str(run.id): _counted(run) for run in runs}
        settled = Settled()
        for run, (done, failed, size, over) in self.counts.items():
            was_done, was_failed, was_size, *was_over = before.get(run, [0, 0, 0, 0])
            settled.done += done - was_done
            settled.failed += failed - was_failed
            settled.bytes += size - was_size
            # Versions before this one did not remember it: their failed runs are not reported.
            settled.failed_runs += was_over == [0] and over
        return settled


def _counted(run: Run) -> list[int]:
    counts = run.counts
    return [counts.done, counts.failed, counts.done_bytes, int(run.state is RunState.FAILED)]


def _settled(run: Run) -> int:
    counts = run.counts
    return (
        counts.done + counts.failed + counts.cancelled
        + counts.deleted + counts.delete_kept + counts.delete_failed
    )  # fmt: skip


# ---------------------------------------------------------------------------------- custom resource


async def _resource(event: dict[str, Any], request: str) -> None:
    """Properties: `Parameters` of a task without a hub (a hub writes them itself).

    For events also `Bucket`, `Prefix`, `Events` ("Create" or "CreateAndDelete"), and `QueueArn`.
    """
    kind, given = event["RequestType"], event["ResourceProperties"]
    async with _opened(request) as platform:
        if kind == "Delete":
            try:
                await _follow(platform.aws, given.get("Bucket", ""), None)
            finally:
                # The source may be gone, and parts in the destination would be billed for ever.
                await _abort_uploads(platform, request)
            return
        if "Parameters" in given:
            # Invalid parameters end here, with one line.
            parameters = as_model(PLUGIN.type, given["Parameters"])
            await platform.limits.set_rates(shared_rates(parameters))
            await write_parameters(platform.dynamo, PLUGIN.type, given["Parameters"])
        before = event.get("OldResourceProperties", {}).get("Bucket", "")
        if before and before != given.get("Bucket"):
            await _follow(platform.aws, before, None)
        if given.get("Bucket"):
            await _follow(platform.aws, given["Bucket"], _subscription(given))


async def _abort_uploads(platform: AwsPlatform, request: str) -> None:
    async with opened(await _parameters(platform), platform.secrets, platform.limits) as route:
        await Controller(route, platform, request).abort_all()


def _subscription(given: dict[str, str]) -> dict[str, Any]:
    events = ["s3:ObjectCreated:*"]
    if given["Events"] == "CreateAndDelete":
        events.append("s3:ObjectRemoved:*")
    described: dict[str, Any] = {"QueueArn": given["QueueArn"], "Events": events}
    if given.get("Prefix"):
        described["Filter"] = {
            "Key": {"FilterRules": [{"Name": "prefix", "Value": given["Prefix"]}]}
        }
    return described


async def _follow(aws: Aws, bucket: str, subscription: dict[str, Any] | None) -> None:
    """Subscribe the task's queue to the bucket's events, or unsubscribe it.

    Other notifications of the bucket stay as they are.
    """
    if not bucket:
        return
    ours = f"dth-{os.environ['DTH_TASK']}"
    found = await aws.call("s3", "get_bucket_notification_configuration", Bucket=bucket)
    found.pop("ResponseMetadata", None)
    queues = [each for each in found.get("QueueConfigurations", []) if each.get("Id") != ours]
    if subscription:
        queues.append({"Id": ours, **subscription})
    if queues != found.get("QueueConfigurations", []):
        await aws.call(
            "s3",
            "put_bucket_notification_configuration",
            Bucket=bucket,
            NotificationConfiguration={**found, "QueueConfigurations": queues},
        )


# ------------------------------------------------------------------------------------------ opening


@asynccontextmanager
async def _opened(request: str) -> AsyncIterator[AwsPlatform]:
    confine_by_environment()
    async with open_platform(AwsNames.from_environment(), f"lambda-{request}") as platform:
        yield platform


async def _parameters(platform: AwsPlatform) -> S3Parameters:
    kind, values = await read_parameters(platform.dynamo)
    model: S3Parameters = as_model(kind, values)
    return model
