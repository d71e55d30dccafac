"""`dth user`, `dth token`, `dth login`: what they do on the hub's own machine, and through its
API."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from dth.cli import login as login_module
from dth.cli.login import last_hub, session
from dth.cli.token import RemoteTokens, span
from dth.cli.user import RemoteUsers
from dth.core.errors import Conflict, HubError, NotFound, StateError, UsageError
from dth.hub.model import Identity, Role
from dth.hub.ports import HubPorts
from dth.platforms.local import graphql
from dth.platforms.local import users as users_module
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.tasks import LocalAudit
from dth.platforms.local.tokens import LocalTokens
from dth.platforms.local.users import LocalUsers
from tests.identity import PASSWORD, Browser, Hub, hub_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.engine import Done, Dth

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "COST", (4, 8, 1))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub_at(tmp_path / "hub") as hub:
        await hub.users.add("ann", PASSWORD, Role.OPERATOR)
        yield hub


@pytest.fixture
def home(dth: Dth, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sessions of this process are where the commands of `dth` keep theirs."""
    monkeypatch.setenv("XDG_CONFIG_HOME", dth.env["XDG_CONFIG_HOME"])
    return dth.home / "config" / "dth" / "sessions.json"


def typed(dth: Dth, password: str, *arguments: str | Path) -> Done:
    """A command with a password on its standard input."""
    with mock.patch.object(sys, "stdin", io.StringIO(f"{password}\n")):
        return dth.here(*arguments)


# ---------------------------------------------------------------------------------- on this machine


def test_users_are_kept_without_a_hub_that_runs(dth: Dth, data: Path) -> None:
    where = ("--data-dir", data)
    done = typed(
        dth, PASSWORD, "user", "add", "Ann", "--role", "admin", "--email", "a@example.com", *where
    )
    assert done.code == 0, done
    assert typed(dth, PASSWORD, "user", "add", "bob", *where).code == 0
    listed = dth.here("user", "list", *where)
    assert re.search(
        r"^ann +admin +a@example.com +\d{4}-\d\d-\d\d \d\d:\d\d +never$", listed.out, re.MULTILINE
    )
    assert re.search(r"^bob +viewer ", listed.out, re.MULTILINE)
    assert dth.here("user", "role", "bob", "operator", *where).code == 0
    assert (
        typed(dth, "another horse battery", "user", "passwd", "bob", "--must-change", *where).code
        == 0
    )
    assert "must change" in dth.here("user", "list", *where).out

    async def check() -> None:
        with HubDatabase.open(data / "hub.db") as database:
            users = LocalUsers(database)
            assert (await users.check("ann", PASSWORD)).account
            account = (await users.check("bob", "another horse battery")).account
            assert account
            assert account.user.role is Role.OPERATOR

    asyncio.run(check())
    assert dth.here("user", "rm", "bob", *where).code == 0
    refused = dth.here("user", "rm", "ann", *where)
    assert refused.code == 2
    assert "last admin" in refused.err


@pytest.mark.parametrize(
    ("password", "arguments", "line"),
    [
        ("short", ("user", "add", "ann"), "too short"),
        ("", ("user", "add", "ann"), "no password came"),
        (PASSWORD, ("user", "add", "a b"), "user name"),
        (PASSWORD, ("user", "add", "ann", PASSWORD), "unexpected extra argument"),
        (PASSWORD, ("user", "add", "ann", "--role", "boss"), "boss"),
        (PASSWORD, ("token", "create", "--name", "n", "--expires", "soon"), "time span"),
        (PASSWORD, ("token", "create", "--name", "a\nb"), "name"),
        (PASSWORD, ("token", "create"), "--name"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    dth: Dth, data: Path, password: str, arguments: tuple[str, ...], line: str
) -> None:
    done = typed(dth, password, *arguments, "--data-dir", data)
    assert done.code == 2
    assert line in done.err
    assert len(done.err.splitlines()) == 1


def test_a_directory_of_no_hub_is_not_made_one(dth: Dth, data: Path) -> None:
    for arguments in (
        ("user", "list"),
        ("user", "rm", "ann"),
        ("token", "list"),
        ("token", "revoke", "x"),
    ):
        done = dth.here(*arguments, "--data-dir", data)
        assert done.code == 2
        assert "is not a data directory of a hub" in done.err
    assert not data.exists()


def test_a_token_is_alone_on_the_last_line(dth: Dth, data: Path) -> None:
    where = ("--data-dir", data)
    done = dth.here(
        "token", "create", "--role", "admin", "--name", "nightly", "--expires", "90d", *where
    )
    token = done.out.splitlines()[-1]
    assert done.out == f"{token}\n"

    async def identify() -> Identity | None:
        with HubDatabase.open(data / "hub.db") as database:
            return await LocalTokens(database).identify(token)

    found = asyncio.run(identify())
    assert found
    assert (found.name, found.role) == ("nightly", Role.ADMIN)
    listed = dth.here("token", "list", *where).out
    assert token not in listed
    number = found.subject.removeprefix("token:")
    assert re.search(rf"^{number} +nightly +admin ", listed, re.MULTILINE)
    assert dth.here("token", "revoke", number, *where).code == 0
    assert asyncio.run(identify()) is None
    assert dth.here("token", "revoke", number, *where).code == 2


def test_time_spans() -> None:
    assert [span(text) for text in ("1m", "12h", "90d", "4w")] == [60, 43200, 7776000, 2419200]
    for text in ("", "d", "0d", "-1d", "1.5d", "1 d", "1y", "999999d", "٣d"):
        with pytest.raises(UsageError, match="time span"):
            span(text)


# ---------------------------------------------------------------------------------- through the API


class Client:
    """The API of a hub without HTTP; calls wait as those of HubClient do."""

    def __init__(self, users: LocalUsers, tokens: LocalTokens, audit: LocalAudit) -> None:
        nothing: Any = None
        self._ports = HubPorts(
            **dict.fromkeys(
                (
                    "tasks", "engine", "secrets", "notifications", "metrics", "logs", "jobs",
                    "stores", "comparisons", "backups", "invitations",
                    "signing_key", "webhook",
                ),
                nothing,
            ),
            users=users,
            tokens=tokens,
            audit=audit,
        )  # fmt: skip
        self._thread = ThreadPoolExecutor(1)
        self._schema = graphql.load_schema()

    def call(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        request = {"query": query, "variables": variables or {}}
        caller = Identity("root", "root", Role.ADMIN)
        work = graphql.answer(self._schema, self._ports, caller, request)
        answer = self._thread.submit(asyncio.run, work).result()
        for error in answer.get("errors") or []:
            kinds = {"NOT_FOUND": NotFound, "CONFLICT": Conflict}
            raise kinds.get(error["extensions"]["code"], UsageError)(error["message"])
        return dict(answer["data"])


async def test_users_and_tokens_of_a_hub_that_is_called(data: Path) -> None:
    with HubDatabase.open(data / "hub.db") as database:
        here, tokens_here = LocalUsers(database), LocalTokens(database)
        client: Any = Client(here, tokens_here, LocalAudit(database))
        users, tokens = RemoteUsers(client), RemoteTokens(client)
        await here.add("root", PASSWORD, Role.ADMIN)
        await users.add("ann", PASSWORD, Role.VIEWER, "ann@example.com")
        await users.set_role("ann", Role.OPERATOR)
        assert (await here.check("ann", PASSWORD)).account
        (ann, _) = await users.list()
        assert (ann.name, ann.role, ann.email, ann.must_change) == (
            "ann",
            Role.OPERATOR,
            "ann@example.com",
            True,
        )
        assert [user.name for user in await users.list()] == [
            user.name for user in await here.list()
        ]
        assert abs(ann.created - time.time()) < 60
        await users.set_password("ann", "another horse battery")
        assert (await here.check("ann", "another horse battery")).account
        await users.remove("ann")
        with pytest.raises(NotFound):
            await users.remove("ann")
        info, token = await tokens.create("nightly", Role.VIEWER, time.time() + 86400, "who?")
        found = await tokens_here.identify(token)
        assert found
        assert found.role is Role.VIEWER
        (listed,) = await tokens.list()
        assert (listed.id, listed.created_by) == (info.id, "root")
        assert abs(listed.expires - time.time() - 86400) < 60
        await tokens.revoke(info.id)
        assert await tokens.list() == []
        usual, _ = await tokens.create("no end said", Role.VIEWER, 0, "")
        assert abs(usual.expires - time.time() - 90 * 86400) < 60


# --------------------------------------------------------------------------------------- signing in


async def sign_in(dth: Dth, hub: Hub, *, before: str = "") -> Done:
    """`dth login`, and what its user does in a browser. `before`: another page calls this machine
    first."""
    process = dth.start("login", "--hub", hub.origin)
    assert process.stderr
    url = ""
    while not url.startswith("http"):
        line = await asyncio.to_thread(process.stderr.readline)
        assert line, "the command ended"
        url = line.strip()
    parts = urlsplit(url)
    back = urlsplit(parse_qs(parts.query)["redirect_uri"][0])
    if before:
        await Browser(f"http://{back.netloc}").get(before)
    answer = await hub.sign_in(hub.browser(), "ann", query=dict(parse_qsl(parts.query)))
    assert answer.status == 303, answer
    place = urlsplit(answer.location)
    assert place.netloc == back.netloc
    last = await Browser(f"http://{place.netloc}").get(f"{place.path}?{place.query}")
    assert last.status == 200
    return await asyncio.to_thread(dth.end, process)


async def test_a_session_of_the_command_line(dth: Dth, hub: Hub, home: Path) -> None:
    done = await sign_in(dth, hub, before="/callback?state=guessed&code=theirs")
    assert done.code == 0, done
    assert done.out == ""
    assert home.stat().st_mode & 0o777 == 0o600
    assert last_hub() == hub.origin
    token = await asyncio.to_thread(session, f"{hub.origin}/")
    assert token
    assert (await hub.who(token)).json == {"name": "ann", "role": "operator", "via": "oidc"}

    # Once it is old, one of many commands renews it, and the others take what that one got.
    kept = json.loads(home.read_text())
    kept[hub.origin]["expires"] = time.time() + 5
    home.write_text(json.dumps(kept))
    taken = await asyncio.gather(*(asyncio.to_thread(session, hub.origin) for _ in range(4)))
    assert len(set(taken)) == 1
    assert taken[0]
    assert taken[0] != token
    assert (await hub.who(taken[0])).status == 200
    renewed = json.loads(home.read_text())[hub.origin]
    assert renewed["refresh_token"] != kept[hub.origin]["refresh_token"]

    done = await asyncio.to_thread(dth.run, "logout")
    assert done.code == 0, done
    assert await asyncio.to_thread(session, hub.origin) is None
    assert (await hub.refresh(renewed["refresh_token"], "dth-cli")).status == 400


def stored(home: Path, hub: str, **change: Any) -> None:
    values = {
        "client_id": "dth-cli",
        "token_endpoint": f"{hub}/oidc/token",
        "revocation_endpoint": f"{hub}/oidc/revoke",
        "access_token": "a",
        "refresh_token": "r",
        "expires": time.time() + 1000,
    }
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text(json.dumps({"https://old.example": values | change, hub: values | change}))
    home.chmod(0o600)


async def test_a_session_that_has_ended_is_forgotten(hub: Hub, home: Path) -> None:
    assert session(hub.origin) is None
    assert last_hub() is None
    stored(home, hub.origin, expires=0)
    assert await asyncio.to_thread(session, hub.origin) is None
    assert last_hub() == "https://old.example"
    stored(home, hub.origin, expires=0, refresh_token="")
    assert await asyncio.to_thread(session, hub.origin) is None


def test_a_hub_that_is_down_ends_no_session(home: Path) -> None:
    stored(home, "http://127.0.0.1:9", expires=0)
    before = home.read_text()
    with pytest.raises(HubError, match="cannot be read"):
        session("http://127.0.0.1:9")
    assert home.read_text() == before


def test_a_file_that_others_can_read_or_that_is_damaged_is_refused(home: Path) -> None:
    stored(home, "https://hub.example")
    assert session("https://hub.example/") == "a"
    home.chmod(0o644)
    with pytest.raises(StateError, match="chmod 600"):
        session("https://hub.example")
    home.chmod(0o600)
    for text in ("", "{", "[]", '{"https://hub.example": 1}', '{"https://hub.example": {"x": 1}}'):
        home.write_text(text)
        with pytest.raises(StateError, match="damaged"):
            session("https://hub.example")


def test_tokens_are_sent_to_safe_places_only(dth: Dth, home: Path) -> None:
    for url in ("http://hub.example", "hub.example", "ftp://127.0.0.1", ""):
        with pytest.raises(UsageError):
            session(url)
    done = dth.here("login", "--hub", "http://hub.example")
    assert (done.code, "https is needed" in done.err) == (2, True)
    assert dth.here("login").code == 2
    assert dth.here("logout").code == 2


def test_a_sign_in_that_nobody_makes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_module, "PATIENCE", 0.05)
    with login_module._Callback(0) as callback, pytest.raises(HubError, match="nobody signed in"):
        callback.wait("state")
    with login_module._Callback(0) as callback:
        port = urlsplit(callback.url).port
        with pytest.raises(UsageError, match="cannot be used"):
            login_module._Callback(port or 0)
