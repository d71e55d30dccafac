"""The order in which images are copied, so that a shared layer is transferred once."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from dth.images.items import ImageItem
from dth.images.listing import is_fallback
from dth.images.registry.manifest import LARGEST, Manifest

# Least bytes of a layer for which another image waits.
SHARED_LEAST = 64 * 1024

Under = Callable[[ImageItem], Sequence[Manifest]]


def in_order(copies: list[ImageItem], under: Under, there: Mapping[str, str]) -> list[ImageItem]:
    """Return the items in the order in which they start.

    Sets what each item has to move, where it can mount the rest from, and which items it must
    follow. `under`: the known manifests of an item, from the top. `there`: the layers that the
    destination has, with a repository of each.
    """
    blobs = {id(item): blobs_of(under(item)) for item in copies}
    ordered = _by_savings(copies, blobs, there)
    before = _before(ordered, under)
    # By digest of a layer: the item that transfers it.
    first: dict[str, int] = {}
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
        item.mounts = tuple(
            (d, where) for d, where in mounts.items() if where != item.dest.repository
        )
        item.size = min(sum(blobs[id(item)].values()), LARGEST)
        item.moves = min(item.moves, LARGEST)
        item.manifests = tuple(under(item))
        item.after = tuple(sorted(before[place]))
    return ordered


def blobs_of(manifests: Sequence[Manifest]) -> dict[str, int]:
    """Return the sizes of configs and layers, by digest."""
    return {blob.digest: blob.size for manifest in manifests for blob in manifest.blobs}


def _by_savings(
    copies: list[ImageItem], blobs: dict[int, dict[str, int]], there: Mapping[str, str]
) -> list[ImageItem]:
    """Sort the items by start: first those with layers that others need.

    Attachments follow after all images. Lists of referrers are last, because they name only what
    the destination has by then.
    """
    sharers = Counter(digest for item in copies for digest in blobs[id(item)])

    def saves(item: ImageItem) -> int:
        """Return the bytes that other items save if this one goes first."""
        return sum(
            size * (sharers[digest] - 1)
            for digest, size in blobs[id(item)].items()
            if digest not in there and size >= SHARED_LEAST
        )

    return sorted(
        copies,
        key=lambda item: (
            bool(item.about),
            is_fallback(item.dest.tag),
            -saves(item),
            item.dest,
            item.source,
        ),
    )


def _before(ordered: Sequence[ImageItem], under: Under) -> list[set[int]]:
    """Return for each item the positions of those that it must follow, whatever layers they
    share."""
    before: list[set[int]] = [set() for _ in ordered]
    # By manifest: the first item that copies it.
    subjects: dict[tuple[str, str], int] = {}
    referrers: dict[tuple[str, str], set[int]] = {}  # by subject
    # By manifest: one image under several tags is transferred once.
    twins: dict[tuple[str, str], int] = {}
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
