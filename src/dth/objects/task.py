"""Opens a task: from its parameters to the route from source to destination that the engine
uses."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from dth.core.errors import TransferError, UsageError
from dth.core.parameters import START, check_confined
from dth.core.ports.limits import Limits
from dth.core.secrets import SecretStore, SecretUse, for_hosts
from dth.core.transport import Transport
from dth.objects.compare.merge import ObjectsPlace, overlaps
from dth.objects.listing.filters import Filter, only_key
from dth.objects.listing.pages import KeyMap
from dth.objects.parameters import (
    OTHER_AWS_CLASSES,
    DeleteMode,
    S3Parameters,
    SourceEtags,
    StorageClass,
)
from dth.objects.sides import side_settings
from dth.objects.store.bucket_names import access_point, bucket_label
from dth.objects.store.client import S3Client
from dth.objects.store.credentials import CredentialSource, read_customer_key, resolve_credentials
from dth.objects.store.endpoints import Endpoint, EtagKind, in_region
from dth.objects.store.folders.paths import place_of
from dth.objects.store.immediate_retry import ATTEMPTS
from dth.objects.store.pace import Budget, Cap, Gate, follow
from dth.objects.store.rate import store_rates
from dth.objects.store.signing import AccessKeys
from dth.objects.transfer.relay import ObjectRoute, requests_at_once


@asynccontextmanager
async def opened(
    parameters: S3Parameters, secrets: SecretStore, limits: Limits
) -> AsyncIterator[ObjectRoute]:
    """Both sides of a task, opened with `open_route` and closed at the end. Follows changes of the
    shared rates."""
    with Transport() as transport:
        route = await open_route(parameters, transport, secrets, limits)
        following = asyncio.create_task(follow(limits, [*route.source.caps, *route.dest.caps]))
        try:
            yield route
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def shared_rates(parameters: S3Parameters) -> dict[str, float]:
    """The rates shared by all processes of a task, as `Limits` keeps them. 0: no limit."""
    rates = {
        "requests": parameters.max_requests_per_second,
        "bytes": parameters.max_bytes_per_second,
    }
    return {
        f"{side}.{name}": float(rate or 0)
        for side in ("source", "dest")
        for name, rate in rates.items()
    }


async def open_route(
    parameters: S3Parameters,
    transport: Transport,
    secrets: SecretStore,
    limits: Limits | None = None,
    *,
    attempts: int = ATTEMPTS,
    one_object: bool = False,
) -> ObjectRoute:
    """Open both sides of a task for requests, each of which is tried up to `attempts` times. The
    only request that this sends asks for the region of an AWS bucket if none is given.
    `one_object`: the prefixes are the keys of one object and its copy. Raises UsageError for
    invalid parameters."""
    parameters = _without_aws_defaults(parameters)
    rates = await limits.rates() if limits else {}
    opened = (parameters, transport, secrets, limits, rates, attempts)
    source = await _open_side("source", *opened)
    dest = await _open_side("destination", *opened)
    if parameters.dest_acl and not dest.capabilities.acl:
        if "dest_acl" in parameters.model_fields_set:
            raise UsageError(
                f"destination: {dest.endpoint.profile.name} takes no ACLs; leave out the ACL"
            )
        dest.capabilities.note(
            f"{dest.endpoint.profile.name} takes no ACLs; objects are written without"
        )
    if parameters.src_etags is not SourceEtags.AUTO:
        source.capabilities.etags = EtagKind(parameters.src_etags.lower())
    one_store = bool(set(source.endpoint.urls) & set(dest.endpoint.urls))
    keys = key_map(parameters)
    if one_store:
        _refuse_overlap(parameters, source, dest, one_object=one_object)
    server_side = (
        parameters.server_side_copy
        and not source.endpoint.is_folder
        and one_store
        # A copy request would name its source by the ARN, not by the host name. Relaying treats
        # both alike.
        and not access_point(parameters.src_bucket)
        and await _keys(source, "source") == await _keys(dest, "destination")
    )
    return ObjectRoute(
        source, dest, keys, parameters, Budget(parameters.memory_budget), transport, server_side
    )


def resolve_endpoints(parameters: S3Parameters) -> tuple[Endpoint, Endpoint]:
    """The endpoints of source and destination, without network requests."""
    return endpoint_of(parameters, "source"), endpoint_of(parameters, "destination")


def endpoint_of(parameters: S3Parameters, side: str) -> Endpoint:
    """The endpoint of "source" or "destination"."""
    return side_settings(parameters, side).endpoint


def bucket_of(parameters: S3Parameters, side: str) -> str:
    """The bucket name in requests to "source" or "destination"."""
    return bucket_label(parameters.src_bucket if side == "source" else parameters.dest_bucket)


async def open_side(
    parameters: S3Parameters,
    side: str,
    transport: Transport,
    secrets: SecretStore,
    limits: Limits | None = None,
    *,
    attempts: int = ATTEMPTS,
) -> S3Client:
    """Open only one side, "source" or "destination"."""
    rates = await limits.rates() if limits else {}
    return await _open_side(side, parameters, transport, secrets, limits, rates, attempts)


async def open_source(
    parameters: S3Parameters, transport: Transport, secrets: SecretStore
) -> S3Client:
    """A client of the source alone. Raises UsageError and TransferError."""
    return await open_side(parameters, "source", transport, secrets)


def check_storage_class(parameters: S3Parameters) -> None:
    """Raise UsageError for a storage class that AWS does not have. Other stores have classes of
    their own."""
    asked = parameters.dest_storage_class
    known = {each.value for each in StorageClass} | OTHER_AWS_CLASSES
    if asked and asked not in known and endpoint_of(parameters, "destination").is_aws:
        raise UsageError(
            f"destStorageClass: {asked!r} is not a storage class of AWS; one of "
            f"{', '.join(StorageClass)}"
        )


def key_map(parameters: S3Parameters) -> KeyMap:
    """How source keys become destination keys."""
    if not parameters.dest_keeps_src_prefix:
        return KeyMap(parameters.src_prefix, parameters.dest_prefix)
    prefix = parameters.dest_prefix
    return KeyMap("", f"{prefix}/" if prefix and not prefix.endswith("/") else prefix)


def object_filter(parameters: S3Parameters) -> Filter:
    """The filter in the task's parameters."""
    return Filter(
        include=parameters.include_patterns,
        exclude=parameters.exclude_patterns,
        rules=parameters.filter_rules,
        min_size=parameters.min_size or 0,
        max_size=parameters.max_size,
        modified_since=_listing_time(parameters.modified_since),
        modified_before=_listing_time(parameters.modified_before),
        storage_classes=frozenset(parameters.src_storage_classes),
    )


def describe_source(parameters: S3Parameters) -> str:
    """Where the objects come from, as shown to people."""
    return f"{place_of(parameters.src_bucket)}/{parameters.src_prefix}"


def _without_aws_defaults(parameters: S3Parameters) -> S3Parameters:
    """The parameters, without the defaults of storage class and ACL unless the destination is at
    AWS."""
    if endpoint_of(parameters, "destination").is_aws:
        return parameters
    unset = {"dest_storage_class", "dest_acl"} - parameters.model_fields_set
    return parameters.model_copy(update=dict.fromkeys(unset))


def credential_source(parameters: S3Parameters, side: str) -> CredentialSource:
    """How the task authenticates at its "source" or "destination"."""
    return side_settings(parameters, side).credentials


def secret_uses(
    parameters: S3Parameters, sides: Sequence[str] = ("source", "destination")
) -> list[SecretUse]:
    """The secrets that the task uses, and the hosts they are used with. Raises UsageError for
    invalid parameters."""
    found = []
    for side in sides:
        settings = side_settings(parameters, side)
        keys, customer_key = (
            settings.credentials,
            getattr(parameters, f"{START[side]}_sse_customer_key"),
        )
        names = ["" if keys.anonymous else keys.secret, customer_key]
        found += [SecretUse(side, name, settings.hosts) for name in names if name]
    return found


async def _open_side(
    side: str,
    parameters: S3Parameters,
    transport: Transport,
    secrets: SecretStore,
    limits: Limits | None,
    rates: Mapping[str, float],
    attempts: int,
) -> S3Client:
    check_confined(parameters)
    settings = side_settings(parameters, side)
    start, cap = START[side], "source" if side == "source" else "dest"
    endpoint, secrets = settings.endpoint, for_hosts(secrets, settings.hosts)
    if name := getattr(parameters, f"{start}_sse_customer_key"):
        try:
            key = await asyncio.to_thread(read_customer_key, name, secrets)
        except UsageError as error:
            raise UsageError(f"{side}: {error}") from None
        endpoint = replace(endpoint, customer_key=key)
    requests, sent = (
        [Cap(limits, name, rates.get(name, 0.0)) for name in (f"{cap}.requests", f"{cap}.bytes")]
        if limits
        else (None, None)
    )
    gate = Gate(maximum=requests_at_once(parameters))
    throttled = store_rates(_throttled_together(endpoint, bucket_of(parameters, side)))

    def client(endpoint: Endpoint) -> S3Client:
        return S3Client(
            transport,
            endpoint,
            bucket_of(parameters, side),
            resolve_credentials(settings.credentials, secrets),
            side=side,
            gate=gate,
            request_cap=requests,
            byte_cap=sent,
            rates=throttled,
            attempts=attempts,
        )

    opened = client(endpoint)
    asked = (
        getattr(parameters, f"{start}_region")
        or settings.url.value
        or access_point(getattr(parameters, f"{start}_bucket"))
    )
    if endpoint.is_aws and not asked:
        try:
            found = await opened.find_region()
        except TransferError as error:
            error.side = side
            raise
        if found and found != endpoint.region:
            opened = client(in_region(endpoint, found))
    return opened


def _throttled_together(endpoint: Endpoint, bucket: str) -> str:
    """The name of what shares one rate limit: a bucket on AWS, the whole store elsewhere."""
    return f"{endpoint.store}/{bucket}" if endpoint.is_aws else endpoint.store


async def _keys(client: S3Client, side: str) -> AccessKeys | None:
    try:
        return await client.credentials.keys()
    except TransferError as error:
        error.side = side
        raise


def _refuse_overlap(
    parameters: S3Parameters, source: S3Client, dest: S3Client, *, one_object: bool
) -> None:
    keys, prefix = key_map(parameters), parameters.src_prefix
    if parameters.delete_mode is not DeleteMode.MIRROR and (
        name := only_key(object_filter(parameters))
    ):
        # Whatever else is there is neither copied nor deleted.
        prefix, one_object = prefix + name, True
    ends = ((source, prefix), (dest, keys.to_dest(prefix)))
    here, there = (_place_of(client, prefix) for client, prefix in ends)
    if one_object:
        if here == there:
            raise UsageError(f"SRC and DST are the same object {source.place}/{prefix}")
    elif overlaps(here, there):
        one, other = (f"{client.place}/{prefix}" for client, prefix in ends)
        where = "" if source.endpoint.is_folder else " of one store"
        raise UsageError(
            f"source and destination overlap: one of {one} and {other}{where} lies in the other"
        )


def _place_of(client: S3Client, prefix: str) -> ObjectsPlace:
    if client.endpoint.is_folder:
        # One folder may lie in another, under whatever name.
        return ObjectsPlace(
            client.endpoint.store, "", f"{os.path.realpath(client.bucket).rstrip('/')}/{prefix}"
        )
    return ObjectsPlace(client.endpoint.store, client.bucket, prefix)


def _listing_time(moment: float | None) -> str:
    return (
        datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        if moment is not None
        else ""
    )
