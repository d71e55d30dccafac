"""The S3 client against real stores: keys, conditions, metadata, errors, and stores that take less
than AWS."""

from __future__ import annotations

import asyncio
import random
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import (
    Corrupted,
    Damaged,
    Disposition,
    EndpointRefused,
    HubError,
    NoSuchUpload,
    NotSupported,
    ObjectArchived,
    ObjectChanged,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
)
from dth.core.transport import Pipe, Response, Transport
from dth.objects.listing.pages import KeyMap, PrefixListing, pages
from dth.objects.parameters import S3Parameters
from dth.objects.store import immediate_retry
from dth.objects.store.answers import classify, parse_error, parse_time
from dth.objects.store.capabilities import Feature
from dth.objects.store.checksums import checksum
from dth.objects.store.client import S3Client
from dth.objects.store.endpoints import Addressing, ChecksumMode
from dth.objects.store.etags import SOURCE_ETAG
from dth.objects.store.objects import StoreWrite
from dth.objects.store.pace import Budget, Cap
from dth.objects.store.signing import quote_key
from dth.objects.transfer.messages import ObjectItem
from dth.objects.transfer.relay import ObjectRoute, relay_whole
from dth.platforms.local.platform import open_platform
from tests.clients import Fixed, connect
from tests.servers.proxy import Corrupt, Proxy, Reply, RequestHeaders, ResponseHeaders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.ministack import MiniStack
    from tests.servers.moto_server import MotoServer

pytestmark = pytest.mark.quick

MIB = 1024 * 1024

ODD_KEYS = [
    *("a", "ab", '"quotes"', "it's", "back\\slash", "new\nline", "tab\tab", "carriage\rreturn"),
    *(
        "\x01\x02\x1f\x7f",
        "\x00",
        "a+b",
        "a b",
        "100%",
        "%2F",
        "%252F",
        "a//b",
        "/lead",
        "//",
        ".",
        "..",
    ),
    *(
        "./dot",
        "x/../y",
        "a/./b",
        "trail/",
        "trail//",
        " lead",
        "trail ",
        "&amp;<x>]]>",
        "?query=1&b",
    ),
    *(
        "#hash",
        "[a]{b}^`|",
        "~tilde",
        "=;:,@!$*()",
        "-dash",
        "é",
        "e\u0301",
        "漢字/😀",
        "\u2028",
        "\ufffe",
    ),
    *("k" * 1024, "é" * 512, "😀" * 256, "a" + "/b" * 500),
]
# moto's own router takes a newline for the end of a path.
MOTO_LACKS = {"new\nline"}


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    transport.close()


@pytest.fixture
def source(transport: Transport, proxy_a: Proxy, bucket_a: str) -> S3Client:
    """A client of `bucket_a`, through the proxy."""
    return connect(transport, proxy_a, bucket_a)


@pytest.fixture
def dest(transport: Transport, proxy_b: Proxy, bucket_b: str) -> S3Client:
    """A client of `bucket_b`, through the proxy."""
    return connect(transport, proxy_b, bucket_b)


def route(source: S3Client, dest: S3Client, transport: Transport, **parameters: Any) -> ObjectRoute:
    task = S3Parameters.model_validate({"dest_storage_class": None, "dest_acl": None, **parameters})
    return ObjectRoute(source, dest, KeyMap(), task, Budget(64 * MIB), transport, server_side=False)


async def listed(client: S3Client, prefix: str = "") -> list[str]:
    return [
        entry.key async for page in pages(PrefixListing(client, prefix)) for entry in page.entries
    ]


# --------------------------------------------------------------------------------------------- keys


async def check_keys(client: S3Client, keys: list[str]) -> None:
    bodies = {key: f"body of {key}".encode() for key in keys}
    for key, body in bodies.items():
        await client.put(key, [body], {})
    assert await listed(client) == sorted(keys)
    for key, body in bodies.items():
        response = await client.get(key, size=len(body))
        etag = response.headers["etag"].strip('"')
        assert response.body == body
        part = await client.get(key, size=len(body), etag=etag, span=(1, 3))
        assert part.body == body[1:4]
        assert (await client.head(key, etag=etag)).headers["content-length"] == str(len(body))
        assert key in await listed(client, key)
    for number, key in enumerate(sorted(keys, reverse=True), 1):
        await client.delete(key)
        with pytest.raises(SourceGone):
            await client.head(key)
        if number % 10 == 0:
            assert await listed(client) == sorted(keys)[:-number]
    assert await listed(client) == []


async def test_odd_keys_come_and_go_on_ministack(
    transport: Transport, s3_a: MiniStack, bucket_a: str
) -> None:
    await check_keys(connect(transport, s3_a, bucket_a), ODD_KEYS)


async def test_odd_keys_come_and_go_on_moto(transport: Transport, s3_moto: MotoServer) -> None:
    bucket = s3_moto.bucket()
    await check_keys(
        connect(transport, s3_moto, bucket), [key for key in ODD_KEYS if key not in MOTO_LACKS]
    )
    s3_moto.drop(bucket)


async def test_keys_go_on_the_wire_byte_for_byte(
    source: S3Client, proxy_a: Proxy, bucket_a: str
) -> None:
    keys = [*ODD_KEYS, "a\udcffb"]  # the last: a byte that is not UTF-8
    for key in keys:
        with pytest.raises(SourceGone):
            await source.head(key)
    heads = [request.target for request in proxy_a.seen("HEAD", ".")]
    assert heads == [f"/{bucket_a}/{quote_key(key)}" for key in keys]


async def test_odd_keys_are_signed_right(transport: Transport, s3_auth: MiniStack) -> None:
    allowed = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
    }
    access, secret = s3_auth.user(allowed)
    bucket = s3_auth.bucket()
    client = connect(transport, s3_auth, bucket, credentials=Fixed(access, secret))
    for key in ODD_KEYS:
        await client.put(key, [b"x"], {"x-amz-meta-utf8": "à  Å ".encode().decode("latin-1")})
        assert (await client.get(key, size=1)).body == b"x"
    assert await listed(client) == sorted(ODD_KEYS)
    stranger = connect(transport, s3_auth, bucket, credentials=Fixed(access, secret + "x"))
    with pytest.raises(EndpointRefused) as error:
        await stranger.get("a", size=1)
    assert error.value.code == "SignatureDoesNotMatch"
    s3_auth.drop(bucket)


async def test_the_bucket_may_be_in_the_host(
    transport: Transport, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    url = f"http://localhost:{proxy_a.port}"
    virtual = connect(transport, proxy_a, bucket_a, url=url, addressing=Addressing.VIRTUAL)
    proxy_a.rule(Reply(200, body=b""))
    await virtual.head("x//y")
    await virtual.request("GET", query={"list-type": "2"})
    path = connect(transport, proxy_a, bucket_a, url=url, addressing=Addressing.PATH)
    await path.head("x//y")
    await path.request("GET", query={"list-type": "2"})
    seen = [(request.headers.get("host"), request.target) for request in proxy_a.requests]
    assert seen == [
        (f"{bucket_a}.localhost:{proxy_a.port}", "/x//y"),
        (f"{bucket_a}.localhost:{proxy_a.port}", "/?list-type=2"),
        (f"localhost:{proxy_a.port}", f"/{bucket_a}/x//y"),
        (f"localhost:{proxy_a.port}", f"/{bucket_a}?list-type=2"),
    ]


# ------------------------------------------------------------------------------------ error classes

GENERATE = (
    "User: arn:aws:iam::1:user/u is not authorized to perform: kms:GenerateDataKey on resource: k"
)
DECRYPT = "User: arn:aws:iam::1:user/u is not authorized to perform: kms:Decrypt on resource: k"


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (503, "SlowDown", "", Throttled),
        (503, "", "", Throttled),
        (429, "", "", Throttled),
        (400, "SlowDown", "", Throttled),
        (200, "ServiceUnavailable", "", Throttled),
        (400, "RequestLimitExceeded", "", Throttled),
        (500, "InternalError", "", Transient),
        (502, "", "", Transient),
        (504, "", "", Transient),
        (507, "", "", Transient),
        (400, "RequestTimeout", "", Transient),
        (408, "", "", Transient),
        (400, "IncompleteBody", "", Transient),
        (409, "OperationAborted", "", Transient),
        (409, "ConditionalRequestConflict", "", Transient),
        (400, "BadDigest", "", Corrupted),
        (400, "XAmzContentChecksumMismatch", "", Corrupted),
        (403, "AccessDenied", "Access Denied", ObjectRefused),
        (403, "", "", ObjectRefused),
        (400, "InvalidStorageClass", "", ObjectRefused),
        (400, "MetadataTooLarge", "", ObjectRefused),
        (400, "EntityTooLarge", "", ObjectRefused),
        (400, "InvalidPart", "", ObjectRefused),
        (400, "", "", ObjectRefused),
        (409, "", "", ObjectRefused),
        (404, "NoSuchKey", "", SourceGone),
        (404, "NoSuchVersion", "", SourceGone),
        (404, "", "", SourceGone),
        (400, "NoSuchKey", "", SourceGone),  # in the body of a late 200
        (404, "NoSuchUpload", "", NoSuchUpload),
        (404, "NoSuchBucket", "", EndpointRefused),
        (400, "InvalidBucketName", "", EndpointRefused),
        (403, "InvalidAccessKeyId", "", EndpointRefused),
        (403, "SignatureDoesNotMatch", "", EndpointRefused),
        (403, "RequestTimeTooSkewed", "", EndpointRefused),
        (400, "ExpiredToken", "", EndpointRefused),
        (400, "InvalidToken", "", EndpointRefused),
        (400, "AuthorizationHeaderMalformed", "", EndpointRefused),
        (403, "AllAccessDisabled", "", EndpointRefused),
        (400, "KMS.DisabledException", "", EndpointRefused),
        (400, "KMS.NotFoundException", "", EndpointRefused),
        (403, "KMS.AccessDeniedException", "", EndpointRefused),
        (403, "AccessDenied", GENERATE, EndpointRefused),
        (
            403,
            "AccessDenied",
            DECRYPT,
            ObjectRefused,
        ),  # of this source object; others have other keys
        (301, "PermanentRedirect", "", EndpointRefused),
        (302, "", "", EndpointRefused),  # a portal on the way
        (307, "", "", EndpointRefused),
        (401, "", "", EndpointRefused),
        (407, "", "", EndpointRefused),
        (403, "InvalidObjectState", "", ObjectArchived),
        (412, "PreconditionFailed", "", ObjectChanged),
        (412, "", "", ObjectChanged),
        (400, "PreconditionFailed", "", ObjectChanged),  # in the body of a late 200
        (416, "InvalidRange", "", ObjectChanged),
        (501, "NotImplemented", "", NotSupported),
        (501, "", "", NotSupported),
        (400, "NotImplemented", "", NotSupported),
        (405, "MethodNotAllowed", "", NotSupported),
    ],
)
def test_an_answer_has_its_error_class(
    status: int, code: str, message: str, kind: type[TransferError]
) -> None:
    headers = {"x-amz-request-id": "R1", "retry-after": "7"}
    error = classify(Response(status, headers), code, message, "GET host/bucket key 'k\\n'")
    assert type(error) is kind
    assert (error.status, error.request_id, error.retry_after) == (status, "R1", 7.0)
    assert error.code == code or not code
    assert error.code
    assert "\n" not in str(error)
    assert str(error).startswith(f"GET host/bucket key 'k\\n': {status} {error.code}")


def test_every_error_class_says_what_to_do() -> None:
    expected = {
        Throttled: Disposition.RETRY,
        Corrupted: Disposition.RETRY,
        ObjectRefused: Disposition.REFUSED,
        ObjectArchived: Disposition.REFUSED,
        NotSupported: Disposition.REFUSED,
        SourceGone: Disposition.GONE,
        NoSuchUpload: Disposition.GONE,
        ObjectChanged: Disposition.CHANGED,
        EndpointRefused: Disposition.ENDPOINT,
    }
    assert {kind: kind.disposition for kind in expected} == expected


def test_an_error_document_is_read_in_any_dress() -> None:
    plain = b"<Error><Code>NoSuchKey</Code><Message>not\n here</Message></Error>"
    dressed = (
        b'<?xml version="1.0"?>\n<Error '
        b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Code>NotImplemented'
        b"</Code><Message>No.</Message><Header>x-amz-acl</Header></Error>"
    )
    assert parse_error(plain) == ("NoSuchKey", "not\n here")
    assert parse_error(dressed) == ("NotImplemented", "No. (x-amz-acl)")
    for other in (b"", b"<html>Error</html>", b"<Error", b"<ListBucketResult/>", b'{"Code": "x"}'):
        assert parse_error(other) == ("", "")


async def test_errors_of_real_stores(
    transport: Transport, source: S3Client, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    with pytest.raises(SourceGone, match="NoSuchKey"):
        await source.get("none", size=1)
    nowhere = connect(transport, proxy_a, "no-such-bucket")
    with pytest.raises(EndpointRefused, match="NoSuchBucket"):
        await nowhere.get("none", size=1)
    with pytest.raises(EndpointRefused, match="NoSuchBucket"):
        await nowhere.put("none", [b"x"], {})
    with pytest.raises(EndpointRefused, match="NoSuchBucket"):
        await nowhere.create_upload("none", {})
    with pytest.raises(NoSuchUpload):
        await source.upload_part("k", "no-such-upload", 1, [b"x"])
    with pytest.raises(NoSuchUpload):
        await source.complete_upload("k", "no-such-upload", [(1, "e", "")])
    await source.abort_upload("k", "no-such-upload")
    await source.delete("none")
    s3_a.put(bucket_a, "k", b"body")
    with pytest.raises(ObjectChanged):
        await source.get("k", size=99, span=(90, 98))


async def test_a_throttled_request_closes_the_gate_a_little(
    source: S3Client, proxy_a: Proxy
) -> None:
    proxy_a.rule(Reply(503, "SlowDown", headers={"Retry-After": "3"}))
    # As after a while, when as many as ever are in flight.
    source.gate.limit = before = 16.0
    async with source.gate, source.gate:
        with pytest.raises(Throttled) as error:
            await source.head("k")
    assert error.value.retry_after == 3
    assert source.gate.limit < before
    assert source.gate.in_flight == 0


async def test_the_reason_of_a_refused_head_is_asked_for(
    source: S3Client, proxy_a: Proxy, s3_a: MiniStack, bucket_a: str
) -> None:
    """An answer to HEAD has no body: revoked keys must pause the task, not give up each object."""
    s3_a.put(bucket_a, "k", b"body")
    for code, kind in (
        ("InvalidAccessKeyId", EndpointRefused),
        ("ExpiredToken", EndpointRefused),
        ("AccessDenied", ObjectRefused),
    ):
        rule = proxy_a.rule(Reply(400 if code == "ExpiredToken" else 403, code))
        with pytest.raises(kind, match=code):
            await source.head("k", etag="e")
        proxy_a.remove(rule)
    proxy_a.rule(Reply(403), method="HEAD")
    with pytest.raises(ObjectRefused, match=r"HEAD .* 403"):
        await source.head("k")


async def test_a_refusal_tells_how_far_the_clocks_are_apart(
    source: S3Client, proxy_a: Proxy
) -> None:
    away = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    proxy_a.rule(Reply(403, "RequestTimeTooSkewed", headers={"Date": away}))
    with pytest.raises(EndpointRefused):
        await source.get("k", size=1)
    assert 3595 < source.clock_offset < 3605


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<Error><Code>InternalError</Code><Message>We are sorry</Message></Error>", Transient),
        ("<Error><Code>SlowDown</Code></Error>", Throttled),
        ("<Error><Code>NoSuchUpload</Code></Error>", NoSuchUpload),
        ("<Error><Code>InvalidPart</Code></Error>", ObjectRefused),
        ("<Error><Code>AccessDenied</Code></Error>", ObjectRefused),
        ("<Error><Code>NoSuchBucket</Code></Error>", EndpointRefused),
        ("", Transient),  # spaces that keep the connection alive, and then nothing
        ("  \n", Transient),
        ("<html>fine</html>", Transient),
    ],
)
async def test_a_200_may_hold_an_error(
    source: S3Client,
    proxy_a: Proxy,
    s3_a: MiniStack,
    bucket_a: str,
    body: str,
    kind: type[TransferError],
) -> None:
    s3_a.put(bucket_a, "from", b"x")
    upload = await source.create_upload("k", {})
    proxy_a.rule(
        Reply(200, body=b'<?xml version="1.0"?>\n' * bool(body) + body.encode()), method="POST|PUT"
    )
    for attempt in (
        source.complete_upload("k", upload, [(1, "e", "")]),
        source.copy(source, "from", "k", "", {}),
        source.copy_part(source, "from", "k", upload, 1, "", (0, 0)),
    ):
        with pytest.raises(TransferError) as error:
            await attempt
        assert type(error.value) is kind


async def test_a_destination_that_says_404_has_lost_no_source(
    dest: S3Client, proxy_b: Proxy
) -> None:
    """A destination's 404 must not cancel the object as if the source had gone."""
    proxy_b.rule(Reply(404))
    with pytest.raises(ObjectRefused):
        await dest.put("k", [b"x"], {})
    with pytest.raises(ObjectRefused):
        await dest.create_upload("k", {})
    with pytest.raises(NoSuchUpload):
        await dest.upload_part("k", "u", 1, [b"x"])
    await dest.delete("k")  # some stores say so of what is gone already


async def test_answers_that_lack_what_matters_are_tried_again(
    dest: S3Client, proxy_b: Proxy
) -> None:
    proxy_b.rule(Reply(200, body=b"<InitiateMultipartUploadResult/>"), method="POST")
    with pytest.raises(Transient, match="no upload id"):
        await dest.create_upload("k", {})
    proxy_b.rule(Reply(200), method="PUT")
    with pytest.raises(Transient, match="no ETag"):
        await dest.upload_part("k", "u", 1, [b"x"])
    proxy_b.rule(Reply(200, body=b"not XML"), method="GET")
    with pytest.raises(Transient, match="not XML"):
        await dest.uploads("k")


async def test_corrupted_bodies_are_noticed(dest: S3Client, proxy_b: Proxy) -> None:
    proxy_b.rule(Corrupt(at=1, upload=True), method="PUT")
    for mode in (ChecksumMode.CRC64NVME, ChecksumMode.MD5, ChecksumMode.SHA256):
        dest.capabilities.wanted = mode
        with pytest.raises(Corrupted):
            await dest.put("k", [b"body"], {})
    # Stores that do not check, yet say what they stored.
    proxy_b.clear()
    proxy_b.rule(ResponseHeaders(set={"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}), method="PUT")
    dest.capabilities.wanted = ChecksumMode.CRC64NVME
    with pytest.raises(Damaged, match="the store holds crc64nvme AAAAAAAAAAA="):
        await dest.put("k", [b"body"], {})
    upload = await dest.create_upload("k", {})
    with pytest.raises(Corrupted):
        await dest.upload_part("k", upload, 1, [b"body"])


# ---------------------------------------------------------------------------------- the very object


@pytest.fixture(params=["If-Match", "no If-Match"])
def changing(request: pytest.FixtureRequest, source: S3Client, proxy_a: Proxy) -> S3Client:
    """A source that honours If-Match, and one that ignores it."""
    if request.param == "no If-Match":
        proxy_a.rule(RequestHeaders(remove="if-match"))
    return source


async def test_fault_03_another_object_is_never_taken_for_the_listed_one(
    changing: S3Client, s3_a: MiniStack, bucket_a: str
) -> None:
    old = s3_a.put(bucket_a, "k", b"old content").strip('"')
    assert (await changing.get("k", size=11, etag=old)).body == b"old content"
    assert (await changing.get("k", size=11, etag=old, span=(4, 10))).body == b"content"
    s3_a.put(bucket_a, "k", b"new content")  # of the same size
    for read in (
        changing.get("k", size=11, etag=old),
        changing.get("k", size=11, etag=old, span=(4, 10)),
        changing.get("k", size=11, etag=old, span=(4, 10), sink=Pipe(7)),
        changing.head("k", etag=old),
    ):
        with pytest.raises(ObjectChanged):
            await read


async def test_fault_03_a_size_that_differs_is_noticed_without_etags(
    source: S3Client, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    proxy_a.rule(ResponseHeaders(remove="etag"))
    proxy_a.rule(RequestHeaders(remove="if-match"))
    s3_a.put(bucket_a, "k", b"longer than it was")
    for read in (
        source.get("k", size=5, etag="e"),
        source.get("k", size=50, etag="e"),
        source.get("k", size=5, etag="e", span=(0, 4)),
        source.get("k", size=50, etag="e", span=(0, 4)),
    ):
        with pytest.raises(ObjectChanged):
            await read


async def test_fault_03_a_store_that_ignores_ranges_is_noticed(
    source: S3Client, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    s3_a.put(bucket_a, "k", b"0123456789")
    proxy_a.rule(RequestHeaders(remove="range"))
    with pytest.raises(ObjectChanged, match=r"asked for bytes 2-4/10, got the whole object"):
        await source.get("k", size=10, span=(2, 4))
    proxy_a.clear()
    proxy_a.rule(RequestHeaders(set={"Range": "bytes=3-5"}))
    with pytest.raises(ObjectChanged, match=r"asked for bytes 2-4/10, got bytes 3-5/10"):
        await source.get("k", size=10, span=(2, 4))


async def test_fault_03_an_upload_is_found_by_its_exact_key(
    source: S3Client, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    keys = ["a", "ab", "a/b", "a\nb", "a b+c%20", "é"]
    ids: dict[str, set[str]] = {key: set() for key in keys}
    for key in keys:
        for _ in range(3):
            ids[key].add(await source.create_upload(key, {}))
    for key in keys:
        found = await source.uploads(key)
        assert {upload.upload_id for upload in found} == ids[key]
        assert {upload.key for upload in found} == {key}
        assert all(abs(upload.initiated - time.time()) < 3600 for upload in found)
    assert await source.uploads("") == []
    assert await source.uploads("abc") == []
    await source.abort_upload("ab", ids["ab"].pop())
    assert {upload.upload_id for upload in await source.uploads("ab")} == ids["ab"]
    for key, uploads in ids.items():
        for upload_id in uploads:
            await source.abort_upload(key, upload_id)
        assert await source.uploads(key) == []


async def test_fault_03_uploads_come_in_pages(source: S3Client, proxy_a: Proxy) -> None:
    def page(uploads: list[tuple[str, str]], more: str) -> bytes:
        items = "".join(
            f"<Upload><Key>{k}</Key><UploadId>{u}</UploadId></Upload>" for k, u in uploads
        )
        return f"<R><EncodingType>url</EncodingType>{items}{more}</R>".encode()

    def truncated(key: str, upload: str) -> str:
        return (
            f"<IsTruncated>true</IsTruncated><NextKeyMarker>{key}</NextKeyMarker>"
            f"<NextUploadIdMarker>{upload}</NextUploadIdMarker>"
        )

    proxy_a.rule(Reply(200, body=page([("a+b", "1")], truncated("a+b", "1"))), nth=1)
    proxy_a.rule(
        Reply(200, body=page([("a+b", "2"), ("a+bc", "3")], truncated("a+bc", "3"))), nth=2
    )
    assert [upload.upload_id for upload in await source.uploads("a b")] == ["1", "2"]
    assert "key-marker=a%20b&prefix=a%20b&upload-id-marker=1" in proxy_a.requests[1].query
    # A store that says there is more, and not where: better what is known than for ever.
    proxy_a.clear()
    proxy_a.rule(Reply(200, body=page([("k", "1")], "<IsTruncated>true</IsTruncated>")))
    assert [upload.upload_id for upload in await source.uploads("k")] == ["1"]


async def test_listing_uploads_tells_the_stores_clock(source: S3Client, proxy_a: Proxy) -> None:
    """What is reaped was begun after our own upload, by the store's clock."""
    away = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() - 600))
    proxy_a.rule(ResponseHeaders(set={"Date": away}))
    await source.uploads("k")
    assert -605 < source.clock_offset < -595


# ----------------------------------------------------------------------------------------- metadata


async def test_fault_08_every_call_to_the_source_pays(
    transport: Transport,
    s3_a: MiniStack,
    bucket_a: str,
    bucket_b: str,
    proxy_a: Proxy,
    dest: S3Client,
) -> None:
    source = connect(transport, proxy_a, bucket_a, requester_pays=True)
    s3_a.put(bucket_a, "k", b"body", {"x-amz-tagging": "a=1"})
    await source.head("k")
    await source.get("k", size=4)
    await source.get("k", size=4, span=(0, 1))
    await source.tags("k")
    await source.head_bucket()
    await listed(source)
    await relay_whole(route(source, dest, transport), ObjectItem("k", 4, ""))
    assert len(proxy_a.requests) >= 8
    assert {request.headers.get("x-amz-request-payer") for request in proxy_a.requests} == {
        "requester"
    }
    proxy_a.forget()
    # A copy within the store is a request to the destination: the source is paid for there.
    inside = connect(transport, proxy_a, bucket_a)
    await inside.copy(source, "k", "k2", "", {})
    assert proxy_a.requests[0].headers.get("x-amz-request-payer") == "requester"
    proxy_a.forget()
    free = connect(transport, proxy_a, bucket_a)
    await free.head("k")
    assert proxy_a.requests[0].headers.get("x-amz-request-payer") is None


async def test_fault_08_metadata_of_every_kind_arrives(
    transport: Transport,
    source: S3Client,
    dest: S3Client,
    s3_a: MiniStack,
    bucket_a: str,
    bucket_b: str,
    proxy_a: Proxy,
    proxy_b: Proxy,
) -> None:
    described = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Disposition": 'attachment; filename="a  b.html"',
        "Content-Language": "de, en",
        "Cache-Control": "max-age=60, public",
        "Expires": "Thu, 01 Dec 2033 16:00:00 GMT",
        "x-amz-website-redirect-location": "/else where",
        "x-amz-meta-MixedCase": "Value",
        "x-amz-meta-spaces": "a  b",
    }
    raw = {"x-amz-meta-utf8": "à…Å".encode().decode("latin-1"), "x-amz-meta-latin": "\xa0\xff"}
    s3_a.put(bucket_a, "k", b"body", {**described, "x-amz-tagging": "a%20b=c%26d&e%3D=%C3%A9"})
    proxy_a.rule(
        ResponseHeaders(
            set={
                "Content-Encoding": "gzip, aws-chunked",
                "x-amz-tagging-count": "2",
                "x-amz-website-redirect-location": "/else where",
                **raw,
            }
        ),
        method="GET",
        when=lambda request: "tagging" not in request.query,
    )
    etag = (await source.head("k")).headers["etag"].strip('"')
    copied = await relay_whole(route(source, dest, transport), ObjectItem("k", 4, etag))
    assert copied.etag == etag
    (put,) = proxy_b.seen(method="PUT")
    for name, value in {**described, **raw, "Content-Encoding": "gzip"}.items():
        assert put.headers.get(name) == value, name
    assert put.headers.get(SOURCE_ETAG) is None  # the ETag is the MD5 on both sides
    assert await dest.tags("k") == await source.tags("k") == "a%20b=c%26d&e%3D=%C3%A9"
    answer = await dest.head("k")
    assert answer.headers["x-amz-meta-mixedcase"] == "Value"
    assert answer.headers["content-disposition"] == described["Content-Disposition"]


async def test_fault_08_our_own_entry_is_left_out_where_metadata_is_full(
    transport: Transport,
    source: S3Client,
    dest: S3Client,
    s3_a: MiniStack,
    bucket_a: str,
    proxy_a: Proxy,
    proxy_b: Proxy,
) -> None:
    parted = "0123456789abcdef0123456789abcdef-3"
    proxy_a.rule(ResponseHeaders(set={"ETag": f'"{parted}"'}))
    proxy_a.rule(RequestHeaders(remove="if-match"))
    for size, ours in ((10, parted), (2040, None)):
        s3_a.put(bucket_a, "k", b"body", {"x-amz-meta-full": "x" * size})
        proxy_b.forget()
        await relay_whole(route(source, dest, transport), ObjectItem("k", 4, parted))
        (put,) = proxy_b.seen(method="PUT")
        assert put.headers.get(SOURCE_ETAG) == ours
        assert len(put.headers.get("x-amz-meta-full") or "") == size


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(403, "AccessDenied"), ObjectRefused),
        (Reply(501, "NotImplemented"), ObjectRefused),
        (Reply(200, body=b"not XML"), ObjectRefused),
    ],
)
async def test_fault_08_tags_that_cannot_be_read_fail_the_object(
    transport: Transport,
    source: S3Client,
    dest: S3Client,
    s3_a: MiniStack,
    s3_b: MiniStack,
    bucket_a: str,
    bucket_b: str,
    proxy_a: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    reply: Reply,
    kind: type[HubError],
) -> None:
    monkeypatch.setattr(
        "dth.objects.store.immediate_retry.POLICY", replace(immediate_retry.POLICY, first=0.002)
    )
    s3_a.put(bucket_a, "k", b"body")
    proxy_a.rule(ResponseHeaders(set={"x-amz-tagging-count": "1"}), method="GET")
    proxy_a.rule(reply, query="tagging")
    with pytest.raises(kind):
        await relay_whole(route(source, dest, transport), ObjectItem("k", 4, ""))
    assert s3_b.keys(bucket_b) == []
    await relay_whole(route(source, dest, transport, copy_tags=False), ObjectItem("k", 4, ""))
    assert s3_b.keys(bucket_b) == ["k"]


# ------------------------------------------------------------------------------- what a store takes

HEADERS = {"x-amz-acl": "private", "x-amz-tagging": "a=1"}


def refuses(proxy: Proxy, header: str, reply: Reply) -> None:
    proxy.rule(reply, method="PUT|POST", when=lambda request: header in request.headers)


@pytest.mark.parametrize(
    ("header", "reply", "changed", "says"),
    [
        (
            "x-amz-checksum-crc64nvme",
            Reply(400, "InvalidRequest", "Checksum algorithm is not supported"),
            {"checksum": ChecksumMode.MD5},
            "refuses x-amz-checksum headers (InvalidRequest); bodies go with Content-MD5",
        ),
        (
            "x-amz-checksum-crc64nvme",
            Reply(501, "NotImplemented", "Header x-amz-checksum-crc64nvme is not implemented"),
            {"checksum": ChecksumMode.MD5},
            "refuses x-amz-checksum headers (NotImplemented); bodies go with Content-MD5",
        ),
        (
            "x-amz-acl",
            Reply(400, "AccessControlListNotSupported", "The bucket does not allow ACLs"),
            {"acl": False},
            "takes no ACLs (AccessControlListNotSupported); objects are written without",
        ),
        (
            "x-amz-tagging",
            Reply(
                400,
                "InvalidHeader",
                "Unsupported header 'x-amz-tagging' received for this API call.",
            ),
            {"tags": False},
            "takes no tags (InvalidHeader); objects are written without",
        ),
    ],
)
async def test_what_a_store_refuses_is_learned_once(
    dest: S3Client,
    s3_b: MiniStack,
    bucket_b: str,
    proxy_b: Proxy,
    header: str,
    reply: Reply,
    changed: dict[str, Any],
    says: str,
) -> None:
    refuses(proxy_b, header, reply)
    if header != "x-amz-acl":  # as on AWS nowadays, the store behind takes no ACLs
        proxy_b.rule(RequestHeaders(remove="x-amz-acl"))
    await asyncio.gather(*(dest.put(f"k{n}", [b"%d" % n], HEADERS) for n in range(20)))
    known = dest.capabilities
    known.notes = [note for note in known.notes if "does not answer" not in note]
    for name, value in (
        {"checksum": ChecksumMode.CRC64NVME, "acl": True, "tags": True} | changed
    ).items():
        assert getattr(known, name) == value
    assert known.notes == [f"{dest.endpoint.host} {says}"]
    before = len(proxy_b.requests)
    await dest.put("later", [b"x"], HEADERS)
    assert len(proxy_b.requests) == before + 1
    assert len(s3_b.keys(bucket_b)) == 21


async def test_a_refusal_that_names_nothing_is_tried_with_less(
    dest: S3Client, s3_b: MiniStack, bucket_b: str, proxy_b: Proxy
) -> None:
    for header in ("x-amz-checksum-crc64nvme", "content-md5", "x-amz-tagging"):
        refuses(
            proxy_b,
            header,
            Reply(501, "NotImplemented", "A header you provided is not implemented"),
        )
    for wave in range(3):
        keys = [f"{wave}{n}" for n in range(10)]
        await asyncio.gather(*(dest.put(key, [b"x"], {"x-amz-tagging": "a=1"}) for key in keys))
    known = dest.capabilities
    assert (known.checksum, known.tags) == (ChecksumMode.NONE, False)
    host = dest.endpoint.host
    assert known.notes == [
        f"{host} takes no tags (NotImplemented); objects are written without",
        f"{host} refuses Content-MD5 (NotImplemented)",
        f"{host} refuses checksums (NotImplemented); bodies go without",
    ]
    assert len(s3_b.keys(bucket_b)) == 30


async def test_only_what_a_refusal_that_names_nothing_is_about_is_left_out(
    dest: S3Client, proxy_b: Proxy
) -> None:
    refuses(proxy_b, "x-amz-tagging", Reply(400))
    await asyncio.gather(*(dest.put(f"k{n}", [b"x"], {"x-amz-tagging": "a=1"}) for n in range(10)))
    assert dest.capabilities.refused == {Feature.TAGS}
    assert dest.capabilities.checksum is ChecksumMode.CRC64NVME


async def test_a_header_that_the_store_names_apart_is_the_one(
    dest: S3Client, proxy_b: Proxy
) -> None:
    document = b"<Error><Code>NotImplemented</Code><Message>No.</Message><Header>x-amz-tagging</Header></Error>"
    refuses(proxy_b, "x-amz-tagging", Reply(501, body=document))
    await dest.put("k", [b"x"], {"x-amz-tagging": "a=1"})
    assert (dest.capabilities.checksum, dest.capabilities.tags) == (ChecksumMode.CRC64NVME, False)


async def test_an_object_that_is_refused_whatever_is_left_out_teaches_nothing(
    dest: S3Client, proxy_b: Proxy
) -> None:
    proxy_b.rule(
        Reply(400, "InvalidArgument", "Object name contains unsupported characters"), key="bad"
    )
    proxy_b.rule(RequestHeaders(remove="x-amz-acl"))
    for _ in range(2):
        with pytest.raises(ObjectRefused, match="unsupported characters"):
            await dest.put("bad", [b"x"], HEADERS)
    known = dest.capabilities
    assert (known.checksum, known.acl, known.tags) == (ChecksumMode.CRC64NVME, True, True)
    assert known.notes == []
    # What this one teaches: that the store answers no checksums, so that Content-MD5 goes along.
    await dest.put("good", [b"x"], HEADERS)
    before = len(proxy_b.requests)
    await dest.put("good", [b"x"], HEADERS)
    with pytest.raises(ObjectRefused):
        await dest.put("bad", [b"x"], HEADERS)
    assert len(proxy_b.requests) == before + 2


async def test_keys_do_not_look_like_the_stores_words(dest: S3Client, proxy_b: Proxy) -> None:
    """A refusal of `stage/tag/acl/checksum` says nothing about tags, ACLs and checksums."""
    proxy_b.rule(Reply(403, "AccessDenied", "Access Denied"))
    with pytest.raises(ObjectRefused):
        await dest.put("stage/tag/acl/checksum", [b"x"], HEADERS)
    assert len(proxy_b.requests) == 1


async def test_after_a_proven_write_a_refusal_is_a_refusal(dest: S3Client, proxy_b: Proxy) -> None:
    proxy_b.rule(RequestHeaders(remove="x-amz-acl"))
    await dest.put("k", [b"x"], {"x-amz-acl": "private"})
    for header in ("x-amz-acl", "x-amz-checksum-crc64nvme", "x-amz-tagging"):
        refuses(proxy_b, header, Reply(501, "NotImplemented", f"{header} is not implemented"))
    with pytest.raises(NotSupported):
        await dest.put("k", [b"x"], {"x-amz-acl": "private"})
    proxy_b.clear()
    # What was never sent before is not proven by it.
    refuses(
        proxy_b, "x-amz-tagging", Reply(501, "NotImplemented", "x-amz-tagging is not implemented")
    )
    await dest.put("k", [b"x"], {"x-amz-tagging": "a=1"})
    assert dest.capabilities.tags is False
    proxy_b.rule(Reply(400, "InvalidTag", "The tag provided was not a valid tag"))
    dest.capabilities.refused.discard(Feature.TAGS)
    with pytest.raises(ObjectRefused):
        await dest.put("k", [b"x"], {"x-amz-tagging": "a=1"})


async def test_what_a_store_refuses_of_multipart_uploads_is_learned(
    dest: S3Client, s3_b: MiniStack, bucket_b: str, proxy_b: Proxy
) -> None:
    proxy_b.rule(RequestHeaders(remove="x-amz-acl"))
    refusal = Reply(400, "InvalidRequest", "x-amz-checksum-algorithm is not supported")
    refuses(proxy_b, "x-amz-checksum-algorithm", refusal)
    refuses(proxy_b, "x-amz-checksum-crc64nvme", Reply(501, "NotImplemented", "checksum"))
    for key in ("one", "two"):
        upload = await dest.create_upload(key, HEADERS)
        bodies = [b"x" * 5 * MIB, b"y"]
        sent = [await dest.upload_part(key, upload, n, [body]) for n, body in enumerate(bodies, 1)]
        parts = [(n, part.etag, part.proof) for n, part in enumerate(sent, 1)]
        assert [proof.partition(":")[0] for _, _, proof in parts] == ["md5", "md5"]
        etag, _ = await dest.complete_upload(key, upload, parts)
        assert etag.endswith("-2")
        assert (await dest.head(key)).headers["content-length"] == str(5 * MIB + 1)
    assert len(dest.capabilities.notes) == 2
    assert proxy_b.count("POST", query="^uploads") == 3
    assert proxy_b.seen("POST", "two", "^uploads")[-1].headers.get("x-amz-tagging") == "a=1"


async def test_a_multipart_upload_is_proven_from_end_to_end(dest: S3Client, proxy_b: Proxy) -> None:
    upload = await dest.create_upload("k", {})
    bodies = [random.Random(n).randbytes(5 * MIB) for n in range(3)]
    sent = [
        dest.upload_part("k", upload, n, [body[:99], body[99:]]) for n, body in enumerate(bodies, 1)
    ]
    parts = [(n, done.etag, done.proof) for n, done in enumerate(await asyncio.gather(*sent), 1)]
    assert [proof for _, _, proof in parts] == [
        f"crc64nvme:{checksum(ChecksumMode.CRC64NVME, [body])}" for body in bodies
    ]
    _, answered = await dest.complete_upload("k", upload, parts)
    # MiniStack makes a checksum of checksums, and says so.
    assert answered == checksum(ChecksumMode.CRC64NVME, bodies) or answered.endswith("-3")
    assert (await dest.get("k", size=15 * MIB)).body == b"".join(bodies)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        ),
        Reply(400, "InvalidArgument", "Unknown header"),
        Reply(501),
    ],
)
@pytest.mark.parametrize("first", ["GET", "HEAD"])
async def test_a_store_without_if_match_is_compared_with(
    source: S3Client, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy, reply: Reply, first: str
) -> None:
    etag = s3_a.put(bucket_a, "k", b"body").strip('"')
    proxy_a.rule(reply, when=lambda request: "if-match" in request.headers)

    async def read() -> None:
        if first == "GET":
            assert (await source.get("k", size=4, etag=etag)).body == b"body"
        else:
            await source.head("k", etag=etag)

    await asyncio.gather(*(read() for _ in range(10)))
    assert Feature.IF_MATCH in source.capabilities.refused
    [note] = source.capabilities.notes
    assert re.fullmatch(
        rf"{source.endpoint.host} knows no If-Match \(\w+\); ETags of answers are compared instead",
        note,
    )
    before = len(proxy_a.requests)
    await source.get("k", size=4, etag=etag)
    await source.head("k", etag=etag)
    assert len(proxy_a.requests) == before + 2
    with pytest.raises(ObjectChanged):
        await source.get("k", size=4, etag="another")
    with pytest.raises(ObjectChanged):
        await source.head("k", etag="another")


async def test_a_bad_object_does_not_unlearn_if_match(
    source: S3Client, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    proxy_a.rule(Reply(400, "InvalidArgument", "no such version"), key="bad")
    with pytest.raises(ObjectRefused):
        await source.get("bad", size=4, etag="e")
    assert Feature.IF_MATCH not in source.capabilities.refused
    assert source.capabilities.notes == []


async def test_a_copy_within_the_store_keeps_its_conditions(
    source: S3Client, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy
) -> None:
    etag = s3_a.put(bucket_a, "odd \n+%/../key", b"0123456789").strip('"')
    assert await source.copy(source, "odd \n+%/../key", "copy", etag, {}) == StoreWrite(etag)
    upload = await source.create_upload("parts", {})
    part = await source.copy_part(source, "odd \n+%/../key", "parts", upload, 1, etag, (2, 6))
    await source.complete_upload("parts", upload, [(1, part, "")])
    assert s3_a.get(bucket_a, "parts") == b"23456"
    with pytest.raises(SourceGone):
        await source.copy(source, "none", "copy", "", {})
    for copy in (
        source.copy(source, "odd \n+%/../key", "copy", "another", {}),
        source.copy_part(source, "odd \n+%/../key", "p", upload, 1, "another", (2, 6)),
    ):
        with pytest.raises((ObjectChanged, NoSuchUpload)):
            await copy
    conditions = [
        request.headers.get("x-amz-copy-source-if-match") for request in proxy_a.seen("PUT")
    ]
    assert conditions == [f'"{etag}"', f'"{etag}"', None, '"another"', '"another"']


async def test_archived_objects_are_told_and_restored(source: S3Client, proxy_a: Proxy) -> None:
    proxy_a.rule(Reply(403, "InvalidObjectState"), method="GET")
    with pytest.raises(ObjectArchived):
        await source.get("k", size=1)
    rule = proxy_a.rule(Reply(202), method="POST")
    assert await source.restore("k", 3, "Bulk") is True
    assert proxy_a.requests[-1].query == "restore="
    proxy_a.remove(rule)
    proxy_a.rule(Reply(409, "RestoreAlreadyInProgress"), method="POST")
    assert await source.restore("k", 3, "Bulk") is False


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00.000Z", 0.0),
        ("2026-03-01T12:00:00.500Z", 1772366400.5),
        ("2026-03-01T12:00:00Z", 1772366400.0),
        ("2026-03-01T12:00:00+00:00", 1772366400.0),
        ("Sun, 01 Mar 2026", 0.0),
        ("", 0.0),
    ],
)
def test_times_of_answers_are_read(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


# --------------------------------------------------------------------------------------------- caps


@pytest.mark.slow
async def test_caps_hold_at_the_server(
    s3_a: MiniStack, s3_b: MiniStack, bucket_a: str, bucket_b: str, tmp_path: Path
) -> None:
    """Two workers' worth of clients, small objects among large ones: any ten seconds stay within
    the caps."""
    rate, requests, seconds = 4 * MIB, 60.0, 13.0
    sizes = [3 * MIB, 10_000, 100_000, 8 * MIB, 1, 500_000, MIB, 5_000] * 2
    for number, size in enumerate(sizes):
        s3_a.put(bucket_a, f"k{number}", random.Random(number).randbytes(size))
    s3_a.put(bucket_a, "tiny", b"x")

    async def worker(name: str, proxy_a: Proxy, proxy_b: Proxy, busy: Proxy) -> None:
        transport = Transport()
        with open_platform(tmp_path, name) as platform:
            rates = {"source.bytes": rate, "dest.bytes": rate, "source.requests": requests}
            await platform.limits.set_rates(rates)

            def cap(what: str, limit: float) -> Cap:
                return Cap(platform.limits, what, limit)

            source = connect(transport, proxy_a, bucket_a, byte_cap=cap("source.bytes", rate))
            dest = connect(transport, proxy_b, bucket_b, byte_cap=cap("dest.bytes", rate))
            asker = connect(transport, busy, bucket_a, request_cap=cap("source.requests", requests))
            over = route(source, dest, transport)
            until = time.monotonic() + seconds
            numbers = iter(range(10**6))

            async def lane() -> None:
                while time.monotonic() < until:
                    number = next(numbers) % len(sizes)
                    try:
                        async with asyncio.timeout(until - time.monotonic()):
                            await relay_whole(over, ObjectItem(f"k{number}", sizes[number], ""))
                    except TimeoutError:
                        return

            async def ask() -> None:
                while time.monotonic() < until:
                    await asker.head("tiny")

            await asyncio.gather(*(lane() for _ in range(8)), *(ask() for _ in range(8)))
        transport.close()

    with Proxy(s3_a, send_buffer=1 << 15) as proxy_a, Proxy(s3_b) as proxy_b, Proxy(s3_a) as busy:
        await asyncio.gather(*(worker(name, proxy_a, proxy_b, busy) for name in ("one", "two")))
        assert proxy_a.peak_sent(10) <= rate * 10 * 1.05
        assert proxy_b.peak_received(10) <= rate * 10 * 1.05
        assert busy.peak_requests(10) <= requests * 10 * 1.05
        # They are caps, not brakes.
        assert proxy_a.peak_sent(10) >= rate * 2
        assert proxy_b.peak_received(10) >= rate * 2
        assert busy.peak_requests(10) >= requests * 2
