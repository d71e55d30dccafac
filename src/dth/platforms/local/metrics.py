"""The time series of the hub: samples in steps of three lengths, each kept as long as its graphs
need.

A sample is added to the steps of all lengths in one transaction. Nothing is aggregated later, so
nothing can be aggregated twice or forgotten.
"""

import json
import math
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, func, select

from dth.core import clock
from dth.hub.monitoring import METRICS, Combine
from dth.hub.ports import Series
from dth.platforms.local.hub_schema import sample
from dth.platforms.local.sql import POSTGRES, SQLITE, SqlDatabase, run, spell

HOUR, DAY = 3600, 86_400

# Seconds of a step, and for how many seconds it is kept: for the graphs of 3 hours, 3 days and 60
# days, plus a margin, because the first step of a graph begins before it.
STEPS = {10: 3.25 * HOUR, 60: 3.25 * DAY, 600: 61.0 * DAY}
FINEST, COARSEST = min(STEPS), max(STEPS)
# Seconds for which a last sample counts as current.
RECENT = 300
PIECE = 500  # steps deleted per transaction
# All tasks together are stored under this id, which no task has, and which sorts before all others.
EVERYTHING = ""
# Summed over all tasks, only in the coarsest steps.
COUNTED = (
    "bytes_out",
    "transferred",
    "failed",
)

# Per metric of a step: its sum or maximum, and the number of samples.
Kept = dict[str, tuple[float, float]]


class LocalMetrics:
    """`hub.ports.Metrics` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def write(self, task: str, at: float, samples: Mapping[str, float]) -> None:
        await self._database.write(_write, task, at, samples)

    async def read(
        self, task: str, names: Sequence[str], start: float, end: float, period: int
    ) -> tuple[list[int], list[Series]]:
        """Steps begin at multiples of the period, the first at or before `start`. Values that are
        stored only in longer steps are spread over them evenly."""
        first = math.floor(start / period) * period
        times = list(range(first, max(math.ceil(end), first + 1), period))
        step = _finest_that_covers(first, clock.now())
        bins = {name: _Bins(METRICS[name].combine, times, period) for name in names}
        for at, kept in await self._database.read(
            _read, task, step, first - step, times[-1] + period
        ):
            for name, series in bins.items():
                if name in kept:
                    series.add(at, step, *kept[name])
        return times, [Series(name, series.values()) for name, series in bins.items()]

    async def read_all(
        self, names: Sequence[str], start: int, end: float, period: int
    ) -> tuple[list[int], list[Series]]:
        """The cost does not depend on the number of tasks."""
        times = list(range(start, max(math.ceil(end), start + 1), period))
        bins = {name: _Bins(METRICS[name].combine, times, period) for name in names}
        rows = await self._database.read(
            _read, EVERYTHING, COARSEST, start - COARSEST, times[-1] + period
        )
        for at, kept in rows:
            for name, series in bins.items():
                if name in kept:
                    series.add(at, COARSEST, *kept[name])
        return times, [Series(name, series.values()) for name, series in bins.items()]

    async def latest(self) -> dict[tuple[str, str], float]:
        """The newest values, by task and metric. For a step with two samples, their combined
        value."""
        return await self._database.read(_latest, math.floor(clock.now() - RECENT))

    async def forget(self, task: str) -> None:
        for step in STEPS:
            await self._delete(task, step, math.inf)

    async def prune(self, now: float) -> None:
        """Delete expired steps, in pieces so that others get their turn in between."""
        for step, kept in STEPS.items():
            while await self._database.write(_delete_older, step, now - kept) == PIECE:
                pass

    async def _delete(self, task: str, step: int, before: float) -> None:
        while await self._database.write(_delete, task, step, before):
            pass


class _Bins:
    """One series, combined from stored steps that may be shorter or longer than its own."""

    def __init__(self, combine: Combine, times: Sequence[int], period: int) -> None:
        self._combine = combine
        self._first = times[0]
        self._period = period
        self._values = [0.0] * len(times)
        self._weights = [0.0] * len(times)

    def add(self, at: int, step: int, value: float, count: float) -> None:
        begin, end = at - self._first, at + step - self._first
        last = min(len(self._values), math.ceil(end / self._period))
        for index in range(max(0, begin // self._period), last):
            here = index * self._period
            share = (min(end, here + self._period) - max(begin, here)) / step
            if self._combine is not Combine.MAX:
                self._values[index] += value * share
            elif not self._weights[index] or value > self._values[index]:
                self._values[index] = value
            self._weights[index] += count * share

    def values(self) -> list[float | None]:
        pairs = zip(self._values, self._weights, strict=True)
        if self._combine is Combine.MEAN:
            return [value / weight if weight else None for value, weight in pairs]
        return [value if weight else None for value, weight in pairs]


def _finest_that_covers(start: float, now: float) -> int:
    return next((step for step, kept in STEPS.items() if start >= now - kept), COARSEST)


def _write(connection: Connection, task: str, at: float, samples: Mapping[str, float]) -> None:
    new: Kept = {name: (value, 1) for name, value in samples.items() if math.isfinite(value)}
    for step in STEPS:
        _add(connection, task, step, at, new)
    counted = {name: new[name] for name in COUNTED if name in new and new[name][0]}
    if counted:
        _add(connection, EVERYTHING, COARSEST, at, counted)


def _add(connection: Connection, task: str, step: int, at: float, new: Kept) -> None:
    place = {"task": task, "step": step, "at": math.floor(at / step) * step}
    stored = run(connection, STORED, place).scalar()
    joined = _joined(json.loads(stored), new) if stored else new
    run(connection, STORE, place | {"data": json.dumps(joined, separators=(",", ":"))})


STORED = spell("SELECT data FROM sample WHERE task = :task AND step = :step AND at = :at")
STORE = spell(
    "INSERT INTO sample (task, step, at, data) VALUES (:task, :step, :at, :data) "
    "ON CONFLICT (task, step, at) DO UPDATE SET data = excluded.data"
)


def _joined(old: Kept, new: Kept) -> Kept:
    joined = dict(old)
    for name, (value, count) in new.items():
        if name in old:
            before, number = old[name]
            value = max(before, value) if METRICS[name].combine is Combine.MAX else before + value
            count += number
        joined[name] = (value, count)
    return joined


def _read(
    connection: Connection, task: str, step: int, after: int, before: int
) -> list[tuple[int, Kept]]:
    rows = connection.execute(
        select(sample.c.at, sample.c.data)
        .where(
            sample.c.task == task, sample.c.step == step, sample.c.at > after, sample.c.at < before
        )
        .order_by(sample.c.at)
    )
    return [(at, json.loads(data)) for at, data in rows]


def _latest(connection: Connection, since: int) -> dict[tuple[str, str], float]:
    """The cost depends on the tasks that work, not on all tasks that ever did."""
    last: dict[tuple[str, str], float] = {}
    for task, data in run(connection, RECENT_SAMPLES, {"step": FINEST, "since": since}):
        for name, (value, count) in json.loads(data).items():
            last[task, name] = value / count if METRICS[name].combine is Combine.MEAN else value
    return last


# SQLite gets the name of the index to use: the cost must not depend on a guess.
BY_AGE = {SQLITE: "sample INDEXED BY sample_age", POSTGRES: "sample"}
RECENT_SAMPLES = spell(
    "SELECT task, data FROM {by_age} WHERE step = :step AND at > :since AND task <> '' ORDER BY at",
    by_age=BY_AGE,
)


def _delete_older(connection: Connection, step: int, before: float) -> int:
    """Delete a piece of the expired steps of all tasks. Returns the number of rows."""
    values = {"step": step, "before": before, "most": PIECE}
    return run(connection, DELETE_OLDER, values).rowcount


DELETE_OLDER = spell(
    "DELETE FROM sample WHERE (task, step, at) IN "
    "(SELECT task, step, at FROM {by_age} WHERE step = :step AND at < :before LIMIT :most)",
    by_age=BY_AGE,
)


def _delete(connection: Connection, task: str, step: int, before: float) -> bool:
    """Delete a piece of the oldest steps before `before`. Returns whether there may be more."""
    steps = (sample.c.task == task) & (sample.c.step == step)
    oldest = connection.scalar(select(func.min(sample.c.at)).where(steps))
    if oldest is None or oldest >= before:
        return False
    upto = min(before, oldest + PIECE * step)
    connection.execute(delete(sample).where(steps, sample.c.at < upto))
    return True
