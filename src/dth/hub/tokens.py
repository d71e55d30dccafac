"""API tokens: their form, what the hub stores of them, and what they permit.

A token belongs to the user who made it. It ends with that user, and never permits more than the
user's current role. A token made on the hub's machine, or by a user of an external issuer, has no
owner that the hub can check: it is valid until it expires or is revoked.
"""

import secrets
from hashlib import sha256

from dth.core import clock
from dth.core.errors import NotFound, UsageError
from dth.hub.auth import API_TOKEN
from dth.hub.model import ROLES, Identity, Role
from dth.hub.ports import TokenInfo

MAX_NAME = 100  # characters
# Seconds during which one note of use suffices.
USED_STEP = 60.0
DEFAULT_DAYS = 90.0  # default lifetime in days
# Seconds after which an expired token is no longer listed.
FORGET_AFTER = 7 * 86400.0


def new_token(
    name: str, role: Role, expires: float, created_by: str, owner: str
) -> tuple[TokenInfo, str]:
    """A new token, and its description. The token has 256 random bits, so its plain SHA-256 reveals
    nothing. Raises UsageError for a name that cannot be shown, or an expiry in the past."""
    now = clock.now()
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(f"a token needs a name of at most {MAX_NAME} printable characters")
    # Written so that NaN is refused, too.
    if expires and not now < expires < float("inf"):
        raise UsageError("a token that has expired already is of no use; give a later end, or none")
    token = API_TOKEN + secrets.token_urlsafe(32)
    info = TokenInfo(
        secrets.token_hex(8), name.strip(), role, now, expires, created_by=created_by, owner=owner
    )
    return info, token


def hash_of(token: str) -> bytes:
    """The stored form of a token."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def identity_of(info: TokenInfo | None, now: float, of_owner: Role | None) -> Identity | None:
    """The identity of the token; None if it is unknown or has ended. `of_owner`: the owner's
    current role."""
    if info is None or 0 < info.expires <= now:
        return None
    role = info.role
    if info.owner:
        if of_owner is None:
            return None
        role = min(role, of_owner, key=ROLES.index)
    return Identity(f"token:{info.id}", info.name, role, via="token", user=info.owner)


def is_use_noted(info: TokenInfo, now: float) -> bool:
    """Whether the use need not be noted again: each note is a write."""
    return abs(now - info.last_used) < USED_STEP


def unknown(id: str) -> NotFound:
    """The error for a token that does not exist."""
    return NotFound(f"there is no token {id!r}; dth token list shows them")
