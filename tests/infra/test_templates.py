"""What holds for every template."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infra.checks import find_faults, inline, read_state_machines, resources

REGIONS = {  # in which there is everything that the template names
    "s3": ["us-east-1", "cn-north-1", "us-gov-west-1"],
    "ecr": ["us-east-1", "cn-north-1", "us-gov-west-1"],
    "hub": ["us-east-1"],
    "hub-oidc": ["us-east-1", "cn-north-1"],
    "image": ["us-east-1", "cn-north-1", "us-gov-west-1"],
}
NAMES = tuple(REGIONS)
TASKS = ("s3", "ecr")
MOST_MANAGED, MOST_INLINE = (
    6144,
    10_240,
)  # characters that IAM takes of a managed policy, and of all those of one role
LONGEST = {  # what policies name, as long as it gets
    "AWS::Partition": "aws-us-gov",
    "AWS::Region": "ap-southeast-2",
    "AWS::AccountId": "1" * 12,
    "AWS::StackName": "n" * 19,
    "AWS::URLSuffix": "amazonaws.com.cn",
    "assetBucket": "data-transfer-hub-assets-111111111111-ap-southeast-2",
    "assetPrefix": "dth/10.10.10-123456789012",
}


@pytest.fixture(params=NAMES)
def file(request: pytest.FixtureRequest, templates: dict[str, Path]) -> Path:
    return templates[request.param]


@pytest.fixture
def template(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def test_all_are_looked_at(templates: dict[str, Path]) -> None:
    assert templates.keys() == {*NAMES}


@pytest.mark.parametrize(
    ("name", "region"), [(name, region) for name, regions in REGIONS.items() for region in regions]
)
def test_cfn_lint_finds_nothing(templates: dict[str, Path], name: str, region: str) -> None:
    file = templates[name]
    linted = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), file, "--regions", region],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")


def test_they_are_the_same_every_time(templates: dict[str, Path], tmp_path: Path) -> None:
    from dth.infra.app import synth

    again = synth(tmp_path)
    assert {name: file.read_bytes() for name, file in again.items()} == {
        name: file.read_bytes() for name, file in templates.items()
    }


def test_it_needs_no_bootstrapped_account(template: dict[str, Any]) -> None:
    assert "BootstrapVersion" not in template["Parameters"]
    assert "CheckBootstrapVersion" not in template.get("Rules", {})
    assert "cdk-hnb659fds" not in json.dumps(template)


def test_every_parameter_has_its_place_and_a_label(template: dict[str, Any]) -> None:
    declared = template["Parameters"]
    assert all(len(each["Description"]) > 5 for each in declared.values())
    grouped = template["Metadata"]["AWS::CloudFormation::Interface"]
    shown = [name for group in grouped["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(shown) == sorted(declared)
    assert grouped["ParameterLabels"].keys() == declared.keys()


def test_what_may_be_refused_by_tls_alone_is(template: dict[str, Any]) -> None:
    for kind in ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"):
        for found in resources(template, kind).values():
            first = found["PolicyDocument"]["Statement"][0]
            assert (first["Effect"], first["Principal"]) == ("Deny", "*")
            assert first["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_no_right_is_for_all_of_a_service_and_every_role_is_bounded(
    template: dict[str, Any],
) -> None:
    roles = resources(template, "AWS::IAM::Role")
    rights = [*resources(template, "AWS::IAM::Policy").values()]
    rights += [each for role in roles.values() for each in inline(role)]
    statements = [each for given in rights for each in given["PolicyDocument"]["Statement"]]
    assert statements
    for statement in statements:
        assert not any(action.endswith(":*") or action == "*" for action in statement["Action"])
    for role in roles.values():
        assert role["PermissionsBoundary"]["Fn::If"][0] == "HasPermissionsBoundary"


def test_policies_are_not_too_long(template: dict[str, Any]) -> None:
    roles = resources(template, "AWS::IAM::Role")
    lengths = {
        name: [_length(each["PolicyDocument"]) for each in inline(role)]
        for name, role in roles.items()
    }
    for made in resources(template, "AWS::IAM::Policy").values():
        for role in made["Roles"]:
            lengths[role["Ref"]].append(_length(made["PolicyDocument"]))
    assert {name: sum(each) for name, each in lengths.items() if sum(each) > MOST_INLINE} == {}
    for made in resources(template, "AWS::IAM::ManagedPolicy").values():
        assert _length(made["PolicyDocument"]) <= MOST_MANAGED


def _length(document: dict[str, Any]) -> int:
    return len(json.dumps(_filled(document), separators=(",", ":")))


def _filled(value: Any) -> Any:
    match value:
        case {"Fn::Sub": [str(text), dict()]} | {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", lambda name: LONGEST.get(name[1], "x" * 40), text)
        case {"Ref": str()} | {"Fn::GetAtt": list()} | {"Fn::If": list()}:
            return "x" * 90
        case dict():
            return {name: _filled(each) for name, each in value.items()}
        case list():
            return [_filled(each) for each in value]
    return value


def test_state_machines_lead_somewhere(template: dict[str, Any]) -> None:
    for definition in read_state_machines(template).values():
        assert find_faults(definition) == []


@pytest.mark.parametrize("name", TASKS)
def test_queues_are_as_users_know_them(templates: dict[str, Path], name: str) -> None:
    queues = resources(json.loads(templates[name].read_text("utf-8")), "AWS::SQS::Queue")
    assert queues["Queue"]["VisibilityTimeout"] == 15 * 60
    kept = {name: each["MessageRetentionPeriod"] / 86400 for name, each in queues.items()}
    assert kept == {"Queue": 14, "DeadLetters": 14, "MissedStarts": 1}
    assert queues["Queue"]["RedrivePolicy"]["maxReceiveCount"] == 5
