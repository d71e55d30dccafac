"""Processes that are killed at any moment, and commands that are interrupted: the same command goes
on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from dth.platforms.local.platform import open_platform
from tests.engine import (
    GIANT_OPTIONS,
    MIB,
    Dth,
    Side,
    between,
    blob,
    bodies,
    check_ledger,
    wait_for,
)
from tests.servers.proxy import Delay, Proxy

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.servers.ministack import MiniStack

SMALL = 300
KILLS = 5  # in each of the random tests
OPTIONS = (*GIANT_OPTIONS, "--workers", "2", "--worker-number", "1")


@pytest.fixture(scope="module")
def full(s3_a: MiniStack) -> Iterator[Side]:
    """A bucket with many small objects and a few that go in parts."""
    side = Side(s3_a, s3_a.bucket("full"))
    side.put(bodies(f"folder-{n % 7}/{n:03}" for n in range(SMALL)))
    side.put(
        {"parted": blob(6 * MIB, 1), "giant/1": blob(11 * MIB, 2), "giant/2": blob(16 * MIB, 3)}
    )
    yield side
    s3_a.drop(side.bucket)


@pytest.fixture
def slow(full: Side, proxy_a: Proxy, proxy_b: Proxy, dest: Side) -> tuple[Side, Side]:
    """Both sides behind proxies that make every object take a moment."""
    for proxy in (proxy_a, proxy_b):
        proxy.rule(Delay(0.06), key=".")
    return Side(proxy_a, full.bucket), Side(proxy_b, dest.bucket)


def family(process: subprocess.Popen[str]) -> dict[str, int]:
    """The processes of a command by name: the supervisor, the fork server, and those that it
    forked."""
    found = {"supervisor": process.pid}
    try:
        for child in psutil.Process(process.pid).children(recursive=True):
            name = child.name()
            found[name.removeprefix("dth-") if name.startswith("dth-") else "fork_server"] = (
                child.pid
            )
    except psutil.Error:
        pass
    return found


def kill(process: subprocess.Popen[str], dice: random.Random) -> str:
    """Kill one of them, or all; returns which."""
    alive = family(process)
    kinds = sorted(name for name in alive if name not in ("supervisor", "fork_server"))
    # Mostly those that do the work; the more drastic the rarer.
    victim = dice.choice([*kinds, *kinds, *kinds, "supervisor", "fork_server", "group"])
    try:
        if victim == "group":
            os.killpg(process.pid, signal.SIGKILL)
        elif victim in alive:
            os.kill(alive[victim], signal.SIGKILL)
    except ProcessLookupError:
        return "nobody"
    return victim


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments_nothing_is_missing_doubled_or_left_behind(
    dth: Dth, slow: tuple[Side, Side], full: Side, dest: Side, seed: int
) -> None:
    dice = random.Random(seed)
    state = dth.home / "state"
    command = ("s3", "sync", *between(*slow), *OPTIONS, "--state", state, "--json")
    killed: list[str] = []
    while len(killed) < KILLS:
        process = dth.start(*command)
        wait_for(lambda: process.poll() is not None or "fork_server" in family(process))  # noqa: B023
        while process.poll() is None and len(killed) < KILLS:
            time.sleep(dice.uniform(0.0, 1.2))
            if process.poll() is None:
                killed.append(kill(process, dice))
                if killed[-1] in ("supervisor", "fork_server", "group"):
                    break
        if (
            dth.end(process).code == 0 and len(killed) < KILLS
        ):  # the next run is to have some work, too
            for key in ("giant/1", *(key for key in full.listed() if key.startswith("folder-1/"))):
                dest.server.request("DELETE", f"/{dest.bucket}/{key}")
    found = dth.outcome(dth.run(*command))
    assert found["failed"] == 0, killed

    assert dest.etags().keys() == full.etags().keys(), killed
    assert {k: e for k, e in dest.etags().items() if "-" not in e} == {
        k: e for k, e in full.etags().items() if k.startswith("folder")
    }
    for key in ("parted", "giant/1", "giant/2"):
        assert dest.get(key) == full.get(key), killed
    assert dest.uploads() == [], killed
    with open_platform(state, "test") as platform:
        for run in asyncio.run(platform.records.list_runs()):
            check_ledger(run.counts, finished=True)
            assert run.counts.done_bytes == run.counts.enqueued_bytes, (killed, run)
            assert run.counts.failed == run.counts.cancelled == 0


@pytest.mark.parametrize("how", ["SIGTERM", "ctrl-c"])
def test_an_interrupted_command_drains_and_goes_on_where_it_was(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy, full: Side, dest: Side, how: str
) -> None:
    command = ("s3", "sync", *between(*slow), *OPTIONS)
    process = dth.start(*command)
    wait_for(lambda: proxy_b.count("PUT", status=200) > 50)
    children = psutil.Process(process.pid).children(recursive=True)
    if how == "SIGTERM":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)
    done = dth.end(process, seconds=30)
    assert done.code == 1
    [line] = [line for line in done.err.splitlines() if line.startswith("dth:")]
    assert "interrupted; run the same command again to resume" in line
    assert "Traceback" not in done.err
    assert not any(child.is_running() for child in children)
    assert 50 < len(dest.listed()) < SMALL

    again = dth.run(*command)
    assert again.code == 0
    assert "resuming run 1" in again.err
    assert dest.etags().keys() == full.etags().keys()
    # What was in hand was finished, so no object went twice.
    small = [request.key for request in proxy_b.seen("PUT", "folder-")]
    assert len(small) == len(set(small)) == SMALL
    assert not any(dth.states.iterdir())  # a state that nobody asked for is not kept


def test_a_second_ctrl_c_does_not_wait(dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy) -> None:
    proxy_b.rule(Delay(20), method="PUT")
    process = dth.start("s3", "sync", *between(*slow), *OPTIONS)
    wait_for(lambda: proxy_b.count("PUT") > 0)
    children = psutil.Process(process.pid).children(recursive=True)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    done = dth.end(process)
    assert done.code == 1
    assert time.monotonic() - started < 10
    wait_for(lambda: not any(child.is_running() for child in children), 5)


def test_children_end_with_their_supervisor(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy
) -> None:
    process = dth.start("s3", "sync", *between(*slow), *OPTIONS)
    wait_for(lambda: proxy_b.count("PUT") > 0)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    wait_for(
        lambda: not any(child.is_running() and child.status() != "zombie" for child in children), 5
    )
    process.communicate()
    assert dth.run("s3", "sync", *between(*slow), *OPTIONS).code == 0
