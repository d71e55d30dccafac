"""What holds of all shared rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dth.core.ports.limits import Lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dth.core.ports.limits import Limits
    from dth.core.ports.platform import Platform
    from tests.contract.platforms import OpenTask, PlatformUnderTest


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(under_test: PlatformUnderTest, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(under_test.clock, clock)
    return clock


@pytest.fixture
def limits(platform: Platform) -> Limits:
    return platform.limits


async def lease(limits: Limits, wanted: float) -> tuple[float, float]:
    """At the rate of "bytes", which is 100 in these tests until they set another one."""
    found = await limits.lease("bytes", wanted)
    assert found.rate == 100
    return found.granted, found.wait


@pytest.fixture
async def others(task: OpenTask) -> AsyncIterator[Limits]:
    """The same rates, as another process sees them."""
    async with task.beside("w2") as other:
        yield other.limits


@pytest.fixture
async def bytes_limits(limits: Limits, clock: Clock) -> Limits:
    await limits.set_rates({"bytes": 100})
    return limits


async def test_a_grant_may_be_partial_and_says_how_long_to_wait(
    bytes_limits: Limits, clock: Clock
) -> None:
    assert await lease(bytes_limits, 15) == (15, 0)
    granted, wait = await lease(bytes_limits, 15)
    assert granted == pytest.approx(10)
    assert wait == pytest.approx(0.05)
    clock.now += wait
    assert await lease(bytes_limits, 5) == (pytest.approx(5), pytest.approx(0, abs=1e-6))


async def test_more_than_the_bucket_holds_comes_in_slices(
    bytes_limits: Limits, clock: Clock
) -> None:
    taken, seconds = 0.0, 0.0
    while taken < 1000:
        granted, wait = await lease(bytes_limits, 1000 - taken)
        taken += granted
        seconds += wait
        clock.now += wait
    assert seconds == pytest.approx(9.75)


async def test_ten_seconds_stay_within_the_rate_and_a_quarter_of_a_second(
    bytes_limits: Limits, clock: Clock
) -> None:
    clock.now += 3600
    taken = 0.0
    for _ in range(400):
        taken += (await lease(bytes_limits, 100))[0]
        clock.now += 0.025
    assert 1000 <= taken <= 1025


async def test_buckets_are_apart_and_have_rates_of_their_own(limits: Limits, clock: Clock) -> None:
    await limits.set_rates({"a": 100, "b": 200.5})
    assert await limits.rates() == {"a": 100, "b": 200.5}
    assert (await limits.lease("a", 1000)).granted == 25
    assert (await limits.lease("b", 1000)).granted == 50.125


async def test_without_a_rate_everything_is_granted(limits: Limits, clock: Clock) -> None:
    assert await limits.rates() == {}
    assert await limits.lease("a", 1e12) == Lease(1e12, 0, 0)
    await limits.set_rates({"a": 0})
    assert await limits.lease("a", 1e12) == Lease(1e12, 0, 0)


async def test_a_rate_that_is_set_holds_for_the_next_lease_of_everybody(
    limits: Limits, clock: Clock, others: Limits
) -> None:
    await limits.set_rates({"a": 100, "b": 7})
    assert (await limits.lease("a", 1000)).granted == 25
    clock.now += 10
    await others.set_rates({"a": 10})
    assert await limits.lease("a", 1000) == Lease(2.5, 0.25, 10)
    await others.set_rates({"a": 0})
    assert await limits.lease("a", 1000) == Lease(1000, 0, 0)
    await others.set_rates({"a": 1000})
    clock.now += 10
    assert await limits.lease("a", 100) == Lease(100, 0, 1000)
    assert (await limits.rates(), await others.rates()) == ({"a": 1000, "b": 7},) * 2


async def test_what_one_process_takes_no_other_has(
    limits: Limits, clock: Clock, others: Limits
) -> None:
    await limits.set_rates({"a": 100})
    assert (await limits.lease("a", 20)).granted == 20
    assert (await others.lease("a", 20)).granted == pytest.approx(5)
    assert (await limits.lease("a", 20)).granted == 0
    clock.now += 0.1
    assert (await others.lease("a", 20)).granted == pytest.approx(10)


async def test_the_same_rate_again_fills_no_bucket(limits: Limits, clock: Clock) -> None:
    await limits.set_rates({"a": 100})
    assert (await limits.lease("a", 1000)).granted == 25
    await limits.set_rates({"a": 100})
    assert (await limits.lease("a", 1000)).granted == 0


async def test_a_clock_set_back_neither_grants_nor_blocks(
    bytes_limits: Limits, clock: Clock
) -> None:
    await lease(bytes_limits, 25)
    clock.now -= 3600
    assert (await lease(bytes_limits, 25))[0] == 0
    clock.now += 0.2
    assert (await lease(bytes_limits, 25))[0] == pytest.approx(20)
    clock.now += 7200
    assert (await lease(bytes_limits, 1000))[0] == 25
