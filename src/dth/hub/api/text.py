"""How the API writes times and keys, and which numbers and times it accepts."""

import base64
import math
from datetime import UTC, datetime

from dth.core.errors import UsageError

MAX_INT = 2**31 - 1  # of a GraphQL Int
LAST_TIME = 253_402_300_800.0  # seconds: start of the year 10000
REPLACED = "\ufffd"


def iso(moment: float) -> str | None:
    """A time as AWSDateTime; None for never."""
    if not moment:
        return None
    return (
        datetime.fromtimestamp(moment, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def cursor(key: str) -> str:
    """A page token for a key, byte for byte."""
    return base64.urlsafe_b64encode(key.encode("utf-8", "surrogateescape")).decode().rstrip("=")


def key_of(token: str | None) -> str:
    """The key of a page token; "" for none. Raises UsageError."""
    text = token or ""
    try:
        made = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError:
        raise UsageError(
            f"nextToken: {text[:50]!r} is not a token; take the nextToken of a page"
        ) from None
    return made.decode("utf-8", "surrogateescape")


def text_of(key: str) -> str:
    """A key as JSON can represent it: bytes that are not UTF-8 become `REPLACED`."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def milliseconds(moment: float) -> str | None:
    """A time in epoch milliseconds, as text; None for never."""
    return str(int(moment * 1000)) if moment else None


def seconds(name: str, text: str | None) -> float:
    """A time in seconds, from epoch milliseconds; 0 for none. `name`: of the argument. Raises
    UsageError."""
    if not text:
        return 0.0
    try:
        found = float(text) / 1000
    except ValueError:
        found = math.nan
    if not abs(found) < LAST_TIME:
        raise UsageError(f"{name}: {text[:50]!r} is not a time in epoch milliseconds")
    return found


def at_least_one(name: str, value: int) -> int:
    """Check the number of a page. Raises UsageError."""
    if not 1 <= value <= 1_000_000:
        raise UsageError(f"{name}: {value} is out of range; pages count from 1")
    return value


def within(name: str, value: int, most: int) -> int:
    """Check that a number is from 1 to `most`. Raises UsageError."""
    if not 1 <= value <= most:
        raise UsageError(f"{name}: {value} is out of range; it must be from 1 to {most}")
    return value
