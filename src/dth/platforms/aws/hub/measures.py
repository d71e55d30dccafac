"""The state of a task on AWS: read from its records, queue and machines, and stored for the next
look."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dth.core.ports.gauges import Gauge
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.hub import budget
from dth.hub.model import Task
from dth.hub.ports import HubPorts
from dth.hub.progress import Meter, grown, with_last_run
from dth.hub.reading import Reading, with_retries
from dth.hub.steward import timetable_of
from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.hub.stacks import StackState
from dth.platforms.aws.platform import AwsPlatform

KEPT_RUNS = 50  # the newest runs that are read


@dataclass(frozen=True, slots=True)
class Measures:
    """For one hub."""

    ports: HubPorts
    dynamo: Dynamo
    aws: Aws

    async def take(
        self, platform: AwsPlatform, task: Task, stack: StackState
    ) -> tuple[Sequence[Run], Depth]:
        """Store the state and the cost of the task. Returns its newest runs and the depth of its
        queue."""
        # The order matters: see `Reading`.
        gauges = await platform.gauges.all()
        uploads = await platform.uploads.live()
        runs = await platform.records.list_runs(KEPT_RUNS)
        depth = await platform.queue.depth()
        if not runs:
            return runs, depth
        listed = next((each for each in runs if each.kind is RunKind.SYNC), runs[0])
        workers = await self._workers(stack)
        counted = [each for each in runs if each.is_open or each is listed]
        parts = sum(upload.done_bytes for upload in uploads)
        now = Reading(time.time(), gauges, counted, depth, workers, workers, parts)
        summary = (await self._meter(task, now)).summary(with_retries(listed, runs), depth, workers)
        task.spent = budget.spent(task, runs, self.ports.prices)
        task.summary = with_last_run(summary, task.summary, runs)
        await self.ports.tasks.summarize(task)
        return runs, depth

    async def _meter(self, task: Task, now: Reading) -> Meter:
        """A meter that was given the stored reading of the previous look, and then this one. Adds
        the difference to the totals of all tasks."""
        key = {"pk": "look", "sk": task.id}
        item = await self.dynamo.get("hub", key)
        before = _reading(item["reading"]) if "reading" in item else None
        await self.dynamo.put("hub", {**key, "at": now.at, "reading": _as_text(now)})
        meter = Meter()
        timetable, usual = timetable_of(task)
        meter.cap = float(timetable.cap_at(now.at, usual) or 0)
        if before:
            meter.update(before)
        meter.update(now)
        nothing = replace(now, runs=[])
        names = {"bytes_out": "done_bytes", "transferred": "done", "failed": "failed"}
        counted = {name: grown(before or nothing, now, count) for name, count in names.items()}
        await self.ports.metrics.write(task.id, now.at, counted)
        return meter

    async def _workers(self, stack: StackState) -> int:
        """The number of machines in service."""
        group = stack.outputs.get("WorkerGroup", "")
        if not group:
            return 0
        told = await self.aws.call(
            "autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[group]
        )
        groups: list[dict[str, Any]] = told["AutoScalingGroups"]
        return sum(
            each["LifecycleState"] == "InService"
            for found in groups
            for each in found.get("Instances", [])
        )


def _as_text(reading: Reading) -> str:
    """A reading as text for the next look."""
    runs = [{"id": run.id, "counts": asdict(run.counts)} for run in reading.runs]
    gauges = [asdict(gauge) for gauge in reading.gauges]
    return json.dumps({"at": reading.at, "parts": reading.parts, "runs": runs, "gauges": gauges})


def _reading(text: str) -> Reading:
    kept = json.loads(text)
    runs = [
        Run(each["id"], RunKind.SYNC, RunState.DONE, 0.0, counts=Counts(**each["counts"]))
        for each in kept["runs"]
    ]
    gauges = [Gauge(**each) for each in kept["gauges"]]
    return Reading(kept["at"], gauges, runs, Depth(0, 0, 0), 0, 0, kept["parts"])
