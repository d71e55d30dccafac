"""`dth up`: run a hub."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dth.cli.database import database_option
from dth.cli.running import run_work
from dth.core.config import data_directory
from dth.core.errors import UsageError
from dth.platforms.local.fork_server import ForkServer
from dth.platforms.local.journal import JsonFormatter

if TYPE_CHECKING:
    from dth.compose.local.base import HubBase


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the hub keeps everything. [default: DTH_DATA_DIR, or ~/.local/share/dth]",
)
@database_option(
    "Keep tasks, users, secrets and records in this database, so that hubs on other machines answer "
    "as well, and one of them takes over if this one dies."
)
@click.option(
    "--settings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the settings. [default: hub.yaml in the data directory]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    default=8780,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0: any free one.",
)
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path),
    help="PEM file with the certificate and its chain.",
)
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM file with its key.")
@click.option(
    "--public-url", default="", help="The address that users have, where a proxy stands in front."
)
@click.option(
    "--advertise",
    default="",
    metavar="URL",
    envvar="DTH_ADVERTISE",
    show_envvar=True,
    help="The address at which hubs on other machines reach this one, with --database. [default: "
    "where it listens, unless that is 0.0.0.0 or ::]",
)
@click.option(
    "--admin-password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="DTH_ADMIN_PASSWORD_FILE",
    show_envvar=True,
    help="File with the first password of the user admin, for a new hub.",
)
@click.option(
    "--built-in-sign-in",
    is_flag=True,
    help="Users sign in at the hub itself, whatever issuer is set: the way back if nobody can sign "
    "in at the issuer.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="DTH_LOG_FORMAT",
    show_envvar=True,
    help="json: everything that the hub prints is one JSON object per line, on standard output.",
)
def up(
    data_dir: Path | None,
    database: str | None,
    settings: Path | None,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    public_url: str,
    advertise: str,
    admin_password_file: Path | None,
    built_in_sign_in: bool,
    log_format: str,
) -> int:
    """Run a hub on this machine, until Ctrl-C.

    Tasks resume where they were. The first start makes up a password for the user admin, unless a
    file has one. It is printed at each start until admin has signed in and chosen another.
    """
    from dth.compose.local import server
    from dth.compose.local.base import Files
    from dth.platforms.local.connections import raise_descriptor_limit

    raise_descriptor_limit()
    listen = server.Listen(host, port, tls_cert, tls_key, public_url, advertise)
    listen.check()
    password = _first_line(admin_password_file) if admin_password_file else ""
    folder = data_dir or data_directory()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the data directory {folder} cannot be made: {error.strerror}; choose another one "
            "with --data-dir or DTH_DATA_DIR"
        ) from None
    base = _shared(folder, database) if database else Files(folder)
    say = _set_up_log(log_format)

    def announce(hub: server.Hub) -> None:
        say(f"Data Transfer Hub runs at {hub.url} (data: {base.shown})")
        if hub.first_password:
            say(
                "Nobody has signed in yet. Sign in as admin with this password (you will have "
                "to change it):"
            )
            say(f"  {hub.first_password}")

    def say_of_hub(what: str) -> None:
        say(f"Data Transfer Hub {what}")

    async def serve(fork_server: ForkServer) -> int:
        await server.serve(
            base, listen, fork_server, announce, say_of_hub, password, settings, built_in_sign_in
        )
        return 0

    with server.start_fork_server(base, settings) as fork_server:
        return run_work(serve(fork_server))


def _shared(folder: Path, database: str) -> "HubBase":
    from dth.compose.postgres.hub import SharedBase

    return SharedBase(folder, database)


def _set_up_log(log_format: str) -> Callable[[str], None]:
    """Returns what prints the announcements. Text: they go to standard output, the log to standard
    error."""
    if log_format == "text":
        logging.basicConfig(
            format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING
        )
        return click.echo
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    announcements = logging.getLogger("dth.up")
    announcements.setLevel(logging.INFO)
    return announcements.info


def _first_line(path: Path) -> str:
    try:
        password = path.read_text("utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None
    if not password:
        raise UsageError(f"{path} has no password on its first line")
    return password
