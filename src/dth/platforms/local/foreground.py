"""Runs a task once in the foreground: its state directory, its run, its processes, its result."""

import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dth.core import clock
from dth.core.config import state_directory
from dth.core.errors import FULL, MAKE_ROOM, StateError, UsageError
from dth.core.ports.platform import SupervisedPlatform
from dth.core.ports.runs import KEPT_RUNS, Counts, RunKind
from dth.platforms.local.filesystem import is_locked, lock_state_directory, remove_state_directory
from dth.platforms.local.fork_server import ForkServer
from dth.platforms.local.platform import open_platform
from dth.platforms.local.supervisor import Supervisor, one_by_one

TASK_FILE = "task.json"
ASKED = "asked"  # in the file of a look: what it is for
PRICES_FILE = "prices.json"  # of a job
ELSEWHERE = "choose another directory with --state or DTH_STATE_DIR"


@dataclass(slots=True)
class Foreground:
    """A task that is about to run. `resumed`: it continues a run of an earlier command.
    `unsettled`: earlier interrupted runs whose last objects settle now. `state`: a directory for
    its processes. `keep`: whether the state is kept when this command ends."""

    supervisor: Supervisor
    platform: SupervisedPlatform
    run: int
    resumed: bool
    unsettled: list[int]
    state: Path
    started: float  # monotonic
    began: float  # seconds since the epoch
    keep: bool = True


@asynccontextmanager
async def open_foreground(
    task: Mapping[str, Any],
    identity: Mapping[str, Any],
    state: Path,
    max_workers: int,
    fork_server: ForkServer,
    rates: Mapping[str, float],
    *,
    asked_for: bool,
) -> AsyncIterator[Foreground]:
    """Lock the state, store the task, and begin its run or resume the interrupted one.

    `task`: the parameters as the processes read them. `identity`: the parameters that distinguish
    this task from others. `rates`: the rates over all processes, until somebody changes them.
    `asked_for`: a user named the state. A state that nobody named is removed if nothing is in it.
    """
    with lock_state_directory(state, hint=ELSEWHERE) as lock, _announced(state):
        keep = asked_for or (state / "task.db").exists()
        try:
            _check_identity(state, identity)
            write_task(state, task)
            with open_platform(state, "supervisor") as platform:
                supervisor = Supervisor(state, platform, lock, fork_server, one_by_one(max_workers))
                foreground = await begin(supervisor, rates)
                keep = True
                try:
                    yield foreground
                finally:
                    keep = foreground.keep and (asked_for or await has_begun(platform))
        finally:
            # Before the lock is released, so that nobody can use it.
            if not keep:
                remove_state_directory(state)


async def begin(supervisor: Supervisor, rates: Mapping[str, float]) -> Foreground:
    """Begin the run of a task, or resume the interrupted one."""
    platform = supervisor.platform
    await platform.records.resume()
    await platform.prune(KEPT_RUNS)
    await platform.limits.set_rates(rates)
    run, resumed = await platform.records.begin_run(RunKind.SYNC)
    runs = await platform.records.list_runs(KEPT_RUNS)
    unsettled = [each.id for each in runs if each.id != run.id and not each.counts.balanced]
    supervisor.follow(run.id)
    times = (time.monotonic(), clock.now())
    return Foreground(supervisor, platform, run.id, resumed, unsettled, supervisor.state, *times)


async def has_begun(platform: SupervisedPlatform) -> bool:
    """Whether any run has found something."""
    return any(run.counts != Counts() for run in await platform.records.list_runs(KEPT_RUNS))


def running() -> list[Path]:
    """The states of this user's commands that are running."""
    found = []
    for entry in sorted(_running_directory().glob("*")):
        try:
            state = Path(entry.read_text("utf-8"))
        except OSError:
            # It has just ended.
            continue
        if is_locked(state):
            found.append(state)
        else:
            # Its command was killed.
            entry.unlink(missing_ok=True)
    return found


@contextmanager
def _announced(state: Path) -> Iterator[None]:
    """Make the state visible to `running`. If the entry cannot be written, only those who know the
    state find it."""
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
    return state_directory() / ".running"


def _check_identity(state: Path, identity: Mapping[str, Any]) -> None:
    path = state / TASK_FILE
    try:
        before = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except OSError as error:
        raise _unusable(state, error) from None
    except ValueError as error:
        raise StateError(
            f"The state directory {state} cannot be used: {TASK_FILE}: {error}"
        ) from None
    other = [name for name in identity if before.get(name, identity[name]) != identity[name]]
    if other:
        raise UsageError(
            f"the state directory {state} belongs to another task ({other[0]} was "
            f"{before[other[0]]!r}); give another --state"
        )


def write_task(state: Path, task: Mapping[str, Any]) -> None:
    """Leave the task's parameters where its processes read them."""
    partial = state / f"{TASK_FILE}.new"
    try:
        partial.write_text(json.dumps(task, indent=1), "utf-8")
        partial.replace(state / TASK_FILE)
    except OSError as error:
        raise _unusable(state, error) from None


def _unusable(state: Path, error: OSError) -> StateError:
    hint = MAKE_ROOM if error.errno in FULL else ELSEWHERE
    return StateError(f"The state directory {state} cannot be used: {error.strerror}; {hint}")
