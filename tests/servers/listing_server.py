"""A server that only lists: millions of synthetic objects, at almost no cost in CPU or memory.

Keys are a function of their index, so any page is made when it is asked for, wherever it starts.
Entries all have the same length, and a thousand of them differ from the next thousand only in five
digits: a page is a template with those digits filled in.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qsl, quote, unquote_to_bytes
from xml.sax.saxutils import escape

import uvloop

from .process import Process, listening_socket
from .s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1000
_DIGITS = "#####"  # where the number of the block goes; in no key or tag
_EXTRA = b".extra"


@dataclass(frozen=True)
class Differences:
    """How a destination differs from its source: in every so many-th object (0: in none)."""

    missing_every: int = 0
    changed_every: int = 0
    """Another ETag, and one byte more."""
    extra_every: int = 0
    """A key that the source has not got follows."""

    def missing(self, index: int) -> bool:
        return self.missing_every > 0 and index % self.missing_every == 1 % self.missing_every

    def changed(self, index: int) -> bool:
        hit = self.changed_every > 0 and index % self.changed_every == 2 % self.changed_every
        return hit and not self.missing(index)

    def extra(self, index: int) -> bool:
        return self.extra_every > 0 and index % self.extra_every == 3 % self.extra_every

    def between(self, start: int, end: int) -> list[int]:
        """The indexes in [start, end) with any difference, in order."""
        found: set[int] = set()
        for offset, every in (
            (1, self.missing_every),
            (2, self.changed_every),
            (3, self.extra_every),
        ):
            if every > 0:
                first = start + (offset - start) % every
                found.update(range(first, end, every))
        return sorted(found)


@dataclass(frozen=True)
class Listing:
    """A synthetic bucket: what its objects are, and how its pages look.

    A place is a number: twice the index of an object, plus one for the extra key that may follow
    it.
    """

    count: int
    folders: bool = False
    """A thousand objects a folder, instead of all in one."""
    differences: Differences = field(default_factory=Differences)

    # Objects

    def _key_pattern(self) -> str:
        return f"data/{_DIGITS if self.folders else 'year=2024'}/part-{_DIGITS}%03d.parquet"

    def key(self, index: int) -> str:
        """The key of an object of the source."""
        block, low = divmod(index, _BLOCK)
        return (self._key_pattern() % low).replace(_DIGITS, f"{block:05d}")

    def size(self, index: int) -> int:
        return 1_000_000 + index % _BLOCK * 7919 + self.differences.changed(index)

    def etag(self, index: int) -> str:
        """The ETag without quotes."""
        block, low = divmod(index, _BLOCK)
        first = "f" if self.differences.changed(index) else "9"
        return f"{first}e107d9d372bb682000{block:05d}00000{low:03d}"

    def keys(self) -> Iterator[str]:
        """Every key in the bucket, in order."""
        for place in range(2 * self.count):
            if self._exists(place):
                yield self._name(place).decode()

    # Places

    def _name(self, place: int) -> bytes:
        key = self.key(place // 2).encode()
        return key + _EXTRA if place % 2 else key

    def _exists(self, place: int) -> bool:
        index = place // 2
        return self.differences.extra(index) if place % 2 else not self.differences.missing(index)

    def _at(self, key: bytes) -> int:
        """The first place whose key is not below this one."""
        return bisect_left(range(2 * self.count), key, key=self._name)

    def _after(self, key: bytes) -> int:
        """The first place whose key is above this one."""
        return bisect_right(range(2 * self.count), key, key=self._name)

    def _span(self, prefix: bytes) -> tuple[int, int]:
        """The places of the keys with this prefix: from, and up to but without."""
        return self._at(prefix), self._at(prefix + b"\xff")

    # Pages

    def page(self, bucket: str, query: dict[str, str]) -> bytes:
        """The answer to ListObjects, or to ListObjectsV2 with list-type=2."""
        version_2 = query.get("list-type") == "2"
        url_encoded = query.get("encoding-type") == "url"
        prefix = _raw(query.get("prefix", ""))
        limit = min(int(query.get("max-keys", 1000)), 1000)
        place, end = self._span(prefix)
        if after := query.get("start-after" if version_2 else "marker"):
            place = max(place, self._after(_raw(after)))
        if token := query.get("continuation-token"):
            place = int(token)

        contents: list[bytes] = []
        prefixes: list[bytes] = []
        place = self._next(place, end)
        if (
            query.get("delimiter") == "/"
            and place < end
            and b"/" in self._name(place)[len(prefix) :]
        ):
            # Slashes stand at the same places in all keys: then everything under this prefix is in
            # folders.
            place = self._list_folders(prefixes, place, end, limit, len(prefix))
            count = len(prefixes)
        else:
            count, place = self._list_objects(contents, place, end, limit, url_encoded)
        place = self._next(place, end)
        truncated = place < end and limit > 0

        def text(value: bytes | str) -> str:
            return escape(quote(value) if url_encoded else _raw(value).decode(errors="replace"))

        head = [
            (
                '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult '
                'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            ),
            f"<Name>{escape(bucket)}</Name><Prefix>{text(prefix)}</Prefix>",
        ]
        if version_2:
            if "start-after" in query:
                head.append(f"<StartAfter>{text(query['start-after'])}</StartAfter>")
            if token:
                head.append(f"<ContinuationToken>{token}</ContinuationToken>")
            if truncated:
                head.append(f"<NextContinuationToken>{place}</NextContinuationToken>")
            head.append(f"<KeyCount>{count}</KeyCount>")
        else:
            head.append(f"<Marker>{text(query.get('marker', ''))}</Marker>")
            if truncated:
                last = prefixes[-1] if prefixes else self._last(place)
                head.append(f"<NextMarker>{text(last)}</NextMarker>")
        head.append(f"<MaxKeys>{limit}</MaxKeys>")
        if "delimiter" in query:
            head.append(f"<Delimiter>{text(query['delimiter'])}</Delimiter>")
        if url_encoded:
            head.append("<EncodingType>url</EncodingType>")
        head.append(f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>")
        folders = [
            f"<CommonPrefixes><Prefix>{text(name)}</Prefix></CommonPrefixes>" for name in prefixes
        ]
        return b"".join(
            ["".join(head).encode(), *contents, "".join(folders).encode(), b"</ListBucketResult>"]
        )

    def _next(self, place: int, end: int) -> int:
        while place < end and not self._exists(place):
            place += 1
        return place

    def _last(self, place: int) -> bytes:
        """The key before this place."""
        place -= 1
        while not self._exists(place):
            place -= 1
        return self._name(place)

    def _list_folders(
        self, prefixes: list[bytes], place: int, end: int, limit: int, skip: int
    ) -> int:
        while place < end and len(prefixes) < limit:
            name = self._name(place)
            folder = name[: name.index(b"/", skip) + 1]
            prefixes.append(folder)
            place = self._next(self._at(folder[:-1] + b"0"), end)  # "0" comes right after "/"
        return place

    def _list_objects(
        self, contents: list[bytes], place: int, end: int, limit: int, url_encoded: bool
    ) -> tuple[int, int]:
        """Append entries from this place on; returns how many, and the place after the last."""
        left = limit
        while place < end and left > 0:
            block = place // 2 // _BLOCK
            entries, width = _rendered(self, block, url_encoded)
            first = block * _BLOCK
            last = min(first + _BLOCK, self.count)
            for special in [*self.differences.between(max(first, place // 2), last), last]:
                if place % 2 == 0 and place // 2 < special:  # a run of plain entries
                    index = place // 2
                    run = min(special - index, left, (end - place + 1) // 2)
                    contents.append(
                        entries[(index - first) * width : (index - first + run) * width]
                    )
                    left -= run
                    place += 2 * run
                while special < last and place // 2 == special and place < end and left > 0:
                    if self._exists(place):
                        contents.append(self._entry(place, url_encoded))
                        left -= 1
                    place += 1
                if place >= end or left == 0:
                    break
        return limit - left, place

    def _entry(self, place: int, url_encoded: bool) -> bytes:
        index = place // 2
        name = self._name(place).decode()
        return _entry(
            quote(name) if url_encoded else name, self.etag(index), self.size(index)
        ).encode()


def _entry(key: str, etag: str, size: int) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>2024-03-01T12:00:00.000Z</LastModified>"
        f"<ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


_templates: dict[tuple[bool, bool], bytes] = {}


def _rendered(listing: Listing, block: int, url_encoded: bool) -> tuple[bytes, int]:
    """The entries of a block as in the source, and the length of each."""
    template = _templates.get((listing.folders, url_encoded))
    if template is None:
        plain = Listing(_BLOCK, listing.folders)
        pattern = plain._key_pattern()
        template = "".join(
            _entry(
                quote(pattern % low, safe="/#") if url_encoded else pattern % low,
                plain.etag(low)[:19] + _DIGITS + plain.etag(low)[24:],
                plain.size(low),
            )
            for low in range(_BLOCK)
        ).encode()
        _templates[listing.folders, url_encoded] = template
    return template.replace(_DIGITS.encode(), b"%05d" % block), len(template) // _BLOCK


def _raw(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode(errors="surrogateescape")


class ListingServer(S3Server):
    """Lists `listing` for any bucket. Start one as the source and one with differences as the
    destination.

    `latency` is waited before each answer, as a store far away would make one wait.
    """

    def __init__(
        self,
        count: int = 1_000_000,
        *,
        folders: bool = False,
        differences: Differences | None = None,
        latency: float = 0.0,
    ) -> None:
        self.listing = Listing(count, folders, differences or Differences())
        settings = json.dumps(asdict(self.listing))
        with listening_socket() as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self.process = Process(
                [sys.executable, "-m", __name__, str(listener.fileno()), settings, str(latency)],
                pass_fds=[listener.fileno()],
            )
        self.process.wait_for_line("ready")

    def pages(self) -> int:
        """How many listing pages were asked for so far."""
        return int(self.request("GET", "/-/pages")[2])

    def bucket(self, prefix: str = "bucket") -> str:
        return prefix

    def close(self) -> None:
        self.process.stop()


class _Connection(asyncio.Protocol):
    """GET and HEAD over one connection. Nothing has a body, so a request ends where its headers
    end."""

    pages = 0

    def __init__(self, listing: Listing, latency: float) -> None:
        self._listing = listing
        self._latency = latency
        self._input = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._input += data
        while (end := self._input.find(b"\r\n\r\n")) >= 0:
            line, self._input = self._input[: self._input.index(b"\r\n")], self._input[end + 4 :]
            method, target, _ = line.decode("latin-1").split(" ")
            answer = self._answer(method, target)
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._transport.write, answer)
            else:
                self._transport.write(answer)

    def _answer(self, method: str, target: str) -> bytes:
        path, _, raw_query = target.partition("?")
        query = dict(parse_qsl(raw_query, keep_blank_values=True, errors="surrogateescape"))
        bucket, _, key = unquote_to_bytes(path[1:]).decode(errors="replace").partition("/")
        body = b""
        status = "200 OK"
        if path == "/-/pages":
            body = str(_Connection.pages).encode()
        elif method == "HEAD":
            pass
        elif "location" in query:
            body = b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'
        elif method == "GET" and bucket and not key:
            _Connection.pages += 1
            body = self._listing.page(bucket, query)
        else:
            status = "501 Not Implemented"
            body = (
                b"<Error><Code>NotImplemented</Code><Message>This server only "
                b"lists</Message></Error>"
            )
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: "
            f"{len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def _main(descriptor: int, settings: str, latency: float) -> None:
    values = json.loads(settings)
    listing = Listing(values["count"], values["folders"], Differences(**values["differences"]))
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(listing, latency), sock=socket.socket(fileno=descriptor)
    )
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
