"""A secret goes to the hosts that it is bound to, and to nobody else."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import HubError
from dth.hub.client import HubClient, with_token
from dth.hub.model import Role
from dth.platforms.local.secrets import LocalSecrets
from dth.platforms.local.tokens import LocalTokens
from dth.platforms.local.vault import Vault
from tests.engine import wait_for
from tests.hub import Hub
from tests.servers.odd import OddStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.quick

KEYS = {"access_key_id": "AKMINE", "secret_access_key": "secret"}
CUSTOMER_KEY = {"sse_customer_key": base64.b64encode(b"k" * 32).decode()}
LOGIN = {"username": "u", "password": "REGPW"}
CREATE_SECRET = """mutation ($n: String!, $v: String!, $h: [String!]) {
    createSecret(name: $n, value: $v, hosts: $h) { name hosts } }"""
BIND = "mutation ($n: String!, $h: [String!]!) { bindSecret(name: $n, hosts: $h) { name hosts } }"
CREATE = "mutation ($i: CreateTaskInput!) { createTask(input: $i) { id warnings } }"
NEVER = "0 0 1 1 ? 2199"


class Attacker:
    """Somebody's own server, which keeps all that it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                heard.append(f"{self.requestline}\n{self.headers}")
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = do_POST = do_PUT = do_CONNECT = _answer  # noqa: N815

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class World:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.store = OddStore()
        self.host = self.store.url.removeprefix("http://")
        self.bucket, self.there = self.store.bucket(), self.store.bucket()
        self.store.put(self.bucket, "a", b"a")
        self.attacker = Attacker()
        self._numbers = iter(range(1000))
        token = hub._with_database(
            lambda database: LocalTokens(database).create("op", Role.OPERATOR, 0.0, "tests")
        )[1]
        self.operator = HubClient(hub.url, with_token(lambda: token))

    def secret(self, hosts: list[str] | None = None, **value: str) -> str:
        name = f"secret-{next(self._numbers)}"
        self.hub.call(CREATE_SECRET, n=name, v=json.dumps(value or KEYS), h=hosts)
        return name

    def hosts(self, name: str) -> list[str]:
        found = {
            each["name"]: each["hosts"] for each in self.hub.call("{ listSecrets { name hosts } }")
        }
        return list(found[name])

    def objects(self, secret: str, endpoint: str = "", **more: str) -> dict[str, Any]:
        """A task from the store, or from another endpoint, into the store."""
        values = {
            "srcBucket": self.bucket,
            "srcEndpoint": endpoint or self.store.url,
            "srcCredentials": secret,
            "srcRegion": "us-east-1",
            "destBucket": self.there,
            "destPrefix": f"p{next(self._numbers)}/",
            "destEndpoint": self.store.url,
            "destCredentials": self.known,
            "ec2CronExpression": NEVER,
            **more,
        }
        return {"type": "S3EC2", "parameters": _pairs(values)}

    @property
    def known(self) -> str:
        """A secret for the store."""
        return self.secret([self.host])

    def images(self, secret: str, registry: str, **more: str) -> dict[str, Any]:
        values = {
            "sourceType": "Registry",
            "srcRegistry": registry,
            "srcCredential": secret,
            "srcList": "ALL",
            "destType": "Registry",
            "destRegistry": registry,
            "destCredential": secret,
            "destPrefix": "x",
            **more,
        }
        return {"type": "ECR", "parameters": _pairs(values)}

    def start(self, operation: str, given: dict[str, Any]) -> Any:
        """As an operator."""
        side = ", side: SOURCE" if operation == "testConnection" else ""
        query = f"mutation ($i: CreateTaskInput!) {{ {operation}(input: $i{side}) {{ id }} }}"
        return self.operator.call(query, {"i": given})[operation]

    def job(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        started = self.start(operation, given)
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(
                self.hub.call(
                    "query ($id: ID!) { getJob(id: $id) { state error result } }", **started
                )
            )
            return bool(found["state"] != "RUNNING")

        wait_for(ended)
        return {**found, "result": json.loads(found["result"])}

    def close(self) -> None:
        self.attacker.close()
        self.store.close()


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        made = World(hub)
        yield made
        made.close()


@contextmanager
def refused(world: World, secret: str) -> Iterator[None]:
    heard = len(world.attacker.heard)
    with pytest.raises(HubError, match=f"secret '{secret}' may not be used with ") as raised:
        yield
    assert "\n" not in str(raised.value)
    assert world.attacker.heard[heard:] == []


ALL = ("testConnection", "preflight", "forecast", "createTask")


@pytest.mark.parametrize("first", ALL)
def test_the_first_use_binds_and_every_other_host_is_refused(world: World, first: str) -> None:
    name = world.secret()
    assert world.hosts(name) == []
    world.start(first, world.objects(name))
    assert world.hosts(name) == [world.host]
    for operation in ALL:
        with refused(world, name):
            world.start(operation, world.objects(name, world.attacker.url))
    assert world.hosts(name) == [world.host]


@pytest.mark.parametrize(
    "more",
    [
        # Several addresses, of which one is somebody else's.
        {"srcEndpoint": "{store},{attacker}"},
        # A proxy reads what is not encrypted.
        {"srcProxy": "{attacker}"},
        {
            "srcCredentials": "",
            "srcAnonymous": "true",
            "srcSseCustomerKey": "{key}",
            "srcEndpoint": "{attacker}",
        },
        {"destCredentials": "{name}", "srcCredentials": "{known}", "destEndpoint": "{attacker}"},
        {"destSseCustomerKey": "{key}", "destEndpoint": "{attacker}", "destCredentials": "{any}"},
    ],
)
def test_all_ways_to_another_host(world: World, more: dict[str, str]) -> None:
    name, key = world.secret([world.host]), world.secret([world.host], **CUSTOMER_KEY)
    names = {"name": name, "key": key, "known": world.known, "any": world.secret(["*"])}
    places = {"store": world.store.url, "attacker": world.attacker.url}
    values = {which: text.format(**names, **places) for which, text in more.items()}
    with refused(world, key if "{key}" in str(more) else name):
        world.start("preflight", world.objects(name, **values))


def test_a_registry_elsewhere_hears_nothing(world: World) -> None:
    name = world.secret(["registry.example.com"], **LOGIN)
    for operation in ALL:
        with refused(world, name):
            world.start(operation, world.images(name, world.attacker.host))
    # Amazon ECR with a control plane, or a registry, of somebody's own.
    keys = world.secret(["*.amazonaws.com"])
    ecr = {
        "sourceType": "Amazon_ECR",
        "srcRegistry": "",
        "srcRegion": "eu-west-1",
        "srcCredential": keys,
    }
    for more in ({"srcEndpoint": world.attacker.url}, {"srcRegistryHost": world.attacker.host}):
        given = world.images(world.secret(["*"], **LOGIN), world.attacker.host, **{**ecr, **more})
        with refused(world, keys):
            world.start("preflight", given)


def test_the_registry_of_the_first_use_gets_the_password(world: World) -> None:
    name = world.secret(**LOGIN)
    world.job("testConnection", world.images(name, world.attacker.host))
    assert world.hosts(name) == [world.attacker.host]
    assert "Basic " + base64.b64encode(b"u:REGPW").decode() in world.attacker.heard[-1]


def test_a_refused_use_binds_nothing(world: World) -> None:
    new, bound = world.secret(), world.secret(["store.example.com"])
    with refused(world, bound):
        world.start("createTask", world.objects(new, destCredentials=bound))
    assert world.hosts(new) == []


def test_one_that_is_bound_to_no_host_is_usable_and_warns(world: World) -> None:
    name = world.secret(["*"])
    made = world.operator.call(CREATE, {"i": world.objects(name)})["createTask"]
    [warning] = made["warnings"]
    assert name in warning
    [check] = [
        each
        for each in world.job("preflight", world.objects(name))["result"]["checks"]
        if each["name"] == "secret"
    ]
    assert (check["side"], check["state"]) == ("source", "WARNING")
    assert name in check["found"]
    assert world.host in check["todo"]
    bound = world.job("preflight", world.objects(world.known))["result"]["checks"]
    assert not [each for each in bound if each["name"] == "secret"]
    assert (
        world.operator.call(CREATE, {"i": world.objects(world.known)})["createTask"]["warnings"]
        == []
    )


def test_admins_bind_anew_and_operators_do_not(world: World) -> None:
    name = world.secret([world.host])
    with pytest.raises(HubError, match="needs the role admin"):
        world.operator.call(BIND, {"n": name, "h": [world.attacker.host]})
    with pytest.raises(HubError, match="is not a host"):
        world.hub.call(BIND, n=name, h=["http://a.example/b"])
    assert world.hub.call(BIND, n=name, h=["Other.Example.COM."])["hosts"] == ["other.example.com"]
    with refused(world, name):
        world.start("preflight", world.objects(name))
    world.hub.call(BIND, n=name, h=[])
    world.start("preflight", world.objects(name))
    assert world.hosts(name) == [world.host]


def test_a_new_value_stays_where_the_old_one_was(world: World) -> None:
    """Else who rotates keys would give them to whoever asks first."""
    name = world.secret([world.host])
    query = (
        "mutation ($n: String!, $v: String!) { updateSecret(name: $n, value: $v, description: "
        '"x") { hosts } }'
    )
    assert world.operator.call(query, {"n": name, "v": json.dumps(KEYS)})["updateSecret"][
        "hosts"
    ] == [world.host]


@pytest.mark.parametrize("operation", ["startRun", "resumeTask", "retryFailed"])
def test_a_task_whose_secret_was_bound_elsewhere_does_not_go_on(
    world: World, operation: str
) -> None:
    name = world.secret([world.host])
    task = world.start("createTask", world.objects(name))["id"]
    world.hub.wait(task, "IN_PROGRESS")
    world.hub.do("pauseTask", task)
    world.hub.call(BIND, n=name, h=["elsewhere.example.com"])
    with refused(world, name):
        world.operator.call(
            f"mutation ($id: ID!) {{ {operation}(id: $id) {{ id }} }}", {"id": task}
        )
    changes = {
        "cloneTask": {"parameters": _pairs({"destPrefix": "clone/"})},
        "editTask": {"parameters": _pairs({"srcCredentials": name, "maxCapacity": "3"})},
    }
    for verb, given in changes.items():
        query = f"mutation ($id: ID!, $i: EditTaskInput!) {{ {verb}(id: $id, input: $i) {{ id }} }}"
        with refused(world, name):
            world.operator.call(query, {"id": task, "i": given})


def test_processes_do_not_get_a_secret_that_was_bound_elsewhere(tmp_path: Path) -> None:
    """What a task's processes may read is asked when they begin, whatever held when the task was
    made."""
    with Hub(tmp_path) as hub:
        world = World(hub)
        name = world.secret(["*"])
        task = world.start("createTask", world.objects(name, world.attacker.url))["id"]
        hub.kill()
        world.attacker.heard.clear()
        hub._with_database(
            lambda database: LocalSecrets(database, Vault(hub.data)).bind(name, [world.host])
        )
        hub.start()
        wait_for(lambda: "may not be used with" in hub.task(task)["reason"])
        assert world.attacker.heard == []
        world.close()


def test_two_first_uses_at_once_bind_once(world: World) -> None:
    names = [world.secret() for _ in range(8)]

    async def race() -> list[list[object]]:
        def use(name: str, endpoint: str) -> object:
            try:
                return world.start("createTask", world.objects(name, endpoint))
            except HubError as error:
                return error

        async def both(name: str) -> list[object]:
            ends = (world.store.url, world.attacker.url)
            return list(await asyncio.gather(*(asyncio.to_thread(use, name, end) for end in ends)))

        return [await both(name) for name in names]

    for name, outcomes in zip(names, asyncio.run(race()), strict=True):
        assert sum(isinstance(each, HubError) for each in outcomes) == 1, outcomes
        assert len(world.hosts(name)) == 1


def test_the_password_of_the_mail_server_goes_to_nobody_else(tmp_path: Path) -> None:
    """Neither does the one who makes the first task with it get it."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    mail = {
        "host": "mail.example.com",
        "sender": "hub@example.com",
        "user": "hub",
        "password_secret": "mail",
    }
    (data / "hub.yaml").write_text(json.dumps({"smtp": mail}))
    with Hub(tmp_path) as hub:
        world = World(hub)
        hub.call(CREATE_SECRET, n="mail", v=json.dumps(LOGIN), h=None)
        assert world.hosts("mail") == ["mail.example.com:587"]
        for operation in ALL:
            with refused(world, "mail"):
                world.start(operation, world.images("mail", world.attacker.host))
        assert hub.call(BIND, n="mail", h=[])["hosts"] == ["mail.example.com:587"]
        world.close()
