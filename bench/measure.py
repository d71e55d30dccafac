"""Running a command and seeing what it cost, its children included."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE = 0.05  # seconds between looks at memory


@dataclass(frozen=True)
class Cost:
    """`cpu` and `wall` in seconds; `memory` is the largest process's resident set in bytes."""

    wall: float
    cpu: float
    memory: int


def best_of(rounds: int, variants: Mapping[str, Callable[[], Cost]]) -> dict[str, Cost]:
    """Each variant's least wall time and CPU, and its largest memory. The variants take turns, because a machine's
    speed changes by the minute: what one of them met, the others met as well."""
    costs: dict[str, list[Cost]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            costs[name].append(variant())
    return {
        name: Cost(min(c.wall for c in runs), min(c.cpu for c in runs), max(c.memory for c in runs))
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
        raise RuntimeError(f"{' '.join(command[:4])} … ended with {process.returncode}:\n{output[-2000:]}")
    cpu = (after.children_user - before.children_user) + (after.children_system - before.children_system)
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


def dth(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dth", *arguments]


def tool(name: str) -> str:
    """The path of a tool from this environment."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise RuntimeError(f"{name} is not installed; run: make bench")
    return found


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


def rclone_remotes(source: str, dest: str, ca: str = "") -> dict[str, str]:
    """Environment that defines the remotes `src:` and `dst:`."""
    settings: dict[str, str] = {}
    for name, url in (("SRC", source), ("DST", dest)):
        settings |= {
            f"RCLONE_CONFIG_{name}_TYPE": "s3",
            f"RCLONE_CONFIG_{name}_PROVIDER": "Other",
            f"RCLONE_CONFIG_{name}_ENDPOINT": url,
            f"RCLONE_CONFIG_{name}_ACCESS_KEY_ID": "test",
            f"RCLONE_CONFIG_{name}_SECRET_ACCESS_KEY": "test",
            f"RCLONE_CONFIG_{name}_REGION": "us-east-1",
            f"RCLONE_CONFIG_{name}_LIST_VERSION": "2",
        }
    return settings | ({"RCLONE_CA_CERT": ca} if ca else {}) | {"RCLONE_CONFIG": "/notfound"}


# What rclone is fastest with: no HEADs, no checksums, no look at the destination.
RCLONE_BEST = (
    "--s3-no-head", "--s3-no-head-object", "--s3-disable-checksum", "--ignore-checksum", "--no-check-dest",
    "--s3-no-check-bucket", "--fast-list", "--retries", "1", "--stats", "0",
)  # fmt: skip
