"""Small objects and large ones, from one null store to another: dth beside rclone.

The null store is nginx on memory: it costs a tenth of a real one, so that the clients are what is measured.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

from bench.measure import CREDENTIALS, RCLONE_BEST, Cost, best_of, dth, rclone_remotes, run, tool
from tests.servers.null_s3 import NullS3

MIB = 1024 * 1024
SMALL_COUNT = 50_000
SMALL_SIZE = 10 * 1024
LARGE_COUNT = 16
ROUNDS = 3  # of each variant, in turns
LARGE_SIZE = 512 * MIB


def fill(store: NullS3, bucket: str, count: int, size: int) -> None:
    """Objects `data/NNNNNNNN` of random bytes, and the canned listing of them. Large ones are one file by many names:
    the memory is wanted for the copies."""
    folder = store.folder / bucket / "data"
    folder.mkdir(parents=True)
    block = os.urandom(min(size, 4 * MIB))
    entries = []
    for number in range(count):
        path = folder / f"{number:08}"
        if number and size > len(block):
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
        (pages / name).write_text(listing(bucket, entries[start : start + 1000], token))


def listing(bucket: str, entries: list[tuple[str, int, str]], token: str) -> str:
    rows = "".join(
        f"<Contents><Key>{quote(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key, size, etag in entries
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{escape(bucket)}</Name><Prefix></Prefix><KeyCount>{len(entries)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<EncodingType>url</EncodingType><IsTruncated>{'true' if token else 'false'}</IsTruncated>{more}{rows}"
        "</ListBucketResult>"
    )


def sync(source: NullS3, dest: NullS3, src: str, dst: str, *options: str) -> Cost:
    ca = ("--src-ca-bundle", str(source.ca), "--dst-ca-bundle", str(dest.ca)) if source.ca else ()
    with tempfile.TemporaryDirectory() as state:
        return run(
            dth(
                "s3", "sync", f"s3://{src}", f"s3://{dst}", "--src-endpoint-url", source.url,
                "--dst-endpoint-url", dest.url, "--quiet", "--state", str(Path(state) / "state"), *ca, *options,
            ),
            **CREDENTIALS,
        )  # fmt: skip


def rclone(source: NullS3, dest: NullS3, src: str, dst: str, *options: str) -> Cost:
    ca = str(source.ca) if source.ca else ""
    return run(
        [tool("rclone"), "copy", f"src:{src}/data", f"dst:{dst}/data", *RCLONE_BEST, *options],
        **rclone_remotes(source.url, dest.url, ca),
    )


def small(count: int = SMALL_COUNT) -> dict[str, Cost]:
    """`count` objects of 10 KiB, whole path: list, compare, queue, relay, records."""
    with NullS3() as source, NullS3() as dest:
        src = source.bucket("src")
        fill(source, src, count, SMALL_SIZE)

        def dth_with(workers: str) -> Cost:
            with emptied(dest) as dst:
                return sync(source, dest, src, dst, "--workers", workers)

        def rclone_with(transfers: str) -> Cost:
            with emptied(dest) as dst:
                return rclone(source, dest, src, dst, "--transfers", transfers)

        return best_of(
            ROUNDS,
            {
                "dth, 1 worker": partial(dth_with, "1"),
                "dth, 2 workers": partial(dth_with, "2"),
                "rclone, 16 transfers": partial(rclone_with, "16"),
                "rclone, 64 transfers": partial(rclone_with, "64"),
            },
        )


def scaling(count: int = SMALL_COUNT) -> dict[str, Cost]:
    """The same objects with one worker, where all the machine (stores included) is one core, and with two on two: on
    more cores than the clients can use, the stores would be what is measured."""

    def on(cores: int) -> Cost:
        with pinned(cores), NullS3() as source, NullS3() as dest:
            src = source.bucket("src")
            fill(source, src, count, SMALL_SIZE)
            with emptied(dest) as dst:
                return sync(source, dest, src, dst, "--workers", str(cores))

    return best_of(ROUNDS, {"1 core": partial(on, 1), "2 cores": partial(on, 2)})


@contextmanager
def pinned(cores: int) -> Iterator[None]:
    """What is started meanwhile runs on so many cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def large(*, tls: bool = False) -> dict[str, Cost]:
    """8 GiB in 512 MiB objects."""
    multipart = ("--s3-chunk-size", "16M", "--s3-upload-concurrency", "8", "--multi-thread-streams", "0")
    with NullS3(tls=tls) as source, NullS3(tls=tls, ca=source) as dest:
        src = source.bucket("src")
        fill(source, src, LARGE_COUNT, LARGE_SIZE)

        def dth_with(workers: str) -> Cost:
            with emptied(dest) as dst:
                return sync(source, dest, src, dst, "--workers", workers)

        def rclone_with(transfers: str) -> Cost:
            with emptied(dest) as dst:
                return rclone(source, dest, src, dst, "--transfers", transfers, *multipart)

        return best_of(
            ROUNDS,
            {
                "dth, 1 worker": partial(dth_with, "1"),
                "dth, 2 workers": partial(dth_with, "2"),
                "rclone, 2 transfers": partial(rclone_with, "2"),
                "rclone, 4 transfers": partial(rclone_with, "4"),
            },
        )


@contextmanager
def emptied(store: NullS3) -> Iterator[str]:
    """A bucket whose objects, and the parts of uploads (which completing does not join), are removed afterwards."""
    bucket = store.bucket("dst")
    yield bucket
    shutil.rmtree(store.folder / bucket)
    store.forget_parts()
