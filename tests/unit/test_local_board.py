"""What processes tell each other of registries: real processes, forked as the fork server forks
them."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from dth.images.registry.pace import Pace
from dth.platforms.local import board as module
from dth.platforms.local.board import LocalBoard

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "quay.io"


def in_a_child(work: Callable[[], object]) -> int:
    """The exit code, or the signal as a negative number, of a process that does this."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = int(bool(work()))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_one_process_says_all_know() -> None:
    board = LocalBoard()
    assert board.held(HOST) == (0.0, 0.0)
    in_a_child(lambda: board.hold(HOST, 1000.0, 5.0))
    assert board.held(HOST) == (1000.0, 5.0)
    in_a_child(lambda: board.hold(HOST, 900.0, 1.0))  # what is over sooner changes nothing
    assert board.held(HOST) == (1000.0, 5.0)
    assert in_a_child(lambda: board.held(HOST) == (1000.0, 5.0)) == 1
    assert board.held("ghcr.io") == (0.0, 0.0)


def test_a_turn_is_had_by_one() -> None:
    board = LocalBoard()
    assert board.claim(HOST, 1000.0, 0.5) == 0
    assert in_a_child(lambda: board.claim(HOST, 1000.2, 0.5) > 0) == 1
    assert board.claim("ghcr.io", 1000.2, 0.5) == 0
    assert in_a_child(lambda: board.claim(HOST, 1000.5, 0.5) == 0) == 1
    assert board.claim(HOST, 1000.9, 0.5) > 0


def test_processes_at_once_have_each_turn_once() -> None:
    board, children, turns = LocalBoard(), [], 2000
    for _ in range(4):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            had = [turn for turn in range(turns) if board.claim(HOST, 1000.0 + turn, 1.0) == 0]
            os.write(writer, ",".join(map(str, had)).encode() + b"\n")
            os._exit(0)
        os.close(writer)
        children.append((pid, reader))
    had: list[str] = []
    for pid, reader in children:
        with os.fdopen(reader) as pipe:
            had += filter(None, pipe.read().strip().split(","))
        assert os.waitpid(pid, 0)[1] == 0
    assert len(had) == len(set(had)) <= turns
    assert str(turns - 1) in had


def test_one_that_is_killed_while_it_writes_holds_up_nobody() -> None:
    board = LocalBoard()

    def die() -> None:
        with board._locked():
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(die) == -signal.SIGKILL
    board.hold(HOST, 1000.0, 0.0)
    assert board.held(HOST) == (1000.0, 0.0)


def test_a_full_board_shares_no_more() -> None:
    board = LocalBoard()
    for number in range(module.ENTRIES):
        board.hold(f"registry-{number}", 1000.0 + number, 0.0)
    assert [board.held(f"registry-{number}")[0] for number in (0, 511)] == [1000.0, 1511.0]
    board.hold(HOST, 1000.0, 0.0)
    assert board.held(HOST) == (0.0, 0.0)
    assert board.claim(HOST, 1.0, 1.0) == board.claim(HOST, 1.0, 1.0) == 0


class Time:
    """One that passes while somebody sleeps, for several processes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)


async def test_a_refusal_that_one_process_meets_holds_the_others() -> None:
    board, clock = LocalBoard(), Time()
    finder, worker = (Pace(HOST, board=board, clock=clock, sleep=clock.sleep) for _ in range(2))
    assert await worker.enter(0) == 1000
    finder.refused(await finder.enter(0), 30)
    assert worker.waits == 30
    assert await worker.enter(60) >= 1030
    assert worker.rate == finder.rate > 0  # and it asks no faster than the other one
    other = Pace("ghcr.io", board=board, clock=clock, sleep=clock.sleep)
    assert (other.waits, other.rate) == (0, 0)


async def test_a_longer_time_that_is_heard_of_later_counts() -> None:
    """Also if it comes for a request that was in progress when the first refusal came."""
    board, clock = LocalBoard(), Time()
    finder, worker = (Pace(HOST, board=board, clock=clock, sleep=clock.sleep) for _ in range(2))
    entered = await finder.enter(0)
    clock.now += 0.5
    finder.refused(entered, 5)
    finder.refused(entered, 300)
    assert worker.waits == finder.waits == 300


async def test_processes_take_turns() -> None:
    """Together they are as fast as one of them may be."""
    board, clock = LocalBoard(), Time()
    paces = [Pace(HOST, 2.0, 2.0, board=board, clock=clock, sleep=clock.sleep) for _ in range(3)]
    for _ in range(10):
        await asyncio.gather(*(pace.enter(1e9) for pace in paces))
    assert clock.now >= 1000 + 29 / 2
