"""How the API writes times and keys, and what it takes as a number or a time."""

import base64
import math
from datetime import UTC, datetime

from dth.core.errors import UsageError

MAX_INT = 2**31 - 1  # of GraphQL
LAST_TIME = 253_402_300_800.0  # seconds: the year 10000 begins
REPLACED = "\ufffd"


def iso(moment: float) -> str | None:
    """A time as AWSDateTime; None for never."""
    if not moment:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cursor(key: str) -> str:
    """A token that stands for a key, byte for byte."""
    return base64.urlsafe_b64encode(key.encode("utf-8", "surrogateescape")).decode().rstrip("=")


def key_of(token: str | None) -> str:
    """The key that a token stands for; "" for none. Raises UsageError."""
    text = token or ""
    try:
        made = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError:
        raise UsageError(f"nextToken: {text[:50]!r} is no token; take the nextToken of a page") from None
    return made.decode("utf-8", "surrogateescape")


def text_of(key: str) -> str:
    """A key as JSON can hold it: a byte that is not UTF-8 is shown as `REPLACED`."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def milliseconds(moment: float) -> str | None:
    return str(int(moment * 1000)) if moment else None


def seconds(name: str, text: str | None) -> float:
    if not text:
        return 0.0
    try:
        found = float(text) / 1000
    except ValueError:
        found = math.nan
    if not abs(found) < LAST_TIME:
        raise UsageError(f"{name}: {text[:50]!r} is no time in epoch milliseconds")
    return found


def at_least_one(name: str, value: int) -> int:
    if not 1 <= value <= 1_000_000:
        raise UsageError(f"{name}: {value} is out of range; pages count from 1")
    return value


def within(name: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise UsageError(f"{name}: {value} is out of range; it must be from 1 to {most}")
    return value
