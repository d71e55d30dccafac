"""Named secrets: valid names and values."""

import json
import re

from dth.core.errors import Conflict, NotFound, UsageError

# Also valid as a file name (s3.credentials.FileSecrets).
NAME = re.compile(r"[\w+=,@-][\w+=,.@-]{0,254}")
MAX_VALUE = 65_536  # bytes
MAX_DESCRIPTION = 1000
ACCESS_KEYS = {"access_key_id", "secret_access_key"}
FORM = '{"access_key_id": "…", "secret_access_key": "…"}'


def missing(name: str) -> NotFound:
    return NotFound(f"there is no secret {name!r}")


def exists(name: str) -> Conflict:
    return Conflict(f"there is a secret {name!r} already; update it, or delete it first")


def check_name(name: str) -> None:
    """Raises UsageError for an invalid name."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} is not a valid name for a secret: letters, digits and any of "
            "_+=,.@- make one, up to 255"
        )


def check_description(name: str, description: str) -> None:
    """Raises UsageError for an invalid description."""
    if len(description) > MAX_DESCRIPTION:
        raise UsageError(
            f"the description of secret {name!r} is too long; {MAX_DESCRIPTION} characters are "
            "the most"
        )


def check_value(name: str, value: str) -> None:
    """Raises UsageError unless the value is a JSON object of texts: either access keys, or whatever
    else its user needs, such as a registry's user and password."""
    try:
        if len(value.encode()) > MAX_VALUE:
            raise UsageError(f"secret {name!r} is too large; {MAX_VALUE // 1024} KiB are the most")
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(each, str) for each in found.values())
    ):
        raise UsageError(f"secret {name!r} is not JSON of the form {FORM}, with texts as values")
    if ACCESS_KEYS & found.keys() and not all(found.get(each) for each in ACCESS_KEYS):
        raise UsageError(
            f"secret {name!r} has one half of a pair of access keys; its form is {FORM}"
        )
