"""What a destination holds below its manifests: which layers in which repositories, and what it
lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from dth.core.errors import Corrupted, HubError, ObjectRefused, TransferError
from dth.images.crowd import gather
from dth.images.destination import Destination

NEIGHBOURS = 100  # repositories to search for layers


class Holdings:
    """Answers about a destination's content. Requests each thing once.

    `concerns_one` raises an error that concerns the whole destination.
    """

    def __init__(
        self, destination: Destination, concerns_one: Callable[[HubError], Awaitable[None]]
    ) -> None:
        self._destination = destination
        self._registry = destination.registry
        self._concerns_one = concerns_one
        self._has_blob: dict[tuple[str, str], asyncio.Task[bool]] = {}

    async def close(self) -> None:
        """Cancel pending requests."""
        for task in self._has_blob.values():
            task.cancel()
        await asyncio.gather(*self._has_blob.values(), return_exceptions=True)

    async def lost(self, repository: str, digest: str) -> list[str]:
        """Return the digests of everything missing below this digest."""
        try:
            found = await self._registry.manifest(repository, digest)
        except (Corrupted, ObjectRefused):
            found = None
        if found is None:
            return [digest]
        blobs = list(dict.fromkeys(blob.digest for blob in found.blobs))
        there = await gather(self._keeps(repository, blob) for blob in blobs)
        lost = [blob for blob, kept in zip(blobs, there, strict=True) if not kept]
        for child in found.children:
            lost += await self.lost(repository, child.digest)
        return lost

    async def repositories(self, names: Iterable[str], known: set[str]) -> set[str]:
        """Return the repositories that exist, as far as the registry reports it.

        A repository that does not exist has no layers. The `known` ones exist.
        """
        wanted = set(names)
        if self._destination.makes_repositories:
            return wanted
        asked = sorted(wanted - known)
        there = await gather(self._registry.has_repository(name) for name in asked)
        return wanted & known | {name for name, has in zip(asked, there, strict=True) if has}

    async def where(self, places: Mapping[str, set[str]]) -> dict[str, str]:
        """Return the layers found in one of the repositories given for each, with that
        repository."""
        found = await gather(
            self._one_of(digest, sorted(names)) for digest, names in places.items()
        )
        return {digest: has for digest, has in zip(places, found, strict=True) if has}

    async def neighbours(self, wanted: set[str], images: Mapping[str, str]) -> dict[str, str]:
        """Return wanted layers found in other repositories, with the repository.

        Reads one image (by digest) of each repository. Any machine may have put the layers there.
        """
        if not wanted:
            return {}
        looked = dict(sorted(images.items())[:NEIGHBOURS])
        inside = await gather(self._inside(name, digest) for name, digest in looked.items())
        return {
            blob: name
            for name, has in zip(looked, inside, strict=True)
            for blob in sorted(has & wanted)
        }

    async def _keeps(self, repository: str, blob: str) -> bool:
        place = (repository, blob)
        if place not in self._has_blob:
            self._has_blob[place] = asyncio.ensure_future(self._registry.has_blob(repository, blob))
        return await asyncio.shield(self._has_blob[place])

    async def _one_of(self, digest: str, repositories: list[str]) -> str:
        for name in repositories:
            try:
                if await self._keeps(name, digest):
                    return name
            except TransferError as error:
                await self._concerns_one(error)
        return ""

    async def _inside(self, repository: str, digest: str) -> set[str]:
        """Return the layers below a manifest; an empty set if it cannot be read."""
        try:
            top = await self._registry.manifest(repository, digest)
            parts = [
                await self._registry.manifest(repository, part.digest)
                for part in (top.children if top else ())
            ]
            return {blob.digest for each in (top, *parts) if each for blob in each.blobs}
        except TransferError:
            return set()
