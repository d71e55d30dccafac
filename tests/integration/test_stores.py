"""Every store of the tests as source and as destination: what differs is found out, and nothing is
lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from dth.core.errors import (
    EndpointRefused,
    NoSuchUpload,
    ObjectChanged,
    ObjectRefused,
    SourceGone,
    TransferError,
)
from dth.core.transport import Transport
from dth.objects.listing.pages import KeyMap, PrefixListing, pages
from dth.objects.parameters import S3Parameters
from dth.objects.store.checksums import checksum
from dth.objects.store.endpoints import ChecksumMode
from dth.objects.store.pace import Budget
from dth.objects.transfer.messages import ObjectItem
from dth.objects.transfer.relay import ObjectRoute, copy_in_store, relay_whole
from tests.clients import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from dth.objects.store.client import S3Client
    from tests.servers.ministack import MiniStack
    from tests.servers.s3 import S3Server

pytestmark = pytest.mark.quick

MIB = 1024 * 1024
STORES = ["s3_b", "s3_tls", "s3_moto", "s3_rclone"]
# What rclone refuses (parts of a path that are empty or dots), changes (control characters), or
# loses (a slash at the end): a task tells so before it starts.
RCLONE_KEYS = [
    "a",
    "ab",
    '"quotes"',
    "back\\slash",
    "a+b c%20",
    "%2F",
    "é",
    "e\u0301",
    "漢字/😀",
    " x ",
    "~;=@&<>?#",
]
KEYS = [*RCLONE_KEYS, "a//b", "/lead", "x/../y", "trail/", "tab\t", "k" * 1024]


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    transport.close()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> S3Server:
    server: S3Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def bucket(store: S3Server) -> Iterator[str]:
    yield from a_bucket(store)


@pytest.fixture
def other_bucket(store: S3Server) -> Iterator[str]:
    yield from a_bucket(store)


def a_bucket(store: S3Server) -> Iterator[str]:
    name = store.bucket("store")
    yield name
    with contextlib.suppress(
        ClientError
    ):  # rclone says "NoSuchUpload" when asked for uploads that are not there
        store.drop(name)


@pytest.fixture
def client(transport: Transport, store: S3Server, bucket: str) -> S3Client:
    """A client of an empty bucket in the store."""
    return connect(transport, store, bucket)


@pytest.fixture
def source(transport: Transport, s3_a: MiniStack, bucket_a: str) -> S3Client:
    return connect(transport, s3_a, bucket_a)


def route(source: S3Client, dest: S3Client, transport: Transport, **parameters: Any) -> ObjectRoute:
    task = S3Parameters.model_validate({"dest_storage_class": None, "dest_acl": None, **parameters})
    return ObjectRoute(source, dest, KeyMap(), task, Budget(64 * MIB), transport, server_side=False)


async def listed(client: S3Client) -> list[str]:
    return [entry.key async for page in pages(PrefixListing(client, "")) for entry in page.entries]


def keys_for(store: S3Server) -> list[str]:
    return RCLONE_KEYS if type(store).__name__ == "RcloneServe" else KEYS


# ---------------------------------------------------------------------------------------- one store


async def test_objects_come_and_go(client: S3Client, store: S3Server) -> None:
    keys = keys_for(store)
    bodies = {key: f"body of {key}".encode() for key in keys}
    proofs = [(await client.put(key, [body], {})).proof for key, body in bodies.items()]
    assert proofs == [
        f"crc64nvme:{checksum(ChecksumMode.CRC64NVME, [body])}" for body in bodies.values()
    ]
    assert sorted(await listed(client)) == sorted(keys)
    for key, body in bodies.items():
        answer = await client.get(key, size=len(body))
        etag = answer.headers["etag"].strip('"')
        assert answer.body == body
        assert (await client.get(key, size=len(body), etag=etag, span=(2, 5))).body == body[2:6]
        assert (await client.head(key, etag=etag)).headers["content-length"] == str(len(body))
        with pytest.raises(ObjectChanged):
            await client.get(key, size=len(body), etag="0" * 32)
        with pytest.raises(ObjectChanged):
            await client.head(key, etag="0" * 32)
    for key in keys:
        await client.delete(key)
        await client.delete(key)
        with pytest.raises(SourceGone):
            await client.get(key, size=1)
        with pytest.raises(SourceGone):
            await client.head(key)
    assert await listed(client) == []


async def test_empty_and_large_bodies(client: S3Client) -> None:
    body = random.Random(1).randbytes(9 * MIB)
    await client.put("empty", [b""], {})
    await client.put("large", [body[:MIB], body[MIB:]], {})
    assert (await client.get("empty", size=0)).body == b""
    assert (await client.get("large", size=9 * MIB)).body == body


@pytest.mark.parametrize("mode", ChecksumMode)
async def test_every_checksum_can_be_sent(client: S3Client, mode: ChecksumMode) -> None:
    client.capabilities.wanted = mode
    written = await client.put("k", [b"some ", b"body"], {})
    value = checksum(mode, [b"some body"])
    assert written.proof == (f"{mode}:{value}" if value else "")
    assert client.capabilities.checksum is mode
    assert (await client.get("k", size=9)).body == b"some body"


async def test_parts_are_joined(client: S3Client) -> None:
    bodies = [random.Random(n).randbytes(5 * MIB) for n in range(2)] + [b"the end"]
    upload = await client.create_upload("a", {"content-type": "text/plain"})
    neighbour = await client.create_upload("ab", {})
    sent = [client.upload_part("a", upload, n, [body]) for n, body in enumerate(bodies, 1)]
    parts = [(n, part.etag, part.proof) for n, part in enumerate(await asyncio.gather(*sent), 1)]
    assert [found.upload_id for found in await client.uploads("a")] == [upload]
    assert [found.upload_id for found in await client.uploads("ab")] == [neighbour]
    etag, _ = await client.complete_upload("a", upload, parts)
    assert etag.endswith("-3")
    size = sum(map(len, bodies))
    answer = await client.get("a", size=size)
    assert answer.body == b"".join(bodies)
    assert answer.headers["content-type"] == "text/plain"
    edge = 5 * MIB
    assert (await client.get("a", size=size, span=(edge - 1, edge))).body == answer.body[
        edge - 1 : edge + 1
    ]
    await client.abort_upload("ab", neighbour)
    await client.abort_upload("ab", neighbour)
    assert await client.uploads("ab") == []
    # moto answers 500 to a part of what is gone.
    with pytest.raises(TransferError) as error:
        await client.upload_part("ab", neighbour, 1, [b"x"])
    assert isinstance(error.value, NoSuchUpload) or error.value.status == 500


async def test_a_bucket_that_is_missing_is_no_missing_object(
    transport: Transport, store: S3Server
) -> None:
    """An object that is gone is cancelled, or deleted at the destination; a bucket that is gone
    pauses the task."""
    nowhere = connect(transport, store, "there-is-no-such-bucket")
    for attempt in (
        nowhere.head("k"),
        nowhere.get("k", size=1),
        nowhere.put("k", [b"x"], {}),
        nowhere.delete("k"),
        nowhere.create_upload("k", {}),
        nowhere.request("GET", query={"list-type": "2"}),
    ):
        with pytest.raises(EndpointRefused, match="there-is-no-such-bucket"):
            await attempt


# --------------------------------------------------------------------------------- as a destination


async def test_objects_are_relayed_with_what_describes_them(
    transport: Transport,
    source: S3Client,
    s3_a: MiniStack,
    bucket_a: str,
    client: S3Client,
    store: S3Server,
) -> None:
    described = {
        "content-type": "text/html; charset=utf-8",
        "content-disposition": 'attachment; filename="a.html"',
        "content-language": "de",
        "content-encoding": "gzip",
        "cache-control": "max-age=60",
        "x-amz-meta-owner": "me, myself",
    }
    tagged = {"x-amz-tagging": "a=1&b=2%2B3%20%3D"}
    over = route(source, client, transport)
    keys = keys_for(store)
    for number, key in enumerate(keys):
        s3_a.put(bucket_a, key, b"%d" % number * (number * 1000 + 1), {**described, **tagged})
    items = [ObjectItem(entry.key, entry.size, entry.etag) for entry in await entries(source)]
    assert len(items) == len(keys)
    copies = await asyncio.gather(*(relay_whole(over, item) for item in items))
    for item, copied in zip(items, copies, strict=True):
        assert copied.etag == copied.dest_etag == item.etag
        answer = await client.get(item.key, size=item.size)
        assert answer.body == s3_a.get(bucket_a, item.key)
        kept = {name: answer.headers.get(name) for name in described}
        if type(store).__name__ == "RcloneServe":  # keeps no more of them
            assert kept["content-type"] == described["content-type"]
        else:
            assert kept == described
            assert (
                await client.tags(item.key)
                == await source.tags(item.key)
                == tagged["x-amz-tagging"]
            )
    assert client.capabilities.refused == set()


async def entries(client: S3Client) -> list[Any]:
    return [entry for page in await all_pages(client) for entry in page.entries]


async def all_pages(client: S3Client) -> list[Any]:
    return [page async for page in pages(PrefixListing(client, ""))]


async def test_what_is_asked_for_reaches_the_store(
    transport: Transport,
    source: S3Client,
    s3_a: MiniStack,
    bucket_a: str,
    client: S3Client,
    store: S3Server,
) -> None:
    s3_a.put(bucket_a, "k", b"body")
    over = route(
        source,
        client,
        transport,
        dest_storage_class="STANDARD_IA",
        dest_put_object_sse_type="AES256",
    )
    await relay_whole(over, ObjectItem("k", 4, ""))
    if type(store).__name__ == "RcloneServe":
        return
    answer = await client.head("k")
    assert answer.headers.get("x-amz-storage-class") == "STANDARD_IA"
    assert answer.headers.get("x-amz-server-side-encryption") == "AES256"


async def test_acls_are_left_out_where_the_store_takes_none(
    transport: Transport,
    source: S3Client,
    s3_a: MiniStack,
    bucket_a: str,
    client: S3Client,
    store: S3Server,
) -> None:
    """As on AWS: a bucket with ACLs disabled refuses them. The default is left out, but not what
    was asked for."""
    for number in range(5):
        s3_a.put(bucket_a, f"k{number}", b"body")
    over = route(source, client, transport)
    over.parameters = S3Parameters.model_validate(
        {"dest_storage_class": None, "dest_acl": "public-read"}
    )
    over.parameters.model_fields_set.discard("dest_acl")
    await asyncio.gather(*(relay_whole(over, ObjectItem(f"k{n}", 4, "")) for n in range(5)))
    assert await listed(client) == [f"k{n}" for n in range(5)]
    refused = type(store).__name__ == "MiniStack"
    assert client.capabilities.acl is not refused
    assert any("takes no ACLs" in note for note in client.capabilities.notes) is refused
    if refused:
        asked = route(source, client, transport, dest_acl="public-read")
        with pytest.raises(ObjectRefused, match="AccessControlListNotSupported"):
            await relay_whole(asked, ObjectItem("k1", 4, ""))


# -------------------------------------------------------------------------------------- as a source


async def test_objects_are_relayed_from_every_store(
    transport: Transport, client: S3Client, store: S3Server, s3_a: MiniStack, bucket_a: str
) -> None:
    dest = connect(transport, s3_a, bucket_a)
    over = route(client, dest, transport)
    for key in keys_for(store):
        await client.put(key, [key.encode()], {"content-type": "a/b", "x-amz-meta-owner": "me"})
    for entry in await entries(client):
        await relay_whole(over, ObjectItem(entry.key, entry.size, entry.etag))
        answer = await dest.get(entry.key, size=entry.size)
        assert answer.body == entry.key.encode()
        assert answer.headers["content-type"] == "a/b"
        assert answer.headers["x-amz-meta-owner"] == "me"
    await client.put("changed", [b"old"], {})
    listed_etag = (await client.head("changed")).headers["etag"].strip('"')
    await client.put("changed", [b"new"], {})
    with pytest.raises(ObjectChanged):
        await relay_whole(over, ObjectItem("changed", 3, listed_etag))
    with pytest.raises(SourceGone):
        await dest.head("changed")


async def test_objects_are_copied_within_every_store(
    transport: Transport, client: S3Client, store: S3Server, other_bucket: str
) -> None:
    other = client.for_bucket(other_bucket)
    over = route(client, other, transport)
    over.server_side = True
    headers = {"content-type": "a/b", "x-amz-meta-owner": "me", "x-amz-tagging": "a=1"}
    for key in keys_for(store):
        await client.put(key, [key.encode()], headers)
    for entry in await entries(client):
        copied = await copy_in_store(over, ObjectItem(entry.key, entry.size, entry.etag))
        if copied is None:
            copied = await relay_whole(over, ObjectItem(entry.key, entry.size, entry.etag))
        answer = await other.get(entry.key, size=entry.size)
        assert answer.body == entry.key.encode()
        assert answer.headers["content-type"] == "a/b"
        assert answer.headers["etag"].strip('"') == copied.dest_etag
        if type(store).__name__ != "RcloneServe":
            assert await other.tags(entry.key) == "a=1"
    with pytest.raises((SourceGone, ObjectChanged, ObjectRefused)):
        await copy_in_store(over, ObjectItem("none", 1, ""))
