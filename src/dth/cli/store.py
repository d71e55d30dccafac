"""`dth store`: names for the places that commands and tasks refer to. Without `--hub`, they are
those of this machine's user; with it, those of a hub."""

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import click

from dth.cli.display import columns, shown, table
from dth.cli.hub import F, connect, result_of_job
from dth.cli.options import validated
from dth.cli.output import Output, output_format
from dth.cli.rclone_remotes import rclone_file, read_remotes
from dth.cli.running import run_work
from dth.core.config import secrets_directory
from dth.core.errors import UsageError
from dth.core.stores import Store
from dth.core.stores_file import (
    KEYS,
    VARIABLES,
    add_store,
    read_stores,
    remove_store,
    store_named,
    store_of,
    stores_path,
)
from dth.hub.client import HubClient
from dth.objects.parameters import StoreType
from dth.objects.store.endpoints import Addressing, ChecksumMode

Hub = Callable[[], HubClient] | None
FIELDS = (
    "name kind endpoint region secret profile roleArn externalId addressingStyle caBundle "
    "proxy checksumMode"
)
QUERY = f"{{ listStores {{ {FIELDS} anonymous description tasks }} }}"


def _one_of(kind: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([each.value for each in kind], case_sensitive=False)


def of_hub(command: F) -> F:
    """`--hub` and `--data-dir`, which arrive as `hub`: a function that connects; None if neither is
    given."""

    @functools.wraps(command)
    def wrapped(*args: Any, hub_url: str | None, data_dir: Path | None, **kwargs: Any) -> Any:
        hub = functools.partial(connect, hub_url, data_dir) if hub_url or data_dir else None
        return command(*args, hub=hub, **kwargs)

    wrapped = click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Use the stores of the hub with this data directory on this machine.",
    )(wrapped)
    return click.option("--hub", "hub_url", metavar="URL", help="Use the stores of this hub.")(
        wrapped
    )


@click.group()
def store() -> None:
    """Named stores: old-minio:bucket/prefix in place of s3://bucket/prefix and options.

    Without --hub, the stores are those of this user, in stores.toml. Tasks of a hub use the stores
    of the hub.
    """


@store.command()
@click.argument("name")
@click.option(
    "--endpoint-url", "endpoint", metavar="URL", help="URL of the store; AWS by region when empty."
)
@click.option(
    "--type", "kind", type=_one_of(StoreType), help="Kind of store. [default: by the endpoint]"
)
@click.option("--region", metavar="TEXT", help="Region; detected for AWS when empty.")
@click.option("--profile", metavar="NAME", help="Profile of the AWS configuration with the keys.")
@click.option("--secret", metavar="NAME", help="Named secret with the keys.")
@click.option(
    "--keys-from-env",
    "variables",
    nargs=2,
    metavar="ACCESS SECRET",
    help="Names of two environment variables with the keys.",
)
@click.option(
    "--keys",
    is_flag=True,
    help="Ask for the keys, and keep them in the file, which only you may read.",
)
@click.option("--anonymous", is_flag=True, help="Do not sign requests.")
@click.option("--role-arn", metavar="ARN", help="Role to assume.")
@click.option("--external-id", metavar="TEXT", help="External id for the role.")
@click.option(
    "--addressing-style", type=_one_of(Addressing), help="Bucket in the path or the host name."
)
@click.option(
    "--ca-bundle",
    metavar="FILE",
    help="Authorities to trust; with --hub, the name of one in its settings.",
)
@click.option("--proxy", metavar="URL", help="Proxy to the store.")
@click.option(
    "--checksum-mode", type=_one_of(ChecksumMode), help="Checksum that covers what is written."
)
@click.option("--description", metavar="TEXT", help="What it is.")
@of_hub
def add(name: str, hub: Hub, variables: tuple[str, str] | None, keys: bool, **given: Any) -> int:
    """Add a store.

    dth store add old-minio --endpoint-url http://minio:9000 --profile minio
    """
    values = {field: value for field, value in given.items() if value}
    if variables:
        values |= dict(zip(VARIABLES, variables, strict=True))
    if hub:
        if variables or keys:
            raise UsageError(
                "a hub keeps keys as secrets: dth secret create NAME, then --secret NAME"
            )
        query = (
            "mutation ($name: String!, $input: StoreInput!) { createStore(name: $name, input: "
            "$input) { name } }"
        )
        hub().call(
            query,
            {"name": name, "input": {_camel(field): value for field, value in values.items()}},
        )
        click.echo(f"{shown(name)} is a store of the hub")
        return 0
    if keys:
        values |= _ask_for_keys()
    _check(name, values)
    add_store(name, values)
    click.echo(f"{name} is kept in {stores_path()}; dth store test {name} tries it")
    return 0


@store.command(name="list")
@output_format
@of_hub
def list_(output: Output, hub: Hub) -> int:
    """List the stores; never their keys."""
    found = (
        _of_hub(hub())
        if hub
        else [_as_shown(name, values) for name, values in sorted(read_stores().items())]
    )
    if not output.for_people:
        output.print(found)
        return 0
    if found:
        columns(
            ("NAME", "ENDPOINT", "KIND", "REGION", "KEYS", *(("TASKS",) if hub else ())),
            [
                (
                    shown(each["name"]),
                    shown(each.get("endpoint") or "AWS"),
                    *(shown(each.get(field) or "") for field in ("kind", "region", "keys")),
                    *((str(each["tasks"]),) if hub else ()),
                )
                for each in found
            ],
        )
    return 0


@store.command()
@click.argument("name")
@output_format
@of_hub
def show(name: str, output: Output, hub: Hub) -> int:
    """Show a store; never its keys."""
    if hub:
        found = next((each for each in _of_hub(hub()) if each["name"] == name), None)
        if not found:
            raise UsageError(f"there is no store {name!r} in the hub")
    else:
        store_named(name)
        found = _as_shown(name, read_stores()[name])
    if output.for_people:
        table([(field, shown(str(value))) for field, value in found.items()])
    else:
        output.print(found)
    return 0


@store.command()
@click.argument("name")
@output_format
@of_hub
def test(name: str, output: Output, hub: Hub) -> int:
    """Reach a store and list its buckets. Exit code 1 if that fails."""
    if hub:
        return _told(_tested_by_hub(hub(), name), output)
    return run_work(_tested(store_named(name), output))


def _told(found: dict[str, Any], output: Output) -> int:
    """Say how a test went; the exit code."""
    if not output.for_people:
        output.print(found)
        return 0 if found["ok"] else 1
    click.echo(shown(found["message"] or found["detail"]), err=not found["ok"])
    if not found["ok"]:
        for line in (found["advice"], found["detail"]):
            if line and line.rstrip(".") != found["message"].rstrip("."):
                click.echo(shown(line), err=True)
        return 1
    for bucket in found.get("buckets", ()):
        click.echo(shown(bucket["name"]))
    if found.get("more"):
        click.echo("and more", err=True)
    return 0


@store.command()
@click.argument("name")
@of_hub
def remove(name: str, hub: Hub) -> int:
    """Remove a store. What is in its buckets stays."""
    if hub:
        hub().call(
            "mutation ($name: String!) { deleteStore(name: $name) { name } }", {"name": name}
        )
    else:
        remove_store(name)
    click.echo(f"{shown(name)} is removed")
    return 0


@store.command(name="import-rclone")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--replace", is_flag=True, help="Replace stores that have the same name.")
def import_rclone(file: Path | None, replace: bool) -> int:
    """Take over the S3 remotes of an rclone.conf.

    FILE is where rclone has its configuration if it is not given. What a store cannot take is
    reported.
    """
    found = read_remotes(file or rclone_file())
    taken = 0
    for name, values in found.stores.items():
        try:
            _check(name, values)
            add_store(name, values, replace=replace)
        except UsageError as error:
            found.said.append(f"{name}: {error}")
        else:
            taken += 1
            click.echo(f"{shown(name)}:  {shown(values.get('endpoint', 'AWS'))}")
    for line in found.said:
        click.echo(shown(line), err=True)
    click.echo(f"{taken} of {len(found.stores)} S3 remotes are kept in {stores_path()}", err=True)
    return 0


def _ask_for_keys() -> dict[str, str]:
    if sys.stdin.isatty():
        return {
            "access_key_id": click.prompt("Access key ID", err=True),
            "secret_access_key": click.prompt("Secret access key", hide_input=True, err=True),
        }
    try:
        found = json.loads(sys.stdin.read(65_536))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not set(found) <= set(KEYS):
        raise UsageError('--keys reads JSON: {"access_key_id": "…", "secret_access_key": "…"}')
    return found


def _check(name: str, values: dict[str, Any]) -> None:
    """That commands can use the store. Raises UsageError."""
    from dth.objects.parameters import S3Parameters
    from dth.objects.sides import side_settings
    from dth.objects.stores import settings_of_store

    settings = settings_of_store(store_of(name, values), "source")
    try:
        side_settings(validated(S3Parameters, settings), "source")
    except UsageError as error:
        raise UsageError(str(error).removeprefix("source: ").replace("--src-", "--")) from None


async def _tested(store: Store, output: Output) -> int:
    from dth.objects.browse import look_into
    from dth.objects.checks.notes import IN_WORDS
    from dth.objects.parameters import S3Parameters
    from dth.objects.store.credentials import FileSecrets
    from dth.objects.stores import settings_of_store

    parameters = validated(S3Parameters, settings_of_store(store, "source"))
    found = await look_into(
        "buckets", parameters, "source", FileSecrets(secrets_directory()), names=IN_WORDS
    )
    return _told(found, output)


def _tested_by_hub(hub: HubClient, name: str) -> dict[str, Any]:
    begun = hub.call("mutation ($name: String!) { testStore(name: $name) { id } }", {"name": name})[
        "testStore"
    ]
    return result_of_job(hub, begun["id"])


def _of_hub(hub: HubClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hub.call(QUERY)["listStores"]
    for each in found:
        each["keys"] = _keys_in_words(each)
    return [
        {field: value for field, value in each.items() if value is not False and value != ""}
        for each in found
    ]


def _as_shown(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """A store without its keys; `keys` says in words where they are."""
    kept = {field: value for field, value in values.items() if field not in KEYS}
    known = {each.name for each in fields(Store)}
    words = _keys_in_words(values)
    return {
        "name": name,
        **{_camel(field): value for field, value in kept.items() if field in known},
        **({"keys": words} if words else {}),
    }


def _keys_in_words(values: dict[str, Any]) -> str:
    if values.get("anonymous"):
        return "anonymous"
    if KEYS[0] in values:
        return "keys in the file"
    if VARIABLES[0] in values:
        return f"keys in {values[VARIABLES[0]]}"
    for name in ("secret", "profile"):
        if values.get(name):
            return f"{name} {values[name]}"
    return ""


def _camel(field: str) -> str:
    first, *rest = field.split("_")
    return first + "".join(word.title() for word in rest)
