"""Where a list of what to copy lies: prefixes, a manifest, an inventory."""

import re
from pathlib import Path

from dth.core import confinement
from dth.core.errors import UsageError

# What a store may call a bucket; nothing that would lead to another host where the name stands before it.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def local_list(name: str, bucket: str = "") -> Path | None:
    """The file of this machine that the name of a list means; None where it is an object. A hub opens none of its
    machine, whatever the name is."""
    if bucket or name.startswith("s3://") or not confinement.local_files():
        return None
    return path if (path := Path(name)).is_file() else None


def listed_object(name: str, bucket: str) -> tuple[str, str]:
    """Bucket and key of a list: `s3://BUCKET/KEY`, or a key in `bucket`. Raises UsageError."""
    if not name.startswith("s3://"):
        return bucket, name
    named, _, key = name.removeprefix("s3://").partition("/")
    if not BUCKET.fullmatch(named) or not key:
        raise UsageError(f"{name!r} is not s3://bucket/key")
    return named, key


def missing(bucket: str, key: str) -> str:
    """What is said of a list that is not there."""
    also = ", nor a local file of that name" if confinement.local_files() else ""
    return f"there is no object s3://{bucket}/{key}{also}"
