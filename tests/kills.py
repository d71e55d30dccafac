"""A hub whose processes are killed while the runs of its tasks overlap, and what the destination
says of it.

`bench/kills.py` does it at length, `tests/integration/test_kills.py` for a moment.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import psutil

from dth.core.errors import HubError
from tests.engine import MIB, Side, blob
from tests.hub import Hub, balanced
from tests.servers.odd import OddStore
from tests.servers.proxy import Delay, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.servers.proxy import Request

KINDS = ("hub", "fork_server", "worker", "finder", "controller")
SIZES = {"multipartThreshold": 5 * MIB, "partSize": 5 * MIB, "giantObjectThreshold": 6 * MIB}
LARGE = {"parted": 5 * MIB + 1000, "giant": 7 * MIB}
# Seconds between the end of a request and the moment at which its outcome is surely written.
WRITTEN = 1.0
# Seconds that the proxy may be late in seeing a request.
LAG = 0.5


@dataclass
class Report:
    """What came of it. `repeated`: writes of what had been written before; `unexplained`: those of
    them of which the earlier one was over long before any kill."""

    kills: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    runs: int = 0
    objects: int = 0
    wedged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)
    failed: int = 0
    uploads_left: int = 0
    writes: int = 0
    repeated: int = 0
    unexplained: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        wrong = self.wedged + self.missing + self.different + self.unbalanced + self.unexplained
        return not (wrong or self.failed or self.uploads_left)


class Kills:
    """Some tasks of one hub, from one store in memory to another."""

    def __init__(self, folder: Path, tasks: int, *, seed: int = 0, delay: float = 0.05) -> None:
        self.report = Report()
        self._dice = random.Random(seed)
        self._source_store, self._dest_store = OddStore(), OddStore()
        self._near_dest = Proxy(self._dest_store)
        self._near_dest.rule(Delay(delay), method="PUT|POST")
        self._source = Side(self._source_store, self._source_store.bucket("source"))
        self._dest = Side(self._dest_store, self._dest_store.bucket("destination"))
        self._hub = Hub(folder)
        self._killed_at: list[float] = []
        # The run of each task that began, or is to begin, after its last objects came.
        self._awaited: dict[str, int] = {}
        near = Side(self._near_dest, self._dest.bucket)
        self._tasks = [
            self._hub.create(
                Side(self._source_store, self._source.bucket),
                near,
                once=False,
                srcPrefix=f"task-{n}/",
                destPrefix="",
                scheduleRate="1 day",
                maxCapacity="1",
                **{name: str(size) for name, size in SIZES.items()},
            )
            for n in range(tasks)
        ]

    def close(self) -> None:
        self._hub.close()
        self._near_dest.close()
        self._source_store.close()
        self._dest_store.close()

    # --------------------------------------------------------------------------------- what happens

    def add(self, name: str, small: int, large: Iterable[str] = ()) -> None:
        """New objects for each task, and a run of each that will list them, beside those that are
        in progress."""
        for n in range(len(self._tasks)):
            found = {
                f"task-{n}/{name}/{i:03}": blob(self._dice.randrange(100, 50_000), i)
                for i in range(small)
            }
            found |= {f"task-{n}/{name}/{kind}": blob(LARGE[kind], n) for kind in large}
            self._source.put(found)
        for task in self._tasks:
            self._insist(partial(self._start_run, task))

    def _start_run(self, task: str) -> None:
        newest = max((run["id"] for run in self._hub.runs(task)), default=0)
        self._hub.do("startRun", task)
        self._awaited[task] = newest + 1

    def kill(self, kind: str, *, after: float = 0.0, seconds: float = 5.0) -> bool:
        """Kill a process of this kind, so long after one is seen; False if there was none for so
        long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self._processes(kind)
            if not found:
                time.sleep(0.01)
                continue
            if after:
                time.sleep(after)
                after = 0.0
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._dice.choice(found), signal.SIGKILL)
                self._killed_at.append(time.monotonic())
                self.report.kills[kind] += 1
                if kind in ("hub", "fork_server"):
                    self._hub.process.wait(60)
                    self._start_hub()
                return True
        return False

    def _processes(self, kind: str) -> list[int]:
        if kind == "hub":
            return [self._hub.process.pid]
        try:
            family = psutil.Process(self._hub.process.pid)
            if kind == "fork_server":
                return [child.pid for child in family.children()]
            children = family.children(recursive=True)
            return [child.pid for child in children if child.name().startswith(f"dth-{kind}")]
        except psutil.Error:
            return []

    def _start_hub(self) -> None:
        self._hub.start()
        self.report.restarts += 1

    def _insist(self, call: Callable[[], object]) -> None:
        """Do it, also if the hub has just been killed."""
        while True:
            try:
                call()
                return
            except (HubError, OSError):
                if self._hub.process.poll() is not None:
                    self._start_hub()
                time.sleep(0.1)

    # ------------------------------------------------------------------------------ what came of it

    def judge(self, seconds: float) -> Report:
        """Wait for the end of all runs, and compare."""
        report = self.report
        deadline = time.monotonic() + seconds
        waiting = list(self._tasks)
        while waiting and time.monotonic() < deadline:
            waiting = [task for task in waiting if not self._over(task)]
            time.sleep(0.2)
        for task in waiting:
            unended = [
                run for run in self._hub.runs(task) if run["state"] not in ("DONE", "FAILED")
            ]
            report.wedged.append(f"{task}: {unended or 'its last run has not begun'}")
        for task in self._tasks:
            for run in self._hub.runs(task):
                report.runs += 1
                report.failed += int(run["counts"]["failed"]) + (run["state"] == "FAILED")
                try:
                    balanced(run["counts"])
                except AssertionError:
                    report.unbalanced.append(f"{task}: {run}")
        source = self._source_store.buckets[self._source.bucket].objects
        dest = self._dest_store.buckets[self._dest.bucket]
        report.objects = len(source)
        report.missing = sorted(source.keys() - dest.objects.keys())
        report.different = [
            key
            for key in source.keys() & dest.objects.keys()
            if source[key].body != dest.objects[key].body
        ]
        report.uploads_left = len(dest.uploads)
        self._count_writes()
        return report

    def _over(self, task: str) -> bool:
        runs = self._hub.runs(task)
        begun = max((run["id"] for run in runs), default=0) >= self._awaited[task]
        return begun and all(run["state"] in ("DONE", "FAILED") for run in runs)

    def _count_writes(self) -> None:
        """Count writes of what was written before. Parts count by upload and number, objects by
        their keys."""
        written: dict[tuple[str, ...], list[Request]] = defaultdict(list)
        for request in list(self._near_dest.requests):
            if request.method not in ("PUT", "POST") or not request.key or request.status is None:
                continue
            if request.method == "POST" and "uploads=" in request.query:
                continue
            name = request.query if "partNumber=" in request.query else ""
            written[request.key, name].append(request)
        for (key, name), requests in written.items():
            self.report.writes += len(requests)
            for before, after in pairwise(requests):
                self.report.repeated += 1
                if any(
                    before.started - LAG <= at <= (before.ended or at) + WRITTEN
                    for at in self._killed_at
                ):
                    continue
                kills = ", ".join(f"{at - before.started:.2f}" for at in self._killed_at)
                self.report.unexplained.append(
                    f"{key} {name}: {before.status} at 0 s, {after.status} at "
                    f"{after.started - before.started:.2f} s, kills at {kills} s"
                )
