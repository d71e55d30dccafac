"""What tests do with any S3 server: buckets of their own, a boto3 client, and keys exactly as
given."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import ssl
import threading
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus, urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from .process import Server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_bucket_numbers = itertools.count()
_boto_lock = threading.Lock()  # building a boto3 client is not thread-safe


@cache
def _session() -> boto3.Session:
    """One for all, because each reads the service models again. Made late, when the environment is
    set up."""
    return boto3.Session()


class S3Server(Server):
    """An S3 endpoint with the credentials that it accepts."""

    access_key = "test"
    secret_key = "test"
    region = "us-east-1"
    ca: Path | None = None
    """The CA file to trust, when the server speaks TLS."""

    def boto(self, service: str = "s3", **options: Any) -> Any:
        """A boto3 client, cached by service and options: `access_key`, `secret_key`, and what boto3
        takes."""
        return self._boto(service, tuple(sorted(options.items())))

    @cache  # noqa: B019 (servers are few, and as long-lived as the cache)
    def _boto(self, service: str, options: tuple[tuple[str, Any], ...]) -> Any:
        settings = dict(options)
        # One attempt and no extra checksums: what a test sends is what the server gets.
        config = Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=50,
        )
        with _boto_lock:
            return _session().client(
                service,
                endpoint_url=self.url,
                aws_access_key_id=settings.pop("access_key", self.access_key),
                aws_secret_access_key=settings.pop("secret_key", self.secret_key),
                region_name=settings.pop("region", self.region),
                verify=str(self.ca) if self.ca else None,
                config=config,
                **settings,
            )

    def bucket(self, prefix: str = "bucket") -> str:
        """Create a bucket that no other test uses, and return its name."""
        name = f"{prefix}-{os.getpid()}-{next(_bucket_numbers)}"
        self.boto().create_bucket(Bucket=name)
        return name

    def drop(self, bucket: str) -> None:
        """Delete the bucket and all that is in it, so that a long test run does not fill the
        memory."""
        s3 = self.boto()
        uploads = s3.list_multipart_uploads(Bucket=bucket, EncodingType="url").get("Uploads", [])
        for upload in uploads:
            key = unquote_plus(upload["Key"])
            s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
        keys = self.keys(bucket)
        plain = [key for key in keys if key.isprintable()]
        for start in range(0, len(plain), 1000):
            names = [{"Key": key} for key in plain[start : start + 1000]]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": names, "Quiet": True})
        for key in set(keys).difference(plain):  # XML cannot hold every key
            self.request("DELETE", f"/{bucket}/{quote(key)}")
        # Versions, if a test switched them on, may keep the bucket alive; it is empty enough.
        with contextlib.suppress(ClientError):
            s3.delete_bucket(Bucket=bucket)

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """One signed request, its target sent as it is: (status, headers in lower case, body)."""
        signed = AWSRequest(method, self.url + target, dict(headers or {}), body or b"")
        S3SigV4Auth(Credentials(self.access_key, self.secret_key), "s3", self.region).add_auth(
            signed
        )
        address = urlsplit(self.url)
        assert address.hostname is not None
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca)
            connection = http.client.HTTPSConnection(
                address.hostname, address.port, timeout=60, context=context
            )
        else:
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        try:
            connection.request(method, target, body, dict(signed.headers.items()))
            answer = connection.getresponse()
            return (
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read(),
            )
        finally:
            connection.close()

    def put(
        self, bucket: str, key: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> str:
        """Store an object under exactly this key (boto3 loses keys such as `a/../b`) and return its
        ETag."""
        status, answer, text = self.request("PUT", f"/{bucket}/{quote(key)}", body, headers)
        if status >= 300:
            raise RuntimeError(f"PUT {key!r}: {status} {text.decode(errors='replace')}")
        return answer["etag"]

    def get(self, bucket: str, key: str) -> bytes:
        """The body of the object under exactly this key."""
        status, _, body = self.request("GET", f"/{bucket}/{quote(key)}")
        if status != 200:
            raise RuntimeError(f"GET {key!r}: {status} {body.decode(errors='replace')}")
        return body

    def objects(self, bucket: str, prefix: str = "") -> dict[str, dict[str, Any]]:
        """Every object of the bucket as boto3 lists it, by key."""
        pages = self.boto().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {entry["Key"]: entry for page in pages for entry in page.get("Contents", [])}

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """The keys of the bucket, in the order in which the server lists them."""
        return list(self.objects(bucket, prefix))
