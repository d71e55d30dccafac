import contextlib
import sqlite3
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from dth.core.errors import NotFound, UsageError
from dth.hub.api import resolve
from dth.hub.model import AuditEntry, Identity, Role
from dth.hub.ports import HubPorts
from dth.hub.tokens import FORGET_AFTER, USED_STEP
from dth.platforms.local import users as users_module
from dth.platforms.local.grants import LocalGrants
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.secrets import LocalSecrets
from dth.platforms.local.tokens import LocalTokens
from dth.platforms.local.users import LocalUsers
from dth.platforms.local.vault import Vault


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("dth.core.clock.time", clock)
    return clock


@pytest.fixture
def database(tmp_path: Path) -> Iterator[HubDatabase]:
    with HubDatabase.open(tmp_path / "hub.db") as database:
        yield database


@pytest.fixture
def tokens(database: HubDatabase) -> LocalTokens:
    return LocalTokens(database)


async def test_a_token_says_who_calls_until_it_is_revoked(tokens: LocalTokens) -> None:
    info, token = await tokens.create("nightly", Role.OPERATOR, 0, "ann")
    assert token.startswith("dth_")
    assert await tokens.identify(token) == Identity(
        f"token:{info.id}", "nightly", Role.OPERATOR, "token"
    )
    assert [each.name for each in await tokens.list()] == ["nightly"]
    await tokens.revoke(info.id)
    assert await tokens.identify(token) is None
    with pytest.raises(NotFound, match="no token"):
        await tokens.revoke(info.id)


@pytest.mark.parametrize(
    "wrong", ["", "dth_", "dth_nonsense", "dth_\udcff", "dth_' OR 1=1 --", "x" * 100_000]
)
async def test_what_is_no_token_is_nobody(tokens: LocalTokens, wrong: str) -> None:
    await tokens.create("nightly", Role.ADMIN, 0, "ann")
    assert await tokens.identify(wrong) is None


async def test_it_ends_when_it_says(tokens: LocalTokens, clock: Clock) -> None:
    _, token = await tokens.create("short", Role.VIEWER, clock.now + 10, "ann")
    clock.now += 9.9
    assert await tokens.identify(token)
    clock.now += 0.1
    assert await tokens.identify(token) is None
    clock.now += FORGET_AFTER + 1
    await tokens.create("another", Role.VIEWER, 0, "ann")
    assert [each.name for each in await tokens.list()] == ["another"]


async def test_only_a_hash_of_it_is_kept(tokens: LocalTokens, database: HubDatabase) -> None:
    _, token = await tokens.create("nightly", Role.ADMIN, 0, "ann")

    def everything(connection: Connection) -> str:
        return str(connection.exec_driver_sql("SELECT * FROM token").all())

    kept = await database.read(everything)
    assert token not in kept
    assert token.removeprefix("dth_") not in kept
    files = [path.read_bytes() for path in database.path.parent.iterdir()]
    assert not any(token.encode() in content for content in files)


async def test_its_use_is_noted_once_a_minute(tokens: LocalTokens, clock: Clock) -> None:
    async def last_used() -> float:
        return (await tokens.list())[0].last_used

    _, token = await tokens.create("nightly", Role.ADMIN, 0, "ann")
    assert await last_used() == 0
    await tokens.identify(token)
    first = await last_used()
    clock.now += USED_STEP - 1
    await tokens.identify(token)
    assert await last_used() == first
    clock.now += 1
    await tokens.identify(token)
    assert await last_used() == clock.now


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[2J", "x" * 101])
async def test_a_name_that_cannot_be_shown_is_refused(tokens: LocalTokens, name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        await tokens.create(name, Role.VIEWER, 0, "ann")


@pytest.mark.parametrize("expires", [-1.0, 1.0, float("nan"), float("inf")])
async def test_an_end_that_has_passed_is_refused(tokens: LocalTokens, expires: float) -> None:
    with pytest.raises(UsageError, match="expired"):
        await tokens.create("late", Role.VIEWER, expires, "ann")


# ------------------------------------------------------------------------------------------- owners


@pytest.fixture
async def users(database: HubDatabase, monkeypatch: pytest.MonkeyPatch) -> LocalUsers:
    monkeypatch.setattr(users_module, "COST", (4, 8, 1))
    users = LocalUsers(database)
    for name in ("root", "ann"):
        await users.add(name, "a long enough password", Role.ADMIN)
    return users


async def test_a_token_ends_with_its_owner(tokens: LocalTokens, users: LocalUsers) -> None:
    _, token = await tokens.create("ann's", Role.ADMIN, 0, "ann", "ann")
    _, another = await tokens.create("root's", Role.ADMIN, 0, "root", "root")
    _, machines = await tokens.create("of the machine", Role.ADMIN, 0, "local")
    found = await tokens.identify(token)
    assert found
    assert found.user == "ann"
    await users.remove("Ann")
    assert await tokens.identify(token) is None
    await users.add("ann", "a long enough password", Role.ADMIN)  # somebody else of that name
    assert await tokens.identify(token) is None
    assert await tokens.identify(another)
    assert await tokens.identify(machines)
    assert {each.name for each in await tokens.list()} == {"root's", "of the machine"}


async def test_a_token_may_never_do_more_than_its_owner(
    tokens: LocalTokens, users: LocalUsers
) -> None:
    made = {role: (await tokens.create(role, role, 0, "ann", "ann"))[1] for role in Role}

    async def roles() -> list[Role | None]:
        found = [await tokens.identify(token) for token in made.values()]
        return [identity and identity.role for identity in found]

    assert await roles() == [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    await users.set_role("ann", Role.OPERATOR)
    assert await roles() == [Role.VIEWER, Role.OPERATOR, Role.OPERATOR]
    await users.set_role("ann", Role.VIEWER)
    assert await roles() == [Role.VIEWER] * 3
    await users.set_role("ann", Role.ADMIN)
    assert await roles() == [Role.VIEWER, Role.OPERATOR, Role.ADMIN]


async def test_a_token_that_a_token_made_has_the_same_owner(
    tokens: LocalTokens, users: LocalUsers
) -> None:
    _, first = await tokens.create("first", Role.ADMIN, 0, "ann", "ann")
    caller = await tokens.identify(first)
    ports = HubPorts(
        **dict.fromkeys(HubPorts.__dataclass_fields__, Any) | {"tokens": tokens, "audit": NoAudit()}
    )
    made = await resolve(ports, caller, "createToken", {"name": "second", "role": "admin"})
    assert await tokens.identify(made["token"])
    assert (
        89.9 * 86400 < (await tokens.list())[0].expires - time.time() < 90.1 * 86400
    )  # no end was said
    await users.remove("ann")
    assert await tokens.identify(made["token"]) is None


class NoAudit:
    async def begin(self, entry: AuditEntry) -> int:
        return 0

    async def end(self, id: int, outcome: str, target: str = "") -> None:
        pass


async def test_older_tokens_get_the_owners_that_they_had(tmp_path: Path) -> None:
    """Those of users who were removed meanwhile end. Secrets go on to be for any host."""
    path = tmp_path / "hub.db"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(OLD)
    with HubDatabase.open(path) as database:
        tokens, grants = LocalTokens(database), LocalGrants(database)
        owners = {info.name: info.owner for info in await tokens.list()}
        assert owners == {"ann's": "ann", "machine's": "", "of one elsewhere": ""}
        [secret] = await LocalSecrets(database, Vault(tmp_path)).list()
        assert secret.hosts == ("*",)
        session = await grants.session("cookie")
        assert session
        assert session.family == "f"
        assert await grants.sign_out("cookie") == "ann"


OLD = f"""
CREATE TABLE user (name TEXT PRIMARY KEY, role TEXT NOT NULL, email TEXT NOT NULL, password TEXT NOT NULL,
    created FLOAT NOT NULL, last_login FLOAT DEFAULT '0' NOT NULL, must_change INTEGER DEFAULT '0' NOT NULL,
    epoch INTEGER DEFAULT '0' NOT NULL);
CREATE TABLE token (id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,
    created FLOAT NOT NULL, expires FLOAT NOT NULL, last_used FLOAT DEFAULT '0' NOT NULL, created_by TEXT NOT NULL);
CREATE TABLE "grant" (hash BLOB PRIMARY KEY, kind TEXT NOT NULL, family TEXT NOT NULL, data TEXT NOT NULL,
    expires FLOAT NOT NULL, used INTEGER DEFAULT '0' NOT NULL);
CREATE TABLE audit (id INTEGER PRIMARY KEY, at FLOAT NOT NULL, who TEXT NOT NULL, via TEXT NOT NULL,
    what TEXT NOT NULL, target TEXT NOT NULL, detail TEXT NOT NULL, outcome TEXT NOT NULL);
INSERT INTO user VALUES ('ann', 'admin', '', 'x', 5, 0, 0, 7), ('back', 'admin', '', 'x', 30, 0, 0, 8);
INSERT INTO token VALUES ('1', 'ann''s', 'admin', x'01', 10, 0, 0, 'ann'),
    ('2', 'mallory''s', 'admin', x'02', 10, 0, 0, 'mallory'), ('3', 'machine''s', 'admin', x'03', 10, 0, 0, 'local'),
    ('4', 'of one elsewhere', 'admin', x'04', 10, 0, 0, 'somebody'), ('5', 'back''s', 'admin', x'05', 10, 0, 0, 'back');
INSERT INTO audit VALUES (1, 20, 'ann', 'oidc', 'deleteUser', 'Mallory', '{{}}', 'ok'),
    (2, 20, 'ann', 'oidc', 'deleteUser', 'somebody', '{{}}', 'FORBIDDEN'),
    (3, 20, 'ann', 'oidc', 'deleteUser', 'back', '{{}}', 'ok');
INSERT INTO "grant" VALUES (x'{sha256(b"cookie").hexdigest()}', 'session', 'f',
    '{{"user": "ann", "epoch": 7, "signed_in": 1}}', 9999999999, 0);
CREATE TABLE secret (name TEXT PRIMARY KEY, description TEXT NOT NULL, value BLOB NOT NULL, updated FLOAT NOT NULL);
INSERT INTO secret VALUES ('old', '', x'00', 1);
PRAGMA user_version = 1;
"""
