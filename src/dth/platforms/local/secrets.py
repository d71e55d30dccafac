"""Named secrets, encrypted in the hub's database. Values go in through `LocalSecrets`, and come out to the hub's own
processes alone, through `StoredSecrets`. No value is in a message, a log or a repr.
"""

import contextlib
import sqlite3
import time
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from dth.errors import Conflict, StateError, UsageError
from dth.hub.ports import SecretInfo
from dth.hub.secrets import check_description, check_name, check_value, missing
from dth.platforms.local.database import HubDatabase
from dth.platforms.local.hub_schema import secret
from dth.platforms.local.vault import DATABASE_FILE, Vault, read_only


class LocalSecrets:
    """`hub.ports.Secrets`."""

    def __init__(self, database: HubDatabase, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def list(self) -> list[SecretInfo]:
        return await self._database.read(_list)

    async def create(self, name: str, value: str, description: str = "") -> None:
        check_name(name)
        check_value(name, value)
        check_description(name, description)
        await self._database.write(_create, self._vault, name, value, description)

    async def update(self, name: str, value: str | None = None, description: str | None = None) -> None:
        if value is not None:
            check_value(name, value)
        if description is not None:
            check_description(name, description)
        await self._database.write(_update, self._vault, name, value, description)

    async def delete(self, name: str) -> None:
        await self._database.write(_delete, name)


class StoredSecrets:
    """`s3.credentials.SecretStore` for a process of the hub. Every read is of what is stored now, so that a secret or a
    key that was changed is seen at once."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / DATABASE_FILE
        self._vault = Vault(data_dir)

    def read(self, name: str) -> str:
        check_name(name)
        try:
            with contextlib.closing(read_only(self._path)) as database:
                row = database.execute("SELECT value FROM secret WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise UsageError(f"there is no secret {name!r} in the hub; run: dth secret create {name}")
            return self._vault.decrypt(row[0]).decode()
        except (sqlite3.Error, StateError) as error:
            raise UsageError(f"secret {name!r} cannot be read: {error}") from None


def value_of(connection: Connection, vault: Vault, name: str) -> str:
    """The value of a secret, for the hub itself. Raises NotFound."""
    value = connection.execute(select(secret.c.value).where(secret.c.name == name)).scalar()
    if value is None:
        raise missing(name)
    return vault.decrypt(value).decode()


def _list(connection: Connection) -> list[SecretInfo]:
    rows = connection.execute(select(secret.c.name, secret.c.description, secret.c.updated))
    return [SecretInfo(*row) for row in rows.all()]


def _create(connection: Connection, vault: Vault, name: str, value: str, description: str) -> None:
    row = {
        "name": name,
        "description": description,
        "value": vault.encrypt(value.encode()),
        "updated": time.time(),
    }
    try:
        connection.execute(insert(secret).values(row))
    except IntegrityError:
        raise Conflict(f"there is a secret {name!r} already; update it, or delete it first") from None


def _update(
    connection: Connection, vault: Vault, name: str, value: str | None, description: str | None
) -> None:
    changes: dict[str, object] = {"updated": time.time()}
    if value is not None:
        changes["value"] = vault.encrypt(value.encode())
    if description is not None:
        changes["description"] = description
    if not connection.execute(update(secret).where(secret.c.name == name).values(changes)).rowcount:
        raise missing(name)


def _delete(connection: Connection, name: str) -> None:
    if not connection.execute(delete(secret).where(secret.c.name == name)).rowcount:
        raise missing(name)
