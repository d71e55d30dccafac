"""The machines of a task: what each says of itself, and their groups.

In the state table: `machine`, the machine's id. A machine that works writes the item every half
minute, so that a machine that does not is found. A machine that does not come up writes why it does
not (`failed`), as the last thing that its start script does.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dth.core.ports.gauges import Gauge
from dth.platforms.aws.client import Aws, Refused
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.items import line

MACHINE = "machine"  # the partition
# Seconds after which a machine that has said nothing counts as failed.
SILENT = 600.0
FORGET_AFTER = 86_400  # seconds after its last word
# Failures in a row after which another machine is not likely to do better.
MOST_FAILURES = 3
NO_SIGN = f"no sign of life from machine {{}} for {SILENT / 60:.0f} minutes"


@dataclass(frozen=True, slots=True)
class MachineReport:
    """The last word of a machine. `since`: when it came up. `failed`: why it did not."""

    instance: str
    kind: str
    at: float
    since: float = 0.0
    failed: str = ""


@dataclass(frozen=True, slots=True)
class MachineGroup:
    """An Auto Scaling group with what it has now."""

    name: str
    least: int
    most: int
    desired: int
    # Those that are in service, or about to be.
    instances: tuple[str, ...]
    suspended: frozenset[str]


@dataclass(slots=True)
class MachineFailures:
    """The failures of machines, as one look remembers them for the next. By kind: "worker" or
    "finder"."""

    in_a_row: dict[str, int] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)  # when
    # When a machine was first seen that has not said anything yet.
    waited_for: dict[str, float] = field(default_factory=dict)


class AwsMachines:
    """The machines of one task."""

    def __init__(self, aws: Aws, dynamo: Dynamo) -> None:
        self._aws = aws
        self._dynamo = dynamo

    # -------------------------------------------------------------------------- of a machine itself

    async def report(self, kind: str, instance: str, since: float) -> None:
        """Say that this machine works."""
        now = time.time()
        item = {"kind": kind, "at": now, "since": since, "expires": int(now) + FORGET_AFTER}
        await self._dynamo.put("state", {"pk": MACHINE, "sk": instance, **item})

    async def gauges_of(self, processes: Sequence[str]) -> list[Gauge]:
        """The last reports of these processes."""
        keys = [{"pk": "gauge", "sk": name} for name in processes]
        names = Gauge.__dataclass_fields__
        return [
            Gauge(**{name: item[name] for name in names if name in item})
            for item in await self._dynamo.get_many("state", keys)
        ]

    async def leave(self, instance: str) -> bool:
        """Take this machine, which nobody needs, out of its group, which shrinks by one. False if
        the group wants no fewer."""
        return await self._end(instance, fewer=True)

    # -------------------------------------------------------------------------------- of the others

    async def group(self, name: str) -> MachineGroup:
        answer = await self._aws.call(
            "autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[name]
        )
        told: dict[str, Any] = answer["AutoScalingGroups"][0]
        going = ("Terminating", "Terminated", "Detach")
        return MachineGroup(
            name,
            told["MinSize"],
            told["MaxSize"],
            told["DesiredCapacity"],
            tuple(
                each["InstanceId"]
                for each in told.get("Instances", [])
                if not each["LifecycleState"].startswith(going)
            ),
            frozenset(each["ProcessName"] for each in told.get("SuspendedProcesses", [])),
        )

    async def resize(self, group: MachineGroup, **sizes: int) -> None:
        """Set MinSize and DesiredCapacity, as far as they are given."""
        await self._aws.call(
            "autoscaling", "update_auto_scaling_group", AutoScalingGroupName=group.name, **sizes
        )

    async def why_short(self, group: MachineGroup) -> str:
        """Why the last machine that the group wanted was refused; "" if it was not."""
        answer = await self._aws.call(
            "autoscaling",
            "describe_scaling_activities",
            AutoScalingGroupName=group.name,
            MaxRecords=1,
        )
        return next(
            (
                line(each.get("StatusMessage", ""))
                for each in answer.get("Activities", [])
                if each.get("StatusCode") == "Failed"
            ),
            "",
        )

    async def find_failed(
        self, groups: dict[str, MachineGroup], failures: MachineFailures
    ) -> list[str]:
        """End the machines that do not come up, or have fallen silent: their groups replace them.
        `groups`: by kind. Returns why each failed; each is found once."""
        now = time.time()
        reports = {each.instance: each for each in await self._reports()}
        found: list[str] = []
        waited_for: dict[str, float] = {}
        for kind, group in groups.items():
            there = [reports[name] for name in group.instances if name in reports]
            if any(not each.failed and each.since > failures.last.get(kind, 0.0) for each in there):
                failures.in_a_row.pop(kind, None)
            why = {
                each.instance: each.failed
                for each in reports.values()
                if each.failed and each.kind == kind
            }
            for name in why:
                await self._dynamo.delete("state", {"pk": MACHINE, "sk": name})
            for name in group.instances:
                if name in why:
                    continue
                if report := reports.get(name):
                    heard = report.at
                else:
                    heard = waited_for[name] = failures.waited_for.get(name, now)
                if now - heard > SILENT:
                    why[name] = NO_SIGN.format(name)
                    waited_for.pop(name, None)
                    await self._dynamo.delete("state", {"pk": MACHINE, "sk": name})
                    # It may have gone by itself.
                    await self._end(name, fewer=False)
            if why:
                failures.in_a_row[kind] = failures.in_a_row.get(kind, 0) + len(why)
                failures.last[kind] = now
                found += why.values()
        failures.waited_for = waited_for
        return found

    async def _reports(self) -> list[MachineReport]:
        found = self._dynamo.query("state", "#pk = :pk", {"pk": MACHINE})
        return [
            MachineReport(
                item["sk"],
                item["kind"],
                item["at"],
                item.get("since", 0.0),
                line(item.get("failed", "")),
            )
            async for item in found
        ]

    async def _end(self, instance: str, *, fewer: bool) -> bool:
        """False if the group has no such machine, or wants no fewer."""
        try:
            await self._aws.call(
                "autoscaling",
                "terminate_instance_in_auto_scaling_group",
                InstanceId=instance,
                ShouldDecrementDesiredCapacity=fewer,
            )
        except Refused as error:
            if error.code != "ValidationError":
                raise
            return False
        return True
