"""What is to be copied: the images of a source that a selection takes.

Amazon ECR lists a repository in bulk, with digests and times. Any other registry lists its tags; when an image was
built is written in the image, which has to be asked for. A source that cannot be listed says why.

What refers to an image (signatures, attestations, SBOMs) is no image of its own: it is found by the image's digest and
goes along with it. Cosign keeps it under tags made from the digest, OCI 1.1 as manifests with a subject.
"""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from dth.ecr.control import EcrControl, EcrImage
from dth.ecr.crowd import gather
from dth.ecr.parameters import EcrParameters, SourceList
from dth.ecr.patterns import Choice
from dth.ecr.reference import Reference
from dth.ecr.registry import Registry, fallback_tag
from dth.ecr.selection import Wanted, read_image_list
from dth.errors import ListingFailed, ObjectRefused, TransferError

COSIGN = (".sig", ".att", ".sbom")  # ends of its tags
_ATTACHED = re.compile(r"sha(256-[a-f0-9]{64}|512-[a-f0-9]{64,128})(\.\w+)?")


@dataclass(frozen=True, slots=True, order=True)
class Image:
    """What a source has under a tag, or by its digest alone. What is not known is empty."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""
    size: int = 0  # bytes
    made: float = 0.0  # when it was pushed, or else built: epoch seconds
    media_type: str = ""
    subject: str = ""  # digest of the image that this one is about

    @property
    def reference(self) -> Reference:
        return Reference(self.registry, self.repository, self.tag, "" if self.tag else self.digest)


@dataclass(frozen=True, slots=True)
class Selection:
    """`wanted`: what is named; None for everything. What is named by tag or digest is taken as it is; the rest must
    pass the choices, the time and the number."""

    wanted: tuple[Wanted, ...] | None = None
    repositories: Choice = field(default_factory=Choice)
    tags: Choice = field(default_factory=Choice)
    newest: int | None = None  # tags of each repository; what has no tag is then left out
    since: float | None = None  # epoch seconds
    untagged: bool = True

    @staticmethod
    def of(parameters: EcrParameters, registry: str) -> "Selection":
        """`registry`: the host of the source; for public images that of Docker Hub, where names may lead elsewhere."""
        within = registry if parameters.registry_of_names else ""
        selected = parameters.src_list is SourceList.SELECTED
        return Selection(
            tuple(read_image_list(parameters.src_image_list, within)) if selected else None,
            Choice(parameters.include_repositories, parameters.exclude_repositories),
            Choice(parameters.include_tags, parameters.exclude_tags),
            parameters.newest_tags,
            parameters.pushed_since,
            parameters.include_untagged
            and not parameters.platforms,  # among them are the platforms of others
        )


@dataclass(slots=True)
class Listed:
    images: list[Image]  # in order, each once
    left_out: int  # images that the selection did not take
    notes: list[str]  # what the user should know


class Source(Protocol):
    """Where images come from: one registry."""

    async def repositories(self) -> list[str]:
        """All of them. Raises ListingFailed, with the reason, where they cannot be listed."""
        ...

    async def images(self, repository: str) -> list[Image] | None:
        """All images but those that go along with another; None where there is no such repository."""
        ...

    async def dated(self, image: Image) -> Image:
        """The image with the time at which it was made, as far as that can be found out."""
        ...

    async def attached(self, repository: str, digest: str) -> list[Image]:
        """What refers to the image with this digest."""
        ...

    @property
    def in_bulk(self) -> bool:
        """Whether one request tells a repository's digests, with what has no tag."""
        ...

    @property
    def registry(self) -> Registry: ...


async def list_images(selection: Selection, source_of: Callable[[str], Source], registry: str) -> Listed:
    """The images that the selection takes. `registry`: the one that is listed when nothing is named."""
    listing = _Listing(selection, source_of)
    if selection.wanted is None:
        await listing.everything(registry)
        hosts = {registry}
    else:
        await listing.named(selection.wanted)
        hosts = {each.reference.registry for each in selection.wanted}
    listing.notes |= {note for host in hosts for note in source_of(host).registry.notes}
    return Listed(sorted(set(listing.images)), listing.left_out, sorted(listing.notes))


class _Listing:
    def __init__(self, selection: Selection, source_of: Callable[[str], Source]) -> None:
        self._selection = selection
        self._source_of = source_of
        self.images: list[Image] = []
        self.left_out = 0
        self.notes: set[str] = set()

    async def everything(self, registry: str) -> None:
        names = await self._source_of(registry).repositories()
        taken = [name for name in names if self._selection.repositories.takes(name)]
        if not names:
            self.notes.add(f"{registry} has no repositories")
        elif len(taken) < len(names):
            self.notes.add(
                f"{len(names) - len(taken)} of {len(names)} repositories are left out by their names"
            )
        await gather(self._whole(registry, name) for name in taken)

    async def named(self, wanted: Sequence[Wanted]) -> None:
        by_repository: dict[tuple[str, str], list[Wanted]] = {}
        for each in wanted:
            reference = each.reference
            by_repository.setdefault((reference.registry, reference.repository), []).append(each)
        await gather(self._named(*place, several) for place, several in by_repository.items())

    async def _named(self, registry: str, repository: str, wanted: list[Wanted]) -> None:
        named = [each.reference for each in wanted if not each.all_tags]
        if len(named) < len(wanted) and not await self._whole(registry, repository):
            raise ListingFailed(f"{registry}/{repository} cannot be listed: there is no such repository")
        source = self._source_of(registry)
        # Where listing is in bulk, it tells the digests of all that is named, in one request.
        listed = await source.images(repository) if named and source.in_bulk else None
        known = {image.tag: image for image in listed or [] if image.tag}
        for reference in named:
            found = known.get(reference.tag) if not reference.digest else None
            self.images.append(found or Image(registry, repository, reference.tag, reference.digest))

    async def _whole(self, registry: str, repository: str) -> bool:
        """A repository with all that the selection takes of it; False where it is not there."""
        source = self._source_of(registry)
        found = await source.images(repository)
        if found is None:
            return False
        taken = [image for image in found if self._takes(image)]
        if self._selection.untagged and not source.in_bulk:
            self.notes.add(f"{registry} lists tags only: images without a tag are not found")
        if self._selection.newest is not None or self._selection.since is not None:
            taken = await self._recent(source, taken)
        self.images += taken
        self.left_out += len(found) - len(taken)
        return True

    def _takes(self, image: Image) -> bool:
        if image.tag:
            return self._selection.tags.takes(image.tag)
        return self._selection.untagged and self._selection.newest is None

    async def _recent(self, source: Source, images: list[Image]) -> list[Image]:
        since, newest = self._selection.since, self._selection.newest
        dated = await gather(source.dated(image) for image in images)
        if unknown := sum(not image.made for image in dated):
            self.notes.add(f"{unknown} images of {dated[0].repository} do not tell when they were made")
        if since is not None:
            dated = [image for image in dated if not image.made or image.made >= since]
        dated.sort(key=lambda image: (-image.made, image.tag, image.digest))
        return dated if newest is None else dated[:newest]


class EcrSource:
    """A registry of Amazon ECR. Each repository is listed once."""

    in_bulk = True

    def __init__(self, control: EcrControl, registry: Registry) -> None:
        self._control = control
        self._registry = registry
        self._listed: dict[str, list[EcrImage] | None] = {}
        self._lock = asyncio.Lock()

    @property
    def registry(self) -> Registry:
        return self._registry

    async def repositories(self) -> list[str]:
        return sorted(await self._control.repositories())

    async def images(self, repository: str) -> list[Image] | None:
        listed = await self._images(repository)
        if listed is None:
            return None
        return [
            self._image(repository, tag, each)
            for each in listed
            if not each.subject
            for tag in (each.tags or ("",))
            if not is_attached(tag)
        ]

    async def dated(self, image: Image) -> Image:
        return image

    async def attached(self, repository: str, digest: str) -> list[Image]:
        found = []
        for each in await self._images(repository) or []:
            tags = [tag for tag in each.tags if _attached_to(tag, digest)]
            if tags or each.subject == digest:
                found += [self._image(repository, tag, each) for tag in tags or [""]]
        return found

    async def _images(self, repository: str) -> list[EcrImage] | None:
        async with self._lock:
            if repository not in self._listed:
                self._listed[repository] = await self._control.images(repository)
            return self._listed[repository]

    def _image(self, repository: str, tag: str, found: EcrImage) -> Image:
        return Image(
            self._registry.host,
            repository,
            tag,
            found.digest,
            found.size,
            found.pushed,
            found.media_type,
            found.subject,
        )


class OciSource:
    """Any registry. The tags of each repository are listed once."""

    in_bulk = False

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._tags: dict[str, asyncio.Task[list[str] | None]] = {}

    @property
    def registry(self) -> Registry:
        return self._registry

    async def repositories(self) -> list[str]:
        return sorted(await self._registry.repositories())

    async def images(self, repository: str) -> list[Image] | None:
        tags = await self._listed(repository)
        if tags is None:
            return None
        return [Image(self._registry.host, repository, tag) for tag in tags if not is_attached(tag)]

    async def dated(self, image: Image) -> Image:
        """With the time at which it was built, as its config says: two requests, or three for several platforms."""
        try:
            found = top = await self._registry.manifest(image.repository, image.tag or image.digest)
            if found and found.children:
                found = await self._registry.manifest(image.repository, found.children[0].digest)
            if not top or not found or not found.config:
                return image
            config = await self._registry.blob(image.repository, found.config.digest)
        except ObjectRefused:
            return image  # the plan will come upon it, and say so
        return replace(image, digest=top.digest, made=_created(config))

    async def attached(self, repository: str, digest: str) -> list[Image]:
        tags = await self._listed(repository) or []
        host = self._registry.host
        found = [Image(host, repository, tag) for tag in tags if _attached_to(tag, digest)]
        referrers = await self._registry.ask_referrers(repository, digest)
        if referrers is None and fallback_tag(digest) in tags:
            referrers = await self._registry.referrers(repository, digest)
        return found + [
            Image(host, repository, "", each.digest, each.size, 0.0, each.media_type, subject=digest)
            for each in referrers or []
        ]

    async def _listed(self, repository: str) -> list[str] | None:
        if repository not in self._tags:
            self._tags[repository] = asyncio.ensure_future(self._registry.tags(repository))
        try:
            return await asyncio.shield(self._tags[repository])
        except TransferError:
            self._tags.pop(repository, None)  # ask again next time
            raise


def is_attached(tag: str) -> bool:
    """Whether the tag is one that is made from the digest of an image which it is about."""
    return _ATTACHED.fullmatch(tag) is not None


def _attached_to(tag: str, digest: str) -> bool:
    stem = digest.replace(":", "-")
    return tag == fallback_tag(digest) or (tag.startswith(stem) and tag[len(stem) :] in COSIGN)


def _created(config: bytes) -> float:
    """When an image was built, as its config says; 0 where it does not, or not truly (reproducible builds)."""
    try:
        moment = datetime.fromisoformat(json.loads(config)["created"])
    except (ValueError, KeyError, TypeError):
        return 0.0
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
