"""What holds of all shared rates, on both platforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dth.platforms.ports import Limits, Platform


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("dth.platforms.local.limits.time", clock)
    monkeypatch.setattr("dth.platforms.aws.limits.time", clock)
    return clock


@pytest.fixture
def limits(platform: Platform) -> Limits:
    return platform.limits


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
    for _ in range(400):
        taken += (await limits.lease("bytes", 100, rate=100))[0]
        clock.now += 0.025
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
