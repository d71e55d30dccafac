"""What fails while images are listed, planned and copied: one item alone, or a registry as a whole.

One bad item never stops the others. Only a registry that lets nobody in, or does not answer at all, ends a run.
"""

import asyncio
from collections import defaultdict
from dataclasses import dataclass

from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    HubError,
    ListingFailed,
    TransferError,
    UsageError,
)
from dth.images.registry.client import Registry
from dth.images.registry.reference import Reference

# Amazon ECR says so of one repository or image: another may be allowed.
_OF_ONE = frozenset({"AccessDenied", "AccessDeniedException", "KmsException", "NotAuthorized"})


class Incomplete(ListingFailed):
    """A list that broke off. `found` is what was told before, `cause` is why no more came."""

    def __init__(self, found: list[str], cause: HubError) -> None:
        super().__init__(str(cause))
        self.found = found
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Trouble:
    """What could not be listed, and why: an image; with neither tag nor digest a repository; without a repository the
    catalogue of the registry."""

    source: Reference
    error: HubError


class Judge:
    """Tells what concerns all of a registry from what concerns one item. One for each plan and each worker."""

    def __init__(self) -> None:
        self._whole: dict[str, TransferError] = {}  # by host
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def known(self, host: str) -> TransferError | None:
        """Why nothing can be had from this registry, if that was found out."""
        return self._whole.get(host)

    async def whole(self, registry: Registry, error: HubError) -> TransferError | None:
        """What is wrong with the registry as a whole, in view of this error. None: the error concerns one item.

        The registry is asked once more, for nothing in particular: whether it lets us in. Whoever asks at the same time
        waits for that answer, because registries lock accounts after a few wrong passwords."""
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


def reason_of(error: HubError) -> str:
    """The code by which failures are grouped."""
    if isinstance(error, Incomplete):
        return reason_of(error.cause)
    code = getattr(error, "code", "")
    return code or ("CANNOT_LIST" if isinstance(error, ListingFailed | UsageError) else type(error).__name__)
