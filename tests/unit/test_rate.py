"""The rate of a store, as it is learned: against a store that is a token bucket, on a clock of the
test's own."""

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.objects.store import rate
from dth.objects.store.rate import FORGOTTEN, SEVERAL, StoreRate
from tests.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(rate, "time", found)
    return found


@dataclass
class Play:
    """Processes that send as fast as they may, and a store that takes `limit` requests per
    second."""

    clock: Clock
    rates: list[StoreRate]
    limit: float
    latency: float
    lanes: int = 64
    # Keys that the store always refuses.
    bad: int = 0
    taken: int = 0
    refused: int = 0
    _free: dict[int, int] = field(default_factory=dict)
    _keys: int = 0

    def run(self, total: int, *, seconds: float = 1000.0) -> float:
        """Send until so many were taken. Returns the seconds that took."""
        began, filled, bucket = self.clock.now, self.clock.now, self.limit * 0.2
        granted = dict.fromkeys(range(len(self.rates)), 0.0)
        free = dict.fromkeys(granted, self.lanes)
        again: dict[int, list[int]] = defaultdict(list)
        under_way: list[tuple[float, int, int, float, bool]] = []
        resting: list[tuple[float, int, int]] = []
        done = 0
        while done < total and self.clock.now - began < seconds:
            self.clock.now += 0.002
            while under_way and under_way[0][0] <= self.clock.now:
                _, process, key, sent, good = heapq.heappop(under_way)
                if good:
                    done += 1
                    self.rates[process].passed(self.clock.now)
                    free[process] += 1
                else:
                    self.rates[process].refused(str(key), sent)
                    heapq.heappush(resting, (self.clock.now + 0.1, process, key))
            while resting and resting[0][0] <= self.clock.now:
                _, process, key = heapq.heappop(resting)
                again[process].append(key)
            for process, each in enumerate(self.rates):
                while again[process] or free[process]:
                    if each.rate:
                        if granted[process] < 1:
                            wanted = max(1 - granted[process], each.rate * 0.05)
                            granted[process] += each._lease(wanted, self.clock.now).granted
                        if each.rate and granted[process] < 1:
                            break
                        granted[process] -= 1
                    if again[process]:
                        key = again[process].pop()
                    else:
                        key, self._keys = self._keys, self._keys + 1
                        free[process] -= 1
                    bucket = min(self.limit * 0.2, bucket + (self.clock.now - filled) * self.limit)
                    filled = self.clock.now
                    good = bucket >= 1 and key >= self.bad
                    bucket -= good
                    self.refused += not good
                    heapq.heappush(
                        under_way,
                        (self.clock.now + self.latency, process, key, self.clock.now, good),
                    )
        self.taken += done
        return self.clock.now - began


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([40, 150, 400, 1500]), st.sampled_from([0.005, 0.02, 0.06]))
def test_whatever_a_store_takes_is_found_and_hardly_passed(limit: int, latency: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(rate, "time", clock)
        play = Play(clock, [StoreRate()], limit, latency, lanes=max(64, int(3 * limit * latency)))
        play.run(10 * limit)
        refused = play.refused
        seconds = play.run(10 * limit)
        # Once it is found: of what could pass, nearly everything does, and little is refused.
        assert 10 * limit / seconds > 0.93 * limit
        assert play.refused - refused < 0.05 * 10 * limit
        # All of them were in progress when the first one was refused.
        assert refused < 2 * play.lanes + 0.05 * 10 * limit


def test_processes_share_what_they_learn(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "rates" / "store"
    rates = [StoreRate(file) for _ in range(5)]
    play = Play(clock, rates, 40, 0.02)
    play.run(400)
    assert len({each.rate for each in rates}) == 1
    refused = play.refused
    seconds = play.run(800)
    assert 800 / seconds > 0.93 * 40
    assert play.refused - refused < 0.05 * 800
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0


def test_a_store_that_refuses_nothing_has_no_rate_and_leaves_no_file(
    clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "store"
    play = Play(clock, [StoreRate(file)], 1e9, 0.01)
    play.run(5000)
    assert not play.rates[0].rate
    assert not file.exists()


def test_keys_that_are_always_refused_are_not_the_stores_rate(clock: Clock) -> None:
    learned = StoreRate()
    play = Play(clock, [learned], 1e9, 0.01, bad=SEVERAL - 1)
    play.run(5000)
    assert not learned.rate


def test_a_store_that_takes_more_later_gets_more(clock: Clock) -> None:
    play = Play(clock, [StoreRate()], 100, 0.02)
    play.run(2000)
    play.limit = 1000
    play.run(10_000)
    assert play.rates[0].rate > 900


def test_a_store_that_takes_less_later_gets_less(clock: Clock) -> None:
    play = Play(clock, [StoreRate()], 1000, 0.02)
    play.run(5000)
    play.limit, refused = 100, play.refused
    play.run(1000)
    assert play.rates[0].rate < 120
    assert play.refused - refused < 1500


def test_what_was_learned_is_forgotten_after_a_while(clock: Clock) -> None:
    learned = StoreRate()
    Play(clock, [learned], 100, 0.02).run(500)
    assert learned.rate
    clock.now += FORGOTTEN
    lease = learned._lease(5, clock.now)
    assert (lease.granted, lease.rate) == (5, 0)
    assert not learned.rate


def test_a_file_of_before_the_machine_was_started_again_says_nothing(
    clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "store"
    Play(clock, [StoreRate(file)], 100, 0.02).run(500)
    clock.now = 3.0
    assert StoreRate(file)._lease(5, clock.now).rate == 0


async def test_while_another_process_has_the_file_nobody_waits_for_it(
    clock: Clock, tmp_path: Path
) -> None:
    learned, other = StoreRate(tmp_path / "store"), StoreRate(tmp_path / "store")
    Play(clock, [learned], 100, 0.02).run(500)
    other.passed(clock.now + 2)
    assert other.rate == learned.rate
    with other._locked() as locked:
        assert locked
        lease = await learned.lease("", 1)
        assert lease.granted == 0
        assert 0 < lease.wait < 0.01
        assert lease.rate == learned.rate


@pytest.mark.parametrize("trouble", ["no directory", "a directory", "a link", "removed"])
async def test_a_file_that_cannot_be_had_is_done_without(
    clock: Clock, tmp_path: Path, trouble: str
) -> None:
    file = tmp_path / "rates" / "store"
    match trouble:
        case "no directory":
            file.parent.write_text("")
        case "a directory":
            file.mkdir(parents=True)
        case "a link":
            file.parent.mkdir()
            file.symlink_to(tmp_path / "elsewhere")
    learned = StoreRate(file)
    play = Play(clock, [learned], 100, 0.02)
    play.run(500)
    if trouble == "removed":
        file.unlink()
        assert (await learned.lease("", 1)).rate
    play.run(1000)
    assert 80 < learned.rate < 120
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_of_any_contents_does_no_harm(clock: Clock, tmp_path: Path) -> None:
    for contents in (b"", b"x", b"\xff" * 72, b"\x00" * 500, bytes(range(72))):
        file = tmp_path / "store"
        file.write_bytes(contents)
        play = Play(clock, [StoreRate(file)], 100, 0.02)
        play.run(1000, seconds=60)
        assert play.taken == 1000


def test_refusals_that_do_not_depend_on_the_rate_set_none(clock: Clock) -> None:
    """A store that refuses every second request, however slowly they come."""
    learned = StoreRate()
    for number in range(400):
        clock.now += 0.002
        granted = 0.0
        while learned.rate and granted < 1:
            granted += learned._lease(1 - granted, clock.now).granted
            clock.now += 0.002
        sent = clock.now
        clock.now += 0.005
        if number % 2:
            learned.passed(clock.now)
        else:
            learned.refused(str(number), sent)
    assert not learned.rate
    assert clock.now < 1000 + 30
