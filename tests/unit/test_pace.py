"""Gates adapt, caps hold over processes, and the memory budget is fair."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.core.errors import StateError
from dth.core.ports.limits import Lease
from dth.core.transport import Valve
from dth.objects.store import pace
from dth.objects.store.pace import CAP_SLICE, Budget, Cap, Gate, Supply, run_time_wanted
from dth.platforms.local.limits import CAPACITY
from tests.clock import Clock
from tests.servers.process import REPOSITORY


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


async def turns(count: int = 5) -> None:
    """Let everything that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# -------------------------------------------------------------------------------------------- scout


async def test_the_first_goes_alone_and_the_others_together() -> None:
    scout, inside, seen = pace.Scout(), 0, []
    go_on = asyncio.Event()

    async def visit() -> None:
        nonlocal inside
        async with scout as alone:
            inside += 1
            seen.append((alone, inside))
            await go_on.wait()
            inside -= 1

    tasks = [asyncio.create_task(visit()) for _ in range(4)]
    await turns()
    assert seen == [(True, 1)]
    go_on.set()
    await turns(3)
    assert scout.returned
    assert [alone for alone, _ in seen] == [True, False, False, False]
    await ended(*tasks)


@pytest.mark.parametrize("how", ["error", "cancelled"])
async def test_after_a_scout_that_did_not_return_well_the_next_goes_alone(how: str) -> None:
    scout = pace.Scout()
    alone_now: list[str] = []

    async def lost() -> None:
        async with scout as alone:
            assert alone
            await asyncio.sleep(0)
            if how == "error":
                raise StateError("lost")
            await asyncio.Event().wait()

    async def visit(name: str) -> None:
        async with scout as alone:
            if alone:
                alone_now.append(name)
                await asyncio.sleep(0)

    first = asyncio.create_task(lost())
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(visit(name)) for name in "abc"]
    await turns(1)
    if how == "cancelled":
        first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await asyncio.gather(*tasks)
    assert alone_now == ["a"]
    assert scout.returned


# --------------------------------------------------------------------------------------------- gate


@contextlib.asynccontextmanager
async def holding(gate: Gate, count: int) -> AsyncIterator[list[asyncio.Task[None]]]:
    """So many visitors, each in the gate or before it until cancelled."""

    async def visit() -> None:
        async with gate:
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(visit()) for _ in range(count)]
    await turns()
    try:
        yield tasks
    finally:
        await ended(*tasks)


async def test_a_gate_admits_no_more_than_its_limit() -> None:
    gate = Gate(maximum=10, start=3)
    async with holding(gate, 8) as tasks:
        assert gate.in_flight == 3
        await ended(tasks[0])
        await turns()
        assert gate.in_flight == 3
    assert gate.in_flight == 0


async def test_who_waits_at_a_gate_goes_in_order() -> None:
    gate = Gate(maximum=1, start=1)
    entered: list[int] = []

    async def visit(number: int) -> None:
        async with gate:
            entered.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(visit(number) for number in range(20)))
    assert entered == list(range(20))


async def test_each_success_admits_one_more_until_the_store_throttles() -> None:
    gate = Gate(maximum=30, start=10)
    for _ in range(10):
        gate.succeeded()
    assert gate.limit == 20
    for _ in range(100):
        gate.succeeded()
    assert gate.limit == 30


async def test_after_a_storm_a_full_round_of_successes_admits_one_more_up_to_the_maximum(
    clock: Clock,
) -> None:
    gate = Gate(maximum=12, start=10)
    gate.slow_down()
    gate.limit = 10.0
    for _ in range(50):
        gate.succeeded()
    # What succeeds now was admitted before the storm, or says only that fewer are not too many.
    assert gate.limit == 10
    clock.now += Gate.REST
    for _ in range(10):
        gate.succeeded()
    assert gate.limit == pytest.approx(11, abs=0.1)
    for _ in range(100):
        gate.succeeded()
    assert gate.limit == 12


def test_a_gate_grows_far_only_by_answers_that_did_not_wait_in_a_line() -> None:
    near, far = Gate(maximum=40, start=10), Gate(maximum=40, start=10)
    near.succeeded(0.001, "GET")
    far.succeeded(0.050, "GET")
    for _ in range(100):
        # A busy store near by, and one that answers late whatever is asked of it.
        near.succeeded(0.025, "GET")
        far.succeeded(0.060, "GET")
    assert (near.limit, far.limit) == (11, 40)
    # Another kind of request has a quickest answer of its own.
    near.succeeded(0.025, "PUT")
    assert near.limit == 12


async def test_one_storm_counts_once(clock: Clock) -> None:
    gate = Gate(maximum=200, start=100)
    async with holding(gate, 100):
        for _ in range(50):
            gate.slow_down()
        assert gate.limit == pytest.approx(70)
        clock.now += Gate.HOLD
        gate.slow_down()
        assert gate.limit == pytest.approx(49)
        assert gate.throttled == 51
    # What counts is what was really in flight: an idle gate has no limit of 49.
    clock.now += Gate.HOLD
    gate.slow_down()
    assert gate.limit == Gate.MINIMUM


async def test_throttling_never_closes_a_gate_nor_opens_it_further(clock: Clock) -> None:
    for maximum in (1, 2, 4, 100):
        gate = Gate(maximum=maximum, start=100)
        for _ in range(20):
            clock.now += Gate.HOLD
            gate.slow_down()
        assert 1 <= gate.limit <= maximum
        async with holding(gate, 3):
            assert gate.in_flight >= 1


async def test_a_lower_limit_lets_nobody_in_until_enough_have_left(clock: Clock) -> None:
    gate = Gate(maximum=20, start=10)
    async with holding(gate, 12) as tasks:
        gate.slow_down()  # to 7
        await ended(*tasks[:3])
        assert gate.in_flight == 7
        await ended(tasks[3])
        assert gate.in_flight == 7  # one of the two who waited came in


@given(st.lists(st.integers(0, 7), max_size=60), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_cancelling_at_any_moment_loses_no_place(steps: list[int], limit: int) -> None:
    async def play() -> None:
        gate = Gate(maximum=limit, start=limit)
        visitors: list[asyncio.Task[None]] = []

        async def visit() -> None:
            async with gate:
                assert gate.in_flight <= limit
                await asyncio.sleep(0)

        for step in steps:
            match step:
                case 0 | 1 | 2:
                    visitors.append(asyncio.create_task(visit()))
                case 3 | 4 if visitors:
                    visitors[(step * 7) % len(visitors)].cancel()
                case 5:
                    await asyncio.sleep(0)
                case 6:
                    gate.succeeded()
                case _:
                    gate.slow_down()
        await asyncio.wait_for(asyncio.gather(*visitors, return_exceptions=True), 5)
        assert gate.in_flight == 0
        async with gate:
            pass

    asyncio.run(play())


# ------------------------------------------------------------------------------------------- budget


async def test_a_budget_is_first_come_first_served() -> None:
    budget = Budget(100)
    order: list[str] = []

    async def use(name: str, amount: int) -> None:
        await budget.acquire(amount)
        order.append(name)

    await budget.acquire(60)
    tasks = [asyncio.create_task(use("large", 80)), asyncio.create_task(use("small", 10))]
    await turns()
    assert order == []  # the small one would fit, but the large one must not starve
    budget.release(60)
    await asyncio.gather(*tasks)
    assert order == ["large", "small"]
    assert budget.used == 90


async def test_what_is_larger_than_the_budget_goes_alone() -> None:
    budget = Budget(100)
    await budget.acquire(1)
    giant = asyncio.create_task(budget.acquire(10**9))
    await turns()
    assert not giant.done()
    budget.release(1)
    await giant
    other = asyncio.create_task(budget.acquire(1))
    await turns()
    assert not other.done()
    budget.release(10**9)
    await other
    budget.release(1)
    assert budget.used == 0


async def test_who_gives_up_waiting_for_the_budget_blocks_nobody() -> None:
    budget = Budget(100)
    await budget.acquire(50)
    large = asyncio.create_task(budget.acquire(80))
    small = asyncio.create_task(budget.acquire(20))
    await turns()
    await ended(large)
    await turns()
    assert small.done()
    assert budget.used == 70


class Core:
    """How long a thread wanted to run, as a test says: for a part of the time that passes."""

    def __init__(self, part: float) -> None:
        self.part = part
        self.looks = 0
        self.looked = asyncio.Event()

    def __call__(self) -> float:
        self.looks += 1
        if self.looks == 10:
            self.looked.set()
        return self.part * asyncio.get_running_loop().time()


async def test_a_budget_opens_while_the_process_waits_for_the_stores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Budget, "NEAR", 40)
    monkeypatch.setattr(Budget, "LOOK", 0.001)
    core = Core(0.9)
    budget = Budget(100, core)
    tasks = [asyncio.create_task(budget.acquire(10)) for _ in range(20)]
    await core.looked.wait()
    assert sum(task.done() for task in tasks) == 4
    core.part = 0.1
    await asyncio.gather(*tasks[:10])
    await turns()
    assert (budget.used, tasks[10].done()) == (100, False)
    # What was found out is kept.
    core.part = 0.9
    budget.release(100)
    await asyncio.gather(*tasks)
    assert budget.used == 100


async def test_four_bodies_have_room_at_once_however_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "NEAR", 40)
    budget = Budget(100, Core(1.0))
    tasks = [asyncio.create_task(budget.acquire(20)) for _ in range(5)]
    await turns()
    assert [task.done() for task in tasks] == [True, True, True, True, False]
    budget.release(20)
    await tasks[4]
    giant = asyncio.create_task(budget.acquire(1000))
    await turns()
    assert not giant.done()
    budget.release(80)
    await giant
    assert budget.used == 100


async def test_a_thread_that_runs_or_would_run_is_seen_to_do_so() -> None:
    before = run_time_wanted()
    assert before > 0
    started = time.thread_time()
    while time.thread_time() - started < 0.02:
        pass
    # A part of it is counted at the next tick of the clock only.
    assert run_time_wanted() - before >= 0.01


@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "cancel", "turn"]), st.integers(0, 150)), max_size=60
    ),
)
@settings(max_examples=30, deadline=None)
def test_a_budget_is_never_overdrawn_and_never_leaks(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        budget = Budget(100)
        users: list[asyncio.Task[None]] = []

        async def use(amount: int) -> None:
            await budget.acquire(amount)
            try:
                assert budget.used <= 100
                await asyncio.sleep(0)
            finally:
                budget.release(amount)

        for step, number in steps:
            if step == "begin":
                users.append(asyncio.create_task(use(number)))
            elif step == "cancel" and users:
                users[number % len(users)].cancel()
            else:
                await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*users, return_exceptions=True), 5)
        assert budget.used == 0

    asyncio.run(play())


# ---------------------------------------------------------------------------------------------- cap


class Bucket:
    """`Limits` of a test: grants what `answer` says, and remembers what was asked. The rate is that
    of the cap which uses it, until the test sets another one."""

    def __init__(self, answer: Callable[[float], tuple[float, float]]) -> None:
        self.answer = answer
        self.asked: list[float] = []
        self.rate = 0.0

    async def set_rates(self, rates: Mapping[str, float]) -> None:
        (self.rate,) = rates.values()

    async def rates(self) -> dict[str, float]:
        return {"bytes": self.rate}

    async def lease(self, name: str, wanted: float) -> Lease:
        await asyncio.sleep(0)
        if not self.rate:
            return Lease(wanted, 0.0, 0.0)
        self.asked.append(wanted)
        return Lease(*self.answer(wanted), self.rate)


def capped(bucket: Bucket, name: str, rate: float) -> Cap:
    bucket.rate = rate
    return Cap(bucket, name, rate)


def partial_grants(share: float) -> Callable[[float], tuple[float, float]]:
    return lambda wanted: (wanted * share, 0.001)


async def test_a_cap_takes_until_it_has_enough() -> None:
    bucket = Bucket(partial_grants(0.5))
    await asyncio.wait_for(capped(bucket, "bytes", 100.0).take(64), 5)
    assert bucket.asked[:4] == [
        64,
        32,
        16,
        10,
    ]  # at last no more than a tenth of a second's worth is left


async def test_who_waits_at_a_cap_goes_in_order_and_asks_once_for_all() -> None:
    bucket = Bucket(lambda wanted: (wanted, 0.0))
    cap = capped(bucket, "requests", 1000.0)
    order: list[int] = []

    async def use(number: int) -> None:
        await cap.take(1)
        order.append(number)

    await asyncio.gather(*(use(number) for number in range(150)))
    assert order == list(range(150))
    assert len(bucket.asked) <= 3
    assert sum(bucket.asked) == 150


async def test_alone_nothing_is_taken_that_is_not_used() -> None:
    bucket = Bucket(lambda wanted: (wanted, 0.0))
    cap = capped(bucket, "requests", 1000.0)
    for _ in range(5):
        await cap.take(1)
    assert bucket.asked == [1] * 5


async def test_what_was_taken_for_those_who_gave_up_lapses(clock: Clock) -> None:
    bucket = Bucket(lambda wanted: (wanted, 0.0))
    cap = capped(bucket, "requests", 1000.0)
    takers = [asyncio.create_task(cap.take(1)) for _ in range(50)]
    await asyncio.sleep(0)
    await ended(*takers[1:])
    await takers[0]
    assert bucket.asked[0] in (1, 50)
    clock.now += CAP_SLICE
    before = len(bucket.asked)
    await cap.take(1)
    assert len(bucket.asked) == before + 1


@pytest.mark.parametrize("error", [OSError("no route to host"), StateError("the state is locked")])
async def test_limits_out_of_reach_leave_the_last_share(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bucket = Bucket(lambda wanted: (wanted, 0.0))
    cap = capped(bucket, "bytes", 1000.0)
    for _ in range(11):  # this process has a quarter of the rate
        await cap.take(25)
        clock.now += 0.1

    def unreachable(wanted: float) -> tuple[float, float]:
        raise error

    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    bucket.answer = unreachable
    monkeypatch.setattr(pace.asyncio, "sleep", sleep)
    await cap.take(275)
    assert sum(slept) == pytest.approx(1.0, abs=0.15)


async def test_a_large_body_is_supplied_slice_after_slice() -> None:
    bucket = Bucket(lambda wanted: (wanted, 0.0))
    cap = capped(bucket, "bytes", 1000.0)
    sent = Supply(cap, 250, received=False)
    # At last: more than was foretold (a body that is sent twice).
    assert [await sent.next() for _ in range(4)] == [100, 100, 50, 100]
    assert bucket.asked == [100, 100, 50, 100]


@pytest.mark.parametrize("rate", [1000.0, 5e6, 1e8, 1e9])
async def test_what_buffers_hold_is_taken_before_it_passes(rate: float) -> None:
    """A server sends as much as our buffers hold before anything is granted: never more than was
    taken."""
    bucket = Bucket(lambda wanted: (wanted, 0.0))
    cap = capped(bucket, "bytes", rate)
    received = Supply(cap, 10 * cap.slice, received=True)
    ahead = min(cap.buffer, cap.slice)
    passed = 0.0
    while passed < 10 * cap.slice:
        passed += await received.next()
        assert passed + ahead <= sum(bucket.asked) + 1e-6 or passed == pytest.approx(10 * cap.slice)
    assert sum(bucket.asked) == pytest.approx(passed) == pytest.approx(10 * cap.slice)
    assert cap.buffer * cap.large.limit <= max(cap.slice, 16 * 1024)


async def test_a_valve_is_fed_when_it_is_dry() -> None:
    bucket = Bucket(lambda wanted: (wanted, 0.0))
    cap = capped(bucket, "bytes", 100.0)
    valve = Valve()
    resumed: list[float] = []
    valve.resume = lambda: resumed.append(valve.left)
    feeder = asyncio.create_task(Supply(cap, 25, received=False).feed(valve))
    await turns(10)
    assert valve.left == 0  # nobody has asked
    for expected in (10, 10, 5, 10):
        assert not valve.open()
        await turns(10)
        assert valve.left == expected
        valve.pass_(expected)
    assert resumed == [10, 10, 5, 10]
    valve.pass_(15)  # one chunk more than was granted
    assert not valve.open()
    await turns(20)
    assert valve.left == -5
    await ended(feeder)


async def test_cancelled_waiting_at_a_cap_leaves_it_usable() -> None:
    bucket = Bucket(lambda wanted: (0.0, 0.01))
    cap = capped(bucket, "bytes", 100.0)
    waiting = [asyncio.create_task(cap.take(5)) for _ in range(3)]
    await turns()
    await ended(*waiting)
    bucket.answer = lambda wanted: (wanted, 0.0)
    await asyncio.wait_for(cap.take(5), 5)


PROGRAM = """
import asyncio, json, sys, time
from pathlib import Path
from dth.platforms.local.platform import open_platform
from dth.objects.store.pace import Cap

async def main(state, name, rates, seconds):
    taken = []
    with open_platform(Path(state), name) as platform:
        async def use(what, rate, amount):
            await platform.limits.set_rates({what: rate})
            cap = Cap(platform.limits, what, rate)
            until = time.time() + seconds
            async def one():
                while time.time() < until:
                    await cap.take(amount)
                    taken.append((what, time.time(), amount))
            await asyncio.gather(*(one() for _ in range(4)))
        await asyncio.gather(*(use(what, rate, amount) for what, (rate, amount) in rates.items()))
    print(json.dumps(taken))

asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), float(sys.argv[4])))
"""


@pytest.mark.slow
def test_two_processes_stay_within_one_cap(tmp_path: Path) -> None:
    seconds = 3.0
    # In small amounts, and each larger than what the bucket holds.
    rates = {"small": (200.0, 1.0), "large": (1e6, 3.7e5)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), name, json.dumps(rates), str(seconds)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        )
        for name in ("a", "b")
    ]
    outputs = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    for what, (rate, amount) in rates.items():
        both = [[(at, n) for name, at, n in taken if name == what] for taken in outputs]
        assert all(len(each) > 1 for each in both)
        series = sorted(both[0] + both[1])
        # What a take waited for was granted before, at most a whole amount in each process.
        slack = rate * (CAPACITY + CAP_SLICE) + 2 * amount + 0.01 * rate
        for first, (begun, _) in enumerate(series):
            total = 0.0
            for at, taken in series[first:]:
                total += taken
                assert total <= rate * (at - begun) + slack, (what, at - begun)
