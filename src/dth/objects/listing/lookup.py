"""What the user probably meant by a source that has nothing to copy."""

from difflib import get_close_matches

from dth.core.errors import HubError, SourceGone
from dth.objects.listing.pages import PrefixListing
from dth.objects.store.client import S3Client

# The beginning of a note that says that no key has the source prefix.
NOTHING_BELOW = "nothing below "
# Similarity of two names, from 0 to 1, above which one may be a misspelling of the other.
LIKENESS = 0.6


async def is_only_an_object(client: S3Client, key: str) -> bool:
    """Whether an object with this key exists, and nothing is below it as a folder."""
    below = await PrefixListing(client, f"{key}/", first_version=client.first_version).page(limit=1)
    if below.entries:
        return False
    try:
        await client.head(key)
    except SourceGone:
        return False
    return True


async def nothing_below(client: S3Client, prefix: str) -> str:
    """A note for a prefix without keys, with the name that may have been meant."""
    place = f"{client.place}/"
    if not prefix:
        return (
            f"{NOTHING_BELOW}{place}: the {'folder' if client.endpoint.is_folder else 'bucket'} "
            "is empty"
        )
    try:
        meant = await _meant(client, prefix)
    except HubError:
        # The lookup is only a help, and may be forbidden.
        meant = ""
    if meant and meant == prefix.rstrip("/"):
        return f"{NOTHING_BELOW}{place}{prefix}: {place}{meant} is an object"
    return f"{NOTHING_BELOW}{place}{prefix}" + (f"; there is {place}{meant}" if meant else "")


async def _meant(client: S3Client, prefix: str) -> str:
    """The folder or object whose name is most similar to that of the prefix, or of the folder it is
    in."""
    parent, _, name = prefix.rstrip("/").rpartition("/")
    parent += "/" if parent else ""
    names = await _names(client, parent, name)
    if name in names:
        return parent + name
    if names:
        by_likeness = {each.rstrip("/").lower(): each for each in names}
        found = get_close_matches(name.lower(), by_likeness, 1, LIKENESS)
        return parent + by_likeness[found[0]] if found else ""
    return await _meant(client, parent) if parent else ""


async def _names(client: S3Client, parent: str, name: str) -> list[str]:
    """The names at one level. If there are very many: the first ones, and those with the same first
    character."""
    found: list[str] = []
    for beginning in ("", name[:1]):
        page = await PrefixListing(
            client, parent + beginning, delimiter="/", first_version=client.first_version
        ).page()
        found += [*page.prefixes, *(entry.key for entry in page.entries)]
        if not page.token:
            break
    return list(dict.fromkeys(each.removeprefix(parent) for each in found if each != parent))
