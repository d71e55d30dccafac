"""The reports of a process about itself. For CloudWatch in its embedded metric format: JSON lines
on a stream, which the log agent sends there; one line per minute. For the hub as an item of the
state table, every ten seconds.
"""

import contextlib
import json
import time
from dataclasses import asdict, replace
from typing import Any, Protocol

from dth.core.errors import StateError
from dth.core.ports.gauges import Gauge
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.items import line

NAMESPACE = "DataTransferHub"
PERIOD = 60.0  # seconds
# Seconds between reports that others can read.
KEEP_EVERY = 10.0
# Seconds: a process that has not reported for a day does not come back.
FORGET_AFTER = 86_400.0

COUNTED = {  # counters: their increase
    "bytes_in": ("BytesIn", "Bytes"),
    "bytes_out": ("BytesOut", "Bytes"),
    "requests": ("Requests", "Count"),
    "throttled": ("ThrottledRequests", "Count"),
    "errors": ("FailedRequests", "Count"),
}
SAMPLED = {  # gauges: all values that were seen
    "in_flight": ("InFlight", "Count"),
    "source_latency": ("SourceLatency", "Milliseconds"),
    "dest_latency": ("DestinationLatency", "Milliseconds"),
}
# Values of one metric that CloudWatch accepts in one line.
MOST_VALUES = 100


class Lines(Protocol):
    """Where lines are written: standard output, or a log stream."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...


class AwsGauges:
    """`ports.Gauges`. The reports of other processes are some seconds old."""

    def __init__(self, task: str, stream: Lines, dynamo: Dynamo) -> None:
        self._task = task
        self._stream = stream
        self._dynamo = dynamo
        self._kept = 0.0  # when the item was last written
        self._last: Gauge | None = None
        self._before: Gauge | None = None  # the last report of the previous minute
        self._samples: dict[str, list[float]] = {}
        self._since = 0.0

    async def report(self, gauge: Gauge) -> None:
        self._last = gauge = replace(gauge, note=line(gauge.note))
        self._since = self._since or gauge.at
        for name in SAMPLED:
            if value := getattr(gauge, name):
                self._samples.setdefault(name, []).append(round(value, 3))
        if gauge.at - self._since >= PERIOD:
            self.flush()
        if gauge.at - self._kept >= KEEP_EVERY:
            self._kept = gauge.at
            with contextlib.suppress(StateError):  # another report follows soon
                await self._dynamo.put(
                    "state", {"pk": "gauge", "sk": gauge.process, **asdict(gauge)}
                )

    async def all(self) -> list[Gauge]:
        found = {}
        async for item in self._dynamo.query("state", "#pk = :pk", {"pk": "gauge"}):
            if item["at"] < time.time() - FORGET_AFTER:
                await self._dynamo.delete("state", {"pk": "gauge", "sk": item["sk"]})
                continue
            values = {name: item[name] for name in Gauge.__dataclass_fields__ if name in item}
            found[item["process"]] = Gauge(**values)
        if self._last:
            found[self._last.process] = self._last
        return [found[process] for process in sorted(found)]

    def flush(self) -> None:
        """Write what has been reported since the last line."""
        gauge, before = self._last, self._before
        if gauge is None or gauge is before:
            return
        values: dict[str, Any] = {}
        for name, (metric, _) in COUNTED.items():
            grown = getattr(gauge, name) - (getattr(before, name) if before else 0)
            if grown:
                values[metric] = grown
        for name, (metric, _) in SAMPLED.items():
            if samples := self._samples.get(name):
                values[metric] = samples[-MOST_VALUES:]
        self._before, self._samples, self._since = gauge, {}, gauge.at
        # A worker that waits has nothing to say.
        if not values:
            return
        units = dict([*COUNTED.values(), *SAMPLED.values()])
        metrics = {
            "_aws": {
                "Timestamp": int((gauge.at or time.time()) * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        # Each further set of dimensions would be as many metrics again, and all
                        # cost money.
                        "Dimensions": [["Task"]],
                        "Metrics": [{"Name": metric, "Unit": units[metric]} for metric in values],
                    }
                ],
            },
            "Task": self._task,
            "Kind": gauge.kind,
            "Process": gauge.process,
            "Note": gauge.note,
            **values,
        }
        self._stream.write(json.dumps(metrics, separators=(",", ":")) + "\n")
        self._stream.flush()
