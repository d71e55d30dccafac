"""Several processes on one state directory, one of them killed."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Enqueued, Page
from dth.core.ports.runs import Counts, Cursor, RunKind
from dth.core.ports.status import Status
from dth.platforms.local.platform import open_platform

PREAMBLE = """
import asyncio, json, sys, time
from pathlib import Path
from dth.platforms.local.platform import open_platform
from dth.core.ports.records import Outcome
from dth.core.ports.status import Status
from dth.core.ports.uploads import GiantUpload

state, owner = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
input()
"""

WORKER = """
async def work():
    packs = 0
    with open_platform(state, owner) as platform:
        while deliveries := await platform.queue.receive(1, lease=300, wait=1):
            message = json.loads(deliveries[0].body)
            await platform.records.settle(
                [Outcome(key, message["run"], Status.DONE, bytes=10, dest_etag=owner) for key in message["keys"]]
            )
            packs += 1
            if owner == "victim" and packs == 2:  # settled, not deleted: the worst moment
                await platform.queue.receive(3, lease=300, wait=0)
                print("holding", flush=True)
                await asyncio.sleep(300)
            await platform.queue.delete(deliveries)
    print(packs)
asyncio.run(work())
"""

RACE = """
async def race():
    won = []
    with open_platform(state, owner) as platform:
        for n in range(100):
            if await platform.uploads.intend(GiantUpload(f"k{n}", 1, "e", 1, 1)):
                won.append(["intend", n])
                assert await platform.uploads.start(f"k{n}", "u", [], [])
        for n in range(100):
            while (await platform.uploads.get(f"k{n}")).state == "INTENT":
                pass
            if await platform.uploads.claim(f"k{n}", "u", owner, 300):
                won.append(["claim", n])
    print(json.dumps(won))
asyncio.run(race())
"""

LIMITED = """
async def take():
    granted, first = 0.0, time.time()
    with open_platform(state, owner) as platform:
        while time.time() < first + 2:
            lease = await platform.limits.lease("bytes", 100)
            granted += lease.granted
            await asyncio.sleep(min(lease.wait, 0.05))
    print(json.dumps([granted, first, time.time()]))
asyncio.run(take())
"""


def launch(code: str, state: Path, owners: Sequence[str]) -> list[subprocess.Popen[str]]:
    """Start one process for each owner; they begin together, when all are there."""
    command = [sys.executable, "-c", PREAMBLE + code, state]
    processes = [
        subprocess.Popen(
            [*command, owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for owner in owners
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return processes


def answers(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


async def test_nothing_is_lost_or_counted_twice_when_a_worker_is_killed(tmp_path: Path) -> None:
    objects, pack = 5000, 100
    keys = [f"key-{n:05}" for n in range(objects)]
    with open_platform(tmp_path, "supervisor") as platform:
        run, _ = await platform.records.begin_run(RunKind.SYNC)
        for first in range(0, objects, 1000):
            page = Page(Counts(listed=1000), [Cursor("c", 0, "", "", keys[first + 999])])
            for start in range(first, first + 1000, pack):
                chunk = keys[start : start + pack]
                page.messages.append(
                    Outgoing(f"m{start}", json.dumps({"run": run.id, "keys": chunk}))
                )
                page.enqueued += [Enqueued(key, 10, "e", f"m{start}") for key in chunk]
            await platform.records.commit(run.id, page)

        [victim] = launch(WORKER, tmp_path, ["victim"])
        assert victim.stdout is not None
        assert victim.stdout.readline() == "holding\n"
        others = launch(WORKER, tmp_path, ["w1", "w2", "w3"])
        victim.kill()
        victim.communicate()
        assert await platform.queue.release_owner("victim") == 4
        packs = sum(int(output) for output in answers(others))

        assert packs + 1 >= objects / pack
        depth = await platform.queue.depth()
        assert (depth.visible, depth.in_flight, depth.delayed) == (0, 0, 0)
        assert await platform.queue.receive_dead(10) == []
        counts = (await platform.records.get_run(run.id)).counts
        assert (counts.enqueued, counts.done, counts.done_bytes) == (objects, objects, objects * 10)
        assert [record.key async for record in platform.records.scan(status=Status.DONE)] == keys


def test_racing_processes_have_one_winner_even_on_a_new_file(tmp_path: Path) -> None:
    won = [
        tuple(win)
        for output in answers(launch(RACE, tmp_path, ["a", "b", "c"]))
        for win in json.loads(output)
    ]
    assert sorted(won) == sorted((what, n) for what in ("intend", "claim") for n in range(100))


def test_processes_share_one_rate(tmp_path: Path) -> None:
    with open_platform(tmp_path, "supervisor") as platform:
        asyncio.run(platform.limits.set_rates({"bytes": 1000}))
    taken = [json.loads(output) for output in answers(launch(LIMITED, tmp_path, ["a", "b"]))]
    granted = sum(took for took, _, _ in taken)
    seconds = max(last for _, _, last in taken) - min(first for _, first, _ in taken)
    assert granted <= 1000 * (seconds + 0.5)
    assert granted >= 1000 * seconds * 0.7
