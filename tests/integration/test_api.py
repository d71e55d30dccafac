"""The GraphQL API: what existing clients send, what nobody may, and what is too much."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from dth.core.errors import UsageError
from dth.hub.model import Role
from dth.hub.names import canonical
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.oidc import KEY_SETTING
from dth.platforms.local.tasks import LocalTasks
from dth.platforms.local.users import read_account
from dth.platforms.local.vault import kept, open_vault
from tests.engine import Side, bodies, wait_for
from tests.hub import Hub
from tests.old_api import ROOTS, operation

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


def ask(
    hub: Hub, query: str, token: str | None = None, **variables: Any
) -> tuple[int, dict[str, Any]]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    status, text = hub.request("/graphql", {"query": query, "variables": variables}, headers)
    return status, json.loads(text)


def test_the_operations_of_an_existing_client_run_as_they_are(
    hub: Hub, source: Side, dest: Side
) -> None:
    """All nine, with every argument as a variable of the type that its clients know, selecting
    everything."""
    source.put(bodies("ab"))
    given = {
        **{pair["ParameterKey"]: pair["ParameterValue"] for pair in hub.parameters(source, dest)},
        "srcType": "S3_Compatible",
        "srcRegion": "us-east-1",
        "srcInCurrentAccount": "false",
        "srcPrefix": "",
        "srcPrefixsListFile": "",
        "srcSkipCompare": "false",
        "srcEvent": "No",
        "isPayerRequest": "false",
        "destInCurrentAccount": "true",
        "destPrefix": "",
        "destRegion": "us-east-1",
        "destStorageClass": "STANDARD",
        "destPutObjectSSEType": "None",
        "destPutObjectSSEKmsKeyId": "",
        "destAcl": "",
        "ec2CronExpression": "",
        "includeMetadata": "true",
        "finderDepth": "0",
        "finderNumber": "1",
        "finderEc2Memory": "8",
        "maxCapacity": "20",
        "minCapacity": "1",
        "desiredCapacity": "1",
        "alarmEmail": "somebody@example.org",
        "ec2VpcId": "vpc-1",
        "ec2Subnets": "subnet-1,subnet-2",
    }
    roots = {root.name: operation(root) for root in ROOTS}
    assert len(roots) == 9

    def call(name: str, **variables: Any) -> Any:
        return hub.call(roots.pop(name), **variables)

    task = call(
        "createTask",
        input={
            "type": "S3EC2",
            "description": "old client",
            "scheduleType": "ONE_TIME",
            "parameters": [
                {"ParameterKey": name, "ParameterValue": value} for name, value in given.items()
            ],
        },
    )
    assert (task["type"], task["scheduleType"], task["__typename"]) == ("S3EC2", "ONE_TIME", "Task")
    assert {pair["ParameterKey"]: pair["ParameterValue"] for pair in task["parameters"]} == given
    hub.wait(task["id"], "DONE")

    listed = call("listTasksV2", page=1, count=20, progress="DONE")
    counted = {"total": 2, "replicated": 2, "__typename": "CommonProgressInfo"}
    assert (listed["total"], listed["items"][0]["progressInfo"]) == (1, counted)
    got = call("getTask", id=task["id"])
    assert got["progress"] == "DONE"
    assert got["stoppedAt"].endswith("Z")
    assert call("listSecrets") == [{"name": "keys", "description": "", "__typename": "Secret"}]

    group = f"/dth/tasks/{task['id']}"
    streams = call("listLogStreams", page=1, count=10, logGroupName=group, logStreamNamePrefix="")
    assert {"finder", "worker-1"} <= {stream["logStreamName"] for stream in streams["logStreams"]}
    events = call(
        "getLogEvents", limit=100, logGroupName=group, logStreamName="finder", nextToken=None
    )
    assert events["logEvents"]
    graphs = roots.pop("getMetricHistoryData")
    for graph in (
        "Network",
        "TransferredFailedObjects",
        "RunningWaitingJobHistory",
        "DesiredInServiceInstances",
    ):
        data = hub.call(
            graphs, id=task["id"], graphName=graph, startTime=None, endTime=None, period=60
        )
        assert (
            len({serie["name"] for serie in data["series"]}) == len(data["series"]) == 2
        )  # fault 13
        assert all(
            len(serie["data"]) == len(data["xaxis"]["categories"]) for serie in data["series"]
        )
    error = call("getErrorMessage", id=task["id"])
    assert (error["errMessage"], error["errCode"]) == ("", None)

    waiting = hub.create(
        source, dest, once=False, destPrefix="again", ec2CronExpression="0 0 1 1 ? 2199"
    )
    stopped = call("stopTask", id=waiting)
    assert stopped["progress"] == "STOPPING"
    hub.wait(waiting, "STOPPED")
    assert not roots


def test_a_task_of_billions_of_objects_breaks_no_list(hub: Hub, source: Side, dest: Side) -> None:
    """Int ends at 2^31; what clients of the existing solution ask for ends there, and fails
    nothing."""
    source.put(bodies("a"))
    huge = hub.create(source, dest)
    hub.wait(huge, "DONE")
    many, lost = 2_571_262_247, 3_000_000_000

    async def grow() -> None:
        with HubDatabase.open(hub.data / "hub.db") as database:
            tasks = LocalTasks(database)
            task = await tasks.get(huge)
            task.summary.total, task.summary.replicated, task.summary.failed = many, many - 1, lost
            task.summary.waiting = lost
            await tasks.summarize(task)

    asyncio.run(grow())
    listed = hub.call("""{ listTasksV2 { total items { id
        progressInfo { total replicated objects doneObjects failed waiting } } } }""")
    info = next(each["progressInfo"] for each in listed["items"] if each["id"] == huge)
    most = 2**31 - 1
    assert (info["total"], info["replicated"]) == (most, most)
    assert (info["objects"], info["doneObjects"]) == (many, many - 1)
    assert (info["failed"], info["waiting"]) == (lost, lost)
    assert hub.call("{ hubActivity { waiting } }")
    shown = subprocess.run(
        [sys.executable, "-m", "dth", "task", "list", "--hub", hub.url],
        env={**os.environ, "DTH_TOKEN": hub.token}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"{many - 1}/{many} failed {lost}" in shown
    hub.do("deleteTask", huge)


@pytest.mark.parametrize("path", ["/graphql", "/metrics"])
@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer nonsense", "Basic YTpi", "Bearer dth_nonsense", "Bearer a.b.c"],
)
def test_nobody_in_particular_gets_nothing(hub: Hub, path: str, header: str | None) -> None:
    headers = {"authorization": header} if header else {}
    body = {"query": "{ __schema { types { name } } }"} if path == "/graphql" else None
    status, text = hub.request(path, body, headers)
    assert status == 401
    assert json.loads(text)["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
    assert "data" not in json.loads(text)


def test_what_is_too_much_is_refused(hub: Hub) -> None:
    token = token_of(hub, Role.VIEWER)
    deep = "{ __schema " + "{ types { fields { type " * 6 + "{ name }" + " } } }" * 6 + " }"
    wide = "{ " + " ".join(f"a{n}: hubInfo {{ version }}" for n in range(50)) + " }"
    loop = "{ hubInfo { ...a } } fragment a on HubInfo { ...b } fragment b on HubInfo { ...a }"
    many = "{ " + " ".join(["version"] * 3000) + " }"
    bomb = (
        "{ hubInfo { ...a } } fragment a on HubInfo { "
        + "...b " * 50
        + "} fragment b on HubInfo { "
        + "version " * 60
        + "}"
    )
    for query in (
        deep,
        wide,
        loop,
        f"{{ hubInfo {many} }}",
        bomb,
        "{ hubInfo { version } } #" + "x" * 60_000,
    ):
        _, answer = ask(hub, query, token)
        assert answer["errors"][0]["extensions"]["code"] == "LIMIT", (query[:60], answer)
    for query in ("{ listTasksV2(count: 101) { total } }", "{ listTasksV2(page: 0) { total } }"):
        _, answer = ask(hub, query, token)
        assert answer["errors"][0]["extensions"]["code"] == "BAD_INPUT"
    assert hub.request("/graphql", b"x" * 3_000_000, {"authorization": f"Bearer {token}"})[0] == 400
    assert hub.request("/graphql", b"{", {"authorization": f"Bearer {token}"})[0] == 400


def test_changes_are_audited_without_what_is_secret(hub: Hub) -> None:
    hub.secret("audited", "key", "very-hidden-value")
    entries = hub.call(
        "{ listAudit(count: 100) { items { who what target detail outcome at } total } }"
    )
    (entry,) = [each for each in entries["items"] if each["target"] == "audited"]
    assert (entry["who"], entry["what"], entry["outcome"]) == ("command line", "createSecret", "ok")
    assert "very-hidden-value" not in json.dumps(entries)
    _, answer = ask(
        hub, 'mutation { deleteSecret(name: "none") { name } }', token_of(hub, Role.OPERATOR)
    )
    assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    newest = hub.call("{ listAudit(count: 1) { items { what outcome } } }")["items"][0]
    assert newest == {"what": "deleteSecret", "outcome": "NOT_FOUND"}


def test_who_made_a_task_stands_in_its_audit_log(hub: Hub, source: Side, dest: Side) -> None:
    task = hub.create(source, dest, destPrefix="here")
    clone = hub.call(
        "mutation ($id: ID!, $input: EditTaskInput) { cloneTask(id: $id, input: $input) { id } }",
        id=task,
        input={"parameters": [{"ParameterKey": "destPrefix", "ParameterValue": "elsewhere"}]},
    )["id"]
    ask = "query ($t: String!) { listAudit(target: $t) { items { what outcome } } }"
    for target, what in ((task, "createTask"), (clone, "cloneTask")):
        assert {"what": what, "outcome": "ok"} in hub.call(ask, t=target)["items"]


@pytest.mark.parametrize("name", ["Bob", " carol ", "\uff24ave"])
def test_a_user_is_answered_as_it_is_kept(hub: Hub, name: str) -> None:
    kept = canonical(name)
    made = hub.call(
        """mutation ($n: String!) { createUser(name: $n, password: "a long enough password", role: viewer) {
            name role } }""",
        n=name,
    )
    assert made == {"name": kept, "role": "viewer"}
    changed = hub.call(
        "mutation ($n: String!) { setUserRole(name: $n, role: operator) { name role } }", n=name
    )
    assert changed == {"name": kept, "role": "operator"}
    assert hub.call("mutation ($n: String!) { deleteUser(name: $n) }", n=name)


@pytest.mark.parametrize("name", ["", "a b", "x" * 1000, "-a", "a\nb"])
def test_a_name_that_cannot_be_is_refused_in_one_line(hub: Hub, name: str) -> None:
    query = """mutation ($n: String!) {
        createUser(name: $n, password: "a long enough password", role: viewer) { name } }"""
    (error,) = ask(hub, query, hub.token, n=name)[1]["errors"]
    assert error["extensions"]["code"] == "BAD_INPUT"
    assert "is not a user name" in error["message"]
    assert "\n" not in error["message"]
    assert len(error["message"]) < 200


def test_health_is_for_everybody(hub: Hub) -> None:
    assert hub.request("/healthz") == (200, "ok\n")
    assert hub.request("/readyz") == (200, "ready\n")
    status, text = hub.request(
        "/metrics", headers={"authorization": f"Bearer {token_of(hub, Role.VIEWER)}"}
    )
    assert status == 200
    assert "# TYPE" in text


def token_of(hub: Hub, role: Role) -> str:
    query = (
        'mutation ($role: Role!) { createToken(name: "test", role: $role, expiresInDays: 1) { '
        "token } }"
    )
    return str(hub.call(query, role=role.value)["token"])


def test_preflight_and_forecast_are_jobs(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("abc"))
    pairs = hub.parameters(source, dest)
    task = {"type": "S3EC2", "scheduleType": "ONE_TIME", "parameters": pairs}
    found = {}
    for kind in ("preflight", "forecast"):
        job = hub.call(
            f"mutation ($i: CreateTaskInput!) {{ {kind}(input: $i) {{ id state }} }}", i=task
        )
        query = "query ($id: ID!) { getJob(id: $id) { state error result } }"
        wait_for(lambda: hub.call(query, id=job["id"])["state"] != "RUNNING")  # noqa: B023
        ended = hub.call(query, id=job["id"])
        assert (ended["state"], ended["error"]) == ("DONE", ""), ended
        found[kind] = json.loads(ended["result"])
    assert {check["state"] for check in found["preflight"]["checks"]} <= {
        "OK",
        "UNKNOWN",
        "WARNING",
    }
    assert found["forecast"]["objects"]["value"] == 3
    assert dest.listed() == []
    missing = [*pairs, {"ParameterKey": "srcBucket", "ParameterValue": "not-there"}]
    job = hub.call(
        "mutation ($i: CreateTaskInput!) { preflight(input: $i) { id } }",
        i={**task, "parameters": missing},
    )
    wait_for(lambda: hub.call(query, id=job["id"])["state"] == "DONE")
    checks = json.loads(hub.call(query, id=job["id"])["result"])["checks"]
    assert "FAILED" in {check["state"] for check in checks}


def test_what_the_hub_does_now_and_did(hub: Hub, source: Side, dest: Side) -> None:
    query = """query ($hours: Int, $since: AWSDateTime) { hubActivity(hours: $hours, since: $since) {
        rate active waiting workers bytes objects failed points { at bytes objects failed } } }"""
    before = hub.call(query)
    assert len(before["points"]) in (24, 25)
    source.put(bodies("vwxyz"))
    hub.wait(hub.create(source, dest), "DONE")
    wait_for(lambda: hub.call(query)["objects"] == before["objects"] + 5, 30)
    today = f"{datetime.now(UTC):%Y-%m-%d}T00:00:00+00:00"
    for given in ({"hours": 1}, {"hours": 744}, {"hours": None}, {"since": today}):
        found = hub.call(query, **given)
        assert 1 <= len(found["points"]) <= 48, given
        for name in ("bytes", "objects", "failed"):
            assert sum(point[name] for point in found["points"]) == pytest.approx(found[name])
    assert hub.call(query, hours=1)["bytes"] >= sum(map(len, bodies("vwxyz").values()))
    assert (found["rate"], found["active"], found["waiting"], found["workers"]) == (0, 0, 0, 0)
    for given, said in (
        ({"hours": 0}, "hours: 0 is out of range"),
        ({"hours": 745}, "hours: 745 is out of range"),
        ({"since": "yesterday"}, "since: 'yesterday' is not a time"),
        ({"since": "2099-01-01T00:00:00Z"}, "since: it must be in the past"),
        ({"since": "2020-01-01T00:00:00Z"}, "since: 31 days back is the most"),
    ):
        _, answer = ask(hub, query, token_of(hub, Role.VIEWER), **given)
        (error,) = answer["errors"]
        assert (error["extensions"]["code"], error["message"][: len(said)]) == ("BAD_INPUT", said)


def test_a_filter_of_the_audit_log_is_bounded(hub: Hub) -> None:
    query = "query ($what: [String!]) { listAudit(what: $what) { total } }"
    assert hub.call(query, what=["createTask"] * 100)["total"] >= 0
    with pytest.raises(UsageError, match="what: at most 100 operations"):
        hub.call(query, what=["createTask"] * 101)


def test_a_form_learns_what_each_parameter_may_be(hub: Hub) -> None:
    found = hub.call("""{ listTaskParameters(type: S3EC2) {
        name kind option minimum maximum size required } }""")
    fields = {each.pop("name"): each for each in found}
    assert [name for name, field in fields.items() if field["required"]] == [
        "srcBucket",
        "destBucket",
    ]
    part_size = {
        "option": "--part-size",
        "minimum": 5 * 1024**2,
        "maximum": 5 * 1024**3,
        "size": True,
    }
    assert fields["partSize"] == {"kind": "number", "required": False, **part_size}
    assert {name for name, field in fields.items() if field["size"]} == {
        *(
            "minSize",
            "maxSize",
            "multipartThreshold",
            "partSize",
            "giantObjectThreshold",
            "memoryBudget",
        ),
        "maxBytesPerSecond",
    }
    assert fields["srcCredentials"]["option"] == "--src-secret"
    assert fields["srcBucket"]["option"] == ""
    assert (fields["budget"]["minimum"], fields["budget"]["maximum"]) == (0, None)
    assert (fields["modifiedSince"]["minimum"], fields["modifiedSince"]["size"]) == (None, False)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/graphql"), ("GET", "/metrics"), ("GET", "/oidc/userinfo")]
)
def test_a_token_that_does_not_hold_is_refused_on_every_route(
    hub: Hub, method: str, path: str
) -> None:
    """Each is right but for one thing; most are signed with the hub's own key."""

    async def own() -> tuple[bytes, int]:
        with HubDatabase.open(hub.data / "hub.db") as database:
            account = await database.read(read_account, "admin")
            assert account is not None
            return await kept(database, open_vault(hub.data), KEY_SETTING, bytes), account.epoch

    pem, epoch = asyncio.run(own())
    key = RSAKey.import_key(pem, {"use": "sig", "alg": "RS256"})
    key.ensure_kid()
    right = {
        "iss": f"{hub.url}/oidc", "sub": "admin", "aud": "dth", "client_id": "dth-cli",
        "scope": "openid",
        "iat": int(time.time()), "exp": int(time.time()) + 300, "dth_epoch": epoch,
        "dth_role": "admin",
    }  # fmt: skip
    header = {"alg": "RS256", "kid": key.kid, "typ": "at+jwt"}
    unsigned = ".".join(
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none"}, right)
    )
    bad = {
        "expired": jwt.encode(header, {**right, "exp": int(time.time()) - 3600}, key),
        "audience": jwt.encode(header, {**right, "aud": "another", "client_id": "another"}, key),
        "issuer": jwt.encode(header, {**right, "iss": "https://another.example.org"}, key),
        "foreign key": jwt.encode(header, right, RSAKey.generate_key(2048)),
        "alg none": f"{unsigned}.",
        "ended session": jwt.encode(header, {**right, "dth_epoch": epoch + 1}, key),
    }
    body = {"query": "{ whoAmI { name } }"} if method == "POST" else None

    def status(token: str) -> int:
        return hub.request(path, body, {"authorization": f"Bearer {token}"}, method)[0]

    assert {what: status(token) for what, token in bad.items()} == dict.fromkeys(bad, 401)
    assert status(jwt.encode(header, right, key)) == 200
