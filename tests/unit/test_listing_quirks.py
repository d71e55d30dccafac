"""Listings as stores really answer them: what AWS does not do, and some store does."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest

from dth.core.errors import ListingFailed, NotSupported, ObjectRefused, Transient
from dth.objects.compare.merge import Rules
from dth.objects.listing import pages as module
from dth.objects.listing.pages import PrefixListing, pages, parse_page
from dth.objects.listing.ranges import Sweep
from dth.objects.store.etags import bare_etag
from tests.unit.memory_bucket import Answer, MemoryBucket, document, entry, item

KEYS = [f"k{i:02}" for i in range(30)]


class OddBucket(MemoryBucket):
    """`writes` is how it writes a key, `echoes` how it writes the prefix of the request (None: it
    does not)."""

    def __init__(
        self,
        keys: list[str],
        *,
        cap: int = 7,
        writes: Callable[[str], str] = escape,
        echoes: Callable[[str], str] | None = None,
        declares: bool = True,
        answers_second: bool = True,
        tokens: bool = True,
        markers: bool = True,
        order: Callable[[str], object] = lambda key: key,
    ) -> None:
        super().__init__([entry(key) for key in keys], cap=cap, order=order)
        self.writes = writes
        self.echoes = echoes
        self.declares = declares
        self.answers_second = answers_second
        self.tokens = tokens
        self.markers = markers

    def _start(self, query: Mapping[str, str]) -> str | None:
        self.first_version = not (self.answers_second and "list-type" in query)
        return super()._start(query)

    def _render(self, keys: list[str], truncated: bool, query: Mapping[str, str]) -> bytes:
        head = f"<IsTruncated>{str(truncated).lower()}</IsTruncated>"
        head += "<EncodingType>url</EncodingType>" if self.declares else ""
        if self.echoes is not None:
            head += f"<Prefix>{self.echoes(query['prefix'])}</Prefix>"
        if self.first_version and self.markers:
            head += f"<Marker>{self.writes(query.get('marker', ''))}</Marker>"
        if not self.first_version:
            head += f"<KeyCount>{len(keys)}</KeyCount>"
            if truncated and self.tokens:
                token = keys[-1].encode("utf-8", "surrogateescape").hex()
                head += f"<NextContinuationToken>{token}</NextContinuationToken>"
        items = [
            item(entry("KEY"), False).replace("KEY", self.writes(key), 1)
            for key in keys
            if self.objects[key]
        ]
        return document(head + "".join(items))


def form(key: str) -> str:
    return quote_plus(key, safe="/", errors="surrogateescape")


def percent(key: str) -> str:
    return quote(key, safe="/", errors="surrogateescape")


def raw_plus(key: str) -> str:
    return quote(key, safe="/+", errors="surrogateescape")


async def everything(listing: PrefixListing) -> list[str]:
    return [e.key async for page in pages(listing) for e in page.entries]


# ----------------------------------------------------------------------------------------- versions


async def test_a_listing_without_tokens_goes_on_in_the_first_version() -> None:
    bucket = OddBucket(KEYS, tokens=False)
    listing = PrefixListing(bucket, name="source s3://b")
    assert await everything(listing) == KEYS
    assert listing.notes == [
        (
            "source s3://b cuts answers to ListObjectsV2 short without a token: it is listed with "
            "ListObjects"
        )
    ]
    assert ["list-type" in query for query in bucket.queries] == [True, False, False, False, False]


async def test_a_token_that_is_missing_later_loses_nothing() -> None:
    bucket = OddBucket(KEYS)
    listing = PrefixListing(bucket)
    first = await listing.page()
    bucket.tokens = False
    second = await listing.page(token=first.token)
    # The first page's token still means what it meant.
    assert await listing.page(token=first.token) == second
    third = await listing.page(token=second.token)
    assert [e.key for page in (first, second, third) for e in page.entries] == KEYS[:21]


@pytest.mark.parametrize("status", [400, 405, 501])
async def test_a_store_that_refuses_the_second_version_is_asked_for_the_first(status: int) -> None:
    bucket = OddBucket(KEYS, answers_second=False)
    kind = NotSupported if status == 501 else ObjectRefused
    bucket.failures = [kind("no", code="NotImplemented", status=status)]
    listing = PrefixListing(bucket, name="s3://b")
    assert await everything(listing) == KEYS
    assert listing.notes == [
        "s3://b refuses ListObjectsV2 (NotImplemented): it is listed with ListObjects"
    ]


async def test_what_both_versions_refuse_is_told_once() -> None:
    bucket = OddBucket(KEYS)
    bucket.failures = [
        ObjectRefused(text, code="InvalidArgument", status=400) for text in ("V2", "V1")
    ]
    with pytest.raises(ListingFailed, match=r"V2$"):
        await PrefixListing(bucket, name="s3://b").page()
    bucket.failures = [ObjectRefused("denied", code="AccessDenied", status=403)]
    with pytest.raises(ListingFailed, match="denied"):
        await PrefixListing(bucket).page()
    assert len(bucket.queries) == 3


@pytest.mark.parametrize("markers", [True, False])
@pytest.mark.parametrize("known", [True, False])
async def test_a_store_of_the_first_version_is_listed_whole(markers: bool, known: bool) -> None:
    bucket = OddBucket(KEYS, answers_second=False, markers=markers)
    listing = PrefixListing(bucket, first_version=known)
    assert await everything(listing) == KEYS
    assert [e.key for e in (await listing.page(KEYS[9])).entries] == KEYS[10:17]
    if known:
        assert not any("list-type" in query for query in bucket.queries)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: sleep(0))


async def test_a_store_that_ignores_its_marker_ends(no_waiting: None) -> None:
    bucket = OddBucket(KEYS, answers_second=False)
    bucket._start = lambda query: setattr(bucket, "first_version", True)  # type: ignore[method-assign,func-returns-value]
    with pytest.raises(ListingFailed, match="does not move on"):
        await everything(PrefixListing(bucket))


@pytest.mark.parametrize("first", [True, False])
async def test_a_page_that_is_cut_short_and_empty_is_an_error(
    no_waiting: None, first: bool
) -> None:
    bucket = MemoryBucket()
    bucket._render = lambda *_: document("<IsTruncated>true</IsTruncated>" + "<Marker/>" * first)  # type: ignore[method-assign]
    with pytest.raises(ListingFailed, match="does not say where to continue"):
        await everything(PrefixListing(bucket, first_version=first))


class Carousel(MemoryBucket):
    """It answers these pages again and again, and each says that there is more."""

    def __init__(self, keys: list[list[str]], tokens: list[str]) -> None:
        super().__init__()
        self._pages, self._tokens = keys, tokens

    async def request(self, *_: object, **__: object) -> Answer:
        self.queries.append({})
        at = len(self.queries) - 1
        keys, token = self._pages[at % len(self._pages)], self._tokens[at % len(self._tokens)]
        head = f"<KeyCount/><IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
        return Answer(document(head + "".join(item(entry(key)) for key in keys)))


@pytest.mark.parametrize(
    ("keys", "tokens"),
    [
        ([["a"]], ["x"]),
        ([["a"], ["b"]], ["x", "y"]),
        ([["b"], ["a"]], ["x", "y", "z"]),
        ([["a", "b"]], [f"{i}" for i in range(100_000)]),
        ([["a"]], [f"{i}" for i in range(100_000)]),
        ([[]], [f"{i}" for i in range(100_000)]),
    ],
    ids=["one", "two", "disorder", "new tokens", "one key", "empty"],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_a_listing_without_end_is_an_error(
    no_waiting: None, tmp_path: Path, keys: list[list[str]], tokens: list[str], whole: bool
) -> None:
    bucket = Carousel(keys, tokens)

    async def walk() -> None:
        async for _ in Sweep(PrefixListing(bucket), None, Rules(), tmp_path, whole_source=whole):
            pass

    with pytest.raises(ListingFailed):
        await walk()
    assert len(bucket.queries) < module.EMPTY_PAGES + 100


async def test_a_directory_bucket_is_sorted_from_the_beginning(tmp_path: Path) -> None:
    def strange(key: str) -> str:
        return hashlib.md5(key.encode()).hexdigest()

    source, dest = OddBucket(KEYS, order=strange), OddBucket(KEYS[:20], order=strange)
    sweep = Sweep(
        PrefixListing(source, name="here", ordered=False),
        PrefixListing(dest, name="there", ordered=False),
        Rules(),
        tmp_path,
    )
    assert [pick.source.key async for batch in sweep for pick in batch.transfer] == KEYS[20:]
    assert sweep.complete
    assert [note.split()[0] for note in sweep.notes] == ["here", "there"]
    assert not any("start-after" in query for query in [*source.queries, *dest.queries])
    # Each side once, and nothing after a failed attempt.
    assert (len(source.queries), len(dest.queries)) == (5, 3)


# ----------------------------------------------------------------------------------------- encoding

STRANGE = ["100%", "a b", "a+b", "a%20b", "a%2Bb c%20d é", "p+/q r", "x&<y>\"'", "zz"]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("writes", "echoes"),
    [
        (form, form),
        (form, None),
        (form, escape),
        (percent, percent),
        (percent, None),
        (percent, escape),
        (raw_plus, raw_plus),
        (raw_plus, escape),
        (escape, escape),
        (escape, None),
        (
            lambda key: percent(key).replace("%2B", "%2b"),
            lambda key: percent(key).replace("%2B", "%2b"),
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "a%20 +/"])
async def test_every_way_of_encoding_is_understood(
    writes: Callable[[str], str], echoes: Callable[[str], str] | None, first: bool, prefix: str
) -> None:
    keys = sorted(prefix + key for key in STRANGE)
    bucket = OddBucket(keys, cap=2, writes=writes, echoes=echoes)
    assert await everything(PrefixListing(bucket, prefix, first_version=first)) == keys


@pytest.mark.parametrize("key", STRANGE)
@pytest.mark.parametrize("writes", [form, percent, raw_plus, escape])
async def test_one_strange_key_is_enough(writes: Callable[[str], str], key: str) -> None:
    bucket = OddBucket([key], writes=writes, echoes=writes)
    assert await everything(PrefixListing(bucket)) == [key]


async def test_the_store_is_asked_once_and_only_where_it_matters() -> None:
    bucket = OddBucket(KEYS, writes=form, echoes=form)
    await everything(PrefixListing(bucket))
    assert len(bucket.queries) == 5
    bucket = OddBucket([f"{key} +" for key in KEYS], writes=form, echoes=form)
    await everything(PrefixListing(bucket, "k"))
    assert len(bucket.queries) == 6
    [asked] = [query for query in bucket.queries if query["prefix"] != "k"]
    assert (asked["prefix"], asked["max-keys"]) == ("k%41+ ", "1")


async def test_where_nothing_else_may_be_listed_aws_is_taken_for_granted() -> None:
    bucket = OddBucket(["p/a+b", "p/c d"], writes=form, echoes=form)
    answer = bucket.request

    async def request(method: str, **given: Mapping[str, str]) -> Answer:
        if given["query"]["prefix"] != "p/":
            raise ObjectRefused("no", code="AccessDenied", status=403)
        return await answer(method, **given)

    bucket.request = request  # type: ignore[method-assign]
    assert await everything(PrefixListing(bucket, "p/")) == ["p/a+b", "p/c d"]


async def test_a_store_that_ignores_the_prefix_is_taken_to_encode_as_aws_does() -> None:
    bucket = OddBucket(["a b"], writes=form)
    body = bucket._render(["a b"], False, {})
    bucket._render = lambda *_: body  # type: ignore[method-assign]
    assert await everything(PrefixListing(bucket)) == ["a b"]


async def test_keys_that_are_said_to_be_plain_are_plain() -> None:
    bucket = OddBucket(STRANGE, writes=escape, declares=False)
    assert await everything(PrefixListing(bucket)) == sorted(STRANGE)
    assert len(bucket.queries) == 2


async def test_a_character_that_xml_cannot_hold_is_told(no_waiting: None) -> None:
    bucket = OddBucket(["a", "good", "h\x01h", "z"], declares=False)
    with pytest.raises(ListingFailed) as caught:
        await everything(PrefixListing(bucket, name="source s3://b"))
    assert "source s3://b" in str(caught.value)
    assert "a character that XML cannot hold, behind the key 'good'" in str(caught.value)
    assert "ignores encoding-type=url" in str(caught.value)


# -------------------------------------------------------------------------------------------- ETags


@pytest.mark.parametrize(
    "text",
    [
        "aB1",
        '"aB1"',
        "&quot;aB1&quot;",
        'W/"aB1"',
        "W/&#34;aB1&#34;",
        "&amp;quot;aB1&amp;quot;",
        "W/aB1",
        '""aB1""',
    ],
)
def test_etags_are_bare_and_keep_their_case(text: str) -> None:
    body = document(item(entry("k"), False).replace("&quot;etag-&quot;", text))
    assert [e.etag for e in parse_page(body).entries] == ["aB1"]


def test_an_etag_with_a_slash_stays_whole() -> None:
    assert bare_etag('"a/b=="') == "a/b=="
    assert bare_etag('""a-2""') == bare_etag('" a-2 "') == "a-2"
    assert bare_etag("") == ""


@pytest.mark.parametrize("size", ["-5", "9" * 19, "9" * 30, "many", ""])
def test_a_size_that_is_none_is_an_error(size: str) -> None:
    with pytest.raises(Transient):
        parse_page(document(item(entry("k")).replace("<Size>0<", f"<Size>{size}<")))
