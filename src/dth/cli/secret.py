"""`dth secret`: named secrets of a hub. A value is typed in, piped in or read from a file. Do not
write secrets on command lines: anybody on the machine can read them."""

import asyncio
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dth.cli.database import database_option
from dth.cli.display import columns, shown, when
from dth.cli.hub import hub_options
from dth.cli.output import Output, output_format
from dth.core.config import data_directory
from dth.core.errors import UsageError
from dth.core.secrets import is_unbound, unbound_warning
from dth.hub.client import HubClient

MAX_VALUE = 65_536  # bytes, as the hub takes them

Connect = Callable[[], HubClient]

value_option = click.option(
    "--from-file",
    "file",
    type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    metavar="FILE",
    help=(
        'The value, JSON as in {"access_key_id": "…", "secret_access_key": "…"}; - for '
        "standard input."
    ),
)
description_option = click.option("--description", help="What it is for.")


# What S3 and Amazon ECR, other registries, and customer keys (SSE-C) read of a secret.
FORMS = ({"access_key_id", "secret_access_key"}, {"username", "password"}, {"sse_customer_key"})


@click.group()
def secret() -> None:
    """Named secrets of a hub: credentials that tasks refer to by name."""


@secret.command(name="list")
@output_format
@hub_options
def list_(output: Output, hub: Connect) -> int:
    """List the secrets; never their values."""
    found = hub().call("query { listSecrets { name description updatedAt hosts } }")["listSecrets"]
    if output.for_people:
        columns(
            ("NAME", "CHANGED", "HOSTS", "DESCRIPTION"),
            [
                (
                    shown(each["name"]),
                    when(each["updatedAt"]),
                    _bound(each["hosts"]),
                    shown(each["description"] or ""),
                )
                for each in found
            ],
        )
    else:
        output.print(found)
    for each in found:
        if is_unbound(each["hosts"]):
            click.echo(
                f"warning: {shown(unbound_warning(each['name']))}; bind it: "
                f"dth secret bind {shlex.quote(shown(each['name']))} HOST",
                err=True,
            )
    return 0


def _bound(hosts: list[str]) -> str:
    if is_unbound(hosts):
        return "any host"
    return ", ".join(map(shown, hosts)) or "bound at its first use"


@secret.command()
@click.argument("name")
@description_option
@value_option
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Host that it may be used with, as in dth secret bind; can be repeated. "
    "[default: the hosts that it is first used with]",
)
@hub_options
def create(
    name: str, description: str | None, file: Path | None, hosts: tuple[str, ...], hub: Connect
) -> int:
    """Keep a new secret.

    Asks for a pair of access keys on a terminal; otherwise the value, JSON, is read from standard
    input or a file.
    """
    client = hub()
    given: dict[str, Any] = {"name": name, "value": _value(file), "description": description}
    given |= {"hosts": hosts} if hosts else {}
    client.call(
        """mutation ($name: String!, $value: String!, $description: String, $hosts: [String!]) {
            createSecret(name: $name, value: $value, description: $description, hosts: $hosts) { name } }""",
        given,
    )
    click.echo(f"{shown(name)} is kept, encrypted")
    _warn_of_form(given["value"])
    return 0


@secret.command()
@click.argument("name")
@description_option
@value_option
@hub_options
def update(name: str, description: str | None, file: Path | None, hub: Connect) -> int:
    """Change a secret; running tasks use the new value within a second or two.

    With --description alone the value stays as it is.
    """
    client = hub()
    changes: dict[str, Any] = {"name": name, "description": description}
    if file or description is None:
        changes["value"] = _value(file)
    client.call(
        """mutation ($name: String!, $value: String, $description: String) {
            updateSecret(name: $name, value: $value, description: $description) { name } }""",
        changes,
    )
    click.echo(f"{shown(name)} is changed")
    return 0


@secret.command()
@click.argument("name")
@click.argument("hosts", metavar="[HOST]...", nargs=-1)
@hub_options
def bind(name: str, hosts: tuple[str, ...], hub: Connect) -> int:
    """Let a secret be used with these hosts and no others. For administrators.

    HOST is a host (store.example.com, store.example.com:9000), *.example.com for all hosts below a
    domain, or * for any host. *.amazonaws.com stands for the services of AWS that take credentials,
    and docker.io for all names of Docker Hub. Without HOST, the secret is bound to the hosts that
    it is next used with.
    """
    answer = hub().call(
        """mutation ($name: String!, $hosts: [String!]!) { bindSecret(name: $name, hosts: $hosts) { hosts } }""",
        {"name": name, "hosts": hosts},
    )
    click.echo(f"{shown(name)}: {_bound(answer['bindSecret']['hosts'])}")
    return 0


@secret.command()
@click.argument("name")
@hub_options
def delete(name: str, hub: Connect) -> int:
    """Forget a secret. Tasks that use it pause at their next request."""
    hub().call("mutation ($name: String!) { deleteSecret(name: $name) { name } }", {"name": name})
    click.echo(f"{shown(name)} is deleted")
    return 0


@secret.command(name="rotate-key")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory of the hub. [default: DTH_DATA_DIR, or as dth up has it]",
)
@database_option("The database with the tables of the hub.")
def rotate_key(data_dir: Path | None, database: str | None) -> int:
    """Encrypt everything that the hub keeps encrypted with a new key, also while it runs.

    With a database, you give the new key to all hubs first; the command says how.
    """
    from dth.cli.hub_tables import in_database, open_tables
    from dth.hub.audit import ROTATE_KEY, note
    from dth.platforms.local.audited import LOCAL, who
    from dth.platforms.local.hub_database import HubDatabase
    from dth.platforms.local.tasks import LocalAudit
    from dth.platforms.local.vault import DATABASE_FILE, rotate, rotate_shared

    folder = data_dir or data_directory()
    path = folder / DATABASE_FILE
    address = in_database(folder, database)
    if not (address or path.exists()):
        raise UsageError(f"{folder} is not the data directory of a hub: it has no {DATABASE_FILE}")

    async def work() -> int:
        with open_tables(folder, address) as tables:
            if isinstance(tables, HubDatabase):
                rotated = await rotate(folder, tables)
            else:
                rotated = await rotate_shared(folder, tables)
            await note(LocalAudit(tables), ROTATE_KEY, who(), LOCAL)
            return rotated

    count = asyncio.run(work())
    todo = (
        "take the old one away on the machines of all hubs, and back up the new one"
        if address
        else f"back it up together with {DATABASE_FILE}"
    )
    click.echo(f"{count} values are encrypted with the new key; {todo}")
    return 0


def _warn_of_form(value: str) -> None:
    """Tell of a value that neither stores nor registries can use. Another plugin may."""
    found = json.loads(value)
    if not any(form <= found.keys() for form in FORMS):
        names = "; ".join(" and ".join(sorted(form)) for form in FORMS)
        click.echo(
            f"warning: no store and no registry can use this secret; it has none of: {names}",
            err=True,
        )


def _value(file: Path | None) -> str:
    """The value as JSON, from a file, the terminal or standard input."""
    if file is None and sys.stdin.isatty():
        keys = {
            "access_key_id": click.prompt("Access key ID", hide_input=True, err=True),
            "secret_access_key": click.prompt("Secret access key", hide_input=True, err=True),
        }
        return json.dumps(keys)
    try:
        if file is None or str(file) == "-":
            text = sys.stdin.buffer.read(MAX_VALUE + 1)
        else:
            with file.open("rb") as stream:
                text = stream.read(MAX_VALUE + 1)
        value = text.decode().strip()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError("the value is not text in UTF-8") from None
    if not value:
        raise UsageError(
            "there is no value: pipe it in, or name a file that has it (--from-file FILE)"
        )
    return value
