"""One look at a task for objects: what it does with machines, and what it reads when there is
nothing to do. Auto Scaling is a stand-in, the rest is the emulator."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from dth.compose.aws.functions import objects
from dth.compose.aws.functions.objects import look_at
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Enqueued, Page
from dth.core.ports.runs import Counts, RunKind, RunState
from dth.hub.scaling import COOLDOWN, GIB
from dth.objects.plugin import PLUGIN
from dth.platforms.aws import machines as of_machines
from dth.platforms.aws.client import Refused
from dth.platforms.aws.machines import MOST_FAILURES, SILENT
from dth.platforms.aws.parameters import write_parameters

if TYPE_CHECKING:
    from dth.platforms.aws.platform import AwsNames, AwsPlatform
    from tests.aws.cloud import Calls
    from tests.servers.ministack import MiniStack

GIVEN = {"srcBucket": "source", "destBucket": "copies", "maxCapacity": "1000"}


@dataclass
class Groups:
    """Two groups as Auto Scaling keeps them. `refused`: why there are no machines."""

    groups: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            name: {"MinSize": 0, "MaxSize": most, "DesiredCapacity": 0, "Instances": []}
            for name, most in (("finder", 1), ("worker", 1000))
        }
    )
    refused: str = ""
    ended: list[str] = field(default_factory=list)
    _number: int = 0

    def answer(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        match operation:
            case "describe_auto_scaling_groups":
                [name] = arguments["AutoScalingGroupNames"]
                return {"AutoScalingGroups": [{"AutoScalingGroupName": name, **self.now(name)}]}
            case "update_auto_scaling_group":
                self.groups[arguments["AutoScalingGroupName"]] |= {
                    name: size for name, size in arguments.items() if name != "AutoScalingGroupName"
                }
            case "terminate_instance_in_auto_scaling_group":
                self.end(arguments["InstanceId"], fewer=arguments["ShouldDecrementDesiredCapacity"])
            case "describe_scaling_activities":
                return {"Activities": [{"StatusCode": "Failed", "StatusMessage": self.refused}]}
            case _:
                return None
        return {}

    def now(self, name: str) -> dict[str, Any]:
        group = self.groups[name]
        there = group["Instances"]
        while len(there) < group["DesiredCapacity"] and not self.refused:
            self._number += 1
            there.append({"InstanceId": f"i-{self._number}", "LifecycleState": "InService"})
        del there[group["DesiredCapacity"] :]
        return group

    def end(self, instance: str, *, fewer: bool = False) -> None:
        for group in self.groups.values():
            left = [each for each in group["Instances"] if each["InstanceId"] != instance]
            if left != group["Instances"]:
                if fewer and group["DesiredCapacity"] <= group["MinSize"]:
                    raise Refused("desiredSize equals minSize", "ValidationError", {})
                group["Instances"] = left
                group["DesiredCapacity"] -= fewer
                self.ended.append(instance)
                return
        raise Refused("Instance Id not found", "ValidationError", {})

    def ids(self, name: str) -> list[str]:
        return [each["InstanceId"] for each in self.now(name)["Instances"]]


@dataclass
class Looked:
    """A task whose looks a test makes."""

    platform: AwsPlatform
    names: AwsNames
    groups: Groups

    async def look(self) -> dict[str, Any]:
        return await look_at(self.platform, self.names, "request")

    async def come_up(self, kind: str) -> None:
        """All machines of a group say that they work."""
        for instance in self.groups.ids(kind):
            await self.platform.machines.report(kind, instance, time.time())

    async def end_first_run(self) -> None:
        """As the finder ends a run that had nothing to copy."""
        await self.platform.records.set_run(1, RunState.TRANSFERRING)


@pytest.fixture
async def task(
    names: AwsNames,
    aws: AwsPlatform,
    calls: Calls,
    cloud: MiniStack,
    monkeypatch: pytest.MonkeyPatch,
) -> Looked:
    missed = cloud.boto("sqs").create_queue(QueueName=f"{names.task}-missed")["QueueUrl"]
    for name, value in {
        "DTH_TASK": names.task,
        "DTH_MISSED_STARTS_URL": missed,
        "DTH_FINDER_GROUP": "finder",
        "DTH_WORKER_GROUP": "worker",
    }.items():
        monkeypatch.setenv(name, value)
    endpoints = {"srcEndpoint": cloud.url, "destEndpoint": cloud.url}
    await write_parameters(aws.dynamo, PLUGIN.type, {**GIVEN, **endpoints})
    groups = Groups()
    calls.on(groups.answer)
    return Looked(aws, names, groups)


def reported(capsys: pytest.CaptureFixture[str], metric: str) -> float:
    lines = map(json.loads, capsys.readouterr().out.splitlines())
    return sum(line.get(metric, 0) for line in lines if "_aws" in line)


# ------------------------------------------------------------------------------------------ resting

# USD, by list prices of us-east-1 (November 2026): a strongly consistent read or a write of up to
# 4 KB or 1 KB, and a call of SQS.
PRICES = {"dynamodb": 0.125e-6, "sqs": 0.4e-6}
READ_AT_ONCE = 3  # items of one batch
LOOKS = 30 * 24 * 60  # a month


async def test_a_look_at_a_task_that_rests_costs_next_to_nothing(
    task: Looked, calls: Calls
) -> None:
    await task.look()
    await task.end_first_run()
    for _ in range(3):
        await task.look()
    before = Counter(calls.calls)

    told = await task.look()

    asked = calls.calls - before
    assert told["run"]["state"] == "DONE"
    assert asked == {
        "dynamodb": 2, "dynamodb:get_item": 1, "dynamodb:batch_get_item": 1,
        "sqs": 3, "sqs:get_queue_attributes": 3,
    }  # fmt: skip
    reads = asked["dynamodb"] - 1 + READ_AT_ONCE
    assert LOOKS * (reads * PRICES["dynamodb"] + asked["sqs"] * PRICES["sqs"]) < 0.08


@pytest.mark.parametrize("what", ["a message", "a run", "a pause", "parameters", "time"])
async def test_whatever_happens_ends_the_rest(
    task: Looked, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await task.look()
    await task.end_first_run()
    for _ in range(2):
        await task.look()
    records = task.platform.records
    match what:
        case "a message":
            await task.platform.queue.send([Outgoing("m", "{}")])
        case "a run":
            await records.begin_run(RunKind.SYNC)
        case "a pause":
            await records.pause("enough")
        case "parameters":
            await write_parameters(task.platform.dynamo, PLUGIN.type, {**GIVEN, "minCapacity": "2"})
        case "time":
            monkeypatch.setattr("dth.platforms.aws.rest.FULL", 0.0)
    before = (await task.platform.dynamo.get("state", objects.MEMORY_KEY))["version"]
    told = await task.look()
    assert (await task.platform.dynamo.get("state", objects.MEMORY_KEY))["version"] == before + 1
    assert bool(told["paused"]) is (what == "a pause")
    assert bool(told["waiting"]) is (what == "a message")
    assert len(task.groups.ids("worker")) == {"a message": 1, "parameters": 2}.get(what, 0)
    assert len(task.groups.ids("finder")) == (what == "a run")


# ------------------------------------------------------------------------------------------ scaling


async def waiting(task: Looked, messages: int, size: int = 1) -> None:
    """So many messages of one object each, with that many bytes."""
    await task.look()
    counts = Counts(listed=messages, enqueued=0)
    keys = [Enqueued(f"k{n}", size, "e", "", once=True) for n in range(messages)]
    sent = [Outgoing(f"m{n}", "{}") for n in range(messages)]
    await task.platform.records.commit(1, Page(counts, enqueued=keys, messages=sent))
    await task.platform.records.set_run(1, RunState.TRANSFERRING)


@pytest.mark.parametrize(
    ("messages", "size", "machines"),
    [(1, 1, 1), (99, 1, 1), (100, 1, 2), (90, 60 * 1024**2, 1), (90, GIB, 3), (1, 900 * GIB, 1)],
)
async def test_machines_by_messages_and_bytes(
    task: Looked, messages: int, size: int, machines: int
) -> None:
    await waiting(task, messages, size)
    await task.look()
    assert len(task.groups.ids("worker")) == machines
    await task.look()  # not again before they can have come up
    assert len(task.groups.ids("worker")) == machines


async def test_machines_double_and_are_never_taken(
    task: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    await waiting(task, 100, 100 * GIB)
    monkeypatch.setattr("dth.hub.scaling.COOLDOWN", 0.0)
    sizes = []
    for _ in range(8):
        await task.look()
        sizes.append(len(task.groups.ids("worker")))
    assert sizes == [11, 21, 31, 46, 69, 100, 100, 100]
    assert COOLDOWN > 60
    await task.platform.queue.purge()
    await task.look()
    assert len(task.groups.ids("worker")) == 100  # each knows itself that it has nothing to do


async def test_machines_that_aws_refuses_are_a_note_of_the_run(task: Looked) -> None:
    task.groups.refused = "You have requested more vCPU capacity than your current limit of 5"
    await waiting(task, 1)
    for _ in range(objects.SHORT_AFTER + 1):
        await task.look()
    run = await task.platform.records.get_run(1)
    assert run.notes == [f"machines are refused: {task.groups.refused}"]


# ------------------------------------------------------------------------------ machines that fail


async def fail(task: Looked, kind: str, why: str) -> str:
    """The machine of a group does not come up: it says so as its start script does, and ends."""
    [instance] = task.groups.ids(kind)
    item = {"pk": "machine", "sk": instance, "kind": kind, "at": time.time(), "failed": why}
    await task.platform.dynamo.put("state", item)
    task.groups.end(instance)
    return instance


async def test_finders_that_do_not_come_up_fail_the_run(
    task: Looked, capsys: pytest.CaptureFixture[str]
) -> None:
    await task.look()
    for number in range(MOST_FAILURES):
        assert (await task.platform.records.get_run(1)).state is RunState.LISTING
        await fail(task, "finder", f"dnf is broken {number}")
        await task.look()
    run = await task.platform.records.get_run(1)
    assert run.state is RunState.FAILED
    assert run.error == "3 machines in a row failed: dnf is broken 2"
    assert reported(capsys, "MachinesFailed") == MOST_FAILURES
    assert task.groups.ids("finder") == []
    assert not await task.platform.records.paused()


async def test_workers_that_do_not_come_up_pause_the_task(task: Looked) -> None:
    await waiting(task, 1)
    await task.look()
    for _ in range(MOST_FAILURES):
        await fail(task, "worker", "no route")
        await task.look()
    assert await task.platform.records.paused() == (
        "3 machines in a row failed: no route; see the logs of the machines, correct the cause, "
        "then resume the task"
    )
    assert task.groups.ids("worker") == []


async def test_a_machine_that_works_ends_the_row(task: Looked) -> None:
    await waiting(task, 1)
    await task.look()
    for _ in range(MOST_FAILURES):
        await fail(task, "worker", "no route")
        await task.look()
        await task.come_up("worker")
        await task.look()
    assert not await task.platform.records.paused()


@pytest.mark.parametrize("heard", [True, False])
async def test_a_machine_that_nobody_hears_is_replaced(
    task: Looked, heard: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await waiting(task, 1)
    await task.look()
    if heard:
        await task.come_up("worker")
    await task.look()
    [silent] = task.groups.ids("worker")
    later = time.time() + SILENT + 1
    with monkeypatch.context() as patched:
        patched.setattr(of_machines.time, "time", lambda: later)
        await task.look()
    assert task.groups.ended == [silent]
    assert task.groups.ids("worker") != [silent]
    assert reported(capsys, "Failures") == 1
    await task.look()
    assert reported(capsys, "Failures") == 0


async def test_a_task_of_an_earlier_version_is_looked_at(task: Looked) -> None:
    """The memory of its last look has fewer fields, and an earlier version reads ours."""
    kept = {"quiet": {}, "counts": {}, "idle": 0, "settled": -1}
    item = {**objects.MEMORY_KEY, "json": json.dumps(kept), "version": 7}
    await task.platform.dynamo.put("state", item)
    await task.look()
    found = await task.platform.dynamo.get("state", objects.MEMORY_KEY)
    assert found["version"] == 8
    assert json.loads(found["json"]).keys() == kept.keys()


# ---------------------------------------------------------------------------- the table of records


@dataclass
class Warmed:
    """What was asked of DynamoDB for the tables."""

    refused: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any] | Refused | None:
        if operation != "update_table":
            return None
        self.asked.append(arguments)
        return Refused(self.refused, "LimitExceededException", {}) if self.refused else {}


async def enqueued(task: Looked, objects_: int) -> None:
    """So many more objects wait in the run."""
    counts = Counts(listed=objects_, enqueued=objects_)
    await task.platform.records.commit(1, Page(counts, messages=[Outgoing(f"m{objects_}", "{}")]))


async def test_the_table_of_a_large_run_is_warmed_by_its_size(task: Looked, calls: Calls) -> None:
    warmed = Warmed()
    calls.on(warmed.answer)
    await task.look()
    for more in (14_000_000, 1_000_000, 1_000_000, 20_000_000, 900_000_000, 900_000_000):
        await enqueued(task, more)
        await task.look()
    assert [each["TableName"] for each in warmed.asked] == [task.names.objects] * 3
    units = [each["WarmThroughput"]["WriteUnitsPerSecond"] for each in warmed.asked]
    assert units == [8_000, 16_000, 40_000]


async def test_few_machines_need_no_warm_table(task: Looked, calls: Calls) -> None:
    warmed = Warmed()
    calls.on(warmed.answer)
    given = {**GIVEN, "maxCapacity": "2"}
    await write_parameters(task.platform.dynamo, PLUGIN.type, given)
    await task.look()
    await enqueued(task, 900_000_000)
    await task.look()
    assert not warmed.asked


async def test_a_table_that_aws_does_not_warm_is_asked_for_once(task: Looked, calls: Calls) -> None:
    warmed = Warmed(refused="it would be too much for this account")
    calls.on(warmed.answer)
    await task.look()
    await enqueued(task, 20_000_000)
    for _ in range(3):
        await task.look()
    assert len(warmed.asked) == 1
    assert len(task.groups.ids("worker")) == 1
