"""Processes that are killed while runs overlap. `bench/kills.py` is the same at length."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

from tests.engine import Dth, Side, between, bodies, wait_for
from tests.kills import Kills
from tests.servers.proxy import Delay

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.proxy import Proxy

SMALL = 400
LANES = 32  # objects that the worker has in flight at most


def test_a_hub_whose_processes_are_killed_leaves_nothing_undone_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    kills = Kills(tmp_path, tasks=2, delay=0.5)
    try:
        for n, kind in enumerate(("worker", "hub", "worker")):
            kills.add(f"{n}", 10, ("parted", "giant") if n == 0 else ())
            kills.kill(kind, after=0.4)
        kills.add("last", 5)
        report = kills.judge(60.0)
    finally:
        kills.close()
    assert report.good, report
    assert report.kills == {"worker": 2, "hub": 1}, report


def test_a_kill_repeats_only_the_small_objects_that_were_in_flight(
    dth: Dth, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put(bodies(f"{n:04}" for n in range(SMALL)))
    proxy_b.rule(Delay(0.2), method="PUT")
    route = between(source, Side(proxy_b, dest.bucket))
    command = ("s3", "sync", *route, "--workers", "1", "--worker-number", "1", "--quiet")
    process = dth.start(*command)
    wait_for(lambda: proxy_b.count("PUT", status=200) > SMALL // 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert dth.run(*command).code == 0
    puts = Counter(request.key for request in proxy_b.seen("PUT"))
    assert puts.keys() == set(source.listed())
    # And those of which the outcome was to be written next.
    assert sum(puts.values()) - SMALL <= 2 * LANES
    assert dest.contents() == source.contents()
