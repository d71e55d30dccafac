"""Where the users and tokens are that a command is about: in a hub's database on this machine, or
behind its API."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import click

from dth.cli.hub import F, connect, naming_a_hub
from dth.cli.login import last_hub
from dth.core.config import data_directory
from dth.core.errors import UsageError
from dth.hub.client import HubClient
from dth.hub.model import ROLES
from dth.platforms.local.audited import audited
from dth.platforms.local.filesystem import keep_private
from dth.platforms.local.hub_database import HubDatabase

T = TypeVar("T")

ROLE = click.Choice([role.value for role in ROLES])


class HubPlace:
    """What `--hub` and `--data-dir` name. A data directory is on this machine: no hub needs to
    run."""

    def __init__(self, hub_url: str | None, data_dir: Path | None) -> None:
        self._hub_url = hub_url
        self._data_dir = data_dir

    @contextmanager
    def open(
        self,
        local: Callable[[HubDatabase], T],
        remote: Callable[[HubClient], T],
        *,
        make: bool = False,
    ) -> Iterator[T]:
        """What `local` or `remote` makes of the place. `make`: a hub that never ran may be given
        its first entries."""
        if self._hub_url or (self._data_dir is None and (os.environ.get("DTH_HUB") or last_hub())):
            yield remote(connect(self._hub_url, self._data_dir))
            return
        path = (self._data_dir or data_directory()) / "hub.db"
        if not make and not path.exists():
            raise UsageError(
                f"{path.parent} is not a data directory of a hub; name one (--data-dir D, or "
                "--hub URL)"
            )
        if path.parent.exists():
            keep_private(path.parent)
        with HubDatabase.open(path) as database:
            yield audited(local)(database)


def place_options(command: F) -> F:
    """`--hub` and `--data-dir`, which arrive together as `place`. The hub need not run where it is
    this machine's."""
    return naming_a_hub("place", HubPlace)(command)


def moment(text: str | None) -> float:
    """A time of the API; 0 for never."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
