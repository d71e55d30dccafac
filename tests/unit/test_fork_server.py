"""The fork server answers many at once: each gets the process that it asked for, and hears of that
one's end."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.servers.process import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

# A process of its own: a fork server is forked before there are threads.
SCRIPT = """
import asyncio, errno, os, sys, time
from dth.core.errors import StateError
from dth.platforms.local import fork_server as module
from dth.platforms.local.fork_server import ForkServer

if sys.argv[1] == "refused":
    module._fork = lambda: (0, errno.EAGAIN)

def live(arguments):
    if arguments[0] == "stay":
        time.sleep(600)
    return int(arguments[0])

fork_server = ForkServer(live)
files = (os.open(os.devnull, os.O_RDWR), os.open(os.devnull, os.O_RDWR))

async def each(n):
    child = await fork_server.spawn([str(n), "", f"child-{n}"], files)
    await child.wait()
    return n, child.returncode

async def at_once():
    # One more asks in the very moment in which the one before is answered.
    tasks = []
    hear = fork_server._hear
    def hear_and_ask():
        if len(tasks) < 60:
            tasks.append(asyncio.ensure_future(each(len(tasks))))
        hear()
    fork_server._hear = hear_and_ask
    tasks.append(asyncio.ensure_future(each(0)))
    while len(tasks) < 60 or not all(task.done() for task in tasks):
        await asyncio.sleep(0.01)
    assert [task.result() for task in tasks] == [(n, n) for n in range(60)], [t.result() for t in tasks]

async def cancelled():
    asking = asyncio.ensure_future(fork_server.spawn(["stay", "", "child-stay"], files))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await each(7) == (7, 7)  # not the process that nobody waits for any more
    for _ in range(500):
        if not open(f"/proc/{fork_server.pid}/task/{fork_server.pid}/children").read():
            return  # and that one has ended
        await asyncio.sleep(0.01)
    raise AssertionError("a process that nobody waits for lives on")

async def refused():
    for _ in range(2):
        try:
            await each(1)
        except StateError as error:
            assert str(error) == "no process can be started: Resource temporarily unavailable", error
        else:
            raise AssertionError("nothing was raised")
    assert fork_server.lives

with fork_server:
    asyncio.run({"at_once": at_once, "cancelled": cancelled, "refused": refused}[sys.argv[1]]())
"""


@pytest.mark.parametrize("case", ["at_once", "cancelled", "refused"])
def test_everybody_gets_the_process_asked_for(tmp_path: Path, case: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), case],
        env={"PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
