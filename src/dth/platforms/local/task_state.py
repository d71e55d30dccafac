"""A task's state directory in the hub: the files that its processes read, and processes for single
operations on it."""

import asyncio
import contextlib
import json
import shutil
from pathlib import Path

from dth.core.errors import HubError
from dth.core.plugins import plugin
from dth.hub.model import Task
from dth.platforms.local.foreground import TASK_FILE
from dth.platforms.local.fork_server import ForkServer

# Seconds that discarding uploads may take.
ABORTING = 60.0


def remove_state(state: Path) -> None:
    """Raises HubError for files that cannot be removed."""
    try:
        shutil.rmtree(state)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise HubError(f"{error.filename or state} cannot be removed: {error.strerror}") from None


def write_task_file(state: Path, task: Task) -> str:
    """Write the parameters for the task's processes, without those that they do not need. Returns
    the text written."""
    given = task.model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    live = plugin(task.type).live
    values = {"type": task.type} | {name: each for name, each in given.items() if name not in live}
    text = json.dumps(values, indent=1)
    path = state / TASK_FILE
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.read_text("utf-8") == text:
            return text
        partial = state / f"{TASK_FILE}.new"
        partial.write_text(text, "utf-8")
        partial.replace(path)
    except OSError as error:
        raise HubError(f"{path} cannot be written: {error.strerror}") from None
    return text


async def throw_uploads_away(fork_server: ForkServer, state: Path, lock: int) -> None:
    """Let a process abort all uploads that the task began. Uploads that a store does not abort in
    time stay with the task, for its next start."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ABORTING):
            await run_once(fork_server, state, "aborter", lock=lock)


async def run_once(
    fork_server: ForkServer, state: Path, role: str, run: int = 0, lock: int = -1
) -> int:
    """Let a process of the task do one thing, and wait until it ends. Returns its exit code.
    `lock`: the lock of the state, if nobody else may work in the meantime."""
    logs = state / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (logs / f"{role}.log").open("ab") as errors:
        files = (errors.fileno() if lock < 0 else lock, errors.fileno())
        child = await fork_server.spawn([role, str(state), role, str(run)], files)
    try:
        await child.wait()
    finally:
        child.kill()
        await child.wait()
    return child.returncode or 0
