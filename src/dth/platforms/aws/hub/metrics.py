"""The graphs of a task, from the metrics that its functions and machines write to CloudWatch. The
hub counts the activity of all tasks, including deleted ones, in its own table.

In the hub table: `total`, ten minutes as ten digits: the sums of these ten minutes. It expires with
its graphs.
"""

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dth.hub.monitoring import METRICS, Combine
from dth.hub.ports import Series
from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.gauges import NAMESPACE

MINUTE, TEN_MINUTES = 60, 600
KEPT = 61 * 86_400  # seconds that totals are kept
COUNTED = ("bytes_out", "transferred", "failed")  # summed over all tasks
OURS = {  # in our namespace, by task
    "bytes_in": "BytesIn",
    "bytes_out": "BytesOut",
    "requests": "Requests",
    "throttled": "ThrottledRequests",
    "errors": "FailedRequests",
    "transferred": "ObjectsTransferred",
    "failed": "ObjectsFailed",
    "running": "MessagesInFlight",
    "waiting": "MessagesWaiting",
    "source_latency": "SourceLatency",
    "dest_latency": "DestinationLatency",
}
# From Auto Scaling.
GROUPS = {"desired": "GroupDesiredCapacity", "in_service": "GroupInServiceInstances"}
STATISTICS = {Combine.SUM: "Sum", Combine.MEAN: "Average", Combine.MAX: "Maximum"}


class AwsMetrics:
    """`hub.ports.Metrics`. `group_of`: the Auto Scaling group of a task's workers, "" if it has
    none."""

    def __init__(self, aws: Aws, dynamo: Dynamo, group_of: Callable[[str], Awaitable[str]]) -> None:
        self._aws = aws
        self._dynamo = dynamo
        self._group_of = group_of

    async def write(self, task: str, at: float, samples: Mapping[str, float]) -> None:
        """Writes only the sums over all tasks: the rest is in CloudWatch already."""
        added = {name: samples[name] for name in COUNTED if samples.get(name)}
        if added:
            begin = math.floor(at / TEN_MINUTES) * TEN_MINUTES
            update = "SET #expires = :expires ADD " + ", ".join(
                f"#{name} :{name}" for name in added
            )
            await self._dynamo.update(
                "hub", _total_key(begin), update, values={"expires": begin + KEPT, **added}
            )

    async def read(
        self, task: str, names: Sequence[str], start: float, end: float, period: int
    ) -> tuple[list[int], list[Series]]:
        """Steps begin at multiples of the period. CloudWatch has a resolution of minutes: shorter
        steps share the value of their minute."""
        first = math.floor(start / period) * period
        times = list(range(first, max(math.ceil(end), first + 1), period))
        asked = max(MINUTE, math.ceil(period / MINUTE) * MINUTE)
        known = await self._ask(task, names, first, times[-1] + period, asked)
        share = period / asked
        series = []
        for name in names:
            summed = METRICS[name].combine is Combine.SUM
            values = [known[name].get(math.floor(at / asked) * asked) for at in times]
            series.append(
                Series(name, [v * share if v is not None and summed else v for v in values])
            )
        return times, series

    async def read_all(
        self, names: Sequence[str], start: int, end: float, period: int
    ) -> tuple[list[int], list[Series]]:
        times = list(range(start, max(math.ceil(end), start + 1), period))
        values = {"pk": "total", "first": f"{start:010d}", "last": f"{times[-1] + period - 1:010d}"}
        condition = "#pk = :pk AND #sk BETWEEN :first AND :last"
        found: dict[str, list[float | None]] = {name: [None] * len(times) for name in names}
        async for item in self._dynamo.query("hub", condition, values):
            place = (int(item["sk"]) - start) // period
            for name in names:
                if name in item:
                    found[name][place] = (found[name][place] or 0.0) + item[name]
        return times, [Series(name, values) for name, values in found.items()]

    async def forget(self, task: str) -> None:
        """CloudWatch expires metrics itself."""

    async def _ask(
        self, task: str, names: Sequence[str], start: int, end: int, period: int
    ) -> dict[str, dict[int, float]]:
        """Values by name and by the start time of each step. CloudWatch's steps begin at multiples
        of the period."""
        found: dict[str, dict[int, float]] = {name: {} for name in names}
        group = "" if GROUPS.keys().isdisjoint(names) else await self._group_of(task)
        asked = [name for name in names if name in OURS or group]
        if not asked:
            return found
        arguments: dict[str, Any] = {
            "MetricDataQueries": [self._query(name, task, group, period) for name in asked],
            "StartTime": datetime.fromtimestamp(math.floor(start / period) * period, UTC),
            "EndTime": datetime.fromtimestamp(min(end, time.time() + period), UTC),
            "ScanBy": "TimestampAscending",
        }
        while True:
            answer = await self._aws.call("cloudwatch", "get_metric_data", **arguments)
            for told in answer["MetricDataResults"]:
                moments = (int(at.timestamp()) for at in told["Timestamps"])
                found[told["Id"]].update(zip(moments, told["Values"], strict=True))
            if not answer.get("NextToken"):
                return found
            arguments["NextToken"] = answer["NextToken"]

    @staticmethod
    def _query(name: str, task: str, group: str, period: int) -> dict[str, Any]:
        if name in GROUPS:
            namespace, metric = "AWS/AutoScaling", GROUPS[name]
            dimension = {"Name": "AutoScalingGroupName", "Value": group}
        else:
            namespace, metric = NAMESPACE, OURS[name]
            dimension = {"Name": "Task", "Value": task}
        described = {"Namespace": namespace, "MetricName": metric, "Dimensions": [dimension]}
        return {
            "Id": name,
            "MetricStat": {
                "Metric": described,
                "Period": period,
                "Stat": STATISTICS[METRICS[name].combine],
            },
        }


def _total_key(begin: int) -> dict[str, str]:
    return {"pk": "total", "sk": f"{begin:010d}"}
