"""Reports: one row per object, as CSV, JSON or Parquet by the file's name.

Whoever may write to a source chooses its keys, and a spreadsheet takes a cell that begins with =
for a formula. Such a text, and one with characters that cannot be seen, is marked by a quote before
it, with escapes for what is hidden. Any other is as it is; `text_of_cell` gives back what was
meant.
"""

import csv
import json
import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from dth.core.errors import HubError, UsageError

COLUMNS = (
    "key",
    "status",
    "bytes",
    "etag",
    "dest_etag",
    "proof",
    "verified",
    "attempts",
    "reason",
    "detail",
)
IMAGE_COLUMNS = (
    "image",
    "status",
    "source",
    "source_digest",
    "dest_digest",
    "size",
    "moved",
    "seconds",
    "attempts",
    "about",
    "reason",
    "detail",
)
COMPARISON_COLUMNS = ("key", "state", "size", "dest_size", "etag", "reason")
Row = tuple[str | int | float, ...]
NUMBERS = ("bytes", "attempts", "size", "dest_size", "moved")
BATCH = 10_000
MARK = "'"
# At the beginning of a cell; some spreadsheets take semicolons for separators, and find one within
# another. In full width, too.
FORMULA = re.compile(r'(?:^|[;\n])[\s"]*[=+@\-\uff1d\uff0b\uff0d\uff20]')
HIDDEN = (
    "Cc",
    "Cf",
    "Zl",
    "Zp",
    "Co",
)  # control and format characters, such as those that turn the direction
ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def check_report(path: Path) -> None:
    """Refuse what could not be written in the end, before anything starts."""
    if path.suffix not in (".csv", ".json", ".parquet"):
        raise UsageError(f"--report {path}: the name must end in .csv, .json or .parquet")
    try:
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise UsageError(f"--report {path}: {error.strerror}") from None
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401 - only whether it is there
        except ImportError:
            raise UsageError(
                "a Parquet report needs pyarrow: pip install 'data-transfer-hub[parquet]'"
            ) from None


async def write_report(
    path: Path, rows: AsyncIterator[Row], columns: Sequence[str] = COLUMNS
) -> None:
    """Write all rows; flat memory."""
    try:
        if path.suffix == ".csv":
            with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                async for row in rows:
                    writer.writerow(
                        [cell_of(value) if isinstance(value, str) else value for value in row]
                    )
        elif path.suffix == ".json":
            with path.open("w", encoding="utf-8") as file:
                before = "[\n"
                async for row in rows:
                    file.write(before + json.dumps(dict(zip(columns, row, strict=True))))
                    before = ",\n"
                file.write("\n]\n" if before != "[\n" else "[]\n")
        else:
            await _write_parquet(path, rows, columns)
    except OSError as error:
        raise HubError(f"the report {path} cannot be written: {error.strerror}") from None


def cell_of(text: str) -> str:
    """A text as it may stand in a spreadsheet."""
    hidden = not text.isprintable() and any(map(_is_hidden, text))
    if not hidden and not text.startswith(MARK) and not FORMULA.search(text):
        return text
    return MARK + "".join(
        _escaped(each) if each in "\\;\n" or _is_hidden(each) else each for each in text
    )


def text_of_cell(cell: str) -> str:
    """What `cell_of` was given."""
    if not cell.startswith(MARK):
        return cell
    return ESCAPE.sub(lambda escape: chr(int(escape[1][1:], 16)), cell[1:])


def _escaped(character: str) -> str:
    number = ord(character)
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )


def _is_hidden(character: str) -> bool:
    return character != "\n" and unicodedata.category(character) in HIDDEN


async def _write_parquet(path: Path, rows: AsyncIterator[Row], names: Sequence[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = [
        pyarrow.int64()
        if name in NUMBERS
        else pyarrow.float64()
        if name == "seconds"
        else pyarrow.string()
        for name in names
    ]
    schema = pyarrow.schema(list(zip(names, kinds, strict=True)))
    with parquet.ParquetWriter(path, schema) as writer:
        batch: list[Row] = []

        def flush() -> None:
            columns = [[_text(value) for value in column] for column in zip(*batch, strict=True)]
            if columns:
                arrays = [
                    pyarrow.array(column, kind) for column, kind in zip(columns, kinds, strict=True)
                ]
                writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            batch.clear()

        async for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                flush()
        flush()


def _text(value: str | float) -> str | float:
    """Parquet holds UTF-8 only: other bytes of a key are shown escaped."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
