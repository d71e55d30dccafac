"""How far a run is and how long it takes, told from readings of simulated transfers."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.ports.gauges import Gauge
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.hub.progress import (
    FIRST_ANSWER,
    NOTHING_FOUND,
    Meter,
    RunActivity,
    SmoothedRate,
    Standing,
    TimeCost,
)
from dth.hub.reading import Reading

NOTHING = Depth(0, 0, 0)
KIB, MIB, GIB = 1024, 1024**2, 1024**3


def reading(
    at: float, gauges: Sequence[Gauge] = (), runs: Sequence[Run] = (), parts: int = 0
) -> Reading:
    return Reading(at, gauges, runs, NOTHING, desired=1, workers=1, parts=parts)


def run(id: int = 1, *, state: RunState = RunState.TRANSFERRING, **counts: int) -> Run:
    return Run(
        id,
        RunKind.SYNC,
        state,
        started=1.0,
        counts=Counts(**{"listed": counts.get("enqueued", 1), **counts}),
    )


def worker(
    at: float,
    *,
    counted: int = 0,
    under_way: int = 0,
    name: str = "w",
    started: float = 1,
    note: str = "",
) -> Gauge:
    return Gauge(
        name, "worker", at, counted=counted, under_way=under_way, started=started, note=note
    )


# ------------------------------------------------------------------------------------- a simulation


@dataclass
class Load:
    """What is copied, and how fast it goes: `lanes` objects at once, each with a pause before its
    bytes, which all share `speed` bytes per second."""

    sizes: list[int]
    speed: float
    lanes: int = 128
    pause: float = 0.25
    cap: float = 0.0
    part_size: int = 16 * MIB
    order: Callable[[list[int]], list[int]] = field(default=list)

    def play(self, tick: float = 0.05, look: float = 0.25) -> Iterator[tuple[float, Reading, Run]]:
        """Readings as a supervisor takes them: the ledger is written at once, the process reports
        each second. Objects above 64 MiB go in parts, which the ledger knows."""
        dice = random.Random(5)
        waiting = self.order(self.sizes)[::-1]
        counts = Counts(listed=len(waiting), enqueued=len(waiting), enqueued_bytes=sum(waiting))
        hand: list[list[float]] = []  # seconds of pause left, bytes left, size
        gauge = worker(0.0)
        now, reported, looked, counted = 0.0, -1.0, 0.0, 0
        while waiting or hand:
            while waiting and len(hand) < self.lanes:
                size = waiting.pop()
                hand.append([self.pause * dice.uniform(0.7, 1.3), size, size])
            sending = [each for each in hand if each[0] <= 0]
            for each in sending:
                each[1] -= min(each[1], self.speed * tick / len(sending))
            for each in hand:
                each[0] -= tick
            now += tick
            for each in [each for each in hand if each[0] <= 0 and each[1] <= 0]:
                hand.remove(each)
                counts.done += 1
                counts.done_bytes += int(each[2])
            parts = sum(self._parts(each) for each in hand)
            counted = counts.done_bytes + parts
            if now - reported >= 1.0:
                reported = now
                under_way = sum(each[2] - each[1] - self._parts(each) for each in hand)
                gauge = worker(now, counted=counted, under_way=int(under_way))
            if now - looked >= look - 1e-9 or not (waiting or hand):
                looked = now
                snapshot = run(
                    **{name: getattr(counts, name) for name in Counts.__dataclass_fields__}
                )
                yield now, reading(now, [gauge], [snapshot], parts), snapshot

    def _parts(self, each: list[float]) -> int:
        return (
            int((each[2] - each[1]) // self.part_size) * self.part_size if each[2] > 64 * MIB else 0
        )


def follow(load: Load) -> list[tuple[float, Standing]]:
    meter = Meter()
    meter.cap = load.cap
    told = []
    for now, found, snapshot in load.play():
        meter.update(found)
        told.append((now, meter.standing(snapshot)))
    return told


SMALL, LARGE = [KIB] * 6000, [20 * MIB] * 3
LOADS = {
    "many small, then few large": Load(SMALL + LARGE, 100e6),
    "many small, then few large, by a slow line": Load(SMALL + LARGE, 10e6, lanes=50),
    "few large, then many small": Load(LARGE + SMALL, 100e6),
    "few large, then many small, by a slow line": Load(LARGE + SMALL, 5e6, lanes=50),
    "many small and few large under a cap": Load([10 * KIB] * 6000 + LARGE, 2e6, cap=2e6),
    "small, then large, under a low cap": Load([10_000] * 300 + [20_000_000] * 4, 480e3, cap=600e3),
    "the same without a word of the cap": Load([10_000] * 300 + [20_000_000] * 4, 480e3),
    "large, then small, under a low cap": Load([20_000_000] * 4 + [10_000] * 300, 480e3, cap=600e3),
    "all alike": Load([MIB] * 1500, 50e6),
    "all small": Load([4 * KIB] * 12_000, 100e6),
    "of all sizes": Load([int(random.Random(n).lognormvariate(11, 2)) for n in range(3000)], 20e6),
    "one giant": Load([6 * GIB], 50e6),
    "giants beside many small": Load([2000 * MIB] * 3 + SMALL, 100e6),
    "giants after many small": Load(SMALL + [2000 * MIB] * 3, 100e6),
    "some large, few at once": Load([64 * MIB] * 40, 20e6, lanes=16),
}


@pytest.mark.parametrize("name", LOADS)
def test_the_time_left_is_right_within_a_factor_of_two(name: str) -> None:
    load = LOADS[name]
    told = follow(load)
    end = told[-1][0]
    checked, off = 0, []
    for now, standing in told:
        left = end - now
        # Seconds that remain of a run of minutes are nobody's worry.
        if now >= 0.2 * end and left > max(2.0, 0.04 * end):
            checked += 1
            assert left / 2.5 <= standing.eta <= left * 2.5, (now, left, standing)
            if not left / 2 <= standing.eta <= left * 2:
                off.append((now, left, standing.eta))
    # For a moment, where large objects begin after small ones.
    assert len(off) <= 0.03 * checked, off
    assert checked > 10


@pytest.mark.parametrize("name", LOADS)
def test_bytes_grow_all_the_time_up_to_the_whole_and_are_what_has_moved(name: str) -> None:
    load = LOADS[name]
    shown = [standing.done_bytes for _, standing in follow(load)]
    assert shown == sorted(shown)
    assert shown[-1] == sum(load.sizes)


def test_one_giant_object_shows_bytes_percent_and_rate_from_the_first_seconds() -> None:
    told = dict(follow(LOADS["one giant"]))
    at, standing = next((at, standing) for at, standing in told.items() if at >= 3)
    assert standing.done_bytes == pytest.approx(50e6 * at, rel=0.5)
    assert standing.rate == pytest.approx(50e6, rel=0.5)
    assert (standing.state, standing.ended, standing.total) == (RunActivity.COPYING, 0, 1)
    assert standing.percent == int(100 * standing.done_bytes / (6 * GIB))
    halves = [standing.percent for at, standing in told.items() if 64 <= at <= 65]
    assert set(halves) <= {48, 49, 50}


# ----------------------------------------------------------------------- bytes that are in progress


def shown(meter: Meter, found: Reading) -> int:
    meter.update(found)
    return meter.standing(found.runs[0]).done_bytes


def test_an_object_is_counted_once_while_it_goes_from_hand_to_ledger() -> None:
    meter = Meter()
    whole = run(enqueued=3, enqueued_bytes=300)
    assert shown(meter, reading(1, [worker(1, under_way=90)], [whole])) == 90
    # The ledger has it, and the report of before says that it is in hand.
    settled = replace(whole, counts=replace(whole.counts, done=1, done_bytes=100))
    assert shown(meter, reading(1.5, [worker(1, under_way=90)], [settled])) == 100
    assert shown(meter, reading(2, [worker(2, counted=100, under_way=5)], [settled])) == 105
    # Another one goes in parts.
    assert shown(meter, reading(3, [worker(3, counted=100, under_way=60)], [settled], 40)) == 160
    assert shown(meter, reading(4, [worker(4, counted=140, under_way=25)], [settled], 40)) == 165
    # It is in the ledger, and its upload is not ended yet.
    twice = replace(settled, counts=replace(settled.counts, done=2, done_bytes=200))
    assert shown(meter, reading(5, [worker(5, counted=200, under_way=10)], [twice], 100)) == 210


def test_what_is_sent_again_was_not_moved_and_the_whole_is_never_passed() -> None:
    meter = Meter()
    whole = run(enqueued=2, enqueued_bytes=200)
    assert shown(meter, reading(1, [worker(1, under_way=150)], [whole])) == 150
    assert (
        shown(meter, reading(2, [worker(2, under_way=60)], [whole])) == 150
    )  # it may be on its way to the ledger
    assert shown(meter, reading(6, [worker(6, under_way=60)], [whole])) == 60
    assert shown(meter, reading(7, [worker(7, under_way=900)], [whole])) == 200
    assert meter.standing(whole).percent == 99


def test_what_a_process_had_in_hand_when_it_died_is_lost_and_what_it_counted_is_not() -> None:
    meter = Meter()
    whole = run(enqueued=4, enqueued_bytes=400, done=1, done_bytes=100)
    gauges = [worker(1, counted=100, under_way=50, name="a"), worker(1, under_way=30, name="b")]
    assert shown(meter, reading(1, gauges, [whole], 20)) == 200
    again = [worker(9, name="a", started=8), worker(9, under_way=40, name="b")]
    assert shown(meter, reading(9, again, [whole], 20)) == 160
    # One that says nothing for long has nothing in progress.
    silent = [worker(50, name="a", started=8), worker(9, under_way=40, name="b")]
    assert shown(meter, reading(50, silent, [whole], 20)) == 120


def test_a_run_that_is_taken_up_begins_with_what_it_has() -> None:
    meter = Meter()
    whole = run(7, enqueued=4, enqueued_bytes=400, done=1, done_bytes=100)
    assert shown(meter, reading(1, [], [whole], 150)) == 250
    assert meter.standing(whole).rate == 0


# ------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("found", "state", "note"),
    [
        (run(state=RunState.LISTING, listed=0), RunActivity.LISTING, FIRST_ANSWER),
        (run(state=RunState.LISTING, listed=5), RunActivity.LISTING, ""),
        (run(enqueued=5), RunActivity.COPYING, ""),
        (run(listed=0), RunActivity.EMPTY, NOTHING_FOUND),
        (run(state=RunState.DONE, listed=0), RunActivity.EMPTY, NOTHING_FOUND),
        (run(state=RunState.DONE, listed=3), RunActivity.ENDED, ""),
        (run(state=RunState.FAILED, listed=0), RunActivity.ENDED, ""),
        (run(state=RunState.DELETING, delete_enqueued=4), RunActivity.DELETING, ""),
        (run(state=RunState.DELETING, enqueued=1, delete_enqueued=4), RunActivity.COPYING, ""),
    ],
)
def test_states(found: Run, state: RunActivity, note: str) -> None:
    meter = Meter()
    meter.update(reading(1, [], [found]))
    standing = meter.standing(found)
    assert (standing.state, standing.note) == (state, note)


def test_a_run_waits_when_nothing_moves_and_workers_say_why() -> None:
    meter = Meter()
    whole = run(enqueued=5, enqueued_bytes=100)
    notes = [
        worker(1, name="a", note="1 object: 503 from the source"),
        worker(1, name="b", note="1 object: 503 from the source"),
        worker(1, name="c", note="no answer from the destination"),
    ]
    both = "1 object: 503 from the source; no answer from the destination"
    meter.update(reading(1, notes, [whole]))
    assert (meter.standing(whole).state, meter.standing(whole).note) == (RunActivity.COPYING, both)
    meter.update(reading(7, notes, [whole]))
    assert (meter.standing(whole).state, meter.standing(whole).note) == (RunActivity.WAITING, both)
    meter.update(reading(8, [worker(8, name="a", under_way=1)], [whole]))
    assert (meter.standing(whole).state, meter.standing(whole).note) == (RunActivity.COPYING, "")


# -------------------------------------------------------------------------------------------- rates


def test_a_steady_rate_is_right_at_once_and_a_change_is_seen() -> None:
    rate = SmoothedRate()
    assert rate.per_second == 0.0
    rate.add(100, 1.0)
    assert rate.per_second == pytest.approx(100)
    for _ in range(100):
        rate.add(200, 1.0)
    assert 190 < rate.per_second < 200


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 100)), min_size=1, max_size=20))
def test_a_rate_is_between_the_slowest_and_the_fastest(pieces: list[tuple[float, float]]) -> None:
    rate = SmoothedRate()
    speeds = [amount / seconds for amount, seconds in pieces if seconds > 1e-3]
    for amount, seconds in pieces:
        if seconds > 1e-3:
            rate.add(amount, seconds)
    if speeds:
        assert min(speeds) * 0.999 <= rate.per_second <= max(speeds) * 1.001 + 1e-9


pieces = st.tuples(st.integers(0, 1000), st.integers(0, 10**9), st.floats(0.5, 60))


@given(st.lists(pieces, max_size=20), st.integers(0, 10**6), st.integers(0, 10**12))
def test_the_time_for_more_is_never_negative_and_is_the_past_where_that_comes_again(
    past: list[tuple[int, int, float]], objects: int, size: int
) -> None:
    cost = TimeCost()
    for piece in past:
        cost.add(*piece)
    assert cost.seconds(objects, size) >= -1.0
    alike = TimeCost()
    for _ in range(5):
        alike.add(10, 10_000, 2.0)
    assert alike.seconds(100, 100_000) == pytest.approx(20.0)


def test_a_pause_changes_neither_rate_nor_time_left() -> None:
    meter = Meter()
    done = 0
    for second in range(61):
        done = second * 10
        meter.update(reading(second, runs=[run(enqueued=1000, done=done, done_bytes=done * 100)]))
    still = run(enqueued=1000, enqueued_bytes=100_000, done=done, done_bytes=done * 100)
    before = meter.summary(still, NOTHING, 1)
    assert before.rate == pytest.approx(1000)
    assert before.eta == pytest.approx((1000 - done) / 10)
    for second in range(61, 5000, 50):
        meter.update(reading(second, runs=[still]), moving=False)
    assert meter.summary(still, NOTHING, 1) == before


def test_what_the_store_copies_by_itself_has_a_rate_too() -> None:
    meter = Meter()
    for second in range(5):
        meter.update(
            reading(second, [worker(second)], [run(done=second, done_bytes=second * 1000)])
        )
    assert meter.standing(run()).rate == pytest.approx(1000)


def test_the_time_left_is_unknown_while_listing_and_while_nothing_comes() -> None:
    meter = Meter()
    listing = run(state=RunState.LISTING, enqueued=10, enqueued_bytes=10)
    summary = meter.summary(listing, Depth(1, 2, 3), 4)
    assert (summary.listing, summary.eta, summary.rate) == (True, -1.0, 0.0)
    assert (summary.workers, summary.waiting, summary.total, summary.replicated) == (4, 4, 10, 0)
    assert meter.standing(run(enqueued=10, enqueued_bytes=10)).eta == -1.0
    failed = run(enqueued=3, enqueued_bytes=10, failed=2, cancelled=1)
    assert (meter.standing(failed).eta, meter.standing(failed).percent) == (0.0, 100)
    for second in range(9):
        meter.update(reading(second, runs=[run(done=second, enqueued=9)]))
    assert meter.standing(run(enqueued=20, done=8)).eta == pytest.approx(
        12
    )  # empty objects are objects
    for hour in range(1, 200):
        meter.update(reading(9 + hour * 3600, runs=[run(done=8, enqueued=9)]))
    assert meter.standing(run(enqueued=20, done=8)).eta == -1.0
