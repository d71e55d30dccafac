"""The own look at state machines sees what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infra.checks import find_faults, read_state_machines

ARN = "arn:aws:states:::lambda:invoke"
GOOD: dict[str, Any] = {
    "StartAt": "Plan",
    "States": {
        "Plan": {"Type": "Task", "Resource": ARN, "Next": "Any"},
        "Any": {"Type": "Choice", "Choices": [{"Variable": "$.n", "Next": "Done"}],
        "Default": "Each"},
        "Each": {
            "Type": "Map",
            "ItemProcessor": {
                "StartAt": "Copy",
                "States": {
                    "Copy": {
                        "Type": "Task", "Resource": ARN, "End": True,
                        "Retry": [{"ErrorEquals": ["States.TaskFailed"]}],
                        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Failed"}],
                    },
                    "Failed": {"Type": "Pass", "End": True},
                },
            },
            "Next": "Done",
        },
        "Done": {"Type": "Succeed"},
    },
}  # fmt: skip


def test_a_good_one_has_no_faults() -> None:
    assert find_faults(GOOD) == []


@pytest.mark.parametrize(
    ("states", "fault"),
    [
        ({"Plan": {"Type": "Pass", "Next": "Nowhere"}}, "leads to Nowhere"),
        ({"Plan": {"Type": "Pass", "End": True}, "Alone": {"Type": "Succeed"}}, (
                                                                                "nothing leads to "
                                                                                "Alone"
                                                                                )),
        ({"Plan": {"Type": "Pass"}}, "neither a next state nor an end"),
        ({"Plan": {"Type": "Pass", "Next": "Plan", "End": True}}, "or both"),
        ({"Plan": {"Type": "Work", "End": True}}, "no known type"),
        ({"Other": {"Type": "Succeed"}}, "starts at Plan"),
        ({"Plan": {"Type": "Task", "End": True}}, "does nothing"),
        ({"Plan": {"Type": "Map", "End": True}}, "repeats nothing"),
        ({"Plan": {"Type": "Choice", "Default": "Plan"}}, "chooses among nothing"),
        ({"Plan": {"Type": "Task", "Resource": ARN, "End": True, "Retry": [{}]}},
        "without saying what"),
        (
            {"Plan": {"Type": "Task", "Resource": ARN, "End": True,
                      "Retry": [{"ErrorEquals": ["States.ALL", "A"]}]}},
            "States.ALL stands alone",
        ),
        (
            {"Plan": {"Type": "Task", "Resource": ARN, "End": True,
                      "Catch": [{"ErrorEquals": ["A"], "Next": "Gone"}]}},
            "leads to Gone",
        ),
        (
            {"Plan": {"Type": "Parallel", "End": True,
                      "Branches": [{"StartAt": "In", "States": {"In": {"Type": "Pass",
                      "Next": "Out"}}}]}},
            "the machine: Plan: In leads to Out",
        ),
    ],
)  # fmt: skip
def test_a_bad_one_is_told(states: dict[str, Any], fault: str) -> None:
    assert any(fault in each for each in find_faults({"StartAt": "Plan", "States": states}))


def test_definitions_are_read_from_templates() -> None:
    text = {
        "Fn::Sub": [
            '{"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "arn:${Fn}"}}}',
            {"Fn": {}},
        ]
    }
    machine = {"Type": "AWS::StepFunctions::StateMachine", "Properties": {"DefinitionString": text}}
    assert (
        read_state_machines({"Resources": {"M": machine}})["M"]["States"]["A"]["Resource"]
        == "arn:Fn"
    )
