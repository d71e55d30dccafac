"""`dth migrate`: move a hub from its data directory into a database, and back."""

from pathlib import Path

import click

from dth.cli.database import MISSING
from dth.core.errors import UsageError

STARTS_OVER = (
    "Not moved: the runs, records and certificates of tasks. They stay where they were. The next "
    "run of each task lists both sides again, and copies only what differs."
)


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def migrate(source: str, target: str) -> int:
    """Move a hub from its data directory into an empty PostgreSQL database, or back.

    One of FROM and TO is the data directory, the other one the address of the database:
    postgresql://USER@HOST/DATABASE. No hub may run on either, and no task may have work in
    progress. Nothing is deleted: what was moved from gets another name.
    """
    try:
        from dth.compose.postgres.migrate import to_database, to_folder
        from dth.platforms.postgres.address import PASSWORD, SCHEMES, check_address, has_password
    except ImportError:
        raise UsageError(MISSING) from None
    from_database, into_database = (each.startswith(SCHEMES) for each in (source, target))
    if from_database == into_database:
        raise UsageError("one of FROM and TO has to be a directory, and the other one a database")
    address, folder = (target, source) if into_database else (source, target)
    check_address(address)
    if has_password(address):
        raise UsageError(
            "everybody on this machine can read a password in a command; leave it out and "
            f"{PASSWORD}"
        )
    place = Path(folder)
    moved = to_database(place, address) if into_database else to_folder(address, place)
    for name, count in moved.items():
        click.echo(f"{name}: {count}")
    click.echo(STARTS_OVER)
    if into_database:
        click.echo(
            f"Start the hub with --database and --data-dir {place}, which still has its settings and "
            f"its key. Copy {place / 'key'} to the other machines (or set DTH_KEY): without it "
            "nobody can read the secrets."
        )
    else:
        click.echo(
            f"Start the hub with --data-dir {place}. It needs the key that it had: copy the file key "
            "into this directory, or set DTH_KEY. Copy hub.yaml, too."
        )
    return 0
