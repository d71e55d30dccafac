"""Lists the images of a source that a selection takes.

Amazon ECR lists a repository in bulk, with digests and times. Any other registry lists only its
tags; the build time is in the image, which takes extra requests. A source that cannot be listed
reports why.

What refers to an image (signatures, attestations, SBOMs) is not an image of its own: it is found by
the image's digest and copied along with it. Cosign stores it under tags made from the digest, OCI
1.1 as manifests with a subject.
"""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from dth.core.errors import (
    EndpointRefused,
    HubError,
    ListingFailed,
    SourceGone,
    TransferError,
    UsageError,
)
from dth.images.crowd import gather, led
from dth.images.parameters import EcrParameters, SourceList
from dth.images.patterns import Choice
from dth.images.registry.client import Registry, fallback_tag
from dth.images.registry.control import EcrControl, EcrImage
from dth.images.registry.manifest import Manifest
from dth.images.registry.reference import Reference, check_repository, is_digest, is_tag
from dth.images.selection import Wanted, read_image_list
from dth.images.trouble import Incomplete, Judge, ListingTrouble

COSIGN = (".sig", ".att", ".sbom")  # suffixes of its tags
_ATTACHED = re.compile(r"(sha(?:256-[a-f0-9]{64}|512-[a-f0-9]{64,128}))(\.[\w.-]*)?")
# Builds without a real time report 1970 or 1980.
REPRODUCIBLE = datetime(1981, 1, 1, tzinfo=UTC).timestamp()
CREATED = "org.opencontainers.image.created"


@dataclass(frozen=True, slots=True, order=True)
class Image:
    """What a source has under a tag, or under a digest alone. Unknown fields are empty."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""
    size: int = 0  # bytes
    # Time of the push, or else of the build, in epoch seconds.
    made: float = 0.0
    media_type: str = ""
    subject: str = ""  # digest of the image this describes

    @property
    def reference(self) -> Reference:
        """The image by its tag, or else by its digest."""
        return Reference(self.registry, self.repository, self.tag, "" if self.tag else self.digest)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which images to take.

    `wanted`: the named images; None for everything. Images named by tag or digest are taken as they
    are; the others must match the choices, the time, and the number.
    """

    wanted: tuple[Wanted, ...] | None = None
    repositories: Choice = field(default_factory=Choice)
    tags: Choice = field(default_factory=Choice)
    # Number of tags per repository. If set, untagged images are left out.
    newest: int | None = None
    since: float | None = None  # epoch seconds
    untagged: bool = True

    @property
    def every_tag(self) -> bool:
        """Whether the selection takes every tag of a repository."""
        return not self.tags and self.newest is None and self.since is None

    @staticmethod
    def of(parameters: EcrParameters, registry: str) -> "Selection":
        """Build the selection of a task.

        `registry`: the host of the source; for public images, that of Docker Hub, because names may
        include another host.
        """
        within = registry if parameters.registry_of_names else ""
        selected = parameters.src_list is SourceList.SELECTED
        return Selection(
            tuple(read_image_list(parameters.src_image_list, within)) if selected else None,
            Choice(parameters.include_repositories, parameters.exclude_repositories),
            Choice(parameters.include_tags, parameters.exclude_tags),
            parameters.newest_tags,
            parameters.pushed_since,
            # Untagged images include the platforms of other images.
            parameters.include_untagged and not parameters.platforms,
        )


@dataclass(slots=True)
class Listed:
    """The result of a listing."""

    images: list[Image]  # sorted, without duplicates
    left_out: int  # images the selection does not take
    notes: list[str]  # information for the user
    troubles: list[ListingTrouble] = field(default_factory=list)  # what could not be listed
    # Tags that describe an image, from repositories that were listed as a whole. They are not
    # images of their own.
    digest_tags: list[Image] = field(default_factory=list)


class Source(Protocol):
    """Where images come from: one registry."""

    async def repositories(self) -> list[str]:
        """Return all names. Raises ListingFailed, with the reason, if they cannot be listed."""
        ...

    async def images(self, repository: str) -> list[Image] | None:
        """Return all images except those attached to another image.

        None if the repository does not exist. Raises Incomplete if the list breaks off.
        """
        ...

    async def digest_tags(self, repository: str) -> list[Image]:
        """Return the tags that are made from the digest of the image they describe."""
        ...

    async def dated(self, image: Image) -> Image:
        """Return the image with its build or push time, if that is available."""
        ...

    async def attached(self, repository: str, digest: str) -> list[Image]:
        """Return what refers to the image with this digest."""
        ...

    async def more_attached(self, repository: str, digests: set[str]) -> bool:
        """Whether something may refer to a manifest other than these.

        Decided without a request, as far as possible.
        """
        ...

    @property
    def in_bulk(self) -> bool:
        """Whether one request returns a repository's digests, including untagged images."""
        ...

    @property
    def registry(self) -> Registry: ...


async def list_images(
    selection: Selection, source_of: Callable[[str], Source], registry: str
) -> Listed:
    """List the images that the selection takes.

    `registry`: the registry to list if nothing is named. What cannot be listed is in `troubles`.
    Raises the error if the whole source fails.
    """
    listing = _Listing(selection, source_of)
    if selection.wanted is None:
        await listing.everything(registry)
        hosts = {registry}
    else:
        await listing.named(selection.wanted)
        hosts = {each.reference.registry for each in selection.wanted}
    listing.notes |= {note for host in hosts for note in source_of(host).registry.notes}
    return Listed(
        sorted(set(listing.images)),
        listing.left_out,
        sorted(listing.notes),
        sorted(listing.troubles, key=lambda trouble: trouble.source),
        sorted(set(listing.digest_tags)),
    )


class _Listing:
    def __init__(self, selection: Selection, source_of: Callable[[str], Source]) -> None:
        self._selection = selection
        self._source_of = source_of
        self._judge = Judge()
        self._several = False  # images are from several registries
        self.images: list[Image] = []
        self.left_out = 0
        self.notes: set[str] = set()
        self.troubles: list[ListingTrouble] = []
        self.digest_tags: list[Image] = []

    async def everything(self, registry: str) -> None:
        try:
            names = await self._source_of(registry).repositories()
        except Incomplete as error:
            if not error.found:
                raise error.cause from None
            names = error.found
            self.troubles.append(ListingTrouble(Reference(registry, ""), error.cause))
        taken = [name for name in names if self._selection.repositories.takes(name)]
        if not names:
            self.notes.add(f"{registry} has no repositories")
        elif len(taken) < len(names):
            self.notes.add(
                f"{len(names) - len(taken)} of {len(names)} repositories are left out by their "
                "names"
            )
        await led(self._whole(registry, name) for name in taken)

    async def named(self, wanted: Sequence[Wanted]) -> None:
        by_repository: dict[tuple[str, str], list[Wanted]] = {}
        for each in wanted:
            reference = each.reference
            by_repository.setdefault((reference.registry, reference.repository), []).append(each)
        self._several = len({registry for registry, _ in by_repository}) > 1
        await led(self._named(*place, several) for place, several in by_repository.items())

    async def _named(self, registry: str, repository: str, wanted: list[Wanted]) -> None:
        named = [each.reference for each in wanted if not each.all_tags]
        if len(named) < len(wanted) and not await self._whole(registry, repository):
            gone = ListingFailed(
                f"{registry}/{repository} cannot be listed: there is no such repository"
            )
            self.troubles.append(ListingTrouble(Reference(registry, repository), gone))
        source = self._source_of(registry)
        known: dict[str, Image] = {}
        if named and source.in_bulk:
            # A bulk listing returns the digests of all named images in one request. If the registry
            # refuses it, each image is requested separately.
            try:
                known = {
                    image.tag: image for image in await source.images(repository) or [] if image.tag
                }
            except (TransferError, ListingFailed) as error:
                await self._concerns_one(source, error)
        for reference in named:
            found = known.get(reference.tag) if not reference.digest else None
            self.images.append(
                found or Image(registry, repository, reference.tag, reference.digest)
            )

    async def _whole(self, registry: str, repository: str) -> bool:
        """List a repository and take what the selection takes. False if it does not exist."""
        source = self._source_of(registry)
        place = Reference(registry, repository)
        try:
            check_repository(repository)
            found = await source.images(repository)
        except Incomplete as error:
            await self._concerns_one(source, error.cause)
            self.troubles.append(ListingTrouble(place, error.cause))
            found = [
                Image(registry, repository, tag) for tag in error.found if not is_attached(tag)
            ]
        except (TransferError, ListingFailed, UsageError) as error:
            await self._concerns_one(source, error)
            self.troubles.append(ListingTrouble(place, error))
            return True
        if found is None:
            return False
        taken, failed = [image for image in found if self._takes(image)], 0
        if self._selection.untagged and not source.in_bulk:
            self.notes.add(f"{registry} lists tags only: images without a tag are not found")
        if self._selection.newest is not None or self._selection.since is not None:
            taken, failed = await self._recent(source, taken)
        self.images += taken
        self.digest_tags += await source.digest_tags(repository)
        self.left_out += len(found) - len(taken) - failed
        return True

    async def _concerns_one(self, source: Source, error: HubError) -> None:
        """Raise `error` if the registry as a whole failed.

        One of several public registries is not the whole source.
        """
        whole = await self._judge.whole(source.registry, error)
        if whole and not self._several:
            raise error

    def _takes(self, image: Image) -> bool:
        if image.tag:
            return self._selection.tags.takes(image.tag)
        return self._selection.untagged and self._selection.newest is None

    async def _recent(self, source: Source, images: list[Image]) -> tuple[list[Image], int]:
        """Return the images that are recent enough, and how many could not be dated."""
        since, newest = self._selection.since, self._selection.newest
        if since is None and newest is not None and newest >= len(images):
            return images, 0
        dated = [
            image for image in await gather(self._dated(source, image) for image in images) if image
        ]
        failed = len(images) - len(dated)
        unknown = [image for image in dated if not image.made]
        if since is not None:
            dated = [image for image in dated if not image.made or image.made >= since]
        dated.sort(key=lambda image: (image.made, _in_order(image.tag), image.digest), reverse=True)
        taken = dated if newest is None else dated[:newest]
        if unknown:
            what = "taken by their names" if newest is not None else "taken"
            chosen = sum(not image.made for image in taken)
            self.notes.add(
                f"{len(unknown)} images of {unknown[0].repository} do not tell when they were "
                f"made; {chosen} are {what}"
            )
        return taken, failed

    async def _dated(self, source: Source, image: Image) -> Image | None:
        """Return the dated image, or None if the request fails.

        The image might be among the newest, so None counts as a failure.
        """
        try:
            return await source.dated(image)
        except TransferError as error:
            await self._concerns_one(source, error)
            self.troubles.append(ListingTrouble(image.reference, error))
            return None


class EcrSource:
    """An Amazon ECR registry. Lists each repository once."""

    in_bulk = True

    def __init__(self, control: EcrControl, registry: Registry) -> None:
        self._control = control
        self._registry = registry
        self._plain = OciSource(registry)
        # By repository, then by digest or tag stem.
        self._about: dict[str, dict[str, list[Image]]] = {}
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

    async def digest_tags(self, repository: str) -> list[Image]:
        return [
            self._image(repository, tag, each)
            for each in await self._images(repository) or []
            for tag in each.tags
            if is_attached(tag)
        ]

    async def more_attached(self, repository: str, digests: set[str]) -> bool:
        try:
            listed = await self._images(repository) or []
        except TransferError:
            return await self._plain.more_attached(repository, digests)
        tags = [tag for each in listed for tag in each.tags]
        return _has_others(tags, digests) or any(
            each.subject and each.subject not in digests for each in listed
        )

    async def dated(self, image: Image) -> Image:
        return image

    async def attached(self, repository: str, digest: str) -> list[Image]:
        try:
            listed = await self._images(repository) or []
        except TransferError:
            # Permission to pull an image does not always include listing its repository.
            return await self._plain.attached(repository, digest)
        if repository not in self._about:
            about: dict[str, list[Image]] = {}
            for each in listed:
                tags = [tag for tag in each.tags if is_attached(tag)]
                for tag in tags:
                    about.setdefault(stem_of(tag), []).append(self._image(repository, tag, each))
                if each.subject and not tags:
                    about.setdefault(each.subject, []).append(self._image(repository, "", each))
            self._about[repository] = about
        names = dict.fromkeys((digest, digest.replace(":", "-"), fallback_tag(digest)))
        return [image for name in names for image in self._about[repository].get(name, [])]

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
    """Any registry. Lists the tags of each repository once."""

    in_bulk = False

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._tags: dict[str, asyncio.Task[list[str] | None]] = {}
        # By repository: its tags, and those of them that describe a digest, by stem.
        self._stems: dict[str, tuple[list[str], dict[str, list[str]]]] = {}
        # Tags of repositories for which no full listing was requested.
        self._by_the_way: dict[str, list[str]] = {}

    @property
    def registry(self) -> Registry:
        return self._registry

    async def repositories(self) -> list[str]:
        found: list[str] = []
        try:
            return sorted(await self._registry.repositories(found))
        except EndpointRefused:
            raise
        except (TransferError, ListingFailed) as error:
            raise Incomplete(sorted(set(found)), error) from None

    async def images(self, repository: str) -> list[Image] | None:
        tags = await self._listed(repository)
        if tags is None:
            return None
        return [Image(self._registry.host, repository, tag) for tag in tags if not is_attached(tag)]

    async def digest_tags(self, repository: str) -> list[Image]:
        tags = await self._told(repository) or []
        return [Image(self._registry.host, repository, tag) for tag in tags if is_attached(tag)]

    async def dated(self, image: Image) -> Image:
        """Return the image with its build time from its annotations or config: up to three
        requests.
        """
        top = await self._registry.manifest(image.repository, image.tag or image.digest)
        if top is None:
            raise SourceGone(f"{image.reference} is not there", code="MANIFEST_UNKNOWN")
        made = _annotated(top)
        found: Manifest | None = top
        if not made and top.is_index:
            # BuildKit attestations have no platform of their own.
            parts = [each for each in top.children if not each.platform.startswith("unknown")]
            found = (
                await self._registry.manifest(image.repository, parts[0].digest) if parts else None
            )
            made = _annotated(found) if found else 0.0
        if not made and found and found.config:
            made = _created(await self._registry.blob(image.repository, found.config.digest))
        return replace(image, digest=top.digest, made=made)

    async def attached(self, repository: str, digest: str) -> list[Image]:
        tags = await self._told(repository)
        if tags is None:
            tags = await self._about(repository, digest)
        host = self._registry.host
        if repository not in self._stems or self._stems[repository][0] is not tags:
            self._stems[repository] = tags, _by_stem(tags)
        stems = self._stems[repository][1]
        about = dict.fromkeys(
            (*stems.get(digest.replace(":", "-"), ()), *stems.get(fallback_tag(digest), ()))
        )
        found = [Image(host, repository, tag) for tag in about]
        referrers = await self._registry.ask_referrers(repository, digest)
        if referrers is None and fallback_tag(digest) in about:
            referrers = await self._registry.referrers(repository, digest)
        return found + [
            Image(
                host, repository, "", each.digest, each.size, 0.0, each.media_type, subject=digest
            )
            for each in referrers or []
        ]

    async def more_attached(self, repository: str, digests: set[str]) -> bool:
        tags = await self._told(repository)
        return tags is None or self._registry.has_referrers or _has_others(tags, digests)

    async def _about(self, repository: str, digest: str) -> list[str]:
        """Return the tags about one image of an unlisted repository, which may have very many."""
        stem = digest.replace(":", "-")
        begin = fallback_tag(digest)[:-1]
        try:
            tags, more = await self._registry.tags_after(repository, begin)
            # Some registries ignore the start that was requested, or do not sort alphabetically.
            if not more and any(tag <= begin for tag in tags):
                self._by_the_way[repository] = tags  # these are all of its tags
            if not more or (
                tags == sorted(tags) and tags and begin < tags[0] and not tags[-1].startswith(stem)
            ):
                return tags
        except (TransferError, ListingFailed) as error:
            if isinstance(error, EndpointRefused):
                raise
        names = [fallback_tag(digest), *(stem + end for end in COSIGN)]
        there = await gather(self._registry.head(repository, name) for name in names)
        return [name for name, digest in zip(names, there, strict=True) if digest]

    async def _told(self, repository: str) -> list[str] | None:
        """Return the tags listed so far; None if the list was never requested."""
        if repository not in self._tags:
            return self._by_the_way.get(repository)
        try:
            return await self._listed(repository) or []
        except Incomplete as error:
            return error.found

    async def _listed(self, repository: str) -> list[str] | None:
        if repository not in self._tags:
            self._tags[repository] = asyncio.ensure_future(self._list(repository))
        return await asyncio.shield(self._tags[repository])

    async def _list(self, repository: str) -> list[str] | None:
        found: list[str] = []
        try:
            return await self._registry.tags(repository, found)
        except (TransferError, ListingFailed) as error:
            raise Incomplete([tag for tag in dict.fromkeys(found) if is_tag(tag)], error) from None


def is_attached(tag: str) -> bool:
    """Whether the tag is made from the digest of the image it describes."""
    return bool(stem_of(tag))


def is_fallback(tag: str) -> bool:
    """Whether the tag is the fallback tag that lists the referrers of an image."""
    return tag != "" and tag == stem_of(tag)


def subject_of(tag: str) -> str:
    """Return the digest of the image the tag describes; "" if the tag does not contain all of
    it."""
    digest = stem_of(tag).replace("-", ":", 1)
    return digest if is_digest(digest) else ""


def stem_of(tag: str) -> str:
    """Return the part of the tag that is made from a digest; "" if there is none."""
    found = _ATTACHED.fullmatch(tag)
    return found[1] if found else ""


def _by_stem(tags: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tag in tags:
        if stem := stem_of(tag):
            found.setdefault(stem, []).append(tag)
    return found


def _has_others(tags: Sequence[str], digests: set[str]) -> bool:
    """Whether a tag describes a manifest other than these."""
    stems = {digest.replace(":", "-") for digest in digests} | set(map(fallback_tag, digests))
    return any((stem := stem_of(tag)) and stem not in stems for tag in tags)


def _in_order(tag: str) -> list[tuple[int, str]]:
    """Return a key that sorts names naturally: v9 before v10."""
    return [
        (int(word), "") if word.isdecimal() else (-1, word) for word in re.findall(r"\d+|\D+", tag)
    ]


def _annotated(manifest: Manifest) -> float:
    return _moment(manifest.annotations.get(CREATED))


def _created(config: bytes) -> float:
    """Return the build time from an image's config.

    0 if the config has none, or a false one (reproducible builds).
    """
    try:
        fields = json.loads(config)
        made = _moment(fields.get("created"))
        return made or _moment(fields["config"]["Labels"][CREATED])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return 0.0


def _moment(text: object) -> float:
    """Return epoch seconds; 0 for no time and for a meaningless one."""
    try:
        moment = datetime.fromisoformat(str(text))
        found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return found if found >= REPRODUCIBLE else 0.0
