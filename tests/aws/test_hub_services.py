"""Users in Cognito, graphs from CloudWatch, and what is told, of a hub on AWS."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import NotFound, UsageError
from dth.hub.model import Role, ScheduleType, Task
from dth.hub.notifications import NotifiedEvent
from dth.hub.ports import Channel
from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.hub import notifications as notifications_module
from dth.platforms.aws.hub.hub import issuer_config
from dth.platforms.aws.hub.metrics import AwsMetrics
from dth.platforms.aws.hub.notifications import AwsNotifications
from dth.platforms.aws.hub.settings import OPTIONAL, HubSettings
from dth.platforms.aws.hub.tables import HUB_TABLES
from dth.platforms.aws.hub.tokens import AwsTokens
from dth.platforms.aws.hub.users import AwsUsers
from dth.platforms.aws.tables import create_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.ministack import MiniStack

_numbers = itertools.count()
TASK = Task("one", "S3EC2", ScheduleType.ONE_TIME, {}, description="Photos")


@pytest.fixture
def aws(cloud: MiniStack) -> Iterator[Aws]:
    opened = Aws(cloud.region, cloud.url)
    yield opened
    opened.close()


@pytest.fixture
def dynamo(cloud: MiniStack, aws: Aws) -> Dynamo:
    name = f"services-{os.getpid()}-{next(_numbers)}"
    cloud.boto("dynamodb").create_table(**create_table(name, HUB_TABLES["hub"]))
    return Dynamo(aws, {"hub": name})


# -------------------------------------------------------------------------------------------- users


@pytest.fixture
def users(cloud: MiniStack, aws: Aws) -> AwsUsers:
    cognito = cloud.boto("cognito-idp")
    pool = cognito.create_user_pool(PoolName=f"pool-{next(_numbers)}")["UserPool"]["Id"]
    for role in Role:
        cognito.create_group(GroupName=role.value, UserPoolId=pool)
    return AwsUsers(aws, pool)


async def test_a_token_ends_with_its_owner_and_follows_the_owners_role(
    users: AwsUsers, dynamo: Dynamo
) -> None:
    tokens = AwsTokens(dynamo, users)
    for name in ("root", "ann"):
        await users.add(name, "Passw0rd!-long", Role.ADMIN)
    await asyncio.sleep(1.1)  # Cognito's times are whole seconds here
    _, token = await tokens.create("ann's", Role.ADMIN, time.time() + 600, "ann", "ann")

    async def role() -> Role | None:
        found = await tokens.identify(token)
        return found and found.role

    assert await role() is Role.ADMIN
    await users.set_role("ann", Role.OPERATOR)
    assert await role() is Role.OPERATOR
    await users.remove("ann")
    assert await role() is None
    await asyncio.sleep(1.1)
    await users.add("ann", "Passw0rd!-long", Role.ADMIN)  # somebody else of that name
    assert await role() is None


# ------------------------------------------------------------------------------------------- graphs


async def group_of(task: str) -> str:
    return f"{task}-worker"


async def no_group(task: str) -> str:
    return ""


async def test_graphs_of_a_task_come_from_cloudwatch(
    cloud: MiniStack, aws: Aws, dynamo: Dynamo
) -> None:
    task = f"task-{next(_numbers)}"
    now = int(time.time()) // 60 * 60 - 600
    for metric, values in (("BytesOut", (100, 300)), ("MessagesWaiting", (10, 20))):
        for number, value in enumerate(values):
            cloud.boto("cloudwatch").put_metric_data(
                Namespace="DataTransferHub",
                MetricData=[
                    {
                        "MetricName": metric,
                        "Dimensions": [{"Name": "Task", "Value": task}],
                        "Timestamp": now + 60 * number + 30,
                        "Value": value,
                    }
                ],
            )
    metrics = AwsMetrics(aws, dynamo, group_of)
    times, series = await metrics.read(
        task, ["bytes_out", "waiting", "desired"], now, now + 180, 60
    )
    assert times == [now, now + 60, now + 120]
    assert {each.name: each.values for each in series} == {
        "bytes_out": [100, 300, None], "waiting": [10, 20, None], "desired": [None, None, None],
    }  # fmt: skip
    _, [halves] = await metrics.read(task, ["bytes_out"], now, now + 60, 30)
    assert halves.values == [50, 50]


async def test_a_task_without_machines_has_no_numbers_of_machines(aws: Aws, dynamo: Dynamo) -> None:
    _, [machines] = await AwsMetrics(aws, dynamo, no_group).read("a", ["desired"], 0, 60, 60)
    assert machines.values == [None]


async def test_what_all_tasks_did_is_counted(aws: Aws, dynamo: Dynamo) -> None:
    metrics = AwsMetrics(aws, dynamo, group_of)
    begin = 1_800_000_000
    await metrics.write("a", begin + 5, {"transferred": 3, "bytes_out": 10, "waiting": 7})
    await metrics.write("b", begin + 599, {"transferred": 2, "failed": 0})
    await metrics.write("a", begin + 1300, {"failed": 1})
    times, series = await metrics.read_all(
        ["transferred", "failed", "bytes_out"], begin, begin + 1800, 1200
    )
    assert times == [begin, begin + 1200]
    assert {each.name: each.values for each in series} == {
        "transferred": [5, None], "failed": [None, 1], "bytes_out": [10, None],
    }  # fmt: skip


# ------------------------------------------------------------------------------------ notifications


@dataclass
class Receiver:
    """A webhook's server."""

    url: str
    status: int = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def notifications(cloud: MiniStack, aws: Aws, dynamo: Dynamo) -> AwsNotifications:
    topic = cloud.boto("sns").create_topic(Name=f"hub-{next(_numbers)}")["TopicArn"]
    return AwsNotifications(aws, dynamo, topic)


async def test_a_webhook_hears_what_it_wants_once(
    notifications: AwsNotifications, receiver: Receiver
) -> None:
    await notifications.put_channel(Channel("all", "webhook", receiver.url))
    await notifications.put_channel(Channel("done", "webhook", receiver.url, events=("TASK_DONE",)))
    await notifications.put_channel(Channel("off", "webhook", receiver.url, enabled=False))
    assert [each.id for each in await notifications.channels()] == ["all", "done", "off"]
    for _ in range(2):
        await notifications.notify(NotifiedEvent.TASK_ERROR, TASK, "no such bucket", once="run 1")
    await notifications.deliver()
    [body] = receiver.bodies
    assert (body["source"], body["notices"][0]["text"]) == ("data-transfer-hub", "no such bucket")
    assert "Task failed: Photos" in body["text"]
    await notifications.notify(NotifiedEvent.TASK_ERROR, TASK, "no such bucket", once="run 1")
    await notifications.notify(NotifiedEvent.TASK_DONE, TASK, "3 transferred, 0 failed")
    await notifications.deliver()
    await notifications.deliver()
    assert len(receiver.bodies) == 3
    assert await notifications.test_channel("all") == ""


async def test_what_does_not_arrive_waits_for_its_next_try(
    notifications: AwsNotifications, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.status = 500
    await notifications.put_channel(Channel("all", "webhook", receiver.url))
    await notifications.notify(NotifiedEvent.TASK_ERROR, TASK, "first")
    await notifications.deliver()
    await notifications.notify(NotifiedEvent.TASK_ERROR, TASK, "second")
    await notifications.deliver()
    assert len(receiver.bodies) == 1  # the pause is not over
    assert "answered 500" in await notifications.test_channel("all")
    receiver.status = 200
    later = time.time() + notifications_module.FIRST_PAUSE + 1
    monkeypatch.setattr(notifications_module.time, "time", lambda: later)
    await notifications.deliver()
    assert [each["text"] for each in receiver.bodies[-1]["notices"]] == ["first", "second"]
    await notifications.remove_channel("all")
    with pytest.raises(NotFound):
        await notifications.remove_channel("all")


async def test_an_address_hears_by_the_topic(
    cloud: MiniStack, aws: Aws, dynamo: Dynamo, notifications: AwsNotifications
) -> None:
    await notifications.put_channel(Channel("ops", "email", "ops@example.com"))
    sns = cloud.boto("sns")
    [subscribed] = sns.list_subscriptions_by_topic(TopicArn=notifications._topic)["Subscriptions"]
    assert (subscribed["Protocol"], subscribed["Endpoint"]) == ("email", "ops@example.com")
    await notifications.notify(NotifiedEvent.TASK_ERROR, TASK, "no such bucket")
    await notifications.deliver()
    assert [item async for item in dynamo.query("hub", "#pk = :pk", {"pk": "outbox"})] == []
    with pytest.raises(UsageError, match="not an e-mail address"):
        await notifications.put_channel(Channel("ops", "email", "nobody"))
    await notifications.remove_channel("ops")
    assert await notifications.channels() == []


def settings(**more: str) -> HubSettings:
    names = [each.name.upper() for each in fields(HubSettings) if each.name not in OPTIONAL]
    return HubSettings.from_environment({f"DTH_{name}": "https://x" for name in names} | more)


def test_whose_tokens_the_api_takes() -> None:
    """Nobody has a role unless a token or the deployment says so; users of the hub's own pool were
    made by an admin."""
    config = issuer_config(settings())
    assert (config.default_role, config.roles) == (None, {})
    config = issuer_config(settings(DTH_DEFAULT_ROLE="viewer", DTH_ROLES='{"Hub Admins": "admin"}'))
    assert (config.default_role, config.roles) == (Role.VIEWER, {"Hub Admins": Role.ADMIN})
    assert issuer_config(settings(DTH_USER_POOL="pool")).default_role is Role.VIEWER
    for wrong in ("x", '["admin"]', '{"x": "boss"}'):
        with pytest.raises(UsageError, match="role"):
            issuer_config(settings(DTH_ROLES=wrong))
