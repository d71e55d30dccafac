"""The commands that a row compares: ours with its default settings, and each peer with the best
that it has."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from bench.measure import Cost, dth, run, tool
from bench.stores import Stores
from tests.servers.s3 import S3Server

Command: TypeAlias = Callable[[Stores, str], Cost]
"""Copies all from the source into a bucket of the destination, and says what that cost."""

# rclone without what takes time: no HEAD after a PUT, no checksums, no look at the destination.
_BARE = (
    "--s3-no-head", "--s3-no-head-object", "--s3-disable-checksum", "--ignore-checksum",
    "--no-check-dest",
    "--s3-no-check-bucket",
)  # fmt: skip


def ours(*options: str, state: str = "") -> Command:
    """`state`: where earlier and other commands leave what they learned about stores; else it is a
    place of its own."""

    def command(stores: Stores, bucket: str) -> Cost:
        source, dest = stores.source, stores.dest
        ca = (
            ("--src-ca-bundle", str(source.ca), "--dst-ca-bundle", str(dest.ca))
            if source.ca
            else ()
        )
        with tempfile.TemporaryDirectory() as own:
            return counted(
                stores,
                bucket,
                dth(
                    "s3", "sync", f"s3://{stores.bucket}", f"s3://{bucket}", "--src-endpoint-url",
                    source.url,
                    "--dst-endpoint-url", dest.url, "--quiet", *ca, *options,
                ),
                AWS_ACCESS_KEY_ID=source.access_key,
                AWS_SECRET_ACCESS_KEY=source.secret_key,
                AWS_REGION=source.region,
                XDG_STATE_HOME=state or own,
            )  # fmt: skip

    return command


def rclone(transfers: int, *options: str) -> Command:
    """With all its checks: the MD5 of what was written, by a HEAD after each PUT."""

    def command(stores: Stores, bucket: str) -> Cost:
        words = [
            "--transfers",
            str(transfers),
            "--checkers",
            "64",
            "--retries",
            "1",
            "--stats",
            "0",
            "--fast-list",
            *options,
        ]
        return counted(
            stores,
            bucket,
            [tool("rclone"), "copy", f"src:{stores.bucket}", f"dst:{bucket}", *words, *options],
            **_remote("SRC", stores.source),
            **_remote("DST", stores.dest),
            RCLONE_CONFIG="/notfound",
            **({"RCLONE_CA_CERT": str(stores.source.ca)} if stores.source.ca else {}),
        )

    return command


def bare_rclone(transfers: int, *options: str) -> Command:
    """With no check of anything."""
    return rclone(transfers, *_BARE, *options)


def juicefs(threads: int) -> Command:
    """Speaks TLS only with stores that have a bucket's name before their own: no row over TLS."""

    def command(stores: Stores, bucket: str) -> Cost:
        return counted(
            stores,
            bucket,
            [
                tool("juicefs"), "sync", _juicefs_url(stores.source, stores.bucket),
                _juicefs_url(stores.dest, bucket),
                "--threads", str(threads), "--metrics", "127.0.0.1:0",
            ],
        )  # fmt: skip

    return command


def counted(stores: Stores, bucket: str, command: list[str], **environment: str) -> Cost:
    """Run it, with what the stores counted meanwhile."""
    stores.counts()
    started = time.monotonic()
    before = stores.received(bucket)
    cost = run(command, **environment)
    came = stores.received(bucket) - before
    if came < stores.total:
        raise RuntimeError(f"{command[0]} copied {came:,} of {stores.total:,} bytes")
    found = stores.counts()
    if found is None:
        return cost
    source, dest = found
    took = dest.last_write - dest.first_write
    return replace(
        cost,
        requests=source.requests + dest.requests,
        refused=dest.refused,
        first=dest.first_write - started if dest.first_write else 0,
        rate=(dest.puts + dest.parts) / took if took else 0,
    )


def _remote(name: str, store: S3Server) -> dict[str, str]:
    """Environment that defines a remote."""
    settings = {
        "TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": store.url, "ACCESS_KEY_ID": store.access_key,
        "SECRET_ACCESS_KEY": store.secret_key, "REGION": store.region, "LIST_VERSION": "2",
    }  # fmt: skip
    return {f"RCLONE_CONFIG_{name}_{key}": value for key, value in settings.items()}


def _juicefs_url(store: S3Server, bucket: str) -> str:
    return f"minio://{store.access_key}:{store.secret_key}@127.0.0.1:{store.port}/{bucket}/"
