"""The odd store does what its quirks say, and is a modern S3 without them."""

from __future__ import annotations

import gzip
import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.engine import Dth, Engine, Side
from tests.servers.odd import QUIRKS, OddStore, damaged, sum_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.quick

BODY = b"what is stored"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
SUMS = ("crc64nvme", "crc32c", "crc32", "sha256", "sha1")
KEYS = ["a b", "a+b", "a/1", "a/2", "a/b/3", "b", "\u00e9", "<&>"]


def put(
    store: OddStore, key: str = "key", body: bytes = BODY, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One PUT over the network into the first bucket."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return store.request("PUT", f"/{next(iter(store.buckets))}/{quote(key)}", body, named)


def get(store: OddStore, key: str = "key", **headers: str) -> tuple[int, dict[str, str], bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return store.request("GET", f"/{next(iter(store.buckets))}/{quote(key)}", None, named)


@pytest.mark.parametrize("name", SUMS)
def test_checksums_are_verified_echoed_and_stated(name: str) -> None:
    with OddStore() as store:
        bucket = store.bucket()
        right, header = sum_of(name, BODY), f"x-amz-checksum-{name}"

        status, headers, _ = put(store, **{header: right})
        assert (status, headers[header], headers["x-amz-checksum-type"]) == (
            200,
            right,
            "FULL_OBJECT",
        )
        status, _, body = put(store, "other", **{header: sum_of(name, b"else")})
        assert (status, b"BadDigest" in body) == (400, True)

        assert store.keys(bucket) == ["key"]
        assert header not in get(store)[1]
        assert get(store, x_amz_checksum_mode="ENABLED")[1][header] == right


def test_content_md5_is_verified() -> None:
    wrong = b64encode(hashlib.md5(b"else", usedforsecurity=False).digest()).decode()
    with OddStore() as store:
        store.bucket()
        assert put(store, content_md5=wrong)[0] == 400
        store.quirks["no-content-md5"] = 1
        assert put(store, content_md5=wrong)[0] == 200
        assert put(store, content_md5=wrong)[0] == 400


def test_reading_ranges_conditions_and_raw_headers() -> None:
    with OddStore() as store:
        bucket = store.bucket()
        put(store, x_amz_meta_name="\u00e9", x_amz_tagging="a=1&b=2", cache_control="no-store")
        assert store.at(bucket, "key").headers["x-amz-meta-name"] == "\u00e9".encode("latin-1")

        status, headers, body = get(store)
        assert (status, body, headers["etag"]) == (200, BODY, f'"{MD5}"')
        assert headers["x-amz-meta-name"] == "\u00e9"
        assert (headers["x-amz-tagging-count"], headers["cache-control"]) == ("2", "no-store")
        status, headers, body = get(store, range="bytes=5-6")
        assert (status, headers["content-range"], body) == (206, f"bytes 5-6/{len(BODY)}", b"is")
        assert get(store, range="bytes=99-")[0] == 416
        assert get(store, if_match='"other"')[0] == 412
        assert store.count("GET", 412) == 1
        store.at(bucket, "key").etag = "other"
        assert get(store, if_match='"other"')[0] == 200
        tags = store.boto().get_object_tagging(Bucket=bucket, Key="key")["TagSet"]
        assert tags == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]


@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("quirk", ["", "unordered"])
def test_listings_have_pages_and_folders(version: str, quirk: str) -> None:
    with OddStore(*filter(None, [quirk]), page=3) as store:
        bucket = store.bucket()
        for key in KEYS:
            store.put(bucket, key, BODY)
        pages = store.boto().get_paginator(version).paginate(Bucket=bucket)
        found = [entry["Key"] for page in pages for entry in page["Contents"]]
        assert sorted(found) == sorted(KEYS)
        assert (found == sorted(KEYS)) == (not quirk)

        pages = (
            store.boto().get_paginator(version).paginate(Bucket=bucket, Prefix="a/", Delimiter="/")
        )
        content = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        folders = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
        assert (sorted(content), folders) == (["a/1", "a/2"], ["a/b/"])


def test_parts_are_joined_with_their_checksums() -> None:
    with OddStore() as store:
        bucket, s3 = store.bucket(), store.boto()
        upload = s3.create_multipart_upload(
            Bucket=bucket, Key="key", ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
        )["UploadId"]
        of_key = {"Bucket": bucket, "Key": "key", "UploadId": upload}
        parts = []
        for number, body in enumerate((b"one", b"two"), 1):
            value = sum_of("crc64nvme", body)
            answer = s3.upload_part(**of_key, PartNumber=number, Body=body, ChecksumCRC64NVME=value)
            parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC64NVME": value})
        assert len(s3.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
        done = s3.complete_multipart_upload(**of_key, MultipartUpload={"Parts": parts})
        digests = b"".join(
            hashlib.md5(body, usedforsecurity=False).digest() for body in (b"one", b"two")
        )
        assert done["ETag"] == f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-2"'
        assert done["ChecksumCRC64NVME"] == sum_of("crc64nvme", b"onetwo")
        assert store.get(bucket, "key") == b"onetwo"
        assert not store.buckets[bucket].uploads

        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "key"})
        assert store.get(bucket, "copy") == b"onetwo"
        s3.delete_object(Bucket=bucket, Key="key")
        assert store.keys(bucket) == ["copy"]


@pytest.mark.parametrize(
    ("quirk", "headers", "status", "code"),
    [
        (
            "refuses-checksum-headers",
            {"x-amz-checksum-crc32": sum_of("crc32", BODY)},
            400,
            b"InvalidArgument",
        ),
        ("object-lock", {}, 400, b"InvalidRequest"),
        ("acl-refused", {"x-amz-acl": "private"}, 400, b"AccessControlListNotSupported"),
        ("class-refused", {"x-amz-storage-class": "GLACIER"}, 400, b"InvalidStorageClass"),
        ("sig-non-ascii", {"x-amz-meta-a": "\u00e9"}, 403, b"SignatureDoesNotMatch"),
        ("tags-501", {"x-amz-tagging": "a=1"}, 501, b"NotImplemented"),
        ("always-429", {}, 429, b""),
        ("always-500", {}, 500, b"InternalError"),
        ("always-503", {}, 503, b"SlowDown"),
        ("retry-after", {}, 503, b"SlowDown"),
        ("redirect-301", {}, 301, b"<Endpoint>"),
        ("redirect-307", {}, 307, b"<Endpoint>"),
    ],
)
def test_writes_are_refused(quirk: str, headers: dict[str, str], status: int, code: bytes) -> None:
    with OddStore(quirk) as store:
        bucket = store.bucket()
        answered, _, body = put(store, "bad", **headers)
        assert (answered, code in body) == (status, True)
        assert store.keys(bucket) == []
        assert store.requests[-1].status == status


@pytest.mark.parametrize(
    ("quirk", "said", "stored"),
    [
        ("", BODY, BODY),
        ("flip-on-write", damaged(BODY), damaged(BODY)),
        ("lies", BODY, damaged(BODY)),
        ("put-loses-body", BODY, b""),
        ("put-loses", BODY, None),
        ("put-html", None, None),
        ("put-no-etag", None, BODY),
    ],
)
def test_writes_go_wrong(quirk: str, said: bytes | None, stored: bytes | None) -> None:
    with OddStore(*filter(None, [quirk])) as store:
        bucket = store.bucket()
        status, headers, _ = put(store, x_amz_checksum_crc32=sum_of("crc32", BODY))
        assert status == 200
        etag = f'"{hashlib.md5(said, usedforsecurity=False).hexdigest()}"' if said else None
        assert headers.get("etag") == etag
        if said:
            assert headers["x-amz-checksum-crc32"] == sum_of("crc32", said)
        found = store.buckets[bucket].objects.get("key")
        assert (found.body if found else None) == stored


@pytest.mark.parametrize("quirk", ["etag-random", "etag-hmac", "etag-opaque", "etag-upper", "kms"])
def test_etags_are_no_md5(quirk: str) -> None:
    with OddStore(quirk) as store:
        store.bucket()
        first, second = (put(store)[1]["etag"].strip('"') for _ in range(2))
        assert first != MD5
        assert len(first) == (64 if quirk == "etag-opaque" else 32)
        assert (first == second) == (quirk not in ("etag-random", "kms"))


def test_reads_go_wrong() -> None:
    with OddStore("weak-etags-412") as store:
        bucket = store.bucket()
        store.put(bucket, "key", BODY)
        assert get(store)[1]["etag"] == f'W/"{MD5}"'
        assert get(store, if_match=f'"{MD5}"')[0] == 412
        store.quirks = {"flip-on-read": 1, "flip-on-range": 1}
        assert get(store)[2] == damaged(BODY)
        assert get(store)[2] == BODY
        assert get(store, range="bytes=0-1")[2] == damaged(BODY[:2])
        store.quirks = {"refuses-checksum-mode": 1, "refuses-if-match-501": 1, "gzips": 1}
        assert get(store, x_amz_checksum_mode="ENABLED")[0] == 400
        assert get(store, if_match="x")[0] == 501
        status, headers, body = get(store, accept_encoding="gzip")
        assert (headers["content-encoding"], gzip.decompress(body)) == ("gzip", BODY)

        store.put(bucket, "packed", gzip.compress(BODY), {"content-encoding": "gzip"})
        store.put(bucket, "ghost", BODY)
        store.quirks = {"gunzips": 1, "ghost": 1}
        status, headers, body = get(store, "packed", range="bytes=0-3")
        assert (status, body, "content-length" in headers) == (200, BODY, False)
        assert get(store, "ghost")[0] == 404
        assert "ghost" in store.keys(bucket)


def test_the_region_counts() -> None:
    with OddStore("region") as store:
        store.bucket()
        assert put(store)[0] == 200
        store.region = "us-east-1"
        status, _, body = put(store)
        assert (status, b"<Region>garage</Region>" in body) == (400, True)


def test_a_quirk_is_named_rightly() -> None:
    with pytest.raises(ValueError, match="no-such"):
        OddStore("no-such")
    assert all(text.endswith(".") for text in QUIRKS.values())


def test_the_engine_and_the_command_work_with_it(tmp_path: Path) -> None:
    with OddStore() as a, OddStore("no-checksums") as b:
        source, dest = Side(a, a.bucket()), Side(b, b.bucket())
        source.put({"one": BODY, "two": b"", "three": BODY})
        ran = Engine(tmp_path, source, dest).run()
        assert (ran.counts.done, ran.counts.failed) == (3, 0)
        assert dest.contents() == source.contents()

        dth = Dth(tmp_path)
        source.put({"four": BODY})
        found = dth.sync(source, dest)
        assert found["transferred"] == 1
        assert dest.get("four") == BODY
