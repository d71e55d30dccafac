"""How a command of objects begins: both sides are settled, opened and asked once. Problems are
reported with their side and the remedy before anything starts."""

import asyncio
import os
from collections.abc import Awaitable, Sequence
from pathlib import Path

import click

from dth.core.errors import SourceGone, TransferError, UsageError
from dth.core.parameters import OPTION, START
from dth.core.secrets import SecretStore
from dth.core.transport import Transport
from dth.objects import task
from dth.objects.checks.notes import SideTrouble, reach
from dth.objects.compare.merge import Policy
from dth.objects.listing.filters import build
from dth.objects.listing.lists import listed_object, local_list, missing
from dth.objects.parameters import S3Parameters
from dth.objects.sides import SideSettings, side_settings
from dth.objects.store.client import S3Client
from dth.objects.store.credentials import CredentialSource
from dth.objects.store.pace import OwnLimits
from dth.objects.task import object_filter
from dth.objects.transfer.relay import ObjectRoute

ARGUMENT = {"source": "SRC", "destination": "DST"}
SIDES = tuple(ARGUMENT)


def settled(
    parameters: S3Parameters,
    sides: Sequence[str] = SIDES,
    *,
    verbose: bool = False,
    one_store: bool = False,
) -> S3Parameters:
    """The parameters with the endpoints that the AWS configuration says, so that another
    configuration makes another command, with another state. `one_store`: as for `told`. Raises
    UsageError for what cannot be."""
    build(object_filter(parameters))
    if "destination" in sides:
        task.check_storage_class(parameters)
    try:
        found = {side: side_settings(parameters, side) for side in sides}
    except UsageError as error:
        if one_store:
            said = str(error).removeprefix("source: ").replace("--src-", "--")
            raise UsageError(said) from None
        raise
    for side, settings in found.items():
        if trouble := _trouble_of_ca(settings):
            which, origin = ("" if one_store else f"{side}: "), settings.ca_bundle.origin
            origin = origin.replace("--src-", "--") if one_store else origin
            raise UsageError(f"{which}{trouble} ({origin})")
        if verbose:
            for line in settings.lines():
                click.echo(f"{side}: {line}", err=True)
    return parameters.model_copy(
        update={
            f"{START[side]}_endpoint": ",".join(settings.endpoint.urls)
            for side, settings in found.items()
            if settings.url.value
        }
    )


def _trouble_of_ca(settings: SideSettings) -> str:
    """What is wrong with the file of authorities. One that the environment names is for whatever
    needs it; one that an option names must be there, even if this store speaks no TLS."""
    path = settings.ca_bundle.value
    typed = settings.ca_bundle.origin.startswith("--")
    if not path or not (settings.endpoint.encrypted or typed):
        return ""
    if not Path(path).is_file():
        return f"there is no file of authorities {path}"
    return "" if os.access(path, os.R_OK) else f"the file of authorities {path} cannot be read"


async def open_route(
    parameters: S3Parameters,
    transport: Transport,
    secrets: SecretStore,
    *,
    one_object: bool = False,
) -> ObjectRoute:
    """Both sides, ready and seen to answer. `one_object`: the prefixes are the keys of one object
    and its copy. Raises UsageError for what the user has to mend."""
    try:
        limits = OwnLimits(task.shared_rates(parameters))
        route = await task.open_route(parameters, transport, secrets, limits, one_object=one_object)
    except TransferError as error:
        raise UsageError(told(error, error.side, parameters)) from None
    listed = not (
        one_object
        or parameters.src_manifest
        or parameters.src_inventory
        or parameters.src_prefixs_list_file
    )
    compared = (
        not one_object
        and not parameters.src_skip_compare
        and parameters.compare_policy is not Policy.ALWAYS
    )
    ends = (
        ("source", route.source, parameters.src_prefix, listed),
        ("destination", route.dest, route.keys.to_dest(parameters.src_prefix), compared),
    )
    for side, client, _, _ in ends:  # before anybody is asked
        await _keys(side, client, parameters)
    # Both at once, but of two problems the same one is always reported.
    asked = [_asked(reach(client, prefix, must_list=must)) for _, client, prefix, must in ends]
    for (side, client, _, _), trouble in zip(ends, await asyncio.gather(*asked), strict=True):
        if trouble:
            raise UsageError(told(trouble, side, parameters, client))
    await _find_lists(parameters, route.source)
    return route


async def _find_lists(parameters: S3Parameters, source: S3Client) -> None:
    """Raises UsageError for a list of what to copy that is not there or cannot be read."""
    given = (
        ("--files-from", parameters.src_manifest, ""),
        ("--prefix-list", parameters.src_prefixs_list_file, parameters.src_prefix_list_bucket),
        ("--inventory", parameters.src_inventory, source.bucket),
    )
    for option, place, own_bucket in given:
        if not place:
            continue
        if path := local_list(place, own_bucket):
            if not os.access(path, os.R_OK):
                raise UsageError(f"{option} {place}: this file cannot be read: permission denied")
            continue
        if Path(place).is_dir():
            raise UsageError(f"{option} {place}: this is a folder; a file is needed")
        bucket, key = listed_object(place, own_bucket or source.bucket)
        try:
            await source.for_bucket(bucket).head(key)
        except SourceGone:
            raise UsageError(f"{option} {place}: {missing(bucket, key)}") from None
        except TransferError:
            # Whoever may read an object need not be allowed to ask for it. The run reports it.
            continue


async def open_store(
    parameters: S3Parameters, transport: Transport, secrets: SecretStore, *, must_list: bool = True
) -> S3Client:
    """The store of a command that has only one, the source of its parameters. As `open_side`."""
    return await open_side(
        "source", parameters, transport, secrets, must_list=must_list, one_store=True
    )


async def open_side(
    side: str,
    parameters: S3Parameters,
    transport: Transport,
    secrets: SecretStore,
    *,
    must_list: bool = False,
    one_store: bool = False,
) -> S3Client:
    """One side alone, ready and seen to answer. Raises UsageError for what the user has to mend."""
    client = await opened(side, parameters, transport, secrets, one_store=one_store)
    prefix = parameters.src_prefix if side == "source" else parameters.dest_prefix
    if trouble := await _asked(reach(client, prefix, must_list=must_list)):
        raise UsageError(told(trouble, side, parameters, client, one_store=one_store))
    return client


async def opened(
    side: str,
    parameters: S3Parameters,
    transport: Transport,
    secrets: SecretStore,
    *,
    one_store: bool = False,
) -> S3Client:
    """One side alone, with its credentials. Nobody has been asked anything."""
    try:
        limits = OwnLimits(task.shared_rates(parameters))
        client = await task.open_side(parameters, side, transport, secrets, limits)
    except TransferError as error:
        raise UsageError(told(error, side, parameters, one_store=one_store)) from None
    await _keys(side, client, parameters, one_store=one_store)
    return client


async def _keys(
    side: str, client: S3Client, parameters: S3Parameters, *, one_store: bool = False
) -> None:
    try:
        await client.credentials.keys()
    except TransferError as error:
        raise UsageError(told(error, side, parameters, client, one_store=one_store)) from None


async def _asked(request: Awaitable[None]) -> TransferError | None:
    try:
        await request
    except TransferError as error:
        return error
    return None


def told(
    error: TransferError,
    side: str,
    parameters: S3Parameters,
    client: S3Client | None = None,
    *,
    one_store: bool = False,
) -> str:
    """One line: the side, what is wrong and where, and what to do about it with this command.
    `one_store`: the command has one store, so it names no side: it calls the store URL, and its
    options have names without a side."""
    which = "" if one_store else f"{side}: "
    if error.code == "NoCredentials":
        return f"{which}{error}"
    settings = side_settings(parameters, side)
    endpoint = client.endpoint if client else settings.endpoint
    if endpoint.is_folder:
        return f"{which}{error}"
    option = "-" if one_store else OPTION[side]
    names = {
        "Bucket": "URL" if one_store else ARGUMENT[side],
        "Endpoint": f"{option}-endpoint-url",
        "Credentials": _credentials(option, settings.credentials),
        "Region": f"{option}-region",
        "CaBundle": f"{option}-ca-bundle",
        "Proxy": f"{option}-proxy",
        "AddressingStyle": f"{option}-addressing-style",
    }
    trouble = SideTrouble.of(
        error,
        side,
        endpoint,
        task.bucket_of(parameters, side),
        client.clock_offset if client else 0.0,
        names,
        endpoint.url,
    )
    return f"{which}{trouble.line(error, endpoint.url)}"


def _credentials(option: str, source: CredentialSource) -> str:
    """What the user changes to be somebody else."""
    if source.anonymous:
        return f"the access without a signature ({option}-anonymous)"
    if source.secret:
        return f"the secret {source.secret!r} ({option}-secret)"
    if source.profile:
        return f"the profile {source.profile!r} ({option}-profile)"
    return f"the credentials of the environment ({option}-profile or {option}-secret name others)"
