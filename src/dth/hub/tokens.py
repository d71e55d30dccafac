"""API tokens: what they look like, what is kept of them, and what they may.

A token belongs to the user who made it. It ends with that user, and may never do more than the user may at that moment.
A token that was made on the hub's machine, or by a user of an external issuer, has no owner whom the hub could ask
about: it holds until it expires or is revoked.
"""

import secrets
import time
from hashlib import sha256

from dth.core.errors import NotFound, UsageError
from dth.hub.auth import API_TOKEN
from dth.hub.model import ROLES, Identity, Role
from dth.hub.ports import TokenInfo

MAX_NAME = 100  # characters
USED_STEP = 60.0  # seconds for which one note of use stands
DEFAULT_DAYS = 90.0  # for which a token holds whose end nobody said
FORGET_AFTER = 7 * 86400.0  # seconds after which an expired token is no longer listed


def new_token(name: str, role: Role, expires: float, created_by: str, owner: str) -> tuple[TokenInfo, str]:
    """A token, and what is told of it. It has 256 random bits, so that its plain SHA-256 says nothing of it. Raises
    UsageError for a name that cannot be shown, or an end that has passed."""
    now = time.time()
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(f"a token needs a name of at most {MAX_NAME} printable characters")
    # Written so that an end that is no number at all is refused, too.
    if expires and not now < expires < float("inf"):
        raise UsageError("a token that has expired already is of no use; give a later end, or none")
    token = API_TOKEN + secrets.token_urlsafe(32)
    info = TokenInfo(
        secrets.token_hex(8), name.strip(), role, now, expires, created_by=created_by, owner=owner
    )
    return info, token


def hash_of(token: str) -> bytes:
    """What is kept of a token."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def identity_of(info: TokenInfo | None, now: float, of_owner: Role | None) -> Identity | None:
    """Who has the token; None: nobody, or it has ended. `of_owner`: the role that the owner has now."""
    if info is None or 0 < info.expires <= now:
        return None
    role = info.role
    if info.owner:
        if of_owner is None:
            return None
        role = min(role, of_owner, key=ROLES.index)
    return Identity(f"token:{info.id}", info.name, role, via="token", user=info.owner)


def is_use_noted(info: TokenInfo, now: float) -> bool:
    """Not for every call: a note of use is a write."""
    return abs(now - info.last_used) < USED_STEP


def unknown(id: str) -> NotFound:
    return NotFound(f"there is no token {id!r}; dth token list shows them")
