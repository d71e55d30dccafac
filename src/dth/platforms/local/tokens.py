"""API tokens, for programs. The holder of a token may do what both its role and its owner's role
permit."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from dth.core import clock
from dth.hub.audit import USE_TOKEN, entry
from dth.hub.model import Identity, Role
from dth.hub.ports import TokenInfo
from dth.hub.tokens import FORGET_AFTER, hash_of, identity_of, is_use_noted, new_token, unknown
from dth.platforms.local.encoding import to_line
from dth.platforms.local.hub_schema import audit, user
from dth.platforms.local.hub_schema import token as table
from dth.platforms.local.sql import SqlDatabase

# Name and maker of the tokens that commands create for themselves.
COMMAND, LOCAL = "command line", "local"


class LocalTokens:
    """`hub.ports.Tokens` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def list(self) -> list[TokenInfo]:
        return await self._database.read(_list)

    async def create(
        self, name: str, role: Role, expires: float, created_by: str, owner: str = ""
    ) -> tuple[TokenInfo, str]:
        info, token = new_token(name, role, expires, created_by, owner)
        await self._database.write(_create, info, hash_of(token))
        return info, token

    async def revoke(self, id: str) -> None:
        await self._database.write(_revoke, to_line(id))

    async def identify(self, token: str) -> Identity | None:
        """The identity of a token; None if it is unknown or has ended."""
        now = clock.now()
        info, of_owner = await self._database.read(_find, hash_of(token))
        identity = identity_of(info, now, of_owner)
        if info and identity and not is_use_noted(info, now):
            await self._database.write(_note_use, info, now)
        return identity


COLUMNS = [table.c[name] for name in TokenInfo.__dataclass_fields__]


def _info(row: Row[Any]) -> TokenInfo:
    return TokenInfo(**{**row._mapping, "role": Role(row.role)})


def _list(connection: Connection) -> list[TokenInfo]:
    """Newest first."""
    return [
        _info(row) for row in connection.execute(select(*COLUMNS).order_by(table.c.created.desc()))
    ]


def _create(connection: Connection, info: TokenInfo, hash: bytes) -> None:
    old = info.created - FORGET_AFTER
    connection.execute(delete(table).where(table.c.expires > 0, table.c.expires < old))
    values = {column.name: getattr(info, column.name) for column in COLUMNS}
    connection.execute(insert(table).values(values | {"hash": hash}))


def _revoke(connection: Connection, id: str) -> None:
    if not connection.execute(delete(table).where(table.c.id == id)).rowcount:
        raise unknown(id)


def _find(connection: Connection, hash: bytes) -> tuple[TokenInfo | None, Role | None]:
    """The token, and its owner's current role."""
    row = connection.execute(select(*COLUMNS).where(table.c.hash == hash)).first()
    if row is None:
        return None, None
    role = connection.scalar(select(user.c.role).where(user.c.name == row.owner))
    return _info(row), Role(role) if role else None


def _note_use(connection: Connection, info: TokenInfo, now: float) -> None:
    connection.execute(update(table).where(table.c.id == info.id).values(last_used=now))
    if info.created_by == LOCAL and info.name == COMMAND:
        # A command's own token: the log has the changes that it makes.
        return
    this = (audit.c.what == USE_TOKEN) & (audit.c.target == info.id)
    known = connection.execute(select(audit.c.id, audit.c.at).where(this)).first()
    used = entry(
        USE_TOKEN,
        info.owner or info.created_by,
        "token",
        target=info.id,
        outcome="ok",
        detail={"name": info.name, "first": _text(known.at if known else now), "last": _text(now)},
    )
    values = {name: value for name, value in asdict(used).items() if name not in ("id", "at")}
    if known:
        connection.execute(update(audit).where(audit.c.id == known.id).values(values))
    else:
        connection.execute(insert(audit).values(values | {"at": now}))


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
