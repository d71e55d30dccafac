"""Listings other than one prefix: a list of prefixes, a manifest of objects, an S3 Inventory
report.

Each is read once as a stream of bytes and sorted on disk. Then it is a `Listing` like any other. An
object of which only the key is known has size -1.

These files come from anywhere, so their content must not determine how much memory they use: they
are unpacked in small pieces, and lines, cells and a manifest.json have a maximum length.
"""

import asyncio
import csv
import hashlib
import json
import re
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from dth.core.errors import Corrupted, UsageError
from dth.objects.listing.pages import (
    MAX_KEY_BYTES,
    PAGE_SIZE,
    ListedObject,
    ListPage,
    PrefixListing,
    Trail,
    is_overlong,
    pages,
    to_second,
)
from dth.objects.listing.spool import Spool
from dth.objects.store.etags import bare_etag

Chunks = AsyncIterator[bytes]
Lines = AsyncIterator[list["Line"]]
# The number of the line in the file, from 1, and its text.
Line = tuple[int, str]

# Prefixes of a list that are listed at once.
TOGETHER = 8
# The maximum length of a line, or of a cell of an inventory in Parquet.
LINE_BYTES = 64 * 1024
# Bytes that are unpacked and split into lines at once.
PIECE_BYTES = 256 * 1024
# The maximum size of the manifest.json of an inventory: enough for tens of thousands of files.
REPORT_BYTES = 8 * 1024 * 1024
REPORT_ITEMS = 200_000  # values in the manifest.json
_BATCH = 10_000  # rows of Parquet read at once


# ------------------------------------------------------------------------------------- prefix lists


async def read_prefixes(chunks: Chunks, workdir: Path, *, name: str, within: str = "") -> Spool:
    """Read a prefix list file, plain or gzip: one prefix per line, LF or CRLF; blank lines are
    ignored. The result holds the prefixes in order. None is inside another, and all are limited to
    the source prefix `within`. Raises UsageError."""
    prefixes = Spool(workdir, name=name, prefix=within)
    try:
        async for lines in _lines(_unzipped(chunks, name), name):
            await prefixes.add(ListedObject(line, 0) for line in _narrowed(lines, within, name))
        await prefixes.sort()
        await _remove_inner(prefixes)
    except BaseException:
        prefixes.close()
        raise
    return prefixes


def _narrowed(lines: Iterable[Line], within: str, name: str) -> Iterator[str]:
    for number, line in lines:
        if not line.strip():
            continue
        if is_overlong(line):
            raise UsageError(
                f"{name}, line {number}: the prefix is longer than the {MAX_KEY_BYTES} bytes "
                "that a key may have"
            )
        if line.startswith(within):
            yield line
        elif within.startswith(line):
            yield within


async def _remove_inner(prefixes: Spool) -> None:
    """Remove prefixes that are inside another one. In order, a prefix comes right before all those
    inside it."""
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
    """The objects below many prefixes of one bucket, as one listing. `prefixes` come from
    `read_prefixes`."""

    def __init__(self, bucket: PrefixListing, prefixes: Spool) -> None:
        self.name = bucket.name
        self.prefix = prefixes.prefix
        self.ordered = bucket.ordered
        self.seekable = True
        self._bucket = bucket
        self._prefixes = prefixes

    async def page(self, after: str = "", token: str = "", limit: int = PAGE_SIZE) -> ListPage:
        done, inner = _unpack(token) if token else (self._around(after), "")
        trail = Trail(self.name)
        while inner or (done and not token):
            page = await self._bucket.page_below(done, after, inner, limit)
            inner = page.token
            page.token = token = _pack(done, inner)
            if page.entries:
                return page
            trail.follow(page)
        return await self._next_prefixes(done if token else after, limit)

    def _around(self, after: str) -> str:
        """The prefix that contains `after`, or ""."""
        prefix = self._prefixes.at_or_below(after) if after else None
        return prefix if prefix is not None and after.startswith(prefix) else ""

    async def _next_prefixes(self, above: str, limit: int) -> ListPage:
        """A page from the first prefix above `above` on. Continues until there are objects or no
        more prefixes."""
        while True:
            group = (await self._prefixes.page(above, limit=TOGETHER)).entries
            found = await asyncio.gather(
                *(self._bucket.page_below(p.key, "", "", limit) for p in group)
            )
            entries: list[ListedObject] = []
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


# ---------------------------------------------------------------------------------------- manifests

# The names of columns in manifests and in both kinds of inventory reports.
_COLUMNS = {
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

    name: str  # of the file, for messages
    # As in `_COLUMNS`; unknown columns are ignored.
    columns: list[str]
    bucket: str
    prefix: str
    encoded: bool = True  # keys are URL-encoded

    def entries(self, rows: Iterable[tuple[int, Iterable[Any]]]) -> Iterator[ListedObject]:
        """The objects in numbered rows. Raises UsageError."""
        for number, row in rows:
            cells = dict(zip(self.columns, row, strict=False))
            if _says(cells.get("latest"), "false") or _says(cells.get("deleted"), "true"):
                continue
            if cells.get("bucket", self.bucket) != self.bucket:
                raise UsageError(
                    f"{self.name}, line {number}: an object of bucket {_brief(cells['bucket'])} "
                    f"is listed for bucket {self.bucket!r}"
                )
            try:
                key = cells["key"]
            except KeyError:
                raise UsageError(f"{self.name}, line {number}: there is no key") from None
            key = unquote_plus(key, errors="surrogateescape") if self.encoded else key or ""
            if key.startswith("s3://") and "size" not in cells:
                raise UsageError(
                    f"{self.name}, line {number}: {_brief(key)} is a URL; write only the key, "
                    "which is what stands behind s3://bucket/"
                )
            if key and key.startswith(self.prefix):
                yield self._entry(number, key, cells)

    def _entry(self, number: int, key: str, cells: dict[str, Any]) -> ListedObject:
        size, etag = cells.get("size"), bare_etag(cells.get("etag") or "")
        if size in (None, "") or not etag:
            return ListedObject(key, -1)
        text = str(size).strip()
        # 18 digits always fit into 64 bits.
        if not (text.isascii() and text.isdecimal() and len(text) <= 18):
            raise UsageError(f"{self.name}, line {number}: {_brief(text)} is not a size in bytes")
        modified = cells.get("modified") or ""
        when = to_second(modified if isinstance(modified, str) else modified.isoformat())
        return ListedObject(key, int(text), etag, when, cells.get("class") or "")

    def rows(self, lines: list[Line]) -> Iterator[tuple[int, list[str]]]:
        """The rows of CSV. Each row is one line: an unclosed quote must not swallow the lines after
        it."""
        reader = csv.reader((text for _, text in lines), strict=True)
        for count, (number, _) in enumerate(lines, 1):
            row, problem = None, "a quote is not closed"
            try:
                row = next(reader)
            except csv.Error as error:
                problem = problem if "end of data" in str(error) else str(error)
            if row is None or reader.line_num != count:
                raise UsageError(
                    f"{self.name}, line {number}: this is not a row of CSV ({problem}); a line "
                    "break in a key is %0A"
                )
            if any(row[len(self.columns) :]):
                raise UsageError(
                    f"{self.name}, line {number}: there are more cells than columns "
                    f"({len(self.columns)}); a comma in a key is %2C"
                )
            yield number, row


def _brief(text: str) -> str:
    """A text in a length that fits into a message."""
    return repr(text if len(text) <= 80 else text[:80] + "...")


def _says(cell: object, word: str) -> bool:
    return cell is not None and str(cell).lower() == word


async def read_manifest(
    chunks: Chunks, workdir: Path, *, name: str, bucket: str, prefix: str = ""
) -> Spool:
    """Read a manifest of objects, plain or gzip. Raises UsageError.

    It is CSV with URL-encoded keys if it has a header line that names columns (bucket, key, size,
    etag, ...; `key` is required), or if it has the columns of S3 Batch Operations (bucket, key,
    version). One column without a header means one key per line, not encoded. Versions are ignored;
    only keys below `prefix` count.
    """
    spool = Spool(workdir, name=name, prefix=prefix)
    try:
        table: _Table | None = None
        async for lines in _lines(_unzipped(chunks, name), name):
            if table is None:
                lines = [line for line in lines if line[1].strip()]
                if not lines:
                    continue
                table, header = _table(name, *lines[0], bucket, prefix)
                lines = lines[1:] if header else lines
            await spool.add(table.entries(_rows_of(table, lines)))
        await spool.sort()
    except BaseException:
        spool.close()
        raise
    return spool


def _rows_of(table: _Table, lines: list[Line]) -> Iterable[tuple[int, list[str]]]:
    filled = [line for line in lines if line[1].strip()]
    return table.rows(filled) if table.encoded else ((number, [text]) for number, text in filled)


def _table(name: str, number: int, first: str, bucket: str, prefix: str) -> tuple[_Table, bool]:
    """What the first line says about the file, and whether it is a header."""
    if first.lstrip() in ("{", "[") or first.lstrip().startswith(('{"', "[{")):
        raise UsageError(
            f"{name}, line {number}: this is JSON; a manifest has one key per line, or is CSV "
            "(the manifest.json of an S3 Inventory goes with --inventory)"
        )
    _, cells = next(_Table(name, [""] * len(first), "", "").rows([(number, first)]))
    names = [_COLUMNS.get(cell.strip().lower(), "") for cell in cells]
    if "key" in names and all(names):
        return _Table(name, names, bucket, prefix), True
    if len(cells) == 1:
        return _Table(name, ["key"], bucket, prefix, encoded=False), False
    if len(cells) > 3:
        raise UsageError(
            f"{name}, line {number}: the manifest has {len(cells)} columns and no header line "
            "that names them"
        )
    return _Table(name, ["bucket", "key", "version"], bucket, prefix), False


# -------------------------------------------------------------------------------------- inventories


async def read_inventory(
    manifest: bytes,
    fetch: Callable[[str], Chunks],
    workdir: Path,
    *,
    name: str,
    bucket: str,
    prefix: str = "",
) -> Spool:
    """Read an S3 Inventory report. `manifest` is its manifest.json; `fetch` reads a file of the
    bucket it is in. Raises UsageError, or Corrupted if a file has another MD5 than the manifest
    states."""
    kind, schema, files = _report(manifest, name)
    if kind not in ("csv", "parquet"):
        raise UsageError(
            f"{name} is an inventory in {_brief(kind.upper())}; configure it as CSV or Parquet"
        )
    columns = [_COLUMNS.get(column.strip().lower(), "") for column in schema.split(",")]
    spool = Spool(workdir, name=name, prefix=prefix)
    try:
        for key, digest in files:
            chunks = _checked(fetch(key), key, digest)
            if kind == "csv":
                table = _Table(key, columns, bucket, prefix)
                async for lines in _lines(_unzipped(chunks, key), key):
                    await spool.add(table.entries(_rows_of(table, lines)))
            else:
                await _read_parquet(chunks, workdir, key, bucket, prefix, spool)
        await spool.sort()
    except BaseException:
        spool.close()
        raise
    return spool


async def read_report(chunks: Chunks, name: str) -> bytes:
    """The whole manifest.json of an inventory. Raises UsageError if it is too large."""
    whole = bytearray()
    async for chunk in chunks:
        whole += chunk
        if len(whole) > REPORT_BYTES:
            raise UsageError(
                f"{name} has more than {REPORT_BYTES >> 20} MiB: it is not a manifest.json of "
                "an inventory"
            )
    return bytes(whole)


def _report(manifest: bytes, name: str) -> tuple[str, str, list[tuple[str, str]]]:
    """The format, the columns and the files (key and MD5) in a manifest.json."""
    if sum(manifest.count(sign) for sign in (b",", b"[", b"{")) > REPORT_ITEMS:
        raise UsageError(
            f"{name} has more than {REPORT_ITEMS} values: it is not a manifest.json of an inventory"
        )
    try:
        told = json.loads(manifest)
        files = [(file["key"], file.get("MD5checksum", "")) for file in told["files"]]
        kind, schema = told["fileFormat"].lower(), told["fileSchema"]
        if not all(
            isinstance(text, str) for text in (schema, *(each for file in files for each in file))
        ):
            raise TypeError("a text is missing")
        return kind, schema, files
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {_brief(str(error))}"
        raise UsageError(
            f"{name} is not a manifest.json of an S3 Inventory report ({reason})"
        ) from error


async def _read_parquet(
    chunks: Chunks, workdir: Path, key: str, bucket: str, prefix: str, spool: Spool
) -> None:
    """Read one file of an inventory. Parquet is read from its end, so the file is stored on disk
    first."""
    try:
        import pyarrow  # a large library, needed for this alone
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            "An inventory in Parquet needs pyarrow: pip install 'data-transfer-hub[parquet]'"
        ) from error
    with tempfile.TemporaryFile(dir=workdir) as file:
        async for chunk in chunks:
            file.write(chunk)
        try:
            schema = parquet.read_schema(file)
            names = [name for name in schema.names if name.lower() in _COLUMNS]
            # Repeated texts are stored once, so a small file cannot become a large column.
            texts = [name for name in names if _is_text(schema.field(name).type)]
            report = parquet.ParquetFile(file, read_dictionary=texts, buffer_size=PIECE_BYTES)
            columns = [_COLUMNS[column.lower()] for column in names]
            table = _Table(key, columns, bucket, prefix, encoded=False)
            batches = report.iter_batches(batch_size=_BATCH, columns=names)
            row = 1
            while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                for part in _parts(batch, key, row):
                    rows = zip(*(column.to_pylist() for column in part.columns), strict=True)
                    await spool.add(table.entries(enumerate(rows, row)))
                    row += part.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            raise UsageError(
                f"{key} is not a Parquet file that can be read: {_brief(str(error))}"
            ) from error


def _is_text(kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "binary", "large_binary")


def _parts(batch: Any, key: str, row: int) -> Iterator[Any]:
    """Split a batch of Parquet into parts that are small in memory, however long its texts are."""
    from pyarrow import compute

    texts = [getattr(column, "dictionary", column) for column in batch.columns]
    lengths = [
        compute.max(compute.binary_length(t)).as_py() or 0 for t in texts if _is_text(t.type)
    ]
    longest = max(lengths, default=0)
    if longest > LINE_BYTES:
        rows = f"rows {row} to {row + batch.num_rows - 1}"
        raise UsageError(f"{key}, {rows}: a text of {longest} bytes; {LINE_BYTES} are the most")
    step = max(1, 4 * PIECE_BYTES // max(1, longest))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


async def _checked(chunks: Chunks, key: str, digest: str) -> Chunks:
    md5 = hashlib.md5(usedforsecurity=False)
    async for chunk in chunks:
        md5.update(chunk)
        yield chunk
    if digest and md5.hexdigest() != digest:
        raise Corrupted(
            f"The inventory file {key!r} is not the one its manifest names: MD5 {md5.hexdigest()}"
        )


# -------------------------------------------------------------------------------------------- lines


async def _lines(chunks: Chunks, name: str) -> Lines:
    """The lines of a UTF-8 file without their ends (LF, CRLF or CR), many at a time. Raises
    UsageError for a line that is too long, and for one that ends with LF after others with CR."""
    rest = end = b""
    number = 1
    offset = 0
    async for chunk in chunks:
        for start in range(0, len(chunk), PIECE_BYTES):
            piece = rest + chunk[start : start + PIECE_BYTES]
            if not end and (first := _FIRST_END.search(piece)):
                end = b"\r" if first[0] == b"\r" else b"\n"
            if end == b"\r" and b"\n" in piece:
                raise UsageError(
                    f"{name}: some lines end with CR, and some with LF; end all of them with LF"
                )
            *lines, rest = piece.split(end or b"\n")
            if max(map(len, lines), default=0) > LINE_BYTES or len(rest) > LINE_BYTES:
                long = next(
                    (i for i, line in enumerate(lines) if len(line) > LINE_BYTES), len(lines)
                )
                at = offset + sum(len(line) + 1 for line in lines[:long])
                raise UsageError(
                    f"{name}, line {number + long} (from byte {at} on): longer than "
                    f"{LINE_BYTES} bytes"
                )
            if lines:
                yield _decoded(lines, number, name)
                number += len(lines)
                offset += sum(map(len, lines)) + len(lines)
    if rest:
        yield _decoded([rest], number, name)


# The first end of a line decides, because keys may contain CR. Whether a CR at the end of what was
# read is an end of its own is seen with the next byte.
_FIRST_END = re.compile(rb"\r?\n|\r(?!\Z)")


def _decoded(lines: list[bytes], number: int, name: str) -> list[Line]:
    if number == 1:
        if lines[0].startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UsageError(f"{name} is in UTF-16; save it in UTF-8")
        lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
    texts = (line.removesuffix(b"\r").decode("utf-8", "surrogateescape") for line in lines)
    return list(enumerate(texts, number))


_GZIP = b"\x1f\x8b"
# Bytes given to the unpacker at once. It copies the input that it has not processed yet.
_PACKED_BYTES = 16 * 1024


async def _unzipped(chunks: Chunks, name: str) -> Chunks:
    """The same bytes, or if they are gzip the unpacked ones, in small pieces."""
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= len(_GZIP):
            break
    unpacker = _Unpacker(name) if head.startswith(_GZIP) else None
    for piece in unpacker.unpack(head) if unpacker else [head]:
        yield piece
    async for chunk in chunks:
        for piece in unpacker.unpack(chunk) if unpacker else [chunk]:
            yield piece
    if unpacker:
        unpacker.end()


class _Unpacker:
    """A gzip file, or several gzip files in a row, as some tools write."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._unzip: zlib._Decompress | None = None
        # The bytes read so far. `_head` holds the last of them if they are too few to tell what
        # follows.
        self._read = 0
        self._head = b""

    def unpack(self, chunk: bytes) -> Iterator[bytes]:
        data, self._head = self._head + chunk, b""
        self._read += len(chunk)
        at = 0
        while at < len(data):
            place = self._read - len(data) + at
            if self._unzip is None:
                if data[at] == 0 and place > 0:
                    # Zeros after a gzip file are allowed.
                    at += 1
                    continue
                if len(data) - at < len(_GZIP):
                    self._head = data[at:]
                    return
                if not data.startswith(_GZIP, at):
                    raise Corrupted(
                        f"{self._name}, byte {place}: what follows the gzip file is none"
                    )
                self._unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
            part = data[at : at + _PACKED_BYTES]
            try:
                piece = self._unzip.decompress(part, PIECE_BYTES)
            except zlib.error as error:
                raise Corrupted(
                    f"{self._name}, near byte {place}: damaged gzip file: {error}"
                ) from error
            rest = self._unzip.unused_data if self._unzip.eof else self._unzip.unconsumed_tail
            at += len(part) - len(rest)
            if self._unzip.eof:
                self._unzip = None
            if piece:
                yield piece

    def end(self) -> None:
        if self._unzip is not None or self._head:
            raise Corrupted(f"{self._name}, byte {self._read}: a gzip file ends too early")
