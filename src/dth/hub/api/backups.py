"""Backups of the hub, and their restore."""

from typing import Self

from dth.core.errors import UsageError
from dth.hub.api.answers import answers
from dth.hub.api.resolve import Call, mutation, query
from dth.hub.api.text import iso
from dth.hub.model import Role
from dth.hub.ports import Backups, Restore, RestoreState

NO_BACKUPS = (
    "this hub makes no backups; its tables are in a database (PostgreSQL or DynamoDB) that has "
    "backups of its own"
)


@answers("BackupLink")
class BackupLinkAnswer:
    id: str
    url: str
    expires_at: str | None


@answers("Restore")
class RestoreAnswer:
    id: str
    state: RestoreState
    bytes: float
    error: str
    tasks: float
    users: float
    newest_at: str | None
    left_out: list[str]

    @classmethod
    def of(cls, restore: Restore) -> Self:
        return cls(
            id=restore.id,
            state=restore.state,
            bytes=restore.bytes,
            error=restore.error,
            tasks=restore.tasks,
            users=restore.users,
            newest_at=iso(restore.newest),
            left_out=list(restore.left_out),
        )


@query(Role.ADMIN)
async def get_restore(call: Call) -> RestoreAnswer | None:
    restore = await _backups(call).restore()
    return RestoreAnswer.of(restore) if restore else None


@mutation(Role.ADMIN)
async def create_backup_link(call: Call) -> BackupLinkAnswer:
    link = await _backups(call).link(call.caller)
    return BackupLinkAnswer(link.id, link.url, iso(link.expires))


@mutation(Role.ADMIN)
async def begin_restore(call: Call) -> RestoreAnswer:
    return RestoreAnswer.of(await _backups(call).begin_restore(call.caller))


@mutation(Role.ADMIN)
async def check_restore(call: Call, *, id: str) -> RestoreAnswer:
    return RestoreAnswer.of(await _backups(call).check_restore(id))


@mutation(Role.ADMIN)
async def discard_restore(call: Call, *, id: str) -> bool:
    await _backups(call).discard_restore(id)
    return True


def _backups(call: Call) -> Backups:
    if call.ports.backups is None:
        raise UsageError(NO_BACKUPS)
    return call.ports.backups
