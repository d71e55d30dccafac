"""Running a command and seeing what it cost, its children included."""

import compileall
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import psutil

SAMPLE = 0.05  # seconds between looks at memory


@dataclass(frozen=True)
class Cost:
    """`cpu` (of all processes) and `wall` in seconds; `memory` is the largest process's resident
    set in bytes.

    Of stores that count: `requests` of both sides, `refused` writes, seconds until the `first`
    write, and the `rate` of writes a second from the first one to the last."""

    wall: float
    cpu: float
    memory: int
    requests: float = 0
    refused: float = 0
    first: float = 0
    rate: float = 0


def medians(rounds: int, variants: Mapping[str, Callable[[], Cost]]) -> dict[str, Cost]:
    """Each variant's median of wall time and CPU, and its largest memory. The variants take turns,
    because a machine's speed changes by the minute: what one of them met, the others met as
    well."""
    costs: dict[str, list[Cost]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            costs[name].append(variant())
    return {
        name: replace(
            runs[0],
            wall=median(run.wall for run in runs),
            cpu=median(run.cpu for run in runs),
            memory=max(run.memory for run in runs),
            requests=median(run.requests for run in runs),
            refused=median(run.refused for run in runs),
            first=median(run.first for run in runs),
            rate=median(run.rate for run in runs),
        )
        for name, runs in costs.items()
    }


def run(command: list[str], **environment: str) -> Cost:
    """Run to the end; anything but success is an error, with what it said."""
    before = os.times()
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    output, _ = process.communicate(timeout=900)
    wall = time.monotonic() - started
    after = os.times()
    if process.returncode:
        raise RuntimeError(
            f"{' '.join(command[:4])} … ended with {process.returncode}:\n{output[-2000:]}"
        )
    cpu = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    return Cost(wall, cpu, peak[0])


def _watch(pid: int, peak: list[int]) -> None:
    try:
        parent = psutil.Process(pid)
        while parent.is_running():
            for process in (parent, *parent.children(recursive=True)):
                try:
                    peak[0] = max(peak[0], process.memory_info().rss)
                except psutil.Error:
                    continue
            time.sleep(SAMPLE)
    except psutil.Error:
        return


@cache
def _compile() -> None:
    """As in an installation: without byte code, each command would compile all that it imports, for
    0.8 s of CPU."""
    spec = find_spec("dth")
    for folder in (spec and spec.submodule_search_locations) or ():
        compileall.compile_dir(folder, quiet=1)


def dth(*arguments: str) -> list[str]:
    _compile()
    return [sys.executable, "-m", "dth", *arguments]


def tool(name: str) -> str:
    """The path of a tool from this environment."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise RuntimeError(f"{name} is not installed; run: make bench")
    return found


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
}
