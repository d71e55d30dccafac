"""The audit log: what it has beside the API's changes, and who may read what of it."""

from __future__ import annotations

import asyncio
import getpass
import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import Forbidden, NotFound
from dth.hub.client import HubClient, with_token
from dth.hub.model import AuditEntry, Role
from dth.platforms.local import oidc as oidc_module
from dth.platforms.local import users as users_module
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.tasks import LocalAudit
from dth.platforms.local.tokens import LocalTokens
from tests.engine import Dth
from tests.hub import Hub as RunningHub
from tests.identity import PASSWORD, Hub, hub_at
from tests.integration.test_login import typed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def entries(database: HubDatabase) -> list[AuditEntry]:
    """Oldest first."""
    found, _ = await LocalAudit(database).find(count=1000)
    return found[::-1]


def told(found: list[AuditEntry]) -> list[tuple[str, str, str, str, str]]:
    return [(each.what, each.who, each.via, each.target, each.outcome) for each in found]


# --------------------------------------------------------------------------------------- signing in


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    monkeypatch.setattr(users_module, "COST", (4, 8, 1))
    async with hub_at(tmp_path) as hub:
        await hub.users.add("ann", PASSWORD, Role.ADMIN)
        yield hub


async def test_who_came_and_went(hub: Hub) -> None:
    browser = hub.browser()
    await hub.sign_in(browser, " ANN", "a wrong password")  # the log has the user's one name
    await hub.sign_in(browser, "my secret password", "typed into the wrong field")
    tokens = await hub.tokens_of("ann", browser)
    command = await hub.continued(browser)
    await hub.browser().post("/oidc/revoke", {"token": command["refresh_token"]})
    await hub.browser().post("/oidc/revoke", {"token": "unknown"})
    await browser.get("/oidc/logout")
    await browser.get("/oidc/logout")
    assert (await hub.who(tokens["access_token"])).status == 401
    found = await entries(hub.database)
    assert told(found) == [
        ("signIn", "ann", "oidc", "", "UNAUTHENTICATED"),
        ("signIn", "(unknown)", "oidc", "", "UNAUTHENTICATED"),
        ("signIn", "ann", "oidc", "", "ok"),
        ("continueSession", "ann", "oidc", "", "ok"),
        ("signOut", "ann", "oidc", "", "ok"),
        ("signOut", "ann", "oidc", "", "ok"),
    ]
    assert json.loads(found[0].detail) == {"address": "127.0.0.1", "why": "wrong"}
    assert json.loads(found[2].detail) == {"address": "127.0.0.1", "client": "dth-console"}
    assert json.loads(found[3].detail)["client"] == "dth-cli"
    assert "password" not in str(found)


async def test_guessing_does_not_fill_the_log(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_module, "FAILURES_A_MINUTE", 5)
    browser = hub.browser()
    for _ in range(12):
        await hub.sign_in(browser, "ann", "wrong")
    found = await entries(hub.database)
    assert len(found) == 5
    hub.provider._failures._since -= 61
    await hub.sign_in(browser, "ann", "wrong")
    assert json.loads((await entries(hub.database))[-1].detail)["moreBefore"] == 7


async def test_the_first_and_the_last_use_of_a_token(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, token = await hub.tokens.create("nightly", Role.VIEWER, 0, "ann", "ann")
    assert told(await entries(hub.database)) == []
    await hub.who(token)
    await hub.who(token)

    class Later:
        @staticmethod
        def time() -> float:
            return time.time() + 7200

    monkeypatch.setattr("dth.core.clock.time", Later)
    await hub.who(token)
    found = await entries(hub.database)
    assert told(found) == [("useToken", "ann", "token", info.id, "ok")]
    detail = json.loads(found[0].detail)
    assert detail["name"] == "nightly"
    assert detail["first"] < detail["last"]
    assert time.time() - found[0].at < 60


# ----------------------------------------------------------------------------- on the hub's machine


def test_what_commands_do_on_the_hubs_machine(dth: Dth, tmp_path: Path) -> None:
    data = tmp_path / "data"
    where = ("--data-dir", data)
    assert typed(dth, PASSWORD, "user", "add", "Ann", "--role", "admin", *where).code == 0
    assert typed(dth, "another horse battery", "user", "passwd", "Ann", *where).code == 0
    assert dth.here("user", "role", "ann", "viewer", *where).code == 2  # the last admin
    made = dth.here("token", "create", "--name", "nightly", *where)
    assert made.code == 0
    assert dth.here("user", "list", *where).code == 0
    assert dth.here("secret", "rotate-key", *where).code == 0
    assert dth.here("backup", tmp_path / "copy", *where).code == 0

    async def read() -> list[AuditEntry]:
        with HubDatabase.open(data / "hub.db") as database:
            return await entries(database)

    found = asyncio.run(read())
    user = getpass.getuser()
    assert told(found) == [
        ("createUser", user, "local", "ann", "ok"),
        ("setUserPassword", user, "local", "ann", "ok"),
        ("setUserRole", user, "local", "ann", "CONFLICT"),
        ("createToken", user, "local", "nightly", "ok"),
        ("rotateKey", user, "local", "", "ok"),
        ("backup", user, "local", str(tmp_path / "copy"), "ok"),
    ]
    kept = b"".join(each.read_bytes() for each in data.glob("hub.db*"))
    for secret in (PASSWORD, "another horse battery", made.out.strip()):
        assert secret not in str(found)
        assert secret.encode() not in kept


def test_a_backup_leaves_a_database_of_another_version_as_it_is(dth: Dth, tmp_path: Path) -> None:
    data = tmp_path / "data"
    HubDatabase.open(data / "hub.db").close()
    with sqlite3.connect(data / "hub.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert dth.here("backup", tmp_path / "copy", "--data-dir", data).code == 0


# ---------------------------------------------------------------------------------- who may read it

AUDIT = """query ($target: String, $who: String) {
    listAudit(target: $target, who: $who) { items { what who target } total } }"""
BOTH = "0b5c6d7e-0000-4000-8000-000000000001"  # a task's id, and a user's name


def test_a_viewer_reads_what_concerns_tasks(tmp_path: Path) -> None:
    with RunningHub(tmp_path) as hub:
        given = {"srcBucket": "a", "srcEndpoint": "http://127.0.0.1:9", "destBucket": "b"}
        given["destEndpoint"] = given["srcEndpoint"]
        wanted = {
            "type": "S3EC2",
            "scheduleType": "FIXED_RATE",
            "id": BOTH,
            "parameters": [
                {"ParameterKey": name, "ParameterValue": value} for name, value in given.items()
            ],
        }
        hub.call(
            "mutation ($input: CreateTaskInput!) { createTask(input: $input) { id } }", input=wanted
        )
        hub.do("stopTask", BOTH)
        hub.keep_secret("keys", user="a", password="b")
        for name in (BOTH, "keys"):
            hub.call(
                (
                    "mutation ($n: String!, $p: String!) { createUser(name: $n, password: $p, "
                    "role: admin) { name } }"
                ),
                n=name,
                p=PASSWORD,
            )
        hub.call(
            "mutation ($n: String!, $p: String!) { setUserPassword(name: $n, password: $p) }",
            n=" KEYS",
            p=PASSWORD,
        )
        made = hub.call(
            'mutation { createToken(name: "backdoor", role: admin) { info { id } } }',
        )["info"]["id"]

        def make(database: HubDatabase) -> Any:
            return LocalTokens(database).create("looker", Role.VIEWER, 0.0, "tests")

        _, token = hub._with_database(make)
        viewer = HubClient(hub.url, with_token(lambda: token))

        def read(client: HubClient, **given: str) -> set[str]:
            return {each["what"] for each in client.call(AUDIT, given)["listAudit"]["items"]}

        assert read(viewer, target=BOTH) == {"createTask", "stopTask"}
        assert read(hub.client, target=BOTH) == {"createTask", "stopTask", "createUser"}
        # However a name is written, the log has its one form.
        assert read(hub.client, target="keys") == {"createSecret", "createUser", "setUserPassword"}
        for target in ("keys", "backdoor", made, "admin", "*", "%", f" {BOTH}"):
            with pytest.raises(NotFound):
                read(viewer, target=target)
        for none in ({}, {"target": ""}, {"who": BOTH}):
            with pytest.raises(Forbidden):
                read(viewer, **none)
        assert {"createUser", "createToken", "createSecret", "useToken"} <= read(hub.client)
