"""Which headers a copy is written with: what the source says of the object, and what the task asks
for."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.objects.listing.pages import KeyMap
from dth.objects.parameters import S3Parameters
from dth.objects.store.client import S3Client
from dth.objects.store.credentials import FixedCredentials
from dth.objects.store.endpoints import EtagKind, resolve_endpoint
from dth.objects.store.etags import SOURCE_ETAG, is_md5
from dth.objects.store.pace import Budget
from dth.objects.transfer.proof import source_md5
from dth.objects.transfer.relay import METADATA_LIMIT, ObjectRoute

MD5 = "0123456789abcdef0123456789abcdef"
PARTED = f"{MD5}-7"
PLAIN = {"dest_storage_class": None, "dest_acl": None}


def written(
    answer: dict[str, str],
    etag: str = MD5,
    tags: str = "",
    *,
    whole: bool = True,
    kind: EtagKind = EtagKind.MD5,
    **parameters: Any,
) -> dict[str, str]:
    task = S3Parameters.model_validate({**PLAIN, **parameters})
    nobody: Any = None
    endpoint = resolve_endpoint(url="http://127.0.0.1:1")
    source, dest = (S3Client(nobody, endpoint, "b", FixedCredentials(None)) for _ in range(2))
    source.capabilities.counts_tags, dest.capabilities.etags = True, kind
    route = ObjectRoute(source, dest, KeyMap(), task, Budget(1), nobody, server_side=False)

    async def tags_of_source(key: str, **_: int) -> str:
        return tags

    source.tags = tags_of_source  # type: ignore[method-assign]
    answer = {**answer, "etag": f'"{etag}"'}
    if tags:
        answer["x-amz-tagging-count"] = "2"
    md5 = source_md5(source, answer, etag)
    return asyncio.run(route.properties("key", answer, whole=whole, stated_md5=md5)).headers


def test_fault_08_what_describes_the_object_is_carried_and_nothing_else() -> None:
    described = {
        "content-type": "text/html; charset=utf-8",
        "content-disposition": 'attachment; filename="a b.html"',
        "content-language": "de",
        "content-encoding": "gzip",
        "cache-control": "max-age=60",
        "expires": "Thu, 01 Dec 2033 16:00:00 GMT",
        "x-amz-website-redirect-location": "/elsewhere",
        "x-amz-meta-owner": "me",
        "x-amz-meta-empty": "",
    }
    other = {
        "content-length": "3",
        "content-range": "bytes 0-2/3",
        "etag": f'"{MD5}"',
        "last-modified": "Thu, 01 Dec 2022 16:00:00 GMT",
        "x-amz-version-id": "v",
        "x-amz-storage-class": "GLACIER",
        "x-amz-server-side-encryption": "AES256",
        "x-amz-restore": 'ongoing-request="false"',
        "x-amz-checksum-crc32": "AAAAAA==",
        "x-amz-expiration": "soon",
        "server": "AmazonS3",
    }
    assert written(described | other) == described
    assert written(described | other, include_metadata=False) == {}


def test_tags_go_along() -> None:
    assert written({}, tags="a=1&b=2") == {"x-amz-tagging": "a=1&b=2"}


@pytest.mark.parametrize(
    ("encoding", "kept"),
    [
        ("aws-chunked", None),
        ("gzip,aws-chunked", "gzip"),
        ("aws-chunked, gzip", "gzip"),
        ("gzip, br", "gzip, br"),
        ("", None),
        (" , ", None),
        ("my-aws-chunked", "my-aws-chunked"),
    ],
)
def test_aws_chunked_was_a_way_of_sending_only(encoding: str, kept: str | None) -> None:
    assert written({"content-encoding": encoding}).get("content-encoding") == kept


def test_our_own_entry_is_written_where_the_etag_will_not_tell() -> None:
    assert SOURCE_ETAG not in written({}, MD5)
    assert written({}, PARTED)[SOURCE_ETAG] == PARTED
    assert written({}, MD5, whole=False)[SOURCE_ETAG] == MD5
    kms = {"dest_put_object_sse_type": "AWS_KMS"}
    assert written({}, MD5, **kms)[SOURCE_ETAG] == MD5
    # The source's ETag is not an MD5, or the destination's are none.
    encrypted = {"x-amz-server-side-encryption": "aws:kms"}
    assert written(encrypted, MD5)[SOURCE_ETAG] == MD5
    assert written({}, MD5, kind=EtagKind.OPAQUE)[SOURCE_ETAG] == MD5


def test_the_entry_of_an_earlier_copy_is_not_carried_on() -> None:
    """The source may be a copy of ours itself: of what it was copied from says nothing about it."""
    assert SOURCE_ETAG not in written({SOURCE_ETAG: "older"}, MD5)
    assert written({SOURCE_ETAG: "older"}, PARTED)[SOURCE_ETAG] == PARTED


@given(st.integers(0, METADATA_LIMIT + 100), st.integers(1, 60))
def test_our_own_entry_never_makes_metadata_too_large(value: int, name: int) -> None:
    theirs = {f"x-amz-meta-{'n' * name}": "v" * value}
    headers = written(theirs, PARTED)
    used = sum(len(key) - len("x-amz-meta-") + len(text) for key, text in headers.items())
    ours = len(SOURCE_ETAG) - len("x-amz-meta-") + len(PARTED)
    assert theirs.items() <= headers.items()
    assert (SOURCE_ETAG in headers) == (name + value + ours <= METADATA_LIMIT)
    assert used <= METADATA_LIMIT or SOURCE_ETAG not in headers


def test_what_the_task_asks_for_is_on_every_object() -> None:
    headers = written(
        {"content-type": "a/b"},
        dest_storage_class="GLACIER_IR",
        dest_acl="private",
        dest_put_object_sse_type="AES256",
    )
    assert headers == {
        "content-type": "a/b",
        "x-amz-storage-class": "GLACIER_IR",
        "x-amz-acl": "private",
        "x-amz-server-side-encryption": "AES256",
    }
    kms = written(
        {}, MD5, dest_put_object_sse_type="AWS_KMS", dest_put_object_sse_kms_key_id="key-1"
    )
    assert kms["x-amz-server-side-encryption"] == "aws:kms"
    assert kms["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
    bucket_key = written({}, MD5, dest_put_object_sse_type="AWS_KMS")
    assert "x-amz-server-side-encryption-aws-kms-key-id" not in bucket_key


@pytest.mark.parametrize(
    ("etag", "md5"),
    [
        (MD5, True),
        (PARTED, False),
        (MD5.upper(), True),
        ("", False),
        (MD5 + "\n", False),
        ("null", False),
    ],
)
def test_an_md5_looks_like_one(etag: str, md5: bool) -> None:
    assert is_md5(etag) is md5
