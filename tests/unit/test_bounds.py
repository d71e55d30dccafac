"""What a store or a list says costs flat memory, and ends with one line that names the place."""

import gzip
import io
import json
import resource
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dth.core.errors import HubError, ListingFailed, UsageError
from dth.objects.compare.merge import Rules
from dth.objects.listing import sources
from dth.objects.listing.pages import ListPage, PrefixListing, Trail, parse_page, shortened
from dth.objects.listing.ranges import Sweep
from dth.objects.listing.sources import read_inventory, read_manifest, read_prefixes, read_report
from tests.servers.process import REPOSITORY
from tests.unit.memory_bucket import MemoryBucket, document, entry, item

MIB = 1024 * 1024
GROWTH = 50 * MIB  # bytes of memory that one of these may cost
STEP = 8 * MIB  # as much as the engine reads at once


async def chunks(data: bytes, size: int = STEP) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def bomb(line: bytes, times: int) -> bytes:
    """A gzip file of that many lines. It is made a piece at a time: the test must not be what needs
    memory."""
    pack = zlib.compressobj(9, wbits=31)
    many = line * (MIB // len(line) + 1)
    whole, rest = divmod(len(line) * times, len(many))
    return b"".join(
        [*(pack.compress(many) for _ in range(whole)), pack.compress(many[:rest]), pack.flush()]
    )


def long_line() -> bytes:
    return bomb(b"a", 1000 * MIB)


def many_lines() -> bytes:
    return bomb(b"x" * 9_999 + b"\n", 8_000)


def file_of(kind: str) -> bytes:
    return {
        "one line of 1 GB": long_line,
        "plain line": lambda: b"a" * (100 * MIB),
        "long keys": many_lines,
        "nothing but newlines": lambda: bomb(b"\n", 20 * MIB),
    }[kind]()


async def read(source: str, kind: str, workdir: Path) -> None:
    """Read such a file as such a source."""
    data = file_of(kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        if source == "prefix list":
            spool = await read_prefixes(chunks(data), workdir, name="there")
        elif source == "manifest":
            spool = await read_manifest(chunks(data), workdir, name="there", bucket="b")
        else:
            report = {"fileFormat": "CSV", "fileSchema": "Key", "files": [{"key": "there"}]}
            told = json.dumps(report).encode()
            spool = await read_inventory(
                told, lambda _: chunks(data), workdir, name="report", bucket="b"
            )
        spool.close()
        print("read")
    except HubError as error:
        print(error)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


async def listing(size: int, workdir: Path) -> None:
    """Walk a bucket in which one key is so long."""
    keys = ["a", "k" * size, "z"]
    bucket = MemoryBucket([entry(key) for key in keys])
    sweep = Sweep(PrefixListing(bucket), None, Rules(), workdir)
    body = bucket._render(sorted(keys), False, {"encoding-type": "url"})
    bucket._render = lambda *_: body  # type: ignore[method-assign]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async for batch in sweep:
        for refusal in batch.refused:
            print(refusal.detail)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def measured(call: str, tmp_path: Path) -> tuple[str, int]:
    """What a process of its own says, and by how much its memory grew."""
    code = (
        "import asyncio\nfrom pathlib import Path\nfrom tests.unit import test_bounds\n"
        f"asyncio.run(test_bounds.{call[:-1]}, Path({str(tmp_path)!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    said, growth = done.stdout.splitlines()
    return said, int(growth)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["prefix list", "manifest", "inventory"])
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("one line of 1 GB", "there, line 1 (from byte 0 on): longer than 65536 bytes"),
        ("plain line", "there, line 1 (from byte 0 on): longer than 65536 bytes"),
        ("long keys", "read"),
        ("nothing but newlines", "read"),
    ],
)
def test_a_list_costs_flat_memory(tmp_path: Path, source: str, kind: str, told: str) -> None:
    if source == "prefix list" and kind == "long keys":
        told = "there, line 1: the prefix is longer than the 1024 bytes that a key may have"
    said, growth = measured(f"read({source!r}, {kind!r})", tmp_path)
    assert said == told
    assert growth < GROWTH
    assert not list(tmp_path.iterdir())


def test_a_listing_with_a_long_key_costs_flat_memory(tmp_path: Path) -> None:
    said, growth = measured(f"listing({15 * MIB})", tmp_path)
    assert said.startswith("The key 'kkk")
    assert (
        said.endswith("') is longer than the 1024 bytes that a key may have")
        or "15728640 bytes" in said
    )
    assert len(said) < 300
    assert growth < GROWTH


# ------------------------------------------------------------------------------------------- places


async def refused(data: bytes, tmp_path: Path, size: int = STEP) -> str:
    with pytest.raises(HubError) as caught:
        await read_manifest(chunks(data, size), tmp_path, name="s3://b/list", bucket="b")
    assert not list(tmp_path.iterdir())
    return str(caught.value)


@pytest.mark.parametrize("size", [1, 100_000, STEP])
async def test_a_long_line_is_named_wherever_it_stands(tmp_path: Path, size: int) -> None:
    tail = sources.LINE_BYTES + 10 if size == 1 else 300_000
    told = await refused(b"one\r\ntwo\n" + b"x" * tail + b"\nfour\n", tmp_path, size)
    assert told == "s3://b/list, line 3 (from byte 9 on): longer than 65536 bytes"


async def test_a_line_of_the_greatest_length_is_read(tmp_path: Path) -> None:
    data = b"x" * sources.LINE_BYTES + b"\ny\n"
    spool = await read_manifest(chunks(data, 1000), tmp_path, name="m", bucket="b")
    page = await spool.page()
    assert [len(e.key) for e in page.entries] == [sources.LINE_BYTES, 1]
    spool.close()


async def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"key%d\n" % i for i in range(50_000)))
    assert "s3://b/list, near byte" in await refused(
        whole[:1000] + b"\0" * 50 + whole[1050:], tmp_path
    )
    assert await refused(whole[:-3], tmp_path) == (
        f"s3://b/list, byte {len(whole) - 3}: a gzip file ends too early"
    )
    assert await refused(whole + b"tail", tmp_path) == (
        f"s3://b/list, byte {len(whole)}: what follows the gzip file is none"
    )


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_gzip_files_one_after_the_other_are_read(tmp_path: Path, size: int) -> None:
    data = (
        gzip.compress(b"a\nb") + gzip.compress(b"") + b"\0\0\0" + gzip.compress(b"c\nd\n") + b"\0"
    )
    spool = await read_manifest(chunks(data, size), tmp_path, name="m", bucket="b")
    assert [e.key for e in (await spool.page()).entries] == ["a", "bc", "d"]
    spool.close()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('b,a\nb,"open\nb,c\n', "line 2: this is not a row of CSV (a quote is not closed)"),
        ('b,a\nb,"open', "line 2: this is not a row of CSV (a quote is not closed)"),
        ('b,a\nb,"x"y\n', "line 2: this is not a row of CSV"),
        ("key,size,etag\nk,many,e\n", "line 2: 'many' is not a size in bytes"),
        ("key,size,etag\n\nk,-5,e\n", "line 3: '-5' is not a size in bytes"),
        (f"key,size,etag\nk,{'9' * 5000},e\n", "line 2: '999"),
        ("b,a\nother,k\n", "line 2: an object of bucket 'other' is listed for bucket 'b'"),
        ("a\ns3://b/k\n", "line 2: 's3://b/k' is a URL; write only the key"),
        ('{\n "fileFormat": "CSV"\n', "line 1: this is JSON"),
        ('{"key": "k"}\n', "line 1: this is JSON"),
    ],
)
async def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, text: str, told: str) -> None:
    said = await refused(text.encode(), tmp_path)
    assert said.startswith(f"s3://b/list, {told}")
    assert len(said) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"fileFormat": "CSV", "fileSchema": "Key", "files": [{"key": 5}]}',
        b'{"fileFormat": 1, "fileSchema": "Key", "files": []}',
        b"[" + b"[]," * 200_001 + b"[]]",
    ],
)
async def test_a_report_that_is_none_is_one_line(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(UsageError, match=r"^s3://b/manifest\.json (is not a|has more)") as caught:
        await read_inventory(
            body, lambda _: chunks(b""), tmp_path, name="s3://b/manifest.json", bucket="b"
        )
    assert len(str(caught.value)) < 300


async def test_a_report_of_any_size_is_not_read_whole() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += MIB
            yield b" " * MIB

    with pytest.raises(UsageError, match="report has more than 8 MiB"):
        await read_report(endless(), "report")
    assert read <= 9 * MIB


@pytest.mark.slow
async def test_a_long_text_in_parquet_is_named(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    file = io.BytesIO()
    # One text that is written once and meant a thousand times.
    parquet.write_table(pyarrow.table({"key": ["k" * 100_000] * 1_000}), file)
    told = b'{"fileFormat": "Parquet", "fileSchema": "x", "files": [{"key": "there"}]}'
    with pytest.raises(
        UsageError, match=r"^there, rows 1 to \d+: a text of 100000 bytes; 65536 are the most$"
    ):
        await read_inventory(
            told, lambda _: chunks(file.getvalue()), tmp_path, name="report", bucket="b"
        )
    with pytest.raises(UsageError, match=r"^there is not a Parquet file"):
        await read_inventory(
            told, lambda _: chunks(b"nothing"), tmp_path, name="report", bucket="b"
        )
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------- long keys


@pytest.mark.parametrize("cap", [1, 2, 1000])
@pytest.mark.parametrize("whole", [False, True])
async def test_keys_that_are_too_long_fail_alone(tmp_path: Path, cap: int, whole: bool) -> None:
    stem = "m" * 1100
    too_long = ["k" * 1025, "é" * 513, stem + "a", stem + "b", "z" * 3000]
    good = ["a", "k" * 1024, "l", "m" * 1024, "n", "z" * 1024, "é" * 512]
    source = MemoryBucket([entry(key) for key in [*too_long, *good]], cap=cap)
    dest = MemoryBucket([entry(key) for key in ["a", "y" * 2000, stem + "a"]], cap=cap)
    sweep = Sweep(PrefixListing(source), PrefixListing(dest), Rules(), tmp_path, whole_source=whole)
    copied, refusals, listed, places = [], [], 0, []
    async for batch in sweep:
        copied += [pick.source.key for pick in batch.transfer]
        refusals += batch.refused
        listed += batch.counts.listed
        places += [
            text
            for cursor in batch.cursors
            for text in (cursor.after, cursor.upto, cursor.position)
        ]
        assert not batch.extra
    assert sorted(copied) == good[1:]
    assert sorted(r.source.key for r in refusals) == sorted(map(shortened, too_long))
    assert listed == len(too_long) + len(good)
    assert all(len(text) <= 1024 for text in places)
    assert all(len(r.source.key) < 200 and len(r.detail) < 300 for r in refusals)
    assert {r.reason for r in refusals} == {"KeyRefused"}


async def test_a_long_key_of_a_manifest_fails_alone(tmp_path: Path) -> None:
    spool = await read_manifest(
        chunks(b"a\n" + b"b" * 2000 + b"\nc\n"), tmp_path, name="m", bucket="b"
    )
    sweep = Sweep(spool, PrefixListing(MemoryBucket()), Rules(), tmp_path, sparse=True)
    batches = [batch async for batch in sweep]
    assert [pick.source.key for batch in batches for pick in batch.bare] == ["a", "c"]
    [refusal] = [refusal for batch in batches for refusal in batch.refused]
    assert "(2000 bytes, " in refusal.source.key
    spool.close()


# ---------------------------------------------------------------------------------------------- XML


@pytest.mark.parametrize(
    "body",
    [
        document("<a>" * 1_000_000),
        document("<a>" * 200 + "</a>" * 200),
        document("".join(item(entry("k")) for _ in range(100_001)).replace("Storage", "X")),
        (
            b'<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b '
            b'"&a;&a;">]><ListBucketResult><Name>&b;</Name></ListBucketResult>'
        ),
        (
            b"<!DOCTYPE l [<!ENTITY a SYSTEM "
            b'"file:///etc/hostname">]><ListBucketResult><Name>&a;</Name></ListBucketResult>'
        ),
    ],
    ids=["open", "deep", "many", "laughs", "external"],
)
def test_what_is_no_page_of_a_listing_is_refused(body: bytes) -> None:
    with pytest.raises(HubError, match="the answer to a listing"):
        parse_page(body)


def pages_of(keys: list[str], tokens: list[str]) -> Iterator[ListPage]:
    """Ten thousand pages with these keys and tokens in turn."""
    for i in range(10_000):
        key = keys[i % len(keys)]
        yield ListPage([entry(key)] if key else [], tokens[i % len(tokens)])


MANY = [f"{i:05}" for i in range(10_000)]


@pytest.mark.parametrize(
    ("keys", "tokens"),
    [
        (["k"], ["a"]),
        (MANY, ["a", "b", "c"]),
        (MANY, MANY[:50]),
        (["a", "b", "c"], MANY),
        ([""], MANY),
    ],
)
def test_a_trail_ends_where_pages_never_do(keys: list[str], tokens: list[str]) -> None:
    trail = Trail("s3://b")

    def walk() -> None:
        for page in pages_of(keys, tokens):
            trail.follow(page)

    with pytest.raises(ListingFailed, match=r"Cannot list s3://b: (the store repeats|2000 pages)"):
        walk()


def test_a_trail_goes_on_as_long_as_there_is_something_new() -> None:
    trail = Trail("s3://b")
    for page in pages_of(MANY, MANY):
        trail.follow(page)
