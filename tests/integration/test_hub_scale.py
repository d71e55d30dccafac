"""Many tasks in one hub: what waits costs nothing, bounds hold over all tasks, and places are
shared fairly."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

from dth.hub.model import Progress, ScheduleType, Task
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.tasks import LocalTasks
from tests.engine import Side, wait_for
from tests.hub import Hub

TASKS = 300


def settings(folder: Path, text: str) -> None:
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "hub.yaml").write_text(text)


def waiting_tasks(data: Path, count: int, next_run: float) -> None:
    async def add() -> None:
        with HubDatabase.open(data / "hub.db") as database:
            for number in range(count):
                await LocalTasks(database).add(
                    Task(
                        f"00000000-0000-0000-0000-{number:012}",
                        "S3EC2",
                        ScheduleType.FIXED_RATE,
                        {"srcBucket": "a", "destBucket": "b", "scheduleRate": "1 day"},
                        progress=Progress.IN_PROGRESS,
                        created=time.time(),
                        next_run=next_run,
                    )
                )

    data.mkdir(mode=0o700)
    asyncio.run(add())


def looked_at(data: Path) -> int:
    """Tasks that the hub has looked at, and left alone."""
    with contextlib.closing(sqlite3.connect(data / "hub.db", timeout=30)) as database:
        found = database.execute("SELECT count(*) FROM task WHERE look_at IS NULL").fetchone()
    return int(found[0])


def test_what_waits_holds_no_database(tmp_path: Path) -> None:
    waiting_tasks(tmp_path / "data", TASKS, time.time() + 80_000)
    with Hub(tmp_path) as hub:
        process = Path(f"/proc/{hub.process.pid}")

        def held() -> tuple[int, int]:
            return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))

        most = [0, 0]
        while (
            looked_at(hub.data) < TASKS
        ):  # an older hub knew nothing of them: once they are looked at
            most = [max(pair) for pair in zip(most, held(), strict=True)]
            hub.call("{ hubInfo { version } }")
        assert most[0] < 150
        assert most[1] < 40
        wait_for(lambda: held()[0] < 50)
        hub.restart()
        hub.call("{ hubInfo { version } }")
        process = Path(f"/proc/{hub.process.pid}")
        assert held()[0] < 50


def test_the_bound_of_workers_is_that_of_all_tasks(tmp_path: Path, slow: tuple[Side, Side]) -> None:
    settings(tmp_path, "bounds: {tasks: 5, workers: 1}\n")
    with Hub(tmp_path) as hub:
        tasks = [hub.create(*slow, destPrefix=f"{number}", maxCapacity="4") for number in range(2)]
        most = 0
        while {hub.task(task)["progress"] for task in tasks} != {"DONE"}:
            most = max(
                most, len(hub.processes("dth-worker-1")) + len(hub.processes("dth-worker-2"))
            )
            # A worker lives for seconds. Asking all the time would take the hub's time.
            time.sleep(0.05)
        assert most == 1
        assert len(slow[1].listed()) == 200


def test_a_schedule_runs_while_long_tasks_fill_the_places(
    tmp_path: Path, slow: tuple[Side, Side], source: Side, dest: Side
) -> None:
    settings(tmp_path, "bounds: {tasks: 2, workers: 4}\n")
    with Hub(tmp_path) as hub:
        scheduled = hub.create(
            source, dest, once=False, destPrefix="scheduled", scheduleRate="1 day"
        )
        wait_for(lambda: [run["state"] for run in hub.runs(scheduled)] == ["DONE"])
        long = [hub.create(*slow, destPrefix=f"long{number}") for number in range(2)]
        wait_for(
            lambda: any("the maximum number of tasks" in hub.task(each)["reason"] for each in long)
        )
        make_due(hub, scheduled)
        wait_for(lambda: len(hub.runs(scheduled)) == 2)
        assert all(hub.task(each)["progress"] == "IN_PROGRESS" for each in long)


def test_a_run_that_cannot_begin_is_told(
    tmp_path: Path, slow: tuple[Side, Side], source: Side, dest: Side
) -> None:
    settings(tmp_path, "bounds: {tasks: 1, workers: 2}\n")
    with Hub(tmp_path) as hub:
        scheduled = hub.create(
            source,
            dest,
            once=False,
            destPrefix="scheduled",
            scheduleRate="1 day",
            alarmEmail="somebody@example.org",
        )
        wait_for(lambda: [run["state"] for run in hub.runs(scheduled)] == ["DONE"])
        long = hub.create(*slow, destPrefix="long")
        wait_for(lambda: hub.task(long)["progressInfo"]["run"] == 1)
        make_due(hub, scheduled, ago=400)
        with contextlib.closing(sqlite3.connect(hub.data / "hub.db", timeout=30)) as database:
            wait_for(lambda: database.execute("SELECT text FROM outbox").fetchall())
            [(text,)] = database.execute("SELECT text FROM outbox WHERE event = 'MISSED_SCHEDULE'")
        assert "the maximum number of tasks is already running" in text
        wait_for(lambda: len(hub.runs(scheduled)) == 2)
        [note] = [each for each in hub.runs(scheduled)[0]["notes"] if "seconds late" in each]
        assert "the maximum number of tasks was running" in note


def make_due(hub: Hub, task: str, ago: float = 1.0) -> None:
    """Let the schedule want a run now, as if `ago` seconds had passed since."""
    with contextlib.closing(sqlite3.connect(hub.data / "hub.db", timeout=30)) as database, database:
        database.execute("UPDATE task SET next_run = ? WHERE id = ?", (time.time() - ago, task))
