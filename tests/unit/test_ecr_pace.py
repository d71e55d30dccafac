"""How fast a registry is asked: against registries that take so many requests, in a time of their
own."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dth.core.errors import ObjectRefused, Throttled
from dth.core.transport import Transport
from dth.images.registry import pace as module
from dth.images.registry.pace import Pace, paces_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Time:
    """One that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)


class Taking:
    """A registry that takes `rate` requests per second, and `burst` at once."""

    def __init__(self, clock: Time, rate: float, burst: float) -> None:
        self.clock, self.rate, self.burst, self.left, self.at = clock, rate, burst, burst, clock.now
        self.taken = self.refused = 0

    def ask(self) -> bool:
        self.left = min(self.burst, self.left + (self.clock.now - self.at) * self.rate)
        self.at = self.clock.now
        if self.left < 1:
            self.refused += 1
            return False
        self.left -= 1
        self.taken += 1
        return True


def paced(clock: Time, tell: Callable[[str], Awaitable[None]] | None = None) -> Pace:
    return Pace("quay.io", tell=tell, clock=clock, sleep=clock.sleep)


async def ask(pace: Pace, registry: Taking, number: int, retry_after: float = 0.0) -> None:
    """So many requests, sixteen at once."""
    left = number

    async def one() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            entered = await pace.enter(1e9)
            while not registry.ask():
                pace.refused(entered, retry_after)
                entered = await pace.enter(1e9)
            pace.passed()
            await pace._sleep(0.01)

    await asyncio.gather(*(one() for _ in range(16)))


@settings(max_examples=100, deadline=None)
@example(0.5, 1.0, 30.0)
@given(st.floats(0.3, 200), st.floats(1, 50), st.sampled_from([0.0, 1.0, 30.0]))
def test_a_limit_is_learned(rate: float, burst: float, retry_after: float) -> None:
    """All pass in the end; few are refused; and it does not take many times as long as it must."""
    clock = Time()
    registry = Taking(clock, rate, burst)
    begun = clock.now
    asyncio.run(ask(paced(clock), registry, 300, retry_after))
    assert registry.taken == 300
    assert registry.refused <= 60 + (clock.now - begun) / 10
    assert clock.now - begun <= 3 * max(300 / rate, 20) + 40 * retry_after


async def test_one_that_refuses_nothing_is_asked_freely() -> None:
    clock = Time()
    pace = paced(clock)
    for _ in range(100):
        await pace.enter(0)
        pace.passed()
    assert clock.now == 1000
    assert pace.rate == 0


async def test_refusals_of_one_moment_count_once() -> None:
    clock = Time()
    pace = paced(clock)
    entered = [await pace.enter(0) for _ in range(16)]
    clock.now += 0.1
    for each in entered:
        pace.refused(each)
    assert 1 <= pace.waits <= 1.25
    assert pace.rate == module.GUESS


async def test_pauses_grow_and_end_with_an_answer() -> None:
    clock = Time()
    pace = paced(clock)
    waits = []
    for _ in range(14):
        pace.refused(await pace.enter(1e9))
        waits.append(pace.waits)
    assert all(later > earlier for earlier, later in pairwise(waits[:9]))
    assert module.PAUSES.last <= max(waits) <= 1.25 * module.PAUSES.last
    await pace.enter(1e9)
    pace.passed()
    pace.refused(await pace.enter(1e9))
    assert pace.waits < 2


async def test_nobody_asks_before_the_time_that_was_said() -> None:
    clock = Time()
    pace = paced(clock)
    pace.refused(await pace.enter(0), 3600)
    with pytest.raises(Throttled, match="takes no requests for another 3600 s") as told:
        await pace.enter(60)
    assert (told.value.host, told.value.status, told.value.retry_after) == ("quay.io", 429, 3600)
    assert await pace.enter(3600) >= 4600
    assert clock.now == 4600


async def test_patience_is_for_all_of_the_waiting() -> None:
    clock = Time()
    pace = paced(clock)
    pace.refused(await pace.enter(0), 50)
    waiting = asyncio.create_task(pace.enter(60))
    await asyncio.sleep(0)
    pace.refused(clock.now, 3000)  # somebody else is refused meanwhile
    with pytest.raises(Throttled):
        await waiting


async def test_long_pauses_are_told_once() -> None:
    notes: list[str] = []

    async def tell(note: str) -> None:
        notes.append(note)

    clock = Time()
    pace = paced(clock, tell)
    pace.refused(await pace.enter(0), 5)
    await pace.enter(1e9)
    assert notes == []
    pace.refused(clock.now, 3600)
    await asyncio.gather(*(pace.enter(1e9) for _ in range(5)))
    assert len(notes) == 1
    assert notes[0].startswith("quay.io asked us to wait: it is asked again at 20")
    assert notes[0].endswith(" UTC")


async def test_a_documented_limit_is_kept_to() -> None:
    clock = Time()
    pace = Pace("public.ecr.aws", 1, 10, clock=clock, sleep=clock.sleep)
    begun = clock.now
    for _ in range(200):
        await pace.enter(1e9)
        pace.passed()
    assert pace.rate == 10
    assert clock.now - begun >= 19


async def test_work_of_many_requests() -> None:
    clock = Time()
    pace = paced(clock)
    async with pace.turn():
        pass
    assert pace.passes == 1
    with pytest.raises(Throttled):
        async with pace.turn():
            raise Throttled("429", retry_after=30)
    assert pace.waits == 30
    with pytest.raises(ObjectRefused):
        async with pace.turn():
            raise ObjectRefused("403")
    assert (clock.now, pace.passes) == (1030, 1)


async def test_a_registry_has_one_pace_in_a_process() -> None:
    with Transport() as one, Transport() as other:
        assert paces_of(one).of("quay.io") is paces_of(one).of("quay.io")
        assert paces_of(one).of("quay.io") is not paces_of(one).of("ghcr.io")
        assert paces_of(one) is not paces_of(other)
        assert paces_of(one).of("quay.io").rate == 10
        assert paces_of(one).of("registry.example.com").rate == 0
