"""A task for images on an emulated AWS: the template that users deploy, with the state machine,
functions and containers that it describes, under the roles that it makes (IAM is enforced).
Registries are real; the control plane of Amazon ECR is a stand-in (`EcrServer`), which looks at no
rights.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.aws.emulator.command import Command
from tests.aws.emulator.region import Region, Stack, wait_for
from tests.servers.proxy import Stall
from tests.servers.registry import (
    NEEDED,
    PASSWORD,
    USER,
    EcrServer,
    PlainProxy,
    RegistryServer,
    image,
    index,
    layer,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = NEEDED
FROM_TOPICS = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": "*",
        }
    ],
}


def copiers(server: PlainProxy) -> set[int]:
    """The processes that are connected to this server."""
    port = int(server.url.rpartition(":")[2])
    return {
        each.pid
        for each in psutil.net_connections("tcp4")
        if each.pid not in (None, os.getpid()) and each.raddr and each.raddr.port == port
    }


@pytest.fixture
def here(fresh_region: Region) -> Iterator[RegistryServer]:
    """A registry that wants a login, with images."""
    secret = json.dumps({"username": USER, "password": PASSWORD})
    fresh_region.boto("secretsmanager").create_secret(Name="login", SecretString=secret)
    with RegistryServer(auth=True) as server:
        yield server


@pytest.fixture
def there(fresh_region: Region) -> Iterator[EcrServer]:
    with RegistryServer(auth=True) as server, EcrServer(server) as ecr:
        yield ecr


def deploy(
    region: Region,
    templates: dict[str, Path],
    here: RegistryServer,
    there: EcrServer,
    **parameters: str,
) -> Stack:
    network = region.network()
    first, second = network["ec2Subnets"].split(",")
    given = {
        "sourceType": "Registry",
        "srcRegistry": here.host,
        "srcCredential": "login",
        "destEndpoint": there.url,
        "destRegion": there.region,
        "destPrefix": "copies",
        "ecsVpcId": network["ec2VpcId"],
        "ecsSubnetA": first,
        "ecsSubnetB": second,
        "taskImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/data-transfer-hub:tested",
        "ec2CronExpression": "",
        "alarmEmail": "someone@example.com",
    }
    return region.deploy("images", templates["ecr"], **{**given, **parameters})


def executions(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.region.boto("stepfunctions").list_executions(
        stateMachineArn=stack.outputs["StateMachine"]
    )["executions"]
    return found


def ended(stack: Stack, number: int = 1) -> str:
    """How the run of that number ended, once it has."""

    def look() -> str:
        found = executions(stack)
        states = [each["status"] for each in sorted(found, key=lambda each: each["startDate"])]
        return (
            states[number - 1] if len(states) >= number and states[number - 1] != "RUNNING" else ""
        )

    return str(wait_for(look, 90))


def states(stack: Stack, number: int = 1) -> list[str]:
    """The names of the states that a run went through, in order."""
    client = stack.region.boto("stepfunctions")
    found = sorted(executions(stack), key=lambda each: each["startDate"])[number - 1]
    events = client.get_execution_history(executionArn=found["executionArn"], maxResults=1000)[
        "events"
    ]
    return [
        each["stateEnteredEventDetails"]["name"]
        for each in events
        if "stateEnteredEventDetails" in each
    ]


def test_images_arrive_and_unchanged_ones_start_no_container(
    fresh_region: Region, templates: dict[str, Path], here: RegistryServer, there: EcrServer
) -> None:
    base = layer("base", 1 << 20)
    app = index(image("app", [base]), image("app-arm", [base], architecture="arm64"))
    here.push("team/app", "v1", app)
    here.push("team/app", *signature(app))
    here.push("team/web", "latest", image("web", [base, layer("web", 1 << 16)]))

    stack = deploy(fresh_region, templates, here, there)

    assert ended(stack) == "SUCCEEDED"
    assert there.registry.digest("copies/team/app", "v1") == app.digest
    assert sorted(there.repositories) == ["copies/team/app", "copies/team/web"]
    assert {item["Status"]["S"] for item in stack.items("ImagesTable")} == {"DONE"}
    dth = Command(fresh_region)
    code, out, err = dth("status", "images")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "images: run 1 DONE"
    assert "3 images listed, 0 the same, 3 of 3 settled, 0 failed" in out

    line = "images: a run begins; dth aws status images shows its progress\n"
    assert dth("run", "images") == (0, line, "")
    assert ended(stack, 2) == "SUCCEEDED"
    assert states(stack, 2) == ["Plan", "Decide", "Done"]
    assert stack.invoke("Tick")["run"]["same"] == 3
    stack.update(scheduleRate="1 minute")  # which comes sooner here
    assert ended(stack, 3) == "SUCCEEDED"
    # By a schedule, as rules have no zone.
    stack.update(
        scheduleRate="", ec2CronExpression="* * * * ? *", scheduleTimeZone="Asia/Kathmandu"
    )
    assert ended(stack, 4) == "SUCCEEDED"

    stack.delete()
    for service, call, field in (
        ("sqs", "list_queues", "QueueUrls"),
        ("dynamodb", "list_tables", "TableNames"),
        ("lambda", "list_functions", "Functions"),
        ("iam", "list_roles", "Roles"),
        ("ecs", "list_clusters", "clusterArns"),
        ("sns", "list_topics", "Topics"),
        ("stepfunctions", "list_state_machines", "stateMachines"),
        ("events", "list_rules", "Rules"),
        ("scheduler", "list_schedules", "Schedules"),
        ("logs", "describe_log_groups", "logGroups"),
    ):
        assert not getattr(fresh_region.boto(service), call)().get(field), service


def test_what_fails_is_told_and_the_rest_arrives(
    fresh_region: Region, templates: dict[str, Path], here: RegistryServer, there: EcrServer
) -> None:
    here.push("team/app", "v1", image("app", [layer("app", 1000)]))
    here.push("team/fixed", "v1", image("new", [layer("new", 1000)]))
    there.make("copies/team/fixed", imageTagMutability="IMMUTABLE")
    there.registry.push("copies/team/fixed", "v1", image("old", [layer("old", 1000)]))
    sqs, sns = fresh_region.boto("sqs"), fresh_region.boto("sns")
    heard = sqs.create_queue(QueueName="heard", Attributes={"Policy": json.dumps(FROM_TOPICS)})[
        "QueueUrl"
    ]
    images = "team/app:v1,team/fixed:v1,team/gone:v2"

    stack = deploy(fresh_region, templates, here, there, srcList="SELECTED", srcImageList=images)
    arn = sqs.get_queue_attributes(QueueUrl=heard, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    sns.subscribe(TopicArn=stack.outputs["Topic"], Protocol="sqs", Endpoint=arn)

    assert ended(stack) == "FAILED"
    assert there.registry.digest("copies/team/app", "v1")
    run = stack.invoke("Tick")["run"]
    assert (run["enqueued"], run["done"], run["failed"]) == (3, 1, 2)
    [message] = sqs.receive_message(QueueUrl=heard, WaitTimeSeconds=5)["Messages"]
    told = json.loads(message["Body"])
    assert told["Subject"] == "Data Transfer Hub: a run failed"
    first, *rest = told["Message"].splitlines()
    assert first == "Data Transfer Hub, task images, run 1:"
    assert rest[0] == "2 of 3 images failed"
    assert {line.partition(":v")[0] for line in rest[1:]} == {
        "copies/team/fixed",
        "copies/team/gone",
    }
    stack.delete()


def test_a_registry_that_does_not_let_us_in_fails_the_run(
    fresh_region: Region, templates: dict[str, Path], here: RegistryServer, there: EcrServer
) -> None:
    wrong = json.dumps({"username": USER, "password": "wrong"})
    fresh_region.boto("secretsmanager").put_secret_value(SecretId="login", SecretString=wrong)

    stack = deploy(fresh_region, templates, here, there)

    assert ended(stack) == "FAILED"
    run = stack.invoke("Tick")["run"]
    assert run["state"] == "FAILED"
    assert here.host in run["error"]
    stack.delete()


def test_deleting_ends_what_runs(
    fresh_region: Region, templates: dict[str, Path], here: RegistryServer, there: EcrServer
) -> None:
    built = image("app", [layer("app", 5 << 20)])
    here.push("team/app", "v1", built)
    with PlainProxy(here) as slow:
        rule = slow.rule(Stall(1000), key="blobs/")
        stack = deploy(
            fresh_region, templates, here, there, srcRegistry=slow.url.partition("//")[2]
        )
        ecs = fresh_region.boto("ecs")
        cluster = stack.resources["Cluster"]
        wait_for(lambda: ecs.list_tasks(cluster=cluster)["taskArns"], 60)
        wait_for(lambda: rule.hits, 60)
        running = copiers(slow)
        assert running

        stack.delete()
        wait_for(lambda: not copiers(slow) & running, 30)
    assert not fresh_region.boto("ecs").list_clusters()["clusterArns"]


def test_a_wrong_parameter_is_told_when_the_stack_is_made(
    fresh_region: Region, templates: dict[str, Path], here: RegistryServer, there: EcrServer
) -> None:
    with pytest.raises(
        AssertionError, match="srcList is SELECTED, and srcImageList names no image"
    ):
        deploy(fresh_region, templates, here, there, srcList="SELECTED")
