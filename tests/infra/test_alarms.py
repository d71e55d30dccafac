"""Alarms look at metrics that something really writes, and late metrics do not hide from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dth.compose.aws.functions.objects import Settled, _Memory, measure
from dth.compose.aws.functions.report import report
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from tests.infra.checks import resources

QUIET = Depth(0, 0, 0)
NOTHING: dict[str, Any] = {"dead": 0, "missed": 0, "machines": 0, "paused": False}
# Metrics that AWS writes itself, and their dimensions, by the documentation of each service.
OF_AWS = {
    ("AWS/Lambda", "Errors"): ["FunctionName"],
    ("AWS/States", "ExecutionsFailed"): ["StateMachineArn"],
    ("AWS/States", "ExecutionsTimedOut"): ["StateMachineArn"],
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): ["QueueName"],
}


@pytest.fixture
def alarms(templates: dict[str, Path], request: pytest.FixtureRequest) -> dict[str, Any]:
    found = json.loads(templates[request.param].read_text("utf-8"))
    telling = resources(found, "AWS::CloudWatch::Alarm").items()
    return {name: each for name, each in telling if each["AlarmActions"] == [{"Ref": "Alarms"}]}


def written(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], list[str]]:
    """Namespace and name of all metrics on standard output, and their dimensions."""
    found = {}
    for line in map(json.loads, capsys.readouterr().out.splitlines()):
        for each in line["_aws"]["CloudWatchMetrics"]:
            for metric in each["Metrics"]:
                assert line[metric["Name"]] > 0
                found[each["Namespace"], metric["Name"]] = each["Dimensions"][0]
                assert all(name in line for name in each["Dimensions"][0])
    return found


@pytest.mark.parametrize("alarms", ["s3", "ecr"], indirect=True)
def test_each_alarm_has_a_metric_that_is_written(
    alarms: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTH_TASK", "t")
    report(measure(Settled(failed=1), QUIET, **NOTHING))
    known = OF_AWS | written(capsys)
    for found in alarms.values():
        assert [each["Name"] for each in found["Dimensions"]] == known[
            found["Namespace"], found["MetricName"]
        ]
    assert alarms.keys() > {"Control"}


@pytest.mark.parametrize("alarms", ["s3", "ecr"], indirect=True)
def test_late_metrics_are_seen(alarms: dict[str, Any]) -> None:
    """CloudWatch takes the fill value for a metric that is late:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/ monitoring/using-metric-math.html"""
    for found in alarms.values():
        assert found["DatapointsToAlarm"] < found["EvaluationPeriods"]
        assert found["EvaluationPeriods"] >= 5
        assert found["TreatMissingData"] == "notBreaching"
        assert "FILL" not in json.dumps(found)
    [once] = [each for name, each in alarms.items() if name in ("Failures", "Missed")]
    assert (once["DatapointsToAlarm"], once["EvaluationPeriods"]) == (1, 5)


@pytest.mark.parametrize(
    ("settled", "others"),
    [
        (Settled(failed=2), {}),
        (Settled(failed_runs=1), {}),
        (Settled(), {"dead": 1}),
        (Settled(), {"missed": 1}),
        (Settled(), {"machines": 1}),
        (Settled(), {"paused": True}),
    ],
)
def test_what_a_person_must_know_raises_the_alarm(settled: Settled, others: dict[str, Any]) -> None:
    measured = measure(settled, QUIET, **{**NOTHING, **others})
    assert measured["Failures"] > 0


def test_a_task_that_waits_writes_no_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    """Each metric costs 0.30 USD a month, whatever its value."""
    report(measure(Settled(), QUIET, **NOTHING))
    assert capsys.readouterr().out == ""


def _run(state: RunState) -> Run:
    return Run(1, RunKind.SYNC, state, 1.0, counts=Counts(done=3, failed=1, done_bytes=10))


def test_a_run_that_fails_is_counted_once() -> None:
    memory = _Memory()
    assert memory.count([_run(RunState.LISTING)]) == Settled(3, 1, 10, 0)
    assert memory.count([_run(RunState.FAILED)]) == Settled(failed_runs=1)
    assert memory.count([_run(RunState.FAILED)]) == Settled()


def test_runs_that_failed_before_an_upgrade_are_no_news() -> None:
    memory = _Memory(counts={"1": [3, 1, 10]})
    assert memory.count([_run(RunState.FAILED)]) == Settled()
    assert memory.count([_run(RunState.FAILED)]) == Settled()


@pytest.mark.parametrize("name", ["s3", "ecr"])
def test_a_start_that_nobody_hears_is_kept(templates: dict[str, Path], name: str) -> None:
    template = json.loads(templates[name].read_text("utf-8"))
    letters = {"Arn": {"Fn::GetAtt": ["MissedStarts", "Arn"]}}
    assert (
        template["Resources"]["Schedule"]["Properties"]["Targets"][0]["DeadLetterConfig"] == letters
    )
    in_zone = template["Resources"]["ZoneSchedule"]["Properties"]["Target"]
    assert in_zone["DeadLetterConfig"] == letters
    asynchronous = {"s3": ["Start"], "ecr": []}[name]
    for each in asynchronous:
        found = template["Resources"][each]["Properties"]
        assert found["DeadLetterConfig"] == {"TargetArn": letters["Arn"]}
