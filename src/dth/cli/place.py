"""Where the users and tokens are that a command is about: in a hub's database on this machine, or
behind its API."""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from dth.cli.database import database_option
from dth.cli.hub import F, connect, naming_a_hub
from dth.cli.hub_tables import in_database, open_tables
from dth.cli.login import last_hub
from dth.core.config import data_directory
from dth.core.errors import UsageError
from dth.hub.client import HubClient
from dth.hub.model import ROLES
from dth.platforms.local.audited import audited
from dth.platforms.local.filesystem import keep_private
from dth.platforms.local.sql import SqlDatabase

T = TypeVar("T")

ROLE = click.Choice([role.value for role in ROLES])


class HubPlace:
    """What `--hub` and `--data-dir` name. A data directory is on this machine: no hub needs to
    run."""

    def __init__(self, hub_url: str | None, data_dir: Path | None) -> None:
        self._hub_url = hub_url
        self._data_dir = data_dir
        self.database: str | None = None
        self.is_database_typed = False

    @contextmanager
    def open(
        self,
        local: Callable[[SqlDatabase], T],
        remote: Callable[[HubClient], T],
        *,
        make: bool = False,
    ) -> Iterator[T]:
        """What `local` or `remote` makes of the place. `make`: a hub that never ran may be given
        its first entries."""
        is_here = self._data_dir is not None or self.is_database_typed
        if self._hub_url or (not is_here and (os.environ.get("DTH_HUB") or last_hub())):
            yield remote(connect(self._hub_url, self._data_dir))
            return
        folder = self._data_dir or data_directory()
        if not make and not (folder / "hub.db").exists() and not in_database(folder, self.database):
            raise UsageError(
                f"{folder} is not a data directory of a hub; name one (--data-dir D, --database "
                "URL, or --hub URL)"
            )
        if folder.exists():
            keep_private(folder)
        with open_tables(folder, self.database) as database:
            yield audited(local)(database)


def place_options(command: F) -> F:
    """`--hub`, `--data-dir` and `--database`, which arrive together as `place`. The hub need not
    run where its tables can be reached."""

    @functools.wraps(command)
    def wrapped(*args: Any, place: HubPlace, database: str | None, **kwargs: Any) -> Any:
        source = click.get_current_context().get_parameter_source("database")
        place.database = database
        place.is_database_typed = source is ParameterSource.COMMANDLINE
        return command(*args, place=place, **kwargs)

    option = database_option("The database of a hub that dth up --database runs.")
    return naming_a_hub("place", HubPlace)(option(wrapped))


def moment(text: str | None) -> float:
    """A time of the API; 0 for never."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
