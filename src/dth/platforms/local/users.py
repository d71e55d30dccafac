"""Users of the built-in provider: their passwords, and limits on guessing them."""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from dth.core import clock
from dth.core.errors import Conflict, NotFound, UsageError
from dth.hub.model import Identity, Role
from dth.hub.names import canonical, is_name, new_name
from dth.hub.ports import User
from dth.platforms.local.attempt_limits import Subjects, count_try, subjects_of, take_back
from dth.platforms.local.hub_schema import attempt, invitation, token, user
from dth.platforms.local.sql import SqlDatabase, add_new

FIRST_ADMIN = "admin"
MAX_EMAIL = 254
MIN_PASSWORD = 12  # characters
MAX_PASSWORD = 1024

# scrypt: 2^15 blocks of 1 KiB (32 MiB), three times: a quarter of a second, the strength that
# OWASP's cheat sheet recommends. (log2 of the blocks, block size in 128 bytes, passes)
COST = (15, 8, 3)
# Passwords hashed at the same time: each needs a core, and its memory.
AT_ONCE = 2


class Weakness(StrEnum):
    """Why a password is not accepted."""

    SHORT = "short"
    LONG = "long"
    NAME = "name"
    SAME = "same"


WEAKNESSES = {
    Weakness.SHORT: f"the password is too short; it needs {MIN_PASSWORD} characters",
    Weakness.LONG: f"the password is too long; {MAX_PASSWORD} characters are the most",
    Weakness.NAME: "the password is the user name; choose another",
    Weakness.SAME: "the new password is the old one; choose another",
}


@dataclass(frozen=True, slots=True)
class Account:
    """A user, and the epoch of the password: what was issued in an earlier epoch is no longer
    valid. No two users ever have the same epoch, not even users of the same name."""

    user: User
    epoch: int


@dataclass(frozen=True, slots=True)
class SignInCheck:
    """The result of a try to sign in: the account; or the seconds to `wait` before the next try; or
    neither, if the name or the password is wrong."""

    account: Account | None = None
    wait: float = 0.0


class LocalUsers:
    """`hub.ports.Users` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def list(self) -> list[User]:
        return await self._database.read(_list)

    async def add(
        self, name: str, password: str, role: Role, email: str = "", *, must_change: bool = False
    ) -> User:
        """Raises Conflict if the name exists, UsageError for an invalid name or password."""
        new = User(new_name(name), role, new_email(email), clock.now(), must_change=must_change)
        hashed = await self.hash_new(new.name, password)
        if not await self._database.write(insert_user, new, hashed):
            raise Conflict(f"there is a user {new.name!r} already")
        return new

    async def add_first(self, name: str, password: str) -> bool:
        """Add an admin who must change the password, if there are no users. Returns whether it was
        added."""
        if await self.list():
            return False
        new = User(name, Role.ADMIN, created=clock.now(), must_change=True)
        return await self._database.write(
            insert_user, new, await self.hash_new(name, password), first=True
        )

    async def set_password(self, name: str, password: str, *, must_change: bool = False) -> None:
        """Ends every session of the user. Raises NotFound, and UsageError for an invalid
        password."""
        name = canonical(name)
        await self._database.read(_require, name)
        hashed = await self.hash_new(name, password)
        await self._database.write(_set_password, name, hashed, must_change=must_change)

    async def renew_password(self, name: str, epoch: int, password: str) -> Account | Weakness:
        """Change the password of that epoch, as the user. Raises Conflict if it was changed in the
        meantime."""
        weakness = weakness_of(name, password)
        if weakness:
            return weakness
        stored = await self._database.read(_stored, name)
        if stored is not None and await self._matches(password, stored):
            return Weakness.SAME
        account = await self._database.write(_renew, name, epoch, await self._hash(password))
        if account is None:
            raise Conflict("the password was changed meanwhile; sign in again")
        return account

    async def knows(self, name: str) -> bool:
        return await self._database.read(_stored, canonical(name)) is not None

    async def is_first(self, password: str) -> bool:
        """Whether this is still the password of the first admin, who has not chosen a new one
        yet."""
        stored = await self._database.read(_stored, FIRST_ADMIN)
        account = await self._database.read(read_account, FIRST_ADMIN)
        waiting = stored is not None and account is not None and account.user.must_change
        return waiting and await self._matches(password, stored or "")

    async def set_role(self, name: str, role: Role) -> User:
        """Takes effect at once, also in existing sessions. Raises NotFound, and Conflict for the
        last admin."""
        return await self._database.write(_set_role, canonical(name), role)

    async def remove(self, name: str) -> None:
        """Removes the user with all API tokens and invitations. Raises NotFound, and Conflict for
        the last admin."""
        await self._database.write(_remove, canonical(name))

    async def identity(self, name: str, epoch: int) -> Identity | None:
        """The identity of a token of that epoch, with the current role; None if it is no longer
        valid."""
        account = await self._database.read(read_account, name)
        if account is None or account.epoch != epoch:
            return None
        return Identity(
            account.user.name, account.user.name, account.user.role, user=account.user.name
        )

    async def check(self, name: str, password: str, address: str = "") -> SignInCheck:
        """Try to sign in from an address ("": unknown). Takes the same time whether the user exists
        or not."""
        name = canonical(name)
        subjects = subjects_of(address, f"user:{name}" if is_name(name) else "")
        # The failure is counted before the password is checked: a hundred simultaneous tries are
        # still a hundred.
        wait = await self._database.write(count_try, subjects, clock.now())
        if wait > 0:
            return SignInCheck(wait=wait)
        stored = await self._database.read(_stored, name)
        matches = await self._matches(password, stored or _nobody())
        if stored is None or not matches:
            return SignInCheck()
        signed_in = await self._database.write(_sign_in, name, stored, subjects, clock.now())
        return SignInCheck(signed_in)

    # ------------------------------------------------------------------------------------ passwords

    async def hash_new(self, name: str, password: str) -> str:
        """The stored form of a new password. Raises UsageError."""
        if weakness := weakness_of(name, password):
            raise UsageError(WEAKNESSES[weakness])
        return await self._hash(password)

    async def _hash(self, password: str) -> str:
        async with self._turns:
            return await asyncio.to_thread(_hash, password, secrets.token_bytes(16), COST)

    async def _matches(self, password: str, stored: str) -> bool:
        _, *cost, salt, _ = stored.split("$")
        if len(password) > MAX_PASSWORD:
            password = ""  # takes the usual time, matches nobody
        async with self._turns:
            made = await asyncio.to_thread(
                _hash, password, base64.b64decode(salt), (int(cost[0]), int(cost[1]), int(cost[2]))
            )
        return hmac.compare_digest(made, stored)


async def first_admin(users: LocalUsers, password: str = "") -> str | None:
    """Create the first user of a new hub, an admin, with this password or a generated one. Returns
    the password, which must be changed at once; None if there are users."""
    password = password or secrets.token_urlsafe(15)
    return password if await users.add_first(FIRST_ADMIN, password) else None


def weakness_of(name: str, password: str) -> Weakness | None:
    """What is wrong with a new password, except being the same as the old one."""
    if len(password) < MIN_PASSWORD:
        return Weakness.SHORT
    if len(password) > MAX_PASSWORD:
        return Weakness.LONG
    return Weakness.NAME if canonical(password) == canonical(name) else None


def new_email(email: str) -> str:
    """An address that mail can be sent to, or "". Raises UsageError."""
    good = (
        len(email) <= MAX_EMAIL
        and email.isprintable()
        and re.fullmatch(r"[^\s@<>]+@[^\s@<>]+", email)
    )
    if email and not good:
        raise UsageError(f"{email!r} is not an e-mail address")
    return email


def _hash(password: str, salt: bytes, cost: tuple[int, int, int]) -> str:
    """`scrypt$COST$SALT$HASH`. Equivalent Unicode forms count as the same password."""
    power, size, passes = cost
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    # HMAC, which scrypt uses, does not distinguish a text from the same text with zeros at its end.
    text += b"\n"
    memory = 128 * size * (2**power + passes + 2)
    made = hashlib.scrypt(text, salt=salt, n=2**power, r=size, p=passes, maxmem=memory + 2**20)
    encoded = (base64.b64encode(each).decode() for each in (salt, made))
    return "$".join(("scrypt", *map(str, cost), *encoded))


def _nobody() -> str:
    """A stored password that no password matches, and that takes as long to compare as any
    other."""
    zeros = base64.b64encode(bytes(16)).decode(), base64.b64encode(bytes(64)).decode()
    return "$".join(("scrypt", *map(str, COST), *zeros))


# ---------------------------------------------------------------------------------------- the table


def _account(row: Row[Any]) -> Account:
    known = User(
        row.name, Role(row.role), row.email, row.created, row.last_login, bool(row.must_change)
    )
    return Account(known, row.epoch)


def read_account(connection: Connection, name: str) -> Account | None:
    """The account of a user; None if there is no such user."""
    row = connection.execute(select(user).where(user.c.name == name)).first()
    return _account(row) if row else None


def _require(connection: Connection, name: str) -> Account:
    account = read_account(connection, name)
    if account is None:
        raise NotFound(f"there is no user {name!r}; dth user list shows them")
    return account


def _list(connection: Connection) -> list[User]:
    return [_account(row).user for row in connection.execute(select(user).order_by(user.c.name))]


def _stored(connection: Connection, name: str) -> str | None:
    return connection.scalar(select(user.c.password).where(user.c.name == name))


def insert_user(connection: Connection, new: User, hash: str, *, first: bool = False) -> bool:
    """Whether it was added: the name may exist. `first`: only if there are no users."""
    if first and connection.scalar(select(func.count()).select_from(user)):
        return False
    values = {
        "name": new.name,
        "role": new.role.value,
        "email": new.email,
        "password": hash,
        "created": new.created,
        "must_change": new.must_change,
        "epoch": secrets.randbits(48),
    }
    return add_new(connection, user, values)


def _set_password(connection: Connection, name: str, hash: str, *, must_change: bool) -> None:
    _require(connection, name)
    _write_password(connection, name, hash, must_change=must_change)
    connection.execute(delete(attempt).where(attempt.c.subject == f"user:{name}"))


def _write_password(connection: Connection, name: str, hash: str, *, must_change: bool) -> None:
    connection.execute(
        update(user)
        .where(user.c.name == name)
        .values(password=hash, must_change=must_change, epoch=user.c.epoch + 1)
    )


def _renew(connection: Connection, name: str, epoch: int, hash: str) -> Account | None:
    account = read_account(connection, name)
    if account is None or account.epoch != epoch:
        return None
    _write_password(connection, name, hash, must_change=False)
    return read_account(connection, name)


def _set_role(connection: Connection, name: str, role: Role) -> User:
    known = _require(connection, name).user
    if known.role is Role.ADMIN and role is not Role.ADMIN:
        _require_other_admin(connection, name)
    connection.execute(update(user).where(user.c.name == name).values(role=role.value))
    return replace(known, role=role)


def _remove(connection: Connection, name: str) -> None:
    if _require(connection, name).user.role is Role.ADMIN:
        _require_other_admin(connection, name)
    connection.execute(delete(user).where(user.c.name == name))
    connection.execute(delete(token).where(token.c.owner == name))
    connection.execute(update(invitation).where(invitation.c.owner == name).values(withdrawn=1))


def _require_other_admin(connection: Connection, name: str) -> None:
    others = select(user.c.name).where(user.c.role == Role.ADMIN.value, user.c.name != name)
    if connection.execute(others.limit(1)).first() is None:
        raise Conflict(f"{name!r} is the last admin; make another user an admin first")


def _sign_in(
    connection: Connection, name: str, stored: str, subjects: Subjects, now: float
) -> Account | None:
    """Remove the failure that was counted for this try. None: the password was changed during the
    check."""
    account = read_account(connection, name)
    if account is None or _stored(connection, name) != stored:
        return None
    connection.execute(update(user).where(user.c.name == name).values(last_login=now))
    take_back(connection, subjects, now)
    connection.execute(delete(attempt).where(attempt.c.subject == f"user:{name}"))
    return read_account(connection, name)
