"""Writes docs/reference/deployer-policy.md: the least policies of who deploys, from the templates
and from what CloudFormation's handlers declare.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import cfnlint

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/deployer-policy.md"
HANDLERS = ROOT / "tests/infra/handlers.json"
MOST = 6144  # characters of a managed policy, without spaces
PARTITION = "aws"
# Templates by what is deployed.
DEPLOYMENTS = {
    "A hub": ("hub", "image"),
    "A hub with an OpenID Connect issuer": ("hub-oidc", "image"),
    "A task for objects without a hub": ("s3",),
    "A task for images without a hub": ("ecr", "image"),
}
# The prefix of actions, where it is not the type's word in lower case.
SERVICES = {"Cognito": "cognito-idp", "StepFunctions": "states"}
# What handlers call of other services for the properties that our templates have.
OTHERS = {
    "AWS::AutoScaling::AutoScalingGroup": ("ec2:Describe*", "ec2:RunInstances"),
    "AWS::EC2::LaunchTemplate": ("ssm:GetParameters",),
    "AWS::WAFv2::WebACLAssociation": ("appsync:SetWebACL",),
    "AWS::Lambda::Function": ("s3:GetObject", "s3:GetObjectVersion"),
}
IAM = ("iam:PassRole", "iam:CreateServiceLinkedRole")
READING = ("Describe", "Get", "List")
# Reading these is reading data, so each action is named.
DATA = {"s3", "dynamodb", "secretsmanager", "ecr", "sqs", "lambda"}
# What handlers declare for properties that our templates do not have.
NEVER = {
    "dynamodb": (
        "BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem",
        "ImportTable", "DescribeImport", "AssociateTableReplica", "CreateTableReplica",
        "DisableKinesisStreamingDestination", "EnableKinesisStreamingDestination",
        "UpdateKinesisStreamingDestination", "DeleteResourcePolicy", "PutResourcePolicy",
    ),
    "cloudfront": ("CreateConnectionGroup",),
    "secretsmanager": ("ReplicateSecretToRegions", "RemoveRegionsFromReplication"),
    "s3": ("GetObject", "GetObjectMetadata", "ListBucket", "DeleteObject"),
    "iam": (
        "AttachGroupPolicy", "AttachUserPolicy", "DetachGroupPolicy", "DetachUserPolicy",
        "DeleteGroupPolicy", "DeleteUserPolicy", "GetGroupPolicy", "GetUserPolicy",
        "PutGroupPolicy", "PutUserPolicy",
    ),
    "autoscaling": (
        "AttachLoadBalancerTargetGroups", "AttachLoadBalancers", "AttachTrafficSources",
        "DetachLoadBalancerTargetGroups", "DetachLoadBalancers", "DetachTrafficSources",
        "StartInstanceRefresh", "CancelInstanceRefresh",
    ),
}  # fmt: skip
VIA = {"ForAnyValue:StringEquals": {"aws:CalledVia": ["cloudformation.amazonaws.com"]}}
ASSETS = "data-transfer-hub-assets-*"

Statement = dict[str, Any]


def handlers() -> dict[str, list[str]]:
    """What handlers call, by the type of resource."""
    found = json.loads(HANDLERS.read_text("utf-8"))
    return {**found["types"], **found["without"]}


def made_by(template: Mapping[str, Any]) -> set[str]:
    """The actions with which CloudFormation makes, changes and deletes the template's stack."""
    known, actions = handlers(), set()
    for each in template["Resources"].values():
        kind = each["Type"]
        if kind == "AWS::CloudFormation::CustomResource":
            actions.add("lambda:InvokeFunction")
            continue
        word = kind.split("::")[1]
        service = SERVICES.get(word, word.lower())
        actions |= {action for action in known[kind] if action.partition(":")[0] == service}
        actions |= {action for action in known[kind] if action in IAM}
        actions |= {*OTHERS.get(kind, ())}
    return {each for each in actions if _is_needed(each)}


@cache
def _actions_of_iam() -> dict[str, Any]:
    """The actions that IAM knows, by service: handlers declare some that it does not."""
    file = Path(cfnlint.__file__).parent / "data/AdditionalSpecs/Policies.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def _is_needed(action: str) -> bool:
    service, _, name = action.partition(":")
    known = _actions_of_iam().get(service, {}).get("Actions", {})
    is_known = any(fnmatchcase(each, name.lower()) for each in known)
    return is_known and name not in NEVER.get(service, ())


def statements(actions: Iterable[str]) -> list[Statement]:
    """Those actions, through CloudFormation only, one statement a service."""
    by_service: dict[str, set[str]] = defaultdict(set)
    for action in actions:
        by_service[action.partition(":")[0]].add(action)
    made = [
        {
            "Sid": "".join(word.title() for word in service.split("-")),
            "Effect": "Allow",
            "Action": sorted(_short(service, names)),
            "Resource": _resources(service),
            "Condition": VIA,
        }
        for service, names in sorted(by_service.items())
        if service != "iam"
    ]
    return made + _roles(by_service["iam"])


def _short(service: str, actions: set[str]) -> set[str]:
    """Looking is one word where it tells no data."""
    if service in DATA:
        return actions
    words = {word for word in READING if any(f"{service}:{word}" in each for each in actions)}
    rest = {each for each in actions if not each.partition(":")[2].startswith(READING)}
    return rest | {f"{service}:{word}*" for word in words}


def _resources(service: str) -> Any:
    if service == "s3":
        return [f"arn:{PARTITION}:s3:::*"]
    return "*"


def _roles(actions: set[str]) -> list[Statement]:
    """Rights on the roles that the templates make, which all have one path, and on those of AWS."""
    ours = [f"arn:{PARTITION}:iam::*:{kind}/dth/*" for kind in ("role", "instance-profile")] + [
        f"arn:{PARTITION}:iam::*:policy/*"
    ]
    linked = f"arn:{PARTITION}:iam::*:role/aws-service-role/*"
    own = sorted(actions - {"iam:CreateServiceLinkedRole"})
    made = [{"Sid": "Roles", "Effect": "Allow", "Action": own, "Resource": ours, "Condition": VIA}]
    if "iam:CreateServiceLinkedRole" in actions:
        made.append(
            {
                "Sid": "LinkedRoles",
                "Effect": "Allow",
                "Action": ["iam:CreateServiceLinkedRole"],
                "Resource": linked,
            }
        )
    return made


def own_calls() -> list[Statement]:
    """What `dth aws` calls itself: publish, deploy, diff, status, run, destroy."""

    def allow(sid: str, actions: Iterable[str], resources: Any) -> Statement:
        return {
            "Sid": sid, "Effect": "Allow", "Action": sorted(actions), "Resource": resources,
        }  # fmt: skip

    stacks = (
        "CreateChangeSet", "DeleteChangeSet", "DeleteStack", "DescribeChangeSet",
        "DescribeStackEvents", "DescribeStacks", "ExecuteChangeSet", "TagResource",
    )  # fmt: skip
    assets = (
        "CreateBucket", "GetBucketPolicy", "GetObject", "GetObjectVersion", "ListBucket",
        "PutBucketPolicy", "PutBucketPublicAccessBlock", "PutBucketVersioning",
        "PutEncryptionConfiguration", "PutObject", "AbortMultipartUpload",
    )  # fmt: skip
    images = (
        "BatchCheckLayerAvailability", "CompleteLayerUpload", "CreateRepository", "DescribeImages",
        "DescribeRepositories", "InitiateLayerUpload", "PutImage", "UploadLayerPart",
    )  # fmt: skip
    buckets = [f"arn:{PARTITION}:s3:::{ASSETS}", f"arn:{PARTITION}:s3:::{ASSETS}/*"]
    return [
        allow("Stacks", (f"cloudformation:{each}" for each in stacks), "*"),
        allow("Assets", (f"s3:{each}" for each in assets), buckets),
        allow(
            "Images",
            (f"ecr:{each}" for each in images),
            f"arn:{PARTITION}:ecr:*:*:repository/data-transfer-hub",
        ),
        allow("Token", ["ecr:GetAuthorizationToken", "sts:GetCallerIdentity"], "*"),
        allow(
            "Builds",
            ["codebuild:BatchGetBuilds", "codebuild:StartBuild"],
            f"arn:{PARTITION}:codebuild:*:*:project/*",
        ),
        allow("Runs", ["lambda:InvokeFunction", "states:StartExecution"], "*"),
    ]


def policies(templates: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> list[Any]:
    """Policy documents for who deploys these templates, none longer than IAM takes."""
    actions: set[str] = set().union(*(made_by(templates[name]) for name in names))
    documents: list[list[Statement]] = [own_calls()]
    for statement in statements(actions):
        if _length([*documents[-1], statement]) > MOST:
            documents.append([])
        documents[-1].append(statement)
    return [_document(each) for each in documents]


def _document(statements: list[Statement]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _length(statements: list[Statement]) -> int:
    return len(json.dumps(_document(statements), separators=(",", ":")))


TEXT = """# The least policy of who deploys

These policies let somebody deploy, upgrade and remove what the templates make, with `dth aws` or in CloudFormation's
console. A script writes them from the templates and from what CloudFormation's handlers declare to call, and a test
compares them. They were not tried in a real account: if a deployment ends with `AccessDenied`, the message names the
action that is missing. Please report it.

- The first statements are for what `dth aws` calls itself. Everything else is allowed only through CloudFormation
  (`aws:CalledVia`), so these policies do not let anybody use the services directly.
- In China write `arn:aws-cn:` for `arn:aws:`, in GovCloud `arn:aws-us-gov:`.
- If you give another bucket with `--bucket`, name it in the statement `Assets`.
- Roles may be made below the path `/dth/` only. Whoever may make roles can give them any right. To bound this, deploy
  with `permissionsBoundary`, and add the condition `"StringEquals": {"iam:PermissionsBoundary": "ARN"}` to the actions
  `iam:CreateRole`, `iam:PutRolePolicy` and `iam:AttachRolePolicy`.
- With `kmsKeyArn`, the key's own policy must allow whoever deploys to use it.
- An IAM policy has at most 6,144 characters, so what is longer is split into several policies. Attach all of them.
"""


def page(templates: Mapping[str, Mapping[str, Any]]) -> str:
    note = (
        "<!-- Written by docs/deployer_policy.py. Change the templates, then run: "
        "python -m docs.generate -->\n\n"
    )
    parts = [note + TEXT]
    for title, names in DEPLOYMENTS.items():
        parts.append(f"\n## {title}\n")
        made = policies(templates, names)
        for number, document in enumerate(made, 1):
            if len(made) > 1:
                parts.append(f"\nPolicy {number} of {len(made)}:\n")
            parts.append(f"\n```json\n{_text(document)}\n```\n")
    return "".join(parts)


def _text(document: Mapping[str, Any]) -> str:
    """The document with one line for each value."""
    lines = []
    for statement in document["Statement"]:
        values = ",\n".join(
            f"      {json.dumps(name)}: {json.dumps(value)}" for name, value in statement.items()
        )
        lines.append(f"    {{\n{values}\n    }}")
    body = ",\n".join(lines)
    return f'{{\n  "Version": "2012-10-17",\n  "Statement": [\n{body}\n  ]\n}}'


def read_templates(files: Mapping[str, Path]) -> dict[str, Any]:
    return {name: json.loads(file.read_text("utf-8")) for name, file in files.items()}
