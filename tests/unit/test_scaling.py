"""How many workers a backlog calls for."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.ports.queue import Depth
from dth.hub.scaling import COOLDOWN, GIB, Steps


@dataclass
class Bounds:
    min_capacity: int = 1
    desired_capacity: int = 1
    max_capacity: int = 20


def steps(now: list[float]) -> Steps:
    return Steps(lambda: now[0])


@pytest.mark.parametrize(
    ("backlog", "more"),
    [(1, 0), (99, 0), (100, 1), (499, 1), (500, 2), (2000, 5), (10_000, 10), (10**9, 10)],
)
def test_the_steps(backlog: int, more: int) -> None:
    assert (
        steps([0.0]).wanted(Bounds(), Depth(backlog // 2, backlog - backlog // 2, 0), 1) == 1 + more
    )


@pytest.mark.parametrize(
    ("size", "more"), [(0, 0), (9, 0), (10, 1), (50, 2), (200, 5), (1000, 10), (10**6, 10)]
)
def test_a_few_large_objects_are_much_work(size: int, more: int) -> None:
    assert steps([0.0]).wanted(Bounds(), Depth(50, 0, 0), 1, size * GIB) == 1 + more


def test_no_more_workers_than_messages() -> None:
    assert steps([0.0]).wanted(Bounds(), Depth(2, 1, 0), 1, 1000 * GIB) == 3


def test_a_large_backlog_adds_half_as_many_again() -> None:
    assert steps([0.0]).wanted(Bounds(max_capacity=1000), Depth(10**6, 0, 0), 100) == 150


def test_a_pause_stands_between_two_steps() -> None:
    now = [0.0]
    scale = steps(now)
    assert scale.wanted(Bounds(), Depth(500, 0, 0), 1) == 3
    now[0] = COOLDOWN - 1
    assert scale.wanted(Bounds(), Depth(500, 0, 0), 3) == 3
    now[0] = COOLDOWN
    assert scale.wanted(Bounds(), Depth(500, 0, 0), 3) == 5


def test_nothing_to_do_leads_back_to_the_fewest() -> None:
    assert steps([0.0]).wanted(Bounds(min_capacity=2), Depth(0, 0, 7), 9) == 2
    assert steps([0.0]).wanted(Bounds(min_capacity=0), Depth(0, 0, 0), 9) == 1


def test_a_run_begins_with_the_desired_number() -> None:
    assert steps([0.0]).wanted(Bounds(desired_capacity=4), Depth(1, 0, 0), 0) == 4


@given(
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(1, 20),
    st.integers(0, 10**6),
    st.integers(0, 30),
)
def test_the_bounds_hold(least: int, desired: int, most: int, backlog: int, workers: int) -> None:
    bounds = Bounds(min(least, most), desired, most)
    assert (
        max(1, bounds.min_capacity)
        <= steps([0.0]).wanted(bounds, Depth(backlog, 0, 0), workers)
        <= most
    )
