"""Prefix lists, manifests and inventories: streams in, sorted listings out."""

import asyncio
import gzip
import hashlib
import io
import json
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote_plus

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from dth.core.errors import Corrupted, UsageError
from dth.objects.compare.merge import Rules
from dth.objects.listing.pages import KeyMap, ListedObject, Listing, PrefixListing, pages
from dth.objects.listing.ranges import Sweep
from dth.objects.listing.sources import ListOfPrefixes, read_inventory, read_manifest, read_prefixes
from dth.objects.listing.spool import Spool
from tests.unit.memory_bucket import MemoryBucket, entry


async def chunks(data: bytes, size: int = 7) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def everything(listing: Listing) -> list[ListedObject]:
    return [e async for page in pages(listing) for e in page.entries]


async def keys_of(listing: Listing) -> list[str]:
    return [e.key for e in await everything(listing)]


# -------------------------------------------------------------------------------------------- spool

ANY_KEY = st.text(st.characters() | st.characters(categories=["Cs"]), min_size=1, max_size=4)


@settings(deadline=None, max_examples=50)
@given(st.lists(ANY_KEY, max_size=30), ANY_KEY, st.integers(1, 5))
def test_a_spool_is_in_the_order_of_code_points(keys: list[str], after: str, limit: int) -> None:
    async def scenario(workdir: Path) -> None:
        spool = Spool(workdir)
        for key in keys:
            await spool.add([ListedObject(key, 1, "e")])
        await spool.sort()
        expected = sorted(set(keys))
        assert await keys_of(spool) == expected
        page = await spool.page(after, limit=limit)
        assert [e.key for e in page.entries] == [k for k in expected if k > after][:limit]
        assert spool.at_or_below(after) == max((k for k in expected if k <= after), default=None)
        spool.close()
        assert not list(workdir.iterdir())

    with TemporaryDirectory() as workdir:
        asyncio.run(scenario(Path(workdir)))


# ------------------------------------------------------------------------------------- prefix lists


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_fault_07_blank_lines_and_crlf_in_a_prefix_list(tmp_path: Path, size: int) -> None:
    data = "\ufeffb/\r\n\r\n   \r\na/x\n\na/\nü/日 本/\r\nb/".encode()
    prefixes = await read_prefixes(chunks(data, size), tmp_path, name="list")
    assert await keys_of(prefixes) == ["a/", "b/", "ü/日 本/"]


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_lines_end_in_every_usual_way(tmp_path: Path, end: str, size: int) -> None:
    data = f"b/{end}{end}a/x{end}ü/日 本/{end}".encode()
    prefixes = await read_prefixes(chunks(data, size), tmp_path, name="list")
    assert await keys_of(prefixes) == ["a/x", "b/", "ü/日 本/"]
    found = await manifest(tmp_path, f"p/a{end}{end}p/b+c{end}q/x{end}", prefix="p/")
    assert [e.key for e in found] == ["p/a", "p/b+c"]


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_the_first_line_says_how_lines_end(tmp_path: Path, size: int) -> None:
    prefixes = await read_prefixes(chunks(b"a\nb\rc\nd\r\n", size), tmp_path, name="list")
    assert await keys_of(prefixes) == ["a", "b\rc", "d"]
    with pytest.raises(UsageError, match="list: some lines end with CR, and some with LF"):
        await read_prefixes(chunks(b"a\rb\nc\r", size), tmp_path, name="list")


async def test_a_prefix_list_is_cut_down_to_the_source_prefix(tmp_path: Path) -> None:
    inside = await read_prefixes(chunks(b"a/b/c\nx/\na/bb"), tmp_path, name="list", within="a/b")
    assert await keys_of(inside) == ["a/b/c", "a/bb"]
    above = await read_prefixes(chunks(b"a/\nx/"), tmp_path, name="list", within="a/b")
    assert await keys_of(above) == ["a/b"]


PREFIXES = st.lists(st.text("ab/é", min_size=1, max_size=4), max_size=12)
KEYS = st.sets(st.text("ab/é0", min_size=1, max_size=5), max_size=60)


@settings(deadline=None, max_examples=60)
@given(PREFIXES, KEYS, KEYS, st.integers(1, 4), st.integers(1, 4))
def test_overlapping_prefixes_hold_every_key_once(
    prefixes: list[str], here: set[str], there: set[str], cap: int, parallel: int
) -> None:
    async def scenario(workdir: Path) -> None:
        spool = await read_prefixes(chunks("\n".join(prefixes).encode()), workdir, name="list")
        kept = await keys_of(spool)
        assert all(not a.startswith(b) for a in kept for b in kept if a != b)
        rename = KeyMap("", "to/")
        left = MemoryBucket([entry(k) for k in here], cap=cap)
        right = MemoryBucket([entry("to/" + k) for k in there], cap=cap)
        sweep = Sweep(
            ListOfPrefixes(PrefixListing(left), spool),
            ListOfPrefixes(PrefixListing(right, rename=rename), spool),
            Rules(rename=rename),
            workdir,
            parallel=parallel,
        )
        transfer, extra = [], []
        async for batch in sweep:
            transfer += [p.source.key for p in batch.transfer]
            extra += [entry.key for entry in batch.extra]
        spool.close()

        def wanted(key: str) -> bool:
            return any(key.startswith(p) for p in prefixes)

        assert sorted(transfer) == sorted(k for k in here - there if wanted(k))
        assert sorted(extra) == sorted("to/" + k for k in there - here if wanted(k))
        assert sweep.complete
        assert not sweep.notes

    with TemporaryDirectory() as workdir:
        asyncio.run(scenario(Path(workdir)))


# ---------------------------------------------------------------------------------------- manifests


async def manifest(
    tmp_path: Path, text: str, prefix: str = "", pack: Callable[[bytes], bytes] = bytes
) -> list[ListedObject]:
    data = pack(text.encode())
    spool = await read_manifest(chunks(data), tmp_path, name="m", bucket="b", prefix=prefix)
    return await everything(spool)


async def test_a_manifest_of_batch_operations(tmp_path: Path) -> None:
    found = await manifest(tmp_path, 'b,z%2Fa+b%2B\r\n\r\n"b","a%0Ab",version\r\nb,z%2Fa+b%2B\r\n')
    assert found == [ListedObject("a\nb", -1), ListedObject("z/a b+", -1)]


async def test_a_manifest_with_a_header(tmp_path: Path) -> None:
    text = 'Key,Size,ETag,Bucket\nb,5,"""x""",b\na,,,b\nc,0,y,b\n'
    assert await manifest(tmp_path, text, pack=gzip.compress) == [
        ListedObject("a", -1),
        ListedObject("b", 5, "x"),
        ListedObject("c", 0, "y"),
    ]


async def test_a_plain_list_of_keys_is_taken_as_it_is(tmp_path: Path) -> None:
    found = await manifest(tmp_path, 'p/a\r\np/b%20+"c,d\n\nq/x\n', prefix="p/")
    assert [e.key for e in found] == ["p/a", 'p/b%20+"c,d']


@pytest.mark.parametrize(
    "text",
    ["bucket,key\nb,a\nb,with,comma\n", "b,a,v1\nb,with,comma,v2\n"],
)
async def test_a_comma_in_a_key_does_not_make_it_another_one(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"line [23]: there are more cells than columns"):
        await read_manifest(chunks(text.encode()), tmp_path, name="list", bucket="b")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
async def test_a_list_in_utf_16_is_refused(tmp_path: Path, encoding: str) -> None:
    """The shell of Windows writes such files."""
    data = "\ufeffa\nb\n".encode(encoding)
    for reading in (
        read_manifest(chunks(data), tmp_path, name="list", bucket="b"),
        read_prefixes(chunks(data), tmp_path, name="list"),
    ):
        with pytest.raises(UsageError, match="list is in UTF-16; save it in UTF-8"):
            await reading


@pytest.mark.parametrize(
    "text", ["other,key\n", "a,b,c,d\n", "key,bucket\nk,other\n", 'b,k\n"b"\n']
)
async def test_manifests_that_make_no_sense_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        await manifest(tmp_path, text)
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------- inventories

SCHEMA = (
    "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"
)
WANTED = [
    ListedObject("a b/é\n", 7, "x-2", "2024-05-17T09:12:01", "GLACIER"),
    ListedObject("z", 0, "y", "2024-05-17T09:12:01", "STANDARD"),
]


def told(
    kind: str, *files: bytes, schema: str = SCHEMA
) -> tuple[bytes, Callable[[str], AsyncIterator[bytes]]]:
    names = {f"data/{i}": data for i, data in enumerate(files)}
    listed = [{"key": k, "MD5checksum": hashlib.md5(d).hexdigest()} for k, d in names.items()]
    body = json.dumps({"fileFormat": kind, "fileSchema": schema, "files": listed}).encode()
    return body, lambda key: chunks(names[key], 100)


def csv_file(rows: list[tuple[str, ...]]) -> bytes:
    return gzip.compress("".join(",".join(f'"{c}"' for c in row) + "\n" for row in rows).encode())


def row(e: ListedObject, latest: str = "true", deleted: str = "false") -> tuple[str, ...]:
    key = quote_plus(e.key)
    return (
        "b",
        key,
        "v",
        latest,
        deleted,
        str(e.size),
        f"{e.modified}.000Z",
        e.etag,
        e.storage_class,
    )


async def test_an_inventory_in_csv(tmp_path: Path) -> None:
    old, marker = ListedObject("z", 9, "old"), ("b", "gone", "v", "true", "true", "", "", "", "")
    body, fetch = told(
        "CSV", csv_file([row(WANTED[1]), marker]), csv_file([row(old, "false"), row(WANTED[0])])
    )
    spool = await read_inventory(body, fetch, tmp_path, name="i", bucket="b")
    assert await everything(spool) == WANTED


def parquet_file(entries: list[ListedObject]) -> bytes:
    when = datetime(2024, 5, 17, 9, 12, 1, tzinfo=UTC)
    table = pyarrow.table(
        {
            "bucket": ["b"] * len(entries),
            "key": [e.key for e in entries],
            "is_latest": [True] * len(entries),
            "size": [e.size for e in entries],
            "last_modified_date": pyarrow.array(
                [when] * len(entries), pyarrow.timestamp("ms", "UTC")
            ),
            "e_tag": [e.etag for e in entries],
            "storage_class": [e.storage_class for e in entries],
            "owner": ["someone"] * len(entries),
        }
    )
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


async def test_an_inventory_in_parquet(tmp_path: Path) -> None:
    body, fetch = told("Parquet", parquet_file(WANTED[::-1]), schema="message s3.inventory { }")
    spool = await read_inventory(body, fetch, tmp_path, name="i", bucket="b")
    assert await everything(spool) == WANTED


async def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    body, fetch = told("Parquet", b"")
    with pytest.raises(UsageError, match=r"data-transfer-hub\[parquet\]"):
        await read_inventory(body, fetch, tmp_path, name="i", bucket="b")


async def test_inventories_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    body, fetch = told("ORC", b"")
    with pytest.raises(UsageError, match="ORC"):
        await read_inventory(body, fetch, tmp_path, name="i", bucket="b")
    with pytest.raises(UsageError, match=r"not a manifest\.json"):
        await read_inventory(b"{}", fetch, tmp_path, name="i", bucket="b")
    body, _ = told("CSV", csv_file([row(WANTED[0])]))
    with pytest.raises(Corrupted):
        await read_inventory(body, lambda _: chunks(csv_file([])), tmp_path, name="i", bucket="b")
    whole = csv_file([row(WANTED[0])])
    body, fetch = told("CSV", whole[:-9])
    with pytest.raises(Corrupted, match="ends too early"):
        await read_inventory(body, fetch, tmp_path, name="i", bucket="b")
    assert not list(tmp_path.iterdir())
