"""`dth backup`."""

import asyncio
import os
from pathlib import Path

import click

from dth.core.config import data_directory
from dth.core.errors import UsageError


@click.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory of the hub.",
)
@click.option("--with-key", is_flag=True, help="Also copy the key that opens the secrets.")
def backup(target: Path, data_dir: Path | None, with_key: bool) -> int:
    """Copy the hub's data directory to TARGET, a new directory. The hub may run meanwhile.

    To restore, put the directory where the hub's was (with its key), and start the hub.
    """
    from dth.cli.database import VARIABLE
    from dth.cli.hub_tables import in_database
    from dth.hub.audit import BACKUP
    from dth.platforms.local.audited import note_command
    from dth.platforms.local.backup import back_up

    folder = data_dir or data_directory()
    if in_database(folder, os.environ.get(VARIABLE)):
        raise UsageError(
            "the tables of this hub are in a database: back it up with pg_dump, and keep the key "
            f"({folder / 'key'}, or DTH_KEY) elsewhere"
        )
    tasks = back_up(folder, target, key=with_key)
    asyncio.run(note_command(folder, BACKUP, str(target)))
    click.echo(
        f"{target}: the hub and {tasks} tasks"
        + ("" if with_key else "; keep the key elsewhere, too")
    )
    return 0
