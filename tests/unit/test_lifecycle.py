"""The life of a task: every event in every status, and the operations that cause them, at once and
again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.errors import Conflict, NotFound, UsageError
from dth.core.prices import Prices
from dth.hub import lifecycle, tasks
from dth.hub.lifecycle import TaskEvent
from dth.hub.model import ErrorCode, Progress, ScheduleType, Task
from dth.hub.ports import TaskQuery
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.tasks import LocalTasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARAMETERS = {
    "srcBucket": "here",
    "srcEndpoint": "http://127.0.0.1:1",
    "destBucket": "there",
    "destEndpoint": "http://127.0.0.1:2",
}


class Told:
    """Stands in for the engine: it only remembers what it was told."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def changed(self, id: str) -> None:
        self.ids.append(id)

    async def discard(self, id: str) -> None:
        self.ids.append(f"discard {id}")

    async def forget(self, id: str) -> None:
        self.ids.append(f"forget {id}")


class Ports:
    def __init__(self, database: HubDatabase) -> None:
        self.tasks = LocalTasks(database)
        self.engine = self.metrics = Told()
        self.prices: Prices = {}
        self.own_buckets: frozenset[str] = frozenset()
        self.assumable_roles: tuple[str, ...] | None = None


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[Any]:
    with HubDatabase.open(tmp_path / "hub.db") as database:
        yield Ports(database)


async def made(ports: Any, **changes: str) -> Task:
    return await tasks.create(
        ports,
        type="S3EC2",
        schedule_type=ScheduleType.ONE_TIME,
        parameters={**PARAMETERS, **changes},
        created_by="somebody",
    )


def test_every_status_can_be_reached_and_left() -> None:
    reached = {to for moves in lifecycle.TRANSITIONS.values() for to in moves.values()}
    left = {
        frm
        for moves in lifecycle.TRANSITIONS.values()
        for frm, to in moves.items()
        if frm is not to
    }
    assert reached == left == set(Progress)


@given(st.lists(st.sampled_from(list(TaskEvent)), max_size=40))
def test_a_users_call_once_more_changes_nothing(events: list[TaskEvent]) -> None:
    progress = Progress.STARTING
    for event in events:
        with contextlib.suppress(Conflict):
            progress = lifecycle.after(progress, event)
            if event in lifecycle.ASKED_FOR:
                assert lifecycle.TRANSITIONS[event].get(progress) is progress, (event, progress)


def test_what_ended_is_not_ended_by_a_late_word_of_the_engine() -> None:
    for event, progress in itertools.product(
        (TaskEvent.FINISHED, TaskEvent.FAIL, TaskEvent.STARTED),
        (Progress.STOPPED, Progress.STOPPING, Progress.PAUSED),
    ):
        with pytest.raises(Conflict):
            lifecycle.after(progress, event)


async def test_a_task_is_created_and_told_of(ports: Any) -> None:
    task = await made(ports)
    assert await ports.tasks.get(task.id) == task
    assert (task.source, task.destination) == ("127.0.0.1:1: here", "127.0.0.1:2: there")
    assert (task.progress, task.run_requested) == (Progress.STARTING, True)
    assert ports.engine.ids == [task.id]


async def test_with_an_id_the_same_call_again_is_the_same_task(ports: Any) -> None:
    async def again(**changes: Any) -> Task:
        given: dict[str, Any] = {"type": "S3EC2", "schedule_type": ScheduleType.ONE_TIME}
        given |= {"parameters": PARAMETERS, "created_by": "somebody", "id": "a-1"} | changes
        return await tasks.create(ports, **given)

    assert (await again()).created == (await again()).created
    with pytest.raises(Conflict):
        await again(parameters={**PARAMETERS, "destPrefix": "other"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"destBucket": ""}, "destBucket"),
        ({"nonsense": "1"}, "nonsense: there is no such parameter"),
        ({"workerNumber": "eleven"}, "workerNumber"),
        ({"workerNumber": "11"}, "at most 10"),
        ({"destStorageClass": "no class"}, "destStorageClass"),
        ({"destEndpoint": "http://127.0.0.1:1", "destBucket": "here"}, "overlap"),
        ({"description" * 2000: "x"}, "no such parameter"),
        ({"srcPrefix": "x" * 20_000}, "16384 characters"),
        ({"minCapacity": "9", "maxCapacity": "3"}, "fewest workers"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    ports: Any, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        await made(ports, **changes)
    assert (await ports.tasks.find(TaskQuery()))[1] == 0


async def test_two_tasks_do_not_write_one_place(ports: Any) -> None:
    first = await made(ports, destPrefix="a")
    for prefix in ("", "a", "a/b"):
        with pytest.raises(Conflict, match=first.id):
            await made(ports, destPrefix=prefix)
    await made(ports, destPrefix="b")
    await made(ports, destBucket="elsewhere", destPrefix="a")
    await tasks.stop(ports, first.id)
    await tasks.ended(ports, first.id)
    await made(ports, destPrefix="a")


async def test_an_unknown_task_is_not_found(ports: Any) -> None:
    for operation in (
        tasks.stop,
        tasks.pause,
        tasks.resume,
        tasks.start_run,
        tasks.edit,
        tasks.delete,
    ):
        with pytest.raises(NotFound, match="no task 'nobody'"):
            await operation(ports, "nobody")  # type: ignore[operator]


async def test_many_calls_at_once_leave_one_lawful_status(ports: Any) -> None:
    task = await made(ports)
    await tasks.started(ports, task.id)
    calls = [tasks.pause, tasks.resume, tasks.stop, tasks.start_run] * 10
    done = await asyncio.gather(*(call(ports, task.id) for call in calls), return_exceptions=True)
    assert all(isinstance(each, Task | Conflict) for each in done), done
    now = await ports.tasks.get(task.id)
    assert now.progress is Progress.STOPPING  # nothing but its end leads out of it
    assert not now.run_requested


async def test_a_write_based_on_an_older_version_is_refused(ports: Any) -> None:
    task = await made(ports)
    stale = await ports.tasks.get(task.id)
    await tasks.pause(ports, task.id)
    assert not await ports.tasks.save(stale)
    assert (await ports.tasks.get(task.id)).progress is Progress.PAUSED


async def test_a_change_that_changes_nothing_writes_nothing(ports: Any) -> None:
    task = await made(ports)
    version = (await tasks.pause(ports, task.id)).version
    assert (await tasks.pause(ports, task.id)).version == version


async def test_source_and_destination_stay(ports: Any) -> None:
    task = await made(ports)
    edited = await tasks.edit(ports, task.id, parameters={"workerNumber": "2"}, description="new")
    assert (edited.parameters["workerNumber"], edited.description) == ("2", "new")
    assert (
        "workerNumber"
        not in (await tasks.edit(ports, task.id, parameters={"workerNumber": ""})).parameters
    )
    for name in ("srcBucket", "destBucket", "destPrefix"):
        with pytest.raises(UsageError, match="clone"):
            await tasks.edit(ports, task.id, parameters={name: "other"})


async def test_an_edit_of_the_schedule_alone_sets_the_next_run_anew(ports: Any) -> None:
    """A run that is due, or was missed while the task was paused, is not forgotten by an edit of
    anything else."""
    rate = {"scheduleRate": "1 hour"}
    task = await made(ports, **rate)
    await tasks.edit(ports, task.id, schedule_type=ScheduleType.FIXED_RATE)
    await tasks.note(ports, task.id, next_run=5.0)
    for change in ({"workerNumber": "3"}, rate):
        assert (await tasks.edit(ports, task.id, parameters=change)).next_run == 5.0
    edited = await tasks.edit(ports, task.id, parameters={"scheduleRate": "2 hours"})
    assert edited.next_run > task.created
    assert (await tasks.edit(ports, task.id, schedule_type=ScheduleType.ONE_TIME)).next_run == 0.0


async def test_a_clone_is_a_task_of_its_own(ports: Any) -> None:
    task = await made(ports, destPrefix="first")
    with pytest.raises(Conflict, match=task.id):
        await tasks.clone(ports, task.id)
    clone = await tasks.clone(
        ports, task.id, parameters={"destPrefix": "copy"}, created_by="another"
    )
    assert clone.id != task.id
    assert (clone.destination, clone.created_by) == ("127.0.0.1:2: there/copy", "another")


async def test_only_what_has_ended_is_deleted(ports: Any) -> None:
    task = await made(ports)
    with pytest.raises(Conflict, match="stop it first"):
        await tasks.delete(ports, task.id)
    await tasks.stop(ports, task.id)
    with pytest.raises(Conflict, match="still stopping; try again"):
        await tasks.delete(ports, task.id)
    await tasks.ended(ports, task.id)
    await tasks.resume(ports, task.id)
    await tasks.fail(ports, task.id, "no disk", ErrorCode.CFN_ERROR)
    assert (await ports.tasks.get(task.id)).reason == "no disk"
    await tasks.delete(ports, task.id)
    assert ports.engine.ids[-2:] == [f"discard {task.id}", f"forget {task.id}"]
    with pytest.raises(NotFound):
        await ports.tasks.get(task.id)


async def test_an_acknowledgement_holds_until_the_task_fails_again(ports: Any) -> None:
    task = await made(ports)
    with pytest.raises(Conflict, match="nothing to acknowledge"):
        await tasks.acknowledge(ports, task.id, "ann")
    await tasks.pause(ports, task.id)
    with pytest.raises(UsageError, match="until: this time has passed"):
        await tasks.acknowledge(ports, task.id, "ann", 1.0)
    known = await tasks.acknowledge(ports, task.id, "ann")
    assert known.acknowledged is not None
    assert (known.acknowledged.by, known.needs_attention(1e12)) == ("ann", False)
    assert (await tasks.withdraw_acknowledgement(ports, task.id)).needs_attention(0.0)
    await tasks.acknowledge(ports, task.id, "ann")
    assert (await tasks.resume(ports, task.id)).acknowledged is not None
    failed = await tasks.fail(ports, task.id, "no disk", ErrorCode.CFN_ERROR)
    assert failed.needs_attention(0.0)


async def test_a_live_task_is_deleted_in_one_step(ports: Any) -> None:
    task = await made(ports)
    await tasks.started(ports, task.id)
    stopping = await tasks.delete(ports, task.id, stop=True)
    assert (stopping.progress, stopping.delete_requested) == (Progress.STOPPING, True)
    assert await tasks.delete(ports, task.id, stop=True) == await ports.tasks.get(task.id)
    for begin in (tasks.resume, tasks.start_run):
        with pytest.raises(Conflict, match="STOPPING"):
            await begin(ports, task.id)
    assert f"discard {task.id}" not in ports.engine.ids
    await tasks.ended(ports, task.id)
    assert ports.engine.ids[-2:] == [f"discard {task.id}", f"forget {task.id}"]
    with pytest.raises(NotFound):
        await ports.tasks.get(task.id)


async def test_a_deletion_that_was_interrupted_is_completed_when_it_is_stopped_again(
    ports: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await made(ports)
    await tasks.stop(ports, task.id)
    await tasks.delete(ports, task.id, stop=True)

    async def refuse(id: str) -> None:
        raise Conflict("the task's tables are being made; try again in a minute")

    with monkeypatch.context() as for_now:
        for_now.setattr(ports.engine, "discard", refuse)
        with pytest.raises(Conflict, match="tables"):
            await tasks.ended(ports, task.id)
    assert (await ports.tasks.get(task.id)).progress is Progress.STOPPING
    await tasks.ended(ports, task.id)
    with pytest.raises(NotFound):
        await ports.tasks.get(task.id)


async def test_stop_and_delete_of_an_ended_task_deletes_it_at_once(ports: Any) -> None:
    task = await made(ports)
    await tasks.stop(ports, task.id)
    await tasks.ended(ports, task.id)
    assert (await tasks.delete(ports, task.id, stop=True)).progress is Progress.STOPPED
    with pytest.raises(NotFound):
        await ports.tasks.get(task.id)


async def test_a_stopped_task_that_is_resumed_runs_again(ports: Any) -> None:
    task = await made(ports)
    await tasks.stop(ports, task.id)
    stopped = await tasks.ended(ports, task.id)
    assert stopped.stopped
    assert not stopped.run_requested
    resumed = await tasks.resume(ports, task.id)
    assert (resumed.progress, resumed.run_requested, resumed.stopped) == (
        Progress.STARTING,
        True,
        0.0,
    )


async def test_tasks_are_found_by_page_status_and_text(ports: Any) -> None:
    ids = [(await made(ports, destBucket=f"there-{n}", srcPrefix="50%_off/")).id for n in range(25)]
    await tasks.pause(ports, ids[3])
    page, total = await ports.tasks.find(TaskQuery(page=2, count=10))
    assert total == 25
    assert [task.id for task in page] == ids[::-1][10:20]
    found, total = await ports.tasks.find(TaskQuery(progress=(Progress.PAUSED,)))
    assert ([task.id for task in found], total) == ([ids[3]], 1)
    assert (await ports.tasks.find(TaskQuery(text="THERE-7")))[1] == 1
    assert (await ports.tasks.find(TaskQuery(text="%_")))[1] == 25
    assert (await ports.tasks.find(TaskQuery(text="'; DROP TABLE task; --")))[1] == 0
    assert await ports.tasks.count() == {Progress.STARTING: 24, Progress.PAUSED: 1}


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        (None, True),
        ((), False),
        (("arn:aws:iam::*:role/transfer-*",), True),
        (("arn:aws:iam::123456789012:role/other", "arn:aws:iam::210987654321:role/*"), False),
    ],
)
async def test_tasks_name_only_roles_that_the_administrator_allows(
    ports: Any, patterns: tuple[str, ...] | None, allowed: bool
) -> None:
    ports.assumable_roles = patterns
    role = "arn:aws:iam::123456789012:role/transfer-photos"
    if allowed:
        task = await made(ports, srcRoleArn=role)
        assert task.parameters["srcRoleArn"] == role
        return
    with pytest.raises(
        UsageError, match=r"srcRoleArn: tasks of this hub may not assume .*assumableRoles"
    ):
        await made(ports, srcRoleArn=role)
    task = await made(ports)
    with pytest.raises(UsageError, match="destRoleArn: "):
        await tasks.edit(ports, task.id, parameters={"destRoleArn": role})
