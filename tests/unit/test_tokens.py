import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from dth.errors import NotFound, UsageError
from dth.hub import tokens as shared_tokens
from dth.hub.model import Identity, Role
from dth.hub.tokens import FORGET_AFTER, USED_STEP
from dth.platforms.local import tokens as tokens_module
from dth.platforms.local.database import HubDatabase
from dth.platforms.local.tokens import LocalTokens


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tokens_module, "time", clock)
    monkeypatch.setattr(shared_tokens, "time", clock)
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
    assert await tokens.identify(token) == Identity(f"token:{info.id}", "nightly", Role.OPERATOR, "token")
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
