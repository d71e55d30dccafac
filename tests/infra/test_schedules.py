"""What begins the runs of a task: a rule, or a schedule that knows time zones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.infra.checks import resources

if TYPE_CHECKING:
    from pathlib import Path

CALLED = {
    "s3": ({"Fn::GetAtt": ["Start", "Arn"]}, "lambda:InvokeFunction"),
    "ecr": ({"Ref": "Controller"}, "states:StartExecution"),
}
LETTERS = {"Fn::GetAtt": ["MissedStarts", "Arn"]}


@pytest.fixture(params=CALLED)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def template(templates: dict[str, Path], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(templates[kind].read_text("utf-8"))
    return found


def _holds(template: dict[str, Any], name: str, given: dict[str, str]) -> bool:
    """Whether the condition of that name holds with these parameters, "" for all others."""

    def value(expression: dict[str, Any]) -> Any:
        [(function, inner)] = expression.items()
        match function:
            case "Fn::And":
                return all(map(value, inner))
            case "Fn::Or":
                return any(map(value, inner))
            case "Fn::Not":
                return not value(inner[0])
            case "Fn::Equals":
                return given.get(inner[0]["Ref"], "") == inner[1]
            case "Condition":
                return _holds(template, inner, given)
        raise AssertionError(function)

    return bool(value(template["Conditions"][name]))


@pytest.mark.parametrize(
    ("given", "by"),
    [
        ("", ""),
        ("zone", ""),
        ("cron", "Scheduled"),
        ("rate", "Scheduled"),
        ("rate cron", "Scheduled"),
        ("rate zone", "Scheduled"),
        ("rate cron zone", "Scheduled"),
        ("cron zone", "Zoned"),
    ],
)
def test_a_task_has_one_schedule_at_most(template: dict[str, Any], given: str, by: str) -> None:
    """A rate is the first, as in the hub, and has no zone."""
    names = {"rate": "scheduleRate", "cron": "ec2CronExpression", "zone": "scheduleTimeZone"}
    values = {names[each]: "x" for each in given.split()}
    held = {each for each in ("Scheduled", "Zoned") if _holds(template, each, values)}
    assert held == ({by} if by else set())
    kinds = ("AWS::Events::Rule", "AWS::Scheduler::Schedule")
    made = {
        name: each.get("Condition")
        for name, each in template["Resources"].items()
        if each["Type"] in kinds and each.get("Condition") != "Alone"
    }
    assert made == {"Schedule": "Scheduled", "ZoneSchedule": "Zoned"}


def test_a_schedule_with_a_zone_calls_what_the_rule_calls(
    template: dict[str, Any], kind: str
) -> None:
    schedule = resources(template, "AWS::Scheduler::Schedule")["ZoneSchedule"]
    assert schedule["ScheduleExpression"] == {"Fn::Sub": "cron(${ec2CronExpression})"}
    assert schedule["ScheduleExpressionTimezone"] == {"Ref": "scheduleTimeZone"}
    # Runs begin within the minute.
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    called, right = CALLED[kind]
    [rule] = resources(template, "AWS::Events::Rule")["Schedule"]["Targets"]
    assert schedule["Target"]["Arn"] == rule["Arn"] == called
    assert schedule["Target"]["Input"] == "{}"
    assert schedule["Target"]["RoleArn"] == {"Fn::GetAtt": ["ZoneRole", "Arn"]}
    role = resources(template, "AWS::IAM::Role")["ZoneRole"]
    assert template["Resources"]["ZoneRole"]["Condition"] == "Zoned"
    own, key = role["Policies"]
    may = own["PolicyDocument"]["Statement"]
    assert [(each["Action"], each["Resource"]) for each in may] == [
        ([right], called),
        (["sqs:SendMessage"], LETTERS),
    ]
    condition, rights, otherwise = key["Fn::If"]
    assert (condition, otherwise) == ("HasKmsKeyArn", {"Ref": "AWS::NoValue"})
    [uses] = rights["PolicyDocument"]["Statement"]
    assert uses["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert uses["Resource"] == {"Ref": "kmsKeyArn"}


def test_runs_of_images_have_their_parameters(templates: dict[str, Path]) -> None:
    template = json.loads(templates["ecr"].read_text("utf-8"))
    for each in ("Schedule", "ZoneSchedule"):
        assert "TaskSetup" in template["Resources"][each]["DependsOn"]
