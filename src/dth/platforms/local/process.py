"""The processes of a task on one machine, as the nursery forks them.

What a process does is its plugin's (`s3_roles`, `ecr_roles`). It drains on SIGTERM, and says on standard error, in one
line, why it failed.
"""

import contextlib
import ctypes
import gc
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import uvloop

from dth.config import secrets_directory
from dth.errors import HubError
from dth.parameters import MIB
from dth.platforms.local import ecr_roles, s3_roles
from dth.platforms.local.foreground import TASK_FILE
from dth.platforms.local.journal import BEGINNING, Journal, logging_to
from dth.s3.credentials import FileSecrets, SecretStore

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def run(arguments: Sequence[str], secrets: SecretStore | None = None) -> int:
    """Be one process of a task: KIND STATE_DIR NAME [RUN]. Returns the exit code. `secrets`: where named secrets are;
    files in the user's configuration by default."""
    kind, state, name, *rest = arguments
    # Nearly everything dies young and without cycles: looking for cycles less often saves a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    _keep_memory()
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
    except Exception:  # noqa: BLE001 - a defect of ours: the log keeps where
        traceback.print_exc()
        code = 70
    journal.info("ended", code=code)
    return code


def _keep_memory() -> None:
    """Bodies come and go all the time: giving their memory back to the system between two of them costs more, in
    fresh pages that are cleared first, than all the rest of the bookkeeping. See mallopt(3); glibc only."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        for setting, value in (
            (M_MMAP_THRESHOLD, 32 * MIB),
            (M_TRIM_THRESHOLD, 256 * MIB),
            (M_TOP_PAD, 16 * MIB),
        ):
            libc.mallopt(setting, value)


async def _run(kind: str, state: Path, name: str, number: int, secrets: SecretStore) -> None:
    values = json.loads((state / TASK_FILE).read_text("utf-8"))
    roles = ROLES_BY_TYPE[values.pop("type", "S3EC2")]
    await roles(kind, state, name, number, values, secrets)


ROLES_BY_TYPE = {"S3EC2": s3_roles.run, "ECR": ecr_roles.run}
