"""Running a task once, in the foreground: its state directory, its run, its processes, its result."""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dth.config import state_directory
from dth.errors import StateError, UsageError
from dth.platforms.local.filesystem import is_locked, lock_state_directory
from dth.platforms.local.nursery import Nursery
from dth.platforms.local.platform import LocalPlatform, open_platform
from dth.platforms.local.supervisor import Supervisor, one_by_one
from dth.platforms.ports import RunKind

TASK_FILE = "task.json"
KEPT_RUNS = 100


@dataclass(frozen=True, slots=True)
class Foreground:
    """A task about to run. `resumed`: it goes on with a run that an earlier command began. `unsettled`: earlier runs
    that were broken off, whose last objects settle now."""

    supervisor: Supervisor
    platform: LocalPlatform
    run: int
    resumed: bool
    unsettled: list[int]
    state: Path
    started: float  # monotonic
    began: float  # seconds since the epoch


def default_state(task: Mapping[str, Any]) -> Path:
    """The state of a command that was given none: the same command again finds it, and goes on."""
    digest = hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()
    return state_directory() / f"sync-{digest[:16]}"


@asynccontextmanager
async def open_foreground(
    task: Mapping[str, Any],
    identity: Mapping[str, Any],
    state: Path,
    max_workers: int,
    nursery: Nursery,
    rates: Mapping[str, float],
) -> AsyncIterator[Foreground]:
    """Lock the state, write the task down, begin its run or take up the one that was interrupted.

    `task` are the parameters as the processes read them; `identity` those that make it this task and no other;
    `rates` those that hold over all processes, until somebody changes them.
    """
    with lock_state_directory(state) as lock, _announced(state):
        _claim_state(state, task, identity)
        with open_platform(state, "supervisor") as platform:
            await platform.records.resume()
            await platform.prune(KEPT_RUNS)
            await platform.limits.set_rates(rates)
            run, resumed = await platform.records.begin_run(RunKind.SYNC)
            runs = await platform.records.list_runs(KEPT_RUNS)
            unsettled = [each.id for each in runs if each.id != run.id and not each.counts.balanced]
            supervisor = Supervisor(state, platform, lock, nursery, one_by_one(max_workers))
            supervisor.follow(run.id)
            yield Foreground(
                supervisor, platform, run.id, resumed, unsettled, state, time.monotonic(), time.time()
            )


def running() -> list[Path]:
    """The states of this user's commands that run now."""
    found = []
    for entry in sorted(_running_directory().glob("*")):
        try:
            state = Path(entry.read_text("utf-8"))
        except OSError:  # it has just ended
            continue
        if is_locked(state):
            found.append(state)
        else:  # its command was killed
            entry.unlink(missing_ok=True)
    return found


@contextmanager
def _announced(state: Path) -> Iterator[None]:
    """Let `running` find it. Where that cannot be written, only who knows the state finds it."""
    entry = _running_directory() / f"{os.getpid()}"
    with contextlib.suppress(OSError):
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        entry.write_text(str(state.resolve()), "utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            entry.unlink(missing_ok=True)
            entry.parent.rmdir()


def _running_directory() -> Path:
    return state_directory() / "running"


def discard(state: Path) -> None:
    """Remove a state that nobody asked to keep."""
    shutil.rmtree(state, ignore_errors=True)


def _claim_state(state: Path, task: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    path = state / TASK_FILE
    try:
        if path.exists():
            before = json.loads(path.read_text("utf-8"))
            other = [name for name in identity if before.get(name, identity[name]) != identity[name]]
            if other:
                raise UsageError(
                    f"the state directory {state} belongs to another task ({other[0]} was {before[other[0]]!r}); "
                    "give another --state"
                )
        partial = state / f"{TASK_FILE}.new"
        partial.write_text(json.dumps(task, indent=1), "utf-8")
        partial.replace(path)
    except (OSError, ValueError) as error:
        raise StateError(f"The state directory {state} cannot be used: {error}") from None
