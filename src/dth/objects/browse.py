"""Looks into a store for people: its buckets, the keys below a prefix, one object; and a new
bucket. Answers are bounded, and problems are in the answer and not raised."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from dth.core.errors import (
    EndpointRefused,
    ListingFailed,
    NotSupported,
    ObjectRefused,
    SourceGone,
    TransferError,
)
from dth.core.plugin import Process
from dth.core.secrets import SecretStore
from dth.core.transport import Transport
from dth.objects.checks.notes import SideTrouble
from dth.objects.listing.pages import PrefixListing
from dth.objects.parameters import S3Parameters
from dth.objects.store.answers import parse_xml
from dth.objects.store.client import S3Client
from dth.objects.store.request import Request
from dth.objects.task import bucket_of, endpoint_of, open_side

MAX_BUCKETS = 1000
PAGE = 200  # keys and folders
MAX_PAGE = 1000
LONGEST = 20.0  # seconds
META = "x-amz-meta-"
NOTHING: Mapping[str, str] = {}
# What is shown of an object besides its own metadata, by header.
SHOWN = {
    "content-length": "size",
    "last-modified": "modified",
    "etag": "etag",
    "content-type": "contentType",
    "content-encoding": "contentEncoding",
    "content-disposition": "contentDisposition",
    "content-language": "contentLanguage",
    "cache-control": "cacheControl",
    "expires": "expires",
    "x-amz-storage-class": "storageClass",
    "x-amz-restore": "restore",
    "x-amz-archive-status": "archiveStatus",
    "x-amz-version-id": "version",
    "x-amz-server-side-encryption": "encryption",
    "x-amz-object-lock-mode": "lockMode",
    "x-amz-object-lock-retain-until-date": "lockedUntil",
    "x-amz-replication-status": "replication",
}

Look = Callable[[S3Client, Mapping[str, str]], Awaitable[dict[str, Any]]]


async def look(process: Process) -> dict[str, Any]:
    """Look into a store, as a process of a hub, and return the answer as JSON can hold it."""
    return await look_into(
        process.kind, process.parameters, process.name, process.secrets, process.asked
    )


async def look_into(
    kind: str,
    parameters: S3Parameters,
    side: str,
    secrets: SecretStore,
    asked: Mapping[str, str] = NOTHING,
    names: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The answer to a look of this kind (one of `LOOKS`), for one side of a task. `ok`, `message`,
    `advice` and `detail` are as in a probe. `names`: the user's names of the parameters (by default
    those of tasks)."""
    if kind == "buckets":
        # The bucket may be part of the host's name, and may not exist.
        start = "src" if side == "source" else "dest"
        parameters = parameters.model_copy(update={f"{start}_bucket": ""})
    endpoint, bucket = endpoint_of(parameters, side), bucket_of(parameters, side)
    try:
        with Transport() as transport:
            client = await open_side(parameters, side, transport, secrets, attempts=2)
            async with asyncio.timeout(LONGEST):
                found = await LOOKS[kind](client, asked)
    except TimeoutError:
        advice = f"See that {endpoint.url} can be reached from here."
        return _failed(f"The store did not answer within {LONGEST:g} seconds.", advice)
    except TransferError as error:
        cause = error.__cause__ if isinstance(error, ListingFailed) else error
        error = cause if isinstance(cause, TransferError) else error
        trouble = SideTrouble.of(error, side, endpoint, bucket, names=names)
        return _failed(_sentence(trouble.meaning), _sentence(trouble.todo), trouble.error)
    return {"ok": True, "message": "", "advice": "", "detail": ""} | found


async def _buckets(client: S3Client, asked: Mapping[str, str]) -> dict[str, Any]:
    return await buckets_of(client)


async def buckets_of(client: S3Client) -> dict[str, Any]:
    """The buckets of a store; `client` has none. `listed`: whether the keys may list them. Raises
    TransferError."""
    try:
        response = await client.send(Request("GET"))
    except (ObjectRefused, NotSupported) as error:
        if await client.credentials.keys() is None:
            return _failed(
                "The store answers, but lists its buckets to nobody without a signature.",
                detail=str(error),
            )
        # The store checks a signature before it looks at rights.
        message = (
            "The store accepts the keys, but they may not list the buckets: type the name of "
            "the bucket."
        )
        return {
            "message": message,
            "detail": str(error),
            "buckets": [],
            "more": False,
            "listed": False,
        }
    root = parse_xml(response.body)
    if root.tag != "ListAllMyBucketsResult":
        raise EndpointRefused(
            f"{client.where('GET', '')}: no list of buckets in the answer",
            code="NoListing",
            status=200,
        )
    buckets = [
        {"name": each.findtext("Name") or "", "created": each.findtext("CreationDate") or ""}
        for each in root.iter("Bucket")
    ]
    more = len(buckets) > MAX_BUCKETS or bool(root.findtext("ContinuationToken"))
    count = "1 bucket" if len(buckets) == 1 else f"{len(buckets)} buckets"
    message = f"The store accepts the keys and shows {count}."
    return {"message": message, "buckets": buckets[:MAX_BUCKETS], "more": more, "listed": True}


async def _browse(client: S3Client, asked: Mapping[str, str]) -> dict[str, Any]:
    prefix, limit = asked.get("prefix", ""), min(int(asked.get("count") or PAGE), MAX_PAGE)
    listing = PrefixListing(
        client, prefix, attempts=2, delimiter="/", first_version=client.first_version
    )
    page = await listing.page(token=asked.get("token", ""), limit=limit)
    return {
        "prefixes": [_text(each) for each in page.prefixes],
        "objects": [
            {
                "key": _text(entry.key),
                "size": entry.size,
                "modified": f"{entry.modified}Z" * bool(entry.modified),
                "storageClass": entry.storage_class,
                "etag": entry.etag,
            }
            for entry in page.entries
        ],
        "token": page.token,
    }


async def _object(client: S3Client, asked: Mapping[str, str]) -> dict[str, Any]:
    key = asked.get("key", "")
    try:
        headers = (await client.head(key)).headers
    except SourceGone:
        return _failed(f"There is no object {key!r}.", "See whether it was deleted or renamed.")
    tags, noted = [], ""
    try:
        tags = parse_qsl(await client.tags(key), keep_blank_values=True)
    except TransferError as error:
        noted = f"The tags cannot be read: {error}"
    return {
        "properties": [
            {"name": shown, "value": headers[name]}
            for name, shown in SHOWN.items()
            if headers.get(name)
        ],
        "metadata": [
            {"name": name.removeprefix(META), "value": value}
            for name, value in headers.items()
            if name.startswith(META)
        ],
        "tags": [{"name": name, "value": value} for name, value in tags],
        "detail": noted,
    }


async def _create_bucket(client: S3Client, asked: Mapping[str, str]) -> dict[str, Any]:
    region = client.endpoint.region
    body = b""
    # us-east-1 is the one region of AWS that may not be named. Other stores ignore the document, or
    # know no regions.
    if client.endpoint.is_aws and region != "us-east-1":
        place = f"<LocationConstraint>{escape(region)}</LocationConstraint>"
        body = f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>".encode()
    try:
        await client.request("PUT", body=body, attempts=1)
    except TransferError as error:
        if error.code == "BucketAlreadyOwnedByYou":
            return _failed(f"The bucket {client.bucket!r} is yours already.", detail=str(error))
        if error.code == "BucketAlreadyExists":
            advice = "Choose another name: somebody else has this one."
            return _failed(f"There is a bucket {client.bucket!r} already.", advice, str(error))
        if isinstance(error, ObjectRefused):
            what = f"The store does not make the bucket {client.bucket!r}."
            return _failed(what, "Let somebody make it who may.", str(error))
        raise
    return {"message": f"The bucket {client.bucket!r} was made.", "bucket": client.bucket}


LOOKS: dict[str, Look] = {
    "buckets": _buckets,
    "browse": _browse,
    "object": _object,
    "createBucket": _create_bucket,
}


def _failed(message: str, advice: str = "", detail: str = "") -> dict[str, Any]:
    return {"ok": False, "message": message, "advice": advice, "detail": detail}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""


def _text(key: str) -> str:
    """A key in a form that JSON can contain: bytes that are not UTF-8 become U+FFFD."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
