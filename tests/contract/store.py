"""Tries what a real S3 store can do, and writes it down.

    python -m tests.contract.store --endpoint-url URL [--bucket NAME]
        [--access-key .. --secret-key ..] [--region ..]

Without keys the AWS environment and `--profile` say who asks, as with other commands. Without
`--bucket` a bucket is made and deleted again; in one that is given, everything is below a prefix of
its own, which is emptied at the end. Prints a table, and with `--output FILE` writes the same as
JSON.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import re
import sys
import time
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus, urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dth.objects.store.checksums import checksum, header_name
from dth.objects.store.endpoints import ChecksumMode
from tests.servers.s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MIB = 1024 * 1024
BODY = b"what a store can do"
WRONG_MD5 = base64.b64encode(bytes(16)).decode()
# Parts of keys that some stores change, lose or refuse.
ODD_KEYS = {
    "space": b"a b",
    "plus and percent": b"a+b%20c",
    "two slashes": b"a//b",
    "dots": b"x/../y",
    "slash at the end": b"folder/",
    "control character": b"a\x01b",
    "Unicode": "é漢😀".encode(),
    "not UTF-8": b"caf\xe9",
}


class Store(S3Server):
    """The store at a URL, and the bucket in which it is tried."""

    def __init__(
        self, url: str, access_key: str, secret_key: str, region: str, bucket: str = ""
    ) -> None:
        self.url, self.region = url.rstrip("/"), region
        self.access_key, self.secret_key = access_key, secret_key
        self.own = not bucket
        self.bucket_name = bucket or f"dth-trial-{uuid.uuid4().hex[:12]}"
        self.prefix = f"dth-trial-{uuid.uuid4().hex[:8]}/"
        self._written: set[bytes] = set()
        self._uploads: set[tuple[bytes, str]] = set()

    def close(self) -> None:
        """Delete what was written, and the bucket if it was made for this."""
        for key, upload in self._uploads:
            self.ask("DELETE", key, f"uploadId={quote(upload, safe='')}")
        for key in self._written:
            self.ask("DELETE", key)
        # Where a store lists a key under another name, it is gone by that name alone.
        with contextlib.suppress(Refused, ET.ParseError):
            for name in self.listed("encoding-type=url"):
                self.request("DELETE", f"/{self.bucket_name}/{name.replace('+', '%20')}")
        if self.own:
            status, _, text = self.request("DELETE", f"/{self.bucket_name}")
            if status >= 300:
                print(f"bucket {self.bucket_name} is left: {_code(status, text)}", file=sys.stderr)

    def ask(
        self,
        method: str,
        key: bytes | str = b"",
        query: str = "",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        whole_bucket: bool = False,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request for a key below our prefix, or for the bucket."""
        raw = key.encode() if isinstance(key, str) else key
        path = (
            f"/{self.bucket_name}"
            if whole_bucket
            else f"/{self.bucket_name}/{quote(self.prefix)}{quote(raw)}"
        )
        if method == "PUT" and not whole_bucket and "uploadId" not in query:
            self._written.add(raw)
        return self.request(method, f"{path}?{query}" if query else path, body, headers)

    def put_body(self, key: bytes | str, body: bytes = BODY, **headers: str) -> dict[str, str]:
        status, answer, text = self.ask("PUT", key, body=body, headers=headers)
        if status >= 300:
            raise Refused(_code(status, text))
        return answer

    def listed(self, query: str = "") -> list[str]:
        more = f"&{query}" if query else ""
        status, _, text = self.ask(
            "GET",
            query=f"list-type=2&prefix={quote(self.prefix, safe='')}{more}",
            whole_bucket=True,
        )
        if status != 200:
            raise Refused(_code(status, text))
        names = (
            each.text or ""
            for each in ET.fromstring(text).iter()
            if each.tag.rpartition("}")[2] == "Key"
        )
        return list(names)

    def begin(self, key: bytes) -> str:
        status, _, text = self.ask("POST", key, "uploads")
        found = re.search(rb"<UploadId>([^<]+)<", text)
        if status != 200 or not found:
            raise Refused(_code(status, text))
        upload = found[1].decode()
        self._uploads.add((key, upload))
        self._written.add(key)
        return upload


class Refused(Exception):
    """The store does not do it; the text is its code."""


def _code(status: int, text: bytes) -> str:
    found = re.search(rb"<Code>([^<]+)<", text)
    return found[1].decode() if found else f"HTTP {status}"


# ------------------------------------------------------------------------------------------- probes


def virtual_host(store: Store) -> str:
    """Whether the bucket may stand in the host name."""
    address = urlsplit(store.url)
    made = (
        http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    )(address.netloc, timeout=30)
    with contextlib.closing(made) as connection:
        store.put_body("a")
        path = f"/{quote(store.prefix)}a"
        host = f"{store.bucket_name}.{address.netloc}"
        signed = AWSRequest("GET", f"{address.scheme}://{host}{path}")
        S3SigV4Auth(Credentials(store.access_key, store.secret_key), "s3", store.region).add_auth(
            signed
        )
        connection.request("GET", path, headers={**dict(signed.headers.items()), "host": host})
        answer = connection.getresponse()
        text = answer.read()
    return "yes" if text == BODY else f"no ({_code(answer.status, text)})"


def signatures(store: Store) -> str:
    """Whether a wrong secret is refused."""
    with contextlib.suppress(Refused):
        other = Store(
            store.url, store.access_key, "wrong" + store.secret_key, store.region, store.bucket_name
        )
        other.put_body("signed-by-nobody")
        status, _, _ = other.ask("DELETE", "signed-by-nobody")
        return f"not checked (DELETE: {status})"
    return "checked"


def checksum_of(mode: ChecksumMode) -> Callable[[Store], str]:
    def probe(store: Store) -> str:
        name, right, wrong = header_name(mode), checksum(mode, [BODY]), checksum(mode, [b"another"])
        answer = store.put_body(f"sum-{mode}", **{name: right})
        answered = answer.get(name, "")
        try:
            echoed = store.put_body(f"wrong-{mode}", **{name: wrong}).get(name, "")
        except Refused:
            return "judged, answered" if answered == right else "judged, not answered"
        if echoed == wrong:
            return "parrot: a wrong one is repeated"
        return "answered, not judged" if answered else "ignored"

    probe.__doc__ = f"What becomes of x-amz-checksum-{mode}."
    return probe


def content_md5(store: Store) -> str:
    """Whether a wrong Content-MD5 is refused."""
    try:
        store.put_body("md5", **{"content-md5": WRONG_MD5})
    except Refused as refusal:
        return f"judged ({refusal})"
    return "ignored"


def etag(store: Store) -> str:
    """Whether the ETag of an object is the MD5 of its bytes."""
    found = store.put_body("etag").get("etag", "").strip('"')
    return (
        "md5"
        if found == bytes.hex(base64.b64decode(checksum(ChecksumMode.MD5, [BODY])))
        else "other"
    )


def if_match(store: Store) -> str:
    """Whether GET with another ETag in If-Match is refused."""
    store.put_body("a")
    status, _, _ = store.ask("GET", "a", headers={"if-match": f'"{"0" * 32}"'})
    return "yes" if status == 412 else f"ignored (HTTP {status})"


def if_none_match(store: Store) -> str:
    """Whether PUT with If-None-Match: * leaves what is there."""
    store.put_body("there")
    try:
        store.put_body("there", b"another", **{"if-none-match": "*"})
    except Refused as refusal:
        return f"yes ({refusal})"
    return "ignored"


def list_v2(store: Store) -> str:
    """Whether ListObjectsV2 answers, with start-after and in the order of bytes."""
    keys = ["l/Z", "l/a", "l/b", "l/é", "l/\ufffd", "l/\U0001f600"]
    for key in keys:
        store.put_body(key)

    def listed(query: str) -> list[str]:
        names = [unquote_plus(each) for each in store.listed(query)]
        return [each for each in names if each.startswith(store.prefix + "l/")]

    found = listed("encoding-type=url")
    expected = [store.prefix + each for each in keys]
    order = "in byte order" if found == expected else "in another order"
    after = quote(f"{store.prefix}l/a", safe="")
    rest = listed(f"encoding-type=url&start-after={after}")
    return (
        f"{order}; start-after "
        f"{'known' if rest == found[found.index(expected[1]) + 1 :] else 'ignored'}"
    )


def list_v1(store: Store) -> str:
    """Whether ListObjects of version 1 answers."""
    store.put_body("a")
    status, _, text = store.ask(
        "GET", query=f"prefix={quote(store.prefix, safe='')}", whole_bucket=True
    )
    return "yes" if status == 200 and b"<Key>" in text else _code(status, text)


def encoding_type(store: Store) -> str:
    """Whether encoding-type=url is honoured."""
    store.put_body("e+é")
    found = [each for each in store.listed("encoding-type=url") if "e%2B" in each]
    return "yes" if [unquote_plus(each) for each in found] == [store.prefix + "e+é"] else "ignored"


def key_of(raw: bytes) -> Callable[[Store], str]:
    def probe(store: Store) -> str:
        key = b"odd/" + raw
        store.put_body(key)
        status, _, body = store.ask("GET", key)
        if (status, body) != (200, BODY):
            return f"lost (GET: HTTP {status})"
        listed = [
            unquote_plus(each, errors="surrogateescape")
            for each in store.listed("encoding-type=url")
        ]
        there = store.prefix + key.decode("utf-8", "surrogateescape")
        return "kept" if there in listed else "kept, listed under another name"

    probe.__doc__ = f"Whether a key with {raw!r} in it comes back as it is."
    return probe


def longest_key(store: Store) -> str:
    """Whether a key of 1,024 bytes is taken."""
    return key_of(b"k" * (1024 - len(store.prefix) - len("odd/")))(store)


def multipart(store: Store) -> str:
    """The smallest part that is not the last, the kind of ETag, and the checksum of the whole."""
    for size, name in ((1, "1 byte"), (MIB, "1 MiB"), (5 * MIB, "5 MiB")):
        key = f"parts-{size}".encode()
        upload = store.begin(key)
        parts = []
        for number, body in enumerate((b"p" * size, b"end"), 1):
            query = f"partNumber={number}&uploadId={quote(upload, safe='')}"
            status, answer, text = store.ask("PUT", key, query, body)
            if status != 200:
                raise Refused(_code(status, text))
            parts.append(
                f"<Part><PartNumber>{number}</PartNumber><ETag>{answer['etag']}</ETag></Part>"
            )
        body = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()
        status, _, text = store.ask("POST", key, f"uploadId={quote(upload, safe='')}", body)
        if status == 200 and b"<Error>" not in text:
            found = re.search(rb"<ETag>(?:&quot;|&#34;|\")?([^<&\"]+)", text)
            kind = "missing" if not found else "other"
            if found and re.fullmatch(rb"[0-9a-f]{32}-2", found[1]):
                kind = "joined md5"
            whole = re.search(rb"<ChecksumCRC64NVME>", text)
            return (
                f"parts from {name}; ETag {kind}; checksum of the whole "
                f"{'answered' if whole else 'not answered'}"
            )
    return _code(status, text)


def tags(store: Store) -> str:
    """Whether tags are kept."""
    store.put_body("tagged", **{"x-amz-tagging": "a=b"})
    status, _, text = store.ask("GET", "tagged", "tagging")
    return "yes" if b"<Key>a</Key>" in text else f"lost ({_code(status, text)})"


def acl(store: Store) -> str:
    """Whether an ACL is taken."""
    store.put_body("acl", **{"x-amz-acl": "bucket-owner-full-control"})
    status, _, text = store.ask("GET", "acl", "acl")
    return "yes" if b"<Grant" in text else f"taken, not told ({_code(status, text)})"


def storage_class(store: Store) -> str:
    """Whether a storage class is taken and told."""
    store.put_body("class", **{"x-amz-storage-class": "STANDARD_IA"})
    found = store.ask("HEAD", "class")[1].get("x-amz-storage-class", "")
    return "yes" if found == "STANDARD_IA" else "taken, not told"


def metadata(store: Store) -> str:
    """What becomes of metadata that is not ASCII: bytes as they are, or an RFC 2047 word."""
    with contextlib.suppress(Refused, UnicodeError):
        store.put_body("meta", **{"x-amz-meta-a": "é".encode().decode("latin-1")})
        found = store.ask("HEAD", "meta")[1].get("x-amz-meta-a", "")
        if found.encode("latin-1", "replace") == "é".encode():
            return "bytes as they are"
        return "RFC 2047" if found.startswith("=?") else f"changed to {found!r}"
    return "refused"


def ranges(store: Store) -> str:
    """Whether a range of an object is answered with 206."""
    store.put_body("a")
    status, answer, body = store.ask("GET", "a", headers={"range": "bytes=2-5"})
    kind = (
        ""
        if status == 206
        else f" (HTTP {status}, Content-Range {answer.get('content-range', 'missing')})"
    )
    return ("yes" if body == BODY[2:6] else "no") + kind


def copying(store: Store) -> str:
    """Whether the store copies an object by itself."""
    store.put_body("a")
    source = quote(f"/{store.bucket_name}/{store.prefix}a")
    store.put_body("copy", b"", **{"x-amz-copy-source": source})
    return "yes" if store.ask("GET", "copy")[2] == BODY else "no"


def delete_many(store: Store) -> str:
    """Whether several objects are deleted with one request."""
    store.put_body("d1")
    body = (
        f"<Delete><Quiet>true</Quiet><Object><Key>{store.prefix}d1</Key></Object></Delete>".encode()
    )
    headers = {"content-md5": checksum(ChecksumMode.MD5, [body])}
    status, _, text = store.ask(
        "POST", query="delete", body=body, headers=headers, whole_bucket=True
    )
    gone = store.ask("HEAD", "d1")[0] == 404
    return "yes" if status == 200 and gone else _code(status, text)


def versions(store: Store) -> str:
    """Whether versions of the bucket can be listed."""
    status, _, text = store.ask(
        "GET", query=f"versions&prefix={quote(store.prefix, safe='')}", whole_bucket=True
    )
    return "yes" if status == 200 and b"ListVersionsResult" in text else _code(status, text)


PROBES: dict[str, Callable[[Store], str]] = {
    "bucket in the host name": virtual_host,
    "signature": signatures,
    **{
        f"checksum {mode}": checksum_of(mode)
        for mode in ChecksumMode
        if mode not in (ChecksumMode.NONE, ChecksumMode.MD5)
    },
    "Content-MD5": content_md5,
    "ETag": etag,
    "If-Match": if_match,
    "If-None-Match": if_none_match,
    "ListObjectsV2": list_v2,
    "ListObjects": list_v1,
    "encoding-type": encoding_type,
    **{f"key: {name}": key_of(raw) for name, raw in ODD_KEYS.items()},
    "key: 1,024 bytes": longest_key,
    "multipart": multipart,
    "tags": tags,
    "ACL": acl,
    "storage class": storage_class,
    "metadata": metadata,
    "range": ranges,
    "copy": copying,
    "delete many": delete_many,
    "versions": versions,
}


def trial(store: Store) -> dict[str, str]:
    """What each probe found. A probe that is refused says with which code; none stops the
    others."""
    if store.own and (made := store.request("PUT", f"/{store.bucket_name}"))[0] >= 300:
        raise Refused(f"bucket {store.bucket_name} cannot be made: {_code(made[0], made[2])}")
    found: dict[str, str] = {}
    try:
        for name, probe in PROBES.items():
            try:
                found[name] = probe(store)
            except Refused as refusal:
                found[name] = f"refused ({refusal})"
            except (OSError, http.client.HTTPException, ET.ParseError) as error:
                found[name] = f"failed ({type(error).__name__}: {error})"
    finally:
        store.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.contract.store", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--endpoint-url", required=True)
    for name in ("access-key", "secret-key", "region", "bucket", "profile"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--version", default="", help="of the store, to be written down")
    parser.add_argument("--output", type=Path, help="a file for the row, as JSON")
    given = parser.parse_args()
    session = boto3.Session(profile_name=given.profile or None)
    access, secret = given.access_key, given.secret_key
    if not access and (keys := session.get_credentials()):
        access, secret = keys.access_key, keys.secret_key
    if not access:
        print(
            "no credentials: give --access-key and --secret-key, or set AWS_PROFILE",
            file=sys.stderr,
        )
        return 2
    region = given.region or session.region_name or "us-east-1"
    try:
        found = trial(Store(given.endpoint_url, access, secret, region, given.bucket))
    except (Refused, OSError) as error:
        print(f"the store cannot be tried: {error}", file=sys.stderr)
        return 1
    width = max(map(len, found))
    for name, result in found.items():
        print(f"{name:{width}}  {result}")
    if given.output:
        row: dict[str, Any] = {
            "tried": time.strftime("%Y-%m-%d"),
            "version": given.version,
            "found": found,
        }
        given.output.write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
