"""Lists the objects of a bucket: parses a page, reads a prefix.

Keys are `str`: the store's UTF-8 bytes, decoded with `surrogateescape`. Listings are ordered by
code point, which is the byte order of UTF-8. Parsing is most of the cost of a comparison. So one
regular expression parses a page if it is plain, and expat parses any other page. A property test
checks that both give the same result.
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
from dth.objects.store.immediate_retry import retry

PAGE_SIZE = 1000  # keys; the most that a store returns
# The error code of an answer that is not a listing.
NO_LISTING = "NoListing"
ATTEMPTS = 8  # per page, before the listing fails
# In UTF-8. The limit of S3 and of every store that follows it.
MAX_KEY_BYTES = 1024
# Empty pages in a row after which a listing counts as endless.
EMPTY_PAGES = 2000
ONGOING = "ongoing"  # Entry.restore during a restore


class ListedObject(NamedTuple):
    """One object as a listing shows it.

    `modified` is UTC as `YYYY-MM-DDTHH:MM:SS`, so times can be compared as text; "" is unknown.
    Fractions of a second are cut off, because stores and HEAD answers differ in them.
    """

    key: str
    # In bytes. -1: only the key is known (a manifest without sizes or ETags).
    size: int
    etag: str = ""  # without quotes
    modified: str = ""
    storage_class: str = ""  # "" if the store does not say
    # "", ONGOING, or the time until which the restored copy exists.
    restore: str = ""


# Makes an entry from an iterable of its fields. Several times faster than calling the class.
make_entry: Callable[[Iterable[object]], ListedObject] = partial(tuple.__new__, ListedObject)

# GLACIER_IR is not included, because it can be read at once.
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def is_archived(entry: ListedObject) -> bool:
    """Whether the object is in an archive class without a restored copy, so it cannot be read
    now."""
    return entry.storage_class in _ARCHIVES and entry.restore in ("", ONGOING)


@dataclass(slots=True)
class ListPage:
    """One answer.

    `token` continues the listing; "" at its end. `prefixes` are given only if a delimiter was
    requested. `marker` is True for an answer of the first version of the API. `escaped` holds a key
    with + and a key with %, if there are any, as the store wrote them, because they mean something
    else in another `Encoding`. `echo` is the prefix of the request as the store wrote it.
    """

    entries: list[ListedObject]
    token: str = ""
    prefixes: list[str] = field(default_factory=list)
    marker: bool = False
    escaped: list[str] = field(default_factory=list, compare=False)
    echo: str = field(default="", compare=False)
    # More keys follow, but the answer does not say where to continue.
    cut_short: bool = field(default=False, compare=False)


class Encoding(Enum):
    """What a store means by `encoding-type=url`."""

    # As at AWS.
    FORM = "a space is +, and a plus is %2B"
    PERCENT = "a space is %20, and + is a plus"
    NONE = "keys are as they are"

    def decoded(self, key: str) -> str:
        """The key that the store means. Bytes that are not UTF-8 become surrogates."""
        if self is Encoding.NONE:
            return key
        return (unquote_plus if self is Encoding.FORM else unquote)(key, errors="surrogateescape")


class Answer(Protocol):
    """The part of an answer that a listing needs."""

    @property
    def body(self) -> bytes:
        """The whole body of the answer."""
        ...


class Requester(Protocol):
    """The part of the S3 client that a listing needs. It is bound to one bucket."""

    async def request(
        self,
        method: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        attempts: int = 0,
    ) -> Answer:
        """Send a request about the bucket. `attempts`: calls in total; 0: as many as usual. Raises
        TransferError."""
        ...


class Listing(Protocol):
    """Objects in key order, which can be read from any key on."""

    name: str  # where this is, for messages
    prefix: str  # all keys begin with it
    # False if the store is known to list in an order of its own.
    ordered: bool
    # False once the store was seen to ignore `after`.
    seekable: bool

    async def page(self, after: str = "", token: str = "", limit: int = PAGE_SIZE) -> ListPage:
        """The page that continues at `token`, or without a token the first page of keys above
        `after`."""
        ...


# ----------------------------------------------------------------------------------------- renaming


@dataclass(frozen=True, slots=True)
class KeyMap:
    """How source keys become destination keys: the prefix `strip` is replaced by `add`. This keeps
    the order of keys that begin with `strip`."""

    strip: str = ""
    add: str = ""

    @property
    def identity(self) -> bool:
        """Whether keys stay the same."""
        return self.strip == self.add

    def to_dest(self, key: str) -> str:
        """The destination key of a source key."""
        return self.add + key[len(self.strip) :]

    def to_source(self, key: str) -> str:
        """The source key of a destination key."""
        return self.strip + key[len(self.add) :]


# --------------------------------------------------------------------------------------- one prefix


class PrefixListing:
    """All objects of a bucket below one prefix.

    With `rename`, this is a destination shown with source keys: `prefix` and all keys in and out
    are source keys. `headers` are sent with every request (requester pays). `first_version`: the
    store is known to answer ListObjectsV2 wrongly. `notes` are for the user, about this store's
    listings.
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
        # Whether the store has answered ListObjectsV2. If so, a refusal does not mean that it lacks
        # it.
        self._second_version = False
        self._encoding = Encoding.FORM
        # The characters whose meaning in this store's answers is known.
        self._understood = ""
        self._asking = asyncio.Lock()

    async def page(self, after: str = "", token: str = "", limit: int = PAGE_SIZE) -> ListPage:
        """As `Listing.page`. Raises ListingFailed after all attempts."""
        return await self.page_below(self.prefix, after, token, limit)

    async def page_below(self, prefix: str, after: str, token: str, limit: int) -> ListPage:
        """A page of another prefix of the same bucket. Raises ListingFailed after all attempts."""
        try:
            return await retry(
                partial(self._page, prefix, after, token, limit), attempts=self._attempts
            )
        except EndpointRefused:
            raise
        except TransferError as error:
            where = f", prefix {self._stored(prefix)!r}" if prefix else ""
            where += f", after {after!r}" if after else ""
            raise ListingFailed(f"Cannot list {self.name}{where}: {error}") from error

    async def _page(self, prefix: str, after: str, token: str, limit: int) -> ListPage:
        # A token says which version of the API it belongs to. The store may turn out to know only
        # the first version while other pages are in flight.
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
                raise Transient(
                    "the listing does not advance: the store ignores a continuation token"
                )
            # The store ignores start-after. Ask again with the first version.
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
        if stored:
            self._leave_out_others(page, stored)
        if self._rename is not None:
            page.entries = _renamed(self._rename, page.entries)
        return page

    def _leave_out_others(self, page: ListPage, prefix: str) -> None:
        """Leave out what does not begin with the requested prefix. Its keys would be renamed to
        those of other objects."""
        entries = [entry for entry in page.entries if entry[0].startswith(prefix)]
        prefixes = [each for each in page.prefixes if each.startswith(prefix)]
        if (len(entries), len(prefixes)) == (len(page.entries), len(page.prefixes)):
            return
        page.entries, page.prefixes = entries, prefixes
        note = f"{self.name} lists objects outside of the requested prefix: they were left out"
        if note not in self.notes:
            self.notes.append(note)

    def _fall_back(self, why: str) -> None:
        if not self._first_version:
            self._first_version = True
            self.notes.append(f"{self.name} {why}: it is listed with ListObjects")

    async def _request(
        self, prefix: str, first: bool, start: str, marker: str, limit: int
    ) -> bytes:
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
        return (
            await self._client.request("GET", query=query, headers=self._headers, attempts=1)
        ).body

    async def _understand(
        self, prefix: str, first: bool, start: str, marker: str, limit: int
    ) -> ListPage:
        """A page with decoded keys, whatever the store's encoding is."""
        body = await self._request(prefix, first, start, marker, limit)
        read_with = self._encoding
        page = read_page(body, read_with)
        if self._not_understood(page):
            async with self._asking:
                if doubtful := self._not_understood(page):
                    await self._find_encoding(prefix, first, doubtful)
        return page if read_with is self._encoding else read_page(body, self._encoding)

    def _not_understood(self, page: ListPage) -> list[str]:
        """The escaped keys of the page whose meaning is not known yet."""
        return [
            key for key in page.escaped if any(c in key and c not in self._understood for c in "+%")
        ]

    async def _find_encoding(self, prefix: str, first: bool, doubtful: list[str]) -> None:
        """Ask the store how it writes a prefix that needs encoding. Some stores do not encode a
        prefix but may encode keys. They are asked for the doubtful keys."""
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
            # Listing anything else may be forbidden.
            self._understood = "+%"

    async def _ask_for(self, escaped: str, first: bool) -> None:
        """Ask for each key that the escaped text may mean. It means the one that the store lists
        with the same text."""
        # If several encodings give one meaning, the first one counts.
        meanings = {encoding.decoded(escaped): encoding for encoding in reversed(_TRIED)}
        found = []
        for key, encoding in meanings.items():
            entries = read_page(await self._request(key, first, "", "", 1), Encoding.NONE).entries
            if entries and entries[0].key.startswith(escaped):
                found.append(encoding)
        if len(found) != 1:
            # The key is gone, or the store ignores the requested prefix.
            return
        # One key shows only the meaning of the characters that it contains.
        if found[0] is Encoding.NONE and "%" in escaped:
            self._encoding, self._understood = Encoding.NONE, "+%"
        elif "+" in escaped:
            self._encoding = Encoding.FORM if found[0] is Encoding.FORM else Encoding.PERCENT

    def _stored(self, key: str) -> str:
        return self._rename.to_dest(key) if self._rename is not None else key


_TRIED = (Encoding.NONE, Encoding.FORM, Encoding.PERCENT)


def _encoding_of(echo: str) -> Encoding | None:
    """The encoding that a store shows for a prefix that ends with `%41+ `; None if that does not
    decide it."""
    echo = echo.upper()
    if echo.endswith("%2541%2B+"):
        return Encoding.FORM
    return Encoding.PERCENT if echo.endswith(("%2541%2B%20", "%2541+%20")) else None


def _last_name(page: ListPage) -> str:
    """Where the first version of the API continues after this page, if the store does not say
    so."""
    last = page.token or max(
        [*(entry.key for entry in page.entries[-1:]), *page.prefixes[-1:]], default=""
    )
    if not last or _CUT_MARK.search(last[-80:]):
        raise Transient("the answer to a listing is cut short, but does not say where to continue")
    return last


def is_overlong(key: str) -> bool:
    """Whether the key has more bytes than S3 allows."""
    return (
        len(key) > MAX_KEY_BYTES // 4
        and len(key.encode("utf-8", "surrogateescape")) > MAX_KEY_BYTES
    )


def shortened(key: str) -> str:
    """A key in a form to store and show. A key that is too long becomes its beginning, its length
    and a digest."""
    if not is_overlong(key):
        return key
    if found := _CUT_MARK.search(key[-80:]):
        return key[:100] + found[0]
    data = key.encode("utf-8", "surrogateescape")
    return key[:100] + _cut_mark(len(data), hashlib.sha256(data).hexdigest())


def _cut_mark(length: int, digest: str) -> str:
    return f"... ({length} bytes, {digest[:12]})"


_CUT_MARK = re.compile(r"\.\.\. \(\d+ bytes, [0-9a-f]{12}\)$")


def _renamed(rename: KeyMap, entries: list[ListedObject]) -> list[ListedObject]:
    cut, strip = len(rename.add), rename.strip
    return [make_entry((strip + e[0][cut:], *e[1:])) for e in entries]


async def pages(listing: Listing) -> AsyncIterator[ListPage]:
    """The whole listing in whatever order the store has. Raises ListingFailed if it never ends."""
    trail = Trail(listing.name)
    page = await listing.page()
    yield page
    while page.token:
        trail.follow(page)
        page = await listing.page(token=page.token)
        yield page


class Trail:
    """Detects a listing that never ends: it repeats pages, or returns empty pages without end.

    It remembers one page, and replaces it whenever the number of pages has doubled (Brent's
    algorithm). A circle reaches the remembered page sooner or later.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pages = 0
        self._empty = 0
        self._token = ""
        self._first = ""
        self._again = 0

    def follow(self, page: ListPage) -> None:
        """Check a page before the next one is requested. Raises ListingFailed."""
        first = page.entries[0].key if page.entries else (page.prefixes[0] if page.prefixes else "")
        self._empty = 0 if first else self._empty + 1
        if self._empty > EMPTY_PAGES:
            raise ListingFailed(
                f"Cannot list {self._name}: {EMPTY_PAGES} pages in a row without an object, "
                "and more to come"
            )
        # A key may occur again once at the beginning of a page, if the store repeats it, but not
        # more often.
        self._again += first == self._first != ""
        if page.token == self._token or self._again > 2:
            raise ListingFailed(
                f"Cannot list {self._name}: the store repeats its pages without end"
            )
        self._pages += 1
        if self._pages & (self._pages - 1) == 0:
            self._token, self._first, self._again = page.token, first, 0


# ----------------------------------------------------------------------------------------- one page

# Plain text in XML. Anything else (above all entities) is left to expat.
_TEXT = "[^<>&\x00-\x1f\ufffe\uffff]*"
_S = "[ \t\r\n]*"
_TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_QUOTE = '(?:&quot;|&#34;|")?'
# Longer texts cannot be keys, and are not kept whole in memory.
_TEXT_BYTES = 16 * 1024
_LONG_TEXT = re.compile(rb">([^<]{%d,})<" % _TEXT_BYTES)
# More bytes than a page of a thousand keys of maximum length has.
_USUAL_BYTES = 4 * 1024 * 1024
_DEEPEST = 100  # levels of nested elements
_MOST_ITEMS = 100_000  # objects per page


def _asides(*names: str) -> str:
    """Optional elements that some stores put between the elements that are read here."""
    elements = "|".join(f"{name}>{_TEXT}</{name}" for name in names)
    return f"{_S}(?:<(?:{elements})>{_S})*"


_SUMS = _asides("ChecksumAlgorithm", "ChecksumType", "Type")
_OWNER = f"(?:<Owner>{_asides('ID', 'DisplayName')}</Owner>{_S})?"
_ITEM = re.compile(
    f"<Contents>{_S}<Key>({_TEXT})</Key>{_asides('Generation', 'MetaGeneration')}"
    f"<LastModified>({_TIME})(?:\\.[0-9]+)?Z</LastModified>{_S}"
    # Without a slash: weak ETags (W/"...") are left to expat.
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
    """Whether the answer is a web page for people: from a proxy, a portal or a load balancer, not
    from a store."""
    return body[:1024].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def parse_page(body: bytes) -> ListPage:
    """Parse a ListBucketResult of either version of the API, with keys encoded as at AWS. Raises
    `Transient` for anything else, because an answer that is not a listing must never count as an
    empty one."""
    page = read_page(body)
    if page.cut_short:
        raise Transient("the answer to a listing is cut short, but does not say where to continue")
    return page


def read_page(body: bytes, encoding: Encoding = Encoding.FORM) -> ListPage:
    """As `parse_page`, for a store that encodes keys in this way. The page may be `cut_short`."""
    if not body or is_web_page(body):
        what = "is a web page" if body else "is empty"
        raise Transient(
            (
                f"the answer to a listing {what}: this is not an S3 store, or something stands "
                "before it"
            ),
            code=NO_LISTING,
        )
    if len(body) > _USUAL_BYTES:
        body = _LONG_TEXT.sub(_cut, body)
    start = body.find(b"<Contents>")
    if start >= 0 and (page := _parse_plain(body, start, encoding)) is not None:
        return page
    return _parse_any(body, encoding)


def _cut(found: re.Match[bytes]) -> bytes:
    """Shorten a text that is too long for a key. The rest is still too long for a key."""
    start, end = found.span(1)
    head = found.string[start : start + _TEXT_BYTES].decode(errors="ignore")
    head = re.sub("(&[^;]{0,10}|%[0-9A-Fa-f]?)$", "", head)
    digest = hashlib.sha256(memoryview(found.string)[start:end]).hexdigest()
    # The mark contains neither + nor %, so decoding the key does not change it.
    return f">{head}{_cut_mark(end - start, digest)}<".encode()


def _parse_plain(body: bytes, start: int, encoding: Encoding) -> ListPage | None:
    """Parse the page with the regular expression; None if anything about it is unusual."""
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
    # Everything except the objects. Expat checks it in a few microseconds.
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


def _read(key: str, item: dict[str, str]) -> ListedObject:
    etag = bare_etag(item.get("ETag", ""))
    modified = to_second(item.get("LastModified", ""))
    size = int(item["Size"])
    if not 0 <= size < 2**63:
        raise ValueError("size")
    return ListedObject(key, size, etag, modified, item.get("StorageClass", ""), _restore(item))


def _restore(fields: dict[str, str]) -> str:
    in_progress = fields.get("IsRestoreInProgress") == "true"
    return ONGOING if in_progress else to_second(fields.get("RestoreExpiryDate", ""))


def to_second(text: str) -> str:
    """An ISO 8601 time in the format of `ListedObject.modified`; "" if the text is not one."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return ""
    if time.tzinfo is not None:
        time = time.astimezone(UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S")


class _Document:
    """The content of a listing as expat finds it: the fields of the answer, and those of each
    object."""

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
        """Why the answer is not XML, as far as can be determined."""
        if self._path and error.code in (_INVALID_TOKEN, _INVALID_REFERENCE) and _ends(body):
            behind = f", behind the key {shortened(self._last_key())!r}" if self._last_key() else ""
            return (
                f"the listing has a key with a character that XML cannot hold{behind} "
                f"({error}): the store ignores encoding-type=url; rename that object, or name "
                "the objects in a manifest"
            )
        return (
            f"the answer to a listing is not XML ({error}): this is not an S3 store, or a key "
            "has a character that XML cannot hold"
        )

    def _last_key(self) -> str:
        return next((item["Key"] for item in reversed(self.items[-2:]) if "Key" in item), "")

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        if not self._path and name != "ListBucketResult":
            but = foreign(f" but {name!r}")
            raise Transient(
                f"the answer to a listing is not a ListBucketResult{but}", code=NO_LISTING
            )
        if name == "Contents":
            self.items.append({})
        if len(self._path) > _DEEPEST or len(self.items) > _MOST_ITEMS:
            raise Transient(
                "the answer to a listing has too many elements: it is not a page of a listing"
            )
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
        """The keys, decoded only if the answer says that they are encoded."""
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
        # Decoding all at once is several times faster. If a key contains a newline, decode them one
        # by one.
        text = joined.replace("+", " ") if self._encoding is Encoding.FORM else joined
        decoded = unquote_to_bytes(text).decode("utf-8", "surrogateescape").split("\n")
        return (
            decoded if len(decoded) == len(keys) else [self._encoding.decoded(key) for key in keys]
        )

    def result(self, entries: list[ListedObject]) -> ListPage:
        marker = "Marker" in self.fields and "KeyCount" not in self.fields
        page = ListPage(entries, "", self.decoded(self.prefixes), marker)
        page.escaped, page.echo = list(self._escaped.values()), self.fields.get("Prefix", "")
        # A page that says where the next one begins is not the last one.
        goes_on = self.fields.get("NextContinuationToken") or self.fields.get("NextMarker")
        if self.fields.get("IsTruncated", "true" if goes_on else "").strip().lower() == "true":
            token = "" if marker else self.fields.get("NextContinuationToken", "")
            [page.token] = [token] if token else self.decoded([self.fields.get("NextMarker", "")])
            if marker and not page.token:
                page.token = _last_name(page)
            page.cut_short = not token and not marker
        return page


def _ends(body: bytes) -> bool:
    """Whether the answer is complete."""
    return body.rstrip().endswith(b"</ListBucketResult>")


def _refuse_doctype(*_: object) -> NoReturn:
    raise Transient("the answer to a listing has a document type: it is not a listing")
