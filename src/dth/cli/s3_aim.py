"""A SRC that is the key of one object: that object is copied, instead of what is below it."""

from typing import TYPE_CHECKING

import click

from dth.core.config import secrets_directory
from dth.core.errors import HubError
from dth.core.transport import Transport
from dth.objects.listing.filters import escaped
from dth.objects.listing.lookup import is_only_an_object
from dth.objects.parameters import S3Parameters
from dth.objects.plugin import PLUGIN
from dth.objects.store.credentials import FileSecrets
from dth.objects.store.folders.paths import is_folder, place_of
from dth.objects.task import open_source

if TYPE_CHECKING:
    from dth.hub.client import HubClient

LOOK = """mutation ($input: CreateTaskInput!, $prefix: String) {
    browse(input: $input, side: SOURCE, prefix: $prefix, count: 1) { id } }"""


async def aimed(parameters: S3Parameters, src: str, *, quiet: bool) -> S3Parameters:
    """The parameters that copy one object, if that is what SRC names."""
    key = _possible_key(parameters, src)
    if not key:
        return parameters
    try:
        with Transport() as transport:
            source = await open_source(parameters, transport, FileSecrets(secrets_directory()))
            found = await is_only_an_object(source, key)
    except HubError:
        # What cannot be read is reported where it is needed.
        return parameters
    return _of_object(parameters, key, quiet=quiet) if found else parameters


def aimed_by_hub(
    parameters: S3Parameters, src: str, client: "HubClient", *, quiet: bool
) -> S3Parameters:
    """As `aimed`, where a hub looks."""
    key = _possible_key(parameters, src)
    if not key:
        return parameters
    from dth.cli.hub import result_of_job
    from dth.cli.task import as_input, of_command

    task = as_input(of_command(parameters), once=True, kind=PLUGIN.type)

    def first(prefix: str) -> list[str]:
        job = client.call(LOOK, {"input": task, "prefix": prefix})["browse"]["id"]
        found = result_of_job(client, job)
        return [*found.get("prefixes", ()), *(each["key"] for each in found.get("objects", ()))]

    try:
        found = first(key) == [key] and not first(f"{key}/")
    except HubError:
        return parameters
    return _of_object(parameters, key, quiet=quiet) if found else parameters


def _possible_key(p: S3Parameters, src: str) -> str:
    """The key of the object that SRC may name; "" if it names a folder, or a selection is given."""
    chosen = (
        p.src_manifest
        or p.src_inventory
        or p.src_prefixs_list_file
        or p.include_patterns
        or p.filter_rules
    )
    return "" if src.endswith("/") or chosen else p.src_prefix.removesuffix("/")


def _of_object(p: S3Parameters, key: str, *, quiet: bool) -> S3Parameters:
    folder, slash, name = key.rpartition("/")
    if not quiet:
        kind = "a file" if is_folder(p.src_bucket) else "an object"
        click.echo(
            f"{place_of(p.src_bucket)}/{key} is {kind}: it is copied to "
            f"{place_of(p.dest_bucket)}/{p.dest_prefix}{name}",
            err=True,
        )
    return p.model_copy(
        update={"src_prefix": folder + slash, "include_patterns": ("/" + escaped(name),)}
    )
