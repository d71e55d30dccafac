"""Tasks for images in a hub: real registries, real skopeo, a hub as a process of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine import wait_for
from tests.hub import Hub, balanced
from tests.servers.proxy import Delay, Reply, Rule, Stall
from tests.servers.registry import (
    NEEDED,
    PASSWORD,
    USER,
    Built,
    EcrServer,
    PlainProxy,
    RegistryServer,
    artifact,
    copying,
    digest_of,
    fallback,
    image,
    index,
    layer,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = NEEDED


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One for all tests that let it live."""
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        hub.keep_secret("login", username=USER, password=PASSWORD)
        hub.keep_secret("wrong", username=USER, password="hunter2")
        yield hub


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path) as hub:
        hub.keep_secret("login", username=USER, password=PASSWORD)
        hub.keep_secret("wrong", username=USER, password="hunter2")
        yield hub


BASE = layer("hub-shared", 200_000)


def one(name: str) -> Built:
    return image(name, [BASE, layer(f"hub-{name}", 2000)])


def standing_still(front: PlainProxy) -> Rule:
    """Let copies stop in the middle of the layer that all images share."""
    return front.rule(Stall(60, after=100_000), key=f"blobs/{digest_of(BASE)}")


def between(
    here: RegistryServer | PlainProxy, there: RegistryServer, **more: str
) -> dict[str, str]:
    """The parameters of a task from one registry to another."""
    return {
        "sourceType": "Registry",
        "srcRegistry": here.url.partition("//")[2],
        "srcCredential": "login",
        "destType": "Registry",
        "destRegistry": there.host,
        "destCredential": "login",
        **more,
    }


def test_a_task_copies_every_image_and_tells_of_each(
    hub: Hub, here: RegistryServer, there: RegistryServer
) -> None:
    base = layer("hub-base", 300_000)
    for name in "abc":
        here.push(f"team/{name}", "v1", image(name, [base, layer(f"hub-{name}", 10_000)]))
    both = index(image("x", [base]), image("y", [layer("hub-arm", 20_000)], architecture="arm64"))
    here.push("team/both", "v1", both)
    here.push("team/both", *signature(both))
    sbom = artifact("application/spdx+json", b"{}", subject=both)
    here.push("team/both", "", sbom)
    here.push("team/both", *fallback(both, ("application/spdx+json", sbom)))
    task = hub.create_images(**between(here, there, destPrefix="mirror"))
    done = hub.wait(task, "DONE")
    (run,) = hub.runs(task)
    counts = run["counts"]
    assert (counts["listed"], counts["enqueued"], counts["done"], counts["failed"]) == (7, 7, 7, 0)
    images = hub.images(task)
    assert set(images) >= {f"mirror/team/{name}:v1" for name in ("a", "b", "c", "both")}
    for key, each in images.items():
        repository, _, pointer = key.partition(":" if "@" not in key else "@")
        assert there.digest(repository, pointer) == each["sourceDigest"] == each["destDigest"]
        assert (each["status"], each["attempts"]) == ("DONE", 1)
        assert each["endedAt"]
    # The layer that four share crossed once.
    assert sum(each["moved"] for each in images.values()) < 300_000 + 3 * 12_000 + 23_000 + 10_000
    assert sum(each["skipped"] for each in images.values()) >= 3 * 300_000
    assert (done["source"], done["destination"]) == (here.host, f"{there.host}/mirror")
    assert done["progressInfo"]["replicated"] == 7


# ----------------------------------------------------------------------- whatever happens meanwhile


@pytest.mark.parametrize("victim", ["hub", "worker", "finder"])
def test_whatever_is_killed_every_image_is_there_in_the_end(
    request: pytest.FixtureRequest,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    victim: str,
) -> None:
    hub: Hub = request.getfixturevalue("own_hub" if victim == "hub" else "hub")
    for number in range(4):
        here.push("team/app", f"v{number}", one(f"v{number}"))
    planning = front.rule(Stall(60), method="HEAD", key="manifests") if victim == "finder" else None
    rule = planning or standing_still(front)
    task = hub.create_images(**between(front, there))
    wait_for(lambda: rule.hits)
    if victim == "hub":
        hub.kill()
    else:
        (pid,) = hub.processes({"worker": "dth-worker-1", "finder": "dth-finder"}[victim])
        os.kill(pid, signal.SIGKILL)
    front.clear()
    if victim == "hub":
        hub.start()
    hub.wait(task, "DONE")
    (run,) = hub.runs(task)
    balanced(run["counts"])
    assert (run["counts"]["listed"], run["counts"]["done"]) == (4, 4)
    images = hub.images(task)
    assert {each["status"] for each in images.values()} == {"DONE"}
    assert {key: there.digest(*key.split(":")) for key in images} == {
        f"team/app:v{number}": one(f"v{number}").digest for number in range(4)
    }


def test_pausing_resuming_and_stopping_while_images_are_copied(
    hub: Hub, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    for number in range(3):
        here.push("team/app", f"v{number}", one(f"v{number}"))
    rule = standing_still(front)
    task = hub.create_images(**between(front, there))
    for _ in range(2):
        wait_for(lambda: rule.hits)
        hub.do("pauseTask", task)
        hub.wait(task, "PAUSED")
        wait_for(lambda: not copying(front), 15)
        assert {each["status"] for each in hub.images(task).values()} == {"PENDING"}
        rule.hits = 0
        hub.do("resumeTask", task)
    wait_for(lambda: rule.hits)
    hub.do("stopTask", task)
    hub.wait(task, "STOPPED")
    assert not copying(front)
    (run,) = hub.runs(task)
    balanced(run["counts"])
    assert run["counts"]["cancelled"] == 3
    images = hub.images(task)
    assert {(each["status"], each["reason"]) for each in images.values()} == {
        ("CANCELLED", "stopped")
    }
    front.clear()
    hub.do("resumeTask", task)
    hub.wait(task, "DONE")
    assert hub.runs(task)[0]["counts"]["done"] == 3
    assert all(there.digest("team/app", f"v{n}") == one(f"v{n}").digest for n in range(3))
    history = hub.call(
        (
            "query ($id: ID!, $key: String!) { imageHistory(id: $id, key: $key) { run status "
            "destDigest } }"
        ),
        id=task,
        key="team/app:v1",
    )
    assert history == [
        {"run": 2, "status": "DONE", "destDigest": one("v1").digest},
        {"run": 1, "status": "CANCELLED", "destDigest": ""},
    ]


def test_a_task_by_schedule_copies_what_has_changed(
    hub: Hub, here: RegistryServer, there: RegistryServer
) -> None:
    for tag in ("v1", "latest"):
        here.push("team/app", tag, one(tag))
    task = hub.create_images(once=False, **between(here, there, scheduleRate="1 day"))
    wait_for(lambda: [run["state"] for run in hub.runs(task)] == ["DONE"])
    assert hub.runs(task)[0]["counts"]["done"] == 2

    def run() -> dict[str, Any]:
        number = len(hub.runs(task))
        hub.do("startRun", task)
        wait_for(lambda: len(hub.runs(task)) > number and hub.runs(task)[0]["state"] == "DONE")
        return dict(hub.runs(task)[0]["counts"])

    second = run()
    assert (second["listed"], second["same"], second["enqueued"]) == (2, 2, 0)
    here.push("team/app", "latest", one("newer"))
    third = run()
    assert (third["same"], third["done"]) == (1, 1)
    assert set(hub.images(task, hub.runs(task)[0]["id"])) == {"team/app:latest"}
    assert there.digest("team/app", "latest") == one("newer").digest


def test_failures_are_grouped_raise_the_alarm_and_are_tried_again(
    hub: Hub, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    for tag in ("v1", "v2", "v3"):
        here.push("team/app", tag, one(tag))
    denied = Reply(
        403,
        body=b'{"errors": [{"code": "DENIED", "message": "not for you"}]}',
        headers={"Content-Type": "application/json"},
    )
    for tag in ("v1", "v2"):
        front.rule(denied, key=f"blobs/{digest_of(layer(f'hub-{tag}', 2000))}")
    task = hub.create_images(**between(front, there, alarmEmail="ops@example.com"))
    done = hub.wait(task, "DONE")
    assert done["progressInfo"]["failed"] == 2
    (group,) = hub.call(
        "query ($id: ID!) { failureGroups(id: $id) { reason count detail keys } }", id=task
    )
    assert (group["reason"], group["count"]) == ("DENIED", 2)
    assert group["detail"].startswith(
        f"GET {front.url.removeprefix('http://')}/v2/team/app/blobs/sha256:"
    )
    assert group["detail"].endswith(": HTTP 403 DENIED")
    assert "not for you" not in group["detail"]
    with contextlib.closing(
        sqlite3.connect(f"file:{hub.data}/hub.db?mode=ro", uri=True)
    ) as database:
        events = {
            row[0] for row in database.execute("SELECT event FROM outbox WHERE task = ?", (task,))
        }
    assert "DEAD_LETTERS" in events
    front.clear()
    retry = """mutation ($id: ID!, $keys: [String!], $reason: String) {
        retryFailed(id: $id, keys: $keys, reason: $reason) { progress } }"""
    hub.call(retry, id=task, keys=["team/app:v1"])
    hub.wait(task, "DONE")
    assert (there.digest("team/app", "v1"), there.digest("team/app", "v2")) == (
        one("v1").digest,
        None,
    )
    hub.call(retry, id=task, reason="DENIED")
    done = hub.wait(task, "DONE")
    assert there.digest("team/app", "v2") == one("v2").digest
    assert hub.call("query ($id: ID!) { failureGroups(id: $id) { reason } }", id=task) == []
    for run in hub.runs(task):
        balanced(run["counts"])


def test_two_tasks_at_once(hub: Hub, here: RegistryServer, there: RegistryServer) -> None:
    for number in range(3):
        here.push("team/app", f"v{number}", one(f"v{number}"))
    tasks = [
        hub.create_images(**between(here, there, destPrefix=prefix)) for prefix in ("one", "two")
    ]
    for task, prefix in zip(tasks, ("one", "two"), strict=True):
        hub.wait(task, "DONE")
        balanced(hub.runs(task)[0]["counts"])
        assert there.digest(f"{prefix}/team/app", "v2") == one("v2").digest


def test_what_cannot_begin_says_why_in_one_line(
    own_hub: Hub, here: RegistryServer, there: RegistryServer
) -> None:
    hub = own_hub
    here.push("team/app", "v1", one("v1"))

    def problem(**parameters: str) -> str:
        task = hub.create_images(**{**between(here, there), **parameters})
        wait_for(lambda: hub.task(task)["progress"] == "ERROR")
        assert {run["state"] for run in hub.runs(task)} == {"FAILED"}
        found = hub.call(
            "query ($id: String!) { getErrorMessage(id: $id) { errMessage errCode } }", id=task
        )
        assert found["errCode"] == "FINDER_ERROR"
        assert "\n" not in found["errMessage"]
        assert "hunter2" not in found["errMessage"] + hub.logs(task)
        return str(found["errMessage"])

    assert problem(destCredential="wrong").startswith(
        f"destination: {there.host} refuses the credentials of '{USER}'; correct the credentials"
    )
    assert problem(srcCredential="wrong").startswith(f"source: {here.host} refuses the credentials")
    assert "there is no secret 'nowhere'" in problem(destCredential="nowhere")
    with RegistryServer() as gone:
        host = gone.host
    assert problem(destRegistry=host).startswith(
        f"destination: no server takes connections at {host}; "
    )


def test_credentials_are_nowhere(
    own_hub: Hub, front: PlainProxy, here: RegistryServer, there: RegistryServer, tmp_path: Path
) -> None:
    hub = own_hub
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    hub.stop()
    hub.start(TMPDIR=str(temporary))
    here.push("team/app", "v1", one("v1"))
    rule = standing_still(front)
    task = hub.create_images(**between(front, there))
    wait_for(lambda: rule.hits)
    secrets = [PASSWORD.encode(), base64.b64encode(f"{USER}:{PASSWORD}".encode()).rstrip(b"=")]

    def clean(place: Path) -> bool:
        return not any(secret in place.read_bytes() for secret in secrets)

    processes = hub.processes()
    assert len(processes) >= 3
    for pid in processes:
        for name in ("cmdline", "environ"):
            assert clean(Path(f"/proc/{pid}/{name}")), (pid, name)
    assert list(temporary.iterdir()) == []
    front.clear()
    rule.action = Reply(503, "broken")  # what it says of a failure holds none either
    hub.do("stopTask", task)
    hub.wait(task, "STOPPED")
    hub.job("testConnection", between(here, there), "SOURCE")
    for place in hub.folder.rglob("*"):
        if place.is_file():
            assert clean(place), place


# --------------------------------------------------------------------------------- before it starts


def test_a_connection_is_tested(hub: Hub, here: RegistryServer, there: RegistryServer) -> None:
    here.push("team/app", "v1", one("v1"))
    task = between(here, there)

    def tested(side: str, **changes: str) -> dict[str, Any]:
        job = hub.job("testConnection", {**task, **changes}, side)
        assert job["state"] == "DONE", job
        return dict(job["result"])

    source = tested("SOURCE")
    assert (source["ok"], source["sample"], source["registry"]) == (True, ["team/app"], here.host)
    assert tested("DESTINATION")["ok"]
    named = tested("SOURCE", srcList="SELECTED", srcImageList="team/app:v1,team/app:v2")
    assert (named["ok"], named["sample"]) == (False, [f"{here.host}/team/app:v1"])
    assert f"{here.host}/team/app:v2" in named["detail"]
    for side, start in (("SOURCE", "src"), ("DESTINATION", "dest")):
        wrong = tested(side, **{f"{start}Credential": "wrong"})
        assert not wrong["ok"]
        assert "refuses the credentials" in wrong["detail"]
        assert "hunter2" not in json.dumps(wrong)


def test_a_preflight_tells_what_is_missing(
    hub: Hub, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("v1"))
    with hub.bound("login"):
        good = hub.job("preflight", between(here, there))
    assert good["result"]["state"] == "OK", good
    assert {(check["side"], check["name"]) for check in good["result"]["checks"]} >= {
        ("source", "pull"),
        ("destination", "push"),
        ("destination", "skopeo"),
    }
    bad = hub.job("preflight", between(here, there, destCredential="wrong"))["result"]
    assert bad["state"] == "FAILED"
    (failed,) = (check for check in bad["checks"] if check["state"] == "FAILED")
    assert (failed["side"], failed["todo"]) == ("destination", "correct destCredential")
    missing = hub.job(
        "preflight",
        between(here, there, srcList="SELECTED", srcImageList="team/app:v1,team/none:v1"),
    )["result"]
    assert [check["name"] for check in missing["checks"] if check["state"] == "FAILED"] == [
        f"{here.host}/team/none:v1"
    ]


def test_a_preflight_names_the_rights_of_the_side_that_lacks_them(
    hub: Hub, here: RegistryServer, there: RegistryServer, front: PlainProxy
) -> None:
    """No policy of AWS helps a registry that is none of Amazon's."""
    here.push("team/app", "v1", one("v1"))
    hub.secret("keys", "a", "b")
    with EcrServer(there) as ecr:
        amazon = {
            "destType": "Amazon_ECR",
            "destRegion": ecr.region,
            "destEndpoint": ecr.url,
            "destCredential": "keys",
            "destRegistry": "",
        }
        with hub.bound("login", "keys"):
            good = hub.job("preflight", {**between(front, there), **amazon})["result"]
        assert good["state"] == "UNKNOWN", (
            good
        )  # whether the repository may be made is known when it is
        denied = Reply(
            403,
            body=b'{"errors": [{"code": "DENIED"}]}',
            headers={"Content-Type": "application/json"},
        )
        front.rule(Delay(1.0), key="_catalog")  # the other side has been opened by then
        rule = front.rule(denied, key="_catalog")
        source = hub.job("preflight", {**between(front, there), **amazon})["result"]
        assert source["state"] == "FAILED"
        assert source["policies"]["source"] == {}
        front.remove(rule)
        ecr.refuse["DescribeRepositories"] = ("AccessDeniedException", "not authorized")
        dest = hub.job("preflight", {**between(front, there), **amazon})["result"]
        assert dest["state"] == "FAILED"
        (statement,) = dest["policies"]["destination"]["Statement"]
        assert statement["Action"] == ["ecr:DescribeImages", "ecr:DescribeRepositories"]
        assert dest["policies"]["source"] == {}


def test_a_forecast_is_the_plan(hub: Hub, here: RegistryServer, there: RegistryServer) -> None:
    for tag in ("v1", "v2"):
        here.push("team/app", tag, one(tag))
    there.push("team/app", "v1", one("v1"))
    plan = hub.job("forecast", between(here, there))["result"]
    assert (plan["counts"]["copy"], plan["counts"]["same"]) == (1, 1)
    assert (
        2000 < plan["bytes"] < 10_000 < 200_000 < plan["size"]
    )  # the layer that is shared is there
    bad = hub.job("forecast", between(here, there, destCredential="wrong"))
    assert bad["state"] == "FAILED"
    assert bad["error"].startswith(f"{there.host} refuses the credentials of '{USER}'")
