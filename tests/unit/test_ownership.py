"""Whatever begins meanwhile, and whoever dies: an object in flight is copied once, by one run, and
settles that run.

The real queue, records, uploads, workers, events, redrives and controller in any order, over two
buckets that are dictionaries. Each request to them waits until the test lets it go, so that
everything else can come in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dth.core.errors import NoSuchUpload, ObjectChanged, ObjectRefused, SourceGone, Transient
from dth.core.ports.records import Enqueued, Page
from dth.core.ports.runs import Counts, RunKind, RunState
from dth.core.ports.status import Status
from dth.core.transport import Response
from dth.objects.controller import Controller
from dth.objects.listing.pages import KeyMap
from dth.objects.parameters import S3Parameters
from dth.objects.plugin import PLUGIN
from dth.objects.store import immediate_retry, pace
from dth.objects.store.capabilities import Capabilities
from dth.objects.store.checksums import Checksum
from dth.objects.store.endpoints import ChecksumMode, EtagKind, resolve_endpoint
from dth.objects.store.objects import StoreWrite
from dth.objects.transfer.messages import EventMessage, ObjectItem, encode, pack
from dth.objects.transfer.relay import ObjectRoute
from dth.objects.transfer.worker import ObjectWorker
from dth.platforms.local.platform import LocalPlatform, open_platform
from tests.redriving import redrive_failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from dth.core.ports.queue import Delivery
    from dth.core.ports.runs import Run

SMALL = ("a", "b", "c")
GIANTS = ("x", "y")
KEYS = (*SMALL, *GIANTS)
PART = 4  # bytes
WORKERS = ("worker-1", "worker-2")
CLOCKS = (
    "dth.core.clock",
    "dth.platforms.local.queue",
    "dth.platforms.local.records",
    "dth.platforms.local.uploads",
    "dth.objects.transfer.events",
)


class Clock:
    """Time as the test wants it."""

    now = 1_800_000_000.0

    def module(self) -> SimpleNamespace:
        return SimpleNamespace(
            time=lambda: self.now,
            monotonic=time.monotonic,
            gmtime=time.gmtime,
            strftime=time.strftime,
        )


def etag_of(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


@dataclass
class Bucket:
    """What is in a bucket, and what was done to it."""

    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)  # body and source ETag
    uploads: dict[str, tuple[str, str, dict[int, bytes]]] = field(default_factory=dict)
    puts: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    numbers: Any = field(default_factory=lambda: itertools.count(1))


class Gate:
    """Where a process waits before each of its requests, until it may go on."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, str, asyncio.Future[None]]] = []

    async def __call__(self, what: str, key: str) -> None:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((what, key, future))
        await future


class Free(Gate):
    """Nobody waits."""

    async def __call__(self, what: str, key: str) -> None:
        return


class Client:
    """What the engine asks of a client, over a `Bucket`."""

    bucket = "bucket"
    clock_offset = 0.0

    def __init__(self, bucket: Bucket, gate: Gate) -> None:
        self._bucket = bucket
        self._gate = gate
        self.capabilities = Capabilities(ChecksumMode.CRC64NVME, EtagKind.MD5, counts_tags=True)
        self.endpoint = resolve_endpoint(url="http://127.0.0.1:1")
        self.gate = pace.Gate()

    def note_clock(self, headers: Mapping[str, str]) -> None:
        """Its clock is right."""

    async def tags(self, key: str, *, attempts: int = 0) -> str:
        return ""

    async def is_listed(self, key: str) -> bool:
        return key in self._bucket.objects

    async def head(
        self, key: str, *, etag: str = "", checksums: bool = False, attempts: int = 0
    ) -> Response:
        body, source_etag = self._found(key, etag)
        headers = {"content-length": str(len(body)), "etag": f'"{etag_of(body)}"'}
        return Response(200, headers | {"x-amz-meta-dth-source-etag": source_etag})

    def _found(self, key: str, etag: str) -> tuple[bytes, str]:
        if key not in self._bucket.objects:
            raise SourceGone(f"no {key}", code="NoSuchKey")
        found = self._bucket.objects[key]
        if etag and etag_of(found[0]) != etag:
            raise ObjectChanged(f"another {key}")
        return found

    async def get(
        self, key: str, *, size: int, etag: str = "", span: tuple[int, int] | None = None
    ) -> Response:
        await self._gate("get", key)
        body, _ = self._found(key, etag)
        part = body[span[0] : span[1] + 1] if span else body
        return Response(200, {"etag": f'"{etag_of(body)}"'}, [part])

    async def put(
        self, key: str, chunks: list[bytes], headers: dict[str, str], **_: Any
    ) -> StoreWrite:
        await self._gate("put", key)
        body = b"".join(chunks)
        self._bucket.puts[key, body] += 1
        self._bucket.objects[key] = (body, etag_of(body))
        return StoreWrite(etag_of(body), md5=etag_of(body))

    async def delete(self, key: str, version: str = "") -> None:
        self._bucket.objects.pop(key, None)

    async def create_upload(self, key: str, headers: dict[str, str], **_: Any) -> str:
        await self._gate("create", key)
        number = f"upload-{next(self._bucket.numbers)}"
        self._bucket.uploads[number] = (key, headers["x-amz-meta-dth-source-etag"], {})
        return number

    async def upload_part(
        self, key: str, upload_id: str, number: int, chunks: list[bytes]
    ) -> StoreWrite:
        await self._gate("part", key)
        body = b"".join(chunks)
        self._upload(upload_id)[2][number] = body
        checksum = Checksum(ChecksumMode.CRC64NVME)
        checksum.update(body)
        return StoreWrite(
            etag_of(body), f"{ChecksumMode.CRC64NVME}:{checksum.base64()}", confirmed=True
        )

    async def complete_upload(
        self, key: str, upload_id: str, parts: list[tuple[int, str, str]]
    ) -> tuple[str, str]:
        await self._gate("complete", key)
        _, source_etag, bodies = self._upload(upload_id)
        del self._bucket.uploads[upload_id]
        body = b"".join(bodies[number] for number, _, _ in parts)
        self._bucket.puts[key, body] += 1
        self._bucket.objects[key] = (body, source_etag)
        return etag_of(body), ""

    async def abort_upload(self, key: str, upload_id: str) -> None:
        self._bucket.uploads.pop(upload_id, None)

    async def uploads(self, key: str) -> list[Any]:
        return [
            SimpleNamespace(key=key, upload_id=number, initiated=Clock.now + 1e9)
            for number, (of, _, _) in self._bucket.uploads.items()
            if of == key
        ]

    def _upload(self, upload_id: str) -> tuple[str, str, dict[int, bytes]]:
        if upload_id not in self._bucket.uploads:
            raise NoSuchUpload("no such upload")
        return self._bucket.uploads[upload_id]


def route_between(
    parameters: S3Parameters, source: Bucket, dest: Bucket, gate: Gate
) -> ObjectRoute:
    """A route between two dictionaries. What its stores are like is known, so that no request waits
    for another."""
    here: Any = Client(source, gate)
    there: Any = Client(dest, gate)
    nobody: Any = None
    return ObjectRoute(
        here,
        there,
        KeyMap(),
        parameters,
        pace.Budget(1 << 20),
        nobody,
        server_side=False,
        _first_write=pace.Scout(returned=True),
    )


class Killed(BaseException):
    """The process dies here."""


async def list_range(*_: Any) -> None:
    raise AssertionError("nothing is listed here")


class Fused:
    """A port whose calls run out: the process dies before the first one too many."""

    def __init__(self, port: Any, process: Process) -> None:
        self._port = port
        self._process = process

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._process.fuse == 0:
                raise Killed(name)
            self._process.fuse -= 1
            return await method(*args, **kwargs)

        return call


class Process:
    """A worker's life, a step at a time. All that the test knows of the inside of `ObjectWorker` is
    here."""

    def __init__(
        self, name: str, platform: LocalPlatform, route: Callable[[Gate], ObjectRoute]
    ) -> None:
        self.name = name
        self.fuse = -1  # calls until it dies; none while it is negative
        self.gate = Gate()
        ports = {
            port: Fused(getattr(platform, port), self) for port in ("queue", "records", "uploads")
        }
        shared = SimpleNamespace(**ports, limits=platform.limits, gauges=platform.gauges)
        self.queue = ports["queue"]
        self.worker: Any = ObjectWorker(
            name,
            route(self.gate),
            shared,  # type: ignore[arg-type]
            list_range,
        )
        self.tasks: set[asyncio.Task[None]] = set()
        self.held: dict[str, set[str]] = {}  # keys by message

    async def receive(self, limit: int) -> None:
        deliveries: list[Delivery] = await self.queue.receive(limit, 900.0, 0.0)
        for delivery in await self.worker._one_suspect(deliveries):
            self.held[delivery.id] = {key for key in KEYS if f'"{key}"' in delivery.body}
            await self.worker._accept(delivery)
        while not self.worker._todo.empty():
            self.tasks.add(asyncio.create_task(self._carry(*self.worker._todo.get_nowait())))
        await self.settle_down()

    async def _carry(self, work: Any, message: Any, index: int) -> None:
        await self.worker._handlers.carry(work, message, index)
        self.worker._finish_one(work)

    async def settle_down(self) -> None:
        """Until all that is in hand waits for a store, or has ended."""
        while True:
            self.gate.waiting = [each for each in self.gate.waiting if not each[2].done()]
            going = {task for task in self.tasks if not task.done()}
            if len(going) <= len(self.gate.waiting):
                break
            await asyncio.sleep(0)
        for task in self.tasks - going:
            task.result()
        self.tasks = going

    async def go(self, which: int, error: Exception | None) -> None:
        """Let one request go to its store."""
        _, _, future = self.gate.waiting[which % len(self.gate.waiting)]
        if error:
            future.set_exception(error)
        else:
            future.set_result(None)
        await asyncio.sleep(0)
        await self.settle_down()

    async def commit(self) -> None:
        await self.worker._commit()
        held = {work.delivery.id for work in self.worker._held}
        self.held = {name: keys for name, keys in self.held.items() if name in held}

    async def die(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.exits = contextlib.ExitStack()
        self.folder = Path(self.exits.enter_context(tempfile.TemporaryDirectory()))
        self.clock = Clock()
        for name in CLOCKS:
            self.exits.enter_context(mock.patch(f"{name}.time", self.clock.module()))
        at_once = replace(immediate_retry.POLICY, first=0.0)
        self.exits.enter_context(mock.patch("dth.objects.store.immediate_retry.POLICY", at_once))
        # What is left behind must not be mended before it is noticed.
        self.exits.enter_context(mock.patch("dth.objects.controller.MENDED", 0))
        self.loop = asyncio.new_event_loop()
        self.exits.callback(self.loop.close)
        self.platforms = {
            name: self.exits.enter_context(open_platform(self.folder, name))
            for name in (*WORKERS, "others")
        }
        self.others = self.platforms["others"]
        self.source, self.dest = Bucket(), Bucket()
        self.versions = itertools.count(1)
        self.sequencers = itertools.count(1)
        self.events: list[EventMessage] = []
        self.allowed: Counter[str] = Counter()  # more puts of one object than its versions
        self.pages: list[tuple[int, tuple[str, ...]]] = []  # still to be listed
        self.quiet: dict[str, int] = {}

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def route(self, gate: Gate) -> ObjectRoute:
        return route_between(self.parameters, self.source, self.dest, gate)

    @initialize(events=st.booleans())
    def begin(self, events: bool) -> None:
        self.follows = events
        values = {
            "src_bucket": "bucket",
            "dest_bucket": "dest",
            "src_event": "CreateAndDelete" if events else "No",
        }
        sizes = {"multipart_threshold": PART, "part_size": PART, "giant_object_threshold": 2 * PART}
        self.parameters = S3Parameters.model_validate(values).model_copy(update=sizes)
        self.exits.enter_context(
            mock.patch(
                "dth.objects.transfer.multipart.part_size_for", lambda size, wanted, most: wanted
            )
        )
        self.processes = {name: self.born(name) for name in WORKERS}
        for key in KEYS:
            self.put(key)

    def born(self, name: str) -> Process:
        return Process(name, self.platforms[name], self.route)

    # ------------------------------------------------------------------------------- what others do

    @rule(key=st.sampled_from(KEYS))
    def put(self, key: str) -> None:
        """An object is created, or created again."""
        version = next(self.versions)
        body = f"{key}{version:03}".encode() * (3 if key in GIANTS else 1)
        if key in SMALL:
            body = body[:PART]
        self.source.objects[key] = (body, "")
        self.happened("ObjectCreated:Put", {"key": key, "size": len(body), "eTag": etag_of(body)})

    @precondition(lambda self: self.follows)
    @rule(key=st.sampled_from(KEYS))
    def remove(self, key: str) -> None:
        """An object is deleted."""
        if self.source.objects.pop(key, None):
            self.happened("ObjectRemoved:Delete", {"key": key})

    def happened(self, name: str, thing: dict[str, Any]) -> None:
        number = next(self.sequencers)
        record = {
            "eventName": name,
            "eventTime": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.clock.now)),
            "s3": {"bucket": {"name": "bucket"}, "object": {**thing, "sequencer": f"{number:06X}"}},
        }
        if self.follows:
            self.events.append(EventMessage(f"event-{number}", [record]))

    @precondition(lambda self: self.events)
    @rule(which=st.integers(0, 99))
    def tell(self, which: int) -> None:
        """An event comes, in any order."""
        message = self.events.pop(which % len(self.events))
        self.do(self.others.queue.send([encode(message)]))
        key = message.records[0]["s3"]["object"]["key"]
        # One that comes when its object has arrived copies it once more.
        self.allowed[key] += 1

    @rule(seconds=st.sampled_from([1.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    # ---------------------------------------------------------------------------- runs and redrives

    @rule()
    def run(self) -> None:
        """A whole listing."""
        self.begin_run()
        while self.pages:
            self.list_page()

    @precondition(lambda self: not self.pages)
    @rule()
    def begin_run(self) -> None:
        run, resumed = self.do(self.others.records.begin_run(RunKind.SYNC, beside=True))
        if not resumed:
            self.pages += [(run.id, KEYS[:2]), (run.id, KEYS[2:])]

    @precondition(lambda self: self.pages)
    @rule()
    def list_page(self) -> None:
        """What `Finder` does with a page of the comparison."""
        run, keys = self.pages.pop(0)
        there = {key: found[0] for key, found in self.dest.objects.items()}
        listed = [key for key in keys if key in self.source.objects]
        differ = [key for key in listed if self.source.objects[key][0] != there.get(key)]
        items = [
            ObjectItem(key, len(body), etag_of(body))
            for key in differ
            for body in [self.source.objects[key][0]]
        ]
        # Giants are far below the size at which objects go alone.
        packed = list(pack(run, [item for item in items if item.key in SMALL]))
        packed += [message for item in items if item.key in GIANTS for message in pack(run, [item])]
        page = Page(Counts(listed=len(listed), same=len(listed) - len(items)))
        page.enqueued = [
            Enqueued(item.key, item.size, item.etag, message.id)
            for message in packed
            for item in message.items
        ]
        page.messages = [encode(message) for message in packed]
        self.do(self.others.records.commit(run, page))
        if not any(of == run for of, _ in self.pages):
            self.do(self.others.records.set_run(run, RunState.TRANSFERRING))

    @rule()
    def redrive(self) -> None:
        self.do(redrive_failed(PLUGIN, self.others, None))  # type: ignore[arg-type]

    # -------------------------------------------------------------------------------------- workers

    @rule(name=st.sampled_from(WORKERS), limit=st.integers(1, 3))
    def receive(self, name: str, limit: int) -> None:
        self.step(name, self.processes[name].receive(limit))

    @rule(name=st.sampled_from(WORKERS))
    def read(self, name: str) -> None:
        """Take what there is, and let every request that waits go to its store: the first ones
        read."""
        self.receive(name, 10)
        for _ in range(len(self.processes[name].gate.waiting)):
            self.go(name, 0)

    @precondition(lambda self: self.follows)
    @rule(key=st.sampled_from(KEYS), name=st.sampled_from(WORKERS), removed=st.booleans())
    def change(self, key: str, name: str, removed: bool) -> None:
        """An object changes, and the event is there at once."""
        (self.remove if removed else self.put)(key)
        if self.events:
            self.tell(len(self.events) - 1)
        self.receive(name, 10)
        self.commit(name)

    @rule(name=st.sampled_from(WORKERS), which=st.integers(0, 9))
    def go(self, name: str, which: int) -> None:
        if self.processes[name].gate.waiting:
            self.step(name, self.processes[name].go(which, None))

    @rule(
        name=st.sampled_from(WORKERS),
        which=st.integers(0, 9),
        error=st.sampled_from(
            [Transient("passing"), ObjectRefused("for good", code="AccessDenied")]
        ),
    )
    def fail(self, name: str, which: int, error: Exception) -> None:
        if self.processes[name].gate.waiting:
            self.step(name, self.processes[name].go(which, error))

    @rule(name=st.sampled_from(WORKERS))
    def commit(self, name: str) -> None:
        self.step(name, self.processes[name].commit())

    @rule(name=st.sampled_from(WORKERS), calls=st.integers(0, 4))
    def commit_and_die(self, name: str, calls: int) -> None:
        process = self.processes[name]
        process.fuse = calls
        self.step(name, process.commit())
        self.kill(name)

    @rule(name=st.sampled_from(WORKERS))
    def kill(self, name: str) -> None:
        process = self.processes[name]
        for keys in process.held.values():
            self.allowed.update(keys)
        self.do(process.die())
        self.do(self.others.queue.release_owner(name))
        self.do(self.others.uploads.release_owner(name))
        self.processes[name] = self.born(name)

    def step(self, name: str, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            with contextlib.suppress(Killed):
                await work

        self.do(guarded())

    # ----------------------------------------------------------------------------------- controller

    @rule()
    def check(self) -> None:
        controller = Controller(self.route(Free()), self.others, "controller", self.quiet)  # type: ignore[arg-type]
        self.do(controller.check())

    # ------------------------------------------------------------------------------- what must hold

    @invariant()
    def ledgers_never_count_too_much(self) -> None:
        for run in self.runs():
            counts = run.counts
            assert counts.listed == counts.same + counts.pending + counts.enqueued, counts
            assert counts.enqueued >= counts.done + counts.failed + counts.cancelled, counts

    def runs(self) -> list[Run]:
        found: list[Run] = self.do(self.others.records.list_runs(100))
        return found

    def teardown(self) -> None:
        try:
            if hasattr(self, "processes"):
                self.finish()
        finally:
            for process in getattr(self, "processes", {}).values():
                self.do(process.die())
            self.exits.close()

    def finish(self) -> None:
        """Everything comes to its end, and then it is as it must be."""
        self.drain()
        for _ in range(8):
            self.redrive()
            if not self.follows:  # else the events alone must bring everything
                self.begin_run()
            self.drain()
            if not self.do(self.failed()) and self.in_step():
                break
        for run in self.runs():
            assert run.counts.balanced, (run, self.do(self.left()))
        assert self.do(self.others.uploads.live()) == []
        assert self.dest.uploads == {}
        assert self.in_step()
        for (key, body), count in self.dest.puts.items():
            assert count <= 1 + self.allowed[key], (key, body, count, self.allowed)

    async def left(self) -> object:
        """What is still in progress."""
        pending, _ = await self.others.records.page(status=Status.PENDING)
        return pending, await self.others.queue.depth(), await self.others.uploads.live()

    async def failed(self) -> bool:
        failed, _ = await self.others.records.page(status=Status.FAILED)
        return bool(failed)

    def in_step(self) -> bool:
        here = {key: found[0] for key, found in self.source.objects.items()}
        return here == {key: found[0] for key, found in self.dest.objects.items()}

    def drain(self) -> None:
        """Work until nothing is left to do."""
        for turn in range(100):
            while self.events:
                self.tell(0)
            while self.pages:
                self.list_page()
            for name, process in self.processes.items():
                self.receive(name, 10)
                while process.gate.waiting:
                    self.go(name, 0)
                self.commit(name)
            self.clock.now += 70
            depth = self.do(self.others.queue.depth())
            idle = not depth.visible + depth.in_flight + depth.delayed
            if idle or turn % 5 == 0:
                self.check()
            if idle and all(run.counts.balanced for run in self.runs()):
                return


TestOwnership = Machine.TestCase
TestOwnership.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
