"""A bucket in memory that answers listings in XML, as well-behaved or as odd as a test wants it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

from dth.core.errors import TransferError
from dth.objects.listing.pages import ListedObject

TIME = "2024-05-17T09:12:01"


def entry(
    key: str, content: str = "", *, modified: str = TIME, storage_class: str = "STANDARD"
) -> ListedObject:
    return ListedObject(key, len(content), f"etag-{content}", modified, storage_class)


@dataclass
class Answer:
    body: bytes


class MemoryBucket:
    """`order` is the store's own order of keys; `cap` the most keys in a page."""

    def __init__(
        self,
        entries: Iterable[ListedObject] = (),
        *,
        cap: int = 1000,
        order: Callable[[str], object] = lambda key: key,
        ignores_start: bool = False,
        encodes: bool = True,
        first_version: bool = False,
    ) -> None:
        self.objects = {e.key: e for e in entries}
        self.cap = cap
        self.order = order
        self.ignores_start = ignores_start
        self.encodes = encodes
        self.first_version = first_version
        self.failures: list[TransferError] = []  # raised by the next requests
        self.queries: list[Mapping[str, str]] = []
        self.headers: list[Mapping[str, str]] = []

    async def request(
        self,
        method: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        attempts: int = 0,
    ) -> Answer:
        assert method == "GET"
        query = query or {}
        self.queries.append(query)
        self.headers.append(headers or {})
        for _ in range(len(self.queries) * 7 % 5):  # some answers overtake others
            await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        start = self._start(query)
        found = sorted((k for k in self.objects if k.startswith(query["prefix"])), key=self.order)  # type: ignore[arg-type,return-value]
        if start is not None:
            found = [k for k in found if self.order(k) > self.order(start)]  # type: ignore[operator]
        limit = min(int(query["max-keys"]), self.cap)
        page, rest = found[:limit], found[limit:]
        return Answer(self._render(page, bool(rest), query))

    def _start(self, query: Mapping[str, str]) -> str | None:
        if self.first_version:
            return query.get("marker")
        if "continuation-token" in query:
            return bytes.fromhex(query["continuation-token"]).decode("utf-8", "surrogateescape")
        return None if self.ignores_start else query.get("start-after")

    def _render(self, keys: list[str], truncated: bool, query: Mapping[str, str]) -> bytes:
        encode = self.encodes and query.get("encoding-type") == "url"
        head = f"<IsTruncated>{str(truncated).lower()}</IsTruncated>"
        head += "<EncodingType>url</EncodingType>" if encode else ""
        if self.first_version:
            head += f"<Marker>{escape(query.get('marker', ''))}</Marker>"
        else:
            head += f"<KeyCount>{len(keys)}</KeyCount>"
            if truncated:
                token = keys[-1].encode("utf-8", "surrogateescape").hex()
                head += f"<NextContinuationToken>{token}</NextContinuationToken>"
        return document(head + "".join(item(self.objects[key], encode) for key in keys))


def document(inner: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult '
        f'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</ListBucketResult>'
    ).encode()


def item(e: ListedObject, encode: bool = True) -> str:
    key = quote_plus(e.key, safe="/", errors="surrogateescape") if encode else escape(e.key)
    return (
        f"<Contents><Key>{key}</Key><LastModified>{e.modified}.000Z</LastModified>"
        f"<ETag>&quot;{e.etag}&quot;</ETag><Size>{e.size}</Size><StorageClass>{e.storage_class}</StorageClass></Contents>"
    )
