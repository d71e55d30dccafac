"""Finding the hub that a command is for, and the right to call it."""

import contextlib
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dth.core.config import data_directory
from dth.core.errors import HubError, UsageError
from dth.hub.client import HubClient, with_token
from dth.hub.model import Role

F = Callable[..., Any]

ADDRESS_FILE = "address"  # in the data directory of a hub that runs: its URL
BETWEEN_LOOKS = 0.2  # seconds, at a job
LOCAL_TOKEN = 600.0  # seconds that the token of a command on the hub's own machine holds


def naming_a_hub(argument: str, make: Callable[[str | None, Path | None], Any]) -> Callable[[F], F]:
    """A decorator that gives a command `--hub` and `--data-dir`, which arrive together as
    `argument`."""

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def wrapped(*args: Any, hub_url: str | None, data_dir: Path | None, **kwargs: Any) -> Any:
            return command(*args, **{argument: make(hub_url, data_dir)}, **kwargs)

        wrapped = click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="Data directory of a hub on this machine; no sign-in is needed.",
        )(wrapped)
        return click.option(
            "--hub",
            "hub_url",
            metavar="URL",
            help="Address of the hub. [default: DTH_HUB, or the one signed in to, or this "
            "machine's]. DTH_CA_BUNDLE names a file of authorities to trust.",
        )(wrapped)

    return decorate


def hub_options(command: F) -> F:
    """`--hub` and `--data-dir`, which arrive as `hub`: a function that connects."""
    return naming_a_hub("hub", lambda url, folder: functools.partial(connect, url, folder))(command)


def connect(hub_url: str | None, data_dir: Path | None) -> HubClient:
    """A client of the hub: the one named, the one of DTH_HUB, the one signed in to, or the one that
    runs here."""
    from dth.cli.iam import region_of, signed
    from dth.cli.login import last_hub, session

    ca = os.environ.get("DTH_CA_BUNDLE", "")
    if data_dir is None:
        url = hub_url or os.environ.get("DTH_HUB") or last_hub()
        if url:
            if "://" not in url:
                raise UsageError(
                    f"the address of the hub, {url!r}, has no scheme: write http://{url} or "
                    f"https://{url}"
                )
            if token := os.environ.get("DTH_TOKEN"):
                return HubClient(url, with_token(lambda: token), ca)
            if region := region_of(url):
                return HubClient(url, signed(region), ca)
            return HubClient(url, with_token(lambda: _signed_in(session(url), url)), ca)
    folder = data_dir or data_directory()
    return _on_this_machine(folder, hub_url, ca)


def result_of_job(client: HubClient, id: str) -> dict[str, Any]:
    """What a job of the hub found, when it has ended. Raises HubError if it failed."""
    query = "query ($id: ID!) { getJob(id: $id) { state error result } }"
    while (job := client.call(query, {"id": id})["getJob"])["state"] == "RUNNING":
        time.sleep(BETWEEN_LOOKS)
    if job["state"] == "FAILED":
        raise HubError(job["error"])
    found: dict[str, Any] = json.loads(job["result"])
    return found


def _signed_in(token: str | None, url: str) -> str:
    if not token:
        raise UsageError(f"not signed in at {url}; run: dth login --hub {url} (or set DTH_TOKEN)")
    return token


def _on_this_machine(folder: Path, hub_url: str | None, ca: str) -> HubClient:
    """Who may read the hub's data directory may do everything: a token is made that holds for some
    minutes."""
    try:
        url = hub_url or (folder / ADDRESS_FILE).read_text("utf-8").strip()
    except OSError:
        raise UsageError(
            f"no hub runs with the data directory {folder}; start one (dth up), or name one "
            "(--hub URL)"
        ) from None
    try:
        token = _local_token(folder)
    except HubError as error:
        raise UsageError(f"{error}; or sign in: dth login --hub {url}") from None
    return HubClient(url, with_token(lambda: token), ca)


def _local_token(folder: Path) -> str:
    """A token that ends with this command, or soon."""
    import asyncio

    from dth.cli.database import VARIABLE
    from dth.cli.hub_tables import in_database, open_tables
    from dth.platforms.local.tokens import COMMAND, LOCAL, LocalTokens

    address = os.environ.get(VARIABLE)
    if not (folder / "hub.db").exists() and not in_database(folder, address):
        raise UsageError(
            f"the tables of this hub are in a database: put its address into {VARIABLE}"
        )

    async def create() -> tuple[str, str]:
        with open_tables(folder, address) as database:
            expires = time.time() + LOCAL_TOKEN
            info, token = await LocalTokens(database).create(COMMAND, Role.ADMIN, expires, LOCAL)
            return info.id, token

    async def revoke(token: str) -> None:
        with contextlib.suppress(HubError), open_tables(folder, address) as database:
            await LocalTokens(database).revoke(token)

    number, token = asyncio.run(create())
    if context := click.get_current_context(silent=True):
        context.call_on_close(lambda: asyncio.run(revoke(number)))
    return token
