"""A hub that runs: tasks from creation to their end, through the API, with real stores."""

from __future__ import annotations

import json
import random
import time
import uuid
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from dth.core.errors import Conflict, HubError, NotFound, UsageError
from tests.engine import Side, bodies, wait_for
from tests.hub import CREATE, Hub, balanced
from tests.servers.proxy import Proxy, Reply

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.ministack import MiniStack


def test_a_one_time_task_is_done_by_its_ledger(hub: Hub, source: Side, dest: Side) -> None:
    objects = bodies(f"folder/{n}" for n in range(250)) | {'odd "key"\n\\': b"x"}
    source.put(objects)
    task = hub.create(source, dest)
    done = hub.wait(task, "DONE")
    assert dest.contents() == objects
    assert done["progressInfo"] | {"run": 1} == {
        "total": 251, "replicated": 251, "failed": 0, "run": 1, "listing": False, "workers": 0,
        "waiting": 0
    }  # fmt: skip
    (run,) = hub.runs(task)
    assert (run["kind"], run["state"], run["counts"]["done"]) == ("sync", "DONE", 251)
    balanced(run["counts"])
    records = hub.call(
        """query ($id: ID!) { listRecords(id: $id, limit: 2, prefix: "folder/") {
            items { key status proof verified } nextToken } }""",
        id=task,
    )
    assert [record["key"] for record in records["items"]] == ["folder/0", "folder/1"]
    assert records["items"][0]["proof"].startswith("crc64nvme:")
    assert records["items"][0]["verified"] == "etag"
    assert records["nextToken"]


def test_run_now_copies_what_is_new(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("ab"))
    task = hub.create(source, dest)
    hub.wait(task, "DONE")
    source.put(bodies("c"))
    hub.do("startRun", task)
    wait_for(lambda: len(hub.runs(task)) == 2)
    hub.wait(task, "DONE")
    assert hub.runs(task)[0]["counts"] | {"same": 2, "done": 1} == hub.runs(task)[0]["counts"]


def test_a_schedule_runs_again_and_again(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("a"))
    task = hub.create(source, dest, once=False, scheduleRate="1 hour")
    wait_for(lambda: hub.runs(task) and hub.runs(task)[0]["state"] == "DONE")
    assert hub.task(task)["progress"] == "IN_PROGRESS"
    assert hub.task(task)["nextRunAt"]
    source.put(bodies("b"))
    hub.do("startRun", task)
    wait_for(lambda: len(hub.runs(task)) == 2 and hub.runs(task)[0]["state"] == "DONE")
    assert sorted(dest.listed()) == ["a", "b"]
    hub.do("stopTask", task)
    hub.wait(task, "STOPPED")


def test_pause_stops_the_bytes_and_resume_goes_on(hub: Hub, slow: tuple[Side, Side]) -> None:
    task = hub.create(*slow)
    wait_for(lambda: slow[1].listed())
    hub.do("pauseTask", task)
    assert hub.task(task)["reason"] == "paused by command line"
    wait_for(lambda: not workers(hub))
    copied = len(slow[1].listed())
    assert 0 < copied < 100
    time.sleep(1)
    assert len(slow[1].listed()) == copied
    hub.do("resumeTask", task)
    hub.wait(task, "DONE")
    assert len(slow[1].listed()) == 100
    balanced(hub.runs(task)[0]["counts"])


def test_a_stopped_task_leaves_nothing_in_flight_and_can_be_resumed(
    hub: Hub, slow: tuple[Side, Side]
) -> None:
    task = hub.create(*slow)
    wait_for(lambda: slow[1].listed())
    hub.do("stopTask", task)
    hub.wait(task, "STOPPED")
    assert not workers(hub)
    balanced(hub.runs(task)[0]["counts"])
    assert not slow[1].uploads()
    hub.do("resumeTask", task)
    hub.wait(task, "DONE")
    assert len(slow[1].listed()) == 100


def test_a_wrong_key_is_told_and_once_mended_the_task_goes_on(
    hub: Hub, tmp_path: Path, s3_auth: MiniStack, dest: Side
) -> None:
    bucket = s3_auth.bucket("locked")
    source = Side(s3_auth, bucket)
    source.put(bodies("abc"))
    access, secret = s3_auth.user(
        {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    )
    task = hub.create(source, dest, srcCredentials="theirs", id=None)
    failed = wait_until_over(hub, task)
    assert failed["progress"] in ("ERROR", "PAUSED")
    assert "theirs" in failed["reason"]
    hub.secret("theirs", access, "wrong")
    hub.do("resumeTask", task)
    failed = wait_until_over(hub, task)
    assert "SignatureDoesNotMatch" in failed["reason"] or "signature" in failed["reason"].lower()
    assert hub.call(
        "query ($id: String!) { getErrorMessage(id: $id) { errMessage errCode } }", id=task
    )["errMessage"]
    hub.secret("theirs", access, secret)
    hub.do("resumeTask", task)
    hub.wait(task, "DONE")
    assert dest.listed() == ["a", "b", "c"]
    everything = (
        hub.output.read_text()
        + hub.logs(task)
        + (hub.data / "hub.db").read_bytes().decode("latin-1")
    )
    assert secret not in everything


def test_what_failed_is_grouped_and_tried_again(
    hub: Hub, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put(bodies("abcde"))
    refuse = proxy_b.rule(Reply(403, "AccessDenied"), method="PUT", key="[bd]")
    task = hub.create(source, Side(proxy_b, dest.bucket))
    done = hub.wait(task, "DONE")
    assert done["progressInfo"]["failed"] == 2
    (group,) = hub.call(
        "query ($id: ID!) { failureGroups(id: $id) { reason count keys advice } }", id=task
    )
    assert (group["reason"], group["count"], group["keys"]) == ("AccessDenied", 2, ["b", "d"])
    told = [line for line in hub.logs(task).splitlines() if "object failed" in line]
    assert sorted(json.loads(line)["key"] for line in told) == ["b", "d"]
    assert "preflight" in group["advice"]
    proxy_b.remove(refuse)
    retry = (
        "mutation ($id: ID!, $keys: [String!]) { retryFailed(id: $id, keys: $keys) { progress } }"
    )
    hub.call(retry, id=task, keys=["b"])
    wait_for(lambda: "b" in dest.listed())
    hub.wait(task, "DONE")
    assert dest.listed() == ["a", "b", "c", "e"]
    hub.do("redriveDeadLetters", task)
    wait_for(lambda: "d" in dest.listed())
    hub.wait(task, "DONE")
    for run in hub.runs(task):
        balanced(run["counts"])


def test_what_failed_for_one_reason_is_tried_again(
    hub: Hub, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put(bodies("abcde"))
    denied = proxy_b.rule(Reply(403, "AccessDenied"), method="PUT", key="[bd]")
    proxy_b.rule(Reply(400, "InvalidRequest"), method="PUT", key="c")
    task = hub.create(source, Side(proxy_b, dest.bucket))
    assert hub.wait(task, "DONE")["progressInfo"]["failed"] == 3
    proxy_b.remove(denied)
    retry = "mutation ($id: ID!, $reason: String) { retryFailed(id: $id, reason: $reason) { id } }"
    hub.call(retry, id=task, reason="AccessDenied")
    wait_for(lambda: dest.listed() == ["a", "b", "d", "e"])
    hub.wait(task, "DONE")
    (run, _) = hub.runs(task)
    assert (run["counts"]["enqueued"], run["counts"]["done"]) == (2, 2)


def test_edit_takes_effect_while_the_task_runs(hub: Hub, slow: tuple[Side, Side]) -> None:
    task = hub.create(*slow)
    wait_for(lambda: slow[1].listed())
    edit = (
        "mutation ($id: ID!, $input: EditTaskInput!) { editTask(id: $id, input: $input) { "
        "description } }"
    )
    pairs = [{"ParameterKey": "workerNumber", "ParameterValue": "4"}]
    assert (
        hub.call(edit, id=task, input={"description": "new", "parameters": pairs})["description"]
        == "new"
    )
    hub.wait(task, "DONE")
    assert json.loads((hub.data / "tasks" / task / "task.json").read_text())["workerNumber"] == 4
    with pytest.raises(UsageError, match="workerNumber"):
        hub.call(
            edit,
            id=task,
            input={"parameters": [{"ParameterKey": "workerNumber", "ParameterValue": "99"}]},
        )


def test_a_deleted_task_is_gone_and_its_copies_stay(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("a"))
    task = hub.create(source, dest)
    hub.wait(task, "DONE")
    hub.do("deleteTask", task)
    with pytest.raises(NotFound):
        hub.task(task)
    assert not (hub.data / "tasks" / task).exists()
    assert dest.listed() == ["a"]


def test_a_running_task_is_stopped_and_deleted_in_one_step(
    hub: Hub, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    task = hub.create(source, dest, once=False, scheduleRate="1 day")
    hub.wait(task, "IN_PROGRESS")
    stopping = hub.call(
        "mutation ($id: ID!) { deleteTask(id: $id, stop: true) { progress isBeingDeleted } }",
        id=task,
    )
    assert stopping == {"progress": "STOPPING", "isBeingDeleted": True}
    wait_for(lambda: not hub.call("{ listTasksV2 { total } }")["total"])
    with pytest.raises(NotFound):
        hub.task(task)
    assert not (hub.data / "tasks" / task).exists()


def test_events_are_copied_and_deleted_in_order(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("ab"))
    task = hub.create(source, dest, once=False, srcEvent="CreateAndDelete", scheduleRate="1 day")
    wait_for(lambda: hub.runs(task) and hub.runs(task)[0]["state"] == "DONE")
    hook = hub.call("query ($id: ID!) { getWebhook(id: $id) { url token } }", id=task)
    path = hook["url"].removeprefix(hub.url)

    def event(name: str, key: str, sequencer: str) -> dict[str, Any]:
        described = {
            "bucket": {"name": source.bucket},
            "object": {"key": key, "sequencer": sequencer},
        }
        return {"eventName": name, "eventTime": "2026-01-01T00:00:00.000Z", "s3": described}

    assert hub.request(path, {"Records": []}, {"authorization": "Bearer wrong"})[0] == 401
    assert hub.request(f"{path}?token=wrong", {"Records": []})[0] == 401
    source.put({"c": b"new"})
    source.server.boto().delete_object(Bucket=source.bucket, Key="a")
    body = {
        "Records": [
            event("s3:ObjectCreated:Put", "c", "01"),
            event("s3:ObjectRemoved:Delete", "a", "02"),
        ]
    }
    body["Records"].append(event("s3:ObjectRemoved:Delete", "b", "00"))  # but the object is there
    assert hub.request(path, body, {"authorization": f"Bearer {hook['token']}"})[0] == 200
    wait_for(lambda: dest.listed() == ["b", "c"])
    assert hub.request(f"{path}?token={hook['token']}", b"nonsense")[0] == 400
    assert hub.request(path, body, {"authorization": hook["token"]})[0] == 200  # once more: nothing
    hub.do("stopTask", task)
    hub.wait(task, "STOPPED")
    assert dest.listed() == ["b", "c"]
    # Its queue would grow without end, and the sender would never know.
    status, said = hub.request(path, body, {"authorization": hook["token"]})
    assert (status, "it takes no events" in said) == (409, True)
    hub.do("resumeTask", task)
    assert hub.request(path, body, {"authorization": hook["token"]})[0] == 200


def test_no_process_outlives_the_hub(hub: Hub, slow: tuple[Side, Side]) -> None:
    task = hub.create(*slow)
    wait_for(lambda: hub.task(task)["progressInfo"]["workers"] > 0)
    family = psutil.Process(hub.process.pid).children(recursive=True)
    assert workers(hub)
    hub.kill()
    wait_for(lambda: not any(each.is_running() and each.status() != "zombie" for each in family))
    hub.start()
    hub.wait(task, "DONE")
    assert len(slow[1].listed()) == 100
    balanced(hub.runs(task)[0]["counts"])


def test_a_hub_that_is_killed_during_many_operations_keeps_every_task_lawful(
    hub: Hub, source: Side, dest: Side
) -> None:
    """50 operations on a handful of tasks, the hub killed now and then: nothing is doubled, nothing
    is lost."""
    source.put(bodies(f"{n:02}" for n in range(30)))
    dice = random.Random(7)
    ids = [str(uuid.uuid4()) for _ in range(5)]
    for number in range(50):
        this = dice.choice(ids)
        operation = dice.choice(
            ["create", "create", "pauseTask", "resumeTask", "stopTask", "startRun"]
        )
        try:
            if operation == "create":
                hub.create(source, dest, id=this, destPrefix=this)
            else:
                hub.do(operation, this)
        except HubError as refusal:
            lawful = isinstance(refusal, Conflict | NotFound) or "does not answer" in str(refusal)
            if not lawful:
                raise
        if number % 6 == 5:
            time.sleep(dice.random() * 0.4)
            hub.restart()
    for this in ids:
        hub.create(source, dest, id=this, destPrefix=this)
        if hub.task(this)["progress"] == "STOPPING":
            hub.wait(this, "STOPPED")
        if hub.task(this)["progress"] != "DONE":
            hub.do("resumeTask", this)
        hub.wait(this, "DONE")
        runs = hub.runs(this)
        for run in runs:
            balanced(run["counts"])
            assert run["state"] in ("DONE", "FAILED"), run
    assert len(dest.listed()) == 150
    assert not dest.uploads()


def test_a_user_is_told_in_one_line_what_cannot_be(hub: Hub, source: Side, dest: Side) -> None:
    for parameters, said in (
        (
            [{"ParameterKey": "nonsense", "ParameterValue": "1"}],
            "nonsense: there is no such parameter",
        ),
        ([], "srcBucket: a bucket is needed"),
        (
            [{"ParameterKey": "ec2CronExpression", "ParameterValue": "every day"}],
            "'every day' is not a rate",
        ),
        ([{"ParameterKey": "transferWindow", "ParameterValue": "sometimes"}], "transferWindow"),
    ):
        pairs = [*hub.parameters(source, dest), *parameters] if parameters else []
        with pytest.raises(UsageError, match=said) as refusal:
            hub.call(
                CREATE, input={"type": "S3EC2", "scheduleType": "FIXED_RATE", "parameters": pairs}
            )
        assert "\n" not in str(refusal.value)


def workers(hub: Hub) -> list[str]:
    """Names of the task processes that run."""
    names = []
    for child in psutil.Process(hub.process.pid).children(recursive=True):
        try:
            names.append(child.name())
        except psutil.Error:
            continue
    return [name for name in names if name.startswith("dth-")]


def wait_until_over(hub: Hub, id: str) -> dict[str, Any]:
    wait_for(lambda: hub.task(id)["progress"] in ("ERROR", "PAUSED", "DONE", "STOPPED"))
    return hub.task(id)
