"""The processes of a machine that helps with the tasks of others.

Whoever runs `dth s3 sync --database` may use this machine: a transfer has all rights of its
environment. The users of a hub may not. A process for their tasks is confined before it reads any
parameter, to what the settings of this machine and the rules of the hub both allow. It reads named
secrets of the hub, never those of this machine: a user of the hub could name any.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dth.compose.local import process
from dth.core.config import secrets_directory
from dth.core.confinement import Confinement, confine
from dth.core.errors import HubError, UsageError
from dth.core.network import Network
from dth.core.plugin import Plugin
from dth.core.ports.platform import Platform
from dth.core.secrets import SecretStore
from dth.objects.store.credentials import FileSecrets
from dth.platforms.local.foreground import TASK_FILE
from dth.platforms.local.journal import BEGINNING, Journal
from dth.platforms.local.secrets import StoredSecrets
from dth.platforms.local.vault import KEY_FILE, KEY_VARIABLE, has_key
from dth.platforms.postgres.hub_database import find_secret
from dth.platforms.postgres.platform import open_platform

CHECK = "check"  # the kind of a process that reaches both sides once

# Raises HubError if the task's sides cannot be reached.
Reach = Callable[[Any, SecretStore], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Guest:
    """`machine`: the name of this one. `data_dir`: where the key of a hub may be. `own`: what this
    machine lets the users of a hub do. `plugins`, `reach`: by the type of a task."""

    address: str
    machine: str
    data_dir: Path
    own: Confinement
    plugins: Mapping[str, Plugin]
    reach: Mapping[str, Reach]

    def run(self, arguments: Sequence[str]) -> int:
        """Run one process: KIND FOLDER NAME ALLOW, in a fork of the fork server. ALLOW: for a task
        of a hub, where its rules let connections go, in JSON. Empty: the task is that of a
        command."""
        *known, allow = arguments
        secrets: SecretStore = FileSecrets(secrets_directory())
        if allow:
            network = self.own.network.narrowed(Network.read(json.loads(allow)))
            confine(replace(self.own, network=network))
            secrets = StoredSecrets(self.data_dir, find=partial(find_secret, self.address))
        kind, folder, _name = known
        if kind == CHECK:
            return self._check(Path(folder), secrets, of_hub=bool(allow))
        return process.run(
            known,
            secrets=secrets,
            find=self.plugins.__getitem__,
            opens=self._opens,
            within=f"{self.machine}/",
        )

    @asynccontextmanager
    async def _opens(self, state: Path, name: str) -> AsyncIterator[Platform]:
        async with open_platform(self.address, state.name, name) as platform:
            yield platform

    def _check(self, folder: Path, secrets: SecretStore, *, of_hub: bool) -> int:
        Journal(folder / "logs" / f"{CHECK}.log").info(BEGINNING, role=CHECK, pid=os.getpid())
        values = json.loads((folder / TASK_FILE).read_text("utf-8"))
        plugin = self.plugins[values.pop("type")]
        try:
            parameters = _read(plugin, values)
            uses = plugin.secret_uses(parameters) if of_hub else ()
            if uses and not has_key(self.data_dir):
                raise UsageError(
                    f"it signs in with the secret {uses[0].name!r} of the hub, and this machine does "
                    f"not have the hub's key; set {KEY_VARIABLE}, or copy the hub's file to "
                    f"{self.data_dir / KEY_FILE}"
                )
            asyncio.run(self._reached(plugin, parameters, secrets))
        except HubError as error:
            print(error, file=sys.stderr)
            return 1
        return 0

    async def _reached(self, plugin: Plugin, parameters: Any, secrets: SecretStore) -> None:
        await self.reach[plugin.type](parameters, secrets)


def _read(plugin: Plugin, values: Any) -> Any:
    try:
        return plugin.parameters.model_validate(values)
    except ValueError:
        raise UsageError("another version of Data Transfer Hub runs it") from None
