"""The two stores of a row: what is copied from, and where to; each filled and emptied in its own
way."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from bench.sink import Counts, Sink
from tests.servers.ceph import Ceph
from tests.servers.null_s3 import NullS3
from tests.servers.s3 import S3Server

MIB = 1024 * 1024


@dataclass(frozen=True)
class Stores:
    """`bucket` holds objects of `total` bytes, below `data/`; `empty` gives a bucket for copies and
    removes it afterwards; `received` are the bytes that have come into one. `counts` are the
    requests of both sides since it was last called, of stores that count."""

    source: S3Server
    dest: S3Server
    bucket: str
    total: int
    empty: Callable[[], AbstractContextManager[str]]
    received: Callable[[str], int]
    counts: Callable[[], tuple[Counts, Counts] | None]


@contextmanager
def sinks(
    count: int, size: int, *, delay: float = 0, service: float = 0, limit: float = 0
) -> Iterator[Stores]:
    """Stores that need next to no CPU, as far and as slow as said; the limit is the
    destination's."""
    with (
        Sink(count, size, delay=delay, service=service) as source,
        Sink(0, size, delay=delay, service=service, limit=limit) as dest,
    ):
        numbers = iter(range(1, 1000))

        @contextmanager
        def empty() -> Iterator[str]:
            yield f"dst-{next(numbers)}"

        yield Stores(
            source,
            dest,
            "src",
            count * size,
            empty,
            dest.received,
            lambda: (source.counts(), dest.counts()),
        )


@contextmanager
def nginx(count: int, size: int, *, tls: bool = False) -> Iterator[Stores]:
    """A web server with files in memory: costs a tenth of what a real store costs."""
    with NullS3(tls=tls) as source, NullS3(tls=tls, ca=source if tls else None) as dest:
        bucket = source.bucket("src")
        _fill(source, bucket, count, size)
        yield Stores(
            source,
            dest,
            bucket,
            count * size,
            partial(_emptied, dest),
            partial(_received, dest),
            lambda: None,
        )


@contextmanager
def ceph(count: int, size: int) -> Iterator[Stores]:
    """A real store of one node, in memory, on both sides: a bucket of it is copied into another
    one."""
    with Ceph() as store:
        client = store.boto()
        client.create_bucket(Bucket="src")
        body = os.urandom(size)

        def put(number: int) -> None:
            client.put_object(Bucket="src", Key=f"data/{number:08}", Body=body)

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(put, range(count)))
        numbers = iter(range(1, 1000))

        @contextmanager
        def empty() -> Iterator[str]:
            name = f"dst-{next(numbers)}"
            client.create_bucket(Bucket=name)
            yield name
            # Its memory is wanted for the next copies.
            for entry in listed(name):
                client.delete_object(Bucket=name, Key=entry["Key"])

        def listed(name: str) -> Iterator[dict[str, Any]]:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
                yield from page.get("Contents", ())

        def received(name: str) -> int:
            return sum(entry["Size"] for entry in listed(name))

        yield Stores(store, store, "src", count * size, empty, received, lambda: None)


# -------------------------------------------------------------------------------------------- nginx


def _fill(store: NullS3, bucket: str, count: int, size: int) -> None:
    """Objects `data/NNNNNNNN` of random bytes, and the canned listing of them. Large ones are one
    file by many names: the memory is wanted for the copies."""
    folder = store.folder / bucket / "data"
    folder.mkdir(parents=True)
    block = os.urandom(min(size, 4 * MIB))
    entries = []
    for number in range(count):
        path = folder / f"{number:08}"
        if number and size > len(block) // 4:
            path.hardlink_to(folder / f"{0:08}")
        else:
            with path.open("wb") as file:
                for _ in range(0, size, len(block)):
                    file.write(block)
        stat = path.stat()
        # nginx makes ETags of the time and size; the listing must tell the same.
        entries.append((f"data/{number:08}", size, f"{int(stat.st_mtime):x}-{stat.st_size:x}"))
    pages = store.folder / ".lists" / bucket
    pages.mkdir()
    for start in range(0, count, 1000):
        token = f"{start + 1000}" if start + 1000 < count else ""
        name = f"page{start or ''}.xml"
        (pages / name).write_text(_listing(bucket, entries[start : start + 1000], token))


def _received(store: NullS3, bucket: str) -> int:
    folders = (store.folder / bucket, store.folder / ".parts")
    return sum(
        file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file()
    )


def _listing(bucket: str, entries: list[tuple[str, int, str]], token: str) -> str:
    rows = "".join(
        f"<Contents><Key>{quote(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key, size, etag in entries
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult '
        'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{escape(bucket)}</Name><Prefix></Prefix><KeyCount>{len(entries)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<EncodingType>url</EncodingType><IsTruncated>{'true' if token else 'false'}</IsTruncated>{more}{rows}"
        "</ListBucketResult>"
    )


@contextmanager
def _emptied(store: NullS3) -> Iterator[str]:
    """A bucket whose objects, and the parts of uploads (which completing does not join), are
    removed afterwards."""
    bucket = store.bucket("dst")
    yield bucket
    shutil.rmtree(store.folder / bucket)
    store.forget_parts()
