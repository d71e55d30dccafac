"""What the hub needs of a platform: the same on one machine and on AWS."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import Conflict, NotFound, UsageError
from dth.core.secrets import SecretUse, WrongHost
from dth.hub.model import (
    AuditEntry,
    ErrorCode,
    Identity,
    Progress,
    Role,
    ScheduleType,
    Summary,
    Task,
)
from dth.hub.ports import TaskQuery
from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.hub.secrets import AwsHubSecrets
from dth.platforms.aws.hub.tables import HUB_TABLES
from dth.platforms.aws.hub.tasks import AwsAudit, AwsTasks
from dth.platforms.aws.hub.tokens import AwsTokens
from dth.platforms.aws.tables import create_table
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.secrets import LocalSecrets
from dth.platforms.local.tasks import LocalAudit, LocalTasks
from dth.platforms.local.tokens import LocalTokens
from dth.platforms.local.vault import open_vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dth.hub.ports import Audit, Secrets, Tasks
    from tests.servers.ministack import MiniStack

_numbers = itertools.count()
KEYS = json.dumps({"access_key_id": "AK", "secret_access_key": "SK"})


@dataclass
class Ports:
    tasks: Tasks
    audit: Audit
    tokens: LocalTokens | AwsTokens
    secrets: Secrets


@pytest.fixture(params=["local", "aws"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ports]:
    if request.param == "local":
        with HubDatabase.open(tmp_path / "hub.db") as database:
            vault = open_vault(tmp_path)
            yield Ports(
                LocalTasks(database),
                LocalAudit(database),
                LocalTokens(database),
                LocalSecrets(database, vault),
            )
        return
    cloud: MiniStack = request.getfixturevalue("cloud")
    prefix = f"hub-{os.getpid()}-{next(_numbers)}"
    for name, table in HUB_TABLES.items():
        cloud.boto("dynamodb").create_table(**create_table(f"{prefix}-{name}", table))
    aws = Aws(cloud.region, cloud.url)
    dynamo = Dynamo(aws, {name: f"{prefix}-{name}" for name in HUB_TABLES})
    yield Ports(AwsTasks(dynamo), AwsAudit(dynamo), AwsTokens(dynamo), AwsHubSecrets(aws, dynamo, prefix))
    aws.close()


def task(id: str = "one", **values: object) -> Task:
    made = Task(
        id,
        "S3EC2",
        ScheduleType.ONE_TIME,
        {"srcBucket": "a", "note": "ключ 雪"},
        created=100.0,
        writes="w",
    )
    return replace(made, **values)


def entry(**values: str) -> AuditEntry:
    given = {"who": "ann", "via": "oidc", "what": "stopTask", "target": "one", "detail": "{}", **values}
    return AuditEntry(time.time(), **given)


# -------------------------------------------------------------------------------------------------- tasks


async def test_a_task_is_read_as_it_was_written(hub: Ports) -> None:
    full = task(
        description="Öl",
        progress=Progress.ERROR,
        updated=2.5,
        reason="no such bucket",
        error_code=ErrorCode.CFN_ERROR,
        run_requested=True,
        spent=0.25,
        summary=Summary(run=3, total=7, eta=1.5),
    )
    await hub.tasks.add(full)
    assert await hub.tasks.get("one") == full
    with pytest.raises(Conflict, match="already"):
        await hub.tasks.add(task())
    await hub.tasks.remove("one")
    await hub.tasks.remove("one")
    for unknown in ("one", "", "x" * 5000, "é"):
        with pytest.raises(NotFound):
            await hub.tasks.get(unknown)


async def test_of_two_writers_one_is_told_to_read_again(hub: Ports) -> None:
    await hub.tasks.add(task(reason="old", error_code=ErrorCode.UN_KNOWN))
    mine, theirs = await hub.tasks.get("one"), await hub.tasks.get("one")
    mine.progress, mine.reason, mine.error_code = Progress.DONE, "", None
    assert await hub.tasks.save(mine)
    assert mine.version == 2
    theirs.description = "late"
    assert not await hub.tasks.save(theirs)
    assert theirs.version == 1
    found = await hub.tasks.get("one")
    assert (found.progress, found.reason, found.error_code, found.description) == (
        Progress.DONE,
        "",
        None,
        "",
    )


async def test_a_summary_is_written_whatever_the_version(hub: Ports) -> None:
    await hub.tasks.add(task())
    engine, user = await hub.tasks.get("one"), await hub.tasks.get("one")
    engine.summary, engine.spent = Summary(run=1, total=5), 0.5
    await hub.tasks.summarize(engine)
    user.summary, user.description = Summary(), "new"
    assert await hub.tasks.save(user)
    found = await hub.tasks.get("one")
    assert (found.summary.total, found.spent, found.description) == (5, 0.5, "new")
    await hub.tasks.remove("one")
    await hub.tasks.summarize(engine)
    with pytest.raises(NotFound):
        await hub.tasks.get("one")


async def test_tasks_are_found_in_pages(hub: Ports) -> None:
    for number in range(7):
        await hub.tasks.add(
            task(
                f"t{number}",
                created=float(number),
                description=f"Nightly {number}",
                progress=Progress.DONE if number % 2 else Progress.IN_PROGRESS,
                type="ECR" if number == 6 else "S3EC2",
                writes=f"w{number % 3}",
                source="s3://photos/",
            )
        )

    async def ids(**query: object) -> tuple[list[str], int]:
        found, total = await hub.tasks.find(replace(TaskQuery(), **query))
        return [each.id for each in found], total

    assert await ids(count=3) == (["t6", "t5", "t4"], 7)
    assert await ids(count=3, page=3) == (["t0"], 7)
    assert await ids(count=3, page=9) == ([], 7)
    assert await ids(progress=(Progress.DONE,), descending=False) == (["t1", "t3", "t5"], 3)
    assert await ids(type="ECR") == (["t6"], 1)
    assert await ids(writes="w1", order="description", descending=False) == (["t1", "t4"], 2)
    assert await ids(text="NIGHTLY 3") == (["t3"], 1)
    assert (await ids(text="PHOTOS"))[1] == 7
    assert await ids(text="100%_") == ([], 0)
    assert await hub.tasks.count() == {Progress.DONE: 3, Progress.IN_PROGRESS: 4}


# -------------------------------------------------------------------------------------------------- audit


async def test_changes_are_told_newest_first(hub: Ports) -> None:
    numbers = [await hub.audit.begin(entry(target=f"t{number % 2}")) for number in range(5)]
    assert numbers == [1, 2, 3, 4, 5]
    await hub.audit.end(2, "ok")
    created = await hub.audit.begin(entry(who="bob", what="createTask", target=""))
    await hub.audit.end(created, "ok", "new")
    found, total = await hub.audit.find(count=2)
    assert ([each.id for each in found], total) == ([6, 5], 6)
    assert (found[0].target, found[0].outcome, found[1].outcome) == ("new", "ok", "")
    found, total = await hub.audit.find(count=2, page=3)
    assert ([each.id for each in found], found[0].outcome) == ([2, 1], "ok")
    assert (await hub.audit.find(target="t1"))[1] == 2
    assert [each.id for each in (await hub.audit.find(who="bob"))[0]] == [6]


async def test_numbers_are_given_once(hub: Ports) -> None:
    numbers = await asyncio.gather(*(hub.audit.begin(entry()) for _ in range(20)))
    assert sorted(numbers) == list(range(1, 21))


async def test_the_audit_log_can_be_asked_for_some_operations(hub: Ports) -> None:
    for what in ("stopTask", "createUser", "editTask"):
        await hub.audit.begin(entry(what=what))
    found, total = await hub.audit.find(target="one", what=("stopTask", "editTask"))
    assert ([each.what for each in found], total) == (["editTask", "stopTask"], 2)
    assert (await hub.audit.find(what=("deleteUser",)))[1] == 0


# ------------------------------------------------------------------------------------- tokens and secrets


async def test_a_token_says_who_calls_until_it_is_revoked(hub: Ports) -> None:
    info, token = await hub.tokens.create("nightly", Role.OPERATOR, 0, "ann")
    _, later = await hub.tokens.create("later", Role.VIEWER, time.time() + 60, "ann")
    assert await hub.tokens.identify(token) == Identity(f"token:{info.id}", "nightly", Role.OPERATOR, "token")
    assert (await hub.tokens.identify(later) or info).name == "later"
    for wrong in ("", "dth_nonsense", "dth_\udcff"):
        assert await hub.tokens.identify(wrong) is None
    listed = {each.name: each for each in await hub.tokens.list()}
    assert listed.keys() == {"nightly", "later"}
    assert listed["nightly"].last_used > 0
    assert (listed["nightly"].expires, listed["later"].expires > time.time()) == (0, True)
    await hub.tokens.revoke(info.id)
    assert await hub.tokens.identify(token) is None
    with pytest.raises(NotFound, match="no token"):
        await hub.tokens.revoke(info.id)
    with pytest.raises(UsageError, match="expired"):
        await hub.tokens.create("late", Role.VIEWER, 1.0, "ann")


async def test_a_secret_is_bound_once(hub: Ports) -> None:
    name, other = (f"{os.getpid()}-{next(_numbers)}" for _ in range(2))
    secrets = hub.secrets

    async def hosts() -> dict[str, tuple[str, ...]]:
        return {info.name: info.hosts for info in await secrets.list()}

    await secrets.create(name, KEYS)
    await secrets.create(other, KEYS, hosts=["Store.Example.com", "*"])
    assert await hosts() == {name: (), other: ("store.example.com", "*")}
    uses = [
        SecretUse("source", name, ("a.example.com",)),
        SecretUse("destination", other, ("b.example.com",)),
    ]
    nobody = SecretUse("source", "nobody", ("a.example.com",))
    for _ in range(2):
        # None is there that is called nobody: reading it says so.
        assert list(await secrets.use([*uses, nobody])) == [other]
        assert (await hosts())[name] == ("a.example.com",)
    with pytest.raises(
        WrongHost, match=r"may not be used with b\.example\.com: it is bound to a\.example\.com"
    ):
        await secrets.use([SecretUse("source", name, ("a.example.com", "b.example.com"))])
    with pytest.raises(Conflict):
        await secrets.create(name, KEYS, hosts=["evil.example.com"])
    assert (await hosts())[name] == ("a.example.com",)
    await secrets.update(name, KEYS.replace("SK", "SK2"))
    assert (await hosts())[name] == ("a.example.com",)
    await secrets.bind(name, [])
    await secrets.bind(other, ["b.example.com"])
    with pytest.raises(WrongHost):
        await secrets.use([SecretUse("source", each, ("c.example.com",)) for each in (name, other)])
    assert await hosts() == {name: (), other: ("b.example.com",)}
    with pytest.raises(UsageError, match="is no host"):
        await secrets.bind(name, ["http://a/b"])
    with pytest.raises(NotFound):
        await secrets.bind("nobody-at-all", [])
    await secrets.delete(name)
    await secrets.create(name, KEYS)
    assert (await hosts())[name] == ()
    await secrets.delete(name)
    await secrets.delete(other)


async def test_of_two_first_uses_at_once_one_binds(hub: Ports) -> None:
    name = f"{os.getpid()}-{next(_numbers)}"
    await hub.secrets.create(name, KEYS)
    uses = [[SecretUse("source", name, (f"h{number}.example.com",))] for number in range(6)]
    found = await asyncio.gather(*map(hub.secrets.use, uses), return_exceptions=True)
    assert sum(isinstance(each, WrongHost) for each in found) == 5, found
    [info] = await hub.secrets.list()
    assert len(info.hosts) == 1
    await hub.secrets.delete(name)


async def test_a_secret_from_its_making_to_its_end(hub: Ports) -> None:
    name = f"keys-{next(_numbers)}"
    await hub.secrets.create(name, KEYS, "of photos")
    [info] = await hub.secrets.list()
    assert (info.name, info.description) == (name, "of photos")
    assert time.time() - info.updated < 60
    with pytest.raises(Conflict, match="already"):
        await hub.secrets.create(name, KEYS)
    await hub.secrets.update(name, description="of videos")
    await hub.secrets.update(name, KEYS.replace("SK", "SK2"))
    assert [info.description for info in await hub.secrets.list()] == ["of videos"]
    await hub.secrets.delete(name)
    assert await hub.secrets.list() == []
    for gone in (hub.secrets.delete(name), hub.secrets.update(name, KEYS), hub.secrets.delete("../x")):
        with pytest.raises(NotFound):
            await gone
    await hub.secrets.create(name, KEYS, "again")
    assert [info.description for info in await hub.secrets.list()] == ["again"]
    await hub.secrets.delete(name)
    for wrong, value in (("a/b", KEYS), ("plain", "no json"), ("half", '{"access_key_id": "AK"}')):
        with pytest.raises(UsageError):
            await hub.secrets.create(wrong, value)
