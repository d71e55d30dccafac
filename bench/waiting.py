"""A hub and its tasks: what they cost while nothing is due, when many are due at once, while many
copy; and what one run costs that finds nothing to copy.
"""

import asyncio
import contextlib
import json
import resource
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil

from bench.measure import dth
from bench.stores import sinks
from dth.cli.hub import ADDRESS_FILE
from dth.hub.client import HubClient, with_token
from dth.hub.model import Progress, Role, ScheduleType, Summary, Task
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.tasks import LocalTasks
from dth.platforms.local.tokens import LocalTokens
from tests.servers.null_s3 import NullS3

SETTLED = 30.0  # seconds after the start, until which a hub may look round
WATCHED = 60.0  # seconds
PAGES = 40
DESCRIPTORS = 1024  # a common soft limit, here the hard one as well
DUE = 100
LIST = "{ listTasksV2(page: 1, count: 20) { total items { id progress phase } } }"


@dataclass(frozen=True)
class Waiting:
    """`cpu` is a fraction of a core; `page` the CPU seconds of the hub for a page, 95 of 100 take
    less."""

    descriptors: int
    threads: int
    memory: int
    cpu: float
    page: float


@dataclass(frozen=True)
class AtOnce:
    """`last`: seconds from the moment when the runs were due until the last one had begun; `cpu`:
    seconds in all."""

    begun: int
    last: float
    cpu: float


@dataclass(frozen=True)
class AtWork:
    """`cpu`: seconds for each object, in all; `page` as above, while the tasks copy; `memory` of
    the hub's process."""

    seconds: float
    cpu: float
    page: float
    memory: int


@dataclass(frozen=True)
class Copy:
    """What each task copies; `dest` may name the task's number."""

    source_url: str
    source: str
    dest_url: str
    dest: str


class Hub:
    """`dth up` in a directory of its own, with few descriptors."""

    def __init__(self, data: Path) -> None:
        self.data = data
        (data / ADDRESS_FILE).unlink(missing_ok=True)
        self.process = subprocess.Popen(
            dth("up", "--data-dir", str(data), "--port", "0"),
            stdout=subprocess.DEVNULL,
            stderr=(data / "up.log").open("ab"),
            preexec_fn=lambda: resource.setrlimit(
                resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)
            ),
        )
        while not (data / ADDRESS_FILE).exists():
            if self.process.poll() is not None:
                raise RuntimeError((data / "up.log").read_text())
            time.sleep(0.05)
        token = asyncio.run(_token(data))
        self.client = HubClient(
            (data / ADDRESS_FILE).read_text().strip(), with_token(lambda: token)
        )
        self._main = psutil.Process(self.process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)

    def cpu(self) -> float:
        """Seconds of the hub and of all processes that it has had."""
        total = 0.0
        for each in (self._main, *self._main.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = each.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def own_cpu(self) -> float:
        """Seconds of the threads that the hub has."""
        nanoseconds = 0
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def page(self) -> float:
        """CPU seconds of the hub for a page of tasks."""
        began = self.own_cpu()
        self.client.call(LIST)
        return self.own_cpu() - began

    def keep_keys(self, *urls: str) -> None:
        """The secret that the tasks name, for the stores at these addresses."""
        value = json.dumps({"access_key_id": "test", "secret_access_key": "test"})
        self.client.call(
            """mutation ($value: String!, $hosts: [String!]) {
                createSecret(name: "keys", value: $value, hosts: $hosts) { name }
            }""",
            {"value": value, "hosts": [urlsplit(url).netloc for url in urls]},
        )

    def look(self) -> tuple[int, int, int]:
        return self._main.num_fds(), self._main.num_threads(), self._main.memory_info().rss


def waiting(count: int) -> Waiting:
    """Tasks that have run before and wait until tomorrow."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        data.chmod(0o700)
        _make(data, count, _same("http://127.0.0.1:9"))
        with Hub(data) as hub:
            peak = [0, 0, 0]
            watching = threading.Event()

            def watch() -> None:
                while not watching.wait(0.1):
                    peak[:] = map(max, zip(peak, hub.look(), strict=True))

            watcher = threading.Thread(target=watch)
            watcher.start()
            time.sleep(SETTLED)
            before = hub.cpu()
            time.sleep(WATCHED)
            cpu = (hub.cpu() - before) / WATCHED
            pages = [hub.page() for _ in range(PAGES)]
            watching.set()
            watcher.join()
        descriptors, threads, memory = peak
        return Waiting(descriptors, threads, memory, cpu, sorted(pages)[int(PAGES * 0.95)])


def at_once(count: int = DUE) -> AtOnce:
    """Runs that are due at one moment, each of which finds that nothing has changed."""
    with _store() as url, tempfile.TemporaryDirectory() as name:
        data = Path(name)
        data.chmod(0o700)
        names = _make(data, count, _same(url))
        with Hub(data) as hub:
            hub.keep_keys(url)
            time.sleep(SETTLED / 3)
            before, due = hub.cpu(), time.time() + 2
            _make_due(data, names, due)
            begun: list[float] = []
            while time.time() < due + 180 and len(begun) < count:
                time.sleep(1)
                begun = _begun(data, names)
            time.sleep(5)
            cpu = hub.cpu() - before
        return AtOnce(len(begun), max(begun, default=due) - due, cpu)


def at_work(tasks: int = 100, busy: int = 40, objects: int = 2_000) -> AtWork:
    """Some of a hub's tasks copy small objects at one time, while somebody looks at the list of
    tasks."""
    with sinks(objects, 10 * 1024) as stores, tempfile.TemporaryDirectory() as name:
        data = Path(name)
        data.chmod(0o700)
        copy = Copy(stores.source.url, "src", stores.dest.url, "dst-{number}")
        working = _make(data, tasks, copy)[:busy]
        with Hub(data) as hub:
            hub.keep_keys(stores.source.url, stores.dest.url)
            time.sleep(SETTLED / 3)
            before, began = hub.cpu(), time.time()
            _make_due(data, working, began)
            pages, memory, ended = [], 0, 0
            while ended < busy and time.time() < began + 900:
                time.sleep(0.5)
                pages.append(hub.page())
                memory = max(memory, hub.look()[2])
                states = [_first(data / "tasks" / task / "task.db")[1] for task in working]
                ended = states.count("DONE")
                if "FAILED" in states:
                    raise RuntimeError("a task failed: see its runs")
            seconds, cpu = time.time() - began, hub.cpu() - before
        if ended < busy:
            raise RuntimeError(f"{ended} of {busy} tasks have copied everything")
        return AtWork(
            seconds, cpu / (busy * objects), sorted(pages)[int(len(pages) * 0.95)], memory
        )


def unchanged(rounds: int = 20) -> tuple[float, float]:
    """CPU seconds of a run of 50 objects that are the same on both sides: in all, and of the hub's
    own process."""
    with _store() as url, tempfile.TemporaryDirectory() as name:
        data = Path(name)
        data.chmod(0o700)
        [task] = _make(data, 1, _same(url))
        with Hub(data) as hub:
            hub.keep_keys(url)
            _run(hub, data, task, 1)
            time.sleep(1)
            before, own = hub.cpu(), hub.own_cpu()
            for number in range(rounds):
                _run(hub, data, task, number + 2)
            time.sleep(1)
            return (hub.cpu() - before) / rounds, (hub.own_cpu() - own) / rounds


# ------------------------------------------------------------------------------------------ details


async def _token(data: Path) -> str:
    with HubDatabase.open(data / "hub.db") as database:
        return (await LocalTokens(database).create("bench", Role.ADMIN, 0.0, "bench"))[1]


@contextmanager
def _store() -> Iterator[str]:
    """A store with two buckets of 50 objects that are the same."""
    count = 50
    with NullS3() as store:
        contents = "".join(
            f"<Contents><Key>{number:05}</Key><Size>10</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{number:032x}&quot;</ETag><StorageClass>STANDARD</StorageClass></Contents>"
            for number in range(count)
        )
        page = (
            "<ListBucketResult "
            f'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><KeyCount>{count}</KeyCount>'
            f"<IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        )
        for bucket in ("photos", "archive"):
            (store.folder / bucket).mkdir()
            (store.folder / ".lists" / bucket).mkdir()
            (store.folder / ".lists" / bucket / "page.xml").write_text(page)
        yield store.url


def _same(url: str) -> Copy:
    """Two buckets of `_store`."""
    return Copy(url, "photos", url, "archive")


def _make_due(data: Path, names: list[str], due: float) -> None:
    with contextlib.closing(sqlite3.connect(data / "hub.db", timeout=30)) as database, database:
        database.executemany(
            "UPDATE task SET next_run = ? WHERE id = ?", [(due, name) for name in names]
        )


def _make(data: Path, count: int, copy: Copy) -> list[str]:
    """A hub's database with tasks that have run once and wait."""
    names = [str(uuid.UUID(int=number + 1)) for number in range(count)]
    with HubDatabase.open(data / "hub.db") as database:
        asyncio.run(_add(LocalTasks(database), names, copy))
    with contextlib.closing(sqlite3.connect(data / "hub.db")) as hub, hub:
        hub.execute("UPDATE task SET look_at = NULL")  # as a hub leaves them
    return names


async def _add(store: LocalTasks, names: list[str], copy: Copy) -> None:
    created = time.time() - 60
    for number, name in enumerate(names):
        dest = copy.dest.format(number=number)
        parameters = {
            "srcBucket": copy.source,
            "srcEndpoint": copy.source_url,
            "srcCredentials": "keys",
            "destBucket": dest,
            "destEndpoint": copy.dest_url,
            "destCredentials": "keys",
            "scheduleRate": "1 day",
        }
        await store.add(
            Task(
                name,
                "S3EC2",
                ScheduleType.FIXED_RATE,
                parameters,
                description=f"number {number}",
                progress=Progress.IN_PROGRESS,
                created=created,
                source=f"s3://{copy.source}/",
                destination=f"s3://{dest}/",
                next_run=created + 86_400,
                summary=Summary(
                    run=1, state="ENDED", last_run=1, last_result="DONE", last_ended=created
                ),
            )
        )


def _begun(data: Path, names: list[str]) -> list[float]:
    """When the first run of each of these tasks began, of those whose has."""
    found = [_first(data / "tasks" / name / "task.db") for name in names]
    return [started for started, _ in found if started]


def _first(path: Path) -> tuple[float, str]:
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_opened(path)) as database:
        row = database.execute("SELECT started, state FROM run ORDER BY id LIMIT 1").fetchone()
        return row or (0.0, "")
    return 0.0, ""


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)


def _run(hub: Hub, data: Path, task: str, number: int) -> None:
    """Start a run, the task's so many-th, and wait for its end."""
    hub.client.call("mutation ($id: ID!) { startRun(id: $id) { id } }", {"id": task})
    path = data / "tasks" / task / "task.db"
    states: list[str] = []
    while len(states) < number or states[-1] != "DONE":
        time.sleep(0.1)
        with contextlib.suppress(sqlite3.Error), contextlib.closing(_opened(path)) as database:
            states = [state for (state,) in database.execute("SELECT state FROM run ORDER BY id")]
    time.sleep(0.3)  # until the task rests
