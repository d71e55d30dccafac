"""What an emulator does not see: what AWS refuses in a real account, region or partition."""

from __future__ import annotations

import json
import re
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import cfnlint
import pytest

from tests.infra.checks import inline, resources

NAMES = ("s3", "ecr", "hub", "hub-oidc", "image")
HUBS = ("hub", "hub-oidc")
# Lambda checks at creation that the role may do this.
IN_VPC = {
    "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses",
}  # fmt: skip
# Names that are unique in an account, not in a region: where each is in the properties.
OF_AN_ACCOUNT = {
    "AWS::CloudFront::Function": ("Name",),
    "AWS::CloudFront::OriginAccessControl": ("OriginAccessControlConfig", "Name"),
    "AWS::CloudFront::ResponseHeadersPolicy": ("ResponseHeadersPolicyConfig", "Name"),
    "AWS::CloudFront::CachePolicy": ("CachePolicyConfig", "Name"),
    "AWS::IAM::Role": ("RoleName",),
    "AWS::IAM::ManagedPolicy": ("ManagedPolicyName",),
    "AWS::IAM::InstanceProfile": ("InstanceProfileName",),
    "AWS::S3::Bucket": ("BucketName",),
}


@pytest.fixture(params=NAMES)
def template(request: pytest.FixtureRequest, templates: dict[str, Path]) -> dict[str, Any]:
    return _read(templates, request.param)


def _read(templates: dict[str, Path], name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(templates[name].read_text("utf-8"))
    return found


def _statements(template: dict[str, Any], role: str) -> list[dict[str, Any]]:
    """What the role itself allows, and the policies that name it."""
    policies = inline(resources(template, "AWS::IAM::Role")[role])
    policies += [
        each
        for each in resources(template, "AWS::IAM::Policy").values()
        if {"Ref": role} in each.get("Roles", [])
    ]
    return [statement for each in policies for statement in each["PolicyDocument"]["Statement"]]


def _allowed(template: dict[str, Any], role: str) -> set[str]:
    return {
        action
        for each in _statements(template, role)
        if each["Effect"] == "Allow"
        for action in each["Action"]
    }


def test_a_cluster_needs_no_role_that_a_new_account_lacks(template: dict[str, Any]) -> None:
    """Capacity providers need ECS's service-linked role before the cluster is there."""
    for cluster in resources(template, "AWS::ECS::Cluster").values():
        assert "CapacityProviders" not in cluster
        assert "DefaultCapacityProviderStrategy" not in cluster


@pytest.mark.parametrize("hub", HUBS)
def test_a_job_may_do_what_the_roles_of_tasks_may_do_to_their_sides(
    templates: dict[str, Path], hub: str
) -> None:
    sides = set()
    for kind, roles in (("s3", ("MachineRole",)), ("ecr", ("CopierRole", "PlanRole"))):
        template = _read(templates, kind)
        sides |= set().union(*(_allowed(template, role) for role in roles))
    sides = {
        each for each in sides if each.partition(":")[0] in ("s3", "ecr", "sts", "secretsmanager")
    }
    assert {"ecr:GetAuthorizationToken", "sts:AssumeRole", "s3:PutObject"} <= sides
    assert sides - _allowed(_read(templates, hub), "JobRole") == set()


def test_machines_get_a_public_address_unless_somebody_says_no(templates: dict[str, Path]) -> None:
    """The subnets that a person makes give none, and a machine without one reaches nothing."""
    template = _read(templates, "s3")
    declared = template["Parameters"]["publicIp"]
    assert (declared["Default"], declared["AllowedValues"]) == ("ENABLED", ["ENABLED", "DISABLED"])
    assert _read(templates, "ecr")["Parameters"]["publicIp"]["Default"] == "ENABLED"
    launched = resources(template, "AWS::EC2::LaunchTemplate")
    assert launched.keys() == {"WorkerTemplate", "FinderTemplate"}
    for each in launched.values():
        data = each["LaunchTemplateData"]
        # EC2 refuses groups beside interfaces.
        assert "SecurityGroupIds" not in data
        [interface] = data["NetworkInterfaces"]
        assert interface["DeviceIndex"] == 0
        assert interface["AssociatePublicIpAddress"] == {"Fn::If": ["HasPublicIp", True, False]}
        assert interface["Groups"] == [{"Fn::GetAtt": ["NoInbound", "GroupId"]}]
    for hub in HUBS:
        template = _read(templates, hub)
        assert template["Parameters"]["publicIp"]["Default"] == "ENABLED"
        steps = resources(template, "AWS::Lambda::Function")["Step"]
        assert steps["Environment"]["Variables"]["DTH_PUBLIC_IP"] == {"Ref": "publicIp"}


def test_functions_in_a_vpc_have_their_rights_before_they_are_made(
    templates: dict[str, Path],
) -> None:
    """A policy of its own would be made at the same moment as the function."""
    template = _read(templates, "s3")
    functions = resources(template, "AWS::Lambda::Function")
    in_vpc = {name: each for name, each in functions.items() if "VpcConfig" in each}
    assert in_vpc.keys() == {"Setup", "Tick", "Start"}
    for each in in_vpc.values():
        condition = each["VpcConfig"]["Fn::If"][0]
        role = resources(template, "AWS::IAM::Role")[each["Role"]["Fn::GetAtt"][0]]
        own = {
            action
            for given in role["Policies"]
            if given.get("Fn::If", [""])[0] == condition
            for statement in given["Fn::If"][1]["PolicyDocument"]["Statement"]
            for action in statement["Action"]
        }
        assert own == IN_VPC


def test_names_of_an_account_say_the_region(template: dict[str, Any]) -> None:
    """Two hubs of one name in two regions are two hubs."""
    for kind, path in OF_AN_ACCOUNT.items():
        for resource, found in resources(template, kind).items():
            name: Any = found
            for word in path:
                name = name.get(word, {})
            assert not name or "${AWS::Region}" in json.dumps(name), (resource, name)
    for kind in ("AWS::IAM::Role", "AWS::IAM::InstanceProfile"):
        for found in resources(template, kind).values():
            assert found["Path"] == {"Fn::Sub": "/dth/${AWS::Region}/"}
    for hub_right in _arns(template, ":role/"):
        own_names = "${AWS::StackName}" in hub_right
        assert not own_names or ":role/dth/${AWS::Region}/" in hub_right, hub_right


def _arns(value: Any, part: str) -> list[str]:
    match value:
        case str():
            return [value] if value.startswith("arn:") and part in value else []
        case dict():
            return [each for inner in value.values() for each in _arns(inner, part)]
        case list():
            return [each for inner in value for each in _arns(inner, part)]
    return []


def test_logs_of_state_machines_do_not_fill_the_account_s_resource_policy(
    template: dict[str, Any],
) -> None:
    """Step Functions adds each other log group to one policy of at most 5,120 characters."""
    for found in resources(template, "AWS::Logs::LogGroup").values():
        assert found["LogGroupName"] == {"Fn::Sub": "/aws/vendedlogs/dth/${AWS::StackName}"}
    for hub in resources(template, "AWS::Lambda::Function").values():
        prefix = hub.get("Environment", {}).get("Variables", {}).get("DTH_LOG_PREFIX")
        assert prefix in (None, {"Fn::Sub": "/aws/vendedlogs/dth/${AWS::StackName}"})
    assert "/dth/tasks" not in json.dumps(template)


@pytest.mark.parametrize("name", ["s3", "ecr"])
def test_a_template_takes_schedules_only_as_eventbridge_does(
    templates: dict[str, Path], name: str
) -> None:
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rate-expressions.html"""
    declared = _read(templates, name)["Parameters"]
    rate, cron = (
        declared[each]["AllowedPattern"] for each in ("scheduleRate", "ec2CronExpression")
    )
    for good in ("", "1 hour", "5 minutes", "999999 days"):
        assert re.fullmatch(rate, good)
    for bad in ("1 hours", "5 minute", "5 MINUTES", "rate(5 minutes)", "0 days", "05 days"):
        assert not re.fullmatch(rate, bad)
    for good in (
        "",
        "0/60 * * * ? *",
        "0 20 ? * MON-FRI *",
        "0 8 LW * ? *",
        "0 8 ? JAN 6#3 2027-2030",
        "0 8 ? * 6L *",
    ):
        assert re.fullmatch(cron, good)
    for bad in ("cron(0 20 ? * MON-FRI *)", "0 20 ? * mon-fri *", "5 minutes", "0 20 ? * *"):
        assert not re.fullmatch(cron, bad)
    assert re.fullmatch(cron, declared["ec2CronExpression"]["Default"])
    zone = declared["scheduleTimeZone"]["AllowedPattern"]
    for good in available_timezones():
        assert re.fullmatch(zone, good)
        assert len(good) <= 50  # EventBridge Scheduler takes no longer one
    for bad in ("Europe/", "../x", "Europe/Berlin UTC", "${AWS::Region}", "/etc"):
        assert not re.fullmatch(zone, bad)


# ------------------------------------------------------------------------ CloudFormation's handlers

HANDLERS = json.loads(Path(__file__).with_name("handlers.json").read_text("utf-8"))["types"]
# In a hub, these are the hub's: CloudFormation makes them only for a task alone, with the rights of
# who deploys it.
OF_THE_HUB = {"AWS::DynamoDB::Table", "AWS::Logs::LogGroup"}
# What a handler calls only for properties that our templates do not have, or not for every role:
# action and why.
NOT_CALLED = {
    r"autoscaling:(Attach|Detach)\w+": "load balancers and other sources of traffic",
    r"autoscaling:(Start|Cancel)InstanceRefresh": "machines are replaced by rolling updates",
    r"autoscaling:(Put|Delete)NotificationConfiguration": "groups tell nobody",
    r"ec2:Get\*": "instance requirements; that one action is given",
    r"(managed-fleets|vpc-lattice):.+": "fleets and lattices",
    r"ssm:Get\*": "the image of Amazon Linux only: parameters of others may be secrets",
    r"ec2:\w+SecurityGroup(RuleDescriptions)?Ingress": "no group lets anybody in",
    r"ecs:(PutAccountSetting(Default)?|PutClusterCapacityProviders)": (
        "FARGATE needs no capacity provider"
    ),
    r"iam:(Get|Put|Delete)(Group|User)Policy": "policies of roles only",
    r"iam:DeleteRolePermissionsBoundary": "no role may lose its boundary",
    r"lambda:(Put|Delete)FunctionCo\w+|lambda:GetCodeSigningConfig": (
        "signed code and reserved concurrency"
    ),
    r"lambda:(GetLayerVersion|PassCapacityProvider|PublishVersion)": (
        "layers, capacity and versions"
    ),
    r"lambda:Put(FunctionRecursion|FunctionScaling|RuntimeManagement)Config": (
        "as Lambda has them by default"
    ),
    r"(elasticfilesystem|s3files):.+": "file systems",
    r"kms:(CreateGrant|DescribeKey|Encrypt)": "keys of functions, machines and clusters: AWS's own",
    r"sns:PutDataProtectionPolicy": "topics carry no data",
}


@pytest.mark.parametrize("hub", HUBS)
def test_the_service_role_may_do_what_cloudformation_s_handlers_do(
    templates: dict[str, Path], hub: str
) -> None:
    """One missing action fails every task of the hub. The table says where it is from."""
    made = {
        each["Type"]
        for name in ("s3", "ecr")
        for each in _read(templates, name)["Resources"].values()
    }
    made -= {*OF_THE_HUB, "AWS::CloudFormation::CustomResource"}
    assert made - HANDLERS.keys() == set()
    allowed = _allowed(_read(templates, hub), "ServiceRole")
    missing = {
        f"{kind}: {action}"
        for kind in made
        for action in HANDLERS[kind]
        if not any(fnmatchcase(action, pattern) for pattern in allowed)
        and not any(re.fullmatch(pattern, action) for pattern in NOT_CALLED)
    }
    assert missing == set()
    declared = {action for kind in made for action in HANDLERS[kind]}
    assert [
        each for each in NOT_CALLED if not any(re.fullmatch(each, action) for action in declared)
    ] == []


# ----------------------------------------------------------------------------- actions and services

POLICIES_OF_LINT = json.loads(
    (Path(cfnlint.__file__).parent / "data/AdditionalSpecs/Policies.json").read_text("utf-8")
)


def _documents(template: dict[str, Any]) -> list[dict[str, Any]]:
    """Every policy document of a template, of roles and of resources."""
    found: list[dict[str, Any]] = []

    def walk(value: Any) -> None:
        match value:
            case {"Statement": list()}:
                found.append(value)
            case dict():
                for each in value.values():
                    walk(each)
            case list():
                for each in value:
                    walk(each)

    walk(template["Resources"])
    return found


def _first(value: dict[str, Any]) -> Any:
    """What stands under a condition."""
    return value["Fn::If"][1] if "Fn::If" in value else value


def _unknown(statement: dict[str, Any]) -> list[str]:
    """Actions and condition keys that the service does not have."""
    statement = _first(statement)
    actions = statement["Action"]
    unknown = []
    for action in [actions] if isinstance(actions, str) else actions:
        service, _, name = action.partition(":")
        known = POLICIES_OF_LINT.get(service, {}).get("Actions", {})
        if not any(fnmatchcase(each, name.lower()) for each in known):
            unknown.append(action)
    for keys in _first(statement.get("Condition", {})).values():
        for key in keys:
            service = key.partition(":")[0]
            if service != "aws" and service not in POLICIES_OF_LINT:
                unknown.append(key)
    return unknown


def test_every_action_is_one_of_its_service(template: dict[str, Any]) -> None:
    statements = [each for document in _documents(template) for each in document["Statement"]]
    assert len(statements) > (5 if "Project" in template["Resources"] else 20)
    assert [unknown for each in statements for unknown in _unknown(each)] == []


@pytest.mark.parametrize(
    "action", ["sqs:GetQueue", "ecr:GetToken", "nothing:Do", "s3:PutBucketWebsites*"]
)
def test_an_action_that_no_service_has_is_seen(action: str) -> None:
    assert _unknown({"Action": [action]}) == [action]


# -------------------------------------------------------------------------------- who acts for whom

# Services that do not say for whose account they assume a role: a role can only be passed in its
# own account.
SAY_NO_ACCOUNT = {"lambda.amazonaws.com", "appsync.amazonaws.com", "cloudformation.amazonaws.com"}


def test_a_service_acts_for_this_account_only(template: dict[str, Any]) -> None:
    for document in _documents(template):
        for statement in document["Statement"]:
            statement = _first(statement)
            principal = statement.get("Principal", {})
            if statement["Effect"] == "Deny" or "Service" not in principal:
                continue
            service = principal["Service"]
            if json.dumps(service).strip('"') in SAY_NO_ACCOUNT or "ec2" in json.dumps(service):
                assert statement["Action"] == "sts:AssumeRole"
                continue
            condition = json.dumps(_first(statement["Condition"]))
            assert '"aws:SourceAccount": {"Ref": "AWS::AccountId"}' in condition or (
                '"aws:SourceArn"' in condition and "${AWS::AccountId}" in condition
            ), statement


@pytest.mark.parametrize("hub", HUBS)
def test_tasks_assume_only_roles_that_the_administrator_names(
    templates: dict[str, Path], hub: str
) -> None:
    template = _read(templates, hub)
    pattern = template["Parameters"]["assumableRoles"]["AllowedPattern"]
    for good in ("", "arn:aws:iam::123456789012:role/transfer-* arn:aws-cn:iam::*:role/a/b"):
        assert re.fullmatch(pattern, good)
    for bad in ("*", "arn:aws:iam::*:user/x", "arn:aws:iam::123456789012:role/a,"):
        assert not re.fullmatch(pattern, bad) or bad.endswith(",")
    [boundary] = resources(template, "AWS::IAM::ManagedPolicy").values()
    for statements in (boundary["PolicyDocument"]["Statement"], _statements(template, "JobRole")):
        [assumes] = [each for each in statements if "sts:AssumeRole" in each["Action"]]
        assert assumes["Resource"]["Fn::If"][:2] == [
            "HasAssumableRoles", {"Fn::Split": [" ", {"Ref": "assumableRoles"}]},
        ]  # fmt: skip


@pytest.mark.parametrize("hub", HUBS)
def test_the_hub_may_encrypt_tables_with_the_customer_s_key(
    templates: dict[str, Path], hub: str
) -> None:
    """DynamoDB acts with the rights of who creates a table."""
    template = _read(templates, hub)
    rights = resources(template, "AWS::IAM::Policy")["TableKeyRights"]
    [statement] = rights["PolicyDocument"]["Statement"]
    assert set(statement["Action"]) == {
        "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey",
        "kms:CreateGrant",
    }  # fmt: skip
    assert statement["Resource"] == {"Ref": "kmsKeyArn"}
    assert "dynamodb" in json.dumps(statement["Condition"])
    assert rights["Roles"] == [{"Ref": "StewardRole"}]


def test_an_update_keeps_the_number_of_machines(templates: dict[str, Path]) -> None:
    template = _read(templates, "s3")
    for name in ("WorkerGroup", "FinderGroup"):
        kept = template["Resources"][name]["UpdatePolicy"]["AutoScalingScheduledAction"]
        assert kept == {"IgnoreUnmodifiedGroupSizeProperties": True}


def test_functions_run_the_version_of_the_code_that_was_published(template: dict[str, Any]) -> None:
    for found in resources(template, "AWS::Lambda::Function").values():
        assert found["Code"]["S3ObjectVersion"] == {
            "Fn::If": ["HasLambdaVersion", {"Ref": "lambdaVersion"}, {"Ref": "AWS::NoValue"}]
        }


@pytest.mark.parametrize("hub", HUBS)
def test_a_hub_knows_the_digests_of_the_templates_of_tasks(
    templates: dict[str, Path], hub: str
) -> None:
    template = _read(templates, hub)
    steps = resources(template, "AWS::Lambda::Function")["Step"]["Environment"]["Variables"]
    assert steps["DTH_TEMPLATES"] == {"Fn::Sub": "ecr=${templateEcr} s3=${templateS3}"}
    assert {"templateS3", "templateEcr"} <= template["Parameters"].keys()
    assert "s3:GetObjectVersion" in _allowed(template, "StewardRole")


# ------------------------------------------------------------------------------------------- quotas

# AWS's default quotas of an account or region.
QUOTAS = {
    "AWS::Events::Rule": 300, "AWS::IAM::Role": 1000, "AWS::AutoScaling::AutoScalingGroup": 500,
    "AWS::DynamoDB::Table": 2500, "AWS::StepFunctions::StateMachine": 10_000,
    "AWS::SNS::Topic": 100_000,
    "AWS::CloudWatch::Alarm": 5_000, "AWS::EC2::LaunchTemplate": 5_000,
    "AWS::EC2::SecurityGroup": 2_500,
    "AWS::CloudFormation::Stack": 2_000, "AWS::IAM::InstanceProfile": 1_000,
}  # fmt: skip
# Of an account: what Step Functions adds for a log group that it does not know by its prefix.
LOG_POLICY, LOG_ENTRY = 5_120, 110  # characters
LAMBDA_STORAGE, LAMBDA_ZIP = 75_000, 46  # MB; the archive as it was measured
# What still grows with each task, and the number of tasks that a new account has room for. The docs
# name them.
FEWEST = {
    "s3": {
        "AWS::Events::Rule": 300,
        "AWS::IAM::Role": 250,
        "AWS::AutoScaling::AutoScalingGroup": 250,
    }
}
FEWEST["s3"]["AWS::Lambda::Function"] = 543
FEWEST["ecr"] = {"AWS::Events::Rule": 300, "AWS::IAM::Role": 166, "AWS::Lambda::Function": 543}


@pytest.mark.parametrize("name", ["s3", "ecr"])
def test_a_hundred_tasks_fit_into_a_new_account(templates: dict[str, Path], name: str) -> None:
    template = _read(templates, name)
    # A task has one kind of schedule.
    rule, zone = (
        Counter(
            each["Type"]
            for each in template["Resources"].values()
            if each.get("Condition") not in ("Alone", other)
        )
        for other in ("Zoned", "Scheduled")
    )
    of_one = rule | zone
    of_one["AWS::CloudFormation::Stack"] = 1
    room = {kind: most // of_one[kind] for kind, most in QUOTAS.items() if of_one[kind]}
    room["AWS::Lambda::Function"] = LAMBDA_STORAGE // (LAMBDA_ZIP * of_one["AWS::Lambda::Function"])
    prefixed = "/aws/vendedlogs/" in json.dumps(resources(template, "AWS::Logs::LogGroup"))
    room["policy of logs"] = 10_000 if prefixed else LOG_POLICY // LOG_ENTRY
    assert all(tasks >= 100 for tasks in room.values()), room
    # A thousand need larger quotas: these, and no others.
    assert {
        kind: tasks for kind, tasks in room.items() if tasks < 1000 and kind in FEWEST[name]
    } == FEWEST[name]
    named = {"AWS::DynamoDB::Table"}
    assert {kind for kind, tasks in room.items() if tasks < 1000} - FEWEST[
        name
    ].keys() - named == set()


def test_a_template_is_within_cloudformation_s_limits(template: dict[str, Any]) -> None:
    assert len(json.dumps(template, separators=(",", ":"))) < 1_000_000
    assert len(template["Resources"]) < 500
    assert len(template["Parameters"]) < 200
    assert len(template.get("Outputs", {})) < 200
    assert len(template.get("Mappings", {})) < 200
    assert all(len(each.get("Description", "")) < 4000 for each in template["Parameters"].values())
    for found in resources(template, "AWS::Lambda::Function").values():
        names = found.get("Environment", {}).get("Variables", {})
        assert sum(len(name) + 60 for name in names) < 4096


# -------------------------------------------------------------------------------------------- China

# CloudFront in China refuses these. The schemas of its regions do not say so.
POLICIES = {
    "AWS::CloudFront::CachePolicy", "AWS::CloudFront::OriginRequestPolicy",
    "AWS::CloudFront::ResponseHeadersPolicy", "AWS::CloudFront::OriginAccessControl",
    "AWS::CloudFront::Function",
    "AWS::Cognito::UserPool",
}  # fmt: skip


def _chosen(value: Any, conditions: dict[str, bool]) -> Any:
    """The value as CloudFormation resolves its conditions; None for a property that is left out."""
    match value:
        case {"Fn::If": [str(name), yes, no]} if name in conditions:
            return _chosen(yes if conditions[name] else no, conditions)
        case {"Ref": "AWS::NoValue"}:
            return None
        case dict():
            found = {name: _chosen(each, conditions) for name, each in value.items()}
            return {name: each for name, each in found.items() if each is not None}
        case list():
            return [
                each for each in (_chosen(inner, conditions) for inner in value) if each is not None
            ]
    return value


@pytest.mark.parametrize("china", [True, False])
def test_the_console_s_address_is_one_that_cloudfront_takes_in_china(
    templates: dict[str, Path], china: bool
) -> None:
    template = _read(templates, "hub-oidc")
    assert template["Conditions"]["InChina"] == {
        "Fn::Equals": [{"Ref": "AWS::Partition"}, "aws-cn"]
    }
    assert template["Conditions"]["NotInChina"] == {"Fn::Not": [{"Condition": "InChina"}]}
    conditions = {"InChina": china, "NotInChina": not china}
    made = {
        name: _chosen(each, conditions)
        for name, each in template["Resources"].items()
        if conditions.get(each.get("Condition"), True)
    }
    config = made["Distribution"]["Properties"]["DistributionConfig"]
    behaviours = [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]
    assert (json.dumps(made).count("SecurityHeaders") == 0) is china
    assert config["IPV6Enabled"] is not china
    for each in behaviours:
        assert ("ForwardedValues" in each) is china
        assert not {"CachePolicyId", "ResponseHeadersPolicyId"} & each.keys() if china else True
        assert "CachePolicyId" in each or china
    assert "WebACLId" not in config or not china
    if china:
        assert not {each["Type"] for each in made.values()} & POLICIES
        [api] = config["CacheBehaviors"]
        assert "Authorization" in api["ForwardedValues"]["Headers"]
        assert (api["MinTTL"], api["DefaultTTL"], api["MaxTTL"]) == (0, 0, 0)
        assert config["DefaultCacheBehavior"]["ForwardedValues"] == {"QueryString": False}


def test_elsewhere_nothing_is_said_of_china(templates: dict[str, Path]) -> None:
    template = _read(templates, "hub")
    assert "InChina" not in template["Conditions"]
    assert "ForwardedValues" not in json.dumps(template)
