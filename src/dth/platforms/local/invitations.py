"""Invitations by link, with which people become users of the built-in provider.

A link names its invitation and proves it with 256 random bits, of which only the hash is stored.
"""

import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from dth.core import clock
from dth.core.errors import Conflict, NotFound, UsageError
from dth.hub.model import Role
from dth.hub.names import new_name
from dth.hub.ports import Invitation, InvitationState, User
from dth.platforms.local.attempt_limits import Subjects, count_try, subjects_of, take_back
from dth.platforms.local.encoding import to_line
from dth.platforms.local.hub_schema import invitation as table
from dth.platforms.local.hub_schema import user
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.users import (
    Account,
    LocalUsers,
    Weakness,
    insert_user,
    new_email,
    read_account,
    weakness_of,
)

FORGET_AFTER = 30 * 86400.0  # seconds after the end of an invitation


@dataclass(frozen=True, slots=True)
class Opened:
    """What a link leads to: an invitation, in whatever state; or the seconds to `wait` before the
    next try; or neither, if there is no such link."""

    invitation: Invitation | None = None
    wait: float = 0.0


class NameProblem(StrEnum):
    """Why a name cannot be that of a new user."""

    TAKEN = "taken"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The new user; or what hinders; or neither, if the invitation is open no more."""

    account: Account | None = None
    problem: Weakness | NameProblem | None = None
    wait: float = 0.0


class LocalInvitations:
    """`hub.ports.Invitations` over SQLite. `page`: the address that links lead to."""

    def __init__(self, database: SqlDatabase, users: LocalUsers, page: str) -> None:
        self._database = database
        self._users = users
        self._page = page

    async def list(self) -> list[Invitation]:
        return await self._database.read(_list, clock.now())

    async def create(
        self, role: Role, email: str, expires: float, created_by: str, owner: str = ""
    ) -> tuple[Invitation, str]:
        now = clock.now()
        if not now < expires < float("inf"):
            raise UsageError("an invitation needs an end in the future")
        made = Invitation(secrets.token_hex(8), role, new_email(email), now, created_by, expires)
        secret = secrets.token_urlsafe(32)
        await self._database.write(_create, made, _hash(secret), owner)
        # A browser sends nothing behind the "#" to any server, so no log on the way has it.
        return made, f"{self._page}#{made.id}.{secret}"

    async def withdraw(self, id: str) -> None:
        await self._database.write(_withdraw, to_line(id))

    async def open(self, token: str, address: str) -> Opened:
        """What the part of a link behind the "#" stands for. Guessing is slowed down as that of
        passwords."""
        subjects = _subjects(token, address)
        now = clock.now()
        wait = await self._database.write(count_try, subjects, now)
        if wait > 0:
            return Opened(wait=wait)
        found = await self._database.read(_find, token, now)
        if found:
            await self._database.write(take_back, subjects, now)
        return Opened(found)

    async def accept(self, token: str, name: str, password: str, address: str) -> Accepted:
        """Make the invited a user. A name that is taken counts as a failed try: a link must not
        serve to test many names."""
        try:
            name = new_name(name)
        except UsageError:
            return Accepted(problem=NameProblem.WRONG)
        if weakness := weakness_of(name, password):
            return Accepted(problem=weakness)
        subjects = _subjects(token, address)
        wait = await self._database.write(count_try, subjects, clock.now())
        if wait > 0:
            return Accepted(wait=wait)
        hashed = await self._users.hash_new(name, password)
        return await self._database.write(_accept, token, name, hashed, subjects, clock.now())


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _subjects(token: str, address: str) -> Subjects:
    return subjects_of(address, f"invitation:{to_line(token.partition('.')[0])[:64]}")


# ---------------------------------------------------------------------------------------- the table

# With the current role of the user who made it.
ROWS = select(table, user.c.role.label("of_owner")).outerjoin(user, user.c.name == table.c.owner)


def _invitation(row: Row[Any], now: float) -> Invitation:
    state = InvitationState.OPEN
    if row.used_by:
        state = InvitationState.USED
    elif row.withdrawn or (row.owner and row.of_owner != Role.ADMIN.value):
        state = InvitationState.WITHDRAWN
    elif row.expires <= now:
        state = InvitationState.EXPIRED
    return Invitation(
        row.id, Role(row.role), row.email, row.created, row.created_by, row.expires, state,
        row.used_by,
    )  # fmt: skip


def _list(connection: Connection, now: float) -> list[Invitation]:
    rows = connection.execute(ROWS.order_by(table.c.created.desc()))
    return [_invitation(row, now) for row in rows]


def _create(connection: Connection, made: Invitation, hash: bytes, owner: str) -> None:
    connection.execute(delete(table).where(table.c.expires < made.created - FORGET_AFTER))
    connection.execute(
        insert(table).values(
            id=made.id,
            hash=hash,
            role=made.role.value,
            email=made.email,
            created=made.created,
            created_by=made.created_by,
            owner=owner,
            expires=made.expires,
        )
    )


def _withdraw(connection: Connection, id: str) -> None:
    row = connection.execute(ROWS.where(table.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no invitation {id!r}; dth user invitations shows them")
    if row.used_by:
        raise Conflict(f"the invitation was used by {row.used_by!r}; remove that user instead")
    connection.execute(update(table).where(table.c.id == id).values(withdrawn=1))


def _find(connection: Connection, token: str, now: float) -> Invitation | None:
    name, _, secret = to_line(token).partition(".")
    row = connection.execute(ROWS.where(table.c.id == name)).first()
    # A link without an invitation takes the same time.
    good = hmac.compare_digest(row.hash if row else _hash(""), _hash(secret))
    return _invitation(row, now) if row and good else None


def _accept(
    connection: Connection, token: str, name: str, hash: str, subjects: Subjects, now: float
) -> Accepted:
    found = _find(connection, token, now)
    if found is None or found.state is not InvitationState.OPEN:
        return Accepted()
    if not insert_user(connection, User(name, found.role, found.email, now), hash):
        return Accepted(problem=NameProblem.TAKEN)
    connection.execute(update(table).where(table.c.id == found.id).values(used_by=name))
    take_back(connection, subjects, now)
    return Accepted(read_account(connection, name))
