from collections.abc import Iterator
from pathlib import Path

import pytest

from dth.platforms.local import limits as limits_module
from dth.platforms.local.gauges import FORGET_AFTER, LocalGauges
from dth.platforms.local.limits import LocalLimits
from dth.platforms.local.platform import LocalPlatform, open_platform
from dth.platforms.ports import Gauge, Gauges, Limits


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits_module, "time", clock)
    return clock


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    with open_platform(tmp_path, "w1") as opened:
        yield opened


@pytest.fixture
def limits(platform: LocalPlatform) -> Limits:
    assert isinstance(platform.limits, LocalLimits)
    return platform.limits


@pytest.fixture
def gauges(platform: LocalPlatform) -> Gauges:
    assert isinstance(platform.gauges, LocalGauges)
    return platform.gauges


async def test_a_grant_may_be_partial_and_says_how_long_to_wait(limits: Limits, clock: Clock) -> None:
    assert await limits.lease("bytes", 15, rate=100) == (15, 0)
    granted, wait = await limits.lease("bytes", 15, rate=100)
    assert granted == pytest.approx(10)
    assert wait == pytest.approx(0.05)
    clock.now += wait
    assert await limits.lease("bytes", 5, rate=100) == (pytest.approx(5), pytest.approx(0, abs=1e-6))


async def test_more_than_the_bucket_holds_comes_in_slices(limits: Limits, clock: Clock) -> None:
    taken, seconds = 0.0, 0.0
    while taken < 1000:
        granted, wait = await limits.lease("bytes", 1000 - taken, rate=100)
        taken += granted
        seconds += wait
        clock.now += wait
    assert seconds == pytest.approx(9.75)


async def test_ten_seconds_stay_within_the_rate_and_a_quarter_of_a_second(
    limits: Limits, clock: Clock
) -> None:
    clock.now += 3600
    taken = 0.0
    for _ in range(1000):
        taken += (await limits.lease("bytes", 100, rate=100))[0]
        clock.now += 0.01
    assert 1000 <= taken <= 1025


async def test_buckets_are_apart_and_rates_may_change(limits: Limits, clock: Clock) -> None:
    assert (await limits.lease("a", 1000, rate=100))[0] == 25
    assert (await limits.lease("b", 1000, rate=100))[0] == 25
    clock.now += 10
    assert (await limits.lease("a", 1000, rate=10))[0] == 2.5


async def test_a_clock_set_back_neither_grants_nor_blocks(limits: Limits, clock: Clock) -> None:
    await limits.lease("bytes", 25, rate=100)
    clock.now -= 3600
    assert (await limits.lease("bytes", 25, rate=100))[0] == 0
    clock.now += 0.2
    assert (await limits.lease("bytes", 25, rate=100))[0] == pytest.approx(20)
    clock.now += 7200
    assert (await limits.lease("bytes", 1000, rate=100))[0] == 25


async def test_a_report_replaces_the_last_one(gauges: Gauges) -> None:
    await gauges.report(Gauge("w1", "worker", 1.0, bytes_in=5))
    newer = Gauge("w1", "worker", 2.0, 50, 40, 7, 1, 3, "busy \\udcff")
    await gauges.report(newer)
    finder = Gauge("f", "finder", 2.0)
    await gauges.report(finder)
    assert await gauges.all() == [finder, newer]


async def test_processes_long_gone_are_forgotten(gauges: Gauges) -> None:
    await gauges.report(Gauge("old", "worker", 1.0))
    new = Gauge("new", "worker", 2.0 + FORGET_AFTER)
    await gauges.report(new)
    assert await gauges.all() == [new]
