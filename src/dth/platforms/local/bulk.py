"""Many rows per statement, many per step.

`executemany` steps SQLite once per row and releases the GIL each time; with a busy event loop in
the other thread, every row then waits for its turn. A statement with all rows in its VALUES needs
one step.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from sqlite3 import Connection
from typing import Any

LARGEST = 128


def insert_rows(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Run `statement`, which ends in VALUES, with the rows. Returns the number of rows written."""
    written = 0
    for start, count in _chunks(len(rows)):
        chunk = rows[start : start + count]
        sql = _with_values(statement, len(chunk[0]), count)
        written += connection.execute(sql, tuple(chain.from_iterable(chunk))).rowcount
    return written


def select_in(connection: Connection, statement: str, values: Sequence[Any]) -> Iterator[Any]:
    """The rows of `statement`, which ends in IN, for the values."""
    for start, count in _chunks(len(values)):
        sql = statement + _row(count)
        yield from connection.execute(sql, tuple(values[start : start + count]))


def _chunks(total: int) -> Iterator[tuple[int, int]]:
    """Yields (start, count). Counts are powers of two, so that a few prepared statements serve
    every length."""
    start = 0
    while start < total:
        count = min(LARGEST, 1 << (total - start).bit_length() - 1)
        yield start, count
        start += count


@cache
def _row(width: int) -> str:
    return f" ({', '.join('?' * width)})"


@cache
def _with_values(statement: str, width: int, count: int) -> str:
    return statement + ",".join([_row(width)] * count)
