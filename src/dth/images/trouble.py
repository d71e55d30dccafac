"""Failures during listing, planning, and copying: of one item, or of a whole registry.

One bad item never stops the others. A run ends only if a registry refuses everybody or does not
answer at all.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dth.core import no_answer
from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    HubError,
    ListingFailed,
    TransferError,
    Unreachable,
    UsageError,
)
from dth.images.registry.client import Registry
from dth.images.registry.reference import Reference
from dth.images.registry.signing import CredentialsWanted

if TYPE_CHECKING:
    from dth.images.task import ImageRoute

# Amazon ECR returns these for one repository or image: another may be allowed.
_OF_ONE = frozenset({"AccessDenied", "AccessDeniedException", "KmsException", "NotAuthorized"})


class Incomplete(ListingFailed):
    """A list that broke off. `found` is what was listed before, `cause` the reason."""

    def __init__(self, found: list[str], cause: HubError) -> None:
        super().__init__(str(cause))
        self.found = found
        self.cause = cause


@dataclass(frozen=True, slots=True)
class ListingTrouble:
    """What could not be listed, and why.

    An image; with neither tag nor digest, a repository; without a repository, the registry's
    catalog.
    """

    source: Reference
    error: HubError


class Judge:
    """Decides whether an error concerns a whole registry or one item. One per plan and per
    worker."""

    def __init__(self) -> None:
        self._whole: dict[str, TransferError] = {}  # by host
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def known(self, host: str) -> TransferError | None:
        """Return why this whole registry is unavailable, if that is already known."""
        return self._whole.get(host)

    async def whole(self, registry: Registry, error: HubError) -> TransferError | None:
        """Return what is wrong with the registry as a whole. None: the error concerns one item.

        Asks the registry once more whether it accepts the sign-in. Concurrent callers wait for that
        answer, because registries lock accounts after a few wrong passwords.
        """
        if not isinstance(error, EndpointRefused | ConnectionFailed) or error.code in _OF_ONE:
            return None
        async with self._locks[registry.host]:
            if found := self._whole.get(registry.host):
                return found
            try:
                await registry.ping()
            except (EndpointRefused, ConnectionFailed) as found:
                self._whole[registry.host] = found
                return found
            except TransferError:
                return None
        return None


def remedy(error: TransferError) -> str:
    """What to do about a registry that is unavailable as a whole."""
    match error:
        case CredentialsWanted():
            return "name a secret, or sign in on this machine with skopeo login"
        case Unreachable(code="NoTls"):
            return "set plain HTTP for it if that is meant, or correct its name"
        case Unreachable(code="WantsTls"):
            return (
                "leave out plain HTTP for it; for a registry on this machine, give its authority in "
                "a CA bundle"
            )
        case EndpointRefused(code="AddressRefused"):
            return "name another registry, or ask the administrator of the hub"
        case Unreachable():
            return no_answer.certificate_remedy(
                str(error), authorities="a CA bundle", address="its name"
            )
        case ConnectionFailed():
            return "see that its name is right and that it can be reached from here"
    return "correct the credentials, and see that they may use this registry"


def told(error: HubError, route: "ImageRoute") -> str:
    """What ended a run or paused a task: the side, what is wrong there, and what to do about it."""
    if not isinstance(error, EndpointRefused | ConnectionFailed):
        return str(error)
    host = error.host or str(error).partition(" ")[0].rstrip(":")
    sides = {
        "source": host in [each.registry.host for each in route.origin.fronts],
        "destination": host == route.dest.registry.host,
    }
    of = [side for side, is_here in sides.items() if is_here]
    # Both sides may be one registry.
    which = f"{of[0]}: " if len(of) == 1 else ""
    return f"{which}{in_words(error)}; {remedy(error)}"


def in_words(error: HubError) -> str:
    """What is wrong, without the words of the program that met it."""
    host, colon, said = str(error).partition(": ")
    # Only what came from the wire begins with the host alone.
    if not isinstance(error, TransferError) or error.status or not colon or " " in host:
        return str(error)
    return no_answer.meaning(said, host) or str(error)


def reason_of(error: HubError) -> str:
    """Return the code by which failures are grouped."""
    if isinstance(error, Incomplete):
        return reason_of(error.cause)
    code = getattr(error, "code", "")
    return code or (
        "CANNOT_LIST" if isinstance(error, ListingFailed | UsageError) else type(error).__name__
    )
