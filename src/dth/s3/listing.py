"""Listing the objects of a bucket: one page parsed, one prefix read.

Keys are `str` holding the store's UTF-8 bytes (`surrogateescape`); listings are ordered by code point, which
is the byte order of UTF-8. Parsing is most of what a comparison costs, so a page goes through one regular
expression that takes only what is plain; whatever it does not take, expat decides. Both give the same result
(a property test holds them to it).
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, NoReturn, Protocol
from urllib.parse import unquote_plus, unquote_to_bytes
from xml.parsers import expat

from dth.errors import EndpointRefused, ListingFailed, TransferError, Transient
from dth.s3.retry import retry

PAGE_SIZE = 1000  # keys; the most that a store returns
NO_LISTING = "NoListing"  # the code of an answer that is something else
ATTEMPTS = 8  # of one page, before the listing fails
ONGOING = "ongoing"  # Entry.restore while a restore is under way


class Entry(NamedTuple):
    """One object as a listing shows it.

    `modified` is UTC as `YYYY-MM-DDTHH:MM:SS`: compare two as text, later is greater; "" is unknown.
    Fractions of a second are cut off, because stores and HEAD answers do not agree on them.
    """

    key: str
    size: int  # bytes; -1: nothing but the key is known (a manifest without sizes or ETags)
    etag: str = ""  # without quotes
    modified: str = ""
    storage_class: str = ""  # "" where the store does not say
    restore: str = ""  # "", ONGOING, or the time until which a restored copy lasts


# Makes an entry of an iterable of its fields; several times as fast as calling the class.
make_entry: Callable[[Iterable[object]], Entry] = partial(tuple.__new__, Entry)

_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})  # not GLACIER_IR, which reads at once


def is_archived(entry: Entry) -> bool:
    """Whether the object lies in an archive class without a restored copy: it cannot be read now."""
    return entry.storage_class in _ARCHIVES and entry.restore in ("", ONGOING)


@dataclass(slots=True)
class ListPage:
    """One answer. `token` continues the listing ("" at its end); `prefixes` are there only where a delimiter
    was asked for. `marker` tells an answer of the first version of the API."""

    entries: list[Entry]
    token: str = ""
    prefixes: list[str] = field(default_factory=list)
    marker: bool = False


class Answer(Protocol):
    @property
    def body(self) -> bytes: ...


class Requester(Protocol):
    """The part of the S3 client that a listing needs; it is bound to one bucket."""

    async def request(
        self, method: str, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer: ...


class Listing(Protocol):
    """Objects in key order that can be read from any key on."""

    name: str  # for messages: where this is
    prefix: str  # what all keys begin with
    seekable: bool  # False once the store was seen to ignore `after`

    async def page(self, after: str = "", token: str = "", limit: int = PAGE_SIZE) -> ListPage:
        """The page that `token` continues with, or else the first one with keys above `after`."""
        ...


# ------------------------------------------------------------------------------------------------- renaming


@dataclass(frozen=True, slots=True)
class KeyMap:
    """How source keys become destination keys: `strip` is taken away in front, `add` is put there. It keeps
    the order of keys that begin with `strip`."""

    strip: str = ""
    add: str = ""

    @property
    def identity(self) -> bool:
        return self.strip == self.add

    def to_dest(self, key: str) -> str:
        return self.add + key[len(self.strip) :]

    def to_source(self, key: str) -> str:
        return self.strip + key[len(self.add) :]


# ------------------------------------------------------------------------------------------------- one prefix


class PrefixListing:
    """All objects of a bucket below one prefix.

    With `rename`, this is a destination shown under the keys of its source: `prefix` and all keys going in
    and out are source keys. `headers` go with every request (requester pays).
    """

    def __init__(
        self,
        client: Requester,
        prefix: str = "",
        *,
        name: str = "",
        rename: KeyMap | None = None,
        headers: Mapping[str, str] | None = None,
        restore_status: bool = False,
        delimiter: str = "",
        attempts: int = ATTEMPTS,
    ) -> None:
        self.name = name
        self.prefix = prefix
        self.seekable = True
        self._client = client
        self._rename = rename if rename is not None and not rename.identity else None
        self._headers = dict(headers or {})
        if restore_status:
            self._headers["x-amz-optional-object-attributes"] = "RestoreStatus"
        self._delimiter = delimiter
        self._attempts = attempts
        self._first_version = False  # the store knows only ListObjects: continue with a marker

    async def page(self, after: str = "", token: str = "", limit: int = PAGE_SIZE) -> ListPage:
        return await self.page_below(self.prefix, after, token, limit)

    async def page_below(self, prefix: str, after: str, token: str, limit: int) -> ListPage:
        """A page of another prefix of the same bucket."""
        try:
            return await retry(partial(self._page, prefix, after, token, limit), attempts=self._attempts)
        except EndpointRefused:
            raise
        except TransferError as error:
            where = f", prefix {self._stored(prefix)!r}" if prefix else ""
            where += f", after {after!r}" if after else ""
            raise ListingFailed(f"Cannot list {self.name}{where}: {error}") from error

    async def _page(self, prefix: str, after: str, token: str, limit: int) -> ListPage:
        query = {"prefix": self._stored(prefix), "max-keys": str(limit), "encoding-type": "url"}
        if self._delimiter:
            query["delimiter"] = self._delimiter
        start = self._stored(after) if after else ""
        if self._first_version:
            query["marker"] = token or start
        else:
            query["list-type"] = "2"
            if token:
                query["continuation-token"] = token
            elif start:
                query["start-after"] = start
        answer = await self._client.request("GET", query=query, headers=self._headers)
        page = parse_page(answer.body)
        if page.marker and not self._first_version:
            self._first_version = True  # it knows no start-after: ask again in its own words
            return await self._page(prefix, after, token, limit)
        if token and page.token == token:
            raise Transient("the listing does not move on: the store repeats a continuation token")
        if self._rename is not None:
            page.entries = _renamed(self._rename, page.entries)
        return page

    def _stored(self, key: str) -> str:
        return self._rename.to_dest(key) if self._rename is not None else key


def _renamed(rename: KeyMap, entries: list[Entry]) -> list[Entry]:
    cut, strip = len(rename.add), rename.strip
    return [make_entry((strip + e[0][cut:], *e[1:])) for e in entries]


async def pages(listing: Listing) -> AsyncIterator[ListPage]:
    """The whole listing in the store's own order, whatever that is."""
    page = await listing.page()
    yield page
    while page.token:
        page = await listing.page(token=page.token)
        yield page


# ------------------------------------------------------------------------------------------------- one page

# What XML allows as plain text; anything else (entities above all) is left to expat.
_TEXT = "[^<>&\x00-\x1f\ufffe\uffff]*"
_S = "[ \t\r\n]*"
_TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_QUOTE = '(?:&quot;|&#34;|")?'


def _asides(*names: str) -> str:
    """Elements that stores put between those that are read here, and that may be there or not."""
    elements = "|".join(f"{name}>{_TEXT}</{name}" for name in names)
    return f"{_S}(?:<(?:{elements})>{_S})*"


_SUMS = _asides("ChecksumAlgorithm", "ChecksumType", "Type")
_OWNER = f"(?:<Owner>{_asides('ID', 'DisplayName')}</Owner>{_S})?"
_ITEM = re.compile(
    f"<Contents>{_S}<Key>({_TEXT})</Key>{_asides('Generation', 'MetaGeneration')}"
    f"<LastModified>({_TIME})(?:\\.[0-9]+)?Z</LastModified>{_S}"
    f'<ETag>{_QUOTE}([^<>&"\x00-\x1f\ufffe\uffff]*){_QUOTE}</ETag>{_SUMS}'
    f"<Size>([0-9]{{1,19}})</Size>{_S}{_OWNER}"
    f"(?:<StorageClass>({_TEXT})</StorageClass>{_SUMS}{_OWNER})?"
    f"(?:<RestoreStatus>({_asides('IsRestoreInProgress', 'RestoreExpiryDate')})</RestoreStatus>{_S})?"
    f"</Contents>{_S}(?=<Contents>|\\Z)"
)
_FIELD = re.compile(r"<(\w+)>([^<]*)")
_OTHER_ENCODING = re.compile(rb"""<\?xml[^>]*encoding=["'](?!utf-8["'])""", re.IGNORECASE)
_END = b"</Contents>"


def is_web_page(body: bytes) -> bool:
    """Whether a server answered as it does to people: a proxy, a portal, a balancer, no store."""
    return body[:1024].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def parse_page(body: bytes) -> ListPage:
    """A ListBucketResult (either version of the API) read; raises `Transient` for anything else, because an
    answer that is no listing must never pass for an empty one."""
    if not body or is_web_page(body):
        what = "is a web page" if body else "is empty"
        raise Transient(
            f"the answer to a listing {what}: this is no S3 store, or something stands before it",
            code=NO_LISTING,
        )
    start = body.find(b"<Contents>")
    if start >= 0 and (page := _parse_plain(body, start)) is not None:
        return page
    return _parse_any(body)


def _parse_plain(body: bytes, start: int) -> ListPage | None:
    """The page by regular expression; None if there is anything unusual about it."""
    end = body.rfind(_END) + len(_END)
    middle = body[start:end]
    if b"<!" in body or _OTHER_ENCODING.match(body):
        return None
    try:
        rows = _ITEM.findall(middle.decode())
    except UnicodeDecodeError:
        return None
    if len(rows) != middle.count(b"<Contents"):
        return None
    page = _Document(body[:start] + body[end:])  # all but the objects: expat checks it for a few microseconds
    if page.items:
        return None
    keys, modified, etags, sizes, classes, states = zip(*rows, strict=True)
    restores = [_restore(dict(_FIELD.findall(s))) for s in states] if any(states) else states
    columns = (page.decoded(keys), map(int, sizes), etags, modified, classes, restores)
    return page.result(list(map(make_entry, zip(*columns, strict=True))))


def _parse_any(body: bytes) -> ListPage:
    page = _Document(body)
    try:
        keys = page.decoded([item["Key"] for item in page.items])
        return page.result([_read(key, item) for key, item in zip(keys, page.items, strict=True)])
    except (KeyError, ValueError) as error:
        raise Transient(f"the answer to a listing has an object without its {error}") from error


def _read(key: str, item: dict[str, str]) -> Entry:
    etag = item.get("ETag", "").strip('"')
    modified = to_second(item.get("LastModified", ""))
    return Entry(key, int(item["Size"]), etag, modified, item.get("StorageClass", ""), _restore(item))


def _restore(fields: dict[str, str]) -> str:
    in_progress = fields.get("IsRestoreInProgress") == "true"
    return ONGOING if in_progress else to_second(fields.get("RestoreExpiryDate", ""))


def to_second(text: str) -> str:
    """An ISO 8601 time as `Entry.modified` has it; "" if it is none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return ""
    if time.tzinfo is not None:
        time = time.astimezone(UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S")


class _Document:
    """What expat finds in a listing: the fields of the answer, and those of each object."""

    def __init__(self, body: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.items: list[dict[str, str]] = []
        self.prefixes: list[str] = []
        self._path: list[str] = []
        self._text: list[str] = []
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = _refuse_doctype
        try:
            parser.Parse(body, True)
        except expat.ExpatError as error:
            raise Transient(
                f"the answer to a listing is no XML ({error}): this is no S3 store, or a key has a character that XML "
                "cannot hold",
                code=NO_LISTING,
            ) from error

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        if not self._path and name != "ListBucketResult":
            raise Transient(f"the answer to a listing is no ListBucketResult but {name!r}", code=NO_LISTING)
        if name == "Contents":
            self.items.append({})
        self._path.append(name)
        self._text.clear()

    def _end(self, name: str) -> None:
        path = self._path
        text = "".join(self._text)
        self._text.clear()
        path.pop()
        if len(path) == 1:
            self.fields[name] = text
        elif path and (path[-1] == "Contents" or path[-1] == "RestoreStatus"):
            self.items[-1][name] = text
        elif path and path[-1] == "CommonPrefixes":
            self.prefixes.append(text)

    def decoded(self, keys: Iterable[str]) -> list[str]:
        """The keys themselves: decoded only if the answer says that they are encoded."""
        keys = list(keys)
        if self.fields.get("EncodingType") != "url":
            return keys
        joined = "\n".join(keys)
        if "%" in joined or "+" in joined:
            # All at once is several times faster; where a key holds a newline itself, one by one.
            decoded = (
                unquote_to_bytes(joined.replace("+", " ")).decode("utf-8", "surrogateescape").split("\n")
            )
            if len(decoded) != len(keys):
                return [unquote_plus(key, errors="surrogateescape") for key in keys]
            return decoded
        return keys

    def result(self, entries: list[Entry]) -> ListPage:
        marker = "Marker" in self.fields and "KeyCount" not in self.fields
        token = ""
        if self.fields.get("IsTruncated", "").strip().lower() == "true":
            token = self.fields.get("NextContinuationToken", "")
            if not token and marker:
                [token] = self.decoded([self.fields.get("NextMarker", "")])
                token = token or (entries[-1].key if entries else "")
            if not token:
                raise Transient("the answer to a listing is cut short, but says not where to go on")
        return ListPage(entries, token, self.decoded(self.prefixes), marker)


def _refuse_doctype(*_: object) -> NoReturn:
    raise Transient("the answer to a listing has a document type: it is no listing")
