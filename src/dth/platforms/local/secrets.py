"""Named secrets, encrypted in the hub's database. `LocalSecrets` accepts values; only the hub's own
processes read them, through `StoredSecrets`. No value appears in a message, a log or a repr.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from dth.core import clock
from dth.core.errors import DatabaseAway, StateError, UsageError
from dth.core.secret_bindings import read_bindings
from dth.core.secrets import SecretUse, check_use, is_unbound, plan_use
from dth.hub.ports import SecretInfo
from dth.hub.secrets import check_description, check_name, check_value, exists, missing
from dth.platforms.local.hub_schema import secret
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.vault import DATABASE_FILE, Vault, read_only


class LocalSecrets:
    """`hub.ports.Secrets`. `known`: the hosts of secrets that the hub itself uses, by name, so that
    no creator of tasks can be the first to use them."""

    def __init__(
        self, database: SqlDatabase, vault: Vault, known: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._database = database
        self._vault = vault
        self._known = known or {}

    async def list(self) -> list[SecretInfo]:
        return await self._database.read(_list)

    async def create(
        self, name: str, value: str, description: str = "", hosts: Sequence[str] = ()
    ) -> None:
        check_name(name)
        check_value(name, value)
        check_description(name, description)
        await self._database.write(
            _create, self._vault, name, value, description, self._bindings(name, hosts)
        )

    async def update(
        self, name: str, value: str | None = None, description: str | None = None
    ) -> None:
        if value is not None:
            check_value(name, value)
        if description is not None:
            check_description(name, description)
        await self._database.write(_update, self._vault, name, value, description)

    async def bind(self, name: str, hosts: Sequence[str]) -> None:
        await self._database.write(_bind, name, self._bindings(name, hosts))

    def _bindings(self, name: str, hosts: Sequence[str]) -> Sequence[str]:
        return read_bindings(hosts) or self._known.get(name, ())

    async def use(self, uses: Sequence[SecretUse]) -> Sequence[str]:
        return await self._database.write(use_secrets, uses) if uses else []

    async def delete(self, name: str) -> None:
        await self._database.write(_delete, name)


# The encrypted value, and the hosts in JSON.
StoredSecret = tuple[bytes, str]


class StoredSecrets:
    """`BoundSecrets` for a process of the hub. Every read uses what is stored at that moment, so
    changes of a secret, its hosts or the key take effect at once."""

    def __init__(
        self,
        data_dir: Path,
        hosts: Sequence[str] = (),
        find: Callable[[str], StoredSecret | None] | None = None,
    ) -> None:
        """`find`: the secret with a name, where it is not in the file of the data directory. Raises
        StateError if that cannot be read."""
        self._data_dir = data_dir
        self._find = find or partial(_find_in_file, data_dir / DATABASE_FILE)
        self._vault = Vault(data_dir)
        self._hosts = hosts

    def at(self, hosts: Sequence[str]) -> "StoredSecrets":
        """The same secrets, for use with these hosts."""
        return StoredSecrets(self._data_dir, hosts, self._find)

    def read(self, name: str) -> str:
        value, bindings = self._row(name)
        check_use(name, bindings, self._hosts)
        try:
            return self._vault.decrypt(value).decode()
        except StateError as error:
            raise UsageError(f"secret {name!r} cannot be read: {error}") from None

    def is_unbound(self, name: str) -> bool:
        """Whether the secret may be used with any host."""
        return is_unbound(self._row(name)[1])

    def _row(self, name: str) -> tuple[bytes, list[str]]:
        check_name(name)
        try:
            row = self._find(name)
        except DatabaseAway:
            raise  # It says nothing about the secret.
        except (sqlite3.Error, StateError) as error:
            raise UsageError(f"secret {name!r} cannot be read: {error}") from None
        if row is None:
            raise UsageError(
                f"there is no secret {name!r} in the hub; run: dth secret create {name}"
            )
        return row[0], json.loads(row[1])


def _find_in_file(path: Path, name: str) -> StoredSecret | None:
    with contextlib.closing(read_only(path)) as database:
        row: StoredSecret | None = database.execute(
            "SELECT value, hosts FROM secret WHERE name = ?", (name,)
        ).fetchone()
    return row


def value_of(connection: Connection, vault: Vault, name: str) -> str:
    """The value of a secret, for the hub itself. Raises NotFound."""
    value = connection.execute(select(secret.c.value).where(secret.c.name == name)).scalar()
    if value is None:
        raise missing(name)
    return vault.decrypt(value).decode()


def _list(connection: Connection) -> list[SecretInfo]:
    rows = connection.execute(
        select(secret.c.name, secret.c.description, secret.c.updated, secret.c.hosts)
    )
    return [
        SecretInfo(row.name, row.description, row.updated, tuple(json.loads(row.hosts)))
        for row in rows.all()
    ]


def _create(
    connection: Connection,
    vault: Vault,
    name: str,
    value: str,
    description: str,
    hosts: Sequence[str],
) -> None:
    row = {
        "name": name,
        "description": description,
        "value": vault.encrypt(value.encode()),
        "updated": clock.now(),
        "hosts": json.dumps(hosts),
    }
    try:
        connection.execute(insert(secret).values(row))
    except IntegrityError:
        raise exists(name) from None


def _update(
    connection: Connection, vault: Vault, name: str, value: str | None, description: str | None
) -> None:
    changes: dict[str, object] = {"updated": clock.now()}
    if value is not None:
        changes["value"] = vault.encrypt(value.encode())
    if description is not None:
        changes["description"] = description
    if not connection.execute(update(secret).where(secret.c.name == name).values(changes)).rowcount:
        raise missing(name)


def _bind(connection: Connection, name: str, hosts: Sequence[str]) -> None:
    changes = {"hosts": json.dumps(hosts), "updated": clock.now()}
    if not connection.execute(update(secret).where(secret.c.name == name).values(changes)).rowcount:
        raise missing(name)


def use_secrets(connection: Connection, uses: Sequence[SecretUse]) -> list[str]:
    """As `Secrets.use`, in the caller's write transaction."""
    names = {use.name for use in uses}
    rows = connection.execute(select(secret.c.name, secret.c.hosts).where(secret.c.name.in_(names)))
    found = {name: json.loads(hosts) for name, hosts in rows}
    plan = plan_use(found, uses)
    for name, hosts in plan.items():
        connection.execute(
            update(secret).where(secret.c.name == name).values(hosts=json.dumps(hosts))
        )
    return sorted(name for name, hosts in found.items() if is_unbound(hosts))


def _delete(connection: Connection, name: str) -> None:
    if not connection.execute(delete(secret).where(secret.c.name == name)).rowcount:
        raise missing(name)
