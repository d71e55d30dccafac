import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.errors import UsageError
from dth.core.ports.gauges import Gauge
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.hub import monitoring
from dth.hub.model import Progress
from dth.hub.monitoring import (
    GRAPHS,
    METRICS,
    MOST_POINTS,
    USUAL_POINTS,
    Combine,
    GraphName,
    Totals,
    activity,
    history,
    prometheus,
    sample,
    until_sample,
)
from dth.hub.ports import Series
from dth.hub.reading import Reading, with_retries

NOTHING = Depth(0, 0, 0)


def reading(
    at: float, gauges: Sequence[Gauge] = (), runs: Sequence[Run] = (), depth: Depth = NOTHING
) -> Reading:
    return Reading(at, gauges, runs, depth, desired=2, workers=1)


def run(id: int, *, state: RunState = RunState.TRANSFERRING, **counts: int) -> Run:
    return Run(id, RunKind.SYNC, state, started=1.0, counts=Counts(**counts))


# ------------------------------------------------------------------------------------------ samples


def test_what_is_true_now_is_sampled_as_it_is_and_what_is_counted_since_the_reading_before() -> (
    None
):
    gauge = Gauge(
        "w1", "worker", 100.0, bytes_in=50, bytes_out=40, requests=7, throttled=1, errors=3
    )
    before = reading(100.0, [gauge], [run(1, done=5, failed=1)])
    now = reading(
        110.0,
        [replace(gauge, at=109.5, bytes_in=80, requests=9, source_latency=20.0)],
        [run(1, done=8, failed=2, delete_failed=1)],
        Depth(visible=5, in_flight=3, delayed=2),
    )
    assert sample(before, now) == {
        "running": 3,
        "waiting": 7,
        "desired": 2,
        "in_service": 1,
        "source_latency": 20.0,
        "bytes_in": 30,
        "bytes_out": 0,
        "requests": 2,
        "throttled": 0,
        "errors": 0,
        "transferred": 3,
        "failed": 2,
    }
    assert set(sample(None, now)) == {
        "running",
        "waiting",
        "desired",
        "in_service",
        "source_latency",
    }
    assert set(sample(before, now)) <= set(METRICS)


@pytest.mark.parametrize(
    ("old", "new", "grown"),
    [
        (Gauge("w", "worker", 1, 50, started=1), Gauge("w", "worker", 2, 80, started=1), 30),
        (Gauge("w", "worker", 1, 50, started=1), Gauge("w", "worker", 2, 10, started=2), 10),
        (Gauge("w", "worker", 1, 50, started=1), Gauge("w", "worker", 2, 80, started=2), 80),
        (
            Gauge("w", "worker", 1, 50),
            Gauge("w", "worker", 2, 10),
            10,
        ),  # a process that does not say
        (Gauge("w", "worker", 1, 50), None, 0),
        (None, Gauge("w", "worker", 2, 10, started=2), 10),
        (None, None, 0),
    ],
)
def test_processes_come_and_go_and_come_again(
    old: Gauge | None, new: Gauge | None, grown: int
) -> None:
    before, now = reading(1, [old] if old else []), reading(2, [new] if new else [])
    assert sample(before, now)["bytes_in"] == grown


def test_a_silent_process_says_nothing_of_latency() -> None:
    dead = Gauge("w1", "worker", 10.0, source_latency=1000.0, dest_latency=5.0)
    live = [Gauge(f"w{n}", "worker", 99.0, source_latency=n * 10.0) for n in (0, 1, 2)]
    samples = sample(None, reading(100.0, [dead, *live]))
    assert samples["source_latency"] == 15.0  # of those that had requests
    assert "dest_latency" not in samples


def test_runs_come_and_go() -> None:
    before = reading(1, runs=[run(1, done=5), run(2, done=1, failed=1)])
    now = reading(2, runs=[run(2, done=3, failed=1), run(3, done=4)])
    assert (sample(before, now)["transferred"], sample(before, now)["failed"]) == (6, 0)


counters = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100), st.booleans()), max_size=30)


@given(counters)
def test_over_any_course_the_samples_add_up_to_what_was_counted(
    steps: list[tuple[int, int, bool]],
) -> None:
    gauges: dict[str, Gauge] = {}
    before, total, counted = reading(0), 0.0, 0.0
    for at, (number, amount, restart) in enumerate(steps, 1):
        name = f"w{number}"
        if restart or name not in gauges:
            gauges[name] = Gauge(name, "worker", at, started=at)
        gauges[name] = replace(gauges[name], at=at, bytes_in=gauges[name].bytes_in + amount)
        total += amount
        now = reading(at, list(gauges.values()))
        counted += sample(before, now)["bytes_in"]
        before = now
    assert counted == total


@given(st.floats(1e9, 2e9))
def test_samples_are_due_in_the_middle_of_steps(now: float) -> None:
    wait = until_sample(now)
    assert 0 < wait <= 10
    assert (now + wait) % 10 == pytest.approx(5, abs=1e-3)


# ------------------------------------------------------------------------------------------ retries


def test_failures_that_were_tried_again_count_by_how_that_ended() -> None:
    sync = run(3, enqueued=20, done=10, failed=10, enqueued_bytes=200, done_bytes=100)
    older = retry(2, enqueued=5, done=5)
    first = retry(4, enqueued=4, done=1, failed=2, cancelled=1, done_bytes=10)
    under_way = retry(5, enqueued=3)
    counts = with_retries(sync, [under_way, first, sync, older]).counts
    assert (counts.done, counts.failed, counts.cancelled, counts.done_bytes) == (11, 5, 1, 110)
    assert with_retries(sync, [sync, older]) == sync
    # Failures of runs before were tried again as well: never more than there were.
    all_again = retry(6, enqueued=50, done=50, done_bytes=5000)
    counts = with_retries(sync, [all_again, sync]).counts
    assert (counts.done, counts.failed, counts.done_bytes) == (20, 0, 200)


def retry(id: int, **counts: int) -> Run:
    return replace(run(id, **counts), kind=RunKind.REDRIVE)


# ------------------------------------------------------------------------------------------- graphs


class MemoryMetrics:
    """Answers with one value for each step, and keeps what it was asked."""

    def __init__(self, value: float | None = 600.0) -> None:
        self.value = value
        self.asked: tuple[str, Sequence[str], float, float, int] = ("", (), 0, 0, 0)

    async def write(self, task: str, at: float, samples: Mapping[str, float]) -> None: ...

    async def read(
        self, task: str, names: Sequence[str], start: float, end: float, period: int
    ) -> tuple[list[int], list[Series]]:
        self.asked = (task, names, start, end, period)
        times = list(range(int(start // period) * period, int(end), period))
        return times, [Series(name, [self.value] * len(times)) for name in names]

    async def read_all(
        self, names: Sequence[str], start: int, end: float, period: int
    ) -> tuple[list[int], list[Series]]:
        self.asked = ("", names, start, end, period)
        times = list(range(start, max(math.ceil(end), start + 1), period))
        return times, [Series(name, [self.value] * len(times)) for name in names]

    async def latest(self) -> dict[tuple[str, str], float]:
        return {}

    async def forget(self, task: str) -> None: ...


async def test_each_graph_has_the_shape_that_clients_know_and_each_series_once() -> None:
    for graph in GraphName:
        answer = await history(MemoryMetrics(), "t", graph, "1700000000", "1700003600", 300)
        names = list(answer.series)
        assert names == list(GRAPHS[graph].series)
        assert len(set(names)) == len(set(GRAPHS[graph].series.values())) == len(names)
        assert answer.times[:2] == [1699999800, 1700000100]
        assert all(len(values) == len(answer.times) for values in answer.series.values())
        assert set(GRAPHS[graph].series.values()) <= set(METRICS)


@pytest.mark.parametrize(
    ("hours", "period"),
    [(None, 3600), (1, 3600), (24, 3600), (48, 3600), (49, 7200), (744, 86_400)],
)
async def test_what_the_hub_did_has_a_point_an_hour_or_at_most_48(
    hours: int | None, period: int
) -> None:
    metrics, now = MemoryMetrics(), time.time()
    done = await activity(metrics, hours, None)
    _, _, start, end, asked = metrics.asked
    assert asked == period
    assert start % 600 == 0
    assert 0 <= start - (now - (hours or 24) * 3600) < 601
    assert end == pytest.approx(now, abs=5)
    assert 1 <= len(done.times) <= 48
    assert done.times[0] == start
    assert done.bytes == done.objects == done.failed == [600.0] * len(done.times)
    assert sum((await activity(MemoryMetrics(None), hours, None)).bytes) == 0.0


async def test_what_the_hub_did_since_a_moment() -> None:
    metrics, now = MemoryMetrics(), time.time()
    for age, points in ((0, 1), (1800, 1), (5 * 3600, 6), (25 * 3600, 26), (31 * 86_400, 32)):
        since = datetime.fromtimestamp(now - age, UTC).isoformat()
        done = await activity(metrics, 24, since)
        assert points - 1 <= len(done.times) <= points
        assert 0 <= now - age - done.times[0] < 601
    for hours, moment, said in (
        (0, None, "hours: 0"),
        (-1, None, "hours: -1"),
        (745, None, "hours: 745"),
        (24, "soon", "since: 'soon'"),
        (24, "2099-01-01", "since: it must be in the past"),
        (24, "2020-01-01", "since: 31 days"),
    ):
        with pytest.raises(UsageError, match=said):
            await activity(metrics, hours, moment)


async def test_network_is_bytes_a_second_even_in_the_step_that_is_not_over() -> None:
    past = await history(MemoryMetrics(), "t", "Network", "1700000000", "1700003600", 300)
    assert past.series["BytesReceived"][0] == 2.0
    assert (await history(MemoryMetrics(None), "t", "Network")).series["BytesSent"][0] is None
    now = await history(MemoryMetrics(), "t", "Network", period=3600)
    passed = time.time() % 3600
    assert now.series["BytesReceived"][-1] == pytest.approx(600 / max(10, passed), rel=0.05)
    counted = await history(
        MemoryMetrics(), "t", "TransferredFailedObjects", "1700000000", "1700003600"
    )
    assert counted.series["TransferredObjects"][0] == 600.0


@pytest.mark.parametrize(
    "text",
    [
        "1700000000",
        "1700000000000",
        " 1700000000.0 ",
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.000+00:00",
        "2023-11-14T22:13:20",
        "2023-11-15 06:13:20+08:00",
    ],
)
async def test_moments_may_be_written_in_many_ways(text: str) -> None:
    metrics = MemoryMetrics()
    await history(metrics, "t", "Latency", text, "2023-11-14T23:00:00Z")
    assert metrics.asked[2] == 1700000000.0


async def test_the_last_hour_is_the_default() -> None:
    metrics = MemoryMetrics()
    await history(metrics, "t", "Errors")
    task, names, start, end, period = metrics.asked
    assert (task, names, period) == ("t", ["errors", "throttled", "failed"], 20)
    assert end == pytest.approx(time.time(), abs=60)
    assert end - start == 3600
    await history(metrics, "t", "Errors", "", "1700000000", None)
    assert metrics.asked[2:4] == (1700000000.0 - 3600, 1700000000.0)


@given(st.floats(0, 2e9), st.floats(0.001, 2e9))
async def test_the_usual_period_gives_few_points(start: float, length: float) -> None:
    if start + length <= start:
        return
    period = monitoring._usual_period(start, start + length)
    assert monitoring._points(start, start + length, period) <= USUAL_POINTS
    assert period == 10 or period > length / USUAL_POINTS


@pytest.mark.parametrize(
    ("graph", "start", "end", "period", "words"),
    [
        ("Nonsense", None, None, None, "graphName.*Network"),
        ("Network", "yesterday", None, None, "startTime.*ISO 8601"),
        ("Network", "1" * 30, None, None, "startTime"),
        ("Network", "-5", None, None, "startTime"),
        ("Network", "nan", None, None, "startTime"),
        ("Network", "1e9", None, None, "startTime"),
        ("Network", "\u0661\u0667", None, None, "startTime"),
        ("Network", "1900-01-01", None, None, "startTime.*1970"),
        ("Network", "0001-01-01T00:00:00+23:59", None, None, "startTime"),
        ("Network", None, "999999999999999", None, "endTime.*9999"),
        ("Network", "1700000000", "1700000000", None, "before"),
        ("Network", "1700003600", "1700000000", None, "before"),
        ("Network", "1700000000", "1700003600", 0, "period"),
        ("Network", "1700000000", "1700003600", -60, "period"),
        ("Network", "1700000000", "1700003600", 1, "period.*1500 points; give 3 or more"),
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused(
    graph: str, start: str | None, end: str | None, period: int | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        await history(MemoryMetrics(), "t", graph, start, end, period)
    assert "\n" not in str(caught.value)


async def test_the_period_that_is_advised_is_taken() -> None:
    least = 86_400 // (MOST_POINTS - 1) + 1
    answer = await history(MemoryMetrics(), "t", "Network", "1700000000", "1700086400", least)
    assert len(answer.times) <= MOST_POINTS


# --------------------------------------------------------------------------------------- Prometheus

LINE = re.compile(r'[a-z_]+(\{[a-z]+="([^"\\\n]|\\["\\n])*"\})? [-+0-9.e]+')


def test_the_exposition_has_help_type_and_escaped_labels() -> None:
    totals = Totals()
    totals.add('a"\\\nb', {"bytes_in": 5.0, "waiting": 3.0})
    totals.add('a"\\\nb', {"bytes_in": 2.5})
    latest = {("t", "waiting"): 3.0, ("t", "source_latency"): 250.0, ("t", "bytes_in"): 9.0}
    text = prometheus({Progress.IN_PROGRESS: 2}, totals, latest)
    assert text.endswith("\n")
    lines = text.splitlines()
    assert 'dth_tasks{status="IN_PROGRESS"} 2' in lines
    assert 'dth_tasks{status="DONE"} 0' in lines
    assert 'dth_task_received_bytes_total{task="a\\"\\\\\\nb"} 7.5' in lines
    assert 'dth_task_messages_waiting{task="t"} 3' in lines
    assert 'dth_task_source_latency_seconds{task="t"} 0.25' in lines
    assert not [line for line in lines if 'received_bytes_total{task="t"}' in line]
    samples = [line for line in lines if not line.startswith("#")]
    assert all(LINE.fullmatch(line) for line in samples)
    names = [metric.exported for metric in METRICS.values()]
    assert len(set(names)) == len(names)
    for metric in METRICS.values():
        kind = "counter" if metric.combine is Combine.SUM else "gauge"
        assert metric.exported.endswith("_total") == (kind == "counter")
        at = lines.index(f"# TYPE {metric.exported} {kind}")
        assert lines[at - 1] == f"# HELP {metric.exported} {metric.meaning}"


def test_counters_only_grow_until_their_task_is_forgotten() -> None:
    totals = Totals()
    values = []
    for amount in (3.0, 0.0, 5.0):
        totals.add("t", {"transferred": amount})
        values.append(totals.of("transferred")["t"])
    assert values == [3.0, 3.0, 8.0]
    totals.forget("t")
    totals.forget("t")
    assert totals.of("transferred") == {}
