"""Pages read exactly, whatever the store's dialect; a listing that fails never looks empty."""

import asyncio
from urllib.parse import quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dth.core.errors import EndpointRefused, ListingFailed, Transient
from dth.objects.listing import pages as module
from dth.objects.listing.pages import (
    ONGOING,
    KeyMap,
    ListedObject,
    ListPage,
    PrefixListing,
    _parse_any,
    is_archived,
    pages,
    parse_page,
    to_second,
)
from tests.unit.memory_bucket import MemoryBucket, document, entry, item

ENCODED = "<EncodingType>url</EncodingType>"
ANY_TEXT = st.text(min_size=1, max_size=12)
# What may stand between the elements that are read, in some store or other.
ASIDES = st.sampled_from(
    [
        "",
        "\n  ",
        "<Type>Normal</Type>",
        "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>",
        "<Owner><ID>me</ID><DisplayName>I</DisplayName></Owner>",
        "<UserMetadata><Key>not a key</Key><Size>7</Size></UserMetadata>",
        "<!-- <Contents> -->",
        "<Other a='b'/>",
        "<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>",
        "<RestoreStatus><RestoreExpiryDate>2024-06-01T00:00:00.000Z</RestoreExpiryDate></RestoreStatus>",
    ]
)


@st.composite
def contents(draw: st.DrawFn, encode: bool, aside: st.SearchStrategy[str]) -> str:
    if encode:
        key = draw(
            ANY_TEXT.map(lambda k: quote_plus(k, safe="/", errors="replace")) | st.just("%FF%0Aa+b")
        )
    else:
        key = draw(
            st.sampled_from(
                [
                    "plain",
                    "a%20b",
                    "a+b",
                    "a&amp;b",
                    "&lt;&#233;",
                    "ü/日本",
                    "]]",
                    "a  b",
                    "q&quot;",
                ]
            )
        )
    quote = draw(st.sampled_from(["&quot;", '"', "&#34;", ""]))
    time = draw(
        st.sampled_from(
            ["2024-05-17T09:12:01.000Z", "2024-05-17T09:12:01Z", "2024-05-17T11:12:01+02:00", "x"]
        )
    )
    size = draw(st.integers(0, 10**15))
    known = [
        f"<Key>{key}</Key>",
        f"<LastModified>{time}</LastModified>",
        f"<ETag>{quote}{draw(st.sampled_from(['abc', '', 'abc-2']))}{quote}</ETag>",
        f"<Size>{size}</Size>",
        draw(st.sampled_from(["<StorageClass>GLACIER</StorageClass>", "<StorageClass/>", ""])),
    ]
    if draw(st.integers(0, 9)) == 0:
        known = draw(st.permutations(known))
    parts = [part for element in known for part in (draw(aside), element)]
    return f"<Contents>{''.join(parts)}{draw(aside)}</Contents>"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    encode = draw(st.booleans())
    one = draw(ASIDES)
    aside = draw(st.sampled_from([st.just(one), st.just(""), ASIDES]))
    items = draw(st.lists(contents(encode, aside), max_size=5))
    between = draw(
        st.sampled_from(
            ["", "", "\n", "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>", "text"]
        )
    )
    head = draw(
        st.sampled_from(["<IsTruncated>false</IsTruncated>", "<Name>&amp;</Name>", "", "<broken>"])
    )
    tail = draw(
        st.sampled_from(
            ["", "<CommonPrefixes><Prefix>a%2Fb/</Prefix></CommonPrefixes>", "</x>", "\n"]
        )
    )
    return document((ENCODED if encode else "") + head + between.join(items) + tail)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bodies())
def test_the_fast_way_reads_what_expat_reads(body: bytes) -> None:
    def result(parse) -> ListPage | str:  # type: ignore[no-untyped-def]
        try:
            return parse(body)
        except Transient:
            return "refused"

    assert result(parse_page) == result(_parse_any)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ANY_TEXT, max_size=20))
def test_encoded_keys_come_back_exactly(keys: list[str]) -> None:
    keys = [key.encode("utf-8", "replace").decode() for key in keys]
    body = document(ENCODED + "".join(item(entry(key)) for key in keys))
    assert [e.key for e in parse_page(body).entries] == keys


def test_plain_pages_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_parse_any", None)
    entries = [entry(f"a=b/{i} ü\n", "x" * i) for i in range(10)]
    body = document(ENCODED + "".join(map(item, entries)))
    mixed = body.replace(b"<Size>3<", b"<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Size>3<")
    stored = body.replace(b"</StorageClass>", b"</StorageClass><RestoreStatus></RestoreStatus>", 1)
    pretty = body.replace(b"><", b">\n   <")
    assert (
        parse_page(body).entries
        == parse_page(mixed).entries
        == parse_page(stored).entries
        == parse_page(pretty).entries
        == entries
    )


def test_invalid_utf8_survives() -> None:
    body = document(ENCODED + item(entry("x")).replace(">x<", ">%FFa%0A%C3<") + item(entry("y")))
    assert [e.key for e in parse_page(body).entries] == ["\udcffa\n\udcc3", "y"]


def test_keys_are_not_decoded_unless_the_answer_says_that_they_are_encoded() -> None:
    body = document(item(entry("100%25+x"), encode=False))
    assert parse_page(body).entries[0].key == "100%25+x"


def test_restore_states() -> None:
    state = (
        "<RestoreStatus><IsRestoreInProgress>{}</IsRestoreInProgress>{}</RestoreStatus></Contents>"
    )
    expiry = "<RestoreExpiryDate>2024-06-01T00:00:00.000Z</RestoreExpiryDate>"
    one = item(entry("k", storage_class="GLACIER"))
    body = document(
        one
        + one.replace("</Contents>", state.format("true", ""))
        + one.replace("</Contents>", state.format("false", expiry))
        + item(entry("k", storage_class="GLACIER_IR"))
    )
    found = parse_page(body).entries
    assert [e.restore for e in found] == ["", ONGOING, "2024-06-01T00:00:00", ""]
    assert [is_archived(e) for e in found] == [True, True, False, False]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Proxy</body></html>",
        b"<Error><Code>SlowDown</Code></Error>",
        document(item(entry("k")))[:-5],
        document("<IsTruncated>true</IsTruncated>" + item(entry("k"))),
        document("<Contents><Key>k</Key></Contents>"),
        document("<Contents><Size>1</Size></Contents>"),
        document("<Contents><Key>k</Key><Size>many</Size></Contents>"),
        document(item(entry("k")).replace(">k<", ">\x01<")),
        document(item(entry("k")).replace(">k<", ">&#1;<")),
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + document(item(entry("k")))[39:],
    ],
)
def test_what_is_no_listing_is_an_error_and_not_an_empty_listing(body: bytes) -> None:
    with pytest.raises(Transient):
        parse_page(body)


def test_common_prefixes_are_decoded() -> None:
    body = document(ENCODED + "<CommonPrefixes><Prefix>a%3Db/</Prefix></CommonPrefixes>")
    assert parse_page(body) == ListPage([], "", ["a=b/"])


def test_times_are_utc_seconds() -> None:
    assert to_second("2024-05-17T09:12:01.999Z") == "2024-05-17T09:12:01"
    assert to_second("2024-05-17T11:12:01+02:00") == "2024-05-17T09:12:01"
    assert to_second("yesterday") == to_second("") == ""


# ----------------------------------------------------------------------------------------- requests


async def everything(listing: PrefixListing) -> list[str]:
    return [e.key async for page in pages(listing) for e in page.entries]


async def test_pages_follow_the_tokens() -> None:
    keys = [f"p/{i:02}" for i in range(10)]
    bucket = MemoryBucket([entry(k) for k in ["o", *keys, "q"]], cap=3)
    assert await everything(PrefixListing(bucket, "p/")) == keys
    assert len(bucket.queries) == 4
    assert bucket.queries[0] == {
        "prefix": "p/",
        "max-keys": "1000",
        "encoding-type": "url",
        "list-type": "2",
    }
    assert set(bucket.queries[1]) - set(bucket.queries[0]) == {"continuation-token"}


async def test_start_after_excludes_the_key_itself() -> None:
    bucket = MemoryBucket([entry(k) for k in "abc"])
    page = await PrefixListing(bucket).page("a", limit=1)
    assert [e.key for e in page.entries] == ["b"]
    assert bucket.queries[0]["start-after"] == "a"


async def test_a_store_of_the_first_version_is_asked_in_its_own_words() -> None:
    keys = [f"{i:02} ü" for i in range(10)]
    bucket = MemoryBucket([entry(k) for k in keys], cap=3, first_version=True)
    listing = PrefixListing(bucket)
    assert [e.key for e in (await listing.page(keys[4])).entries] == keys[5:8]
    assert await everything(listing) == keys


async def test_a_destination_is_shown_under_source_keys() -> None:
    bucket = MemoryBucket([entry(k) for k in ("to/a", "to/b", "toy")], cap=1)
    listing = PrefixListing(bucket, "from/x/", rename=KeyMap("from/x/", "to/"))
    assert await everything(listing) == ["from/x/a", "from/x/b"]
    assert [e.key for e in (await listing.page("from/x/a")).entries] == ["from/x/b"]
    assert bucket.queries[-1]["start-after"] == "to/a"


async def test_fault_08_requester_pays_goes_with_every_page() -> None:
    bucket = MemoryBucket([entry(k) for k in "abc"], cap=1)
    payer = {"x-amz-request-payer": "requester"}
    await everything(PrefixListing(bucket, headers=payer, restore_status=True))
    assert len(bucket.headers) == 3
    assert all(
        h == payer | {"x-amz-optional-object-attributes": "RestoreStatus"} for h in bucket.headers
    )


async def test_a_passing_failure_is_retried(no_waiting: None) -> None:
    bucket = MemoryBucket([entry("a")])
    bucket.failures = [Transient("503"), Transient("reset")]
    assert await everything(PrefixListing(bucket)) == ["a"]


async def test_what_still_fails_says_where(no_waiting: None) -> None:
    bucket = MemoryBucket([entry("a")])
    bucket.failures = [Transient("the network is down")] * 8
    with pytest.raises(
        ListingFailed, match=r"^Cannot list s3://b, prefix 'p/', after 'p/x': the network is down$"
    ):
        await PrefixListing(bucket, "p/", name="s3://b").page("p/x")


async def test_a_refused_endpoint_is_not_disguised() -> None:
    bucket = MemoryBucket()
    bucket.failures = [EndpointRefused("no such bucket")]
    with pytest.raises(EndpointRefused):
        await PrefixListing(bucket).page()


async def test_a_token_that_repeats_is_an_error(no_waiting: None) -> None:
    bucket = MemoryBucket([entry(k) for k in "abc"], cap=1)
    listing = PrefixListing(bucket)
    token = (await listing.page()).token
    bucket._start = lambda query: None  # type: ignore[method-assign]
    with pytest.raises(ListingFailed, match="repeats a continuation token"):
        await listing.page(token=token)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: sleep(0))


def test_entries_are_plain_tuples() -> None:
    assert ListedObject("k", 1) == ("k", 1, "", "", "", "")
