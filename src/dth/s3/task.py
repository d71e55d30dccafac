"""Opening a task: from its parameters to the route from source to destination that the engine uses."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import PurePosixPath

from dth.errors import UsageError
from dth.platforms.ports import Limits
from dth.s3.client import S3Client
from dth.s3.compare import Place, overlaps
from dth.s3.credentials import CredentialSource, SecretStore, resolve_credentials
from dth.s3.endpoints import Endpoint, EtagKind, resolve_endpoint
from dth.s3.filters import Filter
from dth.s3.listing import KeyMap
from dth.s3.pace import Budget, Cap, Gate, follow
from dth.s3.parameters import S3Parameters, SourceEtags
from dth.s3.relay import Route
from dth.s3.retry import ATTEMPTS
from dth.s3.transport import ConnectOptions, Transport

LANE_REQUESTS = 32  # requests in flight at most for each unit of `workerNumber`


@asynccontextmanager
async def opened(parameters: S3Parameters, secrets: SecretStore, limits: Limits) -> AsyncIterator[Route]:
    """Both sides of a task as `open_route` opens them, as long as they are needed. The rates that hold are followed."""
    transport = Transport()
    try:
        route = await open_route(parameters, transport, secrets, limits)
        following = asyncio.create_task(follow(limits, [*route.source.caps, *route.dest.caps]))
        try:
            yield route
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    finally:
        transport.close()


def shared_rates(parameters: S3Parameters) -> dict[str, float]:
    """The rates that hold over all processes of a task, as `Limits` keeps them; 0: no limit."""
    rates = {"requests": parameters.max_requests_per_second, "bytes": parameters.max_bytes_per_second}
    return {f"{side}.{name}": float(rate or 0) for side in ("source", "dest") for name, rate in rates.items()}


async def open_route(
    parameters: S3Parameters,
    transport: Transport,
    secrets: SecretStore,
    limits: Limits | None = None,
    *,
    attempts: int = ATTEMPTS,
) -> Route:
    """Both sides of a task, ready for requests, each of which is tried so many times. Nothing is asked of them, but the
    region of an AWS bucket that came without one. Raises UsageError for what cannot be."""
    parameters = _without_aws_defaults(parameters)
    rates = await limits.rates() if limits else {}
    opened = (parameters, transport, secrets, limits, rates, attempts)
    source = await _open_side(_source_endpoint(parameters), "source", *opened)
    dest = await _open_side(_dest_endpoint(parameters), "dest", *opened)
    if parameters.dest_acl and not dest.capabilities.acl:
        if "dest_acl" in parameters.model_fields_set:
            raise UsageError(f"destination: {dest.endpoint.profile.name} takes no ACLs; leave the ACL out")
        dest.capabilities.note(f"{dest.endpoint.profile.name} takes no ACLs; objects are written without")
    if parameters.src_etags is not SourceEtags.AUTO:
        source.capabilities.etags = EtagKind(parameters.src_etags.lower())
    one_store = source.endpoint.url == dest.endpoint.url
    keys = key_map(parameters)
    if one_store:
        _refuse_overlap(parameters, source, dest)
    server_side = (
        parameters.server_side_copy
        and one_store
        and await source.credentials.keys() == await dest.credentials.keys()
    )
    return Route(source, dest, keys, parameters, Budget(parameters.memory_budget), transport, server_side)


def resolve_endpoints(parameters: S3Parameters) -> tuple[Endpoint, Endpoint]:
    """Source and destination, without asking anybody."""
    return _source_endpoint(parameters), _dest_endpoint(parameters)


def endpoint_of(parameters: S3Parameters, side: str) -> Endpoint:
    """That of "source" or "destination"."""
    return _source_endpoint(parameters) if side == "source" else _dest_endpoint(parameters)


async def open_side(
    parameters: S3Parameters,
    side: str,
    transport: Transport,
    secrets: SecretStore,
    *,
    attempts: int = ATTEMPTS,
) -> S3Client:
    """One side alone, "source" or "destination"."""
    name = "source" if side == "source" else "dest"
    return await _open_side(
        endpoint_of(parameters, side), name, parameters, transport, secrets, None, {}, attempts
    )


async def open_source(parameters: S3Parameters, transport: Transport, secrets: SecretStore) -> S3Client:
    return await open_side(parameters, "source", transport, secrets)


def key_map(parameters: S3Parameters) -> KeyMap:
    """How source keys become destination keys."""
    if not parameters.dest_keeps_src_prefix:
        return KeyMap(parameters.src_prefix, parameters.dest_prefix)
    prefix = parameters.dest_prefix
    return KeyMap("", f"{prefix}/" if prefix and not prefix.endswith("/") else prefix)


def object_filter(parameters: S3Parameters) -> Filter:
    return Filter(
        include=parameters.include_patterns,
        exclude=parameters.exclude_patterns,
        min_size=parameters.min_size or 0,
        max_size=parameters.max_size,
        modified_since=_listing_time(parameters.modified_since),
        modified_before=_listing_time(parameters.modified_before),
        storage_classes=frozenset(parameters.src_storage_classes),
    )


def describe_source(parameters: S3Parameters) -> str:
    return f"s3://{PurePosixPath(parameters.src_bucket)}/{parameters.src_prefix}"


def _without_aws_defaults(parameters: S3Parameters) -> S3Parameters:
    """Storage class and ACL have their defaults for AWS destinations only."""
    if _dest_endpoint(parameters).is_aws:
        return parameters
    unset = {"dest_storage_class", "dest_acl"} - parameters.model_fields_set
    return parameters.model_copy(update=dict.fromkeys(unset))


def _source_endpoint(parameters: S3Parameters) -> Endpoint:
    return resolve_endpoint(
        url=parameters.src_endpoint,
        region=parameters.src_region,
        kind=parameters.src_type or "",
        addressing=parameters.src_addressing_style,
        connect=ConnectOptions(parameters.src_ca_bundle, parameters.src_proxy),
        requester_pays=parameters.is_payer_request,
    )


def _dest_endpoint(parameters: S3Parameters) -> Endpoint:
    return resolve_endpoint(
        url=parameters.dest_endpoint,
        region=parameters.dest_region,
        kind=parameters.dest_type or "",
        addressing=parameters.dest_addressing_style,
        checksum=parameters.checksum_mode,
        connect=ConnectOptions(parameters.dest_ca_bundle, parameters.dest_proxy),
    )


def credential_source(parameters: S3Parameters, side: str) -> CredentialSource:
    """How the task authenticates at its "source" or "dest"."""
    prefix = "src" if side == "source" else "dest"
    return CredentialSource(
        anonymous=side == "source" and parameters.src_anonymous,
        secret=getattr(parameters, f"{prefix}_credentials"),
        profile=getattr(parameters, f"{prefix}_profile"),
        role_arn=getattr(parameters, f"{prefix}_role_arn"),
        external_id=getattr(parameters, f"{prefix}_external_id"),
        region=getattr(parameters, f"{prefix}_region"),
    )


async def _open_side(
    endpoint: Endpoint,
    side: str,
    parameters: S3Parameters,
    transport: Transport,
    secrets: SecretStore,
    limits: Limits | None,
    rates: Mapping[str, float],
    attempts: int,
) -> S3Client:
    is_source = side == "source"
    bucket = parameters.src_bucket if is_source else parameters.dest_bucket
    given_url = parameters.src_endpoint if is_source else parameters.dest_endpoint
    source = credential_source(parameters, side)
    requests, sent = (
        [Cap(limits, name, rates.get(name, 0.0)) for name in (f"{side}.requests", f"{side}.bytes")]
        if limits
        else (None, None)
    )
    gate = Gate(maximum=LANE_REQUESTS * parameters.worker_number)

    def client(endpoint: Endpoint) -> S3Client:
        return S3Client(
            transport,
            endpoint,
            bucket,
            resolve_credentials(source, secrets),
            side="source" if is_source else "destination",
            gate=gate,
            request_cap=requests,
            byte_cap=sent,
            attempts=attempts,
        )

    opened = client(endpoint)
    if endpoint.is_aws and not source.region and not given_url:
        found = await opened.find_region()
        if found and found != endpoint.region:
            opened = client(
                resolve_endpoint(
                    region=found,
                    kind=endpoint.profile.name,
                    addressing=endpoint.addressing,
                    checksum=endpoint.checksum,
                    connect=endpoint.connect,
                    requester_pays=endpoint.requester_pays,
                )
            )
    return opened


def _refuse_overlap(parameters: S3Parameters, source: S3Client, dest: S3Client) -> None:
    keys = key_map(parameters)
    here = Place(source.endpoint.url, source.bucket, parameters.src_prefix)
    there = Place(dest.endpoint.url, dest.bucket, keys.to_dest(parameters.src_prefix))
    if overlaps(here, there):
        raise UsageError(
            f"source and destination overlap: s3://{here.bucket}/{here.prefix} and s3://{there.bucket}/{there.prefix} "
            "are in one store, and one lies in the other"
        )


def _listing_time(moment: float | None) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S") if moment is not None else ""
