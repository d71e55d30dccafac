"""API tokens: for programs. Whoever has one may do what its role may."""

import secrets
import time
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from dth.errors import NotFound, UsageError
from dth.hub.auth import API_TOKEN
from dth.hub.model import Identity, Role
from dth.hub.ports import TokenInfo
from dth.platforms.local.database import HubDatabase
from dth.platforms.local.encoding import to_line
from dth.platforms.local.hub_schema import token as table

MAX_NAME = 100  # characters
USED_STEP = 60.0  # seconds for which one note of use stands
FORGET_AFTER = 7 * 86400.0  # seconds after which an expired token is no longer listed


class LocalTokens:
    """`hub.ports.Tokens` over SQLite. A token has 256 random bits, so that its plain SHA-256 says nothing of it."""

    def __init__(self, database: HubDatabase) -> None:
        self._database = database

    async def list(self) -> list[TokenInfo]:
        return await self._database.read(_list)

    async def create(self, name: str, role: Role, expires: float, created_by: str) -> tuple[TokenInfo, str]:
        """Raises UsageError for a name that cannot be shown, or an end that has passed."""
        now = time.time()
        if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
            raise UsageError(f"a token needs a name of at most {MAX_NAME} printable characters")
        # Written so that an end that is no number at all is refused, too.
        if expires and not now < expires < float("inf"):
            raise UsageError("a token that has expired already is of no use; give a later end, or none")
        token = API_TOKEN + secrets.token_urlsafe(32)
        info = TokenInfo(secrets.token_hex(8), name.strip(), role, now, expires, created_by=created_by)
        await self._database.write(_create, info, _hash(token))
        return info, token

    async def revoke(self, id: str) -> None:
        await self._database.write(_revoke, to_line(id))

    async def identify(self, token: str) -> Identity | None:
        """Whose token this is; None: nobody's, or it has expired."""
        now = time.time()
        info = await self._database.read(_find, _hash(token))
        if info is None or 0 < info.expires <= now:
            return None
        # Not for every call: a note of use is a write, which waits for its turn.
        if abs(now - info.last_used) >= USED_STEP:
            await self._database.write(_note_use, info.id, now)
        return Identity(f"token:{info.id}", info.name, info.role, via="token")


def _hash(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


COLUMNS = [table.c[name] for name in TokenInfo.__dataclass_fields__]


def _info(row: Row[Any]) -> TokenInfo:
    return TokenInfo(**{**row._mapping, "role": Role(row.role)})


def _list(connection: Connection) -> list[TokenInfo]:
    """Newest first."""
    return [_info(row) for row in connection.execute(select(*COLUMNS).order_by(table.c.created.desc()))]


def _create(connection: Connection, info: TokenInfo, hash: bytes) -> None:
    old = info.created - FORGET_AFTER
    connection.execute(delete(table).where(table.c.expires > 0, table.c.expires < old))
    values = {column.name: getattr(info, column.name) for column in COLUMNS}
    connection.execute(insert(table).values(values | {"hash": hash}))


def _revoke(connection: Connection, id: str) -> None:
    if not connection.execute(delete(table).where(table.c.id == id)).rowcount:
        raise NotFound(f"there is no token {id!r}; dth token list shows them")


def _find(connection: Connection, hash: bytes) -> TokenInfo | None:
    row = connection.execute(select(*COLUMNS).where(table.c.hash == hash)).first()
    return _info(row) if row else None


def _note_use(connection: Connection, id: str, now: float) -> None:
    connection.execute(update(table).where(table.c.id == id).values(last_used=now))
