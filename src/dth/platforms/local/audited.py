"""Commands on the hub's own machine, which do not use its API, are recorded in its audit log as
well."""

import contextlib
import getpass
import inspect
import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from dth.hub.api import code_of
from dth.hub.audit import entry, note, target_of
from dth.platforms.local import hub_migrations
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.tasks import LocalAudit
from dth.platforms.local.vault import read_only

T = TypeVar("T")

LOCAL = "local"
SECRET = ("password", "value", "token")  # arguments that must not be logged
CHANGES = {  # maps methods to operations of the API
    "LocalUsers": {
        "add": "createUser",
        "set_password": "setUserPassword",
        "set_role": "setUserRole",
        "remove": "deleteUser",
    },
    "LocalTokens": {"create": "createToken", "revoke": "revokeToken"},
}


def audited(make: Callable[[SqlDatabase], T]) -> Callable[[SqlDatabase], T]:
    """Wraps what `make` creates, so that its changes are recorded."""

    def made(database: SqlDatabase) -> T:
        inner = make(database)
        return cast("T", _Audited(inner, LocalAudit(database), CHANGES[type(inner).__name__]))

    return made


class _Audited:
    def __init__(self, inner: object, audit: LocalAudit, changes: Mapping[str, str]) -> None:
        self._inner = inner
        self._audit = audit
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        what = self._changes.get(name)
        if what is None:
            return method

        async def change(*args: Any, **kwargs: Any) -> Any:
            given = inspect.signature(method).bind(*args, **kwargs).arguments
            target = target_of(what, str(next(iter(given.values()))))
            detail = {name: value for name, value in given.items() if name not in SECRET}
            number = await self._audit.begin(
                entry(what, who(), LOCAL, target=target, detail=detail)
            )
            try:
                answer = await method(*args, **kwargs)
            except BaseException as error:
                await self._audit.end(number, code_of(error))
                raise
            await self._audit.end(number, "ok")
            return answer

        return change


def who() -> str:
    """The user of this machine who runs a command."""
    with contextlib.suppress(OSError, KeyError):
        return getpass.getuser()
    return f"uid {os.getuid()}"


async def note_command(data_dir: Path, what: str, target: str = "") -> None:
    """Record what a command did with a hub's data directory. A database of another version is left
    unchanged, because writing would migrate it."""
    path = data_dir / "hub.db"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(read_only(path)) as found:
        (version,) = found.execute("PRAGMA user_version").fetchone()
        if version != len(hub_migrations.STEPS) + 1:
            return
    with HubDatabase.open(path) as database:
        await note(LocalAudit(database), what, who(), LOCAL, target=target)
