"""Listings of what a bucket has for one key: its uploads in progress, its versions."""

from collections.abc import AsyncIterator
from xml.etree import ElementTree

from dth.objects.store.answers import decoded, parse_xml
from dth.objects.store.base import Requests
from dth.objects.store.request import Request

# The elements that are listed, and the names of the second marker, which continues within a key.
KINDS = {
    "uploads": (("Upload",), "upload-id-marker", "NextUploadIdMarker"),
    "versions": (("Version", "DeleteMarker"), "version-id-marker", "NextVersionIdMarker"),
}
# Pages without the key in a row after which a listing counts as endless.
EMPTY_PAGES = 100


async def of_key(bucket: Requests, kind: str, key: str) -> AsyncIterator[ElementTree.Element]:
    """The items for exactly this key in a listing of `uploads` or `versions`. Ends if the store
    repeats itself, or returns page after page without the key."""
    tags, marker, next_marker = KINDS[kind]
    # Encoded, because XML cannot hold all keys.
    query = {kind: "", "prefix": key, "encoding-type": "url"}
    seen: set[tuple[str, str]] = set()
    empty = 0
    while empty < EMPTY_PAGES:
        response = await bucket.send(Request("GET", query=query))
        bucket.note_clock(response.headers)
        root = parse_xml(response.body)
        encoded = root.findtext("EncodingType") == "url"
        empty += 1
        for item in root:
            if item.tag in tags and decoded(item.findtext("Key") or "", encoded) == key:
                empty = 0
                yield item
        next_key = decoded(root.findtext("NextKeyMarker") or "", encoded)
        place = next_key, root.findtext(next_marker) or ""
        # Only longer keys follow, or the store repeats itself.
        if (
            root.findtext("IsTruncated") != "true"
            or not next_key
            or next_key > key
            or place in seen
        ):
            return
        seen.add(place)
        query |= {"key-marker": next_key, marker: place[1]}
