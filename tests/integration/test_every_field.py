"""Every root field of the API on a real hub: what each role gets, what is not found, what is
refused, and what the audit log says of it. A field without a row here fails the build.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from graphql import GraphQLNonNull

from dth.hub.api import FIELDS
from dth.hub.model import ROLES, Role
from tests import identity
from tests.engine import Side, bodies, wait_for
from tests.hub import Hub
from tests.operations import operation, root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.ministack import MiniStack

pytestmark = pytest.mark.quick

NOBODY = "00000000-0000-4000-8000-000000000000"  # the id of no task, job, token or channel
PASSWORD = "a long enough password"
KEYS = json.dumps({"access_key_id": "a", "secret_access_key": "b"})
NEVER = "0 0 1 1 ? 2199"


class World:
    """A hub, somebody of each role, and things of every kind."""

    def __init__(self, hub: Hub, source: Side, dest: Side) -> None:
        self.hub, self.source, self.dest = hub, source, dest
        self._numbers = itertools.count()
        source.put(bodies("a"))
        self.tokens = {role: self._token(role.value, role) for role in ROLES}
        for role in ROLES:  # that a token is used for the first time is written down, too
            self.ask("whoAmI", {}, role)
        self.done = hub.create(source, dest)
        hub.wait(self.done, "DONE")
        self.waiting = self.task()
        self.following = self.task(srcEvent="Create")
        self.comparison = self.compared()
        self.job = hub.call(
            "mutation ($i: CreateTaskInput!) { preflight(input: $i) { id } }", i=self.input()
        )["id"]

    def name(self) -> str:
        return f"thing-{next(self._numbers)}"

    def input(self, **more: str) -> dict[str, Any]:
        """Of a task that is like no other."""
        given = {"destPrefix": f"{self.name()}/", "ec2CronExpression": NEVER, **more}
        return {"type": "S3EC2", "parameters": self.hub.parameters(self.source, self.dest, **given)}

    def task(self, **more: str) -> str:
        """One that begins no run by itself any more."""
        made = self.hub.create(
            self.source,
            self.dest,
            once=False,
            destPrefix=f"{self.name()}/",
            ec2CronExpression=NEVER,
            **more,
        )
        self.hub.wait(made, "IN_PROGRESS")
        return made

    def paused(self) -> str:
        made = self.task()
        self.hub.do("pauseTask", made)
        return made

    def stopped(self) -> str:
        made = self.task()
        self.hub.do("stopTask", made)
        self.hub.wait(made, "STOPPED")
        return made

    def compared(self) -> str:
        """A comparison that found something and has ended."""
        _wait_for_comparisons(self)
        query = "mutation ($i: CreateTaskInput!) { compare(input: $i) { id } }"
        made = str(self.hub.call(query, i=self.input())["id"])
        _wait_for_comparisons(self)
        return made

    def secret(self) -> str:
        name = self.name()
        self.hub.secret(name, "a", "b")
        return name

    def store(self) -> str:
        name = self.name()
        query = (
            "mutation ($n: String!, $i: StoreInput!) { createStore(name: $n, input: $i) { name } }"
        )
        return str(self.hub.call(query, n=name, i={"endpoint": self.source.server.url})["name"])

    def user(self) -> str:
        name = self.name()
        self.hub.call(
            (
                "mutation ($n: String!, $p: String!) { createUser(name: $n, password: $p, role: "
                "viewer) { name } }"
            ),
            n=name,
            p=PASSWORD,
        )
        return name

    def token(self) -> str:
        query = "mutation ($n: String!) { createToken(name: $n, role: viewer) { info { id } } }"
        return str(self.hub.call(query, n=self.name())["info"]["id"])

    def invitation(self) -> str:
        return str(self.hub.call("mutation { createInvitation(role: viewer) { id } }")["id"])

    def channel(self) -> str:
        query = "mutation ($i: ChannelInput!) { putChannel(input: $i) { id } }"
        return str(self.hub.call(query, i={"kind": "email", "target": "a@example.org"})["id"])

    def issuer(self) -> dict[str, Any]:
        """The hub itself, as if it were another one."""
        self.hub.call("mutation { useBuiltInSignIn { id } }")
        return {"issuer": f"{self.hub.url}/oidc", "clientId": "dth-console"}

    def issuer_waits(self) -> str:
        query = "mutation ($i: IssuerInput!) { saveIssuer(input: $i) { id } }"
        return str(self.hub.call(query, i=self.issuer())["id"])

    def signed_in(self) -> dict[str, Any]:
        """An administrator at the issuer that waits."""
        self.issuer_waits()
        name, nothing = self.name(), cast("Any", None)
        self.hub.user(name, identity.PASSWORD, Role.ADMIN)
        there = identity.Hub(self.hub.url, *[nothing] * 6)
        return {"token": asyncio.run(there.tokens_of(name))["access_token"]}

    def restore(self) -> str:
        """One whose upload has begun."""
        return str(self.hub.call("mutation { beginRestore { id } }")["id"])

    def _token(self, name: str, role: Role) -> str:
        query = "mutation ($n: String!, $r: Role!) { createToken(name: $n, role: $r) { token } }"
        return str(self.hub.call(query, n=name, r=role.value)["token"])

    def ask(self, name: str, given: dict[str, Any], role: Role) -> dict[str, Any]:
        """The answer to one operation: `data` or `errors`."""
        body = {"query": operation(name, given), "variables": given}
        headers = {"authorization": f"Bearer {self.tokens[role]}"}
        answer: dict[str, Any] = json.loads(self.hub.request("/graphql", body, headers)[1])
        return answer

    def audited(self) -> tuple[int, dict[str, Any]]:
        """How many entries the audit log has, and the newest."""
        query = "{ listAudit(count: 1) { total items { who via what target detail outcome at } } }"
        found = self.hub.call(query)
        return int(found["total"]), found["items"][0]


@dataclass(frozen=True)
class Row:
    """A root field. `role`: the least that may call it; `good`: arguments that succeed, made again
    for each call; `unknown`: some that name what does not exist, and `bad`: some that make no
    sense, each in place of good ones. Where they are not given they follow from the schema."""

    role: Role
    good: Callable[[World], dict[str, Any]] = lambda world: {}
    unknown: dict[str, Any] | None = None
    bad: dict[str, Any] = field(default_factory=dict)


VIEWER, OPERATOR, ADMIN = ROLES
JOBS = {
    "preflight", "forecast", "testConnection", "certify", "testStore", "listBuckets", "browse",
    "objectDetails",
    "createBucket",
}  # fmt: skip
NO_NAME = {"name": "no-such-name"}
NO_TYPE = {
    "input": {"type": "S3EC2", "parameters": [{"ParameterKey": "noSuch", "ParameterValue": "x"}]}
}

ROWS: dict[str, Row] = {
    "listTasksV2": Row(
        VIEWER,
        lambda w: {
            "count": 5,
            "statuses": ["DONE"],
            "text": "s3",
            "orderBy": "updated",
            "attention": True,
        },
        bad={"count": 0},
    ),
    "getTask": Row(VIEWER, lambda w: {"id": w.done}),
    "listSecrets": Row(VIEWER),
    "listLogStreams": Row(
        VIEWER,
        lambda w: {"logGroupName": f"/dth/tasks/{w.done}"},
        {"logGroupName": f"/dth/tasks/{NOBODY}"},
        {"page": 0},
    ),
    "getLogEvents": Row(
        VIEWER,
        lambda w: {"logGroupName": f"/dth/tasks/{w.done}", "logStreamName": "finder"},
        {"logGroupName": f"/dth/tasks/{NOBODY}"},
        {"startTime": "yesterday"},
    ),
    "getMetricHistoryData": Row(
        VIEWER, lambda w: {"id": w.done, "graphName": "Network"}, bad={"period": 0}
    ),
    "getErrorMessage": Row(VIEWER, lambda w: {"id": w.done}),
    "listRuns": Row(VIEWER, lambda w: {"id": w.done}, bad={"count": 101}),
    "listRecords": Row(VIEWER, lambda w: {"id": w.done, "status": "DONE"}, bad={"nextToken": "?"}),
    "listImages": Row(VIEWER, lambda w: {"id": w.done}, bad={"limit": 1001}),
    "imageHistory": Row(VIEWER, lambda w: {"id": w.done, "key": "a:v1"}),
    "failureGroups": Row(VIEWER, lambda w: {"id": w.done}),
    "getJob": Row(VIEWER, lambda w: {"id": w.job}),
    "listComparisons": Row(VIEWER, lambda w: {"task": w.done}, bad={"count": 101}),
    "getComparison": Row(VIEWER, lambda w: {"id": w.comparison}),
    "listComparedFolders": Row(VIEWER, lambda w: {"id": w.comparison, "path": "a/"}),
    "listFindings": Row(VIEWER, lambda w: {"id": w.comparison}, bad={"nextToken": "?"}),
    "getComparisonCertificate": Row(VIEWER, lambda w: {"id": w.comparison}),
    "getCertificate": Row(VIEWER, lambda w: {"id": w.done, "run": 1}),
    "listTaskParameters": Row(VIEWER, lambda w: {"type": "S3EC2"}),
    "exportTask": Row(VIEWER, lambda w: {"id": w.done}),
    "getWebhook": Row(OPERATOR, lambda w: {"id": w.following}),
    "hubInfo": Row(VIEWER),
    "hubActivity": Row(VIEWER, lambda w: {"hours": 1}, bad={"hours": 0}),
    "whoAmI": Row(VIEWER),
    "listUsers": Row(ADMIN),
    "listTokens": Row(ADMIN),
    "listChannels": Row(ADMIN),
    "listAudit": Row(VIEWER, lambda w: {"target": w.done}, bad={"since": "yesterday"}),
    "createTask": Row(OPERATOR, lambda w: {"input": w.input()}, bad=NO_TYPE),
    "stopTask": Row(OPERATOR, lambda w: {"id": w.task()}),
    "pauseTask": Row(OPERATOR, lambda w: {"id": w.task()}),
    "resumeTask": Row(OPERATOR, lambda w: {"id": w.paused()}),
    "startRun": Row(OPERATOR, lambda w: {"id": w.waiting}),
    "editTask": Row(
        OPERATOR,
        lambda w: {"id": w.waiting, "input": {"description": "another"}},
        bad={"input": {"description": "x" * 1001}},
    ),
    "cloneTask": Row(
        OPERATOR,
        lambda w: {
            "id": w.waiting,
            "input": {
                "parameters": [{"ParameterKey": "destPrefix", "ParameterValue": f"{w.name()}/"}]
            },
        },
        bad={"input": {"parameters": [{"ParameterKey": "noSuch", "ParameterValue": "x"}]}},
    ),
    "deleteTask": Row(OPERATOR, lambda w: {"id": w.stopped(), "stop": True}),
    "acknowledgeTask": Row(OPERATOR, lambda w: {"id": w.paused()}, bad={"until": "2001-01-01"}),
    "withdrawAcknowledgement": Row(OPERATOR, lambda w: {"id": w.paused()}),
    "retryFailed": Row(
        OPERATOR, lambda w: {"id": w.waiting, "reason": "None"}, bad={"keys": ["a"] * 1001}
    ),
    "redriveDeadLetters": Row(OPERATOR, lambda w: {"id": w.waiting}),
    "preflight": Row(OPERATOR, lambda w: {"input": w.input()}, bad=NO_TYPE),
    "forecast": Row(OPERATOR, lambda w: {"input": w.input()}, bad=NO_TYPE),
    "testConnection": Row(OPERATOR, lambda w: {"input": w.input(), "side": "SOURCE"}, bad=NO_TYPE),
    "certify": Row(VIEWER, lambda w: {"id": w.done, "run": 1}, bad={"run": 9}),
    "compare": Row(
        OPERATOR,
        lambda w: {"input": w.input(), "policy": "size"},
        {"task": NOBODY, "input": None},
        {"policy": "always"},
    ),
    "cancelComparison": Row(OPERATOR, lambda w: {"id": w.comparison}),
    "deleteComparison": Row(OPERATOR, lambda w: {"id": w.compared()}),
    "copyFindings": Row(OPERATOR, lambda w: {"id": w.compared()}, bad={"states": ["EXTRA"]}),
    "createSecret": Row(
        OPERATOR, lambda w: {"name": w.name(), "value": KEYS}, bad={"value": "no JSON"}
    ),
    "updateSecret": Row(
        OPERATOR, lambda w: {"name": w.secret(), "value": KEYS}, NO_NAME, {"value": "no JSON"}
    ),
    "bindSecret": Row(
        ADMIN,
        lambda w: {"name": w.secret(), "hosts": ["store.example.com"]},
        NO_NAME,
        {"hosts": ["a/b"]},
    ),
    "deleteSecret": Row(OPERATOR, lambda w: {"name": w.secret()}, NO_NAME),
    "listStores": Row(VIEWER),
    "getStore": Row(VIEWER, lambda w: {"name": w.store()}, NO_NAME),
    "createStore": Row(
        OPERATOR,
        lambda w: {
            "name": w.name(),
            "input": {"endpoint": "http://127.0.0.1:9000", "kind": "MinIO"},
        },
        bad={"input": {"kind": "NoSuch"}},
    ),
    "updateStore": Row(
        OPERATOR,
        lambda w: {"name": w.store(), "input": {"region": "eu-west-1"}},
        NO_NAME,
        {"input": {"endpoint": "ftp://x"}},
    ),
    "deleteStore": Row(OPERATOR, lambda w: {"name": w.store()}, NO_NAME),
    "testStore": Row(OPERATOR, lambda w: {"name": w.store()}, NO_NAME),
    "listBuckets": Row(OPERATOR, lambda w: {"input": w.input(), "side": "SOURCE"}, bad=NO_TYPE),
    "browse": Row(OPERATOR, lambda w: {"input": w.input(), "side": "SOURCE"}, bad={"count": 0}),
    "objectDetails": Row(
        OPERATOR, lambda w: {"input": w.input(), "side": "SOURCE", "key": "a"}, bad=NO_TYPE
    ),
    "createBucket": Row(
        OPERATOR, lambda w: {"input": w.input(), "side": "DESTINATION"}, bad=NO_TYPE
    ),
    "listInvitations": Row(ADMIN),
    "createInvitation": Row(
        ADMIN,
        lambda w: {"role": "viewer", "email": "a@example.org", "expiresInDays": 1},
        bad={"email": "no address"},
    ),
    "withdrawInvitation": Row(ADMIN, lambda w: {"id": w.invitation()}),
    "createToken": Row(
        ADMIN,
        lambda w: {"name": w.name(), "role": "viewer", "expiresInDays": 1},
        bad={"expiresInDays": 0},
    ),
    "revokeToken": Row(ADMIN, lambda w: {"id": w.token()}),
    "createUser": Row(
        ADMIN,
        lambda w: {"name": w.name(), "password": PASSWORD, "role": "viewer"},
        bad={"name": "no name at all"},
    ),
    "setUserPassword": Row(
        ADMIN,
        lambda w: {"name": w.user(), "password": "another long password"},
        NO_NAME,
        {"password": "short"},
    ),
    "setUserRole": Row(ADMIN, lambda w: {"name": w.user(), "role": "operator"}, NO_NAME),
    "deleteUser": Row(ADMIN, lambda w: {"name": w.user()}, NO_NAME),
    "putChannel": Row(
        ADMIN,
        lambda w: {"input": {"kind": "email", "target": "b@example.org", "events": ["TASK_DONE"]}},
        bad={"input": {"kind": "email", "target": "b@example.org", "events": ["NO_EVENT"]}},
    ),
    "deleteChannel": Row(ADMIN, lambda w: {"id": w.channel()}),
    "testChannel": Row(ADMIN, lambda w: {"id": w.channel()}),
    "getSignIn": Row(ADMIN),
    "testIssuer": Row(
        ADMIN, lambda w: {"input": w.issuer()}, bad={"input": {"issuer": "x", "clientId": "y"}}
    ),
    "saveIssuer": Row(
        ADMIN, lambda w: {"input": w.issuer()}, bad={"input": {"issuer": "x", "clientId": "y"}}
    ),
    "confirmIssuer": Row(ADMIN, lambda w: w.signed_in()),
    "discardIssuer": Row(ADMIN, lambda w: w.issuer_waits() and {}),
    "useBuiltInSignIn": Row(ADMIN),
    "getRestore": Row(ADMIN, lambda w: w.restore() and {}),
    "createBackupLink": Row(ADMIN),
    "beginRestore": Row(ADMIN),
    "checkRestore": Row(ADMIN, lambda w: {"id": w.restore()}),
    "discardRestore": Row(ADMIN, lambda w: {"id": w.restore()}),
}


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, s3_a: MiniStack, s3_b: MiniStack
) -> Iterator[World]:
    names = [f"{side}-{uuid.uuid4().hex[:8]}" for side in ("source", "dest")]
    for server, name in zip((s3_a, s3_b), names, strict=True):
        server.boto().create_bucket(Bucket=name)
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        yield World(hub, Side(s3_a, names[0]), Side(s3_b, names[1]))
        assert "INTERNAL" not in hub.output.read_text()


def test_every_root_field_has_a_row() -> None:
    assert ROWS.keys() == FIELDS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_a_root_field(world: World, name: str) -> None:
    row = ROWS[name]
    for role in ROLES:
        if role.covers(row.role):
            _succeeds(world, name, row, role)
        else:
            _is_refused(world, name, row, role)


def _succeeds(world: World, name: str, row: Row, role: Role) -> None:
    given = row.good(world)
    if name in JOBS:
        _wait_for_jobs(world)
    if name == "compare":
        _wait_for_comparisons(world)
    before, _ = world.audited()
    answer = world.ask(name, given, role)
    assert "errors" not in answer, (name, role, answer)
    assert answer["data"][name] is not None
    after, entry = world.audited()
    if not FIELDS[name].changes:
        assert after == before
        return
    assert after == before + 1
    assert (entry["who"], entry["via"], entry["what"], entry["outcome"]) == (
        role.value,
        "token",
        name,
        "ok",
    )
    assert entry["target"], "what it was done to"
    assert entry["target"] in {given.get("id"), given.get("name"), *_ids(answer["data"][name])}
    for secret in ("value", "password", "token"):
        assert secret not in given or given[secret] not in entry["detail"]


def _is_refused(world: World, name: str, row: Row, role: Role) -> None:
    before, _ = world.audited()
    given = _anything(name)
    assert _code(world.ask(name, given, role)) == "FORBIDDEN", (name, role)
    assert world.audited()[0] == before


@pytest.mark.parametrize(
    "name", [name for name in ROWS if "id" in root(name)[1].args or ROWS[name].unknown]
)
def test_what_does_not_exist_is_not_found(world: World, name: str) -> None:
    row = ROWS[name]
    given = {**row.good(world), **(row.unknown or {"id": NOBODY})}
    before, _ = world.audited()
    assert _code(world.ask(name, given, row.role)) == "NOT_FOUND"
    _is_audited(world, name, row.role, before, "NOT_FOUND")


@pytest.mark.parametrize("name", [name for name in ROWS if root(name)[1].args])
def test_what_makes_no_sense_is_refused_in_one_line(world: World, name: str) -> None:
    row = ROWS[name]
    before, _ = world.audited()
    if row.bad:
        answer = world.ask(name, {**row.good(world), **row.bad}, row.role)
        assert _code(answer) == "BAD_INPUT"
        assert "\n" not in answer["errors"][0]["message"]
        before = world.audited()[0] - FIELDS[name].changes  # what `good` made is audited, too
        _is_audited(world, name, row.role, before, "BAD_INPUT")
    for argument, declared in root(name)[1].args.items():
        # Another kind of value than the schema says never gets to the hub.
        wrong = {**_anything(name), argument: [{"no": "such"}]}
        assert _code(world.ask(name, wrong, row.role)) == "BAD_INPUT", argument
        if isinstance(declared.type, GraphQLNonNull):
            assert (
                _code(world.ask(name, {**_anything(name), argument: None}, row.role)) == "BAD_INPUT"
            )
    assert world.audited()[1]["outcome"] != "INTERNAL"


def test_the_audit_log_of_what_is_no_task_is_for_admins(world: World) -> None:
    assert _code(world.ask("listAudit", {}, VIEWER)) == "FORBIDDEN"
    for target in (NOBODY, "admin", "keys"):
        assert _code(world.ask("listAudit", {"target": target}, VIEWER)) == "NOT_FOUND"
        assert "errors" not in world.ask("listAudit", {"target": target}, ADMIN)


def test_the_audit_log_is_filtered_by_operation_and_time(world: World) -> None:
    def told(role: Role, **arguments: Any) -> set[str]:
        query = """query ($t: String, $w: [String!], $s: AWSDateTime, $u: AWSDateTime) {
            listAudit(target: $t, what: $w, since: $s, until: $u, count: 1000) {
                total items { what at } } }"""
        headers = {"authorization": f"Bearer {world.tokens[role]}"}
        body = {"query": query, "variables": arguments}
        answer = json.loads(world.hub.request("/graphql", body, headers)[1])
        found = answer["data"]["listAudit"]
        assert found["total"] == len(found["items"])
        return {each["what"] for each in found["items"]}

    task = world.task()
    world.ask("editTask", {"id": task, "input": {"description": "x"}}, ADMIN)
    assert told(ADMIN, t=task, w=["createTask", "stopTask"]) == {"createTask"}
    assert told(VIEWER, t=task) == {"createTask", "editTask"}
    assert told(VIEWER, t=task, w=["editTask", "createUser"]) == {"editTask"}
    assert told(VIEWER, t=task, w=["createUser"]) == set()
    assert told(ADMIN, u="2001-01-01") == set()
    assert "editTask" in told(ADMIN, s="2001-01-01T00:00:00Z")


def _is_audited(world: World, name: str, role: Role, before: int, outcome: str) -> None:
    after, entry = world.audited()
    assert after - before == FIELDS[name].changes
    if FIELDS[name].changes:
        assert (entry["who"], entry["what"], entry["outcome"]) == (role.value, name, outcome)


def _code(answer: dict[str, Any]) -> str:
    (error,) = answer["errors"]
    return str(error["extensions"]["code"])


def _ids(answer: Any) -> set[str]:
    if not isinstance(answer, dict):
        return set()
    return {answer[name] for name in ("id", "name") if name in answer}


def _anything(name: str) -> dict[str, Any]:
    """Arguments that the schema takes, and that lead nowhere."""
    some: dict[str, Any] = {
        "ID": NOBODY,
        "String": "none",
        "[String!]": [],
        "Int": 1,
        "TaskType": "S3EC2",
        "GraphName": "Network",
        "Role": "viewer",
        "Side": "SOURCE",
        "CreateTaskInput": {"type": "S3EC2"},
        "StoreInput": {},
        "EditTaskInput": {},
        "ChannelInput": {"kind": "none", "target": "none"},
        "IssuerInput": {"issuer": "none", "clientId": "none"},
    }
    arguments = root(name)[1].args.items()
    return {
        each: some[str(it.type)[:-1]]
        for each, it in arguments
        if isinstance(it.type, GraphQLNonNull)
    }


def _wait_for_jobs(world: World) -> None:
    """Only some run at one time."""
    wait_for(lambda: not list((world.hub.data / "jobs").glob("*")))


def _wait_for_comparisons(world: World) -> None:
    query = "{ listComparisons(count: 100) { state } }"
    wait_for(lambda: all(each["state"] != "RUNNING" for each in world.hub.call(query)))
