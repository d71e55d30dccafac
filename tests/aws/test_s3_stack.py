"""A whole task on an emulated AWS: the template that users deploy, with the functions and machines
that it describes, under the roles that it makes (IAM is enforced).

The emulator carries out templates, functions, state machines, schedules and event notifications.
What stands in for EC2 is `tests.aws.emulator.machines`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dth.core.ports.runs import RunKind, RunState
from dth.objects.processes import find
from dth.platforms.aws.platform import AwsPlatform
from tests.aws.emulator.machines import Machines
from tests.aws.emulator.region import Region, Stack, wait_for
from tests.aws.task import SIZES, keys, logs, over, put, put_all_kinds, route_of, stores, until
from tests.aws.task import opened as open_task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

MANY = 300


@pytest.fixture
def buckets(fresh_region: Region) -> None:
    for name in ("source", "copies"):
        fresh_region.boto("s3").create_bucket(Bucket=name)


@pytest.fixture
def machines(fresh_region: Region, tmp_path: Path, buckets: None) -> Iterator[Machines]:
    log = tmp_path / "machines.log"
    log.touch()
    with Machines(fresh_region, log) as running:
        yield running
    print(log.read_text())
    for line in logs(fresh_region):
        print(line)


def deploy(region: Region, templates: dict[str, Path], **parameters: str) -> Stack:
    given = {
        **stores(region),
        "srcInCurrentAccount": "true",
        "serverSideCopy": "false",  # which would be one request for an object, however large
    }
    return region.deploy("task", templates["s3"], **{**given, **region.network(), **parameters})


def opened(stack: Stack) -> AbstractAsyncContextManager[AwsPlatform]:
    """The task's ports, as one more process of it has them."""
    tables = [stack.resources[f"{name}Table"] for name in ("Objects", "Parts", "State")]
    return open_task(stack.region, stack.name, stack.outputs, *tables)


def reported(region: Region, metric: str) -> float:
    """The sum of a metric over all that was said in the embedded metric format."""
    told = [line.partition(": ")[2] for line in logs(region)]
    return sum(json.loads(line).get(metric, 0) for line in told if '"_aws"' in line)


async def test_objects_of_all_kinds_arrive(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    total = put_all_kinds(fresh_region, MANY)

    stack = deploy(fresh_region, templates, **SIZES)
    async with opened(stack) as platform:
        run = await over(platform)

    assert (run.state, run.error) == (RunState.DONE, "")
    assert run.counts.listed == run.counts.done == total
    assert keys(fresh_region) == keys(fresh_region, "source")
    assert [item["Status"]["S"] for item in stack.items("ObjectsTable")] == ["DONE"] * total
    assert {kind for _, kind in machines.started} == {"worker", "finder"}
    wait_for(lambda: not machines.machines, 60)  # those that have no work leave
    wait_for(lambda: any("run listed" in line for line in logs(fresh_region)), 10)
    assert wait_for(lambda: reported(fresh_region, "ObjectsTransferred") == total, 30)

    stack.delete()

    wait_for(lambda: not machines.machines, 60)  # they drained
    assert not fresh_region.boto("sqs").list_queues().get("QueueUrls")
    assert not fresh_region.boto("dynamodb").list_tables()["TableNames"]
    assert not fresh_region.boto("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert not fresh_region.boto("lambda").list_functions()["Functions"]
    assert not fresh_region.boto("iam").list_roles()["Roles"]
    # A look that was in progress may say why it failed, into a group that the emulator makes for
    # it.
    assert not [line for line in logs(fresh_region) if "[$LATEST]" not in line]


async def test_an_event_arrives_in_seconds(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    put(fresh_region, "before", b"1")
    stack = deploy(fresh_region, templates, srcEvent="CreateAndDelete", minCapacity="1")
    async with opened(stack) as platform:
        await over(platform)

        put(fresh_region, "later/é", b"22")
        wait_for(lambda: keys(fresh_region).get("later/é") == 2, 20)
        fresh_region.boto("s3").delete_object(Bucket="source", Key="before")
        wait_for(lambda: "before" not in keys(fresh_region), 20)

    stack.delete()
    told = fresh_region.boto("s3").get_bucket_notification_configuration(Bucket="source")
    assert "QueueConfigurations" not in told


async def test_work_that_was_lost_with_the_queue_is_compared_anew(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    machines.frozen = True
    for number in range(5):
        put(fresh_region, f"object-{number}", b"x")
    stack = deploy(fresh_region, templates)
    async with opened(stack) as platform, route_of(platform) as route:
        run = (await until(platform.records.list_runs))[0]
        await find(route, platform, Path("/nonexistent"), run.id)
        await platform.queue.purge()
        machines.frozen = False

        lost, again = await over(platform), await over(platform, 2)

    assert (lost.state, lost.counts.cancelled) == (RunState.FAILED, 5)
    assert "its messages are gone" in lost.error
    assert (again.state, again.counts.done) == (RunState.DONE, 5)


async def test_a_paused_task_has_no_machines(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    stack = deploy(fresh_region, templates, minCapacity="1")
    async with opened(stack) as platform:
        await over(platform)
        wait_for(lambda: machines.of("task-worker"), 30)
        await platform.records.pause("enough for today")
        wait_for(lambda: not machines.machines, 60)
        put(fresh_region, "object", b"x")
        await platform.records.begin_run(RunKind.SYNC)
        assert "object" not in keys(fresh_region)

        await platform.records.resume()
        assert (await over(platform, 2)).counts.done == 1
    assert keys(fresh_region) == {"object": 1}


async def test_new_parameters_reach_those_who_work(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    stack = deploy(fresh_region, templates)
    async with opened(stack) as platform:
        await over(platform)
        put(fresh_region, "object", b"x")
        stack.update(destPrefix="below")

        stack.invoke("Start")
        assert (await over(platform, 2)).counts.done == 1
    assert keys(fresh_region) == {"below/object": 1}


async def test_a_store_with_keys_of_its_own_is_reached_by_its_secret(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    put(fresh_region, "object", b"x")
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    key, secret = fresh_region.user({"Version": "2012-10-17", "Statement": [everything]})
    stack = deploy(fresh_region, templates, srcCredentials="keys")
    async with opened(stack) as platform:
        failed = await over(platform)
        assert failed.state is RunState.FAILED
        assert failed.error.startswith(
            "secret 'keys' cannot be read: secretsmanager:GetSecretValue was refused"
        )

        value = json.dumps({"access_key_id": key, "secret_access_key": secret})
        fresh_region.boto("secretsmanager").create_secret(Name="keys", SecretString=value)
        stack.invoke("Start")
        assert (await over(platform, 2)).counts.done == 1
    assert keys(fresh_region) == {"object": 1}


async def test_a_store_that_does_not_answer_fails_the_run(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    stack = deploy(fresh_region, templates, destEndpoint="http://127.0.0.1:9")
    async with opened(stack) as platform:
        run = await over(platform)
    assert run.state is RunState.FAILED
    assert "127.0.0.1:9" in run.error


def test_a_wrong_parameter_is_told_in_one_line(
    fresh_region: Region, buckets: None, templates: dict[str, Path]
) -> None:
    with pytest.raises(AssertionError, match="TaskSetup: minSize: 'many' is not a size"):
        deploy(fresh_region, templates, minSize="many")
