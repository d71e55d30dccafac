"""Measurements of tasks: samples from the reports of their processes, the graphs of the API, and
the text for Prometheus. For the progress of a run, see `progress`.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from dth.core import clock
from dth.core.errors import UsageError
from dth.core.ports.runs import Counts
from dth.hub.model import Progress
from dth.hub.reading import Reading

if TYPE_CHECKING:
    from dth.hub.ports import Metrics

# ------------------------------------------------------------------------------------------ metrics


class Combine(StrEnum):
    """How samples of one metric are combined over a step of time."""

    # Each counts what is new since the last one.
    SUM = "sum"
    MEAN = "mean"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity. `exported` is its name for Prometheus; `scale` converts it to
    Prometheus's base units."""

    combine: Combine
    unit: str
    exported: str
    meaning: str
    scale: float = 1.0


METRICS: dict[str, Metric] = {
    "bytes_in": Metric(
        Combine.SUM, "bytes", "dth_task_received_bytes_total", "Bytes of bodies read from stores."
    ),
    "bytes_out": Metric(
        Combine.SUM, "bytes", "dth_task_sent_bytes_total", "Bytes of bodies sent to stores."
    ),
    "requests": Metric(
        Combine.SUM, "requests", "dth_task_requests_total", "Requests sent to stores."
    ),
    "throttled": Metric(
        Combine.SUM, "requests", "dth_task_throttled_total", "Answers that asked to slow down."
    ),
    "errors": Metric(
        Combine.SUM,
        "requests",
        "dth_task_request_errors_total",
        "Requests that failed, tried again or not.",
    ),
    "transferred": Metric(
        Combine.SUM, "objects", "dth_task_transferred_objects_total", "Objects copied."
    ),
    "failed": Metric(Combine.SUM, "objects", "dth_task_failed_objects_total", "Objects given up."),
    "running": Metric(
        Combine.MEAN, "messages", "dth_task_messages_running", "Messages that workers hold."
    ),
    "waiting": Metric(
        Combine.MEAN, "messages", "dth_task_messages_waiting", "Messages that wait for a worker."
    ),
    "desired": Metric(
        Combine.MAX, "workers", "dth_task_workers_desired", "Workers that there should be."
    ),
    "in_service": Metric(Combine.MAX, "workers", "dth_task_workers", "Workers that there are."),
    "source_latency": Metric(
        Combine.MEAN,
        "ms",
        "dth_task_source_latency_seconds",
        "Mean time of a request to the source.",
        0.001,
    ),
    "dest_latency": Metric(
        Combine.MEAN,
        "ms",
        "dth_task_destination_latency_seconds",
        "Mean time of a request to the destination.",
        0.001,
    ),
}

SAMPLE_EVERY = 10.0  # seconds
# Seconds without a report after which a process no longer counts in current values.
SILENT_AFTER = 15.0
DELTAS = ("bytes_in", "bytes_out", "requests", "throttled", "errors")  # counters of `Gauge`


def until_sample(now: float) -> float:
    """Seconds until the next sample is due. Samples are due in the middle of a step, so that each
    step has exactly one even if a sample is slightly early or late."""
    return SAMPLE_EVERY - (now - SAMPLE_EVERY / 2) % SAMPLE_EVERY


def sample(before: Reading | None, now: Reading) -> dict[str, float]:
    """The samples to write for `now`. Counters are relative to `before`; without it they are left
    out."""
    samples: dict[str, float] = {
        "running": now.depth.in_flight,
        "waiting": now.depth.visible + now.depth.delayed,
        "desired": now.desired,
        "in_service": now.workers,
    }
    speaking = [gauge for gauge in now.gauges if now.at - gauge.at < SILENT_AFTER]
    for name in ("source_latency", "dest_latency"):
        known = [latency for gauge in speaking if (latency := getattr(gauge, name)) > 0]
        if known:
            samples[name] = sum(known) / len(known)
    if before:
        samples |= _reported(before, now) | _settled(before, now)
    return samples


def _reported(before: Reading, now: Reading) -> dict[str, float]:
    """The increase of the processes' counters. A process that started since `before`, under any
    name, began at 0. What a process did between its last report and its end is lost: about one
    second's worth."""
    known = {gauge.process: gauge for gauge in before.gauges}
    grown = dict.fromkeys(DELTAS, 0.0)
    for gauge in now.gauges:
        old = known.get(gauge.process)
        same = old is not None and old.started == gauge.started
        for name in DELTAS:
            value = getattr(gauge, name)
            base = getattr(old, name) if same else 0
            grown[name] += value - base if value >= base else value
    return grown


def _settled(before: Reading, now: Reading) -> dict[str, float]:
    """The objects that were settled, over all runs. A run that is not in `before` has begun
    since."""
    known = {run.id: run.counts for run in before.runs}
    nothing = Counts()
    settled = {"transferred": 0.0, "failed": 0.0}
    for run in now.runs:
        old = known.get(run.id, nothing)
        settled["transferred"] += max(0, run.counts.done - old.done)
        settled["failed"] += max(
            0, run.counts.failed + run.counts.delete_failed - old.failed - old.delete_failed
        )
    return settled


# ------------------------------------------------------------------------------------------- graphs


class GraphName(StrEnum):
    """The graphs of the API, by the names that existing clients use."""

    NETWORK = "Network"
    TRANSFERRED_FAILED_OBJECTS = "TransferredFailedObjects"
    RUNNING_WAITING_JOB_HISTORY = "RunningWaitingJobHistory"
    DESIRED_IN_SERVICE_INSTANCES = "DesiredInServiceInstances"
    LATENCY = "Latency"
    ERRORS = "Errors"


@dataclass(frozen=True, slots=True)
class Graph:
    """`series`: maps displayed names to metrics. `per_second`: show sums as rates."""

    series: Mapping[str, str]
    per_second: bool = False


GRAPHS: dict[GraphName, Graph] = {
    GraphName.NETWORK: Graph(
        {"BytesReceived": "bytes_in", "BytesSent": "bytes_out"}, per_second=True
    ),
    GraphName.TRANSFERRED_FAILED_OBJECTS: Graph(
        {"TransferredObjects": "transferred", "FailedObjects": "failed"}
    ),
    GraphName.RUNNING_WAITING_JOB_HISTORY: Graph(
        {"WaitingJob": "waiting", "RunningJob": "running"}
    ),
    GraphName.DESIRED_IN_SERVICE_INSTANCES: Graph(
        {"DesiredCapacity": "desired", "InServiceInstances": "in_service"}
    ),
    GraphName.LATENCY: Graph(
        {"SourceLatency": "source_latency", "DestinationLatency": "dest_latency"}
    ),
    GraphName.ERRORS: Graph(
        {"FailedRequests": "errors", "ThrottledRequests": "throttled", "FailedObjects": "failed"}
    ),
}

HOUR, DAY, WEEK = 3600, 86_400, 604_800
PERIODS = (
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    WEEK,
)
USUAL_POINTS, MOST_POINTS = 300, 1500
NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
# As seconds this is far in the future, as milliseconds it is 1973.
MILLISECONDS = 1e11
LAST_SECOND = 253_402_300_799  # the end of the year 9999


@dataclass(frozen=True, slots=True)
class History:
    """A graph: the start times of its steps (epoch seconds), and the values of each line by step,
    None where nothing was measured."""

    times: list[int]
    series: dict[str, list[float | None]]


async def history(
    metrics: "Metrics",
    task: str,
    graph: str,
    start: str | None = None,
    end: str | None = None,
    period: int | None = None,
) -> History:
    """A graph of a task.

    `start` and `end`: ISO 8601 (UTC by default), epoch seconds or milliseconds; the default is the
    last hour. `period`: seconds per step; the default gives up to 300 steps. Raises UsageError.
    """
    try:
        wanted = GRAPHS[GraphName(graph)]
    except ValueError:
        raise UsageError(
            f"graphName: there is no {graph!r}; there are {', '.join(GraphName)}"
        ) from None
    now = clock.now()
    until = moment("endTime", end) if end else now
    since = moment("startTime", start) if start else max(0.0, until - HOUR)
    if since >= until:
        raise UsageError("startTime: it must be before endTime")
    period = (
        _usual_period(since, until) if period is None else _checked_period(period, since, until)
    )
    times, found = await metrics.read(task, list(wanted.series.values()), since, until, period)
    values = {series.name: series.values for series in found}
    if wanted.per_second:
        seconds = [_elapsed(begin, period, now) for begin in times]
        values = {name: _rates(sums, seconds) for name, sums in values.items()}
    return History(times, {shown: values[metric] for shown, metric in wanted.series.items()})


# Seconds: the finest resolution of the sums over all tasks.
ACTIVITY_STEP = 600
ACTIVITY_POINTS = 48  # the most points
ACTIVITY_HOURS = 31 * 24


@dataclass(frozen=True, slots=True)
class Activity:
    """The activity of all tasks by steps; `times` are the start times of the steps (epoch
    seconds)."""

    times: list[int]
    bytes: list[float]
    objects: list[float]
    failed: list[float]


async def activity(metrics: "Metrics", hours: int | None, since: str | None) -> Activity:
    """The activity of all tasks in the last `hours` (24), or since a time, in steps of an hour or
    more, the last of which is not over yet. Begins at a multiple of ten minutes. Raises
    UsageError."""
    now = clock.now()
    hours = 24 if hours is None else hours
    if since:
        start = math.floor(moment("since", since) / ACTIVITY_STEP) * ACTIVITY_STEP
        if start > now:
            raise UsageError("since: it must be in the past")
        if now - start > ACTIVITY_HOURS * HOUR + DAY:  # 31 days back, from the start of a day
            raise UsageError(f"since: {ACTIVITY_HOURS // 24} days back is the most")
    else:
        if not 1 <= hours <= ACTIVITY_HOURS:
            raise UsageError(
                f"hours: {hours} is out of range; it must be from 1 to {ACTIVITY_HOURS}"
            )
        start = math.ceil((now - hours * HOUR) / ACTIVITY_STEP) * ACTIVITY_STEP
    period = next(
        each for each in PERIODS if each >= HOUR and now - start <= each * ACTIVITY_POINTS
    )
    times, found = await metrics.read_all(
        ["bytes_out", "transferred", "failed"], start, now, period
    )
    sums = {series.name: [value or 0.0 for value in series.values] for series in found}
    return Activity(times, sums["bytes_out"], sums["transferred"], sums["failed"])


def moment(name: str, text: str) -> float:
    """A time in seconds. `name`: of the argument. Raises UsageError."""
    text = text.strip()
    if NUMBER.fullmatch(text):
        found = float(text)
        found = found / 1000 if found >= MILLISECONDS else found
    else:
        try:
            parsed = datetime.fromisoformat(text)
            found = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise UsageError(
                f"{name}: {text[:50]!r} is not a time; give ISO 8601, or seconds or "
                "milliseconds since 1970"
            ) from None
    if not 0 <= found <= LAST_SECOND:
        raise UsageError(f"{name}: {text[:50]!r} is not between the years 1970 and 9999")
    return found


def _points(start: float, end: float, period: int) -> int:
    """Steps begin at multiples of the period."""
    return math.ceil(end / period) - math.floor(start / period)


def _usual_period(start: float, end: float) -> int:
    fitting = (period for period in PERIODS if _points(start, end, period) <= USUAL_POINTS)
    return next(fitting, None) or math.ceil((end - start) / (USUAL_POINTS - 1) / WEEK) * WEEK


def _checked_period(period: int, start: float, end: float) -> int:
    if period < 1:
        raise UsageError("period: give the seconds of a step, 1 or more")
    if _points(start, end, period) > MOST_POINTS:
        least = math.ceil((end - start) / (MOST_POINTS - 1))
        raise UsageError(
            f"period: steps of {period} s make more than {MOST_POINTS} points; give {least} or "
            "more, or a shorter time"
        )
    return period


def _elapsed(begin: int, period: int, now: float) -> float:
    """The elapsed part of a step: the last one is not over yet."""
    return min(period, max(SAMPLE_EVERY, now - begin))


def _rates(sums: Iterable[float | None], seconds: Sequence[float]) -> list[float | None]:
    return [
        None if total is None else total / passed
        for total, passed in zip(sums, seconds, strict=True)
    ]


# --------------------------------------------------------------------------------------- Prometheus

# The Content-Type of the result of `prometheus`.
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Totals:
    """The counters of every task since the hub started. Prometheus expects counters that only grow,
    and handles a restart from 0."""

    _tasks: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, task: str, samples: Mapping[str, float]) -> None:
        """Add the samples; gauges are left out."""
        totals = self._tasks.setdefault(task, {})
        for name, value in samples.items():
            if METRICS[name].combine is Combine.SUM:
                totals[name] = totals.get(name, 0.0) + value

    def forget(self, task: str) -> None:
        """Drop the counters of a deleted task."""
        self._tasks.pop(task, None)

    def of(self, metric: str) -> dict[str, float]:
        """The values of a metric by task."""
        return {task: totals[metric] for task, totals in self._tasks.items() if metric in totals}


def prometheus(
    progress: Mapping[Progress, int], totals: Totals, latest: Mapping[tuple[str, str], float]
) -> str:
    """Everything in the text exposition format. `latest`: the result of `Metrics.latest`, from
    which the gauges are taken."""
    lines = ["# HELP dth_tasks Tasks by status.", "# TYPE dth_tasks gauge"]
    lines += [f'dth_tasks{{status="{status}"}} {progress.get(status, 0)}' for status in Progress]
    for name, metric in METRICS.items():
        kind, values = "counter", totals.of(name)
        if metric.combine is not Combine.SUM:
            kind, values = (
                "gauge",
                {task: value for (task, each), value in latest.items() if each == name},
            )
        lines += [f"# HELP {metric.exported} {metric.meaning}", f"# TYPE {metric.exported} {kind}"]
        lines += [
            f'{metric.exported}{{task="{_label(task)}"}} {_number(values[task] * metric.scale)}'
            for task in sorted(values)
        ]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
