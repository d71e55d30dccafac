"""The destination of images: one registry, and what it already has."""

from collections.abc import Sequence
from typing import Protocol

from dth.core.errors import TransferError
from dth.images.crowd import led
from dth.images.registry.client import Registry
from dth.images.registry.control import EcrControl, TagRule


class Destination(Protocol):
    """Answers about the destination registry."""

    makes_repositories: bool  # repositories must exist before a push

    async def repositories(self, names: Sequence[str]) -> dict[str, TagRule]:
        """Return those of the repositories that exist, with the rule for their tags.

        A registry that creates repositories on push may report all as existing.
        """
        ...

    async def digests(
        self, repository: str, references: Sequence[str]
    ) -> dict[str, str | TransferError]:
        """Return the digests of the tags and digests that exist; an error for each failed
        request."""
        ...

    @property
    def registry(self) -> Registry: ...


class EcrDestination:
    """An Amazon ECR registry. Lists each repository once, in bulk."""

    makes_repositories = True

    def __init__(self, control: EcrControl, registry: Registry) -> None:
        self._control = control
        self._registry = registry

    @property
    def registry(self) -> Registry:
        return self._registry

    async def repositories(self, names: Sequence[str]) -> dict[str, TagRule]:
        found = await self._control.repositories(names)
        return {name: each.tag_rule for name, each in found.items()}

    async def digests(
        self, repository: str, references: Sequence[str]
    ) -> dict[str, str | TransferError]:
        known: dict[str, str] = {}
        try:
            images = await self._control.images(repository)
        except TransferError as error:
            return dict.fromkeys(references, error)
        for image in images or []:
            known[image.digest] = image.digest
            known |= dict.fromkeys(image.tags, image.digest)
        return {each: known[each] for each in references if each in known}


class OciDestination:
    """Any registry: one HEAD per tag. The registry creates repositories on push."""

    makes_repositories = False

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def registry(self) -> Registry:
        return self._registry

    async def repositories(self, names: Sequence[str]) -> dict[str, TagRule]:
        return dict.fromkeys(names, TagRule())

    async def digests(
        self, repository: str, references: Sequence[str]
    ) -> dict[str, str | TransferError]:
        found = await led(self._digest(repository, each) for each in references)
        return {each: digest for each, digest in zip(references, found, strict=True) if digest}

    async def _digest(self, repository: str, reference: str) -> str | TransferError | None:
        try:
            return await self._registry.head(repository, reference)
        except TransferError as error:
            return error
