import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dth.core.ports.gauges import Gauge
from dth.hub.ports import Series
from dth.objects.store.pace import Gate
from dth.platforms.local import metrics as metrics_module
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.gauges import LocalGauges
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.hub_schema import sample
from dth.platforms.local.limits import LocalLimits
from dth.platforms.local.metrics import EVERYTHING, STEPS, LocalMetrics

HOUR, DAY = 3600, 86_400
NOW = 1_700_000_400.0  # a multiple of 600, and the past for the clock of this machine


class Clock:
    def time(self) -> float:
        return NOW


@pytest.fixture
def database(tmp_path: Path) -> Iterator[HubDatabase]:
    with HubDatabase.open(tmp_path / "hub.db") as opened:
        yield opened


@pytest.fixture
def metrics(database: HubDatabase, monkeypatch: pytest.MonkeyPatch) -> LocalMetrics:
    monkeypatch.setattr("dth.core.clock.time", Clock())
    return LocalMetrics(database)


async def stored(database: HubDatabase, task: str = "t") -> dict[int, list[int]]:
    """The steps that there are, by their length."""
    rows = await database.read(
        lambda c: c.execute(sample.select().where(sample.c.task == task)).all()
    )
    return {step: [row.at for row in rows if row.step == step] for step in STEPS}


async def test_sums_means_and_peaks_of_a_step(metrics: LocalMetrics) -> None:
    for second, value in enumerate((1.0, 2.0, 6.0)):
        await metrics.write(
            "t", NOW + second, {"bytes_in": value, "waiting": value, "desired": 7 - value}
        )
    await metrics.write("t", NOW + 30, {"bytes_in": 0.0})
    times, series = await metrics.read("t", ["waiting", "bytes_in", "desired"], NOW, NOW + 40, 10)
    assert times == [NOW, NOW + 10, NOW + 20, NOW + 30]
    assert series == [
        Series("waiting", [3.0, None, None, None]),
        Series("bytes_in", [9.0, None, None, 0.0]),
        Series("desired", [6.0, None, None, None]),
    ]


async def test_tasks_are_apart_and_what_is_no_number_is_left_out(metrics: LocalMetrics) -> None:
    await metrics.write("a", NOW, {"waiting": math.nan, "bytes_in": 5.0})
    await metrics.write("b", NOW, {"waiting": 2.0, "bytes_in": math.inf})
    assert (await metrics.read("a", ["waiting", "bytes_in"], NOW, NOW + 10, 10))[1] == [
        Series("waiting", [None]),
        Series("bytes_in", [5.0]),
    ]
    assert (await metrics.read("c", ["waiting"], NOW, NOW + 10, 10))[1] == [
        Series("waiting", [None])
    ]


@given(
    st.lists(st.tuples(st.integers(0, 7200), st.integers(0, 1000)), min_size=1, max_size=40),
    st.integers(1, 4000),
    st.sampled_from([0, 2 * DAY, 30 * DAY]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
async def test_whatever_the_period_and_age_sums_are_kept_and_means_are_between(
    metrics: LocalMetrics,
    database: HubDatabase,
    samples: list[tuple[int, int]],
    period: int,
    age: int,
) -> None:
    await metrics.forget("t")
    start = NOW - age - 2 * HOUR
    for offset, value in samples:
        found = {"bytes_in": float(value), "waiting": float(value), "desired": float(value)}
        await metrics.write("t", start + offset, found)
    # Steps that begin before, or end after: what belongs to them partly is spread.
    times, series = await metrics.read(
        "t", ["bytes_in", "waiting", "desired"], start - 600, start + 7200 + 600, period
    )
    sums, means, peaks = (each.values for each in series)
    assert len(times) == len(sums) == len(means) == len(peaks)
    assert all(later - at == period for at, later in itertools.pairwise(times))
    assert times[0] % period == 0
    known = [value for _, value in samples]
    assert sum(value or 0 for value in sums) == pytest.approx(sum(known))
    assert max(value for value in peaks if value is not None) == max(known)
    for total, mean, peak in zip(sums, means, peaks, strict=True):
        assert (total is None) == (mean is None) == (peak is None)
        if mean is not None and peak is not None:
            assert min(known) - 1e-6 <= mean <= peak + 1e-6 <= max(known) + 2e-6


@given(st.lists(st.tuples(st.integers(0, 599), st.integers(0, 1000)), min_size=1, max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
async def test_a_mean_weighs_each_sample_alike(
    metrics: LocalMetrics, samples: list[tuple[int, int]]
) -> None:
    await metrics.forget("t")
    for offset, value in samples:
        await metrics.write("t", NOW + offset, {"waiting": float(value)})
    _, [series] = await metrics.read("t", ["waiting"], NOW, NOW + 600, 600)
    assert series.values == [pytest.approx(sum(value for _, value in samples) / len(samples))]


async def test_each_age_is_read_in_the_finest_steps_that_reach_it(
    metrics: LocalMetrics, database: HubDatabase
) -> None:
    for age in (0, 3 * HOUR, 3 * DAY, 60 * DAY):
        for second in range(0, 600, 10):
            await metrics.write("t", NOW - age + second, {"bytes_in": float(second == 120)})
    await metrics.prune(NOW + 600)

    async def points(age: int, period: int = 10) -> list[float | None]:
        return (await metrics.read("t", ["bytes_in"], NOW - age, NOW - age + 600, period))[1][
            0
        ].values

    assert (await points(3 * HOUR)).index(1.0) == 12
    assert (await points(3 * DAY, 60)).index(1.0) == 2
    old = await points(60 * DAY, 60)
    assert (
        old == [pytest.approx(0.1)] * 10
    )  # all that is known is that it was within these ten minutes
    assert await points(60 * DAY, 600) == [1.0]


async def test_what_is_old_is_pruned_in_pieces(
    metrics: LocalMetrics, database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_module, "PIECE", 7)
    for age in range(0, 60 * 50, 50):
        await metrics.write("t", NOW - age, {"waiting": 1.0})
        await metrics.write("other", NOW - age, {"waiting": 1.0})
    before = await stored(database)
    await metrics.prune(NOW)
    assert await stored(database) == before
    later = NOW + STEPS[10] - 1000
    await metrics.prune(later)
    after = await stored(database)
    assert after[10] == [at for at in before[10] if at >= NOW - 1000]
    assert (after[60], after[600]) == (before[60], before[600])
    assert await stored(database, "other") == after
    await metrics.prune(NOW + 100 * DAY)
    assert await stored(database) == {step: [] for step in STEPS}


async def test_forget_leaves_the_others(metrics: LocalMetrics, database: HubDatabase) -> None:
    for task in ("a", "b"):
        await metrics.write(task, NOW, {"waiting": 1.0})
    await metrics.forget("a")
    await metrics.forget("a")
    assert await stored(database, "a") == {step: [] for step in STEPS}
    assert await stored(database, "b") == {10: [NOW], 60: [NOW], 600: [NOW]}


async def test_the_latest_of_each_task_and_metric(metrics: LocalMetrics) -> None:
    await metrics.write("a", NOW - 400, {"waiting": 9.0, "failed": 9.0})
    await metrics.write("a", NOW - 100, {"waiting": 1.0, "source_latency": 5.0})
    await metrics.write("a", NOW - 5, {"waiting": 2.0})
    await metrics.write("é", NOW - 50, {"desired": 3.0})
    assert await metrics.latest() == {
        ("a", "waiting"): 2.0,
        ("a", "source_latency"): 5.0,
        ("é", "desired"): 3.0,
    }


async def test_what_all_tasks_counted(metrics: LocalMetrics, database: HubDatabase) -> None:
    names = ["bytes_out", "transferred", "failed"]
    for task, at, size in (
        ("a", NOW, 5),
        ("b", NOW + 1, 7),
        ("a", NOW + HOUR - 1, 11),
        ("c", NOW + HOUR, 13),
    ):
        await metrics.write(
            task, at, {"bytes_out": size, "transferred": 1.0, "failed": 0.0, "waiting": 99.0}
        )
    await metrics.write("a", NOW - 1, {"bytes_out": 1000.0})
    await metrics.forget("b")  # what it did was done all the same
    times, (sent, objects, failed) = await metrics.read_all(names, int(NOW), NOW + HOUR + 5, HOUR)
    assert times == [NOW, NOW + HOUR]
    assert sent == Series("bytes_out", [23.0, 13.0])
    assert objects == Series("transferred", [3.0, 1.0])
    assert failed == Series("failed", [None, None])
    assert {task for task, _ in await metrics.latest()} == {"a", "c"}  # all of them are none
    assert await stored(database, EVERYTHING) == {
        10: [],
        60: [],
        600: [NOW - 600, NOW, NOW + 3000, NOW + HOUR],
    }
    await metrics.prune(NOW + STEPS[600] + 1)
    assert (await stored(database, EVERYTHING))[600] == [NOW + 3000, NOW + HOUR]


async def test_what_all_tasks_counted_is_one_row_a_step_however_many_there_are(
    metrics: LocalMetrics, database: HubDatabase
) -> None:
    for number in range(50):
        await metrics.write(f"task {number}", NOW + number, {"bytes_out": 1.0})
    assert await stored(database, EVERYTHING) == {10: [], 60: [], 600: [NOW]}
    _, [sent] = await metrics.read_all(["bytes_out"], int(NOW), NOW + 600, 600)
    assert sent.values == [50.0]


async def test_a_write_that_fails_leaves_nothing(
    metrics: LocalMetrics, database: HubDatabase
) -> None:
    await metrics.write("t", NOW, {"waiting": 1.0})
    before = await stored(database)
    with pytest.raises(TypeError):
        await metrics.write("t", NOW + 10, {"waiting": "nonsense"})  # type: ignore[dict-item]
    assert await stored(database) == before


async def test_an_older_state_learns_to_measure_more(tmp_path: Path) -> None:
    with TaskDatabase.open(tmp_path / "task.db") as database:
        await LocalGauges(database).report(Gauge("w", "worker", NOW, 7))
        await database.execute("ALTER TABLE bucket DROP COLUMN rate")
        await database.execute("ALTER TABLE upload DROP COLUMN sequencer")
        for column in (
            "started",
            "errors",
            "source_latency",
            "dest_latency",
            "counted",
            "under_way",
        ):
            await database.execute(f"ALTER TABLE gauge DROP COLUMN {column}")
        await database.execute("DROP TABLE image")
        for table, column in (
            ("record", "verified"),
            ("part", "verified"),
            ("part", "digests"),
            ("upload", "source_part"),
        ):
            await database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for column in (
            "verified_store",
            "verified_etag",
            "verified_source",
            "verified_content",
            "incomplete",
        ):
            await database.execute(f"ALTER TABLE run DROP COLUMN {column}")
        await database.execute("PRAGMA user_version = 1")
    with TaskDatabase.open(tmp_path / "task.db") as database:
        gauges = LocalGauges(database)
        assert await gauges.all() == [Gauge("w", "worker", NOW, 7)]
        newer = Gauge(
            "w", "worker", NOW, 8, started=1.5, errors=2, source_latency=0.5, dest_latency=2.5
        )
        newer = replace(newer, counted=3, under_way=4)
        await gauges.report(newer)
        assert await gauges.all() == [newer]
        limits = LocalLimits(database)
        await limits.set_rates({"bytes": 4})
        assert (await limits.lease("bytes", 9)).granted == 1


def test_a_gate_tells_the_latency_since_it_was_asked_last() -> None:
    gate = Gate()
    assert gate.take_latency() == 0
    gate.succeeded(0.1)
    gate.succeeded(0.3)
    assert gate.take_latency() == pytest.approx(0.2)
    assert gate.take_latency() == 0
