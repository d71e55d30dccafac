"""In which order images are copied, so that a layer that several share crosses once."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from dth.images.items import Item
from dth.images.listing import is_fallback
from dth.images.registry.manifest import LARGEST, Manifest

SHARED_LEAST = 64 * 1024  # bytes of a layer for whose sake another image waits

Under = Callable[[Item], Sequence[Manifest]]


def in_order(copies: list[Item], under: Under, there: Mapping[str, str]) -> list[Item]:
    """The items in the order in which they begin, with what each has to move, from where it can have the rest, and
    whom it comes after. `under`: the manifests of an item as far as they are known, from the top; `there`: the layers
    that the destination has, and in which of its repositories."""
    blobs = {id(item): blobs_of(under(item)) for item in copies}
    ordered = _by_savings(copies, blobs, there)
    before = _before(ordered, under)
    first: dict[str, int] = {}  # by digest of a layer: the item that brings it
    for place, item in enumerate(ordered):
        mounts: dict[str, str] = {}
        for digest, size in blobs[id(item)].items():
            if digest in there:
                mounts[digest] = there[digest]
                continue
            brings = first.setdefault(digest, place)
            if brings == place:
                item.moves += size
            elif size >= SHARED_LEAST:
                before[place].add(brings)
                mounts[digest] = ordered[brings].dest.repository
        item.mounts = tuple((d, where) for d, where in mounts.items() if where != item.dest.repository)
        item.size = min(sum(blobs[id(item)].values()), LARGEST)
        item.moves = min(item.moves, LARGEST)
        item.manifests = tuple(under(item))
        item.after = tuple(sorted(before[place]))
    return ordered


def blobs_of(manifests: Sequence[Manifest]) -> dict[str, int]:
    """Sizes of configs and layers, by digest."""
    return {blob.digest: blob.size for manifest in manifests for blob in manifest.blobs}


def _by_savings(copies: list[Item], blobs: dict[int, dict[str, int]], there: Mapping[str, str]) -> list[Item]:
    """In the order in which they begin: first who brings what others need. What is attached goes after all images, and
    a list of referrers last, because it names only what the destination has by then."""
    sharers = Counter(digest for item in copies for digest in blobs[id(item)])

    def saves(item: Item) -> int:
        """Bytes that others are spared if this one goes first."""
        return sum(
            size * (sharers[digest] - 1)
            for digest, size in blobs[id(item)].items()
            if digest not in there and size >= SHARED_LEAST
        )

    return sorted(
        copies,
        key=lambda item: (bool(item.about), is_fallback(item.dest.tag), -saves(item), item.dest, item.source),
    )


def _before(ordered: Sequence[Item], under: Under) -> list[set[int]]:
    """For each item the places of those that it comes after, whatever layers they share."""
    before: list[set[int]] = [set() for _ in ordered]
    subjects: dict[tuple[str, str], int] = {}  # manifests, and the first item that brings each
    referrers: dict[tuple[str, str], set[int]] = {}  # by what they are about
    twins: dict[tuple[str, str], int] = {}  # by what they are: one image under several tags crosses once
    for place, item in enumerate(ordered):
        repository = item.dest.repository
        if (twin := twins.setdefault((repository, item.wanted), place)) != place:
            before[place].add(twin)
        if not item.about:
            for digest in (item.digest, *(manifest.digest for manifest in under(item))):
                subjects.setdefault((repository, digest), place)
            continue
        about = repository, item.about
        if about in subjects:
            before[place].add(subjects[about])
        if is_fallback(item.dest.tag):
            before[place] |= referrers.get(about, set())
        else:
            referrers.setdefault(about, set()).add(place)
    return before
