"""API tokens: what they look like, and what is kept of them."""

import secrets
import time
from hashlib import sha256

from dth.errors import NotFound, UsageError
from dth.hub.auth import API_TOKEN
from dth.hub.model import Identity, Role
from dth.hub.ports import TokenInfo

MAX_NAME = 100  # characters
USED_STEP = 60.0  # seconds for which one note of use stands
FORGET_AFTER = 7 * 86400.0  # seconds after which an expired token is no longer listed


def new_token(name: str, role: Role, expires: float, created_by: str) -> tuple[TokenInfo, str]:
    """A token, and what is told of it. It has 256 random bits, so that its plain SHA-256 says nothing of it. Raises
    UsageError for a name that cannot be shown, or an end that has passed."""
    now = time.time()
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(f"a token needs a name of at most {MAX_NAME} printable characters")
    # Written so that an end that is no number at all is refused, too.
    if expires and not now < expires < float("inf"):
        raise UsageError("a token that has expired already is of no use; give a later end, or none")
    token = API_TOKEN + secrets.token_urlsafe(32)
    return TokenInfo(secrets.token_hex(8), name.strip(), role, now, expires, created_by=created_by), token


def hash_of(token: str) -> bytes:
    """What is kept of a token."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def identity_of(info: TokenInfo | None, now: float) -> Identity | None:
    """Who has the token; None: nobody, or it has expired."""
    if info is None or 0 < info.expires <= now:
        return None
    return Identity(f"token:{info.id}", info.name, info.role, via="token")


def is_use_noted(info: TokenInfo, now: float) -> bool:
    """Not for every call: a note of use is a write."""
    return abs(now - info.last_used) < USED_STEP


def unknown(id: str) -> NotFound:
    return NotFound(f"there is no token {id!r}; dth token list shows them")
