"""Everything that a stack makes has a tag with the stack's name: bills are split by it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import cfnlint
import pytest

from dth.infra.statements import STACK_TAG
from tests.infra.checks import read_state_machines, resources

NAMES = ("s3", "ecr", "hub", "hub-oidc", "image")
OURS = {"Key": STACK_TAG, "Value": {"Ref": "AWS::StackName"}}
# Where tags are not a list of pairs under the name Tags.
ELSEWHERE = {
    "AWS::Cognito::UserPool": "UserPoolTags",
    "AWS::EC2::LaunchTemplate": "TagSpecifications",
}
# What CloudFormation's schema calls taggable, and is not: there is nothing to be billed.
NOTHING = {
    "AWS::CloudWatch::Dashboard": "the CDK knows no tags of it",
    "AWS::CloudFront::Function": "the CDK knows no tags of it",
    "AWS::EC2::VPCEndpoint": "gateways, which are free",
}


@cache
def taggable(kind: str) -> bool:
    """Whether resources of that type have tags, by the schema that cfn-lint has."""
    places = Path(cfnlint.__file__).parent / "data/schemas"
    files = json.loads((places / "providers/us-east-1.json").read_text("utf-8"))
    schema = json.loads((places / "resources" / f"{files[kind]}.json").read_text("utf-8"))
    return bool({"Tags", *ELSEWHERE.values()} & schema["properties"].keys())


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_can_has_the_tag(templates: dict[str, Path], name: str) -> None:
    template = json.loads(templates[name].read_text("utf-8"))
    seen = 0
    for resource, made in template["Resources"].items():
        kind = made["Type"]
        if kind == "AWS::CloudFormation::CustomResource" or not taggable(kind) or kind in NOTHING:
            continue
        tags: Any = made.get("Properties", {}).get(ELSEWHERE.get(kind, "Tags"), [])
        if kind == "AWS::EC2::LaunchTemplate":
            tags = tags[0]["Tags"]
        if isinstance(tags, dict):
            tags = [{"Key": key, "Value": value} for key, value in tags.items()]
        pairs = [{name: each[name] for name in ("Key", "Value")} for each in tags]
        assert OURS in pairs, (resource, kind, tags)
        seen += 1
    assert seen > 2


def test_what_belongs_to_machines_and_containers_is_tagged(templates: dict[str, Path]) -> None:
    template = json.loads(templates["s3"].read_text("utf-8"))
    for launched in resources(template, "AWS::EC2::LaunchTemplate").values():
        given = launched["LaunchTemplateData"]["TagSpecifications"]
        assert {each["ResourceType"] for each in given} == {"volume", "network-interface"}
        assert all(OURS in each["Tags"] for each in given)
    for group in resources(template, "AWS::AutoScaling::AutoScalingGroup").values():
        assert all(tag["PropagateAtLaunch"] for tag in group["Tags"])
    copies = json.loads(templates["ecr"].read_text("utf-8"))
    assert "TASK_DEFINITION" in json.dumps(read_state_machines(copies))
