"""What the built-in provider issued: codes, refresh tokens, and browser sessions. Only hashes are
stored.

Codes and refresh tokens are valid once. A second use means that somebody else has a copy: then
everything from that sign-in ends, whichever of the two comes next.

All that comes from one sign-in is a family: the session, its codes, and the tokens from these
codes. What comes from one code is a chain. Access tokens name their chain, and end with it. A later
sign-in of the same user in the same browser continues the family, so that signing out ends all of
it; a sign-in of another user ends it.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from dth.core import clock
from dth.platforms.local.hub_schema import grant as table
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.users import Account, read_account

CODE_LIFE = 60.0  # seconds
# Seconds from the sign-in; renewing does not extend it.
REFRESH_LIFE = 30 * 86400.0
SESSION_LIFE = 12 * 3600.0
# Seconds that an access token lives, and so for how long a used code is remembered.
ACCESS_LIFE = 600.0
OFFLINE = "offline_access"  # the scope for a refresh token


class Kind(StrEnum):
    CODE = "code"
    REFRESH = "refresh"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Grant:
    """What was granted to whom. `epoch`: the user's epoch at that time; `signed_in`: when a
    password was last entered."""

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
    """The result of exchanging a code or refresh token. `refresh`: the next refresh token, "" if
    none was requested."""

    grant: Grant
    account: Account
    chain: str
    refresh: str


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """A valid browser session, and the current state of its user."""

    grant: Grant
    account: Account
    family: str


class LocalGrants:
    """Grants over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def open_session(self, grant: Grant, replaced: str = "") -> tuple[str, str]:
        """Returns the session's secret and its family. `replaced`: the secret of the browser's
        session so far."""
        return await self._database.write(_open, grant, replaced, clock.now() + SESSION_LIFE)

    async def give_code(self, grant: Grant, family: str) -> str:
        """Issue a code, which begins a new chain of the family."""
        return await self._database.write(
            _give, Kind.CODE, grant, clock.now() + CODE_LIFE, family, _name()
        )

    async def session(self, secret: str) -> BrowserSession | None:
        """The session with this secret; None if it is not valid."""
        return await self._database.read(_session, secret, clock.now())

    async def exchange(
        self, kind: Kind, secret: str, fits: Callable[[Grant], bool]
    ) -> Exchanged | None:
        """Use up a code or refresh token. None if it is not valid, or if `fits` rejects it."""
        return await self._database.write(_exchange, kind, secret, fits, clock.now())

    async def lives(self, chain: str) -> bool:
        """Whether the access tokens of a chain are still valid."""
        return await self._database.read(_lives, chain, clock.now())

    async def sign_out(self, session: str) -> str:
        """End the family of a session. Returns its user; "" if there was no such session."""
        return await self._database.write(_sign_out, session)

    async def revoke(self, refresh_token: str) -> str:
        """End the chain of a refresh token. Returns its user; "" if the token is unknown, and so
        has ended already."""
        return await self._database.write(_revoke, table.c.hash == _hash(refresh_token))

    async def end(self, chain: str) -> str:
        """End a chain. Returns its user; "" if it has ended already."""
        return await self._database.write(_revoke, table.c.chain == chain)


def _name() -> str:
    return secrets.token_hex(16)


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _open(connection: Connection, grant: Grant, replaced: str, expires: float) -> tuple[str, str]:
    family = _name()
    found = select(table).where(table.c.hash == _hash(replaced), table.c.kind == Kind.SESSION.value)
    if row := connection.execute(found).first():
        if Grant(**json.loads(row.data)).user == grant.user:
            family = row.family
            connection.execute(delete(table).where(table.c.hash == row.hash))
        else:
            connection.execute(delete(table).where(table.c.family == row.family))
    return _give(connection, Kind.SESSION, grant, expires, family, family), family


def _give(
    connection: Connection, kind: Kind, grant: Grant, expires: float, family: str, chain: str
) -> str:
    now = clock.now()
    tokens = table.alias()
    # A session that has expired is kept while tokens of its family are valid: signing out must
    # still find them.
    needed = select(tokens.c.family).where(
        tokens.c.kind == Kind.REFRESH.value, tokens.c.expires >= now
    )
    is_needed = (table.c.kind == Kind.SESSION.value) & table.c.family.in_(needed)
    connection.execute(delete(table).where(table.c.expires < now, ~is_needed))
    secret = secrets.token_urlsafe(32)
    connection.execute(
        insert(table).values(
            hash=_hash(secret),
            kind=kind.value,
            family=family,
            chain=chain,
            data=json.dumps(asdict(grant)),
            expires=expires,
        )
    )
    return secret


def _session(connection: Connection, secret: str, now: float) -> BrowserSession | None:
    row = connection.execute(
        select(table).where(
            table.c.hash == _hash(secret), table.c.kind == Kind.SESSION.value, table.c.expires > now
        )
    ).first()
    if row is None:
        return None
    grant = Grant(**json.loads(row.data))
    account = _holder(connection, grant)
    return BrowserSession(grant, account, row.family) if account else None


def _exchange(
    connection: Connection, kind: Kind, secret: str, fits: Callable[[Grant], bool], now: float
) -> Exchanged | None:
    row = connection.execute(
        select(table).where(
            table.c.hash == _hash(secret), table.c.kind == kind.value, table.c.expires > now
        )
    ).first()
    if row is None:
        return None
    if row.used:
        connection.execute(delete(table).where(table.c.family == row.family))
        return None
    # The used grant is remembered for as long as the access token issued now is valid, so that a
    # second use ends that token, too.
    kept = max(row.expires, now + ACCESS_LIFE)
    connection.execute(update(table).where(table.c.hash == row.hash).values(used=1, expires=kept))
    grant = Grant(**json.loads(row.data))
    account = _holder(connection, grant)
    if account is None or not fits(grant):
        return None
    refresh = ""
    if OFFLINE in grant.scope.split():
        expires = row.expires if kind is Kind.REFRESH else now + REFRESH_LIFE
        refresh = _give(connection, Kind.REFRESH, grant, expires, row.family, row.chain)
    return Exchanged(grant, account, row.chain, refresh)


def _holder(connection: Connection, grant: Grant) -> Account | None:
    """The user of a grant, if it is still valid. A new password ends all earlier grants; a user who
    must change the password has no valid grants."""
    account = read_account(connection, grant.user)
    good = account is not None and account.epoch == grant.epoch and not account.user.must_change
    return account if good else None


def _lives(connection: Connection, chain: str, now: float) -> bool:
    row = select(table.c.hash).where(table.c.chain == chain, table.c.expires > now).limit(1)
    return connection.execute(row).first() is not None


def _sign_out(connection: Connection, session: str) -> str:
    found = select(table).where(table.c.hash == _hash(session), table.c.kind == Kind.SESSION.value)
    row = connection.execute(found).first()
    if row is None:
        return ""
    connection.execute(delete(table).where(table.c.family == row.family))
    return Grant(**json.loads(row.data)).user


def _revoke(connection: Connection, which: ColumnElement[bool]) -> str:
    row = connection.execute(
        select(table).where(which, table.c.kind != Kind.SESSION.value).limit(1)
    ).first()
    if row is None:
        return ""
    connection.execute(
        delete(table).where(table.c.chain == row.chain, table.c.kind != Kind.SESSION.value)
    )
    return Grant(**json.loads(row.data)).user
