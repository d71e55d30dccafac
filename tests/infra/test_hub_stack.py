"""The templates of the hub, as CloudFormation will read them; tests/aws/test_hub_stack.py has what
it does."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pytest
from graphql import build_schema

from dth.hub.api import FIELDS
from dth.infra import MAX_HUB_NAME
from dth.infra.api import render_schema, root_fields
from dth.infra.statements import TAG
from tests.infra.checks import Findings, resources

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = "the newest Python that Amazon Linux 2023 has packages of in every partition, for both"
NO_RESOURCE = "what is asked there takes no resource, or is asked before there is one"
STORES = (
    "which stores and registries tasks are about is not known before; their own policies "
    "decide, too"
)
NAMED = "everything of the tasks' stacks, which are called after the hub's"
ACCEPTED = {
    # What the rule finds: why it is so.
    ("CertificateKey", "SMG4", ""): "certificates of before would be of another hub",
    ("Vpc", "VPC7", ""): (
                         "what is copied is in the task's records; flow logs would cost more than "
                         "the machines"
                         ),
    ("Users", "COG2", ""): "a second factor is for each user to set up",
    ("Users", "COG8", ""): "the pool's paid plan is for its owner to choose",
    ("Cluster", "ECS4", ""): (
                             "containers live for minutes; Container Insights would cost more "
                             "than they do"
                             ),
    ("Api", "ASC3", ""): "what was asked, and by whom, is in the hub's audit log",
    **{("TaskBoundary", "IAM5", part): STORES for part in (":s3:::", "ecr:*", ":kms:", "secret:*")},
    **{("JobRights", "IAM5", part): STORES for part in (":s3:::", "ecr:*", ":kms:", "secret:*")},
    ("JobRights", "IAM5", "Resource::*"): NO_RESOURCE,
    **{
        (name, "IAM5", "Resource::*"): NO_RESOURCE
        for name in (
            "TaskBoundary", "MakesQueues", "MakesFunctions", "MakesMachines", "ApiRights",
            "StewardRights",
            "WorkflowRole",
        )
    },
    **{
        (name, "IAM5", "<AWS::StackName>-"): NAMED
        for name in (
            "TaskBoundary", "MakesRoles", "MakesQueues", "MakesFunctions", "MakesMachines",
            "TaskDataRights",
            "StewardRights",
        )
    },
    **{
        (name, "IAM5", "/aws/vendedlogs/dth/<AWS::StackName>/*"): "the log groups of tasks"
        for name in ("TaskBoundary", "TaskDataRights", "ApiRights", "StewardRights")
    },
    ("TaskBoundary", "IAM5", ":task/*"): "containers have ids that are not known before",
    ("ApiRights", "IAM5", "secret:*"): (
                                       "those with the hub's tag; describing one tells whether it "
                                       "has it"
                                       ),
    ("MakesFunctions", "IAM5", "<assetPrefix>/*"): (
                                                   "all of this version's code, and nothing else "
                                                   "of the bucket"
                                                   ),
    ("StewardRights", "IAM5", "<assetPrefix>/*"): "the templates of this version",
    ("MakesMachines", "IAM5", "Action::"): (
                                           "what CloudFormation's handlers look at; looking "
                                           "changes nothing"
                                           ),
    ("TableKeyRights", "IAM5", "Action::"): (
                                            "as DynamoDB asks for; of the customer's key alone, "
                                            "and through DynamoDB"
                                            ),
    ("MakesRoles", "IAM5", "aws-service-role"): "those of three services, each by its name",
    ("MakesMachines", "IAM5", ":ec2:"): (
                                        "launch templates and security groups have ids that are "
                                        "not known before"
                                        ),
    ("MakesMachines", "IAM5", "ami-amazon-linux-latest"): "Amazon Linux, for either processor",
    ("HubRights", "IAM5", ":log-group:"): "the streams of the hub's own log group",
    ("ApiLogRole", "IAM5", "/aws/appsync/apis/*"): (
                                                   "AppSync calls its log group after an id that "
                                                   "is not known before"
                                                   ),
    ("Workflow", "SF2", ""): "the log has every step",
    ("ConsoleRights", "IAM5", "<assetPrefix>/*"): "the console of this version",
    ("ConsoleRights", "IAM5", ":log-group:"): "the streams of the hub's own log group",
    ("ConsoleRights", "IAM5", "${Bucket}/*"): "the files of the console",
    ("Console", "S1", ""): "files that anybody who signs in gets",
    ("Console", "S10", ""): "its policy is a resource of its own, which the rule does not read",
    ("ConsolePolicy", "S10", ""): (
                                  "it refuses what comes without TLS; the rule does not read into "
                                  "it"
                                  ),
    ("Distribution", "CFR1", ""): "users may be anywhere",
    ("Distribution", "CFR3", ""): "who asked for what is in the hub's audit log",
    ("Distribution", "CFR4", ""): (
                                  "with an own domain TLS 1.2 is the least; CloudFront's own has "
                                  "but one policy"
                                  ),
    **{(name, "L1", ""): PYTHON
       for name in ("Job", "Certificate", "Step", "Watch", "Resolve", "Authorize", "BringConsole")},
    ("TasksTable", "DDB3", ""): "on unless a parameter says NONE",
    ("HubTable", "DDB3", ""): "on unless a parameter says NONE",
}  # fmt: skip


@pytest.fixture(scope="module", params=["hub", "hub-oidc"])
def template(request: pytest.FixtureRequest, templates: dict[str, Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(templates[request.param].read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def own(templates: dict[str, Path]) -> dict[str, Any]:
    """The one with a user pool."""
    found: dict[str, Any] = json.loads(templates["hub"].read_text("utf-8"))
    return found


def test_cdk_nag_finds_nothing_that_has_no_reason() -> None:
    found = Findings.of("dth.infra.hub_stack", "HubStack")

    assert found.unexplained(ACCEPTED) == []
    assert found.outdated(ACCEPTED) == []


@pytest.mark.parametrize(
    "modes", [("aws_cognito_user_pools", "aws_iam", "aws_lambda"), ("aws_oidc", "aws_iam")]
)
def test_the_schema_is_the_one_of_the_hub_with_the_ways_to_sign_in(modes: tuple[str, ...]) -> None:
    text = render_schema(modes)
    told = "scalar AWSDateTime scalar AWSJSON " + " ".join(
        f"directive @{mode} on OBJECT" for mode in modes
    )
    schema = build_schema(f"{told}\n{text}")
    assert schema.query_type
    assert schema.mutation_type
    assert {*schema.query_type.fields, *schema.mutation_type.fields} == FIELDS.keys()
    types = re.findall(r"^type \w+ (.*)\{", text, re.MULTILINE)
    assert set(types) == {" ".join(f"@{mode}" for mode in modes) + " "}


def test_every_root_field_has_a_resolver(template: dict[str, Any]) -> None:
    made = resources(template, "AWS::AppSync::Resolver").values()
    assert {(each["TypeName"], each["FieldName"]) for each in made} == set(root_fields())
    assert {name for _, name in root_fields()} == FIELDS.keys()
    assert {each["Runtime"]["Name"] for each in made} == {"APPSYNC_JS"}


def test_who_may_call(own: dict[str, Any], templates: dict[str, Path]) -> None:
    [api] = resources(own, "AWS::AppSync::GraphQLApi").values()
    assert api["AuthenticationType"] == "AMAZON_COGNITO_USER_POOLS"
    assert [each["AuthenticationType"] for each in api["AdditionalAuthenticationProviders"]] == [
        "AWS_IAM", "AWS_LAMBDA",
    ]  # fmt: skip
    [pool] = resources(own, "AWS::Cognito::UserPool").values()
    assert pool["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}
    groups = resources(own, "AWS::Cognito::UserPoolGroup").values()
    assert {each["GroupName"] for each in groups} == {"viewer", "operator", "admin"}
    other = json.loads(templates["hub-oidc"].read_text("utf-8"))
    [api] = resources(other, "AWS::AppSync::GraphQLApi").values()
    assert api["AuthenticationType"] == "OPENID_CONNECT"
    assert "Cognito" not in json.dumps(other)


def test_what_the_hub_remembers_outlives_it(template: dict[str, Any]) -> None:
    kept = {
        name
        for name, each in template["Resources"].items()
        if each.get("DeletionPolicy") == "Retain"
    }
    assert kept >= {"TasksTable", "HubTable", "CertificateKey"}


def test_no_role_of_a_task_goes_beyond_its_bounds(template: dict[str, Any]) -> None:
    rights = {
        action: statement
        for name in ("MakesRoles", "MakesQueues", "MakesFunctions", "MakesMachines")
        for statement in resources(template, "AWS::IAM::Policy")[name]["PolicyDocument"][
            "Statement"
        ]
        for action in statement["Action"]
    }
    for action in ("iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy"):
        [(key, bound)] = rights[action]["Condition"]["StringEquals"].items()
        assert key == "iam:PermissionsBoundary"
        assert bound["Fn::If"][2] == {"Ref": "TaskBoundary"}
    for action in (
        "iam:DeleteRolePermissionsBoundary",
        "iam:CreatePolicyVersion",
        "iam:CreateUser",
    ):
        assert action not in rights
    assert rights["iam:PassRole"]["Condition"]["StringEquals"]["iam:PassedToService"]
    # The hub's own roles are none of a task's: their names go on with what they are.
    patterns = [each["Fn::Sub"] for each in rights["iam:CreateRole"]["Resource"]]
    assert all(
        re.search(r"role/dth/\$\{AWS::Region\}/\$\{AWS::StackName\}-(s3|ecr)-\*$", each)
        for each in patterns
    )
    names = resources(template, "AWS::IAM::Role").keys()
    assert not [name for name in names if re.match("s3|ecr", name)]
    assert MAX_HUB_NAME + len("-ecr-") <= 24


def test_a_look_each_minute_and_a_workflow(template: dict[str, Any]) -> None:
    assert (
        resources(template, "AWS::Events::Rule")["EachMinute"]["ScheduleExpression"]
        == "rate(1 minute)"
    )
    functions = resources(template, "AWS::Lambda::Function")
    assert {each["Handler"].rpartition(".")[2] for each in functions.values()} == {
        "resolve", "authorize", "certify", "step", "watch", "job", "resource",
    }  # fmt: skip
    assert functions["Resolve"]["Timeout"] < 30  # as long as AppSync waits


def test_an_address_of_ones_own_has_a_certificate(template: dict[str, Any]) -> None:
    rules = {name: json.dumps(each["Assertions"]) for name, each in template["Rules"].items()}
    assert rules.keys() == {"DomainHasCertificate", "VpcHasSubnets"}
    assert '"certificateArn"' in rules["DomainHasCertificate"]
    [made] = resources(template, "AWS::CloudFront::Distribution").values()
    certificate = json.dumps(made["DistributionConfig"]["ViewerCertificate"])
    assert "AcmCertificateArn" in certificate
    assert ("IamCertificateId" in certificate) == (
        "iamCertificateId" in rules["DomainHasCertificate"]
    )
    assert ("IamCertificateId" in certificate) == ("oidcIssuer" in template["Parameters"])


def test_somebody_is_told_when_the_hub_fails_again_and_again(template: dict[str, Any]) -> None:
    alarm = resources(template, "AWS::CloudWatch::Alarm")["Failures"]
    assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (3, 15)
    assert alarm["AlarmActions"] == [{"Ref": "Alarms"}]
    looked_at = {each["Id"] for each in alarm["Metrics"]} - {"failures"}
    ours = resources(template, "AWS::Lambda::Function").keys() - {"BringConsole"}
    assert looked_at == {name.lower() for name in ours} | {"executionsfailed", "executionstimedout"}
    [told] = [each["Expression"] for each in alarm["Metrics"] if "Expression" in each]
    assert all(f"FILL({each}, 0)" in told for each in looked_at)
    [mail] = resources(template, "AWS::SNS::Subscription").values()
    assert mail["Endpoint"] == {"Ref": "alarmEmail"}


def test_the_api_is_below_the_consoles_address(template: dict[str, Any]) -> None:
    """The emulator's CloudFront does not reach its AppSync: what leads there is looked at only."""
    [made] = resources(template, "AWS::CloudFront::Distribution").values()
    config = made["DistributionConfig"]
    [api] = config["CacheBehaviors"]
    assert (api["PathPattern"], api["TargetOriginId"], "POST" in api["AllowedMethods"]) == (
        "/graphql",
        "api",
        True,
    )
    [origin] = [each for each in config["Origins"] if each["Id"] == "api"]
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    assert "Api" in json.dumps(origin["DomainName"])
    [bucket] = resources(template, "AWS::S3::Bucket").values()
    assert all(bucket["PublicAccessBlockConfiguration"].values())


OWN = {
    "${Console.Arn}",
    "${Console.Arn}/*",
    "arn:${AWS::Partition}:s3:::${assetBucket}",
    "arn:${AWS::Partition}:s3:::${assetBucket}/*",
}
CHANGING = (
    "s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectTagging", "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:PutBucketNotification", "s3:PutBucketAcl",
    "s3:PutLifecycleConfiguration", "s3:PutReplicationConfiguration", "s3:AbortMultipartUpload",
    "s3:RestoreObject",
)  # fmt: skip


def _denies(statements: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    return [
        each
        for each in statements
        if each["Effect"] == "Deny"
        and any(fnmatchcase(action, pattern) for pattern in each["Action"])
    ]


@pytest.mark.parametrize("action", CHANGING)
def test_no_task_changes_what_the_hub_runs_and_shows(template: dict[str, Any], action: str) -> None:
    [boundary] = resources(template, "AWS::IAM::ManagedPolicy").values()
    rights = resources(template, "AWS::IAM::Policy")["JobRights"]
    for policy in (boundary, rights):
        [denied] = _denies(policy["PolicyDocument"]["Statement"], action)
        assert {each["Fn::Sub"] for each in denied["Resource"]} == OWN
        assert "Condition" not in denied
    policy = resources(template, "AWS::S3::BucketPolicy")["ConsolePolicy"]
    [denied] = _denies(policy["PolicyDocument"]["Statement"][1:], action)
    assert denied["Principal"] == "*"
    assert denied["Condition"] == {"Null": {"aws:PrincipalTag/DataTransferHub": "false"}}
    assert json.dumps(denied["Resource"]).count("Console") == 2


def test_no_task_pushes_over_the_image_that_tasks_run(template: dict[str, Any]) -> None:
    [boundary] = resources(template, "AWS::IAM::ManagedPolicy").values()
    for action in ("ecr:PutImage", "ecr:CompleteLayerUpload"):
        [denied] = _denies(boundary["PolicyDocument"]["Statement"], action)
        assert "taskImage" in json.dumps(denied["Resource"])
    # Containers pull it.
    assert not _denies(boundary["PolicyDocument"]["Statement"], "ecr:BatchGetImage")


def test_the_hub_s_buckets_know_the_roles_of_tasks_by_their_tag(template: dict[str, Any]) -> None:
    """CloudFormation gives the roles of a task the tags of its stack."""
    tagged = {
        name
        for name, role in resources(template, "AWS::IAM::Role").items()
        if TAG in {each["Key"] for each in role.get("Tags", [])}
    }
    assert tagged == {"JobRole"}
