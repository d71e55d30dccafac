"""Reports: one row an object, as CSV or Parquet by the file's name."""

import csv
from collections.abc import AsyncIterator
from pathlib import Path

from dth.errors import HubError, UsageError

COLUMNS = ("key", "status", "bytes", "etag", "dest_etag", "proof", "attempts", "reason", "detail")
Row = tuple[str, str, int, str, str, str, int, str, str]
BATCH = 10_000


def check_report(path: Path) -> None:
    """Refuse what could not be written in the end, before anything starts."""
    if path.suffix not in (".csv", ".parquet"):
        raise UsageError(f"--report {path}: the name must end in .csv or .parquet")
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


async def write_report(path: Path, rows: AsyncIterator[Row]) -> None:
    """Write all rows; flat memory."""
    try:
        if path.suffix == ".csv":
            with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                async for row in rows:
                    writer.writerow(row)
        else:
            await _write_parquet(path, rows)
    except OSError as error:
        raise HubError(f"the report {path} cannot be written: {error.strerror}") from None


async def _write_parquet(path: Path, rows: AsyncIterator[Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = [pyarrow.int64() if name in ("bytes", "attempts") else pyarrow.string() for name in COLUMNS]
    schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    with parquet.ParquetWriter(path, schema) as writer:
        batch: list[Row] = []

        def flush() -> None:
            columns = [[_text(value) for value in column] for column in zip(*batch, strict=True)]
            if columns:
                arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
                writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            batch.clear()

        async for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                flush()
        flush()


def _text(value: str | int) -> str | int:
    """Parquet holds UTF-8 only: other bytes of a key are shown escaped."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
