"""Listing the objects of a bucket: one page parsed, one prefix read.

Keys are `str` holding the store's UTF-8 bytes (`surrogateescape`); listings are ordered by code point, which
is the byte order of UTF-8. Parsing is most of what a comparison costs, so a page goes through one regular
expression that takes only what is plain; whatever it does not take, expat decides. Both give the same result
(a property test holds them to it).
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import NamedTuple, NoReturn, Protocol
from urllib.parse import unquote, unquote_plus, unquote_to_bytes
from xml.parsers import expat

from dth.core.confinement import foreign
from dth.core.errors import (
    Disposition,
    EndpointRefused,
    ListingFailed,
    ObjectRefused,
    TransferError,
    Transient,
)
from dth.objects.store.etags import bare_etag
from dth.objects.store.retry import retry

PAGE_SIZE = 1000  # keys; the most that a store returns
NO_LISTING = "NoListing"  # the code of an answer that is something else
ATTEMPTS = 8  # of one page, before the listing fails
MAX_KEY_BYTES = 1024  # of UTF-8; the limit of S3 and of every store that follows it
EMPTY_PAGES = 2000  # in a row, before a listing counts as one that never ends
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
    was asked for. `marker` tells an answer of the first version of the API. `escaped` are a key with + and one with
    %, if there are any: as the store wrote them, because they mean something else in another `Encoding`. `echo` is
    the prefix of the request as the store wrote it."""

    entries: list[Entry]
    token: str = ""
    prefixes: list[str] = field(default_factory=list)
    marker: bool = False
    escaped: list[str] = field(default_factory=list, compare=False)
    echo: str = field(default="", compare=False)
    # More follows, but the answer does not say where.
    cut_short: bool = field(default=False, compare=False)


class Encoding(Enum):
    """What a store means by `encoding-type=url`."""

    # As AWS has it.
    FORM = "a space is +, and a plus is %2B"
    PERCENT = "a space is %20, and + is a plus"
    NONE = "keys are as they are"

    def decoded(self, key: str) -> str:
        if self is Encoding.NONE:
            return key
        return (unquote_plus if self is Encoding.FORM else unquote)(key, errors="surrogateescape")


class Answer(Protocol):
    @property
    def body(self) -> bytes: ...


class Requester(Protocol):
    """The part of the S3 client that a listing needs; it is bound to one bucket."""

    async def request(
        self,
        method: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        attempts: int = 0,
    ) -> Answer: ...


class Listing(Protocol):
    """Objects in key order that can be read from any key on."""

    name: str  # for messages: where this is
    prefix: str  # what all keys begin with
    ordered: bool  # False where the store is known to list in an order of its own
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
    and out are source keys. `headers` go with every request (requester pays). `first_version`: the store is
    known to answer ListObjectsV2 wrongly. `notes` are what the user should know of this store's listings.
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
        first_version: bool = False,
        ordered: bool = True,
    ) -> None:
        self.name = name
        self.prefix = prefix
        self.ordered = ordered
        self.seekable = True
        self.notes: list[str] = []
        self._client = client
        self._rename = rename if rename is not None and not rename.identity else None
        self._headers = dict(headers or {})
        if restore_status:
            self._headers["x-amz-optional-object-attributes"] = "RestoreStatus"
        self._delimiter = delimiter
        self._attempts = attempts
        self._first_version = first_version
        # Whether the store has answered ListObjectsV2: then it is not refused for good.
        self._second_version = False
        self._encoding = Encoding.FORM
        # The characters of which it is known what the store means by them.
        self._understood = ""
        self._asking = asyncio.Lock()

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
        # A token says which version of the API it belongs to: a store may turn out to know only the first one while
        # other pages are on their way.
        first = token[0] == "1" if token else self._first_version
        stored, start = self._stored(prefix), self._stored(after) if after else ""
        try:
            page = await self._understand(stored, first, start, token[1:], limit)
        except ObjectRefused as refused:
            if first or token or self._second_version or refused.status not in (400, 405, 501):
                raise
            try:
                page = await self._understand(stored, True, start, "", limit)
            except ObjectRefused:
                raise refused from None
            first = True
            self._fall_back(f"refuses ListObjectsV2 ({refused.code})")
        if page.marker and not first:
            if token:
                raise Transient("the listing does not go on: the store ignores a continuation token")
            # It knows no start-after: ask again in its own words.
            self._first_version = True
            return await self._page(prefix, after, token, limit)
        self._second_version |= not first
        if page.cut_short:
            page.token = "1" + _last_name(page)
            if not first:
                self._fall_back("cuts answers to ListObjectsV2 short without a token")
        elif page.token:
            page.token = ("1" if first else "2") + page.token
        if token and page.token == token:
            raise Transient("the listing does not move on: the store repeats a continuation token")
        if self._rename is not None:
            page.entries = _renamed(self._rename, page.entries)
        return page

    def _fall_back(self, why: str) -> None:
        if not self._first_version:
            self._first_version = True
            self.notes.append(f"{self.name} {why}: it is listed with ListObjects")

    async def _request(self, prefix: str, first: bool, start: str, marker: str, limit: int) -> bytes:
        query = {"prefix": prefix, "max-keys": str(limit), "encoding-type": "url"}
        if self._delimiter:
            query["delimiter"] = self._delimiter
        if first:
            query["marker"] = marker or start
        else:
            query["list-type"] = "2"
            if marker:
                query["continuation-token"] = marker
            elif start:
                query["start-after"] = start
        return (await self._client.request("GET", query=query, headers=self._headers, attempts=1)).body

    async def _understand(self, prefix: str, first: bool, start: str, marker: str, limit: int) -> ListPage:
        """A page with its keys as they are, whatever the store means by its encoding."""
        body = await self._request(prefix, first, start, marker, limit)
        read_with = self._encoding
        page = read_page(body, read_with)
        if self._not_understood(page):
            async with self._asking:
                if doubtful := self._not_understood(page):
                    await self._find_encoding(prefix, first, doubtful)
        return page if read_with is self._encoding else read_page(body, self._encoding)

    def _not_understood(self, page: ListPage) -> list[str]:
        """The keys of the page of which it is not known yet what they mean."""
        return [key for key in page.escaped if any(c in key and c not in self._understood for c in "+%")]

    async def _find_encoding(self, prefix: str, first: bool, doubtful: list[str]) -> None:
        """Ask the store how it writes a prefix that needs encoding. Stores that do not encode a prefix, though they
        may encode keys, are asked for the doubtful keys."""
        try:
            body = await self._request(f"{prefix}%41+ ", first, "", "", 1)
            encoding = _encoding_of(read_page(body, Encoding.NONE).echo)
            if encoding is not None:
                self._encoding, self._understood = encoding, "+%"
                return
            for escaped in doubtful:
                await self._ask_for(escaped, first)
                self._understood += "".join(char for char in "+%" if char in escaped)
        except TransferError as error:
            if error.disposition is Disposition.RETRY:
                raise
            # It may be forbidden to list anything else.
            self._understood = "+%"

    async def _ask_for(self, escaped: str, first: bool) -> None:
        """Ask for what the key may mean: the one that the store lists in the same words is what it means."""
        # Where several have one meaning, the first one counts.
        meanings = {encoding.decoded(escaped): encoding for encoding in reversed(_TRIED)}
        found = []
        for key, encoding in meanings.items():
            entries = read_page(await self._request(key, first, "", "", 1), Encoding.NONE).entries
            if entries and entries[0].key.startswith(escaped):
                found.append(encoding)
        if len(found) != 1:
            # It is gone, or the store ignores the prefix that it is asked for.
            return
        # One key tells of the characters in it alone.
        if found[0] is Encoding.NONE and "%" in escaped:
            self._encoding, self._understood = Encoding.NONE, "+%"
        elif "+" in escaped:
            self._encoding = Encoding.FORM if found[0] is Encoding.FORM else Encoding.PERCENT

    def _stored(self, key: str) -> str:
        return self._rename.to_dest(key) if self._rename is not None else key


_TRIED = (Encoding.NONE, Encoding.FORM, Encoding.PERCENT)


def _encoding_of(echo: str) -> Encoding | None:
    """What the store makes of a prefix that ends with `%41+ `; None if that does not tell."""
    echo = echo.upper()
    if echo.endswith("%2541%2B+"):
        return Encoding.FORM
    return Encoding.PERCENT if echo.endswith(("%2541%2B%20", "%2541+%20")) else None


def _last_name(page: ListPage) -> str:
    """Where the first version of the API goes on behind this page, if the store does not say it."""
    last = page.token or max([*(entry.key for entry in page.entries[-1:]), *page.prefixes[-1:]], default="")
    if not last or _CUT_MARK.search(last[-80:]):
        raise Transient("the answer to a listing is cut short, but does not say where to go on")
    return last


def is_overlong(key: str) -> bool:
    """Whether the key has more bytes than S3 allows."""
    return len(key) > MAX_KEY_BYTES // 4 and len(key.encode("utf-8", "surrogateescape")) > MAX_KEY_BYTES


def shortened(key: str) -> str:
    """A key as it may be kept and shown; of one that is too long its beginning, its length and a digest."""
    if not is_overlong(key):
        return key
    if found := _CUT_MARK.search(key[-80:]):
        return key[:100] + found[0]
    data = key.encode("utf-8", "surrogateescape")
    return key[:100] + _cut_mark(len(data), hashlib.sha256(data).hexdigest())


def _cut_mark(length: int, digest: str) -> str:
    return f"... ({length} bytes, {digest[:12]})"


_CUT_MARK = re.compile(r"\.\.\. \(\d+ bytes, [0-9a-f]{12}\)$")


def _renamed(rename: KeyMap, entries: list[Entry]) -> list[Entry]:
    cut, strip = len(rename.add), rename.strip
    return [make_entry((strip + e[0][cut:], *e[1:])) for e in entries]


async def pages(listing: Listing) -> AsyncIterator[ListPage]:
    """The whole listing in the store's own order, whatever that is."""
    trail = Trail(listing.name)
    page = await listing.page()
    yield page
    while page.token:
        trail.follow(page)
        page = await listing.page(token=page.token)
        yield page


class Trail:
    """Notices a listing that never ends: that goes round in circles, or goes on and on with nothing on its pages.

    It keeps one page in mind, and another one whenever the number of pages has doubled (Brent's algorithm): sooner or
    later a circle comes back to it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pages = 0
        self._empty = 0
        self._token = ""
        self._first = ""
        self._again = 0

    def follow(self, page: ListPage) -> None:
        """Before the next page is asked for. Raises ListingFailed."""
        first = page.entries[0].key if page.entries else (page.prefixes[0] if page.prefixes else "")
        self._empty = 0 if first else self._empty + 1
        if self._empty > EMPTY_PAGES:
            raise ListingFailed(
                f"Cannot list {self._name}: {EMPTY_PAGES} pages in a row without an object, and more to come"
            )
        # One key may come again where a page begins, if the store repeats it; more than once it may not.
        self._again += first == self._first != ""
        if page.token == self._token or self._again > 2:
            raise ListingFailed(f"Cannot list {self._name}: the store repeats its pages without end")
        self._pages += 1
        if self._pages & (self._pages - 1) == 0:
            self._token, self._first, self._again = page.token, first, 0


# ------------------------------------------------------------------------------------------------- one page

# What XML allows as plain text; anything else (entities above all) is left to expat.
_TEXT = "[^<>&\x00-\x1f\ufffe\uffff]*"
_S = "[ \t\r\n]*"
_TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_QUOTE = '(?:&quot;|&#34;|")?'
# Longer texts hold no key, and are not kept whole in memory.
_TEXT_BYTES = 16 * 1024
_LONG_TEXT = re.compile(rb">([^<]{%d,})<" % _TEXT_BYTES)
# More than a page of a thousand keys of the greatest length has.
_USUAL_BYTES = 4 * 1024 * 1024
_DEEPEST = 100  # elements in one another
_MOST_ITEMS = 100_000  # objects on one page


def _asides(*names: str) -> str:
    """Elements that stores put between those that are read here, and that may be there or not."""
    elements = "|".join(f"{name}>{_TEXT}</{name}" for name in names)
    return f"{_S}(?:<(?:{elements})>{_S})*"


_SUMS = _asides("ChecksumAlgorithm", "ChecksumType", "Type")
_OWNER = f"(?:<Owner>{_asides('ID', 'DisplayName')}</Owner>{_S})?"
_ITEM = re.compile(
    f"<Contents>{_S}<Key>({_TEXT})</Key>{_asides('Generation', 'MetaGeneration')}"
    f"<LastModified>({_TIME})(?:\\.[0-9]+)?Z</LastModified>{_S}"
    # Without a slash: a weak one (W/"...") is for expat.
    f'<ETag>{_QUOTE}([^<>&"/\x00-\x1f\ufffe\uffff]*){_QUOTE}</ETag>{_SUMS}'
    f"<Size>([0-9]{{1,18}})</Size>{_S}{_OWNER}"
    f"(?:<StorageClass>({_TEXT})</StorageClass>{_SUMS}{_OWNER})?"
    f"(?:<RestoreStatus>({_asides('IsRestoreInProgress', 'RestoreExpiryDate')})</RestoreStatus>{_S})?"
    f"</Contents>{_S}(?=<Contents>|\\Z)"
)
_FIELD = re.compile(r"<(\w+)>([^<]*)")
_OTHER_ENCODING = re.compile(rb"""<\?xml[^>]*encoding=["'](?!utf-8["'])""", re.IGNORECASE)
_END = b"</Contents>"
_INVALID_TOKEN = expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN]
_INVALID_REFERENCE = expat.errors.codes[expat.errors.XML_ERROR_BAD_CHAR_REF]


def is_web_page(body: bytes) -> bool:
    """Whether a server answered as it does to people: a proxy, a portal, a balancer, no store."""
    return body[:1024].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def parse_page(body: bytes) -> ListPage:
    """A ListBucketResult (either version of the API) read, with keys encoded as AWS does; raises `Transient` for
    anything else, because an answer that is no listing must never pass for an empty one."""
    page = read_page(body)
    if page.cut_short:
        raise Transient("the answer to a listing is cut short, but does not say where to go on")
    return page


def read_page(body: bytes, encoding: Encoding = Encoding.FORM) -> ListPage:
    """As `parse_page`, of a store that encodes keys in this way. The page may be `cut_short`."""
    if not body or is_web_page(body):
        what = "is a web page" if body else "is empty"
        raise Transient(
            f"the answer to a listing {what}: this is no S3 store, or something stands before it",
            code=NO_LISTING,
        )
    if len(body) > _USUAL_BYTES:
        body = _LONG_TEXT.sub(_cut, body)
    start = body.find(b"<Contents>")
    if start >= 0 and (page := _parse_plain(body, start, encoding)) is not None:
        return page
    return _parse_any(body, encoding)


def _cut(found: re.Match[bytes]) -> bytes:
    """A text that is too long to be that of a key, cut off so that what is left is still too long."""
    start, end = found.span(1)
    head = found.string[start : start + _TEXT_BYTES].decode(errors="ignore")
    head = re.sub("(&[^;]{0,10}|%[0-9A-Fa-f]?)$", "", head)
    digest = hashlib.sha256(memoryview(found.string)[start:end]).hexdigest()
    # The mark has neither + nor %: it stays as it is when the key is decoded.
    return f">{head}{_cut_mark(end - start, digest)}<".encode()


def _parse_plain(body: bytes, start: int, encoding: Encoding) -> ListPage | None:
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
    # All but the objects: expat checks it for a few microseconds.
    page = _Document(body[:start] + body[end:], encoding)
    if page.items:
        return None
    keys, modified, etags, sizes, classes, states = zip(*rows, strict=True)
    restores = [_restore(dict(_FIELD.findall(s))) for s in states] if any(states) else states
    columns = (page.decoded(keys), map(int, sizes), etags, modified, classes, restores)
    return page.result(list(map(make_entry, zip(*columns, strict=True))))


def _parse_any(body: bytes, encoding: Encoding = Encoding.FORM) -> ListPage:
    page = _Document(body, encoding)
    try:
        keys = page.decoded([item["Key"] for item in page.items])
        return page.result([_read(key, item) for key, item in zip(keys, page.items, strict=True)])
    except (KeyError, ValueError) as error:
        what = foreign(str(error)) or "size or ETag"
        raise Transient(f"the answer to a listing has an object without its {what}") from error


def _read(key: str, item: dict[str, str]) -> Entry:
    etag = bare_etag(item.get("ETag", ""))
    modified = to_second(item.get("LastModified", ""))
    size = int(item["Size"])
    if not 0 <= size < 2**63:
        raise ValueError("size")
    return Entry(key, size, etag, modified, item.get("StorageClass", ""), _restore(item))


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

    def __init__(self, body: bytes, encoding: Encoding) -> None:
        self.fields: dict[str, str] = {}
        self.items: list[dict[str, str]] = []
        self.prefixes: list[str] = []
        self._encoding = encoding
        self._escaped: dict[str, str] = {}
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
            raise Transient(self._unreadable(body, error), code=NO_LISTING) from error

    def _unreadable(self, body: bytes, error: expat.ExpatError) -> str:
        """Why the answer is no XML, as far as can be told."""
        if self._path and error.code in (_INVALID_TOKEN, _INVALID_REFERENCE) and _ends(body):
            behind = f", behind the key {shortened(self._last_key())!r}" if self._last_key() else ""
            return (
                f"the listing has a key with a character that XML cannot hold{behind} ({error}): the store ignores "
                "encoding-type=url; rename that object, or name the objects in a manifest"
            )
        return (
            f"the answer to a listing is no XML ({error}): this is no S3 store, or a key has a character that XML "
            "cannot hold"
        )

    def _last_key(self) -> str:
        return next((item["Key"] for item in reversed(self.items[-2:]) if "Key" in item), "")

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        if not self._path and name != "ListBucketResult":
            but = foreign(f" but {name!r}")
            raise Transient(f"the answer to a listing is no ListBucketResult{but}", code=NO_LISTING)
        if name == "Contents":
            self.items.append({})
        if len(self._path) > _DEEPEST or len(self.items) > _MOST_ITEMS:
            raise Transient("the answer to a listing has too many elements: it is no page of a listing")
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
        signs = [sign for sign in "+%" if sign in joined]
        if not signs:
            return keys
        for sign in signs:
            if sign not in self._escaped:
                self._escaped[sign] = next(key for key in keys if sign in key)
        if self._encoding is Encoding.NONE:
            return keys
        # All at once is several times faster; where a key holds a newline itself, one by one.
        text = joined.replace("+", " ") if self._encoding is Encoding.FORM else joined
        decoded = unquote_to_bytes(text).decode("utf-8", "surrogateescape").split("\n")
        return decoded if len(decoded) == len(keys) else [self._encoding.decoded(key) for key in keys]

    def result(self, entries: list[Entry]) -> ListPage:
        marker = "Marker" in self.fields and "KeyCount" not in self.fields
        page = ListPage(entries, "", self.decoded(self.prefixes), marker)
        page.escaped, page.echo = list(self._escaped.values()), self.fields.get("Prefix", "")
        if self.fields.get("IsTruncated", "").strip().lower() == "true":
            token = "" if marker else self.fields.get("NextContinuationToken", "")
            [page.token] = [token] if token else self.decoded([self.fields.get("NextMarker", "")])
            if marker and not page.token:
                page.token = _last_name(page)
            page.cut_short = not token and not marker
        return page


def _ends(body: bytes) -> bool:
    """Whether the whole answer has come."""
    return body.rstrip().endswith(b"</ListBucketResult>")


def _refuse_doctype(*_: object) -> NoReturn:
    raise Transient("the answer to a listing has a document type: it is no listing")
