"""The template of an ECR task, as CloudFormation will read it; tests/aws/test_ecr_stack.py has what
it does."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from dth.images.parameters import EcrParameters
from dth.platforms.aws.tables import TABLES
from tests.infra.checks import Findings, read_state_machines, resources

if TYPE_CHECKING:
    from pathlib import Path

NOT_ALONE = {  # they need a hub, or a file on the machine
    "transferWindow", "srcProfile", "destProfile", "srcCaBundle", "destCaBundle",
}  # fmt: skip
PYTHON = "the newest Python that Amazon Linux 2023 has packages of in every partition, for both"
ACCEPTED = {
    # What the rule finds: why it is so.
    ("MissedStarts", "SQS3", ""): "it is a dead-letter queue itself: that of the schedule's rule",
    ("ZoneRole", "IAM5", ""): "the rule does not read a policy under a condition; test_schedules does",
    ("StartRole", "IAM5", "Resource::*"): "GetAuthorizationToken takes no resource",
    ("TokenRights", "IAM5", "Resource::*"): "GetAuthorizationToken takes no resource",
    ("ControllerRole", "IAM5", "Resource::*"): "deliveries of logs take no resource",
    ("SetupRights", "IAM5", "Resource::*"): (
                                            "ListTasks takes none of Fargate; the condition names "
                                            "the cluster"
                                            ),
    ("StartRole", "IAM5", ":log-group:"): "the streams of the task's own log group",
    ("TaskRights", "IAM5", ":log-group:"): "the streams of the task's own log group",
    ("TaskRights", "IAM5", "/index/*"): "the indexes of the task's own tables",
    ("StoreKeyRights", "IAM5", "key/*"): (
                                         "whichever keys encrypt secrets; through Secrets Manager "
                                         "only"
                                         ),
    ("ReadRights", "IAM5", "repository/"): (
                                           "the images that are copied: which there are is found "
                                           "out"
                                           ),
    ("WriteRights", "IAM5", "repository/"): "the copies, below the task's prefix if there is one",
    ("EncryptRights", "IAM5", "key/*"): (
                                        "the key of new repositories, which may be given by an "
                                        "alias; through ECR only"
                                        ),
    ("ControllerRole", "IAM5", "task/"): (
                                         "containers of the cluster have ids that are not known "
                                         "before"
                                         ),
    ("SetupRights", "IAM5", "task/"): (
                                      "containers of the cluster have ids that are not known "
                                      "before"
                                      ),
    ("SetupRights", "IAM5", "execution:"): "runs have ids that are not known before",
    ("Cluster", "ECS4", ""): (
                             "containers live for minutes; Container Insights would cost more "
                             "than they do"
                             ),
    ("Copier", "ECS2", ""): "names of queues and tables; secrets are read from Secrets Manager",
    ("Plan", "L1", ""): PYTHON,
    ("Tick", "L1", ""): PYTHON,
    ("Setup", "L1", ""): PYTHON,
    ("Controller", "SF2", ""): "the log has every step",
    ("ObjectsTable", "DDB3", ""): "a run compares again what is lost",
    ("ImagesTable", "DDB3", ""): "on unless a parameter says NONE",
    ("StateTable", "DDB3", ""): "on unless a parameter says NONE",
}  # fmt: skip


@pytest.fixture(scope="module")
def template(templates: dict[str, Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(templates["ecr"].read_text("utf-8"))
    return found


def test_cdk_nag_finds_nothing_that_has_no_reason() -> None:
    found = Findings.of("dth.infra.ecr_stack", "EcrStack")

    assert found.unexplained(ACCEPTED) == []
    assert found.outdated(ACCEPTED) == []


def test_every_parameter_of_the_model_is_there_with_its_default(template: dict[str, Any]) -> None:
    declared = template["Parameters"]
    assert {
        field.alias for field in EcrParameters.model_fields.values()
    } - declared.keys() == NOT_ALONE
    assert {name for name, found in declared.items() if "Default" not in found} == {
        "ecsVpcId", "ecsSubnetA", "ecsSubnetB", "taskImage", "assetBucket", "assetPrefix",
    }  # fmt: skip
    assert declared["ec2CronExpression"]["Default"] == "0 0 * * ? *"
    assert declared["sourceType"]["Default"] == "Amazon_ECR"
    assert declared["srcList"]["AllowedValues"] == ["ALL", "SELECTED"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("destPrefix", "team/copies", "*"),
        ("destPrefix", "team-a/", "team*"),
        ("srcAccountId", "123456789012", "*"),
        ("destRegion", "cn-north-1", "*"),
        ("srcCredential", "key-of_a", "*"),
        (
            "taskImage",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/data-transfer-hub:1.0-ab",
            "x/*:1",
        ),
    ],
)
def test_nothing_widens_a_policy(template: dict[str, Any], name: str, good: str, bad: str) -> None:
    pattern = template["Parameters"][name]["AllowedPattern"]
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, bad)


def test_tables_are_those_of_the_adapters(template: dict[str, Any]) -> None:
    tables = resources(template, "AWS::DynamoDB::Table")
    assert tables.keys() == {"ObjectsTable", "ImagesTable", "StateTable"}
    for name, made in tables.items():
        table = TABLES[name.removesuffix("Table").lower()]
        assert made["KeySchema"][0]["AttributeName"] == table.partition.name


def test_containers_are_few_closed_and_tried_again(template: dict[str, Any]) -> None:
    [machine] = read_state_machines(template).values()
    copy = machine["States"]["Copy"]
    assert copy["MaxConcurrency"] == 10
    container = copy["ItemProcessor"]["States"]["Container"]
    assert container["Resource"].endswith(":states:::ecs:runTask.sync")
    [again] = container["Retry"]
    assert (again["MaxAttempts"], again["IntervalSeconds"], again["BackoffRate"]) == (3, 60, 2)
    [group] = resources(template, "AWS::EC2::SecurityGroup").values()
    assert "SecurityGroupIngress" not in group


def test_a_container_is_as_small_as_users_know_it(template: dict[str, Any]) -> None:
    [made] = resources(template, "AWS::ECS::TaskDefinition").values()
    assert (made["Cpu"], made["Memory"], made["NetworkMode"]) == ("512", "1024", "awsvpc")
    [container] = made["ContainerDefinitions"]
    assert container["StopTimeout"] == 120
    assert container["LogConfiguration"]["LogDriver"] == "awslogs"


def test_rights_are_given_where_they_are_needed_only(template: dict[str, Any]) -> None:
    for name, condition in (
        ("ReadRights", "OwnRoleReads"),
        ("WriteRights", "OwnRoleWrites"),
        ("EncryptRights", "OwnRoleEncrypts"),
        ("TokenRights", "UsesEcr"),
        ("SrcSecretRights", "HasSrcCredential"),
        ("DestRoleRights", "HasDestRoleArn"),
    ):
        assert template["Resources"][name]["Condition"] == condition
    [controls] = resources(template, "AWS::IAM::Role")["ControllerRole"]["Policies"]
    statements = {each["Action"][0]: each for each in controls["PolicyDocument"]["Statement"]}
    assert statements["iam:PassRole"]["Condition"] == {
        "StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    }
    assert "ecs:cluster" in statements["ecs:RunTask"]["Condition"]["ArnEquals"]
