"""User names: their form, which is the same on every platform."""

import re
import unicodedata

from dth.core.errors import UsageError

MAX_NAME = 64  # characters


def canonical(name: str) -> str:
    """The stored form of a name, as people write theirs in more than one way. A lone surrogate,
    which databases do not accept, becomes an escape."""
    kept = unicodedata.normalize("NFKC", name).strip().casefold()
    return kept.encode("utf-8", "backslashreplace").decode()


def is_name(name: str) -> bool:
    """Whether the text is a valid user name in its stored form."""
    return len(name) <= MAX_NAME and re.fullmatch(r"\w[\w.@+-]*", name) is not None


def new_name(name: str) -> str:
    """The name of a new user in its stored form. Raises UsageError."""
    kept = canonical(name)
    if not is_name(kept):
        shown = name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}..."
        raise UsageError(
            f"{shown!r} is not a user name: letters, digits and any of _.@+- make one, "
            f"{MAX_NAME} at most"
        )
    return kept
