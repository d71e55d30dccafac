"""The processes of a task on one machine, as the nursery forks them.

What a process does is its plugin's (`objects`, `images`). It drains on SIGTERM, and says on standard error, in one
line, why it failed.
"""

import asyncio
import encodings.idna  # noqa: F401 - whoever connects needs it; it is here before anything is forked
import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import uvloop

from dth.core.config import secrets_directory
from dth.core.errors import HubError, full_disk
from dth.core.memory import keep_memory
from dth.core.secrets import SecretStore
from dth.objects.store.credentials import FileSecrets
from dth.platforms.local.board import Board
from dth.platforms.local.foreground import TASK_FILE
from dth.platforms.local.journal import BEGINNING, Journal, logging_to
from dth.platforms.local.platform import open_platform

# Made before anything is forked: it belongs to all processes of a command, or of a hub.
BOARD = Board()


def run(arguments: Sequence[str], secrets: SecretStore | None = None) -> int:
    """Be one process of a task: KIND STATE_DIR NAME [RUN]. Returns the exit code. `secrets`: where named secrets are;
    files in the user's configuration by default."""
    kind, state, name, *rest = arguments
    keep_memory()
    journal = Journal(Path(state) / "logs" / f"{name}.log")
    journal.info(BEGINNING, role=kind, pid=os.getpid())
    code = 0
    try:
        store = secrets or FileSecrets(secrets_directory())
        with logging_to(journal):
            uvloop.run(_run(kind, Path(state), name, int(rest[0]) if rest else 0, store))
    except HubError as error:
        print(error, file=sys.stderr)
        code = 1
    except Exception as error:  # noqa: BLE001 - a defect of ours: the log keeps where
        if full := full_disk(error):
            print(full, file=sys.stderr)
            code = 1
        else:
            traceback.print_exc()
            code = 70
    journal.info("ended", code=code)
    return code


async def _run(kind: str, state: Path, name: str, number: int, secrets: SecretStore) -> None:
    if kind == DIGESTER:  # the same for every type of tasks
        await _read_digest(state, name, number)
        return
    values = json.loads((state / TASK_FILE).read_text("utf-8"))
    roles = load(values.pop("type", S3))
    await roles.run(kind, state, name, number, values, secrets)


async def _read_digest(state: Path, name: str, run: int) -> None:
    """In small transactions, with a pause after each: others write to this database, too."""
    with open_platform(state, name) as platform:
        while True:
            if await platform.records.read_digest(run, DIGESTED_AT_ONCE):
                return
            await asyncio.sleep(DIGEST_PAUSE)


DIGESTER = "digester"
DIGESTED_AT_ONCE = 2000  # records
DIGEST_PAUSE = 0.005  # seconds in which others may write
# Types of tasks.
S3, ECR = "S3EC2", "ECR"
# Imported only where such a task runs: the start of a command is to be quick.
ROLES_BY_TYPE = {S3: "objects", ECR: "images"}


def load(kind: str) -> ModuleType:
    """Import the roles of a type of tasks. Before a nursery forks its processes: once instead of in each."""
    return importlib.import_module(f"dth.compose.local.{ROLES_BY_TYPE[kind]}")
