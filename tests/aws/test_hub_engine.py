"""What is left of a task of a hub on AWS when it is deleted, and when that has to wait."""

from __future__ import annotations

import hashlib
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import BeingSetUp, Conflict, UsageError
from dth.hub.model import ScheduleType, Task
from dth.hub.ports import TaskStackState
from dth.platforms.aws.client import Aws, Refused
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.hub.engine import AwsEngine, TaskNames
from dth.platforms.aws.hub.settings import HubSettings
from dth.platforms.aws.hub.tables import HUB_TABLES
from dth.platforms.aws.hub.tasks import AwsTasks
from dth.platforms.aws.tables import create_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers.ministack import MiniStack


def test_what_the_environment_does_not_say_is_named() -> None:
    names = {each.name for each in fields(HubSettings)}
    given = {f"DTH_{name.upper()}": name for name in names}
    assert HubSettings.from_environment(given).tasks_table == "tasks_table"
    del given["DTH_WORKFLOW"], given["DTH_VPC"]
    with pytest.raises(UsageError, match="which hub this is: DTH_WORKFLOW missing"):
        HubSettings.from_environment(given)


async def test_a_task_is_not_forgotten_while_it_has_a_stack(
    cloud: MiniStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    prefix = f"engine-{os.getpid()}"
    for name, table in HUB_TABLES.items():
        cloud.boto("dynamodb").create_table(**create_table(f"{prefix}-{name}", table))
    aws = Aws(cloud.region, cloud.url)
    dynamo = Dynamo(aws, {name: f"{prefix}-{name}" for name in HUB_TABLES})
    texts = {each.name: each.name for each in fields(HubSettings)}
    given = {
        **texts,
        "region": cloud.region,
        "table_prefix": prefix,
        "log_prefix": f"/{prefix}",
        "kms_key": "",
        "task_tags": '{"CostCenter": "42"}',
    }
    engine = AwsEngine(aws, dynamo, HubSettings(**given))
    await AwsTasks(dynamo).add(Task("one", "S3EC2", ScheduleType.ONE_TIME, {}))
    with pytest.raises(BeingSetUp, match="it is being set up"):
        async with engine.open("one") as platform:
            await platform.records.list_runs()
    place = engine.place("one", "S3EC2")
    assert await engine.make_memory(place)
    assert place.tags == {"CostCenter": "42", "DataTransferHub": "one"}
    dynamodb = cloud.boto("dynamodb")
    for table in place.tables.values():
        arn = dynamodb.describe_table(TableName=table)["Table"]["TableArn"]
        tags = dynamodb.list_tags_of_resource(ResourceArn=arn)["Tags"]
        assert {each["Key"]: each["Value"] for each in tags} == place.tags
    assert await engine.make_memory(engine.place("one", "S3EC2"))  # which is nothing new
    await engine.keep_stack(
        "one", TaskStackState("arn", "s3-one", "CREATE_COMPLETE", {"QueueUrl": "somewhere"})
    )
    await engine.keep_stack("one", TaskStackState("arn", "s3-one", "DELETE_IN_PROGRESS"))
    assert await engine.with_stacks() == ["one"]
    assert await engine.stack("one") == TaskStackState(
        "arn", "s3-one", "DELETE_IN_PROGRESS", {"QueueUrl": "somewhere"}
    )

    with pytest.raises(Conflict, match="is being deleted"):
        await engine.discard("one")
    for _ in range(2):
        await engine.keep_stack("one", None)
    assert (await engine.with_stacks(), await engine.stack("one")) == ([], None)
    await dynamo.put("hub", {"pk": "look", "sk": "one", "at": 1.0})
    with monkeypatch.context() as patched:
        patched.setattr(aws, "call", _being_created(aws.call))
        with pytest.raises(Conflict, match="tables are being made"):
            await engine.discard("one")
    for _ in range(2):
        await engine.discard("one")

    assert [item async for item in dynamo.scan("hub")] == []
    tables = cloud.boto("dynamodb").list_tables()["TableNames"]
    assert not [name for name in tables if name.startswith(f"{prefix}-one-")]
    groups = cloud.boto("logs").describe_log_groups(logGroupNamePrefix=f"/{prefix}")["logGroups"]
    assert groups == []
    aws.close()


async def test_tasks_are_made_from_the_template_that_was_published_and_no_other(
    cloud: MiniStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    s3, bucket = cloud.boto("s3"), f"assets-{os.getpid()}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    key, body = "dth/1/templates/s3.json", b'{"Resources": {}}'
    version = s3.put_object(Bucket=bucket, Key=key, Body=body)["VersionId"]
    texts = {each.name: each.name for each in fields(HubSettings)}
    assets = {
        "region": cloud.region,
        "asset_bucket": bucket,
        "asset_prefix": "dth/1",
        "asset_url": "https://b/dth/1",
    }
    aws = Aws(cloud.region, cloud.url)

    def engine(templates: str) -> AwsEngine:
        return AwsEngine(
            aws, Dynamo(aws, {}), HubSettings(**{**texts, **assets, "templates": templates})
        )

    good = engine(f"ecr= s3={hashlib.sha256(body).hexdigest()}")
    address = "https://b/dth/1/templates/s3.json"
    assert await good.template(good.place("one", "S3EC2")) == f"{address}?versionId={version}"
    # Published by hand, without digests.
    assert await engine("ecr= s3=").template(good.place("one", "S3EC2")) == address
    s3.put_object(Bucket=bucket, Key=key, Body=body + b" ")
    with pytest.raises(UsageError, match="is not the template that was published with this hub"):
        await good.template(good.place("one", "S3EC2"))
    aws.close()


def test_a_stack_gets_the_schedule_of_its_task_and_its_time_zone() -> None:
    texts = {each.name: each.name for each in fields(HubSettings)}
    settings = HubSettings(**{**texts, "task_tags": "{}"})
    given = {
        "srcBucket": "a",
        "destBucket": "b",
        "ec2CronExpression": "cron(0 3 ? * mon-fri *)",
        "scheduleTimeZone": "Europe/Berlin",
    }
    task = Task("t", "S3EC2", ScheduleType.FIXED_RATE, given)
    made = TaskNames(settings, "t", "S3EC2").parameters(task)
    names = ("scheduleRate", "ec2CronExpression", "scheduleTimeZone")
    assert [made[name] for name in names] == ["", "0 3 ? * MON-FRI *", "Europe/Berlin"]


def _being_created(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The emulator's tables are there at once: in DynamoDB's words."""

    async def refused(service: str, operation: str, **arguments: Any) -> Any:
        if operation == "delete_table":
            said = "Attempt to change a resource which is still in use: Table is being created: x"
            raise Refused(said, "ResourceInUseException", {})
        return await call(service, operation, **arguments)

    return refused
