"""Places and workers: bounds that hold, a reserve for schedules, and turns for what takes long."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.platforms.local.places import SHORT, TURN, Places, Workers


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Tasks:
    """Tasks with workers, each of which ends as soon as it is asked to, or not."""

    most: int
    clock: Clock = field(default_factory=Clock)
    held: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.workers = Workers(self.most, self.clock)

    def look(self, task: str, wanted: int, *, busy: bool = True, drains: bool = True) -> int:
        held = self.held.get(task, 0)
        granted = self.workers.share(task, wanted, held, busy=busy)
        if drains and granted < held:  # the next look finds that they have ended
            granted = self.workers.share(task, wanted, granted, busy=busy)
        self.held[task] = granted if drains else max(held, granted)
        assert sum(self.held.values()) <= self.most
        return granted

    def end(self, task: str) -> None:
        self.held.pop(task, None)
        self.workers.leave(task)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_places_are_given_in_order(clock: Clock) -> None:
    places = Places(4, clock)
    first = [places.ask(due=False) for _ in range(5)]
    assert [place.taken.is_set() for place in first] == [True, True, True, False, False]
    places.give_back(first[0])
    assert first[3].taken.is_set()
    assert not first[4].taken.is_set()


def test_long_tasks_do_not_take_the_reserve(clock: Clock) -> None:
    places = Places(5, clock)
    for _ in range(9):
        places.ask(due=False)
    assert places.ask(due=True).taken.is_set()
    assert not places.ask(due=True).taken.is_set()


def test_scheduled_runs_do_not_keep_others_out(clock: Clock) -> None:
    places = Places(2, clock)
    due = [places.ask(due=True) for _ in range(2)]
    other, later = places.ask(due=False), places.ask(due=True)
    places.give_back(due[0])
    assert other.taken.is_set()
    assert not later.taken.is_set()


@pytest.mark.parametrize("count", [1, 5])
def test_a_due_run_gets_the_place_of_a_long_one(clock: Clock, count: int) -> None:
    """Also where all that take long are runs of schedules."""
    places = Places(count, clock)
    long = [places.ask(due=True) for _ in range(count)]
    short = places.ask(due=True)
    assert not any(places.is_wanted(place) for place in long)
    clock.now += SHORT
    assert [places.is_wanted(place) for place in long] == [True, *[False] * (count - 1)]
    places.give_back(long[0])
    assert short.taken.is_set()


def test_who_waits_may_become_due(clock: Clock) -> None:
    places = Places(2, clock)
    places.ask(due=False)
    waiting = places.ask(due=False)
    assert not waiting.taken.is_set()
    places.hurry(waiting)
    assert waiting.taken.is_set()


def test_long_ones_take_turns(clock: Clock) -> None:
    places = Places(1, clock)
    first, second = places.ask(due=False), places.ask(due=False)
    clock.now += TURN - 1
    assert not places.is_wanted(first)
    clock.now += 1
    assert places.is_wanted(first)
    places.give_back(first)
    assert second.taken.is_set()
    clock.now += TURN
    assert not places.is_wanted(second)  # nobody waits


def test_a_long_scheduled_run_leaves_the_reserve(clock: Clock) -> None:
    places = Places(2, clock)
    scheduled, waiting = places.ask(due=True), [places.ask(due=False) for _ in range(2)]
    clock.now += SHORT
    places.is_wanted(scheduled)
    assert [place.taken.is_set() for place in waiting] == [True, False]
    other = places.ask(due=True)
    places.give_back(waiting[0])
    assert other.taken.is_set()


def test_workers_stay_within_their_bound() -> None:
    tasks = Tasks(8)
    assert tasks.look("a", 20) == 8
    assert tasks.look("b", 20) == 0  # until the other has let some go
    assert tasks.look("a", 20) == 4
    assert tasks.look("b", 20) == 4
    assert tasks.look("c", 1) == 0
    assert tasks.look("a", 20) + tasks.look("b", 20) == 7
    assert tasks.look("c", 1) == 1
    tasks.end("b")
    assert tasks.look("a", 20) == 7


def test_a_worker_that_drains_counts_until_it_has_ended() -> None:
    tasks = Tasks(2)
    tasks.look("a", 2)
    tasks.look("b", 2)
    assert tasks.look("a", 2, drains=False) == 1
    assert tasks.look("b", 2) == 0
    tasks.held["a"] = 1
    tasks.look("a", 2)
    assert tasks.look("b", 2) == 1


def test_one_worker_goes_round() -> None:
    tasks = Tasks(1)
    names = [f"{number}" for number in range(5)]
    served = []
    for _ in range(10):
        for _ in range(3):
            found = {name: tasks.look(name, 3) for name in names}
        served += [name for name, count in found.items() if count]
        tasks.clock.now += TURN
    assert served == names * 2


def test_who_has_nothing_to_do_gives_its_worker_to_who_has() -> None:
    tasks = Tasks(1)
    assert tasks.look("a", 1, busy=False) == 1
    assert tasks.look("b", 1) == 0
    assert tasks.look("a", 1, busy=False) == 0
    assert tasks.look("b", 1) == 1


looks = st.tuples(st.sampled_from("abcdef"), st.integers(0, 20), st.booleans(), st.booleans())


@given(st.integers(1, 9), st.lists(looks, max_size=60))
def test_whatever_comes_the_bound_holds(
    most: int, given_looks: list[tuple[str, int, bool, bool]]
) -> None:
    tasks = Tasks(most)
    for task, wanted, busy, drains in given_looks:
        assert tasks.look(task, wanted, busy=busy, drains=drains) <= wanted
        tasks.clock.now += 7
