"""The one look at all tasks of a hub, over a hundred of them. Stacks and their functions are
stand-ins, tables and queues are the emulator's."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dth.core import redrive
from dth.core.errors import NotFound
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import Counts, RunKind, RunState
from dth.core.ports.status import Status
from dth.hub import tasks
from dth.hub.model import Progress, ScheduleType, Task
from dth.hub.ports import TaskQuery, TaskStackState
from dth.platforms.aws.client import Aws, Refused
from dth.platforms.aws.dynamo import each_of
from dth.platforms.aws.hub.engine import AwsEngine
from dth.platforms.aws.hub.hub import AwsHub, open_hub
from dth.platforms.aws.hub.settings import OPTIONAL, HubSettings
from dth.platforms.aws.hub.stacks import StackState
from dth.platforms.aws.hub.steward import watch
from dth.platforms.aws.hub.tables import HUB_TABLES
from dth.platforms.aws.platform import open_platform
from dth.platforms.aws.tables import create_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.ministack import MiniStack

GIVEN = {"srcBucket": "source", "destBucket": "copies", "ec2CronExpression": "0 0 1 1 ? 2199"}


@dataclass
class Many:
    """A hub with its tasks. `calls`: what it calls, by operation. `ticked`: the functions of tasks
    that it called."""

    hub: AwsHub
    ids: list[str]
    calls: Counter[str] = field(default_factory=Counter)
    ticked: list[str] = field(default_factory=list)

    async def look(self) -> Counter[str]:
        """One look at all. Returns what it called."""
        self.calls.clear()
        self.ticked.clear()
        assert await watch(self.hub.steward) == {}
        return self.calls


@dataclass
class Standing:
    """Stacks that stand as they should."""

    steward: Any
    queues: dict[str, dict[str, str]]

    async def look(self, name: str) -> StackState:
        task = await self.steward.ports.tasks.get(name.rpartition("-s3-")[2])
        place = self.steward.engine.place(task.id, task.type)
        outputs = self.queues[task.id]
        return StackState("CREATE_COMPLETE", task.id, outputs, {}, place.parameters(task))


@pytest.fixture
def count() -> int:
    """How many tasks the hub has."""
    return 4


@pytest.fixture
async def many(
    cloud: MiniStack, count: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Many]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    prefix = f"many-{os.getpid()}-{time.monotonic_ns()}"
    for name, table in HUB_TABLES.items():
        cloud.boto("dynamodb").create_table(**create_table(f"{prefix}-{name}", table))
    texts = {each.name: each.name for each in fields(HubSettings) if each.name not in OPTIONAL}
    ours = {
        "region": cloud.region, "issuer": "https://issuer.example", "table_prefix": prefix, "log_prefix": f"/{prefix}",
        "stack_prefix": prefix, "tasks_table": f"{prefix}-tasks", "hub_table": f"{prefix}-hub",
    }  # fmt: skip
    hub = open_hub(HubSettings(**{**texts, **ours}), cloud.url)
    made = Many(hub, [f"task-{n:03}" for n in range(count)])
    engine, queues = hub.steward.engine, {}

    async def make(id: str) -> None:
        task = Task(id, "S3EC2", ScheduleType.FIXED_RATE, GIVEN, progress=Progress.IN_PROGRESS)
        await hub.ports.tasks.add(replace(task, created=time.time()))
        assert await engine.make_memory(engine.place(id, "S3EC2"))
        urls = {}
        for name in ("QueueUrl", "DeadLetterUrl", "MissedStartsUrl"):
            answer = await hub.aws.call("sqs", "create_queue", QueueName=f"{prefix}-{id}-{name}")
            urls[name] = answer["QueueUrl"]
        queues[id] = {**urls, "TickFunction": f"tick-{id}"}
        await engine.keep_stack(id, TaskStackState(id, id, "CREATE_COMPLETE", queues[id]))
        names = replace(engine.place(id, "S3EC2").names(queues[id]), endpoint=cloud.url)
        async with open_platform(names, "finder") as platform:
            run, _ = await platform.records.begin_run(RunKind.SYNC)
            await platform.records.set_run(run.id, RunState.DONE)

    await each_of(make, made.ids)
    made.hub = replace(hub, steward=replace(hub.steward, stacks=Standing(hub.steward, queues)))  # type: ignore[arg-type]
    original = Aws.call_now

    def call_now(self: Aws, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        made.calls[f"{service}:{operation}"] += 1
        if operation == "invoke":
            made.ticked.append(arguments["FunctionName"])
            return {}
        if operation == "start_execution":
            raise Refused("nothing moves", "", {})
        return original(self, service, operation, **arguments)

    monkeypatch.setattr(Aws, "call_now", call_now)
    yield made
    monkeypatch.setattr(Aws, "call_now", original)
    for each in cloud.boto("dynamodb").list_tables()["TableNames"]:
        if each.startswith(prefix):
            cloud.boto("dynamodb").delete_table(TableName=each)
    hub.aws.close()


@pytest.mark.parametrize("count", [100])
async def test_one_look_at_tasks_that_rest_is_a_few_reads(many: Many, count: int) -> None:
    await many.look()
    assert sorted(many.ticked) == [f"tick-{each}" for each in many.ids]
    await many.look()  # the first one set when the next runs are due
    assert len(many.ticked) <= count

    called = await many.look()

    assert many.ticked == []
    writes = {name for name in called if "update" in name or "put" in name or "delete" in name}
    assert writes == set()
    assert called["cloudformation:describe_stacks"] == 0
    assert called["sqs:get_queue_attributes"] == 3 * count
    assert sum(called.values()) <= 9 * count + 10

    busy = many.ids[7]
    async with many.hub.ports.engine.open(busy) as platform:
        await platform.queue.send([Outgoing("m", "{}")])
    await many.look()
    assert many.ticked == [f"tick-{busy}"]


@pytest.mark.parametrize("what", ["a run", "a change", "the schedule", "ten minutes"])
async def test_a_task_that_rests_is_looked_at_when_something_happens(
    many: Many, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await many.look()
    woken = many.ids[3]
    match what:
        case "a run":
            async with many.hub.ports.engine.open(woken) as platform:
                await platform.records.begin_run(RunKind.SYNC)
        case "a change" | "the schedule":
            task = await many.hub.ports.tasks.get(woken)
            if what == "a change":
                task.description = "another"
            else:
                task.next_run = time.time() - 1
            assert await many.hub.ports.tasks.save(task)
        case "ten minutes":
            monkeypatch.setattr("dth.platforms.aws.rest.FULL", 0.0)
    await many.look()
    expected = many.ids if what == "ten minutes" else [woken]
    assert sorted(many.ticked) == [f"tick-{each}" for each in expected]


async def test_a_task_whose_queue_is_gone_does_not_rest(many: Many) -> None:
    for _ in range(2):
        await many.look()
    steward, found = many.hub.steward, await many.hub.ports.tasks.get(many.ids[0])
    assert await steward.rests(found)
    stack = await steward.engine.stack(found.id)
    assert stack
    await many.hub.aws.call("sqs", "delete_queue", QueueUrl=stack.outputs["DeadLetterUrl"])
    assert not await steward.rests(found)


class Gone:
    """Stands in for CloudFormation: every stack is deleted."""

    async def look(self, name: str) -> StackState:
        return StackState()


async def test_a_task_that_is_to_be_deleted_goes_when_its_stack_is_gone(many: Many) -> None:
    ports = many.hub.ports
    task = await ports.tasks.get(many.ids[0])
    task.progress, task.delete_requested = Progress.STOPPING, True
    assert await ports.tasks.save(task)
    steward = replace(many.hub.steward, stacks=Gone())  # type: ignore[arg-type]
    assert await steward.step(task.id) is None
    with pytest.raises(NotFound):
        await ports.tasks.get(task.id)
    assert task.id not in await steward.engine.with_stacks()
    assert (await ports.tasks.get(many.ids[1])).progress is Progress.IN_PROGRESS


@dataclass
class Looked:
    """A steward that only notes the tasks that it is asked about."""

    ids: list[str]
    broken: str = ""
    seen: list[str] = field(default_factory=list)

    @property
    def ports(self) -> Any:
        return SimpleNamespace(tasks=self)

    @property
    def engine(self) -> Any:
        return self

    async def find(self, query: TaskQuery) -> tuple[list[Task], None]:
        return [Task(each, "S3EC2", ScheduleType.FIXED_RATE, {}) for each in self.ids], None

    async def with_stacks(self) -> list[str]:
        return []

    async def rests(self, task: Task) -> bool:
        self.seen.append(task.id)
        if task.id == self.broken:
            raise KeyError("Summary")
        return True


async def test_a_defect_in_one_task_keeps_the_look_from_no_other() -> None:
    hub = Looked([f"task-{n:02}" for n in range(40)], broken="task-05")
    assert await watch(hub) == {"task-05": "internal error: KeyError"}  # type: ignore[arg-type]
    assert sorted(hub.seen) == hub.ids


async def test_tasks_for_which_a_look_has_no_time_have_their_turn_in_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute has room for half of the tasks, and yet none waits for ever."""
    hub = Looked([f"task-{n:02}" for n in range(40)])
    monkeypatch.setattr("dth.platforms.aws.hub.steward.LOOK", 20)
    random.seed(0)
    for minute in range(20):
        # Each look at a task takes a second.
        clock = partial(next, itertools.count())
        assert await watch(hub, clock) == {}  # type: ignore[arg-type]
        assert len(hub.seen) == 20 * (minute + 1)
    assert sorted(set(hub.seen)) == hub.ids
    assert "20 of 40 tasks were left for the next look: the time was up" in caplog.text


async def test_a_retry_of_one_reason_goes_on_over_several_steps(
    many: Many, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is a process of its own, which knows only what is in the tables."""
    ports, steward, task = many.hub.ports, many.hub.steward, many.ids[0]
    told: list[str] = []

    async def changed(_: AwsEngine, task: str) -> None:
        told.append(task)

    monkeypatch.setattr(AwsEngine, "changed", changed)
    monkeypatch.setattr("dth.core.redrive.BATCH", 4)
    monkeypatch.setattr("dth.core.redrive.go_on", partial(redrive.go_on, pages=1))
    reasons = {f"{name}-{number}": name for name in ("AccessDenied", "Gone") for number in range(9)}
    async with ports.engine.open(task) as platform:
        run, _ = await platform.records.begin_run(RunKind.SYNC)
        enqueued = [Enqueued(key, 1, "e", "") for key in reasons]
        await platform.records.commit(run.id, Page(Counts(listed=18), enqueued=enqueued))
        await platform.records.settle(
            [Outcome(key, run.id, Status.FAILED, reason=why) for key, why in reasons.items()]
        )
        await platform.records.set_run(run.id, RunState.DONE)

    await tasks.retry_failed(ports, task, reason="AccessDenied")
    assert told
    sent = []
    for _ in range(3):
        assert await steward.step(task) is not None  # the workflow goes on with it
        async with ports.engine.open(task) as platform:
            newest = (await platform.records.list_runs(1))[0]
            sent.append((newest.kind, newest.counts.enqueued))
    assert sent == [(RunKind.REDRIVE, number) for number in (4, 8, 9)]
    await steward.step(task)
    async with ports.engine.open(task) as platform:
        newest = (await platform.records.list_runs(1))[0]
        assert (newest.state, newest.counts.enqueued) == (RunState.TRANSFERRING, 9)
        assert (await platform.queue.depth()).visible >= 9
        failed, _ = await platform.records.page(status=Status.FAILED, limit=100)
        pending, _ = await platform.records.page(status=Status.PENDING, limit=100)
        assert {record.reason for record in failed} == {"Gone"}
        assert {reasons[record.key] for record in pending} == {"AccessDenied"}
