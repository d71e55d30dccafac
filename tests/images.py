"""A task for images on one event loop: real registries, real skopeo, faults in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dth.core.errors import UsageError
from dth.core.ports.images import ImageRecord
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.core.ports.status import Status
from dth.core.retry_policy import RetryPolicy
from dth.core.transport import Transport
from dth.images import worker
from dth.images.finder import ImageFinder
from dth.images.parameters import EcrParameters
from dth.images.plugin import PLUGIN
from dth.images.registry import client as registry
from dth.images.registry import pace
from dth.images.registry.aws import AwsAccess
from dth.images.registry.control import EcrControl
from dth.images.registry.pace import paces_of
from dth.images.task import ImageRoute, open_route
from dth.images.worker import ImageWorker
from dth.platforms.local.platform import LocalPlatform, open_platform
from tests.hub import balanced
from tests.redriving import redrive_failed
from tests.servers.registry import PASSWORD, USER, EcrServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import pytest

SECONDS = 40.0  # that any one run may take
JSON = {"Content-Type": "application/json"}


def said(code: str, message: str = "injected") -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses that wait for better times."""
    monkeypatch.setattr(pace, "PAUSES", replace(pace.PAUSES, first=0.02))
    monkeypatch.setattr(pace, "SLOWEST", 50.0)
    monkeypatch.setattr(worker, "AGAIN", RetryPolicy(0.02, 0.08))
    monkeypatch.setattr(worker, "LOOK", 0.05)
    monkeypatch.setattr(worker, "WAIT", 0.1)
    monkeypatch.setattr(registry, "POLICY", replace(registry.POLICY, first=0.01))
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


# A secret with credentials for AWS.
KEYS = json.dumps({"access_key_id": "a", "secret_access_key": "b"})


class Secrets(dict[str, str]):
    """Named secrets in memory."""

    def read(self, name: str) -> str:
        if name not in self:
            raise UsageError(f"there is no secret {name!r}")
        return self[name]


def control_of(ecr: EcrServer) -> EcrControl:
    """The control plane of such a registry."""
    return EcrControl(AwsAccess(ecr.region, ecr.url, "keys"), Secrets(keys=KEYS))


@dataclass
class Ran:
    """What became of a run."""

    run: Run
    images: dict[str, ImageRecord]

    @property
    def counts(self) -> Counts:
        return self.run.counts

    @property
    def statuses(self) -> dict[str, Status]:
        return {key: each.status for key, each in self.images.items()}

    @property
    def reasons(self) -> dict[str, str]:
        """Why each has failed; its status where it has not."""
        return {key: each.reason or each.status.value for key, each in self.images.items()}


class Engine:
    """One task. Its state stays between runs, as that of a task does."""

    def __init__(self, state: Path, source: Any, dest: Any, **parameters: Any) -> None:
        self.state = state
        self.secrets = Secrets(
            login=json.dumps({"username": USER, "password": PASSWORD}),
            keys=KEYS,
        )
        self.parameters = {**_side("src", source), **_side("dest", dest), **parameters}
        self.changes: dict[str, Any] = {}  # of parameters, to what the model does not allow
        self.patience = (
            0.0  # seconds for which a request waits for its registry; 0: as a process has it
        )

    @property
    def task(self) -> EcrParameters:
        return EcrParameters.model_validate(self.parameters).model_copy(update=self.changes)

    @contextlib.asynccontextmanager
    async def opened(self, name: str) -> AsyncIterator[tuple[ImageRoute, LocalPlatform]]:
        """As a process has them."""
        with open_platform(self.state, name) as platform, Transport() as transport:
            if self.patience:
                paces_of(transport).patience = self.patience
            yield await open_route(self.task, transport, self.secrets), platform

    async def find(self) -> Run:
        """Begin a run, and plan for it."""
        async with self.opened("finder") as (route, platform):
            run, _ = await platform.records.begin_run(RunKind.SYNC, beside=True)
            await ImageFinder(route, platform).run(run)
            return await platform.records.get_run(run.id)

    async def work(self, until: Callable[[LocalPlatform], Awaitable[bool]] | None = None) -> None:
        """Let a worker work until all runs are settled, or this holds; then stop it."""
        async with self.opened("worker-1") as (route, platform):
            working = ImageWorker("worker-1", route, platform)
            task = asyncio.create_task(working.run())
            try:
                async with asyncio.timeout(SECONDS):
                    while not task.done() and not await (until or settled)(platform):  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
            finally:
                working.stop()
                await task

    async def run(self) -> Ran:
        run = await self.find()
        await self.work()
        return await self.ended(run.id)

    async def ended(self, run: int) -> Ran:
        """What became of it: the ledger balances, every image has a record that says the same,
        nothing is left."""
        with open_platform(self.state, "test") as platform:
            await platform.records.set_run(run, RunState.DONE)
            found = await platform.records.get_run(run)
            images = {each.key: each for each in await platform.images.page(run, limit=10_000)}
            depth = await platform.queue.depth()
            records = {record.key: record async for record in platform.records.scan(run=run)}
        balanced({name: getattr(found.counts, name) for name in Counts.__dataclass_fields__})
        assert depth.visible + depth.in_flight + depth.delayed == 0
        assert Status.PENDING not in {each.status for each in images.values()}, images
        for key, record in records.items():
            assert (images[key].status, images[key].reason) == (record.status, record.reason)
            assert images[key].dest_digest == record.dest_etag
            assert images[key].ended or record.status is Status.FAILED
        return Ran(found, images)

    async def redrive(self, **which: Any) -> int:
        with open_platform(self.state, "hub") as platform:
            return await redrive_failed(PLUGIN, platform, self.task, **which)


def _side(start: str, server: Any) -> dict[str, Any]:
    type_ = "source_type" if start == "src" else "dest_type"
    if isinstance(server, EcrServer):
        return {
            type_: "Amazon_ECR",
            f"{start}_region": server.region,
            f"{start}_endpoint": server.url,
            f"{start}_credential": "keys",
        }
    host = server.url.partition("//")[2]
    return {type_: "Registry", f"{start}_registry": host, f"{start}_credential": "login"}


async def settled(platform: LocalPlatform) -> bool:
    """Nothing is in progress."""
    depth = await platform.queue.depth()
    return depth.visible + depth.in_flight + depth.delayed == 0
