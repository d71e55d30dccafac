"""Where a list of what to copy is stored: prefixes, a manifest, an inventory."""

import re
from pathlib import Path

from dth.core import confinement
from dth.core.errors import UsageError

# Valid names of buckets. None of them leads to another host when it is put before a host name.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")

# The file that a command keeps its standard input in, while it runs.
STDIN_PREFIX = "stdin-"
KEPT_STDIN = re.compile(STDIN_PREFIX + "[0-9a-f]{16}")


def local_list(name: str, bucket: str = "") -> Path | None:
    """The local file that the name of a list means; None if it means an object. A hub never opens
    files of its own machine, whatever the name is."""
    if bucket or name.startswith("s3://") or not confinement.local_files():
        return None
    return path if (path := Path(name)).is_file() else None


def list_name(path: Path) -> str:
    """A local list as messages name it."""
    return "standard input" if KEPT_STDIN.fullmatch(path.name) else str(path)


def listed_object(name: str, bucket: str) -> tuple[str, str]:
    """The bucket and key of a list: `s3://BUCKET/KEY`, or a key in `bucket`. Raises UsageError."""
    if not name.startswith("s3://"):
        return bucket, name
    named, _, key = name.removeprefix("s3://").partition("/")
    if not BUCKET.fullmatch(named) or not key:
        raise UsageError(f"{name!r} is not s3://bucket/key")
    return named, key


def missing(bucket: str, key: str) -> str:
    """The message for a list that does not exist."""
    also = ", nor a local file of that name" if confinement.local_files() else ""
    return f"there is no object s3://{bucket}/{key}{also}"
