"""The servers that other tests stand on do what they promise."""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from tests.servers.listing_server import Differences, Listing, ListingServer
from tests.servers.ministack import MiniStack
from tests.servers.proxy import (
    Corrupt,
    Delay,
    Drop,
    Hook,
    Limit,
    Proxy,
    Reply,
    RequestHeaders,
    Reset,
    ResponseHeaders,
    SlowDown,
    Stall,
    Truncate,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.glacier import Glacier
    from tests.servers.moto_server import MotoServer
    from tests.servers.null_s3 import NullS3
    from tests.servers.rclone_serve import RcloneServe

AWKWARD_KEYS = [
    "a//b",
    "x/../y",
    "./dot",
    "..",
    "/lead",
    "trail/",
    "new\nline",
    "\u00e9",
    "e\u0301",
    "%41",
    "a+b c",
    "&<>\"'",
]


def connect(proxy: Proxy) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)


# --- stores
# ------------------------------------------------------------------------------------------


def test_ministack_keeps_awkward_keys(s3_a: MiniStack, bucket_a: str) -> None:
    for key in AWKWARD_KEYS:
        s3_a.put(bucket_a, key, key.encode())
    assert s3_a.keys(bucket_a) == sorted(AWKWARD_KEYS, key=str.encode)
    for key in AWKWARD_KEYS:
        assert s3_a.get(bucket_a, key) == key.encode()


def test_two_ministacks_are_independent(s3_a: MiniStack, s3_b: MiniStack, bucket_a: str) -> None:
    names = [bucket["Name"] for bucket in s3_b.boto().list_buckets()["Buckets"]]
    assert bucket_a not in names


def test_ministack_over_tls(s3_tls: MiniStack) -> None:
    bucket = s3_tls.bucket()
    s3_tls.boto().put_object(Bucket=bucket, Key="k", Body=b"secret")
    assert s3_tls.get(bucket, "k") == b"secret"
    with (
        pytest.raises(ssl.SSLCertVerificationError),
        socket.create_connection(("127.0.0.1", s3_tls.port)) as plain,
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def test_ministack_checks_users(s3_auth: MiniStack) -> None:
    bucket = s3_auth.bucket()
    s3_auth.put(bucket, "k", b"body")
    statement = {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    access_key, secret_key = s3_auth.user({"Version": "2012-10-17", "Statement": [statement]})
    reader = s3_auth.boto(access_key=access_key, secret_key=secret_key)
    assert reader.get_object(Bucket=bucket, Key="k")["Body"].read() == b"body"
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.put_object(Bucket=bucket, Key="k", Body=b"other")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3_auth.boto(access_key=access_key, secret_key="wrong").get_object(Bucket=bucket, Key="k")


def test_rclone_is_quirky(s3_rclone: RcloneServe) -> None:
    bucket = s3_rclone.bucket()
    s3_rclone.put(bucket, "k", b"0123456789")
    status, headers, body = s3_rclone.request("GET", f"/{bucket}/k", headers={"Range": "bytes=2-4"})
    assert (status, headers["content-range"], body) == (200, "bytes 2-4/10", b"234")


def test_moto_stores_objects(s3_moto: MotoServer) -> None:
    bucket = s3_moto.bucket()
    s3_moto.put(bucket, "k", b"body")
    assert s3_moto.get(bucket, "k") == b"body"


def test_null_s3(null_s3: NullS3) -> None:
    bucket = null_s3.bucket()
    null_s3.put(bucket, "folder/k", b"0123456789")
    assert (null_s3.folder / bucket / "folder/k").read_bytes() == b"0123456789"
    status, headers, body = null_s3.request(
        "GET", f"/{bucket}/folder/k", headers={"Range": "bytes=2-4"}
    )
    assert (status, headers["content-range"], body) == (206, "bytes 2-4/10", b"234")

    s3 = null_s3.boto()
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="big", UploadId=upload, PartNumber=1, Body=b"x" * 100)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="big", UploadId=upload, MultipartUpload=parts)
    assert null_s3.keys(bucket) == []


def test_servers_end_with_their_parent(tmp_path: Path) -> None:
    program = """
import time
from tests.servers.ministack import MiniStack
server = MiniStack()
print(server.process.pid, flush=True)
time.sleep(60)
"""
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        # An orphan stays a zombie where nobody reaps; it is dead all the same.
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the server outlived its parent")


# --- the proxy
# ---------------------------------------------------------------------------------------


def test_proxy_passes_everything_on(proxy_a: Proxy, s3_a: MiniStack, bucket_a: str) -> None:
    body = os.urandom(3 << 20)
    proxy_a.boto().put_object(Bucket=bucket_a, Key="big", Body=body, Metadata={"a": "b"})
    answer = proxy_a.boto().get_object(Bucket=bucket_a, Key="big")
    assert answer["Body"].read() == body
    assert answer["Metadata"] == {"a": "b"}
    assert proxy_a.boto().head_object(Bucket=bucket_a, Key="big")["ContentLength"] == len(body)
    for key in AWKWARD_KEYS:
        proxy_a.put(bucket_a, key, key.encode())
    assert s3_a.keys(bucket_a) == sorted([*AWKWARD_KEYS, "big"], key=str.encode)

    put, get, head = proxy_a.seen(key="^big$")
    assert (put.method, put.status, put.received, put.sent) == ("PUT", 200, len(body), 0)
    assert (get.method, get.status, get.received, get.sent) == ("GET", 200, 0, len(body))
    assert (head.method, head.sent) == ("HEAD", 0)
    assert put.ended is not None
    assert put.started < put.ended <= get.started
    assert proxy_a.bytes_sent == proxy_a.peak_sent() >= len(body)


@pytest.mark.parametrize("store", ["s3_auth", "s3_rclone"])
def test_signatures_hold_behind_the_proxy(store: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(store)
    bucket = server.bucket()
    keys: dict[str, str] = {}
    if isinstance(server, MiniStack):
        statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        access_key, secret_key = server.user({"Version": "2012-10-17", "Statement": [statement]})
        keys = {"access_key": access_key, "secret_key": secret_key}
    with Proxy(server) as proxy:
        proxy.boto(**keys).put_object(Bucket=bucket, Key="a b+c/d", Body=b"body")
    assert server.get(bucket, "a b+c/d") == b"body"


def test_replies_by_rule(proxy_a: Proxy, bucket_a: str) -> None:
    s3 = proxy_a.boto()
    denied = proxy_a.rule(Reply(403, "AccessDenied"), method="PUT", key="^secret")
    proxy_a.rule(SlowDown(), method="PUT", key="^second", nth=2)
    proxy_a.rule(
        Reply(400, "InvalidRequest"),
        when=lambda request: "x-amz-checksum-crc64nvme" in request.headers,
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket=bucket_a, Key="secret", Body=b"x" * 100_000)
    s3.put_object(Bucket=bucket_a, Key="second", Body=b"1")
    with pytest.raises(ClientError, match="SlowDown"):
        s3.put_object(Bucket=bucket_a, Key="second", Body=b"2")
    s3.put_object(Bucket=bucket_a, Key="second", Body=b"3")
    status, _, body = proxy_a.request(
        "PUT", f"/{bucket_a}/k", b"x", {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}
    )
    assert status == 400
    assert b"<Code>InvalidRequest</Code>" in body
    assert denied.hits == 1
    assert proxy_a.count(status=503) == 1
    proxy_a.clear()
    s3.put_object(Bucket=bucket_a, Key="secret", Body=b"now")


def test_probabilities_repeat(s3_a: MiniStack, bucket_a: str) -> None:
    def statuses() -> list[int | None]:
        with Proxy(s3_a, seed=7) as proxy:
            proxy.rule(SlowDown(), probability=0.5)
            for _ in range(40):
                proxy.request("HEAD", f"/{bucket_a}")
            return [request.status for request in proxy.requests]

    first = statuses()
    assert first == statuses()
    assert 10 < first.count(503) < 30


def test_limit_grants_a_rate(proxy_a: Proxy, bucket_a: str) -> None:
    limit = Limit(rate=50, burst=1)
    proxy_a.rule(limit)
    start = time.monotonic()
    while time.monotonic() < start + 1:
        proxy_a.request("HEAD", f"/{bucket_a}")
    assert 10 <= limit.granted <= 50 * (time.monotonic() - start) + 1
    assert limit.refused > 0
    assert proxy_a.peak_requests(1) <= limit.granted + limit.refused


def test_broken_answers(proxy_a: Proxy, s3_a: MiniStack, bucket_a: str) -> None:
    s3_a.put(bucket_a, "k", b"x" * 1_000_000)
    target = f"/{bucket_a}/k"

    proxy_a.rule(Reset(after=300_000), nth=1)
    connection = connect(proxy_a)
    connection.request("GET", target)
    with pytest.raises(ConnectionResetError):
        connection.getresponse().read()

    proxy_a.clear()
    proxy_a.rule(Truncate(after=300_000), nth=1)
    connection = connect(proxy_a)
    connection.request("GET", target)
    with pytest.raises(http.client.IncompleteRead) as short:
        connection.getresponse().read()
    assert len(short.value.partial) == 300_000

    proxy_a.clear()
    proxy_a.rule(Corrupt(at=500_000), nth=1)
    connection = connect(proxy_a)
    connection.request("GET", target)
    body = connection.getresponse().read()
    assert [at for at, byte in enumerate(body) if byte != ord("x")] == [500_000]

    proxy_a.clear()
    proxy_a.rule(Stall(0.5, after=300_000))
    connection = connect(proxy_a)
    connection.request("GET", target)
    answer = connection.getresponse()
    start = time.monotonic()
    assert len(answer.read()) == 1_000_000
    assert time.monotonic() - start > 0.4


def test_lost_answers_and_lost_requests(proxy_a: Proxy, s3_a: MiniStack, bucket_a: str) -> None:
    proxy_a.rule(Reset(), method="PUT", key="answer")
    proxy_a.rule(Drop(), method="PUT", key="request")
    for key in ("answer", "request"):
        with pytest.raises((ConnectionClosedError, EndpointConnectionError, ConnectionResetError)):
            proxy_a.boto().put_object(Bucket=bucket_a, Key=key, Body=b"x")
    assert s3_a.keys(bucket_a) == ["answer"]


def test_delay_and_stall(proxy_a: Proxy, bucket_a: str) -> None:
    proxy_a.rule(Delay(0.1))
    proxy_a.rule(Stall(0.1))
    start = time.monotonic()
    assert proxy_a.request("HEAD", f"/{bucket_a}")[0] == 200
    assert time.monotonic() - start > 0.2


def test_early_reply_comes_before_the_body(proxy_a: Proxy, bucket_a: str) -> None:
    proxy_a.rule(Reply(503, "SlowDown", early=True), method="PUT")
    connection = connect(proxy_a)
    connection.putrequest("PUT", f"/{bucket_a}/k")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders()
    assert connection.getresponse().status == 503


def test_hook_runs_before_the_request_is_passed_on(
    proxy_a: Proxy, s3_a: MiniStack, bucket_a: str
) -> None:
    s3_a.put(bucket_a, "k", b"old")
    proxy_a.rule(
        Hook(lambda request: s3_a.put(bucket_a, request.key, b"new")), method="GET", key=".", nth=1
    )
    assert proxy_a.get(bucket_a, "k") == b"new"


def test_headers_are_changed(proxy_a: Proxy, s3_a: MiniStack, bucket_a: str) -> None:
    s3_a.put(bucket_a, "k", b"body")
    wrong = {"If-Match": '"wrong"'}
    assert proxy_a.request("GET", f"/{bucket_a}/k", headers=wrong)[0] == 412
    proxy_a.rule(RequestHeaders(remove="if-match"))
    proxy_a.rule(ResponseHeaders(remove="etag", set={"x-seen": "yes"}))
    status, headers, _ = proxy_a.request("GET", f"/{bucket_a}/k", headers=wrong)
    assert status == 200
    assert "etag" not in headers
    assert headers["x-seen"] == "yes"


def test_corrupt_upload_is_refused_by_its_digest(
    proxy_a: Proxy, s3_a: MiniStack, bucket_a: str
) -> None:
    proxy_a.rule(Corrupt(at=2, upload=True), method="PUT")
    with pytest.raises(ClientError, match=r"BadDigest|XAmzContentSHA256Mismatch|InvalidDigest"):
        proxy_a.boto().put_object(
            Bucket=bucket_a, Key="k", Body=b"hello", ContentMD5="XUFAKrxLKna5cZ2REBfFkg=="
        )
    assert s3_a.keys(bucket_a) == []


def test_chunked_uploads_pass(proxy_a: Proxy, s3_a: MiniStack, bucket_a: str) -> None:
    connection = connect(proxy_a)
    connection.request("PUT", f"/{bucket_a}/k", iter([b"hel", b"lo"]), encode_chunked=True)
    assert connection.getresponse().status == 200
    assert s3_a.get(bucket_a, "k") == b"hello"


def test_proxy_is_quick_and_its_connections_last(proxy_a: Proxy, bucket_a: str) -> None:
    """More requests on one connection than MiniStack allows, from several threads at once."""
    proxy_a.rule(Reply(200), method="HEAD", key="canned")
    counter = itertools.count()

    def work() -> None:
        connection = connect(proxy_a)
        while (number := next(counter)) < 3000:
            connection.request("HEAD", f"/{bucket_a}/canned" if number % 2 else f"/{bucket_a}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200

    threads = [threading.Thread(target=work) for _ in range(2)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(proxy_a.requests) == 3000
    assert 3000 / (time.monotonic() - start) > 100


# --- the archive
# -------------------------------------------------------------------------------------


def test_glacier(glacier: Glacier, s3_a: MiniStack, bucket_a: str) -> None:
    s3_a.put(bucket_a, "cold é", b"frozen")
    s3_a.put(bucket_a, "warm", b"liquid")
    glacier.archive(bucket_a, "cold é")
    s3 = glacier.boto()

    def listed() -> dict[str, str]:
        page = s3.list_objects_v2(Bucket=bucket_a, OptionalObjectAttributes=["RestoreStatus"])
        cold, warm = page["Contents"]
        assert (cold["StorageClass"], warm["StorageClass"]) == ("GLACIER", "STANDARD")
        assert "RestoreStatus" not in warm
        restore: dict[str, str] = cold.get("RestoreStatus", {})
        return restore

    assert listed() == {}
    assert s3.get_object(Bucket=bucket_a, Key="warm")["Body"].read() == b"liquid"
    with pytest.raises(ClientError, match="InvalidObjectState"):
        s3.get_object(Bucket=bucket_a, Key="cold é")
    assert s3.head_object(Bucket=bucket_a, Key="cold é")["StorageClass"] == "GLACIER"

    ask = {"Bucket": bucket_a, "Key": "cold é", "RestoreRequest": {"Days": 1}}
    assert s3.restore_object(**ask)["ResponseMetadata"]["HTTPStatusCode"] == 202
    with pytest.raises(ClientError, match="RestoreAlreadyInProgress"):
        s3.restore_object(**ask)
    assert glacier.restore_asked(bucket_a, "cold é")
    assert listed() == {"IsRestoreInProgress": True}
    assert s3.head_object(Bucket=bucket_a, Key="cold é")["Restore"] == 'ongoing-request="true"'

    glacier.finish_restore(bucket_a, "cold é")
    assert listed().keys() == {"IsRestoreInProgress", "RestoreExpiryDate"}
    assert 'ongoing-request="false"' in s3.head_object(Bucket=bucket_a, Key="cold é")["Restore"]
    assert s3.get_object(Bucket=bucket_a, Key="cold é")["Body"].read() == b"frozen"
    assert urlsplit(glacier.url).port != s3_a.port


# --- listings
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize(
    "differences", [Differences(), Differences(missing_every=7, changed_every=11, extra_every=13)]
)
def test_listing_server_lists_every_key(folders: bool, differences: Differences) -> None:
    with ListingServer(3456, folders=folders, differences=differences) as server:
        objects = server.objects("any")
        assert list(objects) == list(server.listing.keys()) == sorted(objects)
        assert server.pages() == -(-len(objects) // 1000)
        for index in (0, 2, 999, 1000, 2345, 3455):
            entry = objects.get(server.listing.key(index))
            if entry is None:
                assert differences.missing(index)
            else:
                assert entry["Size"] == server.listing.size(index)
                assert entry["ETag"] == f'"{server.listing.etag(index)}"'
                assert entry["StorageClass"] == "STANDARD"
        source = Listing(3456, folders)
        changed = [
            i
            for i in range(3456)
            if (source.etag(i), source.size(i)) != (server.listing.etag(i), server.listing.size(i))
        ]
        assert changed == [index for index in range(3456) if differences.changed(index)]
        assert bool(changed) == bool(differences.changed_every)


@pytest.mark.parametrize(
    "differences", [Differences(), Differences(missing_every=5, changed_every=9, extra_every=4)]
)
def test_listing_pages_start_and_end_anywhere(differences: Differences) -> None:
    listing = Listing(2500, differences=differences)
    keys = list(listing.keys())
    with ListingServer(2500, differences=differences) as server:
        s3 = server.boto()
        for after, size in itertools.product(
            ["", "data/year=2024/part-00000999", keys[998], keys[-3], "z"], [1, 7, 1000]
        ):
            page = s3.list_objects_v2(Bucket="b", StartAfter=after, MaxKeys=size)
            expected = [key for key in keys if key > after]
            assert [entry["Key"] for entry in page.get("Contents", [])] == expected[:size]
            assert page["IsTruncated"] == (len(expected) > size)
        for prefix in (
            "data/year=2024/part-000012",
            "data/year=2024/part-00000004.parquet",
            "data/x",
            "",
        ):
            assert server.keys("b", prefix) == [key for key in keys if key.startswith(prefix)]
        pages = s3.get_paginator("list_objects").paginate(
            Bucket="b", PaginationConfig={"PageSize": 300}
        )
        assert [entry["Key"] for page in pages for entry in page["Contents"]] == keys


def test_listing_with_a_delimiter() -> None:
    with ListingServer(2500, folders=True) as server:
        pages = server.boto().get_paginator("list_objects_v2")

        def folders(prefix: str) -> list[str]:
            found = pages.paginate(
                Bucket="b", Prefix=prefix, Delimiter="/", PaginationConfig={"PageSize": 2}
            )
            return [entry["Prefix"] for page in found for entry in page.get("CommonPrefixes", [])]

        assert folders("") == ["data/"]
        assert folders("data/") == ["data/00000/", "data/00001/", "data/00002/"]
        page = server.boto().list_objects_v2(Bucket="b", Prefix="data/00002/", Delimiter="/")
        assert page["KeyCount"] == len(page["Contents"]) == 500


def test_listing_server_is_cheap() -> None:
    """A client that takes 200,000 keys a second is fast; the server has to cost much less than
    that."""
    with ListingServer(10_000_000) as server:
        process = psutil.Process(server.process.pid)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        before = sum(process.cpu_times()[:2])
        for page in range(100):
            connection.request(
                "GET", f"/b?list-type=2&encoding-type=url&continuation-token={page * 2000}"
            )
            assert connection.getresponse().read().count(b"<Key>") == 1000
        # Processor time: the clock on the wall also measures what else the machine does.
        assert sum(process.cpu_times()[:2]) - before < 0.25
        assert process.memory_info().rss < 150 << 20
