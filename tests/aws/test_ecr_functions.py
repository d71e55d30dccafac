"""What the state machine of an ECR task is told to do next, over real queues and tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dth.compose.aws.functions import images as ecr
from dth.compose.aws.functions.images import PATIENCE, _Before, _look
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import RunKind, RunState
from dth.core.ports.status import Status
from dth.images.messages import CopyOrder, encode
from dth.images.registry.reference import Reference
from dth.platforms.aws.parameters import write_parameters

if TYPE_CHECKING:
    from dth.platforms.aws.platform import AwsPlatform

GIVEN = {"srcRegion": "eu-west-1", "destRegion": "eu-central-1", "destPrefix": "copies"}


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTH_TASK", "nightly")


def order(run: int, name: str) -> CopyOrder:
    return CopyOrder(
        run, Reference("from.example", name, "v1"), Reference("to.example", name, "v1"), "sha256:1"
    )


async def enqueue(platform: AwsPlatform, *names: str) -> int:
    """A run in which these images are on their way."""
    await write_parameters(platform.dynamo, "ECR", GIVEN)
    run, _ = await platform.records.begin_run(RunKind.SYNC)
    orders = [order(run.id, name) for name in names]
    await platform.images.write([each.record() for each in orders])
    page = Page(
        enqueued=[Enqueued(each.key, 1, each.digest, "") for each in orders],
        messages=[encode(each) for each in orders],
    )
    await platform.records.commit(run.id, page)
    await platform.records.set_run(run.id, RunState.TRANSFERRING)
    return run.id


async def settle(platform: AwsPlatform, run: int, name: str, status: Status = Status.DONE) -> None:
    await platform.records.settle([Outcome(f"{name}:v1", run, status, 1, "sha256:1", "sha256:1")])


@pytest.mark.usefixtures("task")
async def test_as_many_containers_as_there_are_images_and_ten_at_most(aws: AwsPlatform) -> None:
    run = await enqueue(aws, "a", "b", "c")
    looked = await _look(aws, _Before(run, fresh=True))
    assert (looked["next"], looked["tasks"]) == ("COPY", [1, 2, 3])
    many = await enqueue(aws, *map(str, range(20)))
    looked = await _look(aws, _Before(many, fresh=True))
    assert looked["tasks"] == list(range(1, 11))


@pytest.mark.usefixtures("task")
async def test_what_somebody_has_in_hand_is_waited_for_and_then_given_up(aws: AwsPlatform) -> None:
    run = await enqueue(aws, "a", "b")
    await aws.queue.receive(10, 300, 0)
    looked = await _look(aws, _Before(run))
    assert (looked["next"], looked["idle"]) == ("WAIT", 0)
    await settle(aws, run, "a")
    looked = await _look(aws, _Before(run, PATIENCE - 1, looked["settled"]))
    assert (looked["next"], looked["idle"]) == ("WAIT", 0)  # something came of it
    looked = await _look(aws, _Before(run, PATIENCE - 1, looked["settled"]))
    assert looked["next"] == "TELL"
    assert looked["text"].splitlines() == [
        f"Data Transfer Hub, task nightly, run {run}:",
        ecr.GIVEN_UP,
    ]
    assert (looked["run"]["state"], looked["run"]["cancelled"]) == (RunState.FAILED, 1)


@pytest.mark.usefixtures("task")
async def test_a_paused_task_does_nothing(aws: AwsPlatform) -> None:
    run = await enqueue(aws, "a")
    await aws.records.pause("by a test")
    looked = await _look(aws, _Before(run, fresh=True))
    assert (looked["next"], looked["tasks"], looked["paused"]) == ("DONE", [], "by a test")


@pytest.mark.usefixtures("task")
async def test_a_run_that_is_paused_under_way_is_told(aws: AwsPlatform) -> None:
    run = await enqueue(aws, "a")
    await aws.records.pause("the registry refuses the password")
    looked = await _look(aws, _Before(run))
    assert (looked["next"], looked["tasks"]) == ("TELL", [])
    assert "the task is paused: the registry refuses the password" in looked["text"]


@pytest.mark.usefixtures("task")
async def test_a_run_ends_when_everything_has(
    aws: AwsPlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await enqueue(aws, "a", "b")
    for name in ("a", "b"):
        await settle(aws, run, name)
    before = {"done": 1, "failed": 0, "done_bytes": 1}
    looked = await _look(aws, _Before(run, counts=before))
    assert (looked["next"], looked["run"]["state"]) == ("DONE", RunState.DONE)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["Task"], told["ObjectsTransferred"], told["BytesTransferred"]) == ("nightly", 1, 1)
    assert (await _look(aws, _Before()))["run"]["id"] == run
