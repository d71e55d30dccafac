"""The S3 engine under test: on one event loop of this process, or as the command.

Both check after every run what must hold whatever happened: the ledger balances, and what has
finished leaves nothing in the queue and no multipart upload at the destination.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import uvloop

from dth.cli.main import main
from dth.core import interrupts
from dth.core.errors import HubError
from dth.core.ports.queue import Delivery, Outgoing
from dth.core.ports.records import Record
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.core.retry_policy import RetryPolicy
from dth.core.transport import Transport
from dth.objects.controller import Controller
from dth.objects.finder import ObjectFinder
from dth.objects.parameters import S3Parameters
from dth.objects.store import immediate_retry
from dth.objects.task import open_route, shared_rates
from dth.objects.transfer.worker import ObjectWorker, Stalled
from dth.platforms.local.platform import LocalPlatform, open_platform
from dth.platforms.local.queue import LocalQueue
from tests.servers.process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import pytest

    from dth.objects.transfer.relay import ObjectRoute
    from tests.servers.s3 import S3Server

MIB = 1024 * 1024
# Sizes below what is allowed, so that tests move little: the stores here do not mind.
SIZES = ("multipart_threshold", "part_size", "giant_object_threshold", "memory_budget")
PARTED = {"multipart_threshold": MIB, "part_size": MIB}
GIANT = {**PARTED, "giant_object_threshold": 2 * MIB}
TWO_PARTS = 3 * MIB // 2  # bytes: by one worker with either of these settings
FOUR_PARTS = 7 * MIB // 2  # by all workers with GIANT
PARTED_OPTIONS = ("--multipart-threshold", "5M", "--part-size", "5M")
GIANT_OPTIONS = (*PARTED_OPTIONS, "--giant-object-threshold", "10M")
SECONDS = 90.0  # that any one run may take


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses that wait for better times."""
    quick = replace(immediate_retry.POLICY, first=0.01, last=0.05)
    monkeypatch.setattr("dth.objects.store.immediate_retry.POLICY", quick)
    monkeypatch.setattr("dth.objects.transfer.failures.LATER", RetryPolicy(0.04, 1.28))
    monkeypatch.setattr("dth.objects.transfer.failures.RELEASE_DELAY", 0.02)
    monkeypatch.setattr("dth.objects.transfer.failures.LONGEST_DELAY", 0.1)
    monkeypatch.setattr("dth.objects.controller.STALE", 0.5)
    monkeypatch.setattr("dth.objects.controller.GRACE", 0.5)
    receive = LocalQueue.receive

    async def receive_soon(
        queue: LocalQueue, limit: int, lease: float, wait: float
    ) -> list[Delivery]:
        return await receive(queue, limit, lease, min(wait, 0.1))

    monkeypatch.setattr(LocalQueue, "receive", receive_soon)


class Crash(BaseException):
    """Raise it where a process is to die. Its task ends, and is begun again as the supervisor
    would."""


@dataclass(frozen=True)
class Side:
    """A bucket of a server, or what is below a prefix of it."""

    server: S3Server
    bucket: str
    prefix: str = ""

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def direct(self) -> Side:
        """The same behind the proxy."""
        return replace(self, server=getattr(self.server, "upstream", self.server))

    def put(self, objects: Mapping[str, bytes], **headers: str) -> None:
        for key, body in objects.items():
            self.server.put(self.bucket, self.prefix + key, body, headers)

    def get(self, key: str) -> bytes:
        return self.server.get(self.bucket, self.prefix + key)

    def head(self, key: str) -> dict[str, str]:
        """The headers of a HEAD answer, names in lower case."""
        response = self.server.boto().head_object(Bucket=self.bucket, Key=self.prefix + key)
        return dict(response["ResponseMetadata"]["HTTPHeaders"])

    def listed(self) -> list[str]:
        """The keys there."""
        return [key.removeprefix(self.prefix) for key in self.server.keys(self.bucket, self.prefix)]

    def etags(self) -> dict[str, str]:
        found = self.server.objects(self.bucket, self.prefix)
        return {
            key.removeprefix(self.prefix): entry["ETag"].strip('"') for key, entry in found.items()
        }

    def contents(self) -> dict[str, bytes]:
        return {key: self.get(key) for key in self.listed()}

    def uploads(self) -> list[dict[str, Any]]:
        """Multipart uploads in progress."""
        answer = self.server.boto().list_multipart_uploads(Bucket=self.bucket, EncodingType="url")
        return list(answer.get("Uploads", []))


# --------------------------------------------------------------------------------------- in process


@dataclass
class Ran:
    """What became of a run."""

    run: Run
    records: dict[str, Record]
    resumed: bool = False
    paused: str = ""
    error: str = ""
    crashes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        return self.run.counts

    @property
    def notes(self) -> str:
        return "\n".join(self.run.notes)


class Keyring:
    """`SecretStore`: each side's secret holds the keys of its server, unless a test puts others
    there."""

    def __init__(self, **servers: S3Server) -> None:
        self.secrets = {
            name: {"access_key_id": server.access_key, "secret_access_key": server.secret_key}
            for name, server in servers.items()
        }

    def read(self, name: str) -> str:
        return json.dumps(self.secrets[name])


class Engine:
    """One task from one side to another. Its state stays between runs, as that of a task does."""

    def __init__(self, state: Path, source: Side, dest: Side, **parameters: Any) -> None:
        self.state = state
        self.source = source
        self.dest = dest
        self.keyring = Keyring(source=source.server, dest=dest.server)
        self.parameters = {
            "src_bucket": source.bucket,
            "src_prefix": source.prefix,
            "src_endpoint": source.server.url,
            "src_credentials": "source",
            "dest_bucket": dest.bucket,
            "dest_prefix": dest.prefix,
            "dest_endpoint": dest.server.url,
            "dest_credentials": "dest",
            "dest_keeps_src_prefix": False,
            "dest_storage_class": None,
            "dest_acl": None,
            "memory_budget": 64 * MIB,
            **parameters,
        }
        self.platform: LocalPlatform
        self.workers: dict[str, ObjectWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def run(
        self,
        *,
        workers: int = 1,
        controller: bool = True,
        messages: Sequence[Outgoing] = (),
        during: Callable[[Engine], Awaitable[None]] | None = None,
        stray_uploads: int = 0,
        **changes: Any,
    ) -> Ran:
        """Run until everything is settled, the task pauses, or the run fails.

        `messages` are in the queue beforehand; `during` runs at the same time, and when it ends
        before that, so does everything, unfinished; `changes` are other parameters than the
        engine's own.
        """
        parameters = self._parameters(changes)
        ran = uvloop.run(self._run(parameters, workers, controller, messages, during))
        check_ledger(ran.counts, finished=ran.run.state is RunState.DONE)
        if ran.run.state is RunState.DONE:
            assert len(self.dest.direct.uploads()) == stray_uploads
        return ran

    def _parameters(self, changes: Mapping[str, Any]) -> S3Parameters:
        values = {**self.parameters, **changes}
        sizes = {name: values.pop(name) for name in SIZES if name in values}
        return S3Parameters.model_validate(values).model_copy(update=sizes)

    async def _run(
        self,
        parameters: S3Parameters,
        workers: int,
        controller: bool,
        messages: Sequence[Outgoing],
        during: Callable[[Engine], Awaitable[None]] | None,
    ) -> Ran:
        self._over = asyncio.Event()
        async with self.open("supervisor") as self.platform:
            records = self.platform.records
            await records.resume()
            run, resumed = await records.begin_run(RunKind.SYNC)
            await self.platform.limits.set_rates(shared_rates(parameters))
            await self.platform.queue.send(messages)
            names = ["finder", *(["controller"] if controller else [])]
            names += [f"worker-{n}" for n in range(1, workers + 1)]
            for name in names:
                await self.release(name)
                self._begin(name, parameters, run)
            guest = asyncio.ensure_future(during(self)) if during else None
            ran = Ran(run, {}, resumed)
            try:
                async with asyncio.timeout(SECONDS):
                    finished = await self._watch(parameters, ran, guest)
            except TimeoutError:
                now = await records.get_run(run.id)
                depth, live = await self.platform.queue.depth(), await self.platform.uploads.live()
                ended = {name: task.done() for name, task in self._tasks.items()}
                raise AssertionError(
                    f"the run does not end: {now}, {depth}, {live}, {ended}"
                ) from None
            finally:
                if guest:
                    guest.cancel()
                    await asyncio.gather(guest, return_exceptions=True)
                await self._end()
            if finished:
                await self._check_finished()
                for each in await records.list_runs():
                    if each.state not in (RunState.DONE, RunState.FAILED):
                        await records.set_run(each.id, RunState.DONE)
            ran.run = (await records.list_runs())[0]
            ran.records = {record.key: record async for record in records.scan()}
            return ran

    async def _watch(
        self, parameters: S3Parameters, ran: Ran, guest: asyncio.Future[None] | None
    ) -> bool:
        """Wait for the end, starting again what crashed. Returns whether all is settled."""
        records = self.platform.records
        while True:
            for name, task in list(self._tasks.items()):
                if not task.done():
                    continue
                assert not task.cancelled(), f"{name} was cancelled, by nobody"
                problem = task.exception()
                if isinstance(problem, Crash | Stalled):
                    ran.crashes.append(name)
                    await self.release(name)
                    self._begin(name, parameters, await records.get_run(ran.run.id))
                elif name == "finder" and isinstance(problem, HubError):
                    ran.error = str(problem)
                elif problem is not None:
                    raise problem
            ran.paused = await records.paused()
            runs = await records.list_runs()
            if ran.paused or runs[0].state is RunState.FAILED:
                return False
            if guest and guest.done():
                guest.result()
                if ran.error or not all(run.counts.balanced for run in runs):
                    return False
            finder = self._tasks["finder"]
            if (
                finder.done()
                and not finder.exception()
                and all(run.counts.balanced for run in runs)
            ):
                depth = await self.platform.queue.depth()
                if depth.visible + depth.in_flight + depth.delayed == 0:
                    return True
            await asyncio.sleep(0.02)

    async def _check_finished(self) -> None:
        assert not await self.platform.queue.receive_dead(1)
        live = await self.platform.uploads.live()
        assert not live, live

    # Processes

    def _begin(self, name: str, parameters: S3Parameters, run: Run) -> None:
        self._tasks[name] = asyncio.create_task(self._process(name, parameters, run))

    async def _process(self, name: str, parameters: S3Parameters, run: Run) -> None:
        async with self.opened(name, parameters) as (route, platform):
            if name == "finder":
                await ObjectFinder(route, platform, self.state).run(run)
            elif name == "controller":
                controller = Controller(route, platform, name)
                while not self._over.is_set():
                    await controller.check()
                    await asyncio.sleep(0.1)
                await controller.check()
            else:
                self.workers[name] = ObjectWorker(
                    name, route, platform, ObjectFinder(route, platform, self.state).help
                )
                await self.workers[name].run()

    @contextlib.asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[LocalPlatform]:
        """The platform, as the process of this name opens it."""
        with open_platform(self.state, name) as platform:
            yield platform

    async def release(self, name: str) -> None:
        """The process of this name is dead: what it had taken is free."""
        await self.platform.release_owner(name)

    @contextlib.asynccontextmanager
    async def opened(
        self, name: str, parameters: S3Parameters | None = None
    ) -> AsyncIterator[tuple[ObjectRoute, LocalPlatform]]:
        """The route and the platform, as a process has them."""
        parameters = parameters or self._parameters({})
        transport = Transport()
        try:
            async with self.open(name) as platform:
                yield (
                    await open_route(parameters, transport, self.keyring, platform.limits),
                    platform,
                )
        finally:
            transport.close()

    async def _end(self) -> None:
        """Drain the workers, then let the controller look once more, then end."""
        for worker in self.workers.values():
            worker.stop()
        self._tasks["finder"].cancel()
        workers = [task for name, task in self._tasks.items() if name.startswith("worker")]
        await asyncio.wait(workers, timeout=10)
        self._over.set()
        if "controller" in self._tasks:
            await asyncio.wait({self._tasks["controller"]}, timeout=10)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self.workers.clear()
        self._tasks.clear()


def check_ledger(counts: Counts, *, finished: bool) -> None:
    """What a run's counters always add up to, and what they add up to at its end."""
    taken = counts.filtered + counts.same + counts.archived + counts.pending + counts.enqueued
    assert counts.listed == taken, counts
    settled = counts.done + counts.failed + counts.cancelled
    deletes = counts.deleted + counts.delete_kept + counts.delete_failed
    assert counts.enqueued >= settled, counts
    assert counts.delete_enqueued >= deletes, counts
    if finished:
        assert counts.enqueued == settled, counts
        assert counts.delete_enqueued == deletes, counts


# -------------------------------------------------------------------------------------- the command


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    # Without the lines of progress: how many there are depends on how busy this machine is.
    err: str
    progress: list[str] = field(default_factory=list)

    @property
    def json(self) -> dict[str, Any]:
        """The one object that `--json` prints."""
        found: dict[str, Any] = json.loads(self.out)
        return found


# A line that a command without a terminal prints every few seconds.
PROGRESS_LINE = re.compile(r"(listing \d+|[a-z]+): \d+/\d+ [a-z]+, ")


class Dth:
    """The `dth` command with a home of its own. No run of it may show a traceback, or leave one in
    a log."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.states = home / "states"
        self.env = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
            "DTH_STATE_DIR": str(self.states),
            "DTH_SECRETS_DIR": str(home / "secrets"),
            "DTH_DEBUG": "",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "PYTHONPATH": str(REPOSITORY / "src"),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
        }

    def secret(self, name: str, access_key: str, secret_key: str) -> str:
        """Keep access keys under this name."""
        return self.keep_secret(name, access_key_id=access_key, secret_access_key=secret_key)

    def keep_secret(self, name: str, **fields: str) -> str:
        folder = self.home / "secrets"
        folder.mkdir(exist_ok=True)
        file = folder / f"{name}.json"
        file.write_text(json.dumps(fields))
        file.chmod(0o600)
        return name

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Begin a command, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "dth", *map(str, arguments)],
            env={**os.environ, **self.env},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **{"stderr": subprocess.PIPE, **options},
        )

    def end(self, process: subprocess.Popen[str], seconds: float = SECONDS) -> Done:
        """Wait for a command that was begun."""
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"the command does not end: {out}\n{err}\n{self.logs()}") from None
        lines = err.splitlines(keepends=True) if err else []
        progress = [line.rstrip() for line in lines if PROGRESS_LINE.match(line)]
        told = "".join(line for line in lines if not PROGRESS_LINE.match(line))
        return self._checked(Done(process.returncode, out, told, progress))

    def run(self, *arguments: str | Path, **options: Any) -> Done:
        return self.end(self.start(*arguments, **options))

    def here(self, *arguments: str | Path) -> Done:
        """The same in this process: for commands that start no others, and for what fails
        before."""
        out, err = io.StringIO(), io.StringIO()
        handlers = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
        # A command sets its own, which would stay for the tests that follow.
        mask = os.umask(0o077)
        with (
            mock.patch.dict(os.environ, self.env),
            mock.patch.object(sys, "argv", ["dth", *map(str, arguments)]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                os.umask(mask)
        return self._checked(Done(code, out.getvalue(), err.getvalue()))

    def sync(self, source: Side, dest: Side, *options: str | Path, code: int = 0) -> dict[str, Any]:
        """`dth s3 sync --json` as a process of its own; checks exit code and ledger, and returns
        the object."""
        return self.outcome(
            self.run("s3", "sync", *between(source, dest), "--json", *options), code
        )

    def outcome(self, done: Done, code: int = 0) -> dict[str, Any]:
        assert done.code == code, (done, self.logs())
        found = done.json
        check_ledger(counts_of(found), finished=not found["error"])
        return found

    def logs(self) -> str:
        """All that processes of this home left on standard error."""
        texts = [log.read_text(errors="replace") for log in sorted(self.home.rglob("logs/*.log"))]
        return "".join(texts)

    def _checked(self, done: Done) -> Done:
        said = done.out + done.err + self.logs()
        assert "Traceback" not in said, said
        assert "internal error" not in said, said
        return done


def between(source: Side, dest: Side) -> list[str]:
    """The arguments that name both sides."""
    urls = [source.url, dest.url]
    return [*urls, "--src-endpoint-url", source.server.url, "--dst-endpoint-url", dest.server.url]


def counts_of(found: Mapping[str, Any]) -> Counts:
    """The ledger in a command's JSON object. Deletes have none there."""
    names = ("listed", "filtered", "same", "archived", "pending", "enqueued", "cancelled", "failed")
    return replace(Counts(done=found["transferred"]), **{name: found[name] for name in names})


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return when it holds.

    Looks more and more rarely: many conditions ask a hub, and asking all the time keeps it from
    its work."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    while not condition():
        assert time.monotonic() < deadline, "it does not come to pass"
        time.sleep(pause)
        pause = min(1.1 * pause, 0.05)


def blob(size: int, seed: int = 0) -> bytes:
    """So many bytes that do not repeat soon."""
    line = b"".join(b"%08d:%08x\n" % (seed, n) for n in range(4096))
    return (line * (size // len(line) + 1))[:size]


def bodies(keys: Iterable[str]) -> dict[str, bytes]:
    """A small body of its own for each key."""
    return {key: f"body of {key!r}".encode() for key in keys}
