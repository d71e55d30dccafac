import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from dth.core.errors import Conflict, NotFound, UsageError
from dth.hub.model import Role
from dth.hub.names import canonical, is_name
from dth.hub.ports import User
from dth.platforms.local import users as users_module
from dth.platforms.local.attempt_limits import ADDRESS_TRIES, FORGET_AFTER, USER_TRIES
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.users import (
    MAX_PASSWORD,
    LocalUsers,
    SignInCheck,
    Weakness,
    first_admin,
)

PASSWORD = "correct horse battery"
WRONG = "wrong horse battery!"


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


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "COST", (4, 8, 1))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[HubDatabase]:
    with HubDatabase.open(tmp_path / "hub.db") as database:
        yield database


@pytest.fixture
def users(database: HubDatabase) -> LocalUsers:
    return LocalUsers(database)


async def epoch(users: LocalUsers, name: str) -> int:
    checked = await users.check(name, PASSWORD)
    assert checked.account
    return checked.account.epoch


async def test_the_right_password_of_a_user_and_nothing_else(
    users: LocalUsers, clock: Clock
) -> None:
    added = await users.add("Ann", PASSWORD, Role.OPERATOR, "ann@example.com")
    assert (added.name, added.role) == ("ann", Role.OPERATOR)
    for name in ("ann", " ANN ", "ａｎｎ"):  # noqa: RUF001 - the same letters, written wide
        checked = await users.check(name, PASSWORD)
        assert checked.account
        assert checked.account.user.name == "ann"
        assert checked.account.user.role is Role.OPERATOR
    for name, password in (
        ("ann", WRONG),
        ("ann", ""),
        ("ann", PASSWORD + "\0"),
        ("bob", PASSWORD),
        ("", PASSWORD),
        ("\udcff", "\udcff"),
        ("x" * 10_000, "x" * 1_000_000),
    ):
        assert await users.check(name, password) == SignInCheck()
    (user,) = await users.list()
    assert user.last_login == clock.now


async def test_passwords_are_kept_as_costly_hashes_that_say_how_they_were_made(
    users: LocalUsers, database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stored(connection: Connection) -> list[str]:
        return list(connection.exec_driver_sql("SELECT password FROM user ORDER BY name").scalars())

    await users.add("ann", PASSWORD, Role.VIEWER)
    monkeypatch.setattr(users_module, "COST", (5, 4, 2))
    await users.add("bob", PASSWORD, Role.VIEWER)
    first, second = await database.read(stored)
    assert first.startswith("scrypt$4$8$1$")
    assert second.startswith("scrypt$5$4$2$")
    assert PASSWORD not in first
    assert (await users.check("ann", PASSWORD)).account
    assert (await users.check("bob", PASSWORD)).account


async def test_the_real_cost_works(users: LocalUsers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "COST", (15, 8, 3))
    await users.add("ann", PASSWORD, Role.VIEWER)
    assert (await users.check("ann", PASSWORD)).account


async def test_the_same_work_is_done_for_users_that_do_not_exist(
    users: LocalUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[int, int, int]] = []
    real = users_module._hash

    def counted(password: str, salt: bytes, cost: tuple[int, int, int]) -> str:
        done.append(cost)
        return real(password, salt, cost)

    await users.add("ann", PASSWORD, Role.VIEWER)
    monkeypatch.setattr(users_module, "_hash", counted)
    await users.check("ann", WRONG)
    await users.check("nobody", WRONG)
    await users.check("no name at all!", "x" * (MAX_PASSWORD + 1))
    assert done == [(4, 8, 1)] * 3


@pytest.mark.parametrize(
    ("password", "line"),
    [("short", "too short"), ("x" * 1025, "too long"), ("Annabel@Example", "user name")],
)
async def test_weak_passwords_are_refused(users: LocalUsers, password: str, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        await users.add("annabel@example", password, Role.VIEWER)
    assert await users.list() == []


@pytest.mark.parametrize("name", ["", "-ann", "a b", "a\nb", "a/b", "x" * 65, "<b>", "a\u202eb"])
async def test_names_that_cannot_be_are_refused(users: LocalUsers, name: str) -> None:
    with pytest.raises(UsageError, match="user name"):
        await users.add(name, PASSWORD, Role.VIEWER)


@given(st.text(max_size=80))
def test_a_name_has_one_form(name: str) -> None:
    kept = canonical(name)
    if is_name(kept):
        assert canonical(kept) == kept
        assert kept.isprintable()


async def test_one_name_is_one_user(users: LocalUsers) -> None:
    await users.add("ann", PASSWORD, Role.VIEWER)
    with pytest.raises(Conflict, match="already"):
        await users.add("ANN", PASSWORD, Role.ADMIN)
    added = await asyncio.gather(
        *(users.add("bob", PASSWORD, Role.VIEWER) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(result, User) for result in added) == 1


async def test_there_is_always_an_admin(users: LocalUsers) -> None:
    await users.add("ann", PASSWORD, Role.ADMIN)
    await users.add("bob", PASSWORD, Role.VIEWER)
    with pytest.raises(Conflict, match="last admin"):
        await users.remove("ann")
    with pytest.raises(Conflict, match="last admin"):
        await users.set_role("ann", Role.OPERATOR)
    await users.set_role("ann", Role.ADMIN)
    assert (await users.set_role(" BOB ", Role.ADMIN)).name == "bob"
    outcomes = await asyncio.gather(
        users.remove("ann"), users.remove("bob"), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in outcomes) == ["Conflict", "NoneType"]
    assert [each.role for each in await users.list()] == [Role.ADMIN]


async def test_who_is_not_there_is_not_found(users: LocalUsers) -> None:
    with pytest.raises(NotFound):
        await users.remove("ann")
    with pytest.raises(NotFound):
        await users.set_role("ann", Role.ADMIN)
    with pytest.raises(NotFound):
        await users.set_password("ann", PASSWORD)


async def test_a_new_password_or_a_new_user_of_the_name_ends_what_was(users: LocalUsers) -> None:
    await users.add("root", PASSWORD, Role.ADMIN)
    await users.add("ann", PASSWORD, Role.VIEWER)
    first = await epoch(users, "ann")
    assert await users.identity("ann", first)
    await users.set_role("ann", Role.OPERATOR)
    identity = await users.identity("ann", first)
    assert identity
    assert identity.role is Role.OPERATOR
    await users.set_password("ann", PASSWORD)
    assert await users.identity("ann", first) is None
    second = await epoch(users, "ann")
    await users.remove("ann")
    assert await users.identity("ann", second) is None
    await users.add("ann", PASSWORD, Role.VIEWER)
    assert await epoch(users, "ann") not in (first, second)


async def test_a_user_renews_the_password(users: LocalUsers) -> None:
    await users.add("annabel-lee-1", PASSWORD, Role.VIEWER, must_change=True)
    now = await epoch(users, "annabel-lee-1")
    assert await users.renew_password("annabel-lee-1", now, "short") is Weakness.SHORT
    assert await users.renew_password("annabel-lee-1", now, "Annabel-Lee-1") is Weakness.NAME
    assert await users.renew_password("annabel-lee-1", now, PASSWORD) is Weakness.SAME
    renewed = await users.renew_password("annabel-lee-1", now, "another horse 12")
    assert not isinstance(renewed, Weakness)
    assert not renewed.user.must_change
    with pytest.raises(Conflict, match="meanwhile"):
        await users.renew_password("annabel-lee-1", now, "yet another horse")
    again = (await users.check("annabel-lee-1", "another horse 12")).account
    assert again
    assert again.epoch == renewed.epoch


async def test_the_first_admin_is_made_once(users: LocalUsers) -> None:
    made = await asyncio.gather(*(first_admin(users) for _ in range(4)))
    (password,) = [each for each in made if each]
    assert len(password) >= 20
    (user,) = await users.list()
    assert (user.name, user.role, user.must_change) == ("admin", Role.ADMIN, True)
    assert (await users.check("admin", password)).account
    assert await first_admin(users) is None


# ----------------------------------------------------------------------------------------- guessing


async def guess(users: LocalUsers, name: str, times: int, address: str = "") -> list[bool]:
    """Which of these guesses at once were looked at."""
    checks = await asyncio.gather(*(users.check(name, WRONG, address) for _ in range(times)))
    return [not each.wait for each in checks]


async def test_guessing_at_a_user_slows_down_even_when_all_guesses_come_at_once(
    users: LocalUsers, clock: Clock
) -> None:
    await users.add("ann", PASSWORD, Role.VIEWER)
    free, longest = USER_TRIES
    assert sum(await guess(users, "ann", 50)) == free
    refused = await users.check("ann", PASSWORD)
    assert refused.account is None
    assert 0 < refused.wait <= 1
    waits = []
    for _ in range(10):
        clock.now += refused.wait
        assert (await users.check("ann", WRONG)).wait == 0
        refused = await users.check("ann", PASSWORD)
        waits.append(refused.wait)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(longest)
    clock.now += longest
    assert (await users.check("ann", PASSWORD)).account
    assert sum(await guess(users, "ann", 50)) == free


async def test_an_address_is_slowed_down_over_all_names_and_others_are_not(
    users: LocalUsers, clock: Clock
) -> None:
    await users.add("ann", PASSWORD, Role.VIEWER)
    free, longest = ADDRESS_TRIES
    looked_at = [
        (await users.check(f"user{n}", WRONG, "10.0.0.1")).wait == 0 for n in range(free + 5)
    ]
    assert sum(looked_at) == free
    assert (await users.check("ann", PASSWORD, "10.0.0.1")).wait > 0
    assert (await users.check("ann", PASSWORD, "10.0.0.2")).account
    for _ in range(14):
        clock.now += longest
        await users.check("user", WRONG, "10.0.0.1")
    assert (await users.check("ann", PASSWORD, "10.0.0.1")).wait == pytest.approx(longest)


async def test_who_may_sign_in_wins_no_tries_at_others(users: LocalUsers) -> None:
    await users.add("ann", PASSWORD, Role.VIEWER)
    looked_at = 0
    for n in range(60):
        looked_at += (await users.check(f"user{n}", WRONG, "10.0.0.1")).wait == 0
        await users.check("ann", PASSWORD, "10.0.0.1")
    assert looked_at == ADDRESS_TRIES[0]


async def test_all_addresses_of_one_ipv6_network_are_one(users: LocalUsers) -> None:
    for n in range(ADDRESS_TRIES[0]):
        await users.check(f"user{n}", WRONG, f"2001:db8::{n + 1:x}")
    assert (await users.check("x", WRONG, "2001:db8::ffff")).wait > 0
    assert (await users.check("x", WRONG, "2001:db8:0:1::1")).wait == 0
    for n in range(ADDRESS_TRIES[0]):
        await users.check(f"user{n}", WRONG, "::ffff:10.0.0.9" if n % 2 else "10.0.0.9")
    assert (await users.check("x", WRONG, "10.0.0.9")).wait > 0


async def test_failures_are_forgotten_and_a_clock_set_back_locks_nobody_out(
    users: LocalUsers, database: HubDatabase, clock: Clock
) -> None:
    await users.add("ann", PASSWORD, Role.VIEWER)
    await guess(users, "ann", USER_TRIES[0])
    clock.now -= 86400
    assert (await users.check("ann", PASSWORD)).wait == USER_TRIES[1]
    clock.now += 86400 + FORGET_AFTER + 2
    assert sum(await guess(users, "ann", 50)) == USER_TRIES[0]
    await users.set_password("ann", PASSWORD)
    assert (await users.check("ann", PASSWORD)).account
    clock.now += 2 * FORGET_AFTER
    await users.check("ann", PASSWORD)

    def rows(connection: Connection) -> int:
        return connection.exec_driver_sql("SELECT count(*) FROM attempt").scalar_one()

    assert await database.read(rows) == 0
