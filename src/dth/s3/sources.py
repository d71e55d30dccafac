"""What to walk besides one prefix: a list of prefixes, a manifest of objects, an S3 Inventory report.

Each is read once, as a stream of bytes, sorted on disk, and then is a `Listing` like any other. An object of
which nothing but the key is known has size -1.
"""

import asyncio
import csv
import hashlib
import json
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from dth.errors import Corrupted, UsageError
from dth.s3.listing import PAGE_SIZE, Entry, ListPage, PrefixListing, pages, to_second
from dth.s3.spool import Spool

Chunks = AsyncIterator[bytes]

TOGETHER = 8  # prefixes of a list that are listed at once
_BATCH = 10_000  # lines or rows handed on at once


# ------------------------------------------------------------------------------------------- prefix lists


async def read_prefixes(chunks: Chunks, workdir: Path, *, name: str, within: str = "") -> Spool:
    """A prefix list file: one prefix a line, LF or CRLF, blank lines ignored. The result holds prefixes in
    order of which none lies in another, cut down to what lies `within` the source prefix."""
    prefixes = Spool(workdir, name=name, prefix=within)
    try:
        async for lines in _lines(chunks):
            await prefixes.add(Entry(line, 0) for line in _narrowed(lines, within))
        await prefixes.sort()
        await _remove_inner(prefixes)
    except BaseException:
        prefixes.close()
        raise
    return prefixes


def _narrowed(lines: Iterable[str], within: str) -> Iterator[str]:
    for line in lines:
        if not line.strip():
            continue
        if line.startswith(within):
            yield line
        elif within.startswith(line):
            yield within


async def _remove_inner(prefixes: Spool) -> None:
    """Leave the prefixes that lie in no other: in order, one stands right before all those within it."""
    outer: str | None = None
    async for page in pages(prefixes):
        inner = []
        for entry in page.entries:
            if outer is not None and entry.key.startswith(outer):
                inner.append(entry.key)
            else:
                outer = entry.key
        await prefixes.remove(inner)


class ListOfPrefixes:
    """The objects below many prefixes of one bucket, as one listing. `prefixes` come from `read_prefixes`."""

    def __init__(self, bucket: PrefixListing, prefixes: Spool) -> None:
        self.name = bucket.name
        self.prefix = prefixes.prefix
        self.seekable = True
        self._bucket = bucket
        self._prefixes = prefixes

    async def page(self, after: str = "", token: str = "", limit: int = PAGE_SIZE) -> ListPage:
        done, inner = _unpack(token) if token else (self._around(after), "")
        if inner or (done and not token):
            page = await self._bucket.page_below(done, after, inner, limit)
            page.token = _pack(done, page.token)
            if page.entries:
                return page
            return await self.page(after, page.token, limit)
        return await self._next_prefixes(done if token else after, limit)

    def _around(self, after: str) -> str:
        """The prefix that `after` lies in, or ""."""
        prefix = self._prefixes.at_or_below(after) if after else None
        return prefix if prefix is not None and after.startswith(prefix) else ""

    async def _next_prefixes(self, above: str, limit: int) -> ListPage:
        """From the first prefix above on, until there are objects or no more prefixes."""
        while True:
            group = (await self._prefixes.page(above, limit=TOGETHER)).entries
            found = await asyncio.gather(*(self._bucket.page_below(p.key, "", "", limit) for p in group))
            entries: list[Entry] = []
            for prefix, page in zip(group, found, strict=True):
                entries += page.entries
                above = prefix.key
                if page.token:
                    return ListPage(entries, _pack(above, page.token))
            if len(group) < TOGETHER:
                return ListPage(entries)
            if entries:
                return ListPage(entries, _pack(above, ""))


def _pack(prefix: str, token: str) -> str:
    return f"{len(prefix)}:{prefix}{token}"


def _unpack(token: str) -> tuple[str, str]:
    length, _, rest = token.partition(":")
    return rest[: int(length)], rest[int(length) :]


# ----------------------------------------------------------------------------------------------- manifests

_COLUMNS = {  # names in manifests and in both kinds of inventory reports
    "bucket": "bucket",
    "key": "key",
    "object": "key",
    "size": "size",
    "etag": "etag",
    "e_tag": "etag",
    "lastmodifieddate": "modified",
    "last_modified_date": "modified",
    "storageclass": "class",
    "storage_class": "class",
    "islatest": "latest",
    "is_latest": "latest",
    "isdeletemarker": "deleted",
    "is_delete_marker": "deleted",
    "versionid": "version",
    "version_id": "version",
}


@dataclass(frozen=True, slots=True)
class _Table:
    """How rows become entries."""

    columns: list[str]  # as in `_COLUMNS`; others are ignored
    bucket: str
    prefix: str
    encoded: bool = True  # keys are URL-encoded

    def entries(self, rows: Iterable[Iterable[Any]]) -> Iterator[Entry]:
        for row in rows:
            cells = dict(zip(self.columns, row, strict=False))
            if _says(cells.get("latest"), "false") or _says(cells.get("deleted"), "true"):
                continue
            if cells.get("bucket", self.bucket) != self.bucket:
                raise UsageError(
                    f"An object of bucket {cells['bucket']!r} is listed for bucket {self.bucket!r}"
                )
            try:
                key = cells["key"]
            except KeyError:
                raise UsageError(f"A line without a key: {row!r}") from None
            key = unquote_plus(key, errors="surrogateescape") if self.encoded else key
            if key and key.startswith(self.prefix):
                yield _entry_of(key, cells)


def _entry_of(key: str, cells: dict[str, Any]) -> Entry:
    size, etag = cells.get("size"), (cells.get("etag") or "").strip('"')
    if size in (None, "") or not etag:
        return Entry(key, -1)
    modified = cells.get("modified") or ""
    when = to_second(modified if isinstance(modified, str) else modified.isoformat())
    return Entry(key, int(size), etag, when, cells.get("class") or "")


def _says(cell: object, word: str) -> bool:
    return cell is not None and str(cell).lower() == word


async def read_manifest(chunks: Chunks, workdir: Path, *, name: str, bucket: str, prefix: str = "") -> Spool:
    """A manifest of objects, plain or gzip.

    With a header line that names columns (bucket, key, size, etag, ...; `key` is a must), or as S3 Batch
    Operations has it (bucket, key, version), it is CSV with URL-encoded keys. One column without a header is
    one key a line, as it is. Versions are ignored; only keys below `prefix` count.
    """
    spool = Spool(workdir, name=name, prefix=prefix)
    try:
        table: _Table | None = None
        async for lines in _lines(_unzipped(chunks)):
            lines = [line for line in lines if line.strip()]
            if table is None and lines:
                table, header = _table(lines[0], bucket, prefix)
                lines = lines[1:] if header else lines
            if table is not None:
                rows = csv.reader(lines) if table.encoded else ([line] for line in lines)
                await spool.add(table.entries(rows))
        await spool.sort()
    except BaseException:
        spool.close()
        raise
    return spool


def _table(first: str, bucket: str, prefix: str) -> tuple[_Table, bool]:
    """What the first line says of the file, and whether it is a header."""
    cells = next(csv.reader([first]))
    names = [_COLUMNS.get(cell.strip().lower(), "") for cell in cells]
    if "key" in names and all(names):
        return _Table(names, bucket, prefix), True
    if len(cells) == 1:
        return _Table(["key"], bucket, prefix, encoded=False), False
    if len(cells) > 3:
        raise UsageError(f"The manifest has {len(cells)} columns and no header line that names them")
    return _Table(["bucket", "key", "version"], bucket, prefix), False


# --------------------------------------------------------------------------------------------- inventories


async def read_inventory(
    manifest: bytes,
    fetch: Callable[[str], Chunks],
    workdir: Path,
    *,
    name: str,
    bucket: str,
    prefix: str = "",
) -> Spool:
    """An S3 Inventory report: `manifest` is its manifest.json, `fetch` reads a file of the bucket it lies in."""
    try:
        told = json.loads(manifest)
        kind, schema, files = told["fileFormat"].lower(), told["fileSchema"], told["files"]
        files = [(file["key"], file.get("MD5checksum", "")) for file in files]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{name} is no manifest.json of an S3 Inventory report: {error!r}") from error
    if kind not in ("csv", "parquet"):
        raise UsageError(f"{name} is an inventory in {kind.upper()}; configure it as CSV or Parquet")
    columns = [_COLUMNS.get(column.strip().lower(), "") for column in schema.split(",")]
    table = _Table(columns, bucket, prefix)
    spool = Spool(workdir, name=name, prefix=prefix)
    try:
        for key, digest in files:
            chunks = _checked(fetch(key), key, digest)
            if kind == "csv":
                async for lines in _lines(_unzipped(chunks)):
                    await spool.add(table.entries(csv.reader(lines)))
            else:
                await _read_parquet(chunks, workdir, bucket, prefix, spool)
        await spool.sort()
    except BaseException:
        spool.close()
        raise
    return spool


async def _read_parquet(chunks: Chunks, workdir: Path, bucket: str, prefix: str, spool: Spool) -> None:
    """Parquet is read from its end: the file goes to disk first."""
    try:
        from pyarrow import parquet  # a large library, needed for this alone
    except ImportError as error:
        raise UsageError(
            "An inventory in Parquet needs pyarrow: pip install 'data-transfer-hub[parquet]'"
        ) from error
    with tempfile.TemporaryFile(dir=workdir) as file:
        async for chunk in chunks:
            file.write(chunk)
        report = parquet.ParquetFile(file)
        names = [column for column in report.schema_arrow.names if column.lower() in _COLUMNS]
        table = _Table([_COLUMNS[column.lower()] for column in names], bucket, prefix, encoded=False)
        batches = report.iter_batches(batch_size=_BATCH, columns=names)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            await spool.add(table.entries(rows))


async def _checked(chunks: Chunks, key: str, digest: str) -> Chunks:
    md5 = hashlib.md5(usedforsecurity=False)
    async for chunk in chunks:
        md5.update(chunk)
        yield chunk
    if digest and md5.hexdigest() != digest:
        raise Corrupted(
            f"The inventory file {key!r} is not the one its manifest names: MD5 {md5.hexdigest()}"
        )


# --------------------------------------------------------------------------------------------------- lines


async def _lines(chunks: Chunks) -> AsyncIterator[list[str]]:
    """The lines of a UTF-8 file, many at a time, without LF or CRLF."""
    rest = b""
    first = True
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield _decoded(lines, first)
            first = False
    if rest:
        yield _decoded([rest], first)


def _decoded(lines: list[bytes], first: bool) -> list[str]:
    if first:
        lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
    return [line.removesuffix(b"\r").decode("utf-8", "surrogateescape") for line in lines]


async def _unzipped(chunks: Chunks) -> Chunks:
    """The same bytes, or what they unpack to if they are gzip."""
    unzip = None
    first = True
    async for chunk in chunks:
        if first and chunk:
            unzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if chunk.startswith(b"\x1f\x8b") else None
            first = False
        yield chunk if unzip is None else unzip.decompress(chunk)
    if unzip is not None and not unzip.eof:
        raise Corrupted("A gzip file ends too early")
