"""The platforms that the suites hold to the contract, and how the suites reach them.

To add a platform: write a class with the methods of `PlatformUnderTest`, and add it to `PLATFORMS`.
Every suite then runs on it; no test needs a change.
"""

from __future__ import annotations

import io
import itertools
import os
import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import pytest

from dth.core.errors import HubError
from dth.hub.model import Role
from dth.hub.webhooks import post_once
from dth.platforms.aws import platform as aws_platform
from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.hub.jobs import AwsJobs
from dth.platforms.aws.hub.logs import AwsLogs
from dth.platforms.aws.hub.metrics import AwsMetrics
from dth.platforms.aws.hub.notifications import AwsNotifications
from dth.platforms.aws.hub.secrets import AwsHubSecrets
from dth.platforms.aws.hub.stores import AwsStores
from dth.platforms.aws.hub.tables import HUB_TABLES
from dth.platforms.aws.hub.tasks import AwsAudit, AwsTasks
from dth.platforms.aws.hub.tokens import AwsTokens
from dth.platforms.aws.hub.users import AwsUsers
from dth.platforms.aws.tables import create_table
from dth.platforms.local import hub_migrations
from dth.platforms.local import platform as local_platform
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.jobs import LocalJobs
from dth.platforms.local.journal import encode_line
from dth.platforms.local.logs import LocalLogs
from dth.platforms.local.metrics import LocalMetrics
from dth.platforms.local.notifier import Notifier
from dth.platforms.local.secrets import LocalSecrets
from dth.platforms.local.stores import LocalStores
from dth.platforms.local.tasks import LocalAudit, LocalTasks
from dth.platforms.local.tokens import LocalTokens
from dth.platforms.local.users import LocalUsers
from dth.platforms.local.vault import open_vault
from tests.aws.cloud import Calls, drop_task, make_task
from tests.aws.task import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from dth.core.ports.platform import Platform
    from dth.hub.ports import (
        Audit,
        Jobs,
        Logs,
        Metrics,
        Notifications,
        Secrets,
        Stores,
        Tasks,
        Users,
    )
    from dth.platforms.local.fork_server import ForkServer
    from dth.platforms.local.sql import SqlDatabase
    from tests.servers.ministack import MiniStack
    from tests.servers.postgres import Postgres

_numbers = itertools.count()


@dataclass
class OpenTask:
    """A task as one process of it sees it. `beside` opens it as another process that works on it,
    too."""

    platform: Platform
    beside: Callable[[str], AbstractAsyncContextManager[Platform]]


@dataclass
class OpenHub:
    """The ports of a hub, and what only a platform's own processes do to them."""

    tasks: Tasks
    audit: Audit
    tokens: LocalTokens | AwsTokens
    secrets: Secrets
    stores: Stores
    users: Users
    notifications: Notifications
    metrics: Metrics
    logs: Logs
    jobs: Jobs
    # Sends the notifications that wait and are due.
    deliver: Callable[[], Awaitable[object]]
    # Writes lines to a stream of a task, one per second and up to now, as the task's processes do.
    log: Callable[[str, str, list[str]], None]
    # Does the work of a certificate that was begun, where the platform does it, until its job has
    # ended.
    certify: Callable[[str, Callable[[], Awaitable[dict[str, Any]]]], Awaitable[None]]


class PlatformUnderTest(Protocol):
    """What the suites ask of a platform."""

    # The module attribute by which its `Limits` ask what time it is.
    clock: str

    def task(self) -> AbstractAsyncContextManager[OpenTask]:
        """A new task, without records and messages. Its queue delivers a message five times at
        most."""
        ...


class HubUnderTest(Protocol):
    """Opens the ports of a hub on one platform."""

    def hub(self) -> AbstractAsyncContextManager[OpenHub]:
        """A new hub, without tasks, users and secrets."""
        ...


class Local:
    """SQLite in a folder of the test."""

    clock = "dth.platforms.local.limits.time"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._folder: Path = request.getfixturevalue("tmp_path")
        make_quick(request)

    @asynccontextmanager
    async def task(self) -> AsyncIterator[OpenTask]:
        async with self._open("w1") as platform:
            yield OpenTask(platform, self._open)

    @asynccontextmanager
    async def _open(self, process: str) -> AsyncIterator[Platform]:
        with local_platform.open_platform(self._folder, process) as opened:
            yield opened

    @asynccontextmanager
    async def hub(self) -> AsyncIterator[OpenHub]:
        with HubDatabase.open(self._folder / "hub.db") as database:
            async with open_sql_hub(database, self._folder) as opened:
                yield opened


class OnAws:
    """MiniStack: SQS, DynamoDB, Cognito, SNS, CloudWatch, Secrets Manager."""

    clock = "dth.platforms.aws.limits.time"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._cloud: MiniStack = request.getfixturevalue("cloud")
        monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setattr("dth.platforms.aws.queue.DEAD_LEASE", 1)

    @asynccontextmanager
    async def task(self) -> AsyncIterator[OpenTask]:
        names = make_task(self._cloud)

        def beside(process: str) -> AbstractAsyncContextManager[Platform]:
            return aws_platform.open_platform(names, process, io.StringIO())

        async with beside("w1") as platform:
            yield OpenTask(platform, beside)
        drop_task(self._cloud, names)

    @asynccontextmanager
    async def hub(self) -> AsyncIterator[OpenHub]:
        prefix = f"hub-{os.getpid()}-{next(_numbers)}"
        for name, table in HUB_TABLES.items():
            self._cloud.boto("dynamodb").create_table(**create_table(f"{prefix}-{name}", table))
        cognito = self._cloud.boto("cognito-idp")
        pool = cognito.create_user_pool(PoolName=prefix)["UserPool"]["Id"]
        for role in Role:
            cognito.create_group(GroupName=role.value, UserPoolId=pool)
        topic = self._cloud.boto("sns").create_topic(Name=prefix)["TopicArn"]
        aws = Aws(self._cloud.region, self._cloud.url)
        dynamo = Dynamo(aws, {name: f"{prefix}-{name}" for name in HUB_TABLES})
        # A stand-in for the functions that do jobs: what they do is tested with their stack.
        calls = Calls()
        calls.watch(aws)
        calls.on(lambda operation, _: {} if operation == "invoke" else None)
        users, jobs = AwsUsers(aws, pool), AwsJobs(aws, dynamo, "does-jobs", "certifies")
        notifications = AwsNotifications(aws, dynamo, topic)

        async def certify(id: str, work: Callable[[], Awaitable[dict[str, Any]]]) -> None:
            try:
                await jobs.end(id, await work())
            except HubError as error:
                await jobs.end(id, None, str(error))

        async def no_machines(task: str) -> str:
            return ""

        yield OpenHub(
            AwsTasks(dynamo),
            AwsAudit(dynamo),
            AwsTokens(dynamo, users),
            AwsHubSecrets(aws, dynamo, prefix),
            AwsStores(dynamo),
            users,
            notifications,
            AwsMetrics(aws, dynamo, no_machines),
            AwsLogs(aws, prefix),
            jobs,
            deliver=notifications.deliver,
            log=partial(self._log, prefix),
            certify=certify,
        )
        aws.close()

    def _log(self, prefix: str, task: str, stream: str, lines: list[str]) -> None:
        client, group = self._cloud.boto("logs"), f"{prefix}/{task}"
        with suppress(client.exceptions.ResourceAlreadyExistsException):
            client.create_log_group(logGroupName=group)
        client.create_log_stream(logGroupName=group, logStreamName=stream)
        first = int((time.time() - len(lines)) * 1000)
        events = [
            {"timestamp": first + 1000 * number, "message": text}
            for number, text in enumerate(lines)
        ]
        client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


class OnPostgres:
    """A database of a PostgreSQL that the tests start."""

    clock = "dth.core.clock.time"

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._server: Postgres = request.getfixturevalue("postgres")
        self._folder: Path = request.getfixturevalue("tmp_path")
        make_quick(request)

    @asynccontextmanager
    async def task(self) -> AsyncIterator[OpenTask]:
        # Its driver is an extra.
        from dth.platforms.postgres import platform as postgres_platform

        address = self._server.database()

        def beside(process: str) -> AbstractAsyncContextManager[Platform]:
            return postgres_platform.open_platform(address, "task", process)

        async with beside("w1") as platform:
            yield OpenTask(platform, beside)
        self._server.drop(address)

    @asynccontextmanager
    async def hub(self) -> AsyncIterator[OpenHub]:
        # Its driver is an extra.
        from dth.platforms.postgres.hub_database import PostgresHubDatabase

        address = self._server.database()
        with PostgresHubDatabase.open(address, hub_migrations.prepare) as database:
            async with open_sql_hub(database, self._folder) as opened:
                yield opened
        self._server.drop(address)


def make_quick(request: pytest.FixtureRequest) -> None:
    """For this test, a hub over SQL hashes passwords quickly, and sends notices at once."""
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    monkeypatch.delenv("DTH_KEY", raising=False)
    monkeypatch.setattr("dth.platforms.local.users.COST", (4, 8, 1))
    monkeypatch.setattr("dth.platforms.local.notifier.BATCH", 0)


@asynccontextmanager
async def open_sql_hub(database: SqlDatabase, folder: Path) -> AsyncIterator[OpenHub]:
    """A hub with its tables in this database, and its files in this folder."""
    vault = open_vault(folder)
    notifier = Notifier(database, vault, None, post_once)
    jobs = LocalJobs(database, folder / "jobs", cast("ForkServer", None))
    yield OpenHub(
        LocalTasks(database),
        LocalAudit(database),
        LocalTokens(database),
        LocalSecrets(database, vault),
        LocalStores(database),
        LocalUsers(database),
        notifier,
        LocalMetrics(database),
        LocalLogs(lambda task: folder / task),
        jobs,
        deliver=notifier.deliver,
        log=partial(_write_log, folder),
        certify=lambda job, _: over(jobs, job),
    )
    await jobs.close()


def _write_log(folder: Path, task: str, stream: str, lines: list[str]) -> None:
    file = folder / task / "logs" / f"{stream}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    first = time.time() - len(lines)
    written = [encode_line(first + number, "info", text, {}) for number, text in enumerate(lines)]
    file.write_bytes(b"".join(written))


async def over(jobs: Jobs, job: str) -> None:
    async def ended() -> bool:
        return (await jobs.get(job)).state != "RUNNING"

    await until(ended, 10)


PLATFORMS: dict[str, Callable[[pytest.FixtureRequest], PlatformUnderTest]] = {
    "local": Local,
    "aws": OnAws,
    "postgres": OnPostgres,
}
HUBS: dict[str, Callable[[pytest.FixtureRequest], HubUnderTest]] = {
    "local": Local,
    "aws": OnAws,
    "postgres": OnPostgres,
}
