"""What the built-in provider gave out: codes, refresh tokens, and sessions of a browser. Only hashes are kept.

A code and a refresh token hold once. A second use means that somebody else has a copy: then everything that followed
from the sign-in ends, whoever of the two comes next.
"""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256

from sqlalchemy import Connection, delete, insert, select, update

from dth.platforms.local.database import HubDatabase
from dth.platforms.local.hub_schema import grant as table
from dth.platforms.local.users import Account, read_account

CODE_LIFE = 60.0  # seconds
REFRESH_LIFE = 30 * 86400.0  # from the sign-in on: renewing does not put it off
SESSION_LIFE = 12 * 3600.0
OFFLINE = "offline_access"  # the scope that asks for a refresh token


class Kind(StrEnum):
    CODE = "code"
    REFRESH = "refresh"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Grant:
    """What was granted to whom. `epoch`: the user's when it was; `signed_in`: when a password was last given."""

    user: str
    epoch: int
    signed_in: float
    client: str = ""
    scope: str = ""
    redirect_uri: str = ""
    challenge: str = ""  # PKCE
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What a code or refresh token was exchanged for. `refresh`: the next refresh token, "" if none was asked for."""

    grant: Grant
    account: Account
    refresh: str


class LocalGrants:
    """Grants over SQLite."""

    def __init__(self, database: HubDatabase) -> None:
        self._database = database

    async def give_code(self, grant: Grant) -> str:
        return await self._database.write(_give, Kind.CODE, grant, time.time() + CODE_LIFE)

    async def open_session(self, grant: Grant) -> str:
        return await self._database.write(_give, Kind.SESSION, grant, time.time() + SESSION_LIFE)

    async def session(self, secret: str) -> tuple[Grant, Account] | None:
        """A session that holds, and its user as of now."""
        return await self._database.read(_session, secret, time.time())

    async def exchange(self, kind: Kind, secret: str, fits: Callable[[Grant], bool]) -> Exchanged | None:
        """Use up a code or refresh token. None where it is not one that holds, or `fits` says no."""
        return await self._database.write(_exchange, kind, secret, fits, time.time())

    async def end(self, secret: str) -> None:
        """End a session, or a refresh token and all that it follows from. What is unknown has ended already."""
        await self._database.write(_end, secret)


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _give(connection: Connection, kind: Kind, grant: Grant, expires: float, family: str = "") -> str:
    connection.execute(delete(table).where(table.c.expires < time.time()))
    secret = secrets.token_urlsafe(32)
    connection.execute(
        insert(table).values(
            hash=_hash(secret),
            kind=kind.value,
            family=family or secrets.token_hex(16),
            data=json.dumps(asdict(grant)),
            expires=expires,
        )
    )
    return secret


def _session(connection: Connection, secret: str, now: float) -> tuple[Grant, Account] | None:
    found = select(table.c.data).where(
        table.c.hash == _hash(secret), table.c.kind == Kind.SESSION.value, table.c.expires > now
    )
    data = connection.scalar(found)
    if data is None:
        return None
    grant = Grant(**json.loads(data))
    account = _holder(connection, grant)
    return (grant, account) if account else None


def _exchange(
    connection: Connection, kind: Kind, secret: str, fits: Callable[[Grant], bool], now: float
) -> Exchanged | None:
    row = connection.execute(
        select(table).where(table.c.hash == _hash(secret), table.c.kind == kind.value, table.c.expires > now)
    ).first()
    if row is None:
        return None
    if row.used:
        connection.execute(delete(table).where(table.c.family == row.family))
        return None
    connection.execute(update(table).where(table.c.hash == row.hash).values(used=1))
    grant = Grant(**json.loads(row.data))
    account = _holder(connection, grant)
    if account is None or not fits(grant):
        return None
    refresh = ""
    if OFFLINE in grant.scope.split():
        expires = row.expires if kind is Kind.REFRESH else now + REFRESH_LIFE
        refresh = _give(connection, Kind.REFRESH, grant, expires, row.family)
    return Exchanged(grant, account, refresh)


def _holder(connection: Connection, grant: Grant) -> Account | None:
    """The user of a grant, if it still holds: a new password ends all earlier ones, one to be changed holds none."""
    account = read_account(connection, grant.user)
    good = account is not None and account.epoch == grant.epoch and not account.user.must_change
    return account if good else None


def _end(connection: Connection, secret: str) -> None:
    family = select(table.c.family).where(table.c.hash == _hash(secret)).scalar_subquery()
    connection.execute(delete(table).where(table.c.family == family))
