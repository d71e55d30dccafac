"""What a hub says to requests for which its platform has nothing."""

from __future__ import annotations

from typing import Any

import pytest

from dth.core.errors import UsageError
from dth.hub.api import resolve
from dth.hub.model import Identity, Role
from dth.hub.ports import HubPorts

ADMIN = Identity("root", "root", Role.ADMIN)


class NoAudit:
    async def begin(self, entry: object) -> int:
        return 0

    async def end(self, id: int, outcome: str, target: str = "") -> None:
        pass


def ports(**given: Any) -> HubPorts:
    nothing: dict[str, Any] = dict.fromkeys(HubPorts.__dataclass_fields__)
    return HubPorts(**nothing | {"audit": NoAudit()} | given)


@pytest.mark.parametrize("name", ["getRestore", "createBackupLink", "beginRestore"])
async def test_backups(name: str) -> None:
    with pytest.raises(UsageError, match="has backups of its own"):
        await resolve(ports(), ADMIN, name, {})


@pytest.mark.parametrize(
    ("users", "words"), [(object(), "makes no invitations"), (None, "kept by the external issuer")]
)
async def test_invitations(users: Any, words: str) -> None:
    for name, given in (("listInvitations", {}), ("createInvitation", {"role": "viewer"})):
        with pytest.raises(UsageError, match=words):
            await resolve(ports(users=users), ADMIN, name, given)
