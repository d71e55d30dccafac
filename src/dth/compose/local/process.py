"""The processes of a task on one machine, as the fork server forks them.

The plugin defines what a process does (`Plugin.processes`). A process drains on SIGTERM. If it
fails, it reports the reason in one line on standard error.
"""

import asyncio
import encodings.idna  # noqa: F401 - whoever connects needs it; it is here before anything is forked
import importlib
import json
import os
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import uvloop

from dth.core.config import secrets_directory
from dth.core.errors import HubError, full_disk
from dth.core.memory import keep_memory
from dth.core.plugin import Plugin, Process
from dth.core.plugins import plugin
from dth.core.ports.platform import Platform
from dth.core.prices import Prices, read_prices
from dth.core.secrets import SecretStore
from dth.objects.store.credentials import FileSecrets
from dth.platforms.local.board import LocalBoard
from dth.platforms.local.findings import LocalFindings
from dth.platforms.local.foreground import ASKED, PRICES_FILE, TASK_FILE
from dth.platforms.local.journal import BEGINNING, Journal, logging_to
from dth.platforms.local.platform import open_platform
from dth.platforms.local.result import write_result

# Created before any fork: all processes of a command, or of a hub, share it.
BOARD = LocalBoard()

# Opens the ports of the task in a state directory, as the process with this name.
Opens = Callable[[Path, str], AbstractAsyncContextManager[Platform]]


@asynccontextmanager
async def in_state(state: Path, name: str) -> AsyncIterator[Platform]:
    """The ports over the state directory itself."""
    with open_platform(state, name) as platform:
        yield platform


def run(
    arguments: Sequence[str],
    secrets: SecretStore | None = None,
    find: Callable[[str], Plugin] = plugin,
    opens: Opens = in_state,
    within: str = "",
) -> int:
    """Run one process of a task: KIND STATE_DIR NAME [RUN]. Returns the exit code.

    `secrets`: where named secrets are; by default, files in the user's configuration. `find`:
    returns the plugin of a type. A command knows its own plugin, and does not look for others.
    `opens`: where the ports are. `within`: comes before the names of processes that share a task
    with those of other machines.
    """
    kind, state, name, *rest = arguments
    keep_memory()
    journal = Journal(Path(state) / "logs" / f"{name}.log")
    journal.info(BEGINNING, role=kind, pid=os.getpid())
    code = 0
    try:
        store = secrets or FileSecrets(secrets_directory())
        with logging_to(journal):
            number = int(rest[0]) if rest else 0
            uvloop.run(_run(kind, Path(state), within + name, number, store, find, opens))
    except HubError as error:
        print(error, file=sys.stderr)
        code = 1
    except Exception as error:  # noqa: BLE001 - a defect of this program: the log keeps where
        if full := full_disk(error):
            print(full, file=sys.stderr)
            code = 1
        else:
            traceback.print_exc()
            code = 70
    journal.info("ended", code=code)
    return code


async def _run(
    kind: str,
    state: Path,
    name: str,
    number: int,
    secrets: SecretStore,
    find: Callable[[str], Plugin],
    opens: Opens,
) -> None:
    if kind == DIGESTER:  # the same for every type of task
        await _read_digest(partial(opens, state, name), number)
        return
    values = json.loads((state / TASK_FILE).read_text("utf-8"))
    asked = values.pop(ASKED, {})
    chosen = find(values.pop("type", DEFAULT_TYPE))
    process = Process(
        kind=kind,
        name=name,
        run=number,
        parameters=chosen.parameters.model_validate(values),
        secrets=secrets,
        folder=state,
        open_platform=partial(opens, state, name),
        open_findings=partial(LocalFindings.open, state),
        prices=partial(_prices, state),
        board=BOARD,
        asked=asked,
    )
    result = await load(chosen).run(process)
    if result is not None:
        write_result(state, result)


def _prices(state: Path) -> Prices:
    return read_prices(**json.loads((state / PRICES_FILE).read_text("utf-8")))


async def _read_digest(
    open_task: Callable[[], AbstractAsyncContextManager[Platform]], run: int
) -> None:
    """Read the digest in small transactions with a pause after each: others write to this database,
    too.
    """
    async with open_task() as platform:
        while True:
            if await platform.records.read_digest(run, DIGESTED_AT_ONCE):
                return
            await asyncio.sleep(DIGEST_PAUSE)


DIGESTER = "digester"
DIGESTED_AT_ONCE = 2000  # records
DIGEST_PAUSE = 0.005  # Seconds in which others may write.
# The type in a state directory of an early version, which supported only objects.
DEFAULT_TYPE = "S3EC2"


def load(chosen: Plugin) -> ModuleType:
    """Import the processes of a plugin. Called before a fork server forks: once instead of in each
    process.
    """
    return importlib.import_module(chosen.processes)


def only(known: Plugin) -> Callable[[str], Plugin]:
    """For `run`: return this plugin, without a search for other installed plugins."""
    return {known.type: known}.__getitem__
