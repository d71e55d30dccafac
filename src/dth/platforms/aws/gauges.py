"""What a process reports of itself, as CloudWatch's embedded metric format: JSON lines on a stream, which the log agent
carries to CloudWatch. A minute's reports are one line.
"""

import json
import time
from typing import Any, Protocol

from dth.platforms.ports import Gauge

NAMESPACE = "DataTransferHub"
PERIOD = 60.0  # seconds

COUNTED = {  # what only grows: by how much it grew
    "bytes_in": ("BytesIn", "Bytes"),
    "bytes_out": ("BytesOut", "Bytes"),
    "requests": ("Requests", "Count"),
    "throttled": ("ThrottledRequests", "Count"),
    "errors": ("FailedRequests", "Count"),
}
SAMPLED = {  # what goes up and down: all that was seen
    "in_flight": ("InFlight", "Count"),
    "source_latency": ("SourceLatency", "Milliseconds"),
    "dest_latency": ("DestinationLatency", "Milliseconds"),
}
MOST_VALUES = 100  # that CloudWatch takes of one metric in one line


class Lines(Protocol):
    """Where lines go: standard output, or a log stream."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...


class AwsGauges:
    """`ports.Gauges`. What other processes report goes to CloudWatch, and is not known here."""

    def __init__(self, task: str, stream: Lines) -> None:
        self._task = task
        self._stream = stream
        self._last: Gauge | None = None
        self._before: Gauge | None = None  # the last of the minute before
        self._samples: dict[str, list[float]] = {}
        self._since = 0.0

    async def report(self, gauge: Gauge) -> None:
        self._last = gauge = Gauge(**{name: getattr(gauge, name) for name in Gauge.__dataclass_fields__})
        self._since = self._since or gauge.at
        for name in SAMPLED:
            if value := getattr(gauge, name):
                self._samples.setdefault(name, []).append(round(value, 3))
        if gauge.at - self._since >= PERIOD:
            self.flush()

    async def all(self) -> list[Gauge]:
        return [self._last] if self._last else []

    def flush(self) -> None:
        """Write what has been reported since the last line."""
        gauge, before = self._last, self._before
        if gauge is None or gauge is before:
            return
        values: dict[str, Any] = {}
        for name, (metric, _) in COUNTED.items():
            values[metric] = getattr(gauge, name) - (getattr(before, name) if before else 0)
        for name, (metric, _) in SAMPLED.items():
            if samples := self._samples.get(name):
                values[metric] = samples[-MOST_VALUES:]
        units = dict([*COUNTED.values(), *SAMPLED.values()])
        line = {
            "_aws": {
                "Timestamp": int((gauge.at or time.time()) * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        "Dimensions": [["Task"], ["Task", "Kind"]],
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
        self._stream.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._stream.flush()
        self._before, self._samples, self._since = gauge, {}, gauge.at
